#include <heed/engine/random.h>

namespace heed {

Generator& default_generator() {
  thread_local Generator generator;
  return generator;
}

void seed(uint64_t value) { default_generator() = Generator(value); }

}  // namespace heed
