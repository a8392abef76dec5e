// The optimisers by name.
#pragma once

#include <heed/nn/catalogue.h>
#include <heed/optim/optimizer.h>

#include <functional>
#include <memory>

namespace heed::optim {

struct OptimizerRow : nn::Entry {
  double learning_rate;  // the usual one
  /// A rule of its own; null for wrappers.
  std::unique_ptr<Optimizer> (*make)(std::vector<ParameterGroup>&&, nn::Spec const&) = nullptr;
  /// A rule around another one, which it is given.
  std::unique_ptr<Optimizer> (*wrap)(std::unique_ptr<Optimizer>, nn::Spec const&) = nullptr;
  /// A step looks at all parameters at once, so that it cannot be taken for some of them here and for others elsewhere.
  bool whole = false;
};

/// Families: descent, adaptive, sign, normalised (by tensor), matrix, curvature, averaging, wrapper.
std::vector<OptimizerRow> const& optimizers();

/// Makes a rule for some parameters.
using MakeRule = std::function<std::unique_ptr<Optimizer>(std::vector<ParameterGroup>&&)>;
/// Stands around a rule, or spreads it (optim/distributed/sharded.h).
using Around = std::function<std::unique_ptr<Optimizer>(std::vector<ParameterGroup>&&, MakeRule const&)>;

/// "lion:beta2=0.98", or rules around a rule, outermost first: "sam:rho=0.1+adamw:beta2=0.95"; wrappers alone are
/// around adamw. A negative rate stands for the rule's usual one. An Error where a name or setting is unknown. `around`
/// is given the rule with those wrappers that do not see all parameters at once; an Error where the rule itself does.
std::unique_ptr<Optimizer> make_optimizer(std::string_view text, std::vector<ParameterGroup>&& groups,
                                          double learning_rate = -1, Around const& around = {});

}  // namespace heed::optim
