// What regularisers of attention maps share: they hook every attend() of the model's layers and work beside the fused
// core, from probes or from a few rows at a time, so that no T×T matrix is ever held.
#pragma once

#include <heed/nn/attention/core.h>
#include <heed/nn/config.h>
#include <heed/nn/regularize/regularizer.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace heed::nn {

/// Sees every call of attend() by layers while the model trains. Hooks belong to the thread, not to a model: train one
/// model at a time on a thread.
class AttentionRegularizer : public Regularizer {
 public:
  ~AttentionRegularizer() override { hook_.remove(); }
  void begin(Module& model) override;

 protected:
  /// `always`: in evaluation too.
  explicit AttentionRegularizer(bool always = false) : always_(always) {}
  virtual void before(AttentionCall&) {}
  virtual void after(AttentionCall&) {}

 private:
  HookHandle hook_;
  bool always_;
};

/// loss + weight·mean over layers of measure(). A weight of 0 leaves the loss as it is, bit for bit, and costs nothing.
/// Layers that recompute() runs again keep the penalty's gradient (hand_out(), recompute.h).
class AttentionPenalty : public AttentionRegularizer {
 public:
  /// Of all calls since the last.
  Tensor penalty(Module&) override;

 protected:
  AttentionPenalty(std::string_view name, double weight);
  /// A scalar, differentiable in what the call holds.
  virtual Tensor measure(AttentionCall const& call) const = 0;
  void after(AttentionCall& call) override;
  std::string_view name() const { return name_; }

 private:
  std::string_view name_;
  double weight_;
  PenaltyTerms terms_;
};

/// The log-sum-exp of the call, [B, H, T]; an Error that names the regulariser where rows are no softmax and have none.
Tensor const& softmax_lse(std::string_view regularizer, AttentionCall const& call);
/// How many keys each query sees, [B, H, T], and how many queries see each key, [B, H, S]; constants.
Tensor keys_seen(AttentionCall const& call);
Tensor queries_seeing(AttentionCall const& call);
/// Σ x / (how many of `counts` are true): the mean of x over those, where x is 0 elsewhere.
Tensor mean_where(Tensor const& counts, Tensor const& x);
/// Of [B, H, T] over the queries that see at least `least` keys.
Tensor mean_over_queries(AttentionCall const& call, Tensor const& x, double least = 1);

/// Σ over blocks of queries of f(their weights [B, H, rows, S]), a scalar each: the weights are made again for
/// backward, so that 32 rows are held at a time. Any normaliser of rows.
Tensor sum_over_rows(AttentionCall const& call, std::function<Tensor(Tensor const& rows)> const& f);

/// Σ over b, h of ‖A·Aᵀ − I‖_F², A [T, S], by pairs of such blocks.
Tensor row_products(AttentionCall const& call);
/// Σ over b, h, i, j of min(a_ij, Σ_{i' < i} a_i'j), by one block after the other, and back through them for the
/// gradient: what is carried from block to block is a sum, which is taken off again on the way back.
Tensor attention_coverage(AttentionCall const& call);
/// The mean over b and positions of |mean_h x_h/|x_h||², x [B, H, T, E]: of the cosines between all pairs of heads.
Tensor head_agreement(Tensor const& x);

/// p; an Error unless 0 <= p < 1.
double checked_share(std::string_view regularizer, double p);

/// Shows one setting: the factor of a penalty in the loss.
struct PenaltyConfig {
  double weight = 0.01;
  void visit(ConfigVisitor& v) { v.field("weight", weight, "factor of the penalty in the loss"); }
};

}  // namespace heed::nn
