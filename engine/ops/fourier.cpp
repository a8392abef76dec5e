// Stockham's self-sorting transform with radices 4, 2, 3 and 5 over several lines at once, Bluestein's for lengths with
// other prime factors, and half-length transforms for real lines.
#include <heed/engine/ops/fourier.h>
#include <heed/engine/parallel.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <numbers>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace heed::fourier {
namespace {

struct Root {
  double re, im;
};

/// e^(−2πi·k/n), 0 ≤ k < n, reduced to the first octant so that symmetric roots are symmetric to the bit.
Root root(int64_t k, int64_t n) {
  int64_t a = 2 * k;  // the angle in units of π/n
  bool const below = a > n;
  if (below) a = 2 * n - a;
  bool const left = 2 * a > n;
  if (left) a = n - a;
  bool const steep = 4 * a > n;
  double const angle = std::numbers::pi * (steep ? double(n - 2 * a) / 2 : double(a)) / double(n);
  double const c = steep ? std::sin(angle) : std::cos(angle), s = steep ? std::cos(angle) : std::sin(angle);
  return {left ? -c : c, below ? s : -s};
}

/// Real and imaginary parts apart; element i of line l at [i·lanes + l].
template <class T>
struct Split {
  T *re, *im;
};

template <class T>
struct Complex {
  T re, im;
  Complex operator+(Complex b) const { return {re + b.re, im + b.im}; }
  Complex operator-(Complex b) const { return {re - b.re, im - b.im}; }
  Complex operator*(T c) const { return {re * c, im * c}; }
  Complex operator*(Complex b) const { return {re * b.re - im * b.im, re * b.im + im * b.re}; }
  /// −i·this
  Complex turned() const { return {im, -re}; }
};

/// The transform of R numbers, in place.
template <int R, class T>
inline void butterfly(Complex<T>* a) {
  if constexpr (R == 2) {
    Complex<T> const b = a[1];
    a[1] = a[0] - b;
    a[0] = a[0] + b;
  } else if constexpr (R == 3) {
    Complex<T> const t = a[1] + a[2], u = a[0] - t * T(0.5);
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
  } else {
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
  }
}

/// One pass: y[r·p + j] = w^(p·j)·Σₖ x[p + m·k]·e^(−2πi·jk/r) for rows of `width` numbers; `w` holds R − 1 pairs a p.
template <int R, class T>
void pass(Split<T> x, Split<T> y, T const* w, int64_t m, int64_t width) {
  for (int64_t p = 0; p < m; ++p, w += 2 * (R - 1)) {
    T const* __restrict const from_re = x.re + p * width;
    T const* __restrict const from_im = x.im + p * width;
    T* __restrict const to_re = y.re + R * p * width;
    T* __restrict const to_im = y.im + R * p * width;
    for (int64_t q = 0; q < width; ++q) {
      Complex<T> a[R];
      for (int k = 0; k < R; ++k) a[k] = {from_re[k * m * width + q], from_im[k * m * width + q]};
      butterfly<R>(a);
      to_re[q] = a[0].re;
      to_im[q] = a[0].im;
      for (int j = 1; j < R; ++j) {
        Complex<T> const b = a[j] * Complex<T>{w[2 * j - 2], w[2 * j - 1]};
        to_re[j * width + q] = b.re;
        to_im[j * width + q] = b.im;
      }
    }
  }
}

/// The smallest 2ᵃ3ᵇ5ᶜ ≥ n
int64_t smooth_from(int64_t n) {
  int64_t best = 1;
  while (best < n) best *= 2;
  for (int64_t five = 1; five < best; five *= 5)
    for (int64_t three = five; three < best; three *= 3) {
      int64_t all = three;
      while (all < n) all *= 2;
      best = std::min(best, all);
    }
  return best;
}

/// What a length needs, computed once.
template <class T>
class Plan {
 public:
  explicit Plan(int64_t n) : n_(n) {
    int64_t rest = n;
    for (int radix : {4, 2, 3, 5})
      for (; rest % radix == 0; rest /= radix) radices_.push_back(radix);
    if (rest > 1) {
      prepare_bluestein();
      return;
    }
    for (int radix : radices_) {
      int64_t const length = n / product_, m = length / radix;
      for (int64_t p = 0; p < m; ++p)
        for (int j = 1; j < radix; ++j) {
          Root const w = root(p * j, length);
          twiddles_.push_back(T(w.re));
          twiddles_.push_back(T(w.im));
        }
      product_ *= radix;
    }
  }

