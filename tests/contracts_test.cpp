// What every way through the attention core has in common, whatever its mask, its normaliser, its type or its size: the
// contracts of attend() in engine/ops.h, one test case each, over every path.
#include <doctest/doctest.h>
#include <heed/engine/anomaly.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/position/rope.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>
#include <heed/tests/support/skip.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

using namespace heed;
using namespace heed::test;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity(), nan_ = std::numeric_limits<double>::quiet_NaN();

/// A way through the core: options for H heads, and whether it gives lse.
struct Path {
  char const* name;
  AttendOptions (*options)();
  bool lse = true;
};

constexpr int64_t heads = 2;

/// Where the cases run: on the processor, or all of them again on an accelerator that is emulated.
Device test_device = cpu;
bool emulated() { return !test_device.is_cpu(); }
Tensor there(Tensor const& x) { return x.to(test_device); }

Tensor slopes() { return there(numbers({heads}, 90)); }

Path const paths[] = {
    {"softmax", [] { return AttendOptions{}; }},
    {"a change of scores", [] { return AttendOptions{.score = alibi(slopes()) | soft_cap(4)}; }},
    {"a sink", [] { return AttendOptions{.sink = slopes()}; }},
    {"top 9", [] { return AttendOptions{.top_k = 9}; }},
    {"dropout",
     [] {
       return AttendOptions{.dropout = 0.25, .draw = {1, 2}};
     }},
    {"sparsemax", [] { return AttendOptions{.entmax = 2}; }, false},
    {"entmax 1.5", [] { return AttendOptions{.entmax = 1.5}; }, false},
    {"sigmoid weights", [] { return AttendOptions{.weight = [](auto s, auto) { return sigmoid(s); }}; }, false},
    {"squared ReLU weights",
     [] { return AttendOptions{.weight = [](auto s, auto) { return max(s, 0.) * max(s, 0.); }}; }, false},
};

/// Queries and keys: few queries take the way of decoding, many keys several tiles.
struct Size {
  int64_t t, s;
};
constexpr Size sizes[] = {{1, 40}, {3, 70}, {20, 33}, {100, 130}};

struct Result {
  Tensor out, lse, dq, dk, dv;
};

Result run(Tensor const& q_in, Tensor const& k_in, Tensor const& v_in, AttendOptions const& options,
           bool naive = false) {
  auto const leaf = [](Tensor const& x) { return there(x.clone()).requires_grad_(); };
  Tensor const q = leaf(q_in), k = leaf(k_in), v = leaf(v_in);
  auto const y = naive ? naive::attend(q, k, v, options) : attend(q, k, v, options);
  std::vector<Tensor> of{y.out}, g{there(numbers(y.out.shape(), 50).to(y.out.dtype()))};
  if (y.lse.defined()) {
    of.push_back(y.lse);
    g.push_back(there(numbers(y.lse.shape(), 51).to(y.lse.dtype())));
  }
  auto const d = grad(of, {q, k, v}, g);
  auto const here = [](Tensor const& x) { return x.defined() ? x.detach().to(cpu) : x; };
  return {here(y.out), here(y.lse), here(d[0]), here(d[1]), here(d[2])};
}

/// f(path, size, q, k, v) for every path and size, in f64 unless said.
template <class F>
void everywhere(F const& f, Dtype dtype = Dtype::f64) {
  for (Path const& path : paths)
    for (Size const size : sizes) {
      if (emulated() && size.t > 20) continue;  // emulated threads take their time
      INFO(std::string(path.name), ", ", size.t, " queries, ", size.s, " keys");
      Tensor const q = numbers({2, heads, size.t, 8}, 1).to(dtype), k = numbers({2, 1, size.s, 8}, 2).to(dtype),
                   v = numbers({2, 1, size.s, 6}, 3).to(dtype);
      f(path, size, q, k, v);
    }
}

bool zero(Tensor const& x) { return all(x == 0.0).item<bool>(); }
bool finite(Tensor const& x) { return all(isfinite(x)).item<bool>(); }

/// bool [T, S] with true where f(i, j), positions counted so that the last query stands at the last key.
template <class F>
Tensor table(Size size, F const& f) {
  std::vector<uint8_t> seen;
  for (int64_t i = 0; i < size.t; ++i)
    for (int64_t j = 0; j < size.s; ++j) seen.push_back(f(i + size.s - size.t, j));
  return there(tensor(seen, {size.t, size.s}).to(Dtype::boolean));
}

