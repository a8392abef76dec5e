// Recording modifications of scores, combining them, evaluating them on intervals and on tensors.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/attend_parts.h>
#include <heed/engine/ops/score.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed {

// ---- recording ------------------------------------------------------------------------------------------------------

Symbol read(Tensor const& table, std::initializer_list<Symbol> coordinates) {
  check_defined("read", table);
  check(int(coordinates.size()) == table.rank(), "read", [&] {
    return Complaint{
        fmt::format("expected a coordinate for each axis of {}, got {}", to_string(table.shape()), coordinates.size()),
        "pass as many coordinates as the table has axes"};
  });
  Recorder& recorder = Recorder::current();
  std::vector<Symbol> at(coordinates);
  // A load has three coordinates: more become one, exactly.
  int axis = 0;
  double size = at.empty() ? 1 : double(table.size(0));
  while (at.size() > 3) {
    double const next = double(table.size(++axis));
    Symbol const outer = max(0., min(round(at[0]), size - 1)), inner = max(0., min(round(at[1]), next - 1));
    at[1] = outer * next + inner;
    at.erase(at.begin());
    size *= next;
    check(size <= 1 << 24, "read", [&] {
      return Complaint{fmt::format("the leading axes of {} have more than 2^24 elements", to_string(table.shape())),
                       "fold some of its axes, or split it by batch element"};
    });
  }
  int ids[3] = {-1, -1, -1};
  for (size_t k = 0; k < at.size(); ++k) ids[k] = recorder.id(at[k]);
  return recorder.load(recorder.table(table), ids[0], ids[1], ids[2]);
}

Ref<Modification> ScoreMod::keep(Recording const& recording, Symbol result) {
  Recorder& recorder = *recording.recorder();
  auto* const mod = new RecordedMod;
  Ref<Modification> const kept(mod);
  mod->program = recorder.program({result}, mod_alike);
  mod->tables = recorder.tables();
  auto const values = mod->program->values();
  std::vector<bool> from_score(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ProgramValue const& v = values[i];
    if (v.op == Primitive::input) {
      from_score[i] = i == mod_score;
      continue;
    }
    for (int operand : {v.a, v.b, v.c})
      if (operand >= 0 && from_score[size_t(operand)]) {
        check(v.op != Primitive::load, "read", [] {
          return Complaint{"a coordinate depends on the score", "read by positions; compute with the score afterwards"};
        });
        from_score[i] = true;
      }
  }
  return kept;
}

Ref<Modification> with_tables(RecordedMod const& mod, std::vector<Tensor> tables) {
  auto* const other = new RecordedMod;
  Ref<Modification> const kept(other);
  other->program = mod.program;
  other->tables = std::move(tables);
  return kept;
}

namespace {

/// What `mod` makes of a score, in the recording that is open.
Symbol replayed(Modification const* mod, Symbol score, Position const& at) {
  RecordedMod const& m = *recorded(mod);
  Recorder& recorder = Recorder::current();
  return recorder.replay(*m.program, m.program->output_values(), {score, at.b, at.h, at.i, at.j},
                         recorder.append_tables(m.tables))[0];
}
Symbol replayed(Modification const* mod, Symbol score) {
  return replayed(mod, score,
                  {Recording::input(mod_batch), Recording::input(mod_head), Recording::input(mod_query),
                   Recording::input(mod_key)});
}

}  // namespace

ScoreMod operator|(ScoreMod const& first, ScoreMod const& then) {
  if (!first || !then) return first ? first : then;
  Recording const recording(mod_inputs);
  Symbol const between = replayed(first.get(), Recording::input(mod_score));
  ScoreMod both;
  both.modification_ = ScoreMod::keep(recording, replayed(then.get(), between));
  return both;
}

template <class F>
MaskMod MaskMod::joined(MaskMod const& a, MaskMod const& b, F const& f) {
  Recording const recording(mod_inputs);
  Symbol const none = Recording::input(mod_score);
  SymbolMask const x{replayed(a.get(), none)}, y{replayed(b.get(), none)};
  MaskMod result;
  result.modification_ = ScoreMod::keep(recording, f(x, y).value);
  return result;
}
MaskMod operator&(MaskMod const& a, MaskMod const& b) {
  if (!a.get() || !b.get()) return a.get() ? a : b;
  return MaskMod::joined(a, b, [](SymbolMask x, SymbolMask y) { return x & y; });
}
MaskMod operator|(MaskMod const& a, MaskMod const& b) {
  if (!a.get() || !b.get()) return {};
  return MaskMod::joined(a, b, [](SymbolMask x, SymbolMask y) { return x | y; });
}
MaskMod operator~(MaskMod const& a) {
  if (!a.get()) return [](auto at) { return at.j < at.j; };
  return MaskMod::joined(a, a, [](SymbolMask x, SymbolMask) { return !x; });
}

