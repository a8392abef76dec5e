// What is built on the tape: derivatives of functions, recomputation, hooks, custom operations, modes.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/custom.h>
#include <heed/engine/derivatives.h>
#include <heed/engine/error.h>
#include <heed/engine/hooks.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

using Values = std::vector<double>;
using Tensors = std::vector<Tensor>;

Tensor vector(Values const& values) { return tensor(values, {int64_t(values.size())}); }
Tensor leaf(Values const& values) { return vector(values).requires_grad_(); }
Values values(Tensor const& t) { return t.to_vector<double>(); }
bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

/// Central differences of f's (only) output, [out…, in…].
Tensor numeric_jacobian(std::function<Tensor(Tensor const&)> const& f, Tensor const& x) {
  double const h = 1e-6;
  Tensors columns;
  for (int64_t i = 0; i < x.numel(); ++i) {
    Tensor const up = x.detach().clone(), down = x.detach().clone();
    up.data<double>()[i] += h;
    down.data<double>()[i] -= h;
    NoGrad const off;
    columns.push_back(((f(up) - f(down)) / (2 * h)).reshape({-1}));
  }
  Shape shape = f(x).detach().shape();
  for (int64_t size : x.shape()) shape.push_back(size);
  return stack(columns, 1).reshape(shape);
}

}  // namespace

// ---- derivatives ------------------------------------------------------------------------------------------------

TEST_CASE("jacobian: any shapes, several inputs and outputs, unused inputs") {
  auto f = [](Tensor const& x) { return matmul(x, x.t()) * exp(x.slice(1, 0, 2)) + tanh(x.slice(1, 1, 3)); };
  Tensor const x = numbers({2, 3}, 1);
  Tensor const j = jacobian(f, x);
  CHECK(j.shape() == Shape{2, 2, 2, 3});
  CHECK(differs(j, numeric_jacobian(f, x), 1e-8) == "");
  CHECK_FALSE(j.requires_grad());
  CHECK_FALSE(x.requires_grad());

  Tensor const a = numbers({3}, 2), b = numbers({2, 1}, 3), unused = numbers({4}, 4);
  auto const all = jacobian(
      [](Tensors const& in) {
        return Tensors{in[0] * in[1], sum(in[0] * in[0])};
      },
      {a, b, unused});
  REQUIRE(all.size() == 2);
  REQUIRE(all[0].size() == 3);
  CHECK(all[0][0].shape() == Shape{2, 3, 3});
  CHECK(all[0][1].shape() == Shape{2, 3, 2, 1});
  CHECK(all[1][0].shape() == Shape{3});
  CHECK(differs(all[1][0], a * 2.0, 1e-15) == "");
  CHECK(differs(all[0][0], numeric_jacobian([&](Tensor const& v) { return v * b; }, a), 1e-8) == "");
  CHECK(differs(all[0][1], numeric_jacobian([&](Tensor const& v) { return a * v; }, b), 1e-8) == "");
  CHECK(values(all[1][2]) == Values(4, 0));
  CHECK(all[0][2].shape() == Shape{2, 3, 4});
  // Rank 0 and empty.
  CHECK(jacobian([](Tensor const& v) { return v * v; }, scalar(3, Dtype::f64)).item() == 6);
  CHECK(jacobian([](Tensor const& v) { return v * v; }, empty({0}, Dtype::f64)).shape() == Shape{0, 0});
  CHECK(jacobian([](Tensor const& v) { return v.slice(0, 0, 0); }, a).shape() == Shape{0, 3});
  // A function that ignores its input.
  CHECK(values(jacobian([](Tensor const&) { return ones({2}, Dtype::f64); }, a)) == Values(6, 0));
  // Fused operations.
  auto g = [](Tensor const& v) { return softmax(layer_norm(v)); };
  CHECK(differs(jacobian(g, x), numeric_jacobian(g, x), 1e-7) == "");
}

