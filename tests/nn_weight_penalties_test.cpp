// Regularisers of weights: formulas, exact gradients, the catalogue's identities, what layers compute with.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/nn/regularize/concrete_dropout.h>
#include <heed/nn/regularize/ewc.h>
#include <heed/nn/regularize/l0.h>
#include <heed/nn/regularize/l2_sp.h>
#include <heed/nn/regularize/magnitude_pruning.h>
#include <heed/nn/regularize/sigma_reparam.h>
#include <heed/nn/regularize/weight_norm_reparam.h>
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

std::unique_ptr<nn::Regularizer> make(std::string const& text) { return std::move(nn::make_regularizers(text).at(0)); }

/// Two matrices, a convolution's weight, and what is none: a bias and a gain.
struct Model final : nn::Module {
  nn::Linear one{5, 4}, two{4, 7};
  nn::Conv1d conv{nn::ConvConfig{.in = 2, .out = 3, .kernel = 3}};
  nn::LayerNorm norm{4};
  explicit Model(Dtype dtype = Dtype::f64) {
    nn::bind_paths(*this);
    uint32_t key = 1;
    for (Tensor p : nn::parameters(*this)) p.detach().copy_(numbers(p.shape(), key++, Dtype::f32));
    nn::to(*this, dtype);
  }
  void visit(nn::Visitor& v) override {
    v.child("one", one), v.child("two", two), v.child("conv", conv), v.child("norm", norm);
  }
  Tensor run(Tensor const& x) { return two(norm(one(x))); }
};

std::vector<Tensor> weights_of(Model& m) { return {m.one.weight, m.two.weight, m.conv.weight}; }

struct Penalty {
  std::string text;
  std::function<Tensor(Tensor const&)> of;  // one matrix [O, I]
  double tolerance = 1e-12;
};
Tensor spectral(Tensor const& w) { return amax(svdvals(w), {0}); }

std::vector<Penalty> penalties() {
  return {{"l1:weight=1", [](Tensor const& w) { return sum(abs(w)); }},
          {"l2:weight=1", [](Tensor const& w) { return sum(square(w)) / 2.0; }},
          {"elastic-net:weight=1,share=0.3", [](Tensor const& w) { return sum(abs(w)) * 0.3 + sum(square(w)) * 0.35; }},
          {"group-lasso:weight=1",
           [](Tensor const& w) { return sum(sqrt(sum(square(w), {1}))) * std::sqrt(double(w.size(1))); }},
          {"orthogonality:weight=1",
           [](Tensor const& w) {
             Tensor const m = w.size(0) > w.size(1) ? w.t() : w;
             return sum(square(matmul(m, m.t()) - eye(m.size(0), -1, Dtype::f64)));
           }},
          {"spectral-penalty:weight=1", [](Tensor const& w) { return square(spectral(w)) / 2.0; }, 1e-6}};
}

}  // namespace

TEST_CASE("penalties of weights: the formula over matrices alone, by pattern, shared ones once") {
  Model model;
  for (Penalty const& p : penalties()) {
    CAPTURE(p.text);
    Tensor want = zeros({}, Dtype::f64);
    for (Tensor const& w : weights_of(model)) want = want + p.of(w.detach().reshape({w.size(0), -1}));
    auto const r = make(p.text);
    r->begin(model);
    Tensor got = r->penalty(model);
    for (int i = 0; i < 30; ++i) got = r->penalty(model);  // power iterations settle
    CHECK(test::differs(got.detach(), want, p.tolerance) == "");
    auto const one = make(p.text + ",pattern=one.*");
    one->begin(model);
    CHECK(test::differs(one->penalty(model).detach(), p.of(model.one.weight.detach()), 1e-5) == "");
    CHECK(!make(p.text + ",pattern=three.*")->penalty(model).defined());
    std::string const name = nn::parse_spec(p.text).name;
    CHECK(!make(name + ":weight=0")->penalty(model).defined());
    CHECK(contains(error_of([&] { make(name + ":weight=-1"); }), name));
  }
  nn::GPT tied({.vocabulary = 11, .layers = 1, .heads = 1, .dim = 4, .block = 4});
  double total = 0;
  for (auto const& p : nn::named_parameters(tied))
    if (p.tensor.rank() >= 2) total += sum(square(p.tensor)).item() / 2;
  CHECK(make("l2:weight=1")->penalty(tied).item() == doctest::Approx(total).epsilon(1e-5));
}

