// scan(): linear recurrences over time.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/scan.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

int64_t heads_of(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  int64_t heads = 0;
  for (Tensor const* t : {&q, &k, &v, &options.decay, &options.a, &options.b, &options.initial})
    if (t->defined()) heads = std::max(heads, t->size(1));
  if (options.rates.defined()) heads = std::max(heads, options.rates.size(0));
  return heads;
}

void check_operands(char const* op, Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  for (Tensor const* t : {&q, &k, &v}) check_defined(op, *t);
  auto const expect = [&](bool ok, char const* what, Tensor const& t, char const* expected) {
    check(ok, op, [&] {
      return Complaint{
          fmt::format("expected {} {}; got {} {}, beside q {} {}, v {}", what, expected, to_string(t.shape()),
                      name(t.dtype()), to_string(q.shape()), name(q.dtype()), to_string(v.shape())),
          "pass q, k, a, b [B, G, T, D], v [B, G, T, E], decay [B, G, T] or [B, G, T, D], initial "
          "[B, H, D, E], each G a divisor of H"};
    });
  };
  expect(q.rank() == 4 && is_floating(q.dtype()), "q", q, "of rank 4 and a floating type");
  expect(v.rank() == 4, "v", v, "of rank 4");
  expect(options.a.defined() == options.b.defined(), "a and b", options.a.defined() ? options.a : q, "together");
  int64_t heads = 0;
  auto const look = [&](char const* what, Tensor const& t, int rank, int64_t last) {
    if (!t.defined()) return;
    bool const fits = t.rank() == rank && t.size(0) == q.size(0) && (rank < 4 || t.size(3) == last);
    expect(fits, what, t, "to fit the others");
    expect(t.dtype() == q.dtype() || (is_half(q.dtype()) && t.dtype() == Dtype::f32), what, t, "of one type");
    heads = std::max(heads, t.size(1));
  };
  look("k", k, 4, q.size(3));
  look("v", v, 4, v.size(3));
  look("decay", options.decay, options.decay.defined() && options.decay.rank() == 3 ? 3 : 4, q.size(3));
  look("a", options.a, 4, q.size(3));
  look("b", options.b, 4, q.size(3));
  look("initial", options.initial, 4, v.size(3));
  Tensor const& rates = options.rates;
  if (rates.defined()) {
    expect(rates.rank() == 2 && rates.size(1) == q.size(3) && options.decay.defined() && options.decay.rank() == 3,
           "rates", rates, "[G, D] beside a decay [B, G, T]");
    expect(rates.dtype() == options.decay.dtype(), "rates", rates, "of decay's type");
    heads = std::max(heads, rates.size(0));
  }
  heads = std::max(heads, q.size(1));
  if (rates.defined())
    expect(rates.size(0) > 0 ? heads % rates.size(0) == 0 : heads == 0, "rates", rates,
           "whose heads divide the most there are");
  auto const match = [&](char const* what, Tensor const& t) {
    if (!t.defined()) return;
    expect(t.size(2) == q.size(2), what, t, "of as many steps as q");
    expect(t.size(1) > 0 ? heads % t.size(1) == 0 : heads == 0, what, t, "whose heads divide the most there are");
  };
  match("q", q), match("k", k), match("v", v), match("decay", options.decay), match("a", options.a);
  match("b", options.b);
  if (options.initial.defined())
    expect(options.initial.size(1) == heads && options.initial.size(2) == q.size(3), "initial", options.initial,
           "a state [B, H, D, E]");
  check(options.chunk >= 0, op, [&] {
    return Complaint{fmt::format("expected a chunk of 1 step or more, or 0, got {}", options.chunk),
                     "0 chooses one by the shapes"};
  });
}

/// The kernel wants the last axis of rows contiguous.
Tensor rows_contiguous(Tensor const& x) {
  return !x.defined() || x.rank() < 4 || x.size(-1) <= 1 || x.strides()[x.rank() - 1] == 1 ? x : x.contiguous();
}

template <class T>
ScanRows<T> rows_of(Tensor const& x, int64_t heads) {
  using Element = std::remove_const_t<T>;
  if (!x.defined()) return {};
  return {x.address<Element>(), x.strides()[0], x.strides()[1], x.strides()[2], heads / x.size(1)};
}

