// The measures of over-dependence: each by a case whose answer is known exactly, against materialised maps, in memory
// that grows with T.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/diagnose/diagnose.h>
#include <heed/nn/diagnose/importance.h>
#include <heed/nn/diagnose/map_measures.h>
#include <heed/nn/diagnose/rank.h>
#include <heed/nn/diagnose/robustness.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace heed;
using doctest::Approx;
using test::error_of;
using test::numbers;

namespace {

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// What a layer's call looks like after attend().
nn::AttentionCall call_of(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options = {}) {
  return {"layer", q, k, v, options, attend(q, k, v, options)};
}

/// A call whose weights are softmax rows of these scores [T, S], for H heads alike.
nn::AttentionCall with_scores(std::vector<double> const& scores, int64_t t, int64_t s, int64_t heads = 1,
                              AttendOptions options = {}) {
  Tensor const q = eye(t, -1, Dtype::f64).expand({1, heads, t, t}).contiguous();
  Tensor const k = tensor(scores, {t, s}).t().expand({1, heads, s, t}).contiguous();
  options.scale = 1;
  return call_of(q, k, ones({1, heads, s, 2}, Dtype::f64), options);
}

nn::GPT small_model(Dtype dtype = Dtype::f64) {
  seed(7);
  nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 4, .kv_heads = 2, .dim = 16, .block = 12});
  for (Tensor p : nn::parameters(model))
    if (p.rank() >= 2) nn::init::normal_(p, 0.4);
  nn::to(model, dtype);
  return model;
}
Tensor some_tokens(int64_t b, int64_t t) {
  Generator generator(5);
  return randint(0, 11, {b, t}, generator);
}

}  // namespace

TEST_CASE("maps: uniform rows, plain and causal") {
  auto const m = nn::measure_maps(with_scores(std::vector<double>(16, 0.7), 4, 4, 2));
  for (size_t h : {0u, 1u}) {
    CHECK(m.entropy[h] == Approx(std::log(4)));
    CHECK(m.entropy_share[h] == Approx(1));
    CHECK(m.perplexity[h] == Approx(4));
    CHECK(m.effective_count[h] == Approx(4));
    CHECK(m.largest[h] == Approx(0.25));
    CHECK(std::abs(m.gini[h]) < 1e-12);
    CHECK(m.saturation[h] == Approx(0.75));
    CHECK(m.distance[h] == Approx(1.25));
    CHECK(m.sink[h] == Approx(0.25));
    CHECK(m.first_key[h] == Approx(0.25));
    CHECK(m.first_key_norm[h] == Approx(0.25));
    CHECK(m.value_drain[h] == Approx(1));
    CHECK(m.overlap[h] == Approx(0.25));
    CHECK(std::abs(m.divergence[h]) < 1e-12);
  }
  auto const c = nn::measure_maps(with_scores(std::vector<double>(16, 0.7), 4, 4, 1, {.causal = true}));
  CHECK(c.entropy[0] == Approx((std::log(2) + std::log(3) + std::log(4)) / 3));
  CHECK(c.entropy_share[0] == Approx(1));
  CHECK(c.effective_count[0] == Approx(3));
  CHECK(std::abs(c.gini[0]) < 1e-12);
  CHECK(c.distance[0] == Approx((0.5 + 1 + 1.5) / 3));
  CHECK(c.first_key[0] == Approx((1 + 0.5 + 1 / 3. + 0.25) / 4));
  CHECK(c.overlap[0] == 0);
  CHECK(c.divergence[0] == 0);
}

