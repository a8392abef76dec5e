// Reading and writing by index.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/elements.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>

using namespace heed;
using namespace heed::test;

namespace {

using At = std::vector<int64_t>;
using Op = std::function<Tensor(Tensors const&)>;

Tensor ids(std::vector<int64_t> values) { return tensor(values, {int64_t(values.size())}); }
Tensor ids(std::vector<int64_t> values, Shape const& shape) { return tensor(values, shape); }
Tensor mask_of(std::vector<uint8_t> values, Shape const& shape) { return tensor(values, shape).to(Dtype::boolean); }
Tensor mask_of(std::vector<uint8_t> values) { return mask_of(values, {int64_t(values.size())}); }

/// An op with one result; shapes are those of all operands, the first set is small.
OpCase& add_case(std::string name, std::vector<Shapes> shapes, Op op, Op twin) {
  OpCase c{.name = name,
           .covers = name.substr(0, name.find(' ')),
           .inputs = std::vector<Input>(shapes[0].size(), real()),
           .shapes = std::move(shapes),
           .op = [op](Tensors const& x) { return Tensors{op(x)}; },
           .twin = [twin](Tensors const& x) { return Tensors{twin(x)}; }};
  list().push_back(std::move(c));
  return list().back();
}

void reading_cases() {
  // NumPy's placement of the axes of index tensors: alone, neighbours, apart, behind a number, beside a new axis.
  std::vector<Shapes> const four = {{{2, 3, 2, 4}}, {{2, 3, 3, 5}}, {{0, 3, 2, 4}}, {{2, 3, 2, 65}}};
  add_case(
      "index one", four,
      [](Tensors const& x) {
        return x[0].index({Slice{}, ids({2, 0, -1, 2}), ellipsis});
      },
      [](Tensors const& x) {
        return picked(x[0], {x[0].size(0), 4, x[0].size(2), x[0].size(3)}, [](At const& i) {
          return At{i[0], std::vector<int64_t>{2, 0, 2, 2}[size_t(i[1])], i[2], i[3]};
        });
      })
      .bad = {{[] {
                 ones({2, 3}).index({0, ids({3})});
               },
               {"index", "index 3", "axis 1", "-3 to 2"}},
              {[] {
                 ones({2, 3}).index({ids({-3})});
               },
               {"index", "index -3", "axis 0"}},
              {[] {
                 ones({2, 3}).index({0, 0, 0});
               },
               {"index", "3 axes", "[2, 3]"}},
              {[] {
                 ones({2, 3}).index({ellipsis, ellipsis});
               },
               {"index", "2 ellipses"}},
              {[] {
                 ones({2, 3}).index({5, ids({0})});
               },
               {"index", "index 5", "axis 0"}},
              {[] {
                 ones({2, 3}).index({5});
               },
               {"index 5", "axis 0"}},
              {[] {
                 ones({2, 3}).index({Slice{0, 2, 0}});
               },
               {"index", "step"}},
              {[] {
                 ones({2, 3}).index({mask_of({1, 0, 1})});
               },
               {"index", "mask", "[3]", "axis 0"}},
              {[] {
                 ones({2, 3}).index({ids({0, 1}), ids({0, 1, 2})});
               },
               {"index", "broadcast"}},
              {[] {
                 ones({2, 3}).index({tensor({1, 2})});
               },
               {"index", "integers", "f32"}},
              {[] {
                 ones({2, 3}).index({Tensor()});
               },
               {"index", "undefined"}}};
  add_case(
      "index neighbours", four,
      [](Tensors const& x) {
        return x[0].index({Slice{}, ids({1, 0, 1, 1}, {2, 2}), ids({1, 0})});
      },
      [](Tensors const& x) {
        return picked(x[0], {x[0].size(0), 2, 2, x[0].size(3)}, [](At const& i) {
          return At{i[0], At{1, 0, 1, 1}[size_t(2 * i[1] + i[2])], i[2] == 0 ? 1 : 0, i[3]};
        });
      });
  add_case(
      "index apart", four,
      [](Tensors const& x) {
        return x[0].index({Slice{}, ids({1, 0, 1}), Slice{0, -1}, ids({3, 3, 0})});
      },
      [](Tensors const& x) {
        return picked(x[0], {3, x[0].size(0), x[0].size(2) - 1}, [](At const& i) {
          return At{i[1], At{1, 0, 1}[size_t(i[0])], i[2], At{3, 3, 0}[size_t(i[0])]};
        });
      });
  add_case(
      "index transposed", four,
      [](Tensors const& x) {
        return x[0].transpose(0, 3).index({Slice{1, 4, 2}, 1, none, ids({1, 1, 0})});
      },
      [](Tensors const& x) {
        return picked(x[0], {2, 1, 3, x[0].size(0)}, [](At const& i) {
          return At{i[3], 1, At{1, 1, 0}[size_t(i[2])], 1 + 2 * i[0]};
        });
      });
  add_case(
      "index mask", four,
      [](Tensors const& x) {
        return x[0].index({ellipsis, mask_of({1, 0, 1, 0, 1, 1}, {3, 2}).slice(1, 0, 2), none, Slice{0, 4}});
      },
      [](Tensors const& x) {
        return picked(x[0], {x[0].size(0), 4, 1, 4}, [](At const& i) {
          return At{i[0], At{0, 1, 2, 2}[size_t(i[1])], At{0, 0, 0, 1}[size_t(i[1])], i[3]};
        });
      });
  list().back().shapes = {{{2, 3, 2, 4}}, {{0, 3, 2, 4}}};
  std::vector<Shapes> const three = {{{2, 4, 3}}, {{1, 5, 1}}, {{3, 4, 40}}, {{3, 4, 0}}};
  add_case(
      "index_select", three,
      [](Tensors const& x) {
        return index_select(x[0], 1, ids({3, 0, 0}));
      },
      [](Tensors const& x) {
        return picked(x[0], {x[0].size(0), 3, x[0].size(2)}, [](At const& i) {
          return At{i[0], i[1] == 0 ? 3 : 0, i[2]};
        });
      })
      .bad = {{[] { index_select(ones({3}), 0, ids({3})); }, {"index_select", "index 3", "axis 0", "size 3"}},
              {[] { index_select(ones({3}), 0, ids({-1})); }, {"index_select", "index -1"}},
              {[] { index_select(ones({3}), 1, ids({0})); }, {"index_select", "got 1"}},
              {[] {
                 index_select(ones({3}), 0, ids({0, 1}, {1, 2}));
               },
               {"index_select", "rank 1", "[1, 2]"}}};
  list().back().large = {{300, 40, 17}};
  Tensor const per = ids({3, 0, 1, 1, 2, 3}, {2, 3, 1});
  add_case(
      "gather", {{{2, 4, 3}}, {{2, 4, 1}}, {{3, 5, 40}}}, [per](Tensors const& x) { return gather(x[0], 1, per); },
      [per](Tensors const& x) {
        return picked(x[0], {2, 3, 1}, [&](At const& i) { return At{i[0], int64_t(element(per, i)), i[2]}; });
      })
      .bad = {{[] {
                 gather(ones({2, 3}), 1, ids({3}, {1, 1}));
               },
               {"gather", "index 3", "axis 1"}},
              {[] {
                 gather(ones({2, 3}), 1, ids({0, 0, 0}, {3, 1}));
               },
               {"gather", "[3, 1]", "[2, 3]"}},
              {[] {
                 gather(ones({2, 3}), 1, ids({0}));
               },
               {"gather", "[1]"}},
              {[] {
                 gather(ones({2, 3}), 1, ones({1, 1}));
               },
               {"gather", "integers"}}};
  add_case(
      "take", three,
      [](Tensors const& x) {
        return take(x[0].t(), x[0].numel() ? ids({1, -1, 1, 0}, {2, 2}) : ids({}));
      },
      [](Tensors const& x) {
        if (x[0].numel() == 0) return zeros({0}, Dtype::f64);
        auto const v = x[0].t().to_vector<double>();
        return tensor(std::vector<double>{v[1], v.back(), v[1], v[0]}, {2, 2});
      })
      .bad = {{[] {
                 take(ones({2, 3}), ids({6}));
               },
               {"take", "index 6", "size 6"}},
              {[] {
                 take(ones({2, 3}), tensor({1}));
               },
               {"take", "integers"}}};
  add_case(
      "take_along", {{{2, 4, 3}}, {{1, 5, 1}}, {{2, 4, 1}}},
      [](Tensors const& x) {
        return take_along(x[0], ids({3, 0, 0}, {1, 3, 1}), 1);
      },
      [](Tensors const& x) {
        return picked(x[0], {x[0].size(0), 3, x[0].size(2)}, [](At const& i) {
          return At{i[0], i[1] == 0 ? 3 : 0, i[2]};
        });
      })
      .bad = {{[] {
                 take_along(ones({2, 3}), ids({3}, {1, 1}), 1);
               },
               {"index 3"}},
              {[] {
                 take_along(ones({2, 3}), ids({0}), 1);
               },
               {"take_along", "rank 2"}}};
  add_case(
      "take_along flat", three,
      [](Tensors const& x) {
        return take_along(x[0], x[0].numel() ? ids({1, 0, 1}, {3, 1}) : ids({}));
      },
      [](Tensors const& x) {
        if (x[0].numel() == 0) return zeros({0}, Dtype::f64);
        auto const v = x[0].to_vector<double>();
        return tensor(std::vector<double>{v[1], v[0], v[1]}, {3});
      });
  Tensor const chosen = mask_of({1, 0, 1, 1}, {4, 1});
  add_case(
      "masked_select", three, [chosen](Tensors const& x) { return masked_select(x[0].slice(1, 0, 4), chosen); },
      [](Tensors const& x) {
        return picked(x[0].slice(1, 0, 4), {x[0].size(0), 3, x[0].size(2)},
                      [](At const& i) {
                        return At{i[0], At{0, 2, 3}[size_t(i[1])], i[2]};
                      })
            .reshape({-1});
      })
      .bad = {{[] {
                 masked_select(ones({2, 3}), mask_of({1, 0}));
               },
               {"masked_select", "[2]", "[2, 3]"}},
              {[] { masked_select(ones({2}), ones({2})); }, {"masked_select", "bool", "f32"}}};
}

void writing_cases() {
  std::vector<Shapes> const slices = {
      {{2, 4, 3}, {2, 3, 3}}, {{1, 5, 1}, {1, 3, 1}}, {{3, 4, 40}, {3, 3, 40}}, {{3, 4, 0}, {3, 3, 0}}};
  // Index 3 comes twice: its last slice stays, or both add up.
  Tensor const twice = ids({3, 0, 3});
  auto const copied = [](Tensors const& x) {
    return changed(x[0], [&](double& v, At const& i) {
      if (i[1] == 3 || i[1] == 0) v = element(x[1], {i[0], i[1] == 3 ? 2 : 1, i[2]});
    });
  };
  auto const added = [](double alpha) {
    return [=](Tensors const& x) {
      return changed(x[0], [&](double& v, At const& i) {
        if (i[1] == 0) v += alpha * element(x[1], {i[0], 1, i[2]});
        if (i[1] == 3) v += alpha * (element(x[1], {i[0], 0, i[2]}) + element(x[1], {i[0], 2, i[2]}));
      });
    };
  };
  add_case(
      "index_copy", slices, [=](Tensors const& x) { return index_copy(x[0], 1, twice, x[1]); }, copied)
      .bad = {{[] {
                 index_copy(ones({3, 2}), 0, ids({0}), ones({2, 2}));
               },
               {"index_copy", "[1, 2]", "[2, 2]"}},
              {[] {
                 index_copy(ones({3, 2}), 0, ids({3}), ones({1, 2}));
               },
               {"index_copy", "index 3", "axis 0"}},
              {[] {
                 index_copy(ones({3, 2}), 0, ids({0}), ones({1, 2}, Dtype::f64));
               },
               {"index_copy", "f64"}}};
  add_case(
      "index_add", slices, [=](Tensors const& x) { return index_add(x[0], 1, twice, x[1], -2); }, added(-2))
      .bad = {{[] {
                 index_add(ones({3, 2}), 0, ids({0}), ones({2, 2}));
               },
               {"index_add", "[1, 2]", "[2, 2]"}},
              {[] {
                 index_add(ones({3, 2}), 0, ids({-1}), ones({1, 2}));
               },
               {"index_add", "index -1"}}};
  list().back().large = {{400, 4, 33}, {400, 3, 33}};
  add_case(
      "index_put", slices,
      [=](Tensors const& x) {
        return index_put(x[0], {Slice{}, twice}, x[1]);
      },
      copied)
      .bad = {{[] {
                 index_put(ones({3, 2}), {ids({0, 1})}, ones({3, 2}));
               },
               {"index_put", "[3, 2]", "[2, 2]"}},
              {[] {
                 index_put(ones({3, 2}), {3}, ones({2}));
               },
               {"index_put", "index 3", "axis 0"}},
              {[] {
                 index_put(ones({3, 2}), {ids({0, -4})}, ones({2}));
               },
               {"index_put", "index -4"}}};
  add_case(
      "index_put adds", slices,
      [=](Tensors const& x) {
        return index_put(x[0], {ellipsis, twice, Slice{}}, x[1], true);
      },
      added(1));
  add_case(
      "index_put apart", {{{2, 3, 4}, {3, 1}}, {{2, 5, 4}, {3, 1}}},
      [](Tensors const& x) {
        return index_put(x[0], {ids({1, 0, 1}), Slice{1, Slice::end, 2}, ids({2, 0, 2})}, x[1], true);
      },
      [](Tensors const& x) {
        return changed(x[0], [&](double& v, At const& i) {
          if (i[1] % 2 == 0) return;
          if (i[0] == 1 && i[2] == 2) v += element(x[1], {0, 0}) + element(x[1], {2, 0});
          if (i[0] == 0 && i[2] == 0) v += element(x[1], {1, 0});
        });
      });
  add_case(
      "index_put mask", {{{2, 3, 4}, {4}}, {{2, 3, 4}, {1}}, {{2, 3, 4}, {}}},
      [](Tensors const& x) {
        return index_put(x[0], {mask_of({1, 0, 0, 1, 1, 1}, {2, 3}), -1}, x[1]);
      },
      [](Tensors const& x) {
        int64_t k = 0;
        auto const v1 = x[1].detach().expand({4}).to_vector<double>();
        return changed(x[0], [&](double& v, At const& i) {
          int64_t const row = 3 * i[0] + i[1];
          if (i[2] == 3 && row != 1 && row != 2) v = v1[size_t(k++)];
        });
      });
  add_case(
      "index_fill", {{{2, 4, 3}, {}}, {{1, 5, 1}, {}}, {{3, 4, 0}, {}}},
      [](Tensors const& x) {
        return index_fill(x[0], 1, ids({3, -4, 3}).slice(0, 0, 1 + 2), x[1]);
      },
      [](Tensors const& x) {
        return changed(x[0], [&, n = x[0].size(1)](double& v, At const& i) {
          if (i[1] == 3 || i[1] == n - 4) v = x[1].item();
        });
      })
      .bad = {{[] { index_fill(ones({3}), 0, ids({3}), 1); }, {"index_fill", "index 3"}},
              {[] { index_fill(ones({3}), 0, ids({0}), ones({1})); }, {"index_fill", "rank 0", "[1]"}}};
  Tensor const per = ids({3, 0, 1, 1, 3, 3}, {2, 3, 1});
  std::vector<Shapes> const scattered = {{{2, 4, 3}, {2, 3, 1}}, {{2, 4, 1}, {2, 3, 2}}, {{3, 5, 40}, {3, 3, 1}}};
  add_case(
      "scatter", scattered, [per](Tensors const& x) { return scatter(x[0], 1, per, x[1]); },
      [](Tensors const& x) {
        return changed(x[0], [&](double& v, At const& i) {
          if (i[2] > 0 || i[0] > 1) return;
          At const from = i[0] == 0 ? At{1, 2, -1, 0} : At{-1, 0, -1, 2};
          if (i[1] < 4 && from[size_t(i[1])] >= 0) v = element(x[1], {i[0], from[size_t(i[1])], 0});
        });
      })
      .bad = {{[] {
                 scatter(ones({2, 3}), 1, ids({3}, {1, 1}), ones({1, 1}));
               },
               {"scatter", "index 3", "axis 1"}},
              {[] {
                 scatter(ones({2, 3}), 1, ids({0, 0}, {2, 1}), ones({1, 1}));
               },
               {"scatter", "[1, 1]", "[2, 1]"}},
              {[] {
                 scatter(ones({2, 3}), 1, ids({0}, {1, 1}), ones({1, 1}, Dtype::f64));
               },
               {"scatter", "f64"}}};
  add_case(
      "scatter_add", scattered, [per](Tensors const& x) { return scatter_add(x[0], 1, per, x[1]); },
      [per](Tensors const& x) {
        return changed(x[0], [&](double& v, At const& i) {
          for (int64_t k = 0; k < 3 && i[2] == 0 && i[0] < 2; ++k)
            if (int64_t(element(per, {i[0], k, 0})) == i[1]) v += element(x[1], {i[0], k, 0});
        });
      })
      .bad = {{[] {
                 scatter_add(ones({2, 3}), 1, ids({3}, {1, 1}), ones({1, 1}));
               },
               {"scatter_add", "index 3"}},
              {[] {
                 scatter_add(ones({2, 3}), 2, ids({0}, {1, 1}), ones({1, 1}));
               },
               {"scatter_add", "got 2"}}};
  struct Way {
    char const* name;
    Combine how;
    std::function<double(std::vector<double> const&)> of;
  };
  auto const total = [](std::vector<double> const& v) {
    double s = 0;
    for (double a : v) s += a;
    return s;
  };
  for (Way const& way :
       {Way{"sum", Combine::sum, total},
        Way{"prod", Combine::prod,
            [](std::vector<double> const& v) {
              double p = 1;
              for (double a : v) p *= a;
              return p;
            }},
        Way{"mean", Combine::mean, [=](std::vector<double> const& v) { return total(v) / double(v.size()); }},
        Way{"amax", Combine::amax, [](std::vector<double> const& v) { return *std::max_element(v.begin(), v.end()); }},
        Way{"amin", Combine::amin, [](std::vector<double> const& v) { return *std::min_element(v.begin(), v.end()); }}})
    for (bool self : {true, false}) {
      std::string const name = std::string(way.name) + (self ? " with self" : "");
      OpCase& c = add_case(
          "scatter_reduce " + name, scattered,
          [=](Tensors const& x) { return scatter_reduce(x[0], 1, per, x[1], way.how, self); },
          [=](Tensors const& x) {
            return changed(x[0], [&](double& v, At const& i) {
              std::vector<double> all;
              if (self) all.push_back(v);
              for (int64_t k = 0; k < 3 && i[2] == 0 && i[0] < 2; ++k)
                if (int64_t(element(per, {i[0], k, 0})) == i[1]) all.push_back(element(x[1], {i[0], k, 0}));
              if (!all.empty()) v = way.of(all);
            });
          });
      c.inputs = {distinct(-2, 2), distinct(-1.7, 1.9)};
      c.bad = {{[] {
                  scatter_reduce(ones({2, 3}), 1, ids({3}, {1, 1}), ones({1, 1}), Combine::prod);
                },
                {"scatter_reduce", "index 3"}},
               {[] {
                  scatter_reduce(ones({2, 3}), 1, ids({0}), ones({1}), Combine::sum);
                },
                {"scatter_reduce", "[1]"}}};
      OpCase& r = add_case(
          "index_reduce " + name, slices,
          [=](Tensors const& x) { return index_reduce(x[0], 1, twice, x[1], way.how, self); },
          [=](Tensors const& x) {
            return changed(x[0], [&](double& v, At const& i) {
              std::vector<double> all;
              if (self) all.push_back(v);
              for (int64_t k = 0; k < 3; ++k)
                if (int64_t(element(twice, {k})) == i[1]) all.push_back(element(x[1], {i[0], k, i[2]}));
              if (!all.empty()) v = way.of(all);
            });
          });
      r.inputs = c.inputs;
      r.bad = {{[] {
                  index_reduce(ones({3, 2}), 0, ids({0}), ones({2, 2}), Combine::mean);
                },
                {"index_reduce", "[2, 2]"}},
               {[] {
                  index_reduce(ones({3, 2}), 0, ids({7}), ones({1, 2}), Combine::mean);
                },
                {"index_reduce", "7"}}};
    }
  add_case(
      "put", {{{2, 4, 3}, {3}}, {{2, 3, 1}, {3, 1}}},
      [](Tensors const& x) {
        return put(x[0], ids({5, -6, 5}), x[1]);
      },
      [](Tensors const& x) {
        auto v = x[0].to_vector<double>();
        auto const s = x[1].to_vector<double>();
        v[v.size() - 6] = s[1];
        v[5] = s[2];
        return tensor(v, x[0].shape());
      })
      .bad = {{[] {
                 put(ones({2, 3}), ids({6}), ones({1}));
               },
               {"put", "index 6"}},
              {[] {
                 put(ones({2, 3}), ids({5, 1}), ones({1}));
               },
               {"put", "2 values", "[1]"}}};
  add_case(
      "put adds", {{{2, 4, 3}, {3}}},
      [](Tensors const& x) {
        return put(x[0], ids({5, -6, 5}), x[1], true);
      },
      [](Tensors const& x) {
        auto v = x[0].to_vector<double>();
        auto const s = x[1].to_vector<double>();
        v[v.size() - 6] += s[1];
        v[5] += s[0] + s[2];
        return tensor(v, x[0].shape());
      });
  Tensor const chosen = mask_of({1, 0, 1, 1}, {4, 1});
  add_case(
      "masked_scatter", {{{2, 4, 2}, {13}}, {{4, 3}, {3, 4}}, {{1}, {5}}},
      [=](Tensors const& x) { return masked_scatter(x[0], chosen, x[1]); },
      [](Tensors const& x) {
        auto const s = x[1].to_vector<double>();
        size_t k = 0;
        Tensor const whole = x[0].detach().expand(broadcast("", x[0].shape(), {4, 1}));
        return changed(whole, [&](double& v, At const& i) {
          if (i[i.size() - 2] != 1) v = s[k++];
        });
      })
      .bad = {{[] {
                 masked_scatter(ones({3}), mask_of({1, 1, 0}), ones({1}));
               },
               {"masked_scatter", "2 places", "1"}},
              {[] { masked_scatter(ones({3}), ones({3}), ones({3})); }, {"masked_scatter", "bool"}}};
  add_case(
      "masked_fill tensor", {{{2, 4, 3}, {}}, {{4, 1}, {}}},
      [=](Tensors const& x) { return masked_fill(x[0], chosen, x[1]); },
      [](Tensors const& x) {
        return changed(x[0], [&](double& v, At const& i) { v = i[i.size() - 2] == 1 ? v : x[1].item(); });
      });
  list().back().covers = "masked_fill";
  add_case(
      "select_scatter", {{{2, 4, 3}, {2, 3}}, {{0, 4, 3}, {0, 3}}, {{1, 3, 1}, {1, 1}}},
      [](Tensors const& x) { return select_scatter(x[0], x[1], 1, -2); },
      [](Tensors const& x) {
        return changed(x[0], [&, n = x[0].size(1)](double& v, At const& i) {
          if (i[1] == n - 2) v = element(x[1], {i[0], i[2]});
        });
      })
      .bad = {{[] {
                 select_scatter(ones({2, 3}), ones({3}), 1, 0);
               },
               {"select_scatter", "[3]", "[2]"}},
              {[] {
                 select_scatter(ones({2, 3}), ones({2}), 1, 3);
               },
               {"index 3"}}};
  add_case(
      "slice_scatter", {{{2, 4, 3}, {2, 2, 3}}, {{3, 5, 1}, {3, 2, 1}}},
      [](Tensors const& x) { return slice_scatter(x[0], x[1], 1, 1, 4, 2); },
      [](Tensors const& x) {
        return changed(x[0], [&](double& v, At const& i) {
          if (i[1] % 2 == 1 && i[1] < 4) v = element(x[1], {i[0], i[1] / 2, i[2]});
        });
      })
      .bad = {{[] {
                 slice_scatter(ones({2, 3}), ones({2, 3}), 1, 0, 2);
               },
               {"slice_scatter", "[2, 3]", "[2, 2]"}},
              {[] { slice_scatter(ones({2}), ones({2}), 0, 0, 2, 0); }, {"step"}}};
  add_case(
      "diagonal_scatter", {{{2, 3, 4}, {2, 3}}, {{1, 4, 4}, {1, 3}}},
      [](Tensors const& x) { return diagonal_scatter(x[0], x[1], 1, 1, -1); },
      [](Tensors const& x) {
        return changed(x[0], [&](double& v, At const& i) {
          if (i[2] - i[1] == 1) v = element(x[1], {i[0], i[1]});
        });
      })
      .bad = {{[] {
                 diagonal_scatter(ones({2, 3}), ones({3}));
               },
               {"diagonal_scatter", "[3]", "[2]"}},
              {[] {
                 diagonal_scatter(ones({2, 3}), ones({2}), 0, 1, 1);
               },
               {"diagonal", "different"}}};
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    reading_cases();
    writing_cases();
    return OpSuite{.sections = {"indexing"},
                   .cases = list(),
                   .not_differentiable = {"nonzero", "argwhere", "where", "one_hot"},
                   .also = {"index"}};
  }();
  return all;
}

