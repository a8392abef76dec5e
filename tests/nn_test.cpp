// Modules: state, strictness, paths, training mode; attention and GPT: caches, causality, generation; the measures.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/op_case.h>
#include <heed/tests/support/skip.h>

#include <algorithm>
#include <cmath>
#include <thread>

using namespace heed;
using test::error_of;
using test::same_bits;

namespace {

nn::GPTConfig small() { return {.vocabulary = 11, .layers = 2, .heads = 4, .dim = 16, .block = 8}; }
nn::GPTConfig small_rotary() {
  nn::GPTConfig config = small();
  config.kv_heads = 2;
  config.position = "rope";
  config.bias = true;
  config.tied = false;
  return config;
}

nn::Linear& projection(nn::GPT& model, size_t block, std::string_view which) {
  auto& layer = dynamic_cast<nn::MultiHeadAttention&>(*model.blocks[block]->attn);
  return which == "q_proj" ? layer.q_proj : which == "k_proj" ? layer.k_proj : layer.out_proj;
}

Tensor some_tokens(int64_t batch, int64_t t, uint64_t key = 5) {
  Generator generator(key);
  return randint(0, 11, {batch, t}, generator);
}

bool contains(std::string const& text, std::string_view part) { return text.find(part) != std::string::npos; }

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  auto const x = a.to_vector<double>(), y = b.to_vector<double>();
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double const d = std::abs(x[i] - y[i]);
    largest = d <= largest ? largest : d;  // keeps NaN
  }
  return largest;
}

Tensor named(nn::Module& model, std::string_view name) {
  for (auto const& parameter : nn::named_parameters(model))
    if (parameter.name == name) return parameter.tensor;
  return {};
}

std::vector<std::string> names(std::vector<nn::NamedTensor> const& state) {
  std::vector<std::string> list;
  for (auto const& entry : state) list.push_back(entry.name);
  return list;
}

Tensor& gain_of(nn::GPT& model) { return dynamic_cast<nn::LayerNorm&>(*model.norm).weight; }

/// Larger weights than a fresh model's, so that attention is far from uniform.
nn::GPT model_of(nn::GPTConfig const& config, Dtype dtype = Dtype::f64) {
  seed(7);
  nn::GPT model(config);
  for (Tensor p : nn::parameters(model))
    if (p.rank() >= 2) nn::init::normal_(p, 0.4);
  nn::to(model, dtype);
  return model;
}

}  // namespace

TEST_CASE("state_dict: PyTorch's leaf names, in order of declaration") {
  nn::GPT plain(small());
  std::vector<std::string> expected{"token_embedding.weight", "position_embedding.weight"};
  for (std::string block : {"blocks.0.", "blocks.1."})
    for (char const* leaf : {"norm1.weight", "attn.q_proj.weight", "attn.k_proj.weight", "attn.v_proj.weight",
                             "attn.out_proj.weight", "norm2.weight", "mlp.fc.weight", "mlp.proj.weight"})
      expected.push_back(block + leaf);
  for (char const* last : {"norm.weight", "head.weight"}) expected.push_back(last);
  CHECK(names(nn::state_dict(plain)) == expected);

  nn::GPT rotary(small_rotary());
  auto const with_biases = names(nn::state_dict(rotary));
  CHECK(with_biases.size() == 1 + 2 * 16 + 3);
  for (std::string name : {"blocks.1.attn.k_proj.bias", "blocks.0.norm2.bias", "norm.bias", "blocks.1.mlp.proj.bias"})
    CHECK(std::count(with_biases.begin(), with_biases.end(), name) == 1);
  for (std::string name : {"position_embedding.weight", "head.bias"})
    CHECK(std::count(with_biases.begin(), with_biases.end(), name) == 0);
}

