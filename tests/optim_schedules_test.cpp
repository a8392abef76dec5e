// Every schedule of the catalogue: PyTorch's rates, ends and middles, parts joined, what resumes.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/safetensors.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <cmath>

using namespace heed;
using namespace heed::optim;

namespace {

using test::error_of;

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// The rates of steps 0 … last.
std::vector<double> rates(std::string_view text, ScheduleSpan const& span, int64_t last, int64_t warmup = 0) {
  auto const schedule = make_schedule(text, span, warmup);
  std::vector<double> list;
  for (int64_t step = 0; step <= last; ++step) list.push_back(schedule->at(step));
  return list;
}

}  // namespace

TEST_CASE("schedules: the rates are PyTorch's") {
  Safetensors const file = load_safetensors(std::string(HEED_SOURCE_DIR) + "/tests/golden/optimizers.safetensors");
  auto const losses = file.find("plateau losses")->to_vector<double>();
  int count = 0;
  for (auto const& [name, tensor] : file.tensors) {
    if (!name.starts_with("schedule ")) continue;
    CAPTURE(name);
    std::vector<std::string> parts;
    for (size_t from = 9; from < name.size();) {
      size_t const end = std::min(name.find(" @ ", from), name.size());
      parts.push_back(name.substr(from, end - from));
      from = end + 3;
    }
    ScheduleSpan const span{std::stod(parts[1]), std::stod(parts[2]), std::stol(parts[3])};
    auto const schedule = make_schedule(parts[0], parts[0] == "one-cycle" ? ScheduleSpan{span.peak, 0, 22} : span);
    auto const expected = tensor.to_vector<double>();
    for (size_t step = 0; step < expected.size(); ++step) {
      CHECK(schedule->at(int64_t(step)) == doctest::Approx(expected[step]).epsilon(1e-13));
      schedule->observe(losses[std::min(step, losses.size() - 1)]);
    }
    ++count;
  }
  CHECK(count == 17);
}

TEST_CASE("schedules: first, middle and last rate of each") {
  struct Case {
    char const* text;
    double first, middle, last;  // of 100 steps from 1 to 0.1: at 0, 50 and 100
  };
  double const r2 = std::sqrt(0.5);
  std::vector<Case> const cases{
      {"constant", 1, 1, 1},
      {"step:every=25,gamma=0.7", 1, 0.49, std::pow(0.7, 4)},
      {"step", 1, 0.1, 0.1},
      {"multistep:gamma=0.5", 1, 0.5, 0.25},
      {"exponential", 1, std::sqrt(0.1), 0.1},
      {"exponential:gamma=0.99", 1, std::pow(0.99, 50), std::pow(0.99, 100)},
      {"linear", 1, 0.55, 0.1},
      {"polynomial", 1, 0.1 + 0.9 / 4, 0.1},
      {"polynomial:power=1", 1, 0.55, 0.1},
      {"cosine", 1, 0.55, 0.1},
      {"cosine-restarts:period=40", 1, 0.1 + 0.45 * (1 + r2), 0.55},
      {"warmup", 0.01, 0.51, 1},
      {"one-cycle", 0.04, 0, 4e-6},
      {"cyclic:up=25,down=25", 0.1, 0.1, 0.1},
      {"cyclic:up=50", 0.1, 1, 0.1},
      {"plateau", 1, 1, 1},
      {"inverse-sqrt:scale=50", 1, r2, std::sqrt(1. / 3)},
      {"noam:warmup=10", 0.1, std::sqrt(10. / 51), std::sqrt(10. / 101)},
      {"wsd", 1, 1, 0.1},
      {"wsd:decay=0.8", 1, 1 - 0.9 * 3 / 8, 0.1},
      {"wsd:decay=0.75,shape=sqrt", 1, 0.1 + 0.9 * (1 - std::sqrt(1. / 3)), 0.1},
      {"wsd:decay=0.999999,shape=cosine", 1, 0.55, 0.1},
      {"rex", 1, 0.1 + 0.9 * 0.5 / 0.75, 0.1},
      {"tanh", 0.1 + 0.45 * (1 + std::tanh(6)), 0.1 + 0.45 * (1 + std::tanh(1.5)), 0.1 + 0.45 * (1 - std::tanh(3))},
      {"chebyshev:period=1", 2 / 11., 2 / 11., 2 / 11.},
  };
  std::vector<std::string_view> seen{"sequential", "chained"};
  for (Case const& c : cases) {
    CAPTURE(c.text);
    auto const r = rates(c.text, {1, 0.1, 100}, 200);
    CHECK(r[0] == doctest::Approx(c.first).epsilon(1e-12));
    if (c.middle != 0) CHECK(r[50] == doctest::Approx(c.middle).epsilon(1e-5));
    CHECK(r[100] == doctest::Approx(c.last).epsilon(1e-9));
    for (double const rate : r) CHECK((rate >= 0 && rate <= 1));
    // Rates are shares of the peak.
    auto const scaled = rates(c.text, {1e-3, 1e-4, 100}, 200);
    for (size_t i = 0; i < r.size(); ++i) CHECK(scaled[i] == doctest::Approx(1e-3 * r[i]).epsilon(1e-12));
    seen.push_back(std::string_view(c.text).substr(0, std::string_view(c.text).find(':')));
  }
  for (ScheduleRow const& row : schedules())
    CHECK_MESSAGE(std::find(seen.begin(), seen.end(), row.name) != seen.end(), row.name);
  auto const noam = rates("noam:warmup=10", {1, 0, 100}, 100);
  CHECK(noam[9] == 1);
  CHECK(*std::max_element(noam.begin(), noam.end()) == 1);
  auto const cycle = rates("one-cycle", {1, 0, 100}, 100);
  CHECK(cycle[29] == doctest::Approx(1));
}

