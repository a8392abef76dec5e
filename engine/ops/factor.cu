// Factorisations of batches of small matrices: a block for each, whose threads share every step of the elimination,
// reflection or sweep. A matrix that fits stays in shared memory; another one is worked on where it lies, through the
// caches: n steps over n² numbers, so that one multiprocessor's share of their bandwidth is the bound.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/cuda/warp.h>
#include <heed/engine/ops/device_tables.h>
#include <heed/engine/ops/factor.h>

#include <type_traits>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr int most_warps = block_threads / warp_threads;
constexpr int64_t most_shared = 48 << 10;

/// The block's place in its matrix: rows for warps, columns for lanes.
struct Crew {
  int thread = int(threadIdx.x), threads = int(blockDim.x);
  int lane = thread % warp_threads, warp = thread / warp_threads, warps = threads / warp_threads;
};

/// Threads for `work` numbers a step, several each.
unsigned threads_for(int64_t work) {
  unsigned threads = warp_threads;
  while (threads < block_threads && work > 4 * int64_t(threads)) threads *= 2;
  return threads;
}
template <class T>
size_t shared_for(int64_t size) {
  return size * int64_t(sizeof(T)) <= most_shared ? size_t(size) * sizeof(T) : 0;
}

template <class T>
__device__ inline void copy(Crew const& by, T const* from, T* to, int64_t size) {
  for (int64_t i = by.thread; i < size; i += by.threads) to[i] = from[i];
  __syncthreads();
}

