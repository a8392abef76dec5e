// The device's attention against the CPU's, forward and backward: sizes, windows, masks, dropout, pages, programs.
#include <heed/engine/ops.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/tape.h>

#include <limits>
#include <memory>

#include "device_array.h"

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
extern AttendKernels const device_attend_kernels;
extern AttendRowsKernels const device_attend_rows_kernels;
namespace attention {
template <class T>
void row_thresholds(AttendArgs<T> const& a, RowThreshold kind, double parameter, T* threshold, int64_t most_scores);
}
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed

using namespace heed;
using namespace heed::tests;

namespace {

constexpr int64_t no_limit = INT64_MAX;
enum class Masked { nothing, pairs, keys };

struct Case {
  int64_t batch, heads, kv_heads, tq, tk, d, dv;
  int64_t left = no_limit, right = no_limit;
  Masked mask = Masked::nothing;
  double dropout = 0;
  bool apart = false;  // [B, T, H, D] in memory
  int64_t page = 0;
  bool direct = false;
  ScoreMod score = {};
  MaskMod sees = {};
  bool poison = false;  // NaN and Inf where no query looks
  bool backward = true;
};

struct Operand {
  int64_t batch, head, row, numel;
};
Operand operand(int64_t batch, int64_t heads, int64_t rows, int64_t d, bool apart) {
  if (apart) return {rows * heads * d, d, heads * d, batch * rows * heads * d};
  return {heads * rows * d, rows * d, d, batch * heads * rows * d};
}

/// Results of a pass, from the host's or the device's memory.
template <class T>
struct Results {
  std::vector<T> out, lse, dq, dk, dv;
  std::vector<std::vector<double>> sums;
};

/// Arrays of the inputs in some memory: `at(vector)` gives their address there.
template <class T>
struct Inputs {
  Case const& x;
  Operand q, k, v, o;
  std::vector<T> vq, vk, vv, vdout, vdlse;
  std::vector<uint8_t> mask;
  std::vector<int64_t> pages;

  explicit Inputs(Case const& c) : x(c) {
    Numbers numbers(uint64_t(c.tq * 7 + c.tk * 31 + c.d));
    int64_t const per_sequence = c.page ? (c.tk + c.page - 1) / c.page : 0, page_total = c.batch * per_sequence + 1;
    q = operand(c.batch, c.heads, c.tq, c.d, c.apart), o = operand(c.batch, c.heads, c.tq, c.dv, c.apart);
    k = operand(c.page ? page_total : c.batch, c.kv_heads, c.page ? c.page : c.tk, c.d, c.apart);
    v = operand(c.page ? page_total : c.batch, c.kv_heads, c.page ? c.page : c.tk, c.dv, c.apart);
    vq = numbers.vector<T>(q.numel), vk = numbers.vector<T>(k.numel), vv = numbers.vector<T>(v.numel);
    for (T& value : vq) value *= 3;
    vdout = numbers.vector<T>(o.numel), vdlse = numbers.vector<T>(c.batch * c.heads * c.tq);
    for (int64_t p = 0; p < c.batch * per_sequence; ++p) pages.push_back((p * 5 + 3) % page_total);
    if (c.mask == Masked::pairs) {
      mask.resize(size_t(c.batch * c.tq * c.tk));
      for (uint8_t& m : mask) m = numbers.next() < 0.3;
      for (int64_t j = 0; j < c.tk; ++j) mask[size_t(j)] = 0;  // a row that sees nothing
    }
    if (c.mask == Masked::keys) {
      mask.resize(size_t(c.batch * c.tk));
      for (int64_t b = 0; b < c.batch; ++b)
        for (int64_t j = 0; j < c.tk; ++j) mask[size_t(b * c.tk + j)] = j < c.tk - 3 - 40 * b;
      if (c.poison)
        for (int64_t b = 0; b < c.batch; ++b)
          for (int64_t g = 0; g < c.kv_heads; ++g)
            for (int64_t j = 0; j < c.tk; ++j)
              if (!mask[size_t(b * c.tk + j)]) {
                vk[size_t(b * k.batch + g * k.head + j * k.row)] = std::numeric_limits<T>::quiet_NaN();
                vv[size_t(b * v.batch + g * v.head + j * v.row)] = std::numeric_limits<T>::infinity();
              }
    }
  }

