// Against PyTorch: the traces of golden/make_golden.py, for both types, on every instruction set.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/safetensors.h>
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/skip.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>

using namespace heed;

namespace {

/// Where the traces are followed: on the processor, or all of them again on an accelerator that is emulated.
Device place = cpu;

class Trace {
 public:
  Trace(std::string const& name, Dtype dtype)
      : name_(name + (dtype == Dtype::f64 ? "_f64" : "_f32")),
        content_(load_safetensors(HEED_SOURCE_DIR "/tests/golden/" + name_ + ".safetensors")) {}

  Tensor operator()(std::string const& key) const {
    Tensor const* const found = content_.find(key);
    if (!found) throw std::runtime_error(name_ + " holds no " + key);
    return found->to(place);
  }
  bool has(std::string const& key) const { return content_.find(key) != nullptr; }
  /// The tensors whose names begin with `prefix`, without it.
  std::vector<nn::NamedTensor> below(std::string const& prefix) const {
    std::vector<nn::NamedTensor> found;
    for (auto const& [key, tensor] : content_.tensors)
      if (key.starts_with(prefix)) found.push_back({key.substr(prefix.size()), tensor});
    return found;
  }

 private:
  std::string name_;
  Safetensors content_;
};

/// max |got − want| / max |want|
void check_close(Tensor const& got, Tensor const& want, double tolerance, std::string const& what) {
  INFO(what);
  REQUIRE(got.defined());
  REQUIRE(to_string(got.shape()) == to_string(want.shape()));
  REQUIRE(got.dtype() == want.dtype());
  auto const a = got.detach().to(cpu).to_vector<double>(), b = want.detach().to(cpu).to_vector<double>();
  double largest = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(b[i]));
    double const d = std::abs(a[i] - b[i]);
    difference = d <= difference ? difference : d;  // keeps NaN
  }
  CHECK(difference <= tolerance * largest);
}

/// body(dtype, tolerance) for both types on every level.
void everywhere(std::function<void(Dtype, double)> const& body) {
  auto const both = [&] {
    body(Dtype::f32, 1e-5);
    body(Dtype::f64, 1e-12);
  };
  if (!place.is_cpu()) return both();
  test::on_every_isa([&](Isa level) {
    INFO("level ", std::string(name(level)));
    both();
  });
}

void check_gpt(std::string const& file, nn::GPTConfig const& config) {
  everywhere([&](Dtype dtype, double tolerance) {
    Trace const trace(file, dtype);
    nn::GPT model(config);
    nn::to(model, dtype);
    nn::to(model, place);
    nn::load_state_dict(model, trace.below("initial."));
    auto loss_of = [&](int64_t step, Tensor* keep_logits = nullptr) {
      Tensor const logits = model(trace("tokens").select(0, step));
      if (keep_logits) *keep_logits = logits;
      return cross_entropy(logits, trace("targets").select(0, step));
    };

    Tensor logits;
    Tensor const loss = loss_of(0, &logits);
    check_close(logits, trace("logits"), tolerance, "logits");
    check_close(loss, trace("loss"), tolerance, "loss");
    loss.backward();
    auto const gradients = trace.below("grad.");
    REQUIRE(gradients.size() == nn::named_parameters(model).size());
    for (auto const& [name, parameter] : nn::named_parameters(model))
      check_close(parameter.grad(), trace("grad." + name), tolerance, "gradient of " + name);

    optim::AdamW optimizer(optim::decay_matrices_only(model, 0.1),
                           {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.99});
    std::vector<double> losses, norms;
    for (int64_t step = 0; step < trace("losses").size(0); ++step) {
      optimizer.zero_grad();
      Tensor const recorded = loss_of(step);
      recorded.backward();
      losses.push_back(recorded.item());
      norms.push_back(optim::gradient_norm(optimizer.groups()));
      optimizer.step(optim::clip_scale(norms.back(), 1));
    }
    REQUIRE(losses.size() == 10);
    check_close(tensor(losses, {10}).to(dtype), trace("losses"), tolerance, "losses of ten steps");
    check_close(tensor(norms, {10}).to(dtype), trace("norms"), tolerance, "gradient norms of ten steps");
    // Steps of the size of the rate whatever the gradient: rounding weighs more where a gradient is near zero.
    for (auto const& [name, parameter] : nn::named_parameters(model))
      check_close(parameter, trace("final." + name), dtype == Dtype::f64 ? 1e-10 : 1e-5, "after ten steps " + name);
  });
}

/// A layer's trace: `function` gets inputs that require gradients, by name.
class Layer {
 public:
  Layer(Trace const& trace, std::string const& name) : trace_(trace), name_(name) {}

  Tensor input(std::string const& key) {
    auto const [found, fresh] = inputs_.try_emplace(key, trace_(name_ + "." + key).clone());
    if (fresh && found->second.dtype() != Dtype::i64) found->second.requires_grad_();
    return found->second;
  }
  void check(Tensor const& y, double tolerance) {
    check_close(y, trace_(name_ + ".y"), tolerance, name_);
    y.backward(trace_(name_ + ".dy"));
    for (auto const& [key, tensor] : inputs_)
      if (tensor.requires_grad())
        check_close(tensor.grad(), trace_(name_ + ".d" + key), tolerance, "d" + key + " of " + name_);
  }

