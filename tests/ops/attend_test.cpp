// attend(): against its twin, masks, windows.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/tests/support/op_suite.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr int64_t big = 30011;

struct AttendVariant {
  char const* name;
  AttendOptions options;
  bool masked = false;
};

void attend_cases() {
  AttendVariant const variants[] = {
      {"", {}},
      {"causal", {.causal = true}},
      {"scaled", {.scale = 0.7}},
      {"window", {.left = 2, .right = 1}},
      {"causal window", {.causal = true, .left = 1}},
      {"dropout", {.dropout = 0.3, .draw = {3, 4}}},
      {"masked", {}, true},
      {"masked causal dropout", {.causal = true, .dropout = 0.2, .draw = {5, 6}}, true},
  };
  for (AttendVariant const& v : variants) {
    auto with = [v](Tensors const& x) {
      AttendOptions o = v.options;
      if (v.masked) o.mask = x[3];
      return o;
    };
    OpCase c{
        .name = std::string("attend ") + v.name,
        .covers = "attend",
        .inputs = {real(), real(), real()},
        .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {1, 1, 4, 3}},  // heads share keys
                   {{2, 2, 4, 3}, {2, 2, 4, 3}, {2, 2, 4, 3}},
                   {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
                   {{1, 1, 5, 2}, {1, 1, 3, 2}, {1, 1, 3, 1}},  // more queries than keys: some see nothing if causal
                   {{1, 4, 17, 8}, {1, 2, 33, 8}, {1, 2, 33, 9}},
                   {{2, 1, 9, 7}, {2, 1, 9, 7}, {2, 1, 9, 17}},
                   {{1, 1, 70, 16}, {1, 1, 90, 16}, {1, 1, 90, 16}},
                   {{0, 2, 3, 2}, {0, 2, 3, 2}, {0, 2, 3, 2}},
                   {{1, 2, 0, 2}, {1, 2, 3, 2}, {1, 2, 3, 2}},
                   {{1, 2, 3, 2}, {1, 2, 0, 2}, {1, 2, 0, 2}}},
        .op =
            [with](Tensors const& x) {
              auto y = attend(x[0], x[1], x[2], with(x));
              return Tensors{y.out, y.lse};
            },
        .twin =
            [with](Tensors const& x) {
              auto y = naive::attend(x[0], x[1], x[2], with(x));
              return Tensors{y.out, y.lse};
            }};
    c.large = {{1, 2, 150, 16}, {1, 2, 150, 16}, {1, 2, 150, 16}};
    if (v.masked) {
      c.inputs.push_back(mask());
      for (Shapes& s : c.shapes) s.push_back({s[0][2], s[1][2]});
      c.shapes[1].back() = {2, 1, 1, 4};
      c.large.push_back({150, 150});
    }
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 1e-4;
    c.gradcheck.full_up_to = 30;
    list().push_back(c);
  }
  list().back().bad = {
      {[] {
         attend(ones({2, 3}), ones({2, 3}), ones({2, 3}));
       },
       {"attend", "rank 4", "q [2, 3]"}},
      {[] {
         attend(ones({1, 3, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}));
       },
       {"attend", "not a multiple", "q [1, 3, 2, 2]", "k [1, 2, 2, 2]"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 3}), ones({1, 2, 2, 2}));
       },
       {"attend", "last axis"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({2, 2, 2, 2}), ones({2, 2, 2, 2}));
       },
       {"attend", "batch"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 3, 2}), ones({1, 2, 2, 2}));
       },
       {"attend", "heads or length"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}, Dtype::f64), ones({1, 2, 2, 2}));
       },
       {"attend", "f64"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.left = -1});
       },
       {"attend", "left -1"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.dropout = 1});
       },
       {"attend", "got 1"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.mask = ones({2, 2})});
       },
       {"attend", "bool mask", "f32"}},
      {[] {
         attend(ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}), {.mask = ones({3, 2}) > 0.0});
       },
       {"attend", "[3, 2]"}},
      {[] {
         attend(Tensor(), ones({1, 2, 2, 2}), ones({1, 2, 2, 2}));
       },
       {"attend", "undefined"}}};
  OpCase self{.name = "attend to itself",
              .covers = "attend",
              .inputs = {real()},
              .shapes = {{{1, 2, 4, 3}}, {{1, 1, 17, 8}}},
              .op =
                  [](Tensors const& x) {
                    auto y = attend(x[0], x[0], x[0], {.causal = true});
                    return Tensors{y.out, y.lse};
                  },
              .twin =
                  [](Tensors const& x) {
                    auto y = naive::attend(x[0], x[0], x[0], {.causal = true});
                    return Tensors{y.out, y.lse};
                  }};
  self.f32 = 1e-5, self.f64 = 1e-12, self.gradient_f32 = 1e-4;
  list().push_back(self);
  OpCase only_lse = self;
  only_lse.name = "attend lse only";
  only_lse.inputs = {real(), real()};
  only_lse.shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}}, {{1, 1, 17, 8}, {1, 1, 19, 8}}};
  only_lse.op = [](Tensors const& x) { return Tensors{attend(x[0], x[1], x[1].detach()).lse}; };
  only_lse.twin = [](Tensors const& x) { return Tensors{naive::attend(x[0], x[1], x[1].detach()).lse}; };
  list().push_back(only_lse);
  OpCase weights{
      .name = "attention_weights",
      .covers = "attention_weights",
      .inputs = {real(), real()},
      .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}}, {{1, 1, 5, 2}, {1, 1, 3, 2}}, {{2, 2, 9, 7}, {2, 2, 9, 7}}},
      .op = [](Tensors const& x) { return Tensors{attention_weights(x[0], x[1], {.causal = true, .left = 3})}; },
      .twin =
          [](Tensors const& x) {
            // Values that are an identity show the weights.
            Tensor const eye = (arange(x[1].size(2)).unsqueeze(1) == arange(x[1].size(2))).to(x[1].dtype());
            Tensor const v = eye.expand({x[1].size(0), x[1].size(1), x[1].size(2), x[1].size(2)});
            return Tensors{naive::attend(x[0], x[1], v, {.causal = true, .left = 3}).out};
          }};
  weights.f32 = 1e-5, weights.f64 = 1e-12, weights.gradient_f32 = 1e-4;
  list().push_back(weights);
}

