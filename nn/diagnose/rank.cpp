#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops/attention_rows.h>
#include <heed/engine/tape.h>
#include <heed/nn/diagnose/rank.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::nn {
namespace {

/// [N, T, C] in f64 from [.., T, C].
Tensor token_matrices(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 2, op, [&] {
    return Complaint{"expected tokens [.., T, C], got " + to_string(x.shape()), "pass a matrix with a row a token"};
  });
  return x.detach().to(Dtype::f64).reshape({-1, x.size(-2), x.size(-1)});
}

/// √(‖X‖₁·‖X‖_∞) of each [T, C].
Tensor composite_norm(Tensor const& x) { return sqrt(amax(sum(abs(x), {1}), {1}) * amax(sum(abs(x), {2}), {1})); }

/// A·x, or by the gradient of it Aᵀ·y: every head with keys of its own, as x has a number for each.
struct Map {
  Tensor q, k;
  AttendOptions options;
  explicit Map(AttentionCall const& c) : options(c.options) {
    auto const wide = [](Tensor const& x) {
      return x.dtype() == Dtype::bf16 || x.dtype() == Dtype::f16 ? x.detach().to(Dtype::f32) : x.detach();
    };
    q = wide(c.q), k = wide(c.k);
    int64_t const b = k.size(0), g = k.size(1), h = q.size(1), s = k.size(2), d = k.size(3);
    k = k.unsqueeze(2).expand({b, g, h / g, s, d}).reshape({b, h, s, d});
    options.dropout = 0;
  }
  Tensor times(Tensor const& x) const { return attend(q, k, x.unsqueeze(3), options).out.squeeze(3); }
  Tensor transposed_times(Tensor const& y) const {
    EnableGrad const on;
    Tensor const x = zeros({k.size(0), k.size(1), k.size(2)}, k.dtype(), k.device()).requires_grad_();
    return grad({times(x)}, {x}, {y.to(k.dtype())})[0].detach();
  }
};

}  // namespace

double rank_residual(Tensor const& given) {
  NoGrad const off;
  Tensor const x = token_matrices("rank_residual", given);
  return mean(composite_norm(x - mean(x, {1}, true))).item();
}

double relative_rank_residual(Tensor const& given) {
  NoGrad const off;
  Tensor const x = token_matrices("relative_rank_residual", given), whole = composite_norm(x);
  return mean(where(whole > 0.0, composite_norm(x - mean(x, {1}, true)) / where(whole > 0.0, whole, 1.0), 0.0)).item();
}

double token_similarity(Tensor const& given) {
  NoGrad const off;
  Tensor const x = token_matrices("token_similarity", given);
  double const t = double(x.size(1));
  if (t < 2) return std::numeric_limits<double>::quiet_NaN();
  Tensor const length = vector_norm(x, 2, {2}, true), unit = x / where(length > 0.0, length, 1.0);
  // Σ_{i≠j} ⟨u_i, u_j⟩ = |Σ u|² − Σ |u|²
  Tensor const pairs = sum(square(sum(unit, {1})), {1}) - sum(square(unit), {1, 2});
  return mean(pairs).item() / (t * (t - 1));
}

double effective_rank(Tensor const& given) {
  NoGrad const off;
  Tensor const x = token_matrices("effective_rank", given), sigma = svdvals(x), total = sum(sigma, {1}, true);
  Tensor const p = sigma / where(total > 0.0, total, 1.0);
  return mean(exp(-sum(where(p > 0.0, p * log(where(p > 0.0, p, 1.0)), 0.0), {1}))).item();
}

std::vector<double> output_rank(Tensor const& out) {
  std::vector<double> list;
  for (int64_t h = 0; h < out.size(1); ++h)
    list.push_back(effective_rank(out.detach().to(cpu).select(1, h).contiguous()));
  return list;
}

Tensor transposed_map_times(AttentionCall const& call, Tensor const& y) {
  NoGrad const off;
  return Map(call).transposed_times(y);
}

std::vector<double> stable_rank(AttentionCall const& call, int64_t steps) {
  NoGrad const off;
  Map const map(call);
  int64_t const b = map.q.size(0), h = map.q.size(1);
  Tensor x = ones({b, h, map.k.size(2)}, map.k.dtype(), map.k.device());
  x = x / std::sqrt(double(std::max(map.k.size(2), int64_t{1})));
  Tensor top;
  for (int64_t i = 0; i < std::max(steps, int64_t{1}); ++i) {
    Tensor const y = map.times(x), next = map.transposed_times(y), length = vector_norm(next, 2, {2}, true);
    top = sum(square(y), {2});  // |A·x|², |x| = 1
    x = next / where(length > 0.0, length, 1.0);
  }
  top = sum(square(map.times(x)), {2});
  Tensor squares = zeros_like(top);
  for (int64_t t = map.q.size(2), from = 0; from < t; from += 32)
    squares = squares + sum(square(attention_rows(map.q, map.k, from, std::min(from + 32, t), map.options)), {2, 3});
  return mean(where(top > 0.0, squares / where(top > 0.0, top, 1.0), 0.0), {0}).to(Dtype::f64).to_vector<double>();
}

std::vector<double> head_similarity(Tensor const& given) {
  NoGrad const off;
  Tensor const x = given.detach().to(Dtype::f64), length = vector_norm(x, 2, {3}, true);
  double const heads = double(x.size(1));
  if (heads < 2) return std::vector<double>(size_t(x.size(1)), 0.0);
  Tensor const unit = x / where(length > 0.0, length, 1.0);
  Tensor const with_all = sum(unit * sum(unit, {1}, true), {3}) - sum(square(unit), {3});  // [B, H, T]
  return (mean(with_all, {0, 2}) / (heads - 1)).to_vector<double>();
}

}  // namespace heed::nn
