// The matrix-product kernels of every level against sums in f64.
#include <doctest/doctest.h>
#include <heed/engine/isa.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/parallel.h>
#include <heed/tests/support/skip.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace {

using heed::GemmArgs;

struct Size {
  int64_t m, n, k;
};

void gemm(GemmArgs<float> const& g) { heed::kernels<heed::GemmKernels>().f32.gemm(g); }
void gemm(GemmArgs<double> const& g) { heed::kernels<heed::GemmKernels>().f64.gemm(g); }
void gemm_batched(GemmArgs<float> const& g, int64_t batch, int64_t a, int64_t b, int64_t c) {
  heed::kernels<heed::GemmKernels>().f32.gemm_batched(g, batch, a, b, c);
}
void gemm_batched(GemmArgs<double> const& g, int64_t batch, int64_t a, int64_t b, int64_t c) {
  heed::kernels<heed::GemmKernels>().f64.gemm_batched(g, batch, a, b, c);
}

/// How an operand lies in memory: rows contiguous, columns contiguous, neither, or broadcast along one axis.
enum class Layout { rows, padded_rows, cols, padded_cols, both_strided, same_row, same_col, one_value };
Layout const all_layouts[] = {Layout::rows,         Layout::padded_rows, Layout::cols,     Layout::padded_cols,
                              Layout::both_strided, Layout::same_row,    Layout::same_col, Layout::one_value};

/// A matrix whose every unused element, and a margin on both sides, is NaN. The buffer ends where the margin ends.
template <class T>
struct Matrix {
  static constexpr int64_t margin = 3;
  int64_t rows, cols, row, col;
  std::vector<T> data;

  Matrix(int64_t rows, int64_t cols, Layout layout, uint32_t seed) : rows(rows), cols(cols) {
    switch (layout) {
      case Layout::rows:
        row = cols, col = 1;
        break;
      case Layout::padded_rows:
        row = cols + 3, col = 1;
        break;
      case Layout::cols:
        row = 1, col = rows;
        break;
      case Layout::padded_cols:
        row = 1, col = rows + 5;
        break;
      case Layout::both_strided:
        row = 2 * cols + 1, col = 2;
        break;
      case Layout::same_row:
        row = 0, col = 1;
        break;
      case Layout::same_col:
        row = 1, col = 0;
        break;
      case Layout::one_value:
        row = 0, col = 0;
        break;
    }
    int64_t const used = rows && cols ? (rows - 1) * row + (cols - 1) * col + 1 : 0;
    data.assign(size_t(used + 2 * margin), std::numeric_limits<T>::quiet_NaN());
    std::minstd_rand random(seed + 1);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) at(i, j) = T(int64_t(random() % 2001) - 1000) / T(1000);
    }
  }
  T* begin() { return data.data() + margin; }
  T& at(int64_t i, int64_t j) { return begin()[i * row + j * col]; }
};

/// What gemm should give, and how far rounding may take it.
template <class T>
void compare(Matrix<T>& a, Matrix<T>& b, Matrix<T> const& before, Matrix<T>& c, T const* bias, bool accumulate) {
  double const unit = std::numeric_limits<T>::epsilon() / 2;
  Matrix<T> old = before;
  int64_t wrong = 0;
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) {
      double sum = 0, size = 0;
      for (int64_t p = 0; p < a.cols; ++p) {
        double const term = double(a.at(i, p)) * double(b.at(p, j));
        sum += term, size += std::abs(term);
      }
      if (accumulate) sum += old.at(i, j), size += std::abs(old.at(i, j));
      if (bias) sum += bias[j], size += std::abs(bias[j]);
      double const error = std::abs(double(c.at(i, j)) - sum);
      wrong += !(error <= double(a.cols + 3) * unit * size * 1.01);  // also where it is NaN
    }
  }
  CHECK(wrong == 0);
  // nothing but the elements of C has changed
  int64_t touched = 0;
  for (int64_t i = 0; i < c.rows; ++i) {
    for (int64_t j = 0; j < c.cols; ++j) c.at(i, j) = std::numeric_limits<T>::quiet_NaN();
  }
  for (T const x : c.data) touched += !std::isnan(x);
  CHECK(touched == 0);
}

template <class T>
GemmArgs<T> arguments(Matrix<T>& a, Matrix<T>& b, Matrix<T>& c, T const* bias, bool accumulate) {
  return {a.rows, b.cols, a.cols, a.begin(), a.row, a.col, b.begin(), b.row, b.col, c.begin(), c.row, bias, accumulate};
}

