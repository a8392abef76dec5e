// What happens to one tile of the attention core besides its products. Tiles are stored transposed, [key][query] with
// queries in lanes, so that maxima, sums and per-row statistics are vertical: no reduction inside a register.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/workspace.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// exp(x) for x <= 0 (and a little above), exactly 0 below −127·ln 2 (−1023·ln 2 in double), NaN for NaN.
/// 2ⁿ·e^r with n = round(x/ln 2), |r| <= ln 2 / 2; the float polynomial is minimax, 0.9 ulp in all; the double is
/// Taylor's.
template <class T>
[[gnu::always_inline]] inline Vec<T> exp_nonpositive(Vec<T> x) {
  using V = Batch<T>;
  if constexpr (sizeof(T) == 4) {
    x = max(Vec<T>(V(-88.03f)), x);
    V const magic(12582912.f);  // 1.5·2²³: adding it leaves round(x) in the low bits
    Vec<T> const shifted = fma(x, Vec<T>(V(1.44269504f)), Vec<T>(magic));
    Vec<T> const n = shifted - Vec<T>(magic);
    Vec<T> r = fma(n, Vec<T>(V(-0.693145752f)), x);
    r = fma(n, Vec<T>(V(-1.42860677e-6f)), r);
    Vec<T> p = fma(Vec<T>(V(0.00138145964f)), r, Vec<T>(V(0.00836871709f)));
    p = fma(p, r, Vec<T>(V(0.0416683881f)));
    p = fma(p, r, Vec<T>(V(0.166665206f)));
    p = fma(p, r, Vec<T>(V(0.499999934f)));
    p = fma(p, r, Vec<T>(V(1.f)));
    p = fma(p, r, Vec<T>(V(1.f)));
    using I = Batch<int32_t>;
    I const exponent = xsimd::bitwise_cast<I>(shifted.v) + I(127);
    return p * Vec<T>(xsimd::bitwise_cast<V>(exponent << 23));
  } else {
    x = max(Vec<T>(V(-708.75)), x);
    V const magic(6755399441055744.);  // 1.5·2⁵²
    Vec<T> const shifted = fma(x, Vec<T>(V(1.4426950408889634)), Vec<T>(magic));
    Vec<T> const n = shifted - Vec<T>(magic);
    Vec<T> r = fma(n, Vec<T>(V(-0.69314718036912382)), x);
    r = fma(n, Vec<T>(V(-1.9082149292705877e-10)), r);
    constexpr double inverse_factorial[] = {
        1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800, 1. / 362880, 1. / 40320, 1. / 5040,
        1. / 720,        1. / 120,       1. / 24,       1. / 6,       1. / 2,      1.,         1.};
    Vec<T> p = V(inverse_factorial[0]);
#pragma GCC unroll 16
    for (int i = 1; i < 14; ++i) p = fma(p, r, Vec<T>(V(inverse_factorial[i])));
    using I = Batch<int64_t>;
    I const exponent = xsimd::bitwise_cast<I>(shifted.v) + I(1023);
    return p * Vec<T>(xsimd::bitwise_cast<V>(exponent << 52));
  }
}

inline int64_t attend_min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t attend_max(int64_t a, int64_t b) { return a > b ? a : b; }

enum class Cover { empty, partial, full };

/// Which keys a query sees. Queries i and keys j are positions of this call; low(i)…high(i) is the window, inclusive.
struct Visibility {
  int64_t tk, shift_low, shift_high;
  uint8_t const* mask;  // of this (b, h)
  int64_t mask_row, mask_col;

  int64_t low(int64_t i) const { return i + shift_low; }
  int64_t high(int64_t i) const { return i + shift_high; }
  bool sees(int64_t i, int64_t j) const {
    return j >= low(i) && j <= high(i) && (!mask || mask[i * mask_row + j * mask_col]);
  }

