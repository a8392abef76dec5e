// Discrete Fourier transforms of lines; a complex number is a pair (re, im).
#pragma once

#include <heed/engine/device.h>
#include <heed/engine/isa.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace heed {

template <class T>
struct FourierTransformsOf {
  /// y[k] = scale·Σⱼ x[j]·e^(∓2πi·jk/n) along the middle axis of [outer, n ≥ 1, inner] pairs; minus is forward.
  void (*complex)(T const* x, T* y, int64_t outer, int64_t n, int64_t inner, bool inverse, double scale);
  /// x: n reals a line; y: the first n/2 + 1 pairs of the forward transform.
  void (*real)(T const* x, T* y, int64_t lines, int64_t n, double scale);
  /// The way back: n/2 + 1 pairs a line to n reals; the imaginary parts of the first and, for even n, the last do not
  /// count.
  void (*hermitian)(T const* x, T* y, int64_t lines, int64_t n, double scale);
};

struct FourierTransforms : PerType<FourierTransformsOf> {};
inline char const* kernels_name(FourierTransforms const*) { return "fourier_transforms"; }

/// Those for tensors on `device`.
FourierTransforms const& fourier_transforms(Device device, std::string_view op);

namespace fourier {

struct Root {
  double re, im;
};

/// e^(−2πi·k/n), 0 ≤ k < n, reduced to the first octant so that symmetric roots are symmetric to the bit: turn(x, n) is
/// e^(πi·x/n), 0 ≤ x ≤ n/4.
template <class Turn>
constexpr Root root(int64_t k, int64_t n, Turn const& turn) {
  int64_t a = 2 * k;  // the angle in units of π/n
  bool const below = a > n;
  if (below) a = 2 * n - a;
  bool const left = 2 * a > n;
  if (left) a = n - a;
  bool const steep = 4 * a > n;
  Root const w = turn(steep ? double(n - 2 * a) / 2 : double(a), double(n));
  double const c = steep ? w.im : w.re, s = steep ? w.re : w.im;
  return {left ? -c : c, below ? s : -s};
}

/// n without its factors 2, 3 and 5.
constexpr int64_t without_small_factors(int64_t n) {
  for (int prime : {2, 3, 5})
    while (n % prime == 0) n /= prime;
  return n;
}

/// The smallest 2ᵃ3ᵇ5ᶜ ≥ n that is a multiple of `step`.
constexpr int64_t smooth_from(int64_t n, int64_t step) {
  for (n = (n + step - 1) / step * step; without_small_factors(n) != 1;) n += step;
  return n;
}

/// The radices of Stockham's passes over a length without other factors, in order.
inline std::vector<int> radices_of(int64_t n) {
  std::vector<int> radices;
  for (int radix : {5, 3, 8, 4, 2})
    for (; n % radix == 0; n /= radix) {
      // 16 = 4·4 has less to do than 8·2.
      radices.push_back(radix == 8 && n == 16 ? 4 : radix);
      if (radix == 8 && n == 16) n *= 2;
    }
  return radices;
}

/// Passes of Stockham's transform, radix by radix; the twiddles are R − 1 pairs for each p (fourier.simd.cpp).
template <class T>
struct Passes {
  int64_t n = 1;
  std::vector<int> radices;
  std::vector<T> twiddles;
};

/// What a length needs, computed once for registers of one width.
template <class T>
struct Plan {
  int64_t n = 1;
  /// A line is a matrix [n/columns, columns]: its columns are transformed side by side in the lanes of a register, then
  /// its rows, in tiles turned by 90°. 0: one line a lane, and no rows.
  int64_t columns = 0;
  Passes<T> down, across;
  std::vector<T> turns;  // between the two: for each row a register of re and one of im
  std::vector<T> roots;  // e^(−2πi·k/2n), 0 ≤ k ≤ n, real parts, then imaginary ones: for real lines of 2n

  /// Bluestein's, where n has large prime factors: Xₖ = cₖ·Σⱼ (xⱼ·cⱼ)·conj c₍ₖ₋ⱼ₎ with cₖ = e^(−πi·k²/n), a convolution
  /// by transforms of a smooth length.
  std::shared_ptr<Plan<double> const> inner;
  std::vector<double> chirp, filter;  // real parts, then imaginary ones
};

}  // namespace fourier

template <class T>
struct FourierKernelsOf {
  int width;  // lanes of a register
  void (*complex_lines)(fourier::Plan<T> const&, T const* x, T* y, int64_t lines, bool inverse, T scale);
  /// With a plan for one line a lane.
  void (*complex_columns)(fourier::Plan<T> const&, T const* x, T* y, int64_t outer, int64_t inner, bool inverse,
                          T scale);
  /// Lines of n reals, with a plan for n where n is odd, else for n/2.
  void (*real_lines)(fourier::Plan<T> const&, T const* x, T* y, int64_t lines, int64_t n, T scale);
  void (*hermitian_lines)(fourier::Plan<T> const&, T const* x, T* y, int64_t lines, int64_t n, T scale);
  /// One line, real parts apart from imaginary ones; x may be y.
  void (*split_line)(fourier::Plan<T> const&, T const* re, T const* im, T* to_re, T* to_im);
};

struct FourierKernels : PerType<FourierKernelsOf> {};

}  // namespace heed

HEED_KERNELS(FourierKernels, fourier_kernels)
