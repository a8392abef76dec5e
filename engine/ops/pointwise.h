// The pointwise ops: every formula once, as a row, and the kernels that a list of rows becomes.
//
// A row is a small trivially copyable object (empty, or holding its parameters). value(x) is its formula, read over
// Lane (kernels), Dual (slopes) and Tensor (derivatives of any order). slope(x, y) with y = value(x) is dy/dx; where it
// is missing, dual numbers supply it. Formulas use only arithmetic, comparisons with select, and the functions of
// engine/lane.h, all found by argument-dependent lookup; literals are doubles. A branch that select does not take must
// still be finite in its derivative, or its 0·inf becomes NaN in reverse: clamp its operand first. min and max return
// their second operand where one is NaN, so max(0., x) passes a NaN on. NaN gives NaN unless a row says otherwise.
#pragma once

#include <heed/engine/dual.h>
#include <heed/engine/isa.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace heed {

/// What a slope reads, so that the op saves no more: of one operand x and value y, or two operands a, b and y.
enum Reads : unsigned { reads_nothing = 0, reads_x = 1, reads_a = 1, reads_b = 2, reads_y = 4 };
constexpr Reads operator|(Reads a, Reads b) { return Reads(unsigned(a) | unsigned(b)); }

template <size_t size>
struct RowName {
  char text[size]{};
  constexpr RowName(char const (&from)[size]) {
    for (size_t i = 0; i < size; ++i) text[i] = from[i];
  }
};

/// Base of a row: its name, and what its slope reads.
template <RowName row_name, Reads slope_reads = reads_x>
struct Row {
  static constexpr char const* name = row_name.text;
  static constexpr Reads reads = slope_reads;
};

/// The two partial derivatives of a binary row.
template <class N>
struct Partials {
  N da, db;
};
template <class N>
Partials(N, N) -> Partials<N>;

/// dy/dx of a unary row; y = value(x). What row.reads leaves out may hold anything.
template <class Op, class N>
constexpr N slope(Op const& row, N const& x, N const& y) {
  if constexpr (requires { row.slope(x, y); })
    return row.slope(x, y);
  else
    return row.value(Dual<N>{x, constant_like(x, 1.)}).d;
}

/// dy/da and dy/db of a binary row.
template <class Op, class N>
constexpr Partials<N> slopes(Op const& row, N const& a, N const& b, N const& y) {
  if constexpr (requires { row.slopes(a, b, y); }) {
    return row.slopes(a, b, y);
  } else {
    N const zero = constant_like(a, 0.), one = constant_like(a, 1.);
    return {row.value(Dual<N>{a, one}, Dual<N>{b, zero}).d, row.value(Dual<N>{a, zero}, Dual<N>{b, one}).d};
  }
}

template <class... Rows>
struct RowList {
  static constexpr int size = sizeof...(Rows);
  /// The position of a row in the list, and so in its kernel table.
  template <class R>
  requires(std::is_same_v<R, Rows> || ...) static constexpr int index_of = [] {
    int i = 0;
    bool found = false;
    ((found || (found = std::is_same_v<R, Rows>) || ++i), ...);
    return i;
  }();
  /// f(type_identity<Row>{}) for every row, in order.
  static constexpr void for_each(auto&& f) { (f(std::type_identity<Rows>{}), ...); }
};

namespace row {

// ---- arithmetic

struct Neg : Row<"neg", reads_nothing> {
  constexpr auto value(auto const& x) const { return -x; }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, -1.); }
};
/// Slope 0 at 0 and at NaN.
struct Abs : Row<"abs"> {
  constexpr auto value(auto const& x) const { return abs(x); }
  constexpr auto slope(auto const& x, auto const&) const {
    auto const zero = constant_like(x, 0.), one = constant_like(x, 1.);
    return select(x > 0., one, select(x < 0., -one, zero));
  }
};
/// -1, 0 or 1; sign(NaN) = 0, as in PyTorch.
struct Sign : Row<"sign", reads_nothing> {
  constexpr auto value(auto const& x) const {
    auto const zero = constant_like(x, 0.), one = constant_like(x, 1.);
    return select(x > 0., one, select(x < 0., -one, zero));
  }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 0.); }
};
struct Square : Row<"square"> {
  constexpr auto value(auto const& x) const { return x * x; }
  constexpr auto slope(auto const& x, auto const&) const { return 2. * x; }
};
/// NaN below 0; slope inf at 0.
struct Sqrt : Row<"sqrt", reads_y> {
  constexpr auto value(auto const& x) const { return sqrt(x); }
  constexpr auto slope(auto const&, auto const& y) const { return 0.5 / y; }
};
struct Rsqrt : Row<"rsqrt", reads_y> {
  constexpr auto value(auto const& x) const { return rsqrt(x); }
  constexpr auto slope(auto const&, auto const& y) const { return -0.5 * (y * y * y); }
};
struct Reciprocal : Row<"reciprocal", reads_y> {
  constexpr auto value(auto const& x) const { return 1. / x; }
  constexpr auto slope(auto const&, auto const& y) const { return -(y * y); }
};

