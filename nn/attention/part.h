// What may change around the core of multi-head attention: parts, which compose.
#pragma once

#include <heed/nn/attention/attention.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/sequence.h>

#include <functional>

namespace heed::nn {

/// What passes through a layer on the way to the core.
struct HeadOperands {
  Tensor x;                       // [B, T, dim]: where the queries come from
  Tensor source;                  // [B, S', dim]: where the new keys and values come from: x, or a memory
  Tensor q = {}, k = {}, v = {};  // [B, H, T, D], [B, G, S', D], [B, G, S', E]; in options(): of all keys, [B, G, S, D]
  Tensor carried = {};            // [B, G, S', C]: what a part needs of every key besides; a cache keeps it beside k
  Tensor lengths = {};            // i64 [B]: of k and v only so many rows are there; undefined: all
  Tensor query_lengths = {};      // and of q
  int64_t past = 0;               // positions before these
  int64_t sinks = 0;              // in options(): so many first keys are followed by a gap of
  int64_t dropped = 0;            // so many that a bounded cache let go
  Tensor* first_values = nullptr;  // AttentionContext::first_values
  AttendOptions options = {};

  /// All keys that modifications may be asked about: rows of k, and in a SequenceScope the whole sequence's.
  int64_t key_count() const {
    SequencePart const* const part = SequenceScope::current();
    return part ? part->length() : k.size(2);
  }
  /// Where the key (or query) stands that a modification calls number `row`.
  Symbol position(Symbol row) const {
    return dropped == 0 ? row : select(row < double(sinks), row, row + double(dropped));
  }
  /// What a core of other keys than these takes: the scale, and dropout.
  AttendOptions elsewhere() const { return {.scale = options.scale, .dropout = options.dropout, .draw = options.draw}; }
};
/// ⌊i / size⌋
inline Symbol block_of(Symbol i, int64_t size) { return floor((i + 0.5) * (1 / double(size))); }
/// i mod size, for i ≥ 0
inline Symbol within_block(Symbol i, int64_t size) { return i - block_of(i, size) * double(size); }

/// Weighs the values of operands that are ready. Without a log-sum-exp where it is no softmax that one core() gives.
using CoreStep = std::function<Attended(HeadOperands const&)>;

/// A part acts at some of these places; those it leaves alone do nothing. "sliding:window=128+alibi" is multi-head
/// attention with two parts.
class Part : public Module {
 public:
  explicit Part(AttentionConfig const& given) : config(given) {}
  /// Position encodings of the model's input: x [B, T, dim] of positions past, past + 1, …
  virtual Tensor embed(Tensor const& x, int64_t /*past*/) const { return x; }
  /// q, k and v of the new positions, before a cache takes k and v.
  virtual void project(HeadOperands&) const {}
  /// Scores and masks, with k and v of all positions.
  virtual void options(HeadOperands&) const {}
  /// The row normaliser, when scores and masks of all parts are known.
  virtual void normalise(HeadOperands&) const {}
  /// The core: `next` is what parts named later make of it, and core() at last. More that is seen beside the keys
  /// joins by merge().
  virtual Attended weigh(HeadOperands const& o, CoreStep const& next) const { return next(o); }
  /// Whether weigh() stands in core()'s place, so that it comes last: one part of a layer may.
  virtual bool is_core() const { return false; }
  /// Whether it heeds masks and scores. One that does not must still heed config.causal and lengths.
  virtual bool heeds_options() const { return true; }
  /// Whether a sequence may be spread over several places (sequence.h): embed() and project() are given one run of
  /// positions at a time, and whatever looks at two of them is core() or what core() evaluates.
  virtual bool spreads() const { return !is_core() && heeds_options(); }
  /// The core's result [B, H, T, E] on its way to the last projection.
  virtual Tensor finish(Tensor const& out, HeadOperands const&) const { return out; }
  /// What of the past a cache must keep.
  virtual void bound(KeyValueCache&) const {}
  virtual Traits traits() const { return {}; }
  void visit(Visitor&) override {}

  AttentionConfig const config;
};

/// Parts by name, in the order in which they act.
class Parts {
 public:
  void add(std::string name, std::unique_ptr<Part> part);
  Tensor embed(Tensor x, int64_t past) const;
  void project(HeadOperands& o) const;
  void options(HeadOperands& o) const;  // and normalise()
  Attended weigh(HeadOperands const& o) const { return weigh(o, 0); }
  bool heed_options() const;
  bool spread() const;
  Tensor finish(Tensor out, HeadOperands const& o) const;
  void bound(KeyValueCache& cache) const;
  Traits traits(Traits of_layer) const;
  void visit(Visitor& visitor);
  bool empty() const { return parts_.empty(); }

 private:
  struct Named {
    std::string name;
    std::unique_ptr<Part> part;
  };
  Attended weigh(HeadOperands const& o, size_t from) const;

  std::vector<Named> parts_;
};

/// Sets what a query sees to what it saw and `sees` as well.
void also_sees(AttendOptions& options, MaskMod const& sees);
/// Lets `score` follow the score that is set.
void then_score(AttendOptions& options, ScoreMod const& score);
/// An Error where a setting is below `least`.
void expect_at_least(int64_t least, std::string_view kind, std::string_view setting, int64_t value);
/// An Error where there are more positions than a layer was built for.
void expect_fits(std::string_view kind, int64_t positions, int64_t block);
/// An Error where the softmax was replaced already: one row normaliser at a time.
void expect_softmax(std::string_view part, AttendOptions const& options);
/// How many keys a query sees by causality, windows and lengths: a table [B or 1, positions or 1] to be read at
/// {b, o.position(i)}.
Tensor key_counts(HeadOperands const& o);

}  // namespace heed::nn
