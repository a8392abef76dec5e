// Position encodings: each against its formula on whole matrices, and all of them beside several kinds of attention,
// step by step and in a model.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/parallel.h>
#include <heed/nn/position/learned.h>
#include <heed/nn/position/sinusoidal.h>
#include <heed/nn/position/t5.h>
#include <heed/tests/support/attention_case.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/op_case.h>

#include <filesystem>
#include <fstream>

using namespace heed;
using namespace heed::test::attention;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

/// Settings that show on a dozen positions what an encoding does.
std::string small(std::string_view name) {
  for (auto const& [row, settings] : {std::pair("t5", "buckets=8,reach=9"),
                                      {"shaw", "reach=2"},
                                      {"sincos-2d", "width=3"},
                                      {"log-cpb", "hidden=5"},
                                      {"fire", "hidden=4,threshold=3"},
                                      {"cope", "most=4"},
                                      {"deberta", "reach=2"},
                                      {"sandwich", "width=8"},
                                      {"fourier", "features=5"},
                                      {"xpos", "reach=5"}})
    if (name == row) return fmt::format("{}:{}", row, settings);
  return std::string(name);
}

/// Every row, and rows in other settings.
std::vector<std::string> texts(bool of_input) {
  std::vector<std::string> list;
  for (nn::PositionRow const& row : nn::positions())
    if ((row.family == "input") == of_input) list.push_back(small(row.name));
  if (!of_input)
    for (char const* more :
         {"rope:fraction=0.5", "rope:interleaved=true", "rope:scaling=linear,factor=3",
          "rope:scaling=yarn,factor=4,original=8", "rope:scaling=llama3,factor=4,original=8",
          "rope:scaling=longrope,factor=2,original=4", "rope:scaling=dynamic,factor=2,original=4", "axial-rope:width=3",
          "axial-rope:width=2,height=2", "log-cpb:width=3,hidden=5", "kerple:power=true", "alibi:learned=true"})
      list.push_back(more);
  return list;
}

/// Parameters far from their start.
std::unique_ptr<nn::Attention> made(std::string_view text, bool causal, Dtype dtype = Dtype::f64) {
  seed(3);
  auto layer = nn::make_attention(text, config(causal));
  nn::to(*layer, Dtype::f64);
  uint32_t key = 100;
  NoGrad const off;
  for (auto& [name, p] : nn::named_parameters(*layer)) {
    Tensor const more = numbers(p.shape(), ++key);
    p.rank() >= 2 ? p.copy_(more * 0.9) : p.add_(more * 0.3);
  }
  nn::to(*layer, dtype);
  nn::eval(*layer);
  return layer;
}

bool close(double a, double b) { return std::abs(a - b) < 1e-12; }

/// i − j [T, T]
Tensor past_of() {
  Tensor const i = arange(0, length, 1, Dtype::f64);
  return i.unsqueeze(1) - i.unsqueeze(0);
}
/// f(i, j) [T, T]
template <class F>
Tensor by_pair(F const& f) {
  std::vector<double> values;
  for (int64_t i = 0; i < length; ++i)
    for (int64_t j = 0; j < length; ++j) values.push_back(f(i, j));
  return tensor(values, {length, length});
}
/// rows[clip(f(i, j))] [T, T, D] for rows [R, D]
template <class F>
Tensor gathered(Tensor const& rows, F const& f) {
  std::vector<int64_t> index;
  for (int64_t i = 0; i < length; ++i)
    for (int64_t j = 0; j < length; ++j) index.push_back(std::clamp(f(i, j), int64_t{0}, rows.size(0) - 1));
  return index_select(rows, 0, tensor(index, {length * length})).reshape({length, length, rows.size(1)});
}

void set(nn::Module& module, std::string_view suffix, Tensor const& value) {
  NoGrad const off;
  named(module, suffix).copy_(value);
}

Tensor embedded(std::string_view text, Tensor const& x, int64_t past = 0) {
  seed(3);
  auto const part = nn::make_position(nn::parse_spec(text), config(true));
  nn::to(*part, x.dtype());
  return part->embed(x, past);
}

}  // namespace

TEST_CASE("positions: every row has a case of its own") {
  std::ifstream in(std::filesystem::path(HEED_SOURCE_DIR) / "tests/nn_positions_test.cpp");
  std::string const cases{std::istreambuf_iterator<char>(in), {}};
  for (nn::PositionRow const& row : nn::positions())
    CHECK_MESSAGE(cases.find(fmt::format("TEST_CASE(\"{}: ", row.name)) != std::string::npos, row.name);
}