// ---- exponential, logarithm, trigonometry

struct Exp : Row<"exp", reads_y> {
  constexpr auto value(auto const& x) const { return exp(x); }
  constexpr auto slope(auto const&, auto const& y) const { return y; }
};
/// The slope y + 1 is good to an absolute, not a relative ulp where x is far below 0.
struct Expm1 : Row<"expm1", reads_y> {
  constexpr auto value(auto const& x) const { return expm1(x); }
  constexpr auto slope(auto const&, auto const& y) const { return y + 1.; }
};
struct Log : Row<"log"> {
  constexpr auto value(auto const& x) const { return log(x); }
  constexpr auto slope(auto const& x, auto const&) const { return 1. / x; }
};
struct Log1p : Row<"log1p"> {
  constexpr auto value(auto const& x) const { return log1p(x); }
  constexpr auto slope(auto const& x, auto const&) const { return 1. / (1. + x); }
};
struct Sin : Row<"sin"> {
  constexpr auto value(auto const& x) const { return sin(x); }
  constexpr auto slope(auto const& x, auto const&) const { return cos(x); }
};
struct Cos : Row<"cos"> {
  constexpr auto value(auto const& x) const { return cos(x); }
  constexpr auto slope(auto const& x, auto const&) const { return -sin(x); }
};
struct Tanh : Row<"tanh", reads_y> {
  constexpr auto value(auto const& x) const { return tanh(x); }
  constexpr auto slope(auto const&, auto const& y) const { return 1. - y * y; }
};
struct Erf : Row<"erf"> {
  constexpr auto value(auto const& x) const { return erf(x); }
  constexpr auto slope(auto const& x, auto const&) const { return 1.12837916709551257 * exp(-(x * x)); }  // 2/√π
};

// ---- activations

/// sigmoid(u) and 1 - sigmoid(u) = sigmoid(-u), each to its last digits and without overflow: exp is of -|u|. (Not by
/// abs, whose derivative at 0 would lose that of the pair.)
template <class N>
struct SigmoidPair {
  N s, rest;
  constexpr explicit SigmoidPair(N const& u) : SigmoidPair(u, exp(select(u > 0., -u, u))) {}

 private:
  constexpr SigmoidPair(N const& u, N const& e) : SigmoidPair(u, e, 1. / (1. + e)) {}
  constexpr SigmoidPair(N const& u, N const& e, N const& r)
      : s(select(u > 0., r, e * r)), rest(select(u > 0., e * r, r)) {}
};

