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
           {[] { matmul(ones({3}, Dtype::boolean), ones({3}, Dtype::boolean)); }, {"matmul", "bool"}},
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

using Shaped = std::vector<Shapes>;

void add(std::string name, Shaped shapes, Function op, Function twin, std::vector<BadCall> bad, std::string covers = "",
         std::vector<Input> inputs = {}) {
  if (inputs.empty()) inputs.assign(shapes[0].size(), real());
  OpCase c{.name = name,
           .covers = covers.empty() ? name : covers,
           .inputs = std::move(inputs),
           .shapes = std::move(shapes),
           .op = std::move(op),
           .twin = std::move(twin)};
  c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 1e-4;
  for (BadCall& b : bad) b.says.push_back(c.covers);
  c.bad = std::move(bad);
  list().push_back(c);
}

using Binary = Tensor (*)(Tensor const&, Tensor const&);

void plain_cases() {
  struct Row {
    std::string name;
    Binary op;
    Shaped shapes;
    Shape wrong_a, wrong_b;
  };
  for (Row const& r :
       {Row{"mm", mm, {{{2, 3}, {3, 4}}, {{1, 1}, {1, 1}}, {{2, 0}, {0, 3}}, {{0, 2}, {2, 3}}}, {2, 3}, {2, 3}},
        Row{"mv", mv, {{{2, 3}, {3}}, {{4, 1}, {1}}, {{2, 0}, {0}}}, {2, 3}, {2}},
        Row{"bmm", bmm, {{{2, 2, 3}, {2, 3, 2}}, {{1, 4, 1}, {1, 1, 5}}, {{0, 2, 3}, {0, 3, 2}}}, {2, 3, 3}, {1, 3, 3}},
        Row{"dot", dot, {{{5}, {5}}, {{1}, {1}}, {{0}, {0}}}, {3}, {4}},
        Row{"vdot", vdot, {{{5}, {5}}, {{0}, {0}}}, {3}, {4}}})
    add(
        r.name, r.shapes, [=](Tensors const& x) { return Tensors{r.op(x[0], x[1])}; },
        [](Tensors const& x) { return Tensors{matmul_loops(x[0], x[1])}; },
        {{[=] { r.op(ones(r.wrong_a), ones(r.wrong_b)); }, {to_string(r.wrong_a), to_string(r.wrong_b)}},
         {[=] { r.op(scalar(1), ones(r.wrong_b)); }, {"rank"}},
         {[=] { r.op(ones(r.wrong_a), Tensor()); }, {}}});
  add(
      "vecdot", {{{2, 3}, {2, 3}}, {{4, 1, 3}, {2, 3}}, {{0}, {0}}, {{5}, {5}}},
      [](Tensors const& x) { return Tensors{vecdot(x[0], x[1])}; },
      [](Tensors const& x) {
        return Tensors{matmul_loops(x[0].unsqueeze(-2), x[1].unsqueeze(-1)).squeeze(-1).squeeze(-1)};
      },
      {{[] {
          vecdot(ones({2, 3}), ones({2, 4}));
        },
        {"[2, 3]", "[2, 4]"}},
       {[] { vecdot(Tensor(), ones({3})); }, {}}});
  add(
      "vecdot along axis 0", {{{2, 3}, {2, 3}}, {{2, 1}, {2, 3}}},
      [](Tensors const& x) { return Tensors{vecdot(x[0], x[1], 0)}; },
      [](Tensors const& x) {
        Tensor const a = x[0].t().unsqueeze(-2), b = x[1].t().unsqueeze(-1);
        return Tensors{matmul_loops(a, b).squeeze(-1).squeeze(-1)};
      },
      {}, "vecdot");
  add(
      "inner", {{{2, 3}, {4, 3}}, {{3}, {3}}, {{}, {2, 2}}, {{2}, {}}, {{2, 2, 3}, {3}}, {{2, 0}, {3, 0}}},
      [](Tensors const& x) { return Tensors{inner(x[0], x[1])}; },
      [](Tensors const& x) {
        if (x[0].rank() == 0 || x[1].rank() == 0) return Tensors{x[1] * x[0]};
        if (x[1].rank() == 1) return Tensors{matmul_loops(x[0], x[1])};
        return Tensors{matmul_loops(x[0], x[1].t())};
      },
      {{[] {
          inner(ones({2, 3}), ones({3, 2}));
        },
        {"[2, 3]"}},
       {[] { inner(Tensor(), ones({3})); }, {}}});
  add(
      "outer", {{{2}, {3}}, {{1}, {1}}, {{0}, {3}}}, [](Tensors const& x) { return Tensors{outer(x[0], x[1])}; },
      [](Tensors const& x) { return Tensors{matmul_loops(x[0].unsqueeze(1), x[1].unsqueeze(0))}; },
      {{[] {
          outer(ones({2, 3}), ones({3}));
        },
        {"a vector of rank 1", "[2, 3]"}},
       {[] { outer(ones({2}), scalar(1)); }, {"[]"}}});
}

