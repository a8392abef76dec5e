// The pointwise kernels on every level: values against long double references, slopes against central differences,
// special values, odd lengths, strides, operands and outputs at the same address.
#include <doctest/doctest.h>
#include <heed/engine/isa.h>
#include <heed/engine/ops/pointwise.h>
#include <heed/tests/support/skip.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using namespace heed;
using Real = long double;

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan_ = std::numeric_limits<double>::quiet_NaN();

template <class T, class R>
void forward(R const& row, T const* x, int64_t stride, T* y, int64_t n) {
  kernels<PointwiseKernels>().of<T>().unary[UnaryRows::index_of<R>].forward(&row, x, stride, y, n);
}
template <class T, class R>
void backward(R const& row, T const* g, T const* x, T const* y, T* dx, int64_t n) {
  kernels<PointwiseKernels>().of<T>().unary[UnaryRows::index_of<R>].backward(&row, g, x, y, dx, n);
}
template <class T, class R>
auto const& binary(R const&) {
  return kernels<PointwiseKernels>().of<T>().binary[BinaryRows::index_of<R>];
}
template <class T, class R>
T value_at(R const& row, T x) {
  T y;
  forward<T>(row, &x, 1, &y, 1);
  return y;
}
template <class T, class R>
T slope_at(R const& row, T x) {
  T y = value_at<T>(row, x), g = 1, dx;
  backward<T>(row, &g, R::reads & reads_x ? &x : nullptr, R::reads & reads_y ? &y : nullptr, &dx, 1);
  return dx;
}

