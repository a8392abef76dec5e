// Convolutions as matrix products whose second operand is gathered while it is multiplied: nothing like the matrix of
// windows is ever in memory. Of a 3 × 3 convolution between many channels a tile of 128 × 128 does 32 FLOP for a byte
// that it reads (f32), whether of the caches or of memory.
#include <heed/engine/cuda/elements.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/cuda/rows.h>
#include <heed/engine/cuda/tile.h>
#include <heed/engine/ops/device_tables.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// Results along an axis that read alike. Result i < count is element to + i·to_step; with tap k < taps, which is
/// tap + k·gap of the weight, it reads at + i·step + k·reach where that is in [0, in).
struct Reads {
  int in, count, to, to_step, at, step, taps, reach, tap, gap;
};

/// What y reads of x.
constexpr Reads reads_of(WindowAxis const& a) {
  return {int(a.in), int(a.out), 0, 1, int(-a.pad), int(a.stride), int(a.kernel), int(a.dilation), 0, 1};
}
/// What elements phase, phase + stride, … of x read of y: output p has tap t there if p·stride = x + pad − t·dilation.
constexpr Reads reads_back(WindowAxis const& a, int phase) {
  int const stride = int(a.stride), kernel = int(a.kernel), dilation = int(a.dilation), from = phase + int(a.pad);
  int t = 0, next = 0;
  while (t < kernel && (from - t * dilation) % stride != 0) ++t;
  for (next = t + 1; next < kernel && (from - next * dilation) % stride != 0;) ++next;
  int const gap = next - t;
  return {.in = int(a.out),
          .count = (int(a.in) - phase + stride - 1) / stride,
          .to = phase,
          .to_step = stride,
          .at = (from - t * dilation) / stride,
          .step = 1,
          .taps = t < kernel ? (kernel - 1 - t) / gap + 1 : 0,
          .reach = -(dilation * gap / stride),
          .tap = t,
          .gap = gap};
}

/// y from x and w, or backward x from y and w.
template <class T>
struct Problem {
  ConvShape s;
  bool backward;
  T const *from, *w, *bias;
  T* to;

  /// Channels of the result and of what is read, of a group.
  constexpr int64_t rows() const { return backward ? s.in : s.out; }
  constexpr int64_t channels() const { return backward ? s.out : s.in; }
  constexpr int64_t to_size() const { return backward ? s.x_size() : s.y_size(); }
  constexpr int64_t from_size() const { return backward ? s.y_size() : s.x_size(); }
  constexpr int64_t numel() const { return s.batch * s.groups * rows() * to_size(); }
  constexpr int to_axis(int a) const { return int(backward ? s.axis[a].in : s.axis[a].out); }
  constexpr int phases(int a) const { return backward ? int(smaller(s.axis[a].stride, s.axis[a].in)) : 1; }
  constexpr int phases() const { return phases(0) * phases(1) * phases(2); }
  constexpr Reads reads(int a, int phase) const {
    return backward ? reads_back(s.axis[a], phase) : reads_of(s.axis[a]);
  }
  /// The weight between a channel of the result and one of what is read.
  constexpr int64_t weight(int64_t group, int64_t row, int64_t channel, int tz, int ty, int tx) const {
    int64_t const o = backward ? channel : row, c = backward ? row : channel;
    return (((group * s.out + o) * s.in + c) * s.axis[0].kernel + tz) * s.axis[1].kernel * s.axis[2].kernel +
           ty * s.axis[2].kernel + tx;
  }
};

/// The same for the results of one phase of every axis.
struct Window {
  Reads z, y, x;
  template <class T>
  __host__ __device__ Window(Problem<T> const& p, int phase)
      : z(p.reads(0, phase / (p.phases(1) * p.phases(2)))),
        y(p.reads(1, phase / p.phases(2) % p.phases(1))),
        x(p.reads(2, phase % p.phases(2))) {}
  __host__ __device__ int taps() const { return z.taps * y.taps * x.taps; }
  __host__ __device__ int count() const { return z.count * y.count * x.count; }
};

