// Dropout of activations in its kinds. All keep the mean (alpha dropout the mean and the variance), do nothing in
// evaluation, and draw from counters, so that what recompute() runs again drops the same.
#pragma once

#include <heed/nn/regularize/outputs.h>

namespace heed::nn {

/// x·keep/(1 − p) with one keep for each feature of a sequence x [B, T, C], or for each channel of x [N, C, ..] of four
/// axes or more: neighbours that are alike go together (Tompson et al., 2015; for sequences Gal and Ghahramani, 2016).
Tensor spatial_dropout(Tensor const& x, double p, Generator& generator = default_generator());
/// x·N(1, p/(1 − p)): dropout's mean and variance without its zeros (Srivastava et al., 2014).
Tensor gaussian_dropout(Tensor const& x, double p, Generator& generator = default_generator());
/// Blocks of `block` neighbouring positions dropped together: all features of them in x [B, T, C], squares of each
/// channel in x [N, C, H, W]; the rest is scaled by all/kept (Ghiasi et al., 2018). Blocks are seeded so that p are
/// dropped on average but for overlaps.
Tensor drop_block(Tensor const& x, double p, int64_t block, Generator& generator = default_generator());
/// x·keep/(1 − p) with one keep for each sample, the first axis (Huang et al., 2016).
Tensor drop_path(Tensor const& x, double p, Generator& generator = default_generator());
/// Each element of `next` stays what it was in `previous` with probability p; in evaluation p·previous + (1 − p)·next
/// (Krueger et al., 2017).
Tensor zoneout(Tensor const& previous, Tensor const& next, double p, bool training,
               Generator& generator = default_generator());
/// forward·x, backward·g of the gradient g: both broadcast to x (Gastaldi, 2017).
Tensor shaken(Tensor const& x, Tensor const& forward, Tensor const& backward);

/// One mask for all steps of a sequence (Gal and Ghahramani, 2016): x·keep/(1 − p), keep drawn at the first call and
/// used again at each after it, for the inputs, the states and the outputs of a recurrent cell one object each:
///   SameDropout on_h(p);
///   for (..) h = cell(x_t, on_h(h));
class SameDropout {
 public:
  explicit SameDropout(double p, Generator& generator = default_generator());
  Tensor operator()(Tensor const& x);

 private:
  double p_;
  Generator& generator_;
  Tensor scale_;
};

/// Elements of the branches' outputs (Srivastava et al., 2014), beside the model's own setting.
class OutputDropout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_branches>;
  explicit OutputDropout(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("dropout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

/// Dropout in evaluation too: several passes are a sample of what the model believes, and their spread how sure it is
/// (Monte-Carlo dropout: Gal and Ghahramani, 2016).
class McDropout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_branches>;
  explicit McDropout(Config const& config)
      : OutputRegularizer(config.at, true), p_(checked_range("mc-dropout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

class SpatialDropout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_branches>;
  explicit SpatialDropout(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("spatial-dropout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

inline constexpr std::string_view at_sequences = "token_embedding|blocks.*.attn|blocks.*.mlp";

/// The same features at all steps of a sequence x [B, T, C], of embeddings and of the branches' outputs (Gal and
/// Ghahramani, 2016). Between the steps of a cell: SameDropout.
class VariationalDropout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_sequences>;
  explicit VariationalDropout(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("variational-dropout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

/// A block's two branches, attention and MLP, in shares that are drawn for each sample and add up to 2: 1 + s·u and
/// 1 − s·u, u ~ U(−1, 1), for their gradients by another u (Gastaldi, 2017: shake-shake; there both branches are alike
/// and stand side by side). The mean is the block as it is.
class ShakeShake final : public OutputRegularizer {
 public:
  struct Config {
    double strength = 1;
    bool keep = false;
    std::string at = std::string(at_branches);
    void visit(ConfigVisitor& v) {
      v.field("strength", strength, "s, 0 to 1: how unequal shares may be");
      v.field("keep", keep, "gradients in the shares of the values");
      v.field("at", at, "pairs of modules with one parent, by the patterns of their paths");
    }
  };
  explicit ShakeShake(Config const& config);

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double strength_;
  bool keep_;
  std::string first_;          // the branch that waits for its other
  Tensor forward_, backward_;  // s·u of that one
};

/// For activations of mean 0 and variance 1, as SELU makes them (Klambauer et al., 2017).
class AlphaDropout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_branches>;
  explicit AlphaDropout(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("alpha-dropout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

class GaussianDropout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_branches>;
  explicit GaussianDropout(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("gaussian-dropout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

class DropBlock final : public OutputRegularizer {
 public:
  struct Config {
    double p = 0.1;
    int64_t block = 4;
    std::string at = std::string(at_branches);
    void visit(ConfigVisitor& v) {
      v.field("p", p, "share of positions to be dropped, 0 to below 1");
      v.field("block", block, "neighbouring positions that go together");
      v.field("at", at, "modules, by the patterns of their paths");
    }
  };
  explicit DropBlock(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("drop-block", config.p, 0, 1)), block_(config.block) {}

 protected:
  Tensor changed(ModuleCall const& call) override { return drop_block(call.output, p_, block_); }

 private:
  double p_;
  int64_t block_;
};

/// Whole branches of single samples (stochastic depth: Huang et al., 2016). With `linear` branch i of n is dropped with
/// p·i/(n − 1), deep ones more often.
class DropPath final : public OutputRegularizer {
 public:
  struct Config {
    double p = 0.1;
    bool linear = true;
    std::string at = std::string(at_branches);
    void visit(ConfigVisitor& v) {
      v.field("p", p, "probability of a branch to be dropped, 0 to below 1");
      v.field("linear", linear, "p is the last block's, and grows from 0 at the first");
      v.field("at", at, "modules, by the patterns of their paths");
    }
  };
  explicit DropPath(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("drop-path", config.p, 0, 1)), linear_(config.linear) {}
  void begin(Module& model) override;

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
  bool linear_;
  int64_t blocks_ = 1;
};

/// Whole blocks: with probability p the stream passes one by, unscaled (Fan et al., 2020): a model that bears to be
/// cut in depth afterwards.
class LayerDrop final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_blocks>;
  explicit LayerDrop(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("layer-drop", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

/// Elements of the stream keep the value they had before a block (Krueger et al., 2017, over depth in place of time).
class Zoneout final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_blocks>;
  explicit Zoneout(Config const& config)
      : OutputRegularizer(config.at, true), p_(checked_range("zoneout", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

/// Whole tokens: their embeddings become 0, and the others' are scaled (Gal and Ghahramani, 2016: word dropout).
class TokenDrop final : public OutputRegularizer {
 public:
  using Config = DropConfig<at_embedding>;
  explicit TokenDrop(Config const& config)
      : OutputRegularizer(config.at), p_(checked_range("token-drop", config.p, 0, 1)) {}

 protected:
  Tensor changed(ModuleCall const& call) override;

 private:
  double p_;
};

}  // namespace heed::nn
