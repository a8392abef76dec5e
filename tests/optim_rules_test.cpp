// Every optimiser of the catalogue: PyTorch's steps, the identities of the literature, states that save and load in the
// same bits, settings out of range.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/safetensors.h>
#include <heed/engine/parallel.h>
#include <heed/nn/nn.h>
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

TEST_CASE("identities: FTRL without its penalties is Adagrad; with L1 weights are exactly 0") {
  CHECK(apart("ftrl", "adagrad:eps=1", 0.1, 0.3) < 1e-13);
  CHECK(apart("ftrl:l2=1", "adagrad:eps=1", 0, 0.3) > 1e-3);
  {  // a rate that changes
    Toy const x, y;
    auto const a = make_optimizer("ftrl", x.groups(), 0.3), b = make_optimizer("adagrad:eps=1", y.groups(), 0.3);
    for (int step = 0; step < 6; ++step) {
      for (auto const* optimizer : {&a, &b}) (*optimizer)->set_learning_rate(0.3 / (1 + step));
      x.steps(*a, step, step + 1);
      y.steps(*b, step, step + 1);
    }
    CHECK(largest_difference(x.w, y.w) < 1e-13);
  }
  // The solution of the sums: 0 where |z| <= l1.
  Toy const toy;
  auto const ftrl = make_optimizer("ftrl:l1=3,l2=0.5", toy.groups(), 0.5);
  toy.steps(*ftrl, 0, 10);
  std::map<std::string, Tensor> state;
  for (auto const& [name, tensor] : ftrl->state()) state[name] = tensor;
  Tensor const z = state["z.w"], h = (sqrt(state["sum.w"]) + 1.) / 0.5;
  CHECK(largest_difference(toy.w, -sign(z) * clamp_min(abs(z) - 3., 0.) / (h + 0.5)) < 1e-13);
  CHECK(any((toy.w.detach() == 0.)).item<bool>());
  CHECK(!all((toy.w.detach() == 0.)).item<bool>());
}

TEST_CASE("identities: Prodigy and D-Adaptation are their formulas; the distance grows to what was right") {
  for (bool const prodigy : {true, false}) {
    CAPTURE(prodigy);
    double const beta1 = 0.9, beta2 = 0.99, beta3 = std::sqrt(beta2), eps = 1e-8, decay = 0.1, rate = 0.7, scale = 0.5;
    Toy const toy;
    auto const optimizer =
        make_optimizer(prodigy ? "prodigy:beta2=0.99,first=0.01" : "d-adaptation:beta2=0.99,first=0.01",
                       {{.parameters = {{"w", toy.w}, {"b", toy.b}}, .weight_decay = decay}}, rate);
    NoGrad const off;
    struct Twin {
      Tensor x, x0, m, v, s;
    };
    std::vector<Twin> twins;
    for (Tensor const& p : {toy.w, toy.b}) {
      Tensor const zero = zeros(p.shape(), Dtype::f64), x = p.detach().clone();
      twins.push_back({x, x, zero, zero, zero});
    }
    double d = 0.01, r = 0;
    for (uint64_t step = 0; step < 12; ++step) {
      toy.gradients(step % 3);  // that agree, so that the distance is seen
      std::vector<Tensor> const g{toy.w.grad() * scale, toy.b.grad() * scale};
      optimizer->step(scale);
      double length = 0, before = d;
      r *= beta3;
      for (size_t i = 0; i < 2; ++i) {
        auto& [x, x0, m, v, s] = twins[i];
        if (prodigy) {
          r += (1 - beta3) * rate * d * d * sum(g[i] * (x0 - x)).item();
          m = m * beta1 + g[i] * ((1 - beta1) * d);
          v = v * beta2 + square(g[i]) * ((1 - beta2) * d * d);
          s = s * beta3 + g[i] * ((1 - beta3) * rate * d * d);
          x = x * (1 - rate * d * decay) - m / (sqrt(v) + d * eps) * (rate * d);
        } else {
          v = v * beta2 + square(g[i]) * (1 - beta2);
          r += (1 - beta3) * rate * d * sum(g[i] * s / (sqrt(v) + eps)).item();
          s = s * beta3 + g[i] * ((1 - beta3) * rate * d);
          m = m * beta1 + g[i] * ((1 - beta1) * rate * d);
          x = x * (1 - rate * d * decay) - m / (sqrt(v) + eps);
        }
        length += sum(abs(s)).item();
      }
      d = std::max(d, r / length / (prodigy ? 1 : 1 - beta3));
      CHECK(d >= before);
      CHECK(largest_difference(toy.w, twins[0].x) < 1e-12);
      CHECK(largest_difference(toy.b, twins[1].x) < 1e-12);
    }
    CHECK(d > 0.011);
    // |x| to x = 3 from 0: the distance comes near to 3, from whatever guess, and never beyond.
    for (double const first : {1e-6, 1e-3}) {
      Tensor x = zeros({1}, Dtype::f64).requires_grad_();
      auto const learns = make_optimizer(fmt::format("{}:first={}", prodigy ? "prodigy" : "d-adaptation", first),
                                         {{.parameters = {{"x", x}}}});
      for (int i = 0; i < 400; ++i) {
        x.set_grad(sign(x.detach() - 3.));
        learns->step();
      }
      double const found = learns->state().back().tensor.data<double>()[0];
      // D-Adaptation's bound is one for an Adam whose mean square is corrected for its start.
      CHECK_MESSAGE((found > 0.3 && found < (prodigy ? 3.5 : 10)), first, " ", found);
      CHECK(std::abs(x.item() - 3) < 3);
    }
  }
}