using Ternary = Tensor (*)(Tensor const&, Tensor const&, Tensor const&, AddProduct);

void added_cases() {
  struct Row {
    std::string name;
    Ternary op;
    Shape a, b;
    std::vector<Shape> inputs;
    Shape wrong;
  };
  for (Row const& r :
       {Row{"addmm", addmm, {2, 3}, {3, 4}, {{2, 4}, {4}, {1}, {}, {2, 1}}, {3, 4}},
        Row{"addmv", addmv, {2, 3}, {3}, {{2}, {1}, {}}, {3}}, Row{"addr", addr, {2}, {3}, {{2, 3}, {3}, {}}, {3, 3}},
        Row{"baddbmm", baddbmm, {2, 2, 3}, {2, 3, 2}, {{2, 2, 2}, {2}, {}}, {3, 2, 2}},
        Row{"addbmm", addbmm, {2, 2, 3}, {2, 3, 2}, {{2, 2}, {2, 1}, {}}, {2, 2, 2}}}) {
    Shaped shapes;
    for (Shape const& input : r.inputs) shapes.push_back({input, r.a, r.b});
    auto const product = [=](Tensors const& x) {
      if (r.name == "addr") return matmul_loops(x[1].unsqueeze(1), x[2].unsqueeze(0));
      Tensor const y = matmul_loops(x[1], x[2]);
      return r.name == "addbmm" ? sum(y, {0}) : y;
    };
    add(
        r.name, shapes, [=](Tensors const& x) { return Tensors{r.op(x[0], x[1], x[2], {})}; },
        [=](Tensors const& x) { return Tensors{x[0] + product(x)}; },
        {{[=] { r.op(ones(r.wrong), ones(r.a), ones(r.b), {}); }, {to_string(r.wrong), "broadcast"}},
         {[=] { r.op(scalar(1), scalar(1), ones(r.b), {}); }, {"rank"}},
         {[=] { r.op(Tensor(), ones(r.a), ones(r.b), {}); }, {}},
         {[=] { r.op(scalar(1).to(Dtype::i64), ones(r.a, Dtype::i64), ones(r.b, Dtype::i64), {.beta = 0.5}); },
          {"0.5", "i64"}}});
    add(
        r.name + ", scaled", shapes,
        [=](Tensors const& x) { return Tensors{r.op(x[0], x[1], x[2], {.beta = 0.5, .alpha = -3})}; },
        [=](Tensors const& x) { return Tensors{x[0] * 0.5 - product(x) * 3.0}; }, {}, r.name);
  }
}

