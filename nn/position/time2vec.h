// Learned waves.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// x_t + [ω_0·t + φ_0, sin(ω_i·t + φ_i)]: one line and dim − 1 waves with learned frequencies and phases (Kazemi et
/// al., "Time2Vec", 2019). For times whose periods matter; frequencies start as those of sinusoids, the line at
/// 1/block.
class Time2Vec final : public Part {
 public:
  explicit Time2Vec(AttentionConfig const& given) : Part(given) {
    std::vector<double> w{1 / double(given.block > 0 ? given.block : 1024)};
    for (int64_t i = 1; i < given.dim; ++i) w.push_back(std::pow(10000., -double(i - 1) / double(given.dim)));
    frequency = tensor(w, {given.dim}).to(Dtype::f32).requires_grad_();
    phase = zeros({given.dim}).requires_grad_();
  }
  Tensor embed(Tensor const& x, int64_t past) const override {
    Dtype const wide = is_half(x.dtype()) ? Dtype::f32 : x.dtype();  // angles of far positions need their digits
    Tensor const t = arange(past, past + x.size(1), 1, wide, x.device()).unsqueeze(1);
    Tensor const angle = t * frequency.to(wide) + phase.to(wide);
    return x + cat({angle.slice(1, 0, 1), sin(angle.slice(1, 1, config.dim))}, 1).to(x.dtype());
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("frequency", frequency);
    visitor.parameter("phase", phase);
  }
  Traits traits() const override { return {.equivariant = false}; }

  Tensor frequency, phase;
};

}  // namespace heed::nn
