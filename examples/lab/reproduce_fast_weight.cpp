// heed-lab reproduce fast-weight: how many associations a sequence layer holds. A sequence of keys and values, one
// query, and the answer is the value that stood last beside the queried key. Schlag, Irie and Schmidhuber, "Linear
// transformers are secretly fast weight programmers" (2021): figure 2, every key once, and figure 3, twice as many
// positions as keys, drawn with replacement, so that an association must be replaced.
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/dpfp.h>
#include <heed/nn/attention/performer.h>
#include <heed/nn/init.h>
#include <heed/optim/catalogue.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "progress.h"
#include "reproduce.h"

namespace lab {
namespace {

using namespace heed;

enum class Kind { softmax, linear, dpfp, favor };
enum class Rule { sum, delta };
struct Memory {
  char const* name;
  Kind kind;
  Rule rule = Rule::sum;
  int64_t size = 0;  // ν of DPFP, m of FAVOR, which has 2m features
};
constexpr Memory softmax_memory{"softmax", Kind::softmax}, linear_memory{"linear", Kind::linear},
    dpfp_1{"dpfp-1", Kind::dpfp, Rule::sum, 1}, dpfp_2{"dpfp-2", Kind::dpfp, Rule::sum, 2},
    dpfp_3{"dpfp-3", Kind::dpfp, Rule::sum, 3}, favor_64{"favor-64", Kind::favor, Rule::sum, 64},
    dpfp_1_delta{"dpfp-1 delta", Kind::dpfp, Rule::delta, 1}, dpfp_2_delta{"dpfp-2 delta", Kind::dpfp, Rule::delta, 2};

/// One point of a figure. `published`: the lowest evaluation loss in the authors' logs (github.com/ischlag/
/// fast-weight-transformers, synthetic/logs), one seed, d = 64; 0.5 is what an answer of 0 scores.
struct Cell {
  int figure;
  Memory memory;
  int64_t keys;
  double published;
  bool quick = false;
};
constexpr Cell cells[] = {
    {2, softmax_memory, 60, 7e-5, true},
    {2, softmax_memory, 100, 2e-5},
    {2, softmax_memory, 200, 9e-6},
    {2, softmax_memory, 400, 3e-6},
    {2, linear_memory, 60, 0.0245, true},
    {2, linear_memory, 100, 0.164, true},
    {2, linear_memory, 200, 0.342},
    {2, linear_memory, 400, 0.422},
    {2, dpfp_1, 60, 4e-4, true},
    {2, dpfp_1, 100, 2e-4},
    {2, dpfp_1, 200, 0.173},
    {2, dpfp_1, 400, 0.341},
    {2, dpfp_2, 60, 1e-3},
    {2, dpfp_2, 100, 5e-4},
    {2, dpfp_2, 200, 4e-4},
    {2, dpfp_2, 400, 0.164},
    {2, dpfp_3, 60, 5e-4},
    {2, dpfp_3, 100, 5e-4},
    {2, dpfp_3, 200, 9e-4},
    {2, dpfp_3, 400, 0.036},
    {2, favor_64, 60, 0.483, true},
    {2, favor_64, 100, 0.496},
    {2, favor_64, 200, 0.5},
    {2, favor_64, 400, 0.5},
    {3, dpfp_1, 20, 0.097, true},
    {3, dpfp_1, 60, 0.103},
    {3, dpfp_1, 200, 0.231},
    {3, dpfp_1_delta, 20, 8e-4, true},
    {3, dpfp_1_delta, 60, 0.0049},
    {3, dpfp_1_delta, 200, 0.171},
    {3, dpfp_2_delta, 20, 1e-3},
    {3, dpfp_2_delta, 60, 5e-4},
    {3, dpfp_2_delta, 200, 8e-4},
};

// What counts as agreement, fixed before any run: the regime of the published loss, and for partial memories within a
// factor of 2 of it.
constexpr double solved_below = 0.01, failed_above = 0.4, partial_factor = 2;
char const* regime(double loss) { return loss < solved_below ? "solved" : loss <= failed_above ? "partial" : "failed"; }
bool agrees(double measured, double published) {
  std::string_view const expected = regime(published);
  if (regime(measured) != expected) return false;
  return expected != "partial" || (measured < published * partial_factor && measured > published / partial_factor);
}

/// Key and value embeddings are joined, and projected to keys; queries come from key embeddings, values are one-hot and
/// not projected: all that is learned is which key to give each association.
class Associations final : public nn::Module {
 public:
  static constexpr int64_t width = 64;
  Associations(Memory const& memory, int64_t count) : memory_(memory), count_(count) {
    int64_t const embedding = int64_t(double(2 * count) * 1.1);
    auto const drawn = [](Shape const& shape, double bound) { return uniform(shape, -bound, bound).requires_grad_(); };
    double const joined = double(embedding + count), d = double(width);
    bool const softmax = memory.kind == Kind::softmax;
    double const of_k = softmax ? std::sqrt(6 / (joined + d)) : 1 / std::sqrt(d);
    double const of_q = softmax ? std::sqrt(6 / (double(embedding) + d)) : 1 / std::sqrt(d);
    keys = randn({count, embedding}).requires_grad_();
    k_of_value = drawn({count, width}, of_k);
    k_of_key = drawn({width, embedding}, of_k);
    k_bias = drawn({width}, 1 / std::sqrt(joined));
    q_of_key = drawn({width, embedding}, of_q);
    q_bias = drawn({width}, 1 / std::sqrt(double(embedding)));
    if (memory.rule != Rule::delta) return;
    beta_of_value = drawn({count, 1}, 1 / std::sqrt(joined));
    beta_of_key = drawn({1, embedding}, 1 / std::sqrt(joined));
    beta_bias = drawn({1}, 1 / std::sqrt(joined));
  }
  void visit(nn::Visitor& v) override {
    v.parameter("keys", keys);
    v.parameter("k_of_value", k_of_value);
    v.parameter("k_of_key", k_of_key);
    v.parameter("k_bias", k_bias);
    v.parameter("q_of_key", q_of_key);
    v.parameter("q_bias", q_bias);
    v.parameter("beta_of_value", beta_of_value);
    v.parameter("beta_of_key", beta_of_key);
    v.parameter("beta_bias", beta_bias);
  }
  /// Keys and values i64 [B, L], queries i64 [B, Q] → the answers [B, Q, count].
  Tensor forward(Tensor const& key, Tensor const& value, Tensor const& query) const {
    Tensor const w = weights(key, value, query);
    Shape const shape = w.shape();
    Tensor const index = value.unsqueeze(1).expand(shape).contiguous();
    return scatter_add(zeros({shape[0], shape[1], count_}), 2, index, w);
  }

