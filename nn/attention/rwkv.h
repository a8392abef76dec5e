// RWKV, from the fourth version to the seventh.
#pragma once

#include <heed/nn/attention/scan_attention.h>

#include <cmath>

namespace heed::nn {

/// A mixture of each position with the one before, with shares for each feature: what RWKV projects.
class TokenShift final : public Module {
 public:
  explicit TokenShift(int64_t dim) : share(trainable(full({dim}, 0.5))) {}
  Tensor forward(Tensor const& x, Tensor const& before) const { return x + (before - x) * share; }
  void visit(Visitor& visitor) override { visitor.parameter("share", share); }
  Tensor share;
};

/// σ(r_t)·(Σ_{s<t} exp(k_s − (t−1−s)·w)·v_s + exp(u + k_t)·v_t) / (the same with v = 1), every channel for itself with
/// a decay w and a bonus u for the present (Peng et al., "RWKV", 2023, RWKV-4). Sums are kept relative to a running
/// maximum.
class Rwkv4 final : public ChannelScan {
 public:
  struct Config {
    Settings around = {};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  Rwkv4(AttentionConfig const& given, Config const& own)
      : ChannelScan(given, own.around),
        r_shift(config.dim),
        k_shift(config.dim),
        r_proj(config.dim, inner(), false),
        k_proj(config.dim, inner(), false),
        log_decay(trainable(linspace(-5, 3, inner()))),
        bonus(trainable(full({inner()}, std::log(0.3)))) {}
  bool spreads() const override { return false; }
  void visit(Visitor& visitor) override {
    ChannelScan::visit(visitor);
    visitor.child("r_shift", r_shift);
    visitor.child("k_shift", k_shift);
    visitor.child("r_proj", r_proj);
    visitor.child("k_proj", k_proj);
    visitor.parameter("log_decay", log_decay);
    visitor.parameter("bonus", bonus);
  }

  TokenShift r_shift, k_shift;
  Linear r_proj, k_proj;
  Tensor log_decay, bonus;

 private:
  Tensor recur(Tensor const& u, ScanOperands& o) const override {
    Tensor const before = previous(o, o.x);
    Tensor const r = sigmoid(wide(r_proj(r_shift.forward(o.x, before))));
    Tensor const k = by_head(k_proj(k_shift.forward(o.x, before))), v = wide(u).transpose(1, 2);  // [B, C, T]
    Tensor const forget = (-exp(wide(log_decay))).unsqueeze(-1).expand(k.shape());
    auto const m = running_max(o, forget, k);
    // Numerator and denominator of what was, relative to exp(m.before).
    Carried const past = carried(o);
    Tensor const one = ones({k.size(0), 1, k.size(2), 1}, k.dtype(), k.device());
    Tensor const weight = exp(k - m.now), added = stack({v, ones_like(v.detach())}, -1) * weight.unsqueeze(-1);
    ScanOptions const options{.decay = forget + (m.before - m.now), .initial = past.before, .inclusive = false};
    Scanned const sums = scan_core(one, one, added, options);
    past.keep(sums.state);
    Tensor const present = k + wide(bonus).unsqueeze(-1), most = maximum(m.before, present.detach());
    Tensor const was = exp(m.before - most), is = exp(present - most);
    Tensor const numerator = sums.out.select(3, 0) * was + is * v, denominator = sums.out.select(3, 1) * was + is;
    if (scans_are_seen())
      o.call = {.q = one,
                .k = one,
                .options = options,
                .weight = weight,
                .gain = was / denominator,
                .own = is / denominator,
                .v = v.transpose(1, 2)};
    return r * (numerator / denominator).transpose(1, 2);
  }
};

/// o_t = S_{t−1}ᵀr_t + (r_t·(u∘k_t))·v_t, S_t = Diag(w_t)·S_{t−1} + k_t·v_tᵀ, w = exp(−exp(w_0 + tanh(x·A)·B)): matrix
/// states and decays of the data (Peng et al., "Eagle and Finch", 2024, RWKV-6; its mixtures of neighbours are learned
/// constants here).
class Rwkv6 : public ScanAttention {
 public:
  struct Config {
    int64_t rank = 32;
    ScanSettings around = {.norm = true, .gate = true};
    void visit(ConfigVisitor& v) {
      v.field("rank", rank, "width between the two matrices of the decay");
      around.visit(v);
    }
  };
  Rwkv6(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around),
        r_shift(config.dim),
        k_shift(config.dim),
        v_shift(config.dim),
        w_shift(config.dim),
        decay_in(config.dim, own.rank, false),
        decay(own.rank, widths.key_heads * widths.key),
        bonus(trainable(full({config.heads, 1, widths.key}, 0.5))) {}
  bool spreads() const override { return false; }
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("r_shift", r_shift);
    visitor.child("k_shift", k_shift);
    visitor.child("v_shift", v_shift);
    visitor.child("w_shift", w_shift);
    visitor.child("decay_in", decay_in);
    visitor.child("decay", decay);
    visitor.parameter("bonus", bonus);
  }

