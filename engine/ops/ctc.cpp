// The loss of connectionist temporal classification: forward and backward sums over paths in log space.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/ctc.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>

namespace heed {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Sizes and targets of a call, checked. `symbols[n]` is target n with blanks between and around: 2·length + 1.
struct Problem {
  int64_t steps, batch, classes;
  std::vector<int64_t> inputs, lengths;
  std::vector<std::vector<int64_t>> symbols;

  /// Whether a path may go from state s − 2 to s: past a blank between different symbols.
  bool skips(int64_t n, int64_t s) const {
    auto const& l = symbols[size_t(n)];
    return s >= 2 && s % 2 == 1 && l[size_t(s)] != l[size_t(s - 2)];
  }
};

/// Where each sample's targets begin: in row n, or behind those of the sample before.
std::vector<int64_t> starts_of(Tensor const& log_p, Tensor const& targets, std::vector<int64_t> const& inputs,
                               std::vector<int64_t> const& lengths) {
  bool const joined = targets.rank() == 1;
  int64_t const row = joined ? targets.numel() : targets.size(1), most = log_p.size(0);
  std::vector<int64_t> starts;
  int64_t at = 0;
  for (int64_t n = 0; n < log_p.size(1); ++n) {
    int64_t const length = lengths[size_t(n)], steps = inputs[size_t(n)];
    check(steps >= 0 && steps <= most, "ctc_loss", [&] {
      return Complaint{fmt::format("input length {} of sample {} is not within the {} steps", steps, n, most),
                       fmt::format("use 0 to {}", most)};
    });
    int64_t const room = joined ? row - at : row;
    check(length >= 0 && length <= room, "ctc_loss", [&] {
      return Complaint{
          fmt::format("target length {} of sample {} is not within the {} that targets hold", length, n, room),
          "pass targets [N, S] with S at least the longest length, or one after the other"};
    });
    starts.push_back(joined ? at : n * row);
    at += length;
  }
  return starts;
}

Problem problem_of(Tensor const& log_p, Tensor const& targets, std::vector<int64_t> const& inputs,
                   std::vector<int64_t> const& lengths, int64_t blank) {
  Problem p{log_p.size(0), log_p.size(1), log_p.size(2), inputs, lengths, {}};
  auto const starts = starts_of(log_p, targets, inputs, lengths);
  auto const listed = targets.to_vector<int64_t>();
  for (int64_t n = 0; n < p.batch; ++n) {
    int64_t const length = lengths[size_t(n)];
    std::vector<int64_t> symbols(size_t(2 * length + 1), blank);
    for (int64_t i = 0; i < length; ++i) {
      int64_t const symbol = listed[size_t(starts[size_t(n)] + i)];
      check(symbol >= 0 && symbol < p.classes, "ctc_loss", [&] {
        return Complaint{fmt::format("target {} of sample {} is outside the {} classes", symbol, n, p.classes),
                         fmt::format("use 0 to {}", p.classes - 1)};
      });
      symbols[size_t(2 * i + 1)] = symbol;
    }
    p.symbols.push_back(std::move(symbols));
  }
  return p;
}

/// log(eᵃ + eᵇ); two equal infinities have no difference.
template <class T>
T log_add(T a, T b) {
  return a == b ? a + T(std::numbers::ln2) : std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
}
template <class T>
T log_add(T a, T b, T c) {
  return log_add(log_add(a, b), c);
}

/// alpha[t][s] = log Σ of the paths that are in state s at step t, steps 0 … t counted. Returns the loss.
template <class T>
T forward_sums(Problem const& p, int64_t n, T const* log_p, T* alpha) {
  auto const& l = p.symbols[size_t(n)];
  int64_t const states = int64_t(l.size()), steps = p.inputs[size_t(n)], stride = p.batch * p.classes;
  if (steps == 0) return states == 1 ? T(0) : T(infinity);
  T const none = -T(infinity);
  T const* at = log_p + n * p.classes;
  for (int64_t s = 0; s < states; ++s) alpha[s] = s < 2 ? at[l[size_t(s)]] : none;
  for (int64_t t = 1; t < steps; ++t) {
    at += stride;
    T const* const before = alpha + (t - 1) * states;
    T* const now = alpha + t * states;
    for (int64_t s = 0; s < states; ++s)
      now[s] =
          at[l[size_t(s)]] + log_add(before[s], s >= 1 ? before[s - 1] : none, p.skips(n, s) ? before[s - 2] : none);
  }
  T const* const last = alpha + (steps - 1) * states;
  return -log_add(last[states - 1], states >= 2 ? last[states - 2] : none);
}

/// dx[t][n][c] = −g·Σ over states s of symbol c of exp(alpha + beta + loss): beta[s] = log Σ of the paths from state s
/// at step t to the end, later steps counted.
template <class T>
void backward_sums(Problem const& p, int64_t n, T const* log_p, T const* alpha, T loss, T g, T* dx) {
  auto const& l = p.symbols[size_t(n)];
  int64_t const states = int64_t(l.size()), steps = p.inputs[size_t(n)], stride = p.batch * p.classes;
  if (steps == 0) return;
  T const none = -T(infinity);
  std::vector<T> beta(size_t(states), none), later(size_t(states), none);
  for (int64_t s = std::max(int64_t{0}, states - 2); s < states; ++s) beta[size_t(s)] = 0;
  for (int64_t t = steps; t-- > 0;) {
    T* const out = dx + t * stride + n * p.classes;
    for (int64_t s = 0; s < states; ++s) {
      T const path = alpha[t * states + s] + beta[size_t(s)];
      if (path > none) out[l[size_t(s)]] -= g * std::exp(path + loss);
    }
    if (t == 0) break;
    T const* const at = log_p + t * stride + n * p.classes;
    for (int64_t s = 0; s < states; ++s) later[size_t(s)] = beta[size_t(s)] + at[l[size_t(s)]];
    for (int64_t s = 0; s < states; ++s)
      beta[size_t(s)] = log_add(later[size_t(s)], s + 1 < states ? later[size_t(s + 1)] : none,
                                s + 2 < states && p.skips(n, s + 2) ? later[size_t(s + 2)] : none);
  }
}

void check_lengths(Tensor const& log_p, Tensor const& targets, size_t inputs, size_t lengths, int64_t blank) {
  check_defined("ctc_loss", log_p);
  check_defined("ctc_loss", targets);
  check(log_p.rank() == 3 && targets.rank() >= 1 && targets.rank() <= 2 && !is_floating(targets.dtype()) &&
            (targets.rank() == 1 || targets.size(0) == log_p.size(1)),
        "ctc_loss", [&] {
          return Complaint{
              fmt::format("expected log_p [T, N, C] and targets [N, S] or [total], integers; got {} and {} {}",
                          to_string(log_p.shape()), to_string(targets.shape()), name(targets.dtype())),
              "put the steps first, then the batch"};
        });
  check(int64_t(inputs) == log_p.size(1) && lengths == inputs, "ctc_loss", [&] {
    return Complaint{
        fmt::format("expected {} lengths, got {} of inputs and {} of targets", log_p.size(1), inputs, lengths),
        "give both lengths of every sample"};
  });
  check(blank >= 0 && blank < log_p.size(2), "ctc_loss", [&] {
    return Complaint{fmt::format("blank {} is outside the {} classes", blank, log_p.size(2)),
                     "name one of the classes"};
  });
}

/// The losses of a batch [N], without zero_infinity.
Tensor losses_of(Tensor const& x, std::shared_ptr<Problem const> const& p) {
  Tensor y({p->batch}, x.dtype());
  int64_t longest = 0;
  for (auto const& l : p->symbols) longest = std::max(longest, int64_t(l.size()));
  Tensor alpha({p->batch, std::max(int64_t{1}, p->steps) * longest}, x.dtype());
  Observed const watch("ctc_loss", {&x}, {&y, &alpha});
  dispatch_floating("ctc_loss", x.dtype(), [&]<class T>(Type<T>) {
    parallel_for(p->batch, 1, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        y.data<T>()[n] = forward_sums<T>(*p, n, x.data<T>(), alpha.data<T>() + n * alpha.size(1));
    });
  });
  if (tracked(x))
    record("ctc_loss", y, {&x},
           [x = Saved(x), y = SavedOutput(y), kept = Saved(alpha), p](Tensor const& g, Node const& node) {
             Tensor const& from = x.get(node);
             if (recording()) {
               auto const in = twin_inputs({from});
               return std::array{twin_gradients({naive::ctc_losses(in[0], p->symbols, p->inputs)}, in, {g})[0]};
             }
             Tensor const losses = y.get(node), row = g.contiguous();
             Tensor dx = zeros_like(from);
             Tensor const& alpha = kept.get(node);
             Observed const watch("ctc_loss", {&row, &from, &alpha}, {&dx});
             dispatch_floating("ctc_loss", from.dtype(), [&]<class T>(Type<T>) {
               parallel_for(p->batch, 1, [&](int64_t begin, int64_t end) {
                 for (int64_t n = begin; n < end; ++n) {
                   T const gn = row.data<T>()[n];
                   if (gn != 0)
                     backward_sums<T>(*p, n, from.data<T>(), alpha.data<T>() + n * alpha.size(1), losses.data<T>()[n],
                                      gn, dx.data<T>());
                 }
               });
             });
             return std::array{dx};
           });
  return y;
}

