#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/loss/operands.h>

#include <algorithm>

namespace heed::nn {
namespace {

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at < text.size();) {
    size_t const from = text.find_first_not_of(separators, at);
    if (from == text.npos) break;
    at = std::min(text.find_first_of(separators, from), text.size());
    parts.push_back(text.substr(from, at - from));
  }
  return parts;
}

/// What the letters of a signature stand for, and "..".
struct Sizes {
  std::vector<std::pair<std::string_view, std::vector<int64_t>>> known;

  bool bind(std::string_view name, std::vector<int64_t> const& sizes) {
    for (auto const& [other, value] : known)
      if (other == name) return value == sizes;
    known.emplace_back(name, sizes);
    return true;
  }
  bool fits(Operand const& operand, Shape const& shape) {
    auto const rest = std::find(operand.axes.begin(), operand.axes.end(), "..");
    int const before = int(rest - operand.axes.begin());
    int const after = rest == operand.axes.end() ? 0 : int(operand.axes.end() - rest) - 1;
    bool const open = rest != operand.axes.end();
    if (open ? shape.rank() < before + after : shape.rank() != before) return false;
    for (int i = 0; i < before; ++i)
      if (!bind(operand.axes[size_t(i)], {shape[i]})) return false;
    for (int i = 0; i < after; ++i)
      if (!bind(operand.axes[operand.axes.size() - size_t(after) + size_t(i)], {shape[shape.rank() - after + i]}))
        return false;
    if (!open) return true;
    std::vector<int64_t> between;
    for (int i = before; i < shape.rank() - after; ++i) between.push_back(shape[i]);
    return bind("..", between);
  }
};

std::string described(std::span<Tensor const* const> operands) {
  std::string list;
  for (Tensor const* t : operands)
    list += fmt::format("{}{}", list.empty() ? "" : ", ",
                        t->defined() ? fmt::format("{} {}", name(t->dtype()), to_string(t->shape())) : "none");
  return list.empty() ? "nothing" : list;
}

}  // namespace

std::vector<Operand> parse_operands(std::string_view signature) {
  std::vector<Operand> operands;
  for (std::string_view const text : split(signature, ";")) {
    size_t const bracket = text.find('[');
    auto const words = split(text.substr(0, bracket), " ");
    Operand& operand = operands.emplace_back();
    operand.name = words.at(0);
    operand.optional = operand.name.back() == '?';
    if (operand.optional) operand.name.remove_suffix(1);
    if (words.size() > 1) operand.kind = words[1];
    if (words.size() > 2) operand.bound = words[2];
    operand.axes = split(text.substr(bracket + 1, text.find(']') - bracket - 1), ", ");
  }
  return operands;
}

void check_operands(std::string_view loss, std::string_view signature, std::span<Tensor const* const> operands) {
  auto const wanted = parse_operands(signature);
  auto const complain = [&](std::string remedy) {
    fail(loss, {fmt::format("expected {}, got {}", signature, described(operands)), std::move(remedy)});
  };
  if (operands.size() > wanted.size()) complain(fmt::format("pass {} tensors", wanted.size()));
  Sizes sizes;
  for (size_t i = 0; i < wanted.size(); ++i) {
    Operand const& operand = wanted[i];
    if (i >= operands.size() || !operands[i]->defined()) {
      if (!operand.optional) complain(fmt::format("pass {}", operand.name));
      continue;
    }
    bool const whole = operand.kind == "index";
    if (whole ? operands[i]->dtype() != Dtype::i64 : !is_floating(operands[i]->dtype()))
      complain(fmt::format("convert {} to {}", operand.name, whole ? "i64" : "a floating type"));
    if (!sizes.fits(operand, operands[i]->shape()))
      complain(fmt::format("reshape {}: a letter is one size, and .. the same axes, throughout", operand.name));
  }
}

Tensor reduced(Tensor const& each, Reduction reduction) {
  switch (reduction) {
    case Reduction::none:
      return each;
    case Reduction::mean:
      return mean(each);
    case Reduction::sum:
      return sum(each);
  }
  return each;
}

}  // namespace heed::nn
