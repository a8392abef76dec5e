#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/init/catalogue.h>
#include <heed/nn/position/catalogue.h>
#include <heed/nn/transformer.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace heed::nn {

Block::Block(std::unique_ptr<Attention> attention, MLPConfig const& mlp_config, ResidualConfig const& residual)
    : around_attn(residual), attn(std::move(attention)), around_mlp(residual), mlp(mlp_config) {}

Tensor Block::forward(Tensor const& x, AttentionContext const& context) const {
  Tensor const y = around_attn.after(x, (*attn)(around_attn.before(x), context));
  return around_mlp.after(y, mlp(around_mlp.before(y)));
}

void Block::visit(Visitor& visitor) {
  around_attn.visit(visitor, 1);
  visitor.child("attn", *attn);
  around_mlp.visit(visitor, 2);
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
  v.field("attention", attention, "kind of attention, and parts joined by +; heed-lab list attention");
  v.field("position", position, "position encoding, where attention names none; heed-lab list position");
  v.field("causal", causal, "a token sees itself and what comes before; needed for text");
  v.field("norm", norm, "of each position's features; heed-lab list norm");
  v.field("placement", placement, "where norms stand in a block: pre, post, sandwich, peri or output");
  v.field("residual", residual, "how branches come back: plain, layer-scale, rezero, gru-gate, deepnorm or admin");
  v.field("init", init, "of the weights; heed-lab list init");
  v.field("dropout", dropout, "probability, 0 to below 1");
  v.field("checkpoint", checkpoint, "keep only each block's input for backward and compute the block again there");
}

namespace {

/// The linear layers of attention and MLP as N(0, deviation²), their last ones as N(0, residual²), without bias; what
/// else a kind has (gates, convolutions, tables) keeps its own start.
class ProjectionInit final : public Visitor {
 public:
  ProjectionInit(double deviation, double residual) : deviation_(deviation), residual_(residual) {}
  void parameter(std::string_view, Tensor&) override {}
  void enter(std::string_view name, Module& module) override {
    auto* const linear = dynamic_cast<Linear*>(&module);
    if (!linear || !(name.ends_with("proj") || name == "fc")) return;
    init::normal_(linear->weight, name == "out_proj" || name == "proj" ? residual_ : deviation_);
    if (linear->bias.defined()) init::constant_(linear->bias, 0);
  }

