// The device's kernels over rows against the CPU's, entry by entry: odd sizes, none, long rows, NaN and infinities.
#include <control.h>
#include <doctest/doctest.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/device_tables.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace rt = heed::rt;

namespace {

/// An array in the device's memory; `shift` elements beyond an aligned address.
template <class T>
class There {
 public:
  explicit There(std::vector<T> const& from, size_t shift = 0) : size_(from.size()), shift_(shift) {
    heed::check_device(rt::allocate(block_, (size_ + shift + 1) * sizeof(T)), "test");
    if (size_) heed::check_device(rt::copy_to_device(data(), from.data(), size_ * sizeof(T), nullptr), "test");
  }
  explicit There(size_t n, size_t shift = 0) : size_(n), shift_(shift) {
    heed::check_device(rt::allocate(block_, (n + shift + 1) * sizeof(T)), "test");
  }
  ~There() {
    (void)rt::synchronize(nullptr);
    (void)rt::release(block_);
  }
  There(There const&) = delete;
  There& operator=(There const&) = delete;
  T* data() const { return static_cast<T*>(block_) + shift_; }
  std::vector<T> back() const {
    std::vector<T> to(size_);
    if (size_) heed::check_device(rt::copy_to_host(to.data(), data(), size_ * sizeof(T), nullptr), "test");
    heed::check_device(rt::synchronize(nullptr), "test");
    return to;
  }

