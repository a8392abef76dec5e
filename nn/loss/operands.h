// What losses share: how their operands are described and checked, and how elements become one number.
#pragma once

#include <heed/engine/ops.h>

#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace heed::nn {

// Operands of a loss as text, "logits [.., C]; targets index C [..]; weight? [C]": a name (with ? where it may be
// undefined), what its elements are, and its axes. A letter stands for one size, .. for the same axes throughout.
// Elements: nothing for real numbers, "index C" for i64 below C, "sign" for ±1, "unit" for [0, 1], "positive",
// "simplex" for rows that add up to 1, "logp" for the logarithms of such rows, "fixed" for real numbers that get no
// gradient.

struct Operand {
  std::string_view name, kind, bound;  // bound: the C of "index C"
  bool optional = false;
  std::vector<std::string_view> axes;
};
std::vector<Operand> parse_operands(std::string_view signature);
/// An Error naming `loss` unless number, types and shapes are as `signature` says.
void check_operands(std::string_view loss, std::string_view signature, std::span<Tensor const* const> operands);
template <class... T>
requires(std::is_same_v<T, Tensor>&&...) void check_operands(std::string_view loss, std::string_view signature,
                                                             T const&... operands) {
  Tensor const* const all[] = {&operands...};
  check_operands(loss, signature, std::span<Tensor const* const>(all));
}

/// The elements' mean or sum, or they themselves.
Tensor reduced(Tensor const& each, Reduction reduction);

}  // namespace heed::nn