std::vector<int64_t> whole(Tensor const& x) { return x.to_vector<int64_t>(); }

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("an index list without tensors makes a view") {
  Tensor const x = arange(24).reshape({2, 3, 4});
  Tensor const y = x.index({1, none, Slice{-2}, Slice{0, -1, 2}});
  CHECK(y.shape() == Shape{1, 2, 2});
  CHECK(whole(y) == At{16, 18, 20, 22});
  CHECK(y.body()->storage == x.body()->storage);
  CHECK(whole(x.index({ellipsis, 0, tensor(std::vector<int64_t>{-1}, {})})) == At{3, 15});
  CHECK(x.index({}).shape() == x.shape());
  CHECK(x.index({ellipsis, none}).shape() == Shape{2, 3, 4, 1});
  CHECK(x.index({Slice{5, 9}}).shape() == Shape{0, 3, 4});
  CHECK(x.index({Slice{-100, 100, 100}}).shape() == Shape{1, 3, 4});
}

TEST_CASE("where the axes of index tensors go") {
  Tensor const x = zeros({2, 3, 4, 5}), two = ids({0, 1});
  auto const shape = [&](std::vector<Index> const& list) { return x.index(list).shape(); };
  CHECK(shape({Slice{}, two, two}) == Shape{2, 2, 5});
  CHECK(shape({two, Slice{}, two}) == Shape{2, 3, 5});
  CHECK(shape({Slice{}, two, none, two}) == Shape{2, 2, 1, 5});
  CHECK(shape({0, Slice{}, two}) == Shape{3, 2, 5});  // a number selects first, as in PyTorch
  CHECK(shape({none, two, none}) == Shape{1, 2, 1, 3, 4, 5});
  CHECK(shape({true}) == Shape{1, 2, 3, 4, 5});
  CHECK(shape({Slice{}, false}) == Shape{2, 0, 3, 4, 5});
  CHECK(shape({Slice{}, Slice{}, true, two}) == Shape{2, 3, 2, 5});
  CHECK(shape({zeros({2, 3}, Dtype::boolean)}) == Shape{0, 4, 5});
  CHECK(shape({Slice{}, empty({0, 2}, Dtype::i64)}) == Shape{2, 0, 2, 4, 5});
  CHECK(zeros({0, 3}).index({Slice{}, two}).shape() == Shape{0, 2});
  CHECK(error_of([] { zeros({0, 3}).index({ids({0})}); }).find("size 0") != std::string::npos);
}

