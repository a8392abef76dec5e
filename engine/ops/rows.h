// What kernels over rows share: accurate folds in registers, maps with tails, chunk sizes, scratch memory.
// For *.simd.cpp files only.
#pragma once

#include <heed/engine/isa.h>
#include <heed/engine/lane.h>
#include <heed/engine/parallel.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// Work of one parallel chunk, in elements.
constexpr int64_t chunk_elements = 16384;

/// Rows of `n` elements per chunk.
inline int64_t row_grain(int64_t n) { return n <= 1 ? chunk_elements : (chunk_elements + n - 1) / n; }

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

/// Uninitialised memory for the duration of one kernel call.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t n) : data_(static_cast<T*>(::operator new(size_t(n) * sizeof(T), std::align_val_t(64)))) {}
  ~Scratch() { ::operator delete(data_, std::align_val_t(64)); }
  Scratch(Scratch const&) = delete;
  Scratch& operator=(Scratch const&) = delete;
  T* data() { return data_; }
  T& operator[](int64_t i) { return data_[i]; }

 private:
  T* data_;
};

struct Add {
  template <class V>
  static Lane<V> apply(Lane<V> a, Lane<V> b) {
    return a + b;
  }
  template <class T>
  static constexpr T identity = 0;
};
struct Multiply {
  template <class V>
  static Lane<V> apply(Lane<V> a, Lane<V> b) {
    return a * b;
  }
  template <class T>
  static constexpr T identity = 1;
};
/// The machine's maximum: which operand a NaN leaves is unspecified. For shifts whose NaNs show up elsewhere.
struct AnyMax {
  template <class V>
  static Lane<V> apply(Lane<V> a, Lane<V> b) {
    return max(a, b);
  }
  template <class T>
  static constexpr T identity = -infinity<T>;
};
/// NaN where either is NaN.
struct Max {
  template <class V>
  static Lane<V> apply(Lane<V> a, Lane<V> b) {
    return select((a > b) | (a != a), a, b);
  }
  template <class T>
  static constexpr T identity = -infinity<T>;
};
struct Min {
  template <class V>
  static Lane<V> apply(Lane<V> a, Lane<V> b) {
    return select((a < b) | (a != a), a, b);
  }
  template <class T>
  static constexpr T identity = infinity<T>;
};

template <int distance, class R, size_t... i>
R exchange(R a, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, a, (i ^ distance)...);
}

/// The lanes of `a` combined as a balanced tree.
template <class Op, class T>
T fold_lanes(Vec<T> a) {
  constexpr int w = Vec<T>::width;
  if constexpr (w == 1) {
    return a.v;
  } else {
    auto const with = [&]<int distance>(std::integral_constant<int, distance>) __attribute__((always_inline)) {
      if constexpr (distance < w)
        a = Op::apply(a, Vec<T>(Batch<T>(exchange<distance>(a.v.data, std::make_index_sequence<w>{}))));
    };
    with(std::integral_constant<int, 8>{});
    with(std::integral_constant<int, 4>{});
    with(std::integral_constant<int, 2>{});
    with(std::integral_constant<int, 1>{});
    return a.v.get(0);
  }
}

/// The first `count` lanes of `a`, `fill` in the others.
template <class T>
Vec<T> first_lanes(Vec<T> a, int count, T fill) {
  alignas(64) static constexpr T number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return select(Vec<T>::load(number) < Vec<T>(T(count)), a, Vec<T>(fill));
}

/// out_v = Op over r < rows of load(r, v), pairwise above 32 rows, so that rounding errors grow with log(rows).
template <class Op, int V, class T, class Load>
void fold_registers(Load const& load, int64_t begin, int64_t end, Vec<T>* out) {
  if (end - begin <= 32) {
    Vec<T> acc[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[v] = Op::template identity<T>;
    for (int64_t r = begin; r < end; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[v] = Op::apply(acc[v], load(r, v));
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) out[v] = acc[v];
    return;
  }
  int64_t const middle = begin + ((end - begin) / 2 + 31) / 32 * 32;
  Vec<T> other[V];
  fold_registers<Op, V, T>(load, begin, middle, out);
  fold_registers<Op, V, T>(load, middle, end, other);
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) out[v] = Op::apply(out[v], other[v]);
}

/// Op over j < n of f(x_j…), pairwise; f works on registers.
/// Registers in flight: `costly` formulas need registers of their own.
template <class Op, class T, int V = 4, class F, class... X>
T fold_row(int64_t n, F const& f, X const*... x) {
  constexpr int w = Vec<T>::width;
  int64_t const rows = n / (V * w);
  Vec<T> total = Op::template identity<T>;
  if (rows > 0) {
    Vec<T> acc[V];
    fold_registers<Op, V, T>(
        [&](int64_t r, int v) __attribute__((always_inline)) { return f(Vec<T>::load(x + r * (V * w) + v * w)...); }, 0,
        rows, acc);
    total = Op::apply(acc[0], acc[1]);
    if constexpr (V == 4) total = Op::apply(total, Op::apply(acc[2], acc[3]));
  }
  int64_t j = rows * V * w;
  if (j < n) {
    Vec<T> rest = Op::template identity<T>;
    for (; j + w <= n; j += w) rest = Op::apply(rest, f(Vec<T>::load(x + j)...));
    if (int const left = int(n - j))
      rest = Op::apply(rest, first_lanes<T>(f(Vec<T>::load_first(x + j, left)...), left, Op::template identity<T>));
    total = Op::apply(total, rest);
  }
  return fold_lanes<Op, T>(total);
}