  TokenShift r_shift, k_shift, v_shift, w_shift;
  Linear decay_in, decay;
  Tensor bonus;

 protected:
  void project(ScanOperands& o) const override {
    o.source = previous(o, o.x);
    o.q = wide(split_heads(q_proj(r_shift.forward(o.x, o.source)), widths.query_heads));
    o.k = wide(split_heads(k_proj(k_shift.forward(o.x, o.source)), widths.key_heads));
    o.v = wide(split_heads(v_proj(v_shift.forward(o.x, o.source)), widths.value_heads));
  }
  /// What the two matrices make of x and its neighbours, [B, G, T, D].
  Tensor decay_logits(ScanOperands const& o) const {
    return wide(split_heads(decay(tanh(decay_in(w_shift.forward(o.x, o.source)))), widths.key_heads));
  }
  Tensor own_share(ScanOperands const& o) const override { return sum(o.q * wide(bonus) * by_query(o.k), {-1}, true); }
  Tensor finish(Tensor const& out, ScanOperands const& o) const override { return out + own_share(o) * by_query(o.v); }

 private:
  Tensor by_query(Tensor const& x) const {
    int64_t const shared = config.heads / widths.key_heads;
    return shared == 1 ? x : repeat_interleave(x, shared, 1);
  }
  void features(ScanOperands& o) const override {
    o.scan.decay = -exp(decay_logits(o) - 2.);
    o.scan.inclusive = false;
  }
};

/// S_t = Diag(w_t)·S_{t−1} − (a_t∘κ_t)(κ_tᵀS_{t−1}) + k̃_t·v_tᵀ, o_t = S_tᵀr_t + (r_t·(u∘k̃_t))·v_t: a decay of each
/// feature, and a delta rule whose removal key κ, rate a and written key k̃ = k∘(1 + (a − 1)∘α) are apart (Peng et al.,
/// "RWKV-7 Goose", 2025). Its transitions can track states that diagonal ones cannot.
class Rwkv7 final : public Rwkv6 {
 public:
  Rwkv7(AttentionConfig const& given, Config const& own)
      : Rwkv6(given, own),
        rate_in(config.dim, own.rank, false),
        rate(own.rank, widths.key_heads * widths.key),
        removal(trainable(ones({widths.key_heads, 1, widths.key}))),
        replacement(trainable(ones({widths.key_heads, 1, widths.key}))) {}
  void visit(Visitor& visitor) override {
    Rwkv6::visit(visitor);
    visitor.child("rate_in", rate_in);
    visitor.child("rate", rate);
    visitor.parameter("removal", removal);
    visitor.parameter("replacement", replacement);
  }

  Linear rate_in, rate;
  Tensor removal, replacement;

 private:
  void features(ScanOperands& o) const override {
    Tensor const a = sigmoid(wide(split_heads(rate(rate_in(o.x)), widths.key_heads)));
    Tensor const removed = unit(o.k * wide(removal));
    o.k = o.k * ((a - 1.) * wide(replacement) + 1.);
    o.scan.decay = sigmoid(decay_logits(o)) * -std::exp(-0.5);
    o.scan.a = -(a * removed);
    o.scan.b = removed;
  }
};

}  // namespace heed::nn
