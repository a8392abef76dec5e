// What proves wirings, series, gates, convolutions and mixers beside the identities of their rows.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/autocorrelation.h>
#include <heed/nn/attention/bam.h>
#include <heed/nn/attention/cbam.h>
#include <heed/nn/attention/conformer.h>
#include <heed/nn/attention/coordinate.h>
#include <heed/nn/attention/dynamic_convolution.h>
#include <heed/nn/attention/gather_excite.h>
#include <heed/nn/attention/global_context.h>
#include <heed/nn/attention/global_filter.h>
#include <heed/nn/attention/gmlp.h>
#include <heed/nn/attention/guided.h>
#include <heed/nn/attention/hyena.h>
#include <heed/nn/attention/inverted.h>
#include <heed/nn/attention/mixer.h>
#include <heed/nn/attention/patches.h>
#include <heed/nn/attention/pyramid.h>
#include <heed/nn/attention/recurrent_memory.h>
#include <heed/nn/attention/selective_kernel.h>
#include <heed/nn/attention/slots.h>
#include <heed/nn/attention/two_stage.h>
#include <heed/nn/attention/variates.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>

#include <cmath>

using namespace heed;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

constexpr int64_t dim = 8;

nn::AttentionConfig config(bool causal = false) { return {.dim = dim, .heads = 2, .causal = causal, .block = 16}; }

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  return a.numel() ? norm(a - b).item() : 0;
}

template <class A>
void prepare(A& layer) {
  nn::to(layer, Dtype::f64);
  nn::eval(layer);
}
std::unique_ptr<nn::Attention> made(std::string_view text, bool causal = false) {
  seed(5);
  auto layer = nn::make_attention(text, config(causal));
  prepare(*layer);
  return layer;
}

}  // namespace

TEST_CASE("inverted: columns sum to 1 before rows do") {
  auto const layer = made("inverted");
  auto& own = dynamic_cast<nn::MultiHeadAttention&>(*layer);
  Tensor const x = numbers({2, 7, dim}, 1);
  auto const heads = [&](nn::Linear const& p) { return nn::split_heads(p(x), 2); };
  Tensor const columns = softmax(dense_scores(heads(own.q_proj), heads(own.k_proj)), 2);
  CHECK(difference(sum(columns, {2}), ones({2, 2, 7}, Dtype::f64)) < 1e-12);
  Tensor const a = columns / sum(columns, {3}, true);
  CHECK(difference(own(x), own.out_proj(nn::join_heads(matmul(a, heads(own.v_proj))))) < 1e-12);
}

TEST_CASE("slots: one slot takes the mean; equal slots stay equal") {
  nn::SlotAttention one(config(), {.slots = 1, .iterations = 1}), three(config(), {.slots = 3});
  prepare(one), prepare(three);
  Tensor const x = numbers({2, 7, dim}, 1);
  Tensor const found = one.look.out_proj(one.look.v_proj(mean(one.norm_x(x), {1})));
  CHECK(difference(one(x).select(1, 0), one.update(found, one.slots.select(1, 0).expand({2, dim}))) < 1e-12);
  nn::init::constant_(three.slots, 0.5);
  Tensor const y = three(x);
  CHECK(difference(y.select(1, 0), y.select(1, 2)) < 1e-12);
}

TEST_CASE("guided: without the first look it is cross-attention") {
  nn::GuidedLayers layer(config());
  prepare(layer);
  nn::init::constant_(layer.self.out_proj.weight, 0);
  Tensor const x = numbers({2, 5, dim}, 1), memory = numbers({2, 3, dim}, 2);
  CHECK(same_bits(layer(x, {.memory = memory}), layer.guide(x, {.memory = memory})));
}

TEST_CASE("variates: dense attention on transposed tokens") {
  nn::VariateAttention layer(config());
  prepare(layer);
  Tensor const x = numbers({2, 16, dim}, 1);
  Tensor const tokens = layer.join(x.transpose(1, 2));
  CHECK(difference(layer(x), layer.split(layer.among(tokens)).transpose(1, 2)) < 1e-12);
  // Which feature is which does not matter.
  Tensor const order = tensor(std::vector<int64_t>{3, 1, 7, 0, 2, 6, 5, 4}, {dim});
  CHECK(difference(layer(index_select(x, 2, order)), index_select(layer(x), 2, order)) < 1e-12);
  CHECK(!error_of([&] { layer(numbers({2, 17, dim}, 1)); }).empty());
}

