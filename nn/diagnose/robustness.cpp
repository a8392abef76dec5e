#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/attention_rows.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/diagnose/robustness.h>
#include <heed/nn/regularize/attention_regularizer.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::nn {

double noise_sensitivity(std::function<Tensor(Tensor const&)> const& f, Tensor const& x, double deviation,
                         int64_t trials, Generator& generator) {
  check(deviation > 0 && trials >= 1, "noise_sensitivity", [] {
    return Complaint{"expected a deviation above 0 and one trial or more", "0.01 of the inputs' size is usual"};
  });
  NoGrad const off;
  Tensor const still = f(x);
  double sum = 0;
  for (int64_t n = 0; n < trials; ++n) {
    Tensor const noise = randn(x.shape(), Dtype::f32, generator).to(x.dtype()).to(x.device()) * deviation;
    sum += vector_norm(f(x + noise) - still).item() / vector_norm(noise).item();
  }
  return sum / double(trials);
}

std::vector<double> token_noise_curve(std::function<double(Tensor const& tokens)> const& loss, Tensor const& tokens,
                                      int64_t vocabulary, std::vector<double> const& rates, Generator& generator) {
  NoGrad const off;
  Tensor const others = randint(0, vocabulary, tokens.shape(), generator).to(tokens.device());
  Tensor const threshold = rand(tokens.shape(), Dtype::f32, generator).to(tokens.device());
  std::vector<double> curve;
  for (double rate : rates) curve.push_back(loss(where(threshold < rate, others, tokens)));
  return curve;
}

namespace {

/// The last axis's place of the largest number, or, at random, of one of the others that are above 0.
Tensor chosen(Tensor const& numbers, Generator* random) {
  int const last = numbers.rank() - 1;
  Tensor const top = argmax(numbers, last);
  if (!random) return top;
  Tensor const other = arange(numbers.size(last)).to(numbers.device()) != top.unsqueeze(last);
  Tensor const draw = rand(numbers.shape(), Dtype::f32, *random).to(numbers.device());
  return argmax(where(other & (numbers > 0.0), draw, -1.0), last);
}

/// The key that each query loses, [B, H, T]; −1 where it sees fewer than two.
Tensor lost_keys(AttentionCall const& given, Deletion deletion, Generator* random) {
  AttentionCall const call = as_attended(given);
  AttendOptions options = call.options;
  options.dropout = 0;
  int64_t const t = call.q.size(2);
  std::vector<Tensor> parts;
  Tensor received;
  for (int64_t from = 0; from < t; from += 32) {
    Tensor const a = abs(attention_rows(call.q.detach(), call.k.detach(), from, std::min(from + 32, t), options));
    if (deletion == Deletion::key)
      parts.push_back(chosen(a, random));
    else
      received = received.defined() ? received + sum(a, {2}) : sum(a, {2});
  }
  Tensor const seen = keys_seen(call);
  if (deletion == Deletion::key) return where(seen >= 2.0, cat(parts, 2), -1);
  Tensor const seeing = queries_seeing(call), often = seeing * 4.0 >= double(t);
  Tensor const share = where(often, received.to(seeing.dtype()) / where(often, seeing, 1.0), 0.0);
  return where(seen >= 2.0, chosen(share, random).unsqueeze(2).expand(seen.shape()), -1);
}

double evaluate_without(std::function<double()> const& evaluate, Deletion deletion, Generator* random) {
  bool attended = false;
  HookHandle hook = on_attend([&](AttentionCall& call) {
    attended = true;
    NoGrad const off;
    Tensor const key = lost_keys(call, deletion, random).to(Dtype::f32);
    double const shift = double(call.k.size(2) - call.q.size(2));
    call.options.sees = call.options.sees & MaskMod([&](auto at) {
                          return at.j != read(key, {at.b, at.h, at.i - shift});
                        });
  });
  struct Off {
    HookHandle& hook;
    ~Off() { hook.remove(); }
  } const off{hook};
  double const value = evaluate();
  return attended ? value : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

DeletionDrop most_attended_drop(std::function<double()> const& evaluate, Generator& generator, Deletion deletion) {
  return {evaluate(), evaluate_without(evaluate, deletion, nullptr), evaluate_without(evaluate, deletion, &generator)};
}

IntegratedGradients integrated_gradients(std::function<Tensor(Tensor const&)> const& f, Tensor const& x,
                                         Tensor const& baseline, int64_t steps) {
  check(steps >= 1, "integrated_gradients", [] { return Complaint{"expected one step or more", "64 are usual"}; });
  Tensor const way = x.detach() - baseline.detach();
  Tensor sum_of = zeros_like(way);
  for (int64_t n = 0; n < steps; ++n) {
    EnableGrad const on;
    Tensor const at = (baseline.detach() + way * ((double(n) + 0.5) / double(steps))).detach().requires_grad_();
    Tensor const g = grad({f(at)}, {at})[0];
    NoGrad const off;
    sum_of = sum_of + g.detach();
  }
  NoGrad const off;
  Tensor const attribution = way * sum_of / double(steps);
  double const change = f(x.detach()).item() - f(baseline.detach()).item();
  return {attribution, std::abs(sum(attribution).item() - change)};
}

std::vector<RecallBucket> recall_by_distance(std::vector<int64_t> const& distances, std::vector<bool> const& right) {
  check(distances.size() == right.size(), "recall_by_distance", [] {
    return Complaint{"distances and answers differ in number", "pass one of each a question"};
  });
  std::vector<RecallBucket> buckets;
  int64_t const farthest = distances.empty() ? 0 : *std::max_element(distances.begin(), distances.end());
  for (int64_t from = 1; from <= farthest; from *= 2) {
    double n = 0, hits = 0;
    for (size_t i = 0; i < distances.size(); ++i)
      if (distances[i] >= from && distances[i] < 2 * from) n += 1, hits += right[i];
    if (n == 0) continue;
    double const p = hits / n, z = 1.959963984540054, z2 = z * z;
    double const centre = (p + z2 / (2 * n)) / (1 + z2 / n);
    double const half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
    buckets.push_back({from, 2 * from, int64_t(n), p, std::max(centre - half, 0.0), std::min(centre + half, 1.0)});
  }
  return buckets;
}

}  // namespace heed::nn
