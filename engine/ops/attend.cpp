// attend(): scaled-dot-product attention without the T×S matrix.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/attend_half.h>
#include <heed/engine/ops/attend_parts.h>
#include <heed/engine/ops/attention_rows.h>
#include <heed/engine/ops/score.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <cmath>

namespace heed {
namespace {

Complaint shapes_complaint(Tensor const& q, Tensor const& k, Tensor const& v, char const* rule) {
  return {
      fmt::format("{}; got q {}, k {}, v {}", rule, to_string(q.shape()), to_string(k.shape()), to_string(v.shape())),
      "pass q [B, H, T, D], k [B, G, S, D], v [B, G, S, E] with H a multiple of G"};
}

int64_t key_count(Tensor const& k, AttendOptions const& options) {
  return options.pages.defined() ? options.pages.size(1) * k.size(2) : k.size(2);
}

void check_pages(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  Tensor const& pages = options.pages;
  check(pages.dtype() == Dtype::i64 && pages.rank() == 2 && pages.size(0) == q.size(0), "attend", [&] {
    return Complaint{
        fmt::format("expected i64 pages [{}, P], got {} {}", q.size(0), name(pages.dtype()), to_string(pages.shape())),
        "pass a row of page numbers for each sequence"};
  });
  check(k.size(2) % 32 == 0 && k.size(2) > 0, "attend", [&] {
    return Complaint{fmt::format("expected pages of a multiple of 32 keys, got {}", to_string(k.shape())),
                     "k and v are [pages, G, 32·n, D]"};
  });
  check(options.entmax == 1 && options.top_k == 0, "attend", [] {
    return Complaint{"entmax and top_k do not read pages", "gather the pages with index_select() first"};
  });
  for (int64_t page : pages.to_vector<int64_t>())
    check(page >= 0 && page < k.size(0), "attend", [&] {
      return Complaint{fmt::format("page {} is not among the {} of k", page, k.size(0)),
                       "fill unused entries with any page, 0 say, and hide them by lengths()"};
    });
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
  if (options.pages.defined()) check_pages(q, k, options);
  check((options.pages.defined() || q.size(0) == k.size(0)) && k.size(0) == v.size(0), "attend",
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
  check(options.entmax >= 1 && options.top_k >= 0, "attend", [&] {
    return Complaint{fmt::format("expected an alpha of 1 or more and a count of 0 or more, got entmax {} and top_k {}",
                                 options.entmax, options.top_k),
                     "1 and 0 are the softmax over all keys"};
  });
  check(int(bool(options.weight)) + (options.entmax > 1) + (options.top_k > 0 || options.sink.defined()) <= 1, "attend",
        [&] {
          return Complaint{"weight, entmax and (top_k, sink) normalise rows in different ways", "choose one of them"};
        });
  check(!options.sink.defined() || options.sink.shape() == Shape{q.size(1)}, "attend", [&] {
    return Complaint{fmt::format("expected a sink [{}], got {}", q.size(1), to_string(options.sink.shape())),
                     "pass one logit a head"};
  });
  check(options.dropout >= 0 && attend_threshold(std::min(options.dropout, 1.0)) < 65536, "attend", [&] {
    return Complaint{fmt::format("expected a dropout from 0 to below 1, got {}", options.dropout),
                     "pass the share to drop"};
  });
  if (options.mask.defined()) {
    Shape const scores{q.size(0), q.size(1), q.size(2), key_count(k, options)};
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

/// Where the kernels run.
Device device_of(char const* op, Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  return common_device(op, {&q, &k, &v, &options.mask, &options.pages});
}
/// What a kernel reads; single numbers may come from the processor.
Tensor operand(Tensor const& x, Device device) { return rows_contiguous(x.to(device)); }

AttendStrides strides_of(Tensor const& x) { return {x.strides()[0], x.strides()[1], x.strides()[2]}; }

/// The mask with tables in the processor's memory, where its tiles are judged.
Ref<Modification> on_host(RecordedMod const& mask) {
  std::vector<Tensor> tables;
  for (Tensor const& table : mask.tables) tables.push_back(table.detach().to(cpu));
  return with_tables(mask, std::move(tables));
}

/// The programs of a call, kept while its kernels run.
template <class T>
struct Mods {
  AttendOptions const& options;
  ModTables<T> score, sees;
  std::shared_ptr<TilePattern const> pattern;
  Tensor mask, pages;

  /// The pattern may be that of an equal call.
  Mods(AttendOptions const& o, Device device, std::shared_ptr<TilePattern const> of_before = {})
      : options(o),
        score(tables(o.score.get())),
        sees(tables(o.sees.get())),
        pattern(std::move(of_before)),
        mask(o.mask.defined() ? o.mask.to(device) : Tensor()),
        pages(o.pages.defined() ? o.pages.to(device).contiguous() : Tensor()) {}
  static std::vector<Tensor> tables(Modification const* mod) {
    return mod ? recorded(mod)->tables : std::vector<Tensor>{};
  }
  void into(AttendArgs<T>& a) {
    if (options.score) a.score = {recorded(options.score.get())->program.get(), score.views.data()};
    a.direct = bool(options.weight);
    if (!options.sees) return;
    RecordedMod const& mask = *recorded(options.sees.get());
    a.sees = {mask.program.get(), sees.views.data()};
    if (!pattern) pattern = std::make_shared<TilePattern const>(judged(mask, a));
    a.pattern = pattern.get();
  }
  static TilePattern judged(RecordedMod const& mask, AttendArgs<T> const& a) {
    Tiles const tiles = a.tiles();
    PatternSizes const sizes{a.batch, a.heads, a.tq, a.tk, tiles.queries, tiles.keys, a.shift_low(), a.shift_high()};
    bool const here =
        std::all_of(mask.tables.begin(), mask.tables.end(), [](Tensor const& t) { return t.device().is_cpu(); });
    return here ? tile_pattern(mask, sizes) : tile_pattern(*recorded(on_host(mask).get()), sizes);
  }
};

template <class T>
AttendArgs<T> arguments(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options,
                        Mods<T>& mods) {
  for (auto const* tables : {&mods.score.tensors, &mods.sees.tensors})
    for (Tensor const& table : *tables)
      check(table.device() == q.device(), "attend", [&] {
        return Complaint{
            fmt::format("expected operands on one device, got q on {} and what the score or mask reads on {}",
                        to_string(q.device()), to_string(table.device())),
            "make scores and masks of tensors moved with .to()"};
      });
  AttendArgs<T> a{.batch = q.size(0),
                  .heads = q.size(1),
                  .kv_heads = k.size(1),
                  .tq = q.size(2),
                  .tk = key_count(k, options),
                  .d = q.size(3),
                  .dv = v.size(3),
                  .q = q.address<T>(),
                  .q_batch = q.strides()[0],
                  .q_head = q.strides()[1],
                  .q_row = q.strides()[2],
                  .k = k.address<T>(),
                  .k_batch = k.strides()[0],
                  .k_head = k.strides()[1],
                  .k_row = k.strides()[2],
                  .v = v.address<T>(),
                  .v_batch = v.strides()[0],
                  .v_head = v.strides()[1],
                  .v_row = v.strides()[2],
                  .scale = T(scale_of(q, options))};
  a.left = options.left;
  a.right = options.causal ? 0 : options.right;
  if (options.mask.defined()) {
    Tensor const& mask = mods.mask;
    Strides const s = broadcast_strides(mask.shape(), mask.strides(), {a.batch, a.heads, a.tq, a.tk});
    a.mask = static_cast<uint8_t const*>(mask.address());
    a.mask_batch = s[0], a.mask_head = s[1], a.mask_row = s[2], a.mask_col = s[3];
  }
  a.dropout = options.dropout;
  a.seed = options.draw.seed;
  a.offset = options.draw.offset;
  if (options.pages.defined()) {
    a.pages = mods.pages.template address<int64_t>();
    a.page = k.size(2);
    a.page_count = options.pages.size(1);
  }
  mods.into(a);
  return a;
}

/// How many (query, key) pairs causality and windows let see each other, over batch and heads; a mask counts as all
/// true.
double visible_pairs(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  int64_t const t = q.size(2), s = key_count(k, options);
  double pairs = 0;
  for (int64_t i = s - t; i < s; ++i) {
    int64_t const first = options.left < i ? i - options.left : 0;
    int64_t const last = options.causal ? i : options.right < s - 1 - i ? i + options.right : s - 1;
    pairs += double(std::max(last - first + 1, int64_t{0}));
  }
  return pairs * double(q.size(0) * q.size(1));
}

/// A [B, H, T, E] tensor whose memory is [B, T, H, E], so that joining the heads afterwards is a view.
Tensor heads_together(int64_t b, int64_t h, int64_t t, int64_t e, Dtype dtype, Device device = cpu) {
  return Tensor({b, t, h, e}, dtype, device).transpose(1, 2);
}

Tensor with_layout_of(Tensor const& x) {
  return x.is_contiguous() ? Tensor(x.shape(), x.dtype(), x.device())
                           : heads_together(x.size(0), x.size(1), x.size(2), x.size(3), x.dtype(), x.device());
}

/// With `weight`, the score's program and the weight's as one, which then gives weights.
AttendOptions with_one_program(AttendOptions options) {
  if (options.weight) options.score = options.score | options.weight;
  return options;
}

/// The tables of a program, which get gradients.
std::vector<Tensor> tables_of(ScoreMod const& mod) { return mod ? recorded(mod.get())->tables : std::vector<Tensor>{}; }

/// The same modification of other tables.
ScoreMod with_tables(ScoreMod const& mod, std::vector<Tensor> tables) {
  return mod ? ScoreMod(with_tables(*recorded(mod.get()), std::move(tables))) : mod;
}

/// Where the kernels sum up the gradients of the tables of options.score that are wanted.
template <class T>
class TableGradients {
 public:
  TableGradients(AttendOptions const& options, Mods<T> const& mods, std::vector<bool> wanted)
      : tables_(tables_of(options.score)), wanted_(std::move(wanted)), views_(mods.score.views), sums_(tables_.size()) {
    if (!options.score) return;
    Program const& program = *recorded(options.score.get())->program;
    slope_ = program.read_gradient(wanted_);
    for (int table : program.loads(wanted_)) {
      ProgramTableView<T> const& view = views_[size_t(table)];
      int64_t const elements = mods.score.tensors[size_t(table)].numel();
      Tensor& sum = sums_[size_t(table)];  // of each part of the work
      if (!sum.defined())
        sum = zeros({AttendSink::most_parts, elements}, Dtype::f64, mods.score.tensors[size_t(table)].device());
      AttendSink sink{sum.address<double>(), elements, {}, {}};
      for (int axis = 0; axis < 3; ++axis) sink.size[axis] = view.size[axis], sink.stride[axis] = view.stride[axis];
      sinks_.push_back(sink);
    }
  }
  void into(AttendGradArgs<T>& to) const {
    to.slope = {slope_.get(), views_.data()};
    to.sinks = sinks_.data();
    to.sink_count = int(sinks_.size());
  }
  std::vector<Tensor> results() const {
    std::vector<Tensor> gradients(tables_.size());
    for (size_t t = 0; t < tables_.size(); ++t) {
      if (!wanted_[t]) continue;
      Tensor const& x = tables_[t];
      gradients[t] = sums_[t].defined() && x.numel() ? sum(sums_[t], {0}).reshape(x.shape()).to(x.dtype())
                                                     : zeros(x.shape(), x.dtype(), x.device());
    }
    return gradients;
  }

 private:
  std::vector<Tensor> tables_;
  std::vector<bool> wanted_;
  std::vector<ProgramTableView<T>> const& views_;
  std::shared_ptr<Program const> slope_;
  std::vector<AttendSink> sinks_;
  std::vector<Tensor> sums_;
};

AttendGradients backward(Tensor const& q, Tensor const& k, Tensor const& v, Tensor const& out, Tensor const& lse,
                         Tensor const* g, AttendOptions const& options,
                         std::shared_ptr<TilePattern const> const& pattern, std::vector<bool> const& wanted) {
  Tensor const dout = rows_contiguous(g[0].defined() ? g[0] : zeros(out.shape(), out.dtype(), out.device()));
  Tensor const dlse = lse.defined() && g[1].defined() ? g[1].contiguous() : Tensor();
  AttendGradients d{with_layout_of(q), with_layout_of(k), with_layout_of(v), {}};
  // Five products: the scores again, dP and dV, dQ and dK.
  Observed const watch("attend", {&q, &k, &v, &out, &lse, &dout, &dlse, &options.mask}, {&d.dq, &d.dk, &d.dv},
                       [&] { return 2 * visible_pairs(q, k, options) * double(3 * q.size(3) + 2 * v.size(3)); });
  dispatch_floating("attend", q.dtype(), [&]<class T>(Type<T>) {
    Mods<T> mods(options, q.device(), pattern);
    AttendArgs<T> const a = arguments<T>(q, k, v, options, mods);
    AttendGradArgs<T> gradients{.out = out.address<T>(),
                                .out_strides = strides_of(out),
                                .lse = lse.defined() ? lse.address<T>() : nullptr,
                                .dout = dout.address<T>(),
                                .dout_strides = strides_of(dout),
                                .dlse = dlse.defined() ? dlse.address<T>() : nullptr,
                                .dq = d.dq.address<T>(),
                                .dq_strides = strides_of(d.dq),
                                .dk = d.dk.address<T>(),
                                .dk_strides = strides_of(d.dk),
                                .dv = d.dv.address<T>(),
                                .dv_strides = strides_of(d.dv)};
    TableGradients<T> sums(options, mods, wanted);
    sums.into(gradients);
    kernels<AttendKernels>(q.device(), "attend").of<T>().backward(a, gradients);
    d.tables = sums.results();
  });
  return d;
}

/// From g, which has the shape of score_sum's result: gradients of q, k and of the tables of options.score, in that
/// order.
std::vector<Tensor> sum_backward(Tensor const& q, Tensor const& k, Tensor const& g, AttendOptions const& options,
                                 bool over_queries, std::vector<bool> const& wanted) {
  Tensor const dq = with_layout_of(q), dk = with_layout_of(k);
  std::vector<Tensor> result{dq, dk};
  Observed const watch("score_sum", {&q, &k, &g, &options.mask}, {&dq, &dk},
                       [&] { return 6 * visible_pairs(q, k, options) * double(q.size(3)); });
  dispatch_floating("score_sum", q.dtype(), [&]<class T>(Type<T>) {
    Mods<T> mods(options, q.device());
    TableGradients<T> tables(options, mods, wanted);
    AttendGradArgs<T> to{};
    to.dq = dq.address<T>(), to.dq_strides = strides_of(dq);
    to.dk = dk.address<T>(), to.dk_strides = strides_of(dk);
    tables.into(to);
    Tensor const rows = g.contiguous();
    kernels<AttendRowsKernels>(q.device(), "attend")
        .of<T>()
        .sum_backward(arguments<T>(q, k, k, options, mods), over_queries, rows.address<T>(), to);
    for (Tensor const& table : tables.results()) result.push_back(table);
  });
  return result;
}

/// Records a function y of scores, whose inputs are q, k and the tables of options.score: gradient(q, k, g, tables
/// wanted, node) gives theirs, and twin(q, k, options) is the same function as a composition.
template <class Twin, class Gradient>
void record_scores(char const* op, Tensor& y, Tensor const& q, Tensor const& k, AttendOptions const& options,
                   Twin const& twin, Gradient const& gradient) {
  std::vector<Tensor> const tables = tables_of(options.score);
  if (!tracked(q, k) && !tracked(tables)) return;
  std::vector<Tensor> in{q, k};
  in.insert(in.end(), tables.begin(), tables.end());
  record_many(op, y, in,
              [saved = std::vector<Saved>(in.begin(), in.end()), mask = Saved(options.mask), options, twin, gradient](
                  Tensor const& g, Node const& node) {
                mask.get(node);
                std::vector<Tensor> x;
                for (Saved const& s : saved) x.push_back(s.get(node));
                if (recording()) {
                  x = twin_inputs(x);
                  AttendOptions again = options;
                  again.score = with_tables(options.score, {x.begin() + 2, x.end()});
                  return twin_gradients({twin(x[0], x[1], again)}, x, {g});
                }
                std::vector<bool> wanted;
                for (size_t t = 2; t < x.size(); ++t) wanted.push_back(node.needs(int(t)));
                return gradient(x[0], x[1], g, wanted, node);
              });
}

/// max((α − 1)·s − τ, 0)^power
Symbol entmax_power(Symbol s, Symbol tau, double alpha, double power) {
  Symbol const x = s * (alpha - 1) - tau;
  Symbol const value = power == 0 ? Symbol(1.) : power == 1 ? x : power == 2 ? x * x : pow(max(x, 1e-30), power);
  return select(x > 0., value, 0.);
}
ScoreMod entmax_weight(Tensor const& tau, double alpha, double shift, double less = 0) {
  return [&](auto s, auto at) {
    return entmax_power(s, read(tau, {at.b, at.h, at.i - shift}), alpha, 1 / (alpha - 1) - less);
  };
}
/// s where it is at least the row's `least`, else −∞.
ScoreMod at_least(Tensor const& least, double shift) {
  return [&](auto s, auto at) {
    return select(s >= read(least, {at.b, at.h, at.i - shift}), s, -std::numeric_limits<double>::infinity());
  };
}

/// What makes scores, without what makes weights of them.
AttendOptions scores_alone(AttendOptions options) {
  options.weight = {}, options.sink = Tensor(), options.entmax = 1, options.dropout = 0;
  return options;
}

/// [B, H, T]; parameter is α or k (ops/attend.h).
Tensor row_threshold(Tensor const& q_in, Tensor const& k_in, RowThreshold kind, double parameter,
                     AttendOptions const& options) {
  Device const device = device_of("attend", q_in, k_in, k_in, options);
  Tensor const q = operand(q_in, device), k = operand(k_in, device);
  Tensor tau({q.size(0), q.size(1), q.size(2)}, q.dtype(), device);
  {
    Observed const watch("row_threshold", {&q, &k, &options.mask}, {&tau},
                         [&] { return 2 * visible_pairs(q, k, options) * double(q.size(3)); });
    dispatch_floating("attend", q.dtype(), [&]<class T>(Type<T>) {
      Mods<T> mods(options, q.device());
      kernels<AttendRowsKernels>(q.device(), "attend")
          .of<T>()
          .threshold(arguments<T>(q, k, k, options, mods), kind, parameter, tau.address<T>());
    });
  }
  double const shift = double(k.size(2) - q.size(2));
  record_scores(
      "row_threshold", tau, q, k, options,
      [](Tensor const&, Tensor const&, AttendOptions const&) -> Tensor {
        fail("attend", {"second derivatives of entmax and of maxima are not recorded by the fused core",
                        "use attention_weights(), which holds the weights, where they are needed"});
      },
      // G(s, τ) = Σ_j w_j = 1, so dτ = Σ_j (∂G/∂s_j) ds_j / (−∂G/∂τ), −∂G/∂τ = Σ_j w_j^(2−α) / (α − 1). For the k-th
      // largest, G = Σ_j s_j over the scores that equal τ.
      [options, kind, parameter, shift, level = SavedOutput(tau)](Tensor const& q2, Tensor const& k2, Tensor const& g,
                                                                  std::vector<bool> wanted, Node const& node) {
        Tensor const at = level.get(node);
        AttendOptions with = options;
        Tensor rate;
        if (kind == RowThreshold::entmax) {
          Tensor const slope = score_sum(q2, k2, entmax_weight(at, parameter, shift, 1), options);
          rate = where(slope > 0.0, g * (parameter - 1) / slope, 0.0);
          with.score = with.score | entmax_weight(at, parameter, shift);
        } else {
          ScoreMod const equal = [&](auto s, auto p) { return select(s == read(at, {p.b, p.h, p.i - shift}), s, 0.); };
          ScoreMod const one = [&](auto s, auto p) {
            return select(s == read(at, {p.b, p.h, p.i - shift}), Symbol(1.), 0.);
          };
          rate = g / clamp_min(score_sum(q2, k2, one, options), 1);
          with.score = with.score | equal;
        }
        size_t const own = wanted.size();
        wanted.push_back(false);  // τ's table
        auto d = sum_backward(q2, k2, rate, with, false, wanted);
        d.resize(2 + own);
        return d;
      });
  return tau;
}

/// top_k as a change of scores. Which keys it leaves does not change with small changes of q and k.
AttendOptions top_k_as_score(Tensor const& q, Tensor const& k, AttendOptions options) {
  int64_t const count = options.top_k;
  options.top_k = 0;
  if (count == 0 || count >= k.size(2)) return options;
  NoGrad const off;
  Tensor const least = row_threshold(q, k, RowThreshold::below_largest, double(count), options);
  options.score = options.score | at_least(least, double(k.size(2) - q.size(2)));
  return options;
}

/// A sink is a part of the keys with log-sum-exp `sink` and values 0.
Attended with_sink(Attended const& y, Tensor const& sink) {
  Tensor const logit = sink.to(y.lse.dtype()).unsqueeze(1);
  return {y.out * sigmoid(y.lse - logit).unsqueeze(-1).to(y.out.dtype()), logaddexp(y.lse, logit)};
}

Attended fused(Tensor const& q_in, Tensor const& k_in, Tensor const& v_in, AttendOptions const& given) {
  AttendOptions const options = with_one_program(given);
  Device const device = device_of("attend", q_in, k_in, v_in, options);
  Tensor const q = operand(q_in, device), k = operand(k_in, device), v = operand(v_in, device);
  std::vector<Tensor> const tables = tables_of(options.score);
  std::vector<Tensor> outputs(2);
  std::shared_ptr<TilePattern const> pattern;
  {
    NoGrad const off;
    outputs[0] = heads_together(q.size(0), q.size(1), q.size(2), v.size(3), q.dtype(), device);
    if (!options.weight) outputs[1] = Tensor({q.size(0), q.size(1), q.size(2)}, q.dtype(), device);
    outputs[0].body()->is_view = false;
  }
  Observed const watch("attend", {&q, &k, &v, &options.mask}, {&outputs[0], &outputs[1]},
                       [&] { return 2 * visible_pairs(q, k, options) * double(q.size(3) + v.size(3)); });
  dispatch_floating("attend", q.dtype(), [&]<class T>(Type<T>) {
    Mods<T> mods(options, q.device());
    kernels<AttendKernels>(device, "attend")
        .of<T>()
        .forward(arguments<T>(q, k, v, options, mods), outputs[0].address<T>(), strides_of(outputs[0]),
                 outputs[1].defined() ? outputs[1].address<T>() : nullptr);
    pattern = mods.pattern;
  });
  if (!tracked(q, k, v) && !tracked(tables)) return {outputs[0], outputs[1]};
  check(!options.pages.defined(), "attend", [] {
    return Complaint{"pages have no gradients", "decode under NoGrad, or gather the pages with index_select() first"};
  });
  auto gradient = [q = Saved(q), k = Saved(k), v = Saved(v), out = SavedOutput(outputs[0], 0),
                   lse = outputs[1].defined() ? SavedOutput(outputs[1], 1) : SavedOutput(), mask = Saved(options.mask),
                   saved = std::vector<Saved>(tables.begin(), tables.end()), given, options,
                   pattern](Tensor const* g, Node const& node) {
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
      auto const middle = in.begin() + 3 + std::ptrdiff_t(tables_of(given.score).size());
      twin_options.score = with_tables(given.score, {in.begin() + 3, middle});
      twin_options.weight = with_tables(given.weight, {middle, in.end()});
      auto const twin = naive::attend(in[0], in[1], in[2], twin_options);
      return given.weight ? twin_gradients({twin.out}, in, {g[0]})
                          : twin_gradients({twin.out, twin.lse}, in, {g[0], g[1]});
    }
    auto const d = backward(q.get(node), k.get(node), v.get(node), out.get(node),
                            given.weight ? Tensor() : lse.get(node), g, options, pattern, wanted);
    std::vector<Tensor> all{d.dq, d.dk, d.dv};
    all.insert(all.end(), d.tables.begin(), d.tables.end());
    return all;
  };
  std::vector<Tensor> in{q, k, v};
  in.insert(in.end(), tables.begin(), tables.end());
  record_lists("attend", outputs, in, std::move(gradient));
  return {outputs[0], outputs[1]};
}

/// Whether rows of a 16-bit operand are whole groups of 16 bytes.
bool aligned(Tensor const& x) {
  bool all = reinterpret_cast<uintptr_t>(x.address()) % 16 == 0 && x.strides()[3] == 1;
  for (int axis = 0; axis < 3; ++axis) all = all && x.strides()[axis] % 8 == 0;
  return all;
}

/// Whether the call is one for an accelerator's matrix units.
bool on_matrix_units(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& o) {
  bool const plain = !o.mask.defined() && !o.score && !o.sees && !o.weight && !o.sink.defined() && !o.pages.defined() &&
                     o.entmax == 1 && o.top_k == 0 && o.dropout == 0 && scale_of(q, o) > 0;
  return plain && !q.device().is_cpu() && is_half(q.dtype()) && q.size(3) == v.size(3) &&
         (q.size(3) == 64 || q.size(3) == 128) && q.numel() > 0 && k.numel() > 0 && aligned(q) && aligned(k) &&
         aligned(v);
}

template <class F>
void dispatch_half(Dtype dtype, F const& f) {
  if (dtype == Dtype::bf16)
    f(Type<bfloat16>{});
  else
    f(Type<float16>{});
}

template <class E>
AttendHalfArgs<E> half_arguments(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  AttendArgs<float> a{};  // what it makes of the window
  a.tq = q.size(2), a.tk = k.size(2), a.left = options.left, a.right = options.causal ? 0 : options.right;
  return {.batch = q.size(0),
          .heads = q.size(1),
          .kv_heads = k.size(1),
          .tq = q.size(2),
          .tk = k.size(2),
          .d = q.size(3),
          .q = q.address<E>(),
          .k = k.address<E>(),
          .v = v.address<E>(),
          .q_strides = strides_of(q),
          .k_strides = strides_of(k),
          .v_strides = strides_of(v),
          .scale = float(scale_of(q, options)),
          .shift_low = a.shift_low(),
          .shift_high = a.shift_high()};
}

AttendGradients half_backward(Tensor const& q, Tensor const& k, Tensor const& v, Tensor const& out, Tensor const& lse,
                              Tensor const* g, AttendOptions const& options) {
  Tensor const given = g[0].defined() ? g[0] : zeros(out.shape(), out.dtype(), out.device());
  Tensor const dout = aligned(given) ? given : given.clone();
  Tensor const dlse = g[1].defined() ? g[1].contiguous() : Tensor();
  AttendGradients d{with_layout_of(q), with_layout_of(k), with_layout_of(v), {}};
  Observed const watch("attend", {&q, &k, &v, &out, &lse, &dout, &dlse}, {&d.dq, &d.dk, &d.dv},
                       [&] { return 2 * visible_pairs(q, k, options) * double(3 * q.size(3) + 2 * v.size(3)); });
  dispatch_half(q.dtype(), [&]<class E>(Type<E>) {
    device_kernels<AttendHalfKernels>(q.device(), "attend")
        .of<E>()
        .backward(half_arguments<E>(q, k, v, options), {.out = out.address<E>(),
                                                        .dout = dout.address<E>(),
                                                        .out_strides = strides_of(out),
                                                        .dout_strides = strides_of(dout),
                                                        .lse = lse.address<float>(),
                                                        .dlse = dlse.defined() ? dlse.address<float>() : nullptr,
                                                        .dq = d.dq.address<E>(),
                                                        .dk = d.dk.address<E>(),
                                                        .dv = d.dv.address<E>(),
                                                        .dq_strides = strides_of(d.dq),
                                                        .dk_strides = strides_of(d.dk),
                                                        .dv_strides = strides_of(d.dv)});
  });
  return d;
}

/// fused() in 16 bits.
Attended half(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  Device const device = common_device("attend", {&q, &k, &v});
  std::vector<Tensor> outputs(2);
  {
    NoGrad const off;
    outputs[0] = heads_together(q.size(0), q.size(1), q.size(2), v.size(3), q.dtype(), device);
    outputs[1] = Tensor({q.size(0), q.size(1), q.size(2)}, Dtype::f32, device);
    outputs[0].body()->is_view = false;
  }
  {
    Observed const watch("attend", {&q, &k, &v}, {&outputs[0], &outputs[1]},
                         [&] { return 2 * visible_pairs(q, k, options) * double(q.size(3) + v.size(3)); });
    dispatch_half(q.dtype(), [&]<class E>(Type<E>) {
      device_kernels<AttendHalfKernels>(device, "attend")
          .of<E>()
          .forward(half_arguments<E>(q, k, v, options), outputs[0].address<E>(), strides_of(outputs[0]),
                   outputs[1].address<float>());
    });
  }
  if (!tracked(q, k, v)) return {outputs[0], outputs[1]};
  record_lists("attend", outputs, {q, k, v},
               [q = Saved(q), k = Saved(k), v = Saved(v), out = SavedOutput(outputs[0], 0),
                lse = SavedOutput(outputs[1], 1), options](Tensor const* g, Node const& node) {
                 if (recording()) {
                   auto const in = twin_inputs({q.get(node), k.get(node), v.get(node)});
                   auto const twin = naive::attend(widened(in[0]), widened(in[1]), widened(in[2]), options);
                   return twin_gradients({twin.out.to(in[0].dtype()), twin.lse}, in, {g[0], g[1]});
                 }
                 auto const d =
                     half_backward(q.get(node), k.get(node), v.get(node), out.get(node), lse.get(node), g, options);
                 return std::vector<Tensor>{d.dq, d.dk, d.dv};
               });
  return {outputs[0], outputs[1]};
}

}  // namespace

Attended attend(Tensor const& q_in, Tensor const& k_in, Tensor const& v_in, AttendOptions const& given) {
  if (autocasts(q_in) || autocasts(k_in) || autocasts(v_in))
    return attend(autocast(q_in), autocast(k_in), autocast(v_in), given);
  check_operands(q_in, k_in, v_in, given);
  if (is_half(q_in.dtype())) {
    if (on_matrix_units(q_in, k_in, v_in, given)) return half(q_in, k_in, v_in, given);
    Attended const y = product_in_f32([&](auto const&... wide) { return attend(wide..., given); }, q_in, k_in, v_in);
    return {y.out.to(q_in.dtype()), y.lse};
  }
  AttendOptions plain = given;
  plain.sink = Tensor(), plain.entmax = 1, plain.top_k = 0;
  if (given.sink.defined()) {
    plain.top_k = given.top_k;
    return with_sink(attend(q_in, k_in, v_in, plain), given.sink);
  }
  if (given.entmax > 1) {
    plain.weight = entmax_weight(row_threshold(q_in, k_in, RowThreshold::entmax, given.entmax, plain), given.entmax,
                                 double(k_in.size(2) - q_in.size(2)));
    return attend(q_in, k_in, v_in, plain);
  }
  return fused(q_in, k_in, v_in, top_k_as_score(q_in, k_in, given));
}

namespace {

/// The position of the first of all queries.
int64_t first_position(Tensor const& q, Tensor const& k) { return k.size(2) - q.size(2); }

/// A modification's inputs besides the score, which broadcast to [B, H, T, S]; the first query's position is `first`.
std::vector<Tensor> position_inputs(Tensor const& score, Tensor const& q, Tensor const& k, int64_t first) {
  Dtype const dtype = q.dtype();
  int64_t const t = q.size(2), s = k.size(2);
  auto const there = [&](Tensor const& positions) { return positions.to(dtype).to(q.device()); };
  return {score, there(arange(q.size(0))).reshape({-1, 1, 1, 1}), there(arange(q.size(1))).reshape({-1, 1, 1}),
          there(arange(t) + first).unsqueeze(1), there(arange(s))};
}

/// bool, broadcasts to [B, H, T, S]: what query i may see of key j.
Tensor visible(Tensor const& q, Tensor const& k, AttendOptions const& options, int64_t first) {
  int64_t const t = q.size(2), s = k.size(2);
  Tensor const i = (arange(t) + double(first)).unsqueeze(1), j = arange(s);
  Tensor seen = (j - i) <= (options.causal ? 0.0 : double(options.right));
  seen = (seen & ((i - j) <= double(options.left))).to(q.device());
  if (options.sees)
    seen = seen & (apply_mod(*recorded(options.sees.get()),
                             position_inputs(zeros({}, q.dtype(), q.device()), q, k, first)) != 0.0);
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

Tensor modified(ScoreMod const& mod, Tensor const& scores, Tensor const& q, Tensor const& k, int64_t first) {
  if (!mod) return scores;
  return apply_mod(*recorded(mod.get()), position_inputs(scores, q, k, first)).expand(scores.shape());
}

Tensor with_sink_lse(Tensor const& lse, AttendOptions const& options) {
  return options.sink.defined() ? logaddexp(lse, options.sink.to(lse.dtype()).unsqueeze(1)) : lse;
}

/// dense_scores() of queries that begin at position `first`; options.mask has their rows.
Tensor scores_from(Tensor const& q, Tensor const& k, AttendOptions const& options, int64_t first) {
  Tensor const seen = visible(q, k, options, first).expand({q.size(0), q.size(1), q.size(2), k.size(2)});
  constexpr double nothing = -std::numeric_limits<double>::infinity();
  Tensor const products = matmul(q, used_rows(k, seen, q.size(1)).t()) * scale_of(q, options);
  Tensor const scores = masked_fill(modified(options.score, products, q, k, first), !seen, nothing);
  if (options.top_k == 0 || options.top_k >= k.size(2)) return scores;
  Tensor const least = topk(scores.detach(), options.top_k).values.slice(-1, options.top_k - 1, options.top_k);
  return masked_fill(scores, scores < least, nothing);
}

}  // namespace

Tensor dense_scores(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  check_operands(q, k, k, options);
  return scores_from(q, k, options, first_position(q, k));
}

std::vector<Tensor> score_tables(AttendOptions const& options) { return tables_of(with_one_program(options).score); }

AttendGradients attend_gradients(Tensor const& q, Tensor const& k, Tensor const& v, Attended const& all,
                                 Attended const& g, AttendOptions const& options, std::vector<bool> const& tables) {
  Tensor const gradients[] = {g.out, g.lse};
  return backward(rows_contiguous(q), rows_contiguous(k), rows_contiguous(v), rows_contiguous(all.out),
                  options.weight ? Tensor() : all.lse.contiguous(), gradients, with_one_program(options), {}, tables);
}

Attended merge(Attended const& a, Attended const& b) {
  check_defined("merge", a.lse);
  check_defined("merge", b.lse);
  check(a.out.shape() == b.out.shape() && a.lse.shape() == b.lse.shape(), "merge", [&] {
    return Complaint{
        fmt::format("expected parts of one shape, got {} and {}", to_string(a.out.shape()), to_string(b.out.shape())),
        "attend with the same queries to both parts of the keys"};
  });
  Tensor const lse = logaddexp(a.lse, b.lse);
  Tensor const safe = where(lse == -std::numeric_limits<double>::infinity(), 0.0, lse);
  auto const part = [&](Attended const& x) { return x.out * exp(x.lse - safe).unsqueeze(-1).to(x.out.dtype()); };
  return {part(a) + part(b), lse};
}

Tensor score_sum(Tensor const& q_in, Tensor const& k_in, ScoreMod const& f, AttendOptions const& given,
                 bool over_queries) {
  if (is_half(q_in.dtype())) return score_sum(widened(q_in), widened(k_in), f, given, over_queries);
  AttendOptions options = scores_alone(given);
  check_operands(q_in, k_in, k_in, options);
  options = top_k_as_score(q_in, k_in, options);
  check(bool(f), "score_sum", [] { return Complaint{"there is no function", "pass f(score, position)"}; });
  options.score = options.score | f;
  Device const device = device_of("score_sum", q_in, k_in, k_in, options);
  Tensor const q = operand(q_in, device), k = operand(k_in, device);
  Tensor y({q.size(0), q.size(1), over_queries ? k.size(2) : q.size(2)}, q.dtype(), device);
  {
    Observed const watch("score_sum", {&q, &k, &options.mask}, {&y},
                         [&] { return 2 * visible_pairs(q, k, options) * double(q.size(3)); });
    dispatch_floating("score_sum", q.dtype(), [&]<class T>(Type<T>) {
      Mods<T> mods(options, q.device());
      kernels<AttendRowsKernels>(q.device(), "attend")
          .of<T>()
          .sum(arguments<T>(q, k, k, options, mods), over_queries, y.address<T>());
    });
  }
  record_scores(
      "score_sum", y, q, k, options,
      [over_queries](Tensor const& q2, Tensor const& k2, AttendOptions const& again) {
        return naive::score_sum(q2, k2, again, over_queries);
      },
      [options, over_queries](Tensor const& q2, Tensor const& k2, Tensor const& g, std::vector<bool> const& wanted,
                              Node const&) { return sum_backward(q2, k2, g, options, over_queries, wanted); });
  return y;
}

Tensor attention_entropy(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options) {
  // p·(lse − s), and 0 where p is
  double const shift = double(k.size(2) - q.size(2));
  return score_sum(
      q, k,
      [&](auto s, auto at) {
        auto const surprise = read(lse, {at.b, at.h, at.i - shift}) - s, p = exp(-surprise);
        return select(p > 0., p * surprise, 0.);
      },
      options);
}
Tensor attention_effective_count(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options) {
  return 1.0 / attention_probe(
                   q, k, lse, [](auto p, auto, auto) { return p * p; }, options);
}
Tensor attention_max(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options) {
  if (is_half(q.dtype())) return attention_max(widened(q), widened(k), lse, options);
  AttendOptions plain = scores_alone(options);
  check_operands(q, k, k, plain);
  plain.top_k = 0;  // the largest is among them
  Tensor const top = row_threshold(q, k, RowThreshold::largest, 1, plain);
  Tensor const none = top == -std::numeric_limits<double>::infinity();
  return where(none, 0.0, exp(where(none, 0.0, top) - where(none, 0.0, lse)));
}
Tensor attention_distance(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options) {
  return attention_probe(
      q, k, lse, [](auto p, auto, auto at) { return p * abs(at.i - at.j); }, options);
}
Tensor attention_received(Tensor const& q, Tensor const& k, Tensor const& lse, AttendOptions const& options) {
  return attention_probe(
      q, k, lse, [](auto p, auto, auto) { return p; }, options, true);
}

Tensor entmax(Tensor const& x, double alpha, int axis) {
  check_defined("entmax", x);
  check(alpha >= 1, "entmax", [&] {
    return Complaint{fmt::format("expected an alpha of 1 or more, got {}", alpha), "1 is softmax, 2 sparsemax"};
  });
  if (alpha == 1) return softmax(x, axis);
  if (x.numel() == 0 || x.rank() == 0) return x.rank() == 0 ? ones({}, x.dtype(), x.device()) : x * 1.0;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  double const power = 1 / (alpha - 1);
  Tensor const unseen = x == -infinity;
  Tensor const z = masked_fill(x, unseen, 0.0) * (alpha - 1);
  auto const raised = [&](Tensor const& tau, double to) {
    Tensor const over = z - tau, in = (over > 0.0) & !unseen;
    return where(in, pow(where(in, over, 1.0), to), 0.0);
  };
  Tensor tau, curvature;
  {
    NoGrad const off;
    Tensor const top = amax(masked_fill(z, unseen, -infinity), {axis}, true);
    Tensor low = top - 1.0, high = top;
    for (int step = 0; step < 60; ++step) {  // halving, as far as f64 goes
      tau = (low + high) * 0.5;
      Tensor const above = sum(raised(tau, power), {axis}, true) > 1.0;
      low = where(above, tau, low);
      high = where(above, high, tau);
    }
    curvature =
        sum(raised(tau, power - 2), {axis}, true) / sum(raised(tau, power - 1), {axis}, true) * ((power - 1) / 2);
  }
  // Halley's step from the solution changes nothing but the derivatives, the first two of which are the solution's.
  Tensor const step =
      (sum(raised(tau, power), {axis}, true) - 1.0) / (sum(raised(tau, power - 1), {axis}, true) * power);
  return raised(tau + step + curvature * step * step, power);
}

Tensor naive::score_sum(Tensor const& q, Tensor const& k, AttendOptions const& options, bool over_queries) {
  AttendOptions open = options;
  open.score = {};
  Tensor const products = dense_scores(q, k, open), hidden = products == -std::numeric_limits<double>::infinity();
  Tensor const scores = modified(options.score, masked_fill(products, hidden, 0.0), q, k, first_position(q, k));
  return sum(masked_fill(scores, hidden, 0.0), {over_queries ? 2 : 3});
}

namespace {

struct Weights {
  Tensor p, lse;  // [B, H, T, S], and [B, H, T] where the weights are a softmax
};

Weights weights_of(Tensor const& q, Tensor const& k, AttendOptions const& options, int64_t first) {
  Tensor const scores = scores_from(q, k, options, first), hidden = scores == -std::numeric_limits<double>::infinity();
  if (options.weight)
    return {masked_fill(modified(options.weight, masked_fill(scores, hidden, 0.0), q, k, first), hidden, 0.0), {}};
  if (options.entmax > 1) return {entmax(scores, options.entmax), {}};
  // A query that sees nothing has weights 0, not 0/0.
  Tensor const lse = with_sink_lse(naive::logsumexp(scores, -1), options),
               none = lse == -std::numeric_limits<double>::infinity();
  return {exp(scores - where(none, 0.0, lse).unsqueeze(-1)), lse};
}

}  // namespace

Tensor attention_weights(Tensor const& q, Tensor const& k, AttendOptions const& options) {
  check_operands(q, k, k, options);
  return weights_of(q, k, options, first_position(q, k)).p;
}

Tensor attention_rows(Tensor const& q, Tensor const& k, int64_t from, int64_t to, AttendOptions const& options) {
  check_operands(q, k, k, options);
  check(0 <= from && from <= to && to <= q.size(2), "attention_rows", [&] {
    return Complaint{fmt::format("rows {} to {} are not among the {} queries", from, to, q.size(2)),
                     "pass 0 <= from <= to <= T"};
  });
  AttendOptions some = options;
  if (some.mask.defined() && some.mask.rank() >= 2 && some.mask.size(-2) > 1) some.mask = some.mask.slice(-2, from, to);
  return weights_of(q.slice(2, from, to), k, some, first_position(q, k) + from).p;
}

namespace {

/// Pages as the keys or values [B, G, S, D] that they stand for.
Tensor gathered(Tensor const& x, Tensor const& pages) {
  int64_t const b = pages.size(0), p = pages.size(1), g = x.size(1), page = x.size(2), d = x.size(3);
  return index_select(x, 0, pages.reshape({b * p}))
      .reshape({b, p, g, page, d})
      .transpose(1, 2)
      .reshape({b, g, p * page, d});
}

}  // namespace

Attended naive::attend(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options) {
  check_operands(q, k, v, options);
  if (options.pages.defined()) {
    AttendOptions whole = options;
    whole.pages = Tensor();
    return naive::attend(q, gathered(k, options.pages), gathered(v, options.pages), whole);
  }
  auto [weights, lse] = weights_of(q, k, options, first_position(q, k));
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
    weights = weights * (tensor(keep, weights.shape()).to(weights.dtype()).to(weights.device()) / kept);
  }
  Tensor const seen = visible(q, k, options, first_position(q, k)).expand(weights.shape());
  return {matmul(weights, used_rows(v, seen, q.size(1))), lse};
}

}  // namespace heed
