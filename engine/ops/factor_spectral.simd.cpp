// Symmetric eigenvalues by Householder's tridiagonal form and implicit QL; singular values by bidiagonal form and
// implicit QR. A reflection's update of the matrix waits for the pass that makes the next one; the orthogonal factors
// come from blocks of reflections by matrix products; rotations run down rows whose last one stays in registers.
#include <heed/engine/ops/factor_spectral.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/rows.h>
#include <heed/engine/storage.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();

/// Numbers from the caching allocator: fresh pages would cost more than what is computed in them.
class Vector {
 public:
  explicit Vector(int64_t n = 0) : storage_(Storage::allocate(size_t(n) * sizeof(double))) {}
  double* data() const { return reinterpret_cast<double*>(storage_->data()); }
  double& operator[](int64_t i) const { return data()[i]; }

 private:
  Ref<Storage> storage_;
};
Vector zeros(int64_t n) {
  Vector v(n);
  std::fill_n(v.data(), n, 0.0);
  return v;
}
Vector copy_of(double const* from, int64_t n) {
  Vector v(n);
  std::copy_n(from, n, v.data());
  return v;
}
using V = Vec<double>;
constexpr int64_t W = V::width;

V load(double const* from, int64_t count) { return count >= W ? V::load(from) : V::load_first(from, int(count)); }
void store(V x, double* to, int64_t count) {
  if (count >= W)
    x.store(to);
  else
    x.store_first(to, int(count));
}

/// c − a·b
V minus_product(V c, V a, V b) {
#if defined(__AVX512F__)
  return Batch<double>(_mm512_fnmadd_pd(a.v, b.v, c.v));
#elif defined(__FMA__)
  return xsimd::fnma(a.v, b.v, c.v);
#else
  return c - a * b;
#endif
}

double dot(double const* a, double const* b, int64_t n) {
  V sums[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) sums[k] = fma(V::load(a + i + k * W), V::load(b + i + k * W), sums[k]);
  for (; i < n; i += W) sums[0] = fma(load(a + i, n - i), load(b + i, n - i), sums[0]);
  return fold_lanes<Add, double>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/// Divides by a power of two near the largest element, so that squares neither overflow nor vanish.
double normalise(double* a, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(a[i]));
  if (largest == 0) return 1;
  int exponent;
  std::frexp(largest, &exponent);
  // In two steps: 2⁻ᵉ may be no number.
  double const first = std::ldexp(1.0, -exponent / 2), second = std::ldexp(1.0, -exponent - -exponent / 2);
  for (int64_t i = 0; i < n; ++i) a[i] = a[i] * first * second;
  return std::ldexp(1.0, exponent);
}

// ---- reflections ----------------------------------------------------------------------------------------------------

/// v[0 … n) becomes a reflection with v[0] = 1 that maps it to (beta, 0, …); returns tau.
double reflection(double* v, int64_t n, double& beta) {
  double const below = dot(v + 1, v + 1, n - 1), head = v[0];
  if (head * head + below < 1e-250) {  // squares lose digits
    double largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(v[i]));
    if (largest > 0 && largest < 1) {
      double const unit = std::max(largest, std::numeric_limits<double>::min());
      for (int64_t i = 0; i < n; ++i) v[i] /= unit;
      double const tau = reflection(v, n, beta);
      beta *= unit;
      return tau;
    }
  }
  beta = head;
  v[0] = 1;
  if (below == 0) {
    std::fill(v + 1, v + n, 0.0);
    return 0;
  }
  beta = -std::copysign(std::sqrt(head * head + below), head);
  for (int64_t i = 1; i < n; ++i) v[i] /= head - beta;
  return (beta - head) / beta;
}

constexpr int64_t block = 32;

