// Random tensors of the named distributions. Every element has a stream of random numbers of its own, so that
// rejection leaves the others alone and the result does not depend on threads.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numbers>
#include <numeric>

namespace heed {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The numbers of one element: the words of blocks `element`, `element` + 2⁴⁰, `element` + 2·2⁴⁰, … of a draw.
class Stream {
 public:
  Stream(Draw draw, int64_t element) : draw_(draw), block_(uint64_t(element)) {}

  uint64_t bits() {
    if (used_ == 4) {
      words_ =
          philox4x32({uint32_t(block_), uint32_t(block_ >> 32), uint32_t(draw_.offset), uint32_t(draw_.offset >> 32)},
                     {uint32_t(draw_.seed), uint32_t(draw_.seed >> 32)});
      block_ += uint64_t{1} << 40;
      used_ = 0;
    }
    uint64_t const two = uint64_t{words_[size_t(used_) + 1]} << 32 | words_[size_t(used_)];
    used_ += 2;
    return two;
  }
  /// Within (0, 1), from 52 bits.
  double uniform() { return (double(bits() >> 12) + 0.5) * 0x1p-52; }
  double exponential() { return -std::log(uniform()); }
  double normal() {
    double const radius = std::sqrt(2 * exponential());
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  /// Of 0 … n − 1.
  uint64_t below(uint64_t n) { return uint64_t((unsigned __int128)(bits()) * n >> 64); }

 private:
  Draw draw_;
  uint64_t block_;
  std::array<uint32_t, 4> words_{};
  int used_ = 4;
};

/// y_i = f(stream of i, i)
template <class F>
Tensor sampled(char const* op, Shape const& shape, Dtype dtype, Generator& generator, Device device, F const& f) {
  if (is_half(dtype)) return sampled(op, shape, Dtype::f32, generator, device, f).to(dtype);
  Tensor y(shape, dtype, device);
  Observed const watch(op, {}, {&y});
  dispatch_floating(op, dtype, [&]<class T>(Type<T>) {
    Draw const draw = generator.next();
    T* const to = y.data<T>();
    parallel_for(y.numel(), 512, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Stream stream(draw, i);
        to[i] = T(f(stream, i));
      }
    });
  });
  return y;
}

/// The elements of a parameter in `shape`, as f64.
std::vector<double> numbers_of(Tensor const& t, Shape const& shape) {
  return t.detach().expand(shape).to_vector<double>();
}

void check_parameter(char const* op, char const* what, bool ok, double got, char const* expected) {
  check(ok, op, [&] {
    return Complaint{fmt::format("expected {} {}, got {}", what, expected, got), fmt::format("pass {}", expected)};
  });
}

/// An Error unless every number of `values` is at least `low` and at most `high`, or above `low` if `open`.
void check_range(char const* op, char const* what, std::vector<double> const& values, double low, double high,
                 bool open, char const* expected) {
  for (double v : values)
    check_parameter(op, what, (open ? v > low : v >= low) && v <= high && v < infinity, v, expected);
}

void check_floating(char const* op, Tensor const& t) {
  check_defined(op, t);
  if (!is_floating(t.dtype())) detail::unsupported_dtype(op, t.dtype(), "a floating type");
}

/// log k!
double log_factorial(double k) {
  if (k < 16) {
    double product = 1;
    for (int i = 2; i <= int(k); ++i) product *= i;
    return std::log(product);
  }
  double const n = k + 1, inverse = 1 / (n * n);
  return (n - 0.5) * std::log(n) - n + 0.5 * std::log(2 * std::numbers::pi) +
         (1. / 12 - inverse * (1. / 360 - inverse * (1. / 1260 - inverse / 1680))) / n;
}

/// log of a gamma variable: below shape 1, Γ(a) = Γ(a + 1)·U^(1/a).
double log_gamma_variable(Stream& stream, double a) {
  if (a == 0) return -infinity;
  double const shift = a < 1 ? std::log(stream.uniform()) / a : 0;
  double const d = (a < 1 ? a + 1 : a) - 1. / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    double const x = stream.normal(), root = 1 + c * x;
    if (root <= 0) continue;
    double const v = root * root * root;
    if (std::log(stream.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v) + shift;
  }
}

