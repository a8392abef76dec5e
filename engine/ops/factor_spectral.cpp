// Symmetric eigenvalues by Householder's tridiagonal form and implicit QL; singular values by bidiagonal form and
// implicit QR.
#include <heed/engine/ops/factor.h>
#include <heed/engine/parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace heed::factor {
namespace {

constexpr double epsilon = std::numeric_limits<double>::epsilon();
using Vector = std::vector<double>;

double dot(double const* a, double const* b, int64_t n) {
  constexpr int lanes = 8;
  double sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int l = 0; l < lanes; ++l) sums[l] += a[i + l] * b[i + l];
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/// (x, y) ← (c·x − s·y, s·x + c·y)
void rotate(double* x, double* y, int64_t n, double c, double s) {
  for (int64_t i = 0; i < n; ++i) {
    double const u = x[i], v = y[i];
    x[i] = c * u - s * v;
    y[i] = s * u + c * v;
  }
}

/// Divides by a power of two near the largest element, so that squares neither overflow nor vanish.
double normalise(double* a, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(a[i]));
  if (largest == 0) return 1;
  int exponent;
  std::frexp(largest, &exponent);
  for (int64_t i = 0; i < n; ++i) a[i] = std::ldexp(a[i], -exponent);
  return std::ldexp(1.0, exponent);
}

/// a = Q·T·Qᵀ with T tridiagonal (diagonal d, below it e[0 … n − 2]); a becomes Qᵀ if `vectors`.
void tridiagonal(double* a, double* d, double* e, int64_t n, bool vectors) {
  Vector tau(static_cast<size_t>(n)), w(static_cast<size_t>(n));
  for (int64_t k = 0; k + 1 < n; ++k) {
    double* const v = a + k * n;  // v[k + 1 …] of row k becomes the reflection
    double const below = dot(v + k + 2, v + k + 2, n - k - 2);
    double const head = v[k + 1];
    e[k] = head;
    if (below == 0) continue;
    e[k] = -std::copysign(std::sqrt(head * head + below), head);
    tau[size_t(k)] = (e[k] - head) / e[k];
    for (int64_t i = k + 2; i < n; ++i) v[i] /= head - e[k];
    v[k + 1] = 1;
    // w = tau·A·v − (tau·wᵀ·v/2)·v, then A −= v·wᵀ + w·vᵀ
    int64_t const from = k + 1, m = n - from;
    parallel_for(m, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = from + begin; i < from + end; ++i)
        w[size_t(i)] = tau[size_t(k)] * dot(a + i * n + from, v + from, m);
    });
    double const half = tau[size_t(k)] * dot(w.data() + from, v + from, m) / 2;
    for (int64_t i = from; i < n; ++i) w[size_t(i)] -= half * v[i];
    parallel_for(m, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = from + begin; i < from + end; ++i)
        for (int64_t j = from; j < n; ++j) a[i * n + j] -= v[i] * w[size_t(j)] + w[size_t(i)] * v[j];
    });
  }
  for (int64_t i = 0; i < n; ++i) d[i] = a[i * n + i];
  if (!vectors) return;
  // Q = H₀·(H₁·(…)): reflection k changes rows and columns from k + 1 on. Built transposed, so Qᵀ·Hₖ from the right.
  Vector q(size_t(n * n));
  for (int64_t i = 0; i < n; ++i) q[size_t(i * n + i)] = 1;
  for (int64_t k = n - 2; k >= 0; --k) {
    if (tau[size_t(k)] == 0) continue;
    double const* const v = a + k * n;
    int64_t const from = k + 1, m = n - from;
    parallel_for(m, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = from + begin; i < from + end; ++i) {
        double* const row = q.data() + i * n;
        double const factor = tau[size_t(k)] * dot(row + from, v + from, m);
        for (int64_t j = from; j < n; ++j) row[j] -= factor * v[j];
      }
    });
  }
  std::copy(q.begin(), q.end(), a);
}

struct Rotation {
  int64_t row;  // and row + 1
  double c, s;
};

/// So many rotations are gathered before they are applied.
constexpr size_t enough_rotations = 4096;

/// Applies rotations in order to the rows of a [.., n], by bands of columns that stay in cache.
void apply(std::vector<Rotation>& rotations, double* a, int64_t n) {
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (Rotation const& r : rotations)
      rotate(a + r.row * n + begin, a + (r.row + 1) * n + begin, end - begin, r.c, r.s);
  });
  rotations.clear();
}

}  // namespace

