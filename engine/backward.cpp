#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/hooks.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <atomic>
#include <unordered_map>

namespace heed {
namespace {

struct Mode {
  bool retain, create;
  bool only_targets = false;  // grad(): gradients go to the targets, and leaves keep theirs
  bool stop_at_targets = false;
  uint32_t since = 0;
};

bool same(Edge const& a, Edge const& b) {
  if (!a || !b) return false;
  return a.leaf ? a.leaf == b.leaf : !b.leaf && a.node == b.node && a.slot == b.slot;
}

/// The gradient's storage belongs to nobody else, so that it may be changed in place.
bool sole_owner(Tensor const& t) {
  return t.is_contiguous() && t.body()->use_count() == 1 && t.body()->storage->use_count() == 1;
}

void accumulate(Tensor& sum, Tensor gradient, bool create) {
  if (!sum.defined()) {
    sum = std::move(gradient);
  } else if (!create && sole_owner(sum)) {
    sum.add_(gradient);
  } else {
    sum = sum + gradient;
  }
}

}  // namespace

/// Two passes, neither recursive: find() counts the consumers of every node that matters, run() hands gradients along
/// the edges, each node as soon as its last consumer has delivered.
class Walk {
 public:
  Walk(Mode mode, std::vector<Edge> targets)
      : mode_(mode),
        targets_(std::move(targets)),
        results_(targets_.size()),
        hooked_(targets_.size()),
        id_(++last_id_) {}

  void start(Tensor const& output, Tensor gradient) {
    Edge root(output);
    expect(root);
    find(root);
    roots_.push_back({std::move(root), std::move(gradient)});
  }

  /// See captured() in tape.h; the targets are what is known.
  std::vector<Edge> captured(std::vector<Tensor> const& outputs, uint32_t epoch) {
    std::vector<Edge> found;
    std::vector<Node*> stack;
    auto meet = [&](Edge const& edge) {
      if (!edge || is_target(edge)) return;
      if (edge.leaf || edge.node->epoch_ < epoch) {
        if (std::none_of(found.begin(), found.end(), [&](Edge const& f) { return same(f, edge); }))
          found.push_back(edge);
      } else if (edge.node->walk_ != id_) {
        edge.node->walk_ = id_;
        stack.push_back(edge.node.get());
      }
    };
    for (Tensor const& y : outputs) meet(Edge(y));
    while (!stack.empty()) {
      Node& node = *stack.back();
      stack.pop_back();
      for (int i = 0; i < node.edge_count_; ++i) meet(node.edges_[i]);
    }
    return found;
  }

  std::vector<Tensor> run() {
    RecordMode const mode(mode_.create);
    AutocastOff const wide;
    try {
      for (auto& [edge, gradient] : roots_) deliver(edge, std::move(gradient));
      std::vector<Tensor> gradients;
      while (!ready_.empty()) {
        Ref<Node> const node = std::move(ready_.back());
        ready_.pop_back();
        step(*node, gradients);
      }
      run_last_hooks();
    } catch (...) {
      if (mode_.retain) forget();
      throw;
    }
    return std::move(results_);
  }

 private:
  struct Frame {
    Node* node;
    int next;
  };

  /// Drops the gradients that an interrupted walk left in nodes that stay: recorded ones hold the graph in turn.
  void forget() {
    std::vector<Node*> stack;
    auto const meet = [&](Edge const& edge) {
      if (!edge.node || edge.node->walk_ != id_) return;
      edge.node->walk_ = 0;
      stack.push_back(edge.node.get());
    };
    for (Root const& root : roots_) meet(root.edge);
    while (!stack.empty()) {
      Node& node = *stack.back();
      stack.pop_back();
      for (int i = 0; i < node.output_count_; ++i) node.gradients_[i] = Tensor();
      for (int i = 0; i < node.edge_count_; ++i) meet(node.edges_[i]);
    }
  }

  bool is_target(Edge const& edge) const {
    return std::any_of(targets_.begin(), targets_.end(), [&](Edge const& t) { return same(t, edge); });
  }