 private:
  void* block_ = nullptr;
  size_t size_, shift_;
};

/// Uniform in [-1, 1): words of Philox, so that cases are the same everywhere.
template <class T>
std::vector<T> numbers(int64_t n, uint32_t seed) {
  std::vector<T> to(static_cast<size_t>(n));
  for (size_t i = 0; i < to.size(); ++i) {
    auto const words = heed::philox4x32({uint32_t(i), 0, 0, 0}, {seed, 1});
    to[i] = T(double(words[0]) * 0x1p-31 + double(words[1]) * 0x1p-63 - 1);
  }
  return to;
}
template <class T>
std::vector<T> numbers(int64_t n, uint32_t seed, double scale, double shift) {
  std::vector<T> to = numbers<T>(n, seed);
  for (T& x : to) x = T(double(x) * scale + shift);
  return to;
}

/// The largest error by entry, for HEED_ROWS_REPORT=1.
std::map<std::string, double>& worst() {
  static std::map<std::string, double> all;
  return all;
}

template <class T>
constexpr double rounding = sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;

/// Errors are relative to the value or, if greater, to `scale`; NaN and infinities must agree.
template <class T>
void compare(std::string const& entry, std::vector<T> const& got, std::vector<T> const& expected, double ulps,
             double scale = 1) {
  REQUIRE(got.size() == expected.size());
  double error = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    double const a = double(got[i]), b = double(expected[i]);
    if (a == b || (a != a && b != b)) continue;
    double const e = std::abs(a - b) / std::max(std::abs(b), scale);
    if (!(e <= ulps * rounding<T>)) {
      CAPTURE(entry);
      CAPTURE(i);
      CAPTURE(a);
      CAPTURE(b);
      CHECK(e <= ulps * rounding<T>);
      return;
    }
    error = std::max(error, e);
  }
  CHECK(true);
  double& known = worst()[entry + (sizeof(T) == 4 ? " f32" : " f64")];
  known = std::max(known, error);
}
template <class T>
bool same_bits(std::vector<T> const& a, std::vector<T> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template <class T>
T* or_null(bool wanted, There<T> const& a) {
  return wanted ? a.data() : nullptr;
}
template <class T>
T* or_null(bool wanted, std::vector<T>& a) {
  return wanted ? a.data() : nullptr;
}

template <class T>
constexpr T inf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T nan_of = std::numeric_limits<T>::quiet_NaN();

struct Clean {
  ~Clean() { CHECK(heed::emu::reports().empty()); }
};

// ---- reduce ----

struct Axis {
  int64_t outer, n, inner;
};
constexpr Axis axes[] = {{0, 5, 1},    {1, 0, 1},    {3, 0, 2},     {2, 3, 0},     {1, 1, 1},
                         {37, 3, 1},   {5, 33, 1},   {3, 1025, 1},  {2, 9001, 1},  {1, 40000, 1},
                         {1, 1, 5},    {2, 5, 3},    {3, 100, 7},   {1, 17000, 3}, {1, 700, 33},
                         {2, 17, 300}, {3, 9, 1000}, {1, 20000, 1}, {70, 2, 1},    {1, 4097, 2}};

/// The values of a case: 0 plain, 1 with ties, 2 with NaNs, 3 with infinities, 4 -inf alone.
template <class T>
std::vector<T> values(Axis a, int kind) {
  std::vector<T> x = numbers<T>(a.outer * a.n * a.inner, uint32_t(kind + 7));
  for (size_t i = 0; i < x.size(); ++i) {
    if (kind == 1) x[i] = T(int(x[i] * 3));
    if (kind == 2 && i % 71 == 13) x[i] = nan_of<T>;
    if (kind == 3 && i % 83 == 11) x[i] = i % 2 ? inf<T> : -inf<T>;
    if (kind == 4) x[i] = -inf<T>;
  }
  return x;
}

template <class T>
void check_reduce() {
  auto const& cpu = heed::kernels<heed::ReduceKernels>().of<T>();
  auto const& device = heed::device_reduce_kernels.of<T>();
  using Of = heed::ReduceKernelsOf<T>;
  struct Entry {
    char const* name;
    typename Of::Reduce Of::*reduce;
    bool empty;
    double ulps;
  };
  Entry const reductions[] = {{"reduce.sum", &Of::sum, true, 8},
                              {"reduce.prod", &Of::prod, true, 8},
                              {"reduce.max", &Of::max, false, 0},
                              {"reduce.min", &Of::min, false, 0},
                              {"reduce.sum_squares", &Of::sum_squares, true, 8},
                              {"reduce.logsumexp", &Of::logsumexp, true, 8}};
  for (Axis const a : axes)
    for (int kind = 0; kind < (a.n * a.inner > 10000 ? 3 : 5); ++kind) {
      CAPTURE(a.outer);
      CAPTURE(a.n);
      CAPTURE(a.inner);
      CAPTURE(kind);
      std::vector<T> const x = values<T>(a, kind);
      size_t const results = size_t(a.outer * a.inner);
      for (size_t shift = 0; shift < (a.n < 2000 ? 2 : 1); ++shift) {
        There<T> const there(x, shift);
        for (Entry const& e : reductions) {
          if (a.n == 0 && !e.empty) continue;
          std::vector<T> from = x;
          bool const product = e.reduce == &Of::prod;
          if (product)
            for (T& v : from) v = 1 + v / 16;  // else products leave the range
          There<T> const source(product ? from : std::vector<T>{}, shift);
          std::vector<T> expected(results);
          There<T> const y(results);
          (cpu.*e.reduce)(from.data(), expected.data(), a.outer, a.n, a.inner);
          (device.*e.reduce)(product ? source.data() : there.data(), y.data(), a.outer, a.n, a.inner);
          double const scale = product ? 0 : std::sqrt(double(a.n));
          compare(e.name, y.back(), expected, product ? e.ulps * std::sqrt(1 + double(a.n)) : e.ulps, scale);
        }
        if (a.n == 0) continue;
        for (bool const least : {false, true}) {
          std::vector<int64_t> expected(results);
          There<int64_t> const index(results);
          (least ? cpu.argmin : cpu.argmax)(x.data(), expected.data(), a.outer, a.n, a.inner);
          (least ? device.argmin : device.argmax)(there.data(), index.data(), a.outer, a.n, a.inner);
          CHECK(index.back() == expected);
        }
      }
    }
}

// ---- softmax ----

struct Rows {
  int64_t rows, n;
};
constexpr Rows shapes[] = {{0, 5},   {3, 0},    {1, 1},    {37, 3},   {5, 31},   {3, 32},   {4, 33},  {3, 127},
                           {3, 513}, {2, 1024}, {2, 2049}, {2, 4096}, {1, 4097}, {2, 5000}, {1, 9001}};

template <class T>
void spoil(std::vector<T>& x, Rows s, int kind) {  // one special row
  if (s.rows == 0 || s.n == 0) return;
  size_t const at = size_t(s.rows / 2 * s.n), n = size_t(s.n);
  if (kind == 1) x[at + n / 2] = nan_of<T>;
  if (kind == 2) x[at + n / 2] = inf<T>;
  if (kind == 3)
    for (size_t j = 0; j < n; ++j) x[at + j] = -inf<T>;
  if (kind == 4)
    for (size_t j = 0; j + 1 < n; j += 2) x[at + j] = -inf<T>;  // a mask
}

template <class T>
void check_softmax() {
  auto const& cpu = heed::kernels<heed::SoftmaxKernels>().of<T>();
  auto const& device = heed::device_softmax_kernels.of<T>();
  for (Rows const s : shapes)
    for (int kind = 0; kind < 5; ++kind) {
      CAPTURE(s.rows);
      CAPTURE(s.n);
      CAPTURE(kind);
      int64_t const stride = kind == 4 ? s.n + 3 : s.n;
      std::vector<T> x = numbers<T>(s.rows * s.n, 3, 5, 20), wide(size_t(s.rows * stride));
      spoil(x, s, kind);
      for (int64_t r = 0; r < s.rows; ++r)
        for (int64_t j = 0; j < s.n; ++j) wide[size_t(r * stride + j)] = x[size_t(r * s.n + j)];
      std::vector<T> const g = numbers<T>(s.rows * s.n, 5);
      for (bool const log : {false, true}) {
        std::vector<T> y(x.size()), dx(x.size());
        There<T> const from(wide, size_t(kind % 2)), to(x.size()), grad(g, 0), slope(x.size());
        (log ? cpu.log_softmax : cpu.softmax)(wide.data(), stride, y.data(), s.rows, s.n);
        (log ? device.log_softmax : device.softmax)(from.data(), stride, to.data(), s.rows, s.n);
        compare(log ? "softmax.log_softmax" : "softmax.softmax", to.back(), y, 16, log ? 1 : 1e-30);
        (log ? cpu.log_softmax_backward : cpu.softmax_backward)(g.data(), y.data(), dx.data(), s.rows, s.n);
        There<T> const result(y);
        (log ? device.log_softmax_backward : device.softmax_backward)(grad.data(), result.data(), slope.data(), s.rows,
                                                                      s.n);
        double const scale = log ? 1 : 1 / double(s.n + 1);
        compare(log ? "softmax.log_softmax_backward" : "softmax.softmax_backward", slope.back(), dx, 16, scale);
        if (stride == s.n) {  // in place
          There<T> const here(x);
          (log ? device.log_softmax : device.softmax)(here.data(), stride, here.data(), s.rows, s.n);
          CHECK(same_bits(here.back(), to.back()));
          (log ? device.log_softmax_backward : device.softmax_backward)(grad.data(), result.data(), result.data(),
                                                                        s.rows, s.n);
          CHECK(same_bits(result.back(), slope.back()));
        }
      }
    }
}

// ---- norms ----

template <class T>
void check_row_norms() {
  auto const& cpu = heed::kernels<heed::NormKernels>().of<T>();
  auto const& device = heed::device_norm_kernels.of<T>();
  Rows const more[] = {{301, 7}, {130, 65}};
  std::vector<Rows> all(std::begin(shapes), std::end(shapes));
  all.insert(all.end(), std::begin(more), std::end(more));
  for (Rows const s : all)
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(s.rows);
      CAPTURE(s.n);
      CAPTURE(kind);
      bool const weighed = kind != 1, biased = kind < 2, wants_dx = kind != 2, wants_sums = kind != 3;
      std::vector<T> x = numbers<T>(s.rows * s.n, 1, 2, 1);
      if (kind == 3) spoil(x, s, 2);
      std::vector<T> const g = numbers<T>(s.rows * s.n, 2);
      std::vector<T> weight = numbers<T>(s.n, 3, 0.5, 1), bias = numbers<T>(s.n, 4);
      There<T> const x_there(x, size_t(kind % 2)), g_there(g), weight_there(weight), bias_there(bias);
      size_t const rows = size_t(s.rows), n = size_t(s.n);
      double const tall = std::sqrt(double(s.rows + 1));
      for (bool const centred : {true, false}) {
        std::string const name = centred ? "norm.layer_norm" : "norm.rms_norm";
        std::vector<T> y(x.size()), mean(rows), rstd(rows), dx(x.size()), dweight(n), dbias(n);
        There<T> const y_there(x.size()), mean_there(rows), rstd_there(rows);
        double const eps = 1e-5;
        if (centred) {
          cpu.layer_norm(x.data(), or_null(weighed, weight), or_null(biased, bias), eps, y.data(), mean.data(),
                         rstd.data(), s.rows, s.n);
          device.layer_norm(x_there.data(), or_null(weighed, weight_there), or_null(biased, bias_there), eps,
                            y_there.data(), mean_there.data(), rstd_there.data(), s.rows, s.n);
          if (s.n > 0) compare(name + " mean", mean_there.back(), mean, 8);
        } else {
          cpu.rms_norm(x.data(), or_null(weighed, weight), eps, y.data(), rstd.data(), s.rows, s.n);
          device.rms_norm(x_there.data(), or_null(weighed, weight_there), eps, y_there.data(), rstd_there.data(),
                          s.rows, s.n);
        }
        // A row of one element: x - mean is rounding alone, and rstd its magnifier.
        if (s.n > 1) compare(name, y_there.back(), y, 32);
        if (s.n > 0) compare(name + " rstd", rstd_there.back(), rstd, 16);
        There<T> const there_mean(mean), there_rstd(rstd), dx_there(x.size()), dweight_there(n), dbias_there(n);
        if (centred) {
          cpu.layer_norm_backward(g.data(), x.data(), or_null(weighed, weight), mean.data(), rstd.data(),
                                  or_null(wants_dx, dx), or_null(wants_sums, dweight), or_null(wants_sums, dbias),
                                  s.rows, s.n);
          device.layer_norm_backward(g_there.data(), x_there.data(), or_null(weighed, weight_there), there_mean.data(),
                                     there_rstd.data(), or_null(wants_dx, dx_there), or_null(wants_sums, dweight_there),
                                     or_null(wants_sums, dbias_there), s.rows, s.n);
          if (wants_sums) compare(name + "_backward dbias", dbias_there.back(), dbias, 8, tall);
        } else {
          cpu.rms_norm_backward(g.data(), x.data(), or_null(weighed, weight), rstd.data(), or_null(wants_dx, dx),
                                or_null(wants_sums, dweight), s.rows, s.n);
          device.rms_norm_backward(g_there.data(), x_there.data(), or_null(weighed, weight_there), there_rstd.data(),
                                   or_null(wants_dx, dx_there), or_null(wants_sums, dweight_there), s.rows, s.n);
        }
        double const largest = s.n == 1 ? 400 : 1;  // 1/sqrt(eps)
        if (wants_dx) compare(name + "_backward dx", dx_there.back(), dx, 32, largest);
        if (wants_sums) compare(name + "_backward dweight", dweight_there.back(), dweight, 16, tall * largest);
      }
    }
}

