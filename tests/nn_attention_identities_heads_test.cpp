// What proves kinds of attention that change heads, row normalisers and scores, where no other kind does
// (nn_attention_suite_test.cpp): each against its formula on whole matrices.
#include <heed/tests/support/attention_case.h>
#include <heed/tests/support/op_case.h>

using namespace heed;
using namespace heed::test::attention;
using test::error_of;
using test::numbers;

TEST_CASE("gqa: as many key heads as heads is multi-head, one is mqa") {
  auto const same = [](char const* a, char const* b) {
    Case one(a);
    auto const other = nn::make_attention(b, config(true));
    nn::to(*other, Dtype::f64);
    nn::load_state_dict(*other, nn::state_dict(*one.layer));
    CHECK(difference((*one.layer)(one.x), (*other)(one.x)) == 0);
  };
  same("multi-head", "gqa:share=1");
  auto const grouped = nn::make_attention("gqa:share=2", config(true)),
             single = nn::make_attention("mqa", config(true));
  nn::load_state_dict(*grouped, nn::state_dict(*single));
  Tensor const x = numbers({1, 5, dim}, 3, Dtype::f32);
  CHECK(difference((*grouped)(x), (*single)(x)) == 0);
  CHECK(nn::make_attention("gqa:kv_heads=1", config(true))->config.kv_heads == 1);
  CHECK(!error_of([] { nn::make_attention("gqa:share=3", config(true)); }).empty());
}

TEST_CASE("softmax-1: as if a key and a value of zeros stood beside the others") {
  for (bool const causal : {true, false}) {
    Case c("softmax-1", causal);
    Tensor const zero = zeros({batch, heads, 1, width}, Dtype::f64);
    Tensor const mask = cat({c.seen, ones({length, 1}) > 0.}, 1);
    Tensor const want = naive::attend(c.q, cat({c.k, zero}, 2), cat({c.v, zero}, 2), {.mask = mask}).out;
    CHECK(difference(c(), nn::join_heads(want)) < 1e-12);
  }
}

TEST_CASE("sigmoid: every pair for itself") {
  for (bool const causal : {true, false}) {
    Case c("sigmoid", causal);
    Tensor const weights = where(c.seen, sigmoid(c.scores - log(c.counts())), 0.);
    CHECK(c.from(weights) < 1e-12);
  }
}

TEST_CASE("relu: what is positive, by the number of keys; without a sign it is a product of matrices") {
  Case c("relu", false);
  CHECK(c.from(clamp_min(c.scores, 0) / double(length)) < 1e-12);
  Case squares("relu:power=2");
  CHECK(squares.from(where(squares.seen, square(clamp_min(squares.scores, 0)), 0.) / squares.counts()) < 1e-12);
  // Positive scores: Q(KᵀV)/n.
  Case positive("relu", false);
  positive.x = abs(positive.x);
  for (char const* name : {"q_proj.weight", "k_proj.weight"}) positive.set(name, abs(named(*positive.layer, name)));
  auto const project = [&](char const* name) {
    return nn::split_heads(linear(positive.x, named(*positive.layer, name)), heads);
  };
  Tensor const state = matmul(project("k_proj.weight").transpose(2, 3), project("v_proj.weight"));
  Tensor const want = matmul(project("q_proj.weight"), state) / (std::sqrt(double(width)) * double(length));
  CHECK(difference(positive(), nn::join_heads(want)) < 1e-12);
}

TEST_CASE("sparsemax: the projection onto the simplex by sorting") {
  Case c("sparsemax", false);
  c.set("q_proj.weight", named(*c.layer, "q_proj.weight") * 4.);
  Tensor const s = c.scores * 4.;
  Tensor const sorted = sort(s, -1, true).values;
  Tensor const rank = arange(1, length + 1, 1, Dtype::f64);
  Tensor const total = cumsum(sorted, 3);
  Tensor const inside = sorted * rank + 1. > total;
  Tensor const size = sum(inside.to(Dtype::f64), {3}, true);
  Tensor const tau = (sum(where(inside, sorted, 0.), {3}, true) - 1.) / size;
  CHECK(c.from(clamp_min(s - tau, 0)) < 1e-10);
}