TEST_CASE("state_dict: load copies values, whatever the order and the floating type") {
  nn::GPT from(small_rotary()), to(small_rotary());
  auto state = nn::state_dict(from);
  std::reverse(state.begin(), state.end());
  for (auto& entry : state) entry.tensor = entry.tensor.detach().to(Dtype::f64);
  Tensor const handle = to.head.weight;
  nn::load_state_dict(to, state);
  auto const a = nn::state_dict(from), b = nn::state_dict(to);
  for (size_t i = 0; i < a.size(); ++i) CHECK(same_bits(a[i].tensor, b[i].tensor));
  CHECK(handle.body() == to.head.weight.body());
  CHECK(to.head.weight.requires_grad());
}

TEST_CASE("state_dict: a state that does not fit is an Error that lists everything, and nothing is written") {
  nn::GPT model(small());
  std::vector<Tensor> before;
  for (Tensor const& p : nn::parameters(model)) before.push_back(p.detach().clone());

  nn::GPT other(small());
  auto state = nn::state_dict(other);
  auto place = [&](std::string_view name) {
    return std::find_if(state.begin(), state.end(), [&](auto const& entry) { return entry.name == name; });
  };
  state.erase(place("blocks.1.mlp.fc.weight"));
  state.erase(place("norm.weight"));
  place("blocks.0.attn.q_proj.weight")->tensor = zeros({16, 15});
  state.push_back({"blocks.2.norm1.weight", zeros({16})});
  std::string const message = error_of([&] { nn::load_state_dict(model, state); });
  for (char const* part : {"missing: blocks.1.mlp.fc.weight, norm.weight", "unknown: blocks.2.norm1.weight",
                           "blocks.0.attn.q_proj.weight (expected [16, 16], got [16, 15])"})
    CHECK_MESSAGE(contains(message, part), message);
  auto const after = nn::parameters(model);
  for (size_t i = 0; i < after.size(); ++i) CHECK(same_bits(before[i], after[i]));
}

TEST_CASE("tie: one tensor, one gradient, two names") {
  nn::GPT tied(small());
  CHECK(tied.head.weight.body() == tied.token_embedding.weight.body());
  CHECK(nn::state_dict(tied).size() == nn::named_parameters(tied).size() + 1);
  nn::GPTConfig config = small();
  config.tied = false;
  nn::GPT untied(config);
  CHECK(nn::count_parameters(untied) == nn::count_parameters(tied) + 11 * 16);

  // The tied gradient is the sum of the untied ones.
  nn::load_state_dict(untied, nn::state_dict(tied));
  for (nn::GPT* model : {&tied, &untied}) {
    nn::to(*model, Dtype::f64);
    cross_entropy((*model)(some_tokens(2, 8)), some_tokens(2, 8, 6)).backward();
  }
  CHECK(difference(tied.head.weight.grad(), untied.head.weight.grad() + untied.token_embedding.weight.grad()) < 1e-15);
  CHECK(contains(error_of([&] { nn::tie(untied.head.weight, gain_of(untied)); }), "one shape"));

  nn::zero_grad(tied);
  for (Tensor const& p : nn::parameters(tied)) CHECK(!p.grad().defined());
}

TEST_CASE("train and eval: the flag reaches every module; dropout is off in eval, on in training") {
  nn::GPTConfig config = small();
  config.dropout = 0.5;
  nn::GPT model = model_of(config, Dtype::f32);
  Tensor const tokens = some_tokens(2, 8);
  CHECK(model.blocks[1]->attn->training());
  seed(1);
  Tensor const a = model(tokens);
  seed(1);
  CHECK(same_bits(a, model(tokens)));
  CHECK(difference(a, model(tokens)) > 1e-3);

  nn::eval(model);
  CHECK(!model.blocks[1]->mlp.fc.training());
  Generator const before = default_generator();
  Tensor const quiet = model(tokens);
  CHECK(same_bits(quiet, model(tokens)));
  CHECK(default_generator().offset() == before.offset());
  config.dropout = 0;
  nn::GPT without(config);
  nn::load_state_dict(without, nn::state_dict(model));
  CHECK(same_bits(quiet, without(tokens)));
  nn::train(model);
  CHECK(model.blocks[0]->mlp.training());
}

