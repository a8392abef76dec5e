// Buckets of distances.
#pragma once

#include <heed/engine/error.h>
#include <heed/nn/init.h>
#include <heed/nn/position/distance.h>

#include <algorithm>
#include <cmath>

namespace heed::nn {

/// s + bias[h, bucket(i − j)]: a bucket for each short distance, then logarithmic ones up to `reach`, beyond which all
/// share the last; half of them for each side where the future is seen (Raffel et al., T5, 2020).
class T5Position final : public Part {
 public:
  struct Config {
    int64_t buckets = 32, reach = 128;
    void visit(ConfigVisitor& v) {
      v.field("buckets", buckets, "distances told apart");
      v.field("reach", reach, "distance from which all are alike");
    }
  };
  T5Position(AttentionConfig const& given, Config const& own) : Part(given), own_(own) {
    check(own.buckets >= 4 && own.buckets % 4 == 0 && own.reach > own.buckets, "t5", [] {
      return Complaint{"expected a multiple of 4 buckets and a reach beyond them", "32 and 128 are usual"};
    });
    bias = empty({given.heads, own.buckets});
    init::normal_(bias, 0.02);
    bias.requires_grad_();
  }
  int64_t bucket(int64_t distance) const {  // i − j
    int64_t const mine = config.causal ? own_.buckets : own_.buckets / 2, exact = mine / 2;
    int64_t const first = config.causal || distance >= 0 ? 0 : mine;
    int64_t const away = config.causal ? std::max(distance, int64_t{0}) : std::abs(distance);
    if (away < exact) return first + away;
    double const share = std::log(double(away) / double(exact)) / std::log(double(own_.reach) / double(exact));
    return first + std::min(exact + int64_t(share * double(mine - exact)), mine - 1);
  }
  void options(HeadOperands& o) const override {
    std::vector<int64_t> index;
    for (int64_t d = 1 - o.key_count(); d < o.key_count(); ++d) index.push_back(bucket(d));
    Tensor const at = tensor(index, {int64_t(index.size())}).to(o.q.device());
    then_score(o.options, relative_bias(index_select(bias, 1, at)));
  }
  void visit(Visitor& visitor) override { visitor.parameter("bias", bias); }
  Traits traits() const override { return of_distance(); }

  Tensor bias;

 private:
  Config own_;
};

}  // namespace heed::nn