TEST_CASE("assignment through indices, in place") {
  for (Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::i32, Dtype::i64, Dtype::u8}) {
    Tensor x = zeros({3, 4}, dtype);
    x.index_put_({Slice{}, ids({1, 3, 1})}, ids({5, 6, 7}));
    CHECK(whole(x) == At{0, 7, 0, 6, 0, 7, 0, 6, 0, 7, 0, 6});
    x.index_put_({ids({0, 0, 2}), ids({1, 1, -1})}, 2, true);
    CHECK(whole(x) == At{0, 11, 0, 6, 0, 7, 0, 6, 0, 7, 0, 8});
    x.index_put_({x > 6.0}, 1);
    CHECK(whole(x) == At{0, 1, 0, 6, 0, 1, 0, 6, 0, 1, 0, 1});
    Tensor view = x.t();
    view.index_put_({ids({0}), Slice{1}}, 9);  // a view takes it too
    CHECK(whole(x) == At{0, 1, 0, 6, 9, 1, 0, 6, 9, 1, 0, 1});
    view.index_put_({0}, x.select(1, 1));  // values from the same storage
    CHECK(whole(x.select(1, 0)) == At{1, 1, 1});
  }
  Tensor flags = zeros({4}, Dtype::boolean);
  flags.index_put_({ids({1, 1})}, true, true);
  CHECK(whole(flags) == At{0, 1, 0, 0});
  Tensor x = ones({3}, Dtype::f64);
  CHECK_FALSE(error_of([&] { x.index_put_({ids({0, 3})}, 7); }).empty());
  CHECK(x.to_vector<double>() == std::vector<double>{1, 1, 1});  // nothing was written
  // Recorded: gradients of the value and of what it replaced.
  Tensor a = ones({3}, Dtype::f64).requires_grad_(), v = ones({}, Dtype::f64).requires_grad_();
  Tensor y = a * 2.0;
  y.index_put_({ids({0, 2})}, v * 3.0);
  sum(y * y).backward();
  CHECK(a.grad().to_vector<double>() == std::vector<double>{0, 8, 0});
  CHECK(v.grad().item() == 2 * 2 * 3 * 3);
  CHECK_FALSE(error_of([&] { a.index_put_({0}, 1); }).empty());
}