TEST_CASE("vjp and jvp are products with the jacobian") {
  Tensor const x = numbers({2, 3}, 1), y = numbers({3}, 2);
  auto f = [](Tensor const& a, Tensor const& b) { return Tensors{softmax(a * b), exp(b), sum(a)}; };
  auto const j = jacobian([&](Tensors const& in) { return f(in[0], in[1]); }, {x, y});
  Tensors const u{numbers({2, 3}, 3), numbers({3}, 4), scalar(0.5, Dtype::f64)}, t{numbers({2, 3}, 5), numbers({3}, 6)};
  auto const left = vjp(f, {x, y}, u);
  auto const right = jvp(f, {x, y}, t);
  REQUIRE(left.product.size() == 2);
  REQUIRE(right.product.size() == 3);
  auto flat = [](Tensor const& m, int64_t rows) { return m.reshape({rows, m.numel() / rows}); };
  Tensors const in{x, y};
  for (size_t i = 0; i < 2; ++i) {
    Tensor want = zeros({in[i].numel()}, Dtype::f64);
    for (size_t k = 0; k < 3; ++k) want = want + matmul(u[k].reshape({-1}), flat(j[k][i], u[k].numel()));
    CHECK(differs(left.product[i], want.reshape(in[i].shape()), 1e-13) == "");
  }
  for (size_t k = 0; k < 3; ++k) {
    Tensor want = zeros({u[k].numel()}, Dtype::f64);
    for (size_t i = 0; i < 2; ++i) want = want + matmul(flat(j[k][i], u[k].numel()), t[i].reshape({-1}));
    CHECK(differs(right.product[k], want.reshape(u[k].shape()), 1e-13) == "");
    CHECK(differs(right.outputs[k], f(x, y)[k], 0) == "");
    CHECK_FALSE(right.product[k].requires_grad());
    CHECK_FALSE(right.outputs[k].requires_grad());
  }
  CHECK(values(vjp([](Tensor const& v) { return sum(v * v); }, {y}).product[0]) == values(y * 2.0));
}

TEST_CASE("hessian, hvp and vhp") {
  auto f = [](Tensor const& x) { return sum(exp(matmul(x, x.t())) * 0.1) + sum(sin(x) * x); };
  Tensor const x = numbers({2, 3}, 1, Dtype::f64) * 0.5, v = numbers({2, 3}, 2);
  Tensor const h = hessian(f, x);
  CHECK(h.shape() == Shape{2, 3, 2, 3});
  auto gradient = [&](Tensor const& at) { return vjp(f, {at}).product[0]; };
  CHECK(differs(h, numeric_jacobian(gradient, x), 1e-7) == "");
  Tensor const want = matmul(h.reshape({6, 6}), v.reshape({6})).reshape({2, 3});
  CHECK(differs(hvp(f, {x}, {v}).product[0], want, 1e-12) == "");
  CHECK(differs(vhp(f, {x}, {v}).product[0], want, 1e-12) == "");
  CHECK(differs(vhp(f, {x}, {v}).outputs[0], f(x), 0) == "");
  // Several inputs.
  Tensor const a = numbers({2}, 3), b = numbers({2}, 4);
  auto const blocks = hessian([](Tensors const& in) { return sum(in[0] * in[0] * in[1]); }, {a, b});
  CHECK(differs(blocks[0][0], tensor(Values{2 * values(b)[0], 0, 0, 2 * values(b)[1]}, {2, 2}), 1e-14) == "");
  CHECK(differs(blocks[0][1], tensor(Values{2 * values(a)[0], 0, 0, 2 * values(a)[1]}, {2, 2}), 1e-14) == "");
  CHECK(values(blocks[1][1]) == Values(4, 0));
  // A linear function.
  CHECK(values(hessian([](Tensor const& t) { return sum(t * 3.0); }, a)) == Values(4, 0));
  CHECK(values(hvp([](Tensor const& t) { return sum(t * 3.0); }, {a}, {b}).product[0]) == Values(2, 0));
  // The fused attention core.
  Tensor const q = numbers({1, 1, 3, 2}, 5);
  auto attention = [](Tensor const& t) { return sum(square(attend(t, t, t).out)); };
  auto slow = [](Tensor const& t) { return sum(square(naive::attend(t, t, t).out)); };
  CHECK(differs(hessian(attention, q), hessian(slow, q), 1e-11) == "");
}

