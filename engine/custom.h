// Operations of the user's own, with a gradient of their own.
#pragma once

#include <heed/engine/tensor.h>

#include <functional>
#include <string_view>
#include <vector>

namespace heed {

class CustomContext;
using CustomForward = std::function<std::vector<Tensor>(std::vector<Tensor> const& inputs, CustomContext& context)>;
/// A gradient that did not arrive comes as zeros. One result an input: its gradient, or an undefined tensor for none.
using CustomBackward =
    std::function<std::vector<Tensor>(std::vector<Tensor> const& output_gradients, CustomContext const& context)>;

/// What forward hands to backward.
class CustomContext {
 public:
  /// Keeps inputs, outputs or anything else for backward; an in-place change of one before then is an Error. Only
  /// inputs and outputs take part in second derivatives.
  void save(std::vector<Tensor> tensors) { saved_ = std::move(tensors); }
  std::vector<Tensor> const& saved() const { return saved_; }
  /// Whether input i wants a gradient: backward may return an undefined tensor for the others.
  bool needs_gradient(size_t i) const { return needs_[i]; }
  /// In forward: output i gets no gradient (an index, a statistic).
  void not_differentiable(size_t i) { constant_.push_back(i); }

 private:
  friend struct CustomGradient;
  friend std::vector<Tensor> custom(std::string_view, std::vector<Tensor> const&, CustomForward const&, CustomBackward);
  std::vector<Tensor> saved_;
  std::vector<bool> needs_;
  std::vector<size_t> constant_;
};

/// Runs `forward` unrecorded and records the whole as operation `name`, whose gradient is `backward`. Where backward
/// is written in ops, it can be differentiated again. An Error naming the operation where backward returns another
/// number of gradients than inputs, or one whose shape does not broadcast from its input's.
std::vector<Tensor> custom(std::string_view name, std::vector<Tensor> const& inputs, CustomForward const& forward,
                           CustomBackward backward);

}  // namespace heed
