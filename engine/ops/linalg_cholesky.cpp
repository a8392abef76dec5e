// Cholesky's factor and systems with it, and systems of triangular matrices.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/batch.h>
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/square.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

/// Half the diagonal, the whole lower triangle.
Tensor half_lower(Tensor const& x) { return tril(x) - diag_embed(diagonal(x, 0, -2, -1)) * 0.5; }

Tensor lower_factor(Tensor const& x) {
  Tensor const whole = x.contiguous();
  Tensor y = whole.detach().clone();
  int64_t const n = x.size(-1), count = numel(lead_of(x));
  Observed const watch("cholesky", {&whole}, {&y});
  if (y.numel() > 0) {
    Tensor const wrong({count}, Dtype::i64, x.device());
    dispatch_floating("cholesky", x.dtype(), [&]<class T>(Type<T>) {
      factor_kernels(x.device(), "cholesky").of<T>().cholesky(y.address<T>(), wrong.address<int64_t>(), count, n);
    });
    check_matrices("cholesky", wrong, [&](int64_t i, int64_t minor) {
      return Complaint{fmt::format("{} is not positive definite: its leading minor of order {} is not positive",
                                   matrix_name(lead_of(x), i), minor),
                       "add a small multiple of the identity, or use eigh"};
    });
  }
  if (tracked(x))
    record("cholesky", y, {&x}, [y = SavedOutput(y)](Tensor const& g, Node const& node) {
      // L⁻ᵀ·½(Φ + Φᵀ)·L⁻¹, Φ = the lower half of Lᵀ·g (Murray, 2016)
      Tensor const l = y.get(node), phi = half_lower(matmul(l.t(), g));
      Tensor const left = solve_triangular(l.t(), phi + phi.t(), {.upper = true});
      return std::array{solve_triangular(l, left, {.left = false}) * 0.5};
    });
  return y;
}

}  // namespace

Tensor cholesky(Tensor const& x, bool upper) {
  check_square("cholesky", x);
  check_matrix("cholesky", x);
  return upper ? lower_factor(x.t()).t() : lower_factor(x);
}

Tensor cholesky_solve(Tensor const& b, Tensor const& factor, bool upper) {
  check_square("cholesky_solve", factor);
  check_matrix("cholesky_solve", factor);
  check_matrix("cholesky_solve", b);
  check(b.size(-2) == factor.size(-1), "cholesky_solve", [&] {
    return Complaint{
        fmt::format("a right side {} does not fit a factor {}", to_string(b.shape()), to_string(factor.shape())),
        "give it as many rows"};
  });
  Tensor const l = upper ? factor.t() : factor;
  return solve_triangular(l.t(), solve_triangular(l, b), {.upper = true});
}

Tensor cholesky_inverse(Tensor const& factor, bool upper) {
  check_square("cholesky_inverse", factor);
  check_matrix("cholesky_inverse", factor);
  return cholesky_solve(eye(factor.size(-1), -1, factor.dtype(), factor.device()), factor, upper);
}

Tensor solve_triangular(Tensor const& a, Tensor const& b, Triangle options) {
  check_square("solve_triangular", a);
  check_matrix("solve_triangular", a);
  check_matrix("solve_triangular", b);
  check(a.size(-1) == b.size(options.left ? -2 : -1) && a.dtype() == b.dtype(), "solve_triangular", [&] {
    return Complaint{fmt::format("a right side {} {} does not fit a triangle {} {}", to_string(b.shape()),
                                 name(b.dtype()), to_string(a.shape()), name(a.dtype())),
                     options.left ? "give it as many rows, of the same type" : "give it as many columns, of one type"};
  });
  if (!options.left)
    return solve_triangular(a.t(), b.t(), {.upper = !options.upper, .unitriangular = options.unitriangular}).t();
  int64_t const n = a.size(-1), k = b.size(-1);
  Shape const lead = broadcast_lead("solve_triangular", a, b);
  Device const device = common_device("solve_triangular", {&a, &b});
  Tensor const matrices = a.detach().expand(with_matrix(lead, n, n)).contiguous();
  Tensor y = b.detach().expand(with_matrix(lead, n, k)).clone();
  Observed const watch("solve_triangular", {&matrices, &b}, {&y});
  if (y.numel() > 0)
    dispatch_floating("solve_triangular", a.dtype(), [&]<class T>(Type<T>) {
      factor_kernels(device, "solve_triangular")
          .of<T>()
          .solve_triangular(matrices.address<T>(), options.upper, options.unitriangular, y.address<T>(), numel(lead), n,
                            k);
    });
  if (tracked(a, b))
    record("solve_triangular", y, {&a, &b},
           [a = Saved(a), y = SavedOutput(y), options](Tensor const& g, Node const& node) {
             std::array<Tensor, 2> d;
             d[1] = solve_triangular(a.get(node).t(), g,
                                     {.upper = !options.upper, .unitriangular = options.unitriangular});
             if (node.needs(0)) {
               Tensor const whole = -matmul(d[1], y.get(node).t());
               int64_t const offset = options.unitriangular ? 1 : 0;
               d[0] = options.upper ? triu(whole, offset) : tril(whole, -offset);
             }
             return d;
           });
  return y;
}

}  // namespace heed
