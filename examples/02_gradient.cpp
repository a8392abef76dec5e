// Lesson 2: gradients. Operations on variables are recorded on a tape; backward() walks it and applies the chain rule.
#include <heed/engine/engine.h>

#include <cmath>
#include <cstdio>

using namespace heed;

int main() {
  // A variable is a leaf that requires a gradient.
  Tensor const x = tensor({2}).requires_grad_();
  Tensor const y = x * x * x;  // recorded: two multiplications
  y.backward();
  std::printf("y = x³ at 2: dy/dx = 3x² = %g\n", x.grad().item());

  // Every gradient is itself written in operations, so it can be differentiated again.
  Tensor const first = grad({x * x * x}, {x}, {}, {.create_graph = true})[0];
  Tensor const second = grad({first}, {x}, {}, {.create_graph = true})[0];
  std::printf("second derivative 6x = %g, third = %g\n\n", second.item(), grad({second}, {x})[0].item());

  // Gradient descent in four lines: fit a line through noisy points of y = 3x − 1.
  seed(1);
  Tensor const inputs = randn({256, 1});
  Tensor const targets = 3 * inputs - 1 + 0.1 * randn({256, 1});
  Tensor weight = zeros({1, 1}).requires_grad_(), bias = zeros({1}).requires_grad_();
  for (int step = 0; step <= 60; ++step) {
    Tensor const loss = mean(square(linear(inputs, weight, bias) - targets));
    if (step % 20 == 0)
      std::printf("step %2d  loss %.4f  weight %.3f  bias %.3f\n", step, loss.item(), weight.item(), bias.item());
    weight.set_grad({}), bias.set_grad({});
    loss.backward();
    NoGrad const off;  // changing a variable is not part of the function being differentiated
    weight.add_(weight.grad(), -0.1);
    bias.add_(bias.grad(), -0.1);
  }

  // A gradient can be checked against differences: (f(x + h) − f(x − h)) / 2h.
  Tensor const z = tensor(std::vector<double>{0.7}, {1}).requires_grad_();
  auto f = [](Tensor const& v) { return sum(tanh(v) * exp(v)); };
  double const h = 1e-6, difference = (f(z.detach() + h).item() - f(z.detach() - h).item()) / (2 * h);
  std::printf("\nd/dz tanh(z)·eᶻ at 0.7: tape %.9f, differences %.9f\n", grad({f(z)}, {z})[0].item(), difference);

  // What backward still needs may not be changed behind its back.
  Tensor s = 2 * z;
  Tensor const square_of_s = s * s;
  s.add_(tensor(std::vector<double>{1}, {1}));
  try {
    square_of_s.backward();
  } catch (Error const& error) {
    std::printf("\n%s\n", error.what());
  }
  return std::abs(weight.item() - 3) < 0.1 ? 0 : 1;
}