void nothing_seen() {
  everywhere([](Path const& path, Size size, Tensor const& q, Tensor const& k, Tensor const& v) {
    AttendOptions none = path.options();
    none.mask = table(size, [&](int64_t i, int64_t) { return i != size.s - 1; });  // the last query
    auto const y = run(q, k, v, none);
    CHECK(zero(y.out.select(2, size.t - 1)));
    CHECK(zero(y.dq.select(2, size.t - 1)));
    CHECK((finite(y.dq) && finite(y.dk) && finite(y.dv) && finite(y.out)));
    if (path.lse && !none.sink.defined()) CHECK(y.lse.select(2, size.t - 1).to_vector<double>()[0] == -inf);
    AttendOptions late = path.options();  // nothing of the first tiles
    late.sees = [&](auto at) { return at.j >= double(size.s - 1); };
    auto const one = run(q, k, v, late), want = run(q, k, v, late, true);
    CHECK(differs(one.out, want.out, 1e-9) == "");
    // A row with a single key has nothing to choose.
    if (path.lse && !late.sink.defined() && !late.score) CHECK((finite(one.dq) && finite(one.dk)));
  });
}

void masked_unread() {
  everywhere([](Path const& path, Size size, Tensor const& q, Tensor const& k, Tensor const& v) {
    for (bool const words : {false, true}) {
      AttendOptions options = path.options();
      auto const seen = [&](auto j) { return (j != 5.) & (j != double(size.s - 2)); };
      if (words)
        options.sees = [&](auto at) { return seen(at.j); };
      else
        options.mask = table(size, [&](int64_t, int64_t j) { return j != 5 && j != size.s - 2; });
      auto const clean = run(q, k, v, options);
      for (double const with : {nan_, inf, -inf}) {
        Tensor const key = k.clone(), value = v.clone();
        for (int64_t j : {int64_t{5}, size.s - 2}) {
          key.select(2, j).fill_(with);
          value.select(2, j).fill_(with);
        }
        auto const dirty = run(q, key, value, options);
        CHECK(differs(dirty.out, clean.out, 1e-12) == "");
        CHECK(differs(dirty.dq, clean.dq, 1e-12) == "");
        CHECK(differs(dirty.dk, clean.dk, 1e-12) == "");
        CHECK(differs(dirty.dv, clean.dv, 1e-12) == "");
        CHECK(zero(dirty.dk.select(2, 5)));
        CHECK(zero(dirty.dv.select(2, size.s - 2)));
      }
    }
  });
}

void masks_combine() {
  everywhere([](Path const& path, Size size, Tensor const& q, Tensor const& k, Tensor const& v) {
    auto const odd = [](int64_t i, int64_t j) { return (i + j) % 3 != 1; };
    AttendOptions all = path.options(), one = path.options();
    all.causal = true, all.left = 60;
    all.mask = table(size, odd);
    all.sees = ~MaskMod([](auto at) { return fmod(at.j, 5.) == 2.; });
    one.mask = table(size, [&](int64_t i, int64_t j) { return j <= i && i - j <= 60 && odd(i, j) && j % 5 != 2; });
    auto const y = run(q, k, v, all), want = run(q, k, v, one), slow = run(q, k, v, one, true);
    CHECK(differs(y.out, want.out, 1e-11) == "");
    CHECK(differs(y.dk, want.dk, 1e-11) == "");
    CHECK(differs(want.out, slow.out, 1e-9) == "");
  });
}

void absolute_positions() {
  everywhere([](Path const& path, Size size, Tensor const& q, Tensor const& k, Tensor const& v) {
    AttendOptions causal = path.options(), shown = path.options();
    causal.causal = true;
    shown.mask = table(size, [](int64_t i, int64_t j) { return j <= i; });
    CHECK(differs(run(q, k, v, causal).dq, run(q, k, v, shown).dq, 1e-11) == "");
    // Aligned at the start instead, where somebody wants that.
    AttendOptions top_left = path.options(), table_left = path.options();
    double const shift = double(size.s - size.t);
    top_left.sees = [=](auto at) { return at.j <= at.i - shift; };
    table_left.mask = table(size, [&](int64_t i, int64_t j) { return j <= i - (size.s - size.t); });
    CHECK(differs(run(q, k, v, top_left).out, run(q, k, v, table_left).out, 1e-11) == "");
  });
  // More queries than keys: the first see nothing.
  Tensor const q = numbers({1, 2, 9, 8}, 1), k = numbers({1, 2, 4, 8}, 2);
  auto const y = run(q, k, k, {.causal = true});
  CHECK(zero(y.out.slice(2, 0, 5)));
  CHECK(finite(y.lse.slice(2, 5, 9)));
}

