// Measures of attention maps, computed from blocks of rows: O(T) memory, any normaliser of rows.
#pragma once

#include <heed/nn/attention/core.h>
#include <heed/nn/attention/scan_map.h>

#include <vector>

namespace heed::nn {

/// Means over batch and over the queries that see two keys or more, one a head. Rows are taken as a/Σa, so that weights
/// that do not sum to 1 (sigmoid, a sink logit) compare.
struct MapMeasures {
  std::vector<double> entropy, entropy_share, perplexity, effective_count, largest, gini, saturation, distance;
  std::vector<double> sink, first_key, first_key_norm, value_drain;  // of keys
  std::vector<double> overlap, divergence;                           // beside other heads; 0 where there are none
};
MapMeasures measure_maps(AttentionCall const& call);
/// Of a recurrence's map, by its shares |A|/Σ|A|: how much of what a query reads comes from each position, whatever the
/// sign; of several channels a head, means of their shares.
MapMeasures measure_maps(ScanCall const& call);

/// The least entropy of a row of T weights whose scores, taken from their mean, have length sigma at most: log(1 +
/// (T − 1)β) + σ√(T(T − 1))·β/(1 + (T − 1)β), β = exp(−σ√(T/(T − 1))). With σ = ‖W_K·W_Qᵀ‖₂·‖X·Xᵀ‖₂ it says how far
/// entropy can collapse (Zhai et al., 2023).
double least_entropy(double sigma, int64_t t);

/// (Σ_r (2r − n − 1)·x_(r))/(n·Σx) of numbers of 0 or more, x_(1) ≤ … ≤ x_(n): 0 where all are equal, 1 − 1/n where one
/// has all (Gini, 1912).
double gini(std::vector<double> values);
/// The Jensen-Shannon divergence of two distributions, nats: 0 where they are the same, log 2 where they share nothing
/// (Lin, 1991; of attention: Jain and Wallace, 2019).
double jensen_shannon(std::vector<double> const& p, std::vector<double> const& q);
/// Kendall's τ-b of two rankings, −1 to 1, NaN where one is constant: whether attention orders tokens as gradients do
/// (Jain and Wallace, 2019).
double kendall_tau(std::vector<double> const& a, std::vector<double> const& b);

}  // namespace heed::nn
