#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/flat.h>
#include <heed/optim/distributed/gathered.h>
#include <heed/optim/distributed/sharded.h>
#include <heed/optim/distributed/shares.h>

#include <deque>
#include <sstream>
#include <unordered_set>

namespace heed::distributed {
namespace {

constexpr int64_t piece_bytes = 1 << 20;  // of parameters that go out together
constexpr size_t pieces_under_way = 8;

/// What a rank has to give, as text: "<dtype> <shape…> <name>" a line.
std::string listing(std::vector<nn::NamedTensor> const& tensors) {
  std::string text;
  for (auto const& [name, tensor] : tensors) {
    text += fmt::format("{} {}", int(tensor.dtype()), tensor.rank());
    for (int axis = 0; axis < tensor.rank(); ++axis) text += fmt::format(" {}", tensor.size(axis));
    text += fmt::format(" {}\n", name);
  }
  return text;
}

/// Tensors like those that `text` lists, in the memory of the processor.
std::vector<nn::NamedTensor> room_for(std::string const& text) {
  std::istringstream in(text);
  std::vector<nn::NamedTensor> tensors;
  for (int dtype = 0, rank = 0; in >> dtype >> rank;) {
    Shape shape = Shape::filled(rank, 0);
    for (int axis = 0; axis < rank; ++axis) in >> shape[axis];
    std::string name;
    std::getline(in >> std::ws, name);
    tensors.push_back({name, Tensor(shape, Dtype(dtype))});
  }
  return tensors;
}

}  // namespace

Sharded::Split Sharded::split(std::vector<optim::ParameterGroup> const& groups, Communicator const& communicator) {
  std::vector<double> sizes;
  for (auto const& group : groups)
    for (auto const& parameter : group.parameters) sizes.push_back(double(parameter.tensor.numel()));
  check(sizes.size() >= size_t(communicator.size()), "Sharded", [&] {
    return Complaint{fmt::format("{} parameters do not give each of {} ranks one", sizes.size(), communicator.size()),
                     "start fewer ranks"};
  });
  Split split{shares_of(sizes, communicator.size()), {}};
  size_t index = 0;
  for (auto const& group : groups) {
    optim::ParameterGroup own{{}, group.rate_scale, group.weight_decay};
    for (auto const& parameter : group.parameters)
      if (split.owner[index++] == communicator.rank()) own.parameters.push_back(parameter);
    split.own.push_back(std::move(own));
  }
  return split;
}

Sharded::Sharded(std::vector<optim::ParameterGroup>&& groups, Communicator& communicator, optim::MakeRule const& make)
    : Sharded(std::move(groups), communicator, make, split(groups, communicator)) {}

Sharded::Sharded(std::vector<optim::ParameterGroup>&& groups, Communicator& communicator, optim::MakeRule const& make,
                 Split&& split)
    : Wrapper(std::move(groups), make(std::move(split.own))),
      communicator_(communicator),
      owned_(size_t(communicator.size())) {
  size_t index = 0;
  for (auto const& group : this->groups())
    for (auto const& parameter : group.parameters) owned_[size_t(split.owner[index++])].push_back(parameter.tensor);
}

void Sharded::exchange() {
  if (communicator_.size() == 1) return;
  struct Piece {
    std::vector<Tensor> tensors;
    Tensor flat;
    Pending pending;
    bool own;
  };
  std::deque<Piece> under_way;
  auto const land = [&] {
    Piece& piece = under_way.front();
    piece.pending.wait();
    if (!piece.own) unpack(piece.flat.to(piece.tensors[0].device()), piece.tensors);
    under_way.pop_front();
  };
  for (int rank = 0; rank < communicator_.size(); ++rank)
    for (auto& run : cut(owned_[size_t(rank)], piece_bytes)) {
      if (under_way.size() == pieces_under_way) land();
      Tensor flat = pack(run).to(communicator_.device());
      Pending pending = communicator_.start_broadcast(flat, rank);
      under_way.push_back({std::move(run), flat, std::move(pending), rank == communicator_.rank()});
    }
  while (!under_way.empty()) land();
}

void Sharded::apply(double gradient_scale) {
  Wrapper::apply(gradient_scale);
  exchange();
}

optim::Evaluation Sharded::search(optim::Closure const& closure) {
  optim::Evaluation const first = Wrapper::search(closure);
  exchange();
  return first;
}

void Sharded::evaluating(bool on) {
  Wrapper::evaluating(on);
  if (on != judged_) exchange();
  judged_ = on;
}

/// A checkpoint holds the weights of evaluations.
void Sharded::loaded() {
  Wrapper::loaded();
  judged_ = true;
}

std::vector<nn::NamedTensor> Sharded::state() const {
  auto all = held();
  if (communicator_.size() == 1) return all;
  auto const texts = gathered(communicator_, listing(all));
  NoGrad const off;
  if (communicator_.rank() != 0) {
    for (auto const& own : all) communicator_.send(own.tensor.to(communicator_.device()), 0);
    return all;
  }
  std::unordered_set<std::string> seen;  // what is the whole optimiser's, every rank has
  for (auto const& own : all) seen.insert(own.name);
  for (int rank = 1; rank < communicator_.size(); ++rank)
    for (auto& other : room_for(texts[size_t(rank)])) {
      Tensor arriving = other.tensor.to(communicator_.device());
      communicator_.receive(arriving, rank);
      if (seen.insert(other.name).second) all.push_back({other.name, arriving});
    }
  return all;
}

std::unique_ptr<optim::Optimizer> make_sharded(std::string_view text, std::vector<optim::ParameterGroup>&& groups,
                                               Communicator& communicator, double learning_rate) {
  return optim::make_optimizer(
      text, std::move(groups), learning_rate,
      [&](std::vector<optim::ParameterGroup>&& all, optim::MakeRule const& make) -> std::unique_ptr<optim::Optimizer> {
        return std::make_unique<Sharded>(std::move(all), communicator, make);
      });
}

}  // namespace heed::distributed
