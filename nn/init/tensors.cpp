#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/nn/init/tensors.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace heed::nn::init {
namespace {

void fill(Tensor& tensor, Tensor const& values) {
  NoGrad const off;
  tensor.copy_(values.reshape(tensor.shape()));
}
void fill(Tensor& tensor, std::vector<double> const& values) { fill(tensor, heed::tensor(values, tensor.shape())); }

void expect(char const* name, Tensor const& tensor, bool fits, std::string_view shape) {
  check(tensor.defined() && fits, name, [&] {
    return Complaint{
        fmt::format("expected a tensor {}, got {}", shape, tensor.defined() ? to_string(tensor.shape()) : "none"),
        "choose another initialisation, or another tensor"};
  });
}

void expect_one_of(char const* name, std::string_view value, std::vector<std::string_view> const& known) {
  for (auto const& one : known)
    if (one == value) return;
  fail(name, {fmt::format("expected one of {}, got '{}'", fmt::join(known, ", "), value), "choose one of them"});
}

/// A normal variable cut at two deviations keeps this much of its deviation.
constexpr double cut_at_two = 0.87962566103423978;

}  // namespace

void TruncatedNormal::operator()(Tensor& tensor) const {
  double const reach = cut * deviation;
  fill(tensor, truncated_normal(tensor.shape(), mean, deviation, mean - reach, mean + reach, tensor.dtype()));
}

void VarianceScaling::operator()(Tensor& weight) const {
  expect("variance-scaling", weight, weight.defined() && weight.rank() >= 2, "[O, I, ..]");
  expect_one_of("variance-scaling", mode, {"fan_in", "fan_out", "fan_avg"});
  expect_one_of("variance-scaling", distribution, {"normal", "uniform", "truncated_normal"});
  double taps = 1;
  for (int i = 2; i < weight.rank(); ++i) taps *= double(weight.size(i));
  double const in = double(weight.size(1)) * taps, out = double(weight.size(0)) * taps;
  double const fan = mode == "fan_in" ? in : mode == "fan_out" ? out : (in + out) / 2;
  double const deviation = std::sqrt(scale / std::max(fan, 1.0));
  if (distribution == "normal") return normal_(weight, deviation);
  if (distribution == "uniform") return uniform_(weight, -std::sqrt(3.0) * deviation, std::sqrt(3.0) * deviation);
  TruncatedNormal{deviation / cut_at_two}(weight);
}

void Orthogonal::operator()(Tensor& weight) const {
  expect("orthogonal", weight, weight.defined() && weight.rank() >= 2 && weight.numel() > 0, "[O, I, ..]");
  NoGrad const off;
  int64_t const rows = weight.size(0), columns = weight.numel() / rows;
  auto const [q, r] = qr(randn({std::max(rows, columns), std::min(rows, columns)}, Dtype::f64));
  Tensor const signs = where(diagonal(r) < 0.0, full({}, -1.0, Dtype::f64), 1.0);
  Tensor const uniform = q * signs * gain;
  fill(weight, rows < columns ? uniform.t() : uniform);
}

void Identity::operator()(Tensor& weight) const {
  expect("identity", weight, weight.defined() && weight.rank() == 2, "[N, M]");
  fill(weight, eye(weight.size(0), weight.size(1), Dtype::f64) * gain);
}

void Dirac::operator()(Tensor& weight) const {
  expect("dirac", weight, weight.defined() && weight.rank() >= 3 && groups >= 1 && weight.size(0) % groups == 0,
         "[O, I, taps..] whose O is a multiple of the groups");
  int64_t const out = weight.size(0) / groups, in = weight.size(1);
  std::vector<double> values(size_t(weight.numel()), 0.0);
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t c = 0; c < std::min(out, in); ++c) {
      int64_t at = (g * out + c) * in + c;
      for (int i = 2; i < weight.rank(); ++i) at = at * weight.size(i) + weight.size(i) / 2;
      values[size_t(at)] = 1;
    }
  fill(weight, values);
}

void ForgetBias::operator()(Tensor& bias) const {
  expect("forget-bias", bias, bias.defined() && bias.rank() == 1 && bias.size(0) % 4 == 0, "[4·H]");
  int64_t const h = bias.size(0) / 4;
  std::vector<double> values(size_t(4 * h), 0.0);
  for (int64_t i = h; i < 2 * h; ++i) values[size_t(i)] = value;
  fill(bias, values);
}

void Chrono::operator()(Tensor& bias) const {
  expect("chrono", bias, bias.defined() && bias.rank() == 1 && bias.size(0) % 4 == 0 && longest > 2, "[4·H]");
  int64_t const h = bias.size(0) / 4;
  Tensor const forget = log(uniform({h}, 1, longest - 1, Dtype::f64)), none = zeros({2 * h}, Dtype::f64);
  fill(bias, cat({-forget, forget, none}));
}

void RetNetDecay::operator()(Tensor& decay) const {
  expect("retnet-decay", decay, decay.defined() && decay.rank() == 1, "[H]");
  std::vector<double> values;
  for (int64_t h = 0; h < decay.size(0); ++h) {
    double const lost = std::exp2(-5.0 - double(h));
    values.push_back(logarithm ? std::log1p(-lost) : 1 - lost);
  }
  fill(decay, values);
}

void AlibiSlopes::operator()(Tensor& slopes) const {
  expect("alibi-slopes", slopes, slopes.defined() && slopes.rank() == 1, "[H]");
  int64_t const heads = slopes.size(0);
  int64_t power = 1;
  while (power * 2 <= heads) power *= 2;
  std::vector<double> values;
  for (int64_t h = 0; h < power && h < heads; ++h) values.push_back(std::exp2(-8.0 * double(h + 1) / double(power)));
  for (int64_t h = 0; power + h < heads; ++h) values.push_back(std::exp2(-4.0 * double(2 * h + 1) / double(power)));
  fill(slopes, values);
}

void Hippo::operator()(Tensor& a) const {
  expect("hippo", a, a.defined() && a.rank() == 2 && a.size(0) == a.size(1), "[N, N]");
  int64_t const size = a.size(0);
  std::vector<double> values;
  for (int64_t n = 0; n < size; ++n)
    for (int64_t k = 0; k < size; ++k)
      values.push_back(k > n ? 0.0 : k == n ? -double(n + 1) : -std::sqrt(double(2 * n + 1) * double(2 * k + 1)));
  fill(a, values);
}

void S4D::operator()(Tensor& a) const {
  expect_one_of("s4d", kind, {"lin", "inv", "real", "log-real"});
  bool const complex = kind == "lin" || kind == "inv";
  expect("s4d", a, a.defined() && a.rank() >= (complex ? 2 : 1) && (!complex || a.size(-1) == 2),
         complex ? "[.., N, 2]" : "[.., N]");
  int64_t const size = a.size(complex ? -2 : -1);
  std::vector<double> one;
  for (int64_t n = 0; n < size; ++n) {
    double const at = double(n), count = double(size), pi = std::numbers::pi;
    if (kind == "lin") one.insert(one.end(), {-0.5, pi * at});
    if (kind == "inv") one.insert(one.end(), {-0.5, count / pi * (count / (2 * at + 1) - 1)});
    if (kind == "real") one.push_back(-(at + 1));
    if (kind == "log-real") one.push_back(std::log(at + 1));
  }
  Shape last = complex ? Shape{size, 2} : Shape{size};
  NoGrad const off;
  a.copy_(heed::tensor(one, last).expand(a.shape()));
}

}  // namespace heed::nn::init
