// Table lookup.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/embedding.h>
#include <heed/engine/ops/embedding_bag.h>
#include <heed/engine/tape.h>

#include <cmath>

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
  int64_t const rows = table.size(0), n = index.numel();
  check(rows > 0 || n == 0, "embedding", [&] {
    return Complaint{fmt::format("a table of shape {} has no row", to_string(table.shape())), "give it one or more"};
  });
  int64_t const* const i = index.device().is_cpu() ? index.data<int64_t>() : nullptr;  // kernels elsewhere check theirs
  for (int64_t k = 0; i && k < n; ++k)
    check(i[k] >= 0 && i[k] < rows, "embedding", [&] {
      return Complaint{fmt::format("index {} at position {} is outside a table of {} rows", i[k], k, rows),
                       fmt::format("use 0 to {}", rows - 1)};
    });
  Shape shape = index.shape();
  shape.push_back(table.size(1));
  return shape;
}

/// The row that `options` leave out, or -1.
int64_t padding_row(std::optional<int64_t> padding_idx, int64_t rows) {
  if (!padding_idx) return -1;
  check(*padding_idx >= -rows && *padding_idx < rows, "embedding", [&] {
    return Complaint{fmt::format("padding_idx {} is outside a table of {} rows", *padding_idx, rows),
                     fmt::format("use {} to {}", -rows, rows - 1)};
  });
  return *padding_idx < 0 ? *padding_idx + rows : *padding_idx;
}

/// Rows of g summed into a table of `rows` rows, `padding` left at 0: the adjoint of the lookup, itself differentiable.
Tensor embedding_adjoint(Tensor const& g, Tensor const& index, int64_t rows, int64_t padding) {
  Tensor const from = g.contiguous();
  int64_t const n = g.size(-1);
  Tensor table({rows, n}, g.dtype(), g.device());
  Observed const watch("embedding", {&from, &index}, {&table});
  dispatch_floating("embedding", g.dtype(), [&]<class T>(Type<T>) {
    kernels<EmbeddingKernels>(g.device(), "embedding")
        .of<T>()
        .backward(from.address<T>(), index.address<int64_t>(), padding, table.address<T>(), index.numel(), rows, n);
  });
  if (tracked(g))
    record("embedding_adjoint", table, {&g}, [index, padding](Tensor const& h, Node const&) {
      Tensor const d = embedding(index, h);
      return std::array{padding < 0 ? d : where((index == double(padding)).unsqueeze(-1), 0.0, d)};
    });
  return table;
}

/// 1/(how often index names the same row), for each position.
Tensor inverse_frequency(Tensor const& index, int64_t rows, Dtype dtype) {
  NoGrad const off;
  Shape each = index.shape();
  each.push_back(1);
  return 1.0 / embedding(index, embedding_adjoint(ones(each, dtype, index.device()), index, rows, -1));
}

}  // namespace

Tensor embedding(Tensor const& index_in, Tensor const& table, EmbeddingOptions const& options) {
  check_defined("embedding", index_in);
  if (table.defined() && is_half(table.dtype()))
    return embedding(index_in, table.to(Dtype::f32), options).to(table.dtype());
  Tensor const index = index_in.dtype() == Dtype::i32 ? index_in.to(Dtype::i64) : index_in.contiguous();
  Tensor const from = table.defined() ? table.contiguous() : table;
  Shape const shape = check_lookup(index, from);
  int64_t const rows = from.size(0), padding = padding_row(options.padding_idx, rows);
  Device const device = common_device("embedding", {&from, &index});
  Tensor y(shape, from.dtype(), device);
  Observed const watch("embedding", {&index}, {&y});  // not the whole table: the rows read are as long as y
  dispatch_floating("embedding", from.dtype(), [&]<class T>(Type<T>) {
    kernels<EmbeddingKernels>(device, "embedding")
        .of<T>()
        .forward(from.address<T>(), index.address<int64_t>(), y.address<T>(), index.numel(), rows, from.size(1));
  });
  if (tracked(from))
    record("embedding", y, {&from},
           [index = Saved(index), rows, padding, by_frequency = options.scale_grad_by_freq](Tensor const& g,
                                                                                            Node const& node) {
             Tensor const& i = index.get(node);
             if (!by_frequency) return std::array{embedding_adjoint(g, i, rows, padding)};
             return std::array{embedding_adjoint(g * inverse_frequency(i, rows, g.dtype()), i, rows, padding)};
           });
  return y;
}