/// q, k, v, decay, a, b, initial, rates: rows contiguous, one type, no size 0.
using Operands = std::array<Tensor, 8>;

struct Plan {
  int64_t heads, chunk, splits;
  ScanWay way;
  bool lanes() const { return way == ScanWay::lanes; }
};

/// A register of heads is fuller than one of columns, and the kernel knows the operands' form.
bool by_lanes(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  int64_t const heads = heads_of(q, k, v, options), e = v.size(3);
  auto const one_or_all = [&](Tensor const& t, int axis) {
    return !t.defined() || t.size(axis) == 1 || t.size(axis) == heads;
  };
  return options.mode == ScanMode::automatic && !options.a.defined() && e <= ScanArgs<float>::lane_columns &&
         heads >= 2 * e && q.size(3) * e <= 256 && v.size(1) == heads && one_or_all(q, 1) && one_or_all(k, 1) &&
         one_or_all(options.decay, 1) && one_or_all(options.rates, 0);
}

Plan plan_of(Operands const& in, ScanOptions const& options) {
  Tensor const &q = in[0], &v = in[2];
  int64_t const steps = q.size(2), heads = heads_of(q, in[1], v, options), all = q.size(0) * heads;
  int64_t const chunk = std::min(options.chunk > 0 ? options.chunk : q.size(3) * v.size(3) > 4096 ? 64 : 32, steps);
  // By shape, never by the number of threads: few heads, each with much to do, are cut.
  bool const much = steps * q.size(3) * v.size(3) >= (int64_t{1} << 20);
  int64_t const splits = much ? std::clamp<int64_t>(8 / all, 1, std::max<int64_t>(v.size(3) / 32, 1)) : 1;
  // Steps cost fewer multiplications than chunks; chunks read a state that outgrows the first-level cache less often.
  bool const fits = q.size(3) <= 128 || steps < 16;
  bool const steps_in_a_row = options.mode == ScanMode::loop || (options.mode == ScanMode::automatic && fits);
  auto const way = [](bool one_by_one) { return one_by_one ? ScanWay::steps : ScanWay::chunks; };
  if (!q.device().is_cpu()) {
    // A block has 64 columns, or 32 where there are few blocks or rows are long; chunks are how often a state is saved,
    // and steps are faster: the state stays in registers.
    int64_t const whole = (v.size(3) + 63) / 64, half = (v.size(3) + 31) / 32;
    bool const wide = q.size(3) <= 64 && all * whole >= 128;
    int64_t const saved = std::min(options.chunk > 0 ? options.chunk : 64, steps);
    return {heads, saved, wide ? whole : half, way(options.mode != ScanMode::chunked)};
  }
  if (by_lanes(q, in[1], v, options)) {
    // What a chunk holds stays in the caches, and the states kept between chunks are fewer than the operands.
    int64_t const fitting = std::clamp<int64_t>(512 / (q.size(3) * v.size(3)), 16, 256);
    int64_t const registers = (heads + ScanArgs<float>::lanes - 1) / ScanArgs<float>::lanes;
    int64_t const each = (registers + 15) / 16;
    return {heads, std::min(options.chunk > 0 ? options.chunk : fitting, steps), (registers + each - 1) / each,
            ScanWay::lanes};
  }
  return {heads, chunk, splits, way(steps_in_a_row)};
}

template <class T>
ScanArgs<T> arguments(Operands const& in, ScanOptions const& options, Plan const& plan) {
  auto const& [q, k, v, decay, a, b, initial, rates] = in;
  return {.batch = q.size(0),
          .heads = plan.heads,
          .steps = q.size(2),
          .d = q.size(3),
          .e = v.size(3),
          .chunk = plan.chunk,
          .splits = plan.splits,
          .scale = T(options.scale),
          .inclusive = options.inclusive,
          .channels = decay.defined() && decay.rank() == 4,
          .q = rows_of<T const>(q, plan.heads),
          .k = rows_of<T const>(k, plan.heads),
          .v = rows_of<T const>(v, plan.heads),
          .decay = rows_of<T const>(decay, plan.heads),
          .a = rows_of<T const>(a, plan.heads),
          .b = rows_of<T const>(b, plan.heads),
          .initial = initial.defined() ? initial.address<T>() : nullptr,
          .rates = rates.defined() ? rates.address<T>() : nullptr};
}

