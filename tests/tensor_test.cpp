// Tensors without the tape: views and their memory, shapes, types, copies, printing, random numbers.
#include <doctest/doctest.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

using Values = std::vector<double>;
Values values(Tensor const& t) { return t.to_vector<double>(); }
bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }
bool shares(Tensor const& a, Tensor const& b) { return &a.storage() == &b.storage(); }
Tensor counted(Shape const& shape) { return arange(numel(shape)).reshape(shape); }

}  // namespace

TEST_CASE("views share memory, and know whether they are contiguous") {
  Tensor const x = counted({2, 3, 4});
  CHECK(x.is_contiguous());
  CHECK(x.strides() == Strides{12, 4, 1});
  Tensor const t = x.transpose(0, 2);
  CHECK(shares(t, x));
  CHECK(t.shape() == Shape{4, 3, 2});
  CHECK(t.strides() == Strides{1, 4, 12});
  CHECK_FALSE(t.is_contiguous());
  CHECK(t.at(3, 1, 1).item<int64_t>() == x.at(1, 1, 3).item<int64_t>());
  CHECK(x.permute({1, 2, 0}).at(2, 3, 1).item<int64_t>() == 23);
  CHECK(x.permute({-2, -1, 0}).shape() == Shape{3, 4, 2});
  CHECK(x.t().shape() == Shape{2, 4, 3});
  // Axes of size 1 have no say in contiguity.
  CHECK(counted({3, 1}).t().is_contiguous());
  CHECK(zeros({0, 3}).t().is_contiguous());
  CHECK(x.slice(0, 1, 2).is_contiguous());
  CHECK_FALSE(x.slice(2, 0, 2).is_contiguous());
  CHECK(same_bits(t.contiguous(), t));
  CHECK_FALSE(shares(t.contiguous(), x));
  CHECK(shares(x.contiguous(), x));
  CHECK_FALSE(shares(x.clone(), x));
}

TEST_CASE("transposing copies of tensors beyond the caches") {
  for (Shape const& shape : {Shape{2064, 2080}, Shape{3, 1200, 1203}, Shape{4, 16, 70000}}) {
    Tensor const x = arange(numel(shape)).to(Dtype::f32).reshape(shape), y = x.t().contiguous();
    bool same = true;
    int64_t const rows = x.size(-2), columns = x.size(-1);
    auto const *from = x.data<float>(), *to = y.data<float>();
    for (int64_t b = 0; b < x.numel() / rows / columns; ++b)
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j)
          same &= from[(b * rows + i) * columns + j] == to[(b * columns + j) * rows + i];
    CHECK(same);
    Tensor target = zeros(y.shape());
    target.t().copy_(x);
    CHECK(equal(target, y));
  }
}

