// What proves the gated and recurrent kinds of attention: each beside its formula, written out.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/aft.h>
#include <heed/nn/attention/gated_recurrence.h>
#include <heed/nn/attention/gated_states.h>
#include <heed/nn/attention/infini.h>
#include <heed/nn/attention/mamba.h>
#include <heed/nn/attention/mlstm.h>
#include <heed/nn/attention/recurrent.h>
#include <heed/nn/attention/rwkv.h>
#include <heed/nn/attention/s4d.h>
#include <heed/tests/support/gradcheck.h>

#include <cmath>

using namespace heed;
using test::numbers;

namespace {

constexpr int64_t batch = 2, dim = 12, heads = 3, length = 17;

nn::AttentionConfig config_of() { return {.dim = dim, .heads = heads, .causal = true, .layer = 1, .layers = 3}; }
Tensor sample(uint32_t key) { return numbers({batch, length, dim}, key); }
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

/// x with each position replaced by the one before, the first by zeros.
Tensor shifted(Tensor const& x) { return cat({zeros_like(x.slice(1, 0, 1)), x.slice(1, 0, length - 1)}, 1); }

/// Σ_{s ≤ t − lag} (q_t∘exp(P_{t−lag} − P_s))·k_s·v_s, P the sums of log decays [B, H, T, D].
Tensor decayed(Tensor const& q, Tensor const& k, Tensor const& v, Tensor const& decay, int64_t lag) {
  Tensor const total = cumsum(decay, 2);
  Tensor const until = lag == 0 ? total : total - decay;
  return matmul(tril(matmul(q * exp(until), (k * exp(-total)).t()), -lag), v);
}

Tensor in_heads(Tensor const& x) { return nn::split_heads(x, heads); }
/// [B, T, C] → [B, C, T]
Tensor channels(Tensor const& x) { return x.transpose(1, 2); }

}  // namespace

TEST_CASE("infini: softmax within the segment and a linear memory of those before, by the gate") {
  NoGrad const off;
  Tensor const x = sample(15);
  nn::InfiniAttention layer(config_of(), {.segment = 5});
  enliven(layer);
  Tensor const q = in_heads(layer.q_proj(x)), k = in_heads(layer.k_proj(x)), v = in_heads(layer.v_proj(x));
  Tensor const segment = arange(length).to(Dtype::f64) * (1. / 5), own = floor(segment);
  Tensor const earlier = (own.unsqueeze(1) > own).to(Dtype::f64), same = own.unsqueeze(1) == own;
  Tensor const scores = matmul(q, k.t()) * (1 / std::sqrt(double(dim / heads)));
  Tensor const at = arange(length), sees = same & (at.unsqueeze(1) >= at);
  Tensor const near = matmul(softmax(where(sees, scores, -INFINITY)), v);
  Tensor const kernel = matmul(elu(q) + 1, (elu(k) + 1).t()) * earlier;
  Tensor const far = matmul(kernel, v) / clamp_min(sum(kernel, {-1}, true), 1e-6);
  Tensor const share = sigmoid(layer.gate).view({heads, 1, 1});
  Tensor const y = far * share + near * (1. - share);
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(y))) < 1e-12);
}

TEST_CASE("mlstm: sums relative to a maximum are the raw ones") {
  NoGrad const off;
  Tensor const x = sample(1);
  nn::MatrixLstm layer(config_of(), {.around = {}});
  enliven(layer);
  Tensor const q = in_heads(layer.q_proj(x)), k = in_heads(layer.k_proj(x)), v = in_heads(layer.v_proj(x));
  Tensor const gain = channels(layer.input(x)), total = cumsum(log_sigmoid(channels(layer.forget(x))), 2);
  Tensor const weight = exp(total.unsqueeze(3) - total.unsqueeze(2) + gain.unsqueeze(2));
  Tensor const c = tril(weight * matmul(q, k.t()) * (1 / std::sqrt(double(dim / heads))));
  Tensor const y = matmul(c, v) / clamp_min(abs(sum(c, {-1}, true)), 1.);
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(y))) < 1e-11);
}