// ---- all of them ----------------------------------------------------------------------------------------------------

TEST_CASE("positions: gradients are exact") {
  for (std::string const& text : texts(false))
    for (bool const causal : {true, false}) {
      nn::Traits const traits = nn::traits_of(text);
      if (causal ? !traits.causal : !traits.bidirectional) continue;
      auto const layer = made(text, causal);
      std::vector<Tensor> inputs{numbers({batch, 6, dim}, 1).requires_grad_()};
      for (Tensor const& p : nn::parameters(*layer)) inputs.push_back(p);
      INFO(text);
      CHECK(test::gradcheck([&](std::vector<Tensor> const& in) { return std::vector<Tensor>{(*layer)(in[0])}; },
                            {inputs[0]}, {.tolerance = 2e-6, .full_up_to = 0, .directions = 2}) == "");
      // Parameters, by moving them in place.
      Tensor const x = inputs[0].detach(), w = numbers({batch, 6, dim}, 2);
      nn::zero_grad(*layer);
      sum((*layer)(x)*w).backward();
      NoGrad const off;
      uint32_t key = 50;
      for (size_t k = 1; k < inputs.size(); ++k) {
        Tensor& p = inputs[k];
        Tensor const direction = numbers(p.shape(), ++key), at = p.clone();
        auto const loss = [&](double step) {
          p.copy_(at + direction * step);
          return sum((*layer)(x)*w).item();
        };
        double const numeric = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        p.copy_(at);
        double const analytic = p.grad().defined() ? sum(p.grad() * direction).item() : 0;
        CHECK(analytic == doctest::Approx(numeric).epsilon(1e-5));
      }
    }
}

TEST_CASE("positions: step by step is the full pass, beside several kinds") {
  NoGrad const off;
  for (std::string const& text : texts(false))
    for (char const* kind : {"multi-head", "mqa", "sliding:window=3", "sink", "entmax", "differential",
                             "scalable-softmax", "qk-norm", "gated", "soft-cap:cap=3", "fox", "laser"}) {
      // What needs a row's scores in order stands outside of what splits heads.
      bool const outside = std::string_view(kind) == "differential" && text.starts_with("cope");
      std::string const whole = outside ? fmt::format("{}+{}", text, kind) : fmt::format("{}+{}", kind, text);
      auto const layer = made(whole, true);
      INFO(whole);
      CHECK(layer->traits().steps == (text.find("dynamic") == std::string::npos));
      if (!layer->traits().steps) continue;
      Tensor const x = numbers({batch, length, dim}, 1), y = (*layer)(x);
      for (std::vector<int64_t> const& pieces : {std::vector<int64_t>(size_t(length), 1), {4, 1, length - 5}}) {
        auto const state = layer->make_state(length);
        std::vector<Tensor> parts;
        int64_t at = 0;
        for (int64_t const n : pieces)
          parts.push_back((*layer)(x.slice(1, at, at + n), {.state = state.get()})), at += n;
        CHECK(difference(cat(parts, 1), y) < 1e-10);
      }
    }
}

TEST_CASE("positions: fused is naive, narrow types are near, padding is not seen, an accelerator agrees") {
  for (std::string const& text : texts(false))
    for (bool const causal : {true, false}) {
      nn::Traits const traits = nn::traits_of(text);
      if (causal ? !traits.causal : !traits.bidirectional) continue;
      INFO(text, causal ? ", causal" : ", bidirectional");
      auto const pass = [&](nn::Attention& layer, Tensor const& given) {
        Tensor const x = given.detach().requires_grad_(), y = layer(x);
        sum(y * numbers(y.shape(), 8).to(y.dtype()).to(y.device())).backward();
        return std::pair(y.detach(), x.grad());
      };
      auto const layer = made(text, causal);
      Tensor const x = numbers({batch, length, dim}, 1).to(Dtype::bf16).to(Dtype::f64);
      auto const [y, slope] = pass(*layer, x);
      {
        nn::NaiveCores const cores;
        auto const [naive_y, naive_slope] = pass(*layer, x);
        CHECK(difference(y, naive_y) < 1e-10);
        CHECK(difference(slope, naive_slope) < 1e-9);
      }
      auto const narrow = made(text, causal, Dtype::bf16), wide = made(text, causal, Dtype::bf16);
      nn::to(*wide, Dtype::f64);
      Tensor const rough = (*narrow)(x.to(Dtype::bf16)), exact = (*wide)(x);
      CHECK(rough.dtype() == Dtype::bf16);
      CHECK((norm(rough.to(Dtype::f64) - exact) / norm(exact)).item() < 0.08);

      Tensor hidden = x.clone();
      hidden.select(0, 1).slice(0, 6, length).fill_(NAN);
      NoGrad const off;
      // What the base of "dynamic" depends on is the length of the pass.
      if (text.find("dynamic") == std::string::npos) {
        Tensor const padded = (*layer)(hidden, {.lengths = tensor(std::vector<int64_t>{length, 6}, {2})});
        CHECK(difference(padded.slice(0, 0, 1), y.slice(0, 0, 1)) < 1e-12);
        CHECK(difference(padded.slice(0, 1, 2).slice(1, 0, 6), (*layer)(x.slice(0, 1, 2).slice(1, 0, 6))) < 1e-12);
      }
    }
}

