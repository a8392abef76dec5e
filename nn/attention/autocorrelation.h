// Attention over lags.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {

/// Σ_n a_n·v_{t−τ_n}: the ⌈factor·ln T⌉ lags τ at which R(τ) = Σ_t q_t·k_{t−τ}/(T·D), read around the end, is largest,
/// weighed by softmax_n R(τ_n) (Wu et al., "Autoformer", 2021; R by FFT): T·(log T + lags)·dim. One map of lags for all
/// positions: for series with periods, whose moments repeat and do not single each other out. Around the end means that
/// the future is seen, and that all sequences of a batch are as long.
class AutoCorrelation final : public Part {
 public:
  struct Config {
    double factor = 1;
    void visit(ConfigVisitor& v) { v.field("factor", factor, "lags that are read, in units of ln T"); }
  };
  AutoCorrelation(AttentionConfig const& given, Config const& own) : Part(given), factor_(own.factor) {
    check(factor_ > 0, "auto-correlation", [] { return Complaint{"expected a positive factor", "use 1 to 3"}; });
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const b = o.q.size(0), h = o.q.size(1), t = o.q.size(2), e = o.v.size(3);
    int64_t const count = std::clamp(int64_t(std::ceil(factor_ * std::log(double(t)))), int64_t{1}, t);
    Indexed const best = topk(correlations(o.q, for_each_head(o.k, h)), count, 2);
    Tensor const weight = softmax(best.values, -1).to(o.v.dtype()), v = for_each_head(o.v, h);
    Tensor const at = arange(t).to(v.device()).view({1, 1, t, 1});
    Tensor out;
    for (int64_t n = 0; n < count; ++n) {
      Tensor const from = remainder(at - best.indices.slice(2, n, n + 1).unsqueeze(3), scalar(t, Dtype::i64));
      Tensor const term = gather(v, 2, from.expand({b, h, t, e})) * weight.slice(2, n, n + 1).unsqueeze(3);
      out = out.defined() ? out + term : term;
    }
    return {out, {}};
  }
  /// R [B, H, T] of q and k [B, H, T, D]
  static Tensor correlations(Tensor const& q, Tensor const& k) {
    Dtype const wide = q.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32;
    Tensor const of_q = rfft(q.to(wide), {.axis = 2}), of_k = rfft(k.to(wide), {.axis = 2});
    Tensor const re = of_k.slice(-1, 0, 1), im = of_k.slice(-1, 1, 2);
    Tensor const power = complex_mul(of_q, cat({re, -im}, -1));
    return mean(irfft(power, {.n = q.size(2), .axis = 2}), {3}) * (1 / double(q.size(2)));
  }
  Traits traits() const override {
    return {.causal = false,
            .cross = false,
            .steps = false,
            .equivariant = false,
            .lengths = false,
            .time = Growth::subquadratic,
            .memory = Growth::subquadratic};
  }

 private:
  double factor_;
};

}  // namespace heed::nn
