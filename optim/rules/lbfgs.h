// L-BFGS: curvature from the last few steps. For full batches and smooth losses; several evaluations a step.
#pragma once

#include <heed/optim/pointwise.h>

namespace heed::optim {

struct LBFGSConfig {
  double learning_rate = 1;
  int64_t iterations = 20, history = 10;
  double gradient_tolerance = 1e-7, change_tolerance = 1e-9;
  bool line_search = true;
  void visit(nn::ConfigVisitor& v) {
    v.field("iterations", iterations, "directions a step, each an evaluation or more");
    v.field("history", history, "pairs that are kept");
    v.field("gradient_tolerance", gradient_tolerance, "largest gradient element at which a step ends");
    v.field("change_tolerance", change_tolerance, "change of loss or weights at which a step ends");
    v.field("line_search", line_search, "halve a step until it lowers the loss enough (Armijo, 1966)");
  }
};

/// d = −H·g, H from the last pairs s = Δθ, y = Δg with yᵀs > 0 by the two-loop recursion; θ ← θ + η·d, at first
/// min(1, 1/‖g‖₁)·η·d; with λθ in g (Liu and Nocedal, 1989, as in PyTorch).
class LBFGS final : public Optimizer {
 public:
  explicit LBFGS(std::vector<ParameterGroup>&& groups, LBFGSConfig const& config = {});

 private:
  void apply(double gradient_scale) override;
  Evaluation search(Closure const& closure) override;
  struct Point {
    double loss;
    Tensor gradient;  // flat
  };
  Point evaluate(Closure const& closure, Evaluation* seen);
  void move(Tensor const& direction, double length);
  Tensor direction(Tensor const& gradient);

  LBFGSConfig config_;
  Tensor s_, y_, previous_, direction_;  // [history, N], [history, N], [N], [N]
  double* numbers_;                      // iterations so far, pairs kept, last length, scale of H
};

}  // namespace heed::optim
