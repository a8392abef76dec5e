// heed-device-bench [--device cuda:0] [--small] [--seconds S]: times work on an accelerator, one JSON line each;
// tests/peers/device_bench.py sets it beside PyTorch on the same device. --small: sizes for an emulated one.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/emulated.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "turns.h"

namespace {

using namespace heed;

/// What the mathematics needs: `flop`, and `bytes` that move once in each direction that needs it.
struct Work {
  std::string name;
  double flop, bytes;
  std::function<void()> run;
};

struct Sizes {
  int64_t gemm, rows, columns, elements, positions, classes, images, batch, dim;
};
constexpr Sizes full_sizes{4096, 8192, 4096, 1 << 26, 4096, 32000, 32, 8, 768},
    small_sizes{40, 6, 40, 500, 40, 50, 1, 1, 16};

class Works {
 public:
  Works(Device device, Sizes const& s) : device_(device), s_(s) {}

  std::vector<Work> all() const {
    std::vector<Work> list;
    for (Dtype const dtype : {Dtype::f32, Dtype::bf16}) product(list, dtype, false);
    product(list, Dtype::f32, true);
    for (Dtype const dtype : {Dtype::f32, Dtype::bf16}) attention(list, dtype);
    memory_bound(list);
    convolution(list);
    training(list);
    return list;
  }

 private:
  Tensor normal(Shape const& shape, Dtype dtype = Dtype::f32) const { return randn(shape).to(dtype).to(device_); }

  void product(std::vector<Work>& list, Dtype dtype, bool tf32) const {
    int64_t const n = s_.gemm;
    Tensor const a = normal({n, n}, dtype), b = normal({n, n}, dtype);
    list.push_back({fmt::format("gemm_{}/{}", tf32 ? "tf32" : name(dtype), n), 2.0 * double(n * n * n),
                    3.0 * double(n * n) * double(size_of(dtype)), [=] {
                      if (!tf32) return void(matmul(a, b));
                      AllowTf32 const allowed;
                      matmul(a, b);
                    }});
  }

  void attention(std::vector<Work>& list, Dtype dtype) const {
    int64_t const t = s_.positions, heads = 16, d = 64;
    Tensor const q = normal({1, heads, t, d}, dtype), k = normal({1, heads, t, d}, dtype),
                 v = normal({1, heads, t, d}, dtype), g = normal({1, heads, t, d}, dtype);
    double const flop = 4.0 * double(heads * t * t * d) / 2,
                 bytes = 4.0 * double(heads * t * d) * double(size_of(dtype));
    list.push_back(
        {fmt::format("attention_{}/{}", name(dtype), t), flop, bytes, [=] { attend(q, k, v, {.causal = true}); }});
    list.push_back({fmt::format("attention_backward_{}/{}", name(dtype), t), 3.5 * flop, 2.5 * bytes, [=] {
                      std::vector<Tensor> leaves;
                      for (Tensor const& x : {q, k, v}) leaves.push_back(x.detach().requires_grad_());
                      grad({attend(leaves[0], leaves[1], leaves[2], {.causal = true}).out}, leaves, {g});
                    }});
  }

  void memory_bound(std::vector<Work>& list) const {
    auto const sized = [](char const* what, int64_t rows, int64_t columns) {
      return fmt::format("{}/{}x{}", what, rows, columns);
    };
    Tensor const x = normal({s_.rows, s_.columns}), weight = normal({s_.columns}), long_row = normal({s_.elements});
    double const moved = 8.0 * double(x.numel()), row = double(s_.elements);
    list.push_back({sized("softmax", s_.rows, s_.columns), 0, moved, [=] { softmax(x, -1); }});
    list.push_back({sized("layer_norm", s_.rows, s_.columns), 0, moved, [=] { layer_norm(x, weight, weight); }});
    list.push_back({sized("sum", s_.rows, s_.columns), 0, moved / 2, [=] { sum(x, {1}); }});
    list.push_back({fmt::format("add/{}", s_.elements), 0, 12 * row, [=] { long_row + long_row; }});
    list.push_back({fmt::format("gelu/{}", s_.elements), 0, 8 * row, [=] { gelu(long_row); }});
    list.push_back({fmt::format("cumsum/{}", s_.elements), 0, 8 * row, [=] { cumsum(long_row, 0); }});
    list.push_back({fmt::format("sort/{}", s_.elements / 16), 0, 12 * row / 16,
                    [=, part = long_row.slice(0, 0, s_.elements / 16).contiguous()] { sort(part); }});
    Tensor const logits = normal({s_.rows / 2, s_.classes}),
                 targets = randint(0, s_.classes, {s_.rows / 2}).to(device_);
    list.push_back({sized("cross_entropy", s_.rows / 2, s_.classes), 0, 4.0 * double(logits.numel()),
                    [=] { cross_entropy(logits, targets); }});
  }

