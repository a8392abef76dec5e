// Every optimiser of the catalogue: PyTorch's steps, the identities of the literature, states that save and load in the
// same bits, settings out of range.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/safetensors.h>
#include <heed/engine/parallel.h>
#include <heed/optim/catalogue.h>
#include <heed/optim/optim.h>
#include <heed/optim/rules/muon.h>
#include <heed/tests/support/op_case.h>
#include <heed/tests/support/skip.h>

#include <cmath>
#include <map>

using namespace heed;
using namespace heed::optim;

namespace {

using test::error_of;
using test::same_bits;

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// A matrix and a vector, with gradients that do not depend on them.
struct Toy {
  Tensor w, b;
  explicit Toy(Dtype dtype = Dtype::f64, uint64_t key = 5, Shape const& shape = {7, 5}) {
    Generator generator(key);
    w = randn(shape, dtype, generator);
    b = randn({33}, dtype, generator);
    w.requires_grad_();
    b.requires_grad_();
  }
  std::vector<ParameterGroup> groups(double decay = 0) const {
    return {{.parameters = {{"w", w}}, .weight_decay = decay}, {.parameters = {{"b", b}}, .rate_scale = 0.5}};
  }
  void gradients(uint64_t step) const {
    Generator generator(100 + step);
    w.set_grad(randn(w.shape(), w.dtype(), generator));
    b.set_grad(randn(b.shape(), b.dtype(), generator));
  }
  /// ½‖w‖² + Σ cos b and its gradients.
  Evaluation loss() const {
    w.set_grad({}), b.set_grad({});
    Tensor const loss = sum(square(w)) * 0.5 + sum(cos(b));
    loss.backward();
    return {.loss = loss.item()};
  }
  void steps(Optimizer& optimizer, int64_t from, int64_t to) const {
    for (int64_t step = from; step < to; ++step) {
      gradients(uint64_t(step));
      optimizer.step([&] {
        gradients(uint64_t(step));
        return Evaluation{1};
      });
    }
  }
};

double largest_difference(Tensor const& a, Tensor const& b) {
  return max(abs(a.detach().to(Dtype::f64) - b.detach().to(Dtype::f64))).item();
}

}  // namespace

TEST_CASE("every rule: ten steps are PyTorch's") {
  Safetensors const file = load_safetensors(std::string(HEED_SOURCE_DIR) + "/tests/golden/optimizers.safetensors");
  std::map<std::string, double> worst;
  test::on_every_isa([&](Isa) {
    for (auto const& [name, expected] : file.tensors) {
      if (!name.starts_with("optimizer ") || !name.ends_with(" @ w")) continue;
      size_t const first = name.find(" @ "), second = name.find(" @ ", first + 3);
      std::string const text = name.substr(10, first - 10);
      double const rate = std::stod(name.substr(first + 3)), decay = std::stod(name.substr(second + 3));
      Tensor const* const vector = file.find(name.substr(0, name.size() - 1) + "b");
      for (Dtype const dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
        std::vector<nn::NamedTensor> parameters;
        for (char const* p : {"w", "b"})
          if (*p == 'w' || vector) {
            parameters.push_back({p, file.find(std::string("initial ") + p)->to(dtype).clone()});
            parameters.back().tensor.requires_grad_();
          }
        auto const optimizer = make_optimizer(text, {{.parameters = parameters, .weight_decay = decay}}, rate);
        for (int64_t step = 0; step < expected.size(0); ++step) {
          for (auto const& [p, tensor] : parameters)
            tensor.set_grad(file.find("gradients " + p)->select(0, step).to(dtype).contiguous());
          optimizer->step();
          for (auto const& [p, tensor] : parameters) {
            double const error = largest_difference(tensor, (p == "w" ? expected : *vector).select(0, step));
            if (dtype == Dtype::f64) worst[text] = std::max(worst[text], error);
            CHECK_MESSAGE(error <= (dtype == Dtype::f64   ? 1e-14
                                    : dtype == Dtype::f32 ? 2e-6
                                                          : 0.1),
                          name, " ", step, " ", heed::name(dtype));
          }
        }
      }
    }
  });
  CHECK(worst.size() == 20);
  for (auto const& [text, error] : worst) MESSAGE(fmt::format("{}: {:.1e}", text, error));
}

