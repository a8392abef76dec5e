// Rotary position embedding, whole or partial, and stretched to sequences longer than those it was trained on.
#pragma once

#include <heed/nn/attention/part.h>

#include <string>
#include <vector>

namespace heed::nn {

/// Rotates pairs of features of x [B, H, T, D] by angles (offset + t)·base^(−2i/D), i = 0 … D/2−1, so that q·k depends
/// on the difference of positions alone. Half-split layout: feature i is paired with i + D/2. Angles are computed in
/// f64. Su et al., "RoFormer: Enhanced transformer with rotary position embedding" (2021).
Tensor rope(Tensor const& x, int64_t offset = 0, double base = 10000);

/// Which features make a pair: i and i + P of the first 2P, or neighbours.
enum class RopeLayout { half_split, interleaved };
/// How the P = angles/T first pairs of features of x [B, H, T, D] turn: `angles` [T][P] in radians, results multiplied
/// by `amplitudes` [T][P] (none: 1). The other features stay.
Tensor rotate(Tensor const& x, std::vector<double> const& angles, std::vector<double> const& amplitudes = {},
              RopeLayout layout = RopeLayout::half_split);
/// base^(−i/pairs)
std::vector<double> rope_frequencies(int64_t pairs, double base);

/// rotate() of queries and keys. With `scaling`, angles for sequences `factor` times as long as the `original` ones;
/// factor 1 is rope() for all of them:
///   linear    frequencies / factor (Chen et al., "Position interpolation", 2023)
///   ntk       base·factor^(D/(D−2)): the slowest pair as linear, the fastest as it was (bloc97, 2023)
///   dynamic   ntk with factor·T/original − (factor − 1) for sequences of T > original: known only for a whole pass, so
///             that it does not decode step by step
///   yarn      pairs that turn more than 32 times in `original` stay, those below 1 are linear, between them a ramp;
///             q and k times 0.1·ln(factor) + 1 (Peng et al., 2023)
///   longrope  each pair by its own factor, found by search: `factors` "1/1.3/2", or factor^(i/(P − 1)); q and k times
///             √(1 + ln(factor)/ln(original)) in sum (Ding et al., 2024)
///   llama3    as yarn with wavelengths between original/4 and original, unscaled otherwise (Grattafiori et al., 2024)
class Rope final : public Part {
 public:
  struct Config {
    double base = 10000;
    double fraction = 1;
    bool interleaved = false;
    std::string scaling = "none";
    double factor = 1;
    int64_t original = 2048;
    std::string factors = "";
    void visit(ConfigVisitor& v) {
      v.field("base", base, "angles are position·base^(−2i/D)");
      v.field("fraction", fraction, "of the features that turn; the others know no positions");
      v.field("interleaved", interleaved, "neighbouring features are pairs, as in GPT-J and Llama's own files");
      v.field("scaling", scaling, "none, linear, ntk, dynamic, yarn, longrope or llama3");
      v.field("factor", factor, "how many times longer sequences are than the original");
      v.field("original", original, "positions of the training that is stretched");
      v.field("factors", factors, "longrope: a factor for each pair, joined by /");
    }
  };
  Rope(AttentionConfig const& given, Config const& own);
  void project(HeadOperands& o) const override;
  Traits traits() const override;
  bool spreads() const override { return own_.scaling != "dynamic"; }

 private:
  Config own_;
  std::vector<double> frequencies_;
  double amplitude_ = 1;
};

}  // namespace heed::nn
