#include <heed/engine/dtype.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/rows.h>

#include <cstdlib>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr int64_t chunk_bytes = 64 * 1024;

/// A strided side and a contiguous side, axes of size 1 gone, axes that continue each other merged.
struct Plan {
  int rank = 0;
  int64_t shape[8], strided[8], packed[8];
  int64_t count = 1;
};

Plan plan(int64_t const* strides, int64_t const* shape, int rank) {
  Plan p;
  for (int a = 0; a < rank; ++a) p.count *= shape[a];
  int64_t packed = p.count;
  for (int a = 0; a < rank && p.count > 0; ++a) {
    packed /= shape[a];
    if (shape[a] == 1) continue;
    if (p.rank > 0 && p.strided[p.rank - 1] == strides[a] * shape[a]) {
      p.shape[p.rank - 1] *= shape[a];
    } else {
      p.shape[p.rank++] = shape[a];
    }
    p.strided[p.rank - 1] = strides[a];
    p.packed[p.rank - 1] = packed;
  }
  if (p.rank == 0) {
    p.rank = 1;
    p.shape[0] = p.strided[0] = p.packed[0] = 1;
  }
  return p;
}

/// to[i·to_stride] = from[i·from_stride]
template <class E>
void line(E const* from, int64_t from_stride, E* to, int64_t to_stride, int64_t n) {
  if (from_stride == 1 && to_stride == 1) {
    if (n * int64_t(sizeof(E)) > 64)
      __builtin_memcpy(to, from, size_t(n) * sizeof(E));
    else
      for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  } else if (from_stride == -1 && to_stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[-i];
  } else if (from_stride == 0 && to_stride == 1) {
    E const value = *from;
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

template <class R, size_t... i>
R zip_low(R a, R b, std::index_sequence<i...>) {  // a_0 b_0 a_1 b_1 …
  return __builtin_shufflevector(a, b, (i / 2 + i % 2 * sizeof...(i))...);
}
template <class R, size_t... i>
R zip_high(R a, R b, std::index_sequence<i...>) {
  return __builtin_shufflevector(a, b, (sizeof...(i) / 2 + i / 2 + i % 2 * sizeof...(i))...);
}

template <class E>
constexpr int side = 64 / int(sizeof(E));  // of a tile: one cache line

/// One line of the cache, past it where `far`.
template <bool far>
void store_line(void* to, void const* from) {
#if defined(__AVX512F__)
  if constexpr (far) return _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_load_si512(from));
#elif defined(__AVX2__)
  using R = __m256i;
  if constexpr (far) {
    for (int i = 0; i < 2; ++i)
      _mm256_stream_si256(static_cast<R*>(to) + i, _mm256_load_si256(static_cast<R const*>(from) + i));
    return;
  }
#elif defined(__SSE2__)
  using R = __m128i;
  if constexpr (far) {
    for (int i = 0; i < 4; ++i)
      _mm_stream_si128(static_cast<R*>(to) + i, _mm_load_si128(static_cast<R const*>(from) + i));
    return;
  }
#endif
  __builtin_memcpy(to, from, 64);
}

/// to[r·to_row + c] = from[r + c·from_column] for a tile of side × side. Every source line is read at once, and every
/// destination line is written at once: lines a power of two apart share few places in the cache.
template <bool far, class E>
void transpose_tile(E const* from, int64_t from_column, E* to, int64_t to_row) {
  constexpr int w = 16 / int(sizeof(E));
  using R [[gnu::vector_size(16)]] = E;
  constexpr auto all = std::make_index_sequence<w>{};
  alignas(64) E tile[side<E>][side<E>];
  for (int c = 0; c < side<E>; c += w)
    for (int r = 0; r < side<E>; r += w) {
      R x[w], y[w];
#pragma GCC unroll 16
      for (int j = 0; j < w; ++j) __builtin_memcpy(&x[j], from + r + (c + j) * from_column, sizeof(R));
      if (far && r == 0)  // what the next row of blocks will read: memory gives neighbouring lines together
        for (int j = 0; j < w; ++j)
          __builtin_prefetch(
              reinterpret_cast<void const*>(reinterpret_cast<uintptr_t>(from + (c + j) * from_column) + 256));
          // log2(w) perfect shuffles of the rows transpose
#pragma GCC unroll 4
      for (int stage = 1; stage < w; stage *= 2) {
#pragma GCC unroll 16
        for (int j = 0; j < w / 2; ++j) {
          y[2 * j] = zip_low(x[j], x[j + w / 2], all);
          y[2 * j + 1] = zip_high(x[j], x[j + w / 2], all);
        }
#pragma GCC unroll 16
        for (int j = 0; j < w; ++j) x[j] = y[j];
      }
#pragma GCC unroll 16
      for (int j = 0; j < w; ++j) __builtin_memcpy(&tile[r + j][c], &x[j], sizeof(R));
    }
  for (int r = 0; r < side<E>; ++r) store_line<far>(to + r * to_row, tile[r]);
}

/// to[r·to_row + c·to_column] = from[r·from_row + c·from_column]; `far` wants rows of `to` on lines of the cache.
template <class E>
void block(E const* from, int64_t from_row, int64_t from_column, E* to, int64_t to_row, int64_t to_column, int64_t rows,
           int64_t columns, bool far) {
  int64_t r = 0;
  if (from_row == 1 && to_column == 1) {
    auto const tile = far ? transpose_tile<true, E> : transpose_tile<false, E>;
    int64_t const whole = columns / side<E> * side<E>;
    for (int64_t c = 0; c < whole; c += side<E>)  // down the columns of `from` first: memory fetches ahead there
      for (r = 0; r + side<E> <= rows; r += side<E>)
        tile(from + r + c * from_column, from_column, to + r * to_row + c, to_row);
    r = rows / side<E> * side<E>;
    for (int64_t c = whole; c < columns; ++c) line(from + c * from_column, 1, to + c, to_row, r);
  }
  for (; r < rows; ++r) line(from + r * from_row, from_column, to + r * to_row, to_column, columns);
}

template <bool gathering, class E>
void move(Plan const& p, E const* src, E* dst) {
  int64_t const* const from = gathering ? p.strided : p.packed;
  int64_t const* const to = gathering ? p.packed : p.strided;
  int const last = p.rank - 1;
  // The axis to pair with the last one: that of the smallest stride on the strided side.
  int across = -1;
  for (int a = 0; a < last; ++a)
    if (p.strided[a] != 0 && (across < 0 || std::abs(p.strided[a]) < std::abs(p.strided[across]))) across = a;
  bool const transposing =
      across >= 0 && p.strided[last] != 0 && std::abs(p.strided[across]) < std::abs(p.strided[last]);
  constexpr int64_t chunk = chunk_bytes / int64_t(sizeof(E));

  if (!transposing) {
    // Lines along the last axis, cut where they are longer than a chunk.
    int64_t const n = p.shape[last], pieces = (n + chunk - 1) / chunk, piece = pieces == 1 ? n : chunk;
    int64_t const grain = n >= chunk ? 1 : (chunk + n - 1) / n;
    parallel_for(p.count / n * pieces, grain, [=, &p](int64_t begin, int64_t end) {
      // The place of the first line, then counting like an odometer.
      int64_t at[8] = {}, f = 0, t = 0;
      int64_t rest = begin / pieces, k = begin % pieces;
      for (int a = last - 1; a >= 0; --a) {
        at[a] = rest % p.shape[a];
        rest /= p.shape[a];
        f += at[a] * from[a];
        t += at[a] * to[a];
      }
      auto const carry = [&](int a) {  // axis a has been walked to its end
        for (; a >= 0 && at[a] == p.shape[a]; --a) {
          f -= from[a] * p.shape[a];
          t -= to[a] * p.shape[a];
          at[a] = 0;
          if (a == 0) return;
          ++at[a - 1];
          f += from[a - 1];
          t += to[a - 1];
        }
      };
      if (pieces == 1 && last > 0) {  // lines of one row of lines at a time
        int const along = last - 1;
        for (int64_t i = begin; i < end;) {
          int64_t const there = p.shape[along] - at[along], run = there < end - i ? there : end - i;
          for (int64_t q = 0; q < run; ++q, f += from[along], t += to[along])
            line(src + f, from[last], dst + t, to[last], n);
          i += run;
          at[along] += run;
          carry(along);
        }
        return;
      }
      for (int64_t i = begin; i < end; ++i) {
        int64_t const start = k * piece;
        line(src + f + start * from[last], from[last], dst + t + start * to[last], to[last],
             n - start < piece ? n - start : piece);
        if (++k < pieces || last == 0) continue;
        k = 0;
        ++at[last - 1];
        f += from[last - 1];
        t += to[last - 1];
        carry(last - 1);
      }
    });
    return;
  }

  // Blocks over (across, last): one cache line is read whole while its neighbours' lines are still there.
  int64_t const rows = p.shape[across], columns = p.shape[last];
  constexpr int64_t edge = 64, area = edge * edge;  // of a block, wider where the other side is short
  int64_t const tall = columns < edge ? area / columns : edge, wide = rows < edge ? area / rows : edge;
  int64_t const row_blocks = (rows + tall - 1) / tall, column_blocks = (columns + wide - 1) / wide;
  int64_t const height = rows < tall ? rows : tall, width = columns < wide ? columns : wide;
  int64_t const grain = (chunk + height * width - 1) / (height * width);
  bool far = p.count * int64_t(sizeof(E)) >= far_bytes && wide % side<E> == 0 && tall % side<E> == 0 &&
             reinterpret_cast<uintptr_t>(dst) % 64 == 0;
  for (int a = 0; a < p.rank; ++a) far &= to[a] == 1 || to[a] % side<E> == 0;
  parallel_for(p.count / (rows * columns) * row_blocks * column_blocks, grain, [=, &p](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t const c = i % column_blocks * wide, r = i / column_blocks % row_blocks * tall;
      int64_t rest = i / column_blocks / row_blocks, f = 0, t = 0;
      for (int a = last - 1; a >= 0; --a) {
        if (a == across) continue;
        f += rest % p.shape[a] * from[a];
        t += rest % p.shape[a] * to[a];
        rest /= p.shape[a];
      }
      E const* const s = src + f + r * from[across] + c * from[last];
      E* const d = dst + t + r * to[across] + c * to[last];
      int64_t const h = rows - r < tall ? rows - r : tall, w = columns - c < wide ? columns - c : wide;
      if (gathering)
        block(s, from[across], from[last], d, to[across], to[last], h, w, far);
      else
        block(s, from[last], from[across], d, to[last], to[across], w, h, far);
    }
#if defined(__SSE2__)
    if (far) _mm_sfence();
#endif
  });
}

