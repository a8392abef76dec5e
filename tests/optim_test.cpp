// Step rules against their formulas, schedules, the loop, its log, checkpoints that resume bit for bit, text as data.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/regularizers.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/op_case.h>
#include <heed/tests/support/skip.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>

using namespace heed;
using namespace heed::optim;

namespace {

using test::error_of;
using test::same_bits;

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

bool same_bits(std::vector<nn::NamedTensor> const& a, std::vector<nn::NamedTensor> const& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](auto const& x, auto const& y) { return x.name == y.name && same_bits(x.tensor, y.tensor); });
}
std::vector<nn::NamedTensor> copy_of(std::vector<nn::NamedTensor> list) {
  for (auto& entry : list) entry.tensor = entry.tensor.detach().clone();
  return list;
}

Tensor parameter_of(std::vector<double> const& values) {
  Tensor p = tensor(values, {int64_t(values.size())});
  p.requires_grad_();
  return p;
}
std::vector<ParameterGroup> group_of(Tensor const& p, double weight_decay = 0) {
  return {{.parameters = {{"p", p}}, .weight_decay = weight_decay}};
}
double at(Tensor const& p, int64_t i = 0) { return p.to_vector<double>()[size_t(i)]; }

/// A folder that is removed again.
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("heed-optim-test-" + std::to_string(getpid()));
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator()(std::string const& name) const { return path / name; }
};

}  // namespace

TEST_CASE("AdamW: the first step is the rate times the sign of the gradient") {
  test::on_every_isa([](Isa) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      Tensor p = randn({37}, dtype);
      Tensor const before = p.clone(), gradient = randn({37}, dtype);
      p.requires_grad_();
      AdamW optimizer(group_of(p), {.learning_rate = 0.25, .eps = 0});
      p.set_grad(gradient);
      optimizer.step();
      Tensor const expected = before - sign(gradient) * 0.25;
      for (int64_t i = 0; i < 37; ++i)
        CHECK(std::abs(at(p, i) - at(expected, i)) <= (dtype == Dtype::f64 ? 1e-15 : 5e-7));
      CHECK(optimizer.steps() == 1);
    }
  });
}

TEST_CASE("AdamW: closed forms on a quadratic") {
  // Without memory every step is the rate long: x_t = x_0 − t·η until x changes its sign.
  Tensor p = parameter_of({3, -5});
  AdamW forgetful(group_of(p), {.learning_rate = 0.01, .beta1 = 0, .beta2 = 0, .eps = 0});
  for (int t = 1; t <= 100; ++t) {
    p.set_grad(p.detach() * 4.0);
    forgetful.step();
    CHECK(at(p, 0) == doctest::Approx(3 - 0.01 * t).epsilon(1e-12));
    CHECK(at(p, 1) == doctest::Approx(-5 + 0.01 * t).epsilon(1e-12));
  }
  // Without a gradient only the decay acts: x_t = x_0·(1 − ηλ)^t.
  Tensor q = parameter_of({2});
  AdamW decaying(group_of(q, 0.5), {.learning_rate = 0.1});
  for (int t = 1; t <= 20; ++t) {
    q.set_grad(zeros({1}, Dtype::f64));
    decaying.step();
    CHECK(at(q) == doctest::Approx(2 * std::pow(0.95, t)).epsilon(1e-13));
  }
  // In general: the recurrence of the paper.
  Tensor r = parameter_of({1.5});
  AdamW optimizer(group_of(r, 0.1), {.learning_rate = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3});
  double x = 1.5, m = 0, v = 0;
  for (int t = 1; t <= 50; ++t) {
    r.set_grad(r.detach() * 3.0);
    optimizer.step();
    double const g = 3 * x;
    m = 0.8 * m + 0.2 * g;
    v = 0.95 * v + 0.05 * g * g;
    x = x * (1 - 0.05 * 0.1) - 0.05 * (m / (1 - std::pow(0.8, t))) / (std::sqrt(v / (1 - std::pow(0.95, t))) + 1e-3);
    CHECK(at(r) == doctest::Approx(x).epsilon(1e-12));
  }
}

