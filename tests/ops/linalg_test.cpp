// Linear algebra. Twins are plain loops, or identities that hold for the result whatever its signs.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

using Shaped = std::vector<Shapes>;

OpCase& add(std::string name, std::string covers, Shaped shapes, Function op, Function twin,
            std::vector<BadCall> bad = {}) {
  OpCase c{.name = std::move(name),
           .covers = std::move(covers),
           .inputs = std::vector<Input>(shapes[0].size(), real(-1, 1)),
           .shapes = std::move(shapes),
           .op = std::move(op),
           .twin = std::move(twin)};
  c.f32 = 2e-5, c.f64 = 1e-11, c.gradient_f32 = 2e-4;
  c.gradcheck.tolerance = 2e-6;
  for (BadCall& b : bad) b.says.push_back(c.covers);
  c.bad = std::move(bad);
  list().push_back(c);
  return list().back();
}

Tensor eye(int64_t n, Dtype dtype) { return (arange(n).unsqueeze(1) == arange(n)).to(dtype); }
Tensor eye_like(Tensor const& x) { return eye(x.size(-1), x.dtype()).to(x.device()); }
/// Far from singular, rows and columns dominated by the diagonal.
Tensor well(Tensor const& x) { return x + eye_like(x) * double(x.size(-1) + 1); }
Tensor symmetric(Tensor const& x) { return x + x.t(); }
/// x·xᵀ + 1
Tensor definite(Tensor const& x) { return matmul(x, x.t()) + eye_like(x); }

/// f(matrix, rows, columns) for each [M, N] of x, results stacked.
template <class F>
Tensor each(Tensor const& x, F f) {
  int64_t const m = x.size(-2), n = x.size(-1);
  Shape lead = x.shape();
  lead.erase(x.rank() - 1), lead.erase(x.rank() - 2);
  int64_t const count = numel(lead);
  auto const all = x.to_vector<double>();
  Tensors results;
  for (int64_t i = 0; i < count; ++i)
    results.push_back(f(std::vector<double>(all.begin() + i * m * n, all.begin() + (i + 1) * m * n), m, n));
  if (count == 0) {
    Tensor const one = f(std::vector<double>(size_t(m * n)), m, n);
    Shape shape = lead;
    for (int64_t size : one.shape()) shape.push_back(size);
    return zeros(shape, Dtype::f64);
  }
  Shape shape = lead;
  for (int64_t size : results[0].shape()) shape.push_back(size);
  return stack(results).reshape(shape);
}

/// By Gauss and Jordan, without pivoting.
Tensor inverse_loops(Tensor const& x) {
  return each(x, [](std::vector<double> a, int64_t n, int64_t) {
    std::vector<double> y(size_t(n * n));
    for (int64_t i = 0; i < n; ++i) y[size_t(i * n + i)] = 1;
    for (int64_t p = 0; p < n; ++p) {
      double const pivot = a[size_t(p * n + p)];
      for (int64_t j = 0; j < n; ++j) a[size_t(p * n + j)] /= pivot, y[size_t(p * n + j)] /= pivot;
      for (int64_t i = 0; i < n; ++i) {
        double const factor = i == p ? 0 : a[size_t(i * n + p)];
        for (int64_t j = 0; j < n; ++j) {
          a[size_t(i * n + j)] -= factor * a[size_t(p * n + j)];
          y[size_t(i * n + j)] -= factor * y[size_t(p * n + j)];
        }
      }
    }
    return tensor(y, {n, n});
  });
}

double laplace(std::vector<double> const& a, int64_t n) {
  if (n == 0) return 1;
  double total = 0;
  for (int64_t c = 0; c < n; ++c) {
    std::vector<double> minor;
    for (int64_t i = 1; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        if (j != c) minor.push_back(a[size_t(i * n + j)]);
    total += (c % 2 ? -1 : 1) * a[size_t(c)] * laplace(minor, n - 1);
  }
  return total;
}

Tensor det_loops(Tensor const& x) {
  return each(x, [](std::vector<double> const& a, int64_t n, int64_t) { return scalar(laplace(a, n), Dtype::f64); });
}

/// L of a = L·Lᵀ
Tensor cholesky_loops(Tensor const& x) {
  return each(x, [](std::vector<double> const& a, int64_t n, int64_t) {
    std::vector<double> l(size_t(n * n));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        double rest = a[size_t(i * n + j)];
        for (int64_t p = 0; p < j; ++p) rest -= l[size_t(i * n + p)] * l[size_t(j * n + p)];
        l[size_t(i * n + j)] = i == j ? std::sqrt(rest) : rest / l[size_t(j * n + j)];
      }
    return tensor(l, {n, n});
  });
}

/// L (below) and U of a matrix that needs no pivoting.
Tensor lu_loops(Tensor const& x) {
  return each(x, [](std::vector<double> a, int64_t m, int64_t n) {
    for (int64_t p = 0; p < std::min(m, n); ++p)
      for (int64_t i = p + 1; i < m; ++i) {
        double const factor = a[size_t(i * n + p)] /= a[size_t(p * n + p)];
        for (int64_t j = p + 1; j < n; ++j) a[size_t(i * n + j)] -= factor * a[size_t(p * n + j)];
      }
    return tensor(a, {m, n});
  });
}

/// Σ xⁿ/n!
Tensor exp_series(Tensor const& x) {
  Tensor term = eye_like(x).expand(x.shape()), y = term;
  for (int n = 1; n < 40; ++n) {
    term = matmul(term, x) * (1.0 / n);
    y = y + term;
  }
  return y;
}

/// x with a large diagonal, of any shape, so that pivoting changes nothing.
Tensor dominated(Tensor const& x) {
  Tensor const diagonal = (arange(x.size(-2)).unsqueeze(1) == arange(x.size(-1))).to(x.dtype()).to(x.device());
  return x + diagonal * 6.0;
}

Shaped const squares{{{3, 3}}, {{1, 1}}, {{2, 2, 2}}, {{0, 0}}, {{0, 2, 2}}, {{2, 0, 0}}, {{2, 1, 4, 4}}};
Shaped const matrices{{{3, 2}}, {{2, 3}}, {{2, 2, 2}}, {{1, 3}},   {{3, 1}},
                      {{0, 3}}, {{3, 0}}, {{0, 3, 2}}, {{2, 4, 3}}};

