// Rows of attention should not overlap: ‖A·Aᵀ − I‖² (Lin et al., A structured self-attentive sentence embedding, 2017).
// Over heads (their hops): what each query's H rows share, and how far each is from resting on one key. Over queries:
// how alike the rows of one map are, for short sequences: its time is O(T²·S). It rewards peaked rows, so it cures
// redundancy and not concentration.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// weight·mean over (b, i) of ‖M − I‖_F², M_gh = Σ_j a_gij·a_hij; or over (b, h) of ‖A·Aᵀ − I‖_F²/T.
class AttentionOrthogonality : public AttentionPenalty {
 public:
  struct Config {
    double weight = 0.01;
    bool queries = false;
    void visit(ConfigVisitor& v) {
      v.field("weight", weight, "factor of the penalty in the loss");
      v.field("queries", queries, "what should not overlap: the queries of one head, else the heads");
    }
  };
  explicit AttentionOrthogonality(Config const& config)
      : AttentionPenalty("attention-orthogonality", config.weight), config_(config) {}

 protected:
  Tensor measure(AttentionCall const& call) const override {
    int64_t const batch = call.q.size(0), heads = call.q.size(1), t = call.q.size(2);
    if (!config_.queries) {
      Tensor const total = sum_over_rows(call, [](Tensor const& rows) {
        Tensor const a = rows.transpose(1, 2);  // [B, rows, H, S]
        return sum(square(matmul(a, a.transpose(2, 3)) - eye(a.size(2), -1, a.dtype(), a.device())));
      });
      return total / double(std::max(batch * t, int64_t{1}));
    }
    return row_products(call) / double(std::max(batch * heads * t, int64_t{1}));
  }

 private:
  Config config_;
};

}  // namespace heed::nn
