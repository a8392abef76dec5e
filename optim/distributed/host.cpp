#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/host.h>
#include <heed/optim/distributed/pending.h>
#include <heed/optim/distributed/reduce.h>
#include <heed/optim/distributed/signature.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace heed::distributed {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

enum Tag : int { control, header, data, first_pair_tag };  // a pair's tag t has two: its header's and its data's
constexpr int most_tag = 1000;
/// Up to here data travel with the signature, in one message: what MPI sends at once over shared memory.
constexpr size_t inline_bytes = 3072;
/// Bytes from each rank that are reduced at a time: scratch that stays in the second cache.
constexpr int64_t piece_bytes = 256 << 10;

struct Failure {
  std::string op, problem, remedy;
  std::string said = op + ": " + problem;  // to the other ranks
};

/// What a rank says last; or, in a roll call, that it is there and waits too.
struct Notice {
  uint64_t sequence = 0;                            // collectives that it completed
  uint64_t sent_to_you = 0, received_from_you = 0;  // messages of send and receive
  enum Kind : uint32_t { ended, stopped, roll_call } kind = ended;
  char text[420] = {};
};

/// What the two sides of a Pending share; it outlives the communicator.
struct Monitor {
  std::mutex lock;
  std::condition_variable changed;
};

/// One call, from start_…() to the end of its Pending.
struct Task final : Pending::Work {
  std::shared_ptr<Monitor> monitor;
  Signature what;
  Tensor from, to;  // read; written (the result)
  bool finished = false;
  std::optional<Failure> failure;

  ~Task() override {
    std::unique_lock guard(monitor->lock);
    monitor->changed.wait(guard, [&] { return finished; });
  }
  Tensor wait() override {
    std::unique_lock guard(monitor->lock);
    monitor->changed.wait(guard, [&] { return finished; });
    if (failure) throw Error(failure->op, std::string(scope_path()), failure->problem, failure->remedy);
    return to;
  }
  bool done() const override {
    std::lock_guard const guard(monitor->lock);
    return finished;
  }
};

/// Yields at first, since an answer may be a microsecond away; then sleeps, so that computing ranks have the processor.
class Backoff {
 public:
  void reset() { idle_ = 0; }
  void pause() {
    auto const now = Clock::now();
    if (idle_++ == 0) since_ = now;
    sleeps_ = idle_ > 200 || now - since_ > 500us;  // where others want the processor, one yield may take milliseconds
    if (sleeps_)
      std::this_thread::sleep_for(50us);
    else
      std::this_thread::yield();
  }
  bool sleeps() const { return idle_ > 0 && sleeps_; }
  /// Now and then, for what is too costly to look at each time.
  bool seldom() const { return idle_ % 32 == 31 || sleeps(); }

 private:
  int idle_ = 0;
  bool sleeps_ = false;
  Clock::time_point since_;
};

class HostCommunicator final : public Communicator {
 public:
  HostCommunicator(std::unique_ptr<Transport> transport, Options const& options)
      : transport_(std::move(transport)),
        rank_(transport_->rank()),
        size_(transport_->size()),
        timeout_(timeout_of(options)),
        uncaught_(std::uncaught_exceptions()) {
    largest_ = transport_->largest_message();
    if (options.largest_message > 0) largest_ = std::min(largest_, size_t(options.largest_message));
    check(largest_ >= message_bytes(0) && options.largest_message >= 0, "connect", [&] {
      return Complaint{fmt::format("messages of at most {} bytes", options.largest_message),
                       fmt::format("allow {} or more", message_bytes(0))};
    });
    if (largest_ >= message_bytes(inline_bytes)) inline_limit_ = inline_bytes;
    gone_.resize(size_t(size_));
    notices_.resize(size_t(size_));
    present_.resize(size_t(size_));
    listening_.assign(size_t(size_), -1);
    arrived_.assign(size_t(size_), std::vector<std::byte>(message_bytes(inline_limit_)));
    leaving_ = arrived_;
    sent_to_.resize(size_t(size_));
    received_from_.resize(size_t(size_));
    for (int peer = 0; peer < size_; ++peer)
      if (peer != rank_)
        listening_[size_t(peer)] = transport_->receive(peer, control, &notices_[size_t(peer)], sizeof(Notice));
    if (size_ > 1 && transport_->needs_progress()) start_thread();
  }

