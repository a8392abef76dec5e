// The maps that recurrences are of their values: against maps written out, for every kind that runs one, and measured.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/delta.h>
#include <heed/nn/attention/linear_attention.h>
#include <heed/nn/attention/mamba.h>
#include <heed/nn/attention/scan_map.h>
#include <heed/nn/diagnose/diagnose.h>
#include <heed/nn/diagnose/map_measures.h>
#include <heed/nn/diagnose/robustness.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace heed;
using doctest::Approx;
using test::differs;
using test::numbers;

namespace {

constexpr int64_t batch = 2, dim = 16, heads = 4, length = 13;

nn::AttentionConfig config_of(int64_t kv_heads = heads) {
  return {.dim = dim, .heads = heads, .kv_heads = kv_heads, .causal = true, .block = 32, .layer = 1, .layers = 3};
}
/// Parameters of order 1, in f64.
void enliven(nn::Module& layer) {
  nn::to(layer, Dtype::f64);
  NoGrad const off;
  uint32_t key = 50;
  for (auto& [name, p] : nn::named_parameters(layer)) p.copy_(numbers(p.shape(), ++key) * 0.7);
  nn::eval(layer);
}
std::vector<nn::ScanCall> calls_of(nn::Attention const& layer, Tensor const& x) {
  NoGrad const off;
  std::vector<nn::ScanCall> calls;
  HookHandle hook = nn::on_scan([&](nn::ScanCall const& call) { calls.push_back(call); });
  layer(x);
  hook.remove();
  return calls;
}
/// x [B, G, ..] for each of `all` heads.
Tensor spread(Tensor const& x, int64_t all) { return x.size(1) == all ? x : repeat_interleave(x, all / x.size(1), 1); }
/// The same with every channel a head, of values and results of width 1.
nn::ScanCall by_channel(nn::ScanCall call) {
  auto const apart = [](Tensor const& x) { return nn::join_heads(x).transpose(1, 2).unsqueeze(-1); };
  call.v = apart(call.v), call.out = apart(call.out);
  return call;
}

}  // namespace

TEST_CASE("scan maps: of every kind with a recurrence, times its values, are what the recurrence gives") {
  Tensor const x = numbers({batch, length, dim}, 3);
  std::set<std::string> kinds;
  // Kinds whose rows sum to 1, and what they give is the map times v.
  std::set<std::string> const means{"linear", "performer", "based", "efficient", "hedgehog", "aft", "rwkv4"};
  for (nn::AttentionRow const& row : nn::attentions()) {
    std::string const text(row.small.empty() ? row.name : row.small);
    if (row.family != "linear" || !nn::traits_of(text).causal) continue;
    auto const layer = nn::make_attention(text, config_of());
    enliven(*layer);
    for (nn::ScanCall const& told : calls_of(*layer, x)) {
      kinds.insert(std::string(row.name));
      INFO(text);
      bool const channels = told.channels() > told.out.size(1);
      nn::ScanCall const call = channels ? by_channel(told) : told;
      Tensor const a = nn::scan_map_rows(call, 0, length, false), shares = nn::scan_map_rows(call, 0, length, true);
      CHECK(differs(triu(a, 1), zeros_like(a), 1e-300) == "");
      Tensor const mass = sum(shares, {3});
      CHECK(differs(where(mass > 0.5, mass, 1.0), ones_like(mass), 1e-12) == "");
      // Block by block.
      std::vector<Tensor> blocks;
      for (int64_t at = 0; at < length; at += 5)
        blocks.push_back(nn::scan_map_rows(call, at, std::min(at + 5, length), false));
      CHECK(differs(cat(blocks, 2), a, 1e-12) == "");
      if (channels) {  // a head is the mean of its channels
        Tensor const each = shares.reshape({batch, heads, -1, length, length});
        CHECK(differs(nn::scan_map_rows(told, 0, length, true), mean(each, {2}), 1e-12) == "");
      }
      if (call.steps > 1) continue;  // values of several steps meet in one number there

      int64_t const all = a.size(1);
      Tensor v = spread(call.v, all), given = v;
      if (call.weight.defined()) given = given * call.weight.unsqueeze(-1);
      nn::ScanCall fresh = call;
      fresh.options.initial = {};
      Tensor y = naive::scan(call.q, call.k, given, fresh.options).out;
      if (call.gain.defined()) y = y * call.gain.unsqueeze(-1);
      if (call.own.defined()) y = y + v * call.own.unsqueeze(-1);
      CHECK(differs(matmul(a, v), y, 1e-10) == "");
      // The layer said what it did: kinds that add a skip or gate afterwards aside, that is its result.
      if (row.name != "mamba2" && (!channels || row.name == "mingru" || row.name == "rg-lru"))
        CHECK(differs(y, call.out, 1e-10) == "");
      if (means.count(std::string(row.name))) CHECK(differs(sum(a, {3}), ones_like(mass), 1e-9) == "");
    }
  }
  for (char const* kind : {"linear", "performer",   "based",     "retnet",    "gla",      "mamba",        "mamba2",
                           "delta",  "gated-delta", "kda",       "gdn2",      "comba",    "deltaproduct", "mlstm",
                           "rwkv4",  "rwkv6",       "rwkv7",     "s4d",       "aft",      "hgrn2",        "lightning",
                           "mingru", "rg-lru",      "efficient", "cosformer", "hedgehog", "dpfp"}) {
    INFO(kind);
    CHECK(kinds.count(kind) == 1);
  }
}

