#include "machine.h"

#include <algorithm>
#include <bit>

namespace ptx {

Machine::Machine(Module const& module) : module_(&module) {
  for (auto const& [name, bytes] : module.data()) map(bytes.data(), bytes.size());
}

void Machine::map(void* at, size_t bytes) {
  uint64_t const from = reinterpret_cast<uint64_t>(at);
  regions_.push_back({from, from + bytes, true});
}

void Machine::map(void const* at, size_t bytes) {
  uint64_t const from = reinterpret_cast<uint64_t>(at);
  regions_.push_back({from, from + bytes, false});
}

void Machine::unmap_all() {
  regions_.clear();
  latest_ = 0;
  for (auto const& [name, bytes] : module_->data()) map(bytes.data(), bytes.size());
}

void Machine::fail(Warp const& warp, int lane, std::string const& what) const {
  unsigned const thread = unsigned(warp.number * 32 + lane);
  unsigned const x = thread % launch_.block.x, y = thread / launch_.block.x % launch_.block.y,
                 z = thread / launch_.block.x / launch_.block.y;
  auto const triple = [](unsigned a, unsigned b, unsigned c) {
    return "(" + std::to_string(a) + ", " + std::to_string(b) + ", " + std::to_string(c) + ")";
  };
  throw Error(kernel_->name + ": " + what + "\n  in thread " + triple(x, y, z) + " of block " +
              triple(block_.x, block_.y, block_.z) +
              (now_ ? " at line " + std::to_string(now_->line) + ": " + now_->text : ""));
}

uint8_t* Machine::memory(Warp const& warp, int lane, Space space, uint64_t address, size_t bytes, bool write) {
  if ((address & (bytes - 1)) != 0 && space != Space::param)  // bytes: a power of two
    fail(warp, lane, "address " + std::to_string(address) + " is not a multiple of " + std::to_string(bytes));
  if (space == Space::generic) {
    if (address >> 56 == shared_window >> 56)
      space = Space::shared, address -= shared_window;
    else if (address >> 56 == local_window >> 56)
      space = Space::local, address -= local_window;
    else
      space = Space::global;
  }
  auto const within = [&](uint8_t* base, size_t size, char const* name) {
    if (address + bytes > size)
      fail(warp, lane,
           std::string(name) + " memory: bytes " + std::to_string(address) + " to " + std::to_string(address + bytes) +
               " of " + std::to_string(size));
    return base + address;
  };
  switch (space) {
    case Space::shared:
      return within(shared_.data(), shared_.size(), "shared");
    case Space::param:
      return within(parameters_.data(), parameters_.size(), "parameter");
    case Space::local: {
      size_t const size = kernel_->local_bytes;
      return within(local_.data() + size * size_t(warp.number * 32 + lane), size, "local");
    }
    default:
      break;
  }
  // Neighbouring lanes mostly meet in one region.
  for (size_t tried = 0, i = latest_; tried < regions_.size(); ++tried, i = i + 1 == regions_.size() ? 0 : i + 1) {
    if (address < regions_[i].from || address + bytes > regions_[i].to) continue;
    if (write && !regions_[i].writable) fail(warp, lane, "writes memory that is to be read");
    latest_ = i;
    return reinterpret_cast<uint8_t*>(address);
  }
  if (allowed && allowed(reinterpret_cast<void const*>(address), bytes)) return reinterpret_cast<uint8_t*>(address);
  std::string nearest = "no memory is there";
  for (Region const& region : regions_)
    if (address >= region.from && address < region.to + 4096)
      nearest = "byte " + std::to_string(address - region.from) + " of a buffer of " +
                std::to_string(region.to - region.from);
  fail(warp, lane, (write ? "writes " : "reads ") + std::to_string(bytes) + " bytes of global memory: " + nearest);
}

void Machine::note(Space space, uint64_t const* address, uint32_t active, int bytes) {
  if (active == 0) return;
  auto const lanes = [&](uint32_t among, auto const& f) {
    for (uint32_t left = active & among; left; left &= left - 1) f(std::countr_zero(left));
  };
  uint64_t touched[64];
  if (space == Space::global) {
    int sectors = 0, count = 0;
    uint64_t least = ~uint64_t(0), most = 0;
    lanes(~0u, [&](int lane) {
      ++count, least = std::min(least, address[lane]), most = std::max(most, address[lane] + uint64_t(bytes));
      uint64_t const first = address[lane] / 32;
      bool const again = sectors && touched[sectors - 1] == first;  // neighbours mostly meet in one
      if (!again && std::find(touched, touched + sectors, first) == touched + sectors) touched[sectors++] = first;
    });
    ++counters.global_requests;
    counters.sectors += uint64_t(sectors);
    // Lanes may ask for the same bytes; what the bytes between the ends would need is a bound as well.
    uint64_t const needed = (uint64_t(count) * uint64_t(bytes) + 31) / 32, span = (most - least + 31) / 32;
    counters.sectors_ideal += std::min({needed, span, uint64_t(sectors)});
  } else if (space == Space::shared) {
    // 128 bytes a pass: of wide accesses fewer lanes at a time.
    int const at_once = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
    ++counters.shared_requests;
    for (int from = 0; from < 32; from += at_once) {
      uint32_t const among = uint32_t(((uint64_t(1) << at_once) - 1) << from);
      int count[32] = {}, words = 0;
      uint64_t passes = 0, latest[32];  // the word last met in a bank
      lanes(among, [&](int lane) {
        for (int b = 0; b < std::max(bytes, 4); b += 4) {
          uint64_t const word = address[lane] / 4 + uint64_t(b / 4);
          size_t const bank = word % 32;
          if (count[bank] && latest[bank] == word) continue;
          if (count[bank] && std::find(touched, touched + words, word) != touched + words) continue;
          touched[words++] = latest[bank] = word;
          passes = std::max(passes, uint64_t(++count[bank]));
        }
      });
      counters.wavefronts += passes;
      counters.wavefronts_ideal += uint64_t(words + 31) / 32;
    }
  }
}

void Machine::start(Kernel const& kernel, Launch const& launch, std::vector<std::vector<uint8_t>> const& arguments) {
  kernel_ = &kernel;
  launch_ = launch;
  now_ = nullptr;
  budget_ = most_instructions;
  std::string const where = kernel.name + ": ";
  unsigned const threads = launch.block.x * launch.block.y * launch.block.z;
  if (threads == 0 || threads > 1024 || threads % 32)
    throw Error(where + "a block of " + std::to_string(threads) +
                " threads; a multiple of 32 up to 1024 is understood");
  if (kernel.most_threads && threads > kernel.most_threads)
    throw Error(where + "a block of " + std::to_string(threads) + " threads; its launch bounds allow " +
                std::to_string(kernel.most_threads));
  if (arguments.size() != kernel.parameter.size())
    throw Error(where + std::to_string(arguments.size()) + " arguments for " + std::to_string(kernel.parameter.size()) +
                " parameters");
  parameters_.assign(kernel.parameter_bytes, 0);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].size() != kernel.parameter[i].bytes)
      throw Error(where + "argument " + std::to_string(i) + " has " + std::to_string(arguments[i].size()) +
                  " bytes, the parameter " + std::to_string(kernel.parameter[i].bytes));
    std::copy(arguments[i].begin(), arguments[i].end(), parameters_.begin() + long(kernel.parameter[i].offset));
  }
  Dim index;
  for (index.z = 0; index.z < launch.grid.z; ++index.z)
    for (index.y = 0; index.y < launch.grid.y; ++index.y)
      for (index.x = 0; index.x < launch.grid.x; ++index.x) run_block(index);
}

