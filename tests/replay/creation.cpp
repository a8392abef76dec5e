// Tensors from sizes and numbers.
#include <cmath>

#include "replay.h"

namespace heed::replay {
namespace {

Tensor filled(Case const& c, Shape const& shape, Dtype dtype) { return full(shape, c.number("fill_value"), dtype); }

/// PyTorch's type of a number that stands alone.
Dtype default_type(Number number) {
  if (number.kind() == Number::Kind::boolean) return Dtype::boolean;
  return number.kind() == Number::Kind::integer ? Dtype::i64 : Dtype::f32;
}

template <Tensor (*f)(Shape const&, Dtype, Device)>
Outputs of_size(Case const& c) {
  return f(c.dims("size"), c.dtype("dtype", Dtype::f32), cpu);
}
template <Tensor (*f)(Shape const&, Dtype, Device)>
Outputs like(Case const& c) {
  return f(c.dims("size", c(0).shape()), c.dtype("dtype", c(0).dtype()), cpu);
}

Outputs steps(Case const& c) {
  bool whole = true;
  for (auto const* name : {"start", "end", "step"})
    whole = whole && (!c.has(name) || c.number(name).kind() != Number::Kind::floating);
  Dtype const dtype = c.dtype("dtype", whole ? Dtype::i64 : Dtype::f32);
  if (!whole && !is_floating(dtype)) {  // whole numbers, but as many as of reals, unless they are i64
    auto const bound = [&](double x) { return dtype == Dtype::i64 ? std::trunc(x) : x; };
    double const from = bound(c.real("start", 0)), by = bound(c.real("step", 1));
    auto const count = int64_t(std::ceil((bound(c.real("end")) - from) / by));
    return arange(int64_t(from), int64_t(from) + count * int64_t(by), int64_t(by), dtype);
  }
  if (whole) return arange(c.integer("start", 0), c.integer("end"), c.integer("step", 1), dtype);
  return arange(c.real("start", 0), c.real("end"), c.real("step", 1), dtype);
}

/// A bound that is a number or a tensor, at this position.
double bound(Case const& c, int position, std::string_view name) {
  Tensor const given = c.has(name) ? Tensor() : c.maybe(position, name);
  return given.defined() ? given.item() : c.real(name);
}

Outputs spaced(Case const& c) {
  bool const start_is_tensor = !c.has("start"), end_is_tensor = !c.has("end");
  double const from = bound(c, 0, "start"), to = bound(c, start_is_tensor && end_is_tensor ? 1 : -1, "end");
  Dtype const dtype = c.dtype("dtype", Dtype::f32);
  if (start_is_tensor && end_is_tensor && is_floating(dtype) && !is_half(dtype)) {
    Tensor const start = c(0, "start").to(dtype), end = c(1, "end").to(dtype);
    if (c.op == "linspace") return linspace(start, end, c.integer("steps"));
    return logspace(start, end, c.integer("steps"), c.real("base", 10));
  }
  if (c.op == "linspace") return linspace(from, to, c.integer("steps"), dtype);
  return logspace(from, to, c.integer("steps"), c.real("base", 10), dtype);
}

template <Tensor (*f)(int64_t, int64_t, int64_t, Device)>
Outputs triangle(Case const& c) {
  return f(c.integer("row"), c.integer("col"), c.integer("offset", 0), cpu).to(c.dtype("dtype", Dtype::i64));
}

struct Window {
  int64_t size;
  bool symmetric;
  Dtype dtype;
  explicit Window(Case const& c)
      : size(c.integer("M")), symmetric(c.flag("sym", true)), dtype(c.dtype("dtype", Dtype::f32)) {}
};
template <Tensor (*f)(int64_t, bool, Dtype)>
Outputs window(Case const& c) {
  Window const w(c);
  return f(w.size, w.symmetric, w.dtype);
}
Outputs exponential_window(Case const& c) {
  Window const w(c);
  std::optional<double> center;
  if (c.has("center")) center = c.real("center");
  return windows::exponential(w.size, c.real("tau", 1), w.symmetric, center, w.dtype);
}

// clang-format off
constexpr Row rows[] = {
    {"arange", steps},
    {"eye", [](Case const& c) -> Outputs { return eye(c.integer("n"), c.integer("m", -1), c.dtype("dtype", Dtype::f32)); }},
    {"fill", [](Case const& c) -> Outputs { return c.operand(1, "value", c(0)).to(c(0).dtype()).expand(c(0).shape()); }},
    {"full", [](Case const& c) -> Outputs { return filled(c, c.dims("size"), c.dtype("dtype", default_type(c.number("fill_value")))); }},
    {"full_like", [](Case const& c) -> Outputs { return filled(c, c(0).shape(), c.dtype("dtype", c(0).dtype())); }},
    {"linalg.vander", [](Case const& c) -> Outputs { return vander(c(0, "x").rank() ? c(0, "x") : c(0, "x").reshape({1}), c.integer("N", -1), true); }},
    {"linspace", spaced},
    {"logspace", spaced},
    {"new_full", [](Case const& c) -> Outputs { return filled(c, c.dims("size"), c.dtype("dtype", c(0).dtype())); }},
    {"new_ones", like<ones>},
    {"new_zeros", like<zeros>},
    {"ones", of_size<ones>},
    {"ones_like", like<ones>},
    {"scalar_tensor", [](Case const& c) -> Outputs { return scalar(c.number("s"), c.dtype("dtype", Dtype::f32)); }},
    {"signal.windows.bartlett", window<windows::bartlett>},
    {"signal.windows.blackman", window<windows::blackman>},
    {"signal.windows.cosine", window<windows::cosine>},
    {"signal.windows.exponential", exponential_window},
    {"signal.windows.gaussian", [](Case const& c) -> Outputs {
       Window const w(c);
       return windows::gaussian(w.size, c.real("std", 1), w.symmetric, w.dtype);
     }},
    {"signal.windows.general_cosine", [](Case const& c) -> Outputs {
       Window const w(c);
       return windows::general_cosine(w.size, c.reals("a"), w.symmetric, w.dtype);
     }},
    {"signal.windows.general_hamming", [](Case const& c) -> Outputs {
       Window const w(c);
       return windows::general_hamming(w.size, c.real("alpha", 0.54), w.symmetric, w.dtype);
     }},
    {"signal.windows.hamming", window<windows::hamming>},
    {"signal.windows.hann", window<windows::hann>},
    {"signal.windows.kaiser", [](Case const& c) -> Outputs {
       Window const w(c);
       return windows::kaiser(w.size, c.real("beta", 12), w.symmetric, w.dtype);
     }},
    {"signal.windows.nuttall", window<windows::nuttall>},
    {"tril_indices", triangle<tril_indices>},
    {"triu_indices", triangle<triu_indices>},
    {"vander", [](Case const& c) -> Outputs { return vander(c(0, "x"), c.integer("N", -1), c.flag("increasing")); }},
    {"zeros", of_size<zeros>},
    {"zeros_like", like<zeros>},
};
// clang-format on

}  // namespace

std::span<Row const> creation_rows() { return rows; }

}  // namespace heed::replay
