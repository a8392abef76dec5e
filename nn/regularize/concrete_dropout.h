// Concrete dropout (Gal, Hron and Kendall, 2017): dropout whose shares are learnt, one for each layer, in place of a
// search. Large ones say how unsure a layer is: few data, large shares.
#pragma once

#include <heed/nn/regularize/weight_regularizer.h>

namespace heed::nn {

/// Of the features that a layer with the weight w [O, I, ..] reads, each is scaled by (1 − z)/(1 − p) while it trains,
/// z = σ((logit p + logit u)/temperature) of u ~ U(0, 1), once for a batch; loss + Σ over layers of
/// decay·Σ w²/(1 − p) − weight·I·H(p). logit p, the gain, has Adam steps of its own.
class ConcreteDropout final : public Reparametrization {
 public:
  struct Config {
    double p = 0.1, weight = 1e-5, decay = 1e-6, temperature = 0.1, learning_rate = 1e-2;
    std::string pattern = "**";
    void visit(ConfigVisitor& v);
  };
  explicit ConcreteDropout(Config const& config);
  Tensor penalty(Module& model) override;

 protected:
  Tensor first_gain(Tensor const& w) const override;
  Tensor scaled(Entry const& entry, Tensor const& w) const override;

 private:
  Config config_;
};

}  // namespace heed::nn
