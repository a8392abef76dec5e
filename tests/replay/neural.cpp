// Neural networks: torch.nn.functional.
#include <algorithm>
#include <cmath>

#include "replay.h"

namespace heed::replay {
namespace {

/// What dropout gives without randomness: x where nothing is dropped, zeros where everything is.
Outputs dropped(Case const& c) {
  double const p = c.flag("training", !c.op.ends_with("alpha_dropout")) ? c.real("p", 0.5) : 0;
  if (p == 1 && !c.op.ends_with("alpha_dropout")) return c(0) * zeros_like(c(0));
  if (p != 0) throw Lacking("a comparison of random numbers");
  return dropout(c(0), 0);
}

/// ε of the type in which sums are taken.
double machine_epsilon(Dtype dtype) { return dtype == Dtype::f64 ? 0x1p-52 : 0x1p-23; }

/// The mask that PyTorch's is_causal means: aligned to the top left.
Tensor causal_mask(int64_t queries, int64_t keys) { return tril(ones({queries, keys})).to(Dtype::boolean); }

Outputs attention(Case const& c) {
  Tensor q = c(0, "query"), k = c(1, "key"), v = c(2, "value"), mask = c.maybe("attn_mask");
  if (c.real("dropout_p", 0) != 0) throw Lacking("a comparison of random numbers");
  if (c.flag("is_causal")) mask = causal_mask(q.size(-2), k.size(-2));
  int const rank = std::max({q.rank(), k.rank(), v.rank()});
  for (Tensor* const x : {&q, &k, &v})
    while (x->rank() < 4) *x = x->unsqueeze(0);
  if (!c.flag("enable_gqa")) {  // batches and heads broadcast
    Shape batch;
    for (Tensor* const x : {&q, &k, &v}) batch = broadcast(c.op, batch, {x->size(0), x->size(1)});
    for (Tensor* const x : {&q, &k, &v}) *x = x->expand({batch[0], batch[1], x->size(2), x->size(3)});
  }
  Tensor y;
  if (mask.defined() && mask.dtype() != Dtype::boolean) {  // added to the scores, which attend() has no place for
    Dtype const wide = is_half(q.dtype()) ? Dtype::f32 : q.dtype();
    Tensor const scores = matmul(q.to(wide), k.to(wide).t()) * c.real("scale", 1 / std::sqrt(double(q.size(-1))));
    y = matmul(softmax(scores + mask.to(wide), -1), v.to(wide)).to(v.dtype());
  } else {
    y = attend(q, k, v, {.scale = c.real("scale", 0), .mask = mask}).out;
  }
  while (y.rank() > rank) y = y.squeeze(0);
  return y;
}

template <Tensor (*f)(Tensor const&, int)>
Outputs softened(Case const& c) {
  return f(c(0).to(c.dtype("dtype", c(0).dtype())), c.axis("dim"));
}

Reduction reduction(Case const& c) {
  std::string const how = c.text("reduction", "mean");
  if (how == "none") return Reduction::none;
  if (how == "sum") return Reduction::sum;
  if (how == "mean") return Reduction::mean;
  throw Malformed("no such reduction: " + how);
}

Outputs cross_entropy_of(Case const& c) {
  return cross_entropy(c(0), c(1, "target"),
                       {.ignore_index = c.integer("ignore_index", -100),
                        .label_smoothing = c.real("label_smoothing", 0),
                        .reduction = reduction(c),
                        .weight = c.maybe("weight"),
                        .axis = c(0).rank() == 1 ? 0 : 1});
}

std::vector<int64_t> lengths(Case const& c, int position, std::string_view name) {
  Tensor const given = c.maybe(position, name);
  return given.defined() ? given.to_vector<int64_t>() : c.integers(name);
}

Outputs ctc(Case const& c) {
  // PyTorch's gradient is the one after log_softmax, whose own gradient this adds without changing the values.
  Tensor log_p = c(0, "log_probs");
  if (!c.grad_inputs.empty()) {
    Tensor const normal = log_softmax(log_p, -1);
    log_p = normal + (log_p - normal).detach();
  }
  return ctc_loss(
      log_p, c(1, "targets"), lengths(c, 2, "input_lengths"), lengths(c, 3, "target_lengths"),
      {.blank = c.integer("blank", 0), .zero_infinity = c.flag("zero_infinity"), .reduction = reduction(c)});
}

std::optional<int64_t> padding(Case const& c) {
  return c.has("padding_idx") ? std::optional(c.integer("padding_idx")) : std::nullopt;
}

Outputs embedded(Case const& c) {
  if (c.has("max_norm")) throw Lacking("op embedding with max_norm");
  return embedding(c(0), c(1, "weight"),
                   {.padding_idx = padding(c), .scale_grad_by_freq = c.flag("scale_grad_by_freq")});
}

Outputs bagged(Case const& c) {
  if (c.has("max_norm")) throw Lacking("op embedding_bag with max_norm");
  std::string const mode = c.text("mode", "mean");
  return embedding_bag(c(0), c(1, "weight"),
                       {.mode = mode == "sum"   ? BagMode::sum
                                : mode == "max" ? BagMode::max
                                                : BagMode::mean,
                        .offsets = c.maybe(2, "offsets"),
                        .per_sample_weights = c.maybe("per_sample_weights"),
                        .include_last_offset = c.flag("include_last_offset"),
                        .padding_idx = padding(c),
                        .scale_grad_by_freq = c.flag("scale_grad_by_freq")});
}

BatchNormOptions statistics(Case const& c, bool training) {
  return {.training = training, .momentum = c.real("momentum", 0.1), .eps = c.real("eps", 1e-5)};
}

template <Tensor (*f)(Tensor const&, Tensor const&, Reduction)>
Outputs loss(Case const& c) {
  return f(c(0), c(1, "target"), reduction(c));
}

Outputs divergence(Case const& c) {
  bool const batch_mean = c.text("reduction", "mean") == "batchmean";
  return kl_div(c(0), c(1, "target"),
                {.log_target = c.flag("log_target"),
                 .batch_mean = batch_mean,
                 .reduction = batch_mean ? Reduction::mean : reduction(c)});
}

Outputs gaussian_nll(Case const& c) {
  Tensor const variance = c.maybe(2, "var");
  return gaussian_nll_loss(c(0), c(1, "target"),
                           variance.defined() ? variance : c.operand(-1, "var", c(0)).expand(c(0).shape()),
                           {.full = c.flag("full"), .eps = c.real("eps", 1e-6), .reduction = reduction(c)});
}

Outputs triplet(Case const& c) {
  return triplet_margin_loss(c(0, "anchor"), c(1, "positive"), c(2, "negative"),
                             {.margin = c.real("margin", 1),
                              .p = c.real("p", 2),
                              .eps = c.real("eps", 1e-6),
                              .swap = c.flag("swap"),
                              .reduction = reduction(c)});
}

// clang-format off
constexpr Row rows[] = {
    {"alpha_dropout", dropped},
    {"batch_norm", [](Case const& c) -> Outputs {
       return batch_norm(c(0), c.maybe(1, "running_mean"), c.maybe(2, "running_var"), c.maybe(3, "weight"), c.maybe(4, "bias"), statistics(c, c.flag("training")));
     }},
    {"bilinear", [](Case const& c) -> Outputs { return bilinear(c(0, "input1"), c(1, "input2"), c(2, "weight"), c.maybe(3, "bias")); }},
    {"binary_cross_entropy", [](Case const& c) -> Outputs { return binary_cross_entropy(c(0), c(1, "target"), c.maybe("weight"), reduction(c)); }},
    {"binary_cross_entropy_with_logits", [](Case const& c) -> Outputs {
       return binary_cross_entropy_with_logits(c(0), c(1, "target"), {.weight = c.maybe("weight"), .pos_weight = c.maybe("pos_weight"), .reduction = reduction(c)});
     }},
    {"cosine_embedding_loss", [](Case const& c) -> Outputs {
       return cosine_embedding_loss(c(0, "input1"), c(1, "input2"), c(2, "target"), c.real("margin", 0), reduction(c));
     }},
    {"cosine_similarity", [](Case const& c) -> Outputs { return cosine_similarity(c(0, "x1"), c(1, "x2"), c.axis("dim", 1), c.real("eps", 1e-8)); }},
    {"cross_entropy", cross_entropy_of},
    {"ctc_loss", ctc},
    {"dropout", dropped},
    {"dropout1d", dropped},
    {"dropout2d", dropped},
    {"dropout3d", dropped},
    {"embedding", embedded},
    {"embedding_bag", bagged},
    {"feature_alpha_dropout", dropped},
    {"gaussian_nll_loss", gaussian_nll},
    {"group_norm", [](Case const& c) -> Outputs {
       return group_norm(c(0), c.integer("num_groups"), c.maybe("weight"), c.maybe("bias"), c.real("eps", 1e-5));
     }},
    {"hinge_embedding_loss", [](Case const& c) -> Outputs { return hinge_embedding_loss(c(0), c(1, "target"), c.real("margin", 1), reduction(c)); }},
    {"huber_loss", [](Case const& c) -> Outputs { return huber_loss(c(0), c(1, "target"), c.real("delta", 1), reduction(c)); }},
    {"instance_norm", [](Case const& c) -> Outputs {
       return instance_norm(c(0), c.maybe(1, "running_mean"), c.maybe(2, "running_var"), c.maybe(3, "weight"), c.maybe(4, "bias"), statistics(c, c.flag("use_input_stats", true)));
     }},
    {"kl_div", divergence},
    {"l1_loss", loss<l1_loss>},
    {"layer_norm", [](Case const& c) -> Outputs {
       return layer_norm(c(0), c.dims("normalized_shape"), c.maybe("weight"), c.maybe("bias"), c.real("eps", 1e-5));
     }},
    {"linear", [](Case const& c) -> Outputs { return linear(c(0), c(1, "weight"), c.maybe(2, "bias")); }},
    {"local_response_norm", [](Case const& c) -> Outputs {
       return local_response_norm(c(0), c.integer("size"), c.real("alpha", 1e-4), c.real("beta", 0.75), c.real("k", 1));
     }},
    {"log_softmax", softened<log_softmax>},
    {"margin_ranking_loss", [](Case const& c) -> Outputs {
       return margin_ranking_loss(c(0, "input1"), c(1, "input2"), c(2, "target"), c.real("margin", 0), reduction(c));
     }},
    {"mse_loss", loss<mse_loss>},
    {"multi_margin_loss", [](Case const& c) -> Outputs {
       return multi_margin_loss(c(0), c(1, "target"), {.p = c.real("p", 1), .margin = c.real("margin", 1), .weight = c.maybe("weight"), .reduction = reduction(c)});
     }},
    {"multilabel_margin_loss", loss<multilabel_margin_loss>},
    {"multilabel_soft_margin_loss", [](Case const& c) -> Outputs {
       return multilabel_soft_margin_loss(c(0), c(1, "target"), c.maybe("weight"), reduction(c));
     }},
    {"nll_loss", [](Case const& c) -> Outputs {
       return nll_loss(c(0), c(1, "target"), {.weight = c.maybe("weight"), .ignore_index = c.integer("ignore_index", -100), .reduction = reduction(c)});
     }},
    {"normalize", [](Case const& c) -> Outputs { return normalize(c(0), c.real("p", 2), c.axis("dim", 1), c.real("eps", 1e-12)); }},
    {"pairwise_distance", [](Case const& c) -> Outputs {
       return pairwise_distance(c(0, "x1"), c(1, "x2"), c.real("p", 2), c.real("eps", 1e-6), c.flag("keepdim"));
     }},
    {"poisson_nll_loss", [](Case const& c) -> Outputs {
       return poisson_nll_loss(c(0), c(1, "target"), {.log_input = c.flag("log_input", true), .full = c.flag("full"), .eps = c.real("eps", 1e-8), .reduction = reduction(c)});
     }},
    {"rms_norm", [](Case const& c) -> Outputs {
       return rms_norm(c(0), c.dims("normalized_shape"), c.maybe("weight"), c.real("eps", machine_epsilon(c(0).dtype())));
     }},
    {"scaled_dot_product_attention", attention},
    {"smooth_l1_loss", [](Case const& c) -> Outputs { return smooth_l1_loss(c(0), c(1, "target"), c.real("beta", 1), reduction(c)); }},
    {"soft_margin_loss", loss<soft_margin_loss>},
    {"softmax", softened<softmax>},
    {"softmin", softened<softmin>},
    {"triplet_margin_loss", triplet},
};
// clang-format on

}  // namespace

std::span<Row const> neural_rows() { return rows; }

}  // namespace heed::replay
