// Convolutions and their transposes over one to three axes.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/module.h>

namespace heed::nn {

struct ConvConfig {
  int64_t in = 1, out = 1;  // channels
  Spatial kernel = 1;
  Spatial stride = 1;
  ConvPadding padding = 0;  // numbers, "same" or "valid"
  Spatial dilation = 1;
  int64_t groups = 1;
  bool bias = true;
};

/// conv1d, conv2d or conv3d: x [B, in, …] → [B, out, …]; weight [out, in/groups, kernel…], bias [out]. Initialised
/// U(±1/√fan), fan = in/groups·taps, as PyTorch's: Conv2d({.in = 3, .out = 16, .kernel = 3, .padding = 1}).
template <int axes>
class Conv : public Layer<Conv<axes>> {
 public:
  explicit Conv(ConvConfig const& config);
  Tensor forward(Tensor const& x) const;
  void visit(Visitor& visitor) override;

  Tensor weight, bias;
  ConvOptions options;
};
extern template class Conv<1>;
extern template class Conv<2>;
extern template class Conv<3>;
using Conv1d = Conv<1>;
using Conv2d = Conv<2>;
using Conv3d = Conv<3>;

struct ConvTransposeConfig {
  int64_t in = 1, out = 1;  // channels
  Spatial kernel = 1;
  Spatial stride = 1;
  Spatial padding = 0;
  Spatial output_padding = 0;
  Spatial dilation = 1;
  int64_t groups = 1;
  bool bias = true;
};

/// conv_transpose1d, 2d or 3d: x [B, in, …] → [B, out, …]; weight [in, out/groups, kernel…], bias [out]. Initialised
/// U(±1/√fan), fan = out/groups·taps, as PyTorch's.
template <int axes>
class ConvTranspose : public Layer<ConvTranspose<axes>> {
 public:
  explicit ConvTranspose(ConvTransposeConfig const& config);
  Tensor forward(Tensor const& x) const;
  void visit(Visitor& visitor) override;

  Tensor weight, bias;
  ConvTransposeOptions options;
};
extern template class ConvTranspose<1>;
extern template class ConvTranspose<2>;
extern template class ConvTranspose<3>;
using ConvTranspose1d = ConvTranspose<1>;
using ConvTranspose2d = ConvTranspose<2>;
using ConvTranspose3d = ConvTranspose<3>;

}  // namespace heed::nn
