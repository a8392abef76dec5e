// Norms by their catalogue: gradients, types, state and bad input of every row; identities; placements and residuals.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/conv.h>
#include <heed/nn/nn.h>
#include <heed/nn/norm/catalogue.h>
#include <heed/nn/norm/channels.h>
#include <heed/nn/norm/conditional.h>
#include <heed/nn/norm/features.h>
#include <heed/nn/norm/series.h>
#include <heed/nn/norm/weights.h>
#include <heed/tests/support/gradcheck.h>

#include <cmath>
#include <set>

using namespace heed;
using test::numbers;

namespace {

constexpr int64_t channels = 6;

/// What a row takes, with C = `c`.
Shape shape_of(nn::NormRow const& row, int64_t c = channels) {
  if (row.axes == "[.., C]") return {2, 3, c};
  if (row.axes == "[N, C, ..]") return {4, c, 3, 2};
  if (row.axes == "[B, T, C]") return {3, 5, c};
  if (row.axes == "[C, ..]") return {c, 4, 2};
  FAIL("axes that no test knows: ", std::string(row.axes));
  return {};
}

/// The row's norm in f64, evaluating, with parameters that are no special case, and statistics of two batches.
std::unique_ptr<nn::Norm> norm_of(nn::NormRow const& row, std::string const& settings = "") {
  seed(3);
  auto norm = nn::make_norm(std::string(row.name).append(settings), channels);
  nn::to(*norm, Dtype::f64);
  nn::bind_paths(*norm);
  uint32_t key = 40;
  {
    NoGrad const off;
    for (Tensor p : nn::parameters(*norm)) p.copy_(p + numbers(p.shape(), key++) * 0.3);
  }
  for (uint32_t i : {1, 2}) (*norm)(numbers(shape_of(row), i) * 2.0 + 0.5);
  nn::eval(*norm);
  return norm;
}

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  double const d = max(abs(a.detach().to(Dtype::f64) - b.detach().to(Dtype::f64))).item();
  return d >= 0 ? d : INFINITY;
}

bool throws(std::function<void()> const& f) {
  try {
    f();
  } catch (Error const& e) {
    CHECK(!e.problem().empty());
    CHECK(!e.remedy().empty());
    return true;
  }
  return false;
}

template <class N>
std::unique_ptr<N> made(std::string_view text, int64_t c = channels) {
  auto norm = nn::make_norm(text, c);
  nn::to(*norm, Dtype::f64);
  return std::unique_ptr<N>(dynamic_cast<N*>(norm.release()));
}

}  // namespace

TEST_CASE("norms: rows have unique names, sources, families, and settings with defaults that are accepted") {
  std::set<std::string_view> names, families{"features", "heads", "channels", "series", "weights", "conditional"};
  for (auto const& row : nn::norms()) {
    INFO(std::string(row.name));
    CHECK(int(names.insert(row.name).second) == 1);
    CHECK(families.contains(row.family));
    CHECK(!row.source.empty());
    CHECK(!row.summary.empty());
  }
  MESSAGE(nn::norms().size(), " norms, ", nn::placements().size(), " placements, ", nn::residuals().size(),
          " residuals");
}

TEST_CASE("norms: the gradient of every row by its operand and by its parameters; the operand's shape comes back") {
  for (auto const& row : nn::norms()) {
    INFO(std::string(row.name));
    auto const norm = norm_of(row);
    Tensor x = numbers(shape_of(row), 9) * 2.0;
    CHECK((*norm)(x).shape() == x.shape());
    CHECK(test::gradcheck([&](std::vector<Tensor> const& at) { return std::vector<Tensor>{(*norm)(at[0])}; },
                          {x.clone().requires_grad_()}) == "");
    // Parameters: backward() against differences of Σ cotangent·y.
    Tensor const cotangent = numbers(x.shape(), 11);
    if (nn::parameters(*norm).empty()) continue;
    nn::zero_grad(*norm);
    sum((*norm)(x)*cotangent).backward();
    for (auto& p : nn::named_parameters(*norm)) {
      INFO(p.name);
      REQUIRE(p.tensor.grad().defined());
      for (int64_t i = 0; i < std::min<int64_t>(p.tensor.numel(), 7); ++i) {
        auto const at = [&](double by) {
          double* const element = p.tensor.data<double>() + i;
          double const before = *element;
          *element += by;
          double const value = sum((*norm)(x)*cotangent).item();
          *element = before;
          return value;
        };
        double const numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
        CHECK(p.tensor.grad().to_vector<double>()[size_t(i)] == doctest::Approx(numeric).epsilon(1e-6).scale(1));
      }
    }
  }
}