template <class T>
bool same(T a, T b) {  // bit for bit, all NaN alike
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

/// The distance between neighbours of T at x.
template <class T>
Real ulp(Real x) {
  int e;
  std::frexp(std::fabs(x), &e);
  int const lowest = std::numeric_limits<T>::min_exponent;
  return std::ldexp(Real(1), (e < lowest ? lowest : e) - std::numeric_limits<T>::digits);
}

/// got = want within `ulps`, or within `absolute` epsilons of T.
template <class T>
bool close(T got, Real want, double ulps, double absolute) {
  if (std::isnan(want) || std::isinf(T(want))) return same(got, T(want));
  Real const allowed = ulps * ulp<T>(want) + absolute * Real(std::numeric_limits<T>::epsilon());
  return std::fabs(Real(got) - want) <= allowed;  // false for NaN
}

/// Values of [low, high]: half of them uniform, half with uniform exponents.
template <class T>
std::vector<T> samples(double low, double high, int count) {
  std::mt19937_64 engine(7);
  auto const uniform = [&] { return double(engine() >> 11) * 0x1p-53; };
  std::vector<T> xs;
  while (int(xs.size()) < count) {
    double x = low + (high - low) * uniform();
    if (xs.size() % 2) x *= std::exp2(-60 * uniform());
    if (T(x) >= T(low) && T(x) <= T(high)) xs.push_back(T(x));
  }
  return xs;
}

/// One row: reference, sampled range, bounds on its value, and bounds in f32 epsilons on its slope.
template <class R, class F>
struct Case {
  R row;
  F reference;
  double low, high, ulps, absolute;
  double slope_bound = 4;
  bool kinks = false;  // at 0 or at whole and half numbers: slopes are tested off them
};
template <class R, class F>
Case(R, F, double, double, double, double) -> Case<R, F>;
template <class R, class F>
Case(R, F, double, double, double, double, double) -> Case<R, F>;
template <class R, class F>
Case(R, F, double, double, double, double, double, bool) -> Case<R, F>;

template <class See>
void for_each_unary(See see) {
  using namespace heed::row;
  auto const sigmoid = [](Real x) { return 1 / (1 + std::exp(-x)); };
  auto const phi = [](Real x) { return std::erfc(-x / std::sqrt(Real(2))) / 2; };
  see(Case{Neg{}, [](Real x) { return -x; }, -9, 9, 0, 0});
  see(Case{Abs{}, [](Real x) { return std::fabs(x); }, -9, 9, 0, 0, 4, true});
  see(Case{Sign{}, [](Real x) { return Real((x > 0) - (x < 0)); }, -9, 9, 0, 0, 4, true});
  see(Case{Square{}, [](Real x) { return x * x; }, -9, 9, 0.5, 0});
  see(Case{Sqrt{}, [](Real x) { return std::sqrt(x); }, 0.01, 90, 0.5, 0});
  see(Case{Rsqrt{}, [](Real x) { return 1 / std::sqrt(x); }, 0.1, 90, 1.5, 0});
  see(Case{Reciprocal{}, [](Real x) { return 1 / x; }, 0.3, 90, 0.5, 0});
  see(Case{Exp{}, [](Real x) { return std::exp(x); }, -104, 88.7, 1.1, 0, 4});
  see(Case{Expm1{}, [](Real x) { return std::expm1(x); }, -30, 88.7, 2, 0});
  see(Case{Log{}, [](Real x) { return std::log(x); }, 0.02, 9e4, 1.1, 0});
  see(Case{Log1p{}, [](Real x) { return std::log1p(x); }, -0.97, 9e4, 1.5, 0, 40});
  see(Case{Sin{}, [](Real x) { return std::sin(x); }, -100, 100, 1.5, 0});
  see(Case{Sin{}, [](Real x) { return std::sin(x); }, -12000, 30000, 2.5, 0});
  see(Case{Cos{}, [](Real x) { return std::cos(x); }, -100, 100, 1.5, 0});
  see(Case{Cos{}, [](Real x) { return std::cos(x); }, -12000, 30000, 2.5, 0});
  see(Case{Tanh{}, [](Real x) { return std::tanh(x); }, -12, 12, 3, 0});
  see(Case{Erf{}, [](Real x) { return std::erf(x); }, -5, 5, 1.5, 0});
  see(Case{Sigmoid{}, sigmoid, -80, 80, 3, 0});
  see(Case{LogSigmoid{}, [](Real x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }, -80,
           80, 3, 0});
  see(Case{Softplus{}, [](Real x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }, -80, 80,
           3, 0});
  see(Case{Relu{}, [](Real x) { return x > 0 ? x : 0; }, -9, 9, 0, 0, 4, true});
  see(Case{LeakyRelu{{}, 0.125}, [](Real x) { return x > 0 ? x : x / 8; }, -9, 9, 0, 0, 4, true});
  see(Case{Elu{{}, 1.5}, [](Real x) { return x > 0 ? x : Real(1.5) * std::expm1(x); }, -9, 9, 3, 0, 4, true});
  see(Case{Gelu{}, [&](Real x) { return x * phi(x); }, -9, 9, 3, 4, 8});
  see(Case{GeluTanh{},
           [](Real x) {
             Real const u = std::sqrt(2 / std::acos(Real(-1))) * (x + Real(0.044715) * x * x * x);
             return x / (1 + std::exp(-2 * u));
           },
           -9, 9, 4, 2, 8});
  see(Case{Silu{}, [&](Real x) { return x * sigmoid(x); }, -80, 80, 4, 0, 8});
  see(Case{Mish{}, [](Real x) { return x * std::tanh(std::log1p(std::exp(x))); }, -30, 30, 5, 0, 8});
  see(Case{Threshold{{}, 0., -7.}, [](Real x) { return x > 0 ? x : -7; }, -9, 9, 0, 0, 4, true});
  see(Case{Floor{}, [](Real x) { return std::floor(x); }, -9, 9, 0, 0, 4, true});
  see(Case{Ceil{}, [](Real x) { return std::ceil(x); }, -9, 9, 0, 0, 4, true});
  see(Case{Round{}, [](Real x) { return std::nearbyint(x); }, -9, 9, 0, 0, 4, true});
  see(Case{Trunc{}, [](Real x) { return std::trunc(x); }, -9, 9, 0, 0, 4, true});
  see(Case{AddScalar{{}, 1.25}, [](Real x) { return x + Real(1.25); }, -9, 9, 0.5, 0});
  see(Case{RsubScalar{{}, 1.25}, [](Real x) { return Real(1.25) - x; }, -9, 9, 0.5, 0});
  see(Case{MulScalar{{}, 1.25}, [](Real x) { return x * Real(1.25); }, -9, 9, 0.5, 0});
  see(Case{DivScalar{{}, 1.25}, [](Real x) { return x / Real(1.25); }, -9, 9, 0.5, 0});
  see(Case{RdivScalar{{}, 1.25}, [](Real x) { return Real(1.25) / x; }, 0.3, 9, 0.5, 0});
  for (double exponent : {0., 0.5, 1., 2., 3., -0.5, -1., -2., 2.5, -1.5})
    see(Case{PowScalar{{}, exponent}, [=](Real x) { return std::pow(x, Real(exponent)); }, 0.3, 9, 1.5, 0});
  see(Case{PowScalar{{}, 3.}, [](Real x) { return x * x * x; }, -9, 9, 1.5, 0});
  see(Case{Clamp{{}, -1.5, 2.}, [](Real x) { return x < -1.5 ? Real(-1.5)
                                                    : x > 2  ? Real(2)
                                                             : x; }, -9, 9, 0, 0, 4,
           true});
}

bool near_kink(double x) { return std::fabs(2 * x - std::nearbyint(2 * x)) < 1e-3; }

template <class T>
void check_unary_values() {
  for_each_unary([&]<class R, class F>(Case<R, F> const& c) {
    INFO("row ", std::string(R::name));
    auto const xs = samples<T>(c.low, c.high, 4000);
    std::vector<T> ys(xs.size());
    forward<T>(c.row, xs.data(), 1, ys.data(), int64_t(xs.size()));
    int bad = 0;
    for (size_t i = 0; i < xs.size(); ++i) {
      Real const want = c.reference(Real(xs[i]));
      if (!close(ys[i], want, c.ulps, c.absolute) && ++bad < 4)
        FAIL_CHECK("x = ", double(xs[i]), " got ", double(ys[i]), " want ", double(want), " off by ",
                   double((ys[i] - want) / ulp<T>(want)), " ulp");
    }
    CHECK(bad == 0);
  });
}

}  // namespace