/// x [rows, width] becomes x·H₀·H₁·…, or x·(H₀·H₁·…)ᵀ, for `count` ≤ block reflections Hₖ = 1 − tauₖ·v·vᵀ, v in rows of
/// v: x·(1 − Vᵀ·T·V) with a triangular T (Schreiber and Van Loan, 1989). Rows of both are n apart.
void reflect(double const* v, double const* tau, int64_t count, bool transposed, double* x, int64_t rows, int64_t width,
             int64_t n) {
  if (rows <= 0 || width <= 0) return;
  auto const& gemm = kernels<GemmKernels>().f64.gemm;
  Vector products(rows * block), scaled(rows * block);
  double gram[block * block], t[block * block] = {};
  gemm({.m = count,
        .n = count,
        .k = width,
        .a = v,
        .a_row = n,
        .a_col = 1,
        .b = v,
        .b_row = 1,
        .b_col = n,
        .c = gram,
        .c_row = block});
  for (int64_t j = 0; j < count; ++j) {  // −T, by columns
    t[j * block + j] = -tau[j];
    for (int64_t i = 0; i < j; ++i) {
      double sum = 0;
      for (int64_t k = i; k < j; ++k) sum += t[i * block + k] * gram[k * block + j];
      t[i * block + j] = -tau[j] * sum;
    }
  }
  gemm({.m = rows,
        .n = count,
        .k = width,
        .a = x,
        .a_row = n,
        .a_col = 1,
        .b = v,
        .b_row = 1,
        .b_col = n,
        .c = products.data(),
        .c_row = block});
  gemm({.m = rows,
        .n = count,
        .k = count,
        .a = products.data(),
        .a_row = block,
        .a_col = 1,
        .b = t,
        .b_row = transposed ? 1 : block,
        .b_col = transposed ? block : 1,
        .c = scaled.data(),
        .c_row = block});
  gemm({.m = rows,
        .n = width,
        .k = count,
        .a = scaled.data(),
        .a_row = block,
        .a_col = 1,
        .b = v,
        .b_row = n,
        .b_col = 1,
        .c = x,
        .c_row = n,
        .accumulate = true});
}

/// x [rows, n] becomes x·(H₀·H₁·…)ᵀ, v of Hₖ in row k of v [count, n], beginning at element k + offset. Where x is the
/// identity, what is zero or one yet is passed over.
void reflect_back(double const* v, double const* tau, int64_t count, int64_t offset, bool identity, double* x,
                  int64_t rows, int64_t n) {
  for (int64_t first = (count - 1) / block * block; first >= 0 && count > 0; first -= block) {
    int64_t const from = first + offset, top = identity ? from : 0;
    reflect(v + first * n + from, tau + first, std::min(block, count - first), true, x + top * n + from, rows - top,
            n - from, n);
  }
}

/// x [rows, n] becomes the first rows of (H₀·H₁·…)ᵀ.
void orthogonal_rows(double const* v, double const* tau, int64_t count, int64_t offset, double* x, int64_t rows,
                     int64_t n) {
  std::fill_n(x, rows * n, 0.0);
  for (int64_t i = 0; i < rows; ++i) x[i * n + i] = 1;
  reflect_back(v, tau, count, offset, true, x, rows, n);
}

/// The columns of a = H₀·H₁·…·R are the rows of at [n, m], m ≥ n; they become the reflections. r [n, n] is upper.
void triangular(double* at, double* tau, double* r, int64_t m, int64_t n) {
  std::fill_n(r, n * n, 0.0);
  for (int64_t first = 0; first < n; first += block) {
    int64_t const last = std::min(n, first + block);
    for (int64_t k = first; k < last; ++k) {
      double* const v = at + k * m;
      for (int64_t j = first; j < k; ++j) {
        double const* const other = at + j * m;
        double const factor = tau[j] * dot(other + j, v + j, m - j);
        for (int64_t i = j; i < m; i += W)
          store(minus_product(load(v + i, m - i), V(factor), load(other + i, m - i)), v + i, m - i);
      }
      for (int64_t i = 0; i < k; ++i) r[i * n + k] = v[i];
      std::fill_n(v, k, 0.0);
      tau[k] = reflection(v + k, m - k, r[k * n + k]);
    }
    reflect(at + first * m + first, tau + first, last - first, false, at + last * m + first, n - last, m - first, m);
  }
}

/// body(begin, end, its own zeroed sums of n) for bands of rows; sums become their total, in order.
template <class Body>
void banded(int64_t rows, int64_t n, double* sums, Body body) {
  std::fill_n(sums, n, 0.0);
  constexpr int64_t band = 128;
  if (rows * n <= 4 * band * band) return body(int64_t{0}, rows, sums);
  int64_t const bands = (rows + band - 1) / band;
  Vector const partial = zeros(bands * n);
  parallel_for(bands, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(b * band, std::min(rows, (b + 1) * band), partial.data() + b * n);
  });
  for (int64_t b = 0; b < bands; ++b)
    for (int64_t i = 0; i < n; ++i) sums[i] += partial[b * n + i];
}

