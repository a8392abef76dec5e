// The feed-forward half of a transformer block.
#pragma once

#include <heed/nn/linear.h>

namespace heed::nn {

enum class Activation { gelu, gelu_tanh, relu, silu };
std::string_view name(Activation activation);
/// An Error that lists the names where `text` is none.
Activation activation_named(std::string_view text);
Tensor activate(Activation activation, Tensor const& x);

struct MLPConfig {
  int64_t dim = 128;
  int64_t hidden = 512;
  Activation activation = Activation::gelu;
  bool bias = false;
  double dropout = 0;
};

/// dropout(proj(activation(fc(x)))): [.., dim] → [.., dim]
class MLP : public Layer<MLP> {
 public:
  explicit MLP(MLPConfig const& config);
  Tensor forward(Tensor const& x) const;
  void visit(Visitor& visitor) override;

  MLPConfig config;
  Linear fc, proj;
};

}  // namespace heed::nn
