// Stockham's self-sorting transform over registers: a line's columns side by side and then its rows, or one line a
// lane. Real lines are transforms of half the length.
#include <heed/engine/ops/fourier.h>
#include <heed/engine/ops/rows.h>
#include <heed/engine/ops/shuffle.h>

#include <algorithm>
#include <numbers>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

using fourier::Passes;
using fourier::Plan;

/// c − a·b
template <class V>
Lane<V> minus_product(Lane<V> c, Lane<V> a, Lane<V> b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<typename Lane<V>::Scalar, float>)
    return V(_mm512_fnmadd_ps(a.v, b.v, c.v));
  else
    return V(_mm512_fnmadd_pd(a.v, b.v, c.v));
#elif defined(__FMA__)
  return xsimd::fnma(a.v, b.v, c.v);
#else
  return c - a * b;
#endif
}

template <class T>
struct Complex {
  Vec<T> re, im;
  Complex operator+(Complex b) const { return {re + b.re, im + b.im}; }
  Complex operator-(Complex b) const { return {re - b.re, im - b.im}; }
  Complex operator*(Vec<T> c) const { return {re * c, im * c}; }
  Complex operator*(Complex b) const { return {minus_product(re * b.re, im, b.im), fma(im, b.re, re * b.im)}; }
  /// −i·this
  Complex turned() const { return {im, Vec<T>(0) - re}; }
  Complex mirrored() const { return {re, Vec<T>(0) - im}; }
  /// this + a·c
  Complex plus(Complex a, Vec<T> c) const { return {fma(a.re, c, re), fma(a.im, c, im)}; }
  Complex minus_turned(Complex b) const { return {re - b.im, im + b.re}; }
  Complex plus_turned(Complex b) const { return {re + b.im, im - b.re}; }
};

/// The transform of R numbers, in place.
template <int R, class T>
[[gnu::always_inline]] inline void butterfly(Complex<T>* a) {
  if constexpr (R == 2) {
    Complex<T> const b = a[1];
    a[1] = a[0] - b;
    a[0] = a[0] + b;
  } else if constexpr (R == 3) {
    Complex<T> const t = a[1] + a[2], u = a[0].plus(t, T(-0.5));
    Complex<T> const v = (a[1] - a[2]) * T(std::numbers::sqrt3 / 2);
    a[0] = a[0] + t;
    a[1] = u.plus_turned(v);
    a[2] = u.minus_turned(v);
  } else if constexpr (R == 4) {
    Complex<T> const t0 = a[0] + a[2], t1 = a[0] - a[2], t2 = a[1] + a[3], t3 = a[1] - a[3];
    a[0] = t0 + t2;
    a[1] = t1.plus_turned(t3);
    a[2] = t0 - t2;
    a[3] = t1.minus_turned(t3);
  } else if constexpr (R == 5) {
    constexpr T c1 = T(0.30901699437494742410), c2 = T(-0.80901699437494742410);  // cos 72°, cos 144°
    constexpr T s1 = T(0.95105651629515357212), s2 = T(0.58778525229247312917);   // sin 72°, sin 144°
    Complex<T> const t1 = a[1] + a[4], t2 = a[2] + a[3], t3 = a[1] - a[4], t4 = a[2] - a[3];
    Complex<T> const m1 = a[0].plus(t1, c1).plus(t2, c2), m2 = a[0].plus(t1, c2).plus(t2, c1);
    Complex<T> const n1 = (t3 * s1).plus(t4, s2), n2 = (t3 * s2).plus(t4, -s1);
    a[0] = a[0] + t1 + t2;
    a[1] = m1.plus_turned(n1);
    a[2] = m2.plus_turned(n2);
    a[3] = m2.minus_turned(n2);
    a[4] = m1.minus_turned(n1);
  } else {
    static_assert(R == 8);
    Complex<T> even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
    butterfly<4>(even);
    butterfly<4>(odd);
    Vec<T> const half = T(std::numbers::sqrt2 / 2);
    Complex<T> const o1 = Complex<T>{odd[1].re + odd[1].im, odd[1].im - odd[1].re} * half;
    Complex<T> const o3 = Complex<T>{odd[3].im - odd[3].re, odd[3].re + odd[3].im} * half;  // −e^(−3πi/4)·odd
    a[0] = even[0] + odd[0];
    a[1] = even[1] + o1;
    a[2] = even[2].plus_turned(odd[2]);
    a[3] = {even[3].re + o3.re, even[3].im - o3.im};
    a[4] = even[0] - odd[0];
    a[5] = even[1] - o1;
    a[6] = even[2].minus_turned(odd[2]);
    a[7] = {even[3].re - o3.re, even[3].im + o3.im};
  }
}

