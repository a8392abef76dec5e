// Every layer on an emulated accelerator against the same on the processor: what it gives, in training and in
// evaluation, the gradients of its inputs and parameters, and the buffers that it keeps. And derivatives of any kind
// there.
#include <doctest/doctest.h>
#include <heed/engine/backend.h>
#include <heed/engine/backward.h>
#include <heed/engine/custom.h>
#include <heed/engine/derivatives.h>
#include <heed/engine/hooks.h>
#include <heed/engine/recompute.h>
#include <heed/nn/nn.h>
#include <heed/nn/norm/catalogue.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_case.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

using namespace heed;
using test::differs;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

using Tensors = std::vector<Tensor>;

Tensors list(Tensor const& y) { return {y}; }
template <class... T>
Tensors list(std::tuple<T...> const& y) {
  return std::apply([](auto const&... each) { return Tensors{each...}; }, y);
}
Tensors list(std::pair<Tensor, Tensor> const& y) { return {y.first, y.second}; }

struct Made {
  std::shared_ptr<nn::Module> module;
  std::function<Tensors(Tensors const&)> run;
};
struct Row {
  std::string name;
  std::function<Made()> make;
  std::vector<Shape> inputs;
  int64_t classes = 0;  // the inputs are indices below it
};

template <class M, class... Arguments>
std::function<Made()> layer(Arguments... arguments) {
  return [=] {
    auto const module = std::make_shared<M>(arguments...);
    return Made{module, [module](Tensors const& x) { return list((*module)(x[0])); }};
  };
}

std::vector<Row> rows() {
  using namespace nn;
  std::vector<Row> all{
      {"linear", layer<Linear>(5, 7), {{3, 5}}},
      {"embedding", layer<Embedding>(6, 5), {{4, 3}}, 6},
      {"layer norm", layer<LayerNorm>(9), {{4, 9}}},
      {"rms norm", layer<RMSNorm>(9), {{4, 9}}},
      {"group norm", layer<GroupNorm>(2, 4), {{3, 4, 5}}},
      {"batch norm 1d", layer<BatchNorm1d>(ChannelNormConfig{.channels = 4}), {{6, 4}}},
      {"batch norm 2d", layer<BatchNorm2d>(ChannelNormConfig{.channels = 3}), {{4, 3, 5, 2}}},
      {"instance norm 2d", layer<InstanceNorm2d>(ChannelNormConfig{.channels = 3}), {{2, 3, 4, 5}}},
      {"conv 1d", layer<Conv1d>(ConvConfig{.in = 2, .out = 3, .kernel = 4, .padding = "same"}), {{2, 2, 7}}},
      {"conv 2d",
       layer<Conv2d>(ConvConfig{.in = 6, .out = 4, .kernel = {3, 5}, .stride = 2, .padding = {1, 2}, .groups = 2}),
       {{2, 6, 8, 9}}},
      {"conv 3d", layer<Conv3d>(ConvConfig{.in = 2, .out = 3, .kernel = 2}), {{1, 2, 3, 3, 3}}},
      {"transposed conv 2d",
       layer<ConvTranspose2d>(
           ConvTransposeConfig{.in = 4, .out = 6, .kernel = 3, .stride = 2, .output_padding = 1, .groups = 2}),
       {{2, 4, 3, 4}}},
      {"max pool 2d", layer<MaxPool2d>(2), {{2, 3, 6, 7}}},
      {"average pool 2d", layer<AvgPool2d>(3), {{2, 3, 6, 7}}},
      {"adaptive average pool 2d", layer<AdaptiveAvgPool2d>(2), {{2, 3, 6, 7}}},
      {"adaptive max pool 2d", layer<AdaptiveMaxPool2d>(2), {{2, 3, 6, 7}}},
      {"rnn", layer<RNN>(RecurrentConfig{.input = 3, .hidden = 4, .relu = true}), {{5, 2, 3}}},
      {"lstm", layer<LSTM>(RecurrentConfig{.input = 3, .hidden = 4, .layers = 2, .bidirectional = true}), {{5, 2, 3}}},
      {"projected lstm", layer<LSTM>(RecurrentConfig{.input = 3, .hidden = 4, .proj = 2}), {{5, 2, 3}}},
      {"gru", layer<GRU>(RecurrentConfig{.input = 3, .hidden = 4, .layers = 2, .dropout = 0.5}), {{5, 2, 3}}},
      {"rnn cell", layer<RNNCell>(3, 4), {{2, 3}}},
      {"lstm cell", layer<LSTMCell>(3, 4), {{2, 3}}},
      {"gru cell", layer<GRUCell>(3, 4), {{2, 3}}},
      {"attention",
       layer<MultiHeadAttention>(AttentionConfig{.dim = 16, .heads = 4, .kv_heads = 2, .bias = true, .dropout = 0.3}),
       {{2, 9, 16}}},
      {"quantized linear",
       [] {
         auto const module = std::make_shared<LinearInt8>(Linear(24, 7));
         return Made{module, [module](Tensors const& x) {
                       NoGrad const off;
                       return Tensors{(*module)(x[0])};
                     }};
       },
       {{3, 24}}}};
  for (Activation const activation : {Activation::gelu, Activation::gelu_tanh, Activation::relu, Activation::silu})
    all.push_back(
        {"mlp", layer<MLP>(MLPConfig{.dim = 6, .hidden = 10, .activation = activation, .dropout = 0.4}), {{3, 6}}});
  for (char const* const position : {"learned", "rope"})
    all.push_back({std::string("GPT, ") + position,
                   layer<GPT>(GPTConfig{.vocabulary = 11,
                                        .layers = 2,
                                        .heads = 2,
                                        .kv_heads = 1,
                                        .dim = 16,
                                        .block = 12,
                                        .position = position,
                                        .dropout = 0.2}),
                   {{2, 10}},
                   11});
  return all;
}

