// Recurrent layers and their cells, with PyTorch's weight names.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/module.h>

#include <string>
#include <vector>

namespace heed::nn {

struct RecurrentConfig {
  int64_t input = 1;
  int64_t hidden = 1;
  int64_t layers = 1;
  bool bias = true;
  bool bidirectional = false;
  bool batch_first = false;
  double dropout = 0;  // between layers, in training
  int64_t proj = 0;    // an LSTM's h is projected to this width; 0 for not at all
  bool relu = false;   // max(0, x) in place of tanh in an RNN
};

/// Weights weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0, …_l0_reverse, …_l1, …, initialised
/// U(±1/√hidden) as PyTorch's.
class RecurrentBase : public Module {
 public:
  RecurrentBase(char const* name, RecurrentConfig const& config, int64_t gates);
  void visit(Visitor& visitor) override;

  RecurrentConfig config;
  std::vector<RecurrentWeights> weights;

 protected:
  RecurrentOptions options() const;
};

/// rnn() as a layer: x [T, B, input], h0 [layers·directions, B, hidden] or undefined → states, last h.
class RNN : public Layer<RNN, RecurrentBase> {
 public:
  explicit RNN(RecurrentConfig const& config) : Layer("RNN", config, 1) {}
  std::pair<Tensor, Tensor> forward(Tensor const& x, Tensor const& h0 = {}) const;
};
/// lstm() as a layer → states, last h, last c.
class LSTM : public Layer<LSTM, RecurrentBase> {
 public:
  explicit LSTM(RecurrentConfig const& config) : Layer("LSTM", config, 4) {}
  std::tuple<Tensor, Tensor, Tensor> forward(Tensor const& x, Tensor const& h0 = {}, Tensor const& c0 = {}) const;
};
/// gru() as a layer → states, last h.
class GRU : public Layer<GRU, RecurrentBase> {
 public:
  explicit GRU(RecurrentConfig const& config) : Layer("GRU", config, 3) {}
  std::pair<Tensor, Tensor> forward(Tensor const& x, Tensor const& h0 = {}) const;
};

/// Weights weight_ih, weight_hh, bias_ih, bias_hh of one step.
class RecurrentCell : public Module {
 public:
  RecurrentCell(char const* name, int64_t input, int64_t hidden, bool bias, int64_t gates);
  void visit(Visitor& visitor) override;

  RecurrentWeights weights;
};
class RNNCell : public Layer<RNNCell, RecurrentCell> {
 public:
  RNNCell(int64_t input, int64_t hidden, bool bias = true, bool relu = false)
      : Layer("RNNCell", input, hidden, bias, 1), relu(relu) {}
  Tensor forward(Tensor const& x, Tensor const& h = {}) const;

  bool relu;
};
class LSTMCell : public Layer<LSTMCell, RecurrentCell> {
 public:
  LSTMCell(int64_t input, int64_t hidden, bool bias = true) : Layer("LSTMCell", input, hidden, bias, 4) {}
  std::pair<Tensor, Tensor> forward(Tensor const& x, Tensor const& h = {}, Tensor const& c = {}) const;
};
class GRUCell : public Layer<GRUCell, RecurrentCell> {
 public:
  GRUCell(int64_t input, int64_t hidden, bool bias = true) : Layer("GRUCell", input, hidden, bias, 3) {}
  Tensor forward(Tensor const& x, Tensor const& h = {}) const;
};

}  // namespace heed::nn
