#include <doctest/doctest.h>
#include <heed/engine/isa.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/parallel.h>
#include <heed/engine/storage.h>
#include <heed/tests/support/skip.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace heed;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Formula by formula in f64, everything contiguous; nothing is read at masked positions.
struct Naive {
  std::vector<double> out, lse, dq, dk, dv;
  template <class T, class See>
  Naive(AttendArgs<T> const& a, T const* dout, AttendStrides ds, T const* dlse, See const& see) {
    int64_t const rows = a.batch * a.heads * a.tq, keys = a.batch * a.kv_heads * a.tk;
    out.assign(rows * a.dv, 0), lse.assign(rows, -infinity), dq.assign(rows * a.d, 0);
    dk.assign(keys * a.d, 0), dv.assign(keys * a.dv, 0);
    uint32_t const threshold = a.dropout > 0 ? attend_threshold(a.dropout) : 0;
    for (int64_t b = 0; b < a.batch; ++b)
      for (int64_t h = 0; h < a.heads; ++h)
        for (int64_t i = 0; i < a.tq; ++i) {
          int64_t const g = h * a.kv_heads / a.heads, row = (b * a.heads + h) * a.tq + i;
          T const* const q = a.q + b * a.q_batch + h * a.q_head + i * a.q_row;
          T const* const k = a.k + b * a.k_batch + g * a.k_head;
          T const* const v = a.v + b * a.v_batch + g * a.v_head;
          T const* const go = dout + b * ds.batch + h * ds.head + i * ds.row;
          std::vector<double> s(a.tk, 0), p(a.tk, 0), keep(a.tk, 1), dp(a.tk, 0);
          double top = -infinity, sum = 0, delta = dlse ? -double(dlse[row]) : 0.;
          auto const seen = [&](auto f) {
            for (int64_t j = 0; j < a.tk; ++j)
              if (see(b, h, i, j)) f(j);
          };
          seen([&](int64_t j) {
            for (int64_t x = 0; x < a.d; ++x) s[j] += double(a.scale) * q[x] * k[j * a.k_row + x];
          });
          seen([&](int64_t j) { top = std::max(top, s[j]); });
          seen([&](int64_t j) { sum += std::exp(s[j] - top); });
          if (sum > 0) lse[row] = top + std::log(sum);
          seen([&](int64_t j) { p[j] = std::exp(s[j] - lse[row]); });
          if (threshold)
            seen([&](int64_t j) {
              keep[j] = attend_keeps(a.seed, a.offset, b, h, i, j, threshold) * 65536. / (65536. - threshold);
            });
          for (int64_t x = 0; x < a.dv; ++x) {
            seen([&](int64_t j) { out[row * a.dv + x] += p[j] * keep[j] * v[j * a.v_row + x]; });
            seen([&](int64_t j) { dp[j] += keep[j] * go[x] * v[j * a.v_row + x]; });
            seen([&](int64_t j) { dv[((b * a.kv_heads + g) * a.tk + j) * a.dv + x] += p[j] * keep[j] * go[x]; });
          }
          seen([&](int64_t j) { delta += p[j] * dp[j]; });
          for (int64_t x = 0; x < a.d; ++x)
            seen([&](int64_t j) {
              dq[row * a.d + x] += a.scale * p[j] * (dp[j] - delta) * k[j * a.k_row + x];
              dk[((b * a.kv_heads + g) * a.tk + j) * a.d + x] += a.scale * p[j] * (dp[j] - delta) * q[x];
            });
        }
  }
};

/// A [B, H, T, D] tensor in a wider buffer of NaN: `layout` 0 [B,H,T,D], 1 [B,T,H,D], 2 [B,T,3,H,D] and one float
/// apart.
template <class T>
struct Operand {
  std::vector<T> buffer;
  AttendStrides strides;
  int64_t batch, heads, rows, width;
  T* data;

