// What regularisers change in a call of attend().
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/attention_temperature.h>
#include <heed/nn/regularize/drop_head.h>
#include <heed/nn/regularize/drop_key.h>
#include <heed/nn/regularize/forgetful_mask.h>
#include <heed/nn/regularize/logit_soft_cap.h>
#include <heed/nn/regularize/qk_clip.h>
#include <heed/nn/regularize/supervised_attention.h>

#include <cmath>

namespace heed::nn {

void DropKey::before(AttentionCall& call) {
  if (p_ == 0) return;
  // Integers below 2²⁴ throughout, so that f32 gives the same as f64.
  constexpr double steps = 4096;
  int64_t const b = call.q.size(0), h = call.q.size(1), t = call.q.size(2), s = call.k.size(2);
  auto const draw = [&](int64_t below, int64_t n) {
    return randint(0, below, {b, h, n}).to(Dtype::f32).to(call.q.device());
  };
  Tensor const u = draw(4096, t), m = draw(2048, t), w = draw(4096, s), z = draw(4096, s);
  double const shift = double(s - t), limit = std::round(p_ * steps);
  ScoreMod const drop = [&](auto score, auto at) {
    auto const i = at.i - shift;
    auto const x =
        read(u, {at.b, at.h, i}) + read(m, {at.b, at.h, i}) * read(w, {at.b, at.h, at.j}) + read(z, {at.b, at.h, at.j});
    auto const hash = x - floor(x / steps) * steps;
    return select((hash < limit) & (at.i != at.j), score - 1000., score);
  };
  call.options.score = call.options.score | drop;
}

void DropHead::after(AttentionCall& call) {
  if (p_ == 0) return;
  int64_t const b = call.q.size(0), h = call.q.size(1);
  Tensor keep = (rand({b, h}) >= p_).to(Dtype::f32);
  keep = where(sum(keep, {1}, true) > 0.0, keep, 1.0);
  keep = keep * double(h) / sum(keep, {1}, true);
  Tensor& out = call.result.out;
  out = out * keep.to(out.dtype()).to(out.device()).reshape({b, h, 1, 1});
}

void ForgetfulMask::before(AttentionCall& call) {
  if (rate_ == 0) return;
  int64_t const b = call.q.size(0), s = call.k.size(2);
  Generator again(draw_.seed, draw_.offset);
  Tensor const share = rand({b, 1}, Dtype::f32, again) * rate_;
  Tensor const kept = (rand({b, s}, Dtype::f32, again) >= share).to(Dtype::f32).to(call.q.device());
  call.options.sees = call.options.sees & MaskMod([&](auto at) {
                        return (read(kept, {at.b, at.j}) > 0.) | (at.i == at.j) | (at.j == 0.);
                      });
}

LogitSoftCap::LogitSoftCap(Config const& config) : AttentionRegularizer(true), cap_(config.cap) {
  check(cap_ >= 0 && std::isfinite(cap_), "logit-soft-cap", [&] {
    return Complaint{fmt::format("expected a cap of 0 or more, got {}", cap_), "0 is no cap; Gemma 2 has 50"};
  });
}

AttentionTemperature::AttentionTemperature(Config const& config) : AttentionRegularizer(true), config_(config) {
  check(config.from > 0 && config.to > 0 && config.steps >= 0, "attention-temperature", [&] {
    return Complaint{fmt::format("expected temperatures above 0 and steps of 0 or more, got from {}, to {}, steps {}",
                                 config.from, config.to, config.steps),
                     "1 is the plain softmax"};
  });
}

void AttentionTemperature::before(AttentionCall& call) {
  double const heat = temperature();
  if (heat == 1) return;
  double const scale =
      call.options.scale != 0 ? call.options.scale : 1 / std::sqrt(double(std::max(call.q.size(3), int64_t{1})));
  call.options.scale = scale / heat;
}

QKClip::QKClip(Config const& config) : threshold_(config.threshold) {
  check(threshold_ > 0, "qk-clip", [&] {
    return Complaint{fmt::format("expected a threshold above 0, got {}", threshold_), "Kimi K2 has 100"};
  });
}

void QKClip::after(AttentionCall& call) {
  NoGrad const off;
  Tensor const& lse = softmax_lse("qk-clip", call);
  Tensor const weight = attention_max(call.q.detach(), call.k.detach(), lse.detach(), call.options);
  Tensor const logit = where(weight > 0.0, log(where(weight > 0.0, weight, 1.0)) + lse.detach(),
                             -std::numeric_limits<double>::infinity());
  Tensor const largest = amax(logit, {0, 2});
  auto [at, fresh] = seen_.try_emplace(std::string(call.path), Seen{largest, call.k.size(1)});
  if (!fresh) at->second.largest = maximum(at->second.largest, largest);
}

void QKClip::stepped(Module& model, int64_t) {
  NoGrad const off;
  std::vector<NamedTensor> const parameters = named_parameters(model);
  for (auto const& [path, seen] : seen_) {
    Tensor const scale =
        minimum(threshold_ / maximum(seen.largest, full_like(seen.largest, threshold_ / 2)), ones_like(seen.largest));
    if (amin(scale, {0}).item() == 1) continue;
    bool const shared = scale.size(0) != seen.kv_heads;
    Tensor const factor = shared ? scale : sqrt(scale);
    bool found = false;
    for (char const* part : {"q_proj", "k_proj"}) {
      if (shared && part[0] == 'k') continue;
      std::string const prefix = path.empty() ? fmt::format("{}.", part) : fmt::format("{}.{}.", path, part);
      for (NamedTensor const& p : parameters) {
        if (!p.name.starts_with(prefix) || p.tensor.size(0) % factor.size(0) != 0) continue;
        found = true;
        Tensor body = p.tensor;
        Tensor const rows = body.detach().reshape({factor.size(0), -1});
        body.copy_((rows * factor.to(body.dtype()).unsqueeze(1)).reshape(body.shape()));
      }
    }
    check(found, "qk-clip", [&, &path = path] {
      return Complaint{
          fmt::format("{} has no parameters q_proj and k_proj to shrink", path.empty() ? "the layer" : path),
          "use logit-soft-cap, which needs none"};
    });
  }
  seen_.clear();
}

Tensor SupervisedAttention::measure(AttentionCall const& call) const {
  check(target_.defined(), "supervised-attention", [] {
    return Complaint{"there are no maps to learn from", "pass the target() of every batch"};
  });
  Tensor const& lse = softmax_lse(name(), call);
  Shape const maps{call.q.size(0), call.q.size(1), call.q.size(2), call.k.size(2)};
  check(broadcast("supervised-attention", target_.shape(), maps) == maps, "supervised-attention", [&] {
    return Complaint{
        fmt::format("expected a target that broadcasts to {}, got {}", to_string(maps), to_string(target_.shape())),
        "rows are queries, columns keys"};
  });
  Tensor target = target_.detach().to(lse.dtype()).to(lse.device());
  while (target.rank() < 4) target = target.unsqueeze(0);
  double const shift = double(call.k.size(2) - call.q.size(2));
  Tensor const divergence = score_sum(
      call.q, call.k,
      [&](auto s, auto at) {
        auto const t = read(target, {at.b, at.h, at.i - shift, at.j}),
                   log_a = s - read(lse, {at.b, at.h, at.i - shift});
        return select(t > 0., t * (log(t) - log_a), 0.);
      },
      call.options);
  Tensor const told = (sum(target, {3}) > 0.0).expand(lse.shape());
  return mean_where(told, where(told, divergence, 0.0));
}

}  // namespace heed::nn