TEST_CASE("norms: f32 and bf16 stay what they are and give what f64 gives; state is saved and loaded") {
  for (auto const& row : nn::norms()) {
    INFO(std::string(row.name));
    auto const norm = norm_of(row);
    Tensor const x = numbers(shape_of(row), 9) * 2.0, want = (*norm)(x);
    auto const again = nn::make_norm(row.name, channels);
    nn::load_state_dict(*again, nn::state_dict(*norm));
    nn::eval(*again);
    for (auto const& [dtype, tolerance] : {std::pair(Dtype::f32, 2e-5), std::pair(Dtype::bf16, 0.06)}) {
      INFO("type ", std::string(name(dtype)));
      nn::to(*again, dtype);
      Tensor const y = (*again)(x.to(dtype));
      CHECK((y.dtype() == dtype || (row.family == "channels" && y.dtype() == Dtype::f32)));
      CHECK(difference(y, want) < tolerance * (1 + max(abs(want)).item()));
    }
    nn::to(*again, Dtype::f64);
  }
}

TEST_CASE("norms: another number of features, no features, unknown settings are Errors") {
  for (auto const& row : nn::norms()) {
    INFO(std::string(row.name));
    auto const norm = norm_of(row);
    int64_t known = 0;  // of what the norm keeps for each feature
    for (auto const& [name, tensor] : nn::state_dict(*norm)) known += tensor.rank();
    if (known > 0) CHECK(throws([&] { (*norm)(numbers(shape_of(row, channels + 1), 1)); }));
    if (row.name != "none") CHECK(throws([&] { (*norm)(Tensor()); }));
    CHECK(throws([&] { nn::make_norm(row.name, 0); }));
    CHECK(throws([&] { nn::make_norm(std::string(row.name).append(":no_such_setting=1"), 4); }));
  }
  CHECK_THROWS_WITH_AS(nn::make_norm("layernorm", 4), doctest::Contains("layer-norm"), Error);
  CHECK(throws([] { nn::make_norm("qk-norm:kind=l3", 4); }));
  CHECK(throws([] { nn::make_norm("group-norm:groups=4", 6); }));
}

