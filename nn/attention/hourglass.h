// Shortened attention.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

namespace heed::nn {

/// Runs of `factor` positions become their means, the means attend, and every position takes its run's result: time
/// T²·dim/factor² (Dai et al., "Funnel-Transformer", 2020; Nawrot et al., "Hourglass", 2022: the inner level of its
/// hierarchy, in one layer). Causal, runs end at the first position that reads them. For middle layers of long models,
/// between ones that see single positions.
class Hourglass final : public Part {
 public:
  struct Config {
    int64_t factor = 2;
    void visit(ConfigVisitor& v) { v.field("factor", factor, "positions that become one"); }
  };
  Hourglass(AttentionConfig const& given, Config const& own) : Part(given), factor_(own.factor) {
    expect_at_least(1, "hourglass", "factor", factor_);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const t = o.q.size(2);
    auto const shorter = [&](Tensor const& x, Tensor const& lengths) {
      if (!config.causal) return run_means(x, factor_, lengths).means;
      int64_t const n = (x.size(2) + factor_ - 1) / factor_;
      return run_means(pad(x, {0, 0, factor_ - 1, 0}, PadMode::replicate), factor_).means.slice(2, 0, n);
    };
    AttendOptions options = o.elsewhere();
    options.causal = config.causal;
    if (o.lengths.defined()) options.sees = [&](auto at) { return at.j * double(factor_) < read(o.lengths, {at.b}); };
    Attended const seen =
        core(shorter(o.q, o.query_lengths), shorter(o.k, o.lengths), shorter(o.v, o.lengths), options);
    return {repeat_interleave(seen.out, factor_, 2).slice(2, 0, t),
            repeat_interleave(seen.lse, factor_, 2).slice(2, 0, t)};
  }
  Traits traits() const override { return {.steps = false, .equivariant = false}; }

 private:
  int64_t factor_;
};

}  // namespace heed::nn