/// A number by digits of given sizes, the lowest first; the last one has no bound.
struct Digits {
  int d[4];
  static __device__ Digits of(int64_t i, int n0, int n1, int n2) {
    Digits a;
    a.d[0] = int(i % n0), i /= n0;
    a.d[1] = int(i % n1), i /= n1;
    a.d[2] = int(i % n2), a.d[3] = int(i / n2);
    return a;
  }
  __device__ void add(Digits const& by, int n0, int n1, int n2) {
    int const n[3] = {n0, n1, n2};
    int carry = 0;
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      d[k] += by.d[k] + carry;
      carry = d[k] >= n[k];
      if (carry) d[k] -= n[k];
    }
    d[3] += by.d[3] + carry;
  }
};

// ---- results of few channels: one thread each ----

/// 2 FLOP for 4 bytes of the caches (f32).
template <class T>
__global__ void __launch_bounds__(block_threads) convolve_directly(Problem<T> p) {
  int64_t const i = this_element();
  if (i >= p.numel()) return;
  int64_t const size = p.to_size(), row = i / size % p.rows(), image = i / size / p.rows(), group = image % p.s.groups;
  int const inside = int(i % size), plane = p.to_axis(1) * p.to_axis(2);
  int const place[3] = {inside / plane, inside % plane / p.to_axis(2), inside % p.to_axis(2)};
  Reads axis[3];
#pragma unroll
  for (int a = 0; a < 3; ++a) {
    int const phases = p.phases(a);
    axis[a] = p.reads(a, place[a] % phases);
    axis[a].at += place[a] / phases * axis[a].step;
  }
  auto const [z, y, x] = axis;
  T sum = p.bias ? p.bias[group * p.rows() + row] : T(0);
  for (int64_t c = 0; c < p.channels(); ++c) {
    T const* const from = p.from + (image * p.channels() + c) * p.from_size();
    for (int kz = 0; kz < z.taps; ++kz) {
      int const iz = z.at + kz * z.reach;
      for (int ky = 0; ky < y.taps && unsigned(iz) < unsigned(z.in); ++ky) {
        int const iy = y.at + ky * y.reach;
        if (unsigned(iy) >= unsigned(y.in)) continue;
        T const* const line = from + (int64_t(iz) * y.in + iy) * x.in;
        T const* const w = p.w + p.weight(group, row, c, z.tap + kz * z.gap, y.tap + ky * y.gap, x.tap);
        for (int kx = 0; kx < x.taps; ++kx) {
          int const ix = x.at + kx * x.reach;
          if (unsigned(ix) < unsigned(x.in)) sum += line[ix] * w[kx * x.gap];
        }
      }
    }
  }
  p.to[i] = sum;
}

/// A block sums one element of w. 2 FLOP for 8 bytes of the caches (f32).
template <class T>
__global__ void __launch_bounds__(block_threads) correlate_directly(ConvShape s, T const* x, T const* g, T* w) {
  HEED_SHARED(T, slots, block_threads / warp_threads);
  WindowAxis const &az = s.axis[0], &ay = s.axis[1], &ax = s.axis[2];
  int64_t const t = blockIdx.x % s.taps(), c = blockIdx.x / s.taps() % s.in, o = blockIdx.x / s.rows();
  int const tx = int(t % ax.kernel * ax.dilation - ax.pad), ty = int(t / ax.kernel % ay.kernel * ay.dilation - ay.pad),
            tz = int(t / ax.kernel / ay.kernel * az.dilation - az.pad);
  int const nx = int(ax.out), ny = int(ay.out), nz = int(az.out);
  x += (o / s.out * s.in + c) * s.x_size(), g += o * s.y_size();
  int64_t const x_image = s.groups * s.in * s.x_size(), g_image = s.groups * s.out * s.y_size();
  Digits p = Digits::of(int(threadIdx.x), nx, ny, nz);
  Digits const by = Digits::of(block_threads, nx, ny, nz);
  T sum = 0;
  for (; p.d[3] < s.batch; p.add(by, nx, ny, nz)) {
    int const ix = p.d[0] * int(ax.stride) + tx, iy = p.d[1] * int(ay.stride) + ty, iz = p.d[2] * int(az.stride) + tz;
    if (unsigned(ix) < unsigned(ax.in) && unsigned(iy) < unsigned(ay.in) && unsigned(iz) < unsigned(az.in))
      sum += x[p.d[3] * x_image + (iz * ay.in + iy) * ax.in + ix] *
             g[p.d[3] * g_image + (int64_t(p.d[2]) * ny + p.d[1]) * nx + p.d[0]];
  }
  sum = fold_team(sum, Plus(), block_threads, static_cast<T*>(slots));
  if (threadIdx.x == 0) w[blockIdx.x] = sum;
}

