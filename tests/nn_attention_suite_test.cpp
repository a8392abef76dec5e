// One suite for every kind of attention: what each is checked for follows from its row and its traits, and nothing is
// exempt. HEED_ROW=name runs one row, HEED_TABLE=1 prints rows × properties.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/engine.h>
#include <heed/nn/nn.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/optim/optim.h>
#include <heed/tests/support/emulated.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

using namespace heed;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

constexpr int64_t batch = 2, length = 11, memory_length = 7, dim = 8;

nn::AttentionConfig small_config(bool causal) {
  return {.dim = dim, .heads = 2, .causal = causal, .block = 16, .layer = 1, .layers = 2};
}

/// Parameters far from their start, so that weights are far from uniform and gates far from closed; the same each time.
void spread(nn::Module& module) {
  uint32_t key = 100;
  NoGrad const off;
  for (auto& [name, p] : nn::named_parameters(module)) {
    Tensor const more = numbers(p.shape(), ++key, p.dtype());
    if (p.rank() >= 2)
      p.copy_(more * 0.9);
    else
      p.add_(more * 0.3);
  }
}

std::unique_ptr<nn::Attention> made(std::string_view text, nn::AttentionConfig const& config,
                                    Dtype dtype = Dtype::f64) {
  seed(3);
  auto layer = nn::make_attention(text, config);
  nn::bind_paths(*layer, "layer");
  nn::to(*layer, Dtype::f64);
  spread(*layer);
  nn::to(*layer, dtype);
  nn::eval(*layer);
  return layer;
}

/// A way in which a kind can be used.
struct Form {
  char const* name;
  bool causal, cross;
};

struct Kind {
  nn::AttentionRow const& row;
  std::string text;
  nn::Traits traits;
  std::vector<Form> forms;
};

Kind kind_of(nn::AttentionRow const& row) {
  std::string const text(row.small.empty() ? row.name : row.small);
  Kind kind{row, text, nn::traits_of(text), {}};
  if (kind.traits.causal) kind.forms.push_back({"causal", true, false});
  if (kind.traits.bidirectional) kind.forms.push_back({"bidirectional", false, false});
  if (kind.traits.cross) kind.forms.push_back({"cross", false, true});
  return kind;
}

struct Sample {
  Tensor x, memory;
  nn::AttentionContext context(Form const& form) const {
    return form.cross ? nn::AttentionContext{.memory = memory} : nn::AttentionContext{};
  }
};
Sample sample(Dtype dtype = Dtype::f64, int64_t t = length) {
  return {numbers({batch, t, dim}, 1, dtype), numbers({batch, memory_length, dim}, 2, dtype)};
}

/// A layer that depends on its stack's first values gets some.
struct FirstValues {
  Tensor values;
  explicit FirstValues(nn::Attention const& layer, Dtype dtype = Dtype::f64, int64_t rows = length)
      : values(numbers({batch, layer.config.kv_heads, rows, layer.config.head_dim()}, 9, dtype)) {}
};

double difference(Tensor const& a, Tensor const& b) {
  if (to_string(a.shape()) != to_string(b.shape())) return INFINITY;
  auto const x = a.to_vector<double>(), y = b.to_vector<double>();
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double const d = std::abs(x[i] - y[i]);
    most = d <= most ? most : d;  // keeps NaN
  }
  return most;
}
std::string near(Tensor const& got, Tensor const& want, double bound, std::string_view what) {
  double const d = difference(got, want);
  return d <= bound ? "" : fmt::format("{}: {:.1e} apart, at most {:.0e}", what, d, bound);
}
/// |got − want| / |want|
double relative(Tensor const& got, Tensor const& want) {
  Tensor const w = want.to(Dtype::f64);
  return (norm(got.to(Dtype::f64) - w) / (norm(w) + 1e-30)).item();
}

