// One device as the host sees it: where its work is queued, which kernels were given to it last, and its memory.
#pragma once

#include <heed/engine/cuda/memory.h>
#include <heed/engine/cuda/rt.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <string>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// The last launches: a fault of the device surfaces in a later call, and one of them is to blame.
class LaunchLog {
 public:
  void add(rt::Launch const& launch);
  /// "softmax (4 x 1 x 1 blocks of 256 x 1 x 1 threads), …", the newest last; "" where there was none.
  std::string text() const;

 private:
  mutable std::mutex lock_;
  std::array<rt::Launch, 8> last_;
  uint64_t count_ = 0;
};

struct IndexFault;  // index_check.h

/// All kernels run in order on `compute`; what comes from the host is copied beside them, on `uploads`.
struct Unit {
  rt::Stream compute = nullptr, uploads = nullptr;  // null: the device's default stream
  LaunchLog launches;
  BlockCache blocks;
  UploadCache uploaded;
  Staging staging;
  IndexFault* fault = nullptr;  // on the device: the first wrong index that nobody was told of

  /// What take() gives; where that is null, asked again after flush().
  template <class Take>
  void* retried(Take const& take) {
    if (void* const block = take()) return block;
    flush();
    return take();
  }
  /// A block of `blocks`; where memory is exhausted, also after flush(), an Error.
  void* take(size_t bytes);
  /// Waits for the streams, and gives back all memory that is not in use.
  void flush() noexcept;
};

/// The one that this thread's kernels run on; at first the default stream of the first device.
Unit& current_unit();
void set_current_unit(Unit& unit);

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