TEST_CASE("two-stage: one variate without the second stage is multi-head; routers carry variates to each other") {
  nn::TwoStageAttention one(config(), {.variates = 1}), two(config(), {.variates = 2});
  prepare(one), prepare(two);
  Tensor const x = numbers({2, 7, dim}, 1);
  nn::init::constant_(one.spread.out_proj.weight, 0);
  CHECK(same_bits(one(x), one.time(x)));
  Tensor other = x.clone();
  other.slice(2, 4, 8).fill_(0.5);
  CHECK(difference(two(x).slice(2, 0, 4), two(other).slice(2, 0, 4)) > 1e-3);
  nn::init::constant_(two.spread.out_proj.weight, 0);
  CHECK(same_bits(two(x).slice(2, 0, 4), two(other).slice(2, 0, 4)));
  CHECK(!error_of([] { nn::make_attention("two-stage:variates=3", config()); }).empty());
}

TEST_CASE("patches: of one position, handed on as they are, are the inner kind") {
  nn::PatchedAttention one(config(), {.size = 1});
  prepare(one);
  one.join.weight.detach().copy_(eye(dim, -1, Dtype::f64));
  one.split.weight.detach().copy_(eye(dim, -1, Dtype::f64));
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(one(x), (*one.inner)(x)) < 1e-12);
}

TEST_CASE("dynamic: one tap is the values alone; taps that do not look are a running mean") {
  nn::DynamicConvolution one(config(true), {.kernel = 1}), three(config(true), {.kernel = 3});
  prepare(one), prepare(three);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(one(x), one.out_proj(one.v_proj(x))) < 1e-12);
  nn::init::constant_(three.taps.weight, 0);
  Tensor const at_four = three.out_proj(mean(three.v_proj(x).slice(1, 2, 5), {1}));
  CHECK(difference(three(x).select(1, 4), at_four) < 1e-12);
}

TEST_CASE("conformer: one tap goes position by position; three reach one to each side, or two back") {
  nn::ConformerConvolution one(config(), {.kernel = 1}), around(config(), {.kernel = 3}),
      behind(config(true), {.kernel = 3});
  prepare(one), prepare(around), prepare(behind);
  Tensor const x = numbers({2, 7, dim}, 1);
  Tensor const scaled = glu(one.in_proj(x)) * one.weight.squeeze(1);
  CHECK(difference(one(x), one.out_proj(silu(one.norm(scaled)))) < 1e-12);
  nn::load_state_dict(behind, nn::state_dict(around));
  CHECK(difference(around(x).slice(1, 1, 6), behind(x).slice(1, 2, 7)) < 1e-12);
}

TEST_CASE("hyena: the transform is the direct sum; a filter of one tap leaves the gates") {
  nn::Hyena layer(config(true), {.waves = 3, .hidden = 5});
  prepare(layer);
  Tensor const x = numbers({1, 6, dim}, 1), h = layer.filter(6);
  Tensor const three = causal_conv1d(layer.in_proj(x).transpose(1, 2), layer.taps).first;
  Tensor const gate = three.slice(1, 0, dim), v = three.slice(1, dim, 2 * dim) * three.slice(1, 2 * dim, 3 * dim);
  std::vector<Tensor> sums;
  for (int64_t t = 0; t < 6; ++t) {
    Tensor sum = zeros({1, dim}, Dtype::f64);
    for (int64_t j = 0; j <= t; ++j) sum = sum + v.select(2, t - j) * h.select(1, j);
    sums.push_back(sum.unsqueeze(2));
  }
  CHECK(difference(layer(x), layer.out_proj((gate * cat(sums, 2)).transpose(1, 2))) < 1e-12);
  nn::init::constant_(layer.rate, 1e4);
  CHECK(difference(layer(x), layer.out_proj((gate * v * h.slice(1, 0, 1)).transpose(1, 2))) < 1e-12);
}

TEST_CASE("gfnet: a filter of ones is the identity; a filter is a circular convolution") {
  nn::GlobalFilter grid(config(), {.width = 4}), line(config(), {});
  prepare(grid), prepare(line);
  Tensor const x = numbers({2, 16, dim}, 1);
  nn::init::constant_(grid.filter, 0);
  grid.filter.detach().select(3, 0).fill_(1);
  CHECK(difference(grid(x), x) < 1e-12);
  Tensor const kernel = numbers({16, dim}, 2);
  line.filter.detach().copy_(rfft(kernel, {.axis = 0}).unsqueeze(0));
  Tensor want = zeros({2, 16, dim}, Dtype::f64);
  for (int64_t j = 0; j < 16; ++j) want = want + roll(x, {j}, {1}) * kernel.select(0, j);
  CHECK(difference(line(x), want) < 1e-11);
  CHECK(!error_of([&] { line(numbers({2, 17, dim}, 1)); }).empty());
}