TEST_CASE("derivatives nest, and are part of the tape where their inputs or captures are") {
  Tensor const x = leaf({0.3, -0.7}), w = leaf({1.5, 2});
  // hessian = jacobian of jacobian
  auto f = [&](Tensor const& t) { return sum(exp(t * w)); };
  Tensor const nested = jacobian([&](Tensor const& t) { return jacobian(f, t); }, x.detach());
  CHECK(differs(nested.detach(), hessian(f, x).detach(), 1e-13) == "");
  // Third order: a jvp of a hessian.
  auto third = jvp([&](Tensor const& t) { return hessian(f, t); }, {x.detach()}, {ones({2}, Dtype::f64)}).product[0];
  Values const wv = values(w), xv = values(x);
  CHECK(third.at(0, 0).detach().item() == doctest::Approx(std::pow(wv[0], 3) * std::exp(wv[0] * xv[0])));
  // Differentiable with respect to what f captures: a gradient penalty.
  Tensor const penalty = sum(square(vjp(f, {x.detach()}).product[0]));
  Tensor const by_w = grad({penalty}, {w})[0];
  Values want;
  for (int i = 0; i < 2; ++i)
    want.push_back(2 * wv[i] * std::exp(2 * wv[i] * xv[i]) + wv[i] * wv[i] * 2 * xv[i] * std::exp(2 * wv[i] * xv[i]));
  CHECK(differs(by_w, vector(want), 1e-12) == "");
  // … and with respect to the inputs and tangents.
  Tensor const t = leaf({1, 2});
  Tensor const directional = sum(jvp([](Tensor const& v) { return v * v * v; }, {x}, {t}).product[0]);
  auto const g = grad({directional}, {x, t});
  CHECK(differs(g[0], vector({6 * 0.3 * 1, 6 * -0.7 * 2}), 1e-12) == "");
  CHECK(differs(g[1], vector({3 * 0.09, 3 * 0.49}), 1e-12) == "");
  // Nothing reached a leaf, and under NoGrad the results are plain.
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(w.grad().defined());
  NoGrad const off;
  CHECK_FALSE(hessian(f, x).requires_grad());
  CHECK(differs(vjp(f, {x}).product[0], w * exp(x * w), 1e-14) == "");
}

TEST_CASE("derivatives: bad input") {
  Tensor const x = numbers({3}, 1);
  auto twice = [](Tensor const& t) { return t * 2.0; };
  CHECK(contains(error_of([&] { vjp(twice, {x}); }), "vjp: expected cotangents"));
  CHECK(contains(error_of([&] { vjp(twice, {x}, {ones({2}, Dtype::f64)}); }),
                 "expected cotangents of shape [3] f64, got [2] f64"));
  CHECK(contains(error_of([&] { jvp(twice, {x}, {}); }), "jvp: expected 1 tangents, got 0"));
  CHECK(contains(error_of([&] { jvp(twice, {x}, {ones({3})}); }), "got [3] f32"));
  CHECK(contains(error_of([&] { hessian(twice, x); }), "hessian: expected an output of one element, got shape [3]"));
  CHECK(contains(error_of([&] { hvp(twice, {x}, {x}); }), "hvp: expected an output of one element"));
  CHECK(contains(error_of([&] { jacobian(twice, arange(3)); }), "jacobian: expected a floating type, got i64"));
  CHECK(contains(error_of([&] { jacobian(twice, {x, x}); }), "takes 1 tensors, got 2"));
  CHECK(contains(error_of([&] { jacobian(twice, Tensor()); }), "jacobian: expected a tensor"));
  CHECK(contains(error_of([&] {
                   jacobian([](Tensor const& t) { return Tensors{t, t}; }, x);
                 }),
                 "expected one output, got 2"));
  InferenceMode const inference;
  CHECK(contains(error_of([&] { jacobian(twice, x); }), "inference mode"));
}

// ---- recomputation ------------------------------------------------------------------------------------------------

TEST_CASE("recompute: the same bits, captured parameters, several outputs") {
  Tensor const w = numbers({4, 4}, 1, Dtype::f32).requires_grad_(), b = numbers({4}, 2, Dtype::f32).requires_grad_();
  int runs = 0;
  auto block = [&](Tensors const& in) {
    ++runs;
    Tensor const h = dropout(tanh(matmul(in[0], w) + b), 0.3);
    return Tensors{h * in[1], softmax(h), arange(3)};
  };
  auto run = [&](bool again) {
    seed(7);
    for (Tensor const& p : {w, b}) p.set_grad({});
    Tensor const x = numbers({3, 4}, 3, Dtype::f32).requires_grad_(), plain = numbers({4}, 4, Dtype::f32);
    Tensor const in = x * 2.0;
    Tensors const y = again ? recompute(block, {in, plain}) : block({in, plain});
    CHECK_FALSE(y[2].requires_grad());
    Tensor const loss = sum(y[0] * y[1]) + sum(dropout(y[0], 0.5));
    loss.backward();
    return Tensors{loss.detach(), x.grad(), w.grad(), b.grad(), rand({4})};
  };
  auto const want = run(false);
  CHECK(runs == 1);
  auto const got = run(true);
  CHECK(runs == 3);
  for (size_t i = 0; i < want.size(); ++i) CHECK(same_bits(got[i], want[i]));
  // One output unused; by grad() for a parameter only f knows.
  Tensor const x = numbers({3, 4}, 3, Dtype::f32), plain = numbers({4}, 4, Dtype::f32);
  seed(1);
  Tensor const by_w = grad({sum(recompute(block, {x, plain})[1] * 2.0 + 1.0) * sum(w)}, {w})[0];
  seed(1);
  CHECK(same_bits(by_w, grad({sum(block({x, plain})[1] * 2.0 + 1.0) * sum(w)}, {w})[0]));
  NoGrad const off;
  runs = 0;
  CHECK_FALSE(recompute(block, {x, plain})[0].requires_grad());
  CHECK(runs == 1);
}

