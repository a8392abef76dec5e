// Measures of rank: whether the tokens of a sequence are becoming one.
#pragma once

#include <heed/nn/attention/core.h>

#include <vector>

namespace heed::nn {

/// √(‖R‖₁·‖R‖_∞) of R = X − 1·x̄ᵀ, x̄ the mean of the rows of X [.., T, C], the mean over what leads: 0 where all tokens
/// are one (Dong et al., 2021, whose x minimises the norm; the mean is within a factor of 2).
double rank_residual(Tensor const& x);
/// The same relative to that of X itself; a token matrix of zeros gives 0.
double relative_rank_residual(Tensor const& x);
/// The mean cosine of x_i and x_j, i ≠ j, of X [.., T, C]: 1 where all tokens point the same way. NaN for one token.
double token_similarity(Tensor const& x);
/// exp H(σ/Σσ), σ the singular values of x [.., T, C], the mean over what leads: 1 to min(T, C) (Roy and Vetterli,
/// 2007).
double effective_rank(Tensor const& x);

/// By head, the mean over the batch: effective_rank of what each head gives, [B, H, T, E].
std::vector<double> output_rank(Tensor const& out);
/// ‖A‖_F²/‖A‖₂² of each head's map, the spectral norm by `steps` power iterations with attend() and its gradient: O(T)
/// memory. 1 where all rows are multiples of one, T for a permutation.
std::vector<double> stable_rank(AttentionCall const& call, int64_t steps = 20);
/// The mean over other heads and positions of cos(x_h, x_g), x [B, H, T, E]; 0 where there is no other.
std::vector<double> head_similarity(Tensor const& x);

/// Aᵀ·y [B, H, S] of a call's maps and y [B, H, T], which are never held.
Tensor transposed_map_times(AttentionCall const& call, Tensor const& y);

}  // namespace heed::nn
