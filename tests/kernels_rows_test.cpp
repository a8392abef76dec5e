// The row kernels against plain f64 loops, on every level this processor has, and for 1, 2 and 4 threads bit by bit.
#include <doctest/doctest.h>
#include <heed/engine/isa.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/cross_entropy.h>
#include <heed/engine/ops/embedding.h>
#include <heed/engine/ops/norm.h>
#include <heed/engine/ops/optimise.h>
#include <heed/engine/ops/random.h>
#include <heed/engine/ops/reduce.h>
#include <heed/engine/ops/softmax.h>
#include <heed/engine/parallel.h>
#include <heed/engine/random.h>
#include <heed/tests/support/skip.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

using namespace heed;

namespace {

template <class T>
using Values = std::vector<T>;
template <class T>
constexpr T inf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr double eps = std::numeric_limits<T>::epsilon();

/// Numbers in [-scale, scale), the same everywhere.
template <class T>
Values<T> numbers(int64_t n, uint32_t key, double scale = 2) {
  Values<T> v(size_t(n), T(0));
  for (int64_t i = 0; i < n; ++i)
    v[size_t(i)] = T((philox4x32({uint32_t(i), 0, 0, 0}, {key, 1})[0] * 0x1p-31 - 1) * scale);
  return v;
}

/// f(T{}) for float and double on every level.
template <class F>
void every_type(F f) {
  heed::test::on_every_isa([&] {
    f(float{});
    f(double{});
  });
}

template <class T>
bool same_bits(Values<T> const& a, Values<T> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Largest |a - b| / (1 + |b|); infinite where only one is NaN or the infinities differ.
template <class A, class B>
double distance(Values<A> const& a, Values<B> const& b) {
  if (a.size() != b.size()) return inf<double>;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double const x = double(a[i]), y = double(b[i]);
    if (std::isnan(x) && std::isnan(y)) continue;
    if (x == y) continue;
    double const d = std::abs(x - y) / (1 + std::abs(y));
    worst = std::isnan(d) || std::isinf(y) ? inf<double> : std::max(worst, d);
  }
  return worst;
}

/// run() gives the same bytes with 1, 2 and 4 threads.
template <class F>
void same_for_any_thread_count(F run) {
  int const before = thread_count();
  set_thread_count(1);
  auto const expected = run();
  for (int threads : {2, 4}) {
    set_thread_count(threads);
    for (int repeat = 0; repeat < 3; ++repeat) CHECK(same_bits(run(), expected));
  }
  set_thread_count(before);
}

struct RowsCase {
  int64_t rows, n;
};
constexpr RowsCase row_cases[] = {{0, 5},  {3, 1},  {1, 2},    {7, 3},    {5, 16},   {9, 31},
                                  {4, 64}, {3, 77}, {13, 257}, {6, 1000}, {2, 4099}, {70, 513}};
constexpr RowsCase long_rows[] = {{2, 140001}, {1, 70000}};

/// References accumulate wider than double, or their own rounding would count against the f64 kernels.
using Exact = long double;

Exact log_sum_exp(double const* x, int64_t n) {
  double top = -inf<double>;
  Exact sum = 0;
  for (int64_t j = 0; j < n; ++j) top = std::max(top, x[j]);
  for (int64_t j = 0; j < n; ++j) sum += std::exp(Exact(x[j]) - top);
  return top + std::log(sum);
}

template <class T>
Values<double> wide(Values<T> const& v) {
  return {v.begin(), v.end()};
}

template <class T>
void check_softmax(RowsCase c, bool strided) {
  auto const& k = kernels<SoftmaxKernels>().of<T>();
  auto const [rows, n] = c;
  CAPTURE(rows);
  CAPTURE(n);
  int64_t const stride = strided ? n + 5 : n;
  auto const x = numbers<T>(rows * stride, 1, 8), g = numbers<T>(rows * n, 2);
  Values<T> y(size_t(rows * n)), ly(y), dx(y), ldx(y);
  k.softmax(x.data(), stride, y.data(), rows, n);
  k.log_softmax(x.data(), stride, ly.data(), rows, n);
  k.softmax_backward(g.data(), y.data(), dx.data(), rows, n);
  k.log_softmax_backward(g.data(), ly.data(), ldx.data(), rows, n);
  Values<double> ey, ely, edx, eldx;
  auto const X = wide(x), G = wide(g);
  for (int64_t r = 0; r < rows; ++r) {
    Exact const lse = log_sum_exp(&X[size_t(r * stride)], n);
    Exact dot = 0, sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      ely.push_back(double(X[size_t(r * stride + j)] - lse));
      ey.push_back(double(std::exp(X[size_t(r * stride + j)] - lse)));
      dot += G[size_t(r * n + j)] * ey.back();
      sum += G[size_t(r * n + j)];
    }
    for (int64_t j = 0; j < n; ++j) {
      edx.push_back(double(ey[size_t(r * n + j)] * (G[size_t(r * n + j)] - dot)));
      eldx.push_back(double(G[size_t(r * n + j)] - ey[size_t(r * n + j)] * sum));
    }
  }
  CHECK(distance(y, ey) < 8 * eps<T>);
  CHECK(distance(ly, ely) < 8 * eps<T>);
  CHECK(distance(dx, edx) < 16 * eps<T>);
  CHECK(distance(ldx, eldx) < 32 * eps<T>);
  for (int64_t r = 0; r < rows; ++r) {
    Exact sum = 0;
    double relative = 0;
    for (int64_t j = 0; j < n; ++j) {
      sum += Exact(y[size_t(r * n + j)]);
      relative = std::max(relative, std::abs(double(y[size_t(r * n + j)]) / ey[size_t(r * n + j)] - 1));
    }
    CHECK(std::abs(double(sum - 1)) < 16 * eps<T>);
    CHECK(relative < 32 * eps<T>);
  }
}

}  // namespace

