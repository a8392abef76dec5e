// A model trained on an emulated accelerator, by CUDA's kernels, against the same on the processor.
#include <doctest/doctest.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_case.h>

#include <cmath>
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

TEST_CASE("a GPT continues positions in a cache on an emulated accelerator as on the processor") {
  NoGrad const off;
  Device const device = test::emulated_device();
  for (int64_t kv_heads : {1, 2})
    for (bool const rope : {false, true}) {
      seed(3);
      nn::GPT model(
          {.vocabulary = 11, .layers = 2, .heads = 2, .kv_heads = kv_heads, .dim = 16, .block = 12, .rope = rope});
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

TEST_CASE("what is not on an accelerator says so") {
  Device const device = test::emulated_device();
  Tensor const x = randn({3, 4}).to(device);
  CHECK(x.device() == device);
  CHECK_THROWS_AS(x.data<float>(), Error);
  CHECK_THROWS_AS(x + randn({3, 4}), Error);         // operands on two devices
  CHECK_THROWS_AS(sort(x), Error);                   // no kernel
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
