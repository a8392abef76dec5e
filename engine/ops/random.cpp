// Random tensors and dropout.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/random.h>
#include <heed/engine/tape.h>

#include <cmath>

namespace heed {

Tensor rand(Shape const& shape, Dtype dtype, Generator& generator, Device device) {
  // Rounding to 16 bits must not reach 1.
  if (is_half(dtype))
    return clamp(rand(shape, Dtype::f32, generator, device), 0, dtype == Dtype::f16 ? 1 - 0x1p-11 : 1 - 0x1p-8)
        .to(dtype);
  Tensor y(shape, dtype, device);
  Observed const watch("rand", {}, {&y});
  dispatch_floating("rand", dtype, [&]<class T>(Type<T>) {
    kernels<RandomKernels>(device, "rand").of<T>().uniform(y.address<T>(), y.numel(), generator.next());
  });
  return y;
}

Tensor randn(Shape const& shape, Dtype dtype, Generator& generator, Device device) {
  if (is_half(dtype)) return randn(shape, Dtype::f32, generator, device).to(dtype);
  Tensor y(shape, dtype, device);
  Observed const watch("randn", {}, {&y});
  dispatch_floating("randn", dtype, [&]<class T>(Type<T>) {
    kernels<RandomKernels>(device, "randn").of<T>().normal(y.address<T>(), y.numel(), generator.next());
  });
  return y;
}

Tensor randint(int64_t low, int64_t high, Shape const& shape, Generator& generator, Device device) {
  check(low < high, "randint", [&] {
    return Complaint{fmt::format("expected low < high, got {} and {}", low, high), "swap or widen the bounds"};
  });
  Tensor y(shape, Dtype::i64, device);
  Observed const watch("randint", {}, {&y});
  kernels<RandomKernels>(device, "randint")
      .integers(y.address<int64_t>(), y.numel(), low, uint64_t(high) - uint64_t(low), generator.next());
  return y;
}

namespace {

void check_share(char const* op, double p) {
  check(p >= 0 && p <= 1, op, [&] {
    return Complaint{fmt::format("expected a probability from 0 to 1, got {}", p), "pass the share to drop"};
  });
}

}  // namespace

Tensor dropout(Tensor const& x, double p, Generator& generator) {
  if (p == 0) return x;
  return dropout(x, p, generator.next());
}

Tensor dropout(Tensor const& x, double p, Draw draw) {
  check_defined("dropout", x);
  check_share("dropout", p);
  if (p == 0) return x;
  if (is_half(x.dtype())) return dropout(x.to(Dtype::f32), p, draw).to(x.dtype());
  Tensor const from = x.contiguous();
  Tensor y(x.shape(), x.dtype(), x.device());
  Observed const watch("dropout", {&from}, {&y});
  dispatch_floating("dropout", x.dtype(), [&]<class T>(Type<T>) {
    kernels<RandomKernels>(x.device(), "dropout")
        .of<T>()
        .dropout(from.address<T>(), y.address<T>(), x.numel(), p, draw);
  });
  // The choices come from the draw again: linear in x, and so its own derivative.
  if (tracked(x))
    record("dropout", y, {&x}, [p, draw](Tensor const& g, Node const&) { return std::array{dropout(g, p, draw)}; });
  return y;
}

Tensor naive::dropout(Tensor const& x, double p, Draw draw) {
  std::vector<float> keep(size_t(x.numel()));
  for (size_t i = 0; i < keep.size(); ++i) {
    auto const block =
        philox4x32({uint32_t(i / 4), uint32_t(i / 4 >> 32), uint32_t(draw.offset), uint32_t(draw.offset >> 32)},
                   {uint32_t(draw.seed), uint32_t(draw.seed >> 32)});
    keep[i] = double(block[i % 4]) >= p * 0x1p32;
  }
  return x * (tensor(keep, x.shape()).to(x.dtype()) * (p < 1 ? 1 / (1 - p) : 0));
}

namespace {

/// Ones of x's channels, to draw one choice for each: [N, C, 1, ..], or [C, 1, ..] for one sample.
Tensor channels_of(char const* op, Tensor const& x, bool one_sample) {
  check_defined(op, x);
  check(x.rank() >= 2, op, [&] {
    return Complaint{fmt::format("expected x [N, C, ..], got {}", to_string(x.shape())), "put the channels on axis 1"};
  });
  Shape shape = x.shape();
  for (int a = one_sample ? 1 : 2; a < x.rank(); ++a) shape[a] = 1;
  return ones(shape, x.dtype(), x.device());
}

Tensor feature_dropout(char const* op, Tensor const& x, double p, bool one_sample, Generator& generator) {
  Tensor const channels = channels_of(op, x, one_sample);
  check_share(op, p);
  return p == 0 ? x : x * dropout(channels, p, generator);
}

/// x·(keep·a) + b(keep), keep one choice for each element of `like`.
Tensor alpha_dropout_of(Tensor const& x, Tensor const& like, double p, Generator& generator) {
  if (p == 0) return x;
  if (p == 1) return x * 0.0;
  constexpr double limit = 1.7580993408473766;  // −SELU's lower limit
  double const scale = 1 / std::sqrt((limit * limit * p + 1) * (1 - p));
  Tensor const keep = (dropout(like, p, generator) != 0.0).to(x.dtype());
  return x * (keep * scale) + ((keep - 1.0) * (limit * scale) + limit * scale * p);
}

}  // namespace

Tensor dropout1d(Tensor const& x, double p, Generator& generator) {
  return feature_dropout("dropout1d", x, p, x.defined() && x.rank() == 2, generator);
}
Tensor dropout2d(Tensor const& x, double p, Generator& generator) {
  return feature_dropout("dropout2d", x, p, false, generator);
}
Tensor dropout3d(Tensor const& x, double p, Generator& generator) {
  return feature_dropout("dropout3d", x, p, x.defined() && x.rank() == 4, generator);
}

Tensor alpha_dropout(Tensor const& x, double p, Generator& generator) {
  check_defined("alpha_dropout", x);
  check_share("alpha_dropout", p);
  return alpha_dropout_of(x, ones(x.shape(), x.dtype(), x.device()), p, generator);
}

Tensor rrelu(Tensor const& x, double lower, double upper, bool training, Generator& generator) {
  check_defined("rrelu", x);
  check(lower <= upper, "rrelu", [&] {
    return Complaint{fmt::format("expected lower <= upper, got {} and {}", lower, upper), "swap them"};
  });
  if (!training) return leaky_relu(x, (lower + upper) / 2);
  return where(x > 0.0, x, x * (rand(x.shape(), x.dtype(), generator, x.device()) * (upper - lower) + lower));
}

Tensor feature_alpha_dropout(Tensor const& x, double p, Generator& generator) {
  Tensor const channels = channels_of("feature_alpha_dropout", x, false);
  check_share("feature_alpha_dropout", p);
  return alpha_dropout_of(x, channels, p, generator);
}

}  // namespace heed