bool eigh(double* a, double* values, int64_t n, bool vectors) {
  if (n == 0) return true;
  double const scale = normalise(a, n * n);
  Vector e(static_cast<size_t>(n));
  double* const d = values;
  tridiagonal(a, d, e.data(), n, vectors);
  std::vector<Rotation> rotations;
  int64_t left = 60 * n;  // steps; some two a value are usual
  for (int64_t low = 0; low < n;) {
    int64_t high = low;
    while (high + 1 < n &&
           std::abs(e[size_t(high)]) > epsilon * std::sqrt(std::abs(d[high])) * std::sqrt(std::abs(d[high + 1])) &&
           std::abs(e[size_t(high)]) > std::numeric_limits<double>::min() / epsilon)
      ++high;
    if (high == low) {
      ++low;
      continue;
    }
    if (left-- == 0) return false;
    // One implicit QL step on low … high with Wilkinson's shift: a bulge chased from the bottom to the top.
    double const gap = (d[low + 1] - d[low]) / (2 * e[size_t(low)]);
    double const shift = d[low] - e[size_t(low)] / (gap + std::copysign(std::hypot(gap, 1.0), gap));
    double f = d[high] - shift, g = e[size_t(high - 1)];
    for (int64_t i = high - 1; i >= low; --i) {
      // The rotation of rows and columns i, i + 1 that turns (g, f) into (0, r).
      double const r = std::hypot(f, g);
      double const c = r == 0 ? 1 : f / r, s = r == 0 ? 0 : g / r;
      if (i + 1 < high) e[size_t(i + 1)] = r;
      double const x = d[i], y = d[i + 1], z = e[size_t(i)];
      d[i] = c * c * x - 2 * c * s * z + s * s * y;
      d[i + 1] = s * s * x + 2 * c * s * z + c * c * y;
      e[size_t(i)] = c * s * (x - y) + (c * c - s * s) * z;
      f = e[size_t(i)];
      if (i > low) {
        g = s * e[size_t(i - 1)];
        e[size_t(i - 1)] *= c;
      }
      rotations.push_back({i, c, s});
    }
    if (!vectors) rotations.clear();
    if (rotations.size() >= enough_rotations) apply(rotations, a, n);
  }
  if (vectors) apply(rotations, a, n);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return d[i] < d[j] || (d[i] == d[j] && i < j); });
  Vector const unsorted(d, d + n);
  Vector const rows = vectors ? Vector(a, a + n * n) : Vector();
  for (int64_t i = 0; i < n; ++i) {
    int64_t const from = order[size_t(i)];
    values[i] = unsorted[size_t(from)] * scale;
    if (vectors) std::copy_n(rows.begin() + from * n, n, a + i * n);
  }
  return true;
}

namespace {

/// The rotation with (c·f + s·g, c·g − s·f) = (r, 0).
struct Givens {
  double c, s, r;
  Givens(double f, double g) : c(1), s(0), r(std::hypot(f, g)) {
    if (r == 0) return;
    c = f / r;
    s = g / r;
  }
};

/// v[0 … n) (stride `step`) becomes a reflection with v[0] = 1 that maps it to (beta, 0, …); returns tau.
double reflection(double* v, int64_t n, int64_t step, double& beta) {
  double below = 0;
  for (int64_t i = 1; i < n; ++i) below += v[i * step] * v[i * step];
  double const head = v[0];
  beta = head;
  v[0] = 1;
  if (below == 0) return 0;
  beta = -std::copysign(std::sqrt(head * head + below), head);
  for (int64_t i = 1; i < n; ++i) v[i * step] /= head - beta;
  return (beta - head) / beta;
}

/// a [m, n] −= tau·v·(vᵀ·a), v of stride `step`, rows of a `width` apart: in bands of columns.
void reflect_rows(double const* v, int64_t step, double tau, double* a, int64_t m, int64_t n, int64_t width) {
  if (tau == 0) return;
  parallel_for(n, 128, [&](int64_t begin, int64_t end) {
    double dots[128] = {};
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = begin; j < end; ++j) dots[j - begin] += v[i * step] * a[i * width + j];
    for (int64_t i = 0; i < m; ++i) {
      double const factor = tau * v[i * step];
      for (int64_t j = begin; j < end; ++j) a[i * width + j] -= factor * dots[j - begin];
    }
  });
}