TEST_CASE("penalties of weights: exact gradients") {
  for (Penalty const& p : penalties()) {
    CAPTURE(p.text);
    CHECK(test::gradcheck(
              [&](std::vector<Tensor> const& in) {
                Model model;
                model.one.weight = in[0], model.two.weight = in[1], model.conv.weight = in[2];
                auto const r = make(p.text);
                if (contains(p.text, "spectral"))
                  for (int i = 0; i < 400; ++i) r->penalty(model);
                return std::vector<Tensor>{r->penalty(model)};
              },
              [] {
                Model model;
                auto list = weights_of(model);
                for (Tensor& w : list) w = w.detach().clone().requires_grad_();
                return list;
              }(),
              {.tolerance = 2e-6, .full_up_to = 0}) == "");
  }
  Model model;  // the gradient of l2 is weight·w
  make("l2:weight=0.5")->penalty(model).backward();
  for (Tensor const& w : weights_of(model)) CHECK(test::differs(w.grad(), w.detach() * 0.5, 1e-16) == "");
}

TEST_CASE("plain gradient steps: l2 is decoupled decay") {
  Model a, b;
  Tensor const x = numbers({3, 5}, 9);
  auto const r = make("l2:weight=0.1");
  for (int step = 0; step < 3; ++step) {
    for (Model* m : {&a, &b}) {
      nn::zero_grad(*m);
      Tensor loss = sum(square(m->run(x)));
      if (m == &a) loss = loss + r->penalty(*m);
      loss.backward();
      NoGrad const off;
      for (auto& p : nn::named_parameters(*m)) {
        if (!p.tensor.grad().defined()) continue;
        double const decay = m == &b && p.tensor.rank() >= 2 ? 1 - 0.01 * 0.1 : 1;
        p.tensor.copy_(p.tensor * decay - p.tensor.grad() * 0.01);
      }
    }
  }
  CHECK(test::differs(a.one.weight.detach(), b.one.weight.detach(), 1e-14) == "");
  CHECK(test::differs(a.two.weight.detach(), b.two.weight.detach(), 1e-14) == "");
}

TEST_CASE("SRIP: the distance from orthogonal in the worst direction") {
  Model model;
  Tensor const q = qr(numbers({4, 4}, 3)).q;
  auto const of = [&](Tensor const& w) {
    NoGrad const off;
    model.one.weight = w.clone().requires_grad_();
    return make("srip:weight=1,pattern=one.*")->penalty(model).item();
  };
  CHECK(of(q) < 1e-12);
  CHECK(of(q.slice(0, 0, 3).contiguous()) < 1e-12);
  CHECK(of(q * 2.0) == doctest::Approx(3));  // M = 3·I
  CHECK(of(q * 0.5) == doctest::Approx(0.75));
  Tensor const w = numbers({4, 6}, 5);  // a lower bound in general
  double const exact = amax(svdvals(matmul(w, w.t()) - eye(4, -1, Dtype::f64)), {0}).item();
  double const got = of(w);
  CHECK(got <= exact * (1 + 1e-12));
  CHECK(got > 0.2 * exact);
  CHECK(test::gradcheck(
            [&](std::vector<Tensor> const& in) {
              seed(1);
              model.one.weight = in[0];
              return std::vector<Tensor>{make("srip:weight=1,pattern=one.*")->penalty(model)};
            },
            {numbers({4, 6}, 5).requires_grad_()}) == "");
}

TEST_CASE("orthogonal matrices have no orthogonality penalty") {
  Model model;
  model.one.weight = qr(numbers({5, 4}, 3)).q.t().contiguous().requires_grad_();
  Tensor const value = make("orthogonality:weight=1,pattern=one.*")->penalty(model);
  CHECK(value.item() < 1e-28);
}

