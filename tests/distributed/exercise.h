// Every collective in every type, with the bits that came out: ranks that are threads and ranks under MPI must agree.
#pragma once

#include <heed/engine/ops.h>
#include <heed/optim/distributed.h>

#include <vector>

#include "../support/gradcheck.h"

namespace heed::test {

inline constexpr Dtype every_dtype[] = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16, Dtype::i8,
                                        Dtype::i16, Dtype::i32, Dtype::i64, Dtype::u8,   Dtype::boolean};

/// FNV-1a of the elements' bytes.
inline uint64_t digest(uint64_t hash, Tensor const& x) {
  auto const* const bytes = static_cast<unsigned char const*>(x.raw());
  for (size_t i = 0; i < size_t(x.numel()) * size_of(x.dtype()); ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
  return hash;
}

/// The digest of all that this rank got.
inline uint64_t exercise(distributed::Communicator& c, std::vector<int64_t> const& sizes) {
  using distributed::Pending;
  using distributed::Reduce;
  uint64_t hash = 14695981039346656037u;
  for (Dtype const dtype : every_dtype)
    for (int64_t const n : sizes) {
      Tensor const mine = numbers({n}, uint32_t(100 + c.rank()), dtype);
      Tensor const rows = numbers({c.size() * 3, n}, uint32_t(200 + c.rank()), dtype);
      for (Reduce const reduce : {Reduce::sum, Reduce::mean, Reduce::max, Reduce::min}) {
        if (reduce == Reduce::mean && !is_floating(dtype)) continue;
        Tensor x = mine.clone();
        c.all_reduce(x, reduce);
        hash = digest(hash, x);
        hash = digest(hash, c.reduce_scatter(rows, reduce));
      }
      hash = digest(hash, c.all_gather(mine));
      for (int root = 0; root < c.size(); ++root) {
        Tensor x = mine.clone();
        c.broadcast(x, root);
        hash = digest(hash, x);
      }
      if (c.size() > 1) {
        Tensor got(Shape{n}, dtype);
        int const next = (c.rank() + 1) % c.size(), before = (c.rank() + c.size() - 1) % c.size();
        Pending sent = c.start_send(mine, next, 7), received = c.start_receive(got, before, 7);
        hash = digest(hash, received.wait());
        sent.wait();
      }
      // Several under way, waited for out of order, beside a message.
      std::vector<Tensor> x;
      std::vector<Pending> under_way;
      for (int k = 0; k < 4; ++k) {
        x.push_back(mine.clone());
        under_way.push_back(c.start_all_reduce(x.back()));
      }
      for (size_t k = under_way.size(); k-- > 0;) hash = digest(hash, under_way[k].wait());
    }
  c.barrier();
  return hash;
}

}  // namespace heed::test
