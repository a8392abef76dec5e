#include <fmt/format.h>
#include <heed/engine/dtype.h>
#include <heed/engine/error.h>

#include <utility>

namespace heed {

void detail::unsupported_dtype(std::string_view op, Dtype got, std::string_view expected) {
  fail(op, {fmt::format("expected {}, got {}", expected, name(got)), "convert with .to(Dtype::f32)"});
}

std::string_view name(Dtype d) {
  constexpr std::string_view names[] = {"f32", "f64", "i32", "i64", "u8", "bool", "f16", "bf16", "i8", "i16"};
  return names[int(d)];
}

Dtype promote(Dtype a, Dtype b) {
  if (a == b) return a;
  constexpr int rank[] = {8, 9, 4, 5, 1, 0, 6, 6, 2, 3};  // in the order of the enumeration
  if (rank[int(a)] == rank[int(b)]) return Dtype::f32;    // f16 with bf16
  auto const [low, high] = rank[int(a)] < rank[int(b)] ? std::pair(a, b) : std::pair(b, a);
  return low == Dtype::u8 && high == Dtype::i8 ? Dtype::i16 : high;
}

}  // namespace heed
