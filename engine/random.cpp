#include <heed/engine/random.h>

namespace heed {

Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

std::vector<Generator> Generator::split(int count) {
  Draw const draw = next();
  std::vector<Generator> streams;
  for (int i = 0; i < count; ++i) {
    auto const words = philox4x32({uint32_t(i), 0, uint32_t(draw.offset), uint32_t(draw.offset >> 32)},
                                  {uint32_t(draw.seed), uint32_t(draw.seed >> 32)});
    streams.emplace_back(uint64_t{words[1]} << 32 | words[0]);
  }
  return streams;
}

void seed(uint64_t value) { default_generator() = Generator(value); }

}  // namespace heed
