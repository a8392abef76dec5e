#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

// ---- moments ----

/// Σ x, Σ (x - mean)² and how many: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing
/// sample variances" (1979).
template <class T>
struct Moments {
  T sum, squares, count;
};
template <class T>
__device__ Moments<T> shuffle_xor(Moments<T> const& m, int d) {
  return {heed::shuffle_xor(m.sum, d), heed::shuffle_xor(m.squares, d), heed::shuffle_xor(m.count, d)};
}
template <class T>
__device__ Moments<T> join_moments(Moments<T> const& a, Moments<T> const& b) {
  if (a.count == 0 || b.count == 0) return a.count == 0 ? b : a;
  T const count = a.count + b.count, gap = b.sum / b.count - a.sum / a.count;
  return {a.sum + b.sum, a.squares + b.squares + gap * gap * (a.count * (b.count / count)), count};
}

/// centred: as above; else of Σ x² alone, `sum` staying 0. Reads 4 bytes an element (f32).
template <bool centred, class T>
struct MomentsOf {
  using Acc = Moments<T>;
  static constexpr int pack = pack_size<T>;
  T const* x;
  __device__ Acc identity() const { return {0, 0, 0}; }
  __device__ void add(Acc& acc, Run const& run) const {
    Pack<T> p = load(x + run.at, run.step, run.count, T(0));
    T const count = T(run.count), sum = centred ? fold_pack(Plus(), p) : T(0), mean = sum / count;
#pragma unroll
    for (int i = 0; i < pack; ++i) {
      T const d = i < run.count ? p.v[i] - mean : T(0);
      p.v[i] = d * d;
    }
    acc = join(acc, {sum, fold_pack(Plus(), p), count});
  }
  __device__ Acc join(Acc const& a, Acc const& b) const {
    if constexpr (centred)
      return join_moments(a, b);
    else
      return {0, a.squares + b.squares, a.count + b.count};
  }
  __device__ void finish(Acc const&, int64_t) const {}
};

/// Hands what was folded to finish(acc, i) of `then`.
template <class Fold, class Then>
struct Finished : Fold {
  Then then;
  __device__ void finish(typename Fold::Acc const& acc, int64_t i) const { then(acc, i); }
};

// ---- layer norm, RMS norm ----

template <bool centred, class T>
struct RowNorm {
  T const *x, *weight, *bias;
  T eps;
  T *y, *mean, *rstd;
  int64_t n;
  __device__ T scale(T squares) const { return 1 / std::sqrt(squares / T(n) + eps); }
  __device__ void write(Pack<T> p, T m, T s, int64_t r, int64_t k, int count) const {
    p = map_pack([=](T v) { return (v - m) * s; }, p);
    if (weight) p = map_pack([](T v, T w) { return v * w; }, p, load(weight + k, 1, count, T(0)));
    if (bias) p = map_pack([](T v, T b) { return v + b; }, p, load(bias + k, 1, count, T(0)));
    store(p, y + r * n + k, count);
  }
};

/// Rows held in registers: reads 4 and writes 4 bytes an element (f32).
template <bool centred, class T>
struct HeldNorm : RowNorm<centred, T> {
  template <class Team>
  __device__ void operator()(Team const& team, int64_t r) const {
    Pack<T> v[Team::packs];
    T sum = 0, squares = 0;
    team.each([&](int p, int64_t k, int count) { v[p] = load(this->x + r * this->n + k, 1, count, T(0)); });
    if constexpr (centred) team.each([&](int p, int64_t, int) { sum += fold_pack(Plus(), v[p]); });
    T const m = centred ? team.fold(sum, Plus()) / T(this->n) : T(0);
    team.each([&](int p, int64_t, int count) {
      Pack<T> d;
#pragma unroll
      for (int i = 0; i < pack_size<T>; ++i) d.v[i] = i < count ? (v[p].v[i] - m) * (v[p].v[i] - m) : T(0);
      squares += fold_pack(Plus(), d);
    });
    T const s = this->scale(team.fold(squares, Plus()));
    if (team.first()) {
      if constexpr (centred) this->mean[r] = m;
      this->rstd[r] = s;
    }
    team.each([&](int p, int64_t k, int count) { this->write(v[p], m, s, r, k, count); });
  }
};

