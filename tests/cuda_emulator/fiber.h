// Stacks to run on, and switching between them.
#pragma once

#include <cstddef>

namespace heed::emulator {

struct Fiber {
  void* stack_pointer = nullptr;  // while it does not run
  char* low = nullptr;            // its stack; of the main fiber, what AddressSanitizer knows of it
  size_t bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
  void* context = nullptr;     // where there is no assembly
  Fiber* next = nullptr;       // in the list of free ones
};

/// A fiber that will run entry(), which never returns, or one that has parked itself.
Fiber* take_fiber(void (*entry)());
void park_fiber(Fiber* fiber);
/// Forgets where the fiber was, and parks it.
void reset_fiber(Fiber* fiber);
/// Goes on where `to` stopped. Returns when someone switches to `from`.
void switch_fiber(Fiber& from, Fiber& to);
/// Whether an address is on a fiber's stack, or on the page below it that nothing may touch.
bool on_fiber_stack(void const* address);
bool on_guard_page(void const* address);

}  // namespace heed::emulator
