// Losses.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

using Values = std::vector<double>;
using Indices = std::vector<int64_t>;
/// The operation on drawn operands.
using Loss = std::function<Tensor(Tensors const&, Reduction)>;

Tensor reduce_plainly(Values const& losses, Shape const& shape, Reduction reduction) {
  if (reduction == Reduction::none) return tensor(losses, shape);
  double total = 0;
  for (double l : losses) total += l;
  return scalar(reduction == Reduction::sum ? total : total / double(losses.size()), Dtype::f64);
}

std::string with_reduction(std::string const& name, Reduction reduction) {
  return name + (reduction == Reduction::none ? " none" : reduction == Reduction::sum ? " sum" : "");
}

/// Three records, one a reduction; `twin` gives the losses before it.
void rows_case(std::string const& name, std::string const& covers, std::vector<Input> const& inputs,
               std::vector<Shapes> const& shapes, Loss const& op, std::function<Tensor(Tensors const&)> const& twin,
               std::vector<BadCall> const& bad = {}) {
  for (Reduction reduction : {Reduction::mean, Reduction::none, Reduction::sum}) {
    OpCase c{.name = with_reduction(name, reduction),
             .covers = covers,
             .inputs = inputs,
             .shapes = shapes,
             .op = [=](Tensors const& x) { return Tensors{op(x, reduction)}; },
             .twin = [=](Tensors const& x) -> Tensors {
               Tensor const losses = twin(x);
               return {reduce_plainly(losses.to_vector<double>(), losses.shape(), reduction)};
             }};
    c.f32 = 1e-5, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 1e-6;
    if (reduction == Reduction::mean) c.bad = bad;
    list().push_back(c);
  }
}

/// The same for a loss of broadcast elements.
void elements_case(std::string const& name, std::string const& covers, std::vector<Input> const& inputs,
                   std::vector<Shapes> const& shapes, Loss const& op, std::function<double(double const*)> const& f,
                   std::vector<BadCall> const& bad = {}) {
  rows_case(
      name, covers, inputs, shapes, op,
      [f](Tensors const& x) {
        Shape shape;
        for (Tensor const& t : x) shape = broadcast("twin", shape, t.shape());
        std::vector<Values> operands;
        for (Tensor const& t : x) operands.push_back(t.detach().expand(shape).to_vector<double>());
        Values out(size_t(numel(shape))), at(x.size());
        for (size_t i = 0; i < out.size(); ++i) {
          for (size_t k = 0; k < x.size(); ++k) at[k] = operands[k][i];
          out[i] = f(at.data());
        }
        return tensor(out, shape);
      },
      bad);
}

std::vector<Shapes> const pairs{{{3, 4}, {3, 4}}, {{}, {}}, {{7}, {7}}, {{2, 3, 5}, {2, 3, 5}}, {{33}, {33}}};
std::vector<Shapes> const broadcast_pairs{{{3, 4}, {3, 4}}, {{}, {}}, {{7}, {7}}, {{2, 1, 5}, {3, 1}}, {{33}, {1}}};

/// Bits as −1 and 1.
Tensor signs(Tensor const& bits) { return bits * 2.0 - 1.0; }

double softplus_of(double x) { return std::max(x, 0.) + std::log1p(std::exp(-std::abs(x))); }

