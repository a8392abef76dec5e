// Lesson 4: attention from scratch. Every position asks a question (query), every position offers an answer (key,
// value).
#include <heed/engine/engine.h>

#include <cmath>
#include <cstdio>

using namespace heed;

// softmax(q·kᵀ/√d)·v, position by position: query i gives key j the weight a_ij ∝ exp(q_i·k_j/√d).
Tensor attention(Tensor const& q, Tensor const& k, Tensor const& v, bool causal) {
  int64_t const t = q.size(-2), s = k.size(-2);
  Tensor scores = matmul(q, k.t()) / std::sqrt(double(q.size(-1)));  // [.., T, S]
  if (causal) {
    // Query i may look back only: keys j > i get −∞, whose exponential is 0.
    Tensor const ahead = arange(s) > arange(t).unsqueeze(1);
    scores = masked_fill(scores, ahead, -INFINITY);
  }
  return matmul(softmax(scores), v);
}

int main() {
  seed(3);
  int64_t const batch = 2, heads = 4, length = 32, width = 16;
  Shape const shape{batch, heads, length, width};
  Tensor const q = randn(shape).requires_grad_(), k = randn(shape).requires_grad_(), v = randn(shape).requires_grad_();

  // Heads are just another leading axis: each has its own scores.
  Tensor const ours = attention(q, k, v, true);

  // attend() computes the same tile by tile, and never holds the [T, S] matrix of scores.
  Tensor const fused = attend(q, k, v, {.causal = true}).out;
  double const forward = sum(abs(ours - fused)).item() / double(ours.numel());
  std::printf("mean difference to the fused attention: %.1e\n", forward);

  // So do its gradients.
  auto const a = grad({sum(square(ours))}, {q, k, v}), b = grad({sum(square(fused))}, {q, k, v});
  double worst = 0;
  for (size_t i = 0; i < 3; ++i) worst = std::fmax(worst, amax(abs(a[i] - b[i]).flatten(), {0}).item());
  std::printf("largest difference of a gradient:       %.1e\n\n", worst);

  // Three facts about attention that the tests of every variant rest on.
  NoGrad const off;
  Tensor const same_keys = ones(shape);
  double const mean_gap = amax(abs(attention(q, same_keys, v, false) - mean(v, {2}, true)).flatten(), {0}).item();
  std::printf("equal keys give the mean of the values: off by %.1e\n", mean_gap);
  Tensor changed = v.detach().clone();
  changed.select(2, length - 1).fill_(100);
  Tensor const before = attention(q, k, v, true).slice(2, 0, length - 1),
               after = attention(q, k, changed, true).slice(2, 0, length - 1);
  std::printf("causal: the last value reaches no earlier output: off by %.1e\n",
              amax(abs(before - after).flatten(), {0}).item());
  Tensor const weights = attention_weights(q, k, {.causal = true});
  std::printf("weights of a query sum to 1: off by %.1e\n", amax(abs(sum(weights, {-1}) - 1.0).flatten(), {0}).item());
  return forward < 1e-5 && worst < 1e-3 && mean_gap < 1e-5 ? 0 : 1;
}