/// A problem whose log_p lies on an accelerator; nothing of it is read back.
struct DeviceProblem {
  Tensor targets, sizes;  // sizes [3, N]: starts, lengths, inputs
  std::vector<int64_t> inputs, lengths;
  int64_t states, blank;

  DeviceProblem(Tensor const& log_p, Tensor const& given, std::vector<int64_t> const& steps,
                std::vector<int64_t> const& symbols, int64_t blank)
      : targets(given.to(log_p.device()).to(Dtype::i64).contiguous()), inputs(steps), lengths(symbols), blank(blank) {
    auto all = starts_of(log_p, given, steps, symbols);
    for (auto const* more : {&symbols, &steps}) all.insert(all.end(), more->begin(), more->end());
    sizes = tensor(all, {3, int64_t(steps.size())}).to(log_p.device());
    int64_t longest = 0;
    for (int64_t length : symbols) longest = std::max(longest, length);
    states = 2 * longest + 1;
  }
  CtcBatch batch(Tensor const& log_p) const {
    int64_t const n = log_p.size(1);
    int64_t const* const at = sizes.address<int64_t>();
    return {targets.address<int64_t>(), at, at + n, at + 2 * n, log_p.size(0), n, log_p.size(2), states, blank};
  }
};

Tensor device_losses(Tensor const& x, std::shared_ptr<DeviceProblem const> const& p) {
  Device const device = x.device();
  Tensor y({x.size(1)}, x.dtype(), device), alpha({x.size(1), x.size(0), p->states}, x.dtype(), device);
  Observed const watch("ctc_loss", {&x}, {&y, &alpha});
  dispatch_floating("ctc_loss", x.dtype(), [&]<class T>(Type<T>) {
    device_kernels<CtcKernels>(device, "ctc_loss")
        .of<T>()
        .forward(p->batch(x), x.address<T>(), alpha.address<T>(), y.address<T>());
  });
  if (tracked(x))
    record("ctc_loss", y, {&x},
           [x = Saved(x), y = SavedOutput(y), kept = Saved(alpha), p](Tensor const& g, Node const& node) {
             Tensor const& from = x.get(node);
             if (recording()) {  // rare, and the twin takes symbols that the processor reads
               Problem const here = problem_of(from, p->targets, p->inputs, p->lengths, p->blank);
               auto const in = twin_inputs({from});
               return std::array{twin_gradients({naive::ctc_losses(in[0], here.symbols, here.inputs)}, in, {g})[0]};
             }
             Tensor const losses = y.get(node), row = g.contiguous();
             Tensor const& alpha = kept.get(node);
             Tensor dx = zeros_like(from), gamma = empty_like(alpha),
                    beta({from.size(1), 2, p->states}, from.dtype(), from.device());
             Observed const watch("ctc_loss", {&row, &from, &alpha}, {&dx, &gamma});
             dispatch_floating("ctc_loss", from.dtype(), [&]<class T>(Type<T>) {
               device_kernels<CtcKernels>(from.device(), "ctc_loss")
                   .of<T>()
                   .backward(p->batch(from), from.address<T>(), alpha.address<T>(), losses.address<T>(),
                             row.address<T>(), beta.address<T>(), gamma.address<T>(), dx.address<T>());
             });
             return std::array{dx};
           });
  return y;
}

}  // namespace

