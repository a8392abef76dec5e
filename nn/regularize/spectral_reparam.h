// Spectral normalisation (Miyato et al., 2018): σReparam with gains that stay. Every layer is Lipschitz with one
// constant: discriminators, and robustness to noise.
#pragma once

#include <heed/nn/regularize/sigma_reparam.h>

namespace heed::nn {

/// Layers compute with gain·W/σ_max(W).
class SpectralReparam : public SigmaReparam {
 public:
  struct Config {
    double gain = 1;
    std::string pattern = "**";
    void visit(ConfigVisitor& v) {
      v.field("gain", gain, "the largest singular value of every matrix, above 0");
      v.field("pattern", pattern, "names of the matrices, ** for any");
    }
  };
  explicit SpectralReparam(Config const& config)
      : SigmaReparam({.gain = config.gain, .learning_rate = 0, .pattern = config.pattern}) {}
};

}  // namespace heed::nn