TEST_CASE("softmax kernels agree with plain loops") {
  every_type([]<class T>(T) {
    for (auto c : row_cases) {
      check_softmax<T>(c, false);
      check_softmax<T>(c, true);
    }
    for (auto c : long_rows) check_softmax<T>(c, false);
  });
}

TEST_CASE("softmax of NaN and infinities") {
  every_type([]<class T>(T) {
    auto const& k = kernels<SoftmaxKernels>().of<T>();
    for (int64_t n : {1, 3, 16, 37, 5000, 140000}) {
      CAPTURE(n);
      for (int64_t at : {int64_t{0}, n / 2, n - 1}) {
        CAPTURE(at);
        for (int what = 0; what < 4; ++what) {
          Values<T> x(size_t(n), T(1)), y(x), ly(x);
          bool all_nan = true;
          if (what == 0) x[size_t(at)] = not_a_number<T>;
          if (what == 1) x[size_t(at)] = inf<T>;
          if (what == 2) std::fill(x.begin(), x.end(), -inf<T>);
          if (what == 3) x[size_t(at)] = -inf<T>, all_nan = n == 1;
          k.softmax(x.data(), n, y.data(), 1, n);
          k.log_softmax(x.data(), n, ly.data(), 1, n);
          CAPTURE(what);
          int wrong = 0;
          for (int64_t j = 0; j < n; ++j) {
            if (all_nan)
              wrong += !std::isnan(y[size_t(j)]) + !std::isnan(ly[size_t(j)]);
            else if (j == at)
              wrong += !(y[size_t(j)] == 0) + !(ly[size_t(j)] == -inf<T>);
            else
              wrong += !(std::abs(double(y[size_t(j)]) * double(n - 1) - 1) < 16 * eps<T>);
          }
          CHECK(wrong == 0);
        }
      }
    }
    // far below the maximum: exactly 0 or negligible, never negative or NaN
    Values<T> x(50), y(50);
    for (int j = 0; j < 50; ++j) x[size_t(j)] = T(-20 * j);
    k.softmax(x.data(), 50, y.data(), 1, 50);
    for (T v : y) CHECK((v >= 0 && v <= 1));
    CHECK(y[49] == 0);
  });
}