struct Planes {
  int64_t batch, channels, n;
};
template <class T>
void check_batch_norm() {
  auto const& cpu = heed::kernels<heed::NormKernels>().of<T>();
  auto const& device = heed::device_norm_kernels.of<T>();
  Planes const all[] = {{2, 1, 1},  {300, 5, 1}, {7, 70, 1}, {3, 0, 4},    {9, 3, 2},    {40, 11, 7},
                        {5, 4, 31}, {5, 4, 32},  {3, 7, 49}, {2, 3, 1025}, {2, 1, 9001}, {300, 2, 33}};
  for (Planes const s : all)
    for (int kind = 0; kind < 3; ++kind) {
      CAPTURE(s.batch);
      CAPTURE(s.channels);
      CAPTURE(s.n);
      CAPTURE(kind);
      size_t const channels = size_t(s.channels), size = size_t(s.batch * s.channels * s.n);
      std::vector<T> x = numbers<T>(int64_t(size), 1, 2, 30);
      if (kind == 2 && size) x[size / 2] = inf<T>;
      std::vector<T> const g = numbers<T>(int64_t(size), 2);
      std::vector<T> weight = numbers<T>(s.channels, 3, 0.5, 1), bias = numbers<T>(s.channels, 4);
      bool const affine = kind != 1;
      double const eps = 1e-5, count = double(s.batch * s.n);
      There<T> const x_there(x, size_t(kind % 2)), g_there(g), weight_there(weight), bias_there(bias);
      std::vector<T> y(size), mean(channels), var(channels), dx(size), dweight(channels), dbias(channels);
      There<T> const y_there(size), mean_there(channels), var_there(channels), dx_there(size), dweight_there(channels),
          dbias_there(channels);
      cpu.batch_norm(x.data(), or_null(affine, weight), or_null(affine, bias), eps, y.data(), mean.data(), var.data(),
                     s.batch, s.channels, s.n);
      device.batch_norm(x_there.data(), or_null(affine, weight_there), or_null(affine, bias_there), eps, y_there.data(),
                        mean_there.data(), var_there.data(), s.batch, s.channels, s.n);
      compare("norm.batch_norm mean", mean_there.back(), mean, 8);
      compare("norm.batch_norm var", var_there.back(), var, 64);  // of values about 30
      compare("norm.batch_norm", y_there.back(), y, 128);
      There<T> const there_mean(mean), there_var(var);
      cpu.batch_norm_backward(g.data(), x.data(), or_null(affine, weight), mean.data(), var.data(), eps,
                              or_null(kind != 1, dx), dweight.data(), or_null(kind == 0, dbias), s.batch, s.channels,
                              s.n);
      device.batch_norm_backward(g_there.data(), x_there.data(), or_null(affine, weight_there), there_mean.data(),
                                 there_var.data(), eps, or_null(kind != 1, dx_there), dweight_there.data(),
                                 or_null(kind == 0, dbias_there), s.batch, s.channels, s.n);
      if (kind != 1) compare("norm.batch_norm_backward dx", dx_there.back(), dx, 32);
      compare("norm.batch_norm_backward dweight", dweight_there.back(), dweight, 16, std::sqrt(count));
      if (kind == 0) compare("norm.batch_norm_backward dbias", dbias_there.back(), dbias, 8, std::sqrt(count));
    }
}

