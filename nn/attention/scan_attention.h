// Linear and recurrent attention: layers around scan().
#pragma once

#include <heed/nn/attention/part.h>
#include <heed/nn/attention/scan_map.h>
#include <heed/nn/linear.h>

#include <memory>

namespace heed::nn {

/// What any kind of the family may have around its recurrence; each has its own defaults.
struct ScanSettings {
  int64_t conv = 0;
  bool norm = false;
  bool gate = false;
  void visit(ConfigVisitor& v);
};

/// Heads and widths of a head; 0: heads, kv_heads and dim/heads of the configuration.
struct ScanWidths {
  int64_t query_heads = 0, key_heads = 0, value_heads = 0;
  int64_t key = 0, value = 0;
};

/// What passes through such a layer on the way to scan(): q [B, H, T, D], k [B, G, S, D], v [B, G, S, E], f32 in layers
/// of 16 bits.
struct ScanOperands : HeadOperands {
  Tensor valid = {};  // bool [B, S]: what of the source is there; undefined: all
  ScanOptions scan = {};
  // Of the delta rule, k and v being plain: [B, G, T], how much of k·kᵀS is erased and of k·vᵀ written; [B, G, T, D],
  // how much of k reads what is erased, all of v being written. Undefined: another recurrence.
  Tensor beta = {};
  Tensor feedback = {};    // [G, 1, 1]: what is erased is read by feedback·k before the state decays, not after
  bool normalize = false;  // divides by what the recurrence makes of values of 1
  Tensor weight = {};      // [B, H, T]: the scan takes weight·v
  int64_t steps = 1;       // of the scan a position
  Tensor extra = {};       // what finish() needs of features()
  ScanCall call = {};      // what channel_scan() did, where somebody looks
  RecurrentState* state = nullptr;
  size_t next_slot = 0;  // of the state
};
/// What the state holds in its next slot, and where the new value goes: nowhere without a state.
struct Carried {
  Tensor before;  // undefined at the start
  Tensor* after;
  void keep(Tensor const& value) const {
    if (after) *after = value;
  }
};
Carried carried(ScanOperands& o);

/// x [B, T, C] by a causal convolution over each channel, then SiLU; `weight` [C, width].
class ShortConv final : public Module {
 public:
  ShortConv(int64_t channels, int64_t width);
  Tensor forward(Tensor const& x, Carried const& past) const;
  void visit(Visitor& visitor) override { visitor.parameter("weight", weight); }
  Tensor weight;
};

/// S_t = D_t∘S_{t−1} + a_t(b_tᵀS_{t−1}) + k_t·v_tᵀ, o_t = S_tᵀq_t, in time and memory T·dim·D and with a state of
/// dim·D, whatever T: projections → short convolution → features and gates, what a kind is → rotary and other parts →
/// scan_core() → norm and gate → projection. Where nothing is hidden, q·(kᵀv) in two products, also over a memory.
class ScanAttention : public Attention {
 public:
  Traits traits() const override;
  bool spreads() const override { return config.causal && !q_conv && around.spread(); }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override;
  Parts* parts() override { return &around; }
  void visit(Visitor& visitor) override;

  Linear q_proj, k_proj, v_proj, out_proj;
  std::unique_ptr<Linear> gate;
  std::unique_ptr<ShortConv> q_conv, k_conv, v_conv;
  Tensor norm;  // [E]
  Parts around;

 protected:
  ScanAttention(AttentionConfig const& given, ScanSettings const& settings, ScanWidths const& widths = {});

  /// Of kinds without decay and order.
  static Traits any_way() { return {.time = Growth::linear, .state = Growth::constant}; }
  virtual Traits kind_traits() const { return one_way(); }
  /// q, k and v from o.x and o.source.
  virtual void project(ScanOperands& o) const;
  /// Feature maps of q and k, decay and the other operands of the scan.
  virtual void features(ScanOperands& o) const = 0;
  /// What o.normalize divides by, `ones` being the recurrence of values of 1 [B, H, T, 1].
  virtual Tensor divisor(Tensor const& ones, ScanOperands const&) const;
  /// [B, H, T, 1]: the share of a position's own value that finish() adds; undefined: none.
  virtual Tensor own_share(ScanOperands const&) const { return {}; }
  /// The scan's result [B, H, T, E] before norm and gate.
  virtual Tensor finish(Tensor const& out, ScanOperands const&) const { return out; }

  ScanWidths const widths;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override;
};

/// Recurrences of single numbers: every channel is a head whose state is a column of few rows. in_proj → short
/// convolution → recur() → gate → out_proj, with a state of inner·rows. Causal by nature.
class ChannelScan : public Attention {
 public:
  struct Settings {
    int64_t expand = 1;
    int64_t conv = 0;
    bool gate = false;
    void visit(ConfigVisitor& v);
  };
  Traits traits() const override;
  bool spreads() const override { return !conv; }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override;
  void visit(Visitor& visitor) override;

  Linear in_proj, out_proj;
  std::unique_ptr<Linear> gate;
  std::unique_ptr<ShortConv> conv;

 protected:
  ChannelScan(AttentionConfig const& given, Settings const& settings);
  int64_t inner() const { return in_proj.weight.size(0); }
  /// u [B, T, inner] → [B, T, inner], by scan_core().
  virtual Tensor recur(Tensor const& u, ScanOperands& o) const = 0;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override;
};
/// S_t of S ← exp(decay)∘S + k·weight·v for every channel, read by q: decay [B, C, T] or [B, C, T, N], v and weight
/// [B, T, C], q and k [B, 1, T, N] or [B, C, T, N], undefined: ones; with rates [C, N] a decay [B, C, T] times them.
/// Gives [B, T, C].
Tensor channel_scan(ScanOperands& o, Tensor const& decay, Tensor const& v, Tensor const& weight = {},
                    Tensor const& k = {}, Tensor const& q = {}, Tensor const& rates = {});

/// Softmax of logits [B, G, T] or [B, G, T, D] over the positions up to each as a recurrence: what was is multiplied by
/// exp(decay), the new position gets `weight`.
struct PrefixSoftmax {
  Tensor decay, weight;
};
PrefixSoftmax prefix_softmax(ScanOperands& o, Tensor const& logits);
/// m_t = max(m_{t−1} + forget_t, input_t) [B, H, T], and m_{t−1}: exponents that sums of exponentials are kept
/// relative to. Not differentiated: it cancels.
struct RunningMax {
  Tensor before, now;
};
RunningMax running_max(ScanOperands& o, Tensor const& forget, Tensor const& input);
/// x one position later: [B, T, C], zeros first or what the state holds.
Tensor previous(ScanOperands& o, Tensor const& x);

/// softplus⁻¹ of numbers log-uniform in [0.001, 0.1]: biases of steps of time.
Tensor time_step_bias(int64_t count);
/// x in f32 where it has 16 bits.
Tensor wide(Tensor const& x);
/// [B, T, G] → [B, G, T], wide
Tensor by_head(Tensor const& x);
/// x / |x| along the last axis
Tensor unit(Tensor const& x);
/// A trainable vector.
Tensor trainable(Tensor value);
/// log(1 − 2^(−5−h)) [1, H, 1], h = 0 … H − 1: RetNet's decays; of all heads log(gamma) where gamma > 0.
Tensor head_decays(int64_t heads, double gamma);

}  // namespace heed::nn
