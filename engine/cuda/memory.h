// Memory of a device, kept for reuse by stream, and pinned memory through which the host's passes.
#pragma once

#include <heed/engine/cuda/rt.h>

#include <array>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// Blocks whose every use is queued on one stream: a released one may be given away at once, as what uses it next is
/// queued behind.
class BlockCache {
 public:
  /// At least `bytes`, aligned to 512; null where the device has no more.
  void* take(size_t bytes);
  void give(void* block, size_t bytes) noexcept;
  /// Gives all back to the device, whose streams are idle.
  void flush() noexcept;

 private:
  std::mutex lock_;
  std::map<size_t, std::vector<void*>> kept_;
};

/// Blocks that one stream fills and another reads. A released one is filled again only behind what was queued on the
/// reading stream until then, which its event stands for.
class UploadCache {
 public:
  /// As BlockCache::take(); `uploads` waits until the block is free.
  void* take(size_t bytes, rt::Stream uploads);
  /// What is queued on `compute` from now on sees what `uploads` has copied into the block.
  void pass(void* block, rt::Stream uploads, rt::Stream compute);
  /// False: the block is not from here.
  bool give(void* block, size_t bytes, rt::Stream compute) noexcept;
  void flush() noexcept;

 private:
  struct Block {
    void* memory = nullptr;
    rt::Event event = nullptr;
  };
  std::mutex lock_;
  std::map<size_t, std::vector<Block>> kept_;
  std::unordered_map<void*, rt::Event> given_;
};

/// A ring of pinned buffers: the host's pageable memory is copied into them and leaves them by the device's own
/// engines, so that neither waits for the other until the ring is full.
class Staging {
 public:
  /// Queued; `host` is read before the call returns.
  void to_device(void* to, void const* host, size_t bytes, rt::Stream stream);
  /// Waits until the bytes are there.
  void to_host(void* host, void const* from, size_t bytes, rt::Stream stream);
  void flush() noexcept;

 private:
  static constexpr size_t buffer_bytes = size_t{1} << 20;
  struct Buffer {
    void* memory = nullptr;
    rt::Event used = nullptr;
  };
  /// Buffer i of the ring, once it is no longer in use.
  Buffer& buffer(size_t i);
  std::mutex lock_;
  std::array<Buffer, 4> ring_;
  size_t next_ = 0;
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
