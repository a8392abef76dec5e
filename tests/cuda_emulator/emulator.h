// What a kernel file sees under g++: CUDA's names, read as one fiber a thread. Only what the base subset needs is here;
// partial masks, textures and device state are missing on purpose, so that their use does not compile or is reported.
#pragma once

#include <math.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#define HEED_SHARED(T, name, count)    \
  static char heed_site_of_##name;     \
  T(&name)                             \
  [count] = *static_cast<T(*)[count]>( \
      ::heed::emu::shared_array(&heed_site_of_##name, #name, sizeof(T) * size_t(count), alignof(T)))
#define HEED_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::heed::emu::dynamic_shared())

// ---- vectors
// ----------------------------------------------------------------------------------------------------------
#define HEED_EMULATOR_VECTORS(T, name, align2, align4)                  \
  struct alignas(align2) name##2 {                                      \
    T x, y;                                                             \
  };                                                                    \
  struct name##3 {                                                      \
    T x, y, z;                                                          \
  };                                                                    \
  struct alignas(align4) name##4 {                                      \
    T x, y, z, w;                                                       \
  };                                                                    \
  constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
HEED_EMULATOR_VECTORS(signed char, char, 2, 4)
HEED_EMULATOR_VECTORS(unsigned char, uchar, 2, 4)
HEED_EMULATOR_VECTORS(short, short, 4, 8)
HEED_EMULATOR_VECTORS(unsigned short, ushort, 4, 8)
HEED_EMULATOR_VECTORS(int, int, 8, 16)
HEED_EMULATOR_VECTORS(unsigned, uint, 8, 16)
HEED_EMULATOR_VECTORS(float, float, 8, 16)
HEED_EMULATOR_VECTORS(long long, longlong, 16, 16)
HEED_EMULATOR_VECTORS(unsigned long long, ulonglong, 16, 16)
HEED_EMULATOR_VECTORS(double, double, 16, 16)
#undef HEED_EMULATOR_VECTORS

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
/// Of the thread that runs; the scheduler sets them.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace heed {
inline namespace emu {

/// Where in the source a thread waits.
struct Site {
  char const* file;
  unsigned line;
};
enum class WarpOp : uint8_t { shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot, any, all, reduce, sync };
enum class Vote : uint8_t { none, count, all, any };

void* shared_array(void* site, char const* name, size_t bytes, size_t align);
void* dynamic_shared();
/// What the lane `from` gave. All 32 lanes must come with the same operation from the same place.
uint64_t exchange(WarpOp op, unsigned mask, uint64_t value, int from, Site site);
/// Bit i is lane i's predicate.
unsigned ballot(WarpOp op, unsigned mask, bool predicate, Site site);
/// What all lanes gave; valid until the warp's next operation but one.
uint64_t const* gather(WarpOp op, unsigned mask, uint64_t value, Site site);
int lane();
int barrier(Vote vote, bool predicate, Site site);
[[noreturn]] void trap(Site site);
/// The value within 2 units in the last place of what the hardware's approximation may give (HEED_EMU_PERTURB=1 moves
/// it).
float approximate(float exact);
/// To be called before an atomic operation on *at.
void note_atomic(void* at, size_t bytes);

/// cp.async: `read` bytes from `from`, then zeros up to `bytes`. The destination is NaN until the wait that covers it.
void async_copy(void* to, void const* from, size_t bytes, size_t read);
inline void async_copy(void* to, void const* from, size_t bytes) { async_copy(to, from, bytes, bytes); }
/// cp.async.commit_group, cp.async.wait_group n: at most the n latest groups of this thread are still on their way.
void async_commit();
void async_wait(int groups);

template <class T>
uint64_t to_slot(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "warp operations move 4 or 8 bytes");
  if constexpr (sizeof(T) == 4)
    return __builtin_bit_cast(uint32_t, value);
  else
    return __builtin_bit_cast(uint64_t, value);
}
template <class T>
T from_slot(uint64_t bits) {
  if constexpr (sizeof(T) == 4)
    return __builtin_bit_cast(T, uint32_t(bits));
  else
    return __builtin_bit_cast(T, bits);
}

}  // namespace emu
}  // namespace heed

#define HEED_EMULATOR_SITE char const *file = __builtin_FILE(), unsigned line = __builtin_LINE()