TEST_CASE("pointwise: every row is in the table once, under its own name") {
  std::vector<std::string> names;
  UnaryRows::for_each([&]<class R>(std::type_identity<R>) {
    CHECK(UnaryRows::index_of<R> == int(names.size()));
    names.emplace_back(R::name);
  });
  BinaryRows::for_each([&]<class R>(std::type_identity<R>) { names.emplace_back(R::name); });
  CompareRows::for_each([&]<class R>(std::type_identity<R>) { names.emplace_back(R::name); });
  for (size_t i = 0; i < names.size(); ++i)
    for (size_t j = 0; j < i; ++j) CHECK(names[i] != names[j]);
  bool tested[UnaryRows::size] = {};
  for_each_unary([&]<class R, class F>(Case<R, F> const&) { tested[UnaryRows::index_of<R>] = true; });
  for (int i = 0; i < UnaryRows::size; ++i) {
    INFO(names[size_t(i)]);
    CHECK(tested[i]);
  }
}

TEST_CASE("pointwise: unary values") {
  heed::test::on_every_isa([] {
    check_unary_values<float>();
    check_unary_values<double>();
  });
}

TEST_CASE("pointwise: unary slopes against central differences") {
  heed::test::on_every_isa([] {
    for_each_unary([&]<class R, class F>(Case<R, F> const& c) {
      INFO("row ", std::string(R::name));
      std::mt19937_64 engine(11);
      int bad = 0;
      for (int i = 0; i < 300; ++i) {
        double const low = std::fmax(c.low, -40), high = std::fmin(c.high, 40);
        double const x = float(low + (high - low) * 0.01 + (high - low) * 0.98 * double(engine() >> 11) * 0x1p-53);
        if (c.kinks && near_kink(x)) continue;
        Real const h = 1e-4L * std::fmax(Real(0.01), std::fmin(Real(1), std::fabs(Real(x))));
        Real const want =
            (8 * (c.reference(x + h) - c.reference(x - h)) - (c.reference(x + 2 * h) - c.reference(x - 2 * h))) /
            (12 * h);
        double const scale = std::fmax(1., std::fabs(double(want)));
        double const got = slope_at<double>(c.row, x);
        if (!(std::fabs(got - double(want)) <= 1e-10 * scale) && ++bad < 4)
          FAIL_CHECK("f64: x = ", x, " got ", got, " want ", double(want));
        float const got32 = slope_at<float>(c.row, float(x));
        if (!(std::fabs(double(got32) - double(want)) <= c.slope_bound * 0x1p-23 * scale) && ++bad < 4)
          FAIL_CHECK("f32: x = ", x, " got ", got32, " want ", double(want));
      }
      CHECK(bad == 0);
    });
  });
}

