#include <heed/engine/error.h>
#include <heed/engine/random.h>

namespace heed {
namespace {
constinit thread_local DrawLog* current_log = nullptr;
}

Draw Generator::next() { return next_of(current_log, *this); }

Draw Generator::next_of(DrawLog* log, Generator& generator) {
  return log ? log->next(generator) : Draw{generator.seed_, generator.offset_++};
}

DrawLog::DrawLog(std::vector<Draw>& draws, bool repeat) : draws_(draws), outer_(current_log), repeat_(repeat) {
  current_log = this;
}
DrawLog::~DrawLog() { current_log = outer_; }

Draw DrawLog::next(Generator& generator) {
  if (!repeat_) return draws_.emplace_back(Generator::next_of(outer_, generator));
  check(at_ < draws_.size(), "recompute", [] {
    return Complaint{"the second run draws more random tensors than the first",
                     "let the function depend on its inputs and on constants alone"};
  });
  return draws_[at_++];
}

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