TEST_CASE("entmax: near 1 it is the softmax") {
  Case c("entmax:alpha=1.000001");
  CHECK(c.from(c.softmax_of(c.scores)) < 1e-4);
  CHECK(!error_of([] { nn::make_attention("entmax:alpha=0.5", config(true)); }).empty());
}

TEST_CASE("top-k: one key is the largest alone") {
  Case c("top-k:count=1", false);
  Tensor const most = amax(c.scores, {3}, true);
  CHECK(c.from((c.scores == most).to(Dtype::f64)) < 1e-12);
  CHECK(!error_of([] { nn::make_attention("top-k:count=0", config(true)); }).empty());
}

TEST_CASE("qk-norm: lengths of queries and keys do not matter") {
  Case c("qk-norm");
  Tensor const y = c();
  Tensor const scale = tensor(std::vector<double>{3, 7}, {heads});
  c.set("scale", scale);
  auto const unit = [](Tensor const& t) { return t / sqrt(sum(square(t), {3}, true)); };
  Tensor const cosines = matmul(unit(c.q), unit(c.k).transpose(2, 3));
  CHECK(c.from(c.softmax_of(cosines * scale.reshape({heads, 1, 1}))) < 1e-12);
  Tensor const before = c();
  c.set("q_proj.weight", named(*c.layer, "q_proj.weight") * 3.);
  c.set("k_proj.weight", named(*c.layer, "k_proj.weight") * 0.01);
  CHECK(difference(c(), before) < 1e-12);
}

TEST_CASE("scalable-softmax: 1/log n is the softmax, twice that twice the scores") {
  Case c("scalable-softmax", false);
  c.set("strength", full({heads}, 1 / std::log(double(length)), Dtype::f64));
  CHECK(c.from(c.softmax_of(c.scores)) < 1e-12);
  Case causal("scalable-softmax");
  causal.set("strength", full({heads}, 0.7, Dtype::f64));
  CHECK(causal.from(causal.softmax_of(causal.scores * (0.7 * log(causal.counts())))) < 1e-12);
}

namespace {

/// softmax of w·tanh(q + k), by a loop over pairs and features.
void check_additive(std::string const& name) {
  Case c(name);
  Tensor const weight = named(*c.layer, name + ".weight");
  auto const q = c.q.to_vector<double>(), k = c.k.to_vector<double>(), w = weight.to_vector<double>();
  std::vector<double> scores;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < length; ++i)
        for (int64_t j = 0; j < length; ++j) {
          double sum = 0;
          for (int64_t d = 0; d < width; ++d) {
            int64_t const at = (b * heads + h) * length;
            sum +=
                w[size_t(h * width + d)] * std::tanh(q[size_t((at + i) * width + d)] + k[size_t((at + j) * width + d)]);
          }
          scores.push_back(sum);
        }
  CHECK(c.from(c.softmax_of(tensor(scores, {batch, heads, length, length}))) < 1e-12);
}

}  // namespace

TEST_CASE("luong-concat: a loop over pairs and features") { check_additive("luong-concat"); }

TEST_CASE("additive: a loop over pairs and features") {
  check_additive("additive");
  // Positions may follow; one key head serves several heads.
  CHECK(nn::make_attention("additive:kv_heads=1+alibi", config(true))->traits().steps);
}

TEST_CASE("luong: from the identity it is multi-head; windows are Gaussian") {
  Case c("luong", false);
  CHECK(c.from(softmax(c.scores)) < 1e-12);
  Tensor const w = numbers({heads, width, width}, 6);
  c.set("luong.weight", w);
  Tensor const general = matmul(matmul(c.q, w), c.k.transpose(2, 3)) / std::sqrt(double(width));
  CHECK(c.from(softmax(general)) < 1e-12);
  Case wide("luong:sigma=1e9");
  CHECK(wide.from(wide.softmax_of(wide.scores)) < 1e-12);
  Case narrow("luong:sigma=2");
  Tensor const i = arange(0, length, 1, Dtype::f64), away = i.unsqueeze(0) - i.unsqueeze(1);
  CHECK(narrow.from(narrow.softmax_of(narrow.scores - square(away) / 8.)) < 1e-12);
  Case chosen("luong:sigma=1,predict=true");
  chosen.set("direction", zeros({heads, width, 1}, Dtype::f64));  // the middle of what is seen
  Tensor const middle = i.unsqueeze(0) - (chosen.counts() - 1.) / 2.;
  CHECK(chosen.from(chosen.softmax_of(chosen.scores - square(middle) / 2.)) < 1e-12);
}

