#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/storage.h>
#include <sys/mman.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace heed {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool caching = false;  // so that the sanitizer sees every use after free
#else
constexpr bool caching = true;
#endif

constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t guard_bytes = 64;
constexpr unsigned char poison_byte = 0xFF;  // all ones is NaN in every floating type
constexpr unsigned char guard_byte = 0xA5;

// Size classes: four steps per power of two from 64 bytes on, so that rounding wastes at most a fifth.
constexpr int class_count = 4 * 42;
int class_of(size_t bytes) {
  if (bytes <= 64) return 0;
  int const exponent = std::bit_width(bytes - 1) - 1;  // 2^exponent < bytes <= 2^(exponent+1)
  size_t const step = (size_t{1} << exponent) / 4;
  return 4 * (exponent - 6) + int((bytes - (size_t{1} << exponent) + step - 1) / step);
}
size_t class_bytes(int index) {
  int const exponent = index / 4 + 6;
  return (size_t{1} << exponent) + (size_t{1} << exponent) / 4 * (index % 4);
}

struct FreeBlock {
  FreeBlock* next;
};

std::mutex shared_lock;
FreeBlock* shared_lists[class_count] = {};
std::atomic<size_t> bytes_in_use{0}, bytes_peak{0}, window_peak{0}, bytes_cached{0}, bytes_acquired{0}, violations{0};

void* acquire(size_t bytes) {
  size_t const align = bytes >= huge_page / 2 ? huge_page : alignment;
  size_t const rounded = (bytes + align - 1) / align * align;
  void* const block = std::aligned_alloc(align, rounded);
  // Fresh pages cost more than the arithmetic on them; transparent huge pages are given only where asked for. The last
  // one is asked for only if little of it would be wasted.
  if (block && align == huge_page) {
    size_t const tail = bytes % huge_page;
    madvise(block, tail < huge_page / 4 * 3 ? bytes - tail : rounded, MADV_HUGEPAGE);
  }
  if (block) bytes_acquired.fetch_add(bytes, std::memory_order_relaxed);
  return block;
}

// Small blocks (nodes, handles, little tensors) stay on the thread that freed them, up to a bound; the rest are shared.
constexpr int local_classes = 4 * 7 + 1;  // up to 8 KiB
constexpr size_t local_limit = size_t{1} << 20;
struct LocalLists {
  FreeBlock* list[local_classes] = {};
  size_t bytes[local_classes] = {};
  size_t allocated = 0;  // bytes of storages, ever
  bool closed = false;
  ~LocalLists() {
    closed = true;
    flush();
  }
  void flush() {
    std::lock_guard lock(shared_lock);
    for (int c = 0; c < local_classes; ++c) {
      while (FreeBlock* const block = list[c]) {
        list[c] = block->next;
        block->next = shared_lists[c];
        shared_lists[c] = block;
      }
      bytes_cached.fetch_add(bytes[c], std::memory_order_relaxed);
      bytes[c] = 0;
    }
  }
};
thread_local LocalLists local;

void* take(int index) {
  if (index < local_classes) {
    if (FreeBlock* const block = local.list[index]) {
      local.list[index] = block->next;
      local.bytes[index] -= class_bytes(index);
      return block;
    }
  }
  {
    std::lock_guard lock(shared_lock);
    if (FreeBlock* const block = shared_lists[index]) {
      shared_lists[index] = block->next;
      bytes_cached.fetch_sub(class_bytes(index), std::memory_order_relaxed);
      return block;
    }
  }
  if (void* const block = acquire(class_bytes(index))) return block;
  release_cached_memory();
  return acquire(class_bytes(index));
}

void give(void* memory, int index) noexcept {
  auto* const block = static_cast<FreeBlock*>(memory);
  size_t const bytes = class_bytes(index);
  if (index < local_classes && !local.closed && local.bytes[index] + bytes <= local_limit) {
    block->next = local.list[index];
    local.list[index] = block;
    local.bytes[index] += bytes;
    return;
  }
  std::lock_guard lock(shared_lock);
  block->next = shared_lists[index];
  shared_lists[index] = block;
  bytes_cached.fetch_add(bytes, std::memory_order_relaxed);
}

[[noreturn]] void out_of_memory(size_t bytes) {
  fail("allocate",
       {fmt::format("{} bytes are not to be had ({} bytes of storages are live)", bytes, bytes_in_use.load()),
        "use a smaller batch or block, or free tensors first"});
}

std::atomic<int> poison{-1};
bool poisoning() {
  int value = poison.load(std::memory_order_relaxed);
  if (value < 0) {
    char const* const text = std::getenv("HEED_POISON");
    poison.store(value = text && *text && *text != '0');
  }
  return value;
}

}  // namespace