TEST_CASE("SGD: closed forms and the formulas with momentum") {
  // On ½·a·x²: x_t = x_0·(1 − η·a)^t.
  Tensor p = parameter_of({2});
  SGD plain(group_of(p), {.learning_rate = 0.1});
  for (int t = 1; t <= 30; ++t) {
    p.set_grad(p.detach() * 3.0);
    plain.step();
    CHECK(at(p) == doctest::Approx(2 * std::pow(0.7, t)).epsilon(1e-12));
  }
  for (bool nesterov : {false, true}) {
    double const dampening = nesterov ? 0 : 0.25;
    Tensor q = parameter_of({2});
    SGD optimizer(group_of(q, 0.01),
                  {.learning_rate = 0.1, .momentum = 0.9, .dampening = dampening, .nesterov = nesterov});
    double x = 2, b = 0;
    for (int t = 1; t <= 30; ++t) {
      q.set_grad(q.detach() * 3.0);
      optimizer.step();
      double const g = 3 * x + 0.01 * x;
      b = t == 1 ? g : 0.9 * b + (1 - dampening) * g;
      x -= 0.1 * (nesterov ? g + 0.9 * b : b);
      CHECK(at(q) == doctest::Approx(x).epsilon(1e-12));
    }
  }
}

TEST_CASE("optimisers: settings that are no rule are errors") {
  Tensor p = parameter_of({1});
  CHECK(contains(error_of([&] { AdamW(group_of(p), {.beta1 = 1}); }), "beta1"));
  CHECK(contains(error_of([&] { AdamW(group_of(p), {.learning_rate = -1}); }), "learning rate"));
  CHECK(contains(error_of([&] { SGD(group_of(p), {.nesterov = true}); }), "momentum"));
  CHECK(contains(error_of([&] { SGD({}, {}); }), "at least one parameter"));
  CHECK(contains(error_of([&] { SGD(group_of(p * 2.0), {}); }), "'p'"));
  CHECK(contains(error_of([&] { SGD(group_of(zeros({2}, Dtype::i64)), {}); }), "'p'"));
}

TEST_CASE("groups: matrices decay, vectors do not; rates scale; what has no gradient stays") {
  nn::MLP mlp({.dim = 3, .hidden = 5, .bias = true});
  auto const groups = decay_matrices_only(mlp, 0.1);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].weight_decay == 0.1);
  CHECK(groups[1].weight_decay == 0);
  CHECK(groups[0].parameters.size() == 2);
  for (auto const& [name, tensor] : groups[0].parameters) CHECK(name.ends_with("weight"));
  for (auto const& [name, tensor] : groups[1].parameters) CHECK(name.ends_with("bias"));
  CHECK(all_parameters(mlp).at(0).parameters.size() == 4);

  Tensor a = parameter_of({1}), b = parameter_of({1}), idle = parameter_of({1});
  SGD optimizer({{.parameters = {{"a", a}, {"idle", idle}}, .rate_scale = 1},
                 {.parameters = {{"b", b}}, .rate_scale = 0.5, .weight_decay = 0.2}},
                {.learning_rate = 0.1});
  a.set_grad(ones({1}, Dtype::f64));
  b.set_grad(ones({1}, Dtype::f64));
  optimizer.step();
  CHECK(at(a) == doctest::Approx(0.9));
  CHECK(at(b) == doctest::Approx(1 - 0.05 * 1.2));
  CHECK(at(idle) == 1);
  optimizer.zero_grad();
  CHECK(!a.grad().defined());
  optimizer.step();
  CHECK(at(a) == doctest::Approx(0.9));
}

