// An array in device memory, for tests of kernels that take pointers.
#pragma once

#include <control.h>
#include <doctest/doctest.h>
#include <heed/engine/cuda/launch.h>

#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

namespace heed::tests {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::vector<T> const& values) : count_(values.size()) {
    if (count_ == 0) return;
    check_device(rt::allocate(at_, bytes()), "test");
    check_device(rt::copy_to_device(at_, values.data(), bytes(), current_stream()), "test");
  }
  ~DeviceArray() {
    if (!at_) return;
    (void)rt::synchronize(current_stream());
    (void)rt::release(at_);
  }
  DeviceArray(DeviceArray const&) = delete;
  DeviceArray& operator=(DeviceArray const&) = delete;
  T* data() const { return static_cast<T*>(at_); }
  std::vector<T> host() const {
    std::vector<T> values(count_);
    if (count_ == 0) return values;
    check_device(rt::copy_to_host(values.data(), at_, bytes(), current_stream()), "test");
    check_device(rt::synchronize(current_stream()), "test");
    return values;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  void* at_ = nullptr;
  size_t count_;
};

/// Numbers between −1 and 1.
struct Numbers {
  uint64_t state;
  explicit Numbers(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15 + 1) {}
  double next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return double(int64_t(state) >> 11) / double(int64_t{1} << 52);
  }
  template <class T>
  std::vector<T> vector(int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    for (T& x : values) x = T(next());
    return values;
  }
};

/// ‖a − b‖ / ‖b‖; NaN and Inf must agree place by place.
template <class A, class B>
double relative_error(std::vector<A> const& a, std::vector<B> const& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double const x = double(a[i]), y = double(b[i]);
    if (!std::isfinite(x) || !std::isfinite(y)) {
      if (x == y || (std::isnan(x) && std::isnan(y))) continue;
      return HUGE_VAL;
    }
    difference += (x - y) * (x - y), norm += y * y;
  }
  return norm == 0 ? difference : std::sqrt(difference / norm);
}

/// The largest error of a test case, printed where HEED_TEST_ERRORS is set.
struct Largest {
  char const* what;
  double value = 0;
  double note(double error) {
    if (!(error <= value)) value = error;
    return error;
  }
  ~Largest() {
    if (std::getenv("HEED_TEST_ERRORS")) MESSAGE(std::string(what) << ": largest relative error " << value);
  }
};

}  // namespace heed::tests