  template <class At>
  AttendArgs<T> args(At const& at) const {
    AttendArgs<T> a{};
    a.batch = x.batch, a.heads = x.heads, a.kv_heads = x.kv_heads, a.tq = x.tq, a.tk = x.tk, a.d = x.d, a.dv = x.dv;
    a.q = at(vq), a.q_batch = q.batch, a.q_head = q.head, a.q_row = q.row;
    a.k = at(vk), a.k_batch = k.batch, a.k_head = k.head, a.k_row = k.row;
    a.v = at(vv), a.v_batch = v.batch, a.v_head = v.head, a.v_row = v.row;
    a.scale = T(0.4), a.left = x.left, a.right = x.right;
    if (x.mask != Masked::nothing) {
      a.mask = at(mask), a.mask_col = 1;
      a.mask_row = x.mask == Masked::pairs ? x.tk : 0, a.mask_batch = x.mask == Masked::pairs ? x.tq * x.tk : x.tk;
    }
    a.dropout = x.dropout, a.seed = 0x123456789ABCDEF, a.offset = 0x500000007, a.direct = x.direct;
    if (x.page) a.pages = at(pages), a.page = x.page, a.page_count = (x.tk + x.page - 1) / x.page;
    return a;
  }
};

/// Tables of a modification, where `at` puts them.
template <class T, class At>
std::vector<ProgramTableView<T>> views(ModTables<T> const& tables, At const& at) {
  std::vector<ProgramTableView<T>> to = tables.views;
  for (size_t t = 0; t < to.size(); ++t)
    to[t].data = at(std::vector<T>(to[t].data, to[t].data + tables.tensors[t].numel()));
  return to;
}

/// The pass with arrays in some memory: at(vector) puts one there and gives its address, back(vector) reads it.
template <class T, class At, class Back>
Results<T> run(Inputs<T> const& in, AttendTable<T> const& kernels, At const& at, Back const& back) {
  Case const& x = in.x;
  AttendArgs<T> a = in.args(at);
  auto const tables = [](Modification const* mod) {
    return ModTables<T>(mod ? recorded(mod)->tables : std::vector<Tensor>{});
  };
  ModTables<T> const score = tables(x.score.get()), sees = tables(x.sees.get());
  auto const score_views = views<T>(score, at), sees_views = views<T>(sees, at);
  TilePattern pattern;
  if (x.score) a.score = {recorded(x.score.get())->program.get(), score_views.data()};
  if (x.sees) {
    a.sees = {recorded(x.sees.get())->program.get(), sees_views.data()};
    Tiles const tiles = a.tiles();
    pattern = tile_pattern(*recorded(x.sees.get()),
                           {a.batch, a.heads, a.tq, a.tk, tiles.queries, tiles.keys, a.shift_low(), a.shift_high()});
    a.pattern = &pattern;
  }
  Results<T> r;
  r.out.assign(size_t(in.o.numel), T(7)), r.lse.assign(size_t(x.batch * x.heads * x.tq), T(7));
  AttendStrides const os{in.o.batch, in.o.head, in.o.row}, qs{in.q.batch, in.q.head, in.q.row};
  AttendStrides const ks{in.k.batch, in.k.head, in.k.row}, vs{in.v.batch, in.v.head, in.v.row};
  T* const out = at(r.out);
  T* const lse = x.direct ? nullptr : at(r.lse);
  kernels.forward(a, out, os, lse);
  if (x.backward) {
    r.dq.assign(size_t(in.q.numel), T(7)), r.dk.assign(size_t(in.k.numel), T(7)), r.dv.assign(size_t(in.v.numel), T(7));
    AttendGradArgs<T> g{};
    g.out = out, g.out_strides = os, g.lse = lse, g.dout = at(in.vdout), g.dout_strides = os;
    if (!x.direct) g.dlse = at(in.vdlse);
    g.dq = at(r.dq), g.dq_strides = qs, g.dk = at(r.dk), g.dk_strides = ks, g.dv = at(r.dv), g.dv_strides = vs;
    std::shared_ptr<Program const> slope;
    std::vector<AttendSink> sinks;
    if (x.score) {
      Program const& program = *recorded(x.score.get())->program;
      std::vector<bool> const wanted(score.tensors.size(), true);
      slope = program.read_gradient(wanted);
      g.slope = {slope.get(), score_views.data()};
      for (int t : program.loads(wanted)) {
        int64_t const numel = score.tensors[size_t(t)].numel();
        AttendSink sink{at(std::vector<double>(size_t(AttendSink::most_parts * numel))), numel, {}, {}};
        for (int axis = 0; axis < 3; ++axis)
          sink.size[axis] = score_views[size_t(t)].size[axis], sink.stride[axis] = score_views[size_t(t)].stride[axis];
        sinks.push_back(sink);
      }
    }
    g.sinks = sinks.data(), g.sink_count = int(sinks.size());
    kernels.backward(a, g);
    back(r.dq, g.dq), back(r.dk, g.dk), back(r.dv, g.dv);
    for (AttendSink const& sink : sinks) {
      std::vector<double> parts(size_t(AttendSink::most_parts * sink.numel)), sum(size_t(sink.numel));
      back(parts, sink.sum);
      for (size_t i = 0; i < parts.size(); ++i) sum[i % sum.size()] += parts[i];
      r.sums.push_back(sum);
    }
  }
  back(r.out, out);
  if (lse) back(r.lse, lse);
  return r;
}

template <class T>
Results<T> on_cpu(Inputs<T> const& in) {
  std::vector<std::shared_ptr<void>> kept;
  auto const at = [&]<class U>(std::vector<U> const& from) {
    auto copy = std::make_shared<std::vector<U>>(from);
    kept.push_back(copy);
    return copy->data();
  };
  auto const back = []<class U>(std::vector<U>& to, U const* from) { to.assign(from, from + to.size()); };
  return run<T>(in, kernels<AttendKernels>().template of<T>(), at, back);
}

template <class T>
Results<T> on_device(Inputs<T> const& in) {
  std::vector<std::shared_ptr<void>> kept;
  auto const at = [&]<class U>(std::vector<U> const& from) {
    auto copy = std::make_shared<DeviceArray<U>>(from);
    kept.push_back(copy);
    return copy->data();
  };
  auto const back = []<class U>(std::vector<U>& to, U const* from) {
    check_device(rt::copy_to_host(to.data(), from, to.size() * sizeof(U), current_stream()), "test");
    check_device(rt::synchronize(current_stream()), "test");
  };
  return run<T>(in, device_attend_kernels.of<T>(), at, back);
}

template <class T>
void compare(Case const& x, Largest& largest) {
  Inputs<T> const in(x);
  Results<T> const wanted = on_cpu(in), got = on_device(in);
  double const bound = sizeof(T) == 4 ? 5e-6 : 2e-14;
  auto const error = [&](auto const& a, auto const& b) { return largest.note(relative_error(a, b)); };
  CHECK(error(got.out, wanted.out) < bound);
  if (!x.direct) CHECK(error(got.lse, wanted.lse) < bound);
  if (!x.backward) return;
  CHECK(error(got.dq, wanted.dq) < bound);
  CHECK(error(got.dk, wanted.dk) < bound);
  CHECK(error(got.dv, wanted.dv) < bound);
  REQUIRE(got.sums.size() == wanted.sums.size());
  for (size_t k = 0; k < got.sums.size(); ++k) CHECK(error(got.sums[k], wanted.sums[k]) < bound);
  if (x.poison)
    for (auto const* part : {&got.out, &got.dq, &got.dk, &got.dv})
      for (T value : *part) REQUIRE(std::isfinite(value));
}

Tensor table(Shape const& shape, double step) {
  Tensor t = zeros(shape);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = float(std::sin(step * double(i + 1)));
  return t;
}

}  // namespace

