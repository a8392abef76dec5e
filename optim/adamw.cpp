#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops/optimise.h>
#include <heed/optim/adamw.h>

#include <cmath>

namespace heed::optim {

AdamW::AdamW(std::vector<ParameterGroup> groups, AdamWOptions const& options)
    : Optimizer(std::move(groups), options.learning_rate), options_(options) {
  check(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1 && options.epsilon >= 0,
        "AdamW", [&] {
          return Complaint{fmt::format("expected betas from 0 to below 1 and ε ≥ 0, got {}, {} and {}", options.beta1,
                                       options.beta2, options.epsilon),
                           "use 0.9, 0.999 and 1e-8"};
        });
  add_slot("exp_avg");
  add_slot("exp_avg_sq");
}

void AdamW::update(Tensor const& parameter, Tensor const& gradient, size_t index, ParameterGroup const& group,
                   double rate, double gradient_scale) {
  AdamwStep const step{.lr = rate,
                       .beta1 = options_.beta1,
                       .beta2 = options_.beta2,
                       .eps = options_.epsilon,
                       .weight_decay = group.weight_decay,
                       .correction1 = 1 - std::pow(options_.beta1, double(steps())),
                       .correction2 = 1 - std::pow(options_.beta2, double(steps())),
                       .grad_scale = gradient_scale};
  Observed const watch("AdamW", {&parameter, &gradient, &moment(0, index), &moment(1, index)},
                       {&parameter, &moment(0, index), &moment(1, index)});
  dispatch_floating("AdamW", parameter.dtype(), [&]<class T>(Type<T>) {
    kernels<OptimiseKernels>(parameter.device(), "adamw")
        .of<T>()
        .adamw(parameter.address<T>(), gradient.address<T>(), moment(0, index).address<T>(),
               moment(1, index).address<T>(), parameter.numel(), step);
  });
}

}  // namespace heed::optim