  bool is_older(Edge const& edge) const { return edge.node->epoch_ < mode_.since; }

  /// Depth-first from `root`; a node is needed when a gradient through it reaches a target (or, without targets, a
  /// leaf).
  void find(Edge const& root) {
    if (!root.node || is_older(root)) return;
    if (!(mode_.stop_at_targets && is_target(root))) {
      ++enter(*root.node);
      std::vector<Frame> stack;
      if (root.node->pending_ == 1) stack.push_back({root.node.get(), 0});
      while (!stack.empty()) {
        Node& node = *stack.back().node;
        if (stack.back().next == node.edge_count_) {
          stack.pop_back();
          if (!stack.empty()) stack.back().node->needed_ |= node.needed_;
          continue;
        }
        Edge const& edge = node.edges_[stack.back().next++];
        if (!edge) continue;
        bool const target = mode_.only_targets && is_target(edge);
        node.needed_ |= target || (edge.leaf && !mode_.only_targets);
        expect(edge);
        if (edge.leaf || (target && mode_.stop_at_targets) || is_older(edge)) continue;
        if (++enter(*edge.node) == 1)
          stack.push_back({edge.node.get(), 0});
        else
          node.needed_ |= edge.node->needed_;
      }
    }
  }

  /// A leaf with hooks, or with a gradient of an earlier walk, gets the sum of this walk at once.
  void expect(Edge const& edge) {
    if (edge.leaf && !mode_.only_targets && (edge.leaf->hooks || edge.leaf->grad)) ++awaited_[edge.leaf.get()].pending;
  }

  uint32_t& enter(Node& node) {
    if (node.walk_ != id_) {
      node.walk_ = id_;
      node.pending_ = 0;
      node.needed_ = node.released_;  // its edges are gone: step() must get there to complain
      for (int i = 0; i < node.output_count_; ++i) node.gradients_[i] = Tensor();
    }
    return node.pending_;
  }

  void step(Node& node, std::vector<Tensor>& gradients) {
    Scope const scope(node.path());
    check(!node.released_, node.op(), [] {
      return Complaint{"what backward needs was freed by an earlier backward through the same graph",
                       "pass .retain_graph = true to the first one, or run the forward again"};
    });
    Observed const watch({.op = node.op(), .gradient = true});
    gradients.assign(size_t(node.edge_count_), Tensor());
    if (node.hooks_) [[unlikely]]
      run_hooks(node);
    bool const any =
        std::any_of(node.gradients_, node.gradients_ + node.output_count_, [](Tensor const& g) { return g.defined(); });
    if (any) node.run(node.gradients_, gradients.data());
    if (detail::anomaly_on) [[unlikely]]
      detail::check_gradient_anomaly(node.op(), node.gradients_, size_t(node.output_count_), gradients);
    for (int i = 0; i < node.output_count_; ++i) node.gradients_[i] = Tensor();
    if (!mode_.retain) {
      node.release();
      node.released_ = true;
    }
    for (int i = 0; i < node.edge_count_; ++i) {
      if (!node.edges_[i]) continue;
      if (mode_.retain) {
        deliver(node.edges_[i], std::move(gradients[size_t(i)]));
      } else {
        Edge const edge = std::move(node.edges_[i]);
        deliver(edge, std::move(gradients[size_t(i)]));
      }
    }
  }

  void deliver(Edge const& edge, Tensor gradient) {
    if (gradient.defined() && !(gradient.shape() == edge.shape)) gradient = sum_to(gradient, edge.shape);
    bool stop = false;
    if (mode_.only_targets && gradient.defined())
      for (size_t i = 0; i < targets_.size(); ++i)
        if (same(targets_[i], edge)) {
          accumulate(results_[i], gradient, true);
          stop = mode_.stop_at_targets;
        }
    if (edge.leaf) {
      if (!mode_.only_targets) deliver_to_leaf(edge.leaf, std::move(gradient));
      return;
    }
    Node& node = *edge.node;
    if (stop || is_older(edge)) return;
    check(node.walk_ == id_, "backward", [&] {
      return Complaint{fmt::format("another backward went through '{}' in the middle of this one", node.op()),
                       "in hooks and gradient functions, differentiate only what was made there"};
    });
    if (!node.needed_) return;
    if (gradient.defined()) accumulate(node.gradients_[edge.slot], std::move(gradient), mode_.create);
    if (--node.pending_ == 0) ready_.push_back(edge.node);
  }

