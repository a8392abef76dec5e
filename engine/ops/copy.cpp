// What moves elements: contiguous, clone, to, and assignment in place.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

void copy_elements(Tensor const& from, Tensor const& to) {
  int const size = int(size_of(from.dtype()));
  auto const& kernels = heed::kernels<CopyKernels>();
  if (to.numel() == 0) return;
  Observed const watch("copy", {&from}, {&to});
  if (to.is_contiguous()) {
    kernels.gather(from.raw(), from.strides().data(), to.raw(), to.shape().data(), to.rank(), size);
  } else {
    Tensor const whole = from.is_contiguous() ? from : from.detach().contiguous();
    kernels.scatter(whole.raw(), to.raw(), to.strides().data(), to.shape().data(), to.rank(), size);
  }
}

bool overlap(Tensor const& a, Tensor const& b) { return a.body()->storage == b.body()->storage; }

}  // namespace

Tensor Tensor::clone() const {
  check_defined("clone", *this);
  Tensor y(shape(), dtype());
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
  Tensor y(shape(), dtype);
  Observed const watch("to", {&whole}, {&y});
  kernels<CopyKernels>().cast(whole.raw(), this->dtype(), y.raw(), dtype, numel());
  if (tracked(*this) && is_floating(dtype))
    record("to", y, {this}, [from = this->dtype()](Tensor const& g, Node const&) { return std::array{g.to(from)}; });
  return y;  // to an integer: no longer a differentiable function of its source
}

Tensor& Tensor::copy_(Tensor const& from) {
  check_defined("copy_", *this);
  check_defined("copy_", from);
  check(broadcast("copy_", from.shape(), shape()) == shape(), "copy_", [&] {
    return Complaint{fmt::format("a tensor of shape {} cannot be copied into {}", heed::to_string(from.shape()),
                                 heed::to_string(shape())),
                     "make the shapes equal, or broadcastable to the target"};
  });
  Tensor const value = from.to(dtype()).expand(shape());
  assign_in_place("copy_", *this, value);
  return *this;
}

void assign_in_place(char const* op, Tensor& x, Tensor const& y) {
  bool const track = tracked(x, y);
  if (track) check_in_place(op, x);
  copy_elements(overlap(x, y) ? y.detach().clone() : y, x);
  x.storage().bump_version();
  if (track) {
    x.body()->node = y.body()->node;
    x.body()->slot = y.body()->slot;
  }
}

}  // namespace heed
