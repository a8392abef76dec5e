// Views and what rearranges elements.
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

/// Checks a rearrangement against one of its elements' numbers: the same op on indices gives the expected order.
OpCase& rearrangement(std::string name, std::function<Tensor(Tensor const&)> f, std::vector<Shapes> shapes,
                      std::function<Tensor(Tensor const&)> twin) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = {real()},
           .shapes = std::move(shapes),
           .op = [f](Tensors const& x) { return Tensors{f(x[0])}; },
           .twin = [twin](Tensors const& x) { return Tensors{twin(x[0])}; }};
  c.elementwise_bits = true;
  list().push_back(std::move(c));
  return list().back();
}

/// Elements of x at `from(index)` for every index of `shape`.
Tensor picked(Tensor const& x, Shape const& shape,
              std::function<std::vector<int64_t>(std::vector<int64_t> const&)> from) {
  auto const values = x.detach().to_vector<double>();
  Strides const steps = contiguous_strides(x.shape()), to = contiguous_strides(shape);
  std::vector<double> out(size_t(numel(shape)));
  for (size_t i = 0; i < out.size(); ++i) {
    std::vector<int64_t> at;
    int64_t rest = int64_t(i);
    for (int a = 0; a < shape.rank(); ++a) {
      at.push_back(rest / to[a]);
      rest %= to[a];
    }
    auto const source = from(at);
    int64_t offset = 0;
    bool zero = false;
    for (int a = 0; a < x.rank(); ++a) {
      zero |= source[size_t(a)] < 0;
      offset += source[size_t(a)] * steps[a];
    }
    out[i] = zero ? 0 : values[size_t(offset)];
  }
  return tensor(out, shape);
}

std::vector<Shapes> const unary_shapes = {{{3, 5}}, {{}},   {{1}}, {{7}},       {{8}},    {{9}},
                                          {{17}},   {{33}}, {{0}}, {{2, 0, 3}}, {{4, 65}}};

