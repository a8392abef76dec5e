// Regularisers that act on gradients and on optimisation, SAM and its kin in the training loop, accumulation.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/nn/regularize/regularizers.h>
#include <heed/nn/regularize/snapshots.h>
#include <heed/optim/gradient_surgery.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <cmath>

using namespace heed;
using namespace heed::optim;

namespace {

using test::error_of;
using test::same_bits;

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

double largest_difference(Tensor const& a, Tensor const& b) { return max(abs(a.detach() - b.detach())).item(); }

struct Toy : nn::Module {
  Tensor w, b;
  explicit Toy(uint64_t key = 5) {
    Generator generator(key);
    w = randn({6, 4}, Dtype::f64, generator).requires_grad_();
    b = randn({9}, Dtype::f64, generator).requires_grad_();
  }
  void visit(nn::Visitor& v) override {
    v.parameter("w", w);
    v.parameter("b", b);
  }
  void gradients(uint64_t step, double scale = 1) {
    Generator generator(100 + step);
    w.set_grad(randn({6, 4}, Dtype::f64, generator) * scale);
    b.set_grad(randn({9}, Dtype::f64, generator) * scale);
  }
};

/// The gradients after a regulariser of that text.
std::pair<Tensor, Tensor> changed(std::string_view text, double scale = 1) {
  Toy toy;
  auto const made = nn::make_regularizers(text);
  for (auto const& r : made) r->begin(toy);
  toy.gradients(1, scale);
  for (auto const& r : made) r->gradients(nn::named_parameters(toy));
  return {toy.w.grad(), toy.b.grad()};
}

double whole_norm(std::pair<Tensor, Tensor> const& g) {
  return std::sqrt((sum(square(g.first)) + sum(square(g.second))).item());
}

}  // namespace

TEST_CASE("gradients: norms, values and rows are bounded; what is within keeps its bits") {
  auto const plain = changed("clip-norm:limit=1e9");
  CHECK(whole_norm(changed("clip-norm:limit=0.5")) == doctest::Approx(0.5).epsilon(1e-12));
  auto const half = changed("clip-norm:limit=0.5");
  CHECK(largest_difference(half.first * (whole_norm(plain) / 0.5), plain.first) < 1e-14);
  for (char const* text : {"clip-norm:limit=1e9", "clip-value:limit=1e9", "agc:share=1e9", "gradient-noise:variance=0",
                           "gradient-centralization:pattern=none"})
    CHECK_MESSAGE((same_bits(changed(text).first, plain.first) && same_bits(changed(text).second, plain.second)), text);
  auto const values = changed("clip-value:limit=0.25");
  CHECK(max(abs(values.first)).item() == 0.25);
  CHECK(largest_difference(values.second, clamp(plain.second, -0.25, 0.25)) == 0);

  Toy const toy;
  NoGrad const off;
  auto const rows = changed("agc:share=0.1", 100);
  CHECK(largest_difference(vector_norm(rows.first, 2, {1}), vector_norm(toy.w, 2, {1}) * 0.1) < 1e-14);
  CHECK(norm(rows.second).item() == doctest::Approx(0.1 * norm(toy.b).item()).epsilon(1e-12));
  auto const centred = changed("gradient-centralization");
  CHECK(max(abs(mean(centred.first, {1}))).item() < 1e-15);
  CHECK(same_bits(centred.second, plain.second));
  CHECK(largest_difference(centred.first, plain.first - mean(plain.first, {1}, true)) == 0);
  auto const across = changed("ortho-grad");
  CHECK(std::abs(sum(across.first * toy.w).item()) < 1e-13);
  CHECK(norm(across.first).item() == doctest::Approx(norm(plain.first).item()).epsilon(1e-12));
  Tensor const without = plain.first - toy.w * (sum(toy.w * plain.first) / sum(square(toy.w)));
  CHECK(largest_difference(across.first / norm(across.first), without / norm(without)) < 1e-14);
  CHECK(same_bits(across.second, plain.second));
  CHECK(same_bits(changed("ortho-grad:pattern=none").first, plain.first));
}

