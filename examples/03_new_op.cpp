// Lesson 3: a new operation. First as a composition, then as a primitive with a gradient of its own.
#include <heed/engine/engine.h>

#include <cstdio>

using namespace heed;

// The squared ReLU, max(x, 0)² (So et al., "Primer", 2021), composed: nothing more is needed, gradients included.
Tensor squared_relu_composed(Tensor const& x) { return square(relu(x)); }

// The same as one recorded operation: the forward is computed without recording, and record() says how a gradient g of
// the output becomes a gradient of the input: 2·max(x, 0)·g. Saved keeps x and its version, so that a change in place
// is noticed. The gradient is written in operations, so it has a gradient too.
Tensor squared_relu(Tensor const& x) {
  Tensor y = [&] {
    NoGrad const off;
    return square(relu(x));
  }();
  if (tracked(x))
    record("squared_relu", y, {&x},
           [x = Saved(x)](Tensor const& g, Node const& node) { return std::array{2 * relu(x.get(node)) * g}; });
  return y;
}

int main() {
  Tensor const x = tensor({-1, 0.5, 2}).requires_grad_();
  std::printf("forward   %s\n", to_string(squared_relu(x)).c_str());

  // The two must agree: in value, in gradient, and in the gradient's gradient.
  bool same = true;
  auto compare = [&](char const* what, Tensor const& a, Tensor const& b) {
    std::printf("%-9s %s\n", what, to_string(a).c_str());
    same = same && amax(abs(a - b), {0}).item() == 0;
  };
  auto first = [&](auto op) { return grad({sum(op(x))}, {x}, {}, {.create_graph = true})[0]; };
  auto second = [&](auto op) { return grad({sum(first(op) * tensor({1, 2, 3}))}, {x})[0]; };
  compare("gradient", first(squared_relu), first(squared_relu_composed));
  compare("second", second(squared_relu), second(squared_relu_composed));
  std::printf("%s\n", same ? "the primitive and the composition agree" : "they differ!");
  return same ? 0 : 1;
}
