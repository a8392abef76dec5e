#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/regularize/data.h>
#include <heed/nn/regularize/labels.h>
#include <heed/nn/regularize/mixes.h>
#include <heed/nn/regularize/outputs.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace heed::nn {
namespace {

double draw_uniform(Generator& generator) { return rand({1}, Dtype::f64, generator).item(); }

Tensor const& expect_floating(std::string_view name, Tensor const& x, std::string_view shape) {
  check(x.defined() && is_floating(x.dtype()), name, [&] {
    return Complaint{
        fmt::format("expected {} of a floating type, got {}", shape, x.defined() ? heed::name(x.dtype()) : "none"),
        "choose a regulariser for this kind of data"};
  });
  return x;
}

Tensor random_tokens(Tensor const& like, int64_t vocabulary, Generator& generator) {
  check(vocabulary >= 1, "tokens", [] {
    return Complaint{"the vocabulary is not known", "call begin() with a model that has a token_embedding"};
  });
  return randint(0, vocabulary, like.shape(), generator, like.device());
}

/// Rows of the token embedding; 0: there is none.
int64_t vocabulary_of(Module& model) {
  for (auto const& [name, tensor] : state_dict(model))
    if (name.ends_with("token_embedding.weight")) return tensor.size(0);
  return 0;
}

}  // namespace

Tensor mask_tokens(Tensor const& tokens, double p, int64_t with, int64_t vocabulary, Generator& generator) {
  check(tokens.defined() && tokens.dtype() == Dtype::i64, "token-masking", [] {
    return Complaint{"expected tokens (i64)", "choose a regulariser for this kind of data"};
  });
  if (p == 0) return tokens;
  Tensor const hit = rand(tokens.shape(), Dtype::f32, generator, tokens.device()) < p;
  if (with >= 0) return masked_fill(tokens, hit, with);
  return where(hit, random_tokens(tokens, vocabulary, generator), tokens);
}

EditedTokens edit_tokens(Tensor const& tokens, double rate, int64_t fill, int64_t vocabulary, Generator& generator) {
  check(tokens.defined() && tokens.dtype() == Dtype::i64 && tokens.rank() == 2 && vocabulary >= 1, "eda", [] {
    return Complaint{"expected tokens [B, T] (i64) of a known vocabulary",
                     "choose a regulariser for this kind of data, or call begin() with a model that embeds tokens"};
  });
  int64_t const batch = tokens.size(0), t = tokens.size(1), edits = std::llround(rate * double(t));
  auto const old = tokens.to(cpu).to_vector<int64_t>();
  auto const draws = rand({batch, 4 * edits + t + 1}, Dtype::f64, generator).to_vector<double>();
  size_t next = 0;
  auto const below = [&](size_t n) { return std::min(size_t(draws[next++] * double(n)), n - 1); };
  struct Token {
    int64_t value, from;
  };
  std::vector<int64_t> values, from;
  for (int64_t b = 0; b < batch && t > 0; ++b) {
    std::vector<Token> row, kept;
    for (int64_t i = 0; i < t; ++i) row.push_back({old[size_t(b * t + i)], i});
    next = size_t(b * (4 * edits + t + 1));
    for (int64_t i = 0; i < edits; ++i) {
      size_t const one = below(row.size()), other = below(row.size());
      std::swap(row[one], row[other]);
    }
    for (Token const& token : row)
      if (draws[next++] >= rate) kept.push_back(token);
    if (kept.empty()) kept.push_back(row[below(row.size())]);
    for (int64_t i = 0; i < edits; ++i) {
      size_t const place = below(kept.size() + 1);
      kept.insert(kept.begin() + std::ptrdiff_t(place), {int64_t(below(size_t(vocabulary))), -1});
    }
    kept.resize(size_t(t), {fill, -1});
    for (Token const& token : kept) values.push_back(token.value), from.push_back(token.from);
  }
  return {tensor(values, tokens.shape()).to(tokens.device()), tensor(from, tokens.shape()).to(tokens.device())};
}

