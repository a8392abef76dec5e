// Differential attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// (A₁ − λ·A₂)·V, the maps of two halves of q and k: what both attend to cancels, as noise does in a differential
/// amplifier (Ye et al., "Differential transformer", 2024). λ = exp(λ_q1·λ_k1) − exp(λ_q2·λ_k2) + λ_init,
/// λ_init = 0.8 − 0.6·exp(−0.3·layer), then each head's result is RMS-normed and multiplied by 1 − λ_init. Two passes
/// of half the depth, so values are weighed twice: about 1.5 times the time. The halves are the even and the odd
/// features, so that the pairs that rotary positions turn stay together.
class Differential final : public Part {
 public:
  explicit Differential(AttentionConfig const& given)
      : Part(given), lambda_init(0.8 - 0.6 * std::exp(-0.3 * double(given.layer))) {
    int64_t const half = given.head_dim() / 2;
    check(given.head_dim() % 2 == 0, "differential", [] {
      return Complaint{"expected an even head width", "choose a width that is a multiple of twice the heads"};
    });
    for (Tensor* t : {&lambda_q1, &lambda_k1, &lambda_q2, &lambda_k2}) {
      *t = empty({half});
      init::normal_(*t, 0.1);
      t->requires_grad_();
    }
    weight = ones({given.head_dim()}).requires_grad_();
  }
  Tensor lambda() const { return exp(sum(lambda_q1 * lambda_k1)) - exp(sum(lambda_q2 * lambda_k2)) + lambda_init; }
  Attended weigh(HeadOperands const& o, CoreStep const& next) const override {
    HeadOperands first = o, second = o;
    if (o.options.dropout > 0) second.options.draw = default_generator().next();
    first.q = every_second(o.q, 0), first.k = every_second(o.k, 0);
    second.q = every_second(o.q, 1), second.k = every_second(o.k, 1);
    Tensor const out = next(first).out - lambda().to(o.v.dtype()) * next(second).out;
    return {rms_norm(out, weight, 1e-5) * (1 - lambda_init), {}};
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("lambda_q1", lambda_q1);
    visitor.parameter("lambda_k1", lambda_k1);
    visitor.parameter("lambda_q2", lambda_q2);
    visitor.parameter("lambda_k2", lambda_k2);
    visitor.parameter("weight", weight);
  }

  double const lambda_init;
  Tensor lambda_q1, lambda_k1, lambda_q2, lambda_k2;
  Tensor weight;  // of the norm of heads

 private:
  static Tensor every_second(Tensor const& x, int64_t from) { return x.slice(3, from, Slice::end, 2).contiguous(); }
};

}  // namespace heed::nn