TEST_CASE("layer and RMS norm kernels agree with plain loops") {
  every_type([]<class T>(T) {
    auto const& k = kernels<NormKernels>().of<T>();
    for (auto [rows, n] : row_cases)
      for (int variant = 0; variant < 4; ++variant) {
        CAPTURE(rows);
        CAPTURE(n);
        CAPTURE(variant);
        bool const has_weight = variant & 1, has_bias = variant & 2;
        double const epsilon = 1e-5;
        auto x = numbers<T>(rows * n, 1);
        for (auto& v : x) v += T(3);
        auto const w = numbers<T>(n, 2), b = numbers<T>(n, 3), g = numbers<T>(rows * n, 4);
        Values<T> y(x.size()), mean(static_cast<size_t>(rows)), rstd(mean), dx(y), dw(static_cast<size_t>(n)), db(dw);
        Values<T> ry(y), rrstd(rstd), rdx(y), rdw(dw);
        T const *const pw = has_weight ? w.data() : nullptr, *const pb = has_bias ? b.data() : nullptr;
        k.layer_norm(x.data(), pw, pb, epsilon, y.data(), mean.data(), rstd.data(), rows, n);
        k.layer_norm_backward(g.data(), x.data(), pw, mean.data(), rstd.data(), dx.data(), dw.data(), db.data(), rows,
                              n);
        k.rms_norm(x.data(), pw, epsilon, ry.data(), rrstd.data(), rows, n);
        k.rms_norm_backward(g.data(), x.data(), pw, rrstd.data(), rdx.data(), rdw.data(), rows, n);
        for (int centred = 0; centred < 2; ++centred) {
          CAPTURE(centred);
          Values<Exact> ey, emean, erstd, edx, edw(static_cast<size_t>(n)), edb(static_cast<size_t>(n));
          for (int64_t r = 0; r < rows; ++r) {
            auto X = [&](int64_t j) { return Exact(x[size_t(r * n + j)]); };
            auto G = [&](int64_t j) { return Exact(g[size_t(r * n + j)]); };
            auto W = [&](int64_t j) { return has_weight ? Exact(w[size_t(j)]) : 1; };
            Exact m = 0, var = 0, a = 0, c = 0;
            for (int64_t j = 0; centred && j < n; ++j) m += X(j) / Exact(n);
            for (int64_t j = 0; j < n; ++j) var += (X(j) - m) * (X(j) - m) / Exact(n);
            Exact const s = 1 / std::sqrt(var + epsilon);
            for (int64_t j = 0; j < n; ++j) {
              Exact const h = (X(j) - m) * s;
              ey.push_back(h * W(j) + (has_bias && centred ? double(b[size_t(j)]) : 0.));
              if (centred) a += G(j) * W(j) / Exact(n);
              c += G(j) * W(j) * h / Exact(n);
              edw[size_t(j)] += G(j) * h;
              edb[size_t(j)] += G(j);
            }
            for (int64_t j = 0; j < n; ++j) edx.push_back(s * (G(j) * W(j) - a - (X(j) - m) * s * c));
            emean.push_back(m);
            erstd.push_back(s);
          }
          double const bound = 64 * eps<T>;
          if (centred && n > 2) {  // with n <= 2 the rounding of x - mean is magnified by up to 1/sqrt(eps)
            CHECK(distance(y, ey) < bound);
            CHECK(distance(mean, emean) < bound);
            CHECK(distance(rstd, erstd) < bound);
            CHECK(distance(dx, edx) < bound);
            CHECK(distance(dw, edw) < bound);
            CHECK(distance(db, edb) < bound);
          } else if (!centred) {
            CHECK(distance(ry, ey) < bound);
            CHECK(distance(rrstd, erstd) < bound);
            CHECK(distance(rdx, edx) < bound);
            CHECK(distance(rdw, edw) < bound);
          }
        }
        // leaving outputs out changes nothing in the others
        Values<T> dx2(y.size()), dw2(static_cast<size_t>(n)), db2(static_cast<size_t>(n));
        k.layer_norm_backward(g.data(), x.data(), pw, mean.data(), rstd.data(), dx2.data(), nullptr, nullptr, rows, n);
        k.layer_norm_backward(g.data(), x.data(), pw, mean.data(), rstd.data(), nullptr, dw2.data(), nullptr, rows, n);
        k.layer_norm_backward(g.data(), x.data(), pw, mean.data(), rstd.data(), nullptr, nullptr, db2.data(), rows, n);
        CHECK(same_bits(dx2, dx));
        CHECK(same_bits(dw2, dw));
        CHECK(same_bits(db2, db));
      }
    // a large mean does not drown the variance
    Values<T> x(100), y(100), mean(1), rstd(1);
    for (size_t j = 0; j < 100; ++j) x[j] = T(4096 + (j % 2 ? 1 : -1));
    k.layer_norm(x.data(), nullptr, nullptr, 0, y.data(), mean.data(), rstd.data(), 1, 100);
    for (size_t j = 0; j < 100; ++j) CHECK(double(y[j]) == doctest::Approx(j % 2 ? 1 : -1).epsilon(1e-6));
    Values<T> odd(7, T(1));
    odd[3] = not_a_number<T>;
    k.layer_norm(odd.data(), nullptr, nullptr, 1e-5, y.data(), mean.data(), rstd.data(), 1, 7);
    for (size_t j = 0; j < 7; ++j) CHECK(std::isnan(y[j]));
  });
}

