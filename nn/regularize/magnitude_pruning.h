// Gradual pruning by magnitude (Zhu and Gupta, 2017): the smallest weights of every matrix become 0, ever more of them.
// A model for small machines, and with the rest retrained a regulariser.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <algorithm>

namespace heed::nn {

/// After step t the share share·(1 − (1 − (t − from)/(to − from))³) of each matrix, its smallest |w|, is 0; after `to`
/// it stays `share`.
class MagnitudePruning : public Regularizer {
 public:
  struct Config {
    double share = 0.5;
    int64_t from = 0, to = 1000;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("share", share, "of the weights that is 0 in the end, 0 to below 1");
      v.field("from", from, "step at which pruning begins");
      v.field("to", to, "step at which it is complete");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit MagnitudePruning(Config const& config) : config_(config) {
    checked_amount("magnitude-pruning", "share", config.share < 1 ? config.share : -1);
  }
  double share(int64_t step) const {
    double const length = double(std::max(config_.to - config_.from, int64_t{1}));
    double const left = 1 - std::clamp(double(step - config_.from) / length, 0.0, 1.0);
    return config_.share * (1 - left * left * left);
  }
  void stepped(Module& model, int64_t step) override {
    NoGrad const off;
    for (NamedTensor& w : matrices(model, config_.pattern)) {
      int64_t const count = int64_t(share(step) * double(w.tensor.numel()));
      if (count == 0) continue;
      Tensor const size = abs(w.tensor.detach());
      w.tensor.copy_(where(size <= kthvalue(size.reshape({-1}), count, 0).values, 0.0, w.tensor));
    }
  }

 private:
  Config config_;
};

}  // namespace heed::nn