TEST_CASE("L-BFGS: ten steps of four directions are PyTorch's") {
  Safetensors const file = load_safetensors(std::string(HEED_SOURCE_DIR) + "/tests/golden/optimizers.safetensors");
  int count = 0;
  for (auto const& [name, expected] : file.tensors) {
    if (!name.starts_with("closure ") || !name.ends_with(" @ w")) continue;
    Tensor w = file.find("initial w")->clone().requires_grad_(), b = file.find("initial b")->clone().requires_grad_();
    auto const optimizer =
        make_optimizer(name.substr(8, name.find(" @ ") - 8), {{.parameters = {{"w", w}, {"b", b}}}}, 0.5);
    for (int64_t step = 0; step < expected.size(0); ++step) {
      optimizer->step([&] {
        optimizer->zero_grad();
        Tensor const loss = sum(exp(w * 0.3)) + sum(square(w)) * 0.5 + sum(square(square(b) - 1.)) * 0.25;
        loss.backward();
        return Evaluation{loss.item()};
      });
      CHECK(largest_difference(w, expected.select(0, step)) < 1e-12);
      CHECK(largest_difference(b, file.find(name.substr(0, name.size() - 1) + "b")->select(0, step)) < 1e-12);
    }
    ++count;
  }
  CHECK(count == 2);
}

TEST_CASE("every rule: saved and loaded, it goes on with the same bits") {
  for (OptimizerRow const& row : optimizers()) {
    std::string const text = row.name == "sgd" ? "sgd:momentum=0.9" : std::string(row.name);
    CAPTURE(text);
    for (Dtype const dtype : {Dtype::f32, Dtype::f64, Dtype::bf16}) {
      Toy const whole(dtype), half(dtype), rest(dtype, 9);
      auto const all = make_optimizer(text, whole.groups(0.1), 0.01),
                 before = make_optimizer(text, half.groups(0.1), 0.01),
                 after = make_optimizer(text, rest.groups(0.1), 0.01);
      whole.steps(*all, 0, 10);
      half.steps(*before, 0, 5);
      rest.steps(*after, 50, 53);
      NoGrad const off;
      Tensor(rest.w).copy_(half.w);
      Tensor(rest.b).copy_(half.b);
      std::vector<nn::NamedTensor> state;
      for (auto const& [name, tensor] : before->state()) state.push_back({name, tensor.clone()});
      after->load_state(state, before->steps());
      rest.steps(*after, 5, 10);
      CHECK(same_bits(whole.w, rest.w));
      CHECK(same_bits(whole.b, rest.b));
      CHECK(all->steps() == after->steps());
      auto const a = all->state(), b = after->state();
      REQUIRE(a.size() == b.size());
      for (size_t i = 0; i < a.size(); ++i) CHECK_MESSAGE(same_bits(a[i].tensor, b[i].tensor), a[i].name);
    }
  }
}

TEST_CASE("every rule: lowers a loss, obeys groups and rates, the same bits for any number of threads") {
  int const threads = thread_count();
  for (OptimizerRow const& row : optimizers()) {
    CAPTURE(row.name);
    Toy const toy;
    auto const optimizer = make_optimizer(row.name, toy.groups());
    CHECK(optimizer->learning_rate() == row.learning_rate);
    double const first = toy.loss().loss;
    for (int step = 0; step < 20; ++step) optimizer->step([&] { return toy.loss(); });
    optimizer->evaluating(true);
    CHECK(toy.loss().loss < first);

    std::vector<Tensor> results;
    for (int const count : {1, 2, 3}) {
      set_thread_count(count);
      Toy const large(Dtype::f32, 4, {300, 150});
      auto const same = make_optimizer(row.name, large.groups(0.1), 0.01);
      large.steps(*same, 0, 3);
      results.push_back(large.w.detach().clone());
      if (count == 1) {  // a rate of 0 changes nothing
        same->set_learning_rate(0);
        if (row.name != "adadelta") large.steps(*same, 3, 4);
      }
    }
    set_thread_count(threads);
    CHECK(same_bits(results[0], results[1]));
    CHECK(same_bits(results[0], results[2]));
  }
}

