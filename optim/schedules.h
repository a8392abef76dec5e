// The curves of the schedules. Each gives the rate at step t of T (t may pass T): η the peak, f the floor, and
// u = min(t/T, 1) the share that is done.
#pragma once

#include <heed/optim/schedule.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace heed::optim {

struct Curve {
  double t, T, u, peak, floor;
  /// f + (η − f)·share
  double between(double share) const { return floor + (peak - floor) * share; }
};
inline double half_cosine(double u) { return 0.5 * (1 + std::cos(std::numbers::pi * u)); }

/// η
struct ConstantSchedule {
  static constexpr char const* name = "constant";
  void visit(nn::ConfigVisitor&) {}
  double at(Curve const& c) const { return c.peak; }
};

/// η·γ^⌊t/every⌋, not below f.
struct StepSchedule {
  static constexpr char const* name = "step";
  double gamma = 0.1;
  int64_t every = 0;
  void visit(nn::ConfigVisitor& v) {
    v.field("gamma", gamma, "factor at each step down");
    v.field("every", every, "steps between two; 0: a third of all");
  }
  double at(Curve const& c) const {
    double const length = every > 0 ? double(every) : std::max(1., std::ceil(c.T / 3));
    return std::max(c.floor, c.peak * std::pow(gamma, std::floor(c.t / length)));
  }
};

/// η·γ^(milestones passed), not below f.
struct MultistepSchedule {
  static constexpr char const* name = "multistep";
  double gamma = 0.1;
  std::string milestones = "0.5/0.75";
  void visit(nn::ConfigVisitor& v) {
    v.field("gamma", gamma, "factor at each milestone");
    v.field("milestones", milestones, "joined by /: below 1 a share of the steps, else a step");
  }
  double at(Curve const& c) const;
};

/// η·γ^t, not below f; γ = 0 stands for the γ that comes to f (or to η/1000 where f is 0) at T.
struct ExponentialSchedule {
  static constexpr char const* name = "exponential";
  double gamma = 0;
  void visit(nn::ConfigVisitor& v) { v.field("gamma", gamma, "factor a step; 0: what comes to the floor at the end"); }
  double at(Curve const& c) const {
    double const end = c.floor > 0 ? c.floor / c.peak : 1e-3;
    return std::max(c.floor, c.peak * (gamma > 0 ? std::pow(gamma, c.t) : std::pow(end, c.u)));
  }
};

/// f + (η − f)(1 − u)
struct LinearSchedule {
  static constexpr char const* name = "linear";
  void visit(nn::ConfigVisitor&) {}
  double at(Curve const& c) const { return c.between(1 - c.u); }
};

/// f + (η − f)(1 − u)^p
struct PolynomialSchedule {
  static constexpr char const* name = "polynomial";
  double power = 2;
  void visit(nn::ConfigVisitor& v) { v.field("power", power, "p; 1: linear"); }
  double at(Curve const& c) const { return c.between(std::pow(1 - c.u, power)); }
};

/// f + (η − f)(1 + cos πu)/2 (Loshchilov and Hutter, 2017).
struct CosineSchedule {
  static constexpr char const* name = "cosine";
  void visit(nn::ConfigVisitor&) {}
  double at(Curve const& c) const { return c.between(half_cosine(c.u)); }
};

/// The cosine again and again, each period `growth` times as long as the last (Loshchilov and Hutter, 2017).
struct CosineRestartsSchedule {
  static constexpr char const* name = "cosine-restarts";
  int64_t period = 0;
  double growth = 1;
  void visit(nn::ConfigVisitor& v) {
    v.field("period", period, "steps of the first period; 0: a quarter of all");
    v.field("growth", growth, "of each period over the last, 1 or more");
  }
  double at(Curve const& c) const {
    double const first = period > 0 ? double(period) : std::max(1., std::ceil(c.T / 4)), r = std::max(growth, 1.);
    // k periods take first·(r^k − 1)/(r − 1) steps.
    double const k =
        r == 1 ? std::floor(c.t / first) : std::floor(std::log1p(c.t * (r - 1) / first) / std::log(r) + 1e-12);
    double const begin = r == 1 ? k * first : first * (std::pow(r, k) - 1) / (r - 1);
    return c.between(half_cosine(std::clamp((c.t - begin) / (first * std::pow(r, k)), 0., 1.)));
  }
};

/// η·(from + (1 − from)·(t + 1)/T), then η (Goyal et al., 2017).
struct WarmupSchedule {
  static constexpr char const* name = "warmup";
  double from = 0;
  void visit(nn::ConfigVisitor& v) { v.field("from", from, "share of the peak before the first step"); }
  double at(Curve const& c) const { return c.peak * (from + (1 - from) * std::min(1., (c.t + 1) / c.T)); }
};

/// From η/div to η by half a cosine over a share `rise`, then down to η/(div·final_div) (Smith and Topin, 2019).
struct OneCycleSchedule {
  static constexpr char const* name = "one-cycle";
  double rise = 0.3, div = 25, final_div = 1e4;
  void visit(nn::ConfigVisitor& v) {
    v.field("rise", rise, "share of the steps that rise, 0 to 1");
    v.field("div", div, "peak over first rate");
    v.field("final_div", final_div, "first rate over last");
  }
  double at(Curve const& c) const {
    double const first = c.peak / div, top = rise * c.T - 1, end = c.T - 1, t = std::min(c.t, end);
    if (top > 0 && t <= top) return c.peak + (first - c.peak) * half_cosine(t / top);
    double const last = first / final_div;
    return last + (c.peak - last) * half_cosine((t - top) / (end - top));
  }
};

