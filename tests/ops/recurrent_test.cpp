// Recurrent layers: cells, and layers over time.
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

using Values = std::vector<double>;
double sigma(double x) { return 1 / (1 + std::exp(-x)); }

/// y = w·x + b, w [rows, x.size()]
Values affine(Tensor const& w, Values const& x, Tensor const& b) {
  Values const m = w.to_vector<double>();
  Values y(size_t(w.size(0)), 0);
  for (size_t r = 0; r < y.size(); ++r) {
    if (b.defined()) y[r] = b.to_vector<double>()[r];
    for (size_t i = 0; i < x.size(); ++i) y[r] += m[r * x.size() + i] * x[i];
  }
  return y;
}

/// One sample's step: h and c become the next ones.
void step_plainly(Recurrence kind, RecurrentWeights const& p, Values const& x, Values& h, Values& c) {
  Values const a = affine(p.w_ih, x, p.b_ih), s = affine(p.w_hh, h, p.b_hh);
  size_t const n = kind == Recurrence::lstm ? c.size() : h.size();
  Values next(n);
  for (size_t j = 0; j < n; ++j) {
    if (kind == Recurrence::lstm) {
      auto const sum = [&](size_t gate) { return a[gate * n + j] + s[gate * n + j]; };
      c[j] = sigma(sum(1)) * c[j] + sigma(sum(0)) * std::tanh(sum(2));
      next[j] = sigma(sum(3)) * std::tanh(c[j]);
    } else if (kind == Recurrence::gru) {
      double const r = sigma(a[j] + s[j]), z = sigma(a[n + j] + s[n + j]);
      next[j] = (1 - z) * std::tanh(a[2 * n + j] + r * s[2 * n + j]) + z * h[j];
    } else {
      next[j] = kind == Recurrence::relu ? std::max(0., a[j] + s[j]) : std::tanh(a[j] + s[j]);
    }
  }
  h = p.w_hr.defined() ? affine(p.w_hr, next, {}) : next;
}

/// Layers over time on x [T, B, I], as lists: y, last h, last c.
Tensors run_plainly(Recurrence kind, Tensor const& x, Tensor const& h0, Tensor const& c0,
                    std::vector<RecurrentWeights> const& weights, bool bidirectional) {
  int64_t const steps = x.size(0), batch = x.size(1);
  size_t const directions = bidirectional ? 2 : 1;
  Values last_h, last_c;
  auto at = [](Tensor const& t, int64_t i, int64_t j) { return t.select(0, i).select(0, j).to_vector<double>(); };
  Tensor input = x;
  for (size_t l = 0; l < weights.size(); l += directions) {
    int64_t const width = weights[l].w_hh.size(1);
    Values y(size_t(steps * batch * width) * directions);
    for (size_t d = 0; d < directions; ++d)
      for (int64_t b = 0; b < batch; ++b) {
        Values h = at(h0, int64_t(l + d), b), c = c0.defined() ? at(c0, int64_t(l + d), b) : Values();
        for (int64_t s = 0; s < steps; ++s) {
          int64_t const t = d ? steps - 1 - s : s;
          step_plainly(kind, weights[l + d], at(input, t, b), h, c);
          std::copy(h.begin(), h.end(), y.begin() + ((t * batch + b) * int64_t(directions) + int64_t(d)) * width);
        }
        last_h.insert(last_h.end(), h.begin(), h.end());
        last_c.insert(last_c.end(), c.begin(), c.end());
      }
    input = tensor(y, {steps, batch, width * int64_t(directions)});
  }
  Tensors out{input, tensor(last_h, h0.shape())};
  if (c0.defined()) out.push_back(tensor(last_c, c0.shape()));
  return out;
}

struct Layout {
  std::string name;
  Recurrence kind;
  int64_t layers;
  bool bidirectional, biases, projected;
  int64_t sets() const { return layers * (bidirectional ? 2 : 1); }
  int64_t gates() const { return kind == Recurrence::lstm ? 4 : kind == Recurrence::gru ? 3 : 1; }
  bool lstm() const { return kind == Recurrence::lstm; }
};

/// Operands: x, h0, (c0,) then the weights of each set. P = 2 where projected.
Shapes shapes_of(Layout const& l, int64_t steps, int64_t batch, int64_t in, int64_t width) {
  int64_t const out = l.projected ? 2 : width, directions = l.bidirectional ? 2 : 1;
  Shapes shapes{{steps, batch, in}, {l.sets(), batch, out}};
  if (l.lstm()) shapes.push_back({l.sets(), batch, width});
  for (int64_t s = 0; s < l.sets(); ++s) {
    shapes.push_back({l.gates() * width, s < directions ? in : out * directions});
    shapes.push_back({l.gates() * width, out});
    if (l.biases) shapes.insert(shapes.end(), 2, {l.gates() * width});
    if (l.projected) shapes.push_back({out, width});
  }
  return shapes;
}

