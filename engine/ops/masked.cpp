// Reductions under a mask: what is hidden is replaced by what changes nothing.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/widen.h>

#include <algorithm>
#include <limits>

namespace heed::masked {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Checked: where the mask hides elements of x, `value` stands.
Tensor hide(char const* op, Tensor const& x, Tensor const& mask, Number value) {
  check_defined(op, x);
  check_defined(op, mask);
  bool fits = mask.rank() <= x.rank();
  for (int a = 1; fits && a <= mask.rank(); ++a) fits = mask.size(-a) == 1 || mask.size(-a) == x.size(-a);
  check(mask.dtype() == Dtype::boolean && fits, op, [&] {
    return Complaint{fmt::format("expected a mask of bool that broadcasts to {}, got {} {}", to_string(x.shape()),
                                 name(mask.dtype()), to_string(mask.shape())),
                     "pass a comparison, true where an element counts"};
  });
  return where(mask, x, scalar(value, x.dtype()));
}

/// The identity of max (of min, if `high`).
Number extreme(Dtype dtype, bool high) {
  if (is_floating(dtype)) return high ? infinity : -infinity;
  if (dtype == Dtype::boolean) return high;
  int const bits = 8 * int(size_of(dtype)) - (dtype != Dtype::u8);
  int64_t const most = bits == 63 ? std::numeric_limits<int64_t>::max() : (int64_t{1} << bits) - 1;
  return high ? most : dtype == Dtype::u8 ? int64_t{0} : -most - 1;
}
Number lowest(Tensor const& x) { return extreme(x.defined() ? x.dtype() : Dtype::f32, false); }
Number highest(Tensor const& x) { return extreme(x.defined() ? x.dtype() : Dtype::f32, true); }

/// How many elements count, in x's type.
Tensor count(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  return heed::sum(mask.expand(x.shape()), axes, keep).to(x.dtype());
}

void check_floating(char const* op, Tensor const& x) {
  check_defined(op, x);
  if (!is_floating(x.dtype())) detail::unsupported_dtype(op, x.dtype(), "a floating type");
}

}  // namespace

Tensor sum(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  return heed::sum(hide("masked::sum", x, mask, 0), axes, keep);
}
Tensor prod(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  return heed::prod(hide("masked::prod", x, mask, 1), axes, keep);
}
Tensor amax(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  return heed::amax(hide("masked::amax", x, mask, lowest(x)), axes, keep);
}
Tensor amin(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  return heed::amin(hide("masked::amin", x, mask, highest(x)), axes, keep);
}
Tensor argmax(Tensor const& x, Tensor const& mask, int axis, bool keep) {
  return heed::argmax(hide("masked::argmax", x, mask, lowest(x)), axis, keep);
}
Tensor argmin(Tensor const& x, Tensor const& mask, int axis, bool keep) {
  return heed::argmin(hide("masked::argmin", x, mask, highest(x)), axis, keep);
}
Tensor logsumexp(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  check_defined("masked::logsumexp", x);
  if (!is_floating(x.dtype())) return logsumexp(x.to(Dtype::f32), mask, axes, keep);
  return heed::logsumexp(hide("masked::logsumexp", x, mask, -infinity), axes, keep);
}
Tensor softmax(Tensor const& x, Tensor const& mask, int axis) {
  check_floating("masked::softmax", x);
  return heed::softmax(hide("masked::softmax", x, mask, -infinity), axis);
}
Tensor log_softmax(Tensor const& x, Tensor const& mask, int axis) {
  check_floating("masked::log_softmax", x);
  return heed::log_softmax(hide("masked::log_softmax", x, mask, -infinity), axis);
}
Tensor cumsum(Tensor const& x, Tensor const& mask, int axis) {
  return heed::cumsum(hide("masked::cumsum", x, mask, 0), axis);
}
Tensor cumprod(Tensor const& x, Tensor const& mask, int axis) {
  return heed::cumprod(hide("masked::cumprod", x, mask, 1), axis);
}
Tensor median(Tensor const& x, Tensor const& mask, int axis, bool keep) {
  check_floating("masked::median", x);
  return heed::nanmedian(hide("masked::median", x, mask, std::numeric_limits<double>::quiet_NaN()), axis, keep).values;
}
Tensor normalize(Tensor const& x, Tensor const& mask, double p, int axis, double eps) {
  check_floating("masked::normalize", x);
  return heed::normalize(hide("masked::normalize", x, mask, 0), p, axis, eps);
}

Tensor norm(Tensor const& x, Tensor const& mask, double p, Dims const& axes, bool keep) {
  check_floating("masked::norm", x);
  return heed::vector_norm(hide("masked::norm", x, mask, p < 0 ? infinity : 0), p, axes, keep);
}

Tensor mean(Tensor const& x, Tensor const& mask, Dims const& axes, bool keep) {
  check_floating("masked::mean", x);
  Tensor const seen = hide("masked::mean", x, mask, 0);
  if (is_half(x.dtype())) return through_f32(x, [&](Tensor const& wide) { return mean(wide, mask, axes, keep); });
  return heed::sum(seen, axes, keep) / count(x, mask, axes, keep);
}

namespace {
Tensor variance(char const* op, Tensor const& x, Tensor const& mask, Dims const& axes, double correction, bool keep) {
  check_floating(op, x);
  hide(op, x, mask, 0);
  Tensor const centred = hide(op, x - mean(x, mask, axes, true), mask, 0);
  return heed::sum(square(centred), axes, keep) / clamp_min(count(x, mask, axes, keep) - correction, 0);
}
}  // namespace

Tensor var(Tensor const& x, Tensor const& mask, Dims const& axes, double correction, bool keep) {
  if (x.defined() && is_half(x.dtype()))
    return through_f32(x, [&](Tensor const& wide) { return var(wide, mask, axes, correction, keep); });
  return variance("masked::var", x, mask, axes, correction, keep);
}

Tensor std(Tensor const& x, Tensor const& mask, Dims const& axes, double correction, bool keep) {
  if (x.defined() && is_half(x.dtype()))
    return through_f32(x, [&](Tensor const& wide) { return masked::std(wide, mask, axes, correction, keep); });
  Tensor const spread = variance("masked::std", x, mask, axes, correction, keep), zero = spread == 0.0;
  return where(zero, 0.0, sqrt(where(zero, 1.0, spread)));
}

}  // namespace heed::masked
