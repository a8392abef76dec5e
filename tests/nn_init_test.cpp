// Initialisations by their catalogue: moments within five standard errors, exact shapes, starts of whole models.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/init/catalogue.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/gradcheck.h>

#include <cmath>
#include <map>
#include <set>

using namespace heed;
using test::numbers;

namespace {

bool throws(std::function<void()> const& f) {
  try {
    f();
  } catch (Error const& e) {
    CHECK(!e.problem().empty());
    CHECK(!e.remedy().empty());
    return true;
  }
  return false;
}

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  return max(abs(a.detach().to(Dtype::f64) - b.detach().to(Dtype::f64))).item();
}

/// A tensor that the row accepts.
Tensor tensor_for(nn::InitRow const& row, Dtype dtype = Dtype::f32) {
  if (row.shape == "[..]") return empty({60, 50}, dtype);
  if (row.shape == "[O, I, ..]") return empty({40, 30, 3}, dtype);
  if (row.shape == "[N, M]") return empty({7, 5}, dtype);
  if (row.shape == "[O, I, taps..]") return empty({6, 4, 3, 5}, dtype);
  if (row.shape == "[4·H]") return empty({4 * 16}, dtype);
  if (row.shape == "[H]") return empty({12}, dtype);
  if (row.shape == "[N, N]") return empty({5, 5}, dtype);
  if (row.shape == "[.., N, 2]") return empty({3, 6, 2}, dtype);
  FAIL("a shape that no test knows: ", std::string(row.shape));
  return {};
}

/// Whether mean, variance and the farthest element are what they should be, within five standard errors (of the
/// variance as for a normal distribution, which has the widest).
void check_moments(Tensor const& t, double mean_wanted, double variance, double farthest) {
  auto const x = t.to_vector<double>();
  double const n = double(x.size());
  double mean = 0, second = 0, far = 0;
  for (double v : x) mean += v / n;
  for (double v : x) second += (v - mean) * (v - mean) / n;
  for (double v : x) far = std::max(far, std::abs(v - mean_wanted));
  CHECK(std::abs(mean - mean_wanted) < 5 * std::sqrt(variance / n));
  CHECK(std::abs(second - variance) < 5 * variance * std::sqrt(2 / n));
  CHECK(far <= farthest);
  if (std::isfinite(farthest)) CHECK(far > 0.9 * farthest);
}

nn::GPT model_of(std::string_view init, nn::GPTConfig config = {}) {
  config.vocabulary = 11;
  config.layers = 3;
  config.heads = 2;
  config.dim = 32;
  config.block = 8;
  config.bias = true;
  config.tied = false;
  seed(3);
  nn::GPT model(config);
  nn::initialize(model, init);
  return model;
}

Tensor named(nn::Module& model, std::string_view name) {
  for (auto const& p : nn::state_dict(model))
    if (p.name == name) return p.tensor;
  FAIL("no parameter ", std::string(name));
  return {};
}

double deviation(nn::Module& model, std::string_view name) {
  return std::sqrt(mean(square(named(model, name).detach())).item());
}

}  // namespace

