// What every kind of attention is: a layer from sequence to sequence, what it may be told, and what it carries from
// step to step.
#pragma once

#include <heed/engine/score.h>
#include <heed/nn/config.h>
#include <heed/nn/module.h>

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace heed::nn {

/// What all kinds share; each kind's own settings stand beside it.
struct AttentionConfig {
  int64_t dim = 128;
  int64_t heads = 4;
  int64_t kv_heads = 0;  // 0: as many as heads; fewer share keys and values (Shazeer, 2019; Ainslie et al., 2023)
  bool bias = false;     // of the projections
  bool causal = true;    // a position sees itself and what comes before
  double dropout = 0;    // of the weights and of the output
  int64_t block = 0;     // the longest sequence, for kinds whose parameters depend on it; 0: not known
  int64_t layer = 0;     // the place in a stack of `layers`, for kinds that depend on it
  int64_t layers = 1;
  int64_t head_dim() const { return dim / heads; }
};
/// The same with kv_heads filled in; an Error where widths and heads do not fit.
AttentionConfig checked(AttentionConfig config);

/// How a cost grows with the length T of the sequence.
enum class Growth { constant, linear, subquadratic, quadratic };
std::string_view name(Growth growth);

/// What a kind can do. A part (part.h) takes away what it cannot.
struct Traits {
  bool causal = true;               // the future can be hidden
  bool bidirectional = true;        // it can be seen, too
  bool cross = true;                // keys and values may come from a memory of another length
  bool steps = true;                // decodes step by step: make_state()
  bool equivariant = true;          // permuting x permutes the result, where nothing is hidden
  bool lengths = true;              // takes sequences of several lengths in one batch
  bool pools = false;               // gives [B, M, dim], M not T
  Growth time = Growth::quadratic;  // of a pass
  Growth memory = Growth::linear;   // of a pass, forward and backward
  Growth state = Growth::linear;    // of what is carried from step to step
};
/// Of kinds that look only backwards in time, at a cost and with a state that do not grow with what lies behind.
inline Traits one_way() {
  return {
      .bidirectional = false, .cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
}
/// What both can do.
Traits both(Traits const& a, Traits const& b);

/// What a layer carries from step to step: an explicit argument, never hidden in a module.
class AttentionState {
 public:
  AttentionState() = default;
  AttentionState(AttentionState const&) = delete;
  AttentionState& operator=(AttentionState const&) = delete;
  virtual ~AttentionState() = default;
  virtual int64_t bytes() const = 0;
  int64_t length = 0;  // positions seen
};

/// Keys and values of past positions: [B, G, rows, D]. Without a window all are kept; with one the first `sinks` and
/// the last `window` of the others.
class KeyValueCache final : public AttentionState {
 public:
  static constexpr int64_t unlimited = INT64_MAX;
  /// Room for `positions` positions; memory is taken at the first append, and no more than a window needs.
  explicit KeyValueCache(int64_t positions) : capacity(positions) {}
  /// Takes k, v [B, G, T, D] of the next T positions, and gives all rows (keys, values) that their queries may see,
  /// oldest first. An Error where they do not fit, or carry gradients.
  std::pair<Tensor, Tensor> append(Tensor const& k, Tensor const& v);
  int64_t bytes() const override;

  int64_t capacity;
  int64_t window = unlimited;  // positions before its own that a query sees
  int64_t sinks = 0;
  Tensor keys, values;  // of which the first `filled` rows count
  int64_t filled = 0;
};

/// Tensors that a recurrence carries; undefined before the first step.
class RecurrentState final : public AttentionState {
 public:
  explicit RecurrentState(size_t count) : tensors(count) {}
  int64_t bytes() const override;
  std::vector<Tensor> tensors;
};

/// States of the layers that a layer is made of.
class StateList final : public AttentionState {
 public:
  int64_t bytes() const override;
  std::vector<std::unique_ptr<AttentionState>> states;
};

namespace detail {
[[noreturn]] void fail_state();
}
/// `state` as the kind that a layer makes; an Error where it is another's.
template <class State>
State& state_as(AttentionState& state) {
  auto* const own = dynamic_cast<State*>(&state);
  if (!own) detail::fail_state();
  return *own;
}

/// What a caller may hand along with x.
struct AttentionContext {
  AttentionState* state = nullptr;  // x continues the positions in it
  Tensor memory = {};               // [B, S, dim]: keys and values come from it; undefined: from x
  Tensor lengths = {};              // i64 [B]: of x, only so many positions of each sequence are there
  Tensor memory_lengths = {};       // i64 [B]: and of memory
  MaskMod sees = {};                // only these pairs: documents(ids) of packed sequences, the edges of a graph
  Tensor* first_values = nullptr;   // values of a stack's first layer, which sets them (value residual)
};

class Parts;  // part.h

/// [B, T, dim] → [B, T, dim] ([B, M, dim] for those that pool).
class Attention : public Layer<Attention> {
 public:
  Tensor operator()(Tensor const& x, AttentionContext const& context = {}) const {
    return Layer::operator()(x, context);
  }
  /// What stands behind lengths is taken as zeros and never seen, so that even NaN there changes nothing.
  Tensor forward(Tensor const& x, AttentionContext const& context = {}) const;
  virtual Traits traits() const { return {}; }
  /// Whether it heeds AttentionContext::sees.
  virtual bool selects_pairs() const { return false; }
  /// Whether a sequence may be spread over several places (sequence.h).
  virtual bool spreads() const { return false; }
  /// An empty state for `positions` positions; an Error for kinds that do not decode step by step.
  virtual std::unique_ptr<AttentionState> make_state(int64_t positions) const;

  /// What parts may be added to; none for kinds that take none.
  virtual Parts* parts() { return nullptr; }

  AttentionConfig const config;

 protected:
  explicit Attention(AttentionConfig const& given) : config(checked(given)) {}

 private:
  /// forward() of clean operands. `context.memory` stays undefined for self-attention.
  virtual Tensor mix(Tensor const& x, AttentionContext const& context) const = 0;
};

/// [B, T, heads·D] → [B, heads, T, D], a view
Tensor split_heads(Tensor const& x, int64_t heads);
/// [B, H, T, D] → [B, T, H·D]
Tensor join_heads(Tensor const& x);
/// bool [B, T]: t < lengths[b]
Tensor valid_positions(Tensor const& lengths, int64_t t);

}  // namespace heed::nn