  Operand(int64_t b, int64_t h, int64_t t, int64_t d, int layout) : batch(b), heads(h), rows(t), width(d) {
    int64_t const row = layout == 0 ? d : layout == 1 ? h * d : 3 * h * d + 1;
    strides = layout == 0 ? AttendStrides{h * t * d, t * d, d} : AttendStrides{t * row, d, row};
    // As long as the last element needs, so that AddressSanitizer sees a read past it.
    bool const none = b * h * t * d == 0;
    int64_t const size = none ? 0 : (b - 1) * strides.batch + (h - 1) * strides.head + (t - 1) * strides.row + d;
    buffer.assign(size, std::numeric_limits<T>::quiet_NaN());
    data = buffer.data();
  }
  T& at(int64_t b, int64_t h, int64_t t, int64_t x) {
    return data[b * strides.batch + h * strides.head + t * strides.row + x];
  }
  template <class F>
  void each(F f) {
    int64_t index = 0;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t t = 0; t < rows; ++t)
          for (int64_t x = 0; x < width; ++x) f(at(b, h, t, x), index++);
  }
  void randomise(std::mt19937& random) {
    std::normal_distribution<double> normal;
    each([&](T& value, int64_t) { value = T(normal(random)); });
  }
};

struct Setup {
  int64_t batch = 1, heads = 1, kv_heads = 1, tq = 8, tk = 8, d = 8, dv = 8;
  int64_t left = INT64_MAX, right = INT64_MAX;
  int layout = 0;
  enum { none, dense, keys, empty_rows, all_empty } mask = none;
  double dropout = 0;
  bool dlse = false;
  double poison = 0;  // value at masked K/V: of keys no query sees
  double scale = 0;
};

template <class T>
struct Run {
  Setup c;
  Operand<T> q, k, v, out, dout, dq, dk, dv;
  std::vector<T> lse, dlse;
  std::vector<uint8_t> mask;
  AttendArgs<T> a{};
  std::mt19937 random;

  explicit Run(Setup const& setup, unsigned seed = 1)
      : c(setup),
        q(c.batch, c.heads, c.tq, c.d, c.layout),
        k(c.batch, c.kv_heads, c.tk, c.d, c.layout),
        v(c.batch, c.kv_heads, c.tk, c.dv, c.layout),
        out(c.batch, c.heads, c.tq, c.dv, c.layout),
        dout(c.batch, c.heads, c.tq, c.dv, c.layout),
        dq(c.batch, c.heads, c.tq, c.d, c.layout),
        dk(c.batch, c.kv_heads, c.tk, c.d, c.layout),
        dv(c.batch, c.kv_heads, c.tk, c.dv, c.layout),
        random(seed) {
    q.randomise(random), k.randomise(random), v.randomise(random), dout.randomise(random);
    int64_t const rows = c.batch * c.heads * c.tq;
    lse.assign(rows, T(7)), dlse.assign(rows, T(0));
    if (c.dlse)
      for (T& x : dlse) x = T(std::normal_distribution<double>()(random));
    a = {.batch = c.batch,
         .heads = c.heads,
         .kv_heads = c.kv_heads,
         .tq = c.tq,
         .tk = c.tk,
         .d = c.d,
         .dv = c.dv,
         .q = q.data,
         .q_batch = q.strides.batch,
         .q_head = q.strides.head,
         .q_row = q.strides.row,
         .k = k.data,
         .k_batch = k.strides.batch,
         .k_head = k.strides.head,
         .k_row = k.strides.row,
         .v = v.data,
         .v_batch = v.strides.batch,
         .v_head = v.strides.head,
         .v_row = v.strides.row,
         .scale = T(c.scale ? c.scale : 1 / std::sqrt(double(c.d))),
         .left = c.left,
         .right = c.right};
    if (c.mask == Setup::keys) {  // [B, 1, 1, Tk]
      mask.assign(c.batch * c.tk, 0);
      for (auto& x : mask) x = random() % 3 != 0;
      a.mask_batch = c.tk, a.mask_col = 1;
    } else if (c.mask != Setup::none) {  // [B, H, Tq, Tk]
      mask.assign(c.batch * c.heads * c.tq * c.tk, 0);
      if (c.mask != Setup::all_empty)
        for (auto& x : mask) x = random() % 2;
      a.mask_batch = c.heads * c.tq * c.tk, a.mask_head = c.tq * c.tk, a.mask_row = c.tk, a.mask_col = 1;
      if (c.mask == Setup::empty_rows)
        for (int64_t r = 0; r < rows; r += 3) std::memset(mask.data() + r * c.tk, 0, c.tk);
    }
    if (!mask.empty()) a.mask = mask.data();
    a.dropout = c.dropout, a.seed = 0x123456789ABCDEFu, a.offset = 77;
  }