TEST_CASE(
    "inits: every row fills, unknown to the tape, by the seed alone; another shape, type of settings are Errors") {
  std::set<std::string_view> names;
  for (auto const& row : nn::inits()) {
    INFO(std::string(row.name));
    CHECK(int(names.insert(row.name).second) == 1);
    CHECK((row.fill == nullptr) != (row.start == nullptr));
    CHECK(!row.source.empty());
    CHECK(!row.summary.empty());
    CHECK((row.family == "models") == (row.start != nullptr));
    if (row.start) continue;
    for (Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16}) {
      Tensor t = tensor_for(row, dtype);
      t.requires_grad_();
      seed(1);
      nn::initialize(t, row.name);
      CHECK(t.is_leaf());
      CHECK(all(isfinite(t.detach())).item() == 1);
      Tensor const first = t.detach().clone();
      seed(1);
      nn::initialize(t, row.name);
      CHECK(equal(t.detach(), first));
    }
    if (row.shape != "[..]") {
      Tensor scalar_like = empty({});
      CHECK(throws([&] { nn::initialize(scalar_like, row.name); }));
    }
    Tensor t = tensor_for(row);
    CHECK(throws([&] { nn::initialize(t, std::string(row.name).append(":no_such_setting=1")); }));
  }
  Tensor t = empty({3, 3});
  CHECK(throws([&] { nn::initialize(t, "ortogonal"); }));
  CHECK(throws([&] { nn::initialize(t, "zero-output"); }));
  CHECK(throws([&] { nn::initialize(t, "variance-scaling:mode=fan"); }));
  CHECK(throws([&] { nn::initialize(t, "s4d:kind=complex"); }));
  nn::Linear linear(3, 3);
  CHECK(throws([&] { nn::initialize(linear, "gpt-residual"); }));
  CHECK(throws([&] { nn::initialize(linear, "hippo"); }));
  nn::initialize(linear, "identity");
  CHECK(difference(linear.weight, eye(3)) == 0);
}

TEST_CASE("inits: moments of the random ones within five standard errors, and their farthest elements") {
  constexpr double far = INFINITY;
  double const in = 30 * 3, out = 40 * 3, average = (in + out) / 2, root3 = std::sqrt(3.0);
  struct Moments {
    double mean, variance, farthest;
  };
  // A normal variable cut at two deviations has 0.7737 of its variance.
  double const cut = 0.77374110;
  std::map<std::string, Moments> const wanted{
      {"uniform", {0, 0.01 / 3, 0.1}},
      {"uniform:low=1,high=3", {2, 1. / 3, 1}},
      {"normal", {0, 4e-4, far}},
      {"normal:mean=3,deviation=0.5", {3, 0.25, far}},
      {"truncated-normal", {0, cut * 4e-4, 0.04}},
      {"variance-scaling", {0, 1 / in, 2 / std::sqrt(cut * in)}},
      {"variance-scaling:scale=3,mode=fan_out,distribution=normal", {0, 3 / out, far}},
      {"variance-scaling:mode=fan_avg,distribution=uniform", {0, 1 / average, root3 / std::sqrt(average)}},
      {"glorot-uniform", {0, 1 / average, root3 / std::sqrt(average)}},
      {"glorot-normal", {0, 1 / average, far}},
      {"he-uniform", {0, 2 / in, root3 * std::sqrt(2 / in)}},
      {"he-normal", {0, 2 / in, far}},
      {"lecun-uniform", {0, 1 / in, root3 / std::sqrt(in)}},
      {"lecun-normal", {0, 1 / in, far}},
  };
  std::set<std::string> const exact{"constant", "orthogonal", "identity", "dirac"};
  for (auto const& row : nn::inits()) {
    if (row.family != "weights" || exact.contains(std::string(row.name))) continue;
    INFO(std::string(row.name));
    int found = 0;
    for (auto const& [text, m] : wanted) {
      if (nn::parse_spec(text).name != row.name) continue;
      ++found;
      seed(5);
      Tensor t = tensor_for(row);
      nn::initialize(t, text);
      check_moments(t, m.mean, m.variance, m.farthest * (1 + 1e-6));
    }
    CHECK(found > 0);
  }
}