TEST_CASE("scan maps: linear attention's is φ(q)·φ(k)ᵀ over its sums, causal or not, keys shared by heads") {
  Tensor const x = numbers({batch, length, dim}, 4);
  for (bool causal : {true, false})
    for (int64_t groups : {heads, int64_t{1}}) {
      nn::AttentionConfig config = config_of(groups);
      config.causal = causal;
      nn::LinearAttention layer(config, {});
      enliven(layer);
      Tensor map;
      {
        NoGrad const off;
        auto const maps = nn::attention_maps([&] { layer(x); });
        REQUIRE(maps.size() == 1);
        map = maps[0];
      }
      NoGrad const off;
      auto const phi = [](Tensor const& t) { return elu(t) + 1; };
      Tensor const q = phi(nn::split_heads(layer.q_proj(x), heads));
      Tensor const k = spread(phi(nn::split_heads(layer.k_proj(x), groups)), heads);
      Tensor kernel = matmul(q, k.t());
      if (causal) kernel = tril(kernel);
      CHECK(differs(map, kernel / sum(kernel, {3}, true), 1e-11) == "");
    }
}

TEST_CASE("scan maps: the delta rule's is tril(Q·Kᵀ)·(1 + tril(diag(β)·K·Kᵀ, −1))⁻¹·diag(β)") {
  NoGrad const off;
  Tensor const x = numbers({batch, length, dim}, 5);
  nn::DeltaRule layer(config_of(), {.around = {}});
  enliven(layer);
  auto const maps = nn::attention_maps([&] { layer(x); });
  REQUIRE(maps.size() == 1);
  Tensor const q = nn::unit(nn::split_heads(layer.q_proj(x), heads));
  Tensor const k = nn::unit(nn::split_heads(layer.k_proj(x), heads));
  Tensor const beta = sigmoid(nn::by_head(layer.beta(x)));
  Tensor const one = eye(length, -1, Dtype::f64);
  // Writes u solve (1 + tril(diag(β)·K·Kᵀ, −1))·u = diag(β)·v.
  Tensor const triangle = one + tril(beta.unsqueeze(-1) * matmul(k, k.t()), -1);
  Tensor const want = matmul(tril(matmul(q, k.t())), matmul(inv(triangle), beta.unsqueeze(-1) * one));
  CHECK(differs(maps[0], want, 1e-11) == "");
}

TEST_CASE("scan maps: a state space's is C_i·(decays)·B_j·Δ_j, the mean over the channels of a head") {
  NoGrad const off;
  Tensor const x = numbers({1, length, dim}, 6);
  nn::Mamba layer(config_of(), {.state = 3, .around = {.expand = 2}});
  enliven(layer);
  auto const maps = nn::attention_maps([&] { layer(x); });
  REQUIRE(maps.size() == 1);
  Tensor const u = layer.in_proj(x), step = softplus(layer.rate(layer.rate_in(u)) + layer.rate_bias).select(0, 0);
  Tensor const b = layer.b(u).select(0, 0), c = layer.c(u).select(0, 0), a = exp(layer.log_a);
  Tensor const total = cumsum(step, 0);  // [T, C]
  Tensor want = zeros({heads, length, length}, Dtype::f64);
  int64_t const each = 2 * dim / heads;
  for (int64_t i = 0; i < length; ++i)
    for (int64_t j = 0; j <= i; ++j) {
      Tensor const decay = exp(-((total.select(0, i) - total.select(0, j)).unsqueeze(-1) * a));  // [C, N]
      Tensor const weight = sum(decay * (c.select(0, i) * b.select(0, j)), {1}) * step.select(0, j);
      want.slice(1, i, i + 1).slice(2, j, j + 1).copy_(mean(weight.reshape({heads, each}), {1}).reshape({heads, 1, 1}));
    }
  CHECK(differs(maps[0].select(0, 0), want, 1e-11) == "");
}

