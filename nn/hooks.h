// Hooks on the modules of a model by the pattern of their paths.
#pragma once

#include <heed/engine/hooks.h>

#include <string_view>
#include <vector>

namespace heed::nn {

/// One call of a module that gives a tensor.
struct ModuleCall {
  std::string_view path;              // "blocks.3.attn"
  std::vector<Tensor> const& inputs;  // those arguments that are tensors
  Tensor const& output;
};

// `pattern` is matched with the whole path: * stands for anything but a dot, ** for anything ("blocks.*.attn", "**").
// Hooks are the calling thread's, see modules called from then on, and run in the order they were set; remove() belongs
// on the same thread. A module that recompute() runs again calls them again (recomputing() tells).

/// Calls `f` after a module's forward; a tensor that it returns takes the output's place.
HookHandle on_forward(std::string_view pattern, std::function<Tensor(ModuleCall const&)> f);
/// Calls `f` with the complete gradient of a module's output, as hook() does.
HookHandle on_backward(std::string_view pattern,
                       std::function<Tensor(std::string_view path, Tensor const& gradient)> f);

/// Calls `f` with a layer's weight each time that it is used, by the weight's path ("blocks.3.mlp.fc.weight"); a tensor
/// that f returns is used in its place: reparametrisations, noise. Linear layers and convolutions ask.
HookHandle on_weight(std::string_view pattern, std::function<Tensor(std::string_view path, Tensor const& weight)> f);

/// Whether `path` is one that `pattern` stands for.
bool matches(std::string_view pattern, std::string_view path);

}  // namespace heed::nn
