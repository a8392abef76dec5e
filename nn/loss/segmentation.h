// Losses of regions: what they overlap, whatever their size.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn::loss {

/// 1 − (TP + smooth)/(TP + alpha·FP + beta·FN + smooth) with TP = Σ p·t, FP = Σ p·(1 − t), FN = Σ (1 − p)·t, p =
/// σ(logits), sums over all but the first axis, mean over that: beta above alpha finds more of rare regions (Salehi et
/// al., 2017). ½, ½ is Dice's, 1, 1 Jaccard's.
struct Tversky {
  static constexpr std::string_view operands = "logits [N, ..]; target unit [N, ..]";
  double alpha = 0.5, beta = 0.5, smooth = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) {
    v.field("alpha", alpha, "what a false positive costs");
    v.field("beta", beta, "what a false negative costs");
    v.field("smooth", smooth, "added above and below the bar, elements");
  }
  Tensor operator()(Tensor const& logits, Tensor const& target) const;
};

/// 1 − (2·Σpt + smooth)/(Σp + Σt + smooth) (Milletari et al., 2016)
struct Dice {
  static constexpr std::string_view operands = Tversky::operands;
  double smooth = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("smooth", smooth, "added above and below the bar, elements"); }
  Tensor operator()(Tensor const& logits, Tensor const& target) const {
    check_operands("dice", operands, logits, target);
    return Tversky{0.5, 0.5, smooth / 2, reduction}(logits, target);
  }
};

/// 1 − (Σpt + smooth)/(Σp + Σt − Σpt + smooth) (Rahman and Wang, 2016)
struct Jaccard {
  static constexpr std::string_view operands = Tversky::operands;
  double smooth = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("smooth", smooth, "added above and below the bar, elements"); }
  Tensor operator()(Tensor const& logits, Tensor const& target) const {
    check_operands("jaccard", operands, logits, target);
    return Tversky{1, 1, smooth, reduction}(logits, target);
  }
};

/// Lovász's extension of the Jaccard index, the mean over classes that occur: the errors |[y = c] − p_c| of all rows,
/// sorted, times what each costs in 1 − intersection/union (Berman et al., 2018). For errors of 0 and 1 it is that.
struct LovaszSoftmax {
  static constexpr std::string_view operands = "logits [.., C]; targets index C [..]";
  Tensor operator()(Tensor const& logits, Tensor const& targets) const;
};

/// The same of one region: errors max(0, 1 − target·score).
struct LovaszHinge {
  static constexpr std::string_view operands = "score [..]; target sign [..]";
  Tensor operator()(Tensor const& score, Tensor const& target) const;
};

}  // namespace heed::nn::loss
