#include <fmt/format.h>
#include <heed/engine/dtype.h>
#include <heed/engine/error.h>

namespace heed {

void detail::unsupported_dtype(std::string_view op, Dtype got, std::string_view expected) {
  fail(op, {fmt::format("expected {}, got {}", expected, name(got)), "convert with .to(Dtype::f32)"});
}

std::string_view name(Dtype d) {
  constexpr std::string_view names[] = {"f32", "f64", "i32", "i64", "u8", "bool"};
  return names[int(d)];
}

Dtype promote(Dtype a, Dtype b) {
  if (a == b) return a;
  constexpr int rank[] = {4, 5, 2, 3, 1, 0};  // f32 f64 i32 i64 u8 bool
  return rank[int(a)] > rank[int(b)] ? a : b;
}

}  // namespace heed
