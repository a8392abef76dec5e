// attend(): scaled-dot-product attention without the T×S matrix.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/score.h>
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

/// The programs of a call, kept while its kernels run.
template <class T>
struct Mods {
  AttendOptions const& options;
  ModTables<T> score, sees;
  TilePattern pattern;

  explicit Mods(AttendOptions const& o) : options(o), score(tables(o.score.get())), sees(tables(o.sees.get())) {}
  static std::vector<Tensor> tables(Modification const* mod) {
    return mod ? recorded(mod)->tables : std::vector<Tensor>{};
  }
  void into(AttendArgs<T>& a) {
    if (options.score) a.score = {recorded(options.score.get())->program.get(), score.views.data()};
    a.direct = bool(options.weight);
    if (!options.sees) return;
    RecordedMod const& mask = *recorded(options.sees.get());
    a.sees = {mask.program.get(), sees.views.data()};
    Tiles const tiles = a.tiles();
    pattern =
        tile_pattern(mask, {a.batch, a.heads, a.tq, a.tk, tiles.queries, tiles.keys, a.shift_low(), a.shift_high()});
    a.pattern = &pattern;
  }
};

template <class T>
AttendArgs<T> arguments(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options,
                        Mods<T>& mods) {
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
  mods.into(a);
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

/// With `weight`, the score's program and the weight's as one, which then gives weights.
AttendOptions with_one_program(AttendOptions options) {
  if (options.weight) options.score = options.score | options.weight;
  return options;
}

/// The tables of the score's program, which get gradients.
std::vector<Tensor> score_tables(AttendOptions const& options) {
  return options.score ? recorded(options.score.get())->tables : std::vector<Tensor>{};
}

/// The same modification of other tables.
ScoreMod with_tables(ScoreMod const& mod, std::vector<Tensor> tables) {
  return mod ? ScoreMod(with_tables(*recorded(mod.get()), std::move(tables))) : mod;
}

struct AttendGradients {
  Tensor dq, dk, dv;
  std::vector<Tensor> tables;  // undefined where none is wanted
};

AttendGradients backward(Tensor const& q, Tensor const& k, Tensor const& v, Tensor const& out, Tensor const& lse,
                         Tensor const* g, AttendOptions const& options, std::vector<bool> const& wanted) {
  Tensor const dout = rows_contiguous(g[0].defined() ? g[0] : zeros(out.shape(), out.dtype()));
  Tensor const dlse = lse.defined() && g[1].defined() ? g[1].contiguous() : Tensor();
  AttendGradients d{with_layout_of(q), with_layout_of(k), with_layout_of(v), std::vector<Tensor>(wanted.size())};
  // Five products: the scores again, dP and dV, dQ and dK.
  Observed const watch("attend", {&q, &k, &v, &out, &lse, &dout, &dlse, &options.mask}, {&d.dq, &d.dk, &d.dv},
                       [&] { return 2 * visible_pairs(q, k, options) * double(3 * q.size(3) + 2 * v.size(3)); });
  dispatch_floating("attend", q.dtype(), [&]<class T>(Type<T>) {
    Mods<T> mods(options);
    AttendArgs<T> const a = arguments<T>(q, k, v, options, mods);
    AttendGradArgs<T> gradients{.out = out.data<T>(),
                                .out_strides = strides_of(out),
                                .lse = lse.defined() ? lse.data<T>() : nullptr,
                                .dout = dout.data<T>(),
                                .dout_strides = strides_of(dout),
                                .dlse = dlse.defined() ? dlse.data<T>() : nullptr,
                                .dq = d.dq.data<T>(),
                                .dq_strides = strides_of(d.dq),
                                .dk = d.dk.data<T>(),
                                .dk_strides = strides_of(d.dk),
                                .dv = d.dv.data<T>(),
                                .dv_strides = strides_of(d.dv)};
    std::shared_ptr<Program const> slope;
    std::vector<AttendSink> sinks;
    std::vector<Tensor> sums(wanted.size());  // f64 [parts, elements]
    if (options.score) {
      Program const& program = *recorded(options.score.get())->program;
      slope = program.read_gradient(wanted);
      gradients.slope = {slope.get(), mods.score.views.data()};
      for (int table : program.loads(wanted)) {
        ProgramTableView<T> const& view = mods.score.views[size_t(table)];
        int64_t const elements = mods.score.tensors[size_t(table)].numel();
        Tensor& sum = sums[size_t(table)];
        if (!sum.defined()) sum = zeros({AttendSink::most_parts, elements}, Dtype::f64);
        AttendSink sink{sum.data<double>(), elements, {}, {}};
        for (int axis = 0; axis < 3; ++axis) sink.size[axis] = view.size[axis], sink.stride[axis] = view.stride[axis];
        sinks.push_back(sink);
      }
      gradients.sinks = sinks.data();
      gradients.sink_count = int(sinks.size());
    }
    kernels<AttendKernels>().of<T>().backward(a, gradients);
    std::vector<Tensor> const tables = score_tables(options);
    for (size_t t = 0; t < wanted.size(); ++t)
      if (wanted[t])
        d.tables[t] = sums[t].defined() ? sum(sums[t], {0}).reshape(tables[t].shape()).to(tables[t].dtype())
                                        : zeros(tables[t].shape(), tables[t].dtype());
  });
  return d;
}

}  // namespace

