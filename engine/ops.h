// The catalogue: every operation once, with formula, shapes and errors. Unless said otherwise an operation takes f32
// and f64, promotes mixed types as PyTorch does, broadcasts as NumPy does, and has a gradient that can be
// differentiated again. A primitive, which has a kernel, opens an Observed (observe.h), so that a profile shows it.
#pragma once

#include <heed/engine/random.h>
#include <heed/engine/score.h>
#include <heed/engine/tensor.h>

#include <concepts>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace heed {

// ---- creation -------------------------------------------------------------------------------------------------------
Tensor empty(Shape const& shape, Dtype dtype = Dtype::f32, Device device = cpu);
Tensor full(Shape const& shape, Number value, Dtype dtype = Dtype::f32, Device device = cpu);
Tensor zeros(Shape const& shape, Dtype dtype = Dtype::f32, Device device = cpu);
Tensor ones(Shape const& shape, Dtype dtype = Dtype::f32, Device device = cpu);
Tensor empty_like(Tensor const& x);
Tensor full_like(Tensor const& x, Number value);
Tensor zeros_like(Tensor const& x);
Tensor ones_like(Tensor const& x);
/// from, from + step, … < to
Tensor arange(int64_t from, int64_t to, int64_t step = 1, Dtype dtype = Dtype::i64, Device device = cpu);
inline Tensor arange(int64_t to, Device device = cpu) { return arange(0, to, 1, Dtype::i64, device); }
namespace detail {
Tensor arange_of(double from, double to, double step, Dtype dtype, Device device);
}
/// The same where one of them is no integer: ⌈(to − from)/step⌉ elements.
template <class From, class To, class Step = int>
requires(std::floating_point<From> || std::floating_point<To> || std::floating_point<Step>) Tensor
    arange(From from, To to, Step step = 1, Dtype dtype = Dtype::f32, Device device = cpu) {
  return detail::arange_of(double(from), double(to), double(step), dtype, device);
}
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
/// 1 on the diagonal: [n, m], or [n, n] for m = -1.
Tensor eye(int64_t n, int64_t m = -1, Dtype dtype = Dtype::f32, Device device = cpu);
/// `steps` numbers evenly spaced from `from` to `to`, both included.
Tensor linspace(double from, double to, int64_t steps, Dtype dtype = Dtype::f32, Device device = cpu);
/// base to the powers linspace(from, to, steps)
Tensor logspace(double from, double to, int64_t steps, double base = 10, Dtype dtype = Dtype::f32, Device device = cpu);
/// The same between tensors, broadcast, along a new first axis.
Tensor linspace(Tensor const& from, Tensor const& to, int64_t steps);
Tensor logspace(Tensor const& from, Tensor const& to, int64_t steps, double base = 10);
/// Indices [2, N] of the elements on or below (above) diagonal `offset` of a rows × columns matrix, row by row: i64.
Tensor tril_indices(int64_t rows, int64_t columns, int64_t offset = 0, Device device = cpu);
Tensor triu_indices(int64_t rows, int64_t columns, int64_t offset = 0, Device device = cpu);
/// Powers of x [.., N] as a last axis: x^(columns − 1), …, x, 1, or 1, x, … if `increasing`; -1 columns: N. Those of
/// integers are i64.
Tensor vander(Tensor const& x, int64_t columns = -1, bool increasing = false);

/// Windows [size] for spectra (Harris, 1978): symmetric, or the first `size` of size + 1 if not, as periods want.
namespace windows {
/// Σ_k (−1)^k·a_k·cos(2πkn/(size − 1))
Tensor general_cosine(int64_t size, std::vector<double> const& a, bool symmetric = true, Dtype dtype = Dtype::f32);
/// alpha − (1 − alpha)·cos(2πn/(size − 1))
Tensor general_hamming(int64_t size, double alpha = 0.54, bool symmetric = true, Dtype dtype = Dtype::f32);
Tensor hann(int64_t size, bool symmetric = true, Dtype dtype = Dtype::f32);
Tensor hamming(int64_t size, bool symmetric = true, Dtype dtype = Dtype::f32);
Tensor blackman(int64_t size, bool symmetric = true, Dtype dtype = Dtype::f32);
/// Four terms, the least sidelobes (Nuttall, 1981).
Tensor nuttall(int64_t size, bool symmetric = true, Dtype dtype = Dtype::f32);
/// 1 − |2n/(size − 1) − 1|
Tensor bartlett(int64_t size, bool symmetric = true, Dtype dtype = Dtype::f32);
/// sin(π(n + 1/2)/size)
Tensor cosine(int64_t size, bool symmetric = true, Dtype dtype = Dtype::f32);
/// I₀(beta·√(1 − (2n/(size − 1) − 1)²))/I₀(beta) (Kaiser, 1974)
Tensor kaiser(int64_t size, double beta = 12, bool symmetric = true, Dtype dtype = Dtype::f32);
/// exp(−(n − (size − 1)/2)²/(2·std²))
Tensor gaussian(int64_t size, double std = 1, bool symmetric = true, Dtype dtype = Dtype::f32);
/// exp(−|n − center|/tau); the centre is (size − 1)/2 unless given, which only an asymmetric window may.
Tensor exponential(int64_t size, double tau = 1, bool symmetric = true, std::optional<double> center = {},
                   Dtype dtype = Dtype::f32);
}  // namespace windows

// ---- random ---------------------------------------------------------------------------------------------------------
// From a counter-based generator (random.h): element i depends on (seed, offset, i) alone. Distributions below are
// computed in f64 and rounded. Parameters have no gradient unless said otherwise. Every device draws the same words.
/// Uniform on [0, 1).
Tensor rand(Shape const& shape, Dtype dtype = Dtype::f32, Generator& generator = default_generator(),
            Device device = cpu);
Tensor rand_like(Tensor const& x, Generator& generator = default_generator());
/// Standard normal, by Box–Muller (1958).
Tensor randn(Shape const& shape, Dtype dtype = Dtype::f32, Generator& generator = default_generator(),
             Device device = cpu);
Tensor randn_like(Tensor const& x, Generator& generator = default_generator());
/// Integers uniform on [low, high), i64.
Tensor randint(int64_t low, int64_t high, Shape const& shape, Generator& generator = default_generator(),
               Device device = cpu);
/// The same in x's shape and type.
Tensor randint_like(Tensor const& x, int64_t low, int64_t high, Generator& generator = default_generator());
/// 0 … n−1 in random order, i64 (Fisher and Yates, 1938; Durstenfeld, 1964).
Tensor randperm(int64_t n, Generator& generator = default_generator(), Device device = cpu);
/// x with the places along `axis` in random order.
Tensor shuffle(Tensor const& x, int axis = 0, Generator& generator = default_generator());
/// Uniform on [low, high).
Tensor uniform(Shape const& shape, double low, double high, Dtype dtype = Dtype::f32,
               Generator& generator = default_generator(), Device device = cpu);
Tensor normal(Shape const& shape, double mean, double deviation, Dtype dtype = Dtype::f32,
              Generator& generator = default_generator(), Device device = cpu);
/// mean + deviation·N(0, 1), broadcast, with gradients for both.
Tensor normal(Tensor const& mean, Tensor const& deviation, Generator& generator = default_generator());
/// exp(N(mean, deviation²))
Tensor log_normal(Shape const& shape, double mean, double deviation, Dtype dtype = Dtype::f32,
                  Generator& generator = default_generator(), Device device = cpu);
/// N(mean, deviation²) within [low, high], however far in a tail (Robert, 1995).
Tensor truncated_normal(Shape const& shape, double mean, double deviation, double low, double high,
                        Dtype dtype = Dtype::f32, Generator& generator = default_generator(), Device device = cpu);
/// Density rate·exp(−rate·x)
Tensor exponential(Shape const& shape, double rate = 1, Dtype dtype = Dtype::f32,
                   Generator& generator = default_generator(), Device device = cpu);
/// Density exp(−|x − location|/scale)/(2·scale)
Tensor laplace(Shape const& shape, double location, double scale, Dtype dtype = Dtype::f32,
               Generator& generator = default_generator(), Device device = cpu);
/// Density 1/(π·scale·(1 + ((x − location)/scale)²))
Tensor cauchy(Shape const& shape, double location, double scale, Dtype dtype = Dtype::f32,
              Generator& generator = default_generator(), Device device = cpu);
/// Number of trials of probability p up to the first success: 1, 2, …
Tensor geometric(Shape const& shape, double p, Dtype dtype = Dtype::f32, Generator& generator = default_generator(),
                 Device device = cpu);
/// Distribution function exp(−exp(−x))
Tensor gumbel(Shape const& shape, Dtype dtype = Dtype::f32, Generator& generator = default_generator(),
              Device device = cpu);
/// 1 with probability p (of each element), else 0; in p's type.
Tensor bernoulli(Tensor const& p, Generator& generator = default_generator());
Tensor bernoulli(Shape const& shape, double p, Dtype dtype = Dtype::f32, Generator& generator = default_generator(),
                 Device device = cpu);
/// Poisson with the given rates (Hörmann, 1993), in their type.
Tensor poisson(Tensor const& rate, Generator& generator = default_generator());
/// Successes among `count` trials of probability p, broadcast (Hörmann, 1993).
Tensor binomial(Tensor const& count, Tensor const& p, Generator& generator = default_generator());
/// Gamma with the given shapes and scale 1 (Marsaglia and Tsang, 2000); never below the least normal number.
Tensor gamma(Tensor const& concentration, Generator& generator = default_generator());
/// Density ∝ x^(a−1)·(1 − x)^(b−1), broadcast.
Tensor beta(Tensor const& a, Tensor const& b, Generator& generator = default_generator());
/// Points of the simplex along the last axis, density ∝ Π x_k^(concentration_k − 1).
Tensor dirichlet(Tensor const& concentration, Generator& generator = default_generator());
/// Indices drawn with probability ∝ weights [.., C] → i64 [.., count]; without replacement in the order of drawing
/// (Efraimidis and Spirakis, 2006).
Tensor multinomial(Tensor const& weights, int64_t count, bool replacement = false,
                   Generator& generator = default_generator());
/// One index with probability softmax(logits) for each row: logits [.., C] → i64 [..].
Tensor categorical(Tensor const& logits, Generator& generator = default_generator());
struct GumbelSoftmaxOptions {
  double tau = 1;     // temperature
  bool hard = false;  // one-hot values, the gradient of the soft ones
  int axis = -1;
  Generator* generator = nullptr;
};
/// softmax((logits + Gumbel noise)/tau), differentiable in logits (Jang et al., 2017; Maddison et al., 2017).
Tensor gumbel_softmax(Tensor const& logits, GumbelSoftmaxOptions const& options = {});

