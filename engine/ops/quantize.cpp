// Weights of 8 bits for inference: rounding them, and the affine map that reads them.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/quantize.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>

namespace heed {

namespace {
/// A row of zeros, or of numbers too small to divide by, keeps a scale of 1, which it does not use.
constexpr float least_scaled = 1e-36f;
}  // namespace

Int8Weight quantize_int8(Tensor const& weight_in) {
  check_defined("quantize_int8", weight_in);
  check(weight_in.rank() == 2 && is_floating(weight_in.dtype()), "quantize_int8", [&] {
    return Complaint{fmt::format("expected a floating matrix [N, K], got {} {}", name(weight_in.dtype()),
                                 to_string(weight_in.shape())),
                     "fold the other axes by reshape()"};
  });
  NoGrad const off;
  Tensor const weight = weight_in.detach().to(Dtype::f32).contiguous();
  int64_t const rows = weight.size(0), width = weight.size(1);
  if (!weight.device().is_cpu()) {  // not looked at for infinities: the host would have to wait
    Tensor const largest = width ? amax(abs(weight), {1}, true) : zeros({rows, 1}, Dtype::f32, weight.device());
    Tensor const scale = where(largest >= least_scaled, largest / 127, 1.0);
    return {round(weight / scale).to(Dtype::i8), scale.squeeze(1)};
  }
  Int8Weight result{Tensor({rows, width}, Dtype::i8), Tensor({rows}, Dtype::f32)};
  for (int64_t r = 0; r < rows; ++r) {
    float const* const from = weight.data<float>() + r * width;
    auto* const to = result.values.data<int8_t>() + r * width;
    float largest = 0;
    for (int64_t i = 0; i < width; ++i) {
      check(std::isfinite(from[i]), "quantize_int8", [&] {
        return Complaint{fmt::format("row {} holds {} in column {}", r, from[i], i), "look for where it came from"};
      });
      largest = std::max(largest, std::abs(from[i]));
    }
    float const scale = largest >= least_scaled ? largest / 127 : 1;
    result.scale.data<float>()[r] = scale;
    for (int64_t i = 0; i < width; ++i) to[i] = int8_t(std::nearbyint(from[i] / scale));
  }
  return result;
}

Tensor linear_int8(Tensor const& x_in, Int8Weight const& weight, Tensor const& bias_in) {
  for (Tensor const* t : {&x_in, &weight.values, &weight.scale}) check_defined("linear_int8", *t);
  Tensor const &values = weight.values, &scale = weight.scale;
  check(values.rank() == 2 && values.dtype() == Dtype::i8 && scale.dtype() == Dtype::f32 &&
            scale.shape() == Shape{values.size(0)},
        "linear_int8", [&] {
          return Complaint{
              fmt::format("expected values i8 [N, K] and a scale f32 [N], got {} {} and {} {}", name(values.dtype()),
                          to_string(values.shape()), name(scale.dtype()), to_string(scale.shape())),
              "make the weight by quantize_int8()"};
        });
  check(x_in.rank() >= 1 && is_floating(x_in.dtype()) && x_in.size(-1) == values.size(1), "linear_int8", [&] {
    return Complaint{fmt::format("expected floating x [.., {}], got {} {}", values.size(1), name(x_in.dtype()),
                                 to_string(x_in.shape())),
                     "x's last axis meets the weight's"};
  });
  check(!bias_in.defined() || bias_in.shape() == scale.shape(), "linear_int8", [&] {
    return Complaint{fmt::format("expected a bias {}, got {}", to_string(scale.shape()), to_string(bias_in.shape())),
                     "give one number for each row of the weight"};
  });
  no_gradient("linear_int8", {x_in, bias_in});
  int64_t const n = values.size(0), k = values.size(1);
  Tensor const x = x_in.to(Dtype::f32).contiguous(), w = values.contiguous(), s = scale.contiguous();
  Tensor const bias = bias_in.defined() ? bias_in.to(Dtype::f32).contiguous() : Tensor();
  Shape shape = x.shape();
  shape[shape.rank() - 1] = n;
  Device const device = common_device("linear_int8", {&x, &w, &s, &bias});
  Tensor y(shape, Dtype::f32, device);
  int64_t const m = n ? y.numel() / n : 0;
  if (m > 8 && !device.is_cpu())
    return linear(x, w.to(Dtype::f32) * s.unsqueeze(1), bias).to(x_in.dtype());  // the product bounds it
  auto const& table = kernels<QuantizeKernels>(device, "linear_int8");
  float const* const b = bias.defined() ? bias.address<float>() : nullptr;
  {
    Observed const watch("linear_int8", {&x, &w, &s, &bias}, {&y}, [&] { return 2. * double(m) * double(n * k); });
    if (m <= 8) {
      table.few_rows(m, n, k, x.address<float>(), w.address<int8_t>(), s.address<float>(), b, y.address<float>());
    } else {
      // Blocks of the weight are widened into cache and go through the product of floats.
      int64_t const block =
          std::clamp((int64_t{1} << 19) / std::max(k, int64_t{1}) / 16 * 16, int64_t{16}, std::max(n, int64_t{16}));
      Tensor const wide({block, k}, Dtype::f32);
      for (int64_t o = 0; o < n; o += block) {
        int64_t const here = std::min(block, n - o);
        parallel_for(here, std::max(32768 / std::max(k, int64_t{1}), int64_t{1}), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r)
            table.widen(k, w.data<int8_t>() + (o + r) * k, s.data<float>()[o + r], wide.data<float>() + r * k);
        });
        kernels<GemmKernels>().f32.gemm({.m = m,
                                         .n = here,
                                         .k = k,
                                         .a = x.data<float>(),
                                         .a_row = k,
                                         .a_col = 1,
                                         .b = wide.data<float>(),
                                         .b_row = 1,
                                         .b_col = k,
                                         .c = y.data<float>() + o,
                                         .c_row = n,
                                         .bias = b ? b + o : nullptr});
      }
    }
  }
  return y.to(x_in.dtype());
}

}  // namespace heed
