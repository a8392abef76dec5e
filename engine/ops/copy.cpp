// What moves elements: contiguous, clone, to, and assignment in place.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

void copy_elements(Tensor const& from, Tensor const& to) {
  int const size = int(size_of(from.dtype()));
  if (to.numel() == 0) return;
  if (!(from.device() == to.device())) return copy_elements(from.to(to.device()), to);
  auto const& kernels = heed::kernels<CopyKernels>(to.device(), "copy");
  Observed const watch("copy", {&from}, {&to});
  if (to.is_contiguous()) {
    kernels.gather(from.address(), from.strides().data(), to.address(), to.shape().data(), to.rank(), size);
  } else {
    Tensor const whole = from.is_contiguous() ? from : from.detach().contiguous();
    kernels.scatter(whole.address(), to.address(), to.strides().data(), to.shape().data(), to.rank(), size);
  }
}

bool overlap(Tensor const& a, Tensor const& b) { return a.body()->storage == b.body()->storage; }

}  // namespace

Tensor Tensor::clone() const {
  check_defined("clone", *this);
  Tensor y(shape(), dtype(), device());
  copy_elements(*this, y);
  if (tracked(*this)) record("clone", y, {this}, [](Tensor const& g, Node const&) { return std::array{g}; });
  return y;
}

Tensor Tensor::contiguous() const {
  check_defined("contiguous", *this);
  return is_contiguous() ? *this : clone();
}

Tensor Tensor::to(Dtype dtype) const {
  check_defined("to", *this);
  if (dtype == this->dtype()) return *this;
  Tensor const whole = detach().contiguous();
  Tensor y(shape(), dtype, device());
  Observed const watch("to", {&whole}, {&y});
  if (numel() > 0)
    kernels<CopyKernels>(device(), "to").cast(whole.address(), this->dtype(), y.address(), dtype, numel());
  if (tracked(*this) && is_floating(dtype))
    record("to", y, {this}, [from = this->dtype()](Tensor const& g, Node const&) { return std::array{g.to(from)}; });
  return y;  // to an integer: no longer a differentiable function of its source
}

Tensor Tensor::to(Device device) const {
  check_defined("to", *this);
  Device const here = this->device();
  if (device == here) return *this;
  Tensor const whole = detach().contiguous();
  size_t const bytes = size_t(numel()) * size_of(dtype());
  if (!here.is_cpu() && !device.is_cpu() && !(here == device)) return to(cpu).to(device);
  Tensor y;
  Observed const watch("to", {&whole}, {&y});
  if (bytes > 0 && here.is_cpu()) {
    y = Tensor(Storage::copy_of(whole.address(), bytes, device), 0, shape(), contiguous_strides(shape()), dtype());
  } else {
    y = Tensor(shape(), dtype(), device);
    if (bytes > 0) backend(here).copy_out(here.index, y.address(), whole.address(), bytes);
  }
  if (tracked(*this)) record("to", y, {this}, [here](Tensor const& g, Node const&) { return std::array{g.to(here)}; });
  return y;
}

Tensor& Tensor::copy_(Tensor const& from) {
  check_defined("copy_", *this);
  check_defined("copy_", from);
  check(broadcast("copy_", from.shape(), shape()) == shape(), "copy_", [&] {
    return Complaint{fmt::format("a tensor of shape {} cannot be copied into {}", heed::to_string(from.shape()),
                                 heed::to_string(shape())),
                     "make the shapes equal, or broadcastable to the target"};
  });
  Tensor const value = from.to(dtype()).to(device()).expand(shape());
  assign_in_place("copy_", *this, value);
  return *this;
}

namespace {

/// Where a view lies in its contiguous base.
struct Region {
  Shape base, shape;
  Strides strides;
  int64_t offset;
};
Tensor put_region(Tensor const& x, Tensor const& value, Region const& region);

/// The elements of x at `region`.
Tensor take_region(Tensor const& x, Region const& region) {
  Tensor const whole = x.detach().contiguous();
  Tensor const y =
      Tensor(whole.body()->storage, whole.body()->offset + region.offset, region.shape, region.strides, x.dtype());
  Tensor taken = y.clone();
  if (tracked(x))
    record("take_region", taken, {&x}, [region](Tensor const& g, Node const&) {
      return std::array{put_region(zeros(region.base, g.dtype(), g.device()), g, region)};
    });
  return taken;
}

auto put_gradient(Region const& region) {
  return [region](Tensor const& g, Node const& node) {
    return std::array{node.needs(0) ? put_region(g, zeros(region.shape, g.dtype(), g.device()), region) : Tensor(),
                      node.needs(1) ? take_region(g, region) : Tensor()};
  };
}

/// x with `value` at `region`.
Tensor put_region(Tensor const& x, Tensor const& value, Region const& region) {
  Tensor y = x.detach().contiguous();
  if (overlap(x, y)) y = y.clone();
  copy_elements(value.detach(),
                Tensor(y.body()->storage, y.body()->offset + region.offset, region.shape, region.strides, y.dtype()));
  if (tracked(x, value)) record("put_region", y, {&x, &value}, put_gradient(region));
  return y;
}

/// Tells the tape that the elements of view `x` are now `value`: its base is the result of an assignment to a region,
/// and x is that region of the new base.
void assign_region(char const* op, Tensor& x, Tensor const& value) {
  Tensor base(x.body()->base);
  Region const region{base.shape(), x.shape(), x.strides(), x.body()->offset - base.body()->offset};
  record(op, base, {&base, &value}, put_gradient(region));
  base.body()->slot = 0;
  record("take_region", x, {&base}, [region](Tensor const& g, Node const&) {
    return std::array{put_region(zeros(region.base, g.dtype(), g.device()), g, region)};
  });
  x.body()->slot = 0;
}

}  // namespace

void assign_in_place(char const* op, Tensor& x, Tensor const& y) {
  bool const track = tracked(x, y);
  if (track) check_in_place(op, x);
  copy_elements(overlap(x, y) ? y.detach().clone() : y, x);
  x.storage().bump_version();
  if (!track) return;
  if (x.body()->is_view) return assign_region(op, x, y);
  x.body()->node = y.body()->node;
  x.body()->slot = y.body()->slot;
}

}  // namespace heed