void element_losses() {
  Tensor const two = ones({2}), three = ones({3});
  elements_case(
      "mse_loss", "mse_loss", {real(), real()}, broadcast_pairs,
      [](Tensors const& x, Reduction r) { return mse_loss(x[0], x[1], r); },
      [](double const* v) { return (v[0] - v[1]) * (v[0] - v[1]); },
      {{[=] { mse_loss(two, three); }, {"[2]", "[3]"}}, {[=] { mse_loss(Tensor(), two); }, {"mse_loss"}}});
  elements_case(
      "l1_loss", "l1_loss", {real(), real()}, broadcast_pairs,
      [](Tensors const& x, Reduction r) { return l1_loss(x[0], x[1], r); },
      [](double const* v) { return std::abs(v[0] - v[1]); },
      {{[=] { l1_loss(two, three); }, {"[2]", "[3]"}}, {[=] { l1_loss(two, Tensor()); }, {"l1_loss"}}});
  for (double beta : {1., 0.3, 0.})
    elements_case(
        "smooth_l1_loss " + std::to_string(beta), "smooth_l1_loss", {real(), real()}, broadcast_pairs,
        [=](Tensors const& x, Reduction r) { return smooth_l1_loss(x[0], x[1], beta, r); },
        [=](double const* v) {
          double const d = std::abs(v[0] - v[1]);
          return d < beta ? d * d / (2 * beta) : d - beta / 2;
        },
        {{[=] { smooth_l1_loss(two, two, -1); }, {"smooth_l1_loss", "-1"}},
         {[=] { smooth_l1_loss(two, three); }, {"[2]", "[3]"}}});
  elements_case(
      "huber_loss", "huber_loss", {real(), real()}, broadcast_pairs,
      [](Tensors const& x, Reduction r) { return huber_loss(x[0], x[1], 0.7, r); },
      [](double const* v) {
        double const d = std::abs(v[0] - v[1]);
        return d <= 0.7 ? d * d / 2 : 0.7 * (d - 0.35);
      },
      {{[=] { huber_loss(two, two, 0); }, {"huber_loss", "got 0"}}, {[=] { huber_loss(two, Tensor()); }, {"huber"}}});
  elements_case(
      "binary_cross_entropy", "binary_cross_entropy", {real(0.05, 0.95), real(0.05, 0.95), real(0.2, 2)},
      {{{3, 4}, {3, 4}, {3, 4}}, {{}, {}, {}}, {{7}, {7}, {1}}, {{2, 33}, {2, 33}, {33}}},
      [](Tensors const& x, Reduction r) { return binary_cross_entropy(x[0], x[1], x[2], r); },
      [](double const* v) { return -v[2] * (v[1] * std::log(v[0]) + (1 - v[1]) * std::log(1 - v[0])); },
      {{[=] { binary_cross_entropy(two, three); }, {"[2]", "[3]"}},
       {[=] { binary_cross_entropy(two * 1.5, two); }, {"binary_cross_entropy", "0 to 1"}},
       {[=] { binary_cross_entropy(two * nan_, two); }, {"binary_cross_entropy", "0 to 1"}},
       {[=] { binary_cross_entropy(two * 0.5, two * 1.5); }, {"binary_cross_entropy", "targets"}}});
  elements_case(
      "binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits",
      {real(-4, 4), real(0, 1), real(0.2, 2), real(0.2, 2)},
      {{{3, 4}, {3, 4}, {3, 4}, {4}}, {{}, {}, {}, {}}, {{7}, {7}, {1}, {7}}, {{2, 33}, {2, 33}, {33}, {1}}},
      [](Tensors const& x, Reduction r) {
        return binary_cross_entropy_with_logits(x[0], x[1], {.weight = x[2], .pos_weight = x[3], .reduction = r});
      },
      [](double const* v) { return v[2] * (v[3] * v[1] * softplus_of(-v[0]) + (1 - v[1]) * softplus_of(v[0])); },
      {{[=] { binary_cross_entropy_with_logits(two, three); }, {"[2]", "[3]"}},
       {[=] { binary_cross_entropy_with_logits(two, two, {.weight = three}); }, {"[2]", "[3]"}}});
  for (bool log_target : {false, true})
    elements_case(
        log_target ? "kl_div log_target" : "kl_div", "kl_div", {real(-3, 0), log_target ? real(-3, 0) : real(0.1, 1)},
        broadcast_pairs,
        [=](Tensors const& x, Reduction r) { return kl_div(x[0], x[1], {.log_target = log_target, .reduction = r}); },
        [=](double const* v) { return log_target ? std::exp(v[1]) * (v[1] - v[0]) : v[1] * (std::log(v[1]) - v[0]); },
        {{[=] { kl_div(two, three); }, {"[2]", "[3]"}},
         {[=] { kl_div(scalar(1), scalar(1), {.batch_mean = true}); }, {"kl_div", "batch"}}});
  for (bool log_input : {true, false})
    for (bool full : {false, true})
      elements_case(
          std::string("poisson_nll_loss") + (log_input ? " log" : "") + (full ? " full" : ""), "poisson_nll_loss",
          {log_input ? real() : real(0.2, 3), real(0, 4, {1})}, broadcast_pairs,
          [=](Tensors const& x, Reduction r) {
            return poisson_nll_loss(x[0], x[1], {.log_input = log_input, .full = full, .eps = 1e-3, .reduction = r});
          },
          [=](double const* v) {
            double const t = v[1];
            double const loss = log_input ? std::exp(v[0]) - t * v[0] : v[0] - t * std::log(v[0] + 1e-3);
            return loss + (full && t > 1 ? t * std::log(t) - t + 0.5 * std::log(2 * std::numbers::pi * t) : 0);
          },
          {{[=] { poisson_nll_loss(two, three); }, {"[2]", "[3]"}},
           {[=] { poisson_nll_loss(two, Tensor()); }, {"poisson_nll_loss"}}});
  for (bool full : {false, true})
    elements_case(
        full ? "gaussian_nll_loss full" : "gaussian_nll_loss", "gaussian_nll_loss", {real(), real(), real(0.3, 3)},
        {{{3, 4}, {3, 4}, {3, 4}}, {{3, 4}, {3, 4}, {3, 1}}, {{7}, {1}, {}}, {{2, 3, 5}, {3, 5}, {2, 1, 1}}},
        [=](Tensors const& x, Reduction r) {
          return gaussian_nll_loss(x[0], x[1], x[2], {.full = full, .reduction = r});
        },
        [=](double const* v) {
          return 0.5 * (std::log(v[2]) + (v[0] - v[1]) * (v[0] - v[1]) / v[2]) +
                 (full ? 0.5 * std::log(2 * std::numbers::pi) : 0);
        },
        {{[=] { gaussian_nll_loss(two, two, three); }, {"gaussian_nll_loss", "[3]"}},
         {[=] { gaussian_nll_loss(two, two, -two); }, {"gaussian_nll_loss", "below 0"}},
         {[=] { gaussian_nll_loss(two, two, two, {.eps = 0}); }, {"gaussian_nll_loss", "got 0"}}});
  elements_case(
      "hinge_embedding_loss", "hinge_embedding_loss", {real(), bits()}, pairs,
      [](Tensors const& x, Reduction r) { return hinge_embedding_loss(x[0], signs(x[1]), 0.8, r); },
      [](double const* v) { return v[1] > 0.5 ? v[0] : std::max(0., 0.8 - v[0]); },
      {{[=] { hinge_embedding_loss(two, three); }, {"[2]", "[3]"}},
       {[=] { hinge_embedding_loss(Tensor(), two); }, {"hinge_embedding_loss"}}});
  elements_case(
      "margin_ranking_loss", "margin_ranking_loss", {real(), real(), bits()},
      {{{3, 4}, {3, 4}, {3, 4}}, {{}, {}, {}}, {{7}, {7}, {7}}, {{2, 5}, {5}, {2, 1}}},
      [](Tensors const& x, Reduction r) { return margin_ranking_loss(x[0], x[1], signs(x[2]), 0.3, r); },
      [](double const* v) { return std::max(0., 0.3 - (v[2] > 0.5 ? 1 : -1) * (v[0] - v[1])); },
      {{[=] { margin_ranking_loss(two, three, two); }, {"[2]", "[3]"}},
       {[=] { margin_ranking_loss(two, two, Tensor()); }, {"margin_ranking_loss"}}});
  elements_case(
      "soft_margin_loss", "soft_margin_loss", {real(), bits()}, pairs,
      [](Tensors const& x, Reduction r) { return soft_margin_loss(x[0], signs(x[1]), r); },
      [](double const* v) { return softplus_of(v[1] > 0.5 ? -v[0] : v[0]); },
      {{[=] { soft_margin_loss(two, three); }, {"[2]", "[3]"}},
       {[=] { soft_margin_loss(two, Tensor()); }, {"soft_margin_loss"}}});
}