// ---- barriers and warps
// -----------------------------------------------------------------------------------------------
inline void __syncthreads(HEED_EMULATOR_SITE) { heed::emu::barrier(heed::emu::Vote::none, false, {file, line}); }
inline int __syncthreads_count(int p, HEED_EMULATOR_SITE) {
  return heed::emu::barrier(heed::emu::Vote::count, p != 0, {file, line});
}
inline int __syncthreads_and(int p, HEED_EMULATOR_SITE) {
  return heed::emu::barrier(heed::emu::Vote::all, p != 0, {file, line});
}
inline int __syncthreads_or(int p, HEED_EMULATOR_SITE) {
  return heed::emu::barrier(heed::emu::Vote::any, p != 0, {file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffffu, HEED_EMULATOR_SITE) {
  heed::emu::gather(heed::emu::WarpOp::sync, mask, 0, {file, line});
}
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap(HEED_EMULATOR_SITE) { heed::emu::trap({file, line}); }

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, HEED_EMULATOR_SITE) {
  int const first = heed::emu::lane() & -width;
  return heed::emu::from_slot<T>(heed::emu::exchange(heed::emu::WarpOp::shuffle, mask, heed::emu::to_slot(value),
                                                     first + (from & (width - 1)), {file, line}));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, HEED_EMULATOR_SITE) {
  int const lane = heed::emu::lane(), from = lane - int(by);
  return heed::emu::from_slot<T>(heed::emu::exchange(heed::emu::WarpOp::shuffle_up, mask, heed::emu::to_slot(value),
                                                     from < (lane & -width) ? lane : from, {file, line}));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, HEED_EMULATOR_SITE) {
  int const lane = heed::emu::lane(), from = lane + int(by);
  return heed::emu::from_slot<T>(heed::emu::exchange(heed::emu::WarpOp::shuffle_down, mask, heed::emu::to_slot(value),
                                                     from >= (lane & -width) + width ? lane : from, {file, line}));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, HEED_EMULATOR_SITE) {
  int const lane = heed::emu::lane(), from = lane ^ by;
  return heed::emu::from_slot<T>(heed::emu::exchange(heed::emu::WarpOp::shuffle_xor, mask, heed::emu::to_slot(value),
                                                     from >= (lane & -width) + width ? lane : from, {file, line}));
}
inline unsigned __ballot_sync(unsigned mask, int p, HEED_EMULATOR_SITE) {
  return heed::emu::ballot(heed::emu::WarpOp::ballot, mask, p != 0, {file, line});
}
inline int __any_sync(unsigned mask, int p, HEED_EMULATOR_SITE) {
  return heed::emu::ballot(heed::emu::WarpOp::any, mask, p != 0, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int p, HEED_EMULATOR_SITE) {
  return heed::emu::ballot(heed::emu::WarpOp::all, mask, p != 0, {file, line}) == 0xffffffffu;
}
#define HEED_EMULATOR_REDUCE(T, name, combine)                                                       \
  inline T __reduce_##name##_sync(unsigned mask, T value, HEED_EMULATOR_SITE) {                      \
    uint64_t const* const all =                                                                      \
        heed::emu::gather(heed::emu::WarpOp::reduce, mask, heed::emu::to_slot(value), {file, line}); \
    T a = heed::emu::from_slot<T>(all[0]);                                                           \
    for (int i = 1; i < 32; ++i) {                                                                   \
      T const b = heed::emu::from_slot<T>(all[i]);                                                   \
      a = combine;                                                                                   \
    }                                                                                                \
    return a;                                                                                        \
  }
HEED_EMULATOR_REDUCE(unsigned, add, a + b)
HEED_EMULATOR_REDUCE(unsigned, min, a < b ? a : b)
HEED_EMULATOR_REDUCE(unsigned, max, a < b ? b : a)
HEED_EMULATOR_REDUCE(int, add, int(unsigned(a) + unsigned(b)))
HEED_EMULATOR_REDUCE(int, min, a < b ? a : b)
HEED_EMULATOR_REDUCE(int, max, a < b ? b : a)
HEED_EMULATOR_REDUCE(unsigned, and, (a & b))
HEED_EMULATOR_REDUCE(unsigned, or, (a | b))
HEED_EMULATOR_REDUCE(unsigned, xor, a ^ b)
#undef HEED_EMULATOR_REDUCE

// ---- atomics: relaxed, at the device's scope
// ---------------------------------------------------------------------------- Out of line, where nothing is
// instrumented.
#define HEED_EMULATOR_ATOMIC(T, name) T name(T* at, T value);
#define HEED_EMULATOR_ATOMICS(T)      \
  HEED_EMULATOR_ATOMIC(T, atomicAdd)  \
  HEED_EMULATOR_ATOMIC(T, atomicExch) \
  HEED_EMULATOR_ATOMIC(T, atomicMin)  \
  HEED_EMULATOR_ATOMIC(T, atomicMax)  \
  HEED_EMULATOR_ATOMIC(T, atomicAnd)  \
  HEED_EMULATOR_ATOMIC(T, atomicOr)   \
  HEED_EMULATOR_ATOMIC(T, atomicXor)  \
  T atomicCAS(T* at, T expected, T value);
HEED_EMULATOR_ATOMICS(int)
HEED_EMULATOR_ATOMICS(unsigned)
HEED_EMULATOR_ATOMICS(unsigned long long)
HEED_EMULATOR_ATOMIC(int, atomicSub)
HEED_EMULATOR_ATOMIC(unsigned, atomicSub)
HEED_EMULATOR_ATOMIC(unsigned, atomicInc)
HEED_EMULATOR_ATOMIC(unsigned, atomicDec)
HEED_EMULATOR_ATOMIC(float, atomicAdd)
HEED_EMULATOR_ATOMIC(float, atomicExch)
HEED_EMULATOR_ATOMIC(double, atomicAdd)
unsigned short atomicCAS(unsigned short* at, unsigned short expected, unsigned short value);
#undef HEED_EMULATOR_ATOMICS
#undef HEED_EMULATOR_ATOMIC

// ---- loads and stores with hints
// ----------------------------------------------------------------------------------------
template <class T>
T __ldg(T const* at) {
  return *at;
}
template <class T>
T __ldcg(T const* at) {
  return *at;
}
template <class T>
T __ldcs(T const* at) {
  return *at;
}
template <class T>
void __stcg(T* at, T value) {
  *at = value;
}
template <class T>
void __stcs(T* at, T value) {
  *at = value;
}

// ---- numbers
// ------------------------------------------------------------------------------------------------------------
/// As CUDA's: of floating point, NaN loses.
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmin(T(a), T(b));
  else
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmax(T(a), T(b));
  else
    return T(a) < T(b) ? T(b) : T(a);
}

