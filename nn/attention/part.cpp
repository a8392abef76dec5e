#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
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

Tensor Parts::embed(Tensor x, int64_t past) const {
  for (Named const& p : parts_) x = p.part->embed(x, past);
  return x;
}
void Parts::project(HeadOperands& o) const {
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
  int64_t const keys = o.k.size(2) + o.dropped, left = o.options.left, right = o.options.causal ? 0 : o.options.right;
  Device const device = o.k.device();
  Dtype const dtype = is_half(o.k.dtype()) ? Dtype::f32 : o.k.dtype();
  Tensor const last =
      o.lengths.defined() ? o.lengths.to(dtype).unsqueeze(1) - 1. : full({1, 1}, double(keys - 1), dtype, device);
  if (left >= keys && right >= keys) return last + 1.;
  Tensor const i = arange(0, keys, 1, dtype, device).unsqueeze(0);
  Tensor const to = minimum(i + double(std::min(right, keys)), last);
  return clamp_min(to - clamp_min(i - double(std::min(left, keys)), 0) + 1., 1);
}

Tensor by_query_blocks(HeadOperands const& o, std::function<Tensor(HeadOperands const&)> const& step) {
  constexpr int64_t block = 64;
  int64_t const queries = o.q.size(2), shift = o.k.size(2) - queries;
  if (!o.options.causal || queries <= block) return step(o);
  std::vector<Tensor> parts;
  for (int64_t from = 0; from < queries; from += block) {
    int64_t const to = std::min(from + block, queries);
    parts.push_back(recompute(
        [o, step](std::vector<Tensor> const& in) {
          HeadOperands own = o;
          own.q = in[0], own.k = in[1], own.v = in[2];
          own.options.draw.offset += uint64_t(in[1].size(2));
          return std::vector<Tensor>{step(own)};
        },
        {o.q.slice(2, from, to), o.k.slice(2, 0, to + shift), o.v.slice(2, 0, to + shift)})[0]);
  }
  return cat(parts, 2);
}

Tensor for_each_head(Tensor const& x, int64_t heads) {
  return x.size(1) == heads ? x : repeat_interleave(x, heads / x.size(1), 1);
}

}  // namespace heed::nn
