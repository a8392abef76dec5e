// rt::launch by CUDA's runtime. For rt.h only.
#pragma once

#include <tuple>
#include <type_traits>
#include <utility>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace rt {

Status status_of(cudaError_t error);

template <class... P, class... A>
Status launch(void (*kernel)(P...), Launch const& how, A const&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "as many arguments as the kernel has parameters");
  std::tuple<std::remove_cv_t<P>...> values(static_cast<P>(arguments)...);
  return std::apply(
      [&](auto&... value) {
        void* pointers[] = {const_cast<void*>(static_cast<void const*>(&value))..., nullptr};
        void const* const function = reinterpret_cast<void const*>(kernel);
        constexpr size_t without_asking = 48 * 1024;  // bytes of dynamic shared memory that every kernel may have
        if (how.shared > without_asking)
          if (cudaError_t const error =
                  cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, int(how.shared));
              error != cudaSuccess)
            return status_of(error);
        return status_of(cudaLaunchKernel(function, dim3(how.grid.x, how.grid.y, how.grid.z),
                                          dim3(how.block.x, how.block.y, how.block.z), pointers, how.shared,
                                          static_cast<cudaStream_t>(how.stream)));
      },
      values);
}

}  // namespace rt
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
