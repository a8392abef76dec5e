// A program that embeds heed: one kind of attention, trained and asked, with nothing of the others in the binary.
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>

#include <cstdio>

using namespace heed;

int main() {
  seed(1);
  // make_multi_head makes the layers: GPT's default would bring every kind that `heed-lab list attention` shows, and
  // what they stand on, Fourier transforms and scans among it (compare the sizes: strip, then ls -l).
  nn::GPT model({.vocabulary = 10, .layers = 1, .heads = 2, .dim = 32, .block = 16, .position = "rope"},
                nn::make_multi_head);
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 3e-3});
  Generator generator(1);
  for (int step = 0; step < 300; ++step) {
    Tensor const first = randint(0, 10, {16, 1}, generator);  // count up from a random digit: 7 8 9 0 1 …
    Tensor const tokens = remainder(first + arange(17), tensor(std::vector<int64_t>{10}, {1}));
    optimizer.zero_grad();
    Tensor const loss = cross_entropy(model(tokens.slice(1, 0, 16)), tokens.slice(1, 1, 17));
    loss.backward();
    optimizer.step();
    if (step % 100 == 0) std::printf("step %3d  loss %.3f\n", step, loss.item());
  }
  nn::eval(model);
  std::printf("after 4 5 6 come:");
  for (int64_t const token : nn::generate(model, {4, 5, 6}, 8, {.temperature = 0}, generator))
    std::printf(" %d", int(token));
  std::printf("\n");
}
