// The carrier over MPI: the module libheed_mpi.so, which connect() loads. Only MPI's messages are used, never its
// collectives: those cannot say which rank is missing, and they have no deadline.
#include <heed/optim/distributed/in_time.h>
#include <heed/optim/distributed/transport.h>
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace heed::distributed {
namespace {

using State = Transport::State;
using namespace std::chrono_literals;

std::string text_of(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return text;
}

/// Several communicators may be in use at once: MPI is called by one thread at a time.
std::mutex mpi;
bool ours = false;    // we began it, and end it
bool healthy = true;  // every communicator ended with all ranks' consent
int open_transports = 0;

/// At the end of the program. Without the others' consent MPI would wait for ever: it is left to the launcher then.
void finalize() {
  if (ours && healthy && open_transports == 0) in_time(10, [] { MPI_Finalize(); });
}

/// Which ranks of this machine have come to connect(): a file each, in the launcher's folder for this job.
class Arrivals {
 public:
  Arrivals() {
    char const* const folder = std::getenv("PMIX_SERVER_TMPDIR");
    char const* const job = std::getenv("PMIX_NAMESPACE");
    char const* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
    if (!folder || !job || !rank) return;
    prefix_ = std::string(folder) + "/heed-" + job + "-";
    std::ofstream const mark(prefix_ + rank);
  }
  /// " (rank 1 did not)"; empty where it cannot be said.
  std::string missing() const {
    char const* const size = std::getenv("OMPI_COMM_WORLD_SIZE");
    char const* const local = std::getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (prefix_.empty() || !size || !local || std::string(size) != local) return "";  // on several machines
    std::string text;
    int count = 0;
    for (int r = 0; r < std::atoi(size); ++r) {
      std::error_code ignored;
      if (std::filesystem::exists(prefix_ + std::to_string(r), ignored)) continue;
      text += (count++ ? ", " : "") + std::to_string(r);
    }
    if (text.empty()) return "";
    return std::string(count == 1 ? ": rank " : ": ranks ") + text + " did not";
  }

 private:
  std::string prefix_;
};

/// Where a rank runs: a process number means something only on one machine, in one namespace of processes.
struct Place {
  uint64_t machine = 14695981039346656037u;
  int64_t process = getpid();
  Place() {
    std::error_code ignored;
    std::string text = std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string(), line;
    std::ifstream boot("/proc/sys/kernel/random/boot_id");
    if (std::getline(boot, line)) text += line;
    for (char const c : text) machine = (machine ^ static_cast<unsigned char>(c)) * 1099511628211u;  // FNV-1a
  }
};

/// A communicator of its own, whose messages no other's can be taken for.
struct Start {
  MPI_Comm communicator = MPI_COMM_NULL;
  std::vector<Place> places;  // of all ranks
  std::string why;

  void operator()() {
    int begun = 0, level = MPI_THREAD_SINGLE;
    MPI_Request request = MPI_REQUEST_NULL;
    {
      std::lock_guard const guard(mpi);
      MPI_Initialized(&begun);
      if (!begun) {
        int const code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &level);
        if (code != MPI_SUCCESS) return void(why = "MPI did not start");
        ours = true;
        std::atexit(finalize);
      }
      int over = 0;
      MPI_Finalized(&over);
      if (over) return void(why = "MPI has been finalized");
      MPI_Query_thread(&level);
      if (level < MPI_THREAD_SERIALIZED)
        return void(why = "MPI was begun without threads: call MPI_Init_thread with MPI_THREAD_SERIALIZED");
      MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
      int const code = MPI_Comm_idup(MPI_COMM_WORLD, &communicator, &request);
      if (code != MPI_SUCCESS) return void(why = text_of(code));
    }
    if (!finish(request)) return;
    Place const here;
    {
      std::lock_guard const guard(mpi);
      MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN);
      int size = 1;
      MPI_Comm_size(communicator, &size);
      places.resize(size_t(size));
      int const code =
          MPI_Iallgather(&here, sizeof here, MPI_BYTE, places.data(), sizeof here, MPI_BYTE, communicator, &request);
      if (code != MPI_SUCCESS) return void(why = text_of(code));
    }
    finish(request);
  }

 private:
  bool finish(MPI_Request& request) {
    for (int done = 0; !done; std::this_thread::sleep_for(100us)) {
      std::lock_guard const guard(mpi);
      int const code = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      if (code == MPI_SUCCESS) continue;
      why = text_of(code);
      return false;
    }
    return true;
  }
};

