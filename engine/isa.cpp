#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/isa.h>

#include <cstdlib>
#include <string>

namespace heed {
namespace {

#define HEED_ISA_VALUE(level, ...) Isa::level,
constexpr Isa levels[] = {HEED_FOR_EACH_ISA(HEED_ISA_VALUE, )};
#undef HEED_ISA_VALUE
#define HEED_ISA_NAME(level, ...) #level,
constexpr std::string_view names[] = {HEED_FOR_EACH_ISA(HEED_ISA_NAME, )};
#undef HEED_ISA_NAME

std::string names_here() {
  std::string text;
  for (Isa level : levels)
    if (has_isa(level)) text += fmt::format("{}{}", text.empty() ? "" : ", ", name(level));
  return text;
}

Isa requested(std::string_view wanted) {
  for (Isa level : levels)
    if (name(level) == wanted) {
      check(has_isa(level), "HEED_ISA", [&] {
        return Complaint{fmt::format("the processor lacks '{}'; it has {}", wanted, names_here()),
                         "unset HEED_ISA to take the best level, or name one of these"};
      });
      return level;
    }
  fail("HEED_ISA", {fmt::format("expected one of {}, got '{}'", fmt::join(names, ", "), wanted),
                    "unset HEED_ISA to take the best level"});
}

}  // namespace

std::atomic<int> detail::current_isa{-1};

int detail::choose_isa() {
  char const* const wanted = std::getenv("HEED_ISA");
  Isa level = levels[0];
  if (wanted && *wanted)
    level = requested(wanted);
  else
    for (Isa candidate : levels)
      if (has_isa(candidate)) level = candidate;
  current_isa.store(int(level), std::memory_order_relaxed);
  return int(level);
}

void set_isa(Isa level) { detail::current_isa.store(int(requested(name(level))), std::memory_order_relaxed); }

bool has_isa(Isa level) {
#if defined(__x86_64__) && !defined(HEED_LOWEST_LEVEL)
  if (level == Isa::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (level == Isa::avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512vl");
  return true;
#else
  return level == levels[0];
#endif
}

std::string_view name(Isa level) { return names[int(level)]; }
std::span<Isa const> all_isas() { return levels; }

}  // namespace heed
