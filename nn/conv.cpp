#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/conv.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {
namespace {

/// [first, second, kernel…]
Shape weight_shape(int axes, int64_t first, int64_t second, Spatial const& kernel) {
  check(kernel.rank() == 1 || kernel.rank() == axes, "Conv", [&] {
    return Complaint{fmt::format("expected one kernel size or {}, got {}", axes, to_string(kernel)),
                     "give a number for all spatial axes, or one for each"};
  });
  Shape shape{first, second};
  for (int a = 0; a < axes; ++a) shape.push_back(kernel[kernel.rank() == 1 ? 0 : a]);
  for (int64_t size : shape)
    check(size >= 1, "Conv", [&] {
      return Complaint{fmt::format("expected channels and kernel of 1 or more, got a weight of {}", to_string(shape)),
                       "pass positive sizes"};
    });
  return shape;
}

void check_groups(int64_t in, int64_t out, int64_t groups) {
  check(groups >= 1 && in % groups == 0 && out % groups == 0, "Conv", [&] {
    return Complaint{fmt::format("{} channels in and {} out do not split into {} groups", in, out, groups),
                     "make both multiples of groups"};
  });
}

/// U(±1/√fan) with fan the product of all sizes of the weight but the first.
void fill(Tensor& weight, Tensor& bias, Shape const& shape, int64_t channels, bool with_bias) {
  weight = empty(shape);
  double const bound = 1 / std::sqrt(double(weight.numel() / shape[0]));
  init::uniform_(weight, -bound, bound);
  weight.requires_grad_();
  if (!with_bias) return;
  bias = empty({channels});
  init::uniform_(bias, -bound, bound);
  bias.requires_grad_();
}

}  // namespace

template <int axes>
Conv<axes>::Conv(ConvConfig const& c) : options{c.stride, c.padding, c.dilation, c.groups} {
  check_groups(c.in, c.out, c.groups);
  fill(weight, bias, weight_shape(axes, c.out, c.in / c.groups, c.kernel), c.out, c.bias);
}

template <int axes>
Tensor Conv<axes>::forward(Tensor const& x) const {
  if constexpr (axes == 1) return conv1d(x, weight, bias, options);
  if constexpr (axes == 2) return conv2d(x, weight, bias, options);
  if constexpr (axes == 3) return conv3d(x, weight, bias, options);
}

template <int axes>
void Conv<axes>::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

template class Conv<1>;
template class Conv<2>;
template class Conv<3>;

template <int axes>
ConvTranspose<axes>::ConvTranspose(ConvTransposeConfig const& c)
    : options{c.stride, c.padding, c.output_padding, c.dilation, c.groups} {
  check_groups(c.in, c.out, c.groups);
  fill(weight, bias, weight_shape(axes, c.in, c.out / c.groups, c.kernel), c.out, c.bias);
}

template <int axes>
Tensor ConvTranspose<axes>::forward(Tensor const& x) const {
  if constexpr (axes == 1) return conv_transpose1d(x, weight, bias, options);
  if constexpr (axes == 2) return conv_transpose2d(x, weight, bias, options);
  if constexpr (axes == 3) return conv_transpose3d(x, weight, bias, options);
}

template <int axes>
void ConvTranspose<axes>::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

template class ConvTranspose<1>;
template class ConvTranspose<2>;
template class ConvTranspose<3>;

}  // namespace heed::nn
