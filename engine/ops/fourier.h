// Discrete Fourier transforms of lines that lie end to end; a complex number is a pair (re, im).
#pragma once

#include <cstdint>

namespace heed::fourier {

/// y[k] = scale·Σⱼ x[j]·e^(∓2πi·jk/n) for `lines` lines of n ≥ 1 pairs; minus is forward.
template <class T>
void complex_lines(T const* x, T* y, int64_t lines, int64_t n, bool inverse, double scale);

/// x: n reals a line; y: the first n/2 + 1 pairs of the forward transform.
template <class T>
void real_lines(T const* x, T* y, int64_t lines, int64_t n, double scale);

/// x: n/2 + 1 pairs a line, of a spectrum with x[n − k] = conj x[k]; y: n reals, the transform with the sign plus.
template <class T>
void hermitian_lines(T const* x, T* y, int64_t lines, int64_t n, double scale);

}  // namespace heed::fourier