// ---- cross-entropy ----

template <class T>
void check_cross_entropy() {
  auto const& cpu = heed::kernels<heed::CrossEntropyKernels>().of<T>();
  auto const& device = heed::device_cross_entropy_kernels.of<T>();
  constexpr int64_t ignored = -100;
  for (Rows const s : shapes)
    for (int kind = 0; kind < 5; ++kind) {
      if (s.n == 0) continue;
      CAPTURE(s.rows);
      CAPTURE(s.n);
      CAPTURE(kind);
      double const smoothing = kind % 2 ? 0.1 : 0;
      std::vector<T> x = numbers<T>(s.rows * s.n, 1, 4, 1000);
      spoil(x, s, kind);
      size_t const rows = size_t(s.rows);
      std::vector<int64_t> targets(rows);
      for (size_t r = 0; r < rows; ++r) targets[r] = r % 5 == 4 ? ignored : int64_t(r * 7919) % s.n;
      std::vector<T> const g = numbers<T>(s.rows, 9);
      std::vector<T> loss(rows), lse(rows), dx(x.size());
      There<T> const x_there(x, size_t(kind % 2)), g_there(g), loss_there(rows), lse_there(rows), dx_there(x.size());
      There<int64_t> const targets_there(targets);
      cpu.forward(x.data(), targets.data(), ignored, smoothing, loss.data(), lse.data(), s.rows, s.n);
      device.forward(x_there.data(), targets_there.data(), ignored, smoothing, loss_there.data(), lse_there.data(),
                     s.rows, s.n);
      compare("cross_entropy.forward loss", loss_there.back(), loss, 16);
      compare("cross_entropy.forward lse", lse_there.back(), lse, 4);
      There<T> const there_lse(lse);
      cpu.backward(x.data(), targets.data(), ignored, smoothing, lse.data(), g.data(), dx.data(), s.rows, s.n);
      device.backward(x_there.data(), targets_there.data(), ignored, smoothing, there_lse.data(), g_there.data(),
                      dx_there.data(), s.rows, s.n);
      compare("cross_entropy.backward", dx_there.back(), dx, 8, 0.1);
      device.backward(x_there.data(), targets_there.data(), ignored, smoothing, there_lse.data(), g_there.data(),
                      x_there.data(), s.rows, s.n);
      CHECK(same_bits(x_there.back(), dx_there.back()));
    }
}

