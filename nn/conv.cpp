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

/// Sizes of the weight's first two axes, and what the operation is told.
std::pair<int64_t, int64_t> channels(ConvConfig const& c) { return {c.out, c.in / c.groups}; }
std::pair<int64_t, int64_t> channels(ConvTransposeConfig const& c) { return {c.in, c.out / c.groups}; }
ConvOptions options_of(ConvConfig const& c) { return {c.stride, c.padding, c.dilation, c.groups}; }
ConvTransposeOptions options_of(ConvTransposeConfig const& c) {
  return {c.stride, c.padding, c.output_padding, c.dilation, c.groups};
}

Tensor uniform_parameter(Shape const& shape, double bound) {
  Tensor parameter = empty(shape);
  init::uniform_(parameter, -bound, bound);
  return parameter.requires_grad_();
}

}  // namespace

template <int axes, class Config, class Options,
          Tensor (*op)(Tensor const&, Tensor const&, Tensor const&, Options const&)>
ConvLayer<axes, Config, Options, op>::ConvLayer(Config const& c) : options(options_of(c)) {
  check_groups(c.in, c.out, c.groups);
  auto const [first, second] = channels(c);
  Shape const shape = weight_shape(axes, first, second, c.kernel);
  double const bound = 1 / std::sqrt(double(numel(shape) / first));  // of the weight's other sizes
  weight = uniform_parameter(shape, bound);
  if (c.bias) bias = uniform_parameter({c.out}, bound);
}

template class ConvLayer<1, ConvConfig, ConvOptions, conv1d>;
template class ConvLayer<2, ConvConfig, ConvOptions, conv2d>;
template class ConvLayer<3, ConvConfig, ConvOptions, conv3d>;
template class ConvLayer<1, ConvTransposeConfig, ConvTransposeOptions, conv_transpose1d>;
template class ConvLayer<2, ConvTransposeConfig, ConvTransposeOptions, conv_transpose2d>;
template class ConvLayer<3, ConvTransposeConfig, ConvTransposeOptions, conv_transpose3d>;

}  // namespace heed::nn
