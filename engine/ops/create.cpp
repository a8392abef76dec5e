// Tensors from nothing: constants, ranges, values.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cstring>

namespace heed {

Tensor empty(Shape const& shape, Dtype dtype) { return Tensor(shape, dtype); }

Tensor full(Shape const& shape, Number value, Dtype dtype) {
  Tensor y(shape, dtype);
  return y.fill_(value);
}

Tensor& Tensor::fill_(Number value) {
  check_defined("fill_", *this);
  if (tracked(*this)) check_in_place("fill_", *this);
  if (!is_contiguous() || (tracked(*this) && body_->is_view)) return copy_(full(shape(), value, dtype()));
  Observed const watch("fill", {}, {this});
  dispatch(dtype(), [&]<class T>(Type<T>) {
    T const element = value.to<T>();
    kernels<CopyKernels>().fill(&element, raw(), numel(), sizeof(T));
  });
  storage().bump_version();
  if (recording()) body_->node = {};
  return *this;
}

Tensor zeros(Shape const& shape, Dtype dtype) { return full(shape, 0, dtype); }
Tensor ones(Shape const& shape, Dtype dtype) { return full(shape, 1, dtype); }
Tensor zeros_like(Tensor const& x) { return full(x.shape(), 0, x.dtype()); }
Tensor ones_like(Tensor const& x) { return full(x.shape(), 1, x.dtype()); }
Tensor scalar(Number value, Dtype dtype) { return full({}, value, dtype); }

Tensor arange(int64_t from, int64_t to, int64_t step, Dtype dtype) {
  check(step != 0, "arange", [] {
    return Complaint{"expected a step other than 0", "pass a positive or negative step"};
  });
  int64_t const span = step > 0 ? to - from : from - to, width = step > 0 ? step : -step;
  int64_t const count = span <= 0 ? 0 : (span + width - 1) / width;
  Tensor y({count}, dtype);
  Observed const watch("arange", {}, {&y});
  dispatch(dtype, [&]<class T>(Type<T>) {
    T* const out = y.data<T>();
    for (int64_t i = 0; i < count; ++i) out[i] = T(from + i * step);
  });
  return y;
}

template <class T>
Tensor tensor(std::span<T const> values, Shape const& shape) {
  check(numel(shape) == int64_t(values.size()), "tensor", [&] {
    return Complaint{fmt::format("shape {} needs {} values, got {}", to_string(shape), numel(shape), values.size()),
                     "make the product of the sizes equal to the number of values"};
  });
  Tensor y(shape, dtype_of<T>);
  if (!values.empty()) std::memcpy(y.raw(), values.data(), values.size_bytes());
  return y;
}
template Tensor tensor(std::span<float const>, Shape const&);
template Tensor tensor(std::span<double const>, Shape const&);
template Tensor tensor(std::span<int32_t const>, Shape const&);
template Tensor tensor(std::span<int64_t const>, Shape const&);
template Tensor tensor(std::span<int8_t const>, Shape const&);
template Tensor tensor(std::span<int16_t const>, Shape const&);
template Tensor tensor(std::span<uint8_t const>, Shape const&);

Tensor tensor(std::initializer_list<float> values) {
  return tensor(std::span<float const>(values.begin(), values.size()), {int64_t(values.size())});
}

Tensor tensor(std::initializer_list<std::initializer_list<float>> rows) {
  std::vector<Tensor> parts;
  for (auto const& row : rows) parts.push_back(tensor(row));
  return stack(parts);
}

}  // namespace heed
