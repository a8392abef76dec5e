// What may change around the core of multi-head attention: parts, which compose.
#pragma once

#include <heed/nn/attention/attention.h>
#include <heed/nn/attention/core.h>

namespace heed::nn {

/// What passes through a layer on the way to the core.
struct HeadOperands {
  Tensor x;                       // [B, T, dim]: where the queries come from
  Tensor source;                  // [B, S', dim]: where the new keys and values come from: x, or a memory
  Tensor q = {}, k = {}, v = {};  // [B, H, T, D], [B, G, S', D], [B, G, S', E]; in options(): of all keys, [B, G, S, D]
  int64_t past = 0;               // positions before these
  Tensor* first_values = nullptr;  // AttentionContext::first_values
  AttendOptions options = {};
};

/// A part sees the operands at three places; those it leaves alone do nothing. "sliding:window=128+alibi" is multi-head
/// attention with two parts.
class Part : public Module {
 public:
  explicit Part(AttentionConfig const& given) : config(given) {}
  /// Position encodings of the model's input: x [B, T, dim] of positions past, past + 1, …
  virtual Tensor embed(Tensor const& x, int64_t /*past*/) const { return x; }
  /// q, k and v of the new positions, before a cache takes k and v.
  virtual void project(HeadOperands&) const {}
  /// Scores, masks and the row normaliser, with k and v of all positions.
  virtual void options(HeadOperands&) const {}
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
  void options(HeadOperands& o) const;
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
  std::vector<Named> parts_;
};

/// Sets what a query sees to what it saw and `sees` as well.
void also_sees(AttendOptions& options, MaskMod const& sees);
/// Lets `score` follow the score that is set.
void then_score(AttendOptions& options, ScoreMod const& score);
/// An Error where the softmax was replaced already: one row normaliser at a time.
void expect_softmax(std::string_view part, AttendOptions const& options);

}  // namespace heed::nn
