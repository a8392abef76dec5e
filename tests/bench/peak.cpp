#include "peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace heed::bench {
namespace {

constexpr int chains = 12;                       // latency 4 or 5 × 2 units need 8 to 10 independent ones
constexpr float factor = 0.999F, step = 0.001F;  // x → 0.999·x + 0.001 stays near 1

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

}  // namespace

double peak_gflops(Isa level, int threads) {
  auto const [run, lanes] = loop_of(level);
  constexpr long rounds = 1'000'000;
  constexpr int bursts = 40;
  std::atomic<int> waiting{threads};
  std::vector<double> best(size_t(threads), 0.0);
  auto work = [&](size_t thread) {
    --waiting;
    while (waiting > 0) {
    }
    for (int burst = 0; burst < bursts; ++burst) {
      auto const start = std::chrono::steady_clock::now();
      sink = run(rounds);
      double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best[thread] = std::max(best[thread], 2e-9 * chains * lanes * double(rounds) / seconds);
    }
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work, size_t(t));
  work(0);
  for (auto& other : others) other.join();
  double total = 0;
  for (double each : best) total += each;
  return total;
}

}  // namespace heed::bench