  bool sees(int64_t b, int64_t h, int64_t i, int64_t j) const {
    int64_t const at = i + c.tk - c.tq;
    if (c.left != INT64_MAX && j < at - c.left) return false;
    if (c.right != INT64_MAX && j > at + c.right) return false;
    return !a.mask || a.mask[b * a.mask_batch + h * a.mask_head + i * a.mask_row + j * a.mask_col];
  }
  /// Puts c.poison into K and V where no query of the group looks, and into one seen by some queries only.
  void poison() {
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t g = 0; g < c.kv_heads; ++g)
        for (int64_t j = 0; j < c.tk; ++j) {
          bool seen = false;
          for (int64_t h = 0; h < c.heads; ++h)
            for (int64_t i = 0; i < c.tq; ++i) seen |= h * c.kv_heads / c.heads == g && sees(b, h, i, j);
          if (seen) continue;
          for (int64_t x = 0; x < c.d; ++x) k.at(b, g, j, x) = T(c.poison);
          for (int64_t x = 0; x < c.dv; ++x) v.at(b, g, j, x) = T(c.poison);
        }
  }
  void compute() {
    AttendTable<T> const& table = [] {
      if constexpr (sizeof(T) == 4)
        return kernels<AttendKernels>().f32;
      else
        return kernels<AttendKernels>().f64;
    }();
    table.forward(a, out.data, out.strides, lse.data());
    table.backward(a, {.out = out.data,
                       .out_strides = out.strides,
                       .lse = lse.data(),
                       .dout = dout.data,
                       .dout_strides = dout.strides,
                       .dlse = c.dlse ? dlse.data() : nullptr,
                       .dq = dq.data,
                       .dq_strides = dq.strides,
                       .dk = dk.data,
                       .dk_strides = dk.strides,
                       .dv = dv.data,
                       .dv_strides = dv.strides});
  }
  Naive reference() const {
    return Naive(a, dout.data, dout.strides, c.dlse ? dlse.data() : nullptr,
                 [&](int64_t b, int64_t h, int64_t i, int64_t j) { return sees(b, h, i, j); });
  }
};

/// max |x − ref| / (1 + |ref|); what is not finite must agree as it is.
template <class T>
double distance(Operand<T>& x, std::vector<double> const& reference) {
  double worst = 0;
  x.each([&](T value, int64_t i) {
    double const r = reference[i];
    if (std::isnan(r) && std::isnan(value)) return;
    double const error = double(value) == r ? 0 : std::abs(value - r) / (1 + std::abs(r));
    if (!(error <= worst)) worst = std::isnan(error) ? infinity : error;
  });
  return worst;
}

template <class T>
void agree(Setup const& c, double bound, unsigned seed = 1) {
  Run<T> run(c, seed);
  if (c.poison != 0) run.poison();
  run.compute();
  Naive const naive = run.reference();
  INFO("B ", c.batch, " H ", c.heads, " G ", c.kv_heads, " Tq ", c.tq, " Tk ", c.tk, " d ", c.d, " dv ", c.dv, " left ",
       c.left, " right ", c.right, " layout ", c.layout, " mask ", int(c.mask), " dropout ", c.dropout, " poison ",
       c.poison);
  CHECK(distance(run.out, naive.out) <= bound);
  Operand<T> lse(c.batch, c.heads, c.tq, 1, 0);
  lse.buffer.assign(run.lse.begin(), run.lse.end());
  lse.data = lse.buffer.data();
  CHECK(distance(lse, naive.lse) <= bound);
  CHECK(distance(run.dq, naive.dq) <= 2 * bound);
  CHECK(distance(run.dk, naive.dk) <= 2 * bound);
  CHECK(distance(run.dv, naive.dv) <= 2 * bound);
}

