// Learned feature maps.
#pragma once

#include <heed/nn/attention/scan_attention.h>

namespace heed::nn {

/// Linear attention with a feature map that is learned, W [H, D, D] for q and for k: `relu(x·W + b)` (Kasai et al.,
/// "Finetuning pretrained transformers into RNNs", T2R, 2021), or softmax([x·W, −x·W]), positive and spiky as softmax's
/// weights are (Zhang et al., "The hedgehog & the porcupine", 2024). Made to take the place of softmax in a trained
/// model: W starts as the identity.
class LearnedFeatures : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  LearnedFeatures(AttentionConfig const& given, Config const& own, bool spiky)
      : ScanAttention(given, own.around),
        q_map(map_of(config.heads)),
        k_map(map_of(config.kv_heads)),
        q_bias(spiky ? Tensor() : trainable(zeros({config.heads, 1, widths.key}))),
        k_bias(spiky ? Tensor() : trainable(zeros({config.kv_heads, 1, widths.key}))) {}
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.parameter("q_map", q_map);
    visitor.parameter("k_map", k_map);
    visitor.parameter("q_bias", q_bias);
    visitor.parameter("k_bias", k_bias);
  }
  static Tensor phi(Tensor const& x, Tensor const& map, Tensor const& bias) {
    Tensor const y = matmul(x, wide(map));
    return bias.defined() ? relu(y + wide(bias)) : softmax(cat({y, -y}, -1));
  }

  Tensor q_map, k_map, q_bias, k_bias;

 private:
  Tensor map_of(int64_t heads) const {
    return trainable(eye(widths.key).unsqueeze(0).expand({heads, widths.key, widths.key}).clone());
  }
  Traits kind_traits() const override { return any_way(); }
  void features(ScanOperands& o) const override {
    o.q = phi(o.q, q_map, q_bias);
    o.k = phi(o.k, k_map, k_bias);
    o.normalize = true;
  }
};

struct Hedgehog final : LearnedFeatures {
  Hedgehog(AttentionConfig const& given, Config const& own) : LearnedFeatures(given, own, true) {}
};
struct TransformerToRnn final : LearnedFeatures {
  TransformerToRnn(AttentionConfig const& given, Config const& own) : LearnedFeatures(given, own, false) {}
};

}  // namespace heed::nn
