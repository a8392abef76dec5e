#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/regularize/mixes.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {
namespace {

template <class Config>
Config checked(char const* name, Config const& config) {
  check(config.alpha > 0 && config.share <= 1 && (config.share >= 0 || config.share == -1), name, [&] {
    return Complaint{
        fmt::format("expected alpha above 0 and share from 0 to 1, got {} and {}", config.alpha, config.share),
        "leave share out for a draw"};
  });
  return config;
}

double draw_share(MixConfig const& config, Generator& generator) {
  if (config.share >= 0) return config.share;
  Tensor const alpha = full({1}, config.alpha, Dtype::f64);
  return beta(alpha, alpha, generator).item();
}

/// Of at most `most`, uniform.
int64_t draw_up_to(int64_t most, Generator& generator) { return randint(0, most + 1, {1}, generator).item<int64_t>(); }

Tensor mixed_loss(Tensor const& loss, Tensor const& logits, Tensor const& other_targets, double lambda) {
  if (lambda == 1 || !other_targets.defined()) return loss;
  return loss * lambda + cross_entropy(logits, other_targets) * (1 - lambda);
}

}  // namespace

Box random_box(int64_t height, int64_t width, double share, Generator& generator) {
  auto const side = [&](int64_t size, double part) {
    return std::clamp<int64_t>(std::llround(double(size) * part), 0, size);
  };
  // Wholly inside, so that its share is what was asked for.
  int64_t const tall = side(height, width == 1 ? share : std::sqrt(share));
  int64_t const broad = width == 1 ? 1 : side(width, double(height) * share / double(std::max<int64_t>(tall, 1)));
  int64_t const top = draw_up_to(height - tall, generator), left = draw_up_to(width - broad, generator);
  return {top, top + tall, left, left + broad};
}

Tensor with_box(Tensor const& x, Tensor const& other, Box const& box) {
  checked_rank("with_box", x, 2, 4, "tokens [B, T], series [B, T, C] or images [N, C, H, W]");
  if (box.area() == 0) return x;
  if (x.rank() < 4) return slice_scatter(x, other.slice(1, box.top, box.bottom), 1, box.top, box.bottom);
  auto const rows = [&](Tensor const& t) { return t.slice(2, box.top, box.bottom); };
  Tensor const patch = slice_scatter(rows(x), rows(other).slice(3, box.left, box.right), 3, box.left, box.right);
  return slice_scatter(x, patch, 2, box.top, box.bottom);
}

Mixup::Mixup(Config const& config) : OutputRegularizer(config.at), config_(checked("mixup", config)) {}

void Mixup::batch(Tensor& inputs, Tensor& targets, Generator& generator) {
  lambda_ = draw_share(config_, generator);
  order_ = randperm(inputs.size(0), generator, inputs.device());
  inside_ = false;
  other_targets_ = {};
  if (lambda_ == 1) return;
  other_targets_ = index_select(targets, 0, order_);
  inside_ = !is_floating(inputs.dtype()) || config_.at != at_embedding;
  if (!inside_) inputs = lerp(index_select(inputs, 0, order_), inputs, lambda_);
}

Tensor Mixup::changed(ModuleCall const& call) {
  if (!inside_) return {};
  checked_rank("mixup", call.output, 2, Dims::max_rank, "embeddings [B, T, C]");
  return lerp(index_select(call.output, 0, order_), call.output, lambda_);
}

Tensor Mixup::loss(Tensor const& loss, Tensor const& logits, Tensor const&) {
  inside_ = false;
  return mixed_loss(loss, logits, other_targets_, lambda_);
}

CutMix::CutMix(Config const& config) : config_(checked("cutmix", config)) {}

void CutMix::batch(Tensor& inputs, Tensor& targets, Generator& generator) {
  checked_rank("cutmix", inputs, 2, 4, "tokens [B, T], series [B, T, C] or images [N, C, H, W]");
  bool const image = inputs.rank() == 4;
  int64_t const height = inputs.size(image ? 2 : 1), width = image ? inputs.size(3) : 1;
  Box const box = random_box(height, width, 1 - draw_share(config_, generator), generator);
  Tensor const order = randperm(inputs.size(0), generator, inputs.device());
  lambda_ = 1 - double(box.area()) / double(height * width);
  other_targets_ = {};
  if (box.area() == 0) return;
  inputs = with_box(inputs, index_select(inputs, 0, order), box);
  Tensor const others = index_select(targets, 0, order);
  if (!image && targets.rank() >= 2 && targets.size(1) == height)
    targets = with_box(targets, others, box);
  else
    other_targets_ = others;
}

Tensor CutMix::loss(Tensor const& loss, Tensor const& logits, Tensor const&) {
  return mixed_loss(loss, logits, other_targets_, lambda_);
}

}  // namespace heed::nn
