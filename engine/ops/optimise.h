// Kernels of the optimisers' steps over one parameter array.
#pragma once

#include <heed/engine/isa.h>

#include <cstdint>

namespace heed {

/// AdamW: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019).
struct AdamwStep {
  double lr, beta1, beta2, eps, weight_decay;
  double correction1, correction2;  ///< 1 - beta1^t, 1 - beta2^t
  double grad_scale = 1;            ///< multiplies every gradient first (clipping)
};

/// SGD with momentum as in PyTorch.
struct SgdStep {
  double lr, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  bool first = false;     ///< the buffer is not read: it becomes the gradient
  double grad_scale = 1;  ///< multiplies every gradient first (clipping)
};

template <class T>
struct OptimiseKernelsOf {
  /// g ← g·scale; param ← param·(1 - lr·decay); m ← m + (1-β1)·(g - m); v ← β2·v + (1-β2)·g²;
  /// param ← param - lr/c1·m / (sqrt(v)/sqrt(c2) + eps)
  void (*adamw)(T* param, T const* grad, T* m, T* v, int64_t n, AdamwStep const& step);
  /// g ← g·scale + decay·param; buffer ← momentum·buffer + (1-dampening)·g; g ← nesterov ? g + momentum·buffer :
  /// buffer; param ← param - lr·g. buffer may be null where momentum is 0.
  void (*sgd)(T* param, T const* grad, T* buffer, int64_t n, SgdStep const& step);
  /// Σ x², for clipping by norm; fixed order
  double (*sum_squares)(T const* x, int64_t n);
};

struct OptimiseKernels : PerType<OptimiseKernelsOf> {};

}  // namespace heed

HEED_KERNELS(OptimiseKernels, optimise_kernels)
