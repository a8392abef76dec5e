// Loops that the compiler vectorises: rows are added to rows of accumulators, in cache.
#include <heed/engine/ops/reduce_exact.h>
#include <heed/engine/ops/rows.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

/// f32, f64 and the 16-bit floats by their bits: what remains of them without the sign is 0 for zeros alone.
template <class Bits>
struct Float {
  Bits bits;
};
template <class T>
bool is_true(T x) {
  return x != 0;
}
template <class Bits>
bool is_true(Float<Bits> x) {
  return Bits(x.bits << 1) != 0;
}

/// Accumulators of type `Acc` hold up to `most` elements; then they are joined, and joined to an `Out`.
template <class T>
struct Sum {
  static constexpr bool narrow = sizeof(T) <= 2;
  using Out = int64_t;
  using Acc = std::conditional_t<narrow, int32_t, uint64_t>;
  static constexpr Acc identity = 0;
  static constexpr int64_t most = narrow ? 65535 : INT64_MAX;
  static Acc step(Acc a, T v) { return a + Acc(v); }
  template <class V>
  static V join(V a, V b) {
    return V(std::make_unsigned_t<V>(a) + std::make_unsigned_t<V>(b));
  }
};
template <class T>
struct Product {
  using Out = int64_t;
  using Acc = uint64_t;
  static constexpr Acc identity = 1;
  static constexpr int64_t most = INT64_MAX;
  static Acc step(Acc a, T v) { return a * uint64_t(int64_t(v)); }
  template <class V>
  static V join(V a, V b) {
    return V(uint64_t(a) * uint64_t(b));
  }
};
template <class T>
struct Largest {
  using Out = T;
  using Acc = T;
  static constexpr Acc identity = std::numeric_limits<T>::lowest();
  static constexpr int64_t most = INT64_MAX;
  static Acc step(Acc a, T v) { return a > v ? a : v; }
  static T join(T a, T b) { return step(a, b); }
};
template <class T>
struct Smallest {
  using Out = T;
  using Acc = T;
  static constexpr Acc identity = std::numeric_limits<T>::max();
  static constexpr int64_t most = INT64_MAX;
  static Acc step(Acc a, T v) { return a < v ? a : v; }
  static T join(T a, T b) { return step(a, b); }
};
template <int size>
using UnsignedOf =
    std::conditional_t<size == 1, uint8_t,
                       std::conditional_t<size == 2, uint16_t, std::conditional_t<size == 4, uint32_t, uint64_t>>>;
template <class T>
struct Any {
  using Out = uint8_t;
  using Acc = UnsignedOf<sizeof(T)>;
  static constexpr Acc identity = 0;
  static constexpr int64_t most = INT64_MAX;
  static Acc step(Acc a, T v) { return a | Acc(is_true(v)); }
  template <class V>
  static V join(V a, V b) {
    return a | b;
  }
};
template <class T>
struct All {
  using Out = uint8_t;
  using Acc = UnsignedOf<sizeof(T)>;
  static constexpr Acc identity = 1;
  static constexpr int64_t most = INT64_MAX;
  static Acc step(Acc a, T v) { return a & Acc(is_true(v)); }
  template <class V>
  static V join(V a, V b) {
    return a & b;
  }
};
template <class T>
struct Count {
  static constexpr bool narrow = sizeof(T) <= 4;
  using Out = int64_t;
  using Acc = std::conditional_t<narrow, int32_t, int64_t>;
  static constexpr Acc identity = 0;
  static constexpr int64_t most = narrow ? INT32_MAX : INT64_MAX;
  static Acc step(Acc a, T v) { return a + Acc(is_true(v)); }
  template <class V>
  static V join(V a, V b) {
    return a + b;
  }
};

constexpr int64_t columns = 512;  // of accumulators

/// acc[c] = step over rows of x[row·stride + c], c < width
template <class Op, class T>
void fold_rows(T const* __restrict x, int64_t rows, int64_t stride, int64_t width, typename Op::Acc* __restrict acc) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4, x += 4 * stride)
    for (int64_t c = 0; c < width; ++c)
      acc[c] =
          Op::step(Op::step(Op::step(Op::step(acc[c], x[c]), x[stride + c]), x[2 * stride + c]), x[3 * stride + c]);
  for (; row < rows; ++row, x += stride)
    for (int64_t c = 0; c < width; ++c) acc[c] = Op::step(acc[c], x[c]);
}

