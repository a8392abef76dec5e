// Mixed precision: products in 16 bits, what needs range or long sums in f32.
#pragma once

#include <heed/engine/tensor.h>

namespace heed {

/// While it lives, on this thread: matmul, linear, convolutions and attend take f32 operands as `dtype` (and give it);
/// softmax, log_softmax, logsumexp, norms and cross_entropy of 16-bit operands give f32. Parameters stay f32: their
/// gradients arrive in f32 through the recorded conversions. Micikevicius et al., "Mixed precision training" (2018).
/// An Error where `dtype` is not f16 or bf16.
class Autocast {
 public:
  explicit Autocast(Dtype dtype = Dtype::bf16);
  ~Autocast();
  Autocast(Autocast const&) = delete;
  Autocast& operator=(Autocast const&) = delete;

 private:
  Dtype before_;
};

/// While it lives, on this thread: matmul and linear of f32 on an accelerator round their operands to tf32 (10 bits of
/// fraction, the range of f32), as its matrix units take them. The processor's products stay as they are.
class AllowTf32 {
 public:
  AllowTf32() noexcept;
  ~AllowTf32();
  AllowTf32(AllowTf32 const&) = delete;
  AllowTf32& operator=(AllowTf32 const&) = delete;

 private:
  bool before_;
};

namespace detail {
extern constinit thread_local Dtype autocast_dtype;  // f32: off
extern constinit thread_local bool tf32_allowed;
}  // namespace detail

/// Autocast is off while it lives: where 16-bit operands are computed in f32, and in backward.
class AutocastOff {
 public:
  AutocastOff() noexcept : before_(detail::autocast_dtype) { detail::autocast_dtype = Dtype::f32; }
  ~AutocastOff() { detail::autocast_dtype = before_; }
  AutocastOff(AutocastOff const&) = delete;
  AutocastOff& operator=(AutocastOff const&) = delete;

 private:
  Dtype before_;
};

/// Whether autocast wants another type for this operand of a product.
inline bool autocasts(Tensor const& x) {
  return detail::autocast_dtype != Dtype::f32 && x.defined() && x.dtype() == Dtype::f32;
}
/// x as a product takes it.
inline Tensor autocast(Tensor const& x) { return autocasts(x) ? x.to(detail::autocast_dtype) : x; }
/// The type of a result that autocast keeps in f32.
inline Dtype autocast_wide(Dtype dtype) {
  return detail::autocast_dtype != Dtype::f32 && is_half(dtype) ? Dtype::f32 : dtype;
}

}  // namespace heed