constinit thread_local bool detail::inference_on = false;

Storage::Storage(std::byte* data, size_t bytes, bool guarded, Device device)
    : data_(data),
      bytes_(bytes),
      version_(detail::inference_on ? unversioned : 0),
      guarded_(guarded),
      device_(device) {}

void* pool_allocate(size_t bytes) {
  void* const block = caching ? take(class_of(bytes)) : std::malloc(bytes);
  if (!block) throw std::bad_alloc();
  return block;
}

void pool_release(void* block, size_t bytes) noexcept {
  if (caching)
    give(block, class_of(bytes));
  else
    std::free(block);
}

Ref<Storage> Storage::allocate(size_t bytes) {
  bool const guarded = poisoning();
  size_t const whole = bytes + (guarded ? 2 * guard_bytes : 0);
  check(whole >= bytes && whole < size_t{1} << 46, "allocate", [&] {
    return Complaint{fmt::format("{} bytes is beyond any memory", bytes), "check the shapes"};
  });
  auto* block = static_cast<std::byte*>(caching ? take(class_of(whole)) : acquire(std::max(whole, size_t{1})));
  if (!block) out_of_memory(bytes);
  if (guarded) {
    std::memset(block, guard_byte, guard_bytes);
    std::memset(block + guard_bytes, poison_byte, bytes);
    std::memset(block + guard_bytes + bytes, guard_byte, guard_bytes);
    block += guard_bytes;
  }
  size_t const now = bytes_in_use.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (now > bytes_peak.load(std::memory_order_relaxed)) bytes_peak.store(now, std::memory_order_relaxed);
  if (now > window_peak.load(std::memory_order_relaxed)) window_peak.store(now, std::memory_order_relaxed);
  local.allocated += bytes;
  return Ref<Storage>(new (pool_allocate(sizeof(Storage))) Storage(block, bytes, guarded));
}

Ref<Storage> Storage::of_device(void* block, size_t bytes, Device device) {
  check(block, "allocate", [&] {
    return Complaint{fmt::format("{} bytes are not to be had on {}", bytes, to_string(device)),
                     "use a smaller batch or block, or free tensors there first"};
  });
  return Ref<Storage>(new (pool_allocate(sizeof(Storage)))
                          Storage(static_cast<std::byte*>(block), bytes, false, device));
}

Ref<Storage> Storage::allocate(size_t bytes, Device device) {
  return device.is_cpu() ? allocate(bytes) : of_device(backend(device).allocate(device.index, bytes), bytes, device);
}

Ref<Storage> Storage::copy_of(void const* host, size_t bytes, Device device) {
  return of_device(backend(device).copy_of(device.index, host, bytes), bytes, device);
}

void Storage::dispose() noexcept {
  if (!device_.is_cpu()) {
    backend(device_).release(device_.index, data_, bytes_);
    this->~Storage();
    pool_release(this, sizeof(Storage));
    return;
  }
  bytes_in_use.fetch_sub(bytes_, std::memory_order_relaxed);
  std::byte* block = data_;
  if (guarded_) {
    block -= guard_bytes;
    auto const* const edge = reinterpret_cast<unsigned char const*>(block);
    for (size_t i = 0; i < guard_bytes; ++i)
      if (edge[i] != guard_byte || edge[guard_bytes + bytes_ + i] != guard_byte) {
        violations.fetch_add(1);
        std::fprintf(stderr, "heed: a write outside a storage of %zu bytes\n", bytes_);
        break;
      }
  }
  size_t const whole = bytes_ + (guarded_ ? 2 * guard_bytes : 0);
  if (caching)
    give(block, class_of(whole));
  else
    std::free(block);
  this->~Storage();
  pool_release(this, sizeof(Storage));
}

MemoryStatistics memory_statistics() {
  return {bytes_in_use.load(), bytes_peak.load(), bytes_cached.load(), bytes_acquired.load()};
}

void reset_peak_memory() { bytes_peak.store(bytes_in_use.load()); }

size_t detail::allocated_by_thread() noexcept { return local.allocated; }
size_t detail::take_peak_window() noexcept { return window_peak.exchange(bytes_in_use.load()); }

void release_cached_memory() {
  local.flush();
  std::lock_guard lock(shared_lock);
  for (int c = 0; c < class_count; ++c)
    while (FreeBlock* const block = shared_lists[c]) {
      shared_lists[c] = block->next;
      std::free(block);
      bytes_cached.fetch_sub(class_bytes(c), std::memory_order_relaxed);
    }
}

void set_poison(bool on) { poison.store(on); }
size_t guard_violations() { return violations.load(); }

}  // namespace heed