TEST_CASE("recompute: nested, with captured interior tensors, create_graph, an input returned") {
  Tensor const w = leaf({0.5, -1}), x = leaf({1, 2});
  Tensor const interior = exp(w);  // neither an input nor a leaf
  auto inner = [&](Tensor const& t) { return sin(t * interior) * w; };
  auto outer = [&](Tensor const& t) { return tanh(recompute(inner, t)) + t * interior; };
  auto plain = [&](Tensor const& t) { return tanh(inner(t)) + t * interior; };
  auto gradients = [&](Tensor const& y) { return grad({y}, {x, w, interior}, {}, {.retain_graph = true}); };
  auto const got = gradients(sum(recompute(outer, x * 2.0))), want = gradients(sum(plain(x * 2.0)));
  for (size_t i = 0; i < 3; ++i) CHECK(differs(got[i], want[i], 1e-14) == "");
  auto second = [&](Tensor const& y) {
    auto const g = grad({sum(y)}, {x, w}, {}, {.create_graph = true});
    return grad({sum(g[0] * g[1])}, {x, w}, {}, {.retain_graph = true});
  };
  auto const got2 = second(recompute(outer, x)), want2 = second(plain(x));
  for (size_t i = 0; i < 2; ++i) CHECK(differs(got2[i], want2[i], 1e-12) == "");
  CHECK(differs(hessian([&](Tensor const& t) { return sum(recompute(outer, t)); }, x).detach(),
                hessian([&](Tensor const& t) { return sum(plain(t)); }, x).detach(), 1e-12) == "");
  // Derivatives taken inside.
  auto penalised = [&](Tensor const& t) {
    return square(vjp([&](Tensor const& u) { return sum(inner(u)); }, {t}).product[0]);
  };
  CHECK(differs(gradients(sum(recompute(penalised, x)))[0], gradients(sum(penalised(x)))[0], 1e-13) == "");
  CHECK(differs(gradients(sum(recompute(penalised, x)))[1], gradients(sum(penalised(x)))[1], 1e-13) == "");
  // An input that is handed through, and a captured leaf that is an output.
  auto const through = recompute([&](Tensors const& in) { return Tensors{in[0], w}; }, {x});
  auto const g = grad({sum(through[0] * 2.0 + through[1] * 3.0)}, {x, w});
  CHECK(values(g[0]) == Values{2, 2});
  CHECK(values(g[1]) == Values{3, 3});
}

TEST_CASE("recompute: draws repeat, from whichever generators, nested or not") {
  Tensor const x = full({64}, 1.0, Dtype::f64).requires_grad_();
  Generator own(7);
  auto const noisy = [&](Tensor const& t) {
    Generator made(3);
    Tensor const a = dropout(t, 0.5, own), b = dropout(a, 0.25) * rand({64}, Dtype::f64, made);
    return dropout(b, 0.5, own.split(2)[1]);
  };
  auto const nested = [&](Tensor const& t) { return dropout(recompute(noisy, t), 0.5, own) + noisy(t); };
  for (std::function<Tensor(Tensor const&)> const& f : {std::function<Tensor(Tensor const&)>(noisy), {nested}}) {
    Tensor const y = recompute(f, x);  // linear in x, so that the gradient at ones shows the choices
    uint64_t const offset = own.offset(), shared = default_generator().offset();
    for (int again = 0; again < 2; ++again)
      CHECK(differs(grad({sum(y)}, {x}, {}, {.retain_graph = true})[0], y.detach(), 1e-14) == "");
    CHECK(own.offset() == offset);
    CHECK(default_generator().offset() == shared);
  }
  bool more = false;
  Tensor const y =
      recompute([&](Tensor const& t) { return more ? dropout(dropout(t, 0.5), 0.5) : dropout(t, 0.5); }, x);
  more = true;
  CHECK(contains(error_of([&] { sum(y).backward(); }), "recompute: the second run draws more"));
}