// ---- tiles: rows are channels of the result, columns its places in all images, the depth taps and in each the
// channels that are read ----

/// How the weight lies: [phase][group][depth][rows], depth and rows rounded up with zeros.
struct Turned {
  int64_t depth, rows;
  constexpr int64_t at(int64_t phase, int64_t groups, int64_t group) const {
    return (phase * groups + group) * depth * rows;
  }
};

template <class T>
__global__ void __launch_bounds__(block_threads) turn_weight(Problem<T> p, Turned form, T* to, int64_t numel) {
  int64_t const i = this_element();
  if (i >= numel) return;
  int64_t const row = i % form.rows, d = i / form.rows % form.depth, rest = i / form.rows / form.depth;
  Window const window(p, int(rest / p.s.groups));
  T value = 0;
  if (int64_t const t = d / p.channels(); row < p.rows() && t < window.taps()) {
    int const tx = int(t % window.x.taps), ty = int(t / window.x.taps % window.y.taps),
              tz = int(t / window.x.taps / window.y.taps);
    value = p.w[p.weight(rest % p.s.groups, row, d % p.channels(), window.z.tap + tz * window.z.gap,
                         window.y.tap + ty * window.y.gap, window.x.tap + tx * window.x.gap)];
  }
  to[i] = value;
}

template <class T>
struct Tiles {
  Problem<T> p;
  Turned form;  // of p.w
  int m_tiles, n_tiles;
  int part_panels;  // depth panels of a part
  T* parts;         // null: there is one
  bool aligned;     // 4 neighbours of the result at a multiple of 4
};