TEST_CASE("schedules: Chebyshev's rates are the roots of its polynomial, long steps between short ones") {
  auto const r = rates("chebyshev:period=8", {1, 0.1, 100}, 15);
  std::vector<double> sorted(r.begin(), r.begin() + 8), nodes;
  for (int i = 0; i < 8; ++i) nodes.push_back(2 / (11 - 9 * std::cos((i + 0.5) * std::numbers::pi / 8)));
  std::sort(sorted.begin(), sorted.end());
  std::sort(nodes.begin(), nodes.end());
  for (size_t i = 0; i < 8; ++i) {
    CHECK(sorted[i] == doctest::Approx(nodes[i]).epsilon(1e-12));
    CHECK(r[i] == r[i + 8]);
  }
  // After n steps on a quadratic with curvature anywhere in [1/peak, 1/floor], the error is at most 1/T_n(1.22).
  double worst = 0;
  for (double curvature = 1; curvature <= 10; curvature += 0.01) {
    double x = 1;
    for (size_t i = 0; i < 8; ++i) x *= 1 - r[i] * curvature;
    worst = std::max(worst, std::abs(x));
  }
  CHECK(worst == doctest::Approx(1 / std::cosh(8 * std::acosh(11. / 9))).epsilon(1e-3));
  // The order keeps every partial product small, where the sorted one lets errors grow.
  double largest = 0;
  for (double curvature = 1; curvature <= 10; curvature += 0.01) {
    double x = 1;
    for (size_t i = 0; i < 8; ++i) largest = std::max(largest, std::abs(x *= 1 - r[i] * curvature));
  }
  CHECK(largest < 12);
}

TEST_CASE("schedules: parts in turn, products, and a warm-up before any") {
  auto const a = rates("warmup:steps=10+constant:steps=20+linear", {1, 0.1, 60}, 80);
  CHECK(a[0] == doctest::Approx(0.1));
  CHECK(a[9] == 1);
  CHECK(a[29] == 1);
  CHECK(a[45] == doctest::Approx(0.55));
  CHECK(a[60] == doctest::Approx(0.1));
  CHECK(a[80] == doctest::Approx(0.1));
  auto const equal = rates("constant+linear", {1, 0, 20}, 20);
  CHECK(equal[9] == 1);
  CHECK(equal[15] == doctest::Approx(0.5));
  CHECK(rates("cosine", {1, 0.1, 110}, 120, 10) == rates("warmup:steps=10+cosine", {1, 0.1, 110}, 120));
  CHECK(rates("noam:warmup=7", {1, 0.1, 110}, 120, 10) == rates("noam:warmup=7", {1, 0.1, 110}, 120));
  CHECK(rates("cosine", {1, 0, 5}, 9, 5).back() == 0);  // nothing is left for the cosine
  auto const product = rates("warmup:steps=10*exponential:gamma=0.9", {2, 0, 60}, 60);
  for (size_t i = 0; i <= 60; ++i)
    CHECK(product[i] == doctest::Approx(2 * std::min(1., double(i + 1) / 10) * std::pow(0.9, double(i))));
}