/// Every assignment of the labels in turn.
Tensor einsum_loops(std::string const& inputs, std::string const& output, Tensors const& x) {
  std::vector<std::string> terms(1);
  for (char c : inputs) {
    if (c == ',')
      terms.emplace_back();
    else
      terms.back() += c;
  }
  std::string labels;
  std::vector<int64_t> sizes;
  for (size_t t = 0; t < terms.size(); ++t)
    for (size_t i = 0; i < terms[t].size(); ++i) {
      size_t const at = labels.find(terms[t][i]);
      int64_t const n = x[t].size(int(i));
      if (at == std::string::npos)
        labels += terms[t][i], sizes.push_back(n);
      else if (sizes[at] == 1)
        sizes[at] = n;
    }
  Shape shape;
  for (char c : output) shape.push_back(sizes[labels.find(c)]);
  std::vector<std::vector<double>> values;
  for (Tensor const& t : x) values.push_back(t.to_vector<double>());
  std::vector<double> to(size_t(numel(shape)));
  int64_t total = 1;
  for (int64_t n : sizes) total *= n;
  std::vector<int64_t> index(labels.size());
  for (int64_t step = 0; step < total; ++step) {
    int64_t rest = step;
    for (size_t l = labels.size(); l-- > 0;) index[l] = rest % sizes[l], rest /= sizes[l];
    double value = 1;
    for (size_t t = 0; t < terms.size(); ++t) {
      int64_t at = 0;
      for (size_t i = 0; i < terms[t].size(); ++i)
        at = at * x[t].size(int(i)) + (x[t].size(int(i)) == 1 ? 0 : index[labels.find(terms[t][i])]);
      value *= values[t][size_t(at)];
    }
    int64_t at = 0;
    for (char c : output) at = at * sizes[labels.find(c)] + index[labels.find(c)];
    to[size_t(at)] += value;
  }
  return tensor(to, shape);
}

