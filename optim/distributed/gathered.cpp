#include <heed/engine/custom.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/gathered.h>

#include <algorithm>

namespace heed::distributed {

Tensor gathered(Communicator& communicator, Tensor const& x) {
  return custom(
      "all_gather", {x},
      [&](std::vector<Tensor> const& in, CustomContext&) {
        return std::vector<Tensor>{communicator.all_gather(in[0].contiguous())};
      },
      [&communicator](std::vector<Tensor> const& g, CustomContext const&) {
        check(!recording(), "all_gather", [] {
          return Complaint{"its gradient is not recorded", "take second derivatives on one rank"};
        });
        return std::vector<Tensor>{communicator.reduce_scatter(g[0].contiguous())};
      })[0];
}

std::vector<std::string> gathered(Communicator& communicator, std::string const& text) {
  Device const device = communicator.device();
  Tensor const own = tensor<int64_t>({int64_t(text.size())}, {1});
  auto const sizes = communicator.all_gather(own.to(device)).to(cpu).to_vector<int64_t>();
  int64_t const most = std::max<int64_t>(1, *std::max_element(sizes.begin(), sizes.end()));
  Tensor const padded = zeros({most}, Dtype::u8);
  std::copy(text.begin(), text.end(), padded.data<uint8_t>());
  Tensor const all = communicator.all_gather(padded.to(device)).to(cpu);
  std::vector<std::string> texts;
  for (size_t rank = 0; rank < sizes.size(); ++rank) {
    uint8_t const* const at = all.data<uint8_t>() + int64_t(rank) * most;
    texts.emplace_back(at, at + sizes[rank]);
  }
  return texts;
}

}  // namespace heed::distributed