constexpr int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
constexpr unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
constexpr float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
constexpr float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
constexpr long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
constexpr double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }

constexpr int __popc(unsigned x) { return __builtin_popcount(x); }
constexpr int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
constexpr int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
constexpr int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)(x)) : 64; }
constexpr int __ffs(int x) { return __builtin_ffs(x); }
constexpr int __ffsll(long long x) { return __builtin_ffsll(x); }
constexpr unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
constexpr int __mulhi(int a, int b) { return int(int64_t(a) * b >> 32); }
constexpr unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ typedef unsigned __int128 Wide;
  return (unsigned long long)(Wide(a) * b >> 64);
}
constexpr unsigned __brev(unsigned x) {
  unsigned y = 0;
  for (int i = 0; i < 32; ++i) y |= (x >> i & 1u) << (31 - i);
  return y;
}

inline float rsqrtf(float x) { return float(1 / sqrt(double(x))); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.f) : 0.f; }
/// Saturates; NaN gives 0.
inline int __float2int_rz(float x) {
  return x >= 2147483648.f ? 2147483647 : x < -2147483648.f ? -2147483647 - 1 : x == x ? int(x) : 0;
}
inline int __float2int_rn(float x) { return __float2int_rz(nearbyintf(x)); }
inline int __float2int_rd(float x) { return __float2int_rz(floorf(x)); }
inline int __float2int_ru(float x) { return __float2int_rz(ceilf(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }

// The C library declares functions of some of these names.
#define __expf(x) heed::emu::approximate(expf(x))
#define __exp10f(x) heed::emu::approximate(float(pow(10.0, double(x))))
#define __logf(x) heed::emu::approximate(logf(x))
#define __log2f(x) heed::emu::approximate(log2f(x))
#define __log10f(x) heed::emu::approximate(log10f(x))
#define __sinf(x) heed::emu::approximate(sinf(x))
#define __cosf(x) heed::emu::approximate(cosf(x))
#define __tanf(x) heed::emu::approximate(tanf(x))
#define __powf(x, y) heed::emu::approximate(powf(x, y))
#define __fdividef(x, y) heed::emu::approximate((x) / (y))
#define __frsqrt_rn(x) rsqrtf(x)