TEST_CASE("an emulated accelerator gives what the processor gives, for every position encoding") {
  Device const device = test::emulated_device();
  for (std::string const& text : texts(false)) {
    INFO(text);
    auto const here = made(text, true, Dtype::f32), there = made(text, true, Dtype::f32);
    nn::to(*there, device);
    Tensor const x = numbers({batch, length, dim}, 1, Dtype::f32);
    NoGrad const off;
    Tensor const y = (*there)(x.to(device));
    backend(device).synchronize(device.index);
    CHECK(test::emulator_complaints().empty());
    CHECK(difference(y.to(cpu), (*here)(x)) < 2e-4);
  }
}

TEST_CASE("positions: nothing of T × T is held, but where traits say so") {
  int const threads = thread_count();
  set_thread_count(1);  // each has scratch of its own
  for (std::string const& text : texts(false)) {
    auto const bytes_at = [&](int64_t t) {
      nn::AttentionConfig own = config(true);
      own.block = t;
      auto layer = nn::make_attention(text, own);
      Tensor const x = numbers({1, t, dim}, 1, Dtype::f32).requires_grad_();
      release_cached_memory();
      reset_peak_memory();
      double const before = double(memory_statistics().in_use);
      sum((*layer)(x)).backward();
      return double(memory_statistics().peak) - before;
    };
    bool const all = nn::traits_of(text).memory == nn::Growth::quadratic;
    INFO(text);
    CHECK(bytes_at(1024) / bytes_at(256) < (all ? 17 : 6));
  }
  set_thread_count(threads);
}

TEST_CASE("positions: a model of each decodes as it reads, wherever positions act") {
  NoGrad const off;
  for (bool const of_input : {true, false})
    for (std::string const& text : texts(of_input)) {
      if (text.find("dynamic") != std::string::npos) continue;
      INFO(text);
      seed(4);
      nn::GPT model({.vocabulary = 7, .layers = 2, .heads = 2, .dim = 8, .block = 12, .position = text});
      nn::to(model, Dtype::f64);
      Tensor const tokens = tensor(std::vector<int64_t>{1, 5, 2, 2, 6, 0, 3, 1, 1}, {1, 9});
      Tensor const y = model(tokens);
      nn::GPTCache cache = model.make_cache(12);
      std::vector<Tensor> parts;
      for (int64_t t = 0; t < 9; ++t)
        parts.push_back(model(tokens.slice(1, t, t + 1), nn::GPTContext{.cache = &cache}));
      CHECK(difference(cat(parts, 1), y) < 1e-10);
    }
}

TEST_CASE("positions: relative ones do not know where a sequence begins") {
  NoGrad const off;
  for (char const* text : {"rope", "rope:scaling=yarn,factor=4,original=8", "xpos:reach=5", "axial-rope", "alibi",
                           "t5:buckets=8,reach=9", "shaw:reach=2", "music", "transformer-xl-relative", "kerple",
                           "sandwich:width=8", "log-cpb:hidden=5", "deberta:reach=2", "cope:most=4"}) {
    auto const layer = made(fmt::format("sliding:window=2+{}", text), true);
    Tensor const x = numbers({1, 8, dim}, 1), later = cat({numbers({1, 5, dim}, 2), x}, 1);
    INFO(text);
    CHECK(difference((*layer)(later).slice(1, 7, 13), (*layer)(x).slice(1, 2, 8)) < 1e-10);
  }
}

