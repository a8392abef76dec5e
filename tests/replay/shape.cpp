// Views, copies, joining and splitting.
#include "replay.h"

namespace heed::replay {
namespace {

Outputs split_up(Case const& c) {
  constexpr auto sizes = "split_size_or_sections|split_size|split_sizes";
  int const axis = c.axis("dim", 0);
  return c.is_list(sizes) ? split(c(0), c.integers(sizes), axis) : split(c(0), c.integer(sizes), axis);
}

/// Into so many parts, or before these indices: f(x, int64_t) or f(x, vector).
template <class F>
Outputs split_at(Case const& c, F f) {
  constexpr auto where = "indices|sections|indices_or_sections|tensor_indices_or_sections";
  if (Tensor const places = c.maybe(1, where); places.defined()) {
    if (places.rank() == 0) return f(c(0), places.item<int64_t>());
    return f(c(0), places.to_vector<int64_t>());
  }
  if (c.is_list(where)) return f(c(0), c.integers(where));
  return f(c(0), c.integer(where));
}

/// PyTorch keeps sizes of −1 when it expands.
Shape expanded(Tensor const& x, Dims shape) {
  for (int i = 0; i < shape.rank(); ++i)
    if (int const own = i - shape.rank() + x.rank(); shape[i] == -1 && own >= 0) shape[i] = x.size(own);
  return shape;
}

template <Tensor (*f)(Tensor const&)>
Outputs each(Case const& c) {
  auto tensors = c.all();
  for (Tensor& x : tensors) x = f(x);
  return tensors;
}
template <Tensor (*f)(std::vector<Tensor> const&)>
Outputs joined(Case const& c) {
  return f(c.all());
}

Outputs transposed(Case const& c) { return c(0).rank() < 2 ? c(0) : c(0).transpose(0, 1); }

Outputs all_transposed(Case const& c) {
  Dims axes;
  for (int axis = c(0).rank() - 1; axis >= 0; --axis) axes.push_back(axis);
  return c(0).permute(axes);
}

Outputs padded(Case const& c) {
  static std::map<std::string, PadMode> const modes = {{"constant", PadMode::constant},
                                                       {"reflect", PadMode::reflect},
                                                       {"replicate", PadMode::replicate},
                                                       {"circular", PadMode::circular}};
  auto const mode = modes.find(c.text("mode", "constant"));
  if (mode == modes.end()) throw Malformed("no such padding mode");
  return pad(c(0), c.integers("pad"), mode->second, c.real("value", 0));
}

Outputs repeated(Case const& c) {
  std::optional<int> axis;
  if (c.has("dim")) axis = c.axis("dim");
  if (c.maybe(1, "repeats").defined()) return repeat_interleave(c(0), c(1, "repeats"), axis);
  if (c.has("repeats")) return repeat_interleave(c(0), c.integer("repeats"), axis);
  return repeat_interleave(c(0));
}

template <Dtype dtype>
Outputs as(Case const& c) {
  return c(0).to(dtype);
}

// clang-format off
constexpr Row rows[] = {
    {"H", all_transposed},
    {"T", all_transposed},
    {"atleast_1d", each<atleast_1d>},
    {"atleast_2d", each<atleast_2d>},
    {"atleast_3d", each<atleast_3d>},
    {"bfloat16", as<Dtype::bf16>},
    {"block_diag", joined<block_diag>},
    {"bool", as<Dtype::boolean>},
    {"broadcast_tensors", [](Case const& c) -> Outputs { return broadcast_tensors(c.all()); }},
    {"broadcast_to", [](Case const& c) -> Outputs { return broadcast_to(c(0), expanded(c(0), c.dims("size|shape"))); }},
    {"byte", as<Dtype::u8>},
    {"cartesian_prod", joined<cartesian_prod>},
    {"cat", [](Case const& c) -> Outputs { return cat(c.all(), c.axis("dim|axis", 0)); }},
    {"char", as<Dtype::i8>},
    {"chunk", [](Case const& c) -> Outputs { return chunk(c(0), c.integer("chunks"), c.axis("dim", 0)); }},
    {"clone", [](Case const& c) -> Outputs { return c(0).clone(); }},
    {"column_stack", joined<column_stack>},
    {"combinations", [](Case const& c) -> Outputs { return combinations(c(0), c.integer("r", 2), c.flag("with_replacement")); }},
    {"constant_pad_nd", padded},
    {"contiguous", [](Case const& c) -> Outputs { return c(0).contiguous(); }},
    {"diag", [](Case const& c) -> Outputs { return diag(c(0), c.integer("diagonal", 0)); }},
    {"diag_embed", [](Case const& c) -> Outputs { return diag_embed(c(0), c.integer("offset", 0), c.axis("dim1", -2), c.axis("dim2", -1)); }},
    {"diagflat", [](Case const& c) -> Outputs { return diagflat(c(0), c.integer("offset", 0)); }},
    {"diagonal", [](Case const& c) -> Outputs {
       bool const matrices = c.op.starts_with("linalg.");
       return diagonal(c(0), c.integer("offset", 0), c.axis("dim1", matrices ? -2 : 0), c.axis("dim2", matrices ? -1 : 1));
     }},
    {"double", as<Dtype::f64>},
    {"dsplit", [](Case const& c) -> Outputs { return split_at(c, [](Tensor const& x, auto const& at) { return dsplit(x, at); }); }},
    {"dstack", joined<dstack>},
    {"expand", [](Case const& c) -> Outputs { return c(0).expand(expanded(c(0), c.dims("size"))); }},
    {"expand_as", [](Case const& c) -> Outputs { return c(0).expand(c(1, "other").shape()); }},
    {"flatten", [](Case const& c) -> Outputs {
       return c(0).rank() == 0 ? c(0).reshape({1}) : c(0).flatten(c.axis("start_dim", 0), c.axis("end_dim", -1));
     }},
    {"flip", [](Case const& c) -> Outputs { return flip(c(0), c.dims("dims")); }},
    {"fliplr", unary<fliplr>},
    {"flipud", unary<flipud>},
    {"float", as<Dtype::f32>},
    {"half", as<Dtype::f16>},
    {"hsplit", [](Case const& c) -> Outputs { return split_at(c, [](Tensor const& x, auto const& at) { return hsplit(x, at); }); }},
    {"hstack", joined<hstack>},
    {"int", as<Dtype::i32>},
    {"long", as<Dtype::i64>},
    {"mH", [](Case const& c) -> Outputs { return c(0).t(); }},
    {"mT", [](Case const& c) -> Outputs { return c(0).t(); }},
    {"meshgrid", [](Case const& c) -> Outputs { return meshgrid(c.all(), c.text("indexing", "ij") == "xy" ? Indexing::xy : Indexing::ij); }},
    {"movedim", [](Case const& c) -> Outputs { return movedim(c(0), c.dims("source"), c.dims("destination")); }},
    {"narrow", [](Case const& c) -> Outputs { return narrow(c(0), c.axis("dim"), c.integer("start"), c.integer("length")); }},
    {"pad", padded},
    {"permute", [](Case const& c) -> Outputs { return c(0).permute(c.dims("dims")); }},
    {"ravel", unary<ravel>},
    {"repeat", [](Case const& c) -> Outputs { return repeat(c(0), c.dims("repeats")); }},
    {"repeat_interleave", repeated},
    {"reshape", [](Case const& c) -> Outputs { return c(0).reshape(c.dims("shape|size")); }},
    {"reshape_as", [](Case const& c) -> Outputs { return c(0).reshape(c(1, "other").shape()); }},
    {"roll", [](Case const& c) -> Outputs {
       return c.has("dims") && c.dims("dims").rank() > 0 ? roll(c(0), c.dims("shifts"), c.dims("dims")) : roll(c(0), c.integer("shifts"));
     }},
    {"rot90", [](Case const& c) -> Outputs {
       Dims const axes = c.dims("dims", {0, 1});
       return rot90(c(0), c.integer("k", 1), int(axes[0]), int(axes[1]));
     }},
    {"select", [](Case const& c) -> Outputs { return c(0).select(c.axis("dim"), c.integer("index")); }},
    {"slice", [](Case const& c) -> Outputs {
       int const axis = c.axis("dim", 0);
       return c(0).slice(axis, c.integer("start", 0), c.integer("end", Slice::end), c.integer("step", 1));
     }},
    {"short", as<Dtype::i16>},
    {"split", split_up},
    {"squeeze", [](Case const& c) -> Outputs { return c.has("dim") ? squeeze(c(0), c.dims("dim")) : squeeze(c(0)); }},
    {"stack", [](Case const& c) -> Outputs { return stack(c.all(), c.axis("dim", 0)); }},
    {"t", transposed},
    {"tensor_split", [](Case const& c) -> Outputs {
       return split_at(c, [axis = c.axis("dim", 0)](Tensor const& x, auto const& at) { return tensor_split(x, at, axis); });
     }},
    {"tile", [](Case const& c) -> Outputs { return tile(c(0), c.dims("dims|reps")); }},
    {"to", [](Case const& c) -> Outputs {
       Tensor const other = c.maybe(1, "other");
       return c(0).to(other.defined() ? other.dtype() : c.dtype("dtype", c(0).dtype()));
     }},
    {"transpose", [](Case const& c) -> Outputs { return swapaxes(c(0), c.axis("dim0|axis0"), c.axis("dim1|axis1")); }},
    {"tril", [](Case const& c) -> Outputs { return tril(c(0), c.integer("diagonal", 0)); }},
    {"triu", [](Case const& c) -> Outputs { return triu(c(0), c.integer("diagonal", 0)); }},
    {"unbind", [](Case const& c) -> Outputs { return unbind(c(0), c.axis("dim", 0)); }},
    {"unflatten", [](Case const& c) -> Outputs { return unflatten(c(0), c.axis("dim"), c.dims("sizes")); }},
    {"unfold", [](Case const& c) -> Outputs { return unfold(c(0), c.axis("dimension"), c.integer("size"), c.integer("step")); }},
    {"unsqueeze", [](Case const& c) -> Outputs { return c(0).unsqueeze(c.axis("dim")); }},
    {"view_as", [](Case const& c) -> Outputs { return c(0).reshape(c(1, "other").shape()); }},
    {"vsplit", [](Case const& c) -> Outputs { return split_at(c, [](Tensor const& x, auto const& at) { return vsplit(x, at); }); }},
    {"vstack", joined<vstack>},
};
// clang-format on

}  // namespace

std::span<Row const> shape_rows() { return rows; }

}  // namespace heed::replay
