#include <fmt/format.h>
#include <heed/engine/custom.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {

struct CustomGradient {
  struct Like {
    Shape shape;
    Dtype dtype;
  };
  CustomBackward backward;
  std::vector<Saved> saved;                // undefined where the tensor is an output
  std::vector<SavedOutput> saved_outputs;  // undefined where it is not
  std::vector<bool> needs;
  std::vector<Like> inputs, outputs;

  std::vector<Tensor> operator()(Tensor const* g, Node const& node) const {
    std::vector<Tensor> output_gradients(g, g + outputs.size());
    CustomContext context;
    context.needs_ = needs;
    for (size_t i = 0; i < saved.size(); ++i) {
      Tensor const output = saved_outputs[i].get(node);
      context.saved_.push_back(output.defined() ? output : saved[i].get(node));
    }
    for (size_t i = 0; i < outputs.size(); ++i)
      if (!output_gradients[i].defined()) output_gradients[i] = zeros(outputs[i].shape, outputs[i].dtype);
    std::vector<Tensor> gradients = backward(output_gradients, context);
    check(gradients.size() == inputs.size(), node.op(), [&] {
      return Complaint{fmt::format("its backward returned {} gradients for {} inputs", gradients.size(), inputs.size()),
                       "return one for each input, undefined for those without"};
    });
    for (size_t i = 0; i < inputs.size(); ++i) fit(gradients[i], i, node);
    return gradients;
  }

  void fit(Tensor& gradient, size_t i, Node const& node) const {
    if (!gradient.defined()) return;
    if (!needs[i]) {
      gradient = {};
      return;
    }
    Shape const& from = inputs[i].shape;
    bool fits = from.rank() <= gradient.rank();
    for (int axis = 1; fits && axis <= from.rank(); ++axis) {
      int64_t const n = from[from.rank() - axis];
      fits = n == 1 || n == gradient.shape()[gradient.rank() - axis];
    }
    check(fits && is_floating(gradient.dtype()), node.op(), [&] {
      return Complaint{
          fmt::format("its backward returned a gradient of shape {} {} for input {} of shape {} {}",
                      to_string(gradient.shape()), name(gradient.dtype()), i, to_string(from), name(inputs[i].dtype)),
          "return gradients with the shapes of the inputs"};
    });
    if (gradient.dtype() != inputs[i].dtype) gradient = gradient.to(inputs[i].dtype);
  }
};

std::vector<Tensor> custom(std::string_view name, std::vector<Tensor> const& inputs, CustomForward const& forward,
                           CustomBackward backward) {
  char const* const op = intern(name).data();  // it ends in a zero
  Observed const watch(op);
  CustomContext context;
  for (Tensor const& input : inputs) context.needs_.push_back(input.defined() && tracked(input));
  bool const any = std::find(context.needs_.begin(), context.needs_.end(), true) != context.needs_.end();
  std::vector<Tensor> outputs;
  {
    NoGrad const off;
    outputs = forward(inputs, context);
  }
  for (size_t i : context.constant_)
    check(i < outputs.size(), op, [&] {
      return Complaint{fmt::format("output {} is not differentiable, it says, of {} outputs", i, outputs.size()),
                       "count outputs from 0"};
    });
  for (Tensor const& y : outputs) check_defined(op, y);
  if (!any) return outputs;

  CustomGradient gradient{std::move(backward), {}, {}, context.needs_, {}, {}};
  std::vector<Tensor> recorded(outputs.size());
  for (Tensor const& input : inputs)
    gradient.inputs.push_back(input.defined() ? CustomGradient::Like{input.shape(), input.dtype()}
                                              : CustomGradient::Like{{}, Dtype::f32});
  std::vector<size_t> saved_slot;
  for (Tensor const& tensor : context.saved_) {
    auto const of = std::find_if(outputs.begin(), outputs.end(), [&](Tensor const& y) {
      return tensor.defined() && y.body() == tensor.body() &&
             std::none_of(inputs.begin(), inputs.end(), [&](Tensor const& x) { return x.body() == y.body(); });
    });
    saved_slot.push_back(size_t(of - outputs.begin()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    Tensor& y = outputs[i];
    gradient.outputs.push_back({y.shape(), y.dtype()});
    bool const constant = !is_floating(y.dtype()) ||
                          std::find(context.constant_.begin(), context.constant_.end(), i) != context.constant_.end();
    // A tensor that something else holds, such as an input, keeps its own place in the tape.
    auto const own = 1 + std::count_if(context.saved_.begin(), context.saved_.end(),
                                       [&](Tensor const& saved) { return saved.body() == y.body(); });
    if (y.body()->use_count() > own || y.requires_grad() || constant) y = y.detach();
    if (!constant) recorded[i] = y;
  }
  for (size_t k = 0; k < saved_slot.size(); ++k) {
    size_t const slot = saved_slot[k];
    bool const is_output = slot < outputs.size() && recorded[slot].defined();
    gradient.saved.push_back(is_output ? Saved() : Saved(context.saved_[k]));
    gradient.saved_outputs.push_back(is_output ? SavedOutput(recorded[slot], int(slot)) : SavedOutput());
  }
  record_lists(op, recorded, inputs, std::move(gradient));
  return outputs;
}

}  // namespace heed