  ~HostCommunicator() override {
    if (std::uncaught_exceptions() > uncaught_) stop("an exception ended the work with its communicator");
    {
      std::unique_lock guard(monitor_->lock);
      closing_ = true;
      wake_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
    bool agreed = false;
    if (!broken_) {
      tell({}, Notice::ended);
      agreed = farewell();
      transport_->abandon();
    }
    transport_->close(agreed);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string name() const override { return transport_->name(); }
  int64_t bytes_sent() const override { return sent_.load(std::memory_order_relaxed); }

  Pending start_all_reduce(Tensor& x, Reduce reduction, bool now) override {
    check_tensor("all_reduce", x);
    check_reduction("all_reduce", x, reduction);
    return start(Signature(Call::all_reduce, x, reduction, -1, 0), x, written(x), now);
  }
  Pending start_reduce_scatter(Tensor const& x, Reduce reduction, bool now) override {
    check_tensor("reduce_scatter", x);
    check_reduction("reduce_scatter", x, reduction);
    Tensor const y(scattered_shape(x), x.dtype());
    return start(Signature(Call::reduce_scatter, x, reduction, -1, 0), x, y, now);
  }
  Pending start_all_gather(Tensor const& x, bool now) override {
    check_tensor("all_gather", x);
    return start(Signature(Call::all_gather, x, {}, -1, 0), x, Tensor(gathered_shape(x), x.dtype()), now);
  }
  Pending start_broadcast(Tensor& x, int root, bool now) override {
    check_tensor("broadcast", x);
    check_rank("broadcast", root, true);
    return start(Signature(Call::broadcast, x, {}, root, 0), x, written(x), now);
  }
  Pending start_send(Tensor const& x, int to, int tag, bool now) override {
    check_tensor("send", x);
    check_rank("send", to, false);
    check_tag("send", tag);
    return start(Signature(Call::send, x, {}, to, tag), x, {}, now);
  }
  Pending start_receive(Tensor& x, int from, int tag, bool now) override {
    check_tensor("receive", x);
    check_rank("receive", from, false);
    check_tag("receive", tag);
    return start(Signature(Call::receive, x, {}, from, tag), {}, written(x), now);
  }
  Pending start_barrier(bool now) override { return start({}, {}, {}, now); }

  void stop(std::string_view why) noexcept override {
    try {
      std::unique_lock guard(monitor_->lock);
      Failure failure{"stop", fmt::format("rank {} stopped: {}", rank_, why), "see what it says", std::string(why)};
      if (driving_ && !broken_) {
        stopping_ = std::move(failure);
        asked_to_stop_ = true;
        monitor_->changed.wait(guard, [&] { return !driving_ || broken_; });
      } else if (!broken_) {
        driving_ = true;
        guard.unlock();
        break_with(std::move(failure));
        release_drive();
      }
    } catch (...) {  // the others will see the deadline
    }
  }

 private:
  static size_t message_bytes(size_t inlined) { return sizeof(Signature) + inlined; }

  // ---- what a call may be given ---------------------------------------------------------------------------------
  static void check_tensor(char const* op, Tensor const& x) {
    check_defined(op, x);
    no_gradient(op, {x});
    check(x.device().is_cpu(), op, [&] {
      return Complaint{fmt::format("expected a tensor of the processor, got one on {}", to_string(x.device())),
                       "move it with .to(cpu), or use NCCL's communicator"};
    });
    check(x.is_contiguous(), op, [&] {
      return Complaint{fmt::format("expected a contiguous tensor, got {} with strides {}", to_string(x.shape()),
                                   to_string(x.strides())),
                       "pass x.contiguous()"};
    });
  }
  static void check_reduction(char const* op, Tensor const& x, Reduce reduction) {
    check(reduction != Reduce::mean || is_floating(x.dtype()), op, [&] {
      return Complaint{fmt::format("the mean of {} is no {}", heed::name(x.dtype()), heed::name(x.dtype())),
                       "take the sum, or convert to f32"};
    });
  }
  void check_rank(char const* op, int other, bool also_self) const {
    check(other >= 0 && other < size_ && (also_self || other != rank_), op, [&] {
      return Complaint{fmt::format("rank {} named rank {} of {}", rank_, other, size_),
                       also_self ? "ranks run from 0 to size() - 1" : "name another rank, 0 to size() - 1"};
    });
  }
  static void check_tag(char const* op, int tag) {
    check(tag >= 0 && tag <= most_tag, op, [&] {
      return Complaint{fmt::format("tag {}", tag), fmt::format("use 0 to {}", most_tag)};
    });
  }
  static Tensor const& written(Tensor& x) {
    x.storage().bump_version();
    return x;
  }

  // ---- who carries it out ---------------------------------------------------------------------------------------
  // At any time one thread drives: the communicator's own, or a caller that would only wait.

  Pending start(Signature const& what, Tensor const& from, Tensor const& to, bool now) {
    auto task = std::make_unique<Task>();
    task->monitor = monitor_;
    task->what = what;
    task->from = from;
    task->to = to;
    std::unique_lock guard(monitor_->lock);
    if (broken_) {
      task->finished = true;
      throw Error(broken_->op, std::string(scope_path()), broken_->problem, broken_->remedy);
    }
    Task* const raw = task.get();
    submitted_.push_back(raw);
    has_submitted_ = true;
    if (now && !driving_ && submitted_.size() == 1 && collectives_.empty() && messages_.empty()) {
      driving_ = true;
      guard.unlock();
      drive(raw);
      release_drive();
    } else {
      if (!thread_.joinable()) start_thread();
      wake_.notify_all();
    }
    return Pending(std::move(task));
  }

  void start_thread() {
    thread_ = std::thread([this] {
      std::unique_lock guard(monitor_->lock);
      auto const work = [&] {
        return !driving_ && (!submitted_.empty() || !collectives_.empty() || !messages_.empty());
      };
      while (true) {
        if (transport_->needs_progress() && size_ > 1 && !broken_)
          wake_.wait_for(guard, 10ms, [&] { return work() || closing_; });
        else
          wake_.wait(guard, [&] { return work() || closing_; });
        if (closing_ && !work()) return;
        if (driving_ || broken_) continue;
        driving_ = true;
        guard.unlock();
        drive(nullptr);
        guard.lock();
        driving_ = false;
        monitor_->changed.notify_all();
      }
    });
  }

  void release_drive() {
    std::lock_guard const guard(monitor_->lock);
    driving_ = false;
    if (thread_.joinable()) wake_.notify_all();
    monitor_->changed.notify_all();
  }

  /// Until `target` is done; without one, until nothing is left.
  void drive(Task const* target) {
    try {
      look_around();
      while (true) {
        take_submitted();
        if (!collectives_.empty()) {
          collective(*collectives_.front());
          Task* const task = collectives_.front();
          collectives_.pop_front();
          finish(*task);
        } else if (messages_.empty()) {
          return;
        } else {
          Backoff backoff;
          while (!messages_.empty() && !has_submitted_) poll(backoff);
        }
        if (target && is_finished(*target)) return;
      }
    } catch (Failure& failure) {
      break_with(std::move(failure));
    }
  }

  bool is_finished(Task const& task) {
    std::lock_guard const guard(monitor_->lock);
    return task.finished;
  }
  void finish(Task& task) {
    std::lock_guard const guard(monitor_->lock);
    task.finished = true;
    monitor_->changed.notify_all();
  }

  void take_submitted() {
    if (!has_submitted_) return;
    std::deque<Task*> taken;
    {
      std::lock_guard const guard(monitor_->lock);
      taken.swap(submitted_);
      has_submitted_ = false;
    }
    for (Task* task : taken)
      if (task->what.call == Call::send || task->what.call == Call::receive)
        messages_.emplace_back(task, Clock::now() + timeout());
      else
        collectives_.push_back(task);
  }

  std::chrono::nanoseconds timeout() const { return std::chrono::nanoseconds(int64_t(timeout_ * 1e9)); }

  // ---- failures -------------------------------------------------------------------------------------------------
  [[noreturn]] void give_up(char const* op, std::string problem, std::string remedy) const {
    throw Failure{op, std::move(problem), std::move(remedy)};
  }
  [[noreturn]] void late(char const* op, std::string problem) const {
    give_up(op, std::move(problem),
            "see what it printed; where ranks need longer, raise HEED_DISTRIBUTED_TIMEOUT (seconds)");
  }

  /// The end of everything under way, here and, as they hear of it, on the other ranks. By the driving thread.
  void break_with(Failure failure) {
    tell(failure.said, Notice::stopped);
    bool const untouched = transport_->abandon();
    std::lock_guard const guard(monitor_->lock);
    std::vector<Task*> all(submitted_.begin(), submitted_.end());
    all.insert(all.end(), collectives_.begin(), collectives_.end());
    for (Message& message : messages_) all.push_back(message.task);
    if (!untouched) {  // the carrier may still write there
      auto* const kept = new std::list<Message>;
      kept->swap(messages_);
      new auto(std::move(arrived_));
      new auto(std::move(leaving_));
      new auto(std::move(scratch_));
      new auto(std::move(notices_));
      new auto(std::move(called_));
      for (Task* task : all) new std::pair(task->from, task->to);
    }
    std::fill(listening_.begin(), listening_.end(), -1);
    submitted_.clear();
    collectives_.clear();
    messages_.clear();
    broken_ = std::move(failure);
    for (Task* task : all) {
      task->failure = broken_;
      task->finished = true;
    }
    monitor_->changed.notify_all();
  }

  /// Sends this rank's Notice to all and sees to it for a moment that it leaves.
  void tell(std::string_view text, Notice::Kind kind) noexcept {
    std::vector<int> requests;
    std::vector<Notice>& said = kind == Notice::roll_call ? called_ : said_;
    said.resize(size_t(size_));
    for (int peer = 0; peer < size_; ++peer) {
      auto const& gone = gone_[size_t(peer)];
      if (peer == rank_ || peer == dead_ || (gone && gone->kind == Notice::stopped)) continue;
      Notice& notice = said[size_t(peer)];
      notice.sequence = completed_;
      notice.sent_to_you = sent_to_[size_t(peer)];
      notice.received_from_you = received_from_[size_t(peer)];
      notice.kind = kind;
      notice.text[text.copy(notice.text, sizeof notice.text - 1)] = 0;
      requests.push_back(transport_->send(peer, control, &notice, sizeof notice));
    }
    Backoff backoff;
    auto const end = Clock::now() + (kind == Notice::ended ? timeout() : kind == Notice::stopped ? 300ms : 500ms);
    while (!requests.empty() && Clock::now() < end) {
      std::erase_if(requests, [&](int request) { return transport_->test(request) != Transport::State::pending; });
      listen();
      if (kind == Notice::roll_call && all_present()) return;
      if (!requests.empty()) backoff.pause();
    }
    while (kind == Notice::roll_call && !all_present() && Clock::now() < end) {
      listen();
      backoff.pause();
    }
  }

  /// Takes what the others said last.
  void listen() noexcept {
    for (int peer = 0; peer < size_; ++peer) {
      int& request = listening_[size_t(peer)];
      if (request < 0) continue;
      Transport::State const state = transport_->test(request);
      if (state == Transport::State::pending) continue;
      request = -1;
      Notice& notice = notices_[size_t(peer)];
      notice.text[sizeof notice.text - 1] = 0;
      if (state != Transport::State::done) continue;
      if (notice.kind == Notice::roll_call) {
        present_[size_t(peer)] = true;
        called_at_ = notice.sequence + 1;
        request = transport_->receive(peer, control, &notice, sizeof notice);
      } else {
        gone_[size_t(peer)] = notice;
      }
    }
  }

  /// Waits for the others' farewells where the carrier needs it; whether all came.
  bool farewell() {
    Backoff backoff;
    auto const end = Clock::now() + timeout();
    while (true) {
      listen();
      bool all = true;
      for (int peer = 0; peer < size_; ++peer)
        if (peer != rank_ && !gone_[size_t(peer)]) all = false;
      if (all)
        return std::none_of(gone_.begin(), gone_.end(), [](auto const& g) { return g && g->kind == Notice::stopped; });
      if (!transport_->needs_progress() || Clock::now() > end) return false;
      backoff.pause();
    }
  }

  std::string how_gone(int peer) const {
    Notice const& notice = *gone_[size_t(peer)];
    if (notice.kind == Notice::stopped) return fmt::format("rank {} stopped: {}", peer, notice.text);
    return fmt::format("rank {} ended after {} collectives", peer, notice.sequence);
  }

  [[noreturn]] void give_up_gone(int peer, Signature const& what) const {
    give_up(call_name(what.call), fmt::format("{}; {} waits for it in {}", how_gone(peer), list({rank_}), place(what)),
            "see what that rank printed");
  }

  /// Now and then: an Error where the process of `one` (-1: of any rank) is gone. It may have sent what we wait for
  /// before, so only the second look counts.
  void check_alive(Signature const& what, int one = -1) {
    auto const now = Clock::now();
    if (now < next_look_) return;
    next_look_ = now + 50ms;
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_ || (one >= 0 && peer != one) || gone_[size_t(peer)] || transport_->alive(peer)) continue;
      if (std::exchange(dead_, peer) != peer) return;
      give_up(call_name(what.call),
              fmt::format("rank {} died; {} waits for it in {}", peer, list({rank_}), place(what)),
              "see what that rank and its machine say");
    }
  }