TEST_CASE("positions: bad settings are Errors that help") {
  auto const said = [](char const* text) { return error_of([&] { nn::make_attention(text, config(true)); }); };
  for (char const* text : {"rope:base=1", "rope:fraction=0", "rope:scaling=other", "rope:factor=0.5", "rope:heads=8",
                           "rope:scaling=longrope,factors=1/x", "rope:scaling=longrope,factors=1", "xpos:reach=0",
                           "axial-rope:width=-1", "t5:buckets=6", "t5:reach=3", "shaw:reach=0", "deberta:reach=0",
                           "fire:hidden=0", "log-cpb:width=-1", "cope:most=0", "rope:bas=3"})
    CHECK_MESSAGE(!said(text).empty(), text);
  CHECK(said("rope:scaling=other").find("llama3") != std::string::npos);
  nn::AttentionConfig no_block = config(true);
  no_block.block = 0;
  CHECK(!error_of([&] { nn::make_attention("music", no_block); }).empty());
  for (char const* text : {"sincos-2d:width=0", "fourier:features=0"})
    CHECK_MESSAGE(!error_of([&] { embedded(text, numbers({1, 2, dim}, 1)); }).empty(), text);
}

// ---- at the input ---------------------------------------------------------------------------------------------------

TEST_CASE("positions: those at the input continue where a cache stands") {
  for (std::string const& text : texts(true)) {
    Tensor const x = numbers({batch, length, dim}, 1), y = embedded(text, x);
    INFO(text);
    CHECK(difference(embedded(text, x.slice(1, 4, length), 4), y.slice(1, 4, length)) < 1e-12);
    CHECK(difference(y, x) > 1e-3);
    Tensor const rough = embedded(text, x.to(Dtype::bf16));
    CHECK(rough.dtype() == Dtype::bf16);
    CHECK(difference(rough.to(Dtype::f64), y) < 0.08);
  }
}

TEST_CASE("none: multi-head alone") {
  auto const layer = made("none", true), plain = made("multi-head", true);
  Tensor const x = numbers({batch, length, dim}, 1);
  CHECK(same_bits((*layer)(x), (*plain)(x)));
}

TEST_CASE("learned: one row of a table for each position") {
  nn::LearnedPosition const part(config(true));
  Tensor const x = numbers({batch, 5, dim}, 1, Dtype::f32);
  CHECK(difference(part.embed(x, 3), x + part.weight.slice(0, 3, 8)) == 0);
  CHECK(!error_of([&] { part.embed(x, 14); }).empty());
}

TEST_CASE("sinusoidal: products depend on the distance alone") {
  Tensor const p = embedded("sinusoidal", zeros({1, 16, dim}, Dtype::f64)).squeeze(0);
  Tensor const products = matmul(p, p.t());
  CHECK(difference(products.slice(0, 1, 16).slice(1, 1, 16), products.slice(0, 0, 15).slice(1, 0, 15)) < 1e-12);
  CHECK(close(p.select(0, 3).select(0, 2).item(), std::sin(3 * std::pow(10000., -2. / dim))));
  CHECK(close(p.select(0, 3).select(0, 3).item(), std::cos(3 * std::pow(10000., -2. / dim))));
}

TEST_CASE("sincos-2d: sinusoids of row and column") {
  Tensor const p = embedded("sincos-2d:width=3", zeros({1, 9, dim}, Dtype::f64)).squeeze(0);
  Tensor const line = nn::sinusoids({0, 1, 2}, dim / 2);
  for (int64_t t = 0; t < 9; ++t)
    CHECK(difference(p.select(0, t), cat({line.select(0, t / 3), line.select(0, t % 3)}, 0)) < 1e-12);
}

TEST_CASE("time2vec: a line and waves") {
  auto const part = nn::make_position({"time2vec"}, config(true));
  nn::to(*part, Dtype::f64);
  Tensor const w = numbers({dim}, 1), phase = numbers({dim}, 2);
  set(*part, "frequency", w);
  set(*part, "phase", phase);
  Tensor const y = part->embed(zeros({1, 4, dim}, Dtype::f64), 2).detach().squeeze(0);
  Tensor const angle = w * 5. + phase;
  CHECK(difference(y.select(0, 3), where(arange(0, dim) == 0., angle, sin(angle))) < 1e-12);
}