template <class T, class S>
__global__ void __launch_bounds__(S::threads, S::resident(sizeof(T))) convolve_tiles(Tiles<T> x) {
  HEED_SHARED(int64_t, places, S::n);       // where a column of the tile goes, its row aside; −1: nowhere
  constexpr int apart = S::threads / S::n;  // a thread gathers one column at depths `apart` from each other
  Problem<T> const& p = x.p;
  int rest = int(blockIdx.x);
  int const i = rest % x.m_tiles * S::m, j = (rest /= x.m_tiles) % x.n_tiles * S::n;
  int const group = (rest /= x.n_tiles) % int(p.s.groups), phase = rest / int(p.s.groups);
  Window const window(p, phase);
  int const columns = int(p.s.batch) * window.count();
  if (j >= columns) return;
  int const channels = int(p.channels()), taps = window.taps(), depth = taps * channels;
  int const first = int(blockIdx.y) * x.part_panels, panels = (depth + S::depth - 1) / S::depth - first;
  int const count = panels < x.part_panels ? panels : x.part_panels;

  // The column of this thread, and what it reads with tap 0.
  int const column = int(threadIdx.x) % S::n, start = int(threadIdx.x) / S::n;
  Digits const at = Digits::of(j + column, window.x.count, window.y.count, window.z.count);
  bool const live = j + column < columns;
  int64_t const size = p.from_size(), image = int64_t(live ? at.d[3] : 0) * p.s.groups + group;
  T const* const from = p.from + image * channels * size;
  int const x0 = window.x.at + at.d[0] * window.x.step, y0 = window.y.at + at.d[1] * window.y.step,
            z0 = live ? window.z.at + at.d[2] * window.z.step : -(1 << 30);
  if (start == 0)
    places[column] = live ? image * p.rows() * p.to_size() +
                                (int64_t(window.z.to + at.d[2] * window.z.to_step) * p.to_axis(1) + window.y.to +
                                 at.d[1] * window.y.to_step) *
                                    p.to_axis(2) +
                                window.x.to + at.d[0] * window.x.to_step
                          : -1;

  // Digits: channel, and tap along x, y, z.
  int const tap_x = window.x.taps, tap_y = window.y.taps;
  bool const even = channels % S::depth == 0;  // a panel has one tap
  auto const digits = [&](int d) { return Digits::of(d, channels, tap_x ? tap_x : 1, tap_y ? tap_y : 1); };
  Digits tap = digits(first * S::depth + start);
  Digits const by = digits(even ? S::depth : apart);
  T const* from_a = p.w + x.form.at(phase, p.s.groups, group) +
                    (int64_t(first) * S::depth + int(threadIdx.x) / (S::m / 4)) * x.form.rows + i +
                    int(threadIdx.x) % (S::m / 4) * 4;
  Four<T> held_a, held_b;
  auto const fetch = [&] {
    held_a = *reinterpret_cast<Four<T> const*>(from_a);
    from_a += S::depth * x.form.rows;
    T const* here = from;
    bool inside = false;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (e == 0 || !even) {
        int const iz = z0 + tap.d[3] * window.z.reach, iy = y0 + tap.d[2] * window.y.reach,
                  ix = x0 + tap.d[1] * window.x.reach;
        inside = unsigned(iz) < unsigned(window.z.in) && unsigned(iy) < unsigned(window.y.in) &&
                 unsigned(ix) < unsigned(window.x.in) && tap.d[3] < window.z.taps;
        here = from + tap.d[0] * size + (int64_t(iz) * window.y.in + iy) * window.x.in + ix;
      }
      held_b.x[e] = inside ? *here : T(0);
      if (even)
        here += apart * size;
      else
        tap.add(by, channels, tap_x, tap_y);
    }
    if (even) tap.add(by, channels, tap_x, tap_y);
  };
  Tile<T, S> tile;
  tile.multiply(count, fetch, [&](T* to_a, T* to_b) {
    *reinterpret_cast<Four<T>*>(to_a + int(threadIdx.x) / (S::m / 4) * S::pitch(S::m) +
                                int(threadIdx.x) % (S::m / 4) * 4) = held_a;
#pragma unroll
    for (int e = 0; e < 4; ++e) to_b[(start + e * apart) * S::pitch(S::n) + column] = held_b.x[e];
  });

  __syncthreads();
  T* const to = x.parts ? x.parts + blockIdx.y * p.numel() : p.to;
  tile.each_run([&]<int run>(int row, int first_column, T const(&values)[run]) {
    if (i + row >= p.rows()) return;
    T const bias = p.bias && !x.parts ? p.bias[group * p.rows() + i + row] : T(0);
    struct alignas(run * sizeof(T) < 16 ? run * sizeof(T) : 16) Some {
      T x[run];
    } sums;
#pragma unroll
    for (int e = 0; e < run; ++e) sums.x[e] = values[e] + bias;
    T* const row_of = to + (i + row) * p.to_size();
    int64_t const place = places[first_column];
    if (x.aligned && place >= 0 && place % run == 0 && places[first_column + run - 1] == place + run - 1) {
      *reinterpret_cast<Some*>(row_of + place) = sums;
      return;
    }
#pragma unroll
    for (int e = 0; e < run; ++e)
      if (int64_t const there = places[first_column + e]; there >= 0) row_of[there] = sums.x[e];
  });
}

/// w: rows are output channels, columns its elements of one of them, the depth places in all images.
template <class T>
struct WeightTiles {
  ConvShape s;
  T const *x, *g;
  T *w, *parts;
  int m_tiles, n_tiles, part_panels;
};

