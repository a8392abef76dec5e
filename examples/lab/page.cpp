#include "page.h"

#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/html.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace lab {
namespace {

constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Dark blue over teal to yellow: even steps of lightness, so that a map reads the same in grey.
std::array<double, 3> colour(double x) {
  constexpr double stops[5][3] = {{24, 12, 56}, {52, 66, 134}, {34, 132, 141}, {101, 196, 98}, {250, 228, 60}};
  double const at = std::clamp(x, 0.0, 1.0) * 4;
  int const i = std::min(int(at), 3);
  std::array<double, 3> rgb{};
  for (size_t c = 0; c < 3; ++c) rgb[c] = stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c]);
  return rgb;
}

constexpr size_t colours = 8;

/// The colours of lines keep apart for colour-blind readers (Okabe and Ito, 2008), lighter ones on dark paper.
constexpr char style[] = R"(
:root{--text:#1c2330;--soft:#5b6577;--paper:#fff;--line:#dfe3ea;--fill:#dbe7f5;--good:#0b7a4b;--bad:#b42318;
--c0:#5b6577;--c1:#0072b2;--c2:#c2410c;--c3:#00805f;--c4:#b0478a;--c5:#a16a00;--c6:#3b8fc4;--c7:#7a4fbf}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ef;--soft:#9aa4b5;--paper:#14181f;--line:#2b323d;--fill:#26384f;--good:#4ade80;--bad:#fb7185;
--c0:#9aa4b5;--c1:#56b4e9;--c2:#fb923c;--c3:#34d399;--c4:#e879b9;--c5:#fbbf24;--c6:#93c5fd;--c7:#c4a5ff}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--paper);max-width:960px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2.2rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:.95rem;margin:1.2rem 0 .4rem;color:var(--soft)}p,figcaption,.legend,li.soft,.soft{color:var(--soft)}
svg{width:100%;height:auto;display:block}.chart{overflow-x:auto}.chart svg{min-width:520px}svg text{font-size:12px;fill:var(--soft)}.grid{stroke:var(--line)}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}.band{stroke:none;opacity:.14}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem;margin:.3rem 0}svg.key{display:inline-block;width:34px;height:10px;margin-right:.5em;vertical-align:0}td.name:has(.key){min-width:9.5rem}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
polyline[class]{stroke:var(--c)}polygon[class],circle[class],path[class]{fill:var(--c)}
.wide{overflow-x:auto}.wide td{white-space:nowrap}.wide td.name{white-space:normal}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.88rem}
th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}th:first-child,.name{text-align:left}td.name{overflow-wrap:anywhere;min-width:6rem}
.facts td{overflow-wrap:anywhere}.facts td:first-child{text-align:left;color:var(--soft);min-width:7rem}td small{color:var(--soft);white-space:nowrap}
.bar{display:block;background:linear-gradient(to right,var(--fill) var(--share),transparent var(--share));padding:0 .3rem}
.interval{width:170px;min-width:120px;height:18px}.interval line{stroke:var(--soft);stroke-width:2}.interval .zero{stroke:var(--line);stroke-width:1.5}
.interval circle{fill:var(--soft)}.good .interval line:not(.zero),.good .interval circle{stroke:var(--good);fill:var(--good)}.bad .interval line:not(.zero),.bad .interval circle{stroke:var(--bad);fill:var(--bad)}
.good .says{color:var(--good);font-weight:600}.bad .says{color:var(--bad);font-weight:600}
ul.verdict{padding-left:1.1rem}ul.verdict li{margin:.3rem 0}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.8rem}figure{margin:0;min-width:0}
img{width:100%;image-rendering:pixelated;border:1px solid var(--line);box-sizing:border-box}figcaption{font-size:.8rem;overflow-wrap:anywhere}
pre{white-space:pre-wrap;background:color-mix(in srgb,var(--fill) 45%,transparent);padding:.8rem;border-radius:.4rem;font-size:.85rem;overflow-wrap:anywhere}
.scale{height:.8rem;border:1px solid var(--line);max-width:260px}.ends{display:flex;justify-content:space-between;max-width:260px;font-size:.8rem;color:var(--soft)}
summary{cursor:pointer;color:var(--soft)}code{overflow-wrap:anywhere}
)";

}  // namespace