  /// The forward transform of `lanes` lines in x; it ends in x, and y is scratch.
  void run(Split<T>& x, Split<T>& y, int64_t lanes) const {
    if (inner_) return bluestein(x, lanes);
    T const* w = twiddles_.data();
    int64_t done = 1;
    for (int radix : radices_) {
      int64_t const m = n_ / done / radix, width = done * lanes;
      if (radix == 4) pass<4>(x, y, w, m, width);
      if (radix == 2) pass<2>(x, y, w, m, width);
      if (radix == 3) pass<3>(x, y, w, m, width);
      if (radix == 5) pass<5>(x, y, w, m, width);
      w += 2 * m * (radix - 1);
      done *= radix;
      std::swap(x, y);
    }
  }

 private:
  /// Xₖ = cₖ·Σⱼ (xⱼ·cⱼ)·conj c₍ₖ₋ⱼ₎ with cₖ = e^(−πi·k²/n): a convolution, by transforms of a smooth length.
  void prepare_bluestein() {
    int64_t const m = smooth_from(2 * n_ - 1);
    inner_ = std::make_unique<Plan<double>>(m);
    chirp_.resize(size_t(2 * n_));
    filter_.resize(size_t(2 * m));
    std::vector<double> scratch(size_t(2 * m));
    Split<double> b{filter_.data(), filter_.data() + m}, other{scratch.data(), scratch.data() + m};
    int64_t square = 0;  // k² mod 2n
    for (int64_t k = 0; k < n_; ++k) {
      Root const c = root(square, 2 * n_);
      chirp_[size_t(2 * k)] = c.re;
      chirp_[size_t(2 * k + 1)] = c.im;
      for (int64_t at : {k, (m - k) % m}) {
        b.re[at] = c.re / double(m);
        b.im[at] = -c.im / double(m);
      }
      square = (square + 2 * k + 1) % (2 * n_);
    }
    inner_->run(b, other, 1);
    if (b.re != filter_.data()) filter_ = scratch;
  }

  void bluestein(Split<T> x, int64_t lanes) const {
    int64_t const m = inner_->n_;
    std::vector<double> memory(size_t(4 * m * lanes));
    double* const base = memory.data();
    Split<double> a{base, base + m * lanes}, b{base + 2 * m * lanes, base + 3 * m * lanes};
    for (int64_t k = 0; k < n_; ++k) {
      Complex<double> const c{chirp_[size_t(2 * k)], chirp_[size_t(2 * k + 1)]};
      for (int64_t i = k * lanes; i < (k + 1) * lanes; ++i) {
        Complex<double> const z = Complex<double>{double(x.re[i]), double(x.im[i])} * c;
        a.re[i] = z.re;
        a.im[i] = z.im;
      }
    }
    inner_->run(a, b, lanes);
    for (int64_t k = 0; k < m; ++k) {
      Complex<double> const f{filter_[size_t(k)], filter_[size_t(m + k)]};
      for (int64_t i = k * lanes; i < (k + 1) * lanes; ++i) {
        Complex<double> const z = Complex<double>{a.re[i], a.im[i]} * f;
        a.re[i] = z.re;
        a.im[i] = z.im;
      }
    }
    // Parts exchanged on the way in and out: the inverse transform.
    Split<double> turned{a.im, a.re};
    inner_->run(turned, b, lanes);
    for (int64_t k = 0; k < n_; ++k) {
      Complex<double> const c{chirp_[size_t(2 * k)], chirp_[size_t(2 * k + 1)]};
      for (int64_t i = k * lanes; i < (k + 1) * lanes; ++i) {
        Complex<double> const z = Complex<double>{turned.im[i], turned.re[i]} * c;
        x.re[i] = T(z.re);
        x.im[i] = T(z.im);
      }
    }
  }

