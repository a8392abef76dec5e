// The exponential of a matrix, and tensors read as matrices.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/square.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <initializer_list>
#include <limits>

namespace heed {
namespace {

/// Σ coefficients[k]·powers[k]
Tensor combined(std::initializer_list<double> coefficients, std::initializer_list<Tensor> powers) {
  Tensor y;
  double const* c = coefficients.begin();
  for (Tensor const& power : powers) {
    Tensor const term = power * *c++;
    y = y.defined() ? y + term : term;
  }
  return y;
}

/// Padé's approximant of degree 13 to e^(a/2^s), squared s times: Higham, "The scaling and squaring method for the
/// matrix exponential revisited" (2005). a [.., n, n] of f64.
Tensor exponential(Tensor const& a) {
  constexpr double reach = 5.371920351148152;  // of the approximant, in the 1-norm
  int64_t const n = a.size(-1);
  Tensor const norm = amax(sum(abs(a), {-2}), {-1}).unsqueeze(-1).unsqueeze(-1), finite = isfinite(norm);
  Tensor const halvings = where(logical_and(finite, norm > reach), ceil(log2(norm / reach)), 0.0);
  Tensor const one = eye(n, -1, Dtype::f64, a.device());
  Tensor const x = where(finite, ldexp(a, -halvings), 0.0);
  // bₖ = (26 − k)!·13!/(26!·k!·(13 − k)!), scaled so that b₁₃ = 1
  double b[14];
  b[13] = 1;
  for (int k = 12; k >= 0; --k) b[k] = b[k + 1] * double(26 - k) * double(k + 1) / double(13 - k);
  Tensor const x2 = matmul(x, x), x4 = matmul(x2, x2), x6 = matmul(x4, x2);
  auto const polynomial = [&](int parity) {
    Tensor const high = combined({b[12 + parity], b[10 + parity], b[8 + parity]}, {x6, x4, x2});
    return combined({1, b[6 + parity], b[4 + parity], b[2 + parity], b[parity]}, {matmul(x6, high), x6, x4, x2, one});
  };
  Tensor const odd = matmul(x, polynomial(1)), even = polynomial(0);
  Tensor y = solve(even - odd, even + odd);
  auto const most = int(amax(halvings.reshape({-1}), {0}).item());
  for (int s = 0; s < most; ++s) y = where(halvings > double(s), matmul(y, y), y);
  return where(finite, y, std::numeric_limits<double>::quiet_NaN());
}

}  // namespace

Tensor matrix_exp(Tensor const& x) {
  check_square("matrix_exp", x);
  check_matrix("matrix_exp", x);
  int64_t const n = x.size(-1);
  Tensor y;
  {
    NoGrad const off;
    y = x.numel() > 0 ? exponential(x.detach().to(Dtype::f64)).to(x.dtype()) : x.detach().clone();
  }
  if (tracked(x))
    record("matrix_exp", y, {&x}, [x = Saved(x), n](Tensor const& g, Node const& node) {
      // The top right block of exp [[xᵀ, g], [0, xᵀ]] (Mathias, 1996).
      Tensor const a = x.get(node).t();
      Tensor const block = cat({cat({a, g}, -1), cat({zeros_like(a), a}, -1)}, -2);
      return std::array{matrix_exp(block).slice(-2, 0, n).slice(-1, n, 2 * n)};
    });
  return y;
}

Tensor tensorinv(Tensor const& x, int axes) {
  check_defined("tensorinv", x);
  int64_t rows = 1, columns = 1;
  Shape last, first;
  for (int i = 0; i < x.rank(); ++i) {
    (i < axes ? rows : columns) *= x.shape()[i];
    (i < axes ? first : last).push_back(x.shape()[i]);
  }
  check(axes > 0 && axes <= x.rank() && rows == columns, "tensorinv", [&] {
    return Complaint{fmt::format("the first {} axes of {} have {} elements, the others {}", axes, to_string(x.shape()),
                                 rows, columns),
                     "both must span spaces of one size"};
  });
  for (int64_t size : first) last.push_back(size);
  return inv(x.reshape({rows, columns})).reshape(last);
}

Tensor tensorsolve(Tensor const& a, Tensor const& b, Dims const& axes) {
  check_defined("tensorsolve", a);
  check_defined("tensorsolve", b);
  Dims order, moved;
  for (int64_t axis : axes) moved.push_back(normalize_axis("tensorsolve", int(axis), a.rank()));
  for (int i = 0; i < a.rank(); ++i)
    if (std::find(moved.begin(), moved.end(), i) == moved.end()) order.push_back(i);
  for (int64_t axis : moved) order.push_back(axis);
  Tensor const last = a.permute(order);
  Shape shape;
  int64_t columns = 1;
  for (int i = b.rank(); i < last.rank(); ++i) {
    shape.push_back(last.shape()[i]);
    columns *= last.shape()[i];
  }
  check(columns == b.numel() && a.numel() == columns * columns, "tensorsolve", [&] {
    return Complaint{fmt::format("{} is no square map onto {}", to_string(last.shape()), to_string(b.shape())),
                     "its first axes must have b's number of elements, and so must the others"};
  });
  return solve(last.reshape({columns, columns}), b.reshape({columns})).reshape(shape);
}

}  // namespace heed
