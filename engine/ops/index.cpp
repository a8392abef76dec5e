// Indexing: every operation turns its indices into places in memory (places.h), then reads or writes there.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops/along.h>
#include <heed/engine/ops/places.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace heed {
namespace {

using detail::Places;
using detail::Table;
using detail::Where;

bool is_index(Dtype dtype) { return !is_floating(dtype) && dtype != Dtype::boolean; }

DeviceIndexKernels const& on(char const* op, Device device) { return device_kernels<DeviceIndexKernels>(device, op); }

/// The index as i64 on the device of what it indexes: one on the processor goes along, as in PyTorch.
Tensor wide_index(char const* op, Tensor const& index, Device device) {
  check_defined(op, index);
  check(is_index(index.dtype()), op, [&] {
    return Complaint{fmt::format("expected an index of integers, got {}", name(index.dtype())),
                     "convert the index with .to(Dtype::i64)"};
  });
  Device const here = index.device();
  check(here.is_cpu() || here == device, op, [&] {
    return Complaint{fmt::format("a tensor on {} is indexed from {}", to_string(device), to_string(here)),
                     "move the index with .to()"};
  });
  return index.detach().to(device).to(Dtype::i64);
}

/// Indices into an axis of `size` as i64 on `device`; those that are the processor's are checked, elsewhere kernels do
/// it. An expanded index is checked once.
Tensor checked_index(char const* op, Tensor const& index, int64_t size, int axis, bool negative, Device device) {
  check_defined(op, index);
  Tensor i = wide_index(op, index, index.device());
  for (int a = 0; a < i.rank(); ++a)
    if (i.strides()[a] == 0 && i.shape()[a] > 1) i = i.slice(a, 0, 1);
  i = i.contiguous();
  if (i.device().is_cpu()) check_inside(op, i.data<int64_t>(), i.numel(), negative ? -size : 0, size, axis);
  return wide_index(op, i, device).expand(index.shape());
}

/// The same for what reads the processor's indices with a check of its own.
Tensor index_to_pick(char const* op, Tensor const& index, Tensor const& x, int axis) {
  if (x.device().is_cpu()) return wide_index(op, index, cpu);
  return checked_index(op, index, x.size(axis), axis, false, x.device());
}

// ---- nonzero --------------------------------------------------------------------------------------------------------

/// Row-major positions of the elements other than 0, in order. Where they are counted on an accelerator, the host
/// waits.
Tensor positions(Tensor const& x) {
  Tensor const whole = x.detach().contiguous();
  int64_t const n = whole.numel();
  if (Device const device = whole.device(); !device.is_cpu()) {
    auto const& kernels = on("nonzero", device);
    Tensor const before({kernels.tiles(n) + 1}, Dtype::i64, device);
    kernels.count(whole.address(), x.dtype(), n, before.address<int64_t>());
    Tensor const y({before.select(0, -1).item<int64_t>()}, Dtype::i64, device);
    on("nonzero", device).positions(whole.address(), x.dtype(), n, before.address<int64_t>(), y.address<int64_t>());
    return y;
  }
  constexpr int64_t chunk = 32768;
  std::vector<int64_t> before(size_t((n + chunk - 1) / chunk) + 1);
  return dispatch(x.dtype(), [&]<class T>(Type<T>) {
    T const* const from = whole.data<T>();
    parallel_for(n, chunk, [&](int64_t begin, int64_t end) {
      int64_t count = 0;
      for (int64_t i = begin; i < end; ++i) count += from[i] != T(0);
      before[size_t(begin / chunk) + 1] = count;
    });
    for (size_t c = 1; c < before.size(); ++c) before[c] += before[c - 1];
    Tensor const y({before.back()}, Dtype::i64);
    int64_t* const to = y.data<int64_t>();
    parallel_for(n, chunk, [&](int64_t begin, int64_t end) {
      int64_t at = before[size_t(begin / chunk)];
      for (int64_t i = begin; i < end; ++i)
        if (from[i] != T(0)) to[at++] = i;
    });
    return y;
  });
}

// ---- index lists ----------------------------------------------------------------------------------------------------

/// An axis of what an index list reads: of x (or new), or chosen by an index tensor.
struct Axis {
  int64_t size, step;
  Tensor index = {};
  int of = 0;  // which axis of x
};

/// The axes that `indices` read of a tensor of `shape` and `strides`, and where they start.
struct Reading {
  std::vector<Axis> axes;
  int64_t base = 0;
  bool advanced = false;
};

int axes_taken(Index const& index) {
  switch (index.kind()) {
    case Index::Kind::number:
    case Index::Kind::slice:
      return 1;
    case Index::Kind::tensor:
      return index.tensor().dtype() == Dtype::boolean ? index.tensor().rank() : 1;
    default:
      return 0;
  }
}

void check_list(char const* op, Shape const& shape, std::vector<Index> const& indices) {
  int taken = 0, dots = 0;
  for (Index const& index : indices) {
    if (index.kind() == Index::Kind::tensor) check_defined(op, index.tensor());
    taken += axes_taken(index);
    dots += index.kind() == Index::Kind::ellipsis;
  }
  check(taken <= shape.rank() && dots <= 1, op, [&] {
    return Complaint{
        fmt::format("the indices take {} axes and hold {} ellipses; the shape is {}", taken, dots, to_string(shape)),
        "index each axis once, with one ellipsis at most"};
  });
}

void read_mask(char const* op, Reading& reading, Shape const& shape, Strides const& strides, int from,
               Tensor const& mask, Device device) {
  for (int a = 0; a < mask.rank(); ++a)
    check(mask.shape()[a] == shape[from + a], op, [&] {
      return Complaint{fmt::format("a mask of shape {} does not fit axis {} of shape {}", to_string(mask.shape()),
                                   from + a, to_string(shape)),
                       "give the mask the sizes of the axes that it selects from"};
    });
  Tensor const at = nonzero(mask.rank() == 0 ? mask.unsqueeze(0) : mask).to(device);
  if (mask.rank() == 0) reading.axes.push_back({1, 0, at.select(1, 0)});
  for (int a = 0; a < mask.rank(); ++a) reading.axes.push_back({shape[from + a], strides[from + a], at.select(1, a)});
}

Reading read_list(char const* op, Shape const& shape, Strides const& strides, std::vector<Index> const& indices,
                  bool negative, Device device) {
  Reading reading;
  int taken = 0, axis = 0;
  for (Index const& index : indices) taken += axes_taken(index);
  auto const whole = [&](int count) {
    for (; count > 0; --count, ++axis) reading.axes.push_back({shape[axis], strides[axis]});
  };
  for (Index const& index : indices) {
    int64_t const n = axes_taken(index) ? shape[axis] : 0, step = axes_taken(index) ? strides[axis] : 0;
    bool const single =
        index.kind() == Index::Kind::tensor && index.tensor().rank() == 0 && is_index(index.tensor().dtype());
    if (index.kind() == Index::Kind::number || single) {
      int64_t const i = single ? index.tensor().item<int64_t>() : index.number();
      check(i >= -n && i < n, op, [&] {
        return Complaint{
            fmt::format("index {} is outside axis {} of shape {}", i, axis, to_string(shape)),
            n == 0 ? std::string("an axis of size 0 has no element") : fmt::format("use {} to {}", -n, n - 1)};
      });
      reading.base += (i < 0 ? i + n : i) * step;
      ++axis;
    } else if (index.kind() == Index::Kind::slice) {
      auto const [from, count] = index.slice().resolve(op, n);
      if (count > 0) reading.base += from * step;
      reading.axes.push_back({count, step * std::min(index.slice().step, n + 1)});
      ++axis;
    } else if (index.kind() == Index::Kind::new_axis) {
      reading.axes.push_back({1, 0});
    } else if (index.kind() == Index::Kind::ellipsis) {
      whole(shape.rank() - taken);
    } else if (index.tensor().dtype() == Dtype::boolean) {
      reading.advanced = true;
      read_mask(op, reading, shape, strides, axis, index.tensor(), device);
      axis += index.tensor().rank();
    } else {
      reading.advanced = true;
      reading.axes.push_back({n, step, checked_index(op, index.tensor(), n, axis, negative, device), axis});
      ++axis;
    }
  }
  whole(shape.rank() - axis);
  return reading;
}

/// The result's shape, and the places of its elements.
struct Selection {
  Shape shape;
  Places places;
};

/// NumPy's rule: the axes of the broadcast index tensors stand where the first of them stood if all stand together,
/// else in front.
Selection select_places(char const* op, Tensor const& of, Strides const& strides, std::vector<Index> const& indices,
                        bool negative = true) {
  Shape const& x = of.shape();
  check_list(op, x, indices);
  Reading const reading = read_list(op, x, strides, indices, negative, of.device());
  Shape common;
  int first = -1, last = -1, count = 0;
  for (int a = 0; a < int(reading.axes.size()); ++a) {
    Tensor const& index = reading.axes[size_t(a)].index;
    if (!index.defined()) continue;
    common = count == 0 ? index.shape() : broadcast(op, common, index.shape());
    first = count == 0 ? a : first;
    last = a;
    ++count;
  }
  if (count > 0 && last - first + 1 != count) first = 0;
  Selection s;
  Strides steps;
  int front = 0;  // where `common` begins in the result
  for (int a = 0; a <= int(reading.axes.size()); ++a) {
    if (a == first) {
      front = s.shape.rank();
      for (int64_t size : common) {
        s.shape.push_back(size);
        steps.push_back(0);
      }
    }
    if (a == int(reading.axes.size()) || reading.axes[size_t(a)].index.defined()) continue;
    s.shape.push_back(reading.axes[size_t(a)].size);
    steps.push_back(reading.axes[size_t(a)].step);
  }
  if (numel(s.shape) == 0) {
    s.places.starts = Tensor({0}, Dtype::i64, of.device());
    return s;
  }
  Shape space = s.shape;
  int const end = count > 0 ? front + common.rank() : 0;
  for (int a = space.rank() - 1; a >= end && (steps[a] == s.places.block || space[a] == 1); --a) {
    s.places.block *= space[a];
    space.erase(a);
    steps.erase(a);
  }
  std::vector<Table> tables;
  for (Axis const& axis : reading.axes) {
    if (!axis.index.defined()) continue;
    Strides const along = broadcast_strides(axis.index.shape(), axis.index.strides(), common);
    Strides table_steps = Dims::filled(space.rank(), 0);
    for (int a = 0; a < common.rank(); ++a) table_steps[front + a] = along[a];
    tables.push_back({axis.index, table_steps, axis.step, axis.size, axis.of, negative});
  }
  s.places.starts = detail::starts_of(op, space, steps, reading.base, tables, of.device());
  return s;
}

/// Basic indices only: a view.
Tensor view_by(Tensor x, std::vector<Index> const& indices) {
  int taken = 0, axis = 0;
  for (Index const& index : indices) taken += axes_taken(index);
  int const rest = x.rank() - taken;
  for (Index const& index : indices) {
    switch (index.kind()) {
      case Index::Kind::number:
        x = x.select(axis, index.number());
        break;
      case Index::Kind::tensor:
        x = x.select(axis, index.tensor().item<int64_t>());
        break;
      case Index::Kind::slice: {
        auto const [from, count] = index.slice().resolve("index", x.shape()[axis]);
        x = x.slice(axis, from, count == 0 ? from : from + (count - 1) * index.slice().step + 1, index.slice().step);
        ++axis;
        break;
      }
      case Index::Kind::new_axis:
        x = x.unsqueeze(axis++);
        break;
      case Index::Kind::ellipsis:
        axis += rest;
        break;
    }
  }
  return x;
}

bool is_basic(std::vector<Index> const& indices) {
  for (Index const& index : indices)
    if (index.kind() == Index::Kind::tensor && (index.tensor().rank() > 0 || !is_index(index.tensor().dtype())))
      return false;
  return true;
}

/// `values` as x's type; a single one on the processor goes along to x's device.
Tensor beside(Tensor const& x, Tensor const& values) {
  Tensor const typed = values.to(x.dtype());
  return typed.numel() == 1 && typed.device().is_cpu() ? typed.to(x.device()) : typed;
}

/// `values` as x's type and the selection's shape; leading axes of size 1 too many are dropped.
Tensor fitted(char const* op, Tensor const& x, Tensor values, Shape const& shape) {
  check_defined(op, values);
  while (values.rank() > shape.rank() && values.shape()[0] == 1) values = values.squeeze(0);
  check(values.rank() <= shape.rank() && broadcast(op, values.shape(), shape) == shape, op, [&] {
    return Complaint{
        fmt::format("values of shape {} do not fit the indexed shape {}", to_string(values.shape()), to_string(shape)),
        "make the values broadcast to what the indices select"};
  });
  return beside(x, values).expand(shape);
}

}  // namespace

