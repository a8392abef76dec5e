#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/scan_attention.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {
namespace {

ScanWidths filled(AttentionConfig const& config, ScanWidths widths) {
  auto const fill = [](int64_t& value, int64_t instead) { value = value ? value : instead; };
  fill(widths.query_heads, config.heads);
  fill(widths.key_heads, config.kv_heads);
  fill(widths.value_heads, config.kv_heads);
  fill(widths.key, config.head_dim());
  fill(widths.value, config.head_dim());
  return widths;
}

/// q [B, H, T, D] times s [B, G, D, E], head h by ⌊h·G/H⌋.
Tensor grouped(Tensor const& q, Tensor const& s) {
  int64_t const b = q.size(0), h = q.size(1), g = s.size(1), t = q.size(2);
  if (h == g) return matmul(q, s);
  return matmul(q.reshape({b, g, h / g, t, q.size(3)}), s.unsqueeze(2)).reshape({b, h, t, s.size(3)});
}

/// k_t·v_tᵀ becomes β_t·k_t·v_tᵀ, and (1 − β_t·k_t·k_tᵀ) comes before the decayed state; of shares of features, 1 −
/// k_t·(β_t∘k_t)ᵀ.
void delta_rule(ScanOperands& o) {
  bool const by_feature = o.beta.rank() == 4;
  Tensor keys = o.k;
  if (by_feature)
    keys = keys * o.beta;
  else
    o.k = keys * o.beta.unsqueeze(-1);
  if (o.feedback.defined()) keys = keys * o.feedback;
  o.scan.a = -o.k;
  o.scan.b = keys;
  if (!o.scan.decay.defined() || o.feedback.defined()) return;
  Tensor const decay = exp(o.scan.decay);
  o.scan.b = keys * (decay.rank() == 3 ? decay.unsqueeze(-1) : decay);
}

Tensor one_after_the_other(ScanOperands& o, Tensor const& k, Tensor const& q, Tensor const& v) {
  Carried const past = carried(o);
  o.scan.initial = past.before;
  Scanned const y = scan_core(q, k, v, o.scan);
  past.keep(y.state);
  return y.out;
}
Tensor all_at_once(ScanOperands const& o, Tensor const& k, Tensor const& q, Tensor const& v) {
  Tensor const there = o.valid.defined() ? where(o.valid.unsqueeze(1).unsqueeze(-1), k, 0.) : k;
  Tensor const y = grouped(q, matmul(there.t(), v));
  return o.scan.scale == 1 ? y : y * o.scan.scale;
}

}  // namespace

void ScanSettings::visit(ConfigVisitor& v) {
  v.field("conv", conv, "steps of a short convolution of q, k and v; 0: none");
  v.field("norm", norm, "RMS norm of each head's output");
  v.field("gate", gate, "output ⊙ SiLU(x·W_g)");
}

Carried carried(ScanOperands& o) {
  if (!o.state) return {{}, nullptr};
  if (o.next_slot == o.state->tensors.size()) o.state->tensors.emplace_back();
  Tensor& slot = o.state->tensors[o.next_slot++];
  return {slot, &slot};
}

ShortConv::ShortConv(int64_t channels, int64_t width) {
  check(width >= 2, "conv", [&] {
    return Complaint{fmt::format("expected a convolution of 2 steps or more, or 0, got {}", width), "use 4"};
  });
  weight = empty({channels, width});
  double const bound = 1 / std::sqrt(double(width));
  init::uniform_(weight, -bound, bound);
  weight.requires_grad_();
}

Tensor ShortConv::forward(Tensor const& x, Carried const& past) const {
  auto const [y, state] = causal_conv1d(x.transpose(1, 2), weight, {}, past.before);
  past.keep(state);
  return silu(y).transpose(1, 2);
}

ScanAttention::ScanAttention(AttentionConfig const& given, ScanSettings const& settings, ScanWidths const& given_widths)
    : Attention(given),
      q_proj(config.dim, filled(config, given_widths).query_heads * filled(config, given_widths).key, config.bias),
      k_proj(config.dim, filled(config, given_widths).key_heads * filled(config, given_widths).key, config.bias),
      v_proj(config.dim, filled(config, given_widths).value_heads * filled(config, given_widths).value, config.bias),
      out_proj(config.heads * filled(config, given_widths).value, config.dim, config.bias),
      widths(filled(config, given_widths)) {
  if (settings.gate) gate = std::make_unique<Linear>(config.dim, config.heads * widths.value, false);
  if (settings.norm) norm = trainable(ones({widths.value}));
  if (!settings.conv) return;
  q_conv = std::make_unique<ShortConv>(widths.query_heads * widths.key, settings.conv);
  k_conv = std::make_unique<ShortConv>(widths.key_heads * widths.key, settings.conv);
  v_conv = std::make_unique<ShortConv>(widths.value_heads * widths.value, settings.conv);
}

Traits ScanAttention::traits() const {
  Traits all = around.traits(kind_traits());
  if (q_conv) all.equivariant = false;
  return all;
}

