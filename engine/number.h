// A number beside a tensor, as in x + 1 or full(shape, 0.5).
#pragma once

#include <cstdint>
#include <type_traits>

namespace heed {

/// A number of C++, with its kind kept: it changes the type of a tensor beside it only where the kind is higher (bool <
/// integer < floating), as a Python number does in PyTorch: i32 + 1 is i32, i32 + 1.0 is f32, f64 + 1.0 is f64.
class Number {
 public:
  enum class Kind : uint8_t { boolean, integer, floating };

  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr Number(T value)
      : real_(double(value)),
        whole_(std::is_floating_point_v<T> ? 0 : int64_t(value)),
        kind_(std::is_floating_point_v<T> ? Kind::floating
              : std::is_same_v<T, bool>   ? Kind::boolean
                                          : Kind::integer) {}

  constexpr Kind kind() const { return kind_; }
  constexpr double real() const { return real_; }
  /// As an element of type T: integers wrap, reals lose their fraction; beyond 64 bits unspecified.
  template <class T>
  constexpr T to() const {
    if constexpr (std::is_same_v<T, bool>)
      return real_ != 0;
    else if constexpr (std::is_integral_v<T>)
      return T(kind_ == Kind::floating ? (real_ > -0x1p63 && real_ < 0x1p63 ? int64_t(real_) : INT64_MIN) : whole_);
    else
      return T(real_);
  }
  constexpr Number operator-() const { return kind_ == Kind::floating ? Number(-real_) : Number(-whole_); }

 private:
  double real_;
  int64_t whole_;
  Kind kind_;
};

}  // namespace heed