std::vector<RecurrentWeights> weights_of(Layout const& l, Tensors const& x) {
  std::vector<RecurrentWeights> weights;
  for (size_t at = l.lstm() ? 3 : 2; at < x.size();) {
    RecurrentWeights p{x[at], x[at + 1]};
    at += 2;
    if (l.biases) p.b_ih = x[at], p.b_hh = x[at + 1], at += 2;
    if (l.projected) p.w_hr = x[at++];
    weights.push_back(p);
  }
  return weights;
}

Tensors run_fused(Layout const& l, Tensors const& x, RecurrentOptions options = {}) {
  options.bidirectional = l.bidirectional;
  options.relu = l.kind == Recurrence::relu;
  auto const weights = weights_of(l, x);
  if (l.lstm()) {
    auto const [y, h, c] = lstm(x[0], x[1], x[2], weights, options);
    return {y, h, c};
  }
  auto const [y, h] = (l.kind == Recurrence::gru ? gru : rnn)(x[0], x[1], weights, options);
  return {y, h};
}

std::vector<Layout> const layouts{{"rnn", Recurrence::tanh, 1, false, true, false},
                                  {"rnn relu two layers", Recurrence::relu, 2, false, true, false},
                                  {"rnn both ways", Recurrence::tanh, 1, true, false, false},
                                  {"lstm", Recurrence::lstm, 1, false, true, false},
                                  {"lstm two layers both ways", Recurrence::lstm, 2, true, true, false},
                                  {"lstm no biases", Recurrence::lstm, 1, false, false, false},
                                  {"lstm projected", Recurrence::lstm, 2, false, true, true},
                                  {"gru", Recurrence::gru, 1, false, true, false},
                                  {"gru two layers both ways", Recurrence::gru, 2, true, true, false},
                                  {"gru no biases", Recurrence::gru, 1, false, false, false}};

void layer_cases() {
  for (Layout const& l : layouts) {
    bool const small = l.sets() == 1;
    OpCase c{.name = l.name,
             .covers = l.lstm()                    ? "lstm"
                       : l.kind == Recurrence::gru ? "gru"
                                                   : "rnn",
             .inputs = std::vector<Input>(shapes_of(l, 1, 1, 1, 1).size(), real(-1, 1)),
             .shapes = {shapes_of(l, 3, 2, 2, 3), shapes_of(l, 1, 1, 3, 1)},
             .op = [=](Tensors const& x) { return run_fused(l, x); },
             .twin = [=](Tensors const& x) -> Tensors {
               return run_plainly(l.kind, x[0], x[1], l.lstm() ? x[2] : Tensor(), weights_of(l, x), l.bidirectional);
             }};
    if (small) {
      c.shapes.push_back(shapes_of(l, 4, 3, 5, 19));
      c.large = shapes_of(l, 5, 40, 9, 33);
    }
    c.f32 = 1e-5, c.f64 = 1e-12, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 1e-6, c.gradcheck.directions = 2;
    std::string const op = c.covers;
    Tensor const x = ones({3, 2, 4}), wide = ones({l.gates() * 5, 4}), square = ones({l.gates() * 5, 5});
    auto const call = [=](Tensor const& x, Tensor const& h, std::vector<RecurrentWeights> const& weights) {
      if (op == "lstm")
        lstm(x, h, {}, weights);
      else if (op == "gru")
        gru(x, h, weights);
      else
        rnn(x, h, weights);
    };
    c.bad = {{[=] {
                call(x, ones({1, 2, 4}), {{wide, square}});
              },
              {op, "h0 of shape [1, 2, 5]", "[1, 2, 4]"}},
             {[=] {
                call(x, {}, {{square, square}});
              },
              {op, "w_ih of shape"}},
             {[=] {
                call(x, {}, {{wide, wide}});
              },
              {op}},
             {[=] { call(x, {}, {}); }, {op, "0 sets"}},
             {[=] {
                call(ones({0, 2, 4}), {}, {{wide, square}});
              },
              {op, "one step or more"}},
             {[=] {
                call(ones({4}), {}, {{wide, square}});
              },
              {op, "[4]"}},
             {[=] {
                call(x.to(Dtype::f64), {}, {{wide, square}});
              },
              {op, "f64", "f32"}}};
    list().push_back(c);
  }
}