TEST_CASE_TEMPLATE("pointwise: special values", T, float, double) {
  using namespace heed::row;
  T const tiny = std::numeric_limits<T>::denorm_min(), least = std::numeric_limits<T>::min(),
          huge = std::numeric_limits<T>::max(), i = T(inf), n = T(nan_);
  heed::test::on_every_isa([&] {
    auto const expect = [&]<class R>(R const& row, std::initializer_list<std::pair<T, T>> table) {
      for (auto [x, y] : table) {
        INFO(std::string(R::name), "(", double(x), ")");
        T const got = value_at<T>(row, x);
        CHECK_MESSAGE(same(got, y), "got ", double(got), " want ", double(y));
      }
    };
    expect(Neg{}, {{0, T(-0.)}, {T(-0.), 0}, {i, -i}, {n, n}, {tiny, -tiny}});
    expect(Abs{}, {{T(-0.), 0}, {-i, i}, {n, n}, {-tiny, tiny}, {-huge, huge}});
    expect(Sign{}, {{T(-0.), 0}, {-i, -1}, {i, 1}, {n, 0}, {-tiny, -1}});
    expect(Square{}, {{-i, i}, {huge, i}, {tiny, 0}, {n, n}});
    expect(Sqrt{}, {{T(-0.), T(-0.)}, {0, 0}, {i, i}, {-1, n}, {n, n}, {-tiny, n}});
    expect(Rsqrt{}, {{0, i}, {T(-0.), -i}, {i, 0}, {-1, n}, {n, n}, {4, T(0.5)}});
    expect(Reciprocal{}, {{0, i}, {T(-0.), -i}, {i, 0}, {-i, T(-0.)}, {n, n}});
    expect(Exp{},
           {{0, 1}, {T(-0.), 1}, {i, i}, {-i, 0}, {n, n}, {tiny, 1}, {huge, i}, {-huge, 0}, {-800, 0}, {800, i}});
    expect(Expm1{},
           {{0, 0}, {T(-0.), T(-0.)}, {i, i}, {-i, -1}, {n, n}, {tiny, tiny}, {-tiny, -tiny}, {huge, i}, {-huge, -1}});
    expect(Log{}, {{0, -i}, {T(-0.), -i}, {1, 0}, {i, i}, {-1, n}, {-i, n}, {n, n}, {-tiny, n}});
    expect(Log1p{},
           {{0, 0}, {T(-0.), T(-0.)}, {-1, -i}, {i, i}, {-2, n}, {-i, n}, {n, n}, {tiny, tiny}, {-tiny, -tiny}});
    expect(Sin{}, {{0, 0}, {T(-0.), T(-0.)}, {i, n}, {-i, n}, {n, n}, {tiny, tiny}});
    expect(Cos{}, {{0, 1}, {T(-0.), 1}, {i, n}, {-i, n}, {n, n}, {tiny, 1}});
    expect(
        Tanh{},
        {{0, 0}, {T(-0.), T(-0.)}, {i, 1}, {-i, -1}, {n, n}, {tiny, tiny}, {-least, -least}, {huge, 1}, {-huge, -1}});
    expect(Erf{}, {{0, 0}, {T(-0.), T(-0.)}, {i, 1}, {-i, -1}, {n, n}, {huge, 1}, {-huge, -1}});
    expect(Sigmoid{}, {{0, T(0.5)}, {i, 1}, {-i, 0}, {n, n}, {huge, 1}, {-huge, 0}});
    expect(LogSigmoid{}, {{i, 0}, {-i, -i}, {n, n}, {-huge, -huge}});
    expect(Softplus{}, {{i, i}, {-i, 0}, {n, n}, {huge, huge}, {-huge, 0}});
    expect(Relu{}, {{0, 0}, {i, i}, {-i, 0}, {n, n}, {-tiny, 0}, {tiny, tiny}});
    expect(LeakyRelu{{}, 0.5}, {{0, 0}, {i, i}, {-i, -i}, {n, n}, {-2, -1}});
    expect(Elu{{}, 1.}, {{0, 0}, {T(-0.), T(-0.)}, {i, i}, {-i, -1}, {n, n}, {huge, huge}});
    expect(Gelu{}, {{0, 0}, {i, i}, {-i, n}, {n, n}, {huge, huge}});
    expect(GeluTanh{}, {{0, 0}, {i, i}, {-i, n}, {n, n}, {huge, huge}, {-huge, T(-0.)}});
    expect(Silu{}, {{0, 0}, {i, i}, {-i, n}, {n, n}, {huge, huge}, {-huge, T(-0.)}});
    expect(Mish{}, {{0, 0}, {i, i}, {-i, n}, {n, n}, {huge, huge}, {-huge, T(-0.)}});
    expect(Threshold{{}, 1., 5.}, {{1, 5}, {2, 2}, {i, i}, {-i, 5}, {n, n}});
    expect(Floor{}, {{T(-0.), T(-0.)}, {T(-0.5), -1}, {i, i}, {-i, -i}, {n, n}, {huge, huge}, {tiny, 0}});
    expect(Ceil{}, {{T(-0.), T(-0.)}, {T(-0.5), T(-0.)}, {i, i}, {n, n}, {-huge, -huge}, {tiny, 1}});
    expect(Round{}, {{T(-0.), T(-0.)},
                     {T(0.5), 0},
                     {T(1.5), 2},
                     {T(2.5), 2},
                     {T(-0.5), T(-0.)},
                     {T(-1.5), -2},
                     {i, i},
                     {n, n},
                     {huge, huge}});
    expect(Trunc{}, {{T(-0.), T(-0.)}, {T(1.9), 1}, {T(-1.9), -1}, {T(-0.5), T(-0.)}, {i, i}, {n, n}, {huge, huge}});
    expect(Clamp{{}, -1., 2.}, {{i, 2}, {-i, -1}, {n, n}, {0, 0}});
    expect(Clamp{{}, 3., 2.}, {{0, 2}, {5, 2}});
    expect(PowScalar{{}, 0.}, {{0, 1}, {n, 1}, {i, 1}});
    expect(PowScalar{{}, 2.}, {{-3, 9}, {n, n}, {-i, i}});
    expect(PowScalar{{}, 1.5}, {{0, 0}, {-1, n}, {i, i}, {4, 8}});
    expect(PowScalar{{}, -1.}, {{0, i}, {T(-0.), -i}, {4, T(0.25)}});

    auto const expect_slope = [&]<class R>(R const& row, std::initializer_list<std::pair<T, T>> table) {
      for (auto [x, y] : table) {
        INFO(std::string(R::name), "'(", double(x), ")");
        T const got = slope_at<T>(row, x);
        CHECK_MESSAGE(same(got, y), "got ", double(got), " want ", double(y));
      }
    };
    expect_slope(Abs{}, {{0, 0}, {n, 0}, {-i, -1}});
    expect_slope(Relu{}, {{0, 0}, {T(-0.), 0}, {i, 1}, {-i, 0}, {n, 1}});
    expect_slope(LeakyRelu{{}, 0.5}, {{0, T(0.5)}, {i, 1}});
    expect_slope(Elu{{}, 2.}, {{0, 2}, {i, 1}, {-i, 0}, {huge, 1}});
    expect_slope(Sqrt{}, {{0, i}, {4, T(0.25)}});
    expect_slope(Clamp{{}, -1., 2.}, {{-1, 1}, {2, 1}, {3, 0}, {n, 0}});
    expect_slope(Mish{}, {{100, 1}, {huge, 1}});
    expect_slope(Silu{}, {{100, 1}, {-huge, T(-0.)}, {huge, 1}});
    expect_slope(Softplus{}, {{i, 1}, {-i, 0}, {n, n}});
    expect_slope(LogSigmoid{}, {{i, 0}, {-i, 1}, {n, n}});
    expect_slope(PowScalar{{}, 0.}, {{0, 0}, {3, 0}});
    expect_slope(PowScalar{{}, 1.}, {{0, 1}, {3, 1}});
    expect_slope(PowScalar{{}, 2.}, {{0, 0}, {3, 6}});

    auto const expect2 = [&]<class R>(R const& row, std::initializer_list<std::array<T, 5>> table) {
      for (auto [a, b, y, da, db] : table) {  // partials only where the row's y is a number
        INFO(std::string(R::name), "(", double(a), ", ", double(b), ")");
        T got, got_a, got_b, one = 1;
        binary<T>(row).forward(&row, &a, 1, &b, 1, &got, 1);
        CHECK_MESSAGE(same(got, y), "got ", double(got), " want ", double(y));
        binary<T>(row).backward(&row, &one, &a, 1, &b, 1, &got, &got_a, &got_b, 1);
        if (std::isnan(y)) continue;
        CHECK_MESSAGE(same(got_a, da), "da: got ", double(got_a), " want ", double(da));
        CHECK_MESSAGE(same(got_b, db), "db: got ", double(got_b), " want ", double(db));
      }
    };
    T const half = T(0.5);
    expect2(Maximum{}, {{1, 2, 2, 0, 1},
                        {2, 1, 2, 1, 0},
                        {1, 1, 1, half, half},
                        {n, 1, n},
                        {1, n, n},
                        {n, n, n},
                        {i, -i, i, 1, 0},
                        {i, i, i, half, half}});
    expect2(
        Minimum{},
        {{1, 2, 1, 1, 0}, {2, 1, 1, 0, 1}, {1, 1, 1, half, half}, {n, 1, n}, {1, n, n}, {n, n, n}, {i, -i, -i, 0, 1}});
    expect2(Pow{}, {{0, 0, 1, 0, 0},
                    {0, 2, 0, 0, 0},
                    {2, 0, 1, 0, std::log(T(2))},
                    {-2, 2, 4, -4, n},
                    {-2, half, n},
                    {n, 0, 1, 0, n},
                    {1, n, 1, n, 0},
                    {0, -1, i, -i, -i}});
    expect2(Div{}, {{1, 0, i, i, -i}, {0, 0, n}, {1, 2, half, half, T(-0.25)}});
    expect2(Add{}, {{i, -i, n}, {1, 2, 3, 1, 1}});
  });
}