/// Puts other tensors in the place of parameters.
class Replace final : public nn::Visitor {
 public:
  Replace(std::vector<Tensor> const& with, size_t first) : with_(with), next_(first) {}
  void parameter(std::string_view, Tensor& t) override {
    if (t.defined()) t = with_.at(next_++);
  }

 private:
  std::vector<Tensor> const& with_;
  size_t next_;
};

std::string gradients(Kind const& kind, Form const& form) {
  auto layer = made(kind.text, small_config(form.causal));
  Sample s = sample(Dtype::f64, 6);
  FirstValues first(*layer, Dtype::f64, form.cross ? memory_length : 6);
  std::vector<Tensor> inputs{s.x.requires_grad_(), s.memory};
  if (form.cross) inputs[1].requires_grad_();
  for (auto const& p : nn::parameters(*layer)) inputs.push_back(p.detach().clone().requires_grad_());
  return test::gradcheck(
      [&](std::vector<Tensor> const& in) {
        Replace replace(in, 2);
        layer->visit(replace);
        nn::AttentionContext context{.first_values = &first.values};
        if (form.cross) context.memory = in[1];
        return std::vector<Tensor>{(*layer)(in[0], context)};
      },
      inputs, {.tolerance = 2e-6, .full_up_to = 0, .directions = 2});
}

std::string causality(Kind const& kind, Form const& form) {
  if (!form.causal) return "-";
  NoGrad const off;
  auto const layer = made(kind.text, small_config(true));
  Tensor const x = sample().x;
  FirstValues first(*layer);
  auto const of = [&](Tensor const& given) { return (*layer)(given, {.first_values = &first.values}); };
  Tensor const y = of(x);
  for (int64_t t = 1; t < length; ++t) {
    Tensor other = x.clone();
    other.slice(1, t, length).copy_(numbers({batch, length - t, dim}, uint32_t(40 + t)));
    if (auto const problem = near(of(other).slice(1, 0, t), y.slice(1, 0, t), 1e-12,
                                  fmt::format("what comes before position {}, after it changed", t));
        !problem.empty())
      return problem;
  }
  return "";
}

std::string batch_independence(Kind const& kind, Form const& form) {
  NoGrad const off;
  auto const layer = made(kind.text, small_config(form.causal));
  Sample const s = sample();
  FirstValues first(*layer, Dtype::f64, form.cross ? memory_length : length);
  nn::AttentionContext context = s.context(form);
  context.first_values = &first.values;
  Tensor const y = (*layer)(s.x, context);
  for (int64_t b = 0; b < batch; ++b) {
    nn::AttentionContext own = s.context(form);
    if (form.cross) own.memory = s.memory.slice(0, b, b + 1);
    Tensor own_first = first.values.slice(0, b, b + 1);
    own.first_values = &own_first;
    if (auto const problem =
            near((*layer)(s.x.slice(0, b, b + 1), own), y.slice(0, b, b + 1), 1e-12, "a sequence alone");
        !problem.empty())
      return problem;
  }
  return "";
}

std::string equivariance(Kind const& kind, Form const& form) {
  if (!kind.traits.equivariant || form.causal || form.cross) return "-";
  NoGrad const off;
  auto const layer = made(kind.text, small_config(false));
  Tensor const x = sample().x;
  FirstValues first(*layer);
  Tensor const order = tensor(std::vector<int64_t>{5, 2, 9, 0, 10, 7, 1, 3, 8, 6, 4}, {length});
  Tensor first_turned = index_select(first.values, 2, order);
  Tensor const y = (*layer)(x, {.first_values = &first.values});
  Tensor const turned = (*layer)(index_select(x, 1, order), {.first_values = &first_turned});
  return near(turned, kind.traits.pools ? y : index_select(y, 1, order), 1e-10, "permuted positions");
}

