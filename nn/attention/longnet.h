// Dilated segments.
#pragma once

#include <heed/nn/attention/groups.h>

namespace heed::nn {

/// Level l cuts the text into segments of segment·ratio^l positions, of which every ratio^l-th sees the others of its
/// kind, head h beginning at h mod ratio^l; the levels are merged, pairs that several hold counting each time (Ding et
/// al., "LongNet", 2023). Every level costs T·segment·dim/ratio^l while its reach grows: exact nearby, sparse far away.
/// For very long sequences; what a head's stride passes over it never sees.
class DilatedSegments final : public Part {
 public:
  struct Config {
    int64_t segment = 64, levels = 3, ratio = 2;
    void visit(ConfigVisitor& v) {
      v.field("segment", segment, "positions of the shortest segments");
      v.field("levels", levels, "kinds of segments");
      v.field("ratio", ratio, "by which segments grow and thin out");
    }
  };
  DilatedSegments(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    expect_at_least(1, "longnet", "segment", own_.segment);
    expect_at_least(1, "longnet", "count of levels", own_.levels);
    expect_at_least(1, "longnet", "ratio", own_.ratio);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    Attended seen = level(o, 1);
    int64_t dilation = own_.ratio;
    for (int64_t l = 1; l < own_.levels; ++l, dilation *= own_.ratio) seen = merge(seen, level(o, dilation));
    return seen;
  }
  Traits traits() const override {
    return {.cross = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

 private:
  Attended level(HeadOperands const& o, int64_t dilation) const {
    int64_t const t = o.q.size(2), segment = std::min(own_.segment * dilation, t);
    std::vector<int64_t> heads_by_offset;
    std::vector<Tensor> outs, lses;
    for (int64_t offset = 0; offset < std::min(dilation, config.heads); ++offset) {
      std::vector<int64_t> mine, key_heads;
      for (int64_t h = offset; h < config.heads; h += dilation) {
        mine.push_back(h);
        key_heads.push_back(h * config.kv_heads / config.heads);
      }
      auto const of = [&](Tensor const& x, std::vector<int64_t> const& heads) {
        return index_select(x, 1, tensor(heads, {int64_t(heads.size())}).to(x.device()));
      };
      HeadOperands part = o;
      part.q = of(o.q, mine), part.k = of(o.k, key_heads), part.v = of(o.v, key_heads);
      Groups groups{(segment + dilation - 1) / dilation, {}};
      for (int64_t from = 0; from < t; from += segment)
        for (int64_t slot = 0; slot < groups.size; ++slot) {
          int64_t const place = offset + slot * dilation;
          groups.places.push_back(place < segment && from + place < t ? from + place : -1);
        }
      Attended const seen = attend_in_groups(part, config.causal, groups);
      outs.push_back(seen.out);
      lses.push_back(seen.lse);
      heads_by_offset.insert(heads_by_offset.end(), mine.begin(), mine.end());
    }
    std::vector<int64_t> order(heads_by_offset.size());
    for (size_t i = 0; i < order.size(); ++i) order[size_t(heads_by_offset[i])] = int64_t(i);
    Tensor const sorted = tensor(order, {config.heads}).to(o.q.device());
    return {index_select(cat(outs, 1), 1, sorted), index_select(cat(lses, 1), 1, sorted)};
  }
  Config own_;
};

}  // namespace heed::nn
