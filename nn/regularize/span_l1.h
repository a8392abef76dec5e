// The price of a span (Sukhbaatar et al., "Adaptive attention span in transformers", 2019): without one the spans of
// adaptive-span layers only grow. With it most heads become short, and cheap.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// weight·mean over layers and heads of |z|, z [H] the parameters called `span`, shares of the longest.
class SpanL1 final : public Regularizer {
 public:
  struct Config {
    double weight = 0.01;
    void visit(ConfigVisitor& v) { v.field("weight", weight, "factor of the penalty in the loss"); }
  };
  explicit SpanL1(Config const& config) : weight_(checked_amount("span-l1", "weight", config.weight)) {}
  Tensor penalty(Module& model) override {
    if (weight_ == 0) return {};
    PenaltyTerms terms;
    for (NamedTensor const& p : named_parameters(model))
      if (p.name == "span" || p.name.ends_with(".span")) terms.add(mean(abs(p.tensor)));
    return terms.take(weight_);
  }

 private:
  double weight_;
};

}  // namespace heed::nn