  /// What any thread that drives looks at besides its own waiting.
  void look_around() {
    listen();
    if (asked_to_stop_) {
      std::unique_lock guard(monitor_->lock);
      throw Failure(*stopping_);
    }
  }

  // ---- waiting --------------------------------------------------------------------------------------------------
  struct Wait {
    int request, peer;
    bool sending;
  };

  void begin_send(std::vector<Wait>& waits, int peer, int tag, void const* from, size_t bytes) {
    sent_ += int64_t(bytes);
    auto const* at = static_cast<std::byte const*>(from);
    for (size_t done = 0; done < bytes; done += largest_)
      waits.push_back({transport_->send(peer, tag, at + done, std::min(largest_, bytes - done)), peer, true});
  }
  void begin_receive(std::vector<Wait>& waits, int peer, int tag, void* to, size_t bytes) {
    auto* const at = static_cast<std::byte*>(to);
    for (size_t done = 0; done < bytes; done += largest_)
      waits.push_back({transport_->receive(peer, tag, at + done, std::min(largest_, bytes - done)), peer, false});
  }

  /// Removes what is done; whether something was.
  bool sweep(std::vector<Wait>& waits, char const* op) {
    return std::erase_if(waits, [&](Wait const& wait) {
             Transport::State const state = transport_->test(wait.request);
             if (state == Transport::State::failed)
               give_up(op, fmt::format("rank {} is lost: {}", wait.peer, transport_->failure()), "see what it printed");
             return state == Transport::State::done;
           }) > 0;
  }

