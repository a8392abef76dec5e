// The synthetic tasks: every question has its answer where the batch says, draws repeat, and blind guesses are worth
// what the rows say. The test walks the catalogue: a task that has no check of its own fails it.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/optim/tasks.h>

#include <cmath>
#include <map>
#include <set>

using namespace heed;
using namespace heed::optim;

namespace {

/// One example of a task of tokens.
struct Example {
  std::vector<int64_t> inputs, targets, distances;
  std::vector<int64_t> asked() const {
    std::vector<int64_t> places;
    for (size_t i = 0; i < targets.size(); ++i)
      if (targets[i] != -100) places.push_back(int64_t(i));
    return places;
  }
};

Example example(TaskBatch const& batch, int64_t b) {
  return {batch.inputs.select(0, b).to_vector<int64_t>(), batch.targets.select(0, b).to_vector<int64_t>(),
          batch.distances.select(0, b).to_vector<int64_t>()};
}

void check_mqar(Example const& e, Task const& task) {
  CHECK(e.asked().size() == 8);
  std::set<int64_t> keys;
  for (int64_t at : e.asked()) {
    int64_t const key = e.inputs[size_t(at)];
    CHECK(key >= 1);
    CHECK(key < task.vocabulary / 2);
    CHECK(keys.insert(key).second);  // each asked for once
    CHECK(std::count(e.inputs.begin(), e.inputs.end(), key) == 2);
    auto const first = std::find(e.inputs.begin(), e.inputs.end(), key) - e.inputs.begin();
    CHECK(first % 2 == 0);
    CHECK(first + 1 == at - e.distances[size_t(at)]);
    CHECK(at >= 16);
  }
}

void check_in_order(Example const& e, int64_t count) {
  auto const asked = e.asked();
  REQUIRE(int64_t(asked.size()) == count);
  int64_t last = -1;
  for (int64_t at : asked) {
    int64_t const source = at - e.distances[size_t(at)];
    CHECK(source > last);
    last = source;
  }
  CHECK(asked.back() == int64_t(e.inputs.size()) - 1);
}

void check_passkey(Example const& e, Task const&) {
  check_in_order(e, 4);
  auto const asked = e.asked();
  CHECK(std::count(e.inputs.begin(), e.inputs.end(), 0) == 2);
  CHECK(e.inputs[size_t(asked[0])] == 0);
  for (size_t d = 0; d + 1 < asked.size(); ++d) CHECK(e.inputs[size_t(asked[d + 1])] == e.targets[size_t(asked[d])]);
}

void check_induction(Example const& e, Task const&) {
  CHECK(e.asked() == std::vector<int64_t>{63});
  auto const first = std::find(e.inputs.begin(), e.inputs.end(), 0) - e.inputs.begin();
  CHECK(first < 62);
  CHECK(e.targets[63] == e.inputs[size_t(first) + 1]);
  CHECK(std::count(e.inputs.begin(), e.inputs.end(), 0) == 2);
}

std::map<std::string_view, void (*)(Example const&, Task const&)> const checks{
    {"mqar", check_mqar},
    {"selective-copy",
     [](Example const& e, Task const& task) {
       check_in_order(e, 8);
       CHECK(std::count(e.inputs.begin(), e.inputs.end(), 1) == 8);
       CHECK(std::count(e.inputs.begin(), e.inputs.end(), 0) == task.length - 16);
     }},
    {"passkey", check_passkey},
    {"copy-memory",
     [](Example const& e, Task const&) {
       check_in_order(e, 10);
       for (int64_t at : e.asked()) CHECK(e.distances[size_t(at)] == 42);
       CHECK(e.inputs[41] == 1);
     }},
    {"induction", check_induction},
};

bool same(TaskBatch const& a, TaskBatch const& b) {
  return a.inputs.to_vector<double>() == b.inputs.to_vector<double>() &&
         a.targets.to_vector<double>() == b.targets.to_vector<double>() &&
         a.distances.to_vector<double>() == b.distances.to_vector<double>();
}

}  // namespace

