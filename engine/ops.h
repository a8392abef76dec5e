// The catalogue: every operation once, with formula, shapes and errors. Unless said otherwise an operation takes f32
// and f64, promotes mixed types as PyTorch does, broadcasts as NumPy does, and has a gradient that can be
// differentiated again. A primitive, which has a kernel, opens an Observed (observe.h), so that a profile shows it.
#pragma once

#include <heed/engine/random.h>
#include <heed/engine/tensor.h>

#include <concepts>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace heed {

// ---- creation -------------------------------------------------------------------------------------------------------
Tensor empty(Shape const& shape, Dtype dtype = Dtype::f32);
Tensor full(Shape const& shape, Number value, Dtype dtype = Dtype::f32);
Tensor zeros(Shape const& shape, Dtype dtype = Dtype::f32);
Tensor ones(Shape const& shape, Dtype dtype = Dtype::f32);
Tensor zeros_like(Tensor const& x);
Tensor ones_like(Tensor const& x);
/// from, from + step, … < to
Tensor arange(int64_t from, int64_t to, int64_t step = 1, Dtype dtype = Dtype::i64);
inline Tensor arange(int64_t to) { return arange(0, to); }
/// A copy of `values` in row-major order; T: float, double, int8_t to int64_t, uint8_t.
template <class T>
Tensor tensor(std::span<T const> values, Shape const& shape);
template <class T>
Tensor tensor(std::vector<T> const& values, Shape const& shape) {
  return tensor(std::span<T const>(values), shape);
}
/// tensor({1, 2, 3}): one axis of f32; tensor({{1, 2}, {3, 4}}): two.
Tensor tensor(std::initializer_list<float> values);
Tensor tensor(std::initializer_list<std::initializer_list<float>> rows);
/// A tensor of rank 0.
Tensor scalar(Number value, Dtype dtype = Dtype::f32);

// ---- random ---------------------------------------------------------------------------------------------------------
// From a counter-based generator (random.h): element i depends on (seed, offset, i) alone.
/// Uniform on [0, 1).
Tensor rand(Shape const& shape, Dtype dtype = Dtype::f32, Generator& generator = default_generator());
/// Standard normal, by Box–Muller (1958).
Tensor randn(Shape const& shape, Dtype dtype = Dtype::f32, Generator& generator = default_generator());
/// Integers uniform on [low, high), i64.
Tensor randint(int64_t low, int64_t high, Shape const& shape, Generator& generator = default_generator());

// ---- pointwise, two operands ----------------------------------------------------------------------------------------
Tensor add(Tensor const& a, Tensor const& b);
Tensor sub(Tensor const& a, Tensor const& b);
Tensor mul(Tensor const& a, Tensor const& b);
Tensor div(Tensor const& a, Tensor const& b);
enum class Rounding { trunc, floor };
/// The quotient rounded towards 0 or −∞; of integers an integer, and an Error where b is 0.
Tensor div(Tensor const& a, Tensor const& b, Rounding rounding);
/// ⌊a/b⌋
Tensor floor_divide(Tensor const& a, Tensor const& b);
/// a − b·⌊a/b⌋: the sign is b's.
Tensor remainder(Tensor const& a, Tensor const& b);
/// a − b·trunc(a/b): the sign is a's.
Tensor fmod(Tensor const& a, Tensor const& b);
/// a to the power b; of integers modulo the type's width.
Tensor pow(Tensor const& a, Tensor const& b);
Tensor pow(Tensor const& a, Number exponent);
Tensor pow(Number base, Tensor const& b);
/// √(a² + b²) without overflow
Tensor hypot(Tensor const& a, Tensor const& b);
/// The angle of the point (b, a) in (−π, π].
Tensor atan2(Tensor const& a, Tensor const& b);
/// |a| with b's sign bit
Tensor copysign(Tensor const& a, Tensor const& b);
/// The next number after a in b's direction.
Tensor nextafter(Tensor const& a, Tensor const& b);
/// a·2ᵇ
Tensor ldexp(Tensor const& a, Tensor const& b);
/// log(eᵃ + eᵇ) and log₂(2ᵃ + 2ᵇ), without overflow
Tensor logaddexp(Tensor const& a, Tensor const& b);
Tensor logaddexp2(Tensor const& a, Tensor const& b);
/// a·log(b) and a·log(1 + b), 0 where a is 0
Tensor xlogy(Tensor const& a, Tensor const& b);
Tensor xlog1py(Tensor const& a, Tensor const& b);
/// Hurwitz's ζ(a, b) = Σ_k (b + k)⁻ᵃ; differentiable by b.
Tensor zeta(Tensor const& a, Tensor const& b);
/// 0 below 0, 1 above, b at a = 0
Tensor heaviside(Tensor const& a, Tensor const& b);
/// NaN if either is; equal operands share the gradient.
Tensor maximum(Tensor const& a, Tensor const& b);
Tensor minimum(Tensor const& a, Tensor const& b);
/// As maximum and minimum, but a NaN loses, and a takes the gradient of a tie.
Tensor fmax(Tensor const& a, Tensor const& b);
Tensor fmin(Tensor const& a, Tensor const& b);
/// from + weight·(to − from), exact at both ends
Tensor lerp(Tensor const& from, Tensor const& to, Tensor const& weight);
Tensor lerp(Tensor const& from, Tensor const& to, double weight);
/// x + value·a·b and x + value·a/b
Tensor addcmul(Tensor const& x, Tensor const& a, Tensor const& b, Number value = 1);
Tensor addcdiv(Tensor const& x, Tensor const& a, Tensor const& b, double value = 1);