TEST_CASE("reshape is a view where strides allow, else a copy") {
  Tensor const x = counted({2, 3, 4});
  CHECK(shares(x.reshape({6, 4}), x));
  CHECK(shares(x.reshape({4, -1, 2}), x));
  CHECK(x.reshape({4, -1, 2}).shape() == Shape{4, 3, 2});
  CHECK(x.reshape({-1}).shape() == Shape{24});
  // The first two axes of a column slice still join; the last two do not.
  Tensor const part = x.slice(2, 0, 2);
  CHECK(shares(part.reshape({6, 2}), x));
  CHECK_FALSE(shares(part.reshape({2, 6}), x));
  CHECK(values(part.reshape({2, 6})) == Values{0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21});
  CHECK(values(x.t().reshape({24})) == values(x.t()));
  CHECK(shares(x.transpose(0, 1).view({3, 2, 2, 2}), x));  // an axis may be split
  CHECK(values(x.transpose(0, 1).view({3, 2, 2, 2})) == values(x.transpose(0, 1)));
  CHECK(contains(error_of([&] { x.t().view({24}); }), "view"));
  CHECK(x.flatten().shape() == Shape{24});
  CHECK(x.flatten(1).shape() == Shape{2, 12});
  CHECK(x.flatten(0, 1).shape() == Shape{6, 4});
  CHECK(x.flatten(-2).shape() == Shape{2, 12});
  CHECK(scalar(3).reshape({1, 1}).shape() == Shape{1, 1});
  CHECK(scalar(3).flatten().shape() == Shape{1});
  CHECK(ones({1}).reshape({}).rank() == 0);
  CHECK(zeros({0, 3}).reshape({3, 0}).shape() == Shape{3, 0});
  CHECK(zeros({0, 3}).reshape({-1, 3}).shape() == Shape{0, 3});
  CHECK(contains(error_of([] { zeros({0, 3}).reshape({0, -1}); }), "reshape"));  // −1 could be anything
  CHECK(contains(error_of([] { ones({6}).reshape({-1, 4}); }), "[6] (6 elements) cannot become [-1, 4]"));
  CHECK(contains(error_of([] { ones({6}).reshape({-1, -1}); }), "[-1, -1]"));
  CHECK(error_of([] { ones({6}).reshape({-2, -3}); }) != "");
  CHECK(error_of([] { ones({6}).reshape({1, 1, 1, 1, 1, 1, 1, 1, 6}); }) != "");
  // Every reshape of an expanded or stepped tensor reads the right elements.
  Tensor const odd = counted({2, 6, 3}).slice(1, 0, 6, 2).unsqueeze(1).expand({2, 2, 3, 3});
  for (Shape const& to : {Shape{36}, Shape{4, 9}, Shape{12, 3}, Shape{2, 18}, Shape{2, 2, 9}, Shape{4, 3, 3},
                          Shape{2, 2, 3, 1, 3}, Shape{6, 6}})
    CHECK(values(odd.reshape(to)) == values(odd));
}

TEST_CASE("slices: negative ends, clipping, steps") {
  Tensor const x = arange(10);
  CHECK(values(x.slice(0, 2, 5)) == Values{2, 3, 4});
  CHECK(values(x.slice(0, -3, 10)) == Values{7, 8, 9});
  CHECK(values(x.slice(0, -3, -1)) == Values{7, 8});
  CHECK(values(x.slice(-1, 0, 100, 4)) == Values{0, 4, 8});
  CHECK(values(x.slice(0, 1, 9, 3)) == Values{1, 4, 7});
  CHECK(values(x.slice(0, -100, 2)) == Values{0, 1});
  CHECK(x.slice(0, 5, 5).numel() == 0);
  CHECK(x.slice(0, 7, 3).numel() == 0);
  CHECK(x.slice(0, 20, 30).numel() == 0);
  CHECK(x.slice(0, 0, 10, 100).numel() == 1);
  CHECK(values(x.slice(0, 1, 10, 2).slice(0, 1, 5, 2)) == Values{3, 7});
  CHECK(x.at(-1).item<int64_t>() == 9);
  CHECK(x.select(0, -10).item<int64_t>() == 0);
  CHECK(contains(error_of([&] { x.select(0, 10); }), "index 10 is outside axis 0 of shape [10]"));
  CHECK(contains(error_of([&] { x.at(-11); }), "use -10 to 9"));
  CHECK(contains(error_of([&] { x.at(0, 0); }), "select"));
}

