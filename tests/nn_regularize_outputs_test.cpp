// Regularisers of activations, labels and data by the catalogue: off is the identity, draws repeat, gradients; means
// within five standard errors; the identities of each.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/safetensors.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/activity.h>
#include <heed/nn/regularize/adversarial.h>
#include <heed/nn/regularize/data.h>
#include <heed/nn/regularize/dropouts.h>
#include <heed/nn/regularize/labels.h>
#include <heed/nn/regularize/mixes.h>
#include <heed/nn/regularize/regularizers.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <set>

using namespace heed;
using test::numbers;
using test::same_bits;

namespace {

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  return a.numel() == 0 ? 0 : max(abs(a.detach().to(Dtype::f64) - b.detach().to(Dtype::f64))).item();
}

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

nn::GPT model_of(bool checkpoint = false) {
  seed(7);
  nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 2, .dim = 8, .block = 8, .checkpoint = checkpoint});
  for (Tensor p : nn::parameters(model))
    if (p.rank() >= 2) nn::init::normal_(p, 0.4);
  nn::to(model, Dtype::f64);
  return model;
}

Tensor some_tokens(uint64_t key) {
  Generator generator(key);
  return randint(0, 11, {4, 8}, generator);
}

/// A training step's loss, as a training loop makes it, and the gradients of all parameters.
struct Step {
  Tensor loss;
  std::vector<Tensor> gradients;
};
Tensor step_loss(nn::GPT& model, nn::Regularizer& regularizer, uint64_t key) {
  seed(key);
  Generator generator(key);
  Tensor inputs = some_tokens(1), targets = some_tokens(2);
  regularizer.batch(inputs, targets, generator);
  Tensor const logits = model(inputs);
  Tensor loss = regularizer.loss(cross_entropy(logits, targets), logits, targets);
  if (Tensor const penalty = regularizer.penalty(model); penalty.defined()) loss = loss + penalty;
  return loss;
}
Step step(std::string_view text, uint64_t key, bool checkpoint = false) {
  nn::GPT model = model_of(checkpoint);
  nn::Regularizers regularizers(nn::make_regularizers(text));
  regularizers.begin(model);
  Step result{step_loss(model, regularizers, key), {}};
  result.loss.backward();
  for (Tensor const& p : nn::parameters(model)) result.gradients.push_back(p.grad());
  return result;
}
bool same(Step const& a, Step const& b) {
  if (!same_bits(a.loss.detach(), b.loss.detach())) return false;
  for (size_t i = 0; i < a.gradients.size(); ++i)
    if (!same_bits(a.gradients[i], b.gradients[i])) return false;
  return true;
}
/// The same up to rounding: where a backward pass is differentiated, recompute() sums in another order.
bool near(Step const& a, Step const& b) {
  double apart = difference(a.loss, b.loss) / (1 + std::abs(b.loss.item()));
  for (size_t i = 0; i < a.gradients.size(); ++i)
    apart = std::max(apart, difference(a.gradients[i], b.gradients[i]) / (1 + max(abs(b.gradients[i])).item()));
  return apart < 1e-13;
}

/// What the walk needs to know of a row: settings that switch it off, settings that show what it does, and whether it
/// draws.
struct Case {
  char const* off;
  char const* on;
  bool draws = true;
};
std::map<std::string_view, Case> const of_tokens{
    {"dropout", {"dropout:p=0", "dropout:p=0.3"}},
    {"mc-dropout", {"mc-dropout:p=0", "mc-dropout:p=0.3"}},
    {"spatial-dropout", {"spatial-dropout:p=0", "spatial-dropout:p=0.3"}},
    {"alpha-dropout", {"alpha-dropout:p=0", "alpha-dropout:p=0.3"}},
    {"gaussian-dropout", {"gaussian-dropout:p=0", "gaussian-dropout:p=0.3"}},
    {"drop-block", {"drop-block:p=0", "drop-block:p=0.3,block=2"}},
    {"drop-path", {"drop-path:p=0", "drop-path:p=0.5"}},
    {"layer-drop", {"layer-drop:p=0", "layer-drop:p=0.5"}},
    {"zoneout", {"zoneout:p=0", "zoneout:p=0.3"}},
    {"token-drop", {"token-drop:p=0", "token-drop:p=0.3"}},
    {"gaussian-noise", {"gaussian-noise:deviation=0", "gaussian-noise:deviation=0.2"}},
    {"embedding-noise", {"embedding-noise:alpha=0", "embedding-noise"}},
    {"activity", {"activity:weight=0", "activity:weight=0.3,power=2", false}},
    {"variational-dropout", {"variational-dropout:p=0", "variational-dropout:p=0.3"}},
    {"shake-shake", {"shake-shake:strength=0", "shake-shake:keep=true"}},
    {"jacobian", {"jacobian:weight=0", "jacobian:weight=0.3,projections=2"}},
    {"gradient-penalty", {"gradient-penalty:weight=0", "gradient-penalty:weight=0.3,norm=0.1", false}},
    {"eda", {"eda:rate=0", "eda:rate=0.3"}},
    {"label-smoothing", {"label-smoothing:epsilon=0", "label-smoothing", false}},
    {"confidence-penalty", {"confidence-penalty:weight=0", "confidence-penalty", false}},
    {"distillation", {"distillation:weight=0", "distillation", false}},
    {"mean-teacher", {"mean-teacher:weight=0", "mean-teacher", false}},
    {"r-drop", {nullptr, "r-drop", false}},
    {"gce", {nullptr, "gce", false}},
    {"bi-tempered", {"bi-tempered:t1=1,t2=1", "bi-tempered", false}},
    {"fgsm", {"fgsm:weight=0", "fgsm:radius=0.1", false}},
    {"pgd", {"pgd:weight=0", "pgd:radius=0.1,rate=0.05", false}},
    {"freelb", {"freelb:weight=0", "freelb"}},
    {"vat", {"vat:weight=0", "vat"}},
    {"bootstrapping", {"bootstrapping:beta=1", "bootstrapping:beta=0.5", false}},
    {"mixup", {"mixup:share=1", "mixup:alpha=2"}},
    {"cutmix", {"cutmix:share=1", "cutmix:alpha=2"}},
    {"erasing", {"erasing:share=0", "erasing:share=0.3,p=1"}},
    {"token-masking", {"token-masking:p=0", "token-masking:p=0.3"}},
};
/// Of other data, where the walk of training steps does not apply.
std::map<std::string_view, Case> const of_numbers{
    {"jitter", {"jitter:deviation=0", "jitter"}},
    {"window-warp", {"window-warp:scale=1", "window-warp:share=0.3"}},
    {"spec-augment",
     {"spec-augment:frequency_masks=0,time_masks=0", "spec-augment:frequency_width=3,time_width=4,time_warp=3"}},
    {"rand-augment", {"rand-augment:count=0", "rand-augment"}},
    {"aug-mix", {nullptr, "aug-mix"}},
    {"trivial-augment", {nullptr, "trivial-augment"}},
    {"mixup", {"mixup:share=1", "mixup:alpha=2"}},
    {"cutmix", {"cutmix:share=1", "cutmix:alpha=2"}},
    {"erasing", {"erasing:share=0", "erasing:share=0.3,p=1"}},
};