/// Rows of one register, real and imaginary parts apart.
template <class T>
struct Rows {
  T *re, *im;
  Complex<T> operator()(int64_t row) const {
    constexpr int W = Vec<T>::width;
    return {Vec<T>::load(re + row * W), Vec<T>::load(im + row * W)};
  }
  void operator()(int64_t row, Complex<T> x) const {
    constexpr int W = Vec<T>::width;
    x.re.store(re + row * W);
    x.im.store(im + row * W);
  }
};

/// One pass over n = R·m·done rows: y[(R·p + j)·done + q] = wᵖʲ·Σₖ x[(m·k + p)·done + q]·e^(−2πi·jk/R).
template <int R, class T, class Load, class Store>
void pass(Load load, Store store, T const* w, int64_t m, int64_t done) {
  if (m == 1) {
    for (int64_t q = 0; q < done; ++q) {
      Complex<T> a[R];
#pragma GCC unroll 8
      for (int k = 0; k < R; ++k) a[k] = load(k * done + q);
      butterfly<R>(a);
#pragma GCC unroll 8
      for (int j = 0; j < R; ++j) store(j * done + q, a[j]);
    }
    return;
  }
  for (int64_t p = 0; p < m; ++p, w += 2 * (R - 1))
    for (int64_t q = 0; q < done; ++q) {
      Complex<T> a[R];
#pragma GCC unroll 8
      for (int k = 0; k < R; ++k) a[k] = load((k * m + p) * done + q);
      butterfly<R>(a);
      store(R * p * done + q, a[0]);
#pragma GCC unroll 8
      for (int j = 1; j < R; ++j)
        store((R * p + j) * done + q, a[j] * Complex<T>{Vec<T>(w[2 * j - 2]), Vec<T>(w[2 * j - 1])});
    }
}

template <class T, class Load, class Store>
void pass(int radix, Load load, Store store, T const* w, int64_t m, int64_t done) {
  switch (radix) {
    case 2:
      return pass<2, T>(load, store, w, m, done);
    case 3:
      return pass<3, T>(load, store, w, m, done);
    case 4:
      return pass<4, T>(load, store, w, m, done);
    case 5:
      return pass<5, T>(load, store, w, m, done);
    default:
      return pass<8, T>(load, store, w, m, done);
  }
}

/// store(row, ·) the transform of the rows load(row), with two buffers of as many. Passes are compiled for each pair of
/// types that they read and write: not for Load and Store at once, which the shortest lines alone would use.
template <class T, class Load, class Store>
void transform(Passes<T> const& passes, Load load, Rows<T> x, Rows<T> y, Store store) {
  size_t const count = passes.radices.size();
  T const* w = passes.twiddles.data();
  if (count == 0) return store(0, load(0));
  int64_t done = 1;
  for (size_t i = 0; i < count; ++i) {
    int const radix = passes.radices[i];
    int64_t const m = passes.n / done / radix;
    if (i == 0)
      pass<T>(radix, load, y, w, m, done);
    else if (i + 1 < count)
      pass<T>(radix, x, y, w, m, done);
    else
      pass<T>(radix, x, store, w, m, done);
    w += 2 * m * (radix - 1);
    done *= radix;
    std::swap(x, y);
  }
  if (count == 1)
    for (int64_t row = 0; row < done; ++row) store(row, x(row));
}

// ---- registers reordered --------------------------------------------------------------------------------------------

template <int W>
struct Backwards {
  static constexpr int at(int i) { return W - 1 - i; }
};
template <int W, int distance>
struct FirstOf {
  static constexpr int at(int i) { return i & distance ? W + i - distance : i; }
};
template <int W, int distance>
struct SecondOf {
  static constexpr int at(int i) { return i & distance ? W + i : i + distance; }
};