TEST_CASE("fourier: products of features depend on the distance alone") {
  auto const part = nn::make_position(nn::parse_spec("fourier:features=4"), config(true));
  nn::to(*part, Dtype::f64);
  set(*part, "proj.weight", eye(dim, dim, Dtype::f64));
  Tensor const p = part->embed(zeros({1, 12, dim}, Dtype::f64), 0).detach().squeeze(0), products = matmul(p, p.t());
  CHECK(difference(products.slice(0, 1, 12).slice(1, 1, 12), products.slice(0, 0, 11).slice(1, 0, 11)) < 1e-12);
  CHECK(close(products.select(0, 0).select(0, 0).item(), 4.));
}

// ---- rotary ---------------------------------------------------------------------------------------------------------

TEST_CASE("rope: products depend on the distance, lengths are kept, layouts are permutations of each other") {
  Tensor const q = numbers({1, 1, 1, dim}, 1), k = numbers({1, 1, 1, dim}, 2);
  auto const product = [&](int64_t i, int64_t j) { return sum(nn::rope(q, i) * nn::rope(k, j)).item(); };
  CHECK(close(product(7, 3), product(104, 100)));
  CHECK(close(product(7, 3), sum(q * nn::rope(k, -4)).item()));
  CHECK(close(norm(nn::rope(q, 9)).item(), norm(q).item()));
  Case c("rope:interleaved=true");
  // Neighbours become i and i + D/2.
  auto const halves = [](Tensor const& t) { return cat({t.slice(3, 0, width, 2), t.slice(3, 1, width, 2)}, 3); };
  auto const scores = [](Tensor const& a, Tensor const& b) {
    return matmul(nn::rope(a), nn::rope(b).transpose(2, 3)) / std::sqrt(double(width));
  };
  CHECK(c.from(c.softmax_of(scores(halves(c.q), halves(c.k)))) < 1e-12);
  Case plain("rope");
  CHECK(plain.from(plain.softmax_of(scores(plain.q, plain.k))) < 1e-12);
  Case part("rope:fraction=0.5");
  auto const turned = [](Tensor const& t) { return cat({nn::rope(t.slice(3, 0, 2)), t.slice(3, 2, width)}, 3); };
  Tensor const s = matmul(turned(part.q), turned(part.k).transpose(2, 3)) / std::sqrt(double(width));
  CHECK(part.from(part.softmax_of(s)) < 1e-12);
}

TEST_CASE("rope: scalings of factor 1 are none; others stretch as they say") {
  auto const of = [](std::string const& text) {
    Case c(text);
    return c();
  };
  Tensor const plain = of("rope");
  for (char const* scaling : {"linear", "ntk", "dynamic", "yarn", "longrope", "llama3"})
    CHECK_MESSAGE(difference(of(fmt::format("rope:scaling={},factor=1,original=4", scaling)), plain) < 1e-13, scaling);
  CHECK(difference(of("rope:scaling=dynamic,factor=8,original=100"), plain) == 0);
  CHECK(difference(of("rope:scaling=dynamic,factor=2,original=3"), of("rope:scaling=ntk,factor=5")) <
        1e-13);  // 2·9/3 − 1
  // Two pairs (D = 4): the fast one has frequency 1, the slow one 1/100.
  auto const by = [](double fast, double slow, double amplitude) {
    Case c("multi-head");
    std::vector<double> angles;
    for (int64_t t = 0; t < length; ++t) angles.insert(angles.end(), {double(t) * fast, double(t) * slow});
    std::vector<double> const amplitudes(angles.size(), amplitude);
    Tensor const q = nn::rotate(c.q, angles, amplitudes), k = nn::rotate(c.k, angles, amplitudes);
    Tensor const s = matmul(q, k.transpose(2, 3)) / std::sqrt(double(width));
    return nn::join_heads(matmul(c.softmax_of(s), c.v));
  };
  CHECK(difference(plain, by(1, 0.01, 1)) < 1e-12);
  CHECK(difference(of("rope:scaling=linear,factor=4"), by(1 / 4., 0.01 / 4, 1)) < 1e-12);
  CHECK(difference(of("rope:scaling=ntk,factor=4"), by(1, 0.01 / 4, 1)) < 1e-12);
  CHECK(difference(of("rope:scaling=longrope,factor=4,factors=2/3,original=8"),
                   by(1 / 2., 0.01 / 3, std::pow(1 + std::log(4) / std::log(8), 0.25))) < 1e-12);
  double const turns = 64 / (2 * M_PI), share = (turns - 1) / 31;  // the fast pair in 64 positions: on YaRN's ramp
  CHECK(difference(of("rope:scaling=yarn,factor=4,original=64"),
                   by(share + (1 - share) / 4, 0.01 / 4, 0.1 * std::log(4) + 1)) < 1e-12);
  CHECK(difference(of("rope:scaling=llama3,factor=4,original=64"), by(1, 0.01 / 4, 1)) < 1e-12);
  double const smooth = (16 / (2 * M_PI) - 1) / 3;
  CHECK(difference(of("rope:scaling=llama3,factor=4,original=16"), by(smooth + (1 - smooth) / 4, 0.01 / 4, 1)) < 1e-12);
}