template <class F>
void walk(F const& f) {
  for (auto const& row : nn::regularizers())
    if (row.family == "activations" || row.family == "labels" || row.family == "data" || of_tokens.contains(row.name)) {
      INFO(std::string(row.name));
      f(row);
    }
}

/// The mean of 3,000 draws of f, and its standard errors.
std::pair<Tensor, Tensor> averaged(std::function<Tensor()> const& f) {
  constexpr int draws = 3000;
  Tensor total, squares;
  for (int i = 0; i < draws; ++i) {
    Tensor const y = f();
    total = total.defined() ? total + y : y;
    squares = squares.defined() ? squares + square(y) : square(y);
  }
  Tensor const middle = total / double(draws);
  return {middle, sqrt(clamp_min(squares / double(draws) - square(middle), 1e-12) / double(draws))};
}

}  // namespace

TEST_CASE("regularisers of activations, labels and data: every row is known here") {
  std::set<std::string_view> names;
  walk([&](nn::RegularizerRow const& row) {
    CHECK(int(names.insert(row.name).second) == 1);
    CHECK(!row.source.empty());
    CHECK(!row.summary.empty());
    CHECK((of_tokens.contains(row.name) || of_numbers.contains(row.name)));
    CHECK((row.family == "data") == !row.takes.empty());
    CHECK(throws([&] { nn::make_regularizers(std::string(row.name).append(":no_such_setting=1")); }));
  });
  MESSAGE(names.size(), " rows");
}

TEST_CASE("regularisers in a training step: off is the identity, draws follow the seed, recompute() repeats them") {
  Step const plain = step("", 1);
  walk([&](nn::RegularizerRow const& row) {
    if (!of_tokens.contains(row.name)) return;
    Case const& c = of_tokens.at(row.name);
    if (c.off) CHECK(same(step(c.off, 1), plain));
    Step const one = step(c.on, 1);
    CHECK(std::isfinite(one.loss.item()));
    CHECK(same(one, step(c.on, 1)));
    bool differs = false;
    for (uint64_t key = 2; key < 12 && !differs; ++key) differs = !same(one, step(c.on, key));
    CHECK(differs == c.draws);
    if (row.name != "r-drop") CHECK(!same(one, plain));
    bool const twice = row.name == "jacobian" || row.name == "gradient-penalty";
    CHECK((twice ? near(step(c.on, 1, true), one) : same(step(c.on, 1, true), one)));
  });
}

TEST_CASE("regularisers in a training step: the gradient is the slope, the same draws ahead and back") {
  walk([&](nn::RegularizerRow const& row) {
    // Their place is taken for given, though it moves with the weights.
    if (!of_tokens.contains(row.name) || row.name == "freelb" || row.name == "vat") return;
    nn::GPT model = model_of();
    nn::Regularizers regularizers(nn::make_regularizers(of_tokens.at(row.name).on));
    regularizers.begin(model);
    step_loss(model, regularizers, 3).backward();
    auto const parameters = nn::parameters(model);
    double slope = 0, size = 0;
    std::vector<Tensor> direction;
    for (size_t i = 0; i < parameters.size(); ++i) {
      direction.push_back(numbers(parameters[i].shape(), uint32_t(20 + i)));
      REQUIRE(parameters[i].grad().defined());
      slope += sum(parameters[i].grad() * direction[i]).item();
      size += sum(abs(parameters[i].grad() * direction[i])).item();
    }
    auto const moved = [&](double by) {
      NoGrad const off;
      for (size_t i = 0; i < parameters.size(); ++i) Tensor(parameters[i]).copy_(parameters[i] + direction[i] * by);
    };
    moved(1e-6);
    double const up = step_loss(model, regularizers, 3).item();
    moved(-2e-6);
    double const down = step_loss(model, regularizers, 3).item();
    CHECK(std::abs((up - down) / 2e-6 - slope) < 1e-6 * (1 + size));
  });
}

TEST_CASE("regularisers of activations: evaluation is as without, but for zoneout's mean") {
  nn::GPT model = model_of();
  nn::eval(model);
  Tensor const tokens = some_tokens(1), plain = model(tokens);
  walk([&](nn::RegularizerRow const& row) {
    if (row.family != "activations") return;
    nn::Regularizers regularizers(nn::make_regularizers(of_tokens.at(row.name).on));
    regularizers.begin(model);
    CHECK(same_bits(model(tokens), plain) == (row.name != "zoneout" && row.name != "mc-dropout"));
    CHECK(!regularizers.penalty(model).defined());
  });
  CHECK(same_bits(model(tokens), plain));  // hooks went with the regularisers
  CHECK(throws([&] { nn::make_regularizers("dropout:p=1"); }));
  CHECK(throws([&] { nn::make_regularizers("drop-path:p=-0.1"); }));
  CHECK(throws([&] { nn::make_regularizers("activity:power=0.5"); }));
}

