#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/attention.h>
#include <heed/nn/embedding.h>
#include <heed/nn/hooks.h>
#include <heed/nn/init/models.h>
#include <heed/nn/init/tensors.h>
#include <heed/nn/linear.h>
#include <heed/nn/transformer.h>

#include <cmath>
#include <optional>
#include <vector>

namespace heed::nn::init {
namespace {

enum class Role { inner, value, first, last, head, embedding };

struct Found {
  Role role;
  Module* parent;
  std::string_view name, path;  // "out_proj", "blocks.0.attn.out_proj"
  Tensor* weight;
  Tensor* bias;
};

/// The linear layers and embeddings of a model.
class Finder final : public Visitor {
 public:
  explicit Finder(Module& model) {
    path_.push_back(&model);
    model.visit(*this);
    check(blocks > 0, "init", [] {
      return Complaint{"the model has no blocks", "choose an initialisation of single tensors"};
    });
  }
  void parameter(std::string_view, Tensor&) override {}
  void enter(std::string_view name, Module& module) override {
    blocks += name.starts_with("blocks.");
    if (auto* const linear = dynamic_cast<Linear*>(&module)) {
      auto const role = role_of(name);
      if (role && !shared(linear->weight))
        found.push_back({*role, path_.back(), name, module.path(), &linear->weight, &linear->bias});
    } else if (auto* const table = dynamic_cast<Embedding*>(&module)) {
      found.push_back({Role::embedding, path_.back(), name, module.path(), &table->weight, nullptr});
    }
    path_.push_back(&module);
  }
  void leave() override { path_.pop_back(); }

  std::vector<Found> found;
  int64_t blocks = 0;

