#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/regularize/dropouts.h>

#include <charconv>
#include <cmath>

namespace heed::nn {
namespace {

/// x·keep/(1 − p), keep of `shape`, which broadcasts to x.
Tensor dropped(Tensor const& x, double p, Shape const& shape, Generator& generator) {
  if (p == 0) return x;
  return x * (bernoulli(shape, 1 - p, x.dtype(), generator, x.device()) / (1 - p));
}

}  // namespace

Tensor spatial_dropout(Tensor const& x, double p, Generator& generator) {
  checked_rank("spatial-dropout", x, 3, 5, "x [B, T, C] or [N, C, ..]");
  Shape shape = Shape::filled(x.rank(), 1);
  shape[0] = x.size(0);
  int const features = x.rank() == 3 ? 2 : 1;
  shape[features] = x.size(features);
  return dropped(x, p, shape, generator);
}

Tensor gaussian_dropout(Tensor const& x, double p, Generator& generator) {
  if (p == 0) return x;
  return x * normal(x.shape(), 1, std::sqrt(p / (1 - p)), x.dtype(), generator, x.device());
}

Tensor drop_block(Tensor const& x, double p, int64_t block, Generator& generator) {
  checked_rank("drop-block", x, 3, 4, "x [B, T, C] or [N, C, H, W]");
  bool const image = x.rank() == 4;
  int64_t const height = x.size(image ? 2 : 1), width = image ? x.size(3) : 1;
  check(block >= 1 && block <= height && (!image || block <= width), "drop-block", [&] {
    return Complaint{fmt::format("a block of {} does not fit into {}", block, to_string(x.shape())),
                     "choose a smaller block"};
  });
  if (p == 0) return x;
  int64_t const rows = height - block + 1, columns = image ? width - block + 1 : 1;
  double const size = image ? double(block * block) : double(block);
  double const seeds = p / size * double(height * width) / double(rows * columns);
  Shape const shape = image ? Shape{x.size(0), x.size(1), rows, columns} : Shape{x.size(0), 1, rows};
  std::vector<int64_t> const around(image ? 4 : 2, block - 1);
  Tensor hidden = pad(bernoulli(shape, std::min(seeds, 1.0), x.dtype(), generator, x.device()), around);
  hidden = image ? max_pool2d(hidden, block, {.stride = 1}) : max_pool1d(hidden, block, {.stride = 1}).transpose(1, 2);
  Tensor const keep = 1.0 - hidden;
  return x * keep * (double(keep.numel()) / clamp_min(sum(keep), 1.0));
}

Tensor drop_path(Tensor const& x, double p, Generator& generator) {
  check_defined("drop-path", x);
  checked_rank("drop-path", x, 1, Dims::max_rank, "samples along the first axis");
  Shape shape = Shape::filled(x.rank(), 1);
  shape[0] = x.size(0);
  return dropped(x, p, shape, generator);
}

Tensor zoneout(Tensor const& previous, Tensor const& next, double p, bool training, Generator& generator) {
  if (p == 0) return next;
  if (!training) return lerp(next, previous, p);
  return where(rand(next.shape(), Dtype::f32, generator, next.device()) < p, previous, next);
}

Tensor shaken(Tensor const& x, Tensor const& forward, Tensor const& backward) {
  Tensor const y = x * backward;
  return y + (x.detach() * forward - y.detach());
}

SameDropout::SameDropout(double p, Generator& generator)
    : p_(checked_range("variational-dropout", p, 0, 1)), generator_(generator) {}

Tensor SameDropout::operator()(Tensor const& x) {
  if (p_ == 0) return x;
  if (!scale_.defined()) scale_ = bernoulli(x.shape(), 1 - p_, x.dtype(), generator_, x.device()) / (1 - p_);
  return x * scale_;
}

Tensor OutputDropout::changed(ModuleCall const& call) { return dropout(call.output, p_); }
Tensor McDropout::changed(ModuleCall const& call) { return dropout(call.output, p_); }
Tensor SpatialDropout::changed(ModuleCall const& call) { return spatial_dropout(call.output, p_); }
Tensor AlphaDropout::changed(ModuleCall const& call) { return p_ == 0 ? Tensor() : alpha_dropout(call.output, p_); }
Tensor GaussianDropout::changed(ModuleCall const& call) { return gaussian_dropout(call.output, p_); }
Tensor VariationalDropout::changed(ModuleCall const& call) {
  checked_rank("variational-dropout", call.output, 3, 3, "sequences [B, T, C]");
  return spatial_dropout(call.output, p_);
}

ShakeShake::ShakeShake(Config const& config)
    : OutputRegularizer(config.at), strength_(config.strength), keep_(config.keep) {
  checked_range("shake-shake", config.strength, 0, std::nextafter(1., 2.));
}

Tensor ShakeShake::changed(ModuleCall const& call) {
  if (strength_ == 0) return {};
  Tensor const& x = call.output;
  auto const parent = [](std::string_view path) { return path.substr(0, path.rfind('.') + 1); };
  bool const second = forward_.defined() && call.path != first_ && parent(call.path) == parent(first_);
  if (!second) {
    Shape shape = Shape::filled(x.rank(), 1);
    shape[0] = x.size(0);
    auto const draw = [&] { return uniform(shape, -strength_, strength_, x.dtype(), default_generator(), x.device()); };
    first_ = call.path, forward_ = draw(), backward_ = keep_ ? forward_ : draw();
  }
  double const sign = second ? -1 : 1;
  Tensor const y = keep_ ? x * (1.0 + forward_ * sign) : shaken(x, 1.0 + forward_ * sign, 1.0 + backward_ * sign);
  if (second) forward_ = backward_ = {};
  return y;
}

void DropPath::begin(Module& model) {
  blocks_ = 1;
  for (auto const& [name, tensor] : state_dict(model))
    if (name.starts_with("blocks.")) {
      int64_t index = 0;
      std::from_chars(name.data() + 7, name.data() + name.size(), index);
      blocks_ = std::max(blocks_, index + 1);
    }
  OutputRegularizer::begin(model);
}

Tensor DropPath::changed(ModuleCall const& call) {
  double p = p_;
  if (linear_ && blocks_ > 1 && call.path.starts_with("blocks.")) {
    int64_t index = 0;
    std::from_chars(call.path.data() + 7, call.path.data() + call.path.size(), index);
    p *= double(index) / double(blocks_ - 1);
  }
  return drop_path(call.output, p);
}

Tensor LayerDrop::changed(ModuleCall const& call) {
  if (p_ == 0 || call.inputs.empty()) return {};
  // where(), so that gradients of a block that was passed by are zeros, not missing.
  return where(rand({}, Dtype::f32, default_generator(), call.output.device()) < p_, call.inputs[0], call.output);
}

Tensor Zoneout::changed(ModuleCall const& call) {
  if (call.inputs.empty()) return {};
  return zoneout(call.inputs[0], call.output, p_, training());
}

Tensor TokenDrop::changed(ModuleCall const& call) {
  checked_rank("token-drop", call.output, 3, 3, "embeddings [B, T, C]");
  return dropped(call.output, p_, {call.output.size(0), call.output.size(1), 1}, default_generator());
}

}  // namespace heed::nn