TEST_CASE("l2: doubled queries with the keys' norms as a bias") {
  Case c("l2");
  Tensor const norms = sum(square(c.k), {3}).unsqueeze(2) / std::sqrt(double(width));
  CHECK(c.from(c.softmax_of(c.scores * 2. - norms)) < 1e-12);
}

TEST_CASE("fox: constant gates are ALiBi") {
  Case c("fox");
  c.set("gate.weight", zeros({heads, dim}, Dtype::f64));
  Tensor const slopes = tensor(std::vector<double>{0.5, 0.125}, {heads});
  c.set("gate.bias", -log(exp(slopes) - 1.));  // σ(b) = exp(−slope)
  Tensor const i = arange(0, length, 1, Dtype::f64), past = i.unsqueeze(1) - i.unsqueeze(0);
  CHECK(c.from(c.softmax_of(c.scores - slopes.reshape({heads, 1, 1}) * past)) < 1e-12);
  CHECK(nn::make_attention("fox+rope", config(true))->traits().steps);
  CHECK(!error_of([] { (*nn::make_attention("fox+fox", config(true)))(numbers({1, 3, dim}, 1, Dtype::f32)); }).empty());
}

TEST_CASE("adaptive-span: the score and the logarithm of the ramp") {
  Case c("adaptive-span:longest=4,ramp=3");
  c.set("span", tensor(std::vector<double>{0.5, 0}, {heads}));
  Tensor const i = arange(0, length, 1, Dtype::f64), away = abs(i.unsqueeze(1) - i.unsqueeze(0));
  Tensor const z = tensor(std::vector<double>{2, 0}, {heads, 1, 1});
  Tensor const ramp = clamp((3. + z - away) / 3., 0, 1);
  Tensor const p = c.softmax_of(c.scores) * ramp;
  CHECK(c.from(p / sum(p, {3}, true)) < 1e-12);
}

TEST_CASE("stick-breaking: the product over the keys between, and what is left goes nowhere") {
  Case c("stick-breaking");
  auto const s = c.scores.to_vector<double>();
  std::vector<double> weights(s.size());
  double worst = 0;
  for (int64_t row = 0; row < batch * heads * length; ++row) {
    double left = 1, given = 0;
    for (int64_t j = row % length - 1; j >= 0; --j) {
      size_t const at = size_t(row * length + j);
      double const beta = 1 / (1 + std::exp(-s[at]));
      weights[at] = beta * left;
      given += weights[at];
      left *= 1 - beta;
    }
    worst = std::max(worst, std::abs(given - (1 - left)));
  }
  CHECK(worst < 1e-12);
  CHECK(c.from(tensor(weights, {batch, heads, length, length})) < 1e-12);
}

TEST_CASE("stick-breaking: blocks of queries are the whole, forward and backward") {
  // Longer than a block.
  auto const layer = nn::make_attention("stick-breaking", config(true));
  nn::to(*layer, Dtype::f64);
  Tensor const x = numbers({1, 150, dim}, 1).requires_grad_();
  Tensor const y = (*layer)(x);
  NoGrad const off;
  auto const state = layer->make_state(150);
  std::vector<Tensor> parts;
  for (int64_t t = 0; t < 150; t += 50) parts.push_back((*layer)(x.slice(1, t, t + 50), {.state = state.get()}));
  CHECK(difference(cat(parts, 1), y.detach()) < 1e-12);
}

TEST_CASE("sinkformer: rows sum to 1, and after many steps columns do") {
  Case c("sinkformer:steps=41", false);
  c.set("v_proj.weight", zeros({dim, dim}, Dtype::f64));
  c.v = zeros({batch, heads, length, width}, Dtype::f64);
  Tensor p = softmax(c.scores);
  for (int step = 0; step < 20; ++step) {
    p = p / sum(p, {2}, true);
    p = p / sum(p, {3}, true);
  }
  CHECK(difference(sum(p, {2}), ones({batch, heads, length}, Dtype::f64)) < 1e-3);
  Case values("sinkformer:steps=41", false);
  CHECK(values.from(p) < 1e-10);
}

