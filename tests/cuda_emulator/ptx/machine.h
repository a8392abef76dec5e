// Runs a kernel's PTX on the CPU: block by block, warp by warp up to the next barrier, of a warp always the lanes with
// the lowest place in the program. Every access is checked for bounds and alignment; copies by cp.async arrive at the
// wait that covers them, and leave NaN until then.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <type_traits>

#include "module.h"

namespace ptx {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

struct Launch {
  Dim grid, block;
  size_t shared = 0;  // bytes of dynamic shared memory
};

/// What ran, and how memory was met: a request is one instruction of a warp, a sector 32 bytes of global memory, a
/// wavefront one pass over the 32 banks of shared memory; `ideal` as many as the bytes need.
struct Counters {
  uint64_t instructions = 0, lane_instructions = 0, mma = 0;
  uint64_t global_requests = 0, sectors = 0, sectors_ideal = 0;
  uint64_t shared_requests = 0, wavefronts = 0, wavefronts_ideal = 0;
};

struct Copy {
  uint32_t to;
  uint64_t from;
  uint32_t bytes, read;
};

struct Warp {
  std::vector<Lanes> registers;
  uint32_t pc[32] = {};
  uint32_t present = 0, alive = 0, blocked = 0;
  int number = 0;
  bool united = true;                        // all living lanes are at pc[…] of the first of them
  std::vector<Copy> copying[32];             // since the last commit
  std::deque<std::vector<Copy>> groups[32];  // oldest first

  uint64_t* lanes(int slot) { return registers[size_t(slot)].of; }
};

class Machine {
 public:
  explicit Machine(Module const& module);

  /// Memory that kernels may use. The address is the host's own.
  void map(void* at, size_t bytes);
  void map(void const* at, size_t bytes);  // to read
  void unmap_all();

  /// Throws Error on a fault, with the instruction and the thread.
  template <class... A>
  void run(Kernel const& kernel, Launch const& launch, A const&... arguments) {
    static_assert((std::is_trivially_copyable_v<A> && ...));
    std::vector<std::vector<uint8_t>> bytes;
    (bytes.emplace_back(reinterpret_cast<uint8_t const*>(&arguments),
                        reinterpret_cast<uint8_t const*>(&arguments) + sizeof(A)),
     ...);
    start(kernel, launch, bytes);
  }

  /// As run(), of arguments as bytes.
  void start(Kernel const& kernel, Launch const& launch, std::vector<std::vector<uint8_t>> const& arguments);

  /// Where set, it says what else of the host's memory a kernel may use.
  std::function<bool(void const* at, size_t bytes)> allowed;
  Counters counters;
  uint64_t most_instructions = uint64_t(1) << 33;  // of lanes, for endless loops

  // What instructions are made of.
  uint8_t* memory(Warp const& warp, int lane, Space space, uint64_t address, size_t bytes, bool write);
  void note(Space space, uint64_t const* address, uint32_t active, int bytes);
  [[noreturn]] void fail(Warp const& warp, int lane, std::string const& what) const;

  static constexpr uint64_t shared_window = uint64_t(0x7e) << 56, local_window = uint64_t(0x7d) << 56;

 private:
  struct Region {
    uint64_t from, to;
    bool writable;
  };

  void run_block(Dim index);
  void run_warp(Warp& warp);
  void step(Warp& warp);

  std::vector<Region> regions_;
  size_t latest_ = 0;  // region
  Kernel const* kernel_ = nullptr;
  Instruction const* now_ = nullptr;
  Launch launch_;
  Dim block_;
  std::vector<uint8_t> parameters_, shared_, local_;
  std::vector<Warp> warps_;
  std::map<std::string, std::vector<uint8_t>> data_;
  Module const* module_;
  uint64_t budget_ = 0;
};

}  // namespace ptx