// ---- embedding ----

struct Lookups {
  int64_t count, table_rows, n, padding;
};
template <class T>
void check_embedding() {
  auto const& cpu = heed::kernels<heed::EmbeddingKernels>().of<T>();
  auto const& device = heed::device_embedding_kernels.of<T>();
  Lookups const all[] = {{0, 3, 4, -1},     {1, 1, 1, -1},       {9, 4, 0, -1},       {70, 5, 3, 2},   {300, 256, 8, 0},
                         {700, 257, 5, -1}, {4500, 300, 1, 299}, {257, 70000, 2, -1}, {50, 3, 2100, 1}};
  for (Lookups const s : all) {
    CAPTURE(s.count);
    CAPTURE(s.table_rows);
    CAPTURE(s.n);
    std::vector<T> const table = numbers<T>(s.table_rows * s.n, 1), g = numbers<T>(s.count * s.n, 2);
    std::vector<int64_t> index(size_t(s.count));
    for (size_t i = 0; i < index.size(); ++i) {
      uint32_t const word = heed::philox4x32({uint32_t(i), 0, 0, 0}, {5, 1})[0];
      index[i] = i % 3 == 0 ? 0 : int64_t(word % uint32_t(s.table_rows));  // row 0 is frequent
    }
    There<T> const table_there(table), g_there(g, 1), out(g.size()), slope(table.size());
    There<int64_t> const index_there(index);
    std::vector<T> expected(g.size()), dtable(table.size());
    cpu.forward(table.data(), index.data(), expected.data(), s.count, s.table_rows, s.n);
    device.forward(table_there.data(), index_there.data(), out.data(), s.count, s.table_rows, s.n);
    CHECK(same_bits(out.back(), expected));
    cpu.backward(g.data(), index.data(), s.padding, dtable.data(), s.count, s.table_rows, s.n);
    device.backward(g_there.data(), index_there.data(), s.padding, slope.data(), s.count, s.table_rows, s.n);
    CHECK(same_bits(slope.back(), dtable));  // the same additions in the same order
  }
}