TEST_CASE("paths: modules know where they are, and errors say it") {
  nn::GPT model(small());
  CHECK(model.path() == "");
  CHECK(projection(model, 1, "q_proj").path() == "blocks.1.attn.q_proj");
  projection(model, 1, "q_proj").weight = zeros({16, 15});
  try {
    model(some_tokens(1, 4));
    FAIL("no error");
  } catch (Error const& error) {
    CHECK(error.path() == "blocks.1.attn.q_proj");
    CHECK(contains(error.what(), "(blocks.1.attn.q_proj)"));
    CHECK(contains(error.what(), "Remedy: "));
  }
  CHECK(contains(error_of([&] { model(some_tokens(1, 9)); }), "9 positions exceed the block of 8"));
  CHECK(contains(error_of([&] { model(zeros({1, 4})); }), "i64"));
  CHECK(contains(error_of([&] { model(zeros({4}, Dtype::i64)); }), "[B, T]"));
  Tensor const beyond = full({1, 4}, 11, Dtype::i64);
  CHECK(contains(error_of([&] { model(beyond); }), "token_embedding"));

  nn::MLP mlp({.dim = 4, .hidden = 8});
  nn::bind_paths(mlp, "encoder");
  CHECK(mlp.fc.path() == "encoder.fc");
}

TEST_CASE("configurations that make no model are errors") {
  auto gpt = [](auto change) {
    nn::GPTConfig config = small();
    change(config);
    return error_of([&] { nn::GPT model(config); });
  };
  CHECK(contains(gpt([](auto& c) { c.heads = 3; }), "heads that divide the width, got 3 heads and width 16"));
  CHECK(contains(gpt([](auto& c) { c.kv_heads = 3; }), "key heads that divide the heads, got 3 and 4"));
  CHECK(contains(gpt([](auto& c) {
                   c.dim = 12;
                   c.position = "rope";
                 }),
                 "even head width, got 3"));
  CHECK(contains(gpt([](auto& c) { c.layers = 0; }), "layers of 1 or more, got 0"));
  CHECK(contains(gpt([](auto& c) { c.vocabulary = -1; }), "vocabulary"));
  CHECK(contains(gpt([](auto& c) { c.block = 0; }), "block"));
  CHECK(contains(gpt([](auto& c) { c.dim = 0; }), "dim"));
  CHECK(contains(gpt([](auto& c) { c.heads = 0; }), "heads"));
  CHECK(contains(gpt([](auto& c) { c.kv_heads = -2; }), "-2"));
  CHECK(contains(gpt([](auto& c) { c.dropout = 1; }), "dropout"));
  CHECK(contains(gpt([](auto& c) { c.dropout = -0.1; }), "dropout"));
  CHECK(contains(gpt([](auto& c) { c.hidden = -1; }), "hidden"));
  CHECK(contains(gpt([](auto& c) { c.activation = "swish"; }), "gelu, gelu_tanh, relu, silu"));
  CHECK(contains(error_of([] { nn::Linear(0, 3); }), "positive widths, got 0 and 3"));
  CHECK(contains(error_of([] { nn::Embedding(3, 0); }), "got 3 and 0"));
  CHECK(contains(error_of([] { nn::make_attention("sliding:window=-1", {.dim = 8, .heads = 2}); }), "window"));
}

