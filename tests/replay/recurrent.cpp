// torch.nn's recurrent modules.
#include "replay.h"

namespace heed::replay {
namespace {

/// The weights of one cell; `suffix` is "" for a cell, else "_l0", "_l0_reverse", …
RecurrentWeights weights_of(Case const& c, std::string const& suffix) {
  return {c("weight_ih" + suffix), c("weight_hh" + suffix), c.maybe("bias_ih" + suffix), c.maybe("bias_hh" + suffix),
          c.maybe("weight_hr" + suffix)};
}

/// All layers and directions that the file has weights of.
std::vector<RecurrentWeights> all_weights(Case const& c) {
  std::vector<RecurrentWeights> found;
  for (int layer = 0; c.maybe("weight_ih_l" + std::to_string(layer)).defined(); ++layer) {
    std::string const suffix = "_l" + std::to_string(layer);
    found.push_back(weights_of(c, suffix));
    if (c.maybe("weight_ih" + suffix + "_reverse").defined()) found.push_back(weights_of(c, suffix + "_reverse"));
  }
  if (found.empty()) throw Malformed("expected a tensor input.weight_ih_l0");
  return found;
}

RecurrentOptions options(Case const& c) {
  if (c.real("dropout", 0) != 0 && c.integer("num_layers", 1) > 1) throw Lacking("a comparison of random numbers");
  return {.bidirectional = c.maybe("weight_ih_l0_reverse").defined(),
          .batch_first = c.flag("batch_first"),
          .relu = c.text("nonlinearity", "tanh") == "relu"};
}

Outputs lstm_layers(Case const& c) {
  auto const [y, h, cell] = lstm(c(0, "input"), c.maybe(1, "h0|hx"), c.maybe(2, "c0|cx"), all_weights(c), options(c));
  return {y, h, cell};
}

// clang-format off
constexpr Row rows[] = {
    {"nn.GRU", [](Case const& c) -> Outputs { return gru(c(0, "input"), c.maybe(1, "h0|hx"), all_weights(c), options(c)); }},
    {"nn.GRUCell", [](Case const& c) -> Outputs { return gru_cell(c(0, "input"), c.maybe(1, "h0|hx"), weights_of(c, "")); }},
    {"nn.LSTM", lstm_layers},
    {"nn.LSTMCell", [](Case const& c) -> Outputs {
       return lstm_cell(c(0, "input"), c.maybe(1, "h0|hx"), c.maybe(2, "c0|cx"), weights_of(c, ""));
     }},
    {"nn.RNN", [](Case const& c) -> Outputs { return rnn(c(0, "input"), c.maybe(1, "h0|hx"), all_weights(c), options(c)); }},
    {"nn.RNNCell", [](Case const& c) -> Outputs {
       return rnn_cell(c(0, "input"), c.maybe(1, "h0|hx"), weights_of(c, ""), c.text("nonlinearity", "tanh") == "relu");
     }},
};
// clang-format on

}  // namespace

std::span<Row const> recurrent_rows() { return rows; }

}  // namespace heed::replay
