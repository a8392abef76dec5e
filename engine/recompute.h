// Checkpointing: memory for time. What f keeps for backward is dropped, and made again when backward gets there.
#pragma once

#include <heed/engine/tensor.h>

#include <functional>
#include <vector>

namespace heed {

/// f(inputs), of which only the inputs stay for backward; there f runs again, with recording (Chen, Xu, Zhang and
/// Guestrin, "Training deep nets with sublinear memory cost", 2016). Gradients flow to the inputs and to every tensor
/// that f captures, with the same bits as without. The thread's default generator stands where it stood in the first
/// run, so that dropout repeats; a generator of f's own does not, so pass it a Draw. f must give the same results
/// whenever it is called and outlives backward, as must what it refers to. Calls may be nested.
std::vector<Tensor> recompute(std::function<std::vector<Tensor>(std::vector<Tensor> const&)> f,
                              std::vector<Tensor> const& inputs);
Tensor recompute(std::function<Tensor(Tensor const&)> f, Tensor const& input);

/// Whether this thread is in the second run of a recompute(): running statistics are not updated there.
bool recomputing() noexcept;

}  // namespace heed