std::string padding(Kind const& kind, Form const& form) {
  auto layer = made(kind.text, small_config(form.causal));
  Sample const s = sample();
  int64_t const padded = form.cross ? memory_length : length, kept = padded - 3;
  Tensor const lengths = tensor(std::vector<int64_t>{padded, kept}, {2});
  FirstValues first(*layer, Dtype::f64, padded);
  auto const run = [&](double filler, std::vector<Tensor>& slopes) {
    Tensor source = (form.cross ? s.memory : s.x).detach().clone();
    source.select(0, 1).slice(0, kept, padded).fill_(filler);
    Tensor x = form.cross ? s.x.detach().clone() : source;
    x.requires_grad_();
    Tensor own_first = first.values;
    nn::AttentionContext context{.first_values = &own_first};
    if (form.cross)
      context.memory = source, context.memory_lengths = lengths;
    else
      context.lengths = lengths;
    Tensor y = (*layer)(x, context);
    // What stands at padded positions is nobody's: it does not enter the loss.
    Tensor used = kind.traits.pools || form.cross ? y : where(nn::valid_positions(lengths, length).unsqueeze(2), y, 0.);
    nn::zero_grad(*layer);
    sum(used * numbers(used.shape(), 7)).backward();
    for (auto const& p : nn::parameters(*layer)) slopes.push_back(p.grad().defined() ? p.grad() : zeros({1}));
    return used.detach();
  };
  std::vector<Tensor> with_nan, with_zero;
  if (!kind.traits.lengths)
    return error_of([&] { run(0, with_zero); }).empty() ? "takes lengths, but its traits deny it" : "-";
  Tensor const y = run(NAN, with_nan);
  if (!same_bits(y, run(0, with_zero))) return "NaN in padding changes the result";
  for (size_t i = 0; i < with_nan.size(); ++i)
    if (!same_bits(with_nan[i], with_zero[i])) return "NaN in padding changes gradients";
  NoGrad const off;
  nn::AttentionContext own{};
  Tensor own_first = first.values.slice(0, 1, 2).slice(2, 0, kept);
  own.first_values = &own_first;
  Tensor x = s.x.slice(0, 1, 2);
  if (form.cross)
    own.memory = s.memory.slice(0, 1, 2).slice(1, 0, kept);
  else
    x = x.slice(1, 0, kept);
  Tensor const alone = (*layer)(x, own);
  return near(y.slice(0, 1, 2).slice(1, 0, alone.size(1)), alone, 1e-10, "a padded sequence, and alone");
}

std::string steps(Kind const& kind, Form const& form) {
  if (!form.causal) return "-";
  NoGrad const off;
  auto const layer = made(kind.text, small_config(true));
  if (!kind.traits.steps)
    return error_of([&] { layer->make_state(length); }).empty() ? "decodes, but its traits deny it" : "-";
  Tensor const x = sample().x;
  FirstValues first(*layer);
  Tensor const y = (*layer)(x, {.first_values = &first.values});
  for (std::vector<int64_t> const& pieces : {std::vector<int64_t>(size_t(length), 1), {length}, {4, 1, 6}, {1, 9, 1}}) {
    auto const state = layer->make_state(length);
    std::vector<Tensor> parts;
    int64_t at = 0;
    for (int64_t const n : pieces) {
      Tensor own_first = first.values.slice(2, at, at + n);
      parts.push_back((*layer)(x.slice(1, at, at + n), {.state = state.get(), .first_values = &own_first}));
      at += n;
      if (state->length != at) return fmt::format("the state counts {} of {} positions", state->length, at);
    }
    if (auto const problem = near(cat(parts, 1), y, 1e-10, fmt::format("{} pieces", pieces.size())); !problem.empty())
      return problem;
  }
  // What is carried grows as the traits say.
  nn::AttentionConfig config = small_config(true);
  config.block = 256;
  auto const longer = made(kind.text, config);
  auto const bytes_at = [&](int64_t t) {
    auto const state = longer->make_state(t);
    Tensor const long_x = numbers({1, t, dim}, 5);
    Tensor long_first = numbers({1, longer->config.kv_heads, t, longer->config.head_dim()}, 9);
    (*longer)(long_x, {.state = state.get(), .first_values = &long_first});
    return state->bytes();
  };
  int64_t const at_64 = bytes_at(64), at_256 = bytes_at(256);
  bool const constant = kind.traits.state == nn::Growth::constant;
  if (at_64 <= 0) return "the state says that it has no bytes";
  return constant == (at_256 == at_64) ? "" : fmt::format("a state of {} bytes at 64 and {} at 256", at_64, at_256);
}