TEST_CASE("integers of every type index; rank 0 counts as one axis") {
  Tensor const x = arange(5).to(Dtype::f32);
  for (Dtype dtype : {Dtype::i32, Dtype::i64, Dtype::u8}) {
    CHECK(whole(index_select(x, 0, ids({4, 1}).to(dtype))) == At{4, 1});
    CHECK(whole(gather(x, 0, ids({4, 1}).to(dtype))) == At{4, 1});
    CHECK(whole(x.index({ids({4, 1}).to(dtype)})) == At{4, 1});
  }
  Tensor const s = scalar(3);
  CHECK(gather(s, 0, ids({0})).shape() == Shape{1});
  CHECK(gather(s, -1, ids({0}, {})).shape() == Shape{});
  CHECK(gather(x, 0, empty({2, 0}, Dtype::i64)).shape() == Shape{2, 0});
  CHECK(index_select(s, 0, ids({0})).shape() == Shape{});
  CHECK(index_add(s, 0, ids({0}), scalar(2)).item() == 5);
  CHECK(scatter(s, 0, ids({0}, {}), scalar(2)).item() == 2);
  CHECK(scatter(x, 0, ids({1}), 7.5).at(1).item() == 7.5);
  CHECK(take(s, ids({0, -1})).shape() == Shape{2});
  // An index expanded along new axes is checked and read without a copy.
  Tensor const wide = ones({1000, 4});
  CHECK(gather(wide, 0, ids({999}, {1, 1}).expand({1000, 4})).shape() == Shape{1000, 4});
}