std::string base64(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (int k = 0; k < 4; ++k) out += i + size_t(k) <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string from_base64(std::string_view text) {
  std::string out;
  uint32_t group = 0;
  int bits = 0;
  for (char c : text) {
    if (c == '=') break;
    size_t const digit = digits.find(c);
    heed::check(digit != digits.npos, "base64", [] {
      return heed::Complaint{"a character that is none of base64's", "use a file that heed-lab wrote"};
    });
    group = group << 6 | uint32_t(digit);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += char(group >> bits & 255);
    }
  }
  return out;
}

std::string picture(std::string_view pixels, int64_t rows, int64_t columns) {
  // An uncompressed BMP with a palette.
  std::string bmp;
  auto number = [&](uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bmp += char(value >> (8 * i) & 255);
  };
  auto const stride = uint32_t((columns + 3) / 4 * 4);
  uint32_t const start = 14 + 40 + 256 * 4, size = start + stride * uint32_t(rows);
  bmp += "BM";
  number(size, 4), number(0, 4), number(start, 4);
  number(40, 4), number(uint32_t(columns), 4), number(uint32_t(rows), 4), number(1, 2), number(8, 2), number(0, 4);
  number(stride * uint32_t(rows), 4), number(2835, 4), number(2835, 4), number(256, 4), number(0, 4);
  for (int i = 0; i < 256; ++i) {
    auto const [r, g, b] = colour(i / 255.0);
    bmp += char(b), bmp += char(g), bmp += char(r), bmp += '\0';
  }
  for (int64_t i = rows - 1; i >= 0; --i)
    for (uint32_t j = 0; j < stride; ++j) bmp += int64_t(j) < columns ? pixels[size_t(i * columns + j)] : '\0';
  return "data:image/bmp;base64," + base64(bmp);
}

std::string colour_scale() {
  std::string stops;
  for (int i = 0; i <= 16; ++i) {
    auto const [r, g, b] = colour(i / 16.0);
    stops += fmt::format("{}rgb({:.0f},{:.0f},{:.0f})", i ? "," : "", r, g, b);
  }
  return fmt::format(
      R"html(<div class="scale" style="background:linear-gradient(to right,{})"></div><div class="ends"><span>0</span><span>0.25</span><span>1</span></div>)html",
      stops);
}

std::vector<double> ticks(double low, double high, int count) {
  double const raw = std::max(high - low, 1e-9) / count, power = std::pow(10, std::floor(std::log10(raw)));
  double const ratio = raw / power, step = power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
  std::vector<double> list;
  for (double t = std::ceil(low / step) * step; t <= high + 1e-9; t += step)
    list.push_back(std::abs(t) < 1e-9 * step ? 0 : t);
  return list;
}

namespace {

std::string colour_class(size_t i) { return fmt::format("c{}", i % colours); }

/// Lines of one colour are told apart by dashes and marks.
constexpr char const* dashes[] = {"", "7 4", "2 3", "9 3 2 3", "12 4", "5 2 1 2 1 2"};

std::string dash(size_t i) {
  std::string_view const pattern = dashes[i / colours % std::size(dashes)];
  return pattern.empty() ? "" : fmt::format(R"( stroke-dasharray="{}")", pattern);
}
/// A disc, square, diamond, triangle, cross or triangle upside down at (x, y); `inside`: its title.
std::string mark(size_t i, double x, double y, std::string_view inside = "") {
  double const r = 3;
  auto const shape = [&](std::string_view path) {
    return fmt::format(R"html(<path class="{}" transform="translate({:.1f} {:.1f})" d="{}">{}</path>)html",
                       colour_class(i), x, y, path, inside);
  };
  switch (i / colours % std::size(dashes)) {
    case 0:
      return fmt::format(R"(<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>)", colour_class(i), x, y, r,
                         inside);
    case 1:
      return shape("M-3-3H3V3H-3Z");
    case 2:
      return shape("M0-4.2L4.2 0L0 4.2L-4.2 0Z");
    case 3:
      return shape("M0-4L4 3.2H-4Z");
    case 4:
      return shape("M-1.2-4H1.2V-1.2H4V1.2H1.2V4H-1.2V1.2H-4V-1.2H-1.2Z");
    default:
      return shape("M0 4L-4-3.2H4Z");
  }
}

}  // namespace

