// Spans that heads choose.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// exp(s)·m(|i − j|) normalised, m(x) = clamp((R + z_h − x)/R, 0, 1): each head learns how far it sees, z_h in [0, 1]
/// times `longest`, with a ramp of R (Sukhbaatar et al., "Adaptive attention span in transformers", 2019). Tiles beyond
/// the span cost nothing: time T·z. Add a penalty on `span`, or spans only grow.
class AdaptiveSpan final : public Part {
 public:
  struct Config {
    int64_t longest = 1024;
    int64_t ramp = 32;
    double start = 0.5;
    void visit(ConfigVisitor& v) {
      v.field("longest", longest, "the farthest a head may see, positions");
      v.field("ramp", ramp, "over which weights fade, positions");
      v.field("start", start, "the first span, a share of `longest`");
    }
  };
  AdaptiveSpan(AttentionConfig const& given, Config const& own)
      : Part(given), span(full({given.heads}, own.start)), longest_(double(own.longest)), ramp_(double(own.ramp)) {
    check(own.longest >= 1 && own.ramp >= 1, "adaptive-span", [] {
      return Complaint{"expected a longest span and a ramp of 1 or more", "choose them in positions"};
    });
    span.requires_grad_();
  }
  void options(HeadOperands& o) const override {
    Tensor const z = clamp(span, 0, 1) * longest_;
    double const ramp = ramp_;
    also_sees(o.options, [&](auto at) { return abs(at.i - at.j) < read(z, {at.h}) + ramp; });
    then_score(o.options, [&](auto s, auto at) {
      auto const m = min((ramp + read(z, {at.h}) - abs(at.i - at.j)) / ramp, 1.);
      return s + log(max(m, 1e-30));
    });
  }
  void visit(Visitor& visitor) override { visitor.parameter("span", span); }
  Traits traits() const override { return {.cross = false, .equivariant = false}; }

  Tensor span;  // [H], shares of `longest`

 private:
  double longest_, ramp_;
};

}  // namespace heed::nn
