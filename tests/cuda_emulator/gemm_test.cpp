// The device's matrix products against the CPU's: layouts, odd sizes, batches, sums of products, 16-bit operands.
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/matmul_half.h>

#include "device_array.h"

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
extern GemmKernels const device_gemm_kernels;
extern MatrixUnitKernels const device_matrix_unit_kernels;
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed

using namespace heed;
using namespace heed::tests;

namespace {

enum class Layout { rows, columns, apart };  // contiguous along the second axis, the first, or neither

struct Steps {
  int64_t row, column, numel;
};
Steps steps(Layout layout, int64_t rows, int64_t columns, int64_t pad) {
  switch (layout) {
    case Layout::rows:
      return {columns + pad, 1, rows * (columns + pad)};
    case Layout::columns:
      return {1, rows + pad, columns * (rows + pad)};
    default:
      return {2 * columns + 3, 2, rows * (2 * columns + 3)};
  }
}

struct Case {
  int64_t m, n, k;
  Layout a = Layout::rows, b = Layout::rows;
  int64_t batch = 1, pad = 0;
  bool bias = false, accumulate = false, sum = false, one_a = false, one_b = false;
};

template <class T>
double error_of(Case const& x, GemmTable<T> const& table = device_gemm_kernels.of<T>()) {
  Numbers numbers(uint64_t(x.m * 131 + x.n * 17 + x.k));
  Steps const sa = steps(x.a, x.m, x.k, x.pad), sb = steps(x.b, x.k, x.n, x.pad);
  int64_t const a_step = x.one_a ? 0 : sa.numel, b_step = x.one_b ? 0 : sb.numel;
  int64_t const c_row = x.n + x.pad, c_step = x.sum ? 0 : x.m * c_row;
  auto const a = numbers.vector<T>(sa.numel * x.batch), b = numbers.vector<T>(sb.numel * x.batch);
  auto const c = numbers.vector<T>(x.m * c_row * (x.sum ? 1 : x.batch)), bias = numbers.vector<T>(x.n);
  auto const args = [&](T const* pa, T const* pb, T* pc, T const* pbias) {
    GemmArgs<T> g{x.m, x.n, x.k, pa, sa.row, sa.column, pb, sb.row, sb.column, pc, c_row};
    g.bias = x.bias ? pbias : nullptr, g.accumulate = x.accumulate;
    return g;
  };
  std::vector<T> wanted = c;
  kernels<GemmKernels>().template of<T>().gemm_batched(args(a.data(), b.data(), wanted.data(), bias.data()), x.batch,
                                                       a_step, b_step, c_step);
  DeviceArray<T> const da(a), db(b), dc(c), dbias(bias);
  table.gemm_batched(args(da.data(), db.data(), dc.data(), dbias.data()), x.batch, a_step, b_step, c_step);
  std::vector<T> const got = dc.host();
  for (size_t i = 0; i < got.size(); ++i)  // what lies between the rows stays
    if (int64_t(i) % c_row >= x.n) REQUIRE(got[i] == c[i]);
  return relative_error(got, wanted);
}

template <class E>
double half_error(Case const& x, int tile = 0) {
  Numbers numbers(uint64_t(x.m * 131 + x.n * 17 + x.k));
  Steps const sa = steps(x.a, x.m, x.k, x.pad), sb = steps(x.b, x.k, x.n, x.pad);
  int64_t const a_step = x.one_a ? 0 : sa.numel, b_step = x.one_b ? 0 : sb.numel;
  int64_t const c_row = x.n + x.pad, c_step = x.sum ? 0 : x.m * c_row, results = x.sum ? 1 : x.batch;
  auto const a = numbers.vector<E>(sa.numel * x.batch), b = numbers.vector<E>(sb.numel * x.batch);
  auto const c = numbers.vector<E>(x.m * c_row * results), bias = numbers.vector<E>(x.n);
  std::vector<double> wanted(c.size());
  for (size_t i = 0; i < c.size(); ++i) wanted[i] = double(float(c[i]));
  for (int64_t z = 0; z < x.batch; ++z)
    for (int64_t i = 0; i < x.m; ++i)
      for (int64_t j = 0; j < x.n; ++j) {
        double& to = wanted[size_t((x.sum ? 0 : z) * x.m * c_row + i * c_row + j)];
        bool const first = !x.sum || z == 0;
        double sum = first && !x.accumulate ? 0 : to;
        for (int64_t p = 0; p < x.k; ++p)
          sum += double(float(a[size_t(z * a_step + i * sa.row + p * sa.column)])) *
                 double(float(b[size_t(z * b_step + p * sb.row + j * sb.column)]));
        to = sum + (x.bias && first ? double(float(bias[size_t(j)])) : 0);
      }
  for (double& value : wanted) value = double(float(E(float(value))));  // rounded once, as the kernel does
  DeviceArray<E> const da(a), db(b), dc(c), dbias(bias);
  GemmArgs<E> g{x.m, x.n, x.k, da.data(), sa.row, sa.column, db.data(), sb.row, sb.column, dc.data(), c_row};
  g.bias = x.bias ? dbias.data() : nullptr, g.accumulate = x.accumulate;
  gemm_half(g, x.batch, a_step, b_step, c_step, tile);
  return relative_error(dc.host(), wanted);
}

/// Sums in another order end, now and then, on the other side of a tie: some elements of a case may be a unit apart.
constexpr double rounded_apart = 5e-4;

constexpr Layout layouts[] = {Layout::rows, Layout::columns, Layout::apart};

}  // namespace