TEST_CASE("axes: insert, remove, expand") {
  Tensor const x = counted({2, 3});
  CHECK(x.unsqueeze(0).shape() == Shape{1, 2, 3});
  CHECK(x.unsqueeze(-1).shape() == Shape{2, 3, 1});
  CHECK(x.unsqueeze(-2).shape() == Shape{2, 1, 3});
  CHECK(x.unsqueeze(1).squeeze(1).shape() == Shape{2, 3});
  CHECK(x.squeeze(0).shape() == Shape{2, 3});  // not of size 1: as it is
  CHECK(x.unsqueeze(1).is_contiguous());
  Tensor const wide = x.unsqueeze(1).expand({4, 2, 5, 3});
  CHECK(shares(wide, x));
  CHECK(wide.strides()[0] == 0);
  CHECK(wide.at(3, 1, 4, 2).item<int64_t>() == 5);
  CHECK_FALSE(wide.is_contiguous());
  CHECK(scalar(2).expand({3}).to_vector() == std::vector<float>{2, 2, 2});
  CHECK(ones({1, 3}).expand({0, 3}).numel() == 0);
  CHECK(contains(error_of([&] { x.unsqueeze(3); }), "unsqueeze: expected an axis from -3 to 2"));
  CHECK(contains(error_of([&] { x.squeeze(2); }), "squeeze"));
  CHECK(contains(error_of([&] { x.size(2); }), "size: expected an axis from -2 to 1 for a tensor of rank 2, got 2"));
  CHECK(error_of([] { zeros({1, 1, 1, 1, 1, 1, 1, 1}).unsqueeze(0); }) != "");
}

TEST_CASE("cat, stack, split") {
  Tensor const a = counted({2, 2}), b = counted({2, 1}) + 10.0;
  CHECK(values(cat({a, b}, 1)) == Values{0, 1, 10, 2, 3, 11});
  CHECK(values(cat({a, b}, -1)) == values(cat({a, b}, 1)));
  CHECK(values(cat({a.t(), a}, 0)) == Values{0, 2, 1, 3, 0, 1, 2, 3});
  CHECK(cat({a, a.to(Dtype::f32)}).dtype() == Dtype::f32);
  CHECK(cat({zeros({0, 2}), ones({1, 2})}).shape() == Shape{1, 2});
  CHECK(values(stack({a, a + 4.0}, 1)) == Values{0, 1, 4, 5, 2, 3, 6, 7});
  CHECK(stack({scalar(1), scalar(2)}).shape() == Shape{2});
  CHECK(stack({a, a}, -1).shape() == Shape{2, 2, 2});
  auto const parts = split(arange(7), 3);
  REQUIRE(parts.size() == 3);
  CHECK(values(parts[2]) == Values{6});
  CHECK(split(a, 1, 1)[1].shape() == Shape{2, 1});
  CHECK(split(zeros({0}), 2).size() == 1);
}

TEST_CASE("creation") {
  CHECK(values(arange(2, 11, 3)) == Values{2, 5, 8});
  CHECK(values(arange(5, 0, -2)) == Values{5, 3, 1});
  CHECK(arange(3, 3).numel() == 0);
  CHECK(arange(0, 3, 1, Dtype::f32).dtype() == Dtype::f32);
  CHECK(error_of([] { arange(0, 3, 0); }) != "");
  CHECK(values(full({2, 2}, 1.5, Dtype::f64)) == Values{1.5, 1.5, 1.5, 1.5});
  CHECK(values(tensor({{1, 2}, {3, 4}})) == Values{1, 2, 3, 4});
  CHECK(tensor({1, 2, 3}).shape() == Shape{3});
  CHECK(scalar(2.5).rank() == 0);
  CHECK(scalar(2.5).item() == 2.5);
  CHECK(zeros_like(ones({2}, Dtype::f64)).dtype() == Dtype::f64);
  CHECK(values(ones_like(zeros({2}))) == Values{1, 1});
  CHECK(empty({2, 3}).shape() == Shape{2, 3});
  CHECK(contains(error_of([] { tensor(std::vector<float>{1, 2}, {3}); }), "shape [3] needs 3 values, got 2"));
  CHECK(contains(error_of([] { zeros({2, -1}); }), "[2, -1]"));
  CHECK(error_of([] { tensor({{1, 2}, {3}}); }) != "");
  Tensor const none = zeros({});
  CHECK(none.numel() == 1);
  CHECK(zeros({3, 0}).to_vector().empty());
}

