// A user's program of several ranks: threads here, processes where a launcher starts it.
#include <heed/optim/distributed.h>
#include <heed/optim/optim.h>

#include <cstdio>

int main() {
  bool right = true;
  heed::distributed::run_ranks(2, [&](heed::distributed::Communicator& c) {
    heed::Tensor x = heed::full({3}, c.rank() + 1.0);
    c.all_reduce(x);
    if (x.at(0).item() != 3) right = false;
  });
  auto const communicator = heed::distributed::connect();
  heed::Tensor x = heed::ones({3});
  communicator->all_reduce(x);
  std::printf("rank %d of %d by %s: %g\n", communicator->rank(), communicator->size(), communicator->name().c_str(),
              x.at(0).item());
  return right && x.at(0).item() == communicator->size() ? 0 : 1;
}