template <class T>
Vec<T> reversed(Vec<T> a) {
  return shuffled(a, a, Backwards<Vec<T>::width>{});
}

/// W registers of W lanes as a matrix, transposed.
template <int distance, class T>
[[gnu::always_inline]] inline void transpose(Vec<T>* a) {
  constexpr int W = Vec<T>::width;
  if constexpr (distance > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
      if (!(i & distance)) {
        Vec<T> const x = a[i], y = a[i + distance];
        a[i] = shuffled(x, y, FirstOf<W, distance>{});
        a[i + distance] = shuffled(x, y, SecondOf<W, distance>{});
      }
    transpose<distance / 2>(a);
  }
}

/// The first `count` of W pairs.
template <class T>
Complex<T> load_pairs(T const* from, int64_t count) {
  constexpr int W = Vec<T>::width;
  Vec<T> a, b;
  if (count >= W) {
    a = Vec<T>::load(from);
    b = Vec<T>::load(from + W);
  } else {
    a = Vec<T>::load_first(from, int(std::min<int64_t>(2 * count, W)));
    b = Vec<T>::load_first(from + W, int(std::max<int64_t>(2 * count - W, 0)));
  }
  return {shuffled(a, b, Even<W>{}), shuffled(a, b, Odd<W>{})};
}
template <class T>
void store_pairs(Complex<T> x, T* to, int64_t count) {
  constexpr int W = Vec<T>::width;
  Vec<T> const a = shuffled(x.re, x.im, ZipLow<W>{}), b = shuffled(x.re, x.im, ZipHigh<W>{});
  if (count >= W) {
    a.store(to);
    b.store(to + W);
  } else {
    a.store_first(to, int(std::min<int64_t>(2 * count, W)));
    b.store_first(to + W, int(std::max<int64_t>(2 * count - W, 0)));
  }
}

/// With the parts exchanged before and after, a forward transform is an inverse one.
template <class T>
Complex<T> exchanged(Complex<T> x, bool yes) {
  return yes ? Complex<T>{x.im, x.re} : x;
}

/// Where registers come from: pairs, or parts apart; row r stands r·step elements behind. One type for all, so that the
/// passes that read are compiled once.
template <class T>
struct Source {
  T const *re = nullptr, *im = nullptr;  // im: none for pairs
  int64_t step = 0, left = 0;            // elements between rows; elements from the first row's on
  int64_t most = 0;                      // of a row
  bool exchange = false;                 // pairs (im, re)
  Complex<T> operator()(int64_t row) const {
    constexpr int W = Vec<T>::width;
    int64_t const i = row * step, count = std::min(left - i, most);
    if (!im) return exchanged(load_pairs(re + 2 * i, count), exchange);
    if (count >= W) return {Vec<T>::load(re + i), Vec<T>::load(im + i)};
    return {Vec<T>::load_first(re + i, int(count)), Vec<T>::load_first(im + i, int(count))};
  }
};
/// Where they go, likewise, times `scale`.
template <class T>
struct Sink {
  T *re = nullptr, *im = nullptr;
  int64_t step = 0, most = 0;
  bool exchange = false;
  T scale = 1;
  Sink from(int64_t element, int64_t count) const {
    int64_t const at = im ? element : 2 * element;
    return {re + at, im ? im + at : nullptr, step, count, exchange, scale};
  }
  void operator()(int64_t row, Complex<T> x) const {
    int64_t const i = row * step;
    if (!im) return store_pairs(exchanged(x, exchange) * Vec<T>(scale), re + 2 * i, most);
    x.re.store_first(re + i, int(most));
    x.im.store_first(im + i, int(most));
  }
};

// ---- one line at a time ---------------------------------------------------------------------------------------------