std::pair<int64_t, int64_t> Slice::resolve(char const* op, int64_t n) const {
  check(step > 0, op, [&] {
    return Complaint{fmt::format("expected a slice with a step of 1 or more, got {}", step),
                     "use flip for the other direction"};
  });
  int64_t const begin = std::clamp(from < 0 ? from + n : from, int64_t{0}, n);
  int64_t const stop = std::clamp(to < 0 ? to + n : to, begin, n);
  return {begin, stop == begin ? 0 : (stop - begin - 1) / step + 1};
}

Index::Index(bool value) : kind_(Kind::tensor), tensor_(full({}, value, Dtype::boolean)) {}

Tensor Tensor::index(std::vector<Index> const& indices) const {
  check_defined("index", *this);
  check_list("index", shape(), indices);
  if (is_basic(indices)) return view_by(*this, indices);
  Selection const s = select_places("index", *this, strides(), indices);
  return detail::pick("index", *this, s.shape, [&](Strides const& steps) {
    return steps == strides() ? s.places : select_places("index", *this, steps, indices).places;
  });
}

Tensor index_put(Tensor const& x, std::vector<Index> const& indices, Tensor const& values, bool accumulate) {
  check_defined("index_put", x);
  Selection const s = select_places("index_put", x, contiguous_strides(x.shape()), indices);
  return detail::put_at("index_put", x, s.places, fitted("index_put", x, values, s.shape), accumulate);
}

