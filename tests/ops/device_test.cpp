// What the records of operations leave out on an emulated accelerator: integers and truth values of every type, tensors
// made there, wrong classes, second derivatives.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/emulated.h>

#include <functional>
#include <string>
#include <vector>

using namespace heed;

namespace {

Dtype const numbers[] = {Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64, Dtype::u8};

/// f of the operands there is f of them here, to the bit.
void same(std::string const& name, std::vector<Tensor> const& here,
          std::function<Tensor(std::vector<Tensor> const&)> const& f) {
  CAPTURE(name);
  std::vector<Tensor> there;
  for (Tensor const& t : here) there.push_back(t.to(test::emulated_device()));
  Tensor const got = f(there), want = f(here);
  CHECK(got.device() == test::emulated_device());
  CHECK(got.dtype() == want.dtype());
  CHECK(equal(got.to(cpu), want));
  CHECK(test::emulator_complaints() == "");
}

using Binary = Tensor (*)(Tensor const&, Tensor const&);

}  // namespace

TEST_CASE("integers of every width have the processor's bits on an accelerator") {
  struct Case {
    char const* name;
    Binary f;
    int64_t low, high;  // of the second operand
  };
  Case const cases[] = {{"add", add, -200, 200},
                        {"sub", sub, -200, 200},
                        {"mul", mul, -200, 200},
                        {"maximum", maximum, -200, 200},
                        {"minimum", minimum, -200, 200},
                        {"and", bitwise_and, -200, 200},
                        {"or", bitwise_or, -200, 200},
                        {"xor", bitwise_xor, -200, 200},
                        {"left", bitwise_left_shift, -3, 70},
                        {"right", bitwise_right_shift, -3, 70},
                        {"gcd", gcd, -50, 50},
                        {"lcm", lcm, -50, 50},
                        {"fmod", fmod, 1, 9},
                        {"fmod below", fmod, -9, 0},
                        {"remainder", remainder, 1, 9},
                        {"remainder below", remainder, -9, 0},
                        {"floor_divide", floor_divide, -9, 0},
                        {"div", [](Tensor const& a, Tensor const& b) { return div(a, b, Rounding::trunc); }, -9, 0},
                        {"pow", static_cast<Binary>(pow), 0, 9},
                        {"eq", operator==, -3, 3},
                        {"ne", operator!=, -3, 3},
                        {"lt", operator<, -200, 200},
                        {"le", operator<=, -200, 200},
                        {"gt", operator>, -200, 200},
                        {"ge", operator>=, -200, 200}};
  Generator generator(3);
  for (Dtype const dtype : numbers)
    for (Case const& c : cases) {
      if (dtype == Dtype::u8 && c.high == 0) continue;
      Tensor const a = randint(-300, 300, {3, 7}, generator).to(dtype);
      Tensor const b = randint(c.low, c.high, {3, 1}, generator).to(dtype);
      same(std::string(c.name) + " of " + std::string(name(dtype)), {a, b},
           [&](std::vector<Tensor> const& x) { return c.f(x[0], x[1]); });
    }
  Tensor const least = full({2}, std::numeric_limits<int64_t>::min(), Dtype::i64), minus = full({2}, -1, Dtype::i64);
  same("least / -1", {least, minus}, [](auto const& x) { return floor_divide(x[0], x[1]); });
  same("least % -1", {least, minus}, [](auto const& x) { return remainder(x[0], x[1]); });
  same("by nothing", {minus}, [](auto const& x) {
    // The processor has an Error for it.
    return x[0].device() == cpu ? zeros_like(x[0]) : floor_divide(x[0], zeros_like(x[0]));
  });
  same("least, -1", {least, minus}, [](auto const& x) { return lcm(x[0], x[1]); });
}

