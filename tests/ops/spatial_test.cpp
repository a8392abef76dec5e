// Convolutions, pooling, resampling and recurrent layers on an emulated accelerator, in the types and with the second
// gradients that the records of operations leave out there.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/emulated.h>

#include <cmath>
#include <functional>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

using Op = std::function<Tensor(std::vector<Tensor> const&)>;

/// Largest |there − here|/(1 + |here|) of the result and, of floating operands, of the gradients of Σ y², and of
/// theirs.
double difference(std::vector<Tensor> const& operands, Op const& op, bool second = false) {
  double most = 0;
  auto const compare = [&](Tensor const& there, Tensor const& here) {
    CHECK(there.device() == emulated_device());
    CHECK(there.dtype() == here.dtype());
    CHECK(there.shape() == here.shape());
    auto const a = there.to_vector<double>(), b = here.to_vector<double>();
    for (size_t i = 0; i < a.size(); ++i) {
      double const d = a[i] == b[i] ? 0 : std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
      if (!(d <= most)) most = d;
    }
  };
  std::vector<Tensor> here, there;
  for (Tensor const& t : operands) {
    here.push_back(t.clone());
    there.push_back(t.to(emulated_device()));
    for (Tensor* x : {&here.back(), &there.back()})
      if (is_floating(t.dtype())) x->requires_grad_();
  }
  Tensor const y = op(here), z = op(there);
  compare(z.detach(), y.detach());
  if (!y.requires_grad()) return most;
  auto const slopes = [](Tensor const& of, std::vector<Tensor> const& in, bool again) {
    return grad({sum(of * of)}, in, {}, {.create_graph = again});
  };
  auto const want = slopes(y, here, second), got = slopes(z, there, second);
  for (size_t i = 0; i < want.size(); ++i) compare(got[i].detach(), want[i].detach());
  if (!second) return most;
  auto const total = [](std::vector<Tensor> const& d) {
    Tensor all = sum(d[0] * d[0]);
    for (size_t i = 1; i < d.size(); ++i) all = all + sum(d[i] * d[i]);
    return all;
  };
  auto const twice = grad({total(want)}, here), twice_there = grad({total(got)}, there);
  for (size_t i = 0; i < twice.size(); ++i) compare(twice_there[i], twice[i]);
  return most;
}