/// a = Q·T·Qᵀ, of which the upper triangle is read, with T tridiagonal (diagonal d, beside it e[0 … n − 2]); a becomes
/// Qᵀ if `vectors`.
void tridiagonal(double* a, double* d, double* e, int64_t n, bool vectors) {
  Vector const tau(n), p(n), w = zeros(n), none = zeros(n);
  double const* before = none.data();  // the last reflection: a −= before·wᵀ + w·beforeᵀ waits
  for (int64_t k = 0; k < n; ++k) {
    double* const v = a + k * n;
    for (int64_t j = k; j < n; ++j) v[j] -= before[k] * w[j] + w[k] * before[j];
    d[k] = v[k];
    if (k + 1 == n) break;
    int64_t const from = k + 1, m = n - from;
    tau[k] = reflection(v + from, m, e[k]);
    double const* const ws = w.data();
    banded(m, m, p.data() + from, [=](int64_t begin, int64_t end, double* sums) {
      for (int64_t i = from + begin; i < from + end; ++i) {
        double* const row = a + i * n;
        double* const to = sums - from;
        row[i] -= 2 * before[i] * ws[i];
        V const bi = before[i], wi = ws[i], vi = v[i];
        V sum = 0;
        for (int64_t j = i + 1; j < n; j += W) {
          int64_t const left = n - j;
          V x = load(row + j, left);
          x = minus_product(minus_product(x, bi, load(ws + j, left)), wi, load(before + j, left));
          store(x, row + j, left);
          sum = fma(x, load(v + j, left), sum);
          store(fma(x, vi, load(to + j, left)), to + j, left);
        }
        to[i] += row[i] * v[i] + fold_lanes<Add, double>(sum);
      }
    });
    double const half = tau[k] * tau[k] * dot(p.data() + from, v + from, m) / 2;
    for (int64_t i = from; i < n; ++i) w[i] = tau[k] * p[i] - half * v[i];
    before = v;
  }
  if (!vectors) return;
  Vector const reflections(n * n);
  for (int64_t k = 0; k < n; ++k) {
    std::fill_n(reflections.data() + k * n, k + 1, 0.0);
    std::copy(a + k * n + k + 1, a + (k + 1) * n, reflections.data() + k * n + k + 1);
  }
  orthogonal_rows(reflections.data(), tau.data(), n - 1, 1, a, n, n);
}

/// a [m, n] = U·B·V with B upper bidiagonal (d, above it e[0 … n − 2]); the rows ut [n, m] of Uᵀ and v [n, n] are
/// formed if given (Golub and Kahan, 1965).
void bidiagonal(double* a, double* d, double* e, double* ut, double* v, int64_t m, int64_t n) {
  Vector const left(n), right(n);
  Vector const lefts = zeros(n * m), rights = zeros(n * n);
  // a −= l·yᵀ + x·rᵀ waits, with the last reflections l and r.
  Vector const y = zeros(n), next(n), x = zeros(m);
  Vector const none = zeros(m);
  double const *l = none.data(), *r = none.data();
  for (int64_t k = 0; k < n; ++k) {
    double* const column = lefts.data() + k * m;
    for (int64_t i = k; i < m; ++i) column[i] = a[i * n + k] - l[i] * y[k] - x[i] * r[k];
    left[k] = reflection(column + k, m - k, d[k]);
    int64_t const from = k + 1, width = n - from;
    if (width == 0) break;
    double const *const ys = y.data(), *const xs = x.data();
    banded(m - k, width, next.data() + from, [=](int64_t begin, int64_t end, double* sums) {
      auto const rows = [=]<int count>(int64_t i, std::integral_constant<int, count>) {
        for (int64_t j = from; j < n; j += W) {
          int64_t const rest = n - j;
          V const yj = load(ys + j, rest), rj = load(r + j, rest);
          V sum = load(sums - from + j, rest);
#pragma GCC unroll 4
          for (int c = 0; c < count; ++c) {
            double* const at = a + (i + c) * n + j;
            V const each = minus_product(minus_product(load(at, rest), V(l[i + c]), yj), V(xs[i + c]), rj);
            store(each, at, rest);
            sum = fma(V(column[i + c]), each, sum);
          }
          store(sum, sums - from + j, rest);
        }
      };
      int64_t i = k + begin;
      for (; i + 4 <= k + end; i += 4) rows(i, std::integral_constant<int, 4>{});
      for (; i < k + end; ++i) rows(i, std::integral_constant<int, 1>{});
    });
    double* const row = rights.data() + k * n;
    for (int64_t j = from; j < n; ++j) {
      y[j] = left[k] * next[j];
      row[j] = a[k * n + j] - y[j];
    }
    right[k] = reflection(row + from, width, e[k]);
    double const both = dot(y.data() + from, row + from, width), factor = right[k];
    parallel_for(m - from, std::max<int64_t>(64, 65536 / width), [&](int64_t begin, int64_t end) {
      for (int64_t i = from + begin; i < from + end; ++i)
        x[i] = factor * (dot(a + i * n + from, row + from, width) - column[i] * both);
    });
    l = column;
    r = row;
  }
  if (!ut) return;
  orthogonal_rows(lefts.data(), left.data(), n, 0, ut, n, m);
  orthogonal_rows(rights.data(), right.data(), n - 1, 1, v, n, n);
}