TEST_CASE("max-norm: long rows get the limit, short ones keep their bits") {
  Model model;
  Tensor const before = model.one.weight.detach().clone();
  make("max-norm:limit=100")->stepped(model, 1);
  CHECK(same_bits(model.one.weight.detach(), before));
  auto const lengths = vector_norm(before, 2, {1}).to_vector<double>();
  double const limit =
      (*std::min_element(lengths.begin(), lengths.end()) + *std::max_element(lengths.begin(), lengths.end())) / 2;
  make("max-norm:limit=" + std::to_string(limit))->stepped(model, 1);
  for (int64_t i = 0; i < 4; ++i) {
    Tensor const row = model.one.weight.detach().select(0, i);
    if (lengths[size_t(i)] <= limit)
      CHECK(same_bits(row.contiguous(), before.select(0, i).contiguous()));
    else
      CHECK(vector_norm(row).item() == doctest::Approx(limit).epsilon(1e-5));
  }
  CHECK(same_bits(model.one.bias.detach(), Model().one.bias.detach()));
}

TEST_CASE("sigma-reparam and spectral-norm: the largest singular value of what layers use is the gain") {
  for (char const* text : {"sigma-reparam:gain=1.5", "spectral-norm:gain=1.5"}) {
    CAPTURE(text);
    Model model;
    auto const r = make(text);
    r->begin(model);
    for (int i = 0; i < 50; ++i) r->stepped(model, i + 1);
    // A layer without bias of the identity shows its weight.
    Tensor const used = (model.one(eye(5, -1, Dtype::f64)) - model.one.bias).t().detach();
    CHECK(amax(svdvals(used), {0}).item() == doctest::Approx(1.5).epsilon(1e-6));
    Tensor const conv = model.conv(zeros({1, 2, 4}, Dtype::f64));
    CHECK(conv.shape() == Shape{1, 3, 2});
  }
  Model model;
  Tensor const x = numbers({3, 5}, 9), plain = model.run(x).detach();
  {
    auto const r = make("sigma-reparam:gain=0");  // gains that leave the layers as they are
    r->begin(model);
    CHECK(test::differs(model.run(x).detach(), plain, 1e-6) == "");
  }
  CHECK(same_bits(model.run(x).detach(), plain));  // gone with the regulariser
  CHECK(contains(error_of([] { make("spectral-norm:gain=-1"); }), "gain"));
}

TEST_CASE("reparametrisations: gradients of weights, gains that learn, folding, state") {
  for (char const* text : {"sigma-reparam", "weight-norm", "spectral-norm", "weight-standardization"}) {
    CAPTURE(text);
    Tensor const x = numbers({3, 5}, 9);
    Model model;
    auto const r = make(text);
    r->begin(model);
    for (int i = 0; i < 200; ++i) r->stepped(model, 1);  // singular vectors settle
    Tensor const w = model.one.weight;
    CHECK(test::gradcheck(
              [&](std::vector<Tensor> const& in) {
                model.one.weight = in[0];
                auto const y = model.run(x);
                model.one.weight = w;
                return std::vector<Tensor>{y};
              },
              {w.detach().clone().requires_grad_()}, {.step = 1e-6, .tolerance = 1e-4, .full_up_to = 0}) == "");
  }
  // weight-norm: scaling a row's weights changes nothing; its length is the gain.
  Model model;
  Tensor const x = numbers({3, 5}, 9), plain = model.run(x).detach();
  auto r = std::make_unique<nn::WeightNormReparam>(nn::WeightNormReparam::Config{.learning_rate = 0.05});
  r->begin(model);
  CHECK(test::differs(model.run(x).detach(), plain, 1e-14) == "");
  model.one.weight.detach().copy_(model.one.weight.detach() * 3.0);
  CHECK(test::differs(model.run(x).detach(), plain, 1e-14) == "");
  double first = 0, last = 0;
  for (int step = 1; step <= 50; ++step) {
    Tensor const loss = sum(square(model.run(x) - 1.0));
    loss.backward();
    nn::zero_grad(model);  // the model's weights stay: the gains learn alone
    r->stepped(model, step);
    (step == 1 ? first : last) = loss.item();
  }
  CHECK(last < 0.8 * first);
  Tensor const learnt = model.run(x).detach();
  // State: by name, into the same tensors.
  std::set<std::string> names;
  for (auto const& s : r->state()) names.insert(s.name);
  CHECK(names.size() == 1 + 4 * 3);
  CHECK(names.count("two.weight.gain") == 1);
  // Where the model is used, another begins with that state.
  std::vector<Tensor> kept;
  for (auto const& s : r->state()) kept.push_back(s.tensor.detach().clone());
  r.reset();
  CHECK(test::differs(model.run(x).detach(), learnt, 1e-3) != "");
  nn::WeightNormReparam other({.learning_rate = 0.05});
  other.begin(model);
  NoGrad const off;
  auto const to = other.state();
  for (size_t i = 0; i < kept.size(); ++i) Tensor(to[i].tensor).copy_(kept[i]);
  CHECK(same_bits(model.run(x).detach(), learnt));
}