TEST_CASE("rwkv4: sums relative to a maximum are the raw ones") {
  NoGrad const off;
  Tensor const x = sample(2), before = shifted(x);
  nn::Rwkv4 layer(config_of(), {});
  enliven(layer);
  auto const mixed = [&](nn::TokenShift const& shift) { return x * (1. - shift.share) + before * shift.share; };
  Tensor const r = sigmoid(layer.r_proj(mixed(layer.r_shift)));
  Tensor const k = channels(layer.k_proj(mixed(layer.k_shift))), v = channels(layer.in_proj(x));
  Tensor const at = arange(length).to(Dtype::f64), distance = at.unsqueeze(1) - at - 1.;
  Tensor const w = exp(layer.log_decay).unsqueeze(-1).unsqueeze(-1);
  Tensor const past = tril(exp(k.unsqueeze(2) - w * distance), -1), present = exp(k + layer.bonus.unsqueeze(-1));
  Tensor const above = matmul(past, v.unsqueeze(-1)).squeeze(-1) + present * v, below = sum(past, {-1}) + present;
  CHECK(difference(layer(x), layer.out_proj(r * channels(above / below))) < 1e-11);
}

TEST_CASE("rwkv6: the state before the present, and a bonus for it") {
  NoGrad const off;
  Tensor const x = sample(3), before = shifted(x);
  nn::Rwkv6 layer(config_of(), {.rank = 5, .around = {}});
  enliven(layer);
  auto const mixed = [&](nn::TokenShift const& shift) { return x * (1. - shift.share) + before * shift.share; };
  Tensor const q = in_heads(layer.q_proj(mixed(layer.r_shift))), k = in_heads(layer.k_proj(mixed(layer.k_shift))),
               v = in_heads(layer.v_proj(mixed(layer.v_shift)));
  Tensor const decay = -exp(in_heads(layer.decay(tanh(layer.decay_in(mixed(layer.w_shift))))) - 2.);
  Tensor const y = decayed(q, k, v, decay, 1) + sum(q * layer.bonus * k, {-1}, true) * v;
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(y))) < 1e-10);
}

TEST_CASE("rwkv7: is its formula step by step, and with a = 0 a gated state") {
  NoGrad const off;
  Tensor const x = sample(4), before = shifted(x);
  for (bool const without : {false, true}) {
    nn::Rwkv7 layer(config_of(), {.rank = 5, .around = {}});
    enliven(layer);
    if (without) {
      layer.rate.weight.fill_(0);
      layer.rate.bias.fill_(-1000);
      layer.replacement.fill_(0);
    }
    auto const mixed = [&](nn::TokenShift const& shift) { return x * (1. - shift.share) + before * shift.share; };
    Tensor const q = in_heads(layer.q_proj(mixed(layer.r_shift))), plain = in_heads(layer.k_proj(mixed(layer.k_shift))),
                 v = in_heads(layer.v_proj(mixed(layer.v_shift)));
    Tensor const decay = sigmoid(in_heads(layer.decay(tanh(layer.decay_in(mixed(layer.w_shift)))))) * -std::exp(-0.5);
    Tensor const a = sigmoid(in_heads(layer.rate(layer.rate_in(x))));
    Tensor const removed = plain * layer.removal, removal = removed / sqrt(sum(square(removed), {-1}, true));
    Tensor const k = plain * (1. + (a - 1.) * layer.replacement);
    Tensor y;
    if (without) {
      y = decayed(q, k, v, decay, 0);
    } else {
      Tensor state = zeros({batch, heads, dim / heads, dim / heads}, Dtype::f64);
      std::vector<Tensor> out;
      for (int64_t t = 0; t < length; ++t) {
        auto const column = [&](Tensor const& of) { return of.select(2, t).unsqueeze(-1); };
        state = exp(column(decay)) * state - column(a * removal) * matmul(column(removal).t(), state) +
                column(k) * column(v).t();
        out.push_back(matmul(column(q).t(), state).squeeze(-2));
      }
      y = stack(out, 2);
    }
    y = y + sum(q * layer.bonus * k, {-1}, true) * v;
    CHECK(difference(layer(x), layer.out_proj(nn::join_heads(y))) < 1e-9);
  }
}

