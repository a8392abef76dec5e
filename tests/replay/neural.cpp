// Neural networks: torch.nn.functional and the recurrent modules.
#include "replay.h"

namespace heed::replay {
namespace {

/// What dropout gives without randomness: x where nothing is dropped, zeros where everything is.
Outputs dropped(Case const& c) {
  double const p = c.flag("training", true) ? c.real("p", 0.5) : 0;
  if (p != 0 && p != 1) throw Lacking("a comparison of random numbers");
  return dropout(c(0), p);
}

/// The trailing axes of `normalized_shape` as one.
Shape joined(Case const& c) {
  Shape shape = c(0).shape();
  for (int i = 1; i < c.dims("normalized_shape").rank(); ++i) shape.erase(shape.rank() - 1);
  int64_t last = 1;
  for (int64_t const size : c.dims("normalized_shape")) last *= size;
  shape[shape.rank() - 1] = last;
  return shape;
}

Tensor row(Tensor const& parameter) { return parameter.defined() ? parameter.reshape({-1}) : parameter; }

Outputs layer_normed(Case const& c) {
  return layer_norm(c(0).reshape(joined(c)), row(c.maybe("weight")), row(c.maybe("bias")), c.real("eps", 1e-5))
      .reshape(c(0).shape());
}

Outputs rms_normed(Case const& c) {
  double const machine = c(0).dtype() == Dtype::f64 ? 0x1p-52 : 0x1p-23;
  return rms_norm(c(0).reshape(joined(c)), row(c.maybe("weight")), c.real("eps", machine)).reshape(c(0).shape());
}

/// The mask that PyTorch's is_causal means: aligned to the top left.
Tensor causal_mask(int64_t queries, int64_t keys) { return tril(ones({queries, keys})).to(Dtype::boolean); }

Outputs attention(Case const& c) {
  Tensor q = c(0, "query"), k = c(1, "key"), v = c(2, "value"), mask = c.maybe("attn_mask");
  if (c.real("dropout_p", 0) != 0) throw Lacking("a comparison of random numbers");
  if (c.flag("is_causal")) mask = causal_mask(q.size(-2), k.size(-2));
  if (mask.defined() && mask.dtype() != Dtype::boolean)
    throw Lacking("op scaled_dot_product_attention with an added mask");
  Shape shape = q.shape();
  shape[shape.rank() - 1] = v.size(-1);
  for (Tensor* const x : {&q, &k, &v})
    if (x->rank() == 3) *x = x->unsqueeze(1);
  if (mask.defined() && mask.rank() == 3) mask = mask.unsqueeze(1);
  return attend(q, k, v, {.scale = c.real("scale", 0), .mask = mask}).out.reshape(shape);
}

Tensor softened(Case const& c, Tensor (*f)(Tensor const&, int)) {
  Tensor const x = c(0).to(c.dtype("dtype", c(0).dtype()));
  return x.rank() == 0 ? f(x.reshape({1}), 0).reshape({}) : f(x, c.axis("dim"));
}

Outputs cross_entropy_of(Case const& c) {
  Tensor const logits = c(0), target = c(1, "target");
  if (c.maybe("weight").defined() || target.shape() == logits.shape())
    throw Lacking("op cross_entropy with weights or probabilities");
  std::string const reduction = c.text("reduction", "mean");
  CrossEntropyOptions const options{.ignore_index = c.integer("ignore_index", -100),
                                    .label_smoothing = c.real("label_smoothing", 0),
                                    .reduction = reduction == "none"  ? Reduction::none
                                                 : reduction == "sum" ? Reduction::sum
                                                                      : Reduction::mean};
  Dims axes;  // the classes last
  for (int axis = 0; axis < logits.rank(); ++axis)
    if (axis != 1 || logits.rank() == 1) axes.push_back(axis);
  if (logits.rank() > 1) axes.push_back(1);
  return cross_entropy(logits.permute(axes), target, options);
}

constexpr Row rows[] = {
    {"alpha_dropout", dropped},
    {"cross_entropy", cross_entropy_of},
    {"dropout", dropped},
    {"dropout2d", dropped},
    {"dropout3d", dropped},
    {"embedding", [](Case const& c) -> Outputs { return embedding(c(0), c(1, "weight")); }},
    {"layer_norm", layer_normed},
    {"linear", [](Case const& c) -> Outputs { return linear(c(0), c(1, "weight"), c.maybe(2, "bias")); }},
    {"log_softmax", [](Case const& c) -> Outputs { return softened(c, log_softmax); }},
    {"rms_norm", rms_normed},
    {"scaled_dot_product_attention", attention},
    {"softmax", [](Case const& c) -> Outputs { return softened(c, softmax); }},
    {"softmin",
     [](Case const& c) -> Outputs { return softened(c, [](Tensor const& x, int axis) { return softmax(-x, axis); }); }},
};

}  // namespace

std::span<Row const> neural_rows() { return rows; }

}  // namespace heed::replay
