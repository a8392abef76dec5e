#include "memory.h"

#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "checker.h"
#include "control.h"
#include "report.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace heed::emulator {

using emu::settings;

char* region = nullptr;

namespace {

constexpr size_t red_zone = 512;
constexpr unsigned char red = 0xfd, fresh = 0xff;  // 0xff…: NaN of every floating type, -1 of the integers

struct Device {
  std::map<char*, Block> blocks;  // live and freed, by address
  size_t used = 0;
  char* next = nullptr;
};
auto& devices = *new std::array<Device, most_devices>;  // as long as the program
uint64_t numbers = 0;

size_t rounded(size_t bytes) { return (bytes + 511) / 512 * 512; }
/// What a block takes with its red zones.
size_t extent(size_t bytes) { return rounded(bytes) + 2 * red_zone; }

/// Where `bytes` fit: behind the last block, so that freed memory stays recognisable, then from the start again.
char* find_room(Device& device, int index, size_t bytes) {
  char* const begin = region + (size_t(index) << device_shift);
  char* const end = begin + (size_t(1) << device_shift);
  if (!device.next) device.next = begin;
  for (int round = 0; round < 2; ++round) {
    char* at = device.next;
    auto block = device.blocks.upper_bound(at);
    for (;;) {
      while (block != device.blocks.end() && !block->second.live) ++block;
      char* const stop = block == device.blocks.end() ? end : block->second.at - red_zone;
      if (at <= stop && size_t(stop - at) >= bytes) return at;
      if (block == device.blocks.end()) break;
      at = block->second.at + rounded(block->second.bytes) + red_zone;
      ++block;
    }
    device.next = begin;
  }
  return nullptr;
}

void check_red_zones(Block const& block) {
  auto const look = [&](char const* from, size_t bytes, char const* where) {
    unpoison(const_cast<char*>(from), bytes);
    for (size_t i = 0; i < bytes; ++i)
      if (static_cast<unsigned char>(from[i]) != red) {
        add_report(std::string("a write ") + where + " block " + std::to_string(block.number) + ": " +
                   describe(from + i));
        break;
      }
    poison(const_cast<char*>(from), bytes);
  };
  look(block.at - red_zone, red_zone, "before");
  look(block.at + block.bytes, rounded(block.bytes) - block.bytes + red_zone, "behind");
}

}  // namespace

void make_region() {
  if (region) return;
  void* const at =
      mmap(nullptr, region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("emulator: device memory");
    std::abort();
  }
  region = static_cast<char*>(at);
  poison(shared_memory(), shared_most);
  checker::start();
}

void* take_block(int index, size_t bytes) {
  make_region();
  Device& device = devices[index];
  size_t const all = extent(bytes);
  if (bytes > settings().memory || device.used + rounded(bytes) > settings().memory) return nullptr;
  char* const at = find_room(device, index, all);
  if (!at) return nullptr;
  // Freed blocks that lay there are forgotten.
  auto old = device.blocks.lower_bound(at);
  if (old != device.blocks.begin()) {
    auto const before = std::prev(old);
    if (before->second.at + rounded(before->second.bytes) + red_zone > at) old = before;
  }
  while (old != device.blocks.end() && old->second.at - red_zone < at + all) old = device.blocks.erase(old);

  Block block;
  block.at = at + red_zone;
  block.bytes = bytes;
  block.number = ++numbers;
  block.live = true;
  unpoison(at, all);
  std::memset(at, red, red_zone);
  std::memset(block.at, fresh, bytes);
  std::memset(block.at + bytes, red, all - red_zone - bytes);
  poison(at, red_zone);
  poison(block.at + bytes, all - red_zone - bytes);
  checker::allocated(block.at, bytes);
  device.blocks[block.at] = block;
  device.used += rounded(bytes);
  device.next = at + all;
  return block.at;
}

bool give_block(void* at) {
  if (!region || !in_region(at) || owner(at) >= most_devices) return false;
  Device& device = devices[owner(at)];
  auto const found = device.blocks.find(static_cast<char*>(at));
  if (found == device.blocks.end() || !found->second.live) return false;
  Block& block = found->second;
  check_red_zones(block);
  block.live = false;
  device.used -= rounded(block.bytes);
  std::memset(block.at, fresh, block.bytes);
  // Pages nobody needs any more go back to the system.
  constexpr uintptr_t page = 64 << 10;
  uintptr_t const first = (uintptr_t(block.at) + page - 1) / page * page,
                  last = uintptr_t(block.at + block.bytes) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  poison(block.at, block.bytes);
  checker::released(block.at, block.bytes);
  return true;
}

void check_red_zones() {
  for (Device const& device : devices)
    for (auto const& [at, block] : device.blocks)
      if (block.live) check_red_zones(block);
}

Block const* find_block(void const* at) {
  if (!region || !in_region(at) || owner(at) >= most_devices) return nullptr;
  auto const& blocks = devices[owner(at)].blocks;
  auto found = blocks.upper_bound(static_cast<char*>(const_cast<void*>(at)));
  // In the red zone before the next block.
  if (found != blocks.end() && found->second.at - static_cast<char const*>(at) <= std::ptrdiff_t(red_zone))
    return &found->second;
  if (found == blocks.begin()) return nullptr;
  return &std::prev(found)->second;
}

bool in_live_block(void const* at, size_t bytes) {
  Block const* const block = find_block(at);
  auto const* const from = static_cast<char const*>(at);
  return block && block->live && from >= block->at && from + bytes <= block->at + block->bytes;
}

std::string describe(void const* at) {
  char text[200];
  if (!region || !in_region(at)) {
    std::snprintf(text, sizeof text, "%p, which is not the device's memory", at);
    return text;
  }
  auto const* const from = static_cast<char const*>(at);
  if (owner(at) == most_devices) return describe_shared(at);
  Block const* const block = find_block(at);
  if (!block) {
    std::snprintf(text, sizeof text, "%p on device %d, before any block", at, owner(at));
    return text;
  }
  std::ptrdiff_t const offset = from - block->at;
  char const* const freed = block->live ? "" : "freed ";
  auto const number = (unsigned long long)(block->number);
  if (offset < 0)
    std::snprintf(text, sizeof text, "%td bytes before %sblock %llu (%zu bytes, device %d)", -offset, freed, number,
                  block->bytes, owner(at));
  else if (size_t(offset) >= block->bytes)
    std::snprintf(text, sizeof text, "%td bytes past the end of %sblock %llu (%zu bytes, device %d)",
                  offset - std::ptrdiff_t(block->bytes), freed, number, block->bytes, owner(at));
  else
    std::snprintf(text, sizeof text, "byte %td of %sblock %llu (%zu bytes, device %d)", offset, freed, number,
                  block->bytes, owner(at));
  return text;
}

#if defined(__SANITIZE_ADDRESS__)
void poison(void* at, size_t bytes) { __asan_poison_memory_region(at, bytes); }
void unpoison(void* at, size_t bytes) { __asan_unpoison_memory_region(at, bytes); }
#else
void poison(void*, size_t) {}
void unpoison(void*, size_t) {}
#endif

}  // namespace heed::emulator
