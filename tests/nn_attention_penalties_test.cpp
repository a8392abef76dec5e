// Regularisers of attention maps: the formula against materialised weights, exact gradients, the catalogue's
// identities, memory that grows with T, and what recompute() does to them.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/attention_temperature.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/nn/regularize/qk_clip.h>
#include <heed/nn/regularize/supervised_attention.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

using namespace heed;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// A module that only is: regularisers ask it whether it trains.
struct Nothing final : nn::Module {
  void visit(nn::Visitor&) override {}
};

struct Case {
  Tensor q, k, v;
  AttendOptions options;
};

std::unique_ptr<nn::Regularizer> make(std::string const& text) { return std::move(nn::make_regularizers(text).at(0)); }

/// What `text` adds to the loss for one call.
Tensor penalty_of(nn::Regularizer& r, Case const& c) {
  Nothing model;
  r.begin(model);
  nn::core(c.q, c.k, c.v, c.options);
  return r.penalty(model);
}
Tensor penalty_of(std::string const& text, Case const& c) { return penalty_of(*make(text), c); }

Case drawn(int64_t h, int64_t g, int64_t t, int64_t s, AttendOptions options, Dtype dtype = Dtype::f64,
           double size = 2) {
  return {numbers({2, h, t, 5}, 1).to(dtype) * size, numbers({2, g, s, 5}, 2).to(dtype) * size,
          numbers({2, g, s, 3}, 3).to(dtype), options};
}

/// Plain, causal, a window, masked with a row that sees nothing, grouped keys, biased scores, longer keys, a sink,
/// several blocks of queries, dropout beside.
std::vector<std::pair<std::string, Case>> cases() {
  std::vector<std::pair<std::string, Case>> list;
  list.push_back({"plain", drawn(2, 2, 5, 5, {})});
  list.push_back({"causal", drawn(2, 2, 7, 7, {.causal = true})});
  list.push_back({"window, grouped", drawn(4, 2, 7, 7, {.causal = true, .left = 3})});
  list.push_back({"longer keys", drawn(3, 1, 4, 9, {.causal = true})});
  list.push_back({"blocks", drawn(2, 1, 70, 70, {.causal = true})});
  Tensor mask = numbers({2, 1, 5, 6}, 4) > -0.4;
  mask = mask & (arange(5).reshape({5, 1}) != 2.0);
  list.push_back({"mask", drawn(2, 2, 5, 6, {.mask = mask})});
  list.push_back({"alibi", drawn(2, 2, 6, 6, {.causal = true, .score = alibi(tensor({0.3, 0.7}))})});
  list.push_back(
      {"documents", drawn(2, 2, 6, 6, {.sees = documents(tensor(std::vector<double>{0, 0, 0, 1, 1, 2}, {1, 6}))})});
  list.push_back({"sink", drawn(2, 2, 5, 5, {.sink = tensor({0.2, -0.5})})});
  return list;
}

/// The measures on weights a [B, H, T, S], lse and the operands, as the formula says; `seen` [B, H, T, S].
struct Dense {
  Case const& c;
  Tensor a, lse, seen, n;
};
using Formula = std::function<Tensor(Dense const&)>;

Tensor mean_of(Tensor const& rows, Tensor const& x) { return sum(where(rows, x, 0.0)) / sum(rows.to(Dtype::f64)); }
Tensor row_entropy(Dense const& d) { return -sum(where(d.a > 0.0, d.a * log(where(d.a > 0.0, d.a, 1.0)), 0.0), {3}); }
/// i − j by position, [T, S].
Tensor offsets(Dense const& d) {
  int64_t const t = d.a.size(2), s = d.a.size(3);
  return ((arange(t) + (s - t)).unsqueeze(1) - arange(s)).to(Dtype::f64);
}
Tensor agreement(Tensor const& x) {
  Tensor const unit = x / clamp_min(vector_norm(x, 2, {3}, true), 1e-300);
  return sum(square(mean(unit, {1}))) / double(x.size(0) * x.size(2));
}
Tensor coverage(Dense const& d) { return sum(minimum(d.a, cumsum(d.a, 2) - d.a)) / double(d.n.numel()); }
Tensor gini(Dense const& d) {  // by its other definition: mean absolute difference
  double const s = double(d.a.size(3));
  Tensor const apart = sum(abs(d.a.unsqueeze(4) - d.a.unsqueeze(3)), {3, 4}), mass = sum(d.a, {3});
  return sum(where(mass > 0.0, apart / (2 * s * where(mass > 0.0, mass, 1.0)), 0.0)) / double(d.n.numel());
}

