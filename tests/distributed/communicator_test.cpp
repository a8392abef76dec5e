// Collectives between threads: what they give, in every type, and what bad input gets.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "../support/op_case.h"
#include "exercise.h"

using namespace heed;
using namespace heed::distributed;
using namespace heed::test;

namespace {

/// The operand of one rank.
Tensor of_rank(int rank, Shape const& shape, Dtype dtype) { return numbers(shape, uint32_t(100 + rank), dtype); }

/// The definition: rank after rank, in f32 for 16 bits.
Tensor reduced(std::vector<Tensor> const& parts, Reduce reduction) {
  Dtype const dtype = parts[0].dtype(), wide = is_half(dtype) ? Dtype::f32 : dtype;
  Tensor sum = parts[0].to(wide);
  for (size_t k = 1; k < parts.size(); ++k) {
    Tensor const next = parts[k].to(wide);
    if (dtype == Dtype::boolean)
      sum = reduction == Reduce::min ? logical_and(sum, next) : logical_or(sum, next);
    else
      sum = reduction == Reduce::max ? maximum(sum, next) : reduction == Reduce::min ? minimum(sum, next) : sum + next;
  }
  if (reduction == Reduce::mean) sum = sum / double(parts.size());
  return sum.to(dtype);
}

/// Checks are made by the test's thread: what ranks see is told as a list of complaints.
struct Complaints {
  std::mutex lock;
  std::vector<std::string> all;
  void expect(bool ok, std::string const& what) {
    std::lock_guard const guard(lock);
    if (!ok) all.push_back(what);
  }
};

}  // namespace

TEST_CASE("collectives give what they say, in every type and for sizes that do not divide") {
  for (int const size : {1, 2, 3, 5})
    for (Dtype const dtype : every_dtype)
      for (int64_t const n : {0, 1, 7, 1000, 70001}) {
        Complaints complaints;
        run_ranks(size, [&](Communicator& c) {
          std::vector<Tensor> parts, blocks;
          for (int r = 0; r < size; ++r) {
            parts.push_back(of_rank(r, {n}, dtype));
            blocks.push_back(of_rank(r, {size * 3, n % 11}, dtype));
          }
          auto const mine = size_t(c.rank());
          for (Reduce const reduction : {Reduce::sum, Reduce::mean, Reduce::max, Reduce::min}) {
            if (reduction == Reduce::mean && !is_floating(dtype)) continue;
            Tensor x = parts[mine].clone();
            c.all_reduce(x, reduction);
            complaints.expect(same_bits(x, reduced(parts, reduction)), "all_reduce");
            Tensor const rows = c.reduce_scatter(blocks[mine], reduction);
            complaints.expect(
                same_bits(rows, reduced(blocks, reduction).slice(0, 3 * c.rank(), 3 * c.rank() + 3).contiguous()),
                "reduce_scatter");
          }
          complaints.expect(same_bits(c.all_gather(parts[mine]), cat(parts, 0)), "all_gather");
          for (int root = 0; root < size; ++root) {
            Tensor x = parts[mine].clone();
            c.broadcast(x, root);
            complaints.expect(same_bits(x, parts[size_t(root)]), "broadcast");
          }
          c.barrier();
          if (size > 1) {
            Tensor got(Shape{n}, dtype);
            int const next = (c.rank() + 1) % size, before = (c.rank() + size - 1) % size;
            Pending sent = c.start_send(parts[mine], next), received = c.start_receive(got, before);
            received.wait();
            sent.wait();
            complaints.expect(same_bits(got, parts[size_t(before)]), "send and receive");
          }
        });
        INFO(size, " ranks, ", std::string(name(dtype)), " [", n, "]");
        CHECK(complaints.all == std::vector<std::string>{});
      }
}

TEST_CASE("what is under way may be waited for in any order, and let go of") {
  Complaints complaints;
  run_ranks(3, [&](Communicator& c) {
    std::vector<Tensor> x;
    std::vector<Pending> under_way;
    for (int k = 0; k < 20; ++k) {
      x.push_back(full({k % 2 ? 5 : 40000}, double(c.rank() + k)));
      under_way.push_back(c.start_all_reduce(x.back()));
    }
    for (size_t k = 20; k-- > 10;)
      complaints.expect(same_bits(under_way[k].wait(), full(x[k].shape(), 3.0 * double(k) + 3)), "late");
    under_way.clear();  // waits
    for (size_t k = 0; k < 10; ++k)
      complaints.expect(same_bits(x[k], full(x[k].shape(), 3.0 * double(k) + 3)), "dropped");
  });
  CHECK(complaints.all == std::vector<std::string>{});
}