TEST_CASE("norms: identities of features and heads") {
  Tensor const x = numbers({5, 8}, 1) * 3.0, centred = x - mean(x, {1}, true);
  auto const rms = made<nn::RMSNorm>("rms-norm:eps=1e-5", 8);
  auto const layer = made<nn::LayerNorm>("layer-norm", 8);
  CHECK(difference((*rms)(centred), (*layer)(centred)) < 1e-14);
  CHECK(difference((*layer)(x), (*layer)(centred)) < 1e-13);
  CHECK(difference(mean((*layer)(x), {1}), zeros({5}, Dtype::f64)) < 1e-15);

  auto const scale = made<nn::ScaleNorm>("scale-norm", 8);
  CHECK(difference(vector_norm((*scale)(x), 2, {1}), full({5}, std::sqrt(8.0), Dtype::f64)) < 1e-6);
  auto const unit = made<nn::UnitNorm>("unit-norm", 8);
  CHECK(difference(vector_norm((*unit)(x), 2, {1}), ones({5}, Dtype::f64)) < 1e-14);
  CHECK(difference((*unit)(x * 7.0), (*unit)(x)) < 1e-14);
  auto const tanh_norm = made<nn::DynamicTanh>("dynamic-tanh:alpha=1e-4", 8);
  CHECK(difference((*tanh_norm)(x), x * 1e-4) < 1e-10);

  // The factor 1 + w: w = 0 is RMS norm's start, and 16-bit weights keep what 1 + w would lose.
  auto const offset = made<nn::RMSNorm>("rms-norm:eps=1e-5,unit_offset=true", 8);
  CHECK(difference((*offset)(x), (*rms)(x)) == 0);
  nn::to(*offset, Dtype::bf16);
  nn::init::constant_(offset->weight, 0x1p-10);
  Tensor const y = (*offset)(x.to(Dtype::f32));
  CHECK(max(abs(y / rms_norm(x.to(Dtype::f32), {}, 1e-5) - (1 + 0x1p-10))).item() < 1e-6);

  for (char const* kind : {"l2", "rms"}) {
    INFO(kind);
    auto const qk = made<nn::QKNorm>(std::string("qk-norm:eps=1e-30,kind=").append(kind), 8);
    Tensor const q = numbers({2, 3, 5, 8}, 2), k = numbers({2, 3, 5, 8}, 3);
    CHECK(difference((*qk)(q * 1000.0), (*qk)(q)) < 1e-12);
    // Scores q·k/√D of normed queries and keys are bounded by √D.
    CHECK(max(abs(matmul((*qk)(q * 100.0), (*qk)(k * 100.0).t()))).item() / std::sqrt(8.0) <= std::sqrt(8.0) + 1e-12);
  }
}

TEST_CASE("norms: identities of channels") {
  Tensor const x = numbers({4, 6, 3, 2}, 1) * 2.0 + 0.3;
  auto const group = [&](int64_t groups) {
    return (*made<nn::GroupNorm>(std::string("group-norm:groups=").append(std::to_string(groups))))(x);
  };
  CHECK(difference(group(1), layer_norm(x, Shape{6, 3, 2}, {}, {}, 1e-5)) < 1e-13);
  auto const instance = made<nn::Norm>("instance-norm");
  CHECK(difference(group(6), (*instance)(x)) == 0);
  nn::InstanceNorm2d const reference({.channels = 6, .affine = false, .track_running_stats = false});
  CHECK(difference((*instance)(x), reference(x)) < 1e-13);

  auto const batch = made<nn::BatchNorm>("batch-norm");
  auto const renorm = made<nn::BatchRenorm>("batch-renorm:r_max=1,d_max=0");
  CHECK(difference((*renorm)(x), (*batch)(x)) < 1e-14);
  CHECK(difference(renorm->running_var, batch->running_var) == 0);
  // Wide limits: training gives what evaluation gives with the statistics from before.
  auto const wide = made<nn::BatchRenorm>("batch-renorm:r_max=1e9,d_max=1e9");
  (*wide)(x * 1.5 - 1);
  nn::BatchNorm frozen({.channels = 6}, 2, 5);
  nn::to(frozen, Dtype::f64);
  nn::load_state_dict(frozen, nn::state_dict(*wide));
  nn::eval(frozen);
  CHECK(difference((*wide)(x), frozen(x)) < 1e-12);
  nn::eval(*wide);

  auto const energy = made<nn::GlobalResponseNorm>("global-response-norm");
  CHECK(difference((*energy)(x), x) == 0);
  auto const filter = made<nn::FilterResponseNorm>("filter-response-norm:eps=1e-30");
  nn::init::constant_(filter->tau, -1e9);
  CHECK(difference(mean(square((*filter)(x)), {2, 3}), ones({4, 6}, Dtype::f64)) < 1e-13);
  nn::init::constant_(filter->tau, 0.5);
  CHECK(min((*filter)(x)).item() == 0.5);
  auto const evo = made<nn::EvoNormS0>("evo-norm:groups=6");
  nn::init::constant_(evo->v, 0);
  CHECK(difference((*evo)(x), x * 0.5 / sqrt(var(x, {2, 3}, 0, true) + 1e-5)) < 1e-13);
  auto const local = made<nn::LocalResponseNorm>("local-response-norm:alpha=0");
  CHECK(difference((*local)(x), x) < 1e-15);
}