TEST_CASE("identities: Sophia finds the diagonal of a quadratic, and steps by it within the rate") {
  Tensor const a = linspace(0.5, 4, 35, Dtype::f64).reshape({7, 5});
  Toy const toy;
  std::vector<ParameterGroup> groups{{.parameters = {{"w", toy.w}}, .weight_decay = 0.1}};
  auto const sophia = make_optimizer("sophia:beta1=0.9,beta2=0.5,gamma=0.8,every=3", std::move(groups), 0.2);
  Tensor x = toy.w.detach().clone(), m = zeros({7, 5}, Dtype::f64), h = m;
  int evaluations = 0;
  for (int step = 0; step < 7; ++step) {
    sophia->step([&] {
      ++evaluations;
      toy.w.set_grad(toy.w.detach() * a);
      return Evaluation{1};
    });
    NoGrad const off;
    if (step % 3 == 0) h = h * 0.5 + a * 0.5;
    m = m * 0.9 + x * a * 0.1;
    x = x * (1 - 0.2 * 0.1) - clamp(m / (h * 0.8), -1, 1) * 0.2;
    CHECK(largest_difference(toy.w, x) < 1e-11);
  }
  CHECK(evaluations == 7 + 3);
  Toy const other;
  other.gradients(1);
  CHECK(contains(error_of([&] { make_optimizer("sophia", other.groups())->step(); }), "closure"));
  CHECK(contains(error_of([&] { make_optimizer("sophia:every=0", other.groups()); }), "every"));
}

TEST_CASE("identities: Shampoo's first step is the polar factor; as long as Adam's; of vectors it is AdamW") {
  for (Shape const& shape : {Shape{7, 5}, Shape{5, 7}, Shape{6, 6}, Shape{4, 3, 2}}) {
    Toy const toy(Dtype::f64, 5, shape);
    Tensor const before = toy.w.detach().clone();
    toy.gradients(0);
    make_optimizer("shampoo:graft=false,root_eps=0", toy.groups(), 0.1)->step();
    Tensor const step = (before - toy.w.detach()).reshape({shape[0], -1}) * 10.;
    CHECK(largest_difference(step, polar_factor(toy.w.grad().reshape({shape[0], -1}), 0)) < 1e-6);
    // Grafted: the first step of Adam is the sign of the gradient.
    Toy const longer(Dtype::f64, 5, shape);
    longer.gradients(0);
    make_optimizer("shampoo:eps=0,root_eps=0", longer.groups(), 0.1)->step();
    CHECK(largest_difference((before - longer.w.detach()) * (10 / std::sqrt(double(before.numel()))),
                             step.reshape(shape) / norm(step)) < 1e-6);
  }
  // One long side: L^(−½)·g alone, which is the polar factor too.
  Toy const toy;
  Tensor const before = toy.w.detach().clone();
  toy.gradients(0);
  make_optimizer("shampoo:graft=false,root_eps=0,largest=5", toy.groups(), 0.1)->step();
  CHECK(largest_difference((before - toy.w.detach()) * 10., polar_factor(toy.w.grad(), 0)) < 1e-6);
  CHECK(apart("shampoo:largest=4", "adamw:beta2=0.99", 0.1) == 0);
  CHECK(contains(error_of([&] { make_optimizer("shampoo:every=0", toy.groups()); }), "every"));
  // Later steps: the moving means, by their eigenvalues.
  Toy const many;
  auto const shampoo = make_optimizer("shampoo:every=1,graft=false,root_eps=0,beta1=0,beta3=0.5", many.groups(), 0.1);
  Tensor l = zeros({7, 7}, Dtype::f64), r = zeros({5, 5}, Dtype::f64);
  for (int step = 1; step < 5; ++step) {
    Tensor const was = many.w.detach().clone();
    many.steps(*shampoo, step, step + 1);
    NoGrad const off;
    Tensor const g = many.w.grad();
    l = l * 0.5 + matmul(g, g.t()) * 0.5, r = r * 0.5 + matmul(g.t(), g) * 0.5;
    auto const root = [&](Tensor const& x) {
      auto const [values, vectors] = eigh(x * (1 / (1 - std::pow(0.5, step))));
      return matmul(vectors * pow(clamp_min(values, 1e-30), -0.25), vectors.t());
    };
    CHECK(largest_difference((was - many.w.detach()) * 10., matmul(root(l), matmul(g, root(r)))) < 1e-7);
  }
}

