// The exponential of a matrix, and tensors read as matrices.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/batch.h>
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/square.h>
#include <heed/engine/tape.h>

#include <utility>
#include <vector>

namespace heed {
namespace {

using Square = std::vector<double>;

Square times(Square const& a, Square const& b, int64_t n) {
  Square c(size_t(n * n));
  kernels<GemmKernels>().of<double>().gemm({.m = n,
                                            .n = n,
                                            .k = n,
                                            .a = a.data(),
                                            .a_row = n,
                                            .a_col = 1,
                                            .b = b.data(),
                                            .b_row = n,
                                            .b_col = 1,
                                            .c = c.data(),
                                            .c_row = n});
  return c;
}

/// Σ coefficients[k]·powers[k]
Square combined(std::vector<double> const& coefficients, std::vector<Square const*> const& powers) {
  Square y(powers[0]->size());
  for (size_t k = 0; k < powers.size(); ++k)
    for (size_t i = 0; i < y.size(); ++i) y[i] += coefficients[k] * (*powers[k])[i];
  return y;
}

/// Padé's approximant of degree 13 to e^(a/2^s), squared s times: Higham, "The scaling and squaring method for the
/// matrix exponential revisited" (2005).
void exponential(double const* a, double* y, int64_t n) {
  constexpr double reach = 5.371920351148152;  // of the approximant, in the 1-norm
  double norm = 0;
  for (int64_t j = 0; j < n; ++j) {
    double column = 0;
    for (int64_t i = 0; i < n; ++i) column += std::abs(a[i * n + j]);
    if (!(column <= norm)) norm = column;
  }
  if (!std::isfinite(norm)) return (void)std::fill_n(y, n * n, std::numeric_limits<double>::quiet_NaN());
  int const halvings = norm > reach ? int(std::ceil(std::log2(norm / reach))) : 0;
  Square x(a, a + n * n), one(size_t(n * n));
  for (double& value : x) value = std::ldexp(value, -halvings);
  for (int64_t i = 0; i < n; ++i) one[size_t(i * n + i)] = 1;
  // bₖ = (26 − k)!·13!/(26!·k!·(13 − k)!), scaled so that b₁₃ = 1
  double b[14];
  b[13] = 1;
  for (int k = 12; k >= 0; --k) b[k] = b[k + 1] * double(26 - k) * double(k + 1) / double(13 - k);
  Square const x2 = times(x, x, n), x4 = times(x2, x2, n), x6 = times(x4, x2, n);
  auto const polynomial = [&](int parity) {
    Square const high = combined({b[12 + parity], b[10 + parity], b[8 + parity]}, {&x6, &x4, &x2});
    Square const top = times(x6, high, n);
    return combined({1, b[6 + parity], b[4 + parity], b[2 + parity], b[parity]}, {&top, &x6, &x4, &x2, &one});
  };
  Square const odd = times(x, polynomial(1), n), even = polynomial(0);
  // (even − odd)·y = even + odd
  Square left = combined({1, -1}, {&even, &odd}), right = combined({1, 1}, {&even, &odd});
  std::vector<int32_t> pivots(static_cast<size_t>(n));
  factor::lu(left.data(), n, n, pivots.data());
  for (int64_t j = 0; j < n; ++j)
    if (pivots[size_t(j)] != j)
      std::swap_ranges(right.begin() + j * n, right.begin() + (j + 1) * n, right.begin() + pivots[size_t(j)] * n);
  factor::solve_triangular(left.data(), n, int64_t{1}, false, true, right.data(), n, n);
  factor::solve_triangular(left.data(), n, int64_t{1}, true, false, right.data(), n, n);
  for (int s = 0; s < halvings; ++s) right = times(right, right, n);
  std::copy(right.begin(), right.end(), y);
}

}  // namespace

Tensor matrix_exp(Tensor const& x) {
  check_square("matrix_exp", x);
  check_matrix("matrix_exp", x);
  int64_t const n = x.size(-1);
  Tensor const whole = x.detach().to(Dtype::f64).contiguous(), wide(x.shape(), Dtype::f64);
  Observed const watch("matrix_exp", {&whole}, {&wide});
  if (n > 0)
    for_each_matrix(numel(lead_of(x)), 20 * double(n * n) * double(n), [&](int64_t i) {
      exponential(whole.data<double>() + i * n * n, wide.data<double>() + i * n * n, n);
    });
  Tensor y = wide.to(x.dtype());
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