Attended attend(Tensor const& q_in, Tensor const& k_in, Tensor const& v_in, AttendOptions const& given) {
  if (autocasts(q_in) || autocasts(k_in) || autocasts(v_in))
    return attend(autocast(q_in), autocast(k_in), autocast(v_in), given);
  check_operands(q_in, k_in, v_in, given);
  if (is_half(q_in.dtype())) {
    Attended const y = [&] {
      AutocastOff const off;
      return attend(widened(q_in), widened(k_in), widened(v_in), given);
    }();
    return {y.out.to(q_in.dtype()), y.lse};
  }
  AttendOptions const options = with_one_program(given);
  Tensor const q = rows_contiguous(q_in), k = rows_contiguous(k_in), v = rows_contiguous(v_in);
  std::vector<Tensor> const tables = score_tables(options);
  std::array<Tensor, 2> outputs;
  {
    NoGrad const off;
    outputs[0] = heads_together(q.size(0), q.size(1), q.size(2), v.size(3), q.dtype());
    if (!options.weight) outputs[1] = Tensor({q.size(0), q.size(1), q.size(2)}, q.dtype());
    outputs[0].body()->is_view = false;
  }
  Observed const watch("attend", {&q, &k, &v, &options.mask}, {&outputs[0], &outputs[1]},
                       [&] { return 2 * visible_pairs(q, k, options) * double(q.size(3) + v.size(3)); });
  dispatch_floating("attend", q.dtype(), [&]<class T>(Type<T>) {
    Mods<T> mods(options);
    kernels<AttendKernels>().of<T>().forward(arguments<T>(q, k, v, options, mods), outputs[0].data<T>(),
                                             strides_of(outputs[0]),
                                             outputs[1].defined() ? outputs[1].data<T>() : nullptr);
  });
  if (!tracked(q, k, v) && !tracked(tables)) return {outputs[0], outputs[1]};
  auto gradient = [q = Saved(q), k = Saved(k), v = Saved(v), out = SavedOutput(outputs[0], 0),
                   lse = outputs[1].defined() ? SavedOutput(outputs[1], 1) : SavedOutput(), mask = Saved(options.mask),
                   saved = std::vector<Saved>(tables.begin(), tables.end()), given,
                   options](Tensor const* g, Node const& node) {
    mask.get(node);
    std::vector<bool> wanted;
    for (size_t t = 0; t < saved.size(); ++t) {
      saved[t].get(node);
      wanted.push_back(node.needs(int(3 + t)));
    }
    if (recording()) {
      std::vector<Tensor> in{q.get(node), k.get(node), v.get(node)};
      for (Saved const& table : saved) in.push_back(table.get(node));
      in = twin_inputs(in);
      AttendOptions twin_options = given;
      auto const middle = in.begin() + 3 + std::ptrdiff_t(score_tables(given).size());
      twin_options.score = with_tables(given.score, {in.begin() + 3, middle});
      twin_options.weight = with_tables(given.weight, {middle, in.end()});
      auto const twin = naive::attend(in[0], in[1], in[2], twin_options);
      return given.weight ? twin_gradients({twin.out}, in, {g[0]})
                          : twin_gradients({twin.out, twin.lse}, in, {g[0], g[1]});
    }
    auto const d = backward(q.get(node), k.get(node), v.get(node), out.get(node),
                            given.weight ? Tensor() : lse.get(node), g, options, wanted);
    std::vector<Tensor> all{d.dq, d.dk, d.dv};
    all.insert(all.end(), d.tables.begin(), d.tables.end());
    return all;
  };
  if (tables.empty() && !options.weight) {
    record_outputs("attend", outputs, {&q, &k, &v},
                   [gradient = std::move(gradient)](Tensor const* g, Node const& node) -> std::array<Tensor, 3> {
                     auto d = gradient(g, node);
                     return {d[0], d[1], d[2]};
                   });
    return {outputs[0], outputs[1]};
  }
  std::vector<Tensor> in{q, k, v}, out{outputs[0], outputs[1]};
  in.insert(in.end(), tables.begin(), tables.end());
  record_lists("attend", out, in, std::move(gradient));
  return {out[0], out[1]};
}

