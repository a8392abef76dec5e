// Random tensors of the named distributions. Every element has a stream of random numbers of its own, so that
// rejection leaves the others alone and the result does not depend on threads.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/distributions.h>
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

using distributions::infinity;
using distributions::Law;
using distributions::Recipe;
using distributions::Stream;

/// y_i = element i of the recipe; `parameters`, f64 of the same shape or undefined, are its first and second.
Tensor sampled(char const* op, Shape const& shape, Dtype dtype, Generator& generator, Device device, Recipe recipe,
               std::array<Tensor, 2> const& parameters = {}) {
  if (is_half(dtype)) return sampled(op, shape, Dtype::f32, generator, device, recipe, parameters).to(dtype);
  Tensor y(shape, dtype, device);
  Observed const watch(op, {}, {&y});
  recipe.first = parameters[0].defined() ? parameters[0].address<double>() : nullptr;
  recipe.second = parameters[1].defined() ? parameters[1].address<double>() : nullptr;
  Draw const draw = generator.next();
  dispatch_floating(op, dtype, [&]<class T>(Type<T>) {
    T* const to = y.address<T>();
    if (!device.is_cpu())
      return device_kernels<DistributionKernels>(device, op).sample(recipe, draw, dtype, to, y.numel());
    parallel_for(y.numel(), 512, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = T(distributions::element(recipe, draw, i));
    });
  });
  return y;
}

/// A parameter in `shape`, as f64.
Tensor parameter(Tensor const& t, Shape const& shape, Device device) {
  return t.detach().to(Dtype::f64).to(device).expand(shape).contiguous();
}

void check_parameter(char const* op, char const* what, bool ok, double got, char const* expected) {
  check(ok, op, [&] {
    return Complaint{fmt::format("expected {} {}, got {}", what, expected, got), fmt::format("pass {}", expected)};
  });
}

/// An Error unless every number is at least `low` and at most `high`, or above `low` if `open`. Those of an accelerator
/// are not looked at: the host would have to wait.
void check_range(char const* op, char const* what, Tensor const& values, double low, double high, bool open,
                 char const* expected) {
  if (!values.device().is_cpu()) return;
  for (double v : values.detach().to_vector<double>())
    check_parameter(op, what, (open ? v > low : v >= low) && v <= high && v < infinity, v, expected);
}

void check_floating(char const* op, Tensor const& t) {
  check_defined(op, t);
  if (!is_floating(t.dtype())) detail::unsupported_dtype(op, t.dtype(), "a floating type");
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
  return sampled("uniform", shape, dtype, generator, device,
                 {.law = Law::uniform, .a = low, .b = high, .dtype = dtype});
}

Tensor normal(Shape const& shape, double mean, double deviation, Dtype dtype, Generator& generator, Device device) {
  check_parameter("normal", "a deviation of", deviation >= 0, deviation, "0 or more");
  return randn(shape, dtype, generator, device) * deviation + mean;
}

Tensor normal(Tensor const& mean, Tensor const& deviation, Generator& generator) {
  check_floating("normal", mean);
  check_floating("normal", deviation);
  Shape const shape = broadcast("normal", mean.shape(), deviation.shape());
  check_range("normal", "deviations of", deviation, 0, infinity, false, "0 or more");
  return mean + deviation * randn(shape, promote(mean.dtype(), deviation.dtype()), generator,
                                  common_device("normal", {&mean, &deviation}));
}

Tensor log_normal(Shape const& shape, double mean, double deviation, Dtype dtype, Generator& generator, Device device) {
  check_parameter("log_normal", "a deviation", deviation > 0, deviation, "above 0");
  return sampled("log_normal", shape, dtype, generator, device, {.law = Law::log_normal, .a = mean, .b = deviation});
}

Tensor truncated_normal(Shape const& shape, double mean, double deviation, double low, double high, Dtype dtype,
                        Generator& generator, Device device) {
  check_parameter("truncated_normal", "a deviation", deviation > 0 && deviation < infinity, deviation, "above 0");
  check_parameter("truncated_normal", "a high end", high > low, high, "above the low one");
  return sampled("truncated_normal", shape, dtype, generator, device,
                 {.law = Law::truncated_normal, .a = mean, .b = deviation, .c = low, .d = high});
}

Tensor exponential(Shape const& shape, double rate, Dtype dtype, Generator& generator, Device device) {
  check_parameter("exponential", "a rate", rate > 0, rate, "above 0");
  return sampled("exponential", shape, dtype, generator, device, {.law = Law::exponential, .a = rate});
}

Tensor laplace(Shape const& shape, double location, double scale, Dtype dtype, Generator& generator, Device device) {
  check_parameter("laplace", "a scale", scale > 0, scale, "above 0");
  return sampled("laplace", shape, dtype, generator, device, {.law = Law::laplace, .a = location, .b = scale});
}

Tensor cauchy(Shape const& shape, double location, double scale, Dtype dtype, Generator& generator, Device device) {
  check_parameter("cauchy", "a scale", scale > 0, scale, "above 0");
  return sampled("cauchy", shape, dtype, generator, device, {.law = Law::cauchy, .a = location, .b = scale});
}

Tensor geometric(Shape const& shape, double p, Dtype dtype, Generator& generator, Device device) {
  check_parameter("geometric", "a probability", p > 0 && p < 1, p, "between 0 and 1");
  return sampled("geometric", shape, dtype, generator, device, {.law = Law::geometric, .a = p});
}

Tensor gumbel(Shape const& shape, Dtype dtype, Generator& generator, Device device) {
  return sampled("gumbel", shape, dtype, generator, device, {.law = Law::gumbel});
}