TEST_CASE_TEMPLATE("attend on a device: sizes and windows", T, float, double) {
  Largest largest{sizeof(T) == 4 ? "attend f32" : "attend f64"};
  compare<T>({1, 1, 1, 1, 1, 1, 1}, largest);
  compare<T>({2, 2, 1, 5, 7, 3, 5}, largest);
  compare<T>({1, 2, 2, 33, 40, 36, 8, no_limit, 0, Masked::nothing, 0, true}, largest);  // causal, bottom right
  compare<T>({1, 1, 1, 40, 33, 16, 12, no_limit, 0}, largest);                           // rows that see nothing
  compare<T>({1, 4, 2, 70, 70, 20, 24, 9, 3}, largest);                                  // a window, groups
  compare<T>({1, 1, 1, 36, 36, 20, 70}, largest);                                        // two slices of values
}

TEST_CASE("attend on a device: tiles of 64") {
  Largest largest{"attend f32, tiles of 64"};
  compare<float>({1, 2, 1, 150, 170, 36, 40, no_limit, 0}, largest);
  compare<float>({1, 1, 1, 100, 130, 132, 68}, largest);  // queries that do not stay in shared memory
  compare<float>({1, 1, 1, 130, 130, 8, 8, 100, 70, Masked::pairs, 0.25, true}, largest);
}