void Machine::run_block(Dim index) {
  block_ = index;
  Dim const &block = launch_.block, &grid = launch_.grid;
  int const threads = int(block.x * block.y * block.z);
  shared_.assign(kernel_->shared_bytes + launch_.shared, 0xff);
  local_.assign(kernel_->local_bytes * size_t(threads), 0xff);
  warps_.assign(size_t(threads / 32), {});
  for (int w = 0; w < threads / 32; ++w) {
    Warp& warp = warps_[size_t(w)];
    warp.number = w;
    warp.present = warp.alive = 0xffffffffu;
    // What was never written is a NaN.
    warp.registers.assign(size_t(kernel_->slots), {});
    for (Lanes& lanes : warp.registers) std::fill_n(lanes.of, 32, ~uint64_t(0));
    for (auto const& [slot, value] : kernel_->constants) std::fill_n(warp.lanes(slot), 32, value);
    for (auto const& [slot, name] : kernel_->specials)
      for (unsigned lane = 0; lane < 32; ++lane) {
        unsigned const thread = unsigned(w) * 32 + lane;
        Dim const me{thread % block.x, thread / block.x % block.y, thread / block.x / block.y};
        auto const part = [&](Dim const& of) { return name.back() == 'x' ? of.x : name.back() == 'y' ? of.y : of.z; };
        uint64_t value = 0;
        if (name.starts_with("%tid."))
          value = part(me);
        else if (name.starts_with("%ntid."))
          value = part(block);
        else if (name.starts_with("%ctaid."))
          value = part(index);
        else if (name.starts_with("%nctaid."))
          value = part(grid);
        else if (name == "%laneid")
          value = lane;
        else if (name == "%warpid")
          value = unsigned(w);
        else if (name == "WARP_SZ")
          value = 32;
        else if (name == "%lanemask_eq")
          value = 1u << lane;
        else if (name == "%lanemask_lt")
          value = (1u << lane) - 1;
        else if (name == "%lanemask_le")
          value = (2u << lane) - 1;
        else if (name == "%lanemask_gt")
          value = ~((2u << lane) - 1);
        else if (name == "%lanemask_ge")
          value = ~((1u << lane) - 1);
        else
          throw Error(kernel_->name + ": the register " + name + " is not known");
        warp.lanes(slot)[lane] = value;
      }
  }
  while (true) {
    int waiting = 0, ended = 0;
    Warp const* one = nullptr;
    for (Warp& warp : warps_) {
      run_warp(warp);
      waiting += std::popcount(warp.blocked), ended += 32 - std::popcount(warp.alive);
      if (warp.blocked && !one) one = &warp;
    }
    if (!one) return;
    // All threads must have come to the same barrier.
    uint32_t const at = one->pc[std::countr_zero(one->blocked)];
    now_ = &kernel_->code[at];
    int together = 0;
    for (Warp const& warp : warps_)
      for (int lane = 0; lane < 32; ++lane) together += (warp.blocked >> lane & 1) && warp.pc[lane] == at;
    if (now_->control != Control::barrier || together != threads)
      fail(*one, std::countr_zero(one->blocked),
           std::to_string(together) + " threads wait here, " + std::to_string(waiting - together) + " elsewhere, " +
               std::to_string(ended) + " have ended");
    for (Warp& warp : warps_) {
      warp.blocked = 0;
      for (uint32_t& pc : warp.pc) ++pc;
    }
  }
}

