// Losses by their catalogue: gradients, types, bad operands and settings of every row; traces of PyTorch; identities.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/safetensors.h>
#include <heed/nn/loss/catalogue.h>
#include <heed/nn/loss/classification.h>
#include <heed/nn/loss/metric.h>
#include <heed/nn/loss/preference.h>
#include <heed/nn/loss/regression.h>
#include <heed/nn/loss/representation.h>
#include <heed/nn/loss/segmentation.h>
#include <heed/nn/loss/sequence.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/skip.h>

#include <cmath>
#include <map>
#include <set>

using namespace heed;
using nn::compute_loss;
using test::numbers;

namespace {

std::map<std::string_view, int64_t> const sizes{{"N", 5}, {"C", 4}, {"K", 3}, {"T", 6}, {"S", 2}, {"G", 3}, {"L", 2}};

Shape shape_of(nn::Operand const& operand) {
  Shape shape;
  for (auto axis : operand.axes)
    for (int64_t size : axis == ".." ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{sizes.at(axis)})
      shape.push_back(size);
  return shape;
}

struct Drawn {
  std::vector<Tensor> raw;                    // what gradients are taken by
  std::vector<Tensor (*)(Tensor const&)> as;  // what makes an operand of it
  std::vector<Tensor> operands() const { return made(raw); }
  std::vector<Tensor> made(std::vector<Tensor> const& from) const {
    std::vector<Tensor> all;
    for (size_t i = 0; i < from.size(); ++i) all.push_back(as[i] ? as[i](from[i]) : from[i]);
    return all;
  }
};

/// Operands by what the signature says of them.
Drawn draw(nn::LossRow const& row) {
  Drawn drawn;
  uint32_t key = 1;
  for (nn::Operand const& operand : nn::parse_operands(row.operands)) {
    Shape const shape = shape_of(operand);
    Tensor x = numbers(shape, key++);
    Tensor (*as)(Tensor const&) = nullptr;
    if (operand.kind == "index") {
      int64_t const bound = sizes.at(operand.bound);
      x = operand.name.ends_with("lengths") ? full(shape, bound, Dtype::i64)
                                            : (clamp((x + 1) * 0.5, 0, 0.999) * double(bound)).to(Dtype::i64);
      if (row.name == "ctc" && operand.name == "targets") x = clamp(x, 1, bound - 1);  // 0 is the blank
      if (row.name == "multilabel-margin")
        x = cat({argsort(numbers(shape, key), 1).slice(1, 0, 2), full({shape[0], shape[1] - 2}, -1, Dtype::i64)}, 1);
    } else if (operand.kind == "sign") {
      x = where(x > 0.0, ones_like(x), -1.0);
    } else if (operand.kind == "fixed") {
    } else {
      x.requires_grad_(operand.name != "weight" || row.operands.find("x [") == 0);
      if (operand.optional && operand.name != "bias") x.requires_grad_(false);
      if (operand.kind == "unit") as = [](Tensor const& t) { return t * 0.45 + 0.5; };
      if (operand.kind == "positive") as = [](Tensor const& t) { return t * 0.5 + 1.5; };
      if (operand.kind == "simplex") as = [](Tensor const& t) { return softmax(t); };
      if (operand.kind == "logp") as = [](Tensor const& t) { return log_softmax(t * 2.0); };
      if (operand.kind.empty()) as = [](Tensor const& t) { return t * 2.0; };
    }
    drawn.raw.push_back(x);
    drawn.as.push_back(as);
  }
  return drawn;
}

double value(std::string_view text, std::vector<Tensor> const& operands) { return compute_loss(text, operands).item(); }

/// The Error of a call, or nothing.
std::string op_of_error(std::function<void()> const& f) {
  try {
    f();
  } catch (Error const& e) {
    CHECK(!e.problem().empty());
    CHECK(!e.remedy().empty());
    return e.op();
  }
  return "no error";
}

Tensor logits_of(Shape const& shape, uint32_t key = 1) { return numbers(shape, key) * 3.0; }
Tensor targets_of(int64_t classes, Shape const& shape, uint32_t key = 2) {
  return ((numbers(shape, key) + 1) * (0.4999 * double(classes))).to(Dtype::i64);
}

}  // namespace

