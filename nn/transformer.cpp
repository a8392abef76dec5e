#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/init.h>
#include <heed/nn/transformer.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace heed::nn {

Block::Block(MultiHeadAttentionConfig const& attention, MLPConfig const& mlp_config, bool norm_bias)
    : norm1(attention.dim, norm_bias), attn(attention), norm2(attention.dim, norm_bias), mlp(mlp_config) {}

Tensor Block::forward(Tensor const& x, AttentionContext const& context) const {
  Tensor const y = x + attn(norm1(x), context);
  return y + mlp(norm2(y));
}

void Block::visit(Visitor& visitor) {
  visitor.child("norm1", norm1);
  visitor.child("attn", attn);
  visitor.child("norm2", norm2);
  visitor.child("mlp", mlp);
}

void GPTConfig::visit(ConfigVisitor& v) {
  v.field("vocabulary", vocabulary, "distinct tokens");
  v.field("layers", layers, "transformer blocks");
  v.field("heads", heads, "attention heads a block; must divide dim");
  v.field("kv_heads", kv_heads, "key/value heads a block, shared by groups of heads; 0: as many as heads");
  v.field("dim", dim, "model width, features");
  v.field("block", block, "context length, tokens");
  v.field("hidden", hidden, "width of the feed-forward layer, features; 0: four times dim");
  v.field("activation", activation, "of the feed-forward layer: gelu, gelu_tanh, relu or silu");
  v.field("bias", bias, "biases in linear layers and norms");
  v.field("tied", tied, "the head shares the token embedding's weight");
  v.field("rope", rope, "rotary positions instead of learned ones");
  v.field("dropout", dropout, "probability, 0 to below 1");
  v.field("checkpoint", checkpoint, "keep only each block's input for backward and compute the block again there");
}

namespace {

GPTConfig checked(GPTConfig config) {
  auto positive = [](char const* name, int64_t value) {
    check(value >= 1, "GPT", [&] {
      return Complaint{fmt::format("expected {} of 1 or more, got {}", name, value), "choose a positive number"};
    });
  };
  positive("vocabulary", config.vocabulary);
  positive("layers", config.layers);
  positive("heads", config.heads);
  positive("dim", config.dim);
  positive("block", config.block);
  check(config.dropout >= 0 && config.dropout < 1, "GPT", [&] {
    return Complaint{fmt::format("expected a dropout from 0 to below 1, got {}", config.dropout),
                     "choose a probability"};
  });
  check(config.hidden >= 0, "GPT", [&] {
    return Complaint{fmt::format("expected hidden of 0 or more, got {}", config.hidden), "pass 0 for four times dim"};
  });
  if (config.hidden == 0) config.hidden = 4 * config.dim;
  if (config.kv_heads == 0) config.kv_heads = config.heads;
  activation_named(config.activation);
  return config;
}

}  // namespace

GPT::GPT(GPTConfig const& given)
    : config(checked(given)),
      token_embedding(config.vocabulary, config.dim),
      position_embedding(config.rope ? nullptr : std::make_unique<Embedding>(config.block, config.dim)),
      norm(config.dim, config.bias),
      head(config.dim, config.vocabulary, false) {
  constexpr double deviation = 0.02;
  init::normal_(token_embedding.weight, deviation);
  if (position_embedding) init::normal_(position_embedding->weight, deviation);
  MultiHeadAttentionConfig const attention{.dim = config.dim,
                                           .heads = config.heads,
                                           .kv_heads = config.kv_heads,
                                           .bias = config.bias,
                                           .causal = true,
                                           .rope = config.rope,
                                           .dropout = config.dropout};
  MLPConfig const mlp{.dim = config.dim,
                      .hidden = config.hidden,
                      .activation = activation_named(config.activation),
                      .bias = config.bias,
                      .dropout = config.dropout};
  double const residual_deviation = deviation / std::sqrt(2.0 * double(config.layers));
  for (int64_t i = 0; i < config.layers; ++i) {
    Block& block = *blocks.emplace_back(std::make_unique<Block>(attention, mlp, config.bias));
    for (Linear* inner : {&block.attn.q_proj, &block.attn.k_proj, &block.attn.v_proj, &block.mlp.fc})
      init::normal_(inner->weight, deviation);
    for (Linear* last : {&block.attn.out_proj, &block.mlp.proj}) init::normal_(last->weight, residual_deviation);
    if (config.bias)
      for (Linear* any : {&block.attn.q_proj, &block.attn.k_proj, &block.attn.v_proj, &block.attn.out_proj,
                          &block.mlp.fc, &block.mlp.proj})
        init::constant_(any->bias, 0);
  }
  if (config.tied)
    tie(head.weight, token_embedding.weight);
  else
    init::normal_(head.weight, deviation);
  bind_paths(*this);
}

