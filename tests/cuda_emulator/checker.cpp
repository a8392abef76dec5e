// Shadow memory. Four bytes of device memory have a state (which bytes may be touched, which were written) and a cell
// (who wrote and who read them last); a cell is split into one a byte when somebody touches a part of it.
//
// Two accesses of one kernel are ordered if they are the same thread's, if a barrier of their block lies between them,
// or a __syncwarp of their warp. Shuffles and votes order nothing. Accesses of two operations of streams are ordered if
// streams and events say so (order.h).
//
// Not seen: what memcpy and its like touch when they are called by name; of several reads by unordered operations, all
// but the last. A plain read of what other blocks wrote is a race even behind an atomic counter ("the last block"):
// neither fences nor acquire loads are modelled.
#include "checker.h"

#include <link.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "control.h"
#include "fiber.h"
#include "memory.h"
#include "order.h"
#include "report.h"
#include "scheduler.h"

namespace heed::emulator::checker {
namespace {

/// The latest of all accesses of a kind, or what is common to several that are not ordered among themselves.
struct Access {
  uint32_t operation, block, barriers;
  uint16_t warp_syncs;
  uint16_t thread : 10, many_threads : 1, many_warps : 1, many_blocks : 1, atomic : 1;
  uint16_t plain_before : 1;  // the block also wrote without an atomic operation
  uint16_t split : 1;         // of the cell: its bytes have their own
};
struct Cell {
  Access writes, reads;
};
static_assert(sizeof(Cell) == 32);

enum class Kind : uint8_t { read, write, atomic, atomic_read };

bool watching = false;
Access me;
int device = 0;
char const* arguments = nullptr;
size_t argument_bytes = 0;
std::string copy_error;
std::vector<std::pair<char const*, char const*>> images;  // of the program and its libraries

uint8_t* states = nullptr;  // of a word: low half: may be touched, high half: was written
Cell *cells = nullptr, *byte_cells = nullptr;

template <class T>
T* reserve(size_t count) {
  void* const at =
      mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    std::perror("emulator: shadow memory");
    std::abort();
  }
  return static_cast<T*>(at);
}

/// Zeros; what is large is given back to the system instead.
void clear(void* from, size_t bytes) {
  constexpr uintptr_t page = 64 << 10;
  auto* const begin = static_cast<char*>(from);
  uintptr_t const first = (uintptr_t(begin) + page - 1) / page * page, last = uintptr_t(begin + bytes) / page * page;
  if (bytes < 16 * page || first >= last) {
    std::memset(begin, 0, bytes);
    return;
  }
  std::memset(begin, 0, first - uintptr_t(begin));
  madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  std::memset(reinterpret_cast<void*>(last), 0, uintptr_t(begin + bytes) - last);
}

/// Calls f(word, bits) for the parts of words in [at, at + bytes).
template <class F>
void each_word(void const* at, size_t bytes, F const& f) {
  size_t from = size_t(static_cast<char const*>(at) - region);
  size_t const end = from + bytes;
  while (from < end) {
    size_t const word = from / 4, first = from % 4, count = std::min<size_t>(4 - first, end - from);
    f(word, ((1u << count) - 1) << first);
    from += count;
  }
}

bool ordered(uint32_t before) {
  static uint32_t known[2] = {};
  static bool answer = false;
  if (known[0] != before || known[1] != me.operation) {
    known[0] = before;
    known[1] = me.operation;
    answer = happens_before(before, me.operation);
  }
  return answer;
}

template <bool shared>
bool conflicts(Access const& a) {
  if (a.operation != me.operation) return !shared && a.operation != 0 && !ordered(a.operation);
  if (a.block != me.block) return !shared;
  if (!shared && a.many_blocks) return true;
  if (a.barriers != me.barriers) return false;
  if (a.many_warps || a.thread / 32 != me.thread / 32) return true;
  if (a.warp_syncs != me.warp_syncs) return false;
  return a.many_threads || a.thread != me.thread;
}

void replace(Access& a, bool atomic, bool many_blocks, bool plain_before) {
  uint16_t const split = a.split;
  a = me;
  a.split = split & 1;
  a.atomic = atomic;
  a.many_blocks = many_blocks;
  a.plain_before = plain_before;
}

/// One more access that may be unordered to those before.
template <bool shared>
void add(Access& a, bool atomic) {
  if (a.operation != me.operation || (shared && a.block != me.block)) return replace(a, atomic, false, false);
  bool const plain_before = a.plain_before || !a.atomic;
  if (a.block != me.block) return replace(a, atomic, true, plain_before);
  if (a.barriers != me.barriers) return replace(a, atomic, a.many_blocks, plain_before);
  a.plain_before = plain_before;
  a.atomic = atomic;
  if (a.many_warps) return;
  if (a.thread / 32 != me.thread / 32) {
    a.many_warps = 1;
  } else if (a.warp_syncs != me.warp_syncs) {
    replace(a, atomic, a.many_blocks, plain_before);
  } else if (a.thread != me.thread) {
    a.many_threads = 1;
  }
}

struct Wrong {
  Access const* other = nullptr;  // a race
  bool wrote = false;             // by the other
};

template <Kind kind, bool shared>
Wrong look(Cell& cell) {
  constexpr bool writes = kind == Kind::write || kind == Kind::atomic;
  constexpr bool atomic = kind == Kind::atomic || kind == Kind::atomic_read;
  if (atomic && cell.writes.atomic && cell.writes.operation == me.operation) {
    if (cell.writes.plain_before && (cell.writes.block != me.block || cell.writes.many_blocks))
      return {&cell.writes, true};
  } else if (conflicts<shared>(cell.writes)) {
    return {&cell.writes, true};
  }
  if (writes && conflicts<shared>(cell.reads)) return {&cell.reads, false};
  if constexpr (kind == Kind::read) add<shared>(cell.reads, false);
  if constexpr (kind == Kind::write) replace(cell.writes, false, false, false);
  if constexpr (kind == Kind::atomic) add<shared>(cell.writes, true);
  return {};
}

std::string text_of(Access const& a) {
  if (a.operation != me.operation) return std::string("the operation \"") + operation_name(a.operation) + "\"";
  if (!kernel_runs()) return "the same operation";
  std::string text = describe_thread(a.block, a.thread);
  if (a.many_threads || a.many_warps || a.many_blocks) text += " and others";
  return text;
}

/// Ends the kernel; of a copy, keeps the text.
void complain(std::string const& what, void* instruction, char const* by) {
  std::string text = what;
  if (by) text += std::string(" (") + by + ")";
  if (std::string const where_it_is = instruction ? place(instruction) : ""; !where_it_is.empty())
    text += " at " + where_it_is;
  if (kernel_runs()) fail(text);
  if (copy_error.empty()) copy_error = std::string(operation_name(me.operation)) + ": " + text;
}

char const* verb(Kind kind) {
  return kind == Kind::read || kind == Kind::atomic_read ? "reads"
         : kind == Kind::write                           ? "writes"
                                                         : "adds atomically to";
}

[[gnu::noinline, gnu::cold]] void bad_state(Kind kind, size_t word, unsigned bits, size_t bytes, void* instruction,
                                            char const* by) {
  watching = false;
  unsigned const touchable = states[word] & 15u;
  bool const outside = (touchable & bits) != bits;
  unsigned const wrong = bits & ~(outside ? touchable : states[word] >> 4);
  char const* const first = region + word * 4 + __builtin_ctz(wrong);
  std::string const size = std::to_string(bytes) + " bytes";
  if (outside)
    complain(std::string("out of bounds: ") + verb(kind) + " " + size + ", " + describe(first), instruction, by);
  else
    complain("uninitialised: reads " + size + ", and nobody wrote " + describe(first), instruction, by);
}

[[gnu::noinline, gnu::cold]] void race(Kind kind, Wrong const& wrong, char const* at, void* instruction,
                                       char const* by) {
  watching = false;
  complain(std::string("race: ") + verb(kind) + " " + describe(at) + ", which " + text_of(*wrong.other) + " " +
               (wrong.wrote ? "wrote" : "read") + " with nothing to order the two",
           instruction, by);
}

[[gnu::noinline, gnu::cold]] void misaligned(Kind kind, void const* at, size_t bytes, void* instruction) {
  if (!in_region(at)) return;
  watching = false;
  complain(std::string("misaligned: ") + verb(kind) + " " + std::to_string(bytes) + " bytes, " + describe(at),
           instruction, nullptr);
}

[[gnu::noinline, gnu::cold]] void not_the_devices(Kind kind, char const* at, size_t bytes, void* instruction,
                                                  char const* by) {
  if (on_fiber_stack(at) || (at >= arguments && at + bytes <= arguments + argument_bytes)) return;
  bool const reads = kind == Kind::read || kind == Kind::atomic_read;
  if (reads)
    for (auto const& [begin, end] : images)
      if (at >= begin && at < end) return;  // constants of the program
  watching = false;
  complain(std::string("host pointer: ") + verb(kind) + " " + describe(at), instruction, by);
}

template <Kind kind, bool shared>
void touch_words(char const* at, size_t bytes, void* instruction, char const* by) {
  size_t from = size_t(at - region);
  size_t const end = from + bytes;
  while (from < end) {
    size_t const word = from / 4, first = from % 4, count = std::min<size_t>(4 - first, end - from);
    unsigned const bits = ((1u << count) - 1) << first;
    unsigned const state = states[word];
    if ((state & bits) != bits) return bad_state(kind, word, bits, bytes, instruction, by);
    Cell& cell = cells[word];
    if (bits == 15 && !cell.writes.split) [[likely]] {
      if (Wrong const wrong = look<kind, shared>(cell); wrong.other) [[unlikely]]
        return race(kind, wrong, region + from, instruction, by);
    } else {
      if (!cell.writes.split) {
        for (size_t i = 0; i < 4; ++i) byte_cells[word * 4 + i] = cell;
        cell.writes.split = 1;
      }
      for (size_t i = 0; i < count; ++i)
        if (Wrong const wrong = look<kind, shared>(byte_cells[from + i]); wrong.other)
          return race(kind, wrong, region + from + i, instruction, by);
    }
    // Behind the races, for a race may be why.
    if constexpr (kind == Kind::write)
      states[word] = uint8_t(state | bits << 4);
    else if ((state >> 4 & bits) != bits)
      return bad_state(kind, word, bits, bytes, instruction, by);
    from += count;
  }
}

template <Kind kind>
inline void touch(void const* address, size_t bytes, void* instruction, char const* by) {
  auto const* const at = static_cast<char const*>(address);
  if (!in_region(at)) return not_the_devices(kind, at, bytes, instruction, by);
  int const of = owner(at);
  if (of == most_devices) return touch_words<kind, true>(at, bytes, instruction, by);
  if (of != device) [[unlikely]] {
    watching = false;
    return complain(std::string("another device's memory: ") + verb(kind) + " " + describe(at), instruction, by);
  }
  touch_words<kind, false>(at, bytes, instruction, by);
}

}  // namespace