TEST_CASE("maps: everything on one key; everything on itself; heads that look elsewhere") {
  std::vector<double> first(64, -1e4), own(64, -1e4);
  for (size_t i = 0; i < 8; ++i) first[8 * i] = 0, own[9 * i] = 0;
  auto const m = nn::measure_maps(with_scores(first, 8, 8));
  CHECK(m.entropy[0] == 0);
  CHECK(m.entropy_share[0] == 0);
  CHECK(m.perplexity[0] == 1);
  CHECK(m.effective_count[0] == 1);
  CHECK(m.largest[0] == 1);
  CHECK(m.gini[0] == Approx(7 / 8.));
  CHECK(m.saturation[0] == 0);
  CHECK(m.distance[0] == Approx(28 / 8.));
  CHECK(m.sink[0] == 1);
  CHECK(m.first_key[0] == 1);
  CHECK(m.first_key_norm[0] == Approx(1));
  auto const o = nn::measure_maps(with_scores(own, 8, 8));
  CHECK(o.distance[0] == 0);
  CHECK(o.sink[0] == Approx(1 / 8.));
  CHECK(o.first_key[0] == Approx(1 / 8.));

  nn::AttentionCall const a = with_scores(first, 8, 8), b = with_scores(own, 8, 8);
  AttendOptions options;
  options.scale = 1;
  nn::AttentionCall const both = call_of(cat({a.q, b.q}, 1), cat({a.k, b.k}, 1), cat({a.v, b.v}, 1), options);
  auto const two = nn::measure_maps(both);
  CHECK(two.overlap[0] == Approx(1 / 8.));  // query 0 looks at key 0 in both
  CHECK(two.divergence[1] == Approx(7 / 8. * std::log(2)));
  // A sink whose value is small: the drain.
  nn::AttentionCall drained = a;
  drained.v = drained.v.clone();
  drained.v.slice(2, 0, 1).copy_(drained.v.slice(2, 0, 1) * 0.01);
  auto const d = nn::measure_maps(drained);
  CHECK(d.value_drain[0] == Approx(0.01 / ((7 + 0.01) / 8)));
  CHECK(d.first_key_norm[0] == Approx(1));
  nn::AttentionCall even = with_scores(std::vector<double>(64, 0.0), 8, 8);
  even.v = drained.v;
  CHECK(nn::measure_maps(even).first_key_norm[0] == Approx(0.01 / 7.01));
}

TEST_CASE("maps: as measured on materialised weights, whatever masks, windows, groups and normalisers") {
  Tensor const q = numbers({2, 4, 40, 5}, 1) * 2.0, k = numbers({2, 2, 45, 5}, 2) * 2.0, v = numbers({2, 2, 45, 3}, 3);
  Tensor const mask = numbers({2, 1, 40, 45}, 4) > -0.6;
  ScoreMod const sigmoid_of = [](auto s, auto) { return sigmoid(s); };
  for (AttendOptions const& options :
       {AttendOptions{}, AttendOptions{.causal = true}, AttendOptions{.causal = true, .left = 7},
        AttendOptions{.mask = mask}, AttendOptions{.causal = true, .weight = sigmoid_of},
        AttendOptions{.causal = true, .entmax = 1.5},
        AttendOptions{.causal = true, .sink = tensor({0.5, 1., 0., 2.}).to(Dtype::f64)},
        AttendOptions{.dropout = 0.5, .draw = {1, 2}}}) {
    nn::AttentionCall const call = call_of(q, k, v, options);
    auto const m = nn::measure_maps(call);
    AttendOptions open = options;
    open.sink = {}, open.weight = {}, open.entmax = 1;
    Tensor const a = attention_weights(q, k, options), seen = dense_scores(q, k, open) > -1e300;
    for (int64_t h = 0; h < 4; ++h) {
      double entropy = 0, count = 0, largest = 0, inequality = 0, distance = 0, rows = 0;
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t i = 0; i < 40; ++i) {
          auto row = a.select(0, b).select(0, h).select(0, i).to_vector<double>();
          auto const visible = seen.select(0, b).select(0, h).select(0, i).to(Dtype::f64).to_vector<double>();
          double mass = 0, n = 0;
          std::vector<double> shown;
          for (size_t j = 0; j < row.size(); ++j) mass += row[j], n += visible[j];
          if (n < 2 || mass == 0) continue;
          double squares = 0, e = 0, top = 0;
          for (size_t j = 0; j < row.size(); ++j) {
            double const p = row[j] / mass;
            if (visible[j] > 0) shown.push_back(p);
            squares += p * p, top = std::max(top, p);
            if (p > 0) e -= p * std::log(p);
            distance += p * std::abs(double(i + 5) - double(j));
          }
          rows += 1, entropy += e, count += 1 / squares, largest += top, inequality += nn::gini(shown);
        }
      CHECK(m.entropy[size_t(h)] == Approx(entropy / rows).epsilon(1e-10));
      CHECK(m.effective_count[size_t(h)] == Approx(count / rows).epsilon(1e-10));
      CHECK(m.largest[size_t(h)] == Approx(largest / rows).epsilon(1e-10));
      CHECK(m.gini[size_t(h)] == Approx(inequality / rows).epsilon(1e-10));
      CHECK(m.distance[size_t(h)] == Approx(distance / rows).epsilon(1e-10));
    }
  }
}