Tensor index_put(Tensor const& x, std::vector<Index> const& indices, Number value, bool accumulate) {
  check_defined("index_put", x);
  return index_put(x, indices, full({}, value, x.dtype(), x.device()), accumulate);
}

Tensor& Tensor::index_put_(std::vector<Index> const& indices, Tensor const& values, bool accumulate) {
  check_defined("index_put_", *this);
  check_defined("index_put_", values);
  if (tracked(*this, values) || (accumulate && is_half(dtype()))) {
    if (tracked(*this, values)) check_in_place("index_put_", *this);
    assign_in_place("index_put_", *this, index_put(*this, indices, values, accumulate));
    return *this;
  }
  Selection const s = select_places("index_put_", *this, strides(), indices);
  Tensor from = fitted("index_put_", *this, values, s.shape).detach();
  common_device("index_put_", {this, &from});
  if (from.body()->storage == body_->storage) from = from.clone();
  if (accumulate)
    detail::add_at(*this, s.places, from);
  else
    detail::write(*this, s.places, from);
  storage().bump_version();
  return *this;
}

Tensor& Tensor::index_put_(std::vector<Index> const& indices, Number value, bool accumulate) {
  check_defined("index_put_", *this);
  return index_put_(indices, full({}, value, dtype(), device()), accumulate);
}