Tensor bernoulli(Tensor const& p, Generator& generator) {
  check_floating("bernoulli", p);
  no_gradient("bernoulli", {p});
  check_range("bernoulli", "probabilities", p, 0, 1, false, "from 0 to 1");
  return sampled("bernoulli", p.shape(), p.dtype(), generator, p.device(), {.law = Law::bernoulli},
                 {parameter(p, p.shape(), p.device())});
}

Tensor bernoulli(Shape const& shape, double p, Dtype dtype, Generator& generator, Device device) {
  check_parameter("bernoulli", "a probability", p >= 0 && p <= 1, p, "from 0 to 1");
  return sampled("bernoulli", shape, dtype, generator, device, {.law = Law::bernoulli, .a = p});
}

Tensor poisson(Tensor const& rate, Generator& generator) {
  check_floating("poisson", rate);
  no_gradient("poisson", {rate});
  check_range("poisson", "rates of", rate, 0, infinity, false, "0 or more");
  return sampled("poisson", rate.shape(), rate.dtype(), generator, rate.device(), {.law = Law::poisson},
                 {parameter(rate, rate.shape(), rate.device())});
}

Tensor binomial(Tensor const& count, Tensor const& p, Generator& generator) {
  check_floating("binomial", count);
  check_floating("binomial", p);
  no_gradient("binomial", {count, p});
  Shape const shape = broadcast("binomial", count.shape(), p.shape());
  check_range("binomial", "counts of", count, 0, infinity, false, "0 or more");
  check_range("binomial", "probabilities", p, 0, 1, false, "from 0 to 1");
  Device const device = common_device("binomial", {&count, &p});
  return sampled("binomial", shape, promote(count.dtype(), p.dtype()), generator, device, {.law = Law::binomial},
                 {parameter(count, shape, device), parameter(p, shape, device)});
}

Tensor gamma(Tensor const& concentration, Generator& generator) {
  check_floating("gamma", concentration);
  no_gradient("gamma", {concentration});
  check_range("gamma", "concentrations of", concentration, 0, infinity, false, "0 or more");
  double const least = concentration.dtype() == Dtype::f64 ? std::numeric_limits<double>::min()
                                                           : double(std::numeric_limits<float>::min());
  return sampled("gamma", concentration.shape(), concentration.dtype(), generator, concentration.device(),
                 {.law = Law::gamma, .c = least},
                 {parameter(concentration, concentration.shape(), concentration.device())});
}

Tensor beta(Tensor const& a, Tensor const& b, Generator& generator) {
  check_floating("beta", a);
  check_floating("beta", b);
  no_gradient("beta", {a, b});
  Shape const shape = broadcast("beta", a.shape(), b.shape());
  check_range("beta", "concentrations", a, 0, infinity, true, "above 0");
  check_range("beta", "concentrations", b, 0, infinity, true, "above 0");
  Device const device = common_device("beta", {&a, &b});
  return sampled("beta", shape, promote(a.dtype(), b.dtype()), generator, device, {.law = Law::beta},
                 {parameter(a, shape, device), parameter(b, shape, device)});
}

Tensor dirichlet(Tensor const& concentration, Generator& generator) {
  check_floating("dirichlet", concentration);
  no_gradient("dirichlet", {concentration});
  check(concentration.rank() >= 1, "dirichlet", [] {
    return Complaint{"expected at least one axis, got a scalar", "pass [.., K]"};
  });
  check_range("dirichlet", "concentrations", concentration, 0, infinity, true, "above 0");
  Tensor const logs =
      sampled("dirichlet", concentration.shape(), Dtype::f64, generator, concentration.device(),
              {.law = Law::log_gamma}, {parameter(concentration, concentration.shape(), concentration.device())});
  return softmax(logs, -1).to(concentration.dtype());
}

namespace {

/// On an accelerator: the processor's numbers, one after the other in each row's stream.
Tensor device_multinomial(Tensor const& weights, int64_t count, bool replacement, Generator& generator) {
  Device const device = weights.device();
  int64_t const classes = weights.size(-1);
  Tensor const w = parameter(weights, weights.shape(), device), counts = w > 0.0;
  Shape shape = weights.shape();
  if (!replacement) {
    Tensor const clock = sampled("multinomial", shape, Dtype::f64, generator, device,
                                 {.law = Law::exponential, .a = 1, .in_row = classes});
    return argsort(where(counts, clock / where(counts, w, 1.0), infinity), -1).slice(-1, 0, count).contiguous();
  }
  shape[weights.rank() - 1] = count;
  Tensor const u = sampled("multinomial", shape, Dtype::f64, generator, device,
                           {.law = Law::uniform, .a = 0, .b = 1, .in_row = count});
  Tensor const line = cumsum(w, -1), last = amax(where(counts, arange(classes, device), 0), {-1}, true);
  return minimum(searchsorted(line, u * line.slice(-1, classes - 1, classes), {.right = true}), last);
}

}  // namespace

Tensor multinomial(Tensor const& weights, int64_t count, bool replacement, Generator& generator) {
  check_floating("multinomial", weights);
  check(weights.rank() >= 1 && weights.size(-1) > 0 && count >= 1, "multinomial", [&] {
    return Complaint{fmt::format("expected weights [.., C] and a count of 1 or more, got {} and {}",
                                 to_string(weights.shape()), count),
                     "give one weight for each class"};
  });
  if (!weights.device().is_cpu()) return device_multinomial(weights, count, replacement, generator);
  check_range("multinomial", "weights of", weights, 0, infinity, false, "0 or more");
  int64_t const classes = weights.size(-1), rows = weights.numel() / classes;
  Tensor const wide = parameter(weights, weights.shape(), weights.device());
  double const* const w = wide.data<double>();
  for (int64_t r = 0; r < rows; ++r) {
    double const* const row = w + r * classes;
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
      double const* const row = w + r * classes;
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
