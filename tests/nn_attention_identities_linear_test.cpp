// What proves the linear and recurrent kinds of attention that are no other kind's special case.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/based.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/attention/comba.h>
#include <heed/nn/attention/cosformer.h>
#include <heed/nn/attention/delta.h>
#include <heed/nn/attention/dpfp.h>
#include <heed/nn/attention/efficient.h>
#include <heed/nn/attention/gdn2.h>
#include <heed/nn/attention/hedgehog.h>
#include <heed/nn/attention/linear_attention.h>
#include <heed/nn/attention/mamba2.h>
#include <heed/nn/attention/performer.h>
#include <heed/nn/position/rope.h>
#include <heed/tests/support/op_case.h>

#include <cmath>
#include <numbers>

using namespace heed;
using test::numbers;

namespace {

constexpr int64_t batch = 2, dim = 12, heads = 3;

nn::AttentionConfig config_of(bool causal, int64_t kv_heads = heads) {
  return {.dim = dim, .heads = heads, .kv_heads = kv_heads, .causal = causal, .block = 32};
}

double difference(Tensor const& a, Tensor const& b) { return max(abs(a - b)).item(); }

/// Parameters of order 1, in f64.
template <class Module>
void enliven(Module& layer) {
  nn::to(layer, Dtype::f64);
  NoGrad const off;
  uint32_t key = 50;
  for (auto& [name, p] : nn::named_parameters(layer)) p.copy_(numbers(p.shape(), ++key) * 0.7);
  nn::eval(layer);
}

struct Heads {
  Tensor q, k, v;
};
/// What a layer without convolution projects x to, every head with its own keys.
Heads heads_of(nn::ScanAttention const& layer, Tensor const& x) {
  auto const spread = [&](Tensor const& t, int64_t of) {
    return repeat_interleave(nn::split_heads(t, of), heads / of, 1);
  };
  int64_t const groups = layer.config.kv_heads;
  return {nn::split_heads(layer.q_proj(x), heads), spread(layer.k_proj(x), groups), spread(layer.v_proj(x), groups)};
}

/// Σ_j kernel_ij·v_j / Σ_j kernel_ij over j ≤ i, or all j; 0 where the kernel is.
Tensor dense(nn::ScanAttention const& layer, Tensor kernel, Tensor const& v) {
  if (layer.config.causal) kernel = tril(kernel);
  return layer.out_proj(nn::join_heads(matmul(kernel, v) / clamp_min(sum(kernel, {-1}, true), 1e-6)));
}

}  // namespace

TEST_CASE("linear: is dense attention with the kernel of its features") {
  NoGrad const off;
  Tensor const x = numbers({batch, 37, dim}, 1);
  for (bool const causal : {true, false})
    for (int64_t const groups : {heads, int64_t{1}}) {
      nn::LinearAttention layer(config_of(causal, groups), {});
      enliven(layer);
      auto const [q, k, v] = heads_of(layer, x);
      CHECK(difference(layer(x), dense(layer, matmul(elu(q) + 1, (elu(k) + 1).t()), v)) < 1e-12);
    }
}

TEST_CASE("linear: rotary positions turn the numerator alone") {
  NoGrad const off;
  auto const layer = nn::make_attention("linear+rope", config_of(true));
  enliven(*layer);
  Tensor const x = numbers({batch, 9, dim}, 2);
  auto const& scan = dynamic_cast<nn::ScanAttention const&>(*layer);
  auto const [q, k, v] = heads_of(scan, x);
  Tensor const a = elu(q) + 1, b = elu(k) + 1;
  Tensor const turned = tril(matmul(nn::rope(a), nn::rope(b).t())), plain = tril(matmul(a, b.t()));
  Tensor const want = scan.out_proj(nn::join_heads(matmul(turned, v) / sum(plain, {-1}, true)));
  CHECK(difference((*layer)(x), want) < 1e-12);
  CHECK(!test::error_of([&] { (*nn::make_attention("linear+alibi", config_of(true)))(x.to(Dtype::f32)); }).empty());
}

TEST_CASE("performer: features give exp(q·k/√D) on average, with an error ∝ 1/√m") {
  NoGrad const off;
  seed(11);
  Tensor const q = numbers({1, heads, 5, dim / heads}, 3), k = numbers({1, heads, 6, dim / heads}, 4);
  Tensor const want = exp(matmul(q, k.t()) * (1 / std::sqrt(double(dim / heads))));
  auto const squared_error = [&](int64_t m, int draws, double& bias_in_errors) {
    Tensor first = zeros_like(want), second = zeros_like(want);
    for (int i = 0; i < draws; ++i) {
      nn::Performer const layer(config_of(true), {.features = m});
      Tensor const error = matmul(layer.phi(q, false), layer.phi(k, false).t()) - want;
      first = first + error;
      second = second + square(error);
    }
    Tensor const mean_error = first * (1. / draws), standard = sqrt(second) * (1. / draws);
    bias_in_errors = max(abs(mean_error) / standard).item();
    return (sum(second) * (1. / draws)).item();
  };
  double bias_few = 0, bias_many = 0;
  double const few = squared_error(8, 400, bias_few), many = squared_error(128, 400, bias_many);
  CHECK(bias_few < 5);
  CHECK(bias_many < 5);
  CHECK(std::sqrt(few / many) == doctest::Approx(4).epsilon(0.15));
}