TEST_CASE_TEMPLATE("attend on a device: masks, dropout, poisoned keys", T, float, double) {
  Largest largest{sizeof(T) == 4 ? "attend f32, masks" : "attend f64, masks"};
  compare<T>({2, 1, 1, 12, 50, 8, 8, no_limit, no_limit, Masked::pairs}, largest);
  compare<T>({2, 2, 2, 21, 37, 8, 8, no_limit, no_limit, Masked::nothing, 0.3}, largest);
  Case poisoned{1, 2, 1, 37, 45, 8, 12, no_limit, no_limit, Masked::keys, 0.1};
  poisoned.poison = true;
  compare<T>(poisoned, largest);
  poisoned.tq = poisoned.tk = 90, poisoned.batch = 2;
  compare<T>(poisoned, largest);
}

TEST_CASE("attend on a device: few queries and many keys, in parts; pages") {
  Largest largest{"attend f32, few queries"};
  Case few{1, 2, 1, 1, 700, 16, 20};
  few.backward = false;
  compare<float>(few, largest);
  few.tq = 3, few.right = 0, few.left = 300;
  compare<float>(few, largest);
  for (int64_t page : {32, 64}) {
    Case paged{2, 2, 1, 3, 150, 8, 8, no_limit, 0};
    paged.page = page, paged.backward = false;
    compare<float>(paged, largest);
    paged.tq = 70;
    compare<float>(paged, largest);
  }
}

TEST_CASE_TEMPLATE("attend on a device: recorded scores and masks", T, float, double) {
  Largest largest{sizeof(T) == 4 ? "attend f32, programs" : "attend f64, programs"};
  Tensor const slopes = table({2}, 0.7), bias = table({2, 21}, 0.3);
  Case x{1, 2, 1, 45, 50, 8, 8};
  x.score = soft_cap(2) | alibi(slopes);
  compare<T>(x, largest);
  x.score = relative_bias(bias), x.right = 0, x.dropout = 0.2;
  compare<T>(x, largest);
  x = {1, 2, 2, 70, 75, 8, 8};
  x.sees = [](auto at) { return fmod(at.i - at.j, 3.) == 0.; };
  compare<T>(x, largest);
  x.sees = window(40, 2) & causal(), x.score = alibi(slopes);
  compare<T>(x, largest);
  x = {1, 1, 1, 40, 40, 8, 8, no_limit, 0};
  x.score = [](auto s, auto) { return 1. / (1. + exp(-s)); }, x.direct = true, x.dropout = 0.1;
  compare<T>(x, largest);
}

/// Sums over keys and queries of what the score makes of scores, and their gradients; thresholds of every kind.
template <class T, class At, class Back, class Threshold>
std::vector<std::vector<double>> run_rows(Inputs<T> const& in, AttendRowsTable<T> const& kernels, At const& at,
                                          Back const& back, Threshold const& threshold) {
  Case const& x = in.x;
  AttendArgs<T> a = in.args(at);
  a.v = a.k, a.v_batch = a.k_batch, a.v_head = a.k_head, a.v_row = a.k_row, a.dv = a.d;
  ModTables<T> const tables(recorded(x.score.get())->tables);
  auto const table_views = views<T>(tables, at);
  Program const& program = *recorded(x.score.get())->program;
  a.score = {&program, table_views.data()};
  std::vector<std::vector<double>> all;
  auto const keep = [&](T const* from, int64_t n) {
    std::vector<T> values(static_cast<size_t>(n));
    back(values, from);
    all.emplace_back(values.begin(), values.end());
  };
  int64_t const heads = x.batch * x.heads;
  for (bool over_queries : {false, true}) {
    int64_t const n = heads * (over_queries ? x.tk : x.tq);
    std::vector<T> const slope = Numbers(uint64_t(n)).vector<T>(n);
    T* const sums = at(std::vector<T>(size_t(n)));
    kernels.sum(a, over_queries, sums);
    keep(sums, n);
    AttendGradArgs<T> g{};
    g.dq = at(in.vq), g.dq_strides = {in.q.batch, in.q.head, in.q.row};
    g.dk = at(in.vk), g.dk_strides = {in.k.batch, in.k.head, in.k.row};
    auto const slopes = program.read_gradient(std::vector<bool>(tables.tensors.size(), true));
    g.slope = {slopes.get(), table_views.data()};
    AttendSink sink{at(std::vector<double>(size_t(AttendSink::most_parts * tables.tensors[0].numel()))),
                    tables.tensors[0].numel(),
                    {},
                    {}};
    for (int axis = 0; axis < 3; ++axis)
      sink.size[axis] = table_views[0].size[axis], sink.stride[axis] = table_views[0].stride[axis];
    g.sinks = &sink, g.sink_count = 1;
    kernels.sum_backward(a, over_queries, at(slope), g);
    keep(g.dq, in.q.numel);
    keep(g.dk, in.k.numel);
    std::vector<double> parts(size_t(AttendSink::most_parts * sink.numel)), sum(size_t(sink.numel));
    back(parts, static_cast<double const*>(sink.sum));
    for (size_t i = 0; i < parts.size(); ++i) sum[i % sum.size()] += parts[i];
    all.push_back(sum);
  }
  for (auto [kind, parameter] : {std::pair{RowThreshold::entmax, 1.5},
                                 {RowThreshold::entmax, 2.},
                                 {RowThreshold::entmax, 1.2},
                                 {RowThreshold::largest, 1.},
                                 {RowThreshold::largest, 7.},
                                 {RowThreshold::below_largest, 3.}}) {
    T* const to = at(std::vector<T>(size_t(heads * x.tq)));
    threshold(a, kind, parameter, to);
    keep(to, heads * x.tq);
  }
  return all;
}

