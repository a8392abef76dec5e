#include <fmt/format.h>
#include <heed/engine/derivatives.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

using Tensors = std::vector<Tensor>;

void check_same_shapes(char const* op, char const* what, Tensors const& got, Tensors const& wanted) {
  check(got.size() == wanted.size(), op, [&] {
    return Complaint{fmt::format("expected {} {}, got {}", wanted.size(), what, got.size()), "pass one for each"};
  });
  for (size_t i = 0; i < got.size(); ++i)
    check(got[i].defined() && got[i].shape() == wanted[i].shape() && got[i].dtype() == wanted[i].dtype(), op, [&] {
      return Complaint{
          fmt::format("expected {} of shape {} {}, got {} as number {}", what, to_string(wanted[i].shape()),
                      name(wanted[i].dtype()),
                      got[i].defined() ? fmt::format("{} {}", to_string(got[i].shape()), name(got[i].dtype())) : "none",
                      i),
          "give them the shapes and types of what they belong to"};
    });
}

/// A call of f on inputs of its own, at which walks end.
class Call {
 public:
  Call(char const* op, TensorFunction const& f, Tensors const& inputs)
      : op_(op), recorded_(recording()), epoch_(next_epoch()) {
    EnableGrad const on;
    check(recording(), op, [] {
      return Complaint{"nothing is recorded in inference mode", "use NoGrad around what needs no gradient"};
    });
    for (Tensor const& input : inputs) {
      check_defined(op, input);
      if (!is_floating(input.dtype())) detail::unsupported_dtype(op, input.dtype(), "a floating type");
      bool const tracked_input = recorded_ && input.requires_grad();
      connected_ |= tracked_input;
      inputs_.push_back(tracked_input ? input.expand(input.shape()) : input.detach().requires_grad_());
      edges_.emplace_back(inputs_.back());
    }
    outputs_ = f(inputs_);
    for (Tensor const& y : outputs_) check_defined(op, y);
    connected_ |= recorded_ && !captured(outputs_, epoch_, inputs_).empty();
  }

  Tensors const& inputs() const { return inputs_; }
  Tensors const& outputs() const { return outputs_; }

  Tensor const& one_element() const {
    check(outputs_.size() == 1 && outputs_[0].numel() == 1, op_, [&] {
      return Complaint{outputs_.size() == 1 ? fmt::format("expected an output of one element, got shape {}",
                                                          to_string(outputs_[0].shape()))
                                            : fmt::format("expected one output, got {}", outputs_.size()),
                       "reduce it (sum, mean) in the function"};
    });
    return outputs_[0];
  }

  /// Whether `also`, or what f took, leads back into the caller's tape.
  bool connected(Tensors const& also = {}) const {
    return recorded_ && (connected_ || std::any_of(also.begin(), also.end(),
                                                   [](Tensor const& t) { return t.defined() && t.requires_grad(); }));
  }
  /// Gradients at the inputs, zeros where there are none.
  Tensors walk(Tensors const& outputs, Tensors const& cotangents, InnerWalk mode) const {
    Tensors gradients = gradients_at(edges_, outputs, cotangents, {mode.retain || mode.create, mode.create, epoch_});
    for (size_t i = 0; i < gradients.size(); ++i)
      if (!gradients[i].defined()) gradients[i] = zeros_like(inputs_[i]);
    return gradients;
  }
  /// What the caller gets of results that were made with recording.
  Tensors finish(Tensors results, bool keep) const {
    if (!keep)
      for (Tensor& result : results) result = plain(result);
    return results;
  }

  static Tensor plain(Tensor const& t) {
    Tensor alias(t.body()->storage, t.body()->offset, t.shape(), t.strides(), t.dtype());
    alias.body()->is_view = t.body()->is_view;
    return alias;
  }

 private:
  char const* op_;
  bool recorded_, connected_ = false;
  uint32_t epoch_;
  Tensors inputs_, outputs_;
  std::vector<Edge> edges_;
};

/// J·t for outputs `y` of a call.
Tensors forward_product(Call const& call, Tensors const& y, Tensors const& tangents, bool create) {
  EnableGrad const on;
  Tensors u;
  std::vector<Edge> edges;
  for (Tensor const& output : y) {
    u.push_back(zeros_like(output.detach()));
    if (is_floating(output.dtype())) u.back().requires_grad_();
    edges.emplace_back(u.back());
  }
  Tensors const g = call.walk(y, u, {.create = true});
  Tensors product = gradients_at(edges, g, tangents, {.retain = create, .create = create});
  for (size_t k = 0; k < y.size(); ++k)
    if (!product[k].defined()) product[k] = zeros_like(y[k].detach());
  return product;
}