struct Pass {
  Tensors outputs, gradients;
  std::vector<nn::NamedTensor> state;  // after it
};

Pass pass(Row const& row, Device device, bool training) {
  seed(3);
  Made const made = row.make();
  nn::to(*made.module, device);
  nn::train(*made.module, training);
  Tensors inputs, leaves;
  for (Shape const& shape : row.inputs) {
    uint32_t const key = uint32_t(inputs.size()) + 1;
    if (row.classes) {
      Generator generator(key);
      inputs.push_back(randint(0, row.classes, shape, generator).to(device));
    } else {
      inputs.push_back(numbers(shape, key, Dtype::f32).to(device).requires_grad_());
      leaves.push_back(inputs.back());
    }
  }
  for (Tensor const& p : nn::parameters(*made.module)) leaves.push_back(p);
  seed(5);  // of dropout
  Pass result{made.run(inputs), {}, {}};
  Tensors of, along;
  for (Tensor const& y : result.outputs)
    if (y.requires_grad()) {
      of.push_back(y);
      along.push_back(numbers(y.shape(), 40 + uint32_t(of.size()), Dtype::f32).to(device));
    }
  if (!of.empty()) result.gradients = grad(of, leaves, along, {.allow_unused = true});
  result.state = nn::state_dict(*made.module);
  if (!device.is_cpu()) backend(device).synchronize(device.index);
  return result;
}

void check_same(Tensors const& got, Tensors const& want, double bound) {
  REQUIRE(got.size() == want.size());
  for (size_t k = 0; k < got.size(); ++k) {
    CAPTURE(k);
    REQUIRE(got[k].defined() == want[k].defined());
    if (want[k].defined()) CHECK(differs(got[k].detach().to(cpu), want[k].detach(), bound) == "");
  }
}

void check_row(Row const& row) {
  Device const device = test::emulated_device();
  INFO(row.name);
  for (bool const training : {true, false}) {
    CAPTURE(training);
    Pass there;
    REQUIRE(error_of([&] { there = pass(row, device, training); }) == "");
    Pass const here = pass(row, cpu, training);
    CHECK(test::emulator_complaints() == "");
    for (Tensor const& y : there.outputs) CHECK(y.device() == device);
    check_same(there.outputs, here.outputs, 2e-5);
    check_same(there.gradients, here.gradients, 1e-4);
    REQUIRE(there.state.size() == here.state.size());
    for (size_t k = 0; k < here.state.size(); ++k) check_same({there.state[k].tensor}, {here.state[k].tensor}, 2e-5);
  }
}

