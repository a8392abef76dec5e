#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/tasks.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace heed::optim {
namespace {

constexpr int64_t nothing = -100;  // cross_entropy's ignore_index

/// The numbers of one draw, one after another.
class Dice {
 public:
  Dice(int64_t rolls, Generator& generator) : uniform_(rand({rolls}, Dtype::f64, generator).to_vector<double>()) {}
  double uniform() { return uniform_[at_++]; }
  int64_t below(int64_t n) { return std::min(int64_t(uniform() * double(n)), n - 1); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low); }
  /// Moves `count` of `list`, drawn without replacement, to its front.
  void shuffle(std::vector<int64_t>& list, int64_t count) {
    for (int64_t i = 0; i < count; ++i) std::swap(list[size_t(i)], list[size_t(between(i, int64_t(list.size())))]);
  }

 private:
  std::vector<double> uniform_;
  size_t at_ = 0;
};

std::vector<int64_t> range(int64_t from, int64_t to) {
  std::vector<int64_t> list(size_t(to - from));
  std::iota(list.begin(), list.end(), from);
  return list;
}

/// One example as it is filled in.
struct Row {
  int64_t *inputs, *targets, *distances;
  void ask(int64_t at, int64_t answer, int64_t source) const {
    targets[at] = answer;
    distances[at] = at - source;
  }
};

/// A task of tokens: fill() writes one example with at most `rolls` numbers.
class TokenTask : public Task {
 public:
  TaskBatch draw(int64_t count, Generator& generator) const final {
    TaskBatch batch{zeros({count, length}, Dtype::i64), full({count, length}, double(nothing), Dtype::i64),
                    full({count, length}, -1., Dtype::i64)};
    Dice dice(count * rolls_, generator);
    for (int64_t b = 0; b < count; ++b)
      fill({batch.inputs.data<int64_t>() + b * length, batch.targets.data<int64_t>() + b * length,
            batch.distances.data<int64_t>() + b * length},
           dice);
    return batch;
  }

 protected:
  TokenTask(int64_t given_length, int64_t given_vocabulary, int64_t answers, int64_t rolls) : rolls_(rolls) {
    length = given_length;
    vocabulary = given_vocabulary;
    blind_loss = std::log(double(answers));
  }

 private:
  virtual void fill(Row const& row, Dice& dice) const = 0;
  int64_t rolls_;
};

void check_room(char const* task, bool fits, std::string const& needs) {
  check(fits, task, [&] {
    return Complaint{fmt::format("the settings leave no room: {}", needs),
                     "choose a longer sequence, more tokens or fewer questions"};
  });
}

class AssociativeRecall final : public TokenTask {
 public:
  explicit AssociativeRecall(AssociativeRecallConfig const& c)
      : TokenTask(c.length, c.vocabulary, c.vocabulary - c.vocabulary / 2, 3 * c.pairs + c.length), config_(c) {
    check_room("mqar",
               c.pairs >= 1 && c.length <= 1 << 24 && 4 * c.pairs <= c.length && c.vocabulary / 2 - 1 >= c.pairs &&
                   c.vocabulary <= 1 << 24,
               fmt::format("expected a length of 4·pairs or more and a vocabulary of 2·pairs + 2 or more, got "
                           "length {}, pairs {}, vocabulary {}",
                           c.length, c.pairs, c.vocabulary));
    check_room("mqar", c.power > 0, fmt::format("expected a power above 0, got {}", c.power));
    double sum = 0;  // P(gap g) ∝ (g+1)^(a−1)
    for (int64_t g = 0; g < (c.length - 2 * c.pairs) / 2; ++g)
      weights_.push_back(std::pow(double(g + 1), c.power - 1)), sum += weights_.back();
    for (double& w : weights_) w /= sum;
  }

 private:
  void fill(Row const& row, Dice& dice) const override {
    int64_t const half = vocabulary / 2, context = 2 * config_.pairs;
    if (config_.noise)
      for (int64_t i = context; i < length; ++i) row.inputs[i] = dice.between(half, vocabulary);
    std::vector<int64_t> keys = range(1, half);
    dice.shuffle(keys, config_.pairs);
    std::vector<double> weights = weights_;
    double left = 1;
    for (int64_t i = 0; i < config_.pairs; ++i) {
      int64_t const key = keys[size_t(i)], value = dice.between(half, vocabulary);
      row.inputs[2 * i] = key;
      row.inputs[2 * i + 1] = value;
      // A gap that is still free, by the power law.
      double rest = dice.uniform() * left;
      size_t gap = weights.size();
      for (size_t g = 0; g < weights.size(); ++g) {
        if (weights[g] == 0) continue;
        gap = g;
        rest -= weights[g];
        if (rest < 0) break;
      }
      left -= weights[gap];
      weights[gap] = 0;
      int64_t const at = context + 2 * int64_t(gap);
      row.inputs[at] = key;
      row.ask(at, value, 2 * i + 1);
    }
  }
  AssociativeRecallConfig config_;
  std::vector<double> weights_;
};

