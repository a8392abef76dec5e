// Tensors from sizes and numbers.
#include "replay.h"

namespace heed::replay {
namespace {

Tensor filled(Case const& c, Shape const& shape, Dtype dtype) { return full(shape, c.number("fill_value"), dtype); }

/// PyTorch's type of a number that stands alone.
Dtype default_type(Number number) {
  if (number.kind() == Number::Kind::boolean) return Dtype::boolean;
  return number.kind() == Number::Kind::integer ? Dtype::i64 : Dtype::f32;
}

template <Tensor (*f)(Shape const&, Dtype)>
Outputs of_size(Case const& c) {
  return f(c.dims("size"), c.dtype("dtype", Dtype::f32));
}
template <Tensor (*f)(Shape const&, Dtype)>
Outputs like(Case const& c) {
  return f(c.dims("size", c(0).shape()), c.dtype("dtype", c(0).dtype()));
}

constexpr Row rows[] = {
    {"fill",
     [](Case const& c) -> Outputs { return c.operand(1, "value", c(0)).to(c(0).dtype()).expand(c(0).shape()); }},
    {"full",
     [](Case const& c) -> Outputs {
       return filled(c, c.dims("size"), c.dtype("dtype", default_type(c.number("fill_value"))));
     }},
    {"full_like", [](Case const& c) -> Outputs { return filled(c, c(0).shape(), c.dtype("dtype", c(0).dtype())); }},
    {"new_full", [](Case const& c) -> Outputs { return filled(c, c.dims("size"), c.dtype("dtype", c(0).dtype())); }},
    {"new_ones", like<ones>},
    {"new_zeros", like<zeros>},
    {"ones", of_size<ones>},
    {"ones_like", like<ones>},
    {"scalar_tensor", [](Case const& c) -> Outputs { return scalar(c.number("s"), c.dtype("dtype", Dtype::f32)); }},
    {"zeros", of_size<zeros>},
    {"zeros_like", like<zeros>},
};

}  // namespace

std::span<Row const> creation_rows() { return rows; }

}  // namespace heed::replay
