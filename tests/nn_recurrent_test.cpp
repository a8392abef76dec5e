// Recurrent layers, and norms with running statistics: names, state, modes.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/nn/norm.h>
#include <heed/tests/support/op_case.h>

#include <set>
#include <string>
#include <vector>

using namespace heed;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

std::vector<std::string> names(nn::Module& module) {
  std::vector<std::string> list;
  for (auto const& entry : nn::state_dict(module)) list.push_back(entry.name);
  return list;
}

Tensor some(Shape const& shape, uint32_t key = 1) { return numbers(shape, key, Dtype::f32); }

}  // namespace

TEST_CASE("state_dict: PyTorch's names of recurrent weights, and their shapes") {
  nn::LSTM both({.input = 3, .hidden = 4, .layers = 2, .bidirectional = true});
  std::vector<std::string> expected;
  for (char const* suffix : {"_l0", "_l0_reverse", "_l1", "_l1_reverse"})
    for (char const* name : {"weight_ih", "weight_hh", "bias_ih", "bias_hh"})
      expected.push_back(std::string(name) + suffix);
  CHECK(names(both) == expected);
  CHECK(both.weights[0].w_ih.shape() == Shape{16, 3});
  CHECK(both.weights[2].w_ih.shape() == Shape{16, 8});
  nn::LSTM projected({.input = 3, .hidden = 4, .layers = 2, .bias = false, .proj = 2});
  CHECK(names(projected) == std::vector<std::string>{"weight_ih_l0", "weight_hh_l0", "weight_hr_l0", "weight_ih_l1",
                                                     "weight_hh_l1", "weight_hr_l1"});
  CHECK(projected.weights[1].w_ih.shape() == Shape{16, 2});
  nn::GRUCell cell(3, 4);
  CHECK(names(cell) == std::vector<std::string>{"weight_ih", "weight_hh", "bias_ih", "bias_hh"});
  CHECK(cell.weights.w_ih.shape() == Shape{12, 3});
  for (Tensor const& p : nn::parameters(both)) {
    CHECK(p.requires_grad());
    CHECK(amax(abs(p.detach().flatten()), {0}).item() <= 0.5);
  }
}

TEST_CASE("a layer is its cell over time") {
  Tensor const x = some({5, 2, 3});
  nn::LSTM lstm({.input = 3, .hidden = 4});
  nn::LSTMCell cell(3, 4);
  cell.weights = lstm.weights[0];
  auto const [y, last_h, last_c] = lstm(x);
  Tensor h, c;
  for (int64_t t = 0; t < 5; ++t) {
    std::tie(h, c) = cell(x.select(0, t), h, c);
    CHECK(test::differs(y.select(0, t), h, 1e-6) == "");
  }
  CHECK(test::differs(last_h.squeeze(0), h, 1e-6) == "");
  CHECK(test::differs(last_c.squeeze(0), c, 1e-6) == "");

  nn::GRU gru({.input = 3, .hidden = 4, .batch_first = true});
  nn::GRUCell gru_cell(3, 4);
  gru_cell.weights = gru.weights[0];
  Tensor const states = gru(x.transpose(0, 1)).first;
  nn::RNN rnn({.input = 3, .hidden = 4, .relu = true});
  nn::RNNCell rnn_cell(3, 4, true, true);
  rnn_cell.weights = rnn.weights[0];
  Tensor const simple = rnn(x).first;
  Tensor g, r;
  for (int64_t t = 0; t < 5; ++t) {
    g = gru_cell(x.select(0, t), g);
    r = rnn_cell(x.select(0, t), r);
    CHECK(test::differs(states.select(1, t), g, 1e-6) == "");
    CHECK(test::differs(simple.select(0, t), r, 1e-6) == "");
  }
}

TEST_CASE("dropout between layers acts in training only; gradients reach every weight") {
  nn::GRU gru({.input = 3, .hidden = 4, .layers = 2, .dropout = 0.5});
  Tensor const x = some({6, 2, 3});
  CHECK(!same_bits(gru(x).first, gru(x).first));
  nn::eval(gru);
  CHECK(same_bits(gru(x).first, gru(x).first));
  sum(gru(x).first).backward();
  for (Tensor const& p : nn::parameters(gru)) CHECK(p.grad().defined());
}

