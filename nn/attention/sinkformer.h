// Doubly stochastic attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <cmath>

namespace heed::nn {

/// Sinkhorn's scaling of exp(s): rows and columns are divided by their sums in turn, `steps` times, so that no key can
/// collect the weight of all queries (Sander et al., "Sinkformers", 2022). One step is the softmax; in the limit
/// columns sum to 1 as rows do, which is how sinks are ruled out. Scaling needs all scores: memory H·T², and causal
/// rows cannot be scaled by columns without seeing the future. For short sequences.
class Sinkformer final : public Part {
 public:
  struct Config {
    int64_t steps = 3;
    void visit(ConfigVisitor& v) { v.field("steps", steps, "of rows and columns; odd numbers end with rows"); }
  };
  Sinkformer(AttentionConfig const& given, Config const& own) : Part(given), steps_(own.steps) {
    check(own.steps >= 1, "sinkformer", [] {
      return Complaint{"expected 1 step or more", "3 to 21 are usual; 1 is the softmax"};
    });
  }
  bool is_core() const override { return true; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    expect_softmax("sinkformer", o.options);
    return core(
        o.q, o.k, o.v, o.options,
        [steps = steps_, lengths = o.query_lengths](Tensor const& q, Tensor const& k, AttendOptions const& options) {
          Tensor const s = dense_scores(q, k, options);
          Tensor seen = s > -INFINITY;
          if (lengths.defined()) seen = seen & valid_positions(lengths, s.size(2)).unsqueeze(1).unsqueeze(3);
          // −10³⁰ instead of −∞ keeps rows and columns of padding finite; seen ones are not touched by it.
          Tensor log_p = where(seen, s, -1e30);
          for (int64_t step = 0; step < steps; ++step)
            log_p = where(seen, log_softmax(log_p, step % 2 == 0 ? 3 : 2), -1e30);
          return where(seen, exp(log_p), 0.);
        },
        false);
  }
  Traits traits() const override { return {.causal = false, .steps = false, .memory = Growth::quadratic}; }

 private:
  int64_t steps_;
};

}  // namespace heed::nn
