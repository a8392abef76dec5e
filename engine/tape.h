// The tape: nodes, record(), no_grad, versions. It lies below the ops; the walk over it is backward.h.
#pragma once

#include <heed/engine/anomaly.h>
#include <heed/engine/scope.h>
#include <heed/engine/tensor.h>

#include <array>
#include <optional>
#include <vector>

namespace heed {

/// Whether operations of this thread are recorded.
bool recording() noexcept;

/// Switches recording while it lives.
class RecordMode {
 public:
  explicit RecordMode(bool on) noexcept;
  ~RecordMode();
  RecordMode(RecordMode const&) = delete;
  RecordMode& operator=(RecordMode const&) = delete;

 private:
  bool before_;
};
/// Nothing is recorded while it lives: evaluation, optimiser steps.
struct NoGrad : RecordMode {
  NoGrad() noexcept : RecordMode(false) {}
};
/// Recording inside a NoGrad.
struct EnableGrad : RecordMode {
  EnableGrad() noexcept : RecordMode(true) {}
};
/// NoGrad, and EnableGrad inside it has no effect; storages made while it lives carry no version, so that an operation
/// that would save one for backward later is an Error. Operations that save nothing of it (a sum) may use it.
class InferenceMode {
 public:
  InferenceMode() noexcept;
  ~InferenceMode();
  InferenceMode(InferenceMode const&) = delete;
  InferenceMode& operator=(InferenceMode const&) = delete;

 private:
  NoGrad off_;
  bool before_;
};

/// Where an input's gradient goes: to output `slot` of the node that made it, or to a leaf. `shape` is the input's, so
/// that the walk can sum what was broadcast. Empty where the input wants none.
struct Edge {
  Ref<Node> node;
  Ref<TensorBody> leaf;
  int slot = 0;
  Shape shape;
  Edge() = default;
  explicit Edge(Tensor const& input);
  explicit operator bool() const { return node || leaf; }
};

namespace detail {
extern constinit thread_local uint32_t epoch;
[[noreturn]] void fail_unversioned(Shape const& shape);
}  // namespace detail

/// One recorded operation: edges to its inputs, and the function from output gradients to input gradients.
class Node : public Counted {
 public:
  static void* operator new(size_t bytes) { return pool_allocate(bytes); }
  static void operator delete(void* block, size_t bytes) noexcept { pool_release(block, bytes); }
  virtual ~Node() = default;
  void dispose() noexcept;

  char const* op() const { return op_; }
  std::string_view path() const { return path_; }
  /// Whether input i wants a gradient: a gradient function skips the others.
  bool needs(int i) const { return bool(edges_[i]); }
  int input_count() const { return edge_count_; }
  int output_count() const { return output_count_; }
  Edge const& input(int i) const { return edges_[i]; }
  /// Whether a backward has freed what was saved.
  bool released() const { return released_; }
  /// The tensors that the gradient function keeps in Saved and SavedOutput.
  std::vector<Tensor> kept() const;

 protected:
  explicit Node(char const* op) : epoch_(detail::epoch), op_(op), path_(scope_path()) {}
  uint32_t const epoch_;  // see next_epoch()
  Edge* edges_ = nullptr;
  Tensor* gradients_ = nullptr;  // of the outputs, gathered by the walk
  int edge_count_ = 0, output_count_ = 0;

 private:
  friend class Walk;
  friend Ref<HookList>& hooks_of(Tensor const&);
  virtual void run(Tensor const* output_gradients, Tensor* input_gradients) = 0;
  virtual void release() noexcept = 0;     // what was saved
  virtual void copy_function() const = 0;  // kept(): copies of Saved report themselves

  char const* op_;
  std::string_view path_;
  uint64_t walk_ = 0;  // the walk that `pending_`, `needed_` and the gradients belong to
  uint32_t pending_ = 0;
  bool needed_ = false, released_ = false;
  Ref<HookList> hooks_;  // hooks.h
  Node* next_dead_ = nullptr;
};

namespace detail {
void report_kept(Tensor const& tensor);
}

/// A tensor kept for backward, with the version of its storage: a later in-place change is an Error, never a wrong
/// gradient.
class Saved {
 public:
  Saved() = default;
  explicit Saved(Tensor const& tensor) : tensor_(tensor), version_(tensor ? tensor.storage().version() : 0) {
    if (version_ == Storage::unversioned) [[unlikely]]
      detail::fail_unversioned(tensor.shape());
  }
  Saved(Saved const& other) : tensor_(other.tensor_), version_(other.version_) { detail::report_kept(tensor_); }
  Saved(Saved&&) noexcept = default;
  Saved& operator=(Saved&&) noexcept = default;
  Tensor const& get(Node const& node) const;

