// scan() step by step, and what that shares with chunks. For scan.simd.cpp only.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/ops/scan.h>
#include <heed/engine/ops/workspace.h>

#include <limits>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace scans {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/// A factor too small for a normal number is 0: some processors are slow with others.
template <class T>
[[gnu::always_inline]] inline Vec<T> flushed(Vec<T> factor) {
  return select(factor < Vec<T>(std::numeric_limits<T>::min()), Vec<T>(0), factor);
}

/// f(j) for every register j of a row of n elements, n a multiple of the width.
template <class T, class F>
[[gnu::always_inline]] inline void each(int64_t n, F const& f) {
  for (int64_t j = 0; j < n; j += Vec<T>::width) f(j);
}

template <class T>
void fill_row(T* to, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

/// The decays of n steps: to[t][j] = D, padded with 1.
template <class T>
void decays(ScanArgs<T> const& a, T const* logs, int64_t n, int64_t columns, T* to, int64_t row) {
  constexpr int width = Vec<T>::width;
  for (int64_t t = 0; t < n; ++t) {
    T const* const from = logs + t * a.decay.row;
    for (int64_t j = 0; j < columns; j += width)
      flushed<T>(exp(Vec<T>::load_first(from + j, int(least(columns - j, width))))).store(to + t * row + j);
  }
}

/// Some steps of one head. A state is held in panels of a few registers' columns, [panel][D][N·width], so that a panel
/// stays in the first-level cache while the steps pass over it.
template <class T>
struct Steps {
  T const *q, *k, *v, *a, *b;
  int64_t q_row, k_row, v_row, a_row, b_row;
  T const* w;  // decays
  int64_t w_row, w_col;
  T* out;
  int64_t out_row, n, d, e;
  T scale;
  T* panels;
  bool first;         // the panels are yet to be filled
  T const* initial;   // [D][E]; null: 0
  T *before, *after;  // [D][E]: where the states before and after these steps go; null: nowhere
};

/// One panel of N registers, the last in part where Part: from `column` on, the panels' columns beginning at `start`.
template <class T, int N, bool Delta, bool Inclusive, bool Part>
void run_panel(Steps<T> const& p, int64_t start, int64_t column, int count) {
  using V = Vec<T>;
  constexpr int width = V::width;
  auto const load = [=](T const* at, int i) __attribute__((always_inline)) {
    return Part ? V::load_first(at + i * width, count) : V::load(at + i * width);
  };
  auto const store = [=](T * at, int i, V x) __attribute__((always_inline)) {
    if constexpr (Part)
      x.store_first(at + i * width, count);
    else
      x.store(at + i * width);
  };
  T* const state = p.panels + (column - start) * p.d;
  auto const each_register = [&](auto const& f) {
    for (int64_t d = 0; d < p.d; ++d)
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) f(state + (d * N + i) * width, d * p.e + column, i);
  };
  if (p.first) each_register([&](T* s, int64_t at, int i) { (p.initial ? load(p.initial + at, i) : V(0)).store(s); });
  if (p.before) each_register([&](T* s, int64_t at, int i) { store(p.before + at, i, V::load(s)); });
  V u[N], next[N], v[N], o[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) next[i] = V(0);
  if constexpr (Delta)
    for (int64_t d = 0; d < p.d; ++d)
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) next[i] = fma(V(p.b[d]), V::load(state + (d * N + i) * width), next[i]);
  for (int64_t t = 0; t < p.n; ++t) {
    T const *const q = p.q + t * p.q_row, *const k = p.k + t * p.k_row, *const w = p.w + t * p.w_row;
    T const *const a = p.a + t * p.a_row, *const b = p.b + least(t + 1, p.n - 1) * p.b_row;
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      u[i] = next[i];
      next[i] = o[i] = V(0);
      v[i] = load(p.v + t * p.v_row + column, i);
    }
    for (int64_t d = 0; d < p.d; ++d) {
      V const decay(w[d * p.w_col]), key(k[d]), query(q[d]), gain(Delta ? a[d] : T(0)), erase(Delta ? b[d] : T(0));
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        T* const at = state + (d * N + i) * width;
        V s = V::load(at);
        if constexpr (!Inclusive) o[i] = fma(query, s, o[i]);
        s = s * decay;
        if constexpr (Delta) s = fma(gain, u[i], s);
        s = fma(key, v[i], s);
        s.store(at);
        if constexpr (Inclusive) o[i] = fma(query, s, o[i]);
        if constexpr (Delta) next[i] = fma(erase, s, next[i]);
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) store(p.out + t * p.out_row + column, i, o[i] * V(p.scale));
  }
  if (p.after) each_register([&](T* s, int64_t at, int i) { store(p.after + at, i, V::load(s)); });
}

