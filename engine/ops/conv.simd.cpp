#include <heed/engine/lane.h>
#include <heed/engine/ops/conv.h>
#include <heed/engine/ops/conv_window3.h>
#include <heed/engine/ops/matmul_tile.h>
#include <heed/engine/ops/rows.h>
#include <heed/engine/ops/shuffle.h>

#include <cstddef>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/// `vectors` registers, those of `from` and `to` so far apart.
template <int vectors, class T, class Load, class Store>
void correlate_block(CorrelateArgs<T> const& g, T const* from, int64_t from_step, T* to, int64_t to_step,
                     Load const& load, Store const& store) {
  using V = Vec<T>;
  V sum[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) sum[v] = V(g.bias);
  for (int64_t t = 0; t < g.taps; ++t) {
    V const w(g.weight[t]);
    T const* const row = from + g.offset[t];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[v] = fma(w, load(row + v * from_step), sum[v]);
  }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) store(sum[v], to + v * to_step);
}

template <class T>
void correlate(CorrelateArgs<T> const& g) {
  using V = Vec<T>;
  constexpr int width = V::width;
  int64_t const whole = g.n / width * width;
  Part<T> const part(g.n - whole);
  auto const load = [](T const* from) { return V::load(from); };
  auto const store = [](V x, T* to) { x.store(to); };
  int64_t j = 0;
  for (; j + 4 * width <= whole; j += 4 * width)
    for (int64_t r = 0; r < g.rows; ++r)
      correlate_block<4>(g, g.from + r * g.from_row + j, width, g.to + r * g.to_row + j, width, load, store);
  // What is left of the rows, four at a time.
  auto const column = [&](auto const& load, auto const& store) {
    int64_t r = 0;
    for (; r + 4 <= g.rows; r += 4)
      correlate_block<4>(g, g.from + r * g.from_row + j, g.from_row, g.to + r * g.to_row + j, g.to_row, load, store);
    for (; r < g.rows; ++r)
      correlate_block<1>(g, g.from + r * g.from_row + j, 0, g.to + r * g.to_row + j, 0, load, store);
  };
  for (; j < whole; j += width) column(load, store);
  if (whole < g.n) column([&](T const* from) { return part.load(from); }, [&](V x, T* to) { part.store(x, to); });
}

/// The sums of `taps` taps from t on.
template <int taps, class T>
void weigh_block(CorrelateArgs<T> const& g, int64_t t, Part<T> const& part, T* weight) {
  using V = Vec<T>;
  constexpr int width = V::width;
  int64_t const whole = g.n / width * width;
  V sum[taps];
#pragma GCC unroll 8
  for (int k = 0; k < taps; ++k) sum[k] = V(0);
  for (int64_t r = 0; r < g.rows; ++r) {
    T const* const from = g.from + r * g.from_row;
    T const* const to = g.to + r * g.to_row;
    for (int64_t j = 0; j < whole; j += width) {
      V const y = V::load(to + j);
#pragma GCC unroll 8
      for (int k = 0; k < taps; ++k) sum[k] = fma(y, V::load(from + g.offset[t + k] + j), sum[k]);
    }
    if (whole == g.n) continue;
    V const y = part.load(to + whole);
#pragma GCC unroll 8
    for (int k = 0; k < taps; ++k) sum[k] = fma(y, part.load(from + g.offset[t + k] + whole), sum[k]);
  }
  for (int k = 0; k < taps; ++k) weight[t + k] += fold_lanes<Add, T>(sum[k]);
}

template <class T>
void correlate_weight(CorrelateArgs<T> const& g, T* weight) {
  Part<T> const part(g.n % Vec<T>::width);
  int64_t t = 0;
  for (; t + 8 <= g.taps; t += 8) weigh_block<8>(g, t, part, weight);
  for (; t + 3 <= g.taps; t += 3) weigh_block<3>(g, t, part, weight);
  for (; t < g.taps; ++t) weigh_block<1>(g, t, part, weight);
}

template <class T>
void copy(T const* from, T* to, int64_t n) {
  using V = Vec<T>;
  int64_t j = 0;
  for (; j + V::width <= n; j += V::width) V::load(from + j).store(to + j);
  if (j < n) Part<T>(n - j).store(Part<T>(n - j).load(from + j), to + j);
}

/// The first `count` elements of a register, none or all of them included.
template <class T>
struct UpTo {
  explicit UpTo(int64_t n) : count(n), part(n % Vec<T>::width) {}
  Vec<T> load(T const* from) const {
    if (count == Vec<T>::width) return Vec<T>::load(from);
    return count > 0 ? part.load(from) : Vec<T>(0);
  }
  void store(Vec<T> x, T* to) const {
    if (count == Vec<T>::width)
      x.store(to);
    else if (count > 0)
      part.store(x, to);
  }
  int64_t count;
  Part<T> part;
};

