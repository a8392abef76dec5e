// Dropout of a tile: attend_keeps (attend.h) for queries in lanes, by the level's 32×32→64-bit multiplication.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/ops/attend.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

#if defined(__AVX512F__)
inline constexpr int wide_bytes = 64;
#elif defined(__AVX2__)
inline constexpr int wide_bytes = 32;
#else
inline constexpr int wide_bytes = 16;
#endif
typedef uint64_t Wide
    __attribute__((vector_size(wide_bytes)));  // a 32-bit word per 64-bit lane; what is above is ignored
typedef int32_t Narrow __attribute__((vector_size(wide_bytes)));
inline constexpr int wide_lanes = wide_bytes / 8, narrow_lanes = wide_bytes / 4;

/// Lane by lane, the product of the low halves.
[[gnu::always_inline]] inline Wide multiply_words(Wide a, Wide b) {
#if defined(__AVX512F__)
  return Wide(_mm512_mul_epu32(__m512i(a), __m512i(b)));
#elif defined(__AVX2__)
  return Wide(_mm256_mul_epu32(__m256i(a), __m256i(b)));
#elif defined(__SSE2__)
  return Wide(_mm_mul_epu32(__m128i(a), __m128i(b)));
#else
  return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#endif
}

struct WideWords {
  Wide w0, w1, w2, w3;
};

/// Philox4x32-10, the same key in every lane.
[[gnu::always_inline]] inline WideWords philox_wide(WideWords x, std::array<uint32_t, 2> key) {
  Wide const m0 = Wide{} + 0xD2511F53, m1 = Wide{} + 0xCD9E8D57;
  uint32_t k0 = key[0], k1 = key[1];
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
    Wide const low = multiply_words(x.w0, m0), high = multiply_words(x.w2, m1);
    x = {(high >> 32) ^ x.w1 ^ k0, high, (low >> 32) ^ x.w3 ^ k1, low};
  }
  return x;
}

/// Multiplier of every weight of a tile: 0 or `kept`. Fills whole groups of 8 keys and 16 queries: `ld` and the tile's
/// room are multiples of them, j of 8.
template <class T>
[[gnu::noinline]] void dropout_tile(T* to, int64_t ld, int64_t i, int64_t queries, int64_t j, int64_t keys,
                                    std::array<uint32_t, 2> key, uint32_t threshold, T kept) {
  Wide even{}, odd{};  // the even and the odd queries of a group, so that joining their words restores the order
  for (int l = 0; l < wide_lanes; ++l) even[l] = uint64_t(2 * l), odd[l] = uint64_t(2 * l + 1);
  Narrow const bound = Narrow{} + int32_t(threshold);
  for (int64_t c = 0; c < keys; c += 8) {
    uint64_t const group = uint64_t(j + c) >> 3;
    for (int64_t r = 0; r < queries; r += narrow_lanes) {
      auto const words_of = [&](Wide lane) {
        Wide const query = lane + uint64_t(i + r);
        return philox_wide({query, query >> 32, Wide{} + group, Wide{} + (group >> 32)}, key);
      };
      WideWords const a = words_of(even), b = words_of(odd);
      auto const write = [&](Wide x, Wide y, T* at) {
        Narrow const word = Narrow((x & 0xFFFFFFFF) | (y << 32));
        Narrow const low = (word & 0xFFFF) >= bound, high = ((word >> 16) & 0xFFFF) >= bound;
        if constexpr (sizeof(T) == 4) {
          Narrow const value = Narrow{} + __builtin_bit_cast(int32_t, kept);
          Narrow const first = low & value, second = high & value;
          __builtin_memcpy(at, &first, wide_bytes);
          __builtin_memcpy(at + ld, &second, wide_bytes);
        } else {
          for (int l = 0; l < narrow_lanes; ++l) at[l] = low[l] ? kept : T(0), at[ld + l] = high[l] ? kept : T(0);
        }
      };
      T* const t = to + c * ld + r;
      write(a.w0, b.w0, t), write(a.w1, b.w1, t + 2 * ld), write(a.w2, b.w2, t + 4 * ld), write(a.w3, b.w3, t + 6 * ld);
    }
  }
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
