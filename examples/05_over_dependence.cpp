// Lesson 5: over-dependence. While a small model learns to copy, its attention piles up on few positions: entropy
// falls, a few keys take most of the weight, and removing the one key that a query looks at most ruins the answer.
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>

#include <cstdio>

using namespace heed;

constexpr int64_t vocabulary = 16, length = 24, batch = 32;

// Sequences with period 6: from the second repetition on, the next token is the one six places back.
static optim::Batch sequences(Generator& generator) {
  Tensor const period = randint(0, vocabulary, {batch, 6}, generator);
  Tensor const text = cat({period, period, period, period, period}, 1);
  return {text.slice(1, 0, length).contiguous(), text.slice(1, 1, length + 1).contiguous()};
}

// Attention with the weights of the most-attended key of every query set to 0 and the rest scaled up again.
static Tensor without_the_most_attended(Tensor const& weights) {
  Tensor const rest = where(weights == amax(weights, {-1}, true), 0.0, weights);
  return rest / (sum(rest, {-1}, true) + 1e-9);
}

int main() {
  seed(5);
  nn::GPT model({.vocabulary = vocabulary, .layers = 2, .heads = 2, .dim = 32, .block = length});
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 3e-3});
  Generator generator(5);
  std::printf("%5s %7s | %s\n", "step", "loss",
              "last layer, mean of its heads: entropy  effective keys  largest  strongest sink");
  double first_entropy = 0, last_entropy = 0;
  Tensor weights;
  for (int step = 0; step <= 300; ++step) {
    optim::Batch const data = sequences(generator);
    optimizer.zero_grad();
    Tensor const loss = cross_entropy(model(data.inputs), data.targets);
    loss.backward();
    optimizer.step();
    if (step % 60 != 0) continue;
    NoGrad const off;
    weights = nn::attention_maps([&] { model(data.inputs); }).back();
    nn::OverDependence mean{};
    for (auto const& head : nn::measure_over_dependence(weights)) {
      mean.entropy += head.entropy / 2, mean.effective_count += head.effective_count / 2;
      mean.largest += head.largest / 2, mean.sink += head.sink / 2;
    }
    std::printf("%5d %7.3f | %38.2f %15.1f %8.2f %15.2f\n", step, loss.item(), mean.entropy, mean.effective_count,
                mean.largest, mean.sink);
    if (step == 0) first_entropy = mean.entropy;
    last_entropy = mean.entropy;
  }
  // What the heads pass on without the key they look at most: how much of the weighted mean was that one key?
  NoGrad const off;
  Tensor const values = randn({batch, 2, length, 16});
  Tensor const full = matmul(weights, values), robbed = matmul(without_the_most_attended(weights), values);
  double const change = (sum(square(full - robbed)) / sum(square(full))).item();
  std::printf("\nWithout its most-attended key a head's output changes by %.0f %% of its energy.\n", 100 * change);
  std::printf("Entropy fell from %.2f to %.2f nats: the model depends on few positions.\n", first_entropy,
              last_entropy);
  return last_entropy < first_entropy && change > 0.1 ? 0 : 1;
}