TEST_CASE("truth values, choices and triangles of every type on an accelerator") {
  Generator generator(4);
  Tensor const p = bernoulli({4, 5}, 0.5, Dtype::f32, generator) > 0.5,
               q = bernoulli({4, 1}, 0.5, Dtype::f32, generator) > 0.5;
  for (auto const& f : {logical_and, logical_or, logical_xor, bitwise_and, bitwise_or, bitwise_xor, add, mul, maximum})
    same("bool", {p, q}, [&](auto const& x) { return f(x[0], x[1]); });
  same("not", {p}, [](auto const& x) { return !x[0]; });
  for (Dtype const dtype : {Dtype::i8, Dtype::i16, Dtype::i32, Dtype::i64, Dtype::u8, Dtype::boolean, Dtype::f16,
                            Dtype::bf16, Dtype::f32, Dtype::f64}) {
    Tensor const a = randint(-3, 4, {4, 5}, generator).to(dtype), b = randint(-3, 4, {5}, generator).to(dtype);
    std::string const of(name(dtype));
    same("where " + of, {p, a, b}, [](auto const& x) { return where(x[0], x[1], x[2]); });
    same("tril " + of, {a}, [](auto const& x) { return tril(x[0], -1); });
    same("triu " + of, {a}, [](auto const& x) { return triu(x[0].transpose(0, 1), 1); });
    same("logical_and " + of, {p, a}, [](auto const& x) { return logical_and(x[0], x[1]); });
    same("cat " + of, {a, b}, [](auto const& x) { return cat({x[0], x[1].unsqueeze(0)}); });
    same("roll " + of, {a}, [](auto const& x) { return roll(x[0], {1, 3}, {0, 1}); });
    for (Dims const& axes : {Dims{0}, Dims{1}, Dims{0, 1}}) {
      same("any " + of, {a}, [&](auto const& x) { return any(x[0], axes); });
      same("all " + of, {a}, [&](auto const& x) { return all(x[0] + 1, axes); });
      same("count " + of, {a}, [&](auto const& x) { return count_nonzero(x[0], axes); });
    }
    same("signbit " + of, {a}, [](auto const& x) { return signbit(x[0]); });
    same("isfinite " + of, {a}, [](auto const& x) { return isfinite(x[0] / 0); });
    same("isnan " + of, {a}, [](auto const& x) { return isnan(x[0] / 0); });
    if (is_floating(dtype)) continue;
    for (int axis : {0, 1}) {
      same("sum " + of, {a}, [&](auto const& x) { return sum(x[0], {axis}); });
      same("prod " + of, {a}, [&](auto const& x) { return prod(x[0], {axis}); });
      same("amax " + of, {a}, [&](auto const& x) { return amax(x[0], {axis}); });
      same("amin " + of, {a}, [&](auto const& x) { return amin(x[0], {axis}, true); });
      if (dtype == Dtype::boolean) continue;
      same("argmax " + of, {a}, [&](auto const& x) { return argmax(x[0], axis); });
      same("argmin " + of, {a}, [&](auto const& x) { return argmin(x[0], axis, true); });
    }
  }
  Tensor const long_row = randint(-9, 9, {2, 9001}, generator).to(Dtype::i8);
  same("sum of a long row", {long_row}, [](auto const& x) { return sum(x[0], {1}); });
  same("sum of long columns", {long_row.transpose(0, 1)}, [](auto const& x) { return sum(x[0].contiguous(), {0}); });
  same("argmax of a long row", {long_row}, [](auto const& x) { return argmax(x[0], 1); });
}

