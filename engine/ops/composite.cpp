// Operations made of operations, and the naive twins of fused ones: no kernel and no gradient of their own.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <limits>

namespace heed {

Tensor masked_fill(Tensor const& x, Tensor const& mask, Number value) {
  check_defined("masked_fill", x);
  return where(mask, scalar(value, x.dtype()), x);
}

Tensor addcmul(Tensor const& x, Tensor const& a, Tensor const& b, Number value) {
  return value.real() == 1 ? x + a * b : x + a * value * b;
}

Tensor round(Tensor const& x, int decimals) {
  check_defined("round", x);
  if (!is_floating(x.dtype())) return x;
  double const unit = std::pow(10., std::abs(decimals));
  return decimals < 0 ? round(x / unit) * unit : round(x * unit) / unit;
}

namespace {
template <class Gate>
Tensor gated(char const* op, Tensor const& x, int axis, Gate gate) {
  check_defined(op, x);
  int64_t const n = x.size(axis);
  check(n % 2 == 0, op, [&] {
    return Complaint{fmt::format("expected an even size along axis {}, got shape {}", axis, to_string(x.shape())),
                     "give the values and the gates one half each"};
  });
  return x.slice(axis, 0, n / 2) * gate(x.slice(axis, n / 2, n));
}
}  // namespace
Tensor glu(Tensor const& x, int axis) { return gated("glu", x, axis, sigmoid); }
Tensor reglu(Tensor const& x, int axis) { return gated("reglu", x, axis, relu); }
Tensor geglu(Tensor const& x, int axis) { return gated("geglu", x, axis, gelu); }
Tensor swiglu(Tensor const& x, int axis) { return gated("swiglu", x, axis, silu); }

std::pair<Tensor, Tensor> causal_conv1d(Tensor const& x, Tensor const& weight, Tensor const& bias,
                                        Tensor const& state) {
  check_defined("causal_conv1d", x);
  check_defined("causal_conv1d", weight);
  check(x.rank() == 3 && weight.rank() == 2 && weight.size(0) == x.size(1) && weight.size(1) > 0, "causal_conv1d", [&] {
    return Complaint{fmt::format("expected x [B, C, T] and weight [C, K], got {} and {}", to_string(x.shape()),
                                 to_string(weight.shape())),
                     "give each channel a filter of one tap or more"};
  });
  int64_t const steps = x.size(2), past = weight.size(1) - 1;
  Shape const held{x.size(0), x.size(1), past};
  check(!state.defined() || state.shape() == held, "causal_conv1d", [&] {
    return Complaint{fmt::format("expected a state of shape {}, got {}", to_string(held), to_string(state.shape())),
                     "pass what the call before gave, or none"};
  });
  Tensor const all = cat({state.defined() ? state : zeros(held, x.dtype(), x.device()), x}, 2);
  Tensor const y = x.numel() == 0 ? x : conv1d(all, weight.unsqueeze(1), bias, {.groups = x.size(1)});
  return {y, all.slice(2, steps, steps + past).contiguous()};
}

Tensor top_blocks(Tensor const& scores, int64_t count) {
  check_defined("top_blocks", scores);
  check(scores.rank() >= 1 && count >= 0 && count <= scores.size(-1), "top_blocks", [&] {
    return Complaint{
        fmt::format("expected a count from 0 to the length of a row, got {} of {}", count, to_string(scores.shape())),
        "choose no more blocks than there are"};
  });
  NoGrad const off;
  Tensor const none = zeros(scores.shape(), Dtype::boolean, scores.device());
  return count == 0 ? none : scatter(none, -1, topk(scores.detach(), count).indices, Number(true));
}

Tensor sinkhorn(Tensor const& scores, int64_t steps) {
  check_defined("sinkhorn", scores);
  check(scores.rank() >= 2 && scores.size(-1) == scores.size(-2) && steps >= 0, "sinkhorn", [&] {
    return Complaint{fmt::format("expected square scores [.., T, T] and 0 or more steps, got {} and {}",
                                 to_string(scores.shape()), steps),
                     "rows and columns can both sum to 1 only where they are as many"};
  });
  Tensor x = scores;
  for (int64_t step = 0; step < steps; ++step) {
    x = x - logsumexp(x, -1, true);
    x = x - logsumexp(x, -2, true);
  }
  return exp(x);
}

Tensor newton_schulz_pinv(Tensor const& a, int64_t steps) {
  check_defined("newton_schulz_pinv", a);
  check(a.rank() >= 2 && a.size(-1) == a.size(-2) && steps >= 0, "newton_schulz_pinv", [&] {
    return Complaint{
        fmt::format("expected square matrices and 0 or more steps, got {} and {}", to_string(a.shape()), steps),
        "use pinv() for other shapes"};
  });
  if (a.numel() == 0) return a * 1.0;
  Tensor const size = abs(a);
  Tensor const rows = amax(sum(size, {-1}, true), {-2}, true), columns = amax(sum(size, {-2}, true), {-1}, true);
  Tensor const one = eye(a.size(-1)).to(a.dtype()).to(a.device());
  Tensor z = a.t() / (rows * columns);
  for (int64_t step = 0; step < steps; ++step) {
    Tensor const az = matmul(a, z);
    z = matmul(z, one * 13.0 - matmul(az, one * 15.0 - matmul(az, one * 7.0 - az))) * 0.25;
  }
  return z;
}

namespace naive {

/// log Σ exp x = m + log Σ exp(x − m); m = max x, or 0 where that is infinite or there is none. An empty sum gives −∞
/// with gradient 0.
Tensor logsumexp(Tensor const& x, int axis, bool keep) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  Tensor const top = x.size(axis) == 0 ? sum(x.detach(), {axis}, true) : amax(x.detach(), {axis}, true);
  Tensor const m = where(abs(top) == infinity, 0.0, top);
  Tensor const total = sum(exp(x - m), {axis}, true), nothing = total == 0.0;
  Tensor const y = where(nothing, -infinity, log(where(nothing, 1.0, total)) + m);
  return keep ? y : y.squeeze(axis);
}

Tensor softmax(Tensor const& x, int axis) {
  Tensor const e = exp(x - amax(x.detach(), {axis}, true));
  return e / sum(e, {axis}, true);
}

Tensor log_softmax(Tensor const& x, int axis) {
  Tensor const shifted = x - amax(x.detach(), {axis}, true);
  return shifted - log(sum(exp(shifted), {axis}, true));
}

Tensor layer_norm(Tensor const& x, Tensor const& weight, Tensor const& bias, double eps) {
  Tensor const centred = x - mean(x, {-1}, true);
  Tensor y = centred * rsqrt(mean(square(centred), {-1}, true) + eps);
  if (weight.defined()) y = y * weight;
  return bias.defined() ? y + bias : y;
}

Tensor rms_norm(Tensor const& x, Tensor const& weight, double eps) {
  Tensor const y = x * rsqrt(mean(square(x), {-1}, true) + eps);
  return weight.defined() ? y * weight : y;
}

}  // namespace naive
}  // namespace heed
