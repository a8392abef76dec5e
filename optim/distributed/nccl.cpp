#include <dlfcn.h>
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/host.h>
#include <heed/optim/distributed/in_time.h>
#include <heed/optim/distributed/nccl.h>
#include <heed/optim/distributed/pending.h>
#include <heed/optim/distributed/signature.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

namespace heed::distributed {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// What is used of NCCL 2 and of CUDA's driver, as their documentation gives it.
using Comm = void*;
using Stream = void*;
struct UniqueId {
  char bytes[128];
};
enum Code : int { success = 0, in_progress = 7 };

struct Nccl {
  int (*GetUniqueId)(UniqueId*);
  int (*CommInitRank)(Comm*, int size, UniqueId, int rank);
  int (*CommDestroy)(Comm);
  int (*CommAbort)(Comm);
  int (*CommGetAsyncError)(Comm, int*);
  char const* (*GetErrorString)(int);
  int (*AllReduce)(void const*, void*, size_t, int type, int op, Comm, Stream);
  int (*ReduceScatter)(void const*, void*, size_t each, int type, int op, Comm, Stream);
  int (*AllGather)(void const*, void*, size_t each, int type, Comm, Stream);
  int (*Broadcast)(void const*, void*, size_t, int type, int root, Comm, Stream);
  int (*Send)(void const*, size_t, int type, int peer, Comm, Stream);
  int (*Recv)(void*, size_t, int type, int peer, Comm, Stream);
  int (*GroupStart)();
  int (*GroupEnd)();
};
struct Driver {
  int (*StreamCreate)(Stream*, unsigned flags);
  int (*StreamQuery)(Stream);  // 600: not ready
  int (*StreamDestroy)(Stream);
};

/// f(name, pointer to the member) for each function.
template <class F>
void each_function(Nccl& n, F f) {
  f("ncclGetUniqueId", n.GetUniqueId);
  f("ncclCommInitRank", n.CommInitRank);
  f("ncclCommDestroy", n.CommDestroy);
  f("ncclCommAbort", n.CommAbort);
  f("ncclCommGetAsyncError", n.CommGetAsyncError);
  f("ncclGetErrorString", n.GetErrorString);
  f("ncclAllReduce", n.AllReduce);
  f("ncclReduceScatter", n.ReduceScatter);
  f("ncclAllGather", n.AllGather);
  f("ncclBroadcast", n.Broadcast);
  f("ncclSend", n.Send);
  f("ncclRecv", n.Recv);
  f("ncclGroupStart", n.GroupStart);
  f("ncclGroupEnd", n.GroupEnd);
}
template <class F>
void each_function(Driver& d, F f) {
  f("cuStreamCreate", d.StreamCreate);
  f("cuStreamQuery", d.StreamQuery);
  f("cuStreamDestroy_v2", d.StreamDestroy);
}

template <class Table>
Table load(std::string const& library, std::vector<std::string>* missing) {
  void* const module = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  check(module, "nccl", [&] {
    char const* const why = dlerror();
    return Complaint{fmt::format("{} cannot be loaded: {}", library, why ? why : "no reason given"),
                     "install NCCL (pip's nvidia-nccl-cu12 has it) and name the file in HEED_NCCL"};
  });
  Table table{};
  each_function(table, [&]<class F>(char const* name, F*& function) {
    function = reinterpret_cast<F*>(dlsym(module, name));
    if (function) return;
    if (missing) return missing->push_back(name);
    fail("nccl", {fmt::format("{} has no {}", library, name), "use a newer one"});
  });
  return table;
}

int op_of(Reduce reduce, Dtype dtype) {
  constexpr int sum = 0, max = 2, min = 3, average = 4;
  switch (reduce) {
    case Reduce::mean:
      return average;
    case Reduce::max:
      return max;
    case Reduce::min:
      return min;
    case Reduce::sum:
      break;
  }
  return dtype == Dtype::boolean ? max : sum;
}

/// NCCL's number of the type; -1: it has none.
int type_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::i8:
      return 0;
    case Dtype::u8:
    case Dtype::boolean:
      return 1;
    case Dtype::i32:
      return 2;
    case Dtype::i64:
      return 4;
    case Dtype::f16:
      return 6;
    case Dtype::f32:
      return 7;
    case Dtype::f64:
      return 8;
    case Dtype::bf16:
      return 9;
    case Dtype::i16:
      break;
  }
  return -1;
}
constexpr int byte_type = 1;