TEST_CASE("configuration: visit() names every field") {
  struct Names : nn::ConfigVisitor {
    std::vector<std::string> list;
    void field(std::string_view name, int64_t&, std::string_view help) override { add(name, help); }
    void field(std::string_view name, double&, std::string_view help) override { add(name, help); }
    void field(std::string_view name, bool&, std::string_view help) override { add(name, help); }
    void field(std::string_view name, std::string&, std::string_view help) override { add(name, help); }
    void add(std::string_view name, std::string_view help) {
      CHECK(!help.empty());
      list.emplace_back(name);
    }
  } visitor;
  nn::GPTConfig config;
  config.visit(visitor);
  CHECK(visitor.list == std::vector<std::string>{"vocabulary", "layers", "heads", "kv_heads", "dim", "block", "hidden",
                                                 "activation", "bias", "tied", "attention", "position", "causal",
                                                 "norm", "placement", "residual", "init", "dropout", "checkpoint"});
}

TEST_CASE("initial weights: the stated deviations; biases start at zero") {
  seed(3);
  nn::GPT model({.vocabulary = 65, .layers = 8, .heads = 4, .dim = 64, .block = 32, .bias = true});
  auto deviation = [](Tensor const& w) { return std::sqrt(mean(square(w.detach())).item()); };
  CHECK(deviation(model.token_embedding.weight) == doctest::Approx(0.02).epsilon(0.05));
  CHECK(deviation(model.blocks[3]->mlp.fc.weight) == doctest::Approx(0.02).epsilon(0.05));
  CHECK(deviation(projection(model, 3, "out_proj").weight) == doctest::Approx(0.02 / 4).epsilon(0.05));
  CHECK(deviation(model.blocks[7]->mlp.proj.weight) == doctest::Approx(0.02 / 4).epsilon(0.05));
  CHECK(deviation(projection(model, 7, "k_proj").bias) == 0);
  CHECK(difference(gain_of(model), ones({64})) == 0);

  Tensor w = empty({50, 200});
  nn::init::xavier_uniform_(w);
  CHECK(amax(abs(w), {0, 1}).item() <= std::sqrt(6.0 / 250) + 1e-7);
  CHECK(deviation(w) == doctest::Approx(std::sqrt(2.0 / 250)).epsilon(0.05));
  nn::init::kaiming_uniform_(w, std::sqrt(2.0));
  CHECK(deviation(w) == doctest::Approx(std::sqrt(2.0 / 200)).epsilon(0.05));
  nn::init::normal_(w, 3, 5);
  CHECK(mean(w).item() == doctest::Approx(5).epsilon(0.05));
}

TEST_CASE("to: converts in place, handles stay valid, tied tensors stay tied") {
  nn::GPT model(small());
  Tensor const handle = model.token_embedding.weight;
  Tensor const before = handle.detach().clone();
  cross_entropy(model(some_tokens(1, 8)), some_tokens(1, 8)).backward();
  nn::to(model, Dtype::f64);
  CHECK(handle.dtype() == Dtype::f64);
  CHECK(model.head.weight.body() == handle.body());
  CHECK(!handle.grad().defined());
  CHECK(handle.requires_grad());
  CHECK(difference(handle, before) == 0);
  CHECK(model(some_tokens(1, 8)).dtype() == Dtype::f64);
}

TEST_CASE("cache: step by step is the full pass, for learned and rotary positions, grouped keys and a window") {
  NoGrad const off;
  for (auto const& config : {small(), small_rotary()})
    for (int64_t piece : {1, 3}) {
      nn::GPT const model = model_of(config);
      Tensor const tokens = some_tokens(3, 8);
      Tensor const whole = model(tokens);
      nn::GPTCache cache = model.make_cache(8);
      std::vector<Tensor> parts;
      for (int64_t from = 0; from < 8; from += piece)
        parts.push_back(
            model(tokens.slice(1, from, std::min(from + piece, int64_t{8})), nn::GPTContext{.cache = &cache}));
      CHECK(cache.layers[1]->length == 8);
      CHECK(difference(cat(parts, 1), whole) < 1e-12);
      CHECK(!error_of([&] { model(tokens.slice(1, 0, 1), nn::GPTContext{.cache = &cache}); }).empty());
    }

  auto const attention = nn::make_attention("sliding:window=2+rope", {.dim = 8, .heads = 2});
  nn::to(*attention, Dtype::f64);
  Tensor const x = randn({2, 7, 8}, Dtype::f64);
  auto const cache = attention->make_state(7);
  std::vector<Tensor> parts;
  for (int64_t i = 0; i < 7; ++i)
    parts.push_back((*attention)(x.slice(1, i, i + 1), nn::AttentionContext{.state = cache.get()}));
  CHECK(difference(cat(parts, 1), (*attention)(x)) < 1e-12);
}