TEST_CASE("talking-heads: identities are multi-head, others mix heads") {
  Case c("talking-heads");
  CHECK(c.from(c.softmax_of(c.scores)) < 1e-12);
  Tensor const a = numbers({heads, heads}, 2), b = numbers({heads, heads}, 3);
  c.set("logits", a);
  c.set("weights", b);
  Tensor const mixed = einsum("hg,bgij->bhij", {a, c.scores});
  CHECK(c.from(einsum("hg,bgij->bhij", {b, c.softmax_of(mixed)})) < 1e-12);
}

TEST_CASE("laser: constant values stay, and others are never below the mean") {
  Case c("laser", false);
  Tensor const a = softmax(c.scores);
  CHECK(difference(c(), nn::join_heads(log(matmul(a, exp(c.v))))) < 1e-12);
  CHECK(min(c() - nn::join_heads(matmul(a, c.v))).item() > -1e-12);
  c.x = numbers({batch, 1, dim}, 1).expand({batch, length, dim}).contiguous();
  CHECK(difference(c(), linear(c.x, named(*c.layer, "v_proj.weight"))) < 1e-12);
}

TEST_CASE("aoa: an open gate and the result alone are multi-head") {
  Case c("aoa");
  c.set("gate.bias", full({dim}, 100., Dtype::f64));
  c.set("information.bias", zeros({dim}, Dtype::f64));
  c.set("information.weight", cat({zeros({dim, dim}, Dtype::f64), eye(dim, dim, Dtype::f64)}, 1));
  CHECK(c.from(c.softmax_of(c.scores)) < 1e-12);
}

TEST_CASE("cog: weights with the scores' signs") {
  Case c("cog");
  CHECK(c.from(c.softmax_of(abs(c.scores)) * sign(c.scores)) < 1e-12);
}

TEST_CASE("differential: two maps; with lambda 0 it is multi-head on half the features, normed") {
  Case c("differential");
  auto const half = [](Tensor const& t, int64_t from) { return t.slice(3, from, width, 2); };
  auto const map = [&](int64_t from) {
    return c.softmax_of(matmul(half(c.q, from), half(c.k, from).transpose(2, 3)) / std::sqrt(width / 2.));
  };
  double const start = 0.8 - 0.6 * std::exp(-0.3);  // of layer 1
  auto const normed = [&](Tensor const& weights) {
    Tensor const out = matmul(weights, c.v);
    return nn::join_heads(out / sqrt(mean(square(out), {3}, true) + 1e-5) * (1 - start));
  };
  Tensor const one = ones({width / 2}, Dtype::f64);
  c.set("lambda_q1", one * 0.3);
  c.set("lambda_k1", one);
  c.set("lambda_q2", one * 0.1);
  c.set("lambda_k2", one);
  double const lambda = std::exp(0.6) - std::exp(0.2) + start;
  CHECK(difference(c(), normed(map(0) - lambda * map(1))) < 1e-12);
  // exp(0) − exp(log(1 + start)) + start = 0
  c.set("lambda_q1", zeros({width / 2}, Dtype::f64));
  c.set("lambda_q2", full({width / 2}, std::log(1 + start) / 2, Dtype::f64));
  CHECK(difference(c(), normed(map(0))) < 1e-12);
}

