#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/norm/weights.h>

#include <algorithm>

namespace heed::nn {
namespace {

/// The weight as [O, I]; an Error unless it has `out` rows.
Tensor matrix_of(char const* name, Tensor const& weight, int64_t out) {
  check_defined(name, weight);
  check(weight.rank() >= 2 && (out < 0 || weight.size(0) == out), name, [&] {
    std::string const rows = out < 0 ? "O" : fmt::format("{}", out);
    return Complaint{fmt::format("expected a weight [{}, ..], got {}", rows, to_string(weight.shape())),
                     "pass a matrix or a convolution's weight"};
  });
  return weight.flatten(1);
}

}  // namespace

SpectralNorm::SpectralNorm(int64_t out, int64_t steps, double eps)
    : u(normalize(randn({out}), 2, 0, eps)), steps(steps), eps(eps) {}

Tensor SpectralNorm::forward(Tensor const& weight) const {
  Tensor const w = matrix_of("SpectralNorm", weight, u.size(0));
  Tensor left = u.to(w.dtype()), right;
  {
    NoGrad const off;
    for (int64_t i = 0; i < std::max<int64_t>(steps, 1); ++i) {
      right = normalize(mv(w.t(), left), 2, 0, eps);
      if (training() && !recomputing()) left = normalize(mv(w, right), 2, 0, eps);
    }
    if (training() && !recomputing()) Tensor(u).copy_(left);
    left = left.clone();
  }
  return weight / dot(left, mv(w, right));
}

WeightNorm::WeightNorm(int64_t out) : g(ones({out}).requires_grad_()) {}
WeightNorm::WeightNorm(Tensor const& weight)
    : g(vector_norm(matrix_of("WeightNorm", weight.detach(), -1), 2, {1}).requires_grad_()) {}
Tensor WeightNorm::forward(Tensor const& weight) const {
  Tensor const w = matrix_of("WeightNorm", weight, g.size(0));
  return (w * (g / vector_norm(w, 2, {1})).unsqueeze(1)).reshape(weight.shape());
}

Tensor WeightStandardization::forward(Tensor const& weight) const {
  return layer_norm(matrix_of("WeightStandardization", weight, -1), {}, {}, eps).reshape(weight.shape());
}

}  // namespace heed::nn