/// Vectors of rows [.., C] as lists.
std::vector<Values> rows_of(Tensor const& x) {
  int64_t const n = x.rank() ? x.size(-1) : 1;
  Values const all = x.to_vector<double>();
  std::vector<Values> rows;
  for (size_t at = 0; at < all.size(); at += size_t(n))
    rows.emplace_back(all.begin() + int64_t(at), all.begin() + int64_t(at) + n);
  return rows;
}
Shape without_last(Tensor const& x) {
  Shape shape = x.shape();
  if (x.rank()) shape.erase(x.rank() - 1);
  return shape;
}
double dot(Values const& a, Values const& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}
double distance(Values const& a, Values const& b, double p, double eps) {
  double total = p == -inf ? inf : 0;
  for (size_t i = 0; i < a.size(); ++i) {
    double const d = std::abs(a[i] - b[i] + eps);
    if (std::isinf(p))
      total = p > 0 ? std::max(total, d) : std::min(total, d);
    else
      total += p == 0 ? d != 0 : std::pow(d, p);
  }
  return std::isinf(p) || p == 0 ? total : std::pow(total, 1 / p);
}
/// f(row of x[0], row of x[1], …) for every row.
Tensor each_row(Tensors const& x, std::function<double(std::vector<Values> const&)> const& f) {
  std::vector<std::vector<Values>> operands;
  for (Tensor const& t : x) operands.push_back(rows_of(t.detach()));
  Values out;
  for (size_t r = 0; r < operands[0].size(); ++r) {
    std::vector<Values> row;
    for (auto const& operand : operands) row.push_back(operand[r]);
    out.push_back(f(row));
  }
  return tensor(out, without_last(x[0]));
}

