#include "op_suite.h"

#include <doctest/doctest.h>

#include <fstream>

namespace heed::test {
namespace {

constexpr char const* rule = "// ---- ";

/// "reductions" of "// ---- reductions -----"
std::string heading(std::string const& line) {
  if (line.rfind(rule, 0) != 0) return "";
  size_t const start = std::string(rule).size();
  return line.substr(start, line.find(" --", start) - start);
}

/// Declared names of one section: what follows a type that holds tensors and precedes "(".
std::set<std::string> declared(std::string const& section) {
  bool const members = section == "class Tensor";
  std::ifstream file(std::string(HEED_SOURCE_DIR) + (members ? "/engine/tensor.h" : "/engine/ops.h"));
  REQUIRE(file);
  std::set<std::string> names;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (members) {
      inside =
          (inside || line.find("class Tensor {") != std::string::npos) && line.find("private:") == std::string::npos;
    } else if (line.rfind("namespace naive", 0) == 0) {
      inside = false;
    } else if (!heading(line).empty()) {
      inside = heading(line) == section;
    }
    if (!inside) continue;
    size_t start = line.find_first_not_of(' ');
    if (start == std::string::npos) continue;
    if (line.compare(start, 7, "inline ") == 0) start += 7;
    // A type, one space, a name, "(": members and local variables of such types lack the parenthesis.
    size_t const paren = line.find('(', start);
    if (paren == std::string::npos) continue;
    std::string const before = line.substr(start, paren - start);
    for (std::string const type : {"Tensor",
                                   "Tensor&",
                                   "Attended",
                                   "Scanned",
                                   "std::vector<Tensor>",
                                   "std::pair<Tensor, Tensor>",
                                   "std::pair<Tensor, std::vector<Tensor>>",
                                   "std::tuple<Tensor, Tensor, Tensor>",
                                   "std::array<Tensor, 2>",
                                   "std::array<Tensor, 3>",
                                   "Indexed",
                                   "MinMax",
                                   "Unique",
                                   "Eigh",
                                   "Lstsq",
                                   "Lu",
                                   "LuFactor",
                                   "Qr",
                                   "Slogdet",
                                   "Svd"})
      if (before.rfind(type + " ", 0) == 0) {
        std::string const name = before.substr(type.size() + 1);
        if (name.find_first_of(" ;,") == std::string::npos) names.insert(name);
      }
  }
  return names;
}

}  // namespace

std::vector<std::string> catalogue_sections() {
  std::ifstream file(std::string(HEED_SOURCE_DIR) + "/engine/ops.h");
  REQUIRE(file);
  std::vector<std::string> sections;
  for (std::string line; std::getline(file, line);)
    if (std::string const found = heading(line); !found.empty() && !declared(found).empty()) sections.push_back(found);
  return sections;
}

void check_coverage(OpSuite const& suite) {
  std::set<std::string> with_gradient, all, names;
  for (OpCase const& c : suite.cases) {
    CHECK_MESSAGE(names.insert(c.name).second, "two cases are called ", c.name);
    if (c.differentiable) with_gradient.insert(c.covers);
    all.insert(c.covers);
  }
  std::set<std::string> ops;
  for (std::string const& section : suite.sections) {
    auto const here = declared(section);
    CHECK_MESSAGE(!here.empty(), "no op in section ", section);
    ops.insert(here.begin(), here.end());
  }
  for (std::string const& op : ops)
    CHECK_MESSAGE(with_gradient.count(op) + suite.not_differentiable.count(op) + suite.elsewhere.count(op) == 1, op);
  for (std::string const& op : all)
    CHECK_MESSAGE(ops.count(op) + suite.also.count(op) > 0, op, " is not in these sections of the catalogue");
  for (std::string const& op : suite.not_differentiable)
    CHECK_MESSAGE(ops.count(op) == 1, op, " is not in these sections of the catalogue");
  MESSAGE(ops.size(), " ops, ", suite.cases.size(), " cases");
}

}  // namespace heed::test