TEST_CASE("gmlp: without its map it is an MLP with a plain half") {
  nn::SpatialGating layer(config(), {});
  prepare(layer);
  nn::init::constant_(layer.weight, 0);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(layer(x), layer.out_proj(gelu(layer.in_proj(x)).slice(2, 0, dim))) < 1e-12);
}

TEST_CASE("mixer: every feature is mixed alike; a map of ones sums") {
  nn::TokenMixing layer(config(), {.hidden = 5});
  prepare(layer);
  Tensor const x = numbers({2, 16, dim}, 1);
  CHECK(difference(layer(x).select(2, 3), layer.mlp(x.select(2, 3))) < 1e-12);
  nn::init::constant_(layer.mlp.fc.weight, 1), nn::init::constant_(layer.mlp.proj.weight, 1);
  CHECK(difference(layer(x), (gelu(sum(x, {1}, true)) * 5.).expand(x.shape())) < 1e-10);
}

TEST_CASE("gc: nothing is added without the last layer; equal logits gather the mean") {
  nn::GlobalContext layer(config(), {.reduction = 2});
  prepare(layer);
  Tensor const x = numbers({2, 7, dim}, 1);
  nn::init::constant_(layer.score.weight, 0);
  Tensor const added = layer.fc2(relu(layer.norm(layer.fc1(mean(x, {1}, true)))));
  CHECK(difference(layer(x), x + added) < 1e-12);
  nn::init::constant_(layer.fc2.weight, 0), nn::init::constant_(layer.fc2.bias, 0);
  CHECK(same_bits(layer(x), x));
}

TEST_CASE("cbam: open gates are the identity; places see their neighbours on the grid") {
  nn::ConvolutionalBlockAttention layer(config(), {.kernel = 3, .width = 4});
  prepare(layer);
  Tensor const x = numbers({1, 12, dim}, 1);
  nn::init::constant_(layer.squeeze.fc2.weight, 0), nn::init::constant_(layer.squeeze.fc2.bias, 100);
  Tensor other = x.clone();
  other.select(1, 5).fill_(1);
  Tensor const change = sum(abs(layer(other) - layer(x)), {2}).squeeze(0);
  for (int64_t t = 0; t < 12; ++t) CHECK((change.select(0, t).item() > 0) == (t % 4 < 3));
  nn::init::constant_(layer.places.weight, 0), nn::init::constant_(layer.places.bias, 100);
  CHECK(same_bits(layer(x), x));
}

TEST_CASE("bam: closed gates are the identity, open ones double") {
  nn::BottleneckGate layer(config(), {.dilation = 2});
  prepare(layer);
  Tensor const x = numbers({2, 7, dim}, 1);
  nn::init::constant_(layer.squeeze.fc2.weight, 0), nn::init::constant_(layer.single.weight, 0);
  nn::init::constant_(layer.squeeze.fc2.bias, -1000);
  CHECK(same_bits(layer(x), x));
  nn::init::constant_(layer.squeeze.fc2.bias, 1000);
  CHECK(same_bits(layer(x), x + x));
}

TEST_CASE("coordinate: open gates are the identity; a gate is its row's times its column's") {
  nn::CoordinateGate layer(config(), {.width = 4});
  prepare(layer);
  Tensor const x = numbers({2, 12, dim}, 1), grid = x.view({2, 3, 4, dim});
  auto const gate = [&](int axis, nn::Linear const& last) {
    return sigmoid(last(hard_swish(layer.shared(mean(grid, {axis}, true)))));
  };
  Tensor const want = grid * gate(2, layer.of_rows) * gate(1, layer.of_columns);
  CHECK(difference(layer(x), want.view({2, 12, dim})) < 1e-12);
  for (nn::Linear* last : {&layer.of_rows, &layer.of_columns})
    nn::init::constant_(last->weight, 0), nn::init::constant_(last->bias, 100);
  CHECK(same_bits(layer(x), x));
}

TEST_CASE("gather-excite: runs of one gate themselves, one run gates by the mean") {
  nn::GatherExcite const one(config(), {.extent = 1}), all(config(), {});
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(one(x), silu(x)) < 1e-12);
  CHECK(difference(all(x), x * sigmoid(mean(x, {1}, true))) < 1e-12);
  CHECK(difference(nn::GatherExcite(config(), {.extent = 9})(x), all(x)) < 1e-12);
}