void distance_losses() {
  Tensor const two = ones({2, 4}), three = ones({3, 4});
  std::vector<Shapes> const shapes{{{3, 4}, {3, 4}}, {{5}, {5}}, {{2, 3, 7}, {2, 3, 7}}, {{2, 33}, {2, 33}}};
  OpCase similarity{.name = "cosine_similarity",
                    .covers = "cosine_similarity",
                    .inputs = {real(), real()},
                    .shapes = shapes,
                    .op = [](Tensors const& x) { return Tensors{cosine_similarity(x[0], x[1], -1)}; },
                    .twin =
                        [](Tensors const& x) {
                          return Tensors{each_row(x, [](std::vector<Values> const& v) {
                            return dot(v[0], v[1]) / std::sqrt(dot(v[0], v[0]) * dot(v[1], v[1]));
                          })};
                        }};
  similarity.bad = {{[=] { cosine_similarity(two, three); }, {"[2, 4]", "[3, 4]"}},
                    {[=] { cosine_similarity(two, two, 2); }, {"cosine_similarity", "got 2"}},
                    {[=] { cosine_similarity(arange(3), arange(3), 0); }, {"cosine_similarity", "i64"}}};
  list().push_back(similarity);

  for (double p : {2., 1., 3.5, 0.5, inf, -inf, 0., -1.}) {
    OpCase c{.name = "pairwise_distance " + std::to_string(p),
             .covers = "pairwise_distance",
             .inputs = {real(), real(3, 5)},
             .shapes = shapes,
             .op = [=](Tensors const& x) { return Tensors{pairwise_distance(x[0], x[1], p, 1e-3)}; },
             .twin = [=](Tensors const& x) -> Tensors {
               return {each_row(x, [=](std::vector<Values> const& v) { return distance(v[0], v[1], p, 1e-3); })};
             }};
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 2e-6;
    if (p == 0) c.differentiable = false;
    c.bad = {{[=] { pairwise_distance(two, three); }, {"[2, 4]", "[3, 4]"}},
             {[] { pairwise_distance(scalar(1), scalar(2)); }, {"pairwise_distance", "scalars"}}};
    list().push_back(c);
  }
  for (bool swap : {false, true})
    rows_case(
        swap ? "triplet_margin_loss swap" : "triplet_margin_loss", "triplet_margin_loss", {real(), real(), real()},
        {{{3, 4}, {3, 4}, {3, 4}}, {{5}, {5}, {5}}, {{2, 33}, {2, 33}, {2, 33}}},
        [=](Tensors const& x, Reduction r) {
          return triplet_margin_loss(x[0], x[1], x[2], {.margin = 0.9, .swap = swap, .reduction = r});
        },
        [=](Tensors const& x) {
          return each_row(x, [=](std::vector<Values> const& v) {
            double far = distance(v[0], v[2], 2, 1e-6);
            if (swap) far = std::min(far, distance(v[1], v[2], 2, 1e-6));
            return std::max(0., distance(v[0], v[1], 2, 1e-6) - far + 0.9);
          });
        },
        {{[=] { triplet_margin_loss(two, three, two); }, {"[2, 4]", "[3, 4]"}},
         {[=] { triplet_margin_loss(two, two, ones({4})); }, {"triplet_margin_loss", "[4]"}},
         {[=] { triplet_margin_loss(two, two, two, {.margin = 0}); }, {"triplet_margin_loss", "got 0"}}});
  rows_case(
      "cosine_embedding_loss", "cosine_embedding_loss", {real(), real(), bits()},
      {{{3, 4}, {3, 4}, {3}}, {{5}, {5}, {}}, {{2, 33}, {2, 33}, {2}}},
      [](Tensors const& x, Reduction r) { return cosine_embedding_loss(x[0], x[1], signs(x[2]), 0.1, r); },
      [](Tensors const& x) {
        Values const target = x[2].to_vector<double>();
        size_t row = 0;
        return each_row({x[0], x[1]}, [&](std::vector<Values> const& v) {
          double const cosine = dot(v[0], v[1]) / std::sqrt(dot(v[0], v[0]) * dot(v[1], v[1]));
          return target[row++] > 0.5 ? 1 - cosine : std::max(0., cosine - 0.1);
        });
      },
      {{[=] { cosine_embedding_loss(two, three, ones({2})); }, {"[2]", "[3]"}},
       {[=] { cosine_embedding_loss(two, two, two); }, {"cosine_embedding_loss", "[2, 4]"}}});
}