/// Multiply-adds of one step of all heads, in units of D·E.
double state_elements(Operands const& in, Plan const& plan) {
  return double(in[0].size(0) * plan.heads * in[0].size(2)) * double(in[0].size(3)) * double(in[2].size(3));
}

/// Where the kernel puts the gradient of an operand of fewer heads, or in parts, and what becomes of it.
struct Gradient {
  Tensor parts;  // [P, B, H, T, ..]
  Shape shape;

  Gradient(Tensor const& x, int64_t heads, int64_t count) {
    if (!x.defined()) return;
    shape = x.shape();
    // In memory [P, B, T, H, ..] unless x is contiguous: heads are then a view of the axis they were cut from.
    bool const apart = x.is_contiguous();
    Shape whole{count, x.size(0), apart ? heads : x.size(2), apart ? x.size(2) : heads};
    if (x.rank() == 4) whole.push_back(x.size(3));
    parts = Tensor(whole, x.dtype(), x.device());
    if (!apart) parts = parts.transpose(2, 3);
  }
  template <class T>
  ScanRows<T> rows() const {
    return parts.defined() ? rows_of<T>(parts.select(0, 0), parts.size(2)) : ScanRows<T>{};
  }
  int64_t part() const { return parts.defined() ? parts.strides()[0] : 0; }
  Tensor result() const {
    if (!parts.defined()) return {};
    if (parts.size(0) == 1 && parts.size(2) == shape[1]) return parts.select(0, 0);
    Shape grouped{parts.size(0), shape[0], shape[1], parts.size(2) / shape[1]};
    for (int i = 2; i < shape.rank(); ++i) grouped.push_back(shape[i]);
    return sum(parts.reshape(grouped), {0, 3});
  }
};

/// `wanted` of q, k and decay: by lanes others are left out.
Operands gradients(Operands const& in, Tensor const& states, Tensor const& dout, Tensor const& dstate,
                   ScanOptions const& options, Plan const& plan, std::array<bool, 4> const& wanted) {
  auto const& [q, k, v, decay, a, b, initial, rates] = in;
  auto const of = [&](size_t i) {
    if (!plan.lanes()) return Gradient(in[i], plan.heads, plan.splits);
    if (!in[i].defined() || !wanted[i]) return Gradient({}, 0, 0);
    bool const shared = in[i].size(1) < plan.heads;
    return Gradient(in[i], in[i].size(1), shared ? plan.splits : 1);
  };
  Gradient const dq = of(0), dk = of(1), dv(v, plan.heads, 1), dd = of(3), da = of(4), db = of(5);
  Tensor const dinitial({q.size(0), plan.heads, q.size(3), v.size(3)}, q.dtype(), q.device());
  Tensor drates;
  if (rates.defined()) drates = Tensor({q.size(0), plan.heads, q.size(3)}, q.dtype(), q.device());
  bool const parts_of_q = !plan.lanes() || (dq.parts.defined() && q.size(1) < plan.heads);
  Observed const watch("scan", {&q, &k, &v, &decay, &a, &b, &rates, &states, &dout, &dstate},
                       {&dq.parts, &dk.parts, &dv.parts, &dd.parts, &da.parts, &db.parts, &dinitial, &drates},
                       [&] { return 2 * (a.defined() ? 11 : 5) * state_elements(in, plan); });
  dispatch_floating("scan", q.dtype(), [&]<class T>(Type<T>) {
    kernels<ScanKernels>(q.device(), "scan")
        .of<T>()
        .backward(arguments<T>(in, options, plan),
                  {.states = states.address<T>(),
                   .dout = rows_of<T const>(dout, plan.heads),
                   .dstate = dstate.defined() ? dstate.address<T>() : nullptr,
                   .dq = dq.rows<T>(),
                   .dk = dk.rows<T>(),
                   .dv = dv.rows<T>(),
                   .ddecay = dd.rows<T>(),
                   .da = da.rows<T>(),
                   .db = db.rows<T>(),
                   .part = (parts_of_q ? dq : dk).part(),
                   .decay_part = dd.part(),
                   .dinitial = dinitial.address<T>(),
                   .drates = drates.defined() ? drates.address<T>() : nullptr},
                  plan.way);
  });
  return {dq.result(),
          dk.result(),
          dv.result(),
          dd.result(),
          da.result(),
          db.result(),
          initial.defined() ? dinitial : Tensor(),
          drates.defined() ? sum(drates, {0}) : drates};
}