TEST_CASE("cache: what does not fit or carries gradients is an Error, and the cache stays as it was") {
  nn::KeyValueCache cache(4);
  cache.append(ones({1, 2, 3, 4}), ones({1, 2, 3, 4}));
  CHECK(contains(error_of([&] {
                   cache.append(ones({1, 2, 2, 4}), ones({1, 2, 2, 4}));
                 }),
                 "3 positions are filled and 2 more"));
  Tensor k = ones({1, 2, 1, 4});
  k.requires_grad_();
  CHECK(!error_of([&] { cache.append(k, k); }).empty());
  CHECK(cache.length == 3);
}

TEST_CASE("causality: the gradient of output i with respect to input j > i is zero, and before it is not") {
  for (int64_t kv_heads : {4, 1})
    for (bool rotary : {false, true}) {
      nn::Block block(
          nn::make_attention(rotary ? "multi-head+rope" : "multi-head", {.dim = 16, .heads = 4, .kv_heads = kv_heads}),
          {.dim = 16, .hidden = 32}, {.dim = 16, .bias = true});
      nn::to(block, Dtype::f64);
      for (int64_t i = 0; i < 6; ++i) {
        Tensor x = randn({2, 6, 16}, Dtype::f64);
        x.requires_grad_();
        sum(square(block(x).select(1, i))).backward();
        for (int64_t j = 0; j < 6; ++j) {
          double const largest = amax(abs(x.grad().select(1, j)), {0, 1}).item();
          INFO("output ", i, " input ", j);
          if (j > i)
            CHECK(largest == 0);
          else
            CHECK(largest > 0);
        }
      }
    }

  // Later tokens do not change earlier logits by a bit.
  nn::GPT const model = model_of(small_rotary(), Dtype::f32);
  Tensor const a = some_tokens(2, 8), b = a.clone();
  for (int64_t r = 0; r < 2; ++r) b.data<int64_t>()[r * 8 + 5] = (a.at(r, 5).item<int64_t>() + 1) % 11;
  Tensor const x = model(a), y = model(b);
  CHECK(same_bits(x.slice(1, 0, 5), y.slice(1, 0, 5)));
  CHECK(difference(x.slice(1, 5, 6), y.slice(1, 5, 6)) > 1e-3);
}

TEST_CASE("batch independence: a sequence alone gives what it gives among others") {
  nn::GPT const model = model_of(small());
  Tensor const tokens = some_tokens(5, 8);
  Tensor const all = model(tokens);
  for (int64_t b = 0; b < 5; ++b) CHECK(difference(all.slice(0, b, b + 1), model(tokens.slice(0, b, b + 1))) < 1e-13);
}

TEST_CASE("attention: one head with identity projections is the plain product form") {
  test::on_every_isa([](Isa) {
    nn::MultiHeadAttention attention({.dim = 6, .heads = 1});
    Tensor identity = zeros({6, 6});
    for (int64_t i = 0; i < 6; ++i) identity.data<float>()[7 * i] = 1;
    for (nn::Linear* each : {&attention.q_proj, &attention.k_proj, &attention.v_proj, &attention.out_proj})
      each->weight = identity;
    Tensor const x = randn({2, 5, 6});
    Tensor const lone = x.unsqueeze(1);
    CHECK(difference(attention(x), attend(lone, lone, lone, {.causal = true, .mask = {}}).out.squeeze(1)) == 0);
    CHECK(difference(attention(x), naive::attend(lone, lone, lone, {.causal = true, .mask = {}}).out.squeeze(1)) <
          1e-6);
  });
}

