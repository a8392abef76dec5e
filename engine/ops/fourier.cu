// Fourier transforms by Stockham's passes in shared memory: a block takes a few lines side by side. Lines that are too
// long for it are read as matrices and transformed axis by axis, lengths with large prime factors by Bluestein's
// convolution, real lines as complex ones of half the length.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/fourier.h>

#include <numbers>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

using fourier::Root;

template <class T>
struct Complex {
  T re, im;
  __device__ Complex operator+(Complex b) const { return {re + b.re, im + b.im}; }
  __device__ Complex operator-(Complex b) const { return {re - b.re, im - b.im}; }
  __device__ Complex operator*(T c) const { return {re * c, im * c}; }
  __device__ Complex operator*(Complex b) const { return {re * b.re - im * b.im, re * b.im + im * b.re}; }
  __device__ Complex mirrored() const { return {re, -im}; }
  __device__ Complex exchanged(bool yes) const { return yes ? Complex{im, re} : *this; }
  /// −i·this
  __device__ Complex turned() const { return {im, -re}; }
};

/// The transform of R numbers, in place.
template <int R, class T>
__device__ inline void butterfly(Complex<T>* a) {
  if constexpr (R == 2) {
    Complex<T> const b = a[1];
    a[1] = a[0] - b;
    a[0] = a[0] + b;
  } else if constexpr (R == 3) {
    Complex<T> const t = a[1] + a[2], u = a[0] + t * T(-0.5);
    Complex<T> const v = ((a[1] - a[2]) * T(std::numbers::sqrt3 / 2)).turned();
    a[0] = a[0] + t;
    a[1] = u + v;
    a[2] = u - v;
  } else if constexpr (R == 4) {
    Complex<T> const t0 = a[0] + a[2], t1 = a[0] - a[2], t2 = a[1] + a[3], t3 = (a[1] - a[3]).turned();
    a[0] = t0 + t2;
    a[1] = t1 + t3;
    a[2] = t0 - t2;
    a[3] = t1 - t3;
  } else if constexpr (R == 5) {
    constexpr T c1 = T(0.30901699437494742410), c2 = T(-0.80901699437494742410);  // cos 72°, cos 144°
    constexpr T s1 = T(0.95105651629515357212), s2 = T(0.58778525229247312917);   // sin 72°, sin 144°
    Complex<T> const t1 = a[1] + a[4], t2 = a[2] + a[3], t3 = a[1] - a[4], t4 = a[2] - a[3];
    Complex<T> const m1 = a[0] + t1 * c1 + t2 * c2, m2 = a[0] + t1 * c2 + t2 * c1;
    Complex<T> const n1 = (t3 * s1 + t4 * s2).turned(), n2 = (t3 * s2 - t4 * s1).turned();
    a[0] = a[0] + t1 + t2;
    a[1] = m1 + n1;
    a[2] = m2 + n2;
    a[3] = m2 - n2;
    a[4] = m1 - n1;
  } else {
    static_assert(R == 8);
    Complex<T> even[4] = {a[0], a[2], a[4], a[6]}, odd[4] = {a[1], a[3], a[5], a[7]};
    butterfly<4>(even);
    butterfly<4>(odd);
    constexpr T half = T(std::numbers::sqrt2 / 2);
    odd[1] = Complex<T>{odd[1].re + odd[1].im, odd[1].im - odd[1].re} * half;
    odd[2] = odd[2].turned();
    odd[3] = Complex<T>{odd[3].im - odd[3].re, -odd[3].re - odd[3].im} * half;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      a[i] = even[i] + odd[i];
      a[i + 4] = even[i] - odd[i];
    }
  }
}

/// Shared memory of `lines` lines of n numbers: number i of line l lies at i·pitch + l. The pitch is odd, so that
/// banks differ along lines and across them.
template <class T>
struct Tile {
  T *re, *im;
  int pitch;
  __device__ Complex<T> operator()(int i, int line) const { return {re[i * pitch + line], im[i * pitch + line]}; }
  __device__ void operator()(int i, int line, Complex<T> x) const {
    re[i * pitch + line] = x.re;
    im[i * pitch + line] = x.im;
  }
};

