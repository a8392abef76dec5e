// Reductions, scans, sorting, searching.
#include "replay.h"

namespace heed::replay {
namespace {

/// x in the type that PyTorch sums it in: `dtype`, else i64 for integers and bools.
Tensor summand(Case const& c) {
  Tensor const x = c(0, "input");
  if (c.has("dtype")) return x.to(c.dtype("dtype", x.dtype()));
  return is_floating(x.dtype()) ? x : x.to(Dtype::i64);
}

Tensor converted(Case const& c) { return c(0, "input").to(c.dtype("dtype", c(0, "input").dtype())); }

/// n − divisor of a variance: `correction`, or 1 and 0 for `unbiased`.
double correction(Case const& c) { return c.real("correction", c.flag("unbiased", true) ? 1 : 0); }

template <Tensor (*f)(Tensor const&, int, bool)>
Outputs position(Case const& c) {
  Tensor const x = c(0);
  if (c.has("dim")) return f(x, c.axis("dim"), c.flag("keepdim"));
  Tensor const flat = f(x.reshape({-1}), 0, false);
  return c.flag("keepdim") ? flat.reshape(Dims::filled(x.rank(), 1)) : flat;
}

constexpr Row rows[] = {
    {"amax", [](Case const& c) -> Outputs { return amax(c(0), c.axes("dim", c(0)), c.flag("keepdim")); }},
    {"amin", [](Case const& c) -> Outputs { return amin(c(0), c.axes("dim", c(0)), c.flag("keepdim")); }},
    {"argmax", position<argmax>},
    {"argmin", position<argmin>},
    {"logsumexp", [](Case const& c) -> Outputs { return logsumexp(c(0), c.axis("dim"), c.flag("keepdim")); }},
    {"mean", [](Case const& c) -> Outputs { return mean(converted(c), c.axes("dim", c(0)), c.flag("keepdim")); }},
    {"sum", [](Case const& c) -> Outputs { return sum(summand(c), c.axes("dim", c(0)), c.flag("keepdim")); }},
    {"sum_to_size", [](Case const& c) -> Outputs { return sum_to(c(0), c.dims("size")); }},
    {"var", [](Case const& c) -> Outputs { return var(c(0), c.axes("dim", c(0)), correction(c), c.flag("keepdim")); }},
};

}  // namespace

std::span<Row const> reduction_rows() { return rows; }

}  // namespace heed::replay