// ---- rotations ------------------------------------------------------------------------------------------------------

struct Rotation {
  int64_t row;  // and row + 1: (x, y) ← (c·x − s·y, s·x + c·y)
  double c, s;
};

/// So many rotations are gathered before they are applied.
constexpr size_t enough_rotations = 4096;

/// Rotations one row further each: a sweep, down or up. The row that two of them share stays in registers.
struct Sweep {
  Rotation const* turns;
  int64_t count, row, step;  // where it begins, and 1 or −1
};

std::vector<Sweep> sweeps_of(std::vector<Rotation> const& rotations) {
  std::vector<Sweep> sweeps;
  for (Rotation const& turn : rotations) {
    if (!sweeps.empty()) {
      Sweep& last = sweeps.back();
      int64_t const step = turn.row - last.turns[last.count - 1].row;
      if ((step == 1 || step == -1) && (last.count == 1 || step == last.step)) {
        if (last.count++ == 1) last.row = last.turns->row + (step < 0), last.step = step;
        continue;
      }
    }
    sweeps.push_back({&turn, 1, turn.row, 1});
  }
  return sweeps;
}

/// Rows of one band of columns.
struct Band {
  static constexpr int registers = 4;
  static constexpr int64_t width = registers * W;
  struct Row {
    V v[registers];
  };
  double* base;

  Row load(int64_t row) const {
    Row r;
#pragma GCC unroll 4
    for (int i = 0; i < registers; ++i) r.v[i] = V::load(base + row * width + i * W);
    return r;
  }
  void store(Row const& r, int64_t row) const {
#pragma GCC unroll 4
    for (int i = 0; i < registers; ++i) r.v[i].store(base + row * width + i * W);
  }
  /// Turns the kept row and the next one; returns what the kept one was, `kept` is the next.
  [[gnu::always_inline]] static Row turn(Rotation const& by, int64_t step, Row& kept, Row const& next) {
    V const c = by.c, s = step < 0 ? by.s : -by.s;
    Row done;
#pragma GCC unroll 4
    for (int i = 0; i < registers; ++i) {
      done.v[i] = fma(s, next.v[i], c * kept.v[i]);
      kept.v[i] = minus_product(c * next.v[i], s, kept.v[i]);
    }
    return done;
  }
  /// The turns of a sweep from `t` on, of which the kept row is the first.
  void finish(Sweep const& a, int64_t t, Row kept) const {
    for (; t < a.count; ++t) store(turn(a.turns[t], a.step, kept, load(a.row + (t + 1) * a.step)), a.row + t * a.step);
    store(kept, a.row + a.count * a.step);
  }
  /// Sweep a, and one row behind it sweep b, which begins where a does and is no longer.
  void both(Sweep const& a, Sweep const& b) const {
    int64_t const row = a.row, step = a.step;
    Row first = load(row), second = turn(a.turns[0], step, first, load(row + step));
    int64_t t = 1;
    for (; t < a.count && t <= b.count; ++t) {
      Row const between = turn(a.turns[t], step, first, load(row + (t + 1) * step));
      store(turn(b.turns[t - 1], step, second, between), row + (t - 1) * step);
    }
    if (t <= b.count) {
      store(turn(b.turns[t - 1], step, second, first), row + (t - 1) * step);
      return store(second, row + t * step);
    }
    store(second, row + (t - 1) * step);
    finish(a, t, first);
  }
};