ScoreMod moved(ScoreMod const& mod, double query, double key) {
  if (!mod) return mod;
  return [&](auto s, auto at) { return replayed(mod.get(), s, {at.b, at.h, at.i + query, at.j + key}); };
}
MaskMod moved(MaskMod const& mod, double query, double key) {
  if (!mod) return mod;
  return [&](auto at) { return SymbolMask{replayed(mod.get(), 0., {at.b, at.h, at.i + query, at.j + key})}; };
}

// ---- the usual ones -------------------------------------------------------------------------------------------------

namespace {

void check_rank(char const* op, Tensor const& x, int rank, char const* shape) {
  check_defined(op, x);
  check(x.rank() == rank, op, [&] {
    return Complaint{fmt::format("expected {}, got {}", shape, to_string(x.shape())), "reshape it"};
  });
}

}  // namespace

ScoreMod soft_cap(double cap) {
  check(cap > 0 && std::isfinite(cap), "soft_cap", [&] {
    return Complaint{fmt::format("expected a positive cap, got {}", cap), "pass the largest score, 30 or 50 are usual"};
  });
  return [cap](auto s, auto) { return cap * tanh(s * (1 / cap)); };
}
ScoreMod alibi(Tensor const& slopes) {
  check_rank("alibi", slopes, 1, "slopes [H]");
  return [&](auto s, auto at) { return s - read(slopes, {at.h}) * abs(at.i - at.j); };
}
ScoreMod relative_bias(Tensor const& table) {
  check_rank("relative_bias", table, 2, "a table [H, 2R + 1]");
  check(table.size(1) % 2 == 1, "relative_bias", [&] {
    return Complaint{fmt::format("expected an odd number of distances, got {}", to_string(table.shape())),
                     "pass entries for distances −R … R"};
  });
  double const reach = double(table.size(1) / 2);
  return [&](auto s, auto at) { return s + read(table, {at.h, at.i - at.j + reach}); };
}
ScoreMod score_bias(Tensor const& bias) {
  check_rank("score_bias", bias, 4, "a bias [B, H, T, S]");
  return [&](auto s, auto at) { return s + read(bias, {at.b, at.h, at.i, at.j}); };
}

MaskMod causal() {
  return [](auto at) { return at.j <= at.i; };
}
MaskMod window(int64_t left, int64_t right) {
  check(left >= 0 && right >= 0, "window", [&] {
    return Complaint{fmt::format("expected counts, got left {} and right {}", left, right),
                     "pass how many keys are visible on each side, 0 or more"};
  });
  return [=](auto at) { return (at.i - at.j <= double(left)) & (at.j - at.i <= double(right)); };
}
MaskMod documents(Tensor const& document) {
  check_rank("documents", document, 2, "documents [B, S]");
  return [&](auto at) { return read(document, {at.b, at.i}) == read(document, {at.b, at.j}); };
}
MaskMod lengths(Tensor const& length) {
  check_rank("lengths", length, 1, "lengths [B]");
  return [&](auto at) { return at.j < read(length, {at.b}); };
}
MaskMod prefix(Tensor const& length) {
  check_rank("prefix", length, 1, "lengths [B]");
  return [&](auto at) { return (at.j <= at.i) | (at.j < read(length, {at.b})); };
}
MaskMod blocks(Tensor const& visible, int64_t block) {
  check_rank("blocks", visible, 4, "visible [B, H, query blocks, key blocks]");
  check(block > 0, "blocks", [&] {
    return Complaint{fmt::format("expected a positive block, got {}", block), "pass the positions in a block"};
  });
  double const size = double(block);
  return [&, size](auto at) {
    return read(visible, {at.b, at.h, floor((at.i + 0.5) / size), floor((at.j + 0.5) / size)}) != 0.;
  };
}

// ---- tables ---------------------------------------------------------------------------------------------------------

