// Sequences spread over ranks, beside the same on one.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/nn/position/catalogue.h>
#include <heed/optim/distributed.h>
#include <heed/optim/rules/sgd.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>
#include <stdexcept>

using namespace heed;
using namespace heed::distributed;
using test::error_of;
using test::numbers;

namespace {

/// The largest difference, relative to the largest number.
double apart(Tensor const& got, Tensor const& want) {
  if (to_string(got.shape()) != to_string(want.shape())) return INFINITY;
  auto const x = got.to_vector<double>(), y = want.to_vector<double>();
  double most = 0, largest = 1;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i]) continue;  // infinities, too
    double const d = std::abs(x[i] - y[i]);
    most = d <= most ? most : d;  // keeps NaN
    largest = std::max(largest, std::abs(y[i]));
  }
  return most / largest;
}

struct Sizes {
  int64_t batch = 2, heads = 4, kv_heads = 4, length = 37, d = 8, e = 8;
};

/// A call of attend(): options made of learnable tables and of the rows [T] that the caller has of what goes by rows.
struct Call {
  char const* name;
  std::vector<Shape> tables;
  std::function<AttendOptions(std::vector<Tensor> const& tables, std::function<Tensor(Tensor const&)> const& rows)>
      make;
  Sizes sizes = {};
};

Tensor ids(Sizes const& s) {  // documents of 11 positions
  return floor((arange(s.length).to(Dtype::f64).unsqueeze(0) + 0.5) / 11.0).expand({s.batch, s.length}).contiguous();
}

std::vector<Call> calls() {
  Sizes const plain, grouped{.kv_heads = 2, .e = 5}, uneven{.length = 41}, shortest{.length = 8},
      long_one{.length = 301};
  using Tables = std::vector<Tensor> const&;
  using Rows = std::function<Tensor(Tensor const&)> const&;
  std::vector<Call> all{
      {"full", {}, [](Tables, Rows) { return AttendOptions{}; }},
      {"causal", {}, [](Tables, Rows) { return AttendOptions{.causal = true}; }},
      {"causal, two positions a rank", {}, [](Tables, Rows) { return AttendOptions{.causal = true}; }, shortest},
      {"causal, several tiles", {}, [](Tables, Rows) { return AttendOptions{.causal = true}; }, long_one},
      {"causal, grouped, other widths", {}, [](Tables, Rows) { return AttendOptions{.causal = true}; }, grouped},
      {"full, grouped", {}, [](Tables, Rows) { return AttendOptions{.scale = 0.4}; }, grouped},
      {"a window", {}, [](Tables, Rows) { return AttendOptions{.causal = true, .left = 6}; }},
      {"a window to both sides", {}, [](Tables, Rows) { return AttendOptions{.left = 9, .right = 4}; }, uneven},
      {"a window of one", {}, [](Tables, Rows) { return AttendOptions{.left = 0, .right = 0}; }, uneven},
      {"a long window", {}, [](Tables, Rows) { return AttendOptions{.causal = true, .left = 100}; }, long_one},
      {"alibi", {{4}}, [](Tables t, Rows) { return AttendOptions{.causal = true, .score = alibi(t[0])}; }},
      {"alibi, full",
       {{4}},
       [](Tables t, Rows) { return AttendOptions{.score = alibi(t[0])}; },
       {.kv_heads = 1, .length = 19}},
      {"soft cap and alibi",
       {{4}},
       [](Tables t, Rows) { return AttendOptions{.causal = true, .score = soft_cap(0.7) | alibi(t[0])}; }},
      {"relative bias", {{4, 11}}, [](Tables t, Rows) { return AttendOptions{.score = relative_bias(t[0])}; }},
      {"a bias of every pair",
       {{1, 4, 37, 37}},
       [](Tables t, Rows) { return AttendOptions{.causal = true, .score = score_bias(t[0])}; }},
      {"documents", {}, [](Tables, Rows) { return AttendOptions{.causal = true, .sees = documents(ids({}))}; }},
      {"lengths",
       {},
       [](Tables, Rows) {
         return AttendOptions{.sees = lengths(tensor(std::vector<int64_t>{30, 5}, {2}))};
       }},
      {"a prefix",
       {},
       [](Tables, Rows) {
         return AttendOptions{.sees = prefix(tensor(std::vector<int64_t>{3, 17}, {2}))};
       }},
      {"a mask",
       {},
       [](Tables, Rows rows) {
         Tensor const whole = numbers({2, 1, 37, 37}, 77) > -0.3;
         return AttendOptions{.causal = true, .mask = rows(whole)};
       }},
      {"a sink", {{4}}, [](Tables t, Rows) { return AttendOptions{.causal = true, .sink = t[0]}; }},
      {"sigmoid", {{4}}, [](Tables t, Rows) {
         return AttendOptions{
             .causal = true, .score = alibi(t[0]), .weight = [](auto s, auto) { return 1. / (1. + exp(-s)); }};
       }}};
  return all;
}