TEST_CASE("recompute: buffers, generator, changed inputs, failures") {
  Tensor const x = leaf({1, 2});
  int updates = 0;
  auto block = [&](Tensor const& t) {
    if (!recomputing()) ++updates;
    return dropout(exp(t), 0.5);
  };
  CHECK_FALSE(recomputing());
  Tensor const y = sum(recompute(block, x));
  uint64_t const offset = default_generator().offset();
  y.backward();
  CHECK(updates == 1);
  CHECK(default_generator().offset() == offset);
  CHECK_FALSE(recomputing());
  // An input changed before backward.
  Tensor in = x * 1.0;
  Tensor const z = sum(recompute([](Tensor const& t) { return exp(t); }, in));
  {
    NoGrad const off;
    in.zero_();
  }
  CHECK(contains(error_of([&] { z.backward(); }), "recompute: a tensor of shape [2] saved for backward was changed"));
  // An exception in the second run.
  bool broken = false;
  auto fragile = [&](Tensor const& t) {
    check(!broken, "fragile", [] { return Complaint{"broken on purpose", "mend it"}; });
    return exp(t);
  };
  x.set_grad({});
  Tensor const u = sum(recompute(fragile, x));
  broken = true;
  CHECK(contains(error_of([&] { backward(u, {}, {.retain_graph = true}); }), "broken on purpose"));
  CHECK_FALSE(recomputing());
  broken = false;
  u.backward();
  CHECK(values(x.grad()) == values(exp(x.detach())));
  bool longer = false;
  auto moody = [&](Tensor const& t) { return longer ? cat({t, t}) : t * 2.0; };
  Tensor const v = sum(recompute(moody, x));
  longer = true;
  CHECK(contains(error_of([&] { v.backward(); }), "recompute: the second run gave other outputs"));
}

TEST_CASE("recompute: hooks inside and outside run once, with complete gradients; retain_graph runs it again") {
  Tensor const w = leaf({2, 3}), x = leaf({1, 2});
  std::vector<Values> seen;
  auto watch = [&](Tensor const& g) {
    seen.push_back(values(g));
    return Tensor();
  };
  hook(w, watch);
  auto block = [&](Tensor const& t) {
    Tensor const y = t * w;
    hook(y, watch);
    return y * 2.0;
  };
  Tensor const y = sum(recompute(block, recompute(block, x)));  // 4·x·w²
  backward(y, {}, {.retain_graph = true});
  CHECK(seen == std::vector<Values>{{2, 2}, {8, 12}, {16, 48}});
  CHECK(values(w.grad()) == Values{16, 48});
  CHECK(values(x.grad()) == Values{16, 36});
  y.backward();
  CHECK(seen.size() == 6);
  CHECK(values(w.grad()) == Values{32, 96});
  CHECK(contains(error_of([&] { y.backward(); }), "freed by an earlier backward"));
}

TEST_CASE("recompute keeps its inputs alone") {
  auto held = [](bool again) {
    Tensor const x = numbers({1000}, 1, Dtype::f32).requires_grad_();
    auto deep = [](Tensor const& t) {
      Tensor y = t;
      for (int i = 0; i < 20; ++i) y = sin(exp(y));
      return y;
    };
    size_t const before = memory_statistics().in_use;
    Tensor const y = again ? recompute(deep, x) : deep(x);
    return (memory_statistics().in_use - before) / 4000;
  };
  CHECK(held(false) == 21);  // exp() keeps its results, which sin() keeps as well, and there is y
  CHECK(held(true) == 1);
}

// ---- hooks --------------------------------------------------------------------------------------------------------

TEST_CASE("hooks see and replace complete gradients") {
  Tensor const x = leaf({2, 3});
  Tensor const a = x * x;
  std::vector<Values> seen;
  auto watch = [&](Tensor const& g) {
    seen.push_back(values(g));
    return Tensor();
  };
  HookHandle first = hook(a, watch);
  HookHandle const second = hook(a, [](Tensor const& g) { return g * 10.0; });
  hook(x, watch);
  Tensor const y = sum(a * 2.0 + a * a + exp(x) * 0.0);
  backward(y, {}, {.retain_graph = true});
  CHECK(seen == std::vector<Values>{{2 + 8, 2 + 18}, {400, 1200}});  // once each, after all uses have delivered
  CHECK(values(x.grad()) == Values{400, 1200});
  // grad() sees what hooks give, whether the walk goes on through a or ends there.
  CHECK(values(grad({y}, {a}, {}, {.retain_graph = true})[0]) == Values{100, 200});
  auto const both = grad({y}, {x, a, x}, {}, {.retain_graph = true});
  CHECK(values(both[0]) == Values{400, 1200});
  CHECK(values(both[1]) == Values{100, 200});
  CHECK(values(both[2]) == Values{400, 1200});
  seen.clear();
  first.remove();
  first.remove();
  backward(y, {}, {.retain_graph = true});
  CHECK(seen == std::vector<Values>{{400, 1200}});
  CHECK(values(x.grad()) == Values{800, 2400});
  // Recorded under create_graph.
  Tensor const z = leaf({3});
  Tensor const b = z * z;
  hook(b, [&](Tensor const& g) { return g * z; });
  Tensor const g = grad({sum(b)}, {z}, {}, {.create_graph = true})[0];  // 2z²
  CHECK(values(grad({g}, {z})[0]) == Values{12});
  // A hook that removes itself, and one output of several.
  Tensor const q = numbers({1, 1, 2, 2}, 1).requires_grad_();
  auto const attended = attend(q, q, q);
  int calls = 0;
  HookHandle once;
  once = hook(attended.lse, [&](Tensor const& gradient) {
    ++calls;
    once.remove();
    CHECK(gradient.shape() == attended.lse.shape());
    return Tensor();
  });
  Tensor const l = sum(attended.out) + sum(attended.lse);
  backward(l, {}, {.retain_graph = true});
  backward(l);
  CHECK(calls == 1);
}