// ---- along one axis -------------------------------------------------------------------------------------------------

namespace {

/// Rank 0 counts as one axis of size 1.
Shape at_least_1d(Shape const& shape) { return shape.rank() == 0 ? Shape{1} : shape; }
Tensor at_least_1d(Tensor const& x) { return x.rank() == 0 ? x.reshape({1}) : x; }

/// An index for each element, along `axis` of an x as large on the other axes.
int checked_along(char const* op, Tensor const& x, int axis, Tensor const& index) {
  check_defined(op, index);
  Shape const sizes = at_least_1d(x.shape()), shape = at_least_1d(index.shape());
  axis = normalize_axis(op, axis, sizes.rank());
  bool fits = shape.rank() == sizes.rank();
  for (int a = 0; fits && a < sizes.rank(); ++a) fits = a == axis || shape[a] <= sizes[a];
  check(fits || index.numel() == 0, op, [&] {
    return Complaint{fmt::format("an index of shape {} does not fit a tensor of shape {} along axis {}",
                                 to_string(index.shape()), to_string(x.shape()), axis),
                     "give the index the tensor's rank, and on the other axes no larger sizes"};
  });
  return axis;
}

/// Their places in a contiguous x.
Places places_along(char const* op, Tensor const& x, int axis, Tensor const& index) {
  axis = checked_along(op, x, axis, index);
  Shape const sizes = at_least_1d(x.shape());
  Tensor const i = at_least_1d(checked_index(op, index, sizes[axis], axis, false, x.device()));
  if (i.numel() == 0) return {Tensor({0}, Dtype::i64, x.device())};
  Strides steps = contiguous_strides(sizes);
  int64_t const factor = steps[axis];
  steps[axis] = 0;
  return {detail::starts_of(op, i.shape(), steps, 0, {{i, i.strides(), factor, sizes[axis], axis, false}}, x.device())};
}

/// The part of src that the index reaches, as x's type.
Tensor reached(char const* op, Tensor const& x, Tensor const& index, Tensor const& src) {
  check_defined(op, src);
  Shape const want = at_least_1d(index.shape());
  Tensor part = at_least_1d(src);
  if (index.numel() == 0) return zeros(index.shape(), x.dtype(), x.device());
  bool fits = part.rank() == want.rank();
  for (int a = 0; fits && a < want.rank(); ++a) fits = want[a] <= part.shape()[a];
  check(fits, op, [&] {
    return Complaint{fmt::format("a source of shape {} has no element for every place of an index of shape {}",
                                 to_string(src.shape()), to_string(index.shape())),
                     "give the source the index's rank and sizes at least as large"};
  });
  check(src.dtype() == x.dtype(), op, [&] {
    return Complaint{fmt::format("expected a source of {} like the tensor, got {}", name(x.dtype()), name(src.dtype())),
                     "convert the source with .to()"};
  });
  for (int a = 0; a < want.rank(); ++a) part = want[a] == part.shape()[a] ? part : part.slice(a, 0, want[a]);
  return part;
}

}  // namespace

Tensor gather(Tensor const& x, int axis, Tensor const& index) {
  check_defined("gather", x);
  axis = checked_along("gather", x, axis, index);
  Tensor from = at_least_1d(x), at = at_least_1d(index_to_pick("gather", index, from, axis));
  if (at.numel() == 0) return detail::pick_at("gather", x, index.shape(), {Tensor({0}, Dtype::i64, x.device())});
  for (int a = 0; a < from.rank(); ++a)
    if (a != axis && at.shape()[a] < from.shape()[a]) from = from.slice(a, 0, at.shape()[a]);
  Tensor const y = pick("gather", from, axis, at);
  return index.rank() == 0 ? y.reshape({}) : y;
}

Tensor scatter(Tensor const& x, int axis, Tensor const& index, Tensor const& src) {
  check_defined("scatter", x);
  Places const places = places_along("scatter", x, axis, index);
  return detail::put_at("scatter", x, places, reached("scatter", x, index, src), false);
}

Tensor scatter(Tensor const& x, int axis, Tensor const& index, Number value) {
  check_defined("scatter", x);
  Places const places = places_along("scatter", x, axis, index);
  return detail::put_at("scatter", x, places, full({}, value, x.dtype(), x.device()).expand(index.shape()), false);
}