struct Penalty {
  std::string text;
  Formula formula;
  double tolerance = 1e-11;
  bool smooth = true;
};

std::vector<Penalty> penalties() {
  auto const share = [](Dense const& d) { return mean_of(d.n >= 2.0, row_entropy(d) / log(clamp_min(d.n, 2.0))); };
  return {
      {"entropy-bonus:weight=1", [=](Dense const& d) { return -share(d); }},
      {"entropy-penalty:weight=1", share},
      {"entropy-floor:weight=1,floor=0.9",
       [](Dense const& d) {
         return mean_of(d.n >= 2.0, square(relu(0.9 * log(clamp_min(d.n, 1.0)) - row_entropy(d))));
       }},
      {"attention-z-loss:weight=1",
       [](Dense const& d) {
         Tensor const seen = d.lse > -1e300;
         return mean_of(seen, square(where(seen, d.lse, 0.0)));
       }},
      {"disagreement-subspaces:weight=1", [](Dense const& d) { return agreement(d.c.v); }},
      {"disagreement-positions:weight=1",
       [](Dense const& d) { return sum(square(mean(d.a, {1}))) / double(d.a.size(0) * d.a.size(2)); }},
      {"disagreement-outputs:weight=1",
       [](Dense const& d) { return agreement(naive::attend(d.c.q, d.c.k, d.c.v, d.c.options).out); }},
      {"attention-orthogonality:weight=1",
       [](Dense const& d) {
         Tensor const a = d.a.transpose(1, 2);
         return sum(square(matmul(a, a.transpose(2, 3)) - eye(a.size(2), -1, Dtype::f64))) /
                double(a.size(0) * a.size(1));
       }},
      {"attention-orthogonality:weight=1,queries=true",
       [](Dense const& d) {
         return sum(square(matmul(d.a, d.a.transpose(2, 3)) - eye(d.a.size(2), -1, Dtype::f64))) / double(d.n.numel());
       }},
      {"attention-coverage:weight=1", coverage, 1e-11},
      {"doubly-stochastic:weight=1",
       [](Dense const& d) { return mean(square(1.0 - sum(d.a, {2}) * (double(d.a.size(3)) / double(d.a.size(2))))); }},
      {"guided-attention:weight=1,width=0.3",
       [](Dense const& d) {
         double const t = double(d.a.size(2)), s = double(d.a.size(3));
         Tensor const apart =
             arange(d.a.size(2)).to(Dtype::f64).unsqueeze(1) / t - arange(d.a.size(3)).to(Dtype::f64) / s;
         return mean_of(d.n >= 1.0, sum(d.a * (1.0 - exp(square(apart) / -0.18)), {3}));
       }},
      {"attention-concentration:weight=1", [](Dense const& d) { return mean_of(d.n >= 1.0, sum(square(d.a), {3})); }},
      {"max-weight:weight=1,limit=0.4",
       [](Dense const& d) { return mean_of(d.n >= 2.0, square(relu(amax(d.a, {3}) - 0.4))); }},
      {"sink-penalty:weight=1,limit=0.2",
       [](Dense const& d) {
         Tensor const count = sum(d.seen.to(Dtype::f64), {2}), often = count * 4.0 >= double(d.a.size(2));
         Tensor const got = where(often, sum(d.a, {2}) / clamp_min(count, 1.0), 0.0);
         return sum(square(relu(got - 0.2))) / double(d.a.size(0) * d.a.size(1));
       }},
      {"attention-gini:weight=1", gini},
      {"attention-variation:weight=1",
       [](Dense const& d) {
         int64_t const s = d.a.size(3);
         return sum(abs(d.a.slice(3, 1, s) - d.a.slice(3, 0, s - 1))) / double(d.n.numel());
       }},
      {"attention-smoothing:weight=1",
       [](Dense const& d) {
         Tensor const s = where(d.seen, dense_scores(d.c.q, d.c.k, d.c.options), 0.0);
         return mean_of(d.n >= 1.0,
                        where(d.n >= 1.0, d.lse, 0.0) - log(clamp_min(d.n, 1.0)) - sum(s, {3}) / clamp_min(d.n, 1.0));
       }},
      {"attention-locality:weight=1",
       [](Dense const& d) { return mean_of(d.n >= 1.0, sum(d.a * abs(offsets(d)), {3})) / double(d.a.size(3)); }},
  };
}