std::vector<BadCall> bad_square(std::function<void(Tensor const&)> f) {
  return {{[=] {
             f(ones({2, 3}));
           },
           {"[2, 3]", "square"}},
          {[=] { f(ones({3})); }, {"[3]"}},
          {[=] {
             f(ones({2, 2}, Dtype::i64));
           },
           {"i64"}},
          {[=] { f(Tensor()); }, {}}};
}
std::vector<BadCall> bad_matrix(std::function<void(Tensor const&)> f) {
  return {{[=] { f(ones({3})); }, {"[3]"}},
          {[=] {
             f(ones({2, 2}, Dtype::i64));
           },
           {"i64"}},
          {[=] { f(Tensor()); }, {}}};
}

void cholesky_cases() {
  for (bool upper : {false, true}) {
    std::string const which = upper ? ", upper" : "";
    auto const turned = [=](Tensor const& x) { return upper ? x.t() : x; };
    auto bad = bad_square([=](Tensor const& x) { cholesky(x, upper); });
    bad.push_back({[=] { cholesky(tensor({{1, 2}, {2, 1}}), upper); }, {"positive definite", "order 2"}});
    bad.push_back({[=] {
                     cholesky(stack({eye(2, Dtype::f32), zeros({2, 2})}), upper);
                   },
                   {"matrix 1 of the batch [2]", "order 1"}});
    bad.push_back({[=] { cholesky(full({2, 2}, nan_), upper); }, {"order 1"}});
    add(
        "cholesky" + which, "cholesky", squares,
        [=](Tensors const& x) { return Tensors{cholesky(definite(x[0]), upper)}; },
        [=](Tensors const& x) { return Tensors{turned(cholesky_loops(definite(x[0])))}; }, bad);
    add(
        "cholesky_inverse" + which, "cholesky_inverse", squares,
        [=](Tensors const& x) { return Tensors{cholesky_inverse(turned(tril(well(x[0]))), upper)}; },
        [](Tensors const& x) {
          Tensor const l = tril(well(x[0]));
          return Tensors{inverse_loops(matmul(l, l.t()))};
        },
        bad_square([=](Tensor const& x) { cholesky_inverse(x, upper); }));
    auto bad_solve = bad_square([=](Tensor const& x) { cholesky_solve(ones({2, 2}), x, upper); });
    bad_solve.push_back({[] { cholesky_solve(ones({3, 1}), ones({2, 2})); }, {"[3, 1]", "[2, 2]"}});
    add(
        "cholesky_solve" + which, "cholesky_solve", {{{2, 3}, {2, 2}}, {{2, 1}, {3, 2, 2}}, {{0, 2}, {0, 0}}},
        [=](Tensors const& x) { return Tensors{cholesky_solve(x[0], turned(tril(well(x[1]))), upper)}; },
        [](Tensors const& x) {
          Tensor const l = tril(well(x[1]));
          return Tensors{matmul(inverse_loops(matmul(l, l.t())), x[0])};
        },
        bad_solve);
  }
}

void solve_cases() {
  auto bad = bad_square([](Tensor const& x) { solve(x, ones({2, 2})); });
  bad.push_back({[] { solve(ones({2, 2}), ones({3, 1})); }, {"[3, 1]", "[2, 2]"}});
  bad.push_back({[] { solve(ones({2, 2}), ones({2}), false); }, {"from the right"}});
  bad.push_back({[] { solve(ones({2, 2}), ones({2})); }, {"singular", "the matrix"}});
  bad.push_back({[] { solve(stack({eye(2, Dtype::f32), zeros({2, 2})}), ones({2, 1})); }, {"matrix 1 of the batch"}});
  bad.push_back({[] { solve(ones({2, 2}), ones({2, 1}, Dtype::f64)); }, {"f64"}});
  add(
      "solve", "solve",
      {{{2, 2}, {2, 3}},
       {{3, 3}, {3}},
       {{2, 2, 2}, {2, 1}},
       {{2, 2, 2}, {2, 2}},
       {{0, 0}, {0, 2}},
       {{2, 2}, {2, 0}},
       {{0, 2, 2}, {2, 1}}},
      [](Tensors const& x) { return Tensors{solve(well(x[0]), x[1])}; },
      [](Tensors const& x) {
        Shape rows = x[0].shape();
        rows.erase(rows.rank() - 1);
        bool const vector = x[1].rank() == 1 || x[1].shape() == rows;
        Tensor const y = matmul(inverse_loops(well(x[0])), vector ? x[1].unsqueeze(-1) : x[1]);
        return Tensors{vector ? y.squeeze(-1) : y};
      },
      bad);
  add(
      "solve from the right", "solve", {{{2, 2}, {3, 2}}, {{2, 2, 2}, {1, 2}}},
      [](Tensors const& x) { return Tensors{solve(well(x[0]), x[1], false)}; },
      [](Tensors const& x) { return Tensors{matmul(x[1], inverse_loops(well(x[0])))}; });
  for (int bits = 0; bits < 8; ++bits) {
    Triangle const o{.upper = (bits & 1) != 0, .left = (bits & 2) != 0, .unitriangular = (bits & 4) != 0};
    auto const triangle = [=](Tensor const& x) {
      Tensor const t = o.upper ? triu(x) : tril(x);
      return o.unitriangular ? (o.upper ? triu(x, 1) : tril(x, -1)) + eye_like(x) : t;
    };
    auto bad_triangle = bad_square([=](Tensor const& x) { solve_triangular(x, ones({2, 2}), o); });
    bad_triangle.push_back({[=] { solve_triangular(ones({2, 2}), ones({3, 3}), o); }, {"[3, 3]", "[2, 2]"}});
    // The other triangle holds what must not be read; its gradient is 0.
    add(
        "solve_triangular " + std::to_string(bits), "solve_triangular",
        o.left ? Shaped{{{2, 2}, {2, 3}}, {{3, 2, 2}, {2, 1}}, {{0, 0}, {0, 2}}, {{2, 2}, {3, 2, 0}}}
               : Shaped{{{2, 2}, {3, 2}}, {{3, 2, 2}, {1, 2}}, {{0, 0}, {2, 0}}},
        [=](Tensors const& x) { return Tensors{solve_triangular(well(x[0]), x[1], o)}; },
        [=](Tensors const& x) {
          Tensor const y = inverse_loops(triangle(well(x[0])));
          return Tensors{o.left ? matmul(y, x[1]) : matmul(x[1], y)};
        },
        bad_triangle);
  }
  auto bad_inv = bad_square([](Tensor const& x) { inv(x); });
  bad_inv.push_back({[] { inv(zeros({2, 2})); }, {"singular"}});
  add(
      "inv", "inv", squares, [](Tensors const& x) { return Tensors{inv(well(x[0]))}; },
      [](Tensors const& x) { return Tensors{inverse_loops(well(x[0]))}; }, bad_inv);
  add(
      "det", "det", squares, [](Tensors const& x) { return Tensors{det(x[0])}; },
      [](Tensors const& x) { return Tensors{det_loops(x[0])}; }, bad_square([](Tensor const& x) { det(x); }));
  // Rank 1 less than full, and two: the cofactors are not zero, and zero.
  for (int64_t missing : {1, 2})
    add(
        "det of rank n − " + std::to_string(missing), "det", {{{3, 3}}, {{2, 3, 3}}},
        [=](Tensors const& x) {
          return Tensors{
              det(matmul(x[0].slice(-1, 0, 3 - missing), x[0].slice(-2, 0, 3 - missing)) + (x[0] - x[0].detach()))};
        },
        [](Tensors const& x) {
          Shape lead = x[0].shape();
          lead.erase(x[0].rank() - 1), lead.erase(x[0].rank() - 2);
          return Tensors{zeros(lead, Dtype::f64)};
        })
        .differentiable = false;  // as a function of x it is 0; the gradient has a test of its own
  add(
      "slogdet", "slogdet", squares, [](Tensors const& x) { return Tensors{slogdet(well(x[0])).logabsdet}; },
      [](Tensors const& x) { return Tensors{log(abs(det_loops(well(x[0]))))}; },
      bad_square([](Tensor const& x) { slogdet(x); }));
  add(
      "logdet", "logdet", squares, [](Tensors const& x) { return Tensors{logdet(well(x[0]))}; },
      [](Tensors const& x) { return Tensors{log(det_loops(well(x[0])))}; },
      bad_square([](Tensor const& x) { logdet(x); }));
}