TEST_CASE("drops: E[y] = x within five standard errors, and the gradient has the mask of the value") {
  Tensor const x = numbers({3, 6, 4}, 1) + 2.0, image = numbers({2, 3, 4, 4}, 2) + 2.0;
  Generator generator(1);
  using Drop = std::function<Tensor(Tensor const&)>;
  std::vector<std::pair<char const*, Drop>> const drops{
      {"dropout", [&](Tensor const& t) { return dropout(t, 0.3, generator); }},
      {"spatial", [&](Tensor const& t) { return nn::spatial_dropout(t, 0.3, generator); }},
      {"gaussian", [&](Tensor const& t) { return nn::gaussian_dropout(t, 0.3, generator); }},
      {"path", [&](Tensor const& t) { return nn::drop_path(t, 0.3, generator); }},
  };
  for (auto const& [name, drop] : drops)
    for (Tensor const& operand : {x, image}) {
      INFO(name);
      auto const [middle, error] = averaged([&] { return drop(operand); });
      CHECK(max(abs(middle - operand) / error).item() < 5);
      Tensor leaf = operand.clone();
      leaf.requires_grad_();
      Tensor const y = drop(leaf);
      sum(y).backward();
      CHECK(difference(leaf.grad() * operand, y) < 1e-14);
    }
  // Samples, features, squares go together.
  Tensor const path = nn::drop_path(ones({50, 7}), 0.5, generator);
  CHECK(difference(path, path.slice(1, 0, 1).expand({50, 7})) == 0);
  Tensor const features = nn::spatial_dropout(ones({20, 9, 30}), 0.5, generator);
  CHECK(difference(features, features.slice(1, 0, 1).expand({20, 9, 30})) == 0);
  // Blocks: a share of p but for overlaps, runs of whole blocks, and the sum of ones kept.
  double hidden = 0;
  for (int i = 0; i < 300; ++i) {
    Tensor const block = nn::drop_block(ones({4, 40, 2}, Dtype::f64), 0.1, 5, generator);
    CHECK(difference(block.select(2, 0), block.select(2, 1)) == 0);
    CHECK(sum(block).item() == doctest::Approx(320).epsilon(1e-12));
    auto const row = block.select(2, 0).select(0, 0).to_vector<double>();
    int run = 0;
    for (size_t t = 0; t < row.size(); ++t) {
      hidden += row[t] == 0;
      run = row[t] == 0 ? run + 1 : 0;
      if (run > 0 && (t + 1 == row.size() || row[t + 1] != 0)) CHECK(run >= 5);
    }
  }
  CHECK(std::abs(hidden / (300 * 40) - 0.095) < 0.02);
  CHECK(sum(nn::drop_block(ones({2, 3, 8, 8}, Dtype::f64), 0.2, 3, generator)).item() == doctest::Approx(384));
  CHECK(throws([&] { nn::drop_block(x, 0.1, 7, generator); }));
  CHECK(throws([&] { nn::spatial_dropout(ones({3, 4}), 0.1, generator); }));
  // Zoneout: between both states, and its mean in evaluation.
  Tensor const before = numbers({5, 3}, 4), after = numbers({5, 3}, 5);
  auto const [middle, error] = averaged([&] { return nn::zoneout(before, after, 0.3, true, generator); });
  CHECK(max(abs(middle - nn::zoneout(before, after, 0.3, false)) / error).item() < 5);
  CHECK(difference(nn::zoneout(before, after, 0.3, false), before * 0.3 + after * 0.7) < 1e-15);
  // Noise keeps the mean as well; alpha dropout keeps mean 0 and variance 1.
  auto const [noisy, of_noise] = averaged([&] { return nn::jitter(x, 0.4, generator); });
  CHECK(max(abs(noisy - x) / of_noise).item() < 5);
  Tensor const normal = selu(randn({200000}, Dtype::f64)), dropped = alpha_dropout(normal, 0.2);
  CHECK(std::abs(mean(dropped).item()) < 0.02);
  CHECK(std::abs(var(dropped).item() - 1) < 0.03);
}

TEST_CASE("drops in a model: whole branches, blocks and tokens") {
  nn::GPT model = model_of();
  Tensor const tokens = some_tokens(1);
  {
    // p just below 1: every block is passed by, and the stream is the embedding.
    nn::Regularizers all(nn::make_regularizers("layer-drop:p=0.999999999"));
    all.begin(model);
    Tensor const x = numbers({2, 5, 8}, 1);
    CHECK(difference((*model.blocks[0])(x), x) == 0);
    // Gradients of what was passed by are zeros, not missing.
    cross_entropy(model(tokens), tokens).backward();
    CHECK(max(abs(model.blocks[0]->mlp.fc.weight.grad())).item() == 0);
  }
  {
    // Linear: the first block is never dropped.
    nn::Regularizers deep(nn::make_regularizers("drop-path:p=0.999999999"));
    deep.begin(model);
    Tensor const x = numbers({2, 5, 8}, 1);
    CHECK(difference((*model.blocks[1])(x), x) == 0);
    CHECK(difference((*model.blocks[0])(x), x) > 0.01);
  }
  nn::Regularizers penalty(nn::make_regularizers("activity:weight=0.5,power=1,at=blocks.*.mlp"));
  penalty.begin(model);
  Tensor total;
  HookHandle seen = nn::on_forward("blocks.*.mlp", [&](nn::ModuleCall const& call) {
    Tensor const one = mean(abs(call.output));
    total = total.defined() ? total + one : one;
    return Tensor();
  });
  model(tokens);
  CHECK(penalty.penalty(model).item() == doctest::Approx(0.25 * total.item()).epsilon(1e-14));
  CHECK(!penalty.penalty(model).defined());
  seen.remove();
}

TEST_CASE("variational dropout: one mask for all steps; a cell's loop keeps it, and its mean") {
  Generator generator(4);
  Tensor const x = numbers({3, 5}, 1) + 2.0;
  {
    nn::SameDropout drop(0.4, generator), none(0, generator);
    Tensor const first = drop(ones({3, 5}, Dtype::f64));
    CHECK(difference(drop(x), x * first) == 0);
    CHECK(same_bits(none(x), x));
  }
  auto const [middle, error] = averaged([&] { return nn::SameDropout(0.4, generator)(x); });
  CHECK(max(abs(middle - x) / error).item() < 5);
  // Through time: a loop of cells whose states go through one mask has its exact gradient.
  nn::RNNCell cell(4, 5);
  nn::to(cell, Dtype::f64);
  CHECK(test::gradcheck(
            [&](std::vector<Tensor> const& in) {
              Generator same(7);
              nn::SameDropout on_h(0.4, same);
              Tensor h = zeros({3, 5}, Dtype::f64);
              for (int64_t t = 0; t < 4; ++t) h = cell(in[0].select(0, t), on_h(h));
              return std::vector<Tensor>{h};
            },
            {numbers({4, 3, 4}, 2).requires_grad_()}) == "");
  nn::GPT model = model_of();
  nn::Regularizers r(nn::make_regularizers("variational-dropout:p=0.5,at=blocks.0.mlp"));
  r.begin(model);
  Tensor const y = model.blocks[0]->mlp(numbers({2, 6, 8}, 3));
  CHECK(difference((y == 0.0).to(Dtype::f64), (y.slice(1, 0, 1) == 0.0).to(Dtype::f64).expand(y.shape())) == 0);
  CHECK(throws([] { nn::SameDropout(1); }));
}

