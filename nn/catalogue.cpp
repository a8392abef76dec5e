#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/catalogue.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <numeric>

namespace heed::nn {
namespace {

/// Insertions, deletions and replacements that turn a into b (Levenshtein, 1966).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t const replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

template <class T>
bool read_number(std::string_view text, T& value) {
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// Calls on_field(name, type, value&, help) for every field.
template <class OnField>
struct FieldReader final : ConfigVisitor {
  explicit FieldReader(OnField f) : on_field(std::move(f)) {}
  void field(std::string_view name, int64_t& value, std::string_view help) override {
    on_field(name, "an integer", value, help);
  }
  void field(std::string_view name, double& value, std::string_view help) override {
    on_field(name, "a number", value, help);
  }
  void field(std::string_view name, bool& value, std::string_view help) override {
    on_field(name, "true or false", value, help);
  }
  void field(std::string_view name, std::string& value, std::string_view help) override {
    on_field(name, "text", value, help);
  }
  OnField on_field;
};

bool read_value(std::string const& text, int64_t& value) { return read_number(text, value); }
bool read_value(std::string const& text, double& value) { return read_number(text, value); }
bool read_value(std::string const& text, bool& value) {
  value = text == "true" || text == "1";
  return value || text == "false" || text == "0";
}
bool read_value(std::string const& text, std::string& value) {
  value = text;
  return true;
}

std::string fields_with_help(void (*visit)(ConfigVisitor&, void*), void* config) {
  std::string list;
  FieldReader reader([&](std::string_view name, std::string_view, auto const& value, std::string_view help) {
    list += fmt::format("{}{}={} ({})", list.empty() ? "" : ", ", name, value, help);
  });
  visit(reader, config);
  return list;
}

}  // namespace

std::string_view name(Rank rank) {
  switch (rank) {
    case Rank::must:
      return "must";
    case Rank::should:
      return "should";
    case Rank::could:
      return "could";
  }
  return "";
}

std::string to_string(Spec const& spec) {
  std::string text = spec.name;
  for (size_t i = 0; i < spec.options.size(); ++i)
    text += fmt::format("{}{}={}", i ? "," : ":", spec.options[i].first, spec.options[i].second);
  return text;
}

Spec parse_spec(std::string_view text) {
  auto const malformed = [&](std::string_view part) {
    fail("settings",
         {fmt::format("expected name:option=value,option=value, got '{}' ('{}' is not of that form)", text, part),
          "write for instance sliding:window=128"});
  };
  size_t const colon = text.find(':');
  Spec spec{std::string(text.substr(0, colon)), {}};
  if (spec.name.empty()) malformed(text);
  if (colon == text.npos) return spec;
  std::string_view rest = text.substr(colon + 1);
  while (true) {
    size_t const comma = rest.find(',');
    std::string_view const part = rest.substr(0, comma);
    size_t const equals = part.find('=');
    if (equals == part.npos || equals == 0 || equals + 1 == part.size()) malformed(part);
    spec.options.emplace_back(part.substr(0, equals), part.substr(equals + 1));
    if (comma == rest.npos) return spec;
    rest = rest.substr(comma + 1);
  }
}

std::vector<Spec> parse_specs(std::string_view text) {
  std::vector<Spec> specs;
  size_t from = 0;
  for (size_t i = 0; i <= text.size(); ++i)
    if (i == text.size() ||
        (text[i] == '+' && i + 1 < text.size() && !std::isdigit(static_cast<unsigned char>(text[i + 1])))) {
      specs.push_back(parse_spec(text.substr(from, i - from)));
      from = i + 1;
    }
  return specs;
}

void read_options(Spec const& spec, void (*visit)(ConfigVisitor&, void*), void* config) {
  std::vector<bool> used(spec.options.size());
  std::string problem;
  FieldReader reader([&](std::string_view name, std::string_view type, auto& value, std::string_view) {
    for (size_t i = 0; i < spec.options.size(); ++i) {
      auto const& [option, text] = spec.options[i];
      if (option != name) continue;
      used[i] = true;
      auto read = value;
      if (!read_value(text, read))
        problem = fmt::format("expected {} for '{}', got '{}'", type, name, text);
      else
        value = read;
    }
  });
  visit(reader, config);
  for (size_t i = 0; i < used.size() && problem.empty(); ++i)
    if (!used[i]) problem = fmt::format("there is no setting '{}'", spec.options[i].first);
  check(problem.empty(), spec.name, [&] {
    std::string const fields = fields_with_help(visit, config);
    return Complaint{problem, fields.empty() ? "it has no settings: leave them out" : "the settings are " + fields};
  });
}

void expect_no_options(Spec const& spec) {
  read_options(
      spec, [](ConfigVisitor&, void*) {}, nullptr);
}

void fail_unknown(std::string_view what, std::string_view name, std::vector<std::string_view> const& known) {
  std::vector<std::string_view> nearest = known;
  std::stable_sort(nearest.begin(), nearest.end(),
                   [&](auto a, auto b) { return edit_distance(name, a) < edit_distance(name, b); });
  nearest.resize(std::min(nearest.size(), size_t{3}));
  std::string names;
  for (auto const& near : nearest) names += fmt::format("{}{}", names.empty() ? "" : ", ", near);
  fail(what, {fmt::format("there is no {} '{}'; the nearest are {}", what, name, names),
              fmt::format("`heed-lab list {}` shows all", what)});
}

}  // namespace heed::nn