void start() {
  size_t const words = region_bytes / 4;
  states = reserve<uint8_t>(words);
  cells = reserve<Cell>(words);
  byte_cells = reserve<Cell>(region_bytes);
}

void allocated(char* at, size_t bytes) {
  each_word(at, bytes,
            [](size_t word, unsigned bits) { states[word] = uint8_t((states[word] & ~(bits << 4)) | bits); });
  // Cells of shared memory are told apart by operation and block.
  if (owner(at) != most_devices) clear(cells + (at - region) / 4, (bytes + 3) / 4 * sizeof(Cell));
}

void released(char* at, size_t bytes) {
  each_word(at, bytes, [](size_t word, unsigned bits) { states[word] &= uint8_t(~(bits | bits << 4)); });
}

void enter(int of, void const* values, size_t bytes) {
  if (images.empty())
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void*) {
          for (int i = 0; i < info->dlpi_phnum; ++i)
            if (auto const& part = info->dlpi_phdr[i]; part.p_type == PT_LOAD) {
              auto const* const begin = reinterpret_cast<char const*>(info->dlpi_addr + part.p_vaddr);
              images.emplace_back(begin, begin + part.p_memsz);
            }
          return 0;
        },
        nullptr);
  device = of;
  arguments = static_cast<char const*>(values);
  argument_bytes = bytes;
  copy_error.clear();
}