std::unique_ptr<AttentionState> ScanAttention::make_state(int64_t positions) const {
  if (!traits().steps || !config.causal) return Attention::make_state(positions);
  return std::make_unique<RecurrentState>(0);
}

void ScanAttention::visit(Visitor& visitor) {
  visitor.child("q_proj", q_proj);
  visitor.child("k_proj", k_proj);
  visitor.child("v_proj", v_proj);
  visitor.child("out_proj", out_proj);
  if (gate) visitor.child("gate", *gate);
  visitor.parameter("norm", norm);
  if (q_conv) {
    visitor.child("q_conv", *q_conv);
    visitor.child("k_conv", *k_conv);
    visitor.child("v_conv", *v_conv);
  }
  around.visit(visitor);
}

void ScanAttention::project(ScanOperands& o) const {
  auto const heads_of = [&](Tensor x, std::unique_ptr<ShortConv> const& conv, int64_t heads) {
    if (conv) x = conv->forward(x, carried(o));
    return wide(split_heads(x, heads));
  };
  o.q = heads_of(q_proj(o.x), q_conv, widths.query_heads);
  o.k = heads_of(k_proj(o.source), k_conv, widths.key_heads);
  o.v = heads_of(v_proj(o.source), v_conv, widths.value_heads);
}

Tensor ScanAttention::mix(Tensor const& x, AttentionContext const& context) const {
  bool const cross = context.memory.defined();
  ScanOperands o;
  o.x = x;
  o.source = cross ? context.memory : x;
  o.first_values = context.first_values;
  if (context.state) {
    o.state = &state_as<RecurrentState>(*context.state);
    o.past = o.state->length;
  }
  Tensor const& lengths = cross ? context.memory_lengths : context.lengths;
  if (lengths.defined()) o.valid = valid_positions(lengths, o.source.size(1));
  project(o);
  features(o);
  Tensor const q = o.q, k = o.k;  // a norm counts what positions turn as it was
  around.project(o);
  around.options(o);
  AttendOptions const& set = o.options;
  check(!set.score && !set.sees && !set.weight && set.left == AttendOptions::unlimited &&
            set.right == AttendOptions::unlimited && set.entmax == 1 && set.top_k == 0 && !set.sink.defined(),
        "attention", [] {
          return Complaint{"a recurrence has no scores that a part could change, hide or normalise",
                           "name parts that change q and k, as rope does, or the output, as gated does"};
        });
  if (o.beta.defined()) delta_rule(o);
  auto const recur = [&](Tensor const& keys, Tensor const& queries, Tensor const& values) {
    return config.causal ? one_after_the_other(o, keys, queries, values) : all_at_once(o, keys, queries, values);
  };
  Tensor out = recur(o.k, o.q, o.weight.defined() ? o.v * o.weight.unsqueeze(-1) : o.v), by;
  if (o.normalize) {
    Tensor const values = ones({k.size(0), k.size(1), k.size(2), 1}, k.dtype(), k.device());
    by = divisor(recur(k, q, values), o);
    out = out / by;
  }
  out = finish(out, o);
  if (scans_are_seen()) {
    Tensor const own = own_share(o);
    tell_scan({.q = o.q,
               .k = !config.causal && o.valid.defined() ? where(o.valid.unsqueeze(1).unsqueeze(-1), o.k, 0.) : o.k,
               .options = o.scan,
               .weight = o.weight,
               .gain = by.defined() ? (1. / by).squeeze(-1) : by,
               .own = own.defined() ? own.squeeze(-1) : own,
               .steps = o.steps,
               .everything = !config.causal,
               .v = o.v,
               .out = out});
  }
  out = out.to(x.dtype());
  if (norm.defined()) out = rms_norm(out, norm);
  if (gate) out = out * silu(split_heads(gate->forward(x), config.heads));
  if (o.state) o.state->length += x.size(1);
  Tensor const y = out_proj(join_heads(around.finish(out, o)));
  return training() ? dropout(y, config.dropout) : y;
}

Tensor ScanAttention::divisor(Tensor const& ones, ScanOperands const&) const { return clamp_min(ones, 1e-6); }

void ChannelScan::Settings::visit(ConfigVisitor& v) {
  v.field("expand", expand, "channels, in dim");
  v.field("conv", conv, "steps of a short convolution; 0: none");
  v.field("gate", gate, "output ⊙ SiLU(x·W_g)");
}

ChannelScan::ChannelScan(AttentionConfig const& given, Settings const& settings)
    : Attention(given),
      in_proj(config.dim, settings.expand * config.dim, config.bias),
      out_proj(settings.expand * config.dim, config.dim, config.bias) {
  if (settings.gate) gate = std::make_unique<Linear>(config.dim, inner(), false);
  if (settings.conv) conv = std::make_unique<ShortConv>(inner(), settings.conv);
}

