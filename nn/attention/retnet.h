// Retention.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>
#include <heed/nn/position/rope.h>

#include <cmath>

namespace heed::nn {

/// S_t = γ_h·S_{t−1} + k_t·v_tᵀ, q and k turned by position, γ_h = 1 − 2^(−5−h); the output is normalised by head and
/// gated (Sun et al., "Retentive network", 2023; xPos's growing factors are the decay). Every head has its own reach,
/// fixed: cheap and stable, but it forgets whatever comes.
class Retention final : public ScanAttention {
 public:
  struct Config {
    double gamma = 0;
    bool rotate = true;
    ScanSettings around = {.norm = true, .gate = true};
    void visit(ConfigVisitor& v) {
      v.field("gamma", gamma, "decay of all heads, up to 1; 0: 1 − 2^(−5−h)");
      v.field("rotate", rotate, "turns q and k by position");
      around.visit(v);
    }
  };
  Retention(AttentionConfig const& given, Config const& own) : ScanAttention(given, own.around), own_(own) {
    check(own.gamma >= 0 && own.gamma <= 1, "retnet", [&] {
      return Complaint{"expected a decay from 0 to 1, got " + std::to_string(own.gamma), "0 gives each head its own"};
    });
    if (own.rotate) around.add("rope", std::make_unique<Rope>(config, Rope::Config{}));
  }

 private:
  void features(ScanOperands& o) const override {
    o.scan.scale = 1 / std::sqrt(double(widths.key));
    o.scan.decay = head_decays(config.heads, own_.gamma)
                       .to(o.q.dtype())
                       .to(o.q.device())
                       .expand({o.q.size(0), config.heads, o.q.size(2)});
  }
  Config own_;
};

}  // namespace heed::nn