void lu_cases() {
  Shaped const shapes{{{3, 3}}, {{4, 2}}, {{2, 4}}, {{2, 3, 3}}, {{1, 1}}, {{0, 3}}, {{0, 2, 2}}};
  add(
      "lu_factor", "lu_factor", shapes, [](Tensors const& x) { return Tensors{lu_factor(dominated(x[0])).lu}; },
      [](Tensors const& x) { return Tensors{lu_loops(dominated(x[0]))}; },
      bad_matrix([](Tensor const& x) { lu_factor(x); }));
  add(
      "lu", "lu", shapes,
      [](Tensors const& x) {
        Lu const f = lu(dominated(x[0]));
        return Tensors{f.l, f.u};
      },
      [](Tensors const& x) {
        Tensor const both = lu_loops(dominated(x[0]));
        int64_t const m = both.size(-2), n = both.size(-1), k = std::min(m, n);
        Tensor const one = (arange(m).unsqueeze(1) == arange(k)).to(Dtype::f64);
        return Tensors{tril(both.slice(-1, 0, k), -1) + one, triu(both.slice(-2, 0, k))};
      },
      bad_matrix([](Tensor const& x) { lu(x); }));
  add(
      "lu multiplied out", "lu", matrices,
      [](Tensors const& x) {
        Lu const f = lu(x[0]);
        return Tensors{matmul(matmul(f.p, f.l), f.u), matmul(f.p, f.p.t())};
      },
      [](Tensors const& x) {
        Shape shape = x[0].shape();
        shape[x[0].rank() - 1] = x[0].size(-2);
        return Tensors{x[0], eye(x[0].size(-2), Dtype::f64).expand(shape)};
      });
  Tensor const pivots = tensor(std::vector<int32_t>{2, 3, 3}, {3});
  add(
      "lu_unpack", "lu_unpack", {{{3, 3}}},
      [=](Tensors const& x) {
        Lu const f = lu_unpack(x[0], pivots.to(x[0].device()));
        return Tensors{matmul(f.p, f.l), f.u};
      },
      [](Tensors const& x) {
        // Rows 1, 2 and then 2, 3 exchanged: row i of P·L is row (2, 0, 1) of L.
        Tensor const l = tril(x[0], -1) + eye_like(x[0]);
        return Tensors{cat({l.slice(0, 2, 3), l.slice(0, 0, 2)}), triu(x[0])};
      },
      {{[] {
          lu_unpack(ones({2, 2}), ones({2}, Dtype::i64));
        },
        {"i32"}},
       {[] {
          lu_unpack(ones({2, 2}), full({2}, 3, Dtype::i32));
        },
        {"pivot 3"}},
       {[] { lu_unpack(ones({2}), full({2}, 1, Dtype::i32)); }, {"[2]"}}});
  for (int bits = 0; bits < 4; ++bits) {
    bool const left = bits & 1, adjoint = bits & 2;
    add(
        "lu_solve " + std::to_string(bits), "lu_solve",
        {left ? Shapes{{2, 2}, {2, 3}} : Shapes{{2, 2}, {3, 2}}, {{2, 2, 2}, {2, 2, 2}}},
        [=](Tensors const& x) { return Tensors{lu_solve(lu_factor(well(x[0]).slice(-1, 0, 2)), x[1], left, adjoint)}; },
        [=](Tensors const& x) {
          Tensor const y = inverse_loops(well(x[0])), z = adjoint ? y.t() : y;
          return Tensors{left ? matmul(z, x[1]) : matmul(x[1], z)};
        },
        {{[] {
            lu_solve(lu_factor(ones({2, 3})), ones({2, 1}));
          },
          {"[2, 3]"}},
         {[] {
            lu_solve(lu_factor(ones({2, 2})), ones({3, 3}));
          },
          {"[3, 3]", "[2, 2]"}}});
  }
}