TEST_CASE("integer reductions by index") {
  Tensor const x = ids({5, -7, 3, 2}), at = ids({0, 1, 1, 3, 1}), v = ids({-4, -3, 5, 1, 1});
  CHECK(whole(scatter_reduce(x, 0, at, v, Combine::sum)) == At{1, -4, 3, 3});
  CHECK(whole(scatter_reduce(x, 0, at, v, Combine::prod)) == At{-20, 105, 3, 2});
  CHECK(whole(scatter_reduce(x, 0, at, v, Combine::mean)) == At{0, -1, 3, 1});
  CHECK(whole(scatter_reduce(x, 0, at, v, Combine::amax, false)) == At{-4, 5, 3, 1});
  CHECK(whole(scatter_reduce(x, 0, at, v, Combine::amin, false)) == At{-4, -3, 3, 1});
  Tensor const nan = scatter_reduce(ones({2}), 0, ids({0, 0}), full({2}, nan_), Combine::amax);
  CHECK(std::isnan(nan.at(0).item()));
  CHECK(nan.at(1).item() == 1);
}

TEST_CASE("products and their gradients with zeros") {
  for (std::vector<double> const& factors : {std::vector<double>{2, 0, 3}, {0, 0, 3}, {2, 4, 3}}) {
    Tensor const at = ids({0, 0, 0});
    auto const f = [&](Tensors const& x) { return Tensors{scatter_reduce(x[0], 0, at, x[1], Combine::prod)}; };
    Tensor x = full({1}, 1.5, Dtype::f64).requires_grad_(), v = tensor(factors, {3}).requires_grad_();
    CHECK(gradcheck(f, {x, v}) == "");
    CHECK(gradgradcheck(f, {x, v}) == "");
  }
}

