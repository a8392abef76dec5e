#include <heed/engine/error.h>
#include <heed/engine/ops/attention_rows.h>
#include <heed/engine/tape.h>
#include <heed/nn/diagnose/map_measures.h>
#include <heed/nn/regularize/attention_regularizer.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace heed::nn {
namespace {

/// −Σ p·log p over the last axis.
Tensor entropies(Tensor const& p) { return -sum(where(p > 0.0, p * log(where(p > 0.0, p, 1.0)), 0.0), {-1}); }

/// Sums by head over batches and blocks.
struct HeadSums {
  Tensor total;
  void add(Tensor const& x) {  // [B, H, ..]
    Tensor const part = sum(x.to(Dtype::f64).transpose(0, 1).reshape({x.size(1), -1}), {1});
    total = total.defined() ? total + part : part;
  }
  std::vector<double> over(double count) const { return (total / std::max(count, 1.0)).to_vector<double>(); }
  std::vector<double> over(Tensor const& count) const {
    return (total / maximum(count, full_like(count, 1e-300))).to_vector<double>();
  }
};

Tensor wide(Tensor const& x) { return is_half(x.dtype()) ? x.detach().to(Dtype::f32) : x.detach(); }
/// |v| of [B, G, S, E] for each of H heads.
Tensor value_lengths(Tensor const& v, int64_t h) {
  Tensor const lengths = vector_norm(wide(v), 2, {3});
  int64_t const b = lengths.size(0), g = lengths.size(1), s = lengths.size(2);
  return lengths.unsqueeze(2).expand({b, g, h / g, s}).reshape({b, h, s});
}

struct MapRows {
  Tensor seen, seeing;                           // [B, H, T]: keys that a query sees; [B, H, S]
  Tensor lengths;                                // of values, [B, H, S]
  std::function<Tensor(int64_t, int64_t)> rows;  // from, to: [B, H, to − from, S], 0 or more
};

MapMeasures measure(MapRows const& map) {
  Tensor const &seen = map.seen, &lengths = map.lengths;
  int64_t const b = seen.size(0), h = seen.size(1), t = seen.size(2), s = map.seeing.size(2);
  Tensor const some = seen >= 2.0;
  Tensor const places = arange(s).to(seen.dtype()).to(seen.device());

  HeadSums entropy, share, perplexity, count, largest, inequality, squares, distance, overlap, divergence, rows, first,
      all_norms, first_norms;
  Tensor received = zeros({b, h, s}, seen.dtype(), seen.device());
  constexpr int64_t block = 32;
  for (int64_t from = 0; from < t; from += block) {
    int64_t const to = std::min(from + block, t);
    Tensor const a = map.rows(from, to);
    received = received + sum(a, {2});
    Tensor const weighted = a * lengths.unsqueeze(2);
    all_norms.add(weighted), first_norms.add(weighted.slice(3, 0, 1));

    Tensor const mass = sum(a, {3}, true), counts = some.slice(2, from, to) & (mass.squeeze(3) > 0.0);
    Tensor const p = where(counts.unsqueeze(3), a / where(mass > 0.0, mass, 1.0), 0.0);
    Tensor const n = where(counts, seen.slice(2, from, to), 2.0), e = entropies(p), p2 = sum(square(p), {3});
    auto const kept = [&](Tensor const& x) { return where(counts, x, 0.0); };
    rows.add(counts.to(Dtype::f64));
    entropy.add(e), share.add(kept(e / log(n))), perplexity.add(kept(exp(e)));
    count.add(kept(1.0 / where(counts, p2, 1.0))), squares.add(kept(1.0 - p2)), largest.add(amax(p, {3}));
    // Hidden keys sort to the front with weight 0: key r of s is r − (s − n) of the n that are seen.
    Tensor const rank = (places + 1.0 - (double(s) - n.unsqueeze(3))) * 2.0 - n.unsqueeze(3) - 1.0;
    inequality.add(kept(sum(sort(p, 3).values * rank, {3}) / n));
    Tensor const at = (arange(to - from) + double(from + s - t)).to(p.dtype()).to(p.device());
    distance.add(sum(p * abs(at.unsqueeze(1) - places), {3}));
    if (h < 2) continue;
    overlap.add((sum(p, {1}, true) * p - square(p)) / double(h - 1));
    for (int64_t shift = 1; shift < h; ++shift) {
      Tensor const other = roll(p, {shift}, {1});
      Tensor const both = counts & roll(counts, {shift}, {1});
      Tensor const js = entropies((p + other) * 0.5) - (e + roll(e, {shift}, {1})) * 0.5;
      divergence.add(where(both, clamp_min(js, 0.0), 0.0) / double(h - 1));
    }
  }
  MapMeasures m;
  if (t == 0) return m;
  Tensor const n = rows.total;
  m.entropy = entropy.over(n), m.entropy_share = share.over(n), m.perplexity = perplexity.over(n);
  m.effective_count = count.over(n), m.largest = largest.over(n), m.gini = inequality.over(n);
  m.saturation = squares.over(n), m.distance = distance.over(n);
  m.overlap = m.divergence = std::vector<double>(size_t(h), 0.0);
  if (h > 1) m.overlap = overlap.over(n), m.divergence = divergence.over(n);

  // A key that few queries see would look like a sink by chance.
  Tensor const seeing = sum(map.seeing, {0}), got = sum(received, {0});
  Tensor const mean_got = where(seeing > 0.0, got / where(seeing > 0.0, seeing, 1.0), 0.0);
  m.sink = amax(where(seeing * 4.0 >= double(b * t), mean_got, 0.0), {1}).to(Dtype::f64).to_vector<double>();
  m.first_key = mean_got.select(1, 0).to(Dtype::f64).to_vector<double>();
  m.first_key_norm = first_norms.over(all_norms.total);
  Tensor const average = mean(lengths, {2});
  m.value_drain =
      mean(lengths.select(2, 0) / where(average > 0.0, average, 1.0), {0}).to(Dtype::f64).to_vector<double>();
  return m;
}

}  // namespace

