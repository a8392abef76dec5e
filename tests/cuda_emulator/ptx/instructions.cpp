// What each instruction of PTX does, for the subset that nvcc makes of the kernels here (PTX ISA 9.0, chapter 9).
#include <heed/engine/half.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "machine.h"

namespace ptx {
namespace {

template <class T>
T get(uint64_t bits) {
  if constexpr (std::is_same_v<T, bool>)
    return (bits & 1) != 0;
  else if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<float>(uint32_t(bits));
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<double>(bits);
  else
    return T(bits);
}
template <class T>
uint64_t bits_of(T value) {
  if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<uint32_t>(value);
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<uint64_t>(value);
  else
    return uint64_t(value);  // signed types copy their sign
}

template <class F>
void each(uint32_t active, F const& f) {
  if (active == 0xffffffffu)
    for (int lane = 0; lane < 32; ++lane) f(lane);
  else
    for (uint32_t left = active; left; left &= left - 1) f(std::countr_zero(left));
}

// ---- results that follow from the lane's own operands
// -------------------------------------------------------------------

/// d = f(operands), read as the types S, written as D.
template <auto f, class D, class... S>
void apply(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  [&]<size_t... k>(std::index_sequence<k...>) {
    uint64_t* const to = warp.lanes(in.operand[0].slot);
    uint64_t const* const from[] = {warp.lanes(in.operand[k + 1].slot)...};
    bool const inverted[] = {in.operand[k + 1].inverted...};
    each(active, [&](int lane) { to[lane] = bits_of(D(f(S(get<S>(from[k][lane] ^ uint64_t(inverted[k])))...))); });
  }
  (std::index_sequence_for<S...>{});
}

template <auto f, class T>
Handler same(std::integral_constant<int, 1>) {
  return apply<f, T, T>;
}
template <auto f, class T>
Handler same(std::integral_constant<int, 2>) {
  return apply<f, T, T, T>;
}
template <auto f, class T>
Handler same(std::integral_constant<int, 3>) {
  return apply<f, T, T, T, T>;
}

/// f over `count` operands of the instruction's type, as unsigned integers of its width.
template <auto f, int count>
Handler unsigned_of(std::string const& type) {
  std::integral_constant<int, count> const n;
  if (type == "pred") return same<f, bool>(n);
  if (type == "b16" || type == "u16" || type == "s16") return same<f, uint16_t>(n);
  if (type == "b32" || type == "u32" || type == "s32" || type == "f32") return same<f, uint32_t>(n);
  if (type == "b64" || type == "u64" || type == "s64" || type == "f64") return same<f, uint64_t>(n);
  return nullptr;
}
/// … with the sign that the type has.
template <auto f, int count>
Handler integers(std::string const& type) {
  std::integral_constant<int, count> const n;
  if (type == "s16") return same<f, int16_t>(n);
  if (type == "s32") return same<f, int32_t>(n);
  if (type == "s64") return same<f, int64_t>(n);
  return type[0] == 'f' ? nullptr : unsigned_of<f, count>(type);
}
template <auto f, int count>
Handler floats(std::string const& type) {
  std::integral_constant<int, count> const n;
  if (type == "f32") return same<f, float>(n);
  if (type == "f64") return same<f, double>(n);
  return nullptr;
}

constexpr auto add = [](auto a, auto b) { return a + b; };
constexpr auto subtract = [](auto a, auto b) { return a - b; };
constexpr auto multiply = [](auto a, auto b) { return a * b; };
constexpr auto product = [](auto a, auto b) { return uint64_t(a) * uint64_t(b); };
constexpr auto multiply_add = [](auto a, auto b, auto c) { return uint64_t(a) * uint64_t(b) + c; };
constexpr auto fused = [](auto a, auto b, auto c) { return std::fma(a, b, c); };
constexpr auto negate = [](auto a) { return decltype(a)(0) - a; };
constexpr auto negate_float = [](auto a) { return -a; };
constexpr auto absolute = [](auto a) {
  if constexpr (std::is_signed_v<decltype(a)>)
    return a < 0 ? negate(std::make_unsigned_t<decltype(a)>(a)) : std::make_unsigned_t<decltype(a)>(a);
  else
    return a;
};
constexpr auto absolute_float = [](auto a) { return std::fabs(a); };
constexpr auto smaller = [](auto a, auto b) { return b < a ? b : a; };
constexpr auto larger = [](auto a, auto b) { return a < b ? b : a; };
// Of a number and a NaN the number; -0 is less than +0.
constexpr auto smaller_float = [](auto a, auto b) {
  return a == b ? (std::signbit(a) ? a : b) : a != a ? b : b != b ? a : a < b ? a : b;
};
constexpr auto larger_float = [](auto a, auto b) {
  return a == b ? (std::signbit(a) ? b : a) : a != a ? b : b != b ? a : a < b ? b : a;
};
constexpr auto smaller_or_nan = [](auto a, auto b) { return a != a || b != b ? a + b : smaller_float(a, b); };
constexpr auto larger_or_nan = [](auto a, auto b) { return a != a || b != b ? a + b : larger_float(a, b); };
constexpr auto quotient_of_floats = [](auto a, auto b) { return a / b; };
constexpr auto both = [](auto a, auto b) { return a & b; };
constexpr auto either = [](auto a, auto b) { return a | b; };
constexpr auto differ = [](auto a, auto b) { return a ^ b; };
constexpr auto complement = [](auto a) {
  if constexpr (std::is_same_v<decltype(a), bool>)
    return !a;
  else
    return decltype(a)(~a);
};
constexpr auto quotient = [](auto a, auto b) { return b == 0 ? decltype(a)(-1) : decltype(a)(a / b); };
constexpr auto remainder = [](auto a, auto b) { return b == 0 ? a : decltype(a)(a % b); };
constexpr auto high = [](auto a, auto b) {
  __extension__ typedef __int128 Wide;
  return decltype(a)(Wide(a) * Wide(b) >> 8 * sizeof(a));
};
constexpr auto high_unsigned = [](auto a, auto b) {
  __extension__ typedef unsigned __int128 Wide;
  return decltype(a)(Wide(a) * Wide(b) >> 8 * sizeof(a));
};
constexpr auto select = [](auto a, auto b, bool p) { return p ? a : b; };
constexpr auto same_value = [](auto a) { return a; };
// Shifts by more than the width move everything out.
constexpr auto shift_left = [](auto a, uint32_t by) {
  return by >= 8 * sizeof(a) ? decltype(a)(0) : decltype(a)(a << by);
};
constexpr auto shift_right = [](auto a, uint32_t by) {
  return decltype(a)(a >> (by >= 8 * sizeof(a) ? 8 * sizeof(a) - 1 : by) >> (by >= 8 * sizeof(a) ? 1 : 0));
};
constexpr auto bits_set = [](auto a) { return uint32_t(std::popcount(a)); };
constexpr auto leading_zeros = [](auto a) { return uint32_t(std::countl_zero(a)); };
constexpr auto reverse = [](auto a) {
  decltype(a) b = 0;
  for (size_t i = 0; i < 8 * sizeof(a); ++i) b = decltype(a)(b << 1 | (a >> i & 1));
  return b;
};
constexpr auto extract = [](auto a, uint32_t from, uint32_t count) {
  using T = decltype(a);
  constexpr uint32_t width = 8 * sizeof(T);
  from &= 255, count &= 255;
  if (count == 0) return T(0);
  std::make_unsigned_t<T> result = 0;
  for (uint32_t i = 0; i < width; ++i) {
    // Past the end a signed field repeats its uppermost bit.
    uint32_t const at = std::min(from + std::min(i, count - 1), width - 1);
    bool const inside = i < count && from + i < width;
    bool const bit = (inside || std::is_signed_v<T>)&&(std::make_unsigned_t<T>(a) >> at & 1);
    result |= std::make_unsigned_t<T>(bit) << i;
  }
  return T(result);
};
constexpr auto insert = [](auto a, auto b, uint32_t from, uint32_t count) {
  using T = decltype(a);
  for (uint32_t i = 0; i < (count & 255) && (from & 255) + i < 8 * sizeof(T); ++i) {
    T const bit = T(1) << ((from & 255) + i);
    b = (a >> i & 1) ? T(b | bit) : T(b & ~bit);
  }
  return b;
};
constexpr auto permute = [](uint32_t a, uint32_t b, uint32_t selection) {
  uint64_t const bytes = uint64_t(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t const nibble = selection >> 4 * i & 15, byte = uint32_t(bytes >> 8 * (nibble & 7)) & 255;
    result |= (nibble & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * i;
  }
  return result;
};
constexpr auto logic = [](uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
  uint32_t result = 0;
  for (int i = 0; i < 32; ++i) result |= (table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i;
  return result;
};
constexpr auto funnel_left = [](uint32_t a, uint32_t b, uint32_t by) {
  by &= 31;
  return uint32_t((uint64_t(b) << 32 | a) << by >> 32);
};
constexpr auto funnel_right = [](uint32_t a, uint32_t b, uint32_t by) {
  by &= 31;
  return uint32_t((uint64_t(b) << 32 | a) >> by);
};
constexpr auto funnel_left_clamp = [](uint32_t a, uint32_t b, uint32_t by) {
  return by >= 32 ? a : uint32_t((uint64_t(b) << 32 | a) << by >> 32);
};
constexpr auto funnel_right_clamp = [](uint32_t a, uint32_t b, uint32_t by) {
  return by >= 32 ? b : uint32_t((uint64_t(b) << 32 | a) >> by);
};
constexpr auto with_sign_of = [](auto a, auto b) { return std::copysign(b, a); };

// In another direction than to the nearest.
template <int direction>
constexpr auto add_towards = [](auto a, auto b) {
  std::fesetround(direction);
  auto volatile x = a;
  auto volatile result = x + b;
  std::fesetround(FE_TONEAREST);
  return decltype(a)(result);
};
template <int direction>
constexpr auto multiply_towards = [](auto a, auto b) {
  std::fesetround(direction);
  auto volatile x = a;
  auto volatile result = x * b;
  std::fesetround(FE_TONEAREST);
  return decltype(a)(result);
};
template <int direction>
constexpr auto fused_towards = [](auto a, auto b, auto c) {
  std::fesetround(direction);
  auto volatile x = a;
  auto volatile result = std::fma(x, b, c);
  std::fesetround(FE_TONEAREST);
  return decltype(a)(result);
};

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// The hardware's approximations, here rounded from the exact value; with .ftz subnormal numbers count as 0.
template <bool ftz>
constexpr auto exp2_near = [](float a) { return ftz ? flushed(std::exp2(flushed(a))) : std::exp2(a); };
template <bool ftz>
constexpr auto log2_near = [](float a) { return std::log2(ftz ? flushed(a) : a); };
template <bool ftz>
constexpr auto reciprocal = [](float a) { return ftz ? flushed(1 / flushed(a)) : 1 / a; };
template <bool ftz>
constexpr auto root = [](float a) { return std::sqrt(ftz ? flushed(a) : a); };
template <bool ftz>
constexpr auto reciprocal_root = [](float a) { return float(1 / std::sqrt(double(ftz ? flushed(a) : a))); };
template <bool ftz>
constexpr auto divided = [](float a, float b) { return ftz ? flushed(flushed(a) / flushed(b)) : a / b; };
// Only the upper halves of operand and result count.
constexpr auto upper_half = [](double a) { return std::bit_cast<double>(std::bit_cast<uint64_t>(a) >> 32 << 32); };
constexpr auto reciprocal_near_f64 = [](double a) {
  a = upper_half(a);
  double const result = 1 / (std::fpclassify(a) == FP_SUBNORMAL ? std::copysign(0.0, a) : a);
  return upper_half(std::fpclassify(result) == FP_SUBNORMAL ? std::copysign(0.0, a) : result);
};
constexpr auto reciprocal_root_near_f64 = [](double a) {
  a = upper_half(a);
  return upper_half(1 / std::sqrt(std::fpclassify(a) == FP_SUBNORMAL ? std::copysign(0.0, a) : a));
};
constexpr auto reciprocal_f64 = [](double a) { return 1 / a; };
constexpr auto root_f64 = [](double a) { return std::sqrt(a); };
constexpr auto reciprocal_root_f64 = [](double a) { return 1 / std::sqrt(a); };
constexpr auto sine = [](float a) { return std::sin(a); };
constexpr auto cosine = [](float a) { return std::cos(a); };
constexpr auto tangent_h = [](float a) { return std::tanh(a); };

template <auto f, auto g>  // with and without .ftz
Handler near_f32(Instruction const& in) {
  return in.part.back() == "f32" ? in.has("ftz") ? apply<g, float, float> : apply<f, float, float> : nullptr;
}

template <auto f>
Handler wide(std::string const& type) {  // d twice as wide as a and b; a third operand is as wide as d
  constexpr bool three = std::is_invocable_v<decltype(f), uint64_t, uint64_t, uint64_t>;
  if constexpr (three) {
    if (type == "u16") return apply<f, uint32_t, uint16_t, uint16_t, uint32_t>;
    if (type == "s16") return apply<f, uint32_t, int16_t, int16_t, uint32_t>;
    if (type == "u32") return apply<f, uint64_t, uint32_t, uint32_t, uint64_t>;
    if (type == "s32") return apply<f, uint64_t, int32_t, int32_t, uint64_t>;
  } else {
    if (type == "u16") return apply<f, uint32_t, uint16_t, uint16_t>;
    if (type == "s16") return apply<f, uint32_t, int16_t, int16_t>;
    if (type == "u32") return apply<f, uint64_t, uint32_t, uint32_t>;
    if (type == "s32") return apply<f, uint64_t, int32_t, int32_t>;
  }
  return nullptr;
}
constexpr auto wide_multiply = [](auto a, auto b) { return uint64_t(int64_t(a)) * uint64_t(int64_t(b)); };
constexpr auto wide_multiply_add = [](auto a, auto b, auto c) {
  return uint64_t(int64_t(a)) * uint64_t(int64_t(b)) + uint64_t(c);
};

// ---- comparisons
// ----------------------------------------------------------------------------------------------------------

enum Compare { eq, ne, lt, le, gt, ge, number, nan };
/// detail: the comparison | 8 if unordered operands make it true | 16, 32, 48 for and, or, xor with a predicate.
template <class T>
void compare(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  bool const pair = in.first[1] == 2;
  size_t const at = pair ? 2 : 1;
  uint64_t const *a = warp.lanes(in.operand[at].slot), *b = warp.lanes(in.operand[at + 1].slot);
  each(active, [&](int lane) {
    T const x = get<T>(a[lane]), y = get<T>(b[lane]);
    bool result = false;
    switch (in.detail & 7) {
      case eq:
        result = x == y;
        break;
      case ne:
        result = x < y || x > y;
        break;
      case lt:
        result = x < y;
        break;
      case le:
        result = x <= y;
        break;
      case gt:
        result = x > y;
        break;
      case ge:
        result = x >= y;
        break;
      case number:
        result = x == x && y == y;
        break;
      case nan:
        result = x != x || y != y;
        break;
    }
    if ((in.detail & 8) && (x != x || y != y)) result = true;
    auto const join = [&](bool value) {
      if ((in.detail & 48) == 0) return value;
      Operand const& third = in.operand[at + 2];
      bool const other = get<bool>(warp.lanes(third.slot)[lane]) != third.inverted;
      return (in.detail & 48) == 16 ? value && other : (in.detail & 48) == 32 ? value || other : value != other;
    };
    bool const first = join(result), second = join(!result);
    warp.lanes(in.operand[0].slot)[lane] = first;
    if (pair) warp.lanes(in.operand[1].slot)[lane] = second;
  });
}

Handler comparison(Instruction& in) {
  std::vector<std::string> const integer = {"eq", "ne", "lt", "le", "gt", "ge", "num", "nan"},
                                 unsigned_names = {"eq", "ne", "lo", "ls", "hi", "hs"},
                                 unordered = {"equ", "neu", "ltu", "leu", "gtu", "geu"};
  std::string const& type = in.part.back();
  auto const find = [&](auto const& names) {
    return int(std::find(names.begin(), names.end(), in.part[1]) - names.begin());
  };
  if (int const i = find(integer); i < 8)
    in.detail = i;
  else if (int const j = find(unsigned_names); j < 6)
    in.detail = j;
  else if (int const k = find(unordered); k < 6)
    in.detail = k | 8;
  else
    return nullptr;
  for (size_t i = 2; i + 1 < in.part.size(); ++i) {
    if (in.part[i] == "and")
      in.detail |= 16;
    else if (in.part[i] == "or")
      in.detail |= 32;
    else if (in.part[i] == "xor")
      in.detail |= 48;
    else
      return nullptr;
  }
  if (type == "u16" || type == "b16") return compare<uint16_t>;
  if (type == "u32" || type == "b32") return compare<uint32_t>;
  if (type == "u64" || type == "b64") return compare<uint64_t>;
  if (type == "s16") return compare<int16_t>;
  if (type == "s32") return compare<int32_t>;
  if (type == "s64") return compare<int64_t>;
  if (type == "f32") return compare<float>;
  if (type == "f64") return compare<double>;
  return nullptr;
}

// ---- conversions
// ------------------------------------------------------------------------------------------------------------

struct Rounding {
  int direction = FE_TONEAREST;
  bool saturate = false;
};

template <class To>
To to_integer(double value, int direction) {
  if (value != value) return 0;
  std::fesetround(direction);
  double volatile in = value;
  double const whole = std::nearbyint(in);
  std::fesetround(FE_TONEAREST);
  constexpr double low = double(std::numeric_limits<To>::lowest());
  double const past = std::ldexp(1.0, std::numeric_limits<To>::digits);
  return whole < low ? std::numeric_limits<To>::lowest() : whole >= past ? std::numeric_limits<To>::max() : To(whole);
}

template <class To, class From>
To rounded(From value, int direction) {
  std::fesetround(direction);
  From volatile in = value;
  To volatile out = To(in);
  std::fesetround(FE_TONEAREST);
  return out;
}

template <class To, class From>
void convert(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  uint64_t* const to = warp.lanes(in.operand[0].slot);
  uint64_t const* const from = warp.lanes(in.operand[1].slot);
  Rounding const how{in.detail & 0xffff, (in.detail & 0x10000) != 0};
  bool const whole = (in.detail & 0x20000) != 0;
  constexpr bool half = std::is_same_v<From, heed::float16> || std::is_same_v<From, heed::bfloat16>;
  constexpr bool to_half = std::is_same_v<To, heed::float16> || std::is_same_v<To, heed::bfloat16>;
  each(active, [&](int lane) {
    if constexpr (half || to_half) {
      float value;
      if constexpr (half) {
        From bits;
        bits.bits = uint16_t(from[lane]);
        value = float(bits);
      } else {
        value = float(get<From>(from[lane]));
      }
      if constexpr (to_half)
        to[lane] = To(value).bits;
      else if constexpr (std::is_integral_v<To>)
        to[lane] = bits_of(to_integer<To>(value, how.direction));
      else
        to[lane] = bits_of(To(value));
    } else {
      From const value = get<From>(from[lane]);
      To result;
      if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
        result = to_integer<To>(double(value), how.direction);
      } else if constexpr (std::is_floating_point_v<To>) {
        if constexpr (std::is_same_v<To, From>) {
          std::fesetround(how.direction);
          From volatile x = value;
          result = whole ? std::nearbyint(x) : From(x);
          std::fesetround(FE_TONEAREST);
        } else {
          result = how.direction == FE_TONEAREST ? To(value) : rounded<To>(value, how.direction);
        }
        if (how.saturate) result = result > 0 ? std::min(result, To(1)) : To(0);
      } else {
        result = To(value);
        if (how.saturate) {
          if (std::cmp_less(value, std::numeric_limits<To>::lowest())) result = std::numeric_limits<To>::lowest();
          if (std::cmp_greater(value, std::numeric_limits<To>::max())) result = std::numeric_limits<To>::max();
        }
      }
      to[lane] = bits_of(result);
    }
  });
}

template <class To>
Handler convert_to(std::string const& from) {
  if (from == "u8" || from == "b8") return convert<To, uint8_t>;
  if (from == "u16" || from == "b16") return convert<To, uint16_t>;
  if (from == "u32" || from == "b32") return convert<To, uint32_t>;
  if (from == "u64" || from == "b64") return convert<To, uint64_t>;
  if (from == "s8") return convert<To, int8_t>;
  if (from == "s16") return convert<To, int16_t>;
  if (from == "s32") return convert<To, int32_t>;
  if (from == "s64") return convert<To, int64_t>;
  if (from == "f32") return convert<To, float>;
  if (from == "f64") return convert<To, double>;
  if (from == "f16") return convert<To, heed::float16>;
  if (from == "bf16") return convert<To, heed::bfloat16>;
  return nullptr;
}

/// To the nearest of 10 bits of fraction, halves away from zero.
constexpr auto nearest_tf32 = [](uint32_t bits) {
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fffffffu;
  return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & 0xffffe000u;
};
template <class Element>
constexpr auto pair_of =
    [](float upper, float lower) { return uint32_t(Element(upper).bits) << 16 | Element(lower).bits; };

Handler conversion(Instruction& in) {
  std::string const &to = in.part[in.part.size() - 2], &from = in.part.back();
  if (from == "f32" && to == "bf16x2")
    return in.has("rn") && in.part.size() == 4 ? apply<pair_of<heed::bfloat16>, uint32_t, float, float> : nullptr;
  if (from == "f32" && to == "f16x2")
    return in.has("rn") && in.part.size() == 4 ? apply<pair_of<heed::float16>, uint32_t, float, float> : nullptr;
  if (from == "f32" && to == "tf32")
    return in.has("rna") && in.part.size() == 4 ? apply<nearest_tf32, uint32_t, uint32_t> : nullptr;
  in.detail = FE_TONEAREST;
  for (size_t i = 1; i + 2 < in.part.size(); ++i) {
    std::string const& part = in.part[i];
    if (part == "rz" || part == "rzi")
      in.detail |= FE_TOWARDZERO;
    else if (part == "rm" || part == "rmi")
      in.detail |= FE_DOWNWARD;
    else if (part == "rp" || part == "rpi")
      in.detail |= FE_UPWARD;
    else if (part == "sat")
      in.detail |= 0x10000;
    else if (part != "rn" && part != "rni")
      return nullptr;
    if (part.size() == 3 && part[2] == 'i') in.detail |= 0x20000;
  }
  bool const to_half = to == "f16" || to == "bf16";
  if (to_half && (in.detail & 0xffff) != FE_TONEAREST) return nullptr;
  if (to_half && from == "f64") return nullptr;
  if (to == "u8" || to == "b8") return convert_to<uint8_t>(from);
  if (to == "u16" || to == "b16") return convert_to<uint16_t>(from);
  if (to == "u32" || to == "b32") return convert_to<uint32_t>(from);
  if (to == "u64" || to == "b64") return convert_to<uint64_t>(from);
  if (to == "s8") return convert_to<int8_t>(from);
  if (to == "s16") return convert_to<int16_t>(from);
  if (to == "s32") return convert_to<int32_t>(from);
  if (to == "s64") return convert_to<int64_t>(from);
  if (to == "f32") return convert_to<float>(from);
  if (to == "f64") return convert_to<double>(from);
  if (to == "f16") return convert_to<heed::float16>(from);
  if (to == "bf16") return convert_to<heed::bfloat16>(from);
  return nullptr;
}

// ---- moves and memory
// -----------------------------------------------------------------------------------------------------

/// mov between a register and the parts of one: {a, b} = c or c = {a, b}; the first part is the lowest.
void move_parts(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  int const parts = int(in.operand.size()) - 1, width = in.bytes * 8 / parts;
  uint64_t const mask = width == 64 ? ~uint64_t(0) : (uint64_t(1) << width) - 1;
  bool const split = in.first[1] == parts;
  each(active, [&](int lane) {
    if (split) {
      uint64_t const whole = warp.lanes(in.operand[size_t(parts)].slot)[lane];
      for (int i = 0; i < parts; ++i) warp.lanes(in.operand[size_t(i)].slot)[lane] = whole >> width * i & mask;
    } else {
      uint64_t whole = 0;
      for (int i = 0; i < parts; ++i) whole |= (warp.lanes(in.operand[size_t(i) + 1].slot)[lane] & mask) << width * i;
      warp.lanes(in.operand[0].slot)[lane] = whole;
    }
  });
}

/// Elements of type T; where it has a sign, a register gets copies of it above.
template <bool store, class T>
void access(Machine& machine, Warp& warp, Instruction const& in, uint32_t active) {
  Operand const& place = in.operand[store ? 0 : size_t(in.count)];
  size_t const total = sizeof(T) * size_t(in.count);
  uint64_t const within = in.space == Space::shared || in.space == Space::local ? 0xffffffffu : ~uint64_t(0);
  uint64_t address[32] = {};
  uint64_t const* const base = warp.lanes(place.slot);
  each(active, [&](int lane) { address[lane] = (base[lane] + uint64_t(place.offset)) & within; });
  machine.note(in.space, address, active, int(total));
  uint64_t* values[8] = {};
  for (int i = 0; i < in.count; ++i) values[i] = warp.lanes(in.operand[size_t(i) + (store ? 1 : 0)].slot);
  each(active, [&](int lane) {
    uint8_t* const at = machine.memory(warp, lane, in.space, address[lane], total, store);
    for (int i = 0; i < in.count; ++i) {
      T value = T(values[i][lane]);
      if constexpr (store)
        std::memcpy(at + size_t(i) * sizeof(T), &value, sizeof(T));
      else
        std::memcpy(&value, at + size_t(i) * sizeof(T), sizeof(T)), values[i][lane] = uint64_t(value);
    }
  });
}
template <bool store>
Handler access_of(Instruction const& in) {
  bool const sign = in.part.back()[0] == 's';
  switch (in.bytes) {
    case 1:
      return sign ? access<store, int8_t> : access<store, uint8_t>;
    case 2:
      return sign ? access<store, int16_t> : access<store, uint16_t>;
    case 4:
      return sign ? access<store, int32_t> : access<store, uint32_t>;
    case 8:
      return access<store, uint64_t>;
    default:
      return nullptr;
  }
}

int width_of(std::string const& type) {
  size_t const digit = type.find_first_of("0123456789");
  return digit == type.npos || type.find('x') != type.npos ? 0 : std::atoi(type.c_str() + digit) / 8;
}

/// The parts of a memory operation's name: false where one is not known.
bool memory_parts(Instruction& in, std::vector<std::string> const& others = {}) {
  static std::vector<std::string> const ignored = {"volatile",
                                                   "weak",
                                                   "relaxed",
                                                   "acquire",
                                                   "release",
                                                   "acq_rel",
                                                   "gpu",
                                                   "sys",
                                                   "cta",
                                                   "ca",
                                                   "cg",
                                                   "cs",
                                                   "cv",
                                                   "lu",
                                                   "wb",
                                                   "wt",
                                                   "nc",
                                                   "L1::no_allocate",
                                                   "L1::evict_first",
                                                   "L1::evict_last",
                                                   "L2::64B",
                                                   "L2::128B",
                                                   "L2::256B"};
  for (size_t i = 1; i + 1 < in.part.size(); ++i) {
    std::string const& part = in.part[i];
    if (part == "global" || part == "const")
      in.space = Space::global;
    else if (part == "shared" || part == "shared::cta")
      in.space = Space::shared;
    else if (part == "local")
      in.space = Space::local;
    else if (part == "param")
      in.space = Space::param;
    else if (part == "v2" || part == "v4" || part == "v8")
      in.count = part[1] - '0';
    else if (std::find(ignored.begin(), ignored.end(), part) == ignored.end() &&
             std::find(others.begin(), others.end(), part) == others.end())
      return false;
  }
  in.bytes = width_of(in.part.back());
  return in.bytes > 0;
}

template <class T, auto f>
void atomic(Machine& machine, Warp& warp, Instruction const& in, uint32_t active) {
  size_t const at = in.part[0] == "atom" ? 1 : 0;
  for (int lane = 0; lane < 32; ++lane) {
    if (!(active >> lane & 1)) continue;
    Operand const& place = in.operand[at];
    uint64_t const address = warp.lanes(place.slot)[lane] + uint64_t(place.offset);
    uint8_t* const memory = machine.memory(warp, lane, in.space, address, sizeof(T), true);
    T before;
    std::memcpy(&before, memory, sizeof(T));
    T const operand = get<T>(warp.lanes(in.operand[at + 1].slot)[lane]);
    T const other = in.operand.size() > at + 2 ? get<T>(warp.lanes(in.operand[at + 2].slot)[lane]) : T{};
    T const after = T(f(before, operand, other));
    std::memcpy(memory, &after, sizeof(T));
    if (at) warp.lanes(in.operand[0].slot)[lane] = bits_of(before);
  }
}

Handler atomic_operation(Instruction& in) {
  std::string const operation = in.part[in.part.size() - 2], type = in.part.back();
  if (!memory_parts(in, {operation})) return nullptr;
  static constexpr auto sum = [](auto a, auto b, auto) { return a + b; };
  static constexpr auto least = [](auto a, auto b, auto) { return b < a ? b : a; };
  static constexpr auto most = [](auto a, auto b, auto) { return a < b ? b : a; };
  static constexpr auto all = [](auto a, auto b, auto) { return a & b; };
  static constexpr auto any = [](auto a, auto b, auto) { return a | b; };
  static constexpr auto odd = [](auto a, auto b, auto) { return a ^ b; };
  static constexpr auto swap = [](auto, auto b, auto) { return b; };
  static constexpr auto swap_if = [](auto a, auto b, auto c) { return a == b ? c : a; };
  static constexpr auto up = [](auto a, auto b, auto) { return a >= b ? decltype(a)(0) : decltype(a)(a + 1); };
  static constexpr auto down = [](auto a, auto b, auto) { return a == 0 || a > b ? b : decltype(a)(a - 1); };
  bool const wide = in.bytes == 8;
  if (operation == "add" && type == "f32") return atomic<float, sum>;
  if (operation == "add" && type == "f64") return atomic<double, sum>;
  if (type[0] == 'f' || in.bytes < 4) return operation == "cas" && type == "b16" ? atomic<uint16_t, swap_if> : nullptr;
  if (operation == "add") return wide ? atomic<uint64_t, sum> : atomic<uint32_t, sum>;
  if (operation == "min" && type[0] == 's') return wide ? atomic<int64_t, least> : atomic<int32_t, least>;
  if (operation == "max" && type[0] == 's') return wide ? atomic<int64_t, most> : atomic<int32_t, most>;
  if (operation == "min") return wide ? atomic<uint64_t, least> : atomic<uint32_t, least>;
  if (operation == "max") return wide ? atomic<uint64_t, most> : atomic<uint32_t, most>;
  if (operation == "and") return wide ? atomic<uint64_t, all> : atomic<uint32_t, all>;
  if (operation == "or") return wide ? atomic<uint64_t, any> : atomic<uint32_t, any>;
  if (operation == "xor") return wide ? atomic<uint64_t, odd> : atomic<uint32_t, odd>;
  if (operation == "exch") return wide ? atomic<uint64_t, swap> : atomic<uint32_t, swap>;
  if (operation == "cas") return wide ? atomic<uint64_t, swap_if> : atomic<uint32_t, swap_if>;
  if (operation == "inc" && !wide) return atomic<uint32_t, up>;
  if (operation == "dec" && !wide) return atomic<uint32_t, down>;
  return nullptr;
}

template <uint64_t window, bool to_generic>
void change_space(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  uint64_t *to = warp.lanes(in.operand[0].slot), *from = warp.lanes(in.operand[1].slot);
  each(active, [&](int lane) { to[lane] = to_generic ? from[lane] + window : from[lane] - window; });
}

// ---- cp.async
// ---------------------------------------------------------------------------------------------------------------

void copy_async(Machine& machine, Warp& warp, Instruction const& in, uint32_t active) {
  // Written operands: [to], [from], bytes, and possibly how many of them are read.
  uint64_t to[32] = {}, from[32] = {};
  each(active, [&](int lane) {
    to[lane] = (warp.lanes(in.operand[0].slot)[lane] + uint64_t(in.operand[0].offset)) & 0xffffffffu;
    from[lane] = warp.lanes(in.operand[1].slot)[lane] + uint64_t(in.operand[1].offset);
  });
  int const bytes = int(warp.lanes(in.operand[2].slot)[std::countr_zero(active)]);
  machine.note(Space::global, from, active, bytes);
  machine.note(Space::shared, to, active, bytes);
  each(active, [&](int lane) {
    uint32_t const read = in.operand.size() > 3 ? uint32_t(warp.lanes(in.operand[3].slot)[lane]) : uint32_t(bytes);
    if (read > uint32_t(bytes))
      machine.fail(warp, lane, "reads " + std::to_string(read) + " bytes of " + std::to_string(bytes));
    if (from[lane] % uint64_t(bytes)) machine.fail(warp, lane, "source not aligned to " + std::to_string(bytes));
    if (read) machine.memory(warp, lane, Space::global, from[lane], 1, false);
    if (read) machine.memory(warp, lane, Space::global, from[lane] + read - 1, 1, false);
    std::memset(machine.memory(warp, lane, Space::shared, to[lane], size_t(bytes), true), 0xff, size_t(bytes));
    warp.copying[lane].push_back({uint32_t(to[lane]), from[lane], uint32_t(bytes), read});
  });
}

void finish(Machine& machine, Warp& warp, int lane, std::vector<Copy> const& copies) {
  for (Copy const& copy : copies) {
    uint8_t* const to = machine.memory(warp, lane, Space::shared, copy.to, copy.bytes, true);
    std::memset(to, 0, copy.bytes);
    std::memcpy(to, reinterpret_cast<void const*>(copy.from), copy.read);
  }
}

void commit_group(Machine&, Warp& warp, Instruction const&, uint32_t active) {
  each(active, [&](int lane) {
    warp.groups[lane].push_back(std::move(warp.copying[lane]));
    warp.copying[lane].clear();
  });
}

void wait_group(Machine& machine, Warp& warp, Instruction const& in, uint32_t active) {
  bool const all = in.has("wait_all");
  each(active, [&](int lane) {
    if (all) warp.groups[lane].push_back(std::move(warp.copying[lane])), warp.copying[lane].clear();
    size_t const pending = all ? 0 : size_t(warp.lanes(in.operand[0].slot)[lane]);
    while (warp.groups[lane].size() > pending) {
      finish(machine, warp, lane, warp.groups[lane].front());
      warp.groups[lane].pop_front();
    }
  });
}

// ---- warp operations
// ----------------------------------------------------------------------------------------------------------

/// detail: 0 up, 1 down, 2 bfly, 3 idx.
void shuffle(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  size_t const at = in.first[1] == 2 ? 2 : 1;  // d or d|p before
  uint64_t before[32];
  uint64_t *to = warp.lanes(in.operand[0].slot), *from = warp.lanes(in.operand[at].slot);
  std::copy_n(from, 32, before);
  each(active, [&](int lane) {
    int const b = int(warp.lanes(in.operand[at + 1].slot)[lane] & 31);
    int const c = int(warp.lanes(in.operand[at + 2].slot)[lane]);
    int const mask = c >> 8 & 31, clamp = c & 31;
    int const last = (lane & mask) | (clamp & ~mask & 31), first = lane & mask;
    int source = lane;
    bool inside = false;
    switch (in.detail) {
      case 0:
        source = lane - b, inside = source >= last;
        break;
      case 1:
        source = lane + b, inside = source <= last;
        break;
      case 2:
        source = lane ^ b, inside = source <= last;
        break;
      case 3:
        source = first | (b & ~mask & 31), inside = source <= last;
        break;
    }
    to[lane] = before[inside ? source : lane];
    if (at == 2) warp.lanes(in.operand[1].slot)[lane] = inside;
  });
}

/// detail: 0 all, 1 any, 2 uni, 3 ballot.
void vote(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  uint32_t ballot = 0;
  Operand const& p = in.operand[1];
  each(active, [&](int lane) {
    if (get<bool>(warp.lanes(p.slot)[lane]) != p.inverted) ballot |= 1u << lane;
  });
  uint64_t const results[] = {ballot == active, ballot != 0, ballot == 0 || ballot == active, ballot};
  each(active, [&](int lane) { warp.lanes(in.operand[0].slot)[lane] = results[in.detail]; });
}

template <class T, auto f>
void reduce(Machine&, Warp& warp, Instruction const& in, uint32_t active) {
  uint64_t const* const from = warp.lanes(in.operand[1].slot);
  T result = get<T>(from[std::countr_zero(active)]);
  for (uint32_t left = active & (active - 1); left; left &= left - 1)
    result = T(f(result, get<T>(from[std::countr_zero(left)])));
  each(active, [&](int lane) { warp.lanes(in.operand[0].slot)[lane] = bits_of(result); });
}

void nothing(Machine&, Warp&, Instruction const&, uint32_t) {}

void stop(Machine& machine, Warp& warp, Instruction const&, uint32_t active) {
  machine.fail(warp, std::countr_zero(active), "trap");
}

// ---- matrices
// -------------------------------------------------------------------------------------------------------------------

/// ldmatrix.sync.aligned.m8n8.xN{.trans}.shared.b16: lanes 8m … 8m + 7 hold the addresses of matrix m's rows; lane i
/// receives of row i / 4 the elements 2(i mod 4) and the next, of columns where .trans is given. detail: 1 for .trans.
void load_matrices(Machine& machine, Warp& warp, Instruction const& in, uint32_t active) {
  Operand const& place = in.operand.back();
  uint16_t elements[4][8][8];
  uint64_t address[32] = {};
  for (int lane = 0; lane < 8 * in.count; ++lane) {
    address[lane] = (warp.lanes(place.slot)[lane] + uint64_t(place.offset)) & 0xffffffffu;
    std::memcpy(elements[lane / 8][lane % 8], machine.memory(warp, lane, Space::shared, address[lane], 16, false), 16);
  }
  machine.note(Space::shared, address, in.count == 4 ? active : active & ((1u << 8 * in.count) - 1), 16);
  for (int m = 0; m < in.count; ++m)
    each(active, [&](int lane) {
      int const i = lane / 4, j = 2 * (lane % 4);
      uint32_t const low = in.detail ? elements[m][j][i] : elements[m][i][j];
      uint32_t const upper = in.detail ? elements[m][j + 1][i] : elements[m][i][j + 1];
      warp.lanes(in.operand[size_t(m)].slot)[lane] = upper << 16 | low;
    });
}

enum Element { f16, bf16, tf32 };

float element(Element type, uint32_t bits, int within) {
  if (type == tf32) return std::bit_cast<float>(bits & 0xffffe000u);
  if (type == bf16) return std::bit_cast<float>(within ? bits & 0xffff0000u : bits << 16);
  heed::float16 half;
  half.bits = uint16_t(bits >> 16 * within);
  return float(half);
}

/// mma.sync.aligned.m16n8k16 (f16, bf16) and m16n8k8 (tf32), A by rows, B by columns, sums in f32. The sums here are
/// made in f64 and rounded once: the hardware's order is not known, so a kernel must not lean on one.
template <Element type>
void multiply_matrices(Machine& machine, Warp& warp, Instruction const& in, uint32_t active) {
  constexpr int in_register = type == tf32 ? 1 : 2, depth = 8 * in_register;
  double a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    int const group = lane >> 2, thread = lane % 4;
    for (int i = 0; i < 4 * in_register; ++i) {
      int const pair = i / in_register;
      int const row = pair == 0 || pair == 2 ? group : group + 8;
      int const column = thread * in_register + i % in_register + (pair < 2 ? 0 : 4 * in_register);
      a[row][column] = element(type, uint32_t(warp.lanes(in.at(1, pair).slot)[lane]), i % in_register);
    }
    for (int i = 0; i < 2 * in_register; ++i) {
      int const pair = i / in_register;
      int const row = thread * in_register + i % in_register + (pair < 1 ? 0 : 4 * in_register);
      b[row][group] = element(type, uint32_t(warp.lanes(in.at(2, pair).slot)[lane]), i % in_register);
    }
  }
  uint64_t result[4][32];
  each(active, [&](int lane) {
    for (int i = 0; i < 4; ++i) {
      int const row = (lane >> 2) + (i < 2 ? 0 : 8), column = lane % 4 * 2 + (i & 1);
      double sum = get<float>(warp.lanes(in.at(3, i).slot)[lane]);
      for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
      result[i][lane] = bits_of(float(sum));
    }
  });
  for (int i = 0; i < 4; ++i) each(active, [&](int lane) { warp.lanes(in.at(0, i).slot)[lane] = result[i][lane]; });
  ++machine.counters.mma;
}

// ---- which instruction it is
// ----------------------------------------------------------------------------------------------------

bool only(Instruction const& in, std::vector<std::string> const& allowed) {
  for (size_t i = 1; i + 1 < in.part.size(); ++i)
    if (std::find(allowed.begin(), allowed.end(), in.part[i]) == allowed.end()) return false;
  return true;
}

Handler arithmetic(Instruction& in) {
  std::string const &name = in.part[0], &type = in.part.back();
  bool const real = type == "f32" || type == "f64";
  if (real) {
    if (name == "fma" || name == "mad") {
      if (!only(in, {"rn", "rz", "rm", "rp"})) return nullptr;
      if (in.has("rm")) return floats<fused_towards<FE_DOWNWARD>, 3>(type);
      if (in.has("rp")) return floats<fused_towards<FE_UPWARD>, 3>(type);
      if (in.has("rz")) return floats<fused_towards<FE_TOWARDZERO>, 3>(type);
      return floats<fused, 3>(type);
    }
    if ((name == "min" || name == "max") && only(in, {"NaN"})) {
      if (in.has("NaN")) return name == "min" ? floats<smaller_or_nan, 2>(type) : floats<larger_or_nan, 2>(type);
      return name == "min" ? floats<smaller_float, 2>(type) : floats<larger_float, 2>(type);
    }
    if (name == "div" && type == "f32" && only(in, {"rn", "full", "approx", "ftz"}))
      return in.has("ftz") ? apply<divided<true>, float, float, float> : apply<divided<false>, float, float, float>;
    if (name == "div" && only(in, {"rn"})) return floats<quotient_of_floats, 2>(type);
    if (only(in, {"rn", "approx", "ftz"})) {
      bool const f64 = type == "f64" && !in.has("approx");
      if (name == "rcp" && type == "f64" && !f64) return apply<reciprocal_near_f64, double, double>;
      if (name == "rsqrt" && type == "f64" && !f64) return apply<reciprocal_root_near_f64, double, double>;
      if (name == "ex2") return near_f32<exp2_near<false>, exp2_near<true>>(in);
      if (name == "lg2") return near_f32<log2_near<false>, log2_near<true>>(in);
      if (name == "rcp")
        return f64 ? apply<reciprocal_f64, double, double> : near_f32<reciprocal<false>, reciprocal<true>>(in);
      if (name == "sqrt") return f64 ? apply<root_f64, double, double> : near_f32<root<false>, root<true>>(in);
      if (name == "rsqrt")
        return f64 ? apply<reciprocal_root_f64, double, double>
                   : near_f32<reciprocal_root<false>, reciprocal_root<true>>(in);
      if (name == "sin") return near_f32<sine, sine>(in);
      if (name == "cos") return near_f32<cosine, cosine>(in);
      if (name == "tanh") return near_f32<tangent_h, tangent_h>(in);
    }
    for (auto const& [towards, plus, times] :
         {std::tuple{"rz", floats<add_towards<FE_TOWARDZERO>, 2>(type),
                     floats<multiply_towards<FE_TOWARDZERO>, 2>(type)},
          std::tuple{"rm", floats<add_towards<FE_DOWNWARD>, 2>(type), floats<multiply_towards<FE_DOWNWARD>, 2>(type)},
          std::tuple{"rp", floats<add_towards<FE_UPWARD>, 2>(type), floats<multiply_towards<FE_UPWARD>, 2>(type)}})
      if (in.part.size() == 3 && in.part[1] == towards) return name == "add" ? plus : name == "mul" ? times : nullptr;
    if (!only(in, {"rn"})) return nullptr;
    if (name == "add") return floats<add, 2>(type);
    if (name == "sub") return floats<subtract, 2>(type);
    if (name == "mul") return floats<multiply, 2>(type);
    if (name == "neg") return floats<negate_float, 1>(type);
    if (name == "abs") return floats<absolute_float, 1>(type);
    if (name == "copysign") return floats<with_sign_of, 2>(type);
    if (name != "selp" && name != "mov") return nullptr;
  }
  if (name == "mul" && in.has("wide")) return wide<wide_multiply>(type);
  if (name == "mad" && in.has("wide")) return wide<wide_multiply_add>(type);
  if (name == "mul" && in.has("hi"))
    return type[0] == 's' ? integers<high, 2>(type) : unsigned_of<high_unsigned, 2>(type);
  if (!only(in, {"lo", "wrap", "clamp", "l", "r", "b32"})) return nullptr;
  if (name == "add") return unsigned_of<add, 2>(type);
  if (name == "sub") return unsigned_of<subtract, 2>(type);
  if (name == "mul") return unsigned_of<product, 2>(type);
  if (name == "mad") return unsigned_of<multiply_add, 3>(type);
  if (name == "neg") return unsigned_of<negate, 1>(type);
  if (name == "abs") return integers<absolute, 1>(type);
  if (name == "min") return integers<smaller, 2>(type);
  if (name == "max") return integers<larger, 2>(type);
  if (name == "div") return integers<quotient, 2>(type);
  if (name == "rem") return integers<remainder, 2>(type);
  if (name == "and") return unsigned_of<both, 2>(type);
  if (name == "or") return unsigned_of<either, 2>(type);
  if (name == "xor") return unsigned_of<differ, 2>(type);
  if (name == "not") return unsigned_of<complement, 1>(type);
  if (name == "mov") return unsigned_of<same_value, 1>(type);
  if (name == "selp") {
    int const bytes = width_of(type);
    return bytes == 2   ? apply<select, uint16_t, uint16_t, uint16_t, bool>
           : bytes == 4 ? apply<select, uint32_t, uint32_t, uint32_t, bool>
                        : apply<select, uint64_t, uint64_t, uint64_t, bool>;
  }
  if (name == "shl") {
    int const bytes = width_of(type);
    return bytes == 2   ? apply<shift_left, uint16_t, uint16_t, uint32_t>
           : bytes == 4 ? apply<shift_left, uint32_t, uint32_t, uint32_t>
                        : apply<shift_left, uint64_t, uint64_t, uint32_t>;
  }
  if (name == "shr") {
    if (type == "s16") return apply<shift_right, int16_t, int16_t, uint32_t>;
    if (type == "s32") return apply<shift_right, int32_t, int32_t, uint32_t>;
    if (type == "s64") return apply<shift_right, int64_t, int64_t, uint32_t>;
    int const bytes = width_of(type);
    return bytes == 2   ? apply<shift_right, uint16_t, uint16_t, uint32_t>
           : bytes == 4 ? apply<shift_right, uint32_t, uint32_t, uint32_t>
                        : apply<shift_right, uint64_t, uint64_t, uint32_t>;
  }
  if (name == "shf" && in.has("l"))
    return in.has("wrap") ? apply<funnel_left, uint32_t, uint32_t, uint32_t, uint32_t>
                          : apply<funnel_left_clamp, uint32_t, uint32_t, uint32_t, uint32_t>;
  if (name == "shf" && in.has("r"))
    return in.has("wrap") ? apply<funnel_right, uint32_t, uint32_t, uint32_t, uint32_t>
                          : apply<funnel_right_clamp, uint32_t, uint32_t, uint32_t, uint32_t>;
  if (name == "popc") return type == "b32" ? apply<bits_set, uint32_t, uint32_t> : apply<bits_set, uint32_t, uint64_t>;
  if (name == "clz")
    return type == "b32" ? apply<leading_zeros, uint32_t, uint32_t> : apply<leading_zeros, uint32_t, uint64_t>;
  if (name == "brev") return unsigned_of<reverse, 1>(type);
  if (name == "bfe") {
    if (type == "u32") return apply<extract, uint32_t, uint32_t, uint32_t, uint32_t>;
    if (type == "s32") return apply<extract, int32_t, int32_t, uint32_t, uint32_t>;
    if (type == "u64") return apply<extract, uint64_t, uint64_t, uint32_t, uint32_t>;
    if (type == "s64") return apply<extract, int64_t, int64_t, uint32_t, uint32_t>;
  }
  if (name == "bfi")
    return type == "b32" ? apply<insert, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>
                         : apply<insert, uint64_t, uint64_t, uint64_t, uint32_t, uint32_t>;
  if (name == "prmt" && in.part.size() == 2) return apply<permute, uint32_t, uint32_t, uint32_t, uint32_t>;
  if (name == "lop3" && in.part.size() == 2) return apply<logic, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>;
  return nullptr;
}

Handler handler(Instruction& in) {
  std::string const& name = in.part[0];
  std::string const type = in.part.back();
  std::string const second = in.part.size() > 1 ? in.part[1] : "";
  auto const last_is_mask = [&] { in.members = in.operand.back().slot, in.control = Control::together; };

  if (name == "bra") return in.control = Control::branch, nothing;
  if (name == "ret" || name == "exit") return in.control = Control::exit, nothing;
  if (name == "trap") return stop;
  if (name == "membar" || name == "fence") return nothing;
  if (name == "bar" || name == "barrier") {
    if (second == "warp") return last_is_mask(), nothing;
    bool const whole = in.has("sync") && in.operand.size() == 1;
    return whole ? (in.control = Control::barrier, nothing) : nullptr;
  }
  if (name == "mov" && in.operand.size() > 2) return in.bytes = width_of(type), move_parts;
  if (name == "ld") return memory_parts(in) ? access_of<false>(in) : nullptr;
  if (name == "st") return memory_parts(in) ? access_of<true>(in) : nullptr;
  if (name == "atom" || name == "red") return atomic_operation(in);
  if (name == "cvta") {
    bool const generic = second != "to";
    if (in.has("shared"))
      return generic ? change_space<Machine::shared_window, true> : change_space<Machine::shared_window, false>;
    if (in.has("local"))
      return generic ? change_space<Machine::local_window, true> : change_space<Machine::local_window, false>;
    return in.has("global") || in.has("const") ? change_space<0, true> : nullptr;
  }
  if (name == "cvt") return conversion(in);
  if (name == "setp") return comparison(in);
  if (name == "cp" && second == "async") {
    if (in.has("commit_group")) return commit_group;
    if (in.has("wait_group") || in.has("wait_all")) return wait_group;
    return type == "global" || in.part[in.part.size() - 2] == "global" ? copy_async : nullptr;
  }
  if (name == "shfl" && second == "sync") {
    std::vector<std::string> const modes = {"up", "down", "bfly", "idx"};
    in.detail = int(std::find(modes.begin(), modes.end(), in.part[2]) - modes.begin());
    return last_is_mask(), shuffle;
  }
  if (name == "vote" && second == "sync") {
    std::vector<std::string> const modes = {"all", "any", "uni", "ballot"};
    in.detail = int(std::find(modes.begin(), modes.end(), in.part[2]) - modes.begin());
    return last_is_mask(), vote;
  }
  if (name == "redux" && second == "sync") {
    last_is_mask();
    bool const sign = type == "s32";
    if (in.has("add")) return reduce<uint32_t, add>;
    if (in.has("min")) return sign ? reduce<int32_t, smaller> : reduce<uint32_t, smaller>;
    if (in.has("max")) return sign ? reduce<int32_t, larger> : reduce<uint32_t, larger>;
    if (in.has("and")) return reduce<uint32_t, both>;
    if (in.has("or")) return reduce<uint32_t, either>;
    if (in.has("xor")) return reduce<uint32_t, differ>;
  }
  if (name == "ldmatrix") {
    in.control = Control::together;
    in.count = int(in.operand.size()) - 1;
    in.detail = in.has("trans");
    return in.has("m8n8") && type == "b16" ? load_matrices : nullptr;
  }
  if (name == "mma") {
    in.control = Control::together;
    std::string kind;
    for (size_t i = 1; i < in.part.size(); ++i) kind += (i > 1 ? "." : "") + in.part[i];
    if (kind == "sync.aligned.m16n8k16.row.col.f32.f16.f16.f32") return multiply_matrices<f16>;
    if (kind == "sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32") return multiply_matrices<bf16>;
    if (kind == "sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32") return multiply_matrices<tf32>;
    return nullptr;
  }
  return arithmetic(in);
}

}  // namespace

void understand(Instruction& instruction) {
  instruction.run = handler(instruction);
  if (!instruction.run)
    throw Error("PTX line " + std::to_string(instruction.line) + ": no such instruction here: " + instruction.text);
}

}  // namespace ptx
