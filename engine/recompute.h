// Checkpointing: memory for time. What f keeps for backward is dropped, and made again when backward gets there.
#pragma once

#include <heed/engine/tensor.h>

#include <functional>
#include <vector>

namespace heed {

/// f(inputs), of which only the inputs stay for backward; there f runs again, with recording (Chen, Xu, Zhang and
/// Guestrin, "Training deep nets with sublinear memory cost", 2016). Gradients flow to the inputs and to every tensor
/// that f captures, with the same bits as without. Draws are repeated, whichever generators they came from, so that
/// dropout is the same in both runs. Apart from them f must give the same results whenever it is called; it outlives
/// backward, as must what it refers to. Calls may be nested.
std::vector<Tensor> recompute(std::function<std::vector<Tensor>(std::vector<Tensor> const&)> f,
                              std::vector<Tensor> const& inputs);
Tensor recompute(std::function<Tensor(Tensor const&)> f, Tensor const& input);

/// Inside a recompute(), `side` becomes one more of its results, and `receive` gets it when the call is over, as all
/// that lies outside sees it: a penalty that a hook computes inside keeps its gradient. Outside of one, `receive` gets
/// it at once; in the second run it is not called. Both runs must hand out the same.
void hand_out(Tensor const& side, std::function<void(Tensor const&)> receive);

/// Whether this thread is in the second run of a recompute(): running statistics are not updated there.
bool recomputing() noexcept;

}  // namespace heed
