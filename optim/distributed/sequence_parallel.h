// Sequences spread over ranks: attention and recurrences that see all of one while every rank holds its part.
#pragma once

#include <heed/nn/attention/sequence.h>
#include <heed/nn/module.h>
#include <heed/optim/distributed/communicator.h>

#include <vector>

namespace heed::distributed {

/// The positions that a rank has, of a sequence of `length`: the pieces `rank` and 2N − 1 − `rank` of 2N nearly equal
/// ones, neighbours joined: under a causal mask all ranks have the same work (Brandon et al., "Striped attention",
/// 2023, balance it by single positions).
std::vector<nn::PositionRun> zigzag(int64_t length, int rank, int ranks);

/// A sequence of `length` positions on the ranks of a communicator, each with O(length/N) of it.
///
///   SequenceParallel sequence(communicator, T);
///   nn::SequenceScope const scope(&sequence);         // layers get parts from now on
///   Tensor loss = sequence.share(cross_entropy(model(sequence.part(tokens)), sequence.part(targets)));
///   backward(loss);                                   // inside the scope: recompute() runs layers again
///   sequence.sum_gradients(model);                    // the gradients of one process, on every rank
///
/// Every rank makes the same calls in the same order. Results do not depend on time or chance; from one number of ranks
/// to another they differ by rounding, and by the draws of dropout.
class SequenceParallel final : public nn::SequencePart {
 public:
  /// An Error where there are fewer than two positions for each rank.
  SequenceParallel(Communicator& communicator, int64_t length);

  int64_t length() const override { return length_; }
  std::vector<nn::PositionRun> const& runs() const override { return runs_[size_t(communicator_.rank())]; }
  int64_t rows() const { return rows(communicator_.rank()); }
  int64_t rows(int rank) const;

  /// This rank's rows of what every rank has whole; differentiable.
  Tensor part(Tensor const& whole, int axis = 1) const;
  /// All rows in order, of what each rank has a part of; differentiable: each row's gradient is the sum over ranks.
  Tensor whole(Tensor const& part, int axis = 1) const;
  /// A mean over this rank's rows as its share of the mean over all: the shares of all ranks add up to it.
  Tensor share(Tensor const& mean) const;
  /// Adds the gradients of all ranks up, on every rank; a parameter without one counts as zeros where another has one.
  void sum_gradients(nn::Module& module) const;

  /// heed::attend() of the whole sequence for this rank's queries, from its own part of keys and values: k and v travel
  /// around the ring of ranks while each computes on what it has, and partial results merge by log-sum-exp; in backward
  /// their gradients travel along and end at home (Liu, Zaharia and Abbeel, "Ring attention", 2023). q [B, H, rows, D],
  /// k [B, G, rows, D], v [B, G, rows, E]; a mask is [.., rows, length]; windows, scores and masks by recorded programs
  /// are by positions of the whole sequence, and so are the tables that they read by position. Equal to attend() within
  /// rounding; dropout draws otherwise. A rank sends (3N − 2)·B·G·rows·(D + E) numbers for forward and backward, the
  /// gradients among them (N) in f32 for 16-bit operands. An Error for what needs all scores of a row at once (entmax,
  /// top_k) and for pages; no second derivatives.
  Attended attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {}) override;
  /// heed::scan() of the whole sequence, this rank's rows of it: every rank runs its pieces from no state and finds by
  /// what matrix each changes a state, all ranks hear of all pieces, and each runs its own again from the right state:
  /// about three times the time of its part. The state is that after the whole sequence, on every rank. No second
  /// derivatives.
  Scanned scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options = {}) override;

  /// Bytes of keys, values and their gradients that this rank has sent in attend(), without headers.
  int64_t bytes_sent() const { return bytes_; }
  /// Pairs of a query and a key that attend() of this rank has looked at in forward passes, by causality and windows.
  double pairs_seen() const { return pairs_; }

 private:
  Communicator& communicator_;
  int64_t length_;
  std::vector<std::vector<nn::PositionRun>> runs_;  // of each rank
  int64_t bytes_ = 0;
  double pairs_ = 0;
};

}  // namespace heed::distributed