TEST_CASE("xpos: far reaches are rope, near ones fade") {
  Case far("xpos:reach=1e15"), plain("rope");
  CHECK(difference(far(), plain()) < 1e-12);
  Case c("xpos:reach=4");
  Tensor s = zeros({batch, heads, length, length}, Dtype::f64);
  for (int64_t pair = 0; pair < 2; ++pair) {
    double const frequency = pair ? 0.01 : 1, zeta = (pair / 2. + 0.4) / 1.4;
    auto const of = [&](Tensor const& t, int64_t feature) { return t.slice(3, feature, feature + 1); };
    Tensor const past = past_of(), a = of(c.q, pair), b = of(c.q, pair + 2), x = of(c.k, pair), y = of(c.k, pair + 2);
    Tensor const inner = matmul(a, x.transpose(2, 3)) + matmul(b, y.transpose(2, 3));
    Tensor const outer = matmul(b, x.transpose(2, 3)) - matmul(a, y.transpose(2, 3));
    s = s + (inner * cos(past * frequency) - outer * sin(past * frequency)) * pow(scalar(zeta, Dtype::f64), past / 4.);
  }
  CHECK(c.from(c.softmax_of(s / std::sqrt(double(width)))) < 1e-12);
}

TEST_CASE("axial-rope: equal coordinates are rope, a grid has rows and columns") {
  Case text("axial-rope"), plain("rope");
  CHECK(difference(text(), plain()) == 0);
  Case c("axial-rope:width=3", false);
  std::vector<double> angles;  // the first pair turns by rows, the second by columns
  for (int64_t t = 0; t < length; ++t) angles.insert(angles.end(), {double(t / 3), double(t % 3) * 0.01});
  Tensor const s = matmul(nn::rotate(c.q, angles), nn::rotate(c.k, angles).transpose(2, 3)) / std::sqrt(double(width));
  CHECK(c.from(softmax(s)) < 1e-12);
}

// ---- scores ---------------------------------------------------------------------------------------------------------

TEST_CASE("alibi: slopes of 0 are none, and where the future is hidden −m(i − j) is as good as m·j") {
  Case c("alibi:learned=true");
  Tensor const m = tensor(std::vector<double>{0.3, 0.7}, {heads});
  c.set("slopes", m);
  Tensor const j = arange(0, length, 1, Dtype::f64);
  CHECK(c.from(c.softmax_of(c.scores + m.reshape({heads, 1, 1}) * j)) < 1e-12);
  c.set("slopes", zeros({heads}, Dtype::f64));
  CHECK(c.from(c.softmax_of(c.scores)) < 1e-12);
}

TEST_CASE("t5: a table gathered by buckets") {
  for (bool const causal : {true, false}) {
    Case c("t5:buckets=8,reach=9", causal);
    Tensor const bias = numbers({heads, 8}, 5);
    c.set("bias", bias);
    // The paper's code: relative position j − i, in f32.
    auto const bucket = [&](int64_t i, int64_t j) {
      int64_t n = causal ? 8 : 4, first = 0, away = i - j;
      if (!causal && j > i) first = n;
      away = causal ? std::max(away, int64_t{0}) : std::abs(away);
      int64_t const exact = n / 2;
      if (away < exact) return first + away;
      int64_t const large =
          exact + int64_t(std::log(float(away) / float(exact)) / std::log(9.f / float(exact)) * float(n - exact));
      return first + std::min(large, n - 1);
    };
    Tensor const of_pairs = gathered(bias.t(), bucket);  // [T, T, H]
    CHECK(c.from(c.softmax_of(c.scores + of_pairs.permute({2, 0, 1}))) < 1e-12);
  }
}