TEST_CASE("norms: EvoNorm-B0 divides by the larger of two deviations; its running variance is batch norm's") {
  auto norm = nn::make_norm("evo-norm:kind=b0", 3);
  nn::to(*norm, Dtype::f64);
  nn::bind_paths(*norm);
  auto& evo = dynamic_cast<nn::EvoNormB0&>(*norm);
  Tensor const x = numbers({4, 3, 5, 2}, 1) * 2.0 + 0.5;
  auto const expected = [&](Tensor const& variance) {
    Tensor const own = sqrt(var(x, {2, 3}, 0, true) + 1e-5),
                 all = sqrt(variance.reshape({1, 3, 1, 1}) + 1e-5).expand({4, 3, 1, 1});
    return x / maximum(all, x * evo.v.reshape({3, 1, 1}) + own);
  };
  CHECK(difference((*norm)(x), expected(var(x, {0, 2, 3}, 0))) < 1e-13);
  nn::BatchNorm batch({.channels = 3}, 2, 5);
  nn::to(batch, Dtype::f64);
  batch(x);
  CHECK(difference(evo.running_var, batch.running_var) < 1e-13);
  nn::eval(*norm);
  CHECK(difference((*norm)(x), expected(evo.running_var)) < 1e-13);
  {  // v = 0: each sample's own deviation, or the batch's, alone
    NoGrad const off;
    evo.v.copy_(zeros({3}, Dtype::f64));
    CHECK(difference((*norm)(x), expected(evo.running_var)) < 1e-13);
  }
  nn::train(*norm);
  Tensor leaf = x.clone().requires_grad_();
  CHECK(test::gradcheck([&](std::vector<Tensor> const& in) { return std::vector<Tensor>{(*norm)(in[0])}; }, {leaf}) ==
        "");
  CHECK(throws([] { nn::make_norm("evo-norm:kind=c0", 3); }));
}

TEST_CASE("norms: batch norm folds into the layer before it") {
  seed(5);
  nn::Linear linear(5, 6);
  nn::Conv2d conv({.in = 3, .out = 6, .kernel = 2, .bias = false});
  nn::BatchNorm norm({.channels = 6}, 2, 5);
  for (nn::Module* module :
       {static_cast<nn::Module*>(&linear), static_cast<nn::Module*>(&conv), static_cast<nn::Module*>(&norm)})
    nn::to(*module, Dtype::f64);
  for (uint32_t i = 0; i < 5; ++i) norm(numbers({7, 6}, i) * 2.0 + 1);
  nn::init::normal_(norm.weight, 0.5, 1);
  nn::init::normal_(norm.bias, 0.5);
  nn::eval(norm);
  Tensor const x = numbers({9, 5}, 20), image = numbers({2, 3, 4, 4}, 21);
  auto const [w, b] = nn::folded(linear.weight, linear.bias, norm);
  CHECK(difference(heed::linear(x, w, b), norm(linear(x))) < 1e-13);
  auto const [kernel, bias] = nn::folded(conv.weight, conv.bias, norm);
  CHECK(difference(conv2d(image, kernel, bias), norm(conv(image))) < 1e-13);
  nn::BatchNorm plain({.channels = 6, .affine = false}, 2, 5);
  nn::to(plain, Dtype::f64);
  nn::eval(plain);
  auto const [same, none] = nn::folded(linear.weight, {}, plain);
  CHECK(difference(same, linear.weight / std::sqrt(1 + 1e-5)) < 1e-15);
  CHECK(max(abs(none)).item() == 0);
  CHECK(throws([&] { nn::folded(zeros({5, 5}), {}, norm); }));
}

