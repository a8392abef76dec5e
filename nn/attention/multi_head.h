// Multi-head attention.
#pragma once

#include <heed/nn/linear.h>

#include <vector>

namespace heed::nn {

/// Keys and values of past positions of one layer: [B, G, capacity, D], of which `length` are filled. An explicit
/// argument, never hidden in a module.
struct KeyValueCache {
  Tensor keys, values;
  int64_t length = 0;
  int64_t capacity = 0;
  /// Room for `positions` positions; memory is taken at the first append.
  explicit KeyValueCache(int64_t positions) : capacity(positions) {}
  /// Appends k, v [B, G, T, D]; an Error where they do not fit, or carry gradients.
  void append(Tensor const& k, Tensor const& v);
};

struct MultiHeadAttentionConfig {
  int64_t dim = 128;
  int64_t heads = 4;
  int64_t kv_heads = 0;  // 0: as many as heads; fewer share keys and values (Shazeer, 2019; Ainslie et al., 2023)
  bool bias = false;
  bool causal = true;
  bool rope = false;
  double rope_base = 10000;
  int64_t window = 0;  // keys further than this to the left are not seen; 0: no limit
  double dropout = 0;  // of the weights and of the output
};

/// What a caller may hand along with x.
struct AttentionContext {
  KeyValueCache* cache = nullptr;  // x continues the positions in it
  std::vector<Tensor>* weights =
      nullptr;  // gets this layer's attention weights [B, H, T, S], materialised, for looking
};

/// concat_h(attend(x·W_q, x·W_k, x·W_v))·W_out: [B, T, dim] → [B, T, dim] (Vaswani et al., 2017)
class MultiHeadAttention : public Layer<MultiHeadAttention> {
 public:
  explicit MultiHeadAttention(MultiHeadAttentionConfig const& config);
  Tensor forward(Tensor const& x, AttentionContext const& context = {}) const;
  void visit(Visitor& visitor) override;

  MultiHeadAttentionConfig config;
  Linear q_proj, k_proj, v_proj, out_proj;
};

}  // namespace heed::nn