  template <class>
  friend class Plan;
  int64_t n_, product_ = 1;
  std::vector<int> radices_;
  std::vector<T> twiddles_;  // pass by pass, R − 1 pairs for each p
  std::unique_ptr<Plan<double>> inner_;
  std::vector<double> chirp_, filter_;
};

/// Plans are kept, up to a number of them.
template <class T>
std::shared_ptr<Plan<T> const> plan_of(int64_t n) {
  constexpr size_t most = 64;
  static std::mutex mutex;
  static std::unordered_map<int64_t, std::shared_ptr<Plan<T> const>> plans;
  {
    std::lock_guard const lock(mutex);
    if (auto const found = plans.find(n); found != plans.end()) return found->second;
  }
  auto const made = std::make_shared<Plan<T> const>(n);
  std::lock_guard const lock(mutex);
  if (plans.size() >= most) plans.clear();
  return plans.emplace(n, made).first->second;
}

/// load(line, lane, x), the transform of n numbers, store(line, lane, x), for groups of lines; where load and store go
/// through, `x` has `lanes` lines side by side.
template <class T, class Load, class Store>
void transform(int64_t lines, int64_t n, Load load, Store store) {
  auto const plan = plan_of<T>(n);
  // A group's four arrays stay in cache, and fill vectors.
  int64_t const group = std::clamp<int64_t>(16384 / n, 1, 16), groups = (lines + group - 1) / group;
  parallel_for(groups, std::max<int64_t>(1, 8192 / (group * n)), [&](int64_t begin, int64_t end) {
    std::vector<T> memory(size_t(4 * n * group));
    for (int64_t g = begin; g < end; ++g) {
      int64_t const first = g * group, lanes = std::min(group, lines - first);
      T* const base = memory.data();
      Split<T> x{base, base + n * lanes}, y{base + 2 * n * lanes, base + 3 * n * lanes};
      for (int64_t l = 0; l < lanes; ++l) load(first + l, Split<T>{x.re + l, x.im + l}, lanes);
      plan->run(x, y, lanes);
      for (int64_t l = 0; l < lanes; ++l) store(first + l, Split<T>{x.re + l, x.im + l}, lanes);
    }
  });
}

}  // namespace

template <class T>
void complex_lines(T const* x, T* y, int64_t lines, int64_t n, bool inverse, double scale) {
  // With the parts exchanged before and after, a forward transform is an inverse one.
  int const re = inverse ? 1 : 0, im = 1 - re;
  T const factor = T(scale);
  transform<T>(
      lines, n,
      [=](int64_t line, Split<T> a, int64_t lanes) {
        T const* const from = x + line * n * 2;
        for (int64_t i = 0; i < n; ++i) a.re[i * lanes] = from[2 * i + re], a.im[i * lanes] = from[2 * i + im];
      },
      [=](int64_t line, Split<T> a, int64_t lanes) {
        T* const to = y + line * n * 2;
        for (int64_t i = 0; i < n; ++i)
          to[2 * i + re] = factor * a.re[i * lanes], to[2 * i + im] = factor * a.im[i * lanes];
      });
}

