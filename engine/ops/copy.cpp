// What moves elements: contiguous, clone, to, cat, and assignment in place.
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

Tensor cat(std::vector<Tensor> const& tensors, int axis) {
  check(!tensors.empty(), "cat", [] {
    return Complaint{"expected at least one tensor, got none", "pass the tensors to join"};
  });
  for (Tensor const& t : tensors) check_defined("cat", t);
  axis = normalize_axis("cat", axis, tensors[0].rank());
  Shape shape = tensors[0].shape();
  Dtype dtype = tensors[0].dtype();
  for (size_t i = 1; i < tensors.size(); ++i) {
    Shape expected = shape;
    if (tensors[i].rank() == shape.rank()) expected[axis] = tensors[i].shape()[axis];
    check(tensors[i].shape() == expected, "cat", [&] {
      return Complaint{fmt::format("tensor {} of shape {} does not fit tensor 0 of shape {} along axis {}", i,
                                   to_string(tensors[i].shape()), to_string(tensors[0].shape()), axis),
                       "make all sizes but that of the joined axis equal"};
    });
    shape[axis] += tensors[i].shape()[axis];
    dtype = promote(dtype, tensors[i].dtype());
  }
  Observed const watch("cat");  // its copies have the bytes
  Tensor y(shape, dtype);
  std::vector<int64_t> starts;
  {
    NoGrad const off;
    int64_t start = 0;
    for (Tensor const& t : tensors) {
      starts.push_back(start);
      y.slice(axis, start, start + t.shape()[axis]).copy_(t.detach());
      start += t.shape()[axis];
    }
    starts.push_back(start);
  }
  if (tracked(tensors))
    record_many("cat", y, tensors, [axis, starts](Tensor const& g, Node const& node) {
      std::vector<Tensor> pieces(starts.size() - 1);
      for (size_t i = 0; i < pieces.size(); ++i)
        if (node.needs(int(i))) pieces[i] = g.slice(axis, starts[i], starts[i + 1]);
      return pieces;
    });
  return y;
}

Tensor stack(std::vector<Tensor> const& tensors, int axis) {
  std::vector<Tensor> longer;
  for (Tensor const& t : tensors) {
    check_defined("stack", t);
    longer.push_back(t.unsqueeze(axis));
  }
  return cat(longer, axis);
}

}  // namespace heed
