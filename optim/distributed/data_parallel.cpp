#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/isa.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/data_parallel.h>
#include <heed/optim/distributed/flat.h>

#include <algorithm>
#include <chrono>
#include <unordered_set>

namespace heed::distributed {
namespace {

using Clock = std::chrono::steady_clock;

/// FNV-1a (Fowler, Noll, Vo) over what two copies of one model have in common.
int64_t fingerprint(std::vector<nn::NamedTensor> const& state) {
  uint64_t hash = 0xCBF29CE484222325;
  for (auto const& [key, tensor] : state)
    for (unsigned char c :
         fmt::format("{} {} {} {};", key, to_string(tensor.shape()), name(tensor.dtype()), tensor.requires_grad()))
      hash = (hash ^ c) * 0x100000001B3;
  return int64_t(hash);
}

}  // namespace

Generator of_rank(Generator const& shared, int rank) {
  if (rank == 0) return shared;
  Generator apart(shared.seed(), ~uint64_t{0});  // an offset that no run draws at
  return Generator(apart.split(rank + 1).back().seed(), shared.offset());
}

DataParallel::DataParallel(nn::Module& model, Communicator& communicator, DataParallelOptions const& options)
    : communicator_(communicator), parts_(communicator.size()) {
  check(options.bucket_bytes >= 1, "DataParallel", [&] {
    return Complaint{fmt::format("expected buckets of 1 byte or more, got {}", options.bucket_bytes),
                     "leave bucket_bytes out"};
  });
  for (auto const& [key, tensor] : nn::named_parameters(model))
    if (tensor.requires_grad()) parameters_.push_back(tensor);
  auto state = nn::state_dict(model);
  std::vector<Tensor> whole = nn::parameters(model), buffers;
  for (auto const& [key, tensor] : options.also) {
    if (!tensor.is_leaf() || !tensor.requires_grad()) continue;
    parameters_.push_back(tensor);
    whole.push_back(tensor);
    state.push_back({key, tensor});
  }
  int const size = communicator.size();
  if (size == 1) return;

  Generator& generator = default_generator();
  Tensor const own = tensor<int64_t>(
      {fingerprint(state), int64_t(isa()), int64_t(generator.seed()), int64_t(generator.offset())}, {1, 4});
  auto const all = communicator.all_gather(own.to(communicator.device())).to(cpu).to_vector<int64_t>();
  for (int rank = 1; rank < size; ++rank) {
    int64_t const* const row = all.data() + 4 * rank;
    check(row[0] == all[0], "DataParallel", [&] {
      return Complaint{fmt::format("rank {} holds another model than rank 0: names, shapes or types differ", rank),
                       "build it from the same configuration on every rank"};
    });
    check(row[1] == all[1], "DataParallel", [&] {
      return Complaint{
          fmt::format("rank {} computes with {} kernels, rank 0 with {}: their rounding differs, and so would the "
                      "parameters",
                      rank, name(Isa(row[1])), name(Isa(all[1]))),
          fmt::format("set HEED_ISA={} for every rank", name(Isa(std::min(row[1], all[1]))))};
    });
  }
  generator = Generator(uint64_t(all[2]), uint64_t(all[3]));

  std::unordered_set<TensorBody*> seen;
  for (Tensor const& parameter : whole) seen.insert(parameter.body());
  for (auto const& [key, tensor] : state)
    if (seen.insert(tensor.body()).second) buffers.push_back(tensor);
  buffers_ = cut(buffers, options.bucket_bytes);
  auto runs = cut(whole, options.bucket_bytes);
  runs.insert(runs.end(), buffers_.begin(), buffers_.end());
  for (auto const& run : runs) {
    Tensor flat = pack(run).to(communicator.device());
    communicator.broadcast(flat, 0);
    unpack(flat.to(run[0].device()), run);
  }

  arrived_.assign(parameters_.size(), false);
  bucket_of_.resize(parameters_.size());
  size_t index = parameters_.size();
  for (auto const& run : cut({parameters_.rbegin(), parameters_.rend()}, options.bucket_bytes)) {
    Bucket& bucket = buckets_.emplace_back();
    for (size_t i = 0; i < run.size(); ++i) {
      bucket.members.push_back(--index);
      bucket_of_[index] = buckets_.size() - 1;
    }
    bucket.missing = bucket.members.size();
  }
  for (size_t i = 0; i < parameters_.size(); ++i)
    hooks_.push_back(on_accumulated(parameters_[i], [this, i] { arrived(i); }));
  if (options.synchronize_batch_norm) batch_norm_.emplace(model, communicator);
}

DataParallel::~DataParallel() {
  for (HookHandle& hook : hooks_) hook.remove();
}

Rows DataParallel::rows(int64_t total) {
  Rows const rows = rows_of(total, communicator_.rank(), communicator_.size());
  parts_ = double(total) / double(rows.count);
  return rows;
}

void DataParallel::begin() {
  Generator& generator = default_generator();
  shared_seed_ = generator.seed();
  generator = of_rank(generator, communicator_.rank());
  held_ = begun_ = true;
}

void DataParallel::last(Sum own) {
  held_ = false;
  start_sums(own);
}

/// Small things that the ranks tell each other in every step: loss, stop, and how far each has drawn.
void DataParallel::start_sums(Sum own) {
  summing_ = true;
  sums_ = tensor<double>({own.loss, own.stop ? 1. : 0., double(default_generator().offset())}, {1, 3});
  if (communicator_.size() == 1) return;
  NoGrad const off;
  sums_ = sums_.to(communicator_.device());
  pending_sums_ = communicator_.start_all_gather(sums_);
  for (auto const& run : buffers_) {
    Tensor flat = pack(run).to(communicator_.device());
    Pending pending = communicator_.start_broadcast(flat, 0);
    pending_buffers_.emplace_back(flat, std::move(pending));
  }
}

void DataParallel::arrived(size_t parameter) {
  if (held_) return;
  Bucket& bucket = buckets_[bucket_of_[parameter]];
  check(!arrived_[parameter], "DataParallel", [&] {
    return Complaint{fmt::format("a second gradient of '{}' came before finish()", parameters_[parameter].label()),
                     "call finish() after every backward, or hold no_sync() for all but the last of a step"};
  });
  arrived_[parameter] = true;
  --bucket.missing;
  for (; next_ < buckets_.size() && buckets_[next_].missing == 0; ++next_) launch(buckets_[next_]);
}

void DataParallel::launch(Bucket& bucket) {
  NoGrad const off;
  std::vector<Tensor> parts;
  std::vector<double> given;
  for (size_t i : bucket.members) {
    Tensor const& parameter = parameters_[i];
    Tensor const gradient = parameter.grad();
    given.push_back(gradient.defined() ? 1 : 0);
    parts.push_back(gradient.defined() ? gradient.detach().to(parameter.dtype())
                                       : zeros(parameter.shape(), parameter.dtype(), parameter.device()));
  }
  auto const count = int64_t(given.size());
  parts.push_back(tensor(given, {count}).to(parts[0].dtype()).to(parts[0].device()));
  bucket.flat = pack(parts).to(communicator_.device());
  for (size_t i : bucket.members) parameters_[i].set_grad({});  // finish() brings the sum: not both at a time
  bucket.pending = communicator_.start_all_reduce(bucket.flat);
}

void DataParallel::land(Bucket& bucket) {
  NoGrad const off;
  bucket.pending.wait();
  Tensor const flat = bucket.flat.to(parameters_[bucket.members[0]].device());
  int64_t at = 0;
  int64_t const flags = flat.numel() - int64_t(bucket.members.size());
  auto const given = flat.slice(0, flags, flat.numel()).to(cpu).to(Dtype::f64).to_vector<double>();
  for (size_t k = 0; k < bucket.members.size(); ++k) {
    Tensor const& parameter = parameters_[bucket.members[k]];
    Tensor const own = flat.slice(0, at, at + parameter.numel()).reshape(parameter.shape());
    parameter.set_grad(given[k] > 0 ? own : Tensor());
    at += parameter.numel();
  }
  bucket.flat = {};
  bucket.pending = {};
  bucket.missing = bucket.members.size();
}

DataParallel::Sum DataParallel::finish() {
  if (!summing_) start_sums({0, false});
  Sum sum{0, false};
  double drawn = 0;
  auto const start = Clock::now();
  for (; next_ < buckets_.size(); ++next_) launch(buckets_[next_]);
  Tensor const gathered = communicator_.size() > 1 ? pending_sums_.wait() : sums_;
  auto const rows = gathered.to(cpu).to_vector<double>();
  for (size_t i = 0; i < rows.size(); i += 3) {
    sum.loss += rows[i];
    sum.stop |= rows[i + 1] > 0;
    drawn = std::max(drawn, rows[i + 2]);
  }
  for (size_t i = 0; i < pending_buffers_.size(); ++i) {
    auto& [flat, pending] = pending_buffers_[i];
    pending.wait();
    unpack(flat.to(buffers_[i][0].device()), buffers_[i]);
  }
  for (Bucket& bucket : buckets_) land(bucket);
  waited_ += std::chrono::duration<double>(Clock::now() - start).count();
  if (begun_) default_generator() = Generator(shared_seed_, uint64_t(drawn));
  pending_buffers_.clear();
  pending_sums_ = {};
  arrived_.assign(parameters_.size(), false);
  next_ = 0;
  held_ = begun_ = summing_ = false;
  return sum;
}

}  // namespace heed::distributed
