#include <heed/engine/error.h>
#include <heed/engine/recompute.h>
#include <heed/engine/scope.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/scan_map.h>
#include <heed/nn/attention/sequence.h>
#include <heed/nn/hook_list.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace heed::nn {
namespace {

constinit thread_local bool naive_cores = false;
constinit thread_local SequencePart* sequence_part = nullptr;

struct AttendHook {
  std::function<void(AttentionCall&)> before, after;
};
using Hooks = HookList<AttendHook>;

Attended plain(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  return naive_cores ? naive::attend(q, k, v, options) : attend(q, k, v, options);
}

}  // namespace

HookHandle on_attend(std::function<void(AttentionCall&)> before, std::function<void(AttentionCall&)> after) {
  return Hooks::add({std::move(before), std::move(after)});
}

namespace {

/// The call with its hooks around `run`, which sets its result.
template <class Run>
Attended hooked(AttentionCall call, Run const& run) {
  auto const hooks = Hooks::mine()->now();
  for (auto const& [id, hook] : hooks)
    if (hook.before) hook.before(call);
  run(call);
  for (auto const& [id, hook] : hooks)
    if (hook.after) hook.after(call);
  return call.result;
}

Tensor weighed(Tensor p, Tensor const& v, AttendOptions const& options) {
  if (options.dropout > 0) p = dropout(p, options.dropout, options.draw);
  return matmul(p, for_each_head(v, p.size(1)));
}

AttentionCall reading(AttentionCall call, Tensor const& p) {
  double const shift = double(call.k.size(2) - call.q.size(2));
  call.options.score = {};
  call.options.weight = [&](auto, auto at) { return read(p, {at.b, at.h, at.i - shift, at.j}); };
  call.weights = {};
  return call;
}

}  // namespace

AttentionCall as_attended(AttentionCall call) {
  if (!call.weights) return call;
  Tensor const p = call.weights(call.q, call.k, call.options);
  return reading(std::move(call), p);
}

Attended core(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  if (sequence_part) [[unlikely]] {
    check(Hooks::mine()->empty(), "attention", [] {
      return Complaint{"a hook would see the keys of a part of the sequence alone",
                       "look at attention, and penalise it, on whole sequences"};
    });
    return sequence_part->attend(q, k, v, options);
  }
  if (Hooks::mine()->empty()) return plain(q, k, v, options);
  return hooked({scope_path(), q, k, v, options},
                [](AttentionCall& call) { call.result = plain(call.q, call.k, call.v, call.options); });
}

Attended core(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options, MakeWeights const& make,
              bool rows_alone) {
  check(!sequence_part, "attention", [] {
    return Complaint{"its weights are made from all scores of a row, and a part of the sequence has not got them",
                     "keep sequences whole, or choose a kind whose core is attend()"};
  });
  auto const whole = [make](Tensor const& q2, Tensor const& k2, Tensor const& v2, AttendOptions const& o) {
    return weighed(make(q2, k2, o), v2, o);
  };
  if (Hooks::mine()->empty())
    return {rows_alone ? by_query_blocks(q, k, v, options, whole) : whole(q, k, v, options), {}};
  return hooked({scope_path(), q, k, v, options, {}, make}, [](AttentionCall& call) {
    Tensor const p = call.weights(call.q, call.k, call.options);
    call.result = {weighed(p, call.v, call.options), {}};
    call = reading(std::move(call), p);
  });
}

Tensor by_query_blocks(
    Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options,
    std::function<Tensor(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const&)> const& step) {
  constexpr int64_t block = 64;
  int64_t const queries = q.size(2), shift = k.size(2) - queries;
  if (!options.causal || queries <= block) return step(q, k, v, options);
  std::vector<Tensor> parts;
  for (int64_t from = 0; from < queries; from += block) {
    int64_t const to = std::min(from + block, queries), keys = to + shift;
    AttendOptions own = options;
    own.draw.offset += uint64_t(keys);
    if (own.mask.defined() && own.mask.rank() >= 1 && own.mask.size(-1) > 1) own.mask = own.mask.slice(-1, 0, keys);
    if (own.mask.defined() && own.mask.rank() >= 2 && own.mask.size(-2) > 1) own.mask = own.mask.slice(-2, from, to);
    parts.push_back(
        recompute([own, step](std::vector<Tensor> const& in) { return std::vector{step(in[0], in[1], in[2], own)}; },
                  {q.slice(2, from, to), k.slice(2, 0, keys), v.slice(2, 0, keys)})[0]);
  }
  return cat(parts, 2);
}

Tensor for_each_head(Tensor const& x, int64_t heads) {
  return x.size(1) == heads ? x : repeat_interleave(x, heads / x.size(1), 1);
}

std::vector<Tensor> attention_maps(std::function<void()> const& forward, bool shares) {
  std::vector<Tensor> maps;
  struct Watches {
    HookHandle attend, scan;
    ~Watches() {
      attend.remove();
      scan.remove();
    }
  } const watches{on_attend({},
                            [&](AttentionCall& call) {
                              NoGrad const off;
                              AttendOptions options = call.options;
                              options.dropout = 0;
                              maps.push_back(attention_weights(call.q, call.k, options));
                            }),
                  on_scan([&](ScanCall const& call) {
                    std::vector<Tensor> rows;
                    for (int64_t t = call.out.size(2), at = 0; at < t; at += 32)
                      rows.push_back(scan_map_rows(call, at, std::min(at + 32, t), shares));
                    if (!rows.empty()) maps.push_back(cat(rows, 2));
                  })};
  forward();
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