TEST_CASE("shake-shake: shares add up to 2, the mean stays, gradients have shares of their own") {
  Tensor x = numbers({3, 2, 4}, 1);
  x.requires_grad_();
  Tensor const forward = numbers({3, 1, 1}, 2), backward = numbers({3, 1, 1}, 3), y = nn::shaken(x, forward, backward);
  CHECK(difference(y, x * forward) < 1e-15);
  CHECK(difference(grad({sum(y)}, {x})[0], backward.expand(x.shape())) < 1e-15);

  nn::GPT model = model_of();
  std::vector<Tensor> before, after;
  HookHandle const early = nn::on_forward("blocks.0.*", [&](nn::ModuleCall const& call) {
    if (call.path == "blocks.0.attn" || call.path == "blocks.0.mlp") before.push_back(call.output.detach());
    return Tensor();
  });
  nn::Regularizers r(nn::make_regularizers("shake-shake"));
  r.begin(model);
  HookHandle const late = nn::on_forward("blocks.0.*", [&](nn::ModuleCall const& call) {
    if (call.path == "blocks.0.attn" || call.path == "blocks.0.mlp") after.push_back(call.output.detach());
    return Tensor();
  });
  Tensor const in = numbers({3, 5, 8}, 4);
  double total = 0, most = 0;
  constexpr int draws = 1000;
  for (int i = 0; i < draws; ++i) {
    before.clear(), after.clear();
    (*model.blocks[0])(in);
    REQUIRE(after.size() == 2);
    std::vector<Tensor> shares;
    for (size_t k = 0; k < 2; ++k) {
      Tensor const each = sum(after[k] * before[k], {1, 2}) / sum(square(before[k]), {1, 2});
      CHECK(difference(after[k], before[k] * each.reshape({3, 1, 1})) < 1e-12);
      shares.push_back(each);
    }
    CHECK(difference(shares[0] + shares[1], full({3}, 2.0, Dtype::f64)) < 1e-12);
    total += mean(shares[0]).item(), most = std::max(most, max(shares[0]).item());
  }
  CHECK(std::abs(total / draws - 1) < 5 * std::sqrt(1. / 3 / (3 * draws)));
  CHECK(most > 1.9);
  CHECK(most <= 2);
  HookHandle(early).remove(), HookHandle(late).remove();
  CHECK(throws([] { nn::make_regularizers("shake-shake:strength=1.1"); }));
}

TEST_CASE("jacobian and gradient penalties: exact on linear models, of numbers and of tokens") {
  // logits = x wᵀ: the Jacobian is w, of a sum of outputs the sum of w's rows.
  Tensor w = numbers({5, 4}, 1);
  w.requires_grad_();
  Tensor const x = numbers({3, 4}, 2), labels = tensor(std::vector<int64_t>{0, 1, 4}, {3});
  nn::GPT model = model_of();
  auto const penalty = [&](std::string const& text) {
    nn::Regularizers r(nn::make_regularizers(text));
    r.begin(model);
    Tensor inputs = x, targets = labels;
    Generator generator(1);
    r.batch(inputs, targets, generator);
    CHECK(same_bits(inputs.detach(), x));
    Tensor const logits = matmul(inputs, w.t());
    Tensor const loss = cross_entropy(logits, targets);
    return r.loss(loss, logits, targets) - loss;
  };
  seed(3);
  Tensor const exact = sum(square(w.detach())) / 2.0;
  auto const [middle, error] = averaged([&] { return penalty("jacobian:weight=1").detach(); });
  CHECK(std::abs((middle - exact).item()) < 5 * error.item());
  // Many directions: the gradient becomes w.
  CHECK(difference(grad({penalty("jacobian:weight=1,projections=4000")}, {w})[0], w) < 0.25);
  Tensor const rows = sum(w, {0});
  Tensor const outputs = penalty("gradient-penalty:weight=2,of=outputs");
  CHECK(outputs.item() == doctest::Approx(2 * sum(square(rows)).item()).epsilon(1e-12));
  CHECK(difference(grad({outputs}, {w})[0], (rows.detach() * 4.0).expand({5, 4})) < 1e-12);
  double const away = norm(rows).item() - 1;
  CHECK(penalty("gradient-penalty:weight=2,of=outputs,norm=1").item() ==
        doctest::Approx(2 * away * away).epsilon(1e-10));
  // Of the loss: (p − y) w for each sample.
  Tensor const g = matmul(softmax(matmul(x, w.t())) - one_hot(labels, 5).to(Dtype::f64), w);
  CHECK(penalty("gradient-penalty:weight=1").item() == doctest::Approx(sum(square(g)).item() / 3).epsilon(1e-12));
  CHECK(throws([] { nn::make_regularizers("gradient-penalty:of=weights"); }));
  CHECK(throws([] { nn::make_regularizers("jacobian:projections=0"); }));
  CHECK(throws([] { nn::make_regularizers("jacobian:weight=-1"); }));
  auto const lost = nn::make_regularizers("gradient-penalty:at=nowhere");
  lost[0]->begin(model);
  CHECK(throws([&] { step_loss(model, *lost[0], 1); }));
}

TEST_CASE("EDA: swaps keep the tokens, targets go along, shares of edits") {
  Generator generator(6);
  int64_t const t = 50;
  Tensor const tokens = randint(0, 90, {40, t}, generator);
  for (double const rate : {0., 0.1, 0.9}) {
    nn::EditedTokens const e = nn::edit_tokens(tokens, rate, 95, 90, generator);
    CHECK(e.tokens.shape() == tokens.shape());
    auto const from = e.from.to_vector<int64_t>(), now = e.tokens.to_vector<int64_t>(),
               was = tokens.to_vector<int64_t>();
    for (int64_t b = 0; b < 40; ++b) {
      std::set<int64_t> seen;
      for (int64_t i = 0; i < t; ++i) {
        size_t const at = size_t(b * t + i);
        if (from[at] < 0) {
          CHECK(((now[at] >= 0 && now[at] < 90) || now[at] == 95));
        } else {
          CHECK(seen.insert(from[at]).second);
          CHECK(now[at] == was[size_t(b * t + from[at])]);
        }
      }
      CHECK((!seen.empty() || rate > 0.5));
    }
    if (rate == 0) CHECK(equal(e.tokens, tokens));
    double const old = sum((e.from >= 0).to(Dtype::f64)).item() / 2000;
    if (rate == 0.1) CHECK(std::abs(old - 0.89) < 0.03);  // some of what was inserted pushes others out
  }
  Tensor inputs = tokens, targets = tokens + 100;
  nn::GPT model = model_of();
  auto const r = nn::make_regularizers("eda:rate=0.2,fill=7");
  r[0]->begin(model);
  r[0]->batch(inputs, targets, generator);
  CHECK(all(logical_or(targets == -100, targets == inputs + 100)).item() == 1);
  Tensor classes = zeros({40}, Dtype::i64);
  r[0]->batch(inputs, classes, generator);
  CHECK(classes.shape() == Shape{40});
  CHECK(throws([&] { nn::edit_tokens(ones({2, 3}), 0.1, 0, 9, generator); }));
  CHECK(throws([&] { nn::edit_tokens(tokens, 0.1, 0, 0, generator); }));
  CHECK(throws([] { nn::make_regularizers("eda:rate=1"); }));
}

