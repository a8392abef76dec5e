// What reports are made of: the style of a page that needs nothing else, charts, and pictures of attention maps.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lab {

std::string base64(std::string_view bytes);
/// An Error where it is none.
std::string from_base64(std::string_view text);

/// Round numbers that cover [low, high] in about `count` steps.
std::vector<double> ticks(double low, double high, int count);

/// A picture with one pixel a weight, as a data URI. A pixel is √weight·255, so that the small weights that carry
/// global context stay visible.
std::string picture(std::string_view pixels, int64_t rows, int64_t columns);
/// The colours of picture() with their weights.
std::string colour_scale();

/// A line of a chart; `low` and `high` are a band around it where they are given.
struct Line {
  std::string name;
  std::vector<std::array<double, 2>> points;
  std::vector<std::array<double, 3>> band;  // x, low, high
};
struct ChartOptions {
  std::string label, x, y;
  bool log_x = false;
};
/// Lines in the page's colours, with a legend; a point's title is its values.
std::string chart(std::vector<Line> const& lines, ChartOptions const& options);
/// What stands for the i-th line in a legend or a table: its colour, dashes and mark.
std::string key(size_t i);

/// The whole page.
std::string page(std::string const& title, std::string const& body);

}  // namespace lab