/// Longer rows, after their moments: reads 4 and writes 4 bytes an element (f32), 4 more read by the moments.
template <bool centred, class T>
struct LongNorm : RowNorm<centred, T> {
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    write(load(this->x + r * this->n + k, 1, count, T(0)), centred ? this->mean[r] : T(0), this->rstd[r], r, k, count);
  }
  using RowNorm<centred, T>::write;
};
template <bool centred, class T>
struct KeepMoments {
  RowNorm<centred, T> norm;
  __device__ void operator()(Moments<T> const& m, int64_t r) const {
    if constexpr (centred) norm.mean[r] = m.sum / T(norm.n);
    norm.rstd[r] = norm.scale(m.squares);
  }
};

template <bool centred, class T>
void row_norm(char const* name, RowNorm<centred, T> const& norm, int64_t rows) {
  if (held_rows<T>(name, HeldNorm<centred, T>{norm}, rows, norm.n)) return;
  fold_axis(name, Finished<MomentsOf<centred, T>, KeepMoments<centred, T>>{{norm.x}, {norm}}, rows, norm.n, 1);
  map_rows<T>(name, LongNorm<centred, T>{norm}, rows, norm.n);
}

/// Two sums at once.
template <class T>
struct alignas(2 * sizeof(T)) Sums {  // moved by one access
  T g, gx;
};
template <class T>
__device__ Sums<T> operator+(Sums<T> const& a, Sums<T> const& b) {
  return {a.g + b.g, a.gx + b.gx};
}
template <class T>
__device__ Sums<T> shuffle_xor(Sums<T> const& s, int d) {
  return {heed::shuffle_xor(s.g, d), heed::shuffle_xor(s.gx, d)};
}
template <class T>
struct SumsFold {
  using Acc = Sums<T>;
  static constexpr int pack = pack_size<T>;
  __device__ Acc identity() const { return {0, 0}; }
  __device__ Acc join(Acc const& a, Acc const& b) const { return a + b; }
  __device__ void finish(Acc const&, int64_t) const {}
};

template <bool centred, class T>
struct RowNormBackward {
  T const *g, *x, *weight, *mean, *rstd;
  T *dx, *dweight, *dbias;
  int64_t n;
  __device__ T centre(int64_t r) const { return centred ? mean[r] : T(0); }
  __device__ Pack<T> load_at(T const* from, int64_t r, int64_t k, int count) const {
    return load(from + r * n + k, 1, count, T(0));
  }
  __device__ Pack<T> weighed(Pack<T> const& p, int64_t k, int count) const {
    if (!weight) return p;
    return map_pack([](T a, T w) { return a * w; }, p, load(weight + k, 1, count, T(0)));
  }
  /// x - mean, and 0 beyond.
  __device__ Pack<T> deviations(Pack<T> p, int64_t r, int count) const {
    T const m = centre(r);
#pragma unroll
    for (int i = 0; i < pack_size<T>; ++i) p.v[i] = i < count ? p.v[i] - m : T(0);
    return p;
  }
  __device__ void add_to(Sums<T>& sums, Pack<T> const& w, Pack<T> const& d) const {
    if constexpr (centred) sums.g += fold_pack(Plus(), w);
    sums.gx += fold_pack(Plus(), map_pack([](T a, T b) { return a * b; }, w, d));
  }
  __device__ void write(Pack<T> const& w, Pack<T> const& d, Sums<T> const& sums, T s, int64_t r, int64_t k,
                        int count) const {
    T const a = centred ? s * (sums.g / T(n)) : T(0), b = s * (s * sums.gx / T(n));
    store(map_pack([=](T wj, T dj) { return wj * s - dj * s * b - a; }, w, d), dx + r * n + k, count);
  }
};

