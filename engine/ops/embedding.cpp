// Table lookup.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/embedding.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

Shape check_lookup(Tensor const& index, Tensor const& table) {
  check_defined("embedding", index);
  check_defined("embedding", table);
  check(table.rank() == 2 && index.dtype() == Dtype::i64, "embedding", [&] {
    return Complaint{fmt::format("expected an index of i64 and a table [V, C], got {} and a table of shape {}",
                                 name(index.dtype()), to_string(table.shape())),
                     "convert the index with .to(Dtype::i64), or reshape the table"};
  });
  int64_t const rows = table.size(0);
  int64_t const* const i = index.data<int64_t>();
  for (int64_t k = 0, n = index.numel(); k < n; ++k)
    check(i[k] >= 0 && i[k] < rows, "embedding", [&] {
      return Complaint{fmt::format("index {} at position {} is outside a table of {} rows", i[k], k, rows),
                       fmt::format("use 0 to {}", rows - 1)};
    });
  Shape shape = index.shape();
  shape.push_back(table.size(1));
  return shape;
}

/// Rows of g summed into a table of `rows` rows: the adjoint of the lookup, itself differentiable.
Tensor embedding_adjoint(Tensor const& g, Tensor const& index, int64_t rows) {
  Tensor const from = g.contiguous();
  int64_t const n = g.size(-1);
  Tensor table({rows, n}, g.dtype());
  Observed const watch("embedding", {&from, &index}, {&table});
  dispatch_floating("embedding", g.dtype(), [&]<class T>(Type<T>) {
    kernels<EmbeddingKernels>().of<T>().backward(from.data<T>(), index.data<int64_t>(), -1, table.data<T>(),
                                                 index.numel(), rows, n);
  });
  if (tracked(g))
    record("embedding_adjoint", table, {&g},
           [index](Tensor const& h, Node const&) { return std::array{embedding(index, h)}; });
  return table;
}

}  // namespace

Tensor embedding(Tensor const& index, Tensor const& table) {
  check_defined("embedding", index);
  Tensor const where = index.contiguous(), from = table.defined() ? table.contiguous() : table;
  Shape const shape = check_lookup(where, from);
  Tensor y(shape, from.dtype());
  Observed const watch("embedding", {&where}, {&y});  // not the whole table: the rows read are as long as y
  dispatch_floating("embedding", from.dtype(), [&]<class T>(Type<T>) {
    kernels<EmbeddingKernels>().of<T>().forward(from.data<T>(), where.data<int64_t>(), y.data<T>(), where.numel(),
                                                from.size(1));
  });
  if (tracked(from))
    record("embedding", y, {&from}, [index = Saved(where), rows = from.size(0)](Tensor const& g, Node const& node) {
      return std::array{embedding_adjoint(g, index.get(node), rows)};
    });
  return y;
}

/// one_hot(index)·table
Tensor naive::embedding(Tensor const& index, Tensor const& table) {
  Tensor const one_hot = (index.unsqueeze(-1) == arange(table.size(0))).to(table.dtype());
  return matmul(one_hot, table);
}

}  // namespace heed