TEST_CASE("hooks: bad input, and walks inside walks") {
  Tensor const x = leaf({1});
  CHECK(contains(error_of([] { hook(ones({1}), [](Tensor const& g) { return g; }); }),
                 "hook: a tensor of shape [1] requires no gradient"));
  CHECK(contains(error_of([] { hook(Tensor(), [](Tensor const& g) { return g; }); }), "hook"));
  Tensor const y = x * 2.0;
  hook(y, [](Tensor const&) { return ones({3}); });
  CHECK(contains(error_of([&] { sum(y).backward(); }),
                 "hook: expected a gradient of shape [1] f64, the hook returned [3] f32"));
  // A hook that walks the graph that is being walked: an error, never a lost gradient.
  Tensor const a = exp(x), b = exp(a), side = sin(a), c = sum(b * side);
  hook(b, [&](Tensor const&) { return grad({side}, {x}, {}, {.retain_graph = true})[0]; });
  CHECK(contains(error_of([&] { backward(c, {}, {.retain_graph = true}); }), "in the middle of this one"));
  // One that makes a graph of its own.
  Tensor const u = exp(x);
  double inner = 0;
  hook(u, [&](Tensor const& g) {
    inner = jacobian([](Tensor const& t) { return t * t; }, g).item();
    return Tensor();
  });
  x.set_grad({});
  sum(u * 3.0).backward();
  CHECK(inner == 6);
  CHECK(values(x.grad())[0] == doctest::Approx(3 * std::exp(1)));
}

TEST_CASE("on_accumulated: once a walk, when all uses have delivered, before the walk goes on") {
  Tensor const early = leaf({2}), late = leaf({3});
  std::vector<std::pair<char, double>> seen;
  HookHandle const handle = on_accumulated(late, [&] { seen.emplace_back('l', late.grad().item()); });
  on_accumulated(early, [&] { seen.emplace_back('e', early.grad().item()); });
  hook(late, [](Tensor const& g) { return g * 2.0; });  // before it is added
  Tensor const a = early * 3.0, b = a * late, c = sum(b * late);
  HookHandle const between = hook(a, [&](Tensor const&) {
    seen.emplace_back('a', late.grad().item());
    return Tensor();
  });
  backward(c, {}, {.retain_graph = true});  // d/dlate = 2·6·3, d/dearly = 3·9
  using Seen = std::vector<std::pair<char, double>>;
  CHECK(seen == Seen{{'l', 72}, {'a', 72}, {'e', 27}});
  seen.clear();
  backward(c);
  CHECK(seen == Seen{{'l', 144}, {'a', 144}, {'e', 54}});
  HookHandle gone = handle;
  gone.remove();
  seen.clear();
  late.backward();  // a leaf is its own output
  CHECK(seen.empty());
  CHECK(late.grad().item() == 146);
  CHECK(contains(error_of([&] { on_accumulated(exp(late), [] {}); }),
                 "on_accumulated: a tensor of shape [1] is no leaf"));
}

TEST_CASE("a later walk adds its whole sum to a gradient, whatever the number of uses") {
  // In f32 (1e8 + 1) + 1 is 1e8, and 1e8 + (1 + 1) is not: a second walk with two uses adds 8 here, not 4 and 4.
  Tensor const x = full({1}, 1, Dtype::f32).requires_grad_();
  sum(x * 1e8).backward();
  sum(x * 4.0 + x * 4.0).backward();
  CHECK(x.grad().item() == double(1e8F + 8.F));
}

// ---- custom operations --------------------------------------------------------------------------------------------