 private:
  /// How much of each position's value an answer holds: [B, Q, L].
  Tensor weights(Tensor const& key, Tensor const& value, Tensor const& query) const {
    Tensor k = embedding(key, linear(keys, k_of_key, k_bias)) + embedding(value, k_of_value);
    Tensor q = embedding(query, linear(keys, q_of_key, q_bias));
    if (memory_.kind == Kind::softmax) return softmax(matmul(q, k.t()) * (1 / std::sqrt(double(width))));
    std::tie(q, k) = features(q, k);
    if (memory_.rule == Rule::sum) {
      Tensor const scores = matmul(q, k.t());
      return scores / (sum(scores, {-1}, true) + 1e-6);
    }
    Tensor const beta = sigmoid(embedding(key, linear(keys, beta_of_key, beta_bias)) + embedding(value, beta_of_value));
    return delta_weights(q / (sum(q, {-1}, true) + 1e-6), k / sum(k, {-1}, true), beta);
  }

  std::pair<Tensor, Tensor> features(Tensor const& q, Tensor const& k) const {
    if (memory_.kind == Kind::linear) return {elu(q) + 1, elu(k) + 1};
    if (memory_.kind == Kind::dpfp) return {nn::dpfp_features(q, memory_.size), nn::dpfp_features(k, memory_.size)};
    Tensor const directions = nn::orthogonal_features(memory_.size, width).t();
    auto const phi = [&](Tensor const& x) {
      Tensor const along = matmul(x, directions);
      Tensor const shift = sum(square(x), {-1}, true) * 0.5 + 0.5 * std::log(2. * double(memory_.size));
      return cat({exp(along - shift), exp(-along - shift)}, -1);
    };
    return {phi(q), phi(k)};
  }