Tensor scatter_add(Tensor const& x, int axis, Tensor const& index, Tensor const& src) {
  check_defined("scatter_add", x);
  Places const places = places_along("scatter_add", x, axis, index);
  return detail::put_at("scatter_add", x, places, reached("scatter_add", x, index, src), true);
}

namespace {

template <class T>
T identity_of(Combine how) {
  using Limits = std::numeric_limits<T>;
  if (how == Combine::prod) return T(1);
  if (how == Combine::amax) return Limits::has_infinity ? T(-Limits::infinity()) : Limits::lowest();
  if (how == Combine::amin) return Limits::has_infinity ? Limits::infinity() : Limits::max();
  return T(0);
}

template <class T>
bool is_nan(T x) {
  return x != x;
}

/// Π of the factors other than each one: `product` is that of the factors that are not 0, `zeros` counts the others.
Tensor others(Tensor const& factor, Tensor const& product, Tensor const& zeros) {
  Tensor const zero = factor == 0.0;
  return where(zero, where(zeros == 1.0, product, 0.0), where(zeros == 0.0, product / where(zero, 1.0, factor), 0.0));
}

Tensor combined(Tensor const& x, Places const& places, Tensor const& values, Combine how);

/// combined(…, Combine::prod) as a composition: the factors of each place side by side, filled up with ones.
Tensor product_twin(Tensor const& x, Places const& places, Tensor const& values) {
  int64_t const n = places.starts.numel(), block = places.block;
  auto const [used, slot, count] = unique(places.starts);
  Tensor const order = argsort(slot, 0), first = cumsum(count, 0) - count;
  Tensor const rank =
      index_put(slot, {order}, arange(n, x.device()) - index_select(first, 0, index_select(slot, 0, order)));
  int64_t const places_used = used.numel(), most = max(count).item<int64_t>() + 1;
  Places const distinct{used, block, true};
  Tensor factors = ones({places_used, most, block}, x.dtype(), x.device());
  factors = index_put(factors, {slot, rank + 1}, values.reshape({n, block}));
  factors = index_put(factors, {Slice{}, 0}, detail::pick_at("scatter_reduce", x, {places_used, block}, distinct));
  return detail::put_at("scatter_reduce", x, distinct, prod(factors, 1), false);
}

/// With respect to x and the values, both of which take part in y.
std::array<Tensor, 2> combined_gradients(Tensor const& g, Tensor const& x, Tensor const& values, Tensor const& y,
                                         Places const& places, Combine how) {
  char const* const op = "scatter_reduce";
  auto const at = [&](Tensor const& t) { return detail::pick_at(op, t, values.shape(), places); };
  auto const count = [&](Tensor const& own, Tensor const& others) {
    return detail::put_at(op, own.to(g.dtype()), places, others.to(g.dtype()), true);
  };
  if (how == Combine::prod && recording() && values.numel() > 0) {
    std::vector<Tensor> const in = twin_inputs({x, values});
    std::vector<Tensor> const d = twin_gradients({product_twin(in[0], places, in[1])}, in, {g});
    return {d[0], d[1]};
  }
  if (how == Combine::prod) {
    Tensor const zeros = count(x == 0.0, values == 0.0);
    Tensor const product = combined(where(x == 0.0, 1.0, x), places, where(values == 0.0, 1.0, values), how);
    return {g * others(x, product, zeros), at(g) * others(values, at(product), at(zeros))};
  }
  Tensor const own = x.detach() == y.detach(), chosen = values.detach() == at(y.detach());
  Tensor const ties = count(own, chosen), shared = g / where(ties == 0.0, 1.0, ties);
  return {shared * own.to(g.dtype()), at(shared) * chosen.to(g.dtype())};
}

/// x with the values at its places multiplied in, or the largest or smallest of them; ties share the gradient.
Tensor combined(Tensor const& x, Places const& places, Tensor const& values, Combine how) {
  common_device("scatter_reduce", {&x, &values});
  Tensor y = x.detach().clone();
  Observed const watch("scatter_reduce", {&x, &values}, {&y});
  if (!y.device().is_cpu())
    detail::join_at(how == Combine::prod   ? AtPlace::product
                    : how == Combine::amax ? AtPlace::largest
                                           : AtPlace::smallest,
                    y, places, values);
  else
    dispatch(y.dtype(), [&]<class T>(Type<T>) {
      T* const to = y.data<T>();
      if (how == Combine::prod)
        detail::combine(to, places, values, [](T a, T b) { return T(a * b); });
      else if (how == Combine::amax)
        detail::combine(to, places, values, [](T a, T b) { return is_nan(a) || a > b ? a : b; });
      else
        detail::combine(to, places, values, [](T a, T b) { return is_nan(a) || a < b ? a : b; });
    });
  if (tracked(x, values))
    record("scatter_reduce", y, {&x, &values},
           [x = Saved(x), values = Saved(values), y = SavedOutput(y), places, how](Tensor const& g, Node const& node) {
             return combined_gradients(g, x.get(node), values.get(node), y.get(node), places, how);
           });
  return y;
}

Tensor identity(Combine how, Tensor const& x) {
  Tensor value({}, x.dtype());
  dispatch(x.dtype(), [&]<class T>(Type<T>) { *value.data<T>() = identity_of<T>(how); });
  return value.to(x.device());
}

/// sum / count, rounded down for integers
Tensor mean_of(Tensor const& sum, Tensor const& count) {
  if (is_floating(sum.dtype())) return sum / count.to(sum.dtype());
  return floor_divide(sum, count).to(sum.dtype());
}

Tensor combine_at(char const* op, Tensor const& x, Places const& places, Tensor const& values, Combine how,
                  bool include_self) {
  if (is_half(x.dtype())) {
    Tensor const wide = combine_at(op, x.to(Dtype::f32), places, values.to(Dtype::f32), how, include_self);
    return wide.to(x.dtype());
  }
  Tensor start = x;
  if (!include_self) start = detail::put_at(op, x, places, identity(how, x).expand(values.shape()), false);
  if (how != Combine::sum && how != Combine::mean) return combined(start, places, values, how);
  Tensor const total = detail::put_at(op, start, places, values, true);
  if (how == Combine::sum) return total;
  Dtype const counts = is_floating(x.dtype()) ? Dtype::f64 : Dtype::i64;
  Tensor const one = ones({}, counts, x.device()), count = full(x.shape(), include_self, counts, x.device());
  detail::add_at(count, places, one.expand(values.shape()));
  return mean_of(total, where(count == 0.0, one, count));
}

}  // namespace