TEST_CASE("pointwise: exp reaches every finite f32 and its subnormals") {
  heed::test::on_every_isa([] {
    CHECK(std::isfinite(value_at(row::Exp{}, 88.722f)));
    CHECK(std::isinf(value_at(row::Exp{}, 88.723f)));
    CHECK(value_at(row::Exp{}, -103.9f) > 0.f);
    CHECK(value_at(row::Exp{}, -104.f) == 0.f);
    CHECK(std::isfinite(value_at(row::Expm1{}, 88.722f)));
    CHECK(std::isinf(value_at(row::Expm1{}, 88.723f)));
  });
}

TEST_CASE("pointwise: f32 over all exponents") {
  heed::test::on_every_isa([] {
    std::vector<float> xs;
    for (uint32_t bits = 1; bits < 0x7f800000u; bits += 100003) {
      xs.push_back(std::bit_cast<float>(bits));
      xs.push_back(-xs.back());
    }
    std::vector<float> ys(xs.size());
    auto const check = [&](auto const& row, auto reference, double ulps, float low, float high) {
      INFO(std::string(row.name));
      forward(row, xs.data(), 1, ys.data(), int64_t(xs.size()));
      double worst = 0;
      float at = 0;
      for (size_t i = 0; i < xs.size(); ++i) {
        if (xs[i] < low || xs[i] > high) continue;
        Real const want = reference(Real(xs[i]));
        if (std::isinf(float(want)) && std::isinf(ys[i])) continue;
        double const off = double(std::fabs(ys[i] - want) / ulp<float>(want));
        if (!(off <= worst)) worst = off, at = xs[i];
      }
      CHECK_MESSAGE(worst <= ulps, "worst ", worst, " at ", at);
    };
    float const huge = std::numeric_limits<float>::max();
    check(
        row::Exp{}, [](Real x) { return std::exp(x); }, 1.1, -huge, huge);
    check(
        row::Expm1{}, [](Real x) { return std::expm1(x); }, 2, -huge, huge);
    check(
        row::Log{}, [](Real x) { return std::log(x); }, 1.1, 0, huge);
    check(
        row::Log1p{}, [](Real x) { return std::log1p(x); }, 1.5, -0.9999999f, huge);
    check(
        row::Tanh{}, [](Real x) { return std::tanh(x); }, 3, -huge, huge);
    check(
        row::Erf{}, [](Real x) { return std::erf(x); }, 1.5, -huge, huge);
    check(
        row::Sin{}, [](Real x) { return std::sin(x); }, 2.5, -1e6f, 1e6f);
    check(
        row::Cos{}, [](Real x) { return std::cos(x); }, 2.5, -1e6f, 1e6f);
  });
}