template <class T>
void real_lines(T const* x, T* y, int64_t lines, int64_t n, double scale) {
  int64_t const half = n / 2, out = half + 1;
  T const factor = T(scale);
  if (n % 2) {
    transform<T>(
        lines, n,
        [=](int64_t line, Split<T> a, int64_t lanes) {
          for (int64_t i = 0; i < n; ++i) a.re[i * lanes] = x[line * n + i], a.im[i * lanes] = 0;
        },
        [=](int64_t line, Split<T> a, int64_t lanes) {
          T* const to = y + line * out * 2;
          for (int64_t i = 0; i < out; ++i)
            to[2 * i] = factor * a.re[i * lanes], to[2 * i + 1] = factor * a.im[i * lanes];
        });
    return;
  }
  std::vector<Complex<T>> roots(static_cast<size_t>(out));
  for (int64_t k = 0; k < out; ++k) roots[size_t(k)] = {T(root(k, n).re), T(root(k, n).im)};
  // z = even + i·odd elements; X = E + w·O with the transforms E, O of those, taken apart by symmetry.
  transform<T>(
      lines, half,
      [=](int64_t line, Split<T> a, int64_t lanes) {
        T const* const from = x + line * n;
        for (int64_t i = 0; i < half; ++i) a.re[i * lanes] = from[2 * i], a.im[i * lanes] = from[2 * i + 1];
      },
      [=, &roots](int64_t line, Split<T> a, int64_t lanes) {
        T* const to = y + line * out * 2;
        for (int64_t k = 0; k < out; ++k) {
          int64_t const i = k % half * lanes, j = (half - k) % half * lanes;
          Complex<T> const z{a.re[i], a.im[i]}, mirror{a.re[j], -a.im[j]};
          Complex<T> const sum = z + mirror + roots[size_t(k)] * (z - mirror).turned();
          to[2 * k] = T(0.5) * factor * sum.re;
          to[2 * k + 1] = T(0.5) * factor * sum.im;
        }
      });
}

template <class T>
void hermitian_lines(T const* x, T* y, int64_t lines, int64_t n, double scale) {
  int64_t const half = n / 2, in = half + 1;
  T const factor = T(scale);
  if (n % 2) {
    transform<T>(
        lines, n,
        [=](int64_t line, Split<T> a, int64_t lanes) {
          T const* const from = x + line * in * 2;
          a.im[0] = from[0], a.re[0] = 0;
          for (int64_t k = 1; k < in; ++k) {
            a.im[k * lanes] = a.im[(n - k) * lanes] = from[2 * k];
            a.re[k * lanes] = from[2 * k + 1];
            a.re[(n - k) * lanes] = -from[2 * k + 1];
          }
        },
        [=](int64_t line, Split<T> a, int64_t lanes) {
          for (int64_t i = 0; i < n; ++i) y[line * n + i] = factor * a.im[i * lanes];
        });
    return;
  }
  std::vector<Complex<T>> roots(static_cast<size_t>(half));
  for (int64_t k = 0; k < half; ++k) roots[size_t(k)] = {T(root(k, n).re), T(-root(k, n).im)};
  // The way back: even elements from X + mirror, odd ones from (X − mirror)·w⁻¹.
  transform<T>(
      lines, half,
      [=, &roots](int64_t line, Split<T> a, int64_t lanes) {
        T const* const from = x + line * in * 2;
        for (int64_t k = 0; k < half; ++k) {
          int64_t const j = half - k;
          Complex<T> z{from[2 * k], from[2 * k + 1]}, mirror{from[2 * j], -from[2 * j + 1]};
          if (k == 0) z.im = mirror.im = 0;
          Complex<T> const odd = roots[size_t(k)] * (z - mirror), even = z + mirror;
          a.im[k * lanes] = even.re - odd.im;
          a.re[k * lanes] = even.im + odd.re;
        }
      },
      [=](int64_t line, Split<T> a, int64_t lanes) {
        T* const to = y + line * n;
        for (int64_t i = 0; i < half; ++i)
          to[2 * i] = factor * a.im[i * lanes], to[2 * i + 1] = factor * a.re[i * lanes];
      });
}

template void complex_lines(float const*, float*, int64_t, int64_t, bool, double);
template void complex_lines(double const*, double*, int64_t, int64_t, bool, double);
template void real_lines(float const*, float*, int64_t, int64_t, double);
template void real_lines(double const*, double*, int64_t, int64_t, double);
template void hermitian_lines(float const*, float*, int64_t, int64_t, double);
template void hermitian_lines(double const*, double*, int64_t, int64_t, double);

}  // namespace heed::fourier