/// Numbers 0, 0, 0, 1, 1, 1, 2 …: [B, n], other starts in other rows.
Tensor document_ids(int64_t b, int64_t n) { return floor((arange(n) + arange(b).unsqueeze(1)) / 3.0); }

struct ModVariant {
  char const* name;
  AttendOptions (*options)(Tensors const&);  // of q, k, v, slopes [H], table [H, 5]
};

OpCase record_of(ModVariant const& v) {
  auto const options = v.options;
  auto const results = [](Attended const& y) { return y.lse.defined() ? Tensors{y.out, y.lse} : Tensors{y.out}; };
  OpCase c{.name = std::string("attend ") + v.name,
           .covers = "attend",
           .inputs = {real(), real(), real(), real(), real()},
           .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {1, 1, 4, 3}, {2}, {2, 5}},
                      {{2, 2, 4, 3}, {2, 2, 4, 3}, {2, 2, 4, 3}, {2}, {2, 5}},
                      {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1}, {1, 5}},
                      {{1, 1, 6, 2}, {1, 1, 3, 2}, {1, 1, 3, 1}, {1}, {1, 5}},
                      {{1, 4, 17, 8}, {1, 2, 33, 8}, {1, 2, 33, 9}, {4}, {4, 5}},
                      {{1, 1, 100, 8}, {1, 1, 90, 8}, {1, 1, 90, 8}, {1}, {1, 5}},
                      {{1, 1, 70, 8}, {1, 1, 90, 8}, {1, 1, 90, 8}, {1}, {1, 5}},
                      {{0, 2, 3, 2}, {0, 2, 3, 2}, {0, 2, 3, 2}, {2}, {2, 5}},
                      {{1, 2, 3, 2}, {1, 2, 0, 2}, {1, 2, 0, 2}, {2}, {2, 5}}},
           .op = [=](Tensors const& x) { return results(attend(x[0], x[1], x[2], options(x))); },
           .twin = [=](Tensors const& x) { return results(naive::attend(x[0], x[1], x[2], options(x))); }};
  c.gradcheck.full_up_to = 30;
  return c;
}