/// Result and gradient of x; `device` and `dtype` are the layer's.
std::pair<Tensor, Tensor> pass(nn::Attention& layer, Form const& form, Dtype dtype, Device device = cpu) {
  Sample s = sample();
  Tensor const x = s.x.to(dtype).to(device).requires_grad_();
  Tensor first = FirstValues(layer, Dtype::f64, form.cross ? memory_length : length).values.to(dtype).to(device);
  nn::AttentionContext context{.first_values = &first};
  if (form.cross) context.memory = s.memory.to(dtype).to(device);
  Tensor const y = layer(x, context);
  sum(y * numbers(y.shape(), 8).to(dtype).to(device)).backward();
  return {y.detach(), x.grad()};
}

std::string naive_twin(Kind const& kind, Form const& form) {
  auto layer = made(kind.text, small_config(form.causal));
  auto const [y, slope] = pass(*layer, form, Dtype::f64);
  nn::NaiveCores const cores;
  auto const [naive_y, naive_slope] = pass(*layer, form, Dtype::f64);
  auto const problem = near(y, naive_y, 1e-9, "fused and naive");
  return problem.empty() ? near(slope, naive_slope, 1e-8, "their gradients") : problem;
}

/// Fills tensors of `module` by "suffix=value, suffix=value".
std::string set_parameters(nn::Module& module, std::string_view text) {
  while (!text.empty()) {
    size_t const comma = std::min(text.find(", "), text.size()), equals = text.find('=');
    std::string_view const suffix = text.substr(0, equals);
    double const value = std::stod(std::string(text.substr(equals + 1, comma - equals - 1)));
    bool found = false;
    NoGrad const off;
    for (auto& [name, tensor] : nn::state_dict(module))
      if (name.ends_with(suffix)) tensor.fill_(value), found = true;
    if (!found) return fmt::format("the identity names '{}', which is no parameter", suffix);
    text = text.substr(std::min(comma + 2, text.size()));
  }
  return "";
}

std::string identity(Kind const& kind, Form const& form) {
  nn::Identity const& id = kind.row.identity;
  if (id.text.empty()) return "-";
  auto layer = made(id.text, small_config(form.causal));
  nn::Traits const parent_traits = nn::traits_of(id.parent);
  if (form.cross ? !parent_traits.cross : form.causal ? !parent_traits.causal : !parent_traits.bidirectional)
    return "-";
  auto parent = made(id.parent, small_config(form.causal));
  auto const own = nn::state_dict(*layer);
  std::vector<nn::NamedTensor> shared = nn::state_dict(*parent);
  for (auto& entry : shared) {
    auto const found = std::find_if(own.begin(), own.end(), [&](auto const& o) { return o.name == entry.name; });
    if (found == own.end()) return fmt::format("the parent's '{}' is not among its parameters", entry.name);
    entry.tensor = found->tensor;
  }
  nn::load_state_dict(*parent, shared);
  if (auto problem = set_parameters(*layer, id.parameters); !problem.empty()) return problem;
  NoGrad const off;
  Sample const s = sample();
  FirstValues first(*layer, Dtype::f64, form.cross ? memory_length : length);
  FirstValues first_of_parent(*parent, Dtype::f64, form.cross ? memory_length : length);
  nn::AttentionContext context = s.context(form), parent_context = s.context(form);
  context.first_values = &first.values, parent_context.first_values = &first_of_parent.values;
  Tensor const y = (*layer)(s.x, context), want = (*parent)(s.x, parent_context);
  if (id.bound == 0)
    return same_bits(y, want) ? "" : fmt::format("not the bits of {}: {:.1e} apart", id.parent, difference(y, want));
  return near(y, want, id.bound, fmt::format("{} and {}", id.text, id.parent));
}