// ---- pointwise, two operands ----------------------------------------------------------------------------------------
Tensor add(Tensor const& a, Tensor const& b);
Tensor sub(Tensor const& a, Tensor const& b);
Tensor mul(Tensor const& a, Tensor const& b);
Tensor div(Tensor const& a, Tensor const& b);
enum class Rounding { trunc, floor };
/// The quotient rounded towards 0 or −∞; of integers an integer, and an Error where b is 0 (an accelerator gives 0).
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
/// m in ±[½, 1) and e (i32) with x = m·2ᵉ; 0 and what is not finite have e = 0. Differentiable in m.
std::pair<Tensor, Tensor> frexp(Tensor const& x);
/// log(eᵃ + eᵇ) and log₂(2ᵃ + 2ᵇ), without overflow
Tensor logaddexp(Tensor const& a, Tensor const& b);
Tensor logaddexp2(Tensor const& a, Tensor const& b);
/// a·log(b) and a·log(1 + b), 0 where a is 0
Tensor xlogy(Tensor const& a, Tensor const& b);
Tensor xlog1py(Tensor const& a, Tensor const& b);
/// Hurwitz's ζ(a, b) = Σ_k (b + k)⁻ᵃ; differentiable by b.
Tensor zeta(Tensor const& a, Tensor const& b);
/// The incomplete gamma functions ∫₀ˣ tᵃ⁻¹·e⁻ᵗ dt/Γ(a) and 1 minus that; differentiable by x.
Tensor igamma(Tensor const& a, Tensor const& x);
Tensor igammac(Tensor const& a, Tensor const& x);
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
/// Bessel functions of the first and the second kind; the spherical one is sin(x)/x.
Tensor bessel_j0(Tensor const& x);
Tensor bessel_j1(Tensor const& x);
Tensor bessel_y0(Tensor const& x);
Tensor bessel_y1(Tensor const& x);
Tensor spherical_bessel_j0(Tensor const& x);
/// Modified Bessel functions of the second kind, plain and times eˣ.
Tensor modified_bessel_k0(Tensor const& x);
Tensor modified_bessel_k1(Tensor const& x);
Tensor scaled_modified_bessel_k0(Tensor const& x);
Tensor scaled_modified_bessel_k1(Tensor const& x);
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
/// x where x > 0, else slope·x: in training a slope for each element, uniform on [lower, upper), else their mean (Xu et
/// al., 2015).
Tensor rrelu(Tensor const& x, double lower = 1.0 / 8, double upper = 1.0 / 3, bool training = false,
             Generator& generator = default_generator());
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

// ---- orthogonal polynomials -----------------------------------------------------------------------------------------
// Of one degree 0 ≤ n ≤ 2²⁴, or of one for each element, by their three-term recurrences (Abramowitz and Stegun 22.7).
// A tensor of degrees is taken as n.to(Dtype::i64); below degree 0 a polynomial is 0. Differentiable by x.
/// Chebyshev's of the first to the fourth kind: cos nθ, sin (n + 1)θ/sin θ, cos (n + ½)θ/cos ½θ and sin (n + ½)θ/sin ½θ
/// at x = cos θ; the shifted ones take 2x − 1 in place of x.
Tensor chebyshev_polynomial_t(Tensor const& x, int64_t n);
Tensor chebyshev_polynomial_t(Tensor const& x, Tensor const& n);
Tensor chebyshev_polynomial_u(Tensor const& x, int64_t n);
Tensor chebyshev_polynomial_u(Tensor const& x, Tensor const& n);
Tensor chebyshev_polynomial_v(Tensor const& x, int64_t n);
Tensor chebyshev_polynomial_v(Tensor const& x, Tensor const& n);
Tensor chebyshev_polynomial_w(Tensor const& x, int64_t n);
Tensor chebyshev_polynomial_w(Tensor const& x, Tensor const& n);
Tensor shifted_chebyshev_polynomial_t(Tensor const& x, int64_t n);
Tensor shifted_chebyshev_polynomial_t(Tensor const& x, Tensor const& n);
Tensor shifted_chebyshev_polynomial_u(Tensor const& x, int64_t n);
Tensor shifted_chebyshev_polynomial_u(Tensor const& x, Tensor const& n);
Tensor shifted_chebyshev_polynomial_v(Tensor const& x, int64_t n);
Tensor shifted_chebyshev_polynomial_v(Tensor const& x, Tensor const& n);
Tensor shifted_chebyshev_polynomial_w(Tensor const& x, int64_t n);
Tensor shifted_chebyshev_polynomial_w(Tensor const& x, Tensor const& n);
/// Hermite's, orthogonal under e^(−x²) and e^(−x²/2); Laguerre's under e⁻ˣ on [0, ∞); Legendre's under 1 on [−1, 1].
Tensor hermite_polynomial_h(Tensor const& x, int64_t n);
Tensor hermite_polynomial_h(Tensor const& x, Tensor const& n);
Tensor hermite_polynomial_he(Tensor const& x, int64_t n);
Tensor hermite_polynomial_he(Tensor const& x, Tensor const& n);
Tensor laguerre_polynomial_l(Tensor const& x, int64_t n);
Tensor laguerre_polynomial_l(Tensor const& x, Tensor const& n);
Tensor legendre_polynomial_p(Tensor const& x, int64_t n);
Tensor legendre_polynomial_p(Tensor const& x, Tensor const& n);

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
/// x with each of its slices along `axis` scaled down to p-norm `most` where that is larger.
Tensor renorm(Tensor const& x, double p, int axis, double most);
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
enum class QuantileInterpolation { linear, lower, higher, midpoint, nearest };
struct QuantileOptions {
  std::optional<int> axis = {};  // all elements if none
  bool keep = false;
  QuantileInterpolation interpolation = QuantileInterpolation::linear;
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

// ---- masked reductions ----------------------------------------------------------------------------------------------
// As without a mask, of the elements where `mask` (bool, broadcast to x) is true. What has no such element: 0 for sums
// and norms, 1 for products, ∓∞ (of integers the least, the largest) for amax and amin, −∞ for logsumexp, NaN for mean
// and median.
namespace masked {
Tensor sum(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep = false);
Tensor prod(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep = false);
Tensor mean(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep = false);
Tensor median(Tensor const& x, Tensor const& mask, int axis, bool keep = false);
Tensor amax(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep = false);
Tensor amin(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep = false);
Tensor argmax(Tensor const& x, Tensor const& mask, int axis, bool keep = false);
Tensor argmin(Tensor const& x, Tensor const& mask, int axis, bool keep = false);
Tensor var(Tensor const& x, Tensor const& mask, Dims const& axes, double correction = 1, bool keep = false);
Tensor std(Tensor const& x, Tensor const& mask, Dims const& axes, double correction = 1, bool keep = false);
Tensor logsumexp(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep = false);
Tensor norm(Tensor const& x, Tensor const& mask, double p, Dims const& axes, bool keep = false);
/// In x's shape; hidden elements are 0, for log_softmax −∞. An axis that is hidden as a whole is NaN.
Tensor softmax(Tensor const& x, Tensor const& mask, int axis = -1);
Tensor log_softmax(Tensor const& x, Tensor const& mask, int axis = -1);
Tensor normalize(Tensor const& x, Tensor const& mask, double p = 2, int axis = 1, double eps = 1e-12);
/// Hidden elements count as 0 (as 1).
Tensor cumsum(Tensor const& x, Tensor const& mask, int axis);
Tensor cumprod(Tensor const& x, Tensor const& mask, int axis);
}  // namespace masked

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
struct GradientOptions {
  std::optional<Dims> axes = {};  // all if none
  int edge_order = 1;             // 1 or 2: of the one-sided differences at both ends
};
/// The derivative of samples x along each of the axes, by second-order central differences: at equal distances, or at
/// points [N], one tensor an axis (Fornberg, 1988).
std::vector<Tensor> gradient(Tensor const& x, double spacing = 1, GradientOptions const& options = {});
std::vector<Tensor> gradient(Tensor const& x, std::vector<Tensor> const& points, GradientOptions const& options = {});

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
struct HistogramOptions {
  std::vector<double> range = {};  // {min, max} of each axis; those of the data if empty
  Tensor weight = {};              // of each sample, in x's type
  bool density = false;            // divided by the total and by the size of the bin
};
/// How many elements are in each bin, in x's type, and the edges between the bins; the last bin includes its upper
/// edge. Without gradient.
std::pair<Tensor, Tensor> histogram(Tensor const& x, int64_t bins = 100, HistogramOptions const& options = {});
std::pair<Tensor, Tensor> histogram(Tensor const& x, Tensor const& edges, HistogramOptions const& options = {});
/// The same of points x [.., D] in bins of D axes: [bins…], and the edges of each axis.
std::pair<Tensor, std::vector<Tensor>> histogramdd(Tensor const& x, std::vector<int64_t> const& bins,
                                                   HistogramOptions const& options = {});
std::pair<Tensor, std::vector<Tensor>> histogramdd(Tensor const& x, std::vector<Tensor> const& edges,
                                                   HistogramOptions const& options = {});
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
// Views are members of Tensor. What can be read in place is a view here too.
Tensor movedim(Tensor const& x, Dims const& from, Dims const& to);
inline Tensor movedim(Tensor const& x, int from, int to) { return movedim(x, Dims{from}, Dims{to}); }
Tensor swapaxes(Tensor const& x, int axis_a, int axis_b);
/// Without the axes of size 1: all of them, or those of `axes` that have it.
Tensor squeeze(Tensor const& x);
Tensor squeeze(Tensor const& x, Dims const& axes);
Tensor broadcast_to(Tensor const& x, Shape const& shape);
/// All expanded to their common shape.
std::vector<Tensor> broadcast_tensors(std::vector<Tensor> const& tensors);
Tensor ravel(Tensor const& x);
/// `axis` read as axes of `sizes`, one of which may be -1.
Tensor unflatten(Tensor const& x, int axis, Shape const& sizes);
/// With leading (for 3: leading and trailing) axes of size 1 up to that rank.
Tensor atleast_1d(Tensor const& x);
Tensor atleast_2d(Tensor const& x);
Tensor atleast_3d(Tensor const& x);
/// A view of the storage with any strides, `offset` elements from its start (none: from x's). Its gradient takes x as
/// contiguous.
Tensor as_strided(Tensor const& x, Shape const& shape, Strides const& strides, std::optional<int64_t> offset = {});
/// The windows of `size` along `axis`, `step` apart: a view with the window as a new last axis.
Tensor unfold(Tensor const& x, int axis, int64_t size, int64_t step);
/// The elements with index2 − index1 = offset, as a last axis: a view.
Tensor diagonal(Tensor const& x, int64_t offset = 0, int axis1 = 0, int axis2 = 1);

/// Joined along an existing axis; other sizes equal, types promoted; empty tensors of rank 1 are left out, as in
/// PyTorch.
Tensor cat(std::vector<Tensor> const& tensors, int axis = 0);
/// Joined along a new axis.
Tensor stack(std::vector<Tensor> const& tensors, int axis = 0);
/// Joined along axis 1 (0 for rank 1), 0, 2; or as columns.
Tensor hstack(std::vector<Tensor> const& tensors);
Tensor vstack(std::vector<Tensor> const& tensors);
Tensor dstack(std::vector<Tensor> const& tensors);
Tensor column_stack(std::vector<Tensor> const& tensors);
/// Matrices along the diagonal of a matrix of zeros; rank 1 is a row.
Tensor block_diag(std::vector<Tensor> const& tensors);
/// Views of `size` along `axis`; the last may be shorter.
std::vector<Tensor> split(Tensor const& x, int64_t size, int axis = 0);
/// Views of these sizes along `axis`, which they fill.
std::vector<Tensor> split(Tensor const& x, std::vector<int64_t> const& sizes, int axis = 0);
/// At most `count` views of equal size, the last smaller.
std::vector<Tensor> chunk(Tensor const& x, int64_t count, int axis = 0);
/// `count` views whose sizes differ by one at most; or views that end before these indices.
std::vector<Tensor> tensor_split(Tensor const& x, int64_t count, int axis = 0);
std::vector<Tensor> tensor_split(Tensor const& x, std::vector<int64_t> const& indices, int axis = 0);
/// tensor_split along axis 1 (0 for rank 1), 0, 2; a count must divide the size.
std::vector<Tensor> hsplit(Tensor const& x, int64_t count);
std::vector<Tensor> hsplit(Tensor const& x, std::vector<int64_t> const& indices);
std::vector<Tensor> vsplit(Tensor const& x, int64_t count);
std::vector<Tensor> vsplit(Tensor const& x, std::vector<int64_t> const& indices);
std::vector<Tensor> dsplit(Tensor const& x, int64_t count);
std::vector<Tensor> dsplit(Tensor const& x, std::vector<int64_t> const& indices);
/// The views at each index of `axis`, without it.
std::vector<Tensor> unbind(Tensor const& x, int axis = 0);
/// The view of `length` elements from `from` (negative: from the end) along `axis`.
Tensor narrow(Tensor const& x, int axis, int64_t from, int64_t length);

enum class PadMode { constant, reflect, replicate, circular };
/// `pads` is {before, after} of the last axis, then of the one before it, …; negative ones crop. reflect repeats no
/// edge and needs pads smaller than the size, circular pads no larger than it.
Tensor pad(Tensor const& x, std::vector<int64_t> const& pads, PadMode mode = PadMode::constant, Number value = 0);
/// Element i moves to i + shift, around the end; without axes, of x read as one.
Tensor roll(Tensor const& x, int64_t shift);
Tensor roll(Tensor const& x, Dims const& shifts, Dims const& axes);
Tensor flip(Tensor const& x, Dims const& axes);
Tensor fliplr(Tensor const& x);
Tensor flipud(Tensor const& x);
/// `times` quarter turns from axis_a towards axis_b.
Tensor rot90(Tensor const& x, int64_t times = 1, int axis_a = 0, int axis_b = 1);
/// x one after another, `counts` times along each axis (at least x's rank; new axes lead).
Tensor repeat(Tensor const& x, Dims const& counts);
/// repeat with missing counts of 1 in front.
Tensor tile(Tensor const& x, Dims const& counts);
/// Each element `count` times in a row, or its own count [N] times; without an axis, of x read as one.
Tensor repeat_interleave(Tensor const& x, int64_t count, std::optional<int> axis = {});
Tensor repeat_interleave(Tensor const& x, Tensor const& counts, std::optional<int> axis = {});
/// Index i, counts[i] times.
Tensor repeat_interleave(Tensor const& counts);

/// Zero above (below) diagonal `offset` of the last two axes.
Tensor tril(Tensor const& x, int64_t offset = 0);
Tensor triu(Tensor const& x, int64_t offset = 0);
/// A matrix with x [N] on diagonal `offset`, or that diagonal of a matrix.
Tensor diag(Tensor const& x, int64_t offset = 0);
/// diag of x read as one axis.
Tensor diagflat(Tensor const& x, int64_t offset = 0);
/// The inverse of diagonal(): x's last axis on a diagonal of new axes of a tensor of zeros.
Tensor diag_embed(Tensor const& x, int64_t offset = 0, int axis1 = -2, int axis2 = -1);
enum class Indexing { ij, xy };
/// Each vector along its own axis of a common grid (xy: the first two exchanged): views.
std::vector<Tensor> meshgrid(std::vector<Tensor> const& tensors, Indexing indexing = Indexing::ij);
/// All ways to take one element of each vector: [ΠN, count]; one vector alone stays as it is.
Tensor cartesian_prod(std::vector<Tensor> const& tensors);
/// All ways to take r elements of x [N] in order: [C(N, r), r].
Tensor combinations(Tensor const& x, int64_t r = 2, bool with_replacement = false);

// ---- indexing -------------------------------------------------------------------------------------------------------
// Integers of any type index; masks are bool. Where an index repeats, later entries follow earlier ones, and the last
// assignment stays: the same bits for any number of threads. An index out of range is an Error that names it and its
// axis. An index or mask on the processor goes along to the tensor's device, checked at once. What lies on an
// accelerator is checked by its kernels: the Error comes with the next call that waits for them, and in between nothing
// outside is read or written. A mask there, nonzero and unique make the host wait for the number of elements.

/// from, from + step, … < to: negative ends count from the end, both are clipped to the size.
struct Slice {
  static constexpr int64_t end = std::numeric_limits<int64_t>::max();
  int64_t from = 0;
  int64_t to = end;
  int64_t step = 1;
  /// The first index into an axis of size n, and how many there are.
  std::pair<int64_t, int64_t> resolve(char const* op, int64_t n) const;
};
/// A new axis of size 1.
inline constexpr struct NewAxis {
} none;
/// As many whole axes as the other indices leave.
inline constexpr struct Ellipsis {
} ellipsis;

/// One entry of x.index({Slice{1, 5, 2}, none, ellipsis, 3, mask, ids}), which reads as NumPy does: slices, numbers and
/// new axes make a view; index tensors broadcast together, and their axes stand where the first of them stood if they
/// are neighbours, else in front; a mask stands for the indices of its true elements. As in PyTorch, a number or an
/// integer tensor of rank 0 selects before index tensors are looked at.
class Index {
 public:
  enum class Kind { number, slice, new_axis, ellipsis, tensor };
  template <std::integral T>
  Index(T number) : kind_(Kind::number), number_(int64_t(number)) {}
  Index(bool value);  // as a mask of rank 0
  Index(Slice slice) : kind_(Kind::slice), slice_(slice) {}
  Index(NewAxis) : kind_(Kind::new_axis) {}
  Index(Ellipsis) : kind_(Kind::ellipsis) {}
  Index(Tensor const& tensor) : kind_(Kind::tensor), tensor_(tensor) {}

