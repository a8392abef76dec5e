// 16-bit storage types. Nothing is computed in them: they convert to f32, and f32 rounds to them, halves to even.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace heed {

/// IEEE 754 binary16: 5 bits of exponent, 10 of fraction; infinite from 65520 on.
struct float16 {
  uint16_t bits = 0;

  float16() = default;
  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr explicit float16(T value) : bits(rounded(float(value))) {}
  constexpr operator float() const {
    uint32_t const sign = uint32_t(bits & 0x8000) << 16, rest = bits & 0x7fff;
    // The exponent's bias grows by 112: a product, so that subnormals come out right.
    float const magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
    uint32_t const special = rest >= 0x7c00 ? 0x7f800000u : 0u;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special | sign);
  }

 private:
  static constexpr uint16_t rounded(float value) {
    uint32_t const all = std::bit_cast<uint32_t>(value), sign = all >> 16 & 0x8000, rest = all & 0x7fffffff;
    // Below 2^-14 the last bit is worth 2^-24, that of a float between ½ and 1: the sum rounds.
    uint32_t const subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000;
    uint32_t const normal = (rest - (112u << 23) + 0xfff + (rest >> 13 & 1)) >> 13;
    uint32_t const special = rest > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t const magnitude = rest >= 0x477ff000 ? special : rest < 0x38800000 ? subnormal : normal;
    return uint16_t(sign | magnitude);
  }
};

/// The upper half of an f32: 8 bits of exponent, 7 of fraction.
struct bfloat16 {
  uint16_t bits = 0;

  bfloat16() = default;
  template <class T>
  requires std::is_arithmetic_v<T>
  constexpr explicit bfloat16(T value) : bits(rounded(float(value))) {}
  constexpr operator float() const { return std::bit_cast<float>(uint32_t(bits) << 16); }

 private:
  static constexpr uint16_t rounded(float value) {
    uint32_t const all = std::bit_cast<uint32_t>(value);
    bool const nan = (all & 0x7fffffff) > 0x7f800000;
    return uint16_t(nan ? (all >> 16 | 0x40) : (all + 0x7fff + (all >> 16 & 1)) >> 16);
  }
};

}  // namespace heed
