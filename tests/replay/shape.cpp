// Views, copies, joining and splitting, indexing.
#include "replay.h"

namespace heed::replay {
namespace {

Outputs squeezed(Case const& c) {
  Tensor x = c(0);
  std::vector<bool> drop(size_t(x.rank()), !c.has("dim"));
  if (c.has("dim"))
    for (int64_t const axis : c.dims("dim"))
      if (x.rank() > 0) drop[size_t(normalize_axis("squeeze", int(axis), x.rank()))] = true;
  for (int axis = x.rank() - 1; axis >= 0; --axis)
    if (drop[size_t(axis)] && x.size(axis) == 1) x = x.squeeze(axis);
  return x;
}

Outputs permuted_axes(Case const& c) { return c(0).permute(c.dims("dims")); }

Outputs moved(Case const& c) {
  Tensor const x = c(0);
  Dims const from = c.dims("source"), to = c.dims("destination");
  std::vector<int> order(size_t(x.rank()), -1), rest;
  for (int axis = 0; axis < x.rank(); ++axis) rest.push_back(axis);
  for (int i = 0; i < from.rank() && i < to.rank(); ++i) {
    int const source = normalize_axis("movedim", int(from[i]), x.rank());
    order[size_t(normalize_axis("movedim", int(to[i]), x.rank()))] = source;
    std::erase(rest, source);
  }
  Dims axes;
  for (size_t i = 0, next = 0; i < order.size(); ++i) axes.push_back(order[i] >= 0 ? order[i] : rest[next++]);
  return x.permute(axes);
}

Outputs flattened(Case const& c) {
  if (c(0).rank() == 0) return c(0).reshape({1});
  return c(0).flatten(c.axis("start_dim", 0), c.axis("end_dim", -1));
}

/// Pieces of the sizes given, along an axis.
std::vector<Tensor> pieces(Tensor const& x, std::vector<int64_t> const& sizes, int axis) {
  std::vector<Tensor> found;
  int64_t at = 0;
  for (int64_t const size : sizes) {
    found.push_back(x.slice(axis, at, at + size));
    at += size;
  }
  return found;
}

Outputs split_up(Case const& c) {
  constexpr auto sizes = "split_size_or_sections|split_size|split_sizes";
  if (c.is_list(sizes)) return pieces(c(0), c.integers(sizes), c.axis("dim", 0));
  return split(c(0), c.integer(sizes), c.axis("dim", 0));
}

Outputs chunks(Case const& c) {
  int const axis = c.axis("dim", 0);
  int64_t const size = c(0).size(axis), count = c.integer("chunks");
  if (size == 0) return std::vector<Tensor>(size_t(count), c(0));
  return split(c(0), (size + count - 1) / count, axis);
}

Outputs unbound(Case const& c) {
  int const axis = c.axis("dim", 0);
  std::vector<Tensor> found;
  for (int64_t i = 0; i < c(0).size(axis); ++i) found.push_back(c(0).select(axis, i));
  return found;
}

/// PyTorch keeps sizes of −1 when it expands.
Shape expanded(Tensor const& x, Dims shape) {
  for (int i = 0; i < shape.rank(); ++i)
    if (int const own = i - shape.rank() + x.rank(); shape[i] == -1 && own >= 0) shape[i] = x.size(own);
  return shape;
}

Outputs broadcast_all(Case const& c) {
  auto tensors = c.all();
  Shape shape;
  for (Tensor const& x : tensors) shape = broadcast("broadcast_tensors", shape, x.shape());
  for (Tensor& x : tensors) x = x.expand(shape);
  return tensors;
}

Outputs transposed(Case const& c) { return c(0).rank() < 2 ? c(0) : c(0).transpose(0, 1); }

Outputs all_transposed(Case const& c) {
  Dims axes;
  for (int axis = c(0).rank() - 1; axis >= 0; --axis) axes.push_back(axis);
  return c(0).permute(axes);
}

constexpr Row rows[] = {
    {"H", all_transposed},
    {"T", all_transposed},
    {"bool", [](Case const& c) -> Outputs { return c(0).to(Dtype::boolean); }},
    {"broadcast_tensors", broadcast_all},
    {"broadcast_to", [](Case const& c) -> Outputs { return c(0).expand(expanded(c(0), c.dims("size|shape"))); }},
    {"byte", [](Case const& c) -> Outputs { return c(0).to(Dtype::u8); }},
    {"cat", [](Case const& c) -> Outputs { return cat(c.all(), c.axis("dim|axis", 0)); }},
    {"chunk", chunks},
    {"clone", [](Case const& c) -> Outputs { return c(0).clone(); }},
    {"contiguous", [](Case const& c) -> Outputs { return c(0).contiguous(); }},
    {"double", [](Case const& c) -> Outputs { return c(0).to(Dtype::f64); }},
    {"expand", [](Case const& c) -> Outputs { return c(0).expand(expanded(c(0), c.dims("size"))); }},
    {"expand_as", [](Case const& c) -> Outputs { return c(0).expand(c(1, "other").shape()); }},
    {"flatten", flattened},
    {"float", [](Case const& c) -> Outputs { return c(0).to(Dtype::f32); }},
    {"int", [](Case const& c) -> Outputs { return c(0).to(Dtype::i32); }},
    {"long", [](Case const& c) -> Outputs { return c(0).to(Dtype::i64); }},
    {"mH", [](Case const& c) -> Outputs { return c(0).t(); }},
    {"mT", [](Case const& c) -> Outputs { return c(0).t(); }},
    {"movedim", moved},
    {"narrow",
     [](Case const& c) -> Outputs {
       int64_t const size = c(0).size(c.axis("dim")), start = c.integer("start");
       int64_t const from = start < 0 ? start + size : start;
       return c(0).slice(c.axis("dim"), from, from + c.integer("length"));
     }},
    {"permute", permuted_axes},
    {"ravel", [](Case const& c) -> Outputs { return c(0).reshape({-1}); }},
    {"reshape", [](Case const& c) -> Outputs { return c(0).reshape(c.dims("shape|size")); }},
    {"reshape_as", [](Case const& c) -> Outputs { return c(0).reshape(c(1, "other").shape()); }},
    {"select", [](Case const& c) -> Outputs { return c(0).select(c.axis("dim"), c.integer("index")); }},
    {"slice",
     [](Case const& c) -> Outputs {
       int const axis = c.axis("dim", 0);
       return c(0).slice(axis, c.integer("start", 0), c.integer("end", c(0).size(axis)), c.integer("step", 1));
     }},
    {"split", split_up},
    {"squeeze", squeezed},
    {"stack", [](Case const& c) -> Outputs { return stack(c.all(), c.axis("dim", 0)); }},
    {"t", transposed},
    {"to",
     [](Case const& c) -> Outputs {
       Tensor const other = c.maybe(1, "other");
       return c(0).to(other.defined() ? other.dtype() : c.dtype("dtype", c(0).dtype()));
     }},
    {"transpose",
     [](Case const& c) -> Outputs {
       if (c(0).rank() == 0) return c(0);
       return c(0).transpose(c.axis("dim0|axis0"), c.axis("dim1|axis1"));
     }},
    {"tril", [](Case const& c) -> Outputs { return tril(c(0), c.integer("diagonal", 0)); }},
    {"triu", [](Case const& c) -> Outputs { return triu(c(0), c.integer("diagonal", 0)); }},
    {"unbind", unbound},
    {"unflatten",
     [](Case const& c) -> Outputs {
       int const axis = normalize_axis("unflatten", c.axis("dim"), c(0).rank());
       Dims shape;
       for (int i = 0; i < c(0).rank(); ++i) {
         if (i != axis) shape.push_back(c(0).size(i));
         if (i == axis)
           for (int64_t const size : c.dims("sizes")) shape.push_back(size);
       }
       return c(0).reshape(shape);
     }},
    {"unsqueeze", [](Case const& c) -> Outputs { return c(0).unsqueeze(c.axis("dim")); }},
    {"view_as", [](Case const& c) -> Outputs { return c(0).reshape(c(1, "other").shape()); }},
};

}  // namespace

std::span<Row const> shape_rows() { return rows; }

}  // namespace heed::replay
