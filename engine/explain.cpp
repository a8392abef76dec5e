#include <fmt/format.h>
#include <heed/engine/explain.h>
#include <heed/engine/graph.h>
#include <heed/engine/io/json.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <unordered_set>

namespace heed {
namespace {

std::string describe(TensorBody const& body) { return fmt::format("{} {}", name(body.dtype), to_string(body.shape)); }

std::string leaf_name(Ref<TensorBody> const& leaf) {
  std::string_view const label = Tensor(leaf).label();
  return label.empty() ? fmt::format("leaf {}", describe(*leaf)) : std::string(label);
}

/// Operations within operations, the first ones in full: recursion ends at `depth`.
class Expression {
 public:
  explicit Expression(ExplainOptions options)
      : depth_(std::clamp(options.depth, 0, 100)), terms_(std::max(options.terms, 0)) {}

  std::string of(Tensor const& tensor) {
    Edge const edge(tensor);
    if (edge) return of(edge, 0);
    std::string_view const label = tensor.label();
    return label.empty() ? "data" : std::string(label);
  }

 private:
  std::string of(Edge const& edge, int level) {
    if (edge.leaf) return leaf_name(edge.leaf);
    if (!edge) return "data";  // nothing that is differentiated
    Node const& node = *edge.node;
    std::string text = node.op();
    if (level >= depth_ || terms_ <= 0) {
      text += "(…)";
    } else {
      --terms_;
      text += '(';
      for (int i = 0; i < node.input_count(); ++i) {
        if (i) text += ", ";
        if (i == most_inputs && node.input_count() > most_inputs + 1) {
          text += fmt::format("… {} more", node.input_count() - i);
          break;
        }
        text += node.released() ? "freed" : of(node.input(i), level + 1);
      }
      text += ')';
    }
    return node.output_count() > 1 ? fmt::format("{}[{}]", text, edge.slot) : text;
  }

