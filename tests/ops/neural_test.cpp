// Fused neural primitives.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr int64_t big = 30011;

Tensor optional(Tensors const& x, size_t i) { return i < x.size() ? x[i] : Tensor(); }

void neural_cases() {
  for (bool log : {false, true}) {
    auto const fused = [log](Tensor const& x, int axis) { return log ? log_softmax(x, axis) : softmax(x, axis); };
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
             {[=] { fused(scalar(1), 1); }, {c.name, "got 1"}},
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
  for (int which : {0, 1, 2}) {
    std::string const name = which == 0 ? "softmax" : which == 1 ? "log_softmax" : "softmin";
    auto const plain = [=](Tensor const& x) {
      return which == 0 ? naive::softmax(x) : which == 1 ? naive::log_softmax(x) : naive::softmax(-x);
    };
    OpCase c{.name = name + " as f64",
             .covers = name,
             .inputs = {real(-4, 4)},
             .shapes = {{{3, 5}}, {{7}}, {{0, 4}}, {{5, 0}}, {{2, 33}}},
             .op = [=](Tensors const& x) -> Tensors {
               if (which == 0) return {softmax(x[0], -1, Dtype::f64)};
               return {which == 1 ? log_softmax(x[0], -1, Dtype::f64) : softmin(x[0], -1, Dtype::f64)};
             },
             .twin = [=](Tensors const& x) { return Tensors{x[0].numel() ? plain(x[0]) : x[0]}; }};
    c.bad = {{[=] { softmin(ones({2, 3}), 2); }, {"softmin", "got 2"}}, {[] { softmin(Tensor()); }, {"neg"}}};
    if (which < 2) c.bad = {};
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
  drop.bad = {{[] { dropout(ones({2}), 1.5); }, {"dropout", "got 1.5"}},
              {[] { dropout(ones({2}), -0.1); }, {"dropout", "-0.1"}},
              {[] { dropout(Tensor(), 0.5); }, {"dropout"}},
              {[] { dropout(arange(3), 0.5); }, {"dropout", "i64"}},
              {[] { dropout(ones({2}), std::nan("")); }, {"dropout", "nan"}}};
  list().push_back(drop);
}

/// x [N, C, ..] read as [rows, n]: (x − mean)/√(var + eps) of each row, then the channels' scale.
Tensor normalised_plainly(Tensor const& x, int64_t groups, bool whole_batch, Tensor const& weight, Tensor const& bias,
                          double eps) {
  auto const v = x.to_vector<double>(), w = weight.to_vector<double>(), b = bias.to_vector<double>();
  size_t const channels = size_t(x.size(1)), batch = size_t(x.size(0)), inner = v.size() / (channels * batch);
  std::vector<double> out(v.size());
  size_t const width = channels / size_t(groups);
  for (size_t n = 0; n < (whole_batch ? 1 : batch); ++n)
    for (size_t group = 0; group < size_t(groups); ++group) {
      std::vector<size_t> members;
      for (size_t m = whole_batch ? 0 : n; m < (whole_batch ? batch : n + 1); ++m)
        for (size_t c = group * width; c < (group + 1) * width; ++c)
          for (size_t i = 0; i < inner; ++i) members.push_back((m * channels + c) * inner + i);
      double mean = 0, var = 0;
      for (size_t at : members) mean += v[at] / double(members.size());
      for (size_t at : members) var += (v[at] - mean) * (v[at] - mean) / double(members.size());
      for (size_t at : members) {
        size_t const c = at / inner % channels;
        out[at] = (v[at] - mean) / std::sqrt(var + eps) * w[c] + b[c];
      }
    }
  return tensor(out, x.shape());
}

/// Which whole channels (or elements, if `inner` is 1) survive, from dropout itself.
std::vector<double> survivors(Shape const& shape, double p) {
  Generator generator(9);
  return dropout(ones(shape, Dtype::f64), p, generator).to_vector<double>();
}

void dropout_cases() {
  using Drop = std::function<Tensor(Tensor const&, double, Generator&)>;
  struct Kind {
    std::string name;
    Drop drop;
    Shape shape, choices;
    bool alpha;
  };
  Drop const one = dropout1d, two = dropout2d, three = dropout3d;
  std::vector<Kind> const kinds{{"dropout1d", one, {3, 4, 5}, {3, 4, 1}, false},
                                {"dropout1d", one, {4, 5}, {4, 1}, false},
                                {"dropout2d", two, {3, 4, 5}, {3, 4, 1}, false},
                                {"dropout2d", two, {3, 4, 5, 2}, {3, 4, 1, 1}, false},
                                {"dropout3d", three, {3, 4, 5, 2, 2}, {3, 4, 1, 1, 1}, false},
                                {"dropout3d", three, {4, 5, 2, 2}, {4, 1, 1, 1}, false},
                                {"alpha_dropout", alpha_dropout, {4, 5}, {4, 5}, true},
                                {"feature_alpha_dropout", feature_alpha_dropout, {3, 4, 5}, {3, 4, 1}, true}};
  for (Kind const& k : kinds)
    for (double p : {0., 0.4, 1.}) {
      OpCase c{.name = k.name + " " + to_string(k.shape) + " " + std::to_string(p),
               .covers = k.name,
               .inputs = {real()},
               .shapes = {{k.shape}},
               .op =
                   [=](Tensors const& x) {
                     Generator generator(9);
                     return Tensors{k.drop(x[0], p, generator)};
                   },
               .twin = [=](Tensors const& x) -> Tensors {
                 auto v = x[0].to_vector<double>(), keep = survivors(k.choices, p);
                 size_t const inner = v.size() / keep.size();
                 double const low = -1.7580993408473766, q = 1 - p, a = 1 / std::sqrt(q + p * q * low * low);
                 for (size_t i = 0; i < v.size(); ++i) {
                   bool const kept = keep[i / inner] > 0;
                   if (!k.alpha)
                     v[i] *= keep[i / inner];
                   else
                     v[i] = p == 1 ? 0 : (kept ? v[i] : low) * a - a * p * low;
                 }
                 return {tensor(v, x[0].shape())};
               }};
      c.f32 = 1e-5;
      c.bad = {{[=] {
                  Generator generator;
                  k.drop(ones(k.shape), -0.5, generator);
                },
                {k.name, "-0.5"}},
               {[=] {
                  Generator generator;
                  k.drop(k.name == "alpha_dropout" ? Tensor() : ones({3}), 0.5, generator);
                },
                {k.name}}};
      list().push_back(c);
    }
}

void norm_cases() {
  std::vector<Shapes> const shapes{{{2, 4, 3}, {4}, {4}},
                                   {{3, 4, 2, 2}, {4}, {4}},
                                   {{5, 2, 7}, {2}, {2}},
                                   {{2, 6, 3, 5}, {6}, {6}},
                                   {{2, 2, 3, 6}, {2}, {2}}};
  std::vector<Input> const inputs{real(), real(), real()};
  auto const add = [&](OpCase c) {
    c.gradcheck.tolerance = 2e-6;
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.large = {{6, 8, 700}, {8}, {8}};
    list().push_back(c);
  };
  BatchNormOptions const training{.training = true, .eps = 1e-2}, evaluation{.eps = 1e-2};
  Tensor const x = ones({2, 4, 3}), three = ones({3}), four = ones({4});
  add({.name = "group_norm",
       .covers = "group_norm",
       .inputs = inputs,
       .shapes = shapes,
       .op = [](Tensors const& x) { return Tensors{group_norm(x[0], 2, x[1], x[2], 1e-2)}; },
       .twin = [](Tensors const& x) { return Tensors{normalised_plainly(x[0], 2, false, x[1], x[2], 1e-2)}; },
       .bad = {{[=] { group_norm(x, 3); }, {"group_norm", "4 channels", "3 groups"}},
               {[=] { group_norm(x, 2, three); }, {"group_norm", "[4]", "[3]"}},
               {[=] { group_norm(three, 1); }, {"group_norm", "[N, C, ..]"}}}});
  add({.name = "instance_norm",
       .covers = "instance_norm",
       .inputs = inputs,
       .shapes = shapes,
       .op = [=](Tensors const& x) { return Tensors{instance_norm(x[0], {}, {}, x[1], x[2], training)}; },
       .twin =
           [](Tensors const& x) { return Tensors{normalised_plainly(x[0], x[0].size(1), false, x[1], x[2], 1e-2)}; },
       .bad = {{[=] {
                  instance_norm(ones({2, 4}));
                },
                {"instance_norm", "[2, 4]", "variance"}},
               {[=] { instance_norm(x, {}, {}, {}, {}, evaluation); }, {"instance_norm", "running statistics"}}}});
  add({.name = "batch_norm training",
       .covers = "batch_norm",
       .inputs = inputs,
       .shapes = shapes,
       .op = [=](Tensors const& x) { return Tensors{batch_norm(x[0], {}, {}, x[1], x[2], training)}; },
       .twin = [](Tensors const& x) { return Tensors{normalised_plainly(x[0], x[0].size(1), true, x[1], x[2], 1e-2)}; },
       .bad = {{[=] {
                  batch_norm(ones({1, 4}), {}, {}, {}, {}, training);
                },
                {"batch_norm", "[1, 4]", "variance"}},
               {[=] { batch_norm(x, {}, {}); }, {"batch_norm", "running statistics"}},
               {[=] { batch_norm(x, three, three); }, {"batch_norm", "[4]", "[3]"}}}});
  for (bool instance : {false, true})
    add({.name = instance ? "instance_norm evaluation" : "batch_norm evaluation",
         .covers = instance ? "instance_norm" : "batch_norm",
         .inputs = inputs,
         .shapes = shapes,
         .op = [=](Tensors const& x) -> Tensors {
           Tensor const mean = numbers({x[0].size(1)}, 3, x[0].dtype()).to(x[0].device()), var = square(mean) + 0.5;
           return {instance ? instance_norm(x[0], mean, var, x[1], x[2], evaluation)
                            : batch_norm(x[0], mean, var, x[1], x[2], evaluation)};
         },
         .twin = [](Tensors const& x) -> Tensors {
           auto const mean = numbers({x[0].size(1)}, 3).to_vector<double>();
           auto v = x[0].to_vector<double>();
           auto const w = x[1].to_vector<double>(), b = x[2].to_vector<double>();
           size_t const inner = v.size() / (mean.size() * size_t(x[0].size(0)));
           for (size_t i = 0; i < v.size(); ++i) {
             size_t const c = i / inner % mean.size();
             v[i] = (v[i] - mean[c]) / std::sqrt(mean[c] * mean[c] + 0.5 + 1e-2) * w[c] + b[c];
           }
           return {tensor(v, x[0].shape())};
         }});
  for (bool rms : {false, true}) {
    OpCase c{.name = rms ? "rms_norm two axes" : "layer_norm two axes",
             .covers = rms ? "rms_norm" : "layer_norm",
             .inputs = {real(), real()},
             .shapes = {{{3, 2, 5}, {2, 5}}, {{2, 3}, {2, 3}}, {{4, 3, 11}, {3, 11}}},
             .op = [=](Tensors const& x) -> Tensors {
               if (rms) return {rms_norm(x[0], x[1].shape(), x[1], 1e-2)};
               return {layer_norm(x[0], x[1].shape(), x[1], {}, 1e-2)};
             },
             .twin = [=](Tensors const& x) -> Tensors {
               auto v = x[0].to_vector<double>();
               auto const w = x[1].to_vector<double>();
               for (size_t row = 0; row < v.size(); row += w.size()) {
                 double mean = 0, var = 0;
                 for (size_t j = 0; j < w.size() && !rms; ++j) mean += v[row + j] / double(w.size());
                 for (size_t j = 0; j < w.size(); ++j)
                   var += (v[row + j] - mean) * (v[row + j] - mean) / double(w.size());
                 for (size_t j = 0; j < w.size(); ++j) v[row + j] = (v[row + j] - mean) / std::sqrt(var + 1e-2) * w[j];
               }
               return {tensor(v, x[0].shape())};
             }};
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 2e-6;
    c.bad = {{[=] { layer_norm(x, Shape{4}, {}, {}); }, {"layer_norm", "[2, 4, 3]", "[4]"}},
             {[=] {
                layer_norm(x, Shape{4, 3}, three, {});
              },
              {"layer_norm", "weight of shape [4, 3]", "[3]"}},
             {[=] { rms_norm(x, Shape{}, {}); }, {"rms_norm", "[2, 4, 3]"}}};
    list().push_back(c);
  }
  for (int64_t size : {1, 2, 5}) {
    OpCase c{.name = "local_response_norm " + std::to_string(size),
             .covers = "local_response_norm",
             .inputs = {real()},
             .shapes = {{{2, 6, 3}}, {{1, 2}}, {{3, 4, 2, 2}}, {{0, 2, 3}}},
             .op = [=](Tensors const& x) { return Tensors{local_response_norm(x[0], size, 0.4, 0.6, 1.2)}; },
             .twin = [=](Tensors const& x) -> Tensors {
               auto const v = x[0].to_vector<double>();
               auto out = v;
               int64_t const channels = x[0].size(1), outer = x[0].size(0);
               int64_t const inner = outer ? int64_t(v.size()) / (outer * channels) : 0;
               for (int64_t at = 0; at < int64_t(v.size()); ++at) {
                 int64_t const c = at / inner % channels;
                 double total = 0;
                 for (int64_t k = std::max(int64_t{0}, c - size / 2); k <= std::min(channels - 1, c + (size - 1) / 2);
                      ++k)
                   total += std::pow(v[size_t(at + (k - c) * inner)], 2);
                 out[size_t(at)] /= std::pow(1.2 + 0.4 / double(size) * total, 0.6);
               }
               return {tensor(out, x[0].shape())};
             }};
    c.bad = {{[=] { local_response_norm(x, 0); }, {"local_response_norm", "0"}},
             {[=] { local_response_norm(three, 2); }, {"local_response_norm", "[3]"}}};
    list().push_back(c);
  }
  for (double p : {2., 1., 3.5, inf, -1.}) {
    OpCase c{.name = "normalize " + std::to_string(p),
             .covers = "normalize",
             .inputs = {real(-2, 2, {0})},
             .shapes = {{{3, 5}}, {{2, 3, 4}}, {{4, 33}}},
             .op = [=](Tensors const& x) { return Tensors{normalize(x[0], p, 1)}; },
             .twin = [=](Tensors const& x) -> Tensors {
               Tensor const size = abs(x[0]);
               if (std::isinf(p)) return {x[0] / amax(size, {1}, true)};
               return {x[0] / pow(sum(pow(size, p), {1}, true), 1 / p)};
             }};
    c.f32 = 1e-5, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 1e-6;
    c.bad = {{[=] { normalize(x, 2, 3); }, {"normalize", "got 3"}}, {[] { normalize(Tensor()); }, {"normalize"}}};
    list().push_back(c);
  }
}

void cross_entropy_cases() {
  for (Reduction reduction : {Reduction::mean, Reduction::none, Reduction::sum})
    for (double smoothing : {0., 0.2}) {
      std::string const name = std::to_string(int(reduction)) + (smoothing > 0 ? " smoothed" : "");
      auto const options = [=](Tensor const& weight) {
        return CrossEntropyOptions{
            .ignore_index = 1, .label_smoothing = smoothing, .reduction = reduction, .weight = weight, .axis = 1};
      };
      // Class axis 1: logits [N, C, M], as PyTorch has it; the twin goes through each row.
      auto const twin = [=](Tensors const& x, bool probabilities) -> Tensors {
        int64_t const batch = x[0].size(0), classes = x[0].size(1), inner = x[0].numel() / (batch * classes);
        auto const v = x[0].to_vector<double>(), t = x[1].to_vector<double>(), w = x[2].to_vector<double>();
        std::vector<double> losses;
        double total = 0, weight = 0;
        for (int64_t n = 0; n < batch; ++n)
          for (int64_t i = 0; i < inner; ++i) {
            double sum = 0, loss = 0;
            auto const at = [&](int64_t c) { return size_t((n * classes + c) * inner + i); };
            for (int64_t c = 0; c < classes; ++c) sum += std::exp(v[at(c)]);
            int64_t const target = probabilities ? 0 : int64_t(t[size_t(n * inner + i)]);
            bool const counts = probabilities || target != 1;
            for (int64_t c = 0; c < classes && counts; ++c) {
              double const want = probabilities ? t[at(c)] : double(c == target);
              loss -=
                  w[size_t(c)] * ((1 - smoothing) * want + smoothing / double(classes)) * (v[at(c)] - std::log(sum));
            }
            losses.push_back(loss);
            total += loss;
            if (counts) weight += probabilities ? 1 : w[size_t(target)];
          }
        if (reduction == Reduction::none) {
          Shape shape = x[0].shape();
          shape.erase(1);
          return {tensor(losses, shape)};
        }
        return {scalar(reduction == Reduction::sum ? total : total / weight, Dtype::f64)};
      };
      OpCase c{.name = "cross_entropy weights " + name,
               .covers = "cross_entropy",
               .inputs = {real(-3, 3), index(5), real(0.2, 2)},
               .shapes = {{{6, 5}, {6}, {5}}, {{2, 5, 7}, {2, 7}, {5}}, {{3, 5, 2, 2}, {3, 2, 2}, {5}}},
               .op = [=](Tensors const& x) { return Tensors{cross_entropy(x[0], x[1], options(x[2]))}; },
               .twin = [=](Tensors const& x) { return twin(x, false); }};
      c.f32 = 1e-5;
      c.bad = {{[=] {
                  cross_entropy(ones({2, 5}), zeros({3}, Dtype::i64), options(ones({5})));
                },
                {"[2] i64", "[3]"}},
               {[=] {
                  cross_entropy(ones({2, 5}), zeros({2}, Dtype::i64), options(ones({4})));
                },
                {"[5]", "[4]"}}};
      list().push_back(c);
      c.name = "cross_entropy probabilities " + name;
      c.inputs = {real(-3, 3), real(0, 1), real(0.2, 2)};
      c.shapes = {{{6, 5}, {6, 5}, {5}}, {{2, 5, 7}, {2, 5, 7}, {5}}, {{3, 5, 2, 2}, {3, 5, 2, 2}, {5}}};
      c.twin = [=](Tensors const& x) { return twin(x, true); };
      c.bad = {{[=] { cross_entropy(ones({2, 5}), ones({2, 4}), options(ones({5}))); }, {"[2, 5]", "[2, 4]"}}};
      list().push_back(c);
      c.name = "cross_entropy axis " + name;
      c.inputs = {real(-3, 3), index(5)};
      c.shapes = {{{6, 5}, {6}}, {{2, 5, 7}, {2, 7}}, {{3, 5, 2, 2}, {3, 2, 2}}};
      c.op = [=](Tensors const& x) { return Tensors{cross_entropy(x[0], x[1], options({}))}; };
      c.twin = [=](Tensors const& x) { return twin({x[0], x[1], ones({5}, Dtype::f64)}, false); };
      c.bad = {};
      list().push_back(c);
    }
}

void embedding_cases() {
  OpCase padded{.name = "embedding with padding and frequencies",
                .covers = "embedding",
                .inputs = {index(4), real()},
                .shapes = {{{2, 3}, {4, 5}}, {{9}, {4, 33}}, {{0}, {4, 2}}},
                .op = [](Tensors const& x) { return Tensors{embedding(x[0], x[1])}; },
                .twin = [](Tensors const& x) { return Tensors{naive::embedding(x[0], x[1])}; }};
  padded.bad = {{[] {
                   embedding(zeros({2}, Dtype::i64), ones({4, 3}), {.padding_idx = 4});
                 },
                 {"embedding", "padding_idx 4"}},
                {[] {
                   embedding(zeros({2}, Dtype::i64), ones({4, 3}), {.padding_idx = -5});
                 },
                 {"embedding", "padding_idx -5"}}};
  list().push_back(padded);
  for (BagMode mode : {BagMode::sum, BagMode::mean, BagMode::max})
    for (bool two : {false, true})
      for (bool padding : {false, true})
        for (bool weights : {false, true}) {
          if (weights && mode != BagMode::sum) continue;
          // Bags of 2, 0, and what is left; or rows.
          auto const offsets = [](int64_t n) {
            return tensor(std::vector<int64_t>{0, std::min(n, int64_t{2}), std::min(n, int64_t{2}), n}, {4});
          };
          OpCase c{.name = std::string("embedding_bag ") + std::to_string(int(mode)) + (two ? " rows" : "") +
                           (padding ? " padding" : "") + (weights ? " weights" : ""),
                   .covers = "embedding_bag",
                   .inputs = {index(4), distinct()},
                   .shapes = {{{6}, {4, 5}}, {{3}, {4, 1}}, {{1}, {4, 17}}, {{9}, {4, 33}}},
                   .op = [=](Tensors const& x) -> Tensors {
                     EmbeddingBagOptions o{.mode = mode, .include_last_offset = !two};
                     if (!two) o.offsets = offsets(x[0].numel()).to(x[0].device());
                     if (padding) o.padding_idx = -3;
                     if (weights) o.per_sample_weights = x[2];
                     return {embedding_bag(x[0], x[1], o)};
                   },
                   .twin = [=](Tensors const& x) -> Tensors {
                     auto const i = x[0].to_vector<int64_t>();
                     auto const table = x[1].to_vector<double>();
                     int64_t const n = x[1].size(1), count = int64_t(i.size());
                     std::vector<int64_t> at = offsets(count).to_vector<int64_t>();
                     if (two) {
                       at.clear();
                       for (int64_t b = 0; b <= x[0].size(0); ++b) at.push_back(b * x[0].size(1));
                     }
                     std::vector<double> out;
                     for (size_t b = 0; b + 1 < at.size(); ++b)
                       for (int64_t j = 0; j < n; ++j) {
                         double total = 0, best = -inf;
                         int size = 0;
                         for (int64_t k = at[b]; k < at[b + 1]; ++k) {
                           if (padding && i[size_t(k)] == 1) continue;
                           double const v = table[size_t(i[size_t(k)] * n + j)];
                           total += weights ? v * x[2].to_vector<double>()[size_t(k)] : v;
                           best = std::max(best, v);
                           ++size;
                         }
                         if (mode == BagMode::mean && size) total /= size;
                         out.push_back(mode == BagMode::max ? (size ? best : 0) : total);
                       }
                     return {tensor(out, {int64_t(at.size()) - 1, n})};
                   }};
          if (two) c.shapes = {{{2, 3}, {4, 5}}, {{3, 1}, {4, 17}}, {{2, 0}, {4, 3}}};
          if (weights) {
            c.inputs.push_back(real());
            for (Shapes& shapes : c.shapes) shapes.push_back(shapes[0]);
          }
          Tensor const index = zeros({4}, Dtype::i64), table = ones({4, 3});
          c.bad = {{[=] { embedding_bag(index, table); }, {"embedding_bag", "no offsets"}},
                   {[=] {
                      embedding_bag(index, table, {.offsets = tensor(std::vector<int64_t>{0, 5}, {2})});
                    },
                    {"embedding_bag", "5", "4 indices"}},
                   {[=] {
                      embedding_bag(index, table, {.offsets = zeros({1}, Dtype::i64), .per_sample_weights = ones({4})});
                    },
                    {"embedding_bag", "sum"}}};
          list().push_back(c);
        }
}

void linear_cross_entropy_cases() {
  for (Reduction const reduction : {Reduction::mean, Reduction::none, Reduction::sum}) {
    CrossEntropyOptions const options{.ignore_index = 1, .label_smoothing = 0.1, .reduction = reduction};
    OpCase c{.name = "linear_cross_entropy " + std::to_string(int(reduction)),
             .covers = "linear_cross_entropy",
             .inputs = {real(), index(5), real(), real()},
             .shapes = {{{4, 3}, {4}, {5, 3}, {5}}, {{2, 3, 2}, {2, 3}, {5, 2}, {5}}, {{9, 1}, {9}, {7, 1}, {7}}},
             .op = [=](Tensors const& x) { return Tensors{linear_cross_entropy(x[0], x[1], x[2], x[3], options)}; },
             .twin =
                 [=](Tensors const& x) {
                   return Tensors{naive::cross_entropy(matmul(x[0], x[2].t()) + x[3], x[1], options)};
                 }};
    c.large = {{150, 6}, {150}, {40000, 6}, {40000}};  // three blocks of rows
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 1e-4;
    c.bad = {{[] {
                linear_cross_entropy(ones({2, 3}), zeros({2}, Dtype::i64), ones({4, 5}));
              },
              {"[2, 3]", "[4, 5]"}},
             {[] {
                linear_cross_entropy(ones({2, 3}), zeros({3}, Dtype::i64), ones({4, 3}));
              },
              {"[2] i64", "[3]"}},
             {[] {
                linear_cross_entropy(ones({2, 3}), full({2}, 4, Dtype::i64), ones({4, 3}));
              },
              {"target 4 of row 0"}}};
    list().push_back(c);
    c.name += " without a bias";
    c.op = [=](Tensors const& x) { return Tensors{linear_cross_entropy(x[0], x[1], x[2], {}, options)}; };
    c.twin = [=](Tensors const& x) { return Tensors{naive::cross_entropy(matmul(x[0], x[2].t()), x[1], options)}; };
    c.bad = {};
    for (Shapes& shapes : c.shapes) shapes.pop_back();
    c.inputs.pop_back();
    c.large.pop_back();
    list().push_back(c);
  }
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    neural_cases();
    norm_cases();
    cross_entropy_cases();
    embedding_cases();
    dropout_cases();
    linear_cross_entropy_cases();
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

TEST_CASE("norms: rows of a result larger than the caches have the bits of the same rows in small ones") {
  Tensor const x = randn({4200, 1024}), w = randn({1024}), b = randn({1024}), g = randn({4200, 1024});
  auto const both = [&](auto norm) {
    auto const run = [&](int64_t from, int64_t to) {
      Tensor const part = x.slice(0, from, to).clone().requires_grad_();
      Tensor const y = norm(part);
      y.backward(g.slice(0, from, to));
      return std::pair{y.detach(), part.grad()};
    };
    auto const [whole, gradient] = run(0, 4200);
    for (int64_t from : {0, 2100}) {
      auto const [y, d] = run(from, from + 2100);
      CHECK(equal(whole.slice(0, from, from + 2100), y));
      CHECK(equal(gradient.slice(0, from, from + 2100), d));
    }
  };
  both([&](Tensor const& t) { return rms_norm(t, w); });
  both([&](Tensor const& t) { return layer_norm(t, w, b); });
  both([&](Tensor const& t) { return layer_norm(t, w); });
}

TEST_CASE("batch_norm and instance_norm move the running statistics") {
  Tensor const x = tensor({{1, 2}, {3, 6}}).reshape({2, 1, 2});
  for (bool instance : {false, true}) {
    Tensor const mean = ones({1}), var = full({1}, 2);
    BatchNormOptions const options{.training = true, .momentum = 0.25};
    instance ? instance_norm(x, mean, var, {}, {}, options) : batch_norm(x, mean, var, {}, {}, options);
    CHECK(mean.item() == doctest::Approx(0.75 * 1 + 0.25 * 3));
    double const unbiased = instance ? (0.5 + 4.5) / 2 : (4 + 1 + 0 + 9) / 3.;
    CHECK(var.item() == doctest::Approx(0.75 * 2 + 0.25 * unbiased));
    Tensor const kept = mean.clone();
    batch_norm(x, mean, var);
    CHECK(same_bits(mean, kept));
  }
}

TEST_CASE("embedding: a padding row gets no gradient, frequent rows a share") {
  Tensor const table = ones({3, 2}, Dtype::f64).requires_grad_();
  Tensor const index = tensor(std::vector<int64_t>{0, 2, 2, 1}, {4});
  auto const gradient = [&](EmbeddingOptions const& options) {
    return grad({sum(embedding(index, table, options))}, {table})[0].to_vector();
  };
  CHECK(gradient({}) == std::vector<float>{1, 1, 1, 1, 2, 2});
  CHECK(gradient({.padding_idx = -1}) == std::vector<float>{1, 1, 1, 1, 0, 0});
  CHECK(gradient({.padding_idx = 0}) == std::vector<float>{0, 0, 1, 1, 2, 2});
  CHECK(gradient({.scale_grad_by_freq = true}) == std::vector<float>{1, 1, 1, 1, 1, 1});
  // The gradient is linear in its cotangent, and its derivative skips the padding too.
  Function const f = [&](std::vector<Tensor> const& in) {
    return std::vector<Tensor>{square(embedding(index, in[0], {.padding_idx = 1, .scale_grad_by_freq = true}))};
  };
  Tensor const start = numbers({3, 2}, 1).requires_grad_();
  Tensor const first = grad({sum(f({start})[0])}, {start}, {}, {.create_graph = true})[0];
  Tensor const second = grad({sum(first)}, {start})[0];
  CHECK(second.to_vector() == std::vector<float>{2, 2, 0, 0, 1, 1});
}

TEST_CASE("alpha_dropout keeps mean 0 and variance 1") {
  Generator generator(4);
  Tensor const x = randn({200, 500}, Dtype::f64, generator);
  for (double p : {0.1, 0.5}) {
    Tensor const y = alpha_dropout(x, p, generator);
    CHECK(std::abs(mean(y).item()) < 0.015);
    CHECK(var(y, {0, 1}).item() == doctest::Approx(1).epsilon(0.02));
  }
}

TEST_CASE("16-bit types: computed in f32, rounded at the end, with gradients of their own type") {
  for (Dtype half : {Dtype::f16, Dtype::bf16}) {
    Tensor const x = numbers({3, 8}, 1).to(half).requires_grad_(), wide = x.detach().to(Dtype::f32).requires_grad_();
    Tensor const index = tensor(std::vector<int64_t>{2, 0}, {2}), target = tensor(std::vector<int64_t>{2, 0, 7}, {3});
    std::vector<std::function<Tensor(Tensor const&)>> const ops{
        [](Tensor const& t) { return softmax(t); },
        [](Tensor const& t) { return log_softmax(t, 0); },
        [](Tensor const& t) { return layer_norm(t); },
        [](Tensor const& t) { return rms_norm(t); },
        [=](Tensor const& t) { return embedding(index, t); },
        [=](Tensor const& t) { return embedding_bag(index.unsqueeze(0), t); },
        [=](Tensor const& t) { return cross_entropy(t, target); },
        [](Tensor const& t) {
          return dropout(t, 0.5, Draw{1, 2});
        },
        [](Tensor const& t) { return group_norm(t, 2); },
        [](Tensor const& t) {
          return rnn(t, {}, {{ones({2, 8}, t.dtype()), ones({2, 2}, t.dtype())}}).first;
        }};
    for (auto const& op : ops) {
      Tensor const y = op(x), want = op(wide);
      CHECK(y.dtype() == half);
      CHECK(differs(y.to(Dtype::f32), want, 0.02) == "");
      Tensor const d = grad({sum(y.to(Dtype::f32))}, {x})[0];
      CHECK(d.dtype() == half);
      CHECK(differs(d.to(Dtype::f32), grad({sum(want)}, {wide})[0], 0.03) == "");
    }
  }
}

TEST_CASE("an emulated accelerator gets wrong indices: the next that waits for it says which was outside") {
  Device const device = emulated_device();
  auto const ids = [&](std::vector<int64_t> const& v) { return tensor(v, {int64_t(v.size())}).to(device); };
  Tensor const table = ones({5, 3}).to(device), logits = zeros({2, 4}).to(device);
  for (int64_t wrong : {-1, 5, 1 << 20}) {
    Tensor const y = embedding(ids({4, wrong, 0}), table);
    CHECK(y.shape() == Shape{3, 3});
    std::string const said = error_of([&] { y.to(cpu); });
    CHECK(said.find("embedding") == 0);
    CHECK(said.find("index " + std::to_string(wrong)) != said.npos);
    CHECK(said.find("use 0 to 4") != said.npos);
    CHECK(error_of([&] { y.to(cpu); }) == "");  // once
  }
  Tensor const loss = cross_entropy(logits, ids({1, 4}));
  CHECK(error_of([&] { loss.item(); }).find("cross_entropy: a kernel that was queued earlier met index 4") == 0);
  CHECK(cross_entropy(logits, ids({1, -100})).item() == doctest::Approx(std::log(4.)));
  CHECK_FALSE(error_of([&] { embedding(ids({0}), zeros({0, 3}).to(device)); }).empty());
  CHECK(emulator_complaints() == "");
}