/// Until its lanes wait or have ended.
void Machine::run_warp(Warp& warp) {
  while (warp.alive & ~warp.blocked) step(warp);
}

void Machine::step(Warp& warp) {
  uint32_t const running = warp.alive & ~warp.blocked;
  uint32_t now = ~0u, here = warp.alive;
  if (warp.united) {
    now = warp.pc[std::countr_zero(running)];
  } else {
    for (uint32_t left = running; left; left &= left - 1) now = std::min(now, warp.pc[std::countr_zero(left)]);
    here = 0;
    for (uint32_t left = warp.alive; left; left &= left - 1) {
      int const lane = std::countr_zero(left);
      if (warp.pc[lane] == now) here |= 1u << lane;
    }
    warp.united = here == warp.alive && !(warp.blocked & ~here);
  }
  if (now >= kernel_->code.size()) fail(warp, std::countr_zero(running), "ran past the end");
  Instruction const& in = kernel_->code[now];
  now_ = &in;

  uint32_t active = here;
  if (in.guard.slot >= 0) {
    uint64_t const* const guard = warp.lanes(in.guard.slot);
    uint32_t set = 0;
    for (int lane = 0; lane < 32; ++lane) set |= uint32_t(guard[lane] & 1) << lane;
    active &= in.guard.inverted ? ~set : set;
  }
  if (budget_ < 32) fail(warp, std::countr_zero(running), "more instructions than allowed: an endless loop?");
  budget_ -= 32;
  ++counters.instructions;
  counters.lane_instructions += uint64_t(std::popcount(active));

  auto const advance = [&](uint32_t lanes) {
    if (lanes == 0xffffffffu)
      for (uint32_t& pc : warp.pc) ++pc;
    else
      for (uint32_t left = lanes; left; left &= left - 1) ++warp.pc[std::countr_zero(left)];
  };
  auto const wait = [&](uint32_t lanes) {
    warp.blocked |= lanes;
    advance(here & ~lanes);
    warp.united = warp.united && lanes == here;
  };
  switch (in.control) {
    case Control::plain:
      if (active) in.run(*this, warp, in, active);
      break;
    case Control::branch:
      if (active == 0 && here == 0xffffffffu) break;
      for (uint32_t left = here; left; left &= left - 1) {
        int const lane = std::countr_zero(left);
        warp.pc[lane] = active >> lane & 1 ? uint32_t(in.target) : now + 1;
      }
      warp.united = warp.united && (active == 0 || active == here);
      return;
    case Control::exit:
      warp.alive &= ~active;
      break;
    case Control::barrier:
      if (active) return wait(active);
      break;
    case Control::together: {
      if (!active) break;
      uint32_t members = 0xffffffffu;
      if (in.members >= 0) {
        members = uint32_t(warp.lanes(in.members)[std::countr_zero(active)]);
        for (uint32_t left = active; left; left &= left - 1)
          if (uint32_t(warp.lanes(in.members)[std::countr_zero(left)]) != members || !(members & left & -left))
            fail(warp, std::countr_zero(left), "lanes disagree about the mask, or are not in it");
      }
      if ((active & members) != members) return wait(active);
      warp.blocked &= ~active;
      in.run(*this, warp, in, active);
      break;
    }
  }
  advance(here & warp.alive);
}

}  // namespace ptx
