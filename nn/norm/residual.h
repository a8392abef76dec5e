// How a branch of a block reads its stream and comes back to it: where norms stand, and what the branch is scaled by.
#pragma once

#include <heed/nn/catalogue.h>
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

/// x·stream·weight + branch·scale
struct ResidualScale {
  double stream = 1;
  Tensor scale = {};   // undefined: 1
  Tensor weight = {};  // of the stream's features; undefined: 1
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
  /// "norm<number>", "norm<number>_out", "norm<number>_sum", "scale<number>", "stream<number>", those that there are.
  void visit(Visitor& visitor, int number);

  std::unique_ptr<Norm> input_norm, output_norm, sum_norm;
  ResidualScale scale;
};

/// A norm of features, as blocks need it.
std::unique_ptr<Norm> make_stream_norm(ResidualConfig const& config);

}  // namespace heed::nn