/// By products of uniforms below rate 10, else transformed rejection with squeeze.
double poisson_variable(Stream& stream, double rate) {
  if (rate < 10) {
    double const limit = std::exp(-rate);
    double k = 0;
    for (double product = stream.uniform(); product > limit; product *= stream.uniform()) ++k;
    return k;
  }
  double const b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b;
  double const inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), squeeze = 0.9277 - 3.6224 / (b - 2);
  for (;;) {
    double const u = stream.uniform() - 0.5, v = stream.uniform(), us = 0.5 - std::abs(u);
    double const k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= squeeze) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v * inverse_alpha / (a / (us * us) + b)) <= k * std::log(rate) - rate - log_factorial(k)) return k;
  }
}

/// Gaps between successes below n·p = 10, else transformed rejection with squeeze.
double binomial_variable(Stream& stream, double n, double p) {
  if (p > 0.5) return n - binomial_variable(stream, n, 1 - p);
  if (p == 0) return 0;
  if (n * p < 10) {
    double const log_q = std::log1p(-p);
    double k = 0;
    for (double at = std::ceil(std::log(stream.uniform()) / log_q); at <= n;
         at += std::ceil(std::log(stream.uniform()) / log_q))
      ++k;
    return k;
  }
  double const deviation = std::sqrt(n * p * (1 - p)), b = 1.15 + 2.53 * deviation;
  double const a = -0.0873 + 0.0248 * b + 0.01 * p, alpha = (2.83 + 5.1 / b) * deviation;
  double const mode = std::floor((n + 1) * p), log_odds = std::log(p / (1 - p));
  double const at_mode = log_factorial(mode) + log_factorial(n - mode);
  for (;;) {
    double const u = stream.uniform() - 0.5, v = stream.uniform(), us = 0.5 - std::abs(u);
    double const k = std::floor((2 * a / us + b) * u + n * p + 0.5);
    if (k < 0 || k > n) continue;
    if (us >= 0.07 && v <= 0.92 - 4.2 / b) return k;
    if (std::log(v * alpha / (a / (us * us) + b)) <=
        at_mode - log_factorial(k) - log_factorial(n - k) + (k - mode) * log_odds)
      return k;
  }
}

/// N(0, 1) within [a, b]: from the normal, the uniform, or an exponential that starts at a, whichever rejects little.
double truncated_variable(Stream& stream, double a, double b) {
  if (b < 0) return -truncated_variable(stream, -b, -a);
  if (a <= 0) {
    if (b - a > std::sqrt(2 * std::numbers::pi))
      for (;;)
        if (double const z = stream.normal(); z >= a && z <= b) return z;
    for (;;) {
      double const z = a + (b - a) * stream.uniform();
      if (stream.uniform() < std::exp(-0.5 * z * z)) return z;
    }
  }
  double const rate = 0.5 * (a + std::sqrt(a * a + 4));
  if (b > a + std::exp(0.5 * a / rate) * 1.6487212707 / rate) {
    for (;;) {
      double const z = a + stream.exponential() / rate;
      if (z <= b && stream.uniform() < std::exp(-0.5 * (z - rate) * (z - rate))) return z;
    }
  }
  for (;;) {
    double const z = a + (b - a) * stream.uniform();
    if (stream.uniform() < std::exp(0.5 * (a - z) * (a + z))) return z;
  }
}

}  // namespace

Tensor rand_like(Tensor const& x, Generator& generator) {
  check_defined("rand_like", x);
  return rand(x.shape(), x.dtype(), generator, x.device());
}
Tensor randn_like(Tensor const& x, Generator& generator) {
  check_defined("randn_like", x);
  return randn(x.shape(), x.dtype(), generator, x.device());
}
Tensor randint_like(Tensor const& x, int64_t low, int64_t high, Generator& generator) {
  check_defined("randint_like", x);
  return randint(low, high, x.shape(), generator, x.device()).to(x.dtype());
}

Tensor randperm(int64_t n, Generator& generator, Device device) {
  check(n >= 0, "randperm", [&] {
    return Complaint{fmt::format("expected a length of 0 or more, got {}", n), "pass how many indices to shuffle"};
  });
  Tensor y = arange(n);
  Stream stream(generator.next(), 0);
  int64_t* const to = y.data<int64_t>();
  for (int64_t i = n; i > 1; --i) std::swap(to[i - 1], to[stream.below(uint64_t(i))]);
  return y.to(device);  // each step depends on all before it
}

