// Initialisers of single tensors, beside those of nn/init.h. Each is a struct of settings: init::VarianceScaling{.scale
// = 2}(weight).
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/init.h>

#include <string>

namespace heed::nn::init {

struct Constant {
  double value = 0;
  void visit(ConfigVisitor& v) { v.field("value", value, "of every element"); }
  void operator()(Tensor& tensor) const { constant_(tensor, value); }
};

/// U(low, high)
struct Uniform {
  double low = -0.1, high = 0.1;
  void visit(ConfigVisitor& v) {
    v.field("low", low, "least value");
    v.field("high", high, "greatest value");
  }
  void operator()(Tensor& tensor) const { uniform_(tensor, low, high); }
};

/// N(mean, deviation²)
struct Normal {
  double deviation = 0.02, mean = 0;
  void visit(ConfigVisitor& v) {
    v.field("deviation", deviation, "standard deviation");
    v.field("mean", mean, "mean");
  }
  void operator()(Tensor& tensor) const { normal_(tensor, deviation, mean); }
};

/// N(mean, deviation²) within `cut` deviations of the mean.
struct TruncatedNormal {
  double deviation = 0.02, mean = 0, cut = 2;
  void visit(ConfigVisitor& v) {
    v.field("deviation", deviation, "of the normal distribution, before it is cut");
    v.field("mean", mean, "mean");
    v.field("cut", cut, "farthest from the mean, deviations");
  }
  void operator()(Tensor& tensor) const;
};

/// Variance scale/fan of a weight [O, I, ..], whose fan_in is I·.. and fan_out O·..; normal, uniform, or normal cut at
/// two deviations with the variance kept. Glorot and Bengio (2010): scale 1, fan_avg. He et al. (2015): 2, fan_in (for
/// ReLU; 2/(1 + a²) for slope a). LeCun et al. (1998), and for SELU Klambauer et al. (2017): 1, fan_in.
struct VarianceScaling {
  double scale = 1;
  std::string mode = "fan_in", distribution = "truncated_normal";
  void visit(ConfigVisitor& v) {
    v.field("scale", scale, "of the variance");
    v.field("mode", mode, "fan_in, fan_out or fan_avg");
    v.field("distribution", distribution, "normal, uniform or truncated_normal");
  }
  void operator()(Tensor& weight) const;
};

/// A weight [O, ..] whose rows, or columns where there are more rows, are orthonormal, times gain: uniform among those
/// (Saxe et al., 2014): Q of a normal matrix, with R's signs taken in (Mezzadri, 2007).
struct Orthogonal {
  double gain = 1;
  void visit(ConfigVisitor& v) { v.field("gain", gain, "factor"); }
  void operator()(Tensor& weight) const;
};

/// gain·1 for a matrix. The recurrent weight of an IRNN (Le et al., 2015).
struct Identity {
  double gain = 1;
  void visit(ConfigVisitor& v) { v.field("gain", gain, "factor"); }
  void operator()(Tensor& weight) const;
};

/// A convolution [O, I, taps..] that hands on its channels: 1 at the middle tap of the first min(O, I) channels of each
/// group.
struct Dirac {
  int64_t groups = 1;
  void visit(ConfigVisitor& v) { v.field("groups", groups, "of output channels, each with the same inputs"); }
  void operator()(Tensor& weight) const;
};

/// An LSTM's bias [4·H] (i, f, g, o) with f = value, so that it remembers at first (Gers et al., 2000; Jozefowicz et
/// al., 2015).
struct ForgetBias {
  double value = 1;
  void visit(ConfigVisitor& v) { v.field("value", value, "of the forget gate"); }
  void operator()(Tensor& bias) const;
};

/// An LSTM's bias [4·H] with f = log U(1, longest − 1) and i = −f: memories of all lengths up to the longest (Tallec
/// and Ollivier, 2018).
struct Chrono {
  double longest = 100;
  void visit(ConfigVisitor& v) { v.field("longest", longest, "range of what is to be remembered, steps; above 2"); }
  void operator()(Tensor& bias) const;
};

/// γ_h = 1 − 2^(−5 − h) for heads [H] (RetNet: Sun et al., 2023), or its logarithm, as scan() takes decays.
struct RetNetDecay {
  bool logarithm = false;
  void visit(ConfigVisitor& v) { v.field("logarithm", logarithm, "log γ in place of γ"); }
  void operator()(Tensor& decay) const;
};

/// 2^(−8(h + 1)/H) for heads [H], H a power of two; else those of the next lower power P and, in between, every second
/// of 2·P's (Press et al., 2022).
struct AlibiSlopes {
  void operator()(Tensor& slopes) const;
};

/// The matrix [N, N] whose state holds the Legendre coefficients of all of the past: −√((2n + 1)(2k + 1)) below the
/// diagonal, −(n + 1) on it (HiPPO-LegS: Gu et al., 2020).
struct Hippo {
  void operator()(Tensor& a) const;
};

/// The diagonal of a state matrix. "lin" −½ + πni and "inv" −½ + i·N/π·(N/(2n + 1) − 1) are complex, [.., N, 2]; "real"
/// −(n + 1) is [.., N], with "log-real" log(n + 1) what Mamba keeps of it (S4D: Gu et al., 2022).
struct S4D {
  std::string kind = "lin";
  void visit(ConfigVisitor& v) { v.field("kind", kind, "lin, inv, real or log-real"); }
  void operator()(Tensor& a) const;
};

}  // namespace heed::nn::init
