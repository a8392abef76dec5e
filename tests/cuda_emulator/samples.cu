#include <control.h>
#include <heed/engine/cuda/rt.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "samples.h"

namespace heed {
namespace samples {
namespace {

// ---- kernels
// ------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float warp_sum(float x) {
  for (int by = 16; by > 0; by /= 2) x += __shfl_xor_sync(0xffffffffu, x, by);
  return x;
}

/// *to += sum of x[0..n); 256 threads.
template <Bug bug>
__global__ void sum_kernel(float const* x, float* to, int n) {
  HEED_SHARED(float, sums, bug == Bug::shared_overflow ? 7 : 8);
  int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int const end = bug == Bug::global_past_end ? n + 1 : n;
  float mine = 0;
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < end; i += int(gridDim.x * blockDim.x)) {
    float const value = static_cast<float const volatile*>(x)[i];
    if (i < n) mine += value;
  }
  if constexpr (bug == Bug::divergent_shuffle) {
    if (lane < 16) mine = warp_sum(mine);
  } else {
    mine = warp_sum(mine);
  }
  float* const room = sums;  // past what the compiler knows of the array's size
  if (lane == 0) room[warp] = mine;
  if constexpr (bug == Bug::divergent_barrier) {
    if (warp == 0) __syncthreads();
  } else if constexpr (bug != Bug::missing_barrier) {
    __syncthreads();
  }
  if (warp == 0) {
    float const loaded = static_cast<float const volatile*>(room)[bug == Bug::shared_past_end ? lane : lane % 8];
    float const all = warp_sum(lane < 8 ? loaded : 0.f);
    if (lane == 0) {
      if constexpr (bug == Bug::unordered_blocks)
        *to += all;
      else
        atomicAdd(to, all);
    }
  }
}

constexpr int tile = 32;
/// C (m,n) = A (m,k) B (k,n), row by row; 32 x 8 threads, each four rows.
template <Bug bug>
__global__ void gemm_kernel(float const* a, float const* b, float* c, int m, int n, int k) {
  HEED_SHARED(float, tile_a, tile* tile);
  HEED_SHARED(float, tile_b, tile* tile);
  int const x = threadIdx.x, row0 = blockIdx.y * tile, column = blockIdx.x * tile + x;
  float sums[4] = {};
  for (int k0 = 0; k0 < k; k0 += tile) {
    for (int i = threadIdx.y; i < tile; i += 8) {
      tile_a[i * tile + x] = row0 + i < m && k0 + x < k ? a[(row0 + i) * k + k0 + x] : 0.f;
      tile_b[i * tile + x] = k0 + i < k && column < n ? b[(k0 + i) * n + column] : 0.f;
    }
    __syncthreads();
    for (int p = 0; p < tile; ++p) {
      float const right = tile_b[p * tile + x];
      for (int i = 0; i < 4; ++i) sums[i] += tile_a[(threadIdx.y + 8 * i) * tile + p] * right;
    }
    if constexpr (bug != Bug::gemm_tile_reuse) __syncthreads();
  }
  for (int i = 0; i < 4; ++i) {
    int const row = row0 + int(threadIdx.y) + 8 * i;
    if (row < m && column < n) c[row * n + column] = sums[i];
  }
}

constexpr int head = 64;
/// out (H,T,64) = softmax(q kᵀ / 8) v of one head a blockIdx.y, with the running maximum of Milakov & Gimelshein
/// (2018); a warp a query, 4 a block; tiles of 32 keys.
template <Bug bug>
__global__ void attention_kernel(float const* q, float const* k, float const* v, float* out, int length) {
  constexpr int pitch = head + 1;
  HEED_SHARED(float, keys, 32 * pitch);
  HEED_SHARED(float, values, 32 * head);
  HEED_SHARED(float, queries, 4 * head);
  int const lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int const query = blockIdx.x * 4 + warp;
  size_t const offset = size_t(blockIdx.y) * length * head;
  bool const active = query < length;
  for (int d = lane; d < head; d += 32) queries[warp * head + d] = active ? q[offset + size_t(query) * head + d] : 0.f;
  float top = -INFINITY, total = 0, left = 0, right = 0;
  for (int first = 0; first < length; first += 32) {
    for (int i = threadIdx.x; i < 32 * head; i += blockDim.x) {
      int const row = i / head, d = i % head;
      bool const inside = first + row < length;
      keys[row * pitch + d] = inside ? k[offset + size_t(first + row) * head + d] : 0.f;
      values[row * head + d] = inside ? v[offset + size_t(first + row) * head + d] : 0.f;
    }
    __syncthreads();
    float score = 0;
    for (int d = 0; d < head; ++d) score += queries[warp * head + d] * keys[lane * pitch + d];
    score = first + lane < length ? score * 0.125f : -INFINITY;
    float most = score;
    for (int by = 16; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
    float const new_top = fmaxf(top, most), scale = __expf(top - new_top), weight = __expf(score - new_top);
    total = total * scale + warp_sum(weight);
    left *= scale;
    right *= scale;
    for (int j = 0; j < 32; ++j) {
      float const w = __shfl_sync(0xffffffffu, weight, j);
      left += w * values[j * head + lane];
      right += w * values[j * head + lane + 32];
    }
    top = new_top;
    if constexpr (bug != Bug::attention_tile_reuse) __syncthreads();
  }
  if (active) {
    out[offset + size_t(query) * head + lane] = left / total;
    out[offset + size_t(query) * head + lane + 32] = right / total;
  }
}

constexpr int stages = 3, piped_tile = 16;
/// As gemm_kernel with tiles of 16, copied by cp.async into three stages; k is a multiple of 16, 16 x 16 threads.
template <Bug bug>
__global__ void piped_gemm_kernel(float const* a, float const* b, float* c, int n, int k) {
  HEED_DYNAMIC_SHARED(float, memory);
  constexpr int one = piped_tile * piped_tile;
  int const x = threadIdx.x, y = threadIdx.y, linear = y * piped_tile + x, tiles = k / piped_tile;
  int const row0 = blockIdx.y * piped_tile, column0 = blockIdx.x * piped_tile;
  auto const load = [&](int t) {
    float* const to = memory + t % stages * 2 * one;
    int const which = linear / 64, row = linear % 64 / 4, at = linear % 4 * 4;  // 64 threads a matrix, 16 bytes each
    if (which == 0) emu::async_copy(to + row * piped_tile + at, a + (row0 + row) * k + t * piped_tile + at, 16);
    if (which == 1)
      emu::async_copy(to + one + row * piped_tile + at, b + (t * piped_tile + row) * n + column0 + at, 16);
  };
  for (int t = 0; t < stages - 1; ++t) {
    if (t < tiles) load(t);
    emu::async_commit();
  }
  float sum = 0;
  for (int t = 0; t < tiles; ++t) {
    auto const next = [&] {
      if (t + stages - 1 < tiles) load(t + stages - 1);
      emu::async_commit();
    };
    // The next load overwrites what was read one tile ago: only behind the barrier has everybody read it.
    if constexpr (bug == Bug::stage_reuse) next();
    emu::async_wait(bug == Bug::wait_off_by_one || bug == Bug::stage_reuse ? stages - 1 : stages - 2);
    __syncthreads();
    if constexpr (bug != Bug::stage_reuse) next();
    float const* const from = memory + t % stages * 2 * one;
    for (int p = 0; p < piped_tile; ++p) sum += from[y * piped_tile + p] * from[one + p * piped_tile + x];
  }
  c[(row0 + y) * n + column0 + x] = sum;
}

/// y += factor x
__global__ void axpy_kernel(float factor, float const* x, float* y, int n) {
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += int(gridDim.x * blockDim.x))
    y[i] += factor * x[i];
}

/// to[i] = the neighbour's x within a warp, by way of shared memory.
template <Bug bug>
__global__ void neighbour_kernel(float const* x, float* to) {
  HEED_SHARED(float, room, 64);
  int const i = threadIdx.x, base = i & ~31;
  room[i] = x[i];
  if constexpr (bug == Bug::shuffle_as_fence)
    __shfl_sync(0xffffffffu, 0, 0);
  else
    __syncwarp();
  to[i] = room[base + (i + 1) % 32];
}

// ---- their host side
// ----------------------------------------------------------------------------------------------------

bool complained = false;
std::string complaint;
void expect(rt::Status const& status) {
  if (status || complained) return;
  complained = true;
  complaint = status.text;
}

/// Device memory with the values of the host, in one stream.
struct Array {
  float* at = nullptr;
  size_t count;
  explicit Array(size_t n) : count(n) {
    void* block = nullptr;
    expect(rt::allocate(block, n * sizeof(float)));
    at = static_cast<float*>(block);
  }
  explicit Array(std::vector<float> const& from) : Array(from.size()) {
    expect(rt::copy_to_device(at, from.data(), count * sizeof(float), nullptr));
  }
  Array(Array const&) = delete;
  ~Array() { rt::release(at); }
  std::vector<float> host() const {
    std::vector<float> to(count, NAN);
    expect(rt::copy_to_host(to.data(), at, count * sizeof(float), nullptr));
    expect(rt::synchronize(nullptr));
    return to;
  }
};

std::vector<float> numbers(size_t n, unsigned seed) {
  std::vector<float> to(n);
  unsigned state = seed * 2654435761u + 12345;
  for (float& x : to) {
    state = state * 1664525u + 1013904223u;
    x = float(int(state >> 8) - (1 << 23)) / float(1 << 23);
  }
  return to;
}

/// -1 if the runtime complained; infinite for NaN.
double judged(double error) { return complained ? -1 : error == error ? error : INFINITY; }
double worst(std::vector<float> const& is, std::vector<double> const& should) {
  double most = 0;
  for (size_t i = 0; i < is.size(); ++i) {
    double const error = std::abs(double(is[i]) - should[i]);
    if (!(error <= most)) most = error == error ? error : INFINITY;
  }
  return most;
}
std::vector<double> product(std::vector<float> const& a, std::vector<float> const& b, int m, int n, int k) {
  std::vector<double> c(size_t(m) * n, 0.0);
  for (int i = 0; i < m; ++i)
    for (int p = 0; p < k; ++p)
      for (int j = 0; j < n; ++j) c[size_t(i) * n + j] += double(a[size_t(i) * k + p]) * double(b[size_t(p) * n + j]);
  return c;
}

/// The kernel with its bug, chosen at run time.
#define WITH_BUG(kernel, bug, ...)                                                                  \
  [&] {                                                                                             \
    using Pointer = decltype(&kernel<Bug::none>);                                                   \
    Pointer chosen = kernel<Bug::none>;                                                             \
    for (auto const& [planted, with] : std::initializer_list<std::pair<Bug, Pointer>>{__VA_ARGS__}) \
      if (planted == bug) chosen = with;                                                            \
    return chosen;                                                                                  \
  }()

}  // namespace

