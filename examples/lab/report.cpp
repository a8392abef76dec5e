#include "report.h"

#include <fmt/format.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/html.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lab {
namespace {

std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (int k = 0; k < 4; ++k) out += i + size_t(k) <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

/// Dark blue over teal to yellow: even steps of lightness, so that a map reads the same in grey.
std::array<double, 3> colour(double x) {
  constexpr double stops[5][3] = {{24, 12, 56}, {52, 66, 134}, {34, 132, 141}, {101, 196, 98}, {250, 228, 60}};
  double const at = std::clamp(x, 0.0, 1.0) * 4;
  int const i = std::min(int(at), 3);
  std::array<double, 3> rgb{};
  for (size_t c = 0; c < 3; ++c) rgb[c] = stops[i][c] + (at - i) * (stops[i + 1][c] - stops[i][c]);
  return rgb;
}

/// A picture with one pixel a weight, as a data URI: an uncompressed BMP with a palette. The colour is √weight, so that
/// the small weights that carry global context stay visible.
std::string picture(float const* weights, int64_t rows, int64_t columns) {
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
    for (uint32_t j = 0; j < stride; ++j)
      bmp += int64_t(j) < columns
                 ? char(std::lround(255 * std::sqrt(std::clamp(double(weights[i * columns + j]), 0.0, 1.0))))
                 : '\0';
  return "data:image/bmp;base64," + base64(bmp);
}

/// Round numbers that cover [low, high] in about `count` steps.
std::vector<double> ticks(double low, double high, int count) {
  double const raw = std::max(high - low, 1e-9) / count, power = std::pow(10, std::floor(std::log10(raw)));
  double const ratio = raw / power, step = power * (ratio < 1.5 ? 1 : ratio < 3.5 ? 2 : ratio < 7.5 ? 5 : 10);
  std::vector<double> list;
  for (double t = std::ceil(low / step) * step; t <= high + 1e-9; t += step) list.push_back(t);
  return list;
}

std::string loss_curve(Report const& r) {
  if (r.training_loss.empty()) return "<p>No log was found beside the checkpoint.</p>";
  constexpr double width = 760, height = 300, left = 52, right = 16, top = 12, bottom = 40;
  double low = 1e300, high = -1e300, last = 1;
  for (auto const* series : {&r.training_loss, &r.validation_loss})
    for (auto [step, loss] : *series)
      low = std::min(low, loss), high = std::max(high, loss), last = std::max(last, step);
  double const margin = std::max(0.05 * (high - low), 0.01);
  low -= margin, high += margin;
  auto x = [&](double step) { return left + (width - left - right) * step / last; };
  auto y = [&](double loss) { return top + (height - top - bottom) * (high - loss) / (high - low); };
  std::string svg = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="Loss by step">)", width, height);
  for (double t : ticks(low, high, 5))
    svg += fmt::format(
        R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text x="{}" y="{:.1f}" text-anchor="end">{:.3g}</text>)",
        left, width - right, y(t), y(t), left - 6, y(t) + 4, t);
  for (double t : ticks(0, last, 6))
    svg += fmt::format(R"(<text x="{:.1f}" y="{}" text-anchor="middle">{:g}</text>)", x(t), height - bottom + 18, t);
  svg += fmt::format(R"(<text x="{}" y="{}" text-anchor="middle">step</text>)", (left + width) / 2, height - 4);
  auto polyline = [&](char const* style, std::vector<std::pair<double, double>> const& points) {
    std::string list;
    for (auto [step, loss] : points) list += fmt::format("{:.1f},{:.1f} ", x(step), y(loss));
    svg += fmt::format(R"(<polyline class="{}" points="{}"/>)", style, list);
  };
  polyline("training", r.training_loss);
  polyline("validation", r.validation_loss);
  for (auto [step, loss] : r.validation_loss)
    svg += fmt::format(
        R"(<circle class="validation-dot" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>step {:g}: validation {:.4f}</title></circle>)",
        x(step), y(loss), step, loss);
  return svg + R"(</svg><p class="legend"><span class="key training-key"></span>training batches (smoothed)
<span class="key validation-key"></span>whole validation part</p>)";
}