Tensor scatter_reduce(Tensor const& x, int axis, Tensor const& index, Tensor const& src, Combine how,
                      bool include_self) {
  check_defined("scatter_reduce", x);
  Places const places = places_along("scatter_reduce", x, axis, index);
  Tensor const values = reached("scatter_reduce", x, index, src);
  return combine_at("scatter_reduce", x, places, values, how, include_self);
}

namespace {

/// One list of indices for `axis`, everything on the others.
int checked_on(char const* op, Tensor const& x, int axis, Tensor const& index) {
  check_defined(op, index);
  check(index.rank() <= 1, op, [&] {
    return Complaint{fmt::format("expected an index of rank 1, got shape {}", to_string(index.shape())),
                     "flatten the index"};
  });
  return normalize_axis(op, axis, at_least_1d(x.shape()).rank());
}

/// index_add and its kin.
struct OnAxis {
  Tensor x;  // rank 1 or more
  int axis;
  Selection selection;

  OnAxis(char const* op, Tensor const& x_, int axis_, Tensor const& index, bool negative = false) {
    check_defined(op, x_);
    axis = checked_on(op, x_, axis_, index);
    x = at_least_1d(x_);
    std::vector<Index> list(size_t(axis), Slice{});
    list.emplace_back(at_least_1d(index));
    selection = select_places(op, x, contiguous_strides(x.shape()), list, negative);
  }

  /// The source, in the selected shape.
  Tensor values(char const* op, Tensor const& source) const {
    check_defined(op, source);
    Tensor const s = at_least_1d(source);
    check(s.shape() == selection.shape && s.dtype() == x.dtype(), op, [&] {
      return Complaint{fmt::format("expected a source of shape {} and type {}, got {} {}", to_string(selection.shape),
                                   name(x.dtype()), to_string(source.shape()), name(source.dtype())),
                       "give the source the tensor's shape and type, and one slice for each index"};
    });
    return s;
  }
};

}  // namespace

Tensor index_select(Tensor const& x, int axis, Tensor const& index) {
  check_defined("index_select", x);
  axis = checked_on("index_select", x, axis, index);
  Tensor const from = at_least_1d(x), keys = at_least_1d(index_to_pick("index_select", index, from, axis));
  Shape shape = from.shape(), one = Dims::filled(shape.rank(), 1);
  shape[axis] = one[axis] = keys.numel();
  Tensor y = picked("index_select", from, axis, keys.reshape(one).expand(shape));
  if (x.rank() == 0) y = y.reshape({});
  if (tracked(x))
    record("index_select", y, {&x}, [shape = x.shape(), axis, keys](Tensor const& g, Node const&) {
      return std::array{index_add(zeros(shape, g.dtype(), g.device()), axis, keys, g)};
    });
  return y;
}

Tensor index_add(Tensor const& x, int axis, Tensor const& index, Tensor const& source, Number alpha) {
  OnAxis const on("index_add", x, axis, index);
  Tensor values = on.values("index_add", source);
  if (alpha.real() != 1) values = (values * alpha).to(x.dtype());
  return detail::put_at("index_add", on.x, on.selection.places, values, true).reshape(x.shape());
}

Tensor index_copy(Tensor const& x, int axis, Tensor const& index, Tensor const& source) {
  OnAxis const on("index_copy", x, axis, index);
  Tensor const values = on.values("index_copy", source);
  return detail::put_at("index_copy", on.x, on.selection.places, values, false).reshape(x.shape());
}