double sum(int n, Bug bug) {
  complained = false;
  auto const x = numbers(size_t(n), 1);
  Array const device(x), to(std::vector<float>(1, 0.f));
  auto const kernel = WITH_BUG(sum_kernel, bug, {Bug::global_past_end, sum_kernel<Bug::global_past_end>},
                               {Bug::shared_overflow, sum_kernel<Bug::shared_overflow>},
                               {Bug::missing_barrier, sum_kernel<Bug::missing_barrier>},
                               {Bug::divergent_barrier, sum_kernel<Bug::divergent_barrier>},
                               {Bug::divergent_shuffle, sum_kernel<Bug::divergent_shuffle>},
                               {Bug::shared_past_end, sum_kernel<Bug::shared_past_end>},
                               {Bug::unordered_blocks, sum_kernel<Bug::unordered_blocks>});
  expect(rt::launch(kernel, {"sum", {3}, {256}}, device.at, to.at, n));
  double should = 0;
  for (float const each : x) should += each;
  return judged(worst(to.host(), {should}));
}

double gemm(int m, int n, int k, Bug bug) {
  complained = false;
  auto const a = numbers(size_t(m) * k, 2), b = numbers(size_t(k) * n, 3);
  Array const left(a), right(b), to(size_t(m) * n);
  auto const kernel = WITH_BUG(gemm_kernel, bug, {Bug::gemm_tile_reuse, gemm_kernel<Bug::gemm_tile_reuse>});
  expect(rt::launch(kernel, {"gemm", {unsigned(n + tile - 1) / tile, unsigned(m + tile - 1) / tile}, {tile, 8}},
                    left.at, right.at, to.at, m, n, k));
  auto const is = to.host();
  return judged(worst(is, m * n <= 65536 / 2 ? product(a, b, m, n, k) : std::vector<double>(is.begin(), is.end())));
}

