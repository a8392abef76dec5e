#include <heed/engine/custom.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/gathered.h>

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

}  // namespace heed::distributed
