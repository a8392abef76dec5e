// What regularisers of weights share. They act on the matrices of a model (two axes or more), never on biases or gains,
// and on those alone whose names a pattern stands for.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/hooks.h>
#include <heed/nn/regularize/regularizer.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace heed::nn {

struct WeightPenaltyConfig {
  double weight = 1e-4;
  std::string pattern = "**";
  void visit(ConfigVisitor& v);
};

/// loss + weight·Σ measure() over the matrices whose names match `pattern`, a shared one counted once. A weight of 0
/// leaves the loss as it is, bit for bit, and costs nothing.
class WeightPenalty : public Regularizer {
 public:
  Tensor penalty(Module& model) override;

 protected:
  WeightPenalty(std::string_view name, double weight, std::string pattern);
  /// A scalar, differentiable in w.
  virtual Tensor measure(std::string const& name, Tensor const& w) = 0;
  double weight() const { return weight_; }
  std::string const& pattern() const { return pattern_; }

 private:
  double weight_;
  std::string pattern_;
};

/// The matrices of a model by name, each once, that match `pattern`.
std::vector<NamedTensor> matrices(Module& model, std::string_view pattern);
/// An Error unless `value` is 0 or more and finite.
double checked_amount(std::string_view regularizer, char const* what, double value);

/// [O, I]: the axes after the first as one.
Tensor as_matrix(Tensor const& w);
/// The largest singular value of w by `steps` power iterations from u [O], which moves: uᵀwv, differentiable in w
/// alone.
Tensor largest_singular_value(Tensor const& w, Tensor& u, int64_t steps);
/// Where power iterations begin: a direction [O] that is the same for every run.
Tensor first_direction(Tensor const& w);

/// Layers compute with another tensor in place of their weights, while training or always.
class WeightUse : public Regularizer {
 public:
  ~WeightUse() override { hook_.remove(); }
  void begin(Module& model) override;

 protected:
  WeightUse(std::string pattern, bool always) : pattern_(std::move(pattern)), always_(always) {}
  /// Undefined: the weight itself.
  virtual Tensor used(std::string_view path, Tensor const& w) = 0;
  std::string const& pattern() const { return pattern_; }
  bool training() const;

 private:
  std::string pattern_;
  bool always_;
  Module* model_ = nullptr;
  HookHandle hook_;
};

struct ReparametrizationConfig {
  double gain = 1, learning_rate = 1e-3;
  std::string pattern = "**";
  void visit(ConfigVisitor& v);
};

/// Layers compute with scaled() weights, whose gains the loop's optimiser does not know: they have Adam steps of their
/// own (Kingma and Ba, 2015), unclipped, after each step of the loop. What a model has learnt is its weights and these
/// together: where it is used, in evaluation too, this begins with the state that it had.
class Reparametrization : public WeightUse {
 public:
  void begin(Module& model) override;
  void stepped(Module& model, int64_t step) override;
  std::vector<NamedTensor> state() override;

 protected:
  struct Entry {
    std::string name;
    Tensor gain, u, mean, square;  // u: a direction [O]; the two moments of the gain's gradient
  };
  Reparametrization(std::string pattern, double learning_rate)
      : WeightUse(std::move(pattern), true), learning_rate_(learning_rate) {}
  /// Of the weight w [O, ..] when training begins.
  virtual Tensor first_gain(Tensor const& w) const = 0;
  virtual Tensor scaled(Entry const& entry, Tensor const& w) const = 0;
  std::vector<Entry> const& entries() const { return entries_; }
  Tensor used(std::string_view path, Tensor const& w) override;

 private:
  double learning_rate_;
  std::vector<Entry> entries_;
  Tensor steps_;
};

}  // namespace heed::nn
