#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/init.h>
#include <heed/nn/recurrent.h>

#include <cmath>

namespace heed::nn {
namespace {

void check_widths(char const* name, int64_t input, int64_t hidden) {
  check(input >= 1 && hidden >= 1, name, [&] {
    return Complaint{fmt::format("expected positive widths, got {} and {}", input, hidden),
                     "pass the width of x and of the state"};
  });
}

Tensor parameter_of(Shape const& shape, int64_t hidden) {
  Tensor t = empty(shape);
  double const bound = 1 / std::sqrt(double(hidden));
  init::uniform_(t, -bound, bound);
  return t.requires_grad_();
}

RecurrentWeights weights_of(int64_t gates, int64_t input, int64_t hidden, int64_t proj, bool bias) {
  int64_t const rows = gates * hidden;
  RecurrentWeights w{parameter_of({rows, input}, hidden), parameter_of({rows, proj ? proj : hidden}, hidden)};
  if (bias) {
    w.b_ih = parameter_of({rows}, hidden);
    w.b_hh = parameter_of({rows}, hidden);
  }
  if (proj) w.w_hr = parameter_of({proj, hidden}, hidden);
  return w;
}

void visit_weights(Visitor& visitor, RecurrentWeights& w, std::string const& suffix) {
  visitor.parameter("weight_ih" + suffix, w.w_ih);
  visitor.parameter("weight_hh" + suffix, w.w_hh);
  visitor.parameter("bias_ih" + suffix, w.b_ih);
  visitor.parameter("bias_hh" + suffix, w.b_hh);
  visitor.parameter("weight_hr" + suffix, w.w_hr);
}

}  // namespace

RecurrentBase::RecurrentBase(char const* name, RecurrentConfig const& config, int64_t gates) : config(config) {
  check_widths(name, config.input, config.hidden);
  check(config.layers >= 1 && config.dropout >= 0 && config.dropout <= 1, name, [&] {
    return Complaint{fmt::format("expected one layer or more and a dropout from 0 to 1, got {} and {}", config.layers,
                                 config.dropout),
                     "correct the configuration"};
  });
  check(config.proj >= 0 && config.proj < config.hidden && (config.proj == 0 || gates == 4), name, [&] {
    return Complaint{
        fmt::format("expected a projection below the hidden width {}, of an LSTM, got {}", config.hidden, config.proj),
        "leave proj at 0"};
  });
  int64_t const directions = config.bidirectional ? 2 : 1, out = config.proj ? config.proj : config.hidden;
  for (int64_t set = 0; set < config.layers * directions; ++set)
    weights.push_back(
        weights_of(gates, set < directions ? config.input : out * directions, config.hidden, config.proj, config.bias));
}

void RecurrentBase::visit(Visitor& visitor) {
  size_t const directions = config.bidirectional ? 2 : 1;
  for (size_t set = 0; set < weights.size(); ++set)
    visit_weights(visitor, weights[set],
                  fmt::format("_l{}{}", set / directions, set % directions == 1 ? "_reverse" : ""));
}

RecurrentOptions RecurrentBase::options() const {
  return {.bidirectional = config.bidirectional,
          .batch_first = config.batch_first,
          .relu = config.relu,
          .dropout = training() ? config.dropout : 0};
}

std::pair<Tensor, Tensor> RNN::forward(Tensor const& x, Tensor const& h0) const {
  return rnn(x, h0, weights, options());
}
std::tuple<Tensor, Tensor, Tensor> LSTM::forward(Tensor const& x, Tensor const& h0, Tensor const& c0) const {
  return lstm(x, h0, c0, weights, options());
}
std::pair<Tensor, Tensor> GRU::forward(Tensor const& x, Tensor const& h0) const {
  return gru(x, h0, weights, options());
}

RecurrentCell::RecurrentCell(char const* name, int64_t input, int64_t hidden, bool bias, int64_t gates) {
  check_widths(name, input, hidden);
  weights = weights_of(gates, input, hidden, 0, bias);
}
void RecurrentCell::visit(Visitor& visitor) { visit_weights(visitor, weights, ""); }

Tensor RNNCell::forward(Tensor const& x, Tensor const& h) const { return rnn_cell(x, h, weights, relu); }
std::pair<Tensor, Tensor> LSTMCell::forward(Tensor const& x, Tensor const& h, Tensor const& c) const {
  return lstm_cell(x, h, c, weights);
}
Tensor GRUCell::forward(Tensor const& x, Tensor const& h) const { return gru_cell(x, h, weights); }

}  // namespace heed::nn
