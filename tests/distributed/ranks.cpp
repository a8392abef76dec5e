// heed-ranks: one rank of a program under mpirun, for tests and measurements (mpi_test.cpp, kill.sh, hosts.sh).
//   exercise SIZE,SIZE… [LARGEST]   the digest of every collective's results; messages of at most LARGEST bytes
//   fail CALL HOW MILLISECONDS [RANK]  calls CALL over and over; RANK (1) ends after a while by HOW: kill, stop, throw,
//   exit, late bench [BYTES [few]]              time of all_reduce, small and of BYTES
#include <heed/optim/distributed.h>
#include <heed/optim/distributed/host.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "exercise.h"

using namespace heed;
using namespace heed::distributed;
using Clock = std::chrono::steady_clock;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

void call(Communicator& c, std::string const& name, Tensor& x) {
  int const next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
  if (name == "all_reduce") return c.all_reduce(x);
  if (name == "reduce_scatter") return void(c.reduce_scatter(x));
  if (name == "all_gather") return void(c.all_gather(x));
  if (name == "broadcast") return c.broadcast(x, 0);
  if (name == "barrier") return c.barrier();
  if (name == "send") {  // rank 0 gives, the last takes, those between hand on
    if (c.rank() > 0) c.receive(x, before);
    if (c.rank() + 1 < c.size()) c.send(x, next);
    return;
  }
  if (name == "receive") {
    Tensor got = zeros(x.shape());
    Pending sent = c.start_send(x, next), received = c.start_receive(got, before);
    received.wait();
    return void(sent.wait());
  }
  throw std::runtime_error("no such call: " + name);
}

void fail_after(Communicator& c, std::string const& name, std::string const& how, int milliseconds, int victim) {
  Tensor small = ones({c.size() * 10}), large = ones({c.size() * 500000});
  auto const end = Clock::now() + std::chrono::milliseconds(milliseconds);
  bool const me = c.rank() == victim;
  if (me && (how == "kill" || how == "stop"))  // in the midst of whatever it does
    std::thread([=] {
      std::this_thread::sleep_until(end);
      std::printf("victim at %.3f\n", now());
      std::fflush(stdout);
      ::kill(getpid(), how == "kill" ? SIGKILL : SIGSTOP);
    }).detach();
  for (int round = 0;; ++round) {
    if (me && Clock::now() >= end && how != "kill" && how != "stop") {
      std::printf("victim at %.3f\n", now());
      std::fflush(stdout);
      if (how == "throw") throw std::runtime_error("the disk is full");
      if (how == "exit") return;
      if (how == "late") std::this_thread::sleep_for(std::chrono::hours(1));
    }
    call(c, name, round % 2 ? large : small);
  }
}

/// Seconds of one call, the least of `rounds` batches.
template <class F>
double seconds(Communicator& c, int rounds, int calls, F f) {
  double least = 1e9;
  for (int round = 0; round < rounds; ++round) {
    c.barrier();
    auto const start = Clock::now();
    for (int k = 0; k < calls; ++k) f();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count() / calls);
  }
  return least;
}

/// `few`: for slow cables.
void bench(Communicator& c, int64_t bytes, bool few) {
  Tensor small = ones({16}), middle = ones({4096}), large = ones({bytes / 4});
  double const one = seconds(c, few ? 3 : 20, few ? 5 : 100, [&] { c.all_reduce(small); });
  double const some = seconds(c, few ? 3 : 20, few ? 5 : 50, [&] { c.all_reduce(middle); });
  double const barrier = seconds(c, few ? 3 : 20, few ? 5 : 100, [&] { c.barrier(); });
  double const started = seconds(c, few ? 3 : 20, few ? 5 : 50, [&] { c.start_all_reduce(small).wait(); });
  double const much = seconds(c, few ? 2 : 7, few ? 1 : 2, [&] { c.all_reduce(large); });
  double const pair = c.size() == 2 ? seconds(c, few ? 3 : 20, few ? 5 : 50,
                                              [&] {
                                                c.rank() == 0 ? c.send(small, 1) : c.receive(small, 0);
                                                c.rank() == 0 ? c.receive(small, 1) : c.send(small, 0);
                                              })
                                    : 0;
  if (c.rank() == 0)
    std::printf(
        "%s, %d ranks: all_reduce of 64 B %.1f us (started: %.1f us), of 16 KB %.1f us, barrier %.1f us, there and "
        "back %.1f us; "
        "all_reduce of %.0f MB %.1f ms = %.2f GB/s\n",
        c.name().c_str(), c.size(), one * 1e6, started * 1e6, some * 1e6, barrier * 1e6, pair * 1e6,
        double(bytes) / 1e6, much * 1e3, double(bytes) / much / 1e9);
}

void act(Communicator& c, int argc, char** argv) {
  std::string const what = argc > 1 ? argv[1] : "";
  if (what == "exercise") {
    std::vector<int64_t> sizes;
    for (char const* at = argv[2]; at; at = std::strchr(at, ','), at += at ? 1 : 0) sizes.push_back(std::atoll(at));
    std::printf("rank %d of %d %016llx\n", c.rank(), c.size(),
                static_cast<unsigned long long>(test::exercise(c, sizes)));
  } else if (what == "fail" && argc >= 5) {
    fail_after(c, argv[2], argv[3], std::atoi(argv[4]), argc > 5 ? std::atoi(argv[5]) : 1);
  } else if (what == "bench") {
    bench(c, argc > 2 ? std::atoll(argv[2]) : 64 << 20, argc > 3);
  } else {
    throw std::runtime_error("heed-ranks exercise|fail|bench");
  }
}

}  // namespace

int main(int argc, char** argv) {
  int rank = -1;
  try {
    rank = environment().rank;
    Options options;
    if (argc > 3 && std::string(argv[1]) == "exercise") options.largest_message = std::atoll(argv[3]);
    // A rank that does not come: `fail connect …`.
    if (argc > 4 && std::string(argv[2]) == "connect" && rank == (argc > 5 ? std::atoi(argv[5]) : 1)) {
      std::printf("victim at %.3f\n", now());
      std::fflush(stdout);
      std::string const how = argv[3];
      if (how == "exit") return 0;
      if (how == "late") std::this_thread::sleep_for(std::chrono::hours(1));
      ::kill(getpid(), how == "kill" ? SIGKILL : SIGSTOP);
    }
    if (argc > 2 && std::string(argv[1]) == "threads") {  // threads N …: the same between threads
      run_ranks(
          std::atoi(argv[2]), [&](Communicator& c) { act(c, argc - 2, argv + 2); }, options);
      return 0;
    }
    auto const communicator = connect(options);
    run(*communicator, [&](Communicator& c) { act(c, argc, argv); });
  } catch (std::exception const& error) {
    std::printf("survivor %d at %.3f: %s\n", rank, now(), error.what());
    std::fflush(stdout);
    return 1;
  }
}
