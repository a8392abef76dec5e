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
  bool coupled = false;             ///< decay is within the gradient: Adam
};

struct AdagradStep {
  double lr, initial, eps, weight_decay;
  double grad_scale = 1;  ///< multiplies every gradient first (clipping)
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
  /// g ← g·scale; param ← param·(1 - lr·decay), or if coupled g ← g + decay·param; m ← m + (1-β1)·(g - m);
  /// v ← β2·v + (1-β2)·g²; param ← param - lr/c1·m / (sqrt(v)/sqrt(c2) + eps). Where `largest` is not null it keeps
  /// the largest v so far, which takes v's place under the root (AMSGrad).
  void (*adamw)(T* param, T const* grad, T* m, T* v, T* largest, int64_t n, AdamwStep const& step);
  /// g ← g·scale + decay·param; sum ← sum + g²; param ← param - lr·g / (sqrt(sum + initial) + eps)
  void (*adagrad)(T* param, T const* grad, T* sum, int64_t n, AdagradStep const& step);
  /// g ← g·scale + decay·param; buffer ← momentum·buffer + (1-dampening)·g; g ← nesterov ? g + momentum·buffer :
  /// buffer; param ← param - lr·g. buffer may be null where momentum is 0.
  void (*sgd)(T* param, T const* grad, T* buffer, int64_t n, SgdStep const& step);
  /// Σ x², for clipping by norm; fixed order
  double (*sum_squares)(T const* x, int64_t n);
};

struct OptimiseKernels : PerType<OptimiseKernelsOf> {};

}  // namespace heed

HEED_KERNELS(OptimiseKernels, optimise_kernels)
