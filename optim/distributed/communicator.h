// Communicator: what the ranks of one program say to each other. Every rank calls the same collectives in the same
// order.
#pragma once

#include <heed/engine/tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace heed::distributed {

enum class Reduce : uint8_t { sum, mean, max, min };

struct Options {
  /// Seconds that a rank waits for another before it calls the roll; 0: HEED_DISTRIBUTED_TIMEOUT, else 60.
  double timeout = 0;
  /// Bytes that one message of the carrier holds at most; 0: what it can. Longer ones go in parts.
  int64_t largest_message = 0;
};

/// A collective under way. Letting go of it waits for it too; its Error, if any, comes with the communicator's next
/// call. Several may be under way, and be waited for in any order.
class Pending {
 public:
  struct Work;  // pending.h
  Pending();
  explicit Pending(std::unique_ptr<Work> work);
  Pending(Pending&& other) noexcept;
  Pending& operator=(Pending&& other) noexcept;
  ~Pending();

  /// The result: of what works in place, the tensor itself. A second call gives it again.
  Tensor wait();
  /// Whether wait() would return, or throw, at once.
  bool done() const;

 private:
  std::unique_ptr<Work> work_;
};

/// The tensors are contiguous, on device() (the processor, but for NCCL), and of one shape and type on every
/// rank unless said otherwise; where the ranks disagree about operation, shape, type, root or order, each gets an Error
/// that says who called what, before anything is written. Nothing is recorded: a tensor that requires a gradient is an
/// Error outside NoGrad.
///
/// Reductions add rank 0, 1, 2 … in this order, in f32 for 16-bit types: the same bits on every rank, in every run, and
/// for every carrier but NCCL. mean divides the sum by size() and is for floating types; sum and max of booleans are
/// "or", min is "and"; a NaN makes max and min NaN.
///
/// A rank that dies, stops with an exception or does not arrive within the timeout is an Error on the others that names
/// it. The communicator is broken then: every later call gives that Error. Use one communicator from one thread.
class Communicator {
 public:
  Communicator() = default;
  Communicator(Communicator const&) = delete;
  Communicator& operator=(Communicator const&) = delete;
  /// Waits for what is under way, then tells the others that this rank has ended (with an exception in flight: that it
  /// stopped). Takes no longer than the timeout.
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// The carrier: "one", "threads", "mpi", "nccl".
  virtual std::string name() const = 0;
  /// Where its tensors are.
  virtual Device device() const { return cpu; }
  /// What this rank has given to the carrier so far, headers included.
  virtual int64_t bytes_sent() const = 0;

  /// x = Σ over ranks of x (or mean, max, min), in place.
  void all_reduce(Tensor& x, Reduce reduction = Reduce::sum) { start_all_reduce(x, reduction, true).wait(); }
  /// x [size·n, …] → [n, …]: rank r gets rows r·n … of the reduced x.
  Tensor reduce_scatter(Tensor const& x, Reduce reduction = Reduce::sum) {
    return start_reduce_scatter(x, reduction, true).wait();
  }
  /// x [n, …] → [size·n, …]: the rows of rank 0, then those of rank 1, …
  Tensor all_gather(Tensor const& x) { return start_all_gather(x, true).wait(); }
  /// x = the x of `root`, in place.
  void broadcast(Tensor& x, int root) { start_broadcast(x, root, true).wait(); }
  /// From one rank to another; the pair agrees about shape, type and `tag` (0 … 1000), and messages of one tag keep
  /// their order. A send may wait until the other receives: exchange by start_send and start_receive.
  void send(Tensor const& x, int to, int tag = 0) { start_send(x, to, tag, true).wait(); }
  void receive(Tensor& x, int from, int tag = 0) { start_receive(x, from, tag, true).wait(); }
  /// Returns when every rank has called it.
  void barrier() { start_barrier(true).wait(); }

  // The same, under way beside the caller's work. Until wait() a tensor that is written must not be touched, and one
  // that is read must not be changed. `now`: the caller is about to wait, and may carry it out itself.
  virtual Pending start_all_reduce(Tensor& x, Reduce reduction = Reduce::sum, bool now = false) = 0;
  virtual Pending start_reduce_scatter(Tensor const& x, Reduce reduction = Reduce::sum, bool now = false) = 0;
  virtual Pending start_all_gather(Tensor const& x, bool now = false) = 0;
  virtual Pending start_broadcast(Tensor& x, int root, bool now = false) = 0;
  virtual Pending start_send(Tensor const& x, int to, int tag = 0, bool now = false) = 0;
  virtual Pending start_receive(Tensor& x, int from, int tag = 0, bool now = false) = 0;
  virtual Pending start_barrier(bool now = false) = 0;

  /// Tells the other ranks that this one stops, so that they need not wait for the deadline: their calls throw
  /// "rank 1 stopped: why". For whoever catches an exception that this rank does not survive.
  virtual void stop(std::string_view why) noexcept = 0;

 protected:
  /// [n, …] → [size·n, …], a scalar to [size].
  Shape gathered_shape(Tensor const& x) const;
  /// [size·n, …] → [n, …]; an Error where the rows cannot be shared.
  Shape scattered_shape(Tensor const& x) const;
};

/// By the environment (environment.h): over MPI where a launcher such as mpirun or srun started several ranks, else
/// alone. Every rank must call it; one that does not within the timeout is an Error.
std::unique_ptr<Communicator> connect(Options options = {});

/// f(communicator) and, where it throws, stop(what it said) before the exception goes on.
void run(Communicator& communicator, std::function<void(Communicator&)> const& f);

}  // namespace heed::distributed