/// Up and down between f and η in straight lines; the height halves after every cycle where fade is 0.5 (Smith, 2017).
struct CyclicSchedule {
  static constexpr char const* name = "cyclic";
  int64_t up = 0, down = 0;
  double fade = 1;
  void visit(nn::ConfigVisitor& v) {
    v.field("up", up, "steps of a rise; 0: an eighth of all");
    v.field("down", down, "steps of a fall; 0: as many");
    v.field("fade", fade, "factor of the height after each cycle");
  }
  double at(Curve const& c) const {
    double const rise = up > 0 ? double(up) : std::max(1., std::ceil(c.T / 8)), fall = down > 0 ? double(down) : rise;
    double const cycle = std::floor(c.t / (rise + fall)), x = c.t - cycle * (rise + fall);
    return c.between(std::pow(fade, cycle) * (x <= rise ? x / rise : (rise + fall - x) / fall));
  }
};

/// η/√(1 + t/scale), not below f.
struct InverseSqrtSchedule {
  static constexpr char const* name = "inverse-sqrt";
  int64_t scale = 0;
  void visit(nn::ConfigVisitor& v) { v.field("scale", scale, "steps until the rate is η/√2; 0: a tenth of all"); }
  double at(Curve const& c) const {
    return std::max(c.floor, c.peak / std::sqrt(1 + c.t / (scale > 0 ? double(scale) : std::max(1., c.T / 10))));
  }
};

/// η·min((t + 1)/w, √(w/(t + 1))), not below f after the rise (Vaswani et al., 2017; their η is (d·w)^−½).
struct NoamSchedule {
  static constexpr char const* name = "noam";
  int64_t warmup = 0;
  void visit(nn::ConfigVisitor& v) { v.field("warmup", warmup, "w, steps of the rise; 0: a tenth of all"); }
  double at(Curve const& c) const {
    double const w = warmup > 0 ? double(warmup) : std::max(1., std::round(c.T / 10)), n = c.t + 1;
    return n <= w ? c.peak * n / w : std::max(c.floor, c.peak * std::sqrt(w / n));
  }
};

/// Warm-up (as before any schedule), stable, decay: η until the last share `decay`, then down to f (Hu et al., 2024;
/// the falls: Hägele et al., 2024).
struct WsdSchedule {
  static constexpr char const* name = "wsd";
  double decay = 0.2;
  std::string shape = "linear";
  void visit(nn::ConfigVisitor& v) {
    v.field("decay", decay, "share of the steps that fall, 0 to 1");
    v.field("shape", shape, "of the fall: linear, cosine, or sqrt for 1 − √x");
  }
  double at(Curve const& c) const {
    double const x = decay > 0 ? std::max(0., (c.u - (1 - decay)) / decay) : 0;
    return c.between(shape == "cosine" ? half_cosine(x) : shape == "sqrt" ? 1 - std::sqrt(x) : 1 - x);
  }
  void require() const;
};

/// f + (η − f)(1 − u)/(1 − u/2): between linear and constant, for any number of steps (Chen et al., 2022).
struct RexSchedule {
  static constexpr char const* name = "rex";
  void visit(nn::ConfigVisitor&) {}
  double at(Curve const& c) const { return c.between((1 - c.u) / (1 - c.u / 2)); }
};

/// 1/η_t = (1/η + 1/f)/2 + (1/η − 1/f)/2·cos((σ(t) + ½)π/n), over and over n steps in the fractal order σ, which keeps
/// long steps between short ones (Agarwal et al., 2021). f = 0 stands for η/10.
struct ChebyshevSchedule {
  static constexpr char const* name = "chebyshev";
  int64_t period = 16;
  void visit(nn::ConfigVisitor& v) { v.field("period", period, "n, a power of two"); }
  void require() const;
  double at(Curve const& c) const {
    // σ of 2n steps interlaces σ of n with its mirror: t's bits from the lowest on choose the half.
    int64_t const t = int64_t(c.t) % period;
    int64_t place = 0;
    for (int64_t n = 1, bit = period >> 1; n < period; n *= 2, bit >>= 1)
      if (t & bit) place = 2 * n - 1 - place;
    double const low = c.floor > 0 ? c.floor : c.peak / 10, x = (double(place) + 0.5) / double(period);
    return 2 / (1 / c.peak + 1 / low + (1 / c.peak - 1 / low) * std::cos(std::numbers::pi * x));
  }
};

/// f + (η − f)(1 − tanh(−lower + (lower + upper)·u))/2 (Hsueh et al., 2019).
struct TanhSchedule {
  static constexpr char const* name = "tanh";
  double lower = 6, upper = 3;
  void visit(nn::ConfigVisitor& v) {
    v.field("lower", lower, "minus where the curve begins");
    v.field("upper", upper, "where it ends");
  }
  double at(Curve const& c) const { return c.between(0.5 * (1 - std::tanh(-lower + (lower + upper) * c.u))); }
};

}  // namespace heed::optim
