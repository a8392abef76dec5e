#include <heed/engine/ops/norm.h>
#include <heed/engine/ops/rows.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

template <bool centred, class T>
void forward(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* rstd, int64_t rows, int64_t n) {
  parallel_for(rows, row_grain(n), [=](int64_t begin, int64_t end) {
    RowStores<T> const store(y, rows, n);
    for (int64_t r = begin; r < end; ++r) {
      T const* const row = x + r * n;
      T* const out = y + r * n;
      T centre = 0;
      if constexpr (centred)
        mean[r] = centre = fold_row<Add, T>(
                               n, [](auto v) { return v; }, row) /
                           T(n);
      Vec<T> const m = centre;
      auto const normalised = [m](auto v, auto scale) {
        if constexpr (centred)
          return (v - m) * scale;
        else
          return v * scale;
      };
      T const variance = fold_row<Add, T>(
                             n,
                             [=](auto v) {
                               auto const d = normalised(v, Vec<T>(1));
                               return d * d;
                             },
                             row) /
                         T(n);
      rstd[r] = 1 / std::sqrt(variance + T(eps));
      Vec<T> const s = rstd[r];
      if (weight && bias)
        map_row_by<T>(
            store, n, out, [=](auto v, auto w, auto b) { return fma(normalised(v, s), w, b); }, row, weight, bias);
      else if (weight)
        map_row_by<T>(
            store, n, out, [=](auto v, auto w) { return normalised(v, s) * w; }, row, weight);
      else if (bias)
        map_row_by<T>(
            store, n, out, [=](auto v, auto b) { return normalised(v, s) + b; }, row, bias);
      else
        map_row_by<T>(
            store, n, out, [=](auto v) { return normalised(v, s); }, row);
    }
  });
}

/// sum = Σ w and dot = Σ w·(x - m), w = g·weight
template <bool centred, class T>
void sums(T const* g, T const* x, T const* weight, Vec<T> m, int64_t n, T& sum, T& dot) {
  constexpr int w = Vec<T>::width, V = 4;
  auto const run = [&](auto weigh) __attribute__((always_inline)) {
    // Runs of 32·V registers keep the sums blocked: their totals are added in order.
    Vec<T> all_sums = 0, all_dots = 0;
    auto const add = [&](Vec<T> & s, Vec<T> & d, Vec<T> gj, Vec<T> xj) __attribute__((always_inline)) {
      if constexpr (centred) {
        s += gj;
        d += gj * (xj - m);
      } else {
        d += gj * xj;
      }
    };
    int64_t j = 0;
    while (j + V * w <= n) {
      Vec<T> s[V], d[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) s[v] = d[v] = T(0);
      int64_t const stop = n - j < 32 * V * w ? n : j + 32 * V * w;
      for (; j + V * w <= stop; j += V * w)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
          add(s[v], d[v], weigh(Vec<T>::load(g + j + v * w), j + v * w, w), Vec<T>::load(x + j + v * w));
      all_sums += (s[0] + s[1]) + (s[2] + s[3]);
      all_dots += (d[0] + d[1]) + (d[2] + d[3]);
    }
    for (; j + w <= n; j += w) add(all_sums, all_dots, weigh(Vec<T>::load(g + j), j, w), Vec<T>::load(x + j));
    if (int const left = int(n - j))  // g is 0 in the lanes left out
      add(all_sums, all_dots, weigh(Vec<T>::load_first(g + j, left), j, left), Vec<T>::load_first(x + j, left));
    sum = fold_lanes<Add, T>(all_sums);
    dot = fold_lanes<Add, T>(all_dots);
  };
  if (weight)
    run([weight](Vec<T> v, int64_t j, int count) {
      return v * (count == w ? Vec<T>::load(weight + j) : Vec<T>::load_first(weight + j, count));
    });
  else
    run([](Vec<T> v, int64_t, int) { return v; });
}