Indices row_indices(Tensor const& t) { return t.to_vector<int64_t>(); }

void class_losses() {
  Tensor const logits = ones({2, 3}), ok = zeros({2}, Dtype::i64), out = full({2}, 3, Dtype::i64);
  for (int64_t ignored : {-100, 1}) {
    NllOptions options{.ignore_index = ignored};
    for (Reduction reduction : {Reduction::mean, Reduction::none, Reduction::sum}) {
      OpCase c{.name = with_reduction(ignored < 0 ? "nll_loss" : "nll_loss ignoring", reduction),
               .covers = "nll_loss",
               .inputs = {real(-3, 0), index(4), real(0.2, 2)},
               .shapes = {{{3, 4}, {3}, {4}}, {{2, 4, 3}, {2, 3}, {4}}, {{9, 4, 2, 3}, {9, 2, 3}, {4}}},
               .op =
                   [=](Tensors const& x) {
                     NllOptions o = options;
                     o.weight = x[2];
                     o.reduction = reduction;
                     return Tensors{nll_loss(x[0], x[1], o)};
                   },
               .twin = [=](Tensors const& x) -> Tensors {
                 Values const log_p = x[0].to_vector<double>(), w = x[2].to_vector<double>();
                 Indices const t = row_indices(x[1]);
                 size_t const rows = x[0].rank() > 1 ? size_t(x[0].size(0)) : 1, inner = t.size() / rows;
                 Values losses;
                 double total = 0, weight = 0;
                 for (size_t n = 0; n < rows; ++n)
                   for (size_t i = 0; i < inner; ++i) {
                     size_t const c = size_t(t[n * inner + i]);
                     double const wc = int64_t(c) == ignored ? 0 : w[c];
                     losses.push_back(-wc * log_p[(n * 4 + c) * inner + i]);
                     total += losses.back();
                     weight += wc;
                   }
                 if (reduction == Reduction::mean) return {scalar(total / weight, Dtype::f64)};
                 return {reduce_plainly(losses, x[1].shape(), reduction)};
               }};
      if (ignored < 0) c.shapes.push_back({{4}, {}, {4}});
      c.f32 = 1e-5;
      c.bad = {{[=] { nll_loss(logits, out); }, {"nll_loss", "target 3 at position 0", "0 to 2"}},
               {[=] { nll_loss(logits, zeros({3}, Dtype::i64)); }, {"nll_loss", "[2] i64", "[3]"}},
               {[=] { nll_loss(logits, ones({2})); }, {"nll_loss", "f32"}},
               {[=] { nll_loss(logits, ok, {.weight = ones({2})}); }, {"nll_loss", "weight of shape [3]", "[2]"}}};
      list().push_back(c);
    }
  }
  for (double p : {1., 2.}) {
    auto const options = [=](Tensor const& weight, Reduction r) {
      return MultiMarginOptions{.p = p, .margin = 0.7, .weight = weight, .reduction = r};
    };
    rows_case(
        "multi_margin_loss " + std::to_string(int(p)), "multi_margin_loss", {real(), index(5), real(0.2, 2)},
        {{{3, 5}, {3}, {5}}, {{5}, {}, {5}}, {{9, 5}, {9}, {5}}},
        [=](Tensors const& x, Reduction r) { return multi_margin_loss(x[0], x[1], options(x[2], r)); },
        [=](Tensors const& x) {
          Values const w = x[2].to_vector<double>();
          Indices const t = row_indices(x[1]);
          size_t row = 0;
          return each_row({x[0]}, [&](std::vector<Values> const& v) {
            size_t const y = size_t(t[row++]);
            double total = 0;
            for (size_t i = 0; i < v[0].size(); ++i)
              if (i != y) total += std::pow(std::max(0., 0.7 - v[0][y] + v[0][i]), p);
            return total * w[y] / double(v[0].size());
          });
        },
        {{[=] { multi_margin_loss(logits, out); }, {"multi_margin_loss", "target 3 at position 0"}},
         {[=] { multi_margin_loss(logits, ok, {.p = 3}); }, {"multi_margin_loss", "got 3"}},
         {[=] { multi_margin_loss(logits, zeros({3}, Dtype::i64)); }, {"multi_margin_loss", "[3]"}}});
  }
  // Targets: the class itself, then the first −1.
  rows_case(
      "multilabel_margin_loss", "multilabel_margin_loss", {real(), index(5)},
      {{{3, 5}, {3, 5}}, {{5}, {5}}, {{9, 5}, {9, 5}}},
      [=](Tensors const& x, Reduction r) { return multilabel_margin_loss(x[0], x[1] - 1, r); },
      [=](Tensors const& x) {
        Indices const t = row_indices(x[1]);
        size_t row = 0;
        return each_row({x[0]}, [&](std::vector<Values> const& v) {
          size_t const n = v[0].size();
          std::vector<size_t> targets;
          for (size_t j = 0; j < n && t[row * n + j] > 0; ++j) targets.push_back(size_t(t[row * n + j] - 1));
          ++row;
          double total = 0;
          for (size_t j : targets)
            for (size_t i = 0; i < n; ++i)
              if (std::count(targets.begin(), targets.end(), i) == 0) total += std::max(0., 1 - v[0][j] + v[0][i]);
          return total / double(n);
        });
      },
      {{[=] {
          multilabel_margin_loss(logits, full({2, 3}, 3, Dtype::i64));
        },
        {"multilabel_margin_loss", "target 3"}},
       {[=] { multilabel_margin_loss(logits, ok); }, {"multilabel_margin_loss", "[2, 3]", "[2]"}},
       {[=] { multilabel_margin_loss(logits, logits); }, {"multilabel_margin_loss", "f32"}}});
  rows_case(
      "multilabel_soft_margin_loss", "multilabel_soft_margin_loss", {real(), real(0, 1), real(0.2, 2)},
      {{{3, 5}, {3, 5}, {3, 5}}, {{5}, {5}, {5}}, {{2, 3, 7}, {2, 3, 7}, {2, 3, 7}}},
      [=](Tensors const& x, Reduction r) { return multilabel_soft_margin_loss(x[0], x[1], x[2], r); },
      [=](Tensors const& x) {
        return each_row(x, [](std::vector<Values> const& v) {
          double total = 0;
          for (size_t i = 0; i < v[0].size(); ++i)
            total += v[2][i] * (v[1][i] * softplus_of(-v[0][i]) + (1 - v[1][i]) * softplus_of(v[0][i]));
          return total / double(v[0].size());
        });
      },
      {{[=] { multilabel_soft_margin_loss(logits, ones({3})); }, {"[2, 3]", "[3]"}},
       {[] { multilabel_soft_margin_loss(scalar(1), scalar(1)); }, {"multilabel_soft_margin_loss", "scalar"}}});
}

