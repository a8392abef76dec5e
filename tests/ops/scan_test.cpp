// scan(): against its twin; modes, chunks and splits against each other.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
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
};

ScanOptions options_of(ScanVariant const& v, Tensors const& x) {
  ScanOptions o = v.options;
  size_t at = 3;
  if (v.decay) o.decay = x[at++];
  if (v.rank_one) o.a = x[at], o.b = x[at + 1], at += 2;
  if (v.initial) o.initial = x[at++];
  return o;
}

std::vector<Input> inputs_of(ScanVariant const& v) {
  std::vector<Input> in{real(-1, 1), real(-1, 1), real(-1, 1)};
  if (v.decay) in.push_back(real(-2, 0));
  if (v.rank_one) in.push_back(real(-0.4, 0.4)), in.push_back(real(-0.4, 0.4));
  if (v.initial) in.push_back(real(-1, 1));
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

OpSuite const& suite() {
  static OpSuite const all = [] {
    scan_cases();
    return OpSuite{.sections = {"linear recurrence"}, .cases = list()};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)