TEST_CASE("mamba: is its loop") {
  NoGrad const off;
  Tensor const x = sample(5);
  nn::Mamba layer(config_of(), {.state = 3, .around = {.expand = 2}});
  enliven(layer);
  Tensor const u = layer.in_proj(x), step = softplus(layer.rate(layer.rate_in(u)) + layer.rate_bias);
  Tensor const b = layer.b(u), c = layer.c(u), a = exp(layer.log_a);
  Tensor h = zeros({batch, 2 * dim, 3}, Dtype::f64);
  std::vector<Tensor> out;
  for (int64_t t = 0; t < length; ++t) {
    Tensor const delta = step.select(1, t).unsqueeze(-1);
    h = exp(-(delta * a)) * h + delta * u.select(1, t).unsqueeze(-1) * b.select(1, t).unsqueeze(1);
    out.push_back(sum(h * c.select(1, t).unsqueeze(1), {-1}) + layer.skip * u.select(1, t));
  }
  CHECK(difference(layer(x), layer.out_proj(stack(out, 1))) < 1e-11);
}

TEST_CASE("s4d: is the convolution with its kernel") {
  NoGrad const off;
  Tensor const x = sample(6);
  nn::S4D layer(config_of(), {.state = 3, .around = {}});
  enliven(layer);
  Tensor const time = arange(length).to(Dtype::f64), step = exp(layer.log_step).unsqueeze(-1);
  auto const over_time = [&](Tensor const& rate) { return (rate * step).unsqueeze(-1) * time; };  // [C, N, T]
  Tensor const angle = over_time(layer.frequency), size = exp(-over_time(exp(layer.log_decay)));
  // Re (re + i·im)·exp(i·angle)
  Tensor const kernel =
      sum(size * (layer.real.unsqueeze(-1) * cos(angle) - layer.imaginary.unsqueeze(-1) * sin(angle)), {1});
  Tensor const u = layer.in_proj(x);
  Tensor const y = fft_convolve(channels(u), kernel.unsqueeze(0)).slice(2, 0, length);
  CHECK(difference(layer(x), layer.out_proj(channels(y) + layer.skip * u)) < 1e-10);
}

TEST_CASE("aft: is a mean with weights exp(k), channel by channel") {
  NoGrad const off;
  Tensor const x = sample(7);
  nn::AttentionFree layer(config_of(), {});
  enliven(layer);
  Tensor const weight = exp(layer.k_proj(x));
  Tensor const y = sigmoid(layer.q_proj(x)) * cumsum(weight * layer.in_proj(x), 1) / cumsum(weight, 1);
  CHECK(difference(layer(x), layer.out_proj(y)) < 1e-12);
}

TEST_CASE("hgrn2: the forget gate is the key") {
  NoGrad const off;
  Tensor const x = sample(8);
  nn::Hgrn2 layer(config_of(), {.around = {}});
  enliven(layer);
  Tensor const q = silu(in_heads(layer.q_proj(x))), v = in_heads(layer.v_proj(x));
  Tensor const f = 1. / 3 + sigmoid(in_heads(layer.k_proj(x))) * (2. / 3);
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(decayed(q, 1. - f, v, log(f), 0)))) < 1e-11);
}