/// R rows at once, so that the sums over rows are loaded and stored once per R rows.
template <bool centred, int R, class T>
void backward_rows(RowStores<T> const& store_row, T const* g, T const* x, T const* weight, T const* mean, T const* rstd,
                   T* dx, T* dweight, T* dbias, int64_t n) {
  constexpr int w = Vec<T>::width;
  Vec<T> m[R], s[R], a[R], b[R];  // a = rstd·mean(w), b = rstd·mean(w·h)
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    m[r] = centred ? mean[r] : T(0);
    s[r] = rstd[r];
    if (!dx) continue;
    T sum, dot;
    sums<centred>(g + r * n, x + r * n, weight, m[r], n, sum, dot);
    a[r] = rstd[r] * (sum / T(n));
    b[r] = rstd[r] * (rstd[r] * dot / T(n));
  }
  auto const step = [&](int64_t j, auto load, auto store, auto const& store_dx) __attribute__((always_inline)) {
    Vec<T> const k = weight ? load(weight + j) : Vec<T>(1);
    Vec<T> gh[R], gv[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      gv[r] = load(g + r * n + j);
      Vec<T> const h = (load(x + r * n + j) - m[r]) * s[r];
      gh[r] = gv[r] * h;
      if (dx) {
        Vec<T> out = gv[r] * k * s[r] - h * b[r];
        if constexpr (centred) out -= a[r];
        store_dx(out, dx + r * n + j);
      }
    }
    if constexpr (R == 4) {
      if (dweight) store(load(dweight + j) + ((gh[0] + gh[1]) + (gh[2] + gh[3])), dweight + j);
      if (dbias) store(load(dbias + j) + ((gv[0] + gv[1]) + (gv[2] + gv[3])), dbias + j);
    } else {
      if (dweight) store(load(dweight + j) + gh[0], dweight + j);
      if (dbias) store(load(dbias + j) + gv[0], dbias + j);
    }
  };
  int64_t j = 0;
  for (; j + w <= n; j += w)
    step(
        j, [](T const* p) { return Vec<T>::load(p); }, [](Vec<T> v, T* p) { v.store(p); }, store_row);
  if (int const left = int(n - j)) {
    auto const store_left = [left](Vec<T> v, T* p) { v.store_first(p, left); };
    step(
        j, [left](T const* p) { return Vec<T>::load_first(p, left); }, store_left, store_left);
  }
}

template <bool centred, class T>
void backward(T const* g, T const* x, T const* weight, T const* mean, T const* rstd, T* dx, T* dweight, T* dbias,
              int64_t rows, int64_t n) {
  // Row blocks of a size that depends on rows and n alone; each sums into its own slot, and the slots are added in
  // order.
  int64_t const grain = row_grain(n), spread = (rows + 31) / 32;
  int64_t const block = ((grain > spread ? grain : spread) + 3) / 4 * 4, blocks = (rows + block - 1) / block;
  int const sums = (dweight != nullptr) + (dbias != nullptr);
  Scratch<T> scratch(sums * blocks * n);
  T* const weight_slots = dweight ? scratch.data() : nullptr;
  T* const bias_slots = dbias ? scratch.data() + (sums - 1) * blocks * n : nullptr;
  parallel_for(blocks, 1, [=](int64_t begin, int64_t end) {
    RowStores<T> const store(dx, rows, n);
    for (int64_t c = begin; c < end; ++c) {
      T* const dw = dweight ? weight_slots + c * n : nullptr;
      T* const db = dbias ? bias_slots + c * n : nullptr;
      for (int64_t j = 0; dw && j < n; ++j) dw[j] = 0;
      for (int64_t j = 0; db && j < n; ++j) db[j] = 0;
      int64_t r = c * block, last = r + block < rows ? r + block : rows;
      for (; r + 4 <= last; r += 4)
        backward_rows<centred, 4>(store, g + r * n, x + r * n, weight, mean + (centred ? r : 0), rstd + r,
                                  dx ? dx + r * n : nullptr, dw, db, n);
      for (; r < last; ++r)
        backward_rows<centred, 1>(store, g + r * n, x + r * n, weight, mean + (centred ? r : 0), rstd + r,
                                  dx ? dx + r * n : nullptr, dw, db, n);
    }
  });
  auto const combine = [=](T const* slots, T* out) {
    for (int64_t j = 0; j < n; ++j) out[j] = 0;
    for (int64_t c = 0; c < blocks; ++c)
      map_row<T>(
          n, out, [](auto a, auto b) { return a + b; }, static_cast<T const*>(out), slots + c * n);
  };
  if (dweight) combine(weight_slots, dweight);
  if (dbias) combine(bias_slots, dbias);
}

