// Recorded programs (map(), and the less common pointwise operations) on an accelerator: one element a thread, its
// values in shared memory, one row a slot.
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/program_device.h>
#include <heed/engine/ops/program_threads.h>

#include <vector>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

template <class T>
struct Operands {
  T const* in[most_program_operands];
  T* out[most_program_operands];
};

template <class T>
__global__ void program_kernel(ProgramStep const* steps, int count, T const* constants, int constant_count,
                               uint16_t const* results, int outputs, int inputs, ProgramWalk walk, Operands<T> at) {
  HEED_DYNAMIC_SHARED(T, slots);
  int64_t const i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= walk.numel) return;
  auto const slot = [&](int s) -> T& { return slots[s * int(blockDim.x) + int(threadIdx.x)]; };
  for (int k = 0; k < inputs; ++k) slot(k) = at.in[k][walk.offset(i, k)];
  for (int k = 0; k < constant_count; ++k) slot(inputs + k) = constants[k];
  for (int s = 0; s < count; ++s) {
    ProgramStep const step = steps[s];
    T const a[] = {slot(step.a)}, b[] = {slot(step.b)}, c[] = {slot(step.c)};
    T value[1];
    take_step(step.op, a, b, c, value);
    slot(step.to) = value[0];
  }
  for (int k = 0; k < outputs; ++k) at.out[k][i] = slot(results[k]);
}

template <class T>
void run(Program const& program, ProgramWalk const& walk, T const* const* inputs, T* const* outputs) {
  if (walk.numel == 0) return;
  std::vector<ProgramStep> steps(program.steps(nowhere).begin(), program.steps(nowhere).end());
  steps.insert(steps.end(), program.steps().begin(), program.steps().end());
  std::vector<T> constants(program.constants().begin(), program.constants().end());
  std::vector<uint16_t> results(program.output_slots().begin(), program.output_slots().end());
  DeviceScratch<ProgramStep> const device_steps(int64_t(steps.size()));
  DeviceScratch<T> const device_constants(int64_t(constants.size()));
  DeviceScratch<uint16_t> const device_results(int64_t(results.size()));
  auto const upload = [](auto const& to, auto const& from) {
    if (!from.empty())
      check_device(rt::copy_to_device(to.data(), from.data(), from.size() * sizeof(from[0]), current_stream()),
                   "copy to the device");
  };
  upload(device_steps, steps), upload(device_constants, constants), upload(device_results, results);
  Operands<T> at{};
  for (int k = 0; k < program.inputs(); ++k) at.in[k] = inputs[k];
  for (int k = 0; k < program.outputs(); ++k) at.out[k] = outputs[k];
  size_t const each = size_t(program.slots()) * sizeof(T), most = 48 * 1024;
  unsigned threads = 128;
  while (threads > 32 && threads * each > most) threads /= 2;
  launch(program_kernel<T>, "program", in_a_row((walk.numel + threads - 1) / threads), {threads}, threads * each,
         device_steps.data(), int(steps.size()), device_constants.data(), int(constants.size()), device_results.data(),
         program.outputs(), program.inputs(), walk, at);
}

}  // namespace

DeviceProgramKernels const device_program_kernels{{{run<float>}, {run<double>}}};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
