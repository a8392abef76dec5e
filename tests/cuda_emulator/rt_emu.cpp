// The runtime interface over emulated devices. Operations of a stream wait in its queue; a synchronisation runs them,
// in a random order that streams and events allow, until what it waits for is done.
#include <heed/engine/cuda/rt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>

#include "checker.h"
#include "control.h"
#include "memory.h"
#include "order.h"
#include "report.h"
#include "scheduler.h"

namespace heed::emulator {
namespace {

using namespace emu;
using rt::Kind;
using rt::Status;

std::recursive_mutex mutex;
using Lock = std::lock_guard<std::recursive_mutex>;

struct EventState {
  uint64_t recorded = 0, done = 0;  // how often
  Clock clock;                      // of the last record
};
struct Operation {
  std::function<std::string()> run;  // gives what went wrong
  EventState *recorded = nullptr, *awaited = nullptr;
  uint64_t record = 0;  // which of the event's
};
struct StreamState {
  int device = 0;
  size_t index = 0;
  uint32_t length = 0;  // operations queued ever
  Clock clock;
  std::deque<Operation> queue;
};
struct Known {  // of every operation
  size_t stream;
  uint32_t place;
  Clock clock;
  char const* name;
};

// As long as the program: objects that outlive it in part release their memory.
std::deque<Known>& operations = *new std::deque<Known>(1);  // the first is none
std::set<StreamState*>& streams = *new std::set<StreamState*>;
std::set<EventState*>& events = *new std::set<EventState*>;
std::map<char*, size_t>& pinned = *new std::map<char*, size_t>;
StreamState* const default_streams = new StreamState[most_devices];
size_t stream_count = 0;
Clock host;  // what the host has waited for
char const* dead[most_devices] = {};
Dice dice(0);
bool dice_thrown = false;
uint32_t launches = 0;
thread_local int device = 0;

constexpr Status fine{};
Status failed(Kind kind, int code, std::string const& text) {
  add_report(text);
  return {kind, code, interned(text)};
}
Status fault(int of) { return dead[of] ? Status{Kind::other, 700, dead[of]} : fine; }

StreamState* state_of(rt::Stream stream) {
  if (stream) {
    auto* const state = static_cast<StreamState*>(stream);
    return streams.count(state) ? state : nullptr;
  }
  StreamState& state = default_streams[device];
  if (!streams.count(&state)) {
    state.device = device;
    state.index = stream_count++;
    streams.insert(&state);
  }
  return &state;
}

bool runnable(StreamState const& stream) {
  if (stream.queue.empty()) return false;
  Operation const& next = stream.queue.front();
  return !next.awaited || next.awaited->done >= next.record;
}

void run_first(StreamState& stream) {
  Operation const operation = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (operation.recorded) operation.recorded->done = std::max(operation.recorded->done, operation.record);
  if (!operation.run || dead[stream.device]) return;
  std::string const error = operation.run();
  if (error.empty()) return;
  add_report(error);
  dead[stream.device] = interned(error);
}

/// Runs operations until `done`; false: nothing can run any more.
template <class Done>
bool run_until(Done const& done) {
  if (!dice_thrown) dice = Dice(settings().seed + 77);
  dice_thrown = true;
  while (!done()) {
    std::vector<StreamState*> able;
    for (StreamState* stream : streams)
      if (runnable(*stream)) able.push_back(stream);
    if (able.empty()) return false;
    // The set is ordered by address, which may differ from run to run.
    std::sort(able.begin(), able.end(), [](auto* a, auto* b) { return a->index < b->index; });
    run_first(*able[dice.below(uint32_t(able.size()))]);
  }
  return true;
}

Status drain(StreamState& stream) {
  if (!run_until([&] { return stream.queue.empty(); }))
    return failed(Kind::other, 999, "a stream waits for an event that nobody will record");
  host.join(stream.clock);
  return fault(stream.device);
}

/// Whether [at, at + bytes) is one block's; otherwise what is wrong. Without the checker this is all that is looked at.
std::string outside(void const* at, size_t bytes, char const* what) {
  if (bytes == 0 || in_live_block(at, bytes)) return "";
  return std::string(what) + " of " + std::to_string(bytes) + " bytes touches " +
         describe(in_region(at) && in_live_block(at, 1) ? static_cast<char const*>(at) + bytes - 1 : at);
}

Status enqueue(StreamState& stream, char const* name, Operation operation) {
  stream.clock.join(host);
  operations.push_back({stream.index, ++stream.length, stream.clock, name});
  stream.clock.set(stream.index, stream.length);
  stream.queue.push_back(std::move(operation));
  if (settings().eager)
    if (Status const status = drain(stream); !status) return status;
  return fine;
}

/// A copy or fill as an operation of its own for the checker.
template <class Work>
std::function<std::string()> checked(int on, Work work) {
  uint32_t const number = uint32_t(operations.size());  // the one that enqueue will give
  return [on, work, number]() -> std::string {
    checker::enter(on, nullptr, 0);
    checker::Where where;
    where.operation = number;
    checker::move(where);
    std::string const error = work();
    std::string const noticed = checker::take_error();
    return error.empty() ? noticed : error;
  };
}

bool is_pinned(void const* at) {
  auto const* const from = static_cast<char const*>(at);
  auto const next = pinned.upper_bound(const_cast<char*>(from));
  return next != pinned.begin() && from < std::prev(next)->first + std::prev(next)->second;
}

uint64_t number_from(char const* name, uint64_t otherwise) {
  char const* const text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

Status usable() {
  if (device >= settings().devices) return {Kind::no_driver, 101, "there is no such emulated device"};
  return fault(device);
}

}  // namespace

bool happens_before(uint32_t before, uint32_t after) {
  if (before == 0 || before == after) return true;
  Known const& earlier = operations[before];
  return operations[after].clock.of(earlier.stream) >= earlier.place;
}
char const* operation_name(uint32_t operation) { return operations[operation].name; }

}  // namespace heed::emulator

namespace heed {
inline namespace emu {

using namespace emulator;

Settings& settings() {
  static Settings all = [] {
    Settings from;
    from.seed = number_from("HEED_EMU_SEED", 0);
    from.eager = number_from("HEED_EMU_EAGER", 0) != 0;
    from.devices = int(std::min<uint64_t>(number_from("HEED_EMU_DEVICES", 2), most_devices));
    from.memory = size_t(number_from("HEED_EMU_MEMORY", uint64_t(1) << 30));
    from.launch_failures = unsigned(number_from("HEED_EMU_LAUNCH_FAILURES", 0));
    from.perturb = number_from("HEED_EMU_PERTURB", 0) != 0;
#if defined(__SANITIZE_ADDRESS__)
    constexpr bool looked_at = true;
#else
    constexpr bool looked_at = checker::looks;
#endif
    from.exact_blocks = number_from("HEED_EMU_EXACT", looked_at) != 0;
    from.quiet = number_from("HEED_EMU_QUIET", 0) != 0;
    return from;
  }();
  return all;
}

void reset() {
  Lock const lock(mutex);
  for (StreamState* stream : streams) stream->queue.clear();
  for (EventState* event : events) event->done = event->recorded;
  for (char const*& text : dead) text = nullptr;
  for (StreamState* stream : streams) host.join(stream->clock);
  dice_thrown = false;
  mutable_reports().clear();
}

rt::Status enqueue(Call&& call, rt::Launch const& how) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  auto const geometry = [&] {
    auto const text = [](rt::Dim d) {
      return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
    };
    return std::string(how.name) + " (grid " + text(how.grid) + ", block " + text(how.block) + ", " +
           std::to_string(how.shared) + " bytes shared)";
  };
  uint64_t const threads = uint64_t(how.block.x) * how.block.y * how.block.z;
  bool const fits = threads > 0 && threads <= 1024 && how.block.z <= 64 && how.grid.x > 0 && how.grid.y > 0 &&
                    how.grid.z > 0 && how.grid.x < (1u << 31) && how.grid.y <= 65535 && how.grid.z <= 65535 &&
                    how.shared <= 99 << 10;
  if (!fits) return failed(Kind::bad_launch, 9, "no device runs " + geometry());
  if (uint64_t(how.grid.x) * how.grid.y * how.grid.z >> 31)
    return failed(Kind::bad_launch, 9, "too many blocks to emulate: " + geometry());
  ++launches;
  if (settings().launch_failures && Dice(settings().seed + launches)() % settings().launch_failures == 0)
    return {Kind::bad_launch, 719, interned("injected failure of the launch of " + geometry())};
  StreamState* const stream = state_of(how.stream);
  if (!stream) return failed(Kind::other, 400, "the launch of " + geometry() + " on a stream that does not exist");
  if (stream->device != device)
    return failed(Kind::other, 400, "the launch of " + geometry() + " on another device's stream");
  uint32_t const number = uint32_t(operations.size());
  return emulator::enqueue(*stream, how.name, {[call = std::move(call), how, number, on = device] {
    return run_kernel(call, how, on, number);
  }});
}

}  // namespace emu

inline namespace HEED_DEVICE_LEVEL {
namespace rt {

using namespace emulator;
using emu::settings;

Status device_count(int& count) {
  count = settings().devices;
  return count ? fine : Status{Kind::no_driver, 100, "HEED_EMU_DEVICES is 0"};
}

Status facts(int index, DeviceFacts& to) {
  if (index < 0 || index >= settings().devices) return {Kind::other, 101, "there is no such emulated device"};
  to = {};
  std::snprintf(to.name, sizeof to.name, "emulated device %d", index);
  to.compute_major = 8;
  to.compute_minor = 0;
  to.multiprocessors = 4;
  to.memory = settings().memory;
  to.shared_per_block = 99 << 10;  // the least of compute capability 8.0 to 12.0
  return fine;
}

Status set_device(int index) {
  if (index < 0 || index >= settings().devices) return {Kind::other, 101, "there is no such emulated device"};
  device = index;
  return fine;
}

Status allocate(void*& to, size_t bytes) {
  Lock const lock(mutex);
  to = nullptr;
  if (Status const status = usable(); !status) return status;
  to = take_block(device, bytes);
  return to ? fine : Status{Kind::out_of_memory, 2, "out of the emulated device's memory"};
}

// As CUDA's: waits for all that the device has to do.
Status release(void* block) {
  Lock const lock(mutex);
  if (!block) return fine;
  if (!in_live_block(block, 0) || owner(block) >= most_devices)
    return failed(Kind::other, 1, "release of " + describe(block));
  int const of = owner(block);
  for (StreamState* stream : streams)
    if (stream->device == of) drain(*stream);
  if (!give_block(block)) return failed(Kind::other, 1, "release of " + describe(block));
  return fault(of);
}

Status allocate_pinned(void*& to, size_t bytes) {
  Lock const lock(mutex);
  to = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  if (!to && bytes) return {Kind::out_of_memory, 2, "out of memory"};
  pinned[static_cast<char*>(to)] = bytes;
  return fine;
}

Status release_pinned(void* block) {
  Lock const lock(mutex);
  if (!block) return fine;
  for (StreamState* stream : streams) drain(*stream);
  if (!pinned.erase(static_cast<char*>(block))) return failed(Kind::other, 1, "release_pinned of memory that is not");
  std::free(block);
  return fine;
}

Status create_stream(Stream& to) {
  Lock const lock(mutex);
  to = nullptr;
  if (Status const status = usable(); !status) return status;
  auto* const state = new StreamState;
  state->device = device;
  state->index = stream_count++;
  streams.insert(state);
  to = state;
  return fine;
}

Status destroy_stream(Stream stream) {
  Lock const lock(mutex);
  auto* const state = static_cast<StreamState*>(stream);
  if (!streams.count(state)) return failed(Kind::other, 400, "destroy_stream of what is none");
  drain(*state);
  streams.erase(state);
  delete state;
  return fine;
}

Status synchronize(Stream stream) {
  Lock const lock(mutex);
  StreamState* const state = state_of(stream);
  return state ? drain(*state) : failed(Kind::other, 400, "synchronize of a stream that does not exist");
}

Status query(Stream stream, bool& done) {
  Lock const lock(mutex);
  StreamState* const state = state_of(stream);
  if (!state) return failed(Kind::other, 400, "query of a stream that does not exist");
  done = state->queue.empty();
  if (done) host.join(state->clock);
  int steps = 1;  // time passes while somebody asks
  run_until([&] { return steps-- == 0; });
  return fault(state->device);
}

Status create_event(Event& to) {
  Lock const lock(mutex);
  to = nullptr;
  if (Status const status = usable(); !status) return status;
  auto* const event = new EventState;
  events.insert(event);
  to = event;
  return fine;
}

Status destroy_event(Event event) {
  Lock const lock(mutex);
  auto* const state = static_cast<EventState*>(event);
  if (!events.erase(state)) return failed(Kind::other, 400, "destroy_event of what is none");
  // What waits for it still may.
  run_until([&] { return state->done == state->recorded; });
  for (StreamState* stream : streams)
    for (Operation& operation : stream->queue) {
      if (operation.awaited == state) operation.awaited = nullptr;
      if (operation.recorded == state) operation.recorded = nullptr;
    }
  delete state;
  return fine;
}

Status record(Event event, Stream stream) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  auto* const state = static_cast<EventState*>(event);
  StreamState* const on = state_of(stream);
  if (!events.count(state) || !on) return failed(Kind::other, 400, "record of an event or stream that does not exist");
  ++state->recorded;
  state->clock = on->clock;
  state->clock.join(host);
  return emulator::enqueue(*on, "record", {nullptr, state, nullptr, state->recorded});
}

Status wait(Stream stream, Event event) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  auto* const state = static_cast<EventState*>(event);
  StreamState* const on = state_of(stream);
  if (!events.count(state) || !on)
    return failed(Kind::other, 400, "wait for an event or in a stream that does not exist");
  if (state->recorded == 0) return fine;  // as CUDA: nothing to wait for
  on->clock.join(state->clock);
  return emulator::enqueue(*on, "wait", {nullptr, nullptr, state, state->recorded});
}

Status query_event(Event event, bool& done) {
  Lock const lock(mutex);
  auto* const state = static_cast<EventState*>(event);
  if (!events.count(state)) return failed(Kind::other, 400, "query of an event that does not exist");
  done = state->done == state->recorded;
  if (done) host.join(state->clock);
  int steps = 1;
  run_until([&] { return steps-- == 0; });
  return fault(device);
}

Status synchronize_event(Event event) {
  Lock const lock(mutex);
  auto* const state = static_cast<EventState*>(event);
  if (!events.count(state)) return failed(Kind::other, 400, "synchronize_event of an event that does not exist");
  if (!run_until([&] { return state->done == state->recorded; }))
    return failed(Kind::other, 999, "an event waits for one that nobody will record");
  host.join(state->clock);
  return fault(device);
}

Status copy_to_device(void* to, void const* from, size_t bytes, Stream stream) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  StreamState* const on = state_of(stream);
  if (!on) return failed(Kind::other, 400, "copy_to_device in a stream that does not exist");
  std::shared_ptr<char[]> kept;
  if (!is_pinned(from)) {
    kept.reset(new char[bytes + 1]);
    std::memcpy(kept.get(), from, bytes);
  }
  return emulator::enqueue(*on, "copy to the device", {checked(on->device, [=]() -> std::string {
    if (std::string error = outside(to, bytes, "a copy to the device"); !error.empty()) return error;
    checker::write(to, bytes, "a copy to the device");
    std::memcpy(to, kept ? kept.get() : from, bytes);
    return "";
  })});
}