/// a [m, n] −= tau·(a·v)·vᵀ
void reflect_columns(double const* v, double tau, double* a, int64_t m, int64_t n, int64_t width) {
  if (tau == 0) return;
  parallel_for(m, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double const factor = tau * dot(a + i * width, v, n);
      for (int64_t j = 0; j < n; ++j) a[i * width + j] -= factor * v[j];
    }
  });
}

/// a [m, n] = U·B·V with B upper bidiagonal (d, above it e[0 … n − 2]); u [m, n] and v [n, n] are formed if given
/// (Golub and Kahan, 1965).
void bidiagonal(double* a, double* d, double* e, double* u, double* v, int64_t m, int64_t n) {
  Vector left(static_cast<size_t>(n)), right(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    double* const corner = a + k * n + k;
    left[size_t(k)] = reflection(corner, m - k, n, d[k]);
    reflect_rows(corner, n, left[size_t(k)], corner + 1, m - k, n - k - 1, n);
    if (k + 1 == n) break;
    right[size_t(k)] = reflection(corner + 1, n - k - 1, 1, e[k]);
    reflect_columns(corner + 1, right[size_t(k)], corner + n + 1, m - k - 1, n - k - 1, n);
  }
  if (!u) return;
  std::fill_n(u, m * n, 0.0);
  std::fill_n(v, n * n, 0.0);
  for (int64_t k = 0; k < n; ++k) u[k * n + k] = v[k * n + k] = 1;
  for (int64_t k = n; k-- > 0;) {
    reflect_rows(a + k * n + k, n, left[size_t(k)], u + k * n + k, m - k, n - k, n);
    if (k + 1 < n)
      reflect_columns(a + k * n + k + 1, right[size_t(k)], v + (k + 1) * n + k + 1, n - k - 1, n - k - 1, n);
  }
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

}  // namespace

/// Bidiagonal form and implicit QR (Golub and Reinsch, 1970).
bool svd(double const* a, double* u, double* values, double* v, int64_t m, int64_t n) {
  if (n == 0) return true;
  Vector work(a, a + m * n), e(static_cast<size_t>(n)), ut(size_t(u ? m * n : 0));
  double const scale = normalise(work.data(), m * n);
  double* const d = values;
  bidiagonal(work.data(), d, e.data(), u, v, m, n);
  if (u)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) ut[size_t(j * m + i)] = u[i * n + j];
  double norm = 0;
  for (int64_t i = 0; i < n; ++i) norm = std::max({norm, std::abs(d[i]), std::abs(e[size_t(i)])});
  std::vector<Rotation> left, right;
  int64_t steps = 60 * n;
  for (int64_t high = n - 1; high > 0;) {
    int64_t low = high;
    while (low > 0 && std::abs(e[size_t(low - 1)]) > epsilon * (std::abs(d[low - 1]) + std::abs(d[low])) &&
           std::abs(e[size_t(low - 1)]) > epsilon * epsilon * norm)
      --low;
    if (low > 0) e[size_t(low - 1)] = 0;
    if (low == high) {
      --high;
      continue;
    }
    if (steps-- == 0) return false;
    qr_step(d, e.data(), low, high, left, right);
    if (!u) left.clear(), right.clear();
    if (left.size() >= enough_rotations) apply(left, ut.data(), m), apply(right, v, n);
  }
  if (u) apply(left, ut.data(), m), apply(right, v, n);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return std::abs(d[i]) > std::abs(d[j]) || (std::abs(d[i]) == std::abs(d[j]) && i < j);
  });
  Vector const unsorted(d, d + n);
  Vector const rows = u ? Vector(v, v + n * n) : Vector();
  for (int64_t i = 0; i < n; ++i) {
    int64_t const from = order[size_t(i)];
    double const sign = std::copysign(1.0, unsorted[size_t(from)]);
    values[i] = std::abs(unsorted[size_t(from)]) * scale;
    if (!u) continue;
    for (int64_t j = 0; j < n; ++j) v[i * n + j] = sign * rows[size_t(from * n + j)];
    for (int64_t j = 0; j < m; ++j) u[j * n + i] = ut[size_t(from * m + j)];
  }
  return true;
}

}  // namespace heed::factor