/// out[c] = step over n rows of x[row·stride + c], c < width ≤ columns. Rows without a gap are read as longer ones.
template <class Op, class T>
void fold_block(T const* x, int64_t n, int64_t stride, int64_t width, typename Op::Out* out) {
  using Acc = typename Op::Acc;
  constexpr int64_t enough = 256 / sizeof(Acc);
  int64_t const repeat = stride == width && width < enough ? std::clamp<int64_t>(n / 8, 1, enough / width) : 1;
  std::fill_n(out, width, typename Op::Out(Op::identity));
  alignas(64) Acc acc[columns];
  for (int64_t first = 0; first < n;) {
    int64_t const count = std::min(n - first, Op::most), rows = count / repeat, rest = count % repeat;
    std::fill_n(acc, width * repeat, Op::identity);
    fold_rows<Op>(x + first * stride, rows, stride * repeat, width * repeat, acc);
    fold_rows<Op>(x + (first + rows * repeat) * stride, rest, stride, width, acc);
    for (int64_t left = repeat; left > 1;) {
      int64_t const half = left / 2;
      left -= half;
      for (int64_t c = 0; c < half * width; ++c) acc[c] = Op::join(acc[c], acc[left * width + c]);
    }
    for (int64_t c = 0; c < width; ++c) out[c] = Op::join(out[c], typename Op::Out(acc[c]));
    first += count;
  }
}

/// What the driver below knows of an Op over T.
struct Fold {
  int64_t in, out;  // bytes of an element
  void (*block)(void const* x, int64_t n, int64_t stride, int64_t width, void* out);
  void (*join)(void* into, void const* part, int64_t n);
};
template <class Op, class T>
constexpr Fold fold{sizeof(T), sizeof(typename Op::Out),
                    [](void const* x, int64_t n, int64_t stride, int64_t width, void* out) {
                      fold_block<Op>(static_cast<T const*>(x), n, stride, width, static_cast<typename Op::Out*>(out));
                    },
                    [](void* into, void const* part, int64_t n) {
                      using Out = typename Op::Out;
                      for (int64_t i = 0; i < n; ++i) {
                        Out& y = static_cast<Out*>(into)[i];
                        y = Op::join(y, static_cast<Out const*>(part)[i]);
                      }
                    }};

void reduce_by(Fold const& f, void const* from, void* to, int64_t outer, int64_t n, int64_t inner) {
  if (outer * inner == 0) return;
  auto const* const x = static_cast<std::byte const*>(from);
  auto* const y = static_cast<std::byte*>(to);
  int64_t const blocks = (inner + columns - 1) / columns, width = std::min(inner, columns);
  // Long columns are split into parts.
  int64_t const height = std::max<int64_t>(16, 65536 / width), parts = std::max<int64_t>(1, (n + height - 1) / height);
  int64_t const each = parts == 1 ? n : height;
  Scratch<std::byte> partial(parts == 1 ? 1 : outer * parts * inner * f.out);
  parallel_for(outer * blocks * parts, std::max<int64_t>(1, 65536 / std::max<int64_t>(1, each * width)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t task = begin; task < end; ++task) {
                   int64_t const part = task % parts, block = task / parts % blocks, o = task / parts / blocks;
                   int64_t const first = part * each, column = block * columns;
                   std::byte* const line =
                       parts == 1 ? y + o * inner * f.out : partial.data() + (o * parts + part) * inner * f.out;
                   f.block(x + ((o * n + first) * inner + column) * f.in, std::min(each, n - first), inner,
                           std::min(columns, inner - column), line + column * f.out);
                 }
               });
  if (parts == 1) return;
  int64_t const line = inner * f.out;
  for (int64_t o = 0; o < outer; ++o) {
    std::byte const* part = partial.data() + o * parts * line;
    std::memcpy(y + o * line, part, size_t(line));
    for (int64_t p = 1; p < parts; ++p) f.join(y + o * line, part += line, inner);
  }
}
template <class Op, class T>
void reduce(void const* x, void* y, int64_t outer, int64_t n, int64_t inner) {
  reduce_by(fold<Op, T>, x, y, outer, n, inner);
}

template <class T>
constexpr ExactReductions integers{reduce<Sum<T>, T>,      reduce<Product<T>, T>, reduce<Largest<T>, T>,
                                   reduce<Smallest<T>, T>, reduce<Any<T>, T>,     reduce<All<T>, T>,
                                   reduce<Count<T>, T>};
template <class T>
constexpr ExactReductions floats{
    nullptr, nullptr, nullptr, nullptr, reduce<Any<T>, T>, reduce<All<T>, T>, reduce<Count<T>, T>};

constexpr ExactReduceKernels table() {
  ExactReduceKernels k{};
  k.of[int(Dtype::f32)] = floats<Float<uint32_t>>;
  k.of[int(Dtype::f64)] = floats<Float<uint64_t>>;
  k.of[int(Dtype::f16)] = k.of[int(Dtype::bf16)] = floats<Float<uint16_t>>;
  k.of[int(Dtype::i8)] = integers<int8_t>;
  k.of[int(Dtype::i16)] = integers<int16_t>;
  k.of[int(Dtype::i32)] = integers<int32_t>;
  k.of[int(Dtype::i64)] = integers<int64_t>;
  k.of[int(Dtype::u8)] = k.of[int(Dtype::boolean)] = integers<uint8_t>;
  return k;
}

}  // namespace

constinit ExactReduceKernels const exact_reduce_kernels = table();

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
