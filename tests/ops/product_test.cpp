// Matrix products.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr int64_t big = 30011;

/// Where the makers below put their records.
std::vector<OpCase>& list() {
  static std::vector<OpCase> records;
  return records;
}

Tensor matmul_loops(Tensor a, Tensor b) {
  bool const row = a.rank() == 1, column = b.rank() == 1;
  if (row) a = a.unsqueeze(0);
  if (column) b = b.unsqueeze(1);
  int64_t const m = a.size(-2), k = a.size(-1), n = b.size(-1);
  Shape al = a.shape(), bl = b.shape();
  al.erase(a.rank() - 1), al.erase(a.rank() - 2), bl.erase(b.rank() - 1), bl.erase(b.rank() - 2);
  Shape out = broadcast("twin", al, bl), as = out, bs = out;
  as.push_back(m), as.push_back(k), bs.push_back(k), bs.push_back(n);
  auto const x = a.detach().expand(as).to_vector<double>(), y = b.detach().expand(bs).to_vector<double>();
  int64_t const batch = numel(out);
  std::vector<double> z(size_t(batch * m * n));
  for (int64_t l = 0; l < batch; ++l)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t p = 0; p < k; ++p)
        for (int64_t j = 0; j < n; ++j)
          z[size_t((l * m + i) * n + j)] += x[size_t((l * m + i) * k + p)] * y[size_t((l * k + p) * n + j)];
  if (!row) out.push_back(m);
  if (!column) out.push_back(n);
  return tensor(z, out);
}

void product_cases() {
  OpCase c{.name = "matmul",
           .covers = "matmul",
           .inputs = {real(), real()},
           .shapes = {{{3, 4}, {4, 5}},
                      {{2, 3, 4}, {4, 2}},
                      {{3}, {3}},
                      {{2, 1, 2, 3}, {3, 3, 2}},
                      {{4}, {2, 4, 3}},
                      {{2, 3, 4}, {4}},
                      {{1, 1}, {1, 1}},
                      {{7, 9}, {9, 17}},
                      {{33, 8}, {8, 65}},
                      {{3, 0}, {0, 2}},
                      {{0, 3}, {3, 2}},
                      {{2, 3}, {3, 0}},
                      {{0, 2, 3}, {0, 3, 2}},
                      {{5, 70, 40}, {5, 40, 30}},
                      {{2, 3, 2, 2}, {2, 1, 2, 2}}},
           .op = [](Tensors const& x) { return Tensors{matmul(x[0], x[1])}; },
           .twin = [](Tensors const& x) { return Tensors{matmul_loops(x[0], x[1])}; }};
  c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 1e-4;
  c.large = {{300, 201}, {201, 170}};
  c.bad = {{[] {
              matmul(ones({2, 3}), ones({4, 5}));
            },
            {"matmul", "[2, 3]", "[4, 5]", "size 3", "4", "Remedy"}},
           {[] {
              matmul(ones({2, 2, 3}), ones({4, 5}));
            },
            {"matmul", "[2, 2, 3]", "[4, 5]"}},
           {[] {
              matmul(ones({2, 2, 3}), ones({3, 3, 5}));
            },
            {"matmul", "[2]", "[3]"}},
           {[] { matmul(scalar(1), ones({3})); }, {"matmul", "at least one axis"}},
           {[] { matmul(arange(3), arange(3)); }, {"matmul", "i64"}},
           {[] { matmul(Tensor(), ones({3})); }, {"matmul"}}};
  list().push_back(c);
  for (bool with_bias : {true, false}) {
    OpCase l{.name = with_bias ? "linear" : "linear without bias",
             .covers = "linear",
             .inputs = {real(), real()},
             .shapes = {{{3, 4}, {5, 4}},
                        {{2, 3, 4}, {2, 4}},
                        {{4}, {3, 4}},
                        {{1, 1}, {1, 1}},
                        {{2, 7, 9}, {17, 9}},
                        {{0, 3}, {2, 3}},
                        {{3, 0}, {2, 0}},
                        {{33, 8}, {65, 8}},
                        {{2, 3}, {0, 3}}},
             .op = [=](Tensors const& x) { return Tensors{linear(x[0], x[1], with_bias ? x[2] : Tensor())}; },
             .twin =
                 [=](Tensors const& x) {
                   Tensor const y = matmul_loops(x[0], x[1].t());
                   return Tensors{with_bias ? y + x[2] : y};
                 }};
    l.f32 = 2e-5, l.f64 = 1e-12, l.gradient_f32 = 1e-4;
    l.large = {{300, 201}, {170, 201}};
    if (with_bias) {
      l.inputs.push_back(real());
      for (Shapes& s : l.shapes) s.push_back({s[1][0]});
      l.large.push_back({170});
    }
    l.bad = {{[] {
                linear(ones({2, 3}), ones({5, 4}));
              },
              {"linear", "[.., 4]", "[5, 4]", "[2, 3]"}},
             {[] {
                linear(ones({2, 4}), ones({5, 4}), ones({4}));
              },
              {"linear", "bias of shape [5]", "[4]"}},
             {[] {
                linear(ones({2, 4}), ones({5, 4}, Dtype::f64));
              },
              {"linear", "f32", "f64"}},
             {[] {
                linear(Tensor(), ones({5, 4}));
              },
              {"linear"}}};
    list().push_back(l);
  }
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    list().reserve(400);  // the makers above hand out references
    product_cases();
    return OpSuite{.sections = {"products"}, .cases = list()};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)
