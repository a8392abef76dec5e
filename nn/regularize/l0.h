// L0: gates that open and close whole rows (or single weights, or heads), with a price for each that may be open: what
// is not worth it goes to exactly 0, and fold() takes it away.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Layers compute with W∘z, while training z = clamp(1.2·σ((logit u + log α)/β) − 0.1, 0, 1) of u ~ U(0, 1), β = ⅔, and
/// in evaluation clamp(1.2·σ(log α) − 0.1, 0, 1); loss + weight·mean P(z ≠ 0), P = σ(log α − β·log(0.1/1.1)) (hard
/// concrete gates: Louizos et al., 2018). log α, the gain, has Adam steps of its own.
class L0 : public Reparametrization {
 public:
  struct Config {
    double weight = 0.1, keep = 0.9, learning_rate = 1e-2;
    std::string gates = "rows", pattern = "**";
    void visit(ConfigVisitor& v);
  };
  explicit L0(Config const& config);
  Tensor penalty(Module& model) override;

 protected:
  L0(std::string_view name, double weight, double keep, double learning_rate, std::string pattern);
  /// log α of one shape that spread() brings to w's.
  Tensor first_gain(Tensor const& w) const override;
  Tensor scaled(Entry const& entry, Tensor const& w) const override;
  virtual Shape gates_of(Tensor const& w) const;
  /// z∘w
  virtual Tensor gated(Tensor const& z, Tensor const& w) const { return w * z; }

 private:
  double weight_, start_;
  bool rows_ = true;
};

/// The same with a gate for each head: of the columns that an attention layer's out_proj reads it by (Voita et al.,
/// 2019).
class L0Heads final : public L0 {
 public:
  struct Config {
    double weight = 0.1, keep = 0.9, learning_rate = 1e-2;
    int64_t heads = 0;
    void visit(ConfigVisitor& v);
  };
  explicit L0Heads(Config const& config);
  /// An Error where neither the settings nor the model, as a GPT, say how many heads there are.
  void begin(Module& model) override;

 protected:
  Shape gates_of(Tensor const&) const override { return {heads_, 1}; }
  Tensor gated(Tensor const& z, Tensor const& w) const override;

 private:
  int64_t heads_;
};

}  // namespace heed::nn
