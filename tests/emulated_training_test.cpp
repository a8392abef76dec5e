// A model trained on an emulated accelerator, by CUDA's kernels, against the same on the processor.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_case.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <vector>

using namespace heed;

namespace {

std::vector<double> losses(Device device, Dtype dtype) {
  seed(3);
  nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 2, .dim = 16, .block = 12});
  nn::to(model, dtype);
  nn::to(model, device);
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 1e-2});
  std::vector<double> all;
  Generator generator(5);
  for (int step = 0; step < 4; ++step) {
    Tensor const tokens = randint(0, 11, {3, 13}, generator);
    Tensor const inputs = tokens.slice(1, 0, 12).contiguous().to(device);
    Tensor const targets = tokens.slice(1, 1, 13).contiguous().to(device);
    optimizer.zero_grad();
    Tensor const loss = cross_entropy(model(inputs), targets);
    loss.backward();
    optimizer.step();
    all.push_back(loss.item());
  }
  return all;
}

}  // namespace

TEST_CASE("a GPT trains on an emulated accelerator as on the processor") {
  for (Dtype const dtype : {Dtype::f32, Dtype::f64}) {
    auto const here = losses(cpu, dtype), there = losses(test::emulated_device(), dtype);
    REQUIRE(here.size() == there.size());
    for (size_t i = 0; i < here.size(); ++i) CHECK(std::abs(here[i] - there[i]) < (dtype == Dtype::f32 ? 2e-5 : 1e-11));
    CHECK(here.back() != here.front());
  }
}

TEST_CASE("every optimiser steps on an emulated accelerator as on the processor") {
  for (auto const& row : optim::optimizers()) {
    CAPTURE(row.name);
    std::vector<Tensor> results;
    for (Device const device : {cpu, test::emulated_device()}) {
      Generator generator(5);
      // Square: a covariance of lower rank has a null space, and SOAP's basis of that would hang on rounding.
      Tensor w = randn({7, 7}, Dtype::f64, generator).to(device).requires_grad_(),
             b = randn({11}, Dtype::f64, generator).to(device).requires_grad_();
      auto const optimizer = optim::make_optimizer(
          row.name, {{.parameters = {{"w", w}, {"b", b}}, .weight_decay = 0.1}}, row.learning_rate);
      for (int step = 0; step < 4; ++step)
        optimizer->step([&] {
          optimizer->zero_grad();
          Tensor const loss = sum(square(square(w))) * 0.1 + sum(cos(b));
          loss.backward();
          return optim::Evaluation{loss.item()};
        });
      results.push_back(w.detach().to(cpu));
    }
    CHECK(test::differs(results[1], results[0], 1e-10) == "");
  }
}

TEST_CASE("a GPT continues positions in a cache on an emulated accelerator as on the processor") {
  NoGrad const off;
  Device const device = test::emulated_device();
  for (int64_t kv_heads : {1, 2})
    for (bool const rope : {false, true}) {
      seed(3);
      nn::GPT model({.vocabulary = 11,
                     .layers = 2,
                     .heads = 2,
                     .kv_heads = kv_heads,
                     .dim = 16,
                     .block = 12,
                     .position = rope ? "rope" : "learned"});
      Generator generator(5);
      Tensor const tokens = randint(0, 11, {2, 12}, generator);
      Tensor const want = model(tokens);
      auto const words = nn::generate(model, {1, 2, 3}, 14, {.temperature = 0}, generator);  // past the block, too
      nn::to(model, device);
      CHECK(nn::generate(model, {1, 2, 3}, 14, {.temperature = 0}, generator) == words);
      auto cache = model.make_cache(12);
      for (auto [from, to] : {std::pair{0, 7}, {7, 8}, {8, 9}, {9, 12}}) {
        Tensor const got = model(tokens.slice(1, from, to).contiguous().to(device), nn::GPTContext{.cache = &cache});
        CHECK(test::differs(got.to(cpu), want.slice(1, from, to), 1e-5) == "");
      }
    }
}

TEST_CASE("attention reads pages of keys on an emulated accelerator; what lies elsewhere is refused") {
  NoGrad const off;
  Device const device = test::emulated_device();
  Generator generator(5);
  Tensor const q = randn({2, 2, 3, 8}, Dtype::f32, generator), k = randn({4, 1, 32, 8}, Dtype::f32, generator),
               v = randn({4, 1, 32, 8}, Dtype::f32, generator),
               pages = tensor(std::vector<int64_t>{3, 1, 0, 2}, {2, 2}),
               length = tensor(std::vector<int64_t>{40, 64}, {2});
  AttendOptions const here{.causal = true, .sees = lengths(length), .pages = pages};
  AttendOptions there{.causal = true, .sees = lengths(length.to(device)), .pages = pages.to(device)};
  auto const run = [&](AttendOptions const& options) {
    return attend(q.to(device), k.to(device), v.to(device), options).out.to(cpu);
  };
  CHECK(test::differs(run(there), attend(q, k, v, here).out, 1e-5) == "");
  there.pages = pages;
  CHECK_THROWS_AS(run(there), Error);
  there.pages = pages.to(device), there.sees = lengths(length);
  CHECK_THROWS_AS(run(there), Error);
  // A single number may come from anywhere.
  Tensor const small = k.slice(0, 0, 2), mask = ones({1, 1, 1, 1}) > 0.0;
  CHECK(test::differs(attend(q.to(device), small.to(device), small.to(device), {.mask = mask}).out.to(cpu),
                      attend(q, small, small).out, 1e-5) == "");
}