class SelectiveCopy final : public TokenTask {
 public:
  explicit SelectiveCopy(SelectiveCopyConfig const& c)
      : TokenTask(c.length, c.vocabulary, c.vocabulary - 2, 2 * c.tokens), tokens_(c.tokens) {
    check_room("selective-copy", c.tokens >= 1 && c.vocabulary >= 3 && c.length <= 1 << 24 && c.length >= 2 * c.tokens,
               fmt::format("expected a length of 2·tokens or more and a vocabulary of 3 or more, got {}, tokens {}, "
                           "vocabulary {}",
                           c.length, c.tokens, c.vocabulary));
  }

 private:
  void fill(Row const& row, Dice& dice) const override {
    std::vector<int64_t> places = range(0, length - tokens_);
    dice.shuffle(places, tokens_);
    std::sort(places.begin(), places.begin() + tokens_);
    for (int64_t i = 0; i < tokens_; ++i) {
      int64_t const at = places[size_t(i)], marker = length - tokens_ + i;
      row.inputs[at] = dice.between(2, vocabulary);
      row.inputs[marker] = 1;
      row.ask(marker, row.inputs[at], at);
    }
  }
  int64_t tokens_;
};

class Passkey final : public TokenTask {
 public:
  explicit Passkey(PasskeyConfig const& c) : TokenTask(c.length, 19, 10, c.digits + 2), digits_(c.digits) {
    check_room("passkey", c.digits >= 1 && c.length <= 1 << 24 && c.length > 2 * c.digits,
               fmt::format("expected a length above 2·digits, got {} and {} digits", c.length, c.digits));
  }

 private:
  void fill(Row const& row, Dice& dice) const override {
    // … 0 d₁ … d_n … 0 d₁ … d_(n−1): the last digit is only asked for.
    int64_t const end = length - digits_, phase = dice.below(8), depth = dice.below(end - digits_);
    for (int64_t i = 0; i < end; ++i) row.inputs[i] = 11 + (i + phase) % 8;
    row.inputs[depth] = row.inputs[end] = 0;
    for (int64_t d = 0; d < digits_; ++d) {
      int64_t const digit = dice.between(1, 11);
      row.inputs[depth + 1 + d] = digit;
      if (d + 1 < digits_) row.inputs[end + 1 + d] = digit;
      row.ask(end + d, digit, depth + 1 + d);
    }
  }
  int64_t digits_;
};

class CopyMemory final : public TokenTask {
 public:
  explicit CopyMemory(CopyMemoryConfig const& c)
      : TokenTask(c.blanks + 2 * c.tokens, c.vocabulary, c.vocabulary - 2, c.tokens), tokens_(c.tokens) {
    check_room("copy-memory", c.tokens >= 1 && c.blanks >= 1 && c.blanks <= 1 << 24 && c.vocabulary >= 3,
               fmt::format("expected tokens and blanks of 1 or more and a vocabulary of 3 or more, got {}, {} and {}",
                           c.tokens, c.blanks, c.vocabulary));
  }

 private:
  void fill(Row const& row, Dice& dice) const override {
    row.inputs[length - tokens_ - 1] = 1;
    for (int64_t i = 0; i < tokens_; ++i) {
      row.inputs[i] = dice.between(2, vocabulary);
      row.ask(length - tokens_ + i, row.inputs[i], i);
    }
  }
  int64_t tokens_;
};

class Induction final : public TokenTask {
 public:
  explicit Induction(InductionConfig const& c) : TokenTask(c.length, c.vocabulary, c.vocabulary - 1, c.length) {
    check_room("induction", c.vocabulary >= 3 && c.length >= 3 && c.length <= 1 << 24,
               fmt::format("expected a length and a vocabulary of 3 or more, got {} and {}", c.length, c.vocabulary));
  }

 private:
  void fill(Row const& row, Dice& dice) const override {
    for (int64_t i = 0; i + 1 < length; ++i) row.inputs[i] = dice.between(1, vocabulary);
    int64_t const at = dice.below(length - 2);
    row.inputs[at] = row.inputs[length - 1] = 0;
    row.ask(length - 1, row.inputs[at + 1], at + 1);
  }
};

