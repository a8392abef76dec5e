// Starts of whole transformers. What a layer is follows from its name: the last linear layer of a branch is "out_proj"
// or "proj", a value or first feed-forward layer "v_proj" or "fc", the others of a branch end in "_proj"; the last
// layer of the model is "head". L is the number of blocks.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/module.h>

#include <functional>

namespace heed::nn::init {

/// N(0, deviation²), of the last layers of branches deviation/√(2L), biases 0 (GPT-2: Radford et al., 2019): the stream
/// keeps its variance as branches add up.
struct GptResidual {
  double deviation = 0.02;
  void visit(ConfigVisitor& v) { v.field("deviation", deviation, "standard deviation"); }
  void operator()(Module& model) const;
};

/// The last layer of every branch 0, so that each block starts as the identity (Goyal et al., 2017; Zhang et al.,
/// 2019); the rest stays.
struct ZeroOutput {
  void operator()(Module& model) const;
};

/// Training without norms: He's start, times (2L)^(−½) for the first layers of branches, 0 for the last ones and the
/// head (Zhang et al., 2019), for branches of two layers.
struct Fixup {
  void operator()(Module& model) const;
};

/// Training without norms and warm-up: Glorot's start, embeddings N(0, 1/dim), and both and values, feed-forward and
/// last layers times 0.67·L^(−¼) (Huang et al., 2020).
struct TFixup {
  void operator()(Module& model) const;
};

/// For residual=deepnorm: Glorot's start, values, feed-forward and last layers times (8L)^(−¼) (Wang et al., 2022).
struct DeepNet {
  void operator()(Module& model) const;
};

/// For residual=admin: Glorot's start; then one batch of random tokens is passed through a GPT, and ω of each sum
/// becomes √(1 + Σ var f) over the branches before: every branch has its share of the stream (Liu et al., 2020).
struct Admin {
  int64_t batch = 8;
  void visit(ConfigVisitor& v) { v.field("batch", batch, "sequences"); }
  void operator()(Module& model) const;
};

/// µP: N(0, deviation²·base/dim) for the layers of branches (the last of them /√(2L)), N(0, deviation²) for embeddings,
/// 0 for queries and the head. With optim::mup_groups(), and heads of one size, the best rates of a model of width
/// `base` are those of any width (Yang et al., 2022). The head must be its own (tied=false).
struct Mup {
  double deviation = 0.02;
  int64_t base = 128;
  void visit(ConfigVisitor& v) {
    v.field("deviation", deviation, "standard deviation at the base width");
    v.field("base", base, "width of the model whose rates were tuned");
  }
  void operator()(Module& model) const;
};

/// Queries and keys whose product, and values and outputs whose product, look as after pretraining: W_qᵀW_k ≈
/// alpha·Z + beta·1 for each head, W_out·W_v ≈ alpha_v·Z − beta_v·1, Z of N(0, 1/dim) (Trockman and Kolter, 2023); with
/// as many key as query heads.
struct Mimetic {
  double alpha = 0.7, beta = 0.7, alpha_v = 0.4, beta_v = 0.4;
  void visit(ConfigVisitor& v) {
    v.field("alpha", alpha, "noise of queries·keys");
    v.field("beta", beta, "identity in queries·keys");
    v.field("alpha_v", alpha_v, "noise of output·values");
    v.field("beta_v", beta_v, "negative identity in output·values");
  }
  void operator()(Module& model) const;
};

/// Orthogonal layers, each in turn scaled until what it gives has variance 1 on a batch (Mishkin and Matas, 2016): of a
/// GPT on random tokens.
struct Lsuv {
  int64_t batch = 8, steps = 10;
  double tolerance = 0.05;
  void visit(ConfigVisitor& v) {
    v.field("batch", batch, "sequences");
    v.field("steps", steps, "of scaling a layer, at most");
    v.field("tolerance", tolerance, "of the variance");
  }
  void operator()(Module& model) const;
  /// Of any model: `run` passes a batch through it.
  void operator()(Module& model, std::function<void()> const& run) const;
};

}  // namespace heed::nn::init