void modified_cases() {
  ModVariant const variants[] = {
      {"alibi", [](Tensors const& x) { return AttendOptions{.causal = true, .score = alibi(x[3])}; }},
      {"relative bias, soft cap, alibi",
       [](Tensors const& x) { return AttendOptions{.score = relative_bias(x[4]) | soft_cap(2) | alibi(x[3])}; }},
      {"two reads of one table, nested in a read",
       [](Tensors const& x) {
         Tensor const table = x[4], order = tensor({1.f, 0.f, 3.f, 2.f, 4.f}).to(table.device());
         return AttendOptions{.score = [&](auto s, auto at) {
           return s * read(table, {at.h, read(order, {fmod(at.i, 5.)})}) + exp(read(table, {at.h, at.j}));
         }};
       }},
      {"dropout in a window",
       [](Tensors const& x) {
         return AttendOptions{.left = 9, .right = 3, .dropout = 0.3, .draw = {3, 4}, .score = relative_bias(x[4])};
       }},
      {"documents",
       [](Tensors const& x) {
         return AttendOptions{.score = alibi(x[3]),
                              .sees = documents(document_ids(x[0].size(0), x[1].size(2)).to(x[0].device()))};
       }},
      {"a union of masks",
       [](Tensors const& x) {
         return AttendOptions{.score = alibi(x[3]),
                              .sees = (causal() & window(4, 0)) | MaskMod([](auto at) { return at.j < 2.; }) |
                                      MaskMod([](auto at) { return (fmod(at.j, 7.) == 0.) & (at.h < 1.); })};
       }},
      {"not in these blocks",
       [](Tensors const& x) {
         Tensor const blocked = tensor({{1.f, 0.f, 1.f}, {0.f, 0.f, 1.f}, {0.f, 1.f, 0.f}}).reshape({1, 1, 3, 3}) > 0.0;
         return AttendOptions{.score = relative_bias(x[4]), .sees = ~blocks(blocked.to(x[0].device()), 20)};
       }},
      {"lengths",
       [](Tensors const& x) {
         return AttendOptions{.score = relative_bias(x[4]),
                              .sees = lengths((arange(x[0].size(0)) + int64_t{2}).to(x[0].device()))};
       }},
      {"prefix",
       [](Tensors const& x) {
         return AttendOptions{.score = relative_bias(x[4]),
                              .sees = prefix((arange(x[0].size(0)) + int64_t{2}).to(x[0].device()))};
       }},
      {"sigmoid weights",
       [](Tensors const& x) {
         return AttendOptions{
             .causal = true, .score = alibi(x[3]), .weight = [](auto s, auto) { return sigmoid(s - 1.); }};
       }},
      {"squared ReLU weights with dropout",
       [](Tensors const& x) {
         Tensor const table = x[4];
         return AttendOptions{.left = 6,
                              .dropout = 0.2,
                              .draw = {5, 6},
                              .sees = documents(document_ids(x[0].size(0), x[1].size(2)).to(x[0].device())),
                              .weight = [&](auto s, auto at) {
                                auto const positive = max(s + read(table, {at.h, 1.}), 0.);
                                return positive * positive;
                              }};
       }},
  };
  for (ModVariant const& v : variants) {
    OpCase c = record_of(v);
    c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    list().push_back(c);
  }
}

void normaliser_cases() {
  ModVariant const variants[] = {
      {"softmax-1",
       [](Tensors const& x) {
         return AttendOptions{.causal = true, .sink = zeros({x[0].size(1)}, x[0].dtype(), x[0].device())};
       }},
      {"learned sink", [](Tensors const& x) { return AttendOptions{.left = 5, .right = 2, .sink = x[3]}; }},
      {"sparsemax", [](Tensors const& x) { return AttendOptions{.causal = true, .score = alibi(x[3]), .entmax = 2}; }},
      {"entmax 1.5", [](Tensors const& x) { return AttendOptions{.score = relative_bias(x[4]), .entmax = 1.5}; }},
      {"entmax 1.25 of documents with dropout",
       [](Tensors const& x) {
         return AttendOptions{.dropout = 0.2,
                              .draw = {7, 8},
                              .score = relative_bias(x[4]),
                              .sees = documents(document_ids(x[0].size(0), x[1].size(2)).to(x[0].device())),
                              .entmax = 1.25};
       }},
      {"top 2 with a sink",
       [](Tensors const& x) { return AttendOptions{.score = alibi(x[3]), .sink = x[3], .top_k = 2}; }},
      {"top 20, causal",
       [](Tensors const& x) { return AttendOptions{.causal = true, .score = relative_bias(x[4]), .top_k = 20}; }},
  };
  for (ModVariant const& v : variants) {
    bool const sparse =
        v.options({ones({1, 1, 1, 1}), ones({1, 1, 1, 1}), ones({1, 1, 1, 1}), ones({1}), ones({1, 5})}).entmax > 1;
    OpCase c = record_of(v);
    c.f32 = 5e-5, c.f64 = 1e-11, c.gradient_f32 = 1e-3;
    c.second_order = !sparse;
    list().push_back(c);
  }
  OpCase rows{.name = "entmax",
              .covers = "entmax",
              .inputs = {real()},
              .shapes = {{{2, 5}}, {{1}}, {{3, 1}}, {{2, 0}}, {{0, 3}}, {{2, 3, 40}}},
              .op =
                  [](Tensors const& x) {
                    return Tensors{entmax(x[0], 1.5), entmax(x[0], 2), entmax(x[0], 1.2, 0)};
                  },
              .twin = [](Tensors const& x) -> Tensors {
                // What solves the equation: the slow way, by halving an interval for each row in turn.
                auto const row_by_row = [&](Tensor const& z, double alpha) {
                  auto out = z.to(Dtype::f64).contiguous().to_vector<double>();
                  int64_t const n = z.size(-1);
                  for (size_t r = 0; n > 0 && r < out.size(); r += size_t(n)) {
                    double low = -1e3, high = 1e3;
                    auto const weight = [&](double v, double tau) {
                      return std::pow(std::max((alpha - 1) * v - tau, 0.), 1 / (alpha - 1));
                    };
                    for (int step = 0; step < 200; ++step) {
                      double const tau = (low + high) / 2;
                      double total = 0;
                      for (int64_t j = 0; j < n; ++j) total += weight(out[r + size_t(j)], tau);
                      (total > 1 ? low : high) = tau;
                    }
                    for (int64_t j = 0; j < n; ++j) out[r + size_t(j)] = weight(out[r + size_t(j)], low);
                  }
                  return tensor(out, z.shape()).to(z.dtype());
                };
                int const last = x[0].rank() - 1;
                return {row_by_row(x[0], 1.5), row_by_row(x[0], 2),
                        row_by_row(x[0].transpose(0, last), 1.2).transpose(0, last)};
              }};
  rows.f32 = 1e-5, rows.f64 = 1e-9;
  rows.bad = {{[] { entmax(ones({2}), 0.5); }, {"entmax", "alpha", "0.5"}},
              {[] { entmax(ones({2}), 2, 3); }, {"axis", "3"}},
              {[] { entmax(Tensor(), 2); }, {"entmax", "undefined"}}};
  list().push_back(rows);
}