Dense dense(Case const& c) {
  Tensor const a = attention_weights(c.q, c.k, c.options);
  AttendOptions open = c.options;
  open.score = {}, open.sink = {};
  Tensor const seen = dense_scores(c.q, c.k, open) > -1e300;
  return {c, a, naive::attend(c.q, c.k, c.v, c.options).lse, seen, sum(seen.to(Dtype::f64), {3})};
}

}  // namespace

TEST_CASE("penalties of attention maps: the formula on materialised weights") {
  for (auto const& [what, c] : cases())
    for (Penalty const& p : penalties()) {
      CAPTURE(what);
      CAPTURE(p.text);
      Case leaf = c;
      leaf.q = c.q.detach().requires_grad_();
      Tensor const got = penalty_of(p.text, leaf);
      REQUIRE(got.defined());
      CHECK(got.shape() == Shape{});
      CHECK(test::differs(got.detach(), p.formula(dense(c)), p.tolerance) == "");
    }
}

TEST_CASE("penalties of attention maps: exact gradients, also through learnable scores and sinks") {
  for (auto const& [what, c] : cases()) {
    if (what == "blocks") continue;  // below
    for (Penalty const& p : penalties()) {
      CAPTURE(what);
      CAPTURE(p.text);
      CHECK(test::gradcheck(
                [&, &c = c](std::vector<Tensor> const& in) {
                  return std::vector<Tensor>{penalty_of(p.text, {in[0], in[1], in[2], c.options})};
                },
                {c.q.detach().requires_grad_(), c.k.detach().requires_grad_(), c.v.detach().requires_grad_()},
                {.full_up_to = 0, .directions = 1}) == "");
    }
  }
  for (Penalty const& p : penalties()) {
    CAPTURE(p.text);
    Case const c = drawn(2, 1, 6, 6, {});
    CHECK(test::gradcheck(
              [&](std::vector<Tensor> const& in) {
                AttendOptions const options{.causal = true, .score = alibi(in[1]), .sink = in[2]};
                return std::vector<Tensor>{penalty_of(p.text, {in[0], c.k, c.v, options})};
              },
              {c.q.detach().requires_grad_(), tensor({0.3, 0.8}).to(Dtype::f64).requires_grad_(),
               tensor({0.1, -0.4}).to(Dtype::f64).requires_grad_()}) == "");
  }
}

TEST_CASE("penalties of attention maps: gradients over several blocks of queries are the materialised ones") {
  for (Penalty const& p : penalties()) {
    CAPTURE(p.text);
    Case c = drawn(2, 1, 70, 70, {.causal = true, .left = 40});
    c.q.requires_grad_(), c.k.requires_grad_(), c.v.requires_grad_();
    auto const got = grad({penalty_of(p.text, c)}, {c.q, c.k, c.v}, {}, {.allow_unused = true});
    auto const want = grad({p.formula(dense(c))}, {c.q, c.k, c.v}, {}, {.allow_unused = true});
    for (size_t i = 0; i < 3; ++i) {
      CAPTURE(i);
      if (want[i].defined()) {
        REQUIRE(got[i].defined());
        CHECK(test::differs(got[i], want[i], 1e-10) == "");
      } else if (got[i].defined()) {
        CHECK(amax(abs(got[i]), {0, 1, 2, 3}).item() < 1e-12);
      }
    }
  }
}

TEST_CASE("penalties of attention maps: weight 0 adds nothing, and sees nothing but training") {
  Case const c = drawn(2, 2, 5, 5, {});
  Case leaf = c;
  leaf.q.requires_grad_();
  for (auto const& row : nn::regularizers()) {
    if (row.family != "attention maps") continue;
    CAPTURE(row.name);
    bool weighted = false;
    for (Penalty const& p : penalties()) weighted = weighted || nn::parse_spec(p.text).name == row.name;
    if (!weighted) continue;
    CHECK(!penalty_of(std::string(row.name) + ":weight=0", leaf).defined());
    {
      NoGrad const off;
      CHECK(!penalty_of(std::string(row.name), leaf).defined());
    }
    auto const r = make(std::string(row.name));
    Nothing model;
    nn::eval(model);
    r->begin(model);
    nn::core(leaf.q, leaf.k, leaf.v);
    CHECK(!r->penalty(model).defined());
  }
}