/// log Σ over every path of T steps that spells `target`, of the product of its probabilities.
double log_probability(Tensor const& log_p, int64_t n, int64_t steps, Indices const& target, int64_t blank) {
  int64_t const classes = log_p.size(2), batch = log_p.size(1);
  Values const x = log_p.to_vector<double>();
  double total = 0;
  int64_t paths = 1;
  for (int64_t t = 0; t < steps; ++t) paths *= classes;
  for (int64_t path = 0; path < paths; ++path) {
    Indices spelt;
    double log = 0;
    int64_t before = -1, rest = path;
    for (int64_t t = 0; t < steps; ++t, rest /= classes) {
      int64_t const c = rest % classes;
      log += x[size_t((t * batch + n) * classes + c)];
      if (c != blank && c != before) spelt.push_back(c);
      before = c;
    }
    if (spelt == target) total += std::exp(log);
  }
  return std::log(total);
}

void ctc_cases() {
  std::vector<Indices> const targets{{1, 1}, {2, 1, 2}, {}};
  Tensor const padded = tensor(Indices{1, 1, 7, 2, 1, 2, 7, 7, 7}, {3, 3}),
               joined = tensor(Indices{1, 1, 2, 1, 2}, {5});
  Indices const inputs{5, 4, 3}, lengths{2, 3, 0};
  for (Reduction reduction : {Reduction::mean, Reduction::none, Reduction::sum})
    for (int64_t blank : {0, 3}) {
      OpCase c{.name = with_reduction("ctc_loss " + std::to_string(blank), reduction),
               .covers = "ctc_loss",
               .inputs = {real(-3, 0)},
               .shapes = {{{5, 3, 4}}},
               .op =
                   [=](Tensors const& x) {
                     CtcOptions const options{.blank = blank, .reduction = reduction};
                     return Tensors{ctc_loss(x[0], blank ? joined : padded, inputs, lengths, options)};
                   },
               .twin = [=](Tensors const& x) -> Tensors {
                 Values losses;
                 for (size_t n = 0; n < 3; ++n) {
                   losses.push_back(-log_probability(x[0], int64_t(n), inputs[n], targets[n], blank));
                   if (reduction == Reduction::mean) losses.back() /= double(std::max(lengths[n], int64_t{1}));
                 }
                 return {reduce_plainly(losses, {3}, reduction)};
               }};
      c.large = {{5, 3, 4}};
      c.f32 = 1e-5, c.gradient_f32 = 2e-4;
      Tensor const x = zeros({5, 3, 4});
      c.bad = {{[=] {
                  ctc_loss(x, padded, {5, 4}, lengths);
                },
                {"ctc_loss", "expected 3 lengths"}},
               {[=] {
                  ctc_loss(x, padded, {6, 4, 3}, lengths);
                },
                {"ctc_loss", "input length 6"}},
               {[=] {
                  ctc_loss(x, padded, inputs, {4, 3, 0});
                },
                {"ctc_loss", "target length 4"}},
               {[=] {
                  ctc_loss(x, padded, inputs, {3, 3, 0});
                },
                {"ctc_loss", "target 7"}},
               {[=] { ctc_loss(x, padded, inputs, lengths, {.blank = 4}); }, {"ctc_loss", "blank 4"}},
               {[=] {
                  ctc_loss(x, ones({3, 3}), inputs, lengths);
                },
                {"ctc_loss", "f32"}}};
      list().push_back(c);
    }
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    element_losses();
    distance_losses();
    class_losses();
    ctc_cases();
    return OpSuite{.sections = {"losses"}, .cases = list()};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("binary_cross_entropy: its logarithms stop at -100, its gradient at 1e12") {
  Tensor const x = tensor({0, 1, 0, 1}).requires_grad_();
  Tensor const t = tensor({0, 1, 1, 0});
  Tensor const y = binary_cross_entropy(x, t, {}, Reduction::none);
  CHECK(y.to_vector<double>() == Values{0, 0, 100, 100});
  auto const d = grad({sum(y)}, {x})[0].to_vector<double>();
  CHECK((d[0] == 0 && d[1] == 0));
  CHECK(d[2] == doctest::Approx(-1e12));
  CHECK(d[3] == doctest::Approx(1e12));
}

TEST_CASE("losses keep finite where a formula would not") {
  Tensor const big = tensor({1000, -1000}), t = tensor({1, 0});
  CHECK(binary_cross_entropy_with_logits(big, t).item() == 0);
  CHECK(binary_cross_entropy_with_logits(-big, t).item() == 1000);
  CHECK(soft_margin_loss(-big, tensor({1, -1})).item() == 1000);
  // Targets of 0 add nothing.
  CHECK(kl_div(tensor({-1, -2}), tensor({0, 1})).item() == 1);
  // Equal points: distance 0 with gradient 0.
  Tensor const a = ones({2, 3}).requires_grad_();
  CHECK(grad({sum(pairwise_distance(a, ones({2, 3}), 2, 0))}, {a})[0].to_vector() == std::vector<float>(6, 0));
  Tensor const zero = zeros({3}).requires_grad_();
  CHECK(cosine_similarity(zero, ones({3}), 0).item() == 0);
  CHECK(cosine_similarity(scalar(-3), scalar(2), 0).item() == -1);
  // An ignored element may be anything.
  CHECK(nll_loss(log(tensor({{0, 0}, {0.5, 1}})), tensor(Indices{0, 1}, {2}), {.ignore_index = 0}).item() == 0);
  CHECK(std::isnan(nll_loss(zeros({0, 3}), zeros({0}, Dtype::i64)).item()));
  // A variance below eps counts as eps and still gets a gradient.
  Tensor const v = scalar(1e-9, Dtype::f64).requires_grad_();
  Tensor const loss = gaussian_nll_loss(scalar(1, Dtype::f64), scalar(1, Dtype::f64), v, {.eps = 0.5});
  CHECK(loss.item() == doctest::Approx(0.5 * std::log(0.5)));
  CHECK(grad({loss}, {v})[0].item() == doctest::Approx(1));
}

TEST_CASE("kl_div: the mean over the batch") {
  Tensor const x = log(tensor({{0.5, 0.5}, {0.25, 0.75}})), t = tensor({{0.5, 0.5}, {0.5, 0.5}});
  double const want = (0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75)) / 2;
  CHECK(kl_div(x, t, {.batch_mean = true}).item() == doctest::Approx(want));
}

