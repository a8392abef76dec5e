// Runs a program over short rows of elements, again and again with the same uniform inputs. For *.simd.cpp files only.
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
    for (ProgramStep const& step : program_.uniform_steps()) take(step, length_);
  }
  void run(int64_t n) {
    for (ProgramStep const& step : program_.steps()) take(step, n);
  }
  T const* output(int k) { return slots_[program_.output_slots()[size_t(k)]]; }

 private:
  void take(ProgramStep const& step, int64_t n) {
    T const* const at[3] = {slots_[step.a], slots_[step.b], slots_[step.c]};
    if (step.op != Primitive::load) {
      steps_[int(step.op)](slots_[step.to], at[0], at[1], at[2], n);
      return;
    }
    ProgramTableView<T> const& table = tables_[step.table];
    T* const to = slots_[step.to];
    int64_t places[longest];
    switch (table_places(table, at, n, places)) {
      case Places::alike:
        for (int64_t i = 0; i < n; ++i) to[i] = table.data[places[0]];
        break;
      case Places::consecutive:
        __builtin_memcpy(to, table.data + places[0], size_t(n) * sizeof(T));
        break;
      case Places::scattered:
        for (int64_t i = 0; i < n; ++i) to[i] = table.data[places[i]];
    }
  }

  Program const& program_;
  ProgramKernel<T> const* steps_;
  ProgramTableView<T> const* tables_;
  int64_t length_;
  Scratch<T> memory_;
  Scratch<T*> slots_;
};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
