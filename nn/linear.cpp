#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/init.h>
#include <heed/nn/linear.h>

#include <cmath>

namespace heed::nn {

Linear::Linear(int64_t in, int64_t out, bool with_bias) {
  check(in >= 1 && out >= 1, "Linear", [&] {
    return Complaint{fmt::format("expected positive widths, got {} and {}", in, out),
                     "pass the sizes of the last axes"};
  });
  weight = empty({out, in});
  double const bound = 1 / std::sqrt(double(in));
  init::uniform_(weight, -bound, bound);
  weight.requires_grad_();
  if (!with_bias) return;
  bias = empty({out});
  init::uniform_(bias, -bound, bound);
  bias.requires_grad_();
}

Tensor Linear::forward(Tensor const& x) const { return linear(x, in_use(path(), weight), bias); }

void Linear::visit(Visitor& visitor) {
  visitor.parameter("weight", weight);
  visitor.parameter("bias", bias);
}

}  // namespace heed::nn