Tensor GPT::forward(Tensor const& tokens, GPTContext const& context) const {
  check(tokens.defined() && tokens.rank() == 2 && tokens.dtype() == Dtype::i64, "GPT", [&] {
    return Complaint{
        fmt::format("expected tokens [B, T] i64, got {}", tokens.defined() ? to_string(tokens.shape()) : "none"),
        "pass a batch of token indices"};
  });
  int64_t const t = tokens.size(1), past = context.cache ? context.cache->at(0).length : 0;
  check(past + t <= config.block || config.rope, "GPT", [&] {
    return Complaint{fmt::format("{} positions exceed the block of {}", past + t, config.block),
                     "crop the sequence, or build the model with a longer block"};
  });
  Tensor x = token_embedding(tokens);
  if (position_embedding) x = x + (*position_embedding)(arange(past, past + t).to(x.device()));
  if (training()) x = dropout(x, config.dropout);
  bool const checkpoint = config.checkpoint && !context.cache && !context.weights;
  for (size_t i = 0; i < blocks.size(); ++i) {
    Block const& block = *blocks[i];
    if (checkpoint)
      x = recompute([&block](Tensor const& given) { return block(given); }, x);
    else
      x = block(x, AttentionContext{context.cache ? &context.cache->at(i) : nullptr, context.weights});
  }
  return head(norm(x));
}

void GPT::visit(Visitor& visitor) {
  visitor.child("token_embedding", token_embedding);
  if (position_embedding) visitor.child("position_embedding", *position_embedding);
  for (size_t i = 0; i < blocks.size(); ++i) visitor.child(fmt::format("blocks.{}", i), *blocks[i]);
  visitor.child("norm", norm);
  visitor.child("head", head);
}

GPTCache GPT::make_cache(int64_t positions) const { return GPTCache(blocks.size(), KeyValueCache(positions)); }

namespace {

/// An index drawn from softmax(logits/temperature) restricted to the k largest.
int64_t draw_token(Tensor const& logits, SampleOptions const& options, Generator& generator) {
  if (options.temperature == 0) return argmax(logits, 0).item<int64_t>();
  std::vector<double> const score = (logits.to(Dtype::f64) / options.temperature).to_vector<double>();
  std::vector<int64_t> order(score.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return score[size_t(a)] > score[size_t(b)]; });
  if (options.top_k > 0 && options.top_k < int64_t(order.size())) order.resize(size_t(options.top_k));
  double total = 0;
  for (int64_t i : order) total += std::exp(score[size_t(i)] - score[size_t(order[0])]);
  double rest = rand({1}, Dtype::f64, generator).item() * total;
  for (int64_t i : order) {
    rest -= std::exp(score[size_t(i)] - score[size_t(order[0])]);
    if (rest < 0) return i;
  }
  return order.back();
}

}  // namespace

std::vector<int64_t> generate(GPT const& model, std::vector<int64_t> const& prompt, int64_t count,
                              SampleOptions options, Generator& generator) {
  check(!prompt.empty(), "generate", [] {
    return Complaint{"expected a prompt of one token or more, got none", "start with any token"};
  });
  check(options.temperature >= 0 && options.top_k >= 0 && count >= 0, "generate", [&] {
    return Complaint{fmt::format("expected a count, temperature and top_k of 0 or more, got {}, {} and {}", count,
                                 options.temperature, options.top_k),
                     "pass 0 for greedy, and 0 for all tokens"};
  });
  NoGrad const off;
  int64_t const block = model.config.block;
  Device const device = model.token_embedding.weight.device();
  std::vector<int64_t> tokens = prompt;
  GPTCache cache;
  for (int64_t n = 0; n < count; ++n) {
    std::vector<int64_t> fresh{tokens.back()};
    if (cache.empty() || cache[0].length >= block) {
      // The window moved: half of it is read again, so that a full one is not recomputed for every token.
      int64_t const keep = std::min(int64_t(tokens.size()), cache.empty() ? block : std::max(block / 2, int64_t{1}));
      fresh.assign(tokens.end() - keep, tokens.end());
      cache = model.make_cache(block);
    }
    Tensor const logits = model(tensor(fresh, {1, int64_t(fresh.size())}).to(device), GPTContext{.cache = &cache});
    tokens.push_back(draw_token(logits.select(0, 0).select(0, -1).to(cpu), options, generator));
  }
  return {tokens.begin() + int64_t(prompt.size()), tokens.end()};
}

}  // namespace heed::nn