TEST_CASE("shaw: vectors gathered for every pair") {
  for (bool const causal : {true, false}) {
    Case c("shaw:reach=2", causal);
    Tensor const a =
        gathered(named(*c.layer, "shaw.weight").squeeze(0), [](int64_t i, int64_t j) { return j - i + 2; });
    Tensor const s = c.scores + einsum("bhid,ijd->bhij", {c.q, a}) / std::sqrt(double(width));
    CHECK(c.from(c.softmax_of(s)) < 1e-12);
  }
}

TEST_CASE("music: vectors gathered for every pair and head") {
  Case c("music");
  Tensor const weight = named(*c.layer, "music.weight");
  std::vector<Tensor> of_heads;
  for (int64_t h = 0; h < heads; ++h) {
    Tensor const e = gathered(weight.select(0, h), [](int64_t i, int64_t j) { return j - i + 15; });
    of_heads.push_back(einsum("bid,ijd->bij", {c.q.select(1, h), e}));
  }
  CHECK(c.from(c.softmax_of(c.scores + stack(of_heads, 1) / std::sqrt(double(width)))) < 1e-12);
}

TEST_CASE("transformer-xl-relative: sinusoids gathered for every pair") {
  for (bool const causal : {true, false}) {
    Case c("transformer-xl-relative", causal);
    Tensor const u = numbers({heads, 1, width}, 3), v = numbers({heads, 1, width}, 4);
    c.set("relative.u", u);
    c.set("relative.v", v);
    std::vector<double> r;  // [2T − 1, 4]: sin, sin, cos, cos of distances
    for (int64_t d = 1 - length; d < length; ++d)
      r.insert(r.end(), {std::sin(d), std::sin(d * 0.01), std::cos(d), std::cos(d * 0.01)});
    Tensor const of_pairs =
        gathered(tensor(r, {2 * length - 1, 4}), [](int64_t i, int64_t j) { return i - j + length - 1; });
    Tensor const mapped = einsum("hdf,ijf->hijd", {named(*c.layer, "relative.weight"), of_pairs});
    Tensor const s = matmul(c.q + u, c.k.transpose(2, 3)) + einsum("bhid,hijd->bhij", {c.q + v, mapped});
    CHECK(c.from(c.softmax_of(s / std::sqrt(double(width)))) < 1e-12);
  }
}

TEST_CASE("kerple: logarithms and powers of the distance") {
  Tensor const rate = tensor(std::vector<double>{0.3, -1}, {heads, 1, 1}),
               shape = tensor(std::vector<double>{1, -0.5}, {heads, 1, 1});
  for (bool const power : {false, true}) {
    Case c(power ? "kerple:power=true" : "kerple", false);
    c.set("rate", rate.reshape({heads}));
    c.set("shape", shape.reshape({heads}));
    Tensor const away = abs(past_of());
    Tensor const far = power ? pow(away, 2. * sigmoid(shape)) : log(1. + softplus(shape) * away);
    CHECK(c.from(softmax(c.scores - softplus(rate) * far)) < 1e-12);
  }
}

TEST_CASE("sandwich: products of sinusoids") {
  Case c("sandwich:width=8");
  Tensor const bias = by_pair([](int64_t i, int64_t j) {
    double sum = 0;
    for (int k = 1; k <= 4; ++k) {
      double const w = std::pow(10000., -2. * k / 8);
      sum += std::sin(double(i) * w) * std::sin(double(j) * w) + std::cos(double(i) * w) * std::cos(double(j) * w);
    }
    return sum - 4;
  });
  Tensor const rate = tensor(std::vector<double>{4, 8}, {heads, 1, 1});
  CHECK(c.from(c.softmax_of(c.scores + bias / rate)) < 1e-12);
}

