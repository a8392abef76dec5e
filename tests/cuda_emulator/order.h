// Which operations of streams are known to have ended before another begins: vector clocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace heed::emulator {

/// Of each stream, the number of its last operation that is known to have ended.
struct Clock {
  std::vector<uint32_t> ended;
  void join(Clock const& other) {
    if (ended.size() < other.ended.size()) ended.resize(other.ended.size());
    for (size_t i = 0; i < other.ended.size(); ++i) ended[i] = std::max(ended[i], other.ended[i]);
  }
  void set(size_t stream, uint32_t number) {
    if (ended.size() <= stream) ended.resize(stream + 1);
    ended[stream] = number;
  }
  uint32_t of(size_t stream) const { return stream < ended.size() ? ended[stream] : 0; }
};

/// Whether the operation `before` ended before `after` began, whatever the streams' order; operations count from 1.
bool happens_before(uint32_t before, uint32_t after);
/// "kernel sum", "copy to the device".
char const* operation_name(uint32_t operation);

}  // namespace heed::emulator