Tensor numbers(Shape const& shape, Dtype dtype, double step = 0.37) {
  std::vector<double> values(static_cast<size_t>(numel(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = 2 * std::sin(step * double(i * i % 97) + double(i));
  return tensor(values, shape).to(dtype);
}
Tensor counts(Shape const& shape, Dtype dtype) {
  std::vector<int64_t> values(static_cast<size_t>(numel(shape)));
  for (size_t i = 0; i < values.size(); ++i) values[i] = int64_t(i * 7919 % 251);
  return tensor(values, shape).to(dtype);
}

/// Bounds of a type: products are summed in another order.
double bound(Dtype dtype) { return dtype == Dtype::f64 ? 1e-13 : dtype == Dtype::f32 ? 1e-4 : 2e-2; }

}  // namespace

TEST_CASE("convolutions on an emulated accelerator: types, second gradients") {
  Op const strided = [](auto const& x) { return conv2d(x[0], x[1], x[2], {.stride = 2, .padding = 1}); };
  Op const back = [](auto const& x) {
    return conv_transpose2d(x[0], x[1], x[2], {.stride = 2, .padding = 1, .output_padding = 1});
  };
  for (Dtype t : {Dtype::f64, Dtype::f16, Dtype::bf16}) {
    CHECK(difference({numbers({2, 3, 5, 6}, t), numbers({4, 3, 3, 2}, t), numbers({4}, t)}, strided) < bound(t));
    CHECK(difference({numbers({2, 4, 3, 4}, t), numbers({4, 3, 3, 2}, t), numbers({3}, t)}, back) < bound(t));
  }
  Dtype const f64 = Dtype::f64;
  CHECK(difference({numbers({1, 2, 5, 4}, f64), numbers({3, 2, 3, 2}, f64), numbers({3}, f64)}, strided, true) < 1e-12);
  CHECK(difference({numbers({1, 3, 3, 2}, f64), numbers({3, 2, 3, 2}, f64), numbers({2}, f64)}, back, true) < 1e-12);
  CHECK(difference(
            {numbers({2, 4, 5, 4}, f64), numbers({4, 1, 3, 3}, f64), numbers({4}, f64)},
            [](auto const& x) { return conv2d(x[0], x[1], x[2], {.padding = 1, .groups = 4}); }, true) < 1e-12);
  CHECK(difference({ones({2, 0, 4}), ones({9, 0, 3}), numbers({9}, Dtype::f32)},
                   [](auto const& x) { return conv1d(x[0], x[1], x[2]); }) == 0);
  CHECK(difference({ones({0, 2, 4}), ones({9, 2, 3}), numbers({9}, Dtype::f32)},
                   [](auto const& x) { return conv1d(x[0], x[1], x[2]); }) == 0);
  for (Dtype t : {Dtype::u8, Dtype::i32, Dtype::i64}) {
    CHECK(difference({counts({2, 3, 6}, t), counts({4, 3, 2}, t), counts({4}, t)},
                     [](auto const& x) { return conv1d(x[0], x[1], x[2], {.stride = 2, .padding = 1}); }) == 0);
    CHECK(difference({counts({2, 4, 3}, t), counts({4, 3, 2}, t)},
                     [](auto const& x) { return conv_transpose1d(x[0], x[1], {}, {.stride = 2}); }) == 0);
  }
}

TEST_CASE("pooling on an emulated accelerator: types, second gradients, NaN and what no window sees") {
  Op const largest = [](auto const& x) { return max_pool2d(x[0], {3, 2}, {.stride = 2, .padding = 1}); };
  Op const where_from = [](auto const& x) { return max_pool2d_with_indices(x[0], 3, {.stride = 2}).second; };
  Op const mean = [](auto const& x) { return avg_pool2d(x[0], 2, {.stride = 1, .padding = 1}); };
  for (Dtype t : {Dtype::f64, Dtype::f16, Dtype::bf16, Dtype::u8, Dtype::i64}) {
    Tensor const x = is_floating(t) ? numbers({2, 3, 5, 6}, t) : counts({2, 3, 5, 6}, t);
    CHECK(difference({x}, largest) < bound(t));
    CHECK(difference({x}, where_from) == 0);
    if (t != Dtype::u8) CHECK(difference({x}, mean) < bound(t));
  }
  CHECK(difference({numbers({2, 5, 6}, Dtype::f64)}, largest, true) < 1e-13);
  CHECK(difference({numbers({2, 5, 6}, Dtype::f64)}, mean, true) < 1e-13);
  CHECK(difference(
            {numbers({1, 2, 7}, Dtype::f64)}, [](auto const& x) { return adaptive_max_pool1d(x[0], 4); }, true) <
        1e-13);
  // Dilation that steps over all of x, elements between windows, NaN.
  CHECK(difference({ones({1, 1, 1})}, [](auto const& x) {
          return max_pool1d_with_indices(x[0], 2, {.padding = 1, .dilation = 2}).second;
        }) == 0);
  CHECK(difference({numbers({1, 1, 9}, Dtype::f32)}, [](auto const& x) { return max_pool1d(x[0], 2, {.stride = 4}); }) <
        1e-6);
  Tensor const broken = tensor(std::vector<float>{1, NAN, 3, 2, NAN, NAN}, {1, 6}).to(emulated_device());
  auto const [y, index] = max_pool1d_with_indices(broken, 2);
  CHECK(index.to_vector<int64_t>() == std::vector<int64_t>{1, 2, 5});
  CHECK(std::isnan(y.to_vector()[0]));
}

TEST_CASE("max_unpool on an emulated accelerator: the last of those in one place wins; wrong indices are refused") {
  Tensor const x = tensor({{1, 2, 3, 4}}).to(emulated_device());
  Tensor const index = tensor(std::vector<int64_t>{2, 0, 2, 7}, {1, 4});
  CHECK(max_unpool1d(x, index.to(emulated_device()), 2).to_vector() == std::vector<float>{2, 0, 3, 0, 0, 0, 0, 4});
  CHECK_THROWS_WITH_AS(max_unpool1d(x, (index + 1).to(emulated_device()), 2), doctest::Contains("index 8"), Error);
}

TEST_CASE("resampling on an emulated accelerator: types, second gradients") {
  Op const bilinear = [](auto const& x) { return interpolate(x[0], {.size = {7, 5}, .mode = Interpolation::linear}); };
  Op const bicubic = [](auto const& x) {
    return interpolate(x[0], {.size = {3, 4}, .mode = Interpolation::bicubic, .antialias = true});
  };
  Op const sample = [](auto const& x) { return grid_sample(x[0], x[1] * 0.6, {.padding = GridPadding::reflection}); };
  for (Dtype t : {Dtype::f64, Dtype::f16, Dtype::bf16}) {
    CHECK(difference({numbers({2, 3, 4, 6}, t)}, bilinear) < bound(t));
    CHECK(difference({numbers({2, 3, 4, 6}, t)}, bicubic) < bound(t));
  }
  CHECK(difference({numbers({2, 3, 4, 6}, Dtype::f64), numbers({2, 3, 2, 2}, Dtype::f64)}, sample) < 1e-12);
  CHECK(difference({counts({1, 3, 5, 6}, Dtype::u8)}, bilinear) == 0);
  CHECK(difference({counts({1, 3, 5, 6}, Dtype::u8)}, bicubic) == 0);
  // More channels than one look at an index serves; many reads of one place.
  CHECK(difference({numbers({2, 9, 3, 2}, Dtype::f64), numbers({2, 5, 7, 2}, Dtype::f64)}, sample, true) < 1e-11);
  Op const columns = [](auto const& x) { return im2col(x[0], {.kernel = {3, 2}, .padding = 1, .stride = 2}); };
  for (Dtype t : {Dtype::f64, Dtype::bf16})
    CHECK(difference({numbers({2, 3, 4, 6}, t)}, columns, t == Dtype::f64) < bound(t));
}

TEST_CASE("recurrent layers on an emulated accelerator: types, second gradients") {
  for (Dtype t : {Dtype::f64, Dtype::f16}) {
    bool const second = t == Dtype::f64;
    std::vector<Tensor> const all{numbers({3, 2, 3}, t), numbers({1, 2, 2}, t), numbers({1, 2, 2}, t),
                                  numbers({8, 3}, t),    numbers({8, 2}, t),    numbers({8}, t),
                                  numbers({8}, t)};
    CHECK(difference(
              all,
              [](auto const& x) {
                return std::get<0>(lstm(x[0], x[1], x[2], {{x[3], x[4], x[5], x[6], {}}}, {}));
              },
              second) < 10 * bound(t));
    std::vector<Tensor> const fewer{numbers({3, 2, 3}, t), numbers({1, 2, 2}, t), numbers({6, 3}, t),
                                    numbers({6, 2}, t)};
    CHECK(difference(
              fewer,
              [](auto const& x) {
                return gru(x[0], x[1], {{x[2], x[3], {}, {}, {}}}, {}).first;
              },
              second) < 10 * bound(t));
  }
}
