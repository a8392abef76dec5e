// The two cores as layers call them: hooks see their operands and results, and their specifications can take their
// place.
#pragma once

#include <heed/engine/hooks.h>
#include <heed/engine/ops.h>

#include <functional>
#include <string_view>
#include <vector>

namespace heed::nn {

/// One call of attend() by a layer.
struct AttentionCall {
  std::string_view path;  // of the layer, "blocks.3.attn"
  Tensor q, k, v;         // [B, H, T, D], [B, G, S, D], [B, G, S, E], as attend() takes them
  AttendOptions options;
  Attended result = {};  // nothing before
};

/// Calls `before` with the operands of every attend() by a layer of this thread, and `after` with its result as well;
/// both may change what they see: more options, a mask, another output. Everything is recorded, so that what is
/// computed from a call may be a penalty (attention_entropy() and its like, ops.h). They run in the order they were
/// set. A layer that recompute() runs again calls them again (recomputing() tells).
HookHandle on_attend(std::function<void(AttentionCall&)> before, std::function<void(AttentionCall&)> after = {});

/// attend(), with its hooks; in a SequenceScope (sequence.h) that of the whole sequence, where a hook is an Error.
Attended core(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {});
/// The weights [B, H, T, S] of every attend() by a layer while `forward` runs, in order: materialised, for looking.
std::vector<Tensor> attention_maps(std::function<void()> const& forward);
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
