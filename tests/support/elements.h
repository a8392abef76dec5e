// Twins of what moves elements: written as loops over coordinates.
#pragma once

#include <heed/engine/ops.h>

#include <functional>
#include <vector>

namespace heed::test {

/// Elements of x at `from(index)` for every index of `shape`.
inline Tensor picked(Tensor const& x, Shape const& shape,
                     std::function<std::vector<int64_t>(std::vector<int64_t> const&)> from) {
  auto const values = x.detach().to_vector<double>();
  Strides const steps = contiguous_strides(x.shape()), to = contiguous_strides(shape);
  std::vector<double> out(size_t(numel(shape)));
  for (size_t i = 0; i < out.size(); ++i) {
    std::vector<int64_t> at;
    int64_t rest = int64_t(i);
    for (int a = 0; a < shape.rank(); ++a) {
      at.push_back(rest / to[a]);
      rest %= to[a];
    }
    auto const source = from(at);
    int64_t offset = 0;
    bool zero = false;
    for (int a = 0; a < x.rank(); ++a) {
      zero |= source[size_t(a)] < 0;
      offset += source[size_t(a)] * steps[a];
    }
    out[i] = zero ? 0 : values[size_t(offset)];
  }
  return tensor(out, shape);
}

/// The elements of x after `change(value, coordinates)` of each, in f64.
inline Tensor changed(Tensor const& x, std::function<void(double&, std::vector<int64_t> const&)> change) {
  auto values = x.detach().to_vector<double>();
  Strides const steps = contiguous_strides(x.shape());
  for (size_t i = 0; i < values.size(); ++i) {
    std::vector<int64_t> at;
    for (int a = 0; a < x.rank(); ++a) at.push_back(int64_t(i) / steps[a] % x.shape()[a]);
    change(values[i], at);
  }
  return tensor(values, x.shape());
}

/// The element at these coordinates.
inline double element(Tensor const& x, std::vector<int64_t> const& at) {
  Tensor t = x.detach();
  for (int64_t i : at) t = t.select(0, i);
  return t.item();
}

}  // namespace heed::test
