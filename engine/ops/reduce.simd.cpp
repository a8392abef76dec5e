#include <heed/engine/ops/reduce.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr int64_t long_row = 4 * chunk_elements;  // longer rows are split over the axis
constexpr int64_t tile = 512;                     // columns whose partial results stay in the first cache level

struct Same {
  template <class V>
  static Lane<V> of(Lane<V> v) {
    return v;
  }
};
struct Square {
  template <class V>
  static Lane<V> of(Lane<V> v) {
    return v * v;
  }
};

/// y_j = Op over r < rows of f(x + r·stride, j), columns j < width <= tile, pairwise; f loads a register or its head.
template <class Op, class T, class Map>
void fold_columns(T const* x, int64_t stride, int64_t rows, int64_t width, Map const& map, T* y) {
  constexpr int w = Vec<T>::width, V = 4;
  if (rows <= 32) {
    int64_t j = 0;
    for (; j + V * w <= width; j += V * w) {
      Vec<T> acc[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[v] = map(Vec<T>::load(x + j + v * w), j + v * w);
      for (int64_t r = 1; r < rows; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          acc[v] = Op::apply(acc[v], map(Vec<T>::load(x + r * stride + j + v * w), j + v * w));
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[v].store(y + j + v * w);
    }
    for (; j < width; j += w) {
      int const count = width - j < w ? int(width - j) : w;
      Vec<T> acc = map(Vec<T>::load_first(x + j, count), j);
      for (int64_t r = 1; r < rows; ++r) acc = Op::apply(acc, map(Vec<T>::load_first(x + r * stride + j, count), j));
      acc.store_first(y + j, count);
    }
    return;
  }
  int64_t const half = (rows / 2 + 31) / 32 * 32;
  alignas(64) T other[tile];
  fold_columns<Op>(x, stride, half, width, map, y);
  fold_columns<Op>(x + half * stride, stride, rows - half, width, map, static_cast<T*>(other));
  map_row<T>(
      width, y, [](auto a, auto b) { return Op::apply(a, b); }, static_cast<T const*>(y), static_cast<T const*>(other));
}

/// Splits [outer, n, inner] into tasks of about a chunk: `rows` of the axis times `width` columns.
struct Split {
  int64_t parts, rows, tiles, width;
};
inline Split split(int64_t n, int64_t inner) {
  int64_t const width = inner < tile ? inner : tile;
  int64_t rows = (2 * chunk_elements + width - 1) / width;
  rows = (rows + 31) / 32 * 32;
  return {(n + rows - 1) / rows, rows, (inner + width - 1) / width, width};
}

/// Calls f(o, part, column, rows, width) for every task of the split, in parallel.
template <class F>
void each_part(Split s, int64_t outer, int64_t n, int64_t inner, F const& f) {
  int64_t const rows = n < s.rows ? n : s.rows, grain = (chunk_elements + rows * s.width - 1) / (rows * s.width);
  parallel_for(outer * s.parts * s.tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t const o = task / (s.parts * s.tiles), part = task / s.tiles % s.parts, column = task % s.tiles * s.width;
      int64_t const first = part * s.rows;
      f(o, part, column, n - first < s.rows ? n - first : s.rows, inner - column < s.width ? inner - column : s.width);
    }
  });
}

template <class T>
void fill(T* y, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) y[i] = value;
}

