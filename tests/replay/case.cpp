// Reading: a file into a Case, its arguments into C++ values.
#include <fmt/format.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/safetensors.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "replay.h"

namespace heed::replay {

using nlohmann::json;

struct Arguments {
  json values;
  mutable std::set<std::string> read;
};

namespace {

/// Types of the format that heed does not hold.
constexpr std::string_view foreign_types[] = {"U16", "U32", "U64",     "C64",     "C128",
                                              "F4",  "F6",  "F8_E4M3", "F8_E5M2", "F8_E8M0"};
constexpr std::pair<std::string_view, Dtype> dtypes[] = {
    {"float32", Dtype::f32}, {"float64", Dtype::f64}, {"float16", Dtype::f16}, {"bfloat16", Dtype::bf16},
    {"int64", Dtype::i64},   {"int32", Dtype::i32},   {"int16", Dtype::i16},   {"int8", Dtype::i8},
    {"uint8", Dtype::u8},    {"bool", Dtype::boolean}};

[[noreturn]] void malformed(std::string message) { throw Malformed(std::move(message)); }

/// A type in the header that heed does not hold, where that is why the file was refused.
std::optional<std::string> foreign_type(std::string const& path) {
  std::string const bytes = read_file(path);
  uint64_t length = 0;
  if (bytes.size() < 8) return std::nullopt;
  std::memcpy(&length, bytes.data(), 8);
  if (length > bytes.size() - 8) return std::nullopt;
  json const header = json::parse(bytes.begin() + 8, bytes.begin() + 8 + int64_t(length), nullptr, false);
  if (!header.is_object()) return std::nullopt;
  for (auto const& [name, entry] : header.items()) {
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string()) continue;
    auto const type = entry["dtype"].get<std::string>();
    for (auto const known : foreign_types)
      if (type == known) return type;
  }
  return std::nullopt;
}

Safetensors load(std::string const& path) {
  try {
    return load_safetensors(path);
  } catch (Error const&) {
    if (auto const type = foreign_type(path)) throw Lacking("type " + *type);
    throw;
  }
}

/// What follows `prefix` in `name`.
std::optional<std::string> after(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix) || name.size() == prefix.size()) return std::nullopt;
  return std::string(name.substr(prefix.size()));
}

int place(std::string const& name, std::string const& digits) {
  int value = -1;
  auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || value < 0)
    malformed(fmt::format("tensor \"{}\": expected a number after the dot", name));
  return value;
}

double tolerance(json const& text, char const* key) {
  if (!text.contains(key) || !text[key].is_number() || !(text[key].get<double>() >= 0))
    malformed(fmt::format("metadata \"case\": expected a number \"{}\" that is not negative", key));
  return text[key].get<double>();
}

/// f(alternative) for "a|b|c" until it gives true.
template <class F>
bool any_name(std::string_view names, F f) {
  while (!names.empty()) {
    size_t const bar = std::min(names.find('|'), names.size());
    if (f(names.substr(0, bar))) return true;
    names.remove_prefix(std::min(bar + 1, names.size()));
  }
  return false;
}

json const* value_of(Arguments const& args, std::string_view names) {
  json const* found = nullptr;
  any_name(names, [&](std::string_view name) {
    auto const at = args.values.find(std::string(name));
    if (at == args.values.end()) return false;
    args.read.insert(std::string(name));
    if (at->is_null()) return false;
    found = &*at;
    return true;
  });
  return found;
}

json const& required(Arguments const& args, std::string_view names) {
  json const* const found = value_of(args, names);
  if (!found) malformed(fmt::format("expected the argument \"{}\"", names));
  return *found;
}

[[noreturn]] void wrong(std::string_view name, std::string_view expected, json const& got) {
  std::string text = got.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "…";
  malformed(fmt::format("argument \"{}\": expected {}, got {}", name, expected, text));
}

int64_t to_integer(std::string_view name, json const& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max()))
    wrong(name, "an integer of 64 bits", value);
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    double const real = value.get<double>();
    if (real == std::floor(real) && std::abs(real) < 9e18) return int64_t(real);
  }
  wrong(name, "an integer", value);
}

double to_real(std::string_view name, json const& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  wrong(name, "a number, \"inf\", \"-inf\" or \"nan\"", value);
}

Dims to_dims(std::string_view name, std::vector<int64_t> const& values) {
  if (values.size() > size_t(Dims::max_rank))
    malformed(
        fmt::format("argument \"{}\": expected at most {} numbers, got {}", name, int(Dims::max_rank), values.size()));
  Dims dims;
  for (int64_t const value : values) dims.push_back(value);
  return dims;
}

}  // namespace

