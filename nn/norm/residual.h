// How a branch of a block reads its stream and comes back to it: where norms stand, and what the branch is scaled by.
#pragma once

#include <heed/nn/catalogue.h>
#include <heed/nn/linear.h>
#include <heed/nn/norm.h>

#include <memory>
#include <string>

namespace heed::nn {

struct ResidualConfig {
  int64_t dim = 128;
  int64_t layers = 1;  // blocks of the model, of two branches each
  bool bias = false;   // of norms that may have one
  std::string norm = "layer-norm";
  std::string placement = "pre";
  std::string residual = "plain";
};

struct PlacementRow : Entry {
  bool input, output, after;  // a norm of what the branch reads, of what it gives, of the sum
  bool embedding;             // and of the embedding
};
std::vector<PlacementRow> const& placements();

/// A GRU's step in the place of a sum: r = σ(W_r·y + U_r·x), z = σ(W_z·y + U_z·x − b), h = tanh(W_h·y + U_h·(r ⊙ x)),
/// (1 − z) ⊙ x + z ⊙ h for a branch y of the stream x (Parisotto et al., "Stabilizing transformers for reinforcement
/// learning", GTrXL, 2019): b = 2 lets little through at first, b → ∞ nothing. 6·dim² a branch; for training that
/// diverges without, as from rewards. Without need the plain sum trains deeper stacks.
class ResidualGate final : public Module {
 public:
  ResidualGate(int64_t dim, double start);
  Tensor operator()(Tensor const& x, Tensor const& y) const;
  void visit(Visitor& visitor) override;

  Linear of_branch, of_stream, of_kept;  // [W_r; W_z; W_h], [U_r; U_z], U_h
  Tensor bias;
};

/// x·stream·weight + branch·scale, or gate(x, branch·scale)
struct ResidualScale {
  double stream = 1;
  Tensor scale = {};   // undefined: 1
  Tensor weight = {};  // of the stream's features; undefined: 1
  std::unique_ptr<ResidualGate> gate = {};
};
struct ResidualRow : Entry {
  ResidualScale (*make)(ResidualConfig const& config, Spec const& spec);
};
std::vector<ResidualRow> const& residuals();

/// One branch's: y = after(x, f(before(x))).
class Residual {
 public:
  /// An Error where a name is unknown, or the norm is none of features.
  explicit Residual(ResidualConfig const& config);
  Tensor before(Tensor const& x) const { return input_norm ? (*input_norm)(x) : x; }
  Tensor after(Tensor const& x, Tensor const& branch) const;
  /// "norm<number>", "norm<number>_out", "norm<number>_sum", "scale<number>", "stream<number>", "gate<number>", those
  /// that there are.
  void visit(Visitor& visitor, int number);

  std::unique_ptr<Norm> input_norm, output_norm, sum_norm;
  ResidualScale scale;
};

/// A norm of features, as blocks need it.
std::unique_ptr<Norm> make_stream_norm(ResidualConfig const& config);

}  // namespace heed::nn