TEST_CASE("dropconnect and weight noise: the mean is the plain output, evaluation is it bit for bit") {
  seed(3);
  Tensor const x = numbers({3, 5}, 9, Dtype::f32);
  Model model(Dtype::f32);
  Tensor const plain = model.one(x).detach();
  for (std::string text : {"dropconnect:p=0.3", "weight-noise:deviation=0.2"}) {
    CAPTURE(text);
    auto const r = make(text);
    r->begin(model);
    Tensor total = zeros_like(plain).to(Dtype::f64), squares = total;
    int const draws = 2000;
    NoGrad const off;
    for (int i = 0; i < draws; ++i) {
      Tensor const y = model.one(x).to(Dtype::f64);
      total = total + y, squares = squares + square(y);
    }
    Tensor const average = total / double(draws);
    Tensor const error = sqrt((squares / double(draws) - square(average)) / double(draws));
    CHECK(amax(abs(average - plain.to(Dtype::f64)) / error, {0, 1}).item() < 5);
    CHECK(amin(error, {0, 1}).item() > 0);
    nn::eval(model);
    CHECK(same_bits(model.one(x), plain));
    nn::train(model);
  }
  for (char const* text : {"dropconnect:p=0", "weight-noise:deviation=0"}) {
    auto const r = make(text);
    r->begin(model);
    CHECK(same_bits(model.one(x).detach(), plain));
  }
  // The same mask forward and backward, also where a layer is run again.
  auto const r = make("dropconnect:p=0.5");
  r->begin(model);
  auto const gradient = [&](bool again) {
    seed(8);
    nn::zero_grad(model);
    Tensor const y = again ? recompute([&](Tensor const& in) { return model.one(in); }, x) : model.one(x);
    sum(square(y)).backward();
    return model.one.weight.grad().clone();
  };
  Tensor const once = gradient(false);
  CHECK(same_bits(once, gradient(true)));
  CHECK(sum((once == 0.0).to(Dtype::f32)).item() > 0);
  CHECK(contains(error_of([] { make("dropconnect:p=1"); }), "dropconnect"));
}