Tensor index_fill(Tensor const& x, int axis, Tensor const& index, Tensor const& value) {
  OnAxis const on("index_fill", x, axis, index, true);
  check_defined("index_fill", value);
  check(value.rank() == 0, "index_fill", [&] {
    return Complaint{fmt::format("expected a value of rank 0, got shape {}", to_string(value.shape())),
                     "use index_copy for several values"};
  });
  Tensor const values = beside(x, value).expand(on.selection.shape);
  return detail::put_at("index_fill", on.x, on.selection.places, values, false).reshape(x.shape());
}

Tensor index_fill(Tensor const& x, int axis, Tensor const& index, Number value) {
  check_defined("index_fill", x);
  return index_fill(x, axis, index, full({}, value, x.dtype(), x.device()));
}

Tensor index_reduce(Tensor const& x, int axis, Tensor const& index, Tensor const& source, Combine how,
                    bool include_self) {
  OnAxis const on("index_reduce", x, axis, index);
  Tensor const values = on.values("index_reduce", source);
  return combine_at("index_reduce", on.x, on.selection.places, values, how, include_self).reshape(x.shape());
}

// ---- x read as one axis ---------------------------------------------------------------------------------------------

namespace {

Places flat_places(char const* op, Tensor const& x, Tensor const& index) {
  Tensor const i = checked_index(op, index, x.numel(), 0, true, x.device());
  return {detail::starts_of(op, i.shape(), Dims::filled(i.rank(), 0), 0, {{i, i.strides(), 1, x.numel(), 0, true}},
                            x.device())};
}

}  // namespace

Tensor take(Tensor const& x, Tensor const& index) {
  check_defined("take", x);
  check_defined("take", index);
  return detail::pick_at("take", x, index.shape(), flat_places("take", x, index));
}

namespace {
/// Negative places count from the end.
Tensor from_start(Tensor const& index, int64_t n) {
  return is_floating(index.dtype()) ? index : where(index < 0, index + n, index);
}
}  // namespace

Tensor take_along(Tensor const& x, Tensor const& index) {
  check_defined("take_along", x);
  check_defined("take_along", index);
  return gather(x.reshape({-1}), 0, from_start(index.reshape({-1}), x.numel()));
}

Tensor take_along(Tensor const& x, Tensor const& index, int axis) {
  check_defined("take_along", x);
  check_defined("take_along", index);
  check(x.rank() == index.rank(), "take_along", [&] {
    return Complaint{fmt::format("expected an index of rank {}, got shape {}", x.rank(), to_string(index.shape())),
                     "give both the same rank: the other axes broadcast"};
  });
  axis = normalize_axis("take_along", axis, x.rank());
  Shape a = x.shape(), b = index.shape();
  a[axis] = b[axis] = 1;
  Shape to = broadcast("take_along", a, b);
  to[axis] = x.shape()[axis];
  Tensor const whole = x.expand(to);
  to[axis] = index.shape()[axis];
  return gather(whole, axis, from_start(index, x.shape()[axis]).expand(to));
}

Tensor put(Tensor const& x, Tensor const& index, Tensor const& source, bool accumulate) {
  check_defined("put", x);
  check_defined("put", index);
  check_defined("put", source);
  check(source.numel() == index.numel() && source.dtype() == x.dtype(), "put", [&] {
    return Complaint{fmt::format("expected {} values of {}, got shape {} of {}", index.numel(), name(x.dtype()),
                                 to_string(source.shape()), name(source.dtype())),
                     "give one value of the tensor's type for each index"};
  });
  return detail::put_at("put", x, flat_places("put", x, index), source.reshape(index.shape()), accumulate);
}

// ---- masks ----------------------------------------------------------------------------------------------------------

namespace {

void check_mask(char const* op, Tensor const& mask) {
  check_defined(op, mask);
  check(mask.dtype() == Dtype::boolean, op, [&] {
    return Complaint{fmt::format("expected a mask of bool, got {}", name(mask.dtype())),
                     "compare the tensor with a number, or convert it with .to(Dtype::boolean)"};
  });
}

}  // namespace

Tensor masked_fill(Tensor const& x, Tensor const& mask, Tensor const& value) {
  check_defined("masked_fill", x);
  check_mask("masked_fill", mask);
  check_defined("masked_fill", value);
  check(value.rank() == 0, "masked_fill", [&] {
    return Complaint{fmt::format("expected a value of rank 0, got shape {}", to_string(value.shape())),
                     "use where for several values"};
  });
  return where(mask.to(x.device()), beside(x, value), x);
}

Tensor masked_select(Tensor const& x, Tensor const& mask) {
  check_defined("masked_select", x);
  check_mask("masked_select", mask);
  Shape const shape = broadcast("masked_select", x.shape(), mask.shape());
  Places const places{positions(mask.expand(shape)).to(x.device()), 1, true};
  return detail::pick_at("masked_select", x.expand(shape), places.starts.shape(), places);
}

