// The walk over the tape: the only place that accumulates gradients and sums what was broadcast.
#pragma once

#include <heed/engine/tensor.h>

#include <vector>

namespace heed {

struct BackwardOptions {
  bool retain_graph = false;  // keep what was saved, so that the same graph can be walked again
  bool create_graph =
      false;  // record the walk itself, so that the gradients can be differentiated; implies retain_graph
  bool allow_unused =
      false;  // grad(): an input that the outputs do not depend on gives an undefined tensor, not an Error
};

/// Accumulates Σ d(output)/d(leaf) · gradient into `leaf.grad()` of every leaf that requires one.
/// `gradient` has the output's shape; it may be undefined where the output has one element. With create_graph the
/// gradients refer to the graph and it to the leaves: it goes when their grad() is reset, so prefer grad().
void backward(Tensor const& output, Tensor const& gradient = {}, BackwardOptions options = {});

/// The gradients of Σ_k outputs[k] · output_gradients[k] with respect to `inputs`; no leaf's grad() changes.
std::vector<Tensor> grad(std::vector<Tensor> const& outputs, std::vector<Tensor> const& inputs,
                         std::vector<Tensor> const& output_gradients = {}, BackwardOptions options = {});

}  // namespace heed