TEST_CASE("a checkpoint of a model on an accelerator goes on anywhere") {
  auto const path =
      (std::filesystem::temp_directory_path() / fmt::format("heed_device_{}.safetensors", getpid())).string();
  nn::GPTConfig const config{.vocabulary = 7, .layers = 1, .heads = 2, .dim = 8, .block = 6};
  auto const step = [](nn::GPT& model, optim::AdamW& optimizer, Device device) {
    Generator generator(11);
    Tensor const tokens = randint(0, 7, {2, 7}, generator).to(device);
    optimizer.zero_grad();
    Tensor const loss = cross_entropy(model(tokens.slice(1, 0, 6).contiguous()), tokens.slice(1, 1, 7).contiguous());
    loss.backward();
    optimizer.step();
    return loss.item();
  };
  Device const there = test::emulated_device();
  double after = 0;
  {
    seed(4);
    nn::GPT model(config);
    nn::to(model, there);
    optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 1e-2});
    for (int i = 0; i < 3; ++i) step(model, optimizer, there);
    optim::Checkpoint checkpoint;
    checkpoint.put_model(model);
    checkpoint.put_training(optimizer, {});
    checkpoint.save(path);
    step(model, optimizer, there);
    after = step(model, optimizer, there);
  }
  for (Device const device : {there, cpu}) {
    nn::GPT model(config);
    optim::Checkpoint const checkpoint = optim::Checkpoint::load(path);
    nn::to(model, device);
    checkpoint.get_model(model);
    optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 1e-2});
    checkpoint.get_training(optimizer);
    step(model, optimizer, device);
    double const loss = step(model, optimizer, device);
    CHECK(std::abs(loss - after) <= (device == there ? 0 : 2e-5));
  }
  std::filesystem::remove(path);
}

TEST_CASE("16-bit products there run on its matrix units, f32 ones too where tf32 is allowed") {
  Device const device = test::emulated_device();
  Generator generator(7);
  Tensor const x = randn({3, 5, 40}, Dtype::f32, generator), w = randn({24, 40}, Dtype::f32, generator),
               b = randn({24}, Dtype::f32, generator);
  auto const relative = [](Tensor const& got, Tensor const& want) {
    Tensor const exact = want.to(Dtype::f64);
    return norm(got.to(cpu).to(Dtype::f64) - exact).item() / norm(exact).item();
  };
  for (auto const& [dtype, bound] : {std::pair(Dtype::bf16, 4e-3), std::pair(Dtype::f16, 5e-4)}) {
    auto const run = [&, dtype = dtype](Device on, std::vector<Tensor>& slopes) {
      std::vector<Tensor> leaves;
      for (Tensor const& t : {x, w, b}) leaves.push_back(t.to(dtype).to(on).requires_grad_());
      Tensor const y = linear(leaves[0], leaves[1], leaves[2]);
      CHECK(y.dtype() == dtype);
      slopes = grad({matmul(y, y.t())}, leaves, {ones({3, 5, 5}, dtype, on)});
      return y.detach();
    };
    std::vector<Tensor> here, there;
    Tensor const want = run(cpu, here), got = run(device, there);
    CHECK(relative(got, want) < bound);
    for (size_t k = 0; k < here.size(); ++k) CHECK(relative(there[k], here[k]) < 3 * bound);
  }
  Tensor const exact = linear(x, w, b);
  CHECK(relative(linear(x.to(device), w.to(device), b.to(device)), exact) < 1e-6);
  AllowTf32 const allowed;
  double const rounded = relative(linear(x.to(device), w.to(device), b.to(device)), exact);
  CHECK(rounded < 1e-3);
  CHECK(rounded > 1e-5);
  CHECK(equal(linear(x, w, b), exact));
}

TEST_CASE("what is not on an accelerator says so") {
  Device const device = test::emulated_device();
  Tensor const x = randn({3, 4}).to(device);
  CHECK(x.device() == device);
  CHECK_THROWS_AS(x.data<float>(), Error);
  CHECK_THROWS_AS(x + randn({3, 4}), Error);         // operands on two devices
  CHECK_THROWS_AS(randn({2}).to(cuda(200)), Error);  // no such device
  CHECK_THROWS_AS(parse_device("tpu"), Error);
  CHECK_THROWS_AS(parse_device("cuda:x"), Error);
  CHECK(parse_device("cuda:1") == cuda(1));
  CHECK(equal(x.to(cpu) + 1, (x + 1).to(cpu)));
  CHECK(x.slice(1, 1, 3).to(cpu).shape() == Shape{3, 2});
  CHECK(to_string(x) != "");
}

TEST_CASE("devices() says what there is, and of CUDA why not") {
  auto const all = devices();
  REQUIRE(all.size() >= 2);
  CHECK(all[0].device == cpu);
  CHECK(all[0].available);
  for (DeviceEntry const& entry : all)
    if (!entry.available) CHECK(entry.why != "");
}