template <class T>
void split(T const* from, int64_t from_row, int64_t rows, int64_t n, T* even, T* odd, int64_t to_row) {
  using V = Vec<T>;
  constexpr int W = V::width;
  int64_t const whole = n / (2 * W) * W, rest = n - 2 * whole;
  UpTo<T> const first(smaller(rest, W)), second(larger(rest - W, 0)), evens((rest + 1) / 2), odds(rest / 2);
  for (int64_t r = 0; r < rows; ++r, from += from_row, even += to_row, odd += to_row) {
    for (int64_t i = 0; i < whole; i += W) {
      V const a = V::load(from + 2 * i), b = V::load(from + 2 * i + W);
      shuffled(a, b, Even<W>{}).store(even + i);
      shuffled(a, b, Odd<W>{}).store(odd + i);
    }
    if (rest == 0) continue;
    V const a = first.load(from + 2 * whole), b = second.load(from + 2 * whole + W);
    evens.store(shuffled(a, b, Even<W>{}), even + whole);
    odds.store(shuffled(a, b, Odd<W>{}), odd + whole);
  }
}

template <class T>
void add(T const* from, T* to, int64_t n) {
  using V = Vec<T>;
  int64_t j = 0;
  for (; j + V::width <= n; j += V::width) (V::load(to + j) + V::load(from + j)).store(to + j);
  for (; j < n; ++j) to[j] += from[j];
}

/// The outputs of `a` that tap t gives something from inside: [first, last).
void inside(WindowAxis const& a, int64_t t, int64_t& first, int64_t& last) {
  int64_t const shift = a.pad - t * a.dilation;  // output i reads i·stride − shift
  first = shift <= 0 ? 0 : smaller(a.out, (shift + a.stride - 1) / a.stride);
  int64_t const end = a.in + shift;
  last = end <= 0 ? 0 : smaller(a.out, (end + a.stride - 1) / a.stride);
  last = larger(first, last);
}

/// f(c, row of the columns, output row, first of it, count, input row or −1, input column of output column 0) for each
/// piece of an output row in [begin, end).
template <class T, class Piece>
void walk(ConvShape const& s, int64_t channels, int64_t begin, int64_t end, Piece piece) {
  WindowAxis const &z = s.axis[0], &y = s.axis[1], &x = s.axis[2];
  if (begin >= end) return;
  int64_t const first_row = begin / x.out, last_row = (end - 1) / x.out;
  int64_t row = 0;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t tz = 0; tz < z.kernel; ++tz)
      for (int64_t ty = 0; ty < y.kernel; ++ty)
        for (int64_t tx = 0; tx < x.kernel; ++tx, ++row) {
          int64_t low, high;
          inside(x, tx, low, high);
          int64_t const column = tx * x.dilation - x.pad;
          int64_t oz = first_row / y.out, oy = first_row % y.out;
          for (int64_t o = first_row; o <= last_row; ++o) {
            int64_t const iz = oz * z.stride + tz * z.dilation - z.pad, iy = oy * y.stride + ty * y.dilation - y.pad;
            bool const in = iz >= 0 && iz < z.in && iy >= 0 && iy < y.in;
            int64_t const from = o == first_row ? begin - o * x.out : 0;
            int64_t const to = o == last_row ? end - o * x.out : x.out;
            int64_t const a = in ? larger(from, smaller(low, to)) : to, b = in ? larger(a, smaller(high, to)) : to;
            piece(row * (end - begin) + o * x.out - begin, from, a, b, to,
                  in ? ((c * z.in + iz) * y.in + iy) * x.in + column : 0);
            if (++oy == y.out) oy = 0, ++oz;
          }
        }
}

template <class T>
void gather(ConvShape const& s, int64_t channels, T const* x, int64_t begin, int64_t end, T* columns) {
  int64_t const stride = s.axis[2].stride;
  // Zeros in [from, a) and [b, to), input in [a, b).
  walk<T>(s, channels, begin, end, [=](int64_t row, int64_t from, int64_t a, int64_t b, int64_t to, int64_t input) {
    T* const y = columns + row;
    for (int64_t i = from; i < a; ++i) y[i] = 0;
    if (stride == 1)
      copy(x + input + a, y + a, b - a);
    else
      for (int64_t i = a; i < b; ++i) y[i] = x[input + i * stride];
    for (int64_t i = b; i < to; ++i) y[i] = 0;
  });
}

template <class T>
void scatter(ConvShape const& s, int64_t channels, T const* columns, int64_t begin, int64_t end, T* x) {
  int64_t const stride = s.axis[2].stride;
  walk<T>(s, channels, begin, end, [=](int64_t row, int64_t, int64_t a, int64_t b, int64_t, int64_t input) {
    T const* const y = columns + row;
    if (stride == 1)
      add(y + a, x + input + a, b - a);
    else
      for (int64_t i = a; i < b; ++i) x[input + i * stride] += y[i];
  });
}

#if !defined(__AVX2__)
template <class T>
constexpr std::nullptr_t correlate_3x3{};
template <class T>
constexpr std::nullptr_t correlate_3x3_weight{};
#endif

template <class T>
constexpr ConvKernelsOf<T> table_of{correlate<T>, correlate_weight<T>, correlate_3x3<T>, correlate_3x3_weight<T>,
                                    split<T>,     gather<T>,           scatter<T>};

}  // namespace

constinit ConvKernels const conv_kernels{{table_of<float>, table_of<double>}};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