void agree(Setup const& c, unsigned seed = 1) {
  agree<float>(c, 1e-5, seed);
  agree<double>(c, 1e-13, seed);
}

constexpr int64_t unlimited = INT64_MAX;

}  // namespace

TEST_CASE("attend: random shapes, windows, masks, layouts agree with the naive formula") {
  heed::test::on_every_isa([] {
    std::mt19937 random(5);
    auto const pick = [&](std::initializer_list<int64_t> from) { return from.begin()[random() % from.size()]; };
    for (int round = 0; round < 60; ++round) {
      Setup c;
      c.batch = pick({1, 2, 3});
      c.kv_heads = pick({1, 2});
      c.heads = c.kv_heads * pick({1, 2, 3});
      c.tq = pick({1, 2, 5, 16, 31, 33, 64, 77});
      c.tk = pick({c.tq, c.tq, 1, 7, 32, 65, 100});
      c.d = pick({1, 3, 8, 16, 17, 32, 40});
      c.dv = pick({c.d, 1, 5, 16, 33});
      c.left = pick({unlimited, unlimited, 0, 3, 20, 40});
      c.right = pick({unlimited, 0, 0, 2, 11});
      c.layout = int(pick({0, 1, 2}));
      c.mask = std::array{Setup::none, Setup::none, Setup::dense, Setup::keys, Setup::empty_rows}[random() % 5];
      c.dropout = std::array{0., 0., 0.3}[random() % 3];
      c.dlse = random() % 2;
      agree(c, round);
    }
  });
}

TEST_CASE("attend: several tiles of every size") {
  heed::test::on_every_isa([] {
    for (int64_t t : {97, 130, 300})
      for (int64_t right : {unlimited, int64_t{0}})
        agree({.tq = t, .tk = t + 3, .d = 16, .dv = 24, .right = right, .dlse = true});
    agree({.heads = 2, .kv_heads = 1, .tq = 700, .tk = 700, .d = 8, .dv = 8, .right = 0});
    agree({.tq = 700, .tk = 700, .d = 8, .dv = 8, .left = 40, .right = 0, .layout = 1});
    for (double dropout : {0., 0.1})  // large tiles, cut in strips on both sides
      for (int64_t left : {70, 129, 257})
        agree({.heads = 2,
               .kv_heads = 1,
               .tq = 300,
               .tk = 310,
               .d = 20,
               .dv = 12,
               .left = left,
               .right = 9,
               .layout = 1,
               .dropout = dropout});
    agree({.tq = 1100, .tk = 1100, .d = 16, .dv = 16});  // few heads, many keys: the backward pass is split
  });
}

TEST_CASE("attend: decoding") {
  heed::test::on_every_isa([] {
    for (int64_t tq : {1, 2, 4})
      for (int64_t tk : {1, 63, 64, 500, 1025})
        for (int64_t d : {8, 33, 64}) {
          agree({.batch = 2, .heads = 4, .kv_heads = 2, .tq = tq, .tk = tk, .d = d, .dv = d, .right = 0, .layout = 1});
          agree({.heads = 2,
                 .kv_heads = 2,
                 .tq = tq,
                 .tk = tk,
                 .d = d,
                 .dv = d + 1,
                 .left = 100,
                 .mask = Setup::keys,
                 .dropout = .2});
        }
  });
}

