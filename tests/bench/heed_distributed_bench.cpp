// heed-distributed-bench: ranks that tests/peers/distributed.py measures. Rank 0 reads "step N", "reduce BYTES N" or
// "attend LENGTH N" from its standard input, all ranks do it, and rank 0 answers "seconds bytes", of one call: the
// bytes are those that this rank has sent.
//   heed-distributed-bench memory [RULE]   what a rank of training holds by RULE (adamw), with and without sharding
#include <heed/engine/storage.h>
#include <heed/nn/nn.h>
#include <heed/optim/catalogue.h>
#include <heed/optim/distributed.h>
#include <heed/optim/rules/adam.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

using namespace heed;
using namespace heed::distributed;

namespace {

/// A step of nanoGPT's training on this rank's rows of a batch of 12.
std::function<void()> training(Communicator& c) {
  seed(1);
  nn::GPTConfig const config{.vocabulary = 65, .layers = 4, .heads = 4, .dim = 128, .block = 64};
  auto const model = std::make_shared<nn::GPT>(config);
  auto const optimizer = std::make_shared<optim::AdamW>(
      optim::decay_matrices_only(*model, 0.1), optim::AdamWRule{.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.99});
  auto const parallel = std::make_shared<DataParallel>(*model, c);
  Rows const own = parallel->rows(12);
  Tensor const inputs = randint(0, 65, {12, 64}).slice(0, own.first, own.first + own.count);
  Tensor const targets = randint(0, 65, {12, 64}).slice(0, own.first, own.first + own.count);
  return [=] {
    Tensor const loss = cross_entropy((*model)(inputs), targets) / parallel->parts();
    optimizer->zero_grad();
    loss.backward();
    parallel->finish();
    optimizer->step();
  };
}

/// Causal attention, forward and backward, of a sequence that is spread over the ranks: 8 heads of 64 features.
std::function<void()> attention(Communicator& c, int64_t length) {
  auto const sequence = std::make_shared<SequenceParallel>(c, length);
  Shape const shape{1, 8, sequence->rows(), 64};
  Tensor const q = randn(shape).requires_grad_(), k = randn(shape).requires_grad_(), v = randn(shape).requires_grad_();
  Tensor const cotangent = randn(shape);
  return [=] {
    for (Tensor const& t : {q, k, v}) t.set_grad({});
    backward(sequence->attend(q, k, v, {.causal = true}).out, cotangent);
  };
}

void serve(Communicator& c) {
  std::printf("rank %d pid %d\n", c.rank(), int(getpid()));
  std::fflush(stdout);
  std::function<void()> step, attend;
  int64_t attend_length = 0;
  for (std::string line;;) {
    Tensor order = zeros({3}, Dtype::i64);  // what, size, calls
    int64_t* const o = order.data<int64_t>();
    if (c.rank() == 0) {
      std::string what;
      if (std::getline(std::cin, line)) {
        std::istringstream words(line);
        words >> what;
        if (what == "step") words >> o[2], o[0] = 1;
        if (what == "reduce") words >> o[1] >> o[2], o[0] = 2;
        if (what == "attend") words >> o[1] >> o[2], o[0] = 3;
      }
    }
    c.broadcast(order, 0);
    if (o[0] == 0) return;
    Tensor x = o[0] == 2 ? ones({o[1] / 4}) : Tensor();
    if (o[0] == 1 && !step) step = training(c);
    if (o[0] == 3 && (!attend || attend_length != o[1])) attend = attention(c, attend_length = o[1]);
    auto const call = o[0] == 1 ? step : o[0] == 2 ? [&] { c.all_reduce(x); } : attend;
    c.barrier();
    int64_t const before = c.bytes_sent();
    auto const start = std::chrono::steady_clock::now();
    for (int64_t k = 0; k < o[2]; ++k) call();
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    int64_t const bytes = c.bytes_sent() - before;
    if (c.rank() > 0) continue;
    std::printf("%.9g %.9g\n", seconds / double(o[2]), double(bytes) / double(o[2]));
    std::fflush(stdout);
  }
}

/// Bytes of tensors after three steps of a GPT (the gradients are gone), and the most during the third.
void memory(Communicator& c, std::string const& rule) {
  nn::GPTConfig const config{.vocabulary = 65, .layers = 6, .heads = 6, .dim = 384, .block = 64};
  for (bool const sharded : {false, true}) {
    seed(1);
    nn::GPT model(config);
    auto groups = optim::decay_matrices_only(model, 0.1);
    auto const optimizer =
        sharded ? make_sharded(rule, std::move(groups), c, 1e-3) : optim::make_optimizer(rule, std::move(groups), 1e-3);
    DataParallel parallel(model, c);
    Tensor const tokens = randint(0, 65, {2, 65});
    double peak = 0;
    for (int step = 0; step < 3; ++step) {
      reset_peak_memory();
      cross_entropy(model(tokens.slice(1, 0, 64)), tokens.slice(1, 1, 65)).backward();
      parallel.finish();
      optimizer->step();
      optimizer->zero_grad();
      peak = double(memory_statistics().peak);
    }
    c.barrier();
    double const weights = 4 * double(nn::count_parameters(model)), held = double(memory_statistics().in_use);
    std::printf("rank %d of %d, %s%s: weights %.1f MB, state %.1f MB, peak %.1f MB\n", c.rank(), c.size(), rule.c_str(),
                sharded ? ", sharded" : "", weights / 1e6, (held - weights) / 1e6, peak / 1e6);
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    auto const ranks = connect({.timeout = 600});
    bool const measures = argc > 1 && std::string(argv[1]) == "memory";
    run(*ranks, [&](Communicator& c) { measures ? memory(c, argc > 2 ? argv[2] : "adamw") : serve(c); });
  } catch (std::exception const& error) {
    std::fprintf(stderr, "heed-distributed-bench: %s\n", error.what());
    return 2;
  }
}
