// libtorch from C++, without Python's cost: one-element operations, the MLP's training step and greedy decoding.
// compare.py builds and runs it; it answers "name threads seconds" lines like heed-bench.
#include <torch/torch.h>

#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <vector>

#include "../bench/turns.h"

namespace {

struct Work {
  std::function<void()> run;
  double pieces = 1;
};

Work recorded_chain() {
  torch::Tensor const x = torch::ones({1}, torch::requires_grad()), other = torch::ones({1});
  return {[=] {
            for (int r = 0; r < 10; ++r) {
              torch::Tensor y = x;
              for (int i = 0; i < 100; ++i) y = y + other;
              x.mutable_grad() = torch::Tensor();
              y.backward();
            }
          },
          1000};
}

Work mlp() {
  torch::nn::Sequential model(torch::nn::Linear(784, 512), torch::nn::ReLU(), torch::nn::Linear(512, 512),
                              torch::nn::ReLU(), torch::nn::Linear(512, 10));
  auto const optimizer = std::make_shared<torch::optim::Adam>(model->parameters(), torch::optim::AdamOptions(1e-3));
  torch::Tensor const x = torch::randn({128, 784}), y = torch::randint(10, {128}, torch::kLong);
  return {[=]() mutable {
    torch::Tensor const loss = torch::cross_entropy_loss(model->forward(x), y);
    optimizer->zero_grad();
    loss.backward();
    optimizer->step();
  }};
}

/// The small GPT (4 layers, width 128, 4 heads, vocabulary 65, no biases, tied head): 64 greedy tokens from one, keys
/// and values kept in place.
Work decoding() {
  constexpr int64_t layers = 4, dim = 128, heads = 4, width = dim / heads, block = 65;
  struct Layer {
    torch::Tensor norm1, qkv, out, norm2, up, down, keys, values;
  };
  std::vector<Layer> blocks;
  for (int64_t i = 0; i < layers; ++i)
    blocks.push_back({torch::ones({dim}), torch::randn({3 * dim, dim}) * 0.02, torch::randn({dim, dim}) * 0.02,
                      torch::ones({dim}), torch::randn({4 * dim, dim}) * 0.02, torch::randn({dim, 4 * dim}) * 0.02,
                      torch::zeros({1, heads, block, width}), torch::zeros({1, heads, block, width})});
  torch::Tensor const tokens = torch::randn({65, dim}) * 0.02, positions = torch::randn({block, dim}) * 0.02,
                      norm = torch::ones({dim});
  return {[=] {
            c10::InferenceMode const on;
            int64_t token = 1;
            for (int64_t t = 0; t < 64; ++t) {
              torch::Tensor x = (tokens.select(0, token) + positions.select(0, t)).unsqueeze(0);
              for (Layer const& l : blocks) {
                torch::Tensor const qkv =
                    torch::linear(torch::layer_norm(x, {dim}, l.norm1), l.qkv).view({3, 1, heads, 1, width});
                l.keys.select(2, t).copy_(qkv[1].squeeze(2));
                l.values.select(2, t).copy_(qkv[2].squeeze(2));
                torch::Tensor const y = torch::scaled_dot_product_attention(qkv[0], l.keys.narrow(2, 0, t + 1),
                                                                            l.values.narrow(2, 0, t + 1));
                x = x + torch::linear(y.reshape({1, dim}), l.out);
                x = x + torch::linear(torch::gelu(torch::linear(torch::layer_norm(x, {dim}, l.norm2), l.up)), l.down);
              }
              token = torch::linear(torch::layer_norm(x, {dim}, norm), tokens).argmax().item<int64_t>();
            }
          },
          64};
}

struct Measured {
  Work work;
  double last = 0;
};

}  // namespace

int main(int argc, char**) {
  heed::bench::by_processor = argc > 1;  // --cpu
  std::map<std::string, Work (*)()> const works{
      {"op/add", recorded_chain}, {"mlp/784-512-512-10", mlp}, {"decode/d128", decoding}};
  std::map<std::string, Measured> ready;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    int threads = 1;
    double seconds = 1;
    words >> name >> threads >> seconds;
    auto const found = works.find(name);
    if (found == works.end()) {
      std::puts("{}");
    } else {
      torch::set_num_threads(threads);
      if (!ready.count(name)) ready[name].work = found->second();
      auto& [work, last] = ready[name];
      std::vector<double> const times = heed::bench::take_turns(work.run, seconds, last);
      std::printf(R"({"name": "%s", "threads": %d, "min": %.6g, "median": %.6g, "peer": "libtorch %s C++"})"
                  "\n",
                  name.c_str(), threads, times.front() * 1e3 / work.pieces, times[times.size() / 2] * 1e3 / work.pieces,
                  TORCH_VERSION);
    }
    std::fflush(stdout);
  }
}