TEST_CASE("ranks that call different things are told who called what") {
  std::string said[2];
  auto const both = [&](auto first, auto second) {
    try {
      run_ranks(2, [&](Communicator& c) {
        said[c.rank()] = error_of([&] { c.rank() == 0 ? first(c) : second(c); });
        CHECK(error_of([&] { c.barrier(); }) == said[c.rank()]);  // broken for good
      });
    } catch (Error const&) {
    }
    CHECK(said[0].substr(said[0].find(':')) == said[1].substr(said[1].find(':')));
    return said[0];
  };
  Tensor a = zeros({10}), b = zeros({10}), c20 = zeros({20}), d = zeros({10}, Dtype::f64);
  auto const has = [](std::string const& text, char const* part) { return text.find(part) != std::string::npos; };
  CHECK(has(both([&](Communicator& c) { c.all_reduce(a); }, [&](Communicator& c) { c.broadcast(b, 0); }),
            "rank 0: all_reduce f32 [10]; rank 1: broadcast f32 [10] from rank 0"));
  CHECK(has(both([&](Communicator& c) { c.all_reduce(a); }, [&](Communicator& c) { c.all_reduce(c20); }),
            "rank 0: all_reduce f32 [10]; rank 1: all_reduce f32 [20]"));
  CHECK(has(both([&](Communicator& c) { c.all_reduce(a); }, [&](Communicator& c) { c.all_reduce(d); }),
            "rank 0: all_reduce f32 [10]; rank 1: all_reduce f64 [10]"));
  CHECK(has(both([&](Communicator& c) { c.all_reduce(a); }, [&](Communicator& c) { c.all_reduce(b, Reduce::mean); }),
            "rank 1: all_reduce (mean) f32 [10]"));
  CHECK(has(both([&](Communicator& c) { c.broadcast(a, 0); }, [&](Communicator& c) { c.broadcast(b, 1); }),
            "rank 0: broadcast f32 [10] from rank 0; rank 1: broadcast f32 [10] from rank 1"));
  CHECK(has(both(
                [&](Communicator& c) {
                  c.barrier();
                  c.all_gather(a);
                },
                [&](Communicator& c) {
                  c.all_gather(b);
                  c.barrier();
                }),
            "rank 0: barrier; rank 1: all_gather f32 [10]"));
  Tensor big = zeros({100000}), other = zeros({99999});
  CHECK(has(both([&](Communicator& c) { c.reduce_scatter(big); }, [&](Communicator& c) { c.all_gather(other); }),
            "rank 0: reduce_scatter f32 [100000]; rank 1: all_gather f32 [99999]"));
}

TEST_CASE("a message that is not what was awaited is told to both") {
  std::string said[2];
  CHECK_THROWS_AS(run_ranks(2,
                            [&](Communicator& c) {
                              Tensor x = zeros({c.rank() == 0 ? 40000 : 30000});
                              said[c.rank()] = error_of([&] { c.rank() == 0 ? c.send(x, 1, 5) : c.receive(x, 0, 5); });
                              if (!said[c.rank()].empty()) throw std::runtime_error(said[c.rank()]);
                            }),
                  Error);
  for (std::string const& one : said)
    CHECK(one.find("rank 0: send f32 [40000] to rank 1, tag 5; rank 1: receive f32 [30000] from rank 0, tag 5") !=
          one.npos);
}

TEST_CASE("messages of one tag keep their order, and those of another may overtake them") {
  Complaints complaints;
  run_ranks(2, [&](Communicator& c) {
    int const other = 1 - c.rank();
    std::vector<Tensor> out, in;
    std::vector<Pending> under_way;
    for (int k = 0; k < 30; ++k) {  // large and small ones in turn
      out.push_back(full({k % 3 ? 5 : 30000}, double(100 * c.rank() + k)));
      in.push_back(zeros(out.back().shape()));
    }
    for (size_t k = 0; k < 30; ++k) under_way.push_back(c.start_send(out[k], other, int(k % 2)));
    for (size_t tag : {1, 0})
      for (size_t k = tag; k < 30; k += 2) under_way.push_back(c.start_receive(in[k], other, int(tag)));
    Tensor x = ones({50000});
    c.all_reduce(x);  // beside them
    complaints.expect(same_bits(x, full({50000}, 2.0)), "all_reduce beside messages");
    while (!under_way.empty()) under_way.pop_back();
    for (size_t k = 0; k < 30; ++k)
      complaints.expect(same_bits(in[k], full(in[k].shape(), double(100 * other) + double(k))), "message");
  });
  CHECK(complaints.all == std::vector<std::string>{});
}