Tensor erase(Tensor const& x, double share, int64_t vocabulary, Generator& generator) {
  checked_rank("erasing", x, 2, 4, "tokens [B, T], series [B, T, C] or images [N, C, H, W]");
  bool const image = x.rank() == 4;
  Box const box = random_box(x.size(image ? 2 : 1), image ? x.size(3) : 1, share, generator);
  Tensor const noise = is_floating(x.dtype()) ? randn(x.shape(), x.dtype(), generator, x.device())
                                              : random_tokens(x, vocabulary, generator);
  return with_box(x, noise, box);
}

Tensor jitter(Tensor const& x, double deviation, Generator& generator) {
  expect_floating("jitter", x, "numbers");
  if (deviation == 0) return x;
  return x + normal(x.shape(), 0, deviation, x.dtype(), generator, x.device());
}

Tensor warp_window(Tensor const& x, double share, double scale, Generator& generator) {
  checked_rank("window-warp", expect_floating("window-warp", x, "series [B, T, C]"), 3, 3, "series [B, T, C]");
  check(share > 0 && share < 1 && scale > 0, "window-warp", [&] {
    return Complaint{fmt::format("expected a share between 0 and 1 and a scale above 0, got {} and {}", share, scale),
                     "0.1 and 2 are usual"};
  });
  int64_t const batch = x.size(0), t = x.size(1);
  if (t < 2) return x;
  // In units of the whole: the window [a, a + share) becomes `scale` times as long, then all is brought back to 1.
  std::vector<int64_t> below;
  std::vector<double> beyond;
  for (int64_t b = 0; b < batch; ++b) {
    double const a = draw_uniform(generator) * (1 - share), by = draw_uniform(generator) < 0.5 ? scale : 1 / scale;
    double const whole = 1 + share * (by - 1);
    for (int64_t i = 0; i < t; ++i) {
      double const at = double(i) / double(t - 1) * whole;  // on the stretched axis
      double const from = at <= a ? at : at <= a + share * by ? a + (at - a) / by : at - share * (by - 1);
      double const place = std::clamp(from, 0.0, 1.0) * double(t - 1);
      int64_t const first = std::min(int64_t(place), t - 2);
      below.push_back(first);
      beyond.push_back(place - double(first));
    }
  }
  Tensor const first = tensor(below, {batch, t, 1}).to(x.device()).expand(x.shape());
  Tensor const weight = tensor(beyond, {batch, t, 1}).to(x.dtype()).to(x.device());
  return lerp(gather(x, 1, first), gather(x, 1, first + 1), weight);
}

Tensor warp_time(Tensor const& x, int64_t most, Generator& generator) {
  int64_t const t = x.size(2);
  if (most == 0 || t < 2) return x;
  check(most > 0 && 2 * most < t, "spec-augment", [&] {
    return Complaint{fmt::format("a place of {} frames cannot move by {}", t, most), "choose less than half of them"};
  });
  std::vector<int64_t> below;
  std::vector<double> beyond;
  for (int64_t b = 0; b < x.size(0); ++b) {
    double const end = double(t - 1), was = double(most) + draw_uniform(generator) * (end - 2 * double(most)),
                 is = was + (2 * draw_uniform(generator) - 1) * double(most) * 0.999;
    for (int64_t i = 0; i < t; ++i) {
      double const at = double(i), from = at <= is ? at * was / is : end - (end - at) * (end - was) / (end - is);
      below.push_back(std::clamp<int64_t>(int64_t(from), 0, t - 2));
      beyond.push_back(from - double(below.back()));
    }
  }
  Tensor const first = tensor(below, {x.size(0), 1, t}).to(x.device()).expand(x.shape());
  Tensor const weight = tensor(beyond, {x.size(0), 1, t}).to(x.dtype()).to(x.device());
  return lerp(gather(x, 2, first), gather(x, 2, first + 1), weight);
}

Tensor spec_augment(Tensor const& x, SpecAugmentOptions const& options, Generator& generator) {
  checked_rank("spec-augment", expect_floating("spec-augment", x, "spectra [B, F, T]"), 3, 3, "spectra [B, F, T]");
  Tensor seen = full({1, 1, 1}, 1.0, x.dtype(), x.device());
  auto const mask = [&](int axis, int64_t masks, int64_t width) {
    int64_t const size = x.size(axis), widest = std::min(width, size);
    Shape places{1, 1, 1};
    places[axis] = size;
    Tensor const place = arange(size, x.device()).reshape(places);
    for (int64_t m = 0; m < masks; ++m) {
      Tensor const span = randint(0, widest + 1, {x.size(0), 1, 1}, generator, x.device());
      Tensor const start =
          floor(rand(span.shape(), Dtype::f64, generator, x.device()) * ((size - span) + 1).to(Dtype::f64))
              .to(Dtype::i64);
      seen = seen * logical_or(place < start, place >= start + span).to(x.dtype());
    }
  };
  mask(1, options.frequency_masks, options.frequency_width);
  mask(2, options.time_masks, options.time_width);
  return warp_time(x, options.time_warp, generator) * seen;
}

