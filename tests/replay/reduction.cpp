// Reductions, norms, scans, sorting, searching, counting.
#include "replay.h"

namespace heed::replay {
namespace {

bool keep(Case const& c) { return c.flag("keepdim"); }
Dims axes(Case const& c) { return c.axes("dim|axis", c(0, "input")); }

std::optional<Dtype> wanted(Case const& c) {
  return c.has("dtype") ? std::optional(c.dtype("dtype", Dtype::f32)) : std::nullopt;
}

/// What n is reduced by for a variance: `correction`, or 1 and 0 for `unbiased`.
double correction(Case const& c) { return c.real("correction", c.flag("unbiased", true) ? 1 : 0); }

Outputs several(Indexed const& found) { return {found.values, found.indices}; }

template <Tensor (*f)(Tensor const&, Dims const&, bool)>
Outputs over_axes(Case const& c) {
  return f(c(0), axes(c), keep(c));
}
template <Tensor (*f)(Tensor const&, Dims const&, bool, std::optional<Dtype>)>
Outputs typed(Case const& c) {
  return f(c(0), axes(c), keep(c), wanted(c));
}
template <Tensor (*f)(Tensor const&, Dims const&, double, bool)>
Outputs spread(Case const& c) {
  return f(c(0), axes(c), correction(c), keep(c));
}
template <std::pair<Tensor, Tensor> (*f)(Tensor const&, Dims const&, double, bool)>
Outputs spread_and_mean(Case const& c) {
  return f(c(0), axes(c), correction(c), keep(c));
}
template <Tensor (*whole)(Tensor const&), Tensor (*along)(Tensor const&, int, bool)>
Outputs position(Case const& c) {
  if (c.has("dim")) return along(c(0), c.axis("dim"), keep(c));
  return keep(c) ? whole(c(0)).reshape(Dims::filled(c(0).rank(), 1)) : whole(c(0));
}
/// One value of all elements, or values and indices along an axis.
template <Tensor (*whole)(Tensor const&), Indexed (*along)(Tensor const&, int, bool)>
Outputs picked(Case const& c) {
  return c.has("dim") ? several(along(c(0), c.axis("dim"), keep(c))) : Outputs(whole(c(0)));
}
/// max and min also take two tensors.
template <Tensor (*both)(Tensor const&, Tensor const&), Tensor (*whole)(Tensor const&),
          Indexed (*along)(Tensor const&, int, bool)>
Outputs extreme(Case const& c) {
  return c.maybe(1, "other").defined() ? Outputs(both(c(0), c(1, "other"))) : picked<whole, along>(c);
}

Outputs smallest_and_largest(Case const& c) {
  MinMax const found = c.has("dim") ? aminmax(c(0), c.axis("dim"), keep(c)) : aminmax(c(0));
  if (!c.has("dim") && keep(c)) {
    Dims const ones = Dims::filled(c(0).rank(), 1);
    return {found.min.reshape(ones), found.max.reshape(ones)};
  }
  return {found.min, found.max};
}

using Between = decltype(QuantileOptions::interpolation);

template <Tensor (*f)(Tensor const&, Tensor const&, QuantileOptions const&)>
Outputs at_rank(Case const& c) {
  static std::map<std::string, Between> const ways = {{"linear", Between::linear},
                                                      {"lower", Between::lower},
                                                      {"higher", Between::higher},
                                                      {"midpoint", Between::midpoint},
                                                      {"nearest", Between::nearest}};
  auto const way = ways.find(c.text("interpolation", "linear"));
  if (way == ways.end()) throw Malformed("no such interpolation");
  QuantileOptions options{.keep = keep(c), .interpolation = way->second};
  if (c.has("dim")) options.axis = c.axis("dim");
  return f(c(0), c.operand(1, "q", c(0)), options);
}

/// Norms by PyTorch's rule of what is a vector and what a matrix.
Outputs norm_of(Case const& c) {
  Tensor const x = c(0).to(c.dtype("dtype", c(0).dtype()));
  constexpr auto order = "ord|p";
  bool const is_linalg = c.op.starts_with("linalg.");
  if (!c.has(order) && !c.maybe(1, order).defined()) return vector_norm(x, 2, c.axes("dim", x), keep(c));
  Dims const along = c.axes("dim", x);
  if (c.is_text(order) && c.text(order) == "nuc") return matrix_norm(x, "nuc", along, keep(c));
  if (c.is_text(order) && c.text(order) == "fro")
    return is_linalg ? matrix_norm(x, "fro", along, keep(c)) : vector_norm(x, 2, along, keep(c));
  if (is_linalg && along.rank() == 2) return matrix_norm(x, c.real(order), along, keep(c));
  return vector_norm(x, c.real(order), along, keep(c));
}

Outputs vector_norm_of(Case const& c) {
  Tensor const x = c(0).to(c.dtype("dtype", c(0).dtype()));
  return vector_norm(x, c.real("ord", 2), c.axes("dim", x), keep(c));
}

Outputs matrix_norm_of(Case const& c) {
  Tensor const x = c(0).to(c.dtype("dtype", c(0).dtype()));
  Dims const along = c.dims("dim", {-2, -1});
  if (!c.has("ord")) return matrix_norm(x, "fro", along, keep(c));
  return c.is_text("ord") && c.text("ord").find("inf") == std::string::npos
             ? matrix_norm(x, c.text("ord"), along, keep(c))
             : matrix_norm(x, c.real("ord"), along, keep(c));
}

/// y along x, or at steps of dx.
template <Tensor (*at)(Tensor const&, Tensor const&, int), Tensor (*even)(Tensor const&, double, int)>
Outputs integral(Case const& c) {
  int const axis = c.axis("dim", -1);
  return c.maybe(1, "x").defined() ? at(c(0), c(1, "x"), axis) : even(c(0), c.real("dx", 1), axis);
}

Tensor narrowed(Case const& c, Tensor const& places) { return c.flag("out_int32") ? places.to(Dtype::i32) : places; }

Outputs searched(Case const& c) {
  bool const right = c.flag("right") || c.text("side", "left") == "right";
  Tensor const sorted = c(0, "sorted_sequence");
  Tensor const values = c.maybe(1, "input|self");
  SearchOptions const options{.right = right, .sorter = c.maybe("sorter")};
  return narrowed(c, values.defined() ? searchsorted(sorted, values, options)
                                      : searchsorted(sorted, c.operand(-1, "input|self", sorted), options));
}

Outputs distinct(Case const& c) {
  bool const runs = c.op == "unique_consecutive";
  Unique const u = !c.has("dim") ? (runs ? unique_consecutive(c(0)) : unique(c(0)))
                   : runs        ? unique_consecutive(c(0), c.axis("dim"))
                                 : unique(c(0), c.axis("dim"));
  std::vector<Tensor> found{u.values};
  if (c.flag("return_inverse")) found.push_back(u.inverse);
  if (c.flag("return_counts")) found.push_back(u.counts);
  return found;
}

/// PyTorch takes one distance, or numbers or points for each axis.
Outputs derivatives(Case const& c) {
  GradientOptions options{.edge_order = int(c.integer("edge_order", 1))};
  if (c.has("dim")) options.axes = c.dims("dim");
  std::vector<Tensor> const points = c.list("spacing");
  if (!points.empty()) return gradient(c(0), points, options);
  if (!c.is_list("spacing")) return gradient(c(0), c.real("spacing", 1), options);
  std::vector<double> const each = c.reals("spacing");
  Dims const along = c.axes("dim", c(0));
  std::vector<Tensor> all;
  for (int i = 0; i < along.rank(); ++i) {
    options.axes = Dims{along[i]};
    all.push_back(gradient(c(0), each[size_t(i)], options)[0]);
  }
  return all;
}

HistogramOptions histogram_options(Case const& c) {
  HistogramOptions options{.weight = c.maybe("weight"), .density = c.flag("density")};
  if (c.has("range")) options.range = c.reals("range");
  return options;
}
Outputs one_histogram(Case const& c) {
  Tensor const edges = c.maybe(1, "bins");
  return edges.defined() ? histogram(c(0), edges, histogram_options(c))
                         : histogram(c(0), c.integer("bins", 100), histogram_options(c));
}
Outputs joint_histogram(Case const& c) {
  auto const [counts, edges] = c.has("bins") ? histogramdd(c(0), c.integers("bins"), histogram_options(c))
                                             : histogramdd(c(0), c.list("bins"), histogram_options(c));
  std::vector<Tensor> all{counts};
  all.insert(all.end(), edges.begin(), edges.end());
  return all;
}

// Under a mask, or all elements. PyTorch's results have the type of x, places and sums too.
Tensor mask_of(Case const& c) {
  Tensor const mask = c.maybe("mask");
  return mask.defined() ? mask : ones(c(0).shape(), Dtype::boolean);
}
template <Tensor (*f)(Tensor const&, Tensor const&, Dims const&, bool)>
Outputs seen(Case const& c) {
  return f(c(0), mask_of(c), axes(c), keep(c)).to(c(0).dtype());
}
template <Tensor (*f)(Tensor const&, Tensor const&, Dims const&, bool)>
Outputs seen_total(Case const& c) {
  return f(c(0), mask_of(c), axes(c), keep(c));
}
template <Tensor (*f)(Tensor const&, Tensor const&, Dims const&, double, bool)>
Outputs seen_spread(Case const& c) {
  Tensor const x = is_floating(c(0).dtype()) ? c(0) : c(0).to(Dtype::f32);
  return f(x, mask_of(c), axes(c), correction(c), keep(c));
}
template <Tensor (*f)(Tensor const&, Tensor const&, int, bool)>
Outputs seen_place(Case const& c) {
  if (c.has("dim")) return f(c(0), mask_of(c), c.axis("dim"), keep(c)).to(c(0).dtype());
  Tensor const y = f(c(0).reshape({-1}), mask_of(c).expand(c(0).shape()).reshape({-1}), 0, false).to(c(0).dtype());
  return keep(c) ? y.reshape(Dims::filled(c(0).rank(), 1)) : y;
}
template <Tensor (*f)(Tensor const&, Tensor const&, int)>
Outputs seen_along(Case const& c) {
  return f(c(0), mask_of(c), c.axis("dim")).to(c(0).dtype());  // PyTorch's keep small integers
}

// clang-format off
constexpr Row rows[] = {
    {"all", over_axes<all>},
    {"amax", over_axes<amax>},
    {"amin", over_axes<amin>},
    {"aminmax", smallest_and_largest},
    {"any", over_axes<any>},
    {"argmax", position<argmax, argmax>},
    {"argmin", position<argmin, argmin>},
    {"argsort", [](Case const& c) -> Outputs { return argsort(c(0), c.axis("dim", -1), c.flag("descending")); }},
    {"bincount", [](Case const& c) -> Outputs { return bincount(c(0), c.maybe(1, "weights"), c.integer("minlength", 0)); }},
    {"bucketize", [](Case const& c) -> Outputs { return narrowed(c, bucketize(c(0), c(1, "boundaries"), c.flag("right"))); }},
    {"corrcoef", unary<corrcoef>},
    {"count_nonzero", [](Case const& c) -> Outputs { return count_nonzero(c(0), axes(c)); }},
    {"cov", [](Case const& c) -> Outputs {
       return cov(c(0), {.correction = c.real("correction", 1), .fweights = c.maybe("fweights"), .aweights = c.maybe("aweights")});
     }},
    {"cummax", [](Case const& c) -> Outputs { return several(cummax(c(0), c.axis("dim"))); }},
    {"cummin", [](Case const& c) -> Outputs { return several(cummin(c(0), c.axis("dim"))); }},
    {"cumprod", [](Case const& c) -> Outputs { return cumprod(c(0), c.axis("dim"), wanted(c)); }},
    {"cumsum", [](Case const& c) -> Outputs { return cumsum(c(0), c.axis("dim"), wanted(c)); }},
    {"cumulative_trapezoid", integral<cumulative_trapezoid, cumulative_trapezoid>},
    {"diff", [](Case const& c) -> Outputs {
       return diff(c(0), c.integer("n", 1), c.axis("dim", -1), c.maybe("prepend"), c.maybe("append"));
     }},
    {"dist", [](Case const& c) -> Outputs { return dist(c(0), c(1, "other"), c.real("p", 2)); }},
    {"gradient", derivatives},
    {"histc", [](Case const& c) -> Outputs { return histc(c(0), c.integer("bins", 100), c.real("min", 0), c.real("max", 0)); }},
    {"histogram", one_histogram},
    {"histogramdd", joint_histogram},
    {"isin", [](Case const& c) -> Outputs { return isin(c(0, "elements"), c.operand(1, "test_elements|test_element", c(0, "elements")), c.flag("invert")); }},
    {"kthvalue", [](Case const& c) -> Outputs { return several(kthvalue(c(0), c.integer("k"), c.axis("dim", -1), keep(c))); }},
    {"linalg.matrix_norm", matrix_norm_of},
    {"linalg.norm", norm_of},
    {"linalg.vector_norm", vector_norm_of},
    {"logcumsumexp", [](Case const& c) -> Outputs { return logcumsumexp(c(0), c.axis("dim")); }},
    {"logsumexp", over_axes<logsumexp>},
    {"masked.amax", seen<masked::amax>},
    {"masked.amin", seen<masked::amin>},
    {"masked.argmax", seen_place<masked::argmax>},
    {"masked.argmin", seen_place<masked::argmin>},
    {"masked.cumprod", seen_along<masked::cumprod>},
    {"masked.cumsum", seen_along<masked::cumsum>},
    {"masked.log_softmax", seen_along<masked::log_softmax>},
    {"masked.logsumexp", seen<masked::logsumexp>},
    {"masked.mean", seen<masked::mean>},
    {"masked.median", seen_place<masked::median>},
    {"masked.norm", [](Case const& c) -> Outputs { return masked::norm(c(0), mask_of(c), c.real("ord", 2), axes(c), keep(c)); }},
    {"masked.normalize", [](Case const& c) -> Outputs {
       return masked::normalize(c(0), mask_of(c), c.real("ord"), c.axis("dim"), c.real("eps", 1e-12));
     }},
    {"masked.prod", seen_total<masked::prod>},
    {"masked.softmax", seen_along<masked::softmax>},
    {"masked.softmin", [](Case const& c) -> Outputs { return masked::softmax(-c(0), mask_of(c), c.axis("dim")); }},
    {"masked.std", seen_spread<masked::std>},
    {"masked.sum", seen_total<masked::sum>},
    {"masked.var", seen_spread<masked::var>},
    {"max", extreme<maximum, max, max>},
    {"mean", typed<mean>},
    {"median", picked<median, median>},
    {"min", extreme<minimum, min, min>},
    {"mode", [](Case const& c) -> Outputs { return several(mode(c(0), c.axis("dim", -1), keep(c))); }},
    {"msort", unary<msort>},
    {"nanmean", [](Case const& c) -> Outputs { return nanmean(c(0).to(c.dtype("dtype", c(0).dtype())), axes(c), keep(c)); }},
    {"nanmedian", picked<nanmedian, nanmedian>},
    {"nanquantile", at_rank<nanquantile>},
    {"nansum", typed<nansum>},
    {"norm", norm_of},
    {"prod", typed<prod>},
    {"quantile", at_rank<quantile>},
    {"renorm", [](Case const& c) -> Outputs { return renorm(c(0), c.real("p"), c.axis("dim"), c.real("maxnorm")); }},
    {"searchsorted", searched},
    {"sort", [](Case const& c) -> Outputs { return several(sort(c(0), c.axis("dim", -1), c.flag("descending"))); }},
    {"std", spread<std>},
    {"std_mean", spread_and_mean<std_mean>},
    {"sum", typed<sum>},
    {"sum_to_size", [](Case const& c) -> Outputs { return sum_to(c(0), c.dims("size")); }},
    {"topk", [](Case const& c) -> Outputs {
       return several(topk(c(0), c.integer("k"), c.axis("dim", -1), c.flag("largest", true), c.flag("sorted", true)));
     }},
    {"trapezoid", integral<trapezoid, trapezoid>},
    {"unique", distinct},
    {"unique_consecutive", distinct},
    {"var", spread<var>},
    {"var_mean", spread_and_mean<var_mean>},
};
// clang-format on

}  // namespace

std::span<Row const> reduction_rows() { return rows; }

}  // namespace heed::replay
