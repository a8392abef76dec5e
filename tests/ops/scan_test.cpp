// scan(): against its twin; modes, chunks and splits against each other.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/profile.h>
#include <heed/engine/storage.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

/// Which operands a call has beside q, k, v.
struct ScanVariant {
  std::string name;
  int decay = 0;  // 0 none, 1 of heads, 2 of channels
  bool rank_one = false, initial = false;
  ScanOptions options = {};
  bool rates = false;
};

ScanOptions options_of(ScanVariant const& v, Tensors const& x) {
  ScanOptions o = v.options;
  size_t at = 3;
  if (v.decay) o.decay = x[at++];
  if (v.rank_one) o.a = x[at], o.b = x[at + 1], at += 2;
  if (v.initial) o.initial = x[at++];
  if (v.rates) o.rates = x[at++];
  return o;
}

std::vector<Input> inputs_of(ScanVariant const& v) {
  std::vector<Input> in{real(-1, 1), real(-1, 1), real(-1, 1)};
  if (v.decay) in.push_back(real(-2, 0));
  if (v.rank_one) in.push_back(real(-0.4, 0.4)), in.push_back(real(-0.4, 0.4));
  if (v.initial) in.push_back(real(-1, 1));
  if (v.rates) in.push_back(real(0.5, 2));
  return in;
}

/// `few` heads for q and k, `group` for the others, `heads` for the initial state.
Shapes shapes_of(ScanVariant const& v, int64_t batch, int64_t heads, int64_t t, int64_t d, int64_t e, int64_t few = 0) {
  int64_t const g = few ? few : heads;
  Shapes s{{batch, g, t, d}, {batch, g, t, d}, {batch, heads, t, e}};
  if (v.decay == 1) s.push_back({batch, heads, t});
  if (v.decay == 2) s.push_back({batch, g, t, d});
  if (v.rank_one) s.push_back({batch, g, t, d}), s.push_back({batch, heads, t, d});
  if (v.initial) s.push_back({batch, heads, d, e});
  if (v.rates) s.push_back({heads, d});
  return s;
}