TEST_CASE_TEMPLATE("attend on a device: sums of scores and thresholds of rows", T, float, double) {
  Largest largest{sizeof(T) == 4 ? "attend f32, rows" : "attend f64, rows"};
  Case x{2, 4, 2, 41, 70, 12, 12, 60, 0, Masked::pairs, 0.3};
  x.score = relative_bias(table({4, 21}, 0.3)) | soft_cap(3);
  Case wide{1, 1, 1, 3, 300, 40, 40};
  wide.score = relative_bias(table({1, 21}, 0.3));
  for (Case const& c : {x, wide}) {
    Inputs<T> const in(c);
    std::vector<std::shared_ptr<void>> kept;
    auto const host = [&]<class U>(std::vector<U> const& from) {
      auto copy = std::make_shared<std::vector<U>>(from);
      kept.push_back(copy);
      return copy->data();
    };
    auto const device = [&]<class U>(std::vector<U> const& from) {
      auto copy = std::make_shared<DeviceArray<U>>(from);
      kept.push_back(copy);
      return copy->data();
    };
    auto const here = []<class U>(std::vector<U>& to, U const* from) { to.assign(from, from + to.size()); };
    auto const there = []<class U>(std::vector<U>& to, U const* from) {
      check_device(rt::copy_to_host(to.data(), from, to.size() * sizeof(U), current_stream()), "test");
      check_device(rt::synchronize(current_stream()), "test");
    };
    auto const& mine = kernels<AttendRowsKernels>().template of<T>();
    auto const want = run_rows<T>(in, mine, host, here, mine.threshold);
    for (int64_t most : {0, 2 * 32 * 70, 1 << 20}) {  // a tile at a time, two of them, all
      auto const got = run_rows<T>(in, device_attend_rows_kernels.of<T>(), device, there,
                                   [&](auto&&... arguments) { attention::row_thresholds<T>(arguments..., most); });
      REQUIRE(got.size() == want.size());
      for (size_t k = 0; k < got.size(); ++k) {
        CAPTURE(k);
        double const error = relative_error(got[k], want[k]);
        largest.note(error);
        CHECK(error < (sizeof(T) == 4 ? 5e-5 : 1e-12));
      }
    }
  }
}

TEST_CASE("attend on a device: the same bits again, in any order") {
  Case x{1, 2, 1, 45, 50, 8, 8};
  x.score = relative_bias(table({2, 21}, 0.3));
  Inputs<float> const in(x);
  Results<float> const first = on_device(in);
  auto const before = emu::settings().seed;
  emu::settings().seed = 5;
  Results<float> const again = on_device(in);
  emu::settings().seed = before;
  CHECK(first.out == again.out);
  CHECK(first.dq == again.dq);
  CHECK(first.dk == again.dk);
  CHECK(first.dv == again.dv);
  CHECK(first.sums == again.sums);
}