/// More uses than one pass over their counts takes.
void check_many_uses() {
  constexpr int64_t count = 530000, table_rows = 300;
  std::vector<float> const g = numbers<float>(count, 2);
  std::vector<int64_t> index(static_cast<size_t>(count));
  for (size_t i = 0; i < index.size(); ++i) index[i] = int64_t(i * i % table_rows);
  There<float> const g_there(g), slope(size_t{table_rows});
  There<int64_t> const index_there(index);
  std::vector<float> dtable(size_t{table_rows});
  heed::kernels<heed::EmbeddingKernels>().f32.backward(g.data(), index.data(), 1, dtable.data(), count, table_rows, 1);
  heed::device_embedding_kernels.f32.backward(g_there.data(), index_there.data(), 1, slope.data(), count, table_rows,
                                              1);
  CHECK(same_bits(slope.back(), dtable));
}

// ---- optimisers ----

template <class T>
void check_optimise() {
  auto const& cpu = heed::kernels<heed::OptimiseKernels>().of<T>();
  auto const& device = heed::device_optimise_kernels.of<T>();
  for (int64_t const n : {0, 1, 3, 4, 5, 1023, 2048, 5001})
    for (int kind = 0; kind < 6; ++kind) {
      CAPTURE(n);
      CAPTURE(kind);
      std::vector<T> p = numbers<T>(n, 1), m = numbers<T>(n, 3), v = numbers<T>(n, 4, 0.5, 0.6);
      std::vector<T> const w = numbers<T>(n, 5, 0.5, 0.6);
      std::vector<T> const g = numbers<T>(n, 2);
      size_t const shift = size_t(kind % 2);
      {
        There<T> const p_there(p, shift), g_there(g), m_there(m), v_there(v, shift), w_there(w);
        heed::AdamwStep step{0.01, kind < 3 ? 0.9 : 0.3, 0.999, 1e-8, 0.1, 0.271, 0.003, kind == 2 ? 0.5 : 1};
        step.coupled = kind > 3;
        bool const amsgrad = kind % 3 == 1;
        std::vector<T> cp = p, cm = m, cv = v, cw = w;
        cpu.adamw(cp.data(), g.data(), cm.data(), cv.data(), or_null(amsgrad, cw), n, step);
        device.adamw(p_there.data(), g_there.data(), m_there.data(), v_there.data(), or_null(amsgrad, w_there), n,
                     step);
        compare("optimise.adamw largest", w_there.back(), cw, 2);
        compare("optimise.adamw", p_there.back(), cp, 4);
        compare("optimise.adamw m", m_there.back(), cm, 2);
        compare("optimise.adamw v", v_there.back(), cv, 2);
      }
      {
        There<T> const p_there(p, shift), g_there(g), w_there(w);
        heed::AdagradStep const step{0.01, kind == 1 ? 0.1 : 0, 1e-10, kind == 2 ? 0.1 : 0, 0.7};
        std::vector<T> cp = p, cw = w;
        cpu.adagrad(cp.data(), g.data(), cw.data(), n, step);
        device.adagrad(p_there.data(), g_there.data(), w_there.data(), n, step);
        compare("optimise.adagrad", p_there.back(), cp, 4);
        compare("optimise.adagrad sum", w_there.back(), cw, 2);
      }
      There<T> const p_there(p, shift), g_there(g), m_there(m);
      heed::SgdStep step{0.01, kind == 0 ? 0 : 0.9, kind == 2 ? 0.3 : 0, kind == 3 ? 0.1 : 0};
      step.nesterov = kind == 4;
      step.first = kind == 5;
      step.grad_scale = 0.7;
      cpu.sgd(p.data(), g.data(), or_null(kind > 0, m), n, step);
      device.sgd(p_there.data(), g_there.data(), or_null(kind > 0, m_there), n, step);
      compare("optimise.sgd", p_there.back(), p, 2);
      compare("optimise.sgd buffer", m_there.back(), m, 2);
      double const a = cpu.sum_squares(g.data(), n), b = device.sum_squares(g_there.data(), n);
      compare<T>("optimise.sum_squares", {T(b)}, {T(a)}, 4, 1e-30);
    }
  if constexpr (sizeof(T) == 4) {
    There<T> const huge(std::vector<T>(70000, 1e25f));
    CHECK(device.sum_squares(huge.data(), 70000) == doctest::Approx(7e54));
  }
}