TEST_CASE("custom: saved tensors, several outputs, masks, second derivatives") {
  auto run = [](Tensor const& x, Tensor const& y) {
    return custom(
        "product", {x, y},
        [](Tensors const& in, CustomContext& context) {
          CHECK_FALSE(recording());
          Tensor const e = exp(in[0]);
          context.save({e, in[0], in[1]});
          context.not_differentiable(2);
          return Tensors{e * in[1], e, in[0] * 2.0, arange(2)};
        },
        [](Tensors const& g, CustomContext const& context) {
          Tensor const &e = context.saved()[0], &b = context.saved()[2];
          Tensors gradients(2);
          if (context.needs_gradient(0)) gradients[0] = g[0] * e * b + g[1] * e;
          if (context.needs_gradient(1)) gradients[1] = g[0] * e;
          return gradients;
        });
  };
  auto plain = [](Tensor const& x, Tensor const& y) { return Tensors{exp(x) * y, exp(x)}; };
  Tensor const x = leaf({0.5, -1}), y = leaf({2, 3}), c = vector({1, 10});
  auto const out = run(x, y);
  CHECK(out[0].requires_grad());
  CHECK_FALSE(out[2].requires_grad());
  CHECK_FALSE(out[3].requires_grad());
  for (int used : {0, 1, 2}) {
    auto loss = [&](Tensors const& o) {
      return used == 0 ? sum(o[0] * c) : used == 1 ? sum(o[1] * c) : sum(o[0] * o[1]);
    };
    auto second = [&](Tensors const& o) {
      auto const g = grad({loss(o)}, {x, y}, {}, {.create_graph = true, .allow_unused = true});
      Tensor const s = g[1].defined() ? sum(g[0] * c) + sum(g[1] * g[1]) : sum(g[0] * c);
      auto h = grad({s}, {x, y}, {}, {.allow_unused = true});
      h.push_back(g[0]);
      return h;
    };
    auto const got = second(run(x, y)), want = second(plain(x, y));
    for (size_t i = 0; i < 3; ++i) {
      if (want[i].defined() && got[i].defined()) CHECK(differs(got[i].detach(), want[i].detach(), 1e-13) == "");
    }
  }
  // Only one input wants a gradient, or none.
  CHECK(differs(grad({sum(run(x, y.detach())[0])}, {x})[0], exp(x.detach()) * y.detach(), 1e-15) == "");
  CHECK_FALSE(run(x.detach(), y.detach())[0].requires_grad());
  // A straight-through estimator: the input handed through keeps its own place.
  auto const same = custom(
      "straight", {x}, [](Tensors const& in, CustomContext&) { return Tensors{in[0]}; },
      [](Tensors const& g, CustomContext const&) { return Tensors{g[0] * 5.0}; });
  CHECK(values(grad({sum(same[0])}, {x})[0]) == Values{5, 5});
  CHECK(x.is_leaf());
  // Broadcast gradients are summed, other types converted.
  auto const wide = custom(
      "wide", {x},
      [](Tensors const& in, CustomContext&) {
        return Tensors{in[0].expand({3, 2}).contiguous()};
      },
      [](Tensors const& g, CustomContext const&) { return Tensors{g[0].to(Dtype::f32)}; });
  CHECK(values(grad({sum(wide[0])}, {x})[0]) == Values{3, 3});
}

TEST_CASE("custom: what a wrong backward gets") {
  Tensor const x = leaf({1, 2});
  auto with = [&](CustomBackward backward) {
    return sum(custom(
        "mine", {x, x.detach()}, [](Tensors const& in, CustomContext&) { return Tensors{in[0] * in[1]}; },
        std::move(backward))[0]);
  };
  CHECK(contains(error_of([&] { with([](Tensors const& g, CustomContext const&) { return g; }).backward(); }),
                 "mine: its backward returned 1 gradients for 2 inputs"));
  CHECK(contains(error_of([&] {
                   with([](Tensors const&, CustomContext const&) { return Tensors{ones({3}), {}}; }).backward();
                 }),
                 "mine: its backward returned a gradient of shape [3] f32 for input 0 of shape [2] f64"));
  CHECK(contains(error_of([&] {
                   with([](Tensors const&, CustomContext const&) { return Tensors{arange(2), {}}; }).backward();
                 }),
                 "mine"));
  // An in-place change of what was saved.
  Tensor saved = vector({1, 2});
  Tensor const y = sum(custom(
      "keeper", {x},
      [&](Tensors const& in, CustomContext& context) {
        context.save({saved});
        return Tensors{in[0] * saved};
      },
      [](Tensors const& g, CustomContext const& context) { return Tensors{g[0] * context.saved()[0]}; })[0]);
  saved.zero_();
  CHECK(contains(error_of([&] { y.backward(); }),
                 "keeper: a tensor of shape [2] saved for backward was changed in place"));
}

