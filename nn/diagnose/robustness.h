// What over-dependence does: how a model's answers change when inputs are noisy, when the key that a query looks at
// most is taken away, or when what must be recalled is far.
#pragma once

#include <heed/engine/random.h>
#include <heed/nn/module.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace heed::nn {

/// ‖f(x + δ) − f(x)‖/‖δ‖, the mean over `trials` draws of δ ~ N(0, deviation²): the local gain of f. A linear f that
/// keeps lengths gives 1 (compare Kim et al., "The Lipschitz constant of self-attention", 2021).
double noise_sensitivity(std::function<Tensor(Tensor const&)> const& f, Tensor const& x, double deviation,
                         int64_t trials, Generator& generator);

/// `loss(tokens)` with each token replaced, with probability rate, by one drawn from the vocabulary: one entry a rate.
/// The same places are noisy at a higher rate, so that the curve is one of degrees.
std::vector<double> token_noise_curve(std::function<double(Tensor const& tokens)> const& loss, Tensor const& tokens,
                                      int64_t vocabulary, std::vector<double> const& rates, Generator& generator);

/// What is hidden: from each query the key that it looks at most, or from all queries the token that they look at most.
enum class Deletion { key, token };
struct DeletionDrop {
  double whole;    // what evaluate() gives with every key
  double without;  // with the most-attended ones hidden, in every layer and head
  double random;   // with as many others hidden: what losing any of them costs
};
/// How much hangs on one key or token: without − whole beside random − whole (comprehensiveness: DeYoung et al.,
/// ERASER, 2020). Queries that see one key keep it. What is most attended is judged in each layer with its operands of
/// that moment; NaN where no layer attends (a recurrence has no keys to hide); a token by what it gets from the queries
/// that see it, a quarter of all at least.
DeletionDrop most_attended_drop(std::function<double()> const& evaluate, Generator& generator,
                                Deletion deletion = Deletion::key);

struct IntegratedGradients {
  Tensor attribution;  // of x's shape; sums to f(x) − f(baseline) but for `gap`
  double gap;          // |Σ attribution − (f(x) − f(baseline))|: completeness
};
/// (x − x₀)·∫₀¹ ∇f(x₀ + α(x − x₀)) dα by the midpoints of `steps` intervals (Sundararajan, Taly and Yan, 2017). f gives
/// a scalar.
IntegratedGradients integrated_gradients(std::function<Tensor(Tensor const&)> const& f, Tensor const& x,
                                         Tensor const& baseline, int64_t steps = 64);

struct RecallBucket {
  int64_t from, to;  // distances in [from, to)
  int64_t count;
  double recall, low, high;  // the share that is right, and its Wilson interval of 95 % (Wilson, 1927)
};
/// Of answers that are right or not and how far back lay what they had to recall, 1 or more: buckets double, [1, 2),
/// [2, 4), …; empty ones are left out.
std::vector<RecallBucket> recall_by_distance(std::vector<int64_t> const& distances, std::vector<bool> const& right);

}  // namespace heed::nn