void watch(bool on) { watching = on; }

void move(Where const& where) {
  me.operation = where.operation;
  me.block = where.block;
  me.barriers = where.barriers;
  me.warp_syncs = where.warp_syncs;
  me.thread = where.thread & 1023;
}

std::string take_error() { return std::exchange(copy_error, {}); }

void read(void const* at, size_t bytes, char const* what) { touch<Kind::read>(at, bytes, nullptr, what); }
void write(void* at, size_t bytes, char const* what) { touch<Kind::write>(at, bytes, nullptr, what); }
void atomic(void* at, size_t bytes) { touch<Kind::atomic>(at, bytes, __builtin_return_address(0), nullptr); }

void undefine(void* at, size_t bytes) {
  each_word(at, bytes, [](size_t word, unsigned bits) { states[word] &= uint8_t(~(bits << 4)); });
}

void copied(void* to, void const* from, size_t bytes) {
  // The source may be written in part only: what is not stays so.
  auto const written = [](char const* at) {
    return (states[size_t(at - region) / 4] >> (4 + size_t(at - region) % 4) & 1) != 0;
  };
  auto const* const source = static_cast<char const*>(from);
  auto* const target = static_cast<char*>(to);
  std::vector<bool> known(bytes);
  for (size_t i = 0; i < bytes; ++i) known[i] = written(source + i);
  each_word(from, bytes, [](size_t word, unsigned bits) { states[word] |= uint8_t(bits << 4); });
  int const own = device;
  device = owner(from);  // copies between devices are allowed
  read(from, bytes, "source");
  device = owner(to);
  write(to, bytes, "target");
  device = own;
  for (size_t i = 0; i < bytes; ++i)
    if (!known[i]) {
      undefine(const_cast<char*>(source) + i, 1);
      undefine(target + i, 1);
    }
}

}  // namespace heed::emulator::checker