TEST_CASE("attention maps: every row of the catalogue is tested here") {
  std::set<std::string_view> tested{"attention-dropout",
                                    "dropkey",
                                    "drophead",
                                    "logit-soft-cap",
                                    "qk-clip",
                                    "forgetful-mask",
                                    "attention-temperature",
                                    "supervised-attention"};
  auto const list = penalties();
  std::vector<std::string> texts;
  for (Penalty const& p : list) texts.push_back(nn::parse_spec(p.text).name);
  tested.insert(texts.begin(), texts.end());
  size_t rows = 0;
  for (auto const& row : nn::regularizers()) {
    if (row.family != "attention maps") continue;
    CAPTURE(row.name);
    ++rows;
    CHECK(tested.count(row.name) == 1);
    CHECK(!row.summary.empty());
    CHECK(!row.source.empty());
    CHECK(nn::make_regularizers(std::string(row.name)).size() == 1);
  }
  CHECK(rows == tested.size());
}

TEST_CASE("attention maps: identities") {
  // Uniform weights: the entropies and the divergence from uniform are flat there.
  Case flat = drawn(2, 2, 6, 6, {.causal = true});
  flat.q = zeros_like(flat.q).requires_grad_(), flat.k.requires_grad_();
  for (std::string text : {"entropy-bonus:weight=1", "entropy-penalty:weight=1", "attention-smoothing:weight=1"}) {
    CAPTURE(text);
    Tensor const value = penalty_of(text, flat);
    CHECK(value.item() == doctest::Approx(text[8] == 'b' ? -1 : text[8] == 'p' ? 1 : 0).epsilon(1e-12));
    CHECK(amax(abs(grad({value}, {flat.q})[0]), {0, 1, 2, 3}).item() < 1e-14);
  }
  // Full uniform attention is doubly stochastic and has no inequality; the effective count is n.
  flat.options = {};
  CHECK(penalty_of("doubly-stochastic:weight=1", flat).item() < 1e-25);
  CHECK(std::abs(penalty_of("attention-gini:weight=1", flat).item()) < 1e-15);
  CHECK(penalty_of("attention-variation:weight=1", flat).item() < 1e-14);
  CHECK(penalty_of("attention-concentration:weight=1", flat).item() == doctest::Approx(1 / 6.));
  // Heads that are the same agree wholly.
  Case same = drawn(1, 1, 6, 6, {.causal = true});
  same.q = same.q.expand({2, 3, 6, 5}).contiguous().requires_grad_(), same.v = same.v.expand({2, 3, 6, 3}).contiguous();
  same.k = same.k.expand({2, 3, 6, 5}).contiguous();
  CHECK(penalty_of("disagreement-outputs:weight=1", same).item() == doctest::Approx(1));
  CHECK(penalty_of("disagreement-subspaces:weight=1", same).item() == doctest::Approx(1));
}

TEST_CASE("attention maps: 16 bits and f32 agree with f64") {
  Case const exact = drawn(2, 1, 40, 40, {.causal = true});
  for (Penalty const& p : penalties())
    for (Dtype dtype : {Dtype::f32, Dtype::bf16}) {
      CAPTURE(p.text);
      CAPTURE(name(dtype));
      Case c = drawn(2, 1, 40, 40, {.causal = true}, dtype), rounded = c;
      c.q.requires_grad_(), c.v.requires_grad_();
      rounded.q = c.q.detach().to(Dtype::f64), rounded.k = c.k.to(Dtype::f64), rounded.v = c.v.to(Dtype::f64);
      Tensor const got = penalty_of(p.text, c);
      CHECK(test::differs(got.detach().to(Dtype::f64), p.formula(dense(rounded)), dtype == Dtype::f32 ? 1e-5 : 2e-2) ==
            "");
      CHECK(grad({got}, {c.q, c.v}, {}, {.allow_unused = true}).size() == 2);
    }
}

