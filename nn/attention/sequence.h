// Sequences that are spread over several places: which positions this thread's layers have, and what goes between.
#pragma once

#include <heed/engine/ops.h>

#include <vector>

namespace heed::nn {

/// Positions [from, to).
struct PositionRun {
  int64_t from, to;
  int64_t size() const { return to - from; }
};

/// A part of every sequence of a batch: the rows that layers hold are the positions of the runs, one run after the
/// other. Its cores take such rows and see the whole sequence; what modifications and masks read by position is of the
/// whole sequence too.
class SequencePart {
 public:
  virtual ~SequencePart() = default;
  /// Of the whole sequence.
  virtual int64_t length() const = 0;
  virtual std::vector<PositionRun> const& runs() const = 0;
  virtual Attended attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) = 0;
  virtual Scanned scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) = 0;
};

/// While it lives, what this thread's layers get are rows of `part`; null: whole sequences again.
class SequenceScope {
 public:
  explicit SequenceScope(SequencePart* part);
  ~SequenceScope();
  SequenceScope(SequenceScope const&) = delete;
  SequenceScope& operator=(SequenceScope const&) = delete;
  /// Null where sequences are whole.
  static SequencePart* current() noexcept;

 private:
  SequencePart* before_;
};

}  // namespace heed::nn
