// RMSprop: the gradient over a moving root of its mean square. For recurrent nets and reinforcement learning.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

/// v ← αv + (1 − α)g²; d = g/(√(v − ḡ²) + ε), ḡ the moving mean of g where centred, else 0; b ← μb + d; θ ← θ − ηb,
/// with λθ in g (Tieleman and Hinton, 2012; centred: Graves, 2013).
struct RMSpropRule {
  double learning_rate = 1e-2, alpha = 0.99, eps = 1e-8, momentum = 0;
  bool centered = false;

  static constexpr char const* name = "rmsprop";
  std::string_view slots() const {
    return momentum > 0 ? centered ? "square_avg momentum_buffer grad_avg" : "square_avg momentum_buffer"
           : centered   ? "square_avg grad_avg"
                        : "square_avg";
  }
  void visit(nn::ConfigVisitor& v) {
    v.field("alpha", alpha, "decay of the mean square, 0 to below 1");
    v.field("eps", eps, "added to the root");
    v.field("momentum", momentum, "μ, 0 to below 1");
    v.field("centered", centered, "subtract the squared mean: divide by a standard deviation");
  }
  void operator()(Element& e) const {
    e.add_decay_to_gradient();
    Symbol& mean_square = e.state[0];
    mean_square = alpha * mean_square + (1 - alpha) * square(e.g);
    Symbol spread = mean_square;
    if (centered) {
      Symbol& mean = e.state.back();
      mean = lerp(mean, e.g, 1 - alpha);
      spread = mean_square - square(mean);
    }
    Symbol step = e.g / (sqrt(spread) + eps);
    if (momentum > 0) step = e.state[1] = momentum * e.state[1] + step;
    e.p = e.p - e.rate * step;
  }
};
using RMSprop = Pointwise<RMSpropRule>;

}  // namespace heed::optim
