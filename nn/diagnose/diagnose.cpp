#include <fmt/format.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/diagnose/diagnose.h>
#include <heed/nn/diagnose/map_measures.h>
#include <heed/nn/diagnose/rank.h>
#include <heed/nn/hooks.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::nn {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// Sums over calls, and how many there were.
struct Sums {
  LayerDiagnosis layer;
  std::vector<double> counts;

  Sums(std::string_view path, int64_t heads) : layer{std::string(path), heads, {}}, counts(measures().size(), 0) {
    for (MeasureRow const& m : measures()) layer.values.emplace_back(m.by_head ? size_t(heads) : 1, 0.0);
  }
  void add(std::string_view measure, std::vector<double> const& values) {
    size_t const m = measure_index(measure);
    if (values.size() != layer.values[m].size()) return;  // a layer that attends with other heads the next time
    for (size_t i = 0; i < values.size(); ++i) layer.values[m][i] += values[i];
    counts[m] += 1;
  }
  LayerDiagnosis means() const {
    LayerDiagnosis result = layer;
    for (size_t m = 0; m < counts.size(); ++m)
      for (double& value : result.values[m]) value = counts[m] > 0 ? value / counts[m] : unknown;
    return result;
  }
};

struct Watch {
  std::vector<Sums> layers;

  /// What is measured of every map; `out` [B, H, T, E], `v` [B, G, S, E].
  Sums& add(std::string_view path, MapMeasures const& m, Tensor const& out, Tensor const& v) {
    int64_t const heads = out.size(1), groups = v.size(1), share = heads / std::max(groups, int64_t{1});
    auto at = std::find_if(layers.begin(), layers.end(), [&](Sums const& l) { return l.layer.path == path; });
    if (at == layers.end()) at = layers.insert(at, Sums(path, heads));
    at->add("entropy", m.entropy), at->add("entropy-share", m.entropy_share), at->add("perplexity", m.perplexity);
    at->add("effective-count", m.effective_count), at->add("largest", m.largest), at->add("gini", m.gini);
    at->add("saturation", m.saturation), at->add("distance", m.distance), at->add("sink", m.sink);
    at->add("first-key", m.first_key), at->add("first-key-norm", m.first_key_norm);
    at->add("value-drain", m.value_drain), at->add("overlap", m.overlap), at->add("divergence", m.divergence);
    at->add("output-similarity", head_similarity(out));
    std::vector<double> const by_group = head_similarity(v);
    std::vector<double> values;
    // Of a head's H − 1 others, share − 1 read the very same values.
    for (int64_t h = 0; h < heads; ++h)
      values.push_back(heads < 2 ? 0
                                 : (double(share - 1) + double((groups - 1) * share) * by_group[size_t(h / share)]) /
                                       double(heads - 1));
    at->add("value-similarity", values);
    at->add("output-rank", output_rank(out));
    return *at;
  }
  void attended(AttentionCall const& call) {
    add(call.path, measure_maps(call), call.result.out, call.v).add("stable-rank", stable_rank(call));
  }
  void scanned(ScanCall const& call) { add(call.path, measure_maps(call), call.out, call.v); }

  void passed(ModuleCall const& call) {
    if (call.output.rank() < 2) return;
    for (Sums& l : layers) {
      std::string_view const path = l.layer.path;
      if (path.substr(0, path.rfind('.') == path.npos ? 0 : path.rfind('.')) != call.path || path.empty()) continue;
      l.add("token-similarity", {token_similarity(call.output)});
      l.add("rank-residual", {relative_rank_residual(call.output)});
    }
  }
};

}  // namespace

Diagnosis diagnose(Module& model, std::function<void()> const& forward) {
  Watch watch;
  struct Hooks {
    HookHandle attended, scanned, passed;
    Module& model;
    bool trains = model.training();
    ~Hooks() {
      attended.remove();
      scanned.remove();
      passed.remove();
      if (trains) train(model);
    }
  };
  {
    NoGrad const off;
    Hooks const hooks{on_attend({}, [&](AttentionCall& call) { watch.attended(call); }),
                      on_scan([&](ScanCall const& call) { watch.scanned(call); }),
                      on_forward("**",
                                 [&](ModuleCall const& call) {
                                   watch.passed(call);
                                   return Tensor();
                                 }),
                      model};
    eval(model);
    forward();
  }
  Diagnosis result;
  for (Sums const& layer : watch.layers) result.layers.push_back(layer.means());
  return result;
}

double Diagnosis::value(size_t layer, size_t head, std::string_view measure) const {
  auto const& values = layers.at(layer).values.at(measure_index(measure));
  return values.at(values.size() == 1 ? 0 : head);
}

double Diagnosis::mean(std::string_view measure) const {
  double sum = 0, count = 0;
  for (LayerDiagnosis const& layer : layers)
    for (double value : layer.values.at(measure_index(measure)))
      if (!std::isnan(value)) sum += value, count += 1;
  return count > 0 ? sum / count : unknown;
}

double Diagnosis::sink_rate(double epsilon) const {
  double sinks = 0, count = 0;
  for (LayerDiagnosis const& layer : layers)
    for (double value : layer.values.at(measure_index("first-key"))) sinks += value > epsilon, count += 1;
  return count > 0 ? sinks / count : unknown;
}

std::string Diagnosis::table() const {
  std::string text = fmt::format("{:>12} {:>4}", "layer", "head");
  for (MeasureRow const& m : measures()) text += fmt::format(" {:>{}}", m.name, std::max(m.name.size(), size_t{7}));
  text += '\n';
  for (LayerDiagnosis const& layer : layers)
    for (size_t h = 0; h < size_t(layer.heads); ++h) {
      text += fmt::format("{:>12} {:>4}", layer.path, h);
      for (size_t m = 0; m < measures().size(); ++m) {
        auto const& values = layer.values[m];
        text += fmt::format(" {:>{}.3f}", values[values.size() == 1 ? 0 : h],
                            std::max(measures()[m].name.size(), size_t{7}));
      }
      text += '\n';
    }
  return text;
}

}  // namespace heed::nn