  /// Until all are done. What send and receive have under way goes on meanwhile.
  void complete(std::vector<Wait>& waits, Signature const& what, bool roll_call) {
    Backoff backoff;
    Clock::time_point end = Clock::now() + timeout();
    while (true) {
      if (sweep(waits, call_name(what.call))) {
        backoff.reset();
        end = Clock::now() + timeout();
      }
      if (waits.empty()) return;
      if (backoff.seldom()) check_present(waits, what, end, roll_call);
      if (backoff.sleeps()) check_alive(what);
      poll(backoff);  // after the check: what a rank sent before it went is swept first
    }
  }

  void check_present(std::vector<Wait> const& waits, Signature const& what, Clock::time_point end, bool roll_call) {
    for (Wait const& wait : waits) {
      auto const& gone = gone_[size_t(wait.peer)];
      if (gone && gone->sequence < what.sequence) give_up_gone(wait.peer, what);
    }
    if (Clock::now() > end || called_at_ >= what.sequence) call_roll(waits, what, roll_call);
  }

  std::string place(Signature const& what) const {
    if (what.call == Call::send || what.call == Call::receive) return what.text();
    return what.call == Call::barrier ? fmt::format("barrier #{}", what.sequence)
                                      : fmt::format("{} #{} ({})", call_name(what.call), what.sequence, what.operand());
  }