TEST_CASE("bad operands are Errors of the one rank, and nothing is sent") {
  run_ranks(2, [&](Communicator& c) {
    Tensor x = ones({4, 6}), ids = ones({4}, Dtype::i32), odd = ones({3, 2}), wanting = ones({4});
    wanting.requires_grad_();
    Tensor turned = x.t();
    auto const says = [&](auto f, char const* part) {
      std::string const said = error_of(f);
      INFO(said);
      CHECK(said.find(part) != std::string::npos);
    };
    says([&] { c.all_reduce(turned); }, "expected a contiguous tensor");
    says([&] { c.all_reduce(ids, Reduce::mean); }, "the mean of i32");
    says([&] { c.all_reduce(wanting); }, "requires");
    says([&] { c.reduce_scatter(odd); }, "expected rows that 2 ranks can share, got [3, 2]");
    says([&] { c.broadcast(x, 2); }, "named rank 2 of 2");
    says([&] { c.broadcast(x, -1); }, "named rank -1 of 2");
    says([&] { c.send(x, c.rank()); }, "named rank");
    says([&] { c.receive(x, 7); }, "named rank 7 of 2");
    says([&] { c.send(x, 1 - c.rank(), -1); }, "tag -1");
    says([&] { Pending().wait(); }, "nothing is under way");
    Tensor none;
    says([&] { c.all_reduce(none); }, "all_reduce");
    c.all_reduce(x);  // still whole
    CHECK(x.at(0, 0).item() == 2);
    NoGrad const guard;
    c.all_reduce(wanting);
    CHECK(wanting.at(0).item() == 2);
  });
  std::string const said = error_of([] { run_ranks(0, [](Communicator&) {}); });
  CHECK(said.find("0 ranks") != std::string::npos);
  CHECK(error_of([] { run_ranks(1, [](Communicator&) {}, {.timeout = -3}); }).find("the timeout is -3") !=
        std::string::npos);
  CHECK(error_of([] { run_ranks(1, [](Communicator&) {}, {.largest_message = 5}); }).find("at most 5 bytes") !=
        std::string::npos);
}

TEST_CASE("an in-place collective counts as a change of its tensor") {
  run_ranks(2, [&](Communicator& c) {
    Tensor w = ones({3}), x = ones({3});
    w.requires_grad_();
    Tensor const y = sum(w * x);
    {
      NoGrad const guard;
      c.all_reduce(x);
    }
    CHECK(error_of([&] { backward(y); }).find("version") != std::string::npos);
  });
}

TEST_CASE("a rank that throws, leaves or does not come is named to the others in time") {
  auto const outcome = [](double timeout, auto of_rank_1) {
    std::vector<std::string> said(3);
    auto const start = std::chrono::steady_clock::now();
    std::string const thrown = error_of([&] {
      run_ranks(3,
                [&](Communicator& c) {
                  c.barrier();
                  if (c.rank() == 1) return of_rank_1(c);
                  Tensor x = ones({100});
                  said[size_t(c.rank())] = error_of([&] { c.all_reduce(x); });
                  CHECK(error_of([&] { c.barrier(); }) == said[size_t(c.rank())]);
                },
                {.timeout = timeout});
    });
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(8));
    CHECK(said[0].find("rank 1") != std::string::npos);
    CHECK(said[2].find("rank 1") != std::string::npos);
    return std::pair(said[0], thrown);
  };
  auto const threw = outcome(30, [](Communicator&) { throw std::runtime_error("the disk is full"); });
  CHECK(threw.first.find("rank 1 stopped: the disk is full") != std::string::npos);
  CHECK(threw.second.find("rank 1: the disk is full") != std::string::npos);
  auto const left = outcome(30, [](Communicator&) {});
  CHECK(left.first.find("rank 1 ended after 1 collectives") != std::string::npos);
  auto const late = outcome(0.5, [](Communicator&) { std::this_thread::sleep_for(std::chrono::seconds(2)); });
  CHECK(late.first.find("rank 1 did not arrive at all_reduce #2 (f32 [100]) within 0.5 s; ranks 0 and 2 did") !=
        std::string::npos);
  auto const silent = outcome(0.5, [](Communicator& c) {  // waits for what nobody sends
    Tensor x = ones({100});
    CHECK(error_of([&] { c.receive(x, 0, 9); }).find("rank 0") != std::string::npos);
  });
  CHECK(silent.first.find("rank 1") != std::string::npos);
}