namespace {

/// Sets one field at a time.
struct Fields final : nn::ConfigVisitor {
  std::vector<std::string> numbers, fractions, all;
  void field(std::string_view name, int64_t&, std::string_view help) override { add(name, help); }
  void field(std::string_view name, double& value, std::string_view help) override {
    add(name, help);
    numbers.emplace_back(name);
    (void)value;
    if (contains(std::string(help), "0 to below 1")) fractions.emplace_back(name);
  }
  void field(std::string_view name, bool&, std::string_view help) override { add(name, help); }
  void field(std::string_view name, std::string&, std::string_view help) override { add(name, help); }
  void add(std::string_view name, std::string_view help) {
    CHECK_MESSAGE(!help.empty(), name);
    all.emplace_back(name);
  }
};

}  // namespace

TEST_CASE("every rule: settings out of range, of another type or unknown are errors that say so") {
  Toy const toy;
  for (OptimizerRow const& row : optimizers()) {
    CAPTURE(row.name);
    CHECK(!row.summary.empty());
    CHECK(!row.source.empty());
    CHECK(
        contains(error_of([&] { make_optimizer(fmt::format("{}:nonsense=1", row.name), toy.groups()); }), "nonsense"));
    if (!row.options) continue;
    Fields fields;
    row.options(fields);
    for (auto const& field : fields.numbers)
      for (char const* bad : {"-1", "nan", "inf"})
        CHECK_MESSAGE(
            contains(error_of([&] { make_optimizer(fmt::format("{}:{}={}", row.name, field, bad), toy.groups()); }),
                     field),
            field, bad);
    for (auto const& field : fields.fractions)
      CHECK_MESSAGE(
          contains(error_of([&] { make_optimizer(fmt::format("{}:{}=1", row.name, field), toy.groups()); }), field),
          field);
    for (auto const& field : fields.numbers)
      CHECK(contains(error_of([&] { make_optimizer(fmt::format("{}:{}=x", row.name, field), toy.groups()); }),
                     "a number"));
  }
  CHECK(contains(error_of([&] { make_optimizer("adamv", toy.groups()); }), "adamw"));
  CHECK(contains(error_of([&] { make_optimizer("sgd:nesterov=true", toy.groups()); }), "momentum"));
  CHECK(contains(error_of([&] { make_optimizer("adam+sgd", toy.groups()); }), "no rule around another"));
  CHECK(contains(error_of([&] { make_optimizer("", toy.groups()); }), "expected name"));
}

TEST_CASE("identities: Adam's first step is the rate times the sign of the gradient, whatever its form") {
  for (char const* text :
       {"adam:eps=0", "adamw:eps=0", "amsgrad:eps=0", "laprop:eps=0", "adamax:eps=0", "adan:eps=0"}) {
    CAPTURE(text);
    Toy const toy;
    Tensor const before = toy.w.detach().clone();
    toy.gradients(1);
    make_optimizer(text, toy.groups(), 0.25)->step();
    CHECK(largest_difference(toy.w, before - sign(toy.w.grad()) * 0.25) < 1e-14);
  }
}

namespace {

/// Whether two rules take the same steps.
double apart(std::string const& a, std::string const& b, double decay = 0, double rate = 0.01, int steps = 8) {
  Toy const x, y;
  auto const first = make_optimizer(a, x.groups(decay), rate), second = make_optimizer(b, y.groups(decay), rate);
  x.steps(*first, 0, steps);
  y.steps(*second, 0, steps);
  return std::max(largest_difference(x.w, y.w), largest_difference(x.b, y.b));
}

}  // namespace