  /// Who is to blame. A rank may stand still because another does: all that wait say that they are there, and those
  /// that do not are.
  [[noreturn]] void call_roll(std::vector<Wait> const& waits, Signature const& what, bool arriving) {
    tell({}, Notice::roll_call);
    std::vector<int> missing, here;
    for (int peer = 0; peer < size_; ++peer) {
      bool const waited = std::any_of(waits.begin(), waits.end(), [&](Wait const& wait) { return wait.peer == peer; });
      if (!waited) here.push_back(peer);
      if (peer != rank_ && !present_[size_t(peer)] && (waited || !arriving)) missing.push_back(peer);
    }
    for (int peer : missing)
      if (gone_[size_t(peer)]) give_up_gone(peer, what);
    if (missing.empty())
      late(call_name(what.call),
           fmt::format("nothing moved for {} s in the midst of {}, though every rank is there", timeout_, place(what)));
    if (arriving)
      late(call_name(what.call), fmt::format("{} did not arrive at {} within {} s; {} did", list(missing), place(what),
                                             timeout_, list(here)));
    late(call_name(what.call),
         fmt::format("{} stood still for {} s in the midst of {}", list(missing), timeout_, place(what)));
  }
  bool all_present() const {
    for (int peer = 0; peer < size_; ++peer)
      if (peer != rank_ && !present_[size_t(peer)] && !gone_[size_t(peer)]) return false;
    return true;
  }

  /// One look at everything that is not the caller's.
  void poll(Backoff& backoff) {
    if (has_submitted_) take_submitted();
    bool moved = false;
    for (auto it = messages_.begin(); it != messages_.end();) {
      moved |= advance(*it);
      if (it->ended) {
        Task* const task = it->task;
        it = messages_.erase(it);
        finish(*task);
      } else {
        ++it;
      }
    }
    if (backoff.seldom()) look_around();
    if (moved)
      backoff.reset();
    else
      backoff.pause();
  }

  // ---- send and receive -----------------------------------------------------------------------------------------
  struct Message {
    Task* task;
    Clock::time_point end;
    uint64_t number = 0;  // of the messages that go this way
    enum { waiting, announced, moving } stage = waiting;
    bool ended = false;
    std::vector<std::byte> buffer;
    std::vector<Wait> waits;
    Message(Task* task, Clock::time_point end) : task(task), end(end) {}
  };

  static size_t bytes_of(Tensor const& x) { return x ? size_t(x.numel()) * size_of(x.dtype()) : 0; }

