#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops/optimise.h>
#include <heed/optim/sgd.h>

namespace heed::optim {

SGD::SGD(std::vector<ParameterGroup> groups, SGDOptions const& options)
    : Optimizer(std::move(groups), options.learning_rate), options_(options) {
  check(options.momentum >= 0 && (!options.nesterov || (options.momentum > 0 && options.dampening == 0)), "SGD", [&] {
    return Complaint{fmt::format("momentum {} with dampening {} and nesterov {} is no rule", options.momentum,
                                 options.dampening, options.nesterov),
                     "Nesterov's form needs momentum above 0 and no dampening"};
  });
  if (options.momentum > 0) add_slot("momentum_buffer");
}

void SGD::update(Tensor const& parameter, Tensor const& gradient, size_t index, ParameterGroup const& group,
                 double rate, double gradient_scale) {
  SgdStep const step{.lr = rate,
                     .momentum = options_.momentum,
                     .dampening = options_.dampening,
                     .weight_decay = group.weight_decay,
                     .nesterov = options_.nesterov,
                     .first = steps() == 1,
                     .grad_scale = gradient_scale};
  Observed const watch("SGD", {&parameter, &gradient}, {&parameter});
  dispatch_floating("SGD", parameter.dtype(), [&]<class T>(Type<T>) {
    T* const buffer = options_.momentum > 0 ? moment(0, index).address<T>() : nullptr;
    kernels<OptimiseKernels>(parameter.device(), "sgd")
        .of<T>()
        .sgd(parameter.address<T>(), gradient.address<T>(), buffer, parameter.numel(), step);
  });
}

}  // namespace heed::optim