TEST_CASE("identities: rules that become one another") {
  CHECK(apart("adam", "adamw") == 0);  // λ = 0
  CHECK(apart("adam", "adamw", 0.1) > 1e-4);
  CHECK(apart("ademamix:mix=0", "adamw", 0.1) < 1e-15);
  CHECK(apart("mars:gamma=0", "adamw:beta1=0.95,beta2=0.99", 0.1) > 1e-6);         // MARS clips the gradient
  CHECK(apart("rmsprop:alpha=0.9,eps=0", "adam:beta1=0,beta2=0.9,eps=0") > 1e-4);  // without Adam's correction
  CHECK(apart("lion:beta1=0,beta2=0", "adam:beta1=0,beta2=0,eps=0", 0, 0.01) < 1e-14);
  CHECK(apart("adamax:beta1=0,beta2=0,eps=0", "adam:beta1=0,beta2=0,eps=0") < 1e-14);
  CHECK(apart("nadam:beta1=0,eps=0", "adam:beta1=0,eps=0") < 1e-15);
  CHECK(apart("laprop:beta1=0", "adam:beta1=0,eps=1e-15") < 1e-14);
  CHECK(apart("amsgrad:beta2=0.9999", "adam:beta2=0.9999") < 1e-2);
  CHECK(apart("sgd:momentum=0", "asgd:lambd=0", 0.1) < 1e-15);
  CHECK(apart("adagrad:eps=0", "adadelta", 0, 0.01) > 1e-4);
}

TEST_CASE("identities: AMSGrad's divisor never falls") {
  Toy const toy;
  auto const optimizer = make_optimizer("amsgrad:beta2=0.5", toy.groups(), 0.01);
  Tensor last = zeros(toy.w.shape(), Dtype::f64);
  for (int step = 0; step < 10; ++step) {
    toy.steps(*optimizer, step, step + 1);
    for (auto const& [name, tensor] : optimizer->state())
      if (name == "max_exp_avg_sq.w") {
        CHECK(all(tensor >= last).item<bool>());
        last = tensor.clone();
      }
  }
}

TEST_CASE("identities: steps in proportion to a tensor's norm do not see the scale of gradients") {
  for (char const* text : {"lars:momentum=0", "lamb:eps=0"}) {
    CAPTURE(text);
    Toy const x, y;
    auto const a = make_optimizer(text, x.groups(), 0.01), b = make_optimizer(text, y.groups(), 0.01);
    for (uint64_t step = 0; step < 5; ++step) {
      x.gradients(step), y.gradients(step);
      a->step();
      b->step(1000);
    }
    CHECK(largest_difference(x.w, y.w) < 1e-13);
  }
  // The length of LAMB's step is the rate times the norm of the weights.
  Toy const toy;
  Tensor const before = toy.w.detach().clone();
  toy.gradients(0);
  make_optimizer("lamb", toy.groups(), 0.01)->step();
  CHECK(norm(toy.w.detach() - before).item() == doctest::Approx(0.01 * norm(before).item()).epsilon(1e-12));
}

TEST_CASE("identities: wrappers that are their inner rule") {
  for (char const* inner : {"adamw", "sgd:momentum=0.9", "lion"}) {
    CAPTURE(inner);
    CHECK(apart(fmt::format("lookahead:share=1+{}", inner), inner, 0.1) == 0);
    CHECK(apart(fmt::format("sam:radius=0+{}", inner), inner, 0.1) == 0);
    CHECK(apart(fmt::format("lookahead+{}", inner), inner, 0.1) > 1e-4);
  }
  CHECK(apart("cautious+sgd", "sgd") < 1e-15);  // every change of plain SGD agrees with its gradient
  CHECK(apart("cautious+sgd:momentum=0.9", "sgd:momentum=0.9") > 1e-4);
  CHECK(apart("cautious+adam", "cautious+adamw", 0.1) < 1e-15);  // decay is apart from the gradient in both
  CHECK(apart("sam+lookahead+adamw", "lookahead+sam+adamw", 0, 0.01, 4) < 1e-15);
  CHECK(apart("sam", "sam+adamw") == 0);
}