void qr_cases() {
  // R is unique but for signs of rows: squares of its elements, and Q·R, say all.
  add(
      "qr", "qr", {{{3, 2}}, {{2, 3}}, {{3, 3}}, {{2, 4, 2}}, {{3, 1}}, {{1, 3}}, {{0, 3}}, {{3, 0}}, {{0, 3, 2}}},
      [](Tensors const& x) {
        Qr const f = qr(dominated(x[0]));
        return Tensors{matmul(f.q, f.r), square(f.r), matmul(f.q, f.q.t())};
      },
      [](Tensors const& x) {
        Tensor const a = dominated(x[0]);
        int64_t const m = a.size(-2), n = a.size(-1), k = std::min(m, n);
        Tensor const head = a.slice(-1, 0, k);
        if (a.numel() == 0) {
          Shape r = a.shape(), q = a.shape();
          r[a.rank() - 2] = k, q[a.rank() - 1] = m;
          return Tensors{a, zeros(r, Dtype::f64), zeros(q, Dtype::f64)};
        }
        Tensor const l = cholesky_loops(matmul(head.t(), head)), inverse = inverse_loops(l.t());
        Tensor const q = matmul(head, inverse);
        return Tensors{a, square(matmul(q.t(), a)), matmul(q, q.t())};
      },
      bad_matrix([](Tensor const& x) { qr(x); }));
  add(
      "qr, complete", "qr", {{{2, 3}}, {{2, 2}}},
      [](Tensors const& x) {
        Qr const f = qr(dominated(x[0]), QrMode::complete);
        return Tensors{matmul(f.q, f.r), matmul(f.q, f.q.t())};
      },
      [](Tensors const& x) {
        return Tensors{dominated(x[0]), eye(x[0].size(-2), Dtype::f64)};
      },
      {{[] {
          qr(ones({3, 2}).requires_grad_(), QrMode::complete);
        },
        {"[3, 2]", "no gradient"}},
       {[] {
          qr(ones({3, 2}).requires_grad_(), QrMode::r);
        },
        {}}});
  add(
      "householder_product", "householder_product",
      {{{3, 2}, {2}}, {{3, 3}, {2}}, {{2, 2, 1}, {2, 1}}, {{2, 2}, {0}}, {{0, 0}, {0}}},
      [](Tensors const& x) { return Tensors{householder_product(x[0], x[1])}; },
      [](Tensors const& x) {
        int64_t const m = x[0].size(-2), n = x[0].size(-1), k = x[1].size(-1);
        Shape shape = x[0].shape();
        shape[x[0].rank() - 1] = m;
        Tensor y = eye(m, Dtype::f64).expand(shape);
        for (int64_t i = 0; i < k; ++i) {
          Tensor const below = (arange(m) > double(i)).to(Dtype::f64), at = (arange(m) == double(i)).to(Dtype::f64);
          Tensor const v = (x[0].select(-1, i) * below + at).unsqueeze(-1);
          Tensor const h = eye(m, Dtype::f64) - x[1].select(-1, i).unsqueeze(-1).unsqueeze(-1) * v * v.t();
          y = matmul(y, h);
        }
        return Tensors{y.slice(-1, 0, n)};
      },
      {{[] {
          householder_product(ones({2, 3}), ones({2}));
        },
        {"[2, 3]"}},
       {[] {
          householder_product(ones({3, 2}), ones({3}));
        },
        {"[3]"}},
       {[] { householder_product(ones({3}), ones({3})); }, {"[3]"}}});
  auto bad = bad_matrix([](Tensor const& x) { geqrf(x); });
  bad.push_back({[] { geqrf(ones({3, 2}).requires_grad_()); }, {"gradient"}});
  add(
      "geqrf", "geqrf", {{{3, 2}}, {{2, 3}}, {{2, 3, 3}}, {{0, 3}}, {{3, 0}}},
      [](Tensors const& x) {
        auto const [packed, tau] = geqrf(x[0]);
        int64_t const m = x[0].size(-2), n = x[0].size(-1);
        if (m < n) return Tensors{ormqr(packed, tau, triu(packed))};
        return Tensors{matmul(householder_product(packed, tau), triu(packed).slice(-2, 0, n))};
      },
      [](Tensors const& x) { return Tensors{x[0]}; }, bad)
      .differentiable = false;
  // With q as the product of the reflections, each written out.
  add(
      "ormqr", "ormqr",
      {{{3, 2}, {2}, {3, 4}, {4, 3}}, {{3, 3}, {2}, {3, 1}, {2, 3}}, {{2, 2, 3}, {2, 1}, {2, 2, 2}, {2, 0, 2}}},
      [](Tensors const& x) {
        return Tensors{ormqr(x[0], x[1], x[2]), ormqr(x[0], x[1], x[2], true, true), ormqr(x[0], x[1], x[3], false),
                       ormqr(x[0], x[1], x[3], false, true)};
      },
      [](Tensors const& x) {
        int64_t const m = x[0].size(-2);
        Tensor q = eye(m, Dtype::f64);
        for (int64_t i = 0; i < x[1].size(-1); ++i) {
          Tensor const below = (arange(m) > double(i)).to(Dtype::f64), at = (arange(m) == double(i)).to(Dtype::f64);
          Tensor const v = (x[0].select(-1, i) * below + at).unsqueeze(-1);
          q = matmul(q, eye(m, Dtype::f64) - x[1].select(-1, i).unsqueeze(-1).unsqueeze(-1) * v * v.t());
        }
        return Tensors{matmul(q, x[2]), matmul(q.t(), x[2]), matmul(x[3], q), matmul(x[3], q.t())};
      },
      {{[] {
          ormqr(ones({3, 2}), ones({2}), ones({2, 3}));
        },
        {"[3, 2]", "[2, 3]", "left"}},
       {[] {
          ormqr(ones({3, 2}), ones({2}), ones({3, 2}), false);
        },
        {"right"}},
       {[] {
          ormqr(ones({3, 2}), ones({3}), ones({3, 2}));
        },
        {"[3, 2]", "[3]"}}});
}

