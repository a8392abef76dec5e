// DropKey (Li et al., CVPR 2023): keys are dropped before the softmax, so that what is left sums to 1 for every query.
// Against concentration, of vision transformers above all; stronger than dropout of weights at the same rate.
#pragma once

#include <heed/nn/regularize/attention_regularizer.h>

namespace heed::nn {

/// s_ij − 1000 where key j is dropped for query i, with probability p: a weight of 0, and the row as it was where it
/// loses every key; so no row is dropped as a whole. A query's own key stays. Within a row and within a column drops
/// are independent; pairs of rows share a hash (u_i + m_i·w_j + z_j mod 1 < p, in steps of 1/4096), so that memory is
/// O(T).
class DropKey : public AttentionRegularizer {
 public:
  struct Config {
    double p = 0.1;
    void visit(ConfigVisitor& v) { v.field("p", p, "share of the keys that a query loses, 0 to below 1"); }
  };
  explicit DropKey(Config const& config) : p_(checked_share("dropkey", config.p)) {}

 protected:
  void before(AttentionCall& call) override;

 private:
  double p_;
};

}  // namespace heed::nn
