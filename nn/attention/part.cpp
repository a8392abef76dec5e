#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/attention/part.h>

#include <algorithm>

namespace heed::nn {

void Parts::add(std::string name, std::unique_ptr<Part> part) { parts_.push_back({std::move(name), std::move(part)}); }

Tensor Parts::embed(Tensor x, int64_t past) const {
  for (Named const& p : parts_) x = p.part->embed(x, past);
  return x;
}
void Parts::project(HeadOperands& o) const {
  for (Named const& p : parts_) p.part->project(o);
}
void Parts::options(HeadOperands& o) const {
  for (Named const& p : parts_) p.part->options(o);
}
Attended Parts::more(Attended seen, HeadOperands const& o) const {
  for (Named const& p : parts_) seen = p.part->more(seen, o);
  return seen;
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
void expect_softmax(std::string_view part, AttendOptions const& options) {
  check(!options.weight && !options.sink.defined() && options.entmax == 1 && options.top_k == 0, part, [] {
    return Complaint{"the softmax was replaced already", "name one row normaliser"};
  });
}

}  // namespace heed::nn