TEST_CASE("performer: is dense attention with the kernel of its features") {
  NoGrad const off;
  Tensor const x = numbers({batch, 21, dim}, 5);
  for (bool const causal : {true, false}) {
    nn::Performer layer(config_of(causal), {.features = 7});
    enliven(layer);
    auto const [q, k, v] = heads_of(layer, x);
    CHECK(difference(layer(x), dense(layer, matmul(layer.phi(q, false), layer.phi(k, false).t()), v)) < 1e-10);
  }
}

TEST_CASE("based: is dense attention with the kernel 1 + s + s²/2") {
  NoGrad const off;
  Tensor const x = numbers({batch, 21, dim}, 6);
  for (bool const causal : {true, false}) {
    nn::Based layer(config_of(causal), {.features = 5});
    enliven(layer);
    auto const [q, k, v] = heads_of(layer, x);
    Tensor const s = matmul(q, k.t()) * (1 / std::sqrt(5.));
    CHECK(difference(layer(x), dense(layer, 1 + s + square(s) * 0.5, v)) < 1e-11);
  }
}

TEST_CASE("dpfp: is dense attention with the kernel of its features, which are products of neighbours") {
  NoGrad const off;
  Tensor const features = nn::dpfp_features(tensor({1, -2, 3}), 2);
  CHECK(equal(features, tensor({0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 6, 0})));  // r = 1 0 3 0 2 0
  Tensor const x = numbers({batch, 21, dim}, 8);
  for (bool const causal : {true, false}) {
    nn::Dpfp layer(config_of(causal), {.nu = 2});
    enliven(layer);
    auto const [q, k, v] = heads_of(layer, x);
    CHECK(difference(layer(x), dense(layer, matmul(nn::dpfp_features(q, 2), nn::dpfp_features(k, 2).t()), v)) < 1e-10);
  }
}

TEST_CASE("efficient: is dense with rows that sum to 1") {
  NoGrad const off;
  Tensor const x = numbers({batch, 21, dim}, 30);
  for (bool const causal : {true, false}) {
    nn::EfficientAttention layer(config_of(causal), {});
    enliven(layer);
    auto const [q, k, v] = heads_of(layer, x);
    Tensor const total = causal ? cumsum(exp(k), 2) : sum(exp(k), {2}, true);
    Tensor weights = matmul(softmax(q) / total, exp(k).t());
    if (causal) weights = tril(weights);
    CHECK(max(abs(sum(weights, {-1}) - 1.)).item() < 1e-12);
    CHECK(difference(layer(x), layer.out_proj(nn::join_heads(matmul(weights, v)))) < 1e-12);
  }
}

TEST_CASE("cosformer: is dense attention with the kernel relu(q)·relu(k)·cos(π/2·(i − j)/M)") {
  NoGrad const off;
  int64_t const t = 21;
  Tensor const x = numbers({batch, t, dim}, 31), at = arange(t).to(Dtype::f64);
  Tensor const weight = cos((at.unsqueeze(1) - at) * (std::numbers::pi / 2 / 24));
  for (bool const causal : {true, false}) {
    nn::CosFormer layer(config_of(causal), {.reach = 24});
    enliven(layer);
    auto const [q, k, v] = heads_of(layer, x);
    CHECK(difference(layer(x), dense(layer, matmul(relu(q), relu(k).t()) * weight, v)) < 1e-11);
    CHECK(!test::error_of([&] { layer(numbers({1, 25, dim}, 1)); }).empty());
  }
}

TEST_CASE("hedgehog: is dense attention with the kernel of softmax([x·W, −x·W])") {
  NoGrad const off;
  Tensor const x = numbers({batch, 21, dim}, 32);
  for (bool const causal : {true, false}) {
    nn::Hedgehog layer(config_of(causal), {});
    enliven(layer);
    auto const [q, k, v] = heads_of(layer, x);
    auto const phi = [](Tensor const& a, Tensor const& w) {
      Tensor const y = exp(matmul(a, w)), z = 1. / y;
      return cat({y, z}, -1) / (sum(y, {-1}, true) + sum(z, {-1}, true));
    };
    Tensor const kernel = matmul(phi(q, layer.q_map), phi(k, layer.k_map).t());
    CHECK(difference(layer(x), dense(layer, kernel, v)) < 1e-11);
  }
}

