// Noise on activations, and penalties of their size.
#pragma once

#include <heed/nn/regularize/outputs.h>

namespace heed::nn {

/// x + N(0, deviation²) on the branches' outputs (Bishop, 1995: a penalty of the slopes' size).
class GaussianNoise final : public OutputRegularizer {
 public:
  struct Config {
    double deviation = 0.1;
    std::string at = std::string(at_branches);
    void visit(ConfigVisitor& v) {
      v.field("deviation", deviation, "standard deviation of the noise");
      v.field("at", at, "modules, by the patterns of their paths");
    }
  };
  explicit GaussianNoise(Config const& config) : OutputRegularizer(config.at), deviation_(config.deviation) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double deviation_;
};

/// x + U(−1, 1)·alpha/√(T·C) on embeddings [B, T, C] (NEFTune: Jain et al., 2024).
class EmbeddingNoise final : public OutputRegularizer {
 public:
  struct Config {
    double alpha = 5;
    std::string at = std::string(at_embedding);
    void visit(ConfigVisitor& v) {
      v.field("alpha", alpha, "largest norm of the noise of a sequence");
      v.field("at", at, "modules, by the patterns of their paths");
    }
  };
  explicit EmbeddingNoise(Config const& config) : OutputRegularizer(config.at), alpha_(config.alpha) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double alpha_;
};

/// loss + weight·mean over modules of mean |x|^power of their outputs: power 1 makes activations sparse, 2 small
/// (Merity et al., 2017: activation regularisation).
class ActivityPenalty final : public OutputRegularizer {
 public:
  struct Config {
    double weight = 0.01, power = 2;
    std::string at = std::string(at_branches);
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("power", power, "1: L1, 2: L2");
      v.field("at", at, "modules, by the patterns of their paths");
    }
  };
  explicit ActivityPenalty(Config const& config);
  Tensor penalty(Module&) override;

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double weight_, power_;
  PenaltyTerms terms_;
};

}  // namespace heed::nn
