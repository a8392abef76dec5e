// Views and what rearranges elements.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/elements.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr int64_t big = 30011;

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

/// Rearrangements of the lists of tensors that cut an operand: joined again in reverse, so that all pieces count.
Tensor reversed(std::vector<Tensor> pieces, int axis) {
  std::reverse(pieces.begin(), pieces.end());
  return cat(pieces, axis);
}

void more_shape_cases() {
  using I = std::vector<int64_t> const&;
  using At = std::vector<int64_t>;
  using Counts = std::vector<int64_t>;
  std::vector<Shapes> const three = {{{2, 3, 4}}, {{1, 3, 1}}, {{3, 3, 9}}, {{0, 3, 2}}};
  std::vector<Shapes> const even = {{{2, 4, 6}}, {{4, 4, 2}}, {{2, 0, 4}}};
  auto same = [](Tensor const& x) { return picked(x, x.shape(), [](I i) { return i; }); };
  auto turned = [](Tensor const& x) {
    return picked(x, {x.size(2), x.size(1), x.size(0)}, [](I i) { return At{i[2], i[1], i[0]}; });
  };
  auto swapped = [](Tensor const& x) {
    return picked(x, {x.size(0), x.size(2), x.size(1)}, [](I i) { return At{i[0], i[2], i[1]}; });
  };
  auto line = [](Tensor const& x) { return tensor(x.detach().to_vector<double>(), {x.numel()}); };
  // Views.
  rearrangement(
      "T", [](Tensor const& x) { return x.T(); }, three, turned);
  rearrangement(
      "mT", [](Tensor const& x) { return x.mT(); }, three, swapped);
  rearrangement(
      "swapaxes", [](Tensor const& x) { return swapaxes(x, 0, -1); }, three, turned)
      .bad = {{[] {
                 swapaxes(ones({2, 3}), 0, 2);
               },
               {"transpose", "got 2"}},
              {[] { swapaxes(Tensor(), 0, 1); }, {"swapaxes"}}};
  rearrangement(
      "movedim",
      [](Tensor const& x) {
        return movedim(x, {0, 2}, {-1, 0});
      },
      three, turned)
      .bad = {{[] {
                 movedim(ones({2, 3}), {0, 0}, {0, 1});
               },
               {"movedim", "twice"}},
              {[] {
                 movedim(ones({2, 3}), {0, 1}, {0});
               },
               {"movedim", "[0, 1]", "[0]"}},
              {[] {
                 movedim(ones({2, 3}), 0, 2);
               },
               {"movedim", "got 2"}}};
  rearrangement(
      "movedim one", [](Tensor const& x) { return movedim(x, 1, 2); }, three, swapped);
  rearrangement(
      "ravel", [](Tensor const& x) { return ravel(x); }, three, line)
      .bad = {{[] { ravel(Tensor()); }, {"ravel", "undefined"}}};
  rearrangement(
      "squeeze all",
      [](Tensor const& x) {
        return squeeze(x.reshape({1, x.size(0), 3, 1, x.size(2)}), {0, 3, 2});
      },
      three, same)
      .bad = {{[] {
                 squeeze(ones({1, 1}), {0, -2});
               },
               {"squeeze", "twice"}},
              {[] {
                 squeeze(ones({1, 1}), {2});
               },
               {"squeeze", "got 2"}}};
  rearrangement(
      "unflatten",
      [](Tensor const& x) {
        return unflatten(x, 1, {1, -1, 3});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 1, 1, 3, x.size(2)}, [](I i) { return At{i[0], i[3], i[4]}; });
      })
      .bad = {{[] {
                 unflatten(ones({2, 3}), 1, {2, -1});
               },
               {"unflatten", "axis 1", "[2, -1]"}},
              {[] {
                 unflatten(ones({2, 3}), 1, {-1, -1});
               },
               {"unflatten", "[-1, -1]"}},
              {[] {
                 unflatten(ones({2, 3}), 1, {});
               },
               {"unflatten"}}};
  rearrangement(
      "broadcast_to",
      [](Tensor const& x) {
        return broadcast_to(x.unsqueeze(0), {2, x.size(0), 3, x.size(2)});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {2, x.size(0), 3, x.size(2)}, [](I i) { return At{i[1], i[2], i[3]}; });
      })
      .bad = {{[] { broadcast_to(ones({2}), {3}); }, {"expand", "[2]", "[3]"}},
              {[] {
                 broadcast_to(ones({2}), {-2, 2});
               },
               {"-2"}}};
  rearrangement(
      "expand keeps",
      [](Tensor const& x) {
        return x.expand({2, -1, 3, -1});
      },
      three,
      [](Tensor const& x) {
        return picked(x, {2, x.size(0), 3, x.size(2)}, [](I i) { return At{i[1], i[2], i[3]}; });
      });
  rearrangement(
      "atleast_1d", [](Tensor const& x) { return atleast_1d(x); }, {{{}}, {{3}}}, line)
      .bad = {{[] { atleast_1d(Tensor()); }, {"atleast_1d"}}};
  rearrangement(
      "atleast_2d", [](Tensor const& x) { return atleast_2d(x).select(0, 0); }, {{{}}, {{3}}}, line)
      .bad = {{[] { atleast_2d(Tensor()); }, {"undefined"}}};
  rearrangement(
      "atleast_3d", [](Tensor const& x) { return atleast_3d(x).select(2, 0).select(0, 0); }, {{{}}, {{3}}}, line)
      .bad = {{[] { atleast_3d(Tensor()); }, {"undefined"}}};
  rearrangement(
      "as_strided",
      [](Tensor const& x) {
        return as_strided(x.contiguous(), {2, 3}, {1, 2});
      },
      {{{3, 4}}, {{7}}},
      [](Tensor const& x) {
        auto const v = x.detach().to_vector<double>();
        return tensor(std::vector<double>{v[0], v[2], v[4], v[1], v[3], v[5]}, {2, 3});
      })
      .bad = {{[] {
                 as_strided(zeros({64}), {64, 2}, {1, 1});
               },
               {"as_strided", "[64, 2]", "64 elements"}},
              {[] { as_strided(zeros({4}), {2}, {-1}); }, {"as_strided", "[-1]"}},
              {[] { as_strided(zeros({4}), {2}, {1}, -1); }, {"as_strided", "element -1"}},
              {[] { as_strided(zeros({4}), {2}, {int64_t{1} << 62}); }, {"as_strided"}},
              {[] { as_strided(zeros({4}), {1}, {1}, int64_t{1} << 62); }, {"as_strided"}},
              {[] { as_strided(zeros({4}), {2}, {}); }, {"as_strided"}}};
  rearrangement(
      "unfold", [](Tensor const& x) { return unfold(x, 1, 2, 1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 2, x.size(2), 2}, [](I i) { return At{i[0], i[1] + i[3], i[2]}; });
      })
      .bad = {{[] {
                 unfold(ones({2, 3}), 1, 4, 1);
               },
               {"unfold", "got 4"}},
              {[] {
                 unfold(ones({2, 3}), 1, 2, 0);
               },
               {"unfold", "step"}},
              {[] {
                 unfold(ones({2, 3}), 2, 2, 1);
               },
               {"unfold", "got 2"}}};
  for (int64_t offset : {-1, 0, 1, 9})
    rearrangement(
        "diagonal " + std::to_string(offset), [=](Tensor const& x) { return diagonal(x, offset, 2, 1); }, three,
        [=](Tensor const& x) {
          int64_t n = 0;
          for (int64_t k = 0; k < 20; ++k)
            n += k + std::max<int64_t>(offset, 0) < 3 && k - std::min<int64_t>(offset, 0) < x.size(2);
          return picked(x, {x.size(0), n}, [&](I i) {
            return At{i[0], i[1] + std::max<int64_t>(offset, 0), i[1] - std::min<int64_t>(offset, 0)};
          });
        })
        .bad = {{[] {
                   diagonal(ones({3, 3}), 0, 1, -1);
                 },
                 {"diagonal", "different"}},
                {[] { diagonal(ones({3}), 0); }, {"diagonal", "got 1"}}};
  rearrangement(
      "narrow", [](Tensor const& x) { return narrow(x, 1, -2, 1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 1, x.size(2)}, [](I i) { return At{i[0], 1, i[2]}; });
      })
      .bad = {{[] { narrow(ones({3}), 0, 2, 2); }, {"narrow", "2 elements from 2", "[3]"}},
              {[] { narrow(ones({3}), 0, -4, 1); }, {"narrow", "-4"}},
              {[] { narrow(ones({3}), 0, 0, -1); }, {"narrow", "-1"}}};
  // Cut.
  auto cut = [&](std::string name, std::function<std::vector<Tensor>(Tensor const&)> f, Counts sizes, int axis) {
    rearrangement(
        std::move(name), [=](Tensor const& x) { return reversed(f(x), axis); }, even,
        [=](Tensor const& x) {
          std::vector<int64_t> order;  // of the axis's indices
          int64_t end = x.size(axis);
          for (size_t k = sizes.size(); k-- > 0; end -= sizes[k])
            for (int64_t i = 0; i < sizes[k] && x.numel() > 0; ++i) order.push_back(end - sizes[k] + i);
          return picked(x, x.shape(), [&](I i) {
            At at = i;
            at[size_t(axis)] = order[size_t(i[size_t(axis)])];
            return at;
          });
        });
  };
  cut(
      "split sizes",
      [](Tensor const& x) {
        return split(x, x.numel() ? Counts{1, 0, 3} : Counts{0, 0}, 1);
      },
      {1, 0, 3}, 1);
  list().back().bad = {{[] {
                          split(ones({3}), Counts{1, 1});
                        },
                        {"split", "1, 1", "[3]"}},
                       {[] {
                          split(ones({3}), Counts{4, -1});
                        },
                        {"split", "4, -1"}}};
  cut(
      "chunk", [](Tensor const& x) { return chunk(x, 3, 1); }, {2, 2}, 1);
  list().back().bad = {{[] { chunk(ones({3}), 0); }, {"chunk", "got 0"}}, {[] { chunk(ones({3}), 2, 1); }, {"got 1"}}};
  cut(
      "tensor_split", [](Tensor const& x) { return tensor_split(x, 3, 1); }, {2, 1, 1}, 1);
  list().back().bad = {{[] { tensor_split(ones({3}), 0); }, {"tensor_split", "got 0"}},
                       {[] { tensor_split(ones({3}), 2, 1); }, {"tensor_split", "got 1"}}};
  cut(
      "tensor_split at",
      [](Tensor const& x) {
        return tensor_split(x, Counts{1, -1}, 1);
      },
      {1, 2, 1}, 1);
  cut(
      "hsplit", [](Tensor const& x) { return hsplit(x, 2); }, {2, 2}, 1);
  list().back().bad = {{[] {
                          hsplit(ones({2, 3}), 2);
                        },
                        {"hsplit", "[2, 3]", "2 equal"}},
                       {[] { hsplit(scalar(1), 1); }, {"hsplit", "rank 1"}}};
  cut(
      "hsplit at",
      [](Tensor const& x) {
        return hsplit(x, {1, 3});
      },
      {1, 2, 1}, 1);
  cut(
      "vsplit", [](Tensor const& x) { return vsplit(x, 2); }, {}, 0);
  list().back().shapes = {{{2, 3}}};
  list().back().twin = [](Tensors const& x) {
    return Tensors{picked(x[0], {2, 3}, [](I i) { return At{1 - i[0], i[1]}; })};
  };
  list().back().bad = {{[] {
                          vsplit(ones({3, 3}), 2);
                        },
                        {"vsplit", "2 equal"}},
                       {[] { vsplit(ones({4}), 2); }, {"rank 2"}}};
  cut(
      "dsplit", [](Tensor const& x) { return dsplit(x, {1}); }, {}, 2);
  list().back().shapes = {{{1, 2, 3}}};
  list().back().op = [](Tensors const& x) { return Tensors{reversed(dsplit(x[0], 3), 2)}; };
  list().back().twin = [](Tensors const& x) {
    return Tensors{picked(x[0], {1, 2, 3}, [](I i) { return At{i[0], i[1], 2 - i[2]}; })};
  };
  list().back().bad = {{[] {
                          dsplit(ones({3, 3, 3}), 2);
                        },
                        {"dsplit", "2 equal"}},
                       {[] {
                          dsplit(ones({4, 2}), {1, 2});
                        },
                        {"dsplit", "rank 3"}}};
  rearrangement(
      "unbind",
      [](Tensor const& x) {
        auto const v = unbind(x, 1);
        return v[2] * 2.0 - v[0];
      },
      three,
      [](Tensor const& x) {
        auto at = [&](int64_t k) { return picked(x, {x.size(0), x.size(2)}, [=](I i) { return At{i[0], k, i[1]}; }); };
        return at(2) * 2.0 - at(0);
      })
      .bad = {{[] { unbind(scalar(1)); }, {"unbind"}}, {[] { unbind(ones({2}), 1); }, {"unbind", "got 1"}}};
  // Padded, moved, repeated.
  for (auto [mode, label] : {std::pair{PadMode::constant, "constant"},
                             {PadMode::reflect, "reflect"},
                             {PadMode::replicate, "replicate"},
                             {PadMode::circular, "circular"}})
    for (auto [before, after] : {std::pair<int64_t, int64_t>{2, 1}, {-1, 2}, {0, -2}})
      rearrangement(
          std::string("pad ") + label + " " + std::to_string(before) + " " + std::to_string(after),
          [=, mode = mode, before = before, after = after](Tensor const& x) {
            return pad(x, {0, 0, before, after}, mode);
          },
          three,
          [=, mode = mode, before = before, after = after](Tensor const& x) {
            int64_t const n = 3, low = std::max<int64_t>(-before, 0), kept = n - low - std::max<int64_t>(-after, 0);
            return picked(x, {x.size(0), n + before + after, x.size(2)}, [&](I i) {
              int64_t k = i[1] - before;
              if (mode == PadMode::constant && (k < 0 || k >= n)) return At{-1, -1, -1};
              if (mode == PadMode::replicate) k = std::clamp<int64_t>(k, 0, n - 1);
              if (mode == PadMode::reflect) k = k < 0 ? -k : k >= n ? 2 * n - 2 - k : k;
              if (mode == PadMode::circular) k = low + (k - low + 9 * kept) % kept;
              return At{i[0], k, i[2]};
            });
          })
          .bad = {{[] { pad(ones({3}), {1}); }, {"pad", "got 1"}},
                  {[] {
                     pad(ones({3}), {1, 1, 1, 1});
                   },
                   {"pad", "got 4"}},
                  {[] {
                     pad(ones({3}), {-2, -2});
                   },
                   {"pad", "-2 and -2", "[3]"}},
                  {[] {
                     pad(ones({3}), {3, 0}, PadMode::reflect);
                   },
                   {"pad", "3 and 0", "up to 2"}},
                  {[] {
                     pad(ones({3}), {0, 4}, PadMode::circular);
                   },
                   {"pad", "up to 3"}},
                  {[] {
                     pad(ones({2, 0}), {0, 4}, PadMode::replicate);
                   },
                   {"pad", "[2, 0]"}},
                  {[] {
                     pad(ones({3}), {int64_t{1} << 62, int64_t{1} << 62});
                   },
                   {"pad"}}};
  rearrangement(
      "roll",
      [](Tensor const& x) {
        return roll(x, {1, 1, -4}, {1, 2, 1});
      },
      three,
      [](Tensor const& x) {
        return picked(x, x.shape(), [n = x.size(2)](I i) { return At{i[0], (i[1] + 3) % 3, (i[2] + n - 1) % n}; });
      })
      .bad = {{[] {
                 roll(ones({3}), {1, 2}, {0});
               },
               {"roll", "[1, 2]", "[0]"}},
              {[] { roll(ones({3}), {1}, {1}); }, {"roll", "got 1"}}};
  rearrangement(
      "roll flat", [](Tensor const& x) { return roll(x, 2); }, {{{2, 3}}, {{7}}, {{0}}, {{}}},
      [](Tensor const& x) {
        auto v = x.detach().to_vector<double>();
        auto y = v;
        for (size_t i = 0; i < v.size(); ++i) y[(i + 2) % v.size()] = v[i];
        return tensor(y, x.shape());
      });
  rearrangement(
      "flip",
      [](Tensor const& x) {
        return flip(x, {2, 0});
      },
      three,
      [](Tensor const& x) {
        return picked(x, x.shape(), [&](I i) { return At{x.size(0) - 1 - i[0], i[1], x.size(2) - 1 - i[2]}; });
      })
      .bad = {{[] {
                 flip(ones({3}), {0, -1});
               },
               {"flip", "twice"}},
              {[] { flip(ones({3}), {1}); }, {"flip", "got 1"}}};
  list().back().large = {{30, 50, 41}};
  rearrangement(
      "fliplr", [](Tensor const& x) { return fliplr(x); }, three,
      [](Tensor const& x) { return picked(x, x.shape(), [](I i) {
                              return At{i[0], 2 - i[1], i[2]};
                            }); })
      .bad = {{[] { fliplr(ones({3})); }, {"fliplr", "[3]"}}, {[] { fliplr(Tensor()); }, {"fliplr"}}};
  rearrangement(
      "flipud", [](Tensor const& x) { return flipud(x); }, three,
      [](Tensor const& x) { return picked(x, x.shape(), [&](I i) {
                              return At{x.size(0) - 1 - i[0], i[1], i[2]};
                            }); })
      .bad = {{[] { flipud(scalar(1)); }, {"flipud", "rank 1"}}, {[] { flipud(Tensor()); }, {"flipud"}}};
  for (int64_t times : {1, 2, 3, 4, -1})
    rearrangement(
        "rot90 " + std::to_string(times), [=](Tensor const& x) { return rot90(x, times, 1, 2); }, three,
        [=](Tensor const& x) {
          Tensor y = x.detach();
          for (int64_t k = 0; k < (times + 4) % 4; ++k) {
            Tensor const from = y;
            y = picked(from, {from.size(0), from.size(2), from.size(1)}, [&](I i) {
              return At{i[0], i[2], from.size(2) - 1 - i[1]};
            });
          }
          return picked(y, y.shape(), [](I i) { return i; });
        })
        .bad = {{[] {
                   rot90(ones({3, 3}), 1, 1, 1);
                 },
                 {"rot90", "different"}},
                {[] { rot90(ones({3}), 1, 0, 1); }, {"rot90", "got 1"}}};
  auto tiled = [](Tensor const& x) {
    return picked(x, {2, 2 * x.size(0), 3, 3 * x.size(2)}, [&](I i) {
      return At{i[1] % x.size(0), i[2], i[3] % x.size(2)};
    });
  };
  rearrangement(
      "repeat",
      [](Tensor const& x) {
        return repeat(x, {2, 2, 1, 3});
      },
      three, tiled)
      .bad = {{[] {
                 repeat(ones({3, 3}), {2});
               },
               {"repeat", "[3, 3]", "[2]"}},
              {[] { repeat(ones({3}), {-1}); }, {"repeat", "[-1]"}},
              {[] { repeat(ones({3}), {int64_t{1} << 61}); }, {"elements"}}};
  rearrangement(
      "tile",
      [](Tensor const& x) {
        return tile(tile(x, {3}), {2, 2, 1, 1});
      },
      three, tiled)
      .bad = {{[] { tile(ones({3}), {-1}); }, {"repeat", "[-1]"}}, {[] { tile(Tensor(), {1}); }, {"tile"}}};
  rearrangement(
      "repeat_interleave", [](Tensor const& x) { return repeat_interleave(x, 2, 1); }, three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 6, x.size(2)}, [](I i) { return At{i[0], i[1] / 2, i[2]}; });
      })
      .bad = {{[] { repeat_interleave(ones({3}), -1); }, {"repeat_interleave", "got -1"}},
              {[] { repeat_interleave(ones({3}), arange(2), 0); }, {"repeat_interleave", "[2]", "[3]"}},
              {[] { repeat_interleave(ones({3}), ones({3})); }, {"repeat_interleave", "f32"}},
              {[] { repeat_interleave(ones({3}), int64_t{1} << 61); }, {"elements"}},
              {[] { repeat_interleave(arange(-2, 1)); }, {"repeat_interleave", "got -2"}}};
  rearrangement(
      "repeat_interleave counts",
      [](Tensor const& x) {
        return repeat_interleave(x, tensor(Counts{2, 0, 1}, {3}).to(x.device()), 1);
      },
      three,
      [](Tensor const& x) {
        return picked(x, {x.size(0), 3, x.size(2)}, [](I i) { return At{i[0], i[1] == 2 ? 2 : 0, i[2]}; });
      });
  // Diagonals.
  auto on_diagonal = [](Tensor const& x, int64_t offset) {
    int64_t const n = x.size(-1) + std::abs(offset);
    Shape shape = x.shape();
    shape[x.rank() - 1] = n;
    shape.push_back(n);
    return picked(x, shape, [&](I i) {
      int64_t const row = i[i.size() - 2], column = i.back();
      At at(i.begin(), i.end() - 1);
      at.back() = std::min(row, column);
      return column - row == offset ? at : At(at.size(), -1);
    });
  };
  rearrangement(
      "diag_embed", [](Tensor const& x) { return diag_embed(x, -1); }, {{{2, 3}}, {{4}}, {{0, 2}}, {{2, 0}}},
      [=](Tensor const& x) { return on_diagonal(x, -1); })
      .bad = {{[] { diag_embed(ones({2}), 0, 1, -1); }, {"diag_embed", "different"}},
              {[] { diag_embed(scalar(1)); }, {"diag_embed", "rank 1"}}};
  rearrangement(
      "diag", [](Tensor const& x) { return diag(x, 2); }, {{{3}}, {{0}}},
      [=](Tensor const& x) { return on_diagonal(x, 2); })
      .bad = {{[] {
                 diag(ones({2, 2, 2}));
               },
               {"diag", "[2, 2, 2]"}},
              {[] { diag(scalar(1)); }, {"diag", "[]"}}};
  rearrangement(
      "diag of a matrix", [](Tensor const& x) { return diag(x, 1); }, {{{3, 4}}, {{4, 3}}},
      [=](Tensor const& x) {
        return picked(x, {std::min(x.size(0), x.size(1) - 1)}, [](I i) { return At{i[0], i[0] + 1}; });
      });
  rearrangement(
      "diagflat", [](Tensor const& x) { return diagflat(x, 1); }, {{{2, 2}}, {{3}}},
      [=](Tensor const& x) { return on_diagonal(line(x), 1); })
      .bad = {{[] { diagflat(Tensor()); }, {"diagflat"}}};
}

