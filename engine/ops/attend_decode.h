// Attention of few queries: lanes hold features instead of queries, K and V are read once, in place, for all heads of a
// group.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/ops/attend_tile.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

inline constexpr int64_t decode_keys = 64;  // scores held at a time

/// s[r][c] = q[r]·k[c] for R rows of q, padded with zeros to whole registers.
template <class T, int R>
void decode_scores(T const* q, int64_t q_row, T const* k, int64_t k_row, int64_t d, int64_t keys, T* s) {
  constexpr int width = Vec<T>::width, C = R > 2 ? 2 : 4;
  auto const dot = [&]<int N>(std::integral_constant<int, N>, int64_t c) {
    Vec<T> sum[R][N];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = Batch<T>(T(0));
    auto const add = [&](int64_t x, auto load) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        Vec<T> const key = load(k + (c + n) * k_row + x);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sum[r][n] = fma(Vec<T>::load(q + r * q_row + x), key, sum[r][n]);
      }
    };
    int64_t x = 0;
    for (; x + width <= d; x += width) add(x, [](T const* from) { return Vec<T>::load(from); });
    if (x < d) add(x, [&](T const* from) { return Vec<T>::load_first(from, int(d - x)); });
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) s[r * decode_keys + c + n] = reduce_add(sum[r][n]);
  };
  int64_t c = 0;
  for (; c + C <= keys; c += C) dot(std::integral_constant<int, C>{}, c);
  for (; c < keys; ++c) dot(std::integral_constant<int, 1>{}, c);
}

/// o[r] += Σ_c p[r][c]·v[c]
template <class T, int R>
void decode_values(T const* p, T const* v, int64_t v_row, int64_t dv, int64_t keys, T* o, int64_t o_row) {
  constexpr int width = Vec<T>::width;
  auto const columns = [&]<int N>(std::integral_constant<int, N>, int64_t x, auto load) {
    Vec<T> sum[R][N];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = Vec<T>::load(o + r * o_row + x + n * width);
    for (int64_t c = 0; c < keys; ++c)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        Vec<T> const value = load(v + c * v_row + x + n * width);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) sum[r][n] = fma(Vec<T>(Batch<T>(p[r * decode_keys + c])), value, sum[r][n]);
      }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n].store(o + r * o_row + x + n * width);
  };
  auto const whole = [](T const* from) { return Vec<T>::load(from); };
  constexpr int most = R > 2 ? 2 : 4;
  int64_t x = 0;
  for (; x + most * width <= dv; x += most * width) columns(std::integral_constant<int, most>{}, x, whole);
  for (; x + width <= dv; x += width) columns(std::integral_constant<int, 1>{}, x, whole);
  if (x < dv)
    columns(std::integral_constant<int, 1>{}, x, [&](T const* from) { return Vec<T>::load_first(from, int(dv - x)); });
}

/// Online softmax over one row of scores: s becomes exp(s − m); returns what earlier sums are multiplied by.
template <class T>
T decode_softmax(T* s, int64_t keys, T& m, T& l) {
  constexpr int width = Vec<T>::width;
  T const nothing = -__builtin_huge_valf();
  for (int64_t c = keys; c < round_up(keys, width); ++c) s[c] = nothing;
  Vec<T> top = Batch<T>(m);
  for (int64_t c = 0; c < keys; c += width) top = max(top, Vec<T>::load(s + c));
  T const after = reduce_max(top);
  Vec<T> const safe = Batch<T>(after == nothing ? T(0) : after);
  Vec<T> sum = Batch<T>(T(0));
  for (int64_t c = 0; c < keys; c += width) {
    Vec<T> const p = exp_nonpositive<T>(Vec<T>::load(s + c) - safe);
    p.store(s + c);
    sum += p;
  }
  alignas(64) T factor[width];
  exp_nonpositive<T>(Vec<T>(Batch<T>(m)) - safe).store(factor);
  l = l * factor[0] + reduce_add(sum);
  m = after;
  return factor[0];
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