TEST_CASE("lightning: decays with the distance") {
  NoGrad const off;
  Tensor const x = sample(9);
  nn::Lightning layer(config_of(), {.around = {}});
  enliven(layer);
  Tensor const q = silu(in_heads(layer.q_proj(x))), k = silu(in_heads(layer.k_proj(x))), v = in_heads(layer.v_proj(x));
  Tensor const at = arange(length).to(Dtype::f64), distance = at.unsqueeze(1) - at;
  std::vector<double> slopes;
  for (int h = 1; h <= heads; ++h) slopes.push_back(std::pow(2, -8. * h / double(heads)) * 2 / 3);
  Tensor const weight = exp(-(tensor(slopes, {heads, 1, 1}) * distance));
  Tensor const scores = tril(matmul(q, k.t()) * (1 / std::sqrt(double(dim / heads))) * weight);
  CHECK(difference(layer(x), layer.out_proj(nn::join_heads(matmul(scores, v)))) < 1e-12);
}

TEST_CASE("mingru: is its loop") {
  NoGrad const off;
  Tensor const x = sample(10);
  nn::MinGru layer(config_of(), {});
  enliven(layer);
  Tensor const z = sigmoid(layer.z(x)), u = layer.in_proj(x);
  Tensor h = zeros({batch, dim}, Dtype::f64);
  std::vector<Tensor> out;
  for (int64_t t = 0; t < length; ++t) out.push_back(h = lerp(h, u.select(1, t), z.select(1, t)));
  CHECK(difference(layer(x), layer.out_proj(stack(out, 1))) < 1e-12);
}

TEST_CASE("rg-lru: is its loop, and its gate starts between 0.9 and 0.999") {
  NoGrad const off;
  Tensor const x = sample(11);
  nn::RgLru layer(config_of(), {.around = {}});
  Tensor const start = exp(softplus(layer.lambda) * -8.);
  CHECK(min(start).item() > 0.9 - 1e-4);
  CHECK(max(start).item() < 0.999 + 1e-4);
  enliven(layer);
  Tensor const u = layer.in_proj(x), a = pow(exp(softplus(layer.lambda) * -8.), sigmoid(layer.keep(u)));
  Tensor const given = sigmoid(layer.input(u)) * u;
  Tensor h = zeros({batch, dim}, Dtype::f64);
  std::vector<Tensor> out;
  for (int64_t t = 0; t < length; ++t) {
    Tensor const now = a.select(1, t);
    out.push_back(h = now * h + sqrt(1. - square(now)) * given.select(1, t));
  }
  CHECK(difference(layer(x), layer.out_proj(stack(out, 1))) < 1e-11);
}

TEST_CASE("rnn: is its cell, step by step") {
  NoGrad const off;
  Tensor const x = sample(12);
  nn::RecurrentAttention<nn::RNN> layer(config_of());
  enliven(layer);
  Tensor h;
  std::vector<Tensor> out;
  for (int64_t t = 0; t < length; ++t) out.push_back(h = rnn_cell(x.select(1, t), h, layer.cell.weights[0]));
  CHECK(difference(layer(x), stack(out, 1)) < 1e-12);
}

TEST_CASE("lstm: is its cell, step by step") {
  NoGrad const off;
  Tensor const x = sample(13);
  nn::RecurrentAttention<nn::LSTM> layer(config_of());
  enliven(layer);
  Tensor h, c;
  std::vector<Tensor> out;
  for (int64_t t = 0; t < length; ++t) {
    std::tie(h, c) = lstm_cell(x.select(1, t), h, c, layer.cell.weights[0]);
    out.push_back(h);
  }
  CHECK(difference(layer(x), stack(out, 1)) < 1e-12);
}

TEST_CASE("gru: is its cell, step by step") {
  NoGrad const off;
  Tensor const x = sample(14);
  nn::RecurrentAttention<nn::GRU> layer(config_of());
  enliven(layer);
  Tensor h;
  std::vector<Tensor> out;
  for (int64_t t = 0; t < length; ++t) out.push_back(h = gru_cell(x.select(1, t), h, layer.cell.weights[0]));
  CHECK(difference(layer(x), stack(out, 1)) < 1e-12);
}