TEST_CASE("l2-sp and ewc: nothing at the old weights, and a pull back to them") {
  Model model;
  Tensor const x = numbers({6, 5}, 9);
  nn::L2Sp sp({.weight = 2});
  nn::Ewc ewc({.weight = 2});
  sp.begin(model);
  ewc.begin(model);
  CHECK(sp.penalty(model).item() == 0);
  CHECK(ewc.penalty(model).item() == 0);
  int64_t at = -1;
  auto const loss = [&] {
    ++at;
    return sum(model.one(x.slice(0, at, at + 1)));
  };
  ewc.consolidate(model, loss, 6);
  CHECK(ewc.penalty(model).item() == 0);
  Tensor const start = model.one.weight.detach().clone();
  model.one.weight.detach().copy_(start + 0.1);
  CHECK(sp.penalty(model).item() == doctest::Approx(20 * 0.01));
  // d loss/d W_oi = x_i for each sample: F = mean x².
  double const fisher = 4 * sum(mean(square(x), {0})).item();
  CHECK(ewc.penalty(model).item() == doctest::Approx(fisher * 0.01));
  Tensor const g = grad({ewc.penalty(model)}, {model.one.weight})[0];
  CHECK(test::differs(g, (mean(square(x), {0}) * 0.2).expand({4, 5}), 1e-12) == "");
  CHECK(ewc.state().size() == 6);
  CHECK(sp.state().size() == 3);
}

TEST_CASE("magnitude pruning: the smallest go, along the cubic") {
  nn::MagnitudePruning r({.share = 0.8, .from = 0, .to = 10});
  CHECK(r.share(0) == 0);
  CHECK(r.share(5) == doctest::Approx(0.8 * (1 - 0.125)));
  CHECK(r.share(10) == 0.8);
  CHECK(r.share(99) == 0.8);
  Model model;
  Tensor const before = model.one.weight.detach().clone();
  r.stepped(model, 10);
  Tensor const after = model.one.weight.detach();
  CHECK(sum((after == 0.0).to(Dtype::f64)).item() == 16);
  double const kept = amin(where(after == 0.0, 1e9, abs(after)), {0, 1}).item(),
               gone = amax(where(after == 0.0, abs(before), 0.0), {0, 1}).item();
  CHECK(gone <= kept);
  CHECK(contains(error_of([] { make("magnitude-pruning:share=1"); }), "share"));
}

TEST_CASE("L0: gates that are open change nothing; their probability is that of being drawn; closed ones fold away") {
  Model model;
  Tensor const x = numbers({3, 5}, 9), plain = model.run(x).detach();
  {
    nn::L0 open({.keep = 1 - 1e-12});
    open.begin(model);
    CHECK(test::differs(model.run(x).detach(), plain, 1e-12) == "");
  }
  for (char const* gates : {"rows", "weights"}) {
    CAPTURE(gates);
    nn::L0 r({.weight = 2, .keep = 0.7, .gates = gates, .pattern = "one.weight"});
    r.begin(model);
    CHECK(r.penalty(model).item() == doctest::Approx(2 * 0.7).epsilon(1e-12));
    // Of a layer of the identity: the weights as they are used.
    seed(2);
    double shut = 0, count = 0, total = 0;
    for (int i = 0; i < 2000; ++i) {
      Tensor const used = (model.one(eye(5, -1, Dtype::f64)) - model.one.bias).t().detach(),
                   z = used / model.one.weight.detach();
      if (gates[0] == 'r') CHECK(test::differs(z, z.slice(1, 0, 1).expand(z.shape()).contiguous(), 1e-12) == "");
      CHECK(max(z).item() <= 1 + 1e-12);
      shut += sum((z == 0.).to(Dtype::f64)).item(), count += double(z.numel()), total += sum(z).item();
    }
    double const draws = gates[0] == 'r' ? count / 5 : count;
    CHECK(std::abs(shut / count - 0.3) < 5 * std::sqrt(0.3 * 0.7 / draws));
    CHECK(total / count > 0.2);
    // The price is differentiable, and its steps close the gates.
    for (int step = 1; step <= 2; ++step) {
      r.penalty(model).backward();
      double const before = r.penalty(model).item();
      r.stepped(model, step);
      CHECK(r.penalty(model).item() < before);
    }
  }
  // Gradients of weights and of log α, with the draws held.
  nn::L0 r({.keep = 0.6, .pattern = "one.weight"});
  r.begin(model);
  Tensor const w = model.one.weight;
  CHECK(test::gradcheck(
            [&](std::vector<Tensor> const& in) {
              seed(8);
              model.one.weight = in[0];
              auto const y = model.run(x);
              model.one.weight = w;
              return std::vector<Tensor>{y};
            },
            {w.detach().clone().requires_grad_()}, {.step = 1e-6, .tolerance = 1e-4, .full_up_to = 0}) == "");
  // Closed: rows of exact zeros in evaluation, the others as they are.
  for (auto const& s : r.state())
    if (s.name == "one.weight.gain") {
      NoGrad const off;
      s.tensor.detach().copy_(tensor(std::vector<double>{9, -9, 9, -9}, {4, 1}));
    }
  nn::eval(model);
  Tensor const used = (model.one(eye(5, -1, Dtype::f64)) - model.one.bias).t().detach();
  for (int64_t row = 0; row < 4; ++row)
    CHECK(test::differs(used.select(0, row), model.one.weight.detach().select(0, row) * double(row % 2 == 0), 1e-12) ==
          "");
  CHECK(contains(error_of([] { make("l0:gates=columns"); }), "rows"));
  CHECK(contains(error_of([] { make("l0:keep=1"); }), "keep"));
}