  /// Of W_t = W_{t−1}(1 − β_t·k_t·k_tᵀ) + β_t·v_t·k_tᵀ asked with q at the end, v_t's share is β_t·k_tᵀr_t, where r
  /// runs back from r_L = q by r_{t−1} = (1 − β_t·k_t·k_tᵀ)·r_t: a scan of vectors in place of one of matrices.
  static Tensor delta_weights(Tensor const& q, Tensor const& k, Tensor const& beta) {
    Tensor const back = flip(k, {1}).unsqueeze(1), back_beta = flip(beta, {1}).unsqueeze(1);  // one head
    int64_t const length = k.size(1), queries = q.size(1);
    Scanned const r = scan(back, zeros_like(back.detach()), zeros({k.size(0), 1, length, queries}),
                           {.a = -(back * back_beta), .b = back, .initial = q.t().unsqueeze(1), .inclusive = false});
    return flip((r.out * back_beta).select(1, 0), {1}).t();
  }

  Memory memory_;
  int64_t count_;
  Tensor keys, k_of_value, k_of_key, k_bias, q_of_key, q_bias, beta_of_value, beta_of_key, beta_bias;
};

/// Sequences of associations and what is asked of them.
struct Questions {
  Tensor key, value, query, answer;
};
/// `batch` sequences. `one`: one random question each, else each key that occurs, at most 200, of one sequence.
Questions draw(int64_t batch, int64_t count, bool replace, bool one, Generator& generator) {
  int64_t const length = replace && one ? 2 * count : count;
  auto const symbols = [&] {
    return replace ? randint(0, count, {batch, length}, generator)
                   : argsort(rand({batch, length}, Dtype::f32, generator), -1);
  };
  Questions q{symbols(), symbols(), {}, {}};
  auto const key = q.key.to_vector<int64_t>(), value = q.value.to_vector<int64_t>();
  std::vector<int64_t> asked, answers;
  auto const chosen = one ? randint(0, length, {batch}, generator).to_vector<int64_t>() : std::vector<int64_t>{};
  for (int64_t b = 0; b < batch; ++b) {
    std::map<int64_t, int64_t> last;
    for (int64_t t = 0; t < length; ++t) last[key[size_t(b * length + t)]] = value[size_t(b * length + t)];
    for (auto const& [symbol, answer] : last) {
      if (one ? symbol != key[size_t(b * length + chosen[size_t(b)])] : asked.size() == 200) continue;
      asked.push_back(symbol);
      answers.push_back(answer);
    }
  }
  Shape const shape{batch, int64_t(asked.size()) / batch};
  q.query = tensor(asked, shape);
  q.answer = tensor(answers, shape);
  return q;
}

Tensor loss_of(Associations const& model, Questions const& q, int64_t count) {
  Tensor const error = model.forward(q.key, q.value, q.query) - one_hot(q.answer, count).to(Dtype::f32);
  return mean(sum(square(error), {-1})) * 0.5;
}

struct Result {
  double loss = INFINITY;
  int64_t steps = 0;
  double seconds = 0;
};

/// Adam at 0.001, batches of 32; every 100 steps 20 sequences are asked for all keys. Ends at a loss of 0.001 as the
/// paper does, or after 10 evaluations without a gain of 1 %.
template <class OnEvaluation>
Result measure(Cell const& cell, int64_t given_seed, OnEvaluation const& on_evaluation) {
  constexpr int64_t most_steps = 7000, every = 100;
  constexpr int patience = 10;
  seed(uint64_t(given_seed));
  Generator generator(uint64_t(given_seed) + 1000);
  Associations model(cell.memory, cell.keys);
  auto const adam = optim::make_optimizer("adam", optim::all_parameters(model), 1e-3);
  auto const start = std::chrono::steady_clock::now();
  Result best;
  double last_gain = INFINITY;
  int stale = 0;
  for (int64_t step = 1; step <= most_steps && stale <= patience && best.loss > 0.001; ++step) {
    adam->zero_grad();
    loss_of(model, draw(32, cell.keys, cell.figure == 3, true, generator), cell.keys).backward();
    adam->step();
    if (step % every != 0) continue;
    NoGrad const off;
    double total = 0;
    constexpr int sequences = 20;
    for (int i = 0; i < sequences; ++i)
      total += loss_of(model, draw(1, cell.keys, cell.figure == 3, false, generator), cell.keys).item();
    double const loss = total / sequences;
    if (loss < best.loss) best.loss = loss;
    stale = loss < 0.99 * last_gain ? 0 : stale + 1;
    if (stale == 0) last_gain = loss;
    best.steps = step;
    best.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    on_evaluation(best, loss);
  }
  return best;
}

std::string name_of(Cell const& cell) {
  return fmt::format("figure {}, {}, {}", cell.figure, cell.memory.name, cell.keys);
}

/// Results by cell and seed, one line each, in a file that outlives the run.
class Journal {
 public:
  explicit Journal(std::string const& path, int64_t seed) : seed_(seed) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
      size_t const tab = line.find('\t');
      Result r;
      std::istringstream numbers(tab == std::string::npos ? "" : line.substr(tab));
      if (numbers >> r.loss >> r.steps >> r.seconds) known_[line.substr(0, tab)] = r;
    }
    out_.open(path, std::ios::app);
  }
  Result const* find(Cell const& cell) const {
    auto const found = known_.find(key(cell));
    return found == known_.end() ? nullptr : &found->second;
  }
  void add(Cell const& cell, Result const& r) {
    out_ << fmt::format("{}\t{:.6g} {} {:.1f}\n", key(cell), r.loss, r.steps, r.seconds) << std::flush;
    known_[key(cell)] = r;
  }

