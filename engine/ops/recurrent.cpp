// Recurrent layers. The products with all inputs of a layer are one matrix product; the steps of one direction of one
// layer are one entry of the tape.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/recurrent.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

char const* op_name(Recurrence kind) {
  return kind == Recurrence::lstm ? "lstm" : kind == Recurrence::gru ? "gru" : "rnn";
}
int64_t gates_of(Recurrence kind) { return kind == Recurrence::lstm ? 4 : kind == Recurrence::gru ? 3 : 1; }

/// Sizes of a run over time, and where its steps lie.
struct Run {
  Recurrence kind;
  bool reverse;
  int64_t steps, batch, width;
  Device device;

  int64_t gates() const { return gates_of(kind); }
  int64_t state() const { return batch * width; }
  /// Where step s stands in time.
  int64_t at(int64_t s) const { return reverse ? steps - 1 - s : s; }
};

/// c [m, n] (+)= a [m, k]·b, b read with the given strides.
template <class T>
void multiply(Run const& run, int64_t m, int64_t n, int64_t k, T const* a, T const* b, int64_t b_row, int64_t b_col,
              T* c, bool accumulate, T const* bias = nullptr) {
  kernels<GemmKernels>(run.device, op_name(run.kind))
      .of<T>()
      .gemm({.m = m,
             .n = n,
             .k = k,
             .a = a,
             .a_row = k,
             .a_col = 1,
             .b = b,
             .b_row = b_row,
             .b_col = b_col,
             .c = c,
             .c_row = n,
             .bias = bias,
             .accumulate = accumulate});
}

/// What forward keeps: gates [T, B, 4H] (none of a simple layer) and, of an LSTM, all c [T, B, H].
struct Kept {
  Tensor gates, c;
};

template <class T>
void forward(Run const& run, Tensor const& x, Tensor const& h0, Tensor const& c0, Tensor const& w, Tensor const& bias,
             Tensor const& y, Kept const& kept) {
  auto const& k = kernels<RecurrentKernels>(run.device, op_name(run.kind)).of<T>();
  int64_t const n = run.width, sums = run.gates() * n, block = run.batch * sums, gate_block = run.batch * 4 * n;
  // [H, k·H]: the rows that a product with few rows on the left reads in order.
  Tensor const turned = w.t().contiguous();
  Tensor const scratch({run.batch, sums}, x.dtype(), run.device);
  for (int64_t s = 0; s < run.steps; ++s) {
    int64_t const t = run.at(s);
    T const* const before = s == 0 ? h0.address<T>() : y.address<T>() + run.at(s - 1) * run.state();
    T* const h = y.address<T>() + t * run.state();
    T const* const here = x.address<T>() + t * block;
    T* const to = run.kind == Recurrence::lstm ? kept.gates.address<T>() + t * gate_block : scratch.address<T>();
    if (int64_t const one = 1; run.kind != Recurrence::gru)
      kernels<CopyKernels>(run.device, op_name(run.kind)).gather(here, &one, to, &block, 1, sizeof(T));
    multiply(run, run.batch, sums, n, before, turned.address<T>(), sums, 1, to, run.kind != Recurrence::gru,
             bias.defined() ? bias.address<T>() : nullptr);
    if (run.kind == Recurrence::lstm) {
      T* const c = kept.c.address<T>() + t * run.state();
      k.lstm(to, s == 0 ? c0.address<T>() : kept.c.address<T>() + run.at(s - 1) * run.state(), c, h, run.batch, n);
    } else if (run.kind == Recurrence::gru) {
      k.gru(here, to, before, kept.gates.address<T>() + t * gate_block, h, run.batch, n);
    } else {
      k.simple(to, h, run.kind == Recurrence::relu, run.batch, n);
    }
  }
}

/// Gradients of a run: of the inputs' sums, the states' sums (the same tensor but for a GRU), h0, c0.
struct Gradients {
  Tensor x, s, h0, c0;
};

