// Data parallel training between threads, against one process.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/nn/regularize/regularizers.h>
#include <heed/nn/transformer.h>
#include <heed/optim/distributed.h>
#include <heed/optim/optim.h>
#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <mutex>

#include "../support/op_case.h"

using namespace heed;
using namespace heed::distributed;
using namespace heed::test;

namespace {

nn::GPTConfig small_gpt() {
  nn::GPTConfig config;
  config.vocabulary = 11, config.layers = 2, config.heads = 2, config.dim = 16, config.block = 12;
  return config;
}

optim::TokenDataset some_text() {
  std::vector<int64_t> tokens;
  uint64_t state = 1;
  for (int i = 0; i < 2000; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    tokens.push_back(i % 3 == 0 ? int64_t(state >> 40) % 11 : (tokens.back() * 3 + 1) % 11);
  }
  return {tokens, 12, 0.1};
}

struct Curve {
  std::vector<double> losses, norms, validation;
  std::vector<std::vector<double>> weights;
  int64_t steps = 0;
  bool operator==(Curve const&) const = default;
};

struct Plan {
  int64_t steps = 20, batch = 6, accumulate = 1, patience = 0;
  std::string regularize = "", optimizer = "adamw", schedule = "cosine";
  int64_t bucket_bytes = 4096;
  int interrupted_rank = -1;
  int64_t interrupted_step = 0;
  bool sharded = false;
  std::string from = {}, to = {};  // checkpoints
};

/// A run alone, or as one of the ranks of `communicator`.
Curve train(Plan const& plan, Communicator* communicator) {
  heed::seed(5);
  nn::GPT model(small_gpt());
  auto const data = some_text();
  nn::Regularizers regularizers(nn::make_regularizers(plan.regularize));
  regularizers.begin(model);
  auto groups = optim::decay_matrices_only(model, 0.1);
  auto const optimizer = plan.sharded ? make_sharded(plan.optimizer, std::move(groups), *communicator, 3e-3)
                                      : optim::make_optimizer(plan.optimizer, std::move(groups), 3e-3);
  Generator windows(9);
  optim::Batch whole;
  int64_t at = 0;
  std::unique_ptr<DataParallel> parallel;
  Rows own{0, plan.batch};
  if (communicator) {
    parallel = std::make_unique<DataParallel>(model, *communicator,
                                              DataParallelOptions{plan.bucket_bytes, regularizers.state()});
    own = parallel->rows(plan.batch);
  }
  auto const next = [&] {
    if (at == 0) whole = data.random_batch(plan.batch * plan.accumulate, windows);
    int64_t const first = at * plan.batch + own.first;
    at = (at + 1) % plan.accumulate;
    Tensor x = whole.inputs.slice(0, first, first + own.count), y = whole.targets.slice(0, first, first + own.count);
    Generator draws = communicator ? of_rank(windows, communicator->rank()) : windows;
    regularizers.batch(x, y, draws);
    windows = Generator(windows.seed(), draws.offset());
    Tensor const logits = model(x);
    return regularizers.loss(cross_entropy(logits, y), logits, y);
  };
  optim::Trainer trainer(model, *optimizer,
                         {.steps = plan.steps,
                          .schedule = optim::make_schedule(plan.schedule, {3e-3, 1e-4, plan.steps}, 5),
                          .accumulate = plan.accumulate,
                          .clip = 0.5,
                          .evaluate_every = 5,
                          .patience = plan.patience},
                         next, [&] {
                           NoGrad const off;
                           auto const batch = data.validation_batches(8)[0];
                           return cross_entropy(model(batch.inputs), batch.targets).item();
                         });
  if (parallel) trainer.together(*parallel);
  trainer.regularize(regularizers);
  trainer.draw_from(windows);
  Curve curve;
  trainer.on_step([&](optim::StepReport const& report) {
    curve.losses.push_back(report.loss);
    curve.norms.push_back(report.gradient_norm);
    if (report.evaluated) curve.validation.push_back(report.validation);
    return true;
  });
  trainer.stop_when([&, asked = 0]() mutable {
    return ++asked == plan.interrupted_step && communicator && communicator->rank() == plan.interrupted_rank;
  });
  optim::TrainingState state;
  if (!plan.from.empty()) {
    auto const checkpoint = optim::Checkpoint::load(plan.from);
    checkpoint.get_model(model);
    state = checkpoint.get_training(*optimizer);
    windows = checkpoint.get_generator("windows");
  }
  trainer.run(state);
  if (!plan.to.empty()) {
    optimizer->evaluating(true);
    optim::Checkpoint checkpoint;
    checkpoint.put_model(model);
    checkpoint.put_training(*optimizer, state);
    checkpoint.put_generator("windows", windows);
    if (!communicator || communicator->rank() == 0) checkpoint.save(plan.to);
    optimizer->evaluating(false);
  }
  curve.steps = state.step;
  for (Tensor const& p : nn::parameters(model)) curve.weights.push_back(p.to(Dtype::f64).to_vector<double>());
  return curve;
}

std::vector<Curve> on_ranks(int size, Plan const& plan) {
  std::vector<Curve> curves(static_cast<size_t>(size));
  run_ranks(size, [&](Communicator& c) { curves[size_t(c.rank())] = train(plan, &c); });
  return curves;
}

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

double largest_difference(Curve const& a, Curve const& b) {
  double largest = 0;
  REQUIRE(a.losses.size() == b.losses.size());
  for (size_t i = 0; i < a.losses.size(); ++i) largest = std::max(largest, std::abs(a.losses[i] - b.losses[i]));
  return largest;
}

}  // namespace

