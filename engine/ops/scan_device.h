// What the files of scan() on a device share.
#pragma once

#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/scan.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace scans {

/// 4 neighbours: one or two accesses of 16 bytes.
template <class T>
struct alignas(16) Four {
  T x[4];
};
template <class T>
__device__ inline Four<T> four(T const* at) {
  return *reinterpret_cast<Four<T> const*>(at);
}

/// scan_chunks.cu
template <class T>
void forward_by_chunks(ScanArgs<T> const& a, ScanRows<T> out, T* state, T* states);
template <class T>
void backward_by_chunks(ScanArgs<T> const& a, ScanGradArgs<T> const& g);

}  // namespace scans
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