/// dx of rows held in registers: reads 8 and writes 4 bytes an element (f32).
template <bool centred, class T>
struct HeldBackward : RowNormBackward<centred, T> {
  template <class Team>
  __device__ void operator()(Team const& team, int64_t r) const {
    Pack<T> w[Team::packs], d[Team::packs];
    Sums<T> sums{0, 0};
    team.each([&](int p, int64_t k, int count) {
      w[p] = this->load_at(this->g, r, k, count);
      d[p] = this->load_at(this->x, r, k, count);
    });
    team.each([&](int p, int64_t k, int count) {
      w[p] = this->weighed(w[p], k, count);
      d[p] = this->deviations(d[p], r, count);
      this->add_to(sums, w[p], d[p]);
    });
    if constexpr (centred) sums.g = team.fold(sums.g, Plus());
    sums.gx = team.fold(sums.gx, Plus());
    T const s = team.live ? this->rstd[r] : T(0);
    team.each([&](int p, int64_t k, int count) { this->write(w[p], d[p], sums, s, r, k, count); });
  }
};

/// dx of longer rows: the sums read 8 bytes an element (f32),
template <bool centred, class T>
struct LongBackwardSums : SumsFold<T> {
  RowNormBackward<centred, T> norm;
  __device__ void add(Sums<T>& sums, Run const& run) const {
    Pack<T> const g = norm.load_at(norm.g, run.o, run.k, run.count), x = norm.load_at(norm.x, run.o, run.k, run.count);
    norm.add_to(sums, norm.weighed(g, run.k, run.count), norm.deviations(x, run.o, run.count));
  }
};
/// and the second pass reads 8 and writes 4.
template <bool centred, class T>
struct LongBackward {
  RowNormBackward<centred, T> norm;
  Sums<T> const* sums;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    Pack<T> const g = norm.load_at(norm.g, r, k, count), x = norm.load_at(norm.x, r, k, count);
    norm.write(norm.weighed(g, k, count), norm.deviations(x, r, count), sums[r], norm.rstd[r], r, k, count);
  }
};

/// dweight and dbias, folds over rows: reads 8 bytes an element (f32).
template <bool centred, class T>
struct WeightSlopes : SumsFold<T> {
  RowNormBackward<centred, T> norm;
  __device__ void add(Sums<T>& sums, Run const& run) const {
    Pack<T> const g = load(norm.g + run.at, run.step, run.count, T(0));
    Pack<T> x = load(norm.x + run.at, run.step, run.count, T(0));
#pragma unroll
    for (int i = 0; i < pack_size<T>; ++i) {
      int64_t const r = run.k + i * run.stride;
      x.v[i] = i < run.count ? g.v[i] * ((x.v[i] - norm.centre(r)) * norm.rstd[r]) : T(0);
    }
    sums = sums + Sums<T>{fold_pack(Plus(), g), fold_pack(Plus(), x)};
  }
  __device__ void finish(Sums<T> const& sums, int64_t j) const {
    if (norm.dweight) norm.dweight[j] = sums.gx;
    if (norm.dbias) norm.dbias[j] = sums.g;
  }
};

template <bool centred, class T>
void row_norm_backward(char const* name, RowNormBackward<centred, T> const& norm, int64_t rows) {
  int64_t const n = norm.n;
  // first, because dx may be g
  if (norm.dweight || norm.dbias) fold_axis(name, WeightSlopes<centred, T>{{}, norm}, 1, rows, n);
  if (!norm.dx || n == 0 || held_rows<T>(name, HeldBackward<centred, T>{norm}, rows, n)) return;
  DeviceScratch<Sums<T>> const sums(rows);
  fold_axis(name, LongBackwardSums<centred, T>{{}, norm}, rows, n, 1, sums.data());
  map_rows<T>(name, LongBackward<centred, T>{norm, sums.data()}, rows, n);
}

