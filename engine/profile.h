// The profiler: what every operation cost, as a table and as a trace that Perfetto and chrome://tracing open.
#pragma once

#include <heed/engine/tensor.h>

#include <memory>
#include <string>
#include <vector>

namespace heed {

/// One operation that ran. Times are nanoseconds; `start` counts from the profile's beginning.
struct ProfileEvent {
  std::string op;         // a gradient function's kernels and the function itself read "gelu backward"
  std::string_view path;  // of the module
  bool backward = false;  // it ran inside a gradient function
  int thread = 0;         // 0, 1, … in order of appearance
  int depth = 0;          // how many operations it ran inside of
  int64_t start = 0, duration = 0, self = 0;  // self: without nested operations
  double flops = 0;                           // a multiply-add counts as two; 0 where unknown
  int64_t read = 0, written = 0;              // bytes of the operands, those of broadcast ones once
  int64_t allocated = 0;                      // bytes of storages, nested operations excluded
  int64_t peak = 0;                           // most bytes of storages alive while it ran
  std::string inputs, outputs;                // "f32 [2, 3], f32 [3]"
};

/// The events of one kind added up.
struct ProfileRow {
  std::string name;
  // total: of operations, with what is nested in them, calls of one name inside another counted once; of modules, with
  // the modules inside them.
  int64_t calls = 0, total = 0, self = 0;
  double flops = 0;
  int64_t bytes = 0, allocated = 0, peak = 0;
};

/// Watches every operation of every thread from its making to stop(). One at a time: an Error where another is running.
class Profile {
 public:
  Profile();
  ~Profile();
  Profile(Profile&&) noexcept;
  Profile& operator=(Profile&&) noexcept;

  void stop();
  // What follows stops it first.
  int64_t duration();  // nanoseconds
  int64_t peak();      // most bytes of storages alive
  std::vector<ProfileEvent> events();
  /// By operation and by module path, the largest self time first.
  std::vector<ProfileRow> by_op();
  std::vector<ProfileRow> by_module();
  /// For people: calls, times, share of all operations, GFLOP/s and GB/s over the self time, memory.
  std::string table();
  std::string module_table();
  /// Chrome's trace format: operations, the modules they belong to, and the bytes alive.
  std::string trace();
  /// trace() as a file, whole or not at all.
  void write_trace(std::string const& path);

 private:
  class Recorder;
  Recorder& stopped();
  std::unique_ptr<Recorder> recorder_;
};

/// The profile of work().
template <class Work>
Profile profile(Work&& work) {
  Profile p;
  work();
  p.stop();
  return p;
}

}  // namespace heed
