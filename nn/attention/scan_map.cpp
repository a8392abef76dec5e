#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/scope.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/scan_map.h>
#include <heed/nn/attention/sequence.h>
#include <heed/nn/hook_list.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace heed::nn {
namespace {

using ScanHooks = HookList<std::function<void(ScanCall const&)>>;

}  // namespace

int64_t ScanCall::channels() const {
  int64_t most = std::max(q.size(1), k.size(1));
  for (Tensor const* t : {&options.decay, &options.a, &options.b, &out})
    if (t->defined()) most = std::max(most, t->size(1));
  return options.rates.defined() ? std::max(most, options.rates.size(0)) : most;
}

HookHandle on_scan(std::function<void(ScanCall const&)> seen) { return ScanHooks::add(std::move(seen)); }

bool scans_are_seen() { return !ScanHooks::mine()->empty(); }

void tell_scan(ScanCall call) {
  check(!SequenceScope::current(), "attention", [] {
    return Complaint{"a hook would see a part of the sequence alone", "look at recurrences on whole sequences"};
  });
  call.path = scope_path();
  for (auto const& [id, seen] : ScanHooks::mine()->now()) seen(call);
}

namespace {

/// Rows [from, to) of channels [c, c + count) of sequence b: [1, count, to − from, S].
Tensor rows_of_channels(ScanCall const& call, int64_t b, int64_t c, int64_t count, int64_t from, int64_t to) {
  int64_t const all = call.channels(), n = call.steps, last = call.everything ? call.k.size(2) : to * n;
  auto const own = [&](Tensor const& x) {  // of these channels, steps up to the last
    if (!x.defined()) return x;
    Tensor const sequence = x.detach().slice(0, b, b + 1).slice(2, 0, std::min(last, x.size(2)));
    return sequence.size(1) == all ? sequence.slice(1, c, c + count) : sequence;
  };
  Tensor const q = own(call.q), k = own(call.k);
  // Which step each row reads after.
  Tensor const read = (arange(last).unsqueeze(1) == arange(from, to) * n + (n - 1)).to(q.dtype()).to(q.device());
  Tensor a;
  if (call.everything) {
    int64_t const share = count / k.size(1);
    Tensor const keys = share == 1 ? k : repeat_interleave(k, share, 1);
    a = matmul(q.slice(2, from, to), keys.t()) * call.options.scale;
  } else {
    ScanOptions options = call.options;
    options.initial = {};
    for (Tensor* t : {&options.decay, &options.a, &options.b}) *t = own(*t);
    if (options.rates.defined()) {
      options.rates = options.rates.detach();
      if (options.rates.size(0) == all) options.rates = options.rates.slice(0, c, c + count);
    }
    EnableGrad const on;
    Tensor const v = zeros({1, count, last, to - from}, q.dtype(), q.device()).requires_grad_();
    Tensor const out = scan(q, k, v, options).out;
    a = grad({out}, {v}, {read.expand(out.shape()).contiguous()})[0].t();
  }
  if (call.weight.defined()) a = a * own(call.weight).unsqueeze(2);
  auto const row = [&](Tensor const& x) {
    return x.detach().slice(0, b, b + 1).slice(1, c, c + count).slice(2, from, to).unsqueeze(3);
  };
  if (call.gain.defined()) a = a * row(call.gain);
  if (call.own.defined()) a = a + read.t() * row(call.own);
  if (n > 1) a = sum(abs(a).reshape({1, count, to - from, last / n, n}), {4});
  int64_t const missing = call.k.size(2) / n - a.size(3);
  return missing == 0 ? a : cat({a, zeros({1, count, to - from, missing}, a.dtype(), a.device())}, 3);
}

}  // namespace

Tensor scan_map_rows(ScanCall const& call, int64_t from, int64_t to, bool shares) {
  NoGrad const off;
  int64_t const heads = call.out.size(1), channels = call.channels(), each = channels / heads;
  std::vector<Tensor> sequences;
  for (int64_t b = 0; b < call.out.size(0); ++b) {
    std::vector<Tensor> list;
    // Many channels a head are taken head by head, for memory.
    for (int64_t c = 0, some = each == 1 ? channels : each; c < channels; c += some) {
      Tensor a = rows_of_channels(call, b, c, some, from, to);
      if (shares) {
        a = abs(a);
        Tensor const mass = sum(a, {3}, true);
        a = where(mass > 0.0, a / where(mass > 0.0, mass, 1.0), 0.0);
      }
      list.push_back(each == 1 ? a : mean(a, {1}, true));
    }
    sequences.push_back(list.size() == 1 ? list[0] : cat(list, 1));
  }
  return sequences.size() == 1 ? sequences[0] : cat(sequences, 0);
}

}  // namespace heed::nn