TEST_CASE("200 steps: two and three ranks have the bits of one process that accumulates their batches") {
  for (int const size : {2, 3}) {
    Plan const plan{.steps = 200};
    auto const curves = on_ranks(size, plan);
    Curve const one = train({.steps = 200, .batch = plan.batch / size, .accumulate = size}, nullptr);
    for (Curve const& curve : curves) CHECK(curve == one);
    CHECK(one.losses.back() < one.losses.front() - 0.3);
  }
}

TEST_CASE("any sharing of rows gives the same run within rounding, and a run gives the same bits again") {
  Plan const plan{.steps = 60};
  Curve const whole = train(plan, nullptr);
  Plan halves = plan;
  halves.batch = 3, halves.accumulate = 2;
  for (int const size : {1, 2, 3, 4, 5}) {  // 4 and 5: uneven
    auto const curves = on_ranks(size, plan);
    for (Curve const& curve : curves) CHECK(curve == curves[0]);
    CHECK(largest_difference(whole, curves[0]) < 1e-4);
    if (size == 1) CHECK(curves[0] == whole);
    if (size > 3) continue;
    auto const accumulated = on_ranks(size, halves);
    CHECK(largest_difference(whole, accumulated[0]) < 1e-4);
    CHECK(accumulated == on_ranks(size, halves));
  }
}

TEST_CASE("buckets of any size give the same bits") {
  auto const few = on_ranks(2, {.steps = 5, .bucket_bytes = 1 << 30}),
             many = on_ranks(2, {.steps = 5, .bucket_bytes = 1});
  CHECK(few == many);
}

TEST_CASE("every regulariser keeps the ranks together, and runs again with the same bits") {
  for (auto const& row : nn::regularizers()) {
    CAPTURE(row.name);
    Plan const plan{.steps = 3, .regularize = std::string(row.name)};
    if (!error_of([&] { train(plan, nullptr); }).empty()) continue;  // for other data
    auto const curves = on_ranks(2, plan);
    CHECK(curves[0] == curves[1]);
    CHECK(curves == on_ranks(2, plan));
  }
  // Penalties are part of every rank's loss; they are counted once.
  Plan plan{.steps = 20, .regularize = "l2+entropy-penalty"};
  CHECK(largest_difference(on_ranks(2, plan)[0], train(plan, nullptr)) < 1e-4);
}

TEST_CASE("every rule has the bits of one process that accumulates") {
  for (auto const& row : optim::optimizers()) {
    CAPTURE(row.name);
    Plan plan{.steps = 3, .optimizer = std::string(row.name)};
    auto const curves = on_ranks(2, plan);
    plan.batch = 3, plan.accumulate = 2;
    CHECK(curves[0] == curves[1]);
    CHECK(curves[0] == train(plan, nullptr));
  }
}