template <bool gathering>
void move_sized(void const* src, void* dst, int64_t const* strides, int64_t const* shape, int rank, int element_size) {
  Plan const p = plan(strides, shape, rank);
  if (p.count == 0) return;
  dispatch_size(size_t(element_size),
                [&]<class E>(Type<E>) { move<gathering>(p, static_cast<E const*>(src), static_cast<E*>(dst)); });
}

void gather(void const* src, int64_t const* src_strides, void* dst, int64_t const* shape, int rank, int element_size) {
  move_sized<true>(src, dst, src_strides, shape, rank, element_size);
}
void scatter(void const* src, void* dst, int64_t const* dst_strides, int64_t const* shape, int rank, int element_size) {
  move_sized<false>(src, dst, dst_strides, shape, rank, element_size);
}

void fill(void const* value, void* dst, int64_t n, int element_size) {
  dispatch_size(size_t(element_size), [&]<class E>(Type<E>) {
    E v;
    __builtin_memcpy(&v, value, sizeof v);
    E* const to = static_cast<E*>(dst);
    parallel_for(n, 4 * chunk_bytes / int64_t(sizeof(E)), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = v;
    });
  });
}

template <class S, class D>
void convert(S const* x, D* y, int64_t n) {
  if constexpr (std::is_same_v<S, D>)
    __builtin_memcpy(y, x, size_t(n) * sizeof(S));
  else if constexpr (std::is_same_v<D, bool>)
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] != S(0);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = D(x[i]);
}