  Kind kind() const { return kind_; }
  int64_t number() const { return number_; }
  Slice const& slice() const { return slice_; }
  Tensor const& tensor() const { return tensor_; }

 private:
  Kind kind_;
  int64_t number_ = 0;
  Slice slice_;
  Tensor tensor_;
};

/// x with x.index(indices) = values (or += where `accumulate`); values broadcast and take x's type.
Tensor index_put(Tensor const& x, std::vector<Index> const& indices, Tensor const& values, bool accumulate = false);
Tensor index_put(Tensor const& x, std::vector<Index> const& indices, Number value, bool accumulate = false);

/// y[i, j, …] = x[index[i, j, …], j, …] for axis 0: the index has x's rank and elsewhere sizes up to x's.
Tensor gather(Tensor const& x, int axis, Tensor const& index);
/// x with x[index[i, j, …], j, …] = src[i, j, …] for axis 0.
Tensor scatter(Tensor const& x, int axis, Tensor const& index, Tensor const& src);
Tensor scatter(Tensor const& x, int axis, Tensor const& index, Number value);
/// x with x[index[i, j, …], j, …] += src[i, j, …] for axis 0.
Tensor scatter_add(Tensor const& x, int axis, Tensor const& index, Tensor const& src);
enum class Combine { sum, prod, mean, amax, amin };
/// As scatter_add, by another reduction; what was there takes part if `include_self`. Ties of amax and amin share the
/// gradient; means of integers are rounded down.
Tensor scatter_reduce(Tensor const& x, int axis, Tensor const& index, Tensor const& src, Combine how,
                      bool include_self = true);

/// The slices of x at index [N] (or rank 0) of `axis`.
Tensor index_select(Tensor const& x, int axis, Tensor const& index);
/// x with alpha·source added to the slices at index [N]; source has x's shape with size N along `axis`.
Tensor index_add(Tensor const& x, int axis, Tensor const& index, Tensor const& source, Number alpha = 1);
Tensor index_copy(Tensor const& x, int axis, Tensor const& index, Tensor const& source);
/// The slices at index [N] filled with a number or a tensor of rank 0.
Tensor index_fill(Tensor const& x, int axis, Tensor const& index, Number value);
Tensor index_fill(Tensor const& x, int axis, Tensor const& index, Tensor const& value);
Tensor index_reduce(Tensor const& x, int axis, Tensor const& index, Tensor const& source, Combine how,
                    bool include_self = true);

/// x read as one axis: y = x[index], of the index's shape.
Tensor take(Tensor const& x, Tensor const& index);
/// gather with the other axes broadcast; without an axis both are flattened.
Tensor take_along(Tensor const& x, Tensor const& index);
Tensor take_along(Tensor const& x, Tensor const& index, int axis);
/// x read as one axis, with x[index] = source (or += where `accumulate`).
Tensor put(Tensor const& x, Tensor const& index, Tensor const& source, bool accumulate = false);

/// The same with a value of rank 0 that may have a gradient.
Tensor masked_fill(Tensor const& x, Tensor const& mask, Tensor const& value);
/// The elements of x under the mask, both broadcast: [N].
Tensor masked_select(Tensor const& x, Tensor const& mask);
/// x with its elements under the mask replaced by the first of `source`, in order.
Tensor masked_scatter(Tensor const& x, Tensor const& mask, Tensor const& source);
/// The indices of the elements other than 0: i64 [N, rank], no gradient.
Tensor nonzero(Tensor const& x);
Tensor argwhere(Tensor const& x);
/// The columns of nonzero(), one for each axis.
std::vector<Tensor> where(Tensor const& condition);
/// 1 at `index`, else 0: i64 [.., classes]; -1 classes: the largest index plus one.
Tensor one_hot(Tensor const& index, int64_t classes = -1);

/// x with x.select(axis, index), x.slice(axis, from, to, step) or diagonal(x, …) replaced by src.
Tensor select_scatter(Tensor const& x, Tensor const& src, int axis, int64_t index);
Tensor slice_scatter(Tensor const& x, Tensor const& src, int axis = 0, int64_t from = 0, int64_t to = Slice::end,
                     int64_t step = 1);
Tensor diagonal_scatter(Tensor const& x, Tensor const& src, int64_t offset = 0, int axis1 = 0, int axis2 = 1);

// ---- products -------------------------------------------------------------------------------------------------------
// All number types, 16-bit ones computed in f32; integers wrap. Sizes that do not meet are an Error.
/// [.., M, K]·[.., K, N] → [.., M, N], leading axes broadcast; rank 1 is a row (left) or column (right) and loses that
/// axis.
Tensor matmul(Tensor const& a, Tensor const& b);
/// x·weightᵀ + bias: x [.., K], weight [N, K], bias [N] or undefined; a weight [K] gives [..], with a bias of rank 0.
Tensor linear(Tensor const& x, Tensor const& weight, Tensor const& bias = {});
/// A matrix stored in 8 bits, for inference: row o is scale[o]·values[o], values in −127 … 127.
struct Int8Weight {
  Tensor values;  // i8 [N, K]
  Tensor scale;   // f32 [N]
};
/// Rounds each row of a floating matrix to multiples of its largest magnitude / 127; no gradient. A row with NaN or
/// infinities is an Error.
Int8Weight quantize_int8(Tensor const& weight);
/// x·(scale∘values)ᵀ + bias in f32: x [.., K] → [.., N] of x's type; few rows of x read each weight once, as it is; no
/// gradient.
Tensor linear_int8(Tensor const& x, Int8Weight const& weight, Tensor const& bias = {});
/// x1ᵀ·weight[o]·x2 + bias[o] for every o: x1 [.., N], x2 [.., M], weight [O, N, M], bias [O] or undefined → [.., O].
Tensor bilinear(Tensor const& x1, Tensor const& x2, Tensor const& weight, Tensor const& bias = {});
/// [M, K]·[K, N]
Tensor mm(Tensor const& a, Tensor const& b);
/// [M, K]·[K]
Tensor mv(Tensor const& a, Tensor const& x);
/// [B, M, K]·[B, K, N]
Tensor bmm(Tensor const& a, Tensor const& b);
/// Σ aᵢ·bᵢ of two vectors of one length.
Tensor dot(Tensor const& a, Tensor const& b);
Tensor vdot(Tensor const& a, Tensor const& b);
/// Σ a·b along `axis`; other axes broadcast.
Tensor vecdot(Tensor const& a, Tensor const& b, int axis = -1);
/// Σ a·b over the last axis of both: [.., K], [**, K] → [.., **]; a tensor of rank 0 multiplies.
Tensor inner(Tensor const& a, Tensor const& b);
/// aᵢ·bⱼ: [M], [N] → [M, N]
Tensor outer(Tensor const& a, Tensor const& b);

/// beta·input + alpha·product; with beta = 0 `input` is not read, so that NaN there is lost.
struct AddProduct {
  Number beta = 1, alpha = 1;
};
/// beta·input + alpha·a·b: `input` broadcasts to [M, N], as it does to the product's shape in what follows.
Tensor addmm(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options = {});
Tensor addmv(Tensor const& input, Tensor const& a, Tensor const& x, AddProduct options = {});
/// beta·input + alpha·outer(a, b)
Tensor addr(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options = {});
Tensor baddbmm(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options = {});
/// beta·input + alpha·Σ_batch a·b
Tensor addbmm(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options = {});

/// Sums of products by Einstein's convention: "ij,jk->ik". A letter repeated in one operand is its diagonal; letters
/// missing after "->" are summed; without "->" those that occur once remain, in alphabetical order; "..." stands for
/// axes that broadcast. Pairs are contracted in the order with the fewest multiplications (up to eight operands; beyond
/// that, the cheapest pair next). Integers keep their type as in products, but are i64 where a letter of one operand
/// alone is summed, as in sum().
Tensor einsum(std::string_view equation, std::vector<Tensor> const& operands);
/// Σ over the last `axes` axes of `a` and the first of `b`.
Tensor tensordot(Tensor const& a, Tensor const& b, int axes = 2);
/// Σ over axes_a[i] of `a` together with axes_b[i] of `b`; what remains of `a` comes first.
Tensor tensordot(Tensor const& a, Tensor const& b, Dims const& axes_a, Dims const& axes_b);
/// Every element of `a` times all of `b`: sizes multiply axis by axis, aligned at the last.
Tensor kron(Tensor const& a, Tensor const& b);
/// The product of two or more matrices in the cheapest order; the first and the last may be vectors.
Tensor multi_dot(std::vector<Tensor> const& matrices);
/// xⁿ of square matrices [.., N, N] by repeated squaring; n < 0 inverts first.
Tensor matrix_power(Tensor const& x, int64_t n);
/// a × b along an axis of size 3; other axes broadcast.
Tensor cross(Tensor const& a, Tensor const& b, int axis = -1);
/// Σ of the diagonal of a matrix.
Tensor trace(Tensor const& x);
/// ‖aᵢ − bⱼ‖_p: a [.., P, M], b [.., R, M] → [.., P, R]; p from 0 (the number of differences) to ∞. The gradient is 0
/// at distance 0.
Tensor cdist(Tensor const& a, Tensor const& b, double p = 2);
/// ‖xᵢ − xⱼ‖_p for i < j, row by row: [N, M] → [N·(N − 1)/2]
Tensor pdist(Tensor const& x, double p = 2);

// ---- linear algebra -------------------------------------------------------------------------------------------------
// Of matrices in the last two axes, [.., M, N]; leading axes are a batch, and those of two operands broadcast. f32 and
// f64. Gradients after Giles (2008), Walter and Lehmann (2010), and Golub and Pereyra (1973).
/// L with L·Lᵀ = x, or U = Lᵀ; reads one triangle of x, the lower unless `upper`. An Error where x is not positive
/// definite.
Tensor cholesky(Tensor const& x, bool upper = false);
/// (L·Lᵀ)⁻¹ of a factor
Tensor cholesky_inverse(Tensor const& factor, bool upper = false);
/// (L·Lᵀ)⁻¹·b
Tensor cholesky_solve(Tensor const& b, Tensor const& factor, bool upper = false);

struct Qr {
  Tensor q, r;
};
enum class QrMode { reduced, complete, r };  // q [M, K], [M, M] or undefined; K = min(M, N)
/// q·r = x, q orthogonal, r upper triangular, by Householder's reflections with LAPACK's signs. Gradients need K = N or
/// `reduced`, and the first K columns independent.
Qr qr(Tensor const& x, QrMode mode = QrMode::reduced);
/// H₁·H₂·…·H_K, the first N columns, Hᵢ = 1 − tauᵢ·v·vᵀ with v = (0, …, 1, x[i + 1:, i]): x [.., M, N], tau [.., K].
Tensor householder_product(Tensor const& x, Tensor const& tau);
/// LAPACK's form of qr: R with the vectors v below its diagonal, and tau. Without gradient.
std::pair<Tensor, Tensor> geqrf(Tensor const& x);
/// q·c, qᵀ·c if `transpose`, or c times those if not `left`, for the square q = H₁·H₂·…·H_K of x [.., M, K] and tau.
Tensor ormqr(Tensor const& x, Tensor const& tau, Tensor const& c, bool left = true, bool transpose = false);

struct Eigh {
  Tensor values;   // [.., N], ascending
  Tensor vectors;  // [.., N, N], in columns
};
/// x = vectors·diag(values)·vectorsᵀ of a symmetric matrix, whose lower triangle (or upper) alone is read. The gradient
/// of the vectors is infinite where values coincide. An Error for input that is not finite.
Eigh eigh(Tensor const& x, bool upper = false);
Tensor eigvalsh(Tensor const& x, bool upper = false);

struct Svd {
  Tensor u, s, vh;  // [.., M, K], [.., K] descending, [.., K, N]
};
/// x = u·diag(s)·vh; `full` gives square u and vh, whose further columns and rows have no gradient. By bidiagonal form
/// and implicit QR (Golub and Reinsch, 1970). An Error for input that is not finite.
Svd svd(Tensor const& x, bool full = true);
Tensor svdvals(Tensor const& x);

struct LuFactor {
  Tensor lu;      // U and, below its diagonal, L without its unit diagonal
  Tensor pivots;  // i32 [.., K], from 1: row i was swapped with row pivots[i]
};
/// P·L·U = x with row pivoting.
LuFactor lu_factor(Tensor const& x);
struct Lu {
  Tensor p, l, u;  // [.., M, M], [.., M, K], [.., K, N]
};
Lu lu(Tensor const& x);
Lu lu_unpack(Tensor const& lu, Tensor const& pivots);
/// x⁻¹·b from the factors of x; b·x⁻¹ unless `left`; of xᵀ if `adjoint`.
Tensor lu_solve(LuFactor const& factors, Tensor const& b, bool left = true, bool adjoint = false);

/// y with a·y = b (y·a = b unless `left`): b a matrix, or a vector where its shape is a's without the last axis. An
/// Error where a is singular.
Tensor solve(Tensor const& a, Tensor const& b, bool left = true);
struct Triangle {
  bool upper = false, left = true;
  bool unitriangular = false;  // the diagonal is taken for ones
};
/// The same for a triangular a, by substitution; the other triangle is not read.
Tensor solve_triangular(Tensor const& a, Tensor const& b, Triangle options = {});
/// An Error where x is singular.
Tensor inv(Tensor const& x);
/// Product of the eigenvalues; the gradient, the matrix of cofactors, is right for singular x too.
Tensor det(Tensor const& x);
struct Slogdet {
  Tensor sign, logabsdet;
};
/// det x = sign·e^logabsdet; 0 and −∞ for singular x.
Slogdet slogdet(Tensor const& x);
/// log det x; NaN where it is negative.
Tensor logdet(Tensor const& x);

/// Singular values up to max(atol, rtol·largest) count for nothing; a negative one is not given: rtol is then
/// max(M, N)·ε, or 0 beside an atol.
struct Rank {
  double atol = -1, rtol = -1;
  bool hermitian = false;  // x is symmetric: eigenvalues by size, its lower triangle alone is read
};
/// Moore and Penrose's inverse.
Tensor pinv(Tensor const& x, Rank options = {});
/// i64, no gradient
Tensor matrix_rank(Tensor const& x, Rank options = {});
/// With bounds for each matrix, that broadcast to the leading axes; either may be undefined.
Tensor matrix_rank(Tensor const& x, Tensor const& atol, Tensor const& rtol, bool hermitian = false);
struct Lstsq {
  Tensor solution;         // [.., N, K]
  Tensor residuals;        // [.., K] Σ (a·y − b)² if M > N and every rank is N, else of size 0
  Tensor rank;             // i64 [..]
  Tensor singular_values;  // [.., min(M, N)]
};
/// y of least ‖a·y − b‖, of those the least ‖y‖. Singular values up to rcond·largest count as 0; by default
/// max(M, N)·ε.
Lstsq lstsq(Tensor const& a, Tensor const& b, double rcond = -1);

/// "fro" √Σx², "nuc" Σs over two axes.
Tensor matrix_norm(Tensor const& x, std::string_view order = "fro", Dims const& axes = {-2, -1}, bool keep = false);
/// 1 (−1): largest (smallest) Σ|x| of a column; ∞ (−∞): of a row; 2 (−2): largest (smallest) singular value.
Tensor matrix_norm(Tensor const& x, double order, Dims const& axes = {-2, -1}, bool keep = false);
/// ‖x‖·‖x⁻¹‖ in the norms of matrix_norm, ∞ for singular x; for ±2 the ratio of the extreme singular values, of any
/// matrix.
Tensor cond(Tensor const& x, double order = 2);
Tensor cond(Tensor const& x, std::string_view order);
/// Σ xⁿ/n! by scaling and squaring of a Padé approximant (Higham, 2005).
Tensor matrix_exp(Tensor const& x);
/// The inverse of x as a map from its last axes to its first `axes`: shape [last.., first..].
Tensor tensorinv(Tensor const& x, int axes = 2);
/// y with tensordot(a, y, y.rank()) = b, after moving `axes` of a to its end.
Tensor tensorsolve(Tensor const& a, Tensor const& b, Dims const& axes = {});

// ---- Fourier transforms ---------------------------------------------------------------------------------------------
// Complex numbers are pairs of reals on a last axis of size 2, which `axis` and `axes` do not count; "real" operands
// have none. Any length; integers count as f32.
enum class FftNorm { backward, ortho, forward };  // 1/n on the inverse, 1/√n on both, 1/n on the forward transform
struct FftOptions {
  int64_t n = -1;  // length of the transform: the axis is cut, or lengthened with zeros; -1 keeps it
  int axis = -1;
  FftNorm norm = FftNorm::backward;
};
/// Σⱼ xⱼ·e^(−2πi·jk/n), complex to complex (Cooley and Tukey, 1965; Bluestein, 1970, for other lengths than 2ᵃ3ᵇ5ᶜ).
Tensor fft(Tensor const& x, FftOptions options = {});
/// Σⱼ xⱼ·e^(2πi·jk/n)/n
Tensor ifft(Tensor const& x, FftOptions options = {});
/// The first n/2 + 1 terms of the transform of real x; the others are their conjugates.
Tensor rfft(Tensor const& x, FftOptions options = {});
/// Its inverse: complex to real of length n, by default 2·(size − 1). Imaginary parts that a real signal has not are
/// ignored.
Tensor irfft(Tensor const& x, FftOptions options = {});
/// Transform of a signal with x₋ⱼ = conj xⱼ, given by its first half: complex to real of length n.
Tensor hfft(Tensor const& x, FftOptions options = {});
/// Its inverse, real to complex.
Tensor ihfft(Tensor const& x, FftOptions options = {});

struct FftnOptions {
  Dims s = {};     // lengths along `axes`, -1 keeps one; empty keeps all
  Dims axes = {};  // empty: the last s.rank() axes, or all of them (of …2: the last two)
  FftNorm norm = FftNorm::backward;
};
// The same along several axes; the real side of rfftn, irfftn, hfftn and ihfftn is the last of `axes`.
Tensor fftn(Tensor const& x, FftnOptions options = {});
Tensor ifftn(Tensor const& x, FftnOptions options = {});
Tensor rfftn(Tensor const& x, FftnOptions options = {});
Tensor irfftn(Tensor const& x, FftnOptions options = {});
Tensor hfftn(Tensor const& x, FftnOptions options = {});
Tensor ihfftn(Tensor const& x, FftnOptions options = {});
Tensor fft2(Tensor const& x, FftnOptions options = {});
Tensor ifft2(Tensor const& x, FftnOptions options = {});
Tensor rfft2(Tensor const& x, FftnOptions options = {});
Tensor irfft2(Tensor const& x, FftnOptions options = {});
Tensor hfft2(Tensor const& x, FftnOptions options = {});
Tensor ihfft2(Tensor const& x, FftnOptions options = {});

/// [0, 1, …, −2, −1]/(n·spacing): the frequencies of fft.
Tensor fftfreq(int64_t n, double spacing = 1, Dtype dtype = Dtype::f32);
/// [0, 1, …, n/2]/(n·spacing): of rfft.
Tensor rfftfreq(int64_t n, double spacing = 1, Dtype dtype = Dtype::f32);
/// Moves frequency 0 to the middle of `axes` (all if empty); here a pair's axis is counted like any other.
Tensor fftshift(Tensor const& x, Dims const& axes = {});
Tensor ifftshift(Tensor const& x, Dims const& axes = {});

/// Pairs (re, im); an undefined `im` is zero.
Tensor complex(Tensor const& re, Tensor const& im = {});
/// (a + bi)·(c + di), pair by pair.
Tensor complex_mul(Tensor const& a, Tensor const& b);
/// yₜ = Σ_{j ≤ t} kernelⱼ·xₜ₋ⱼ along the last axis, as long as x, by rfft in O(T·log T); leading axes broadcast.
Tensor fft_convolve(Tensor const& x, Tensor const& kernel);

struct StftOptions {
  int64_t hop_length = -1;  // -1: n_fft/4
  int64_t win_length = -1;  // -1: n_fft
  Tensor window = {};       // [win_length], centred in n_fft with zeros; undefined: ones
  bool center = true;       // frame t is centred at t·hop_length, the signal reflected beyond its ends
  bool normalized = false;  // 1/√n_fft
  bool onesided = true;     // the n_fft/2 + 1 frequencies of rfft
};
/// rfft (fft) of windowed frames: real [T] or [B, T] → [.., frequencies, frames, 2].
Tensor stft(Tensor const& x, int64_t n_fft, StftOptions const& options = {});
/// The least-squares inverse: overlapping frames, windowed again, over Σ window² (Griffin and Lim, 1984). `length` cuts
/// or lengthens the result; -1: what the frames cover. An Error where Σ window² vanishes.
Tensor istft(Tensor const& x, int64_t n_fft, StftOptions const& options = {}, int64_t length = -1);

// ---- convolution ----------------------------------------------------------------------------------------------------
// One to three spatial axes, as the name says, after [batch, channels] or [channels]; integers and 16-bit types as in
// PyTorch. An empty batch gives an empty result; a spatial size of 0 is an Error.
/// A number for all spatial axes, or one for each; {} leaves the default.
struct Spatial : Dims {
  Spatial() = default;
  Spatial(int64_t value) : Dims{value} {}
  Spatial(std::initializer_list<int64_t> values) : Dims(values) {}
  Spatial(Dims const& values) : Dims(values) {}
};
/// Zeros put on either side of each axis; or "valid", none; or "same", as many as keep the size (stride 1; an odd one
/// goes to the end).
struct ConvPadding : Spatial {
  using Spatial::Spatial;
  ConvPadding(int value) : Spatial(value) {}
  ConvPadding(char const* mode);
  bool same = false;
};
struct ConvOptions {
  Spatial stride = 1;
  ConvPadding padding = 0;
  Spatial dilation = 1;
  int64_t groups = 1;
};
struct ConvTransposeOptions {
  Spatial stride = 1;
  Spatial padding = 0;         // taken off either side of the result
  Spatial output_padding = 0;  // added to the size of the result; less than the stride or the dilation
  Spatial dilation = 1;
  int64_t groups = 1;
};
/// y[b, o, p] = Σ over c, t of x[b, c, p·stride + t·dilation − padding]·weight[o, c, t] + bias[o]: x [B, C, …],
/// weight [O, C/groups, …], bias [O] or undefined → [B, O, …]. Output channel o reads the channels of its group.
Tensor conv1d(Tensor const& x, Tensor const& weight, Tensor const& bias = {}, ConvOptions const& options = {});
Tensor conv2d(Tensor const& x, Tensor const& weight, Tensor const& bias = {}, ConvOptions const& options = {});
Tensor conv3d(Tensor const& x, Tensor const& weight, Tensor const& bias = {}, ConvOptions const& options = {});
/// The adjoint of the convolution, plus bias: x [B, C, …], weight [C, O/groups, …], bias [O] or undefined → [B, O, …]
/// of size (in − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1 (Zeiler et al., 2010).
Tensor conv_transpose1d(Tensor const& x, Tensor const& weight, Tensor const& bias = {},
                        ConvTransposeOptions const& options = {});
Tensor conv_transpose2d(Tensor const& x, Tensor const& weight, Tensor const& bias = {},
                        ConvTransposeOptions const& options = {});
Tensor conv_transpose3d(Tensor const& x, Tensor const& weight, Tensor const& bias = {},
                        ConvTransposeOptions const& options = {});

// ---- pooling --------------------------------------------------------------------------------------------------------
struct MaxPoolOptions {
  Spatial stride = {};  // the kernel's size
  Spatial padding = 0;  // of −∞, at most half the kernel
  Spatial dilation = 1;
  bool ceil_mode = false;  // a last window that hangs over the end counts, if it begins before it
};
/// The largest element of each window; NaN wins, the first of equals gets the gradient.
Tensor max_pool1d(Tensor const& x, Spatial const& kernel, MaxPoolOptions const& options = {});
Tensor max_pool2d(Tensor const& x, Spatial const& kernel, MaxPoolOptions const& options = {});
Tensor max_pool3d(Tensor const& x, Spatial const& kernel, MaxPoolOptions const& options = {});
/// And where it was: i64, row-major within its channel of x.
std::pair<Tensor, Tensor> max_pool1d_with_indices(Tensor const& x, Spatial const& kernel,
                                                  MaxPoolOptions const& options = {});
std::pair<Tensor, Tensor> max_pool2d_with_indices(Tensor const& x, Spatial const& kernel,
                                                  MaxPoolOptions const& options = {});
std::pair<Tensor, Tensor> max_pool3d_with_indices(Tensor const& x, Spatial const& kernel,
                                                  MaxPoolOptions const& options = {});
struct AvgPoolOptions {
  Spatial stride = {};  // the kernel's size
  Spatial padding = 0;  // of zeros, at most half the kernel
  bool ceil_mode = false;
  bool count_include_pad = true;  // divide by what the window covers of x and padding, or of x alone
  int64_t divisor_override = 0;   // divide by this, if it is not 0
};
/// The mean of each window. i64 divides towards zero.
Tensor avg_pool1d(Tensor const& x, Spatial const& kernel, AvgPoolOptions const& options = {});
Tensor avg_pool2d(Tensor const& x, Spatial const& kernel, AvgPoolOptions const& options = {});
Tensor avg_pool3d(Tensor const& x, Spatial const& kernel, AvgPoolOptions const& options = {});
/// The mean over elements ⌊i·in/out⌋ … ⌈(i + 1)·in/out⌉ − 1 of each axis; an `out` of −1 keeps the axis' size.
Tensor adaptive_avg_pool1d(Tensor const& x, Spatial const& out);
Tensor adaptive_avg_pool2d(Tensor const& x, Spatial const& out);
Tensor adaptive_avg_pool3d(Tensor const& x, Spatial const& out);
/// The largest of the same elements, as max_pool.
Tensor adaptive_max_pool1d(Tensor const& x, Spatial const& out);
Tensor adaptive_max_pool2d(Tensor const& x, Spatial const& out);
Tensor adaptive_max_pool3d(Tensor const& x, Spatial const& out);
std::pair<Tensor, Tensor> adaptive_max_pool1d_with_indices(Tensor const& x, Spatial const& out);
std::pair<Tensor, Tensor> adaptive_max_pool2d_with_indices(Tensor const& x, Spatial const& out);
std::pair<Tensor, Tensor> adaptive_max_pool3d_with_indices(Tensor const& x, Spatial const& out);
struct LpPoolOptions {
  Spatial stride = {};  // the kernel's size
  bool ceil_mode = false;
};
/// (Σ xᵖ)^(1/p) over each window; gradient 0 where the sum is 0.
Tensor lp_pool1d(Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& options = {});
Tensor lp_pool2d(Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& options = {});
Tensor lp_pool3d(Tensor const& x, double p, Spatial const& kernel, LpPoolOptions const& options = {});
struct MaxUnpoolOptions {
  Spatial stride = {};  // the kernel's size
  Spatial padding = 0;
  Spatial output_size = {};  // of the spatial axes; {}: (in − 1)·stride − 2·padding + kernel
};
/// Zeros, but x at `indices` (from max_pool…_with_indices); of several at one place the last stays.
Tensor max_unpool1d(Tensor const& x, Tensor const& indices, Spatial const& kernel,
                    MaxUnpoolOptions const& options = {});
Tensor max_unpool2d(Tensor const& x, Tensor const& indices, Spatial const& kernel,
                    MaxUnpoolOptions const& options = {});
Tensor max_unpool3d(Tensor const& x, Tensor const& indices, Spatial const& kernel,
                    MaxUnpoolOptions const& options = {});

// ---- resampling -----------------------------------------------------------------------------------------------------
/// `linear` is bilinear for two axes and trilinear for three.
enum class Interpolation { nearest, nearest_exact, linear, bicubic, area };
struct InterpolateOptions {
  Spatial size = {};                      // of the result, or
  std::vector<double> scale_factor = {};  // times the size of x, rounded down: one, or one for each axis
  Interpolation mode = Interpolation::nearest;
  bool align_corners = false;           // first and last elements stay where they are (linear, bicubic)
  bool recompute_scale_factor = false;  // positions follow from the sizes, not from scale_factor
  bool antialias = false;               // shrinking averages over what it skips (linear, bicubic; two axes)
};
/// x [B, C, …] resampled to other spatial sizes. bicubic: two axes, a = −0.75 (Keys, 1981), −0.5 with antialias; u8 is
/// rounded.
Tensor interpolate(Tensor const& x, InterpolateOptions const& options);
enum class GridPadding { zeros, border, reflection };
struct GridSampleOptions {
  Interpolation mode = Interpolation::linear;  // or nearest, or bicubic (two axes)
  GridPadding padding = GridPadding::zeros;    // what lies outside x
  bool align_corners = false;                  // ±1 are the centres of the outermost elements, not their edges
};
/// x [B, C, H, W] read at grid [B, H', W', 2] of (x, y), or x [B, C, D, H, W] at [B, D', H', W', 3] of (x, y, z), in
/// [−1, 1] → [B, C, H', W'] (Jaderberg et al., 2015).
Tensor grid_sample(Tensor const& x, Tensor const& grid, GridSampleOptions const& options = {});
/// The grid of an affine map theta [B, 2, 3] (or [B, 3, 4]) for a result of `size` [B, C, H, W] (or [B, C, D, H, W]).
Tensor affine_grid(Tensor const& theta, Shape const& size, bool align_corners = false);

struct FoldOptions {
  Spatial kernel;
  Spatial dilation = 1;
  Spatial padding = 0;
  Spatial stride = 1;
};
/// Windows as columns: x [B, C, H, W] → [B, C·taps, windows]; PyTorch's nn.functional.unfold.
Tensor im2col(Tensor const& x, FoldOptions const& options);
/// Its adjoint: [B, C·taps, windows] summed into [B, C, output_size…].
Tensor fold(Tensor const& x, Spatial const& output_size, FoldOptions const& options);
/// [.., C·r², H, W] → [.., C, H·r, W·r] (Shi et al., 2016)
Tensor pixel_shuffle(Tensor const& x, int64_t upscale_factor);
Tensor pixel_unshuffle(Tensor const& x, int64_t downscale_factor);
/// Channels [B, C, ..] read as [groups, C/groups] and transposed (Zhang et al., 2018).
Tensor channel_shuffle(Tensor const& x, int64_t groups);

// ---- losses ---------------------------------------------------------------------------------------------------------
// Means are over elements unless said otherwise; what ignores, weighs or broadcasts does so as PyTorch's.
enum class Reduction { none, mean, sum };
/// (input − target)²
Tensor mse_loss(Tensor const& input, Tensor const& target, Reduction reduction = Reduction::mean);
/// |input − target|
Tensor l1_loss(Tensor const& input, Tensor const& target, Reduction reduction = Reduction::mean);
/// With d = |input − target|: d²/(2·beta) where d < beta, else d − beta/2 (Girshick, 2015).
Tensor smooth_l1_loss(Tensor const& input, Tensor const& target, double beta = 1,
                      Reduction reduction = Reduction::mean);
/// With d = |input − target|: d²/2 where d ≤ delta, else delta·(d − delta/2) (Huber, 1964).
Tensor huber_loss(Tensor const& input, Tensor const& target, double delta = 1, Reduction reduction = Reduction::mean);
/// −weight·(target·log input + (1 − target)·log(1 − input)), logarithms not below −100; input in [0, 1], of target's
/// shape.
Tensor binary_cross_entropy(Tensor const& input, Tensor const& target, Tensor const& weight = {},
                            Reduction reduction = Reduction::mean);
struct BinaryCrossEntropyOptions {
  Tensor weight = {};      // of each element, broadcast
  Tensor pos_weight = {};  // of the term with target, broadcast
  Reduction reduction = Reduction::mean;
};
/// −weight·(pos_weight·target·log σ(logits) + (1 − target)·log(1 − σ(logits))), of target's shape.
Tensor binary_cross_entropy_with_logits(Tensor const& logits, Tensor const& target,
                                        BinaryCrossEntropyOptions const& options = {});
struct NllOptions {
  Tensor weight = {};           // of each class [C]
  int64_t ignore_index = -100;  // elements with this target count for nothing
  Reduction reduction = Reduction::mean;
};
/// −weight[target]·log_p[target]: log_p [N, C, ..] or [C], target i64 [N, ..] or []. The mean divides by the sum of
/// weights.
Tensor nll_loss(Tensor const& log_p, Tensor const& target, NllOptions const& options = {});
struct KlDivOptions {
  bool log_target = false;  // target holds logarithms
  bool batch_mean = false;  // the sum over all divided by the first size, in place of `reduction`
  Reduction reduction = Reduction::mean;
};
/// target·(log target − log_p): the pointwise term of the divergence (Kullback and Leibler, 1951).
Tensor kl_div(Tensor const& log_p, Tensor const& target, KlDivOptions const& options = {});
struct PoissonNllOptions {
  bool log_input = true;  // input is the logarithm of the rate
  bool full = false;      // with Stirling's approximation of log target!, where target > 1
  double eps = 1e-8;      // added to a rate before its logarithm
  Reduction reduction = Reduction::mean;
};
/// exp(input) − target·input, or input − target·log(input + eps).
Tensor poisson_nll_loss(Tensor const& input, Tensor const& target, PoissonNllOptions const& options = {});
struct GaussianNllOptions {
  bool full = false;  // with the constant log(2π)/2
  double eps = 1e-6;  // least variance; the gradient passes as if it were not there
  Reduction reduction = Reduction::mean;
};
/// (log variance + (input − target)²/variance)/2 (Nix and Weigend, 1994); variance of input's shape, or lacking the
/// last axis, or with size 1 somewhere.
Tensor gaussian_nll_loss(Tensor const& input, Tensor const& target, Tensor const& variance,
                         GaussianNllOptions const& options = {});
/// input where target is 1, max(0, margin − input) where it is −1 (both where it is neither).
Tensor hinge_embedding_loss(Tensor const& input, Tensor const& target, double margin = 1,
                            Reduction reduction = Reduction::mean);
/// max(0, margin − target·(a − b)), target 1 or −1
Tensor margin_ranking_loss(Tensor const& a, Tensor const& b, Tensor const& target, double margin = 0,
                           Reduction reduction = Reduction::mean);
/// 1 − cos(a, b) where target is 1, max(0, cos(a, b) − margin) where it is −1: a, b [N, C] or [C], target [N] or [].
Tensor cosine_embedding_loss(Tensor const& a, Tensor const& b, Tensor const& target, double margin = 0,
                             Reduction reduction = Reduction::mean);
/// a·b/(max(|a|, eps)·max(|b|, eps)) along `axis`
Tensor cosine_similarity(Tensor const& a, Tensor const& b, int axis = 1, double eps = 1e-8);
/// |a − b + eps|_p along the last axis
Tensor pairwise_distance(Tensor const& a, Tensor const& b, double p = 2, double eps = 1e-6, bool keep = false);
struct TripletOptions {
  double margin = 1, p = 2, eps = 1e-6;
  bool swap = false;  // the negative's distance to the positive counts where it is smaller (Balntas et al., 2016)
  Reduction reduction = Reduction::mean;
};
/// max(0, d(anchor, positive) − d(anchor, negative) + margin), d the pairwise distance (Weinberger and Saul, 2009).
Tensor triplet_margin_loss(Tensor const& anchor, Tensor const& positive, Tensor const& negative,
                           TripletOptions const& options = {});
struct MultiMarginOptions {
  double p = 1, margin = 1;
  Tensor weight = {};  // of each class [C]
  Reduction reduction = Reduction::mean;
};
/// weight[y]/C·Σ_{i≠y} max(0, margin − x_y + x_i)^p, y the target: input [N, C] or [C], target i64 [N] or [] (Crammer
/// and Singer, 2001).
Tensor multi_margin_loss(Tensor const& input, Tensor const& target, MultiMarginOptions const& options = {});
/// 1/C·Σ max(0, 1 − x_j + x_i) over targets j and non-targets i: input [N, C] or [C]; target i64 of the same shape
/// lists classes up to the first −1.
Tensor multilabel_margin_loss(Tensor const& input, Tensor const& target, Reduction reduction = Reduction::mean);
/// The mean over the last axis of −weight·(target·log σ(input) + (1 − target)·log σ(−input)).
Tensor multilabel_soft_margin_loss(Tensor const& input, Tensor const& target, Tensor const& weight = {},
                                   Reduction reduction = Reduction::mean);
/// log(1 + exp(−target·input)), target 1 or −1
Tensor soft_margin_loss(Tensor const& input, Tensor const& target, Reduction reduction = Reduction::mean);
struct CtcOptions {
  int64_t blank = 0;
  bool zero_infinity = false;  // a target too long for its input has loss and gradient 0, not infinity
  Reduction reduction = Reduction::mean;
};
/// −log of the probability that a path through log_p [T, N, C] (or [T, C]), of which the first input_lengths[n] steps
/// count, spells target n once repeats are merged and blanks dropped (Graves et al., 2006). targets i64 [N, S], or one
/// after the other [Σ target_lengths]. The mean divides each loss by its target's length first. The gradient is the
/// derivative with respect to log_p itself: PyTorch's adds exp(log_p), as if log_p came from log_softmax.
Tensor ctc_loss(Tensor const& log_p, Tensor const& targets, std::vector<int64_t> const& input_lengths,
                std::vector<int64_t> const& target_lengths, CtcOptions const& options = {});

// ---- recurrent ------------------------------------------------------------------------------------------------------
/// Weights of one direction of one layer, by PyTorch's names: w_ih [k·H, I], w_hh [k·H, H], biases [k·H] or undefined,
/// k = 1 for a simple layer, 4 for an LSTM (i, f, g, o), 3 for a GRU (r, z, n). w_hr [P, H] projects an LSTM's h, and
/// w_hh is then [k·H, P] (Sak et al., 2014).
struct RecurrentWeights {
  Tensor w_ih, w_hh, b_ih = {}, b_hh = {}, w_hr = {};
};
struct RecurrentOptions {
  bool bidirectional = false;  // every layer runs backwards too, and hands on both states side by side
  bool batch_first = false;    // x and y [B, T, ..] in place of [T, B, ..]
  bool relu = false;           // a simple layer has max(0, x) in place of tanh
  double dropout = 0;          // of what a layer hands to the next
  Generator* generator = nullptr;
};
/// h' = tanh(w_ih·x + b_ih + w_hh·h + b_hh) (Elman, 1990): x [B, I] or [I], h [B, H] or undefined for 0.
Tensor rnn_cell(Tensor const& x, Tensor const& h, RecurrentWeights const& weights, bool relu = false);
/// c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c') → (h', c'), with i, f, g, o the four parts of w_ih·x + b_ih + w_hh·h
/// + b_hh (Hochreiter and Schmidhuber, 1997; Gers et al., 2000).
std::pair<Tensor, Tensor> lstm_cell(Tensor const& x, Tensor const& h, Tensor const& c, RecurrentWeights const& weights);
/// r, z = σ(parts of w_ih·x + b_ih + w_hh·h + b_hh), n = tanh(w_in·x + b_in + r·(w_hn·h + b_hn)), h' = (1 − z)·n + z·h
/// (Cho et al., 2014).
Tensor gru_cell(Tensor const& x, Tensor const& h, RecurrentWeights const& weights);
/// The cells over time, in layers: x [T, B, I] or [T, I]; h0, c0 [L, B, H] or undefined for 0; weights of layer 0,
/// layer 0 backwards, layer 1, …, L sets in all. Gives the last layer's states [T, B, D·H], and the last h (and c) of
/// every set.
std::pair<Tensor, Tensor> rnn(Tensor const& x, Tensor const& h0, std::vector<RecurrentWeights> const& weights,
                              RecurrentOptions const& options = {});
std::tuple<Tensor, Tensor, Tensor> lstm(Tensor const& x, Tensor const& h0, Tensor const& c0,
                                        std::vector<RecurrentWeights> const& weights,
                                        RecurrentOptions const& options = {});
std::pair<Tensor, Tensor> gru(Tensor const& x, Tensor const& h0, std::vector<RecurrentWeights> const& weights,
                              RecurrentOptions const& options = {});

// ---- fused neural primitives, each with a naive twin below ----------------------------------------------------------
/// exp(x − max x)/Σ exp(x − max x) along `axis`; with a dtype, x is converted first.
Tensor softmax(Tensor const& x, int axis = -1);
Tensor softmax(Tensor const& x, int axis, Dtype dtype);
Tensor log_softmax(Tensor const& x, int axis = -1);
Tensor log_softmax(Tensor const& x, int axis, Dtype dtype);
/// softmax(−x)
Tensor softmin(Tensor const& x, int axis = -1);
Tensor softmin(Tensor const& x, int axis, Dtype dtype);
/// (x − mean)/√(var + eps)·weight + bias over the last axis (Ba et al., 2016); weight and bias may be undefined.
Tensor layer_norm(Tensor const& x, Tensor const& weight = {}, Tensor const& bias = {}, double eps = 1e-5);
/// The same over the last axes, of sizes `normalized`, which are the shape of weight and bias too.
Tensor layer_norm(Tensor const& x, Shape const& normalized, Tensor const& weight, Tensor const& bias,
                  double eps = 1e-5);
/// x/√(mean(x²) + eps)·weight over the last axis (Zhang and Sennrich, 2019)
Tensor rms_norm(Tensor const& x, Tensor const& weight = {}, double eps = 1e-6);
Tensor rms_norm(Tensor const& x, Shape const& normalized, Tensor const& weight, double eps = 1e-6);
/// (x − mean)/√(var + eps)·weight + bias over `groups` groups of channels and all positions: x [N, C, ..], weight and
/// bias [C] or undefined (Wu and He, 2018).
Tensor group_norm(Tensor const& x, int64_t groups, Tensor const& weight = {}, Tensor const& bias = {},
                  double eps = 1e-5);
struct BatchNormOptions {
  bool training = false;  // statistics of x, which also update the running ones; else the running ones
  double momentum = 0.1;  // running = (1 − momentum)·running + momentum·of x, the variance of x being the unbiased one
  double eps = 1e-5;
};
/// (x − mean)/√(var + eps)·weight + bias with statistics of each channel over batch and positions: x [N, C, ..], the
/// others [C] or undefined (Ioffe and Szegedy, 2015).
Tensor batch_norm(Tensor const& x, Tensor const& running_mean, Tensor const& running_var, Tensor const& weight = {},
                  Tensor const& bias = {}, BatchNormOptions const& options = {});
/// As batch_norm, with statistics of each sample's own channels over the positions; the running ones take their mean
/// over the batch (Ulyanov et al., 2016).
Tensor instance_norm(Tensor const& x, Tensor const& running_mean = {}, Tensor const& running_var = {},
                     Tensor const& weight = {}, Tensor const& bias = {}, BatchNormOptions const& options = {true});
/// x/(k + alpha·m)^beta, m the mean of x² over `size` neighbouring channels of x [N, C, ..], zeros beyond the ends
/// (Krizhevsky et al., 2012).
Tensor local_response_norm(Tensor const& x, int64_t size, double alpha = 1e-4, double beta = 0.75, double k = 1);
/// x/max(|x|_p, eps) along `axis`
Tensor normalize(Tensor const& x, double p = 2, int axis = 1, double eps = 1e-12);

struct CrossEntropyOptions {
  int64_t ignore_index = -100;  // rows with this target count for nothing
  double label_smoothing = 0;   // weight of the uniform distribution (Szegedy et al., 2016)
  Reduction reduction = Reduction::mean;
  Tensor weight = {};  // of each class [C]
  int axis = -1;       // of the classes; PyTorch's layout is axis 1, or 0 for logits of rank 1
};
/// −log softmax(logits)[target]: logits [.., C], targets i64 [..]. The mean is over rows that are not ignored, or
/// divides by the sum of their weights. Floating targets of the logits' shape are class probabilities t: −Σ
/// weight·t·log softmax(logits), no row ignored.
Tensor cross_entropy(Tensor const& logits, Tensor const& targets, CrossEntropyOptions options = {});

/// cross_entropy(linear(x, weight, bias), targets) of class indices, block by block of rows: the logits [.., V] are
/// never held, and with a mean or a sum their gradient is made in the same pass (Wijmans et al., "Cut your losses",
/// 2024; Hsu et al., "Liger kernel", 2024). x [.., C], weight [V, C], bias [V] or undefined, targets i64 [..].
Tensor linear_cross_entropy(Tensor const& x, Tensor const& targets, Tensor const& weight, Tensor const& bias = {},
                            CrossEntropyOptions const& options = {});

struct EmbeddingOptions {
  std::optional<int64_t> padding_idx = {};  // a row that gets no gradient; negative counts from the end
  bool scale_grad_by_freq = false;          // a row's gradient is divided by how often `index` names it
};
/// Rows of `table` [V, C] by `index` (i64, any shape) → [.., C]; the gradient is dense.
Tensor embedding(Tensor const& index, Tensor const& table, EmbeddingOptions const& options = {});
enum class BagMode { sum, mean, max };
struct EmbeddingBagOptions {
  BagMode mode = BagMode::mean;
  Tensor offsets = {};                      // [B], i64: where each bag starts in an index of one axis
  Tensor per_sample_weights = {};           // of index's shape: factors of the rows, for sums
  bool include_last_offset = false;         // the last offset is the end of the last bag
  std::optional<int64_t> padding_idx = {};  // a row that is left out
  bool scale_grad_by_freq = false;
};
/// The sum, mean or largest elements of the rows of `table` [V, C] in each bag → [B, C], 0 for an empty one: index
/// [B, L], or [N] cut by offsets.
Tensor embedding_bag(Tensor const& index, Tensor const& table, EmbeddingBagOptions const& options = {});
/// x·keep/(1 − p), keep ~ Bernoulli(1 − p) by a counter-based draw, so that nothing is stored (Srivastava et al.,
/// 2014). All zeros where p is 1.
Tensor dropout(Tensor const& x, double p, Generator& generator = default_generator());
Tensor dropout(Tensor const& x, double p, Draw draw);
/// Dropout of whole channels: x [N, C, ..], for 1d and 3d also [C, L] and [C, D, H, W] (Tompson et al., 2015).
Tensor dropout1d(Tensor const& x, double p, Generator& generator = default_generator());
Tensor dropout2d(Tensor const& x, double p, Generator& generator = default_generator());
Tensor dropout3d(Tensor const& x, double p, Generator& generator = default_generator());
/// Dropped elements become SELU's lower limit, then all are scaled to keep mean 0 and variance 1 (Klambauer et al.,
/// 2017). All zeros where p is 1.
Tensor alpha_dropout(Tensor const& x, double p, Generator& generator = default_generator());
/// The same of whole channels: x [N, C, ..].
Tensor feature_alpha_dropout(Tensor const& x, double p, Generator& generator = default_generator());

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
  ScoreMod score = {};   // applied to scale·q·k before the softmax (score.h)
  MaskMod sees = {};     // and true attends: skips the tiles where nothing can
  ScoreMod weight = {};  // if given, no softmax: what it makes of a score is the weight (sigmoid, ReLU²)
  Tensor sink = {};      // [H]: a logit in every row's denominator that has no value; zeros: softmax-1 (Miller, 2023)
  double entmax = 1;     // α of α-entmax in place of the softmax: 2 is sparsemax (Peters et al., 2019)
  int64_t top_k = 0;     // only the k largest scores of each query, and what equals them; 0: all
  /// i64 [B, P]: k and v are pages [N, G, page, D] that sequences share (Kwon et al., 2023), page a multiple of 32; key
  /// j of b is row j % page of page pages[b, j / page]. lengths() hides what of the last page is unused. No gradients.
  Tensor pages = {};
};
struct Attended {
  Tensor out;  // [B, H, T, E]
  Tensor lse;  // [B, H, T]: log Σ exp(score), −∞ where a query sees nothing; undefined with `weight` or `entmax`
};
/// softmax(q·kᵀ·scale)·v without the T×S matrix: q [B, H, T, D], k [B, G, S, D], v [B, G, S, E], H a multiple of G, and
/// head h reads key head ⌊h·G/H⌋ (Vaswani et al., 2017; Ainslie et al., 2023; tiling by online softmax: Milakov and
/// Gimelshein, 2018; Dao et al., 2022). A query that sees nothing gives 0; masked keys and values are never read as
/// numbers. On an accelerator's matrix units (16 bits, D = E of 64 or 128) weights are rounded before they meet v.
Attended attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {});
/// attend() over all keys, from what it gave for two parts of them: log-sum-exp weighs the outputs.
Attended merge(Attended const& a, Attended const& b);
/// Σ_j f(s_ij) [B, H, T], or Σ_i f(s_ij) [B, H, S] over_queries, of the modified scores that options let be seen;
/// recomputed by tiles, never held.
Tensor score_sum(Tensor const& q, Tensor const& k, ScoreMod const& f, AttendOptions const& options = {},
                 bool over_queries = false);