void probe_cases() {
  struct Probe {
    char const* name;
    Tensor (*fused)(Tensors const&, Tensor const& lse, AttendOptions const&);
    Tensor (*of_weights)(Tensor const& p, Tensor const& distance);
  };
  Probe const probes[] = {
      {"attention_entropy",
       [](Tensors const& x, Tensor const& lse, AttendOptions const& o) {
         return attention_entropy(x[0], x[1], lse, o);
       },
       [](Tensor const& p, Tensor const&) { return -sum(p * log(where(p > 0.0, p, 1.0)), {3}); }},
      {"attention_effective_count",
       [](Tensors const& x, Tensor const& lse, AttendOptions const& o) {
         return attention_effective_count(x[0], x[1], lse, o);
       },
       [](Tensor const& p, Tensor const&) { return 1.0 / sum(p * p, {3}); }},
      {"attention_max",
       [](Tensors const& x, Tensor const& lse, AttendOptions const& o) { return attention_max(x[0], x[1], lse, o); },
       [](Tensor const& p, Tensor const&) { return amax(p, {3}); }},
      {"attention_distance",
       [](Tensors const& x, Tensor const& lse, AttendOptions const& o) {
         return attention_distance(x[0], x[1], lse, o);
       },
       [](Tensor const& p, Tensor const& distance) { return sum(p * distance, {3}); }},
      {"attention_received",
       [](Tensors const& x, Tensor const& lse, AttendOptions const& o) {
         return attention_received(x[0], x[1], lse, o);
       },
       [](Tensor const& p, Tensor const&) { return sum(p, {2}); }},
      {"attention_probe",
       [](Tensors const& x, Tensor const& lse, AttendOptions const& o) {
         return attention_probe(
             x[0], x[1], lse, [](auto p, auto, auto at) { return p * p * p * (at.j + 1.); }, o, true);
       },
       [](Tensor const& p, Tensor const&) { return sum(p * p * p * (arange(p.size(3)) + 1.0), {2}); }},
  };
  for (Probe const& probe : probes)
    for (bool const sink : {false, true}) {
      auto const options = [sink](Tensors const& x) {
        AttendOptions o{.causal = true, .left = 40, .score = relative_bias(x[2])};
        if (sink) o.sink = sum(x[2], {1});
        return o;
      };
      bool const largest = std::string_view(probe.name) == "attention_max";
      OpCase c{.name = std::string(probe.name) + (sink ? " with a sink" : ""),
               .covers = probe.name,
               .inputs = {real(), real(), real()},
               .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {2, 5}},
                          {{2, 1, 1, 3}, {2, 1, 5, 3}, {1, 5}},
                          {{1, 4, 17, 8}, {1, 2, 33, 8}, {4, 5}},
                          {{1, 1, 70, 8}, {1, 1, 90, 8}, {1, 5}}},
               .op =
                   [probe, options](Tensors const& x) {
                     AttendOptions const o = options(x);
                     return Tensors{probe.fused(x, attend(x[0], x[1], x[1].detach(), o).lse, o)};
                   },
               .twin =
                   [probe, options](Tensors const& x) {
                     Tensor const p = attention_weights(x[0], x[1], options(x));
                     int64_t const t = x[0].size(2), s = x[1].size(2);
                     Tensor const distance = abs((arange(t) + (s - t)).unsqueeze(1) - arange(s)).to(p.dtype());
                     return Tensors{probe.of_weights(p, distance)};
                   }};
      c.f32 = 2e-5, c.f64 = 1e-11, c.gradient_f32 = 5e-4;
      c.gradcheck.full_up_to = 30;
      c.second_order = !largest;
      if (!sink)
        c.bad = {{[probe] {
                    probe.fused({ones({1, 2, 3, 4}), ones({1, 2, 3, 5})}, zeros({1, 2, 3}), {});
                  },
                  {"last axis"}},
                 {[probe] {
                    probe.fused({ones({1, 2, 3, 4}), ones({1, 2, 3, 4})}, zeros({1, 2, 3}), {.left = -2});
                  },
                  {"left -2"}}};
      list().push_back(c);
    }
  OpCase sums{.name = "score_sum",
              .covers = "score_sum",
              .inputs = {real(), real(), real()},
              .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {2}},
                         {{1, 4, 17, 8}, {1, 2, 33, 8}, {4}},
                         {{0, 2, 3, 2}, {0, 2, 4, 2}, {2}}},
              .op =
                  [](Tensors const& x) {
                    ScoreMod const f = [&](auto s, auto at) { return s * s * read(x[2], {at.h}); };
                    AttendOptions const o{.causal = true};
                    return Tensors{score_sum(x[0], x[1], f, o), score_sum(x[0], x[1], f, o, true)};
                  },
              .twin =
                  [](Tensors const& x) {
                    Tensor const scores = dense_scores(x[0], x[1], {.causal = true});
                    Tensor const all = where(scores > -inf, scores * scores, 0.0) * x[2].reshape({-1, 1, 1});
                    return Tensors{sum(all, {3}), sum(all, {2})};
                  }};
  sums.f32 = 1e-5, sums.f64 = 1e-12, sums.gradient_f32 = 1e-4;
  sums.bad = {{[] {
                 score_sum(ones({1, 2, 3, 4}), ones({1, 2, 3, 4}), ScoreMod());
               },
               {"score_sum", "no function"}},
              {[] {
                 score_sum(ones({2, 3, 4}), ones({1, 2, 3, 4}), soft_cap(2));
               },
               {"rank 4"}}};
  list().push_back(sums);
  OpCase parts{.name = "merge",
               .covers = "merge",
               .inputs = {real(), real(), real()},
               .shapes = {{{1, 2, 3, 2}, {1, 1, 6, 2}, {1, 1, 6, 3}}, {{1, 4, 17, 8}, {1, 2, 33, 8}, {1, 2, 33, 9}}},
               .op =
                   [](Tensors const& x) {
                     int64_t const s = x[1].size(2), cut = s / 3;
                     auto const part = [&](int64_t from, int64_t to) {
                       return attend(x[0], x[1].slice(2, from, to), x[2].slice(2, from, to));
                     };
                     auto const y = merge(merge(part(0, 0), part(0, cut)), part(cut, s));
                     return Tensors{y.out, y.lse};
                   },
               .twin =
                   [](Tensors const& x) {
                     auto const y = naive::attend(x[0], x[1], x[2]);
                     return Tensors{y.out, y.lse};
                   }};
  parts.f32 = 1e-5, parts.f64 = 1e-12, parts.gradient_f32 = 1e-4;
  parts.bad = {{[] {
                  merge({ones({1, 1, 1, 1}), ones({1, 1, 1})}, {ones({1, 1, 2, 1}), ones({1, 1, 2})});
                },
                {"merge", "[1, 1, 2, 1]"}},
               {[] {
                  merge({ones({1, 1, 1, 1}), Tensor()}, {ones({1, 1, 1, 1}), ones({1, 1, 1})});
                },
                {"merge", "undefined"}}};
  list().push_back(parts);
  OpCase dense{
      .name = "dense_scores",
      .covers = "dense_scores",
      .inputs = {real(), real(), real()},
      .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {2}}, {{2, 2, 5, 3}, {2, 2, 3, 3}, {2}}},
      .op = [](Tensors const& x) { return Tensors{exp(dense_scores(x[0], x[1], {.left = 1, .score = alibi(x[2])}))}; },
      .twin =
          [](Tensors const& x) {
            int64_t const b = x[0].size(0), h = x[0].size(1), t = x[0].size(2), s = x[1].size(2);
            Tensor const k = x[1].unsqueeze(2).expand({b, x[1].size(1), h / x[1].size(1), s, x[1].size(3)});
            Tensor const ago = (arange(t) + (s - t)).unsqueeze(1) - arange(s);
            Tensor const scores = matmul(x[0], k.reshape({b, h, s, -1}).t()) * (1 / std::sqrt(double(x[0].size(3)))) -
                                  x[2].reshape({-1, 1, 1}) * abs(ago).to(x[2].dtype());
            return Tensors{where(ago <= int64_t{1}, exp(scores), 0.0)};
          }};
  dense.f32 = 1e-5, dense.f64 = 1e-12, dense.gradient_f32 = 1e-4;
  dense.bad = {{[] {
                  dense_scores(ones({1, 2, 3, 4}), ones({1, 2, 3, 5}));
                },
                {"last axis"}},
               {[] {
                  dense_scores(ones({1, 2, 3, 4}), ones({2, 2, 3, 4}));
                },
                {"batch"}}};
  list().push_back(dense);
}

