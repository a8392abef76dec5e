// Gradient surgery between losses, tasks for instance, that share parameters.
#pragma once

#include <heed/engine/random.h>
#include <heed/optim/optimizer.h>

namespace heed::optim {

/// PCGrad (Yu et al., 2020): each loss's gradient g_i, over all parameters together, loses what goes against the
/// others, one after another in random order, g_i ← g_i − min(0, g_i·g_j)/|g_j|²·g_j of the g_j as they were; every
/// parameter's grad() then holds Σ_i g_i, in place of backward() of the sum:
///   set_surgical_gradients({loss_a, loss_b}, optimizer.groups());
///   optimizer.step();
/// A backward pass and a copy of all gradients for each loss. Losses that agree give the gradient of their sum.
void set_surgical_gradients(std::vector<Tensor> const& losses, std::vector<ParameterGroup> const& groups,
                            Generator& generator = default_generator());

}  // namespace heed::optim