/// Σ f(p, s, position) over keys or over queries, p = exp(s − lse) the weight that attend() gave lse for: a
/// differentiable measure of an attention map that is never held.
template <class F>
Tensor attention_probe(Tensor const& q, Tensor const& k, Tensor const& lse, F const& f,
                       AttendOptions const& options = {}, bool over_queries = false) {
  double const shift = double(k.size(2) - q.size(2));
  ScoreMod const of_weight = [&](auto s, auto at) {
    auto const unseen = read(lse, {at.b, at.h, at.i - shift});
    return f(exp(s - unseen), s, at);
  };
  return score_sum(q, k, of_weight, options, over_queries);
}
/// −Σ_j p log p [B, H, T], in nats; 0 for a query that sees nothing.
Tensor attention_entropy(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options = {});
/// 1 / Σ_j p² [B, H, T]: on how many keys a query really rests.
Tensor attention_effective_count(Tensor const& q, Tensor const& k, Tensor const& lse,
                                 AttendOptions const& options = {});
/// max_j p [B, H, T]
Tensor attention_max(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options = {});
/// Σ_j p·|i − j| [B, H, T]
Tensor attention_distance(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options = {});
/// Σ_i p [B, H, S]: what each key gets from all queries.
Tensor attention_received(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options = {});
/// The modified scores [B, H, T, S], −∞ where nothing is seen: materialised, for what mixes heads or normalises
/// otherwise, and for second derivatives.
Tensor dense_scores(Tensor const& q, Tensor const& k, AttendOptions const& options = {});
/// The weights [B, H, T, S] that attend() applies to v: materialised, for looking and for second derivatives.
Tensor attention_weights(Tensor const& q, Tensor const& k, AttendOptions const& options = {});
/// bool of scores' shape: true for the `count` largest of each row, the last axis: with blocks() of score.h, a list of
/// key blocks chosen from data, by the means of blocks of q and k say (Yuan et al., NSA, 2025; Lu et al., MoBA, 2025).
Tensor top_blocks(Tensor const& scores, int64_t count);
/// exp(scores) with rows and columns scaled in turn, `steps` times, to sums of 1: doubly stochastic in the limit, in
/// the log domain (Sinkhorn, 1967; Sander et al., Sinkformers, 2022). scores [.., T, T].
Tensor sinkhorn(Tensor const& scores, int64_t steps = 5);
/// An approximate pseudo-inverse of a [.., M, M] by Z ← ¼·Z(13 − AZ(15 − AZ(7 − AZ))) from Aᵀ/(‖A‖₁·‖A‖_∞), which
/// converges for every A (Razavi et al., 2014; Xiong et al., Nyströmformer, 2021).
Tensor newton_schulz_pinv(Tensor const& a, int64_t steps = 6);
/// max((α − 1)·x − τ, 0)^(1/(α−1)) with τ such that the sum along `axis` is 1: sparse for α > 1, sparsemax for 2
/// (Martins and Astudillo, 2016; Peters et al., 2019). Entries of −∞ get 0.
Tensor entmax(Tensor const& x, double alpha = 1.5, int axis = -1);

