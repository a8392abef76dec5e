#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {
namespace {

bool has_softmax(AttendOptions const& options) {
  return !options.weight && !options.sink.defined() && options.entmax == 1 && options.top_k == 0;
}

}  // namespace

void Parts::add(std::string name, std::unique_ptr<Part> part) {
  for (Named const& p : parts_)
    check(!(p.part->is_core() && part->is_core()), "attention", [&] {
      return Complaint{fmt::format("'{}' and '{}' both stand in the core's place", p.name, name), "name one of them"};
    });
  parts_.push_back({std::move(name), std::move(part)});
}

namespace {

/// f(row its positions begin at, run) for the runs of positions that these rows are.
template <class F>
void for_each_run(int64_t rows, F const& f) {
  int64_t row = 0;
  for (PositionRun const& run : SequenceScope::current()->runs()) {
    f(row, run);
    row += run.size();
  }
  check(row == rows, "attention", [&] {
    return Complaint{fmt::format("expected the {} positions of a part of a sequence, got {}", row, rows),
                     "pass the rows of this part"};
  });
}
Tensor joined(std::vector<Tensor> const& parts, int axis) { return parts[0].defined() ? cat(parts, axis) : Tensor(); }

}  // namespace

Tensor Parts::embed(Tensor x, int64_t past) const {
  if (!parts_.empty() && SequenceScope::current()) {
    std::vector<Tensor> runs;
    for_each_run(x.size(1), [&](int64_t row, PositionRun const& run) {
      Tensor own = x.slice(1, row, row + run.size());
      for (Named const& p : parts_) own = p.part->embed(own, run.from);
      runs.push_back(own);
    });
    return cat(runs, 1);
  }
  for (Named const& p : parts_) x = p.part->embed(x, past);
  return x;
}
void Parts::project(HeadOperands& o) const {
  if (!parts_.empty() && SequenceScope::current()) {
    std::vector<Tensor> q, k, v, carried, first;
    bool set_first = false;
    AttendOptions options = o.options;
    for_each_run(o.q.size(2), [&](int64_t row, PositionRun const& run) {
      HeadOperands own = o;
      int64_t const end = row + run.size();
      own.x = o.x.slice(1, row, end), own.source = o.source.slice(1, row, end), own.past = run.from;
      own.q = o.q.slice(2, row, end), own.k = o.k.slice(2, row, end), own.v = o.v.slice(2, row, end);
      Tensor const given = o.first_values && o.first_values->defined() ? o.first_values->slice(2, row, end) : Tensor();
      Tensor values = given;
      if (o.first_values) own.first_values = &values;
      for (Named const& p : parts_) p.part->project(own);
      first.push_back(values);
      set_first = set_first || values.body() != given.body();
      q.push_back(own.q), k.push_back(own.k), v.push_back(own.v), carried.push_back(own.carried);
      options = own.options;
    });
    o.options = options;
    o.q = joined(q, 2), o.k = joined(k, 2), o.v = joined(v, 2), o.carried = joined(carried, 2);
    if (set_first) *o.first_values = joined(first, 2);
    return;
  }
  for (Named const& p : parts_) p.part->project(o);
}
void Parts::options(HeadOperands& o) const {
  auto const* const seen_before = o.options.sees.get();
  for (Named const& p : parts_) p.part->options(o);
  for (Named const& p : parts_) p.part->normalise(o);
  AttendOptions const& set = o.options;
  bool const plain = set.sees.get() == seen_before && !set.score && has_softmax(set) && set.left == set.unlimited &&
                     set.right == set.unlimited;
  for (Named const& p : parts_)
    check(plain || p.part->heeds_options(), p.name, [&] {
      return Complaint{"it looks at other keys than those of the text, which masks, scores and row normalisers are for",
                       "leave out the part beside it that sets one"};
    });
}
Attended Parts::weigh(HeadOperands const& o, size_t from) const {
  if (from == parts_.size()) {
    for (Named const& p : parts_)
      if (p.part->is_core()) return p.part->weigh(o, {});
    return core(o.q, o.k, o.v, o.options);
  }
  if (parts_[from].part->is_core()) return weigh(o, from + 1);
  return parts_[from].part->weigh(o, [this, from](HeadOperands const& next) { return weigh(next, from + 1); });
}
bool Parts::heed_options() const {
  return std::all_of(parts_.begin(), parts_.end(), [](Named const& p) { return p.part->heeds_options(); });
}
bool Parts::spread() const {
  return std::all_of(parts_.begin(), parts_.end(), [](Named const& p) { return p.part->spreads(); });
}
Tensor Parts::finish(Tensor out, HeadOperands const& o) const {
  for (Named const& p : parts_) out = p.part->finish(out, o);
  return out;
}
void Parts::bound(KeyValueCache& cache) const {
  for (Named const& p : parts_) p.part->bound(cache);
}
Traits Parts::traits(Traits of_layer) const {
  for (Named const& p : parts_) of_layer = both(of_layer, p.part->traits());
  return of_layer;
}
void Parts::visit(Visitor& visitor) {
  for (Named const& p : parts_) visitor.child(p.name, *p.part);
}

void also_sees(AttendOptions& options, MaskMod const& sees) {
  options.sees = options.sees ? options.sees & sees : sees;
}
void then_score(AttendOptions& options, ScoreMod const& score) {
  options.score = options.score ? options.score | score : score;
}
void expect_at_least(int64_t least, std::string_view kind, std::string_view setting, int64_t value) {
  check(value >= least, kind, [&] {
    return Complaint{fmt::format("expected a {} of {} or more, got {}", setting, least, value), "choose a larger one"};
  });
}
void expect_fits(std::string_view kind, int64_t positions, int64_t block) {
  check(positions <= block, kind, [&] {
    return Complaint{fmt::format("{} positions exceed the block of {}", positions, block),
                     "crop the sequence, or build the layer with a longer block"};
  });
}
void expect_softmax(std::string_view part, AttendOptions const& options) {
  check(has_softmax(options), part, [] {
    return Complaint{"the softmax was replaced already", "name one row normaliser"};
  });
}

Tensor key_counts(HeadOperands const& o) {
  int64_t const keys = o.key_count() + o.dropped, left = o.options.left, right = o.options.causal ? 0 : o.options.right;
  Device const device = o.k.device();
  Dtype const dtype = is_half(o.k.dtype()) ? Dtype::f32 : o.k.dtype();
  Tensor const last =
      o.lengths.defined() ? o.lengths.to(dtype).unsqueeze(1) - 1. : full({1, 1}, double(keys - 1), dtype, device);
  if (left >= keys && right >= keys) return last + 1.;
  Tensor const i = arange(0, keys, 1, dtype, device).unsqueeze(0);
  Tensor const to = minimum(i + double(std::min(right, keys)), last);
  return clamp_min(to - clamp_min(i - double(std::min(left, keys)), 0) + 1., 1);
}

}  // namespace heed::nn
