// Element types: 16-bit storage, promotion, numbers beside tensors.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

constexpr Dtype types[] = {Dtype::f32,     Dtype::f64, Dtype::i32,  Dtype::i64, Dtype::u8,
                           Dtype::boolean, Dtype::f16, Dtype::bf16, Dtype::i8,  Dtype::i16};

/// The nearest value of `steps` per power of two, halves to even, by arithmetic in f64.
double nearest(double x, int fraction_bits, int least_exponent, double largest) {
  if (x == 0 || !std::isfinite(x)) return x;
  int const exponent = std::max(std::ilogb(x), least_exponent);
  double const unit = std::ldexp(1, exponent - fraction_bits), y = std::nearbyint(x / unit) * unit;
  return std::abs(y) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : y;
}

}  // namespace

TEST_CASE("f16 and bf16: every value comes back, every f32 goes to the nearest") {
  for (uint32_t i = 0; i < 65536; ++i) {
    float16 h;
    h.bits = uint16_t(i);
    bfloat16 b;
    b.bits = uint16_t(i);
    float const x = h, y = b;
    if (std::isnan(x))
      CHECK(std::isnan(float(float16(x))));
    else if (float16(x).bits != i)
      FAIL_CHECK("f16 ", i);
    if (!std::isnan(y) && bfloat16(y).bits != i) FAIL_CHECK("bf16 ", i);
    // The definition of binary16.
    double const magnitude =
        (i >> 10 & 31) ? std::ldexp(1024 + (i & 1023), int(i >> 10 & 31) - 25) : std::ldexp(i & 1023, -24);
    if ((i >> 10 & 31) < 31 && double(x) != (i >> 15 ? -magnitude : magnitude)) FAIL_CHECK("f16 value ", i);
  }
  for (uint64_t i = 0; i < (uint64_t{1} << 32); i += 40503) {
    float const x = std::bit_cast<float>(uint32_t(i));
    if (std::isnan(x)) {
      if (!std::isnan(float(float16(x))) || !std::isnan(float(bfloat16(x)))) FAIL_CHECK("NaN ", i);
      continue;
    }
    if (double(float(float16(x))) != nearest(x, 10, -14, 65504)) FAIL_CHECK("f16 of ", x);
    if (double(float(bfloat16(x))) != nearest(x, 7, -126, 0x1.FEp127)) FAIL_CHECK("bf16 of ", x);
  }
  CHECK(std::signbit(float(float16(-0.f))));
  CHECK(float(float16(65519.f)) == 65504);
  CHECK(std::isinf(float(float16(65520.f))));
}

TEST_CASE("promotion of types is PyTorch's table") {
  using enum Dtype;
  constexpr Dtype table[10][10] = {
      {f32, f64, f32, f32, f32, f32, f32, f32, f32, f32},  {f64, f64, f64, f64, f64, f64, f64, f64, f64, f64},
      {f32, f64, i32, i64, i32, i32, f16, bf16, i32, i32}, {f32, f64, i64, i64, i64, i64, f16, bf16, i64, i64},
      {f32, f64, i32, i64, u8, u8, f16, bf16, i16, i16},   {f32, f64, i32, i64, u8, boolean, f16, bf16, i8, i16},
      {f32, f64, f16, f16, f16, f16, f16, f32, f16, f16},  {f32, f64, bf16, bf16, bf16, bf16, f32, bf16, bf16, bf16},
      {f32, f64, i32, i64, i16, i8, f16, bf16, i8, i16},   {f32, f64, i32, i64, i16, i16, f16, bf16, i16, i16},
  };
  for (int i = 0; i < 10; ++i)
    for (int j = 0; j < 10; ++j) CHECK(promote(types[i], types[j]) == table[i][j]);
}