TEST_CASE("attention maps: normalisers that are no softmax") {
  ScoreMod const sigmoid_of = [](auto s, auto) { return sigmoid(s); };
  for (Penalty const& p : penalties()) {
    std::string const name = nn::parse_spec(p.text).name;
    bool const by_rows = name == "disagreement-positions" || name == "attention-orthogonality" ||
                         name == "attention-coverage" || name == "attention-variation" || name == "attention-gini" ||
                         name == "disagreement-outputs" || name == "disagreement-subspaces";
    for (AttendOptions const& options :
         {AttendOptions{.causal = true, .weight = sigmoid_of}, AttendOptions{.causal = true, .entmax = 1.5}}) {
      CAPTURE(p.text);
      Case c = drawn(2, 2, 6, 6, options);
      c.q.requires_grad_(), c.k.requires_grad_(), c.v.requires_grad_();
      if (by_rows) {
        Tensor const got = penalty_of(p.text, c), want = p.formula(dense(c));
        CHECK(test::differs(got.detach(), want.detach(), 1e-10) == "");
        auto const g = grad({got}, {c.q, c.v}, {}, {.allow_unused = true}),
                   w = grad({want}, {c.q, c.v}, {}, {.allow_unused = true});
        for (size_t i = 0; i < 2; ++i)
          if (w[i].defined()) CHECK(test::differs(g[i], w[i], 1e-8) == "");
      } else {
        std::string const error = error_of([&] { penalty_of(p.text, c); });
        CHECK(contains(error, name));
        CHECK(contains(error, "softmax"));
      }
    }
  }
}

namespace {

/// Bytes beyond the operands that a penalty and its gradient need at once.
int64_t peak_of(std::string const& text, int64_t t) {
  Case c{numbers({1, 2, t, 8}, 1, Dtype::f32),
         numbers({1, 2, t, 8}, 2, Dtype::f32),
         numbers({1, 2, t, 8}, 3, Dtype::f32),
         {.causal = true}};
  c.q.requires_grad_(), c.k.requires_grad_(), c.v.requires_grad_();
  size_t const before = memory_statistics().in_use;
  reset_peak_memory();
  Tensor const value = penalty_of(text, c);
  value.backward();
  return int64_t(memory_statistics().peak - before);
}

}  // namespace

TEST_CASE("attention maps: memory grows with T, not with its square") {
  for (Penalty const& p : penalties()) {
    if (contains(p.text, "queries")) continue;  // T³ time; its blocks are those of the rest
    CAPTURE(p.text);
    int64_t const t = 512, one = peak_of(p.text, t), two = peak_of(p.text, 2 * t), four = peak_of(p.text, 4 * t);
    CAPTURE(one);
    CAPTURE(two);
    CAPTURE(four);
    CHECK(four < 6 * one);                             // linear: 4; quadratic: 16
    CHECK(four < int64_t(2 * 4 * t * 4 * t * 4) / 4);  // a quarter of one T×T map of the two heads
  }
}

TEST_CASE("attention maps: checkpointed layers keep the penalty's gradient, bit for bit") {
  auto const gradients = [](bool checkpoint, std::string const& text) {
    seed(3);
    nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 2, .dim = 8, .block = 8, .checkpoint = checkpoint});
    for (Tensor p : nn::parameters(model))
      if (p.rank() >= 2) nn::init::normal_(p, 0.4);
    auto const r = make(text);
    r->begin(model);
    Generator generator(4);
    Tensor const tokens = randint(0, 11, {3, 8}, generator);
    Tensor loss = mean(square(model(tokens)));
    if (Tensor const extra = r->penalty(model); extra.defined()) loss = loss + extra;
    loss.backward();
    std::vector<Tensor> list{loss.detach()};
    for (Tensor const& p : nn::parameters(model)) list.push_back(p.grad().clone());
    return list;
  };
  for (std::string text : {"entropy-bonus:weight=1", "disagreement-positions:weight=3", "attention-coverage:weight=1",
                           "max-weight:weight=1,limit=0.2", "disagreement-outputs", "dropkey:p=0.3", "drophead:p=0.4",
                           "attention-dropout:p=0.3", "forgetful-mask:rate=0.95"}) {
    CAPTURE(text);
    auto const plain = gradients(false, text), again = gradients(true, text), none = gradients(false, "qk-clip");
    bool acts = false;
    for (size_t i = 0; i < plain.size(); ++i) {
      CHECK(same_bits(plain[i], again[i]));
      acts = acts || !same_bits(plain[i], none[i]);
    }
    CHECK(acts);
  }
}

