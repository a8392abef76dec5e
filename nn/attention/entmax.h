// Sparse row normalisers: entmax and sparsemax.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// max((α − 1)·s − τ, 0)^(1/(α−1)) with τ such that a row sums to 1: weights that are exactly 0 without a cut-off. α =
/// 2 is sparsemax, the projection onto the simplex (Martins and Astudillo, 2016), 1 the softmax (Peters, Niculae and
/// Martins, 2019). A second pass over the scores finds τ: about twice the time. Second derivatives need
/// attention_weights().
class Entmax final : public Part {
 public:
  struct Config {
    double alpha = 1.5;
    void visit(ConfigVisitor& v) { v.field("alpha", alpha, "1 is the softmax, 2 sparsemax; more is sparser"); }
  };
  Entmax(AttentionConfig const& given, Config const& own) : Part(given), alpha_(own.alpha) {
    check(alpha_ >= 1, "entmax", [] { return Complaint{"expected an alpha of 1 or more", "1.5 is usual"}; });
  }
  bool spreads() const override { return false; }
  void normalise(HeadOperands& o) const override {
    expect_softmax("entmax", o.options);
    o.options.entmax = alpha_;
  }

 private:
  double alpha_;
};

}  // namespace heed::nn
