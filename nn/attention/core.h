// The two cores as layers call them: hooks see their operands and results, and their specifications can take their
// place.
#pragma once

#include <heed/engine/hooks.h>
#include <heed/engine/ops.h>

#include <functional>
#include <string_view>
#include <vector>

namespace heed::nn {

/// Weights [B, H, T, S] from q, k and options, of which dense_scores() makes scores.
using MakeWeights = std::function<Tensor(Tensor const& q, Tensor const& k, AttendOptions const& options)>;

/// One call of attend() by a layer, or of a core that makes its weights itself.
struct AttentionCall {
  std::string_view path;  // of the layer, "blocks.3.attn"
  Tensor q, k, v;         // [B, H, T, D], [B, G, S, D], [B, G, S, E], as attend() takes them
  AttendOptions options;
  Attended result = {};      // nothing before
  MakeWeights weights = {};  // of a core that makes them itself; nothing after: options.weight reads what it made
};
/// The call as attend(), attention_weights() and the probes understand it: where the core makes its weights itself they
/// are made, and options.weight reads them, with their gradient.
AttentionCall as_attended(AttentionCall call);

/// Calls `before` with the operands of every attend() by a layer of this thread, and `after` with its result as well;
/// both may change what they see: more options, a mask, another output. Everything is recorded, so that what is
/// computed from a call may be a penalty (attention_entropy() and its like, ops.h). They run in the order they were
/// set. A layer that recompute() runs again calls them again (recomputing() tells).
HookHandle on_attend(std::function<void(AttentionCall&)> before, std::function<void(AttentionCall&)> after = {});

/// attend(), with its hooks; in a SequenceScope (sequence.h) that of the whole sequence, where a hook is an Error.
Attended core(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {});
/// The core of weights that are no function of single scores: make(q, k, options)·v after dropout, with the hooks of
/// attend(); there is no log-sum-exp. Weights are held while a hook looks. Else those of a block of queries are where
/// the call is causal and `rows_alone`, so that a row of weights needs no other.
Attended core(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options, MakeWeights const& make,
              bool rows_alone);
/// `step` of blocks of queries, each with the keys up to its end, made again for backward: what has to hold scores
/// holds those of a block alone. For causal calls; others take all queries as one.
Tensor by_query_blocks(
    Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options,
    std::function<Tensor(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const&)> const& step);
/// x [B, G, ..] of key heads for each of `heads` query heads.
Tensor for_each_head(Tensor const& x, int64_t heads);
/// The weights [B, H, T, S] of every core of a layer while `forward` runs, in order: materialised, for looking. Of a
/// recurrence its map (scan_map.h), as it is or by its shares.
std::vector<Tensor> attention_maps(std::function<void()> const& forward, bool shares = false);
/// scan(), in a SequenceScope that of the whole sequence; one step's T = 1 takes its loop.
Scanned scan_core(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options = {});

/// While it lives, the cores of this thread's layers are their specifications: naive::attend and naive::scan.
class NaiveCores {
 public:
  NaiveCores();
  ~NaiveCores();
  NaiveCores(NaiveCores const&) = delete;
  NaiveCores& operator=(NaiveCores const&) = delete;

 private:
  bool before_;
};

}  // namespace heed::nn