TEST_CASE("every rule spread over ranks has the bits of the rule alone") {
  for (auto const& row : optim::optimizers()) {
    CAPTURE(row.name);
    Plan plan{.steps = 6, .optimizer = std::string(row.name)};
    auto const plain = row.whole ? std::vector<Curve>() : on_ranks(3, plan);
    plan.sharded = true;
    if (row.whole && !row.wrap) {
      CHECK(contains(error_of([&] { on_ranks(2, plan); }), "it cannot be spread"));
      continue;
    }
    CHECK(on_ranks(3, plan) == (row.whole ? on_ranks(3, {.steps = 6, .optimizer = plan.optimizer}) : plain));
  }
  Plan const around{.steps = 6, .optimizer = "lookahead:k=2+sam+cautious+lion", .sharded = true};
  Plan alone = around;
  alone.sharded = false;
  CHECK(on_ranks(2, around) == on_ranks(2, alone));
  CHECK(contains(error_of([] {
                   run_ranks(3, [](Communicator& c) {
                     nn::Linear model(2, 2);
                     make_sharded("adamw", optim::all_parameters(model), c);
                   });
                 }),
                 "2 parameters do not give each of 3 ranks one"));
}

TEST_CASE("a checkpoint of any number of ranks goes on with any other") {
  std::string const folder = std::filesystem::temp_directory_path() / "heed-resume-XXXXXX";
  std::string name = folder;
  REQUIRE(mkdtemp(name.data()) != nullptr);
  for (char const* optimizer : {"adamw", "schedule-free", "adan"}) {
    CAPTURE(optimizer);
    Curve const whole = train({.steps = 24, .optimizer = optimizer, .schedule = "constant"}, nullptr);
    for (int const saved : {1, 2, 3}) {
      std::string const path = name + "/" + std::to_string(saved);
      on_ranks(saved, {.steps = 12, .optimizer = optimizer, .schedule = "constant", .sharded = saved > 1, .to = path});
      for (int const resumed : {1, 2, 3})
        for (bool const sharded : {false, true}) {
          Plan const rest{
              .steps = 24, .optimizer = optimizer, .schedule = "constant", .sharded = sharded, .from = path};
          auto const curves = on_ranks(resumed, rest);
          for (Curve const& curve : curves) CHECK(curve == curves[0]);
          REQUIRE(curves[0].losses.size() == 12);
          Curve const uninterrupted =
              on_ranks(resumed, {.steps = 24, .optimizer = optimizer, .schedule = "constant"})[0];
          for (size_t i = 0; i < 12; ++i) CHECK(std::abs(curves[0].losses[i] - whole.losses[12 + i]) < 1e-4);
          if (resumed == saved)
            CHECK(std::vector(uninterrupted.losses.begin() + 12, uninterrupted.losses.end()) == curves[0].losses);
        }
    }
  }
  std::filesystem::remove_all(name);
}

TEST_CASE("early stop, schedules that observe and a stop asked of one rank end every rank at one step") {
  Plan plan{.steps = 60, .patience = 1, .schedule = "plateau:patience=1,factor=0.01"};
  auto const curves = on_ranks(2, plan);
  CHECK(curves[0] == curves[1]);
  plan = {.interrupted_rank = 1, .interrupted_step = 7};
  for (Curve const& curve : on_ranks(3, plan)) CHECK(curve.steps == 7);
}

namespace {

/// Two tied tables, a part that only some ranks use, one that none uses, and a running value.
struct Parts final : nn::Module {
  nn::Linear a{4, 4}, tied{4, 4}, some{4, 4}, nobodys{4, 4};
  Tensor running = zeros({2});
  Parts() { nn::tie(tied.weight, a.weight); }
  void visit(nn::Visitor& v) override {
    v.child("a", a), v.child("tied", tied), v.child("some", some), v.child("nobodys", nobodys);
    v.buffer("running", running);
  }
};

}  // namespace