  bool advance(Message& message) {
    Signature& what = message.task->what;
    int const peer = what.root, tag = first_pair_tag + 2 * what.tag;
    if (message.stage == Message::waiting) {
      if (what.call == Call::send) {
        message.number = ++sent_to_[size_t(peer)];
        size_t const bytes = bytes_of(message.task->from);
        what.inlined = bytes <= inline_limit_ ? uint32_t(bytes) : 0;
        message.buffer.resize(message_bytes(what.inlined));
        std::memcpy(message.buffer.data(), &what, sizeof what);
        if (what.inlined) std::memcpy(message.buffer.data() + sizeof what, message.task->from.raw(), bytes);
        begin_send(message.waits, peer, tag, message.buffer.data(), message.buffer.size());
        if (!what.inlined) begin_send(message.waits, peer, tag + 1, message.task->from.raw(), bytes);
        message.stage = Message::moving;
      } else {
        // The announcements of one pair and tag are taken one after the other, so that data follow in their order.
        for (Message const& other : messages_) {
          if (&other == &message) break;
          Signature const& before = other.task->what;
          if (before.call == Call::receive && before.root == peer && before.tag == what.tag &&
              other.stage != Message::moving)
            return false;
        }
        message.buffer.resize(message_bytes(inline_limit_));
        begin_receive(message.waits, peer, tag, message.buffer.data(), message.buffer.size());
        message.stage = Message::announced;
      }
      return true;
    }
    bool const moved = sweep(message.waits, call_name(what.call));
    if (message.waits.empty()) {
      if (message.stage == Message::announced) {
        take_announcement(message, peer, tag);
        if (!message.waits.empty()) return true;
      }
      if (what.call == Call::receive) ++received_from_[size_t(peer)];
      message.ended = true;
      return true;
    }
    if (moved) {
      message.end = Clock::now() + timeout();
      return true;
    }
    if (auto const& gone = gone_[size_t(peer)]) {
      bool const lost = what.call == Call::send               ? gone->received_from_you < message.number
                        : message.stage == Message::announced ? gone->sent_to_you <= received_from_[size_t(peer)]
                                                              : false;
      message.end = std::min(message.end, Clock::now() + 500ms);  // for what it sent before
      if (lost || Clock::now() > message.end) give_up_gone(peer, what);
    }
    if (Clock::now() > message.end - timeout() + 50ms) check_alive(what, peer);
    if (Clock::now() > message.end)
      late(call_name(what.call), what.call == Call::send
                                     ? fmt::format("rank {} did not receive {} of rank {} (tag {}) within {} s", peer,
                                                   what.operand(), rank_, what.tag, timeout_)
                                     : fmt::format("rank {} did not send {} to rank {} (tag {}) within {} s", peer,
                                                   what.operand(), rank_, what.tag, timeout_));
    return false;
  }

  void take_announcement(Message& message, int peer, int tag) {
    Signature& what = message.task->what;
    Signature theirs;
    std::memcpy(&theirs, message.buffer.data(), sizeof theirs);
    if (theirs.operand() != what.operand())
      give_up("receive", fmt::format("rank {}: {}; rank {}: {}", peer, theirs.text(), rank_, what.text()),
              "send and receive the same shape and type");
    size_t const bytes = bytes_of(message.task->to);
    message.stage = Message::moving;
    if (theirs.inlined)
      std::memcpy(message.task->to.raw(), message.buffer.data() + sizeof theirs, bytes);
    else
      begin_receive(message.waits, peer, tag + 1, message.task->to.raw(), bytes);
  }

  // ---- collectives ----------------------------------------------------------------------------------------------
  void collective(Task& task) {
    task.what.sequence = completed_ + 1;
    if (size_ == 1)
      alone(task);
    else
      together(task);
    ++completed_;
  }

  void alone(Task& task) {
    void const* const from = task.from ? task.from.raw() : nullptr;
    if (task.what.call == Call::reduce_scatter || task.what.call == Call::all_gather)
      if (size_t const bytes = bytes_of(task.from)) std::memcpy(task.to.raw(), from, bytes);
  }

