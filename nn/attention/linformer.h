// Linformer.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/init.h>

#include <cmath>

namespace heed::nn {

/// softmax(q·(E·k)ᵀ)·(F·v): `rank` learned mixtures of all positions stand for keys and values, E and F [rank, block]
/// (Wang et al., "Linformer", 2020, one pair for all heads): time and memory T·rank·dim. For encoders of one length,
/// where maps are of low rank; it cannot hide the future, and single positions are hard to point at.
class Linformer final : public Part {
 public:
  struct Config {
    int64_t rank = 64;
    void visit(ConfigVisitor& v) { v.field("rank", rank, "mixtures of positions"); }
  };
  Linformer(AttentionConfig const& given, Config const& own) : Part(given) {
    expect_at_least(1, "linformer", "rank", own.rank);
    expect_at_least(1, "linformer", "block (the longest sequence)", given.block);
    for (Tensor* each : {&e, &f}) {
      *each = empty({own.rank, given.block});
      init::normal_(*each, 1 / std::sqrt(double(given.block)));
      each->requires_grad_();
    }
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const s = o.k.size(2);
    expect_fits("linformer", s, config.block);
    auto const mixed = [&](Tensor const& by, Tensor const& x) {
      Tensor const there = o.lengths.defined() ? where(valid_positions(o.lengths, s).view({-1, 1, s, 1}), x, 0.) : x;
      return matmul(by.slice(1, 0, s), there);
    };
    return core(o.q, mixed(e, o.k), mixed(f, o.v), o.elsewhere());
  }
  void visit(Visitor& visitor) override {
    visitor.parameter("e", e);
    visitor.parameter("f", f);
  }
  Traits traits() const override {
    return {.causal = false, .steps = false, .equivariant = false, .time = Growth::linear};
  }

  Tensor e, f;
};

}  // namespace heed::nn
