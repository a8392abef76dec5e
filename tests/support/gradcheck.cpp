#include "gradcheck.h"

#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <cmath>

namespace heed::test {
namespace {

std::vector<Tensor> floating_of(std::vector<Tensor> const& tensors) {
  std::vector<Tensor> kept;
  for (Tensor const& t : tensors)
    if (is_floating(t.dtype())) kept.push_back(t);
  return kept;
}

/// Fresh leaves with the same values, requiring gradients where the originals do.
std::vector<Tensor> leaves(std::vector<Tensor> const& inputs) {
  std::vector<Tensor> copies;
  for (Tensor const& input : inputs) {
    Tensor copy = input.detach().clone();
    if (input.requires_grad()) copy.requires_grad_();
    copies.push_back(copy);
  }
  return copies;
}

std::vector<double> joined(std::vector<Tensor> const& outputs) {
  std::vector<double> all;
  for (Tensor const& output : outputs)
    for (double value : output.to_vector<double>()) all.push_back(value);
  return all;
}

/// Element i of all inputs that require gradients, counted through.
struct Element {
  size_t input;
  int64_t index;
};

struct Check {
  Function const& f;
  std::vector<Tensor> const& inputs;
  GradcheckOptions options;
  std::vector<Element> elements;

  std::vector<double> moved(std::vector<double> const& direction, double by) const {
    auto at = leaves(inputs);
    size_t n = 0;
    for (Element const& e : elements) at[e.input].data<double>()[e.index] += by * direction[n++];
    return joined(floating_of(f(at)));
  }

  /// (f(x + h·d) − f(x − h·d))/2h
  std::vector<double> difference(std::vector<double> const& direction) const {
    auto up = moved(direction, options.step), down = moved(direction, -options.step);
    // Equal values, −∞ among them, do not change.
    for (size_t i = 0; i < up.size(); ++i) up[i] = up[i] == down[i] ? 0 : (up[i] - down[i]) / (2 * options.step);
    return up;
  }

  /// Gradient of Σ cotangent·outputs for every element; outputs that depend on nothing count as constants.
  std::vector<double> analytic(std::vector<double> const& cotangent) const {
    auto const at = leaves(inputs);
    auto const outputs = floating_of(f(at));
    std::vector<Tensor> tracked_outputs, wanted, gradients;
    size_t from = 0;
    for (Tensor const& output : outputs) {
      size_t const n = size_t(output.numel());
      std::vector<double> const part(cotangent.begin() + from, cotangent.begin() + from + n);
      from += n;
      if (!output.requires_grad()) continue;
      tracked_outputs.push_back(output);
      gradients.push_back(tensor(part, output.shape()));
    }
    for (Tensor const& t : at)
      if (t.requires_grad()) wanted.push_back(t);
    std::vector<double> all;
    auto const found = tracked_outputs.empty() ? std::vector<Tensor>(wanted.size())
                                               : grad(tracked_outputs, wanted, gradients, {.allow_unused = true});
    for (size_t i = 0; i < wanted.size(); ++i) {
      Tensor const g = found[i].defined() ? found[i] : zeros_like(wanted[i]);
      if (!(g.shape() == wanted[i].shape()) || g.dtype() != Dtype::f64) return {};
      for (double value : g.to_vector<double>()) all.push_back(value);
    }
    return all;
  }

  bool close(double numeric, double got) const {
    return std::abs(numeric - got) <= options.tolerance * (1 + std::abs(numeric));
  }

  std::string run() const {
    size_t const m = joined(floating_of(f(leaves(inputs)))).size(), n = elements.size();
    if (n == 0 || m == 0) {
      return analytic(std::vector<double>(m)).size() == n ? "" : "a gradient has the wrong shape or type";
    }
    if (int64_t(n) <= options.full_up_to && int64_t(m) <= options.full_up_to) {
      std::vector<std::vector<double>> rows(m), columns(n);
      for (size_t i = 0; i < m; ++i) {
        std::vector<double> one(m);
        one[i] = 1;
        rows[i] = analytic(one);
        if (rows[i].size() != n) return "a gradient has the wrong shape or type";
      }
      for (size_t j = 0; j < n; ++j) {
        std::vector<double> one(n);
        one[j] = 1;
        columns[j] = difference(one);
      }
      for (size_t i = 0; i < m; ++i)
        for (size_t j = 0; j < n; ++j)
          if (!close(columns[j][i], rows[i][j]))
            return fmt::format("d output[{}]/d input {}[{}]: differences give {}, backward gives {}", i,
                               elements[j].input, elements[j].index, columns[j][i], rows[i][j]);
      return "";
    }
    for (int round = 0; round < options.directions; ++round) {
      auto const cotangent = numbers({int64_t(m)}, uint32_t(100 + round)).to_vector<double>();
      auto const direction = numbers({int64_t(n)}, uint32_t(200 + round)).to_vector<double>();
      auto const gradient = analytic(cotangent);
      if (gradient.size() != n) return "a gradient has the wrong shape or type";
      auto const change = difference(direction);
      double numeric = 0, got = 0, size = 0;
      for (size_t i = 0; i < m; ++i) numeric += cotangent[i] * change[i];
      for (size_t j = 0; j < n; ++j) {
        got += gradient[j] * direction[j];
        size += std::abs(gradient[j] * direction[j]);
      }
      if (!(std::abs(numeric - got) <= options.tolerance * (1 + size)))
        return fmt::format("along direction {}: differences give {}, backward gives {}", round, numeric, got);
    }
    return "";
  }
};

}  // namespace

Tensor numbers(Shape const& shape, uint32_t key, Dtype dtype) {
  std::vector<double> values(size_t(numel(shape)));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = double(float(philox4x32({uint32_t(i), 7, 0, 0}, {key, 3})[0] * 0x1p-31 - 1));
  return tensor(values, shape).to(dtype);
}

std::string gradcheck(Function const& f, std::vector<Tensor> const& inputs, GradcheckOptions options) {
  Check check{f, inputs, options, {}};
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].requires_grad())
      for (int64_t k = 0; k < inputs[i].numel(); ++k) check.elements.push_back({i, k});
  return check.run();
}

std::string gradgradcheck(Function const& f, std::vector<Tensor> const& inputs, GradcheckOptions options) {
  auto const outputs = floating_of(f(leaves(inputs)));
  std::vector<Tensor> all = inputs;
  for (size_t k = 0; k < outputs.size(); ++k)
    all.push_back(numbers(outputs[k].shape(), uint32_t(300 + k)).requires_grad_());
  size_t const count = inputs.size();
  Function const gradients = [&f, count](std::vector<Tensor> const& all) {
    std::vector<Tensor> const at(all.begin(), all.begin() + int64_t(count));
    std::vector<Tensor> tracked_outputs, cotangents, wanted;
    auto const outputs = floating_of(f(at));
    for (size_t k = 0; k < outputs.size(); ++k)
      if (outputs[k].requires_grad()) {
        tracked_outputs.push_back(outputs[k]);
        cotangents.push_back(all[count + k]);
      }
    for (Tensor const& t : at)
      if (t.requires_grad()) wanted.push_back(t);
    auto found = grad(tracked_outputs, wanted, cotangents, {.create_graph = true, .allow_unused = true});
    for (size_t i = 0; i < found.size(); ++i)
      if (!found[i].defined()) found[i] = zeros_like(wanted[i]);
    return found;
  };
  return gradcheck(gradients, all, options);
}

}  // namespace heed::test