TEST_CASE("hand_out: outside of recompute(), nested, and hooks that change before backward") {
  Tensor x = numbers({3}, 1).requires_grad_();
  Tensor got;
  auto const f = [&](Tensor const& in) {
    hand_out(sum(square(in)), [&](Tensor const& side) { got = side; });
    return in * 2.0;
  };
  f(x);
  CHECK(got.requires_grad());
  for (bool nested : {false, true}) {
    got = Tensor();
    Tensor const y = nested ? recompute([&](Tensor const& in) { return recompute(f, in * 1.0); }, x) : recompute(f, x);
    REQUIRE(got.defined());
    Tensor const g = grad({sum(y) + got}, {x})[0];
    CHECK(test::differs(g, x.detach() * 2.0 + 2.0, 1e-15) == "");
  }
  bool on = true;
  Tensor const y = recompute(
      [&](Tensor const& in) {
        if (on) hand_out(sum(in), [&](Tensor const& side) { got = side; });
        return in * 2.0;
      },
      x);
  on = false;
  CHECK(contains(error_of([&] { (sum(y) + got).backward(); }), "recompute"));
}

namespace {

/// Means over draws of the output of one call, and how far it is from `want` in standard errors at most.
double errors_from(std::string const& text, Case const& c, Tensor const& want, int draws) {
  auto const r = make(text);
  Nothing model;
  r->begin(model);
  Tensor total = zeros_like(want), squares = zeros_like(want);
  for (int i = 0; i < draws; ++i) {
    Tensor const out = nn::core(c.q, c.k, c.v, c.options).out.to(Dtype::f64);
    total = total + out, squares = squares + square(out);
  }
  Tensor const average = total / double(draws), spread = squares / double(draws) - square(average);
  Tensor const error = sqrt(clamp_min(spread, 1e-20) / double(draws));
  return amax(abs(average - want) / error, {0, 1, 2, 3}).item();
}

}  // namespace

TEST_CASE("attention dropout and DropHead: the mean is the plain output, p = 0 is it bit for bit") {
  seed(11);
  Case const c = drawn(4, 2, 6, 6, {.causal = true}, Dtype::f32, 0.7);
  Tensor const plain = attend(c.q, c.k, c.v, c.options).out;
  for (std::string text : {"attention-dropout:p=0.25", "drophead:p=0.3"}) {
    CAPTURE(text);
    double const far = errors_from(text, c, plain.to(Dtype::f64), 2000);
    CHECK(far < 5);
    CHECK(far > 0.01);
  }
  for (std::string text : {"attention-dropout:p=0", "drophead:p=0", "dropkey:p=0", "forgetful-mask:rate=0",
                           "logit-soft-cap:cap=0", "attention-temperature:from=1,to=1"}) {
    CAPTURE(text);
    auto const r = make(text);
    Nothing model;
    r->begin(model);
    CHECK(same_bits(nn::core(c.q, c.k, c.v, c.options).out, plain));
  }
  for (std::string text : {"attention-dropout:p=0.5", "drophead:p=0.5", "dropkey:p=0.5", "forgetful-mask:rate=0.9"}) {
    CAPTURE(text);
    auto const r = make(text);
    Nothing model;
    r->begin(model);
    nn::eval(model);
    CHECK(same_bits(nn::core(c.q, c.k, c.v, c.options).out, plain));  // evaluation
  }
  CHECK(same_bits(nn::core(c.q, c.k, c.v, c.options).out, plain));  // gone with the regularisers
}

