// ReLU attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// max(s, 0)^power / n, n the keys that the query sees: exact zeros and no competition between keys (power 2: So et
/// al., "Primer", and Hua et al., 2021–22; power 1: Wortsman et al., "Replacing softmax with ReLU in vision
/// transformers", 2023). Time and memory of softmax attention; a pair whose score is negative learns nothing.
class ReluWeights final : public Part {
 public:
  struct Config {
    int64_t power = 1;
    void visit(ConfigVisitor& v) { v.field("power", power, "1, or 2 for squares"); }
  };
  ReluWeights(AttentionConfig const& given, Config const& own) : Part(given), square_(own.power == 2) {
    check(own.power == 1 || own.power == 2, "relu", [] {
      return Complaint{"expected a power of 1 or 2", "choose one of them"};
    });
  }
  void normalise(HeadOperands& o) const override {
    expect_softmax("relu", o.options);
    Tensor const n = key_counts(o);
    bool const square = square_;
    o.options.weight = [&](auto s, auto at) {
      auto const r = max(s, 0.);
      return (square ? r * r : r) / read(n, {at.b, o.position(at.i)});
    };
  }

 private:
  bool square_;
};

}  // namespace heed::nn