size_t bytes_of(Tensor const& x) { return size_t(x.numel()) * size_of(x.dtype()); }

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(Communicator& host, int device, Options const& options)
      : host_(host), device_(cuda(device)), timeout_(timeout_of(options)) {
    char const* const named = std::getenv("HEED_NCCL");
    nccl_ = load<Nccl>(named && *named ? named : "libnccl.so.2", nullptr);
    driver_ = load<Driver>("libcuda.so.1", nullptr);
    backend(device_).use(device);
    Tensor id(Shape{int64_t(sizeof(UniqueId))}, Dtype::u8);
    UniqueId unique{};
    if (rank() == 0) demand("ncclGetUniqueId", nccl_.GetUniqueId(&unique));
    std::memcpy(id.raw(), &unique, sizeof unique);
    host_.broadcast(id, 0);  // also the roll call: NCCL would wait for ever for a rank that does not come
    std::memcpy(&unique, id.raw(), sizeof unique);
    meet(unique, device);
    check(driver_.StreamCreate(&stream_, 1) == 0, "nccl", [] {
      return Complaint{"the device has no room for a stream", "see whether others use it up"};
    });
  }
  ~NcclCommunicator() override {
    if (broken_) return;
    try {
      finish("~Communicator");
      nccl_.CommDestroy(comm_);
      driver_.StreamDestroy(stream_);
    } catch (...) {
    }
  }

  int rank() const override { return host_.rank(); }
  int size() const override { return host_.size(); }
  std::string name() const override { return "nccl"; }
  Device device() const override { return device_; }
  int64_t bytes_sent() const override { return sent_; }

  Pending start_all_reduce(Tensor& x, Reduce reduce, bool) override {
    check_reducible("all_reduce", x, reduce);
    agree(Signature(Call::all_reduce, x, reduce, -1, 0));
    void* const at = x.address();
    queued("ncclAllReduce", x,
           nccl_.AllReduce(at, at, size_t(x.numel()), type_of(x.dtype()), op_of(reduce, x.dtype()), comm_, stream_));
    x.storage().bump_version();
    return pending(x);
  }
  Pending start_reduce_scatter(Tensor const& x, Reduce reduce, bool) override {
    check_reducible("reduce_scatter", x, reduce);
    Tensor const y(scattered_shape(x), x.dtype(), device_);
    agree(Signature(Call::reduce_scatter, x, reduce, -1, 0));
    queued("ncclReduceScatter", x,
           nccl_.ReduceScatter(x.address(), y.address(), size_t(y.numel()), type_of(x.dtype()),
                               op_of(reduce, x.dtype()), comm_, stream_));
    return pending(y, x);
  }
  Pending start_all_gather(Tensor const& x, bool) override {
    check_tensor("all_gather", x);
    agree(Signature(Call::all_gather, x, {}, -1, 0));
    Tensor const y(gathered_shape(x), x.dtype(), device_);
    queued("ncclAllGather", x, nccl_.AllGather(x.address(), y.address(), bytes_of(x), byte_type, comm_, stream_));
    return pending(y, x);
  }
  Pending start_broadcast(Tensor& x, int root, bool) override {
    check_tensor("broadcast", x);
    check_peer("broadcast", root);
    agree(Signature(Call::broadcast, x, {}, root, 0));
    void* const at = x.address();
    queued("ncclBroadcast", x, nccl_.Broadcast(at, at, bytes_of(x), byte_type, root, comm_, stream_));
    x.storage().bump_version();
    return pending(x);
  }
  // In one group, or the sends of a ring would wait for each other.
  Pending start_send(Tensor const& x, int to, int tag, bool) override {
    check_tensor("send", x);
    check_peer("send", to);
    group_.push_back({Signature(Call::send, x, {}, to, tag), x});
    return pending(x);
  }
  Pending start_receive(Tensor& x, int from, int tag, bool) override {
    check_tensor("receive", x);
    check_peer("receive", from);
    group_.push_back({Signature(Call::receive, x, {}, from, tag), x});
    x.storage().bump_version();
    return pending(x);
  }
  Pending start_barrier(bool) override {
    backend(device_).synchronize(device_.index);
    finish("barrier");
    host_.barrier();
    return pending({});
  }

  void stop(std::string_view why) noexcept override { host_.stop(why); }

  /// Until the stream is empty: what Pending::wait() does.
  void finish(char const* op) {
    throw_if_broken();
    send_group();
    auto const end = Clock::now() + std::chrono::nanoseconds(int64_t(timeout_ * 1e9));
    for (int looks = 0;; ++looks) {
      int const state = driver_.StreamQuery(stream_);
      if (state == 0) return;
      if (state != 600) give_up(op, fmt::format("rank {}'s device reports CUDA error {}", rank(), state));
      int code = success;
      if (looks % 64 == 63) nccl_.CommGetAsyncError(comm_, &code);
      if (code != success && code != in_progress)
        give_up(op, fmt::format("NCCL on rank {}: {}", rank(), nccl_.GetErrorString(code)));
      if (Clock::now() > end)
        give_up(op, fmt::format("a rank did not take part within {} s, says rank {}", timeout_, rank()));
      if (looks > 1000) std::this_thread::sleep_for(20us);
    }
  }
  void throw_if_broken() const {
    if (broken_) throw Error(*broken_);
  }
  bool idle() const { return group_.empty() && driver_.StreamQuery(stream_) == 0; }

 private:
  struct Work final : Pending::Work {
    NcclCommunicator* communicator;
    Tensor result, kept;
    bool ended = false;
    ~Work() override {
      try {
        wait();
      } catch (...) {  // the communicator is broken: its next call says so
      }
    }
    Tensor wait() override {
      if (!ended) communicator->finish("wait");
      ended = true;
      return result;
    }
    bool done() const override { return ended || communicator->idle(); }
  };
  struct Message {
    Signature what;
    Tensor x;
  };

  void check_tensor(char const* op, Tensor const& x) const {
    throw_if_broken();
    check_defined(op, x);
    no_gradient(op, {x});
    check(x.device() == device_ && x.is_contiguous(), op, [&] {
      return Complaint{fmt::format("expected a contiguous tensor on {}, got one on {} with strides {}",
                                   to_string(device_), to_string(x.device()), to_string(x.strides())),
                       "pass x.to(device).contiguous()"};
    });
  }
  void check_reducible(char const* op, Tensor const& x, Reduce reduce) const {
    check_tensor(op, x);
    check(type_of(x.dtype()) >= 0 && (reduce != Reduce::mean || is_floating(x.dtype())), op, [&] {
      return Complaint{fmt::format("NCCL does not reduce {} so", heed::name(x.dtype())), "convert to i32 or f32"};
    });
  }
  void check_peer(char const* op, int other) const {
    check(other >= 0 && other < size(), op, [&] {
      return Complaint{fmt::format("rank {} named rank {} of {}", rank(), other, size()),
                       "ranks run from 0 to size() - 1"};
    });
  }

  static Tensor packed(Signature const& what) {
    Tensor bytes(Shape{int64_t(sizeof what)}, Dtype::u8);
    std::memcpy(bytes.raw(), &what, sizeof what);
    return bytes;
  }

  /// NCCL itself would hang, or mix up memory, where ranks disagree; and it has no deadline for who does not come.
  void agree(Signature what) {
    send_group();
    what.sequence = ++sequence_;
    Tensor const gathered = host_.all_gather(packed(what));
    std::vector<Signature> all(static_cast<size_t>(size()));
    std::memcpy(static_cast<void*>(all.data()), gathered.raw(), bytes_of(gathered));
    if (auto const said = disagreement(all))
      give_up(call_name(what.call), "the ranks called different things: " + *said);
    backend(device_).use(device_.index);
    backend(device_).synchronize(device_.index);
  }

  void send_group() {
    if (group_.empty()) return;
    std::vector<Message> group;
    group.swap(group_);
    std::vector<Pending> under_way;
    std::vector<Tensor> theirs;
    theirs.reserve(group.size());
    for (Message const& message : group) {
      theirs.push_back(packed(message.what));
      int const peer = message.what.root, tag = message.what.tag;
      under_way.push_back(message.what.call == Call::send ? host_.start_send(theirs.back(), peer, tag)
                                                          : host_.start_receive(theirs.back(), peer, tag));
    }
    for (Pending& pending : under_way) pending.wait();
    for (size_t i = 0; i < group.size(); ++i) {
      Signature said;
      std::memcpy(&said, theirs[i].raw(), sizeof said);
      if (said.operand() != group[i].what.operand())
        give_up("receive",
                fmt::format("rank {}: {}; rank {}: {}", group[i].what.root, said.text(), rank(), group[i].what.text()));
    }
    backend(device_).use(device_.index);
    backend(device_).synchronize(device_.index);
    nccl_.GroupStart();
    int code = success;
    for (Message const& message : group) {
      void* const at = message.x.address();
      int const peer = message.what.root;
      int const got = message.what.call == Call::send
                          ? nccl_.Send(at, bytes_of(message.x), byte_type, peer, comm_, stream_)
                          : nccl_.Recv(at, bytes_of(message.x), byte_type, peer, comm_, stream_);
      if (got != success) code = got;
      if (message.what.call == Call::send) sent_ += int64_t(bytes_of(message.x));
    }
    int const ended = nccl_.GroupEnd();
    demand("ncclGroupEnd", code != success ? code : ended);
  }

  void queued(char const* function, Tensor const& x, int code) {
    sent_ += int64_t(bytes_of(x));
    demand(function, code);
  }
  void demand(char const* function, int code) {
    if (code != success && code != in_progress)
      give_up(function, fmt::format("NCCL on rank {}: {}", rank(), nccl_.GetErrorString(code)));
  }

  /// ncclCommInitRank waits for all ranks for ever: on a thread of its own, it can be left to itself.
  void meet(UniqueId const& unique, int device) {
    struct Met {
      int code = success;
      Comm comm = nullptr;
    };
    auto const met = std::make_shared<Met>();
    bool const ended =
        in_time(timeout_, [met, unique, device, init = nccl_.CommInitRank, size = size(), rank = rank(), on = device_] {
          backend(on).use(device);
          met->code = init(&met->comm, size, unique, rank);
        });
    if (!ended) give_up("nccl", fmt::format("NCCL did not bring all ranks together within {} s", timeout_));
    demand("ncclCommInitRank", met->code);
    comm_ = met->comm;
  }

  [[noreturn]] void give_up(char const* op, std::string const& problem) {
    host_.stop(fmt::format("{}: {}", op, problem));
    broken_.emplace(op, "", problem, "see what the other ranks printed; NCCL_DEBUG=INFO makes NCCL say more");
    if (comm_) std::thread([abort = nccl_.CommAbort, comm = comm_] { abort(comm); }).detach();
    throw Error(*broken_);
  }

  Pending pending(Tensor const& result, Tensor const& kept = {}) {
    auto work = std::make_unique<Work>();
    work->communicator = this;
    work->result = result;
    work->kept = kept;
    return Pending(std::move(work));
  }

  Communicator& host_;
  Device const device_;
  double const timeout_;
  Nccl nccl_{};
  Driver driver_{};
  Comm comm_ = nullptr;
  Stream stream_ = nullptr;
  std::vector<Message> group_;
  std::optional<Error> broken_;
  uint64_t sequence_ = 0;
  int64_t sent_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> nccl(Communicator& host, int device, Options options) {
  return std::make_unique<NcclCommunicator>(host, device, options);
}

std::vector<std::string> missing_in_nccl(std::string const& library) {
  std::vector<std::string> missing;
  load<Nccl>(library, &missing);
  return missing;
}

}  // namespace heed::distributed