void spectral_cases() {
  auto bad = bad_square([](Tensor const& x) { eigh(x); });
  bad.push_back({[] { eigh(full({2, 2}, nan_)); }, {"NaN or infinity"}});
  bad.push_back({[] { eigh(stack({zeros({2, 2}), full({2, 2}, inf)})); }, {"matrix 1 of the batch [2]"}});
  for (bool upper : {false, true})
    add(
        upper ? "eigh, upper" : "eigh", "eigh", squares,
        [=](Tensors const& x) {
          Eigh const f = eigh(symmetric(x[0]), upper);
          return Tensors{matmul(f.vectors * exp(f.values).unsqueeze(-2), f.vectors.t()),
                         matmul(f.vectors, f.vectors.t()), sum(square(f.values), {-1})};
        },
        [](Tensors const& x) {
          Tensor const a = symmetric(x[0]);
          return Tensors{exp_series(a), eye_like(a).expand(a.shape()), sum(square(a), {-2, -1})};
        },
        bad);
  add(
      "eigvalsh", "eigvalsh", squares,
      [](Tensors const& x) {
        Tensor const w = eigvalsh(symmetric(x[0]));
        return Tensors{sum(w, {-1}), sum(square(w), {-1}), sum(w * square(w), {-1})};
      },
      [](Tensors const& x) {
        Tensor const a = symmetric(x[0]), aa = matmul(a, a);
        return Tensors{sum(a * eye_like(a), {-2, -1}), sum(square(a), {-2, -1}), sum(aa * a, {-2, -1})};
      },
      bad_square([](Tensor const& x) { eigvalsh(x); }));
  auto bad_svd = bad_matrix([](Tensor const& x) { svd(x); });
  bad_svd.push_back({[] { svd(full({2, 3}, nan_)); }, {"NaN or infinity"}});
  add(
      "svd", "svd", matrices,
      [](Tensors const& x) {
        Svd const f = svd(x[0], false);
        return Tensors{matmul(f.u * (f.s * square(f.s)).unsqueeze(-2), f.vh), sum(square(square(f.s)), {-1}),
                       matmul(f.u.t(), f.u)};
      },
      [](Tensors const& x) {
        Tensor const a = x[0], aa = matmul(a, a.t());
        int64_t const k = std::min(a.size(-2), a.size(-1));
        Shape shape = a.shape();
        shape[a.rank() - 1] = shape[a.rank() - 2] = k;
        return Tensors{matmul(aa, a), sum(square(aa), {-2, -1}), eye(k, Dtype::f64).expand(shape)};
      },
      bad_svd);
  add(
      "svd, full", "svd", {{{3, 2}}, {{2, 3}}, {{2, 2}}, {{0, 2}}, {{3, 0}}},
      [](Tensors const& x) {
        Svd const f = svd(x[0]);
        int64_t const k = f.s.size(-1);
        return Tensors{matmul(f.u.slice(-1, 0, k) * square(f.s).unsqueeze(-2), f.u.slice(-1, 0, k).t()),
                       matmul(f.u.detach(), f.u.detach().t()), matmul(f.vh.detach(), f.vh.detach().t())};
      },
      [](Tensors const& x) {
        return Tensors{matmul(x[0], x[0].t()), eye(x[0].size(-2), Dtype::f64), eye(x[0].size(-1), Dtype::f64)};
      });
  add(
      "svdvals", "svdvals", matrices,
      [](Tensors const& x) {
        Tensor const s = svdvals(x[0]);
        return Tensors{sum(square(s), {-1}), sum(square(square(s)), {-1})};
      },
      [](Tensors const& x) {
        return Tensors{sum(square(x[0]), {-2, -1}), sum(square(matmul(x[0], x[0].t())), {-2, -1})};
      },
      bad_matrix([](Tensor const& x) { svdvals(x); }));
}

/// Of matrices of full rank.
Tensor pinv_loops(Tensor const& a) {
  return a.size(-2) >= a.size(-1) ? matmul(inverse_loops(matmul(a.t(), a)), a.t())
                                  : matmul(a.t(), inverse_loops(matmul(a, a.t())));
}

void inverse_like_cases() {
  Shaped const shapes{{{3, 2}}, {{2, 3}}, {{2, 2, 2}}, {{3, 1}}, {{0, 2}}, {{2, 0}}, {{0, 2, 3}}};
  add(
      "pinv", "pinv", shapes, [](Tensors const& x) { return Tensors{pinv(dominated(x[0]))}; },
      [](Tensors const& x) { return Tensors{x[0].numel() ? pinv_loops(dominated(x[0])) : x[0].t()}; },
      bad_matrix([](Tensor const& x) { pinv(x); }));
  add(
      "pinv of rank 1", "pinv", {{{3}, {2}}, {{2}, {3}}},
      [](Tensors const& x) { return Tensors{pinv((x[0] + 2.0).unsqueeze(1) * (x[1] + 2.0), {.rtol = 1e-5})}; },
      [](Tensors const& x) {
        Tensor const u = x[0] + 2.0, v = x[1] + 2.0;
        return Tensors{v.unsqueeze(1) * u / (sum(square(u)) * sum(square(v)))};
      });
  add(
      "pinv, hermitian", "pinv", {{{3, 3}}, {{2, 2, 2}}},
      [](Tensors const& x) { return Tensors{pinv(symmetric(well(x[0])), {.hermitian = true})}; },
      [](Tensors const& x) { return Tensors{inverse_loops(symmetric(well(x[0])))}; },
      {{[] {
          pinv(ones({2, 3}), {.hermitian = true});
        },
        {"square"}}});
  add(
      "lstsq", "lstsq", {{{3, 2}, {3, 2}}, {{2, 3}, {2, 1}}, {{2, 2}, {2}}, {{4, 2}, {4}}, {{2, 3, 1}, {2, 3, 2}}},
      [](Tensors const& x) {
        Lstsq const f = lstsq(dominated(x[0]), x[1]);
        return Tensors{f.solution, f.residuals};
      },
      [](Tensors const& x) {
        Tensor const a = dominated(x[0]), b = x[1].rank() == 1 ? x[1].unsqueeze(-1) : x[1];
        Tensor const y = matmul(pinv_loops(a), b);
        Tensor rest = a.size(-2) > a.size(-1) ? sum(square(matmul(a, y) - b), {-2}) : zeros({0}, Dtype::f64);
        if (x[1].rank() == 1 && rest.numel()) rest = rest.squeeze(-1);
        return Tensors{x[1].rank() == 1 ? y.squeeze(-1) : y, rest};
      },
      {{[] {
          lstsq(ones({2, 3}), ones({3, 1}));
        },
        {"[3, 1]", "[2, 3]"}},
       {[] { lstsq(ones({2}), ones({2})); }, {"[2]"}},
       {[] {
          lstsq(ones({2, 2}), ones({2, 1}, Dtype::f64));
        },
        {"f64"}}});
  auto const flat = [](Tensor const& x, int64_t n) { return x.reshape({n, n}); };
  add(
      "tensorinv", "tensorinv", {{{2, 1, 2}}, {{1, 3, 3}}},
      [](Tensors const& x) {
        int64_t const n = x[0].size(-1);
        return Tensors{tensorinv(well(x[0].reshape({n, n})).reshape({n, 1, n}), 2)};
      },
      [=](Tensors const& x) {
        int64_t const n = x[0].size(-1);
        return Tensors{inverse_loops(well(flat(x[0], n))).reshape({n, n, 1})};
      },
      {{[] {
          tensorinv(ones({2, 3}), 1);
        },
        {"[2, 3]"}},
       {[] {
          tensorinv(ones({2, 2}), 0);
        },
        {"0 axes"}}});
  add(
      "tensorsolve", "tensorsolve", {{{4, 2, 2}, {2, 2}}},
      [](Tensors const& x) {
        return Tensors{tensorsolve(well(x[0].reshape({4, 4})).reshape({4, 2, 2}).permute({1, 2, 0}), x[1], {}),
                       tensorsolve(well(x[0].reshape({4, 4})).reshape({4, 2, 2}), x[1], {0})};
      },
      [=](Tensors const& x) {
        Tensor const a = inverse_loops(well(flat(x[0], 4)).t());
        return Tensors{matmul(a, x[1].reshape({4})), matmul(a, x[1].reshape({4}))};
      },
      {{[] {
          tensorsolve(ones({2, 3}), ones({2}));
        },
        {"[2, 3]"}},
       {[] { tensorsolve(Tensor(), ones({2})); }, {}}});
}

