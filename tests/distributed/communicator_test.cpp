// Collectives between threads: what they give, in every type, and what bad input gets.
#include <doctest/doctest.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "../support/op_case.h"

using namespace heed;
using namespace heed::distributed;
using namespace heed::test;

namespace {

constexpr Dtype every_dtype[] = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16, Dtype::i8,
                                 Dtype::i16, Dtype::i32, Dtype::i64, Dtype::u8,   Dtype::boolean};

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
}