inline Tensor operator+(Tensor const& a, Tensor const& b) { return add(a, b); }
inline Tensor operator-(Tensor const& a, Tensor const& b) { return sub(a, b); }
inline Tensor operator*(Tensor const& a, Tensor const& b) { return mul(a, b); }
inline Tensor operator/(Tensor const& a, Tensor const& b) { return div(a, b); }
// A number takes the tensor's type, unless its kind is higher (number.h).
Tensor operator+(Tensor const& a, Number b);
Tensor operator+(Number a, Tensor const& b);
Tensor operator-(Tensor const& a, Number b);
Tensor operator-(Number a, Tensor const& b);
Tensor operator*(Tensor const& a, Number b);
Tensor operator*(Number a, Tensor const& b);
Tensor operator/(Tensor const& a, Number b);
Tensor operator/(Number a, Tensor const& b);
Tensor operator-(Tensor const& a);

// Comparisons, element by element: bool, no gradient.
Tensor operator==(Tensor const& a, Tensor const& b);
Tensor operator!=(Tensor const& a, Tensor const& b);
Tensor operator<(Tensor const& a, Tensor const& b);
Tensor operator<=(Tensor const& a, Tensor const& b);
Tensor operator>(Tensor const& a, Tensor const& b);
Tensor operator>=(Tensor const& a, Tensor const& b);
Tensor operator==(Tensor const& a, Number b);
Tensor operator!=(Tensor const& a, Number b);
Tensor operator<(Tensor const& a, Number b);
Tensor operator<=(Tensor const& a, Number b);
Tensor operator>(Tensor const& a, Number b);
Tensor operator>=(Tensor const& a, Number b);
/// |a − b| ≤ atol + rtol·|b|; equal infinities are close, NaNs if asked.
Tensor isclose(Tensor const& a, Tensor const& b, double rtol = 1e-5, double atol = 1e-8, bool equal_nan = false);
bool allclose(Tensor const& a, Tensor const& b, double rtol = 1e-5, double atol = 1e-8, bool equal_nan = false);
/// Same shape and elements.
bool equal(Tensor const& a, Tensor const& b);

