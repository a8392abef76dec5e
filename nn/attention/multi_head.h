// Multi-head attention, and what may be changed about it by parts.
#pragma once

#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// concat_h(attend(x·W_q, s·W_k, s·W_v))·W_out, s being x or a memory (Vaswani et al., 2017). Time T²·dim, memory
/// T·dim. Most kinds of attention are this with parts (part.h).
class MultiHeadAttention final : public Attention {
 public:
  explicit MultiHeadAttention(AttentionConfig const& config, Parts parts = {});
  Traits traits() const override { return around.traits({}); }
  bool selects_pairs() const override { return around.heed_options(); }
  bool spreads() const override { return around.spread(); }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override;
  void visit(Visitor& visitor) override;
  Parts* parts() override { return &around; }

  Linear q_proj, k_proj, v_proj, out_proj;
  Parts around;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override;
};

}  // namespace heed::nn