  /// Bit c: mask[i][j + c], c < count <= 32. The bytes are 0 or 1.
  uint32_t bits(int64_t i, int64_t j, int count) const {
    uint8_t const* const row = mask + i * mask_row + j * mask_col;
    uint32_t all = 0;
    int c = 0;
    if (mask_col == 1)
      for (; c + 8 <= count; c += 8) {
        uint64_t bytes;
        __builtin_memcpy(&bytes, row + c, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        all |= uint32_t((bytes * 0x0102040810204080) >> 56) << c;  // byte b, at bit 8b, meets 2^(56 − 7b)
#else
        all |= uint32_t((bytes * 0x8040201008040201) >> 56) << c;
#endif
      }
    for (; c < count; ++c) all |= uint32_t(row[c * mask_col] != 0) << c;
    return all;
  }

  /// Of queries [i, i + queries) and keys [j, j + keys).
  Cover cover(int64_t i, int64_t queries, int64_t j, int64_t keys) const {
    int64_t const i_last = i + queries - 1, j_last = j + keys - 1;
    if (j_last < low(i) || j > high(i_last)) return Cover::empty;
    bool const full = j >= low(i_last) && j_last <= high(i);
    if (!mask) return full ? Cover::full : Cover::partial;
    int64_t const rows = mask_row ? queries : 1, columns = mask_col ? keys : 1;
    bool any = false, all = full;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; c += 32) {
        int const count = int(attend_min(32, columns - c));
        uint32_t const word = bits(i + r, j + c, count);
        any |= word != 0;
        all &= word == (~uint32_t{0} >> (32 - count));
        if (any && !all) return Cover::partial;
      }
    return any ? Cover::full : Cover::empty;
  }
};

/// Queries [r, r + queries), in whole registers of `lanes`, and keys [c, c + keys) of a tile.
struct Piece {
  int64_t r, queries, lanes, c, keys;
};

/// f(piece) for pieces that hold all that queries [i, i + queries) see of keys [j, j + keys): the whole tile, or where
/// a window cuts through it, strips of two registers of queries and the keys between the first and the last they see.
template <class T, class F>
[[gnu::always_inline]] inline void pieces(Visibility const& see, bool cut, int64_t i, int64_t queries, int64_t j,
                                          int64_t keys, F const& f) {
  constexpr int64_t width = Vec<T>::width;
  int64_t const strip = cut ? 2 * width : queries;
  for (int64_t r = 0; r < queries; r += strip) {
    int64_t const here = attend_min(strip, queries - r);
    int64_t first = 0, last = keys;
    if (cut) {
      first = attend_max(see.low(i + r) - j, 0) / 8 * 8;  // whole dropout counters
      last = attend_min(see.high(i + r + here - 1) - j + 1, keys);
    }
    if (first < last) f(Piece{r, here, round_up(here, width), first, last - first});
  }
}

/// Writes `with`, −∞, over what a partial tile must not see: after the scores, so that a NaN of a masked key goes too.
template <class T>
[[gnu::noinline]] void hide(Visibility const& see, T* s, int64_t ld, int64_t i, int64_t queries, int64_t j,
                            int64_t keys, T with = T(-__builtin_huge_valf())) {
  constexpr int width = Vec<T>::width;
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  int64_t const lanes = round_up(queries, width);
  Vec<T> const nothing = Batch<T>(with);
  alignas(64) T first_lanes[width];
  for (int l = 0; l < width; ++l) first_lanes[l] = T(l);
  Vec<T> const iota = Vec<T>::load(first_lanes);
  for (int64_t c = 0; c < keys; ++c) {
    // Key j+c is seen by the queries from j + c − shift_high to j + c − shift_low.
    int64_t const first = attend_max(j + c - see.shift_high - i, 0);
    int64_t const last = attend_min(j + c - see.shift_low - i, queries);
    bool const unseen = see.mask && see.mask_row == 0 && !see.mask[(j + c) * see.mask_col];
    if (first == 0 && last >= queries - 1 && !unseen) continue;
    Vec<T> const low = Batch<T>(unseen ? T(lanes) : T(first)), high = Batch<T>(T(last));
    for (int64_t r = 0; r < lanes; r += width) {
      Vec<T> const query = iota + Vec<T>(Batch<T>(T(r)));
      T* const at = s + c * ld + r;
      select((query >= low) & (query <= high), Vec<T>::load(at), nothing).store(at);
    }
  }
  if (!see.mask || see.mask_row == 0) return;
  alignas(64) Bits words[Tiles::most_queries];
  for (int64_t c = 0; c < keys; c += 32) {
    int const count = int(attend_min(32, keys - c));
    for (int64_t r = 0; r < lanes; ++r) words[r] = r < queries ? Bits(see.bits(i + r, j + c, count)) : Bits(0);
    for (int64_t r = 0; r < lanes; r += width) {
      auto const word = Batch<Bits>::load_aligned(words + r);
      for (int x = 0; x < count; ++x) {
        T* const at = s + (c + x) * ld + r;
        auto const seen = xsimd::bitwise_cast<Batch<T>>(Batch<Bits>(Bits(0)) - ((word >> x) & Batch<Bits>(Bits(1))));
        Vec<T>((Vec<T>::load(at).v & seen) | (nothing.v & ~seen)).store(at);
      }
    }
  }
}