// Bits of integers and bools. A shift by a negative count, or by the width or more, shifts everything out.
Tensor bitwise_and(Tensor const& a, Tensor const& b);
Tensor bitwise_or(Tensor const& a, Tensor const& b);
Tensor bitwise_xor(Tensor const& a, Tensor const& b);
Tensor bitwise_not(Tensor const& x);
Tensor bitwise_left_shift(Tensor const& a, Tensor const& b);
Tensor bitwise_right_shift(Tensor const& a, Tensor const& b);
Tensor operator&(Tensor const& a, Tensor const& b);
Tensor operator|(Tensor const& a, Tensor const& b);
Tensor operator^(Tensor const& a, Tensor const& b);
Tensor operator~(Tensor const& x);
/// Greatest common divisor, least common multiple: not negative.
Tensor gcd(Tensor const& a, Tensor const& b);
Tensor lcm(Tensor const& a, Tensor const& b);
// Truth values of any type (x != 0): bool.
Tensor logical_and(Tensor const& a, Tensor const& b);
Tensor logical_or(Tensor const& a, Tensor const& b);
Tensor logical_xor(Tensor const& a, Tensor const& b);
Tensor logical_not(Tensor const& x);
Tensor operator!(Tensor const& x);

/// condition ? a : b; `condition` is bool. The branch not taken has gradient 0, even where it is NaN.
Tensor where(Tensor const& condition, Tensor const& a, Tensor const& b);
Tensor where(Tensor const& condition, Tensor const& a, Number b);
Tensor where(Tensor const& condition, Number a, Tensor const& b);
/// x where `mask` is false, `value` where it is true.
Tensor masked_fill(Tensor const& x, Tensor const& mask, Number value);

// ---- pointwise, one operand -----------------------------------------------------------------------------------------
Tensor neg(Tensor const& x);
Tensor abs(Tensor const& x);
Tensor sign(Tensor const& x);
Tensor square(Tensor const& x);
Tensor sqrt(Tensor const& x);
/// 1/√x
Tensor rsqrt(Tensor const& x);
/// 1/x
Tensor reciprocal(Tensor const& x);
Tensor exp(Tensor const& x);
/// eˣ − 1
Tensor expm1(Tensor const& x);
Tensor log(Tensor const& x);
/// log(1 + x)
Tensor log1p(Tensor const& x);
Tensor sin(Tensor const& x);
Tensor cos(Tensor const& x);
Tensor tan(Tensor const& x);
Tensor asin(Tensor const& x);
Tensor acos(Tensor const& x);
Tensor atan(Tensor const& x);
Tensor sinh(Tensor const& x);
Tensor cosh(Tensor const& x);
Tensor tanh(Tensor const& x);
Tensor asinh(Tensor const& x);
Tensor acosh(Tensor const& x);
Tensor atanh(Tensor const& x);
/// sin(πx)/(πx), 1 at 0
Tensor sinc(Tensor const& x);
Tensor deg2rad(Tensor const& x);
Tensor rad2deg(Tensor const& x);
Tensor exp2(Tensor const& x);
Tensor log2(Tensor const& x);
Tensor log10(Tensor const& x);
Tensor erf(Tensor const& x);
/// 1 − erf(x), with all its digits where that is small; erfcx is e^(x²)·erfc(x).
Tensor erfc(Tensor const& x);
Tensor erfcx(Tensor const& x);
Tensor erfinv(Tensor const& x);
/// The normal distribution function Φ(x), its logarithm and its inverse.
Tensor ndtr(Tensor const& x);
Tensor log_ndtr(Tensor const& x);
Tensor ndtri(Tensor const& x);
/// −x·log(x), 0 at 0, −∞ below
Tensor entr(Tensor const& x);
/// log |Γ(x)|, its derivative, and that one's n-th derivative
Tensor lgamma(Tensor const& x);
Tensor digamma(Tensor const& x);
Tensor polygamma(int n, Tensor const& x);
/// log Γ_p(x) = p(p − 1)/4·log π + Σ_i<p log Γ(x − i/2)
Tensor mvlgamma(Tensor const& x, int p);
/// Modified Bessel functions of the first kind, plain and times e^−|x|.
Tensor i0(Tensor const& x);
Tensor i0e(Tensor const& x);
Tensor i1(Tensor const& x);
Tensor i1e(Tensor const& x);
Tensor floor(Tensor const& x);
Tensor ceil(Tensor const& x);
/// To the nearest integer, halves to even.
Tensor round(Tensor const& x);
Tensor trunc(Tensor const& x);
/// To `decimals` places.
Tensor round(Tensor const& x, int decimals);
/// x − trunc(x)
Tensor frac(Tensor const& x);
/// min(max(x, low), high); gradient 1 on [low, high].
Tensor clamp(Tensor const& x, Number low, Number high);
Tensor clamp_min(Tensor const& x, Number low);
Tensor clamp_max(Tensor const& x, Number high);
/// Bounds for each element, one of them possibly undefined; where x passes a bound the gradient is the bound's.
Tensor clamp(Tensor const& x, Tensor const& low, Tensor const& high);
Tensor clamp_min(Tensor const& x, Tensor const& low);
Tensor clamp_max(Tensor const& x, Tensor const& high);
/// NaN and the infinities replaced: by 0 and the type's largest numbers, unless told.
Tensor nan_to_num(Tensor const& x, double nan = 0, std::optional<double> positive = {},
                  std::optional<double> negative = {});
