// Mixtures of samples: of two, in one share lambda, with their targets.
#pragma once

#include <heed/nn/regularize/outputs.h>

#include <optional>

namespace heed::nn {

/// What is cut out of images of height × width (of sequences: width 1): its share is 1 − lambda but for rounding and
/// for what lies outside.
struct Box {
  int64_t top, bottom, left, right;
  int64_t area() const { return (bottom - top) * (right - left); }
};
Box random_box(int64_t height, int64_t width, double share, Generator& generator);
/// Of x [N, C, H, W], or rows of x [B, T], [B, T, C]: with the box taken from `other`, of x's shape.
Tensor with_box(Tensor const& x, Tensor const& other, Box const& box);

struct MixConfig {
  double alpha = 0.2, share = -1;
  void visit(ConfigVisitor& v) {
    v.field("alpha", alpha, "lambda ~ Beta(alpha, alpha): small is mostly one of the two");
    v.field("share", share, "a fixed lambda, 0 to 1, in place of the draw; -1: draw");
  }
};

struct MixupConfig : MixConfig {
  std::string at = std::string(at_embedding);
  void visit(ConfigVisitor& v) {
    MixConfig::visit(v);
    v.field("at", at, "the module whose outputs are mixed; numbers are mixed themselves unless it is another");
  }
};

/// lambda·x + (1 − lambda)·x', loss lambda·CE(y) + (1 − lambda)·CE(y') (Zhang et al., 2018), x' the batch in another
/// order. Floating inputs are mixed themselves, tokens by their embeddings (Guo et al., 2019). lambda = 1 is the
/// identity, bit for bit. `at` a block, it is manifold mixup (Verma et al., 2019). It stands before what changes
/// batches by size.
class Mixup final : public OutputRegularizer {
 public:
  using Config = MixupConfig;
  explicit Mixup(Config const& config);
  void batch(Tensor& inputs, Tensor& targets, Generator& generator) override;
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  Config config_;
  double lambda_ = 1;
  Tensor order_, other_targets_;
  bool inside_ = false;  // outputs of `at` are to be mixed
};

/// A box of each sample comes from another (Yun et al., 2019): images x [N, C, H, W], and series [B, T, C] or tokens
/// [B, T] by a span. Targets of each position [B, T] go along with it; others are mixed by area in the loss.
class CutMix final : public Regularizer {
 public:
  using Config = MixConfig;
  explicit CutMix(Config const& config);
  void batch(Tensor& inputs, Tensor& targets, Generator& generator) override;
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  Config config_;
  double lambda_ = 1;
  Tensor other_targets_;
};

}  // namespace heed::nn