TEST_CASE("losses: rows have unique names, sources, families, and settings with defaults that are accepted") {
  std::set<std::string_view> names,
      families{"regression", "classification", "metric", "segmentation", "representation", "preference", "sequence"};
  for (auto const& row : nn::losses()) {
    INFO(std::string(row.name));
    CHECK(int(names.insert(row.name).second) == 1);
    CHECK(families.contains(row.family));
    CHECK(!row.source.empty());
    CHECK(!row.summary.empty());
  }
  MESSAGE(nn::losses().size(), " losses");
}

TEST_CASE("losses: the gradient of every row, a scalar for each") {
  for (auto const& row : nn::losses()) {
    INFO(std::string(row.name));
    Drawn const drawn = draw(row);
    auto const f = [&](std::vector<Tensor> const& raw) {
      return std::vector<Tensor>{compute_loss(row.name, drawn.made(raw))};
    };
    Tensor const y = f(drawn.raw)[0];
    CHECK(y.rank() == 0);
    CHECK(std::isfinite(y.item()));
    CHECK(test::gradcheck(f, drawn.raw) == "");
  }
}

TEST_CASE("losses: f32 and bf16 give what f64 gives; a second call the same bits") {
  for (auto const& row : nn::losses()) {
    INFO(std::string(row.name));
    auto const operands = draw(row).operands();
    double const want = value(row.name, operands);
    for (auto const& [dtype, tolerance] : {std::pair(Dtype::f32, 2e-5), std::pair(Dtype::bf16, 0.1)}) {
      INFO("type ", std::string(name(dtype)));
      auto cast = operands;
      for (Tensor& t : cast)
        if (is_floating(t.dtype())) t = t.to(dtype);
      Tensor y;
      try {
        y = compute_loss(row.name, cast);
      } catch (Error const& e) {  // an operation without 16-bit types says so
        CHECK(dtype == Dtype::bf16);
        CHECK(e.problem() == "expected f32 or f64, got bf16");
        continue;
      }
      CHECK((y.dtype() == dtype || y.dtype() == Dtype::f32));
      CHECK(y.item() == doctest::Approx(want).epsilon(tolerance));
      CHECK(compute_loss(row.name, cast).item() == y.item());
    }
  }
}

TEST_CASE("losses: operands that do not fit are Errors that name the loss; so are unknown settings and names") {
  for (auto const& row : nn::losses()) {
    INFO(std::string(row.name));
    auto const operands = draw(row).operands();
    auto const signature = nn::parse_operands(row.operands);
    auto const complains = [&](std::vector<Tensor> const& bad) {
      CHECK(op_of_error([&] { compute_loss(row.name, bad); }) == row.name);
    };
    auto more = operands;
    more.push_back(operands[0]);
    complains(more);
    for (size_t i = 0; i < operands.size(); ++i) {
      INFO("operand ", i);
      auto bad = operands;
      bad[i] = Tensor();
      if (!signature[i].optional) complains(bad);
      bad[i] = operands[i].to(is_floating(operands[i].dtype()) ? Dtype::i64 : Dtype::f32);
      complains(bad);
      bad[i] = operands.size() > 1 ? operands[i].unsqueeze(0) : sum(operands[i]);
      complains(bad);
      // The same by the loss itself, which checks what it is given without the catalogue.
      bad.resize(signature.size());
      CHECK(op_of_error([&] { row.compute(bad, {std::string(row.name), {}}); }) == row.name);
    }
    CHECK(op_of_error([&] { compute_loss(std::string(row.name).append(":no_such_setting=1"), operands); }) == row.name);
  }
  CHECK(op_of_error([] { compute_loss("focall", {}); }) == "loss");
  CHECK_THROWS_WITH_AS(compute_loss("focall", {}), doctest::Contains("focal"), Error);
}

