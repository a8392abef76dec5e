// Discrete Fourier transforms of lines that lie end to end; a complex number is a pair (re, im).
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace heed {
namespace fourier {

/// y[k] = scale·Σⱼ x[j]·e^(∓2πi·jk/n) for `lines` lines of n ≥ 1 pairs; minus is forward.
template <class T>
void complex_lines(T const* x, T* y, int64_t lines, int64_t n, bool inverse, double scale);
/// The same along the middle axis of [outer, n, inner] pairs.
template <class T>
void complex_columns(T const* x, T* y, int64_t outer, int64_t n, int64_t inner, bool inverse, double scale);

/// x: n reals a line; y: the first n/2 + 1 pairs of the forward transform.
template <class T>
void real_lines(T const* x, T* y, int64_t lines, int64_t n, double scale);

/// The way back: n/2 + 1 pairs a line to n reals; the imaginary parts of the first and, for even n, the last do not
/// count.
template <class T>
void hermitian_lines(T const* x, T* y, int64_t lines, int64_t n, double scale);

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