 private:
  double deviation_, residual_;
};

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

GPT::GPT(GPTConfig const& given, AttentionMaker make)
    : config(checked(given)),
      token_embedding(config.vocabulary, config.dim),
      head(config.dim, config.vocabulary, false) {
  ResidualConfig const residual{.dim = config.dim,
                                .layers = config.layers,
                                .bias = config.bias,
                                .norm = config.norm,
                                .placement = config.placement,
                                .residual = config.residual};
  PlacementRow const& placement = find_row("placement", placements(), config.placement);
  if (placement.embedding) embedding_norm = make_stream_norm(residual);
  if (!placement.after) norm = make_stream_norm(residual);
  constexpr double deviation = 0.02;
  init::normal_(token_embedding.weight, deviation);
  AttentionConfig attention{.dim = config.dim,
                            .heads = config.heads,
                            .kv_heads = config.kv_heads,
                            .bias = config.bias,
                            .causal = config.causal,
                            .dropout = config.dropout,
                            .block = config.block,
                            .layers = config.layers};
  AttentionText const kind = with_position(config.attention, config.position);
  for (Spec const& spec : kind.input) input_positions.add("position_embedding", make_position(spec, attention));
  MLPConfig const mlp{.dim = config.dim,
                      .hidden = config.hidden,
                      .activation = activation_named(config.activation),
                      .bias = config.bias,
                      .dropout = config.dropout};
  double const residual_deviation = deviation / std::sqrt(2.0 * double(config.layers));
  for (; attention.layer < config.layers; ++attention.layer) {
    Block& block = *blocks.emplace_back(std::make_unique<Block>(make(kind.layer, attention), mlp, residual));
    check(!block.attn->traits().pools, "GPT", [&] {
      return Complaint{fmt::format("'{}' gives fewer positions than it takes", config.attention),
                       "choose a kind that does not pool"};
    });
    ProjectionInit init(deviation, residual_deviation);
    block.visit(init);
  }
  if (config.tied)
    tie(head.weight, token_embedding.weight);
  else
    init::normal_(head.weight, deviation);
  bind_paths(*this);
  if (config.init == "gpt-residual") return;
  initialize(*this, config.init);
  bool const twice_zero = config.residual == "rezero" && (config.init == "zero-output" || config.init == "fixup");
  check(!twice_zero, "GPT", [&] {
    return Complaint{
        fmt::format("residual=rezero and init={} both start branches at 0, where neither has a gradient", config.init),
        "choose one of the two"};
  });
}

Tensor GPT::forward(Tensor const& tokens, GPTContext const& context) const {
  check(tokens.defined() && tokens.rank() == 2 && tokens.dtype() == Dtype::i64, "GPT", [&] {
    return Complaint{
        fmt::format("expected tokens [B, T] i64, got {}", tokens.defined() ? to_string(tokens.shape()) : "none"),
        "pass a batch of token indices"};
  });
  return head(body(token_embedding(tokens), context));
}

Tensor GPT::body(Tensor x, GPTContext const& context) const {
  x = input_positions.embed(std::move(x), context.cache ? context.cache->length() : 0);
  if (embedding_norm) x = (*embedding_norm)(x);
  if (training()) x = dropout(x, config.dropout);
  bool const checkpoint = config.checkpoint && !context.cache;
  Tensor first_values;
  for (size_t i = 0; i < blocks.size(); ++i) {
    Block const& block = *blocks[i];
    AttentionContext const own{.state = context.cache ? context.cache->layers.at(i).get() : nullptr,
                               .lengths = context.lengths,
                               .sees = context.sees,
                               .first_values = checkpoint ? nullptr : &first_values};
    if (checkpoint)
      x = recompute([&block, own](Tensor const& given) { return block(given, own); }, x);
    else
      x = block(x, own);
  }
  return norm ? (*norm)(x) : x;
}

void GPT::visit(Visitor& visitor) {
  visitor.child("token_embedding", token_embedding);
  input_positions.visit(visitor);
  if (embedding_norm) visitor.child("embedding_norm", *embedding_norm);
  for (size_t i = 0; i < blocks.size(); ++i) visitor.child(fmt::format("blocks.{}", i), *blocks[i]);
  if (norm) visitor.child("norm", *norm);
  visitor.child("head", head);
}

GPTCache GPT::make_cache(int64_t positions) const {
  GPTCache cache;
  for (auto const& block : blocks) cache.layers.push_back(block->attn->make_state(positions));
  return cache;
}

int64_t GPTCache::bytes() const {
  int64_t sum = 0;
  for (auto const& layer : layers) sum += layer->bytes();
  return sum;
}

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
  bool const steps = std::all_of(model.blocks.begin(), model.blocks.end(),
                                 [](auto const& layer) { return layer->attn->traits().steps; });
  std::vector<int64_t> tokens = prompt;
  GPTCache cache;
  for (int64_t n = 0; n < count; ++n) {
    std::vector<int64_t> fresh{tokens.back()};
    if (!steps) {
      fresh.assign(tokens.end() - std::min(int64_t(tokens.size()), block), tokens.end());
    } else if (cache.layers.empty() || cache.length() >= block) {
      // The window moved: half of it is read again, so that a full one is not recomputed for every token.
      int64_t const keep =
          std::min(int64_t(tokens.size()), cache.layers.empty() ? block : std::max(block / 2, int64_t{1}));
      fresh.assign(tokens.end() - keep, tokens.end());
      cache = model.make_cache(block);
    }
    Tensor const logits =
        model(tensor(fresh, {1, int64_t(fresh.size())}).to(device), GPTContext{.cache = steps ? &cache : nullptr});
    tokens.push_back(draw_token(logits.select(0, 0).select(0, -1).to(cpu), options, generator));
  }
  return {tokens.begin() + int64_t(prompt.size()), tokens.end()};
}

}  // namespace heed::nn
