#include "report.h"

#include <fmt/format.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/html.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "page.h"

namespace lab {
namespace {

/// Weights as picture() takes them.
std::string pixels(float const* weights, int64_t count) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i)
    bytes += char(std::lround(255 * std::sqrt(std::clamp(double(weights[i]), 0.0, 1.0))));
  return bytes;
}

std::vector<std::array<double, 2>> points(std::vector<std::pair<double, double>> const& series) {
  std::vector<std::array<double, 2>> list;
  for (auto [step, loss] : series) list.push_back({step, loss});
  return list;
}

std::string loss_curve(Report const& r) {
  if (r.training_loss.empty()) return "<p>No log was found beside the checkpoint.</p>";
  return chart({{"training batches (smoothed)", points(r.training_loss), {}},
                {"whole validation part", points(r.validation_loss), {}}},
               {.label = "Loss by step", .x = "step", .y = "loss"});
}

std::string measures_table(Report const& r) {
  std::string html =
      R"(<table><thead><tr><th>layer</th><th>head</th><th>entropy, nats</th><th>of uniform</th><th>effective keys</th>
<th>largest weight</th><th>mean distance</th><th>strongest sink</th></tr></thead><tbody>)";
  heed::nn::Diagnosis const& d = r.diagnosis;
  for (size_t l = 0; l < d.layers.size(); ++l)
    for (size_t h = 0; h < size_t(d.layers[l].heads); ++h) {
      auto const value = [&](char const* measure) { return d.value(l, h, measure); };
      html += fmt::format(
          R"(<tr><td>{}</td><td>{}</td><td>{:.3f}</td><td><span class="bar" style="--share:{:.0f}%">{:.0f} %</span></td><td>{:.2f}</td><td>{:.3f}</td><td>{:.2f}</td><td>{:.3f}</td></tr>)",
          l, h, value("entropy"), 100 * value("entropy-share"), 100 * value("entropy-share"), value("effective-count"),
          value("largest"), value("distance"), value("sink"));
    }
  return html + "</tbody></table>";
}

std::string maps(Report const& r) {
  std::string html;
  heed::nn::Diagnosis const& d = r.diagnosis;
  bool const one_a_layer = d.layers.size() == r.maps.size();  // a layer may call its core more than once
  for (size_t l = 0; l < r.maps.size(); ++l) {
    html += fmt::format("<h3>{} {}</h3><div class=\"maps\">", one_a_layer ? "Layer" : "Core", l);
    heed::Tensor const map = r.maps[l].to(heed::Dtype::f32).contiguous();
    for (int64_t h = 0; h < map.size(0); ++h) {
      std::string const numbers =
          one_a_layer && h < d.layers[l].heads
              ? fmt::format(" · {:.1f} keys · largest {:.2f}", d.value(l, size_t(h), "effective-count"),
                            d.value(l, size_t(h), "largest"))
              : "";
      html += fmt::format(
          R"(<figure><img alt="Attention of layer {} head {}" src="{}"><figcaption>head {}{}</figcaption></figure>)", l,
          h,
          picture(pixels(map.data<float>() + h * map.size(1) * map.size(2), map.size(1) * map.size(2)), map.size(1),
                  map.size(2)),
          h, numbers);
    }
    html += "</div>";
  }
  return html;
}

}  // namespace

void write_report(std::string const& path, Report const& r) {
  std::string facts;
  for (auto const& [name, value] : r.facts)
    facts += fmt::format("<tr><td>{}</td><td>{}</td></tr>", heed::html_text(name), heed::html_text(value));
  std::string const body = fmt::format(
      R"(<p>{}</p><table class="facts"><tbody>{}</tbody></table>
<h2>Loss</h2>{}
<h2>What each head depends on</h2>
<p>Means over queries of the validation part. A head that depends on few keys has a low entropy, few effective keys (1/Σa²) and a
large largest weight; a sink is a key that most queries give much of their weight to.</p><div class="wide">{}</div>
<h2>Attention maps</h2>
<p>One window of the validation part: queries from top to bottom, keys from left to right. The colour is the square root of the weight.</p>{}
{}
<h3>The window</h3><pre>{}</pre>
<h2>A sample</h2><pre>{}</pre>)",
      heed::html_text(r.checkpoint), facts, loss_curve(r), measures_table(r), colour_scale(), maps(r),
      heed::html_text(r.window), heed::html_text(r.sample));
  heed::write_file_atomically(path, page(r.title, body));
}

}  // namespace lab
