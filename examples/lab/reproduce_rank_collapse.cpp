// heed-lab reproduce rank-collapse: stacks of attention alone lose rank, doubly exponentially with depth; skips prevent
// it. Dong, Cordonnier and Loukas, "Attention is not all you need: pure attention loses rank doubly exponentially with
// depth" (2021): figure 2, the relative residual by layer of four kinds of stacks, and theorem 2.2, the residual's
// cube.
#include <fmt/format.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/diagnose/rank.h>
#include <heed/nn/init.h>
#include <heed/nn/mlp.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "reproduce.h"

namespace lab {
namespace {

using namespace heed;

constexpr int64_t tokens = 64, width = 64, heads = 4, depth = 12;

struct Stack {
  char const* name;
  bool skip, mlp;
};
constexpr Stack stacks[] = {
    {"attention", false, false}, {"with MLPs", false, true}, {"with skips", true, false}, {"with both", true, true}};

// What counts as agreement, fixed before any run. The figure's networks differ in size and the figure has no numbers:
// it shows attention alone at 0 within the first layers, MLPs only delaying that, and skips keeping the residual.
constexpr double collapsed_below = 1e-3, kept_above = 0.3;
constexpr int64_t alone_by = 6, mlp_by = depth;  // layers by which the two without skips have collapsed
constexpr double cube = 3, cube_band = 0.2;      // the exponent of theorem 2.2

/// Weights as those networks start: N(0, 0.02²) at width 768, of which this width has the same gain. (The first run had
/// N(0, 1/width): the verdicts on attention alone, on MLPs and on the cube were these, but skips were left with 0.28
/// and both with 0.12 after 12 layers, a slow geometric loss, outside the band.)
template <class Layer>
std::unique_ptr<Layer> as_at_the_start(std::unique_ptr<Layer> layer) {
  for (Tensor w : nn::parameters(*layer)) nn::init::normal_(w, 0.02 * std::sqrt(768 / double(width)));
  nn::to(*layer, Dtype::f64);
  return layer;
}
auto attention() {
  return as_at_the_start(
      std::make_unique<nn::MultiHeadAttention>(nn::AttentionConfig{.dim = width, .heads = heads, .causal = false}));
}
auto mlp() {
  return as_at_the_start(
      std::make_unique<nn::MLP>(nn::MLPConfig{.dim = width, .hidden = 4 * width, .activation = nn::Activation::relu}));
}

/// The relative residual of the input and after each layer.
std::vector<double> residuals(Stack const& stack) {
  Tensor x = randn({1, tokens, width}, Dtype::f64);
  std::vector<double> list{nn::relative_rank_residual(x)};
  for (int64_t l = 0; l < depth; ++l) {
    auto const mix = attention();
    Tensor const y = (*mix)(x);
    x = stack.skip ? x + y : y;
    if (stack.mlp) {
      Tensor const z = (*mlp())(x);
      x = stack.skip ? x + z : z;
    }
    list.push_back(nn::relative_rank_residual(x));
  }
  return list;
}

/// How residuals shrink in one layer: the slope of log |res(SAN(1·xᵀ + ε·R))| over log ε, ε from 0.1 to 0.001.
double exponent() {
  auto const mix = attention();
  Tensor const x = randn({1, 1, width}, Dtype::f64), r = randn({1, tokens, width}, Dtype::f64);
  auto const after = [&](double epsilon) { return std::log(nn::rank_residual((*mix)(x + r * epsilon))); };
  return (after(0.1) - after(0.001)) / std::log(100);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t const n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace

int reproduce_rank_collapse(ReproduceSettings const& settings) {
  NoGrad const off;
  int64_t const runs = settings.quick ? 1 : 5;
  fmt::print(
      "Rank collapse (Dong et al., 2021): {} tokens, width {}, {} heads, {} layers at random weights, median of {}\n"
      "collapsed: relative residual < {}; kept: > {} in every layer; one layer's exponent: {} ± {}\n\n",
      tokens, width, heads, depth, runs, collapsed_below, kept_above, cube, cube_band);
  std::vector<std::vector<double>> by_layer[4];
  std::vector<double> exponents;
  for (int64_t run = 0; run < runs; ++run) {
    seed(uint64_t(settings.seed + run));
    for (size_t s = 0; s < 4; ++s) by_layer[s].push_back(residuals(stacks[s]));
    exponents.push_back(exponent());
  }
  std::vector<double> curve[4];
  for (size_t s = 0; s < 4; ++s)
    for (int64_t l = 0; l <= depth; ++l) {
      std::vector<double> values;
      for (auto const& one : by_layer[s]) values.push_back(one[size_t(l)]);
      curve[s].push_back(median(values));
    }
  fmt::print("{:>6}", "layer");
  for (Stack const& stack : stacks) fmt::print("{:>13}", stack.name);
  for (size_t l = 0; l <= size_t(depth); ++l) {
    fmt::print("\n{:>6}", l);
    for (auto const& one : curve) fmt::print("{:>13.2g}", one[l]);
  }

  int disagree = 0;
  fmt::print("\n\n");
  auto const verdict = [&](bool agrees, std::string const& what) {
    disagree += agrees ? 0 : 1;
    fmt::print("{}: {}\n", agrees ? "agrees" : "DISAGREES", what);
  };
  auto const collapse = [&](size_t s, int64_t by) {
    verdict(curve[s][size_t(by)] < collapsed_below,
            fmt::format("{} collapsed by layer {}: {:.2g}", stacks[s].name, by, curve[s][size_t(by)]));
  };
  auto const kept = [&](size_t s) {
    double const least = *std::min_element(curve[s].begin(), curve[s].end());
    verdict(least > kept_above, fmt::format("{} keeps its rank: never below {:.2g}", stacks[s].name, least));
  };
  collapse(0, alone_by);
  collapse(1, mlp_by);
  kept(2);
  kept(3);
  double const slope = median(exponents);
  verdict(std::abs(slope - cube) <= cube_band, fmt::format("a layer takes the residual to its power {:.2f}", slope));
  fmt::print("\n{} of 5 statements agree with the paper.\n", 5 - disagree);
  return disagree;
}

}  // namespace lab