 private:
  Tensor tensor_;
  uint32_t version_ = 0;
};

/// As Saved, for an output of the recorded operation: it holds the elements only, since holding the handle would make
/// the node own itself.
class SavedOutput {
 public:
  SavedOutput() = default;
  explicit SavedOutput(Tensor const& output, int slot = 0)
      : tensor_(output.detach()), version_(output.storage().version()), slot_(slot) {}
  SavedOutput(SavedOutput const& other) : tensor_(other.tensor_), version_(other.version_), slot_(other.slot_) {
    detail::report_kept(tensor_);
  }
  SavedOutput(SavedOutput&&) noexcept = default;
  SavedOutput& operator=(SavedOutput&&) noexcept = default;
  /// The output, with its edge back into the tape where the gradient itself is being recorded.
  Tensor get(Node const& node) const;

 private:
  Tensor tensor_;
  uint32_t version_ = 0;
  int slot_ = 0;
};

template <class... T>
bool tracked(T const&... tensors) {
  return recording() && (... || (tensors.defined() && tensors.requires_grad()));
}
bool tracked(std::vector<Tensor> const& tensors);

/// Throws while recording, naming `op`: no gradient is ever lost in silence.
void no_gradient(std::string_view op, std::initializer_list<Tensor> inputs);

namespace detail {

/// A node learns what it keeps from a copy of its function, made when asked: recording costs nothing more.
template <class F>
void copy_kept(std::optional<F> const& function) {
  if constexpr (std::is_copy_constructible_v<F>) std::optional<F> const copy(function);
}

/// N inputs and M outputs; f(output gradients…, node) → std::array<Tensor, N>.
template <size_t N, size_t M, class F>
class NodeOf final : public Node {
 public:
  NodeOf(char const* op, Tensor const* const* inputs, F f) : Node(op), f_(std::move(f)) {
    for (size_t i = 0; i < N; ++i)
      if (inputs[i]->defined()) array_[i] = Edge(*inputs[i]);
    edges_ = array_.data();
    gradients_ = outputs_.data();
    edge_count_ = N;
    output_count_ = M;
  }

 private:
  void run(Tensor const* output_gradients, Tensor* input_gradients) override {
    std::array<Tensor, N> results;
    if constexpr (M == 1)
      results = (*f_)(output_gradients[0], static_cast<Node const&>(*this));
    else
      results = (*f_)(output_gradients, static_cast<Node const&>(*this));
    for (size_t i = 0; i < N; ++i) input_gradients[i] = std::move(results[i]);
  }
  void release() noexcept override { f_.reset(); }
  void copy_function() const override { copy_kept(f_); }

  std::array<Edge, N> array_;
  std::array<Tensor, M> outputs_;
  std::optional<F> f_;
};

/// Any number of inputs and outputs; f(output gradients, node) → std::vector<Tensor>.
template <class F>
class NodeOfMany final : public Node {
 public:
  NodeOfMany(char const* op, std::vector<Edge> inputs, size_t outputs, F f)
      : Node(op), list_(std::move(inputs)), outputs_(outputs), f_(std::move(f)) {
    edges_ = list_.data();
    gradients_ = outputs_.data();
    edge_count_ = int(list_.size());
    output_count_ = int(outputs);
  }

 private:
  void run(Tensor const* output_gradients, Tensor* input_gradients) override {
    std::vector<Tensor> results = (*f_)(output_gradients, static_cast<Node const&>(*this));
    for (size_t i = 0; i < results.size(); ++i) input_gradients[i] = std::move(results[i]);
  }
  void release() noexcept override { f_.reset(); }
  void copy_function() const override { copy_kept(f_); }

