// An optimiser whose state is spread over the ranks.
#pragma once

#include <heed/optim/catalogue.h>
#include <heed/optim/distributed/communicator.h>
#include <heed/optim/wrapper.h>

#include <vector>

namespace heed::distributed {

/// The first stage of ZeRO (Rajbhandari et al., 2020): each rank keeps moments and takes steps for some parameters, and
/// gives these to the others afterwards. Whole tensors, the largest first, each to the rank that has least: of AdamW's
/// 2·|θ| numbers every rank holds about 2·|θ|/size, in exchange for |θ| more to be sent in a step. Gradients are those
/// of DataParallel, the same on every rank; steps have the bits of the rule alone.
///
/// step(), state() and load_state() are called on every rank. state() is whole on rank 0, under the names that it has
/// without ranks, so that checkpoints do not depend on their number; on other ranks it is their part.
class Sharded final : public optim::Wrapper {
 public:
  /// `make` makes this rank's part. An Error where there are fewer parameters than ranks.
  Sharded(std::vector<optim::ParameterGroup>&& groups, Communicator& communicator, optim::MakeRule const& make);

  std::vector<nn::NamedTensor> state() const override;
  bool holds_all() const override { return false; }
  void evaluating(bool on) override;

 private:
  struct Split {
    std::vector<int> owner;  // of each parameter, in order of the groups
    std::vector<optim::ParameterGroup> own;
  };
  Sharded(std::vector<optim::ParameterGroup>&& groups, Communicator& communicator, optim::MakeRule const& make,
          Split&& split);
  static Split split(std::vector<optim::ParameterGroup> const& groups, Communicator const& communicator);
  void apply(double gradient_scale) override;
  optim::Evaluation search(optim::Closure const& closure) override;
  void loaded() override;
  /// Every rank's parameters become those of their owner.
  void exchange();

  Communicator& communicator_;
  std::vector<std::vector<Tensor>> owned_;  // by rank
  bool judged_ = false;                     // weights are those of evaluations
};

/// optim::make_optimizer, spread over the ranks: "lion", "lookahead+adamw". Of wrappers that see all parameters at once
/// (sam) only the rule within is spread; rules that do (lbfgs) are an Error.
std::unique_ptr<optim::Optimizer> make_sharded(std::string_view text, std::vector<optim::ParameterGroup>&& groups,
                                               Communicator& communicator, double learning_rate = -1);

}  // namespace heed::distributed