ScanOptions widened(ScanOptions options) {
  for (Tensor* t : {&options.decay, &options.a, &options.b, &options.initial, &options.rates}) *t = heed::widened(*t);
  return options;
}

/// x [B, G, ..] with each head repeated up to `heads`.
Tensor spread(Tensor const& x, int64_t heads) {
  if (!x.defined() || x.size(1) == heads) return x;
  Shape shape = x.shape(), wide = x.shape();
  shape[1] = heads;
  wide[1] = heads / std::max(x.size(1), int64_t{1});
  wide.insert(1, x.size(1));
  return x.unsqueeze(2).expand(wide).reshape(shape);
}

/// rates [G, D] for each of `heads`.
Tensor per_head(Tensor const& rates, int64_t heads) {
  return rates.defined() ? spread(rates.unsqueeze(0), heads).squeeze(0) : rates;
}

}  // namespace

Scanned scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  check_operands("scan", q, k, v, options);
  if (is_half(q.dtype())) {
    Scanned const y = scan(widened(q), widened(k), widened(v), widened(options));
    return {y.out.to(q.dtype()), y.state};
  }
  int64_t const heads = heads_of(q, k, v, options);
  if (q.numel() == 0 || v.numel() == 0) return naive::scan(q, k, v, options);
  if (options.rates.defined() && !(q.device().is_cpu() && by_lanes(q, k, v, options))) {
    ScanOptions with = options;
    with.decay = spread(options.decay, heads).unsqueeze(-1) * per_head(options.rates, heads).unsqueeze(1);
    with.rates = {};
    return scan(q, k, v, with);
  }
  Operands in{q, k, v, options.decay, options.a, options.b, options.initial, per_head(options.rates, heads)};
  Device const device = common_device("scan", {&in[0], &in[1], &in[2], &in[3], &in[4], &in[5], &in[6], &in[7]});
  for (Tensor& t : in)
    if (t.defined()) t = rows_contiguous(t.to(device));  // numbers may come from the processor
  for (size_t i : {6, 7})
    if (in[i].defined()) in[i] = in[i].contiguous();
  Plan const plan = plan_of(in, options);
  int64_t const batch = q.size(0), steps = q.size(2), d = q.size(3), e = v.size(3);
  bool const recorded = tracked(q, k, v, options.decay, options.a, options.b, options.initial, options.rates);
  std::array<bool, 4> const wanted{tracked(q), tracked(k), true, tracked(options.decay)};
  std::array<Tensor, 2> outputs;
  Tensor states;
  {
    NoGrad const off;
    // Memory [B, T, H, E], so that joining the heads afterwards is a view.
    outputs = {Tensor({batch, steps, heads, e}, q.dtype(), device).transpose(1, 2),
               Tensor({batch, heads, d, e}, q.dtype(), device)};
    outputs[0].body()->is_view = false;
    if (recorded) states = Tensor({batch, heads, (steps + plan.chunk - 1) / plan.chunk, d, e}, q.dtype(), device);
    Observed const watch("scan", {&in[0], &in[1], &in[2], &in[3], &in[4], &in[5], &in[6], &in[7]},
                         {&outputs[0], &outputs[1], &states},
                         [&] { return 2 * (in[4].defined() ? 4 : 2) * state_elements(in, plan); });
    dispatch_floating("scan", q.dtype(), [&]<class T>(Type<T>) {
      kernels<ScanKernels>(device, "scan")
          .of<T>()
          .forward(arguments<T>(in, options, plan), rows_of<T>(outputs[0], heads), outputs[1].address<T>(),
                   recorded ? states.address<T>() : nullptr, plan.way);
    });
  }
  if (recorded)
    record_outputs(
        "scan", outputs, {&in[0], &in[1], &in[2], &in[3], &in[4], &in[5], &in[6], &in[7]},
        [q = Saved(in[0]), k = Saved(in[1]), v = Saved(in[2]), decay = Saved(in[3]), a = Saved(in[4]), b = Saved(in[5]),
         initial = Saved(in[6]), rates = Saved(in[7]), states = Saved(states), plan, wanted, scale = options.scale,
         inclusive = options.inclusive](Tensor const* g, Node const& node) -> Operands {
          Operands const saved{q.get(node), k.get(node), v.get(node),       decay.get(node),
                               a.get(node), b.get(node), initial.get(node), rates.get(node)};
          if (recording()) {
            auto const x = twin_inputs({saved.begin(), saved.end()});
            auto const twin = naive::scan(x[0], x[1], x[2],
                                          {.decay = x[3],
                                           .a = x[4],
                                           .b = x[5],
                                           .initial = x[6],
                                           .rates = x[7],
                                           .scale = scale,
                                           .inclusive = inclusive});
            auto const d = twin_gradients({twin.out, twin.state}, x, {g[0], g[1]});
            return {d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]};
          }
          return gradients(saved, states.get(node), rows_contiguous(g[0]), g[1].defined() ? g[1].contiguous() : g[1],
                           {.scale = scale, .inclusive = inclusive}, plan, wanted);
        });
  return {outputs[0], outputs[1]};
}

