// Adafactor: the mean square of a matrix as the outer product of its rows' and its columns': memory for R + C numbers.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct AdafactorConfig {
  double learning_rate = 1e-2, decay = 0.8, eps = 1e-3, threshold = 1;
  void visit(nn::ConfigVisitor& v) {
    v.field("decay", decay, "c: the mean square moves by t^−c, 0 to below 1");
    v.field("eps", eps, "least root mean square of the weights that a step is in proportion to");
    v.field("threshold", threshold, "d: largest root mean square of an update");
  }
};

/// V = r·cᵀ/mean(r), r and c the moving means of g² over columns and rows (of vectors: of g² itself), by shares t^−c;
/// u = g/√V; θ ← θ(1 − ηλ) − min(η, 1/√t)·max(ε, rms θ)·u/max(1, rms u/d) (Shazeer and Stern, 2018).
class Adafactor final : public Optimizer {
 public:
  explicit Adafactor(std::vector<ParameterGroup>&& groups, AdafactorConfig const& config = {});

 private:
  void update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double gradient_scale) override;
  AdafactorConfig config_;
};

}  // namespace heed::optim
