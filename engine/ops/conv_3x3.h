// Depthwise convolution by windows of 3×3 that move by one (ConvShape::is_3x3), and all its gradients in one walk.
#pragma once

#include <heed/engine/ops/conv.h>

namespace heed {

/// Whether the functions below are for `s` on this machine.
template <class T>
bool convolves_3x3(ConvShape const& s);

template <class T>
void convolve_3x3(ConvShape const& s, T const* x, T const* w, T const* bias, T* y);
/// Each plane of g is read once for all that are wanted; those that are not are null. dbias: [groups]
template <class T>
void convolve_3x3_backward(ConvShape const& s, T const* x, T const* w, T const* g, T* dx, T* dw, T* dbias);

}  // namespace heed
