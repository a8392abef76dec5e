#include "peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace heed::bench {
namespace {

constexpr int chains = 12;  // latency 4 or 5 × 2 units need 8 to 10 independent ones
// x → 0.999·x + 0.001 stays near 1; volatile, so that no compiler finds out.
float const volatile factor = 0.999F, step = 0.001F;

// Each runs `rounds` rounds of `chains` multiply-adds and returns something that depends on all of them.
#if defined(__x86_64__)
float run_baseline(long rounds) {
  __m128 x[chains];
  for (auto& each : x) each = _mm_set1_ps(1);
  __m128 const a = _mm_set1_ps(factor), b = _mm_set1_ps(step);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (auto& each : x) each = _mm_add_ps(_mm_mul_ps(each, a), b);
  }
  for (auto const& each : x) x[0] = _mm_add_ps(x[0], each);
  return _mm_cvtss_f32(x[0]);
}

__attribute__((target("avx2,fma"))) float run_avx2(long rounds) {
  __m256 x[chains];
  for (auto& each : x) each = _mm256_set1_ps(1);
  __m256 const a = _mm256_set1_ps(factor), b = _mm256_set1_ps(step);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (auto& each : x) each = _mm256_fmadd_ps(each, a, b);
  }
  for (auto const& each : x) x[0] = _mm256_add_ps(x[0], each);
  return _mm_cvtss_f32(_mm256_castps256_ps128(x[0]));
}

__attribute__((target("avx512f"))) float run_avx512(long rounds) {
  __m512 x[chains];
  for (auto& each : x) each = _mm512_set1_ps(1);
  __m512 const a = _mm512_set1_ps(factor), b = _mm512_set1_ps(step);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (auto& each : x) each = _mm512_fmadd_ps(each, a, b);
  }
  for (auto const& each : x) x[0] = _mm512_add_ps(x[0], each);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, x[0]);
  return lanes[0];
}

struct Loop {
  float (*run)(long);
  int lanes;
};
Loop loop_of(Isa level) {
  if (level == Isa::avx512) return {run_avx512, 16};
  if (level == Isa::avx2) return {run_avx2, 8};
  return {run_baseline, 4};
}
#elif defined(__aarch64__)
float run_neon(long rounds) {
  float32x4_t x[chains];
  for (auto& each : x) each = vdupq_n_f32(1);
  float32x4_t const a = vdupq_n_f32(factor), b = vdupq_n_f32(step);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (auto& each : x) each = vfmaq_f32(b, each, a);
  }
  for (auto const& each : x) x[0] = vaddq_f32(x[0], each);
  return vgetq_lane_f32(x[0], 0);
}
struct Loop {
  float (*run)(long);
  int lanes;
};
Loop loop_of(Isa) { return {run_neon, 4}; }
#else
float run_scalar(long rounds) {
  float x[chains];
  for (auto& each : x) each = 1;
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (auto& each : x) each = each * factor + step;
  }
  for (auto const& each : x) x[0] += each;
  return x[0];
}
struct Loop {
  float (*run)(long);
  int lanes;
};
Loop loop_of(Isa) { return {run_scalar, 1}; }
#endif

std::atomic<float> sink;

// Through `n` bytes at `from`, a multiple of 512; the copies write `n` bytes at `to`.
#if defined(__x86_64__)
__attribute__((target("avx2"))) void read_bytes(char const* from, char*, size_t n) {
  __m256i sum[4] = {};
  for (size_t i = 0; i < n; i += 128) {
    for (size_t k = 0; k < 4; ++k)
      sum[k] = _mm256_or_si256(sum[k], _mm256_load_si256(reinterpret_cast<__m256i const*>(from + i + 32 * k)));
  }
  sum[0] = _mm256_or_si256(_mm256_or_si256(sum[0], sum[1]), _mm256_or_si256(sum[2], sum[3]));
  sink = float(_mm256_extract_epi32(sum[0], 0));
}
__attribute__((target("avx2"))) void stream_bytes(char const* from, char* to, size_t n) {
  for (size_t i = 0; i < n; i += 32)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_load_si256(reinterpret_cast<__m256i const*>(from + i)));
  _mm_sfence();
}
bool const has_wide_loads = __builtin_cpu_supports("avx2");
#else
void read_bytes(char const*, char*, size_t) {}
void stream_bytes(char const*, char*, size_t) {}
constexpr bool has_wide_loads = false;
#endif
void copy_bytes(char const* from, char* to, size_t n) { std::memcpy(to, from, n); }

/// The sum over `threads` threads of their best rates; rate() runs one burst and gives it.
template <class Rate>
double sum_of_best(int threads, int bursts, Rate rate) {
  std::atomic<int> waiting{threads};
  std::vector<double> best(size_t(threads), 0.0);
  auto work = [&](size_t thread) {
    --waiting;
    while (waiting > 0) {
    }
    for (int burst = 0; burst < bursts; ++burst) best[thread] = std::max(best[thread], rate(thread));
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work, size_t(t));
  work(0);
  for (auto& other : others) other.join();
  double total = 0;
  for (double each : best) total += each;
  return total;
}

template <class F>
double seconds_of(F f) {
  auto const start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double measured_gflops(Isa level, int threads) {
  auto const [run, lanes] = loop_of(level);
  constexpr long rounds = 1'000'000;
  return sum_of_best(threads, 40, [run = run, lanes = lanes](size_t) {
    return 2e-9 * chains * lanes * double(rounds) / seconds_of([run] { sink = run(rounds); });
  });
}

double measured_gbytes(size_t bytes, int threads) {
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };
  size_t const half = bytes / size_t(threads) / 2 / 512 * 512 + 512;
  std::vector<std::unique_ptr<char, Free>> memory;
  for (int t = 0; t < threads; ++t) {
    memory.emplace_back(static_cast<char*>(std::aligned_alloc(512, 2 * half)));
    std::memset(memory.back().get(), 1, 2 * half);
  }
  size_t const passes = std::max(size_t{1}, (size_t{1} << 22) / half);
  double best = 0;
  auto const attempt = [&](auto* move, size_t from_bytes) {
    double const rate = sum_of_best(threads, 12, [&](size_t thread) {
      char* const from = memory[thread].get();
      return 2e-9 * double(half * passes) / seconds_of([&] {
               for (size_t p = 0; p < passes; ++p) move(from, from + half, from_bytes);
             });
    });
    best = std::max(best, rate);
  };
  attempt(copy_bytes, half);
  if (has_wide_loads) {
    attempt(read_bytes, 2 * half);
    attempt(stream_bytes, half);
  }
  return best;
}

}  // namespace

double peak_gflops(Isa level, int threads) {
  static std::map<std::pair<Isa, int>, double> known;
  auto const [at, is_new] = known.try_emplace({level, threads}, 0.0);
  if (is_new) at->second = measured_gflops(level, threads);
  return at->second;
}

double peak_gbytes(double bytes, int threads) {
  static std::map<std::pair<int, int>, double> known;
  int const exponent = std::clamp(int(std::lround(std::log2(bytes))), 14, 28);
  auto const [at, is_new] = known.try_emplace({exponent, threads}, 0.0);
  if (is_new) at->second = measured_gbytes(size_t{1} << exponent, threads);
  return at->second;
}

}  // namespace heed::bench
