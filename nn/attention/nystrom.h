// Nyströmformer.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/segments.h>

#include <algorithm>

namespace heed::nn {

/// softmax(q·k̃ᵀ)·softmax(q̃·k̃ᵀ)⁺·softmax(q̃·kᵀ)·v with `landmarks` q̃ and k̃, means of runs of positions, and the
/// pseudo-inverse by iteration (Xiong et al., "Nyströmformer", 2021, without its convolution of v): time
/// T·landmarks·dim. A softmax map rebuilt from a few rows and columns: exact where each position is a landmark. For
/// long encoders with smooth maps; it cannot hide the future, and weights may be negative.
class Nystrom final : public Part {
 public:
  struct Config {
    int64_t landmarks = 64, iterations = 6;
    void visit(ConfigVisitor& v) {
      v.field("landmarks", landmarks, "means of runs that stand for all positions");
      v.field("iterations", iterations, "of the pseudo-inverse");
    }
  };
  Nystrom(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "nystrom", "count of landmarks", own_.landmarks);
    expect_at_least(1, "nystrom", "count of iterations", own_.iterations);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const m = std::min({own_.landmarks, o.q.size(2), o.k.size(2)});
    Tensor const of_q = run_weights(o.q, m, o.query_lengths), of_k = run_weights(o.k, m, o.lengths);
    Tensor const q = matmul(of_q, o.q), k = matmul(of_k, o.k);
    // Landmarks of runs without positions stand for nothing.
    AttendOptions near = o.elsewhere(), far = o.elsewhere();
    if (o.lengths.defined()) near.sees = lengths(o.lengths), far.sees = lengths(clamp_max(o.lengths, m));
    AttendOptions between = far;
    if (o.query_lengths.defined()) also_sees(between, [&](auto at) { return at.i < read(o.query_lengths, {at.b}); });
    between.dropout = 0;
    Tensor const inverse = newton_schulz_pinv(attention_weights(q, k, between), own_.iterations);
    return {core(o.q, k, matmul(inverse, core(q, o.k, o.v, near).out), far).out, {}};
  }
  Traits traits() const override {
    return {.causal = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

 private:
  Config own_;
};

}  // namespace heed::nn