void einsum_cases() {
  struct Row {
    std::string equation, inputs, output;  // the last two without ellipsis, for the loops
    Shaped shapes;
  };
  bool first = true;
  for (Row const& r :
       {Row{"ij,jk->ik", "ij,jk", "ik", {{{2, 3}, {3, 4}}, {{2, 1}, {3, 4}}, {{2, 0}, {0, 3}}, {{0, 2}, {2, 1}}}},
        Row{"ij, jk", "ij,jk", "ik", {{{2, 3}, {3, 4}}}}, Row{"ba", "ba", "ab", {{{2, 3}}}},
        Row{"ii", "ii", "", {{{3, 3}}, {{0, 0}}}}, Row{"iij->ji", "iij", "ji", {{{2, 2, 3}}}},
        Row{"iii->i", "iii", "i", {{{2, 2, 2}}}}, Row{"ij->", "ij", "", {{{2, 3}}}},
        Row{"i,i,i->i", "i,i,i", "i", {{{4}, {4}, {4}}}},
        Row{"ab,bc,cd,de->ae", "ab,bc,cd,de", "ae", {{{2, 3}, {3, 2}, {2, 4}, {4, 2}}}},
        Row{"ab,cb,ca,da,eb->dce", "ab,cb,ca,da,eb", "dce", {{{2, 3}, {2, 3}, {2, 2}, {2, 2}, {2, 3}}}},
        Row{"bhqd,bhkd->bhqk", "bhqd,bhkd", "bhqk", {{{2, 2, 3, 2}, {2, 2, 2, 2}}}},
        Row{"...ij,...jk->...ik", "xij,xjk", "xik", {{{2, 2, 3}, {1, 3, 2}}}},
        Row{"...i,...i", "xi,xi", "x", {{{2, 3}, {2, 3}}}}, Row{"i...->...", "ixy", "xy", {{{2, 3, 2}}}},
        Row{"a,b,a,b,a,b,a,b,a->ab", "a,b,a,b,a,b,a,b,a", "ab", {Shapes(9, Shape{2})}}}) {
    std::vector<BadCall> bad;
    if (first)
      bad = {{[] {
                einsum("ij,jk", {ones({2, 3})});
              },
              {"2 operands for 1"}},
             {[] {
                einsum("ij,jk", {ones({2, 3}), ones({4, 2})});
              },
              {"sizes 3 and 4"}},
             {[] {
                einsum("ij->iz", {ones({2, 3})});
              },
              {"'z'"}},
             {[] {
                einsum("ij->ii", {ones({2, 3})});
              },
              {"twice"}},
             {[] {
                einsum("i", {ones({2, 3})});
              },
              {"[2, 3]"}},
             {[] {
                einsum("i......", {ones({2, 3})});
              },
              {"second ellipsis"}},
             {[] {
                einsum("i1", {ones({2, 3})});
              },
              {"'1'"}},
             {[] {
                einsum("ii", {ones({2, 3})});
              },
              {"sizes 2 and 3"}},
             {[] { einsum("i", {Tensor()}); }, {}}};
    first = false;
    add(
        "einsum " + r.equation, r.shapes, [=](Tensors const& x) { return Tensors{einsum(r.equation, x)}; },
        [=](Tensors const& x) { return Tensors{einsum_loops(r.inputs, r.output, x)}; }, bad, "einsum");
  }
  add(
      "tensordot", {{{2, 3, 4}, {3, 4, 2}}, {{3, 4}, {3, 4}}, {{2, 0, 2}, {0, 2, 3}}},
      [](Tensors const& x) { return Tensors{tensordot(x[0], x[1])}; },
      [](Tensors const& x) {
        Tensor const a = x[0].rank() == 2 ? x[0].unsqueeze(0) : x[0], b = x[1].rank() == 2 ? x[1].unsqueeze(2) : x[1];
        Tensor const y = einsum_loops("abc,bcd", "ad", {a, b});
        return Tensors{x[0].rank() == 2 ? y.squeeze(0).squeeze(0) : y};
      },
      {{[] { tensordot(ones({2}), ones({2}), 2); }, {"2 axes"}},
       {[] {
          tensordot(ones({2, 3}), ones({2, 3}), 1);
        },
        {"axis 1", "[2, 3]"}}});
  add(
      "tensordot, axes listed", {{{2, 3, 2}, {2, 4, 2}}, {{1, 3, 1}, {2, 4, 2}}},
      [](Tensors const& x) {
        return Tensors{tensordot(x[0], x[1], {0, -1}, {2, 0})};
      },
      [](Tensors const& x) { return Tensors{einsum_loops("abc,cda", "bd", x)}; },
      {{[] {
          tensordot(ones({2, 2}), ones({2, 2}), {0, 0}, {0, 1});
        },
        {"each axis once"}},
       {[] {
          tensordot(ones({2, 2}), ones({2, 2}), {0}, {0, 1});
        },
        {"1 axes of the first"}},
       {[] {
          tensordot(ones({2, 2}), ones({2, 2}), {0}, {2});
        },
        {"axis"}}},
      "tensordot");
}

/// Π of a row of matrices, left to right.
Tensor chain_loops(Tensors const& x) {
  Tensor y = x[0];
  for (size_t i = 1; i < x.size(); ++i) y = matmul_loops(y, x[i]);
  return y;
}

double distance(double const* a, double const* b, int64_t n, double p) {
  double total = 0;
  for (int64_t k = 0; k < n; ++k) {
    double const d = std::abs(a[k] - b[k]);
    if (p == 0)
      total += d != 0;
    else if (std::isinf(p))
      total = std::max(total, d);
    else
      total += std::pow(d, p);
  }
  return p == 0 || std::isinf(p) ? total : std::pow(total, 1 / p);
}