void mixing_cases() {
  OpCase doubly{.name = "sinkhorn",
                .covers = "sinkhorn",
                .inputs = {real()},
                .shapes = {{{3, 3}}, {{2, 1, 5, 5}}, {{1, 1}}, {{0, 2, 2}}},
                .op = [](Tensors const& x) { return Tensors{sinkhorn(x[0], 4)}; },
                .twin = [](Tensors const& x) -> Tensors {
                  // In the domain of weights, row by row.
                  Tensor w = exp(x[0]);
                  for (int step = 0; step < 4; ++step) {
                    w = w / sum(w, {-1}, true);
                    w = w / sum(w, {-2}, true);
                  }
                  return {w};
                }};
  doubly.f32 = 1e-5, doubly.f64 = 1e-12, doubly.gradient_f32 = 1e-4;
  doubly.bad = {{[] {
                   sinkhorn(ones({2, 3}));
                 },
                 {"sinkhorn", "[2, 3]"}},
                {[] {
                   sinkhorn(ones({2, 2}), -1);
                 },
                 {"sinkhorn", "-1"}}};
  list().push_back(doubly);
  OpCase inverse{
      .name = "newton_schulz_pinv",
      .covers = "newton_schulz_pinv",
      .inputs = {real()},
      .shapes = {{{3, 3}}, {{2, 4, 4}}, {{1, 1}}, {{0, 2, 2}}},
      // Rows of a softmax with a strong diagonal, as landmarks give.
      .op =
          [](Tensors const& x) {
            return Tensors{newton_schulz_pinv(softmax(x[0] + eye(x[0].size(-1)).to(x[0].device()) * 4.0), 14)};
          },
      .twin = [](Tensors const& x) { return Tensors{inv(softmax(x[0] + eye(x[0].size(-1)) * 4.0))}; }};
  inverse.f32 = 1e-4, inverse.f64 = 1e-9, inverse.gradient_f32 = 1e-2;
  inverse.bad = {{[] {
                    newton_schulz_pinv(ones({2, 3}));
                  },
                  {"newton_schulz_pinv", "[2, 3]"}},
                 {[] {
                    newton_schulz_pinv(ones({2, 2}), -2);
                  },
                  {"-2"}}};
  list().push_back(inverse);
  OpCase chosen{.name = "top_blocks",
                .covers = "top_blocks",
                .inputs = {real()},
                .shapes = {{{4, 6}}, {{2, 1, 3, 2}}, {{0, 2}}},
                .op = [](Tensors const& x) { return Tensors{top_blocks(x[0], 2)}; },
                .twin =
                    [](Tensors const& x) {
                      // What fewer than two others of the row exceed.
                      Tensor const above = x[0].unsqueeze(-1) < x[0].unsqueeze(-2);
                      return Tensors{sum(above, {-1}) < int64_t{2}};
                    },
                .differentiable = false};
  chosen.bad = {{[] {
                   top_blocks(ones({2, 3}), 4);
                 },
                 {"top_blocks", "4 of [2, 3]"}},
                {[] {
                   top_blocks(ones({2, 3}), -1);
                 },
                 {"-1"}}};
  list().push_back(chosen);
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    attend_cases();
    modified_cases();
    normaliser_cases();
    probe_cases();
    mixing_cases();
    return OpSuite{.sections = {"attention"}, .cases = list(), .not_differentiable = {"top_blocks"}};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("attend: what is masked is never read, and a query that sees nothing gives 0") {
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (int64_t s : {5, 40}) {
        INFO(std::string(name(level)), " ", std::string(name(dtype)), " keys ", s);
        // Keys 1 and s − 1 are masked for all queries, and query 2 sees nothing.
        std::vector<uint8_t> seen(size_t(6 * s), 1);
        for (int64_t i = 0; i < 6; ++i) seen[size_t(i * s + 1)] = seen[size_t(i * s + s - 1)] = 0;
        for (int64_t j = 0; j < s; ++j) seen[size_t(2 * s + j)] = 0;
        AttendOptions options;
        options.mask = tensor(seen, {6, s}).to(Dtype::boolean);
        Tensor const q = numbers({2, 2, 6, 8}, 1, dtype), k = numbers({2, 2, s, 8}, 2, dtype),
                     v = numbers({2, 2, s, 8}, 3, dtype);
        auto run = [&](double with, bool naive) {
          Tensor const query = q.clone().requires_grad_();
          Tensor key = k.clone(), value = v.clone();
          for (int64_t j : {int64_t{1}, s - 1}) {
            key.select(2, j).fill_(with);
            value.select(2, j).fill_(with);
          }
          key.requires_grad_();
          value.requires_grad_();
          auto const y = naive ? naive::attend(query, key, value, options) : attend(query, key, value, options);
          auto d = grad({y.out, y.lse}, {query, key, value},
                        {numbers(y.out.shape(), 4, dtype), numbers(y.lse.shape(), 5, dtype)});
          d.push_back(y.out);
          d.push_back(y.lse);
          return d;
        };
        auto const clean = run(0, false);
        for (double with : {nan_, inf, -inf})
          for (bool naive : {false, true}) {
            auto const dirty = run(with, naive);
            for (size_t i = 0; i < clean.size(); ++i)
              CHECK(differs(dirty[i], clean[i], dtype == Dtype::f32 ? 2e-5 : 1e-12) == "");
          }
        for (int64_t j : {int64_t{1}, s - 1})
          for (size_t i : {1, 2})
            for (double g : clean[i].select(2, j).to_vector<double>()) CHECK(g == 0);
        for (double y : clean[3].select(2, 2).to_vector<double>()) CHECK(y == 0);
        for (double y : clean[4].select(2, 2).to_vector<double>()) CHECK(y == -inf);
        for (double g : clean[0].select(2, 2).to_vector<double>()) CHECK(g == 0);
      }
  });
}