template <class T>
void backward(Run const& run, Tensor const& g, Tensor const& h0, Tensor const& c0, Tensor const& w, Tensor const& y,
              Kept const& kept, Gradients const& d) {
  auto const& k = kernels<RecurrentKernels>(run.device, op_name(run.kind)).of<T>();
  int64_t const n = run.width, sums = run.gates() * n, block = run.batch * sums, gate_block = run.batch * 4 * n;
  T* const dh = d.h0.address<T>();
  for (int64_t s = run.steps; s-- > 0;) {
    int64_t const t = run.at(s), past = s == 0 ? 0 : run.at(s - 1) * run.state();
    T const* const gy = g.address<T>() + t * run.state();
    T* const ds = d.s.address<T>() + t * block;
    if (run.kind == Recurrence::lstm)
      k.lstm_backward(kept.gates.address<T>() + t * gate_block, s == 0 ? c0.address<T>() : kept.c.address<T>() + past,
                      kept.c.address<T>() + t * run.state(), gy, dh, d.c0.address<T>(), ds, run.batch, n);
    else if (run.kind == Recurrence::gru)
      k.gru_backward(kept.gates.address<T>() + t * gate_block, s == 0 ? h0.address<T>() : y.address<T>() + past, gy, dh,
                     d.x.address<T>() + t * block, ds, run.batch, n);
    else
      k.simple_backward(y.address<T>() + t * run.state(), gy, dh, ds, run.kind == Recurrence::relu, run.batch, n);
    multiply(run, run.batch, n, sums, static_cast<T const*>(ds), w.address<T>(), n, 1, dh, run.kind == Recurrence::gru);
  }
}

/// Σ over steps of dsₜᵀ·(h before step t) → [k·H, H]
Tensor weight_gradient(Run const& run, Tensor const& ds, Tensor const& h0, Tensor const& y) {
  auto const rows = [](Tensor const& t) { return t.reshape({t.numel() / t.size(-1), t.size(-1)}); };
  Tensor d = matmul(ds.select(0, run.at(0)).t(), h0);
  if (run.steps == 1) return d;
  Tensor const later = run.reverse ? ds.slice(0, 0, run.steps - 1) : ds.slice(0, 1, run.steps),
               earlier = run.reverse ? y.slice(0, 1, run.steps) : y.slice(0, 0, run.steps - 1);
  return d + matmul(rows(later).t(), rows(earlier));
}

