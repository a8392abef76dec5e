#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/error.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/norm/spread_rows.h>

#include <unordered_map>

namespace heed::nn {
namespace {

thread_local std::unordered_map<ChannelNorm const*, SpreadRows*> spread;

SpreadRows* rows_of(ChannelNorm const& norm) {
  if (spread.empty() || !norm.training()) return nullptr;
  auto const found = spread.find(&norm);
  return found == spread.end() ? nullptr : found->second;
}

class Spreader final : public Visitor {
 public:
  explicit Spreader(SpreadRows& rows) : rows_(rows) {}
  void parameter(std::string_view, Tensor&) override {}
  void enter(std::string_view, Module& module) override {
    if (auto const* const norm = dynamic_cast<ChannelNorm const*>(&module)) spread[norm] = &rows_;
  }

 private:
  SpreadRows& rows_;
};

Tensor wide(Tensor const& x) { return is_half(x.dtype()) ? x.to(Dtype::f32) : x; }

void update(Tensor const& running, Tensor const& now, double momentum) {
  Tensor(running).copy_(running * (1 - momentum) + now.flatten().to(running.dtype()) * momentum);
}

}  // namespace

SpreadRows::~SpreadRows() {
  std::erase_if(spread, [&](auto const& entry) { return entry.second == this; });
}

void spread_rows(Module& root, SpreadRows& rows) {
  Spreader spreader(rows);
  spreader.enter({}, root);
  root.visit(spreader);
}

Tensor by_channel(Tensor const& parameter, Tensor const& x) {
  Shape shape = Shape::filled(x.rank() - 1, 1);
  shape[0] = -1;
  return parameter.reshape(shape);
}

BatchMoments batch_moments(ChannelNorm const& norm, Tensor const& x) {
  int64_t const channels = norm.config.channels;
  check(x.rank() >= 2 && x.size(1) == channels && x.numel() > 0, "batch_moments", [&] {
    return Complaint{fmt::format("expected x [N, {}, ..] with rows, got {}", channels, to_string(x.shape())),
                     "move the channels to axis 1, and give every rank a row"};
  });
  Dims axes{0};
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  auto const [var, mean] = var_mean(wide(x), axes, 0, true);
  double const count = double(x.numel() / channels);
  SpreadRows* const rows = rows_of(norm);
  if (!rows) return {mean, var, count};
  // Of all rows: mean = Σ n·mean/Σ n, var = Σ n·(var + (own mean − mean)²)/Σ n (Chan, Golub and LeVeque, 1979).
  Tensor const own = cat({mean.flatten(), var.flatten()}, 0).to(Dtype::f64);
  Tensor const all = rows->gather(cat({own, full({1}, count, Dtype::f64).to(x.device())}, 0).unsqueeze(0));
  Tensor const counts = all.slice(1, 2 * channels, 2 * channels + 1).detach(), total = sum(counts);
  Tensor const share = counts / total, means = all.slice(1, 0, channels);
  Tensor const middle = sum(means * share, {0});
  Tensor const spread_var = sum((all.slice(1, channels, 2 * channels) + square(means - middle)) * share, {0});
  return {middle.to(mean.dtype()).reshape(mean.shape()), spread_var.to(var.dtype()).reshape(var.shape()), total.item()};
}

Tensor batch_normed(ChannelNorm const& norm, Tensor const& x, Tensor const& weight, Tensor const& bias,
                    BatchNormOptions const& options) {
  if (!rows_of(norm)) return batch_norm(x, norm.running_mean, norm.running_var, weight, bias, options);
  auto const [mean, var, count] = batch_moments(norm, x);
  if (norm.running_mean.defined() && !recomputing()) {
    NoGrad const off;
    update(norm.running_mean, mean, options.momentum);
    update(norm.running_var, var * (count / (count - 1)), options.momentum);
  }
  Tensor y = ((wide(x) - mean) * rsqrt(var + options.eps)).to(autocast_wide(x.dtype()));
  if (weight.defined()) y = y * by_channel(weight, x);
  return bias.defined() ? y + by_channel(bias, x) : y;
}

}  // namespace heed::nn