template <class T>
void check_product(int64_t m, int64_t n, int64_t k, Layout in_a, Layout in_b, bool accumulate, bool with_bias) {
  CAPTURE(m);
  CAPTURE(n);
  CAPTURE(k);
  CAPTURE(int(in_a));
  CAPTURE(int(in_b));
  CAPTURE(accumulate);
  CAPTURE(with_bias);
  Matrix<T> a(m, k, in_a, 1), b(k, n, in_b, 2), c(m, n, Layout::padded_rows, 3), bias(1, n, Layout::rows, 4);
  Matrix<T> const before = c;
  T const* bias_data = with_bias ? bias.begin() : nullptr;
  if (!accumulate) {
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) c.at(i, j) = std::numeric_limits<T>::quiet_NaN();
    }
  }
  gemm(arguments(a, b, c, bias_data, accumulate));
  compare(a, b, before, c, bias_data, accumulate);
}

template <class T>
std::vector<T> product_bits(int64_t m, int64_t n, int64_t k, Layout in_a, Layout in_b) {
  Matrix<T> a(m, k, in_a, 5), b(k, n, in_b, 6), c(m, n, Layout::rows, 7);
  gemm(arguments(a, b, c, static_cast<T const*>(nullptr), true));
  return c.data;
}

}  // namespace

