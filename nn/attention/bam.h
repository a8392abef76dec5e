// Channels and places at once.
#pragma once

#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/spatial_map.h>

namespace heed::nn {

/// x + x ⊙ σ(M(mean_T x) + S(x)): M two layers, S two dilated convolutions of three taps in a narrower width (Park et
/// al., "BAM", 2018, without its batch norms): T·dim²/reduction. Where "cbam" takes channels and places in turns. For
/// the ends of stages of a vision model.
class BottleneckGate final : public Attention {
 public:
  struct Config {
    int64_t reduction = 4, dilation = 4, width = 0;
    void visit(ConfigVisitor& v) {
      v.field("reduction", reduction, "the inner width is dim/reduction");
      v.field("dilation", dilation, "distance of the convolutions' taps");
      v.field("width", width, "columns of the grid; 0: a sequence");
    }
  };
  BottleneckGate(AttentionConfig const& given, Config const& own)
      : Attention(given),
        squeeze(config.dim, own.reduction),
        narrow(config.dim, squeeze.fc1.weight.size(0)),
        first(narrow.weight.size(0), narrow.weight.size(0), 3, own.width, own.dilation),
        second(narrow.weight.size(0), narrow.weight.size(0), 3, own.width, own.dilation),
        single(narrow.weight.size(0), 1) {}
  Traits traits() const override {
    return {.causal = false, .cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.child("squeeze", squeeze);
    visitor.child("narrow", narrow);
    visitor.child("first", first);
    visitor.child("second", second);
    visitor.child("single", single);
  }

  Squeeze squeeze;
  Linear narrow;
  SpatialMap first, second;
  Linear single;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    auto const clean = [&](Tensor const& of) { return only_there(relu(of), context.lengths); };
    Tensor const places = single(clean(second(clean(first(clean(narrow(x)))))));
    return x + x * sigmoid(squeeze(position_mean(x, context.lengths)) + places);
  }
};

}  // namespace heed::nn