TEST_CASE("identities: SAM's gradient is that at θ + ρ·g/‖g‖") {
  for (bool const adaptive : {false, true}) {
    Toy const toy, other;
    auto const sam = make_optimizer(fmt::format("sam:radius=0.3,adaptive={}+sgd", adaptive), toy.groups(), 0.1),
               sgd = make_optimizer("sgd", other.groups(), 0.1);
    std::vector<double> losses;
    auto const seen = sam->step([&] {
      losses.push_back(toy.loss().loss);
      return Evaluation{losses.back()};
    });
    REQUIRE(losses.size() == 2);
    CHECK(seen.loss == losses[0]);
    CHECK(losses[1] > losses[0]);
    other.loss();
    NoGrad const off;
    double const length = std::sqrt((sum(square(adaptive ? other.w * other.w.grad() : other.w.grad())) +
                                     sum(square(adaptive ? other.b * other.b.grad() : other.b.grad())))
                                        .item());
    Tensor const w = other.w.detach().clone(), b = other.b.detach().clone();
    auto const away = [&](Tensor const& p, Tensor const& g) {
      return p + (adaptive ? square(p) * g : g) * (0.3 / length);
    };
    Tensor const far_w = away(w, other.w.grad()), far_b = away(b, other.b.grad());
    other.w.set_grad(far_w);
    other.b.set_grad(-sin(far_b));
    sgd->step();
    CHECK(largest_difference(toy.w, other.w) < 1e-14);
    CHECK(largest_difference(toy.b, other.b) < 1e-14);
  }
  Toy const toy;
  toy.gradients(1);
  CHECK(contains(error_of([&] { make_optimizer("sam", toy.groups())->step(); }), "closure"));
  CHECK(contains(error_of([&] { make_optimizer("lbfgs", toy.groups())->step(); }), "closure"));
}

TEST_CASE("identities: Muon's step has singular values of one, all alike") {
  Generator generator(3);
  for (Shape const& shape : {Shape{6, 4}, Shape{4, 6}, Shape{5, 5}}) {
    Tensor const x = randn(shape, Dtype::f64, generator);
    Tensor const exact = polar_factor(x, 0), near = polar_factor(x, 5);
    CHECK(largest_difference(svdvals(exact), ones({std::min(shape[0], shape[1])}, Dtype::f64)) < 1e-13);
    CHECK(largest_difference(svdvals(near), ones({std::min(shape[0], shape[1])}, Dtype::f64)) < 0.4);
    CHECK(largest_difference(polar_factor(exact, 0), exact) < 1e-13);
  }
  Toy const toy;
  Tensor const before = toy.w.detach().clone();
  toy.gradients(0);
  make_optimizer("muon:iterations=0,scale=original", toy.groups(), 0.01)->step();
  double const scale = std::sqrt(7. / 5);
  CHECK(largest_difference(svdvals((before - toy.w.detach()) * (100 / scale)), ones({5}, Dtype::f64)) < 1e-12);
  // The vector, tables and heads are AdamW's.
  CHECK(apart("muon:beta2=0.999", "adamw") > 1e-3);
  Toy const x, y;
  auto const named = [](Toy const& t) {
    return std::vector<ParameterGroup>{{.parameters = {{"token_embedding.weight", t.w}, {"b", t.b}}}};
  };
  auto const muon = make_optimizer("muon:beta2=0.999", named(x), 0.01), adamw = make_optimizer("adamw", named(y), 0.01);
  x.steps(*muon, 0, 5);
  y.steps(*adamw, 0, 5);
  CHECK(same_bits(x.w, y.w));
  CHECK(same_bits(x.b, y.b));
  CHECK(contains(error_of([&] { make_optimizer("muon:scale=long", x.groups()); }), "rms or original"));
}

TEST_CASE("identities: SOAP with the axes for a basis is Adam; its steps turn with the gradients") {
  CHECK(apart("soap:every=0", "adamw:beta1=0.95,beta2=0.95", 0.1) < 1e-15);
  CHECK(apart("soap:largest=4", "adamw:beta1=0.95,beta2=0.95", 0.1) < 1e-15);
  CHECK(apart("soap", "adamw:beta1=0.95,beta2=0.95", 0.1) > 1e-4);
  // θ and g turned by orthogonal U, V: the steps after the first basis are turned likewise.
  Generator generator(8);
  Tensor const u = qr(randn({5, 5}, Dtype::f64, generator)).q, v = qr(randn({5, 5}, Dtype::f64, generator)).q;
  Toy const x(Dtype::f64, 5, {5, 5}), y(Dtype::f64, 5, {5, 5});
  Tensor steps[2];
  for (bool const turned : {false, true}) {
    Toy const& toy = turned ? y : x;
    auto const soap = make_optimizer("soap:every=1,beta2=0,beta1=0,eps=0", toy.groups(), 0.01);
    for (uint64_t step = 0; step < 2; ++step) {
      toy.gradients(step);
      if (turned) toy.w.set_grad(matmul(u, matmul(toy.w.grad(), v)));
      Tensor const before = toy.w.detach().clone();
      soap->step();
      steps[turned] = before - toy.w.detach();
    }
  }
  CHECK(largest_difference(matmul(u, matmul(steps[0], v)), steps[1]) < 1e-9);
}