void norm_cases() {
  Tensor (*const by_name)(Tensor const&, std::string_view, Dims const&, bool) = matrix_norm;
  add(
      "matrix_norm fro", "matrix_norm", matrices,
      [=](Tensors const& x) {
        return Tensors{by_name(x[0], "fro", {-2, -1}, false)};
      },
      [](Tensors const& x) {
        Tensor const t = sum(square(x[0]), {-2, -1});
        return Tensors{sqrt(t)};
      },
      {{[] {
          matrix_norm(ones({2, 2}), "max");
        },
        {"\"max\""}},
       {[] {
          matrix_norm(ones({2, 2}), 3.0);
        },
        {"order 3"}},
       {[] {
          matrix_norm(ones({2, 2}), "fro", {0, 0});
        },
        {"the same"}},
       {[] {
          matrix_norm(ones({2, 2}), "fro", {0});
        },
        {"two axes"}},
       {[] { matrix_norm(ones({2}), "fro"); }, {"[2]"}}});
  list().back().shapes = {{{3, 2}}, {{2, 2, 3}}, {{1, 1}}};
  // Of 2×2 matrices: s₁² + s₂² = t, s₁·s₂ = |d|.
  auto const values = [](Tensor const& x) {
    Tensor const t = sum(square(x), {-2, -1}), d = abs(det_loops(x));
    Tensor const plus = sqrt(t + d * 2.0), minus = sqrt(t - d * 2.0);
    return Tensors{(plus + minus) * 0.5, (plus - minus) * 0.5};
  };
  Shaped const pairs{{{2, 2}}, {{3, 2, 2}}};
  add(
      "matrix_norm nuc and ±2", "matrix_norm", pairs,
      [](Tensors const& x) {
        return Tensors{matrix_norm(x[0], "nuc"), matrix_norm(x[0], 2), matrix_norm(x[0], -2)};
      },
      [=](Tensors const& x) {
        Tensors const s = values(x[0]);
        return Tensors{s[0] + s[1], s[0], s[1]};
      });
  add(
      "matrix_norm ±1 and ±∞ of axes 2, 0", "matrix_norm", {{{2, 1, 3}}, {{3, 2, 2}}},
      [](Tensors const& x) {
        Dims const axes{2, 0};
        return Tensors{matrix_norm(x[0], 1, axes), matrix_norm(x[0], -1, axes, true), matrix_norm(x[0], inf, axes),
                       matrix_norm(x[0], -inf, axes)};
      },
      [](Tensors const& x) {
        Tensor const columns = sum(abs(x[0]), {2}), rows = sum(abs(x[0]), {0});
        return Tensors{amax(columns, {0}), amin(columns, {0}).reshape({1, x[0].size(1), 1}), amax(rows, {1}),
                       amin(rows, {1})};
      });
  add(
      "cond", "cond", pairs,
      [](Tensors const& x) {
        return Tensors{cond(well(x[0])), cond(well(x[0]), -2)};
      },
      [=](Tensors const& x) {
        Tensors const s = values(well(x[0]));
        return Tensors{s[0] / s[1], s[1] / s[0]};
      },
      {{[] {
          cond(ones({2, 3}), 1);
        },
        {"[2, 3]"}},
       {[] { cond(ones({3})); }, {"[3]"}}});
  add(
      "cond in other norms", "cond", {{{3, 3}}, {{2, 2, 2}}},
      [](Tensors const& x) {
        return Tensors{cond(well(x[0]), 1), cond(well(x[0]), "fro")};
      },
      [](Tensors const& x) {
        Tensor const a = well(x[0]), b = inverse_loops(a);
        return Tensors{amax(sum(abs(a), {-2}), {-1}) * amax(sum(abs(b), {-2}), {-1}),
                       sqrt(sum(square(a), {-2, -1}) * sum(square(b), {-2, -1}))};
      });
  add(
      "matrix_exp", "matrix_exp", squares, [](Tensors const& x) { return Tensors{matrix_exp(x[0])}; },
      [](Tensors const& x) { return Tensors{exp_series(x[0])}; }, bad_square([](Tensor const& x) { matrix_exp(x); }));
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    cholesky_cases();
    solve_cases();
    lu_cases();
    qr_cases();
    spectral_cases();
    inverse_like_cases();
    norm_cases();
    return OpSuite{.sections = {"linear algebra"}, .cases = list(), .not_differentiable = {"matrix_rank", "geqrf"}};
  }();
  return all;
}

double largest(Tensor const& x) {
  double most = 0;
  for (double v : x.to_vector<double>()) most = std::isnan(v) ? inf : std::max(most, std::abs(v));
  return most;
}

