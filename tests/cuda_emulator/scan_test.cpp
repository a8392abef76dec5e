// scan() on a device against the processor's, step by step: many chunks and columns, every form of the transition.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_case.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "device_array.h"

using namespace heed;
using namespace heed::test;
using tests::Largest;

namespace {

struct ScanCall {
  int64_t batch, heads, few, t, d, e;  // few: heads of q and k
  int decay = 0;                       // 1 of heads, 2 of channels
  bool rank_one = false, inclusive = true;
};

/// q, k, v, initial, then what there is of decay, a, b.
std::vector<Tensor> operands(ScanCall const& c, Dtype dtype) {
  auto const drawn = [&](Shape const& shape, uint32_t key, double scale, double shift) {
    return (numbers(shape, key, dtype) * scale + shift).detach();
  };
  std::vector<Tensor> all{drawn({c.batch, c.few, c.t, c.d}, 1, 1, 0), drawn({c.batch, c.few, c.t, c.d}, 2, 1, 0),
                          drawn({c.batch, c.heads, c.t, c.e}, 3, 1, 0), drawn({c.batch, c.heads, c.d, c.e}, 4, 1, 0)};
  if (c.decay == 1) all.push_back(drawn({c.batch, c.heads, c.t}, 5, 0.5, -0.6));
  if (c.decay == 2) all.push_back(drawn({c.batch, c.few, c.t, c.d}, 5, 0.5, -0.6));
  // Small enough for b_tᵀa_t not to make states grow.
  double const size = 0.5 / std::sqrt(double(c.d));
  if (c.rank_one) all.push_back(drawn({c.batch, c.few, c.t, c.d}, 6, size, 0));
  if (c.rank_one) all.push_back(drawn({c.batch, c.heads, c.t, c.d}, 7, size, 0));
  return all;
}

/// out, state, and the gradients of all operands.
std::vector<Tensor> results(ScanCall const& c, std::vector<Tensor> const& given, ScanMode mode, int64_t chunk,
                            Device device) {
  std::vector<Tensor> x;
  for (Tensor const& t : given) x.push_back(t.to(device).detach().requires_grad_());
  ScanOptions o{.initial = x[3], .scale = 0.7, .inclusive = c.inclusive, .chunk = chunk, .mode = mode};
  size_t at = 4;
  if (c.decay) o.decay = x[at++];
  if (c.rank_one) o.a = x[at], o.b = x[at + 1];
  Scanned const y = scan(x[0], x[1], x[2], o);
  std::vector<Tensor> all{y.out.detach().to(cpu), y.state.detach().to(cpu)};
  auto const g = [&](Tensor const& t, uint32_t key) { return numbers(t.shape(), key, t.dtype()).to(device); };
  for (Tensor const& slope : grad({y.out, y.state}, x, {g(y.out, 8), g(y.state, 9)})) all.push_back(slope.to(cpu));
  return all;
}

void compare(ScanCall const& c, Dtype dtype, ScanMode mode, int64_t chunk, Largest& largest) {
  CAPTURE(c.decay);
  CAPTURE(c.rank_one);
  CAPTURE(c.inclusive);
  CAPTURE(chunk);
  auto const x = operands(c, dtype);
  auto const want = results(c, x, ScanMode::loop, chunk, cpu), got = results(c, x, mode, chunk, emulated_device());
  REQUIRE(got.size() == want.size());
  for (size_t k = 0; k < got.size(); ++k) {
    CAPTURE(k);
    double const error = tests::relative_error(got[k].to_vector<double>(), want[k].to_vector<double>());
    largest.note(error);
    CHECK(error < (dtype == Dtype::f32 ? 5e-6 : 1e-13));
  }
  CHECK(emulator_complaints() == "");
}

}  // namespace

TEST_CASE("scan on a device: every transition, many chunks, several blocks of columns") {
  for (Dtype const dtype : {Dtype::f32, Dtype::f64}) {
    Largest largest{dtype == Dtype::f32 ? "scan f32" : "scan f64"};
    for (int decay : {0, 1, 2})
      for (bool rank_one : {false, true})
        for (bool inclusive : {true, false}) {
          ScanCall const c{1, 2, 1, 75, 18, 37, decay, rank_one, inclusive};
          compare(c, dtype, ScanMode::automatic, 0, largest);
          compare(c, dtype, ScanMode::chunked, 50, largest);
        }
  }
}

TEST_CASE("scan on a device: sizes") {
  Largest largest{"scan f32, sizes"};
  compare({1, 1, 1, 1, 1, 1, 2, true}, Dtype::f32, ScanMode::automatic, 0, largest);
  compare({2, 2, 2, 5, 7, 130, 1}, Dtype::f32, ScanMode::automatic, 3, largest);
  compare({1, 1, 1, 33, 130, 20, 2, true}, Dtype::f32, ScanMode::automatic, 0, largest);
  compare({1, 1, 1, 20, 300, 9, 2, true, false}, Dtype::f32, ScanMode::loop, 0, largest);  // too long for registers
  compare({1, 1, 1, 20, 300, 9, 1}, Dtype::f64, ScanMode::chunked, 0, largest);
}

TEST_CASE("scan on a device: what comes later does not touch what was before, and decays may be −∞") {
  constexpr int64_t t = 40, at = 21;
  for (ScanMode const mode : {ScanMode::loop, ScanMode::chunked}) {
    ScanCall const c{1, 1, 1, t, 6, 10, 2, true};
    auto x = operands(c, Dtype::f32);
    auto const run = [&] {
      std::vector<Tensor> there;
      for (Tensor const& o : x) there.push_back(o.to(emulated_device()));
      return scan(there[0], there[1], there[2],
                  {.decay = there[4], .a = there[5], .b = there[6], .initial = there[3], .mode = mode})
          .out.to(cpu);
    };
    Tensor const clean = run();
    x[2].select(2, at).fill_(std::numeric_limits<double>::quiet_NaN());
    Tensor const marked = run();
    CHECK(equal(clean.slice(2, 0, at), marked.slice(2, 0, at)));
    x = operands(c, Dtype::f32);
    x[4].select(2, at).fill_(-std::numeric_limits<double>::infinity());
    x[6].select(2, at).fill_(0.);
    Tensor const forgotten = run();
    Tensor const fresh = scan(x[0].slice(2, at, t), x[1].slice(2, at, t), x[2].slice(2, at, t),
                              {.decay = x[4].slice(2, at, t), .a = x[5].slice(2, at, t), .b = x[6].slice(2, at, t)})
                             .out;
    CHECK(differs(forgotten.slice(2, at, t), fresh, 1e-5) == "");
  }
}

TEST_CASE("scan on a device: the same bits again, in any order") {
  ScanCall const c{1, 2, 1, 40, 9, 40, 1, true};
  auto const x = operands(c, Dtype::f32);
  auto const first = results(c, x, ScanMode::automatic, 0, emulated_device());
  auto const before = emu::settings().seed;
  emu::settings().seed = 5;
  auto const again = results(c, x, ScanMode::automatic, 0, emulated_device());
  emu::settings().seed = before;
  for (size_t k = 0; k < first.size(); ++k) CHECK(equal(first[k], again[k]));
}
