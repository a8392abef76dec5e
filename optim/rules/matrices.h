// What the rules of whole tensors share.
#pragma once

#include <heed/engine/ops.h>
#include <heed/optim/pointwise.h>

#include <algorithm>

namespace heed::optim {

inline Dtype wide(Tensor const& p) { return is_half(p.dtype()) ? Dtype::f32 : p.dtype(); }
inline Tensor zeros_for(Tensor const& p, Shape const& shape) { return zeros(shape, wide(p), p.device()); }
inline Tensor like(Tensor const& p) { return zeros_for(p, p.shape()); }
/// [R, C], later axes joined.
inline Shape matrix_of(Tensor const& p) { return {p.size(0), p.numel() / std::max<int64_t>(p.size(0), 1)}; }

inline Tensor mean_into(Tensor& to, Tensor const& x, double share) { return to.copy_(heed::lerp(to, x, share)); }

/// What a step of a single tensor has of its group.
struct TensorStep {
  double rate, decay, scale;  // η, λ, and what gradients are read times
  int64_t t;
};
struct AdamSettings {
  double beta1, beta2, epsilon;
};
/// AdamW of one tensor.
void adamw(Tensor const& p, Tensor const& g, Tensor const& m, Tensor const& v, TensorStep const& step,
           AdamSettings const& settings);

}  // namespace heed::optim
