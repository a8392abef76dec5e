// Which heads and which tokens matter: by gradients, and by following attention through layers.
#pragma once

#include <heed/nn/module.h>

#include <functional>
#include <string>
#include <vector>

namespace heed::nn {

struct HeadImportance {
  std::string path;
  std::vector<double> heads;  // mean over the batch of |Σ o_h·∂loss/∂o_h|, 0 or more: the first-order cost of the head
};
/// Of every layer that attends while `loss` runs: the model's loss of a batch, a scalar, recorded (Michel, Levy and
/// Neubig, "Are sixteen heads really better than one?", 2019). Compare within one call: it scales with the loss.
std::vector<HeadImportance> head_importance(std::function<Tensor()> const& loss);

/// How much of each token reaches `query` through all layers: the row of Π_l ½(A_l + I), A_l the mean over heads, from
/// the last layer to the first: [B, T], rows sum to 1 (Abnar and Zuidema, attention rollout, 2020). One row at a time
/// needs O(T) memory. Self-attention, one call a layer; negative queries count from the end.
Tensor attention_rollout(std::function<void()> const& forward, int64_t query = -1);

}  // namespace heed::nn