TEST_CASE_TEMPLATE("gemm on a device: layouts and odd sizes", T, float, double) {
  double const bound = sizeof(T) == 4 ? 2e-6 : 1e-14;
  Largest largest{sizeof(T) == 4 ? "gemm f32" : "gemm f64"};
  for (Layout a : layouts)
    for (Layout b : layouts) {
      CAPTURE(int(a));
      CAPTURE(int(b));
      CHECK(largest.note(error_of<T>({37, 21, 19, a, b, 1, 0, true, false})) < bound);
      CHECK(largest.note(error_of<T>({8, 68, 40, a, b, 1, 4, true, true})) < bound);
    }
  for (Case const& x :
       {Case{1, 1, 1}, Case{1, 65, 3}, Case{65, 1, 3}, Case{2, 2, 0},
        Case{3, 5, 0, Layout::rows, Layout::columns, 2, 1, true, true}, Case{64, 64, 64}, Case{65, 66, 67},
        Case{5, 1, 1, Layout::columns, Layout::columns}, Case{4, 4, 1, Layout::columns}})
    CHECK(largest.note(error_of<T>(x)) < bound);
}

TEST_CASE_TEMPLATE("gemm on a device: batches, sums of products, parts of long sums", T, float, double) {
  double const bound = sizeof(T) == 4 ? 2e-6 : 1e-14;
  Largest largest{sizeof(T) == 4 ? "gemm_batched f32" : "gemm_batched f64"};
  auto const error = [&](Case const& x) { return largest.note(error_of<T>(x)); };
  CHECK(error({5, 7, 9, Layout::rows, Layout::columns, 3, 0, true, true}) < bound);
  CHECK(error({5, 7, 9, Layout::rows, Layout::rows, 3, 0, true, true, true}) < bound);
  CHECK(error({5, 7, 9, Layout::columns, Layout::rows, 3, 2, true, false, true}) < bound);
  CHECK(error({6, 8, 12, Layout::rows, Layout::rows, 4, 0, true, false, false, false, true}) < bound);
  CHECK(error({6, 8, 12, Layout::rows, Layout::rows, 4, 0, false, true, false, true, false}) < bound);
  CHECK(error({9, 10, 1030, Layout::rows, Layout::rows, 1, 0, true, true}) < bound);  // in parts
  CHECK(error({9, 12, 300, Layout::rows, Layout::columns, 4, 0, true, true, true}) < bound);
}

