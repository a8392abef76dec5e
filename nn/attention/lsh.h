// Locality-sensitive hashing.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/buckets.h>

#include <string>

namespace heed::nn {

/// A query sees the keys of its bucket, bucket(x) = argmax [x·R, −x·R] with fixed random R: vectors of like direction
/// share one (Andoni et al., 2015; Kitaev et al., "Reformer", 2020, where queries and keys are one projection: tie()
/// them for that). Time T²·dim/buckets where buckets are even. The paper's chunks and several rounds are left out: a
/// bucket is seen whole, and what another hash would find is missed. For long sequences whose weights are peaked.
class Lsh final : public Part {
 public:
  struct Config {
    int64_t buckets = 16;
    void visit(ConfigVisitor& v) { v.field("buckets", buckets, "1, or an even number"); }
  };
  Lsh(AttentionConfig const& given, Config const& own) : Part(given) {
    check(own.buckets == 1 || (own.buckets >= 2 && own.buckets % 2 == 0), "lsh", [&] {
      return Complaint{"expected 1 bucket or an even number, got " + std::to_string(own.buckets),
                       "every direction has its opposite"};
    });
    rotations = randn({given.head_dim(), own.buckets / 2});
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    return attend_in_buckets(o, config.causal, bucket(o.q), bucket(o.k));
  }
  void visit(Visitor& visitor) override { visitor.buffer("rotations", rotations); }
  Traits traits() const override { return {}; }

  Tensor rotations;

 private:
  Tensor bucket(Tensor const& x) const {
    NoGrad const off;
    if (rotations.size(1) == 0) return zeros({x.size(0), x.size(1), x.size(2)}, Dtype::i64, x.device());
    Tensor const y = matmul(x, rotations);
    return argmax(cat({y, -y}, 3), 3);
  }
};

}  // namespace heed::nn
