// The largest scores alone.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>

namespace heed::nn {

/// Softmax over the `count` largest scores of each query, and those that equal the least of them (Zhao et al.,
/// "Explicit sparse transformer", 2019). A first pass over the scores finds the least: about twice the time, so that
/// this cures weight that is spread too thin, not cost. What is not among the largest learns nothing.
class TopK final : public Part {
 public:
  struct Config {
    int64_t count = 32;
    void visit(ConfigVisitor& v) { v.field("count", count, "keys that each query keeps"); }
  };
  TopK(AttentionConfig const& given, Config const& own) : Part(given), count_(own.count) {
    check(count_ >= 1, "top-k", [] {
      return Complaint{"expected a count of 1 or more keys", "choose how many a query keeps"};
    });
  }
  bool spreads() const override { return false; }
  void normalise(HeadOperands& o) const override {
    expect_softmax("top-k", o.options);
    o.options.top_k = count_;
  }

 private:
  int64_t count_;
};

}  // namespace heed::nn