TEST_CASE("identities: Schedule-Free with β = 0 is its z, the mean of whose steps is judged") {
  Toy const toy;
  auto const optimizer = make_optimizer("schedule-free:beta1=0", toy.groups(), 0.01);
  CHECK(apart("schedule-free:beta1=0", "adam:beta1=0") < 1e-14);
  Tensor sum = zeros(toy.w.shape(), Dtype::f64);
  for (int step = 0; step < 5; ++step) {
    toy.steps(*optimizer, step, step + 1);
    sum = sum + toy.w.detach();
  }
  Tensor const trained = toy.w.detach().clone();
  optimizer->evaluating(true);
  optimizer->evaluating(true);
  CHECK(largest_difference(toy.w, sum / 5.) < 1e-15);  // equal rates: the mean of z
  optimizer->evaluating(false);
  CHECK(same_bits(toy.w, trained));
  optimizer->evaluating(true);
  toy.steps(*optimizer, 5, 6);  // a step goes on from the trained weights
  CHECK(largest_difference(toy.w, trained) < 0.05);
}

TEST_CASE("identities: one second moment a row, or a tensor") {
  // Rows of equal squares: Adam-mini is AdamW.
  Toy const x, y;
  auto const mini = make_optimizer("adam-mini", x.groups(), 0.01), whole = make_optimizer("adamw", y.groups(), 0.01);
  for (int step = 0; step < 5; ++step) {
    for (Toy const* toy : {&x, &y}) {
      toy->gradients(uint64_t(step));
      toy->w.set_grad(sign(toy->w.grad()) * 0.3);
      toy->b.set_grad(sign(toy->b.grad()) * 2.);
    }
    mini->step();
    whole->step();
  }
  CHECK(largest_difference(x.w, y.w) < 1e-15);
  CHECK(largest_difference(x.b, y.b) < 1e-15);
  // NovoGrad's first step is as long as the rate, whatever the gradient's scale.
  Toy const toy;
  Tensor const before = toy.w.detach().clone();
  toy.gradients(3);
  make_optimizer("novograd:eps=0", toy.groups(), 0.01)->step(77);
  CHECK(norm(toy.w.detach() - before).item() == doctest::Approx(0.01).epsilon(1e-12));
}

TEST_CASE("identities: L-BFGS solves a quadratic in as many directions as it has dimensions, and more") {
  Generator generator(2);
  Tensor const root = randn({6, 6}, Dtype::f64, generator), a = matmul(root, root.t()) + eye(6, 6, Dtype::f64);
  Tensor x = randn({6}, Dtype::f64, generator).requires_grad_();
  for (char const* text : {"lbfgs:iterations=40", "lbfgs:iterations=1"}) {
    auto const optimizer = make_optimizer(text, {{.parameters = {{"x", x}}}});
    for (int step = 0; step < 40; ++step)
      optimizer->step([&] {
        optimizer->zero_grad();
        Tensor const loss = dot(x, matmul(a, x)) * 0.5;
        loss.backward();
        return Evaluation{loss.item()};
      });
    CHECK(norm(x.detach()).item() < 1e-4);
    NoGrad const off;
    x.copy_(ones({6}, Dtype::f64));
  }
}

TEST_CASE("kernels of AdamW and SGD are their formulas") {
  test::on_every_isa([](Isa) {
    for (Dtype const dtype : {Dtype::f32, Dtype::f64}) {
      // A fourth state keeps the formula from the kernel: AMSGrad of growing gradients is Adam.
      Toy const x(dtype), y(dtype);
      auto const a = make_optimizer("adam", x.groups(), 0.01), b = make_optimizer("amsgrad", y.groups(), 0.01);
      for (int step = 1; step < 6; ++step) {
        x.gradients(1), y.gradients(1);
        a->step(std::pow(2, step));
        b->step(std::pow(2, step));
      }
      CHECK(largest_difference(x.w, y.w) < (dtype == Dtype::f64 ? 1e-15 : 1e-6));
    }
  });
}