  void together(Task& task) {
    Signature& what = task.what;
    size_t const bytes = bytes_of(task.from);
    what.inlined = bytes <= inline_limit_ ? uint32_t(bytes) : 0;
    bool const scatter = what.call == Call::reduce_scatter;
    size_t const share = scatter ? bytes / size_t(size_) : bytes;  // what one rank sends another
    size_t const follows = what.inlined ? share : 0;

    std::vector<Wait> waits;
    each_peer([&](int peer) {
      begin_receive(waits, peer, header, arrived_[size_t(peer)].data(), message_bytes(inline_limit_));
    });
    each_peer([&](int peer) {
      std::byte* const message = leaving_[size_t(peer)].data();
      std::memcpy(message, &what, sizeof what);
      if (follows)
        std::memcpy(message + sizeof what,
                    static_cast<std::byte const*>(task.from.raw()) + (scatter ? share * size_t(peer) : 0), follows);
      begin_send(waits, peer, header, message, message_bytes(follows));
    });
    complete(waits, what, true);

    std::vector<Signature> all(static_cast<size_t>(size_), what);
    each_peer([&](int peer) { std::memcpy(&all[size_t(peer)], arrived_[size_t(peer)].data(), sizeof what); });
    if (auto const said = disagreement(all))
      give_up(call_name(what.call), "the ranks called different things: " + *said,
              "call the same collectives in the same order, with the same shapes and types, on every rank");
    if (bytes == 0) return;
    if (what.inlined)
      take_inlined(task, share);
    else
      move(task, bytes);
  }

  template <class F>
  void each_peer(F f) {
    for (int step = 1; step < size_; ++step) f((rank_ + step) % size_);  // not all to rank 0 at first
  }

  void take_inlined(Task& task, size_t share) {
    auto* const to = static_cast<std::byte*>(task.to.raw());
    auto const* const from = static_cast<std::byte const*>(task.from.raw());
    auto const body = [&](int peer) { return arrived_[size_t(peer)].data() + sizeof(Signature); };
    Signature const& what = task.what;
    switch (what.call) {
      case Call::all_gather:
        each_peer([&](int peer) { std::memcpy(to + share * size_t(peer), body(peer), share); });
        std::memcpy(to + share * size_t(rank_), from, share);
        break;
      case Call::broadcast:
        if (what.root != rank_) std::memcpy(to, body(what.root), share);
        break;
      default: {
        std::vector<void const*> parts(static_cast<size_t>(size_));
        // Bytes of a message are not aligned for their type: new's alignment and a signature of 88 bytes see to it.
        each_peer([&](int peer) { parts[size_t(peer)] = body(peer); });
        parts[size_t(rank_)] = what.call == Call::reduce_scatter ? from + share * size_t(rank_) : from;
        reduce_in_order(what.dtype, what.reduction, to, parts.data(), size_, int64_t(share / size_of(what.dtype)));
      }
    }
  }

  void move(Task& task, size_t bytes) {
    auto* const to = static_cast<std::byte*>(task.to.raw());
    auto const* const from = static_cast<std::byte const*>(task.from.raw());
    Signature const& what = task.what;
    switch (what.call) {
      case Call::all_gather:
        gather(
            to, [&](int r) { return int64_t(bytes) * r; }, from, what);
        std::memcpy(to + bytes * size_t(rank_), from, bytes);
        break;
      case Call::broadcast:
        spread(to, int64_t(bytes), what);
        break;
      case Call::all_reduce:
        all_reduce_pieces(to, what, int64_t(bytes / size_of(what.dtype)));
        break;
      default:
        reduce_scatter_pieces(from, to, what, int64_t(bytes / size_of(what.dtype)) / size_);
    }
  }

  /// Rank r's bytes [begin(r), begin(r + 1)) come to `to` from it; `own` are ours.
  template <class Begin>
  void gather(std::byte* to, Begin begin, std::byte const* own, Signature const& what) {
    std::vector<Wait> waits;
    each_peer(
        [&](int peer) { begin_receive(waits, peer, data, to + begin(peer), size_t(begin(peer + 1) - begin(peer))); });
    each_peer([&](int peer) { begin_send(waits, peer, data, own, size_t(begin(rank_ + 1) - begin(rank_))); });
    complete(waits, what, false);
  }

  /// The root gives each rank a part, and the ranks give each other theirs: the root sends little more than all once.
  void spread(std::byte* x, int64_t bytes, Signature const& what) {
    std::vector<Wait> waits;
    if (size_ == 2) {
      if (rank_ == what.root)
        begin_send(waits, 1 - rank_, data, x, size_t(bytes));
      else
        begin_receive(waits, what.root, data, x, size_t(bytes));
      return complete(waits, what, false);
    }
    auto const begin = [&](int r) { return bytes * r / size_; };
    auto const part = [&](int r) { return size_t(begin(r + 1) - begin(r)); };
    if (rank_ == what.root)
      each_peer([&](int peer) { begin_send(waits, peer, data, x + begin(peer), part(peer)); });
    else
      begin_receive(waits, what.root, data, x + begin(rank_), part(rank_));
    complete(waits, what, false);
    gather(x, begin, x + begin(rank_), what);
  }

  void const* const* received_parts(void const* own, int64_t capacity, size_t element) {
    parts_.resize(size_t(size_));
    for (int r = 0; r < size_; ++r) parts_[size_t(r)] = scratch_.data() + size_t(r) * size_t(capacity) * element;
    parts_[size_t(rank_)] = own;
    return parts_.data();
  }