struct Result {
  std::vector<Tensor> all;  // out, lse or nothing, dq, dk, dv, gradients of tables
};

struct Operands {
  std::vector<Tensor> qkv, cotangents, tables;
};
Operands operands(Call const& call, Dtype dtype) {
  Sizes const& s = call.sizes;
  Operands o{{numbers({s.batch, s.heads, s.length, s.d}, 1), numbers({s.batch, s.kv_heads, s.length, s.d}, 2),
              numbers({s.batch, s.kv_heads, s.length, s.e}, 3)},
             {numbers({s.batch, s.heads, s.length, s.e}, 4), numbers({s.batch, s.heads, s.length}, 5)},
             {}};
  for (Tensor* t : {&o.qkv[0], &o.qkv[1]}) *t = *t * 2.0;
  for (Shape const& shape : call.tables) o.tables.push_back(numbers(shape, 6).to(dtype));
  for (auto* list : {&o.qkv, &o.cotangents})
    for (Tensor& t : *list) t = t.to(dtype);
  return o;
}

/// Σ out·c₀ + Σ lse·c₁, where lse is finite
Tensor objective(Attended const& y, std::vector<Tensor> const& c) {
  Tensor loss = sum(y.out * c[0]);
  if (y.lse.defined()) loss = loss + sum(where(y.lse > -1e300, y.lse, 0.) * c[1]);
  return loss;
}

Result on_one(Call const& call, Dtype dtype) {
  Operands o = operands(call, dtype);
  std::vector<Tensor> leaves;
  for (auto const* list : {&o.qkv, &o.tables})
    for (Tensor const& t : *list) leaves.push_back(t.clone().requires_grad_());
  std::vector<Tensor> const tables(leaves.begin() + 3, leaves.end());
  Attended const y =
      attend(leaves[0], leaves[1], leaves[2], call.make(tables, [](Tensor const& whole) { return whole; }));
  backward(objective(y, o.cotangents));
  Result r{{y.out.detach(), y.lse.defined() ? y.lse.detach() : Tensor()}};
  for (Tensor const& leaf : leaves) r.all.push_back(leaf.grad());
  return r;
}

Result on_many(Call const& call, Dtype dtype, int ranks, std::vector<int64_t>* sent = nullptr) {
  Result result;
  std::mutex lock;
  if (sent) sent->assign(size_t(ranks), 0);
  run_ranks(ranks, [&](Communicator& communicator) {
    SequenceParallel sequence(communicator, call.sizes.length);
    Operands o = operands(call, dtype);
    std::vector<Tensor> leaves;
    for (Tensor const& t : o.qkv) leaves.push_back(sequence.part(t, 2).clone().requires_grad_());
    for (Tensor const& t : o.tables) leaves.push_back(t.clone().requires_grad_());
    std::vector<Tensor> const tables(leaves.begin() + 3, leaves.end());
    AttendOptions const options = call.make(tables, [&](Tensor const& whole) { return sequence.part(whole, 2); });
    Attended const y = sequence.attend(leaves[0], leaves[1], leaves[2], options);
    backward(objective(y, {sequence.part(o.cotangents[0], 2), sequence.part(o.cotangents[1], 2)}));
    NoGrad const off;
    Result r{{sequence.whole(y.out.detach(), 2), y.lse.defined() ? sequence.whole(y.lse.detach(), 2) : Tensor()}};
    for (size_t i = 0; i < leaves.size(); ++i) {
      Tensor g = leaves[i].grad();
      if (i >= 3)
        communicator.all_reduce(g);
      else
        g = sequence.whole(g, 2);
      r.all.push_back(g);
    }
    if (sent) (*sent)[size_t(communicator.rank())] = sequence.bytes_sent();
    std::lock_guard const guard(lock);
    if (communicator.rank() == 0) result = r;
  });
  return result;
}

