#include "works.h"

#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/optim/catalogue.h>
#include <heed/optim/optim.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

extern char** environ;

namespace heed::bench {
namespace {

constexpr double element = sizeof(float);

double count(Shape const& shape) { return double(numel(shape)); }

Tensor variable(Shape const& shape) {
  Tensor x = randn(shape);
  x.requires_grad_();
  return x;
}

/// f once a turn, nothing recorded; its result lives until the next.
template <class F>
std::function<void()> forward(F f) {
  return [f, y = Tensor()]() mutable {
    NoGrad const off;
    y = {};
    y = f();
  };
}

/// f and its gradients by a random cotangent, those of `leaves` cleared first.
template <class F>
std::function<void()> with_backward(std::vector<Tensor> leaves, F f) {
  Tensor cotangent;
  {
    NoGrad const off;
    cotangent = randn_like(f());
  }
  return [leaves, f, cotangent] {
    for (Tensor const& leaf : leaves) leaf.set_grad({});
    f().backward(cotangent);
  };
}

/// [m, k]·[k, n], small ones many times a turn.
Work product(int64_t m, int64_t k, int64_t n, Dtype dtype = Dtype::f32) {
  Tensor const a = randn({m, k}).to(dtype), b = randn({k, n}).to(dtype);
  double const work = double(m * n * k);
  int const calls = int(std::clamp(2e6 / work, 1.0, 2000.0));
  return {.run =
              [=] {
                NoGrad const off;
                for (int i = 0; i < calls; ++i) matmul(a, b);
              },
          .flop = 2 * work,
          .bytes = double(size_of(dtype)) * double(m * k + k * n + m * n),
          .pieces = double(calls)};
}

Work batched_product() {
  Tensor const a = randn({64, 128, 64}), b = randn({64, 64, 128});
  return {.run = forward([=] { return matmul(a, b); }),
          .flop = 2.0 * 64 * 128 * 128 * 64,
          .bytes = element * 64 * (128 * 64 * 2 + 128 * 128)};
}

Work pointwise(int64_t n, Tensor (*f)(Tensor const&)) {
  Tensor const x = randn({n});
  return {.run = forward([=] { return f(x); }), .bytes = element * 2 * double(n)};
}

Work large_add() {
  Tensor const a = randn({1 << 24}), b = randn({1 << 24});
  return {.run = forward([=] { return a + b; }), .bytes = element * 3 * (1 << 24)};
}

Work transpose_copy() {
  Tensor const x = randn({4096, 4096});
  return {.run = forward([=] { return x.t().contiguous(); }), .bytes = element * 2 * 4096 * 4096};
}

/// A normalisation of rows: forward x → y, backward g and x or y → dx.
template <class F>
Work rows(F f) {
  Tensor const x = variable({4096, 1024}), w = variable({1024}), b = variable({1024});
  return {.run = with_backward({x, w, b}, [=] { return f(x, w, b); }), .bytes = element * 5 * 4096 * 1024};
}

Work cross_entropy_work() {
  Tensor const logits = variable({4096, 32000}), targets = randint(0, 32000, {4096});
  return {.run =
              [=] {
                logits.set_grad({});
                cross_entropy(logits, targets).backward();
              },
          .bytes = element * 3 * 4096 * 32000};
}

Work embedding_work() {
  Tensor const table = variable({50'000, 768}), index = randint(0, 50'000, {8192});
  return {.run = with_backward({table}, [=] { return embedding(index, table); }),
          .bytes = element * 768 * (3 * 8192 + 50'000)};
}

/// B 2, H 8, D 64, without masks, causal, or with a window of 256 keys.
Work attention(int64_t t, bool causal, bool window, bool backward) {
  Shape const shape{2, 8, t, 64};
  Tensor const q = variable(shape), k = variable(shape), v = variable(shape);
  AttendOptions options{.causal = causal};
  if (window) options.left = 255;
  auto const out = [=] { return attend(q, k, v, options).out; };
  double const entries = window   ? 256.0 * double(t) - 255.0 * 128
                         : causal ? double(t) * double(t + 1) / 2
                                  : double(t) * double(t);
  return {.run = backward ? with_backward({q, k, v}, out) : forward(out),
          .flop = 4.0 * 2 * 8 * 64 * entries * (backward ? 3.5 : 1),
          .bytes = element * count(shape) * (backward ? 12 : 4)};
}

Work convolution(int64_t in, int64_t out, int64_t groups = 1) {
  Tensor const x = variable({32, in, 32, 32}), w = variable({out, in / groups, 3, 3}), b = variable({out});
  double const moved = element * (count(x.shape()) + 32.0 * double(out) * 32 * 32);
  return {.run = with_backward({x, w, b}, [=] { return conv2d(x, w, b, {.padding = 1, .groups = groups}); }),
          .flop = 3 * 2.0 * 32 * 32 * 32 * double(out * in / groups) * 9,
          .bytes = 3 * moved};
}

Work max_pool() {
  Tensor const x = variable({32, 64, 32, 32});
  double const n = count(x.shape());
  return {.run = with_backward({x}, [=] { return max_pool2d(x, 2); }), .bytes = element * (n + n / 4 + n / 4 + n)};
}

Work batch_normalisation() {
  Tensor const x = variable({32, 64, 32, 32}), w = variable({64}), b = variable({64});
  Tensor const mean = zeros({64}), var = ones({64});
  return {.run = with_backward({x, w, b}, [=] { return batch_norm(x, mean, var, w, b, {.training = true}); }),
          .bytes = element * 5 * count(x.shape())};
}

/// A chain of 100 one-element additions with its backward; a piece is an addition.
Work recorded_chain() {
  Tensor const x = variable({1}), other = ones({1});
  return {.run =
              [=] {
                for (int r = 0; r < 10; ++r) {
                  Tensor y = x;
                  for (int i = 0; i < 100; ++i) y = y + other;
                  x.set_grad({});
                  y.backward();
                }
              },
          .pieces = 1000};
}

/// A step of nanoGPT's training: forward, cross-entropy, gradients cleared, backward, AdamW.
Work gpt_step(nn::GPTConfig const& config, int64_t batch) {
  seed(1);
  auto const model = std::make_shared<nn::GPT>(config);
  auto const optimizer = std::make_shared<optim::AdamW>(
      optim::decay_matrices_only(*model, 0.1), optim::AdamWRule{.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.99});
  Tensor const inputs = randint(0, config.vocabulary, {batch, config.block}),
               targets = randint(0, config.vocabulary, {batch, config.block});
  double const positions = double(batch * config.block);
  double const weights = double(nn::count_parameters(*model) - config.block * config.dim);
  return {.run =
              [=] {
                Tensor const loss = cross_entropy((*model)(inputs), targets);
                optimizer->zero_grad();
                loss.backward();
                optimizer->step();
              },
          .flop = 6 * weights * positions + 6 * double(config.layers * config.dim * config.block) * positions};
}

nn::GPTConfig const small_gpt{.vocabulary = 65, .layers = 4, .heads = 4, .dim = 128, .block = 64};
nn::GPTConfig const large_gpt{.vocabulary = 65, .layers = 6, .heads = 6, .dim = 384, .block = 256};

/// 64 greedy tokens from one; a piece is a token.
Work decoding() {
  seed(1);
  auto const model = std::make_shared<nn::GPT>(small_gpt);
  double const weights = double(nn::count_parameters(*model));
  return {.run = [model] { nn::generate(*model, {1}, 64, {.temperature = 0}, default_generator()); },
          .flop = 2 * weights,
          .bytes = element * weights,
          .pieces = 64};
}

/// 784-512-512-10 with ReLU, batch 128, Adam.
Work mlp_step() {
  seed(1);
  struct Model : nn::Layer<Model> {
    nn::Linear a{784, 512}, b{512, 512}, c{512, 10};
    Tensor forward(Tensor const& x) const { return c(relu(b(relu(a(x))))); }
    void visit(nn::Visitor& v) override { v.child("a", a), v.child("b", b), v.child("c", c); }
  };
  auto const model = std::make_shared<Model>();
  auto const optimizer =
      std::make_shared<optim::AdamW>(optim::all_parameters(*model), optim::AdamWRule{.learning_rate = 1e-3});
  Tensor const x = randn({128, 784}), y = randint(0, 10, {128});
  double const weights = double(nn::count_parameters(*model));
  return {.run =
              [=] {
                Tensor const loss = cross_entropy((*model)(x), y);
                optimizer->zero_grad();
                loss.backward();
                optimizer->step();
              },
          .flop = 6 * weights * 128,
          .bytes = element * weights * 8};
}

/// What the products of a step of this matrix rule need, of one matrix [rows, columns].
double products_of(std::string_view rule, double rows, double columns) {
  double const least = std::min(rows, columns), most = std::max(rows, columns),
               sides = 2 * rows * columns * (rows + columns), cubes = std::pow(rows, 3) + std::pow(columns, 3);
  if (rule == "muon") return 5 * (4 * least * least * most + 2 * std::pow(least, 3));
  // Both covariances, two turns there and one back; every tenth step Q of covariance·basis.
  if (rule == "soap") return 4 * sides + (2 + 4. / 3 * 2) * cubes / 10;
  // Both covariances, both roots on the step; every tenth step the eigenvectors (some 9·n³) and the root.
  if (rule == "shampoo") return 2 * sides + (9 + 2) * cubes / 10;
  if (rule == "psgd-kron") return 2 * sides + (2 * sides + (4 + 1. / 3) * cubes) / 10;
  if (rule == "galore") return 4 * std::min(32., least) * rows * columns;
  return 0;
}

/// One step of a rule on nanoGPT's weights. Weights and gradients move once, and what the rule keeps twice.
Work rule_step(std::string const& rule) {
  seed(1);
  auto const model = std::make_shared<nn::GPT>(small_gpt);
  std::shared_ptr<optim::Optimizer> const optimizer =
      optim::make_optimizer(rule, optim::decay_matrices_only(*model, 0.1), 1e-6);
  Work work;
  for (Tensor const& p : nn::parameters(*model)) {
    p.set_grad(randn_like(p.detach()));
    work.bytes += element * 3 * double(p.numel());
    if (p.rank() >= 2 && p.size(0) >= 128)
      work.flop += products_of(rule, double(p.size(0)), count(p.shape()) / double(p.size(0)));
  }
  for (auto const& state : optimizer->state())
    work.bytes += 2 * double(state.tensor.numel()) * double(size_of(state.tensor.dtype()));
  work.run = [model, optimizer] { optimizer->step([] { return optim::Evaluation{1}; }); };
  for (int i = 0; i < 101 && rule == "psgd-kron"; ++i) work.run();  // its first steps are others
  return work;
}

/// A 4096×14336 layer with weights of 8 bits, `rows` inputs at once.
Work int8_linear(int64_t rows) {
  Int8Weight const weight = quantize_int8(randn({14336, 4096}));
  Tensor const x = randn({rows, 4096});
  return {.run = forward([=] { return linear_int8(x, weight); }),
          .flop = 2.0 * double(rows) * 4096 * 14336,
          .bytes = 4096.0 * 14336 + element * double(rows) * (4096 + 14336)};
}

/// scan() of eight heads of 64×64: no decay, one a head, one a channel, or one a head with a delta rule.
Work linear_recurrence(std::string const& kind, int64_t steps, bool backward) {
  Shape const shape{1, 8, steps, 64}, scalars{1, 8, steps};
  bool const delta = kind == "delta", channels = kind == "channels";
  std::vector<Tensor> x{randn(shape), normalize(randn(shape), 2, -1), randn(shape)};
  if (delta) x.push_back(rand(scalars));
  if (kind != "linear") x.push_back(rand(channels ? shape : scalars) * -0.1);
  for (Tensor& each : x) each.requires_grad_();
  auto const out = [=] {
    ScanOptions options;
    if (kind != "linear") options.decay = x.back();
    return delta ? delta_scan(x[0], x[1], x[2], x[3], options).out : scan(x[0], x[1], x[2], options).out;
  };
  return {.run = backward ? with_backward(x, out) : forward(out)};
}

/// Kernels of their own kind.
Work call(std::function<Tensor()> f) { return {.run = forward(std::move(f))}; }
void add_kernels(std::function<void(std::string, std::function<Work()>)> const& add) {
  Shape const square{1000, 1000};
  add("kernel/gather",
      [=] { return call([x = randn(square), index = randint(0, 1000, square)] { return gather(x, 1, index); }); });
  add("kernel/rfft_pair", [] { return call([x = randn({64, 4096})] { return irfft(rfft(x)); }); });
  add("kernel/cummax", [=] { return call([x = randn(square)] { return cummax(x, 1).values; }); });
  add("kernel/sum_i64", [=] { return call([x = randint(0, 100, square)] { return sum(x, {0}); }); });
  add("kernel/eigh", [] {
    Tensor const x = randn({128, 128});
    return call([x = x + x.t()] { return eigh(x).vectors; });
  });
  add("kernel/svd", [] { return call([x = randn({128, 128})] { return svd(x, false).u; }); });
  add("kernel/depthwise", [] {
    return call([x = randn({8, 64, 56, 56}), w = randn({64, 1, 3, 3})] {
      return conv2d(x, w, {}, {.stride = {2, 2}, .padding = {1, 1}, .groups = 64});
    });
  });
}

/// From exec to the end of a process that multiplies two 64×64 matrices.
Work start() {
  return {.run = [] {
    char program[] = "/proc/self/exe", command[] = "--start";
    char* const arguments[] = {program, command, nullptr};
    pid_t child = 0;
    int status = 0;
    if (posix_spawn(&child, program, nullptr, nullptr, arguments, environ) != 0 || waitpid(child, &status, 0) < 0)
      throw std::runtime_error("cannot start a process");
  }};
}

std::vector<NamedWork> list() {
  std::vector<NamedWork> all;
  auto const add = [&all](std::string name, std::function<Work()> make) {
    all.push_back({std::move(name), std::move(make)});
  };
  for (int64_t n : {512, 1024, 2048}) add("gemm/" + std::to_string(n), [n] { return product(n, n, n); });
  add("gemm_batched/64x128x64x128", batched_product);
  for (int64_t n : {8, 16, 32, 64, 96}) add("gemm_small/" + std::to_string(n), [n] { return product(n, n, n); });
  add("gemm_vector/2048", [] { return product(1, 2048, 2048); });
  add("gemm_bf16/1024", [] { return product(1024, 1024, 1024, Dtype::bf16); });
  add("gemm_f16/1024", [] { return product(1024, 1024, 1024, Dtype::f16); });
  add("exp/1e6", [] { return pointwise(1'000'000, exp); });
  add("gelu_tanh/1e6", [] { return pointwise(1'000'000, gelu_tanh); });
  add("gelu/1e6", [] { return pointwise(1'000'000, gelu); });
  add("softmax/4096x1024",
      [] { return rows([](Tensor const& x, Tensor const&, Tensor const&) { return softmax(x); }); });
  add("layer_norm/4096x1024",
      [] { return rows([](Tensor const& x, Tensor const& w, Tensor const& b) { return layer_norm(x, w, b); }); });
  add("rms_norm/4096x1024",
      [] { return rows([](Tensor const& x, Tensor const& w, Tensor const&) { return rms_norm(x, w); }); });
  add("add/64MB", large_add);
  add("exp/64MB", [] { return pointwise(1 << 24, exp); });
  add("transpose/4096", transpose_copy);
  add("cross_entropy/4096x32000", cross_entropy_work);
  add("embedding/8192of50000x768", embedding_work);
  for (int64_t t : {256, 1024, 4096}) {
    add("attention/" + std::to_string(t), [t] { return attention(t, false, false, true); });
    add("attention_causal/" + std::to_string(t), [t] { return attention(t, true, false, true); });
  }
  add("window_forward/4096", [] { return attention(4096, true, true, false); });
  add("window/4096", [] { return attention(4096, true, true, true); });
  add("gpt/d128", [] { return gpt_step(small_gpt, 12); });
  add("gpt/d384", [] { return gpt_step(large_gpt, 12); });
  add("mlp/784-512-512-10", mlp_step);
  for (auto const& row : optim::optimizers())
    if (row.name != "lbfgs")
      add("step/" + std::string(row.name), [rule = std::string(row.name)] { return rule_step(rule); });
  add("step/sgd:momentum=0.9", [] { return rule_step("sgd:momentum=0.9"); });
  add("op/add", recorded_chain);
  add("decode/d128", decoding);
  add("conv3x3/3to64", [] { return convolution(3, 64); });
  add("conv3x3/64to64", [] { return convolution(64, 64); });
  add("depthwise3x3/64", [] { return convolution(64, 64, 64); });
  add("max_pool/2", max_pool);
  add("batch_norm/64", batch_normalisation);
  for (int64_t rows : {1, 512}) add("int8/" + std::to_string(rows), [rows] { return int8_linear(rows); });
  add_kernels(add);
  for (char const* kind : {"linear", "decay", "channels", "delta"})
    for (int64_t steps : {512, 4096, 65536}) {
      std::string const name = std::string("scan/") + kind + "/" + std::to_string(steps);
      add(name, [=] { return linear_recurrence(kind, steps, false); });
      add(name + "/training", [=] { return linear_recurrence(kind, steps, true); });
    }
  add("start/first_matmul", start);
  return all;
}

}  // namespace

std::vector<NamedWork> const& works() {
  static std::vector<NamedWork> const all = list();
  return all;
}

}  // namespace heed::bench