TEST_CASE("item and data check what they are asked for") {
  CHECK(ones({1, 1}).item() == 1);
  CHECK(contains(error_of([] { ones({2}).item(); }), "item: expected one element, got shape [2]"));
  CHECK(error_of([] { zeros({0}).item(); }) != "");
  CHECK(contains(error_of([] { ones({2}).data<double>(); }), "data: expected element type f64, the tensor holds f32"));
  CHECK(*arange(5).at(3).data<int64_t>() == 3);
  CHECK((arange(3) > 1.0).at(0).item<bool>() == false);
}

TEST_CASE("to_string") {
  CHECK(to_string(tensor({{1, 2.5}, {-3, 4}})) == "[[1, 2.5],\n [-3, 4]]  f32 [2, 2]");
  CHECK(to_string(arange(3)) == "[0, 1, 2]  i64 [3]");
  CHECK(to_string(scalar(0.125, Dtype::f64)) == "0.125  f64 []");
  CHECK(to_string(zeros({0, 2})) == "[]  f32 [0, 2]");
  CHECK(to_string(Tensor()) == "undefined");
  CHECK(contains(to_string(arange(100)), "[0, 1, 2, …, 97, 98, 99]"));
  CHECK(to_string(counted({2, 2}).t()) == "[[0, 2],\n [1, 3]]  i64 [2, 2]");
  CHECK(to_string(tensor({1, 2}) > 1.0) == "[0, 1]  bool [2]");
  CHECK(contains(to_string(counted({50, 2}).requires_grad() ? Tensor() : counted({50, 2})), "…"));
}

TEST_CASE("types of results") {
  auto type = [](Dtype a, Dtype b) { return (zeros({2}, a) + zeros({2}, b)).dtype(); };
  using enum Dtype;
  CHECK(type(f32, f64) == f64);
  CHECK(type(f32, i64) == f32);
  CHECK(type(i32, i64) == i64);
  CHECK(type(u8, i32) == i32);
  CHECK(type(boolean, u8) == u8);
  CHECK(type(boolean, f64) == f64);
  // Rank 0 is weak against a tensor of its kind, numbers against all.
  CHECK((zeros({2}) + scalar(1, f64)).dtype() == f32);
  CHECK((scalar(1, f64) * zeros({2})).dtype() == f32);
  CHECK((scalar(1, f64) * scalar(1)).dtype() == f64);
  CHECK((zeros({2}, i64) + scalar(1, f64)).dtype() == f64);
  CHECK((zeros({2}) + 1e300).dtype() == f32);
  CHECK((arange(3) + 1).dtype() == i64);
  CHECK((arange(3) + 1.0).dtype() == f32);
  CHECK((arange(3) * 0.5).dtype() == f32);
  CHECK((2 - arange(3)).dtype() == i64);
  CHECK(values(2 - arange(3)) == Values{2, 1, 0});
  CHECK((arange(3) / 2.0).dtype() == f32);
  CHECK(values(arange(3) / 2.0) == Values{0, 0.5, 1});
  CHECK(values(arange(1, 3) / arange(2, 4)) == Values{0.5, double(2.f / 3.f)});
  CHECK(exp(arange(2)).dtype() == f32);
  CHECK(sum(arange(4)).dtype() == i64);
  CHECK(sum(arange(4)).item() == 6);
  CHECK(sum(arange(4) > 1.0).item() == 2);
  CHECK(sum(counted({2, 3}), {0}).to_vector<int64_t>() == std::vector<int64_t>{3, 5, 7});
  CHECK(where(ones({2}) > 0.0, zeros({2}, i64), zeros({2})).dtype() == f32);
  CHECK(matmul(ones({2, 2}), ones({2, 2}, f64)).dtype() == f64);
}

