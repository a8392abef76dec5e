#include <heed/engine/autocast.h>

namespace heed {

constinit thread_local Dtype detail::autocast_dtype = Dtype::f32;

Autocast::Autocast(Dtype dtype) : before_(detail::autocast_dtype) {
  if (!is_half(dtype)) detail::unsupported_dtype("Autocast", dtype, "f16 or bf16");
  detail::autocast_dtype = dtype;
}
Autocast::~Autocast() { detail::autocast_dtype = before_; }

constinit thread_local bool detail::tf32_allowed = false;

AllowTf32::AllowTf32() noexcept : before_(detail::tf32_allowed) { detail::tf32_allowed = true; }
AllowTf32::~AllowTf32() { detail::tf32_allowed = before_; }

}  // namespace heed
