// Mixed precision: which types come out, that training still works, and loss scaling.
#include <doctest/doctest.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/transformer.h>
#include <heed/optim/loss_scaler.h>
#include <heed/optim/rules/adam.h>

#include <cmath>
#include <limits>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

TEST_CASE("products give 16 bits, sums and losses f32, and nothing else changes") {
  Tensor const a = numbers({2, 3, 4}, 1, Dtype::f32), b = numbers({2, 4, 5}, 2, Dtype::f32),
               w = numbers({5, 4}, 3, Dtype::f32);
  for (Dtype half : {Dtype::f16, Dtype::bf16}) {
    Autocast const on(half);
    CHECK(matmul(a, b).dtype() == half);
    CHECK(same_bits(matmul(a, b), matmul(a.to(half), b.to(half))));
    CHECK(linear(a, w, ones({5})).dtype() == half);
    CHECK(conv1d(a, numbers({6, 3, 2}, 4, Dtype::f32), {}).dtype() == half);
    Tensor const q = numbers({1, 2, 3, 4}, 5, Dtype::f32);
    CHECK(attend(q, q, q).out.dtype() == half);
    Tensor const x = a.to(half);
    CHECK(softmax(x).dtype() == Dtype::f32);
    CHECK(log_softmax(x).dtype() == Dtype::f32);
    CHECK(logsumexp(x, -1).dtype() == Dtype::f32);
    CHECK(layer_norm(x, ones({4}), zeros({4})).dtype() == Dtype::f32);
    CHECK(rms_norm(x).dtype() == Dtype::f32);
    CHECK(cross_entropy(x, zeros({2, 3}, Dtype::i64)).dtype() == Dtype::f32);
    CHECK((a + a).dtype() == Dtype::f32);
    CHECK(exp(x).dtype() == half);
    CHECK(matmul(a.to(Dtype::f64), b.to(Dtype::f64)).dtype() == Dtype::f64);
    {
      Autocast const inner(Dtype::bf16);
      CHECK(matmul(a, b).dtype() == Dtype::bf16);
    }
    CHECK(matmul(a, b).dtype() == half);
  }
  CHECK(matmul(a, b).dtype() == Dtype::f32);
  CHECK(softmax(a.to(Dtype::bf16)).dtype() == Dtype::bf16);
  CHECK(error_of([] { Autocast const no(Dtype::f64); }).find("f16 or bf16") != std::string::npos);
}

TEST_CASE("a small GPT learns under autocast about as well as without") {
  auto train = [](bool narrow) {
    seed(3);
    nn::GPT model(nn::GPTConfig{.vocabulary = 11, .layers = 2, .heads = 2, .dim = 16, .block = 16});
    optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 1e-2});
    optim::LossScaler scaler({.scale = 1024});
    Tensor const tokens = remainder(arange(17) * 3, scalar(11, Dtype::i64)).unsqueeze(0).expand({4, 17}).contiguous();
    double last = 0;
    for (int step = 0; step < 40; ++step) {
      optimizer.zero_grad();
      std::optional<Autocast> on;
      if (narrow) on.emplace(Dtype::bf16);
      Tensor const loss = cross_entropy(model(tokens.slice(1, 0, 16)), tokens.slice(1, 1, 17));
      on.reset();
      CHECK(loss.dtype() == Dtype::f32);
      scaler.scale(loss).backward();
      CHECK(scaler.step(optimizer, 1));
      last = loss.item();
    }
    return last;
  };
  double const wide = train(false), narrow = train(true);
  MESSAGE("f32 ", wide, ", bf16 ", narrow);
  CHECK(wide < 0.3);
  CHECK(std::abs(narrow - wide) < 0.1);
}

TEST_CASE("the loss scaler skips what is not finite, and finds its scale") {
  seed(1);
  nn::Linear layer(3, 2);
  optim::AdamW optimizer(optim::all_parameters(layer), {.learning_rate = 0.1});
  optim::LossScaler scaler({.scale = 8, .interval = 2});
  auto run = [&](double factor) {
    optimizer.zero_grad();
    scaler.scale(sum(layer(ones({1, 3}))) * factor).backward();
    return scaler.step(optimizer);
  };
  auto const before = layer.weight.clone();
  CHECK_FALSE(run(std::numeric_limits<double>::infinity()));
  CHECK(same_bits(layer.weight.detach(), before.detach()));
  CHECK(optimizer.steps() == 0);
  CHECK(scaler.options().scale == 4);
  CHECK(run(1));
  CHECK(scaler.good_steps() == 1);
  CHECK(run(1));
  CHECK(scaler.options().scale == 8);
  CHECK(optimizer.steps() == 2);
  CHECK(error_of([] { optim::LossScaler({.scale = -1}); }).find("got -1") != std::string::npos);
}
