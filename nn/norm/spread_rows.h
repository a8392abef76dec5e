// Norms over batches whose rows are spread over several places: what they need of the others.
#pragma once

#include <heed/nn/norm.h>

namespace heed::nn {

/// Two or more places, each with rows of its own.
class SpreadRows {
 public:
  SpreadRows() = default;
  /// Norms train with their own rows again.
  virtual ~SpreadRows();
  SpreadRows(SpreadRows const&) = delete;
  SpreadRows& operator=(SpreadRows const&) = delete;
  /// x [1, n] of every place, one below the other: [places, n], differentiable.
  virtual Tensor gather(Tensor const& x) = 0;
};

/// While `rows` lives, the norms over batches at and below `root` train, in this thread, with statistics over the rows
/// of all places. Evaluation, and norms of single samples, are as they were.
void spread_rows(Module& root, SpreadRows& rows);

/// Of each channel, over batch and positions: [1, C, 1, ..], the variance without correction.
struct BatchMoments {
  Tensor mean, var;
  double count;
};
/// Those that `norm` trains with.
BatchMoments batch_moments(ChannelNorm const& norm, Tensor const& x);
/// batch_norm() with these; weight and bias may be undefined.
Tensor batch_normed(ChannelNorm const& norm, Tensor const& x, Tensor const& weight, Tensor const& bias,
                    BatchNormOptions const& options);

/// A parameter [C] as it broadcasts to x [N, C, ..].
Tensor by_channel(Tensor const& parameter, Tensor const& x);

}  // namespace heed::nn