/// One pass over lines of n = R·m·done: y[(R·p + j)·done + q] = wᵖʲ·Σₖ x[(m·k + p)·done + q]·e^(−2πi·jk/R), where
/// roots[i·step] = e^(−2πi·i/n).
template <int R, class T>
__device__ inline void pass(Tile<T> x, Tile<T> y, int n, int lines, int done, Complex<T> const* roots, int64_t step) {
  int const each = n / R, m = each / done;
  for (int b = int(threadIdx.x); b < each * lines; b += block_threads) {
    int const line = b % lines, c = b / lines, q = c % done, p = c / done;
    Complex<T> a[R];
#pragma unroll
    for (int k = 0; k < R; ++k) a[k] = x(k * each + c, line);
    butterfly<R>(a);
    y(R * p * done + q, line, a[0]);
#pragma unroll
    for (int j = 1; j < R; ++j)
      y((R * p + j) * done + q, line, m == 1 ? a[j] : a[j] * roots[int64_t(p * j * done) * step]);
  }
}

/// What the numbers of a line are in memory: pairs; reals, where imaginary parts are 0 or do not count; the first half
/// of a real line's spectrum, from or to either the whole of its odd length or half of its even one, whose numbers are
/// pairs of neighbours; or nothing, but the filter of Bluestein's convolution.
enum class Form : uint8_t { pairs, reals, spectrum, half_spectrum, filter };

/// One side of a transform: [outer, count, inner] numbers.
struct Side {
  void* at;
  Form form;
  bool wide;       // f64
  bool exchanged;  // parts before and after: a forward transform is an inverse one
  bool chirped;    // times cₖ
  int64_t count, inner;
};

/// What a launch does: sub-lines of f numbers out of lines of n = before·f·rest. Line P·f·rest + j·rest + r of a line's
/// numbers, j < f, is read and written by its sub-line (P, r); the last step writes it in the order of the spectrum.
struct Step {
  uint64_t radices;  // 4 bits each, the first lowest
  int f, lines, pitch;
  int64_t n, before, rest, first_factor, inner, tasks;
  bool from_aside, to_aside;  // neighbouring sub-lines lie side by side
};

template <class C>
struct Tables {
  Complex<C> const* roots;  // e^(−2πi·k/n) at k·step
  int64_t step;
  Complex<C> const* turns;  // e^(−πi·k/of), k < 2·of
  int64_t of;
  Complex<C> const* filter;  // by which results are multiplied, or null
};

template <class C>
__device__ inline C real_at(Side const& s, int64_t i) {
  return s.wide ? C(static_cast<double const*>(s.at)[i]) : C(static_cast<float const*>(s.at)[i]);
}
template <class C>
__device__ inline void put_real(Side const& s, int64_t i, C x) {
  if (s.wide)
    static_cast<double*>(s.at)[i] = double(x);
  else
    static_cast<float*>(s.at)[i] = float(x);
}
template <class C>
__device__ inline Complex<C> pair_at(Side const& s, int64_t i) {
  return {real_at<C>(s, 2 * i), real_at<C>(s, 2 * i + 1)};
}

/// cₖ = e^(−πi·k²/of)
template <class C>
__device__ inline Complex<C> chirp(Tables<C> const& t, int64_t k) {
  return t.turns[k * k % (2 * t.of)];
}

/// Number j of the line that begins at `base`.
template <class C>
__device__ Complex<C> fetch(Side const& s, Tables<C> const& t, int64_t base, int64_t j, int64_t n) {
  Complex<C> x{0, 0};
  if (s.form == Form::filter) {
    int64_t const k = j < t.of ? j : n - j;
    return k < t.of ? chirp(t, k).mirrored() * (C(1) / C(n)) : x;
  }
  int64_t const own = s.chirped ? t.of : n;
  if (j >= own) return x;
  if (s.form == Form::pairs) {
    x = pair_at<C>(s, base + j * s.inner);
  } else if (s.form == Form::reals) {
    x.re = real_at<C>(s, base + j);
  } else if (s.form == Form::spectrum) {
    x = pair_at<C>(s, base + (j < s.count ? j : own - j));
    if (j == 0) x.im = 0;
    if (j >= s.count) x.im = -x.im;
  } else {
    // Even elements from X + mirror, odd ones from (X − mirror)·w⁻¹.
    Complex<C> a = pair_at<C>(s, base + j), mirror = pair_at<C>(s, base + own - j).mirrored();
    if (j == 0) a.im = mirror.im = 0;
    x = a + mirror - (t.turns[j].mirrored() * (a - mirror)).turned();
  }
  x = x.exchanged(s.exchanged);
  return s.chirped ? x * chirp(t, j) : x;
}

