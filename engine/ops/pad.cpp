// Padding: constants around a copy; the other modes read x at mirrored, clipped or wrapped indices.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

struct Sides {
  int64_t before = 0, after = 0;
};

/// The pads of every axis of x.
std::vector<Sides> sides_of(Tensor const& x, std::vector<int64_t> const& pads) {
  check(pads.size() % 2 == 0 && int(pads.size()) <= 2 * x.rank(), "pad", [&] {
    return Complaint{fmt::format("expected two pads for each of up to {} axes, got {}", x.rank(), pads.size()),
                     "give {before, after} of the last axis, then of the one before it, …"};
  });
  std::vector<Sides> sides(size_t(x.rank()));
  for (size_t i = 0; i < pads.size() / 2; ++i) {
    size_t const axis = size_t(x.rank()) - 1 - i;
    sides[axis] = {pads[2 * i], pads[2 * i + 1]};
    int64_t const n = x.shape()[int(axis)];
    constexpr int64_t limit = std::numeric_limits<int64_t>::max() / 4;
    auto const [before, after] = sides[axis];
    check(before > -limit && before < limit && after > -limit && after < limit && n + before + after >= 0, "pad", [&] {
      return Complaint{
          fmt::format("pads of {} and {} leave no axis {} of shape {}", before, after, axis, to_string(x.shape())),
          "crop no more than there is"};
    });
  }
  return sides;
}

Tensor cropped(Tensor x, std::vector<Sides> const& sides) {
  for (int a = 0; a < x.rank(); ++a) {
    int64_t const n = x.shape()[a], from = std::max(-sides[size_t(a)].before, int64_t{0}),
                  to = n - std::max(-sides[size_t(a)].after, int64_t{0});
    if (from > 0 || to < n) x = x.slice(a, std::min(from, n), std::max(to, int64_t{0}));
  }
  return x;
}

/// Pads of 0 or more; the gradient is the part of g where x was.
Tensor pad_constant(Tensor const& x, std::vector<Sides> const& sides, Number value) {
  Shape shape = x.shape();
  for (int a = 0; a < x.rank(); ++a) shape[a] += sides[size_t(a)].before + sides[size_t(a)].after;
  auto const inside = [sides, from = x.shape()](Tensor part) {
    for (int a = 0; a < part.rank(); ++a)
      if (part.shape()[a] != from[a]) part = part.slice(a, sides[size_t(a)].before, sides[size_t(a)].before + from[a]);
    return part;
  };
  Tensor y = full(shape, value, x.dtype(), x.device());
  Observed const watch("pad", {&x}, {&y});
  {
    NoGrad const off;
    inside(y).copy_(x.detach());
  }
  if (tracked(x)) record("pad", y, {&x}, [inside](Tensor const& g, Node const&) { return std::array{inside(g)}; });
  return y;
}

/// The index that output element i of an axis of n elements reads.
int64_t source(PadMode mode, int64_t i, int64_t n) {
  if (mode == PadMode::replicate) return std::clamp(i, int64_t{0}, n - 1);
  if (mode == PadMode::circular) return (i % n + n) % n;
  return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

Tensor pad_axis(Tensor const& x, int axis, Sides const& sides, PadMode mode) {
  int64_t const n = x.shape()[axis], most = mode == PadMode::reflect ? n - 1 : n;
  bool const bounded = mode != PadMode::replicate;
  check(n > 0 && (!bounded || std::max(sides.before, sides.after) <= most), "pad", [&] {
    return Complaint{fmt::format("pads of {} and {} are too large for axis {} of shape {}", sides.before, sides.after,
                                 axis, to_string(x.shape())),
                     fmt::format("use up to {}", std::max(most, int64_t{0}))};
  });
  Tensor const from({n + sides.before + sides.after}, Dtype::i64);
  for (int64_t i = 0; i < from.numel(); ++i) from.data<int64_t>()[i] = source(mode, i - sides.before, n);
  return index_select(x, axis, from.to(x.device()));
}

}  // namespace

Tensor pad(Tensor const& x, std::vector<int64_t> const& pads, PadMode mode, Number value) {
  check_defined("pad", x);
  std::vector<Sides> sides = sides_of(x, pads);
  if (mode == PadMode::constant) {
    Tensor const kept = cropped(x, sides);
    for (Sides& s : sides) s = {std::max(s.before, int64_t{0}), std::max(s.after, int64_t{0})};
    return pad_constant(kept, sides, value);
  }
  Tensor y = x;
  if (mode == PadMode::circular) {  // what is left is wrapped
    y = cropped(x, sides);
    for (Sides& s : sides) s = {std::max(s.before, int64_t{0}), std::max(s.after, int64_t{0})};
  }
  for (int a = 0; a < x.rank(); ++a)
    if (Sides const& s = sides[size_t(a)]; s.before != 0 || s.after != 0) y = pad_axis(y, a, s, mode);
  return y.body() == x.body() ? x.clone() : y;
}

}  // namespace heed