Traits ChannelScan::traits() const {
  return {
      .bidirectional = false, .cross = false, .equivariant = false, .time = Growth::linear, .state = Growth::constant};
}

std::unique_ptr<AttentionState> ChannelScan::make_state(int64_t) const { return std::make_unique<RecurrentState>(0); }

void ChannelScan::visit(Visitor& visitor) {
  visitor.child("in_proj", in_proj);
  visitor.child("out_proj", out_proj);
  if (gate) visitor.child("gate", *gate);
  if (conv) visitor.child("conv", *conv);
}

Tensor ChannelScan::mix(Tensor const& x, AttentionContext const& context) const {
  ScanOperands o;
  o.x = o.source = x;
  if (context.state) {
    o.state = &state_as<RecurrentState>(*context.state);
    o.past = o.state->length;
  }
  Tensor u = in_proj(x);
  if (conv) u = conv->forward(u, carried(o));
  Tensor y = recur(u, o);
  if (o.call.q.defined()) {
    o.call.v = split_heads(o.call.v, config.heads), o.call.out = split_heads(y, config.heads);
    tell_scan(o.call);
  }
  y = y.to(x.dtype());
  if (gate) y = y * silu(gate->forward(x));
  if (o.state) o.state->length += x.size(1);
  y = out_proj(y);
  return training() ? dropout(y, config.dropout) : y;
}

Tensor channel_scan(ScanOperands& o, Tensor const& decay, Tensor const& v, Tensor const& weight, Tensor const& k,
                    Tensor const& q, Tensor const& rates) {
  Tensor const one = k.defined() && q.defined() ? Tensor() : ones({v.size(0), 1, v.size(1), 1}, v.dtype(), v.device());
  Tensor const &queries = q.defined() ? q : one, &keys = k.defined() ? k : one;
  Carried const past = carried(o);
  ScanOptions const options{.decay = decay, .initial = past.before, .rates = rates};
  Tensor const given = weight.defined() ? weight * v : v;
  Scanned const y = scan_core(queries, keys, given.transpose(1, 2).unsqueeze(-1), options);
  past.keep(y.state);
  if (scans_are_seen())
    o.call = {.q = queries,
              .k = keys,
              .options = options,
              .weight = weight.defined() ? weight.transpose(1, 2) : weight,
              .v = v};
  return y.out.squeeze(-1).transpose(1, 2);
}

namespace {

Tensor unending(Tensor const& like) {
  Shape shape = like.shape();
  shape[2] = 1;
  return full(shape, -INFINITY, like.dtype(), like.device());
}

}  // namespace

PrefixSoftmax prefix_softmax(ScanOperands& o, Tensor const& logits) {
  int64_t const t = logits.size(2);
  Carried const past = carried(o);
  Tensor const start = past.before.defined() ? past.before : unending(logits);
  Tensor const total = logcumsumexp(cat({start, logits}, 2), 2);
  past.keep(total.slice(2, t, t + 1).clone());  // a view would keep all of it
  return {total.slice(2, 0, t) - total.slice(2, 1, t + 1), exp(logits - total.slice(2, 1, t + 1))};
}

RunningMax running_max(ScanOperands& o, Tensor const& forget, Tensor const& input) {
  NoGrad const off;
  int64_t const t = input.size(2);
  Carried const past = carried(o);
  Tensor const start = past.before.defined() ? past.before : unending(input), total = cumsum(forget, 2);
  Tensor const most = cummax(cat({start, input - total}, 2), 2).values.slice(2, 1, t + 1) + total;
  past.keep(most.slice(2, t - 1, t).clone());
  return {cat({start, most.slice(2, 0, t - 1)}, 2), most};
}

Tensor previous(ScanOperands& o, Tensor const& x) {
  int64_t const t = x.size(1);
  Carried const past = carried(o);
  Tensor const first = past.before.defined() ? past.before : zeros_like(x.slice(1, 0, 1).detach());
  past.keep(x.slice(1, t - 1, t).clone());
  return t == 1 ? first : cat({first, x.slice(1, 0, t - 1)}, 1);
}

Tensor wide(Tensor const& x) { return is_half(x.dtype()) ? x.to(Dtype::f32) : x; }
Tensor by_head(Tensor const& x) { return wide(x.transpose(1, 2)); }
Tensor unit(Tensor const& x) { return rms_norm(x, {}, 1e-12) * (1 / std::sqrt(double(x.size(-1)))); }
Tensor trainable(Tensor value) { return value.requires_grad_(); }
Tensor time_step_bias(int64_t count) {
  Tensor const step = exp(uniform({count}, std::log(1e-3), std::log(0.1)));
  return step + log(-expm1(-step));
}
Tensor head_decays(int64_t heads, double gamma) {
  std::vector<double> log_decay;
  for (int64_t h = 0; h < heads; ++h) log_decay.push_back(std::log(gamma > 0 ? gamma : 1 - std::exp2(-5. - double(h))));
  return tensor(log_decay, {1, heads, 1});
}

}  // namespace heed::nn