TEST_CASE("regularisers of labels: identities, gradients, and rows that count for nothing") {
  Tensor const logits = numbers({6, 5}, 1) * 3.0;
  Tensor targets = (abs(numbers({6}, 2)) * 4.99).to(Dtype::i64);
  Tensor some = cat({targets.slice(0, 0, 4), full({2}, -100, Dtype::i64)});
  auto const changed = [&](std::string_view text, Tensor const& z, Tensor const& t) {
    auto const made = nn::make_regularizers(text);
    return made[0]->loss(cross_entropy(z, t), z, t);
  };
  CHECK(changed("label-smoothing:epsilon=0.2", logits, targets).item() ==
        doctest::Approx(cross_entropy(logits, targets, {.label_smoothing = 0.2}).item()).epsilon(1e-14));
  Tensor const p = softmax(logits);
  CHECK(changed("confidence-penalty:weight=0.3", logits, targets).item() ==
        doctest::Approx(cross_entropy(logits, targets).item() - 0.3 * mean(sum(entr(p), {1})).item()).epsilon(1e-14));
  CHECK(changed("gce:q=0.5", logits, targets).item() ==
        doctest::Approx(nn::compute_loss("gce:q=0.5", {logits, targets}).item()).epsilon(1e-14));
  CHECK(changed("bootstrapping:beta=0.7", logits, targets).item() ==
        doctest::Approx(nn::compute_loss("bootstrapping:beta=0.7", {logits, targets}).item()).epsilon(1e-14));
  for (char const* text : {"label-smoothing", "confidence-penalty", "gce", "bootstrapping"}) {
    INFO(text);
    CHECK(changed(text, logits, some).item() ==
          doctest::Approx(changed(text, logits.slice(0, 0, 4), targets.slice(0, 0, 4)).item()).epsilon(1e-13));
    auto const f = [&](std::vector<Tensor> const& in) { return std::vector<Tensor>{changed(text, in[0], some)}; };
    CHECK(test::gradcheck(f, {logits.clone().requires_grad_()}) == "");
  }
  // Uniform predictions have the largest entropy: nothing to gain.
  Tensor flat = zeros({6, 5}, Dtype::f64).requires_grad_();
  auto const penalty = nn::make_regularizers("confidence-penalty");
  penalty[0]->loss(zeros({}, Dtype::f64), flat, targets).backward();
  CHECK(max(abs(flat.grad())).item() < 1e-17);
}

TEST_CASE("distillation: an equal teacher has no gradient; another one's weights; the average as teacher") {
  Tensor const logits = numbers({6, 5}, 1) * 3.0, targets = (abs(numbers({6}, 2)) * 4.99).to(Dtype::i64);
  Generator generator(1);
  auto const taught = [&](Tensor const& teacher, Tensor const& student) {
    nn::Distillation regularizer({.weight = 1, .temperature = 3}, [&](Tensor const&) { return teacher; });
    Tensor inputs = targets, same = targets;
    regularizer.batch(inputs, same, generator);
    return regularizer.loss(cross_entropy(student, targets), student, targets);
  };
  Tensor student = logits.clone().requires_grad_();
  taught(logits, student).backward();
  CHECK(max(abs(student.grad())).item() < 1e-15);
  CHECK(taught(logits, logits).item() == doctest::Approx(0));
  Tensor const other = numbers({6, 5}, 3);
  Tensor const want = 9.0 * nn::compute_loss("kl-div", {log_softmax(logits / 3.0), softmax(other / 3.0)});
  CHECK(taught(other, logits).item() == doctest::Approx(want.item()).epsilon(1e-13));
  CHECK(test::gradcheck([&](std::vector<Tensor> const& in) { return std::vector<Tensor>{taught(other, in[0])}; },
                        {logits.clone().requires_grad_()}) == "");

  // By a file with another model's weights: that model's logits.
  nn::GPT model = model_of(), teacher = model_of();
  for (Tensor p : nn::parameters(teacher))
    if (p.rank() >= 2) nn::init::normal_(p, 0.3);
  std::string const path = (std::filesystem::temp_directory_path() / "heed_nn_regularize_outputs.safetensors").string();
  Safetensors file;
  for (auto const& [name, tensor] : nn::named_parameters(teacher)) file.tensors.emplace_back(name, tensor.detach());
  save_safetensors(path, file);
  auto const kept = nn::state_dict(model);
  std::vector<Tensor> before;
  for (auto const& [name, tensor] : kept) before.push_back(tensor.detach().clone());
  {
    auto const made = nn::make_regularizers(std::string("distillation:weight=1,temperature=1,teacher=").append(path));
    made[0]->begin(model);
    Tensor inputs = some_tokens(1), labels = some_tokens(2);
    made[0]->batch(inputs, labels, generator);
    Tensor const z = model(inputs), wanted = teacher(inputs);
    CHECK(made[0]->loss(cross_entropy(z, labels), z, labels).item() ==
          doctest::Approx(nn::compute_loss("kl-div", {log_softmax(z), softmax(wanted)}).item()).epsilon(1e-12));
    for (size_t i = 0; i < kept.size(); ++i) CHECK(same_bits(kept[i].tensor.detach(), before[i]));
    CHECK(model.training());
  }
  std::filesystem::remove(path);
  CHECK(throws([&] { nn::make_regularizers("distillation:teacher=/no/such/file")[0]->begin(model); }));
  nn::Linear linear(3, 3);
  CHECK(throws([&] { nn::make_regularizers("distillation")[0]->begin(linear); }));

  auto const average = nn::make_regularizers("mean-teacher:decay=0.75");
  average[0]->begin(model);
  Tensor const start = model.head.weight.detach().clone();
  nn::init::normal_(model.head.weight, 0.3);
  average[0]->stepped(model, 1);
  for (auto const& [name, tensor] : average[0]->state())
    if (name == "token_embedding.weight")  // tied: the head's too
      CHECK(difference(tensor, start * 0.75 + model.head.weight.detach() * 0.25) < 1e-15);
  CHECK(average[0]->state().size() == nn::parameters(model).size());
}