constexpr char const* parts_of_a_result[] = {"out", "lse", "dq", "dk", "dv", "table", "second table"};

double worst(Result const& got, Result const& want, std::string& where) {
  double most = 0;
  if (got.all.size() != want.all.size()) return INFINITY;
  for (size_t i = 0; i < got.all.size(); ++i) {
    if (got.all[i].defined() != want.all[i].defined()) return INFINITY;
    if (!got.all[i].defined()) continue;
    double const d = apart(got.all[i], want.all[i]);
    if (!(d <= most)) most = d, where = parts_of_a_result[i];
  }
  return most;
}

}  // namespace

TEST_CASE("the pieces of a sequence: every position once, nearly as many for each rank") {
  for (int64_t const length : {8, 9, 37, 64, 1000})
    for (int const ranks : {1, 2, 3, 4}) {
      std::vector<int> seen(size_t(length), 0);
      int64_t least = length, most = 0;
      for (int r = 0; r < ranks; ++r) {
        int64_t rows = 0;
        for (nn::PositionRun const& run : zigzag(length, r, ranks)) {
          rows += run.size();
          for (int64_t at = run.from; at < run.to; ++at) ++seen[size_t(at)];
        }
        least = std::min(least, rows), most = std::max(most, rows);
      }
      CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
      CHECK(most - least <= 2);
    }
}

TEST_CASE("ring attention is attend() of the whole sequence, and so are its gradients") {
  for (Call const& call : calls()) {
    Result const want = on_one(call, Dtype::f64), want_f32 = on_one(call, Dtype::f32);
    for (int const ranks : {1, 2, 3, 4}) {
      std::string where;
      double const d = worst(on_many(call, Dtype::f64, ranks), want, where);
      CHECK_MESSAGE(d <= 1e-12, call.name, ", ", ranks, " ranks, f64: ", where, " ", d);
      double const f32 = worst(on_many(call, Dtype::f32, ranks), want_f32, where);
      CHECK_MESSAGE(f32 <= 3e-6, call.name, ", ", ranks, " ranks, f32: ", where, " ", f32);
    }
  }
}

namespace {

/// Parameters far from their start; the same each time.
void spread(nn::Module& module) {
  uint32_t key = 100;
  NoGrad const off;
  for (auto& [name, p] : nn::named_parameters(module)) {
    Tensor const more = numbers(p.shape(), ++key, p.dtype());
    if (p.rank() >= 2)
      p.copy_(more * 0.6);
    else
      p.add_(more * 0.3);
  }
}

std::unique_ptr<nn::Attention> layer_of(std::string const& text, bool causal) {
  seed(3);
  auto layer =
      nn::make_attention(text, {.dim = 16, .heads = 4, .causal = causal, .block = 32, .layer = 1, .layers = 2});
  nn::to(*layer, Dtype::f64);
  spread(*layer);
  nn::eval(*layer);
  return layer;
}

/// Output, gradient of x, gradients of parameters.
using Trace = std::vector<Tensor>;
constexpr int64_t tokens = 29;

Trace trace(nn::Attention& layer, Tensor const& x, Tensor const& cotangent, nn::AttentionContext context) {
  Tensor const leaf = x.clone().requires_grad_();
  Tensor first = numbers({2, layer.config.kv_heads, tokens, layer.config.head_dim()}, 9);
  if (auto const* const part = dynamic_cast<SequenceParallel const*>(nn::SequenceScope::current()))
    first = part->part(first, 2);
  context.first_values = &first;
  Tensor const y = layer(leaf, context);
  backward(sum(y * cotangent));
  Trace list{y.detach(), leaf.grad()};
  for (Tensor const& p : nn::parameters(layer)) list.push_back(p.grad());
  return list;
}

/// "" where the layer gives the same on `ranks` ranks as on one; what it says where it throws.
std::string spread_over(int ranks, std::string const& text, bool causal, nn::AttentionContext const& context = {}) {
  Tensor const x = numbers({2, tokens, 16}, 1), cotangent = numbers({2, tokens, 16}, 2);
  auto const whole = layer_of(text, causal);
  Trace const want = trace(*whole, x, cotangent, context);
  std::string said;
  try {
    run_ranks(ranks, [&](Communicator& communicator) {
      SequenceParallel sequence(communicator, tokens);
      auto const layer = layer_of(text, causal);
      Trace got;
      {
        nn::SequenceScope const scope(&sequence);
        got = trace(*layer, sequence.part(x), sequence.part(cotangent), context);
      }
      sequence.sum_gradients(*layer);
      NoGrad const off;
      for (size_t i = 0; i < 2; ++i) got[i] = sequence.whole(got[i]);
      size_t k = 2;
      for (Tensor const& p : nn::parameters(*layer)) got[k++] = p.grad();
      if (communicator.rank() > 0) return;
      for (size_t i = 0; i < want.size(); ++i) {
        double const d =
            got[i].defined() == want[i].defined() ? got[i].defined() ? apart(got[i], want[i]) : 0 : INFINITY;
        if (!(d <= 1e-12)) said = fmt::format("{} is {:.1e} apart", i == 0 ? "out" : i == 1 ? "dx" : "a parameter", d);
      }
    });
  } catch (Error const& e) {
    said = e.what();
  }
  return said;
}

}  // namespace