TEST_CASE(
    "identities: PSGD-Kron whitens: a weight alone steps by the sign, a matrix of any scale by its inverse roots") {
  // One weight: P·|g| = 1.
  Tensor x = zeros({1}, Dtype::f64).requires_grad_();
  auto const one = make_optimizer("psgd-kron:beta1=0,first=400", {{.parameters = {{"x", x}}}}, 1);
  double total = 0;
  for (int i = 0; i < 400; ++i) {
    double const before = x.item();
    x.set_grad(full({1}, 7., Dtype::f64));
    one->step();
    if (i >= 200) total += (before - x.item()) / 200;
  }
  CHECK(std::abs(total - 1) < 1e-3);
  // G = S·Z with Z ~ N(0, 1): QᵀQ is the inverse root of S·Sᵀ, and makes of G what has rows of equal size, at a right
  // angle.
  Generator generator(6);
  Tensor const s = matmul(randn({6, 6}, Dtype::f64, generator), eye(6, 6, Dtype::f64)) + eye(6, 6, Dtype::f64) * 2.;
  Tensor w = zeros({6, 8}, Dtype::f64).requires_grad_();
  auto const kron = make_optimizer("psgd-kron:beta1=0,first=3000,step=0.02", {{.parameters = {{"w", w}}}}, 0.01);
  for (int i = 0; i < 3000; ++i) {
    w.set_grad(matmul(s, randn({6, 8}, Dtype::f64, generator)));
    kron->step();
  }
  std::map<std::string, Tensor> state;
  for (auto const& [name, tensor] : kron->state()) state[name] = tensor;
  Tensor const q = state["rows.w"];
  CHECK(largest_difference(q, triu(q)) == 0);
  Tensor white = matmul(q.t(), matmul(q, s));
  white = matmul(white, white.t());
  white = white / mean(diagonal(white));
  CHECK(largest_difference(white, eye(6, 6, Dtype::f64)) < 0.35);
  Tensor const plain = matmul(s, s.t());
  CHECK(largest_difference(plain / mean(diagonal(plain)), eye(6, 6, Dtype::f64)) > 0.6);
  // The scale of gradients does not matter, nor which side is long.
  Toy const a, b;
  auto const first = make_optimizer("psgd-kron:largest=5", a.groups(), 0.01),
             second = make_optimizer("psgd-kron:largest=5", b.groups(), 0.01);
  for (uint64_t step = 0; step < 5; ++step) {
    a.gradients(step), b.gradients(step);
    first->step();
    second->step(1000);
  }
  CHECK(largest_difference(a.w, b.w) < 1e-12);
  CHECK(largest_difference(a.b, b.b) < 1e-12);
  CHECK(contains(error_of([&] { make_optimizer("psgd-kron:every=0", a.groups()); }), "every"));
}

TEST_CASE("identities: GaLore is Adam in the gradient's leading directions, and AdamW where all are taken") {
  CHECK(apart("galore:rank=5", "adamw", 0.1) == 0);
  for (Shape const& shape : {Shape{4, 6}, Shape{6, 4}}) {
    Toy const toy(Dtype::f64, 5, shape);
    auto const galore = make_optimizer("galore:rank=2,every=3,scale=0.5", toy.groups(), 0.1);
    Tensor x = toy.w.detach().clone(), m = zeros({2, 6}, Dtype::f64), v = m, basis;
    for (int step = 0; step < 7; ++step) {
      toy.steps(*galore, step, step + 1);
      NoGrad const off;
      Tensor const g = shape[0] > shape[1] ? toy.w.grad().t() : toy.w.grad();
      if (step % 3 == 0) {
        Tensor const u = svd(g, false).u;  // of any sign and order: the step is the same, if moments begin anew
        basis = flip(u.slice(1, 0, 2), {1});
        for (auto const& [name, tensor] : galore->state())
          if (name == "directions.w") {
            CHECK(largest_difference(matmul(tensor, tensor.t()), matmul(basis, basis.t())) < 1e-12);
            basis = tensor.clone();
          }
      }
      Tensor const low = matmul(basis.t(), g);
      m = m * 0.9 + low * 0.1, v = v * 0.999 + square(low) * 0.001;
      Tensor const step_of =
          matmul(basis, m / (1 - std::pow(0.9, step + 1)) / (sqrt(v / (1 - std::pow(0.999, step + 1))) + 1e-8));
      x = x - (shape[0] > shape[1] ? step_of.t() : step_of) * 0.05;
      CHECK(largest_difference(toy.w, x) < 1e-12);
    }
  }
  Toy const toy;
  CHECK(contains(error_of([&] { make_optimizer("galore:rank=0", toy.groups()); }), "rank"));
}