std::vector<std::string_view> const& image_changes() {
  static std::vector<std::string_view> const names{"identity", "flip",        "brightness",   "contrast", "posterize",
                                                   "solarize", "invert",      "autocontrast", "rotate",   "shear-x",
                                                   "shear-y",  "translate-x", "translate-y"};
  return names;
}

Tensor change_image(Tensor const& x, int64_t index, double strength) {
  checked_rank("image", expect_floating("image", x, "images [N, C, H, W]"), 4, 4, "images [N, C, H, W]");
  check(index >= 0 && index < int64_t(image_changes().size()), "image", [&] {
    return Complaint{fmt::format("there is no change {}", index), "image_changes() lists them"};
  });
  std::string_view const name = image_changes()[size_t(index)];
  double const s = strength, size = std::abs(s);
  auto const affine = [&](double a, double b, double c, double d, double e, double f) {
    Tensor const theta = tensor(std::vector<double>{a, b, c, d, e, f}, {1, 2, 3}).to(x.dtype()).to(x.device());
    return grid_sample(x, affine_grid(theta.expand({x.size(0), 2, 3}), x.shape()));
  };
  if (name == "identity" || (s == 0 && name != "flip" && name != "invert" && name != "autocontrast")) return x;
  if (name == "flip") return flip(x, {3});
  if (name == "brightness") return clamp(x * (1 + 0.9 * s), 0, 1);
  if (name == "contrast") return clamp(lerp(mean(x, {1, 2, 3}, true).expand(x.shape()), x, 1 + 0.9 * s), 0, 1);
  if (name == "posterize") {  // from 8 bits down to 2
    double const levels = std::exp2(std::round(8 - 6 * size)) - 1;
    return round(x * levels) / levels;
  }
  if (name == "solarize") return where(x >= 1 - size, 1 - x, x);
  if (name == "invert") return 1 - x;
  if (name == "autocontrast") {
    Tensor const low = amin(x, {2, 3}, true), high = amax(x, {2, 3}, true);
    return where(high > low, (x - low) / clamp_min(high - low, 1e-6), x);
  }
  if (name == "rotate") {  // by up to 30 degrees; x and y are measured in halves of width and height
    double const angle = s * std::numbers::pi / 6, aspect = double(x.size(2)) / double(x.size(3));
    return affine(std::cos(angle), -std::sin(angle) * aspect, 0, std::sin(angle) / aspect, std::cos(angle), 0);
  }
  if (name == "shear-x") return affine(1, 0.3 * s, 0, 0, 1, 0);
  if (name == "shear-y") return affine(1, 0, 0, 0.3 * s, 1, 0);
  if (name == "translate-x") return affine(1, 0, 0.6 * s, 0, 1, 0);
  return affine(1, 0, 0, 0, 1, 0.6 * s);
}

namespace {

/// f(image, kind, sign) for each image by itself.
template <class F>
Tensor each_image(Tensor const& x, Generator& generator, F const& f) {
  checked_rank("image", x, 4, 4, "images [N, C, H, W]");
  std::vector<Tensor> changed;
  for (int64_t n = 0; n < x.size(0); ++n) changed.push_back(f(x.slice(0, n, n + 1), generator));
  return changed.empty() ? x : cat(changed);
}

int64_t draw_kind(Generator& generator) {
  return randint(0, int64_t(image_changes().size()), {1}, generator).item<int64_t>();
}

}  // namespace

Tensor rand_augment(Tensor const& x, int64_t count, double magnitude, Generator& generator) {
  return each_image(x, generator, [&](Tensor image, Generator& from) {
    for (int64_t i = 0; i < count; ++i) {
      int64_t const kind = draw_kind(from);
      image = change_image(image, kind, draw_uniform(from) < 0.5 ? magnitude : -magnitude);
    }
    return image;
  });
}

