// map(): a lambda as one fused, differentiable operation.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/map.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <chrono>
#include <cmath>
#include <limits>

#include "support/gradcheck.h"
#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

constexpr double nan_ = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();

/// One formula for symbols and tensors: the tensors' reading is the specification.
auto const gate = [](auto const& x, auto const& g) {
  auto const s = 1. / (1. + exp(-1.7 * g));
  return select(x > 0.3, x * s + sin(g) * cos(x), tanh(x) - s * s / (2. + x * x));
};

}  // namespace

TEST_CASE("values are those of the composition, for every shape, type, level and number of threads") {
  std::vector<std::pair<Shape, Shape>> const shapes = {{{3, 5}, {3, 5}}, {{3, 1}, {1, 5}}, {{}, {4}},
                                                       {{}, {}},         {{700}, {700}},   {{2, 0}, {1}},
                                                       {{33}, {1}},      {{4, 300}, {300}}};
  on_every_isa([&](Isa level) {
    for (auto const& [a, b] : shapes)
      for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
        INFO(std::string(name(level)), " ", to_string(a), " ", to_string(b));
        Tensor const x = numbers(a, 1, dtype), g = numbers(b, 2, dtype);
        double const tolerance = dtype == Dtype::f32 ? 2e-6 : 1e-14;
        CHECK(differs(map(gate, x, g), gate(x, g), tolerance) == "");
        if (a.rank() == 2 && b.rank() == 2)
          CHECK(differs(map(gate, x.t(), g.t()), gate(x.t(), g.t()), tolerance) == "");
      }
  });
  int const before = thread_count();
  Tensor const x = numbers({300, 1001}, 1, Dtype::f32), g = numbers({1001}, 2, Dtype::f32);
  set_thread_count(1);
  Tensor const one = map(gate, x, g);
  set_thread_count(4);
  CHECK(same_bits(map(gate, x, g), one));
  set_thread_count(before);
}

TEST_CASE("gradients of every order") {
  auto op = [](std::vector<Tensor> const& in) { return std::vector<Tensor>{map(gate, in[0], in[1])}; };
  for (Shape const& b : {Shape{3, 5}, Shape{5}, Shape{}}) {
    std::vector<Tensor> const in = {numbers({3, 5}, 1).requires_grad_(), numbers(b, 2).requires_grad_()};
    CHECK(gradcheck(op, in, {}) == "");
    CHECK(gradgradcheck(op, in, {}) == "");
  }
  // Third order, against the composition.
  Tensor const x = numbers({7}, 3).requires_grad_(), g = numbers({7}, 4).requires_grad_();
  auto third = [&](Tensor y) {
    for (int order = 0; order < 3; ++order) y = grad({sum(y)}, {x}, {}, {.create_graph = true})[0];
    return y;
  };
  CHECK(differs(third(map(gate, x, g)), third(gate(x, g)), 1e-11) == "");
}

TEST_CASE("several results, captured numbers, constants") {
  Tensor const x = numbers({40}, 1).requires_grad_(), y = numbers({40}, 2).requires_grad_();
  double scale = 2;
  auto polar = [&](auto a, auto b) { return std::array{hypot(a, b), scale * atan2(b, a)}; };
  auto const [r, angle] = map(polar, x, y);
  CHECK(differs(r, hypot(x, y), 1e-15) == "");
  CHECK(differs(angle, 2 * atan2(y, x), 1e-15) == "");
  auto both = [&](std::vector<Tensor> const& in) {
    auto const z = map(polar, in[0], in[1]);
    return std::vector<Tensor>{z[0], z[1]};
  };
  CHECK(gradcheck(both, {x, y}, {}) == "");
  CHECK(gradgradcheck(both, {x, y}, {}) == "");
  CHECK(differs(grad({sum(angle)}, {x})[0], grad({sum(2 * atan2(y, x))}, {x})[0], 1e-14) == "");  // one result unused
  scale = 3;
  CHECK(differs(map(polar, x, y)[1], 3 * atan2(y, x), 1e-15) == "");
  CHECK(map([](auto) { return 1.5; }, x).to_vector<double>() == std::vector<double>(40, 1.5));
  CHECK(differs(grad({sum(map([](auto) { return 1.5; }, x))}, {x})[0], zeros({40}, Dtype::f64), 0) == "");
  CHECK(same_bits(map([](auto a) { return a; }, x).detach(), x.detach()));
  CHECK(map([](auto a) { return a + 1; }, arange(3)).dtype() == Dtype::f32);
  CHECK(map([](auto a, auto b) { return a + b; }, ones({2}, Dtype::f16), ones({2}, Dtype::bf16)).dtype() == Dtype::f32);
  CHECK(map([](auto a) { return exp(a); }, ones({2}, Dtype::bf16)).dtype() == Dtype::bf16);
}