TEST_CASE("ties of amax and amin share the gradient") {
  Tensor x = tensor({1, 5}).requires_grad_(), v = tensor({5, 5, 1}).requires_grad_();
  sum(scatter_reduce(x, 0, ids({1, 1, 0}), v, Combine::amax)).backward();
  CHECK(x.grad().to_vector<double>() == std::vector<double>{0.5, double(1.0f / 3)});
  CHECK(v.grad().to_vector<double>() == std::vector<double>{double(1.0f / 3), double(1.0f / 3), 0.5});
}

TEST_CASE("repeated indices: the same bits for any number of threads, the last assignment stays") {
  int const before = thread_count();
  int64_t const n = 200003;
  Generator generator(3);
  Tensor const rows = randint(0, 777, {n}, generator);
  for (int64_t width : {1, 3, 4099}) {
    int64_t const count = width > 4000 ? 500 : n;
    Tensor const v = randn({count, width}, Dtype::f32, generator), at = rows.slice(0, 0, count);
    std::vector<double> want(size_t(777 * width));
    auto const from = v.to_vector<double>();
    auto const index = at.to_vector<int64_t>();
    for (size_t i = 0; i < from.size(); ++i)
      want[size_t(index[i / size_t(width)] * width) + i % size_t(width)] = from[i];
    Tensor added, last;
    for (int threads : {1, 2, 4}) {
      set_thread_count(threads);
      Tensor const sums = index_add(zeros({777, width}), 0, at, v), copies = index_copy(zeros({777, width}), 0, at, v);
      CHECK(copies.to_vector<double>() == want);
      if (threads > 1) CHECK(same_bits(sums, added));
      added = sums;
    }
  }
  set_thread_count(before);
}

