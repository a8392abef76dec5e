#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/mlp.h>

namespace heed::nn {
namespace {
constexpr std::string_view activation_names[] = {"gelu", "gelu_tanh", "relu", "silu"};
}

std::string_view name(Activation activation) { return activation_names[int(activation)]; }

Activation activation_named(std::string_view text) {
  for (int i = 0; i < int(std::size(activation_names)); ++i)
    if (activation_names[i] == text) return Activation(i);
  fail("activation", {fmt::format("expected one of {}, got '{}'", fmt::join(activation_names, ", "), text),
                      "use a name of the list"});
}

Tensor activate(Activation activation, Tensor const& x) {
  switch (activation) {
    case Activation::gelu_tanh:
      return gelu_tanh(x);
    case Activation::relu:
      return relu(x);
    case Activation::silu:
      return silu(x);
    case Activation::gelu:
      break;
  }
  return gelu(x);
}

MLP::MLP(MLPConfig const& config)
    : config(config), fc(config.dim, config.hidden, config.bias), proj(config.hidden, config.dim, config.bias) {}

Tensor MLP::forward(Tensor const& x) const {
  Tensor const y = proj(activate(config.activation, fc(x)));
  return training() ? dropout(y, config.dropout) : y;
}

void MLP::visit(Visitor& visitor) {
  visitor.child("fc", fc);
  visitor.child("proj", proj);
}

}  // namespace heed::nn