  static constexpr int most_inputs = 8;
  int depth_, terms_;
};

/// Storages, each counted once.
struct Bytes {
  std::unordered_set<Storage const*> seen;
  size_t sum = 0;
  bool add(Storage const& storage) {
    bool const fresh = seen.insert(&storage).second;
    if (fresh) sum += storage.bytes();
    return fresh;
  }
};

struct Facts {
  std::string expression;
  Node const* node = nullptr;
  std::vector<Tensor> kept;                // by the node
  size_t node_bytes = 0, graph_bytes = 0;  // kept by the node, and by it and all below
  size_t variable_bytes = 0;               // of graph_bytes: variables, which are alive anyway
  size_t operations = 0;                   // in the graph, the node included
  std::vector<std::string> sharing;        // who else has the storage, as far as the graph tells
  uint32_t handles = 0;                    // of the storage: views and saved values
};

Facts gather(Tensor const& tensor, ExplainOptions options) {
  Facts f;
  f.expression = Expression(options).of(tensor);
  f.handles = tensor.body()->storage->use_count();
  f.node = tensor.body()->node.get();
  Storage const* const own = &tensor.storage();
  constexpr size_t most_sharers = 10;
  auto shares = [&](std::string text) {
    bool const known = std::find(f.sharing.begin(), f.sharing.end(), text) != f.sharing.end();
    if (!known && f.sharing.size() < most_sharers) f.sharing.push_back(std::move(text));
  };
  std::unordered_set<Storage const*> variables;
  Bytes graph;
  auto const operations = operations_below(tensor);
  f.operations = operations.size();
  for (Node const* node : operations)
    for (int i = 0; i < node->input_count(); ++i)
      if (auto const& leaf = node->input(i).leaf) {
        variables.insert(leaf->storage.get());
        if (leaf->storage.get() == own && leaf.get() != tensor.body()) shares("variable " + leaf_name(leaf));
      }
  for (Node const* node : operations) {
    auto kept = node->kept();
    for (Tensor const& t : kept) {
      if (&t.storage() == own) shares(fmt::format("saved by {}", node->op()));
      if (graph.add(t.storage()) && variables.contains(&t.storage())) f.variable_bytes += t.storage().bytes();
    }
    if (node == f.node) f.kept = std::move(kept);
  }
  f.graph_bytes = graph.sum;
  Bytes own_kept;
  for (Tensor const& t : f.kept) own_kept.add(t.storage());
  f.node_bytes = own_kept.sum;
  return f;
}

std::string bytes_text(size_t bytes) {
  return bytes < 10'000 ? fmt::format("{} bytes", bytes)
                        : fmt::format("{} bytes ({:.1f} MB)", bytes, 1e-6 * double(bytes));
}

std::string join(std::vector<std::string> const& parts) {
  std::string text;
  for (auto const& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

}  // namespace

std::string explain(Tensor const& tensor, ExplainOptions options) {
  if (!tensor.defined()) return "undefined\n";
  Facts const f = gather(tensor, options);
  TensorBody const& body = *tensor.body();
  Storage const& storage = tensor.storage();
  std::string text;
  auto line = [&](char const* what, std::string const& fact) { text += fmt::format("{:<12}{}\n", what, fact); };
  line("expression", f.expression);
  if (!tensor.label().empty()) line("label", std::string(tensor.label()));
  line("tensor", fmt::format("{}, {} elements", describe(body), tensor.numel()));
  line("layout", fmt::format("strides {}, {}, from element {}", to_string(body.strides),
                             body.contiguous ? "contiguous" : "not contiguous", body.offset));
  line("storage",
       fmt::format("{} at {}, version {}, {}", bytes_text(storage.bytes()), static_cast<void const*>(storage.data()),
                   storage.version(), f.handles == 1 ? "not shared" : fmt::format("shared by {} tensors", f.handles)));
  std::vector<std::string> view;
  if (body.is_view) view.push_back("a view");
  if (!f.sharing.empty()) view.push_back("the same storage: " + join(f.sharing));
  if (!view.empty()) line("", join(view));
  if (f.node)
    line("made by",
         f.node->path().empty() ? std::string(f.node->op()) : fmt::format("{} in {}", f.node->op(), f.node->path()));
  line("gradient", f.node ? fmt::format("on the tape, {} operation{}", f.operations, f.operations == 1 ? "" : "s")
                   : body.requires_grad ? "a variable: backward() accumulates its gradient"
                                        : "none: nothing it came from requires one");
  if (f.node) {
    std::vector<std::string> kept;
    for (Tensor const& t : f.kept) kept.push_back(describe(*t.body()));
    line("kept", f.node->released() ? "nothing: an earlier backward freed it"
                 : kept.empty()     ? fmt::format("nothing by {}", f.node->op())
                                    : fmt::format("{} by {}: {}", bytes_text(f.node_bytes), f.node->op(), join(kept)));
    line("", fmt::format("{} by the whole graph, {} of them variables", bytes_text(f.graph_bytes), f.variable_bytes));
  }
  return text;
}

std::string explain_json(Tensor const& tensor, ExplainOptions options) {
  JsonWriter json;
  json.object().field("defined", tensor.defined());
  if (!tensor.defined()) return json.end().text();
  Facts const f = gather(tensor, options);
  TensorBody const& body = *tensor.body();
  Storage const& storage = tensor.storage();
  json.field("expression", f.expression).field("label", tensor.label()).field("dtype", name(body.dtype));
  json.list("shape", body.shape).list("strides", body.strides).field("offset", body.offset);
  json.field("contiguous", body.contiguous).field("view", body.is_view);
  json.key("storage").object().field("address", fmt::format("{}", static_cast<void const*>(storage.data())));
  json.field("bytes", storage.bytes()).field("version", storage.version()).field("tensors", f.handles);
  json.list("shared_with", f.sharing).end();
  json.field("requires_grad", tensor.requires_grad()).field("leaf", tensor.is_leaf());
  json.field("op", f.node ? f.node->op() : "").field("module", f.node ? f.node->path() : "");
  json.field("operations", f.operations).key("kept").object();
  json.field("node_bytes", f.node_bytes).field("graph_bytes", f.graph_bytes).field("variable_bytes", f.variable_bytes);
  json.field("released", f.node && f.node->released()).key("tensors").array();
  for (Tensor const& t : f.kept)
    json.object().field("dtype", name(t.dtype())).list("shape", t.shape()).field("bytes", t.storage().bytes()).end();
  return json.end().end().end().text();
}

}  // namespace heed