TEST_CASE("L0 of heads: a closed gate is a head without output") {
  seed(4);
  nn::GPT model({.vocabulary = 11, .layers = 1, .heads = 2, .dim = 8, .block = 8});
  for (Tensor p : nn::parameters(model))
    if (p.rank() >= 2) nn::init::normal_(p, 0.4);
  Tensor const tokens = randint(0, 11, {2, 6});
  nn::L0Heads r({.keep = 1 - 1e-12});
  r.begin(model);
  nn::eval(model);
  Tensor const plain = model(tokens).detach();
  for (auto const& s : r.state())
    if (s.name == "blocks.0.attn.out_proj.weight.gain") {
      CHECK(s.tensor.shape() == Shape{2, 1});
      NoGrad const off;
      s.tensor.detach().copy_(tensor(std::vector<double>{20, -20}, {2, 1}).to(Dtype::f32));
    }
  Tensor const one = model(tokens).detach();
  CHECK(!same_bits(one, plain));
  // The same as without that head's columns.
  for (auto const& p : nn::named_parameters(model))
    if (p.name == "blocks.0.attn.out_proj.weight") {
      NoGrad const off;
      Tensor(p.tensor).slice(1, 4, 8).copy_(zeros({8, 4}));
    }
  CHECK(test::differs(model(tokens).detach(), one, 1e-6) == "");
  Model other;
  CHECK(contains(error_of([&] { make("l0-heads")->begin(other); }), "heads"));
}

