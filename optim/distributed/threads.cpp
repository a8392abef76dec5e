#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/distributed/host.h>
#include <heed/optim/distributed/threads.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <exception>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

namespace heed::distributed {
namespace {

using State = Transport::State;

/// What went from one rank to another and was not taken, or was asked for and has not come: never both of one tag.
struct Channel {
  struct Waiting {
    int tag;
    std::byte* at;  // of a message that was copied: its copy
    size_t bytes;
    std::atomic<State>* state;  // null: copied
    std::vector<std::byte> copy;
  };
  std::mutex lock;
  std::list<Waiting> sends, receives;
};

struct World {
  explicit World(int size) : size(size), channels(size_t(size) * size_t(size)) {}
  int const size;
  std::vector<Channel> channels;
  Channel& channel(int from, int to) { return channels[size_t(from) * size_t(size) + size_t(to)]; }
};

class ThreadsTransport final : public Transport {
 public:
  ThreadsTransport(std::shared_ptr<World> world, int rank) : world_(std::move(world)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return world_->size; }
  char const* name() const override { return world_->size == 1 ? "one" : "threads"; }
  size_t largest_message() const override { return size_t(1) << 40; }

  int send(int to, int tag, void const* data, size_t bytes) override {
    int const request = take();
    std::atomic<State>& mine = states_[size_t(request)];
    Channel& channel = world_->channel(rank_, to);
    std::lock_guard const guard(channel.lock);
    for (auto it = channel.receives.begin(); it != channel.receives.end(); ++it) {
      if (it->tag != tag) continue;
      deliver(it->at, it->bytes, data, bytes, *it->state, mine);
      channel.receives.erase(it);
      return request;
    }
    auto* const at = static_cast<std::byte*>(const_cast<void*>(data));
    channel.sends.push_back({tag, at, bytes, &mine, {}});
    if (bytes <= copied) {  // small ones are on their way at once
      Channel::Waiting& waiting = channel.sends.back();
      waiting.copy.assign(at, at + bytes);
      waiting.at = waiting.copy.data();
      waiting.state = nullptr;
      mine = State::done;
    }
    return request;
  }

  int receive(int from, int tag, void* data, size_t bytes) override {
    int const request = take();
    std::atomic<State>& mine = states_[size_t(request)];
    Channel& channel = world_->channel(from, rank_);
    std::lock_guard const guard(channel.lock);
    for (auto it = channel.sends.begin(); it != channel.sends.end(); ++it) {
      if (it->tag != tag) continue;
      std::atomic<State> nobody;
      deliver(data, bytes, it->at, it->bytes, mine, it->state ? *it->state : nobody);
      channel.sends.erase(it);
      return request;
    }
    channel.receives.push_back({tag, static_cast<std::byte*>(data), bytes, &mine, {}});
    return request;
  }

  State test(int request) override {
    State const state = states_[size_t(request)].load(std::memory_order_acquire);
    if (state != State::pending) free_.push_back(request);
    return state;
  }
  std::string failure() const override { return "a message was longer than what it was to go to"; }
  bool alive(int) override { return true; }
  bool needs_progress() const override { return false; }

  bool abandon() override {
    auto const mine = [&](Channel::Waiting const& waiting) { return waiting.state != nullptr; };
    for (int peer = 0; peer < size(); ++peer) {
      Channel& out = world_->channel(rank_, peer);
      std::lock_guard const guard(out.lock);
      out.sends.remove_if(mine);
    }
    for (int peer = 0; peer < size(); ++peer) {
      Channel& in = world_->channel(peer, rank_);
      std::lock_guard const guard(in.lock);
      in.receives.clear();
    }
    return true;
  }
  void close(bool) override {}

 private:
  static constexpr size_t copied = 8192;

  static void deliver(void* to, size_t room, void const* from, size_t bytes, std::atomic<State>& receiver,
                      std::atomic<State>& sender) {
    bool const fits = bytes <= room;
    if (fits && bytes > 0) std::memcpy(to, from, bytes);
    sender.store(State::done, std::memory_order_release);
    receiver.store(fits ? State::done : State::failed, std::memory_order_release);
  }

  int take() {
    if (free_.empty()) {
      states_.emplace_back(State::pending);
      return int(states_.size()) - 1;
    }
    int const request = free_.back();
    free_.pop_back();
    states_[size_t(request)].store(State::pending, std::memory_order_relaxed);
    return request;
  }

  std::shared_ptr<World> const world_;
  int const rank_;
  std::deque<std::atomic<State>> states_;
  std::vector<int> free_;
};

}  // namespace

std::unique_ptr<Communicator> one_rank(Options options) {
  return over(std::make_unique<ThreadsTransport>(std::make_shared<World>(1), 0), options);
}

void run_ranks(int size, std::function<void(Communicator&)> const& f, Options options) {
  check(size >= 1, "run_ranks", [&] { return Complaint{fmt::format("{} ranks", size), "ask for one or more"}; });
  auto const world = std::make_shared<World>(size);
  std::mutex lock;
  std::exception_ptr first;
  int failed = 0;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      try {
        auto const communicator = over(std::make_unique<ThreadsTransport>(world, rank), options);
        try {
          f(*communicator);
        } catch (std::exception const& error) {
          {
            std::lock_guard const guard(lock);
            if (!first) first = std::current_exception(), failed = rank;
          }
          communicator->stop(error.what());
        }
      } catch (...) {
        std::lock_guard const guard(lock);
        if (!first) first = std::current_exception(), failed = rank;
      }
    });
  for (std::thread& thread : threads) thread.join();
  if (!first) return;
  try {
    std::rethrow_exception(first);
  } catch (Error const& error) {
    throw Error(error.op(), error.path(), fmt::format("rank {}: {}", failed, error.problem()), error.remedy());
  } catch (std::exception const& error) {
    throw Error("run_ranks", "", fmt::format("rank {}: {}", failed, error.what()), "see what that rank does");
  }
}

}  // namespace heed::distributed
