// Gradients against central differences, in f64.
#pragma once

#include <heed/engine/tensor.h>

#include <functional>
#include <string>
#include <vector>

namespace heed::test {

using Function = std::function<std::vector<Tensor>(std::vector<Tensor> const&)>;

struct GradcheckOptions {
  double step = 1e-5;       // h of (f(x + h) − f(x − h))/2h
  double tolerance = 3e-7;  // of |numeric − analytic|, relative to 1 + |numeric|
  int64_t full_up_to = 48;  // elements in and out up to which the whole Jacobian is compared, else random directions
  int directions = 3;
};

/// Compares the gradients of every floating output with respect to the inputs that require one. Inputs are f64; `f`
/// must give the same result for the same input. Returns what differs, or nothing.
std::string gradcheck(Function const& f, std::vector<Tensor> const& inputs, GradcheckOptions options = {});

/// gradcheck of the gradients themselves, recorded with create_graph, with respect to the inputs and to the cotangents.
std::string gradgradcheck(Function const& f, std::vector<Tensor> const& inputs, GradcheckOptions options = {});

/// Numbers in [-1, 1) of `shape`, the same everywhere: from a counter and `key`.
Tensor numbers(Shape const& shape, uint32_t key, Dtype dtype = Dtype::f64);

}  // namespace heed::test
