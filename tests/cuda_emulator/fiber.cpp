#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(HEED_EMU_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define HEED_EMU_UCONTEXT
#endif

#if defined(HEED_EMU_UCONTEXT)
#include <ucontext.h>
#else
// Saves the registers that a call keeps on the stack, its pointer in *from, and takes all from the stack `to`.
extern "C" void heed_emulator_switch(void** from, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl heed_emulator_switch
.hidden heed_emulator_switch
.type heed_emulator_switch,@function
heed_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size heed_emulator_switch,.-heed_emulator_switch
)");
constexpr int saved_words = 8, return_word = 6;  // the last word is the return address of entry(): none
#else
asm(R"(
.text
.p2align 4
.globl heed_emulator_switch
.hidden heed_emulator_switch
.type heed_emulator_switch,%function
heed_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size heed_emulator_switch,.-heed_emulator_switch
)");
constexpr int saved_words = 20, return_word = 11;
#endif
#endif

namespace heed::emulator {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t stack_bytes = 256 << 10;
#else
constexpr size_t stack_bytes = 64 << 10;
#endif
constexpr size_t page = 64 << 10, most = 4096;  // the page: the largest of any processor

char* stacks = nullptr;
size_t made = 0;
Fiber* free_fibers = nullptr;
void (*entry_point)() = nullptr;
Fiber *leaving = nullptr, *entering = nullptr;

/// On the side of the fiber that was switched to.
void arrived() {
#if defined(__SANITIZE_ADDRESS__)
  void const* low;
  size_t bytes;
  __sanitizer_finish_switch_fiber(entering->fake_stack, &low, &bytes);
  if (!leaving->low || leaving->low < stacks || leaving->low >= stacks + most * (page + stack_bytes)) {
    leaving->low = static_cast<char*>(const_cast<void*>(low));
    leaving->bytes = bytes;
  }
#endif
}

void enter() {
  arrived();
  entry_point();
  std::abort();
}

void prepare(Fiber& fiber) {
  fiber.fake_stack = nullptr;
#if defined(HEED_EMU_UCONTEXT)
  auto* const context = fiber.context ? static_cast<ucontext_t*>(fiber.context) : new ucontext_t;
  fiber.context = context;
  getcontext(context);
  context->uc_stack.ss_sp = fiber.low;
  context->uc_stack.ss_size = fiber.bytes;
  context->uc_link = nullptr;
  makecontext(context, enter, 0);
#else
  // Stacks start at different offsets, so that those of a warp do not share the sets of a cache.
  size_t const offset = size_t(fiber.low - stacks) / (page + stack_bytes) % 32 * 320;
  void** const words = reinterpret_cast<void**>(fiber.low + fiber.bytes - offset) - saved_words;
  for (int i = 0; i < saved_words; ++i) words[i] = nullptr;
  words[return_word] = reinterpret_cast<void*>(enter);
  fiber.stack_pointer = words;
#endif
}

Fiber* make_fiber() {
  if (!stacks) {
    void* const region =
        mmap(nullptr, most * (page + stack_bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) {
      std::perror("emulator: stacks");
      std::abort();
    }
    stacks = static_cast<char*>(region);
  }
  if (made == most) {
    std::fputs("emulator: too many fibers\n", stderr);
    std::abort();
  }
  auto* const fiber = new Fiber;
  fiber->low = stacks + made++ * (page + stack_bytes) + page;
  fiber->bytes = stack_bytes;
  if (mprotect(fiber->low, fiber->bytes, PROT_READ | PROT_WRITE)) {
    std::perror("emulator: a stack");
    std::abort();
  }
  prepare(*fiber);
  return fiber;
}

}  // namespace

Fiber* take_fiber(void (*entry)()) {
  entry_point = entry;
  Fiber* const fiber = free_fibers;
  if (!fiber) return make_fiber();
  free_fibers = fiber->next;
  return fiber;
}

void park_fiber(Fiber* fiber) {
  fiber->next = free_fibers;
  free_fibers = fiber;
}

void reset_fiber(Fiber* fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber->low, fiber->bytes);
#endif
  prepare(*fiber);
  park_fiber(fiber);
}

void switch_fiber(Fiber& from, Fiber& to) {
  leaving = &from;
  entering = &to;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.low, to.bytes);
#endif
#if defined(HEED_EMU_UCONTEXT)
  ucontext_t main;
  if (!from.context) from.context = &main;
  swapcontext(static_cast<ucontext_t*>(from.context), static_cast<ucontext_t*>(to.context));
  if (from.context == &main) from.context = nullptr;
#else
  heed_emulator_switch(&from.stack_pointer, to.stack_pointer);
#endif
  arrived();
}

bool on_fiber_stack(void const* address) {
  return uintptr_t(address) - uintptr_t(stacks) < most * (page + stack_bytes) && stacks;
}
bool on_guard_page(void const* address) {
  return on_fiber_stack(address) && (uintptr_t(address) - uintptr_t(stacks)) % (page + stack_bytes) < page;
}

}  // namespace heed::emulator
