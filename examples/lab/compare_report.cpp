#include "compare_report.h"

#include <fmt/format.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/html.h>

#include <algorithm>
#include <cmath>

#include "page.h"

namespace lab {
namespace {

using heed::html_text;

std::string join(nlohmann::json const& list) {
  std::string text;
  for (auto const& item : list) text += (text.empty() ? "" : ", ") + item.dump();
  return text;
}

std::string facts(nlohmann::json const& head, JudgeOptions const& o) {
  auto const &model = head["model"], &training = head["training"];
  std::string seeds;
  for (int64_t seed : o.seeds) seeds += fmt::format("{}{}", seeds.empty() ? "" : ", ", seed);
  std::pair<std::string, std::string> const rows[] = {
      {"learned", head["title"]},
      {"layers · heads · width · length",
       fmt::format("{} · {} · {} · {}", model["layers"].dump(), model["heads"].dump(), model["dim"].dump(),
                   head["length"].dump())},
      {"parameters", head["parameters"] == 0 ? std::string("not matched")
                                             : fmt::format("{}, matched by the width of the feed-forward layers",
                                                           head["parameters"].dump())},
      {"budget of a run", fmt::format("{} steps of {} examples", training["steps"].dump(), training["batch"].dump())},
      {"learning rates tried", join(head["learning_rates"])},
      {"best rate chosen on", o.select_on_all ? std::string("all seeds") : fmt::format("seed {}", o.seeds[0])},
      {"seeds", seeds + " (the same data in the same order for every variant)"}};
  std::string html;
  for (auto const& [name, value] : rows)
    html += fmt::format("<tr><td>{}</td><td>{}</td></tr>", html_text(name), html_text(value));
  return fmt::format(R"(<table class="facts"><tbody>{}</tbody></table>)", html);
}

std::string sentences(Verdict const& v) {
  std::string html;
  for (std::string const& s : v.sentences) html += fmt::format("<li>{}</li>", html_text(s));
  return fmt::format(R"(<ul class="verdict">{}</ul>)", html);
}

bool anyone_has(Verdict const& v, std::string_view measure) {
  return std::any_of(v.standings.begin(), v.standings.end(),
                     [&](Standing const& s) { return !std::isnan(s.mean(measure)); });
}

std::string table_of_means(Verdict const& v, bool perplexity) {
  std::string head = "<th>variant</th><th>rate</th><th>parameters</th>", rows;
  for (MeasureRow const& m : measures())
    if (anyone_has(v, m.name))
      head += fmt::format(R"(<th title="{}">{}</th>{})", html_text(m.summary), html_text(m.name),
                          perplexity && m.name == "loss" ? "<th>exp loss</th>" : "");
  for (size_t i = 0; i < v.standings.size(); ++i) {
    Standing const& s = v.standings[i];
    rows += fmt::format(R"(<tr><td class="name">{}{}</td>)", key(i), html_text(s.variant.title()));
    if (s.runs.empty()) {
      rows += fmt::format("<td>{}</td></tr>", html_text(s.missing.empty() ? "diverged" : s.missing));
      continue;
    }
    rows += fmt::format("<td>{:g}</td><td>{}<br><small>hidden {}</small></td>", s.learning_rate, s.runs[0].parameters,
                        s.runs[0].hidden);
    for (MeasureRow const& m : measures()) {
      if (!anyone_has(v, m.name)) continue;
      double const deviation = s.deviation(m.name);
      rows +=
          fmt::format("<td>{}{}</td>", value_text(m, s.mean(m.name)),
                      std::isnan(deviation) ? "" : fmt::format("<br><small>± {}</small>", value_text(m, deviation)));
      if (perplexity && m.name == "loss") rows += fmt::format("<td>{:.3g}</td>", std::exp(s.mean("loss")));
    }
    rows += "</tr>";
  }
  return fmt::format(R"(<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>)", head,
                     rows);
}

/// A difference with its interval on a line around zero, `reach` to each side.
std::string interval(Comparison const& c, double reach) {
  auto const x = [&](double value) { return 85 + 80 * std::clamp(value / reach, -1.0, 1.0); };
  double const d = c.difference.mean, h = c.half_width();
  return fmt::format(
      R"(<svg class="interval" viewBox="0 0 170 18" role="img" aria-label="interval"><line class="zero" x1="85" x2="85" y1="0" y2="18"/><line x1="{:.1f}" x2="{:.1f}" y1="9" y2="9"/><circle cx="{:.1f}" cy="9" r="4"/></svg>)",
      x(d - h), x(d + h), x(d));
}

std::string table_of_differences(Verdict const& v) {
  if (v.comparisons.empty()) return "<p>There is nothing to compare yet.</p>";
  std::string rows;
  for (MeasureRow const& m : measures()) {
    // What is not more than chance may have very wide intervals: they are cut at three times the largest difference.
    double reach = 0, widest = 0;
    for (Comparison const& c : v.comparisons)
      if (c.measure == &m) {
        double const d = std::abs(c.difference.mean);
        reach = std::max(reach, d);
        if (std::isfinite(c.half_width())) widest = std::max(widest, d + c.half_width());
      }
    reach = std::max(std::min(widest, 3 * reach), 1e-12);
    for (Comparison const& c : v.comparisons) {
      if (c.measure != &m) continue;
      std::string const kind = !c.decision.rejected ? "" : c.helps() ? "good" : "bad";
      rows += fmt::format(
          R"(<tr class="{}"><td class="name" title="{}">{}</td><td class="name">{}</td><td>{}</td><td>{}</td><td>{}<br><small>{} to {}</small></td><td>{}</td><td>{:.2g}</td><td class="says">{}</td></tr>)",
          kind, html_text(m.summary), html_text(m.name), html_text(v.standings[c.variant].variant.title()),
          value_text(m, c.baseline), value_text(m, c.mean), difference_text(m, c.difference.mean),
          difference_text(m, c.difference.mean - c.half_width()),
          difference_text(m, c.difference.mean + c.half_width()), interval(c, reach), c.decision.adjusted,
          kind.empty() ? ""
          : c.helps()  ? "helps"
                       : "harms");
    }
  }
  return fmt::format(
      R"(<div class="wide"><table><thead><tr><th>measure</th><th class="name">variant</th><th>baseline</th><th>mean</th><th>difference</th><th>interval</th><th>p, corrected</th><th></th></tr></thead><tbody>{}</tbody></table></div>)",
      rows);
}

/// Means over runs with the band from the lowest to the highest; `points` gives a run's {x, y}.
template <class Points>
std::string mean_chart(Verdict const& v, ChartOptions const& options, Points points) {
  std::vector<Line> lines;
  for (Standing const& s : v.standings) {
    Line line{s.variant.title(), {}, {}};
    std::vector<std::vector<std::array<double, 2>>> runs;
    for (Outcome const& run : s.runs) runs.push_back(points(run));
    for (size_t i = 0; !runs.empty() && i < runs[0].size(); ++i) {
      double sum = 0, low = INFINITY, high = -INFINITY, n = 0;
      for (auto const& run : runs)
        if (i < run.size()) sum += run[i][1], low = std::min(low, run[i][1]), high = std::max(high, run[i][1]), n += 1;
      line.points.push_back({runs[0][i][0], sum / n});
      if (runs.size() > 1) line.band.push_back({runs[0][i][0], low, high});
    }
    lines.push_back(std::move(line));
  }
  return chart(lines, options);
}

std::string curves(Verdict const& v, bool text) {
  std::string html =
      "<h2>Loss by step</h2><p>Held-out examples; the band reaches from the lowest to the highest seed.</p>";
  html += mean_chart(v, {.label = "Held-out loss by step", .x = "step", .y = "loss"}, [](Outcome const& o) {
    std::vector<std::array<double, 2>> list;
    for (auto const& [step, seconds, loss] : o.validation) list.push_back({step, loss});
    return list;
  });
  html += "<details><summary>Training loss</summary>";
  html += mean_chart(v, {.label = "Training loss by step", .x = "step", .y = "loss"}, [](Outcome const& o) {
    std::vector<std::array<double, 2>> list;
    for (auto const& [step, loss] : o.training) list.push_back({step, loss});
    return list;
  });
  html += "</details>";
  html += text
              ? "<h2>Loss by context</h2><p>Loss by how many tokens of the window are seen, in bins "
                "that double: what is gained from far context.</p>"
              : "<h2>Recall by distance</h2><p>Share of right answers by how many positions back what the answer needs "
                "lies, in bins that double.</p>";
  html += mean_chart(v,
                     {.label = text ? "Loss by context" : "Recall by distance",
                      .x = text ? "tokens seen" : "distance, positions",
                      .y = text ? "loss" : "right",
                      .log_x = true},
                     [&](Outcome const& o) {
                       std::vector<std::array<double, 2>> list;
                       for (auto const& [distance, loss, right] : o.by_distance)
                         list.push_back({std::max(distance, 1.0), text ? loss : right});
                       return list;
                     });
  return html;
}

/// Means over runs of one measure by layer and head: one row a variant.
std::string head_tables(Verdict const& v) {
  std::string html, more;  // what has a better side, and the rest folded away
  for (MeasureRow const& m : measures()) {
    std::string const name(m.name);
    size_t layers = 0, heads = 0;
    double largest = 0;
    std::vector<std::vector<std::vector<double>>> means(v.standings.size());
    for (size_t i = 0; i < v.standings.size(); ++i) {
      for (Outcome const& run : v.standings[i].runs) {
        auto const found = run.by_head.find(name);
        if (found == run.by_head.end()) continue;
        if (means[i].empty())
          means[i] = found->second, std::fill(means[i].begin(), means[i].end(), std::vector<double>());
        for (size_t l = 0; l < found->second.size() && l < means[i].size(); ++l) {
          means[i][l].resize(std::max(means[i][l].size(), found->second[l].size()));
          for (size_t h = 0; h < found->second[l].size(); ++h)
            means[i][l][h] += found->second[l][h] / double(v.standings[i].runs.size());
        }
      }
      layers = std::max(layers, means[i].size());
      for (auto const& layer : means[i]) {
        heads = std::max(heads, layer.size());
        for (double value : layer)
          if (!std::isnan(value)) largest = std::max(largest, std::abs(value));
      }
    }
    if (layers == 0) continue;
    std::string head = "<th>variant</th>", rows;
    for (size_t l = 0; l < layers; ++l)
      for (size_t h = 0; h < heads; ++h)
        head += heads > 1 ? fmt::format("<th>{}.{}</th>", l, h) : fmt::format("<th>{}</th>", l);
    for (size_t i = 0; i < v.standings.size(); ++i) {
      rows += fmt::format(R"(<tr><td class="name">{}</td>)", html_text(v.standings[i].variant.title()));
      for (size_t l = 0; l < layers; ++l)
        for (size_t h = 0; h < heads; ++h)
          rows += l < means[i].size() && h < means[i][l].size()
                      ? fmt::format(R"(<td><span class="bar" style="--share:{:.0f}%">{}</span></td>)",
                                    100 * std::abs(means[i][l][h]) / std::max(largest, 1e-12),
                                    value_text(m, means[i][l][h]))
                      : std::string("<td>–</td>");
      rows += "</tr>";
    }
    (m.better == MeasureRow::neither ? more : html) += fmt::format(
        R"(<h3>{}: {}</h3><div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>)",
        html_text(m.name), html_text(m.summary), head, rows);
  }
  if (html.empty()) return "";
  html += fmt::format("<details><summary>More measures</summary>{}</details>", more);
  return "<h2>What each head depends on</h2><p>By layer.head, means over seeds. Of a recurrence (linear attention, a "
         "state space) the map is how its output changes with its values, ∂o_i/∂v_j, and the figures are of the shares "
         "|A|/Σ|A|. Variants with neither have no row of figures.</p>" +
         html;
}

std::string map_grid(Verdict const& v) {
  size_t layers = 0;
  std::vector<Outcome const*> with(v.standings.size());
  for (size_t i = 0; i < v.standings.size(); ++i)
    for (Outcome const& run : v.standings[i].runs)
      if (!run.maps.empty()) {
        with[i] = &run;
        layers = std::max(layers, run.maps.size());
        break;
      }
  if (layers == 0) return "";
  std::string html =
      "<h2>Attention maps side by side</h2><p>One held-out example, first seed: queries from top to bottom, keys from "
      "left to "
      "right. The colour is the square root of the weight.</p>" +
      colour_scale();
  for (size_t l = 0; l < layers; ++l) {
    size_t heads = 0;
    for (Outcome const* run : with)
      if (run && l < run->maps.size()) heads = std::max(heads, run->maps[l].size());
    for (size_t h = 0; h < heads; ++h) {
      html += fmt::format(R"(<h3>Layer {}, head {}</h3><div class="maps">)", l, h);
      for (size_t i = 0; i < with.size(); ++i) {
        if (!with[i] || l >= with[i]->maps.size() || h >= with[i]->maps[l].size()) continue;
        Outcome::Map const& map = with[i]->maps[l][h];
        std::string const pixels = from_base64(map.pixels);
        if (map.rows < 1 || map.columns < 1 || pixels.size() != size_t(map.rows * map.columns)) continue;
        std::string const title = html_text(v.standings[i].variant.title());
        html +=
            fmt::format(R"(<figure><img alt="Layer {} head {} of {}" src="{}"><figcaption>{}</figcaption></figure>)", l,
                        h, title, picture(pixels, map.rows, map.columns), title);
      }
      html += "</div>";
    }
  }
  return html;
}

std::string legend_of_measures(Verdict const& v) {
  std::string rows;
  for (MeasureRow const& m : measures())
    if (anyone_has(v, m.name))
      rows += fmt::format(
          R"(<tr><td class="name">{}</td><td class="name">{}</td><td class="name">{}</td><td class="name">{}</td></tr>)",
          html_text(m.name), html_text(m.summary),
          m.better == MeasureRow::lower    ? "lower"
          : m.better == MeasureRow::higher ? "higher"
                                           : "",
          html_text(m.source));
  return fmt::format(
      R"(<div class="wide"><table><thead><tr><th>measure</th><th class="name">what it is</th><th class="name">better</th><th class="name">source</th></tr></thead><tbody>{}</tbody></table></div>)",
      rows);
}

std::string all_runs(std::vector<Outcome> const& outcomes) {
  std::string rows;
  for (Outcome const& o : outcomes) {
    auto const loss = o.values.find("loss");
    rows += fmt::format(R"(<tr><td class="name">{}</td><td>{}</td><td>{:g}</td><td>{}</td></tr>)",
                        html_text(o.trial.variant.title()), o.trial.seed, o.trial.learning_rate,
                        o.diverged || loss == o.values.end() ? "diverged" : fmt::format("{:.5g}", loss->second));
  }
  return fmt::format(
      R"(<details><summary>All {} runs</summary><div class="wide"><table><thead><tr><th>variant</th><th>seed</th><th>rate</th><th>loss</th></tr></thead><tbody>{}</tbody></table></div></details>)",
      outcomes.size(), rows);
}

}  // namespace

void write_comparison(std::string const& path, nlohmann::json const& head, std::vector<Outcome> const& outcomes,
                      JudgeOptions const& o, Verdict const& v) {
  bool const text = head["text"].get<bool>(), real = head["real"].get<bool>();
  std::string const method = fmt::format(
      "Each difference is a mean over pairs of runs that share the seed, hence the data and their order. Its interval "
      "is "
      "Student's with one degree of freedom less than there are pairs. {} comparisons are decided together by Holm's "
      "rule, "
      "which bounds the chance of even one false finding at 5 %: each interval stands at the level at which the rule "
      "tested "
      "it, and leaves zero out exactly where the rule finds a difference. What helps on this {}, at this size and "
      "budget, may "
      "not elsewhere.",
      v.comparisons.size(), text ? "text" : "task");
  std::string body = facts(head, o);
  body += "<h2>Verdict</h2>" + sentences(v);
  body += "<h2>Every variant</h2><p>Means over seeds at the best learning rate, with standard deviations.</p>" +
          table_of_means(v, !real);
  body += fmt::format("<h2>Differences from {}</h2><p>{}</p>", html_text(o.variants[0].title()), html_text(method)) +
          table_of_differences(v);
  body += curves(v, text) + head_tables(v) + map_grid(v);
  body += fmt::format("<h2>The measures</h2><p>The target of steps-to-target is a loss of {:.4g}.</p>", v.target) +
          legend_of_measures(v);
  body += "<h2>The runs</h2>" + all_runs(outcomes);
  heed::write_file_atomically(path, page("What cures what: " + head["title"].get<std::string>(), body));
}

}  // namespace lab
