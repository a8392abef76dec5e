// Matrix instructions of sm_80 and later: a warp multiplies small tiles whose elements lie spread over its lanes'
// registers. Each instruction is written twice: as assembly, and for the emulator as an exchange between lanes that
// follows the layouts of the PTX ISA (9.7.14, "Warp-level matrix instructions"; here in lane = 4·group + quarter):
//
//   16-bit elements, m16n8k16                          tf32, m16n8k8
//   A[i]: row group + 8(i&1), columns 2·quarter + 8(i>>1), +1    A[i]: row group + 8(i&1), column quarter + 4(i>>1)
//   B[i]: rows 2·quarter + 8i, +1, column group                  B[i]: row quarter + 4i, column group
//   C[i]: row group + 8(i>>1), column 2·quarter + (i&1)          C as on the left
//
// Of two 16-bit elements in a register the first is the lower half. Sums are f32. Their order within an instruction is
// the hardware's own; the emulation sums by ascending k.
//
// Shared memory for 16-bit elements is declared as uint16_t: CUDA allows no member initialisers there.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/warp.h>
#include <heed/engine/half.h>

#include <bit>
#include <cstdint>
#include <type_traits>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace mma {

/// The place of C[i] (and D[i]) in the 16×8 tile, for this lane.
__device__ inline int row(int i) { return warp::lane() / 4 + 8 * (i >> 1); }
__device__ inline int column(int i) { return 2 * (warp::lane() % 4) + (i & 1); }

template <class Element>
constexpr bool is_16_bit = std::is_same_v<Element, float16> || std::is_same_v<Element, bfloat16>;

#if !defined(__CUDACC__)
namespace detail {

/// Both registers of a pair from another lane: half as many exchanges.
inline uint64_t fetch(uint32_t low, uint32_t high, int from) {
  return __shfl_sync(warp::all, uint64_t(high) << 32 | low, from);
}

/// c += A·B for tiles whose lanes hold `depth` elements of each of their rows or columns per register; widen(bits, j)
/// is the j-th element of a register.
template <int depth, class Widen>
inline void multiply(float (&c)[4], uint32_t const (&a)[4], uint32_t const (&b)[2], Widen const& widen) {
  int const group = warp::lane() / 4, quarter = warp::lane() % 4;
  constexpr int k_count = 8 * depth;
  float rows[2][k_count], columns[2][k_count];
  for (int from = 0; from < 4; ++from) {
    uint64_t const near = fetch(a[0], a[1], 4 * group + from), far = fetch(a[2], a[3], 4 * group + from);
    uint64_t const left = fetch(b[0], b[1], 8 * quarter + from), right = fetch(b[0], b[1], 8 * quarter + 4 + from);
    for (int j = 0; j < depth; ++j) {
      int const k = depth * from + j, l = k + k_count / 2;
      for (int half = 0; half < 2; ++half) {
        rows[half][k] = widen(uint32_t(near >> 32 * half), j);
        rows[half][l] = widen(uint32_t(far >> 32 * half), j);
      }
      columns[0][k] = widen(uint32_t(left), j), columns[0][l] = widen(uint32_t(left >> 32), j);
      columns[1][k] = widen(uint32_t(right), j), columns[1][l] = widen(uint32_t(right >> 32), j);
    }
  }
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < k_count; ++k) c[i] += rows[i >> 1][k] * columns[i & 1][k];
}

}  // namespace detail
#endif

/// C += A·B: A 16×16, B 16×8, C 16×8; Element is float16 or bfloat16.
template <class Element>
__device__ inline void m16n8k16(float (&c)[4], uint32_t const (&a)[4], uint32_t const (&b)[2]) {
  static_assert(is_16_bit<Element>);
#if defined(__CUDACC__)
  if constexpr (std::is_same_v<Element, bfloat16>)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  detail::multiply<2>(c, a, b, [](uint32_t pair, int j) {
    Element element;
    element.bits = uint16_t(pair >> 16 * j);
    return float(element);
  });
#endif
}

/// f32 rounded to the 10 bits of fraction of tf32, halves away from zero; what m16n8k8_tf32 takes.
__device__ inline uint32_t tf32(float value) {
#if defined(__CUDACC__)
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#else
  uint32_t const bits = std::bit_cast<uint32_t>(value);
  bool const finite = (bits & 0x7f800000) != 0x7f800000;
  return finite ? (bits + 0x1000) & ~0x1fffu : value != value ? 0x7fffe000u : bits;
#endif
}

/// C += A·B: A 16×8, B 8×8, C 16×8, in tf32. The low 13 bits of an element should be 0 (tf32() makes them so): hardware
/// leaves open what it does with them.
__device__ inline void m16n8k8_tf32(float (&c)[4], uint32_t const (&a)[4], uint32_t const (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  detail::multiply<1>(c, a, b, [](uint32_t bits, int) { return std::bit_cast<float>(bits & ~0x1fffu); });
#endif
}

/// Two f32 rounded to a register of two 16-bit elements, halves to even: what two neighbours of C become as part of the
/// next product's A.
template <class Element>
__device__ inline uint32_t pack(float first, float second) {
  static_assert(is_16_bit<Element>);
#if defined(__CUDACC__)
  uint32_t pair;
  if constexpr (std::is_same_v<Element, bfloat16>)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return uint32_t(Element(second).bits) << 16 | Element(first).bits;
#endif
}

/// `count` (1, 2 or 4) 8×8 matrices of 16-bit elements from shared memory. Lane 8m + r gives the address of row r of
/// matrix m: 16 bytes, aligned to 16; what other lanes give is not read. to[m] receives elements (group, 2·quarter) and
/// (group, 2·quarter + 1) of matrix m: that of an operand A that lies by rows, or of a B that lies by columns.
template <int count>
__device__ inline void ldmatrix(uint32_t (&to)[count], void const* row) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
  uint32_t const at = uint32_t(__cvta_generic_to_shared(row));
  if constexpr (count == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(at) : "memory");
  else if constexpr (count == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#else
  int const group = warp::lane() / 4, quarter = warp::lane() % 4;
  for (int m = 0; m < count; ++m) {
    uint64_t const from = __shfl_sync(warp::all, reinterpret_cast<uint64_t>(row), 8 * m + group);
    to[m] = reinterpret_cast<uint32_t const*>(from)[quarter];
  }
#endif
}

/// As ldmatrix, each matrix transposed: to[m] receives elements (2·quarter, group) and (2·quarter + 1, group), that of
/// an A that lies by columns, or of a B that lies by rows.
template <int count>
__device__ inline void ldmatrix_trans(uint32_t (&to)[count], void const* row) {
  static_assert(count == 1 || count == 2 || count == 4);
#if defined(__CUDACC__)
  uint32_t const at = uint32_t(__cvta_generic_to_shared(row));
  if constexpr (count == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(at) : "memory");
  else if constexpr (count == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#else
  int const group = warp::lane() / 4, quarter = warp::lane() % 4;
  for (int m = 0; m < count; ++m) {
    uint64_t const upper = __shfl_sync(warp::all, reinterpret_cast<uint64_t>(row), 8 * m + 2 * quarter);
    uint64_t const lower = __shfl_sync(warp::all, reinterpret_cast<uint64_t>(row), 8 * m + 2 * quarter + 1);
    to[m] = reinterpret_cast<uint16_t const*>(upper)[group] | uint32_t(reinterpret_cast<uint16_t const*>(lower)[group])
                                                                  << 16;
  }
#endif
}

}  // namespace mma
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