Tensor ctc_loss(Tensor const& log_p, Tensor const& targets, std::vector<int64_t> const& input_lengths,
                std::vector<int64_t> const& target_lengths, CtcOptions const& options) {
  check_defined("ctc_loss", log_p);
  check_defined("ctc_loss", targets);
  if (log_p.rank() == 2) {
    Tensor const y = ctc_loss(log_p.unsqueeze(1), targets.rank() == 1 ? targets.unsqueeze(0) : targets, input_lengths,
                              target_lengths, options);
    return options.reduction == Reduction::none ? y.squeeze(0) : y;
  }
  check_lengths(log_p, targets, input_lengths.size(), target_lengths.size(), options.blank);
  auto const on_processor = [&] { return problem_of(log_p, targets, input_lengths, target_lengths, options.blank); };
  Tensor y;
  if (log_p.device().is_cpu()) {
    y = losses_of(log_p.contiguous(), std::make_shared<Problem const>(on_processor()));
  } else {
    if (targets.device().is_cpu()) on_processor();  // for its checks
    y = device_losses(log_p.contiguous(), std::make_shared<DeviceProblem const>(log_p, targets, input_lengths,
                                                                                target_lengths, options.blank));
  }
  if (options.zero_infinity) y = where(y.detach() == infinity, 0.0, y);
  if (options.reduction == Reduction::none) return y;
  if (options.reduction == Reduction::sum) return sum(y);
  std::vector<double> lengths;
  for (int64_t length : target_lengths) lengths.push_back(double(std::max(int64_t{1}, length)));
  return mean(y / tensor(lengths, y.shape()).to(y.dtype()).to(y.device()));
}