TEST_CASE("integers") {
  Tensor const a = arange(-2, 3), b = full({5}, 2, Dtype::i64);
  CHECK(values(a + b) == Values{0, 1, 2, 3, 4});
  CHECK(values(a - b) == Values{-4, -3, -2, -1, 0});
  CHECK(values(a * b) == Values{-4, -2, 0, 2, 4});
  CHECK(values(maximum(a, b * 0.0)) == Values{0, 0, 0, 1, 2});
  CHECK(values(minimum(a, b * 0.0)) == Values{-2, -1, 0, 0, 0});
  CHECK(values(-a) == Values{2, 1, 0, -1, -2});
  CHECK((-a).dtype() == Dtype::i64);
  CHECK(values(arange(2).unsqueeze(1) + arange(3)) == Values{0, 1, 2, 1, 2, 3});
  // 2⁵³ + 1 is an i64 and no f64.
  Tensor const large = full({1}, 0x1p53, Dtype::i64) + 1;
  CHECK(large.item<int64_t>() == (int64_t{1} << 53) + 1);
  CHECK((large == large - 1).item<bool>() == false);
  Tensor const bytes = tensor(std::vector<uint8_t>{1, 44, 255}, {3});
  CHECK(values(bytes + bytes) == Values{2, 88, 254});
  CHECK(values((bytes == 44.0).to(Dtype::u8)) == Values{0, 1, 0});
  CHECK(values((bytes == 300.0).to(Dtype::u8)) == Values{0, 0, 0});  // not 300 mod 256
  CHECK(values((bytes > -1.0).to(Dtype::u8)) == Values{1, 1, 1});
  CHECK(values((bytes < 1e30).to(Dtype::u8)) == Values{1, 1, 1});
  CHECK(values((arange(3) < 0.5).to(Dtype::u8)) == Values{1, 0, 0});
  CHECK(values((tensor(std::vector<int32_t>{5, -5}, {2}) < 0x1p40).to(Dtype::u8)) == Values{1, 1});
}

TEST_CASE("comparisons give bool, and NaN is unordered") {
  double const nan_ = std::numeric_limits<double>::quiet_NaN();
  on_every_isa([&](Isa level) {
    INFO(std::string(name(level)));
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      Values left, right;
      for (int i = 0; i < 40; ++i)
        left.push_back(i % 3 == 0 ? nan_ : i % 5), right.push_back(i % 7 == 0 ? nan_ : i % 4);
      Tensor const a = tensor(left, {40}).to(dtype), b = tensor(right, {40}).to(dtype);
      CHECK((a < b).dtype() == Dtype::boolean);
      auto check_all = [&](Tensor const& got, auto compare) {
        auto const v = got.to_vector<int>();
        for (size_t i = 0; i < 40; ++i) CHECK(v[i] == int(compare(left[i], right[i])));
      };
      check_all(a == b, [](double x, double y) { return x == y; });
      check_all(a != b, [](double x, double y) { return x != y; });
      check_all(a < b, [](double x, double y) { return x < y; });
      check_all(a <= b, [](double x, double y) { return x <= y; });
      check_all(a > b, [](double x, double y) { return x > y; });
      check_all(a >= b, [](double x, double y) { return x >= y; });
      check_all(a > 2.0, [](double x, double) { return x > 2; });
      check_all(a != 2.0, [](double x, double) { return x != 2; });
      check_all((a > 1.0) & (b > 1.0), [](double x, double y) { return x > 1 && y > 1; });
      check_all((a > 1.0) | (b > 1.0), [](double x, double y) { return x > 1 || y > 1; });
      check_all(!(a > 1.0), [](double x, double) { return !(x > 1); });
    }
  });
  CHECK((ones({2, 1}) < ones({3})).shape() == Shape{2, 3});
  CHECK_FALSE((ones({2}).requires_grad_() < 2.0).requires_grad());
  CHECK(contains(error_of([] { ones({2}) & (ones({2}) > 0.0); }), "expected integers or bools, got f32"));
  CHECK(contains(error_of([] { ones({2}) < ones({3}); }), "shapes [2] and [3] do not broadcast"));
}