TEST_CASE("every task of tokens: shapes, ranges, answers where the distances say, and the row's own law") {
  for (TaskRow const& row : tasks()) {
    CAPTURE(row.name);
    auto const task = make_task(row.name);
    Generator g1(3), g2(3), g3(4);
    TaskBatch const batch = task->draw(50, g1);
    CHECK(same(batch, task->draw(50, g2)));
    CHECK(!same(batch, task->draw(50, g3)));
    CHECK(!same(batch, task->draw(50, g2)));
    if (task->features > 0) continue;
    CHECK(batch.inputs.shape() == Shape{50, task->length});
    CHECK(batch.inputs.dtype() == Dtype::i64);
    REQUIRE(checks.count(row.name) == 1);
    std::map<int64_t, int64_t> answers;
    for (int64_t b = 0; b < 50; ++b) {
      Example const e = example(batch, b);
      for (size_t i = 0; i < e.inputs.size(); ++i) {
        CHECK(e.inputs[i] >= 0);
        CHECK(e.inputs[i] < task->vocabulary);
        CHECK((e.distances[i] == -1) == (e.targets[i] == -100));
        if (e.targets[i] == -100) continue;
        CHECK(e.inputs[i - size_t(e.distances[i])] == e.targets[i]);
        ++answers[e.targets[i]];
      }
      checks.at(row.name)(e, *task);
    }
    // The blind loss is that of a uniform guess among the answers that occur.
    TaskBatch const many = task->draw(2000, g1);
    answers.clear();
    for (int64_t t : many.targets.to_vector<int64_t>())
      if (t != -100) ++answers[t];
    double total = 0, entropy = 0;
    for (auto const& [answer, n] : answers) total += double(n);
    for (auto const& [answer, n] : answers) entropy -= double(n) / total * std::log(double(n) / total);
    CHECK(double(answers.size()) == doctest::Approx(std::exp(task->blind_loss)));
    CHECK(entropy == doctest::Approx(task->blind_loss).epsilon(0.01));
  }
}

TEST_CASE("adding: two marks, one in each half, their sum, and an error of 1/6 for the guess 1") {
  for (int64_t length : {2, 7, 64}) {
    auto const task = make_task("adding:length=" + std::to_string(length));
    Generator generator(5);
    TaskBatch const batch = task->draw(20000, generator);
    CHECK(batch.inputs.shape() == Shape{20000, length, 2});
    Tensor const values = batch.inputs.select(2, 0), marks = batch.inputs.select(2, 1);
    CHECK(amax(abs(sum(values * marks, {1}) - batch.targets), {0}).item() < 1e-6);
    Tensor const first = marks.slice(1, 0, length / 2), second = marks.slice(1, length / 2, length);
    CHECK(amax(abs(sum(first, {1}) - 1), {0}).item() == 0);
    CHECK(amax(abs(sum(second, {1}) - 1), {0}).item() == 0);
    // The variance of (x − 1)² for x a sum of two uniforms is 1/15 − 1/36.
    double const error = mean(square(batch.targets - 1)).item();
    CHECK(std::abs(error - task->blind_loss) < 5 * std::sqrt((1. / 15 - 1. / 36) / 20000));
    CHECK(task->blind_loss == doctest::Approx(1. / 6));
  }
}

TEST_CASE("recall: gaps follow the power law, and blanks take the place of noise") {
  Generator generator(9);
  // A small power asks near: of one pair, the first gap has the largest share.
  auto const near = make_task("mqar:pairs=1,length=34,vocabulary=16,power=0.01");
  std::map<int64_t, int64_t> gaps;
  TaskBatch const batch = near->draw(20000, generator);
  for (int64_t d : batch.distances.to_vector<int64_t>())
    if (d > 0) ++gaps[(d - 1) / 2];
  double sum = 0;
  for (int g = 0; g < 16; ++g) sum += std::pow(g + 1., 0.01 - 1);
  for (int g = 0; g < 16; ++g) {
    double const share = std::pow(g + 1., 0.01 - 1) / sum;
    CHECK(std::abs(double(gaps[g]) / 20000 - share) < 5 * std::sqrt(share / 20000));
  }
  // As many questions as fit: every place is taken.
  auto const full = make_task("mqar:pairs=8,length=32,vocabulary=18,noise=false");
  Example const e = example(full->draw(1, generator), 0);
  CHECK(e.asked() == std::vector<int64_t>{16, 18, 20, 22, 24, 26, 28, 30});
  for (int64_t at : e.asked()) CHECK(e.inputs[size_t(at) + 1] == 0);
}

TEST_CASE("tasks: unknown names, unknown settings, and settings that leave no room") {
  for (char const* text :
       {"mqra", "mqar:keys=3", "mqar:pairs=x", "mqar:pairs=17", "mqar:pairs=0", "mqar:vocabulary=17", "mqar:power=0",
        "selective-copy:tokens=33", "selective-copy:vocabulary=2", "passkey:digits=64", "passkey:digits=0",
        "adding:length=1", "copy-memory:blanks=0", "induction:vocabulary=2", "mqar:length=99999999999"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(make_task(text), Error);
  }
}