Tensor shuffle(Tensor const& x, int axis, Generator& generator) {
  check_defined("shuffle", x);
  axis = normalize_axis("shuffle", axis, x.rank());
  return index_select(x, axis, randperm(x.size(axis), generator, x.device()));
}

Tensor uniform(Shape const& shape, double low, double high, Dtype dtype, Generator& generator, Device device) {
  check_parameter("uniform", "a high end", high >= low && high - low < infinity, high, "at or above the low one");
  auto const rounded = [&](double x) {
    if (dtype == Dtype::f64) return x;
    if (dtype == Dtype::f16) return double(float(float16(x)));
    return double(dtype == Dtype::bf16 ? float(bfloat16(x)) : float(x));
  };
  return sampled("uniform", shape, dtype, generator, device, [&](Stream& s, int64_t) {
    double const x = low + (high - low) * s.uniform();
    return rounded(x) < high ? x : low;  // rounding may reach the high end
  });
}

Tensor normal(Shape const& shape, double mean, double deviation, Dtype dtype, Generator& generator, Device device) {
  check_parameter("normal", "a deviation of", deviation >= 0, deviation, "0 or more");
  return randn(shape, dtype, generator, device) * deviation + mean;
}

Tensor normal(Tensor const& mean, Tensor const& deviation, Generator& generator) {
  check_floating("normal", mean);
  check_floating("normal", deviation);
  Shape const shape = broadcast("normal", mean.shape(), deviation.shape());
  check_range("normal", "deviations of", numbers_of(deviation, deviation.shape()), 0, infinity, false, "0 or more");
  return mean + deviation * randn(shape, promote(mean.dtype(), deviation.dtype()), generator,
                                  common_device("normal", {&mean, &deviation}));
}

Tensor log_normal(Shape const& shape, double mean, double deviation, Dtype dtype, Generator& generator, Device device) {
  check_parameter("log_normal", "a deviation", deviation > 0, deviation, "above 0");
  return sampled("log_normal", shape, dtype, generator, device,
                 [&](Stream& s, int64_t) { return std::exp(mean + deviation * s.normal()); });
}

Tensor truncated_normal(Shape const& shape, double mean, double deviation, double low, double high, Dtype dtype,
                        Generator& generator, Device device) {
  check_parameter("truncated_normal", "a deviation", deviation > 0 && deviation < infinity, deviation, "above 0");
  check_parameter("truncated_normal", "a high end", high > low, high, "above the low one");
  return sampled("truncated_normal", shape, dtype, generator, device, [&](Stream& s, int64_t) {
    double const z = truncated_variable(s, (low - mean) / deviation, (high - mean) / deviation);
    return std::clamp(mean + deviation * z, low, high);
  });
}

Tensor exponential(Shape const& shape, double rate, Dtype dtype, Generator& generator, Device device) {
  check_parameter("exponential", "a rate", rate > 0, rate, "above 0");
  return sampled("exponential", shape, dtype, generator, device,
                 [&](Stream& s, int64_t) { return s.exponential() / rate; });
}

Tensor laplace(Shape const& shape, double location, double scale, Dtype dtype, Generator& generator, Device device) {
  check_parameter("laplace", "a scale", scale > 0, scale, "above 0");
  return sampled("laplace", shape, dtype, generator, device, [&](Stream& s, int64_t) {
    double const size = scale * s.exponential();
    return location + (s.bits() >> 63 ? size : -size);
  });
}

Tensor cauchy(Shape const& shape, double location, double scale, Dtype dtype, Generator& generator, Device device) {
  check_parameter("cauchy", "a scale", scale > 0, scale, "above 0");
  return sampled("cauchy", shape, dtype, generator, device, [&](Stream& s, int64_t) {
    return location + scale * std::tan(std::numbers::pi * (s.uniform() - 0.5));
  });
}

Tensor geometric(Shape const& shape, double p, Dtype dtype, Generator& generator, Device device) {
  check_parameter("geometric", "a probability", p > 0 && p < 1, p, "between 0 and 1");
  return sampled("geometric", shape, dtype, generator, device,
                 [&](Stream& s, int64_t) { return std::ceil(std::log(s.uniform()) / std::log1p(-p)); });
}

Tensor gumbel(Shape const& shape, Dtype dtype, Generator& generator, Device device) {
  return sampled("gumbel", shape, dtype, generator, device,
                 [](Stream& s, int64_t) { return -std::log(s.exponential()); });
}