/// Parts of a line apart, with a register's room before and behind.
template <class T>
struct Parts {
  T *re, *im;
  Complex<T> load(int64_t i) const { return {Vec<T>::load(re + i), Vec<T>::load(im + i)}; }
  void store(int64_t i, Complex<T> x) const {
    x.re.store(re + i);
    x.im.store(im + i);
  }
  Complex<T> load_backwards(int64_t i) const {  // from i down
    Complex<T> const x = load(i - Vec<T>::width + 1);
    return {reversed(x.re), reversed(x.im)};
  }
};

/// Memory of one worker.
template <class T>
struct Buffers {
  static constexpr int64_t W = Vec<T>::width;
  explicit Buffers(int64_t rows, int64_t parts)
      : rows_(rows * W), parts_(parts + 2 * W), memory_(4 * rows_ + 4 * parts_ + 4 * W * W) {}
  Rows<T> rows(int i) { return {at(2 * i * rows_), at((2 * i + 1) * rows_)}; }
  Rows<T> tile(int i) {
    int64_t const from = 4 * rows_ + 4 * parts_ + 2 * i * W * W;
    return {at(from), at(from + W * W)};
  }
  Parts<T> parts(int i) {
    int64_t const from = 4 * rows_ + 2 * i * parts_ + W;
    return {at(from), at(from + parts_)};
  }

 private:
  T* at(int64_t i) { return memory_.data() + i; }
  int64_t rows_, parts_;
  Scratch<T> memory_;
};

/// The transform of a line; the steps are set here.
template <class T>
void transform_line(Plan<T> const& plan, Source<T> from, Buffers<T>& buffers, Sink<T> to) {
  constexpr int W = Vec<T>::width;
  int64_t const rows = plan.down.n;
  from.step = plan.columns;
  from.left = plan.n;
  from.most = W;
  to.step = rows;
  Rows<T> const middle = plan.down.radices.size() % 2 ? buffers.rows(1) : buffers.rows(0);
  transform<T>(plan.down, from, buffers.rows(0), buffers.rows(1), middle);
  Rows<T> const tile = buffers.tile(0);
  for (int64_t first = 0; first < rows; first += W) {
    Vec<T> re[W], im[W];
    int64_t const count = std::min<int64_t>(W, rows - first);
    if (count < W)
      for (int r = 0; r < W; ++r) re[r] = im[r] = 0;
    auto const turned = [&](int r) __attribute__((always_inline)) {
      T const* const w = plan.turns.data() + (first + r) * 2 * W;
      Complex<T> const x = middle(first + r) * Complex<T>{Vec<T>::load(w), Vec<T>::load(w + W)};
      re[r] = x.re;
      im[r] = x.im;
    };
    if (count == W) {
#pragma GCC unroll 16
      for (int r = 0; r < W; ++r) turned(r);
    } else {
      for (int r = 0; r < int(count); ++r) turned(r);
    }
    transpose<W / 2>(re);
    transpose<W / 2>(im);
#pragma GCC unroll 16
    for (int c = 0; c < W; ++c) tile(c, {re[c], im[c]});
    transform<T>(plan.across, tile, tile, buffers.tile(1), to.from(first, count));
  }
}

// ---- one line a lane ------------------------------------------------------------------------------------------------

/// W numbers of each of `lines` ≤ W lines become rows to(i), i < n; lines end after n numbers.
template <class T, class To>
void lines_to_lanes(T const* from, int64_t line, int64_t lines, int64_t n, To to) {
  constexpr int W = Vec<T>::width;
  for (int64_t first = 0; first < n; first += W) {
    int64_t const count = std::min<int64_t>(W, n - first);
    Vec<T> a[W];
    if (count == W && lines == W) {
#pragma GCC unroll 16
      for (int l = 0; l < W; ++l) a[l] = Vec<T>::load(from + l * line + first);
    } else {
      for (int l = 0; l < W; ++l)
        a[l] = l < lines ? Vec<T>::load_first(from + l * line + first, int(count)) : Vec<T>(0);
    }
    transpose<W / 2>(a);
    for (int i = 0; i < int(count); ++i) a[i].store(to(first + i));
  }
}
template <class T, class From>
void lanes_to_lines(From from, int64_t n, T* to, int64_t line, int64_t lines) {
  constexpr int W = Vec<T>::width;
  for (int64_t first = 0; first < n; first += W) {
    int64_t const count = std::min<int64_t>(W, n - first);
    Vec<T> a[W];
    for (int i = 0; i < W; ++i) a[i] = i < count ? from(first + i) : Vec<T>(0);
    transpose<W / 2>(a);
    if (count == W)
      for (int l = 0; l < int(lines); ++l) a[l].store(to + l * line + first);
    else
      for (int l = 0; l < int(lines); ++l) a[l].store_first(to + l * line + first, int(count));
  }
}

