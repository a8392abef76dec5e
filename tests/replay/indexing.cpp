// Reading and writing by index and by mask.
#include "replay.h"

namespace heed::replay {
namespace {

std::vector<Index> read_index(Case const& c) {
  std::vector<Index> found;
  for (auto const& item : c.index_items("index")) {
    switch (item.kind) {
      case Case::IndexItem::integer:
        found.emplace_back(*item.from);
        break;
      case Case::IndexItem::slice:
        found.emplace_back(Slice{item.from.value_or(0), item.to.value_or(Slice::end), item.step.value_or(1)});
        break;
      case Case::IndexItem::new_axis:
        found.emplace_back(none);
        break;
      case Case::IndexItem::ellipsis:
        found.emplace_back(ellipsis);
        break;
      case Case::IndexItem::tensor:
        found.emplace_back(item.values);
        break;
    }
  }
  return found;
}

std::vector<Index> index_list(Case const& c) {
  std::vector<Index> found;
  for (Tensor const& index : c.list("indices")) {
    if (index.defined())
      found.emplace_back(index);
    else
      found.emplace_back(Slice{});
  }
  return found;
}

Combine combination(Case const& c) {
  static std::map<std::string, Combine> const known = {
      {"sum", Combine::sum},   {"add", Combine::sum},   {"prod", Combine::prod}, {"multiply", Combine::prod},
      {"mean", Combine::mean}, {"amax", Combine::amax}, {"amin", Combine::amin}};
  auto const how = known.find(c.text("reduce"));
  if (how == known.end()) throw Malformed("no such reduction");
  return how->second;
}

Outputs scattered(Case const& c) {
  int const axis = c.axis("dim");
  Tensor const index = c("index"), src = c.maybe("src|value");
  if (c.has("reduce")) {
    Tensor const from = src.defined() ? src : c.operand(-1, "value", c(0)).to(c(0).dtype()).expand(index.shape());
    return scatter_reduce(c(0), axis, index, from, combination(c));
  }
  return src.defined() ? scatter(c(0), axis, index, src) : scatter(c(0), axis, index, c.real("value"));
}

Outputs chosen_along(Case const& c) {
  Tensor const index = c(1, "indices");
  return c.has("dim") ? take_along(c(0), index, c.axis("dim")) : take_along(c(0), index);
}

Outputs places(Case const& c) { return c.flag("as_tuple") ? Outputs(where(c(0))) : Outputs(nonzero(c(0))); }

// clang-format off
constexpr Row rows[] = {
    {"__getitem__", [](Case const& c) -> Outputs { return c(0).index(read_index(c)); }},
    {"argwhere", unary<argwhere>},
    {"diagonal_scatter", [](Case const& c) -> Outputs {
       return diagonal_scatter(c(0), c(1, "src"), c.integer("offset", 0), c.axis("dim1", 0), c.axis("dim2", 1));
     }},
    {"gather", [](Case const& c) -> Outputs { return gather(c(0), c.axis("dim"), c("index")); }},
    {"index_add", [](Case const& c) -> Outputs {
       return index_add(c(0), c.axis("dim"), c("index"), c("source|tensor"), c.real("alpha", 1));
     }},
    {"index_copy", [](Case const& c) -> Outputs { return index_copy(c(0), c.axis("dim"), c("index"), c("source|tensor")); }},
    {"index_fill", [](Case const& c) -> Outputs { return index_fill(c(0), c.axis("dim"), c("index"), c.operand(-1, "value", c(0))); }},
    {"index_put", [](Case const& c) -> Outputs { return index_put(c(0), index_list(c), c("values"), c.flag("accumulate")); }},
    {"index_reduce", [](Case const& c) -> Outputs {
       return index_reduce(c(0), c.axis("dim"), c("index"), c("source"), combination(c), c.flag("include_self", true));
     }},
    {"index_select", [](Case const& c) -> Outputs { return index_select(c(0), c.axis("dim"), c("index")); }},
    {"masked_scatter", [](Case const& c) -> Outputs { return masked_scatter(c(0), c(1, "mask"), c(2, "source")); }},
    {"masked_select", [](Case const& c) -> Outputs { return masked_select(c(0), c(1, "mask")); }},
    {"nonzero", places},
    {"one_hot", [](Case const& c) -> Outputs { return one_hot(c(0), c.integer("num_classes", -1)); }},
    {"put", [](Case const& c) -> Outputs { return put(c(0), c(1, "index"), c(2, "source"), c.flag("accumulate")); }},
    {"scatter", scattered},
    {"scatter_add", [](Case const& c) -> Outputs { return scatter_add(c(0), c.axis("dim"), c("index"), c("src")); }},
    {"scatter_reduce", [](Case const& c) -> Outputs {
       return scatter_reduce(c(0), c.axis("dim"), c("index"), c("src"), combination(c), c.flag("include_self", true));
     }},
    {"select_scatter", [](Case const& c) -> Outputs { return select_scatter(c(0), c(1, "src"), c.axis("dim"), c.integer("index")); }},
    {"slice_scatter", [](Case const& c) -> Outputs {
       return slice_scatter(c(0), c(1, "src"), c.axis("dim", 0), c.integer("start", 0), c.integer("end", Slice::end), c.integer("step", 1));
     }},
    {"take", [](Case const& c) -> Outputs { return take(c(0), c(1, "index")); }},
    {"take_along_dim", chosen_along},
};
// clang-format on

}  // namespace

std::span<Row const> indexing_rows() { return rows; }

}  // namespace heed::replay
