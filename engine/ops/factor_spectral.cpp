// Symmetric eigenvalues by Householder's tridiagonal form and implicit QL; singular values by one-sided Jacobi.
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

/// Applies rotations in order to the rows of a [n, n], by bands of columns that stay in cache.
void apply(std::vector<Rotation> const& rotations, double* a, int64_t n) {
  parallel_for(n, 64, [&](int64_t begin, int64_t end) {
    for (Rotation const& r : rotations)
      rotate(a + r.row * n + begin, a + (r.row + 1) * n + begin, end - begin, r.c, r.s);
  });
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
    rotations.clear();
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
    if (vectors) apply(rotations, a, n);
  }
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

/// a [m, n] with columns in an order in which the norms of what is left fall; order[j] is the column that became j.
void pivoted_qr(double* a, double* tau, int64_t* order, int64_t m, int64_t n) {
  std::iota(order, order + n, 0);
  Vector rest(static_cast<size_t>(n)), column(static_cast<size_t>(m)), dots(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    std::fill(rest.begin() + j, rest.end(), 0.0);
    for (int64_t i = j; i < m; ++i)
      for (int64_t c = j; c < n; ++c) rest[size_t(c)] += a[i * n + c] * a[i * n + c];
    int64_t const best = std::max_element(rest.begin() + j, rest.end()) - rest.begin();
    if (best != j) {
      std::swap(order[j], order[best]);
      for (int64_t i = 0; i < m; ++i) std::swap(a[i * n + j], a[i * n + best]);
    }
    tau[j] = 0;
    double below = 0;
    for (int64_t i = j + 1; i < m; ++i) below += a[i * n + j] * a[i * n + j];
    if (below == 0) continue;
    double const head = a[j * n + j], beta = -std::copysign(std::sqrt(head * head + below), head);
    tau[j] = (beta - head) / beta;
    for (int64_t i = j + 1; i < m; ++i) a[i * n + j] /= head - beta;
    a[j * n + j] = beta;
    std::copy(a + j * n + j + 1, a + (j + 1) * n, dots.begin());
    int64_t const width = n - j - 1;
    for (int64_t i = j + 1; i < m; ++i)
      for (int64_t c = 0; c < width; ++c) dots[size_t(c)] += a[i * n + j] * a[i * n + j + 1 + c];
    for (int64_t i = j; i < m; ++i) {
      double const factor = tau[j] * (i == j ? 1 : a[i * n + j]);
      for (int64_t c = 0; c < width; ++c) a[i * n + j + 1 + c] -= factor * dots[size_t(c)];
    }
  }
}

/// Rotates the rows of x [n, n] until they are orthogonal, and those of w (if any) alike. Pairs meet in the order of a
/// tournament, so that those of one round share no row.
bool orthogonalise_rows(double* x, double* w, int64_t n) {
  constexpr double nothing = 1e-290;  // a squared norm, of a matrix whose largest element is about 1
  double const tolerance = std::sqrt(double(n)) * epsilon;
  int64_t const players = n + n % 2;
  std::vector<int64_t> seat(static_cast<size_t>(players));
  std::iota(seat.begin(), seat.end(), 0);
  std::vector<uint8_t> moved(size_t(players / 2));
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool any = false;
    for (int64_t round = 0; round + 1 < players; ++round) {
      parallel_for(players / 2, std::max<int64_t>(1, 65536 / n), [&](int64_t begin, int64_t end) {
        for (int64_t pair = begin; pair < end; ++pair) {
          int64_t const p = std::min(seat[size_t(pair)], seat[size_t(players - 1 - pair)]);
          int64_t const q = std::max(seat[size_t(pair)], seat[size_t(players - 1 - pair)]);
          moved[size_t(pair)] = 0;
          if (q >= n) continue;
          double *const u = x + p * n, *const v = x + q * n;
          double const uu = dot(u, u, n), vv = dot(v, v, n), uv = dot(u, v, n);
          if (uu < nothing || vv < nothing || std::abs(uv) <= tolerance * std::sqrt(uu) * std::sqrt(vv)) continue;
          double const zeta = (vv - uu) / (2 * uv);
          double const t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::hypot(1.0, zeta));
          double const c = 1 / std::sqrt(1 + t * t);
          rotate(u, v, n, c, c * t);
          if (w) rotate(w + p * n, w + q * n, n, c, c * t);
          moved[size_t(pair)] = 1;
        }
      });
      any = any || std::find(moved.begin(), moved.end(), 1) != moved.end();
      std::rotate(seat.begin() + 1, seat.end() - 1, seat.end());
    }
    if (!any) return true;
  }
  return false;
}

/// Rows `from` … n − 1 of x [n, n] become an orthonormal completion of the orthonormal rows before: unit vectors,
/// projected twice, those furthest from the span so far first.
void complete_rows(double* x, int64_t from, int64_t n) {
  for (int64_t row = from; row < n; ++row) {
    int64_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < n; ++j) {
      double inside = 0;
      for (int64_t i = 0; i < row; ++i) inside += x[i * n + j] * x[i * n + j];
      if (inside < least) least = inside, best = j;
    }
    double* const y = x + row * n;
    std::fill_n(y, n, 0.0);
    y[best] = 1;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t i = 0; i < row; ++i) {
        double const factor = dot(x + i * n, y, n);
        for (int64_t j = 0; j < n; ++j) y[j] -= factor * x[i * n + j];
      }
    double const size = std::sqrt(dot(y, y, n));
    for (int64_t j = 0; j < n; ++j) y[j] /= size;
  }
}

}  // namespace

/// a·P = Q·R; rows of R are rotated, Wᵀ·R = Σ·Zᵀ, so that a = (Q·W)·Σ·(P·Z)ᵀ.
bool svd(double const* a, double* u, double* values, double* v, int64_t m, int64_t n) {
  if (n == 0) return true;
  Vector reflections(a, a + m * n), tau(static_cast<size_t>(n)), x(size_t(n * n)), w(size_t(u ? n * n : 0));
  std::vector<int64_t> columns(static_cast<size_t>(n)), order(static_cast<size_t>(n));
  double const scale = normalise(reflections.data(), m * n);
  pivoted_qr(reflections.data(), tau.data(), columns.data(), m, n);
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(reflections.begin() + i * n + i, n - i, x.begin() + i * n + i);
    if (u) w[size_t(i * n + i)] = 1;
  }
  if (!orthogonalise_rows(x.data(), u ? w.data() : nullptr, n)) return false;
  Vector size(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) size[size_t(i)] = std::sqrt(dot(x.data() + i * n, x.data() + i * n, n));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return size[size_t(i)] > size[size_t(j)] || (size[size_t(i)] == size[size_t(j)] && i < j);
  });
  int64_t rank = 0;
  for (int64_t i = 0; i < n; ++i) {
    double const here = size[size_t(order[size_t(i)])];
    rank += here > 1e-145;
    values[i] = here > 1e-145 ? here * scale : 0;
  }
  if (!u) return true;
  Vector z(size_t(n * n));
  for (int64_t i = 0; i < rank; ++i) {
    double const* const row = x.data() + order[size_t(i)] * n;
    for (int64_t j = 0; j < n; ++j) z[size_t(i * n + j)] = row[j] / size[size_t(order[size_t(i)])];
  }
  complete_rows(z.data(), rank, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) v[i * n + columns[size_t(j)]] = z[size_t(i * n + j)];
  std::fill_n(u, m * n, 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) u[i * n + j] = w[size_t(order[size_t(j)] * n + i)];
  apply_reflections(reflections.data(), n, tau.data(), n, u, m, n);
  return true;
}

}  // namespace heed::factor