TEST_CASE("least entropy: the bound is met by the scores that it is made for") {
  for (int64_t t : {2, 5, 50})
    for (double sigma : {0.0, 0.5, 3.0, 20.0}) {
      double const n = double(t), high = sigma * std::sqrt((n - 1) / n), low = -sigma / std::sqrt(n * (n - 1));
      double const z = std::exp(high) + (n - 1) * std::exp(low), p = std::exp(high) / z, r = std::exp(low) / z;
      double const entropy = -p * std::log(p) - (n - 1) * r * std::log(r);
      CHECK(nn::least_entropy(sigma, t) == Approx(entropy).epsilon(1e-9));
    }
  CHECK(nn::least_entropy(0, 7) == Approx(std::log(7)));
  CHECK(nn::least_entropy(3, 1) == 0);
}

TEST_CASE("Gini, Jensen-Shannon, Kendall") {
  CHECK(nn::gini({1, 1, 1}) == 0);
  CHECK(nn::gini({0, 0, 0, 5}) == Approx(0.75));
  CHECK(nn::gini({1, 3}) == Approx(0.25));
  CHECK(nn::gini({}) == 0);
  CHECK(nn::jensen_shannon({0.5, 0.5}, {0.5, 0.5}) == 0);
  CHECK(nn::jensen_shannon({1, 0}, {0, 1}) == Approx(std::log(2)));
  CHECK(nn::kendall_tau({1, 2, 3}, {10, 20, 30}) == 1);
  CHECK(nn::kendall_tau({1, 2, 3}, {3, 2, 1}) == -1);
  CHECK(nn::kendall_tau({1, 2, 3, 4}, {1, 2, 4, 3}) == Approx(4 / 6.));
  CHECK(std::isnan(nn::kendall_tau({1, 1}, {1, 2})));
  CHECK(contains(error_of([] { nn::kendall_tau({1}, {1, 2}); }), "length"));
}

TEST_CASE("rank: residuals, similarity, effective and stable rank") {
  Tensor const same = numbers({1, 4}, 1).expand({5, 4}).contiguous(), rows = numbers({3, 5, 4}, 2);
  CHECK(nn::rank_residual(same) < 1e-15);
  CHECK(nn::relative_rank_residual(same) < 1e-15);
  CHECK(nn::relative_rank_residual(zeros({5, 4})) == 0);
  // X − mean = ±1 in one column: ‖·‖₁ = 4 (column sum), ‖·‖_∞ = 1 (row sum).
  Tensor const x = tensor(std::vector<double>{2, 1, 4, 1, 2, 1, 4, 1}, {4, 2});
  CHECK(nn::rank_residual(x) == Approx(2));
  CHECK(nn::relative_rank_residual(x) == Approx(2 / std::sqrt(12. * 5)));
  CHECK(nn::relative_rank_residual(x * 7.0) == Approx(2 / std::sqrt(12. * 5)));  // scale-free
  CHECK(nn::rank_residual(rows + 3.0) == Approx(nn::rank_residual(rows)));       // blind to what all share
  CHECK(nn::token_similarity(same) == Approx(1));
  CHECK(std::abs(nn::token_similarity(eye(4, -1, Dtype::f64))) < 1e-15);
  CHECK(nn::token_similarity(tensor(std::vector<double>{1, 0, -2, 0}, {2, 2})) == Approx(-1));
  CHECK(std::isnan(nn::token_similarity(ones({1, 3}))));
  CHECK(nn::effective_rank(eye(4, -1, Dtype::f64)) == Approx(4));
  CHECK(nn::effective_rank(same) == Approx(1).epsilon(1e-6));
  CHECK(contains(error_of([] { nn::effective_rank(ones({3})); }), "[.., T, C]"));

  CHECK(nn::stable_rank(with_scores(std::vector<double>(36, 0.0), 6, 6))[0] == Approx(1));
  std::vector<double> own(36, -1e4);
  for (size_t i = 0; i < 6; ++i) own[7 * i] = 0;
  CHECK(nn::stable_rank(with_scores(own, 6, 6))[0] == Approx(6));
  nn::AttentionCall const call = call_of(numbers({1, 4, 9, 5}, 1) * 3.0, numbers({1, 2, 9, 5}, 2) * 3.0,
                                         numbers({1, 2, 9, 3}, 3), {.causal = true});
  auto const stable = nn::stable_rank(call, 200);
  Tensor const a = attention_weights(call.q, call.k, call.options).select(0, 0);
  for (int64_t h = 0; h < 4; ++h) {
    Tensor const sigma = svdvals(a.select(0, h).contiguous());
    CHECK(stable[size_t(h)] == Approx(sum(square(sigma)).item() / square(amax(sigma, {0})).item()).epsilon(1e-4));
    CHECK(nn::output_rank(call.result.out)[size_t(h)] ==
          Approx(nn::effective_rank(call.result.out.select(0, 0).select(0, h))).epsilon(1e-9));
  }
  Tensor const y = numbers({1, 4, 9}, 6);
  CHECK(test::differs(nn::transposed_map_times(call, y), matmul(y.unsqueeze(2), a.unsqueeze(0)).squeeze(2), 1e-12) ==
        "");
  auto const alike = nn::head_similarity(numbers({2, 1, 5, 3}, 1).expand({2, 3, 5, 3}));
  for (double s : alike) CHECK(s == Approx(1));
  CHECK(std::abs(nn::head_similarity(eye(2, -1, Dtype::f64).reshape({1, 2, 1, 2}))[0]) < 1e-15);
  CHECK(nn::head_similarity(ones({1, 1, 3, 2}))[0] == 0);
}