void shape_cases() {
  using I = std::vector<int64_t> const&;
  using At = std::vector<int64_t>;
  std::vector<Shapes> const three = {{{2, 3, 4}}, {{1, 3, 1}}, {{3, 3, 9}}, {{0, 3, 2}}};
  auto same = [](Tensor const& x) { return picked(x, x.shape(), [](I i) { return i; }); };
  auto flat = [](Tensor const& x) { return tensor(x.detach().to_vector<double>(), {x.size(0) * 3, x.size(2)}); };
  rearrangement(
      "reshape",
      [](Tensor const& x) {
        return x.reshape({x.size(0) * 3, x.size(2)});
      },
      three, flat)
      .bad = {{[] {
                 ones({2, 3}).reshape({4});
               },
               {"reshape", "[2, 3] (6 elements)", "[4]", "Remedy"}}};
  rearrangement(
      "reshape copies",
      [](Tensor const& x) {
        return x.transpose(0, 1).reshape({3 * x.size(0), x.size(2)});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {3 * x.size(0), x.size(2)}, [n = x.size(0)](I i) { return At{i[0] % n, i[0] / n, i[1]}; });
      });
  // view() refuses what needs a copy, so its strided operand is made contiguous first.
  rearrangement(
      "view",
      [](Tensor const& x) {
        return x.contiguous().view({x.size(0) * 3, x.size(2)});
      },
      three, flat)
      .bad = {{[] {
                 ones({2, 3}).t().view({6});
               },
               {"view", "[3, 2]", "[6]", "Remedy"}}};
  rearrangement(
      "flatten", [](Tensor const& x) { return x.flatten(0, 1); }, three, flat);
  rearrangement(
      "permute",
      [](Tensor const& x) {
        return x.permute({2, 0, 1});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {x.size(2), x.size(0), x.size(1)}, [](I i) { return At{i[1], i[2], i[0]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).permute({0, 0});
               },
               {"permute", "[0, 0]", "exactly once"}},
              {[] {
                 ones({2, 3}).permute({0});
               },
               {"permute", "[0]"}}};
  rearrangement(
      "transpose", [](Tensor const& x) { return x.transpose(0, -1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(2), x.size(1), x.size(0)}, [](I i) { return At{i[2], i[1], i[0]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).transpose(0, 2);
               },
               {"transpose", "got 2"}}};
  rearrangement(
      "t", [](Tensor const& x) { return x.t(); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2), x.size(1)}, [](I i) { return At{i[0], i[2], i[1]}; });
      });
  rearrangement(
      "unsqueeze", [](Tensor const& x) { return x.unsqueeze(-1).squeeze(-1).unsqueeze(0).squeeze(0); }, three, same);
  rearrangement(
      "squeeze", [](Tensor const& x) { return x.slice(1, 1, 2).squeeze(1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2)}, [](I i) { return At{i[0], 1, i[1]}; });
      });
  rearrangement(
      "expand",
      [](Tensor const& x) {
        return x.unsqueeze(1).expand({2, x.size(0), 3, 3, x.size(2)});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {2, x.size(0), 3, 3, x.size(2)}, [](I i) { return At{i[1], i[3], i[4]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).expand({2, 4});
               },
               {"expand", "[2, 3]", "[2, 4]"}},
              {[] {
                 ones({2, 3}).expand({3});
               },
               {"expand", "[2, 3]", "[3]"}}};
  rearrangement(
      "slice", [](Tensor const& x) { return x.slice(1, -2, 3); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 2, x.size(2)}, [](I i) { return At{i[0], i[1] + 1, i[2]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).slice(0, 0, 1, 0);
               },
               {"slice", "step", "got 0"}},
              {[] { ones({2}).slice(1, 0, 1); }, {"slice", "got 1"}}};
  rearrangement(
      "slice step", [](Tensor const& x) { return x.slice(1, 0, 3, 2); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 2, x.size(2)}, [](I i) { return At{i[0], 2 * i[1], i[2]}; });
      });
  rearrangement(
      "select", [](Tensor const& x) { return x.select(1, -1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2)}, [](I i) { return At{i[0], 2, i[1]}; });
      })
      .bad = {{[] {
                 ones({2, 3}).select(1, 3);
               },
               {"select", "index 3", "axis 1", "[2, 3]"}}};
  rearrangement(
      "at", [](Tensor const& x) { return x.transpose(0, 1).at(1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), x.size(2)}, [](I i) { return At{i[0], 1, i[1]}; });
      });
  rearrangement(
      "contiguous", [](Tensor const& x) { return x.t().contiguous().t(); }, three, same);
  rearrangement(
      "clone", [](Tensor const& x) { return x.clone(); }, three, same);
  rearrangement(
      "split",
      [](Tensor const& x) {
        auto p = split(x, 2, 1);
        return cat({p[1], p[0]}, 1);
      },
      three, [](Tensor const& x) { return picked(x, x.shape(), [](I i) {
                                     return At{i[0], (i[1] + 2) % 3, i[2]};
                                   }); })
      .bad = {{[] { split(ones({3}), 0); }, {"split", "got 0"}}};
  OpCase to{.name = "to",
            .covers = "to",
            .inputs = {real()},
            .shapes = unary_shapes,
            .op = [](Tensors const& x) { return Tensors{x[0].to(Dtype::f32).to(x[0].dtype())}; },
            .scalar = [](double const* x) { return x[0]; }};
  to.differentiable = false;  // rounds to f32, which differences see; its gradient is in tape_test.cpp
  list().push_back(to);
  OpCase joined{.name = "cat",
                .covers = "cat",
                .inputs = {real(), real(), real()},
                .shapes = {{{2, 3}, {2, 1}, {2, 3}},
                           {{1, 0}, {1, 5}, {1, 2}},
                           {{0, 2}, {0, 3}, {0, 1}},
                           {{3, 17}, {3, 9}, {3, 8}}},
                .op =
                    [](Tensors const& x) {
                      return Tensors{cat(x, 1), cat({x[0], x[0]}, 0)};
                    },
                .twin =
                    [](Tensors const& x) {
                      int64_t const a = x[0].size(1), b = x[1].size(1), c = x[2].size(1), rows = x[0].size(0);
                      std::vector<double> out, twice = x[0].detach().to_vector<double>();
                      for (int64_t r = 0; r < rows; ++r)
                        for (auto [t, n] : {std::pair{0, a}, {1, b}, {2, c}})
                          for (int64_t i = 0; i < n; ++i) out.push_back(x[size_t(t)].at(r, i).item());
                      twice.insert(twice.end(), twice.begin(), twice.begin() + int64_t(twice.size()));
                      auto once = x[0].detach().to_vector<double>();
                      once.insert(once.end(), twice.begin(), twice.begin() + int64_t(once.size()));
                      return Tensors{tensor(out, {rows, a + b + c}), tensor(once, {2 * rows, a})};
                    }};
  joined.elementwise_bits = true;
  joined.bad = {{[] { cat({}); }, {"cat", "at least one"}},
                {[] {
                   cat({ones({2, 3}), ones({3, 3})}, 1);
                 },
                 {"cat", "tensor 1", "[3, 3]", "[2, 3]", "axis 1"}},
                {[] {
                   cat({ones({2}), Tensor()});
                 },
                 {"cat", "undefined"}},
                {[] {
                   cat({ones({2}), ones({2, 2})});
                 },
                 {"cat", "tensor 1"}},
                {[] {
                   cat({scalar(1), scalar(2)});
                 },
                 {"cat"}}};
  list().push_back(joined);
  OpCase stacked{.name = "stack",
                 .covers = "stack",
                 .inputs = {real(), real()},
                 .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{9}, {9}}},
                 .op = [](Tensors const& x) { return Tensors{stack(x, -1)}; },
                 .twin =
                     [](Tensors const& x) {
                       std::vector<double> out;
                       auto const a = x[0].detach().to_vector<double>(), b = x[1].detach().to_vector<double>();
                       for (size_t i = 0; i < a.size(); ++i) out.push_back(a[i]), out.push_back(b[i]);
                       Shape shape = x[0].shape();
                       shape.push_back(2);
                       return Tensors{tensor(out, shape)};
                     }};
  stacked.bad = {{[] { stack({}); }, {"at least one"}}, {[] { stack({ones({2}), ones({3})}); }, {"[", "2", "3"}}};
  list().push_back(stacked);
  for (bool lower : {true, false})
    for (int64_t offset : {-1, 0, 2})
      rearrangement(
          lower ? "tril " + std::to_string(offset) : "triu " + std::to_string(offset),
          [=](Tensor const& x) { return lower ? tril(x, offset) : triu(x, offset); },
          {{{4, 3}}, {{2, 3, 5}}, {{1, 1}}, {{0, 3}}},
          [=](Tensor const& x) {
            return picked(x, x.shape(), [&](I i) {
              int64_t const d = i[i.size() - 1] - i[i.size() - 2];
              return (lower ? d <= offset : d >= offset) ? i : At(i.size(), -1);
            });
          });
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    list().reserve(400);  // the makers above hand out references
    shape_cases();
    return OpSuite{.sections = {"shape", "class Tensor"},
                   .cases = list(),
                   .elsewhere = {"grad", "detach", "requires_grad_", "to", "copy_", "fill_", "zero_", "add_", "sub_",
                                 "mul_", "div_"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)
