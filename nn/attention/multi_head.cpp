#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/position/rope.h>

namespace heed::nn {
namespace {

MultiHeadAttentionConfig checked(MultiHeadAttentionConfig config) {
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  check(config.heads >= 1 && config.dim >= 1 && config.dim % config.heads == 0, "MultiHeadAttention", [&] {
    return Complaint{
        fmt::format("expected heads that divide the width, got {} heads and width {}", config.heads, config.dim),
        "choose a width that is a multiple of the heads"};
  });
  check(config.kv_heads >= 1 && config.heads % config.kv_heads == 0, "MultiHeadAttention", [&] {
    return Complaint{
        fmt::format("expected key heads that divide the heads, got {} and {}", config.kv_heads, config.heads),
        "choose kv_heads among the divisors of heads"};
  });
  check(!config.rope || config.dim / config.heads % 2 == 0, "MultiHeadAttention", [&] {
    return Complaint{fmt::format("rotary positions need an even head width, got {}", config.dim / config.heads),
                     "choose a width that is a multiple of twice the heads"};
  });
  check(config.window >= 0, "MultiHeadAttention", [&] {
    return Complaint{fmt::format("expected a window of 0 or more keys, got {}", config.window), "pass 0 for no limit"};
  });
  return config;
}

/// [B, T, heads·D] → [B, heads, T, D], a view
Tensor split_heads(Tensor const& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

}  // namespace

void KeyValueCache::append(Tensor const& k, Tensor const& v) {
  no_gradient("KeyValueCache", {k, v});
  int64_t const t = k.size(2);
  check(length + t <= capacity, "KeyValueCache", [&] {
    return Complaint{fmt::format("{} positions are filled and {} more do not fit its {}", length, t, capacity),
                     "make the cache longer, or drop old positions"};
  });
  if (!keys.defined()) {
    keys = Tensor({k.size(0), k.size(1), capacity, k.size(3)}, k.dtype(), k.device());
    values = Tensor({v.size(0), v.size(1), capacity, v.size(3)}, v.dtype(), v.device());
  }
  keys.slice(2, length, length + t).copy_(k);
  values.slice(2, length, length + t).copy_(v);
  length += t;
}

MultiHeadAttention::MultiHeadAttention(MultiHeadAttentionConfig const& given)
    : config(checked(given)),
      q_proj(config.dim, config.dim, config.bias),
      k_proj(config.dim, config.dim / config.heads * config.kv_heads, config.bias),
      v_proj(config.dim, config.dim / config.heads * config.kv_heads, config.bias),
      out_proj(config.dim, config.dim, config.bias) {}

Tensor MultiHeadAttention::forward(Tensor const& x, AttentionContext const& context) const {
  check(x.rank() == 3 && x.size(2) == config.dim, "MultiHeadAttention", [&] {
    return Complaint{fmt::format("expected x [B, T, {}], got {}", config.dim, to_string(x.shape())),
                     "pass a batch of sequences"};
  });
  Tensor q = split_heads(q_proj(x), config.heads), k = split_heads(k_proj(x), config.kv_heads),
         v = split_heads(v_proj(x), config.kv_heads);
  if (config.rope) {
    int64_t const past = context.cache ? context.cache->length : 0;
    q = rope(q, past, config.rope_base);
    k = rope(k, past, config.rope_base);
  }
  if (context.cache) {
    context.cache->append(k, v);
    k = context.cache->keys.slice(2, 0, context.cache->length);
    v = context.cache->values.slice(2, 0, context.cache->length);
  }
  AttendOptions options{.causal = config.causal};
  if (config.window) options.left = config.window;
  if (context.weights) context.weights->push_back(attention_weights(q.detach(), k.detach(), options));
  if (training() && config.dropout > 0) {
    options.dropout = config.dropout;
    options.draw = default_generator().next();
  }
  Tensor const y = out_proj(core(q, k, v, options).out.transpose(1, 2).reshape({x.size(0), x.size(1), config.dim}));
  return training() ? dropout(y, config.dropout) : y;
}

void MultiHeadAttention::visit(Visitor& visitor) {
  visitor.child("q_proj", q_proj);
  visitor.child("k_proj", k_proj);
  visitor.child("v_proj", v_proj);
  visitor.child("out_proj", out_proj);
}

}  // namespace heed::nn
