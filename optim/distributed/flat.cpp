#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/flat.h>

namespace heed::distributed {

std::vector<std::vector<Tensor>> cut(std::vector<Tensor> const& tensors, int64_t bytes) {
  std::vector<std::vector<Tensor>> runs;
  int64_t filled = 0;
  for (Tensor const& tensor : tensors) {
    int64_t const own = tensor.numel() * int64_t(size_of(tensor.dtype()));
    bool const fits = !runs.empty() && filled + own <= bytes && runs.back()[0].dtype() == tensor.dtype() &&
                      runs.back()[0].device() == tensor.device();
    if (!fits) runs.emplace_back(), filled = 0;
    runs.back().push_back(tensor);
    filled += own;
  }
  return runs;
}

Tensor pack(std::vector<Tensor> const& tensors) {
  NoGrad const off;
  int64_t elements = 0;
  for (Tensor const& tensor : tensors) elements += tensor.numel();
  Tensor flat({elements}, tensors[0].dtype(), tensors[0].device());
  int64_t at = 0;
  for (Tensor const& tensor : tensors) {
    flat.slice(0, at, at + tensor.numel()).copy_(tensor.detach().reshape({-1}));
    at += tensor.numel();
  }
  return flat;
}

void unpack(Tensor const& flat, std::vector<Tensor> const& tensors) {
  NoGrad const off;
  int64_t at = 0;
  for (Tensor const& tensor : tensors) {
    Tensor(tensor).copy_(flat.slice(0, at, at + tensor.numel()).reshape(tensor.shape()));
    at += tensor.numel();
  }
}

}  // namespace heed::distributed