struct Sigmoid : Row<"sigmoid", reads_y> {
  constexpr auto value(auto const& x) const { return sigmoid(x); }
  constexpr auto slope(auto const&, auto const& y) const { return y * (1. - y); }
};
struct LogSigmoid : Row<"log_sigmoid"> {
  constexpr auto value(auto const& x) const { return min(0., x) - log1p(exp(-abs(x))); }
  constexpr auto slope(auto const& x, auto const&) const { return SigmoidPair(x).rest; }
};
/// log(1 + e^x) without a threshold: exact at both ends.
struct Softplus : Row<"softplus"> {
  constexpr auto value(auto const& x) const { return max(0., x) + log1p(exp(-abs(x))); }
  constexpr auto slope(auto const& x, auto const&) const { return SigmoidPair(x).s; }
};
/// Slope 0 at 0, 1 at NaN.
struct Relu : Row<"relu"> {
  constexpr auto value(auto const& x) const { return max(0., x); }
  constexpr auto slope(auto const& x, auto const&) const {
    return select(x <= 0., constant_like(x, 0.), constant_like(x, 1.));
  }
};
/// Slope negative_slope at 0.
struct LeakyRelu : Row<"leaky_relu"> {
  double negative_slope;
  constexpr auto value(auto const& x) const { return select(x > 0., x, negative_slope * x); }
  constexpr auto slope(auto const& x, auto const&) const {
    return select(x > 0., constant_like(x, 1.), constant_like(x, negative_slope));
  }
};
/// α(e^x - 1) below 0 (Clevert, Unterthiner, Hochreiter 2015).
struct Elu : Row<"elu"> {
  double alpha;
  constexpr auto value(auto const& x) const { return select(x > 0., x, alpha * expm1(min(0., x))); }
  constexpr auto slope(auto const& x, auto const&) const {
    return select(x > 0., constant_like(x, 1.), alpha * exp(min(0., x)));
  }
};
/// x·Φ(x) (Hendrycks, Gimpel 2016). -inf gives NaN, as in PyTorch.
struct Gelu : Row<"gelu"> {
  constexpr auto value(auto const& x) const { return x * normal_cdf(x); }
  constexpr auto slope(auto const& x, auto const&) const {
    return normal_cdf(x) + 0.398942280401432678 * x * exp(-0.5 * (x * x));  // 1/√2π
  }
};
/// ½x(1 + tanh u) with u = √(2/π)(x + 0.044715 x³), as x·sigmoid(2u): half the cost, and the negative tail keeps its
/// digits. -inf gives NaN, as in PyTorch.
struct GeluTanh : Row<"gelu_tanh"> {
  static constexpr double two_c = 1.59576912160573071, cubic = 0.044715;  // 2√(2/π)
  constexpr auto value(auto const& x) const { return x / (1. + exp(-two_c * x * (1. + cubic * (x * x)))); }
  constexpr auto slope(auto const& x, auto const&) const {
    auto const z = x * x;
    auto const [s, rest] = SigmoidPair(two_c * x * (1. + cubic * z));
    return s + x * s * rest * (two_c * (1. + 3. * cubic * z));
  }
};
/// x·sigmoid(x). -inf gives NaN, as in PyTorch.
struct Silu : Row<"silu"> {
  constexpr auto value(auto const& x) const { return x / (1. + exp(-x)); }
  constexpr auto slope(auto const& x, auto const&) const {
    auto const [s, rest] = SigmoidPair(x);
    return s * (1. + x * rest);
  }
};
/// x·tanh(softplus(x)) (Misra 2019), as x·w / (w + 2), w = e^x (e^x + 2), which is 1 in f64 from 20 on. -inf gives NaN.
struct Mish : Row<"mish"> {
  constexpr auto value(auto const& x) const {
    auto const e = exp(min(20., x));
    auto const w = e * (e + 2.);
    return x * (w / (w + 2.));
  }
};
/// x where x > threshold or NaN, else value.
struct Threshold : Row<"threshold"> {
  double threshold, otherwise;
  constexpr auto value(auto const& x) const { return select(x <= threshold, constant_like(x, otherwise), x); }
  constexpr auto slope(auto const& x, auto const&) const {
    return select(x <= threshold, constant_like(x, 0.), constant_like(x, 1.));
  }
};

// ---- rounding: slope 0 everywhere

struct Floor : Row<"floor", reads_nothing> {
  constexpr auto value(auto const& x) const { return floor(x); }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 0.); }
};
struct Ceil : Row<"ceil", reads_nothing> {
  constexpr auto value(auto const& x) const { return ceil(x); }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 0.); }
};
/// Half to even.
struct Round : Row<"round", reads_nothing> {
  constexpr auto value(auto const& x) const { return round(x); }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 0.); }
};
struct Trunc : Row<"trunc", reads_nothing> {
  constexpr auto value(auto const& x) const { return trunc(x); }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 0.); }
};

// ---- with a scalar