void scan_cases() {
  constexpr auto loop = ScanMode::loop, chunked = ScanMode::chunked;
  ScanVariant const variants[] = {
      {"linear", 0, false, true, {.mode = chunked}},
      {"linear by steps", 0, false, false, {.scale = 0.5, .mode = loop}},
      {"decay", 1, false, true, {.scale = 0.7, .chunk = 32, .mode = chunked}},
      {"decay by steps", 1, false, true, {.chunk = 7, .mode = loop}},
      {"channels", 2, false, true, {.chunk = 48, .mode = chunked}},
      {"channels by steps", 2, false, true, {.mode = loop}},
      {"channels read before", 2, false, true, {.inclusive = false, .mode = chunked}},
      {"channels read before, by steps", 2, false, false, {.inclusive = false, .mode = loop}},
      {"decay read before", 1, false, false, {.inclusive = false, .chunk = 20, .mode = chunked}},
      {"rank one", 0, true, true, {.mode = chunked}},
      {"rank one by steps", 0, true, true, {.mode = loop}},
      {"rank one decay", 1, true, true, {.chunk = 33, .mode = chunked}},
      {"rank one channels", 2, true, true, {.mode = chunked}},
      {"rank one channels read before", 2, true, false, {.inclusive = false, .chunk = 40, .mode = chunked}},
      {"rank one decay read before by steps", 1, true, true, {.inclusive = false, .mode = loop}},
      {"automatic", 2, true, true, {}},
  };
  for (ScanVariant const& v : variants) {
    OpCase c{.name = "scan " + v.name,
             .covers = "scan",
             .inputs = inputs_of(v),
             .shapes = {shapes_of(v, 1, 2, 3, 2, 2), shapes_of(v, 1, 2, 3, 2, 3, 1),  // heads share keys
                        shapes_of(v, 1, 1, 1, 1, 1), shapes_of(v, 2, 1, 19, 3, 5), shapes_of(v, 1, 4, 37, 9, 17, 2),
                        shapes_of(v, 1, 1, 70, 16, 33), shapes_of(v, 0, 2, 3, 2, 2), shapes_of(v, 1, 2, 0, 2, 3),
                        shapes_of(v, 1, 2, 3, 0, 3), shapes_of(v, 1, 2, 3, 2, 0)},
             .op =
                 [=](Tensors const& x) {
                   auto const y = scan(x[0], x[1], x[2], options_of(v, x));
                   return Tensors{y.out, y.state};
                 },
             .twin =
                 [=](Tensors const& x) {
                   auto const y = naive::scan(x[0], x[1], x[2], options_of(v, x));
                   return Tensors{y.out, y.state};
                 },
             .large = shapes_of(v, 1, 3, 500, 24, 96)};
    c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.gradcheck.tolerance = 1e-6, c.gradcheck.full_up_to = 30, c.gradcheck.directions = 2;
    list().push_back(c);
  }
  // Narrow states, heads side by side.
  ScanVariant const narrow[] = {
      {"narrow", 0, false, true, {.scale = 0.5}},
      {"narrow decay", 1, false, true, {.chunk = 7}},
      {"narrow channels", 2, false, true, {.chunk = 16}},
      {"narrow rates", 1, false, true, {.scale = 0.7, .chunk = 5}, true},
      {"narrow read before", 2, false, false, {.inclusive = false, .chunk = 3}},
      {"narrow rates read before", 1, false, false, {.inclusive = false}, true},
  };
  for (ScanVariant const& v : narrow) {
    OpCase c{.name = "scan " + v.name,
             .covers = "scan",
             .inputs = inputs_of(v),
             .shapes = {shapes_of(v, 1, 2, 3, 2, 1), shapes_of(v, 1, 2, 3, 2, 1, 1), shapes_of(v, 2, 3, 4, 1, 1),
                        shapes_of(v, 1, 5, 19, 3, 2, 1), shapes_of(v, 2, 35, 9, 2, 1), shapes_of(v, 1, 35, 11, 3, 1, 1),
                        shapes_of(v, 1, 17, 6, 2, 4, 1), shapes_of(v, 1, 9, 7, 2, 3), shapes_of(v, 1, 6, 5, 2, 1, 2),
                        shapes_of(v, 1, 4, 1, 3, 1, 1), shapes_of(v, 0, 2, 3, 2, 1), shapes_of(v, 1, 4, 0, 2, 1, 1)},
             .op =
                 [=](Tensors const& x) {
                   auto const y = scan(x[0], x[1], x[2], options_of(v, x));
                   return Tensors{y.out, y.state};
                 },
             .twin =
                 [=](Tensors const& x) {
                   auto const y = naive::scan(x[0], x[1], x[2], options_of(v, x));
                   return Tensors{y.out, y.state};
                 },
             .large = shapes_of(v, 2, 300, 400, 8, 1, 1)};
    c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.gradcheck.tolerance = 1e-6, c.gradcheck.full_up_to = 30, c.gradcheck.directions = 2;
    list().push_back(c);
  }
  Tensor const q = ones({1, 2, 3, 4}), v = ones({1, 2, 3, 5});
  list().back().bad = {{[=] {
                          scan(ones({2, 3}), q, v);
                        },
                        {"scan", "q", "rank 4", "[2, 3]"}},
                       {[=] {
                          scan(q, ones({1, 2, 3, 5}), v);
                        },
                        {"scan", "k", "[1, 2, 3, 5]"}},
                       {[=] {
                          scan(q, ones({1, 2, 4, 4}), v);
                        },
                        {"scan", "k", "as many steps"}},
                       {[=] {
                          scan(ones({1, 3, 3, 4}), q, v);
                        },
                        {"scan", "k", "heads"}},
                       {[=] { scan(q, q.to(Dtype::f64), v); }, {"scan", "k", "f64", "f32"}},
                       {[=] { scan(q, q, Tensor()); }, {"scan", "undefined"}},
                       {[=] {
                          scan(q, q, v, {.decay = ones({1, 2, 3, 5})});
                        },
                        {"scan", "decay", "[1, 2, 3, 5]"}},
                       {[=] {
                          scan(q, q, v, {.decay = ones({1, 2, 2})});
                        },
                        {"scan", "decay", "[1, 2, 2]"}},
                       {[=] { scan(q, q, v, {.decay = ones({3})}); }, {"scan", "decay", "[3]"}},
                       {[=] { scan(q, q, v, {.a = q}); }, {"scan", "a and b"}},
                       {[=] {
                          scan(q, q, v, {.rates = ones({2, 4})});
                        },
                        {"scan", "rates", "decay [B, G, T]"}},
                       {[=] {
                          scan(q, q, v, {.decay = ones({1, 2, 3}), .rates = ones({2, 3})});
                        },
                        {"scan", "rates", "[2, 3]"}},
                       {[=] {
                          scan(q, q, v, {.a = q, .b = ones({1, 2, 3, 3})});
                        },
                        {"scan", "b", "[1, 2, 3, 3]"}},
                       {[=] {
                          scan(q, q, v, {.initial = ones({1, 2, 5, 4})});
                        },
                        {"scan", "initial", "[1, 2, 5, 4]"}},
                       {[=] {
                          scan(q, q, v, {.initial = ones({1, 1, 4, 5})});
                        },
                        {"scan", "initial", "state"}},
                       {[=] { scan(q, q, v, {.chunk = -1}); }, {"scan", "chunk", "-1"}},
                       {[=] {
                          scan(ones({2, 2, 3, 4}), q, v);
                        },
                        {"scan", "k"}},
                       {[=] { scan(q.to(Dtype::i64), q, v); }, {"scan", "floating", "i64"}}};

  ScanVariant const delta{"", 1};
  for (int decay : {0, 1, 2}) {
    auto const with = [=](Tensors const& x) { return ScanOptions{.decay = decay ? x[4] : Tensor(), .mode = chunked}; };
    OpCase c{.name = "delta_scan " + std::to_string(decay),
             .covers = "delta_scan",
             .inputs = {real(-1, 1), real(-0.7, 0.7), real(-1, 1), real(0, 1)},
             .shapes = {{{1, 2, 3, 2}, {1, 2, 3, 2}, {1, 2, 3, 2}, {1, 2, 3}},
                        {{1, 2, 3, 2}, {1, 1, 3, 2}, {1, 2, 3, 3}, {1, 2, 3}},
                        {{2, 1, 40, 5}, {2, 1, 40, 5}, {2, 2, 40, 9}, {2, 1, 40}}},
             .op =
                 [=](Tensors const& x) {
                   auto const y = delta_scan(x[0], x[1], x[2], x[3], with(x));
                   return Tensors{y.out, y.state};
                 },
             .twin =
                 [=](Tensors const& x) {
                   // (1 − βkkᵀ)(D∘S) + βkvᵀ as it is written, for one head of keys to each of v.
                   int64_t const heads = x[2].size(1), n = x[0].size(2);
                   auto const column = [&](Tensor const& t, int64_t s) {
                     Shape wide = t.select(2, s).shape();
                     wide[1] = heads;
                     return t.select(2, s).expand(wide).unsqueeze(-1);
                   };
                   Tensor s = zeros({x[0].size(0), heads, x[0].size(3), x[2].size(3)}, x[0].dtype());
                   Tensors out;
                   for (int64_t t = 0; t < n; ++t) {
                     Tensor const k = column(x[1], t), beta = column(x[3], t).unsqueeze(-1);
                     if (decay == 1) s = exp(column(x[4], t)).unsqueeze(-1) * s;
                     if (decay == 2) s = exp(column(x[4], t)) * s;
                     s = s + beta * k * (column(x[2], t).t() - matmul(k.t(), s));
                     out.push_back(matmul(column(x[0], t).t(), s).squeeze(-2));
                   }
                   return Tensors{stack(out, 2), s};
                 }};
    if (decay) c.inputs.push_back(real(-2, 0));
    for (Shapes& s : c.shapes) {
      if (decay == 1) s.push_back(s[3]);
      if (decay == 2) s.push_back(s[1]);
    }
    c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 1e-6;
    c.bad = {{[=] { delta_scan(q, q, v, q); }, {"delta_scan", "beta", "[1, 2, 3, 4]"}},
             {[=] {
                delta_scan(q, q, v, ones({1, 2, 4}));
              },
              {"delta_scan", "beta", "[1, 2, 4]"}},
             {[=] {
                delta_scan(q, q, v, ones({1, 3, 3}));
              },
              {"delta_scan", "beta", "[1, 3, 3]"}},
             {[=] {
                delta_scan(q, q, v, ones({1, 2, 3}), {.a = q, .b = q});
              },
              {"delta_scan", "a, b"}}};
    list().push_back(c);
  }
}