template <class T, class S>
__global__ void __launch_bounds__(S::threads, sizeof(T) == 4 ? 4 : 2) correlate_tiles(WeightTiles<T> k) {
  constexpr int apart = S::threads / S::depth;  // a thread gathers one depth of rows `apart` from each other
  static_assert(S::m == 4 * apart && S::n == 4 * apart);
  ConvShape const& s = k.s;
  WindowAxis const &az = s.axis[0], &ay = s.axis[1], &ax = s.axis[2];
  int rest = int(blockIdx.x);
  int const i = rest % k.m_tiles * S::m, j = (rest /= k.m_tiles) % k.n_tiles * S::n, group = rest / k.n_tiles;
  int const nx = int(ax.out), ny = int(ay.out), nz = int(az.out), rows = int(s.rows()), positions = nx * ny * nz;
  int const depth = int(s.batch) * positions;
  int const first = int(blockIdx.y) * k.part_panels, panels = (depth + S::depth - 1) / S::depth - first;
  int const count = panels < k.part_panels ? panels : k.part_panels;
  int const row = int(threadIdx.x) / S::depth, start = int(threadIdx.x) % S::depth;

  Digits p = Digits::of(first * S::depth + start, nx, ny, nz);
  Digits const by = Digits::of(S::depth, nx, ny, nz);
  int tz[4], ty[4], tx[4];  // of the four columns; those that are not there repeat the last one
  int64_t offset[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    int const column = j + row + e * apart < rows ? j + row + e * apart : rows - 1;
    int const t = column % int(s.taps()), channel = column / int(s.taps());
    tx[e] = int(t % ax.kernel * ax.dilation - ax.pad);
    ty[e] = int(t / ax.kernel % ay.kernel * ay.dilation - ay.pad);
    tz[e] = int(t / ax.kernel / ay.kernel * az.dilation - az.pad);
    offset[e] = channel * s.x_size() + (int64_t(tz[e]) * ay.in + ty[e]) * ax.in + tx[e];
  }
  Four<T> held_a, held_b;
  auto const fetch = [&] {
    bool const there = p.d[3] < s.batch;
    int64_t const image = p.d[3] * s.groups + group;
    T const* const g = k.g + (image * s.out + i + row) * positions + (int64_t(p.d[2]) * ny + p.d[1]) * nx + p.d[0];
    int const iz = p.d[2] * int(az.stride), iy = p.d[1] * int(ay.stride), ix = p.d[0] * int(ax.stride);
    T const* const x = k.x + image * s.in * s.x_size() + (iz * ay.in + iy) * ax.in + ix;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      held_a.x[e] = there && i + row + e * apart < s.out ? g[int64_t(e * apart) * positions] : T(0);
      bool const inside = there && unsigned(iz + tz[e]) < unsigned(az.in) && unsigned(iy + ty[e]) < unsigned(ay.in) &&
                          unsigned(ix + tx[e]) < unsigned(ax.in);
      held_b.x[e] = inside ? x[offset[e]] : T(0);
    }
    p.add(by, nx, ny, nz);
  };
  Tile<T, S> tile;
  tile.multiply(count, fetch, [&](T* to_a, T* to_b) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      to_a[start * S::pitch(S::m) + row + e * apart] = held_a.x[e];
      to_b[start * S::pitch(S::n) + row + e * apart] = held_b.x[e];
    }
  });
  T* const to = k.parts ? k.parts + blockIdx.y * (s.groups * s.out * rows) : k.w;
  tile.each_run([&]<int run>(int r, int column, T const(&values)[run]) {
#pragma unroll
    for (int e = 0; e < run; ++e)
      if (i + r < s.out && j + column + e < rows) to[(group * s.out + i + r) * rows + j + column + e] = values[e];
  });
}

/// to = Σ parts in their order, + bias of the channel, `size` elements each.
template <class T>
__global__ void __launch_bounds__(block_threads)
    add_parts(T const* parts, int count, T* to, int64_t numel, T const* bias, int64_t channels, int64_t size) {
  int64_t const i = this_element();
  if (i >= numel) return;
  T sum = parts[i];
  for (int part = 1; part < count; ++part) sum += parts[part * numel + i];
  to[i] = bias ? sum + bias[i / size % channels] : sum;
}

// ---- which of them ----

constexpr int64_t few = 8;  // channels: a tile would multiply zeros

/// Places and their sums with paddings and taps are ints.
void check_sizes(ConvShape const& s) {
  bool fits = s.batch * s.x_size() < 0x7fffffff && s.batch * s.y_size() < 0x7fffffff && s.rows() < 0x7fffff00 &&
              s.out * s.taps() < 0x7fffff00;
  for (WindowAxis const& a : s.axis)
    for (int64_t n : {a.in, a.out * a.stride, a.pad, a.kernel * a.dilation}) fits &= n < 1 << 29;
  check(fits, "convolution", [] {
    return Complaint{
        "expected fewer than 2^31 places of a channel in a batch, and axes, paddings and kernels below 2^29",
        "split the batch"};
  });
}