TEST_CASE("conversions") {
  using enum Dtype;
  Tensor const x = tensor(Values{-1.7, 0, 2.5, 300}, {4});
  CHECK(values(x.to(i64)) == Values{-1, 0, 2, 300});
  CHECK(values(x.to(i32)) == Values{-1, 0, 2, 300});
  CHECK(values(x.to(boolean)) == Values{1, 0, 1, 1});
  CHECK(values(x.to(f32)) == Values{double(-1.7f), 0, 2.5, 300});
  CHECK(shares(x.to(f64), x));
  CHECK(values(counted({2, 3}).t().to(f32)) == Values{0, 3, 1, 4, 2, 5});
  CHECK(tensor(std::vector<uint8_t>{0, 7}, {2}).to(boolean).to(f64).to_vector<double>() == Values{0, 1});
}

TEST_CASE("in place: through views, onto itself, with broadcasting and versions") {
  Tensor x = zeros({3, 4});
  x.slice(1, 1, 4, 2).fill_(1);
  CHECK(values(x) == Values{0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1});
  x.select(0, 1).copy_(tensor({5, 6, 7, 8}));
  CHECK(values(x.select(0, 1)) == Values{5, 6, 7, 8});
  x.t().select(0, 0).add_(ones({3}), 10);
  CHECK(values(x.select(1, 0)) == Values{10, 15, 10});
  x.copy_(tensor({1, 2, 3, 4}));  // broadcast
  CHECK(values(x.select(0, 2)) == Values{1, 2, 3, 4});
  x.mul_(2);
  x.sub_(ones({3, 1}));
  x.div_(scalar(2));
  CHECK(values(x.select(0, 0)) == Values{0.5, 1.5, 2.5, 3.5});
  x.copy_(full({3, 4}, 7, Dtype::i64));  // converts
  CHECK(x.dtype() == Dtype::f32);
  CHECK(values(x.at(0)) == Values{7, 7, 7, 7});
  uint32_t const version = x.storage().version();
  x.zero_();
  CHECK(x.storage().version() > version);
  CHECK(x.slice(0, 0, 1).storage().version() == x.storage().version());
  // Overlapping source and target.
  Tensor line = arange(6);
  line.slice(0, 1, 6).copy_(line.slice(0, 0, 5));
  CHECK(values(line) == Values{0, 0, 1, 2, 3, 4});
  Tensor square_ = counted({3, 3});
  square_.copy_(square_.t());
  CHECK(values(square_) == Values{0, 3, 6, 1, 4, 7, 2, 5, 8});
  Tensor twice = tensor({1, 2, 3});
  twice.add_(twice);
  CHECK(values(twice) == Values{2, 4, 6});
  Tensor shifted = tensor({1, 2, 3, 4});
  shifted.slice(0, 1, 4).add_(shifted.slice(0, 0, 3));
  CHECK(values(shifted) == Values{1, 3, 5, 7});
  Tensor whole = arange(3);
  whole.add_(full({3}, 2, Dtype::i64));
  CHECK(values(whole) == Values{2, 3, 4});
  CHECK(contains(error_of([&] { x.copy_(ones({5})); }), "copy_: shapes [5] and [3, 4] do not broadcast"));
  CHECK(contains(error_of([&] { x.copy_(ones({2, 3, 4})); }), "shape [2, 3, 4] cannot be copied into [3, 4]"));
  CHECK(contains(error_of([&] { x.add_(ones({2, 3, 4})); }), "does not fit in place"));
  CHECK(contains(error_of([&] { x.add_(Tensor()); }), "add_: expected a tensor"));
  CHECK(contains(error_of([&] { x.copy_(Tensor()); }), "copy_"));
}