TEST_CASE("schedules: plateau goes on where it stopped") {
  for (char const* text :
       {"plateau:patience=1,factor=0.5", "plateau:patience=1*linear", "constant:steps=3+plateau:patience=0"}) {
    CAPTURE(text);
    ScheduleSpan const span{1, 0, 20};
    auto const whole = make_schedule(text, span), half = make_schedule(text, span), rest = make_schedule(text, span);
    std::vector<double> const losses{3, 2, 4, 5, 6, 1, 2, 3, 4, 5, 0, 1, 2};
    for (double const loss : losses) whole->observe(loss);
    for (size_t i = 0; i < 6; ++i) half->observe(losses[i]);
    rest->remember(half->memory());
    for (size_t i = 6; i < losses.size(); ++i) rest->observe(losses[i]);
    CHECK(whole->memory() == rest->memory());
    for (int64_t step = 0; step < 20; ++step) CHECK(whole->at(step) == rest->at(step));
    CHECK(whole->at(5) < make_schedule(text, span)->at(5));
    CHECK(!error_of([&] { rest->remember({1, 2}); }).empty());
  }
  CHECK(!error_of([] { make_schedule("cosine", {})->remember({1}); }).empty());
}

namespace {

struct Numbers final : nn::ConfigVisitor {
  std::vector<std::string> names;
  void field(std::string_view name, int64_t&, std::string_view) override { names.emplace_back(name); }
  void field(std::string_view name, double&, std::string_view) override { names.emplace_back(name); }
  void field(std::string_view, bool&, std::string_view) override {}
  void field(std::string_view, std::string&, std::string_view) override {}
};

}  // namespace

TEST_CASE("schedules: settings out of range, of another type or unknown are errors that say so") {
  for (ScheduleRow const& row : schedules()) {
    CAPTURE(row.name);
    if (row.family == "composition") {
      CHECK(contains(error_of([&] { make_schedule(row.name, {}); }), "a+b"));
      continue;
    }
    CHECK(contains(error_of([&] { make_schedule(fmt::format("{}:nonsense=1", row.name), {}); }), "nonsense"));
    if (!row.options) continue;
    Numbers numbers;
    row.options(numbers);
    for (auto const& name : numbers.names)
      for (char const* bad : {"-1", "x"})
        CHECK(contains(error_of([&] { make_schedule(fmt::format("{}:{}={}", row.name, name, bad), {}); }), name));
  }
  CHECK(contains(error_of([] { make_schedule("cosin", {}); }), "cosine"));
  CHECK(contains(error_of([] { make_schedule("cosine", {.peak = 1, .floor = 2}); }), "floor"));
  CHECK(contains(error_of([] { make_schedule("cosine", {.peak = -1}); }), "peak"));
  CHECK(contains(error_of([] { make_schedule("cosine", {.steps = 0}); }), "steps"));
  CHECK(contains(error_of([] { make_schedule("cosine:steps=x+linear", {}); }), "steps"));
  CHECK(contains(error_of([] { make_schedule("one-cycle:div=0", {}); }), "rate of"));
  CHECK(contains(error_of([] { make_schedule("chebyshev:period=12", {}); }), "power of two"));
  CHECK(contains(error_of([] { make_schedule("wsd:shape=round", {}); }), "linear, cosine or sqrt"));
  CHECK(contains(error_of([] { make_schedule("multistep:milestones=1/x", {}); }), "milestones"));
}