void inclusive_windows() {
  everywhere([](Path const& path, Size size, Tensor const& q, Tensor const& k, Tensor const& v) {
    for (int64_t left : {0, 1, 7})
      for (int64_t right : {0, 2}) {
        AttendOptions counted = path.options(), words = path.options(), shown = path.options();
        counted.left = left, counted.right = right;
        words.sees = window(left, right);
        shown.mask = table(size, [&](int64_t i, int64_t j) { return i - left <= j && j <= i + right; });
        auto const want = run(q, k, v, shown);
        CHECK(differs(run(q, k, v, counted).out, want.out, 1e-11) == "");
        CHECK(differs(run(q, k, v, words).dv, want.dv, 1e-11) == "");
      }
  });
}

void grouped_heads() {
  for (Path const& path : paths)
    for (Size const size : sizes) {
      if (emulated() && size.t > 20) continue;
      INFO(std::string(path.name), ", ", size.t, " queries");
      if (path.options().sink.defined() || path.options().score) continue;  // made for two heads
      Tensor const q = numbers({1, 6, size.t, 8}, 1), k = numbers({1, 3, size.s, 8}, 2),
                   v = numbers({1, 3, size.s, 6}, 3);
      Tensor const wide = repeat_interleave(k, 2, 1), values = repeat_interleave(v, 2, 1);
      auto const y = run(q, k, v, path.options()), want = run(q, wide, values, path.options());
      CHECK(differs(y.out, want.out, 1e-12) == "");
      CHECK(differs(y.dk, sum(want.dk.reshape({1, 3, 2, size.s, 8}), {2}), 1e-11) == "");
    }
}

}  // namespace

TEST_CASE("1. a row that sees nothing gives output 0, lse -inf and gradient 0, also behind an empty first tile") {
  on_every_isa([](Isa) { nothing_seen(); });
}
TEST_CASE("2. masked keys and values are never read as numbers") {
  on_every_isa([](Isa) { masked_unread(); });
}
TEST_CASE("3. true attends, and masks of every kind combine as logic does") { masks_combine(); }
TEST_CASE("4. causal is by absolute position: the last query stands at the last key") { absolute_positions(); }
TEST_CASE("5. windows are inclusive counts to the left and to the right") { inclusive_windows(); }
TEST_CASE("6. head h reads key head floor(h G / H)") { grouped_heads(); }

TEST_CASE(
    "an emulated accelerator keeps these contracts: rows that see nothing, masks, positions, windows, groups of "
    "heads") {
  test_device = emulated_device();
  for (auto const contract :
       {nothing_seen, masked_unread, masks_combine, absolute_positions, inclusive_windows, grouped_heads}) {
    contract();
    CHECK(emulator_complaints() == "");
  }
  test_device = cpu;
}

TEST_CASE("7. rotary angles stay exact at far positions, and go on behind a cache") {
  Tensor const x = numbers({1, 1, 3, 8}, 1, Dtype::f32);
  int64_t const far = 1'000'003;
  Tensor const y = nn::rope(x, far);
  auto const from = x.to_vector<double>(), to = y.to_vector<double>();
  for (int64_t t = 0; t < 3; ++t)
    for (int64_t i = 0; i < 4; ++i) {
      double const angle = double(far + t) * std::pow(10000., -2. * double(i) / 8);
      double const a = from[size_t(t * 8 + i)], b = from[size_t(t * 8 + i + 4)];
      CHECK(to[size_t(t * 8 + i)] == doctest::Approx(a * std::cos(angle) - b * std::sin(angle)).epsilon(1e-5));
      CHECK(to[size_t(t * 8 + i + 4)] == doctest::Approx(b * std::cos(angle) + a * std::sin(angle)).epsilon(1e-5));
    }
  NoGrad const off;
  auto const layer = nn::make_attention("multi-head+rope", {.dim = 16, .heads = 2});
  Tensor const sequence = numbers({2, 11, 16}, 4, Dtype::f32);
  Tensor const whole = (*layer)(sequence);
  auto const cache = layer->make_state(11);
  Tensor const first = (*layer)(sequence.slice(1, 0, 4), nn::AttentionContext{.state = cache.get()});
  Tensor const then = (*layer)(sequence.slice(1, 4, 10), nn::AttentionContext{.state = cache.get()});
  Tensor const last = (*layer)(sequence.slice(1, 10, 11), nn::AttentionContext{.state = cache.get()});
  CHECK(differs(cat({first, then, last}, 1), whole, 1e-5) == "");
}