TEST_CASE("identities: cautious decay decays where the step goes towards 0 alone") {
  CHECK(apart("cautious-decay+adamw", "adamw", 0) == 0);
  Toy const x, y;
  auto const plain = make_optimizer("adamw", y.groups(), 0.1),
             decays = make_optimizer("cautious-decay", x.groups(0.5), 0.1);
  Tensor const old = x.w.detach().clone();
  x.gradients(1), y.gradients(1);
  plain->step(), decays->step();
  NoGrad const off;
  Tensor const step = y.w - old;
  CHECK(largest_difference(x.w, where(step * old <= 0., y.w - old * 0.05, y.w)) < 1e-15);
  CHECK(apart("cautious-decay", "adamw", 0.1) > 1e-4);
  CHECK(apart("cautious-decay+adam", "cautious-decay+adamw", 0.1) < 1e-15);
}

TEST_CASE("identities: GSAM takes off what the gradient has at a right angle to the one far off") {
  Toy const toy, far;
  auto const gsam = make_optimizer("sam:radius=0.3,gap=0.4+sgd", toy.groups(), 0.1);
  std::vector<std::pair<Tensor, Tensor>> seen;
  gsam->step([&] {
    auto const now = toy.loss();
    seen.emplace_back(toy.w.grad(), toy.b.grad());
    return now;
  });
  REQUIRE(seen.size() == 2);
  NoGrad const off;
  auto const dot = [&](auto const& a, auto const& b) {
    return (sum(a.first * b.first) + sum(a.second * b.second)).item();
  };
  double const along = dot(seen[0], seen[1]) / dot(seen[1], seen[1]);
  Tensor const aside = seen[0].first - seen[1].first * along;
  CHECK(largest_difference(toy.w, far.w - (seen[1].first - aside * 0.4) * 0.1) < 1e-14);
  CHECK(apart("sam:radius=0.1,gap=0+sgd", "sam:radius=0.1+sgd") == 0);
}

TEST_CASE("µP: changes of the outputs after some steps do not grow with the width") {
  // The coordinate check: AdamW at one rate, widths of 16 and 128.
  auto const change = [](bool scaled, int64_t dim) {
    seed(2);
    nn::GPT model({.vocabulary = 11,
                   .layers = 2,
                   .heads = dim / 8,
                   .dim = dim,
                   .block = 8,
                   .tied = false,
                   .init = scaled ? "mup:base=16" : "gpt-residual"});
    auto const optimizer = make_optimizer("adamw", scaled ? mup_groups(model, 16) : all_parameters(model), 0.01);
    Tensor const tokens = randint(0, 11, {8, 8}), targets = randint(0, 11, {8, 8}), first = model(tokens).detach();
    for (int step = 0; step < 4; ++step) {
      optimizer->zero_grad();
      cross_entropy(model(tokens), targets).backward();
      optimizer->step();
    }
    return (norm(model(tokens).detach() - first) / std::sqrt(double(first.numel()))).item();
  };
  CHECK(change(true, 128) / change(true, 16) < 1.6);
  CHECK(change(false, 128) / change(false, 16) > 2);
  struct Plain : nn::Module {
    Tensor w = ones({2, 2}).requires_grad_();
    void visit(nn::Visitor& v) override { v.parameter("w", w); }
  } plain;
  CHECK(contains(error_of([&] { mup_groups(plain, 16); }), "token_embedding"));
}

TEST_CASE("rules with kernels of their own step as their formulas do") {
  std::pair<char const*, char const*> const twins[] = {
      {"adamw", "ademamix:mix=0"},  // by its formula
      {"sgd:momentum=0", "asgd:lambd=0"},
      {"adagrad:eps=1", "ftrl"},
      {"adam", "amsgrad"},  // of gradients that grow
  };
  test::on_every_isa([&](Isa) {
    for (auto const& [kernel, formula] : twins)
      for (Dtype const dtype : {Dtype::f32, Dtype::f64}) {
        CAPTURE(kernel);
        Toy const x(dtype), y(dtype);
        auto const a = make_optimizer(kernel, x.groups(0.1), 0.01), b = make_optimizer(formula, y.groups(0.1), 0.01);
        for (int step = 1; step < 6; ++step) {
          x.gradients(1), y.gradients(1);
          a->step(std::pow(2, step));
          b->step(std::pow(2, step));
        }
        CHECK(largest_difference(x.w, y.w) < (dtype == Dtype::f64 ? 1e-13 : 2e-6));
      }
  });
}