TEST_CASE("losses: values and gradients of PyTorch") {
  Safetensors const trace = load_safetensors(HEED_SOURCE_DIR "/tests/golden/losses_f64.safetensors");
  std::map<std::string, std::map<std::string, Tensor>> cases;
  for (auto const& [key, tensor] : trace.tensors)
    cases[key.substr(0, key.rfind('/'))][key.substr(key.rfind('/') + 1)] = tensor;
  std::set<std::string> covered;
  double largest = 0;
  test::on_every_isa([&](Isa level) {
    INFO("level ", std::string(name(level)));
    for (auto const& [text, entries] : cases) {
      INFO(text);
      std::vector<Tensor> operands;
      for (size_t i = 0; entries.contains(std::to_string(i)); ++i) {
        operands.push_back(entries.at(std::to_string(i)).clone());
        if (entries.contains(std::string("d").append(std::to_string(i)))) operands.back().requires_grad_();
      }
      Tensor const y = compute_loss(text, operands);
      auto const close = [&](Tensor const& got, Tensor const& want) {
        double const scale = 1 + max(abs(want)).item(), error = max(abs(got.detach() - want)).item() / scale;
        largest = std::max(largest, error);
        CHECK(error < 1e-12);
      };
      close(y, entries.at("y"));
      if (y.requires_grad()) y.backward();
      for (size_t i = 0; i < operands.size(); ++i)
        if (operands[i].requires_grad())
          close(operands[i].grad(), entries.at(std::string("d").append(std::to_string(i))));
      covered.insert(nn::parse_spec(text).name);
    }
  });
  MESSAGE("largest error of value or gradient: ", largest);
  for (auto const& row : nn::losses()) {
    INFO(std::string(row.name));
    CHECK(covered.contains(std::string(row.name)));
  }
}

TEST_CASE("losses: identities of regression") {
  Tensor const x = numbers({4, 5}, 1) * 3.0, y = numbers({4, 5}, 2);
  CHECK(value("huber:delta=1e6", {x, y}) == doctest::Approx(value("mse", {x, y}) / 2).epsilon(1e-14));
  CHECK(value("smooth-l1:beta=0.5", {x, y}) == doctest::Approx(value("huber:delta=0.5", {x, y}) / 0.5).epsilon(1e-14));
  CHECK(value("quantile:q=0.5", {x, y}) == doctest::Approx(value("mae", {x, y}) / 2).epsilon(1e-14));
  // A parabola near 0, a line less log 2 far away, finite where cosh is not.
  CHECK(value("log-cosh", {y + 1e-4, y}) == doctest::Approx(0.5e-8).epsilon(1e-6));
  CHECK(value("log-cosh", {y + 2000.0, y}) == doctest::Approx(2000 - std::log(2)).epsilon(1e-14));
  // The q-quantile is where the quantile loss is least.
  Tensor const sample = numbers({1001}, 3);
  double const q = quantile(sample, 0.9).item();
  auto const at = [&](double c) { return value("quantile:q=0.9", {full({1001}, c, Dtype::f64), sample}); };
  CHECK(at(q) < at(q + 0.01));
  CHECK(at(q) < at(q - 0.01));
  // Equal variances: the mean squared error over twice the variance, and half its logarithm.
  CHECK(value("gaussian-nll", {x, y, full({4, 5}, 4.0, Dtype::f64)}) ==
        doctest::Approx(value("mse", {x, y}) / 8 + std::log(4) / 2).epsilon(1e-14));
}