TEST_CASE("every kind of attention is the same on several ranks or says that it cannot be") {
  std::vector<std::string> texts;
  for (nn::AttentionRow const& row : nn::attentions()) texts.emplace_back(row.small.empty() ? row.name : row.small);
  for (nn::PositionRow const& row : nn::positions())
    if (row.family != "input") texts.emplace_back(row.name);
  for (char const* more : {"luong:sigma=2", "rope:scaling=dynamic", "rope:scaling=yarn,factor=4,original=8",
                           "gqa+sliding:window=5+alibi+sink", "t5:buckets=8,reach=11", "sliding:window=4+rope+qk-norm"})
    texts.emplace_back(more);
  int spreading = 0;
  for (std::string const& text : texts) {
    nn::Traits const traits = nn::traits_of(text);
    if (traits.pools) continue;
    for (bool const causal : {true, false}) {
      if (causal ? !traits.causal : !traits.bidirectional) continue;
      bool const spreads = layer_of(text, causal)->spreads();
      spreading += spreads;
      for (int const ranks : {2, 3}) {
        std::string const said = spread_over(ranks, text, causal);
        if (spreads)
          CHECK_MESSAGE(said.empty(), text, std::string(causal ? ", causal: " : ": "), said);
        else
          CHECK_MESSAGE(said.find("whole sequence") != std::string::npos, text, ": ", said);
      }
    }
  }
  CHECK(spreading >= 95);
}

TEST_CASE("lengths and pairs of positions are those of the whole sequence, and a memory is whole") {
  Tensor const lengths = tensor(std::vector<int64_t>{tokens - 3, 5}, {2});
  CHECK(spread_over(3, "gqa+rope", true, {.lengths = lengths}) == "");
  CHECK(spread_over(3, "multi-head+alibi", false, {.lengths = lengths}) == "");
  CHECK(spread_over(2, "multi-head", true, {.sees = documents(ids({.length = tokens}))}) == "");
  CHECK(spread_over(3, "multi-head", false, {.memory = numbers({2, 7, 16}, 11)}) == "");
}

namespace {

nn::GPTConfig small_gpt(std::string const& position) {
  return {.vocabulary = 19, .layers = 2, .heads = 4, .kv_heads = 2, .dim = 16, .block = 48, .position = position};
}

/// Losses of a few steps, and the parameters at last.
std::pair<std::vector<double>, std::vector<Tensor>> train_gpt(nn::GPTConfig const& config, Dtype dtype,
                                                              Communicator* communicator) {
  constexpr int64_t batch = 2, length = 45;
  seed(7);
  nn::GPT model(config);
  nn::to(model, dtype);
  optim::SGD sgd({{nn::named_parameters(model)}}, {.learning_rate = 0.3});
  std::optional<SequenceParallel> sequence;
  if (communicator) sequence.emplace(*communicator, length);
  std::vector<double> losses;
  for (uint32_t step = 0; step < 5; ++step) {
    Tensor const text = floor((numbers({batch, length + 1}, 40 + step) + 1.0) * 9.5).to(Dtype::i64);
    Tensor inputs = text.slice(1, 0, length), targets = text.slice(1, 1, length + 1), loss;
    nn::zero_grad(model);
    if (sequence) {
      nn::SequenceScope const scope(&*sequence);
      loss = sequence->share(cross_entropy(model(sequence->part(inputs)), sequence->part(targets)));
      backward(loss);
      sequence->sum_gradients(model);
      NoGrad const off;
      loss = loss.detach().clone();
      communicator->all_reduce(loss);
    } else {
      loss = cross_entropy(model(inputs), targets);
      backward(loss);
    }
    losses.push_back(loss.item());
    sgd.step();
  }
  std::vector<Tensor> parameters;
  for (Tensor const& p : nn::parameters(model)) parameters.push_back(p.detach());
  return {losses, parameters};
}

}  // namespace

