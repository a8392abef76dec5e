// Attention of 16-bit operands on the matrix units, against f64 on the processor.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/ops.h>
#include <heed/engine/profile.h>
#include <heed/engine/tape.h>
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

struct HalfCase {
  int64_t batch, heads, kv_heads, tq, tk, d;
  AttendOptions options = {};
  bool apart = false;  // [B, T, H, D] in memory
  bool backward = true;
};

Tensor drawn(Shape shape, uint32_t key, Dtype dtype, bool apart) {
  if (apart) std::swap(shape[1], shape[2]);
  Tensor const x = numbers(shape, key, Dtype::f32).detach().to(dtype);
  return apart ? x.transpose(1, 2) : x;
}

std::vector<Tensor> operands(HalfCase const& c, Dtype dtype) {
  return {drawn({c.batch, c.heads, c.tq, c.d}, 1, dtype, c.apart),
          drawn({c.batch, c.kv_heads, c.tk, c.d}, 2, dtype, c.apart),
          drawn({c.batch, c.kv_heads, c.tk, c.d}, 3, dtype, c.apart)};
}

/// out, lse, and the gradients of q, k and v.
std::vector<Tensor> results(HalfCase const& c, std::vector<Tensor> const& given, Device device, Dtype dtype) {
  std::vector<Tensor> x;
  for (Tensor const& t : given) x.push_back(t.to(device).to(dtype).detach().requires_grad_());
  Attended const y = attend(x[0], x[1], x[2], c.options);
  std::vector<Tensor> all{y.out.detach().to(cpu), y.lse.detach().to(cpu)};
  if (!c.backward) return all;
  Tensor const dout = drawn(y.out.shape(), 4, given[0].dtype(), c.apart).to(device).to(dtype);
  Tensor const dlse = (numbers(y.lse.shape(), 5, Dtype::f32).detach() * 0.5).to(device).to(y.lse.dtype());
  for (Tensor const& slope : grad({y.out, y.lse}, x, {dout, dlse})) all.push_back(slope.to(cpu));
  return all;
}

void compare(HalfCase const& c, Dtype dtype, Largest& largest) {
  CAPTURE(c.tq);
  CAPTURE(c.tk);
  CAPTURE(c.d);
  auto const x = operands(c, dtype);
  auto const want = results(c, x, cpu, Dtype::f64), got = results(c, x, emulated_device(), dtype);
  CHECK(got[0].dtype() == dtype);
  CHECK(got[1].dtype() == Dtype::f32);
  REQUIRE(got.size() == want.size());
  // Rounding of weights and results to 8 or 11 bits.
  double const bound = dtype == Dtype::bf16 ? 6e-3 : 8e-4;
  for (size_t k = 0; k < got.size(); ++k) {
    CAPTURE(k);
    double const error = tests::relative_error(got[k].to_vector<double>(), want[k].to_vector<double>());
    largest.note(error);
    CHECK(error < (k == 1 ? 1e-5 : bound));
  }
  CHECK(emulator_complaints() == "");
}

}  // namespace

TEST_CASE("16-bit attention on a device: more tiles than stages, both widths, causal and not") {
  for (Dtype const dtype : {Dtype::bf16, Dtype::f16}) {
    Largest largest{dtype == Dtype::bf16 ? "attend bf16" : "attend f16"};
    compare({1, 2, 1, 140, 270, 64, {.causal = true}}, dtype, largest);
    compare({1, 1, 1, 130, 150, 128}, dtype, largest);
  }
}

TEST_CASE("16-bit attention on a device: windows, queries that see nothing, layouts, few queries") {
  Largest largest{"attend bf16, windows"};
  compare({1, 2, 2, 200, 200, 64, {.left = 40, .right = 10}, true}, Dtype::bf16, largest);
  compare({2, 2, 1, 70, 40, 128, {.causal = true}}, Dtype::bf16, largest);  // more queries than keys
  compare({1, 1, 1, 3, 5, 64, {.scale = 0.4}}, Dtype::bf16, largest);
  compare({1, 2, 1, 1, 700, 64, {}, false, false}, Dtype::bf16, largest);  // parts of the keys
  compare({1, 1, 1, 2, 300, 128, {.causal = true, .left = 250}}, Dtype::bf16, largest);
}