template <class Op, class Map, class T>
void reduce(T const* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  if (outer * inner == 0) return;
  if (n == 0) return fill(y, outer * inner, Op::template identity<T>);
  if (inner == 1) {
    if (n <= long_row) {
      parallel_for(outer, row_grain(n), [=](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o)
          y[o] = fold_row<Op, T>(
              n, [](auto v) { return Map::of(v); }, x + o * n);
      });
      return;
    }
    int64_t const size = 2 * chunk_elements, parts = (n + size - 1) / size;
    Scratch<T> scratch(outer * parts);
    T* const partial = scratch.data();
    parallel_for(outer * parts, 1, [=](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        int64_t const o = task / parts, at = task % parts * size;
        partial[task] = fold_row<Op, T>(
            n - at < size ? n - at : size, [](auto v) { return Map::of(v); }, x + o * n + at);
      }
    });
    return reduce<Op, Same>(static_cast<T const*>(partial), y, outer, parts, 1);
  }
  constexpr int w = Vec<T>::width;
  if (inner < 4 * w && n >= 32 * w) {
    // Narrow columns: w rows side by side make one row of w·inner columns, whose w copies of a column are folded last.
    int64_t const wide = n / w, left = n - wide * w;
    Scratch<T> scratch(outer * (w + left) * inner);
    T* const rows = scratch.data();  // [outer, w + left, inner]
    Split const s = split(wide, inner * w);
    int64_t const columns = inner * w;
    Scratch<T> partials(outer * s.parts * columns);
    T* const partial = partials.data();
    each_part(s, outer, wide, columns, [=](int64_t o, int64_t part, int64_t column, int64_t height, int64_t width) {
      fold_columns<Op>(
          x + o * n * inner + part * s.rows * columns + column, columns, height, width,
          [](auto v, int64_t) { return Map::of(v); }, partial + (o * s.parts + part) * columns + column);
    });
    for (int64_t o = 0; o < outer; ++o) {
      T* const to = rows + o * (w + left) * inner;
      if (s.parts == 1)
        __builtin_memcpy(to, partial + o * columns, size_t(columns) * sizeof(T));
      else
        reduce<Op, Same>(static_cast<T const*>(partial + o * s.parts * columns), to, 1, s.parts, columns);
      map_row<T>(
          left * inner, to + columns, [](auto v) { return Map::of(v); }, x + (o * n + wide * w) * inner);
      for (int64_t j = 0; j < inner; ++j) {
        T total = to[j];
        for (int64_t r = 1; r < w + left; ++r) total = Op::apply(Lane<T>(total), Lane<T>(to[r * inner + j])).v;
        y[o * inner + j] = total;
      }
    }
    return;
  }
  Split const s = split(n, inner);
  if (s.parts == 1) {
    each_part(s, outer, n, inner, [=](int64_t o, int64_t, int64_t column, int64_t height, int64_t width) {
      fold_columns<Op>(
          x + o * n * inner + column, inner, height, width, [](auto v, int64_t) { return Map::of(v); },
          y + o * inner + column);
    });
    return;
  }
  Scratch<T> scratch(outer * s.parts * inner);
  T* const partial = scratch.data();
  each_part(s, outer, n, inner, [=](int64_t o, int64_t part, int64_t column, int64_t height, int64_t width) {
    fold_columns<Op>(
        x + (o * n + part * s.rows) * inner + column, inner, height, width, [](auto v, int64_t) { return Map::of(v); },
        partial + (o * s.parts + part) * inner + column);
  });
  reduce<Op, Same>(static_cast<T const*>(partial), y, outer, s.parts, inner);
}

template <class T>
T log_of(ExpSum<T> e) {
  return e.max + std::log(e.sum);
}

template <class T>
void logsumexp(T const* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  if (outer * inner == 0) return;
  if (n == 0) return fill(y, outer * inner, -infinity<T>);
  if (inner == 1 && n <= long_row) {
    parallel_for(outer, row_grain(n), [=](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) y[o] = log_of(exp_sum_row(x + o * n, n));
    });
    return;
  }
  Split const s = split(n, inner);
  Scratch<ExpSum<T>> scratch(outer * s.parts * inner);
  ExpSum<T>* const partial = scratch.data();
  each_part(s, outer, n, inner, [=](int64_t o, int64_t part, int64_t column, int64_t height, int64_t width) {
    T const* const from = x + (o * n + part * s.rows) * inner + column;
    ExpSum<T>* const to = partial + (o * s.parts + part) * inner + column;
    if (inner == 1) {
      *to = exp_sum_row(from, height);
      return;
    }
    alignas(64) T top[tile], shift[tile + 64], sum[tile];
    fold_columns<AnyMax>(
        from, inner, height, width, [](auto v, int64_t) { return v; }, static_cast<T*>(top));
    for (int64_t j = 0; j < width; ++j) shift[j] = shift_of(top[j]);
    for (int64_t j = width; j < width + Vec<T>::width; ++j) shift[j] = 0;
    fold_columns<Add>(
        from, inner, height, width, [&](auto v, int64_t j) { return exp(v - Vec<T>::load(shift + j)); },
        static_cast<T*>(sum));
    for (int64_t j = 0; j < width; ++j) to[j] = {top[j], sum[j]};
  });
  int64_t const parts = s.parts;
  parallel_for(outer * inner, chunk_elements / 8, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ExpSum<T> const* const from = partial + i / inner * parts * inner + i % inner;
      ExpSum<T> total = from[0];
      for (int64_t part = 1; part < parts; ++part) total = merge(total, from[part * inner]);
      y[i] = log_of(total);
    }
  });
}

