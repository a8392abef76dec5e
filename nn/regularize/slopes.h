// Penalties of how steep a model is where its data lie: small changes of inputs then change little. Inputs are numbers,
// or, of tokens, what `at` gives. Each costs a backward pass that is differentiated itself.
#pragma once

#include <heed/nn/regularize/outputs.h>

namespace heed::nn {

/// Keeps the inputs x [B, ..] of this step's forward. It stands last among those that change batches.
class SlopePenalty : public OutputRegularizer {
 public:
  void batch(Tensor& inputs, Tensor&, Generator&) override;
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const&) override;

 protected:
  SlopePenalty(std::string_view name, double weight, std::string at);
  Tensor changed(ModuleCall const& call) override;
  /// The mean over samples of a size of some slope at x.
  virtual Tensor size(Tensor const& loss, Tensor const& logits, Tensor const& x) = 0;

 private:
  std::string_view name_;
  double weight_;
  Tensor x_;
};

/// loss + weight/2·mean over samples of |∂logits/∂x|², Frobenius, by `projections` random unit vectors v: for logits of
/// C numbers a sample C/projections·Σ |∂(v·logits)/∂x|² (Hoffman, Roberts and Yaida, 2019).
class JacobianPenalty final : public SlopePenalty {
 public:
  struct Config {
    double weight = 0.01;
    int64_t projections = 1;
    std::string at = std::string(at_embedding);
    void visit(ConfigVisitor& v);
  };
  explicit JacobianPenalty(Config const& config);

 protected:
  Tensor size(Tensor const& loss, Tensor const& logits, Tensor const& x) override;

 private:
  int64_t projections_;
};

/// loss + weight·mean over samples of (|g| − norm)², g the gradient by x of a sample's loss (double backpropagation:
/// Drucker and LeCun, 1992) or of the sum of its outputs (Gulrajani et al., 2017, whose norm is 1, for critics).
class GradientPenalty final : public SlopePenalty {
 public:
  struct Config {
    double weight = 0.1, norm = 0;
    std::string of = "loss", at = std::string(at_embedding);
    void visit(ConfigVisitor& v);
  };
  explicit GradientPenalty(Config const& config);

 protected:
  Tensor size(Tensor const& loss, Tensor const& logits, Tensor const& x) override;

 private:
  double norm_;
  bool outputs_;
};

}  // namespace heed::nn