TEST_CASE("losses: identities of classification") {
  Tensor const x = logits_of({6, 5}), t = targets_of(5, {6});
  double const ce = value("cross-entropy", {x, t});
  CHECK(value("nll", {log_softmax(x), t}) == doctest::Approx(ce).epsilon(1e-14));
  CHECK(value("focal:gamma=0", {x, t}) == doctest::Approx(ce).epsilon(1e-14));
  CHECK(value("gce:q=1e-7", {x, t}) == doctest::Approx(ce).epsilon(1e-6));
  CHECK(value("bi-tempered:t1=1,t2=1", {x, t}) == doctest::Approx(ce).epsilon(1e-14));
  CHECK(value("bi-tempered:t1=0.99999,t2=1.00001", {x, t}) == doctest::Approx(ce).epsilon(1e-4));
  {  // By hand: the λ of each row by bisection, and a loss that a hopeless row cannot pass.
    double const t1 = 0.7, t2 = 1.3;
    double total = 0;
    for (int64_t i = 0; i < 6; ++i) {
      auto const power = [&](double z) { return std::pow(1 - (t2 - 1) * z, -1 / (t2 - 1)); };
      double const most = max(x.select(0, i)).item();
      double below = most, above = most + 50;
      for (int n = 0; n < 200; ++n) {
        double const shift = (below + above) / 2;
        double sum = 0;
        for (int64_t j = 0; j < 5; ++j) sum += power(x.at(i, j).item() - shift);
        (sum > 1 ? below : above) = shift;
      }
      double spread = 0;
      for (int64_t j = 0; j < 5; ++j) spread += std::pow(power(x.at(i, j).item() - below), 2 - t1);
      double const own = power(x.at(i, t.at(i).item<int64_t>()).item() - below);
      total += -(std::pow(own, 1 - t1) - 1) / (1 - t1) - (1 - spread) / (2 - t1);
    }
    CHECK(value("bi-tempered:t1=0.7,t2=1.3", {x, t}) == doctest::Approx(total / 6).epsilon(1e-10));
    CHECK(value("bi-tempered:t1=0.7,t2=1.3", {x * 1e4, t}) < 1 / (1 - t1) - 1 / (2 - t1) + 1);
    CHECK_THROWS_AS(value("bi-tempered:t1=2", {x, t}), Error);
  }
  CHECK(value("bootstrapping:beta=1", {x, t}) == doctest::Approx(ce).epsilon(1e-14));
  CHECK(value("ldam:max_margin=0,scale=1", {x, t, ones({5}, Dtype::f64)}) == doctest::Approx(ce).epsilon(1e-14));
  Tensor const weight = numbers({5, 4}, 4), h = numbers({6, 4}, 5);
  CHECK(value("linear-cross-entropy", {h, t, weight}) ==
        doctest::Approx(value("cross-entropy", {linear(h, weight), t})).epsilon(1e-14));
  // LS = (1 − ε)·CE + ε·mean(−log p)
  CHECK(value("cross-entropy:label_smoothing=0.2", {x, t}) ==
        doctest::Approx(0.8 * ce - 0.2 * mean(log_softmax(x)).item()).epsilon(1e-14));
  // Ignored rows count for nothing; with a class's weight of 0 neither.
  Tensor const some = cat({t.slice(0, 0, 4), full({2}, -100, Dtype::i64)});
  for (char const* text : {"cross-entropy", "focal", "gce", "bootstrapping", "bi-tempered", "focal:gamma=0.5"}) {
    INFO(text);
    Tensor z = x.clone();
    z.requires_grad_();
    Tensor const loss = compute_loss(text, {z, some});
    CHECK(loss.item() == doctest::Approx(value(text, {x.slice(0, 0, 4), t.slice(0, 0, 4)})).epsilon(1e-13));
    loss.backward();
    CHECK(sum(abs(z.grad().slice(0, 4, 6))).item() == 0);
    CHECK(all(isfinite(z.grad())).item() == 1);
  }
  Tensor const weights = abs(numbers({5}, 8)) + 0.1;
  CHECK(value("focal:gamma=0", {x, some, weights}) ==
        doctest::Approx(value("cross-entropy", {x, some, weights})).epsilon(1e-13));

  Tensor const truth = (numbers({6, 5}, 6) + 1) * 0.5;
  CHECK(value("bce", {sigmoid(x), truth}) == doctest::Approx(value("bce-logits", {x, truth})).epsilon(1e-12));
  CHECK(value("asymmetric:gamma_pos=0,gamma_neg=0,clip=0", {x, truth}) ==
        doctest::Approx(value("bce-logits", {x, truth})).epsilon(1e-13));
  CHECK(value("multilabel-soft-margin", {x, truth}) == doctest::Approx(value("bce-logits", {x, truth})).epsilon(1e-13));

  // Divergences: 0 of equals, symmetric, log 2 of strangers.
  Tensor const other = logits_of({6, 5}, 7);
  CHECK(value("kl-div", {log_softmax(x), softmax(x)}) == doctest::Approx(0).epsilon(1e-14));
  CHECK(std::abs(value("jsd", {x, x})) < 1e-15);
  CHECK(value("jsd", {x, other}) == doctest::Approx(value("jsd", {other, x})).epsilon(1e-13));
  Tensor const left = tensor(std::vector<double>{100, 0}, {1, 2});
  CHECK(value("jsd", {left, flip(left, {1})}) == doctest::Approx(std::log(2)).epsilon(1e-12));
  // KL(q‖p) = CE(q, p) − H(q)
  Tensor const q = softmax(other);
  CHECK(value("kl-div", {log_softmax(x), q}) ==
        doctest::Approx(cross_entropy(x, q).item() - mean(sum(entr(q), {1})).item()).epsilon(1e-13));

  CHECK(value("z-loss:weight=0.5", {log_softmax(x)}) < 1e-28);
  Tensor const signs = where(truth > 0.5, ones_like(truth), -1.0);
  CHECK(value("hinge", {signs * 2.0, signs}) == 0);
  CHECK(value("hinge", {zeros_like(signs), signs}) == 1);
  CHECK(value("hinge:margin=0.5,power=2", {zeros_like(signs), signs}) == 0.25);
  CHECK(value("soft-margin", {zeros_like(signs), signs}) == doctest::Approx(std::log(2)));
}