/// The value found and where; `better(a, b)`: a replaces b found earlier.
template <class T>
struct Found {
  T value;
  int64_t at;
};
template <class Op, class T>
bool better(T a, T b) {
  return b == b && (a != a || (Op::template identity<T> < 0 ? a > b : a < b));
}

/// Within a row: the extreme of each block in registers, then the place within the best block.
template <class Op, class T>
Found<T> find_row(T const* x, int64_t n) {
  constexpr int64_t block = 2048;
  Found<T> best{x[0], 0};
  int64_t best_block = 0;
  for (int64_t j = 0; j < n; j += block) {
    T const top = fold_row<Op, T>(
        n - j < block ? n - j : block, [](auto v) { return v; }, x + j);
    if (better<Op>(top, best.value)) best.value = top, best_block = j;
  }
  bool const nan = best.value != best.value;
  for (best.at = best_block; nan ? x[best.at] == x[best.at] : x[best.at] != best.value;) ++best.at;
  return best;
}

template <class Op, class T>
void find(T const* x, int64_t* index, int64_t outer, int64_t n, int64_t inner) {
  if (outer * inner == 0) return;
  if (inner == 1 && n <= long_row) {
    parallel_for(outer, row_grain(n), [=](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) index[o] = find_row<Op>(x + o * n, n).at;
    });
    return;
  }
  Split const s = split(n, inner);  // at most 2^15 rows a part: a place within a part is exact in float
  Scratch<Found<T>> scratch(outer * s.parts * inner);
  Found<T>* const partial = scratch.data();
  each_part(s, outer, n, inner, [=](int64_t o, int64_t part, int64_t column, int64_t height, int64_t width) {
    constexpr int w = Vec<T>::width;
    T const* const from = x + (o * n + part * s.rows) * inner + column;
    Found<T>* const to = partial + (o * s.parts + part) * inner + column;
    if (inner == 1) {
      *to = find_row<Op>(from, height);
      to->at += part * s.rows;
      return;
    }
    auto const columns = [&]<int V>(int64_t j, std::integral_constant<int, V>) {
      Vec<T> best[V], at[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        best[v] = Vec<T>::load(from + j + v * w);
        at[v] = T(0);
      }
      for (int64_t r = 1; r < height; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          Vec<T> const x_r = Vec<T>::load(from + r * inner + j + v * w);
          auto const ahead = Op::template identity<T> < 0 ? x_r > best[v] : x_r < best[v];
          auto const wins = (best[v] == best[v]) & (ahead | (x_r != x_r));
          best[v] = select(wins, x_r, best[v]);
          at[v] = select(wins, Vec<T>(T(r)), at[v]);
        }
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        alignas(64) T values[w], places[w];
        best[v].store(values);
        at[v].store(places);
        for (int i = 0; i < w; ++i) to[j + v * w + i] = {values[i], part * s.rows + int64_t(places[i])};
      }
    };
    int64_t j = 0;
    for (; j + 4 * w <= width; j += 4 * w) columns(j, std::integral_constant<int, 4>{});
    for (; j + w <= width; j += w) columns(j, std::integral_constant<int, 1>{});
    for (; j < width; ++j) {
      Found<T> best{from[j], 0};
      for (int64_t r = 1; r < height; ++r)
        if (better<Op>(from[r * inner + j], best.value)) best = {from[r * inner + j], r};
      to[j] = {best.value, part * s.rows + best.at};
    }
  });
  int64_t const parts = s.parts;
  for (int64_t i = 0; i < outer * inner; ++i) {
    Found<T> const* const from = partial + i / inner * parts * inner + i % inner;
    Found<T> best = from[0];
    for (int64_t part = 1; part < parts; ++part)
      if (better<Op>(from[part * inner].value, best.value)) best = from[part * inner];
    index[i] = best.at;
  }
}

template <class T>
constexpr ReduceKernelsOf<T> table{reduce<Add, Same, T>,   reduce<Multiply, Same, T>,
                                   reduce<Max, Same, T>,   reduce<Min, Same, T>,
                                   reduce<Add, Square, T>, logsumexp<T>,
                                   find<Max, T>,           find<Min, T>};

}  // namespace

constinit ReduceKernels const reduce_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
