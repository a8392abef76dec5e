// QK-clip (Kimi K2, 2025): where a head's largest logit exceeds a threshold, its query and key projections are shrunk
// after the step. Logits cannot explode, whatever the optimiser, and forward is untouched.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

#include <map>
#include <string>

namespace heed::nn {

/// W_q,h·√γ_h and W_k,h·√γ_h after a step in which head h had max s = τ/γ_h > τ; with grouped keys W_q,h·γ_h alone, as
/// other heads share W_k. Layers with q_proj and k_proj; an Error where a layer has none. A no-op up to τ.
class QKClip : public AttentionRegularizer {
 public:
  struct Config {
    double threshold = 100;
    void visit(ConfigVisitor& v) { v.field("threshold", threshold, "largest logit that is left alone, above 0"); }
  };
  explicit QKClip(Config const& config);
  void stepped(Module& model, int64_t step) override;

 protected:
  void after(AttentionCall& call) override;

 private:
  struct Seen {
    Tensor largest;  // [H], since the last step
    int64_t kv_heads;
  };
  double threshold_;
  std::map<std::string, Seen, std::less<>> seen_;  // by layer
};

}  // namespace heed::nn
