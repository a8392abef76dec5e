// Counter-based random numbers: element i of draw (seed, offset) is the same number on every device, for any tiling and
// any number of threads. Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3"
// (2011).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace heed {

/// Four 32-bit words from a 128-bit counter and a 64-bit key.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t const low = uint64_t{0xD2511F53} * counter[0], high = uint64_t{0xCD9E8D57} * counter[2];
    counter = {uint32_t(high >> 32) ^ counter[1] ^ key[0], uint32_t(high), uint32_t(low >> 32) ^ counter[3] ^ key[1],
               uint32_t(low)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// Names one random tensor. Words 4i … 4i+3 of it are philox4x32({i low, i high, offset low, offset high}, {seed low,
/// seed high}).
struct Draw {
  uint64_t seed, offset;
};

class DrawLog;

/// Hands out draws; its whole state is two numbers, so that it can be saved and restored.
class Generator {
 public:
  explicit Generator(uint64_t seed = 0, uint64_t offset = 0) : seed_(seed), offset_(offset) {}
  /// A draw never handed out before, unless a DrawLog repeats one.
  Draw next();
  /// Generators of streams unrelated to each other and to this one, which advances by one draw.
  std::vector<Generator> split(int count);
  uint64_t seed() const { return seed_; }
  uint64_t offset() const { return offset_; }

 private:
  friend class DrawLog;
  static Draw next_of(DrawLog* log, Generator& generator);
  uint64_t seed_, offset_;
};

/// While it lives, what the thread's generators hand out is noted in `draws`, or, for `repeat`, comes from there in the
/// same order and leaves the generators as they are. Logs nest: a noting one asks the one around it.
class DrawLog {
 public:
  DrawLog(std::vector<Draw>& draws, bool repeat);
  ~DrawLog();
  DrawLog(DrawLog const&) = delete;
  DrawLog& operator=(DrawLog const&) = delete;

 private:
  friend class Generator;
  Draw next(Generator& generator);
  std::vector<Draw>& draws_;
  DrawLog* outer_;
  uint64_t at_ = 0;
  bool repeat_;
};

/// The calling thread's generator, which random operations use where none is passed.
Generator& default_generator();
/// Restarts the calling thread's generator.
void seed(uint64_t value);

}  // namespace heed