TEST_CASE("cross-entropy kernels agree with plain loops") {
  every_type([]<class T>(T) {
    auto const& k = kernels<CrossEntropyKernels>().of<T>();
    for (auto [rows, n] : row_cases)
      for (double smoothing : {0., 0.1}) {
        CAPTURE(rows);
        CAPTURE(n);
        CAPTURE(smoothing);
        auto const x = numbers<T>(rows * n, 1, 6), g = numbers<T>(rows, 2);
        std::vector<int64_t> targets;
        for (int64_t r = 0; r < rows; ++r) targets.push_back(r % 4 == 3 ? -100 : r * 7 % n);
        Values<T> loss(static_cast<size_t>(rows)), lse(loss), dx(x.size(), not_a_number<T>);
        k.forward(x.data(), targets.data(), -100, smoothing, loss.data(), lse.data(), rows, n);
        k.backward(x.data(), targets.data(), -100, smoothing, lse.data(), g.data(), dx.data(), rows, n);
        auto const X = wide(x);
        Values<double> eloss, else_, edx;
        for (int64_t r = 0; r < rows; ++r) {
          Exact const l = log_sum_exp(&X[size_t(r * n)], n);
          bool const ignored = targets[size_t(r)] == -100;
          Exact sum = 0;
          for (int64_t j = 0; j < n; ++j) {
            double const v = X[size_t(r * n + j)];
            double const q = (1 - smoothing) * (j == targets[size_t(r)]) + smoothing / Exact(n);
            sum += q * (l - v);
            edx.push_back(ignored ? 0 : double((std::exp(v - l) - q) * Exact(g[size_t(r)])));
          }
          eloss.push_back(ignored ? 0 : double(sum));
          else_.push_back(double(l));
        }
        CHECK(distance(loss, eloss) < 16 * eps<T>);
        CHECK(distance(lse, else_) < 16 * eps<T>);
        CHECK(distance(dx, edx) < 32 * eps<T>);
      }
    // shifted logits: the loss does not cancel
    Values<T> x = {T(10000), T(9999), T(9990)}, loss(1), lse(1);
    int64_t target = 0;
    k.forward(x.data(), &target, -100, 0, loss.data(), lse.data(), 1, 3);
    CHECK(double(loss[0]) == doctest::Approx(std::log(1 + std::exp(-1.) + std::exp(-10.))).epsilon(4 * eps<T>));
    // a class ruled out: infinite loss, finite gradient
    x = {T(1), -inf<T>, T(0)};
    target = 1;
    T const one = 1;
    Values<T> dx(3);
    k.forward(x.data(), &target, -100, 0, loss.data(), lse.data(), 1, 3);
    k.backward(x.data(), &target, -100, 0, lse.data(), &one, dx.data(), 1, 3);
    CHECK(loss[0] == inf<T>);
    CHECK(dx[1] == -1);
    for (T bad : {inf<T>, not_a_number<T>}) {
      x = {T(1), bad, T(0)};
      target = 0;
      k.forward(x.data(), &target, -100, 0, loss.data(), lse.data(), 1, 3);
      CHECK(std::isnan(loss[0]));
    }
  });
}

namespace {
struct Axis {
  int64_t outer, n, inner;
};
constexpr Axis axes[] = {{0, 3, 2},     {2, 0, 3},     {2, 3, 0},      {1, 1, 1},      {5, 7, 1},
                         {3, 1000, 1},  {2, 4097, 1},  {1, 150001, 1}, {2, 131072, 1}, {4, 5, 3},
                         {2, 1001, 3},  {1, 70001, 5}, {3, 40, 33},    {2, 33, 64},    {1, 300, 129},
                         {2, 100, 700}, {1, 3000, 40}, {1, 9, 1500},   {3, 2500, 17},  {1, 2000, 70}};

template <class T>
std::vector<std::vector<T>> reduced(Values<T> const& x, Axis a) {
  auto const& k = kernels<ReduceKernels>().of<T>();
  std::vector<std::vector<T>> out;
  for (auto f : {k.sum, k.prod, k.sum_squares, k.logsumexp, k.max, k.min}) {
    Values<T> y(static_cast<size_t>(a.outer * a.inner), not_a_number<T>);
    if (a.n > 0 || out.size() < 4) f(x.data(), y.data(), a.outer, a.n, a.inner);
    out.push_back(y);
  }
  return out;
}
template <class T>
std::vector<int64_t> found(Values<T> const& x, Axis a, bool largest) {
  auto const& k = kernels<ReduceKernels>().of<T>();
  std::vector<int64_t> y(static_cast<size_t>(a.outer * a.inner), -1);
  (largest ? k.argmax : k.argmin)(x.data(), y.data(), a.outer, a.n, a.inner);
  return y;
}
}  // namespace