TEST_CASE("tensors are made on an accelerator") {
  Device const there = test::emulated_device();
  auto const made = [&](std::string const& name, auto const& f) {
    CAPTURE(name);
    Tensor const got = f(there), want = f(cpu);
    CHECK(got.device() == there);
    CHECK(got.dtype() == want.dtype());
    CHECK(allclose(got.to(cpu), want, 1e-12, 0));
  };
  for (Dtype const dtype : {Dtype::i8, Dtype::i64, Dtype::f16, Dtype::f32, Dtype::f64}) {
    made("arange", [&](Device d) { return arange(-7, 20, 3, dtype, d); });
    made("arange down", [&](Device d) { return arange(7, -20, -3, dtype, d); });
    made("arange by parts", [&](Device d) { return arange(0.5, 4.0, 0.25, dtype, d); });
    made("eye", [&](Device d) { return eye(3, 5, dtype, d); });
    made("linspace", [&](Device d) { return linspace(-3, 8, 23, dtype, d); });
    made("linspace of one", [&](Device d) { return linspace(-3, 8, 1, dtype, d); });
    made("linspace of none", [&](Device d) { return linspace(-3, 8, 0, dtype, d); });
  }
  made("logspace", [](Device d) { return logspace(-1, 2, 7, 10, Dtype::f64, d); });
  made("tril_indices", [](Device d) { return tril_indices(3, 4, 1, d); });
  made("triu_indices", [](Device d) { return triu_indices(3, 4, 1, d); });
  auto const drawn = [&](std::string const& name, auto const& f) {
    made(name, [&](Device d) {
      Generator generator(9, 4);
      return f(generator, d);
    });
  };
  for (Dtype const dtype : {Dtype::f16, Dtype::f32, Dtype::f64})
    drawn("rand", [&](Generator& g, Device d) { return rand({3, 67}, dtype, g, d); });
  drawn("randn", [](Generator& g, Device d) { return randn({3, 67}, Dtype::f64, g, d); });
  drawn("randint", [](Generator& g, Device d) { return randint(-5, 1000, {3, 67}, g, d); });
  drawn("randint of all", [](Generator& g, Device d) { return randint(INT64_MIN, INT64_MAX, {67}, g, d); });
  drawn("randperm", [](Generator& g, Device d) { return randperm(67, g, d); });
  Shape const some{3, 41};
  for (Dtype const dtype : {Dtype::f16, Dtype::f32, Dtype::f64}) {
    drawn("uniform", [&](Generator& g, Device d) { return uniform(some, -2, 3, dtype, g, d); });
    drawn("log_normal", [&](Generator& g, Device d) { return log_normal(some, 0, 0.5, dtype, g, d); });
    drawn("exponential", [&](Generator& g, Device d) { return exponential(some, 2, dtype, g, d); });
    drawn("geometric", [&](Generator& g, Device d) { return geometric(some, 0.2, dtype, g, d); });
    drawn("gumbel", [&](Generator& g, Device d) { return gumbel(some, dtype, g, d); });
    drawn("bernoulli", [&](Generator& g, Device d) { return bernoulli(some, 0.3, dtype, g, d); });
  }
  drawn("normal", [&](Generator& g, Device d) { return normal(some, 1, 2, Dtype::f64, g, d); });
  for (double const low : {-9., -0.3, 2., -5.})
    drawn("truncated_normal",
          [&](Generator& g, Device d) { return truncated_normal(some, 0, 1, low, low + 1.5, Dtype::f64, g, d); });
  drawn("laplace", [&](Generator& g, Device d) { return laplace(some, 1, 2, Dtype::f64, g, d); });
  drawn("cauchy", [&](Generator& g, Device d) { return cauchy(some, 1, 2, Dtype::f64, g, d); });
  Tensor const size = linspace(0.05, 40, 123, Dtype::f64).reshape(some), share = linspace(0, 1, 41, Dtype::f64);
  drawn("bernoulli of each", [&](Generator& g, Device d) { return bernoulli(share.to(d), g); });
  drawn("poisson", [&](Generator& g, Device d) { return poisson(size.to(d), g); });
  drawn("binomial", [&](Generator& g, Device d) { return binomial(size.to(d), share.to(d), g); });
  drawn("gamma", [&](Generator& g, Device d) { return gamma(size.to(d), g); });
  drawn("beta", [&](Generator& g, Device d) { return beta(size.to(d), share.to(d) + 0.1, g); });
  drawn("dirichlet", [&](Generator& g, Device d) { return dirichlet(size.to(d), g); });
  drawn("categorical", [&](Generator& g, Device d) { return categorical(size.to(d), g); });
  for (bool again : {false, true})
    drawn("multinomial", [&](Generator& g, Device d) { return multinomial(size.to(d), 7, again, g); });
  drawn("gumbel_softmax", [&](Generator& g, Device d) { return gumbel_softmax(size.to(d), {.generator = &g}); });
  drawn("dropout", [&](Generator& g, Device d) { return dropout(size.to(d), 0.3, g); });
  drawn("alpha_dropout", [&](Generator& g, Device d) { return alpha_dropout(size.to(d), 0.3, g); });
  drawn("rrelu", [&](Generator& g, Device d) { return rrelu(size.to(d) - 20, 0.1, 0.4, true, g); });
}