 private:
  std::string key(Cell const& cell) const { return fmt::format("{}, seed {}", name_of(cell), seed_); }
  int64_t seed_;
  std::map<std::string, Result> known_;
  std::ofstream out_;
};

/// Roughly proportional to the time of a cell.
double effort(Cell const& cell) {
  int64_t const rows = cell.memory.kind == Kind::dpfp ? 2 * cell.memory.size : 1;
  double const steps = cell.published < solved_below ? 1 : 2.5;
  return double(cell.keys) * (cell.figure == 3 ? 2 : 1) * double(2 + rows) * steps *
         (cell.memory.rule == Rule::delta ? 3 : 1);
}

}  // namespace

int reproduce_fast_weight(ReproduceSettings const& settings) {
  std::vector<Cell> chosen;
  for (Cell const& cell : cells)
    if (cell.quick || !settings.quick) chosen.push_back(cell);
  Journal journal(settings.out + "/fast-weight.txt", settings.seed);
  double left = 0, done = 0, seconds = 0;
  for (Cell const& cell : chosen)
    if (!journal.find(cell)) left += effort(cell);

  fmt::print(
      "Fast-weight capacity (Schlag et al., 2021): {} cells, d = {}, results in {}/fast-weight.txt\n"
      "solved: loss < {}; failed: > {}; partial: within a factor of {} of the published loss\n\n",
      chosen.size(), Associations::width, settings.out, solved_below, failed_above, partial_factor);
  bool const terminal = isatty(STDERR_FILENO) != 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    Cell const& cell = chosen[i];
    if (journal.find(cell)) continue;
    Result const r = measure(cell, settings.seed, [&](Result const& best, double loss) {
      if (!terminal) return;
      std::string const eta =
          done > 0 ? fmt::format("  ETA {}", clock_text(std::max(0., left * seconds / done - best.seconds))) : "";
      fmt::print(stderr, "\r\033[K[{}/{}] {} keys: step {}  loss {:.4f}{}", i + 1, chosen.size(), name_of(cell),
                 best.steps, loss, eta);
      std::fflush(stderr);
    });
    journal.add(cell, r);
    seconds += r.seconds;
    done += effort(cell);
    left -= effort(cell);
    if (terminal)
      fmt::print(stderr, "\r\033[K");
    else
      fmt::print(stderr, "[{}/{}] {} keys: loss {:.2g} after {} steps, {}  ETA {}\n", i + 1, chosen.size(),
                 name_of(cell), r.loss, r.steps, clock_text(r.seconds), clock_text(left * seconds / done));
  }

  int disagree = 0;
  fmt::print("{:<8}{:<14}{:>6}{:>12}{:>11}{:>8}{:>9}  {}\n", "figure", "memory", "keys", "published", "measured",
             "steps", "seconds", "verdict");
  for (Cell const& cell : chosen) {
    Result const& r = *journal.find(cell);
    bool const same = agrees(r.loss, cell.published);
    disagree += same ? 0 : 1;
    fmt::print("{:<8}{:<14}{:>6}{:>12.2g}{:>11.2g}{:>8}{:>9.1f}  {}\n", cell.figure, cell.memory.name, cell.keys,
               cell.published, r.loss, r.steps, r.seconds,
               same ? fmt::format("agrees: {}", regime(cell.published))
                    : fmt::format("DISAGREES: {}, published {}", regime(r.loss), regime(cell.published)));
  }
  fmt::print("\n{} of {} cells agree with the published regimes.\n", int(chosen.size()) - disagree, chosen.size());
  return disagree;
}

}  // namespace lab
