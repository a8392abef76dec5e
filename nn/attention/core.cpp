#include <heed/engine/error.h>
#include <heed/engine/scope.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/sequence.h>

#include <memory>
#include <vector>

namespace heed::nn {
namespace {

constinit thread_local bool naive_cores = false;
constinit thread_local SequencePart* sequence_part = nullptr;

struct AttendHook {
  uint64_t id;
  std::function<void(AttentionCall&)> before, after;
};
struct AttendHooks {
  std::vector<AttendHook> list;
  uint64_t last = 0;
};
std::shared_ptr<AttendHooks> const& attend_hooks() {
  thread_local auto const mine = std::make_shared<AttendHooks>();
  return mine;
}

Attended plain(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  return naive_cores ? naive::attend(q, k, v, options) : attend(q, k, v, options);
}

}  // namespace

HookHandle on_attend(std::function<void(AttentionCall&)> before, std::function<void(AttentionCall&)> after) {
  auto const mine = attend_hooks();
  uint64_t const id = ++mine->last;
  mine->list.push_back({id, std::move(before), std::move(after)});
  return HookHandle([mine, id] { std::erase_if(mine->list, [id](AttendHook const& h) { return h.id == id; }); });
}

Attended core(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  if (sequence_part) [[unlikely]] {
    check(attend_hooks()->list.empty(), "attention", [] {
      return Complaint{"a hook would see the keys of a part of the sequence alone",
                       "look at attention, and penalise it, on whole sequences"};
    });
    return sequence_part->attend(q, k, v, options);
  }
  if (attend_hooks()->list.empty()) return plain(q, k, v, options);
  auto const list = attend_hooks()->list;  // a hook may set or remove hooks
  AttentionCall call{scope_path(), q, k, v, options};
  for (AttendHook const& hook : list)
    if (hook.before) hook.before(call);
  call.result = plain(call.q, call.k, call.v, call.options);
  for (AttendHook const& hook : list)
    if (hook.after) hook.after(call);
  return call.result;
}

std::vector<Tensor> attention_maps(std::function<void()> const& forward) {
  std::vector<Tensor> maps;
  HookHandle watch = on_attend([&](AttentionCall& call) {
    NoGrad const off;
    AttendOptions options = call.options;
    options.dropout = 0;
    maps.push_back(attention_weights(call.q, call.k, options));
  });
  try {
    forward();
  } catch (...) {
    watch.remove();
    throw;
  }
  watch.remove();
  return maps;
}

Scanned scan_core(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  if (sequence_part) [[unlikely]]
    return sequence_part->scan(q, k, v, options);
  return naive_cores ? naive::scan(q, k, v, options) : scan(q, k, v, options);
}

SequenceScope::SequenceScope(SequencePart* part) : before_(sequence_part) { sequence_part = part; }
SequenceScope::~SequenceScope() { sequence_part = before_; }
SequencePart* SequenceScope::current() noexcept { return sequence_part; }

NaiveCores::NaiveCores() : before_(naive_cores) { naive_cores = true; }
NaiveCores::~NaiveCores() { naive_cores = before_; }

}  // namespace heed::nn
