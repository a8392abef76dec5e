// Changes of training data that leave the targets alone: tokens [B, T] (i64), series [B, T, C], spectra [B, F, T],
// images [N, C, H, W] of values in [0, 1].
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/regularize/regularizer.h>

#include <string_view>
#include <vector>

namespace heed::nn {

/// Tokens replaced with probability p: by `with`, or, where that is negative, by any of the vocabulary.
Tensor mask_tokens(Tensor const& tokens, double p, int64_t with, int64_t vocabulary,
                   Generator& generator = default_generator());
/// Tokens [B, T] with `rate`·T pairs swapped, each deleted with probability `rate`, and `rate`·T of any of the
/// vocabulary inserted at random places; what then goes beyond T is cut, what is missing is `fill` (Wei and Zou, 2019:
/// EDA, whose synonyms need a dictionary).
struct EditedTokens {
  Tensor tokens, from;  // [B, T]: where each token stood before, −1 for new ones
};
EditedTokens edit_tokens(Tensor const& tokens, double rate, int64_t fill, int64_t vocabulary,
                         Generator& generator = default_generator());
/// One span (square) of each batch, `share` of the positions, becomes noise: any tokens, or N(0, 1) (random erasing:
/// Zhong et al., 2020). Tokens, series, images.
Tensor erase(Tensor const& x, double share, int64_t vocabulary, Generator& generator = default_generator());
/// x + N(0, deviation²)
Tensor jitter(Tensor const& x, double deviation, Generator& generator = default_generator());
/// A window of `share` of each series [B, T, C] runs slower or faster by `scale`, the rest makes up for it: linear
/// interpolation, ends stay (Le Guennec et al., 2016).
Tensor warp_window(Tensor const& x, double share, double scale, Generator& generator = default_generator());
struct SpecAugmentOptions {
  int64_t frequency_masks = 2, frequency_width = 8;  // of up to so many bands each
  int64_t time_masks = 2, time_width = 16;           // of up to so many frames each
  int64_t time_warp = 0;                             // by how many frames at most a place moves
};
/// x [B, F, T] along time: one place of each sample, at least `most` from both ends, moves by up to `most` frames to
/// either side, ends stay, between them linear interpolation (Park et al., 2019, on lines for their thin plates).
Tensor warp_time(Tensor const& x, int64_t most, Generator& generator = default_generator());
/// Bands and frames of spectra x [B, F, T] set to 0, other ones for each sample, after a warp in time (Park et al.,
/// 2019, who found the warp to matter least).
Tensor spec_augment(Tensor const& x, SpecAugmentOptions const& options = {},
                    Generator& generator = default_generator());

/// The changes of images that the two policies below choose from, by name: identity, flip, brightness, contrast,
/// posterize, solarize, invert, autocontrast, rotate, shear-x, shear-y, translate-x, translate-y.
std::vector<std::string_view> const& image_changes();
/// The change of this index by a strength from −1 to 1; 0 leaves x as it is but for what has no strength.
Tensor change_image(Tensor const& x, int64_t index, double strength);
/// `count` changes of a random kind and sign for each image, all of strength `magnitude` (Cubuk et al., 2020).
Tensor rand_augment(Tensor const& x, int64_t count, double magnitude, Generator& generator = default_generator());
/// m·x + (1 − m)·Σ w_i·chain_i(x) for each image: `width` chains of one to three changes of a random strength up to
/// `magnitude`, w ~ Dirichlet(1, ..), m ~ U(0, 1) (Hendrycks et al., 2020).
Tensor aug_mix(Tensor const& x, int64_t width, double magnitude, Generator& generator = default_generator());
/// One change of a random kind and a random strength for each image (Müller and Hutter, 2021): nothing to tune.
Tensor trivial_augment(Tensor const& x, Generator& generator = default_generator());

/// Inputs alone are corrupted, targets stay (Devlin et al., 2019; for language models as word replacement: Xie et al.,
/// 2017).
class TokenMasking final : public Regularizer {
 public:
  struct Config {
    double p = 0.1;
    int64_t token = -1;
    void visit(ConfigVisitor& v) {
      v.field("p", p, "probability of a token to be replaced, 0 to below 1");
      v.field("token", token, "what stands in its place; -1: any");
    }
  };
  explicit TokenMasking(Config const& config);
  void begin(Module& model) override;
  void batch(Tensor& inputs, Tensor&, Generator& generator) override;