TEST_CASE("R-Drop: the batch twice; nothing without drops, a divergence with them") {
  Step const plain = step("", 1), twice = step("r-drop", 1), apart = step("dropout:p=0.3+r-drop:weight=5", 1);
  CHECK(twice.loss.item() == doctest::Approx(plain.loss.item()).epsilon(1e-13));
  for (size_t i = 0; i < plain.gradients.size(); ++i) CHECK(difference(twice.gradients[i], plain.gradients[i]) < 1e-13);
  CHECK(apart.loss.item() > step("dropout:p=0.3+r-drop:weight=0", 1).loss.item() + 1e-4);
}

TEST_CASE("mixup and CutMix: lambda = 1 is the identity, losses mix as inputs do, the box has its share") {
  Generator generator(3);
  Tensor const images = rand({6, 3, 8, 10}, Dtype::f64, generator);
  Tensor const labels = tensor(std::vector<int64_t>{0, 1, 2, 3, 4, 5}, {6});
  Tensor const logits = numbers({6, 6}, 1) * 3.0;
  {
    auto const mixup = nn::make_regularizers("mixup:share=0.7");
    Tensor inputs = images, targets = labels;
    mixup[0]->batch(inputs, targets, generator);
    CHECK(equal(targets, labels));
    // Each is 0.7 of itself and 0.3 of one other; which one, the loss tells.
    Tensor const rest = (inputs - images * 0.7) / 0.3;
    std::vector<int64_t> others;
    for (int64_t i = 0; i < 6; ++i)
      for (int64_t j = 0; j < 6; ++j)
        if (difference(rest.at(i), images.at(j)) < 1e-12) others.push_back(j);
    REQUIRE(others.size() == 6);
    double const want =
        0.7 * cross_entropy(logits, labels).item() + 0.3 * cross_entropy(logits, tensor(others, {6})).item();
    CHECK(mixup[0]->loss(cross_entropy(logits, labels), logits, targets).item() ==
          doctest::Approx(want).epsilon(1e-13));
  }
  for (double share : {0.0, 0.1, 0.25, 0.5, 0.64, 1.0}) {
    // A square of a square image has it exactly where sides are whole; else within rounding.
    nn::Box const box = nn::random_box(100, 100, share, generator);
    CHECK(std::abs(double(box.area()) / 1e4 - share) < 0.006);
    CHECK((box.top >= 0 && box.bottom <= 100 && box.left >= 0 && box.right <= 100));
    CHECK(nn::random_box(20, 1, share, generator).area() == std::llround(20 * share));
  }
  {
    auto const cutmix = nn::make_regularizers("cutmix:share=0.6");
    Tensor inputs = images, targets = labels;
    cutmix[0]->batch(inputs, targets, generator);
    // The loss mixes by the area that really changed: λ = 1 − area/all.
    double const changed =
        sum((inputs.select(1, 0) != images.select(1, 0)).to(Dtype::f64), {1, 2}).to_vector<double>()[0];
    std::vector<double> areas =
        sum((inputs.select(1, 0) != images.select(1, 0)).to(Dtype::f64), {1, 2}).to_vector<double>();
    double area = changed;
    for (double a : areas) area = std::max(area, a);  // a sample may be its own other
    CHECK(std::abs(area / 80 - 0.4) < 0.08);
    Tensor const flat = zeros({6, 6}, Dtype::f64);
    Tensor const zero = zeros({}, Dtype::f64);
    CHECK(cutmix[0]->loss(zero, flat, targets).item() == doctest::Approx(area / 80 * std::log(6)).epsilon(1e-12));
  }
  {
    // Tokens with targets of each position: both come from the same other sequence, in one span.
    auto const cutmix = nn::make_regularizers("cutmix:share=0.5");
    Tensor const rows = arange(6).unsqueeze(1).expand({6, 8}).contiguous();
    Tensor inputs = rows, targets = rows + 100;
    cutmix[0]->batch(inputs, targets, generator);
    CHECK(equal(targets, inputs + 100));
    CHECK(sum((inputs != rows).to(Dtype::f64), {1}).to_vector<double>().size() == 6);
    for (double changed : sum((inputs != rows).to(Dtype::f64), {1}).to_vector<double>())
      CHECK((changed == 4 || changed == 0));
    CHECK(same_bits(cutmix[0]->loss(cross_entropy(logits, labels), logits, targets), cross_entropy(logits, labels)));
  }
  // Tokens are mixed by their embeddings.
  nn::GPT model = model_of();
  nn::Regularizers mixup(nn::make_regularizers("mixup:share=0.7"));
  mixup.begin(model);
  Tensor inputs = some_tokens(1), targets = some_tokens(2);
  mixup.batch(inputs, targets, generator);
  CHECK(equal(inputs, some_tokens(1)));
  Tensor const mixed = model.token_embedding(inputs), table = model.token_embedding.weight;
  Tensor const rest = (mixed - embedding(inputs, table) * 0.7) / 0.3;
  for (int64_t i = 0; i < 4; ++i) {
    double nearest = 1;
    for (int64_t j = 0; j < 4; ++j) nearest = std::min(nearest, difference(rest.at(i), embedding(inputs, table).at(j)));
    CHECK(nearest < 1e-12);
  }
  {
    // In a block: the same of its outputs.
    nn::Regularizers manifold(nn::make_regularizers("mixup:share=0.7,at=blocks.0"));
    manifold.begin(model);
    manifold.batch(inputs, targets, generator);
    Tensor const x = numbers({4, 5, 8}, 3), y = (*model.blocks[0])(x);
    nn::eval(model);
    Tensor const plain = (*model.blocks[0])(x), left = (y - plain * 0.7) / 0.3;
    nn::train(model);
    for (int64_t i = 0; i < 4; ++i) {
      double nearest = 1;
      for (int64_t j = 0; j < 4; ++j) nearest = std::min(nearest, difference(left.at(i), plain.at(j)));
      CHECK(nearest < 1e-12);
    }
  }
  nn::eval(model);
  CHECK(same_bits(model.token_embedding(inputs), embedding(inputs, table)));
  CHECK(throws([] { nn::make_regularizers("mixup:share=1.5"); }));
  CHECK(throws([] { nn::make_regularizers("cutmix:alpha=0"); }));
}