TEST_CASE("a rank-0 tensor, and a number, change a type only by their kind") {
  using enum Dtype;
  auto type = [](Dtype a, Shape const& shape, Dtype b) { return (zeros(shape, a) + scalar(1, b)).dtype(); };
  CHECK(type(i32, {2}, i64) == i32);
  CHECK(type(u8, {2}, i64) == u8);
  CHECK(type(boolean, {2}, i64) == i64);
  CHECK(type(f16, {2}, f64) == f16);
  CHECK(type(i64, {2}, f16) == f16);
  CHECK(type(i32, {}, i64) == i64);
  for (Dtype d : types) {
    Tensor const x = ones({2}, d);
    CHECK((x + 1).dtype() == (d == boolean ? i64 : d));
    CHECK((x + 1.5).dtype() == (is_floating(d) ? d : f32));
    CHECK((x * true).dtype() == d);
    CHECK((x / 2).dtype() == (is_floating(d) ? d : f32));
    CHECK((x == 1).to_vector<bool>() == std::vector<bool>{true, true});
    CHECK(where(x != 0, x, false).dtype() == d);
    CHECK(size_of(d) * 2 == x.storage().bytes());
  }
}

TEST_CASE("conversions between all types go through the value") {
  std::vector<double> const small = {0, 1, 2, 5, 100};
  for (Dtype from : types)
    for (Dtype to : types) {
      INFO(std::string(name(from)), " to ", std::string(name(to)));
      Tensor const x = tensor(small, {5}).to(from);
      auto const got = x.to(to).to_vector<double>();
      for (size_t i = 0; i < 5; ++i) {
        bool const truth = from == Dtype::boolean || to == Dtype::boolean;
        CHECK(got[i] == (truth ? double(small[i] != 0) : small[i]));
      }
      CHECK(x.to(to).to(from).dtype() == from);
    }
  CHECK(tensor({1e6, -1e6, 1e-9}).to(Dtype::f16).to_vector<double>()[0] == std::numeric_limits<double>::infinity());
  CHECK(std::isnan(tensor({std::nanf(""), 1}).to(Dtype::bf16).to_vector<double>()[0]));
}

TEST_CASE("16-bit operands are computed in f32 and rounded once, gradients too") {
  on_every_isa([&](Isa level) {
    for (Dtype half : {Dtype::f16, Dtype::bf16})
      for (Shape const& shape : {Shape{37}, Shape{3, 700}, Shape{0}, Shape{}}) {
        INFO(std::string(name(level)), " ", std::string(name(half)), " ", to_string(shape));
        Tensor const a = numbers(shape, 1, Dtype::f32).to(half), b = numbers(shape, 2, Dtype::f32).to(half);
        Tensor const wide_a = a.to(Dtype::f32), wide_b = b.to(Dtype::f32);
        auto rounded = [&](Tensor const& x) { return x.detach().to(half); };
        CHECK(same_bits(a * b, rounded(wide_a * wide_b)));
        CHECK(same_bits(exp(a), rounded(exp(wide_a))));
        CHECK(same_bits(atan2(a, b), rounded(atan2(wide_a, wide_b))));
        if (shape.rank() == 2) CHECK(same_bits(a.t() + b.t(), rounded(wide_a.t() + wide_b.t())));
        CHECK((a < b).to_vector<bool>() == (wide_a < wide_b).to_vector<bool>());
        Tensor x = a.clone().requires_grad_(), wide_x = wide_a.clone().requires_grad_();
        auto const d = grad({tanh(x) * b}, {x}, {b})[0];
        CHECK(d.dtype() == half);
        auto const want = grad({tanh(wide_x) * wide_b}, {wide_x}, {wide_b})[0];
        CHECK(differs(d.to(Dtype::f32), want, half == Dtype::f16 ? 4e-3 : 3e-2) == "");
      }
  });
}