TEST_CASE("the catalogue of measures: ranges and readings, and every value of a model within them") {
  nn::GPT model = small_model();
  Tensor const tokens = some_tokens(3, 12);
  nn::Diagnosis const d = nn::diagnose(model, [&] { model(tokens); });
  REQUIRE(d.layers.size() == 2);
  CHECK(d.layers[0].path == "blocks.0.attn");
  CHECK(d.layers[1].heads == 4);
  std::set<std::string_view> names;
  for (size_t m = 0; m < nn::measures().size(); ++m) {
    nn::MeasureRow const& row = nn::measures()[m];
    CAPTURE(row.name);
    CHECK(names.insert(row.name).second);
    CHECK(!row.summary.empty());
    CHECK(!row.source.empty());
    CHECK(!row.reading.empty());
    CHECK(!row.unit.empty());
    CHECK(row.low < row.high);
    for (auto const& layer : d.layers) {
      REQUIRE(layer.values[m].size() == size_t(row.by_head ? 4 : 1));
      for (double value : layer.values[m]) {
        CHECK(std::isfinite(value));
        CHECK(value >= row.low - 1e-9);
        CHECK(value <= row.high + 1e-9);
      }
    }
  }
  CHECK(contains(error_of([&] { d.mean("entropi"); }), "entropy"));
  CHECK(model.training());  // as it was
  CHECK(contains(d.table(), "blocks.1.attn"));

  // Twice the same batch changes no mean.
  nn::Diagnosis const twice = nn::diagnose(model, [&] {
    model(tokens);
    model(tokens);
  });
  CHECK(twice.mean("gini") == Approx(d.mean("gini")));
  double sinks = 0;
  for (auto const& layer : d.layers)
    for (double first : layer.values[nn::measure_index("first-key")]) sinks += first > 0.2 ? 0.125 : 0;
  CHECK(d.sink_rate(0.2) == Approx(sinks));
  CHECK(nn::diagnose(model, [] {}).layers.empty());
}

TEST_CASE("diagnosis: memory grows with T, not with its square") {
  auto const peak = [](int64_t t) {
    seed(3);
    nn::MultiHeadAttention layer({.dim = 16, .heads = 2});
    Tensor const x = numbers({1, t, 16}, 1, Dtype::f32);
    size_t const before = memory_statistics().in_use;
    reset_peak_memory();
    auto const d = nn::diagnose(layer, [&] { layer(x); });
    CHECK(d.layers.size() == 1);
    return double(memory_statistics().peak - before);
  };
  double const one = peak(256), four = peak(1024);
  CHECK(four < 5 * one);
  CHECK(four < 2 * 1024 * 1024 * 4);  // a map of the two heads in f32
}