// ---- random numbers ----

template <class T>
void check_random() {
  auto const& cpu = heed::kernels<heed::RandomKernels>().of<T>();
  auto const& device = heed::device_random_kernels.of<T>();
  for (int64_t const n : {0, 1, 2, 3, 7, 255, 2048, 2051, 5003})
    for (heed::Draw const draw : {heed::Draw{0, 0}, heed::Draw{0x123456789abcdef, 0xfedcba9876543210}}) {
      CAPTURE(n);
      std::vector<T> y(static_cast<size_t>(n));
      There<T> const there(y.size(), size_t(n % 2));
      cpu.uniform(y.data(), n, draw);
      device.uniform(there.data(), n, draw);
      CHECK(same_bits(there.back(), y));
      cpu.normal(y.data(), n, draw);
      device.normal(there.data(), n, draw);
      compare("random.normal", there.back(), y, 4, 1e-3);
      std::vector<T> x = numbers<T>(n, 3);
      for (size_t i = 0; i < x.size(); i += 3) x[i] = nan_of<T>;
      There<T> const x_there(x, 1);
      for (double const p : {0., 0.3, 1.}) {
        cpu.dropout(x.data(), y.data(), n, p, draw);
        device.dropout(x_there.data(), there.data(), n, p, draw);
        compare("random.dropout", there.back(), y, 0);
      }
    }
}