TEST_CASE("norms: identities of series, conditions and weights") {
  Tensor const x = numbers({3, 7, 6}, 1) * 4.0 + 2;
  auto const series = made<nn::RevIN>("rev-in");
  nn::init::normal_(series->weight, 0.2, 1);
  nn::init::normal_(series->bias, 0.2);
  auto const of = series->statistics(x);
  CHECK(difference(series->denormalize(series->normalize(x, of), of), x) < 1e-13);
  auto const plain = made<nn::RevIN>("rev-in:affine=false");
  CHECK(difference(mean((*plain)(x), {1}), zeros({3, 6}, Dtype::f64)) < 1e-14);
  CHECK(difference((*plain)(x + 100), (*plain)(x)) < 1e-11);

  auto const ada = made<nn::AdaLNZero>("ada-ln-zero:condition=4");
  Tensor const condition = numbers({3, 4}, 2);
  auto const branch = [](Tensor const& t) { return t * 3.0 + 1; };
  CHECK(difference(ada->residual(x, condition, branch), x) == 0);
  nn::init::normal_(ada->linear.weight, 0.5);
  auto const by = ada->modulation(condition);
  CHECK(difference(ada->residual(x, condition, branch),
                   x + by.gate * branch(layer_norm(x, {}, {}, 1e-6) * (1 + by.scale) + by.shift)) < 1e-14);
  CHECK(throws([&] { ada->modulation(numbers({3, 5}, 1)); }));

  Tensor const w = numbers({6, 9}, 3);
  auto const spectral = made<nn::SpectralNorm>("spectral-norm:steps=200");
  CHECK(max(svdvals((*spectral)(w))).item() == doctest::Approx(1).epsilon(1e-12));
  auto const slow = made<nn::SpectralNorm>("spectral-norm");
  for (int i = 0; i < 300; ++i) (*slow)(w);  // one step a pass
  CHECK(max(svdvals((*slow)(w))).item() == doctest::Approx(1).epsilon(1e-9));
  Tensor const before = slow->u.clone();
  nn::eval(*slow);
  (*slow)(w);
  CHECK(difference(slow->u, before) == 0);
  nn::WeightNorm const weight(w);
  CHECK(difference(weight(w), w) < 1e-15);
  CHECK(difference(vector_norm((*made<nn::WeightNorm>("weight-norm"))(w * 5.0), 2, {1}), ones({6}, Dtype::f64)) <
        1e-14);
  Tensor const standard = (*made<nn::WeightStandardization>("weight-standardization"))(w);
  CHECK(difference(mean(standard, {1}), zeros({6}, Dtype::f64)) < 1e-15);
}

namespace {

nn::GPTConfig small(std::string norm, std::string placement, std::string residual) {
  return {.vocabulary = 11,
          .layers = 2,
          .heads = 2,
          .dim = 8,
          .block = 8,
          .bias = true,
          .norm = std::move(norm),
          .placement = std::move(placement),
          .residual = std::move(residual)};
}

nn::GPT model_of(nn::GPTConfig const& config) {
  seed(7);
  nn::GPT model(config);
  for (Tensor p : nn::parameters(model))
    if (p.rank() >= 2) nn::init::normal_(p, 0.4);
  nn::to(model, Dtype::f64);
  return model;
}

Tensor some_tokens() {
  Generator generator(5);
  return randint(0, 11, {2, 7}, generator);
}

}  // namespace

TEST_CASE("placements and residuals: every combination trains all its parameters, and decodes step by step") {
  Tensor const tokens = some_tokens();
  for (auto const& placement : nn::placements())
    for (auto const& residual : nn::residuals())
      for (char const* norm : {"layer-norm", "rms-norm", "scale-norm", "unit-norm", "dynamic-tanh", "none"}) {
        INFO(std::string(placement.name), ", ", std::string(residual.name), ", ", norm);
        nn::GPTConfig config = small(norm, std::string(placement.name), std::string(residual.name));
        if ((residual.name == "deepnorm" || residual.name == "admin") && placement.name != "post") {
          CHECK(throws([&] { nn::GPT model(config); }));
          continue;
        }
        nn::GPT model = model_of(config);
        if (residual.name == "rezero")
          for (auto const& p : nn::named_parameters(model))
            if (p.name.find("scale") != p.name.npos) nn::init::constant_(const_cast<Tensor&>(p.tensor), 0.5);
        Tensor const logits = model(tokens);
        cross_entropy(logits, tokens).backward();
        for (auto const& p : nn::named_parameters(model)) {
          INFO(p.name);
          REQUIRE(p.tensor.grad().defined());
          CHECK(isfinite(sum(abs(p.tensor.grad()))).item() == 1);
        }
        nn::eval(model);
        NoGrad const off;
        auto cache = model.make_cache(8);
        std::vector<Tensor> steps;
        for (int64_t t = 0; t < 7; ++t)
          steps.push_back(model(tokens.slice(1, t, t + 1), nn::GPTContext{.cache = &cache}));
        CHECK(difference(cat(steps, 1), model(tokens)) < 1e-11);
      }
}