double attention(int heads, int length, Bug bug) {
  complained = false;
  size_t const count = size_t(heads) * length * head;
  auto const q = numbers(count, 4), k = numbers(count, 5), v = numbers(count, 6);
  Array const dq(q), dk(k), dv(v), to(count);
  auto const kernel =
      WITH_BUG(attention_kernel, bug, {Bug::attention_tile_reuse, attention_kernel<Bug::attention_tile_reuse>});
  expect(rt::launch(kernel, {"attention", {unsigned(length + 3) / 4, unsigned(heads)}, {128}}, dq.at, dk.at, dv.at,
                    to.at, length));
  std::vector<double> should(count, 0.0), weights(size_t(length), 0.0);
  for (int h = 0; h < heads; ++h)
    for (int i = 0; i < length; ++i) {
      double total = 0;
      for (int j = 0; j < length; ++j) {
        double dot = 0;
        for (int d = 0; d < head; ++d)
          dot += double(q[(size_t(h) * length + i) * head + d]) * double(k[(size_t(h) * length + j) * head + d]);
        total += weights[size_t(j)] = std::exp(dot / 8);
      }
      for (int j = 0; j < length; ++j)
        for (int d = 0; d < head; ++d)
          should[(size_t(h) * length + i) * head + d] +=
              weights[size_t(j)] / total * double(v[(size_t(h) * length + j) * head + d]);
    }
  return judged(worst(to.host(), should));
}

