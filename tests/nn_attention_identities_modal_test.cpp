// What proves poolings, channel gates, convolutions and kinds of two sequences: their exact special cases.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/convolution.h>
#include <heed/nn/attention/gated_cross.h>
#include <heed/nn/attention/hybrid.h>
#include <heed/nn/attention/pooling.h>
#include <heed/nn/attention/two_streams.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>

#include <cmath>

using namespace heed;
using test::numbers;
using test::same_bits;

namespace {

constexpr int64_t dim = 8;

nn::AttentionConfig config(bool bias = false) { return {.dim = dim, .heads = 2, .bias = bias, .causal = false}; }

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  return a.numel() ? norm(a - b).item() : 0;
}

template <class A>
void prepare(A& layer) {
  nn::to(layer, Dtype::f64);
  nn::eval(layer);
}

}  // namespace

TEST_CASE("structured: one row is additive pooling; rows that are different positions do not overlap") {
  nn::StructuredPooling one(config(), {.rows = 1});
  prepare(one);
  Tensor const x = numbers({2, 7, dim}, 1);
  Tensor const scores = matmul(tanh(matmul(x, one.w1.weight.transpose(0, 1))), one.w2.weight.transpose(0, 1));
  CHECK(difference(one(x), sum(softmax(scores, 1) * x, {1}, true)) < 1e-12);
  Tensor a = zeros({1, 2, 5}, Dtype::f64);
  a.select(0, 0).select(0, 0).slice(0, 1, 2).fill_(1);
  a.select(0, 0).select(0, 1).slice(0, 4, 5).fill_(1);
  CHECK(nn::StructuredPooling::overlap(a).item() == 0);
  CHECK(nn::StructuredPooling::overlap(full({1, 2, 5}, 0.2, Dtype::f64)).item() > 0.5);
}

TEST_CASE("pma: equal logits give the mean") {
  nn::SeedPooling pma(config(), {.seeds = 3});
  prepare(pma);
  nn::init::constant_(pma.look.k_proj.weight, 0);
  Tensor const x = numbers({2, 7, dim}, 1);
  Tensor const want = pma.look.out_proj(pma.look.v_proj(mean(x, {1}, true)));
  Tensor const y = pma(x);
  for (int64_t m = 0; m < 3; ++m) CHECK(difference(y.slice(1, m, m + 1), want) < 1e-12);
}

TEST_CASE("gated-mil: equal logits give the mean, of what is there") {
  nn::GatedPooling pool(config());
  prepare(pool);
  nn::init::constant_(pool.w.weight, 0);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(pool(x), mean(x, {1}, true)) < 1e-12);
  Tensor const y = pool(x, {.lengths = tensor(std::vector<int64_t>{7, 4}, {2})});
  CHECK(difference(y.slice(0, 1, 2), mean(x.slice(0, 1, 2).slice(1, 0, 4), {1}, true)) < 1e-12);
}

TEST_CASE("se: open gates are the identity") {
  nn::SqueezeExcite se(config(), {.reduction = 2});
  prepare(se);
  nn::init::constant_(se.squeeze.fc2.bias, 100);
  nn::init::constant_(se.squeeze.fc2.weight, 0);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(same_bits(se(x), x));
}

TEST_CASE("eca: a kernel of one tap scales the means") {
  nn::EfficientChannelAttention eca(config(), {.kernel = 1});
  prepare(eca);
  nn::init::constant_(eca.weight, 1.5);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(eca(x), x * sigmoid(mean(x, {1}, true) * 1.5)) < 1e-12);
}

TEST_CASE("xca: dense attention on transposed operands") {
  nn::CrossCovariance xca(config());
  prepare(xca);
  nn::init::constant_(xca.temperature, 0.7);
  Tensor const x = numbers({2, 7, dim}, 1);
  auto const heads = [&](nn::Linear const& p) { return nn::split_heads(p(x), 2); };
  Tensor const q = normalize(heads(xca.q_proj), 2, 2), k = normalize(heads(xca.k_proj), 2, 2);
  Tensor const a = softmax(matmul(q.transpose(2, 3), k) * 0.7, -1);  // [B, H, D, D]
  Tensor const out = matmul(heads(xca.v_proj), a.transpose(2, 3));
  CHECK(difference(xca(x), xca.out_proj(nn::join_heads(out))) < 1e-12);
}

TEST_CASE("fnet: the transform is the direct sum") {
  nn::FourierMixing fnet(config());
  Tensor const x = numbers({1, 5, dim}, 1);
  auto const value = x.to_vector<double>(), got = fnet(x).to_vector<double>();
  constexpr double turn = 2 * 3.14159265358979323846;
  for (int64_t t = 0; t < 5; ++t)
    for (int64_t c = 0; c < dim; ++c) {
      double sum = 0;
      for (int64_t s = 0; s < 5; ++s)
        for (int64_t d = 0; d < dim; ++d)
          sum += value[size_t(s * dim + d)] * std::cos(turn * (double(t * s) / 5 + double(c * d) / double(dim)));
      CHECK(got[size_t(t * dim + c)] == doctest::Approx(sum).epsilon(1e-10));
    }
}

