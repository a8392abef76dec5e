// Clipping: one batch may not move the weights far. By norm for recurrent nets and Transformers, by value where single
// elements explode, adaptively (by rows, against the weights' own length) for nets without normalisation.
#pragma once

#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/config.h>
#include <heed/nn/regularize/weight_regularizer.h>

#include <cmath>

namespace heed::nn {

/// g·min(1, c/‖g‖), the norm over all gradients together (Pascanu et al., 2013).
class ClipNorm : public Regularizer {
 public:
  struct Config {
    double limit = 1;
    void visit(ConfigVisitor& v) { v.field("limit", limit, "c, largest norm"); }
  };
  explicit ClipNorm(Config const& config) : limit_(checked_amount("clip-norm", "limit", config.limit)) {}
  void gradients(std::vector<NamedTensor> const& parameters) override {
    NoGrad const off;
    double squares = 0;
    for (NamedTensor const& p : parameters)
      if (Tensor const g = p.tensor.grad(); g.defined()) {
        double const length = vector_norm(g.to(g.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32)).item();
        squares += length * length;
      }
    double const norm = std::sqrt(squares);
    if (norm <= limit_) return;
    for (NamedTensor const& p : parameters)
      if (Tensor const g = p.tensor.grad(); g.defined()) p.tensor.set_grad(g * (limit_ / norm));
  }

 private:
  double limit_;
};

/// Every element of g between −c and c (Mikolov, 2012).
class ClipValue : public Regularizer {
 public:
  struct Config {
    double limit = 0.5;
    void visit(ConfigVisitor& v) { v.field("limit", limit, "c, largest element"); }
  };
  explicit ClipValue(Config const& config) : limit_(checked_amount("clip-value", "limit", config.limit)) {}
  void gradients(std::vector<NamedTensor> const& parameters) override {
    NoGrad const off;
    for (NamedTensor const& p : parameters)
      if (Tensor const g = p.tensor.grad(); g.defined()) p.tensor.set_grad(clamp(g, -limit_, limit_));
  }

 private:
  double limit_;
};

/// Row i: g_i·min(1, λ·max(‖w_i‖, ε)/‖g_i‖); vectors as one row (Brock et al., 2021).
class AdaptiveClipping : public Regularizer {
 public:
  struct Config {
    double share = 0.01, eps = 1e-3;
    void visit(ConfigVisitor& v) {
      v.field("share", share, "λ, largest length of a gradient over that of the weights");
      v.field("eps", eps, "least length that weights count as");
    }
  };
  explicit AdaptiveClipping(Config const& config) : config_(config) {
    checked_amount("agc", "share", config.share);
    checked_amount("agc", "eps", config.eps);
  }
  void gradients(std::vector<NamedTensor> const& parameters) override {
    NoGrad const off;
    for (NamedTensor const& p : parameters) {
      Tensor const g = p.tensor.grad();
      if (!g.defined() || g.numel() == 0) continue;
      Shape const shape = g.shape();
      auto const rows = [&](Tensor const& x) { return x.reshape({shape.rank() < 2 ? 1 : shape[0], -1}); };
      Tensor const length = vector_norm(rows(g), 2, {1}, true);
      Tensor const most = clamp_min(vector_norm(rows(p.tensor.detach()), 2, {1}, true), config_.eps) * config_.share;
      p.tensor.set_grad(where(length > most, rows(g) * (most / length), rows(g)).reshape(shape));
    }
  }

 private:
  Config config_;
};

}  // namespace heed::nn
