// Losses of two views of one sample, without strangers: what keeps them from collapsing differs.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn::loss {

/// 2 − 2·cos(prediction, target), the target without gradient: a slowly moving copy makes it (Grill et al., 2020), or
/// the network itself (SimSiam: Chen and He, 2021).
struct Byol {
  static constexpr std::string_view operands = "prediction [N, C]; target fixed [N, C]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& prediction, Tensor const& target) const {
    check_operands("byol", operands, prediction, target);
    return reduced(2 - 2 * sum(normalize(prediction, 2, -1) * normalize(target.detach(), 2, -1), {-1}), reduction);
  }
};

/// similarity·MSE(a, b) + variance·mean max(0, 1 − √(var + 1e-4)) + covariance·Σ_{i≠j} cov_ij²/C, the last two the mean
/// (sum) of both views (Bardes et al., 2022).
struct VicReg {
  static constexpr std::string_view operands = "a [N, C]; b [N, C]";
  double similarity = 25, variance = 25, covariance = 1;
  void visit(ConfigVisitor& v) {
    v.field("similarity", similarity, "weight of what brings the views together");
    v.field("variance", variance, "weight of what keeps each feature spread out");
    v.field("covariance", covariance, "weight of what keeps features apart");
  }
  Tensor operator()(Tensor const& a, Tensor const& b) const;
};

/// Σ_i (1 − r_ii)² + lambda·Σ_{i≠j} r_ij², r the correlation of a's and b's features over the batch (Zbontar et al.,
/// 2021).
struct BarlowTwins {
  static constexpr std::string_view operands = "a [N, C]; b [N, C]";
  double lambda = 5e-3;
  void visit(ConfigVisitor& v) { v.field("lambda", lambda, "weight of what keeps features apart"); }
  Tensor operator()(Tensor const& a, Tensor const& b) const;
};

}  // namespace heed::nn::loss
