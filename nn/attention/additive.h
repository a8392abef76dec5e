// Additive attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// s_ij = Σ_d w_hd·tanh(q_id + k_jd) (Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to
/// align and translate", 2014; Luong's "concat", 2015). No product of matrices gives it: the core's program reads q and
/// k by their features, tile by tile, so that nothing is held, at a tanh for each pair and feature, some forty times
/// the time of a product. For short sequences and narrow heads. It takes the place of scores before it: name it first.
class Additive final : public Part {
 public:
  explicit Additive(AttentionConfig const& given) : Part(given), weight(empty({given.heads, given.head_dim()})) {
    init::normal_(weight, 1 / std::sqrt(double(given.head_dim())));
    weight.requires_grad_();
  }
  void options(HeadOperands& o) const override {
    // Features first, so that neighbouring positions are read together.
    Tensor const q = o.q.transpose(2, 3), k = o.k.transpose(2, 3);
    double const share = double(k.size(1)) / double(q.size(1)), shift = double(o.k.size(2) - o.q.size(2));
    then_score(o.options, [&](auto s, auto at) {
      auto sum = constant_like(s, 0);
      auto const g = floor((at.h + 0.5) * share);
      for (int64_t d = 0; d < q.size(2); ++d) {
        double const feature = double(d);
        sum = sum + read(weight, {at.h, feature}) *
                        tanh(read(q, {at.b, at.h, feature, at.i - shift}) + read(k, {at.b, g, feature, at.j}));
      }
      return sum;
    });
  }
  bool spreads() const override { return false; }
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }

  Tensor weight;
};

}  // namespace heed::nn