TEST_CASE("reductions agree with plain loops") {
  every_type([]<class T>(T) {
    for (Axis a : axes)
      for (int special = 0; special < 4; ++special) {
        CAPTURE(a.outer);
        CAPTURE(a.n);
        CAPTURE(a.inner);
        CAPTURE(special);
        auto x = numbers<T>(a.outer * a.n * a.inner, 5, 1);
        for (auto& v : x) v += T(1.0003);  // products neither vanish nor explode too fast
        if (a.n > 200)
          for (auto& v : x) v = T(1) + (v - T(1)) / T(64);
        auto put = [&](T value, size_t step) {
          for (size_t i = step / 2; i < x.size(); i += step) x[i] = value;
        };
        if (special == 1) put(not_a_number<T>, 301);
        if (special == 2) put(inf<T>, 97), put(-inf<T>, 89);
        if (special == 3)
          for (auto& v : x) v = T(std::round(double(v) * 8)) / 8;  // many ties
        auto const X = wide(x);
        Values<double> e[6];
        std::vector<int64_t> amax, amin;
        for (int64_t o = 0; o < a.outer; ++o)
          for (int64_t j = 0; j < a.inner; ++j) {
            Exact sum = 0, prod = 1, squares = 0;
            double top = -inf<double>, low = inf<double>;
            int64_t at_top = -1, at_low = -1;
            for (int64_t i = 0; i < a.n; ++i) {
              double const v = X[size_t((o * a.n + i) * a.inner + j)];
              sum += v, prod *= v, squares += Exact(v) * v;
              if (i == 0 || (!std::isnan(top) && (v > top || std::isnan(v)))) top = v, at_top = i;
              if (i == 0 || (!std::isnan(low) && (v < low || std::isnan(v)))) low = v, at_low = i;
            }
            Exact exps = 0;
            for (int64_t i = 0; i < a.n; ++i) {
              double const v = X[size_t((o * a.n + i) * a.inner + j)];
              exps += std::exp(Exact(v) - (std::isinf(top) ? 0 : top));
            }
            e[0].push_back(double(sum)), e[1].push_back(double(T(prod))), e[2].push_back(double(squares));
            e[3].push_back(double((std::isinf(top) && a.n > 0 ? 0 : top) + std::log(exps)));
            if (a.n == 0) e[3].back() = -inf<double>;
            e[4].push_back(a.n ? top : not_a_number<double>), e[5].push_back(a.n ? low : not_a_number<double>);
            amax.push_back(at_top), amin.push_back(at_low);
          }
        auto const y = reduced(x, a);
        double const steps = 8 + std::log2(double(a.n + 1));
        CHECK(distance(y[0], e[0]) < steps * eps<T>);
        if (special != 2) CHECK(distance(y[1], e[1]) < (8 + 4 * std::sqrt(double(a.n))) * eps<T> * 4);
        CHECK(distance(y[2], e[2]) < steps * eps<T>);
        CHECK(distance(y[3], e[3]) < steps * eps<T>);
        CHECK(distance(y[4], e[4]) == 0);
        CHECK(distance(y[5], e[5]) == 0);
        if (a.n > 0) {
          CHECK(found(x, a, true) == amax);
          CHECK(found(x, a, false) == amin);
        }
      }
  });
}

TEST_CASE("long f32 sums stay accurate") {
  heed::test::on_every_isa([] {
    auto const& k = kernels<ReduceKernels>().f32;
    int64_t const n = 10'000'019;
    auto x = numbers<float>(n, 9, 0.5);
    for (auto& v : x) v += 0.7f;
    double exact = 0;
    for (float v : x) exact += double(v);
    float sum;
    k.sum(x.data(), &sum, 1, n, 1);
    CHECK(std::abs(double(sum) - exact) < 4 * eps<float> * exact);
    Values<float> columns(7);
    k.sum(x.data(), columns.data(), 1, n / 7, 7);
    for (size_t j = 0; j < 7; ++j) {
      double e = 0;
      for (size_t i = j; i < size_t(n / 7 * 7); i += 7) e += double(x[i]);
      CHECK(std::abs(double(columns[j]) - e) < 4 * eps<float> * e);
    }
  });
}

TEST_CASE("embedding kernels agree with plain loops") {
  every_type([]<class T>(T) {
    auto const& k = kernels<EmbeddingKernels>().of<T>();
    struct Case {
      int64_t count, rows, n;
    };
    for (auto [count, rows, n] : {Case{0, 4, 3}, {5, 1, 7}, {100, 10, 1}, {1000, 37, 65}, {7, 3000, 16}, {40, 9, 0}})
      for (int64_t padding : {-1, 0}) {
        auto const table = numbers<T>(rows * n, 1), g = numbers<T>(count * n, 2);
        std::vector<int64_t> index;
        for (int64_t i = 0; i < count; ++i) index.push_back(i * i % rows);
        Values<T> out(static_cast<size_t>(count * n)), d(static_cast<size_t>(rows * n), not_a_number<T>),
            ed(d.size(), T(0)), eout;
        k.forward(table.data(), index.data(), out.data(), count, rows, n);
        k.backward(g.data(), index.data(), padding, d.data(), count, rows, n);
        for (int64_t i = 0; i < count; ++i)
          for (int64_t j = 0; j < n; ++j) {
            eout.push_back(table[size_t(index[size_t(i)] * n + j)]);
            if (index[size_t(i)] != padding) ed[size_t(index[size_t(i)] * n + j)] += g[size_t(i * n + j)];
          }
        CHECK(same_bits(out, eout));
        CHECK(distance(d, ed) == 0);  // the same order of additions
      }
  });
}