/// Step by step: alpha_t = log_p_t[symbols] + logsumexp(alpha, alpha one state on, alpha two states on where allowed).
Tensor naive::ctc_losses(Tensor const& log_p, std::vector<std::vector<int64_t>> const& symbols,
                         std::vector<int64_t> const& input_lengths) {
  std::vector<Tensor> losses;
  for (size_t n = 0; n < symbols.size(); ++n) {
    auto const& l = symbols[n];
    int64_t const states = int64_t(l.size());
    Tensor const lowest = full({2}, -infinity, log_p.dtype(), log_p.device());
    std::vector<float> barred(l.size(), 1);
    for (size_t s = 3; s < l.size(); s += 2) barred[s] = l[s] == l[s - 2];
    Tensor const no_skip = tensor(barred, {states}).to(log_p.device()) != 0.0, x = log_p.select(1, int64_t(n));
    // States −2 and −1 hold nothing; the path starts before state 0.
    Tensor alpha = full({states}, -infinity, log_p.dtype(), log_p.device());
    for (int64_t t = 0; t < input_lengths[n]; ++t) {
      Tensor const padded = cat({lowest, alpha}),
                   emitted = heed::embedding(tensor(l, {states}).to(log_p.device()), x.select(0, t).unsqueeze(1));
      Tensor const skip = where(no_skip, -infinity, padded.slice(0, 0, states));
      Tensor paths = naive::logsumexp(stack({alpha, padded.slice(0, 1, states + 1), skip}), 0);
      if (t == 0)
        paths = where(arange(states, log_p.device()) < 2.0, zeros({states}, log_p.dtype(), log_p.device()), -infinity);
      alpha = emitted.squeeze(1) + paths;
    }
    if (input_lengths[n] == 0)
      losses.push_back(full({}, states == 1 ? 0 : infinity, log_p.dtype(), log_p.device()));
    else
      losses.push_back(-naive::logsumexp(alpha.slice(0, std::max(int64_t{0}, states - 2), states), 0));
  }
  return losses.empty() ? zeros({0}, log_p.dtype(), log_p.device()) : stack(losses);
}

}  // namespace heed