double piped_gemm(int m, int n, int k, Bug bug) {
  complained = false;
  auto const a = numbers(size_t(m) * k, 7), b = numbers(size_t(k) * n, 8);
  Array const left(a), right(b), to(size_t(m) * n);
  auto const kernel = WITH_BUG(piped_gemm_kernel, bug, {Bug::wait_off_by_one, piped_gemm_kernel<Bug::wait_off_by_one>},
                               {Bug::stage_reuse, piped_gemm_kernel<Bug::stage_reuse>});
  constexpr size_t shared = stages * 2 * piped_tile * piped_tile * sizeof(float);
  expect(rt::launch(
      kernel, {"piped_gemm", {unsigned(n) / piped_tile, unsigned(m) / piped_tile}, {piped_tile, piped_tile}, shared},
      left.at, right.at, to.at, n, k));
  return judged(worst(to.host(), product(a, b, m, n, k)));
}

double axpy(int n, int repeats) {
  complained = false;
  auto const x = numbers(size_t(n), 9), y = numbers(size_t(n), 10);
  Array const dx(x), dy(y);
  for (int i = 0; i < repeats; ++i) expect(rt::launch(axpy_kernel, {"axpy", {16}, {256}}, 0.5f, dx.at, dy.at, n));
  std::vector<double> should(y.begin(), y.end());
  for (size_t i = 0; i < should.size(); ++i) should[i] += 0.5 * repeats * double(x[i]);
  return judged(worst(dy.host(), should));
}

/// y in one stream, then y += x in another.
double streams(Bug bug) {
  complained = false;
  constexpr int n = 1000;
  auto const x = numbers(n, 11);
  rt::Stream first, second;
  rt::Event ready, over;
  expect(rt::create_stream(first));
  expect(rt::create_stream(second));
  expect(rt::create_event(ready));
  expect(rt::create_event(over));
  double error;
  {
    Array const dx(x), dy(std::vector<float>(n, 1.f)), reused(std::vector<float>(n, 0.f));
    expect(rt::synchronize(nullptr));
    expect(rt::launch(axpy_kernel, {"write y", {4}, {128}, 0, first}, 2.f, dx.at, dy.at, n));
    expect(rt::record(ready, first));
    if (bug != Bug::missing_event_wait) expect(rt::wait(second, ready));
    expect(rt::launch(axpy_kernel, {"write y again", {4}, {128}, 0, second}, 3.f, dy.at, reused.at, n));
    expect(rt::record(over, second));
    // Someone else gets y's memory.
    if (bug != Bug::early_reuse) expect(rt::wait(first, over));
    expect(rt::fill_bytes(dy.at, 0, n * sizeof(float), first));
    expect(rt::synchronize(first));
    expect(rt::synchronize(second));
    std::vector<double> should(n);
    for (size_t i = 0; i < n; ++i) should[i] = 3 * (1 + 2 * double(x[i]));
    error = judged(worst(reused.host(), should));
  }
  expect(rt::destroy_event(ready));
  expect(rt::destroy_event(over));
  expect(rt::destroy_stream(first));
  expect(rt::destroy_stream(second));
  return error;
}

