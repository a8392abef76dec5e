// Data parallel training: every rank holds the model, works on its rows of a batch, and steps by the same gradients.
#pragma once

#include <heed/engine/hooks.h>
#include <heed/engine/random.h>
#include <heed/nn/module.h>
#include <heed/optim/distributed/batch_norm.h>
#include <heed/optim/distributed/communicator.h>
#include <heed/optim/distributed/shares.h>
#include <heed/optim/trainer.h>

#include <optional>
#include <vector>

namespace heed::distributed {

/// `shared`, for draws that must differ from rank to rank: another seed on every rank but 0, the same offset.
Generator of_rank(Generator const& shared, int rank);

struct DataParallelOptions {
  int64_t bucket_bytes = 1 << 19;  // of gradients that go out together
  /// What else has gradients: a regulariser's state(), whose leaves that require one count as parameters.
  std::vector<nn::NamedTensor> also = {};
  bool synchronize_batch_norm = false;  // statistics of all ranks' rows (batch_norm.h)
};

/// Li et al., "PyTorch Distributed: experiences on accelerating data parallel training" (2020). The gradients go out in
/// buckets, in reverse order of the parameters, each as soon as backward has added its last one, beside the rest of
/// backward; they are summed in the order of the ranks. Where each rank's loss is the mean over its rows divided by
/// parts(), the sum over ranks is the gradient of the mean over all rows, on every rank and with the same bits:
///
///   DataParallel parallel(model, communicator);
///   Rows const own = parallel.rows(batch.size(0));
///   Tensor const loss = loss_of(model, batch.slice(0, own.first, own.first + own.count)) / parallel.parts();
///   loss.backward();
///   parallel.finish();  // waits; model's gradients are those of the whole batch
///   optimizer.step();
///
/// A gradient that has gone out is not in memory twice: from then to finish() its parameter has none. A parameter that
/// no rank used keeps no gradient; one that some rank did not use counts as zero there. A shared parameter goes out
/// once. With a Trainer, trainer.together(parallel) does all of it but rows().
class DataParallel final : public optim::Together {
 public:
  /// Every rank gets the parameters, buffers and default_generator() of rank 0. An Error on every rank where they hold
  /// different models, or compute with kernels of different instruction sets (whose rounding differs).
  DataParallel(nn::Module& model, Communicator& communicator, DataParallelOptions const& options = {});
  ~DataParallel() override;
  DataParallel(DataParallel const&) = delete;
  DataParallel& operator=(DataParallel const&) = delete;

  /// This rank's rows of a batch of `total`; parts() follows.
  Rows rows(int64_t total);
  double parts() const override { return parts_; }

  /// While it lives, gradients of backward stay here: for all batches of a step but the last.
  class [[nodiscard]] NoSync {
   public:
    explicit NoSync(DataParallel& parallel) : parallel_(parallel), before_(parallel.held_) { parallel.held_ = true; }
    ~NoSync() { parallel_.held_ = before_; }
    NoSync(NoSync const&) = delete;
    NoSync& operator=(NoSync const&) = delete;

   private:
    DataParallel& parallel_;
    bool before_;
  };
  NoSync no_sync() { return NoSync(*this); }

  /// Until finish(), default_generator() draws for this rank alone (of_rank()): dropout differs over ranks; all else
  /// draws the same everywhere.
  void begin() override;
  void last(Sum own) override;
  /// Gradients of the whole batch, on every rank. Buffers (running statistics) are rank 0's from here on.
  Sum finish() override;

  /// Seconds that finish() has waited so far: what backward did not hide.
  double waited() const { return waited_; }
  Communicator& communicator() const { return communicator_; }

 private:
  struct Bucket {
    std::vector<size_t> members;
    size_t missing = 0;
    Tensor flat = {};  // their gradients, then for each 1 where it has one
    Pending pending = {};
  };
  void arrived(size_t parameter);
  void launch(Bucket& bucket);
  void land(Bucket& bucket);
  void start_sums(Sum own);

  Communicator& communicator_;
  std::optional<SynchronizedBatchNorm> batch_norm_;
  std::vector<Tensor> parameters_;
  std::vector<std::vector<Tensor>> buffers_;  // in runs of one type
  std::vector<HookHandle> hooks_;
  std::vector<Bucket> buckets_;    // in the order in which they go out
  std::vector<size_t> bucket_of_;  // by parameter
  std::vector<bool> arrived_;
  size_t next_ = 0;  // bucket
  bool held_ = false, begun_ = false, summing_ = false;
  double parts_, waited_ = 0;
  uint64_t shared_seed_ = 0;
  Tensor sums_;
  Pending pending_sums_;
  std::vector<std::pair<Tensor, Pending>> pending_buffers_;
};

}  // namespace heed::distributed
