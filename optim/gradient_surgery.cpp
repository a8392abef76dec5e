#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/gradient_surgery.h>

#include <algorithm>
#include <numeric>

namespace heed::optim {
namespace {

using Gradients = std::vector<Tensor>;  // of every parameter; undefined where a loss does not depend on it

double dot(Gradients const& a, Gradients const& b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].defined() && b[i].defined()) total += sum(a[i].to(Dtype::f64) * b[i].to(Dtype::f64)).item();
  return total;
}

/// a + scale·b
void add(Gradients& a, Gradients const& b, double scale) {
  for (size_t i = 0; i < a.size(); ++i)
    if (b[i].defined()) a[i] = a[i].defined() ? a[i] + b[i] * scale : b[i] * scale;
}

}  // namespace

void set_surgical_gradients(std::vector<Tensor> const& losses, std::vector<ParameterGroup> const& groups,
                            Generator& generator) {
  check(!losses.empty(), "set_surgical_gradients", [] {
    return Complaint{"expected losses, got none", "pass one scalar for each task"};
  });
  for (Tensor const& loss : losses)
    check(loss.defined() && loss.numel() == 1 && loss.requires_grad(), "set_surgical_gradients", [&] {
      return Complaint{fmt::format("expected scalars that depend on parameters, got {}",
                                   loss.defined() ? to_string(loss.shape()) : "none"),
                       "take the mean of each task's loss"};
    });
  std::vector<Tensor> parameters;
  for (ParameterGroup const& group : groups)
    for (nn::NamedTensor const& p : group.parameters) parameters.push_back(p.tensor);
  std::vector<Gradients> before;
  for (size_t i = 0; i < losses.size(); ++i)
    before.push_back(grad({losses[i]}, parameters, {}, {.retain_graph = i + 1 < losses.size(), .allow_unused = true}));
  NoGrad const off;
  Gradients total(parameters.size());
  std::vector<size_t> order(losses.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = 0; i < losses.size(); ++i) {
    auto const draws = rand({int64_t(order.size())}, Dtype::f64, generator).to_vector<double>();
    for (size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[size_t(draws[k - 1] * double(k))]);
    Gradients own = before[i];
    for (size_t const j : order) {
      if (j == i) continue;
      double const along = dot(own, before[j]);
      if (along < 0) add(own, before[j], -along / dot(before[j], before[j]));
    }
    add(total, own, 1);
  }
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].set_grad(total[i]);
}

}  // namespace heed::optim
