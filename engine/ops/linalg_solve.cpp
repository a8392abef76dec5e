// LU with row pivoting, and what follows from it: systems, inverses, determinants.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/batch.h>
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/square.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <limits>

namespace heed {
namespace {

Tensor unit_lower(Tensor const& packed) {
  int64_t const m = packed.size(-2), k = std::min(m, packed.size(-1));
  return tril(packed.slice(-1, 0, k), -1) + corner(eye(m, -1, packed.dtype(), packed.device()), m, k);
}

Tensor upper_part(Tensor const& packed) {
  return triu(packed.slice(-2, 0, std::min(packed.size(-2), packed.size(-1))));
}

/// P [.., M, M] with P·(L·U) = x.
Tensor permutation(Tensor const& pivots, int64_t m, Dtype dtype) {
  Tensor const from = pivots.contiguous();
  int64_t const k = pivots.size(-1);
  Shape lead = pivots.shape();
  lead.erase(lead.rank() - 1);
  Tensor const p = zeros(with_matrix(lead, m, m), dtype, pivots.device());
  if (p.numel() == 0) return p;
  Tensor const wrong({numel(lead)}, Dtype::i64, pivots.device());
  dispatch_floating("lu_unpack", dtype, [&]<class T>(Type<T>) {
    factor_kernels(pivots.device(), "lu_unpack")
        .of<T>()
        .permutation(from.address<int32_t>(), p.address<T>(), wrong.address<int64_t>(), numel(lead), m, k);
  });
  check_matrices("lu_unpack", wrong, [&](int64_t i, int64_t exchange) {
    return Complaint{
        fmt::format("pivot {} is outside 1 to {}", from.to_vector<int64_t>()[size_t(i * k + exchange - 1)], m),
        "pass the pivots of lu_factor"};
  });
  return p;
}

/// x [.., M, N] becomes its factors; returns the exchanges.
Tensor packed_lu(char const* op, Tensor const& x) {
  int64_t const m = x.size(-2), n = x.size(-1);
  Shape rows = lead_of(x);
  int64_t const count = numel(rows);
  rows.push_back(std::min(m, n));
  Tensor const pivots(rows, Dtype::i32, x.device());
  Observed const watch(op, {}, {&x, &pivots});
  if (pivots.numel() > 0)
    dispatch_floating(op, x.dtype(), [&]<class T>(Type<T>) {
      factor_kernels(x.device(), op).of<T>().lu(x.address<T>(), pivots.address<int32_t>(), count, m, n);
    });
  return pivots;
}

/// Of x = L·U of any shape with respect to x; gl and gu are the gradients below and on or above the diagonal.
Tensor lu_gradient(Tensor const& packed, Tensor const& g) {
  int64_t const m = packed.size(-2), n = packed.size(-1), k = std::min(m, n);
  Tensor const l = unit_lower(packed), u = upper_part(packed);
  Tensor const l1 = l.slice(-2, 0, k), u1 = u.slice(-1, 0, k);
  Tensor gl = tril(corner(g, k, k), -1), gu = triu(corner(g, k, k));
  Tensor below, right;
  if (m > k) {  // L₂ = x₂·U⁻¹
    below = solve_triangular(u1.t(), g.slice(-2, k, m), {.left = false});
    gu = gu - triu(matmul(l.slice(-2, k, m).t(), below));
  }
  if (n > k) {  // U₂ = L⁻¹·x₂
    right = solve_triangular(l1.t(), g.slice(-1, k, n), {.upper = true, .unitriangular = true});
    gl = gl - tril(matmul(right, u.slice(-1, k, n).t()), -1);
  }
  Tensor const inner = tril(matmul(l1.t(), gl), -1) + triu(matmul(gu, u1.t()));
  Tensor const left = solve_triangular(l1.t(), inner, {.upper = true, .unitriangular = true});
  Tensor const square = solve_triangular(u1.t(), left, {.left = false});
  return m > k ? cat({square, below}, -2) : n > k ? cat({square, right}, -1) : square;
}

}  // namespace

LuFactor lu_factor(Tensor const& x) {
  check_matrix("lu_factor", x);
  int64_t const m = x.size(-2);
  Tensor packed = x.detach().clone();
  Tensor const pivots = packed_lu("lu_factor", packed);
  if (tracked(x))
    record("lu_factor", packed, {&x}, [packed = SavedOutput(packed), pivots, m](Tensor const& g, Node const& node) {
      Tensor const factors = packed.get(node);
      return std::array{matmul(permutation(pivots, m, g.dtype()), lu_gradient(factors, g))};
    });
  return {packed, pivots};
}

Lu lu_unpack(Tensor const& packed, Tensor const& pivots) {
  check_matrix("lu_unpack", packed);
  check_defined("lu_unpack", pivots);
  Shape expected = lead_of(packed);
  expected.push_back(std::min(packed.size(-2), packed.size(-1)));
  check(pivots.shape() == expected && pivots.dtype() == Dtype::i32, "lu_unpack", [&] {
    return Complaint{fmt::format("expected i32 pivots of shape {}, got {} {}", to_string(expected),
                                 name(pivots.dtype()), to_string(pivots.shape())),
                     "pass both results of lu_factor"};
  });
  return {permutation(pivots, packed.size(-2), packed.dtype()), unit_lower(packed), upper_part(packed)};
}

Lu lu(Tensor const& x) {
  check_matrix("lu", x);
  LuFactor const f = lu_factor(x);
  return lu_unpack(f.lu, f.pivots);
}

Tensor lu_solve(LuFactor const& factors, Tensor const& b, bool left, bool adjoint) {
  check_square("lu_solve", factors.lu);
  check_matrix("lu_solve", b);
  check(b.size(left ? -2 : -1) == factors.lu.size(-1), "lu_solve", [&] {
    return Complaint{
        fmt::format("a right side {} does not fit factors {}", to_string(b.shape()), to_string(factors.lu.shape())),
        left ? "give it as many rows" : "give it as many columns"};
  });
  if (!left) return lu_solve(factors, b.t(), true, !adjoint).t();
  Tensor const p = lu_unpack(factors.lu, factors.pivots).p;
  if (!adjoint)
    return solve_triangular(factors.lu, solve_triangular(factors.lu, matmul(p.t(), b), {.unitriangular = true}),
                            {.upper = true});
  Tensor const inner = solve_triangular(factors.lu.t(), b);
  return matmul(p, solve_triangular(factors.lu.t(), inner, {.upper = true, .unitriangular = true}));
}

namespace {

/// a⁻¹·b, matrices of equal leading axes; a singular a gives infinities if `lenient`.
Tensor solved(char const* op, Tensor const& a, Tensor const& b, bool lenient) {
  int64_t const n = a.size(-1), k = b.size(-1), count = numel(lead_of(a));
  Device const device = common_device(op, {&a, &b});
  Tensor const packed = a.detach().clone(), y = b.detach().clone();
  if (n == 0 || count == 0) return y;
  Tensor const pivots = packed_lu(op, packed), wrong({count}, Dtype::i64, device);
  Observed const watch(op, {&packed}, {&y});
  dispatch_floating(op, a.dtype(), [&]<class T>(Type<T>) {
    factor_kernels(device, op)
        .of<T>()
        .lu_solve(packed.address<T>(), pivots.address<int32_t>(), y.address<T>(), wrong.address<int64_t>(), count, n,
                  k);
  });
  if (!lenient)
    check_matrices(op, wrong, [&](int64_t i, int64_t) {
      return Complaint{fmt::format("{} is singular: a pivot is exactly 0", matrix_name(lead_of(a), i)),
                       "use pinv or lstsq, or add a small multiple of the identity"};
    });
  return y;
}

Tensor inverse(char const* op, Tensor const& x, bool lenient) {
  Tensor y = solved(op, x, eye(x.size(-1), -1, x.dtype(), x.device()).expand(x.shape()), lenient);
  if (tracked(x))
    record(op, y, {&x}, [y = SavedOutput(y)](Tensor const& g, Node const& node) {
      Tensor const transposed = y.get(node).t();
      return std::array{-matmul(matmul(transposed, g), transposed)};
    });
  return y;
}

Tensor solve_matrices(Tensor const& a, Tensor const& b) {
  Shape const lead = broadcast_lead("solve", a, b);
  int64_t const n = a.size(-1);
  Tensor y = solved("solve", a.detach().expand(with_matrix(lead, n, n)),
                    b.detach().expand(with_matrix(lead, n, b.size(-1))), false);
  if (tracked(a, b))
    record("solve", y, {&a, &b}, [a = Saved(a), y = SavedOutput(y)](Tensor const& g, Node const& node) {
      std::array<Tensor, 2> d;
      d[1] = solve_matrices(a.get(node).t(), g);
      if (node.needs(0)) d[0] = -matmul(d[1], y.get(node).t());
      return d;
    });
  return y;
}

}  // namespace

Tensor solve(Tensor const& a, Tensor const& b, bool left) {
  check_square("solve", a);
  check_matrix("solve", a);
  check_defined("solve", b);
  Shape rows = a.shape();
  rows.erase(rows.rank() - 1);
  bool const vector = b.rank() == 1 || b.shape() == rows;
  check(vector ? left && b.size(-1) == a.size(-1) : b.rank() >= 2 && b.size(left ? -2 : -1) == a.size(-1), "solve",
        [&] {
          return Complaint{fmt::format("a right side {} does not fit a matrix {}{}", to_string(b.shape()),
                                       to_string(a.shape()), left ? "" : " from the right"),
                           "b is [.., N, K], or [.., K, N] where left = false, or [.., N]"};
        });
  check(a.dtype() == b.dtype(), "solve", [&] {
    return Complaint{fmt::format("a is {} and b {}", name(a.dtype()), name(b.dtype())), "convert one with .to()"};
  });
  if (vector) return solve_matrices(a, b.unsqueeze(-1)).squeeze(-1);
  return left ? solve_matrices(a, b) : solve_matrices(a.t(), b.t()).t();
}

Tensor inv(Tensor const& x) {
  check_square("inv", x);
  check_matrix("inv", x);
  return inverse("inv", x, false);
}

Tensor inverse_or_infinity(Tensor const& x) { return inverse("inv", x, true); }

namespace {

/// Determinants as a sign and a logarithm, or multiplied out.
struct Determinants {
  Tensor value, sign, logarithm;
};

Determinants determinants(char const* op, Tensor const& x) {
  Shape const lead = lead_of(x);
  int64_t const n = x.size(-1);
  Determinants const d{Tensor(lead, x.dtype(), x.device()), Tensor(lead, x.dtype(), x.device()),
                       Tensor(lead, x.dtype(), x.device())};
  Tensor const packed = x.detach().clone(), pivots = packed_lu(op, packed);
  Observed const watch(op, {&packed}, {&d.value, &d.sign, &d.logarithm});
  if (d.value.numel() > 0)
    dispatch_floating(op, x.dtype(), [&]<class T>(Type<T>) {
      factor_kernels(x.device(), op)
          .of<T>()
          .determinant(packed.address<T>(), pivots.address<int32_t>(), d.value.address<T>(), d.sign.address<T>(),
                       d.logarithm.address<T>(), numel(lead), n);
    });
  return d;
}

Tensor wide(Tensor const& scalars) { return scalars.unsqueeze(-1).unsqueeze(-1); }

/// det x·x⁻ᵀ by singular values: det(u·vh)·u·diag(Π_{j≠i} sⱼ)·vh.
Tensor cofactors_by_svd(Tensor const& x) {
  Svd const f = svd(x);
  int64_t const n = x.size(-1);
  // Row i of a square of copies of s, its diagonal replaced by ones.
  Tensor const copies = f.s.unsqueeze(-2).expand(x.shape());
  Tensor const others = prod(where(arange(n, x.device()).unsqueeze(1) == arange(n, x.device()), 1.0, copies), -1);
  return wide(det(matmul(f.u, f.vh))) * matmul(f.u * others.unsqueeze(-2), f.vh);
}

/// The same by Faddeev and LeVerrier's recursion: a polynomial in x, so that all its derivatives exist.
Tensor cofactors_by_polynomial(Tensor const& x) {
  int64_t const n = x.size(-1);
  Tensor const one = eye(n, -1, x.dtype(), x.device());
  Tensor m = one.expand(x.shape());
  for (int64_t k = 1; k < n; ++k) {
    Tensor const product = matmul(x, m);
    m = product - wide(sum(diagonal(product, 0, -2, -1), {-1})) * (1.0 / double(k)) * one;
  }
  return n % 2 ? m.t() : -m.t();
}

/// Whether every matrix is far enough from singular for its inverse to be accurate.
bool well_conditioned(Tensor const& x, Tensor const& inverse) {
  Tensor const product = sqrt(sum(square(x), {-2, -1}) * sum(square(inverse), {-2, -1}));
  double const limit = x.dtype() == Dtype::f32 ? 1e3 : 1e7;
  for (double condition : product.to_vector<double>())
    if (!(condition < limit)) return false;
  return true;
}

/// d det x/dx
Tensor cofactors(Tensor const& x, Tensor const& determinant) {
  Tensor const y = inverse_or_infinity(x);
  if (well_conditioned(x.detach(), y.detach())) return wide(determinant) * y.t();
  return tracked(x) ? cofactors_by_polynomial(x) : cofactors_by_svd(x);
}

}  // namespace

Tensor det(Tensor const& x) {
  check_square("det", x);
  check_matrix("det", x);
  Tensor y = determinants("det", x).value;
  if (tracked(x))
    record("det", y, {&x}, [x = Saved(x), y = SavedOutput(y)](Tensor const& g, Node const& node) {
      Tensor const& from = x.get(node);
      return std::array{from.numel() == 0 ? zeros_like(from) : wide(g) * cofactors(from, y.get(node))};
    });
  return y;
}

Slogdet slogdet(Tensor const& x) {
  check_square("slogdet", x);
  check_matrix("slogdet", x);
  Determinants d = determinants("slogdet", x);
  if (tracked(x))
    record("slogdet", d.logarithm, {&x}, [x = Saved(x)](Tensor const& g, Node const& node) {
      return std::array{wide(g) * inverse_or_infinity(x.get(node)).t()};
    });
  return {d.sign, d.logarithm};
}

Tensor logdet(Tensor const& x) {
  check_square("logdet", x);
  check_matrix("logdet", x);
  Slogdet const d = slogdet(x);
  return where(d.sign == -1.0, std::numeric_limits<double>::quiet_NaN(), d.logabsdet);
}

}  // namespace heed