TEST_CASE("scan maps: equal features are a uniform head; a decay that forgets all is a head of one key") {
  NoGrad const off;
  Tensor const x = numbers({1, length, dim}, 7);
  nn::LinearAttention layer(config_of(), {});
  enliven(layer);
  layer.q_proj.weight.fill_(0.), layer.k_proj.weight.fill_(0.);
  auto const calls = calls_of(layer, x);
  REQUIRE(calls.size() == 1);
  nn::MapMeasures const m = nn::measure_maps(calls[0]);
  double logs = 0, distance = 0, first = 0;
  for (int64_t n = 2; n <= length; ++n) logs += std::log(double(n)), distance += double(n - 1) / 2;
  for (int64_t n = 1; n <= length; ++n) first += 1 / double(n);
  for (size_t h = 0; h < size_t(heads); ++h) {
    CHECK(m.entropy_share[h] == Approx(1));
    CHECK(m.entropy[h] == Approx(logs / double(length - 1)));
    CHECK(m.distance[h] == Approx(distance / double(length - 1)));
    CHECK(m.first_key[h] == Approx(first / double(length)));
  }
  nn::ScanCall own = calls[0];
  own.gain = {};
  own.options.decay = full({1, heads, length}, -1e4, Dtype::f64);
  nn::MapMeasures const one = nn::measure_maps(own);
  CHECK(one.effective_count[0] == Approx(1));
  CHECK(one.largest[0] == Approx(1));
  CHECK(one.distance[0] == Approx(0));
}

TEST_CASE("scan maps: diagnose() measures recurrences beside attention, from the same maps that one can look at") {
  NoGrad const off;
  auto const tokens = [] {
    Generator generator(5);
    return randint(0, 11, {2, 12}, generator);
  }();
  for (char const* kind : {"delta", "mamba:state=4", "deltaproduct", "rwkv4", "multi-head"}) {
    seed(7);
    nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 4, .dim = 16, .block = 12, .attention = kind});
    nn::to(model, Dtype::f64);
    INFO(kind);
    nn::Diagnosis const d = nn::diagnose(model, [&] { model(tokens); });
    REQUIRE(d.layers.size() == 2);
    CHECK(d.layers[0].path == "blocks.0.attn");
    CHECK(d.layers[0].heads == 4);
    bool const attends = std::string(kind) == "multi-head";
    for (nn::MeasureRow const& row : nn::measures())
      for (size_t l = 0; l < 2; ++l)
        for (size_t h = 0; h < 4; ++h) {
          INFO(row.name);
          double const value = d.value(l, h, row.name);
          if (row.name == "stable-rank" && !attends) {
            CHECK(std::isnan(value));
            continue;
          }
          CHECK(value >= row.low - 1e-9);
          CHECK(value <= row.high + 1e-9);
        }
    auto const maps = nn::attention_maps([&] { model(tokens); }, true);
    REQUIRE(maps.size() == 2);
    if (attends) continue;
    for (size_t l = 0; l < 2; ++l) {
      Tensor const p = maps[l].slice(2, 1, 12), logs = where(p > 0.0, log(where(p > 0.0, p, 1.0)), 0.0);
      Tensor const apart = abs(arange(1, 12).unsqueeze(1) - arange(12)).to(Dtype::f64);
      auto const entropy = (-sum(p * logs, {0, 2, 3}) / 22).to_vector<double>();
      auto const distance = (sum(p * apart, {0, 2, 3}) / 22).to_vector<double>();
      for (size_t h = 0; h < 4; ++h) {
        CHECK(d.value(l, h, "entropy") == Approx(entropy[h]).epsilon(1e-9));
        CHECK(d.value(l, h, "distance") == Approx(distance[h]).epsilon(1e-9));
      }
    }
    Generator generator(1);
    auto const drop = nn::most_attended_drop([] { return 1.; }, generator, nn::Deletion::token);
    CHECK(std::isnan(drop.without));
  }
}

TEST_CASE("scan maps: memory grows with T, not with its square") {
  auto const peak = [](int64_t t) {
    NoGrad const off;
    seed(3);
    nn::DeltaRule layer({.dim = 16, .heads = 2}, {.around = {}});
    Tensor const x = numbers({1, t, 16}, 1, Dtype::f32);
    size_t const before = memory_statistics().in_use;
    reset_peak_memory();
    auto const d = nn::diagnose(layer, [&] { layer(x); });
    CHECK(d.layers.size() == 1);
    return double(memory_statistics().peak - before);
  };
  CHECK(peak(512) < 5 * peak(128));
}