TEST_CASE("placements: the formulas") {
  Tensor const x = numbers({2, 5, 8}, 1);
  for (auto const& placement : nn::placements()) {
    INFO(std::string(placement.name));
    nn::GPT const model = model_of(small("layer-norm", std::string(placement.name), "plain"));
    nn::Block const& block = *model.blocks[0];
    auto const norm = [](Tensor const& t) { return layer_norm(t, ones({8}, Dtype::f64), zeros({8}, Dtype::f64)); };
    auto const branch = [&](Tensor const& in, auto const& f) {
      if (placement.name == "pre") return in + f(norm(in));
      if (placement.name == "post") return norm(in + f(in));
      if (placement.name == "output") return in + norm(f(in));
      return in + norm(f(norm(in)));
    };
    Tensor const y = branch(x, [&](Tensor const& t) { return (*block.attn)(t); });
    CHECK(difference(block(x), branch(y, [&](Tensor const& t) { return block.mlp(t); })) < 1e-13);
    CHECK(bool(model.norm) == (placement.name != "post"));
    CHECK(bool(model.embedding_norm) == (placement.name == "peri"));
  }
}

TEST_CASE("residuals: LayerScale of 0, ReZero and a shut gate are the identity, DeepNorm is norm(α·x + f(x))") {
  Tensor const x = numbers({2, 5, 8}, 1);
  for (char const* residual : {"layer-scale:init=0", "rezero", "gru-gate:start=1e9"})
    for (char const* placement : {"pre", "sandwich", "peri", "output"}) {
      INFO(residual, ", ", placement);
      nn::GPT const model = model_of(small("rms-norm", placement, residual));
      for (auto const& block : model.blocks) CHECK(difference((*block)(x), x) == 0);
    }
  nn::GPT const scaled = model_of(small("layer-norm", "pre", "layer-scale:init=0.1"));
  nn::Block const& first = *scaled.blocks[0];
  Tensor const half = x + (*first.attn)(first.around_attn.before(x)) * 0.1;
  CHECK(difference(first(x), half + first.mlp(first.around_mlp.before(half)) * 0.1) < 1e-8);  // 0.1 was an f32

  // With its start, as the model's settings name both.
  nn::GPTConfig config = small("layer-norm", "post", "deepnorm");
  config.init = "deepnet";
  CHECK(std::isfinite(sum(nn::GPT(config)(some_tokens())).item()));
  nn::GPT const deep = model_of(small("layer-norm", "post", "deepnorm"));
  nn::Block const& block = *deep.blocks[1];
  double const alpha = std::pow(4.0, 0.25);
  auto const norm = [](Tensor const& t) { return layer_norm(t); };
  Tensor const y = norm(x * alpha + (*block.attn)(x));
  CHECK(difference(block(x), norm(y * alpha + block.mlp(y))) < 1e-13);
}

TEST_CASE("placements: names that are nearly right, and norms that are not of features") {
  auto const text_of = [](nn::GPTConfig const& config) -> std::string {
    try {
      nn::GPT model(config);
    } catch (Error const& e) {
      return e.what();
    }
    return "";
  };
  CHECK(text_of(small("layer-norm", "prae", "plain")).find("pre") != std::string::npos);
  CHECK(text_of(small("layer-norm", "pre", "layerscale")).find("layer-scale") != std::string::npos);
  CHECK(text_of(small("batch-norm", "pre", "plain")).find("channels") != std::string::npos);
  CHECK(text_of(small("layer-norm", "pre", "deepnorm")).find("placement=post") != std::string::npos);
}
