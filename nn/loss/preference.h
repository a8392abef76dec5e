// Losses of a policy's log-probabilities: preferences and rewards.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn::loss {

/// −log σ(beta·((chosen − reference_chosen) − (rejected − reference_rejected))) of whole answers' log-probabilities
/// (Rafailov et al., 2023). log 2 where the policy is the reference.
struct Dpo {
  static constexpr std::string_view operands = "chosen [N]; rejected [N]; reference_chosen [N]; reference_rejected [N]";
  double beta = 0.1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("beta", beta, "how strongly the reference holds"); }
  Tensor operator()(Tensor const& chosen, Tensor const& rejected, Tensor const& reference_chosen,
                    Tensor const& reference_rejected) const {
    check_operands("dpo", operands, chosen, rejected, reference_chosen, reference_rejected);
    Tensor const margin = (chosen - reference_chosen) - (rejected - reference_rejected);
    return reduced(-log_sigmoid(margin * beta), reduction);
  }
};

/// −min(r·A, clamp(r, 1 ± clip)·A) with r = exp(log_p − old_log_p) (Schulman et al., 2017)
struct Ppo {
  static constexpr std::string_view operands = "log_p [..]; old_log_p fixed [..]; advantage [..]";
  double clip = 0.2;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("clip", clip, "how far the ratio may move"); }
  Tensor operator()(Tensor const& log_p, Tensor const& old_log_p, Tensor const& advantage) const {
    check_operands("ppo", operands, log_p, old_log_p, advantage);
    Tensor const ratio = exp(log_p - old_log_p.detach());
    return reduced(-minimum(ratio * advantage, clamp(ratio, 1 - clip, 1 + clip) * advantage), reduction);
  }
};

/// PPO of G answers to one prompt, T tokens each, with the advantage (reward − mean)/(deviation + 1e-4) of the group in
/// place of a critic, plus beta·(e^d − d − 1), d = reference_log_p − log_p (Shao et al., 2024). Mean over the tokens
/// that the mask counts.
struct Grpo {
  static constexpr std::string_view operands =
      "log_p [G, T]; old_log_p fixed [G, T]; reference_log_p fixed [G, T]; reward fixed [G]; mask? unit [G, T]";
  double clip = 0.2, beta = 0.04;
  void visit(ConfigVisitor& v) {
    v.field("clip", clip, "how far the ratio may move");
    v.field("beta", beta, "how strongly the reference holds");
  }
  Tensor operator()(Tensor const& log_p, Tensor const& old_log_p, Tensor const& reference_log_p, Tensor const& reward,
                    Tensor const& mask = {}) const {
    check_operands("grpo", operands, log_p, old_log_p, reference_log_p, reward, mask);
    Tensor const advantage = ((reward - mean(reward)) / (std(reward, {0}, 1) + 1e-4)).unsqueeze(1).detach();
    Tensor const of_policy = Ppo{clip, Reduction::none}(log_p, old_log_p, advantage.expand(log_p.shape()));
    Tensor const d = reference_log_p.detach() - log_p;
    Tensor const each = of_policy + (expm1(d) - d) * beta;
    return mask.defined() ? sum(each * mask) / clamp_min(sum(mask), 1.0) : mean(each);
  }
};

}  // namespace heed::nn::loss