template <class T>
ModTables<T>::ModTables(std::vector<Tensor> const& tables) {
  for (Tensor const& table : tables) {
    // What is read of an empty table is 0: only what has no elements itself can ask.
    tensors.push_back(table.numel() ? table.detach().to(dtype_of<T>).contiguous()
                                    : zeros({}, dtype_of<T>, table.device()));
    Tensor const& x = tensors.back();
    ProgramTableView<T> view{x.template address<T>(), {1, 1, 1}, {0, 0, 0}};
    // The last three axes, of which the first holds all axes before.
    int const rank = std::min(x.rank(), 3);
    int64_t stride = 1;
    for (int axis = rank - 1; axis >= 0; --axis) {
      int64_t size = x.size(x.rank() - rank + axis);
      if (axis == 0)
        for (int outer = 0; outer < x.rank() - rank; ++outer) size *= x.size(outer);
      view.size[axis] = size;
      view.stride[axis] = size > 1 ? stride : 0;
      stride *= size;
    }
    views.push_back(view);
  }
}
template struct ModTables<float>;
template struct ModTables<double>;

// ---- whole tensors --------------------------------------------------------------------------------------------------

Tensor apply_mod(RecordedMod const& mod, std::vector<Tensor> const& inputs) {
  auto const values = mod.program->values();
  std::vector<ProgramValue const*> loads;
  for (ProgramValue const& v : values)
    if (v.op == Primitive::load) loads.push_back(&v);
  std::vector<Tensor> operands = inputs;
  Dtype const dtype = inputs[mod_score].dtype();
  auto const part = [&](int value) {
    Recorder recorder(int(operands.size()));
    std::vector<Symbol> in, read;
    for (int i = 0; i < int(operands.size()); ++i) (i < mod_inputs ? in : read).push_back(recorder.named(i));
    return recorder.program(recorder.replay(*mod.program, {&value, 1}, in, 0, read));
  };
  // Loads in order: each one's coordinates come from the positions and the loads before, without a gradient.
  for (ProgramValue const* load : loads) {
    Tensor const& table = mod.tables[size_t(load->table)];
    if (table.numel() == 0) {
      operands.push_back(zeros({}, dtype, table.device()));
      continue;
    }
    Tensor place;
    {
      NoGrad const off;
      std::vector<int64_t> sizes(3, 1);
      int const rank = std::min(table.rank(), 3);
      for (int axis = 0; axis < table.rank(); ++axis)
        sizes[size_t(std::max(axis - (table.rank() - rank), 0))] *= table.size(axis);
      int const coordinates[] = {load->a, load->b, load->c};
      for (int axis = 0; axis < rank; ++axis) {
        Tensor const at = run_program("read", part(coordinates[axis]), operands)[0];
        Tensor const bounded =
            clamp(floor(nan_to_num(at, 0.) + 0.5), 0., double(sizes[size_t(axis)] - 1)).to(Dtype::i64);
        place = place.defined() ? place * sizes[size_t(axis)] + bounded : bounded;
      }
      if (!place.defined()) place = zeros({}, Dtype::i64, table.device());
    }
    Tensor const flat = table.to(dtype).reshape({table.numel()});
    operands.push_back(index_select(flat, 0, place.reshape({place.numel()})).reshape(place.shape()));
  }
  return run_program("attend", part(mod.program->output_values()[0]), operands)[0];
}

// ---- intervals ------------------------------------------------------------------------------------------------------

namespace {

constexpr double infinite = std::numeric_limits<double>::infinity();

struct Interval {
  double low = -infinite, high = infinite;
  bool point() const { return low == high; }
};

Interval known(Interval x) { return x.low <= x.high ? x : Interval{}; }  // NaN: anything
Interval hull(Interval x, Interval y) { return {std::min(x.low, y.low), std::max(x.high, y.high)}; }
Interval truth(bool always, bool never) { return {always ? 1. : 0., never ? 0. : 1.}; }

Interval product(Interval x, Interval y) {
  double const all[] = {x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high};
  Interval result{infinite, -infinite};
  for (double v : all) {
    if (std::isnan(v)) return {};
    result = hull(result, {v, v});
  }
  return result;
}

/// The least and the largest of n numbers that follow each other; anything where one is NaN.
Interval range_of(double const* x, int64_t n) {
  double low[4] = {infinite, infinite, infinite, infinite}, high[4] = {-infinite, -infinite, -infinite, -infinite};
  double odd = 0;                    // NaN where something is
  for (int64_t i = 0; i < n; ++i) {  // in turns that do not wait for each other
    double const v = x[i];
    low[i % 4] = v < low[i % 4] ? v : low[i % 4];
    high[i % 4] = v > high[i % 4] ? v : high[i % 4];
    odd += v != v;
  }
  if (odd != 0) return {};
  return {std::min({low[0], low[1], low[2], low[3]}), std::max({high[0], high[1], high[2], high[3]})};
}

/// What a mask reads, and the range of each table.
struct MaskTables {
  ModTables<double> tables;
  std::vector<Interval> whole;
  explicit MaskTables(RecordedMod const& mask) : tables(mask.tables) {
    for (Tensor const& table : tables.tensors) whole.push_back(range_of(table.data<double>(), table.numel()));
  }
};

/// The values that a mask's program can take while its inputs stay in intervals.
class Bounds {
 public:
  Bounds(RecordedMod const& mask, MaskTables const& tables)
      : program_(*mask.program), tables_(tables.tables), whole_(tables.whole), values_(program_.values().size()) {}