TEST_CASE("nonzero, where, one_hot") {
  Tensor const m = mask_of({1, 0, 1, 0, 0, 1}, {2, 3});
  CHECK(nonzero(m).shape() == Shape{3, 2});
  CHECK(whole(nonzero(m)) == At{0, 0, 0, 2, 1, 2});
  CHECK(whole(argwhere(m.t())) == At{0, 0, 2, 0, 2, 1});
  auto const at = where(m);
  CHECK(at.size() == 2);
  CHECK(whole(at[1]) == At{0, 2, 2});
  CHECK(nonzero(scalar(3)).shape() == Shape{1, 0});
  CHECK(nonzero(scalar(0)).shape() == Shape{0, 0});
  CHECK(whole(nonzero(tensor(std::vector<double>{nan_, 0, -0.0, inf}, {4}))) == At{0, 3});
  CHECK(nonzero(zeros({0, 3})).shape() == Shape{0, 2});
  Tensor const many = arange(100000).reshape({-1}) == floor(arange(100000).to(Dtype::f64) / 7.0) * 7.0;
  CHECK(whole(nonzero(many)).size() == 14286);
  CHECK(whole(one_hot(ids({0, 2}))) == At{1, 0, 0, 0, 0, 1});
  CHECK(one_hot(ids({1}, {1, 1}), 4).shape() == Shape{1, 1, 4});
  CHECK(one_hot(empty({0}, Dtype::i64), 3).shape() == Shape{0, 3});
  CHECK(error_of([] { one_hot(ids({3}), 3); }).find("index 3") != std::string::npos);
  CHECK_FALSE(error_of([] { one_hot(ids({-1})); }).empty());
  CHECK_FALSE(error_of([] { one_hot(empty({0}, Dtype::i64)); }).empty());
  CHECK_FALSE(error_of([] { one_hot(ones({2})); }).empty());
  CHECK_FALSE(error_of([] { nonzero(Tensor()); }).empty());
}

