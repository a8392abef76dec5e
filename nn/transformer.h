// Transformer blocks and the GPT language model.
#pragma once

#include <heed/engine/random.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/config.h>
#include <heed/nn/embedding.h>
#include <heed/nn/mlp.h>
#include <heed/nn/norm/residual.h>

#include <memory>
#include <vector>

namespace heed::nn {

/// x + attn(norm1(x)), then x + mlp(norm2(x)) (pre-norm: Xiong et al., 2020), or with norms elsewhere and branches
/// scaled (norm/residual.h).
class Block : public Layer<Block> {
 public:
  Block(std::unique_ptr<Attention> attention, MLPConfig const& mlp, ResidualConfig const& residual);
  Tensor forward(Tensor const& x, AttentionContext const& context = {}) const;
  void visit(Visitor& visitor) override;

  Residual around_attn;
  std::unique_ptr<Attention> attn;
  Residual around_mlp;
  MLP mlp;
};

struct GPTConfig {
  int64_t vocabulary = 65;
  int64_t layers = 4;
  int64_t heads = 4;
  int64_t kv_heads = 0;
  int64_t dim = 128;
  int64_t block = 64;
  int64_t hidden = 0;
  std::string activation = "gelu";
  bool bias = false;
  bool tied = true;
  bool causal = true;
  std::string attention = "multi-head";  // nn/attention/catalogue.h
  std::string position = "learned";      // nn/position/catalogue.h; where attention names none
  std::string norm = "layer-norm";       // nn/norm/catalogue.h, those of features
  std::string placement = "pre";         // nn/norm/residual.h
  std::string residual = "plain";        // nn/norm/residual.h
  std::string init = "gpt-residual";     // nn/init/catalogue.h
  double dropout = 0;
  bool checkpoint = false;

  void visit(ConfigVisitor& v);
};

/// What generation carries from token to token: one state a layer.
struct GPTCache {
  std::vector<std::unique_ptr<AttentionState>> layers;
  int64_t length() const { return layers.empty() ? 0 : layers[0]->length; }
  int64_t bytes() const;
};

struct GPTContext {
  GPTCache* cache = nullptr;  // tokens continue the positions in it
  Tensor lengths = {};        // i64 [B]: only so many tokens of each sequence are there
  MaskMod sees = {};          // only these pairs of positions: documents(ids) of packed sequences
};

/// Token embedding (with positions, of kinds that act there), blocks, a final norm unless blocks end with one, and a
/// head: tokens [B, T] i64 → logits [B, T, vocabulary] (Radford et al., 2019). Weights start as N(0, 0.02²), the last
/// ones of each residual branch divided by √(2·layers).
class GPT : public Layer<GPT> {
 public:
  /// `make` makes the layers: with make_multi_head a program holds none of the other kinds.
  explicit GPT(GPTConfig const& config, AttentionMaker make = make_attention);
  Tensor forward(Tensor const& tokens, GPTContext const& context = {}) const;
  /// All but the token embedding and the head: x [B, T, dim] → [B, T, dim].
  Tensor body(Tensor x, GPTContext const& context = {}) const;
  void visit(Visitor& visitor) override;
  /// Empty caches for `positions` positions (at most block, where positions are learned).
  GPTCache make_cache(int64_t positions) const;

  GPTConfig config;
  Embedding token_embedding;
  Parts input_positions;
  std::vector<std::unique_ptr<Block>> blocks;
  std::unique_ptr<Norm> embedding_norm;  // with placement peri
  std::unique_ptr<Norm> norm;            // none with placement post
  Linear head;
};

struct SampleOptions {
  double temperature = 1;  // 0: the likeliest token (greedy)
  int64_t top_k = 0;       // draw among the k likeliest; 0: all
};

/// `count` tokens that continue `prompt`, step by step through the layers' states, or by whole passes where a kind does
/// not decode so; older positions are dropped where the block is full.
std::vector<int64_t> generate(GPT const& model, std::vector<int64_t> const& prompt, int64_t count,
                              SampleOptions options, Generator& generator);

}  // namespace heed::nn