// ---- linear recurrence ----------------------------------------------------------------------------------------------
enum class ScanMode { automatic, loop, chunked };
/// Operands of scan() beside q, k, v. Every operand has H heads or a divisor G of them: head h reads ⌊h·G/H⌋.
struct ScanOptions {
  Tensor decay = {};      // log D_t: [B, G, T], or [B, G, T, D] for the rows of S; −∞ forgets; undefined: D = 1
  Tensor a = {}, b = {};  // [B, G, T, D]: the term a_t(b_tᵀS_{t−1}), or none
  Tensor initial = {};    // S_0 [B, H, D, E]; undefined: 0
  Tensor rates = {};      // [G, D], beside decay [B, G, T]: log D_t is decay_t·rates, which takes no memory
  double scale = 1;       // of q
  bool inclusive = true;  // o_t reads S_t, else S_{t−1}
  int64_t chunk = 0;      // steps of a chunk, and between states kept for backward; 0: by shape
  ScanMode mode = ScanMode::automatic;
};
struct Scanned {
  Tensor out;    // [B, H, T, E]
  Tensor state;  // S_T [B, H, D, E], what `initial` of the next call takes; f32 beside 16-bit operands
};
/// S_t = D_t∘S_{t−1} + a_t(b_tᵀS_{t−1}) + k_t·v_tᵀ, o_t = scale·S_tᵀq_t, in time and memory O(T): q, k [B, G, T, D],
/// v [B, G, T, E]. b reads the state before its decay. All modes give the same, but for rounding: `loop` is the
/// formula, and with T = 1 a step of decoding; `chunked` takes `chunk` steps by matrix products, the rank-one terms by
/// substitution in a unit triangle. Decays between two steps are multiplied up, never divided, so that none is too
/// strong. Narrow states that only decay, E <= 4 as of Mamba-1, run with heads side by side where `mode` is automatic
/// and q, k and decay have one head or all. Gradients of all operands and of the state. Linear attention: Katharopoulos
/// et al., 2020; RetNet (a constant per head): Sun et al., 2023; GLA (per channel): Yang et al., 2023; Mamba-2 (per
/// head; q, k of one head): Dao and Gu, 2024; RWKV-6 (!inclusive, plus (q·(u∘k))v): Peng et al., 2024; RWKV-7 (general
/// a, b): Peng et al., 2025.
Scanned scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options = {});
/// scan() of the delta rule: S_t = (1 − β_t·k_t·k_tᵀ)(D_t∘S_{t−1}) + β_t·k_t·v_tᵀ, so that S_tᵀk_t moves towards v_t by
/// the share β_t where |k_t| = 1: beta [B, G, T]; options without a and b (Schlag et al., 2021; gated: Yang et al.,
/// 2025; D per channel: Kimi Team, 2025).
Scanned delta_scan(Tensor const& q, Tensor const& k, Tensor const& v, Tensor const& beta,
                   ScanOptions const& options = {});

