// Local attention with a compressive memory.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/scan_attention.h>

#include <string>

namespace heed::nn {

/// g_h·σ(q)·M/(σ(q)·z) + (1 − g_h)·softmax attention within the segment, M = Σφ(k)vᵀ and z = Σφ(k) of all earlier
/// segments, φ = elu + 1, g = σ(gate) learned for each head (Munkhdalai et al., "Leave no context behind:
/// Infini-attention", 2024). Time T·segment·dim, and a state of one segment and dim·D numbers: exact for what is near,
/// a blurred memory of everything before.
class InfiniAttention final : public Attention {
 public:
  struct Config {
    int64_t segment = 128;
    void visit(ConfigVisitor& v) { v.field("segment", segment, "positions that see each other exactly"); }
  };
  InfiniAttention(AttentionConfig const& given, Config const& own)
      : Attention(given),
        q_proj(config.dim, config.dim, config.bias),
        k_proj(config.dim, config.head_dim() * config.kv_heads, config.bias),
        v_proj(config.dim, config.head_dim() * config.kv_heads, config.bias),
        out_proj(config.dim, config.dim, config.bias),
        gate(trainable(zeros({config.heads}))),
        segment_(own.segment) {
    check(segment_ >= 1, "infini", [&] {
      return Complaint{"expected a segment of 1 position or more, got " + std::to_string(segment_), "use 128"};
    });
  }
  Traits traits() const override { return one_way(); }
  std::unique_ptr<AttentionState> make_state(int64_t) const override { return std::make_unique<RecurrentState>(4); }
  void visit(Visitor& visitor) override {
    visitor.child("q_proj", q_proj);
    visitor.child("k_proj", k_proj);
    visitor.child("v_proj", v_proj);
    visitor.child("out_proj", out_proj);
    visitor.parameter("gate", gate);
  }

  Linear q_proj, k_proj, v_proj, out_proj;
  Tensor gate;  // [H]

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    RecurrentState none(4);
    RecurrentState& state = context.state ? state_as<RecurrentState>(*context.state) : none;
    Tensor &memory = state.tensors[0], &normalizer = state.tensors[1];  // [B, G, 1, D, E], [B, G, 1, D, 1]
    Tensor &recent_k = state.tensors[2], &recent_v = state.tensors[3];  // of the segment that is not full
    int64_t const heads = config.heads, groups = config.kv_heads, batch = x.size(0), d = config.head_dim();
    Tensor k = split_heads(k_proj(x), groups), v = split_heads(v_proj(x), groups);
    int64_t const before = recent_k.defined() ? recent_k.size(2) : 0, end = before + x.size(1);
    if (before > 0) k = cat({recent_k, k}, 2), v = cat({recent_v, v}, 2);
    int64_t const full = end / segment_, all = (end + segment_ - 1) / segment_, rows = all * segment_;
    recent_k = full * segment_ < end ? k.slice(2, full * segment_, end).clone() : Tensor();
    recent_v = full * segment_ < end ? v.slice(2, full * segment_, end).clone() : Tensor();
    // [B, H, n·segment, D], queries where their keys are.
    Tensor const q = pad(split_heads(q_proj(x), heads), {0, 0, before, rows - end});
    k = pad(k, {0, 0, 0, rows - end});
    v = pad(v, {0, 0, 0, rows - end});

    auto const in_batch = [&](Tensor const& of) {
      return of.reshape({batch, of.size(1), all, segment_, d})
          .transpose(1, 2)
          .reshape({batch * all, of.size(1), segment_, d});
    };
    AttendOptions options{.causal = true};
    if (training() && config.dropout > 0) {
      options.dropout = config.dropout;
      options.draw = default_generator().next();
    }
    Tensor const near = core(in_batch(q), in_batch(k), in_batch(v), options).out;
    Tensor y = near.reshape({batch, all, heads, segment_, d}).transpose(1, 2);  // [B, H, n, segment, D]

    auto const apart = [&](Tensor const& of, int64_t count) {
      return wide(of).slice(2, 0, count * segment_).reshape({batch, of.size(1), count, segment_, d});
    };
    Tensor const phi_q = elu(apart(q, all)) + 1;
    // What is known before each segment, and after the last.
    Tensor sums = memory.defined() ? memory : zeros({batch, groups, 1, d, d}, phi_q.dtype(), x.device());
    Tensor counts = memory.defined() ? normalizer : zeros({batch, groups, 1, d, 1}, phi_q.dtype(), x.device());
    if (full > 0) {
      Tensor const phi_k = elu(apart(k, full)) + 1;
      sums = cumsum(cat({sums, matmul(phi_k.t(), apart(v, full))}, 2), 2);
      counts = cumsum(cat({counts, sum(phi_k, {3}, true).t()}, 2), 2);
    }
    memory = sums.slice(2, full, full + 1).clone();
    normalizer = counts.slice(2, full, full + 1).clone();
    auto const seen = [&](Tensor const& of) {
      Tensor const mine = of.slice(2, 0, all);
      return heads == groups ? mine : repeat_interleave(mine, heads / groups, 1);
    };
    Tensor const far = matmul(phi_q, seen(sums)) / clamp_min(matmul(phi_q, seen(counts)), 1e-6);
    y = lerp(y, far.to(y.dtype()), sigmoid(gate).view({heads, 1, 1, 1}));
    state.length += x.size(1);
    y = out_proj(join_heads(y.reshape({batch, heads, rows, d}).slice(2, before, end)));
    return training() ? dropout(y, config.dropout) : y;
  }
  int64_t segment_;
};

}  // namespace heed::nn