TEST_CASE("attention: more heads than one differ from one head; equal key heads are grouped ones") {
  // kv_heads = 1 with its rows repeated for every head is kv_heads = heads.
  nn::MultiHeadAttention grouped({.dim = 8, .heads = 4, .kv_heads = 1}), full({.dim = 8, .heads = 4});
  for (auto [from, to] : {std::pair{&grouped.q_proj, &full.q_proj}, std::pair{&grouped.out_proj, &full.out_proj}})
    to->weight = from->weight;
  full.k_proj.weight = cat(std::vector<Tensor>(4, grouped.k_proj.weight.detach()), 0);
  full.v_proj.weight = cat(std::vector<Tensor>(4, grouped.v_proj.weight.detach()), 0);
  Tensor const x = randn({2, 6, 8});
  CHECK(difference(grouped(x), full(x)) < 1e-6);
}

TEST_CASE("attention: asked-for weights are rows of probabilities, causal") {
  nn::GPT const model = model_of(small_rotary());
  auto const weights = nn::attention_maps([&] { model(some_tokens(2, 8)); });
  REQUIRE(weights.size() == 2);
  for (Tensor const& w : weights) {
    CHECK(to_string(w.shape()) == "[2, 4, 8, 8]");
    CHECK(difference(sum(w, {3}), ones({2, 4, 8}, Dtype::f64)) < 1e-12);
    CHECK(difference(triu(w, 1), zeros_like(w)) == 0);
    CHECK(!w.requires_grad());
  }
}

TEST_CASE("rope: keeps lengths, depends on differences of positions, continues by its offset") {
  Tensor const x = randn({1, 2, 9, 6}, Dtype::f64);
  Tensor const y = nn::rope(x);
  CHECK(difference(sum(square(x), {3}), sum(square(y), {3})) < 1e-12);
  CHECK(difference(x.slice(2, 0, 1), y.slice(2, 0, 1)) == 0);
  CHECK(difference(nn::rope(x.slice(2, 4, 9), 4), y.slice(2, 4, 9)) < 1e-13);
  Tensor const q = randn({1, 1, 1, 6}, Dtype::f64), k = randn({1, 1, 1, 6}, Dtype::f64);
  auto score = [&](int64_t i, int64_t j) { return sum(nn::rope(q, i) * nn::rope(k, j)).item(); };
  CHECK(score(3, 1) == doctest::Approx(score(12, 10)).epsilon(1e-12));
  CHECK(std::abs(score(3, 1) - score(1, 3)) > 1e-6);
  CHECK(contains(error_of([] { nn::rope(zeros({1, 1, 2, 3})); }), "D even"));
}

TEST_CASE("checkpoint: the same loss and gradient bits, dropout included, from less memory") {
  nn::GPTConfig config{
      .vocabulary = 32, .layers = 12, .heads = 4, .dim = 64, .block = 64, .position = "rope", .dropout = 0.1};
  set_poison(false);
  auto step = [&](bool checkpoint) {
    config.checkpoint = checkpoint;
    nn::GPT model = model_of(config, Dtype::f32);
    seed(3);
    Tensor const tokens = randint(0, 32, {4, 64});
    reset_peak_memory();
    size_t const before = memory_statistics().in_use;
    Tensor const loss = cross_entropy(model(tokens), tokens);
    loss.backward();
    size_t const peak = memory_statistics().peak - before;
    std::vector<Tensor> results{loss.detach()};
    for (Tensor const& p : nn::parameters(model)) results.push_back(p.grad());
    results.push_back(rand({4}));  // the generator goes on from the same place
    return std::pair(peak, results);
  };
  auto const [plain_peak, plain] = step(false);
  auto const [less_peak, again] = step(true);
  set_poison(true);
  MESSAGE("peak of a step above the model: ", plain_peak, " bytes; with checkpoints ", less_peak);
  CHECK(less_peak * 2 < plain_peak);
  REQUIRE(again.size() == plain.size());
  for (size_t i = 0; i < plain.size(); ++i) CHECK(same_bits(again[i], plain[i]));
}

