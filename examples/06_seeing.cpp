// Lesson 6: seeing. What a tensor is and where it came from, the graph that backward walks, and where the time goes.
#include <heed/engine/io/file.h>
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>

#include <cstdio>
#include <filesystem>

using namespace heed;

int main() {
  // explain() says how a tensor was computed, how it lies in memory, who shares it, and what backward will need of it.
  seed(6);
  Tensor weight = randn({4, 3}).requires_grad_().set_label("weight");
  Tensor const x = randn({8, 3}), y = tanh(linear(x, weight));
  std::printf("%s\n%s\n", explain(mean(square(y))).c_str(), explain(weight.t()).c_str());

  // A model's parameters are labelled with their paths, and every operation knows the module it ran in.
  nn::GPT model({.vocabulary = 32, .layers = 2, .heads = 2, .dim = 32, .block = 16});
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 1e-3});
  Tensor const tokens = randint(0, 32, {4, 16}), next = randint(0, 32, {4, 16});
  Tensor const loss = cross_entropy(model(tokens), next);
  std::printf("%s\n", explain(loss, {.depth = 7}).c_str());

  // The graph as a page: open it in a browser, click a module to look inside. graph_dot() is the same for Graphviz.
  auto const folder = std::filesystem::temp_directory_path();
  std::string const page = folder / "heed_graph.html", trace = folder / "heed_trace.json";
  write_file_atomically(page, graph_html(loss, {.title = "A GPT of two layers"}));

  // A profile watches every operation while it lives, forward and backward, here of one training step.
  Profile steps = profile([&] {
    optimizer.zero_grad();
    cross_entropy(model(tokens), next).backward();
    optimizer.step();
  });
  std::printf("%s\n%s\n", steps.table().c_str(), steps.module_table().c_str());
  steps.write_trace(trace);  // https://ui.perfetto.dev opens it
  std::printf("see %s and %s\n", page.c_str(), trace.c_str());

  // The table adds up: time inside operations is no longer than the whole.
  int64_t inside = 0;
  for (ProfileRow const& row : steps.by_op()) inside += row.self;
  return inside > 0 && inside <= steps.duration() ? 0 : 1;
}