std::string save_and_load(Kind const& kind, Form const& form) {
  auto layer = made(kind.text, small_config(form.causal));
  seed(99);
  auto other = nn::make_attention(kind.text, small_config(form.causal));
  nn::to(*other, Dtype::f64);
  nn::eval(*other);
  nn::load_state_dict(*other, nn::state_dict(*layer));
  return same_bits(pass(*layer, form, Dtype::f64).first, pass(*other, form, Dtype::f64).first)
             ? ""
             : "a loaded layer gives other bits";
}

std::string narrow_types(Kind const& kind, Form const& form) {
  // Numbers that are exact in all types.
  auto wide = made(kind.text, small_config(form.causal), Dtype::bf16);
  nn::to(*wide, Dtype::f64);
  auto const round = [](Tensor const& t) { return t.to(Dtype::bf16).to(Dtype::f64); };
  Sample const s = sample();
  Tensor const x = round(s.x), memory = round(s.memory);
  auto const run = [&](nn::Attention& layer, Dtype dtype) {
    NoGrad const off;
    Tensor first = round(FirstValues(layer, Dtype::f64, form.cross ? memory_length : length).values).to(dtype);
    nn::AttentionContext context{.first_values = &first};
    if (form.cross) context.memory = memory.to(dtype);
    return layer(x.to(dtype), context);
  };
  Tensor const want = run(*wide, Dtype::f64);
  for (auto const& [dtype, bound] : {std::pair(Dtype::f32, 1e-4), std::pair(Dtype::bf16, 0.08)}) {
    auto narrow = made(kind.text, small_config(form.causal), Dtype::bf16);
    nn::to(*narrow, dtype);
    Tensor const y = run(*narrow, dtype);
    if (y.dtype() != dtype) return fmt::format("gives {} for {}", name(y.dtype()), name(dtype));
    double const apart = relative(y, want);
    if (!(apart <= bound)) return fmt::format("{} is {:.1e} from f64, at most {:.0e}", name(dtype), apart, bound);
  }
  return "";
}

std::string emulated(Kind const& kind, Form const& form) {
  auto here = made(kind.text, small_config(form.causal), Dtype::f32);
  auto there = made(kind.text, small_config(form.causal), Dtype::f32);
  Device const device = test::emulated_device();
  nn::to(*there, device);
  auto const [y, slope] = pass(*here, form, Dtype::f32);
  auto const [device_y, device_slope] = pass(*there, form, Dtype::f32, device);
  backend(device).synchronize(device.index);
  if (auto const said = test::emulator_complaints(); !said.empty()) return said;
  auto const problem = near(device_y.to(cpu), y, 2e-4, "processor and accelerator");
  return problem.empty() ? near(device_slope.to(cpu), slope, 1e-3, "their gradients") : problem;
}

/// Pairs that the softmax core looks at, and the most bytes of a pass forward and backward.
struct Cost {
  double pairs = 0, bytes = 0;
};
Cost cost_at(Kind const& kind, Form const& form, int64_t t) {
  nn::AttentionConfig config = small_config(form.causal);
  config.block = t;
  auto layer = made(kind.text, config, Dtype::f32);
  Tensor const x = numbers({1, t, dim}, 1, Dtype::f32).requires_grad_();
  Tensor first = numbers({1, layer->config.kv_heads, t, layer->config.head_dim()}, 9, Dtype::f32);
  Cost cost;
  HookHandle watch = nn::on_attend([&](nn::AttentionCall& call) {
    NoGrad const off;
    AttendOptions options = call.options;
    options.score = {}, options.weight = {};
    cost.pairs += sum((dense_scores(call.q, call.k, options) > -INFINITY).to(Dtype::f64)).item();
  });
  {
    NoGrad const off;
    (*layer)(x, {.first_values = &first});
  }
  watch.remove();
  nn::zero_grad(*layer);
  release_cached_memory();
  reset_peak_memory();
  double const before = double(memory_statistics().in_use);
  Tensor const y = (*layer)(x, {.first_values = &first});
  sum(y * y).backward();
  cost.bytes = double(memory_statistics().peak) - before;
  return cost;
}