template <class T, class S>
void run_tiles(Problem<T> p) {
  Window const longest(p, 0);  // later phases have as many columns or fewer
  int64_t most_taps = 1;
  for (int a = 0; a < 3; ++a) {
    int taps = 0;
    for (int phase = 0; phase < p.phases(a); ++phase)
      if (int const here = p.reads(a, phase).taps; here > taps) taps = here;
    most_taps *= taps;
  }
  Turned const form{ceil_div(most_taps * p.channels(), S::depth) * S::depth, ceil_div(p.rows(), S::m) * S::m};
  int64_t const turned = p.phases() * p.s.groups * form.depth * form.rows;
  DeviceScratch<T> weight(turned);
  launch(turn_weight<T>, "convolution (weight)", blocks_of_one(turned), {element_threads}, 0, p, form, weight.data(),
         turned);
  p.w = weight.data();
  Tiles<T> x{};
  x.p = p, x.form = form;
  x.m_tiles = int(form.rows / S::m), x.n_tiles = int(ceil_div(p.s.batch * longest.count(), S::n));
  int64_t const tiles = int64_t(x.m_tiles) * x.n_tiles * p.s.groups * p.phases();
  DepthSplit const split(tiles, form.depth / S::depth);
  DeviceScratch<T> room(split.parts > 1 ? split.parts * p.numel() : 0);
  x.part_panels = int(split.size), x.parts = room.data();
  x.aligned = p.to_size() % 4 == 0 && is_aligned(x.parts ? x.parts : p.to);
  launch(convolve_tiles<T, S>, "convolution", {in_a_row(tiles).x, unsigned(split.parts)}, {S::threads}, 0, x);
  if (x.parts)
    launch(add_parts<T>, "convolution (sum of parts)", blocks_of_one(p.numel()), {element_threads}, 0, x.parts,
           int(split.parts), p.to, p.numel(), p.bias, p.s.groups * p.rows(), p.to_size());
}

/// `units`: on the matrix units, operands rounded to tf32.
template <class T, bool units>
void run(Problem<T> const& p) {
  if (p.numel() == 0) return;
  check_sizes(p.s);
  int64_t const columns = p.s.batch * p.to_size();
  // Strides far beyond the kernel: most phases have no taps, and their weights would be zeros.
  if (p.rows() <= few || p.channels() == 0 || p.phases() > 4 * p.s.taps())
    return launch(convolve_directly<T>, "convolution", blocks_of_one(p.numel()), {element_threads}, 0, p);
  if constexpr (sizeof(T) == 4) {
    bool const large = p.rows() > 64 && ceil_div(p.rows(), 128) * ceil_div(columns, 128) * p.s.groups >= 96;
    using Large = std::conditional_t<units, LargeUnitTile, LargeTile>;
    using Small = std::conditional_t<units, SmallUnitTile, SmallTile>;
    return large ? run_tiles<T, Large>(p) : run_tiles<T, Small>(p);
  } else {
    run_tiles<T, SmallTile>(p);
  }
}

template <class T, bool units>
void forward(ConvShape const& s, T const* x, T const* w, T const* bias, T* y) {
  run<T, units>(Problem<T>{s, false, x, w, bias, y});
}
template <class T, bool units>
void input(ConvShape const& s, T const* g, T const* w, T const* bias, T* x) {
  run<T, units>(Problem<T>{s, true, g, w, bias, x});
}

void integers(ConvShape const& s, bool transposed, int64_t const* from, int64_t const* w, int64_t* to) {
  using U = uint64_t;  // wraps
  Problem<U> const p{s,
                     transposed,
                     reinterpret_cast<U const*>(from),
                     reinterpret_cast<U const*>(w),
                     nullptr,
                     reinterpret_cast<U*>(to)};
  check_sizes(s);
  if (p.numel() > 0) launch(convolve_directly<U>, "convolution", blocks_of_one(p.numel()), {element_threads}, 0, p);
}

template <class T, class S>
void run_weight_tiles(ConvShape const& s, T const* x, T const* g, T* w) {
  WeightTiles<T> k{};
  k.s = s, k.x = x, k.g = g, k.w = w;
  k.m_tiles = int(ceil_div(s.out, S::m)), k.n_tiles = int(ceil_div(s.rows(), S::n));
  int64_t const tiles = k.m_tiles * k.n_tiles * s.groups, numel = s.groups * s.out * s.rows();
  DepthSplit const split(tiles, ceil_div(s.batch * s.y_size(), S::depth));
  DeviceScratch<T> room(split.parts > 1 ? split.parts * numel : 0);
  k.part_panels = int(split.size), k.parts = room.data();
  launch(correlate_tiles<T, S>, "convolution's weight", {in_a_row(tiles).x, unsigned(split.parts)}, {S::threads}, 0, k);
  if (k.parts)
    launch(add_parts<T>, "convolution's weight (sum of parts)", blocks_of_one(numel), {element_threads}, 0, k.parts,
           int(split.parts), w, numel, static_cast<T const*>(nullptr), int64_t{1}, int64_t{1});
}