TEST_CASE("DropKey and forgetful masks: shares, whole rows, own keys, the same forward and backward") {
  seed(2);
  Nothing model;
  // v = the identity shows the weights.
  int64_t const t = 64;
  Case c{zeros({2, 2, t, 4}, Dtype::f64), numbers({2, 2, t, 4}, 2), eye(t, -1, Dtype::f64).expand({2, 2, t, t}), {}};
  {
    auto const r = make("dropkey:p=0.25");
    r->begin(model);
    Tensor const a = nn::core(c.q, c.k, c.v, c.options).out, b = nn::core(c.q, c.k, c.v, c.options).out;
    CHECK(!same_bits(a, b));  // another draw
    double const dropped = mean((a == 0.0).to(Dtype::f64)).item(), n = 2 * 2 * t * t;
    CHECK(std::abs(dropped - 0.25 * (t - 1) / t) < 5 * std::sqrt(0.25 * 0.75 / n) * 2);
    CHECK(test::differs(sum(a, {3}), ones({2, 2, t}, Dtype::f64), 1e-12) == "");  // what is left is a softmax
    CHECK(sum((diagonal(a, 0, 2, 3) == 0.0).to(Dtype::f64)).item() == 0);
    // Shares of rows and of columns scatter as independent drops would, and pairs of rows do not agree.
    Tensor const drops = (a == 0.0).to(Dtype::f64);
    for (int axis : {2, 3}) {
      Tensor const share = mean(drops, {axis});
      double const variance = mean(square(share - mean(share))).item() * t;
      CHECK(variance > 0.5 * 0.1875);
      CHECK(variance < 1.6 * 0.1875);
    }
    Tensor const centred = drops - mean(drops);
    Tensor const together = matmul(centred, centred.transpose(2, 3)) / double(t);
    Tensor const apart = together * (1.0 - eye(t, -1, Dtype::f64));
    CHECK(std::sqrt(mean(square(apart)).item() * t) < 1.5 * 0.1875);
  }
  {  // Cross-attention of a few keys at a high rate: rows that lose all keep all.
    auto const r = make("dropkey:p=0.9");
    r->begin(model);
    Case few{zeros({2, 2, 40, 4}, Dtype::f64), numbers({2, 2, 3, 4}, 2), ones({2, 2, 3, 1}, Dtype::f64), {}};
    Attended const y = nn::core(few.q, few.k, few.v, few.options);
    CHECK(test::differs(y.out, ones({2, 2, 40, 1}, Dtype::f64), 1e-12) == "");
  }
  {
    auto const r = make("forgetful-mask:rate=0.9");
    r->begin(model);
    c.options.causal = true;
    Tensor const a = nn::core(c.q, c.k, c.v, c.options).out, b = nn::core(c.q, c.k, c.v, c.options).out;
    CHECK(same_bits(a, b));  // one draw a batch: every layer forgets the same
    CHECK(sum((diagonal(a, 0, 2, 3) == 0.0).to(Dtype::f64)).item() == 0);
    CHECK(sum((a.select(3, 0) == 0.0).to(Dtype::f64)).item() == 0);
    Tensor x, y;
    Generator generator(1);
    r->batch(x, y, generator);
    CHECK(!same_bits(a, nn::core(c.q, c.k, c.v, c.options).out));
  }
  // The gradient is that of the very draw that forward made.
  for (std::string text : {"dropkey:p=0.4", "drophead:p=0.4", "attention-dropout:p=0.4", "forgetful-mask:rate=0.8",
                           "logit-soft-cap:cap=3", "attention-temperature:from=3,to=1"}) {
    CAPTURE(text);
    auto const r = make(text);
    r->begin(model);
    Case const d = drawn(4, 2, 6, 6, {.causal = true});
    CHECK(test::gradcheck(
              [&](std::vector<Tensor> const& in) {
                seed(9);
                return std::vector<Tensor>{nn::core(in[0], in[1], in[2], d.options).out};
              },
              {d.q.detach().requires_grad_(), d.k.detach().requires_grad_(), d.v.detach().requires_grad_()},
              {.full_up_to = 0, .directions = 2}) == "");
  }
}

TEST_CASE("soft cap and temperature: the formula, in evaluation too; the way of the temperature") {
  Nothing model;
  nn::eval(model);
  Case const c = drawn(2, 2, 6, 6, {.causal = true});
  {
    auto const r = make("logit-soft-cap:cap=2");
    r->begin(model);
    CHECK(same_bits(nn::core(c.q, c.k, c.v, c.options).out,
                    attend(c.q, c.k, c.v, {.causal = true, .score = soft_cap(2)}).out));
  }
  nn::AttentionTemperature heat({.from = 3, .to = 1, .steps = 10});
  heat.begin(model);
  CHECK(heat.temperature() == 3);
  CHECK(same_bits(nn::core(c.q, c.k, c.v, c.options).out,
                  attend(c.q, c.k, c.v, {.scale = 1 / std::sqrt(5.) / 3, .causal = true}).out));
  heat.stepped(model, 5);
  CHECK(heat.temperature() == 2);
  heat.stepped(model, 40);
  CHECK(heat.temperature() == 1);
  CHECK(same_bits(nn::core(c.q, c.k, c.v, c.options).out, attend(c.q, c.k, c.v, c.options).out));
}