TEST_CASE("concrete dropout: near p = 0 the identity; a share of p is dropped, the mean stays; p learns") {
  Model model;
  Tensor const x = numbers({3, 5}, 9), plain = model.run(x).detach();
  {
    nn::ConcreteDropout none({.p = 1e-12});
    none.begin(model);
    CHECK(test::differs(model.run(x).detach(), plain, 1e-9) == "");
  }
  nn::ConcreteDropout r({.p = 0.3, .weight = 0.5, .decay = 0.25, .pattern = "one.weight"});
  r.begin(model);
  Tensor const w = model.one.weight, gain = r.state()[1].tensor;
  REQUIRE(r.state()[1].name == "one.weight.gain");
  double const entropy = -0.3 * std::log(0.3) - 0.7 * std::log(0.7);
  CHECK(r.penalty(model).item() ==
        doctest::Approx(0.25 * sum(square(w)).item() / 0.7 - 0.5 * 5 * entropy).epsilon(1e-12));
  // Of a layer of the identity: the weights as they are used. Columns go together.
  double hidden = 0, total = 0;
  for (int i = 0; i < 4000; ++i) {
    Tensor const z = (model.one(eye(5, -1, Dtype::f64)) - model.one.bias).t().detach() / w.detach() * 0.7;
    CHECK(test::differs(z, z.slice(0, 0, 1).expand(z.shape()).contiguous(), 1e-12) == "");
    hidden += sum((z.select(0, 0) < 0.5).to(Dtype::f64)).item(), total += sum(z.select(0, 0)).item();
  }
  CHECK(std::abs(hidden / 20000 - 0.3) < 5 * std::sqrt(0.3 * 0.7 / 20000));
  CHECK(std::abs(total / 20000 - 0.7) < 0.02);
  // Gradients of weights and of logit p, with the draws held.
  CHECK(test::gradcheck(
            [&](std::vector<Tensor> const& in) {
              seed(8);
              model.one.weight = in[0];
              std::vector<Tensor> const y{sum(square(model.run(x))) + r.penalty(model)};
              model.one.weight = w;
              return y;
            },
            {w.detach().clone().requires_grad_()}, {.step = 1e-6, .tolerance = 1e-4, .full_up_to = 0}) == "");
  auto const loss = [&] {
    seed(8);
    return sum(square(model.run(x))) + r.penalty(model);
  };
  double const slope = grad({loss()}, {gain})[0].item();
  auto const moved = [&](double by) {
    NoGrad const off;
    gain.detach().copy_(gain + by);
    return loss().item();
  };
  double const up = moved(1e-6), down = moved(-2e-6);
  CHECK(slope == doctest::Approx((up - down) / 2e-6).epsilon(1e-5));
  // Without data the entropy wins: p moves towards one half.
  nn::ConcreteDropout free({.p = 0.3, .weight = 1, .decay = 0, .pattern = "one.weight"});
  free.begin(model);
  for (int step = 1; step <= 3; ++step) {
    free.penalty(model).backward();
    free.stepped(model, step);
  }
  CHECK(sigmoid(free.state()[1].tensor).item() > 0.3);
  nn::eval(model);
  CHECK(same_bits(model.run(x), plain));
  CHECK(contains(error_of([] { make("concrete-dropout:p=0"); }), "between 0 and 1"));
  CHECK(contains(error_of([] { make("concrete-dropout:temperature=0"); }), "temperature"));
}

TEST_CASE("span-l1: the mean of the spans, its gradient their signs") {
  nn::AttentionConfig config{.dim = 8, .heads = 2};
  auto const layer = nn::make_attention("adaptive-span:start=0.25", config);
  Tensor const value = make("span-l1:weight=0.5")->penalty(*layer);
  CHECK(value.item() == doctest::Approx(0.125));
  value.backward();
  for (auto const& p : nn::named_parameters(*layer))
    if (p.name.ends_with("span")) CHECK(same_bits(p.tensor.grad(), full({2}, 0.25)));
  CHECK(!make("span-l1:weight=0")->penalty(*layer).defined());
  Model none;
  CHECK(!make("span-l1")->penalty(none).defined());
}

TEST_CASE("weights: every row of the catalogue is tested here") {
  std::set<std::string> tested{
      "max-norm",    "spectral-norm",          "sigma-reparam", "srip", "dropconnect",       "weight-noise",
      "weight-norm", "weight-standardization", "l2-sp",         "ewc",  "magnitude-pruning", "l0",
      "l0-heads",    "concrete-dropout",       "span-l1"};
  for (Penalty const& p : penalties()) tested.insert(nn::parse_spec(p.text).name);
  size_t rows = 0;
  for (auto const& row : nn::regularizers()) {
    if (row.family != "weights") continue;
    CAPTURE(row.name);
    ++rows;
    CHECK(tested.count(std::string(row.name)) == 1);
    CHECK(make(std::string(row.name)) != nullptr);
    // A whole step of a model with it, in f32: nothing breaks, the loss is finite.
    nn::GPT model({.vocabulary = 11, .layers = 1, .heads = 2, .dim = 8, .block = 8});
    auto const r = make(std::string(row.name));
    r->begin(model);
    Tensor loss = mean(square(model(zeros({1, 4}, Dtype::i64))));
    if (Tensor const extra = r->penalty(model); extra.defined()) loss = loss + extra;
    loss.backward();
    r->gradients(nn::named_parameters(model));
    r->stepped(model, 1);
    CHECK(std::isfinite(loss.item()));
  }
  CHECK(rows == tested.size());
}