template <class T, bool units>
void weight(ConvShape const& s, T const* x, T const* g, T* w) {
  if (s.rows() == 0) return;
  check_sizes(s);
  if (s.out <= few)
    return launch(correlate_directly<T>, "convolution's weight", in_a_row(s.groups * s.out * s.rows()), {block_threads},
                  0, s, x, g, w);
  run_weight_tiles<T, std::conditional_t<units, SmallUnitTile, SmallTile>>(s, x, g, w);
}

// ---- windows as columns ----

/// Writes 4 bytes a column's element, and reads as many (f32).
template <class T>
__global__ void __launch_bounds__(block_threads) gather_kernel(ConvShape s, T const* x, T* columns, int64_t numel) {
  int64_t const i = this_element();
  if (i >= numel) return;
  WindowAxis const &az = s.axis[0], &ay = s.axis[1], &ax = s.axis[2];
  int const p = int(i % s.y_size()), t = int(i / s.y_size() % s.taps());
  int64_t const ix = p % ax.out * ax.stride + t % ax.kernel * ax.dilation - ax.pad,
                iy = p / ax.out % ay.out * ay.stride + t / ax.kernel % ay.kernel * ay.dilation - ay.pad,
                iz = p / ax.out / ay.out * az.stride + t / ax.kernel / ay.kernel * az.dilation - az.pad;
  bool const inside = ix >= 0 && ix < ax.in && iy >= 0 && iy < ay.in && iz >= 0 && iz < az.in;
  columns[i] = inside ? x[i / s.y_size() / s.taps() * s.x_size() + (iz * ay.in + iy) * ax.in + ix] : T(0);
}

/// Each element of x adds up the columns that read it, tap by tap.
template <class T>
__global__ void __launch_bounds__(block_threads) scatter_kernel(ConvShape s, T const* columns, T* x, int64_t numel) {
  int64_t const i = this_element();
  if (i >= numel) return;
  WindowAxis const &ay = s.axis[1], &ax = s.axis[2];
  int const place = int(i % s.x_size()), nx = int(ax.in), ny = int(ay.in);
  int const at[3] = {place / nx / ny, place / nx % ny, place % nx};
  Reads axis[3];
#pragma unroll
  for (int a = 0; a < 3; ++a) {
    int const stride = int(s.axis[a].stride);
    axis[a] = reads_back(s.axis[a], at[a] % stride);
    axis[a].at += at[a] / stride;
  }
  auto const [rz, ry, rx] = axis;
  T const* const from = columns + i / s.x_size() * s.taps() * s.y_size();
  T sum = 0;
  for (int kz = 0; kz < rz.taps; ++kz)
    for (int ky = 0; ky < ry.taps; ++ky)
      for (int kx = 0; kx < rx.taps; ++kx) {
        int const iz = rz.at + kz * rz.reach, iy = ry.at + ky * ry.reach, ix = rx.at + kx * rx.reach;
        if (unsigned(iz) >= unsigned(rz.in) || unsigned(iy) >= unsigned(ry.in) || unsigned(ix) >= unsigned(rx.in))
          continue;
        int64_t const t =
            ((rz.tap + kz * rz.gap) * ay.kernel + ry.tap + ky * ry.gap) * ax.kernel + rx.tap + kx * rx.gap;
        sum += from[t * s.y_size() + (int64_t(iz) * ry.in + iy) * rx.in + ix];
      }
  x[i] = sum;
}

template <class T>
void gather(ConvShape const& s, T const* x, T* columns) {
  check_sizes(s);
  int64_t const numel = s.batch * s.rows() * s.y_size();
  if (numel > 0) launch(gather_kernel<T>, "im2col", blocks_of_one(numel), {element_threads}, 0, s, x, columns, numel);
}
template <class T>
void scatter(ConvShape const& s, T const* columns, T* x) {
  check_sizes(s);
  int64_t const numel = s.batch * s.in * s.x_size();
  if (numel > 0) launch(scatter_kernel<T>, "fold", blocks_of_one(numel), {element_threads}, 0, s, columns, x, numel);
}

template <class T, bool units = false>
constexpr ConvolutionsOf<T> table{forward<T, units>, input<T, units>, weight<T, units>, gather<T>, scatter<T>};

}  // namespace

constinit Convolutions const device_convolutions{{table<float>, table<double>}, integers, table<float, true>};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