MapMeasures measure_maps(AttentionCall const& given) {
  NoGrad const off;
  AttentionCall call = given;
  call.q = wide(given.q), call.k = wide(given.k), call.v = wide(given.v);
  return measure({keys_seen(call), queries_seeing(call), value_lengths(call.v, call.q.size(1)),
                  [&](int64_t from, int64_t to) { return attention_rows(call.q, call.k, from, to, call.options); }});
}

MapMeasures measure_maps(ScanCall const& call) {
  NoGrad const off;
  int64_t const b = call.out.size(0), h = call.out.size(1), t = call.out.size(2), s = call.k.size(2) / call.steps;
  Tensor lengths = value_lengths(call.v, h);
  if (call.steps > 1) lengths = sum(lengths.reshape({b, h, s, call.steps}), {3});
  Tensor const place = arange(s).to(lengths.dtype()).to(lengths.device());
  double const own = call.options.inclusive || call.own.defined() ? 1 : 0;
  Tensor const before = place + own, after = (double(t) - 1 + own) - place;
  auto const by_head = [&](Tensor const& x, int64_t n) { return x.expand({b, h, n}); };
  return measure({call.everything ? full({b, h, t}, double(s), lengths.dtype(), lengths.device()) : by_head(before, t),
                  call.everything ? full({b, h, s}, double(t), lengths.dtype(), lengths.device()) : by_head(after, s),
                  lengths, [&](int64_t from, int64_t to) { return scan_map_rows(call, from, to, true); }});
}

double least_entropy(double sigma, int64_t t) {
  check(sigma >= 0 && t >= 1, "least_entropy", [] {
    return Complaint{"expected a sigma of 0 or more and a T of 1 or more", "pass a product of spectral norms"};
  });
  if (t == 1) return 0;
  double const n = double(t), beta = std::exp(-sigma * std::sqrt(n / (n - 1))), z = 1 + (n - 1) * beta;
  return std::log(z) + sigma * std::sqrt(n * (n - 1)) * beta / z;
}

double gini(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  double const n = double(values.size());
  double sum = 0, weighted = 0;
  for (size_t r = 0; r < values.size(); ++r) sum += values[r], weighted += (2 * double(r + 1) - n - 1) * values[r];
  return sum > 0 ? weighted / (n * sum) : 0;
}

double jensen_shannon(std::vector<double> const& p, std::vector<double> const& q) {
  check(p.size() == q.size(), "jensen_shannon", [] {
    return Complaint{"the distributions differ in length", "pass two over the same places"};
  });
  auto const term = [](double x, double m) { return x > 0 ? 0.5 * x * std::log(x / m) : 0; };
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += term(p[i], 0.5 * (p[i] + q[i])) + term(q[i], 0.5 * (p[i] + q[i]));
  return sum;
}

double kendall_tau(std::vector<double> const& a, std::vector<double> const& b) {
  check(a.size() == b.size(), "kendall_tau", [] {
    return Complaint{"the rankings differ in length", "pass two over the same places"};
  });
  double agree = 0, in_a = 0, in_b = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      int const x = (a[i] > a[j]) - (a[i] < a[j]), y = (b[i] > b[j]) - (b[i] < b[j]);
      agree += x * y, in_a += x * x, in_b += y * y;
    }
  return in_a > 0 && in_b > 0 ? agree / std::sqrt(in_a * in_b) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace heed::nn