void cell_cases() {
  for (Recurrence kind : {Recurrence::tanh, Recurrence::relu, Recurrence::lstm, Recurrence::gru}) {
    Layout const l{"", kind, 1, false, true, false};
    std::string const op = l.lstm() ? "lstm_cell" : kind == Recurrence::gru ? "gru_cell" : "rnn_cell";
    auto const cell = [=](Tensors const& x) -> Tensors {
      auto const p = weights_of(l, x)[0];
      if (kind == Recurrence::gru) return {gru_cell(x[0], x[1], p)};
      if (!l.lstm()) return {rnn_cell(x[0], x[1], p, kind == Recurrence::relu)};
      auto const [h, c] = lstm_cell(x[0], x[1], x[2], p);
      return {h, c};
    };
    auto const shapes = [=](int64_t batch, int64_t in, int64_t width) {
      Shapes all = shapes_of(l, 1, batch, in, width);
      for (size_t k = 0; k < (l.lstm() ? 3 : 2); ++k) all[k].erase(0);
      return all;
    };
    Shapes single = shapes(1, 3, 2);
    for (size_t k = 0; k < (l.lstm() ? 3 : 2); ++k) single[k].erase(0);
    OpCase c{.name = op + (kind == Recurrence::relu ? " relu" : ""),
             .covers = op,
             .inputs = std::vector<Input>(single.size(), real(-1, 1)),
             .shapes = {shapes(2, 2, 3), single, shapes(3, 5, 17)},
             .op = cell,
             .twin = [=](Tensors const& x) -> Tensors {
               auto const batched = [](Tensor const& t) { return t.rank() == 1 ? t.unsqueeze(0) : t; };
               Tensor const c0 = l.lstm() ? batched(x[2]).unsqueeze(0) : Tensor();
               Tensors const out = run_plainly(kind, batched(x[0]).unsqueeze(0), batched(x[1]).unsqueeze(0), c0,
                                               weights_of(l, x), false);
               Tensors y{out[0].reshape(x[1].shape())};
               if (l.lstm()) y.push_back(out[2].reshape(x[2].shape()));
               return y;
             }};
    c.f32 = 1e-5, c.gradient_f32 = 2e-4, c.gradcheck.tolerance = 1e-6;
    Tensor const w = ones({l.gates() * 3, 2}), u = ones({l.gates() * 3, 3});
    c.bad = {{[=] {
                Tensors x{ones({2, 4}), ones({2, 3})};
                if (l.lstm()) x.push_back(ones({2, 3}));
                x.insert(x.end(), {w, u, ones({l.gates() * 3}), ones({l.gates() * 3})});
                cell(x);
              },
              {op, "w_ih of shape", ", 4]"}},
             {[=] {
                Tensors x{Tensor(), ones({2, 3})};
                if (l.lstm()) x.push_back(ones({2, 3}));
                x.insert(x.end(), {w, u, ones({l.gates() * 3}), ones({l.gates() * 3})});
                cell(x);
              },
              {op}}};
    list().push_back(c);
  }
}

OpSuite const& suite() {
  static OpSuite const all = [] {
    cell_cases();
    layer_cases();
    return OpSuite{.sections = {"recurrent"}, .cases = list()};
  }();
  return all;
}

}  // namespace

HEED_OP_SUITE(suite)

TEST_CASE("layouts: batch first, no batch, no first state, dropout between layers") {
  for (Layout const& l : layouts) {
    INFO(l.name);
    Tensors x;
    for (Shape const& shape : shapes_of(l, 4, 2, 3, 5)) x.push_back(numbers(shape, uint32_t(x.size()), Dtype::f64));
    Tensors const want = run_fused(l, x);

    Tensors first = x;
    first[0] = x[0].transpose(0, 1).contiguous();
    Tensors const swapped = run_fused(l, first, {.batch_first = true});
    CHECK(differs(swapped[0].transpose(0, 1), want[0], 0) == "");
    CHECK(differs(swapped[1], want[1], 0) == "");

    Tensors single = x;
    size_t const states = l.lstm() ? 3 : 2;
    for (size_t k = 0; k < states; ++k) single[k] = x[k].select(1, 1);
    Tensors const one = run_fused(l, single);
    for (size_t k = 0; k < states; ++k) CHECK(differs(one[k], want[k].select(1, 1), 1e-14) == "");

    Tensors zero = x, none = x;
    for (size_t k = 1; k < states; ++k) {
      zero[k] = zeros_like(x[k]);
      none[k] = Tensor();
    }
    CHECK(differs(run_fused(l, none)[0], run_fused(l, zero)[0], 0) == "");

    Generator generator(3);
    Tensors const dropped = run_fused(l, x, {.dropout = 0.5, .generator = &generator});
    CHECK((differs(dropped[0], want[0], 1e-9) == "") == (l.layers == 1));
    CHECK(generator.offset() == uint64_t(l.layers - 1));
  }
}

TEST_CASE("only the last states have a cotangent") {
  Layout const& l = layouts[3];
  Tensors x;
  for (Shape const& shape : shapes_of(l, 3, 2, 2, 3)) {
    x.push_back(numbers(shape, uint32_t(x.size()), Dtype::f64));
    x.back().requires_grad_();
  }
  for (size_t k : {1, 2}) {
    Function const f = [&](Tensors const& in) { return Tensors{run_fused(l, in)[k]}; };
    CHECK(gradcheck(f, x) == "");
    CHECK(gradgradcheck(f, x) == "");
  }
}
