// A user's program: fits a linear layer to y = 2·x₀ − 3·x₁ + 1, and catches an error of the library by its type.
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>

#include <cstdio>
#include <vector>

int main() {
  heed::seed(1);
  heed::nn::Linear layer(2, 1);
  heed::optim::SGD optimizer(heed::optim::all_parameters(layer), {.learning_rate = 0.1});
  heed::Tensor const x = heed::randn({64, 2});
  heed::Tensor const y = heed::matmul(x, heed::tensor(std::vector<float>{2, -3}, {2, 1})) + 1.;
  float loss = 1;
  for (int step = 0; step < 200; ++step) {
    heed::Tensor const error = layer(x) - y;
    heed::Tensor const mean_square = heed::mean(error * error);
    optimizer.zero_grad();
    heed::backward(mean_square);
    optimizer.step();
    loss = mean_square.item<float>();
  }
  std::printf("loss %g, weights %g %g, bias %g, kernels for %s\n", loss, layer.weight.at(0, 0).item<float>(),
              layer.weight.at(0, 1).item<float>(), layer.bias.at(0).item<float>(), heed::name(heed::isa()).data());

  try {
    heed::matmul(x, x);
    return 1;
  } catch (heed::Error const& error) {
    std::printf("caught: %s\n", error.what());
  }
  return loss < 1e-3F ? 0 : 1;
}