TEST_CASE("on an accelerator: repeated indices of every type give the processor's bits") {
  Device const device = emulated_device();
  Generator generator(5);
  struct Size {
    int64_t entries, rows, width;
  };
  // Entries that one block sorts, and more than that; rows that one digit tells apart, and that two do.
  for (auto const [entries, rows, width] : {Size{700, 90, 3}, {2500, 40, 1}, {5000, 1000, 1}})
    for (Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::i64, Dtype::i32, Dtype::i16, Dtype::i8, Dtype::u8,
                        Dtype::boolean}) {
      if (entries == 5000 && dtype != Dtype::f32 && dtype != Dtype::u8) continue;
      INFO(std::string(name(dtype)), " ", entries);
      Tensor const x = randint(0, 3, {rows, width}, generator).to(dtype), at = randint(0, rows, {entries}, generator);
      Tensor const v = (rand({entries, width}, Dtype::f32, generator) * 7.0 - 2.0).to(dtype);
      auto const same = [&](std::function<Tensor(Tensor const&, Tensor const&, Tensor const&)> const& f) {
        CHECK(same_bits(f(x.to(device), at.to(device), v.to(device)).to(cpu), f(x, at, v)));
      };
      same([](auto& x, auto& i, auto& v) { return index_add(x, 0, i, v); });
      same([](auto& x, auto& i, auto& v) { return index_copy(x, 0, i, v); });
      same([](auto& x, auto& i, auto& v) { return index_reduce(x, 0, i, v, Combine::amax); });
      same([](auto& x, auto& i, auto& v) { return index_reduce(x, 0, i, v, Combine::amin, false); });
      same([](auto& x, auto& i, auto& v) { return index_reduce(x, 0, i, v, Combine::prod); });
      same([](auto& x, auto& i, auto& v) { return index_reduce(x, 0, i, v, Combine::mean); });
      same([](auto& x, auto& i, auto&) { return index_fill(index_select(x, 0, i), 0, i.slice(0, 0, 9), 1); });
      same([](auto& x, auto& i, auto& v) {
        Tensor y = x.clone(), view = y.t();
        view.index_put_({Slice{}, i}, v.t(), true);
        return y;
      });
      same([](auto& x, auto&, auto&) { return nonzero(x); });
      same([](auto& x, auto&, auto&) { return where(x)[0]; });
    }
  Tensor const at = ids({2, 0, 3, 2});
  CHECK(same_bits(one_hot(at.to(device), 5).to(cpu), one_hot(at, 5)));
  Tensor const many = randint(0, 2, {9001}, generator);
  CHECK(same_bits(nonzero(many.to(device)).to(cpu), nonzero(many)));
  CHECK(nonzero(zeros({0, 2}).to(device)).shape() == Shape{0, 2});
  CHECK(emulator_complaints() == "");
}

TEST_CASE("on an accelerator: a wrong index is reported when the host waits; one on the processor at once") {
  Device const device = emulated_device();
  Tensor const x = ones({3, 4}).to(device), v = ones({1, 4}).to(device), wrong = ids({3}), there = wrong.to(device);
  struct Call {
    std::string says;
    std::function<Tensor(Tensor const&)> of;
  };
  for (Call const& call : {Call{"index: ", [&](Tensor const& i) { return x.index({i}); }},
                           {"index_select: ", [&](Tensor const& i) { return index_select(x, 0, i); }},
                           {"gather: ", [&](Tensor const& i) { return gather(x, 0, i.unsqueeze(0)); }},
                           {"scatter: ", [&](Tensor const& i) { return scatter(x, 0, i.unsqueeze(0), 1); }},
                           {"index_add: ", [&](Tensor const& i) { return index_add(x, 0, i, v); }},
                           {"index_put: ", [&](Tensor const& i) { return index_put(x, {i}, v); }}}) {
    Tensor y;
    std::string const at_once = error_of([&] { call.of(wrong); });
    CHECK(at_once.find(call.says) == 0);
    CHECK(error_of([&] { y = call.of(there); }) == "");
    std::string const said = error_of([&] { y.to(cpu); });
    CHECK(said.find(call.says) == 0);
    CHECK(said.find("index 3") != said.npos);
    CHECK(said.find("axis 0") != said.npos);
    CHECK(error_of([&] { x.to(cpu); }) == "");
  }
  CHECK(error_of([&] { take(x, ids({-13}).to(device)).to(cpu); }).find("use -12 to 11") != std::string::npos);
  CHECK(take(x, ids({-12}).to(device)).item() == 1);
  CHECK(error_of([&] { index_select(zeros({0, 2}).to(device), 0, there); }).find("size 0") != std::string::npos);
  CHECK(error_of([&] { index_select(ones({3}), 0, there); }).find("index_select") == 0);
  CHECK(emulator_complaints() == "");
}

TEST_CASE("on an accelerator: second derivatives") {
  Tensor const at = ids({1, 0, 1, 1}), v = tensor({{0.5f, -2}, {0, 3}, {1.5f, 0}, {0, 1}});
  auto const both = [](Device device, Tensor const& x, std::function<Tensor(Tensor const&)> const& f) {
    Tensor const leaf = x.to(device).detach().clone().requires_grad_();
    Tensor const y = f(leaf), g = grad({sum(y * y * y)}, {leaf}, {}, {.create_graph = true})[0];
    return grad({sum(g * g)}, {leaf})[0].to(cpu);
  };
  std::vector<std::function<Tensor(Tensor const&)>> const calls{
      [&](Tensor const& x) {
        return index_reduce(ones({2, 2}).to(x.device()), 0, at, x, Combine::prod);
      },
      [&](Tensor const& x) {
        return index_reduce(ones({2, 2}).to(x.device()), 0, at, x, Combine::amax);
      },
      [&](Tensor const& x) { return index_put(x, {at}, x * 2.0, true); },
      [&](Tensor const& x) { return index_copy(x, 0, at, x * x); },
      [&](Tensor const& x) { return gather(x * x, 0, at.unsqueeze(1)); },
      [&](Tensor const& x) { return masked_scatter(x, x > 1.0, x * x); },
      [&](Tensor const& x) { return sort(x * x, 0).values; },
      [&](Tensor const& x) { return cumprod(x, 0); },
      [&](Tensor const& x) { return logcumsumexp(x, 0); }};
  for (size_t k = 0; k < calls.size(); ++k) {
    INFO(k);
    CHECK(differs(both(emulated_device(), v, calls[k]), both(cpu, v, calls[k]), 1e-5) == "");
  }
  CHECK(emulator_complaints() == "");
}