struct Least {
  __device__ int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

// ---- elimination ----------------------------------------------------------------------------------------------------

template <class T>
__global__ void __launch_bounds__(block_threads, 1) cholesky_kernel(T* all, int64_t* wrong, int64_t n, bool held) {
  HEED_DYNAMIC_SHARED(T, memory);
  Crew const by;
  T* const home = all + int64_t(blockIdx.x) * n * n;
  T* const a = held ? memory : home;
  if (held) copy(by, home, a, n * n);
  int64_t minor = 0;
  for (int64_t j = 0; j < n; ++j) {
    T const pivot = a[j * n + j];
    if (!(pivot > 0) || pivot == infinity<T>) {
      minor = j + 1;
      break;
    }
    T const root = std::sqrt(pivot);
    __syncthreads();
    for (int64_t i = j + by.thread; i < n; i += by.threads) a[i * n + j] = i == j ? root : a[i * n + j] / root;
    __syncthreads();
    for (int64_t i = j + 1 + by.warp; i < n; i += by.warps)
      for (int64_t c = j + 1 + by.lane; c <= i; c += warp_threads) a[i * n + c] -= a[i * n + j] * a[c * n + j];
    __syncthreads();
  }
  if (by.thread == 0) wrong[blockIdx.x] = minor;
  for (int64_t i = by.warp; i < n; i += by.warps)
    for (int64_t c = by.lane; c < n; c += warp_threads) home[i * n + c] = c <= i ? a[i * n + c] : T(0);
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    lu_kernel(T* all, int32_t* pivots, int64_t m, int64_t n, bool held) {
  HEED_DYNAMIC_SHARED(T, memory);
  HEED_SHARED(T, sizes, most_warps);
  HEED_SHARED(int64_t, places, most_warps);
  Crew const by;
  T* const home = all + int64_t(blockIdx.x) * m * n;
  T* const a = held ? memory : home;
  if (held) copy(by, home, a, m * n);
  int64_t const k = m < n ? m : n;
  for (int64_t j = 0; j < k; ++j) {
    // The first of the largest; a NaN stays where it is, or is passed over.
    T most = -1;
    int64_t best = m;
    for (int64_t i = j + by.thread; i < m; i += by.threads) {
      T size = std::abs(a[i * n + j]);
      if (i == j && size != size) size = infinity<T>;
      if (size > most) most = size, best = i;
    }
    T const largest = fold_team(most, AnyMax{}, by.threads, static_cast<T*>(sizes));
    best = fold_team(most == largest ? best : m, Least{}, by.threads, static_cast<int64_t*>(places));
    if (by.thread == 0) pivots[blockIdx.x * k + j] = int32_t(best + 1);
    __syncthreads();
    if (best != j)
      for (int64_t c = by.thread; c < n; c += by.threads) {
        T const kept = a[j * n + c];
        a[j * n + c] = a[best * n + c];
        a[best * n + c] = kept;
      }
    __syncthreads();
    T const pivot = a[j * n + j];
    if (pivot == 0) continue;
    for (int64_t i = j + 1 + by.thread; i < m; i += by.threads) a[i * n + j] /= pivot;
    __syncthreads();
    for (int64_t i = j + 1 + by.warp; i < m; i += by.warps)
      for (int64_t c = j + 1 + by.lane; c < n; c += warp_threads) a[i * n + c] -= a[i * n + j] * a[j * n + c];
    __syncthreads();
  }
  if (held) copy(by, a, home, m * n);
}

/// Columns that a block solves for.
constexpr int64_t tile = 32;

/// Columns first … of b [n, k] become those of a⁻¹·b, `width` a power of two: as many threads side by side.
template <class T>
__device__ void solve_tile(Crew const& by, T const* a, bool upper, bool unit, T* b, int64_t n, int64_t k, int width) {
  int64_t row = n, column = 1, step = k;
  if (upper) {  // the lower triangle, read backwards
    a += (n - 1) * (n + 1);
    b += (n - 1) * k;
    row = -row, column = -column, step = -step;
  }
  int const c = by.thread % width, first = by.thread / width, rows = by.threads / width;
  bool const live = int64_t(blockIdx.y) * tile + c < k;
  b += int64_t(blockIdx.y) * tile + c;
  for (int64_t i = 0; i < n; ++i) {
    if (!unit) {
      if (live && first == 0) b[i * step] /= a[i * (row + column)];
      __syncthreads();
    }
    if (live)
      for (int64_t r = i + 1 + first; r < n; r += rows) b[r * step] -= a[r * row + i * column] * b[i * step];
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    solve_triangular_kernel(T const* a, bool upper, bool unit, T* b, int64_t n, int64_t k, int width) {
  solve_tile(Crew{}, a + int64_t(blockIdx.x) * n * n, upper, unit, b + int64_t(blockIdx.x) * n * k, n, k, width);
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    lu_solve_kernel(T const* a, int32_t const* pivots, T* b, int64_t* wrong, int64_t n, int64_t k, int width) {
  Crew const by;
  a += int64_t(blockIdx.x) * n * n;
  b += int64_t(blockIdx.x) * n * k;
  pivots += int64_t(blockIdx.x) * n;
  bool zero = false;
  for (int64_t j = by.thread; j < n; j += by.threads) zero = zero || a[j * n + j] == 0;
  bool const singular = __syncthreads_or(zero) != 0;
  if (by.thread == 0 && blockIdx.y == 0) wrong[blockIdx.x] = singular;
  int64_t const c = int64_t(blockIdx.y) * tile + by.thread;
  if (by.thread < tile && c < k) {
    for (int64_t j = 0; j < n; ++j) {
      int64_t const with = pivots[j] - 1;
      T const kept = b[j * k + c];
      b[j * k + c] = singular ? infinity<T> : b[with * k + c];
      if (!singular) b[with * k + c] = kept;
    }
  }
  __syncthreads();
  if (singular) return;
  solve_tile(by, a, false, true, b, n, k, width);
  solve_tile(by, a, true, false, b, n, k, width);
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    permutation_kernel(int32_t const* pivots, T* p, int64_t* wrong, int64_t count, int64_t m, int64_t k) {
  int64_t const task = int64_t(blockIdx.x) * block_threads + int(threadIdx.x), matrix = task / m, i = task % m;
  if (matrix >= count) return;
  pivots += matrix * k;
  int64_t const bad = factor::bad_exchange(pivots, k, m);
  if (i == 0) wrong[matrix] = bad;
  if (bad == 0) p[(matrix * m + factor::row_of(pivots, k, i)) * m + i] = 1;
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    determinant_kernel(T const* a, int32_t const* pivots, T* value, T* sign, T* logarithm, int64_t count, int64_t n) {
  int64_t const i = int64_t(blockIdx.x) * block_threads + int(threadIdx.x);
  if (i >= count) return;
  factor::Determinant<T> const d(a + i * n * n, pivots + i * n, n);
  value[i] = d.value, sign[i] = d.sign, logarithm[i] = T(d.logarithm);
}

// ---- reflections ----------------------------------------------------------------------------------------------------

/// x [rows, columns], rows `step` apart, becomes (1 − tau·v·vᵀ)·x: v is 1, then every n-th number after v[0].
template <class T>
__device__ void reflect(Crew const& by, T const* v, int64_t n, T tau, T* x, int64_t step, int64_t rows, int64_t columns,
                        T* slots) {
  for (int64_t first = 0; first < columns; first += warp_threads) {
    int64_t const c = first + by.lane;
    T sum = 0;
    if (c < columns)
      for (int64_t i = by.warp; i < rows; i += by.warps) sum += (i == 0 ? T(1) : v[i * n]) * x[i * step + c];
    slots[by.thread] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < by.warps; ++w) sum += slots[w * warp_threads + by.lane];
    if (c < columns)
      for (int64_t i = by.warp; i < rows; i += by.warps) x[i * step + c] -= tau * sum * (i == 0 ? T(1) : v[i * n]);
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1) qr_kernel(T* all, T* taus, int64_t m, int64_t n, bool held) {
  HEED_DYNAMIC_SHARED(T, memory);
  HEED_SHARED(T, slots, block_threads);
  Crew const by;
  T* const home = all + int64_t(blockIdx.x) * m * n;
  T* const a = held ? memory : home;
  if (held) copy(by, home, a, m * n);
  int64_t const k = m < n ? m : n;
  auto const sum_of = [&](T x, auto const& join) { return fold_team(x, join, by.threads, static_cast<T*>(slots)); };
  for (int64_t j = 0; j < k; ++j) {
    T largest = 0;
    for (int64_t i = j + 1 + by.thread; i < m; i += by.threads)
      largest = warp::Larger{}(largest, std::abs(a[i * n + j]));
    largest = sum_of(largest, warp::Larger{});
    if (largest == 0) {
      if (by.thread == 0) taus[blockIdx.x * k + j] = 0;
      __syncthreads();
      continue;
    }
    // In units of `largest`, so that the smallest numbers keep their digits.
    T const head = a[j * n + j];
    largest = std::abs(head) > largest ? std::abs(head) : largest;
    if (largest == infinity<T>) largest = 1;
    T total = 0;
    for (int64_t i = j + by.thread; i < m; i += by.threads) {
      T const x = a[i * n + j] / largest;
      total += x * x;
    }
    total = sum_of(total, Plus{});
    T const unit_head = head / largest, beta = unit_head < 0 ? std::sqrt(total) : -std::sqrt(total);
    T const tau = (beta - unit_head) / beta;
    __syncthreads();
    for (int64_t i = j + by.thread; i < m; i += by.threads)
      a[i * n + j] = i == j ? beta * largest : a[i * n + j] / largest / (unit_head - beta);
    if (by.thread == 0) taus[blockIdx.x * k + j] = tau;
    __syncthreads();
    reflect(by, a + j * n + j, n, tau, a + j * n + j + 1, n, m - j, n - j - 1, static_cast<T*>(slots));
  }
  if (held) copy(by, a, home, m * n);
}

template <class T>
__global__ void __launch_bounds__(block_threads, 1)
    apply_reflections_kernel(T const* a, T const* taus, T* q, int64_t m, int64_t n, int64_t columns) {
  HEED_SHARED(T, slots, block_threads);
  Crew const by;
  int64_t const k = m < n ? m : n, c = int64_t(blockIdx.y) * tile, matrix = blockIdx.x;
  for (int64_t j = k; j-- > 0;)
    if (T const tau = taus[matrix * k + j]; tau != 0)
      reflect(by, a + (matrix * m + j) * n + j, n, tau, q + (matrix * m + j) * columns + c, columns, m - j,
              columns - c < tile ? columns - c : tile, static_cast<T*>(slots));
}

// ---- rotations: Jacobi's methods ------------------------------------------------------------------------------------

constexpr double epsilon = 0x1p-52;
constexpr int most_sweeps = 40;  // some eight are usual

/// Round `round` of a tournament in which everyone of n meets everyone once: pair i, of which q may be n, nobody.
struct Match {
  int64_t p, q;
  __device__ Match(int64_t n, int64_t round, int64_t i) {
    int64_t const even = n + n % 2, a = i == 0 ? even - 1 : (round + i) % (even - 1),
                  b = (round + even - 1 - i) % (even - 1);
    p = a < b ? a : b, q = a < b ? b : a;
  }
};

struct Rotation {
  double c = 1, s = 0;
};
/// What turns the symmetric matrix (x, y; y, z), y ≠ 0, into a diagonal one by the smaller angle.
__device__ inline Rotation rotation(double x, double y, double z) {
  double const gap = (z - x) / (2 * y), t = std::copysign(1 / (std::abs(gap) + std::sqrt(1 + gap * gap)), gap);
  double const c = 1 / std::sqrt(1 + t * t);
  return {c, t * c};
}
__device__ inline void turn(Rotation r, double& x, double& y) {
  double const old = x;
  x = r.c * old - r.s * y;
  y = r.s * old + r.c * y;
}

/// Numbers, all finite, times the power of two that makes the largest about 1; NaN where they are not. 2ᵉ undoes it.
__device__ inline bool normalise(Crew const& by, double* a, int64_t size, int& exponent, double* slots) {
  double largest = 0;
  bool bad = false;
  for (int64_t i = by.thread; i < size; i += by.threads) {
    bad = bad || !(std::abs(a[i]) < infinity<double>);
    largest = std::abs(a[i]) > largest ? std::abs(a[i]) : largest;
  }
  if (__syncthreads_or(bad)) return false;
  largest = fold_team(largest, AnyMax{}, by.threads, slots);
  exponent = 0;
  if (largest == 0) return true;
  std::frexp(largest, &exponent);
  for (int64_t i = by.thread; i < size; i += by.threads) a[i] = std::ldexp(a[i], -exponent);
  __syncthreads();
  return true;
}

/// Two-sided, on all disjoint pairs of rows and columns at once; rows of v become the vectors. Works in a, v [n, n]
/// and turns [n] of each matrix; values ascending, vectors in columns.
__global__ void __launch_bounds__(block_threads, 1)
    eigh_kernel(double const* x, bool upper, double* values, double* vectors, int64_t* wrong, int64_t n, double* rooms,
                double* all_v, Rotation* all_turns, bool held) {
  HEED_DYNAMIC_SHARED(double, memory);
  HEED_SHARED(double, slots, most_warps);
  Crew const by;
  int64_t const matrix = blockIdx.x, pairs = (n + 1) / 2;
  x += matrix * n * n;
  double* const a = held ? memory : rooms + matrix * n * n;
  double* const v = vectors ? all_v + matrix * n * n : nullptr;
  Rotation* const turns = all_turns + matrix * pairs;
  for (int64_t i = by.warp; i < n; i += by.warps)
    for (int64_t j = by.lane; j < n; j += warp_threads) {
      a[i * n + j] = upper == (i < j) ? x[i * n + j] : x[j * n + i];
      if (v) v[i * n + j] = i == j;
    }
  __syncthreads();
  int exponent;
  if (!normalise(by, a, n * n, exponent, static_cast<double*>(slots))) {
    if (by.thread == 0) wrong[matrix] = FactorKernels::not_finite;
    return;
  }
  bool done = false;
  for (int sweep = 0; sweep < most_sweeps && !done; ++sweep) {
    done = true;
    for (int64_t round = 0; round + 1 < 2 * pairs; ++round) {
      bool turned = false;
      for (int64_t i = by.thread; i < pairs; i += by.threads) {
        Match const m(n, round, i);
        Rotation r;
        if (m.q < n) {
          double const p = a[m.p * n + m.p], q = a[m.q * n + m.q], both = a[m.p * n + m.q];
          if (std::abs(both) > epsilon * std::sqrt(std::abs(p)) * std::sqrt(std::abs(q)) &&
              std::abs(both) > epsilon * epsilon) {
            r = rotation(p, both, q);
            turned = true;
          }
        }
        turns[i] = r;
      }
      if (!__syncthreads_or(turned)) continue;
      done = false;
      // Pairs i ≤ j of rows and columns: a block of 2×2 for one thread, and its mirror image.
      for (int64_t i = by.warp; i < pairs; i += by.warps)
        for (int64_t j = i + by.lane; j < pairs; j += warp_threads) {
          Match const rows(n, round, i), columns(n, round, j);
          Rotation const left = turns[i], right = turns[j];
          bool const two = rows.q < n, wide = columns.q < n;
          double pp = a[rows.p * n + columns.p], pq = wide ? a[rows.p * n + columns.q] : 0;
          double qp = two ? a[rows.q * n + columns.p] : 0, qq = two && wide ? a[rows.q * n + columns.q] : 0;
          turn(left, pp, qp);
          turn(left, pq, qq);
          turn(right, pp, pq);
          turn(right, qp, qq);
          if (i == j && left.s != 0) pq = qp = 0;
          a[rows.p * n + columns.p] = a[columns.p * n + rows.p] = pp;
          if (wide) a[rows.p * n + columns.q] = a[columns.q * n + rows.p] = pq;
          if (two && !(i == j)) a[rows.q * n + columns.p] = a[columns.p * n + rows.q] = qp;
          if (two && wide) a[rows.q * n + columns.q] = a[columns.q * n + rows.q] = qq;
        }
      if (v)
        for (int64_t i = by.warp; i < pairs; i += by.warps) {
          Match const m(n, round, i);
          if (turns[i].s != 0)
            for (int64_t j = by.lane; j < n; j += warp_threads) turn(turns[i], v[m.p * n + j], v[m.q * n + j]);
        }
      __syncthreads();
    }
  }
  if (by.thread == 0) wrong[matrix] = done ? 0 : FactorKernels::not_converged;
  for (int64_t i = by.warp; i < n; i += by.warps) {
    double const own = a[i * n + i];
    int64_t rank = 0;
    for (int64_t j = 0; j < n; ++j) rank += a[j * n + j] < own || (a[j * n + j] == own && j < i);
    if (by.lane == 0) values[matrix * n + rank] = std::ldexp(own, exponent);
    if (v)
      for (int64_t j = by.lane; j < n; j += warp_threads) vectors[matrix * n * n + j * n + rank] = v[i * n + j];
  }
}

/// x·y of n numbers, the same in all lanes.
__device__ inline double dot(Crew const& by, double const* x, double const* y, int64_t n) {
  double sum = 0;
  for (int64_t i = by.lane; i < n; i += warp_threads) sum += x[i] * y[i];
  return warp::sum(sum);
}

/// Columns known … n of u [m, n] become orthonormal to those before, which are: the unit vector that is farthest from
/// them, orthogonalised twice. room [n].
__device__ void complete_columns(Crew const& by, double* u, int64_t m, int64_t n, int64_t known, double* room,
                                 double* slots, int64_t* places) {
  for (int64_t r = known; r < n; ++r) {
    double most = -1;
    int64_t place = m;
    for (int64_t i = by.thread; i < m; i += by.threads) {
      double rest = 1;
      for (int64_t c = 0; c < r; ++c) rest -= u[i * n + c] * u[i * n + c];
      if (rest > most) most = rest, place = i;
    }
    double const largest = fold_team(most, AnyMax{}, by.threads, slots);
    place = fold_team(most == largest ? place : m, Least{}, by.threads, places);
    for (int64_t i = by.thread; i < m; i += by.threads) u[i * n + r] = i == place;
    __syncthreads();
    for (int turn = 0; turn < 3; ++turn) {
      for (int64_t c = by.thread; c < r; c += by.threads) {
        double product = 0;
        for (int64_t i = 0; i < m; ++i) product += u[i * n + c] * u[i * n + r];
        room[c] = product;
      }
      __syncthreads();
      double square = 0;
      for (int64_t i = by.thread; i < m; i += by.threads) {
        double x = u[i * n + r];
        for (int64_t c = 0; c < r; ++c) x -= room[c] * u[i * n + c];
        u[i * n + r] = x;
        square += x * x;
      }
      double const size = std::sqrt(fold_team(square, Plus{}, by.threads, slots));
      for (int64_t i = by.thread; i < m; i += by.threads) u[i * n + r] /= size;
      __syncthreads();
    }
  }
}

/// One-sided (Hestenes, 1958): the rows of at [n, m] are turned until they are orthogonal, a warp for each disjoint
/// pair of them; v's with them. sizes [n].
__global__ void __launch_bounds__(block_threads, 1)
    svd_kernel(double const* a, double* u, double* values, double* out_v, int64_t* wrong, int64_t m, int64_t n,
               double* all_at, double* all_v, double* all_sizes, bool held) {
  HEED_DYNAMIC_SHARED(double, memory);
  HEED_SHARED(double, slots, most_warps);
  HEED_SHARED(int64_t, places, most_warps);
  Crew const by;
  int64_t const matrix = blockIdx.x, pairs = (n + 1) / 2;
  a += matrix * m * n;
  double* const at = held ? memory : all_at + matrix * m * n;
  double* const v = u ? all_v + matrix * n * n : nullptr;
  double* const sizes = all_sizes + matrix * n;
  for (int64_t i = by.warp; i < m; i += by.warps)
    for (int64_t j = by.lane; j < n; j += warp_threads) at[j * m + i] = a[i * n + j];
  if (v)
    for (int64_t i = by.warp; i < n; i += by.warps)
      for (int64_t j = by.lane; j < n; j += warp_threads) v[i * n + j] = i == j;
  __syncthreads();
  int exponent;
  if (!normalise(by, at, m * n, exponent, static_cast<double*>(slots))) {
    if (by.thread == 0) wrong[matrix] = FactorKernels::not_finite;
    return;
  }
  double const tolerance =
      epsilon * (4 + std::sqrt(double(m)));  // what rounding leaves of a product of orthogonal rows
  bool done = n == 1;
  for (int sweep = 0; sweep < most_sweeps && !done; ++sweep) {
    bool turned = false;
    for (int64_t round = 0; round + 1 < 2 * pairs; ++round) {
      for (int64_t i = by.warp; i < pairs; i += by.warps) {
        Match const k(n, round, i);
        if (k.q >= n) continue;
        double *const p = at + k.p * m, *const q = at + k.q * m;
        double const pp = dot(by, p, p, m), pq = dot(by, p, q, m), qq = dot(by, q, q, m);
        if (!(std::abs(pq) > tolerance * std::sqrt(pp) * std::sqrt(qq))) continue;
        turned = true;
        Rotation const r = rotation(pp, pq, qq);
        for (int64_t j = by.lane; j < m; j += warp_threads) turn(r, p[j], q[j]);
        if (v)
          for (int64_t j = by.lane; j < n; j += warp_threads) turn(r, v[k.p * n + j], v[k.q * n + j]);
      }
      __syncthreads();
    }
    done = !__syncthreads_or(turned);
  }
  if (by.thread == 0) wrong[matrix] = done ? 0 : FactorKernels::not_converged;
  for (int64_t i = by.warp; i < n; i += by.warps) {
    double const square = dot(by, at + i * m, at + i * m, m);
    if (by.lane == 0) sizes[i] = std::sqrt(square);
  }
  __syncthreads();
  int64_t known = 0;
  for (int64_t i = 0; i < n; ++i) known += sizes[i] > 0;
  for (int64_t i = by.warp; i < n; i += by.warps) {
    double const own = sizes[i];
    int64_t rank = 0;
    for (int64_t j = 0; j < n; ++j) rank += sizes[j] > own || (sizes[j] == own && j < i);
    if (by.lane == 0) values[matrix * n + rank] = std::ldexp(own, exponent);
    if (!v) continue;
    for (int64_t j = by.lane; j < n; j += warp_threads) out_v[(matrix * n + rank) * n + j] = v[i * n + j];
    if (own > 0)
      for (int64_t j = by.lane; j < m; j += warp_threads) u[(matrix * m + j) * n + rank] = at[i * m + j] / own;
  }
  __syncthreads();
  if (v)
    complete_columns(by, u + matrix * m * n, m, n, known, sizes, static_cast<double*>(slots),
                     static_cast<int64_t*>(places));
}

// ---- launches -------------------------------------------------------------------------------------------------------

template <class T>
void cholesky(T* a, int64_t* wrong, int64_t count, int64_t n) {
  size_t const shared = shared_for<T>(n * n);
  launch(cholesky_kernel<T>, "cholesky", in_a_row(count), {threads_for(n * n)}, shared, a, wrong, n, shared > 0);
}

template <class T>
void lu(T* a, int32_t* pivots, int64_t count, int64_t m, int64_t n) {
  size_t const shared = shared_for<T>(m * n);
  launch(lu_kernel<T>, "lu", in_a_row(count), {threads_for(m * n)}, shared, a, pivots, m, n, shared > 0);
}

rt::Dim tiles_of(int64_t count, int64_t columns) {
  rt::Dim grid = in_a_row(count);
  grid.y = columns <= tile ? 1 : unsigned((columns + tile - 1) / tile);
  return grid;
}
int width_of(int64_t columns) {
  int width = 1;
  while (width < columns && width < tile) width *= 2;
  return width;
}

template <class T>
void lu_solve(T const* a, int32_t const* pivots, T* b, int64_t* wrong, int64_t count, int64_t n, int64_t k) {
  int const width = width_of(k);
  launch(lu_solve_kernel<T>, "lu_solve", tiles_of(count, k), {threads_for(n * width)}, 0, a, pivots, b, wrong, n, k,
         width);
}

template <class T>
void solve_triangular(T const* a, bool upper, bool unit, T* b, int64_t count, int64_t n, int64_t k) {
  int const width = width_of(k);
  launch(solve_triangular_kernel<T>, "solve_triangular", tiles_of(count, k), {threads_for(n * width)}, 0, a, upper,
         unit, b, n, k, width);
}

rt::Dim one_each(int64_t n) { return in_a_row((n + block_threads - 1) / block_threads); }

template <class T>
void permutation(int32_t const* pivots, T* p, int64_t* wrong, int64_t count, int64_t m, int64_t k) {
  launch(permutation_kernel<T>, "lu_unpack", one_each(count * m), {block_threads}, 0, pivots, p, wrong, count, m, k);
}

template <class T>
void determinant(T const* a, int32_t const* pivots, T* value, T* sign, T* logarithm, int64_t count, int64_t n) {
  launch(determinant_kernel<T>, "det", one_each(count), {block_threads}, 0, a, pivots, value, sign, logarithm, count,
         n);
}

template <class T>
void qr(T* a, T* tau, int64_t count, int64_t m, int64_t n) {
  size_t const shared = shared_for<T>(m * n);
  launch(qr_kernel<T>, "qr", in_a_row(count), {threads_for(m * n)}, shared, a, tau, m, n, shared > 0);
}

template <class T>
void apply_reflections(T const* a, T const* tau, T* q, int64_t count, int64_t m, int64_t n, int64_t columns) {
  launch(apply_reflections_kernel<T>, "qr", tiles_of(count, columns), {threads_for(m * width_of(columns))}, 0, a, tau,
         q, m, n, columns);
}

void eigh(double const* x, bool upper, double* values, double* vectors, int64_t* wrong, int64_t count, int64_t n) {
  size_t const shared = shared_for<double>(n * n);
  DeviceScratch<double> const rooms(shared ? 0 : count * n * n), v(vectors ? count * n * n : 0);
  DeviceScratch<Rotation> const turns(count * ((n + 1) / 2));
  launch(eigh_kernel, "eigh", in_a_row(count), {threads_for(n * n)}, shared, x, upper, values, vectors, wrong, n,
         rooms.data(), v.data(), turns.data(), shared > 0);
}

void svd(double const* a, double* u, double* values, double* v, int64_t* wrong, int64_t count, int64_t m, int64_t n) {
  size_t const shared = shared_for<double>(m * n);
  DeviceScratch<double> const at(shared ? 0 : count * m * n), work(u ? count * n * n : 0), sizes(count * n);
  launch(svd_kernel, "svd", in_a_row(count), {threads_for(m * n)}, shared, a, u, values, v, wrong, m, n, at.data(),
         work.data(), sizes.data(), shared > 0);
}

template <class T>
constexpr FactorKernelsOf<T> table{cholesky<T>,         lu<T>, lu_solve<T>,         permutation<T>, determinant<T>,
                                   solve_triangular<T>, qr<T>, apply_reflections<T>};

}  // namespace

constinit FactorKernels const device_factor_kernels{{table<float>, table<double>}, eigh, svd};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
