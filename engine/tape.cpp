#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <atomic>

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
RecordMode::RecordMode(bool on) noexcept : before_(recording_on) { recording_on = on && !detail::inference_on; }
RecordMode::~RecordMode() { recording_on = before_; }
InferenceMode::InferenceMode() noexcept : before_(detail::inference_on) { detail::inference_on = true; }
InferenceMode::~InferenceMode() { detail::inference_on = before_; }

constinit thread_local uint32_t detail::epoch = 0;

uint32_t next_epoch() {
  static std::atomic<uint32_t> last{0};  // over all threads: a graph may be made by one and used by another
  return detail::epoch = ++last;
}

void detail::fail_unversioned(Shape const& shape) {
  fail("InferenceMode", {fmt::format("a tensor of shape {} was made in inference mode, and is now needed for backward",
                                     to_string(shape)),
                         "clone() it outside inference mode, or make it under NoGrad"});
}

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

std::vector<Edge> edges_to(std::vector<Tensor> const& tensors) {
  std::vector<Edge> edges;
  edges.reserve(tensors.size());
  for (Tensor const& tensor : tensors) edges.push_back(tensor.defined() ? Edge(tensor) : Edge());
  return edges;
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

namespace {

/// A view can take a recorded value where its base can: the base becomes a recorded assignment to that region.
void check_view_in_place(char const* op, Tensor const& x) {
  TensorBody const* const base = x.body()->base.get();
  check(base && !base->is_view && base->contiguous, op, [] {
    return Complaint{
        "a view of detached or rearranged elements, or one made under NoGrad, cannot take a recorded value in place",
        "use the out-of-place operation, or clone() the view"};
  });
  check(!base->requires_grad, op, [] {
    return Complaint{"a view of a leaf that requires a gradient cannot be changed in place while recording",
                     "use the out-of-place operation, or change it under NoGrad"};
  });
  // By ascending stride, each axis steps over all that the ones before it cover.
  Dims order = Dims::filled(x.rank(), 0);
  for (int axis = 0; axis < x.rank(); ++axis) order[axis] = axis;
  Dims const &shape = x.shape(), &strides = x.strides();
  int64_t* const axes = &order[0];
  std::sort(axes, axes + x.rank(), [&](int64_t a, int64_t b) { return strides[int(a)] < strides[int(b)]; });
  int64_t covered = 0;
  bool apart = true;
  for (int64_t const axis : order) {
    if (shape[int(axis)] == 1) continue;
    apart &= strides[int(axis)] > covered;
    covered += (shape[int(axis)] - 1) * strides[int(axis)];
  }
  check(apart || x.numel() == 0, op, [] {
    return Complaint{"several elements of the view are one in memory", "clone() the view before the change"};
  });
}

}  // namespace

void check_in_place(char const* op, Tensor const& x) {
  check(!x.body()->requires_grad, op, [] {
    return Complaint{"a leaf that requires a gradient cannot be changed in place while recording",
                     "use the out-of-place operation, or change it under NoGrad"};
  });
  if (x.storage().version() == Storage::unversioned) detail::fail_unversioned(x.shape());
  if (x.body()->is_view) check_view_in_place(op, x);
  check(x.body()->storage->use_count() == (x.body()->is_view ? 2 : 1), op, [] {
    return Complaint{
        "views or saved results share the tensor's storage, and their gradients would not know of a recorded change",
        "use the out-of-place operation, clone() before the change, or let go of other views first "
        "(x.slice(…).slice(…) "
        "holds one to the end of the statement)"};
  });
}

}  // namespace heed
