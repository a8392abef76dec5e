// Fused neural primitives.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr int64_t big = 30011;

/// Where the makers below put their records.
std::vector<OpCase>& list() {
  static std::vector<OpCase> records;
  return records;
}

Tensor optional(Tensors const& x, size_t i) { return i < x.size() ? x[i] : Tensor(); }

void neural_cases() {
  for (bool log : {false, true}) {
    auto fused = log ? heed::log_softmax : heed::softmax;
    auto twin = log ? naive::log_softmax : naive::softmax;
    OpCase c{
        .name = log ? "log_softmax" : "softmax",
        .covers = log ? "log_softmax" : "softmax",
        .inputs = {real(-4, 4)},
        .shapes = {{{3, 5}}, {{1}}, {{2, 3, 4}}, {{7}}, {{2, 8}}, {{3, 9}}, {{2, 17}}, {{3, 33}}, {{0, 4}}, {{5, 130}}},
        .op = [=](Tensors const& x) { return Tensors{fused(x[0], -1)}; },
        .twin = [=](Tensors const& x) { return Tensors{twin(x[0], -1)}; }};
    c.large = {{300, 513}};
    c.bad = {{[=] {
                fused(ones({2, 3}), 2);
              },
              {c.name, "got 2"}},
             {[=] { fused(scalar(1), 0); }, {c.name}},
             {[=] { fused(arange(4), 0); }, {c.name, "i64"}},
             {[=] { fused(Tensor(), 0); }, {c.name}}};
    list().push_back(c);
    c.name += " first axis";
    c.shapes = {{{3, 5}}, {{2, 3, 4}}, {{9, 2}}};
    c.op = [=](Tensors const& x) { return Tensors{fused(x[0], 0)}; };
    c.twin = [=](Tensors const& x) { return Tensors{twin(x[0], 0)}; };
    c.bad = {};
    list().push_back(c);
  }
  for (int scales : {0, 1, 2}) {
    OpCase c{.name = "layer_norm " + std::to_string(scales),
             .covers = "layer_norm",
             .inputs = {real()},
             .shapes = {{{3, 5}}, {{2, 2, 3}}, {{7}}, {{2, 8}}, {{3, 9}}, {{2, 17}}, {{3, 33}}, {{0, 4}}, {{5, 130}}},
             .op = [](Tensors const& x) { return Tensors{layer_norm(x[0], optional(x, 1), optional(x, 2))}; },
             .twin = [](Tensors const& x) { return Tensors{naive::layer_norm(x[0], optional(x, 1), optional(x, 2))}; }};
    c.large = {{500, 257}};
    for (int s = 0; s < scales; ++s) {
      c.inputs.push_back(real());
      for (Shapes& shapes : c.shapes) shapes.push_back({shapes[0].back()});
      c.large.push_back({257});
    }
    c.gradcheck.tolerance = 2e-6;  // third derivatives grow as the variance shrinks
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.bad = {{[] { layer_norm(scalar(1)); }, {"layer_norm", "at least one axis"}},
             {[] {
                layer_norm(ones({2, 3}), ones({4}));
              },
              {"layer_norm", "weight of shape [3]", "[2, 3]", "[4]"}},
             {[] {
                layer_norm(ones({2, 3}), ones({3}), ones({2}));
              },
              {"layer_norm", "bias of shape [3]", "[2]"}},
             {[] {
                layer_norm(ones({2, 3}), ones({3}, Dtype::f64));
              },
              {"layer_norm", "f32", "f64"}},
             {[] { layer_norm(arange(4)); }, {"layer_norm", "i64"}},
             {[] { layer_norm(Tensor()); }, {"layer_norm"}}};
    list().push_back(c);
  }
  for (int scales : {0, 1}) {
    OpCase c{.name = "rms_norm " + std::to_string(scales),
             .covers = "rms_norm",
             .inputs = {real()},
             .shapes = {{{3, 5}}, {{2, 2, 3}}, {{7}}, {{2, 8}}, {{3, 9}}, {{2, 17}}, {{3, 33}}, {{0, 4}}, {{5, 130}}},
             .op = [](Tensors const& x) { return Tensors{rms_norm(x[0], optional(x, 1))}; },
             .twin = [](Tensors const& x) { return Tensors{naive::rms_norm(x[0], optional(x, 1))}; }};
    c.large = {{500, 257}};
    if (scales) {
      c.inputs.push_back(real());
      for (Shapes& shapes : c.shapes) shapes.push_back({shapes[0].back()});
      c.large.push_back({257});
    }
    c.gradcheck.tolerance = 2e-6;
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.bad = {{[] {
                rms_norm(ones({2, 3}), ones({4}));
              },
              {"rms_norm", "weight of shape [3]", "[4]"}},
             {[] { rms_norm(scalar(1)); }, {"rms_norm"}}};
    list().push_back(c);
  }

  for (Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
    for (double smoothing : {0., 0.2})
      for (int64_t ignored : {-100, 2}) {
        CrossEntropyOptions const options{
            .ignore_index = ignored, .label_smoothing = smoothing, .reduction = reduction};
        OpCase c{.name = "cross_entropy " + std::to_string(int(reduction)) + (smoothing > 0 ? " smoothed" : "") +
                         (ignored >= 0 ? " ignoring" : ""),
                 .covers = "cross_entropy",
                 .inputs = {real(-3, 3), index(5)},
                 .shapes = {{{6, 5}, {6}}, {{2, 3, 7}, {2, 3}}, {{5}, {}}, {{9, 8}, {9}}, {{17, 33}, {17}}},
                 .op = [=](Tensors const& x) { return Tensors{cross_entropy(x[0], x[1], options)}; },
                 .twin = [=](Tensors const& x) { return Tensors{naive::cross_entropy(x[0], x[1], options)}; }};
        c.large = {{400, 257}, {400}};
        c.bad = {{[] {
                    cross_entropy(ones({2, 3}), zeros({3}, Dtype::i64));
                  },
                  {"cross_entropy", "[2] i64", "[2, 3]", "[3]"}},
                 {[] {
                    cross_entropy(ones({2, 3}), zeros({2}));
                  },
                  {"cross_entropy", "i64", "f32"}},
                 {[] {
                    cross_entropy(ones({2, 3}), full({2}, 3, Dtype::i64));
                  },
                  {"cross_entropy", "target 3 of row 0", "3 classes"}},
                 {[] {
                    cross_entropy(ones({2, 3}), full({2}, -1, Dtype::i64));
                  },
                  {"cross_entropy", "target -1 of row 0"}},
                 {[] { cross_entropy(scalar(1), zeros({}, Dtype::i64)); }, {"cross_entropy"}},
                 {[] {
                    cross_entropy(ones({2, 3}), zeros({2}, Dtype::i64), {.label_smoothing = 1.5});
                  },
                  {"cross_entropy", "1.5"}},
                 {[] { cross_entropy(Tensor(), zeros({2}, Dtype::i64)); }, {"cross_entropy"}},
                 {[] {
                    cross_entropy(ones({2, 3}), Tensor());
                  },
                  {"cross_entropy"}}};
        list().push_back(c);
      }

  OpCase lookup{
      .name = "embedding",
      .covers = "embedding",
      .inputs = {index(4), real()},
      .shapes = {{{2, 3}, {4, 5}}, {{}, {4, 3}}, {{7}, {5, 1}}, {{0}, {4, 8}}, {{9}, {4, 33}}, {{3, 5}, {6, 17}}},
      .op = [](Tensors const& x) { return Tensors{embedding(x[0], x[1])}; },
      .twin = [](Tensors const& x) { return Tensors{naive::embedding(x[0], x[1])}; }};
  lookup.large = {{3000}, {4, 64}};
  lookup.bad = {{[] {
                   embedding(full({2}, 4, Dtype::i64), ones({4, 3}));
                 },
                 {"embedding", "index 4 at position 0", "4 rows", "0 to 3"}},
                {[] {
                   embedding(full({2}, -1, Dtype::i64), ones({4, 3}));
                 },
                 {"embedding", "index -1"}},
                {[] {
                   embedding(zeros({2}), ones({4, 3}));
                 },
                 {"embedding", "i64", "f32"}},
                {[] { embedding(zeros({2}, Dtype::i64), ones({4})); }, {"embedding", "[4]"}},
                {[] {
                   embedding(Tensor(), ones({4, 3}));
                 },
                 {"embedding"}},
                {[] { embedding(zeros({2}, Dtype::i64), Tensor()); }, {"embedding"}}};
  list().push_back(lookup);

  OpCase drop{.name = "dropout",
              .covers = "dropout",
              .inputs = {real()},
              .shapes = {{{3, 5}}, {{}}, {{1}}, {{7}}, {{8}}, {{9}}, {{17}}, {{33}}, {{0}}, {{4, 65}}},
              .op =
                  [](Tensors const& x) {
                    return Tensors{dropout(x[0], 0.3, Draw{42, 7})};
                  },
              .twin =
                  [](Tensors const& x) {
                    return Tensors{naive::dropout(x[0], 0.3, Draw{42, 7})};
                  }};
  drop.elementwise_bits = true;
  drop.large = {{3, big}};
  drop.bad = {{[] { dropout(ones({2}), 1.0); }, {"dropout", "got 1"}},
              {[] { dropout(ones({2}), -0.1); }, {"dropout", "-0.1"}},
              {[] { dropout(Tensor(), 0.5); }, {"dropout"}},
              {[] { dropout(arange(3), 0.5); }, {"dropout", "i64"}},
              {[] { dropout(ones({2}), std::nan("")); }, {"dropout", "nan"}}};
  list().push_back(drop);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    list().reserve(400);  // the makers above hand out references
    neural_cases();
    return OpSuite{.sections = {"fused neural primitives, each with a naive twin below"}, .cases = list()};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("rows: special values of reductions, softmax and losses") {
  auto row = [](std::vector<double> v, Dtype dtype) { return tensor(v, {int64_t(v.size())}).to(dtype); };
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (int padding : {0, 20}) {
        INFO(std::string(name(level)), " ", std::string(name(dtype)), " padding ", padding);
        auto padded = [&](std::vector<double> v, double with) {
          v.insert(v.end(), size_t(padding), with);
          return row(v, dtype);
        };
        CHECK(std::isnan(sum(padded({inf, -inf}, 0)).item()));
        CHECK(sum(padded({inf, 1}, 0)).item() == inf);
        CHECK(std::isnan(amax(padded({1, nan_, inf}, 0), {0}).item()));
        CHECK(std::isnan(amin(padded({nan_, 1, -inf}, 0), {0}).item()));
        CHECK(amax(padded({-inf, -inf}, -inf), {0}).item() == -inf);
        CHECK(argmax(padded({1, 3, 3, 2}, 0), 0).item<int64_t>() == 1);
        CHECK(argmin(padded({1, -3, -3, 2}, 0), 0).item<int64_t>() == 1);
        CHECK(logsumexp(padded({-inf, -inf}, -inf), 0).item() == -inf);
        CHECK(logsumexp(padded({inf, 1}, 0), 0).item() == inf);
        CHECK(logsumexp(padded({1e4, 1e4}, -inf), 0).item() == doctest::Approx(1e4 + std::log(2.)));
        CHECK(std::isnan(logsumexp(padded({1, nan_}, 0), 0).item()));
        CHECK(softmax(padded({-inf, 2, -inf, 2}, -inf)).to_vector<double>()[1] == 0.5);
        CHECK(softmax(padded({-inf, 2, -inf, 2}, -inf)).to_vector<double>()[0] == 0);
        CHECK(log_softmax(padded({-inf, 2}, -inf)).to_vector<double>()[0] == -inf);
        CHECK(softmax(padded({1e4, 0}, 0)).to_vector<double>()[0] == 1);
        for (double v : softmax(padded({1, nan_}, 0)).to_vector<double>()) CHECK(std::isnan(v));
        CHECK(prod(padded({2, 0, 3}, 1), 0).item() == 0);
        // A zero among the factors: the gradient needs no division.
        Tensor const factors = padded({2, 0, 3}, 1).requires_grad_();
        auto const d = grad({prod(factors, 0)}, {factors})[0].to_vector<double>();
        CHECK((d[0] == 0 && d[1] == 6 && d[2] == 0));
        // Constant rows have no variance: the norm is the bias.
        for (double v : layer_norm(padded({5, 5}, 5)).to_vector<double>()) CHECK(std::abs(v) < 1e-3);
        for (double v : rms_norm(padded({0, 0}, 0)).to_vector<double>()) CHECK(v == 0);
        // Losses.
        Tensor const logits = padded({1, 2, 3}, -inf).unsqueeze(0);
        Tensor const ignored = full({1}, -100, Dtype::i64), second = full({1}, 1, Dtype::i64);
        CHECK(std::isnan(cross_entropy(logits, ignored).item()));  // the mean of no rows
        CHECK(cross_entropy(logits, ignored, {.reduction = Reduction::sum}).item() == 0);
        CHECK(cross_entropy(logits, second).item() == doctest::Approx(std::log(std::exp(-1.) + 1 + std::exp(1.))));
      }
  });
}