namespace {

/// The elements of all bags, one after the other: place in index, row of the table, bag.
struct Bags {
  std::vector<int64_t> place, row, bag, size;
};

Tensor list(std::vector<int64_t> const& values) { return tensor(values, {int64_t(values.size())}); }

Bags bags_of(Tensor const& index, int64_t rows, EmbeddingBagOptions const& options) {
  Bags bags;
  int64_t const n = index.numel();
  std::vector<int64_t> starts;
  if (index.rank() == 2) {
    for (int64_t b = 0; b < index.size(0); ++b) starts.push_back(b * index.size(1));
  } else {
    starts = options.offsets.to_vector<int64_t>();
  }
  if (index.rank() == 2 || !options.include_last_offset) starts.push_back(n);
  int64_t const padding = padding_row(options.padding_idx, rows);
  int64_t const* const i = index.data<int64_t>();
  for (size_t b = 0; b + 1 < starts.size(); ++b) {
    bags.size.push_back(0);
    check(starts[b] >= 0 && starts[b] <= starts[b + 1] && starts[b + 1] <= n && starts[0] == 0, "embedding_bag", [&] {
      return Complaint{fmt::format("bag {} goes from {} to {} of {} indices", b, starts[b], starts[b + 1], n),
                       "pass offsets that start at 0, do not fall, and stay within the index"};
    });
    for (int64_t k = starts[b]; k < starts[b + 1]; ++k) {
      if (i[k] == padding) continue;
      bags.place.push_back(k);
      bags.row.push_back(i[k]);
      bags.bag.push_back(int64_t(b));
      ++bags.size.back();
    }
  }
  return bags;
}

/// The elements of the table at `winner` [B, C], counted row by row; 0 where it is -1.
Tensor won(Tensor const& winner, Tensor const& table) {
  Tensor const none = winner < 0;
  Tensor const y = embedding(where(none, 0, winner), table.reshape({table.numel(), 1})).squeeze(-1);
  return where(none, 0.0, y);
}

/// Each bag's largest elements, the first of equals; NaN wins.
Tensor largest_of_bags(Bags const& bags, Tensor const& table) {
  int64_t const n = table.size(1), count = int64_t(bags.size.size());
  Tensor const from = table.contiguous();
  std::vector<int64_t> winner(size_t(count * n), -1);
  dispatch_floating("embedding_bag", table.dtype(), [&]<class T>(Type<T>) {
    T const* const x = from.data<T>();
    for (size_t k = 0; k < bags.row.size(); ++k)
      for (int64_t j = 0; j < n; ++j) {
        int64_t& best = winner[size_t(bags.bag[k] * n + j)];
        int64_t const here = bags.row[k] * n + j;
        if (best < 0 || x[here] > x[best] || (std::isnan(x[here]) && !std::isnan(x[best]))) best = here;
      }
  });
  return won(tensor(winner, {count, n}), from);
}

/// On an accelerator, which is not asked for the bags: one more takes what is padding, or behind the last.
Tensor device_bags(Tensor const& index, Tensor const& table, EmbeddingBagOptions const& options) {
  Device const device = common_device("embedding_bag", {&index, &table});
  bool const two = index.rank() == 2, has_end = !two && options.include_last_offset;
  Tensor const starts =
      two ? arange(index.size(0), device) * index.size(1) : options.offsets.to(Dtype::i64).to(device).contiguous();
  int64_t const count = starts.numel() - has_end, columns = table.size(1), rows = table.size(0);
  BagRuns const runs{index.address<int64_t>(),
                     starts.address<int64_t>(),
                     has_end ? starts.address<int64_t>() + count : nullptr,
                     index.numel(),
                     count,
                     padding_row(options.padding_idx, rows)};
  auto const& kernels = device_kernels<BagKernels>(device, "embedding_bag");
  if (options.mode == BagMode::max) {
    Tensor const winner({count, columns}, Dtype::i64, device), from = table.contiguous();
    Observed const watch("embedding_bag", {&index, &from}, {&winner});
    dispatch_floating("embedding_bag", table.dtype(), [&]<class T>(Type<T>) {
      kernels.of<T>().largest(runs, from.address<T>(), rows, columns, winner.address<int64_t>());
    });
    return won(winner, from);
  }
  Tensor const bag({index.numel()}, Dtype::i64, device);
  {
    Observed const watch("embedding_bag", {&index}, {&bag});
    kernels.bags(runs, bag.address<int64_t>());
  }
  auto const total = [&](Tensor const& x) { return embedding_adjoint(x, bag, count + 1, -1).slice(0, 0, count); };
  Tensor picked = embedding(index.reshape({-1}), table, {.scale_grad_by_freq = options.scale_grad_by_freq});
  if (options.per_sample_weights.defined()) picked = picked * options.per_sample_weights.reshape({-1, 1});
  if (options.mode == BagMode::sum) return total(picked);
  return total(picked) / clamp_min(total(ones({index.numel(), 1}, table.dtype(), device)), 1);
}

}  // namespace

