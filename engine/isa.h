// The instruction-set levels of the CPU kernels: *.simd.cpp is compiled once per level, and one is picked at first use.
#pragma once

#include <atomic>
#include <span>
#include <string_view>
#include <type_traits>

#if defined(__x86_64__) && !defined(HEED_LOWEST_LEVEL)
#define HEED_FOR_EACH_ISA(apply, ...) apply(baseline, __VA_ARGS__) apply(avx2, __VA_ARGS__) apply(avx512, __VA_ARGS__)
#elif defined(__aarch64__)
#define HEED_FOR_EACH_ISA(apply, ...) apply(neon, __VA_ARGS__)
#else
#define HEED_FOR_EACH_ISA(apply, ...) apply(baseline, __VA_ARGS__)
#endif

#ifdef HEED_ISA_LEVEL
namespace heed {
inline namespace HEED_ISA_LEVEL {}  // namespace HEED_ISA_LEVEL
}  // namespace heed
#endif

namespace heed {

#define HEED_ISA_ENUMERATOR(level, ...) level,
enum class Isa { HEED_FOR_EACH_ISA(HEED_ISA_ENUMERATOR, ) };
#undef HEED_ISA_ENUMERATOR

namespace detail {
extern std::atomic<int> current_isa;  // -1 until first use
int choose_isa();
}  // namespace detail

/// The level in use: HEED_ISA where it is set (an Error where the processor lacks it), else the best one here.
inline Isa isa() {
  int const level = detail::current_isa.load(std::memory_order_relaxed);
  return Isa(level >= 0 ? level : detail::choose_isa());
}

/// Switches every later kernel call to `level`; an Error where the processor lacks it.
void set_isa(Isa level);
bool has_isa(Isa level);
std::string_view name(Isa level);
std::span<Isa const> all_isas();

}  // namespace heed

/// HEED_KERNELS(GemmKernels, gemm_kernels) in ops/<op>.h, at file scope: declares the table that ops/<op>.simd.cpp
/// defines once per level as `constinit GemmKernels const gemm_kernels{…}` inside `namespace heed::HEED_ISA_LEVEL`,
/// and heed::kernels(GemmKernels const*), by which heed::kernels<GemmKernels>() finds the one in use. An accelerator
/// has its own by the table's name (backend.h).
#define HEED_KERNELS(Table, table)                                                             \
  HEED_FOR_EACH_ISA(HEED_KERNELS_EXTERN, Table, table)                                         \
  namespace heed {                                                                             \
  inline Table const& kernels(Table const*) {                                                  \
    constexpr Table const* levels[] = {HEED_FOR_EACH_ISA(HEED_KERNELS_ADDRESS, Table, table)}; \
    return *levels[int(isa())];                                                                \
  }                                                                                            \
  inline char const* kernels_name(Table const*) { return #table; }                             \
  }
#define HEED_KERNELS_EXTERN(level, Table, table) \
  namespace heed::level {                        \
  extern Table const table;                      \
  }
#define HEED_KERNELS_ADDRESS(level, Table, table) &level::table,

namespace heed {
template <class Table>
Table const& kernels() {
  return kernels(static_cast<Table const*>(nullptr));
}

/// A table with one part for f32 and one for f64, found by element type: table.of<T>().
template <template <class> class Part>
struct PerType {
  Part<float> f32;
  Part<double> f64;
  template <class T>
  constexpr Part<T> const& of() const {
    if constexpr (std::is_same_v<T, float>)
      return f32;
    else
      return f64;
  }
};
}  // namespace heed
