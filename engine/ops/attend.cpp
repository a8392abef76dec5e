// attend(): scaled-dot-product attention without the T×S matrix.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/tape.h>

#include <cmath>

namespace heed {
namespace {

Complaint shapes_complaint(Tensor const& q, Tensor const& k, Tensor const& v, char const* rule) {
  return {
      fmt::format("{}; got q {}, k {}, v {}", rule, to_string(q.shape()), to_string(k.shape()), to_string(v.shape())),
      "pass q [B, H, T, D], k [B, G, S, D], v [B, G, S, E] with H a multiple of G"};
}

void check_operands(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  for (Tensor const* t : {&q, &k, &v}) check_defined("attend", *t);
  check(q.rank() == 4 && k.rank() == 4 && v.rank() == 4, "attend",
        [&] { return shapes_complaint(q, k, v, "expected rank 4"); });
  check(q.dtype() == k.dtype() && q.dtype() == v.dtype(), "attend", [&] {
    return Complaint{
        fmt::format("expected one type, got q {}, k {}, v {}", name(q.dtype()), name(k.dtype()), name(v.dtype())),
        "convert them with .to()"};
  });
  check(q.size(0) == k.size(0) && k.size(0) == v.size(0), "attend",
        [&] { return shapes_complaint(q, k, v, "batch sizes differ"); });
  check(q.size(3) == k.size(3), "attend",
        [&] { return shapes_complaint(q, k, v, "q and k differ in their last axis"); });
  check(k.size(1) == v.size(1) && k.size(2) == v.size(2), "attend",
        [&] { return shapes_complaint(q, k, v, "k and v differ in heads or length"); });
  check(k.size(1) > 0 ? q.size(1) % k.size(1) == 0 : q.size(1) == 0, "attend",
        [&] { return shapes_complaint(q, k, v, "the query heads are not a multiple of the key heads"); });
  check(options.left >= 0 && options.right >= 0, "attend", [&] {
    return Complaint{fmt::format("expected a window of counts, got left {} and right {}", options.left, options.right),
                     "pass how many keys are visible on each side, 0 or more"};
  });
  check(options.dropout >= 0 && attend_threshold(std::min(options.dropout, 1.0)) < 65536, "attend", [&] {
    return Complaint{fmt::format("expected a dropout from 0 to below 1, got {}", options.dropout),
                     "pass the share to drop"};
  });
  if (options.mask.defined()) {
    Shape const scores{q.size(0), q.size(1), q.size(2), k.size(2)};
    check(options.mask.dtype() == Dtype::boolean && broadcast("attend", options.mask.shape(), scores) == scores,
          "attend", [&] {
            return Complaint{fmt::format("expected a bool mask that broadcasts to {}, got {} {}", to_string(scores),
                                         to_string(options.mask.shape()), name(options.mask.dtype())),
                             "true attends; compare to make a bool mask (mask != 0)"};
          });
  }
}

double scale_of(Tensor const& q, AttendOptions const& options) {
  return options.scale != 0 ? options.scale : 1 / std::sqrt(double(std::max(q.size(3), int64_t{1})));
}

/// The kernel wants the last axis contiguous; the others may have any stride.
Tensor rows_contiguous(Tensor const& x) { return x.size(3) <= 1 || x.strides()[3] == 1 ? x : x.contiguous(); }

AttendStrides strides_of(Tensor const& x) { return {x.strides()[0], x.strides()[1], x.strides()[2]}; }

template <class T>
AttendArgs<T> arguments(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  AttendArgs<T> a{.batch = q.size(0),
                  .heads = q.size(1),
                  .kv_heads = k.size(1),
                  .tq = q.size(2),
                  .tk = k.size(2),
                  .d = q.size(3),
                  .dv = v.size(3),
                  .q = q.data<T>(),
                  .q_batch = q.strides()[0],
                  .q_head = q.strides()[1],
                  .q_row = q.strides()[2],
                  .k = k.data<T>(),
                  .k_batch = k.strides()[0],
                  .k_head = k.strides()[1],
                  .k_row = k.strides()[2],
                  .v = v.data<T>(),
                  .v_batch = v.strides()[0],
                  .v_head = v.strides()[1],
                  .v_row = v.strides()[2],
                  .scale = T(scale_of(q, options))};
  a.left = options.left;
  a.right = options.causal ? 0 : options.right;
  if (options.mask.defined()) {
    Strides const s = broadcast_strides(options.mask.shape(), options.mask.strides(), {a.batch, a.heads, a.tq, a.tk});
    a.mask = static_cast<uint8_t const*>(options.mask.raw());
    a.mask_batch = s[0], a.mask_head = s[1], a.mask_row = s[2], a.mask_col = s[3];
  }
  a.dropout = options.dropout;
  a.seed = options.draw.seed;
  a.offset = options.draw.offset;
  return a;
}

/// How many (query, key) pairs causality and windows let see each other, over batch and heads; a mask counts as all
/// true.
double visible_pairs(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  int64_t const t = q.size(2), s = k.size(2);
  double pairs = 0;
  for (int64_t i = s - t; i < s; ++i) {
    int64_t const first = options.left < i ? i - options.left : 0;
    int64_t const last = options.causal ? i : options.right < s - 1 - i ? i + options.right : s - 1;
    pairs += double(std::max(last - first + 1, int64_t{0}));
  }
  return pairs * double(q.size(0) * q.size(1));
}

/// A [B, H, T, E] tensor whose memory is [B, T, H, E], so that joining the heads afterwards is a view.
Tensor heads_together(int64_t b, int64_t h, int64_t t, int64_t e, Dtype dtype) {
  return Tensor({b, t, h, e}, dtype).transpose(1, 2);
}

Tensor with_layout_of(Tensor const& x) {
  return x.is_contiguous() ? Tensor(x.shape(), x.dtype())
                           : heads_together(x.size(0), x.size(1), x.size(2), x.size(3), x.dtype());
}

}  // namespace

Attended attend(Tensor const& q_in, Tensor const& k_in, Tensor const& v_in, AttendOptions const& options) {
  if (autocasts(q_in) || autocasts(k_in) || autocasts(v_in))
    return attend(autocast(q_in), autocast(k_in), autocast(v_in), options);
  check_operands(q_in, k_in, v_in, options);
  if (is_half(q_in.dtype())) {
    Attended const y = [&] {
      AutocastOff const off;
      return attend(widened(q_in), widened(k_in), widened(v_in), options);
    }();
    return {y.out.to(q_in.dtype()), y.lse};
  }
  Tensor const q = rows_contiguous(q_in), k = rows_contiguous(k_in), v = rows_contiguous(v_in);
  std::array<Tensor, 2> outputs;
  {
    NoGrad const off;
    outputs = {heads_together(q.size(0), q.size(1), q.size(2), v.size(3), q.dtype()),
               Tensor({q.size(0), q.size(1), q.size(2)}, q.dtype())};
    outputs[0].body()->is_view = false;
  }
  Observed const watch("attend", {&q, &k, &v, &options.mask}, {&outputs[0], &outputs[1]},
                       [&] { return 2 * visible_pairs(q, k, options) * double(q.size(3) + v.size(3)); });
  dispatch_floating("attend", q.dtype(), [&]<class T>(Type<T>) {
    kernels<AttendKernels>().of<T>().forward(arguments<T>(q, k, v, options), outputs[0].data<T>(),
                                             strides_of(outputs[0]), outputs[1].data<T>());
  });
  if (tracked(q, k, v))
    record_outputs(
        "attend", outputs, {&q, &k, &v},
        [q = Saved(q), k = Saved(k), v = Saved(v), out = SavedOutput(outputs[0], 0), lse = SavedOutput(outputs[1], 1),
         mask = Saved(options.mask), options](Tensor const* g, Node const& node) -> std::array<Tensor, 3> {
          mask.get(node);
          if (recording()) {
            auto const in = twin_inputs({q.get(node), k.get(node), v.get(node)});
            auto const twin = naive::attend(in[0], in[1], in[2], options);
            auto const d = twin_gradients({twin.out, twin.lse}, in, {g[0], g[1]});
            return {d[0], d[1], d[2]};
          }
          Tensor const &query = q.get(node), &key = k.get(node), &value = v.get(node), o = out.get(node),
                       l = lse.get(node);
          Tensor const dout = rows_contiguous(g[0].defined() ? g[0] : zeros(o.shape(), o.dtype()));
          Tensor const dlse = g[1].defined() ? g[1].contiguous() : Tensor();
          Tensor const dq = with_layout_of(query), dk = with_layout_of(key), dv = with_layout_of(value);
          // Five products: the scores again, dP and dV, dQ and dK.
          Observed const watch(
              "attend", {&query, &key, &value, &o, &l, &dout, &dlse, &options.mask}, {&dq, &dk, &dv},
              [&] { return 2 * visible_pairs(query, key, options) * double(3 * query.size(3) + 2 * value.size(3)); });
          dispatch_floating("attend", query.dtype(), [&]<class T>(Type<T>) {
            AttendGradArgs<T> const gradients{.out = o.data<T>(),
                                              .out_strides = strides_of(o),
                                              .lse = l.data<T>(),
                                              .dout = dout.data<T>(),
                                              .dout_strides = strides_of(dout),
                                              .dlse = dlse.defined() ? dlse.data<T>() : nullptr,
                                              .dq = dq.data<T>(),
                                              .dq_strides = strides_of(dq),
                                              .dk = dk.data<T>(),
                                              .dk_strides = strides_of(dk),
                                              .dv = dv.data<T>(),
                                              .dv_strides = strides_of(dv)};
            kernels<AttendKernels>().of<T>().backward(arguments<T>(query, key, value, options), gradients);
          });
          return {dq, dk, dv};
        });
  return {outputs[0], outputs[1]};
}

namespace {

/// bool [.., T, S]: what query i may see of key j, aligned at the end.
Tensor visible(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  int64_t const t = q.size(2), s = k.size(2);
  Tensor const i = (arange(t) + double(s - t)).unsqueeze(1), j = arange(s);
  Tensor seen = (j - i) <= (options.causal ? 0.0 : double(options.right));
  seen = seen & ((i - j) <= double(options.left));
  return options.mask.defined() ? seen & options.mask : seen;
}

Tensor repeat_heads(Tensor const& x, int64_t heads) {
  int64_t const b = x.size(0), g = x.size(1), s = x.size(2), d = x.size(3);
  return g == heads ? x : x.unsqueeze(2).expand({b, g, heads / g, s, d}).reshape({b, heads, s, d});
}

}  // namespace

Attended naive::attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  check_operands(q, k, v, options);
  Tensor const seen = visible(q, k, options);
  // Keys and values that nobody sees are zeroed before they meet a product, so that NaN in them cannot spread.
  Tensor const used = sum(seen.expand({q.size(0), q.size(1), q.size(2), k.size(2)}), {2}) > 0.0;  // [B, H, S]
  Tensor const keys = where(used.unsqueeze(-1), repeat_heads(k, q.size(1)), 0.0);
  Tensor const values = where(used.unsqueeze(-1), repeat_heads(v, q.size(1)), 0.0);
  Tensor const scores = matmul(q, keys.t()) * scale_of(q, options);
  Tensor const lse = naive::logsumexp(masked_fill(scores, !seen, -std::numeric_limits<double>::infinity()), -1);
  Tensor const safe_lse = where(lse == -std::numeric_limits<double>::infinity(), 0.0, lse);
  Tensor weights = where(seen, exp(where(seen, scores - safe_lse.unsqueeze(-1), 0.0)), 0.0);
  if (options.dropout > 0) {
    std::vector<float> keep(size_t(weights.numel()));
    uint32_t const threshold = attend_threshold(options.dropout);
    size_t n = 0;
    for (int64_t b = 0; b < weights.size(0); ++b)
      for (int64_t h = 0; h < weights.size(1); ++h)
        for (int64_t i = 0; i < weights.size(2); ++i)
          for (int64_t j = 0; j < weights.size(3); ++j)
            keep[n++] = attend_keeps(options.draw.seed, options.draw.offset, b, h, i, j, threshold);
    double const kept = 1 - threshold / 65536.0;  // the draws have 16 bits
    weights = weights * (tensor(keep, weights.shape()).to(weights.dtype()) / kept);
  }
  return {matmul(weights, values), lse};
}

Tensor attention_weights(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  check_operands(q, k, k, options);
  Tensor const scores = matmul(q, repeat_heads(k, q.size(1)).t()) * scale_of(q, options);
  Tensor const seen = visible(q, k, options).expand(scores.shape());
  Tensor const shown = masked_fill(scores, !seen, -std::numeric_limits<double>::infinity());
  // A query that sees nothing has weights 0, not 0/0.
  Tensor const any = amax(seen.to(scores.dtype()), {-1}, true) > 0.0;
  return where(any, softmax(where(any, shown, 0.0)), 0.0);
}

}  // namespace heed