TEST_CASE("optimisers: a step makes graphs that saved the old weights stale") {
  Tensor w = parameter_of({2});
  SGD optimizer(group_of(w), {});
  Tensor const y = sum(w * w);
  w.set_grad(ones({1}, Dtype::f64));
  optimizer.step();
  CHECK(!error_of([&] { y.backward(); }).empty());
}

TEST_CASE("clipping: the norm over all gradients, and the scale that brings it down") {
  test::on_every_isa([](Isa) {
    Tensor a = parameter_of({0, 0}), b = parameter_of({0}), none = parameter_of({7});
    std::vector<ParameterGroup> const groups{{.parameters = {{"a", a}}}, {.parameters = {{"b", b}, {"none", none}}}};
    a.set_grad(tensor(std::vector<double>{3, 4}, {2}));
    b.set_grad(tensor(std::vector<double>{12}, {1}));
    CHECK(gradient_norm(groups) == doctest::Approx(13));
    CHECK(clip_scale(13, 6.5) == doctest::Approx(0.5));
    CHECK(clip_scale(13, 20) == 1);
    CHECK(clip_scale(13, 0) == 1);
    SGD optimizer(groups, {.learning_rate = 1});
    optimizer.step(clip_scale(13, 6.5));
    CHECK(at(a, 1) == doctest::Approx(-2));
    CHECK(at(b) == doctest::Approx(-6));
    CHECK(at(a.grad(), 1) == 4);  // gradients themselves are left alone
  });
}

