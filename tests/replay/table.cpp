// What each op gives for NaN, infinities, −0, denormals, no elements and no axes.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "replay.h"

namespace heed::replay {
namespace {

constexpr std::string_view columns[] = {"nan", "inf", "-inf", "-0", "denormal", "largest", "empty", "rank 0"};

struct Difference {
  std::string where, text;
  std::string_view reason;
};

struct Cell {
  std::vector<std::string> words;  // without repetition; the first is that of the op's first tensor
  std::vector<Difference> differences;
  size_t cases = 0;
  void add(Verdict const& v) {
    ++cases;
    if (std::ranges::find(words, v.gave) == words.end()) words.push_back(v.gave);
    if (v.kind == Verdict::failed) differences.push_back({v.where, v.reason, known(v)});
  }
  std::string text() const {
    if (cases == 0) return "";
    std::string all = differences.empty() ? "" : "≠";
    for (size_t i = 0; i < words.size(); ++i)
      if (i < 3)
        all += (i > 0 ? " | " : "") + words[i];
      else if (i == 3)
        all += " | …";
    return all;
  }
};

/// Columns of a terminal, where every character is one wide.
size_t width(std::string_view text) {
  return size_t(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void print_row(std::vector<std::string> const& row, std::vector<size_t> const& widths) {
  std::string all;
  for (size_t i = 0; i < row.size(); ++i) all += row[i] + std::string(widths[i] - width(row[i]) + 2, ' ');
  all.erase(all.find_last_not_of(' ') + 1);
  fmt::print("{}\n", all);
}

}  // namespace

size_t print_table(std::vector<std::string> const& files, std::vector<Verdict> const& verdicts,
                   std::string const& json) {
  std::map<std::string, std::map<std::string_view, Cell>> rows;
  size_t lacking = 0, same = 0, explained = 0, unexplained = 0, cells = 0;
  for (size_t i = 0; i < verdicts.size(); ++i) {
    Verdict const& v = verdicts[i];
    if (v.kind == Verdict::skipped) {
      ++lacking;
      continue;
    }
    auto const column = std::ranges::find(columns, v.special);
    if (column == std::end(columns)) {
      fmt::print("FAILED {}: no case of special values: {}\n", files[i], v.reason);
      ++unexplained;
      continue;
    }
    rows[v.row][*column].add(v);
  }
  std::vector<std::vector<std::string>> lines = {{"op"}};
  lines[0].insert(lines[0].end(), std::begin(columns), std::end(columns));
  for (auto& [op, row] : rows) {
    auto& line = lines.emplace_back(std::vector{op});
    for (auto const column : columns) {
      Cell const& cell = row[column];
      line.push_back(cell.text());
      if (cell.cases == 0) continue;
      ++cells;
      if (cell.differences.empty())
        ++same;
      else
        ++(std::ranges::all_of(cell.differences, [](auto const& d) { return !d.reason.empty(); }) ? explained
                                                                                                  : unexplained);
    }
  }
  std::vector<size_t> widths(lines[0].size());
  for (auto const& line : lines)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], width(line[i]));
  for (auto const& line : lines) print_row(line, widths);

  nlohmann::json all;
  for (auto const& [op, row] : rows)
    for (auto const column : columns) {
      auto const at = row.find(column);
      if (at == row.end() || at->second.cases == 0) continue;
      auto& written = all[op][std::string(column)];
      written["gives"] = at->second.words;
      for (auto const& [where, text, reason] : at->second.differences) {
        fmt::print("{}, {}{}{}: {}{}\n", op, column, where.empty() ? "" : " in ", where, text,
                   reason.empty() ? "; NO REASON KNOWN" : fmt::format("; {}", reason));
        written["differs"].push_back({{"where", where}, {"what", text}, {"why", reason}});
      }
    }
  if (!json.empty()) std::ofstream(json) << all.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  fmt::print(
      "{} ops, {} cells: {} as in PyTorch, {} differ for a known reason, {} differ; {} cases are of what heed lacks\n",
      rows.size(), cells, same, explained, unexplained, lacking);
  return unexplained;
}

}  // namespace heed::replay