/// Matrices that are hard for one reason or another, [n, n].
std::vector<Tensor> hard(int64_t n) {
  Tensor const x = numbers({n, n}, 5), one = eye(n, Dtype::f64);
  Tensor const low = matmul(numbers({n, 2}, 6), numbers({2, n}, 7)), d = (arange(n).to(Dtype::f64) + 1).unsqueeze(0);
  return {x,
          one,
          zeros({n, n}, Dtype::f64),
          ones({n, n}, Dtype::f64),
          low,
          one + x * 1e-9,
          x * 1e-200,
          x * 1e200,
          x * 1e-310,
          one * d * d,
          x * pow(scalar(0.1, Dtype::f64), d),
          triu(ones({n, n}, Dtype::f64)),
          cat({x.slice(0, 0, n / 2), zeros({n - n / 2, n}, Dtype::f64)}),
          low + low.t() * 1e-12};
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("factors of hard matrices are orthogonal and multiply to the matrix") {
  for (int64_t n : {1, 2, 5, 40, 150}) {
    int which = 0;
    for (Tensor const& x : hard(n)) {
      CAPTURE(n);
      CAPTURE(which);
      ++which;
      Tensor const one = eye(n, Dtype::f64);
      double const scale = largest(x) * double(n), tolerance = 1e-14 * scale + 1e-321 * double(n),
                   unit = 1e-14 * double(n);
      Svd const f = svd(x);
      CHECK(largest(matmul(f.u * f.s.unsqueeze(-2), f.vh) - x) <= tolerance);
      CHECK(largest(matmul(f.u.t(), f.u) - one) <= unit);
      CHECK(largest(matmul(f.vh, f.vh.t()) - one) <= unit);
      CHECK(largest(svdvals(x) - f.s) <= tolerance);
      Tensor const s = x * 0.5 + x.t() * 0.5;
      Eigh const e = eigh(s);
      CHECK(largest(matmul(e.vectors * e.values.unsqueeze(-2), e.vectors.t()) - s) <= tolerance);
      CHECK(largest(matmul(e.vectors.t(), e.vectors) - one) <= unit);
      CHECK(largest(eigvalsh(s) - e.values) <= tolerance);
      auto const w = e.values.to_vector<double>(), sv = f.s.to_vector<double>();
      CHECK(std::is_sorted(w.begin(), w.end()));
      CHECK(std::is_sorted(sv.rbegin(), sv.rend()));
      Qr const q = qr(x);
      CHECK(largest(matmul(q.q, q.r) - x) <= tolerance);
      CHECK(largest(matmul(q.q.t(), q.q) - one) <= unit);
      Lu const l = lu(x);
      CHECK(largest(matmul(matmul(l.p, l.l), l.u) - x) <= tolerance);
      CHECK(largest(l.l) <= 1);
    }
  }
}

TEST_CASE("factors of long and wide matrices, in both types") {
  for (Shape const& shape : {Shape{130, 7}, Shape{7, 130}, Shape{2, 60, 50}, Shape{3, 0}, Shape{0, 3}})
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      Tensor const x = numbers(shape, 3, dtype);
      double const tolerance = dtype == Dtype::f32 ? 1e-5 : 1e-13;
      for (bool full : {false, true}) {
        Svd const f = svd(x, full);
        int64_t const k = f.s.size(-1);
        CHECK(differs(matmul(f.u.slice(-1, 0, k) * f.s.unsqueeze(-2), f.vh.slice(-2, 0, k)), x, tolerance) == "");
        CHECK(f.u.size(-1) == (full ? x.size(-2) : k));
        CHECK(largest(matmul(f.u.t(), f.u) - eye(f.u.size(-1), dtype)) <= tolerance);
        CHECK(largest(matmul(f.vh, f.vh.t()) - eye(f.vh.size(-2), dtype)) <= tolerance);
      }
      for (QrMode mode : {QrMode::reduced, QrMode::complete}) {
        Qr const q = qr(x, mode);
        CHECK(differs(matmul(q.q, q.r), x, tolerance) == "");
        CHECK(largest(matmul(q.q.t(), q.q) - eye(q.q.size(-1), dtype)) <= tolerance);
        CHECK(differs(triu(q.r), q.r, 0) == "");
      }
      CHECK(!qr(x, QrMode::r).q.defined());
      CHECK(same_bits(qr(x, QrMode::r).r, qr(x).r));
    }
}

TEST_CASE("systems larger than a block, and their residuals") {
  for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
    int64_t const n = 260;
    double const tolerance = dtype == Dtype::f32 ? 1e-4 : 1e-12;
    Tensor const x = numbers({n, n}, 4, dtype), a = x + eye(n, dtype) * 5.0, b = numbers({n, 70}, 8, dtype);
    CHECK(largest(matmul(a, solve(a, b)) - b) <= tolerance * 50);
    CHECK(largest(matmul(a, inv(a)) - eye(n, dtype)) <= tolerance * 50);
    Tensor const definite = matmul(x, x.t()) + eye(n, dtype) * 30.0, l = cholesky(definite);
    CHECK(largest(matmul(l, l.t()) - definite) <= tolerance * 10);
    CHECK(same_bits(triu(l, 1), zeros({n, n}, dtype)));
    Tensor const dominated = x + eye(n, dtype) * 40.0;
    for (bool upper : {false, true}) {
      Tensor const t = upper ? triu(dominated) : tril(dominated);
      CHECK(largest(matmul(t, solve_triangular(dominated, b, {.upper = upper})) - b) <= tolerance);
      CHECK(largest(matmul(solve_triangular(dominated, b.t(), {.upper = upper, .left = false}), t) - b.t()) <=
            tolerance);
    }
  }
}

TEST_CASE("the gradient of det is the matrix of cofactors, also of singular matrices, to second order") {
  for (int64_t rank : {0, 1, 2, 3, 4}) {
    CAPTURE(rank);
    Tensor x = matmul(numbers({2, 4, rank}, 11), numbers({2, rank, 4}, 12)).requires_grad_();
    Tensor const g = grad({sum(det(x))}, {x})[0];
    auto const at = [&](Tensor const& m, int64_t i, int64_t j) {
      Tensor const rows = cat({m.slice(-2, 0, i), m.slice(-2, i + 1, 4)}, -2);
      return det_loops(cat({rows.slice(-1, 0, j), rows.slice(-1, j + 1, 4)}, -1)) * ((i + j) % 2 ? -1.0 : 1.0);
    };
    Tensor const recorded = grad({sum(det(x))}, {x}, {}, {.create_graph = true})[0];
    for (int64_t i = 0; i < 4; ++i)
      for (int64_t j = 0; j < 4; ++j) {
        CHECK(differs(g.select(-1, j).select(-1, i), at(x.detach(), i, j), 1e-12) == "");
        CHECK(differs(recorded.detach().select(-1, j).select(-1, i), at(x.detach(), i, j), 1e-12) == "");
      }
    CHECK(gradgradcheck([](Tensors const& in) { return Tensors{det(in[0])}; }, {x}, {.tolerance = 1e-6}) == "");
  }
}

