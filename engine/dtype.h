// Element types, and dispatch() from the run-time type to the C++ type.
#pragma once

#include <heed/engine/half.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace heed {

enum class Dtype : uint8_t { f32, f64, i32, i64, u8, boolean, f16, bf16, i8, i16 };

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
template <>
inline constexpr Dtype dtype_of<float16> = Dtype::f16;
template <>
inline constexpr Dtype dtype_of<bfloat16> = Dtype::bf16;
template <>
inline constexpr Dtype dtype_of<int8_t> = Dtype::i8;
template <>
inline constexpr Dtype dtype_of<int16_t> = Dtype::i16;

/// Stored in 16 bits, computed in f32.
constexpr bool is_half(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16; }
constexpr bool is_floating(Dtype d) { return d == Dtype::f32 || d == Dtype::f64 || is_half(d); }
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
    case Dtype::f16:
      return f(Type<float16>{});
    case Dtype::bf16:
      return f(Type<bfloat16>{});
    case Dtype::i8:
      return f(Type<int8_t>{});
    case Dtype::i16:
      return f(Type<int16_t>{});
    case Dtype::f32:
      break;
  }
  return f(Type<float>{});
}

/// f(Type<T>{}) with the unsigned integer of `bytes` 1, 2, 4 or 8: for what moves elements without reading them.
template <class F>
decltype(auto) dispatch_size(size_t bytes, F&& f) {
  if (bytes == 1) return f(Type<uint8_t>{});
  if (bytes == 2) return f(Type<uint16_t>{});
  if (bytes == 4) return f(Type<uint32_t>{});
  return f(Type<uint64_t>{});
}

/// f(Type<T>{}) for integers and bool; an Error that names `op` for the floating types.
template <class F>
auto dispatch_integer(std::string_view op, Dtype d, F&& f) -> decltype(f(Type<bool>{})) {
  return dispatch(d, [&]<class T>(Type<T> type) -> decltype(f(Type<bool>{})) {
    if constexpr (std::is_integral_v<T>)
      return f(type);
    else
      detail::unsupported_dtype(op, d, "an integer type");
  });
}

/// f(Type<T>{}) for the types that are computed in; an Error that names `op` for the others.
template <class F>
decltype(auto) dispatch_floating(std::string_view op, Dtype d, F&& f) {
  if (d == Dtype::f32) return f(Type<float>{});
  if (d == Dtype::f64) return f(Type<double>{});
  detail::unsupported_dtype(op, d, "f32 or f64");
}

inline size_t size_of(Dtype d) {
  return dispatch(d, []<class T>(Type<T>) { return sizeof(T); });
}

/// The smallest type that holds `a` and `b`, by PyTorch's table: floating above integer above boolean, then the wider
/// one; u8 with a signed type gives the next wider signed one, f16 with bf16 gives f32. What a rank-0 tensor or a
/// number beside a tensor changes is result_type() (tensor.h).
Dtype promote(Dtype a, Dtype b);

}  // namespace heed