/// The factor by which a cost may grow from T to 4·T: what a class says, and room for the sizes of tiles and blocks.
double most_growth(nn::Growth growth) {
  switch (growth) {
    case nn::Growth::constant:
      return 1.5;
    case nn::Growth::linear:
      return 5.5;
    case nn::Growth::subquadratic:
      return 11;
    case nn::Growth::quadratic:
      return 18;
  }
  return 0;
}

std::string growth(Kind const& kind, Form const& form) {
  if (form.cross) return "-";
  int const threads = thread_count();
  set_thread_count(1);  // each has working memory of its own
  Cost const a = cost_at(kind, form, 128), b = cost_at(kind, form, 512);
  set_thread_count(threads);
  if (std::getenv("HEED_TABLE"))
    fmt::print("{} {}: {} to {} pairs, {} to {} bytes\n", kind.text, form.name, a.pairs, b.pairs, a.bytes, b.bytes);
  double const pairs = a.pairs > 0 ? b.pairs / a.pairs : 1, bytes = b.bytes / a.bytes;
  if (pairs > most_growth(kind.traits.time))
    return fmt::format("pairs grow {:.2f} times, not {}", pairs, name(kind.traits.time));
  if (bytes > most_growth(kind.traits.memory))
    return fmt::format("bytes grow {:.2f} times, not {}", bytes, name(kind.traits.memory));
  return "";
}

std::string in_a_model(Kind const& kind, Form const& form) {
  if (!form.causal || kind.traits.pools) return "-";
  seed(3);
  nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 2, .dim = dim, .block = 16, .attention = kind.text});
  Tensor const tokens = randint(0, 11, {batch, length + 1});
  Tensor const seen = tokens.slice(1, 0, length), next = tokens.slice(1, 1, length + 1);
  optim::AdamW optimizer(optim::all_parameters(model), {.learning_rate = 1e-2});
  double first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    optimizer.zero_grad();
    Tensor const loss = cross_entropy(model(seen), next);
    loss.backward();
    optimizer.step();
    (step ? last : first) = loss.item();
  }
  if (!(last < first - 0.05)) return fmt::format("20 steps took the loss from {:.3f} to {:.3f}", first, last);
  nn::eval(model);
  Generator generator(1);
  auto const greedy = nn::generate(model, {1, 2, 3}, 2, {.temperature = 0}, generator);
  {
    NoGrad const off;
    Tensor const logits = model(tensor(std::vector<int64_t>{1, 2, 3, greedy[0]}, {1, 4}));
    if (argmax(logits.select(0, 0).select(0, -1), 0).item<int64_t>() != greedy[1])
      return "generation and a whole pass choose other tokens";
  }
  if (!kind.traits.steps) return "";
  NoGrad const off;
  nn::GPTCache cache = model.make_cache(length);
  std::vector<Tensor> parts;
  for (auto const& [from, to] : {std::pair(0, 5), std::pair(5, 6), std::pair(6, 11)})
    parts.push_back(model(seen.slice(1, from, to), nn::GPTContext{.cache = &cache}));
  return near(cat(parts, 1), model(seen), 2e-4, "tokens by a cache, and at once");
}

/// Takes a hook away at the end of a scope.
struct Removed {
  HookHandle hook;
  ~Removed() { hook.remove(); }
};

