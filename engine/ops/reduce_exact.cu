// Reductions of integers and truth values on an accelerator. Memory bounds them.
#include <heed/engine/cuda/rows.h>
#include <heed/engine/cuda/whole.h>
#include <heed/engine/ops/device_tables.h>

#include <array>
#include <utility>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

struct Sum {
  static constexpr int64_t identity = 0;
  __device__ int64_t operator()(int64_t a, int64_t b) const { return int64_t(uint64_t(a) + uint64_t(b)); }
};
struct Product {
  static constexpr int64_t identity = 1;
  __device__ int64_t operator()(int64_t a, int64_t b) const { return int64_t(uint64_t(a) * uint64_t(b)); }
};
struct Largest {
  static constexpr int64_t identity = std::numeric_limits<int64_t>::min();
  __device__ int64_t operator()(int64_t a, int64_t b) const { return a < b ? b : a; }
};
struct Smallest {
  static constexpr int64_t identity = std::numeric_limits<int64_t>::max();
  __device__ int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

template <class Op>
struct Exact {
  using Acc = int64_t;
  static constexpr int pack = 4;
  void const* x;
  void* y;
  Dtype from, to;
  bool truth;       // of x's elements instead of themselves
  int64_t nothing;  // what no element gives
  __device__ int64_t identity() const { return nothing; }
  __device__ void add(int64_t& acc, Run const& run) const {
    for (int i = 0; i < run.count; ++i) {
      int64_t const at = run.at + i * run.step;
      acc = Op()(acc, truth ? int64_t(load_truth(x, from, at)) : load_whole(x, from, at));
    }
  }
  __device__ int64_t join(int64_t a, int64_t b) const { return Op()(a, b); }
  __device__ void finish(int64_t acc, int64_t i) const { store_whole(acc, y, to, i); }
};

constexpr Dtype same = Dtype::f32;  // as result: the operand's type

template <class Op, bool truth, Dtype result, Dtype from>
void reduce(void const* x, void* y, int64_t outer, int64_t n, int64_t inner) {
  int64_t const nothing = !truth ? Op::identity : std::is_same_v<Op, Smallest> ? 1 : 0;
  fold_axis("reduce", Exact<Op>{x, y, from, result == same ? from : result, truth, nothing}, outer, n, inner);
}

template <Dtype from>
constexpr ExactReductions reductions() {
  constexpr Dtype count = Dtype::i64, truth = Dtype::boolean;
  ExactReductions r{};
  if constexpr (!is_floating(from)) {
    r.sum = reduce<Sum, false, count, from>;
    r.prod = reduce<Product, false, count, from>;
    r.max = reduce<Largest, false, same, from>;
    r.min = reduce<Smallest, false, same, from>;
  }
  r.any = reduce<Largest, true, truth, from>;
  r.all = reduce<Smallest, true, truth, from>;
  r.count_true = reduce<Sum, true, count, from>;
  return r;
}

template <size_t... types>
constexpr ExactReduceKernels table(std::index_sequence<types...>) {
  return {{reductions<Dtype(types)>()...}};
}

}  // namespace

ExactReduceKernels const device_exact_reduce_kernels =
    table(std::make_index_sequence<std::extent_v<decltype(ExactReduceKernels::of)>>());

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