// What a number is: bool.
Tensor isnan(Tensor const& x);
Tensor isinf(Tensor const& x);
Tensor isposinf(Tensor const& x);
Tensor isneginf(Tensor const& x);
Tensor isfinite(Tensor const& x);
Tensor signbit(Tensor const& x);
/// 1/(1 + e⁻ˣ)
Tensor sigmoid(Tensor const& x);
Tensor log_sigmoid(Tensor const& x);
/// log(p/(1 − p)), of p kept within [eps, 1 − eps] where eps is given
Tensor logit(Tensor const& p);
Tensor logit(Tensor const& p, double eps);
/// log(1 + eˣ); with beta: log(1 + e^(beta·x))/beta, and x itself where beta·x > threshold
Tensor softplus(Tensor const& x);
Tensor softplus(Tensor const& x, double beta, double threshold = std::numeric_limits<double>::infinity());
Tensor relu(Tensor const& x);
/// min(relu(x), 6)
Tensor relu6(Tensor const& x);
/// x where x > threshold, else value
Tensor threshold(Tensor const& x, double threshold, double value);
/// x where x > 0, else weight·x: one weight, or one for each channel (axis 1) (He et al., 2015).
Tensor prelu(Tensor const& x, Tensor const& weight);
Tensor leaky_relu(Tensor const& x, double negative_slope = 0.01);
/// x where x > 0, else alpha·(eˣ − 1) (Clevert et al., 2015); celu has e^(x/alpha) (Barron, 2017), selu fixed constants
/// (Klambauer et al., 2017).
Tensor elu(Tensor const& x, double alpha = 1);
Tensor celu(Tensor const& x, double alpha = 1);
Tensor selu(Tensor const& x);
/// x kept within [low, high]; gradient 0 at the bounds
Tensor hard_tanh(Tensor const& x, double low = -1, double high = 1);
/// relu6(x + 3)/6, and x times that (Howard et al., 2019)
Tensor hard_sigmoid(Tensor const& x);
Tensor hard_swish(Tensor const& x);
/// 0 where |x| ≤ threshold; soft_shrink also moves the rest towards 0 by it.
Tensor hard_shrink(Tensor const& x, double threshold = 0.5);
Tensor soft_shrink(Tensor const& x, double threshold = 0.5);
/// x − tanh(x)
Tensor tanhshrink(Tensor const& x);
/// x/(1 + |x|)
Tensor softsign(Tensor const& x);
/// x·Φ(x) (Hendrycks and Gimpel, 2016)
Tensor gelu(Tensor const& x);
/// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
Tensor gelu_tanh(Tensor const& x);
/// x·sigmoid(x) (Ramachandran et al., 2017)
Tensor silu(Tensor const& x);
/// x·tanh(softplus(x)) (Misra, 2019)
Tensor mish(Tensor const& x);
// Gated linear units (Dauphin et al., 2017; Shazeer, 2020): the first half of `axis` times f of the second half, f the
// sigmoid, relu, gelu or silu.
Tensor glu(Tensor const& x, int axis = -1);
Tensor reglu(Tensor const& x, int axis = -1);
Tensor geglu(Tensor const& x, int axis = -1);
Tensor swiglu(Tensor const& x, int axis = -1);