TEST_CASE("classes outside of those that there are become an Error when the host next waits") {
  Device const there = test::emulated_device();
  Tensor const log_p = log_softmax(randn({2, 3}).to(there)), wrong = full({2}, 3, Dtype::i64, there);
  auto const complains = [&](std::string const& op, auto const& f) {
    CAPTURE(op);
    std::string problem;
    try {
      f().to(cpu);
    } catch (Error const& e) {
      problem = e.what();
    }
    CHECK(problem.find("index 3") != std::string::npos);
    CHECK(log_p.to(cpu).shape() == Shape{2, 3});  // the device goes on
  };
  complains("nll_loss", [&] { return nll_loss(log_p, wrong); });
  complains("multi_margin_loss", [&] { return multi_margin_loss(log_p, wrong); });
  complains("multilabel_margin_loss", [&] {
    return multilabel_margin_loss(log_p, full({2, 3}, 3, Dtype::i64, there));
  });
  complains("embedding_bag", [&] { return embedding_bag(wrong.unsqueeze(0), log_p, {.mode = BagMode::max}); });
  complains("ctc_loss", [&] { return ctc_loss(log_p.unsqueeze(1), wrong, {2}, {2}); });
  CHECK(nll_loss(log_p, full({2}, -100, Dtype::i64, there), {.reduction = Reduction::sum}).item() == 0);
}

TEST_CASE("second derivatives on an accelerator") {
  Device const there = test::emulated_device();
  seed(2);
  std::vector<int64_t> const targets{1, 2, 1};
  Tensor const symbols = tensor(targets, {3});
  auto const twice = [&](std::string const& name, Tensor const& x, auto const& f) {
    CAPTURE(name);
    std::vector<Tensor> results;
    for (Device const device : {cpu, there}) {
      Tensor leaf = x.to(device).clone();
      leaf.requires_grad_();
      Tensor const slope = grad({sum(square(f(leaf)))}, {leaf}, {}, {.create_graph = true})[0];
      results.push_back(grad({sum(square(slope))}, {leaf})[0].to(cpu));
    }
    CHECK(allclose(results[1], results[0], 1e-9, 1e-9));
  };
  twice("ctc_loss", log_softmax(randn({5, 1, 3}, Dtype::f64)),
        [&](Tensor const& x) { return ctc_loss(x, symbols.to(x.device()), {5}, {3}); });
  twice("legendre", randn({7}, Dtype::f64),
        [&](Tensor const& x) { return legendre_polynomial_p(x, arange(7).to(x.device())); });
  twice("bessel", randn({7}, Dtype::f64), [](Tensor const& x) { return bessel_j1(x); });
  twice("cdist", randn({4, 3}, Dtype::f64), [](Tensor const& x) { return cdist(x, x * 2.0 + 1.0); });
  twice("linear_cross_entropy", randn({3, 3}, Dtype::f64),
        [&](Tensor const& x) { return linear_cross_entropy(x, symbols.to(x.device()), x.t().contiguous(), {}); });
  twice("unfold", randn({9}, Dtype::f64), [](Tensor const& x) { return unfold(square(x), 0, 4, 2); });
}