TEST_CASE("regularisers of data: off is the identity, draws follow the generator, shape and type stay") {
  walk([&](nn::RegularizerRow const& row) {
    if (row.family != "data" || !of_numbers.contains(row.name)) return;
    Case const& c = of_numbers.at(row.name);
    bool const spectra = row.takes.find("spectra") != row.takes.npos,
               image = row.takes.find("images") != row.takes.npos;
    Tensor const x = image ? clamp(numbers({3, 3, 8, 6}, 1, Dtype::f32) * 0.5 + 0.5, 0.01, 0.99)
                           : numbers(spectra ? Shape{3, 9, 14} : Shape{3, 20, 2}, 1, Dtype::f32) + 2;
    Tensor const labels = tensor(std::vector<int64_t>{0, 1, 2}, {3});
    auto const changed = [&](char const* text, uint64_t key) {
      Generator generator(key);
      Tensor inputs = x, targets = labels;
      nn::make_regularizers(text)[0]->batch(inputs, targets, generator);
      CHECK(equal(x, x.clone()));
      return inputs;
    };
    if (c.off) CHECK(difference(changed(c.off, 1), x) < 1e-6);
    Tensor const one = changed(c.on, 1);
    CHECK(one.shape() == x.shape());
    CHECK(one.dtype() == x.dtype());
    CHECK(all(isfinite(one)).item() == 1);
    CHECK(equal(one, changed(c.on, 1)));
    bool differs = false;
    for (uint64_t key = 2; key < 12; ++key) differs = differs || !equal(one, changed(c.on, key));
    CHECK(differs);
    Generator generator(1);
    Tensor wrong = ones({3}), targets = labels;
    if (row.name != "jitter" && row.name != "mixup")
      CHECK(throws([&] { nn::make_regularizers(c.on)[0]->batch(wrong, targets, generator); }));
  });
}

TEST_CASE("regularisers of data: shares, ends and bounds") {
  Generator generator(5);
  Tensor const tokens = randint(0, 50, {40, 100}, generator);
  Tensor const masked = nn::mask_tokens(tokens, 0.2, 63, 50, generator);
  double const hit = sum((masked == 63).to(Dtype::f64)).item() / 4000;
  CHECK(std::abs(hit - 0.2) < 5 * std::sqrt(0.2 * 0.8 / 4000));
  CHECK(equal(where(masked == 63, tokens, masked), tokens));
  Tensor const replaced = nn::mask_tokens(tokens, 0.2, -1, 50, generator);
  CHECK(std::abs(sum((replaced != tokens).to(Dtype::f64)).item() / 4000 - 0.2 * 49 / 50) < 5 * std::sqrt(0.16 / 4000));
  CHECK(max(replaced).item() < 50);
  CHECK(throws([&] { nn::mask_tokens(tokens, 0.2, -1, 0, generator); }));
  CHECK(throws([&] { nn::mask_tokens(ones({2, 2}), 0.2, 1, 50, generator); }));

  Tensor const image = full({2, 3, 10, 10}, 7.0);
  Tensor const erased = nn::erase(image, 0.25, 0, generator);
  CHECK(sum((erased != image).to(Dtype::f64)).item() == 2 * 3 * 25);
  CHECK(sum((nn::erase(tokens, 0.3, 1000000, generator) != tokens).to(Dtype::f64)).item() > 40 * 30 - 5);

  // A straight line stays monotone and keeps its ends; a constant stays what it is.
  Tensor const line = arange(50).to(Dtype::f64).reshape({1, 50, 1}).expand({5, 50, 2}).contiguous();
  Tensor const warped = nn::warp_window(line, 0.3, 2, generator);
  CHECK(difference(warped.select(1, 0), line.select(1, 0)) < 1e-12);
  CHECK(difference(warped.select(1, 49), line.select(1, 49)) < 1e-12);
  CHECK(min(warped.slice(1, 1, 50) - warped.slice(1, 0, 49)).item() > 0);
  CHECK(difference(warped, line) > 0.5);

  Tensor const spectrum = ones({30, 20, 60}, Dtype::f64);
  Tensor const seen = nn::spec_augment(
      spectrum, {.frequency_masks = 1, .frequency_width = 5, .time_masks = 1, .time_width = 12}, generator);
  Tensor const bands = sum((amax(seen, {2}) == 0.0).to(Dtype::f64), {1}),
               frames = sum((amax(seen, {1}) == 0.0).to(Dtype::f64), {1});
  CHECK(max(bands).item() <= 5);
  CHECK(max(frames).item() <= 12);
  CHECK(max(bands).item() > 0);
  CHECK(max(frames).item() > 0);
  CHECK(difference(sum(seen, {1, 2}), (20.0 - bands) * (60.0 - frames)) < 1e-12);

  // Time: a straight line stays monotone with its ends, and moves by no more than it may.
  Tensor const lines = arange(40).to(Dtype::f64).reshape({1, 1, 40}).expand({6, 2, 40}).contiguous();
  Tensor const bent = nn::warp_time(lines, 5, generator);
  CHECK(difference(bent.select(2, 0), lines.select(2, 0)) < 1e-12);
  CHECK(difference(bent.select(2, 39), lines.select(2, 39)) < 1e-12);
  CHECK(min(bent.slice(2, 1, 40) - bent.slice(2, 0, 39)).item() > 0);
  CHECK(difference(bent, lines) <= 5);
  CHECK(difference(bent, lines) > 0.5);
  CHECK(difference(nn::warp_time(lines, 0, generator), lines) == 0);
  CHECK(throws([&] { nn::warp_time(lines, 20, generator); }));

  // Changes of images: no strength, no change; otherwise within [0, 1], and each kind does something.
  Tensor const picture = rand({2, 3, 9, 7}, Dtype::f64, generator);
  for (int64_t k = 0; k < int64_t(nn::image_changes().size()); ++k) {
    std::string const name(nn::image_changes()[size_t(k)]);
    INFO(name);
    bool const without = name == "flip" || name == "invert" || name == "autocontrast";
    if (!without) CHECK(difference(nn::change_image(picture, k, 0), picture) < 1e-12);
    for (double s : {-1.0, -0.4, 0.7}) {
      Tensor const y = nn::change_image(picture, k, s);
      CHECK(y.shape() == picture.shape());
      CHECK(min(y).item() >= 0);
      CHECK(max(y).item() <= 1 + 1e-12);
      CHECK((difference(y, picture) > 1e-3) == (name != "identity"));
    }
  }
  CHECK(difference(flip(nn::change_image(picture, 1, 1), {3}), picture) == 0);
  CHECK(throws([&] { nn::change_image(picture, 99, 1); }));
}