  std::vector<Edge> list_;
  std::vector<Tensor> outputs_;
  std::optional<F> f_;
};

}  // namespace detail

/// Records that `y` came from `inputs` (undefined ones allowed) by `op`. `gradient(g, node)` gives one tensor an input,
/// built from ops, so that it can itself be recorded; a result may be undefined, and may still have the broadcast
/// shape. Call it under `if (tracked(…))`, so that nothing is saved in vain. `op` must be a string literal.
template <size_t N, class F>
void record(char const* op, Tensor& y, Tensor const* const (&inputs)[N], F gradient) {
  if (detail::anomaly_on) [[unlikely]]
    detail::check_anomaly(op, &y, 1, inputs, N);
  y.body()->node = Ref<Node>(new detail::NodeOf<N, 1, F>(op, inputs, std::move(gradient)));
}

/// The same for M outputs: `gradient(g, node)` gets a pointer to M output gradients, undefined where none came.
template <size_t M, size_t N, class F>
void record_outputs(char const* op, std::array<Tensor, M>& outputs, Tensor const* const (&inputs)[N], F gradient) {
  if (detail::anomaly_on) [[unlikely]]
    detail::check_anomaly(op, outputs.data(), M, inputs, N);
  Ref<Node> const node(new detail::NodeOf<N, M, F>(op, inputs, std::move(gradient)));
  for (size_t m = 0; m < M; ++m) {
    outputs[m].body()->node = node;
    outputs[m].body()->slot = int(m);
  }
}

/// Edges to each of `tensors`; undefined ones have none.
std::vector<Edge> edges_to(std::vector<Tensor> const& tensors);

/// The same for lists of inputs and outputs, of which undefined ones are not differentiable: `gradient(g, node)` gets a
/// pointer to the output gradients, undefined where none came, and returns a std::vector of one tensor an input.
template <class F>
void record_lists(char const* op, std::vector<Tensor>& outputs, std::vector<Edge> inputs, F gradient) {
  Ref<Node> const node(new detail::NodeOfMany<F>(op, std::move(inputs), outputs.size(), std::move(gradient)));
  for (size_t m = 0; m < outputs.size(); ++m) {
    if (!outputs[m].defined()) continue;
    outputs[m].body()->node = node;
    outputs[m].body()->slot = int(m);
  }
}
template <class F>
void record_lists(char const* op, std::vector<Tensor>& outputs, std::vector<Tensor> const& inputs, F gradient) {
  if (detail::anomaly_on) [[unlikely]]
    detail::check_anomaly(op, outputs, inputs);
  record_lists(op, outputs, edges_to(inputs), std::move(gradient));
}

/// The same for a list of inputs and one output, whose gradient is passed as it is.
template <class F>
void record_many(char const* op, Tensor& y, std::vector<Tensor> const& inputs, F gradient) {
  if (detail::anomaly_on) [[unlikely]]
    detail::check_anomaly(op, {y}, inputs);
  auto first = [gradient = std::move(gradient)](Tensor const* g, Node const& node) { return gradient(g[0], node); };
  y.body()->node = Ref<Node>(new detail::NodeOfMany<decltype(first)>(op, edges_to(inputs), 1, std::move(first)));
}

/// Makes the recorded or plain result `y` of an operation the new value of `x`: elements, tape entry, version.
void assign_in_place(char const* op, Tensor& x, Tensor const& y);
/// An Error where giving `x` a recorded value in place would lose a gradient: x is a leaf that requires one or a view
/// of it, or other views or saved results share its elements.
void check_in_place(char const* op, Tensor const& x);

// Walks that an operation's own gradient makes (backward.cpp). They end at the edges they are asked about and never
// touch what lies beyond, so that the walk they are part of is not disturbed.
struct InnerWalk {
  bool retain = false, create = false;
  uint32_t since = 0;  // nodes of earlier epochs are not entered
};
/// Gradients of Σ outputs[k]·output_gradients[k] at `edges`; undefined where none arrives.
std::vector<Tensor> gradients_at(std::vector<Edge> const& edges, std::vector<Tensor> const& outputs,
                                 std::vector<Tensor> const& output_gradients, InnerWalk mode);

/// A number that every node recorded from now on carries, or a larger one; nodes that exist carry smaller ones.
uint32_t next_epoch();
/// What the graph of `outputs`, recorded since `epoch`, took from outside: edges to older nodes and to leaves, but for
/// those to `known`.
std::vector<Edge> captured(std::vector<Tensor> const& outputs, uint32_t epoch, std::vector<Tensor> const& known);

// How the fused backward of an operation is differentiated again: the naive twin, a composition of ops, is run on
// twin_inputs() and differentiated with the walk itself recorded (backward.cpp).
/// Aliases of the inputs, each with a tape entry of its own, so that an input used twice gets two gradients.
std::vector<Tensor> twin_inputs(std::vector<Tensor> const& inputs);
/// Recorded gradients of Σ outputs[k]·output_gradients[k] with respect to `inputs`; undefined where an input wants
/// none.
std::vector<Tensor> twin_gradients(std::vector<Tensor> const& outputs, std::vector<Tensor> const& inputs,
                                   std::vector<Tensor> const& output_gradients);

}  // namespace heed