TEST_CASE("gemm on a device: large tiles") {
  Largest largest{"gemm f32, large tiles"};
  for (Layout a : {Layout::rows, Layout::columns})
    for (Layout b : {Layout::rows, Layout::columns})
      CHECK(largest.note(error_of<float>({132, 68, 36, a, b, 48, 0, true, a == b, false, false, true})) < 2e-6);
}

TEST_CASE("gemm on a device: operands rounded to tf32, where that is asked for") {
  Largest largest{"gemm tf32"};
  auto const error = [&](Case const& x) { return largest.note(error_of<float>(x, device_matrix_unit_kernels.tf32)); };
  for (Layout a : layouts)
    for (Layout b : layouts) CHECK(error({37, 21, 67, a, b, 1, 4, true, true}) < 6e-4);
  CHECK(error({5, 7, 9, Layout::rows, Layout::columns, 3, 0, true, true, true}) < 6e-4);
  CHECK(error({9, 10, 1030, Layout::rows, Layout::rows, 1, 0, true, true}) < 6e-4);
  for (Layout a : {Layout::rows, Layout::columns})
    CHECK(error({132, 68, 20, a, a, 48, 0, true, false, false, false, true}) < 6e-4);
  CHECK(largest.value > 1e-5);  // it was on
}

TEST_CASE("zero strides broadcast") {
  DeviceArray<float> const a({3}), b({1, 2, 4, 8}), c(std::vector<float>(8));
  device_gemm_kernels.of<float>().gemm({2, 4, 1, a.data(), 0, 0, b.data(), 0, 1, c.data(), 4});
  CHECK(c.host() == std::vector<float>{3, 6, 12, 24, 3, 6, 12, 24});
  device_gemm_kernels.of<float>().gemm({2, 4, 5, a.data(), 0, 0, b.data(), 0, 1, c.data(), 4});
  CHECK(c.host() == std::vector<float>{15, 30, 60, 120, 15, 30, 60, 120});
}

TEST_CASE_TEMPLATE("16-bit operands on matrix units", E, bfloat16, float16) {
  Largest largest{std::is_same_v<E, bfloat16> ? "gemm bf16" : "gemm f16"};
  auto const error = [&](Case const& x) { return largest.note(half_error<E>(x)); };
  for (Layout a : layouts)
    for (Layout b : layouts) {
      CAPTURE(int(a));
      CAPTURE(int(b));
      CHECK(error({37, 21, 67, a, b, 1, 0, true, true}) < rounded_apart);
      CHECK(error({40, 72, 208, a, b}) <
            rounded_apart);  // aligned; more tiles of k than stages, and the stages go round
    }
  for (Case const& x : {Case{1, 1, 1}, Case{2, 3, 0, Layout::rows, Layout::rows, 1, 0, true},
                        Case{16, 8, 16, Layout::rows, Layout::columns, 5, 0, true, true, true},
                        Case{16, 8, 40, Layout::columns, Layout::rows, 3, 8, true},
                        Case{8, 9, 24, Layout::rows, Layout::rows, 4, 0, false, false, false, false, true}})
    CHECK(error(x) < rounded_apart);
}

TEST_CASE("16-bit operands: large tiles") {
  Largest largest{"gemm bf16, large tiles"};
  for (Layout a : {Layout::rows, Layout::columns})
    for (Layout b : {Layout::rows, Layout::columns}) {
      CHECK(largest.note(half_error<bfloat16>({136, 80, 200, a, b, 1, 0, true}, 128)) < rounded_apart);
      CHECK(largest.note(half_error<bfloat16>({72, 136, 40, a, b, 2, 0, false, a == b}, 128)) < rounded_apart);
    }
}