TEST_CASE("value-residual: nothing of the first values is multi-head, all of them takes their place") {
  Case c("value-residual");
  Tensor const a = c.softmax_of(c.scores);
  c.set("lambda", tensor(std::vector<double>{1, 0}, {2}));
  CHECK(c.from(a) < 1e-12);
  c.set("lambda", tensor(std::vector<double>{0, 1}, {2}));
  CHECK(difference(c(), nn::join_heads(matmul(a, c.first))) < 1e-12);
  CHECK(error_of([&] { (*c.layer)(c.x); }).find("first_values") != std::string::npos);
  // A stack's first layer sets them.
  nn::AttentionConfig bottom = config(true);
  bottom.layer = 0;
  auto const first = nn::make_attention("value-residual", bottom);
  Tensor values;
  (*first)(numbers({1, 4, dim}, 2, Dtype::f32), {.first_values = &values});
  CHECK(to_string(values.shape()) == to_string(Shape{1, heads, 4, width}));
  nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 2, .dim = 8, .block = 8, .attention = "value-residual"});
  CHECK(model(tensor(std::vector<int64_t>{1, 2, 3}, {1, 3})).size(2) == 11);
}

TEST_CASE("mla: a cache of latents, and the products written out") {
  auto const layer = nn::make_attention("mla:latent=3,rotary=2", config(true));
  nn::to(*layer, Dtype::f64);
  Tensor const x = numbers({1, length, dim}, 1);
  auto const of = [&](char const* name) { return named(*layer, name); };
  Tensor const down = linear(x, of("down_proj.weight")), q = nn::split_heads(linear(x, of("q_proj.weight")), heads);
  Tensor const c = rms_norm(down.slice(2, 0, 3)), shared = nn::rope(down.slice(2, 3, 5).unsqueeze(1));
  Tensor const k = nn::split_heads(linear(c, of("k_proj.weight")), heads);
  Tensor const s = matmul(q.slice(3, 0, width), k.transpose(2, 3)) +
                   matmul(nn::rope(q.slice(3, width, width + 2)), shared.transpose(2, 3));
  Tensor const p = softmax(where(tril(ones({length, length})) > 0., s / std::sqrt(width + 2.), -1e300));
  Tensor const out = matmul(p, nn::split_heads(linear(c, of("v_proj.weight")), heads));
  CHECK(difference((*layer)(x), linear(nn::join_heads(out), of("out_proj.weight"))) < 1e-12);
  NoGrad const off;
  auto const state = layer->make_state(length);
  (*layer)(x, {.state = state.get()});
  CHECK(state->bytes() == length * (3 + 2) * 8);
  CHECK(!error_of([] { nn::make_attention("mla:rotary=3", config(true)); }).empty());
  CHECK(!error_of([] { nn::make_attention("mla+alibi", config(true)); }).empty());
}

TEST_CASE("location-aware: without filters it is additive; with them, a loop") {
  Case c("location-aware:filters=2,reach=1"), plain("additive");
  Tensor const filters = named(*c.layer, "filters").clone(), mixing = named(*c.layer, "mixing"),
               w = numbers({heads, width}, 7);
  c.set("location-aware.weight", w);
  plain.set("additive.weight", w);
  c.set("filters", filters * 0.);
  CHECK(difference(c(), plain()) < 1e-12);
  c.set("filters", filters);
  auto const f = filters.to_vector<double>(), u = mixing.to_vector<double>();
  auto const q = c.q.to_vector<double>(), k = c.k.to_vector<double>(), wv = w.to_vector<double>();
  std::vector<double> weights(size_t(batch * heads * length * length));
  for (int64_t bh = 0; bh < batch * heads; ++bh)
    for (int64_t i = 0; i < length; ++i) {
      double* const now = &weights[size_t((bh * length + i) * length)];
      double total = 0;
      for (int64_t j = 0; j <= i; ++j) {
        double s = 0;
        for (int64_t d = 0; d < width; ++d) {
          int64_t const h = bh % heads;
          double inner = q[size_t((bh * length + i) * width + d)] + k[size_t((bh * length + j) * width + d)];
          for (int64_t n = 0; n < 2; ++n)
            for (int64_t r = -1; r <= 1; ++r)
              if (i > 0 && j + r >= 0 && j + r < length)
                inner += u[size_t((h * width + d) * 2 + n)] * f[size_t(n * 3 + r + 1)] * (now - length)[j + r];
          s += wv[size_t(h * width + d)] * std::tanh(inner);
        }
        total += now[j] = std::exp(s);
      }
      for (int64_t j = 0; j <= i; ++j) now[j] /= total;
    }
  CHECK(c.from(tensor(weights, {batch, heads, length, length})) < 1e-12);
}