template <class T>
constexpr bool is_half_type = std::is_same_v<T, float16> || std::is_same_v<T, bfloat16>;

void cast(void const* src, Dtype from, void* dst, Dtype to, int64_t n) {
  dispatch(from, [&]<class S>(Type<S>) {
    dispatch(to, [&]<class D>(Type<D>) {
      S const* const x = static_cast<S const*>(src);
      D* const y = static_cast<D*>(dst);
      parallel_for(n, chunk_elements, [=](int64_t begin, int64_t end) {
        constexpr bool by_f32 =
            (is_half_type<S> && !std::is_same_v<D, float>) || (is_half_type<D> && !std::is_same_v<S, float>);
        if constexpr (by_f32 && !std::is_same_v<S, D>) {
          constexpr int64_t block = 512;
          float buffer[block];
          for (int64_t i = begin; i < end; i += block) {
            int64_t const count = end - i < block ? end - i : block;
            convert(x + i, buffer, count);
            convert(static_cast<float const*>(buffer), y + i, count);
          }
        } else {
          convert(x + begin, y + begin, end - begin);
        }
      });
    });
  });
}

template <class H>
void widen_from(H const* src, int64_t stride, float* dst, int64_t n) {
  if (stride == 1)
    for (int64_t i = 0; i < n; ++i) dst[i] = src[i];
  else
    for (int64_t i = 0; i < n; ++i) dst[i] = src[i * stride];
}
void widen(void const* src, int64_t stride, Dtype from, float* dst, int64_t n) {
  if (from == Dtype::f16)
    widen_from(static_cast<float16 const*>(src), stride, dst, n);
  else
    widen_from(static_cast<bfloat16 const*>(src), stride, dst, n);
}
void narrow(float const* src, void* dst, Dtype to, int64_t n) {
  if (to == Dtype::f16)
    convert(src, static_cast<float16*>(dst), n);
  else
    convert(src, static_cast<bfloat16*>(dst), n);
}

}  // namespace

constinit CopyKernels const copy_kernels{gather, scatter, fill, widen, narrow, cast};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