Tensor bernoulli(Tensor const& p, Generator& generator) {
  check_floating("bernoulli", p);
  no_gradient("bernoulli", {p});
  auto const share = numbers_of(p, p.shape());
  check_range("bernoulli", "probabilities", share, 0, 1, false, "from 0 to 1");
  return sampled("bernoulli", p.shape(), p.dtype(), generator, p.device(),
                 [&](Stream& s, int64_t i) { return double(s.uniform() < share[size_t(i)]); });
}

Tensor bernoulli(Shape const& shape, double p, Dtype dtype, Generator& generator, Device device) {
  check_parameter("bernoulli", "a probability", p >= 0 && p <= 1, p, "from 0 to 1");
  return sampled("bernoulli", shape, dtype, generator, device,
                 [&](Stream& s, int64_t) { return double(s.uniform() < p); });
}

Tensor poisson(Tensor const& rate, Generator& generator) {
  check_floating("poisson", rate);
  no_gradient("poisson", {rate});
  auto const rates = numbers_of(rate, rate.shape());
  check_range("poisson", "rates of", rates, 0, infinity, false, "0 or more");
  return sampled("poisson", rate.shape(), rate.dtype(), generator, rate.device(),
                 [&](Stream& s, int64_t i) { return poisson_variable(s, rates[size_t(i)]); });
}

Tensor binomial(Tensor const& count, Tensor const& p, Generator& generator) {
  check_floating("binomial", count);
  check_floating("binomial", p);
  no_gradient("binomial", {count, p});
  Shape const shape = broadcast("binomial", count.shape(), p.shape());
  auto const n = numbers_of(count, shape), share = numbers_of(p, shape);
  check_range("binomial", "counts of", n, 0, infinity, false, "0 or more");
  check_range("binomial", "probabilities", share, 0, 1, false, "from 0 to 1");
  return sampled(
      "binomial", shape, promote(count.dtype(), p.dtype()), generator, common_device("binomial", {&count, &p}),
      [&](Stream& s, int64_t i) { return binomial_variable(s, std::floor(n[size_t(i)]), share[size_t(i)]); });
}

Tensor gamma(Tensor const& concentration, Generator& generator) {
  check_floating("gamma", concentration);
  no_gradient("gamma", {concentration});
  auto const shapes = numbers_of(concentration, concentration.shape());
  check_range("gamma", "concentrations of", shapes, 0, infinity, false, "0 or more");
  double const least = concentration.dtype() == Dtype::f64 ? std::numeric_limits<double>::min()
                                                           : double(std::numeric_limits<float>::min());
  return sampled("gamma", concentration.shape(), concentration.dtype(), generator, concentration.device(),
                 [&](Stream& s, int64_t i) {
                   double const a = shapes[size_t(i)];
                   return a == 0 ? 0 : std::max(least, std::exp(log_gamma_variable(s, a)));
                 });
}

Tensor beta(Tensor const& a, Tensor const& b, Generator& generator) {
  check_floating("beta", a);
  check_floating("beta", b);
  no_gradient("beta", {a, b});
  Shape const shape = broadcast("beta", a.shape(), b.shape());
  auto const first = numbers_of(a, shape), second = numbers_of(b, shape);
  check_range("beta", "concentrations", first, 0, infinity, true, "above 0");
  check_range("beta", "concentrations", second, 0, infinity, true, "above 0");
  return sampled("beta", shape, promote(a.dtype(), b.dtype()), generator, common_device("beta", {&a, &b}),
                 [&](Stream& s, int64_t i) {
                   double const x = log_gamma_variable(s, first[size_t(i)]),
                                y = log_gamma_variable(s, second[size_t(i)]);
                   return 1 / (1 + std::exp(y - x));
                 });
}

Tensor dirichlet(Tensor const& concentration, Generator& generator) {
  check_floating("dirichlet", concentration);
  no_gradient("dirichlet", {concentration});
  check(concentration.rank() >= 1, "dirichlet", [] {
    return Complaint{"expected at least one axis, got a scalar", "pass [.., K]"};
  });
  auto const shapes = numbers_of(concentration, concentration.shape());
  check_range("dirichlet", "concentrations", shapes, 0, infinity, true, "above 0");
  Tensor const logs = sampled("dirichlet", concentration.shape(), Dtype::f64, generator, concentration.device(),
                              [&](Stream& s, int64_t i) { return log_gamma_variable(s, shapes[size_t(i)]); });
  return softmax(logs, -1).to(concentration.dtype());
}

