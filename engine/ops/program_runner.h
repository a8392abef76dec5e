// Runs a program over short rows of elements, again and again with the same uniform inputs, or row by row over tiles.
// For *.simd.cpp files only.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/ops/program.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// Rounded to the nearest integer, taken to the nearest place of a table's axis; NaN to its first.
template <class T>
[[gnu::always_inline]] inline int64_t table_place(T coordinate, int64_t size) {
  T const last = T(size - 1), x = coordinate > T(0) ? coordinate : T(0);
  return int64_t((x < last ? x : last) + T(0.5));
}

/// Element number of each of n coordinates, and what the numbers are: all the same or one after the other, of which
/// only the first is given, or neither.
enum class Places { alike, consecutive, scattered };
template <class T>
Places table_places(ProgramTableView<T> const& table, T const* const (&at)[3], int64_t n, int64_t* to) {
  if (n == 0) return Places::alike;
  // Most rows change along one axis by ones, or not at all: then one conversion to an integer does for all of them.
  int64_t first = 0;
  int changing = 0;
  T const* row = nullptr;
  int64_t last = 0;
  for (int axis = 0; axis < 3; ++axis)
    if (int64_t const stride = table.stride[axis]) {
      T const* const x = at[axis];
      int differing = 0;
      for (int64_t i = 0; i < n; ++i) differing += x[i] != x[0];
      first += table_place(x[0], table.size[axis]) * stride;
      if (differing == 0) continue;
      ++changing;
      row = stride == 1 ? x : nullptr;
      last = table.size[axis] - 1;
    }
  to[0] = first;
  if (changing == 0) return Places::alike;
  if (changing == 1 && row && row[0] >= T(0) && row[n - 1] <= T(last) && row[0] == T(int64_t(row[0]))) {
    int elsewhere = 0;
    for (int64_t i = 0; i < n; ++i) elsewhere += row[i] != row[0] + T(i);
    if (elsewhere == 0) return Places::consecutive;
  }
  for (int64_t i = 0; i < n; ++i) to[i] = 0;
  for (int axis = 0; axis < 3; ++axis)
    if (int64_t const stride = table.stride[axis])
      for (int64_t i = 0; i < n; ++i) to[i] += table_place(at[axis][i], table.size[axis]) * stride;
  bool alike = true, consecutive = true;
  for (int64_t i = 0; i < n; ++i) alike &= to[i] == to[0], consecutive &= to[i] == to[0] + i;
  return alike ? Places::alike : consecutive ? Places::consecutive : Places::scattered;
}

/// The same with all numbers given.
template <class T>
Places all_table_places(ProgramTableView<T> const& table, T const* const (&at)[3], int64_t n, int64_t* to) {
  Places const kind = table_places(table, at, n, to);
  if (kind != Places::scattered)
    for (int64_t i = 1; i < n; ++i) to[i] = to[0] + (kind == Places::consecutive ? i : 0);
  return kind;
}

template <class T>
class ProgramRunner {
 public:
  static constexpr int64_t longest = 256;

  /// For rows of at most `length` elements.
  ProgramRunner(Program const& program, ProgramKernel<T> const* steps, ProgramTableView<T> const* tables,
                int64_t length)
      : program_(program),
        steps_(steps),
        tables_(tables),
        length_(length),
        memory_(program.slots() * length),
        slots_(program.slots()) {
    for (int s = 0; s < program.slots(); ++s) slots_[s] = own(s);
    int const constants = int(program.constants().size());
    for (int k = 0; k < constants; ++k) fill(program.inputs() + k, T(program.constants()[size_t(k)]));
  }

  /// The memory that is a slot's until something else is placed there.
  T* own(int slot) { return memory_.data() + slot * length_; }
  void fill(int input, T value) {
    for (int64_t i = 0; i < length_; ++i) own(input)[i] = value;
  }
  /// The input is read from here.
  void place(int input, T const* from) { slots_[input] = const_cast<T*>(from); }
  /// After the uniform inputs were filled.
  void begin() {
    for (ProgramStep const& step : program_.steps(nowhere)) take(step, length_);
  }
  void run(int64_t n) {
    for (ProgramStep const& step : program_.steps()) take(step, n);
  }
  T const* output(int k) { return slots_[program_.output_slots()[size_t(k)]]; }

 protected:
  [[gnu::always_inline]] void take(ProgramStep const& step, int64_t n) {
    if (step.op != Primitive::load)
      steps_[int(step.op)](slots_[step.to], slots_[step.a], slots_[step.b], slots_[step.c], n);
    else
      take_load(step, n);
  }
  [[gnu::noinline]] void take_load(ProgramStep const& step, int64_t n) {
    T const* const at[3] = {slots_[step.a], slots_[step.b], slots_[step.c]};
    int64_t places[longest];
    ProgramTableView<T> const& table = tables_[step.table];
    Places const kind = table_places(table, at, n, places);
    read(table.data, kind, places, slots_[step.to], n);
  }
  static void read(T const* from, Places kind, int64_t const* places, T* to, int64_t n) {
    switch (kind) {
      case Places::alike:
        for (int64_t i = 0; i < n; ++i) to[i] = from[places[0]];
        break;
      case Places::consecutive:
        __builtin_memcpy(to, from + places[0], size_t(n) * sizeof(T));
        break;
      case Places::scattered:
        for (int64_t i = 0; i < n; ++i) to[i] = from[places[i]];
    }
  }

  Program const& program_;
  ProgramKernel<T> const* steps_;
  ProgramTableView<T> const* tables_;
  int64_t length_;
  Scratch<T> memory_;
  Scratch<T*> slots_;
};