template <class T>
void layer_norm(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* rstd, int64_t rows,
                int64_t n) {
  row_norm("layer_norm", RowNorm<true, T>{x, weight, bias, T(eps), y, mean, rstd, n}, rows);
}
template <class T>
void layer_norm_backward(T const* g, T const* x, T const* weight, T const* mean, T const* rstd, T* dx, T* dweight,
                         T* dbias, int64_t rows, int64_t n) {
  row_norm_backward("layer_norm_backward", RowNormBackward<true, T>{g, x, weight, mean, rstd, dx, dweight, dbias, n},
                    rows);
}
template <class T>
void rms_norm(T const* x, T const* weight, double eps, T* y, T* rstd, int64_t rows, int64_t n) {
  row_norm("rms_norm", RowNorm<false, T>{x, weight, nullptr, T(eps), y, nullptr, rstd, n}, rows);
}
template <class T>
void rms_norm_backward(T const* g, T const* x, T const* weight, T const* rstd, T* dx, T* dweight, int64_t rows,
                       int64_t n) {
  row_norm_backward("rms_norm_backward",
                    RowNormBackward<false, T>{g, x, weight, nullptr, rstd, dx, dweight, nullptr, n}, rows);
}

// ---- batch norm ----

constexpr int64_t short_piece = 32;  // shorter pieces lie side by side: [batch, channels·n] is folded over columns

/// The fold of [batch, channels, n] over batch and n, whose results finish takes.
template <class Fold>
void fold_channels(char const* name, Fold const& fold, int64_t batch, int64_t channels, int64_t n) {
  using Acc = typename Fold::Acc;
  if (n == 1) return fold_axis(name, fold, 1, batch, channels);
  if (n < short_piece) {
    DeviceScratch<Acc> const columns(channels * n);
    fold_axis(name, fold, 1, batch, channels * n, columns.data());
    return fold_axis(name, Joined<Fold>{fold, columns.data()}, channels, n, 1);
  }
  DeviceScratch<Acc> const pieces(batch * channels);
  fold_axis(name, fold, batch * channels, n, 1, pieces.data());
  fold_axis(name, Joined<Fold>{fold, pieces.data()}, 1, batch, channels);
}

/// The rows by which elements are mapped: pieces [batch·channels, n], or where those are short [batch, channels·n].
struct ChannelRows {
  int64_t channels, n;
  bool columns;
  __device__ int64_t of(int64_t row, int64_t k) const { return columns ? k / n : row % channels; }
  __device__ int64_t length() const { return columns ? channels * n : n; }
  /// f(i, channel) for elements k … k+count-1 of a row.
  template <int most, class F>
  __device__ void each(int64_t row, int64_t k, int count, F const& f) const {
    int64_t c = of(row, k), next = columns ? (c + 1) * n : k + count;
#pragma unroll
    for (int i = 0; i < most; ++i) {
      if (i >= count) break;
      if (k + i == next) ++c, next += n;
      f(i, c);
    }
  }
};
ChannelRows channel_rows(int64_t channels, int64_t n) { return {channels, n, n < short_piece}; }

template <class T, class F>
void map_channels(char const* name, F const& f, int64_t batch) {
  ChannelRows const& rows = f.rows;
  map_rows<T>(name, f, rows.columns ? batch : batch * rows.channels, rows.columns ? rows.channels * rows.n : rows.n);
}

template <class T>
struct ChannelScale {
  T mean, scale, shift;
};
template <class T>
struct KeepChannel {
  T const *weight, *bias;
  T eps;
  T *mean, *var;
  ChannelScale<T>* scales;
  __device__ void operator()(Moments<T> const& m, int64_t c) const {
    mean[c] = m.sum / m.count;
    var[c] = m.squares / m.count;
    T const rstd = 1 / std::sqrt(var[c] + eps);
    scales[c] = {mean[c], weight ? rstd * weight[c] : rstd, bias ? bias[c] : T(0)};
  }
};

/// Reads 4 and writes 4 bytes an element (f32), 4 more read by the moments.
template <class T>
struct BatchNorm {
  T const* x;
  T* y;
  ChannelScale<T> const* scales;
  ChannelRows rows;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    int64_t const at = r * rows.length() + k;
    Pack<T> p = load(x + at, 1, count, T(0));
    rows.template each<pack_size<T>>(r, k, count, [&](int i, int64_t c) {
      ChannelScale<T> const s = scales[c];
      p.v[i] = std::fma(p.v[i] - s.mean, s.scale, s.shift);
    });
    store(p, y + at, count);
  }
};