void causal_conv_cases() {
  for (bool state : {false, true}) {
    OpCase c{.name = std::string("causal_conv1d") + (state ? " with a state" : ""),
             .covers = "causal_conv1d",
             .inputs = {real(), real(), real()},
             .shapes = {{{1, 2, 3}, {2, 3}, {2}},
                        {{2, 3, 17}, {3, 4}, {3}},
                        {{1, 5, 1}, {5, 4}, {5}},
                        {{2, 2, 5}, {2, 1}, {2}},
                        {{1, 2, 3}, {2, 6}, {2}},
                        {{1, 2, 0}, {2, 3}, {2}},
                        {{0, 2, 3}, {2, 3}, {2}}},
             .op =
                 [=](Tensors const& x) {
                   auto const [y, end] = causal_conv1d(x[0], x[1], x[2], state ? x[3] : Tensor());
                   return Tensors{y, end};
                 },
             .twin =
                 [=](Tensors const& x) {
                   int64_t const t = x[0].size(2), past = x[1].size(1) - 1;
                   Tensor const before = state ? x[3] : zeros({x[0].size(0), x[0].size(1), past}, x[0].dtype());
                   Tensor const all = cat({before, x[0]}, 2);
                   Tensor y = x[2].unsqueeze(-1) * ones_like(x[0]);
                   for (int64_t j = 0; j <= past; ++j) y = y + all.slice(2, j, j + t) * x[1].slice(1, j, j + 1);
                   return Tensors{y, all.slice(2, t, t + past)};
                 },
             .large = {{2, 64, 300}, {64, 4}, {64}}};
    if (state) {
      c.inputs.push_back(real());
      for (Shapes& s : c.shapes) s.push_back({s[0][0], s[0][1], s[1][1] - 1});
      c.large.push_back({2, 64, 3});
    }
    c.gradient_f32 = 2e-4;
    list().push_back(c);
  }
  Tensor const x = ones({1, 2, 3});
  list().back().bad = {{[=] {
                          causal_conv1d(ones({2, 3}), ones({2, 4}));
                        },
                        {"causal_conv1d", "[2, 3]"}},
                       {[=] {
                          causal_conv1d(x, ones({3, 4}));
                        },
                        {"causal_conv1d", "[3, 4]"}},
                       {[=] {
                          causal_conv1d(x, ones({2, 0}));
                        },
                        {"causal_conv1d", "[2, 0]"}},
                       {[=] {
                          causal_conv1d(x, ones({2, 4}), {}, ones({1, 2, 4}));
                        },
                        {"causal_conv1d", "[1, 2, 3]"}}};
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    scan_cases();
    causal_conv_cases();
    return OpSuite{.sections = {"linear recurrence"}, .cases = list()};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

namespace {

/// What a test calls with: every operand tracked, the forms of the transition one after another.
struct Call {
  std::string name;
  Tensor q, k, v;
  ScanOptions options;

  /// The operands that are there.
  Tensors operands() const {
    Tensors all;
    for (Tensor const& t : {q, k, v, options.decay, options.a, options.b, options.initial, options.rates})
      if (t.defined()) all.push_back(t);
    return all;
  }
};

Tensor tracked_numbers(Shape const& shape, uint32_t key, Dtype dtype, double scale = 1, double shift = 0) {
  Tensor t = (numbers(shape, key, dtype) * scale + shift).detach();
  return t.requires_grad_();
}

std::vector<Call> calls(int64_t t, int64_t d, int64_t e, Dtype dtype = Dtype::f64, bool initial = true) {
  std::vector<Call> all;
  for (bool inclusive : {true, false})
    for (int decay : {0, 1, 2})
      for (bool rank_one : {false, true}) {
        Call c{"decay " + std::to_string(decay) + (rank_one ? " rank one" : "") + (inclusive ? "" : " read before"),
               tracked_numbers({1, 2, t, d}, 1, dtype), tracked_numbers({1, 2, t, d}, 2, dtype),
               tracked_numbers({1, 2, t, e}, 3, dtype), ScanOptions{.inclusive = inclusive}};
        if (decay == 1) c.options.decay = tracked_numbers({1, 2, t}, 4, dtype, 0.5, -0.5);
        if (decay == 2) c.options.decay = tracked_numbers({1, 2, t, d}, 4, dtype, 0.5, -0.5);
        if (rank_one) c.options.a = tracked_numbers({1, 2, t, d}, 5, dtype, 0.5);
        if (rank_one) c.options.b = tracked_numbers({1, 2, t, d}, 6, dtype, 0.5);
        if (initial) c.options.initial = tracked_numbers({1, 2, d, e}, 7, dtype);
        all.push_back(c);
      }
  return all;
}

/// out, state, and gradients of both with respect to the operands of `c`.
Tensors values_and_gradients(Call const& c, Scanned const& y) {
  Tensors all{y.out.detach(), y.state.detach()};
  for (Tensor const& g : grad({y.out, y.state}, c.operands(),
                              {numbers(y.out.shape(), 8, y.out.dtype()), numbers(y.state.shape(), 9, y.out.dtype())}))
    all.push_back(g);
  return all;
}

void check_same(Tensors const& got, Tensors const& want, double tolerance) {
  REQUIRE(got.size() == want.size());
  for (size_t k = 0; k < got.size(); ++k) {
    INFO("tensor ", k);
    CHECK(differs(got[k], want[k], tolerance) == "");
  }
}

Scanned run(Call const& c, ScanMode mode, int64_t chunk) {
  ScanOptions o = c.options;
  o.mode = mode, o.chunk = chunk;
  return scan(c.q, c.k, c.v, o);
}

ScanOptions part_of(ScanOptions o, int64_t from, int64_t to) {
  for (Tensor* t : {&o.decay, &o.a, &o.b})
    if (t->defined()) *t = t->slice(2, from, to);
  return o;
}

}  // namespace

TEST_CASE("scan: loop and chunks of every size are one function, for every length, on every level") {
  if (bench_filter()) return;
  on_every_isa([&](Isa level) {
    bool const best = int(level) + 1 == int(all_isas().size()) || !has_isa(Isa(int(level) + 1));
    for (int64_t t : best ? std::vector<int64_t>{1, 2, 3, 15, 16, 17, 33, 65, 100} : std::vector<int64_t>{2, 37})
      for (Call const& c : calls(t, 5, 7)) {
        INFO(std::string(name(level)), " ", c.name, " T ", t);
        Tensors const want = values_and_gradients(c, run(c, ScanMode::loop, t));
        for (int64_t chunk : {1, 2, 3, 16, 64, 1000}) {
          INFO("chunk ", chunk);
          check_same(values_and_gradients(c, run(c, ScanMode::chunked, chunk)), want, 1e-11);
          if (t == 33) check_same(values_and_gradients(c, run(c, ScanMode::loop, chunk)), want, 1e-11);
        }
      }
  });
}

namespace {

/// Calls of narrow states: q and k of one head or all, every form of the decay.
std::vector<Call> narrow_calls(int64_t heads, int64_t t, int64_t d, int64_t e, Dtype dtype = Dtype::f64) {
  std::vector<Call> all;
  for (bool inclusive : {true, false})
    for (int decay : {0, 1, 2, 3})
      for (int64_t few : {int64_t{1}, heads}) {
        Call c{
            "narrow, decay " + std::to_string(decay) + (few == 1 ? " shared" : "") + (inclusive ? "" : " read before"),
            tracked_numbers({2, few, t, d}, 1, dtype), tracked_numbers({2, few, t, d}, 2, dtype),
            tracked_numbers({2, heads, t, e}, 3, dtype), ScanOptions{.inclusive = inclusive}};
        if (decay == 1 || decay == 3) c.options.decay = tracked_numbers({2, heads, t}, 4, dtype, 0.5, -0.6);
        if (decay == 2) c.options.decay = tracked_numbers({2, few, t, d}, 4, dtype, 0.5, -0.6);
        if (decay == 3) c.options.rates = tracked_numbers({heads, d}, 5, dtype, 0.3, 1);
        c.options.initial = tracked_numbers({2, heads, d, e}, 7, dtype);
        all.push_back(c);
      }
  return all;
}

}  // namespace

TEST_CASE("scan: heads side by side are the loop's, for every length, on every level, split anywhere, in any layout") {
  if (bench_filter()) return;
  on_every_isa([&](Isa level) {
    for (int64_t e : {1, 3})
      for (int64_t t : {1, 2, 33})
        for (Call const& c : narrow_calls(19, t, 3, e)) {
          INFO(std::string(name(level)), " ", c.name, " T ", t, " E ", e);
          Tensors const want = values_and_gradients(c, run(c, ScanMode::loop, 0));
          for (int64_t chunk : {0, 1, 8})
            check_same(values_and_gradients(c, run(c, ScanMode::automatic, chunk)), want, 1e-11);
          // Heads as the last axis, as layers have them.
          Call turned = c;
          for (Tensor* x : {&turned.q, &turned.k, &turned.v, &turned.options.decay})
            if (x->defined()) *x = x->transpose(1, 2).clone().transpose(1, 2);
          check_same(values_and_gradients(c, run(turned, ScanMode::automatic, 0)), want, 1e-11);
          int64_t const at = t / 2;
          if (at == 0) continue;
          ScanOptions first = part_of(c.options, 0, at), second = part_of(c.options, at, t);
          Scanned const a = scan(c.q.slice(2, 0, at), c.k.slice(2, 0, at), c.v.slice(2, 0, at), first);
          second.initial = a.state;
          Scanned const b = scan(c.q.slice(2, at, t), c.k.slice(2, at, t), c.v.slice(2, at, t), second);
          check_same(values_and_gradients(c, {cat({a.out, b.out}, 2), b.state}), want, 1e-11);
        }
  });
}

TEST_CASE("scan: heads side by side keep their NaN to themselves") {
  if (bench_filter()) return;
  constexpr int64_t t = 20, at = 11, heads = 19, sick = 17;
  for (double bad : {nan_, inf})
    for (Call const& clean : narrow_calls(heads, t, 3, 1)) {
      INFO(clean.name, " ", bad);
      Call c = clean;
      Tensor v = c.v.detach().clone();
      v.select(2, at).select(1, sick).fill_(bad);
      c.v = v.requires_grad_();
      auto const of = [](Call const& x) { return values_and_gradients(x, run(x, ScanMode::automatic, 8)); };
      Tensors const got = of(c), want = of(clean);
      CHECK(same_bits(got[0].slice(1, 0, sick), want[0].slice(1, 0, sick)));
      CHECK(same_bits(got[0].slice(1, sick + 1, heads), want[0].slice(1, sick + 1, heads)));
      CHECK(same_bits(got[0].slice(2, 0, at), want[0].slice(2, 0, at)));
      CHECK(!std::isfinite(got[1].select(1, sick).select(0, 0).to_vector<double>()[0]));
      CHECK(same_bits(got[4].slice(1, 0, sick), want[4].slice(1, 0, sick)));  // dv
    }
}

TEST_CASE("scan: heads side by side have decays of any strength") {
  if (bench_filter()) return;
  for (double strong : {-50., -1e4, -inf})
    for (Call c : narrow_calls(19, 40, 3, 1)) {
      if (!c.options.decay.defined() || c.options.rates.defined()) continue;
      INFO(c.name, " ", strong);
      Tensor logs = c.options.decay.detach().clone();
      for (int64_t t : {0, 5, 16, 39}) logs.select(2, t).fill_(strong);
      c.options.decay = logs.requires_grad_();
      check_same(values_and_gradients(c, run(c, ScanMode::automatic, 0)),
                 values_and_gradients(c, run(c, ScanMode::loop, 0)), 1e-12);
    }
}

TEST_CASE("scan: of heads side by side only what is asked for gets a gradient, and memory is that of operands") {
  if (bench_filter()) return;
  Tensor const one = ones({1, 1, 64, 4}, Dtype::f64), v = tracked_numbers({1, 6, 64, 1}, 1, Dtype::f64);
  Tensor const rates = tracked_numbers({6, 4}, 2, Dtype::f64, 0.1, 1);
  auto const slopes = [&](ScanMode mode) {
    Scanned const y = scan(one, one, v, {.decay = full({1, 6, 64}, -0.1, Dtype::f64), .rates = rates, .mode = mode});
    return grad({y.out}, {v, rates}, {numbers(y.out.shape(), 3)});
  };
  check_same(slopes(ScanMode::automatic), slopes(ScanMode::loop), 1e-12);

  auto const peak = [](int64_t t) {
    Tensor x = ones({1, t, 64}).requires_grad_(), q = ones({1, 1, t, 16}).requires_grad_();
    Tensor const r = full({64, 16}, -1.).requires_grad_();
    size_t const before = memory_statistics().in_use;
    reset_peak_memory();
    Tensor const heads = x.transpose(1, 2);
    sum(scan(q, q, heads.unsqueeze(-1), {.decay = heads, .rates = r}).out).backward();
    return double(memory_statistics().peak - before) / double(t);
  };
  CHECK(peak(4096) < 1.1 * peak(512));
  CHECK(peak(4096) < 8 * 4 * 64);  // of f32: less than half a state for each step
}

TEST_CASE("scan: a sequence split anywhere, the state handed on, is the whole one, in values and gradients") {
  if (bench_filter()) return;
  constexpr int64_t t = 21;
  for (Call const& c : calls(t, 3, 4)) {
    Tensors const want = values_and_gradients(c, scan(c.q, c.k, c.v, c.options));
    for (ScanMode mode : {ScanMode::loop, ScanMode::chunked})
      for (int64_t at = 0; at <= t; ++at) {
        INFO(c.name, " split at ", at);
        ScanOptions first = part_of(c.options, 0, at), second = part_of(c.options, at, t);
        first.mode = second.mode = mode, first.chunk = 4, second.chunk = 8;
        Scanned const a = scan(c.q.slice(2, 0, at), c.k.slice(2, 0, at), c.v.slice(2, 0, at), first);
        second.initial = a.state;
        Scanned const b = scan(c.q.slice(2, at, t), c.k.slice(2, at, t), c.v.slice(2, at, t), second);
        check_same(values_and_gradients(c, {cat({a.out, b.out}, 2), b.state}), want, 1e-11);
      }
    INFO(c.name, " step by step");
    Tensors out;
    Tensor state = c.options.initial;
    for (int64_t s = 0; s < t; ++s) {
      ScanOptions o = part_of(c.options, s, s + 1);
      o.initial = state;
      Scanned const y = scan(c.q.slice(2, s, s + 1), c.k.slice(2, s, s + 1), c.v.slice(2, s, s + 1), o);
      out.push_back(y.out);
      state = y.state;
    }
    check_same(values_and_gradients(c, {cat(out, 2), state}), want, 1e-11);
  }
}

TEST_CASE("scan: decays of any strength neither overflow nor blur their neighbours") {
  if (bench_filter()) return;
  for (double strong : {-50., -1e4, -inf})
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (bool everywhere : {false, true})
        for (Call c : calls(70, 5, 7, dtype)) {
          if (!c.options.decay.defined()) continue;
          INFO(c.name, " ", strong, " ", std::string(name(dtype)), everywhere ? " everywhere" : "");
          Tensor logs = c.options.decay.detach().clone();
          for (int64_t t : {0, 1, 5, 16, 31, 40, 69}) logs.select(2, t).fill_(strong);
          if (everywhere) logs.fill_(strong);
          c.options.decay = logs.requires_grad_();
          Call wide = c;
          for (Tensor* t : {&wide.q, &wide.k, &wide.v, &wide.options.decay, &wide.options.a, &wide.options.b,
                            &wide.options.initial})
            if (t->defined()) {
              *t = t->detach().to(Dtype::f64);
              t->requires_grad_();
            }
          Scanned const twin = naive::scan(wide.q, wide.k, wide.v, wide.options);
          Tensors outputs{numbers(twin.out.shape(), 8, dtype).to(Dtype::f64),
                          numbers(twin.state.shape(), 9, dtype).to(Dtype::f64)};
          Tensors want{twin.out, twin.state};
          for (Tensor const& g : grad({twin.out, twin.state}, wide.operands(), outputs)) want.push_back(g);
          double const tolerance = dtype == Dtype::f32 ? 2e-5 : 1e-12;
          for (int64_t chunk : {16, 64}) {
            for (ScanMode mode : {ScanMode::loop, ScanMode::chunked})
              check_same(values_and_gradients(c, run(c, mode, chunk)), want, tolerance);
          }
        }
}

TEST_CASE("scan: NaN and Inf go where the recurrence takes them, never back in time") {
  if (bench_filter()) return;
  constexpr int64_t t = 40, at = 21;
  for (double bad : {nan_, inf})
    for (Call const& clean : calls(t, 5, 7))
      for (int which = 0; which < 7; ++which) {
        Call c = clean;
        Tensor* const operands[] = {&c.q, &c.k, &c.v, &c.options.decay, &c.options.a, &c.options.b, nullptr};
        Tensor* const operand = operands[which];
        INFO(c.name, " ", bad, " in operand ", which);
        auto const dirty = [&](Tensor const& x) {
          Tensor y = x.detach().clone();
          y.select(2, at).select(1, 1).fill_(bad);
          return y;
        };
        if (operand && !operand->defined()) continue;
        if (operand) *operand = dirty(*operand).requires_grad_();
        for (int64_t chunk : {1, 16, 64}) {
          Scanned const y = run(c, chunk == 1 ? ScanMode::loop : ScanMode::chunked, chunk);
          Scanned const want = run(clean, ScanMode::loop, 0);
          // Steps before it are clean; of a query, all but its own.
          CHECK(differs(y.out.slice(2, 0, at), want.out.slice(2, 0, at), 1e-12) == "");
          CHECK(differs(y.out.select(1, 0), want.out.select(1, 0), 1e-12) == "");
          if (which == 0) {
            CHECK(differs(y.out.slice(2, at + 1, t), want.out.slice(2, at + 1, t), 1e-12) == "");
            CHECK(differs(y.state, want.state, 1e-12) == "");
          }
          if (which == 2 || (which == 1 && std::isnan(bad)))
            CHECK(!std::isfinite(y.state.select(1, 1).to_vector<double>()[0]));
          // A cotangent sends it back in time only.
          Tensor const g = numbers(want.out.shape(), 8);
          auto const d = grad({y.out}, c.operands(), {which == 6 ? dirty(g) : g}, {.allow_unused = true});
          auto const clean_d = grad({want.out}, clean.operands(), {g}, {.allow_unused = true});
          // Keys, values and decays of later steps know nothing of that cotangent, nor do other queries.
          if (which == 6)
            for (size_t k = 1; k + 1 < d.size(); ++k)
              CHECK(differs(d[k].slice(2, at + 1, t), clean_d[k].slice(2, at + 1, t), 1e-11) == "");
          if (which == 6 || which == 1 || which == 2)
            CHECK(differs(d[0].slice(2, 0, at), clean_d[0].slice(2, 0, at), 1e-11) == "");
        }
      }
}

TEST_CASE("scan: what its special cases are") {
  if (bench_filter()) return;
  constexpr int64_t t = 50, d = 6, e = 5;
  Tensor const q = numbers({2, 2, t, d}, 1), k = numbers({2, 2, t, d}, 2), v = numbers({2, 2, t, e}, 3);
  for (ScanMode mode : {ScanMode::loop, ScanMode::chunked}) {
    ScanOptions const plain{.mode = mode};
    // Linear attention: the lower triangle of q·kᵀ.
    Tensor const scores = matmul(q, k.t());
    Tensor const seen = arange(t).unsqueeze(1) >= arange(t);
    CHECK(differs(scan(q, k, v, plain).out, matmul(where(seen, scores, 0.0), v), 1e-12) == "");
    // A decay of 1, and one number for all channels.
    ScanOptions o = plain;
    o.decay = zeros({2, 2, t}, Dtype::f64);
    CHECK(differs(scan(q, k, v, o).out, scan(q, k, v, plain).out, 1e-13) == "");
    o.decay = full({2, 2, t}, -0.3, Dtype::f64);
    ScanOptions channels = plain;
    channels.decay = full({2, 2, t, d}, -0.3, Dtype::f64);
    CHECK(differs(scan(q, k, v, o).out, scan(q, k, v, channels).out, 1e-13) == "");
    // Heads that share are heads repeated.
    Tensor const one = k.slice(1, 0, 1);
    CHECK(same_bits(scan(q, one, v, plain).out, scan(q, one.expand(k.shape()), v, plain).out));
    // The delta rule with orthonormal keys recalls exactly, and beta = 0 is no change.
    Tensor const basis = (arange(d).unsqueeze(1) == arange(d)).to(Dtype::f64).expand({2, 2, d, d});
    Tensor const values = v.slice(2, 0, d), all = ones({2, 2, d}, Dtype::f64);
    CHECK(differs(delta_scan(basis, basis, values, all, plain).out, values, 1e-15) == "");
    Tensor const state = delta_scan(basis, basis, values, all, plain).state;
    CHECK(differs(matmul(basis, state), values, 1e-15) == "");
    ScanOptions later = plain;
    later.initial = state;
    CHECK(same_bits(delta_scan(basis, basis, values * 3., all * 0., later).state, state));
    // Writing to the same key again and again keeps the last value, in f32, however long the chunk.
    Tensor const key = normalize(numbers({1, 1, 1, d}, 4, Dtype::f32), 2, -1).expand({1, 1, 300, d});
    Tensor const many = numbers({1, 1, 300, e}, 5, Dtype::f32);
    ScanOptions long_chunk = plain;
    long_chunk.chunk = 128;
    CHECK(differs(delta_scan(key, key, many, ones({1, 1, 300}), long_chunk).out, many, 1e-5) == "");
  }
}

TEST_CASE("scan: operands of 16 bits are computed in f32, and the state stays f32") {
  if (bench_filter()) return;
  for (Dtype half : {Dtype::bf16, Dtype::f16}) {
    Tensor const q = numbers({1, 2, 9, 4}, 1).to(half), v = numbers({1, 2, 9, 3}, 2).to(half);
    Tensor const decay = numbers({1, 2, 9}, 3, Dtype::f32) - 1.0;
    Scanned const y = scan(q, q, v, {.decay = decay});
    CHECK(y.out.dtype() == half);
    CHECK(y.state.dtype() == Dtype::f32);
    Scanned const wide = scan(q.to(Dtype::f32), q.to(Dtype::f32), v.to(Dtype::f32), {.decay = decay});
    CHECK(same_bits(y.out, wide.out.to(half)));
    CHECK(same_bits(y.state, wide.state));
    CHECK(scan(q, q, v, {.initial = y.state}).out.dtype() == half);
    CHECK(delta_scan(q, q, v, decay, {.initial = y.state}).out.dtype() == half);
  }
}

TEST_CASE("causal_conv1d: split anywhere, the state handed on, it is the whole") {
  if (bench_filter()) return;
  Tensor const x = numbers({2, 3, 9}, 1), w = numbers({3, 4}, 2), b = numbers({3}, 3);
  auto const whole = causal_conv1d(x, w, b);
  for (int64_t at = 0; at <= 9; ++at) {
    auto const first = causal_conv1d(x.slice(2, 0, at), w, b);
    auto const second = causal_conv1d(x.slice(2, at, 9), w, b, first.second);
    CHECK(differs(cat({first.first, second.first}, 2), whole.first, 1e-13) == "");
    CHECK(same_bits(second.second, whole.second));
  }
}

TEST_CASE("scan: its work counts multiply-adds of a state, whatever the mode, in O(T)") {
  if (bench_filter()) return;
  auto const flops = [](int64_t t, ScanOptions o) {
    Tensor const q = ones({2, 3, t, 4}), v = ones({2, 3, t, 5});
    Profile p = profile([&] { scan(q, q, v, o); });
    for (ProfileRow const& row : p.by_op())
      if (row.name == "scan") return row.flops;
    return 0.;
  };
  CHECK(flops(10, {}) == 2 * 3 * 10 * 4 * 5 * 4);
  CHECK(flops(20, {.chunk = 3, .mode = ScanMode::chunked}) == 2 * flops(10, {.mode = ScanMode::loop}));
}

TEST_CASE("scan: memory grows with T and T/chunk states, not with T times a state") {
  if (bench_filter()) return;
  auto const peak = [](int64_t t) {
    Tensor q = ones({1, 1, t, 16}).requires_grad_(), v = ones({1, 1, t, 16}).requires_grad_();
    size_t const before = memory_statistics().in_use;
    reset_peak_memory();
    sum(scan(q, q, v, {.mode = ScanMode::chunked}).out).backward();
    return double(memory_statistics().peak - before) / double(t);
  };
  double const few = peak(512), many = peak(4096);
  CHECK(many < 1.1 * few);
  CHECK(many < 4 * 16 * 16);  // of f32: less than a state for each step
}
