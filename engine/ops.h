// The catalogue: every operation once, with formula, shapes and errors. Unless said otherwise an operation takes f32
// and f64, promotes mixed types as PyTorch does, broadcasts as NumPy does, and has a gradient that can be
// differentiated again. A primitive, which has a kernel, opens an Observed (observe.h), so that a profile shows it.
#pragma once

#include <heed/engine/random.h>
#include <heed/engine/tensor.h>

#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace heed {

// ---- creation -------------------------------------------------------------------------------------------------------
Tensor empty(Shape const& shape, Dtype dtype = Dtype::f32);
Tensor full(Shape const& shape, double value, Dtype dtype = Dtype::f32);
Tensor zeros(Shape const& shape, Dtype dtype = Dtype::f32);
Tensor ones(Shape const& shape, Dtype dtype = Dtype::f32);
Tensor zeros_like(Tensor const& x);
Tensor ones_like(Tensor const& x);
/// from, from + step, … < to
Tensor arange(int64_t from, int64_t to, int64_t step = 1, Dtype dtype = Dtype::i64);
inline Tensor arange(int64_t to) { return arange(0, to); }
/// A copy of `values` in row-major order; T: float, double, int32_t, int64_t, uint8_t.
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
Tensor scalar(double value, Dtype dtype = Dtype::f32);

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
/// a to the power b
Tensor pow(Tensor const& a, Tensor const& b);
Tensor pow(Tensor const& a, double exponent);
/// NaN if either is; equal operands share the gradient.
Tensor maximum(Tensor const& a, Tensor const& b);
Tensor minimum(Tensor const& a, Tensor const& b);

inline Tensor operator+(Tensor const& a, Tensor const& b) { return add(a, b); }
inline Tensor operator-(Tensor const& a, Tensor const& b) { return sub(a, b); }
inline Tensor operator*(Tensor const& a, Tensor const& b) { return mul(a, b); }
inline Tensor operator/(Tensor const& a, Tensor const& b) { return div(a, b); }
// A number takes the tensor's type.
Tensor operator+(Tensor const& a, double b);
Tensor operator+(double a, Tensor const& b);
Tensor operator-(Tensor const& a, double b);
Tensor operator-(double a, Tensor const& b);
Tensor operator*(Tensor const& a, double b);
Tensor operator*(double a, Tensor const& b);
Tensor operator/(Tensor const& a, double b);
Tensor operator/(double a, Tensor const& b);
Tensor operator-(Tensor const& a);

// Comparisons, element by element: bool, no gradient.
Tensor operator==(Tensor const& a, Tensor const& b);
Tensor operator!=(Tensor const& a, Tensor const& b);
Tensor operator<(Tensor const& a, Tensor const& b);
Tensor operator<=(Tensor const& a, Tensor const& b);
Tensor operator>(Tensor const& a, Tensor const& b);
Tensor operator>=(Tensor const& a, Tensor const& b);
Tensor operator==(Tensor const& a, double b);
Tensor operator!=(Tensor const& a, double b);
Tensor operator<(Tensor const& a, double b);
Tensor operator<=(Tensor const& a, double b);
Tensor operator>(Tensor const& a, double b);
Tensor operator>=(Tensor const& a, double b);
Tensor operator&(Tensor const& a, Tensor const& b);  // bool
Tensor operator|(Tensor const& a, Tensor const& b);
Tensor operator!(Tensor const& a);

/// condition ? a : b; `condition` is bool. The branch not taken has gradient 0, even where it is NaN.
Tensor where(Tensor const& condition, Tensor const& a, Tensor const& b);
Tensor where(Tensor const& condition, Tensor const& a, double b);
Tensor where(Tensor const& condition, double a, Tensor const& b);
/// x where `mask` is false, `value` where it is true.
Tensor masked_fill(Tensor const& x, Tensor const& mask, double value);

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
Tensor tanh(Tensor const& x);
Tensor erf(Tensor const& x);
Tensor floor(Tensor const& x);
Tensor ceil(Tensor const& x);
/// To the nearest integer, halves to even.
Tensor round(Tensor const& x);
Tensor trunc(Tensor const& x);
/// min(max(x, low), high); gradient 1 on [low, high].
Tensor clamp(Tensor const& x, double low, double high);
/// 1/(1 + e⁻ˣ)
Tensor sigmoid(Tensor const& x);
Tensor log_sigmoid(Tensor const& x);
/// log(1 + eˣ)
Tensor softplus(Tensor const& x);
Tensor relu(Tensor const& x);
Tensor leaky_relu(Tensor const& x, double negative_slope = 0.01);
Tensor elu(Tensor const& x, double alpha = 1);
/// x·Φ(x) (Hendrycks and Gimpel, 2016)
Tensor gelu(Tensor const& x);
/// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
Tensor gelu_tanh(Tensor const& x);
/// x·sigmoid(x) (Ramachandran et al., 2017)
Tensor silu(Tensor const& x);
/// x·tanh(softplus(x)) (Misra, 2019)
Tensor mish(Tensor const& x);

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