TEST_CASE("attend: a window and a causal mask are the mask they stand for") {
  Tensor const q = numbers({1, 2, 20, 8}, 1), k = numbers({1, 2, 30, 8}, 2), v = numbers({1, 2, 30, 8}, 3);
  for (int64_t left : {int64_t{0}, int64_t{3}, AttendOptions::unlimited})
    for (int64_t right : {int64_t{0}, int64_t{4}, AttendOptions::unlimited}) {
      std::vector<uint8_t> seen(600);
      for (int64_t i = 0; i < 20; ++i)
        for (int64_t j = 0; j < 30; ++j) {
          int64_t const at = i + 10;  // queries are aligned with the last keys
          seen[size_t(i * 30 + j)] = (left == AttendOptions::unlimited || at - j <= left) &&
                                     (right == AttendOptions::unlimited || j - at <= right);
        }
      AttendOptions window, mask;
      window.left = left;
      window.right = right;
      mask.mask = tensor(seen, {20, 30}).to(Dtype::boolean);
      CHECK(differs(attend(q, k, v, window).out, attend(q, k, v, mask).out, 1e-13) == "");
      if (right == 0) {
        window.right = AttendOptions::unlimited;
        window.causal = true;
        CHECK(same_bits(attend(q, k, v, window).out, [&] {
          auto w = window;
          w.causal = false, w.right = 0;
          return attend(q, k, v, w).out;
        }()));
      }
    }
}