TEST_CASE("gradients: noise has the variance that its formula says, and goes on where it stopped") {
  struct Large : nn::Module {
    Tensor w = zeros({400, 50}).requires_grad_();
    void visit(nn::Visitor& v) override { v.parameter("w", w); }
  } model;
  auto const made = nn::make_regularizers("gradient-noise:variance=0.04,fade=0.5");
  seed(3);
  for (int step = 0; step < 4; ++step) {
    model.w.set_grad(zeros({400, 50}));
    made[0]->gradients(nn::named_parameters(model));
    double const n = 20000, v = 0.04 / std::sqrt(1. + step), found = mean(square(model.w.grad())).item();
    CHECK(std::abs(found - v) < 5 * v * std::sqrt(2 / n));
    CHECK(std::abs(mean(model.w.grad()).item()) < 5 * std::sqrt(v / n));
    made[0]->stepped(model, step + 1);
  }
  CHECK(made[0]->state().at(0).tensor.item() == 4);
}

namespace {

/// Steps of SGD with gradients of their own.
void train(Toy& toy, nn::Regularizer& regularizer, Optimizer& optimizer, int64_t from, int64_t to) {
  for (int64_t step = from; step < to; ++step) {
    toy.gradients(uint64_t(step));
    regularizer.gradients(nn::named_parameters(toy));
    optimizer.step();
    regularizer.stepped(toy, step + 1);
  }
}

}  // namespace

TEST_CASE("averages: their formulas, shown to evaluations alone") {
  struct Case {
    char const* text;
    std::function<Tensor(std::vector<Tensor> const&)> expected;  // of the weights after steps 1, 2, …
  };
  std::vector<Case> const cases{
      {"ema:decay=0", [](auto const& w) { return w.back(); }},
      {"swa:start=4,every=3", [](auto const& w) { return (w[3] + w[6] + w[9]) / 3.; }},
      {"swa", [](auto const& w) { return mean(stack(w), {0}); }},
      {"ema:decay=0.3",
       [](auto const& w) {
         Tensor a = Toy().w.detach();
         for (size_t t = 0; t < w.size(); ++t) {
           double const d = std::min(0.3, double(1 + t) / double(10 + t));
           a = a * d + w[t] * (1 - d);
         }
         return a;
       }},
  };
  for (Case const& c : cases) {
    CAPTURE(c.text);
    Toy toy;
    auto const made = nn::make_regularizers(c.text);
    made[0]->begin(toy);
    made[0]->evaluating(toy, true);  // nothing is averaged yet
    CHECK(same_bits(toy.w, Toy().w));
    made[0]->evaluating(toy, false);
    SGD sgd(all_parameters(toy), {.learning_rate = 0.1});
    std::vector<Tensor> seen;
    for (int64_t step = 0; step < 11; ++step) {
      train(toy, *made[0], sgd, step, step + 1);
      seen.push_back(toy.w.detach().clone());
    }
    for (int time = 0; time < 2; ++time) {
      made[0]->evaluating(toy, true);
      CHECK(largest_difference(toy.w, c.expected(seen)) < 1e-14);
      made[0]->evaluating(toy, false);
      CHECK(same_bits(toy.w, seen.back()));
    }
  }
}

TEST_CASE("lookahead: α = 1 changes nothing, else it is the optimiser's") {
  auto const run = [](char const* regularizer, char const* rule) {
    Toy toy;
    nn::Regularizers made(nn::make_regularizers(regularizer));
    made.begin(toy);
    auto const optimizer = make_optimizer(rule, all_parameters(toy), 0.1);
    train(toy, made, *optimizer, 0, 12);
    return toy.w.detach().clone();
  };
  CHECK(same_bits(run("lookahead:share=1", "adamw"), run("", "adamw")));
  CHECK(same_bits(run("lookahead:k=3,share=0.4", "adamw"), run("", "lookahead:k=3,share=0.4+adamw")));
}

