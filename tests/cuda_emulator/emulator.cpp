// The scheduler, and what kernels call: barriers, warp operations, shared memory, asynchronous copies, atomics.
#include <signal.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "checker.h"
#include "control.h"
#include "fiber.h"
#include "memory.h"
#include "report.h"
#include "scheduler.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace heed::emulator {

using namespace emu;

namespace {

constexpr unsigned full = 0xffffffffu;
constexpr int most_threads = 1024;
#if defined(__SANITIZE_ADDRESS__)
constexpr bool address_sanitizer_there = true;
#else
constexpr bool address_sanitizer_there = false;
#endif

enum class State : uint8_t { ready, at_warp, at_barrier, exited };
struct AsyncCopy {
  char* to;
  char const* from;
  size_t bytes, read;
  unsigned group;
};
struct Thread {
  Fiber* fiber;  // nullptr: has not begun, or has ended
  uint3 index;
  State state;
  Site site;       // where it waits
  unsigned group;  // of asynchronous copies, the one that is open
};
struct Warp {
  unsigned lanes, ready, arrived;  // bits
  WarpOp op;
  uint8_t phase;
  uint16_t syncs;
  Site site;
  uint64_t slots[2][32];
};
struct SharedArray {
  void* site;
  char const* name;
  char* at;
  size_t bytes;
};
struct {
  Call const* call;
  rt::Launch how;
  int device;
  bool shuffled, failed;
  std::string error;
} kernel;
Dice dice(0);

Fiber main_fiber;
bool running = false;  // on a fiber

// Of the block.
Thread threads[most_threads];
std::vector<AsyncCopy> copies[most_threads];
Warp warps[most_threads / 32];
unsigned warps_ready = 0;
int current = 0, thread_count = 0, alive = 0, at_barrier = 0;
Site barrier_site;
Vote barrier_vote;
int tally = 0, votes[2] = {};
checker::Where where;
std::vector<SharedArray> arrays;
size_t shared_used = 0;
char* dynamic = nullptr;

bool same(Site const& a, Site const& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}
std::string triple(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

/// The n-th bit that is set, from 0.
int bit(unsigned bits, unsigned n) {
  while (n--) bits &= bits - 1;
  return std::countr_zero(bits);
}

void set_running(bool on) {
  running = on;
  checker::watch(on);
}

void set_current(int thread) {
  current = thread;
  threadIdx = threads[thread].index;
  where.thread = uint16_t(thread);
  where.warp_syncs = warps[thread >> 5].syncs;
  checker::move(where);
}

/// The next thread to run; -1: none can.
int pick() {
  if (!warps_ready) return -1;
  if (kernel.shuffled) {
    int const warp = bit(warps_ready, dice.below(unsigned(std::popcount(warps_ready))));
    unsigned const ready = warps[warp].ready;
    return warp * 32 + bit(ready, dice.below(unsigned(std::popcount(ready))));
  }
  int warp = current >> 5;
  unsigned ready = warps[warp].ready;
  if (ready) {
    unsigned const later = ready & (0xfffffffeu << (current & 31));
    return warp * 32 + std::countr_zero(later ? later : ready);
  }
  unsigned const later = warps_ready & (full << warp);
  warp = std::countr_zero(later ? later : warps_ready);
  return warp * 32 + std::countr_zero(warps[warp].ready);
}

void set_ready(int warp, unsigned lanes) {
  warps[warp].ready = lanes;
  if (lanes)
    warps_ready |= 1u << warp;
  else
    warps_ready &= ~(1u << warp);
}

/// Nobody can go on: says who waits where.
void note_divergence() {
  struct Group {
    State state;
    Site site;
    int count;
  };
  std::vector<Group> groups;
  for (int i = 0; i < thread_count; ++i) {
    Thread const& thread = threads[i];
    bool found = false;
    for (Group& group : groups)
      if (group.state == thread.state && (thread.state == State::exited || same(group.site, thread.site))) {
        ++group.count;
        found = true;
        break;
      }
    if (!found) groups.push_back({thread.state, thread.site, 1});
  }
  std::string text = "divergence:";
  for (Group const& group : groups) {
    text += &group == groups.data() ? " " : ", ";
    text += std::to_string(group.count);
    if (group.state == State::exited)
      text += " exited";
    else
      text += std::string(" threads wait at the ") + (group.state == State::at_warp ? "warp operation " : "barrier ") +
              text_of(group.site);
  }
  note_failure(text);
}

[[noreturn]] void stuck() {
  stop_watching();
  note_divergence();
  end_kernel();
}

void fiber_main();

/// Lets another thread run; returns when the current one may go on.
void yield_to(int next) {
  if (next < 0) stuck();
  if (next == current) return;
  Fiber& from = *threads[current].fiber;
  set_current(next);
  Thread& thread = threads[next];
  if (!thread.fiber) thread.fiber = take_fiber(fiber_main);
  switch_fiber(from, *thread.fiber);
}

void fiber_main() {
  for (;;) {
    kernel.call->run(kernel.call->values.get());

    Thread& me = threads[current];
    me.state = State::exited;
    copies[current].clear();
    Warp& warp = warps[current >> 5];
    set_ready(current >> 5, warp.ready & ~(1u << (current & 31)));
    --alive;
    Fiber& fiber = *me.fiber;
    int const next = pick();
    if (next < 0) {
      if (alive > 0) stuck();
      me.fiber = nullptr;
      park_fiber(&fiber);
      set_running(false);
      switch_fiber(fiber, main_fiber);  // returns when a thread of a later block takes this fiber
      continue;
    }
    me.fiber = nullptr;
    set_current(next);
    Thread& thread = threads[next];
    if (!thread.fiber) {  // it begins where this one ended
      thread.fiber = &fiber;
      continue;
    }
    park_fiber(&fiber);
    switch_fiber(fiber, *thread.fiber);
  }
}

/// All lanes of the warp meet here; the slots hold what they gave.
uint64_t const* meet(WarpOp op, unsigned mask, uint64_t value, Site site) {
  int const lane = current & 31, index = current >> 5;
  Warp& warp = warps[index];
  if (mask != full) {
    char text[80];
    std::snprintf(text, sizeof text, "a warp operation with the mask %#x: kernels use the full mask, at ", mask);
    fail(text, site);
  }
  if (warp.lanes != full) fail("a warp operation in a warp of ", std::popcount(warp.lanes), " threads at ", site);
  Thread& me = threads[current];
  if (warp.arrived == 0) {
    warp.op = op;
    warp.site = site;
  } else if (warp.op != op || !same(warp.site, site)) {
    fail("divergence: lanes of one warp are at different operations: ", std::popcount(warp.arrived), " at ", warp.site,
         ", this one at ", site);
  }
  uint64_t* const slots = warp.slots[warp.phase];
  slots[lane] = value;
  warp.arrived |= 1u << lane;
  if (warp.arrived == full) {
    warp.arrived = 0;
    warp.phase ^= 1;
    if (op == WarpOp::sync) {
      ++warp.syncs;
      set_current(current);
    }
    for (int i = 0; i < 32; ++i) threads[index * 32 + i].state = State::ready;
    set_ready(index, full);
    if (kernel.shuffled) yield_to(pick());
    return slots;
  }
  me.state = State::at_warp;
  me.site = site;
  set_ready(index, warp.ready & ~(1u << lane));
  yield_to(pick());
  return slots;
}

void begin_block(unsigned linear) {
  rt::Launch const& how = kernel.how;
  blockIdx = {linear % how.grid.x, linear / how.grid.x % how.grid.y, linear / how.grid.x / how.grid.y};
  uint3 index = {0, 0, 0};
  for (int i = 0; i < thread_count; ++i) {
    threads[i] = {nullptr, index, State::ready, {}, 0};
    if (++index.x == how.block.x) {
      index.x = 0;
      if (++index.y == how.block.y) {
        index.y = 0;
        ++index.z;
      }
    }
  }
  int const warp_count = (thread_count + 31) / 32;
  warps_ready = 0;
  for (int i = 0; i < warp_count; ++i) {
    int const lanes = std::min(32, thread_count - i * 32);
    warps[i].lanes = lanes == 32 ? full : (1u << lanes) - 1;
    warps[i].arrived = warps[i].phase = 0;
    warps[i].syncs = 0;
    set_ready(i, warps[i].lanes);
  }
  alive = thread_count;
  at_barrier = tally = votes[0] = votes[1] = 0;
  where.block = linear;
  where.barriers = 0;
  shared_used = 0;
  dynamic = nullptr;
  arrays.clear();
}

/// Of shared arrays; where every access is looked at, nothing gets there.
constexpr size_t red_zone = 128;
constexpr bool red_zones_are_read = !checker::looks && !address_sanitizer_there;
constexpr unsigned char red = 0xfd;

void end_block() {
  if (!shared_used) return;
  if constexpr (red_zones_are_read) {
    for (SharedArray const& array : arrays)
      for (size_t i = 0; i < red_zone; ++i)
        if (static_cast<unsigned char>(array.at[array.bytes + i]) != red && !kernel.failed) {
          kernel.failed = true;
          kernel.error = describe_launch() + ", block " + std::to_string(where.block) + ": a write " +
                         describe_shared(array.at + array.bytes + i);
        }
  }
  checker::released(shared_memory(), shared_used);
  poison(shared_memory(), shared_used);
}

/// Room in the block's shared memory, NaN, with red zones on both sides.
char* take_shared(void* site, char const* name, size_t bytes, size_t align, size_t exactly) {
  size_t at = (shared_used + red_zone + 127) / 128 * 128;
  if (exactly) at += align % 128;  // aligned to what was asked for and no more
  if (at + bytes + red_zone > shared_most) fail("too much shared memory");
  char* const memory = shared_memory() + at;
  shared_used = at + bytes;
  unpoison(memory, bytes);
  std::memset(memory, 0xff, bytes);
  if constexpr (red_zones_are_read) std::memset(memory + bytes, red, red_zone);
  checker::allocated(memory, bytes);
  arrays.push_back({site, name, memory, bytes});
  return memory;
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
// A bad address ends the kernel, not the program: the handler goes on in fault(), on a stack of its own.
alignas(16) char fault_stack[64 << 10], signal_stack[64 << 10];
void const* fault_address = nullptr;
void* fault_instruction = nullptr;
Fiber fault_fiber;

[[noreturn]] void fault() {
  stop_watching();
  std::string const where_it_was = place(fault_instruction);
  if (on_guard_page(fault_address)) fail("a thread's stack overflows ", where_it_was);
  fail("an access to ", fault_address, where_it_was.empty() ? "" : " at ", where_it_was);
}

void on_signal(int signal, siginfo_t* info, void* context) {
  auto* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (!running) {
    ::signal(signal, SIG_DFL);
    return;
  }
  fault_address = info->si_addr;
  fault_instruction = reinterpret_cast<void*>(registers[REG_RIP]);
  registers[REG_RIP] = greg_t(&fault);
  registers[REG_RSP] = greg_t(fault_stack + sizeof fault_stack - 8);
}

void catch_faults() {
  static bool done = false;
  if (done) return;
  done = true;
  stack_t stack = {};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}
#else
void catch_faults() {}
#endif

}  // namespace

bool kernel_runs() { return running; }

std::string describe_thread(uint32_t block, unsigned thread) {
  rt::Dim const &grid = kernel.how.grid, &size = kernel.how.block;
  return "thread " + triple(thread % size.x, thread / size.x % size.y, thread / size.x / size.y) + " of block " +
         triple(block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y);
}

std::string describe_launch() {
  rt::Dim const &grid = kernel.how.grid, &block = kernel.how.block;
  return std::string("kernel ") + kernel.how.name + " (grid " + triple(grid.x, grid.y, grid.z) + ", block " +
         triple(block.x, block.y, block.z) + ")";
}

std::string text_of(Site const& site) {
  char const* const slash = std::strrchr(site.file, '/');
  return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}
std::string text_of(void const* address) { return describe(address); }

std::string describe_shared(void const* address) {
  auto const* const at = static_cast<char const*>(address);
  SharedArray const* nearest = nullptr;
  for (SharedArray const& array : arrays)
    if (!nearest || array.at <= at + 64) nearest = &array;
  if (!nearest) return "shared memory that the block has not declared";
  std::ptrdiff_t const offset = at - nearest->at, bytes = std::ptrdiff_t(nearest->bytes);
  std::string const what = std::string("shared array ") + nearest->name + " (" + std::to_string(bytes) + " bytes)";
  if (offset < 0) return std::to_string(-offset) + " bytes before " + what;
  if (offset >= bytes) return std::to_string(offset - bytes) + " bytes past the end of " + what;
  return "byte " + std::to_string(offset) + " of " + what;
}

void stop_watching() { checker::watch(false); }

void note_failure(std::string const& what) {
  kernel.failed = true;
  kernel.error = describe_launch() + ", " + describe_thread(where.block, unsigned(current)) + ": " + what;
}

void end_kernel() {
  set_running(false);
  switch_fiber(*threads[current].fiber, main_fiber);
  std::abort();
}

std::string run_kernel(Call const& call, rt::Launch const& how, int device, uint32_t operation) {
  if (std::string error; instead && instead(call, how, error)) return error;
  make_region();
  catch_faults();
  kernel = {&call, how, device, settings().seed != 0, false, ""};
  dice = Dice(settings().seed * 1000003 + operation);
  blockDim = {how.block.x, how.block.y, how.block.z};
  gridDim = {how.grid.x, how.grid.y, how.grid.z};
  thread_count = int(how.block.x * how.block.y * how.block.z);
  where = {};
  where.operation = operation;

  unsigned const block_count = how.grid.x * how.grid.y * how.grid.z;
  std::vector<unsigned> order;
  if (kernel.shuffled) {
    order.resize(block_count);
    std::iota(order.begin(), order.end(), 0u);
    for (unsigned i = block_count; i > 1; --i) std::swap(order[i - 1], order[dice.below(i)]);
  }
  checker::enter(device, call.values.get(), call.bytes);
  for (unsigned i = 0; i < block_count && !kernel.failed; ++i) {
    begin_block(kernel.shuffled ? order[i] : i);
    current = 31;  // the first lane follows
    int const first = pick();
    set_current(first);
    threads[first].fiber = take_fiber(fiber_main);
    set_running(true);
    switch_fiber(main_fiber, *threads[first].fiber);
    set_running(false);
    end_block();
  }
  if (kernel.failed)
    for (int i = 0; i < thread_count; ++i) {
      copies[i].clear();
      if (threads[i].fiber) reset_fiber(threads[i].fiber);
    }
  return kernel.error;
}

}  // namespace heed::emulator

namespace heed {
inline namespace emu {

using namespace emulator;

bool (*instead)(Call const& call, rt::Launch const& how, std::string& error) = nullptr;

int lane() { return current & 31; }

uint64_t exchange(WarpOp op, unsigned mask, uint64_t value, int from, Site site) {
  return meet(op, mask, value, site)[from & 31];
}

unsigned ballot(WarpOp op, unsigned mask, bool predicate, Site site) {
  uint64_t const* const slots = meet(op, mask, predicate, site);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= unsigned(slots[i]) << i;
  return bits;
}

uint64_t const* gather(WarpOp op, unsigned mask, uint64_t value, Site site) { return meet(op, mask, value, site); }

int barrier(Vote vote, bool predicate, Site site) {
  Thread& me = threads[current];
  if (at_barrier == 0) {
    barrier_site = site;
    barrier_vote = vote;
  } else if (!same(barrier_site, site) || vote != barrier_vote) {
    fail("divergence: ", at_barrier, " threads wait at the barrier ", barrier_site, ", this one comes to that of ",
         site);
  }
  unsigned const phase = where.barriers & 1;
  tally += predicate;
  ++at_barrier;
  if (at_barrier < thread_count) {
    me.state = State::at_barrier;
    me.site = site;
    int const warp = current >> 5;
    set_ready(warp, warps[warp].ready & ~(1u << (current & 31)));
    yield_to(pick());
    return votes[phase];
  }
  votes[phase] = vote == Vote::all ? tally == thread_count : vote == Vote::any ? tally != 0 : tally;
  at_barrier = tally = 0;
  ++where.barriers;
  for (int i = 0; i < thread_count; ++i) threads[i].state = State::ready;
  for (int i = 0; i * 32 < thread_count; ++i) set_ready(i, warps[i].lanes);
  set_current(current);
  if (kernel.shuffled) yield_to(pick());
  return votes[phase];
}

void trap(Site site) { fail("__trap at ", site); }

float approximate(float exact) {
  if (!settings().perturb || !std::isfinite(exact) || exact == 0) return exact;
  uint32_t const bits = std::bit_cast<uint32_t>(exact);
  if ((bits & 0x7f800000u) == 0 || (bits & 0x7f800000u) == 0x7f000000u) return exact;
  uint32_t mixed = (bits ^ uint32_t(settings().seed)) * 0x9e3779b9u;
  mixed ^= mixed >> 16;
  return std::bit_cast<float>(bits + mixed % 5 - 2);
}

void* shared_array(void* site, char const* name, size_t bytes, size_t align) {
  for (SharedArray const& array : arrays)
    if (array.site == site) return array.at;
  return take_shared(site, name, bytes, align, true);
}

void* dynamic_shared() {
  if (!dynamic) dynamic = take_shared(&dynamic, "(dynamic)", kernel.how.shared, 128, false);
  return dynamic;
}

void async_copy(void* to, void const* from, size_t bytes, size_t read) {
  if (bytes != 4 && bytes != 8 && bytes != 16) fail("cp.async copies 4, 8 or 16 bytes, not ", bytes);
  if (read > bytes) fail("cp.async reads more than it copies");
  if (uintptr_t(to) % bytes || uintptr_t(from) % bytes)
    fail("cp.async of ", bytes, " bytes that are not aligned: ", to, ", ", from);
  if (!in_region(to) || owner(to) != most_devices) fail("cp.async to ", to, ": not shared memory");
  if (read && (!in_region(from) || owner(from) == most_devices)) fail("cp.async from ", from, ": not global memory");
  checker::read(from, read, "cp.async");
  checker::write(to, bytes, "cp.async");
  std::memset(to, 0xff, bytes);
  checker::undefine(to, bytes);
  copies[current].push_back(
      {static_cast<char*>(to), static_cast<char const*>(from), bytes, read, threads[current].group});
}

void async_commit() { ++threads[current].group; }

void async_wait(int groups) {
  auto& mine = copies[current];
  unsigned const group = threads[current].group;
  size_t done = 0;
  while (done < mine.size() && mine[done].group + unsigned(groups) < group) {
    AsyncCopy const& copy = mine[done++];
    checker::read(copy.from, copy.read, "cp.async");
    checker::write(copy.to, copy.bytes, "the end of cp.async");
    std::memcpy(copy.to, copy.from, copy.read);
    std::memset(copy.to + copy.read, 0, copy.bytes - copy.read);
  }
  mine.erase(mine.begin(), mine.begin() + std::ptrdiff_t(done));
}

void note_atomic(void* at, size_t bytes) {
  if (uintptr_t(at) % bytes) fail("an atomic operation that is not aligned on ", at);
  checker::atomic(at, bytes);
}

}  // namespace emu
}  // namespace heed

#define HEED_EMULATOR_ATOMIC(T, name, next) \
  T name(T* at, T value) {                  \
    heed::emu::note_atomic(at, sizeof(T));  \
    T const old = *at;                      \
    *at = next;                             \
    return old;                             \
  }
#define HEED_EMULATOR_CAS(T)                \
  T atomicCAS(T* at, T expected, T value) { \
    heed::emu::note_atomic(at, sizeof(T));  \
    T const old = *at;                      \
    if (old == expected) *at = value;       \
    return old;                             \
  }
#define HEED_EMULATOR_ATOMICS(T, sum)                           \
  HEED_EMULATOR_ATOMIC(T, atomicAdd, sum)                       \
  HEED_EMULATOR_ATOMIC(T, atomicExch, value)                    \
  HEED_EMULATOR_ATOMIC(T, atomicMin, value < old ? value : old) \
  HEED_EMULATOR_ATOMIC(T, atomicMax, old < value ? value : old) \
  HEED_EMULATOR_ATOMIC(T, atomicAnd, old& value)                \
  HEED_EMULATOR_ATOMIC(T, atomicOr, old | value)                \
  HEED_EMULATOR_ATOMIC(T, atomicXor, old ^ value)               \
  HEED_EMULATOR_CAS(T)
HEED_EMULATOR_ATOMICS(int, int(unsigned(old) + unsigned(value)))
HEED_EMULATOR_ATOMICS(unsigned, old + value)
HEED_EMULATOR_ATOMICS(unsigned long long, old + value)
HEED_EMULATOR_ATOMIC(int, atomicSub, int(unsigned(old) - unsigned(value)))
HEED_EMULATOR_ATOMIC(unsigned, atomicSub, old - value)
HEED_EMULATOR_ATOMIC(unsigned, atomicInc, old >= value ? 0 : old + 1)
HEED_EMULATOR_ATOMIC(unsigned, atomicDec, old == 0 || old > value ? value : old - 1)
HEED_EMULATOR_ATOMIC(float, atomicAdd, old + value)
HEED_EMULATOR_ATOMIC(float, atomicExch, value)
HEED_EMULATOR_ATOMIC(double, atomicAdd, old + value)
HEED_EMULATOR_CAS(unsigned short)
