// Whole numbers: their formulas once, and the kernels of an accelerator, which compute in i64 whatever is stored.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/ops/pointwise_device.h>

#include <cstdint>
#include <type_traits>

namespace heed {

/// value(a, b) of a stored type, modulo its width; of bools sums are "or" and products "and". Computed in i64 and cut
/// to a narrower type, each gives the same. Divisors are not 0.
namespace whole {

struct Add {
  template <class T>
  static constexpr T value(T a, T b) {
    if constexpr (std::is_same_v<T, bool>)
      return a || b;
    else
      return T(uint64_t(a) + uint64_t(b));
  }
};
struct Sub {
  template <class T>
  static constexpr T value(T a, T b) {
    return T(uint64_t(a) - uint64_t(b));
  }
};
struct Mul {
  template <class T>
  static constexpr T value(T a, T b) {
    if constexpr (std::is_same_v<T, bool>)
      return a && b;
    else
      return T(uint64_t(a) * uint64_t(b));
  }
};
struct Maximum {
  static constexpr auto value(auto a, auto b) { return a < b ? b : a; }
};
struct Minimum {
  static constexpr auto value(auto a, auto b) { return b < a ? b : a; }
};
struct And {
  static constexpr auto value(auto a, auto b) { return a & b; }
};
struct Or {
  static constexpr auto value(auto a, auto b) { return a | b; }
};
struct Xor {
  static constexpr auto value(auto a, auto b) { return a ^ b; }
};
/// A shift by the width or more, or by a negative count, leaves nothing (the sign, to the right).
struct LeftShift {
  template <class T>
  static constexpr T value(T a, T b) {
    return b < T(0) || int64_t(b) >= int64_t(8 * sizeof(T)) ? T(0) : T(uint64_t(a) << b);
  }
};
struct RightShift {
  template <class T>
  static constexpr T value(T a, T b) {
    bool const within = b >= T(0) && int64_t(b) < int64_t(8 * sizeof(T));
    return within ? T(a >> b) : T(a < T(0) ? -1 : 0);
  }
};
struct Gcd {
  template <class T>
  static constexpr T value(T a, T b) {
    if constexpr (std::is_same_v<T, bool>) {
      return a;
    } else {
      uint64_t x = a < T(0) ? -uint64_t(a) : uint64_t(a), y = b < T(0) ? -uint64_t(b) : uint64_t(b);
      while (y) {
        uint64_t const rest = x % y;
        x = y, y = rest;
      }
      return T(x);
    }
  }
};
struct Lcm {
  template <class T>
  static constexpr T value(T a, T b) {
    if constexpr (std::is_same_v<T, bool>) {
      return a;
    } else {
      int64_t const divisor = Gcd::value(int64_t(a), int64_t(b));
      int64_t const product = divisor == 0 ? 0 : int64_t(uint64_t(int64_t(a) / divisor) * uint64_t(int64_t(b)));
      return T(product < 0 ? -uint64_t(product) : uint64_t(product));
    }
  }
};
// −1 as divisor must not overflow.
struct Fmod {
  template <class T>
  static constexpr T value(T a, T b) {
    return b == T(-1) ? T(0) : T(a % b);
  }
};
struct Remainder {
  template <class T>
  static constexpr T value(T a, T b) {
    T const m = Fmod::value(a, b);
    return m != T(0) && ((m < T(0)) != (b < T(0))) ? T(m + b) : m;
  }
};
struct TruncDivide {
  template <class T>
  static constexpr T value(T a, T b) {
    return b == T(-1) ? T(-uint64_t(a)) : T(a / b);
  }
};
struct FloorDivide {
  template <class T>
  static constexpr T value(T a, T b) {
    if (b == T(-1)) return T(-uint64_t(a));
    T const q = T(a / b);
    return T(a % b) != T(0) && ((a < T(0)) != (b < T(0))) ? T(q - 1) : q;
  }
};
struct Power {
  template <class T>
  static constexpr T value(T base, T exponent) {
    if (exponent < T(0)) return T(base == T(1) ? 1 : base == T(-1) ? (exponent % T(2) == T(0) ? 1 : -1) : 0);
    uint64_t result = 1, factor = uint64_t(base);
    for (uint64_t e = uint64_t(exponent); e; e >>= 1, factor *= factor)
      if (e & 1) result *= factor;
    return T(result);
  }
};
template <class F>
constexpr bool divides = std::is_same_v<F, Fmod> || std::is_same_v<F, Remainder> || std::is_same_v<F, TruncDivide> ||
                         std::is_same_v<F, FloorDivide>;

template <class F>
constexpr bool compares = requires {
  CompareRows::index_of<F>;
};

using Rows = RowList<Add, Sub, Mul, Maximum, Minimum, And, Or, Xor, LeftShift, RightShift, row::Eq, row::Ne, row::Lt,
                     row::Le, row::Gt, row::Ge, Gcd, Lcm, Fmod, Remainder, TruncDivide, FloorDivide, Power>;

}  // namespace whole

/// Of an accelerator.
struct WholeKernels {
  /// y = f(a, b) of a broadcast of integers or bools stored as `from`, to that type; comparisons to bool. By position
  /// in whole::Rows. A quotient by 0 is 0.
  void (*binary)(int formula, Broadcast const&, Dtype from, void const* a, void const* b, Dtype to, void* y);
  /// y_i = from + i·step
  void (*range)(int64_t from, int64_t step, int64_t* y, int64_t n);
  void (*real_range)(double from, double step, double* y, int64_t n);
};

inline char const* kernels_name(WholeKernels const*) { return "whole_kernels"; }

}  // namespace heed
