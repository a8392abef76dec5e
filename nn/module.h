// Module: a path, a training flag and one virtual visit(); everything that walks a model is a Visitor.
#pragma once

#include <heed/engine/scope.h>
#include <heed/engine/tensor.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace heed::nn {

class Module;

/// What a module shows of itself, in declaration order. Counting, saving, loading, freezing and binding paths are
/// visitors.
class Visitor {
 public:
  virtual ~Visitor() = default;
  /// A trainable tensor; undefined ones (a bias that is off) are passed over.
  virtual void parameter(std::string_view name, Tensor& tensor) = 0;
  /// Saved with the model but not trained.
  virtual void buffer(std::string_view, Tensor&) {}
  virtual void enter(std::string_view, Module&) {}
  virtual void leave() {}
  void child(std::string_view name, Module& module);
};

/// Base of every layer. Copying is deleted (two modules would share parameters unawares): tie() shares on purpose.
class Module {
 public:
  Module() = default;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;
  virtual ~Module() = default;

  virtual void visit(Visitor& visitor) = 0;
  bool training() const { return training_; }
  /// Where the module stands in its model, "blocks.3.attn"; empty before bind_paths().
  std::string_view path() const { return path_; }

 private:
  friend void train(Module&, bool);
  friend void bind_paths(Module&, std::string_view);
  bool training_ = true;
  std::string_view path_;
};

namespace detail {
extern constinit thread_local bool module_hooks_set;
/// The output `y` of the module at `path` after its hooks (hooks.h).
Tensor run_module_hooks(std::string_view path, std::vector<Tensor> const& inputs, Tensor y);
extern constinit thread_local bool weight_hooks_set;
/// The weight of the module at `path` after its hooks.
Tensor run_weight_hooks(std::string_view path, Tensor weight);

inline void keep_tensor(std::vector<Tensor>& list, Tensor const& tensor) { list.push_back(tensor); }
template <class Other>
void keep_tensor(std::vector<Tensor>&, Other const&) {}
}  // namespace detail

/// `weight` as the layer at `path` computes with it: after on_weight() hooks (hooks.h).
inline Tensor in_use(std::string_view path, Tensor const& weight) {
  return detail::weight_hooks_set ? detail::run_weight_hooks(path, weight) : weight;
}

/// Gives a layer its call operator: it opens the module's scope, so that errors, hooks and profiles know where they
/// are, and calls forward(). `Base` is what layers of one family share.
template <class Self, class Base = Module>
class Layer : public Base {
 public:
  using Base::Base;
  template <class... Arguments>
  auto operator()(Arguments&&... arguments) const {
    Scope const scope(this->path());
    Self const& self = static_cast<Self const&>(*this);
    if constexpr (std::is_same_v<decltype(self.forward(std::forward<Arguments>(arguments)...)), Tensor>) {
      if (detail::module_hooks_set) [[unlikely]] {
        std::vector<Tensor> inputs;
        (detail::keep_tensor(inputs, arguments), ...);
        return detail::run_module_hooks(this->path(), inputs, self.forward(std::forward<Arguments>(arguments)...));
      }
    }
    return self.forward(std::forward<Arguments>(arguments)...);
  }
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Tells every module below `root` its path and every parameter its label; models do it in their constructors.
void bind_paths(Module& root, std::string_view path = {});
/// Training (dropout on) or evaluation, for `root` and all below.
void train(Module& root, bool on = true);
inline void eval(Module& root) { train(root, false); }

/// Parameters and buffers by dotted name, in order; a tensor that two names share is listed under both.
std::vector<NamedTensor> state_dict(Module& root);
/// Parameters alone, each once.
std::vector<NamedTensor> named_parameters(Module& root);
std::vector<Tensor> parameters(Module& root);
int64_t count_parameters(Module& root);
/// Copies `state` into the module's tensors. An Error, before anything is written, where a name is missing or unknown,
/// or a shape differs.
void load_state_dict(Module& root, std::vector<NamedTensor> const& state);
void zero_grad(Module& root);
/// Converts every parameter and buffer in place: handles that optimisers hold stay valid.
void to(Module& root, Dtype dtype);
/// Moves them to another device, likewise; make optimisers afterwards, whose state lies where the parameters do.
void to(Module& root, Device device);
/// Makes `alias` the same parameter as `original`: one tensor, one gradient, two names.
void tie(Tensor& alias, Tensor const& original);

}  // namespace heed::nn