TEST_CASE("the branch not taken has no say, in the value or the gradient") {
  auto safe_log = [](auto x) { return select(x > 0., log(x), 0.); };
  Tensor const x = tensor(std::vector<double>{-1, 0, 2, nan_}, {4}).requires_grad_();
  CHECK(differs(map(safe_log, x), tensor(std::vector<double>{0, 0, std::log(2.), 0}, {4}), 1e-15) == "");
  CHECK(differs(grad({sum(map(safe_log, x))}, {x})[0], tensor(std::vector<double>{0, 0, 0.5, 0}, {4}), 1e-15) == "");
  auto root = [](auto x) { return select(x == 0., 0., sqrt(x)); };
  CHECK(grad({sum(map(root, x))}, {x})[0].to_vector<double>()[1] == 0);
  // A formula's own 0·x is NaN at infinity.
  CHECK(std::isnan(map([](auto x) { return 0. * x; }, full({1}, inf, Dtype::f64)).item()));
  auto const masks = [](auto a, auto b) {
    return select(((a > 0.) & (b > 0.)) | !(a < 1.), 1., select(isnan(a) | (a != b), 2., 3.));
  };
  Tensor const a = tensor(std::vector<double>{0.5, 0.5, 2, -1, -1, nan_}, {6});
  Tensor const b = tensor(std::vector<double>{1, -1, -1, -1, 5, 1}, {6});
  CHECK(map(masks, a, b).to_vector<double>() == std::vector<double>{1, 2, 1, 3, 2, 1});
}

TEST_CASE("what it refuses") {
  CHECK(error_of([] { map([](auto x) { return x; }, Tensor()); }).find("undefined") != std::string::npos);
  CHECK(error_of([] { map([](auto x, auto y) { return x + y; }, ones({2}), ones({3})); }).find("[2] and [3]") !=
        std::string::npos);
  Symbol kept = 0.;
  map([&](auto x) { return kept = x; }, ones({2}));
  CHECK(error_of([&] { kept = kept + 1.; }).find("outside the formula") != std::string::npos);
  // A formula that throws leaves nothing behind.
  CHECK_THROWS_AS(map([](auto x) -> Symbol { throw std::runtime_error("no " + std::to_string(sizeof x)); }, ones({2})),
                  std::runtime_error);
  CHECK(map([](auto x) { return x + 1.; }, ones({2})).to_vector<double>() == std::vector<double>{2, 2});
  // Registers are reused: a long formula needs few.
  Tensor const long_chain = map(
      [](auto x) {
        auto y = x;
        for (int i = 0; i < 2000; ++i) y = y * 0.999 + x * 1e-3;
        return y;
      },
      ones({3}));
  CHECK(std::abs(long_chain.to_vector<double>()[0] - 1) < 1e-3);
}

TEST_CASE("recording costs microseconds") {
  NoGrad const off;
  Tensor const x = ones({1}), g = ones({1});
  double best = 1e9;
  for (int round = 0; round < 20; ++round) {
    auto const start = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i) map(gate, x, g);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / 100);
  }
  MESSAGE(fmt::format("{:.2f} µs a call of 17 steps on one element", best * 1e6));
  CHECK(best < 200e-6);  // a bound that a busy machine and a sanitizer keep
}
