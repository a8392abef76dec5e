// The named distributions on an accelerator: an element a thread, in f64. Arithmetic bounds them, and rejection makes
// the threads of a warp wait for the unluckiest.
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr unsigned threads = 128;

__global__ void __launch_bounds__(threads, 1)
    sample_kernel(distributions::Recipe recipe, Draw draw, Dtype dtype, void* y, int64_t n) {
  int64_t const i = int64_t(blockIdx.x) * threads + threadIdx.x;
  if (i >= n) return;
  double const x = distributions::element(recipe, draw, i);
  if (dtype == Dtype::f64)
    static_cast<double*>(y)[i] = x;
  else
    static_cast<float*>(y)[i] = float(x);
}

void sample(distributions::Recipe const& recipe, Draw draw, Dtype dtype, void* y, int64_t n) {
  if (n > 0)
    launch(sample_kernel, "random numbers", in_a_row((n + threads - 1) / threads), {threads}, 0, recipe, draw, dtype, y,
           n);
}

}  // namespace

DistributionKernels const device_distribution_kernels{sample};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