  Interval operator()(Interval const (&inputs)[mod_inputs]) {
    auto const values = program_.values();
    for (size_t k = 0; k < values.size(); ++k) {
      ProgramValue const& v = values[k];
      auto const at = [&](int operand) { return operand < 0 ? Interval{0, 0} : values_[size_t(operand)]; };
      Interval const a = v.op == Primitive::input ? inputs[k] : at(v.a), b = at(v.b);
      values_[k] = known(step(v, a, b, at(v.c)));
    }
    return values_[size_t(program_.output_values()[0])];
  }
  /// What a step was, after a call.
  Interval value(int step) const { return values_[size_t(step)]; }
  ProgramTableView<double> const& table(int number) const { return tables_.views[size_t(number)]; }

 private:
  Interval step(ProgramValue const& v, Interval a, Interval b, Interval c) const {
    using P = Primitive;
    auto const rising = [&](auto f) { return Interval{f(a.low), f(a.high)}; };
    switch (v.op) {
      case P::input:
        return a;
      case P::constant:
      case P::zero:
        return {v.constant, v.constant};
      case P::neg:
        return {-a.high, -a.low};
      case P::abs:
        if (a.low >= 0) return a;
        if (a.high <= 0) return {-a.high, -a.low};
        return {0, std::max(-a.low, a.high)};
      case P::floor:
        return rising([](double x) { return std::floor(x); });
      case P::ceil:
        return rising([](double x) { return std::ceil(x); });
      case P::round:
        return rising([](double x) { return std::nearbyint(x); });
      case P::trunc:
        return rising([](double x) { return std::trunc(x); });
      case P::sqrt:
        return rising([](double x) { return std::sqrt(x); });
      case P::exp:
        return rising([](double x) { return std::exp(x); });
      case P::exp2:
        return rising([](double x) { return std::exp2(x); });
      case P::log:
        return rising([](double x) { return std::log(x); });
      case P::log2:
        return rising([](double x) { return std::log2(x); });
      case P::add:
        return {a.low + b.low, a.high + b.high};
      case P::sub:
        return {a.low - b.high, a.high - b.low};
      case P::mul:
        return product(a, b);
      case P::div:
        if (b.low <= 0 && b.high >= 0) return {};
        return product(a, {1 / b.high, 1 / b.low});
      case P::max:
        return {std::max(a.low, b.low), std::max(a.high, b.high)};
      case P::min:
        return {std::min(a.low, b.low), std::min(a.high, b.high)};
      case P::fmod: {
        if (!b.point() || b.low == 0) return {};
        double const period = std::abs(b.low);
        if (std::trunc(a.low / period) == std::trunc(a.high / period) && (a.low >= 0) == (a.high >= 0))
          return {std::fmod(a.low, period), std::fmod(a.high, period)};
        return {a.low < 0 ? -period : 0, a.high > 0 ? period : 0};
      }
      case P::less:
        return truth(a.high < b.low, a.low >= b.high);
      case P::less_equal:
        return truth(a.high <= b.low, a.low > b.high);
      case P::equal:
        return truth(a.point() && b.point() && a.low == b.low, a.high < b.low || b.high < a.low);
      case P::not_equal:
        return truth(a.high < b.low || b.high < a.low, a.point() && b.point() && a.low == b.low);
      case P::select:
        if (a.low > 0 || a.high < 0) return b;
        return a.point() ? c : hull(b, c);
      case P::load:
        return range(size_t(v.table), {a, b, c});
      default:
        return {};
    }
  }

  /// The least and the largest element within coordinates.
  Interval range(size_t number, std::array<Interval, 3> const& at) const {
    ProgramTableView<double> const& table = tables_.views[number];
    int64_t first[3] = {}, last[3] = {}, count = 1;
    for (int axis = 0; axis < 3; ++axis) {
      if (table.stride[axis] == 0) continue;
      double const edge = double(table.size[axis] - 1);
      first[axis] = int64_t(std::clamp(at[size_t(axis)].low, 0., edge) + 0.5);
      last[axis] = int64_t(std::clamp(at[size_t(axis)].high, 0., edge) + 0.5);
      count *= last[axis] - first[axis] + 1;
    }
    if (count > 2048) return whole_[number];
    int run = 2;  // the axis along which elements follow each other
    while (run > 0 && table.stride[run] == 0) --run;
    int64_t const length = last[run] - first[run] + 1;
    last[run] = first[run];
    Interval result{infinite, -infinite};
    for (int64_t x = first[0]; x <= last[0]; ++x)
      for (int64_t y = first[1]; y <= last[1]; ++y)
        for (int64_t z = first[2]; z <= last[2]; ++z)
          result = hull(result,
                        range_of(table.data + x * table.stride[0] + y * table.stride[1] + z * table.stride[2], length));
    return result;
  }