/// Joins of two or three operands, against loops over their elements.
OpCase& join(std::string name, std::vector<Shapes> shapes, std::function<Tensor(Tensors const&)> f,
             std::function<Tensor(Tensors const&)> twin) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = std::vector<Input>(shapes[0].size(), real()),
           .shapes = std::move(shapes),
           .op = [f](Tensors const& x) { return Tensors{f(x)}; },
           .twin = [twin](Tensors const& x) { return Tensors{twin(x)}; }};
  list().push_back(std::move(c));
  return list().back();
}

void join_cases() {
  using At = std::vector<int64_t>;
  // Element `at` of a joined along `axis` to b.
  auto joined = [](Tensor const& a, Tensor const& b, int axis) {
    Shape shape = a.shape();
    shape[axis] += b.shape()[axis];
    return changed(zeros(shape, Dtype::f64), [&](double& v, At at) {
      int64_t& i = at[size_t(axis)];
      bool const first = i < a.shape()[axis];
      if (!first) i -= a.shape()[axis];
      v = element(first ? a : b, at);
    });
  };
  std::vector<Shapes> const three = {{{2, 3, 2}, {2, 3, 2}}, {{1, 2, 1}, {1, 2, 1}}, {{2, 0, 3}, {2, 0, 3}}};
  join(
      "hstack", three, [](Tensors const& x) { return hstack(x); },
      [=](Tensors const& x) { return joined(x[0], x[1], 1); })
      .bad = {{[] { hstack({}); }, {"hstack", "at least one"}},
              {[] {
                 hstack({ones({2, 2}), ones({3, 2})});
               },
               {"[3, 2]"}}};
  join(
      "hstack of vectors", {{{}, {3}}, {{2}, {1}}}, [](Tensors const& x) { return hstack(x); },
      [=](Tensors const& x) { return joined(x[0].reshape({-1}), x[1], 0); });
  join(
      "vstack", three, [](Tensors const& x) { return vstack(x); },
      [=](Tensors const& x) { return joined(x[0], x[1], 0); })
      .bad = {{[] { vstack({}); }, {"vstack", "at least one"}},
              {[] {
                 vstack({ones({2}), ones({3})});
               },
               {"[1, 3]"}}};
  join(
      "dstack", three, [](Tensors const& x) { return dstack(x); },
      [=](Tensors const& x) { return joined(x[0], x[1], 2); })
      .bad = {{[] { dstack({}); }, {"dstack", "at least one"}},
              {[] {
                 dstack({ones({2}), ones({3})});
               },
               {"[1, 3, 1]"}}};
  join(
      "column_stack", {{{3}, {3, 2}}, {{}, {1, 2}}}, [](Tensors const& x) { return column_stack(x); },
      [=](Tensors const& x) {
        return joined(x[0].reshape({x[0].numel(), 1}), x[1], 1);
      })
      .bad = {{[] { column_stack({}); }, {"column_stack", "at least one"}},
              {[] {
                 column_stack({ones({2}), ones({3})});
               },
               {"[3, 1]"}}};
  join(
      "block_diag", {{{2, 3}, {2}}, {{}, {0}}, {{2, 0}, {1, 2}}}, [](Tensors const& x) { return block_diag(x); },
      [=](Tensors const& x) {
        Tensor const a = atleast_2d(x[0]), b = atleast_2d(x[1]);
        return joined(joined(a, zeros({a.size(0), b.size(1)}), 1), joined(zeros({b.size(0), a.size(1)}), b, 1), 0);
      })
      .bad = {{[] { block_diag({}); }, {"block_diag", "at least one"}},
              {[] {
                 block_diag({ones({1, 1, 1})});
               },
               {"block_diag", "[1, 1, 1]"}}};
  join(
      "broadcast_tensors", {{{2, 1}, {3}}, {{}, {2, 2}}},
      [](Tensors const& x) {
        auto const y = broadcast_tensors(x);
        return y[0] * 2.0 - y[1];
      },
      [](Tensors const& x) {
        Shape const shape = broadcast("", x[0].shape(), x[1].shape());
        return changed(zeros(shape, Dtype::f64), [&](double& v, At const& at) {
          v = 2 * element(x[0].expand(shape), at) - element(x[1].expand(shape), at);
        });
      })
      .bad = {{[] {
                 broadcast_tensors({ones({2}), ones({3})});
               },
               {"broadcast_tensors", "[3]"}},
              {[] { broadcast_tensors({Tensor()}); }, {"broadcast_tensors"}}};
  for (auto indexing : {Indexing::ij, Indexing::xy})
    join(
        indexing == Indexing::ij ? "meshgrid ij" : "meshgrid xy", {{{3}, {2}}, {{}, {2}}, {{0}, {2}}},
        [=](Tensors const& x) {
          auto const y = meshgrid(x, indexing);
          return y[0] * 2.0 - y[1];
        },
        [=](Tensors const& x) {
          bool const ij = indexing == Indexing::ij;
          int64_t const n = x[0].numel(), m = x[1].numel();
          Tensor const a = x[0].reshape({n}), b = x[1].reshape({m});
          return changed(zeros(ij ? Shape{n, m} : Shape{m, n}, Dtype::f64), [&](double& v, At const& at) {
            v = 2 * element(a, {at[ij ? 0 : 1]}) - element(b, {at[ij ? 1 : 0]});
          });
        })
        .bad = {{[] { meshgrid({}); }, {"meshgrid", "at least one"}},
                {[] {
                   meshgrid({ones({1, 2})});
                 },
                 {"meshgrid", "[1, 2]"}}};
  join(
      "cartesian_prod", {{{3}, {2}}, {{0}, {2}}}, [](Tensors const& x) { return cartesian_prod(x); },
      [](Tensors const& x) {
        return changed(zeros({x[0].numel() * x[1].numel(), 2}, Dtype::f64), [&](double& v, At const& at) {
          int64_t const n = x[1].numel();
          v = at[1] ? element(x[1], {at[0] % n}) : element(x[0], {at[0] / n});
        });
      })
      .bad = {{[] { cartesian_prod({}); }, {"cartesian_prod", "at least one"}},
              {[] {
                 cartesian_prod({ones({1, 2})});
               },
               {"cartesian_prod", "[1, 2]"}}};
  for (bool again : {false, true})
    join(
        again ? "combinations again" : "combinations", {{{4}}, {{1}}, {{0}}},
        [=](Tensors const& x) { return combinations(x[0], 2, again); },
        [=](Tensors const& x) {
          auto const v = x[0].to_vector<double>();
          std::vector<double> pairs;
          for (size_t i = 0; i < v.size(); ++i)
            for (size_t j = i + !again; j < v.size(); ++j) pairs.push_back(v[i]), pairs.push_back(v[j]);
          return tensor(pairs, {int64_t(pairs.size() / 2), 2});
        })
        .bad = {{[] {
                   combinations(ones({2, 2}));
                 },
                 {"combinations", "[2, 2]"}},
                {[] { combinations(ones({2}), -1); }, {"combinations", "-1"}}};
  // PyTorch's old way to say "nothing yet": [0] is left out.
  join(
      "cat leaves out", {{{2, 3}, {0}}},
      [](Tensors const& x) {
        return cat({x[1], x[0], x[1], x[0]}, 1);
      },
      [=](Tensors const& x) { return joined(x[0], x[0], 1); });
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    shape_cases();
    more_shape_cases();
    join_cases();
    return OpSuite{.sections = {"shape", "class Tensor"},
                   .cases = list(),
                   .elsewhere = {"grad", "detach", "requires_grad_", "to", "copy_", "fill_", "zero_", "add_", "sub_",
                                 "mul_", "div_", "set_label", "index", "index_put_"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("cat promotes, and its gradients keep the types of the operands") {
  Tensor const a = ones({2}).requires_grad_(), b = ones({3}, Dtype::f64).requires_grad_();
  Tensor const y = cat({arange(2), a, b});
  CHECK(y.dtype() == Dtype::f64);
  sum(y * arange(7).to(Dtype::f64)).backward();
  CHECK(a.grad().dtype() == Dtype::f32);
  CHECK(a.grad().to_vector<double>() == std::vector<double>{2, 3});
  CHECK(b.grad().to_vector<double>() == std::vector<double>{4, 5, 6});
  CHECK(cat({zeros({1}, Dtype::boolean), zeros({1}, Dtype::u8)}).dtype() == Dtype::u8);
  CHECK(cat({zeros({0}), zeros({0})}).shape() == Shape{0});
}

TEST_CASE("every type moves") {
  for (Dtype dtype : {Dtype::boolean, Dtype::u8, Dtype::i32, Dtype::i64, Dtype::f32, Dtype::f64}) {
    Tensor const x = (arange(12).reshape({3, 4}) > 4.0).to(dtype);
    auto const values = [](Tensor const& t) { return t.to_vector<int64_t>(); };
    CHECK(tril(x).dtype() == dtype);
    CHECK(values(tril(x)) == std::vector<int64_t>{0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0});
    CHECK(values(flip(x, {0, 1}).select(0, 2)) == std::vector<int64_t>{0, 0, 0, 0});
    CHECK(values(roll(x, 1)) == std::vector<int64_t>{1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1});
    CHECK(pad(x, {1, 1}).dtype() == dtype);
    CHECK(repeat(x, {2, 2}).dtype() == dtype);
    CHECK(index_select(x, 1, arange(2)).dtype() == dtype);
  }
  CHECK(tril(ones({0, 3})).shape() == Shape{0, 3});
  CHECK(tril(ones({3, 3}), std::numeric_limits<int64_t>::max()).to_vector<double>() == std::vector<double>(9, 1));
  CHECK(triu(ones({3, 3}), std::numeric_limits<int64_t>::max()).to_vector<double>() == std::vector<double>(9, 0));
  for (auto const& bad : {+[] { tril(ones({3})); }, +[] { triu(Tensor()); }}) CHECK_FALSE(error_of(bad).empty());
}

TEST_CASE("what is a view shares storage, and what is none does not") {
  Tensor const x = zeros({4, 4});
  for (Tensor const& y : {x.T(), diagonal(x), unfold(x, 0, 2, 1), as_strided(x, {2}, {5}), narrow(x, 0, 1, 2),
                          split(x, 2)[1], unbind(x)[3], meshgrid({x.at(0), x.at(1)})[1], squeeze(x), x.mT()})
    CHECK(y.body()->storage == x.body()->storage);
  for (Tensor const& y : {flip(x, {}), roll(x, 0), repeat(x, {1, 1}), pad(x, {0, 0}), pad(x, {0, 0}, PadMode::reflect),
                          rot90(x, 0), diag(x), tril(x)})
    CHECK(y.body()->storage != x.body()->storage);
}

TEST_CASE("as_strided cannot lose a gradient") {
  Tensor const x = arange(16).to(Dtype::f64).requires_grad_();
  CHECK_FALSE(error_of([&] { as_strided(x.slice(0, 8, 16), {4}, {1}, 0); }).empty());
  CHECK_FALSE(error_of([&] { as_strided(x.slice(0, 0, 16, 2), {4}, {1}); }).empty());
  CHECK(as_strided(x.slice(0, 8, 16), {2}, {1}).to_vector<double>() == std::vector<double>{8, 9});
  CHECK(as_strided(x.detach().slice(0, 8, 16), {2}, {3}, 1).to_vector<double>() == std::vector<double>{1, 4});
}

TEST_CASE("reshape with -1 on empty tensors; names of one index") {
  CHECK(zeros({0, 3}).reshape({-1, 3}).shape() == Shape{0, 3});
  CHECK(zeros({0, 3}).reshape({2, -1}).shape() == Shape{2, 0});
  CHECK_FALSE(error_of([] { zeros({0, 3}).reshape({0, -1}); }).empty());
  CHECK(split(zeros({0, 3}), 0).size() == 1);
  CHECK(chunk(zeros({3, 0}), 4, 1).size() == 4);
  CHECK(unfold(scalar(3), 0, 1, 1).shape() == Shape{1});
  CHECK(repeat(scalar(3), {}).shape() == Shape{});
}

TEST_CASE("sizes, steps and offsets at the end of the number range are errors or clipped, never wrapped") {
  static constexpr int64_t most = std::numeric_limits<int64_t>::max(), least = std::numeric_limits<int64_t>::min();
  Tensor const x = ones({4, 4});
  CHECK(x.slice(0, 0, most, most).shape() == Shape{1, 4});
  CHECK(x.index({Slice{1, Slice::end, most}}).shape() == Shape{1, 4});
  CHECK(x.index({Slice{least, most}, tensor(std::vector<int64_t>{0}, {1})}).shape() == Shape{4, 1});
  CHECK(unfold(x, 0, 0, most).shape() == Shape{1, 4, 0});
  CHECK(diagonal(x, least).shape() == Shape{0});
  CHECK(diagonal(x, most).shape() == Shape{0});
  CHECK(roll(x, {least}, {0}).shape() == Shape{4, 4});
  for (auto const& bad :
       {+[] { repeat(ones({4}), {int64_t{1} << 62}); }, +[] { repeat_interleave(ones({4}), int64_t{1} << 62); },
        +[] { diag_embed(ones({4}), least); },
        +[] {
          unflatten(ones({4}), 0, {int64_t{1} << 62, 4, 4});
        },
        +[] { diagflat(ones({4}), most); }, +[] { combinations(ones({1000}), 500); },
        +[] { as_strided(ones({4}), {2}, {1}, most); },
        +[] {
          pad(ones({4}), {int64_t{1} << 60, 0}, PadMode::replicate);
        },
        +[] {
          pad(ones({4}), {0, int64_t{1} << 60});
        },
        +[] { narrow(ones({4}), 0, 1, most); },
        +[] {
          split(ones({4}), std::vector<int64_t>{most, most, 6});
        },
        +[] { tril_indices(int64_t{1} << 40, int64_t{1} << 40); }})
    CHECK_FALSE(error_of(bad).empty());
}