struct AddScalar : Row<"add_scalar", reads_nothing> {
  double scalar;
  constexpr auto value(auto const& x) const { return x + scalar; }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 1.); }
};
/// scalar - x
struct RsubScalar : Row<"rsub_scalar", reads_nothing> {
  double scalar;
  constexpr auto value(auto const& x) const { return scalar - x; }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, -1.); }
};
struct MulScalar : Row<"mul_scalar", reads_nothing> {
  double scalar;
  constexpr auto value(auto const& x) const { return x * scalar; }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, scalar); }
};
/// x / scalar: not x·(1/scalar), whose last bit differs.
struct DivScalar : Row<"div_scalar", reads_nothing> {
  double scalar;
  constexpr auto value(auto const& x) const { return x / scalar; }
  constexpr auto slope(auto const& x, auto const&) const { return constant_like(x, 1. / scalar); }
};
/// scalar / x
struct RdivScalar : Row<"rdiv_scalar", reads_x | reads_y> {
  double scalar;
  constexpr auto value(auto const& x) const { return scalar / x; }
  constexpr auto slope(auto const& x, auto const& y) const { return -y / x; }
};
/// x^exponent; ½, 2, 3, -1, -2 as square root and products (so (-inf)^½ is NaN and (-0)^½ is -0, as in PyTorch).
/// Slope 0 for exponent 0, also where x is 0.
struct PowScalar : Row<"pow_scalar"> {
  double exponent;
  constexpr auto value(auto const& x) const { return power(x, exponent); }
  constexpr auto slope(auto const& x, auto const&) const {
    auto y = constant_like(x, exponent);
    if (exponent != 0.) y = exponent * power(x, exponent - 1.);
    return y;
  }

 private:
  template <class N>
  static constexpr N power(N const& x, double exponent) {
    if (exponent == 1.) return x;
    if (exponent == 2.) return x * x;
    if (exponent == 3.) return x * x * x;
    if (exponent == 0.5) return sqrt(x);
    if (exponent == -0.5) return rsqrt(x);
    if (exponent == -1.) return 1. / x;
    if (exponent == -2.) return 1. / (x * x);
    return pow(x, exponent);
  }
};
/// min(max(x, low), high): high where low > high. Slope 1 within and on the bounds.
struct Clamp : Row<"clamp"> {
  double low, high;
  constexpr auto value(auto const& x) const { return min(high, max(low, x)); }
  constexpr auto slope(auto const& x, auto const&) const {
    return select((x >= low) & (x <= high), constant_like(x, 1.), constant_like(x, 0.));
  }
};

// ---- two operands

struct Add : Row<"add", reads_nothing> {
  constexpr auto value(auto const& a, auto const& b) const { return a + b; }
  constexpr auto slopes(auto const& a, auto const&, auto const&) const {
    return Partials{constant_like(a, 1.), constant_like(a, 1.)};
  }
};
struct Sub : Row<"sub", reads_nothing> {
  constexpr auto value(auto const& a, auto const& b) const { return a - b; }
  constexpr auto slopes(auto const& a, auto const&, auto const&) const {
    return Partials{constant_like(a, 1.), constant_like(a, -1.)};
  }
};
struct Mul : Row<"mul", reads_a | reads_b> {
  constexpr auto value(auto const& a, auto const& b) const { return a * b; }
  constexpr auto slopes(auto const& a, auto const& b, auto const&) const { return Partials{b, a}; }
};
struct Div : Row<"div", reads_b | reads_y> {
  constexpr auto value(auto const& a, auto const& b) const { return a / b; }
  constexpr auto slopes(auto const&, auto const& b, auto const& y) const {
    auto const r = 1. / b;
    return Partials{r, -(y * r)};
  }
};
/// NaN where either is NaN; the gradient of a tie goes half to each.
struct Maximum : Row<"maximum", reads_a | reads_b> {
  constexpr auto value(auto const& a, auto const& b) const { return select(a != a, a, max(a, b)); }
  constexpr auto slopes(auto const& a, auto const& b, auto const&) const {
    auto const zero = constant_like(a, 0.), half = constant_like(a, 0.5), one = constant_like(a, 1.);
    return Partials{select(a == b, half, select(a < b, zero, one)), select(a == b, half, select(a > b, zero, one))};
  }
};
struct Minimum : Row<"minimum", reads_a | reads_b> {
  constexpr auto value(auto const& a, auto const& b) const { return select(a != a, a, min(a, b)); }
  constexpr auto slopes(auto const& a, auto const& b, auto const&) const {
    auto const zero = constant_like(a, 0.), half = constant_like(a, 0.5), one = constant_like(a, 1.);
    return Partials{select(a == b, half, select(a > b, zero, one)), select(a == b, half, select(a < b, zero, one))};
  }
};
/// C99's pow. da = 0 where b = 0; db = 0 where a = 0 <= b, NaN where a < 0.
struct Pow : Row<"pow", reads_a | reads_b | reads_y> {
  constexpr auto value(auto const& a, auto const& b) const { return pow(a, b); }
  constexpr auto slopes(auto const& a, auto const& b, auto const& y) const {
    auto const zero = constant_like(a, 0.), one = constant_like(a, 1.);
    auto const flat = (a == 0.) & (b >= 0.);
    return Partials{select(b == 0., zero, b * pow(a, select(b == 0., one, b - 1.))),
                    select(flat, zero, y * log(select(flat, one, a)))};
  }
};