TEST_CASE("regularisers of optimisation go on with the same bits, also from a file that shows averages") {
  for (char const* text : {"ema:decay=0.8", "swa:start=3", "lookahead:k=4", "gradient-noise", "ema+lookahead"}) {
    CAPTURE(text);
    nn::Regularizers whole(nn::make_regularizers(text)), half(nn::make_regularizers(text)),
        rest(nn::make_regularizers(text));
    Toy a, b, c(9);
    whole.begin(a), half.begin(b), rest.begin(c);
    SGD sa(all_parameters(a), {.learning_rate = 0.1}), sb(all_parameters(b), {.learning_rate = 0.1}),
        sc(all_parameters(c), {.learning_rate = 0.1});
    seed(4);
    train(a, whole, sa, 0, 10);
    seed(4);
    train(b, half, sb, 0, 6);
    half.evaluating(b, true);
    NoGrad const off;
    c.w.copy_(b.w), c.b.copy_(b.b);
    auto const from = half.state(), to = rest.state();
    REQUIRE(from.size() == to.size());
    for (size_t i = 0; i < from.size(); ++i) Tensor(to[i].tensor).copy_(from[i].tensor);
    rest.evaluating(c, false);
    train(c, rest, sc, 6, 10);
    CHECK(same_bits(a.w, c.w));
    whole.evaluating(a, true), rest.evaluating(c, true);
    CHECK(same_bits(a.w, c.w));
    CHECK(same_bits(a.b, c.b));
  }
}

TEST_CASE("snapshots: none or one of now is the model, of several the mean of what they believe") {
  auto const config = nn::GPTConfig{.vocabulary = 7, .layers = 1, .heads = 2, .dim = 16, .block = 12};
  nn::GPT model((seed(3), config)), twin((seed(3), config));
  Tensor const tokens = tensor(std::vector<int64_t>{1, 4, 2, 6, 0, 3}, {2, 3});
  auto const believed = [&] {
    NoGrad const off;
    return softmax(model(tokens));
  };
  nn::Regularizers r(nn::make_regularizers("snapshots:every=3,keep=2"));
  r.begin(model);
  nn::eval(model);
  Tensor const first = believed();
  r.evaluating(model, true);
  CHECK(same_bits(believed(), first));
  r.evaluating(model, false);
  std::vector<Tensor> seen;
  for (int64_t step = 1; step <= 10; ++step) {
    NoGrad const off;
    for (Tensor p : nn::parameters(model)) p.copy_(p + 0.3 * randn(p.shape()));
    r.stepped(model, step);
    if (step % 3 == 0) seen.push_back(believed());
    if (step == 3) {
      r.evaluating(model, true);
      CHECK(largest_difference(believed(), seen[0]) < 1e-6);
      r.evaluating(model, false);
    }
  }
  Tensor const now = believed(), weights = model.head.weight.detach().clone();
  r.evaluating(model, true);
  Tensor const mixed = believed();
  CHECK(largest_difference(mixed, (seen[1] + seen[2]) / 2.) < 1e-6);
  CHECK(same_bits(model.head.weight, weights));
  r.evaluating(model, false);
  CHECK(same_bits(believed(), now));
  // From its state another model believes the same.
  nn::Regularizers again(nn::make_regularizers("snapshots:every=3,keep=2"));
  again.begin(twin);
  nn::eval(twin);
  auto const from = r.state(), to = again.state();
  REQUIRE(from.size() == to.size());
  NoGrad const off;
  for (size_t i = 0; i < from.size(); ++i) Tensor(to[i].tensor).copy_(from[i].tensor);
  again.evaluating(twin, true);
  CHECK(same_bits(softmax(twin(tokens)), mixed));
  Toy toy;
  CHECK(contains(error_of([&] { nn::make_regularizers("snapshots")[0]->begin(toy); }), "no GPT"));
  CHECK(contains(error_of([] { nn::make_regularizers("snapshots:keep=0"); }), "or more"));
}

