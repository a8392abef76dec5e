// Tensors from nothing.
#include <doctest/doctest.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

#include <cmath>

using namespace heed;
using namespace heed::test;

namespace {

using Values = std::vector<double>;

OpSuite const& suite() {
  static OpSuite const all = [] {
    OpCase powers{
        .name = "vander",
        .covers = "vander",
        .inputs = {real()},
        .shapes = {{{3}}, {{2, 4}}, {{0}}, {{1}}},
        .op =
            [](Tensors const& x) {
              return Tensors{vander(x[0]), vander(x[0], 5, true), vander(x[0], 1), vander(x[0], 0)};
            },
        .twin =
            [](Tensors const& x) {
              auto const v = x[0].detach().to_vector<double>();
              auto const columns = [&](int64_t n, bool increasing) {
                Shape shape = x[0].shape();
                shape.push_back(n);
                Values out;
                for (double a : v)
                  for (int64_t k = 0; k < n; ++k) out.push_back(std::pow(a, double(increasing ? k : n - 1 - k)));
                return tensor(out, shape);
              };
              return Tensors{columns(x[0].size(-1), false), columns(5, true), columns(1, true), columns(0, true)};
            },
        .f32 = 1e-5};
    powers.bad = {{[] { vander(scalar(1)); }, {"vander", "[]"}}, {[] { vander(ones({2}), -2); }, {"vander", "-2"}}};
    OpCase even{.name = "linspace",
                .covers = "linspace",
                .inputs = {real(), real()},
                .shapes = {{{3}, {3}}, {{}, {}}, {{2, 1}, {3}}, {{0}, {1}}},
                .op =
                    [](Tensors const& x) {
                      return Tensors{linspace(x[0], x[1], 4), linspace(x[0], x[1], 1)};
                    },
                .twin =
                    [](Tensors const& x) {
                      Tensors rows;
                      for (int i = 0; i < 4; ++i) rows.push_back(x[0] * (1 - i / 3.) + x[1] * (i / 3.));
                      return Tensors{stack(rows), stack({x[0] + x[1] * 0.0})};
                    }};
    even.bad = {{[] { linspace(ones({2}), Tensor(), 3); }, {"linspace", "undefined"}},
                {[] { linspace(ones({2}), ones({2}), -1); }, {"linspace", "-1"}}};
    OpCase growing = even;
    growing.name = growing.covers = "logspace";
    growing.op = [](Tensors const& x) { return Tensors{logspace(x[0], x[1], 3), logspace(x[0], x[1], 2, 2)}; };
    growing.twin = [](Tensors const& x) {
      auto const at = [&](double base, double w) { return exp((x[0] * (1 - w) + x[1] * w) * std::log(base)); };
      return Tensors{stack({at(10, 0), at(10, 0.5), at(10, 1)}), stack({at(2, 0), at(2, 1)})};
    };
    growing.f32 = 1e-5;
    growing.bad = {{[] { logspace(ones({2}), Tensor(), 3); }, {"undefined"}},
                   {[] { logspace(ones({2}), ones({2}), -1); }, {"-1"}}};
    return OpSuite{
        .sections = {"creation"},
        .cases = {powers, even, growing},
        .not_differentiable = {"empty_like", "full_like", "eye", "arange", "arange_of", "tril_indices", "triu_indices",
                               "general_cosine", "general_hamming", "hann", "hamming", "blackman", "nuttall",
                               "bartlett", "cosine", "kaiser", "gaussian", "exponential"},
        .elsewhere = {"empty", "full", "zeros", "ones", "zeros_like", "ones_like", "tensor", "scalar"}};
  }();
  return all;
}

/// f(i) for i < n
template <class F>
Values listed(int64_t n, F f) {
  Values v;
  for (int64_t i = 0; i < n; ++i) v.push_back(f(double(i)));
  return v;
}

void check_close(Tensor const& got, Values const& want, double tolerance = 1e-14) {
  CHECK(differs(got, tensor(want, {int64_t(want.size())}), tolerance) == "");
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("ranges") {
  check_close(arange(0.1, 1.1, 1.0, Dtype::f64), {0.1});
  check_close(arange(0, 2, 0.5, Dtype::f64), {0, 0.5, 1, 1.5});
  check_close(arange(1.0, -1.0, -0.5), {1, 0.5, 0, -0.5});
  CHECK(arange(0, 1.5).dtype() == Dtype::f32);
  CHECK(arange(2.0, 1.0).shape() == Shape{0});
  CHECK(arange(3, 0, -2).to_vector<int64_t>() == std::vector<int64_t>{3, 1});
  check_close(linspace(-1, 1, 5, Dtype::f64), {-1, -0.5, 0, 0.5, 1});
  check_close(linspace(3, 4, 1), {3});
  CHECK(linspace(0, 1, 0).shape() == Shape{0});
  CHECK(linspace(0, 0.7, 50, Dtype::f64).at(49).item() == 0.7);
  CHECK(linspace(-3, 4.3, 6, Dtype::i32).to_vector<int64_t>() == std::vector<int64_t>{-3, -1, 0, 1, 2, 4});
  check_close(logspace(0, 3, 4, 2, Dtype::f64), {1, 2, 4, 8});
  check_close(logspace(-1, 1, 3, 10, Dtype::f64), {0.1, 1, 10});
  CHECK(error_of([] { arange(0, 1, 0.0); }).find("step") != std::string::npos);
  CHECK(error_of([] { arange(0, 1, 0); }).find("step") != std::string::npos);
  CHECK(error_of([] { arange(0.0, inf); }).find("finite") != std::string::npos);
  CHECK(error_of([] { arange(0.0, nan_); }).find("finite") != std::string::npos);
  CHECK_FALSE(error_of([] { arange(0.0, 1e300); }).empty());
  CHECK(error_of([] { linspace(0, 1, -1); }).find("got -1") != std::string::npos);
  CHECK(error_of([] { logspace(0, 1, -1); }).find("got -1") != std::string::npos);
}

TEST_CASE("powers of integers are i64") {
  Tensor const powers = vander(tensor(std::vector<int64_t>{100}, {1}).to(Dtype::i8), 3);
  CHECK(powers.dtype() == Dtype::i64);
  CHECK(powers.to_vector<int64_t>() == std::vector<int64_t>{10000, 100, 1});
}

TEST_CASE("like another; the identity; triangles") {
  Tensor const x = zeros({2, 3}, Dtype::i32);
  CHECK((empty_like(x).shape() == x.shape() && empty_like(x).dtype() == Dtype::i32));
  CHECK(full_like(x, 7).to_vector<int>() == std::vector<int>(6, 7));
  CHECK_FALSE(error_of([] { empty_like(Tensor()); }).empty());
  CHECK_FALSE(error_of([] { full_like(Tensor(), 1); }).empty());
  CHECK(eye(2).to_vector<int>() == std::vector<int>{1, 0, 0, 1});
  CHECK(eye(2, 3, Dtype::boolean).to_vector<int>() == std::vector<int>{1, 0, 0, 0, 1, 0});
  CHECK(eye(0, 3).shape() == Shape{0, 3});
  CHECK_FALSE(error_of([] { eye(-1); }).empty());
  CHECK_FALSE(error_of([] { eye(int64_t{1} << 40); }).empty());
  for (int64_t offset : {-3, -1, 0, 1, 2, 5}) {
    Tensor const lower = tril_indices(3, 4, offset), upper = triu_indices(3, 4, offset);
    std::vector<int64_t> li, lj, ui, uj;
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 4; ++j) {
        if (j - i <= offset) li.push_back(i), lj.push_back(j);
        if (j - i >= offset) ui.push_back(i), uj.push_back(j);
      }
    CHECK(lower.select(0, 0).to_vector<int64_t>() == li);
    CHECK(lower.select(0, 1).to_vector<int64_t>() == lj);
    CHECK(upper.select(0, 0).to_vector<int64_t>() == ui);
    CHECK(upper.select(0, 1).to_vector<int64_t>() == uj);
  }
  CHECK(error_of([] { tril_indices(-1, 2); }).find("-1 and 2") != std::string::npos);
  CHECK(error_of([] { triu_indices(2, -1); }).find("2 and -1") != std::string::npos);
}

TEST_CASE("windows") {
  double const pi = std::acos(-1.0);
  for (bool symmetric : {true, false})
    for (int64_t n : {2, 5, 8}) {
      double const last = double(n - symmetric), middle = last / 2;
      auto const cosines = [&](Values const& a) {
        return listed(n, [&](double i) {
          double sum = 0;
          for (size_t k = 0; k < a.size(); ++k)
            sum += std::pow(-1, double(k)) * a[k] * std::cos(2 * pi * double(k) * i / last);
          return sum;
        });
      };
      check_close(windows::general_cosine(n, {0.3, 0.5, 0.2, 0.1}, symmetric, Dtype::f64),
                  cosines({0.3, 0.5, 0.2, 0.1}));
      check_close(windows::general_hamming(n, 0.3, symmetric, Dtype::f64), cosines({0.3, 0.7}));
      check_close(windows::hann(n, symmetric, Dtype::f64), cosines({0.5, 0.5}));
      check_close(windows::hamming(n, symmetric, Dtype::f64), cosines({0.54, 0.46}));
      check_close(windows::blackman(n, symmetric, Dtype::f64), cosines({0.42, 0.5, 0.08}));
      check_close(windows::nuttall(n, symmetric, Dtype::f64), cosines({0.3635819, 0.4891775, 0.1365995, 0.0106411}));
      check_close(windows::bartlett(n, symmetric, Dtype::f64),
                  listed(n, [&](double i) { return 1 - std::abs(i - middle) / middle; }));
      check_close(windows::cosine(n, symmetric, Dtype::f64),
                  listed(n, [&](double i) { return std::sin(pi * (i + 0.5) / (last + 1)); }));
      check_close(windows::gaussian(n, 1.5, symmetric, Dtype::f64),
                  listed(n, [&](double i) { return std::exp(-0.5 * (i - middle) * (i - middle) / 2.25); }));
      check_close(windows::exponential(n, 2, symmetric, {}, Dtype::f64),
                  listed(n, [&](double i) { return std::exp(-std::abs(i - middle) / 2); }));
      check_close(windows::kaiser(n, 9, symmetric, Dtype::f64), listed(n, [&](double i) {
                    double const r = (i - middle) / middle;
                    return std::cyl_bessel_i(0.0, 9 * std::sqrt(1 - r * r)) / std::cyl_bessel_i(0.0, 9.0);
                  }));
    }
  check_close(windows::exponential(3, 1, false, 1.0, Dtype::f64), {std::exp(-1), 1, std::exp(-1)});
  for (bool symmetric : {true, false}) {
    for (Tensor const& one :
         {windows::hann(1, symmetric), windows::kaiser(1, 12, symmetric), windows::cosine(1, symmetric),
          windows::bartlett(1, symmetric), windows::gaussian(1, 1, symmetric), windows::exponential(1, 1, symmetric),
          windows::general_cosine(1, {0.2, 0.1}, symmetric)})
      CHECK(one.item() == doctest::Approx(1));
    CHECK(windows::nuttall(0, symmetric).shape() == Shape{0});
  }
  CHECK(windows::hann(4).dtype() == Dtype::f32);
  CHECK(windows::kaiser(3, 700, true, Dtype::f64).at(1).item() == 1);
  for (auto const& bad : {+[] { windows::hann(-1); }, +[] { windows::hann(3, true, Dtype::i64); },
                          +[] { windows::general_cosine(3, {}); }, +[] { windows::kaiser(3, -1); },
                          +[] { windows::kaiser(3, 1e9); }, +[] { windows::gaussian(3, 0); },
                          +[] { windows::exponential(3, 0); }, +[] { windows::exponential(3, 1, true, 1.0); }})
    CHECK_FALSE(error_of(bad).empty());
}