TEST_CASE("Philox, uniforms and dropout have the same bits on every level") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  heed::test::on_every_isa([] {
    auto const& k = kernels<RandomKernels>();
    uint32_t first[4];
    k.words(first, 4, {0, 0});
    CHECK(first[0] == 0x6627e8d5);
    CHECK(first[3] == 0x9b00dbd8);
    Draw const draw{0x299f31d0a4093822, 0x0370734413198a2e};
    for (int64_t n : {0, 1, 5, 255, 256, 257, 4099, 50001}) {
      CAPTURE(n);
      std::vector<uint32_t> words(static_cast<size_t>(2 * n)), expected;
      k.words(words.data(), 2 * n, draw);
      for (int64_t i = 0; i < 2 * n; ++i)
        expected.push_back(philox4x32({uint32_t(i / 4), 0, uint32_t(draw.offset), uint32_t(draw.offset >> 32)},
                                      {uint32_t(draw.seed), uint32_t(draw.seed >> 32)})[size_t(i % 4)]);
      CHECK(words == expected);
      Values<float> u(static_cast<size_t>(n)), eu, x = numbers<float>(n, 1), y(u), ey;
      Values<double> v(static_cast<size_t>(n)), ev, xd = wide(x), yd(v), eyd;
      k.f32.uniform(u.data(), n, draw);
      k.f64.uniform(v.data(), n, draw);
      k.f32.dropout(x.data(), y.data(), n, 0.3, draw);
      k.f64.dropout(xd.data(), yd.data(), n, 0.3, draw);
      for (size_t i = 0; i < size_t(n); ++i) {
        eu.push_back(float(expected[i] >> 8) * 0x1p-24f);
        uint64_t const bits = (uint64_t(expected[2 * i] >> 5) << 26) | (expected[2 * i + 1] >> 6);
        ev.push_back(double(bits) * 0x1p-53);
        bool const keep = expected[i] >= uint32_t(0.3 * 0x1p32);
        ey.push_back(keep ? x[i] * float(1 / 0.7) : 0);
        eyd.push_back(keep ? xd[i] * (1 / 0.7) : 0);
      }
      CHECK(same_bits(u, eu));
      CHECK(same_bits(v, ev));
      CHECK(distance(y, ey) == 0);
      CHECK(distance(yd, eyd) < 2 * eps<double>);
      k.f32.dropout(x.data(), y.data(), n, 0, draw);
      CHECK(same_bits(y, x));
      k.f32.dropout(x.data(), y.data(), n, 1, draw);
      CHECK(distance(y, Values<double>(size_t(n), 0)) == 0);
    }
  });
}

TEST_CASE("normals follow Box-Muller and have the moments of a normal") {
  every_type([]<class T>(T) {
    auto const& k = kernels<RandomKernels>().of<T>();
    int64_t const n = 200'001;
    Values<T> u(static_cast<size_t>(n + 1)), y(static_cast<size_t>(n), not_a_number<T>);
    k.uniform(u.data(), n + 1, {7, 3});
    k.normal(y.data(), n, {7, 3});
    Values<double> e;
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
    for (size_t i = 0; i < size_t(n); ++i) {
      double const r = std::sqrt(-2 * std::log1p(-double(u[i & ~size_t{1}])));
      double const angle = 2 * 3.14159265358979323846 * double(u[i | 1]);
      e.push_back(r * (i & 1 ? std::sin(angle) : std::cos(angle)));
      double const z = double(y[i]);
      m1 += z, m2 += z * z, m3 += z * z * z, m4 += z * z * z * z;
    }
    CHECK(distance(y, e) < 32 * eps<T>);
    CHECK(std::abs(m1 / double(n)) < 0.01);
    CHECK(std::abs(m2 / double(n) - 1) < 0.02);
    CHECK(std::abs(m3 / double(n)) < 0.04);
    CHECK(std::abs(m4 / double(n) - 3) < 0.1);
    Values<T> head(77);
    k.normal(head.data(), 77, {7, 3});
    CHECK(same_bits(head, Values<T>(y.begin(), y.begin() + 77)));
  });
}

namespace {
template <class E>
void check_copies(std::vector<int64_t> shape, std::vector<int64_t> strides, int64_t origin, int64_t extent,
                  bool scatterable) {
  auto const& k = kernels<CopyKernels>();
  int64_t const count =
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, [](int64_t a, int64_t b) { return a * b; });
  std::vector<E> source(static_cast<size_t>(extent)), out(static_cast<size_t>(count)), expected,
      back(source.size(), E(7)), eback(back);
  for (size_t i = 0; i < source.size(); ++i) source[i] = E(i * 2654435761u);
  k.gather(source.data() + origin, strides.data(), out.data(), shape.data(), int(shape.size()), sizeof(E));
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at = origin;
    for (size_t a = shape.size(); a-- > 0;) at += rest % shape[a] * strides[a], rest /= shape[a];
    expected.push_back(source[size_t(at)]);
    eback[size_t(at)] = expected.back();
  }
  CHECK(out == expected);
  if (!scatterable) return;
  k.scatter(out.data(), back.data() + origin, strides.data(), shape.data(), int(shape.size()), sizeof(E));
  CHECK(back == eback);
}
}  // namespace