// ---- comparisons: 1 or 0 of uint8; every one but ne is false for NaN

struct Eq : Row<"eq"> {
  constexpr auto value(auto const& a, auto const& b) const { return a == b; }
};
struct Ne : Row<"ne"> {
  constexpr auto value(auto const& a, auto const& b) const { return a != b; }
};
struct Lt : Row<"lt"> {
  constexpr auto value(auto const& a, auto const& b) const { return a < b; }
};
struct Le : Row<"le"> {
  constexpr auto value(auto const& a, auto const& b) const { return a <= b; }
};
struct Gt : Row<"gt"> {
  constexpr auto value(auto const& a, auto const& b) const { return a > b; }
};
struct Ge : Row<"ge"> {
  constexpr auto value(auto const& a, auto const& b) const { return a >= b; }
};

}  // namespace row

using UnaryRows =
    RowList<row::Neg, row::Abs, row::Sign, row::Square, row::Sqrt, row::Rsqrt, row::Reciprocal, row::Exp, row::Expm1,
            row::Log, row::Log1p, row::Sin, row::Cos, row::Tanh, row::Erf, row::Sigmoid, row::LogSigmoid, row::Softplus,
            row::Relu, row::LeakyRelu, row::Elu, row::Gelu, row::GeluTanh, row::Silu, row::Mish, row::Threshold,
            row::Floor, row::Ceil, row::Round, row::Trunc, row::AddScalar, row::RsubScalar, row::MulScalar,
            row::DivScalar, row::RdivScalar, row::PowScalar, row::Clamp>;
using BinaryRows = RowList<row::Add, row::Sub, row::Mul, row::Div, row::Maximum, row::Minimum, row::Pow>;
using CompareRows = RowList<row::Eq, row::Ne, row::Lt, row::Le, row::Gt, row::Ge>;

// Strides count elements; 1 and 0 (one element for all) are fast, others are gathered in blocks. Outputs are contiguous
// and overwritten. An output may be an operand or gradient read with stride 1 from the same address; no other overlap.
// `row` points to the row object. What Row::reads leaves out of x, a, b, y is not read, and may be null.

template <class T>
struct UnaryKernel {
  void (*forward)(void const* row, T const* x, int64_t x_stride, T* y, int64_t n);
  /// dx = g · slope(x, y), all contiguous.
  void (*backward)(void const* row, T const* g, T const* x, T const* y, T* dx, int64_t n);
};
template <class T>
struct BinaryKernel {
  void (*forward)(void const* row, T const* a, int64_t a_stride, T const* b, int64_t b_stride, T* y, int64_t n);
  /// da = g · ∂y/∂a, db = g · ∂y/∂b, one per element (the caller sums what was broadcast). Either may be null.
  void (*backward)(void const* row, T const* g, T const* a, int64_t a_stride, T const* b, int64_t b_stride, T const* y,
                   T* da, T* db, int64_t n);
};
template <class T>
struct CompareKernel {
  void (*forward)(void const* row, T const* a, int64_t a_stride, T const* b, int64_t b_stride, uint8_t* y, int64_t n);
};

template <class T>
struct PointwiseTable {
  UnaryKernel<T> unary[UnaryRows::size];
  BinaryKernel<T> binary[BinaryRows::size];
  CompareKernel<T> compare[CompareRows::size];
  /// y = mask ? a : b; any mask byte but 0 is true.
  void (*where)(uint8_t const* mask, int64_t mask_stride, T const* a, int64_t a_stride, T const* b, int64_t b_stride,
                T* y, int64_t n);
};

struct PointwiseKernels : PerType<PointwiseTable> {};

}  // namespace heed

HEED_KERNELS(PointwiseKernels, pointwise_kernels)