/// The transform of x's rows, which may end up in x or y.
template <class T>
Rows<T> transform_lanes(Plan<T> const& plan, Rows<T> x, Rows<T> y) {
  if (plan.down.radices.empty()) return x;
  Rows<T> const end = plan.down.radices.size() % 2 ? y : x;
  transform<T>(plan.down, x, x, y, end);
  return end;
}

// ---- Bluestein's ----------------------------------------------------------------------------------------------------

template <class T>
void split_line(Plan<T> const& plan, T const* re, T const* im, T* to_re, T* to_im);

/// A line re, im in place; room for 2·inner->n.
template <class T>
void bluestein(Plan<T> const& plan, T* re, T* im, double* room) {
  int64_t const n = plan.n, m = plan.inner->n;
  double *const a = room, *const b = room + m;
  double const *const c = plan.chirp.data(), *const s = c + n, *const f = plan.filter.data(), *const h = f + m;
  for (int64_t k = 0; k < n; ++k) {
    double const x = double(re[k]), y = double(im[k]);
    a[k] = x * c[k] - y * s[k];
    b[k] = x * s[k] + y * c[k];
  }
  std::fill(a + n, a + m, 0.0);
  std::fill(b + n, b + m, 0.0);
  split_line(*plan.inner, a, b, a, b);
  for (int64_t k = 0; k < m; ++k) {
    double const x = a[k], y = b[k];
    a[k] = x * f[k] - y * h[k];
    b[k] = x * h[k] + y * f[k];
  }
  split_line(*plan.inner, b, a, b, a);  // parts exchanged on the way in and out: the inverse transform
  for (int64_t k = 0; k < n; ++k) {
    double const x = a[k], y = b[k];
    re[k] = T(x * c[k] - y * s[k]);
    im[k] = T(x * s[k] + y * c[k]);
  }
}

template <class T>
void split_line(Plan<T> const& plan, T const* re, T const* im, T* to_re, T* to_im) {
  constexpr int W = Vec<T>::width;
  if (plan.columns) {
    Buffers<T> buffers(plan.down.n, 0);
    transform_line<T>(plan, {.re = re, .im = im}, buffers, {.re = to_re, .im = to_im});
    return;
  }
  Buffers<T> buffers(plan.n, 0);
  Rows<T> const rows = buffers.rows(0);
  for (int64_t i = 0; i < plan.n; ++i) rows(i, {Vec<T>(re[i]), Vec<T>(im[i])});
  Rows<T> const y = transform_lanes(plan, rows, buffers.rows(1));
  for (int64_t i = 0; i < plan.n; ++i) {
    to_re[i] = y.re[i * W];
    to_im[i] = y.im[i * W];
  }
}

// ---- whole lines ----------------------------------------------------------------------------------------------------

/// body(line, buffers) for every line, or by(first, count, buffers) for every W of them.
template <class T, class Line, class Lanes>
void for_lines(Plan<T> const& plan, int64_t lines, Line one, Lanes several) {
  constexpr int W = Vec<T>::width;
  int64_t const n = plan.n;
  if (plan.columns || plan.inner) {
    parallel_for(lines, std::max<int64_t>(1, 8192 / n), [&](int64_t begin, int64_t end) {
      Buffers<T> buffers(plan.down.n, n + 1);
      for (int64_t l = begin; l < end; ++l) one(l, buffers);
    });
  } else {
    int64_t const groups = (lines + W - 1) / W;
    parallel_for(groups, std::max<int64_t>(1, 8192 / (n * W)), [&](int64_t begin, int64_t end) {
      Buffers<T> buffers(n + 2, 0);
      for (int64_t g = begin; g < end; ++g) several(g * W, std::min<int64_t>(W, lines - g * W), buffers);
    });
  }
}

