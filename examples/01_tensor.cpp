// Lesson 1: tensors. A tensor is a handle to numbers in memory, a shape, and strides that say how to walk them.
#include <heed/engine/engine.h>

#include <cstdio>

using namespace heed;

static void show(char const* what, Tensor const& x) { std::printf("%s\n%s\n\n", what, to_string(x).c_str()); }

int main() {
  // Values in row-major order, and a shape. The element type is f32 unless said otherwise.
  Tensor const x = tensor({{1, 2, 3}, {4, 5, 6}});
  show("x", x);

  // Operations work element by element; a number or a smaller tensor is broadcast, as in NumPy.
  show("10·x + [1, 0, −1]", 10 * x + tensor({1, 0, -1}));

  // A view shares x's memory: transposing moves no number, it swaps two strides.
  Tensor const t = x.transpose(0, 1);
  show("x transposed", t);
  std::printf("x has strides %s, its transpose %s, and both start at %s address\n\n", to_string(x.strides()).c_str(),
              to_string(t.strides()).c_str(), x.raw() == t.raw() ? "the same" : "another");

  // So writing through a view is seen by everyone who shares the memory.
  Tensor y = x.clone();
  y.slice(1, 0, 2).fill_(0);
  show("a copy of x whose first two columns were filled with 0 through a slice", y);

  // Reductions name the axes that disappear.
  show("sums of the rows", sum(x, {1}));
  show("x·xᵀ, a matrix product", matmul(x, x.t()));

  // Random numbers are counter-based: the same seed gives the same tensor on every machine, for any number of threads.
  seed(7);
  show("uniform numbers from seed 7", rand({2, 3}));

  // What does not fit is an Error that says what was expected, what came, and what to do.
  try {
    x + tensor({1, 2});
  } catch (Error const& error) {
    std::printf("%s\n", error.what());
  }
}