std::string key(size_t i) {
  return fmt::format(
      R"(<svg class="key" viewBox="0 0 34 10" aria-hidden="true"><polyline class="{}"{} points="1,5 33,5"/>{}</svg>)",
      colour_class(i), dash(i), mark(i, 17, 5));
}

std::string chart(std::vector<Line> const& lines, ChartOptions const& o) {
  constexpr double width = 760, height = 300, left = 56, right = 16, top = 12, bottom = 42;
  double low = 1e300, high = -1e300, first = 1e300, last = -1e300;
  auto const place = [&](double x) { return o.log_x ? std::log2(std::max(x, 1.0)) : x; };
  for (Line const& line : lines) {
    for (auto const& [x, y] : line.points)
      low = std::min(low, y), high = std::max(high, y), first = std::min(first, x), last = std::max(last, x);
    for (auto const& [x, l, h] : line.band) low = std::min(low, l), high = std::max(high, h);
  }
  if (last < first) return "<p>There is nothing to show.</p>";
  if (!o.log_x) first = std::min(first, 0.0);
  double const margin = std::max(0.05 * (high - low), 1e-3), span = std::max(place(last) - place(first), 1e-9);
  low -= margin, high += margin;
  auto const x = [&](double v) { return left + (width - left - right) * (place(v) - place(first)) / span; };
  auto const y = [&](double v) { return top + (height - top - bottom) * (high - v) / (high - low); };
  std::string svg = fmt::format(R"(<div class="chart"><svg viewBox="0 0 {} {}" role="img" aria-label="{}">)", width,
                                height, heed::html_text(o.label));
  for (double t : ticks(low, high, 5))
    svg += fmt::format(
        R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text x="{}" y="{:.1f}" text-anchor="end">{:.3g}</text>)",
        left, width - right, y(t), y(t), left - 6, y(t) + 4, t);
  std::vector<double> marks;
  if (o.log_x)
    for (double v = std::max(first, 1.0); v <= last * 1.0001; v = 2 * v + (first == 1 ? 1 : 0)) marks.push_back(v);
  else
    marks = ticks(first, last, 6);
  for (double t : marks)
    svg += fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>)", x(t), height - bottom + 18, t);
  svg += fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">{}</text>)", (left + width) / 2, height - 4,
                     heed::html_text(o.x));
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].band.empty()) continue;
    std::string there, back;
    for (auto const& [at, l, h] : lines[i].band) {
      there += fmt::format("{:.1f},{:.1f} ", x(at), y(h));
      back = fmt::format("{:.1f},{:.1f} ", x(at), y(l)) + back;
    }
    svg += fmt::format(R"(<polygon class="band {}" points="{}{}"/>)", colour_class(i), there, back);
  }
  std::string legend;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string list, dots;
    for (auto const& [at, v] : lines[i].points) list += fmt::format("{:.1f},{:.1f} ", x(at), y(v));
    if (lines[i].points.size() <= 40)
      for (auto const& [at, v] : lines[i].points)
        dots += mark(i, x(at), y(v),
                     fmt::format("<title>{}: {} {:g}, {:.4g}</title>", heed::html_text(lines[i].name),
                                 heed::html_text(o.x), at, v));
    svg += fmt::format(R"(<polyline class="{}"{} points="{}"/>{})", colour_class(i), dash(i), list, dots);
    legend += fmt::format(R"(<span>{}{}</span>)", key(i), heed::html_text(lines[i].name));
  }
  return fmt::format(R"({}</svg></div><div class="legend">{}</div>)", svg, legend);
}

std::string page(std::string const& title, std::string const& body) {
  return fmt::format(
      R"(<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{}</title><style>{}</style></head><body>
<h1>{}</h1>{}
</body></html>
)",
      heed::html_text(title), style, heed::html_text(title), body);
}

}  // namespace lab