TEST_CASE("t2r: is dense attention with the kernel of relu(x·W + b), and starts as relu") {
  NoGrad const off;
  Tensor const x = numbers({batch, 21, dim}, 33);
  for (bool const causal : {true, false})
    for (bool const start : {true, false}) {
      nn::TransformerToRnn layer(config_of(causal), {});
      nn::to(layer, Dtype::f64);
      if (!start) enliven(layer);
      nn::eval(layer);
      auto const [q, k, v] = heads_of(layer, x);
      Tensor const a = start ? q : matmul(q, layer.q_map) + layer.q_bias;
      Tensor const b = start ? k : matmul(k, layer.k_map) + layer.k_bias;
      CHECK(difference(layer(x), dense(layer, matmul(relu(a), relu(b).t()), v)) < 1e-10);
    }
}

TEST_CASE("mamba2: is (L ∘ C·Bᵀ)·X, L the products of decays") {
  NoGrad const off;
  int64_t const t = 19, inner = 2 * dim;
  Tensor const x = numbers({batch, t, dim}, 7);
  nn::Mamba2 layer(config_of(true), {.state = 6, .conv = 0});
  enliven(layer);
  Tensor const delta = layer.step.delta(x);  // [B, H, T]
  Tensor const total = cumsum(layer.step.decay(delta), 2);
  Tensor const l = exp(where(tril(ones({t, t}, Dtype::f64)) > 0., total.unsqueeze(3) - total.unsqueeze(2), -INFINITY));
  Tensor const cb = matmul(layer.q_proj(x), layer.k_proj(x).t()).unsqueeze(1);
  Tensor const v = nn::split_heads(layer.v_proj(x), heads);
  Tensor const y =
      nn::join_heads(matmul(l * cb, v * delta.unsqueeze(-1)) + layer.skip.view({heads, 1, 1}) * v) * silu(layer.z(x));
  CHECK(y.size(2) == inner);
  CHECK(difference(layer(x), layer.out_proj(rms_norm(y, layer.weight))) < 1e-11);
}

TEST_CASE("delta: recalls exactly under orthonormal keys, and is then a sum") {
  NoGrad const off;
  int64_t const width = 8;
  nn::AttentionConfig const config{.dim = width, .heads = 1, .causal = true};
  nn::DeltaRule layer(config, {.around = {}});
  nn::LinearAttention sums(config, {.map = "identity", .normalize = false});
  enliven(layer);
  enliven(sums);
  Tensor const same = eye(width, width, Dtype::f64);
  for (nn::ScanAttention* of : std::initializer_list<nn::ScanAttention*>{&layer, &sums}) {
    for (Tensor* weight : {&of->q_proj.weight, &of->k_proj.weight, &of->out_proj.weight}) weight->copy_(same);
    of->v_proj.weight.copy_(numbers({width, width}, 9));
  }
  layer.beta.weight.fill_(1000);  // β = 1
  Tensor const again = tensor(std::vector<int64_t>{3, 1, 7, 3, 0}, {5});
  Tensor const x = cat({same, index_select(same, 0, again)}, 0).unsqueeze(0);
  Tensor const y = layer(x).select(0, 0);
  CHECK(difference(y, layer.v_proj(x).select(0, 0)) < 1e-9);
  // A sum scales its queries by 1/√D.
  Tensor const first = same.unsqueeze(0);
  CHECK(difference(layer(first), sums(first) * std::sqrt(double(width))) < 1e-9);
}

TEST_CASE("delta: a query that runs back through the transitions weighs the values as the state does") {
  NoGrad const off;
  int64_t const t = 12, d = 5, e = 4;
  Tensor const k = numbers({batch, 1, t, d}, 20), v = numbers({batch, 1, t, e}, 21), q = numbers({batch, 1, 1, d}, 22);
  Tensor const beta = sigmoid(numbers({batch, 1, t}, 23));
  Tensor const want = matmul(q, delta_scan(zeros_like(k), k, v, beta).state);
  Tensor const back = flip(k, {2}), share = flip(beta, {2}).unsqueeze(-1);
  Tensor const r = scan(back, zeros_like(k), zeros({batch, 1, t, 1}, Dtype::f64),
                        {.a = -(back * share), .b = back, .initial = q.t(), .inclusive = false})
                       .out;
  CHECK(difference(matmul(flip(r * share, {2}).t(), v), want) < 1e-12);
}

