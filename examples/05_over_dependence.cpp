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

// A measure's mean over the heads of the last layer.
static double of_last_layer(nn::Diagnosis const& d, char const* measure) {
  auto const& values = d.layers.back().values[nn::measure_index(measure)];
  double sum = 0;
  for (double value : values) sum += value;
  return sum / double(values.size());
}

int main() {
  seed(5);
  nn::GPT model({.vocabulary = vocabulary, .layers = 2, .heads = 2, .dim = 32, .block = length});
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 3e-3});
  Generator generator(5);
  std::printf("%5s %7s | %s\n", "step", "loss",
              "last layer, mean of its heads: entropy  effective keys  largest  strongest sink");
  double first_entropy = 0, last_entropy = 0;
  for (int step = 0; step <= 300; ++step) {
    optim::Batch const data = sequences(generator);
    optimizer.zero_grad();
    Tensor const loss = cross_entropy(model(data.inputs), data.targets);
    loss.backward();
    optimizer.step();
    if (step % 60 != 0) continue;
    nn::Diagnosis const d = nn::diagnose(model, [&] { model(data.inputs); });
    last_entropy = of_last_layer(d, "entropy");
    if (step == 0) first_entropy = last_entropy;
    std::printf("%5d %7.3f | %38.2f %15.1f %8.2f %15.2f\n", step, loss.item(), last_entropy,
                of_last_layer(d, "effective-count"), of_last_layer(d, "largest"), of_last_layer(d, "sink"));
  }
  // What hangs on one key: the loss where every query's most-attended key is hidden, beside that of any other key.
  NoGrad const off;
  nn::eval(model);
  optim::Batch const data = sequences(generator);
  nn::DeletionDrop const drop =
      nn::most_attended_drop([&] { return cross_entropy(model(data.inputs), data.targets).item(); }, generator);
  std::printf("\nLoss %.3f; without each query's most-attended key %.3f, without another key %.3f.\n", drop.whole,
              drop.without, drop.random);
  std::printf("Entropy fell from %.2f to %.2f nats: the model depends on few positions.\n", first_entropy,
              last_entropy);
  return last_entropy < first_entropy && drop.without - drop.whole > 2 * (drop.random - drop.whole) ? 0 : 1;
}