TEST_CASE("gradient surgery: losses that agree add up, what goes against another is taken out") {
  Tensor a = tensor(std::vector<double>{0.5, -1, 2}, {3}), b = tensor(std::vector<double>{1, 3}, {2}),
         idle = zeros({2});
  for (Tensor* t : {&a, &b, &idle}) t->requires_grad_();
  std::vector<ParameterGroup> const groups{{.parameters = {{"a", a}, {"b", b}, {"idle", idle}}}};
  auto const along = [&](std::vector<double> const& of_a, std::vector<double> const& of_b) {
    return sum(a * tensor(of_a, {3})) + sum(b * tensor(of_b, {2}));
  };
  auto const operated = [&](std::vector<Tensor> const& losses, uint64_t key = 1) {
    Generator generator(key);
    set_surgical_gradients(losses, groups, generator);
    CHECK(!idle.grad().defined());
    return cat({a.grad(), b.grad()});
  };
  auto const five = [](std::vector<double> const& x) { return tensor(x, {5}); };
  // Alone, and with one that agrees or stands across.
  CHECK(same_bits(operated({along({1, 2, 3}, {4, 5})}), five({1, 2, 3, 4, 5})));
  CHECK(largest_difference(operated({along({1, 2, 0}, {4, 0}), along({2, 1, 1}, {0, 1})}), five({3, 3, 1, 4, 1})) == 0);
  // Two that conflict: g1·g2 = -4, |g1|² = 8, |g2|² = 5.
  Tensor const g1 = five({2, 0, 0, 2, 0}), g2 = five({-2, 0, 0, 0, 1});
  Tensor const both = operated({along({2, 0, 0}, {2, 0}), along({-2, 0, 0}, {0, 1})});
  CHECK(largest_difference(both, (g1 + g2 * 0.8) + (g2 + g1 * 0.5)) < 1e-15);
  CHECK(sum(both * g1).item() >= 0);
  CHECK(sum(both * g2).item() >= 0);
  // Opposite ones cancel; a loss that depends on some of the parameters alone; one graph for several losses.
  CHECK(max(abs(operated({along({1, 0, 0}, {1, 0}), along({-1, 0, 0}, {-1, 0})}))).item() == 0);
  Tensor const shared = a * 2.;
  CHECK(largest_difference(operated({sum(shared), sum(shared) + sum(b)}), five({4, 4, 4, 1, 1})) == 0);
  // Three: the order is drawn, and the draw repeats.
  auto const drawn = [&](uint64_t key) {
    return operated({along({1, 0, 0}, {0, 1}), along({-1, 1, 0}, {0, 0}), along({0, -1, 0}, {0, -1})}, key);
  };
  CHECK(same_bits(drawn(5), drawn(5)));
  bool differs = false;
  for (uint64_t key = 6; key < 20; ++key) differs = differs || !same_bits(drawn(key), drawn(5));
  CHECK(differs);
  CHECK(contains(error_of([&] { set_surgical_gradients({}, groups); }), "none"));
  CHECK(contains(error_of([&] { set_surgical_gradients({a * 2.}, groups); }), "scalars"));
}

TEST_CASE("regularisers of gradients and optimisation: every row stands in a test above") {
  std::vector<std::string_view> const seen{
      "clip-norm", "clip-value", "agc",       "gradient-noise", "gradient-centralization", "ortho-grad",
      "ema",       "swa",        "lookahead", "snapshots",      "gradient-penalty"};  // the last:
                                                                                      // nn_regularize_outputs_test
  for (auto const& row : nn::regularizers())
    if (row.family == "gradients" || row.family == "optimisation") {
      CHECK_MESSAGE(std::find(seen.begin(), seen.end(), row.name) != seen.end(), row.name);
      CHECK(!row.summary.empty());
      CHECK(contains(error_of([&] { nn::make_regularizers(fmt::format("{}:nonsense=1", row.name)); }), "nonsense"));
    }
}

TEST_CASE("regularisers of gradients and optimisation: settings that are none are errors") {
  for (char const* text : {"clip-norm:limit=-1", "clip-value:limit=nan", "agc:share=-1", "agc:eps=-1",
                           "gradient-noise:variance=-1", "gradient-noise:fade=-1", "ema:decay=1.5", "ema:decay=-1",
                           "swa:start=0", "swa:every=0", "lookahead:k=0", "lookahead:share=2", "lookahead:share=-1"})
    CHECK_MESSAGE(contains(error_of([&] { nn::make_regularizers(text); }), "or more"), text);
}

namespace {

struct Run {
  nn::GPT model;
  std::unique_ptr<Optimizer> optimizer;
  TokenDataset data;
  Generator draws{11};
  TrainingState state;