/// Applies rotations in order to the rows of a [rows, n], by bands of columns.
void apply(std::vector<Rotation>& rotations, double* a, int64_t rows, int64_t n) {
  if (rotations.empty()) return;
  std::vector<Sweep> const sweeps = sweeps_of(rotations);
  constexpr int64_t band = Band::width;
  parallel_for((n + band - 1) / band, 1, [&](int64_t begin, int64_t end) {
    // A copy without the rows' distance, which may put all of them into the same few lines of cache.
    Vector const copy(rows * band);
    Band const x{copy.data()};
    for (int64_t b = begin; b < end; ++b) {
      double* const from = a + b * band;
      int64_t const width = std::min(band, n - b * band);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < band; i += W)
          load(from + r * n + i, std::max<int64_t>(0, width - i)).store(x.base + r * band + i);
      for (size_t i = 0; i < sweeps.size(); ++i) {
        Sweep const& one = sweeps[i];
        if (i + 1 < sweeps.size())
          if (Sweep const& next = sweeps[i + 1];
              next.row == one.row && next.step == one.step && next.count <= one.count) {
            x.both(one, next);
            ++i;
            continue;
          }
        x.finish(one, 0, x.load(one.row));
      }
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < width; i += W) store(V::load(x.base + r * band + i), from + r * n + i, width - i);
    }
  });
  rotations.clear();
}

/// The rotation with (c·f + s·g, c·g − s·f) = (r, 0).
struct Givens {
  double c = 1, s = 0, r;
  Givens(double f, double g) {
    double const square = f * f + g * g;
    r = square > 1e-280 && square < 1e280 ? std::sqrt(square) : std::hypot(f, g);
    if (r == 0) return;
    c = f / r;
    s = g / r;
  }
};

bool eigh(double* a, double* values, int64_t n, bool vectors) {
  if (n == 0) return true;
  double const scale = normalise(a, n * n);
  Vector const e = zeros(n);
  double* const d = values;
  tridiagonal(a, d, e.data(), n, vectors);
  std::vector<Rotation> rotations;
  int64_t left = 60 * n;  // steps; some two a value are usual
  for (int64_t low = 0; low < n;) {
    int64_t high = low;
    while (high + 1 < n &&
           std::abs(e[high]) > epsilon * std::sqrt(std::abs(d[high])) * std::sqrt(std::abs(d[high + 1])) &&
           std::abs(e[high]) > std::numeric_limits<double>::min() / epsilon)
      ++high;
    if (high == low) {
      ++low;
      continue;
    }
    if (left-- == 0) return false;
    // One implicit QL step on low … high with Wilkinson's shift: a bulge chased from the bottom to the top.
    double const gap = (d[low + 1] - d[low]) / (2 * e[low]);
    double const shift = d[low] - e[low] / (gap + std::copysign(std::hypot(gap, 1.0), gap));
    double f = d[high] - shift, g = e[high - 1];
    for (int64_t i = high - 1; i >= low; --i) {
      // The rotation of rows and columns i, i + 1 that turns (g, f) into (0, r).
      Givens const turn(f, g);
      double const r = turn.r, c = turn.c, s = turn.s;
      if (i + 1 < high) e[i + 1] = r;
      double const x = d[i], y = d[i + 1], z = e[i];
      d[i] = c * c * x - 2 * c * s * z + s * s * y;
      d[i + 1] = s * s * x + 2 * c * s * z + c * c * y;
      e[i] = c * s * (x - y) + (c * c - s * s) * z;
      f = e[i];
      if (i > low) {
        g = s * e[i - 1];
        e[i - 1] *= c;
      }
      rotations.push_back({i, c, s});
    }
    if (!vectors) rotations.clear();
    if (rotations.size() >= enough_rotations) apply(rotations, a, n, n);
  }
  if (vectors) apply(rotations, a, n, n);
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return d[i] < d[j] || (d[i] == d[j] && i < j); });
  Vector const unsorted = copy_of(d, n);
  Vector const rows = copy_of(a, vectors ? n * n : 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t const from = order[i];
    values[i] = unsorted[from] * scale;
    if (vectors) std::copy_n(rows.data() + from * n, n, a + i * n);
  }
  return true;
}