TEST_CASE_TEMPLATE("pointwise: lengths and strides give the bits of one element alone", T, float, double) {
  heed::test::on_every_isa([] {
    for (int64_t n : {0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 255, 256, 257, 1000}) {
      auto const xs = samples<T>(0.1, 3, int(3 * n + 3)), other = samples<T>(-1, 2, int(3 * n + 3));
      T const guard = T(-77);
      for (int64_t stride : {0, 1, 3}) {
        auto const unary = [&](auto const& row) {
          INFO(std::string(row.name), " n ", n, " stride ", stride);
          std::vector<T> ys(size_t(n) + 4, guard), dx(size_t(n) + 4, guard);
          forward<T>(row, xs.data(), stride, ys.data(), n);
          bool equal = true;
          for (int64_t i = 0; i < n; ++i) equal &= same(ys[size_t(i)], value_at<T>(row, xs[size_t(i * stride)]));
          for (size_t i = size_t(n); i < ys.size(); ++i) equal &= ys[i] == guard;
          CHECK(equal);
          if (stride != 1) return;
          backward<T>(row, other.data(), xs.data(), ys.data(), dx.data(), n);
          for (size_t i = 0; i < size_t(n); ++i) equal &= dx[i] == other[i] * slope_at<T>(row, xs[i]);
          for (size_t i = size_t(n); i < ys.size(); ++i) equal &= dx[i] == guard;
          CHECK(equal);
          // in place
          std::vector<T> same_place(xs.begin(), xs.begin() + n), gradient(other.begin(), other.begin() + n);
          forward<T>(row, same_place.data(), 1, same_place.data(), n);
          backward<T>(row, gradient.data(), xs.data(), ys.data(), gradient.data(), n);
          for (size_t i = 0; i < size_t(n); ++i) equal &= same_place[i] == ys[i] && gradient[i] == dx[i];
          CHECK(equal);
        };
        unary(row::Exp{});
        unary(row::Tanh{});
        unary(row::Mish{});
        unary(row::LeakyRelu{{}, 0.25});
        unary(row::AddScalar{{}, 2.});

        for (int64_t b_stride : {0, 1, 3}) {
          INFO("n ", n, " strides ", stride, " ", b_stride);
          auto const a_at = [&](int64_t i) { return xs[size_t(i * stride)]; };
          auto const b_at = [&](int64_t i) { return other[size_t(i * b_stride)]; };
          auto const two = [&]<class R>(R const& row) {
            INFO(std::string(R::name));
            std::vector<T> ys(size_t(n) + 4, guard), da(ys), db(ys), da_only(ys), db_only(ys), g(size_t(n) + 4);
            for (size_t i = 0; i < g.size(); ++i) g[i] = T(i % 5) - 2;
            auto const& kernel = binary<T>(row);
            kernel.forward(&row, xs.data(), stride, other.data(), b_stride, ys.data(), n);
            auto const* const pa = R::reads & reads_a ? xs.data() : nullptr;
            auto const* const pb = R::reads & reads_b ? other.data() : nullptr;
            auto const* const py = R::reads & reads_y ? ys.data() : nullptr;
            kernel.backward(&row, g.data(), pa, stride, pb, b_stride, py, da.data(), db.data(), n);
            kernel.backward(&row, g.data(), pa, stride, pb, b_stride, py, da_only.data(), nullptr, n);
            kernel.backward(&row, g.data(), pa, stride, pb, b_stride, py, nullptr, db_only.data(), n);
            bool equal = true;
            for (int64_t i = 0; i < n; ++i) {
              T const a = a_at(i), b = b_at(i);
              T y, a1, b1;
              kernel.forward(&row, &a, 1, &b, 1, &y, 1);
              kernel.backward(&row, &g[size_t(i)], &a, 1, &b, 1, &y, &a1, &b1, 1);
              equal &= same(y, ys[size_t(i)]) && same(a1, da[size_t(i)]) && same(b1, db[size_t(i)]);
            }
            for (size_t i = size_t(n); i < ys.size(); ++i) equal &= ys[i] == guard && da[i] == guard && db[i] == guard;
            for (size_t i = 0; i < ys.size(); ++i) equal &= same(da[i], da_only[i]) && same(db[i], db_only[i]);
            CHECK(equal);
          };
          BinaryRows::for_each([&]<class R>(std::type_identity<R>) { two(R{}); });

          auto const& table = kernels<PointwiseKernels>().of<T>();
          std::vector<uint8_t> mask(size_t(n) + 4, 9);
          row::Lt const lt;
          table.compare[CompareRows::index_of<row::Lt>].forward(&lt, xs.data(), stride, other.data(), b_stride,
                                                                mask.data(), n);
          bool equal = true;
          for (int64_t i = 0; i < n; ++i) equal &= mask[size_t(i)] == uint8_t(a_at(i) < b_at(i));
          for (size_t i = size_t(n); i < mask.size(); ++i) equal &= mask[i] == 9;
          CHECK(equal);

          std::vector<uint8_t> wide(size_t(3 * n) + 3);
          for (size_t i = 0; i < wide.size(); ++i) wide[i] = uint8_t(i % 3 == 0 ? 0 : i);
          for (int64_t m_stride : {0, 1, 3}) {
            std::vector<T> ys(size_t(n) + 4, guard);
            table.where(wide.data() + 1, m_stride, xs.data(), stride, other.data(), b_stride, ys.data(), n);
            for (int64_t i = 0; i < n; ++i)
              equal &= ys[size_t(i)] == (wide[size_t(1 + i * m_stride)] ? a_at(i) : b_at(i));
            for (size_t i = size_t(n); i < ys.size(); ++i) equal &= ys[i] == guard;
          }
          CHECK(equal);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("pointwise: binary values and slopes", T, float, double) {
  heed::test::on_every_isa([] {
    auto const run = [&]<class R>(R const& row, auto reference, double low, double high, double ulps) {
      INFO(std::string(R::name));
      auto const as = samples<T>(low, high, 500);
      std::mt19937_64 engine(5);
      int bad = 0;
      for (T a : as) {
        T const b = T(low + (high - low) * double(engine() >> 11) * 0x1p-53);
        T y, da, db, one = 1;
        binary<T>(row).forward(&row, &a, 1, &b, 1, &y, 1);
        binary<T>(row).backward(&row, &one, &a, 1, &b, 1, &y, &da, &db, 1);
        if (!close(y, reference(Real(a), Real(b)), ulps, 0) && ++bad < 4)
          FAIL_CHECK("a ", double(a), " b ", double(b), " got ", double(y));
        Real const h = 1e-4L * std::fmax(Real(0.01), std::fabs(Real(a))),
                   k = 1e-4L * std::fmax(Real(0.01), std::fabs(Real(b)));
        auto const fifth = [](auto f, Real x, Real d) {
          return (8 * (f(x + d) - f(x - d)) - (f(x + 2 * d) - f(x - 2 * d))) / (12 * d);
        };
        Real const want_a = fifth([&](Real x) { return reference(x, Real(b)); }, a, h);
        Real const want_b = fifth([&](Real x) { return reference(Real(a), x); }, b, k);
        Real const bound = std::fmax(Real(1e-11), 8 * Real(std::numeric_limits<T>::epsilon()));
        if (std::fabs(a - b) < 0.01) continue;  // the kink of maximum and minimum
        if (!(std::fabs(da - want_a) <= bound * std::fmax(Real(1), std::fabs(want_a))) && ++bad < 4)
          FAIL_CHECK("a ", double(a), " b ", double(b), " da ", double(da), " want ", double(want_a));
        if (!(std::fabs(db - want_b) <= bound * std::fmax(Real(1), std::fabs(want_b))) && ++bad < 4)
          FAIL_CHECK("a ", double(a), " b ", double(b), " db ", double(db), " want ", double(want_b));
      }
      CHECK(bad == 0);
    };
    run(
        row::Add{}, [](Real a, Real b) { return a + b; }, -9, 9, 0.5);
    run(
        row::Sub{}, [](Real a, Real b) { return a - b; }, -9, 9, 0.5);
    run(
        row::Mul{}, [](Real a, Real b) { return a * b; }, -9, 9, 0.5);
    run(
        row::Div{}, [](Real a, Real b) { return a / b; }, 0.3, 9, 0.5);
    run(
        row::Maximum{}, [](Real a, Real b) { return a > b ? a : b; }, -9, 9, 0);
    run(
        row::Minimum{}, [](Real a, Real b) { return a < b ? a : b; }, -9, 9, 0);
    run(
        row::Pow{}, [](Real a, Real b) { return std::pow(a, b); }, 0.3, 4, 1);
  });
}

TEST_CASE_TEMPLATE("pointwise: comparisons", T, float, double) {
  heed::test::on_every_isa([] {
    std::vector<T> const values{T(-inf), -1, T(-0.), 0, 1, T(inf), T(nan_)};
    for (T a : values)
      for (T b : values) {
        INFO(double(a), " and ", double(b));
        auto const result = [&]<class R>(R const& row) {
          uint8_t y = 9;
          kernels<PointwiseKernels>().of<T>().compare[CompareRows::index_of<R>].forward(&row, &a, 1, &b, 1, &y, 1);
          return y;
        };
        CHECK(result(row::Eq{}) == uint8_t(a == b));
        CHECK(result(row::Ne{}) == uint8_t(a != b));
        CHECK(result(row::Lt{}) == uint8_t(a < b));
        CHECK(result(row::Le{}) == uint8_t(a <= b));
        CHECK(result(row::Gt{}) == uint8_t(a > b));
        CHECK(result(row::Ge{}) == uint8_t(a >= b));
      }
  });
}