TEST_CASE("integers: division, powers, bits, and what they refuse") {
  auto whole = [](std::vector<int64_t> v, Dtype d = Dtype::i64) { return tensor(v, {int64_t(v.size())}).to(d); };
  using Whole = std::vector<int64_t>;
  Tensor const a = whole({-7, 7, -7, 7}), b = whole({2, 2, -2, -2});
  CHECK(floor_divide(a, b).to_vector<int64_t>() == Whole{-4, 3, 3, -4});
  CHECK(div(a, b, Rounding::trunc).to_vector<int64_t>() == Whole{-3, 3, 3, -3});
  CHECK(remainder(a, b).to_vector<int64_t>() == Whole{1, 1, -1, -1});
  CHECK(fmod(a, b).to_vector<int64_t>() == Whole{-1, 1, -1, 1});
  CHECK(pow(a, 3).to_vector<int64_t>() == Whole{-343, 343, -343, 343});
  CHECK(gcd(whole({12, -18, 0}), whole({18, 12, 5})).to_vector<int64_t>() == Whole{6, 6, 5});
  CHECK(lcm(whole({4, -6, 0}), whole({6, 4, 5})).to_vector<int64_t>() == Whole{12, 12, 0});
  for (Dtype d : {Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64, Dtype::u8}) {
    INFO(std::string(name(d)));
    Tensor const x = whole({12, 10, 1}, d), y = whole({10, 3, 2}, d);
    CHECK((x & y).to_vector<int64_t>() == Whole{8, 2, 0});
    CHECK((x | y).to_vector<int64_t>() == Whole{14, 11, 3});
    CHECK((x ^ y).to_vector<int64_t>() == Whole{6, 9, 3});
    CHECK((~x + 1 + x).to_vector<int64_t>() == Whole{0, 0, 0});
    CHECK(bitwise_left_shift(x, y).to(Dtype::u8).to_vector<int64_t>() == Whole{0, 80, 4});
    CHECK(bitwise_right_shift(x, whole({1, 100, 0}, d)).to_vector<int64_t>() == Whole{6, 0, 1});
    CHECK(pow(x, whole({2, 1, 0}, d)).to_vector<int64_t>()[1] == 10);
  }
  CHECK(bitwise_right_shift(whole({-8}), whole({100})).item<int64_t>() == -1);
  CHECK(floor_divide(whole({std::numeric_limits<int64_t>::min()}), whole({-1})).item<int64_t>() ==
        std::numeric_limits<int64_t>::min());  // wraps, and does not trap
  Tensor const truth = tensor(std::vector<uint8_t>{1, 0}, {2}).to(Dtype::boolean), other = truth | !truth;
  CHECK((truth & other).to_vector<bool>() == std::vector<bool>{true, false});
  CHECK((truth ^ other).to_vector<bool>() == std::vector<bool>{false, true});
  CHECK(logical_xor(whole({0, 2}), tensor({0.5, 0})).to_vector<bool>() == std::vector<bool>{true, true});
  CHECK(abs(whole({-3, 3}, Dtype::i8)).to_vector<int64_t>() == Whole{3, 3});
  CHECK(sign(whole({-3, 0, 3}, Dtype::i16)).to_vector<int64_t>() == Whole{-1, 0, 1});
  CHECK(floor(whole({3})).dtype() == Dtype::i64);
  auto says = [](std::function<void()> const& call, char const* part) {
    std::string const text = error_of(call);
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  says([&] { floor_divide(a, whole({0})); }, "divided by zero");
  says([&] { pow(a, -1); }, "negative power");
  says([&] { ones({2}) & ones({2}); }, "expected integers or bools, got f32");
  says([&] { bitwise_left_shift(truth, truth); }, "expected integers, got bool");
  says([&] { truth - truth; }, "bool");
  says([&] { -truth; }, "bool");
  says(
      [&] {
        Tensor x = whole({1});
        x.add_(tensor({0.5}));
      },
      "does not fit in place of i64");
  says([&] { whole({1}).div_(whole({1})); }, "floating");
}

TEST_CASE("isclose, allclose, equal") {
  Tensor const a = tensor({1, std::nanf(""), INFINITY}), b = tensor({1.000001f, std::nanf(""), INFINITY});
  CHECK(isclose(a, b).to_vector<bool>() == std::vector<bool>{true, false, true});
  CHECK(isclose(a, b, 1e-5, 1e-8, true).to_vector<bool>() == std::vector<bool>{true, true, true});
  CHECK(isclose(a, b, 0, 0).to_vector<bool>() == std::vector<bool>{false, false, true});
  CHECK(allclose(a, b, 1e-5, 1e-8, true));
  CHECK_FALSE(allclose(a, b));
  CHECK(equal(arange(3), arange(3)));
  CHECK_FALSE(equal(arange(3), arange(4)));
  CHECK(error_of([] { isclose(ones({1}), arange(1)); }).find("one type") != std::string::npos);
}