TEST_CASE("hooks: modules by the pattern of their paths") {
  CHECK(nn::matches("blocks.*.attn", "blocks.3.attn"));
  CHECK_FALSE(nn::matches("blocks.*.attn", "blocks.3.attn.q_proj"));
  CHECK_FALSE(nn::matches("blocks.*", "blocks.3.attn"));
  CHECK(nn::matches("blocks.**", "blocks.3.attn"));
  CHECK(nn::matches("**.q_proj", "blocks.3.attn.q_proj"));
  CHECK(nn::matches("**", ""));
  CHECK(nn::matches("*norm*", "norm2"));
  CHECK(nn::matches("", ""));
  CHECK_FALSE(nn::matches("", "head"));
  CHECK_FALSE(nn::matches("head", "heads"));

  nn::GPTConfig config = small();
  nn::GPT const model = model_of(config);
  Tensor const tokens = some_tokens(2, 8), plain = model(tokens);
  std::vector<std::string> forward, backward;
  HookHandle seen = nn::on_forward("blocks.*.*", [&](nn::ModuleCall const& call) {
    forward.emplace_back(call.path);
    REQUIRE(call.inputs.size() == 1);
    CHECK(call.inputs[0].shape() == Shape{2, 8, 16});
    CHECK(call.output.shape() == Shape{2, 8, 16});
    CHECK(scope_path() == call.path);
    return Tensor();
  });
  HookHandle gradients = nn::on_backward("blocks.*.mlp", [&](std::string_view path, Tensor const& gradient) {
    backward.emplace_back(path);
    CHECK(gradient.shape() == Shape{2, 8, 16});
    return Tensor();
  });
  Tensor const y = model(tokens);
  CHECK(same_bits(y, plain));
  sum(y).backward();
  std::vector<std::string> want;
  for (char const* block : {"blocks.0.", "blocks.1."})
    for (char const* part : {"norm1", "attn", "norm2", "mlp"}) want.push_back(std::string(block) + part);
  CHECK(forward == want);
  CHECK(backward == std::vector<std::string>{"blocks.1.mlp", "blocks.0.mlp"});
  // Another thread has hooks of its own.
  forward.clear();
  std::thread([&] { model(tokens); }).join();
  CHECK(forward.empty());
  seen.remove();
  gradients.remove();
  backward.clear();
  sum(model(tokens)).backward();
  CHECK(forward.empty());
  CHECK(backward.empty());
  // Replaced outputs and gradients.
  HookHandle cut = nn::on_forward("blocks.1.*", [](nn::ModuleCall const& call) { return call.output * 0.0; });
  HookHandle stop = nn::on_backward("token_embedding", [](std::string_view, Tensor const& g) { return g * 0.0; });
  Tensor const less = model(tokens);
  CHECK(difference(less, plain) > 1e-6);
  nn::GPT& own = const_cast<nn::GPT&>(model);
  nn::zero_grad(own);
  sum(less).backward();
  CHECK(sum(abs(named(own, "position_embedding.weight").grad())).item() > 0);
  CHECK(sum(abs(model.blocks[1]->mlp.fc.weight.grad())).item() == 0);
  cut.remove();
  stop.remove();
  CHECK(same_bits(model(tokens), plain));
}