TEST_CASE("head importance: the first-order cost of a head; a dead head has none") {
  nn::GPT model = small_model();
  Tensor const tokens = some_tokens(1, 8), targets = some_tokens(1, 8);
  auto const loss = [&] { return cross_entropy(model(tokens), targets); };
  auto const importance = nn::head_importance(loss);
  REQUIRE(importance.size() == 2);
  CHECK(importance[1].path == "blocks.1.attn");
  for (size_t l = 0; l < 2; ++l)
    for (int64_t h = 0; h < 4; ++h) {  // the slope of the loss in the head's gate
      auto const gated = [&](double by) {
        NoGrad const off;
        size_t call = 0;
        HookHandle hook = nn::on_attend({}, [&](nn::AttentionCall& c) {
          if (call++ == l)
            c.result.out = c.result.out * (1.0 + (arange(4) == double(h)).to(Dtype::f64).reshape({4, 1, 1}) * by);
        });
        double const value = loss().item();
        hook.remove();
        return value;
      };
      CHECK(importance[l].heads[size_t(h)] == Approx(std::abs(gated(1e-5) - gated(-1e-5)) / 2e-5).epsilon(1e-5));
    }
  HookHandle hook = nn::on_attend({}, [](nn::AttentionCall& c) {
    c.result.out = c.result.out * (arange(4) != 2.0).to(Dtype::f64).reshape({4, 1, 1});
  });
  for (auto const& layer : nn::head_importance(loss)) CHECK(layer.heads[2] == 0);
  hook.remove();
  CHECK(contains(error_of([] { nn::head_importance([] { return ones({}).requires_grad_(); }); }), "attended"));
}

TEST_CASE("rollout: the row of the product of the maps; it sums to 1") {
  nn::GPT model = small_model();
  Tensor const tokens = some_tokens(2, 9);
  NoGrad const off;
  auto const maps = nn::attention_maps([&] { model(tokens); });
  Tensor product = eye(9, -1, Dtype::f64).expand({2, 9, 9});
  for (Tensor const& a : maps) product = matmul((mean(a, {1}) + eye(9, -1, Dtype::f64)) * 0.5, product);
  for (int64_t query : {8, -1, 4, 0}) {
    Tensor const row = nn::attention_rollout([&] { model(tokens); }, query);
    CHECK(test::differs(row.to(Dtype::f64), product.select(1, query < 0 ? 9 + query : query), 1e-6) == "");
    CHECK(test::differs(sum(row, {1}), ones({2}), 1e-6) == "");
  }
  CHECK(contains(error_of([&] { nn::attention_rollout([&] { model(tokens); }, 9); }), "query 9"));
  CHECK(contains(error_of([&] { nn::attention_rollout([] {}); }), "attended"));
}

TEST_CASE("noise sensitivity: of an isometry 1, of a factor the factor") {
  Generator generator(3);
  Tensor const turn = qr(numbers({6, 6}, 1)).q, x = numbers({4, 6}, 2);
  CHECK(nn::noise_sensitivity([&](Tensor const& in) { return matmul(in, turn); }, x, 0.01, 3, generator) == Approx(1));
  CHECK(nn::noise_sensitivity([](Tensor const& in) { return in * 2.5; }, x, 0.01, 3, generator) == Approx(2.5));
  CHECK(nn::noise_sensitivity([](Tensor const& in) { return in * 0.0; }, x, 0.01, 3, generator) == 0);
  CHECK(contains(error_of([&] { nn::noise_sensitivity([](Tensor const& in) { return in; }, x, 0, 3, generator); }),
                 "deviation"));
}

TEST_CASE("token noise: rate 0 changes nothing, the share of changed tokens is the rate, degrees are nested") {
  Generator generator(3);
  Tensor const tokens = zeros({50, 80}, Dtype::i64);
  Tensor last = tokens;
  auto const curve = nn::token_noise_curve(
      [&](Tensor const& noisy) {
        CHECK(sum(((last != 0) & (noisy != last)).to(Dtype::f64)).item() == 0);  // what was noisy stays as it is
        last = noisy;
        return mean((noisy != 0).to(Dtype::f64)).item();
      },
      tokens, 10, {0, 0.1, 0.5, 1}, generator);
  CHECK(curve[0] == 0);
  CHECK(curve[1] == Approx(0.09).epsilon(0.2));
  CHECK(curve[2] == Approx(0.45).epsilon(0.1));
  CHECK(curve[3] == Approx(0.9).epsilon(0.1));
}