TEST_CASE("unused and tied parameters, buffers, no_sync, uneven rows") {
  struct Seen {
    std::vector<std::vector<double>> gradients;
    std::vector<double> running;
    bool nobodys;
  };
  auto const x = numbers({5, 4}, 3, Dtype::f32);
  auto const loss_of = [](Parts& m, Tensor const& rows, bool with_some) {
    Tensor y = m.tied(tanh(m.a(rows)));
    if (with_some) y = y + m.some(rows);
    return mean(y * y);
  };
  std::vector<Seen> seen(3);
  run_ranks(3, [&](Communicator& c) {
    heed::seed(uint64_t(c.rank()));  // every rank begins elsewhere
    Parts model;
    model.running.copy_(full({2}, c.rank() + 1.));
    DataParallel parallel(model, c, {.bucket_bytes = 100});
    Rows const own = parallel.rows(5);
    model.running.copy_(full({2}, c.rank() + 10.));
    Tensor const mine = x.slice(0, own.first, own.first + own.count);
    {
      auto const held = parallel.no_sync();
      (loss_of(model, mine * 2., false) / parallel.parts()).backward();
    }
    (loss_of(model, mine, c.rank() == 1) / parallel.parts()).backward();
    parallel.finish();
    Seen& s = seen[size_t(c.rank())];
    for (auto const& p : nn::named_parameters(model)) {
      if (p.name.starts_with("nobodys")) s.nobodys = p.tensor.grad().defined();
      if (p.tensor.grad().defined()) s.gradients.push_back(p.tensor.grad().to(Dtype::f64).to_vector<double>());
    }
    s.running = model.running.to(Dtype::f64).to_vector<double>();
  });
  heed::seed(0);
  Parts model;
  for (int rank = 0; rank < 3; ++rank) {
    Rows const own = rows_of(5, rank, 3);
    Tensor const mine = x.slice(0, own.first, own.first + own.count);
    double const parts = 5. / double(own.count);
    (loss_of(model, mine * 2., false) / parts).backward();
    (loss_of(model, mine, rank == 1) / parts).backward();
  }
  std::vector<std::vector<double>> expected;
  for (Tensor const& p : nn::parameters(model))
    if (p.grad().defined()) expected.push_back(p.grad().to(Dtype::f64).to_vector<double>());
  for (Seen const& s : seen) {
    CHECK_FALSE(s.nobodys);
    CHECK(s.gradients == seen[0].gradients);
    REQUIRE(s.gradients.size() == expected.size());
    for (size_t i = 0; i < expected.size(); ++i)
      for (size_t k = 0; k < expected[i].size(); ++k)
        CHECK(s.gradients[i][k] == doctest::Approx(expected[i][k]).epsilon(1e-5));
    CHECK(s.running == std::vector<double>{10, 10});
  }
}

TEST_CASE("bad input is an error on every rank") {
  CHECK(contains(error_of([] { on_ranks(7, {}); }), "a batch of 6 rows does not give each of 7 ranks one"));
  CHECK(contains(error_of([] {
                   run_ranks(2, [](Communicator& c) {
                     nn::Linear model(3, 3 + c.rank());
                     DataParallel const parallel(model, c);
                   });
                 }),
                 "rank 1 holds another model than rank 0"));
  CHECK(contains(error_of([] {
                   run_ranks(2, [](Communicator& c) {
                     nn::Linear model(3, 3);
                     DataParallel const parallel(model, c);
                     for (int i = 0; i < 2; ++i) sum(model(ones({1, 3}))).backward();
                   });
                 }),
                 "hold no_sync() for all but the last"));
  // A loss that is not finite on one rank ends all.
  CHECK(contains(error_of([] {
                   run_ranks(2, [](Communicator& c) {
                     nn::Linear model(3, 3);
                     auto const sgd = optim::make_optimizer("sgd", optim::all_parameters(model), 1);
                     DataParallel parallel(model, c);
                     optim::Trainer trainer(model, *sgd, {}, [&] {
                       return sum(model(ones({1, 3}))) / (c.rank() == 1 ? 0. : 1.);
                     });
                     trainer.together(parallel);
                     optim::TrainingState state;
                     trainer.run(state);
                   });
                 }),
                 "at step 1"));
  CHECK(contains(error_of([] { rows_of(2, 0, 3); }), "2 rows"));
}

TEST_CASE("draws of ranks: rank 0's are the shared ones") {
  Generator const shared(7, 3);
  CHECK(of_rank(shared, 0).seed() == 7);
  CHECK(of_rank(shared, 1).seed() != 7);
  CHECK(of_rank(shared, 1).seed() != of_rank(shared, 2).seed());
  CHECK(of_rank(shared, 2).seed() == of_rank(Generator(7, 900), 2).seed());
  CHECK(of_rank(shared, 2).offset() == 3);
}