std::string maps(Kind const& kind, Form const& form) {
  NoGrad const off;
  auto const layer = made(kind.text, small_config(form.causal));
  Sample const s = sample();
  FirstValues first(*layer, Dtype::f64, form.cross ? memory_length : length);
  nn::AttentionContext context = s.context(form);
  context.first_values = &first.values;
  Tensor const y = (*layer)(s.x, context);
  std::string problem = "-";  // a kind without an attend() has no maps
  Tensor watched;
  {
    Removed const hook{nn::on_attend({}, [&](nn::AttentionCall& call) {
      Tensor const map = attention_weights(call.q, call.k, call.options);
      Tensor const values = nn::for_each_head(call.v, map.size(1));
      if (problem.empty() || problem == "-")
        problem = near(matmul(map, values), call.result.out, 1e-9, "the map times the values, and the result");
    })};
    watched = (*layer)(s.x, context);
  }
  return problem.empty() ? near(watched, y, 1e-10, "with a hook and without") : problem;
}

/// Regularisers of maps on cores that make their weights themselves: exact gradients, or an Error. Others are attend().
std::string penalties(Kind const& kind, Form const& form) {
  auto layer = made(kind.text, small_config(form.causal));
  Sample s = sample(Dtype::f64, 6);
  std::vector<Tensor> inputs{s.x.requires_grad_(), s.memory};
  if (form.cross) inputs[1].requires_grad_();
  for (auto const& p : nn::parameters(*layer)) inputs.push_back(p.detach().clone().requires_grad_());
  FirstValues first(*layer, Dtype::f64, form.cross ? memory_length : 6);
  auto const pass = [&](std::vector<Tensor> const& in) {
    Replace replace(in, 2);
    layer->visit(replace);
    nn::AttentionContext context{.first_values = &first.values};
    if (form.cross) context.memory = in[1];
    return (*layer)(in[0], context);
  };
  bool own = false;
  {
    Removed const hook{nn::on_attend([&](nn::AttentionCall& call) { own = own || call.weights; })};
    pass(inputs);
  }
  if (!own) return "-";
  nn::train(*layer);
  int exact = 0;
  for (auto const& row : nn::regularizers()) {
    if (row.family != "attention maps") continue;
    auto const regularizer = std::move(nn::make_regularizers(std::string(row.name)).at(0));
    regularizer->begin(*layer);
    std::string problem;
    std::string const refused = error_of([&] {
      problem = test::gradcheck(
          [&](std::vector<Tensor> const& in) {
            seed(5);
            Tensor const y = pass(in);
            Tensor const more = regularizer->penalty(*layer);
            return std::vector<Tensor>{sum(y * numbers(y.shape(), 7)) +
                                       (more.defined() ? more : zeros({}, Dtype::f64))};
          },
          inputs, {.tolerance = 2e-6, .full_up_to = 0, .directions = 1});
    });
    if (!refused.empty() && refused.find(row.name) == std::string::npos &&
        refused.find(kind.row.name) == std::string::npos)
      return fmt::format("{}: {}", row.name, refused);
    if (!problem.empty()) return fmt::format("{}: {}", row.name, problem);
    exact += refused.empty();
    if (std::getenv("HEED_TABLE")) fmt::print("  {}: {}\n", row.name, refused.empty() ? "exact" : refused);
  }
  return exact > 0 ? "" : "no regulariser of maps acts on it";
}

struct Property {
  char const* name;
  std::string (*check)(Kind const&, Form const&);
};
constexpr Property properties[] = {{"gradients", gradients},   {"causality", causality}, {"batch", batch_independence},
                                   {"permuted", equivariance}, {"padding", padding},     {"steps", steps},
                                   {"naive", naive_twin},      {"identity", identity},   {"save", save_and_load},
                                   {"narrow", narrow_types},   {"growth", growth},       {"model", in_a_model},
                                   {"emulated", emulated},     {"maps", maps},           {"penalties", penalties}};

std::vector<Kind> kinds() {
  char const* const only = std::getenv("HEED_ROW");
  std::vector<Kind> list;
  for (nn::AttentionRow const& row : nn::attentions())
    if (!only || row.name == only) list.push_back(kind_of(row));
  return list;
}

