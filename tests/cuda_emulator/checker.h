// Looks at every access of a kernel: bounds, initialisation, races. In builds without HEED_EMU_RACE nothing is looked
// at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace heed::emulator::checker {

/// Who runs, and after which synchronisations of the block and of the warp.
struct Where {
  uint32_t operation = 0;   // of a stream; 0: nothing runs
  uint32_t block = 0;       // linear index
  uint32_t barriers = 0;    // the block has passed
  uint16_t thread = 0;      // linear index in the block
  uint16_t warp_syncs = 0;  // the warp has passed
};

#if defined(HEED_EMU_RACE)
constexpr bool looks = true;
void start();
void allocated(char* at, size_t bytes);
void released(char* at, size_t bytes);
/// An operation of a stream begins on a device; `arguments` are what its kernel may read besides.
void enter(int device, void const* arguments, size_t argument_bytes);
/// Whether the accesses that instrumented code makes are a kernel's.
void watch(bool on);
/// What was wrong with a copy since enter(); what is wrong with a kernel ends it.
std::string take_error();
/// Who runs from now on.
void move(Where const& where);
/// Accesses that the emulator makes for the kernel or for a copy. `what` names it in reports.
void read(void const* at, size_t bytes, char const* what);
void write(void* at, size_t bytes, char const* what);
void atomic(void* at, size_t bytes);
/// What was written is not there yet.
void undefine(void* at, size_t bytes);
/// Copies between blocks copy what is known of the bytes, too.
void copied(void* to, void const* from, size_t bytes);
#else
constexpr bool looks = false;
inline void start() {}
inline void allocated(char*, size_t) {}
inline void released(char*, size_t) {}
inline void enter(int, void const*, size_t) {}
inline void watch(bool) {}
inline std::string take_error() { return ""; }
inline void move(Where const&) {}
inline void read(void const*, size_t, char const*) {}
inline void write(void*, size_t, char const*) {}
inline void atomic(void*, size_t) {}
inline void undefine(void*, size_t) {}
inline void copied(void*, void const*, size_t) {}
#endif

}  // namespace heed::emulator::checker