/// to[c][r] = scale·from[r][c] for r < rows, 0 for rows <= r < padded.
template <class T>
void pack_transposed(T const* from, int64_t row, int64_t rows, int64_t columns, T scale, T* to, int64_t ld,
                     int64_t padded) {
  int64_t r = 0;
  if constexpr (sizeof(T) == 4) {
    typedef float Four __attribute__((vector_size(16)));
    typedef int Index __attribute__((vector_size(16)));
    struct [[gnu::packed, gnu::may_alias]] Loose {
      Four v;
    };
    for (; r + 4 <= rows; r += 4) {
      int64_t c = 0;
      for (; c + 4 <= columns; c += 4) {
        float const* const f = from + r * row + c;
        Four const a = reinterpret_cast<Loose const*>(f)->v * scale;
        Four const b = reinterpret_cast<Loose const*>(f + row)->v * scale;
        Four const x = reinterpret_cast<Loose const*>(f + 2 * row)->v * scale;
        Four const y = reinterpret_cast<Loose const*>(f + 3 * row)->v * scale;
        Four const ab = __builtin_shuffle(a, b, Index{0, 4, 1, 5}), ba = __builtin_shuffle(a, b, Index{2, 6, 3, 7});
        Four const xy = __builtin_shuffle(x, y, Index{0, 4, 1, 5}), yx = __builtin_shuffle(x, y, Index{2, 6, 3, 7});
        float* const t = to + c * ld + r;
        reinterpret_cast<Loose*>(t)->v = __builtin_shuffle(ab, xy, Index{0, 1, 4, 5});
        reinterpret_cast<Loose*>(t + ld)->v = __builtin_shuffle(ab, xy, Index{2, 3, 6, 7});
        reinterpret_cast<Loose*>(t + 2 * ld)->v = __builtin_shuffle(ba, yx, Index{0, 1, 4, 5});
        reinterpret_cast<Loose*>(t + 3 * ld)->v = __builtin_shuffle(ba, yx, Index{2, 3, 6, 7});
      }
      for (; c < columns; ++c)
        for (int k = 0; k < 4; ++k) to[c * ld + r + k] = scale * from[(r + k) * row + c];
    }
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[c * ld + r] = scale * from[r * row + c];
  for (int64_t c = 0; c < columns && r < padded; ++c)
    for (int64_t k = r; k < padded; ++k) to[c * ld + k] = 0;
}

/// Whether all is finite: 0·x is NaN where x is not.
template <class T>
bool all_finite(T const* from, int64_t row, int64_t rows, int64_t columns) {
  constexpr int width = Vec<T>::width;
  Vec<T> const zero = Batch<T>(T(0));
  Mask<Batch<T>> bad = zero != zero;
  bool bad_tail = false;
  for (int64_t r = 0; r < rows; ++r) {
    T const* const f = from + r * row;
    int64_t c = 0;
    for (; c + width <= columns; c += width) bad = bad | (Vec<T>::load(f + c) * zero != zero);
    for (; c < columns; ++c) bad_tail |= f[c] * 0 != 0;
  }
  return !xsimd::any(bad.b) && !bad_tail;
}

/// to[r][c] = scale·from[r][c] with zeros in columns <= c < padded.
template <class T>
void pack_rows(T const* from, int64_t row, int64_t rows, int64_t columns, T scale, T* to, int64_t padded) {
  constexpr int width = Vec<T>::width;
  Vec<T> const factor = Batch<T>(scale);
  for (int64_t r = 0; r < rows; ++r) {
    T const* const f = from + r * row;
    T* const t = to + r * padded;
    int64_t c = 0;
    for (; c + width <= columns; c += width) (Vec<T>::load(f + c) * factor).store(t + c);
    if (c < columns) (Vec<T>::load_first(f + c, int(columns - c)) * factor).store(t + c);
  }
}

/// to[0 … columns) = scale·from, from padded to whole registers.
template <class T>
void write_row(T const* from, T scale, T* to, int64_t columns) {
  constexpr int width = Vec<T>::width;
  Vec<T> const factor = Batch<T>(scale);
  int64_t c = 0;
  for (; c + width <= columns; c += width) (Vec<T>::load(from + c) * factor).store(to + c);
  if (c < columns) (Vec<T>::load(from + c) * factor).store_first(to + c, int(columns - c));
}

/// Online softmax of one tile: s becomes exp(s − m), m and l are updated, alpha = exp(m before − m after) is what
/// earlier sums are multiplied by. Whether some alpha differs from 1.
template <class T>
bool softmax_tile(T* s, int64_t ld, int64_t queries, int64_t keys, T* m, T* l, T* alpha) {
  constexpr int width = Vec<T>::width;
  Vec<T> const nothing = Batch<T>(T(-__builtin_huge_valf())), zero = Batch<T>(T(0));
  bool rose = false;
  for (int64_t r = 0; r < queries; r += width) {
    Vec<T> const before = Vec<T>::load(m + r);
    Vec<T> top = before;
    for (int64_t c = 0; c < keys; ++c) top = max(top, Vec<T>::load(s + c * ld + r));
    Vec<T> const safe = select(top == nothing, zero, top);
    Vec<T> const factor = exp_nonpositive<T>(before - safe);
    Vec<T> sum = zero;
    for (int64_t c = 0; c < keys; ++c) {
      Vec<T> const p = exp_nonpositive<T>(Vec<T>::load(s + c * ld + r) - safe);
      p.store(s + c * ld + r);
      sum += p;
    }
    fma(Vec<T>::load(l + r), factor, sum).store(l + r);
    top.store(m + r);
    factor.store(alpha + r);
    rose |= xsimd::any((top != before).b);
  }
  return rose;
}

/// Backward: s becomes p = exp(s − lse).
template <class T>
void weights_tile(T* s, int64_t ld, int64_t queries, int64_t keys, T const* lse) {
  for (int64_t r = 0; r < queries; r += Vec<T>::width) {
    Vec<T> const norm = Vec<T>::load(lse + r);
    for (int64_t c = 0; c < keys; ++c) exp_nonpositive<T>(Vec<T>::load(s + c * ld + r) - norm).store(s + c * ld + r);
  }
}

/// dp becomes dS = p∘(dp − delta), 0 where p is (Partial: there dp may hold the value of a masked key). With a dropout
/// multiplier: dS = p∘(multiplier∘dp − delta), and multiplier becomes multiplier∘p.
template <class T, bool Partial>
void score_gradient_tile(T const* p, T* dp, T* multiplier, int64_t ld, int64_t queries, int64_t keys, T const* delta) {
  Vec<T> const zero = Batch<T>(T(0));
  for (int64_t r = 0; r < queries; r += Vec<T>::width) {
    Vec<T> const correction = Vec<T>::load(delta + r);
    for (int64_t c = 0; c < keys; ++c) {
      Vec<T> const weight = Vec<T>::load(p + c * ld + r);
      Vec<T> gradient = Vec<T>::load(dp + c * ld + r);
      if (multiplier) {
        Vec<T> const factor = Vec<T>::load(multiplier + c * ld + r);
        gradient = gradient * factor;
        (weight * factor).store(multiplier + c * ld + r);
      }
      gradient = weight * (gradient - correction);
      if constexpr (Partial) gradient = select(weight == zero, zero, gradient);
      gradient.store(dp + c * ld + r);
    }
  }
}

/// Weights that are no softmax: dp becomes multiplier∘dp, and multiplier becomes multiplier∘w.
template <class T>
void direct_gradient_tile(T const* w, T* dp, T* multiplier, int64_t ld, int64_t queries, int64_t keys) {
  if (!multiplier) return;
  for (int64_t c = 0; c < keys; ++c)
    for (int64_t r = c * ld; r < c * ld + queries; r += Vec<T>::width) {
      Vec<T> const factor = Vec<T>::load(multiplier + r);
      (Vec<T>::load(dp + r) * factor).store(dp + r);
      (Vec<T>::load(w + r) * factor).store(multiplier + r);
    }
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
