// Max-norm (Srebro et al., 2004; beside dropout: Srivastava et al., 2014): no neuron's incoming weights may grow beyond
// a length, whatever the learning rate.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Rows of every matrix longer than `limit` are shortened to it after each step; shorter ones keep their bits.
class MaxNorm : public Regularizer {
 public:
  struct Config {
    double limit = 3;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("limit", limit, "largest length of a row, above 0");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit MaxNorm(Config const& config)
      : limit_(checked_amount("max-norm", "limit", config.limit)), pattern_(config.pattern) {}
  void stepped(Module& model, int64_t) override {
    NoGrad const off;
    for (NamedTensor& w : matrices(model, pattern_)) {
      Tensor const rows = as_matrix(w.tensor), length = vector_norm(rows, 2, {1}, true);
      w.tensor.copy_(where(length > limit_, rows * (limit_ / length), rows).reshape(w.tensor.shape()));
    }
  }

 private:
  double limit_;
  std::string pattern_;
};

}  // namespace heed::nn
