// Losses of numbers.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

#include <numbers>

namespace heed::nn::loss {

/// (input − target)²: the mean is learned; one outlier weighs as its square.
struct Mse {
  static constexpr std::string_view operands = "input [..]; target [..]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("mse", operands, input, target);
    return mse_loss(input, target, reduction);
  }
};

/// |input − target|: the median is learned.
struct Mae {
  static constexpr std::string_view operands = "input [..]; target [..]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("mae", operands, input, target);
    return l1_loss(input, target, reduction);
  }
};

/// d²/2 where d = |input − target| ≤ delta, else delta·(d − delta/2) (Huber, 1964); MSE/2 as delta → ∞.
struct Huber {
  static constexpr std::string_view operands = "input [..]; target [..]";
  double delta = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("delta", delta, "where the parabola becomes a line, units of the target"); }
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("huber", operands, input, target);
    return huber_loss(input, target, delta, reduction);
  }
};

/// Huber's divided by beta (Girshick, 2015).
struct SmoothL1 {
  static constexpr std::string_view operands = "input [..]; target [..]";
  double beta = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("beta", beta, "where the parabola becomes a line, units of the target"); }
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("smooth-l1", operands, input, target);
    return smooth_l1_loss(input, target, beta, reduction);
  }
};

/// log cosh(input − target) = d + log(1 + e^(−2d)) − log 2 with d = |input − target|: Huber's with all derivatives
/// continuous.
struct LogCosh {
  static constexpr std::string_view operands = "input [..]; target [..]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("log-cosh", operands, input, target);
    Tensor const d = input - target;  // log cosh is even, and softplus(2d) − d = softplus(−2d) + d: no kink at 0
    return reduced(softplus(d * 2.0) - d - std::numbers::ln2, reduction);
  }
};

/// max(q·d, (q − 1)·d) with d = target − input: the q-quantile is learned (Koenker and Bassett, 1978); q = ½ is MAE/2.
struct Quantile {
  static constexpr std::string_view operands = "input [..]; target [..]";
  double q = 0.5;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("q", q, "the quantile, 0 to 1"); }
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("quantile", operands, input, target);
    Tensor const d = target - input;
    return reduced(maximum(d * q, d * (q - 1)), reduction);
  }
};

/// exp(input) − target·input: counts, input the logarithm of their rate.
struct PoissonNll {
  static constexpr std::string_view operands = "input [..]; target positive [..]";
  bool log_input = true, full = false;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("log_input", log_input, "input is the logarithm of the rate");
    v.field("full", full, "with Stirling's approximation of log target!");
  }
  Tensor operator()(Tensor const& input, Tensor const& target) const {
    check_operands("poisson-nll", operands, input, target);
    return poisson_nll_loss(input, target, {.log_input = log_input, .full = full, .reduction = reduction});
  }
};

/// (log variance + (input − target)²/variance)/2 (Nix and Weigend, 1994): a mean and its uncertainty are learned.
struct GaussianNll {
  static constexpr std::string_view operands = "input [..]; target [..]; variance positive [..]";
  bool full = false;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("full", full, "with the constant log(2π)/2"); }
  Tensor operator()(Tensor const& input, Tensor const& target, Tensor const& variance) const {
    check_operands("gaussian-nll", operands, input, target, variance);
    return gaussian_nll_loss(input, target, variance, {.full = full, .reduction = reduction});
  }
};

}  // namespace heed::nn::loss
