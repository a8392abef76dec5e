#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/position/rope.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <sstream>

namespace heed::nn {

std::vector<double> rope_frequencies(int64_t pairs, double base) {
  std::vector<double> f(static_cast<size_t>(pairs));
  for (int64_t i = 0; i < pairs; ++i) f[size_t(i)] = std::pow(base, -double(i) / double(pairs));
  return f;
}

Tensor rotate(Tensor const& x, std::vector<double> const& angles, std::vector<double> const& amplitudes,
              RopeLayout layout) {
  int64_t const t = x.size(2), pairs = t > 0 ? int64_t(angles.size()) / t : 0, width = x.size(3);
  check(2 * pairs <= width, "rotate", [&] {
    return Complaint{fmt::format("{} pairs do not fit {} features", pairs, width), "turn fewer"};
  });
  if (pairs == 0) return x;
  std::vector<double> cosines(angles.size()), sines(angles.size());
  for (size_t i = 0; i < angles.size(); ++i) {
    double const amplitude = amplitudes.empty() ? 1 : amplitudes[i];
    cosines[i] = amplitude * std::cos(angles[i]);
    sines[i] = amplitude * std::sin(angles[i]);
  }
  auto const there = [&](std::vector<double> const& of) { return tensor(of, {t, pairs}).to(x.dtype()).to(x.device()); };
  Tensor const c = there(cosines), s = there(sines);
  bool const interleaved = layout == RopeLayout::interleaved;
  Tensor const a = interleaved ? x.slice(3, 0, 2 * pairs, 2) : x.slice(3, 0, pairs);
  Tensor const b = interleaved ? x.slice(3, 1, 2 * pairs, 2) : x.slice(3, pairs, 2 * pairs);
  Tensor const first = a * c - b * s, second = b * c + a * s;
  std::vector<Tensor> turned{first, second};
  if (interleaved) turned = {stack({first, second}, 4).reshape({x.size(0), x.size(1), t, 2 * pairs})};
  if (2 * pairs < width) turned.push_back(x.slice(3, 2 * pairs, width));
  return turned.size() == 1 ? turned[0] : cat(turned, 3);
}

namespace {

std::vector<double> angles_of(int64_t offset, int64_t t, std::vector<double> const& frequencies) {
  std::vector<double> angles;
  angles.reserve(size_t(t) * frequencies.size());
  for (int64_t p = 0; p < t; ++p)
    for (double f : frequencies) angles.push_back(double(offset + p) * f);
  return angles;
}

constexpr std::string_view scalings[] = {"none", "linear", "ntk", "dynamic", "yarn", "longrope", "llama3"};

double ntk_base(double base, double factor, int64_t pairs) {
  return pairs > 1 ? base * std::pow(factor, double(pairs) / double(pairs - 1)) : base;
}

std::vector<double> listed(std::string const& text) {
  std::vector<double> values;
  std::istringstream in(text);
  for (std::string each; std::getline(in, each, '/');) {
    char* end = nullptr;
    values.push_back(std::strtod(each.c_str(), &end));
    if (each.empty() || *end != 0) return {};
  }
  return values;
}

}  // namespace

Tensor rope(Tensor const& x, int64_t offset, double base) {
  check_defined("rope", x);
  check(x.rank() == 4 && x.size(3) % 2 == 0, "rope", [&] {
    return Complaint{fmt::format("expected [B, H, T, D] with D even, got {}", to_string(x.shape())),
                     "use an even head width"};
  });
  return rotate(x, angles_of(offset, x.size(2), rope_frequencies(x.size(3) / 2, base)));
}

Rope::Rope(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
  auto const expect = [](bool fine, auto const& expected) {
    check(fine, "rope", [&] { return Complaint{expected(), "heed-lab list position shows the settings"}; });
  };
  int64_t const pairs = int64_t(own.fraction * double(given.head_dim()) / 2 + 1e-9);
  expect(own.fraction > 0 && own.fraction <= 1,
         [&] { return fmt::format("expected a fraction in (0, 1], got {}", own.fraction); });
  expect(pairs >= 1 && (own.fraction < 1 || given.head_dim() % 2 == 0),
         [&] { return fmt::format("rotary positions need an even head width, got {}", given.head_dim()); });
  expect(own.base > 1, [&] { return fmt::format("expected a base above 1, got {}", own.base); });
  expect(own.factor >= 1 && own.original >= 2, [&] {
    return fmt::format("expected a factor of 1 or more and original of 2 or more, got {} and {}", own.factor,
                       own.original);
  });
  auto const kind = std::find(std::begin(scalings), std::end(scalings), own.scaling);
  expect(kind != std::end(scalings), [&] {
    return fmt::format("expected none, linear, ntk, dynamic, yarn, longrope or llama3, got '{}'", own.scaling);
  });
  frequencies_ = rope_frequencies(pairs, own.scaling == "ntk" ? ntk_base(own.base, own.factor, pairs) : own.base);
  double const length = double(own.original), whole = 2 * std::numbers::pi;
  std::vector<double> factors(frequencies_.size(), own.scaling == "linear" ? own.factor : 1.);
  for (size_t i = 0; i < factors.size(); ++i) {
    double const turns = length * frequencies_[i] / whole;  // in the original length
    // Share that stays as it was.
    double const kept = own.scaling == "yarn"     ? std::clamp((turns - 1) / (32. - 1), 0., 1.)
                        : own.scaling == "llama3" ? std::clamp((turns - 1) / (4. - 1), 0., 1.)
                                                  : 1;
    if (kept < 1) factors[i] = 1 / (kept + (1 - kept) / own.factor);
    if (own.scaling == "longrope" && pairs > 1) factors[i] = std::pow(own.factor, double(i) / double(pairs - 1));
  }
  if (own.scaling == "longrope" && !own.factors.empty()) {
    factors = listed(own.factors);
    expect(factors.size() == frequencies_.size() &&
               std::all_of(factors.begin(), factors.end(), [](double f) { return f > 0; }),
           [&] { return fmt::format("expected {} positive factors joined by /, got '{}'", pairs, own.factors); });
  }
  for (size_t i = 0; i < factors.size(); ++i) frequencies_[i] /= factors[i];
  if (own.scaling == "yarn") amplitude_ = 0.1 * std::log(own.factor) + 1;
  if (own.scaling == "longrope") amplitude_ = std::pow(1 + std::log(own.factor) / std::log(length), 0.25);
}

void Rope::project(HeadOperands& o) const {
  auto const turn = [&](Tensor& x) {
    int64_t const t = x.size(2);
    std::vector<double> frequencies = frequencies_;
    if (own_.scaling == "dynamic" && o.past + t > own_.original) {
      double const stretch = own_.factor * double(o.past + t) / double(own_.original) - (own_.factor - 1);
      int64_t const pairs = int64_t(frequencies.size());
      frequencies = rope_frequencies(pairs, ntk_base(own_.base, own_.factor == 1 ? 1 : stretch, pairs));
    }
    std::vector<double> const angles = angles_of(o.past, t, frequencies);
    std::vector<double> const amplitudes(amplitude_ == 1 ? 0 : angles.size(), amplitude_);
    x = rotate(x, angles, amplitudes, own_.interleaved ? RopeLayout::interleaved : RopeLayout::half_split);
  };
  turn(o.q);
  turn(o.k);
}

Traits Rope::traits() const { return {.cross = false, .steps = own_.scaling != "dynamic", .equivariant = false}; }

}  // namespace heed::nn