TEST_CASE("16-bit attention on a device: NaN and Inf where a query does not look stay there") {
  HalfCase const c{1, 1, 1, 100, 100, 64, {.causal = true}};
  auto x = operands(c, Dtype::bf16);
  auto const clean = results(c, x, emulated_device(), Dtype::bf16);
  x[1].select(2, 70).fill_(std::numeric_limits<double>::quiet_NaN());
  x[2].select(2, 70).fill_(std::numeric_limits<double>::infinity());
  x[2].select(2, 75).select(2, 3).fill_(std::numeric_limits<double>::infinity());
  auto const marked = results(c, x, emulated_device(), Dtype::bf16);
  CHECK(equal(clean[0].slice(2, 0, 70), marked[0].slice(2, 0, 70)));
  CHECK(equal(clean[2].slice(2, 0, 70), marked[2].slice(2, 0, 70)));
  // Without a NaN among the keys an infinite value is what those who see it get.
  x = operands(c, Dtype::bf16);
  x[2].select(2, 75).select(2, 3).fill_(std::numeric_limits<double>::infinity());
  Tensor const out = results(c, x, emulated_device(), Dtype::bf16)[0].to(Dtype::f32);
  for (int64_t i = 0; i < 100; ++i)
    for (int64_t e = 0; e < 64; ++e) {
      double const value = out.at(0, 0, i, e).item(), without = clean[0].to(Dtype::f32).at(0, 0, i, e).item();
      CHECK(value == (i >= 75 && e == 3 ? std::numeric_limits<double>::infinity() : without));
    }
}

TEST_CASE("16-bit attention on a device: what the matrix units do not take is computed in f32") {
  Largest largest{"attend bf16, through f32"};
  HalfCase c{1, 2, 1, 20, 24, 64, {.causal = true, .dropout = 0.2, .draw = {1, 2}}};
  compare(c, Dtype::bf16, largest);
  c.options = {.sink = tensor({0.5f, -0.5f})};
  CHECK_THROWS_AS(compare(c, Dtype::f16, largest), Error);  // the sink is the processor's
  c.options = {.left = 5}, c.d = 48;
  compare(c, Dtype::bf16, largest);
}

TEST_CASE("16-bit attention on a device: the same bits again, in any order; second derivatives by the twin") {
  HalfCase const c{1, 2, 1, 70, 90, 64, {.causal = true}};
  auto const x = operands(c, Dtype::bf16);
  auto const first = results(c, x, emulated_device(), Dtype::bf16);
  auto const before = emu::settings().seed;
  emu::settings().seed = 5;
  auto const again = results(c, x, emulated_device(), Dtype::bf16);
  emu::settings().seed = before;
  for (size_t k = 0; k < first.size(); ++k) CHECK(equal(first[k], again[k]));

  // Of Σ out², with respect to q, along a direction.
  auto const curvature = [&](Device device, Dtype dtype) {
    std::vector<Tensor> t;
    for (Tensor const& given : operands({1, 1, 1, 6, 7, 64}, Dtype::bf16))
      t.push_back(given.to(device).to(dtype).detach().requires_grad_());
    Tensor const y = attend(t[0], t[1], t[2]).out;
    Tensor const slope = grad({sum(square(y))}, {t[0]}, {}, {.create_graph = true})[0];
    Tensor const along = drawn(t[0].shape(), 9, Dtype::bf16, false).to(device).to(dtype);
    return grad({sum(slope * along)}, {t[1]})[0].to(cpu).to_vector<double>();
  };
  CHECK(tests::relative_error(curvature(emulated_device(), Dtype::bf16), curvature(cpu, Dtype::f64)) < 3e-2);
}