void composed_cases() {
  add(
      "kron", {{{2, 1}, {2, 3}}, {{2}, {2, 2}}, {{}, {3}}, {{0, 2}, {3, 1}}, {{2, 1, 2}, {1, 3, 2}}},
      [](Tensors const& x) { return Tensors{kron(x[0], x[1])}; },
      [](Tensors const& x) {
        Tensor a = x[0], b = x[1];
        int const rank = std::max(a.rank(), b.rank());
        while (a.rank() < 3) a = a.unsqueeze(0);
        while (b.rank() < 3) b = b.unsqueeze(0);
        Tensor y = einsum_loops("abc,xyz", "axbycz", {a, b});
        y = y.reshape({a.size(0) * b.size(0), a.size(1) * b.size(1), a.size(2) * b.size(2)});
        while (y.rank() > rank) y = y.squeeze(0);
        return Tensors{y};
      },
      {{[] {
          kron(ones({1, 1, 1, 1, 1}), ones({2}));
        },
        {"at most 4"}},
       {[] { kron(Tensor(), ones({2})); }, {}}});
  add(
      "multi_dot", {{{2, 3}, {3, 2}, {2, 2}}, {{3, 1}, {1, 4}, {4, 2}}, {{2, 0}, {0, 3}, {3, 1}}},
      [](Tensors const& x) { return Tensors{multi_dot(x)}; }, [](Tensors const& x) { return Tensors{chain_loops(x)}; },
      {{[] {
          multi_dot({ones({2, 2})});
        },
        {"two tensors or more"}},
       {[] {
          multi_dot({ones({2, 2}), ones({2}), ones({2, 2})});
        },
        {"factor 1", "[2]"}},
       {[] {
          multi_dot({ones({2, 2}), ones({3, 2})});
        },
        {"[2, 2]", "[3, 2]"}}});
  add(
      "multi_dot between vectors", {{{3}, {3, 5}, {5, 2}, {2}}}, [](Tensors const& x) { return Tensors{multi_dot(x)}; },
      [](Tensors const& x) { return Tensors{chain_loops(x)}; }, {}, "multi_dot");
  for (int64_t n : {0, 1, 2, 5, -2})
    add(
        "matrix_power " + std::to_string(n), {{{2, 2}}, {{2, 3, 3}}, {{0, 0}}, {{1, 1}}},
        [=](Tensors const& x) {
          Tensor const one = eye(x[0].size(-1), -1, x[0].dtype(), x[0].device());
          return Tensors{n < 0 ? matmul(matmul(x[0] + one * 3.0, x[0] + one * 3.0), matrix_power(x[0] + one * 3.0, n)) +
                                     x[0]
                               : matrix_power(x[0], n)};
        },
        [=](Tensors const& x) {
          Tensor const one = (arange(x[0].size(-1)).unsqueeze(1) == arange(x[0].size(-1))).to(x[0].dtype());
          Tensor y = one.expand(x[0].shape()) * 1.0;
          for (int64_t i = 0; i < n; ++i) y = matmul_loops(y, x[0]);
          return Tensors{n < 0 ? y + x[0] : y};
        },
        {{[] {
            matrix_power(ones({2, 3}), 2);
          },
          {"[2, 3]"}},
         {[] { matrix_power(Tensor(), 2); }, {}}},
        "matrix_power", {real(-1, 1)});
  add(
      "cross", {{{3}, {3}}, {{2, 3}, {2, 3}}, {{1, 3}, {4, 3}}, {{0, 3}, {0, 3}}},
      [](Tensors const& x) { return Tensors{cross(x[0], x[1])}; },
      [](Tensors const& x) {
        auto const a = [&](int i) { return x[0].select(-1, i % 3); };
        auto const b = [&](int i) { return x[1].select(-1, i % 3); };
        Tensors parts;
        for (int i = 0; i < 3; ++i) parts.push_back(a(i + 1) * b(i + 2) - a(i + 2) * b(i + 1));
        return Tensors{stack(parts, -1)};
      },
      {{[] {
          cross(ones({2, 2}), ones({2, 2}));
        },
        {"3 elements"}},
       {[] {
          cross(ones({3}), ones({2, 3}));
        },
        {"rank"}}});
  add(
      "trace", {{{3, 3}}, {{2, 4}}, {{4, 2}}, {{0, 3}}, {{1, 1}}},
      [](Tensors const& x) { return Tensors{trace(x[0])}; },
      [](Tensors const& x) {
        double total = 0;
        for (int64_t i = 0; i < std::min(x[0].size(0), x[0].size(1)); ++i) total += x[0].at(i, i).item();
        return Tensors{scalar(total, Dtype::f64)};
      },
      {{[] { trace(ones({3})); }, {"rank 2"}},
       {[] {
          trace(ones({3, 3, 3}));
        },
        {"rank 2"}}});
  add(
      "bilinear", {{{2, 3}, {2, 2}, {4, 3, 2}, {4}}, {{3}, {2}, {1, 3, 2}, {1}}, {{0, 3}, {0, 2}, {2, 3, 2}, {2}}},
      [](Tensors const& x) { return Tensors{bilinear(x[0], x[1], x[2], x[3])}; },
      [](Tensors const& x) {
        Tensor const a = x[0].rank() == 1 ? x[0].unsqueeze(0) : x[0], b = x[1].rank() == 1 ? x[1].unsqueeze(0) : x[1];
        Tensor const y = einsum_loops("bi,oij,bj", "bo", {a, x[2], b}) + x[3];
        return Tensors{x[0].rank() == 1 ? y.squeeze(0) : y};
      },
      {{[] {
          bilinear(ones({2, 3}), ones({3, 2}), ones({4, 3, 2}));
        },
        {"[2, 3]", "[3, 2]"}},
       {[] {
          bilinear(ones({2, 3}), ones({2, 2}), ones({4, 3, 2}), ones({3}));
        },
        {"bias of shape [4]"}}});
  for (double p : {0.0, 1.0, 2.0, 3.0, 0.5, inf}) {
    add(
        "cdist " + std::to_string(p),
        {{{3, 2}, {2, 2}}, {{2, 2, 3}, {1, 4, 3}}, {{4, 1}, {3, 1}}, {{0, 2}, {3, 2}}, {{2, 11}, {3, 11}}},
        [=](Tensors const& x) { return Tensors{cdist(x[0], x[1], p)}; },
        [=](Tensors const& x) {
          int64_t const batch = x[0].rank() == 3 ? x[0].size(0) : 1, n = x[0].size(-1);
          int64_t const rows = x[0].size(-2), columns = x[1].size(-2);
          auto const a = x[0].to_vector<double>(), b = x[1].to_vector<double>();
          std::vector<double> y;
          for (int64_t i = 0; i < batch * rows; ++i)
            for (int64_t j = 0; j < columns; ++j) y.push_back(distance(a.data() + i * n, b.data() + j * n, n, p));
          return Tensors{tensor(y, x[0].rank() == 3 ? Shape{batch, rows, columns} : Shape{rows, columns})};
        },
        {{[] {
            cdist(ones({2, 3}), ones({2, 4}));
          },
          {"[2, 3]", "[2, 4]"}},
         {[] {
            cdist(ones({2, 3}), ones({2, 3}), -1);
          },
          {"p >= 0"}},
         {[] { cdist(arange(3).unsqueeze(0), arange(3).unsqueeze(0)); }, {"i64"}}},
        "cdist", {distinct(-2, 0.1), distinct(-1.01, 2)});
    add(
        "pdist " + std::to_string(p), {{{3, 2}}, {{1, 4}}, {{0, 2}}, {{5, 1}}},
        [=](Tensors const& x) { return Tensors{pdist(x[0], p)}; },
        [=](Tensors const& x) {
          auto const a = x[0].to_vector<double>();
          std::vector<double> y;
          for (int64_t i = 0; i < x[0].size(0); ++i)
            for (int64_t j = i + 1; j < x[0].size(0); ++j)
              y.push_back(distance(&a[size_t(i * x[0].size(1))], &a[size_t(j * x[0].size(1))], x[0].size(1), p));
          return Tensors{tensor(y, {int64_t(y.size())})};
        },
        {{[] { pdist(ones({2})); }, {"rank 2"}},
         {[] {
            pdist(ones({2, 2}), -2);
          },
          {"p >= 0"}}},
        "pdist", {real()});
  }
  add(
      "linear, one output", {{{2, 3}, {3}, {}}, {{3}, {3}, {}}, {{2, 2, 1}, {1}, {}}, {{0, 3}, {3}, {}}},
      [](Tensors const& x) { return Tensors{linear(x[0], x[1], x[2])}; },
      [](Tensors const& x) { return Tensors{matmul_loops(x[0], x[1]) + x[2]}; },
      {{[] {
          linear(ones({2, 3}), ones({3}), ones({1}));
        },
        {"bias of shape []"}},
       {[] {
          linear(ones({2, 3}), ones({4}));
        },
        {"[2, 3]"}}},
      "linear");
}