template <class F>
void both(F const& f) {
  Clean const clean;
  f(float());
  f(double());
}

}  // namespace

TEST_CASE("device reductions are the CPU's") {
  both([](auto t) { check_reduce<decltype(t)>(); });
}
TEST_CASE("device softmax and its gradients are the CPU's") {
  both([](auto t) { check_softmax<decltype(t)>(); });
}
TEST_CASE("device layer norm and RMS norm are the CPU's") {
  both([](auto t) { check_row_norms<decltype(t)>(); });
}
TEST_CASE("device batch norm is the CPU's") {
  both([](auto t) { check_batch_norm<decltype(t)>(); });
}
TEST_CASE("device cross-entropy is the CPU's") {
  both([](auto t) { check_cross_entropy<decltype(t)>(); });
}
TEST_CASE("device embedding gives the CPU's bits") {
  both([](auto t) { check_embedding<decltype(t)>(); });
  check_many_uses();
}
TEST_CASE("device optimiser steps are the CPU's") {
  both([](auto t) { check_optimise<decltype(t)>(); });
}
TEST_CASE("device random numbers are the CPU's") {
  both([](auto t) { check_random<decltype(t)>(); });
  Clean const clean;
  for (int64_t const n : {0, 1, 5, 2050}) {
    std::vector<uint32_t> y(static_cast<size_t>(n));
    There<uint32_t> const there(y.size());
    heed::kernels<heed::RandomKernels>().words(y.data(), n, {1, 2});
    heed::device_random_kernels.words(there.data(), n, {1, 2});
    CHECK(same_bits(there.back(), y));
  }
}

TEST_CASE("device kernels give the same bits in every order of threads, at every alignment") {
  Clean const clean;
  heed::emu::Settings const before = heed::emu::settings();
  constexpr size_t n = 9001, rows = 2;
  std::vector<float> const x = numbers<float>(rows * n, 1), g = numbers<float>(rows * n, 2);
  std::vector<std::vector<float>> first;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    heed::emu::settings().seed = seed;
    size_t const shift = size_t(seed % 4);
    There<float> const x_there(x, shift), g_there(g, 3 - shift), y(x.size(), shift), sums(rows), columns(n), mean(rows),
        rstd(rows), dx(x.size());
    auto const& reduce = heed::device_reduce_kernels.f32;
    std::vector<std::vector<float>> results;
    reduce.sum(x_there.data(), sums.data(), rows, n, 1);
    results.push_back(sums.back());
    reduce.logsumexp(x_there.data(), columns.data(), 1, rows, n);
    results.push_back(columns.back());
    heed::device_softmax_kernels.f32.softmax(x_there.data(), n, y.data(), rows, n);
    results.push_back(y.back());
    auto const& norm = heed::device_norm_kernels.f32;
    norm.layer_norm(x_there.data(), nullptr, nullptr, 1e-5, y.data(), mean.data(), rstd.data(), rows, n);
    results.push_back(y.back());
    norm.layer_norm_backward(g_there.data(), x_there.data(), nullptr, mean.data(), rstd.data(), dx.data(),
                             columns.data(), nullptr, rows, n);
    results.push_back(dx.back());
    results.push_back(columns.back());
    if (seed == 0) first = results;
    for (size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], first[i]));
  }
  heed::emu::settings() = before;
  if (std::getenv("HEED_ROWS_REPORT"))
    for (auto const& [entry, error] : worst()) std::printf("%-44s %.2g\n", entry.c_str(), error);
}