TEST_CASE("losses: identities of metrics") {
  Tensor const a = numbers({6, 4}, 1), b = numbers({6, 4}, 2);
  for (int64_t n : {2, 7}) {
    Tensor const same = ones({n, 3}, Dtype::f64);
    CHECK(value("info-nce", {same, same}) == doctest::Approx(std::log(double(n))).epsilon(1e-14));
    CHECK(value("nt-xent", {same, same}) == doctest::Approx(std::log(double(2 * n - 1))).epsilon(1e-14));
    CHECK(value("sup-con", {same, zeros({n}, Dtype::i64)}) == doctest::Approx(std::log(double(n - 1))).epsilon(1e-14));
  }
  // Scale of embeddings does not matter; symmetric: the same both ways round.
  CHECK(value("info-nce", {a * 7.0, b}) == doctest::Approx(value("info-nce", {a, b})).epsilon(1e-13));
  CHECK(value("info-nce:symmetric=true", {a, b}) ==
        doctest::Approx(value("info-nce:symmetric=true", {b, a})).epsilon(1e-13));
  // Two of each label: SupCon is NT-Xent. No pair at all: 0.
  Tensor const twice = cat({arange(6), arange(6)});
  CHECK(value("sup-con:temperature=0.5", {cat({a, b}), twice}) ==
        doctest::Approx(value("nt-xent:temperature=0.5", {a, b})).epsilon(1e-13));
  CHECK(value("sup-con", {a, arange(6)}) == 0);
  Tensor const weight = numbers({3, 4}, 3), t = targets_of(3, {6});
  CHECK(value("arc-face:margin=0,scale=5", {a, weight, t}) ==
        doctest::Approx(value("cross-entropy", {matmul(normalize(a), normalize(weight).t()) * 5.0, t})).epsilon(1e-13));
  CHECK(value("arc-face:margin=0.3", {a, weight, t}) > value("arc-face:margin=0", {a, weight, t}));
  CHECK(value("bpr", {a, a}) == doctest::Approx(std::log(2)).epsilon(1e-14));
  CHECK(value("contrastive", {a, a, ones({6}, Dtype::f64)}) == 0);
  CHECK(value("contrastive:margin=0.8", {a, a, zeros({6}, Dtype::f64)}) == doctest::Approx(0.32).epsilon(1e-14));
  CHECK(value("triplet:margin=0.25", {a, b, b}) == doctest::Approx(0.25).epsilon(1e-14));
}

TEST_CASE("losses: identities of regions") {
  Tensor const x = logits_of({2, 3, 4}), t = (numbers({2, 3, 4}, 2) > 0.0).to(Dtype::f64);
  CHECK(value("tversky:alpha=0.5,beta=0.5,smooth=0.5", {x, t}) ==
        doctest::Approx(value("dice", {x, t})).epsilon(1e-15));
  CHECK(value("tversky:alpha=1,beta=1", {x, t}) == doctest::Approx(value("jaccard", {x, t})).epsilon(1e-15));
  // dice = 2j/(1 + j) between the indices 1 − loss of one sample, unsmoothed.
  Tensor const one = x.slice(0, 0, 1), truth = t.slice(0, 0, 1);
  double const j = 1 - value("jaccard:smooth=0", {one, truth}), d = 1 - value("dice:smooth=0", {one, truth});
  CHECK(d == doctest::Approx(2 * j / (1 + j)).epsilon(1e-13));
  Tensor const sure = (t * 2.0 - 1) * 50.0;
  CHECK(std::abs(value("dice", {sure, t})) < 1e-15);
  CHECK(std::abs(value("lovasz-hinge", {sure, t * 2.0 - 1})) < 1e-15);
  // Predictions of 0 and 1: Lovász's extension is the Jaccard loss itself, the mean over classes that occur.
  Tensor const labels = targets_of(3, {9}, 4), guess = targets_of(3, {9}, 5);
  double want = 0, classes = 0;
  auto const y = labels.to_vector<int64_t>(), p = guess.to_vector<int64_t>();
  for (int64_t c = 0; c < 3; ++c) {
    double both = 0, either = 0, occurs = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      both += y[i] == c && p[i] == c;
      either += y[i] == c || p[i] == c;
      occurs += y[i] == c;
    }
    if (occurs > 0) want += 1 - both / either, classes += 1;
  }
  CHECK(value("lovasz-softmax", {one_hot(guess, 3).to(Dtype::f64) * 100.0, labels}) ==
        doctest::Approx(want / classes).epsilon(1e-12));
}