namespace {

/// A modification's inputs besides the score, which broadcast to [B, H, T, S].
std::vector<Tensor> position_inputs(Tensor const& score, Tensor const& q, Tensor const& k) {
  Dtype const dtype = q.dtype();
  int64_t const t = q.size(2), s = k.size(2);
  return {score, arange(q.size(0)).to(dtype).reshape({-1, 1, 1, 1}), arange(q.size(1)).to(dtype).reshape({-1, 1, 1}),
          (arange(t) + (s - t)).to(dtype).unsqueeze(1), arange(s).to(dtype)};
}

/// bool, broadcasts to [B, H, T, S]: what query i may see of key j, aligned at the end.
Tensor visible(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  int64_t const t = q.size(2), s = k.size(2);
  Tensor const i = (arange(t) + double(s - t)).unsqueeze(1), j = arange(s);
  Tensor seen = (j - i) <= (options.causal ? 0.0 : double(options.right));
  seen = seen & ((i - j) <= double(options.left));
  if (options.sees)
    seen = seen & (apply_mod(*recorded(options.sees.get()), position_inputs(zeros({}, q.dtype()), q, k)) != 0.0);
  return options.mask.defined() ? seen & options.mask : seen;
}

Tensor repeat_heads(Tensor const& x, int64_t heads) {
  int64_t const b = x.size(0), g = x.size(1), s = x.size(2), d = x.size(3);
  return g == heads ? x : x.unsqueeze(2).expand({b, g, heads / g, s, d}).reshape({b, heads, s, d});
}

/// Keys or values that nobody sees are zeroed before they meet a product, so that NaN in them cannot spread.
Tensor used_rows(Tensor const& x, Tensor const& seen, int64_t heads) {
  return where((sum(seen, {2}) > 0.0).unsqueeze(-1), repeat_heads(x, heads), 0.0);
}

Tensor modified(ScoreMod const& mod, Tensor const& scores, Tensor const& q, Tensor const& k) {
  if (!mod) return scores;
  return apply_mod(*recorded(mod.get()), position_inputs(scores, q, k)).expand(scores.shape());
}

}  // namespace

Tensor dense_scores(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  check_operands(q, k, k, options);
  Tensor const seen = visible(q, k, options).expand({q.size(0), q.size(1), q.size(2), k.size(2)});
  Tensor const products = matmul(q, used_rows(k, seen, q.size(1)).t()) * scale_of(q, options);
  return masked_fill(modified(options.score, products, q, k), !seen, -std::numeric_limits<double>::infinity());
}

Tensor attention_weights(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  Tensor const scores = dense_scores(q, k, options), hidden = scores == -std::numeric_limits<double>::infinity();
  if (options.weight) return masked_fill(modified(options.weight, masked_fill(scores, hidden, 0.0), q, k), hidden, 0.0);
  // A query that sees nothing has weights 0, not 0/0.
  Tensor const lse = naive::logsumexp(scores, -1), none = lse == -std::numeric_limits<double>::infinity();
  return exp(scores - where(none, 0.0, lse).unsqueeze(-1));
}

Attended naive::attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  check_operands(q, k, v, options);
  Tensor weights = attention_weights(q, k, options);
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
  Tensor const seen = visible(q, k, options).expand(weights.shape());
  Tensor const out = matmul(weights, used_rows(v, seen, q.size(1)));
  return {out, options.weight ? Tensor() : naive::logsumexp(dense_scores(q, k, options), -1)};
}

}  // namespace heed