TEST_CASE("copies between strided and contiguous") {
  heed::test::on_every_isa([] {
    auto const all = [](auto... args) {
      check_copies<uint8_t>(args...);
      check_copies<uint16_t>(args...);
      check_copies<uint32_t>(args...);
      check_copies<uint64_t>(args...);
    };
    using V = std::vector<int64_t>;
    all(V{}, V{}, 0, 1, true);
    all(V{0}, V{1}, 0, 1, true);
    all(V{3, 0, 2}, V{2, 2, 1}, 0, 6, true);
    all(V{100000}, V{1}, 0, 100000, true);
    all(V{70001}, V{3}, 0, 3 * 70001, true);
    all(V{1000}, V{-1}, 999, 1000, true);
    all(V{17}, V{0}, 0, 1, false);
    all(V{5, 7}, V{7, 1}, 0, 35, true);
    all(V{5, 7}, V{1, 5}, 0, 35, true);
    all(V{300, 211}, V{1, 300}, 0, 300 * 211, true);
    all(V{64, 64}, V{1, 64}, 0, 64 * 64, true);
    all(V{100, 90}, V{2, 250}, 0, 250 * 90, true);
    all(V{40, 50}, V{-1, 40}, 39, 2000, true);
    all(V{6, 9, 11}, V{11, 66, 1}, 0, 6 * 9 * 11, true);
    all(V{6, 9, 11}, V{1, 66, 6}, 0, 6 * 9 * 11, true);
    all(V{2, 5, 33, 17}, V{5 * 33 * 17, 1, 5 * 17, 5}, 0, 2 * 5 * 33 * 17, true);
    all(V{3, 20, 30}, V{0, 30, 1}, 0, 600, false);
    all(V{20, 30, 3}, V{30, 1, 0}, 0, 600, false);
    all(V{20, 3, 30}, V{30, 0, 1}, 0, 600, false);
    all(V{4, 1, 70000}, V{70000, 3, 1}, 0, 280000, true);
    all(V{2, 3, 2, 3, 2, 3, 2, 3}, V{1, 2, 6, 12, 36, 72, 216, 432}, 0, 1296, true);
    uint16_t const value = 0xabcd;
    std::vector<uint16_t> filled(100001);
    kernels<CopyKernels>().fill(&value, filled.data(), 100001, 2);
    CHECK(std::count(filled.begin(), filled.end(), value) == 100001);
  });
}

TEST_CASE("casts between element types") {
  heed::test::on_every_isa([] {
    auto const& k = kernels<CopyKernels>();
    constexpr int64_t n = 20011;
    auto const check_pair = [&]<class S, class D>(S, D) {
      Values<double> const seeds = numbers<double>(n, 3, 100);
      std::unique_ptr<S[]> x(new S[n]);
      std::unique_ptr<D[]> y(new D[n]);
      int wrong = 0;
      for (int64_t i = 0; i < n; ++i)
        x[size_t(i)] =
            S(std::is_same_v<S, uint8_t> || std::is_same_v<D, uint8_t> ? std::abs(seeds[size_t(i)]) : seeds[size_t(i)]);
      k.cast(x.get(), dtype_of<S>, y.get(), dtype_of<D>, n);
      for (int64_t i = 0; i < n; ++i) wrong += y[size_t(i)] != D(x[size_t(i)]);
      CHECK(wrong == 0);
    };
    auto const from = [&]<class S>(S s) {
      check_pair(s, float{}), check_pair(s, double{}), check_pair(s, int32_t{}), check_pair(s, int64_t{});
      check_pair(s, uint8_t{}), check_pair(s, bool{});
    };
    from(float{}), from(double{}), from(int32_t{}), from(int64_t{}), from(uint8_t{}), from(bool{});
    float const special[] = {not_a_number<float>, -0.f, inf<float>, 1e-40f};
    bool truth[4];
    k.cast(special, Dtype::f32, truth, Dtype::boolean, 4);
    CHECK((truth[0] && !truth[1] && truth[2] && truth[3]));
  });
}