template <class T>
void batch_norm(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* var, int64_t batch,
                int64_t channels, int64_t n) {
  DeviceScratch<ChannelScale<T>> const scales(channels);
  KeepChannel<T> const keep{weight, bias, T(eps), mean, var, scales.data()};
  fold_channels("batch_norm", Finished<MomentsOf<true, T>, KeepChannel<T>>{{x}, keep}, batch, channels, n);
  map_channels<T>("batch_norm", BatchNorm<T>{x, y, scales.data(), channel_rows(channels, n)}, batch);
}

/// What dx = by_g·(g - mean_g - (x - m)·by_x) takes from the sums.
template <class T>
struct alignas(16) ChannelSlope {
  T m, by_g, mean_g, by_x;
};

/// Σ g and Σ g·(x - m): reads 8 bytes an element (f32).
template <class T>
struct ChannelSums : SumsFold<T> {
  T const *g, *x, *weight, *mean, *var;
  double eps, count;
  T *dweight, *dbias;
  ChannelSlope<T>* slopes;
  ChannelRows rows;
  __device__ void add(Sums<T>& sums, Run const& run) const {
    // A run is of one channel: rows are pieces, or columns j of [channels·n].
    T const m = mean[rows.of(run.o, run.j)];
    Pack<T> const a = load(g + run.at, run.step, run.count, T(0));
    Pack<T> b = load(x + run.at, run.step, run.count, T(0));
#pragma unroll
    for (int i = 0; i < pack_size<T>; ++i) b.v[i] = i < run.count ? a.v[i] * (b.v[i] - m) : T(0);
    sums = sums + Sums<T>{fold_pack(Plus(), a), fold_pack(Plus(), b)};
  }
  __device__ void finish(Sums<T> const& sums, int64_t c) const {
    double const rstd = 1 / std::sqrt(double(var[c]) + eps);
    if (dweight) dweight[c] = T(rstd * double(sums.gx));
    if (dbias) dbias[c] = sums.g;
    slopes[c] = {mean[c], T(rstd * (weight ? double(weight[c]) : 1)), T(double(sums.g) / count),
                 T(rstd * rstd * double(sums.gx) / count)};
  }
};

/// Reads 8 and writes 4 bytes an element (f32), 8 more read by the sums.
template <class T>
struct BatchNormBackward {
  T const *g, *x;
  T* dx;
  ChannelSlope<T> const* slopes;
  ChannelRows rows;
  __device__ void operator()(int64_t r, int64_t k, int count) const {
    int64_t const at = r * rows.length() + k;
    Pack<T> p = load(g + at, 1, count, T(0));
    Pack<T> const b = load(x + at, 1, count, T(0));
    rows.template each<pack_size<T>>(r, k, count, [&](int i, int64_t c) {
      ChannelSlope<T> const s = slopes[c];
      p.v[i] = s.by_g * (p.v[i] - s.mean_g - (b.v[i] - s.m) * s.by_x);
    });
    store(p, dx + at, count);
  }
};

template <class T>
void batch_norm_backward(T const* g, T const* x, T const* weight, T const* mean, T const* var, double eps, T* dx,
                         T* dweight, T* dbias, int64_t batch, int64_t channels, int64_t n) {
  DeviceScratch<ChannelSlope<T>> const slopes(channels);
  ChannelRows const by = channel_rows(channels, n);
  ChannelSums<T> const sums{{}, g, x, weight, mean, var, eps, double(batch * n), dweight, dbias, slopes.data(), by};
  fold_channels("batch_norm_backward", sums, batch, channels, n);
  if (dx) map_channels<T>("batch_norm_backward", BatchNormBackward<T>{g, x, dx, slopes.data(), by}, batch);
}

template <class T>
constexpr NormKernelsOf<T> table{layer_norm<T>,        layer_norm_backward<T>, rms_norm<T>,
                                 rms_norm_backward<T>, batch_norm<T>,          batch_norm_backward<T>};

}  // namespace

constinit NormKernels const device_norm_kernels{table<float>, table<double>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