  void run_hooks(Node& node) {
    for (int slot = 0; slot < node.output_count_; ++slot)
      if (Tensor& gradient = node.gradients_[slot]; gradient.defined())
        gradient = detail::run_hooks(*node.hooks_, slot, std::move(gradient));
    for (size_t i = 0; i < targets_.size(); ++i)
      if (targets_[i].node.get() == &node) {
        results_[i] = node.gradients_[targets_[i].slot];
        hooked_[i] = true;
      }
  }

  /// Of targets that the walk did not pass: their gradients are complete at its end.
  void run_last_hooks() {
    if (mode_.stop_at_targets) return;
    for (size_t i = 0; i < targets_.size(); ++i) {
      Edge const& edge = targets_[i];
      HookList const* const hooks = !edge ? nullptr : edge.leaf ? edge.leaf->hooks.get() : edge.node->hooks_.get();
      if (!hooks || hooked_[i] || !results_[i].defined()) continue;
      results_[i] = detail::run_hooks(*hooks, edge.slot, std::move(results_[i]));
      for (size_t j = i; j < targets_.size(); ++j)
        if (same(targets_[j], edge)) {
          results_[j] = results_[i];
          hooked_[j] = true;
        }
    }
  }

  void deliver_to_leaf(Ref<TensorBody> const& leaf, Tensor gradient) {
    auto const found = awaited_.empty() ? awaited_.end() : awaited_.find(leaf.get());
    if (found == awaited_.end()) {
      if (gradient.defined()) accumulate_leaf(*leaf, std::move(gradient));
      return;
    }
    Awaited& awaited = found->second;
    if (gradient.defined()) accumulate(awaited.gradient, std::move(gradient), mode_.create);
    if (--awaited.pending > 0 || !awaited.gradient.defined()) return;
    Tensor whole = std::move(awaited.gradient);
    Ref<HookList> const hooks = leaf->hooks;
    if (hooks) whole = detail::run_hooks(*hooks, 0, std::move(whole));
    accumulate_leaf(*leaf, std::move(whole));
    if (hooks) detail::run_hooks(*hooks, detail::accumulated_slot, {});
  }

  void accumulate_leaf(TensorBody& leaf, Tensor gradient) {
    Tensor sum(leaf.grad);
    leaf.grad = {};
    // A gradient that something else still reads must not become the leaf's own: the optimiser changes it in place.
    if (!sum.defined() && !mode_.create && !sole_owner(gradient)) gradient = gradient.clone();
    accumulate(sum, std::move(gradient), mode_.create);
    leaf.grad = sum.body_ref();
  }