Tensor embedding_bag(Tensor const& index_in, Tensor const& table, EmbeddingBagOptions const& options) {
  check_defined("embedding_bag", index_in);
  check_defined("embedding_bag", table);
  if (is_half(table.dtype())) {
    EmbeddingBagOptions wide = options;
    if (wide.per_sample_weights.defined()) wide.per_sample_weights = wide.per_sample_weights.to(Dtype::f32);
    return embedding_bag(index_in, table.to(Dtype::f32), wide).to(table.dtype());
  }
  Tensor const index = index_in.dtype() == Dtype::i32 ? index_in.to(Dtype::i64) : index_in.contiguous();
  check_lookup(index, table);
  Tensor const &offsets = options.offsets, &weights = options.per_sample_weights;
  bool const one_axis = index.rank() == 1;
  check((one_axis && offsets.defined() && offsets.rank() == 1 && !is_floating(offsets.dtype()) &&
         offsets.numel() >= int64_t(options.include_last_offset)) ||
            (index.rank() == 2 && !offsets.defined()),
        "embedding_bag", [&] {
          return Complaint{
              fmt::format("expected an index [B, L], or [N] and offsets [B], got {} and {}", to_string(index.shape()),
                          offsets.defined() ? to_string(offsets.shape()) : "no offsets"),
              "pass offsets with an index of one axis, and only then"};
        });
  check(!weights.defined() || (weights.shape() == index.shape() && options.mode == BagMode::sum), "embedding_bag", [&] {
    return Complaint{fmt::format("expected weights of shape {} for a sum, got {}", to_string(index.shape()),
                                 to_string(weights.shape())),
                     "weigh sums only, one weight for each index"};
  });
  if (!common_device("embedding_bag", {&index, &table}).is_cpu()) return device_bags(index, table, options);
  Bags const bags = bags_of(index, table.size(0), options);
  int64_t const count = int64_t(bags.size.size());
  if (options.mode == BagMode::max) return largest_of_bags(bags, table);
  Tensor picked = embedding(list(bags.row), table, {.scale_grad_by_freq = options.scale_grad_by_freq});
  if (weights.defined()) picked = picked * embedding(list(bags.place), weights.reshape({weights.numel(), 1}));
  Tensor const total = embedding_adjoint(picked, list(bags.bag), count, -1);
  if (options.mode == BagMode::sum) return total;
  std::vector<double> sizes;
  for (int64_t size : bags.size) sizes.push_back(double(size ? size : 1));
  return total / tensor(sizes, {count, 1}).to(table.dtype());
}

/// one_hot(index)·table
Tensor naive::embedding(Tensor const& index, Tensor const& table) {
  Tensor const one_hot = (index.unsqueeze(-1) == arange(table.size(0), index.device())).to(table.dtype());
  return matmul(one_hot, table);
}

}  // namespace heed