constexpr int64_t far_bytes = 16 << 20;  // results from this size on are written past the caches

/// How one chunk's rows of the result y [rows, n] are stored: past the caches where y is larger than these, so that
/// its lines are not read first and nothing of use is driven out.
template <class T>
class RowStores {
 public:
  RowStores(T const* y, int64_t rows, int64_t n)
      : far_(rows * n * int64_t(sizeof(T)) >= far_bytes && n * int64_t(sizeof(T)) % 64 == 0 &&
             reinterpret_cast<uintptr_t>(y) % 64 == 0) {}
  RowStores(RowStores const&) = delete;
  RowStores& operator=(RowStores const&) = delete;
#if defined(__SSE2__)
  ~RowStores() {
    if (far_) _mm_sfence();  // such stores are seen in no order of their own
  }
#endif
  void operator()(Vec<T> v, T* to) const {
    if (far_)
      store_far(v, to);
    else
      v.store(to);
  }

 private:
  static void store_far(Vec<T> v, T* to) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), __builtin_bit_cast(__m512i, v.v.data));
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), __builtin_bit_cast(__m256i, v.v.data));
#elif defined(__SSE2__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), __builtin_bit_cast(__m128i, v.v.data));
#else
    v.store(to);
#endif
  }
  bool far_;
};

/// y_j = f(x_j…), each register by `store`; y may be one of x.
template <class T, class Store, class F, class... X>
void map_row_by(Store const& store, int64_t n, T* y, F const& f, X const*... x) {
  constexpr int w = Vec<T>::width;
  int64_t j = 0;
  for (; j + 2 * w <= n; j += 2 * w) {
    Vec<T> const a = f(Vec<T>::load(x + j)...), b = f(Vec<T>::load(x + j + w)...);
    store(a, y + j);
    store(b, y + j + w);
  }
  for (; j + w <= n; j += w) store(f(Vec<T>::load(x + j)...), y + j);
  if (int const left = int(n - j)) f(Vec<T>::load_first(x + j, left)...).store_first(y + j, left);
}

/// y_j = f(x_j…); y may be one of x.
template <class T, class F, class... X>
void map_row(int64_t n, T* y, F const& f, X const*... x) {
  map_row_by<T>(
      [](Vec<T> v, T * to) __attribute__((always_inline)) { v.store(to); }, n, y, f, x...);
}

/// y_j = f(x_j), returns Σ y_j.
template <class T, class F>
T map_sum_row(int64_t n, T* y, F const& f, T const* x) {
  constexpr int w = Vec<T>::width;
  auto const keep = [&](int64_t at) __attribute__((always_inline)) {
    Vec<T> const e = f(Vec<T>::load(x + at));
    e.store(y + at);
    return e;
  };
  constexpr int V = 2;
  int64_t const rows = n / (V * w);
  Vec<T> total = 0;
  if (rows > 0) {
    Vec<T> acc[V];
    fold_registers<Add, V, T>(
        [&](int64_t r, int v) __attribute__((always_inline)) { return keep(r * (V * w) + v * w); }, 0, rows, acc);
    total = acc[0] + acc[1];
  }
  int64_t j = rows * V * w;
  if (j < n) {
    Vec<T> rest = 0;
    for (; j + w <= n; j += w) rest += keep(j);
    if (int const left = int(n - j)) {
      Vec<T> const e = f(Vec<T>::load_first(x + j, left));
      e.store_first(y + j, left);
      rest += first_lanes<T>(e, left, 0);
    }
    total += rest;
  }
  return fold_lanes<Add, T>(total);
}

/// Σ_j exp(x_j) = sum·exp(shift_of(max)), in one pass over memory.
template <class T>
struct ExpSum {
  T max, sum;
};

/// The shift for a maximum: 0 where it is infinite, because inf - inf would be NaN.
template <class T>
T shift_of(T max) {
  return max == infinity<T> || max == -infinity<T> ? T(0) : max;
}

template <class T>
ExpSum<T> merge(ExpSum<T> a, ExpSum<T> b) {
  T const top = a.max > b.max || a.max != a.max ? a.max : b.max;
  T const shift = shift_of(top);
  return {top, a.sum * T(std::exp(a.max - shift)) + b.sum * T(std::exp(b.max - shift))};
}

/// log Σ_j exp(x_j - max); NaN where max is infinite, as in a softmax.
template <class T>
T shifted_log_sum(ExpSum<T> e) {
  return std::log(e.sum) + (e.max - e.max);
}

template <class T>
ExpSum<T> exp_sum_row(T const* x, int64_t n) {
  constexpr int64_t block = 4096;
  ExpSum<T> total{-infinity<T>, 0};
  for (int64_t j = 0; j < n; j += block) {
    int64_t const size = n - j < block ? n - j : block;
    T const top = fold_row<AnyMax, T>(
        size, [](auto v) { return v; }, x + j);
    Vec<T> const shift = shift_of(top);
    ExpSum<T> const part{top, fold_row<Add, T, 2>(
                                  size, [=](auto v) { return exp(v - shift); }, x + j)};
    total = j == 0 ? part : merge(total, part);
  }
  return total;
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