TEST_CASE("ctc_loss: NaN goes through, what is impossible does not") {
  Tensor const targets = tensor(std::vector<int64_t>{1}, {1, 1});
  auto const loss = [&](double last) {  // two steps, one sequence, blank and one symbol
    Tensor const log_p = tensor({-1, -1, -1, float(last)}).reshape({2, 1, 2});
    return ctc_loss(log_p, targets, {2}, {1}, {.reduction = Reduction::none}).item();
  };
  CHECK(std::isnan(loss(nan_)));
  CHECK(loss(-inf) == doctest::Approx(2));  // the symbol, then blank
}

TEST_CASE("ctc_loss: targets that do not fit, and inputs of no steps") {
  Tensor const x = log(full({3, 1, 3}, 1. / 3, Dtype::f64)).requires_grad_();
  Tensor const repeated = tensor(Indices{1, 1, 2}, {1, 3});
  CtcOptions const none{.reduction = Reduction::none}, zero{.zero_infinity = true, .reduction = Reduction::none};
  CHECK(ctc_loss(x, repeated, {3}, {3}, none).item() == inf);
  Tensor const y = ctc_loss(x, repeated, {3}, {3}, zero);
  CHECK(y.item() == 0);
  CHECK(grad({sum(y)}, {x})[0].to_vector() == std::vector<float>(9, 0));
  CHECK(ctc_loss(x, repeated, {0}, {0}, none).item() == 0);
  CHECK(ctc_loss(x, repeated, {0}, {1}, none).item() == inf);
  // One sample without a batch axis.
  CHECK(ctc_loss(x.select(1, 0), tensor(Indices{1, 2}, {2}), {3}, {2}, none).rank() == 0);
  CHECK(ctc_loss(x.select(1, 0), tensor(Indices{1, 2}, {2}), {3}, {2}).item() ==
        doctest::Approx(-std::log(5. / 27) / 2));
}