// ---- reductions -----------------------------------------------------------------------------------------------------
// Over all elements, or over one or more axes (none named: each element by itself); `keep` leaves them with size 1. As
// in PyTorch a tensor of rank 0 may be reduced over its axis 0, or −1.
/// Integers and bools add up as i64; `dtype` converts the elements first.
Tensor sum(Tensor const& x);
Tensor sum(Tensor const& x, Dims const& axes, bool keep = false, std::optional<Dtype> dtype = {});
/// Of floating tensors: an Error for others unless `dtype` makes them so. NaN of nothing.
Tensor mean(Tensor const& x);
Tensor mean(Tensor const& x, Dims const& axes, bool keep = false, std::optional<Dtype> dtype = {});
/// Integers and bools multiply as i64. The gradient is exact beside zeros too.
Tensor prod(Tensor const& x);
Tensor prod(Tensor const& x, Dims const& axes, bool keep = false, std::optional<Dtype> dtype = {});
inline Tensor prod(Tensor const& x, std::integral auto axis, bool keep = false) { return prod(x, Dims{axis}, keep); }
/// The sum and the mean of what is not NaN.
Tensor nansum(Tensor const& x);
Tensor nansum(Tensor const& x, Dims const& axes, bool keep = false, std::optional<Dtype> dtype = {});
Tensor nanmean(Tensor const& x);
Tensor nanmean(Tensor const& x, Dims const& axes, bool keep = false);
/// Of any type. Ties share the gradient equally; NaN wins. An Error over an empty axis.
Tensor amax(Tensor const& x, Dims const& axes, bool keep = false);
Tensor amin(Tensor const& x, Dims const& axes, bool keep = false);
struct MinMax {
  Tensor min, max;
};
/// amin and amax at once.
MinMax aminmax(Tensor const& x);
MinMax aminmax(Tensor const& x, int axis, bool keep = false);
/// Elements and the places (i64) along an axis where they stand in the operand; the gradient goes to those places.
struct Indexed {
  Tensor values, indices;
};
/// Over all elements as amax; along an axis the first of equals, or the first NaN.
Tensor max(Tensor const& x);
Tensor min(Tensor const& x);
Indexed max(Tensor const& x, int axis, bool keep = false);
Indexed min(Tensor const& x, int axis, bool keep = false);
/// First place of the largest (smallest) number, or of NaN: i64, no gradient. Over all elements it counts them in
/// row-major order.
Tensor argmax(Tensor const& x);
Tensor argmin(Tensor const& x);
Tensor argmax(Tensor const& x, int axis, bool keep = false);
Tensor argmin(Tensor const& x, int axis, bool keep = false);
/// Whether an element (every element) is not 0; NaN is not. bool, for u8 u8.
Tensor any(Tensor const& x);
Tensor any(Tensor const& x, Dims const& axes, bool keep = false);
Tensor all(Tensor const& x);
Tensor all(Tensor const& x, Dims const& axes, bool keep = false);
/// How many elements are not 0: i64.
Tensor count_nonzero(Tensor const& x);
Tensor count_nonzero(Tensor const& x, Dims const& axes);
/// Σ (x − mean)² / max(n − correction, 0); NaN for one element and correction 1.
Tensor var(Tensor const& x);
Tensor var(Tensor const& x, Dims const& axes, double correction = 1, bool keep = false);
/// √var, with gradient 0 where that is 0.
Tensor std(Tensor const& x);
Tensor std(Tensor const& x, Dims const& axes, double correction = 1, bool keep = false);
/// The variance (standard deviation), then the mean.
std::pair<Tensor, Tensor> var_mean(Tensor const& x, Dims const& axes, double correction = 1, bool keep = false);
std::pair<Tensor, Tensor> std_mean(Tensor const& x, Dims const& axes, double correction = 1, bool keep = false);
/// (Σ |x|^ord)^(1/ord): the largest |x| for ord = ∞, the smallest for −∞, how many are not 0 for 0. Gradient 0 where
/// it is 0. An Error over an empty axis for ord = ∞ and ord < 0.
Tensor vector_norm(Tensor const& x, double ord = 2);
Tensor vector_norm(Tensor const& x, double ord, Dims const& axes, bool keep = false);
inline Tensor norm(Tensor const& x, double p = 2) { return vector_norm(x, p); }
inline Tensor norm(Tensor const& x, double p, Dims const& axes, bool keep = false) {
  return vector_norm(x, p, axes, keep);
}
/// norm(a − b)
Tensor dist(Tensor const& a, Tensor const& b, double p = 2);
/// log Σ eˣ, without overflow; integers as f32
Tensor logsumexp(Tensor const& x, Dims const& axes, bool keep = false);
inline Tensor logsumexp(Tensor const& x, std::integral auto axis, bool keep = false) {
  return logsumexp(x, Dims{axis}, keep);
}
/// The lower of two middle elements. One NaN makes NaN; nanmedian passes over them. Over all elements ties share the
/// gradient, and no element gives NaN; along an axis the gradient goes to the place, and an empty one is an Error.
Tensor median(Tensor const& x);
Tensor nanmedian(Tensor const& x);
Indexed median(Tensor const& x, int axis, bool keep = false);
Indexed nanmedian(Tensor const& x, int axis, bool keep = false);
/// The most frequent element, the smallest of several, and its last place.
Indexed mode(Tensor const& x, int axis = -1, bool keep = false);

