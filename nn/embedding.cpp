#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/embedding.h>
#include <heed/nn/init.h>

namespace heed::nn {

Embedding::Embedding(int64_t count, int64_t dim) {
  check(count >= 1 && dim >= 1, "Embedding", [&] {
    return Complaint{fmt::format("expected a positive count and width, got {} and {}", count, dim),
                     "pass the number of rows and their length"};
  });
  weight = empty({count, dim});
  init::normal_(weight, 1);
  weight.requires_grad_();
}

Tensor Embedding::forward(Tensor const& index) const { return embedding(index, weight); }
void Embedding::visit(Visitor& visitor) { visitor.parameter("weight", weight); }

}  // namespace heed::nn