template <class T>
void layer_norm(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* rstd, int64_t rows,
                int64_t n) {
  forward<true>(x, weight, bias, eps, y, mean, rstd, rows, n);
}
template <class T>
void layer_norm_backward(T const* g, T const* x, T const* weight, T const* mean, T const* rstd, T* dx, T* dweight,
                         T* dbias, int64_t rows, int64_t n) {
  backward<true>(g, x, weight, mean, rstd, dx, dweight, dbias, rows, n);
}
template <class T>
void rms_norm(T const* x, T const* weight, double eps, T* y, T* rstd, int64_t rows, int64_t n) {
  forward<false, T>(x, weight, nullptr, eps, y, nullptr, rstd, rows, n);
}
template <class T>
void rms_norm_backward(T const* g, T const* x, T const* weight, T const* rstd, T* dx, T* dweight, int64_t rows,
                       int64_t n) {
  backward<false, T>(g, x, weight, nullptr, rstd, dx, dweight, nullptr, rows, n);
}

/// The mean of f over channel c, `row(b)` being where its piece of sample b begins: pieces in order, in f64.
template <class T, class Row, class F>
T channel_mean(int64_t batch, int64_t n, Row const& row, F const& f) {
  double sum = 0;
  for (int64_t b = 0; b < batch; ++b) sum += double(fold_row<Add, T>(n, f, row(b)));
  return T(sum / double(batch * n));
}

template <class T>
void batch_norm(T const* x, T const* weight, T const* bias, double eps, T* y, T* mean, T* var, int64_t batch,
                int64_t channels, int64_t n) {
  parallel_for(channels, row_grain(batch * n), [=](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      auto const at = [=](int64_t b) { return (b * channels + c) * n; };
      auto const row = [=](int64_t b) { return x + at(b); };
      mean[c] = channel_mean<T>(batch, n, row, [](auto v) { return v; });
      Vec<T> const m = mean[c];
      var[c] = channel_mean<T>(batch, n, row, [m](auto v) { return (v - m) * (v - m); });
      T const rstd = 1 / std::sqrt(var[c] + T(eps));
      Vec<T> const scale = weight ? rstd * weight[c] : rstd, shift = bias ? bias[c] : T(0);
      for (int64_t b = 0; b < batch; ++b)
        map_row<T>(
            n, y + at(b), [=](auto v) { return fma(v - m, scale, shift); }, row(b));
    }
  });
}

template <class T>
void batch_norm_backward(T const* g, T const* x, T const* weight, T const* mean, T const* var, double eps, T* dx,
                         T* dweight, T* dbias, int64_t batch, int64_t channels, int64_t n) {
  parallel_for(channels, row_grain(batch * n), [=](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      auto const at = [=](int64_t b) { return (b * channels + c) * n; };
      Vec<T> const m = mean[c];
      double sum = 0, dot = 0;  // of g, and of g·(x − mean)
      for (int64_t b = 0; b < batch; ++b) {
        T part, part_dot;
        sums<true, T>(g + at(b), x + at(b), nullptr, m, n, part, part_dot);
        sum += double(part), dot += double(part_dot);
      }
      double const rstd = 1 / std::sqrt(double(var[c]) + eps), count = double(batch * n);
      if (dweight) dweight[c] = T(rstd * dot);
      if (dbias) dbias[c] = T(sum);
      if (!dx) continue;
      Vec<T> const by_g = T(rstd * (weight ? double(weight[c]) : 1)), mean_g = T(sum / count);
      Vec<T> const by_x = T(rstd * rstd * dot / count);
      for (int64_t b = 0; b < batch; ++b)
        map_row<T>(
            n, dx + at(b), [=](auto gv, auto xv) { return by_g * (gv - mean_g - (xv - m) * by_x); }, g + at(b),
            x + at(b));
    }
  });
}

template <class T>
constexpr NormKernelsOf<T> table{layer_norm<T>,        layer_norm_backward<T>, rms_norm<T>,
                                 rms_norm_backward<T>, batch_norm<T>,          batch_norm_backward<T>};

}  // namespace

constinit NormKernels const norm_kernels{table<float>, table<double>};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
