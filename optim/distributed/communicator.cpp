#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/distributed/pending.h>

#include <exception>
#include <utility>

namespace heed::distributed {

Pending::Pending() = default;
Pending::Pending(std::unique_ptr<Work> work) : work_(std::move(work)) {}
Pending::Pending(Pending&& other) noexcept = default;
Pending& Pending::operator=(Pending&& other) noexcept = default;
Pending::~Pending() = default;

Tensor Pending::wait() {
  check(bool(work_), "Pending::wait", [] { return Complaint{"nothing is under way", "assign what start_… returns"}; });
  return work_->wait();
}

bool Pending::done() const { return !work_ || work_->done(); }

Shape Communicator::gathered_shape(Tensor const& x) const {
  Shape shape = x.shape();
  if (x.rank() == 0)
    shape.push_back(size());
  else
    shape[0] *= size();
  return shape;
}

Shape Communicator::scattered_shape(Tensor const& x) const {
  check(x.rank() > 0 && x.size(0) % size() == 0, "reduce_scatter", [&] {
    return Complaint{fmt::format("expected rows that {} ranks can share, got {}", size(), to_string(x.shape())),
                     "pad the first axis to a multiple of size()"};
  });
  Shape shape = x.shape();
  shape[0] /= size();
  return shape;
}

void run(Communicator& communicator, std::function<void(Communicator&)> const& f) {
  try {
    f(communicator);
  } catch (std::exception const& error) {
    communicator.stop(error.what());
    throw;
  } catch (...) {
    communicator.stop("an exception of an unknown type");
    throw;
  }
}

}  // namespace heed::distributed