Case::~Case() = default;

Case::Case(std::string const& path) : args_(std::make_unique<Arguments>()) {
  Safetensors const file = load(path);
  std::string const* text = nullptr;
  for (auto const& [key, value] : file.metadata)
    if (key == "case") text = &value;
  if (!text) malformed("expected the key \"case\" in the metadata");
  json const description = json::parse(*text, nullptr, false);
  if (!description.is_object()) malformed("metadata \"case\": expected a JSON object");
  if (!description.contains("op") || !description["op"].is_string())
    malformed("metadata \"case\": expected a text \"op\"");
  op = description["op"].get<std::string>();
  rtol = tolerance(description, "rtol");
  atol = tolerance(description, "atol");
  for (auto const& [key, field] : {std::pair{"special", &special}, {"where", &where}, {"row", &row}}) {
    if (!description.contains(key)) continue;
    if (!description[key].is_string()) malformed(fmt::format("metadata \"case\": expected a text \"{}\"", key));
    *field = description[key].get<std::string>();
  }
  if (description.contains("throws")) throws = description["throws"].dump();
  pointwise = description.value("pointwise", json()) == true;
  args_->values = description.value("args", json::object());
  if (!args_->values.is_object()) malformed("metadata \"case\": expected an object \"args\"");
  for (auto const& [name, tensor] : file.tensors) {
    if (auto const key = after(name, "input."))
      inputs[*key] = tensor;
    else if (auto const key = after(name, "output."))
      outputs[place(name, *key)] = tensor;
    else if (auto const key = after(name, "grad_output."))
      grad_outputs[place(name, *key)] = tensor;
    else if (auto const key = after(name, "grad_input."))
      grad_inputs[*key] = tensor;
    else if (auto const key = after(name, "alone."))
      alone[place(name, *key)] = tensor;
    else
      malformed(fmt::format("tensor \"{}\": expected input., output., grad_output. or grad_input. and a name", name));
  }
  if (outputs.empty() && grad_inputs.empty() && !throws)
    malformed("expected a tensor output.K or grad_input.S to compare with");
  if (!grad_inputs.empty() && grad_outputs.empty()) malformed("expected a tensor grad_output.K beside grad_input.S");
  for (auto const& [key, gradient] : grad_inputs)
    if (!inputs.contains(key)) malformed(fmt::format("tensor \"grad_input.{}\": there is no input.{}", key, key));
}

Tensor Case::maybe(int position, std::string_view names) const {
  if (auto const at = inputs.find(std::to_string(position)); at != inputs.end()) return at->second;
  Tensor found;
  any_name(names, [&](std::string_view name) {
    auto const at = inputs.find(name);
    if (at != inputs.end()) found = at->second;
    return found.defined();
  });
  return found;
}

Tensor Case::operator()(int position, std::string_view names) const {
  Tensor const found = maybe(position, names);
  if (!found.defined()) {
    if (position < 0) malformed(fmt::format("expected a tensor input.{}", names));
    malformed(
        fmt::format("expected a tensor input.{}{}", position, names.empty() ? "" : fmt::format(" or input.{}", names)));
  }
  return found;
}

std::vector<Tensor> Case::all() const {
  std::vector<Tensor> found;
  while (true) {
    auto const at = inputs.find(std::to_string(found.size()));
    if (at == inputs.end()) return found;
    found.push_back(at->second);
  }
}

std::vector<Tensor> Case::list(std::string_view name) const {
  std::vector<Tensor> found;
  std::string const prefix = std::string(name) + '.';
  for (auto const& [key, tensor] : inputs)
    if (auto const digits = after(key, prefix)) {
      auto const index = size_t(place(key, *digits));
      if (index > 1000) malformed(fmt::format("tensor \"input.{}\": expected a list of at most 1000", key));
      if (found.size() <= index) found.resize(index + 1);
      found[index] = tensor;
    }
  return found;
}

Tensor Case::operand(int position, std::string_view name, Tensor const& beside) const {
  if (Tensor const found = maybe(position, name); found.defined()) return found;
  Number const value = number(name);
  return scalar(value, result_type(beside, value));
}

int Case::expected_rank(int otherwise) const {
  auto const at = outputs.find(0);
  return at == outputs.end() ? otherwise : at->second.rank();
}

bool Case::has(std::string_view name) const { return value_of(*args_, name) != nullptr; }
bool Case::is_list(std::string_view name) const {
  json const* const value = value_of(*args_, name);
  return value && value->is_array();
}
bool Case::is_text(std::string_view name) const {
  json const* const value = value_of(*args_, name);
  return value && value->is_string();
}