TEST_CASE_TEMPLATE("gemm: every small size", T, float, double) {
  heed::test::on_every_isa([] {
    int64_t const ms[] = {1, 2, 3, 5, 6, 7, 13, 14, 15, 17, 29},
                  ns[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 47, 65};
    int64_t const ks[] = {1, 2, 3, 7, 8, 16, 33, 67};
    int turn = 0;
    for (int64_t const m : ms) {
      for (int64_t const n : ns) {
        for (int64_t const k : ks) {
          ++turn;
          check_product<T>(m, n, k, all_layouts[turn % 5], all_layouts[turn / 5 % 5], turn % 2 != 0, turn % 3 == 0);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("gemm: every pair of layouts", T, float, double) {
  heed::test::on_every_isa([] {
    Size const sizes[] = {{1, 37, 90}, {4, 50, 130},  {21, 35, 70}, {40, 5, 99},  {33, 1, 140},
                          {1, 1, 200}, {19, 33, 600}, {1, 300, 64}, {64, 64, 64}, {200, 170, 190}};
    for (auto const [m, n, k] : sizes) {
      for (Layout const in_a : all_layouts) {
        for (Layout const in_b : all_layouts) {
          if (m == 200 && int(in_a) + int(in_b) > 7) continue;
          check_product<T>(m, n, k, in_a, in_b, int(in_a) % 2 == 1, int(in_b) % 2 == 1);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("gemm: packed sizes", T, float, double) {
  heed::test::on_every_isa([] {
    std::minstd_rand random(8);
    Size const sizes[] = {{129, 257, 400}, {301, 129, 131}, {128, 65, 768},  {65, 130, 1100},
                          {31, 4200, 40},  {17, 33, 4500},  {145, 160, 514}, {20, 4100, 60}};
    for (auto const [m, n, k] : sizes) {
      check_product<T>(m, n, k, all_layouts[random() % 5], all_layouts[random() % 5], random() % 2 != 0,
                       random() % 2 != 0);
      check_product<T>(m, n, k, Layout::rows, Layout::cols, false, true);
      check_product<T>(m, n, k, Layout::cols, Layout::rows, true, true);
    }
  });
}

TEST_CASE_TEMPLATE("gemm: nothing to sum or nothing to write", T, float, double) {
  heed::test::on_every_isa([] {
    for (bool const accumulate : {false, true}) {
      for (bool const with_bias : {false, true})
        check_product<T>(5, 19, 0, Layout::rows, Layout::cols, accumulate, with_bias);
    }
    check_product<T>(0, 7, 5, Layout::rows, Layout::rows, false, true);
    check_product<T>(7, 0, 5, Layout::rows, Layout::rows, false, false);
    check_product<T>(0, 0, 0, Layout::rows, Layout::rows, true, true);
  });
}

TEST_CASE_TEMPLATE("gemm: NaN and infinity follow arithmetic", T, float, double) {
  heed::test::on_every_isa([] {
    T const inf = std::numeric_limits<T>::infinity();
    Size const sizes[] = {{1, 40, 50}, {3, 40, 50}, {30, 3, 70}, {30, 40, 50}, {170, 180, 190}};
    for (auto const [m, n, k] : sizes) {
      for (Layout const in_b : {Layout::rows, Layout::cols}) {
        CAPTURE(m);
        CAPTURE(n);
        CAPTURE(int(in_b));
        Matrix<T> a(m, k, Layout::rows, 9), b(k, n, in_b, 10), c(m, n, Layout::rows, 11);
        for (int64_t p = 0; p < k; ++p) a.at(m - 1, p) = 0;
        b.at(k - 1, n - 1) = inf;  // 0·inf = NaN in the last row
        if (m > 1) a.at(0, 0) = inf, b.at(0, 0) = 1, b.at(0, n - 1) = 1, a.at(0, k - 1) = 1;
        gemm(arguments(a, b, c, static_cast<T const*>(nullptr), false));
        CHECK(std::isnan(c.at(m - 1, n - 1)));
        CHECK((c.at(m - 1, 0) == 0 || n == 1));
        if (m > 1) {
          CHECK(c.at(0, 0) == inf);
          CHECK(c.at(0, n - 1) == inf);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("gemm: the same bits for any number of threads", T, float, double) {
  int const before = heed::thread_count();
  heed::test::on_every_isa([] {
    Size const sizes[] = {{1, 3000, 700},  {2, 2000, 900},  {3000, 5, 300},
                          {150, 140, 150}, {128, 512, 768}, {300, 310, 1000}};
    for (auto const [m, n, k] : sizes) {
      for (Layout const in_a : {Layout::rows, Layout::cols}) {
        for (Layout const in_b : {Layout::rows, Layout::cols}) {
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(int(in_a));
          CAPTURE(int(in_b));
          heed::set_thread_count(1);
          std::vector<T> const one = product_bits<T>(m, n, k, in_a, in_b);
          for (int const threads : {2, 4}) {
            heed::set_thread_count(threads);
            std::vector<T> const more = product_bits<T>(m, n, k, in_a, in_b);
            CHECK(std::memcmp(one.data(), more.data(), one.size() * sizeof(T)) == 0);
          }
        }
      }
    }
  });
  heed::set_thread_count(before);
}

TEST_CASE_TEMPLATE("gemm: batches", T, float, double) {
  heed::test::on_every_isa([] {
    Size const sizes[] = {{1, 1, 1}, {3, 5, 7}, {16, 24, 33}, {40, 33, 70}, {170, 150, 180}};
    for (auto const [m, n, k] : sizes) {
      for (int64_t const batch : {0, 1, 3, 20}) {
        if (m == 170 && batch == 20) continue;
        for (int const kind : {0, 1, 2, 3}) {  // own operands; one B; one A; B transposed and the products summed
          CAPTURE(m);
          CAPTURE(batch);
          CAPTURE(kind);
          Matrix<T> a(kind == 2 ? m : m * batch, k, Layout::rows, 12);
          Matrix<T> b(kind == 1 ? k : k * batch, n, Layout::rows, 13), bias(1, n, Layout::rows, 15);
          Matrix<T> c(kind == 3 ? m : m * batch, n, Layout::rows, 14);
          Matrix<T> const before = c;
          int64_t const a_step = kind == 2 ? 0 : m * k, b_step = kind == 1 ? 0 : k * n, c_step = kind == 3 ? 0 : m * n;
          bool const accumulate = kind != 2;
          GemmArgs<T> const first{m, n, k, a.begin(), k, 1, b.begin(), n, 1, c.begin(), n, bias.begin(), accumulate};
          gemm_batched(first, batch, a_step, b_step, c_step);
          double const unit = std::numeric_limits<T>::epsilon() / 2;
          int64_t wrong = 0;
          if (kind == 3 && batch == 0) continue;
          for (int64_t row = 0; row < c.rows; ++row) {
            for (int64_t j = 0; j < n; ++j) {
              double sum = bias.at(0, j), size = std::abs(sum);
              if (accumulate) sum += before.data[size_t(Matrix<T>::margin + row * n + j)], size += 1;
              for (int64_t i = kind == 3 ? 0 : row / m; i < (kind == 3 ? batch : row / m + 1); ++i) {
                for (int64_t p = 0; p < k; ++p) {
                  double const term =
                      double(a.begin()[i * a_step + row % m * k + p]) * double(b.begin()[i * b_step + p * n + j]);
                  sum += term, size += std::abs(term);
                }
              }
              wrong += !(std::abs(double(c.at(row, j)) - sum) <= double(k * batch + 3) * unit * size * 1.01);
            }
          }
          CHECK(wrong == 0);
        }
      }
    }
  });
}