template <class C>
__device__ void put(Side const& s, Tables<C> const& t, int64_t base, int64_t k, Complex<C> x, C scale) {
  if (t.filter) x = x * t.filter[k];
  if (s.chirped) x = x.exchanged(true) * chirp(t, k);  // what comes is an inverse transform by a forward one
  x = x.exchanged(s.exchanged) * scale;
  int64_t const at = base + k * s.inner;
  if (s.form == Form::reals) return put_real(s, at, x.re);
  put_real(s, 2 * at, x.re);
  put_real(s, 2 * at + 1, x.im);
}

/// From Z, the transform of z = even + i·odd elements: 2·X = E + w·O with the transforms E, O of those, taken apart by
/// symmetry. `mirror` is conj Z[n/2 − k].
template <class C>
__device__ inline Complex<C> real_from_half(Complex<C> z, Complex<C> mirror, Complex<C> turn) {
  return z + mirror + turn * (z - mirror).turned();
}

/// 8 bytes read and written of each number of f32 (and as many of a twiddle from the caches) for 5·log₂ f operations,
/// so bound by memory; each pass moves as much through shared memory, several threads to a bank where a line is alone.
template <class C>
__global__ void __launch_bounds__(block_threads, 1) transform_kernel(Step s, Side from, Side to, Tables<C> t, C scale) {
  HEED_DYNAMIC_SHARED(C, memory);
  int const size = s.f * s.pitch;
  Tile<C> x{memory, memory + size, s.pitch}, y{memory + 2 * size, memory + 3 * size, s.pitch};
  int64_t const first = int64_t(blockIdx.x) * s.lines, a_line = s.n / s.f;
  int const lines = s.tasks - first < s.lines ? int(s.tasks - first) : s.lines;
  struct Place {
    int64_t outer, column, before, rest;
  };
  auto const place = [&](int line) -> Place {
    int64_t const task = first + line, i = task % s.inner, u = task / s.inner, v = u % a_line;
    return {u / a_line, i, v / s.rest, v % s.rest};
  };
  for (int e = int(threadIdx.x); e < s.f * lines; e += block_threads) {
    int const line = s.from_aside ? e % lines : e / s.f, j = s.from_aside ? e / lines : e % s.f;
    Place const p = place(line);
    x(j, line, fetch(from, t, p.outer * from.count * s.inner + p.column, (p.before * s.f + j) * s.rest + p.rest, s.n));
  }
  __syncthreads();
  int done = 1;
  int64_t const step = t.step * a_line;
  for (uint64_t left = s.radices; left != 0; left >>= 4) {
    int const radix = int(left & 15);
    if (radix == 2) pass<2>(x, y, s.f, lines, done, t.roots, step);
    if (radix == 3) pass<3>(x, y, s.f, lines, done, t.roots, step);
    if (radix == 4) pass<4>(x, y, s.f, lines, done, t.roots, step);
    if (radix == 5) pass<5>(x, y, s.f, lines, done, t.roots, step);
    if (radix == 8) pass<8>(x, y, s.f, lines, done, t.roots, step);
    done *= radix;
    Tile<C> const other = x;
    x = y;
    y = other;
    __syncthreads();
  }
  int const out = to.form == Form::half_spectrum ? s.f + 1 : s.f;
  for (int e = int(threadIdx.x); e < out * lines; e += block_threads) {
    int const line = s.to_aside ? e % lines : e / out, k = s.to_aside ? e / lines : e % out;
    Place const p = place(line);
    int64_t const base = p.outer * to.count * s.inner + p.column;
    if (to.form == Form::half_spectrum) {
      Complex<C> const z = real_from_half(x(k % s.f, line), x((s.f - k) % s.f, line).mirrored(), t.turns[k]);
      put(to, t, base, k, z, scale / 2);
      continue;
    }
    Complex<C> z = x(k, line);
    int64_t at = (p.before * s.f + k) * s.rest + p.rest;
    if (s.rest > 1)  // the twiddle of what is left, n/before numbers
      z = z * t.roots[int64_t(k) * p.rest * s.before * t.step];
    else
      at = k * s.before + p.before % (s.before / s.first_factor) * s.first_factor +
           p.before / (s.before / s.first_factor);
    if (at < to.count) put(to, t, base, at, z, scale);
  }
}