/// How a quantile that lies between two elements follows from them.
enum class Interpolation { linear, lower, higher, midpoint, nearest };
struct QuantileOptions {
  std::optional<int> axis = {};  // all elements if none
  bool keep = false;
  Interpolation interpolation = Interpolation::linear;
};
/// The element at rank q·(n − 1) of the sorted ones, q in [0, 1] of rank 0 or 1 and x's type; an axis of several q
/// comes first in the result. One NaN makes NaN; nanquantile passes over them. Differentiable in x, and where linear in
/// q.
Tensor quantile(Tensor const& x, Tensor const& q, QuantileOptions const& options = {});
Tensor quantile(Tensor const& x, double q, QuantileOptions const& options = {});
Tensor nanquantile(Tensor const& x, Tensor const& q, QuantileOptions const& options = {});
Tensor nanquantile(Tensor const& x, double q, QuantileOptions const& options = {});

struct CovOptions {
  double correction = 1;
  Tensor fweights = {};  // [N] integers: how often each observation was made
  Tensor aweights = {};  // [N]: how much each counts
};
/// Covariances of the rows of x [K, N] (or [N]: a row by itself) over N observations: [K, K], or rank 0.
Tensor cov(Tensor const& x, CovOptions const& options = {});
/// cov / (σ σᵀ), cut to [−1, 1]
Tensor corrcoef(Tensor const& x);
/// Sums the axes that broadcasting `shape` would add: the adjoint of expand.
Tensor sum_to(Tensor const& x, Shape const& shape);

// ---- scans, sorting, searching --------------------------------------------------------------------------------------
/// Σ and Π of the elements up to each; integers and bools as i64, `dtype` converts first. f32 adds up in f64.
Tensor cumsum(Tensor const& x, int axis, std::optional<Dtype> dtype = {});
Tensor cumprod(Tensor const& x, int axis, std::optional<Dtype> dtype = {});
/// log Σ eˣ of the elements up to each
Tensor logcumsumexp(Tensor const& x, int axis);
/// The largest (smallest) element up to each, the last of equals; NaN from the first on.
Indexed cummax(Tensor const& x, int axis);
Indexed cummin(Tensor const& x, int axis);
/// x_{i+1} − x_i, n times over, after joining `prepend` and `append` (undefined for none); exclusive or for bools.
Tensor diff(Tensor const& x, int64_t n = 1, int axis = -1, Tensor const& prepend = {}, Tensor const& append = {});
/// Σ dx·(y_i + y_{i+1})/2: the integral of y along `axis`, at distances dx or at points x ([N], or broadcast with y).
Tensor trapezoid(Tensor const& y, double dx = 1, int axis = -1);
Tensor trapezoid(Tensor const& y, Tensor const& x, int axis = -1);
/// The partial sums of the same.
Tensor cumulative_trapezoid(Tensor const& y, double dx = 1, int axis = -1);
Tensor cumulative_trapezoid(Tensor const& y, Tensor const& x, int axis = -1);