 private:
  Trace const& trace_;
  std::string name_;
  std::map<std::string, Tensor> inputs_;
};

void check_layer(std::string const& name, std::function<Tensor(Layer&)> const& function) {
  everywhere([&](Dtype dtype, double tolerance) {
    Trace const trace("layers", dtype);
    Layer layer(trace, name);
    layer.check(function(layer), tolerance);
  });
}

void learned_gpt() { check_gpt("gpt_learned", {.vocabulary = 11, .layers = 2, .heads = 4, .dim = 16, .block = 8}); }

void rotary_gpt() {
  check_gpt("gpt_rotary", {.vocabulary = 11,
                           .layers = 2,
                           .heads = 4,
                           .kv_heads = 2,
                           .dim = 16,
                           .block = 8,
                           .activation = "gelu_tanh",
                           .bias = true,
                           .tied = false,
                           .position = "rope"});
}

void linears() {
  check_layer("linear", [](Layer& l) { return linear(l.input("input"), l.input("weight"), l.input("bias")); });
}

void norms() {
  check_layer("layer_norm", [](Layer& l) { return layer_norm(l.input("input"), l.input("weight"), l.input("bias")); });
  check_layer("rms_norm", [](Layer& l) { return rms_norm(l.input("input"), l.input("weight")); });
}

void mlps() {
  for (auto const& [name, activation] :
       {std::pair{"mlp", nn::Activation::gelu}, std::pair{"mlp_tanh", nn::Activation::gelu_tanh}})
    check_layer(name, [activation = activation](Layer& l) {
      nn::MLP mlp({.dim = 6, .hidden = 24, .activation = activation, .bias = true});
      mlp.fc.weight = l.input("fc");
      mlp.fc.bias = l.input("fc_bias");
      mlp.proj.weight = l.input("proj");
      mlp.proj.bias = l.input("proj_bias");
      return mlp(l.input("input"));
    });
}

void cross_entropies() {
  auto check = [](std::string const& name, CrossEntropyOptions const& options) {
    check_layer(name, [&](Layer& l) { return cross_entropy(l.input("logits"), l.input("targets"), options); });
  };
  check("cross_entropy", {});
  check("cross_entropy_smoothed", {.label_smoothing = 0.1});
  check("cross_entropy_sum", {.reduction = Reduction::sum});
  check("cross_entropy_none", {.label_smoothing = 0.2, .reduction = Reduction::none});
}

void attention() {
  for (auto const& [name, causal] :
       {std::pair{"attend", false}, std::pair{"attend_causal", true}, std::pair{"attend_gqa", true}}) {
    check_layer(name, [causal = causal](Layer& l) {
      return attend(l.input("q"), l.input("k"), l.input("v"), {.causal = causal, .mask = {}}).out;
    });
    check_layer(name, [causal = causal](Layer& l) {
      return naive::attend(l.input("q"), l.input("k"), l.input("v"), {.causal = causal, .mask = {}}).out;
    });
  }
}

void sgd() {
  auto check = [](std::string const& name, optim::SGDRule const& options, double weight_decay) {
    everywhere([&](Dtype dtype, double tolerance) {
      Trace const trace("layers", dtype);
      Tensor parameter = trace(name + ".initial").clone();
      parameter.requires_grad_();
      Tensor const gradients = trace(name + ".gradients");
      optim::SGD optimizer({{.parameters = {{"p", parameter}}, .weight_decay = weight_decay}}, options);
      for (int64_t step = 0; step < gradients.size(0); ++step) {
        parameter.set_grad(gradients.select(0, step));
        optimizer.step();
      }
      check_close(parameter, trace(name + ".final"), tolerance, name);
    });
  };
  check("sgd", {.learning_rate = 0.1}, 0);
  check("sgd_momentum", {.learning_rate = 0.1, .momentum = 0.9, .dampening = 0.3}, 0.05);
  check("sgd_nesterov", {.learning_rate = 0.1, .momentum = 0.8, .nesterov = true}, 0.05);
}

}  // namespace

TEST_CASE("golden: two-layer GPT, tied, learned positions, GELU") { learned_gpt(); }
TEST_CASE("golden: two-layer GPT, untied, biases, grouped keys, RoPE, tanh-GELU") { rotary_gpt(); }
TEST_CASE("golden: linear") { linears(); }
TEST_CASE("golden: norms") { norms(); }
TEST_CASE("golden: MLP") { mlps(); }
TEST_CASE("golden: cross-entropy with ignored rows, smoothing and reductions") { cross_entropies(); }
TEST_CASE("golden: scaled dot-product attention") { attention(); }
TEST_CASE("golden: ten SGD steps") { sgd(); }

TEST_CASE("an emulated accelerator follows the golden traces") {
  place = test::emulated_device();
  for (auto const follow : {learned_gpt, rotary_gpt, linears, norms, mlps, cross_entropies, attention, sgd}) follow();
  CHECK(test::emulator_complaints() == "");
  place = cpu;
}
