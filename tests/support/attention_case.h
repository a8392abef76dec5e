// A small layer whose core can be written out on whole matrices.
#pragma once

#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/gradcheck.h>

#include <cmath>
#include <memory>
#include <string>
#include <string_view>

namespace heed::test::attention {

constexpr int64_t batch = 2, length = 9, dim = 8, heads = 2, width = dim / heads;

inline double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  return max(abs(a - b)).item();
}

inline nn::AttentionConfig config(bool causal) {
  return {.dim = dim, .heads = heads, .causal = causal, .block = 16, .layer = 1, .layers = 2};
}

inline Tensor named(nn::Module& module, std::string_view suffix) {
  for (auto const& [name, tensor] : nn::state_dict(module))
    if (name.ends_with(suffix)) return tensor;
  FAIL("no tensor named ", std::string(suffix));
  return {};
}

/// A kind whose last projection is the identity, and the operands of the core of multi-head attention with the same
/// projections.
struct Case {
  std::unique_ptr<nn::Attention> layer;
  Tensor x = numbers({batch, length, dim}, 1);
  Tensor q, k, v, scores, seen;  // scores q·k/√D
  Tensor first = numbers({batch, heads, length, width}, 9);

  explicit Case(std::string_view text, bool causal = true) {
    seed(5);
    layer = nn::make_attention(text, config(causal));
    nn::to(*layer, Dtype::f64);
    NoGrad const off;
    uint32_t key = 20;
    for (auto const& [name, tensor] : nn::state_dict(*layer))
      if (name.ends_with("proj.weight")) Tensor(tensor).copy_(numbers(tensor.shape(), ++key) * 0.9);
    named(*layer, "out_proj.weight").copy_(eye(dim, dim, Dtype::f64));
    auto const project = [&](char const* name) { return nn::split_heads(linear(x, named(*layer, name)), heads); };
    q = project("q_proj.weight"), k = project("k_proj.weight"), v = project("v_proj.weight");
    scores = matmul(q, k.transpose(2, 3)) / std::sqrt(double(width));
    seen = causal ? tril(ones({length, length})) > 0. : ones({length, length}) > 0.;
  }
  Tensor operator()() const {
    NoGrad const off;
    Tensor own = first;
    return (*layer)(x, {.first_values = &own});
  }
  void set(char const* name, Tensor const& value) {
    NoGrad const off;
    named(*layer, name).copy_(value);
  }
  /// How far the layer is from these weights applied to v.
  double from(Tensor const& weights) const { return difference((*this)(), nn::join_heads(matmul(weights, v))); }
  Tensor counts() const { return sum(seen.to(Dtype::f64), {1}, true); }
  Tensor softmax_of(Tensor const& s) const { return softmax(where(seen, s, -1e300)); }
};

}  // namespace heed::test::attention