 private:
  Config config_;
  int64_t vocabulary_ = 0;
};

/// edit_tokens(). Targets of each position [B, T] go along with their tokens, and new tokens have none.
class TokenEdits final : public Regularizer {
 public:
  struct Config {
    double rate = 0.1;
    int64_t fill = 0;
    void visit(ConfigVisitor& v) {
      v.field("rate", rate, "share of the tokens that each kind of edit touches, 0 to below 1");
      v.field("fill", fill, "token at the end of sequences that became shorter");
    }
  };
  explicit TokenEdits(Config const& config);
  void begin(Module& model) override;
  void batch(Tensor& inputs, Tensor& targets, Generator& generator) override;

 private:
  Config config_;
  int64_t vocabulary_ = 0;
};

class Erasing final : public Regularizer {
 public:
  struct Config {
    double share = 0.1, p = 0.5;
    void visit(ConfigVisitor& v) {
      v.field("share", share, "of the positions, 0 to below 1");
      v.field("p", p, "probability for a batch");
    }
  };
  explicit Erasing(Config const& config);
  void begin(Module& model) override;
  void batch(Tensor& inputs, Tensor&, Generator& generator) override;

 private:
  Config config_;
  int64_t vocabulary_ = 0;
};

class Jitter final : public Regularizer {
 public:
  struct Config {
    double deviation = 0.03;
    void visit(ConfigVisitor& v) { v.field("deviation", deviation, "standard deviation of the noise"); }
  };
  explicit Jitter(Config const& config) : deviation_(config.deviation) {}
  void batch(Tensor& inputs, Tensor&, Generator& generator) override { inputs = jitter(inputs, deviation_, generator); }

 private:
  double deviation_;
};

class WindowWarp final : public Regularizer {
 public:
  struct Config {
    double share = 0.1, scale = 2;
    void visit(ConfigVisitor& v) {
      v.field("share", share, "of the series that is warped, above 0 to below 1");
      v.field("scale", scale, "how much longer the window becomes, or, by chance, shorter");
    }
  };
  explicit WindowWarp(Config const& config) : config_(config) {}
  void batch(Tensor& inputs, Tensor&, Generator& generator) override {
    inputs = warp_window(inputs, config_.share, config_.scale, generator);
  }

 private:
  Config config_;
};

class SpecAugment final : public Regularizer {
 public:
  struct Config : SpecAugmentOptions {
    void visit(ConfigVisitor& v) {
      v.field("frequency_masks", frequency_masks, "bands hidden");
      v.field("frequency_width", frequency_width, "of a band at most");
      v.field("time_masks", time_masks, "spans hidden");
      v.field("time_width", time_width, "of a span at most, frames");
      v.field("time_warp", time_warp, "frames by which a place moves at most; 0: none");
    }
  };
  explicit SpecAugment(Config const& config) : config_(config) {}
  void batch(Tensor& inputs, Tensor&, Generator& generator) override {
    inputs = spec_augment(inputs, config_, generator);
  }

 private:
  Config config_;
};

class RandAugment final : public Regularizer {
 public:
  struct Config {
    int64_t count = 2;
    double magnitude = 0.3;
    void visit(ConfigVisitor& v) {
      v.field("count", count, "changes of each image");
      v.field("magnitude", magnitude, "their strength, 0 to 1");
    }
  };
  explicit RandAugment(Config const& config) : config_(config) {}
  void batch(Tensor& inputs, Tensor&, Generator& generator) override {
    inputs = rand_augment(inputs, config_.count, config_.magnitude, generator);
  }

 private:
  Config config_;
};

/// aug_mix(). With `consistency` each batch stands three times, as it is and mixed twice, and the loss is CE of the
/// first + consistency·JSD of all three: it stands last among those that change batches.
class AugMix final : public Regularizer {
 public:
  struct Config {
    int64_t width = 3;
    double magnitude = 0.3, consistency = 0;
    void visit(ConfigVisitor& v) {
      v.field("width", width, "chains of changes that are mixed");
      v.field("magnitude", magnitude, "their largest strength, 0 to 1");
      v.field("consistency", consistency, "weight of the divergence between three views; 0: one view");
    }
  };
  explicit AugMix(Config const& config);
  void batch(Tensor& inputs, Tensor& targets, Generator& generator) override;
  Tensor loss(Tensor const& loss, Tensor const& logits, Tensor const& targets) override;

 private:
  Config config_;
};

class TrivialAugment final : public Regularizer {
 public:
  struct Config {
    void visit(ConfigVisitor&) {}
  };
  explicit TrivialAugment(Config const&) {}
  void batch(Tensor& inputs, Tensor&, Generator& generator) override { inputs = trivial_augment(inputs, generator); }
};

}  // namespace heed::nn