TEST_CASE("8. statistics are in f32 or wider; dropout is by (seed, b, h, i, j) alone, and off outside training") {
  for (Dtype const dtype : {Dtype::bf16, Dtype::f16, Dtype::f32})
    everywhere(
        [&](Path const& path, Size, Tensor const& q, Tensor const& k, Tensor const& v) {
          INFO(std::string(name(dtype)));
          AttendOptions options = path.options();
          options.causal = true;
          if (options.sink.defined()) options.sink = options.sink.to(Dtype::f32);
          auto const y = attend(q, k, v, options);
          auto const exact = naive::attend(q.to(Dtype::f64), k.to(Dtype::f64), v.to(Dtype::f64), options);
          CHECK(y.out.dtype() == dtype);
          double const unit = dtype == Dtype::bf16 ? 1e-2 : dtype == Dtype::f16 ? 2e-3 : 2e-5;
          CHECK(differs(y.out.to(Dtype::f64), exact.out, unit) == "");
          if (y.lse.defined()) {
            CHECK(y.lse.dtype() == Dtype::f32);
            CHECK(differs(y.lse.to(Dtype::f64), exact.lse, 2e-5) == "");
          }
        },
        dtype);
  // Large scores in f16 do not overflow the sum.
  Tensor const big = ones({1, 1, 8, 64}, Dtype::f16) * 30.0;
  CHECK(finite(attend(big, big, big).out));
  // A query's draws do not depend on what else is in the call.
  Tensor const q = numbers({1, 2, 70, 8}, 1), k = numbers({1, 2, 90, 8}, 2);
  AttendOptions const drop{.dropout = 0.5, .draw = {7, 9}};
  Tensor const all = attend(q, k, k, drop).out;
  for (int64_t t : {1, 2, 33})
    CHECK(differs(attend(q.slice(2, 0, t), k, k, drop).out, all.slice(2, 0, t), 1e-12) == "");
  nn::MultiHeadAttention layer({.dim = 16, .heads = 2, .dropout = 0.5});
  Tensor const x = numbers({1, 5, 16}, 3, Dtype::f32);
  nn::train(layer, false);
  CHECK(same_bits(layer(x), layer(x)));
  nn::train(layer, true);
  CHECK(!same_bits(layer(x), layer(x)));
}

TEST_CASE("9. second derivatives exist: recorded, or from the materialised weights") {
  for (Path const& path : paths) {
    INFO(std::string(path.name));
    Tensor const q = numbers({1, heads, 3, 4}, 1).requires_grad_(), k = numbers({1, 1, 5, 4}, 2).requires_grad_(),
                 v = numbers({1, 1, 5, 3}, 3).requires_grad_();
    bool const sparse = path.options().entmax > 1;
    Tensor const out =
        sparse ? matmul(attention_weights(q, k, path.options()), v) : attend(q, k, v, path.options()).out;
    Tensor const d = grad({sum(out * out)}, {q}, {}, {.create_graph = true})[0];
    auto const second = grad({sum(d * d)}, {q, k, v});
    for (Tensor const& s : second) CHECK((finite(s) && !zero(s)));
    if (sparse) {
      std::string said;
      try {
        Tensor const fused = attend(q, k, v, path.options()).out;
        grad({sum(fused * fused)}, {q}, {}, {.create_graph = true});
      } catch (Error const& e) {
        said = e.what();
      }
      CHECK(said.find("attention_weights()") != std::string::npos);
    }
  }
}

TEST_CASE("10. every path gives the same bits twice and for any number of threads, backward too") {
  int const before = thread_count();
  for (Dtype const dtype : {Dtype::f32, Dtype::f64})
    everywhere(
        [&](Path const& path, Size, Tensor const& q, Tensor const& k, Tensor const& v) {
          AttendOptions options = path.options();
          options.left = 50;
          options.score = options.score | alibi(slopes().requires_grad_());
          Result first;
          for (int const threads : {1, 1, 2, 4}) {
            set_thread_count(threads);
            auto const y = run(q, k, v, options);
            if (!first.out.defined()) first = y;
            CHECK(same_bits(y.out, first.out));
            CHECK(same_bits(y.dq, first.dq));
            CHECK(same_bits(y.dk, first.dk));
            CHECK(same_bits(y.dv, first.dv));
          }
        },
        dtype);
  set_thread_count(before);
}

TEST_CASE("a function that makes a NaN is named by anomaly mode") {
  Tensor const q = numbers({1, 1, 3, 4}, 1).requires_grad_();
  DetectAnomaly const watch;
  std::string said;
  try {
    attend(q, q, q, {.score = [](auto s, auto at) { return log(at.j - 1.) + s; }});
  } catch (Error const& e) {
    said = e.what();
  }
  CHECK(said.find("attend") != std::string::npos);
  CHECK(said.find("NaN") != std::string::npos);
}