TEST_CASE("recurrent layers: bad configurations and bad input") {
  CHECK(error_of([] { nn::LSTM({.input = 0, .hidden = 4}); }).find("LSTM") != std::string::npos);
  CHECK(error_of([] { nn::GRU({.input = 3, .hidden = 4, .layers = 0}); }).find("GRU") != std::string::npos);
  CHECK(error_of([] { nn::GRU({.input = 3, .hidden = 4, .proj = 2}); }).find("projection") != std::string::npos);
  CHECK(error_of([] { nn::RNNCell(3, 0); }).find("RNNCell") != std::string::npos);
  nn::LSTM lstm({.input = 3, .hidden = 4});
  CHECK(error_of([&] { lstm(ones({5, 2, 2})); }).find("w_ih of shape [16, 2]") != std::string::npos);
}

TEST_CASE("batch norm: training moves the statistics that evaluation reads") {
  nn::BatchNorm1d norm({.channels = 3});
  CHECK(names(norm) ==
        std::vector<std::string>{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"});
  CHECK(nn::named_parameters(norm).size() == 2);
  Tensor const x = some({8, 3}) * 2.0 + 1.0;
  Tensor const y = norm(x);
  CHECK(test::differs(mean(y, {0}), zeros({3}), 1e-5) == "");
  CHECK(norm.num_batches_tracked.item<int64_t>() == 1);
  CHECK(test::differs(norm.running_mean, mean(x, {0}) * 0.1, 1e-6) == "");
  CHECK(test::differs(norm.running_var, var(x, {0}) * 0.1 + 0.9, 1e-6) == "");
  for (int step = 0; step < 200; ++step) norm(x);
  nn::eval(norm);
  Tensor const kept = norm.running_mean.clone();
  Tensor const evaluated = norm(x);
  CHECK(same_bits(norm.running_mean, kept));
  CHECK(norm.num_batches_tracked.item<int64_t>() == 201);
  CHECK(test::differs(evaluated, (x - mean(x, {0})) * rsqrt(var(x, {0}) + 1e-5), 1e-5) == "");
  CHECK(error_of([&] { norm(ones({2, 3, 4, 5})); }).find("BatchNorm") != std::string::npos);

  int calls = 0;
  HookHandle seen = nn::on_forward("**", [&](nn::ModuleCall const&) { return ++calls, Tensor(); });
  norm(x);
  seen.remove();
  CHECK(calls == 1);

  // Without momentum the running statistics are the average of all batches, each counted once where it is recomputed.
  nn::BatchNorm1d average({.channels = 3, .momentum = {}});
  Tensor total = zeros({3});
  for (int batch = 1; batch <= 3; ++batch) {
    Tensor data = normal(Shape{8, 3}, batch, 1);
    data.requires_grad_();
    total = total + mean(data.detach(), {0});
    sum(recompute([&](Tensor const& t) { return average(t); }, data)).backward();
    CHECK(test::differs(average.running_mean, total / double(batch), 1e-6) == "");
    CHECK(average.num_batches_tracked.item() == batch);
  }
  nn::BatchNorm2d other({.channels = 3}), loaded({.channels = 3});
  other(some({2, 3, 4, 4}));
  nn::load_state_dict(loaded, nn::state_dict(other));
  CHECK(same_bits(loaded.running_var, other.running_var));
  CHECK(loaded.num_batches_tracked.item<int64_t>() == 1);
  nn::BatchNorm3d without({.channels = 2, .affine = false, .track_running_stats = false});
  CHECK(names(without).empty());
  nn::eval(without);
  CHECK(without(some({2, 2, 3, 2, 2})).shape() == Shape{2, 2, 3, 2, 2});
}

TEST_CASE("group and instance norm") {
  nn::GroupNorm group(2, 4);
  CHECK(names(group) == std::vector<std::string>{"weight", "bias"});
  Tensor const x = some({3, 4, 5});
  CHECK(same_bits(group(x), group_norm(x, 2, group.weight, group.bias)));
  CHECK(error_of([] { nn::GroupNorm(3, 4); }).find("GroupNorm") != std::string::npos);
  nn::InstanceNorm1d instance({.channels = 4, .affine = false, .track_running_stats = false});
  Tensor const y = instance(x);
  CHECK(test::differs(mean(y, {2}), zeros({3, 4}), 1e-5) == "");
  CHECK(same_bits(instance(x.select(0, 1)), y.select(0, 1)));
  nn::InstanceNorm2d tracked({.channels = 4});
  tracked(some({3, 4, 5, 5}));
  CHECK(tracked.num_batches_tracked.item<int64_t>() == 1);
  nn::eval(tracked);
  CHECK(tracked(some({3, 4, 5, 5})).numel() == 300);
}