/// All states of one direction of one layer, and the last c of an LSTM: x [T, B, k·H] the inputs' sums, h0, c0 [B, H],
/// w [k·H, H], bias [k·H] of the states' sums, for a GRU.
std::array<Tensor, 2> fused_recurrence(Recurrence kind, Tensor const& x_in, Tensor const& h0_in, Tensor const& c0_in,
                                       Tensor const& w_in, Tensor const& bias_in, bool reverse) {
  Device const device = common_device(op_name(kind), {&x_in, &h0_in, &c0_in, &w_in, &bias_in});
  Run const run{kind, reverse, x_in.size(0), x_in.size(1), h0_in.size(1), device};
  auto const whole = [](Tensor const& t) { return t.defined() ? t.contiguous() : t; };
  Tensor const x = whole(x_in), h0 = whole(h0_in), c0 = whole(c0_in), w = whole(w_in), bias = whole(bias_in);
  Shape const states{run.steps, run.batch, run.width};
  std::array<Tensor, 2> out{Tensor(states, x.dtype(), device), Tensor()};
  Kept kept;
  if (kind == Recurrence::lstm) kept.c = Tensor(states, x.dtype(), device);
  if (kind == Recurrence::lstm || kind == Recurrence::gru)
    kept.gates = Tensor({run.steps, run.batch, 4 * run.width}, x.dtype(), device);
  {
    NoGrad const off;
    Observed const watch(op_name(kind), {&x, &h0, &c0, &w, &bias}, {&out[0], &kept.gates, &kept.c});
    dispatch_floating(op_name(kind), x.dtype(),
                      [&]<class T>(Type<T>) { forward<T>(run, x, h0, c0, w, bias, out[0], kept); });
    out[1] =
        kind == Recurrence::lstm ? kept.c.select(0, run.at(run.steps - 1)).clone() : zeros({0}, x.dtype(), x.device());
  }
  if (!tracked(x, h0, c0, w, bias)) return out;
  record_outputs(
      op_name(kind), out, {&x, &h0, &c0, &w, &bias},
      [run, gates = Saved(kept.gates), c = Saved(kept.c), x = Saved(x), h0 = Saved(h0), c0 = Saved(c0), w = Saved(w),
       bias = Saved(bias), y = SavedOutput(out[0])](Tensor const* g, Node const& node) -> std::array<Tensor, 5> {
        Tensor const& from = x.get(node);
        if (recording()) {
          auto const in = twin_inputs({from, h0.get(node), c0.get(node), w.get(node), bias.get(node)});
          auto const twin = naive::recurrence(run.kind, in[0], in[1], in[2], in[3], in[4], run.reverse);
          std::vector<Tensor> outputs, cotangents;
          for (int k : {0, 1})
            if (g[k].defined() && (k == 0 || run.kind == Recurrence::lstm)) {
              outputs.push_back(k == 0 ? twin.first : twin.second);
              cotangents.push_back(g[k]);
            }
          auto const d = twin_gradients(outputs, in, cotangents);
          return {d[0], d[1], d[2], d[3], d[4]};
        }
        Tensor const states = y.get(node), h = h0.get(node);
        Tensor const gy = g[0].defined() ? g[0].contiguous() : zeros_like(states);
        Gradients d{Tensor(from.shape(), from.dtype(), run.device), {}, zeros_like(h), {}};
        d.s = run.kind == Recurrence::gru ? Tensor(from.shape(), from.dtype(), run.device) : d.x;
        Kept const kept{gates.get(node), c.get(node)};
        if (run.kind == Recurrence::lstm) d.c0 = g[1].defined() ? g[1].clone() : zeros_like(h);
        Observed const watch(op_name(run.kind), {&gy, &from, &states, &kept.gates, &kept.c}, {&d.x, &d.h0});
        dispatch_floating(op_name(run.kind), from.dtype(), [&]<class T>(Type<T>) {
          backward<T>(run, gy, h, c0.get(node), w.get(node), states, kept, d);
        });
        Tensor dw, db;
        if (node.needs(3)) dw = weight_gradient(run, d.s, h, states);
        if (node.needs(4)) db = sum(d.s, {0, 1});
        return {d.x, d.h0, d.c0, dw, db};
      });
  return out;
}

/// Shapes of a call: x [T, B, I], h [L, B, H] (or undefined), weights of each layer and direction.
void check_layers(char const* op, Recurrence kind, Tensor const& x, Tensor const& h0, Tensor const& c0,
                  std::vector<RecurrentWeights> const& weights, RecurrentOptions const& options) {
  int64_t const directions = options.bidirectional ? 2 : 1, k = gates_of(kind), batch = x.size(1);
  check(x.size(0) > 0, op, [&] {
    return Complaint{fmt::format("expected one step or more, got x of shape {}", to_string(x.shape())),
                     "pass a sequence that is not empty"};
  });
  check(!weights.empty() && int64_t(weights.size()) % directions == 0, op, [&] {
    return Complaint{fmt::format("expected weights for each layer and direction, got {} sets", weights.size()),
                     "pass layer 0, layer 0 backwards, layer 1, …"};
  });
  int64_t const width = weights[0].w_hh.defined() ? weights[0].w_hh.size(0) / k : 0;
  int64_t const out = weights[0].w_hr.defined() ? weights[0].w_hr.size(0) : width;
  auto const expect = [&](char const* what, size_t layer, Tensor const& t, Shape const& shape, bool optional) {
    bool const fits = t.defined() ? t.shape() == shape && t.dtype() == x.dtype() : optional;
    check(fits, op, [&] {
      return Complaint{
          fmt::format("expected {} of shape {} {} in set {}, got {}", what, to_string(shape), name(x.dtype()), layer,
                      t.defined() ? fmt::format("{} {}", to_string(t.shape()), name(t.dtype())) : "none"),
          "give every weight the shape and type that x and the other weights ask for"};
    });
  };
  for (size_t l = 0; l < weights.size(); ++l) {
    int64_t const in = int64_t(l) < directions ? x.size(2) : out * directions;
    expect("w_ih", l, weights[l].w_ih, {k * width, in}, false);
    expect("w_hh", l, weights[l].w_hh, {k * width, out}, false);
    expect("b_ih", l, weights[l].b_ih, {k * width}, true);
    expect("b_hh", l, weights[l].b_hh, {k * width}, true);
    expect("w_hr", l, weights[l].w_hr, {out, width}, !weights[0].w_hr.defined());
  }
  int64_t const sets = int64_t(weights.size());
  expect("h0", 0, h0, {sets, batch, out}, true);
  expect("c0", 0, c0, {sets, batch, width}, true);
}

