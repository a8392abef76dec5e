#include <heed/nn/loss/representation.h>

#include <algorithm>

namespace heed::nn::loss {
namespace {

Tensor centred(Tensor const& x) { return x - mean(x, {0}, true); }

/// Σ x_ij² off the diagonal
Tensor off_diagonal(Tensor const& x) { return sum(square(x)) - sum(square(diagonal(x))); }

}  // namespace

Tensor VicReg::operator()(Tensor const& a, Tensor const& b) const {
  check_operands("vic-reg", operands, a, b);
  Tensor total = mse_loss(a, b) * similarity;
  for (Tensor const& view : {a, b}) {
    Tensor const x = centred(view);
    double const samples = double(std::max<int64_t>(x.size(0) - 1, 1)), features = double(x.size(1));
    Tensor const deviation = sqrt(sum(square(x), {0}) / samples + 1e-4);
    total = total + mean(relu(1 - deviation)) * (variance / 2);
    total = total + off_diagonal(matmul(x.t(), x) / samples) * (covariance / features);
  }
  return total;
}

Tensor BarlowTwins::operator()(Tensor const& a, Tensor const& b) const {
  check_operands("barlow-twins", operands, a, b);
  auto const standardised = [](Tensor const& view) {
    Tensor const x = centred(view);
    return x / sqrt(mean(square(x), {0}, true) + 1e-5);
  };
  Tensor const r = matmul(standardised(a).t(), standardised(b)) / double(a.size(0));
  return sum(square(1 - diagonal(r))) + off_diagonal(r) * lambda;
}

}  // namespace heed::nn::loss