void int8_cases() {
  auto const weight = [](Tensor const& w) { return quantize_int8(w); };
  OpCase c{.name = "linear_int8",
           .covers = "linear_int8",
           .inputs = {real(), real(), real()},
           .shapes = {{{1, 70}, {9, 70}, {9}},
                      {{3, 5}, {4, 5}, {4}},
                      {{2, 3, 33}, {17, 33}, {17}},
                      {{40, 16}, {50, 16}, {50}},
                      {{0, 3}, {2, 3}, {2}},
                      {{2, 0}, {3, 0}, {3}}},
           .op = [=](Tensors const& x) { return Tensors{linear_int8(x[0], weight(x[1]), x[2])}; },
           .twin =
               [=](Tensors const& x) {
                 Int8Weight const w = weight(x[1].to(Dtype::f32));
                 Tensor const whole = w.values.to(Dtype::f64) * w.scale.to(Dtype::f64).unsqueeze(1);
                 return Tensors{matmul(x[0], whole.t()) + x[2]};
               },
           .differentiable = false};
  c.f32 = 1e-5, c.f64 = 1e-5;  // computed in f32
  c.bad = {{[=] {
              linear_int8(ones({2, 3}), weight(ones({4, 5})));
            },
            {"linear_int8", "[.., 5]", "[2, 3]"}},
           {[=] {
              linear_int8(ones({2, 5}), weight(ones({4, 5})), ones({5}));
            },
            {"bias [4]", "[5]"}},
           {[=] {
              linear_int8(ones({2, 5}), {ones({4, 5}), ones({4})});
            },
            {"i8 [N, K]", "f32 [4, 5]"}},
           {[=] {
              linear_int8(ones({2, 5}).requires_grad_(), weight(ones({4, 5})));
            },
            {"linear_int8", "gradient"}}};
  list().push_back(c);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    product_cases();
    plain_cases();
    added_cases();
    einsum_cases();
    composed_cases();
    int8_cases();
    return OpSuite{.sections = {"products"}, .cases = list(), .not_differentiable = {"linear_int8"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("integer products are exact and wrap") {
  auto const whole = [](Tensor const& x) { return x.to_vector<int64_t>(); };
  Tensor const a = arange(6).reshape({2, 3}), b = arange(12).reshape({3, 4});
  CHECK(whole(matmul(a, b)) == std::vector<int64_t>{20, 23, 26, 29, 56, 68, 80, 92});
  CHECK(matmul(a, b).dtype() == Dtype::i64);
  CHECK(whole(matmul(a, b.t().contiguous().t())) == whole(matmul(a, b)));
  Tensor const batch = matmul(arange(12).reshape({2, 1, 2, 3}), arange(9).reshape({3, 3, 1}));
  CHECK(batch.shape() == Shape{2, 3, 2, 1});
  CHECK(batch.at(1, 2, 1, 0).item<int64_t>() == 9 * 6 + 10 * 7 + 11 * 8);
  int64_t const top = int64_t(1) << 62;
  CHECK(whole(matmul(tensor(std::vector<int64_t>{top, top}, {2}), tensor(std::vector<int64_t>{2, 3}, {2}))) ==
        std::vector<int64_t>{int64_t(uint64_t(top) * 5)});
  Tensor const bytes = full({2, 2}, 100, Dtype::u8);
  CHECK(whole(matmul(bytes, bytes)) == std::vector<int64_t>(4, 20000 % 256));
  CHECK(whole(linear(a, a, tensor(std::vector<int64_t>{1, 2}, {2}))) == std::vector<int64_t>{6, 16, 15, 52});
  CHECK(whole(einsum("ij,ij->i", {a, a})) == std::vector<int64_t>{5, 50});
  CHECK(vecdot(scalar(2), scalar(3)).item() == 6);
  // A letter of one operand alone is summed as by sum(), to i64; products keep their type.
  CHECK(einsum("ij->i", {bytes}).dtype() == Dtype::i64);
  CHECK(whole(einsum("ij,k->", {bytes, bytes.select(0, 0)})) == std::vector<int64_t>{80000});
  CHECK(einsum("ij,jk->ik", {bytes, bytes}).dtype() == Dtype::u8);
  CHECK(whole(trace(a)) == std::vector<int64_t>{4});
  CHECK(whole(addmm(scalar(1, Dtype::i64), a, b, {.beta = 2, .alpha = -1})) ==
        std::vector<int64_t>{-18, -21, -24, -27, -54, -66, -78, -90});
}

TEST_CASE("beta = 0 does not read the input") {
  Tensor const nothing = full({2, 2}, nan_);
  CHECK(addmm(nothing, ones({2, 3}), ones({3, 2}), {.beta = 0}).to_vector<double>() == std::vector<double>(4, 3));
  CHECK(addr(nothing, ones({2}), ones({2}), {.beta = 0, .alpha = 2}).to_vector<double>() == std::vector<double>(4, 2));
}

TEST_CASE("distances of points that nearly or quite coincide") {
  Tensor const a = tensor({{1e4f, 1}, {2, 3}}), b = tensor({{1e4f, 1.0001f}, {2, 3}}).requires_grad_();
  Tensor const y = cdist(a, b);
  CHECK(y.at(0, 0).item() == doctest::Approx(double(1.0001f) - 1).epsilon(1e-6));
  CHECK(y.at(1, 1).item() == 0);
  sum(y.select(0, 1).select(0, 1)).backward();
  CHECK(b.grad().to_vector<double>() == std::vector<double>(4, 0));
}

TEST_CASE("einsum contracts the cheap pairs first") {
  // Left to right this chain would need an intermediate of 10^10 elements.
  Tensor const long_one = ones({100000}), y = einsum("i,j,j,i->", {long_one, long_one, long_one, long_one});
  CHECK(y.item() == doctest::Approx(1e10));
}

TEST_CASE("quantize_int8: each row to 127 steps of its largest magnitude") {
  Tensor const w = tensor({{1.f, -2.f, 0.5f}, {0.f, 0.f, 0.f}, {1e-40f, 0.f, 0.f}});
  Int8Weight const q = quantize_int8(w);
  CHECK(q.values.to_vector<double>() == std::vector<double>{64, -127, 32, 0, 0, 0, 0, 0, 0});
  CHECK(q.scale.to_vector<double>()[0] == doctest::Approx(2. / 127));
  Tensor const big = numbers({50, 64}, 3, Dtype::f32);
  Int8Weight const r = quantize_int8(big);
  Tensor const back = r.values.to(Dtype::f32) * r.scale.unsqueeze(1);
  CHECK(all(abs(back - big) <= r.scale.unsqueeze(1) * 0.5001).item<bool>());
  for (Tensor const& bad : {w * nan_, w * inf}) CHECK_THROWS_AS(quantize_int8(bad), Error);
  CHECK_THROWS_AS(quantize_int8(ones({3})), Error);
  CHECK_THROWS_AS(quantize_int8(zeros({3, 3}, Dtype::i64)), Error);
}
