// Shapes, strides and broadcasting: pure functions on small fixed-capacity lists.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace heed {

/// Up to eight sizes or strides, outermost first.
class Dims {
 public:
  static constexpr int max_rank = 8;
  Dims() = default;
  Dims(std::initializer_list<int64_t> values);
  static Dims filled(int rank, int64_t value);

  int rank() const { return rank_; }
  int64_t& operator[](int axis) { return values_[axis]; }
  int64_t operator[](int axis) const { return values_[axis]; }
  int64_t back() const { return values_[rank_ - 1]; }
  int64_t const* begin() const { return values_; }
  int64_t const* end() const { return values_ + rank_; }
  int64_t const* data() const { return values_; }
  void push_back(int64_t value);
  void insert(int axis, int64_t value);
  void erase(int axis);

  friend bool operator==(Dims const& a, Dims const& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a.values_[i] != b.values_[i]) return false;
    return true;
  }

 private:
  int64_t values_[max_rank] = {};
  int rank_ = 0;
};

using Shape = Dims;
using Strides = Dims;

/// "[2, 3, 4]"
std::string to_string(Dims const& dims);
/// Number of elements; an Error where a size is negative or the bytes of the widest type would overflow.
int64_t numel(Shape const& shape);
/// Row-major strides in elements.
Strides contiguous_strides(Shape const& shape);
bool is_contiguous(Shape const& shape, Strides const& strides);
/// NumPy's rule: aligned at the last axis, sizes equal or one of them 1; `op` names the operation in the Error.
Shape broadcast(std::string_view op, Shape const& a, Shape const& b);
/// Strides that read a tensor of `shape` and `strides` as one of shape `to` (0 along broadcast axes).
Strides broadcast_strides(Shape const& shape, Strides const& strides, Shape const& to);
/// Maps -rank … rank-1 to 0 … rank-1.
int normalize_axis(std::string_view op, int axis, int rank);

}  // namespace heed