  /// Each rank adds its piece of every segment and gives the sum to all.
  void all_reduce_pieces(std::byte* x, Signature const& what, int64_t n) {
    size_t const element = size_of(what.dtype);
    int64_t const capacity = piece_bytes / int64_t(element);
    scratch_.resize(size_t(capacity) * element * size_t(size_));
    std::vector<Wait> waits;
    for (int64_t first = 0; first < n; first += capacity * size_) {
      int64_t const m = std::min(capacity * size_, n - first);
      auto const begin = [&](int r) { return (first + m * r / size_) * int64_t(element); };
      auto const bytes = [&](int r) { return size_t(begin(r + 1) - begin(r)); };
      void const* const* const parts = received_parts(x + begin(rank_), capacity, element);
      each_peer([&](int peer) { begin_receive(waits, peer, data, const_cast<void*>(parts[peer]), bytes(rank_)); });
      each_peer([&](int peer) { begin_send(waits, peer, data, x + begin(peer), bytes(peer)); });
      complete(waits, what, false);
      reduce_in_order(what.dtype, what.reduction, x + begin(rank_), parts, size_, int64_t(bytes(rank_) / element));
      gather(x, begin, x + begin(rank_), what);
    }
  }

  void reduce_scatter_pieces(std::byte const* x, std::byte* to, Signature const& what, int64_t n) {
    size_t const element = size_of(what.dtype);
    int64_t const capacity = piece_bytes / int64_t(element);
    scratch_.resize(size_t(capacity) * element * size_t(size_));
    std::vector<Wait> waits;
    for (int64_t first = 0; first < n; first += capacity) {
      int64_t const m = std::min(capacity, n - first);
      auto const at = [&](int r) { return x + size_t(n * r + first) * element; };
      void const* const* const parts = received_parts(at(rank_), capacity, element);
      each_peer(
          [&](int peer) { begin_receive(waits, peer, data, const_cast<void*>(parts[peer]), size_t(m) * element); });
      each_peer([&](int peer) { begin_send(waits, peer, data, at(peer), size_t(m) * element); });
      complete(waits, what, false);
      reduce_in_order(what.dtype, what.reduction, to + size_t(first) * element, parts, size_, m);
    }
  }

  std::unique_ptr<Transport> transport_;
  int const rank_, size_;
  double const timeout_;
  int const uncaught_;
  size_t largest_ = 0, inline_limit_ = 0;
  std::atomic<int64_t> sent_{0};

  // Under the monitor's lock.
  std::shared_ptr<Monitor> const monitor_ = std::make_shared<Monitor>();
  std::condition_variable wake_;  // the communicator's thread
  std::thread thread_;
  std::deque<Task*> submitted_;
  bool driving_ = false, closing_ = false;
  std::optional<Failure> broken_, stopping_;
  std::atomic<bool> has_submitted_{false}, asked_to_stop_{false};

  // The driving thread's.
  std::deque<Task*> collectives_;
  std::list<Message> messages_;
  uint64_t completed_ = 0;
  std::vector<uint64_t> sent_to_, received_from_;
  std::vector<std::vector<std::byte>> arrived_, leaving_;
  std::vector<std::byte> scratch_;
  std::vector<void const*> parts_;
  std::vector<int> listening_;
  std::vector<Notice> notices_, said_, called_;
  std::vector<bool> present_;  // in a roll call
  uint64_t called_at_ = 0;     // the collective in whose midst the roll is called
  std::vector<std::optional<Notice>> gone_;
  Clock::time_point next_look_{};  // check_alive()
  int dead_ = -1;
};

}  // namespace

double timeout_of(Options const& options) {
  double seconds = options.timeout;
  char const* const text = std::getenv("HEED_DISTRIBUTED_TIMEOUT");
  if (seconds == 0 && text && *text) {
    char const* const end = text + std::strlen(text);
    auto const [stop, error] = std::from_chars(text, end, seconds);
    if (error != std::errc{} || stop != end) seconds = -1;
  }
  check(seconds >= 0 && seconds < 1e8, "connect", [&] {
    return Complaint{fmt::format("the timeout is {} s", seconds == -1 && text ? text : fmt::format("{}", seconds)),
                     "give seconds above 0 in HEED_DISTRIBUTED_TIMEOUT or Options::timeout"};
  });
  return seconds == 0 ? 60 : seconds;
}

std::unique_ptr<Communicator> over(std::unique_ptr<Transport> transport, Options options) {
  return std::make_unique<HostCommunicator>(std::move(transport), options);
}

}  // namespace heed::distributed