TEST_CASE("optimiser steps follow PyTorch's formulas") {
  every_type([]<class T>(T) {
    auto const& k = kernels<OptimiseKernels>().of<T>();
    for (int64_t n : {0, 1, 7, 64, 1003, 40001})
      for (double beta1 : {0.9, 0.3}) {
        CAPTURE(n);
        auto p = numbers<T>(n, 1), m = Values<T>(p.size()), v = m, q = p, b = m;
        auto P = wide(p), M = wide(m), V = wide(v), Q = P, B = M;
        for (int t = 1; t <= 4; ++t) {
          auto const g = numbers<T>(n, uint32_t(10 + t));
          AdamwStep const step{.lr = 1e-2,
                               .beta1 = beta1,
                               .beta2 = 0.99,
                               .eps = 1e-8,
                               .weight_decay = 0.1,
                               .correction1 = 1 - std::pow(beta1, t),
                               .correction2 = 1 - std::pow(0.99, t),
                               .grad_scale = 0.5};
          SgdStep const slide{.lr = 0.1,
                              .momentum = t < 4 ? 0.9 : 0,
                              .dampening = 0.2,
                              .weight_decay = 0.01,
                              .nesterov = beta1 == 0.9,
                              .first = t == 1,
                              .grad_scale = 0.5};
          k.adamw(p.data(), g.data(), m.data(), v.data(), nullptr, n, step);
          k.sgd(q.data(), g.data(), t < 4 ? b.data() : nullptr, n, slide);
          for (size_t i = 0; i < size_t(n); ++i) {
            double const gi = double(g[i]) * 0.5;
            P[i] *= 1 - 1e-2 * 0.1;
            M[i] += (1 - beta1) * (gi - M[i]);
            V[i] = V[i] * 0.99 + (1 - 0.99) * gi * gi;
            P[i] -= 1e-2 / step.correction1 * M[i] / (std::sqrt(V[i]) / std::sqrt(step.correction2) + 1e-8);
            double d = gi + 0.01 * Q[i];
            if (slide.momentum != 0) {
              B[i] = slide.first ? d : 0.9 * B[i] + 0.8 * d;
              d = slide.nesterov ? d + 0.9 * B[i] : B[i];
            }
            Q[i] -= 0.1 * d;
          }
        }
        CHECK(distance(m, M) < 8 * eps<T>);
        CHECK(distance(v, V) < 8 * eps<T>);
        CHECK(distance(p, P) < 8 * eps<T>);
        CHECK(distance(q, Q) < 8 * eps<T>);
        Exact squares = 0;
        for (T x : p) squares += Exact(x) * x;
        CHECK(k.sum_squares(p.data(), n) == doctest::Approx(double(squares)).epsilon(16 * eps<T>));
      }
  });
}

TEST_CASE("results do not depend on the number of threads") {
  every_type([]<class T>(T) {
    int64_t const rows = 301, n = 517;
    auto const x = numbers<T>(rows * n, 1), g = numbers<T>(rows * n, 2), w = numbers<T>(n, 3);
    auto const size = x.size();
    auto const& soft = kernels<SoftmaxKernels>().of<T>();
    auto const& norm = kernels<NormKernels>().of<T>();
    auto const& entropy = kernels<CrossEntropyKernels>().of<T>();
    auto const& random = kernels<RandomKernels>().of<T>();
    same_for_any_thread_count([&] {
      Values<T> y(size);
      soft.softmax(x.data(), n, y.data(), rows, n);
      soft.softmax_backward(g.data(), y.data(), y.data(), rows, n);
      return y;
    });
    same_for_any_thread_count([&] {
      Values<T> y(size);
      soft.softmax(x.data(), 0, y.data(), 1, rows * n);
      return y;
    });
    same_for_any_thread_count([&] {
      Values<T> y(size), mean(static_cast<size_t>(rows)), rstd(mean), dx(size), d(static_cast<size_t>(2 * n));
      norm.layer_norm(x.data(), w.data(), w.data(), 1e-5, y.data(), mean.data(), rstd.data(), rows, n);
      norm.layer_norm_backward(g.data(), x.data(), w.data(), mean.data(), rstd.data(), dx.data(), d.data(),
                               d.data() + n, rows, n);
      dx.insert(dx.end(), d.begin(), d.end());
      dx.insert(dx.end(), y.begin(), y.end());
      return dx;
    });
    same_for_any_thread_count([&] {
      std::vector<int64_t> targets(static_cast<size_t>(rows), 5);
      Values<T> loss(static_cast<size_t>(rows)), lse(loss), dx(size);
      entropy.forward(x.data(), targets.data(), -1, 0.1, loss.data(), lse.data(), rows, n);
      entropy.backward(x.data(), targets.data(), -1, 0.1, lse.data(), loss.data(), dx.data(), rows, n);
      return dx;
    });
    for (Axis a :
         {Axis{1, 301 * 517, 1}, {1, 301 * 11, 47}, {301, 517, 1}, {1, 301 * 47, 11}, {7, 43, 517}, {1, 7 * 43, 517}}) {
      same_for_any_thread_count([&] {
        Values<T> all;
        for (auto const& part : reduced(x, a)) all.insert(all.end(), part.begin(), part.end());
        return all;
      });
      same_for_any_thread_count([&] { return found(x, a, true); });
    }
    same_for_any_thread_count([&] {
      std::vector<int64_t> index;
      for (int64_t i = 0; i < rows; ++i) index.push_back(i % 5);
      Values<T> d(static_cast<size_t>(70 * n));
      kernels<EmbeddingKernels>().of<T>().backward(g.data(), index.data(), -1, d.data(), rows, 70, n);
      return d;
    });
    same_for_any_thread_count([&] {
      Values<T> y(3 * size);
      random.uniform(y.data(), rows * n, {1, 2});
      random.normal(y.data() + size, rows * n, {1, 2});
      random.dropout(x.data(), y.data() + 2 * size, rows * n, 0.1, {1, 2});
      return y;
    });
    same_for_any_thread_count(
        [&] { return Values<double>{kernels<OptimiseKernels>().of<T>().sum_squares(x.data(), rows * n)}; });
  });
}