int64_t Case::integer(std::string_view name) const {
  if (!has(name))
    if (Tensor const tensor = maybe(name); tensor.defined()) return tensor.item<int64_t>();
  json const& value = required(*args_, name);
  return to_integer(name, value.is_array() && value.size() == 1 ? value[0] : value);
}

double Case::real(std::string_view name) const {
  if (!has(name))
    if (Tensor const tensor = maybe(name); tensor.defined()) return tensor.item();
  return to_real(name, required(*args_, name));
}

Number Case::number(std::string_view name) const {
  json const& value = required(*args_, name);
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return to_integer(name, value);
  return to_real(name, value);
}

bool Case::flag(std::string_view name, bool otherwise) const {
  json const* const value = value_of(*args_, name);
  if (!value) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  if (value->is_number_integer()) return to_integer(name, *value) != 0;
  wrong(name, "true or false", *value);
}

std::string Case::text(std::string_view name) const {
  json const& value = required(*args_, name);
  if (!value.is_string()) wrong(name, "a text", value);
  return value.get<std::string>();
}

Dtype Case::dtype(std::string_view names, Dtype otherwise) const {
  if (!has(names)) return otherwise;
  std::string const wanted = text(names);
  for (auto const& [known, dtype] : dtypes)
    if (wanted == known) return dtype;
  throw Lacking("type " + wanted);
}

std::vector<int64_t> Case::integers(std::string_view name) const {
  json const& value = required(*args_, name);
  if (!value.is_array()) return {to_integer(name, value)};
  std::vector<int64_t> found;
  for (json const& item : value) found.push_back(to_integer(name, item));
  return found;
}

std::vector<double> Case::reals(std::string_view name) const {
  json const& value = required(*args_, name);
  if (!value.is_array()) return {to_real(name, value)};
  std::vector<double> found;
  for (json const& item : value) found.push_back(to_real(name, item));
  return found;
}

Dims Case::dims(std::string_view name) const { return to_dims(name, integers(name)); }

std::vector<Dims> Case::integer_lists(std::string_view name) const {
  json const& value = required(*args_, name);
  std::vector<Dims> found;
  for (json const& item : value) {
    if (!item.is_array()) wrong(name, "a list of lists", value);
    std::vector<int64_t> numbers;
    for (json const& number : item) numbers.push_back(to_integer(name, number));
    found.push_back(to_dims(name, numbers));
  }
  return found;
}

Dims Case::dims_or(std::string_view name, int64_t otherwise) const {
  json const& value = required(*args_, name);
  if (!value.is_array()) return {to_integer(name, value)};
  std::vector<int64_t> found;
  for (json const& item : value) found.push_back(item.is_null() ? otherwise : to_integer(name, item));
  return to_dims(name, found);
}

Dims Case::axes(std::string_view name, Tensor const& x) const {
  if (has(name)) {
    Dims const given = dims(name);
    if (given.rank() > 0) return given;
  }
  Dims all;
  for (int axis = 0; axis < x.rank(); ++axis) all.push_back(axis);
  return all;
}

std::vector<Case::IndexItem> Case::index_items(std::string_view name) const {
  json const& given = required(*args_, name);
  json const entries = given.is_array() ? given : json::array({given});
  std::vector<IndexItem> items;
  auto const bound = [&](json const& value) -> std::optional<int64_t> {
    return value.is_null() ? std::nullopt : std::optional(to_integer(name, value));
  };
  for (json const& entry : entries) {
    if (entry.is_null())
      items.push_back({IndexItem::new_axis, {}, {}, {}, {}});
    else if (entry == "...")
      items.push_back({IndexItem::ellipsis, {}, {}, {}, {}});
    else if (entry.is_string())
      items.push_back({IndexItem::tensor, {}, {}, {}, (*this)(entry.get<std::string>())});
    else if (entry.is_array() && entry.size() == 3)
      items.push_back({IndexItem::slice, bound(entry[0]), bound(entry[1]), bound(entry[2]), {}});
    else if (entry.is_number_integer())
      items.push_back({IndexItem::integer, to_integer(name, entry), {}, {}, {}});
    else
      wrong(name, "integers, [start, stop, step], null, \"...\" and \"index.K\"", entry);
  }
  return items;
}

std::vector<std::string> Case::unread() const {
  std::vector<std::string> names;
  for (auto const& [name, value] : args_->values.items())
    if (!args_->read.contains(name)) names.push_back(name);
  return names;
}

}  // namespace heed::replay