TEST_CASE("QK-clip: the largest logit becomes the threshold; below it nothing changes") {
  for (int64_t kv_heads : {4, 2}) {
    seed(5);
    nn::GPT model(
        {.vocabulary = 11, .layers = 2, .heads = 4, .kv_heads = kv_heads, .dim = 16, .block = 8, .bias = true});
    for (Tensor p : nn::parameters(model))
      if (p.rank() >= 2) nn::init::normal_(p, 0.6);
    nn::to(model, Dtype::f64);
    Generator generator(4);
    Tensor const tokens = randint(0, 11, {3, 8}, generator);
    auto const largest = [&] {  // of layer 0's heads: what it is clipped by is what it sees
      NoGrad const off;
      Tensor found;
      HookHandle hook = nn::on_attend({}, [&](nn::AttentionCall& call) {
        if (!found.defined()) found = amax(dense_scores(call.q, call.k, call.options), {0, 2, 3});
      });
      model(tokens);
      hook.remove();
      return found.to_vector<double>();
    };
    auto const before = largest();
    double const threshold =
        (*std::min_element(before.begin(), before.end()) + *std::max_element(before.begin(), before.end())) / 2;
    nn::QKClip high({.threshold = 1000});
    high.begin(model);
    model(tokens);
    std::vector<Tensor> kept;
    for (Tensor const& p : nn::parameters(model)) kept.push_back(p.detach().clone());
    high.stepped(model, 1);
    for (size_t i = 0; i < kept.size(); ++i) CHECK(same_bits(kept[i], nn::parameters(model)[i].detach()));
    nn::QKClip clip({.threshold = threshold});
    clip.begin(model);
    model(tokens);
    clip.stepped(model, 1);
    auto const after = largest();
    for (size_t h = 0; h < 4; ++h) CHECK(after[h] == doctest::Approx(std::min(before[h], threshold)).epsilon(1e-9));
  }
  nn::QKClip clip({.threshold = 0.1});
  Nothing model;
  clip.begin(model);
  Case const c = drawn(2, 2, 5, 5, {});
  nn::core(c.q, c.k, c.v);
  CHECK(contains(error_of([&] { clip.stepped(model, 1); }), "q_proj"));
  CHECK(contains(error_of([] { make("qk-clip:threshold=0"); }), "threshold"));
}

TEST_CASE("supervised attention: KL from the target, 0 at it, unknown rows left out") {
  Case c = drawn(2, 2, 5, 5, {.causal = true});
  c.q.requires_grad_();
  nn::SupervisedAttention r({.weight = 1});
  CHECK(contains(error_of([&] { penalty_of(r, c); }), "target"));
  Tensor const a = attention_weights(c.q.detach(), c.k, c.options);
  r.target(a);
  CHECK(std::abs(penalty_of(r, c).item()) < 1e-12);
  CHECK(amax(abs(grad({penalty_of(r, c)}, {c.q})[0]), {0, 1, 2, 3}).item() < 1e-12);
  Tensor target = tril(ones({5, 5}, Dtype::f64));
  target = target / sum(target, {1}, true);
  target = where(arange(5).unsqueeze(1) == 3.0, 0.0, target);
  r.target(target);
  Tensor const known = (arange(5) != 3.0).to(Dtype::f64);
  Tensor const kl = sum(
      where(target > 0.0, target * (log(where(target > 0.0, target, 1.0)) - log(where(a > 0.0, a, 1.0))), 0.0), {3});
  CHECK(penalty_of(r, c).item() == doctest::Approx((sum(kl * known) / 16.0).item()).epsilon(1e-12));
  CHECK(test::gradcheck(
            [&](std::vector<Tensor> const& in) {
              return std::vector<Tensor>{penalty_of(r, {in[0], in[1], c.v, c.options})};
            },
            {c.q.detach().requires_grad_(), c.k.detach().requires_grad_()}, {.full_up_to = 0}) == "");
  r.target(zeros({4, 4}));
  CHECK(contains(error_of([&] { penalty_of(r, c); }), "broadcast"));
}

TEST_CASE("attention maps: bad settings") {
  for (std::string text : {"dropkey:p=1", "drophead:p=-0.1", "attention-dropout:p=2", "forgetful-mask:rate=1",
                           "logit-soft-cap:cap=-1", "attention-temperature:from=0", "entropy-bonus:weight=nan"}) {
    CAPTURE(text);
    std::string const error = error_of([&] { make(text); });
    CHECK(contains(error, nn::parse_spec(text).name));
  }
  CHECK(contains(error_of([] { make("entropy-bonos"); }), "entropy-bonus"));
  CHECK(contains(error_of([] { make("max-weight:limt=1"); }), "limit"));
}
