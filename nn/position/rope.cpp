#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/position/rope.h>

#include <cmath>

namespace heed::nn {

Tensor rope(Tensor const& x, int64_t offset, double base) {
  check_defined("rope", x);
  check(x.rank() == 4 && x.size(3) % 2 == 0, "rope", [&] {
    return Complaint{fmt::format("expected [B, H, T, D] with D even, got {}", to_string(x.shape())),
                     "use an even head width"};
  });
  int64_t const t = x.size(2), half = x.size(3) / 2;
  std::vector<double> cosines(size_t(t * half)), sines(size_t(t * half));
  for (int64_t i = 0; i < half; ++i) {
    double const frequency = std::pow(base, -double(i) / double(half));
    for (int64_t p = 0; p < t; ++p) {
      double const angle = double(offset + p) * frequency;
      cosines[size_t(p * half + i)] = std::cos(angle);
      sines[size_t(p * half + i)] = std::sin(angle);
    }
  }
  auto const there = [&](std::vector<double> const& of) { return tensor(of, {t, half}).to(x.dtype()).to(x.device()); };
  Tensor const c = there(cosines), s = there(sines);
  Tensor const a = x.slice(3, 0, half), b = x.slice(3, half, 2 * half);
  return cat({a * c - b * s, b * c + a * s}, 3);
}

Rope::Rope(AttentionConfig const& given, Config const& own) : Part(given), base_(own.base) {
  check(given.head_dim() % 2 == 0, "rope", [&] {
    return Complaint{fmt::format("rotary positions need an even head width, got {}", given.head_dim()),
                     "choose a width that is a multiple of twice the heads"};
  });
  check(own.base > 1, "rope", [&] {
    return Complaint{fmt::format("expected a base above 1, got {}", own.base), "use 10000"};
  });
}

void Rope::project(HeadOperands& o) const {
  o.q = rope(o.q, o.past, base_);
  o.k = rope(o.k, o.past, base_);
}

}  // namespace heed::nn