TEST_CASE("sk: kernels that hand on are the identity; without logits the mean of the branches") {
  nn::SelectiveKernel layer(config(), {.branches = 2});
  prepare(layer);
  Tensor const x = numbers({2, 7, dim}, 1);
  nn::init::constant_(layer.fc2.weight, 0), nn::init::constant_(layer.fc2.bias, 0);
  nn::init::constant_(layer.kernels[0], 1), nn::init::constant_(layer.kernels[1], 0);
  CHECK(difference(layer(x).select(1, 3), sum(x.slice(1, 2, 5), {1}) * 0.5) < 1e-12);
  for (size_t n : {0, 1}) {
    nn::init::constant_(layer.kernels[n], 0);
    layer.kernels[n].detach().select(1, int64_t(n) + 1).fill_(1);
  }
  CHECK(difference(layer(x), x) < 1e-12);
}

TEST_CASE("din: additive in the history, whatever else is in it") {
  auto const layer = made("additive+din");
  Tensor const x = numbers({2, 3, dim}, 1), history = numbers({2, 7, dim}, 2);
  auto const of = [&](int64_t from, int64_t to) { return (*layer)(x, {.memory = history.slice(1, from, to)}); };
  CHECK(difference(of(0, 7), of(0, 4) + of(4, 7)) < 1e-12);
  auto const plain = made("din");
  auto& own = dynamic_cast<nn::MultiHeadAttention&>(*plain);
  auto const heads = [&](nn::Linear const& p) { return nn::split_heads(p(x), 2); };
  Tensor const s = dense_scores(heads(own.q_proj), heads(own.k_proj));
  CHECK(difference(own(x), own.out_proj(nn::join_heads(matmul(s, heads(own.v_proj))))) < 1e-12);
}

TEST_CASE("rmt: one segment without tokens is multi-head; the past comes through the tokens alone") {
  nn::RecurrentMemory none(config(true), {.segment = 16, .tokens = 0}), cut(config(true), {.segment = 3, .tokens = 0}),
      two(config(true), {.segment = 3, .tokens = 2});
  prepare(none), prepare(cut), prepare(two);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(same_bits(none(x), none.within(x)));
  Tensor other = x.clone();
  other.slice(1, 0, 3).fill_(0.5);
  CHECK(same_bits(cut(x).slice(1, 3, 7), cut(other).slice(1, 3, 7)));
  CHECK(difference(two(x).slice(1, 6, 7), two(other).slice(1, 6, 7)) > 1e-6);
  two.within.k_proj.weight.detach().fill_(0);  // equal weights: the first row is the mean of the tokens and itself
  Tensor const first =
      two.within.out_proj(two.within.v_proj((sum(two.memory, {1}).expand({2, dim}) + x.select(1, 0)) * (1. / 3)));
  CHECK(difference(two(x).select(1, 0), first) < 1e-12);
}

TEST_CASE("auto-correlation: the transform is the direct sum; all lags at equal weight are the mean") {
  Tensor const q = numbers({1, 2, 7, 3}, 1), k = numbers({1, 2, 7, 3}, 2);
  Tensor const got = nn::AutoCorrelation::correlations(q, k);
  for (int64_t lag = 0; lag < 7; ++lag)
    CHECK(difference(got.select(2, lag), mean(q * roll(k, {lag}, {2}), {2, 3}) * 1.) < 1e-12);
  auto const layer = made("auto-correlation:factor=100");
  auto& own = dynamic_cast<nn::MultiHeadAttention&>(*layer);
  own.q_proj.weight.detach().fill_(0);
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference(own(x), own.out_proj(own.v_proj(mean(x, {1}, true))).expand(x.shape())) < 1e-12);
}

TEST_CASE("pyramid: without levels it is a window; a level brings what is beyond it") {
  nn::PyramidAttention flat(config(), {.window = 1, .levels = 0}), all(config(), {.window = 20, .levels = 0}),
      two(config(), {.window = 0, .branch = 2, .levels = 2});
  prepare(flat), prepare(all), prepare(two);
  auto const sliding = made("sliding:window=1");
  Tensor const x = numbers({1, 8, dim}, 1);
  nn::load_state_dict(dynamic_cast<nn::MultiHeadAttention&>(*sliding), nn::state_dict(flat.among));
  CHECK(difference(flat(x), (*sliding)(x)) < 1e-12);
  CHECK(difference(all(x), all.among(x)) < 1e-12);
  // Three rounds over two levels: up, and down again to those under the same grandparent, whose mean holds them.
  Tensor other = x.clone();
  other.select(1, 0).fill_(1);
  Tensor const change = sum(abs(two(other) - two(x)), {2}).squeeze(0);
  for (int64_t t = 0; t < 8; ++t) CHECK((change.select(0, t).item() > 0) == (t < 4));
}
