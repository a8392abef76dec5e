// Convolution and pooling layers: shapes, names, initialisation, and one that learns.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/conv.h>
#include <heed/nn/pool.h>
#include <heed/tests/support/op_case.h>

#include <cmath>

using namespace heed;
using test::error_of;
using test::same_bits;

namespace {

double largest(Tensor const& x) { return amax(abs(x.detach().flatten()), {0}).item(); }

}  // namespace

TEST_CASE("convolutions: PyTorch's names and shapes, U(±1/√fan)") {
  seed(3);
  nn::Conv2d conv({.in = 6, .out = 4, .kernel = {3, 5}, .stride = 2, .padding = {1, 2}, .groups = 2});
  auto const state = nn::state_dict(conv);
  REQUIRE(state.size() == 2);
  CHECK(state[0].name == "weight");
  CHECK(to_string(state[0].tensor.shape()) == "[4, 3, 3, 5]");
  CHECK(state[1].name == "bias");
  double const bound = 1 / std::sqrt(3.0 * 15);
  CHECK(largest(conv.weight) <= bound);
  CHECK(largest(conv.weight) > 0.9 * bound);
  CHECK(largest(conv.bias) <= bound);
  Tensor const x = randn({2, 6, 8, 9});
  CHECK(same_bits(conv(x), conv2d(x, conv.weight, conv.bias, {.stride = 2, .padding = {1, 2}, .groups = 2})));

  nn::ConvTranspose1d back(
      {.in = 4, .out = 6, .kernel = 3, .stride = 2, .output_padding = 1, .groups = 2, .bias = false});
  CHECK(nn::count_parameters(back) == 4 * 3 * 3);
  CHECK(!back.bias.defined());
  CHECK(largest(back.weight) <= 1 / std::sqrt(9.0));
  CHECK(to_string(back(randn({2, 4, 5})).shape()) == "[2, 6, 12]");
  CHECK(to_string(nn::Conv1d({.in = 2, .out = 3, .kernel = 4, .padding = "same"})(randn({1, 2, 7})).shape()) ==
        "[1, 3, 7]");
  CHECK(to_string(nn::Conv3d({.in = 2, .out = 3, .kernel = 2})(randn({1, 2, 3, 3, 3})).shape()) == "[1, 3, 2, 2, 2]");
}

TEST_CASE("pooling layers are their operations, and have no parameters") {
  Tensor const x = randn({2, 3, 6, 7});
  nn::MaxPool2d most(2);
  nn::AvgPool2d mean(3, {.stride = 1, .padding = 1});
  nn::AdaptiveAvgPool2d all(1);
  CHECK(same_bits(most(x), max_pool2d(x, 2)));
  CHECK(same_bits(mean(x), avg_pool2d(x, 3, {.stride = 1, .padding = 1})));
  CHECK(same_bits(all(x), adaptive_avg_pool2d(x, 1)));
  CHECK(same_bits(nn::AdaptiveMaxPool2d({2, 3})(x), adaptive_max_pool2d(x, {2, 3})));
  CHECK(nn::count_parameters(most) + nn::count_parameters(mean) + nn::count_parameters(all) == 0);
  CHECK(to_string(nn::MaxPool1d(2)(x.select(0, 0)).shape()) == "[3, 6, 3]");
  CHECK(to_string(nn::AdaptiveAvgPool3d({-1, 2, 1})(x.unsqueeze(2)).shape()) == "[2, 3, 1, 2, 1]");
}

TEST_CASE("bad sizes of a layer are Errors") {
  auto expect = [](nn::ConvConfig const& config, char const* part) {
    std::string const text = error_of([&] { nn::Conv2d conv(config); });
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  };
  expect({.in = 3, .out = 4, .kernel = 3, .groups = 2}, "2 groups");
  expect({.in = 0, .out = 4, .kernel = 3}, "[4, 0, 3, 3]");
  expect({.in = 3, .out = 4, .kernel = {3, 3, 3}}, "[3, 3, 3]");
}

TEST_CASE("a small network learns which half of an image is bright") {
  seed(11);
  nn::Conv2d first({.in = 1, .out = 4, .kernel = 3, .padding = 1}),
      second({.in = 4, .out = 2, .kernel = 3, .padding = 1});
  nn::MaxPool2d half(2);
  nn::AdaptiveAvgPool2d mean({1, 2});
  auto logits = [&](Tensor const& x) { return mean(second(half(relu(first(x))))).slice(3, 0, 1).flatten(1); };
  std::vector<Tensor> parameters = nn::parameters(first);
  for (Tensor const& p : nn::parameters(second)) parameters.push_back(p);
  Generator generator(5);
  double loss = 0, start = 0;
  for (int step = 0; step < 60; ++step) {
    Tensor const label = randint(0, 2, {16}, generator);
    Tensor const left = (arange(8) < 4).to(Dtype::f32);  // label 1: bright on the left
    Tensor const side = label.to(Dtype::f32).reshape({16, 1, 1, 1});
    Tensor const x = rand({16, 1, 8, 8}, Dtype::f32, generator) * 0.5 + (side * left + (1.0 - side) * (1.0 - left));
    Tensor const value = cross_entropy(logits(x), label);
    loss = value.item();
    if (step == 0) start = loss;
    for (Tensor const& p : parameters) p.set_grad({});
    value.backward();
    NoGrad const off;
    for (Tensor& p : parameters) p.add_(p.grad(), -0.5);
  }
  CHECK(start > 0.5);
  CHECK(loss < 0.1);
}
