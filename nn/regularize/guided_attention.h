// Pulls attention towards the diagonal, for monotonic alignments, text to speech above all: guided attention (Tachibana
// et al., 2017). Wrong wherever order may change.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over queries of Σ_j a_ij·(1 − exp(−(i/T − j/S)²/(2·width²))), i and j counted from 0.
class GuidedAttention : public AttentionPenalty {
 public:
  struct Config {
    double weight = 1, width = 0.2;
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("width", width, "how far from the diagonal is free, as a share of the length");
    }
  };
  explicit GuidedAttention(Config const& config)
      : AttentionPenalty("guided-attention", config.weight), config_(config) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    double const t = double(call.q.size(2)), s = double(call.k.size(2)),
                 sharp = 1 / (2 * config_.width * config_.width);
    Tensor const off = attention_probe(
        call.q, call.k, softmax_lse(name(), call),
        [=](auto p, auto, auto at) {
          auto const apart = (at.i - (s - t)) / t - at.j / s;
          return p * (1. - exp(-sharp * apart * apart));
        },
        call.options);
    return mean_over_queries(call, off);
  }

 private:
  Config config_;
};

}  // namespace heed::nn