namespace {

/// Σ_t of heads' states by a transition, S ← step(S, t), read by q: [B, H, T, E].
template <class Step>
Tensor looped(Tensor const& q, int64_t width, Step const& step) {
  Tensor state = zeros({batch, heads, q.size(3), width}, Dtype::f64);
  std::vector<Tensor> out;
  for (int64_t t = 0; t < q.size(2); ++t) {
    state = step(state, t);
    out.push_back(matmul(q.select(2, t).unsqueeze(-2), state).squeeze(-2));
  }
  return stack(out, 2);
}
Tensor column(Tensor const& x, int64_t t) { return x.select(2, t).unsqueeze(-1); }

}  // namespace

TEST_CASE("gdn2: is its loop, and kda where both gates are one β of each head") {
  NoGrad const off;
  Tensor const x = numbers({batch, 13, dim}, 14);
  nn::FeatureDecayDelta::Config const plain{.rank = 3, .around = {}};
  nn::GatedDelta2 layer(config_of(true), plain);
  enliven(layer);
  auto const [q0, k0, v] = heads_of(layer, x);
  Tensor const q = nn::unit(q0), k = nn::unit(k0);
  Tensor const keep =
      exp(-exp(layer.log_a) * nn::split_heads(softplus(layer.rate(layer.rate_in(x)) + layer.rate_bias), heads));
  Tensor const b = sigmoid(nn::split_heads(layer.erase(x), heads)), w = sigmoid(nn::split_heads(layer.write(x), heads));
  Tensor const y = looped(q, dim / heads, [&](Tensor const& state, int64_t t) {
    Tensor const kept = column(keep, t) * state, read = matmul((column(b * k, t)).t(), kept);
    return kept - column(k, t) * read + column(k, t) * column(w * v, t).t();
  });
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(y))) < 1e-11);

  nn::KimiDelta kda(config_of(true), plain);
  enliven(kda);
  for (auto& [name, p] : nn::named_parameters(kda))
    for (auto& [other, own] : nn::named_parameters(layer))
      if (name == other) own.copy_(p);
  for (nn::Linear* gate : {&layer.erase, &layer.write})
    gate->weight.copy_(repeat_interleave(kda.beta.weight, dim / heads, 0));
  CHECK(difference(layer(x), kda(x)) < 1e-12);
}

TEST_CASE("comba: is its loop: the error is fed back by a gain of its own, before the state decays") {
  NoGrad const off;
  Tensor const x = numbers({batch, 13, dim}, 15);
  nn::Comba layer(config_of(true), {.around = {}});
  enliven(layer);
  auto const [q0, k0, v] = heads_of(layer, x);
  Tensor const k = nn::unit(k0), q = nn::unit(q0) - k * layer.correction, p = sigmoid(layer.feedback) * k;
  Tensor const beta = sigmoid(nn::by_head(layer.beta(x))).unsqueeze(-1);
  Tensor const keep = exp(layer.step.decay(layer.step.delta(x))).unsqueeze(-1);
  Tensor const y = looped(q, dim / heads, [&](Tensor const& state, int64_t t) {
    Tensor const error = column(v, t).t() - matmul(column(p, t).t(), state);
    return column(keep, t) * state + column(beta * k, t) * error;
  });
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(y))) < 1e-11);
}

TEST_CASE("linear kinds: gradients pass through the state, wherever a sequence is split") {
  Tensor const x = numbers({batch, 13, dim}, 12), weights = numbers({batch, 13, dim}, 13);
  for (nn::AttentionRow const& row : nn::attentions()) {
    if (row.family != "linear") continue;
    std::string const text(row.small.empty() ? row.name : row.small);
    nn::Traits const traits = nn::traits_of(text);
    if (!traits.causal || !traits.steps) continue;
    INFO(text);
    auto const layer = nn::make_attention(text, config_of(true));
    enliven(*layer);
    std::vector<std::vector<Tensor>> slopes;
    for (std::vector<int64_t> const& pieces : {std::vector<int64_t>{13}, {5, 8}, {1, 2, 10}, {12, 1}}) {
      nn::zero_grad(*layer);
      Tensor const own = x.detach().clone().requires_grad_();
      auto const state = layer->make_state(13);
      std::vector<Tensor> parts;
      int64_t at = 0;
      for (int64_t const n : pieces) {
        parts.push_back((*layer)(own.slice(1, at, at + n), {.state = state.get()}));
        at += n;
      }
      sum(cat(parts, 1) * weights).backward();
      std::vector<Tensor> got{own.grad()};
      for (Tensor const& p : nn::parameters(*layer)) got.push_back(p.grad().defined() ? p.grad() : zeros_like(p));
      slopes.push_back(got);
    }
    for (size_t s = 1; s < slopes.size(); ++s)
      for (size_t i = 0; i < slopes[s].size(); ++i) CHECK(difference(slopes[s][i], slopes[0][i]) < 1e-9);
  }
}