/// The last step of a long real line's transform.
template <class C>
__global__ void __launch_bounds__(block_threads, 1)
    untangle_kernel(Complex<C> const* z, Side to, Tables<C> t, int64_t numel, C scale) {
  int64_t const i = int64_t(blockIdx.x) * block_threads + int(threadIdx.x), n = t.of;
  if (i >= numel) return;
  int64_t const line = i / (n + 1), k = i % (n + 1);
  Complex<C> const* const from = z + line * n;
  put(to, t, line * (n + 1), k, real_from_half(from[k % n], from[(n - k) % n].mirrored(), t.turns[k]), scale / 2);
}

/// roots[k] = e^(−2πi·k/n): Taylor's series, which end in the last digit for arguments up to π/4.
template <class C>
__global__ void __launch_bounds__(block_threads, 1) roots_kernel(Complex<C>* roots, int64_t n) {
  int64_t const k = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (k >= n) return;
  Root const w = fourier::root(k, n, [](double x, double of) {
    double const angle = std::numbers::pi * x / of, square = angle * angle;
    double c = 1, s = 1;
#pragma unroll
    for (int i = 18; i > 0; i -= 2) {
      c = 1 - square * (1. / (i * (i - 1))) * c;
      s = 1 - square * (1. / (i * (i + 1))) * s;
    }
    return Root{c, angle * s};
  });
  roots[k] = {C(w.re), C(w.im)};
}

rt::Dim threads_for(int64_t n) { return in_a_row((n + block_threads - 1) / block_threads); }

template <class C>
struct Roots : DeviceScratch<Complex<C>> {
  explicit Roots(int64_t n) : DeviceScratch<Complex<C>>(n) {
    launch(roots_kernel<C>, "fft_roots", threads_for(n), {block_threads}, 0, this->data(), n);
  }
};

template <class C>
Side pairs_of(Complex<C>* at, int64_t count, int64_t inner) {
  return {at, Form::pairs, sizeof(C) == 8, false, false, count, inner};
}

/// Numbers that a block holds at most: 64 KiB in two buffers.
template <class C>
constexpr int64_t most_held = (64 << 10) / (4 * sizeof(C));

/// The largest divisor of a smooth n that a block can hold.
template <class C>
int64_t held_factor(int64_t n) {
  int64_t f = n < most_held<C> ? n : most_held<C>;
  while (n % f != 0) --f;
  return f;
}

/// Lines of a smooth n from one side to the other.
template <class C>
void smooth_transform(Side const& from, Side const& to, Tables<C> const& tables, int64_t n, int64_t outer,
                      int64_t inner, double scale) {
  int64_t const whole = held_factor<C>(n);
  DeviceScratch<Complex<C>> const scratch(whole == n ? 0 : outer * n * inner);
  int64_t before = 1, first_factor = 1;
  for (int64_t left = n;;) {
    int64_t const f = held_factor<C>(left), rest = left / f, tasks = outer * inner * (n / f);
    bool const opening = before == 1, closing = rest == 1;
    // Of short lines a block takes several, so that its threads have something to do, and its reads are contiguous.
    int64_t lines = most_held<C> / 2 / f;
    lines = lines > tasks ? tasks : lines > 1 ? lines : 1;
    while (lines > 1 && f * (lines | 1) > most_held<C>) --lines;
    Step s{};
    int bits = 0;
    for (int radix : fourier::radices_of(f)) s.radices |= uint64_t(radix) << bits, bits += 4;
    s.f = int(f), s.lines = int(lines), s.pitch = int(lines | 1);
    s.n = n, s.before = before, s.rest = rest, s.first_factor = first_factor, s.inner = inner, s.tasks = tasks;
    s.from_aside = inner > 1 || rest > 1;
    s.to_aside = s.from_aside || before > 1;
    Tables<C> t = tables;
    if (!closing) t.filter = nullptr;
    launch(transform_kernel<C>, "fft", in_a_row((tasks + lines - 1) / lines), {block_threads},
           size_t(4 * f * s.pitch) * sizeof(C), s, opening ? from : pairs_of(scratch.data(), n, inner),
           closing ? to : pairs_of(scratch.data(), n, inner), t, closing ? C(scale) : C(1));
    if (closing) return;
    if (opening) first_factor = f;
    before *= f;
    left = rest;
  }
}