TEST_CASE("attend: a row that sees nothing gives output 0, lse -inf and gradients 0") {
  set_poison(true);  // working memory starts as NaN
  heed::test::on_every_isa([] {
    for (auto mask : {Setup::empty_rows, Setup::all_empty})
      for (int64_t tq : {1, 3, 40}) {
        Run<float> run({.heads = 2, .tq = tq, .tk = 50, .d = 9, .dv = 9, .mask = mask, .dlse = true});
        for (int64_t h = 0; h < 2; ++h)  // an empty row's own values are never used either
          for (int64_t x = 0; x < 9; ++x)
            if (h == 0) run.q.at(0, h, 0, x) = NAN, run.dout.at(0, h, 0, x) = NAN;
        run.compute();
        CHECK(run.lse[0] == -INFINITY);
        for (int64_t x = 0; x < 9; ++x) CHECK(run.out.at(0, 0, 0, x) == 0);
        for (int64_t x = 0; x < 9; ++x) CHECK(run.dq.at(0, 0, 0, x) == 0);
        bool finite = true, zero = true;
        run.dk.each([&](float g, int64_t) { finite &= std::isfinite(g), zero &= g == 0; });
        run.dv.each([&](float g, int64_t) { finite &= std::isfinite(g), zero &= g == 0; });
        CHECK(finite);
        if (mask == Setup::all_empty) CHECK(zero);
      }
    // Tq > Tk under a causal mask: the first Tq − Tk rows see nothing.
    Run<float> run({.tq = 40, .tk = 10, .right = 0});
    run.compute();
    for (int64_t i = 0; i < 30; ++i) CHECK(run.lse[i] == -INFINITY);
    CHECK(std::isfinite(run.lse[30]));
    agree({.tq = 40, .tk = 10, .right = 0});
  });
  set_poison(std::getenv("HEED_POISON") != nullptr);
}

TEST_CASE("attend: NaN and Inf of masked keys do not leak, in full or partial tiles") {
  heed::test::on_every_isa([] {
    for (double poison : {std::nan(""), infinity, -infinity, 3e38}) {
      for (int64_t tq : {1, 2, 20, 70}) {
        agree<float>({.batch = 2,
                      .heads = 2,
                      .kv_heads = 1,
                      .tq = tq,
                      .tk = 90,
                      .d = 12,
                      .dv = 20,
                      .mask = Setup::keys,
                      .poison = poison},
                     1e-5);
        agree<float>({.tq = tq, .tk = 90, .d = 12, .dv = 20, .left = 5, .right = 2, .poison = poison}, 1e-5);
        agree<double>({.tq = tq, .tk = 90, .d = 5, .dv = 3, .left = 5, .right = 0, .poison = poison}, 1e-13);
      }
      // Key 50 is seen by queries 50…69 only: the others stay clean, and its own row is what the formula says.
      Run<float> run({.tq = 70, .tk = 70, .d = 16, .dv = 16, .right = 0});
      for (int64_t x = 0; x < 16; ++x) run.k.at(0, 0, 50, x) = run.v.at(0, 0, 50, x) = float(poison);
      run.compute();
      Naive const naive = run.reference();
      double worst = 0;
      bool all_finite = true;
      for (int64_t i = 0; i < 50; ++i)
        for (int64_t x = 0; x < 16; ++x) {
          all_finite &= std::isfinite(run.out.at(0, 0, i, x)) && std::isfinite(run.dq.at(0, 0, i, x));
          worst = std::max(worst, std::abs(run.out.at(0, 0, i, x) - naive.out[i * 16 + x]));
          worst = std::max(worst, std::abs(run.dq.at(0, 0, i, x) - naive.dq[i * 16 + x]));
        }
      CHECK(all_finite);
      CHECK(worst < 1e-5);
    }
  });
}

TEST_CASE("attend: empty sizes") {
  heed::test::on_every_isa([] {
    agree({.batch = 0});
    agree({.tq = 0});
    agree({.tk = 0, .dlse = true});  // every row is empty
    agree({.tq = 0, .tk = 0});
  });
}

