// Two sequences that look at each other: co-attention, joint attention, fusion through a bottleneck.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>

#include <optional>
#include <utility>

namespace heed::nn {

/// x looks at the memory and the memory at x, each by its own multi-head attention (Lu et al., "ViLBERT"; Tan and
/// Bansal, "LXMERT", 2019): 2·T·S·dim. forward() gives x's side; both() both. tied: one set of weights, so that equal
/// inputs give equal outputs. For two modalities of equal standing.
class CoAttention final : public Attention {
 public:
  struct Config {
    bool tied = false;
    void visit(ConfigVisitor& v) { v.field("tied", tied, "both directions share their weights"); }
  };
  CoAttention(AttentionConfig const& given, Config const& own) : Attention(given), of_x(config) {
    if (!own.tied) of_memory.emplace(config);
  }
  /// What x takes from y, and y from x.
  std::pair<Tensor, Tensor> both(Tensor const& x, Tensor const& y, Tensor const& x_lengths = {},
                                 Tensor const& y_lengths = {}) const {
    MultiHeadAttention const& back = of_memory ? *of_memory : of_x;
    return {of_x(x, {.memory = y, .lengths = x_lengths, .memory_lengths = y_lengths}),
            back(y, {.memory = x, .lengths = y_lengths, .memory_lengths = x_lengths})};
  }
  Traits traits() const override { return {.causal = false, .steps = false}; }
  void visit(Visitor& visitor) override {
    visitor.child("of_x", of_x);
    if (of_memory) visitor.child("of_memory", *of_memory);
  }

  MultiHeadAttention of_x;
  std::optional<MultiHeadAttention> of_memory;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override { return of_x(x, context); }
};

/// Both sequences in one: queries, keys and values of x and of the memory by projections of their own, one attention
/// over all T + S positions (Li et al., "VisualBERT", 2019; Esser et al., "MM-DiT", 2024): (T + S)²·dim. forward()
/// gives x's side; both() both. With equal projections it is self-attention over the two sequences end to end.
class JointAttention final : public Attention {
 public:
  explicit JointAttention(AttentionConfig const& given) : Attention(given), of_x(config), of_memory(config) {}
  std::pair<Tensor, Tensor> both(Tensor const& x, Tensor const& y, Tensor const& x_lengths = {},
                                 Tensor const& y_lengths = {}) const {
    Tensor const out = attended(x, y, x_lengths, y_lengths, true);
    return {of_x.out_proj(out.slice(1, 0, x.size(1))), of_memory.out_proj(out.slice(1, x.size(1), out.size(1)))};
  }
  Traits traits() const override { return {.causal = false, .steps = false}; }
  void visit(Visitor& visitor) override {
    visitor.child("of_x", of_x);
    visitor.child("of_memory", of_memory);
  }

  MultiHeadAttention of_x, of_memory;  // their projections

 private:
  /// The heads' results, joined, of x's queries, or of both's.
  Tensor attended(Tensor const& x, Tensor const& y, Tensor const& x_lengths, Tensor const& y_lengths,
                  bool all_queries) const {
    auto const heads = [&](Linear const& a, Linear const& b, int64_t count) {
      return split_heads(y.defined() ? cat({a(x), b(y)}, 1) : a(x), count);
    };
    Tensor const q =
        all_queries ? heads(of_x.q_proj, of_memory.q_proj, config.heads) : split_heads(of_x.q_proj(x), config.heads);
    Tensor const k = heads(of_x.k_proj, of_memory.k_proj, config.kv_heads),
                 v = heads(of_x.v_proj, of_memory.v_proj, config.kv_heads);
    AttendOptions options;
    if (x_lengths.defined() || y_lengths.defined()) {
      double const t = double(x.size(1));
      Tensor const of_x_rows =
                       x_lengths.defined() ? x_lengths : full({x.size(0)}, x.size(1), Dtype::i64).to(x.device()),
                   of_y_rows =
                       y_lengths.defined() ? y_lengths : full({x.size(0)}, k.size(2), Dtype::i64).to(x.device());
      also_sees(options, [&](auto at) {
        return (at.j < read(of_x_rows, {at.b})) | ((at.j >= t) & (at.j - t < read(of_y_rows, {at.b})));
      });
    }
    return join_heads(core(q, k, v, options).out);
  }
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    return of_x.out_proj(attended(x, context.memory, context.lengths, context.memory_lengths, false));
  }
};

/// x looks at itself and at a few latents, which alone have looked at the memory: what one sequence learns of the other
/// passes a bottleneck (Nagrani et al., "Attention bottlenecks for multimodal fusion", 2021; the latents' look is the
/// Q-Former's, Li et al., 2023). latents = 0: self-attention. For memories much longer than what matters in them:
/// (S + T)·latents·dim beside T²·dim.
class BottleneckFusion final : public Attention {
 public:
  struct Config {
    int64_t latents = 4;
    void visit(ConfigVisitor& v) { v.field("latents", latents, "vectors through which the memory is seen"); }
  };
  BottleneckFusion(AttentionConfig const& given, Config const& own);
  Traits traits() const override { return {.causal = false, .steps = false}; }
  void visit(Visitor& visitor) override;

  MultiHeadAttention self;
  std::optional<MultiHeadAttention> gather;
  Tensor latents;  // [latents, dim]

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    if (!latents.defined()) return self(x, {.lengths = context.lengths});
    Tensor const seeds = latents.unsqueeze(0).expand({x.size(0), latents.size(0), latents.size(1)});
    bool const cross = context.memory.defined();
    Tensor const z = (*gather)(seeds, {.memory = cross ? context.memory : x,
                                       .memory_lengths = cross ? context.memory_lengths : context.lengths});
    // Latents first, so that what is padded stays at the end.
    AttentionContext both{.memory = cat({z, x}, 1)};
    if (context.lengths.defined()) both.lengths = context.lengths, both.memory_lengths = context.lengths + z.size(1);
    return self(x, both);
  }
};

inline BottleneckFusion::BottleneckFusion(AttentionConfig const& given, Config const& own)
    : Attention(given), self(config) {
  check(own.latents >= 0, "bottleneck", [] {
    return Complaint{"expected 0 or more latents", "pass 0 for self-attention"};
  });
  if (own.latents == 0) return;
  gather.emplace(config);
  latents = randn({own.latents, config.dim}) * 0.02;
  latents.requires_grad_();
}
inline void BottleneckFusion::visit(Visitor& visitor) {
  visitor.child("self", self);
  if (gather) visitor.child("gather", *gather);
  visitor.parameter("latents", latents);
}

}  // namespace heed::nn