Scanned delta_scan(Tensor const& q, Tensor const& k, Tensor const& v, Tensor const& beta, ScanOptions const& options) {
  check_operands("delta_scan", q, k, v, options);
  check_defined("delta_scan", beta);
  int64_t const all = beta.rank() == 3 ? std::max(heads_of(q, k, v, options), beta.size(1)) : 0;
  check(!options.a.defined() && beta.rank() == 3 && beta.size(0) == q.size(0) && beta.size(2) == q.size(2) &&
            (all == 0 || (beta.size(1) > 0 && k.size(1) > 0 && all % beta.size(1) == 0 && all % k.size(1) == 0)),
        "delta_scan", [&] {
          return Complaint{
              fmt::format("expected beta [B, G, T] and neither a nor b, got beta {} beside k {}{}",
                          to_string(beta.shape()), to_string(k.shape()), options.a.defined() ? " and a, b" : ""),
              "give each step of each head one share"};
        });
  if (is_half(q.dtype())) {
    Scanned const y = delta_scan(widened(q), widened(k), widened(v), widened(beta), widened(options));
    return {y.out.to(q.dtype()), y.state};
  }
  bool const same = beta.size(1) == k.size(1) && (!options.decay.defined() || options.decay.size(1) == k.size(1));
  int64_t const heads = same ? k.size(1) : all;
  Tensor const keys = spread(k, heads), written = keys * spread(beta, heads).unsqueeze(-1);
  ScanOptions with = options;
  with.a = -written;
  with.b = keys;
  if (options.decay.defined()) {
    Tensor decay = spread(options.decay, heads);
    if (options.rates.defined()) decay = decay.unsqueeze(-1) * per_head(options.rates, heads).unsqueeze(1);
    decay = exp(decay);
    with.b = keys * (decay.rank() == 3 ? decay.unsqueeze(-1) : decay);
  }
  return scan(q, written, v, with);
}

Scanned naive::scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  check_operands("scan", q, k, v, options);
  int64_t const heads = heads_of(q, k, v, options), batch = q.size(0), steps = q.size(2), e = v.size(3);
  Tensor s = options.initial.defined() ? options.initial : zeros({batch, heads, q.size(3), e}, q.dtype(), q.device());
  std::vector<Tensor> out;
  for (int64_t t = 0; t < steps; ++t) {
    // Columns [B, H, D, 1] and rows [B, H, 1, E] of step t.
    auto const column = [&](Tensor const& x) { return spread(x.select(2, t), heads).unsqueeze(-1); };
    auto const row = [&](Tensor const& x) { return column(x).t(); };
    Tensor const before = s;
    if (options.decay.defined()) {
      Tensor decay = column(options.decay);  // [B, H, 1] or a column
      if (options.rates.defined()) decay = decay.unsqueeze(-1) * per_head(options.rates, heads).unsqueeze(-1);
      s = exp(decay.rank() == 3 ? decay.unsqueeze(-1) : decay) * s;
    }
    if (options.a.defined()) s = s + column(options.a) * matmul(row(options.b), before);
    s = s + column(k) * row(v);
    out.push_back(matmul(row(q), options.inclusive ? s : before).squeeze(-2) * options.scale);
  }
  return {out.empty() ? zeros({batch, heads, steps, e}, q.dtype(), q.device()) : stack(out, 2), s};
}

}  // namespace heed
