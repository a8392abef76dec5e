// Random tensors and dropout.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/random.h>
#include <heed/engine/tape.h>

namespace heed {

Tensor rand(Shape const& shape, Dtype dtype, Generator& generator) {
  Tensor y(shape, dtype);
  Observed const watch("rand", {}, {&y});
  dispatch_floating("rand", dtype, [&]<class T>(Type<T>) {
    kernels<RandomKernels>().of<T>().uniform(y.data<T>(), y.numel(), generator.next());
  });
  return y;
}

Tensor randn(Shape const& shape, Dtype dtype, Generator& generator) {
  Tensor y(shape, dtype);
  Observed const watch("randn", {}, {&y});
  dispatch_floating("randn", dtype, [&]<class T>(Type<T>) {
    kernels<RandomKernels>().of<T>().normal(y.data<T>(), y.numel(), generator.next());
  });
  return y;
}

Tensor randint(int64_t low, int64_t high, Shape const& shape, Generator& generator) {
  check(low < high, "randint", [&] {
    return Complaint{fmt::format("expected low < high, got {} and {}", low, high), "swap or widen the bounds"};
  });
  // The high 64 bits of (64 random bits)·span: uniform up to span·2⁻⁶⁴.
  int64_t const n = numel(shape);
  Tensor words({2 * n}, Dtype::i32), y(shape, Dtype::i64);
  Observed const watch("randint", {}, {&y});
  auto* const word = reinterpret_cast<uint32_t*>(words.data<int32_t>());
  kernels<RandomKernels>().words(word, 2 * n, generator.next());
  auto const span = uint64_t(high) - uint64_t(low);
  for (int64_t i = 0; i < n; ++i) {
    uint64_t const bits = uint64_t{word[2 * i + 1]} << 32 | word[2 * i];
    y.data<int64_t>()[i] = int64_t(uint64_t(low) + uint64_t((unsigned __int128)(bits)*span >> 64));
  }
  return y;
}

Tensor dropout(Tensor const& x, double p, Generator& generator) {
  if (p == 0) return x;
  return dropout(x, p, generator.next());
}

Tensor dropout(Tensor const& x, double p, Draw draw) {
  check_defined("dropout", x);
  check(p >= 0 && p < 1, "dropout", [&] {
    return Complaint{fmt::format("expected a probability from 0 to below 1, got {}", p), "pass the share to drop"};
  });
  if (p == 0) return x;
  Tensor const from = x.contiguous();
  Tensor y(x.shape(), x.dtype());
  Observed const watch("dropout", {&from}, {&y});
  dispatch_floating("dropout", x.dtype(), [&]<class T>(Type<T>) {
    kernels<RandomKernels>().of<T>().dropout(from.data<T>(), y.data<T>(), x.numel(), p, draw);
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
  return x * (tensor(keep, x.shape()).to(x.dtype()) / (1 - p));
}

}  // namespace heed
