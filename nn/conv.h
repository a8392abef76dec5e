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

/// op(x, weight, bias, options) over `axes` axes: x [B, in, …] → [B, out, …].
template <int axes, class Config, class Options,
          Tensor (*op)(Tensor const&, Tensor const&, Tensor const&, Options const&)>
class ConvLayer : public Layer<ConvLayer<axes, Config, Options, op>> {
 public:
  explicit ConvLayer(Config const& config);
  Tensor forward(Tensor const& x) const { return op(x, in_use(this->path(), weight), bias, options); }
  void visit(Visitor& visitor) override {
    visitor.parameter("weight", weight);
    visitor.parameter("bias", bias);
  }

  Tensor weight, bias;
  Options options;
};

/// weight [out, in/groups, kernel…], bias [out]. Initialised U(±1/√fan), fan = in/groups·taps, as PyTorch's:
/// Conv2d({.in = 3, .out = 16, .kernel = 3, .padding = 1}).
using Conv1d = ConvLayer<1, ConvConfig, ConvOptions, conv1d>;
using Conv2d = ConvLayer<2, ConvConfig, ConvOptions, conv2d>;
using Conv3d = ConvLayer<3, ConvConfig, ConvOptions, conv3d>;
extern template class ConvLayer<1, ConvConfig, ConvOptions, conv1d>;
extern template class ConvLayer<2, ConvConfig, ConvOptions, conv2d>;
extern template class ConvLayer<3, ConvConfig, ConvOptions, conv3d>;

/// weight [in, out/groups, kernel…], bias [out]. Initialised U(±1/√fan), fan = out/groups·taps, as PyTorch's.
using ConvTranspose1d = ConvLayer<1, ConvTransposeConfig, ConvTransposeOptions, conv_transpose1d>;
using ConvTranspose2d = ConvLayer<2, ConvTransposeConfig, ConvTransposeOptions, conv_transpose2d>;
using ConvTranspose3d = ConvLayer<3, ConvTransposeConfig, ConvTransposeOptions, conv_transpose3d>;
extern template class ConvLayer<1, ConvTransposeConfig, ConvTransposeOptions, conv_transpose1d>;
extern template class ConvLayer<2, ConvTransposeConfig, ConvTransposeOptions, conv_transpose2d>;
extern template class ConvLayer<3, ConvTransposeConfig, ConvTransposeOptions, conv_transpose3d>;

}  // namespace heed::nn