/// In ascending order, equals in the order they came in, NaN after all numbers (before them if `descending`).
Indexed sort(Tensor const& x, int axis = -1, bool descending = false);
Tensor argsort(Tensor const& x, int axis = -1, bool descending = false);
/// sort(x, 0).values
Tensor msort(Tensor const& x);
/// The k largest (smallest) numbers, the largest (smallest) first unless `sorted` is false; of equals the first.
Indexed topk(Tensor const& x, int64_t k, int axis = -1, bool largest = true, bool sorted = true);
/// The k-th smallest number, k from 1.
Indexed kthvalue(Tensor const& x, int64_t k, int axis = -1, bool keep = false);

struct SearchOptions {
  bool right = false;  // behind elements that equal the value, not before them
  Tensor sorter = {};  // i64: argsort of the sequences where they are not sorted themselves
};
/// The place in `sorted` [.., N] (one sequence, or one for each row of `values`) where a value would go: i64.
Tensor searchsorted(Tensor const& sorted, Tensor const& values, SearchOptions const& options = {});
Tensor searchsorted(Tensor const& sorted, double value, SearchOptions const& options = {});
/// Which of the intervals between `boundaries` [N] each value is in; a boundary belongs to the one below, or above it
/// if `right`.
Tensor bucketize(Tensor const& values, Tensor const& boundaries, bool right = false);
/// How often 0, 1, … occur among the integers x [N], or the sum of their weights; at least `minlength` long. Without
/// gradient.
Tensor bincount(Tensor const& x, Tensor const& weights = {}, int64_t minlength = 0);
/// How many elements are in each of `bins` equal parts of [min, max], or of the range of x where those are equal; in
/// x's type, without gradient.
Tensor histc(Tensor const& x, int64_t bins = 100, double min = 0, double max = 0);
struct Unique {
  Tensor values;   // each once, ascending
  Tensor inverse;  // i64: where each element is in `values`
  Tensor counts;   // i64: how often each of `values` occurs
};
/// Distinct elements, or distinct slices along `axis`; NaN differs from NaN. Without gradient.
Unique unique(Tensor const& x);
Unique unique(Tensor const& x, int axis);
/// One of each run of equals, in the order they came in.
Unique unique_consecutive(Tensor const& x);
Unique unique_consecutive(Tensor const& x, int axis);
/// Whether each element is (is not, if `invert`) among `tests`: bool.
Tensor isin(Tensor const& elements, Tensor const& tests, bool invert = false);

// ---- shape ----------------------------------------------------------------------------------------------------------
// Views are members of Tensor.
/// Joined along an existing axis; other sizes equal.
Tensor cat(std::vector<Tensor> const& tensors, int axis = 0);
/// Joined along a new axis.
Tensor stack(std::vector<Tensor> const& tensors, int axis = 0);
/// Views of `size` along `axis`; the last may be shorter.
std::vector<Tensor> split(Tensor const& x, int64_t size, int axis = 0);
/// Zero above (below) diagonal `offset` of the last two axes.
Tensor tril(Tensor const& x, int64_t offset = 0);
Tensor triu(Tensor const& x, int64_t offset = 0);

// ---- indexing -------------------------------------------------------------------------------------------------------

// ---- products -------------------------------------------------------------------------------------------------------
/// [.., M, K]·[.., K, N] → [.., M, N], leading axes broadcast; rank 1 is a row (left) or column (right) and loses that
/// axis.
Tensor matmul(Tensor const& a, Tensor const& b);
/// x·weightᵀ + bias: x [.., K], weight [N, K], bias [N] or undefined.
Tensor linear(Tensor const& x, Tensor const& weight, Tensor const& bias = {});

// ---- linear algebra -------------------------------------------------------------------------------------------------

// ---- Fourier transforms ---------------------------------------------------------------------------------------------

// ---- convolution, pooling, resampling -------------------------------------------------------------------------------