template <class T, bool Delta, bool Inclusive>
void run_panels(Steps<T> const& p, int64_t start, int64_t end) {
  constexpr int width = Vec<T>::width;
  int64_t column = start;
  auto const panels = [&]<int N>(std::integral_constant<int, N>) {
    if (N > 1 && p.d * N * width * int64_t(sizeof(T)) > 32768) return;
    for (; column + N * width <= end; column += N * width)
      run_panel<T, N, Delta, Inclusive, false>(p, start, column, 0);
  };
  if constexpr (!Delta) panels(std::integral_constant<int, 4>{});  // else v, o, u and the next u take all registers
  panels(std::integral_constant<int, 2>{});
  panels(std::integral_constant<int, 1>{});
  if (column < end) run_panel<T, 1, Delta, Inclusive, true>(p, start, column, int(end - column));
}

template <class T>
void forward_by_steps(ScanArgs<T> const& a, int64_t b, int64_t h, int64_t column, int64_t end, ScanRows<T> out,
                      T* state, T* states) {
  int64_t const dp = a.channels ? round_up(a.d, Vec<T>::width) : Vec<T>::width;
  int64_t const ep = round_up(end - column, Vec<T>::width);
  Workspace space(Workspace::room<T>(a.chunk * dp) + Workspace::room<T>(a.d * ep));
  T* const w = space.take<T>(a.chunk * dp);
  T* const panels = space.take<T>(a.d * ep);
  *w = 1;
  for (int64_t t = 0; t < a.steps; t += a.chunk) {
    Steps<T> p{.q = a.q.at(b, h) + t * a.q.row,
               .k = a.k.at(b, h) + t * a.k.row,
               .v = a.v.at(b, h) + t * a.v.row,
               .a = nullptr,
               .b = nullptr,
               .q_row = a.q.row,
               .k_row = a.k.row,
               .v_row = a.v.row,
               .a_row = a.a.row,
               .b_row = a.b.row,
               .w = w,
               .w_row = a.decay.data ? dp : 0,
               .w_col = a.channels,
               .out = out.at(b, h) + t * out.row,
               .out_row = out.row,
               .n = least(a.chunk, a.steps - t),
               .d = a.d,
               .e = a.e,
               .scale = a.scale,
               .panels = panels,
               .first = t == 0,
               .initial = a.initial ? a.initial + (b * a.heads + h) * a.d * a.e : nullptr,
               .before = states ? states + t / a.chunk * a.d * a.e : nullptr,
               .after = t + a.chunk >= a.steps ? state : nullptr};
    if (a.decay.data) decays(a, a.decay.at(b, h) + t * a.decay.row, p.n, a.channels ? a.d : 1, w, dp);
    if (a.a.data) {
      p.a = a.a.at(b, h) + t * a.a.row;
      p.b = a.b.at(b, h) + t * a.b.row;
      (a.inclusive ? run_panels<T, true, true> : run_panels<T, true, false>)(p, column, end);
    } else {
      (a.inclusive ? run_panels<T, false, true> : run_panels<T, false, false>)(p, column, end);
    }
  }
}

}  // namespace scans
}  // namespace HEED_ISA_LEVEL
}  // namespace heed