TEST_CASE("schedule: ends, peak, middle") {
  auto const s = warmup_cosine(1, 0.1, 10, 110);
  CHECK(s->at(0) == doctest::Approx(0.1));
  CHECK(s->at(4) == doctest::Approx(0.5));
  CHECK(s->at(9) == doctest::Approx(1));
  CHECK(s->at(10) == doctest::Approx(1));
  CHECK(s->at(60) == doctest::Approx(0.55));
  CHECK(s->at(35) == doctest::Approx(0.1 + 0.45 * (1 + std::sqrt(0.5))));
  CHECK(s->at(110) == 0.1);
  CHECK(s->at(100'000) == 0.1);
  for (int64_t i = 10; i < 109; ++i) CHECK(s->at(i) >= s->at(i + 1));
}

namespace {

/// ½·(x − 1)² from x = 0, whose loss and gradient are known.
struct Toy : nn::Module {
  Tensor x = parameter_of({0});
  void visit(nn::Visitor& v) override { v.parameter("x", x); }
  Tensor loss() const { return sum(square(x - 1.0)) * 0.5; }
};

}  // namespace

TEST_CASE("trainer: rate, loss and gradient norm of every step; evaluation when due and at the end") {
  Toy toy;
  SGD optimizer(all_parameters(toy), {});
  std::vector<StepReport> reports;
  int evaluations = 0;
  Trainer trainer(
      toy, optimizer,
      {.steps = 5, .schedule = make_schedule("constant", {.peak = 0.5}), .clip = 0, .evaluate_every = 2},
      [&] {
        CHECK(toy.training());
        return toy.loss();
      },
      [&] {
        CHECK(!toy.training());
        return double(++evaluations);
      });
  trainer.on_step([&](StepReport const& r) {
    reports.push_back(r);
    return true;
  });
  TrainingState state;
  trainer.run(state);
  REQUIRE(reports.size() == 5);
  for (size_t i = 0; i < 5; ++i) {
    double const gap = std::pow(0.5, double(i));
    CHECK(reports[i].step == int64_t(i) + 1);
    CHECK(reports[i].steps == 5);
    CHECK(reports[i].loss == doctest::Approx(0.5 * gap * gap));
    CHECK(reports[i].gradient_norm == doctest::Approx(gap));
    CHECK(reports[i].learning_rate == 0.5);
    CHECK(reports[i].evaluated == (i == 1 || i == 3 || i == 4));
  }
  CHECK(evaluations == 3);
  CHECK(state.step == 5);
  CHECK(state.best_validation == 1);
  CHECK(state.stale_evaluations == 2);
}

TEST_CASE("trainer: clipping, patience, callbacks and losses that are not finite end or bound a run") {
  auto run = [](TrainerOptions options, Trainer::Evaluate evaluate, Trainer::Callback callback, double factor = 1) {
    Toy toy;
    SGD optimizer(all_parameters(toy), {});
    options.schedule = make_schedule("constant", {.peak = 0.1});
    Trainer trainer(
        toy, optimizer, options, [&] { return toy.loss() * factor; }, std::move(evaluate));
    if (callback) trainer.on_step(std::move(callback));
    TrainingState state;
    trainer.run(state);
    return std::pair{state, at(toy.x)};
  };
  // A gradient of −100 clipped to norm 1 moves x by 0.1.
  CHECK(run({.steps = 1, .clip = 1}, {}, {}, 100).second == doctest::Approx(0.1));

  std::vector<double> const losses{3, 2, 2.5, 2.1, 1, 0.5};
  size_t next = 0;
  auto const [stopped, x] = run({.steps = 100, .evaluate_every = 5, .patience = 2}, [&] { return losses[next++]; }, {});
  CHECK(stopped.step == 20);
  CHECK(stopped.best_validation == 2);
  CHECK(stopped.stale_evaluations == 2);

  CHECK(run({.steps = 100}, {}, [](StepReport const& r) { return r.step < 7; }).first.step == 7);
  CHECK(contains(error_of([&] { run({.steps = 3}, {}, {}, std::nan("")); }), "step 1"));
  CHECK(contains(error_of([&] { run({.steps = 0}, {}, {}); }), "steps"));
  CHECK(contains(error_of([&] { run({.steps = -1}, {}, {}); }), "-1"));
  CHECK(contains(error_of([&] { run({.steps = 1, .clip = -1}, {}, {}); }), "clip"));
}

namespace {

/// Notes what it is called for, pulls a parameter to zero, doubles gradients, and keeps a count.
struct Noting final : nn::Regularizer {
  Noting(std::string mark, std::vector<std::string>& calls) : mark(std::move(mark)), calls(calls) {}
  void begin(nn::Module&) override { note("begin"); }
  void batch(Tensor&, Tensor&, Generator&) override { note("batch"); }
  Tensor loss(Tensor const& loss, Tensor const&, Tensor const&) override {
    note("loss");
    return 2 * loss;
  }
  Tensor penalty(nn::Module& model) override {
    note("penalty");
    return 0.5 * sum(square(nn::parameters(model)[0]));
  }
  void gradients(std::vector<nn::NamedTensor> const& parameters) override {
    note("gradients " + parameters[0].name);
    parameters[0].tensor.grad().mul_(full({}, 2));
  }
  void stepped(nn::Module&, int64_t step) override {
    note("stepped " + std::to_string(step));
    count.add_(ones({}));
  }
  void evaluating(nn::Module&, bool on) override { note(on ? "on" : "off"); }
  std::vector<nn::NamedTensor> state() override { return {{"count", count}}; }

  void note(std::string const& call) { calls.push_back(call + mark); }
  std::string mark;
  std::vector<std::string>& calls;
  Tensor count = zeros({});
};

}  // namespace

TEST_CASE("trainer: regularisers are called in their order, their penalties add up, and checkpoints hold their state") {
  std::vector<std::string> calls;
  auto const both = [&] {
    std::vector<std::unique_ptr<nn::Regularizer>> parts;
    parts.push_back(std::make_unique<Noting>("1", calls));
    parts.push_back(std::make_unique<Noting>("2", calls));
    return nn::Regularizers(std::move(parts));
  };
  nn::Linear model(1, 1, false);
  model.weight.detach().fill_(3.);
  nn::Regularizers regularizers = both();
  regularizers.begin(model);
  SGD sgd(all_parameters(model), {.learning_rate = 0.1});
  Generator generator(1);
  Tensor inputs = ones({1, 1}), targets = zeros({1, 1});
  Trainer trainer(
      model, sgd, {.steps = 1, .schedule = make_schedule("constant", {.peak = 0.1}), .clip = 0, .evaluate_every = 1},
      [&] {
        regularizers.batch(inputs, targets, generator);
        Tensor const y = model(inputs);
        return regularizers.loss(sum(y), y, targets);
      },
      [&] { return 1.; });
  trainer.regularize(regularizers);
  TrainingState state;
  double loss = 0;
  trainer.on_step([&](StepReport const& report) {
    loss = report.loss;
    return true;
  });
  trainer.run(state);
  CHECK(calls == std::vector<std::string>{"begin1", "begin2", "batch1", "batch2", "loss1", "loss2", "penalty1",
                                          "penalty2", "gradients weight1", "gradients weight2", "stepped 11",
                                          "stepped 12", "on1", "on2", "off1", "off2"});
  CHECK(loss == doctest::Approx(4 * 3 + 2 * 4.5));
  // d/dw (4w + w²) = 4 + 2w = 10, doubled twice.
  CHECK(at(model.weight.detach().flatten()) == doctest::Approx(3 - 0.1 * 40));

  auto const names = regularizers.state();
  CHECK(names[0].name == "0.count");
  CHECK(names[1].name == "1.count");
  Folder const folder;
  Checkpoint checkpoint;
  checkpoint.put_model(model);
  checkpoint.put_regularizer(regularizers);
  checkpoint.save(folder("run.safetensors"));
  nn::Regularizers fresh = both();
  Checkpoint const loaded = Checkpoint::load(folder("run.safetensors"));
  loaded.get_model(model);
  loaded.get_regularizer(fresh);
  CHECK(fresh.state()[1].tensor.item() == 1);
  std::vector<std::unique_ptr<nn::Regularizer>> three;
  for (int i = 0; i < 3; ++i) three.push_back(std::make_unique<Noting>("", calls));
  nn::Regularizers more(std::move(three));
  CHECK(contains(error_of([&] { loaded.get_regularizer(more); }), "2.count"));
  CHECK(more.state()[0].tensor.item() == 0);
}

TEST_CASE("log: CSV and JSON lines, cut back to where a run resumes") {
  Folder const folder;
  StepReport report{.step = 1,
                    .steps = 9,
                    .loss = 2.5,
                    .learning_rate = 1e-3,
                    .gradient_norm = 0.75,
                    .evaluations = 1,
                    .evaluated = false,
                    .validation = 0,
                    .seconds = 0.125};
  for (std::string name : {"log.csv", "log.jsonl"}) {
    std::string const path = folder(name);
    auto write = [&](int64_t keep, int64_t from, int64_t to) {
      auto const log = log_to(path, keep);
      for (report.step = from; report.step <= to; ++report.step) {
        report.evaluated = report.step == 2;
        report.validation = report.evaluated ? 1.5 : 0;
        CHECK(log(report));
      }
    };
    std::ofstream(path) << "rubbish of an earlier run\n";
    write(0, 1, 3);
    std::string const text = read_file(path);
    if (name == "log.csv")
      CHECK(text ==
            "step,loss,learning_rate,gradient_norm,validation,seconds\n"
            "1,2.500000,1.000000e-03,0.750000,,0.125\n"
            "2,2.500000,1.000000e-03,0.750000,1.500000,0.125\n"
            "3,2.500000,1.000000e-03,0.750000,,0.125\n");
    else
      CHECK(
          text ==
          R"({"step":1,"loss":2.500000,"learning_rate":1.000000e-03,"gradient_norm":0.750000,"validation":null,"seconds":0.125})"
          "\n"
          R"({"step":2,"loss":2.500000,"learning_rate":1.000000e-03,"gradient_norm":0.750000,"validation":1.500000,"seconds":0.125})"
          "\n"
          R"({"step":3,"loss":2.500000,"learning_rate":1.000000e-03,"gradient_norm":0.750000,"validation":null,"seconds":0.125})"
          "\n");
    write(2, 3, 3);
    CHECK(read_file(path) == text);
    std::ofstream(path, std::ios::app) << "half a li";
    write(3, 4, 4);
    CHECK(read_file(path).starts_with(text));
    CHECK(!contains(read_file(path), "half"));
    CHECK(std::ranges::count(read_file(path), '\n') == std::ranges::count(text, '\n') + 1);
  }
  CHECK(contains(error_of([&] { log_to(folder("none/log.csv")); }), "none"));
}

namespace {

/// A GPT with dropout in training, as a program holds it.
struct Run {
  nn::GPT model;
  AdamW optimizer;
  TokenDataset data;
  Generator draws{11};
  TrainingState state;

  static nn::GPTConfig config() {
    return {.vocabulary = 7, .layers = 2, .heads = 2, .dim = 16, .block = 12, .bias = true, .dropout = 0.2};
  }
  static std::vector<int64_t> text() {
    std::vector<int64_t> tokens(600);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = int64_t(i * i % 7);
    return tokens;
  }

  explicit Run(uint64_t key)
      : model((seed(key), config())), optimizer(decay_matrices_only(model, 0.1), {}), data(text(), 12, 0.2) {}

  void train(int64_t until) {
    TrainerOptions options{
        .steps = until, .schedule = warmup_cosine(1e-2, 1e-3, 3, 12), .clip = 1, .evaluate_every = 4};
    Trainer trainer(
        model, optimizer, options,
        [this] {
          Batch const batch = data.random_batch(5, draws);
          return cross_entropy(model(batch.inputs), batch.targets);
        },
        [this] {
          NoGrad const off;
          double total = 0;
          for (Batch const& batch : data.validation_batches(4))
            total += cross_entropy(model(batch.inputs), batch.targets).item();
          return total;
        });
    trainer.run(state);
  }
  void save(std::string const& path) {
    Checkpoint checkpoint;
    checkpoint.put_model(model);
    checkpoint.put_training(optimizer, state);
    checkpoint.put_generator("draws", draws);
    checkpoint.put_generator("default", default_generator());
    checkpoint.put_text("note", "two\nlines \"quoted\" é");
    checkpoint.save(path);
  }
  void load(std::string const& path) {
    Checkpoint const checkpoint = Checkpoint::load(path);
    checkpoint.get_model(model);
    state = checkpoint.get_training(optimizer);
    draws = checkpoint.get_generator("draws");
    default_generator() = checkpoint.get_generator("default");
    CHECK(checkpoint.get_text("note") == "two\nlines \"quoted\" é");
  }
};

}  // namespace

TEST_CASE("checkpoint: an interrupted run continues with the same bits, on any number of threads") {
  Folder const folder;
  int const threads = thread_count();
  std::vector<nn::NamedTensor> first;
  for (int count : {1, 2, 4}) {
    set_thread_count(count);
    Run whole(3);
    whole.train(12);

    Run half(3);
    half.train(6);
    half.save(folder("half.safetensors"));
    Run rest(99);
    rest.train(2);
    rest.load(folder("half.safetensors"));
    CHECK(rest.state.step == 6);
    rest.train(12);

    CHECK(same_bits(nn::state_dict(whole.model), nn::state_dict(rest.model)));
    CHECK(same_bits(whole.optimizer.state(), rest.optimizer.state()));
    CHECK(whole.optimizer.steps() == rest.optimizer.steps());
    CHECK(whole.draws.offset() == rest.draws.offset());
    CHECK(whole.draws.seed() == rest.draws.seed());
    CHECK(whole.state.best_validation == rest.state.best_validation);
    CHECK(whole.state.stale_evaluations == rest.state.stale_evaluations);
    if (first.empty()) first = copy_of(nn::state_dict(whole.model));
    CHECK(same_bits(first, nn::state_dict(whole.model)));
  }
  set_thread_count(threads);
}

TEST_CASE("checkpoint: the file holds a tied tensor once, under PyTorch's names") {
  Folder const folder;
  Run run(1);
  run.save(folder("c.safetensors"));
  Safetensors const content = load_safetensors(folder("c.safetensors"));
  CHECK(content.find("token_embedding.weight"));
  CHECK(!content.find("head.weight"));
  CHECK(content.find("optimizer.exp_avg.blocks.1.attn.q_proj.weight"));
  CHECK(std::find(content.metadata.begin(), content.metadata.end(),
                  std::pair<std::string, std::string>("alias.head.weight", "token_embedding.weight")) !=
        content.metadata.end());
}

TEST_CASE("checkpoint: files that do not fit are errors and change nothing") {
  Folder const folder;
  std::string const path = folder("good.safetensors"), bad = folder("bad.safetensors");
  Run run(1);
  run.train(2);
  run.save(path);
  std::string const bytes = read_file(path);

  for (size_t length : {size_t{0}, size_t{4}, size_t{8}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    std::ofstream(bad, std::ios::binary).write(bytes.data(), std::streamsize(length));
    CHECK_MESSAGE(contains(error_of([&] { Checkpoint::load(bad); }), "bad.safetensors"), "length ", length);
  }
  save_safetensors(bad, {.tensors = {{"w", ones({2})}}, .metadata = {}});
  CHECK(contains(error_of([&] { Checkpoint::load(bad); }), "no checkpoint of heed"));
  CHECK(contains(error_of([&] { Checkpoint::load(folder("none")); }), "none"));
  CHECK(!error_of([&] { run.save(folder("no/such/folder.safetensors")); }).empty());
  CHECK(read_file(path) == bytes);

  Checkpoint const checkpoint = Checkpoint::load(path);
  nn::GPTConfig wider = Run::config();
  wider.dim = 24;
  for (auto const& config : {wider,
                             [] {
                               auto c = Run::config();
                               c.layers = 3;
                               return c;
                             }(),
                             [] {
                               auto c = Run::config();
                               c.position = "rope";
                               return c;
                             }()}) {
    nn::GPT other(config);
    AdamW optimizer(decay_matrices_only(other, 0.1), {});
    auto const before = copy_of(nn::state_dict(other)), moments = copy_of(optimizer.state());
    CHECK(contains(error_of([&] { checkpoint.get_model(other); }), "load_state_dict"));
    CHECK(contains(error_of([&] { checkpoint.get_training(optimizer); }), "load_state"));
    CHECK(same_bits(before, nn::state_dict(other)));
    CHECK(same_bits(moments, optimizer.state()));
    CHECK(optimizer.steps() == 0);
  }
  SGD sgd(all_parameters(run.model), {.momentum = 0.9});
  CHECK(contains(error_of([&] { checkpoint.get_training(sgd); }), "momentum_buffer"));
  CHECK(contains(error_of([&] { checkpoint.get_generator("other"); }), "random.other."));
  CHECK(contains(error_of([&] { checkpoint.get_text("other"); }), "holds no 'other'"));
  CHECK(checkpoint.has_text("note"));
  CHECK(!checkpoint.has_text("other"));

  Checkpoint odd;
  odd.put_text("random.draws.seed", "12x");
  odd.put_text("random.draws.offset", "3");
  CHECK(contains(error_of([&] { odd.get_generator("draws"); }), "'12x'"));
}

TEST_CASE("vocabulary: characters of UTF-8 text, bytes of any other") {
  auto const v = CharacterVocabulary::of("hé€llo 𝄞");
  CHECK(v.characters() == std::vector<std::string>{" ", "h", "l", "o", "é", "€", "𝄞"});
  CHECK(v.decode(v.encode("€é𝄞h")) == "€é𝄞h");
  CHECK(v.encode("oé").size() == 2);
  std::string const unknown = error_of([&] { v.encode("hello, world"); });
  CHECK(contains(unknown, "'e'"));
  CHECK(contains(unknown, "number 1"));

  std::string const bytes =
      "ab\xff\xfe"
      "a\xc3";
  auto const b = CharacterVocabulary::of(bytes);
  CHECK(b.size() == 5);
  CHECK(b.decode(b.encode(bytes)) == bytes);
  CHECK(b.encode("\xc3").size() == 1);
  std::string const looks_like_utf8 = "ab\xc3\xa9";
  auto const c = CharacterVocabulary::of(looks_like_utf8 + "\xff");
  CHECK(c.encode(looks_like_utf8).size() == 4);

  CHECK(CharacterVocabulary::of("").size() == 0);
  CHECK(contains(error_of([&] { v.decode({0, 7}); }), "token 7"));
  CHECK(contains(error_of([&] { v.decode({-1}); }), "token -1"));
  CHECK(CharacterVocabulary({"x", "y"}).encode("yx") == std::vector<int64_t>{1, 0});
}

TEST_CASE("data: windows cover the validation part once; training draws stay in theirs") {
  for (int64_t n : {1000, 1017, 1049})
    for (int64_t count : {1, 4, 100}) {
      std::vector<int64_t> tokens(static_cast<size_t>(n));
      std::iota(tokens.begin(), tokens.end(), int64_t{0});
      TokenDataset const data(tokens, 16, 0.1);
      CHECK(data.training_tokens() + data.validation_tokens() == n);
      int64_t expected = data.training_tokens();  // the next input
      for (Batch const& batch : data.validation_batches(count)) {
        CHECK(batch.inputs.size(0) <= count);
        auto const inputs = batch.inputs.to_vector<int64_t>(), targets = batch.targets.to_vector<int64_t>();
        for (size_t i = 0; i < inputs.size(); ++i) {
          REQUIRE(inputs[i] == expected++);
          REQUIRE(targets[i] == inputs[i] + 1);
        }
      }
      CHECK(n - 1 - expected >= 0);
      CHECK(n - 1 - expected < 16);

      Generator generator(5);
      int64_t least = n, largest = 0;
      for (int i = 0; i < 50; ++i) {
        Batch const batch = data.random_batch(400, generator);
        auto const inputs = batch.inputs.to_vector<int64_t>(), targets = batch.targets.to_vector<int64_t>();
        CHECK(
            std::equal(inputs.begin(), inputs.end(), targets.begin(), [](int64_t a, int64_t b) { return b == a + 1; }));
        least = std::min(least, *std::min_element(inputs.begin(), inputs.end()));
        largest = std::max(largest, *std::max_element(targets.begin(), targets.end()));
      }
      CHECK(least == 0);
      CHECK(largest == data.training_tokens() - 1);
      Generator again(5), other(6);
      Generator start(5);
      Tensor const first = data.random_batch(8, again).inputs;
      CHECK(same_bits(first, data.random_batch(8, start).inputs));
      CHECK(!same_bits(first, data.random_batch(8, other).inputs));
    }
}

TEST_CASE("data: texts that are empty or too short are errors") {
  CHECK(contains(error_of([] { TokenDataset({}, 8, 0.1); }), "the text is empty"));
  CHECK(error_of([] { TokenDataset(std::vector<int64_t>(90, 0), 8, 0.1); }).empty());
  CHECK(contains(error_of([] { TokenDataset(std::vector<int64_t>(60, 0), 8, 0.1); }), "more than 8 tokens"));
  CHECK(contains(error_of([] { TokenDataset(std::vector<int64_t>(60, 0), 8, 1.5); }), "share"));
  CHECK(contains(error_of([] { TokenDataset(std::vector<int64_t>(60, 0), 8, 0); }), "share"));
}