Tensor aug_mix(Tensor const& x, int64_t width, double magnitude, Generator& generator) {
  return each_image(x, generator, [&](Tensor const& image, Generator& from) {
    Tensor const shares = dirichlet(ones({width}, Dtype::f64), from);
    Tensor mixed = zeros_like(image);
    for (int64_t i = 0; i < width; ++i) {
      Tensor chain = image;
      for (int64_t n = randint(1, 4, {1}, from).item<int64_t>(); n > 0; --n) {
        int64_t const kind = draw_kind(from);
        chain = change_image(chain, kind, magnitude * (2 * draw_uniform(from) - 1));
      }
      mixed = mixed + chain * shares.at(i).item();
    }
    return lerp(mixed, image, draw_uniform(from));
  });
}

AugMix::AugMix(Config const& config) : config_(config) {
  checked_range("aug-mix", config.magnitude, 0, 1 + 1e-12);
  checked_range("aug-mix", config.consistency, 0, INFINITY);
  check(config.width >= 1, "aug-mix", [&] {
    return Complaint{fmt::format("expected width of 1 or more, got {}", config.width), "3 is usual"};
  });
}
void AugMix::batch(Tensor& inputs, Tensor& targets, Generator& generator) {
  auto const mixed = [&] { return aug_mix(inputs, config_.width, config_.magnitude, generator); };
  if (config_.consistency == 0) {
    inputs = mixed();
    return;
  }
  Tensor const first = mixed(), second = mixed();
  inputs = cat({inputs, first, second});
  targets = cat({targets, targets, targets});
}
Tensor AugMix::loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) {
  if (config_.consistency == 0) return loss;
  check(logits.size(0) % 3 == 0, "aug-mix", [&] {
    return Complaint{fmt::format("the batch is not there three times: logits {}", to_string(logits.shape())),
                     "put it behind what changes the batch"};
  });
  auto const views = chunk(log_softmax(logits), 3);
  Tensor const own = chunk(targets, 3)[0], middle = log((exp(views[0]) + exp(views[1]) + exp(views[2])) / 3.);
  Tensor apart;
  for (Tensor const& view : views) {
    Tensor const one = divergence(view, middle);
    apart = apart.defined() ? apart + one : one;
  }
  return cross_entropy(chunk(logits, 3)[0], own) + mean_of_rows(apart, own) * (config_.consistency / 3);
}

Tensor trivial_augment(Tensor const& x, Generator& generator) {
  return each_image(x, generator, [](Tensor const& image, Generator& from) {
    int64_t const kind = draw_kind(from);
    return change_image(image, kind, 2 * draw_uniform(from) - 1);
  });
}

TokenMasking::TokenMasking(Config const& config) : config_(config) { checked_range("token-masking", config.p, 0, 1); }
void TokenMasking::begin(Module& model) { vocabulary_ = vocabulary_of(model); }
void TokenMasking::batch(Tensor& inputs, Tensor&, Generator& generator) {
  inputs = mask_tokens(inputs, config_.p, config_.token, vocabulary_, generator);
}

TokenEdits::TokenEdits(Config const& config) : config_(config) { checked_range("eda", config.rate, 0, 1); }
void TokenEdits::begin(Module& model) { vocabulary_ = vocabulary_of(model); }
void TokenEdits::batch(Tensor& inputs, Tensor& targets, Generator& generator) {
  if (config_.rate == 0) return;
  EditedTokens const edited = edit_tokens(inputs, config_.rate, config_.fill, vocabulary_, generator);
  inputs = edited.tokens;
  if (targets.shape() == inputs.shape())
    targets = masked_fill(gather(targets, 1, clamp_min(edited.from, 0)), edited.from < 0, -100);
}

Erasing::Erasing(Config const& config) : config_(config) { checked_range("erasing", config.share, 0, 1); }
void Erasing::begin(Module& model) { vocabulary_ = vocabulary_of(model); }
void Erasing::batch(Tensor& inputs, Tensor&, Generator& generator) {
  if (config_.share > 0 && draw_uniform(generator) < config_.p)
    inputs = erase(inputs, config_.share, vocabulary_, generator);
}

}  // namespace heed::nn