TEST_CASE("inits: constants, orthogonal matrices, identities") {
  Tensor t = empty({4, 3});
  nn::initialize(t, "constant:value=2.5");
  CHECK(difference(t, full({4, 3}, 2.5)) == 0);
  for (Shape const& shape : {Shape{9, 9}, Shape{12, 5}, Shape{5, 12}, Shape{6, 2, 2, 2}}) {
    Tensor w = empty(shape, Dtype::f64);
    nn::initialize(w, "orthogonal:gain=2");
    Tensor const q = w.flatten(1) / 2.0;
    bool const wide = q.size(0) <= q.size(1);
    Tensor const product = wide ? matmul(q, q.t()) : matmul(q.t(), q);
    CHECK(difference(product, eye(product.size(0), -1, Dtype::f64)) < 1e-14);
  }
  // Uniform among orthogonal matrices: no sign is preferred.
  double positive = 0;
  seed(2);
  for (int i = 0; i < 400; ++i) {
    Tensor w = empty({2, 2}, Dtype::f64);
    nn::initialize(w, "orthogonal");
    positive += w.at(0, 0).item() > 0;
  }
  CHECK(std::abs(positive - 200) < 5 * 10);
  nn::initialize(t, "identity:gain=3");
  CHECK(difference(t, eye(4, 3) * 3.0) == 0);
  Tensor const x = numbers({2, 4, 6, 7}, 1, Dtype::f32);
  Tensor w = empty({4, 4, 3, 3});
  nn::initialize(w, "dirac");
  CHECK(difference(conv2d(x, w, {}, {.padding = 1}), x) == 0);
  Tensor grouped = empty({4, 2, 3});
  nn::initialize(grouped, "dirac:groups=2");
  Tensor const y = numbers({2, 2, 9}, 1, Dtype::f32);
  CHECK(difference(conv1d(y, grouped, {}, {.padding = 1}), cat({y, y}, 1)) == 0);
  Tensor bad = empty({5, 2, 3});
  CHECK(throws([&] { nn::initialize(bad, "dirac:groups=2"); }));
}

TEST_CASE("inits: gates, decays, slopes, states") {
  Tensor bias = empty({4 * 200}, Dtype::f64);
  nn::initialize(bias, "forget-bias:value=1.5");
  CHECK(difference(bias, cat({zeros({200}), full({200}, 1.5), zeros({400})})) == 0);
  seed(4);
  nn::initialize(bias, "chrono:longest=50");
  Tensor const forget = bias.slice(0, 200, 400);
  CHECK(difference(bias.slice(0, 0, 200), -forget) == 0);
  CHECK(max(abs(bias.slice(0, 400, 800))).item() == 0);
  check_moments(exp(forget), 25, 48. * 48 / 12, 24 + 1e-9);

  Tensor decay = empty({4}, Dtype::f64);
  nn::initialize(decay, "retnet-decay");
  CHECK(difference(decay, tensor(std::vector<double>{1 - 1. / 32, 1 - 1. / 64, 1 - 1. / 128, 1 - 1. / 256}, {4})) == 0);
  Tensor log_decay = empty({4}, Dtype::f64);
  nn::initialize(log_decay, "retnet-decay:logarithm=true");
  CHECK(difference(exp(log_decay), decay) < 1e-15);

  Tensor slopes = empty({8}, Dtype::f64);
  nn::initialize(slopes, "alibi-slopes");
  CHECK(slopes.at(0).item() == 0.5);
  CHECK(slopes.at(7).item() == 1. / 256);
  Tensor three = empty({3}, Dtype::f64);
  nn::initialize(three, "alibi-slopes");  // those of 2, and the first of 4's
  CHECK(difference(three, tensor(std::vector<double>{1. / 16, 1. / 256, 0.25}, {3})) == 0);

  // HiPPO-LegS: c' = (A·c + B·f)/t keeps the coefficients of f = 1, which are (1, 0, 0, …), where B_n = √(2n + 1).
  Tensor a = empty({6, 6}, Dtype::f64);
  nn::initialize(a, "hippo");
  Tensor const b = sqrt(arange(6).to(Dtype::f64) * 2.0 + 1.0);
  CHECK(difference(mv(a, one_hot(tensor(std::vector<int64_t>{0}, {}), 6).to(Dtype::f64)) + b, zeros({6}, Dtype::f64)) <
        1e-14);
  Tensor s = empty({2, 5, 2}, Dtype::f64);
  nn::initialize(s, "s4d");
  CHECK(difference(s.select(-1, 0), full({2, 5}, -0.5)) == 0);
  CHECK(s.at(1, 3, 1).item() == doctest::Approx(3 * M_PI));
  nn::initialize(s, "s4d:kind=inv");
  CHECK(s.at(0, 0, 1).item() == doctest::Approx(5 / M_PI * 4));
  Tensor real = empty({3, 4}, Dtype::f64), logarithm = empty({3, 4}, Dtype::f64);
  nn::initialize(real, "s4d:kind=real");
  nn::initialize(logarithm, "s4d:kind=log-real");
  CHECK(difference(real, -exp(logarithm)) < 1e-15);
  CHECK(real.at(2, 3).item() == -4);
}

