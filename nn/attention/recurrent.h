// Plain recurrent layers in attention's place.
#pragma once

#include <heed/nn/attention/attention.h>
#include <heed/nn/recurrent.h>

#include <tuple>
#include <type_traits>

namespace heed::nn {

/// h_t from x_t and h_{t−1} (Elman, 1990; LSTM: Hochreiter and Schmidhuber, 1997; GRU: Cho et al., 2014), one after the
/// other: what attention was made to replace, to compare with. The state is a vector, all gates read it, and nothing
/// runs in parallel over T; they track states that no linear recurrence here can.
template <class Cell>
class RecurrentAttention final : public Attention {
 public:
  explicit RecurrentAttention(AttentionConfig const& given)
      : Attention(given),
        cell(RecurrentConfig{.input = config.dim, .hidden = config.dim, .bias = true, .batch_first = true}) {}
  Traits traits() const override { return one_way(); }
  std::unique_ptr<AttentionState> make_state(int64_t) const override { return std::make_unique<RecurrentState>(2); }
  void visit(Visitor& visitor) override { visitor.child("cell", cell); }

  Cell cell;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    RecurrentState none(2);
    RecurrentState& state = context.state ? state_as<RecurrentState>(*context.state) : none;
    state.length += x.size(1);
    Tensor y;
    if constexpr (std::is_same_v<Cell, LSTM>)
      std::tie(y, state.tensors[0], state.tensors[1]) = cell(x, state.tensors[0], state.tensors[1]);
    else
      std::tie(y, state.tensors[0]) = cell(x, state.tensors[0]);
    return training() ? dropout(y, config.dropout) : y;
  }
};

}  // namespace heed::nn
