// Element types, and dispatch() from the run-time type to the C++ type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace heed {

enum class Dtype : uint8_t { f32, f64, i32, i64, u8, boolean };

template <class T>
struct Type {
  using type = T;
};

namespace detail {
[[noreturn]] void unsupported_dtype(std::string_view op, Dtype got, std::string_view expected);
}

template <class T>
constexpr Dtype dtype_of = Dtype::f32;
template <>
inline constexpr Dtype dtype_of<double> = Dtype::f64;
template <>
inline constexpr Dtype dtype_of<int32_t> = Dtype::i32;
template <>
inline constexpr Dtype dtype_of<int64_t> = Dtype::i64;
template <>
inline constexpr Dtype dtype_of<uint8_t> = Dtype::u8;
template <>
inline constexpr Dtype dtype_of<bool> = Dtype::boolean;

constexpr bool is_floating(Dtype d) { return d == Dtype::f32 || d == Dtype::f64; }
std::string_view name(Dtype d);

/// f(Type<T>{}) with the element type of `d`.
template <class F>
decltype(auto) dispatch(Dtype d, F&& f) {
  switch (d) {
    case Dtype::f64:
      return f(Type<double>{});
    case Dtype::i32:
      return f(Type<int32_t>{});
    case Dtype::i64:
      return f(Type<int64_t>{});
    case Dtype::u8:
      return f(Type<uint8_t>{});
    case Dtype::boolean:
      return f(Type<bool>{});
    case Dtype::f32:
      break;
  }
  return f(Type<float>{});
}

/// f(Type<T>{}) for the floating types; an Error that names `op` for the others.
template <class F>
decltype(auto) dispatch_floating(std::string_view op, Dtype d, F&& f) {
  if (d == Dtype::f32) return f(Type<float>{});
  if (d == Dtype::f64) return f(Type<double>{});
  detail::unsupported_dtype(op, d, "f32 or f64");
}

inline size_t size_of(Dtype d) {
  return dispatch(d, []<class T>(Type<T>) { return sizeof(T); });
}

/// The type that an operation on `a` and `b` computes in: floating above integer above boolean, then the wider one.
Dtype promote(Dtype a, Dtype b);

}  // namespace heed