TEST_CASE("fire: a network of the share of the context") {
  Case c("fire:hidden=4,threshold=3");
  auto const of = [&](char const* name) { return named(*c.layer, name).to_vector<double>(); };
  auto const w1 = of("weight1"), b1 = of("bias1"), w2 = of("weight2");
  double const scale = of("scale")[0];
  std::vector<Tensor> bias;
  for (size_t h = 0; h < size_t(heads); ++h)
    bias.push_back(by_pair([&](int64_t i, int64_t j) {
      double const x = std::log(1 + scale * double(std::abs(i - j))) / std::log(1 + scale * std::max(double(i), 3.));
      double sum = 0;
      for (size_t u = 0; u < 4; ++u) sum += w2[h * 4 + u] * std::max(w1[u] * x + b1[u], 0.);
      return sum;
    }));
  CHECK(c.from(c.softmax_of(c.scores + stack(bias, 0))) < 1e-12);
}

TEST_CASE("log-cpb: a network of the logarithms of differences") {
  for (int64_t const columns : {int64_t{0}, int64_t{3}}) {
    Case c(fmt::format("log-cpb:hidden=5,width={}", columns), false);
    auto const squeezed = [](int64_t d) {
      return (d < 0 ? -1 : 1) * std::log2(1 + std::abs(double(d))) / std::log2(8.);
    };
    int64_t const w = columns ? columns : length;
    Tensor const rows = by_pair([&](int64_t i, int64_t j) { return squeezed(i / w - j / w); });
    Tensor const others = by_pair([&](int64_t i, int64_t j) { return squeezed(i % w - j % w); });
    Tensor const hidden =
        relu(linear(stack({rows, others}, 2), named(*c.layer, "fc.weight"), named(*c.layer, "fc.bias")));
    Tensor const bias = 16. * sigmoid(linear(hidden, named(*c.layer, "log-cpb.proj.weight")));
    CHECK(c.from(softmax(c.scores + bias.permute({2, 0, 1}))) < 1e-12);
  }
}

TEST_CASE("deberta: three products gathered for every pair") {
  for (bool const causal : {true, false}) {
    Case c("deberta:reach=2", causal);
    std::vector<Tensor> more;
    for (int64_t h = 0; h < heads; ++h) {
      Tensor const k = gathered(named(*c.layer, "keys").select(0, h), [](int64_t i, int64_t j) { return i - j + 2; });
      Tensor const q =
          gathered(named(*c.layer, "queries").select(0, h), [](int64_t i, int64_t j) { return j - i + 2; });
      more.push_back(einsum("bid,ijd->bij", {c.q.select(1, h), k}) + einsum("bjd,ijd->bij", {c.k.select(1, h), q}));
    }
    Tensor const s = matmul(c.q, c.k.transpose(2, 3)) + stack(more, 1);
    CHECK(c.from(c.softmax_of(s / std::sqrt(3. * width))) < 1e-12);
  }
}

TEST_CASE("cope: open gates count i − j + 1; others by a loop") {
  Case c("cope:most=5");
  Tensor const e = named(*c.layer, "cope.weight");
  auto const s = c.scores.to_vector<double>();
  Tensor const at = matmul(c.q, e);
  auto const of = at.to_vector<double>();
  std::vector<double> bias(s.size());
  for (int64_t row = 0; row < batch * heads * length; ++row) {
    double p = 0;
    for (int64_t j = row % length; j >= 0; --j) {
      p += 1 / (1 + std::exp(-s[size_t(row * length + j)]));
      double const most = std::min(p, 5.), below = std::floor(most), above = std::ceil(most);
      bias[size_t(row * length + j)] = of[size_t(row * 6 + int64_t(below))] * (1 - (most - below)) +
                                       of[size_t(row * 6 + int64_t(above))] * (most - below);
    }
  }
  CHECK(c.from(c.softmax_of(c.scores + tensor(bias, {batch, heads, length, length}))) < 1e-12);

  // Queries and keys of one large feature that does not change: gates of 1.
  Case open("cope:most=5");
  Tensor weight = zeros({dim, dim}, Dtype::f64);
  weight.select(1, 0).fill_(7.);
  open.set("q_proj.weight", weight);
  open.set("k_proj.weight", weight);
  open.x.select(2, 0).fill_(1.);
  Tensor const v = nn::split_heads(linear(open.x, named(*open.layer, "v_proj.weight")), heads);
  Tensor const q = full({batch, heads, length, width}, 7., Dtype::f64);
  Tensor const vectors =
      gathered(named(*open.layer, "cope.weight").t(), [](int64_t i, int64_t j) { return i - j + 1; });
  Tensor const counted = open.softmax_of(einsum("bhid,ijd->bhij", {q, vectors}));
  CHECK(difference(open(), nn::join_heads(matmul(counted, v))) < 1e-9);
}
