// The tape and the walk over it: what flows where, in-place changes, freed graphs, depth, exceptions, module paths.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

Tensor leaf(std::vector<double> values) {
  int64_t const n = int64_t(values.size());
  return tensor(values, {n}).requires_grad_();
}

using Values = std::vector<double>;
Values values(Tensor const& t) { return t.to_vector<double>(); }
Values grad_of(Tensor const& t) { return t.grad().to_vector<double>(); }

bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool small_build = true;  // these builds are an order slower
#else
constexpr bool small_build = false;
#endif

/// Poisoned blocks cost more than the operations on them; afterwards as main.cpp sets it.
struct PoisonOff {
  PoisonOff() { set_poison(false); }
  ~PoisonOff() {
    char const* const wanted = std::getenv("HEED_POISON");
    set_poison(!wanted || std::string(wanted) != "0");
  }
};

/// Runs `body` on a thread whose stack would overflow after a few thousand nested calls.
void on_small_stack(std::function<void()> body) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, small_build ? size_t{1} << 20 : size_t{128} << 10) == 0);
  pthread_t thread;
  auto run = [](void* f) -> void* {
    (*static_cast<std::function<void()>*>(f))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, run, &body) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

/// x as it is; its gradient throws while `broken`.
Tensor fragile(Tensor const& x, bool const& broken) {
  Tensor y = x.detach().clone();
  record("fragile", y, {&x}, [&broken](Tensor const& g, Node const&) {
    check(!broken, "fragile", [] { return Complaint{"broken on purpose", "mend it"}; });
    return std::array{g};
  });
  return y;
}

}  // namespace

TEST_CASE("shared subgraphs and diamonds count every path once") {
  Tensor const x = leaf({3});
  Tensor const a = x * x, b = a + a, c = a * b;  // 2x⁴
  sum(c).backward();
  CHECK(grad_of(x) == Values{8 * 27});
  // A ladder of diamonds has 2³⁰ paths; the walk visits each node once.
  Tensor const z = leaf({1});
  Tensor y = z;
  for (int i = 0; i < 30; ++i) y = y + y;
  sum(y).backward();
  CHECK(grad_of(z) == Values{0x1p30});
}

TEST_CASE("an operand used twice by one op gets both gradients") {
  Tensor const x = leaf({2, 3});
  sum(x * x).backward();
  CHECK(grad_of(x) == Values{4, 6});
  Tensor const m = tensor(Values{1, 2, 3, 4}, {2, 2}).requires_grad_();
  sum(matmul(m, m)).backward();
  CHECK(grad_of(m) == Values{1 + 2 + 1 + 3, 3 + 4 + 1 + 3, 1 + 2 + 2 + 4, 3 + 4 + 2 + 4});
}

TEST_CASE("unused inputs") {
  Tensor const x = leaf({1}), unused = leaf({5});
  auto const y = sum(x * 2.0);
  auto const text = error_of([&] { grad({y}, {x, unused}, {}, {.retain_graph = true}); });
  CHECK(contains(text, "do not depend on input 1"));
  CHECK(contains(text, "allow_unused"));
  auto const g = grad({y}, {x, unused}, {}, {.allow_unused = true});
  CHECK(values(g[0]) == Values{2});
  CHECK_FALSE(g[1].defined());
  CHECK_FALSE(unused.grad().defined());
}

TEST_CASE("several outputs of one call and of one op") {
  Tensor const x = leaf({2});
  Tensor const a = x * 3.0, b = x * x, inner = a * 1.0;
  auto const g =
      grad({a, b, inner}, {x, a}, {tensor(Values{1}, {1}), tensor(Values{10}, {1}), tensor(Values{100}, {1})});
  CHECK(values(g[0]) == Values{3 + 10 * 4 + 300});
  CHECK(values(g[1]) == Values{101});  // an output may itself be an input
  CHECK(contains(error_of([&] {
                   grad({x * 2.0, x * 3.0}, {x}, {ones({1}, Dtype::f64)});
                 }),
                 "expected 2 output gradients, got 1"));
  // attend() has two; either may go unused.
  for (int used : {0, 1, 2}) {
    Tensor const q = numbers({1, 1, 2, 2}, 1).requires_grad_();
    auto const y = attend(q, q, q);
    auto const twin = naive::attend(q, q, q);
    Tensor const l = used == 0 ? sum(y.out) : used == 1 ? sum(y.lse) : sum(y.out) + sum(y.lse);
    Tensor const m = used == 0 ? sum(twin.out) : used == 1 ? sum(twin.lse) : sum(twin.out) + sum(twin.lse);
    CHECK(differs(grad({l}, {q})[0], grad({m}, {q})[0], 1e-12) == "");
  }
}

