#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/flat.h>
#include <heed/optim/distributed/sharded.h>

#include <algorithm>
#include <deque>
#include <numeric>
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

/// The text of every rank.
std::vector<std::string> gathered(std::string const& own, Communicator& communicator) {
  Tensor length = tensor<int64_t>({int64_t(own.size())}, {1});
  auto const lengths = communicator.all_gather(length).to_vector<int64_t>();
  int64_t const room = std::max<int64_t>(1, *std::max_element(lengths.begin(), lengths.end()));
  Tensor padded = zeros({1, room}, Dtype::u8);
  std::copy(own.begin(), own.end(), padded.data<uint8_t>());
  Tensor const all = communicator.all_gather(padded);
  std::vector<std::string> texts;
  for (size_t rank = 0; rank < lengths.size(); ++rank) {
    uint8_t const* const at = all.data<uint8_t>() + int64_t(rank) * room;
    texts.emplace_back(at, at + lengths[rank]);
  }
  return texts;
}

}  // namespace

Sharded::Split Sharded::split(std::vector<optim::ParameterGroup> const& groups, Communicator const& communicator) {
  std::vector<int64_t> sizes;
  for (auto const& group : groups)
    for (auto const& parameter : group.parameters) sizes.push_back(parameter.tensor.numel());
  check(sizes.size() >= size_t(communicator.size()), "Sharded", [&] {
    return Complaint{fmt::format("{} parameters do not give each of {} ranks one", sizes.size(), communicator.size()),
                     "start fewer ranks"};
  });
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::pair<int64_t, int64_t>> load(size_t(communicator.size()));  // elements, tensors
  Split split{std::vector<int>(sizes.size()), {}};
  for (size_t i : order) {
    auto const least = std::min_element(load.begin(), load.end());
    split.owner[i] = int(least - load.begin());
    least->first += sizes[i];
    least->second += 1;
  }
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
      Tensor flat = carried(pack(run), communicator_);
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
  Device const here = groups()[0].parameters.empty() ? Device() : groups()[0].parameters[0].tensor.device();
  auto const texts = gathered(listing(all), communicator_);
  NoGrad const off;
  if (communicator_.rank() != 0) {
    for (auto const& own : all) communicator_.send(carried(own.tensor, communicator_), 0);
    return all;
  }
  std::unordered_set<std::string> seen;  // what is the whole optimiser's, every rank has
  for (auto const& own : all) seen.insert(own.name);
  for (int rank = 1; rank < communicator_.size(); ++rank)
    for (auto& other : room_for(texts[size_t(rank)])) {
      Tensor arriving = communicator_.name() == "nccl" ? other.tensor.to(here) : other.tensor;
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
