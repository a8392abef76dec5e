// What every catalogue shares: rows that people read, settings as text, and names that are nearly right.
#pragma once

#include <heed/nn/config.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heed::nn {

enum class Rank { must, should, could };
std::string_view name(Rank rank);

/// One row as people read it. A catalogue's own rows derive from it and add how the thing is made.
struct Entry {
  std::string_view name;
  std::string_view family;
  Rank rank;
  std::string_view source;                    // "Beltagy et al., 2020"
  std::string_view summary;                   // the formula, or what it does, in one line
  void (*options)(ConfigVisitor&) = nullptr;  // shows the settings with their defaults; none: it has no settings
};

/// Shows the defaults of a configuration: what Entry::options is.
template <class Config>
void options_of(ConfigVisitor& visitor) {
  Config config;
  config.visit(visitor);
}

/// "name:option=value,option=value": a thing and its settings.
struct Spec {
  std::string name;
  std::vector<std::pair<std::string, std::string>> options = {};
};
std::string to_string(Spec const& spec);
/// One thing. An Error where the text is malformed.
Spec parse_spec(std::string_view text);
/// Things joined by '+', "sliding:window=128+alibi"; a '+' before a digit belongs to a number.
std::vector<Spec> parse_specs(std::string_view text);

/// Sets the fields of `config`, which `visit` shows, from the settings. An Error that lists fields and defaults where
/// one is unknown or of another type.
void read_options(Spec const& spec, void (*visit)(ConfigVisitor&, void* config), void* config);
/// `config` with the settings of `spec`.
template <class Config>
Config configured(Spec const& spec, Config config = {}) {
  read_options(
      spec, [](ConfigVisitor& visitor, void* each) { static_cast<Config*>(each)->visit(visitor); }, &config);
  return config;
}
/// An Error where `spec` has settings: for what has none.
void expect_no_options(Spec const& spec);

/// An Error that names the nearest of `known`. `what`: "attention", "optimizer", …, as `heed-lab list` calls it.
[[noreturn]] void fail_unknown(std::string_view what, std::string_view name,
                               std::vector<std::string_view> const& known);

/// The row of this name; an Error that names the nearest where there is none.
template <class Row>
Row const& find_row(std::string_view what, std::vector<Row> const& rows, std::string_view name) {
  for (Row const& row : rows)
    if (row.name == name) return row;
  std::vector<std::string_view> known;
  for (Row const& row : rows) known.push_back(row.name);
  fail_unknown(what, name, known);
}

}  // namespace heed::nn
