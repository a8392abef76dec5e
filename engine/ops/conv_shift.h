// Convolution with stride 1 between many channels, without gathered windows: around a padded image, what tap t reads
// for all outputs is one shifted view, so the convolution is a sum over the taps of matrix products with views.
#pragma once

#include <heed/engine/ops/conv.h>

namespace heed {

/// Whether the functions below are for `s`: stride 1, several taps, enough channels on both sides for a product of
/// their own, rows so long that what the views hold between them costs little.
bool shifts(ConvShape const& s);

/// y = bias + Σ over c, t of x[c, shifted by t]·w[o, c, t]; bias may be null.
template <class T>
void convolve_shifted(ConvShape const& s, T const* x, T const* w, T const* bias, T* y);
/// Its adjoint in x, plus bias: x = bias + Σ over o, t of g[o]·w[o, c, t] where tap t read.
template <class T>
void convolve_shifted_input(ConvShape const& s, T const* g, T const* w, T const* bias, T* x);
/// Its adjoint in w: w[o, c, t] = Σ over images and positions of g[o]·x[c, shifted by t].
template <class T>
void convolve_shifted_weight(ConvShape const& s, T const* x, T const* g, T* w);

}  // namespace heed