/// Lines of n numbers from one side to the other, in C.
template <class C>
void transform_in(Side const& from, Side to, int64_t n, int64_t outer, int64_t inner, double scale) {
  Roots<C> const turns(2 * n);
  bool const smooth = fourier::without_small_factors(n) == 1;
  Tables<C> tables{turns.data(), 2, turns.data(), n, nullptr};
  if (to.form == Form::half_spectrum && !(smooth && n <= most_held<C>)) {
    DeviceScratch<Complex<C>> const z(outer * n);
    transform_in<C>(from, pairs_of(z.data(), n, 1), n, outer, 1, 1);
    int64_t const numel = outer * (n + 1);
    launch(untangle_kernel<C>, "rfft", threads_for(numel), {block_threads}, 0, z.data(), to, tables, numel, C(scale));
    return;
  }
  if (smooth) return smooth_transform<C>(from, to, tables, n, outer, inner, scale);
  // Xₖ = cₖ·Σⱼ (xⱼ·cⱼ)·conj c₍ₖ₋ⱼ₎ (Bluestein, 1970)
  int64_t const m = fourier::smooth_from(2 * n - 1, 1);
  Roots<C> const roots(m);
  tables.roots = roots.data(), tables.step = 1;
  DeviceScratch<Complex<C>> const filter(m), room(outer * m * inner);
  Side const generated{nullptr, Form::filter, false, false, false, m, 1};
  smooth_transform<C>(generated, pairs_of(filter.data(), m, 1), tables, m, 1, 1, 1);
  Side chirped = from, product = pairs_of(room.data(), m, inner);
  chirped.chirped = true;
  product.exchanged = true;  // on the way out and in: the second transform is an inverse one
  tables.filter = filter.data();
  smooth_transform<C>(chirped, product, tables, m, outer, inner, 1);
  tables.filter = nullptr;
  product.exchanged = false;
  to.chirped = true;
  smooth_transform<C>(product, to, tables, m, outer, inner, scale);
}

/// Bluestein's convolution is computed in f64, as sums over 2n numbers cancel.
template <class T>
void transform(Side const& from, Side const& to, int64_t n, int64_t outer, int64_t inner, double scale) {
  if (fourier::without_small_factors(n) == 1)
    transform_in<T>(from, to, n, outer, inner, scale);
  else
    transform_in<double>(from, to, n, outer, inner, scale);
}

template <class T>
Side side(T const* at, Form form, bool exchanged, int64_t count, int64_t inner = 1) {
  return {const_cast<T*>(at), form, sizeof(T) == 8, exchanged, false, count, inner};
}

template <class T>
void complex(T const* x, T* y, int64_t outer, int64_t n, int64_t inner, bool inverse, double scale) {
  transform<T>(side(x, Form::pairs, inverse, n, inner), side(y, Form::pairs, inverse, n, inner), n, outer, inner,
               scale);
}

template <class T>
void real(T const* x, T* y, int64_t lines, int64_t n, double scale) {
  int64_t const half = n / 2;
  if (n % 2)
    transform<T>(side(x, Form::reals, false, n), side(y, Form::pairs, false, half + 1), n, lines, 1, scale);
  else
    transform<T>(side(x, Form::pairs, false, half), side(y, Form::half_spectrum, false, half + 1), half, lines, 1,
                 scale);
}

template <class T>
void hermitian(T const* x, T* y, int64_t lines, int64_t n, double scale) {
  int64_t const half = n / 2;
  if (n % 2)
    transform<T>(side(x, Form::spectrum, true, half + 1), side(y, Form::reals, true, n), n, lines, 1, scale);
  else
    transform<T>(side(x, Form::half_spectrum, true, half + 1), side(y, Form::pairs, true, half), half, lines, 1, scale);
}

template <class T>
constexpr FourierTransformsOf<T> table{complex<T>, real<T>, hermitian<T>};

}  // namespace

constinit FourierTransforms const device_fourier_transforms{{table<float>, table<double>}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