/// parts(0) transformed by Bluestein's.
template <class T>
void bluestein(Plan<T> const& plan, Buffers<T>& buffers) {
  Scratch<double> room(2 * plan.inner->n);
  bluestein(plan, buffers.parts(0).re, buffers.parts(0).im, room.data());
}

/// Pairs `from` to parts(0), and back.
template <class T>
void split_pairs(T const* from, int64_t n, bool exchange, Parts<T> to) {
  for (int64_t i = 0; i < n; i += Vec<T>::width) to.store(i, exchanged(load_pairs(from + 2 * i, n - i), exchange));
}
template <class T>
void join_pairs(Parts<T> from, int64_t n, bool exchange, T scale, T* to) {
  for (int64_t i = 0; i < n; i += Vec<T>::width)
    store_pairs(exchanged(from.load(i), exchange) * Vec<T>(scale), to + 2 * i, n - i);
}

/// Pairs x to pairs y, by line.
template <class T>
void complex_line(Plan<T> const& plan, T const* x, T* y, bool inverse, T scale, Buffers<T>& buffers) {
  if (plan.inner) {
    split_pairs(x, plan.n, inverse, buffers.parts(0));
    bluestein(plan, buffers);
    return join_pairs(buffers.parts(0), plan.n, inverse, scale, y);
  }
  transform_line<T>(plan, {.re = x, .exchange = inverse}, buffers, {.re = y, .exchange = inverse, .scale = scale});
}

/// Rows as alternating real and imaginary ones.
template <class T>
auto pair_rows(Rows<T> x, bool exchange) {
  return [=](int64_t i) { return ((i % 2 == 1) != exchange ? x.im : x.re) + i / 2 * Vec<T>::width; };
}

template <class T>
void complex_lines(Plan<T> const& plan, T const* x, T* y, int64_t lines, bool inverse, T scale) {
  int64_t const n = plan.n;
  for_lines<T>(
      plan, lines,
      [=, &plan](int64_t l, Buffers<T>& buffers) {
        complex_line(plan, x + l * 2 * n, y + l * 2 * n, inverse, scale, buffers);
      },
      [=, &plan](int64_t first, int64_t count, Buffers<T>& buffers) {
        lines_to_lanes(x + first * 2 * n, 2 * n, count, 2 * n, pair_rows(buffers.rows(0), inverse));
        auto const from = pair_rows(transform_lanes(plan, buffers.rows(0), buffers.rows(1)), inverse);
        lanes_to_lines([=](int64_t i) { return Vec<T>::load(from(i)) * Vec<T>(scale); }, 2 * n, y + first * 2 * n,
                       2 * n, count);
      });
}

/// Whole registers of columns of R pairs, `step` elements apart: what transform() gives, without its buffers.
template <int R, class T>
void short_columns(T const* from, T* to, int64_t step, bool inverse, T scale) {
  constexpr int W = Vec<T>::width;
  Complex<T> a[R];
#pragma GCC unroll 8
  for (int k = 0; k < R; ++k) a[k] = exchanged(load_pairs(from + k * step, W), inverse);
  butterfly<R>(a);
#pragma GCC unroll 8
  for (int j = 0; j < R; ++j) store_pairs(exchanged(a[j], inverse) * Vec<T>(scale), to + j * step, W);
}
/// Whether there is one for so many.
template <class T>
bool short_columns(int64_t n, T const* from, T* to, int64_t step, bool inverse, T scale) {
  if constexpr (sizeof(Batch<T>) <= 16) return false;  // the lowest level is kept small
  if (n == 2) return short_columns<2>(from, to, step, inverse, scale), true;
  if (n == 3) return short_columns<3>(from, to, step, inverse, scale), true;
  if (n == 4) return short_columns<4>(from, to, step, inverse, scale), true;
  if (n == 5) return short_columns<5>(from, to, step, inverse, scale), true;
  if (n == 8) return short_columns<8>(from, to, step, inverse, scale), true;
  return false;
}