TEST_CASE("pool: one position is nothing, constants are nothing, means are of what is there") {
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(same_bits(nn::MeanPooling(config(), {.kernel = 1})(x), x - x));
  nn::MeanPooling const pool(config(), {.kernel = 3});
  CHECK(difference(pool(full({1, 6, dim}, 2.5, Dtype::f64)), zeros({1, 6, dim}, Dtype::f64)) < 1e-15);
  Tensor const first = mean(x.slice(1, 0, 2), {1}) - x.select(1, 0);
  CHECK(difference(pool(x).select(1, 0), first) < 1e-12);
}

TEST_CASE("lightweight: one tap is the values alone; equal taps are a running mean") {
  nn::LightweightConvolution one(config(), {.kernel = 1}), three(config(), {.kernel = 3});
  prepare(one), prepare(three);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(one(x), one.out_proj(one.v_proj(x))) < 1e-12);
  Tensor const v = three.v_proj(x);
  Tensor const at_four = three.out_proj(mean(v.slice(1, 2, 5), {1}));
  CHECK(difference(three(x).select(1, 4), at_four) < 1e-12);
}

TEST_CASE("long-conv: the transform is the direct sum; a kernel of one tap is the values, gated") {
  nn::LongConvolution layer(config(), {.waves = 3});
  prepare(layer);
  Tensor const x = numbers({1, 6, dim}, 1);
  Tensor const v = layer.v_proj(x), kernel = layer.kernel(6);
  std::vector<Tensor> rows;
  for (int64_t t = 0; t < 6; ++t) {
    Tensor sum = zeros({1, dim}, Dtype::f64);
    for (int64_t j = 0; j <= t; ++j) sum = sum + v.select(1, t - j) * kernel.select(1, j);
    rows.push_back(sum.unsqueeze(1));
  }
  CHECK(difference(layer(x), layer.out_proj(silu(layer.gate(x)) * cat(rows, 1))) < 1e-12);
  nn::init::constant_(layer.rate, 1e4);
  Tensor const tap = sum(layer.amplitude, {1});
  CHECK(difference(layer(x), layer.out_proj(silu(layer.gate(x)) * layer.v_proj(x) * tap)) < 1e-12);
}

TEST_CASE("gated-cross: a closed gate gives nothing") {
  auto layer = nn::make_attention("gated-cross", config());
  Tensor const x = numbers({2, 5, dim}, 1, Dtype::f32);
  CHECK(norm((*layer)(x, {.memory = numbers({2, 3, dim}, 2, Dtype::f32)})).item() == 0);
}

TEST_CASE("co-attention: each side is cross-attention; tied weights and equal inputs give equal outputs") {
  nn::CoAttention tied(config(), {.tied = true}), free(config(), {});
  prepare(tied), prepare(free);
  Tensor const x = numbers({2, 5, dim}, 1), y = numbers({2, 3, dim}, 2);
  auto const [a, b] = tied.both(x, x);
  CHECK(same_bits(a, b));
  CHECK(nn::count_parameters(free) == 2 * nn::count_parameters(tied));
  auto const [of_x, of_y] = free.both(x, y);
  CHECK(same_bits(of_x, free(x, {.memory = y})));
  CHECK(same_bits(of_y, (*free.of_memory)(y, {.memory = x})));
}

TEST_CASE("joint: with equal projections it is self-attention over both, end to end") {
  nn::JointAttention joint(config());
  prepare(joint);
  nn::load_state_dict(joint.of_memory, nn::state_dict(joint.of_x));
  Tensor const x = numbers({2, 5, dim}, 1), y = numbers({2, 3, dim}, 2);
  Tensor const whole = joint.of_x(cat({x, y}, 1));
  auto const [of_x, of_y] = joint.both(x, y);
  CHECK(difference(cat({of_x, of_y}, 1), whole) < 1e-12);
  CHECK(difference(joint(x, {.memory = y}), of_x) < 1e-12);
  // Where neither sees the other they are apart.
  CHECK(difference(joint(x), joint.of_x(x)) < 1e-12);
}

TEST_CASE("bottleneck: no latents is self-attention; what the memory holds comes through the latents alone") {
  nn::BottleneckFusion none(config(), {.latents = 0}), two(config(), {.latents = 2});
  prepare(none), prepare(two);
  Tensor const x = numbers({2, 5, dim}, 1), y = numbers({2, 30, dim}, 2);
  CHECK(same_bits(none(x, {.memory = y}), none.self(x)));
  // A memory of one vector, repeated: each latent sees that vector, however often it is there.
  Tensor const one = numbers({2, 1, dim}, 3);
  CHECK(difference(two(x, {.memory = one}), two(x, {.memory = one.expand({2, 9, dim})})) < 1e-12);
}

TEST_CASE("hybrid: without one half it is the other") {
  nn::AttentionConfig causal = config();
  causal.causal = true;
  nn::Hybrid layer(causal, {});
  prepare(layer);
  Tensor const x = numbers({2, 5, dim}, 1);
  nn::init::constant_(layer.alpha, 1), nn::init::constant_(layer.beta, 0);
  CHECK(same_bits(layer(x), (*layer.first)(x)));
  nn::init::constant_(layer.alpha, 0), nn::init::constant_(layer.beta, 1);
  CHECK(same_bits(layer(x), (*layer.second)(x)));
}