// ---- modes --------------------------------------------------------------------------------------------------------

TEST_CASE("InferenceMode: no tape, no versions, and an Error where backward would need what it made") {
  Tensor const x = leaf({1, 2});
  Tensor made;
  {
    InferenceMode const inference;
    CHECK_FALSE(recording());
    EnableGrad const on;
    CHECK_FALSE(recording());
    made = x * 2.0;
    CHECK_FALSE(made.requires_grad());
    made.add_(x);
    { InferenceMode const nested; }
    CHECK_FALSE(recording());
  }
  CHECK(recording());
  CHECK(values(made) == Values{3, 6});
  CHECK(contains(error_of([&] { x* made; }), "made in inference mode"));
  CHECK(contains(error_of([&] { x* made; }), "clone()"));
  CHECK(contains(error_of([&] { made.requires_grad_(); }), "made in inference mode"));
  CHECK(contains(error_of([&] { made.add_(x); }), "made in inference mode"));
  CHECK(contains(error_of([&] { x* made.slice(0, 0, 1); }), "made in inference mode"));
  CHECK(values(grad({sum(x + made)}, {x})[0]) == Values{1, 1});  // nothing of it is saved
  CHECK(values(grad({sum(x * made.clone())}, {x})[0]) == Values{3, 6});
  // A view of an ordinary tensor stays one.
  Tensor const base = vector({4, 5});
  Tensor const view = [&] {
    InferenceMode const inference;
    return base.slice(0, 0, 2);
  }();
  CHECK(values(grad({sum(x * view)}, {x})[0]) == Values{4, 5});
  InferenceMode const inference;
  std::thread([] { CHECK(recording()); }).join();  // the thread's own
}

TEST_CASE("EnableGrad inside NoGrad") {
  Tensor const x = leaf({1});
  NoGrad const off;
  {
    EnableGrad const on;
    CHECK((x * 2.0).requires_grad());
  }
  CHECK_FALSE((x * 2.0).requires_grad());
}

TEST_CASE("DetectAnomaly names the operation, the module and the indices") {
  double const inf = std::numeric_limits<double>::infinity();
  Tensor const x = tensor(Values{1, 2, -1, 4, 0, 6}, {2, 3}).requires_grad_();
  CHECK(error_of([&] { log(x); }) == "");
  {
    DetectAnomaly const on;
    Scope const scope("blocks.3.mlp");
    auto const text = error_of([&] { exp(log(x) * 2.0); });
    CHECK(
        contains(text, "log (blocks.3.mlp): its result has the first NaN: 2 of 6 elements of shape [2, 3], [0, 2] = "));
    CHECK(contains(text, "nan, [1, 1] = -inf"));
    // Not its fault: the operand has it already.
    Tensor const bad = tensor(Values{1, std::nan(""), inf, 0, 0, 0}, {2, 3});
    CHECK(error_of([&] { x* bad; }) == "");
    // What is not recorded is not looked at.
    CHECK(error_of([&] { log(x.detach()); }) == "");
  }
  {
    DetectAnomaly const on(false);
    CHECK(error_of([&] { exp(abs(x) * 1000.0); }) == "");
    CHECK(contains(error_of([&] { log(x); }), "1 of 6 elements"));
  }
  CHECK(error_of([&] { log(x); }) == "");
  // Backward: √ has an infinite slope at 0.
  Tensor const zero = leaf({4, 0});
  DetectAnomaly const on;
  Tensor root;
  {
    Scope const scope("head");
    root = sqrt(zero);
  }
  auto const text = error_of([&] { sum(root).backward(); });
  CHECK(contains(
      text, "sqrt (head): the gradient of its input 0 has the first Inf: 1 of 2 elements of shape [2], [1] = inf"));
  CHECK_FALSE(zero.grad().defined());
  // In a custom operation and in the second run of a recomputation.
  CHECK(contains(error_of([&] {
                   custom(
                       "mine", {x}, [](Tensors const& in, CustomContext&) { return Tensors{log(in[0])}; },
                       [](Tensors const& g, CustomContext const&) { return g; });
                 }),
                 "mine"));
  CHECK(contains(error_of([&] { sum(recompute([](Tensor const& t) { return sqrt(t); }, zero)).backward(); }), "sqrt"));
  std::thread([&] { CHECK(error_of([&] { log(x); }) == ""); }).join();
}
