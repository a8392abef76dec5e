// Many tensors as few: what one collective moves.
#pragma once

#include <heed/engine/tensor.h>

#include <vector>

namespace heed::distributed {

/// `tensors` in their order as runs of one type and device, each of `bytes` or of a single larger tensor at most.
std::vector<std::vector<Tensor>> cut(std::vector<Tensor> const& tensors, int64_t bytes);
/// Their elements behind each other: [Σ numel]. Nothing is recorded.
Tensor pack(std::vector<Tensor> const& tensors);
/// Copies the elements of `flat` back into the tensors.
void unpack(Tensor const& flat, std::vector<Tensor> const& tensors);
}  // namespace heed::distributed