  struct Root {
    Edge edge;
    Tensor gradient;
  };
  struct Awaited {
    uint32_t pending = 0;  // uses that have not delivered
    Tensor gradient = {};
  };
  Mode mode_;
  std::vector<Edge> targets_;
  std::vector<Tensor> results_;
  std::vector<bool> hooked_;                          // results that hooks have seen
  std::unordered_map<TensorBody*, Awaited> awaited_;  // leaves that wait for all of their uses
  std::vector<Root> roots_;
  std::vector<Ref<Node>> ready_;
  uint64_t id_;
  static inline std::atomic<uint64_t> last_id_{0};  // over all threads: a node remembers the walk that it was part of
};

namespace {

Tensor start_gradient(char const* op, Tensor const& output, Tensor const& gradient) {
  check_defined(op, output);
  check(output.requires_grad(), op, [] {
    return Complaint{"the output does not depend on anything that requires a gradient",
                     "mark the variables with requires_grad_() before the forward, outside NoGrad"};
  });
  if (!gradient.defined()) {
    check(output.numel() == 1, op, [&] {
      return Complaint{fmt::format("expected an output of one element, got shape {}", to_string(output.shape())),
                       "reduce it (sum, mean), or pass the gradient of each element"};
    });
    return ones(output.shape(), output.dtype(), output.device());
  }
  check(gradient.shape() == output.shape() && gradient.dtype() == output.dtype(), op, [&] {
    return Complaint{fmt::format("expected a gradient of shape {} {}, got {} {}", to_string(output.shape()),
                                 name(output.dtype()), to_string(gradient.shape()), name(gradient.dtype())),
                     "pass a gradient with the output's shape and type"};
  });
  return gradient;
}

}  // namespace

void backward(Tensor const& output, Tensor const& gradient, BackwardOptions options) {
  Walk walk({.retain = options.retain_graph || options.create_graph, .create = options.create_graph}, {});
  walk.start(output, start_gradient("backward", output, gradient));
  walk.run();
}

std::vector<Tensor> grad(std::vector<Tensor> const& outputs, std::vector<Tensor> const& inputs,
                         std::vector<Tensor> const& output_gradients, BackwardOptions options) {
  check(output_gradients.empty() || output_gradients.size() == outputs.size(), "grad", [&] {
    return Complaint{fmt::format("expected {} output gradients, got {}", outputs.size(), output_gradients.size()),
                     "pass one for each output, or none"};
  });
  for (Tensor const& input : inputs) {
    check_defined("grad", input);
    check(input.requires_grad(), "grad", [&] {
      return Complaint{fmt::format("an input of shape {} does not require a gradient", to_string(input.shape())),
                       "mark it with requires_grad_() before the forward"};
    });
  }
  Walk walk(
      {.retain = options.retain_graph || options.create_graph, .create = options.create_graph, .only_targets = true},
      edges_to(inputs));
  for (size_t i = 0; i < outputs.size(); ++i)
    walk.start(outputs[i],
               start_gradient("grad", outputs[i], output_gradients.empty() ? Tensor() : output_gradients[i]));
  auto gradients = walk.run();
  for (size_t i = 0; i < inputs.size(); ++i)
    check(options.allow_unused || gradients[i].defined(), "grad", [&] {
      return Complaint{fmt::format("the outputs do not depend on input {}", i),
                       "pass .allow_unused = true to get an undefined gradient for it"};
    });
  return gradients;
}

std::vector<Tensor> twin_inputs(std::vector<Tensor> const& inputs) {
  std::vector<Tensor> aliases;
  for (Tensor const& input : inputs) aliases.push_back(tracked(input) ? input.expand(input.shape()) : input);
  return aliases;
}

std::vector<Tensor> twin_gradients(std::vector<Tensor> const& outputs, std::vector<Tensor> const& inputs,
                                   std::vector<Tensor> const& output_gradients) {
  return gradients_at(edges_to(inputs), outputs, output_gradients, {.retain = true, .create = true});
}

std::vector<Tensor> gradients_at(std::vector<Edge> const& edges, std::vector<Tensor> const& outputs,
                                 std::vector<Tensor> const& output_gradients, InnerWalk mode) {
  Walk walk({.retain = mode.retain,
             .create = mode.create,
             .only_targets = true,
             .stop_at_targets = true,
             .since = mode.since},
            edges);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (output_gradients[i].defined() && outputs[i].requires_grad()) walk.start(outputs[i], output_gradients[i]);
  return walk.run();
}

std::vector<Edge> captured(std::vector<Tensor> const& outputs, uint32_t epoch, std::vector<Tensor> const& known) {
  return Walk({}, edges_to(known)).captured(outputs, epoch);
}

void Tensor::backward(Tensor const& gradient) const { heed::backward(*this, gradient); }

}  // namespace heed
