// Lesson 9: several processes, one model. Every rank works on its rows of a batch; the gradients are summed before the
// step. Here the ranks are threads of this program; with connect() in place of run_ranks() they are what mpirun starts.
#include <heed/nn/nn.h>
#include <heed/optim/distributed.h>
#include <heed/optim/optim.h>

#include <cstdio>
#include <optional>
#include <vector>

using namespace heed;
using namespace heed::distributed;

// The weights of a model after 20 steps of counting up from random digits. Alone, it sees each batch as two halves.
static std::vector<float> train(Communicator* ranks) {
  seed(1);
  nn::GPT model({.vocabulary = 10, .layers = 1, .heads = 2, .dim = 32, .block = 16});
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 3e-3});
  std::optional<DataParallel> parallel;
  if (ranks) parallel.emplace(model, *ranks);  // every rank has rank 0's weights now
  Generator generator(1);                      // the same everywhere: every rank draws the whole batch
  for (int step = 0; step < 20; ++step) {
    Tensor const digits = randint(0, 10, {16, 1}, generator) + arange(17);
    Tensor const tokens = remainder(digits, tensor(std::vector<int64_t>{10}, {1}));
    optimizer.zero_grad();
    for (Rows const rows : parallel ? std::vector{parallel->rows(16)} : std::vector<Rows>{{0, 8}, {8, 8}}) {
      Tensor const own = tokens.slice(0, rows.first, rows.first + rows.count);
      Tensor const loss = cross_entropy(model(own.slice(1, 0, 16)), own.slice(1, 1, 17));
      (loss * (double(rows.count) / 16)).backward();  // gradients go out as they come, beside the rest of backward
    }
    if (parallel) parallel->finish();  // now they are those of the whole batch, on every rank
    optimizer.step();
  }
  std::vector<float> weights;
  for (Tensor const& p : nn::parameters(model))
    for (float const w : p.to_vector<float>()) weights.push_back(w);
  return weights;
}

int main() {
  std::vector<float> const alone = train(nullptr);
  std::vector<float> together[2];
  run_ranks(2, [&](Communicator& ranks) {
    together[ranks.rank()] = train(&ranks);
    if (ranks.rank() == 0)
      std::printf("%zu weights; a rank sent %.0f KB a step\n", alone.size(), double(ranks.bytes_sent()) / 20e3);
  });
  // Sums are taken in the order of the ranks: not nearly the same, the same.
  bool const same = together[0] == alone && together[1] == alone;
  std::printf("the weights of both ranks have %s bits of one process\n", same ? "the" : "NOT the");

  // What goes wrong on one rank stops all of them, and says who.
  try {
    run_ranks(2, [](Communicator& ranks) {
      Tensor x = ones({3 + ranks.rank()});
      ranks.all_reduce(x);
    });
  } catch (Error const& error) {
    std::printf("\n%s\n", error.what());
  }
  return same ? 0 : 1;
}
