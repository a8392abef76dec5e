// The memory of the emulated devices: one range of addresses, so that a pointer says where it belongs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace heed::emulator {

constexpr int most_devices = 4;
constexpr int device_shift = 32;  // bytes of a device's addresses: 2^32
constexpr size_t region_bytes = size_t(most_devices + 1)
                                << device_shift;  // the last part is the shared memory of a block
constexpr size_t shared_most = 1 << 20;

extern char* region;  // made on the first use

void make_region();
inline bool in_region(void const* at) { return uintptr_t(at) - uintptr_t(region) < region_bytes; }
/// The device whose memory it is; most_devices for shared memory. For addresses in the region.
inline int owner(void const* at) { return int((uintptr_t(at) - uintptr_t(region)) >> device_shift); }
inline char* shared_memory() { return region + (size_t(most_devices) << device_shift); }

struct Block {
  char* at = nullptr;
  size_t bytes = 0;
  uint64_t number = 0;  // counted from 1
  bool live = false;
};

/// Aligned to 512, NaN, between red zones; nullptr: the device has not so much (Settings::memory).
void* take_block(int device, size_t bytes);
/// Whether it was one. Says so if its red zones were written.
bool give_block(void* block);
/// Red zones of all live blocks; reports those written.
void check_red_zones();
/// The block that holds the address or lies nearest below it, live or freed; nullptr: none.
Block const* find_block(void const* at);
/// Whether [at, at + bytes) lies in one live block.
bool in_live_block(void const* at, size_t bytes);
/// "12 bytes past the end of block 3 (4096 bytes, device 0)".
std::string describe(void const* at);

/// No access may touch it | any may (AddressSanitizer's view).
void poison(void* at, size_t bytes);
void unpoison(void* at, size_t bytes);

}  // namespace heed::emulator