std::string measures_table(Report const& r) {
  std::string html =
      R"(<table><thead><tr><th>layer</th><th>head</th><th>entropy, nats</th><th>of uniform</th><th>effective keys</th>
<th>largest weight</th><th>mean distance</th><th>strongest sink</th></tr></thead><tbody>)";
  for (size_t l = 0; l < r.layers.size(); ++l)
    for (size_t h = 0; h < r.layers[l].heads.size(); ++h) {
      auto const& m = r.layers[l].heads[h];
      html += fmt::format(
          R"(<tr><td>{}</td><td>{}</td><td>{:.3f}</td><td><span class="bar" style="--share:{:.0f}%">{:.0f} %</span></td><td>{:.2f}</td><td>{:.3f}</td><td>{:.2f}</td><td>{:.3f}</td></tr>)",
          l, h, m.entropy, 100 * m.entropy_share, 100 * m.entropy_share, m.effective_count, m.largest, m.distance,
          m.sink);
    }
  return html + "</tbody></table>";
}

std::string maps(Report const& r) {
  std::string html;
  for (size_t l = 0; l < r.layers.size(); ++l) {
    html += fmt::format("<h3>Layer {}</h3><div class=\"maps\">", l);
    heed::Tensor const map = r.layers[l].map.contiguous();
    for (int64_t h = 0; h < map.size(0); ++h) {
      auto const& m = r.layers[l].heads[size_t(h)];
      html += fmt::format(
          R"(<figure><img alt="Attention of layer {} head {}" src="{}"><figcaption>head {} · {:.1f} keys · largest {:.2f}</figcaption></figure>)",
          l, h, picture(map.data<float>() + h * map.size(1) * map.size(2), map.size(1), map.size(2)), h,
          m.effective_count, m.largest);
    }
    html += "</div>";
  }
  return html;
}

constexpr char style[] = R"(
:root{--text:#1c2330;--soft:#5b6577;--paper:#fff;--line:#dfe3ea;--one:#9aa7bd;--two:#c2410c;--fill:#dbe7f5}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ef;--soft:#9aa4b5;--paper:#14181f;--line:#2b323d;--one:#6d7b93;--two:#fb923c;--fill:#26384f}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--paper);max-width:860px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:.95rem;margin:1.2rem 0 .4rem;color:var(--soft)}p,figcaption,.legend{color:var(--soft)}
svg{width:100%;height:auto}svg text{font-size:12px;fill:var(--soft)}.grid{stroke:var(--line)}
polyline{fill:none;stroke-width:1.6}.training{stroke:var(--one)}.validation{stroke:var(--two);stroke-width:2.2}.validation-dot{fill:var(--two)}
.key{display:inline-block;width:1.4em;height:.25em;margin:0 .5em .2em 0}.key+.key,.validation-key{margin-left:1.2em}.training-key{background:var(--one)}.validation-key{background:var(--two)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}.facts td:first-child{text-align:left;color:var(--soft)}
.bar{display:block;background:linear-gradient(to right,var(--fill) var(--share),transparent var(--share));padding:0 .3rem}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:.8rem}figure{margin:0}
img{width:100%;image-rendering:pixelated;border:1px solid var(--line)}figcaption{font-size:.8rem}
pre{white-space:pre-wrap;background:color-mix(in srgb,var(--fill) 45%,transparent);padding:.8rem;border-radius:.4rem;font-size:.85rem;overflow-wrap:anywhere}
.scale{height:.8rem;border:1px solid var(--line);max-width:260px}.ends{display:flex;justify-content:space-between;max-width:260px;font-size:.8rem;color:var(--soft)}
)";

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

}  // namespace

void write_report(std::string const& path, Report const& r) {
  std::string facts;
  for (auto const& [name, value] : r.facts)
    facts += fmt::format("<tr><td>{}</td><td>{}</td></tr>", heed::html_text(name), heed::html_text(value));
  std::string const html = fmt::format(
      R"(<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{}</title><style>{}</style></head><body>
<h1>{}</h1><p>{}</p><table class="facts"><tbody>{}</tbody></table>
<h2>Loss</h2>{}
<h2>What each head depends on</h2>
<p>Means over queries of the validation part. A head that depends on few keys has a low entropy, few effective keys (1/Σa²) and a
large largest weight; a sink is a key that most queries give much of their weight to.</p>{}
<h2>Attention maps</h2>
<p>One window of the validation part: queries from top to bottom, keys from left to right. The colour is the square root of the weight.</p>{}
{}
<h3>The window</h3><pre>{}</pre>
<h2>A sample</h2><pre>{}</pre>
</body></html>
)",
      heed::html_text(r.title), style, heed::html_text(r.title), heed::html_text(r.checkpoint), facts, loss_curve(r),
      measures_table(r), colour_scale(), maps(r), heed::html_text(r.window), heed::html_text(r.sample));
  heed::write_file_atomically(path, html);
}

}  // namespace lab