template <class T>
void complex_columns(Plan<T> const& plan, T const* x, T* y, int64_t outer, int64_t inner, bool inverse, T scale) {
  constexpr int W = Vec<T>::width;
  int64_t const n = plan.n, step = 2 * inner, each = plan.inner ? 1 : W, groups = (inner + each - 1) / each;
  parallel_for(outer * groups, std::max<int64_t>(1, 8192 / (n * each)), [&](int64_t begin, int64_t end) {
    Buffers<T> buffers(plan.inner ? 0 : n, plan.inner ? n : 0);
    for (int64_t g = begin; g < end; ++g) {
      int64_t const first = g % groups * each, count = std::min(each, inner - first);
      T const* const from = x + (g / groups * n * inner + first) * 2;
      T* const to = y + (g / groups * n * inner + first) * 2;
      if (count == W && short_columns(n, from, to, step, inverse, scale)) continue;
      if (!plan.inner) {
        transform<T>(plan.down, Source<T>{from, nullptr, inner, n * inner, count, inverse}, buffers.rows(0),
                     buffers.rows(1), Sink<T>{to, nullptr, inner, count, inverse, scale});
        continue;
      }
      Parts<T> const z = buffers.parts(0);
      T *const re = inverse ? z.im : z.re, *const im = inverse ? z.re : z.im;
      for (int64_t i = 0; i < n; ++i) re[i] = from[i * step], im[i] = from[i * step + 1];
      bluestein(plan, buffers);
      for (int64_t i = 0; i < n; ++i) to[i * step] = scale * re[i], to[i * step + 1] = scale * im[i];
    }
  });
}

/// From Z, the transform of z = even + i·odd elements: X = E + w·O with the transforms E, O of those, taken apart by
/// symmetry. `mirror` is conj Z[n/2 − k].
template <class T>
Complex<T> real_from_half(Complex<T> z, Complex<T> mirror, Complex<T> root) {
  return z + mirror + root * (z - mirror).turned();
}
/// The way back, parts exchanged: even elements from X + mirror, odd ones from (X − mirror)·w⁻¹.
template <class T>
Complex<T> half_from_real(Complex<T> x, Complex<T> mirror, Complex<T> root) {
  Complex<T> const odd = root.mirrored() * (x - mirror), even = x + mirror;
  return {even.im + odd.re, even.re - odd.im};
}

template <class T>
Complex<T> roots_at(Plan<T> const& plan, int64_t k, int64_t count) {
  T const* const re = plan.roots.data() + k;
  T const* const im = re + plan.n + 1;
  if (count >= Vec<T>::width) return {Vec<T>::load(re), Vec<T>::load(im)};
  return {Vec<T>::load_first(re, int(count)), Vec<T>::load_first(im, int(count))};
}
template <class T>
Complex<T> root_at(Plan<T> const& plan, int64_t k) {
  return {Vec<T>(plan.roots[size_t(k)]), Vec<T>(plan.roots[size_t(plan.n + 1 + k)])};
}

/// parts(0) transformed into parts(1); returns those.
template <class T>
Parts<T> transform_parts(Plan<T> const& plan, Buffers<T>& buffers) {
  Parts<T> const from = buffers.parts(0), to = buffers.parts(1);
  if (plan.inner) {
    bluestein(plan, buffers);
    return from;
  }
  transform_line<T>(plan, {.re = from.re, .im = from.im}, buffers, {.re = to.re, .im = to.im});
  return to;
}

