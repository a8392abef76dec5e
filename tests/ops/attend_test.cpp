// attend(): against its twin, masks, windows.
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

void modified_cases() {
  ModVariant const variants[] = {
      {"alibi", [](Tensors const& x) { return AttendOptions{.causal = true, .score = alibi(x[3])}; }},
      {"relative bias, soft cap, alibi",
       [](Tensors const& x) { return AttendOptions{.score = relative_bias(x[4]) | soft_cap(2) | alibi(x[3])}; }},
      {"two reads of one table, nested in a read",
       [](Tensors const& x) {
         Tensor const table = x[4], order = tensor({1.f, 0.f, 3.f, 2.f, 4.f});
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
         return AttendOptions{.score = alibi(x[3]), .sees = documents(document_ids(x[0].size(0), x[1].size(2)))};
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
         return AttendOptions{.score = relative_bias(x[4]), .sees = ~blocks(blocked, 20)};
       }},
      {"lengths",
       [](Tensors const& x) {
         return AttendOptions{.score = relative_bias(x[4]), .sees = lengths(arange(x[0].size(0)) + int64_t{2})};
       }},
      {"prefix",
       [](Tensors const& x) {
         return AttendOptions{.score = relative_bias(x[4]), .sees = prefix(arange(x[0].size(0)) + int64_t{2})};
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
                              .sees = documents(document_ids(x[0].size(0), x[1].size(2))),
                              .weight = [&](auto s, auto at) {
                                auto const positive = max(s + read(table, {at.h, 1.}), 0.);
                                return positive * positive;
                              }};
       }},
  };
  for (ModVariant const& v : variants) {
    auto const options = v.options;
    OpCase c{.name = std::string("attend ") + v.name,
             .covers = "attend",
             .inputs = {real(), real(), real(), real(), real()},
             .shapes = {{{1, 2, 3, 2}, {1, 1, 4, 2}, {1, 1, 4, 3}, {2}, {2, 5}},
                        {{2, 2, 4, 3}, {2, 2, 4, 3}, {2, 2, 4, 3}, {2}, {2, 5}},
                        {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {1}, {1, 5}},
                        {{1, 1, 6, 2}, {1, 1, 3, 2}, {1, 1, 3, 1}, {1}, {1, 5}},
                        {{1, 4, 17, 8}, {1, 2, 33, 8}, {1, 2, 33, 9}, {4}, {4, 5}},
                        {{1, 1, 100, 8}, {1, 1, 90, 8}, {1, 1, 90, 8}, {1}, {1, 5}},
                        {{0, 2, 3, 2}, {0, 2, 3, 2}, {0, 2, 3, 2}, {2}, {2, 5}},
                        {{1, 2, 3, 2}, {1, 2, 0, 2}, {1, 2, 0, 2}, {2}, {2, 5}}},
             .op =
                 [options](Tensors const& x) {
                   auto y = attend(x[0], x[1], x[2], options(x));
                   return y.lse.defined() ? Tensors{y.out, y.lse} : Tensors{y.out};
                 },
             .twin =
                 [options](Tensors const& x) {
                   auto y = naive::attend(x[0], x[1], x[2], options(x));
                   return y.lse.defined() ? Tensors{y.out, y.lse} : Tensors{y.out};
                 }};
    c.f32 = 2e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4;
    c.gradcheck.full_up_to = 30;
    list().push_back(c);
  }
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    attend_cases();
    modified_cases();
    return OpSuite{.sections = {"attention"}, .cases = list()};
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