TEST_CASE("generation: greedy is the likeliest token of the full pass") {
  for (auto const& config : {small(), small_rotary()}) {
    nn::GPT model = model_of(config);
    nn::eval(model);
    Generator generator(1);
    auto const tokens = nn::generate(model, {3, 1}, 6, {.temperature = 0}, generator);
    CHECK(generator.offset() == 0);
    std::vector<int64_t> all{3, 1};
    for (int64_t token : tokens) {
      Tensor const logits = model(tensor(all, {1, int64_t(all.size())})).select(0, 0).select(0, -1);
      CHECK(argmax(logits, 0).item<int64_t>() == token);
      all.push_back(token);
    }
    Generator other(9);
    CHECK(nn::generate(model, {3, 1}, 6, {.temperature = 1, .top_k = 1}, other) == tokens);
  }
}

TEST_CASE("generation: the same seed draws the same tokens, on one thread or more; another seed draws others") {
  nn::GPT model = model_of(small());
  nn::eval(model);
  auto draw = [&](uint64_t key, nn::SampleOptions options = {}) {
    Generator generator(key);
    return nn::generate(model, {0}, 40, options, generator);
  };
  auto const tokens = draw(1);
  CHECK(tokens.size() == 40);
  CHECK(tokens == draw(1));
  CHECK(tokens != draw(2));
  int const threads = thread_count();
  for (int count : {1, 2, 4}) {
    set_thread_count(count);
    CHECK(tokens == draw(1));
  }
  set_thread_count(threads);
  for (int64_t token : tokens) CHECK((token >= 0 && token < 11));
}

TEST_CASE("generation: draws follow the softmax, cut to the k likeliest, sharpened by the temperature") {
  nn::GPT model = model_of({.vocabulary = 4, .layers = 1, .heads = 1, .dim = 8, .block = 2});
  nn::eval(model);
  Tensor const logits = model(zeros({1, 1}, Dtype::i64)).select(0, 0).select(0, 0);
  for (double temperature : {1.0, 0.5}) {
    auto const p = softmax(logits / temperature, 0).to_vector<double>();
    std::vector<double> share(4, 0.0);
    Generator generator(4);
    constexpr int draws = 2000;
    for (int i = 0; i < draws; ++i)
      share[size_t(nn::generate(model, {0}, 1, {.temperature = temperature}, generator)[0])] += 1.0 / draws;
    for (size_t i = 0; i < 4; ++i) CHECK(std::abs(share[i] - p[i]) < 0.05);  // 4.5 deviations
  }
  auto const p = logits.to_vector<double>();
  Generator generator(4);
  for (int i = 0; i < 200; ++i) {
    auto const token = size_t(nn::generate(model, {0}, 1, {.top_k = 2}, generator)[0]);
    CHECK(std::count_if(p.begin(), p.end(), [&](double other) { return other > p[token]; }) < 2);
  }
}

TEST_CASE("generation: where the block is full, half of it is read again") {
  nn::GPT model = model_of(small());
  nn::eval(model);
  Generator generator(1);
  std::vector<int64_t> all{2};
  auto const tokens = nn::generate(model, all, 12, {.temperature = 0}, generator);
  all.insert(all.end(), tokens.begin(), tokens.end());
  // 8 positions gave tokens 1 … 8; token 9 comes from a cache that begins with the last four.
  auto const rest = nn::generate(model, {all.begin() + 5, all.begin() + 9}, 4, {.temperature = 0}, generator);
  CHECK(std::vector<int64_t>(all.begin() + 9, all.end()) == rest);
  // Of a long prompt the end counts.
  std::vector<int64_t> const prompt{9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(nn::generate(model, prompt, 1, {.temperature = 0}, generator) ==
        nn::generate(model, {prompt.begin() + 3, prompt.end()}, 1, {.temperature = 0}, generator));
  CHECK(nn::generate(model, {1}, 0, {}, generator).empty());
  CHECK(contains(error_of([&] { nn::generate(model, {}, 1, {}, generator); }), "prompt"));
  CHECK(contains(error_of([&] { nn::generate(model, {1}, -1, {}, generator); }), "-1"));
  CHECK(contains(error_of([&] { nn::generate(model, {1}, 1, {.temperature = -1}, generator); }), "temperature"));
}
