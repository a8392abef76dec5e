#include <fmt/format.h>
#include <heed/engine/graph.h>
#include <heed/engine/io/html.h>
#include <heed/engine/io/json.h>

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>
#include <unordered_set>

namespace heed {

extern char const* const graph_page_style;
extern char const* const graph_page_script;

std::vector<Node const*> operations_below(Tensor const& tensor) {
  struct Frame {
    Node const* node;
    int next;
  };
  std::vector<Node const*> order;
  if (!tensor.defined() || !tensor.body()->node) return order;
  std::vector<Frame> stack{{tensor.body()->node.get(), 0}};
  std::unordered_set<Node const*> seen{stack[0].node};
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next == node->input_count()) {
      order.push_back(node);
      stack.pop_back();
      continue;
    }
    Node const* const below = node->input(next++).node.get();
    if (below && seen.insert(below).second) stack.push_back({below, 0});
  }
  return order;
}

namespace {

/// The graph as boxes and arrows between them, both numbered from the inputs on.
struct Picture {
  struct Box {
    std::string name;
    std::string_view path;
    bool variable = false, result = false;
    std::string shape;         // of a variable, or of the result
    std::vector<Tensor> kept;  // for backward
  };
  struct Arrow {
    size_t from, to;
    int slot, input;
    std::string shape;
  };
  std::vector<Box> boxes;
  std::vector<Arrow> arrows;
  size_t left_out = 0;  // operations
};

/// The operations nearest to the tensor, in the order of operations_below().
std::vector<Node const*> nearest(Tensor const& tensor, std::vector<Node const*> const& all, size_t most) {
  if (all.size() <= most) return all;
  std::unordered_set<Node const*> chosen;
  std::deque<Node const*> queue{tensor.body()->node.get()};
  while (!queue.empty() && chosen.size() < most) {
    Node const* const node = queue.front();
    queue.pop_front();
    if (!chosen.insert(node).second) continue;
    for (int i = 0; i < node->input_count(); ++i)
      if (Node const* const below = node->input(i).node.get()) queue.push_back(below);
  }
  std::vector<Node const*> list;
  for (Node const* node : all)
    if (chosen.contains(node)) list.push_back(node);
  return list;
}

std::string form(Dtype dtype, Shape const& shape) { return fmt::format("{} {}", name(dtype), to_string(shape)); }

Picture picture(Tensor const& tensor, GraphOptions const& options) {
  Picture p;
  auto const all = operations_below(tensor);
  auto const shown = nearest(tensor, all, size_t(std::max<int64_t>(options.most_operations, 1)));
  p.left_out = all.size() - shown.size();
  std::unordered_map<void const*, size_t> box_of;
  auto variable = [&](Ref<TensorBody> const& body) {
    auto const [entry, fresh] = box_of.try_emplace(body.get(), p.boxes.size());
    if (fresh) {
      std::string_view const label = Tensor(body).label();
      p.boxes.push_back({.name = label.empty() ? "variable" : std::string(label),
                         .path = {},
                         .variable = true,
                         .shape = form(body->dtype, body->shape),
                         .kept = {}});
    }
    return entry->second;
  };
  for (Node const* node : shown) {
    std::vector<Picture::Arrow> arrows;
    for (int i = 0; i < node->input_count(); ++i) {
      Edge const& edge = node->input(i);
      if (!edge) continue;
      if (edge.leaf)
        arrows.push_back({variable(edge.leaf), 0, 0, i, to_string(edge.shape)});
      else if (auto const from = box_of.find(edge.node.get()); from != box_of.end())
        arrows.push_back({from->second, 0, edge.slot, i, to_string(edge.shape)});
    }
    size_t const box = p.boxes.size();
    box_of[node] = box;
    p.boxes.push_back({.name = node->op(), .path = node->path(), .shape = {}, .kept = node->kept()});
    for (auto& arrow : arrows) {
      arrow.to = box;
      p.arrows.push_back(std::move(arrow));
    }
  }
  if (!tensor.defined()) return p;
  if (shown.empty()) variable(tensor.body_ref());
  p.boxes.back().result = true;
  p.boxes.back().shape = form(tensor.dtype(), tensor.shape());
  return p;
}

std::string left_out_note(size_t count) {
  return fmt::format("{} operation{} further from the result {} not shown", count, count == 1 ? "" : "s",
                     count == 1 ? "is" : "are");
}

/// Text between double quotes in DOT.
std::string dot_text(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

/// Boxes inside clusters, one for each module path that holds an operation.
class Clusters {
 public:
  explicit Clusters(Picture const& p) : picture_(p) {
    for (size_t i = 0; i < p.boxes.size(); ++i)
      if (!p.boxes[i].variable) boxes_[std::string(p.boxes[i].path)].push_back(i);
    for (auto const& [path, list] : boxes_) children_[parent(path)].push_back(path);
  }

  std::string text() { return inside("", 1); }

 private:
  /// The longest path with operations that `path` lies in; "" is the root.
  std::string parent(std::string path) const {
    while (!path.empty()) {
      path.resize(path.find('.') == path.npos ? 0 : path.rfind('.'));
      if (boxes_.contains(path)) break;
    }
    return path;
  }

  std::string inside(std::string const& path, int depth) {
    std::string const indent(size_t(2 * std::min(depth, 20)), ' ');
    std::string text;
    if (auto const own = boxes_.find(path); own != boxes_.end())
      for (size_t i : own->second) {
        auto const& b = picture_.boxes[i];
        text += fmt::format("{}n{} [label=\"{}{}{}\"{}];\n", indent, i, dot_text(b.name), b.shape.empty() ? "" : "\\n",
                            dot_text(b.shape), b.result ? ", penwidth=2" : "");
      }
    for (std::string const& child : children_[path]) {
      if (child.empty()) continue;
      text += fmt::format("{}subgraph cluster_{} {{\n{}  label=\"{}\";\n{}{}}}\n", indent, clusters_++, indent,
                          dot_text(child), inside(child, depth + 1), indent);
    }
    return text;
  }

  Picture const& picture_;
  std::map<std::string, std::vector<size_t>> boxes_;
  std::map<std::string, std::vector<std::string>> children_;
  int clusters_ = 0;
};

}  // namespace

std::string graph_dot(Tensor const& tensor, GraphOptions const& options) {
  Picture const p = picture(tensor, options);
  std::string text =
      "digraph heed {\n  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, "
      "fontname=\"sans-serif\", "
      "fontsize=11];\n  edge [fontname=\"sans-serif\", fontsize=9];\n";
  if (p.left_out)
    text += fmt::format("  note [shape=plaintext, style=\"\", label=\"{}\"];\n", left_out_note(p.left_out));
  for (size_t i = 0; i < p.boxes.size(); ++i)
    if (auto const& b = p.boxes[i]; b.variable)
      text += fmt::format("  n{} [shape=ellipse, fillcolor=\"#dbe7f5\", label=\"{}\\n{}\"];\n", i, dot_text(b.name),
                          dot_text(b.shape));
  text += Clusters(p).text();
  for (auto const& a : p.arrows) text += fmt::format("  n{} -> n{} [label=\"{}\"];\n", a.from, a.to, a.shape);
  return text + "}\n";
}

std::string graph_html(Tensor const& tensor, GraphOptions const& options) {
  Picture const p = picture(tensor, options);
  JsonWriter json;
  json.object().field("note", p.left_out ? left_out_note(p.left_out) : "").key("boxes").array();
  std::unordered_map<Storage const*, size_t> storages;  // numbered, so that equal graphs give equal pages
  for (auto const& b : p.boxes) {
    json.object().field("name", b.name).field("path", b.path).field("shape", b.shape);
    json.field("variable", b.variable).field("result", b.result).key("keeps").array();
    for (Tensor const& t : b.kept) {
      size_t const storage = storages.try_emplace(&t.storage(), storages.size()).first->second;
      json.object().field("storage", storage).field("bytes", t.storage().bytes());
      json.field("shape", form(t.dtype(), t.shape())).end();
    }
    json.end().end();
  }
  json.end().key("arrows").array();
  for (auto const& a : p.arrows)
    json.object().field("from", a.from).field("to", a.to).field("slot", a.slot).field("shape", a.shape).end();
  json.end().end();
  return fmt::format(
      R"(<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{0}</title><style>{1}</style></head><body>
<header><h1>{0}</h1><p id="summary"></p><p><button id="unfold">unfold all</button> <button id="fold">fold all</button></p></header>
<main><div id="canvas"><noscript>This page draws the graph with a script, and scripts are off.</noscript></div><aside id="details">Point at a box to see what it knows; click a module to fold or unfold it.</aside></main>
<script>const graph={2};
{3}</script></body></html>
)",
      html_text(options.title), graph_page_style, json.text(), graph_page_script);
}

}  // namespace heed
