// Luong's attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// q·W·k with W [H, D, D] from the identity ("general"); with sigma, minus (j − c)²/(2σ²): a Gaussian window around the
/// query's own place ("local-m") or, with predict, around c = (n − 1)·σ(v·tanh(q·W_p)), n the keys it sees ("local-p")
/// (Luong, Pham and Manning, "Effective approaches to attention-based neural machine translation", 2015; weights are
/// normalised after the window, there before). For alignments that are about monotonic. Its "dot" is multi-head, its
/// "concat" is additive.
class Luong final : public Part {
 public:
  struct Config {
    double sigma = 0;
    bool predict = false;
    void visit(ConfigVisitor& v) {
      v.field("sigma", sigma, "width of the window, positions; 0: everything");
      v.field("predict", predict, "queries choose the middle of their window");
    }
  };
  Luong(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    check(own_.sigma >= 0, "luong", [] {
      return Complaint{"expected a sigma of 0 or more", "choose a width in positions"};
    });
    int64_t const d = given.head_dim();
    weight = repeat(eye(d), {given.heads, 1, 1}).requires_grad_();
    if (own_.sigma == 0 || !own_.predict) return;
    place = empty({given.heads, d, d});
    init::normal_(place, 1 / std::sqrt(double(d)));
    place.requires_grad_();
    direction = empty({given.heads, d, 1});
    init::normal_(direction, 1 / std::sqrt(double(d)));
    direction.requires_grad_();
  }
  void project(HeadOperands& o) const override { o.q = matmul(o.q, weight); }
  void options(HeadOperands& o) const override {
    if (own_.sigma == 0) return;
    double const rate = 1 / (2 * own_.sigma * own_.sigma), shift = double(o.k.size(2) - o.q.size(2));
    if (!own_.predict)
      return then_score(o.options, [&](auto s, auto at) { return s - rate * (at.j - at.i) * (at.j - at.i); });
    Tensor const share = sigmoid(matmul(tanh(matmul(o.q, place)), direction)).squeeze(3), n = key_counts(o);
    then_score(o.options, [&](auto s, auto at) {
      auto const away = at.j - read(share, {at.b, at.h, at.i - shift}) * (read(n, {at.b, o.position(at.i)}) - 1.);
      return s - rate * away * away;
    });
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("weight", weight);
    visitor.parameter("place", place);
    visitor.parameter("direction", direction);
  }
  bool spreads() const override { return !own_.predict; }
  Traits traits() const override {
    return own_.sigma == 0 ? Traits{} : Traits{.cross = own_.predict, .equivariant = false};
  }

  Tensor weight, place, direction;

 private:
  Config own_;
};

}  // namespace heed::nn