  static std::vector<int64_t> text() {
    std::vector<int64_t> tokens(600);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = int64_t(i * i % 7);
    return tokens;
  }
  explicit Run(std::string_view rule, double dropout = 0.2)
      : model((seed(3),
               nn::GPTConfig{.vocabulary = 7, .layers = 1, .heads = 2, .dim = 16, .block = 12, .dropout = dropout})),
        optimizer(make_optimizer(rule, decay_matrices_only(model, 0.1), 1e-2)),
        data(text(), 12, 0.2) {}

  /// The losses of the steps.
  std::vector<double> train(TrainerOptions options, int64_t batch = 4) {
    Trainer trainer(model, *optimizer, options, [&, batch] {
      Batch const b = data.random_batch(batch, draws);
      return cross_entropy(model(b.inputs), b.targets);
    });
    trainer.draw_from(draws);
    std::vector<double> losses;
    trainer.on_step([&](StepReport const& report) {
      losses.push_back(report.loss);
      return true;
    });
    trainer.run(state);
    return losses;
  }
};

}  // namespace

TEST_CASE("trainer: a rule that evaluates twice sees the same batch and the same dropout") {
  Run sam("sam:radius=0+adamw"), plain("adamw");
  seed(1);
  auto const losses = sam.train({.steps = 6});
  seed(1);
  CHECK(losses == plain.train({.steps = 6}));
  CHECK(same_bits(sam.model.head.weight, plain.model.head.weight));
  CHECK(sam.draws.offset() == plain.draws.offset());
  Run other("sam:radius=0.1+adamw");
  seed(1);
  other.train({.steps = 6});
  CHECK(!same_bits(other.model.head.weight, plain.model.head.weight));
}

TEST_CASE("trainer: every rule of the catalogue lowers the loss of a small model") {
  for (OptimizerRow const& row : optimizers()) {
    CAPTURE(row.name);
    Run run(row.name, 0);
    run.optimizer->set_learning_rate(
        std::min(row.learning_rate, row.learning_rate == 1 && row.name != "lars" ? 1. : 0.1));
    auto const losses = run.train({.steps = row.name == "lbfgs" ? 3 : 25, .clip = row.name == "lbfgs" ? 0. : 1.}, 16);
    CHECK_MESSAGE(losses.back() < losses.front(), losses.front(), " ", losses.back());
  }
}

TEST_CASE("trainer: k batches a step have the gradient of one that is k times as large") {
  Run whole("sgd", 0), parts("sgd", 0);
  auto const one = whole.train({.steps = 1, .clip = 0}, 12);
  std::vector<Tensor> batches;
  TrainerOptions const options{.steps = 1, .accumulate = 3, .clip = 0};
  Batch const all = parts.data.random_batch(12, parts.draws);
  int64_t next = 0;
  Trainer trainer(parts.model, *parts.optimizer, options, [&] {
    int64_t const from = 4 * next++;
    return cross_entropy(parts.model(all.inputs.slice(0, from, from + 4).contiguous()),
                         all.targets.slice(0, from, from + 4).contiguous());
  });
  double loss = 0;
  trainer.on_step([&](StepReport const& report) {
    loss = report.loss;
    CHECK(report.evaluations == 1);
    return true;
  });
  trainer.run(parts.state);
  CHECK(next == 3);
  CHECK(loss == doctest::Approx(one[0]).epsilon(1e-6));
  CHECK(largest_difference(whole.model.head.weight, parts.model.head.weight) < 1e-7);
  CHECK(contains(error_of([&] { Trainer(parts.model, *parts.optimizer, {.accumulate = 0}, {}); }), "accumulate"));
}

TEST_CASE("trainer: plateau lowers the rate where evaluations do not get better") {
  Run run("sgd");
  std::vector<double> rates;
  Trainer trainer(
      run.model, *run.optimizer,
      {.steps = 8, .schedule = make_schedule("plateau:patience=1,factor=0.5", {.peak = 0.1}), .evaluate_every = 1},
      [&] {
        Batch const b = run.data.random_batch(2, run.draws);
        return cross_entropy(run.model(b.inputs), b.targets);
      },
      [] { return 1.; });
  trainer.on_step([&](StepReport const& report) {
    rates.push_back(report.learning_rate);
    return true;
  });
  trainer.run(run.state);
  CHECK(rates == std::vector<double>{0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125});
  CHECK(run.state.schedule.size() == 4);
}
