#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/memory.h>
#if !defined(__CUDACC__)
#include <control.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// Whether each tensor gets a block of its own and of its exact size: where the emulator looks at every access, it then
/// sees where tensors end, when they are freed, and what of them was never written.
bool exact_blocks() {
#if defined(__CUDACC__)
  return false;
#else
  return emu::settings().exact_blocks;
#endif
}

/// Sizes of blocks: four steps per power of two from 512 bytes on, so that rounding wastes at most a fifth and a block
/// fits the next tensor of about its size.
size_t block_size(size_t bytes) {
  if (exact_blocks()) return bytes;
  if (bytes <= 512) return 512;
  size_t const step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

template <class Block>
bool take_kept(std::map<size_t, std::vector<Block>>& kept, size_t size, Block& to) {
  auto const found = kept.find(size);
  if (found == kept.end() || found->second.empty()) return false;
  to = found->second.back();
  found->second.pop_back();
  return true;
}

void* fresh(size_t size) {
  void* block = nullptr;
  rt::Status const status = rt::allocate(block, size);
  if (status.kind == rt::Kind::out_of_memory) return nullptr;
  check_device(status, "allocate");
  return block;
}

}  // namespace

void* BlockCache::take(size_t bytes) {
  size_t const size = block_size(bytes);
  void* block = nullptr;
  {
    std::lock_guard const guard(lock_);
    if (take_kept(kept_, size, block)) return block;
  }
  return fresh(size);
}

void BlockCache::give(void* block, size_t bytes) noexcept {
  if (exact_blocks()) {
    (void)rt::release(block);  // when the kernels that use it are over
    return;
  }
  std::lock_guard const guard(lock_);
  kept_[block_size(bytes)].push_back(block);
}

void BlockCache::flush() noexcept {
  std::lock_guard const guard(lock_);
  for (auto& [size, blocks] : kept_)
    for (void* const block : blocks) (void)rt::release(block);
  kept_.clear();
}

void* UploadCache::take(size_t bytes, rt::Stream uploads) {
  size_t const size = block_size(bytes);
  std::lock_guard const guard(lock_);
  Block block;
  if (take_kept(kept_, size, block)) {
    check_device(rt::wait(uploads, block.event), "allocate");
  } else {
    if (!(block.memory = fresh(size))) return nullptr;
    check_device(rt::create_event(block.event), "allocate");
  }
  given_[block.memory] = block.event;
  return block.memory;
}

void UploadCache::pass(void* block, rt::Stream uploads, rt::Stream compute) {
  rt::Event event;
  {
    std::lock_guard const guard(lock_);
    event = given_.at(block);
  }
  check_device(rt::record(event, uploads), "copy to the device");
  check_device(rt::wait(compute, event), "copy to the device");
}

bool UploadCache::give(void* block, size_t bytes, rt::Stream compute) noexcept {
  std::lock_guard const guard(lock_);
  auto const found = given_.find(block);
  if (found == given_.end()) return false;
  rt::Event const event = found->second;
  given_.erase(found);
  if (exact_blocks() || !rt::record(event, compute)) {
    (void)rt::release(block);
    (void)rt::destroy_event(event);
  } else {
    kept_[block_size(bytes)].push_back({block, event});
  }
  return true;
}

void UploadCache::flush() noexcept {
  std::lock_guard const guard(lock_);
  for (auto& [size, blocks] : kept_)
    for (Block const& block : blocks) {
      (void)rt::release(block.memory);
      (void)rt::destroy_event(block.event);
    }
  kept_.clear();
}

Staging::Buffer& Staging::buffer(size_t i) {
  Buffer& buffer = ring_[i % ring_.size()];
  if (buffer.memory) {
    check_device(rt::synchronize_event(buffer.used), "copy");
    return buffer;
  }
  check_device(rt::create_event(buffer.used), "copy");
  check_device(rt::allocate_pinned(buffer.memory, buffer_bytes), "copy");
  return buffer;
}

void Staging::to_device(void* to, void const* host, size_t bytes, rt::Stream stream) {
  std::lock_guard const guard(lock_);
  for (size_t at = 0; at < bytes; at += buffer_bytes) {
    size_t const part = std::min(buffer_bytes, bytes - at);
    Buffer& through = buffer(next_++);
    std::memcpy(through.memory, static_cast<char const*>(host) + at, part);
    check_device(rt::copy_to_device(static_cast<char*>(to) + at, through.memory, part, stream), "copy to the device");
    check_device(rt::record(through.used, stream), "copy to the device");
  }
}

void Staging::to_host(void* host, void const* from, size_t bytes, rt::Stream stream) {
  std::lock_guard const guard(lock_);
  size_t const parts = (bytes + buffer_bytes - 1) / buffer_bytes, first = next_;
  next_ += parts;
  auto const size = [&](size_t part) { return std::min(buffer_bytes, bytes - part * buffer_bytes); };
  size_t queued = 0;
  for (size_t done = 0; done < parts; ++done) {
    for (; queued < parts && queued - done < ring_.size(); ++queued) {
      Buffer& through = buffer(first + queued);
      check_device(rt::copy_to_host(through.memory, static_cast<char const*>(from) + queued * buffer_bytes,
                                    size(queued), stream),
                   "copy to the host");
      check_device(rt::record(through.used, stream), "copy to the host");
    }
    Buffer const& through = buffer(first + done);
    std::memcpy(static_cast<char*>(host) + done * buffer_bytes, through.memory, size(done));
  }
}

void Staging::flush() noexcept {
  std::lock_guard const guard(lock_);
  for (Buffer& buffer : ring_) {
    if (buffer.memory) (void)rt::release_pinned(buffer.memory);
    if (buffer.used) (void)rt::destroy_event(buffer.used);
    buffer = {};
  }
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