/// y[b, c, t] = Σ over j of x[b, c, t − K + 1 + j]·weight[c, j] + bias[c], the short convolution of such layers: x
/// [B, C, T], weight [C, K], bias [C] or undefined; `state` [B, C, K − 1] holds the inputs before x, undefined: 0.
/// Gives y [B, C, T] and the state after x, what the next call takes; T = 1 is a step of decoding.
std::pair<Tensor, Tensor> causal_conv1d(Tensor const& x, Tensor const& weight, Tensor const& bias = {},
                                        Tensor const& state = {});

enum class Recurrence { tanh, relu, lstm, gru };

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
/// One loss for each sample of log_p [T, N, C]: symbols[n] is its target with blanks between and around.
Tensor ctc_losses(Tensor const& log_p, std::vector<std::vector<int64_t>> const& symbols,
                  std::vector<int64_t> const& input_lengths);
Tensor dropout(Tensor const& x, double p, Draw draw);
/// One direction of one layer, step by step, from the inputs' sums x [T, B, k·H]: all h, and the last c.
std::pair<Tensor, Tensor> recurrence(Recurrence kind, Tensor const& x, Tensor const& h0, Tensor const& c0,
                                     Tensor const& w_hh, Tensor const& b_hh, bool reverse, Tensor const& w_hr = {});
Attended attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {});
/// Of options.score.
Tensor score_sum(Tensor const& q, Tensor const& k, AttendOptions const& options, bool over_queries);
Scanned scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options = {});
}  // namespace naive

}  // namespace heed
