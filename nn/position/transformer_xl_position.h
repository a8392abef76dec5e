// Relative positions of Transformer-XL.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/init.h>
#include <heed/nn/position/distance.h>

#include <cmath>

namespace heed::nn {

/// ((q + u)·k + (q + v)·W_r·r_{i−j})/√D, r sinusoids of the distance, u and v learned for each head (Dai et al.,
/// "Transformer-XL", 2019). No table of all distances: sin((i − j)w) = sin(iw)cos(jw) − cos(iw)sin(jw), so that W_rᵀ(q
/// + v) turned by i meets sinusoids of j, D more features of the same product. Twice the products of scores.
class TransformerXlPosition final : public Part {
 public:
  explicit TransformerXlPosition(AttentionConfig const& given)
      : Part(given), pairs_((given.head_dim() + 1) / 2), u(zeros({given.heads, 1, given.head_dim()})), v(u.clone()) {
    weight = empty({given.heads, given.head_dim(), 2 * pairs_});
    init::normal_(weight, 1 / std::sqrt(double(given.head_dim())));
    for (Tensor* t : {&u, &v, &weight}) t->requires_grad_();
  }
  void options(HeadOperands& o) const override {
    if (o.options.scale == 0) o.options.scale = 1 / std::sqrt(double(o.q.size(3)));
    int64_t const keys = o.k.size(2), queries = o.q.size(2);
    std::vector<double> sines, cosines;
    for (int64_t p = 0; p < keys; ++p)
      for (int64_t i = 0; i < pairs_; ++i) {
        double const angle = double(p) * std::pow(10000., -double(i) / double(pairs_));
        sines.push_back(std::sin(angle));
        cosines.push_back(std::cos(angle));
      }
    auto const there = [&](std::vector<double> const& of) {
      return tensor(of, {keys, pairs_}).to(o.q.dtype()).to(o.q.device());
    };
    Tensor const sin_j = there(sines), cos_j = there(cosines);
    Tensor const sin_i = sin_j.slice(0, keys - queries, keys), cos_i = cos_j.slice(0, keys - queries, keys);
    Tensor const r = matmul(o.q + v, weight);  // with sin, and with cos, of (i − j)w
    Tensor const a = r.slice(3, 0, pairs_), b = r.slice(3, pairs_, 2 * pairs_);
    o.q = cat({o.q + u, b * sin_i - a * cos_i, a * sin_i + b * cos_i}, 3);
    Shape all = o.k.shape();
    all[3] = 2 * pairs_;
    o.k = cat({o.k, cat({sin_j, cos_j}, 1).expand(all)}, 3);
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("u", u);
    visitor.parameter("v", v);
    visitor.parameter("weight", weight);
  }
  bool spreads() const override { return false; }
  Traits traits() const override { return of_distance(); }

 private:
  int64_t pairs_;

 public:
  Tensor u, v, weight;
};

}  // namespace heed::nn
