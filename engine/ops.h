// The catalogue: every operation once, with formula, shapes and errors. Unless said otherwise an operation takes f32
// and f64, promotes mixed types as PyTorch does, broadcasts as NumPy does, and has a gradient that can be
// differentiated again. A primitive, which has a kernel, opens an Observed (observe.h), so that a profile shows it.
#pragma once

#include <heed/engine/random.h>
#include <heed/engine/tensor.h>

#include <limits>
#include <optional>
#include <span>
#include <string_view>
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
// Over all elements, or over one or more axes; `keep` leaves them with size 1.
Tensor sum(Tensor const& x);
Tensor sum(Tensor const& x, Dims const& axes, bool keep = false);
Tensor mean(Tensor const& x);
Tensor mean(Tensor const& x, Dims const& axes, bool keep = false);
/// Σ (x − mean)² / (n − correction)
Tensor var(Tensor const& x, Dims const& axes, double correction = 1, bool keep = false);
/// Ties share the gradient equally; NaN wins. An Error over an empty axis.
Tensor amax(Tensor const& x, Dims const& axes, bool keep = false);
Tensor amin(Tensor const& x, Dims const& axes, bool keep = false);
/// First index of the largest (smallest) element: i64, no gradient.
Tensor argmax(Tensor const& x, int axis, bool keep = false);
Tensor argmin(Tensor const& x, int axis, bool keep = false);
Tensor prod(Tensor const& x, int axis, bool keep = false);
/// log Σ eˣ, without overflow
Tensor logsumexp(Tensor const& x, int axis, bool keep = false);
/// Sums the axes that broadcasting `shape` would add: the adjoint of expand.
Tensor sum_to(Tensor const& x, Shape const& shape);

// ---- scans, sorting, searching --------------------------------------------------------------------------------------

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
// All number types, 16-bit ones computed in f32; integers wrap. Sizes that do not meet are an Error.
/// [.., M, K]·[.., K, N] → [.., M, N], leading axes broadcast; rank 1 is a row (left) or column (right) and loses that
/// axis.
Tensor matmul(Tensor const& a, Tensor const& b);
/// x·weightᵀ + bias: x [.., K], weight [N, K], bias [N] or undefined; a weight [K] gives [..], with a bias of rank 0.
Tensor linear(Tensor const& x, Tensor const& weight, Tensor const& bias = {});
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
/// that, the cheapest pair next).
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
