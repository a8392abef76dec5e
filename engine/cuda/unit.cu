#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/unit.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// "4 x 1 x 1 blocks of 256 x 1 x 1 threads", and the shared memory that was asked for.
std::string geometry(rt::Launch const& launch) {
  auto const text = [](rt::Dim d) {
    return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z);
  };
  std::string all = text(launch.grid);
  all += " blocks of ";
  all += text(launch.block);
  all += " threads";
  if (launch.shared > 0) {
    all += ", ";
    all += std::to_string(launch.shared);
    all += " bytes shared";
  }
  return all;
}

Unit*& thread_unit() {
  static Unit& first = *new Unit;  // as long as the program
  static thread_local Unit* unit = &first;
  return unit;
}

bool waits_for_each_kernel() {
  static bool const on = [] {
    char const* const text = std::getenv("HEED_CUDA_SYNC");
    return text && *text && *text != '0';
  }();
  return on;
}

}  // namespace

Unit& current_unit() { return *thread_unit(); }
void set_current_unit(Unit& unit) { thread_unit() = &unit; }
rt::Stream current_stream() { return current_unit().compute; }
void* take_scratch(Unit& unit, size_t bytes) { return unit.take(bytes); }
void give_scratch(Unit& unit, void* block, size_t bytes) noexcept { unit.blocks.give(block, bytes); }

void LaunchLog::add(rt::Launch const& launch) {
  std::lock_guard const guard(lock_);
  last_[count_++ % last_.size()] = launch;
}

std::string LaunchLog::text() const {
  std::lock_guard const guard(lock_);
  std::string all;
  for (uint64_t i = count_ - std::min<uint64_t>(count_, last_.size()); i < count_; ++i) {
    rt::Launch const& launch = last_[i % last_.size()];
    if (!all.empty()) all += ", ";
    all += launch.name;
    all += " (" + geometry(launch) + ")";
  }
  return all;
}

void* Unit::take(size_t bytes) {
  void* const block = retried([&] { return blocks.take(bytes); });
  check(block, "scratch memory", [&] {
    return Complaint{std::to_string(bytes) + " bytes are not to be had on the device",
                     "use smaller batches, or free tensors first"};
  });
  return block;
}

void Unit::flush() noexcept {
  (void)rt::synchronize(uploads);  // kernels and copies may still use what is kept
  (void)rt::synchronize(compute);
  blocks.flush();
  uploaded.flush();
  staging.flush();
}

void throw_device_error(rt::Status const& status, char const* what) {
  std::string problem = "the device answered \"";
  problem += status.text;
  problem += "\" (error " + std::to_string(status.code) + ")";
  if (std::string const last = current_unit().launches.text(); status.kind == rt::Kind::other && !last.empty())
    problem += "; the last kernels given to it: " + last;
  fail(what, {problem, status.kind == rt::Kind::out_of_memory ? "use smaller batches, or free tensors first"
                       : waits_for_each_kernel()              ? "the last kernel named is the one that failed"
                                                              : "set HEED_CUDA_SYNC=1 to learn which kernel failed"});
}

void after_launch(rt::Launch const& launch, rt::Status const& status) {
  Unit& unit = current_unit();
  if (status) {
    unit.launches.add(launch);
    if (waits_for_each_kernel()) check_device(rt::synchronize(launch.stream), launch.name);
    return;
  }
  std::string problem = "the launch of " + geometry(launch) + " failed: \"";
  problem += status.text;
  problem += "\" (error " + std::to_string(status.code) + ")";
  if (std::string const last = unit.launches.text(); !last.empty()) problem += "; kernels given before: " + last;
  fail(launch.name, {problem, "set HEED_CUDA_SYNC=1 to learn whether an earlier kernel failed"});
}

rt::Dim in_a_row(int64_t count) {
  check(count <= 0x7fffffff, "launch", [&] {
    return Complaint{std::to_string(count) + " blocks, and a grid takes 2^31 - 1", "split the tensor"};
  });
  return {unsigned(count), 1, 1};
}

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