TEST_CASE("removing the most-attended key: all that a head on one key has, little of a uniform one") {
  Generator generator(3);
  auto const drop = [&](double sharpness, nn::Deletion deletion = nn::Deletion::key) {
    int64_t const t = 16;
    // Query i looks at key 3 with weight ≈ 1 for a high sharpness; only its value is 1.
    Tensor const q = ones({1, 1, t, 1}, Dtype::f64), at3 = (arange(t) == 3.0).to(Dtype::f64).reshape({1, 1, t, 1});
    return nn::most_attended_drop([&] { return mean(nn::core(q, at3 * sharpness, at3, {.scale = 1}).out).item(); },
                                  generator, deletion);
  };
  auto const token = drop(30, nn::Deletion::token);
  CHECK(token.whole == Approx(1));
  CHECK(token.without == 0);
  CHECK(token.random == Approx(1));
  auto const sharp = drop(30), even = drop(1e-9);
  CHECK(sharp.whole == Approx(1));
  CHECK(sharp.without == 0);
  CHECK(sharp.random == Approx(1));
  CHECK(even.whole == Approx(1 / 16.));
  CHECK(std::abs(even.random - even.whole) < 0.05);
  // A query that sees one key keeps it.
  auto const alone = nn::most_attended_drop(
      [] {
        Tensor const x = ones({1, 1, 1, 2}, Dtype::f64);
        return sum(nn::core(x, x, x, {.causal = true}).out).item();
      },
      generator);
  CHECK(alone.without == 2);
  nn::GPT model = small_model();
  Tensor const tokens = some_tokens(2, 10);
  NoGrad const off;
  auto const evaluate = [&] { return mean(square(model(tokens))).item(); };
  auto const result = nn::most_attended_drop(evaluate, generator);
  CHECK(result.whole == evaluate());  // the hooks are gone
  CHECK(result.without != result.whole);
}

TEST_CASE("integrated gradients: complete; exact for linear and quadratic functions") {
  Tensor const x = numbers({5}, 1), zero = zeros({5}, Dtype::f64), w = numbers({5}, 2);
  auto const linear = nn::integrated_gradients([&](Tensor const& in) { return sum(in * w); }, x, zero, 1);
  CHECK(test::differs(linear.attribution, x * w, 1e-14) == "");
  CHECK(linear.gap < 1e-14);
  auto const square_of = nn::integrated_gradients([](Tensor const& in) { return sum(square(in)); }, x, zero, 3);
  CHECK(test::differs(square_of.attribution, square(x), 1e-14) == "");
  CHECK(square_of.gap < 1e-14);
  auto const curved = nn::integrated_gradients([](Tensor const& in) { return sum(exp(in * 2.0)); }, x, zero, 200);
  CHECK(curved.gap < 1e-3);
  CHECK(curved.gap > 0);
}

TEST_CASE("recall by distance: doubling buckets with intervals") {
  auto const b =
      nn::recall_by_distance({1, 1, 2, 3, 9, 9, 9, 9}, {true, true, true, false, false, false, false, false});
  REQUIRE(b.size() == 3);
  CHECK(b[0].from == 1);
  CHECK(b[0].to == 2);
  CHECK(b[0].recall == 1);
  CHECK(b[0].high == 1);
  CHECK(b[0].low == Approx(0.3424).epsilon(1e-3));  // Wilson for 2 of 2
  CHECK(b[1].recall == 0.5);
  CHECK(b[1].low == Approx(0.0945).epsilon(1e-2));
  CHECK(b[2].from == 8);
  CHECK(b[2].count == 4);
  CHECK(b[2].recall == 0);
  CHECK(b[2].low == 0);
  CHECK(nn::recall_by_distance({}, {}).empty());
  CHECK(contains(error_of([] { nn::recall_by_distance({1}, {}); }), "number"));
}
