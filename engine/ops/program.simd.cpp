#include <heed/engine/lane.h>
#include <heed/engine/ops/blocks.h>
#include <heed/engine/ops/program.h>
#include <heed/engine/ops/program_runner.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

#define HEED_STEP(name, formula)                                        \
  template <class T>                                                    \
  void step_##name(T* to, T const* xs, T const*, T const*, int64_t n) { \
    in_vectors<T>(n, [&](auto load, auto store) {                       \
      Vec<T> const a = load(xs);                                        \
      store(to, formula);                                               \
    });                                                                 \
  }
HEED_UNARY_PRIMITIVES(HEED_STEP)
#undef HEED_STEP
#define HEED_STEP(name, formula)                                           \
  template <class T>                                                       \
  void step_##name(T* to, T const* xs, T const* ys, T const*, int64_t n) { \
    in_vectors<T>(n, [&](auto load, auto store) {                          \
      Vec<T> const a = load(xs), b = load(ys);                             \
      store(to, formula);                                                  \
    });                                                                    \
  }
HEED_BINARY_PRIMITIVES(HEED_STEP)
#undef HEED_STEP
#define HEED_STEP(name, formula)                                           \
  template <class T>                                                       \
  void step_##name(T* to, T const* xs, T const* ys, T const*, int64_t n) { \
    in_vectors<T>(n, [&](auto load, auto store) {                          \
      Vec<T> const a = load(xs), b = load(ys);                             \
      store(to, select(formula, Vec<T>(1.), Vec<T>(0.)));                  \
    });                                                                    \
  }
HEED_COMPARE_PRIMITIVES(HEED_STEP)
#undef HEED_STEP
template <class T>
void step_select(T* to, T const* mask, T const* xs, T const* ys, int64_t n) {
  in_vectors<T>(n, [&](auto load, auto store) { store(to, select(load(mask) != 0., load(xs), load(ys))); });
}

#define HEED_STEP(name, formula) step_##name<T>,
template <class T>
constexpr ProgramKernel<T> steps[] = {nullptr, nullptr, nullptr,
                                      HEED_UNARY_PRIMITIVES(HEED_STEP) HEED_BINARY_PRIMITIVES(HEED_STEP)
                                          HEED_COMPARE_PRIMITIVES(HEED_STEP) step_select<T>};
#undef HEED_STEP

/// Registers of the block in turn go through every step: a step's operands are still in the first cache.
template <class T>
void run(Program const& program, T const* const* inputs, int64_t const* strides, T* const* outputs, int64_t n) {
  constexpr int64_t most = 2048 / int64_t(sizeof(T));  // so that some twenty registers stay in the first cache
  int64_t const length = n < most ? (n + 15) / 16 * 16 : most;
  ProgramRunner<T> runner(program, steps<T>, nullptr, length);
  for (int i = 0; i < program.inputs(); ++i)
    if (strides[i] == 0) runner.fill(i, *inputs[i]);
  runner.begin();
  for (int64_t begin = 0; begin < n; begin += length) {
    int64_t const here = n - begin < length ? n - begin : length,
                  next = n - begin - here < length ? n - begin - here : length;
    for (int i = 0; i < program.inputs(); ++i) {
      if (strides[i] == 1) {
        runner.place(i, inputs[i] + begin);
        // A block is too short for the processor to foresee the next one.
        for (int64_t j = 0; j < next; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(inputs[i] + begin + here + j);
      } else if (strides[i] != 0)
        for (int64_t j = 0; j < here; ++j) runner.own(i)[j] = inputs[i][(begin + j) * strides[i]];
    }
    runner.run(here);
    for (int k = 0; k < program.outputs(); ++k)
      __builtin_memcpy(outputs[k] + begin, runner.output(k), size_t(here) * sizeof(T));
  }
}

}  // namespace

constinit ProgramKernels const program_kernels{{{run<float>, steps<float>}, {run<double>, steps<double>}}};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