Tensor masked_scatter(Tensor const& x, Tensor const& mask, Tensor const& source) {
  check_defined("masked_scatter", x);
  check_mask("masked_scatter", mask);
  check_defined("masked_scatter", source);
  Shape const shape = broadcast("masked_scatter", x.shape(), mask.shape());
  Places const places{positions(mask.expand(shape)).to(x.device()), 1, true};
  int64_t const n = places.starts.numel();
  check(source.numel() >= n && source.dtype() == x.dtype(), "masked_scatter", [&] {
    return Complaint{fmt::format("the mask has {} places for values of {}, the source {} of {}", n, name(x.dtype()),
                                 source.numel(), name(source.dtype())),
                     "give at least one value of the tensor's type for each true element"};
  });
  return detail::put_at("masked_scatter", x.expand(shape), places, source.reshape({-1}).slice(0, 0, n), false);
}

Tensor nonzero(Tensor const& x) {
  check_defined("nonzero", x);
  Tensor const at = positions(x);
  int64_t const n = at.numel();
  int const rank = x.rank();
  if (rank == 1) return at.unsqueeze(1);
  Tensor y({n, rank}, Dtype::i64, x.device());
  if (!y.device().is_cpu()) {
    on("nonzero", y.device()).coordinates(at.address<int64_t>(), n, x.shape().data(), rank, y.address<int64_t>());
    return y;
  }
  int64_t* const to = y.data<int64_t>();
  parallel_for(n, 8192, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t rest = at.data<int64_t>()[i];
      for (int a = rank - 1; a >= 0; rest /= x.shape()[a], --a) to[i * rank + a] = rest % x.shape()[a];
    }
  });
  return y;
}

Tensor argwhere(Tensor const& x) { return nonzero(x); }

std::vector<Tensor> where(Tensor const& condition) {
  check_defined("where", condition);
  Tensor const at = nonzero(condition.rank() == 0 ? condition.unsqueeze(0) : condition).t().contiguous();
  std::vector<Tensor> columns;
  for (int64_t a = 0; a < at.size(0); ++a) columns.push_back(at.select(0, a));
  return columns;
}

Tensor one_hot(Tensor const& index, int64_t classes) {
  check_defined("one_hot", index);
  check(is_index(index.dtype()), "one_hot", [&] {
    return Complaint{fmt::format("expected an index of integers, got {}", name(index.dtype())),
                     "convert the index with .to(Dtype::i64)"};
  });
  int64_t const n = index.numel();
  check(classes > 0 || (classes == -1 && n > 0), "one_hot", [&] {
    return Complaint{
        fmt::format("expected 1 class or more, got {} for an index of shape {}", classes, to_string(index.shape())),
        "pass the number of classes; -1 takes the largest index plus one, where there is one"};
  });
  if (classes == -1) classes = max(index.to(Dtype::i64)).item<int64_t>() + 1;
  Shape shape = index.shape();
  shape.push_back(classes);
  Tensor const y = zeros(shape, Dtype::i64, index.device());
  Places places = places_along("one_hot", y, -1, index.unsqueeze(-1));
  places.distinct = true;
  detail::write(y, places, ones({}, Dtype::i64, index.device()).expand(index.shape()));
  return y;
}

// ---- a part replaced ------------------------------------------------------------------------------------------------

namespace {

/// x with `src` written into view(x).
template <class View>
Tensor replace(char const* op, Tensor const& x, Tensor const& src, View view) {
  Tensor const from = src.to(x.dtype());
  Tensor y = x.detach().clone();
  {
    NoGrad const off;
    Tensor part = view(y);
    check(part.shape() == from.shape(), op, [&] {
      return Complaint{fmt::format("a source of shape {} does not fit a part of shape {}", to_string(from.shape()),
                                   to_string(part.shape())),
                       "give the source the shape of the part that it replaces"};
    });
    part.copy_(from.detach());
  }
  if (tracked(x, from))
    record(op, y, {&x, &from},
           [op, view, shape = from.shape()](Tensor const& g, Node const& node) -> std::array<Tensor, 2> {
             Tensor dx, ds;
             if (node.needs(0)) dx = replace(op, g, zeros(shape, g.dtype(), g.device()), view);
             if (node.needs(1)) ds = view(g);
             return {dx, ds};
           });
  return y;
}

}  // namespace

Tensor select_scatter(Tensor const& x, Tensor const& src, int axis, int64_t index) {
  check_defined("select_scatter", x);
  check_defined("select_scatter", src);
  return replace("select_scatter", x, src, [=](Tensor const& t) { return t.select(axis, index); });
}

Tensor slice_scatter(Tensor const& x, Tensor const& src, int axis, int64_t from, int64_t to, int64_t step) {
  check_defined("slice_scatter", x);
  check_defined("slice_scatter", src);
  return replace("slice_scatter", x, src, [=](Tensor const& t) { return t.slice(axis, from, to, step); });
}

Tensor diagonal_scatter(Tensor const& x, Tensor const& src, int64_t offset, int axis1, int axis2) {
  check_defined("diagonal_scatter", x);
  check_defined("diagonal_scatter", src);
  return replace("diagonal_scatter", x, src, [=](Tensor const& t) { return diagonal(t, offset, axis1, axis2); });
}

}  // namespace heed