class MpiTransport final : public Transport {
 public:
  MpiTransport(MPI_Comm communicator, std::vector<Place> places)
      : communicator_(communicator), places_(std::move(places)) {
    std::lock_guard const guard(mpi);
    MPI_Comm_rank(communicator_, &rank_);
    MPI_Comm_size(communicator_, &size_);
    ++open_transports;
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  char const* name() const override { return "mpi"; }
  size_t largest_message() const override { return size_t(1) << 30; }  // MPI counts in int

  int send(int to, int tag, void const* data, size_t bytes) override {
    int const at = take(false);
    std::lock_guard const guard(mpi);
    codes_[size_t(at)] = MPI_Isend(data, int(bytes), MPI_BYTE, to, tag, communicator_, &requests_[size_t(at)]);
    return at;
  }
  int receive(int from, int tag, void* data, size_t bytes) override {
    int const at = take(true);
    std::lock_guard const guard(mpi);
    codes_[size_t(at)] = MPI_Irecv(data, int(bytes), MPI_BYTE, from, tag, communicator_, &requests_[size_t(at)]);
    return at;
  }

  State test(int request) override {
    int done = 0;
    auto const at = size_t(request);
    if (codes_[at] == MPI_SUCCESS) {
      std::lock_guard const guard(mpi);
      codes_[at] = MPI_Test(&requests_[at], &done, MPI_STATUS_IGNORE);
    }
    if (codes_[at] != MPI_SUCCESS)
      failure_ = text_of(codes_[at]);
    else if (!done)
      return State::pending;
    requests_[at] = MPI_REQUEST_NULL;
    free_.push_back(request);
    return codes_[at] == MPI_SUCCESS ? State::done : State::failed;
  }
  std::string failure() const override { return failure_; }
  bool alive(int rank) override {
    Place const& there = places_[size_t(rank)];
    if (there.machine != places_[size_t(rank_)].machine) return true;
    if (::kill(pid_t(there.process), 0) != 0) return errno != ESRCH;
    // One that died is a zombie until its launcher looks: "number (name) Z …".
    std::ifstream file("/proc/" + std::to_string(there.process) + "/stat");
    std::string text;
    std::getline(file, text);
    size_t const name_end = text.rfind(')');
    return name_end == text.npos || text.compare(name_end, 3, ") Z") != 0;
  }
  bool needs_progress() const override { return true; }

  bool abandon() override {
    std::lock_guard const guard(mpi);
    bool none = true;
    for (size_t at = 0; at < requests_.size(); ++at) {
      if (requests_[at] == MPI_REQUEST_NULL) continue;
      none = false;
      if (receives_[at]) MPI_Cancel(&requests_[at]);
    }
    return none;
  }

  void close(bool agreed) override {
    std::lock_guard const guard(mpi);
    --open_transports;
    if (!agreed) healthy = false;
  }

 private:
  int take(bool receives) {
    if (free_.empty()) {
      free_.push_back(int(requests_.size()));
      requests_.push_back(MPI_REQUEST_NULL);
      codes_.push_back(MPI_SUCCESS);
      receives_.push_back(false);
    }
    int const at = free_.back();
    free_.pop_back();
    receives_[size_t(at)] = receives;
    return at;
  }

  MPI_Comm const communicator_;
  std::vector<Place> const places_;
  int rank_ = 0, size_ = 1;
  std::vector<MPI_Request> requests_;
  std::vector<int> codes_, free_;
  std::vector<bool> receives_;
  std::string failure_;
};

}  // namespace
}  // namespace heed::distributed

extern "C" __attribute__((visibility("default"))) heed::distributed::Transport* heed_mpi_transport(double timeout,
                                                                                                   char* why,
                                                                                                   size_t room) {
  using namespace heed::distributed;
  Arrivals const arrivals;
  auto const start = std::make_shared<Start>();
  bool const begun = in_time(timeout, [start] { (*start)(); });
  if (begun && start->why.empty()) return new MpiTransport(start->communicator, start->places);
  healthy = false;
  if (begun)
    std::snprintf(why, room, "%s", start->why.c_str());
  else
    std::snprintf(why, room, "not every rank came to connect() within %g s%s", timeout, arrivals.missing().c_str());
  return nullptr;
}
