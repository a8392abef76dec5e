// The lookup table.
#pragma once

#include <heed/nn/module.h>

namespace heed::nn {

/// Rows of weight [count, dim] by index [..] (i64) → [.., dim]. Initialised N(0, 1), as PyTorch's.
class Embedding : public Layer<Embedding> {
 public:
  Embedding(int64_t count, int64_t dim);
  Tensor forward(Tensor const& index) const;
  void visit(Visitor& visitor) override;

  Tensor weight;
};

}  // namespace heed::nn