TEST_CASE("a GPT trains on parts of its sequences as on whole ones") {
  for (char const* position : {"learned", "rope", "alibi", "t5", "sinusoidal"})
    for (bool const checkpoint : {false, true}) {
      nn::GPTConfig config = small_gpt(position);
      config.checkpoint = checkpoint;
      auto const want = train_gpt(config, Dtype::f64, nullptr);
      for (int const ranks : {2, 3}) {
        std::mutex lock;
        double apart_most = 0;
        std::vector<std::vector<double>> losses;
        run_ranks(ranks, [&](Communicator& communicator) {
          auto const got = train_gpt(config, Dtype::f64, &communicator);
          std::lock_guard const guard(lock);
          losses.push_back(got.first);
          for (size_t i = 0; i < want.first.size(); ++i)
            apart_most = std::max(apart_most, std::abs(got.first[i] - want.first[i]));
          for (size_t i = 0; i < want.second.size(); ++i)
            apart_most = std::max(apart_most, apart(got.second[i], want.second[i]));
        });
        CHECK_MESSAGE(apart_most <= 1e-12, position, ", ", ranks, " ranks: ", apart_most);
        for (auto const& each : losses) CHECK(each == losses[0]);  // the same bits on every rank
      }
    }
}

namespace {

struct ScanCall {
  char const* name;
  int64_t heads = 4, groups = 4;
  bool decay = false, by_feature = false, rates = false, general = false, initial = false, inclusive = true;
};

/// q, k, v, decay, a, b, initial, rates.
std::vector<Tensor> scan_operands(ScanCall const& call, Dtype dtype) {
  int64_t const t = 37, d = 5, e = 3, h = call.heads, g = call.groups;
  auto const made = [&](bool wanted, Shape const& shape, uint32_t key, double scale, double shift = 0) {
    return wanted ? (numbers(shape, key) * scale + shift).to(dtype) : Tensor();
  };
  Shape const decay = call.by_feature ? Shape{2, g, t, d} : Shape{2, g, t};
  return {made(true, {2, h, t, d}, 1, 1),           made(true, {2, g, t, d}, 2, 1),
          made(true, {2, g, t, e}, 3, 1),           made(call.decay || call.rates, decay, 4, 0.2, -0.3),
          made(call.general, {2, g, t, d}, 5, 0.5), made(call.general, {2, g, t, d}, 6, 0.5),
          made(call.initial, {2, h, d, e}, 7, 1),   made(call.rates, {g, d}, 8, 0.3, 0.5)};
}

}  // namespace

