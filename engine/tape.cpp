#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

thread_local bool recording_on = true;
thread_local Node* graveyard = nullptr;
thread_local bool burying = false;
thread_local std::vector<Tensor>* kept_tensors = nullptr;

void check_version(Tensor const& tensor, uint32_t version, Node const& node) {
  check(tensor.storage().version() == version, node.op(), [&] {
    return Complaint{
        fmt::format("a tensor of shape {} saved for backward was changed in place: version {} was saved, it is now {}",
                    to_string(tensor.shape()), version, tensor.storage().version()),
        "use the out-of-place operation, or clone() before the change"};
  });
}

}  // namespace

bool recording() noexcept { return recording_on; }
RecordMode::RecordMode(bool on) noexcept : before_(recording_on) { recording_on = on; }
RecordMode::~RecordMode() { recording_on = before_; }

Edge::Edge(Tensor const& input) {
  TensorBody* const body = input.body();
  if (body->node) {
    node = body->node;
    slot = body->slot;
  } else if (body->requires_grad) {
    leaf = input.body_ref();
  } else {
    return;
  }
  shape = body->shape;
}

/// A chain a million nodes long must not be freed by recursion: nodes queue up, and the outermost call frees them.
void Node::dispose() noexcept {
  next_dead_ = graveyard;
  graveyard = this;
  if (burying) return;
  burying = true;
  while (Node* const node = graveyard) {
    graveyard = node->next_dead_;
    delete node;
  }
  burying = false;
}

void detail::report_kept(Tensor const& tensor) {
  if (kept_tensors && tensor) kept_tensors->push_back(tensor);
}

std::vector<Tensor> Node::kept() const {
  std::vector<Tensor> tensors;
  struct Restore {
    std::vector<Tensor>* before;
    ~Restore() { kept_tensors = before; }
  } const restore{std::exchange(kept_tensors, &tensors)};
  copy_function();
  return tensors;
}

Tensor const& Saved::get(Node const& node) const {
  if (tensor_) check_version(tensor_, version_, node);
  return tensor_;
}

Tensor SavedOutput::get(Node const& node) const {
  if (!tensor_) return {};
  check_version(tensor_, version_, node);
  Tensor output = tensor_.detach();
  if (recording()) {
    output.body()->node = Ref<Node>(const_cast<Node*>(&node));
    output.body()->slot = slot_;
  }
  return output;
}

bool tracked(std::vector<Tensor> const& tensors) {
  if (!recording()) return false;
  for (Tensor const& tensor : tensors)
    if (tensor.requires_grad()) return true;
  return false;
}

void no_gradient(std::string_view op, std::initializer_list<Tensor> inputs) {
  for (Tensor const& input : inputs)
    check(!tracked(input), op, [] {
      return Complaint{"it has no gradient, and one of its inputs requires one",
                       "detach() the input, or compute it under NoGrad"};
    });
}

void check_in_place(char const* op, Tensor const& x) {
  check(!x.body()->requires_grad, op, [] {
    return Complaint{"a leaf that requires a gradient cannot be changed in place while recording",
                     "use the out-of-place operation, or change it under NoGrad"};
  });
  check(!x.body()->is_view, op, [] {
    return Complaint{"a view cannot take a recorded value in place: its base would not know",
                     "use the out-of-place operation, or clone() the view"};
  });
  check(x.body()->storage->use_count() == 1, op, [] {
    return Complaint{
        "views or saved results share the tensor's storage, and their gradients would not know of a recorded change",
        "use the out-of-place operation, or clone() before the change"};
  });
}

}  // namespace heed