Tensors ones_for(char const* op, Tensors const& outputs) {
  check(outputs.size() == 1 && outputs[0].numel() == 1, op, [&] {
    return Complaint{"expected cotangents, since the function does not give one output of one element",
                     "pass one tensor for each output, with its shape"};
  });
  return {ones(outputs[0].shape(), outputs[0].dtype(), outputs[0].device())};
}

/// [k][i] = ∂(outputs[k])/∂(input i): a walk for every element of every output.
std::vector<Tensors> matrices(Call const& call, Tensors const& outputs, bool create) {
  std::vector<Tensors> all;
  for (Tensor const& y : outputs) {
    int64_t const n = y.numel();
    std::vector<Tensors> rows(call.inputs().size());
    for (int64_t e = 0; e < n; ++e) {
      Tensor unit = zeros({n}, y.dtype(), y.device());
      unit.slice(0, e, e + 1).fill_(1);
      Tensors const row = call.walk({y}, {unit.reshape(y.shape())}, {.retain = true, .create = create});
      for (size_t i = 0; i < row.size(); ++i) rows[i].push_back(row[i]);
    }
    Tensors& mine = all.emplace_back();
    for (size_t i = 0; i < rows.size(); ++i) {
      Tensor const& x = call.inputs()[i];
      Shape shape = y.shape();
      for (int64_t size : x.shape()) shape.push_back(size);
      mine.push_back(n == 0 ? zeros(shape, x.dtype(), x.device()) : stack(rows[i]).reshape(shape));
    }
  }
  return all;
}

}  // namespace

void TensorFunction::check_count(size_t takes, size_t given) {
  check(takes == given, "TensorFunction", [&] {
    return Complaint{fmt::format("the function takes {} tensors, got {} inputs", takes, given),
                     "pass as many inputs as it takes"};
  });
}

JacobianProduct vjp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& cotangents) {
  Call const call("vjp", f, inputs);
  Tensors const u = cotangents.empty() ? ones_for("vjp", call.outputs()) : cotangents;
  check_same_shapes("vjp", "cotangents", u, call.outputs());
  bool const keep = call.connected(u);
  return {call.finish(call.outputs(), keep), call.finish(call.walk(call.outputs(), u, {.create = keep}), keep)};
}

JacobianProduct jvp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& tangents) {
  Call const call("jvp", f, inputs);
  check_same_shapes("jvp", "tangents", tangents, call.inputs());
  bool const keep = call.connected(tangents);
  return {call.finish(call.outputs(), keep), call.finish(forward_product(call, call.outputs(), tangents, keep), keep)};
}

std::vector<std::vector<Tensor>> jacobian(TensorFunction const& f, std::vector<Tensor> const& inputs) {
  Call const call("jacobian", f, inputs);
  RecordMode const mode(call.connected());
  return matrices(call, call.outputs(), call.connected());
}

Tensor jacobian(TensorFunction const& f, Tensor const& input) {
  Call const call("jacobian", f, {input});
  check(call.outputs().size() == 1, "jacobian", [&] {
    return Complaint{fmt::format("expected one output, got {}", call.outputs().size()),
                     "pass the inputs as a list to get a matrix for each output"};
  });
  RecordMode const mode(call.connected());
  return matrices(call, call.outputs(), call.connected())[0][0];
}

std::vector<std::vector<Tensor>> hessian(TensorFunction const& f, std::vector<Tensor> const& inputs) {
  Call const call("hessian", f, inputs);
  Tensor const& y = call.one_element();
  Tensors const g = [&] {
    EnableGrad const on;
    return call.walk({y}, {ones(y.shape(), y.dtype(), y.device())}, {.create = true});
  }();
  RecordMode const mode(call.connected());
  return matrices(call, g, call.connected());
}

Tensor hessian(TensorFunction const& f, Tensor const& input) { return hessian(f, Tensors{input})[0][0]; }

JacobianProduct hvp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& v) {
  Call const call("hvp", f, inputs);
  check_same_shapes("hvp", "vectors", v, call.inputs());
  Tensor const& y = call.one_element();
  bool const keep = call.connected(v);
  EnableGrad const on;
  Tensors const g = call.walk({y}, {ones(y.shape(), y.dtype(), y.device())}, {.create = true});
  return {call.finish({y}, keep), call.finish(forward_product(call, g, v, keep), keep)};
}

JacobianProduct vhp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& v) {
  Call const call("vhp", f, inputs);
  check_same_shapes("vhp", "vectors", v, call.inputs());
  Tensor const& y = call.one_element();
  bool const keep = call.connected(v);
  EnableGrad const on;
  Tensors const g = call.walk({y}, {ones(y.shape(), y.dtype(), y.device())}, {.create = true});
  return {call.finish({y}, keep), call.finish(call.walk(g, v, {.create = keep}), keep)};
}

}  // namespace heed