// ---- losses ---------------------------------------------------------------------------------------------------------

// ---- recurrent ------------------------------------------------------------------------------------------------------

// ---- fused neural primitives, each with a naive twin below ----------------------------------------------------------
/// exp(x − max x)/Σ exp(x − max x) along `axis`
Tensor softmax(Tensor const& x, int axis = -1);
Tensor log_softmax(Tensor const& x, int axis = -1);
/// (x − mean)/√(var + eps)·weight + bias over the last axis (Ba et al., 2016); weight and bias may be undefined.
Tensor layer_norm(Tensor const& x, Tensor const& weight = {}, Tensor const& bias = {}, double eps = 1e-5);
/// x/√(mean(x²) + eps)·weight over the last axis (Zhang and Sennrich, 2019)
Tensor rms_norm(Tensor const& x, Tensor const& weight = {}, double eps = 1e-6);

enum class Reduction { none, mean, sum };
struct CrossEntropyOptions {
  int64_t ignore_index = -100;  // rows with this target count for nothing
  double label_smoothing = 0;   // weight of the uniform distribution (Szegedy et al., 2016)
  Reduction reduction = Reduction::mean;
};
/// −log softmax(logits)[target]: logits [.., C], targets i64 [..]. The mean is over rows that are not ignored.
Tensor cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options = {});

/// Rows of `table` [V, C] by `index` (i64, any shape) → [.., C]; the gradient is dense.
Tensor embedding(Tensor const& index, Tensor const& table);
/// x·keep/(1 − p), keep ~ Bernoulli(1 − p) by a counter-based draw, so that nothing is stored (Srivastava et al.,
/// 2014).
Tensor dropout(Tensor const& x, double p, Generator& generator = default_generator());
Tensor dropout(Tensor const& x, double p, Draw draw);

// ---- attention ------------------------------------------------------------------------------------------------------
struct AttendOptions {
  static constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();
  double scale = 0;           // of the scores; 0 means 1/√D
  bool causal = false;        // query i sees keys j ≤ i + S − T: aligned at the end, as a cache needs it
  int64_t left = unlimited;   // and keys no further than this to the left
  int64_t right = unlimited;  // or right of that position; both inclusive
  Tensor mask = {};           // bool, broadcast to [B, H, T, S]; true attends
  double dropout = 0;         // of the weights; keyed by (draw, b, h, i, j)
  Draw draw = {0, 0};
};
struct Attended {
  Tensor out;  // [B, H, T, E]
  Tensor lse;  // [B, H, T]: log Σ exp(score), −∞ where a query sees nothing
};
/// softmax(q·kᵀ·scale)·v without the T×S matrix: q [B, H, T, D], k [B, G, S, D], v [B, G, S, E], H a multiple of G, and
/// head h reads key head ⌊h·G/H⌋ (Vaswani et al., 2017; Ainslie et al., 2023; tiling by online softmax: Milakov and
/// Gimelshein, 2018; Dao et al., 2022). A query that sees nothing gives 0; masked keys and values are never read as
/// numbers.
Attended attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {});
/// The weights [B, H, T, S] that attend() applies to v: materialised, for looking and for second derivatives.
Tensor attention_weights(Tensor const& q, Tensor const& k, AttendOptions const& options = {});

/// The specifications of the fused operations above, as compositions: what a reader reads, what tests compare with, and
/// what is differentiated when a fused gradient is itself differentiated.
namespace naive {
Tensor softmax(Tensor const& x, int axis = -1);
Tensor log_softmax(Tensor const& x, int axis = -1);
Tensor logsumexp(Tensor const& x, int axis, bool keep = false);
Tensor layer_norm(Tensor const& x, Tensor const& weight = {}, Tensor const& bias = {}, double eps = 1e-5);
Tensor rms_norm(Tensor const& x, Tensor const& weight = {}, double eps = 1e-6);
Tensor cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options = {});
Tensor embedding(Tensor const& index, Tensor const& table);
Tensor dropout(Tensor const& x, double p, Draw draw);
Attended attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {});
}  // namespace naive

}  // namespace heed