/// One direction of one layer on x [T, B, I].
std::pair<Tensor, Tensor> run_direction(Recurrence kind, Tensor const& x, Tensor const& h0, Tensor const& c0,
                                        RecurrentWeights const& p, bool reverse) {
  bool const apart = kind == Recurrence::gru;  // r gates the states' sum alone, bias included
  Tensor bias = p.b_ih;
  if (!apart && p.b_hh.defined()) bias = bias.defined() ? bias + p.b_hh : p.b_hh;
  Tensor const sums = linear(x, p.w_ih, bias), inner = apart ? p.b_hh : Tensor();
  if (p.w_hr.defined()) return naive::recurrence(kind, sums, h0, c0, p.w_hh, inner, reverse, p.w_hr);
  auto const out = fused_recurrence(kind, sums, h0, c0, p.w_hh, inner, reverse);
  return {out[0], out[1]};
}

/// Every layer and direction: states of the last layer [T, B, D·H], last h and last c of all.
std::tuple<Tensor, Tensor, Tensor> run_layers(char const* op, Recurrence kind, Tensor const& input, Tensor const& h0_in,
                                              Tensor const& c0_in, std::vector<RecurrentWeights> const& weights,
                                              RecurrentOptions const& options) {
  check_defined(op, input);
  if (is_half(input.dtype())) {
    std::vector<RecurrentWeights> sets;
    for (RecurrentWeights const& p : weights)
      sets.push_back({widened(p.w_ih), widened(p.w_hh), widened(p.b_ih), widened(p.b_hh), widened(p.w_hr)});
    auto const [y, h, c] = run_layers(op, kind, widened(input), widened(h0_in), widened(c0_in), sets, options);
    return {y.to(input.dtype()), h.to(input.dtype()), c.defined() ? c.to(input.dtype()) : c};
  }
  check(input.rank() == 2 || input.rank() == 3, op, [&] {
    return Complaint{fmt::format("expected x [T, B, I], or [T, I], got {}", to_string(input.shape())),
                     "put the time first, or the batch with batch_first"};
  });
  bool const single = input.rank() == 2;
  auto const batched = [&](Tensor const& t) { return single && t.defined() ? t.unsqueeze(1) : t; };
  Tensor x = single ? input.unsqueeze(1) : options.batch_first ? input.transpose(0, 1) : input;
  Tensor const h0 = batched(h0_in), c0 = batched(c0_in);
  check_layers(op, kind, x, h0, c0, weights, options);
  int64_t const width = weights[0].w_hh.size(0) / gates_of(kind), batch = x.size(1);
  int64_t const out_width = weights[0].w_hh.size(1);
  size_t const directions = options.bidirectional ? 2 : 1;
  std::vector<Tensor> last_h, last_c;
  for (size_t l = 0; l < weights.size(); l += directions) {
    if (l > 0 && options.dropout > 0)
      x = dropout(x, options.dropout, options.generator ? *options.generator : default_generator());
    std::vector<Tensor> sides;
    for (size_t d = 0; d < directions; ++d) {
      int64_t const set = int64_t(l + d);
      Tensor const h = h0.defined() ? h0.select(0, set) : zeros({batch, out_width}, x.dtype(), x.device());
      Tensor c;
      if (kind == Recurrence::lstm) c = c0.defined() ? c0.select(0, set) : zeros({batch, width}, x.dtype(), x.device());
      auto const [y, end] = run_direction(kind, x, h, c, weights[size_t(set)], d == 1);
      sides.push_back(y);
      last_h.push_back(y.select(0, d == 1 ? 0 : y.size(0) - 1));
      last_c.push_back(end);
    }
    x = directions == 2 ? cat(sides, -1) : sides[0];
  }
  Tensor h = stack(last_h), c = kind == Recurrence::lstm ? stack(last_c) : Tensor();
  if (single) return {x.squeeze(1), h.squeeze(1), c.defined() ? c.squeeze(1) : c};
  return {options.batch_first ? x.transpose(0, 1) : x, h, c};
}

