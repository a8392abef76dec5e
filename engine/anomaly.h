// Anomaly mode: the operation that makes the first NaN or Inf, forward or backward, is an Error that names it.
#pragma once

#include <heed/engine/tensor.h>

#include <vector>

namespace heed {

/// While it lives, this thread looks at the result of every recorded operation and at every gradient of a walk. The
/// first operation that gives a NaN (or an infinity) from operands without one throws an Error with its name, its
/// module and the indices of the first such elements. Operations that are not recorded are not looked at.
class DetectAnomaly {
 public:
  explicit DetectAnomaly(bool infinities = true) noexcept;
  ~DetectAnomaly();
  DetectAnomaly(DetectAnomaly const&) = delete;
  DetectAnomaly& operator=(DetectAnomaly const&) = delete;

 private:
  bool before_, infinities_before_;
};

namespace detail {
extern constinit thread_local bool anomaly_on;
void check_anomaly(char const* op, Tensor const* outputs, size_t output_count, Tensor const* const* inputs,
                   size_t input_count);
void check_anomaly(char const* op, std::vector<Tensor> const& outputs, std::vector<Tensor> const& inputs);
/// The same for the gradient of `op`.
void check_gradient_anomaly(char const* op, Tensor const* output_gradients, size_t output_count,
                            std::vector<Tensor> const& input_gradients);
}  // namespace detail

}  // namespace heed