/// Row by row over tiles: what varies along lanes alone is computed once for many tiles, and what varies along rows
/// alone once a tile; so are the parts of the places that loads read.
template <class T>
class TileRunner : public ProgramRunner<T> {
  using Base = ProgramRunner<T>;
  using Base::program_, Base::slots_;

 public:
  /// For tiles of at most `length` lanes and as many rows.
  TileRunner(Program const& program, ProgramKernel<T> const* steps, ProgramTableView<T> const* tables, int64_t length)
      : Base(program, steps, tables, length),
        rows_(int64_t(program.row_slots().size()) * length),
        row_of_(program.slots()),
        shown_(int64_t(program.row_operands().size())),
        loads_(count_loads(program)),
        places_(2 * length * count_loads(program)) {
    T* row = rows_.data();
    for (uint16_t slot : program.row_slots()) row_of_[slot] = row, row += length;
    for (int i = 0; i < program.inputs(); ++i) reads_elements_ |= program.varies(i) == everywhere && program.uses(i);
    int64_t* places = places_.data();
    for (ProgramStep const& step : program.steps(everywhere)) {
      if (step.op != Primitive::load) continue;
      Load& load = *new (&loads_[load_count_++]) Load{};
      load.in_lane = places, load.at_row = places + length, places += 2 * length;
      load.lanes = load.rows = load.both = tables[step.table];
      int axis = 0;
      for (uint16_t slot : {step.a, step.b, step.c}) {
        Varies const how = program.varies(slot);
        if (how != along_lanes) load.lanes.stride[axis] = 0;
        if (how != along_rows && how != nowhere) load.rows.stride[axis] = 0;
        if (how != everywhere) load.both.stride[axis] = 0;
        load.moves |= load.both.stride[axis] != 0;
        ++axis;
      }
    }
  }

  /// After the inputs that vary along lanes were placed.
  void begin_lanes(int64_t lanes) {
    lanes_ = lanes;
    for (ProgramStep const& step : program_.steps(along_lanes)) this->take(step, lanes);
    each_load(
        [&](Load& load, T const* const(&at)[3]) { load.kind = all_table_places(load.lanes, at, lanes, load.in_lane); });
  }
  /// After the inputs that vary along rows were placed, an element for each of the tile's rows.
  void begin_rows(int64_t rows) {
    for (uint16_t slot : program_.row_slots())
      if (slot >= program_.inputs()) slots_[slot] = row_of_[slot];
    for (ProgramStep const& step : program_.steps(along_rows)) this->take(step, rows);
    each_load([&](Load& load, T const* const(&at)[3]) { all_table_places(load.rows, at, rows, load.at_row); });
    for (uint16_t slot : program_.row_slots()) row_of_[slot] = slots_[slot], slots_[slot] = this->own(slot);
    fresh_ = true;
  }
  /// Row c, rows in turn. One that reads what the row before has read is the row before.
  void row(int64_t c) {
    bool changes = fresh_ || reads_elements_;
    int64_t k = 0;
    for (uint16_t slot : program_.row_operands()) {
      T const x = row_of_[slot][c];
      T& shown = shown_[k++];
      if (!fresh_ && __builtin_memcmp(&x, &shown, sizeof(T)) == 0) continue;
      changes = true;
      shown = x;
      T* const to = slots_[slot];
      for (int64_t i = 0; i < lanes_; ++i) to[i] = x;
    }
    for (int64_t l = 0; l < load_count_; ++l) changes |= fresh_ || loads_[l].at_row[c] != loads_[l].at_row[c - 1];
    fresh_ = false;
    if (!changes) return;
    Load* load = loads_.data();
    for (ProgramStep const& step : program_.steps(everywhere))
      if (step.op == Primitive::load)
        read_row(*load++, c, {slots_[step.a], slots_[step.b], slots_[step.c]}, slots_[step.to]);
      else
        this->take(step, lanes_);
  }
  /// How output k varies.
  Varies varies(int k) const { return program_.varies(program_.output_slots()[size_t(k)]); }

 private:
  /// A place is that of a lane, of a row, and of what moves with both.
  struct Load {
    ProgramTableView<T> lanes, rows, both;  // strides of 0 along the other axes
    Places kind;                            // in lanes
    bool moves;                             // with both
    int64_t *in_lane, *at_row;
  };

  static int64_t count_loads(Program const& program) {
    int64_t count = 0;
    for (ProgramStep const& step : program.steps(everywhere)) count += step.op == Primitive::load;
    return count;
  }
  template <class F>
  void each_load(F const& f) {
    if (load_count_ == 0) return;
    Load* load = loads_.data();
    for (ProgramStep const& step : program_.steps(everywhere))
      if (step.op == Primitive::load) {
        T const* const at[3] = {slots_[step.a], slots_[step.b], slots_[step.c]};
        f(*load++, at);
      }
  }
  [[gnu::noinline]] void read_row(Load const& load, int64_t c, T const* const (&at)[3], T* to) {
    T const* const from = load.both.data + load.at_row[c];
    if (!load.moves) return this->read(from, load.kind, load.in_lane, to, lanes_);
    int64_t places[Base::longest];
    if (load.kind == Places::alike) {
      Places const kind = table_places(load.both, at, lanes_, places);
      return this->read(from + load.in_lane[0], kind, places, to, lanes_);
    }
    all_table_places(load.both, at, lanes_, places);
    for (int64_t i = 0; i < lanes_; ++i) to[i] = from[load.in_lane[i] + places[i]];
  }

  int64_t lanes_ = 0, load_count_ = 0;
  bool fresh_ = true, reads_elements_ = false;
  Scratch<T> rows_;
  Scratch<T*> row_of_;
  Scratch<T> shown_;
  Scratch<Load> loads_;
  Scratch<int64_t> places_;
};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
