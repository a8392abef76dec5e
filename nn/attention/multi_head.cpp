#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/multi_head.h>

#include <tuple>

namespace heed::nn {

MultiHeadAttention::MultiHeadAttention(AttentionConfig const& given, Parts given_parts)
    : Attention(given),
      q_proj(config.dim, config.dim, config.bias),
      k_proj(config.dim, config.head_dim() * config.kv_heads, config.bias),
      v_proj(config.dim, config.head_dim() * config.kv_heads, config.bias),
      out_proj(config.dim, config.dim, config.bias),
      around(std::move(given_parts)) {}

std::unique_ptr<AttentionState> MultiHeadAttention::make_state(int64_t positions) const {
  if (!traits().steps || !config.causal) return Attention::make_state(positions);
  auto cache = std::make_unique<KeyValueCache>(positions);
  around.bound(*cache);
  return cache;
}

Tensor MultiHeadAttention::mix(Tensor const& x, AttentionContext const& context) const {
  bool const cross = context.memory.defined();
  HeadOperands o{.x = x, .source = cross ? context.memory : x};
  o.first_values = context.first_values;
  o.q = split_heads(q_proj(x), config.heads);
  o.k = split_heads(k_proj(o.source), config.kv_heads);
  o.v = split_heads(v_proj(o.source), config.kv_heads);
  o.past = context.state ? context.state->length : 0;
  around.project(o);
  auto* const cache = context.state ? &state_as<KeyValueCache>(*context.state) : nullptr;
  if (cache) {
    int64_t const width = o.k.size(3);
    std::tie(o.k, o.v) = cache->append(o.carried.defined() ? cat({o.k, o.carried}, 3) : o.k, o.v);
    if (o.carried.defined()) o.carried = o.k.slice(3, width, o.k.size(3)), o.k = o.k.slice(3, 0, width);
    o.sinks = cache->sinks;
    o.dropped = cache->length - o.k.size(2);
  }
  o.options.causal = config.causal;
  o.query_lengths = context.lengths;
  o.lengths = cross ? context.memory_lengths : context.lengths;
  if (o.lengths.defined()) also_sees(o.options, lengths(o.lengths));
  if (context.sees) also_sees(o.options, context.sees);
  around.options(o);
  check(!cache || cache->sinks == 0 || cache->filled == cache->length || !o.options.score, "attention", [] {
    return Complaint{"a cache that dropped positions cannot tell a score how far its first keys are",
                     "use rotary positions, or none, beside this window"};
  });
  if (training() && config.dropout > 0) {
    o.options.dropout = config.dropout;
    o.options.draw = default_generator().next();
  }
  Tensor const y = out_proj(join_heads(around.finish(around.weigh(o).out, o)));
  return training() ? dropout(y, config.dropout) : y;
}

void MultiHeadAttention::visit(Visitor& visitor) {
  visitor.child("q_proj", q_proj);
  visitor.child("k_proj", k_proj);
  visitor.child("v_proj", v_proj);
  visitor.child("out_proj", out_proj);
  around.visit(visitor);
}

}  // namespace heed::nn