TEST_CASE("scans over ranks are scan() of the whole sequence, and so are their gradients") {
  for (ScanCall const& call :
       {ScanCall{"no decay"}, ScanCall{.name = "decay of heads, grouped", .groups = 2, .decay = true},
        ScanCall{.name = "decay of features", .decay = true, .by_feature = true},
        ScanCall{.name = "rates, from a state", .rates = true, .initial = true},
        ScanCall{.name = "general", .general = true},
        ScanCall{.name = "general with decay, from a state, before",
        .groups = 2,
        .decay = true,
        .by_feature = true,
        .general = true,
        .initial = true,
        .inclusive = false}})
    for (Dtype const dtype : {Dtype::f64, Dtype::f32}) {
      auto const run = [&](SequenceParallel* sequence) {
        std::vector<Tensor> leaves = scan_operands(call, dtype);
        auto const rows = [&](Tensor const& x) { return sequence ? sequence->part(x, 2) : x; };
        for (size_t i = 0; i < leaves.size(); ++i)
          if (leaves[i].defined()) leaves[i] = (i < 6 ? rows(leaves[i]) : leaves[i]).clone().requires_grad_();
        ScanOptions const options{.decay = leaves[3],
                                  .a = leaves[4],
                                  .b = leaves[5],
                                  .initial = leaves[6],
                                  .rates = leaves[7],
                                  .scale = 0.7,
                                  .inclusive = call.inclusive};
        Scanned const y = sequence ? sequence->scan(leaves[0], leaves[1], leaves[2], options)
                                   : scan(leaves[0], leaves[1], leaves[2], options);
        double const share = sequence ? 1. / 3 : 1;  // every rank has the state
        backward(sum(y.out * rows(numbers({2, call.heads, 37, 3}, 11).to(dtype))) +
                 sum(y.state * numbers(y.state.shape(), 12).to(dtype)) * share);
        Trace all{y.out.detach(), y.state.detach()};
        for (Tensor const& leaf : leaves) all.push_back(leaf.defined() ? leaf.grad() : Tensor());
        return all;
      };
      Trace const want = run(nullptr);
      run_ranks(3, [&](Communicator& communicator) {
        SequenceParallel sequence(communicator, 37);
        Trace got = run(&sequence);
        NoGrad const off;
        for (size_t i = 0; i < got.size(); ++i) {
          if (!got[i].defined() || i == 1) continue;
          if (i == 0 || i < 8)
            got[i] = sequence.whole(got[i], 2);
          else
            communicator.all_reduce(got[i]);
        }
        for (size_t i = 0; i < got.size(); ++i) {
          double const d = got[i].defined() ? apart(got[i], want[i]) : 0;
          if (!(d <= (dtype == Dtype::f64 ? 1e-12 : 1e-5)))
            throw std::runtime_error(fmt::format("{}, {}: {} is {:.1e} apart", call.name, name(dtype), i, d));
        }
      });
    }
}

TEST_CASE("what a rank sends is what the formula says, and causal work is balanced") {
  for (int const ranks : {2, 3, 4}) {
    Sizes const sizes{.kv_heads = 2, .length = 24 * ranks, .e = 5};
    Call const call{"", {}, [](auto const&, auto const&) { return AttendOptions{.causal = true}; }, sizes};
    std::vector<int64_t> sent;
    on_many(call, Dtype::f64, ranks, &sent);
    int64_t const one = sizes.batch * sizes.kv_heads * 24 * (sizes.d + sizes.e) * 8;
    for (int64_t bytes : sent) CHECK(bytes == (3 * ranks - 2) * one);
  }
  for (int64_t const length : {512, 1000, 1003})
    for (int const ranks : {2, 4, 7}) {
      std::mutex lock;
      double least = INFINITY, most = 0, all = 0;
      run_ranks(ranks, [&](Communicator& communicator) {
        NoGrad const off;
        SequenceParallel sequence(communicator, length);
        Tensor const x = sequence.part(numbers({1, 1, length, 4}, 1, Dtype::f32), 2);
        sequence.attend(x, x, x, {.causal = true});
        std::lock_guard const guard(lock);
        least = std::min(least, sequence.pairs_seen()), most = std::max(most, sequence.pairs_seen());
        all += sequence.pairs_seen();
      });
      CHECK(all == double(length) * double(length + 1) / 2);
      CHECK_MESSAGE(most / least < 1.03, length, " positions, ", ranks, " ranks: ", least, " to ", most);
    }
}