TEST_CASE("determinants of singular, negative and huge matrices") {
  Tensor const singular = tensor({{1, 2}, {2, 4}}), negative = tensor({{0, 1}, {1, 0}});
  CHECK(det(singular).item() == 0);
  CHECK(slogdet(singular).sign.item() == 0);
  CHECK(slogdet(singular).logabsdet.item() == -inf);
  CHECK(logdet(singular).item() == -inf);
  CHECK(slogdet(negative).sign.item() == -1);
  CHECK(std::isnan(logdet(negative).item()));
  CHECK(slogdet(eye(400, Dtype::f32) * 1e30).logabsdet.item() == doctest::Approx(400 * std::log(1e30)).epsilon(1e-6));
  CHECK(det(eye(400, Dtype::f32) * 1e30).item() == inf);
}

TEST_CASE("matrix_rank") {
  Tensor const x = matmul(numbers({2, 5, 3}, 1), numbers({2, 3, 4}, 2));
  CHECK(matrix_rank(x).to_vector<int64_t>() == std::vector<int64_t>{3, 3});
  CHECK(matrix_rank(x).dtype() == Dtype::i64);
  CHECK(matrix_rank(x.to(Dtype::f32)).to_vector<int64_t>() == std::vector<int64_t>{3, 3});
  CHECK(matrix_rank(zeros({3, 3})).item() == 0);
  CHECK(matrix_rank(zeros({2, 0, 3})).to_vector<int64_t>() == std::vector<int64_t>{0, 0});
  Tensor const d = tensor({{4, 0, 0}, {0, -2, 0}, {0, 0, 1}});
  CHECK(matrix_rank(d, {.atol = 1.5}).item() == 2);
  CHECK(matrix_rank(d, {.rtol = 0.3}).item() == 2);
  CHECK(matrix_rank(d, {.atol = 1.5, .rtol = 0.6}).item() == 1);
  CHECK(matrix_rank(d, {.atol = 1.5, .hermitian = true}).item() == 2);
  CHECK(error_of([] { matrix_rank(ones({3})); }).find("[3]") != std::string::npos);
  CHECK(error_of([] { matrix_rank(ones({2, 3}), {.hermitian = true}); }).find("square") != std::string::npos);
}

TEST_CASE("lstsq of too few equations, and of a rank too small") {
  Tensor const a = matmul(numbers({6, 2}, 1), numbers({2, 4}, 2)), b = numbers({6, 3}, 3);
  Lstsq const f = lstsq(a, b);
  CHECK(f.rank.item() == 2);
  CHECK(f.residuals.numel() == 0);
  CHECK(f.singular_values.shape() == Shape{4});
  // The normal equations hold, and the solution lies in the span of a's rows.
  CHECK(largest(matmul(a.t(), matmul(a, f.solution) - b)) <= 1e-13);
  CHECK(largest(matmul(matmul(pinv(a), a), f.solution) - f.solution) <= 1e-13);
}

TEST_CASE("norms of matrices without elements") {
  for (Dtype const dtype : {Dtype::f32, Dtype::bf16})
    for (double const order : {1., inf})
      CHECK(matrix_norm(zeros({2, 0, 0}, dtype), order).to_vector<double>() == std::vector<double>(2, 0));
  CHECK(matrix_norm(zeros({0, 3}), 2).item() == 0);
  CHECK_THROWS_AS(matrix_norm(zeros({0, 3}), -2), Error);
  CHECK(matrix_norm(zeros({0, 3}), -1).item() == 0);
  CHECK(cond(zeros({2, 0, 0})).to_vector<double>() == std::vector<double>(2, 0));
}

TEST_CASE("input that is not finite gives NaN or an Error, and always an answer") {
  for (double value : {nan_, inf}) {
    Tensor const x = where(eye(60, Dtype::f64) > 0.0, value, numbers({60, 60}, 1));
    CHECK(error_of([&] { svd(x); }).find("NaN or infinity") != std::string::npos);
    CHECK(error_of([&] { eigvalsh(x); }).find("NaN or infinity") != std::string::npos);
    CHECK(error_of([&] { pinv(x); }) != "");
    CHECK(error_of([&] { cholesky(x); }) != "");
    qr(x), lu(x), det(x), matrix_exp(x), cond(x, 1);
    CHECK(std::isnan(largest(zeros({1}))) == false);
  }
  CHECK(cond(zeros({2, 2}), 1).item() != 1);
  CHECK(cond(tensor({{1, 2}, {2, 4}}), 1).item() == inf);
}

TEST_CASE("matrix_exp of large and of nilpotent matrices") {
  Tensor const rotation = tensor({{0, -100}, {100, 0}}).to(Dtype::f64);
  CHECK(matrix_exp(rotation).at(0, 0).item() == doctest::Approx(std::cos(100.0)).epsilon(1e-12));
  CHECK(matrix_exp(tensor({{0, 1e6f}, {0, 0}})).to_vector<double>() == std::vector<double>{1, 1e6f, 0, 1});
  CHECK(matrix_exp(tensor({{-500, 0}, {0, 1}}).to(Dtype::f64)).at(0, 0).item() ==
        doctest::Approx(std::exp(-500.0)).epsilon(1e-9));
}

TEST_CASE("reflections: -0 is no negative head, an infinite column has an infinite norm, NaN stays in its rows") {
  auto const [packed, tau] = geqrf(tensor({-0.f, 3, 4, 1}).reshape({2, 2}));
  CHECK(packed.to_vector<float>() == std::vector<float>{-4, -1, 1, -3});
  CHECK(tau.to_vector<float>() == std::vector<float>{1, 0});
  CHECK(geqrf(tensor({float(inf), 1}).reshape({2, 1})).first.to_vector<float>() == std::vector<float>{float(-inf), 0});
  Tensor const y = ormqr(eye(3, 3), tensor({2, 2, float(nan_)}), ones({3, 1}), true, true);
  CHECK(y.at(0, 0).item() == -1);
  CHECK(y.at(1, 0).item() == -1);
  CHECK(std::isnan(y.at(2, 0).item()));
}
