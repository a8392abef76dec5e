#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/attention.h>
#include <heed/nn/attention/sequence.h>

#include <algorithm>

namespace heed::nn {

AttentionConfig checked(AttentionConfig config) {
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  check(config.heads >= 1 && config.dim >= 1 && config.dim % config.heads == 0, "attention", [&] {
    return Complaint{
        fmt::format("expected heads that divide the width, got {} heads and width {}", config.heads, config.dim),
        "choose a width that is a multiple of the heads"};
  });
  check(config.kv_heads >= 1 && config.heads % config.kv_heads == 0, "attention", [&] {
    return Complaint{
        fmt::format("expected key heads that divide the heads, got {} and {}", config.kv_heads, config.heads),
        "choose kv_heads among the divisors of heads"};
  });
  check(config.dropout >= 0 && config.dropout < 1, "attention", [&] {
    return Complaint{fmt::format("expected a dropout from 0 to below 1, got {}", config.dropout),
                     "choose a probability"};
  });
  return config;
}

std::string_view name(Growth growth) {
  constexpr std::string_view names[] = {"constant", "linear", "subquadratic", "quadratic"};
  return names[size_t(growth)];
}

Traits both(Traits const& a, Traits const& b) {
  return {.causal = a.causal && b.causal,
          .bidirectional = a.bidirectional && b.bidirectional,
          .cross = a.cross && b.cross,
          .steps = a.steps && b.steps,
          .equivariant = a.equivariant && b.equivariant,
          .lengths = a.lengths && b.lengths,
          .pools = a.pools || b.pools,
          .time = std::min(a.time, b.time),
          .memory = std::max(a.memory, b.memory),
          .state = std::min(a.state, b.state)};
}

namespace {

int64_t bytes_of(Tensor const& t) { return t.defined() ? t.numel() * int64_t(size_of(t.dtype())) : 0; }

/// x with zeros behind each sequence's length.
Tensor without_padding(char const* what, Tensor const& x, Tensor const& lengths) {
  if (!lengths.defined()) return x;
  check(lengths.rank() == 1 && lengths.size(0) == x.size(0) && lengths.dtype() == Dtype::i64, "attention", [&] {
    return Complaint{fmt::format("expected {} of {} sequences as i64 [{}], got {} {}", what, x.size(0), x.size(0),
                                 name(lengths.dtype()), to_string(lengths.shape())),
                     "pass one length a sequence"};
  });
  return where(valid_positions(lengths, x.size(1)).unsqueeze(2), x, 0.);
}

}  // namespace

void detail::fail_state() {
  fail("attention", {"the state is not of the kind that this layer makes", "pass what its own make_state() gave"});
}

Tensor valid_positions(Tensor const& lengths, int64_t t) {
  Tensor at = arange(t);
  if (SequencePart const* const part = SequenceScope::current()) {
    std::vector<Tensor> runs;
    for (PositionRun const& run : part->runs()) runs.push_back(arange(run.from, run.to));
    at = cat(runs, 0);
  }
  return at.to(lengths.device()).unsqueeze(0) < lengths.unsqueeze(1);
}

Tensor split_heads(Tensor const& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}
Tensor join_heads(Tensor const& x) { return x.transpose(1, 2).reshape({x.size(0), x.size(2), x.size(1) * x.size(3)}); }

Tensor Attention::forward(Tensor const& x, AttentionContext const& context) const {
  auto const expect_sequences = [&](char const* what, Tensor const& s, int64_t batch) {
    check(s.rank() == 3 && s.size(2) == config.dim && s.size(0) == batch, "attention", [&] {
      return Complaint{fmt::format("expected {} [{}, T, {}], got {}", what, batch, config.dim, to_string(s.shape())),
                       "pass a batch of sequences"};
    });
  };
  check_defined("attention", x);
  expect_sequences("x", x, x.rank() > 0 ? x.size(0) : 0);
  if (context.memory.defined()) {
    expect_sequences("the memory", context.memory, x.size(0));
    check(traits().cross && !config.causal && !context.state, "attention", [&] {
      return Complaint{config.causal   ? "a causal layer cannot look at a memory: their positions are not comparable"
                       : context.state ? "a memory has no place in a state"
                                       : "this kind looks at x alone, not at a memory",
                       "build it with causal = false, of a kind that is listed as cross"};
    });
  }
  if (SequenceScope::current()) [[unlikely]] {
    if (context.memory.defined()) {  // keys and values are there as a whole
      check(!context.sees, "attention", [] {
        return Complaint{"positions of queries and of a memory are not comparable", "leave out the pairs"};
      });
      SequenceScope const whole(nullptr);
      return forward(x, context);
    }
    check(spreads() && !context.state, "attention", [&] {
      return Complaint{context.state ? "a state steps through whole sequences"
                                     : "this kind mixes positions otherwise than by attend() or scan() of the whole "
                                       "sequence, so that it cannot be spread over ranks",
                       "use multi-head attention with parts that spread, or a recurrence without a convolution"};
    });
  }
  check(!context.sees || selects_pairs(), "attention", [] {
    return Complaint{"this kind does not go pair by pair, so that it cannot be told which pairs to leave out",
                     "use multi-head attention and its parts"};
  });
  if (!context.lengths.defined() && !context.memory_lengths.defined()) return mix(x, context);
  check(traits().lengths, "attention", [] {
    return Complaint{"this kind mixes every position of the batch's length into every other",
                     "give sequences of one length, without padding"};
  });
  check(!context.state, "attention", [] {
    return Complaint{"lengths and a state were given together", "step through sequences of one length"};
  });
  AttentionContext clean = context;
  if (context.memory.defined())
    clean.memory = without_padding("memory_lengths", context.memory, context.memory_lengths);
  return mix(without_padding("lengths", x, context.lengths), clean);
}

std::unique_ptr<AttentionState> Attention::make_state(int64_t) const {
  fail("attention", {"this kind of attention does not decode step by step", "choose one that is listed as steps"});
}

int64_t KeyValueCache::bytes() const { return bytes_of(keys) + bytes_of(values); }

std::pair<Tensor, Tensor> KeyValueCache::append(Tensor const& k, Tensor const& v) {
  no_gradient("KeyValueCache", {k, v});
  int64_t const t = k.size(2);
  check(length + t <= capacity, "KeyValueCache", [&] {
    return Complaint{fmt::format("{} positions are filled and {} more do not fit its {}", length, t, capacity),
                     "make the cache longer, or drop old positions"};
  });
  bool const bounded = window < capacity && sinks + 2 * window < capacity;
  int64_t const rows = bounded ? sinks + 2 * window + 1 : capacity;
  if (!keys.defined()) {
    keys = Tensor({k.size(0), k.size(1), rows, k.size(3)}, k.dtype(), k.device());
    values = Tensor({v.size(0), v.size(1), rows, v.size(3)}, v.dtype(), v.device());
  }
  length += t;
  if (filled + t <= rows) {
    keys.slice(2, filled, filled + t).copy_(k);
    values.slice(2, filled, filled + t).copy_(v);
    filled += t;
    return {keys.slice(2, 0, filled), values.slice(2, 0, filled)};
  }
  // Full: this call sees everything, and what later queries cannot see is dropped.
  Tensor const all_keys = cat({keys.slice(2, 0, filled), k}, 2), all_values = cat({values.slice(2, 0, filled), v}, 2);
  int64_t const total = filled + t;
  for (auto [kept, all] : {std::pair(keys, all_keys), std::pair(values, all_values)}) {
    kept.slice(2, 0, sinks).copy_(all.slice(2, 0, sinks));
    kept.slice(2, sinks, sinks + window).copy_(all.slice(2, total - window, total));
  }
  filled = sinks + window;
  return {all_keys, all_values};
}

int64_t RecurrentState::bytes() const {
  int64_t sum = 0;
  for (Tensor const& t : tensors) sum += bytes_of(t);
  return sum;
}

int64_t StateList::bytes() const {
  int64_t sum = 0;
  for (auto const& state : states) sum += state->bytes();
  return sum;
}

}  // namespace heed::nn
