// cosFormer.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <numbers>
#include <string>

namespace heed::nn {

/// Linear attention with the kernel relu(q)·relu(k)·cos(π/2·(i − j)/M): nearer positions weigh more, and the cosine of
/// a difference splits into two features each (Ptolemy; Qin et al., "cosFormer", 2022). For softmax-like locality
/// without exp; M bounds the length.
class CosFormer final : public ScanAttention {
 public:
  struct Config {
    int64_t reach = 0;
    ScanSettings around = {};
    void visit(ConfigVisitor& v) {
      v.field("reach", reach, "M, the longest sequence; 0: the model's block, or 4096");
      around.visit(v);
    }
  };
  CosFormer(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around),
        reach_(own.reach      ? own.reach
               : config.block ? config.block
                              : 4096) {
    check(reach_ >= 1, "cosformer", [&] {
      return Complaint{"expected a reach of 1 or more, got " + std::to_string(reach_), "0 takes the model's block"};
    });
  }
  bool spreads() const override { return false; }

 private:
  Traits kind_traits() const override {
    Traits traits = any_way();
    traits.cross = traits.equivariant = false;
    return traits;
  }
  void features(ScanOperands& o) const override {
    int64_t const t = o.q.size(2);
    check(o.past + t <= reach_, "cosformer", [&] {
      return Complaint{std::to_string(o.past + t) + " positions exceed the reach of " + std::to_string(reach_),
                       "set a longer reach"};
    });
    Tensor const angle =
        ((arange(o.past, o.past + t).to(Dtype::f64) * (std::numbers::pi / 2 / double(reach_)))).unsqueeze(1);
    Tensor const c = cos(angle).to(o.q.dtype()).to(o.q.device()), s = sin(angle).to(o.q.dtype()).to(o.q.device());
    for (Tensor* x : {&o.q, &o.k}) {
      Tensor const r = relu(*x);
      *x = cat({r * c, r * s}, -1);
    }
    o.normalize = true;
  }
  int64_t reach_;
};

}  // namespace heed::nn