TEST_CASE("sixteen bits, dropout and the same bits again") {
  std::mutex lock;
  for (Dtype const dtype : {Dtype::bf16, Dtype::f16}) {
    Call const call{
        "", {{4}}, [](auto const& t, auto const&) { return AttendOptions{.causal = true, .score = alibi(t[0])}; }};
    std::string where;
    double const d = worst(on_many(call, dtype, 3), on_one(call, dtype), where);
    CHECK_MESSAGE(d <= (dtype == Dtype::bf16 ? 2e-2 : 2e-3), where, " ", d);
  }
  std::vector<std::vector<double>> runs;
  double ones_mean = 0;
  for (int again = 0; again < 2; ++again)
    run_ranks(3, [&](Communicator& communicator) {
      SequenceParallel sequence(communicator, 300);
      Tensor const q = sequence.part(numbers({1, 2, 300, 8}, 1, Dtype::f32), 2).clone().requires_grad_();
      Tensor const v = ones(q.shape());
      Attended const y = sequence.attend(q, q, v, {.causal = true, .dropout = 0.3, .draw = {5, 9}});
      backward(sum(y.out * numbers(q.shape(), 3, Dtype::f32)));
      NoGrad const off;
      Tensor const gradient = sequence.whole(q.grad(), 2), out = sequence.whole(y.out.detach(), 2);
      std::lock_guard const guard(lock);
      if (communicator.rank() > 0) return;
      runs.push_back(gradient.to_vector<double>());
      ones_mean = mean(out.slice(2, 100, 300)).item();
    });
  CHECK(runs[0] == runs[1]);
  CHECK(std::abs(ones_mean - 1) < 0.02);  // what is kept is scaled up
}

TEST_CASE("rows come together in order, with gradients from every rank") {
  run_ranks(3, [](Communicator& communicator) {
    SequenceParallel sequence(communicator, 13);
    Tensor const x = numbers({2, 13, 3}, 1), c = numbers({2, 13, 3}, 2);
    Tensor const leaf = sequence.part(x).clone().requires_grad_();
    Tensor const all = sequence.whole(leaf);
    backward(sum(all * c));
    if (apart(all, x) != 0) throw std::runtime_error("rows out of order");
    if (apart(leaf.grad(), sequence.part(c) * 3.0) > 1e-15) throw std::runtime_error("gradients are not sums");
  });
}

TEST_CASE("what cannot be says so") {
  auto const said = [](std::function<void(Communicator&)> const& f) { return error_of([&] { run_ranks(2, f); }); };
  auto const says = [](std::string const& text, std::string_view part) {
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  };
  Tensor const whole = numbers({1, 2, 12, 4}, 1);
  auto const with = [&](AttendOptions const& options) {
    return said([&](Communicator& communicator) {
      SequenceParallel sequence(communicator, 12);
      Tensor const x = sequence.part(whole, 2);
      sequence.attend(x, x, x, options);
    });
  };
  says(said([](Communicator& c) { SequenceParallel(c, 3); }), "3 positions do not make two pieces for each of 2 ranks");
  says(said([&](Communicator& c) { SequenceParallel(c, 12).attend(whole, whole, whole); }), "[B, H, 6, D]");
  says(said([&](Communicator& c) { SequenceParallel(c, 10).part(whole, 2); }), "expected 10 positions along axis 2");
  says(said([&](Communicator& c) { SequenceParallel(c, 12).whole(whole, 2); }), "expected the 6 positions");
  says(with({.entmax = 2}), "need all scores of a query at once");
  says(with({.top_k = 2}), "need all scores of a query at once");
  says(with({.mask = ones({1, 1, 6, 6}) > 0.0}), "expected a mask [.., 6, 12]");
  Tensor const of_part = numbers({1, 6}, 3);
  says(with({.score =
                 [&](auto s, auto at) {
                   return s + read(of_part, {at.b, at.j});
                 }}),
       "position 11 of a sequence of 12 is read in a table of 6");
  says(with({.sees = documents(of_part)}), "position 11 of a sequence of 12");
  says(said([&](Communicator& c) {
         SequenceParallel sequence(c, 12);
         nn::SequenceScope const scope(&sequence);
         auto const layer = layer_of("multi-head", true);
         auto const hook = nn::on_attend([](nn::AttentionCall&) {});
         (*layer)(numbers({1, 6, 16}, 1));
       }),
       "a hook would see the keys of a part of the sequence alone");
  says(said([&](Communicator& c) {
         SequenceParallel sequence(c, 12);
         nn::SequenceScope const scope(&sequence);
         (*layer_of("multi-head+rope", true))(numbers({1, 12, 16}, 1));
       }),
       "expected the 6 positions of a part of a sequence, got 12");
  says(said([&](Communicator& c) {
         SequenceParallel sequence(c, 12);
         Tensor const x = sequence.part(whole, 2).clone().requires_grad_();
         Tensor const y = sum(sequence.attend(x, x, x).out);
         grad({y}, {x}, {}, {.create_graph = true});
       }),
       "its gradient is not recorded");
}