  void convolution(std::vector<Work>& list) const {
    int64_t const size = s_.images > 1 ? 56 : 6, channels = 64;
    Tensor const x = normal({s_.images, channels, size, size}), w = normal({channels, channels, 3, 3});
    list.push_back({fmt::format("conv3x3/{}x{}", s_.images, size),
                    2.0 * 9 * double(channels * channels) * double(s_.images * size * size),
                    8.0 * double(x.numel()) + 4.0 * double(w.numel()), [=] { conv2d(x, w, {}, {.padding = 1}); }});
  }

  void training(std::vector<Work>& list) const {
    int64_t const t = s_.positions / 4;
    auto const model = std::make_shared<nn::GPT>(nn::GPTConfig{.vocabulary = s_.classes,
                                                               .layers = s_.batch > 1 ? 12 : 1,
                                                               .heads = s_.dim / 8 > 12 ? 12 : 2,
                                                               .dim = s_.dim,
                                                               .block = t});
    nn::to(*model, device_);
    auto const optimizer = std::make_shared<optim::AdamW>(optim::all_parameters(*model), optim::AdamWRule{});
    Tensor const tokens = randint(0, s_.classes, {s_.batch, t}).to(device_);
    double const flop = 6.0 * double(nn::count_parameters(*model)) * double(s_.batch * t);
    list.push_back({fmt::format("gpt_step_bf16/d{}", s_.dim), flop, 0, [=] {
                      Autocast const bf16;
                      optimizer->zero_grad();
                      cross_entropy((*model)(tokens), tokens).backward();
                      optimizer->step();
                    }});
  }

  Device device_;
  Sizes s_;
};

}  // namespace

int main(int argc, char** argv) try {
  Device device = cuda(0);
  bool is_small = false;
  double seconds = 1;
  for (int i = 1; i < argc; ++i) {
    std::string const key = argv[i];
    if (key == "--small") {
      is_small = true;
    } else if (key == "--device" && i + 1 < argc) {
      device = parse_device(argv[++i]);
    } else if (key == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else {
      fmt::print(stderr, "heed-device-bench [--device cuda:0] [--small] [--seconds S]\n");
      return 2;
    }
  }
  if (device.kind == Device::Kind::emu) device = test::emulated_device();
  for (Work const& work : Works(device, is_small ? small_sizes : full_sizes).all()) {
    // As many calls a turn as the device needs to be busy while the host waits for it once.
    double last = 0;
    int const calls = is_small ? 1 : 10;
    auto const times = bench::take_turns(
        [&] {
          for (int i = 0; i < calls; ++i) work.run();
          if (!device.is_cpu()) backend(device).synchronize(device.index);
        },
        seconds, last);
    double const scale = 1e3 / calls;
    fmt::print(R"({{"name": "{}", "min": {:.6g}, "median": {:.6g}, "count": {}, "flop": {:.6g}, "bytes": {:.6g}}})"
               "\n",
               work.name, times.front() * scale, times[times.size() / 2] * scale, times.size(), work.flop, work.bytes);
    std::fflush(stdout);
  }
  return 0;
} catch (std::exception const& error) {
  fmt::print(stderr, "heed-device-bench: {}\n", error.what());
  return 2;
}