TEST_CASE("sizes are checked for overflow before anything is allocated") {
  int64_t const huge = int64_t{1} << 40;
  CHECK(contains(error_of([&] { zeros({huge, huge}); }), "[1099511627776, 1099511627776]"));
  CHECK(error_of([&] { ones({1}).expand({huge, huge}); }) != "");
  CHECK(numel({huge, 0, huge}) == 0);
  CHECK(error_of([] { Dims{1, 2, 3, 4, 5, 6, 7, 8, 9}; }) != "");
}

TEST_CASE("broadcast, strides, axes as functions") {
  CHECK(broadcast("f", {2, 1, 3}, {4, 1}) == Shape{2, 4, 3});
  CHECK(broadcast("f", {}, {2}) == Shape{2});
  CHECK(broadcast("f", {0}, {1}) == Shape{0});
  CHECK(contains(error_of([] { broadcast("f", {0}, {2}); }),
                 "f: shapes [0] and [2] do not broadcast: axis -1 has sizes 0 and 2"));
  CHECK(broadcast_strides({3, 1}, {1, 1}, {2, 3, 4}) == Strides{0, 1, 0});
  CHECK(normalize_axis("f", -1, 3) == 2);
  CHECK(contains(error_of([] { normalize_axis("f", 3, 3); }),
                 "expected an axis from -3 to 2 for a tensor of rank 3, got 3"));
}

TEST_CASE("random numbers: reproducible, per draw, with the right moments on every level") {
  Generator g(7);
  Tensor const first = rand({1000}, Dtype::f32, g), second = rand({1000}, Dtype::f32, g);
  CHECK(g.offset() == 2);
  CHECK_FALSE(same_bits(first, second));
  on_every_isa([&](Isa level) {
    INFO(std::string(name(level)));
    Generator again(7);
    CHECK(same_bits(rand({1000}, Dtype::f32, again), first));
    CHECK(same_bits(rand({1000}, Dtype::f32, again), second));
    Generator n(3);
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      Tensor const u = rand({40000}, dtype, n), z = randn({40000}, dtype, n);
      CHECK(amin(u, {0}).item() >= 0);
      CHECK(amax(u, {0}).item() < 1);
      CHECK(std::abs(mean(u).item() - 0.5) < 0.01);
      CHECK(std::abs(var(u, {0}).item() - 1. / 12) < 0.005);
      CHECK(std::abs(mean(z).item()) < 0.03);
      CHECK(std::abs(var(z, {0}).item() - 1) < 0.04);
      CHECK(std::abs(mean(z * z * z * z).item() - 3) < 0.3);
    }
    Tensor const dice = randint(-2, 4, {6000}, n);
    CHECK(dice.dtype() == Dtype::i64);
    auto const rolled = dice.to_vector<int64_t>();
    std::set<int64_t> const faces(rolled.begin(), rolled.end());
    CHECK(faces == std::set<int64_t>{-2, -1, 0, 1, 2, 3});
    Tensor const kept = dropout(ones({40000}), 0.25, Draw{1, 2});
    CHECK(std::abs(mean(kept).item() - 1) < 0.02);
    CHECK(std::abs(mean((kept == 0.0).to(Dtype::f32)).item() - 0.25) < 0.01);
  });
  // A prefix of a draw is a shorter draw: element i depends on i alone.
  Generator a(9), b(9);
  CHECK(same_bits(rand({1000}, Dtype::f32, a).slice(0, 0, 33), rand({33}, Dtype::f32, b)));
  CHECK(contains(error_of([] { rand({2}, Dtype::i64); }), "rand: expected f32 or f64, got i64"));
  CHECK(contains(error_of([] { randint(3, 3, {2}); }), "expected low < high"));
  seed(5);
  Tensor const mine = rand({4});
  seed(5);
  CHECK(same_bits(rand({4}), mine));
  std::thread([&] {  // each thread has a generator of its own
    seed(5);
    CHECK(same_bits(rand({4}), mine));
  })
      .join();
}

TEST_CASE("Philox: the published test vectors") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  uint32_t const all = 0xffffffff;
  CHECK(philox4x32({all, all, all, all}, {all, all}) ==
        std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}
