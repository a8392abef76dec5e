// How strongly attention depends on few positions: measures of its weights.
#pragma once

#include <heed/engine/tensor.h>

#include <vector>

namespace heed::nn {

/// Means over batch and queries of one head's weights A [T, S], of the queries that see two keys or more. Where no
/// query weighs a later key the head counts as causal, and a query sees what lies up to it; else it sees every key.
/// Entropy, count and distance are of a/Σ_j a, which for a softmax is a itself.
struct OverDependence {
  double entropy;          // −Σ_j a log a, nats
  double entropy_share;    // entropy / log(keys seen): 1 is uniform (Zhai et al., 2023)
  double effective_count;  // 1/Σ_j a²: of how many keys the weights are worth
  double largest;          // max_j a
  double distance;         // Σ_j a·|i − j|, positions; i at the end of the keys for the last query
  double sink;  // the largest mean weight that one key receives from the queries that see it (Gu et al., 2024)
};

/// One entry a head, from weights [B, H, T, S].
std::vector<OverDependence> measure_over_dependence(Tensor const& weights);

}  // namespace heed::nn