 private:
  static std::optional<Role> role_of(std::string_view name) {
    if (name == "out_proj" || name == "proj") return Role::last;
    if (name == "v_proj") return Role::value;
    if (name == "fc") return Role::first;
    if (name == "head") return Role::head;
    if (name.ends_with("_proj")) return Role::inner;
    return {};
  }
  /// A head that is tied to the embedding starts as that does.
  bool shared(Tensor const& weight) const {
    for (Found const& f : found)
      if (f.weight->body() == weight.body()) return true;
    return false;
  }
  std::vector<Module*> path_;
};

void no_bias(Found const& f) {
  if (f.bias && f.bias->defined()) constant_(*f.bias, 0);
}

void scale(Tensor& weight, double by) {
  NoGrad const off;
  weight.mul_(by);
}

VarianceScaling const glorot{1, "fan_avg", "normal"};

/// Glorot's start; what DeepNet and T-Fixup scale down.
void glorot_scaled(Found const& f, double by) {
  no_bias(f);
  if (f.role == Role::embedding) return;
  glorot(*f.weight);
  if (f.role == Role::value || f.role == Role::first || f.role == Role::last) scale(*f.weight, by);
}

/// left [R, D], right [R, D] with leftᵀ·right the best approximation of m [D, D] of rank R.
std::pair<Tensor, Tensor> factors(Tensor const& m, int64_t rank) {
  Svd const f = svd(m, false);
  Tensor const root = sqrt(f.s.slice(0, 0, rank)).unsqueeze(1);
  return {f.u.slice(1, 0, rank).t() * root, f.vh.slice(0, 0, rank) * root};
}

}  // namespace

void GptResidual::operator()(Module& model) const {
  Finder const finder(model);
  for (Found const& f : finder.found) {
    no_bias(f);
    normal_(*f.weight, f.role == Role::last ? deviation / std::sqrt(2.0 * double(finder.blocks)) : deviation);
  }
}

void ZeroOutput::operator()(Module& model) const {
  for (Found const& f : Finder(model).found)
    if (f.role == Role::last) {
      constant_(*f.weight, 0);
      no_bias(f);
    }
}

void Fixup::operator()(Module& model) const {
  Finder const finder(model);
  for (Found const& f : finder.found) {
    no_bias(f);
    if (f.role == Role::embedding) continue;
    if (f.role == Role::last || f.role == Role::head) {
      constant_(*f.weight, 0);
    } else {
      VarianceScaling{2, "fan_in", "normal"}(*f.weight);
      scale(*f.weight, 1 / std::sqrt(2.0 * double(finder.blocks)));
    }
  }
}

void TFixup::operator()(Module& model) const {
  Finder const finder(model);
  double const by = 0.67 * std::pow(double(finder.blocks), -0.25);
  for (Found const& f : finder.found) {
    glorot_scaled(f, by);
    if (f.role == Role::embedding) normal_(*f.weight, by / std::sqrt(double(f.weight->size(1))));
  }
}

void DeepNet::operator()(Module& model) const {
  Finder const finder(model);
  for (Found const& f : finder.found) glorot_scaled(f, std::pow(8.0 * double(finder.blocks), -0.25));
}

void Admin::operator()(Module& model) const {
  auto* const gpt = dynamic_cast<GPT*>(&model);
  check(gpt && gpt->blocks[0]->around_attn.scale.weight.defined(), "admin", [] {
    return Complaint{"the model is no GPT whose sums have weights", "set residual=admin and placement=post"};
  });
  for (Found const& f : Finder(model).found) glorot_scaled(f, 1);
  Tensor const tokens = randint(0, gpt->config.vocabulary, {batch, gpt->config.block});
  bool const training = model.training();
  eval(model);
  NoGrad const off;
  std::vector<double> variances;
  HookHandle seen = on_forward("blocks.*.*", [&](ModuleCall const& call) {
    if (call.path.ends_with(".attn") || call.path.ends_with(".mlp"))
      variances.push_back(var(call.output.to(Dtype::f64)).item());
    return Tensor();
  });
  for (auto const& block : gpt->blocks)
    for (Residual* around : {&block->around_attn, &block->around_mlp}) constant_(around->scale.weight, 1);
  (*gpt)(tokens.to(gpt->token_embedding.weight.device()));
  seen.remove();
  double sum = 1;
  auto variance = variances.begin();
  for (auto const& block : gpt->blocks)
    for (Residual* around : {&block->around_attn, &block->around_mlp}) {
      constant_(around->scale.weight, std::sqrt(sum));
      sum += *variance++;
    }
  train(model, training);
}

void Mup::operator()(Module& model) const {
  Finder const finder(model);
  double dim = 0;
  bool head = false;
  for (Found const& f : finder.found) {
    if (f.role == Role::embedding && dim == 0) dim = double(f.weight->size(1));
    head |= f.role == Role::head;
  }
  check(dim > 0 && head && base >= 1, "mup", [] {
    return Complaint{"the model has no head of its own, whose start and rate are other than an embedding's",
                     "set tied=false"};
  });
  double const narrow = deviation * std::sqrt(double(base) / dim);
  for (Found const& f : finder.found) {
    no_bias(f);
    if (f.role == Role::head || f.name == "q_proj")
      constant_(*f.weight, 0);
    else
      normal_(*f.weight, f.role == Role::embedding ? deviation
                         : f.role == Role::last    ? narrow / std::sqrt(2.0 * double(finder.blocks))
                                                   : narrow);
  }
}

void Mimetic::operator()(Module& model) const {
  Finder const finder(model);
  auto const beside = [&](Found const& f, std::string_view name) -> Tensor* {
    for (Found const& other : finder.found)
      if (other.parent == f.parent && other.name == name) return other.weight;
    return nullptr;
  };
  NoGrad const off;
  for (Found const& f : finder.found) {
    if (f.name != "q_proj") continue;
    Tensor *const q = f.weight, *const k = beside(f, "k_proj"), *const v = beside(f, "v_proj"),
                  *const out = beside(f, "out_proj");
    auto const* const layer = dynamic_cast<Attention const*>(f.parent);
    int64_t const dim = q->size(1);
    if (!layer || !k || !v || !out || !(k->shape() == q->shape()) || !(v->shape() == Shape{dim, dim}) ||
        !(out->shape() == Shape{dim, dim}))
      continue;
    auto const target = [&](double noise, double identity) {
      return randn({dim, dim}, Dtype::f64) * (noise / std::sqrt(double(dim))) + eye(dim, dim, Dtype::f64) * identity;
    };
    std::vector<Tensor> queries, keys;
    for (int64_t h = 0; h < layer->config.heads; ++h) {
      auto const [left, right] = factors(target(alpha, beta), q->size(0) / layer->config.heads);
      queries.push_back(left);
      keys.push_back(right);
    }
    q->copy_(cat(queries));
    k->copy_(cat(keys));
    auto const [outputs, values] = factors(target(alpha_v, -beta_v), dim);
    out->copy_(outputs.t());
    v->copy_(values);
  }
}

void Lsuv::operator()(Module& model) const {
  auto const* const gpt = dynamic_cast<GPT const*>(&model);
  check(gpt, "lsuv", [] {
    return Complaint{"the model is no GPT, whose batches are known", "call init::Lsuv with what runs a batch"};
  });
  Tensor const tokens = randint(0, gpt->config.vocabulary, {batch, gpt->config.block});
  (*this)(model, [&] { (*gpt)(tokens.to(gpt->token_embedding.weight.device())); });
}

void Lsuv::operator()(Module& model, std::function<void()> const& run) const {
  Finder const finder(model);
  bool const training = model.training();
  eval(model);
  NoGrad const off;
  for (Found const& f : finder.found) {
    if (f.role == Role::embedding) continue;
    no_bias(f);
    Orthogonal{}(*f.weight);
    double variance = 0;
    HookHandle seen = on_forward(f.path, [&](ModuleCall const& call) {
      variance = var(call.output.to(Dtype::f64)).item();
      return Tensor();
    });
    for (int64_t i = 0; i < steps; ++i) {
      variance = 0;
      run();
      if (!(variance > 0) || std::abs(variance - 1) < tolerance) break;
      scale(*f.weight, 1 / std::sqrt(variance));
    }
    seen.remove();
  }
  train(model, training);
}

}  // namespace heed::nn::init