template <class T>
void real_lines(Plan<T> const& plan, T const* x, T* y, int64_t lines, int64_t n, T scale) {
  constexpr int W = Vec<T>::width;
  int64_t const half = n / 2, out = half + 1;
  bool const odd = n % 2 == 1;
  for_lines<T>(
      plan, lines,
      [=, &plan](int64_t l, Buffers<T>& buffers) {
        T const* const from = x + l * n;
        T* const to = y + l * 2 * out;
        Parts<T> const parts = buffers.parts(0);
        if (odd) {
          std::copy_n(from, n, parts.re);
          std::fill_n(parts.im, n, T(0));
          return join_pairs(transform_parts(plan, buffers), out, false, scale, to);
        }
        split_pairs(from, half, false, parts);
        Parts<T> const z = transform_parts(plan, buffers);
        z.re[half] = z.re[0];
        z.im[half] = z.im[0];
        for (int64_t k = 0; k < out; k += W) {
          Complex<T> const both =
              real_from_half(z.load(k), z.load_backwards(half - k).mirrored(), roots_at(plan, k, out - k));
          store_pairs(both * Vec<T>(T(0.5) * scale), to + 2 * k, out - k);
        }
      },
      [=, &plan](int64_t first, int64_t count, Buffers<T>& buffers) {
        T const* const from = x + first * n;
        T* const to = y + first * 2 * out;
        Rows<T> const a = buffers.rows(0), b = buffers.rows(1);
        if (odd) {
          lines_to_lanes(from, n, count, n, [=](int64_t i) { return a.re + i * W; });
          std::fill_n(a.im, n * W, T(0));
        } else {
          lines_to_lanes(from, n, count, n, pair_rows(a, false));
        }
        Rows<T> z = transform_lanes(plan, a, b);
        if (!odd) {
          Rows<T> const other = z.re == a.re ? b : a;
          for (int64_t k = 0; k < out; ++k)
            other(k, real_from_half(z(k % half), z((half - k) % half).mirrored(), root_at(plan, k)) * Vec<T>(T(0.5)));
          z = other;
        }
        auto const row = pair_rows(z, false);
        lanes_to_lines([=](int64_t i) { return Vec<T>::load(row(i)) * Vec<T>(scale); }, 2 * out, to, 2 * out, count);
      });
}

template <class T>
void hermitian_lines(Plan<T> const& plan, T const* x, T* y, int64_t lines, int64_t n, T scale) {
  constexpr int W = Vec<T>::width;
  int64_t const half = n / 2, in = half + 1;
  bool const odd = n % 2 == 1;
  for_lines<T>(
      plan, lines,
      [=, &plan](int64_t l, Buffers<T>& buffers) {
        T const* const from = x + l * 2 * in;
        T* const to = y + l * n;
        Parts<T> const a = buffers.parts(0), b = buffers.parts(1);
        if (odd) {
          split_pairs(from, in, true, a);
          a.re[0] = 0;
          for (int64_t k = 1; k < in; ++k) {
            a.im[n - k] = a.im[k];
            a.re[n - k] = -a.re[k];
          }
          Parts<T> const z = transform_parts(plan, buffers);
          for (int64_t i = 0; i < n; ++i) to[i] = scale * z.im[i];
          return;
        }
        split_pairs(from, in, false, b);
        b.im[0] = b.im[half] = 0;
        for (int64_t k = 0; k < half; k += W)
          a.store(k, half_from_real(b.load(k), b.load_backwards(half - k).mirrored(), roots_at(plan, k, in - k)));
        join_pairs(transform_parts(plan, buffers), half, true, scale, to);
      },
      [=, &plan](int64_t first, int64_t count, Buffers<T>& buffers) {
        T const* const from = x + first * 2 * in;
        Rows<T> const a = buffers.rows(0), b = buffers.rows(1);
        lines_to_lanes(from, 2 * in, count, 2 * in, pair_rows(odd ? a : b, odd));
        if (odd) {
          std::fill_n(a.re, W, T(0));
          for (int64_t k = 1; k < in; ++k) a(n - k, {Vec<T>(0) - a(k).re, a(k).im});
        } else {
          std::fill_n(b.im, W, T(0));
          std::fill_n(b.im + half * W, W, T(0));
          for (int64_t k = 0; k < half; ++k) a(k, half_from_real(b(k), b(half - k).mirrored(), root_at(plan, k)));
        }
        Rows<T> const z = transform_lanes(plan, a, b);
        auto const row = pair_rows(z, true);
        lanes_to_lines([=](int64_t i) { return Vec<T>::load(odd ? z.im + i * W : row(i)) * Vec<T>(scale); }, n,
                       y + first * n, n, count);
      });
}

template <class T>
constexpr FourierKernelsOf<T> table{int(Vec<T>::width), complex_lines<T>,   complex_columns<T>,
                                    real_lines<T>,      hermitian_lines<T>, split_line<T>};

}  // namespace

constinit FourierKernels const fourier_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