Status copy_to_host(void* to, void const* from, size_t bytes, Stream stream) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  StreamState* const on = state_of(stream);
  if (!on) return failed(Kind::other, 400, "copy_to_host in a stream that does not exist");
  return emulator::enqueue(*on, "copy to the host", {checked(on->device, [=]() -> std::string {
    if (std::string error = outside(from, bytes, "a copy to the host"); !error.empty()) return error;
    checker::read(from, bytes, "a copy to the host");
    std::memcpy(to, from, bytes);
    return "";
  })});
}

Status copy_on_device(void* to, void const* from, size_t bytes, Stream stream) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  StreamState* const on = state_of(stream);
  if (!on) return failed(Kind::other, 400, "copy_on_device in a stream that does not exist");
  return emulator::enqueue(*on, "copy on the device", {checked(on->device, [=]() -> std::string {
    if (std::string error = outside(from, bytes, "a copy on the device"); !error.empty()) return error;
    if (std::string error = outside(to, bytes, "a copy on the device"); !error.empty()) return error;
    auto const a = reinterpret_cast<uintptr_t>(to), b = reinterpret_cast<uintptr_t>(from);
    if (a < b + bytes && b < a + bytes)
      return "a copy on the device between overlapping ranges: " + describe(to) + ", " + describe(from);
    checker::copied(to, from, bytes);
    std::memcpy(to, from, bytes);
    return "";
  })});
}

Status fill_bytes(void* to, int byte, size_t bytes, Stream stream) {
  Lock const lock(mutex);
  if (Status const status = usable(); !status) return status;
  StreamState* const on = state_of(stream);
  if (!on) return failed(Kind::other, 400, "fill_bytes in a stream that does not exist");
  return emulator::enqueue(*on, "fill", {checked(on->device, [=]() -> std::string {
    if (std::string error = outside(to, bytes, "a fill"); !error.empty()) return error;
    checker::write(to, bytes, "a fill");
    std::memset(to, byte, bytes);
    return "";
  })});
}

}  // namespace rt
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
