// What proves wirings, series, gates, convolutions and mixers beside the identities of their rows.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/guided.h>
#include <heed/nn/attention/inverted.h>
#include <heed/nn/attention/patches.h>
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
Tensor parameter(nn::Module& module, std::string_view name) {
  for (auto& [key, tensor] : nn::named_parameters(module))
    if (key.ends_with(name)) return tensor;
  FAIL("no parameter ", name);
  return {};
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
  nn::GuidedAttention layer(config());
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
