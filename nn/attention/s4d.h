// The diagonal state space.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/scan_attention.h>

#include <cmath>
#include <numbers>
#include <string>

namespace heed::nn {

/// y_t = Σ_s K_{t−s}·u_s + D·u_t, K_t = Re Σ_n c_n·exp((−a_n + i·ω_n)·Δ·t): every channel is filtered by decaying
/// waves, the same at all times (Gu et al., "S4", 2022; S4D-Lin: a = ½, ω = π·n). A wave of a difference splits into
/// waves of both positions, so that it runs as a scan over 2N real states. For smooth signals of long memory; it cannot
/// choose what to keep, as mamba does.
class S4D final : public ChannelScan {
 public:
  struct Config {
    int64_t state = 16;
    Settings around = {.gate = true};
    void visit(ConfigVisitor& v) {
      v.field("state", state, "waves N of a channel");
      around.visit(v);
    }
  };
  S4D(AttentionConfig const& given, Config const& own) : ChannelScan(given, own.around) {
    check(own.state >= 1, "s4d", [&] {
      return Complaint{"expected 1 wave or more, got " + std::to_string(own.state), "use 16"};
    });
    Shape const shape{inner(), own.state};
    log_step = trainable(uniform({inner()}, std::log(1e-3), std::log(0.1)));
    log_decay = trainable(full(shape, std::log(0.5)));
    frequency = trainable((arange(0, own.state).to(Dtype::f32) * std::numbers::pi).expand(shape).clone());
    real = trainable(randn(shape) * (1 / double(own.state)));
    imaginary = trainable(randn(shape) * (1 / double(own.state)));
    skip = trainable(ones({inner()}));
  }
  Traits traits() const override {
    Traits traits = ChannelScan::traits();
    traits.time = Growth::subquadratic;
    return traits;
  }
  bool spreads() const override { return false; }
  void visit(Visitor& visitor) override {
    ChannelScan::visit(visitor);
    visitor.parameter("log_step", log_step);
    visitor.parameter("log_decay", log_decay);
    visitor.parameter("frequency", frequency);
    visitor.parameter("real", real);
    visitor.parameter("imaginary", imaginary);
    visitor.parameter("skip", skip);
  }

  Tensor log_step, log_decay, frequency, real, imaginary, skip;

 private:
  /// [C, N, T] of rates [C, N]: rate·Δ·t
  static Tensor over_time(Tensor const& rates, Tensor const& time) { return rates.unsqueeze(-1) * time; }
  Tensor recur(Tensor const& u, ScanOperands& o) const override {
    Tensor const x = wide(u), step = exp(wide(log_step)).unsqueeze(-1), rates = exp(wide(log_decay)) * step;
    int64_t const t = x.size(1), waves = frequency.size(1);
    Tensor const time = arange(o.past, o.past + t).to(x.dtype()).to(x.device());
    Tensor const angle = over_time(wide(frequency) * step, time), c = cos(angle), s = sin(angle);  // [C, N, T]
    Tensor const re = wide(real).unsqueeze(-1), im = wide(imaginary).unsqueeze(-1);
    if (!o.state && !scans_are_seen()) {
      Tensor const kernel = sum(exp(-over_time(rates, time)) * (re * c - im * s), {1});
      return fft_convolve(x.transpose(1, 2), kernel.unsqueeze(0)).slice(2, 0, t).transpose(1, 2) + wide(skip) * x;
    }
    // A wave of t − s is one of t times one of s: 2N states that decay.
    Shape const shape{x.size(0), inner(), t, 2 * waves};
    auto const states = [&](Tensor const& a, Tensor const& b) { return cat({a, b}, 1).t().unsqueeze(0).expand(shape); };
    Tensor const q = states(re * c - im * s, re * s + im * c), k = states(c, s);
    Tensor const decay = -cat({rates, rates}, 1).unsqueeze(1).unsqueeze(0).expand(shape);
    return channel_scan(o, decay, x, {}, k, q) + wide(skip) * x;
  }
};

}  // namespace heed::nn