/// "12 rows, 27 forms": one property of every row in every form; "-" where its traits rule it out.
void walk(std::string_view name) {
  Property const& property =
      *std::find_if(std::begin(properties), std::end(properties), [&](auto const& p) { return p.name == name; });
  bool const table = std::getenv("HEED_TABLE");
  auto const start = std::chrono::steady_clock::now();
  int checked = 0;
  for (Kind const& kind : kinds())
    for (Form const& form : kind.forms) {
      std::string problem;
      std::string const thrown = error_of([&] { problem = property.check(kind, form); });
      if (!thrown.empty()) problem = thrown;
      if (problem != "-") ++checked;
      if (table)
        fmt::print("{:<24}{:<15}{:<11}{}\n", kind.text, form.name, property.name, problem.empty() ? "ok" : problem);
      INFO(kind.text, ", ", form.name, ", ", property.name);
      CHECK_MESSAGE((problem.empty() || problem == "-"), problem);
    }
  double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  MESSAGE(std::string(property.name), ": ", checked, " forms of kinds, ", seconds, " s");
}

}  // namespace

TEST_CASE("attention: gradients are exact") { walk("gradients"); }
TEST_CASE("attention: causal kinds do not see the future") { walk("causality"); }
TEST_CASE("attention: sequences of a batch do not see each other") { walk("batch"); }
TEST_CASE("attention: kinds without order do not see the order") { walk("permuted"); }
TEST_CASE("attention: padding is not seen, not even NaN") { walk("padding"); }
TEST_CASE("attention: step by step is the full pass, and the state grows as told") { walk("steps"); }
TEST_CASE("attention: fused is naive") { walk("naive"); }
TEST_CASE("attention: the identity of each row") { walk("identity"); }
TEST_CASE("attention: saved and loaded gives the same bits") { walk("save"); }
TEST_CASE("attention: f32 and bf16 are near f64") { walk("narrow"); }
TEST_CASE("attention: pairs and bytes grow as told") { walk("growth"); }
TEST_CASE("attention: a model of each causal kind learns, and continues by its caches") { walk("model"); }
TEST_CASE("attention: hooks see the map of every core, and it gives the result") { walk("maps"); }
TEST_CASE("attention: regularisers of maps act on every core exactly, or say that they cannot") { walk("penalties"); }
TEST_CASE("an emulated accelerator gives what the processor gives, for every kind of attention") { walk("emulated"); }

TEST_CASE("attention: every row has an identity, here or in a case of its own") {
  std::string cases;
  for (auto const& file : std::filesystem::directory_iterator(std::filesystem::path(HEED_SOURCE_DIR) / "tests"))
    if (file.path().filename().string().starts_with("nn_attention_identities")) {
      std::ifstream in(file.path());
      cases += std::string(std::istreambuf_iterator<char>(in), {});
    }
  for (nn::AttentionRow const& row : nn::attentions()) {
    bool const own = cases.find(fmt::format("TEST_CASE(\"{}: ", row.name)) != std::string::npos;
    bool const is_root = row.name == "multi-head";  // proved by contracts_test and golden_test
    CHECK_MESSAGE((own || is_root || !row.identity.text.empty()), row.name);
  }
}

TEST_CASE("attention: unknown names, settings and combinations are Errors that help") {
  nn::AttentionConfig const config = small_config(true);
  auto const said = [&](char const* text) { return error_of([&] { nn::make_attention(text, config); }); };
  CHECK(said("slidng").find("sliding") != std::string::npos);
  CHECK(said("sliding:windw=3").find("window=128") != std::string::npos);
  CHECK(said("sliding:window=x").find("an integer") != std::string::npos);
  CHECK(!said("").empty());
  CHECK(!said("sliding:").empty());
  CHECK(!said("sliding:window").empty());
  CHECK(!said("sliding+multi-head").empty());
  CHECK(!said("multi-head:heads=3").empty());
  CHECK(said("sliding:window=3+alibi").empty());
  CHECK(said("alibi").empty());
}