TEST_CASE("adversarial training: the worst of a linear model is known; never farther than the radius") {
  // Logits ±w·x/2 of two classes: CE(x + δ) of the worst δ within ±ε is log(1 + exp(−y·w·x + ε·|w|₁)).
  Tensor const w = numbers({6}, 3), x = numbers({5, 6}, 4);
  Tensor const labels = tensor(std::vector<int64_t>{0, 1, 1, 0, 1}, {5});
  auto const forward = [&](Tensor const& in) {
    Tensor const score = mv(in, w);
    return stack({score * -0.5, score * 0.5}, 1);
  };
  Tensor const y = labels.to(Dtype::f64) * 2.0 - 1.0, margin = y * mv(x, w);
  double const length = sum(abs(w)).item(), square_length = norm(w).item();
  nn::GPT model = model_of();
  auto const run = [&](nn::Regularizer& r) {
    Tensor inputs = x, targets = labels;
    Generator generator(1);
    r.begin(model);
    r.batch(inputs, targets, generator);
    CHECK(same_bits(inputs, x));
    Tensor const logits = forward(x);
    return r.loss(cross_entropy(logits, labels), logits, labels).item();
  };
  double const plain = mean(softplus(-margin)).item();
  for (double const radius : {0.1, 0.4}) {
    double const worst = mean(softplus(-margin + radius * length)).item();
    nn::Fgsm fgsm({.weight = 1, .radius = radius}, forward);
    CHECK(run(fgsm) == doctest::Approx(worst).epsilon(1e-12));
    nn::Fgsm half({.weight = 0.5, .radius = radius}, forward);
    CHECK(run(half) == doctest::Approx((worst + plain) / 2).epsilon(1e-12));
    nn::Pgd::Config steps;
    steps.weight = 1, steps.radius = radius, steps.steps = 7, steps.rate = radius / 3;
    nn::Pgd pgd(steps, forward);
    CHECK(run(pgd) == doctest::Approx(worst).epsilon(1e-12));
    // The last place of many is the radius along g/|g|: between all places and that one lies their mean.
    nn::FreeLB::Config free;
    free.weight = 1, free.radius = radius, free.steps = 300, free.rate = radius;
    nn::FreeLB freelb(free, forward);
    double const sphere = mean(softplus(-margin + radius * square_length)).item(), seen = run(freelb);
    CHECK(seen > sphere - 0.02 * (sphere - plain));
    CHECK(seen < sphere + 1e-9);
  }
  // Without a way the losses are what they were.
  nn::Vat::Config still;
  still.radius = 0;
  nn::Vat vat(still, forward);
  CHECK(run(vat) == doctest::Approx(plain).epsilon(1e-12));
  // The direction in which p changes most is w's: KL of that move.
  nn::Vat::Config far;
  far.radius = 0.5, far.steps = 3;
  nn::Vat found(far, forward);
  Tensor const p = sigmoid(mv(x, w));
  auto const divergence_at = [&](double by) {
    Tensor const q = sigmoid(mv(x, w) + by * square_length);
    return p * log(p / q) + (1. - p) * log((1. - p) / (1. - q));
  };
  double const either = run(found) - plain;
  CHECK(either > mean(minimum(divergence_at(0.5), divergence_at(-0.5))).item() - 1e-9);
  CHECK(either < mean(maximum(divergence_at(0.5), divergence_at(-0.5))).item() + 1e-9);
  // Tokens move by their embeddings, as far as they may.
  for (char const* text :
       {"fgsm:radius=0.3", "pgd:radius=0.3,rate=0.2", "freelb:radius=0.3,rate=0.2", "vat:radius=0.3"}) {
    INFO(text);
    nn::Regularizers r(nn::make_regularizers(text));
    std::vector<Tensor> places;
    r.begin(model);
    HookHandle look = nn::on_forward("token_embedding", [&](nn::ModuleCall const& call) {
      places.push_back(call.output.detach());
      return Tensor();
    });
    step_loss(model, r, 5);
    look.remove();
    REQUIRE(places.size() >= 3);
    bool const box = text[0] == 'f' ? text[1] == 'g' : text[0] == 'p';
    for (Tensor const& place : places) {
      Tensor const delta = place - places[0];
      CHECK(max(box ? abs(delta) : vector_norm(delta.reshape({delta.size(0), -1}), 2, {1})).item() < 0.3 + 1e-12);
    }
    CHECK(difference(places.back(), places[0]) > 1e-4);
  }
  CHECK(throws([] { nn::make_regularizers("pgd:steps=0"); }));
  CHECK(throws([] { nn::make_regularizers("fgsm:radius=-1"); }));
  nn::Linear linear(3, 3);
  CHECK(throws([&] { nn::make_regularizers("fgsm")[0]->begin(linear); }));
  auto const lost = nn::make_regularizers("fgsm:at=nowhere");
  lost[0]->begin(model);
  CHECK(throws([&] { step_loss(model, *lost[0], 1); }));
}

TEST_CASE("AugMix: shares add up to one, three views that agree cost nothing") {
  Generator generator(3);
  Tensor const flat = full({3, 2, 6, 6}, 0.5, Dtype::f64);
  Tensor const mixed = nn::aug_mix(flat, 3, 0.0, generator);
  CHECK(max(abs(mixed - 0.5)).item() < 0.51);
  Tensor const picture = rand({4, 3, 8, 8}, Dtype::f64, generator), some = nn::aug_mix(picture, 3, 0.5, generator);
  CHECK(min(some).item() >= 0);
  CHECK(max(some).item() <= 1 + 1e-12);
  auto const r = nn::make_regularizers("aug-mix:consistency=2");
  Tensor inputs = picture, targets = tensor(std::vector<int64_t>{0, 1, 2, 0}, {4});
  r[0]->batch(inputs, targets, generator);
  CHECK(inputs.size(0) == 12);
  CHECK(same_bits(inputs.slice(0, 0, 4).contiguous(), picture));
  Tensor const z = numbers({4, 3}, 5), other = numbers({4, 3}, 6), own = targets.slice(0, 0, 4);
  CHECK(r[0]->loss({}, cat({z, z, z}), targets).item() == doctest::Approx(cross_entropy(z, own).item()).epsilon(1e-13));
  Tensor const p = softmax(z), q = softmax(other), m = (p * 2. + q) / 3.;
  double const apart = (sum(p * log(p / m)) * 2. + sum(q * log(q / m))).item() / 12;
  CHECK(r[0]->loss({}, cat({z, z, other}), targets).item() ==
        doctest::Approx(cross_entropy(z, own).item() + 2 * apart).epsilon(1e-12));
  CHECK(throws([&] { r[0]->loss({}, cat({z, z}), targets); }));
  CHECK(throws([] { nn::make_regularizers("aug-mix:width=0"); }));
}