TEST_CASE("grad: cotangents of several shapes, an input twice, an output that is an input, create_graph with unused") {
  Tensor const x = numbers({2, 3}, 1).requires_grad_(), w = numbers({3}, 2).requires_grad_();
  Tensor const a = x * w, b = sum(x, {1}), u = numbers({2, 3}, 3), v = numbers({2}, 4);
  auto const g = grad({a, b, a}, {x, w, x}, {u, v, u}, {.retain_graph = true});
  CHECK(differs(g[0], u * w.detach() * 2.0 + v.unsqueeze(1), 1e-14) == "");
  CHECK(differs(g[1], sum(u * x.detach(), {0}) * 2.0, 1e-14) == "");
  CHECK(same_bits(g[0], g[2]));
  CHECK(values(grad({x, a}, {x}, {u, u}, {.retain_graph = true})[0]) == values(u + u * w.detach()));
  auto const second = grad({b}, {x, w}, {v}, {.create_graph = true, .allow_unused = true});
  CHECK_FALSE(second[1].defined());
  CHECK_FALSE(second[0].requires_grad());  // b is linear
  CHECK(contains(error_of([&] { grad({a}, {x}, {}, {.retain_graph = true}); }),
                 "grad: expected an output of one element"));
  CHECK(contains(error_of([&] { grad({a}, {x}, {v}, {.retain_graph = true}); }),
                 "expected a gradient of shape [2, 3] f64, got [2] f64"));
  // Cotangents are differentiable too: d(u·J)/du.
  Tensor const c = numbers({2, 3}, 5).requires_grad_();
  Tensor const product = grad({a}, {x}, {c}, {.create_graph = true})[0];
  CHECK(values(grad({sum(product)}, {c})[0]) == values(w.detach().expand({2, 3})));
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("retain_graph, and backward through a freed graph") {
  Tensor const x = leaf({2});
  Tensor const y = sum(exp(x * x));
  backward(y, {}, {.retain_graph = true});
  Values const once = grad_of(x);
  y.backward();
  CHECK(grad_of(x) == Values{2 * once[0]});
  for (auto again : {+[](Tensor const&y, Tensor const&) { y.backward(); },
                     +[](Tensor const&y, Tensor const&x) { grad({y}, {x}); }}) {
    auto const text = error_of([&] { again(y, x); });
    CHECK(contains(text, "freed by an earlier backward"));
    CHECK(contains(text, ".retain_graph = true"));
  }
  CHECK(grad_of(x) == Values{2 * once[0]});
  // A part of the graph freed by another output.
  Tensor const shared = exp(x), left = sum(shared * 2.0), right = sum(shared * 3.0);
  left.backward();
  CHECK(contains(error_of([&] { right.backward(); }), "exp: what backward needs was freed"));
  // grad() frees too.
  Tensor const z = sum(x * x);
  grad({z}, {x});
  CHECK(contains(error_of([&] { grad({z}, {x}); }), "freed"));
}

TEST_CASE("an in-place change of a saved tensor is an error, never a wrong gradient") {
  Tensor const x = leaf({1, 2});
  Tensor y = x * 1.0;
  Tensor const z = sum(y * y);
  {
    NoGrad const off;
    y.add_(ones({2}, Dtype::f64));
  }
  auto const text = error_of([&] { z.backward(); });
  CHECK(contains(text, "mul"));
  CHECK(contains(text, "[2]"));
  CHECK(contains(text, "version 0 was saved, it is now 1"));
  CHECK(contains(text, "clone()"));
  // A saved output.
  Tensor const e = exp(x);
  Tensor const s = sum(e);
  Tensor alias = e.detach();
  alias.zero_();
  CHECK(
      contains(error_of([&] { s.backward(); }), "exp: a tensor of shape [2] saved for backward was changed in place"));
  // Through a view of it.
  Tensor const w = x * 1.0;
  Tensor const t = sum(square(w));
  Tensor part = w.detach().slice(0, 0, 1);
  part.fill_(7);
  CHECK(contains(error_of([&] { t.backward(); }), "square"));
  // What an op saves beside its operands: targets, indices, masks.
  Tensor const logits = numbers({2, 3}, 1).requires_grad_();
  Tensor targets = zeros({2}, Dtype::i64);
  Tensor const loss = cross_entropy(logits, targets);
  targets.fill_(1);
  CHECK(contains(error_of([&] { loss.backward(); }), "cross_entropy"));
  Tensor const rows = embedding(targets, logits);
  targets.fill_(0);
  CHECK(contains(error_of([&] { sum(rows).backward(); }), "embedding"));
  Tensor const q = numbers({1, 1, 2, 2}, 1).requires_grad_();
  Tensor mask = ones({2, 2}) > 0.0;
  Tensor const out = sum(attend(q, q, q, {.mask = mask}).out);
  mask.fill_(0);
  CHECK(contains(error_of([&] { out.backward(); }), "attend"));
  Tensor condition = ones({2}) > 0.0;
  Tensor const chosen = sum(where(condition, x, 0.0));
  condition.fill_(0);
  CHECK(contains(error_of([&] { chosen.backward(); }), "where"));
  // What nothing reads may change.
  Tensor u = x * 1.0;
  Tensor const v = sum(u + 1.0);
  {
    NoGrad const off;
    u.zero_();
  }
  v.backward();
  CHECK(grad_of(x) == Values{1, 1});
}

TEST_CASE("in-place operations on tracked tensors are recorded") {
  Tensor const x = leaf({1, 2}), w = leaf({3, 4});
  Tensor y = x * 2.0;
  y.add_(w, 5);
  y.mul_(w);  // (2x + 5w)·w
  sum(y).backward();
  CHECK(grad_of(x) == Values{6, 8});
  CHECK(grad_of(w) == Values{2 * 1 + 10 * 3, 2 * 2 + 10 * 4});
  CHECK(values(y) == Values{(2 + 15) * 3, (4 + 20) * 4});
  Tensor d = x * 1.0;
  d.sub_(w);
  d.div_(w);
  d.mul_(2);
  Tensor const same = (x - w) / w * 2.0;
  CHECK(values(d) == values(same));
  CHECK(values(grad({sum(d)}, {w})[0]) == values(grad({sum(same)}, {w})[0]));
  // A plain tensor that takes a recorded value becomes a recorded one.
  Tensor plain = zeros({2}, Dtype::f64);
  plain.add_(w);
  CHECK(values(grad({sum(plain * plain)}, {w})[0]) == Values{6, 8});
  Tensor copied = zeros({2}, Dtype::f64);
  copied.copy_(w * 3.0);
  CHECK(values(grad({sum(copied)}, {w})[0]) == Values{3, 3});
  // Overwritten values have no gradient.
  Tensor gone = x * 2.0;
  gone.fill_(1);
  CHECK_FALSE(gone.requires_grad());
  Tensor replaced = x * 2.0;
  replaced.copy_(ones({2}, Dtype::f64));
  CHECK_FALSE(replaced.requires_grad());
  // Broadcast operands.
  Tensor const b = leaf({7});
  Tensor wide = x * 1.0;
  wide.add_(b);
  CHECK(values(grad({sum(wide)}, {b})[0]) == Values{2});
}

TEST_CASE("in place through a view: the base is recorded as an assignment to the region") {
  Tensor const x = numbers({3, 4}, 1).requires_grad_(), w = numbers({2}, 2).requires_grad_();
  Tensor const c = numbers({3, 4}, 3);
  // Beside the same in other operations: a mask says what is overwritten.
  Tensor const m = tensor(Values{0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}, {3, 4});
  auto spread = [&](Tensor const& v) {
    Tensor const row = cat({v.unsqueeze(1) * 0.0, v.unsqueeze(1)}, 1).reshape({1, 4});
    return cat({row * 0.0, row, row * 0.0}, 0);
  };
  auto odd = [](Tensor const& row) { return row.slice(0, 1, 4, 2); };
  auto part_of = [&](Tensor const& y) { return odd(y.select(0, 1)); };
  using Change = std::function<void(Tensor&)>;
  using Same = std::function<Tensor(Tensor const&)>;
  std::vector<std::pair<Change, Same>> const cases{
      {[&](Tensor& y) { part_of(y).copy_(w); }, [&](Tensor const& y) { return y * (1.0 - m) + spread(w); }},
      {[&](Tensor& y) { part_of(y).mul_(w); }, [&](Tensor const& y) { return y * (1.0 - m) + y * spread(w); }},
      {[&](Tensor& y) {
         Tensor column = y.t();
         column = odd(column);
         column = column.select(1, 1);
         column.add_(w, 3);
       },
       [&](Tensor const& y) { return y + spread(w) * 3.0; }},
      {[&](Tensor& y) { part_of(y).fill_(7); }, [&](Tensor const& y) { return y * (1.0 - m) + m * 7.0; }},
      {[&](Tensor& y) { y.reshape({12}).div_(ones({12}, Dtype::f64) * 2.0); },
       [&](Tensor const& y) { return y / 2.0; }},
  };
  for (auto const& [change, same] : cases) {
    for (bool from_plain : {false, true}) {
      auto run = [&](bool in_place) {
        Tensor y = from_plain ? ones({3, 4}, Dtype::f64) : x * x;
        if (in_place)
          change(y);
        else
          y = same(y);
        std::vector<Tensor> results{y};
        auto with_zeros = [&](Tensor const& of, bool create) {
          if (!of.requires_grad()) return std::vector<Tensor>{zeros_like(x), zeros_like(w)};
          auto g = grad({sum(of)}, {x, w}, {}, {.retain_graph = true, .create_graph = create, .allow_unused = true});
          if (!g[0].defined()) g[0] = zeros_like(x);
          if (!g[1].defined()) g[1] = zeros_like(w);
          return g;
        };
        for (Tensor const& first : with_zeros(y * y * c, true)) {
          results.push_back(first);
          for (Tensor const& second : with_zeros(first * first, false)) results.push_back(second);
        }
        return results;
      };
      auto const got = run(true), want = run(false);
      for (size_t i = 0; i < want.size(); ++i) CHECK(differs(got[i].detach(), want[i].detach(), 1e-12) == "");
    }
  }
  // The view goes on as a part of the new base; what was saved before is an error.
  Tensor y = x * 1.0;
  Tensor const before = sum(square(y));
  Tensor part = y.select(0, 0);
  part.copy_(x.select(0, 2) * 5.0);
  CHECK(values(grad({sum(part)}, {x}, {}, {.retain_graph = true})[0]) == Values{0, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 5});
  CHECK(values(grad({sum(y)}, {x})[0]) == Values{0, 0, 0, 0, 1, 1, 1, 1, 6, 6, 6, 6});
  CHECK(contains(error_of([&] { before.backward(); }), "changed in place"));
  // A buffer filled row by row, as a loop over time does.
  Tensor out = empty({4, 2}, Dtype::f64);
  Tensor h = w;
  for (int t = 0; t < 4; ++t) {
    h = h * 2.0;
    out.select(0, t).copy_(h);
  }
  CHECK(values(grad({sum(out)}, {w})[0]) == Values{30, 30});
}

TEST_CASE("in place where a gradient would be lost: an error") {
  Tensor x = leaf({1, 2});
  Tensor const w = leaf({3, 4});
  for (auto change : {+[](Tensor& x) { x.add_(ones({2}, Dtype::f64)); }, +[](Tensor& x) { x.fill_(0); },
                      +[](Tensor& x) { x.copy_(ones({2}, Dtype::f64)); }, +[](Tensor& x) { x.mul_(2); }}) {
    auto const text = error_of([&] { change(x); });
    CHECK(contains(text, "a leaf that requires a gradient cannot be changed in place"));
    CHECK(contains(text, "NoGrad"));
    CHECK(values(x) == Values{1, 2});
    NoGrad const off;
    Tensor other = leaf({1, 2});
    change(other);  // an optimiser's step
    CHECK(other.is_leaf());
    CHECK(other.requires_grad());
  }
  // A view of a leaf, of detached elements, of elements that lie over each other, or with other views beside it.
  Tensor view = x.slice(0, 0, 1);
  CHECK(contains(error_of([&] { view.mul_(2); }), "mul_: a view of a leaf that requires a gradient"));
  Tensor base = zeros({4}, Dtype::f64), aside = base.detach();
  view = aside.slice(0, 0, 2);
  CHECK(contains(error_of([&] { view.add_(w); }), "add_: a view of detached or rearranged elements"));
  {
    NoGrad const off;
    view = base.slice(0, 0, 2);
  }
  CHECK(contains(error_of([&] { view.add_(w); }), "one made under NoGrad"));
  aside = view = base.slice(0, 0, 1).expand({2});
  CHECK(contains(error_of([&] { view.copy_(w); }), "copy_: several elements of the view are one in memory"));
  aside = base.slice(0, 1, 4);
  view = base.slice(0, 0, 2);
  CHECK(contains(error_of([&] { view.add_(w); }), "add_: views or saved results share the tensor's storage"));
  CHECK(values(base) == Values{0, 0, 0, 0});
  // Nor the other way round: a view of the base would keep the gradient of the old elements.
  Tensor doubled = x * 2.0;
  {
    Tensor const half = doubled.slice(0, 0, 1);
    CHECK(contains(error_of([&] { doubled.mul_(3); }), "mul_: views or saved results share the tensor's storage"));
    CHECK(contains(error_of([&] { doubled.add_(w); }), "add_"));
    CHECK(values(half) == Values{2});
  }
  doubled.mul_(3);  // once the view is gone
  CHECK(values(grad({sum(doubled)}, {x})[0]) == Values{6, 6});
  Tensor raised = exp(x);  // its own backward reads the result
  CHECK(contains(error_of([&] { raised.add_(w); }), "add_"));
  // Under NoGrad the tape keeps what it has.
  Tensor kept = x * 2.0, kept_too = x * 2.0;
  {
    NoGrad const off;
    kept.fill_(9);
    kept_too.copy_(ones({2}, Dtype::f64));
  }
  CHECK(values(grad({sum(kept + kept_too)}, {x})[0]) == Values{4, 4});
  CHECK(contains(error_of([&] { x.add_(ones({2, 2}, Dtype::f64)); }), "[2, 2] does not fit in place of [2]"));
  // A leaf changed under NoGrad after it was saved.
  Tensor const y = sum(x * x);
  {
    NoGrad const off;
    x.add_(ones({2}, Dtype::f64));
  }
  CHECK(contains(error_of([&] { y.backward(); }), "changed in place"));
}

TEST_CASE("NoGrad records nothing and nests") {
  Tensor const x = leaf({1});
  CHECK(recording());
  {
    NoGrad const off;
    CHECK_FALSE(recording());
    CHECK_FALSE((x * 2.0).requires_grad());
    {
      RecordMode const on(true);
      CHECK((x * 2.0).requires_grad());
    }
    CHECK_FALSE(recording());
  }
  CHECK(recording());
  try {
    NoGrad const off;
    throw 1;
  } catch (int) {
  }
  CHECK(recording());
  std::thread([] { CHECK(recording()); }).join();
  CHECK(contains(error_of([] { ones({1}).backward(); }), "does not depend on anything that requires a gradient"));
  CHECK(contains(error_of([&] { (x * x.detach()).detach().backward(); }), "requires_grad_()"));
}

TEST_CASE("grad() with respect to interior tensors, and without touching leaves") {
  Tensor const x = leaf({2});
  Tensor const a = x * x, b = exp(a), c = b * a;
  auto const g = grad({sum(c)}, {b, a, x});
  double const e = std::exp(4.0);
  CHECK(values(g[0])[0] == doctest::Approx(4));
  CHECK(values(g[1])[0] == doctest::Approx(e + 4 * e));
  CHECK(values(g[2])[0] == doctest::Approx(4 * (e + 4 * e)));
  CHECK_FALSE(x.grad().defined());
  Tensor const plain = ones({1}, Dtype::f64);
  CHECK(contains(error_of([&] { grad({sum(x * 1.0)}, {plain}); }), "does not require a gradient"));
}

TEST_CASE("the gradient passed to backward") {
  Tensor const x = leaf({1, 2});
  (x * 3.0).backward(tensor(Values{10, 100}, {2}));
  CHECK(grad_of(x) == Values{30, 300});
  CHECK(contains(error_of([&] { (x * 3.0).backward(); }), "expected an output of one element, got shape [2]"));
  CHECK(contains(error_of([&] { (x * 3.0).backward(ones({3}, Dtype::f64)); }),
                 "expected a gradient of shape [2] f64, got [3] f64"));
  CHECK(contains(error_of([&] { (x * 3.0).backward(ones({2})); }), "got [2] f32"));
  CHECK(contains(error_of([&] { backward(Tensor()); }), "backward: expected a tensor"));
}

TEST_CASE("gradients accumulate, and belong to their leaf alone") {
  Tensor const x = leaf({1, 2}), y = leaf({5, 6});
  sum(x + y).backward();
  sum(x * 2.0).backward();
  CHECK(grad_of(x) == Values{3, 3});
  CHECK(grad_of(y) == Values{1, 1});
  // add passes one gradient to both; they must not share storage.
  Tensor g = x.grad();
  g.fill_(100);
  CHECK(grad_of(y) == Values{1, 1});
  // Nor may a leaf own the gradient that the caller passed.
  Tensor const z = leaf({1, 2});
  Tensor const seed = tensor(Values{4, 5}, {2});
  (z + 0.0).backward(seed);
  (z.reshape({2})).backward(seed);
  z.grad().zero_();
  CHECK(values(seed) == Values{4, 5});
  // A leaf may be the output.
  Tensor const w = leaf({3});
  w.backward();
  CHECK(grad_of(w) == Values{1});
  w.set_grad(Tensor());
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("gradients have the leaf's shape and type") {
  Tensor const x = ones({1, 3}).requires_grad_();
  Tensor const y = ones({2, 1}, Dtype::f64).requires_grad_();
  sum(x * y).backward();
  CHECK(x.grad().dtype() == Dtype::f32);
  CHECK(x.grad().shape() == Shape{1, 3});
  CHECK(y.grad().dtype() == Dtype::f64);
  CHECK(y.grad().shape() == Shape{2, 1});
  CHECK(values(x.grad()) == Values{2, 2, 2});
  Tensor const h = numbers({3}, 1, Dtype::f32).requires_grad_();
  sum(h.to(Dtype::f64) * 2.0).backward();
  CHECK(h.grad().dtype() == Dtype::f32);
  CHECK(values(h.grad()) == Values{2, 2, 2});
  CHECK_FALSE(h.to(Dtype::i64).requires_grad());
}

TEST_CASE("create_graph: third derivatives") {
  Tensor const x = leaf({0.7});
  Tensor y = sum(sin(x) * exp(x * 2.0));
  for (int order = 1; order <= 3; ++order) y = sum(grad({y}, {x}, {}, {.create_graph = true})[0]);
  // d³/dx³ e^{2x} sin x = e^{2x}(2 sin x + 11 cos x)
  CHECK(values(y)[0] == doctest::Approx(std::exp(1.4) * (2 * std::sin(0.7) + 11 * std::cos(0.7))).epsilon(1e-12));
  // Through backward() as well: grad() is itself recorded.
  Tensor const z = leaf({2});
  backward(sum(z * z * z), {}, {.create_graph = true});
  CHECK(z.grad().requires_grad());
  Tensor const first = z.grad();
  z.set_grad(Tensor());
  sum(first).backward();
  CHECK(grad_of(z) == Values{12});
  // Of a fused op: the twin's third derivative.
  Tensor const s = numbers({1, 4}, 9).requires_grad_();
  Tensor const c = numbers({1, 4}, 10);
  Tensor fused = sum(softmax(s) * c), twin = sum(naive::softmax(s) * c);
  for (int order = 1; order <= 3; ++order) {
    fused = sum(grad({fused}, {s}, {}, {.create_graph = true})[0] * c);
    twin = sum(grad({twin}, {s}, {}, {.create_graph = true})[0] * c);
  }
  CHECK(differs(fused, twin, 1e-11) == "");
  auto norm = [&](auto f) {
    Tensor y = sum(f(s) * c);
    for (int order = 1; order <= 3; ++order) y = sum(grad({y}, {s}, {}, {.create_graph = true})[0] * c);
    return y;
  };
  CHECK(differs(norm([](Tensor const& x) { return layer_norm(x); }),
                norm([](Tensor const& x) { return naive::layer_norm(x); }), 1e-9) == "");
  CHECK(differs(norm([](Tensor const& x) { return logsumexp(x, 1); }),
                norm([](Tensor const& x) { return naive::logsumexp(x, 1); }), 1e-10) == "");
}

TEST_CASE("a graph a million ops deep: forward, backward, and dropped without one") {
  PoisonOff const fast;
  int const depth = small_build ? 200'000 : 1'000'000;
  auto const start = std::chrono::steady_clock::now();
  for (bool walk : {true, false}) {
    Tensor const x = leaf({1});
    Tensor y = x;
    for (int i = 0; i < depth; ++i) y = y + 1.0;
    CHECK(y.item() == depth + 1);
    if (walk) {
      y.backward();
      CHECK(grad_of(x) == Values{1});
    }
  }
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK(seconds < 60);  // under a second where nothing slows it; a quadratic walk would take hours
}

TEST_CASE("depth costs no stack: forward, walks, derivatives and freeing on a thread of 128 KiB") {
  auto deep = [](int depth) {
    {
      Tensor const x = leaf({1});
      Tensor y = x;
      for (int i = 0; i < depth; ++i) y = y * x;
      Tensor const g = grad({sum(y)}, {x}, {}, {.create_graph = true})[0];
      backward(sum(g));
    }
    {
      Tensor const x = leaf({0.5});
      Tensor y = x;
      for (int i = 0; i < depth; ++i) y = tanh(y);
      Tensor const g = grad({sum(y)}, {x}, {}, {.create_graph = true})[0];
      CHECK(g.requires_grad());
      sum(g).backward();
      Tensor again = x;
      for (int i = 0; i < depth; ++i) again = recompute([](Tensor const& t) { return sin(t); }, again);
      again.backward();
    }
  };
  PoisonOff const fast;
  int const depth = 20'000;
  on_small_stack([&] { deep(depth); });
}

TEST_CASE("a graph a hundred times as deep costs as much per operation") {
  if (small_build) return skip("a sanitizer's times say nothing");
  PoisonOff const fast;
  auto nanoseconds = [](int depth, int rounds) {
    double best = 1e30;
    for (int round = 0; round < rounds; ++round) {
      auto const start = std::chrono::steady_clock::now();
      {
        Tensor const x = leaf({1});
        Tensor y = x;
        for (int i = 0; i < depth; ++i) y = y * x;  // saved tensors hold the chain
        y.backward();
        CHECK(grad_of(x) == Values{double(depth + 1)});
      }
      best = std::min(best, std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
    }
    return best / depth;
  };
  double const shallow = nanoseconds(10'000, 10), deep = nanoseconds(1'000'000, 2);
  MESSAGE("forward, backward and freeing: ", shallow, " ns an operation at a depth of 1e4, ", deep, " ns at 1e6");
  CHECK(deep < 10 * shallow);  // caches make 2 of it; what grows with depth would make 100
}

TEST_CASE("an exception in the middle of a walk leaves the tape usable") {
  bool broken = true;
  Tensor const x = leaf({2}), w = leaf({3});
  Tensor const y = sum(fragile(x * x, broken) * w + exp(w));
  CHECK(contains(error_of([&] { backward(y, {}, {.retain_graph = true}); }), "fragile: broken on purpose"));
  CHECK(recording());
  x.set_grad(Tensor());
  w.set_grad(Tensor());
  broken = false;
  backward(y, {}, {.retain_graph = true});
  CHECK(grad_of(x)[0] == 12);
  CHECK(grad_of(w)[0] == doctest::Approx(4 + std::exp(3)));
  // Without retain_graph what the walk has used is gone, and the next one says so instead of giving half a gradient.
  broken = true;
  Tensor const z = sum(fragile(x * x, broken) * w);
  CHECK(error_of([&] { z.backward(); }) != "");
  broken = false;
  Values const unchanged = grad_of(x);
  CHECK(contains(error_of([&] { z.backward(); }), "freed by an earlier backward"));
  CHECK(grad_of(x) == unchanged);
  // From another thread, whose walks have numbers of their own.
  broken = true;
  CHECK(error_of([&] { backward(y, {}, {.retain_graph = true}); }) != "");
  broken = false;
  x.set_grad(Tensor());
  std::thread([&] { backward(y, {}, {.retain_graph = true}); }).join();
  CHECK(grad_of(x)[0] == 12);
}

TEST_CASE("a failed walk does not poison a walk of another thread over the same graph") {
  bool broken = true;
  for (int walks = 0; walks < 6; ++walks) {
    Tensor const x = leaf({2});
    Tensor const y = sum(fragile(x * x, broken) + x);
    broken = true;
    auto failing = [&] {
      try {
        backward(y, {}, {.retain_graph = true});
      } catch (Error const&) {
      }
    };
    // However many walks each thread has made, its next one starts afresh.
    std::thread([&] {
      for (int i = 0; i <= walks; ++i) failing();
    }).join();
    broken = false;
    x.set_grad(Tensor());
    std::thread([&] {
      for (int i = 0; i < walks; ++i) {
        Tensor const other = leaf({1});
        sum(other * other).backward();
      }
      backward(y, {}, {.retain_graph = true});
    }).join();
    REQUIRE(x.grad().defined());
    CHECK(grad_of(x)[0] == 5);
  }
}

TEST_CASE("module paths stand in the errors of forward and backward") {
  Tensor const x = leaf({1, 2});
  Tensor y;
  {
    Scope const outer("blocks.3");
    Scope const inner("blocks.3.attn");
    CHECK(contains(error_of([] {
                     matmul(ones({2, 3}), ones({2, 3}));
                   }),
                   "matmul (blocks.3.attn): shapes [2, 3] and [2, 3]"));
    y = square(x * 1.0);
  }
  CHECK(scope_path().empty());
  Tensor const z = sum(y);
  z.backward();
  auto const text = error_of([&] { y.backward(ones({2}, Dtype::f64)); });
  CHECK(contains(text, "square (blocks.3.attn): what backward needs was freed"));
  Tensor u;
  Tensor const v = [&] {
    Scope const scope("head");
    u = x * 1.0;
    return sum(square(u));
  }();
  {
    NoGrad const off;
    u.zero_();
  }
  CHECK(contains(error_of([&] { v.backward(); }), "square (head): a tensor of shape [2] saved for backward"));
}

TEST_CASE("an op without a gradient says so while it is recorded") {
  Tensor const x = leaf({1}), plain = ones({1});
  CHECK(contains(error_of([&] { no_gradient("sort", {plain, x}); }), "sort: it has no gradient"));
  no_gradient("sort", {plain});
  NoGrad const off;
  no_gradient("sort", {x});
}

TEST_CASE("graphs of two threads do not meet") {
  auto work = [](double start, double* result) {
    for (int round = 0; round < 200; ++round) {
      Tensor const x = leaf({start}), w = numbers({8, 8}, 3).requires_grad_();
      Tensor y = x.expand({8, 8});
      for (int i = 0; i < 10; ++i) y = tanh(matmul(y, w)) + x;
      sum(y).backward();
      *result = x.grad().item() + sum(w.grad()).item();
    }
  };
  double alone[2], together[2];
  work(0.1, &alone[0]);
  work(0.2, &alone[1]);
  std::thread a(work, 0.1, &together[0]), b(work, 0.2, &together[1]);
  a.join();
  b.join();
  CHECK(together[0] == alone[0]);
  CHECK(together[1] == alone[1]);
}

TEST_CASE("one leaf shared by graphs of several threads, each asking with grad()") {
  Tensor const w = leaf({1, 2, 3});
  std::vector<Values> results(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) results[size_t(t)] = values(grad({sum(w * w * double(t + 1))}, {w})[0]);
    });
  for (auto& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) CHECK(results[size_t(t)] == Values{2. * (t + 1), 4. * (t + 1), 6. * (t + 1)});
}

TEST_CASE("requires_grad_ marks floating leaves only") {
  CHECK(contains(error_of([] { arange(3).requires_grad_(); }), "requires_grad_: expected a floating type, got i64"));
  Tensor const x = leaf({1});
  Tensor y = x * 2.0;
  CHECK(contains(error_of([&] { y.requires_grad_(); }), "expected a leaf"));
  Tensor d = y.detach();
  d.requires_grad_();
  CHECK(d.is_leaf());
  sum(d * 3.0).backward();
  CHECK(d.grad().item() == 3);
  CHECK_FALSE(x.grad().defined());
}