TEST_CASE("losses: identities of representations and preferences") {
  Tensor const a = numbers({8, 4}, 1), b = numbers({8, 4}, 2);
  CHECK(std::abs(value("byol", {a, a * 3.0})) < 1e-14);
  CHECK(value("byol", {a, -a}) == doctest::Approx(4).epsilon(1e-14));
  Tensor leaf = a.clone();
  leaf.requires_grad_();
  CHECK(!nn::loss::Byol{}(b, leaf).requires_grad());
  // Collapsed views: only the variance term is left, 1 − √1e-4 for each feature.
  Tensor const flat = ones({8, 4}, Dtype::f64);
  CHECK(value("vic-reg", {flat, flat}) == doctest::Approx(25 * (1 - 0.01)).epsilon(1e-13));
  // Features that are orthogonal over the batch: the correlation is the identity.
  Tensor const signs = tensor(std::vector<double>{1, 1, 1, -1, -1, 1, -1, -1}, {4, 2});
  CHECK(value("barlow-twins", {signs, signs}) < 1e-8);
  CHECK(value("vic-reg:similarity=1,variance=0", {signs, signs}) == 0);

  Tensor const p = numbers({5}, 3), q = numbers({5}, 4);
  CHECK(value("dpo", {p, q, p, q}) == doctest::Approx(std::log(2)).epsilon(1e-14));
  CHECK(value("dpo", {p + 1.0, q, p, q}) < std::log(2));
  Tensor const log_p = numbers({3, 4}, 5), advantage = numbers({3, 4}, 6);
  CHECK(value("ppo", {log_p, log_p, advantage}) == doctest::Approx(-mean(advantage).item()).epsilon(1e-13));
  // Beyond the clip there is no gradient where the advantage asks for more.
  Tensor moved = (log_p + 1.0).clone();
  moved.requires_grad_();
  compute_loss("ppo", {moved, log_p, ones({3, 4}, Dtype::f64)}).backward();
  CHECK(sum(abs(moved.grad())).item() == 0);
  // Equal rewards teach nothing.
  Tensor again = log_p.clone();
  again.requires_grad_();
  Tensor const grpo = compute_loss("grpo", {again, log_p, log_p, ones({3}, Dtype::f64)});
  CHECK(grpo.item() == 0);
  grpo.backward();
  CHECK(max(abs(again.grad())).item() < 1e-15);
}

TEST_CASE("losses: CTC is the sum over all paths, T ≤ 6") {
  for (int64_t t : {1, 2, 4, 6}) {
    int64_t const classes = 3;
    Tensor const log_p = log_softmax(numbers({t, 1, classes}, uint32_t(t)) * 2.0);
    auto const table = log_p.to_vector<double>();
    for (std::vector<int64_t> const& target : {std::vector<int64_t>{1}, {1, 2}, {1, 1}}) {
      double total = 0;
      std::vector<int64_t> path(size_t(t), 0);
      while (true) {
        std::vector<int64_t> spelt;
        for (size_t i = 0; i < path.size(); ++i)
          if (path[i] != 0 && (i == 0 || path[i] != path[i - 1])) spelt.push_back(path[i]);
        double log_path = 0;
        for (size_t i = 0; i < path.size(); ++i) log_path += table[i * size_t(classes) + size_t(path[i])];
        if (spelt == target) total += std::exp(log_path);
        size_t k = 0;
        while (k < path.size() && ++path[k] == classes) path[k++] = 0;
        if (k == path.size()) break;
      }
      int64_t const n = int64_t(target.size());
      double const got =
          value("ctc", {log_p, tensor(target, {1, n}), full({1}, t, Dtype::i64), full({1}, n, Dtype::i64)});
      INFO("T = ", t, ", target of ", n);
      if (total == 0)
        CHECK(std::isinf(got));
      else
        CHECK(got == doctest::Approx(-std::log(total) / double(n)).epsilon(1e-12));
    }
  }
}