// ---- what the compiler calls
// ----------------------------------------------------------------------------------------------
using heed::emulator::checker::Kind;
using heed::emulator::checker::touch;
using heed::emulator::checker::watching;

template <Kind kind, size_t bytes, bool aligned>
[[gnu::always_inline]] inline void on_access(void const* at, void* instruction) {
  if (!watching) return;
  // Accesses of 16 bytes may be of objects that are aligned to 8.
  if (aligned && uintptr_t(at) % (bytes < 8 ? bytes : 8)) [[unlikely]]
    return heed::emulator::checker::misaligned(kind, at, bytes, instruction);
  touch<kind>(at, bytes, instruction, nullptr);
}

#define HEED_EMULATOR_HOOK(name, kind, bytes, aligned) \
  extern "C" void name(void* at);                      \
  extern "C" void name(void* at) { on_access<Kind::kind, bytes, aligned>(at, __builtin_return_address(0)); }
#define HEED_EMULATOR_HOOKS(bytes)                                                     \
  HEED_EMULATOR_HOOK(__tsan_read##bytes, read, bytes, true)                            \
  HEED_EMULATOR_HOOK(__tsan_write##bytes, write, bytes, true)                          \
  HEED_EMULATOR_HOOK(__tsan_unaligned_read##bytes, read, bytes, false)                 \
  HEED_EMULATOR_HOOK(__tsan_unaligned_write##bytes, write, bytes, false)               \
  HEED_EMULATOR_HOOK(__tsan_volatile_read##bytes, atomic_read, bytes, true)            \
  HEED_EMULATOR_HOOK(__tsan_volatile_write##bytes, write, bytes, true)                 \
  HEED_EMULATOR_HOOK(__tsan_unaligned_volatile_read##bytes, atomic_read, bytes, false) \
  HEED_EMULATOR_HOOK(__tsan_unaligned_volatile_write##bytes, write, bytes, false)
HEED_EMULATOR_HOOKS(1)
HEED_EMULATOR_HOOKS(2)
HEED_EMULATOR_HOOKS(4)
HEED_EMULATOR_HOOKS(8)
HEED_EMULATOR_HOOKS(16)

extern "C" {
void __tsan_init();
void __tsan_func_entry(void*);
void __tsan_func_exit();
void __tsan_read_range(void* at, size_t bytes);
void __tsan_write_range(void* at, size_t bytes);
void __tsan_vptr_update(void** at, void* value);
void __tsan_vptr_read(void** at);
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* at, size_t bytes) {
  if (watching) touch<Kind::read>(at, bytes, __builtin_return_address(0), nullptr);
}
void __tsan_write_range(void* at, size_t bytes) {
  if (watching) touch<Kind::write>(at, bytes, __builtin_return_address(0), nullptr);
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

// Atomic operations of the host's code in the same file.
#define HEED_EMULATOR_FETCH(bits, T, name, builtin)                         \
  extern "C" T __tsan_atomic##bits##_##name(T volatile* at, T value, int);  \
  extern "C" T __tsan_atomic##bits##_##name(T volatile* at, T value, int) { \
    return builtin(at, value, __ATOMIC_SEQ_CST);                            \
  }
#define HEED_EMULATOR_EXCHANGE(bits, T, name)                                                                    \
  extern "C" int __tsan_atomic##bits##_compare_exchange_##name(T volatile* at, T* expected, T value, int, int);  \
  extern "C" int __tsan_atomic##bits##_compare_exchange_##name(T volatile* at, T* expected, T value, int, int) { \
    return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);          \
  }
#define HEED_EMULATOR_ATOMICS(bits, T)                                                                                 \
  extern "C" T __tsan_atomic##bits##_load(T const volatile* at, int);                                                  \
  extern "C" T __tsan_atomic##bits##_load(T const volatile* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); } \
  extern "C" void __tsan_atomic##bits##_store(T volatile* at, T value, int);                                           \
  extern "C" void __tsan_atomic##bits##_store(T volatile* at, T value, int) {                                          \
    __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                                                     \
  }                                                                                                                    \
  HEED_EMULATOR_FETCH(bits, T, exchange, __atomic_exchange_n)                                                          \
  HEED_EMULATOR_FETCH(bits, T, fetch_add, __atomic_fetch_add)                                                          \
  HEED_EMULATOR_FETCH(bits, T, fetch_sub, __atomic_fetch_sub)                                                          \
  HEED_EMULATOR_FETCH(bits, T, fetch_and, __atomic_fetch_and)                                                          \
  HEED_EMULATOR_FETCH(bits, T, fetch_or, __atomic_fetch_or)                                                            \
  HEED_EMULATOR_FETCH(bits, T, fetch_xor, __atomic_fetch_xor)                                                          \
  HEED_EMULATOR_EXCHANGE(bits, T, strong)                                                                              \
  HEED_EMULATOR_EXCHANGE(bits, T, weak)
HEED_EMULATOR_ATOMICS(8, uint8_t)
HEED_EMULATOR_ATOMICS(16, uint16_t)
HEED_EMULATOR_ATOMICS(32, uint32_t)
HEED_EMULATOR_ATOMICS(64, uint64_t)
extern "C" void __tsan_atomic_thread_fence(int);
extern "C" void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