class Adding final : public Task {
 public:
  explicit Adding(AddingConfig const& c) {
    check_room("adding", c.length >= 2 && c.length <= 1 << 24,
               fmt::format("expected a length of 2 or more, got {}", c.length));
    length = c.length;
    features = 2;
    blind_loss = 1. / 6;
  }
  TaskBatch draw(int64_t count, Generator& generator) const override {
    TaskBatch batch{zeros({count, length, 2}), zeros({count}), zeros({count}, Dtype::i64)};
    Dice dice(count * (length + 2), generator);
    for (int64_t b = 0; b < count; ++b) {
      float* const row = batch.inputs.data<float>() + b * length * 2;
      for (int64_t i = 0; i < length; ++i) row[2 * i] = float(dice.uniform());
      int64_t const first = dice.below(length / 2), second = dice.between(length / 2, length);
      row[2 * first + 1] = row[2 * second + 1] = 1;
      batch.targets.data<float>()[b] = row[2 * first] + row[2 * second];
      batch.distances.data<int64_t>()[b] = length - 1 - first;
    }
    return batch;
  }
};

template <class T, class Config>
TaskRow row(std::string_view name, std::string_view family, nn::Rank rank, std::string_view source,
            std::string_view summary) {
  return {
      {name, family, rank, source, summary, nn::options_of<Config>},
      [](nn::Spec const& spec) -> std::unique_ptr<Task> { return std::make_unique<T>(nn::configured<Config>(spec)); }};
}

}  // namespace

void AssociativeRecallConfig::visit(nn::ConfigVisitor& v) {
  v.field("length", length, "positions");
  v.field("pairs", pairs, "keys with their values, each asked for once");
  v.field("vocabulary", vocabulary, "tokens: half keys, half values");
  v.field("power", power, "of the law of gaps before questions: smaller asks sooner");
  v.field("noise", noise, "values between the questions; else blanks");
}
void SelectiveCopyConfig::visit(nn::ConfigVisitor& v) {
  v.field("length", length, "positions");
  v.field("tokens", tokens, "to copy");
  v.field("vocabulary", vocabulary, "tokens, a blank and a marker among them");
}
void PasskeyConfig::visit(nn::ConfigVisitor& v) {
  v.field("length", length, "positions");
  v.field("digits", digits, "of the key");
}
void AddingConfig::visit(nn::ConfigVisitor& v) { v.field("length", length, "positions"); }
void CopyMemoryConfig::visit(nn::ConfigVisitor& v) {
  v.field("blanks", blanks, "positions between the tokens and the first question, the marker's included");
  v.field("tokens", tokens, "to copy");
  v.field("vocabulary", vocabulary, "tokens, a blank and a marker among them");
}
void InductionConfig::visit(nn::ConfigVisitor& v) {
  v.field("length", length, "positions");
  v.field("vocabulary", vocabulary, "tokens, the special one among them");
}

std::vector<TaskRow> const& tasks() {
  using nn::Rank;
  static std::vector<TaskRow> const rows{
      row<AssociativeRecall, AssociativeRecallConfig>("mqar", "recall", Rank::must, "Arora et al., 2023",
                                                      "key-value pairs, then each key once more: its value is asked"),
      row<SelectiveCopy, SelectiveCopyConfig>("selective-copy", "copying", Rank::must, "Gu and Dao, 2023",
                                              "tokens strewn among blanks, to be repeated in order"),
      row<Passkey, PasskeyConfig>("passkey", "recall", Rank::must, "Mohtashami and Jaggi, 2023",
                                  "digits hidden at a random depth of filler, asked for at the end"),
      row<Adding, AddingConfig>("adding", "regression", Rank::must, "Hochreiter and Schmidhuber, 1997",
                                "the sum of two marked numbers; guessing 1 has error 1/6"),
      row<CopyMemory, CopyMemoryConfig>("copy-memory", "copying", Rank::should, "Arjovsky et al., 2016",
                                        "tokens, a long blank, then the tokens again"),
      row<Induction, InductionConfig>("induction", "recall", Rank::should, "Olsson et al., 2022",
                                      "what followed the special token when it stood here before"),
  };
  return rows;
}

std::unique_ptr<Task> make_task(std::string_view text) {
  nn::Spec const spec = nn::parse_spec(text);
  return nn::find_row("task", tasks(), spec.name).make(spec);
}

}  // namespace heed::optim
