// What a model's attention depends on, by layer and head: one call.
#pragma once

#include <heed/nn/diagnose/measures.h>
#include <heed/nn/module.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace heed::nn {

struct LayerDiagnosis {
  std::string path;  // of the layer that attends, "blocks.3.attn"
  int64_t heads = 0;
  std::vector<std::vector<double>> values;  // as measures(): one a head, or one; NaN where it could not be measured
};

struct Diagnosis {
  std::vector<LayerDiagnosis> layers;  // in the order of their first call
  /// Of a layer and head; `head` is ignored where the measure has one number a layer.
  double value(size_t layer, size_t head, std::string_view measure) const;
  /// The mean over layers and heads of what is not NaN.
  double mean(std::string_view measure) const;
  /// The share of heads whose first key gets more than `epsilon` on average: Sink_ε of the first key (Gu et al., 2024).
  double sink_rate(double epsilon = 0.3) const;
  /// One line a layer and head.
  std::string table() const;
};

/// Runs `forward`, which calls the model as often as it likes, in evaluation and unrecorded, and measures every
/// attend() and every recurrence by a layer: means over calls. Of a recurrence it measures the shares |A|/Σ|A| of the
/// map that it is of its values (attention/scan_map.h), all but stable-rank. Maps are made again 32 rows at a
/// time, never held; so it costs a few forwards. What comes after a block is the output of the module around the
/// attention layer.
Diagnosis diagnose(Module& model, std::function<void()> const& forward);

}  // namespace heed::nn