TEST_CASE("attend: dropout follows attend_keeps and keeps the mean") {
  heed::test::on_every_isa([] {
    // V = identity and equal scores: the output is the multiplier / Tk.
    int64_t const t = 128;
    for (double rate : {0.1, 0.5}) {
      Run<float> run({.batch = 2, .heads = 2, .kv_heads = 2, .tq = t, .tk = t, .d = 4, .dv = t, .dropout = rate});
      run.q.each([](float& x, int64_t) { x = 0; });
      run.v.each([&](float& x, int64_t i) { x = float(i / t % t == i % t); });
      run.compute();
      uint32_t const threshold = attend_threshold(rate);
      int64_t wrong = 0, kept = 0;
      for (int64_t b = 0; b < 2; ++b)
        for (int64_t h = 0; h < 2; ++h)
          for (int64_t i = 0; i < t; ++i)
            for (int64_t j = 0; j < t; ++j) {
              bool const keeps = attend_keeps(run.a.seed, run.a.offset, b, h, i, j, threshold);
              wrong += (run.out.at(b, h, i, j) > 0) != keeps;
              kept += keeps;
            }
      CHECK(wrong == 0);
      double const n = 4. * t * t;
      CHECK(std::abs(kept / n - (1 - rate)) < 4 * std::sqrt(rate * (1 - rate) / n));
    }
    CHECK(attend_threshold(0.5) == 32768);
  });
}

TEST_CASE("attend: f64 gradients agree with central differences") {
  heed::test::on_every_isa([] {
    for (double dropout : {0., 0.25}) {
      Run<double> run({.batch = 2,
                       .heads = 4,
                       .kv_heads = 2,
                       .tq = 6,
                       .tk = 9,
                       .d = 5,
                       .dv = 7,
                       .right = 0,
                       .layout = 2,
                       .mask = Setup::dense,
                       .dropout = dropout,
                       .dlse = true});
      run.compute();
      auto const loss = [&] {
        kernels<AttendKernels>().f64.forward(run.a, run.out.data, run.out.strides, run.lse.data());
        double sum = 0;
        for (int64_t b = 0; b < 2; ++b)
          for (int64_t h = 0; h < 4; ++h)
            for (int64_t i = 0; i < 6; ++i) {
              int64_t const row = (b * 4 + h) * 6 + i;
              if (std::isfinite(run.lse[row])) sum += run.lse[row] * run.dlse[row];
              for (int64_t x = 0; x < 7; ++x) sum += run.out.at(b, h, i, x) * run.dout.at(b, h, i, x);
            }
        return sum;
      };
      double worst = 0;
      auto const difference = [&](Operand<double>& x, Operand<double>& gradient) {
        std::vector<double> analytic;
        gradient.each([&](double g, int64_t) { analytic.push_back(g); });
        x.each([&](double& value, int64_t i) {
          double const before = value, step = 1e-5;
          value = before + step;
          double const above = loss();
          value = before - step;
          double const below = loss();
          value = before;
          worst = std::max(worst, std::abs((above - below) / (2 * step) - analytic[i]));
        });
      };
      difference(run.q, run.dq), difference(run.k, run.dk), difference(run.v, run.dv);
      CHECK(worst < 1e-8);
    }
  });
}

TEST_CASE("attend: the same bits for 1, 2 and 4 threads") {
  heed::test::on_every_isa([] {
    int const before = thread_count();
    for (Setup const& c :
         {Setup{.batch = 3, .heads = 4, .kv_heads = 2, .tq = 64, .tk = 64, .d = 32, .dv = 32, .right = 0, .layout = 1},
          Setup{.heads = 2, .kv_heads = 1, .tq = 1100, .tk = 1100, .d = 16, .dv = 16, .right = 0, .dropout = 0.1},
          Setup{.batch = 2, .heads = 8, .kv_heads = 2, .tq = 1, .tk = 2000, .d = 32, .dv = 32}}) {
      std::vector<std::vector<float>> bits;
      for (int threads : {1, 2, 4}) {
        set_thread_count(threads);
        Run<float> run(c);
        run.compute();
        std::vector<float> all(run.lse);
        for (auto* x : {&run.out, &run.dq, &run.dk, &run.dv})
          x->each([&](float value, int64_t) { all.push_back(value); });
        bits.push_back(all);
      }
      for (auto const& other : bits) CHECK(std::memcmp(bits[0].data(), other.data(), other.size() * 4) == 0);
    }
    set_thread_count(before);
  });
}