TEST_CASE("inits: starts of models") {
  std::set<std::string_view> covered;
  auto const start = [&](std::string_view text) {
    covered.insert(text.substr(0, text.find(':')));
    return model_of(text);
  };
  auto const near = [](double got, double want) { return std::abs(got - want) < 0.1 * want; };
  {
    nn::GPT model = start("gpt-residual:deviation=0.1");
    CHECK(near(deviation(model, "blocks.1.attn.q_proj.weight"), 0.1));
    CHECK(near(deviation(model, "blocks.1.attn.out_proj.weight"), 0.1 / std::sqrt(6.0)));
    CHECK(near(deviation(model, "blocks.2.mlp.proj.weight"), 0.1 / std::sqrt(6.0)));
    CHECK(deviation(model, "blocks.2.mlp.fc.bias") == 0);
  }
  Tensor const x = numbers({2, 5, 32}, 1, Dtype::f32);
  for (char const* text : {"zero-output", "fixup"}) {
    INFO(text);
    nn::GPT model = start(text);
    for (auto const& block : model.blocks) CHECK(difference((*block)(x), x) == 0);
  }
  {
    nn::GPT model = model_of("fixup");
    CHECK(deviation(model, "head.weight") == 0);
    CHECK(near(deviation(model, "blocks.0.mlp.fc.weight"), std::sqrt(2.0 / 32) / std::sqrt(6.0)));
    nn::GPT tied({.vocabulary = 11, .layers = 2, .heads = 2, .dim = 8, .block = 8});
    nn::initialize(tied, "fixup");  // the head is the embedding, and stays
    CHECK(deviation(tied, "token_embedding.weight") > 0);
  }
  double const glorot = std::sqrt(1.0 / 32), of_fc = std::sqrt(2.0 / (32 + 128));
  {
    nn::GPT model = start("t-fixup");
    double const by = 0.67 * std::pow(3.0, -0.25);
    CHECK(near(deviation(model, "blocks.1.attn.k_proj.weight"), glorot));
    CHECK(near(deviation(model, "blocks.1.attn.v_proj.weight"), glorot * by));
    CHECK(near(deviation(model, "blocks.1.mlp.fc.weight"), of_fc * by));
    CHECK(near(deviation(model, "token_embedding.weight"), by / std::sqrt(32.0)));
  }
  {
    nn::GPT model = start("deepnet");
    double const by = std::pow(24.0, -0.25);
    CHECK(near(deviation(model, "blocks.2.attn.q_proj.weight"), glorot));
    CHECK(near(deviation(model, "blocks.2.attn.out_proj.weight"), glorot * by));
    CHECK(near(deviation(model, "blocks.2.mlp.proj.weight"), of_fc * by));
  }
  {
    nn::GPT model = start("lsuv:batch=32,tolerance=0.01");
    CHECK(model.training());
    nn::eval(model);
    double farthest = 0;
    HookHandle seen = nn::on_forward("blocks.**", [&](nn::ModuleCall const& call) {
      if (call.path.ends_with("_proj") || call.path.ends_with("mlp.fc") || call.path.ends_with("mlp.proj"))
        farthest = std::max(farthest, std::abs(var(call.output).item() - 1));
      return Tensor();
    });
    seed(9);
    model(randint(0, 11, {32, 8}));
    CHECK(farthest < 0.3);  // on another batch
    seen.remove();
    nn::Linear linear(3, 3);
    CHECK(throws([&] { nn::initialize(linear, "lsuv"); }));
  }
  // Two zeros in a row have no gradient.
  CHECK(throws([] { nn::GPT model({.layers = 1, .residual = "rezero", .init = "zero-output"}); }));
  {
    // Without noise: rank-16 pieces of 0.5·1 for each head, and −0.25·1.
    nn::GPT model = start("mimetic:alpha=0,beta=0.5,alpha_v=0,beta_v=0.25");
    Tensor const q = named(model, "blocks.0.attn.q_proj.weight").detach(),
                 k = named(model, "blocks.0.attn.k_proj.weight").detach();
    for (int64_t h : {0, 1}) {
      Tensor const product = matmul(q.slice(0, 16 * h, 16 * (h + 1)).t(), k.slice(0, 16 * h, 16 * (h + 1)));
      CHECK(difference(matmul(product, product), product * 0.5) < 1e-6);
      CHECK(trace(product).item() == doctest::Approx(8).epsilon(1e-5));
    }
    Tensor const out = matmul(named(model, "blocks.0.attn.out_proj.weight").detach(),
                              named(model, "blocks.0.attn.v_proj.weight").detach());
    CHECK(difference(out, eye(32) * -0.25) < 1e-6);
  }
  {
    covered.insert("admin");
    seed(5);
    nn::GPT model({.vocabulary = 11,
                   .layers = 3,
                   .heads = 2,
                   .dim = 32,
                   .block = 8,
                   .placement = "post",
                   .residual = "admin",
                   .init = "admin"});
    // Each weight is the root of what came before, 1 at first.
    double last = 1;
    CHECK(difference(model.blocks[0]->around_attn.scale.weight, ones({32})) == 0);
    for (auto const& block : model.blocks)
      for (auto const* around : {&block->around_attn, &block->around_mlp}) {
        double const now = around->scale.weight.at(0).item();
        CHECK(now >= last);
        last = now;
      }
    CHECK(last > 1.2);
    CHECK(model.training());
    // ω = 1 is the plain sum; it trains with the rest.
    Tensor const y = numbers({2, 5, 32}, 3, Dtype::f32);
    nn::Residual weighed({.dim = 32, .placement = "post", .residual = "admin"}),
        plain({.dim = 32, .placement = "post"});
    CHECK(difference(weighed.after(x, y), plain.after(x, y)) == 0);
    CHECK(named(model, "blocks.1.stream2").requires_grad());
    CHECK(throws([] { nn::GPT other({.layers = 1, .init = "admin"}); }));
    CHECK(throws([] { nn::GPT other({.layers = 1, .residual = "admin"}); }));
  }
  {
    covered.insert("mup");
    nn::GPT model({.vocabulary = 11,
                   .layers = 3,
                   .heads = 4,
                   .dim = 64,
                   .block = 8,
                   .tied = false,
                   .init = "mup:base=16,deviation=0.1"});
    CHECK(near(deviation(model, "token_embedding.weight"), 0.1));
    CHECK(near(deviation(model, "blocks.1.attn.k_proj.weight"), 0.05));
    CHECK(near(deviation(model, "blocks.1.mlp.proj.weight"), 0.05 / std::sqrt(6.0)));
    CHECK(deviation(model, "blocks.1.attn.q_proj.weight") == 0);
    CHECK(deviation(model, "head.weight") == 0);
    CHECK(throws([] { nn::GPT tied({.layers = 1, .init = "mup"}); }));
  }
  for (auto const& row : nn::inits())
    if (row.start && row.name != "admin" && row.name != "mup") {  // those need a model of their own
      INFO(std::string(row.name));
      CHECK(covered.contains(row.name));
      nn::GPT model = model_of(row.name);
      for (auto const& p : nn::named_parameters(model)) CHECK(all(isfinite(p.tensor.detach())).item() == 1);
    }
}