TEST_CASE("attend: masks in words are the mask they stand for, at every size of tile, and hidden NaN stays hidden") {
  on_every_isa([&](Isa level) {
    INFO(std::string(name(level)));
    for (int64_t t : {3, 70, 200}) {
      int64_t const s = t + 30;
      Tensor const starts = floor(arange(s).to(Dtype::f64) / 37.0).unsqueeze(0);
      MaskMod const sees = (documents(starts) & window(50, 10)) | MaskMod([](auto at) { return at.j == 4.; });
      Tensor const i = (arange(t) + (s - t)).unsqueeze(1), j = arange(s), ago = i - j;
      Tensor const same = index_select(starts.select(0, 0), 0, i.reshape({t})).unsqueeze(1) == starts.select(0, 0);
      AttendOptions words{.sees = sees}, table;
      table.mask = (same & (ago <= int64_t{50}) & (ago >= int64_t{-10})) | (j == int64_t{4});
      Tensor const q = numbers({1, 2, t, 8}, 1), k = numbers({1, 2, s, 8}, 2), v = numbers({1, 2, s, 8}, 3);
      for (bool const poisoned : {false, true}) {
        // Key s − 32 is of another document than the first queries, which must not notice what it holds.
        Tensor key = k.clone(), value = v.clone();
        if (poisoned) {
          key.select(2, s - 32).fill_(nan_);
          value.select(2, s - 32).fill_(nan_);
        }
        auto const gradients = [&](AttendOptions const& o) {
          Tensor const a = q.clone().requires_grad_(), b = key.clone().requires_grad_(),
                       c = value.clone().requires_grad_();
          auto const y = attend(a, b, c, o);
          auto d = grad({y.out, y.lse}, {a, b, c}, {numbers(y.out.shape(), 4), numbers(y.lse.shape(), 5)});
          d.push_back(y.out);
          return d;
        };
        auto const got = gradients(words), want = gradients(table);
        for (size_t n = 0; n < got.size(); ++n) {
          INFO("t ", t, " poisoned ", poisoned, " result ", n);
          // A query that sees the poison may carry it on to other keys of its tiles in one way and not in the other.
          CHECK(differs(got[n], where(isnan(want[n]), got[n], want[n]), 1e-12) == "");
        }
      }
    }
  });
}

TEST_CASE("attend: one query after the other gives what all give at once") {
  Tensor const table = numbers({2, 9}, 6, Dtype::f32), ids = floor(arange(50) / 11.0).unsqueeze(0);
  AttendOptions const options{.causal = true,
                              .score = relative_bias(table) | soft_cap(3),
                              .sees = documents(ids) | MaskMod([](auto at) { return at.j < 2.; })};
  Tensor const q = numbers({2, 2, 50, 8}, 1, Dtype::f32), k = numbers({2, 1, 50, 8}, 2, Dtype::f32),
               v = numbers({2, 1, 50, 8}, 3, Dtype::f32);
  Tensor const all = attend(q, k, v, options).out;
  for (int64_t t = 1; t <= 50; ++t) {
    Tensor const last = attend(q.slice(2, t - 1, t), k.slice(2, 0, t), v.slice(2, 0, t), options).out;
    CHECK(differs(last, all.slice(2, t - 1, t), 1e-5) == "");
  }
}