  Program const& program_;
  ModTables<double> const& tables_;
  std::vector<Interval> const& whole_;
  std::vector<Interval> values_;
};

}  // namespace

TilePattern tile_pattern(RecordedMod const& mask, PatternSizes const& s) {
  TilePattern pattern;
  pattern.batches = mask.program->uses(mod_batch) ? s.batch : std::min(s.batch, int64_t{1});
  pattern.heads = mask.program->uses(mod_head) ? s.heads : std::min(s.heads, int64_t{1});
  pattern.query_blocks = (s.tq + s.tile_queries - 1) / s.tile_queries;
  int64_t const rows = pattern.batches * pattern.heads * pattern.query_blocks;
  std::vector<std::vector<TilePattern::Tile>> found(static_cast<size_t>(rows));
  MaskTables const tables(mask);
  parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
    Bounds bounds(mask, tables);
    for (int64_t row = begin; row < end; ++row) {
      double const b = double(row / pattern.query_blocks / pattern.heads);
      double const h = double(row / pattern.query_blocks % pattern.heads);
      int64_t const i = row % pattern.query_blocks * s.tile_queries;
      int64_t const i_last = std::min(i + s.tile_queries, s.tq) - 1;
      double const shift = double(s.tk - s.tq);
      auto const judge = [&](auto const& self, int64_t first, int64_t last) -> void {  // key blocks [first, last)
        int64_t const j = first * s.tile_keys, j_last = std::min(last * s.tile_keys, s.tk) - 1;
        if (j > i_last + s.shift_high || j_last < i + s.shift_low) return;
        Interval const seen =
            bounds({{}, {b, b}, {h, h}, {double(i) + shift, double(i_last) + shift}, {double(j), double(j_last)}});
        if (seen.low == 0 && seen.high == 0) return;
        bool const full = seen.low > 0 || seen.high < 0;
        if (full || last - first == 1) {
          for (int64_t block = first; block < last; ++block) found[size_t(row)].push_back({int32_t(block), full});
          return;
        }
        int64_t const middle = (first + last) / 2;
        self(self, first, middle);
        self(self, middle, last);
      };
      if (s.tk > 0) judge(judge, 0, (s.tk + s.tile_keys - 1) / s.tile_keys);
    }
  });
  pattern.begin.push_back(0);
  for (auto const& row : found) {
    pattern.tiles.insert(pattern.tiles.end(), row.begin(), row.end());
    pattern.begin.push_back(int64_t(pattern.tiles.size()));
  }
  return pattern;
}

void check_reads(Modification const* mod, int64_t length) {
  if (!mod || length == 0) return;
  std::vector<Tensor> here;
  for (Tensor const& table : recorded(mod)->tables) here.push_back(table.detach().to(cpu));
  Ref<Modification> const copy = with_tables(*recorded(mod), std::move(here));
  RecordedMod const& m = *recorded(copy.get());
  auto const values = m.program->values();
  std::vector<Interval> first;  // coordinates at the first position
  MaskTables const tables(m);
  Bounds bounds(m, tables);
  for (double const at : {0., double(length - 1)}) {
    bounds({{}, {0, 0}, {0, 0}, {at, at}, {at, at}});
    size_t n = 0;
    for (ProgramValue const& v : values) {
      if (v.op != Primitive::load) continue;
      int const coordinates[] = {v.a, v.b, v.c};
      for (int axis = 0; axis < 3; ++axis, ++n) {
        Interval const here = coordinates[axis] < 0 ? Interval{0, 0} : bounds.value(coordinates[axis]);
        if (at == 0) first.push_back(here);
        int64_t const size = bounds.table(v.table).size[axis];
        bool const by_position = here.point() && first[n].point() && here.low != first[n].low;
        check(!by_position || size == 1 || std::round(here.low) < double(size), "attend", [&] {
          return Complaint{
              fmt::format("position {} of a sequence of {} is read in a table of {}", length - 1, length, size),
              "where a sequence is spread over ranks, a table goes by positions of the whole"};
        });
      }
    }
  }
}

}  // namespace heed
