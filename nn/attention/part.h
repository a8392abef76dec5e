// What may change around the core of multi-head attention: parts, which compose.
#pragma once

#include <heed/nn/attention/attention.h>
#include <heed/nn/attention/core.h>

#include <functional>

namespace heed::nn {

/// What passes through a layer on the way to the core.
struct HeadOperands {
  Tensor x;                       // [B, T, dim]: where the queries come from
  Tensor source;                  // [B, S', dim]: where the new keys and values come from: x, or a memory
  Tensor q = {}, k = {}, v = {};  // [B, H, T, D], [B, G, S', D], [B, G, S', E]; in options(): of all keys, [B, G, S, D]
  int64_t past = 0;               // positions before these
  Tensor carried = {};            // [B, G, S', C]: what a part needs of every key besides; a cache keeps it beside k
  Tensor lengths = {};            // i64 [B]: of the keys, only so many are there
  Tensor query_lengths = {};      // and of the queries
  Tensor* first_values = nullptr;  // AttentionContext::first_values
  AttendOptions options = {};
};

/// The weighted values [B, H, T, E] of operands that are ready.
using CoreStep = std::function<Tensor(HeadOperands const&)>;

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
  /// The core itself: `inner` is what parts named later make of it, and core() at last.
  virtual Tensor weigh(HeadOperands const& o, CoreStep const& inner) const { return inner(o); }
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
  Tensor weigh(HeadOperands const& o) const;
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
  Tensor weigh(HeadOperands const& o, size_t from) const;

  std::vector<Named> parts_;
};

/// Sets what a query sees to what it saw and `sees` as well.
void also_sees(AttendOptions& options, MaskMod const& sees);
/// Lets `score` follow the score that is set.
void then_score(AttendOptions& options, ScoreMod const& score);
/// An Error where the softmax was replaced already: one row normaliser at a time.
void expect_softmax(std::string_view part, AttendOptions const& options);
/// How many keys a query sees by causality, windows and lengths: a table [B or 1, S or 1] to be read at {b, i}.
Tensor key_counts(HeadOperands const& o);
/// `step` of blocks of queries, each with the keys up to its end, made again for backward: what has to hold scores
/// holds those of a block alone. For causal layers; others take all queries as one.
Tensor by_query_blocks(HeadOperands const& o, CoreStep const& step);
/// x [B, G, ..] of key heads for each of `heads` query heads.
Tensor for_each_head(Tensor const& x, int64_t heads);

}  // namespace heed::nn