/// An implicit QR step on rows low … high of B, with the eigenvalue of the last 2×2 of B·Bᵀ for its shift, or none
/// where B is singular (Demmel and Kahan, 1990).
void qr_step(double* d, double* e, int64_t low, int64_t high, std::vector<Rotation>& left,
             std::vector<Rotation>& right) {
  double least = std::abs(d[low]), most = least;
  for (int64_t i = low; i <= high; ++i) {
    least = std::min(least, std::abs(d[i]));
    most = std::max(most, std::abs(d[i]));
  }
  double f = d[low], g = e[low];
  if (least > epsilon * most) {
    double const before = high - 1 > low ? e[high - 2] : 0;
    double const p = d[high - 1] * d[high - 1] + before * before, q = d[high] * d[high] + e[high - 1] * e[high - 1];
    double const r = d[high - 1] * e[high - 1], gap = (p - q) / 2;
    double const shift = r == 0 ? q : q - r * (r / (gap + std::copysign(std::hypot(gap, r), gap)));
    f = d[low] - shift / d[low];
  }
  for (int64_t i = low; i < high; ++i) {
    Givens const columns(f, g);
    if (i > low) e[i - 1] = columns.r;
    f = columns.c * d[i] + columns.s * e[i];
    e[i] = columns.c * e[i] - columns.s * d[i];
    g = columns.s * d[i + 1];
    d[i + 1] *= columns.c;
    right.push_back({i, columns.c, -columns.s});
    Givens const rows(f, g);
    d[i] = rows.r;
    f = rows.c * e[i] + rows.s * d[i + 1];
    d[i + 1] = rows.c * d[i + 1] - rows.s * e[i];
    if (i + 1 < high) {
      g = rows.s * e[i + 1];
      e[i + 1] *= rows.c;
    }
    left.push_back({i, rows.c, -rows.s});
  }
  e[high - 1] = f;
}

/// Bidiagonal form and implicit QR (Golub and Reinsch, 1970); of R, where a = Q·R is tall (Chan, 1982).
bool svd(double const* a, double* u, double* values, double* v, int64_t m, int64_t n) {
  if (n == 0) return true;
  Vector const work = copy_of(a, m * n), e = zeros(n), ut(u ? m * n : 0);
  double const scale = normalise(work.data(), m * n);
  double* const d = values;
  bool const tall = 2 * m > 3 * n;
  Vector const reflections(tall ? m * n : 0), tau(n);
  if (tall) {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) reflections[j * m + i] = work[i * n + j];
    triangular(reflections.data(), tau.data(), work.data(), m, n);
  }
  int64_t const height = tall ? n : m;
  bidiagonal(work.data(), d, e.data(), u ? ut.data() : nullptr, v, height, n);
  double norm = 0;
  for (int64_t i = 0; i < n; ++i) norm = std::max({norm, std::abs(d[i]), std::abs(e[i])});
  std::vector<Rotation> left, right;
  int64_t steps = 60 * n;
  for (int64_t high = n - 1; high > 0;) {
    int64_t low = high;
    while (low > 0 && std::abs(e[low - 1]) > epsilon * (std::abs(d[low - 1]) + std::abs(d[low])) &&
           std::abs(e[low - 1]) > epsilon * epsilon * norm)
      --low;
    if (low > 0) e[low - 1] = 0;
    if (low == high) {
      --high;
      continue;
    }
    if (steps-- == 0) return false;
    qr_step(d, e.data(), low, high, left, right);
    if (!u) left.clear(), right.clear();
    if (left.size() >= enough_rotations) apply(left, ut.data(), n, height), apply(right, v, n, n);
  }
  if (u) apply(left, ut.data(), n, height), apply(right, v, n, n);
  if (u && tall) {
    for (int64_t i = n; i-- > 0;) {
      std::copy_n(ut.data() + i * n, n, ut.data() + i * m);
      std::fill_n(ut.data() + i * m + n, m - n, 0.0);
    }
    reflect_back(reflections.data(), tau.data(), n, 0, false, ut.data(), n, m);
  }
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return std::abs(d[i]) > std::abs(d[j]) || (std::abs(d[i]) == std::abs(d[j]) && i < j);
  });
  Vector const unsorted = copy_of(d, n);
  Vector const rows = copy_of(v, u ? n * n : 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t const from = order[i];
    double const sign = std::copysign(1.0, unsorted[from]);
    values[i] = std::abs(unsorted[from]) * scale;
    if (!u) continue;
    for (int64_t j = 0; j < n; ++j) v[i * n + j] = sign * rows[from * n + j];
    for (int64_t j = 0; j < m; ++j) u[j * n + i] = ut[from * m + j];
  }
  return true;
}

}  // namespace

constinit SpectralKernels const spectral_kernels{eigh, svd};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