TEST_CASE("attend: pages are the keys that they stand for") {
  NoGrad const off;
  on_every_isa([&](Isa level) {
    INFO(std::string(name(level)));
    for (int64_t page : {32, 64})
      for (int64_t t : {1, 3, 40}) {
        Tensor const q = numbers({2, 4, t, 8}, 1), k = numbers({7, 2, page, 8}, 2), v = numbers({7, 2, page, 9}, 3);
        AttendOptions options{.causal = true,
                              .score = alibi(numbers({4}, 4)),
                              .sees = lengths(tensor(std::vector<int64_t>{2 * page + 5, 3 * page}, {2}))};
        options.pages = tensor(std::vector<int64_t>{5, 0, 3, 6, 5, 2}, {2, 3});
        if (t == 3) options.left = page + 9;
        auto const got = attend(q, k, v, options), want = naive::attend(q, k, v, options);
        CHECK(differs(got.out, want.out, 1e-12) == "");
        CHECK(differs(got.lse, want.lse, 1e-12) == "");
      }
  });
  Tensor const q = ones({1, 1, 1, 8}), k = ones({2, 1, 32, 8});
  auto const message = [&](AttendOptions const& o, Tensor const& keys) {
    try {
      attend(q, keys, keys, o);
    } catch (Error const& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  Tensor const page = tensor(std::vector<int64_t>{2}, {1, 1});
  CHECK(message({.pages = page}, k).find("page 2 is not among the 2") != std::string::npos);
  CHECK(message({.pages = page.to(Dtype::i32)}, k).find("i64 pages [1, P]") != std::string::npos);
  CHECK(message({.pages = page}, ones({2, 1, 20, 8})).find("multiple of 32") != std::string::npos);
  CHECK(message({.top_k = 3, .pages = page * int64_t{0}}, k).find("do not read pages") != std::string::npos);
}

TEST_CASE("attend: a tile that a mask in words empties is never computed") {
  // 4,096 queries with windows of 64: what is left is a fortieth of the tiles.
  Tensor const q = numbers({1, 1, 4096, 8}, 1, Dtype::f32);
  auto const seconds = [&](AttendOptions const& o) {
    double best = 1e9;
    for (int round = 0; round < 3; ++round) {
      auto const start = std::chrono::steady_clock::now();
      attend(q, q, q, o);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  CHECK(seconds({.sees = window(64, 0)}) < 0.3 * seconds({.score = [](auto s, auto) { return s + 0.5; }}));
}

TEST_CASE("read: its coordinates") {
  Tensor const table = tensor({{1.f, 2.f, 3.f}, {4.f, 5.f, 6.f}});
  Tensor const zero = zeros({1, 1, 2, 4});
  auto const reads = [&](ScoreMod const& mod) { return dense_scores(zero, zero, {.score = mod}).to_vector<double>(); };
  using List = std::vector<double>;
  CHECK(reads([&](auto s, auto at) { return s + read(table, {at.i, at.j}); }) == List{1, 2, 4, 5});
  CHECK(reads([&](auto s, auto at) { return s + read(table, {at.i, at.j + 5.}); }) == List{3, 3, 6, 6});
  CHECK(reads([&](auto s, auto at) { return s + read(table, {at.i - 7., at.j - 0.6}); }) == List{1, 1, 1, 1});
  CHECK(reads([&](auto s, auto at) { return s + read(table, {at.i * nan_, at.j + 1.4}); }) == List{2, 3, 2, 3});
  Tensor const deep = arange(24).reshape({2, 2, 2, 3});
  CHECK(reads([&](auto s, auto at) { return s + read(deep, {at.i, 1., at.j, 2.}); }) == List{8, 11, 20, 23});
  CHECK(reads([&](auto s, auto) { return s + read(ones({}) * 7.0, {}); }) == List{7, 7, 7, 7});
  auto const message = [&](auto const& f) {
    try {
      f();
    } catch (Error const& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  CHECK(message([&] {
          ScoreMod([&](auto s, auto at) { return s + read(table, {at.i}); });
        }).find("coordinate for each axis of [2, 3], got 1") != std::string::npos);
  CHECK(message([&] {
          ScoreMod([&](auto s, auto at) { return s + read(table, {at.i, s}); });
        }).find("depends on the score") != std::string::npos);
  CHECK(message([&] {
          map([&](auto x) { return x + read(table, {x, x}); }, zero);
        }).find("read() is for scores") != std::string::npos);
  CHECK(message([] { soft_cap(0); }).find("positive cap") != std::string::npos);
  CHECK(message([] { window(-1, 0); }).find("left -1") != std::string::npos);
  CHECK(message([] { alibi(ones({2, 2})); }).find("slopes [H], got [2, 2]") != std::string::npos);
  CHECK(message([] { relative_bias(ones({2, 4})); }).find("odd number") != std::string::npos);
  CHECK(message([] { blocks(ones({1, 1, 2, 2}), 0); }).find("positive block") != std::string::npos);
}
