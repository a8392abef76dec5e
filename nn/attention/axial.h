// Axial attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/attention/groups.h>

#include <string>

namespace heed::nn {

/// On a grid of `width` columns read row by row, a position sees its row, or its column: a stack of both sees
/// everything (Ho et al., "Axial attention in multidimensional transformers", 2019; layers alternate unless told). Time
/// T·width·dim for rows, T²·dim/width for columns: T^1.5 both on a square.
class AxialAttention final : public Part {
 public:
  struct Config {
    int64_t width = 16;
    std::string axis = "alternate";
    void visit(ConfigVisitor& v) {
      v.field("width", width, "columns of the grid");
      v.field("axis", axis, "rows, columns, or alternate: rows in even layers");
    }
  };
  AxialAttention(AttentionConfig const& given, Config const& own)
      : Part(given),
        width_(own.width),
        alternates_(own.axis == "alternate"),
        rows_(own.axis == "rows" || (alternates_ && given.layer % 2 == 0)) {
    expect_at_least(1, "axial", "width", width_);
    check(alternates_ || rows_ || own.axis == "columns", "axial", [&] {
      return Complaint{"expected the axis alternate, rows or columns, got '" + own.axis + "'", "choose one of them"};
    });
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const t = o.q.size(2), w = std::min(width_, t), h = (t + w - 1) / w;
    Groups groups{rows_ ? w : h, {}};
    for (int64_t a = 0; a < (rows_ ? h : w); ++a)
      for (int64_t b = 0; b < groups.size; ++b) {
        int64_t const place = rows_ ? a * w + b : b * w + a;
        groups.places.push_back(place < t ? place : -1);
      }
    return attend_in_groups(o, config.causal, groups);
  }
  Traits traits() const override {
    return {.cross = false,
            .steps = false,
            .equivariant = false,
            .time = alternates_ || !rows_ ? Growth::quadratic : Growth::linear};
  }

 private:
  int64_t width_;
  bool alternates_, rows_;
};

}  // namespace heed::nn
