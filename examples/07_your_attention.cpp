// Lesson 7: attention in your own words. A score, a mask and a measure are lambdas over positions. Each is read once,
// runs inside the fused core tile by tile, and is differentiated, the tables that it reads included: no T×T matrix, no
// hand-written derivative, no compiler at run time.
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>

#include <chrono>
#include <cstdio>

using namespace heed;

constexpr int64_t vocabulary = 16, length = 24, batch = 32, width = 32, heads = 2, reach = 8;

// Period 6: what follows position i is what stood at i − 5.
static optim::Batch sequences(Generator& generator) {
  Tensor const period = randint(0, vocabulary, {batch, 6}, generator);
  Tensor const text = cat({period, period, period, period, period}, 1);
  return {text.slice(1, 0, length).contiguous(), text.slice(1, 1, length + 1).contiguous()};
}

struct Copier : nn::Module {
  nn::Embedding embedding{vocabulary, width};
  nn::Linear values{width, width}, read_out{width, vocabulary};
  Tensor preference = zeros({heads, reach}).requires_grad_();  // of each head for each distance

  void visit(nn::Visitor& visitor) override {
    visitor.child("embedding", embedding);
    visitor.child("values", values);
    visitor.child("read_out", read_out);
    visitor.parameter("preference", preference);
  }
};

int main() {
  seed(7);
  Copier model;
  Tensor const& preference = model.preference;
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 2e-2});

  // The score: what the head prefers at the distance i − j. The mask: causal, and no further than the table reaches.
  ScoreMod const by_distance = [&](auto, auto at) { return read(preference, {at.h, at.i - at.j}); };
  MaskMod const near = [](auto at) { return (at.j <= at.i) & (at.i - at.j < double(reach)); };
  AttendOptions const options{.score = by_distance, .sees = near};

  auto const split = [](Tensor const& x) { return x.view({batch, length, heads, width / heads}).transpose(1, 2); };
  Generator generator(7);
  double loss_now = 0, keys_first = 0, keys_now = 0;
  std::printf("%5s %7s  %s\n", "step", "loss", "keys that a query rests on");
  for (int step = 0; step <= 200; ++step) {
    optim::Batch const data = sequences(generator);
    Tensor const x = model.embedding(data.inputs), v = split(model.values(x));
    Tensor const q = zeros(v.shape());  // the score does not look at the content
    auto const [out, lse] = attend(q, q, v, options);
    // A measure of the map, from the same tiles: here on how many keys a query rests, 1 / Σ p².
    Tensor const concentration = attention_probe(
        q, q, lse, [](auto p, auto, auto) { return p * p; }, options);
    Tensor const logits = model.read_out(out.transpose(1, 2).reshape({batch, length, width}));
    Tensor const loss = cross_entropy(logits, data.targets);
    optimizer.zero_grad();
    (loss + mean(concentration) * 0.02).backward();  // and a gentle push against over-dependence: it is differentiable
    optimizer.step();
    loss_now = loss.item(), keys_now = 1 / mean(concentration).item();
    if (step == 0) keys_first = keys_now;
    if (step % 40 == 0) std::printf("%5d %7.3f  %26.2f\n", step, loss_now, keys_now);
  }
  std::printf("\nWhat the first head learned to prefer, by distance:");
  for (double p : preference.select(0, 0).to_vector<double>()) std::printf(" %.1f", p);
  Tensor const best = argmax(preference.detach(), 1);
  std::printf("\nIts choice is distance %lld.\n", static_cast<long long>(best.to_vector<int64_t>()[0]));

  // A tile of which the mask leaves nothing costs nothing: 8 of 4,096 keys are seen.
  NoGrad const off;
  Tensor const long_q = randn({1, heads, 4096, width / heads});
  auto const milliseconds = [&](AttendOptions const& o) {
    auto const start = std::chrono::steady_clock::now();
    attend(long_q, long_q, long_q, o);
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  };
  milliseconds({});
  std::printf("4,096 positions: all keys %.1f ms, with the mask above %.1f ms.\n", milliseconds({}),
              milliseconds({.sees = near}));
  bool const found = best.to_vector<int64_t>()[0] == 5 && best.to_vector<int64_t>()[1] == 5;
  return found && keys_now < keys_first ? 0 : 1;
}
