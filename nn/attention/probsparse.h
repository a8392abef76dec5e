// ProbSparse attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/part.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {

/// The u = ⌈factor·ln T⌉ queries whose scores of a sample of keys stand out most, max − mean, attend; the others get
/// the mean of all values (Zhou et al., "Informer", 2021; the sample is u keys evenly spread): time T·ln T·dim. For
/// long series in which few moments are informative. Which queries stand out is judged over the whole sequence, so that
/// it cannot hide the future.
class ProbSparse final : public Part {
 public:
  struct Config {
    double factor = 5;
    void visit(ConfigVisitor& v) { v.field("factor", factor, "queries that attend, in units of ln T"); }
  };
  ProbSparse(AttentionConfig const& given, Config const& own) : Part(given), factor_(own.factor) {
    check(factor_ > 0, "probsparse", [] { return Complaint{"expected a positive factor", "use 5"}; });
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const b = o.q.size(0), h = o.q.size(1), t = o.q.size(2), e = o.v.size(3);
    Tensor chosen;
    {
      NoGrad const off;
      int64_t const s = o.k.size(2), sampled = count(s);
      Tensor const sample = div(arange(sampled) * s, scalar(sampled, Dtype::i64), Rounding::floor).to(o.k.device());
      Tensor const scores = dense_scores(o.q, index_select(o.k, 2, sample));
      chosen = topk(amax(scores, {3}) - mean(scores, {3}), count(t), 2).indices;
    }
    auto const rows = [&](int64_t width) { return chosen.unsqueeze(3).expand({b, h, chosen.size(2), width}); };
    Tensor const active = core(gather(o.q, 2, rows(o.q.size(3))), o.k, o.v, o.elsewhere()).out;
    Tensor const idle = repeat_interleave(mean(o.v, {2}, true), h / o.v.size(1), 1).expand({b, h, t, e});
    return {scatter(idle, 2, rows(e), active), {}};
  }
  Traits traits() const override {
    return {.causal = false, .steps = false, .equivariant = false, .lengths = false, .time = Growth::subquadratic};
  }

 private:
  int64_t count(int64_t t) const {
    return std::clamp(int64_t(std::ceil(factor_ * std::log(double(t) + 1))), int64_t{1}, t);
  }
  double factor_;
};

}  // namespace heed::nn