/// One step on x [B, I] or [I].
std::pair<Tensor, Tensor> run_cell(char const* op, Recurrence kind, Tensor const& x, Tensor const& h, Tensor const& c,
                                   RecurrentWeights const& p) {
  check_defined(op, x);
  check(x.rank() == 1 || x.rank() == 2, op, [&] {
    return Complaint{fmt::format("expected x [B, I] or [I], got {}", to_string(x.shape())), "pass one step"};
  });
  auto const lead = [](Tensor const& t) { return t.defined() ? t.unsqueeze(0) : t; };
  auto const [y, last_h, last_c] = run_layers(op, kind, lead(x), lead(h), lead(c), {p}, {});
  return {y.squeeze(0), last_c.defined() ? last_c.squeeze(0) : last_c};
}

}  // namespace

Tensor rnn_cell(Tensor const& x, Tensor const& h, RecurrentWeights const& weights, bool relu) {
  return run_cell("rnn_cell", relu ? Recurrence::relu : Recurrence::tanh, x, h, {}, weights).first;
}
std::pair<Tensor, Tensor> lstm_cell(Tensor const& x, Tensor const& h, Tensor const& c,
                                    RecurrentWeights const& weights) {
  return run_cell("lstm_cell", Recurrence::lstm, x, h, c, weights);
}
Tensor gru_cell(Tensor const& x, Tensor const& h, RecurrentWeights const& weights) {
  return run_cell("gru_cell", Recurrence::gru, x, h, {}, weights).first;
}

std::pair<Tensor, Tensor> rnn(Tensor const& x, Tensor const& h0, std::vector<RecurrentWeights> const& weights,
                              RecurrentOptions const& options) {
  auto const [y, h, c] =
      run_layers("rnn", options.relu ? Recurrence::relu : Recurrence::tanh, x, h0, {}, weights, options);
  return {y, h};
}
std::tuple<Tensor, Tensor, Tensor> lstm(Tensor const& x, Tensor const& h0, Tensor const& c0,
                                        std::vector<RecurrentWeights> const& weights, RecurrentOptions const& options) {
  return run_layers("lstm", Recurrence::lstm, x, h0, c0, weights, options);
}
std::pair<Tensor, Tensor> gru(Tensor const& x, Tensor const& h0, std::vector<RecurrentWeights> const& weights,
                              RecurrentOptions const& options) {
  auto const [y, h, c] = run_layers("gru", Recurrence::gru, x, h0, {}, weights, options);
  return {y, h};
}

std::pair<Tensor, Tensor> naive::recurrence(Recurrence kind, Tensor const& x, Tensor const& h0, Tensor const& c0,
                                            Tensor const& w, Tensor const& bias, bool reverse, Tensor const& w_hr) {
  int64_t const steps = x.size(0), width = w.size(0) / gates_of(kind);
  std::vector<Tensor> states(static_cast<size_t>(steps));
  Tensor h = h0, c = c0;
  for (int64_t s = 0; s < steps; ++s) {
    int64_t const t = reverse ? steps - 1 - s : s;
    Tensor const xs = x.select(0, t), hs = linear(h, w, bias);
    auto const part = [&](Tensor const& sums, int gate) { return sums.slice(-1, gate * width, (gate + 1) * width); };
    auto const both = [&](int gate) { return part(xs, gate) + part(hs, gate); };
    if (kind == Recurrence::lstm) {
      c = sigmoid(both(1)) * c + sigmoid(both(0)) * tanh(both(2));
      h = sigmoid(both(3)) * tanh(c);
      if (w_hr.defined()) h = linear(h, w_hr);
    } else if (kind == Recurrence::gru) {
      Tensor const z = sigmoid(both(1)), fresh = tanh(part(xs, 2) + sigmoid(both(0)) * part(hs, 2));
      h = fresh + z * (h - fresh);
    } else {
      h = kind == Recurrence::relu ? relu(xs + hs) : tanh(xs + hs);
    }
    states[size_t(t)] = h;
  }
  return {stack(states), c};
}

}  // namespace heed