Tensor multinomial(Tensor const& weights, int64_t count, bool replacement, Generator& generator) {
  check_floating("multinomial", weights);
  check(weights.rank() >= 1 && weights.size(-1) > 0 && count >= 1, "multinomial", [&] {
    return Complaint{fmt::format("expected weights [.., C] and a count of 1 or more, got {} and {}",
                                 to_string(weights.shape()), count),
                     "give one weight for each class"};
  });
  auto const w = numbers_of(weights, weights.shape());
  check_range("multinomial", "weights of", w, 0, infinity, false, "0 or more");
  int64_t const classes = weights.size(-1), rows = weights.numel() / classes;
  for (int64_t r = 0; r < rows; ++r) {
    auto const row = w.begin() + r * classes;
    int64_t const possible = classes - std::count(row, row + classes, 0.);
    check(possible >= (replacement ? 1 : count), "multinomial", [&] {
      return Complaint{fmt::format("row {} has {} weights above 0, too few for {} draws", r, possible, count),
                       "draw fewer, or with replacement"};
    });
  }
  Shape shape = weights.shape();
  shape[weights.rank() - 1] = count;
  Tensor y(shape, Dtype::i64);
  Draw const draw = generator.next();
  parallel_for(rows, 1 + 4096 / classes, [&](int64_t begin, int64_t end) {
    std::vector<double> line(static_cast<size_t>(classes));
    std::vector<int64_t> order(static_cast<size_t>(classes));
    for (int64_t r = begin; r < end; ++r) {
      double const* const row = w.data() + r * classes;
      int64_t* const to = y.data<int64_t>() + r * count;
      Stream stream(draw, r);
      if (replacement) {
        std::partial_sum(row, row + classes, line.begin());
        for (int64_t k = 0; k < count; ++k) {
          double const at = stream.uniform() * line.back();
          auto const found = std::upper_bound(line.begin(), line.end(), at);
          // A class of weight 0 adds nothing to the line, and so is never the first above.
          to[k] = std::min(int64_t(found - line.begin()), classes - 1);
          while (row[to[k]] == 0) --to[k];
        }
        continue;
      }
      // The first of exponential clocks that run at the weights' rates.
      for (int64_t c = 0; c < classes; ++c) {
        double const clock = stream.exponential();
        line[size_t(c)] = row[c] > 0 ? clock / row[c] : infinity;
        order[size_t(c)] = c;
      }
      std::partial_sort(order.begin(), order.begin() + count, order.end(),
                        [&](int64_t a, int64_t b) { return line[size_t(a)] < line[size_t(b)]; });
      std::copy(order.begin(), order.begin() + count, to);
    }
  });
  return y;
}

Tensor categorical(Tensor const& logits, Generator& generator) {
  check_floating("categorical", logits);
  check(logits.rank() >= 1 && logits.size(-1) > 0, "categorical", [&] {
    return Complaint{fmt::format("expected logits [.., C], got {}", to_string(logits.shape())),
                     "give one logit for each class"};
  });
  Tensor const noise = gumbel(logits.shape(), Dtype::f64, generator, logits.device());
  return argmax(logits.detach().to(Dtype::f64) + noise, -1);
}

Tensor gumbel_softmax(Tensor const& logits, GumbelSoftmaxOptions const& options) {
  check_floating("gumbel_softmax", logits);
  check_parameter("gumbel_softmax", "a temperature", options.tau > 0, options.tau, "above 0");
  Generator& generator = options.generator ? *options.generator : default_generator();
  int const axis = normalize_axis("gumbel_softmax", options.axis, logits.rank());
  Tensor const noise = gumbel(logits.shape(), logits.dtype(), generator, logits.device());
  Tensor const soft = softmax((logits + noise) / options.tau, axis);
  if (!options.hard) return soft;
  // The choice's value, the soft values' gradient (Bengio et al., 2013).
  Tensor y;
  {
    NoGrad const off;
    Shape classes = Dims::filled(logits.rank(), 1);
    classes[axis] = logits.size(axis);
    y = (argmax(soft, axis, true) == arange(logits.size(axis), logits.device()).reshape(classes)).to(soft.dtype());
  }
  if (tracked(soft)) record("gumbel_softmax", y, {&soft}, [](Tensor const& g, Node const&) { return std::array{g}; });
  return y;
}

}  // namespace heed
