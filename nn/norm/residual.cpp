#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/norm/catalogue.h>
#include <heed/nn/norm/residual.h>

#include <cmath>

namespace heed::nn {
namespace {

ResidualScale plain(ResidualConfig const&, Spec const& spec) {
  expect_no_options(spec);
  return {};
}

ResidualScale deepnorm(ResidualConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  check(config.placement == "post", "deepnorm", [&] {
    return Complaint{
        fmt::format("it scales the stream before a norm of the sum, but norms stand '{}'", config.placement),
        "set placement=post"};
  });
  return {.stream = std::pow(2.0 * double(config.layers), 0.25)};
}

struct LayerScaleConfig {
  double init = 1e-5;
  void visit(ConfigVisitor& v) { v.field("init", init, "of each feature's factor"); }
};
ResidualScale layer_scale(ResidualConfig const& config, Spec const& spec) {
  return {.scale = full({config.dim}, configured<LayerScaleConfig>(spec).init).requires_grad_()};
}

ResidualScale admin(ResidualConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  check(config.placement == "post", "admin", [&] {
    return Complaint{
        fmt::format("it weighs the stream before a norm of the sum, but norms stand '{}'", config.placement),
        "set placement=post"};
  });
  return {.weight = full({config.dim}, 1.0).requires_grad_()};
}

ResidualScale rezero(ResidualConfig const&, Spec const& spec) {
  expect_no_options(spec);
  return {.scale = zeros({}).requires_grad_()};
}

struct GateConfig {
  double start = 2;
  void visit(ConfigVisitor& v) { v.field("start", start, "of the bias that keeps the gate shut"); }
};
ResidualScale gru_gate(ResidualConfig const& config, Spec const& spec) {
  return {.gate = std::make_unique<ResidualGate>(config.dim, configured<GateConfig>(spec).start)};
}

}  // namespace

ResidualGate::ResidualGate(int64_t dim, double start)
    : of_branch(dim, 3 * dim, false),
      of_stream(dim, 2 * dim, false),
      of_kept(dim, dim, false),
      bias(full({dim}, start)) {
  bias.requires_grad_();
}
Tensor ResidualGate::operator()(Tensor const& x, Tensor const& y) const {
  int64_t const d = x.size(-1);
  Tensor const branch = of_branch(y), stream = of_stream(x);
  auto const part = [&](Tensor const& of, int64_t n) { return of.slice(-1, n * d, (n + 1) * d); };
  Tensor const r = sigmoid(part(branch, 0) + part(stream, 0)), z = sigmoid(part(branch, 1) + part(stream, 1) - bias);
  return lerp(x, tanh(part(branch, 2) + of_kept(r * x)), z);
}
void ResidualGate::visit(Visitor& visitor) {
  visitor.child("of_branch", of_branch);
  visitor.child("of_stream", of_stream);
  visitor.child("of_kept", of_kept);
  visitor.parameter("bias", bias);
}

std::vector<PlacementRow> const& placements() {
  using enum Rank;
  static std::vector<PlacementRow> const rows{
      {{"pre", "placement", must, "Xiong et al., 2020", "x + f(norm(x)): trains without warm-up"},
       true,
       false,
       false,
       false},
      {{"post", "placement", must, "Vaswani et al., 2017", "norm(x + f(x)), no norm at the end"},
       false,
       false,
       true,
       false},
      {{"sandwich", "placement", must, "Ding et al., 2021", "x + norm(f(norm(x))): bounded branches"},
       true,
       true,
       false,
       false},
      {{"peri", "placement", must, "Kim et al., 2025", "sandwich, and a norm of the embedding"},
       true,
       true,
       false,
       true},
      {{"output", "placement", should, "Liu et al., 2022", "x + norm(f(x)): the stream grows slowly"},
       false,
       true,
       false,
       false},
  };
  return rows;
}

std::vector<ResidualRow> const& residuals() {
  using enum Rank;
  static std::vector<ResidualRow> const rows{
      {{"plain", "residual", must, "He et al., 2016", "x + f(x)"}, plain},
      {{"deepnorm", "residual", must, "Wang et al., 2022", "norm((2L)^¼·x + f(x)), with init=deepnet; placement post"},
       deepnorm},
      {{"layer-scale", "residual", must, "Touvron et al., 2021", "x + γ∘f(x), γ small", options_of<LayerScaleConfig>},
       layer_scale},
      {{"admin", "residual", should, "Liu et al., 2020", "norm(ω∘x + f(x)), ω learnt, with init=admin; placement post"},
       admin},
      {{"rezero", "residual", must, "Bachlechner et al., 2021", "x + α·f(x), α = 0 at the start"}, rezero},
      {{"gru-gate", "residual", should, "Parisotto et al., 2019", "(1 − z)∘x + z∘h, a GRU's step from x by f(x)",
        options_of<GateConfig>},
       gru_gate},
  };
  return rows;
}

std::unique_ptr<Norm> make_stream_norm(ResidualConfig const& config) {
  auto made = make_norm(config.norm, config.dim, config.bias);
  NormRow const& row = find_row("norm", norms(), parse_spec(config.norm).name);
  check(row.family == "features", row.name, [&] {
    return Complaint{fmt::format("it acts on {}, where a block needs a norm of each position's features", row.family),
                     "choose layer-norm, rms-norm, scale-norm, unit-norm, dynamic-tanh or none"};
  });
  return made;
}

Residual::Residual(ResidualConfig const& config) {
  PlacementRow const& placement = find_row("placement", placements(), config.placement);
  if (placement.input) input_norm = make_stream_norm(config);
  if (placement.output) output_norm = make_stream_norm(config);
  if (placement.after) sum_norm = make_stream_norm(config);
  Spec const spec = parse_spec(config.residual);
  scale = find_row("residual", residuals(), spec.name).make(config, spec);
}

Tensor Residual::after(Tensor const& x, Tensor const& branch) const {
  Tensor y = output_norm ? (*output_norm)(branch) : branch;
  if (scale.scale.defined()) y = y * scale.scale;
  Tensor const stream = scale.weight.defined() ? x * scale.weight : scale.stream == 1 ? x : x * scale.stream;
  y = scale.gate ? (*scale.gate)(x, y) : stream + y;
  return sum_norm ? (*sum_norm)(y) : y;
}

void Residual::visit(Visitor& visitor, int number) {
  if (input_norm) visitor.child(fmt::format("norm{}", number), *input_norm);
  if (output_norm) visitor.child(fmt::format("norm{}_out", number), *output_norm);
  if (sum_norm) visitor.child(fmt::format("norm{}_sum", number), *sum_norm);
  if (scale.gate) visitor.child(fmt::format("gate{}", number), *scale.gate);
  if (scale.scale.defined()) visitor.parameter(fmt::format("scale{}", number), scale.scale);
  if (scale.weight.defined()) visitor.parameter(fmt::format("stream{}", number), scale.weight);
}

}  // namespace heed::nn