TEST_CASE("small messages carry what large ones do") {
  for (int const size : {2, 3}) {
    std::vector<uint64_t> large(size_t(size), 0), small(size_t(size), 1);
    run_ranks(size, [&](Communicator& c) { large[size_t(c.rank())] = exercise(c, {0, 5, 700, 3001}); });
    run_ranks(size,
              [&](Communicator& c) {
                small[size_t(c.rank())] = exercise(c, {0, 5, 700, 3001});
              },
              {.largest_message = 96});
    CHECK(large == small);
  }
}

TEST_CASE("a NaN stays in the largest and the smallest") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  run_ranks(3, [&](Communicator& c) {
    for (int where = 0; where < 3; ++where)
      for (Reduce const reduce : {Reduce::max, Reduce::min, Reduce::sum}) {
        Tensor x = full({2}, double(c.rank()));
        if (c.rank() == where) x.slice(0, 0, 1).fill_(nan);
        c.all_reduce(x, reduce);
        CHECK(std::isnan(x.at(0).item()));
        CHECK(x.at(1).item() == (reduce == Reduce::max ? 2 : reduce == Reduce::min ? 0 : 3));
      }
  });
}

TEST_CASE("the launcher's variables say who we are") {
  auto const with = [](std::vector<std::pair<char const*, char const*>> const& variables) {
    constexpr char const* known[] = {"OMPI_COMM_WORLD_RANK",
                                     "OMPI_COMM_WORLD_SIZE",
                                     "OMPI_COMM_WORLD_LOCAL_RANK",
                                     "OMPI_COMM_WORLD_LOCAL_SIZE",
                                     "PMI_RANK",
                                     "PMI_SIZE",
                                     "MV2_COMM_WORLD_RANK",
                                     "MV2_COMM_WORLD_SIZE",
                                     "SLURM_PROCID",
                                     "SLURM_STEP_NUM_TASKS",
                                     "SLURM_LOCALID",
                                     "RANK",
                                     "WORLD_SIZE",
                                     "LOCAL_RANK",
                                     "LOCAL_WORLD_SIZE"};
    for (char const* name : known) unsetenv(name);
    for (auto const& [name, value] : variables) setenv(name, value, 1);
    std::string text;
    std::string const said = error_of([&] {
      Environment const here = environment();
      text = std::to_string(here.rank) + "/" + std::to_string(here.size) + " " + std::to_string(here.local_rank) + "/" +
             std::to_string(here.local_size) + " " + here.source;
    });
    std::string const connecting = error_of([] { connect(); });
    for (char const* name : known) unsetenv(name);
    return std::pair(said.empty() ? text : said, connecting);
  };
  CHECK(with({}).first == "0/1 0/1 ");
  CHECK(with({}).second.empty());
  CHECK(with({{"SLURM_PROCID", "0"}}).first == "0/1 0/1 ");  // a batch script, not a step of srun
  CHECK(with({{"SLURM_PROCID", "3"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_LOCALID", "1"}}).first ==
        "3/8 1/2 SLURM_PROCID");
  CHECK(with({{"PMI_RANK", "1"}, {"PMI_SIZE", "4"}}).first == "1/4 0/1 PMI_RANK");
  CHECK(with({{"RANK", "2"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "0"}, {"LOCAL_WORLD_SIZE", "2"}}).first ==
        "2/4 0/2 RANK");
  CHECK(with({{"RANK", "4"}, {"WORLD_SIZE", "4"}}).first.find("RANK is 4 and WORLD_SIZE is 4") != std::string::npos);
  CHECK(with({{"RANK", "x"}, {"WORLD_SIZE", "4"}}).first.find("RANK is 'x'") != std::string::npos);
  setenv("HEED_MPI_MODULE", "/nowhere/libheed_mpi.so", 1);
  CHECK(with({{"RANK", "1"}, {"WORLD_SIZE", "4"}})
            .second.find("RANK says that this is rank 1 of 4, but heed's MPI module is not here") != std::string::npos);
  unsetenv("HEED_MPI_MODULE");
}