namespace {

double neighbour(Bug bug) {
  complained = false;
  auto const x = numbers(64, 12);
  Array const from(x), to(64);
  auto const kernel = WITH_BUG(neighbour_kernel, bug, {Bug::shuffle_as_fence, neighbour_kernel<Bug::shuffle_as_fence>});
  expect(rt::launch(kernel, {"neighbour", {1}, {64}}, from.at, to.at));
  std::vector<double> should(64);
  for (size_t i = 0; i < 64; ++i) should[i] = double(x[i / 32 * 32 + (i + 1) % 32]);
  return judged(worst(to.host(), should));
}

double pointers(Bug bug) {
  complained = false;
  constexpr int n = 300;
  auto const x = numbers(n, 13);
  Array const good(x), y(std::vector<float>(n, 0.f)), fresh(n);
  float const* from = good.at;
  if (bug == Bug::uninitialised) from = fresh.at;
  if (bug == Bug::host_pointer) from = x.data();
  if (bug == Bug::use_after_release) from = Array(x).at;
  if (bug == Bug::other_device) {
    expect(rt::synchronize(nullptr));
    expect(rt::set_device(1));
    static Array const elsewhere(x);
    expect(rt::synchronize(nullptr));
    expect(rt::set_device(0));
    from = elsewhere.at;
  }
  expect(rt::launch(axpy_kernel, {"axpy", {2}, {128}}, 1.f, from, y.at, n));
  return judged(worst(y.host(), std::vector<double>(x.begin(), x.end())));
}

}  // namespace

char const* name_of(Bug bug) {
  constexpr char const* names[] = {"none",
                                   "global read past the end",
                                   "shared overflow",
                                   "missing barrier",
                                   "divergent __syncthreads",
                                   "shuffle under divergence",
                                   "shared read past the end",
                                   "non-atomic add of blocks",
                                   "tile reuse, GEMM",
                                   "tile reuse, attention",
                                   "wait_group off by one",
                                   "stage reuse",
                                   "missing event wait",
                                   "memory reused too early",
                                   "uninitialised read",
                                   "host pointer",
                                   "use after release",
                                   "shuffle instead of syncwarp",
                                   "another device's memory"};
  static_assert(sizeof names / sizeof *names == size_t(Bug::count));
  return names[size_t(bug)];
}

std::string run(Bug bug) {
  double error = 0;
  switch (bug) {
    case Bug::gemm_tile_reuse:
      error = gemm(50, 70, 100, bug);
      break;
    case Bug::attention_tile_reuse:
      error = attention(1, 77, bug);
      break;
    case Bug::wait_off_by_one:
    case Bug::stage_reuse:
      error = piped_gemm(32, 48, 96, bug);
      break;
    case Bug::missing_event_wait:
    case Bug::early_reuse:
      error = streams(bug);
      break;
    case Bug::uninitialised:
    case Bug::host_pointer:
    case Bug::use_after_release:
    case Bug::other_device:
      error = pointers(bug);
      break;
    case Bug::shuffle_as_fence:
      error = neighbour(bug);
      break;
    case Bug::none:
      for (double const each :
           {sum(2048 + 37, bug), gemm(50, 70, 100, bug), attention(2, 77, bug), piped_gemm(32, 48, 96, bug),
            streams(bug), pointers(bug), neighbour(bug), axpy(1000, 2)})
        if (each < 0 || each > error) error = each < 0 ? INFINITY : each;
      break;
    default:
      error = sum(2048 + 37, bug);
  }
  if (error < 0) return complaint;
  return error > 1e-4 ? "wrong result" : "";
}

}  // namespace samples
}  // namespace heed