/// What f gives on the processor and there, from the same numbers.
void check_both(std::function<Tensors(Device)> const& f, double bound) {
  Device const device = test::emulated_device();
  Tensors there;
  REQUIRE(error_of([&] { there = f(device); }) == "");
  CHECK(test::emulator_complaints() == "");
  check_same(there, f(cpu), bound);
}

}  // namespace

TEST_CASE("an emulated accelerator gives what the processor gives, for every layer") {
  for (Row const& row : rows()) check_row(row);
}

TEST_CASE("an emulated accelerator gives what the processor gives, for every norm by name") {
  for (nn::NormRow const& norm : nn::norms()) {
    std::string const name(norm.name);
    Shape const shape = norm.axes == "[N, C, ..]" ? Shape{2, 4, 6}
                        : norm.axes == "[C, ..]"  ? Shape{4, 6}
                                                  : Shape{2, 6, 4};
    check_row({name,
               [name] {
                 std::shared_ptr<nn::Norm> const module = nn::make_norm(name, 4);
                 return Made{module, [module](Tensors const& x) { return Tensors{(*module)(x[0])}; }};
               },
               {shape}});
  }
}

TEST_CASE("an emulated accelerator differentiates as the processor does: jacobians, products, second derivatives") {
  auto const f = [](Tensor const& x) { return sum(exp(matmul(x, x.t())) * 0.1) + sum(sin(x) * x); };
  auto const g = [](Tensor const& x) { return softmax(layer_norm(x)); };
  auto const attention = [](Tensor const& t) { return sum(square(attend(t, t, t, {.causal = true}).out)); };
  check_both(
      [&](Device device) {
        Tensor const x = (numbers({2, 3}, 1) * 0.5).to(device), v = numbers({2, 3}, 2).to(device),
                     q = numbers({1, 1, 3, 2}, 5).to(device);
        return Tensors{jacobian(g, x), vjp(g, {x}, {v}).product[0], jvp(g, {x}, {v}).product[0],
                       hessian(f, x),  hvp(f, {x}, {v}).product[0], hessian(attention, q)};
      },
      1e-11);
}

TEST_CASE("an emulated accelerator recomputes with the same bits, runs hooks, and operations of one's own") {
  auto const run = [](Device device, bool again) {
    seed(7);
    Tensor const w = numbers({4, 4}, 1, Dtype::f32).to(device).requires_grad_(),
                 x = numbers({3, 4}, 3, Dtype::f32).to(device).requires_grad_();
    auto const block = [&](Tensors const& in) {
      return Tensors{dropout(tanh(matmul(in[0], w)), 0.3) * in[0], softmax(in[0])};
    };
    Tensors const y = again ? recompute(block, {x * 2.0}) : block({x * 2.0});
    sum(y[0] * y[1]).backward();
    return Tensors{x.grad(), w.grad()};
  };
  check_both([&](Device device) { return run(device, true); }, 1e-5);
  Device const there = test::emulated_device();
  Tensors const plain = run(there, false), again = run(there, true);
  for (size_t k = 0; k < plain.size(); ++k) CHECK(same_bits(plain[k].to(cpu), again[k].to(cpu)));

  check_both(
      [](Device device) {
        Tensor const x = numbers({3, 4}, 3, Dtype::f32).to(device).requires_grad_();
        HookHandle const doubled = hook(x, [](Tensor const& g) { return g * 2.0; });
        Tensor const y = custom(
            "product", {x, x},
            [](Tensors const& in, CustomContext& context) {
              context.save({in[0], in[1]});
              return Tensors{in[0] * exp(in[1])};
            },
            [](Tensors const& g, CustomContext const& context) {
              Tensor const e = exp(context.saved()[1]);
              return Tensors{g[0] * e, g[0] * e * context.saved()[0]};
            })[0];
        sum(y * y).backward();
        return Tensors{x.grad()};
      },
      1e-5);
}
