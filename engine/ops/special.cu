// Rare functions on an accelerator, in f64: arithmetic bounds them.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

using special_formulas::Family;
using special_formulas::Function;

__device__ double load_real(void const* from, Dtype dtype, int64_t i) {
  return dtype == Dtype::f64 ? static_cast<double const*>(from)[i] : double(static_cast<float const*>(from)[i]);
}
__device__ void store_real(double value, void* to, Dtype dtype, int64_t i) {
  if (dtype == Dtype::f64)
    static_cast<double*>(to)[i] = value;
  else
    static_cast<float*>(to)[i] = float(value);
}

// One element a thread: the loads are nothing beside the work, and long functions must not be unrolled.

template <class Kernel, class... A>
void run(char const* name, Kernel kernel, int64_t n, A const&... arguments) {
  if (n > 0) launch(kernel, name, blocks_of_one(n), {element_threads}, 0, arguments..., n);
}

__global__ void each_kernel(Function f, Dtype dtype, void const* x, void* y, int64_t n) {
  int64_t const i = this_element();
  if (i < n) store_real(special_formulas::value(f, load_real(x, dtype, i)), y, dtype, i);
}
void each(Function f, Dtype dtype, void const* x, void* y, int64_t n) {
  run("special functions", each_kernel, n, f, dtype, x, y);
}

__global__ void gamma_kernel(bool upper, Dtype dtype, void const* a, void const* x, void* y, int64_t n) {
  int64_t const i = this_element();
  if (i < n)
    store_real(special_formulas::incomplete_gamma(load_real(a, dtype, i), load_real(x, dtype, i), upper), y, dtype, i);
}
void gamma(bool upper, Dtype dtype, void const* a, void const* x, void* y, int64_t n) {
  run("incomplete gamma functions", gamma_kernel, n, upper, dtype, a, x, y);
}

__global__ void frexp_kernel(Dtype dtype, void const* x, void* mantissa, int32_t* exponent, int64_t n) {
  int64_t const i = this_element();
  if (i >= n) return;
  double const v = load_real(x, dtype, i);
  int e = 0;
  store_real(v - v == 0 ? ::frexp(v, &e) : v, mantissa, dtype, i);
  exponent[i] = e;
}
void frexp(Dtype dtype, void const* x, void* mantissa, int32_t* exponent, int64_t n) {
  run("frexp", frexp_kernel, n, dtype, x, mantissa, exponent);
}

__global__ void polynomial_kernel(Family family, int order, int64_t highest, Dtype dtype, void const* x,
                                  int64_t const* degree, void* y, int64_t n) {
  int64_t const i = this_element();
  if (i >= n) return;
  double here[special_formulas::most_orders], before[special_formulas::most_orders];
  store_real(degree[i] <= highest
                 ? special_formulas::polynomial(family, order, load_real(x, dtype, i), degree[i], here, before)
                 : special_formulas::nan,
             y, dtype, i);
}
void polynomial(Family family, int order, int64_t highest, Dtype dtype, void const* x, int64_t const* degree, void* y,
                int64_t n) {
  run("polynomials", polynomial_kernel, n, family, order, highest, dtype, x, degree, y);
}

}  // namespace

SpecialKernels const device_special_kernels{each, gamma, frexp, polynomial};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
