#include <fmt/format.h>
#include <heed/engine/anomaly.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace heed {

constinit thread_local bool detail::anomaly_on = false;

namespace {

thread_local bool infinities_count = true;

/// How many elements of `tensor` are bad, and in words where the first three are.
struct Bad {
  int64_t count = 0;
  bool nan = false;
  std::string where;
};

template <class T>
Bad scan(T const* x, Shape const& shape) {
  Bad bad;
  for (int64_t i = 0, n = numel(shape); i < n; ++i) {
    if (!(std::isnan(x[i]) || (infinities_count && std::isinf(x[i])))) continue;
    if (bad.count == 0) bad.nan = std::isnan(x[i]);
    if (++bad.count > 3) continue;
    Dims index = shape;
    int64_t rest = i;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      index[axis] = rest % shape[axis];
      rest /= shape[axis];
    }
    fmt::format_to(std::back_inserter(bad.where), "{}{} = {}", bad.where.empty() ? "" : ", ", to_string(index), x[i]);
  }
  return bad;
}

Bad scan(Tensor const& tensor) {
  if (!tensor.defined() || !is_floating(tensor.dtype())) return {};
  NoGrad const off;
  Tensor const whole = tensor.detach().contiguous();
  if (whole.dtype() == Dtype::f64) return scan(whole.data<double>(), whole.shape());
  return scan(whole.to(Dtype::f32).data<float>(), whole.shape());
}

bool is_bad(Tensor const& tensor) { return scan(tensor).count > 0; }

[[noreturn]] void fail_anomaly(char const* op, std::string const& what, Bad const& bad, Shape const& shape) {
  fail(op, {fmt::format("{} has the first {}: {} of {} elements of shape {}, {}{}", what, bad.nan ? "NaN" : "Inf",
                        bad.count, numel(shape), to_string(shape), bad.where, bad.count > 3 ? ", …" : ""),
            "look at the operands there: a division by 0, a logarithm or root of what is not positive, an overflow"});
}

}  // namespace

DetectAnomaly::DetectAnomaly(bool infinities) noexcept
    : before_(detail::anomaly_on), infinities_before_(infinities_count) {
  detail::anomaly_on = true;
  infinities_count = infinities;
}

DetectAnomaly::~DetectAnomaly() {
  detail::anomaly_on = before_;
  infinities_count = infinities_before_;
}

void detail::check_anomaly(char const* op, Tensor const* outputs, size_t output_count, Tensor const* const* inputs,
                           size_t input_count) {
  for (Tensor const* y = outputs; y != outputs + output_count; ++y) {
    Bad const bad = scan(*y);
    if (bad.count && std::none_of(inputs, inputs + input_count, [](Tensor const* x) { return is_bad(*x); }))
      fail_anomaly(op, "its result", bad, y->shape());
  }
}

void detail::check_anomaly(char const* op, std::vector<Tensor> const& outputs, std::vector<Tensor> const& inputs) {
  std::vector<Tensor const*> list;
  for (Tensor const& input : inputs) list.push_back(&input);
  check_anomaly(op, outputs.data(), outputs.size(), list.data(), list.size());
}

void detail::check_gradient_anomaly(char const* op, Tensor const* output_gradients, size_t output_count,
                                    std::vector<Tensor> const& input_gradients) {
  for (size_t i = 0; i < input_gradients.size(); ++i) {
    Bad const bad = scan(input_gradients[i]);
    if (bad.count && std::none_of(output_gradients, output_gradients + output_count, is_bad))
      fail_anomaly(op, fmt::format("the gradient of its input {}", i), bad, input_gradients[i].shape());
  }
}

}  // namespace heed
