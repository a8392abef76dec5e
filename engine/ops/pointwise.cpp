// Pointwise operations: one driver for each number of operands, which every row of pointwise.h passes through.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/elementwise.h>
#include <heed/engine/ops/formulas.h>
#include <heed/engine/ops/pointwise.h>
#include <heed/engine/ops/pointwise_device.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/tape.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <limits>

namespace heed {

// The Tensor reading of a formula: what rows and Dual find by argument-dependent lookup.
Tensor constant_like(Tensor const& x, double value) { return full({}, value, x.dtype(), x.device()).expand(x.shape()); }
Tensor select(Tensor const& mask, Tensor const& a, Tensor const& b) { return where(mask, a, b); }
Tensor normal_cdf(Tensor const& x) { return ndtr(x); }
Tensor max(Tensor const& a, Tensor const& b) { return where(a > b, a, b); }
Tensor min(Tensor const& a, Tensor const& b) { return where(a < b, a, b); }
Tensor max(double a, Tensor const& b) { return where(b < a, a, b); }
Tensor min(double a, Tensor const& b) { return where(b > a, a, b); }

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Integers where a formula needs a floating type.
Dtype floating(Dtype d) { return is_floating(d) ? d : Dtype::f32; }

// ---- on accelerators -----------------------------------------------------------------------------------------------

template <class T>
T* address_or_null(Tensor const& t) {
  return t.defined() ? t.address<T>() : nullptr;
}

Tensor widened_or_none(Tensor const& t) { return t.defined() && is_half(t.dtype()) ? t.to(Dtype::f32) : t; }

/// f(table, wide y…) with kernels of y's type; 16-bit results are computed in f32 and narrowed.
template <class F>
void on_device(char const* op, std::initializer_list<Tensor*> results, F const& f) {
  Tensor const* first = nullptr;
  for (Tensor const* y : results)
    if (y->defined()) first = y;
  if (!first || first->numel() == 0) return;
  Device const device = first->device();
  bool const half = is_half(first->dtype());
  Dtype const narrow = first->dtype();
  if (half)
    for (Tensor* y : results)
      if (y->defined()) *y = Tensor(y->shape(), Dtype::f32, device);
  dispatch_floating(op, half ? Dtype::f32 : narrow,
                    [&]<class T>(Type<T>) { f(device_kernels<DevicePointwiseKernels>(device, op).of<T>(), T()); });
  if (half)
    for (Tensor* y : results)
      if (y->defined()) *y = y->detach().to(narrow);
}

// ---- one operand ----------------------------------------------------------------------------------------------------

/// What a row is to its driver: the driver is compiled once, not once a row.
struct UnaryRow {
  char const* name;
  unsigned reads;
  int index;  // in UnaryRows
  Tensor (*slope)(void const* row, Tensor const& x, Tensor const& y);
  alignas(double) std::byte row[2 * sizeof(double)];  // the row object

  template <class R>
  explicit UnaryRow(R const& from) : name(R::name), reads(R::reads), index(UnaryRows::index_of<R>), slope(slope_of<R>) {
    static_assert(std::is_trivially_copyable_v<R> && sizeof(R) <= sizeof(row));
    std::memcpy(row, &from, sizeof(R));
  }

 private:
  template <class R>
  static Tensor slope_of(void const* row, Tensor const& x, Tensor const& y) {
    return heed::slope(*static_cast<R const*>(row), x, y);
  }
};

Tensor unary_gradient(UnaryRow const& row, Tensor const& g, Tensor const& x, Tensor const& y) {
  if (recording()) {
    Tensor const& stand_in = g;  // for what the slope does not read
    return g * row.slope(row.row, row.reads & reads_x ? x : stand_in, row.reads & reads_y ? y : stand_in);
  }
  Tensor const from = g.contiguous();
  Tensor dx(from.shape(), from.dtype(), from.device());
  if (!from.device().is_cpu()) {
    Tensor const gw = widened_or_none(from), xw = row.reads & reads_x ? widened_or_none(x) : Tensor(),
                 yw = row.reads & reads_y ? widened_or_none(y) : Tensor();
    on_device(row.name, {&dx}, [&]<class T>(DevicePointwiseTable<T> const& table, T) {
      table.unary[row.index].backward(row.row, gw.address<T>(), address_or_null<T>(xw), address_or_null<T>(yw),
                                      dx.address<T>(), dx.numel());
    });
    return dx;
  }
  elementwise<3, 1>(
      row.name, from.shape(), from.dtype(),
      std::array{&from, row.reads & reads_x ? &x : nullptr, row.reads & reads_y ? &y : nullptr},
      std::array<Tensor const*, 1>{&dx}, [&]<class T>(T const* const* in, int64_t const*, T* const* out, int64_t n) {
        kernels<PointwiseKernels>().of<T>().unary[row.index].backward(row.row, in[0], in[1], in[2], out[0], n);
      });
  return dx;
}

Tensor unary(UnaryRow const& row, Tensor const& operand) {
  check_defined(row.name, operand);
  Tensor const x = operand.to(floating(operand.dtype())).contiguous();
  Tensor y(x.shape(), x.dtype(), x.device());
  if (x.device().is_cpu())
    elementwise<1, 1>(row.name, x.shape(), x.dtype(), std::array{&x}, std::array<Tensor const*, 1>{&y},
                      [&]<class T>(T const* const* in, int64_t const*, T* const* out, int64_t n) {
                        kernels<PointwiseKernels>().of<T>().unary[row.index].forward(row.row, in[0], 1, out[0], n);
                      });
  else
    on_device(row.name, {&y}, [&, wide = widened_or_none(x)]<class T>(DevicePointwiseTable<T> const& table, T) {
      table.unary[row.index].forward(row.row, wide.address<T>(), y.address<T>(), y.numel());
    });
  if (tracked(x))
    record(row.name, y, {&x},
           [row, x = row.reads & reads_x ? Saved(x) : Saved(),
            y = row.reads & reads_y ? SavedOutput(y) : SavedOutput()](Tensor const& g, Node const& node) {
             return std::array{unary_gradient(row, g, x.get(node), y.get(node))};
           });
  return y;
}

template <class R>
Tensor unary(R const& row, Tensor const& operand) {
  return unary(UnaryRow(row), operand);
}

// ---- two operands ---------------------------------------------------------------------------------------------------

using Integers = Tensor(char const* op, Tensor const& left, Tensor const& right, Dtype dtype);

/// Rows whose formula integers have too; the others take integers as f32.
template <class R>
constexpr Integers* of_integers = nullptr;
template <>
constexpr Integers* of_integers<row::Add> = integers<whole::Add>;
template <>
constexpr Integers* of_integers<row::Sub> = integers<whole::Sub>;
template <>
constexpr Integers* of_integers<row::Mul> = integers<whole::Mul>;
template <>
constexpr Integers* of_integers<row::Maximum> = integers<whole::Maximum>;
template <>
constexpr Integers* of_integers<row::Minimum> = integers<whole::Minimum>;

/// As UnaryRow; rows of two operands have no parameters.
struct BinaryRow {
  char const* name;
  unsigned reads;
  int index;  // in BinaryRows
  int sum;    // 1 for a + b and -1 for a - b, whose gradients are g and ±g
  Partials<Tensor> (*slopes)(Tensor const& a, Tensor const& b, Tensor const& y);
  Integers* integers;
  void const* row;
};
template <class R>
constexpr R stateless{};
template <class R>
constexpr BinaryRow binary_row{
    R::name,
    R::reads,
    BinaryRows::index_of<R>,
    std::is_same_v<R, row::Add>   ? 1
    : std::is_same_v<R, row::Sub> ? -1
                                  : 0,
    [](Tensor const& a, Tensor const& b, Tensor const& y) { return Partials<Tensor>(slopes(R(), a, b, y)); },
    of_integers<R>,
    &stateless<R>};

std::array<Tensor, 2> binary_gradient(BinaryRow const& row, Tensor const& g, Tensor const& a, Tensor const& b,
                                      Tensor const& y, Node const& node) {
  std::array<Tensor, 2> d;
  if (recording()) {
    Tensor const& stand_in = g;
    auto const [da, db] =
        row.slopes(row.reads & reads_a ? a.expand(g.shape()) : stand_in,
                   row.reads & reads_b ? b.expand(g.shape()) : stand_in, row.reads & reads_y ? y : stand_in);
    if (node.needs(0)) d[0] = g * da;
    if (node.needs(1)) d[1] = g * db;
  } else {
    Tensor const from = g.contiguous();
    for (int k : {0, 1})
      if (node.needs(k)) d[size_t(k)] = Tensor(from.shape(), from.dtype(), from.device());
    if (!from.device().is_cpu()) {
      Tensor const gw = widened_or_none(from), aw = widened_or_none(a), bw = widened_or_none(b),
                   yw = widened_or_none(y);
      auto const operand = [](Tensor const& t) { return t.defined() ? &t : nullptr; };
      Broadcast const walk = walk_of<3>(from.shape(), std::array<Tensor const*, 2>{operand(aw), operand(bw)});
      on_device(row.name, {&d[0], &d[1]}, [&]<class T>(DevicePointwiseTable<T> const& table, T) {
        table.binary[row.index].backward(row.row, walk, gw.address<T>(), address_or_null<T>(aw), address_or_null<T>(bw),
                                         address_or_null<T>(yw), address_or_null<T>(d[0]), address_or_null<T>(d[1]));
      });
      return d;
    }
    auto const present = [](Tensor const& t) { return t.defined() ? &t : nullptr; };
    elementwise<4, 2>(row.name, from.shape(), from.dtype(), std::array{&from, present(a), present(b), present(y)},
                      std::array{present(d[0]), present(d[1])},
                      [&]<class T>(T const* const* in, int64_t const* strides, T* const* out, int64_t n) {
                        kernels<PointwiseKernels>().of<T>().binary[row.index].backward(
                            row.row, in[0], in[1], strides[1], in[2], strides[2], in[3], out[0], out[1], n);
                      });
  }
  return d;
}

void run_binary(BinaryRow const& row, Tensor const& a, Tensor const& b, Tensor& y) {
  if (!y.device().is_cpu()) {
    Tensor const aw = widened_or_none(a), bw = widened_or_none(b);
    Broadcast const walk = walk_of<3>(y.shape(), std::array<Tensor const*, 2>{&aw, &bw});
    Tensor result = y;
    on_device(row.name, {&result}, [&]<class T>(DevicePointwiseTable<T> const& table, T) {
      table.binary[row.index].forward(row.row, walk, aw.address<T>(), bw.address<T>(), result.address<T>());
    });
    if (is_half(y.dtype()))
      backend(y.device())
          .copy_within(y.device().index, y.address(), result.address(), size_t(y.numel()) * size_of(y.dtype()));
    return;
  }
  elementwise<2, 1>(row.name, y.shape(), y.dtype(), std::array{&a, &b}, std::array<Tensor const*, 1>{&y},
                    [&]<class T>(T const* const* in, int64_t const* strides, T* const* out, int64_t n) {
                      kernels<PointwiseKernels>().of<T>().binary[row.index].forward(row.row, in[0], strides[0], in[1],
                                                                                    strides[1], out[0], n);
                    });
}

Tensor binary(BinaryRow const& row, Tensor const& left, Tensor const& right) {
  check_defined(row.name, left);
  check_defined(row.name, right);
  Dtype dtype = result_type(left, right);
  Shape const shape = broadcast(row.name, left.shape(), right.shape());
  if (row.sum < 0 && dtype == Dtype::boolean)
    fail(row.name, {"the difference of two bool tensors has no meaning", "use logical_xor, or convert with .to()"});
  if (row.integers && !is_floating(dtype)) return row.integers(row.name, left, right, dtype);
  dtype = floating(dtype);
  Device const device = where_to_run(row.name, left, right);
  Tensor const a = operand(left, dtype, device), b = operand(right, dtype, device);
  Tensor y(shape, dtype, device);
  run_binary(row, a, b, y);
  if (!tracked(a, b)) return y;
  if (row.sum)
    record(row.name, y, {&a, &b}, [sum = row.sum](Tensor const& g, Node const& node) {
      return std::array{g, !node.needs(1) ? Tensor() : sum > 0 ? g : -g};
    });
  else
    record(row.name, y, {&a, &b},
           [&row, a = row.reads & reads_a ? Saved(a) : Saved(), b = row.reads & reads_b ? Saved(b) : Saved(),
            y = row.reads & reads_y ? SavedOutput(y) : SavedOutput()](Tensor const& g, Node const& node) {
             return binary_gradient(row, g, a.get(node), b.get(node), y.get(node), node);
           });
  return y;
}

template <class R>
Tensor binary(Tensor const& left, Tensor const& right) {
  return binary(binary_row<R>, left, right);
}

struct CompareRow {
  char const* name;
  int index;  // in CompareRows
  Integers* integers;
  void const* row;
};
template <class R>
constexpr CompareRow compare_row{R::name, CompareRows::index_of<R>, integers<R>, &stateless<R>};

Tensor compare_as(CompareRow const& row, Dtype dtype, Tensor const& left, Tensor const& right) {
  Shape const shape = broadcast(row.name, left.shape(), right.shape());
  NoGrad const off;
  if (is_half(dtype)) dtype = Dtype::f32;
  if (!is_floating(dtype)) return row.integers(row.name, left, right, dtype);
  Device const device = where_to_run(row.name, left, right);
  Tensor const a = operand(left, dtype, device), b = operand(right, dtype, device);
  Tensor y(shape, Dtype::boolean, device);
  Observed const watch(row.name, {&a, &b}, {&y});
  if (!device.is_cpu()) {
    Broadcast const walk = walk_of<3>(shape, std::array<Tensor const*, 2>{&a, &b});
    if (walk.numel > 0)
      dispatch_floating(row.name, dtype, [&]<class T>(Type<T>) {
        device_kernels<DevicePointwiseKernels>(device, row.name)
            .template of<T>()
            .compare[row.index]
            .forward(walk, a.address<T>(), b.address<T>(), static_cast<uint8_t*>(y.address()));
      });
    return y;
  }
  auto* const to = static_cast<uint8_t*>(y.raw());
  Rows<2> const rows(shape, std::array{&a, &b});
  dispatch_floating(row.name, dtype, [&]<class T>(Type<T>) {
    auto const kernel = kernels<PointwiseKernels>().of<T>().compare[row.index].forward;
    rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
      kernel(row.row, a.data<T>() + offset[0], rows.stride(0), b.data<T>() + offset[1], rows.stride(1), to + out, n);
    });
  });
  return y;
}

Tensor compare(CompareRow const& row, Tensor const& left, Tensor const& right) {
  check_defined(row.name, left);
  check_defined(row.name, right);
  return compare_as(row, result_type(left, right), left, right);
}

/// A number that an integer type does not hold is compared in i64 or f64: the answer is that of mathematics.
Tensor compare(CompareRow const& row, Tensor const& x, Number number) {
  check_defined(row.name, x);
  Dtype dtype = result_type(x, number);
  if (!is_floating(x.dtype())) dtype = number.kind() == Number::Kind::floating ? Dtype::f64 : Dtype::i64;
  return compare_as(row, dtype, x, scalar(number, dtype));
}

/// x ∘ number as a unary row; integers go through the binary one with a number of their own type.
template <class R, class B>
Tensor with_number(Tensor const& x, Number number, bool number_first = false) {
  check_defined(R::name, x);
  Dtype const dtype = result_type(x, number);
  if (is_floating(dtype)) return unary(R{{}, number.real()}, x.to(dtype));
  Tensor const beside = scalar(number, dtype);
  return number_first ? binary<B>(beside, x.to(dtype)) : binary<B>(x.to(dtype), beside);
}

}  // namespace

Tensor add(Tensor const& a, Tensor const& b) { return binary<row::Add>(a, b); }
Tensor sub(Tensor const& a, Tensor const& b) { return binary<row::Sub>(a, b); }
Tensor mul(Tensor const& a, Tensor const& b) { return binary<row::Mul>(a, b); }
Tensor div(Tensor const& a, Tensor const& b) { return binary<row::Div>(a, b); }
Tensor pow(Tensor const& a, Tensor const& b) {
  check_defined("pow", a);
  check_defined("pow", b);
  Dtype const dtype = result_type(a, b);
  return is_floating(dtype) ? binary<row::Pow>(a, b) : integer_power(a, b, dtype);
}
Tensor pow(Tensor const& a, Number exponent) {
  check_defined("pow", a);
  Dtype const dtype = result_type(a, exponent);
  if (is_floating(dtype)) return unary(row::PowScalar{{}, exponent.real()}, a.to(dtype));
  check(exponent.real() >= 0, "pow", [] {
    return Complaint{"an integer to a negative power is no integer", "convert to a floating type with .to()"};
  });
  return integer_power(a, scalar(exponent, dtype), dtype);
}
Tensor pow(Number base, Tensor const& b) {
  check_defined("pow", b);
  return pow(scalar(base, result_type(b, base)), b);
}
Tensor maximum(Tensor const& a, Tensor const& b) { return binary<row::Maximum>(a, b); }
Tensor minimum(Tensor const& a, Tensor const& b) { return binary<row::Minimum>(a, b); }

Tensor operator+(Tensor const& a, Number b) { return with_number<row::AddScalar, row::Add>(a, b); }
Tensor operator+(Number a, Tensor const& b) { return b + a; }
Tensor operator-(Tensor const& a, Number b) { return a + (-b); }
Tensor operator-(Number a, Tensor const& b) { return with_number<row::RsubScalar, row::Sub>(b, a, true); }
Tensor operator*(Tensor const& a, Number b) { return with_number<row::MulScalar, row::Mul>(a, b); }
Tensor operator*(Number a, Tensor const& b) { return b * a; }
Tensor operator/(Tensor const& a, Number b) { return with_number<row::DivScalar, row::Div>(a, b); }
Tensor operator/(Number a, Tensor const& b) { return with_number<row::RdivScalar, row::Div>(b, a, true); }
Tensor operator-(Tensor const& a) { return neg(a); }

#define HEED_COMPARISON(Row, op)                                                                        \
  Tensor operator op(Tensor const& a, Tensor const& b) { return compare(compare_row<row::Row>, a, b); } \
  Tensor operator op(Tensor const& a, Number b) { return compare(compare_row<row::Row>, a, b); }
HEED_COMPARISON(Eq, ==)
HEED_COMPARISON(Ne, !=)
HEED_COMPARISON(Lt, <)
HEED_COMPARISON(Le, <=)
HEED_COMPARISON(Gt, >)
HEED_COMPARISON(Ge, >=)
#undef HEED_COMPARISON

Tensor operator&(Tensor const& a, Tensor const& b) { return bitwise_and(a, b); }
Tensor operator|(Tensor const& a, Tensor const& b) { return bitwise_or(a, b); }
Tensor operator^(Tensor const& a, Tensor const& b) { return bitwise_xor(a, b); }
Tensor operator~(Tensor const& x) { return bitwise_not(x); }
Tensor operator!(Tensor const& x) { return logical_not(x); }

namespace {
void where_on_host(Tensor const& condition, Tensor const& a, Tensor const& b, Tensor const& y) {
  Rows<3> const rows(y.shape(), std::array{&condition, &a, &b});
  auto const* const mask = static_cast<uint8_t const*>(condition.raw());
  dispatch_size(size_of(y.dtype()), [&]<class E>(Type<E>) {
    auto const *as = static_cast<E const*>(a.raw()), *bs = static_cast<E const*>(b.raw());
    auto* const to = static_cast<E*>(y.raw());
    int64_t const m_step = rows.stride(0), a_step = rows.stride(1), b_step = rows.stride(2);
    rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
      if constexpr (sizeof(E) >= 4) {
        using T = std::conditional_t<sizeof(E) == 4, float, double>;  // moved, never read as numbers
        kernels<PointwiseKernels>().of<T>().where(mask + offset[0], m_step, reinterpret_cast<T const*>(as + offset[1]),
                                                  a_step, reinterpret_cast<T const*>(bs + offset[2]), b_step,
                                                  reinterpret_cast<T*>(to + out), n);
      } else {
        for (int64_t i = 0; i < n; ++i)
          to[out + i] = mask[offset[0] + i * m_step] ? as[offset[1] + i * a_step] : bs[offset[2] + i * b_step];
      }
    });
  });
}
}  // namespace

Tensor where(Tensor const& condition, Tensor const& left, Tensor const& right) {
  for (Tensor const* t : {&condition, &left, &right}) check_defined("where", *t);
  check(condition.dtype() == Dtype::boolean, "where", [&] {
    return Complaint{fmt::format("expected a bool condition, got {}", name(condition.dtype())), "compare first"};
  });
  Dtype const dtype = result_type(left, right);
  Shape const shape = broadcast("where", condition.shape(), broadcast("where", left.shape(), right.shape()));
  Device const device = common_device("where", {&condition, &left, &right});
  Tensor const a = operand(left, dtype, device), b = operand(right, dtype, device);
  Tensor y(shape, dtype, device);
  Observed const watch("where", {&condition, &a, &b}, {&y});
  if (!device.is_cpu()) {
    Tensor const chooses = condition.to(device);
    Broadcast const walk = walk_of<3>(shape, std::array<Tensor const*, 3>{&chooses, &a, &b});
    if (walk.numel > 0)
      device_kernels<DevicePointwiseKernels>(device, "where")
          .where(walk, static_cast<uint8_t const*>(chooses.address()), a.address(), b.address(), y.address(),
                 int(size_of(dtype)));
  } else {
    where_on_host(condition, a, b, y);
  }
  if (tracked(a, b))
    record("where", y, {&a, &b}, [condition = Saved(condition)](Tensor const& g, Node const& node) {
      std::array<Tensor, 2> d;
      if (node.needs(0)) d[0] = where(condition.get(node), g, 0);
      if (node.needs(1)) d[1] = where(condition.get(node), 0, g);
      return d;
    });
  return y;
}

Tensor where(Tensor const& condition, Tensor const& a, Number b) {
  check_defined("where", a);
  return where(condition, a, scalar(b, result_type(a, b)));
}
Tensor where(Tensor const& condition, Number a, Tensor const& b) {
  check_defined("where", b);
  return where(condition, scalar(a, result_type(b, a)), b);
}

Tensor neg(Tensor const& x) {
  check_defined("neg", x);
  if (x.dtype() == Dtype::boolean)
    fail("neg", {"the negative of a bool tensor has no meaning", "use logical_not, or convert with .to()"});
  return is_floating(x.dtype()) ? unary(row::Neg{}, x) : x * -1;
}
namespace {
/// Integers are their own floor, ceil, round and trunc.
template <class R>
Tensor rounded(Tensor const& x) {
  check_defined(R::name, x);
  return is_floating(x.dtype()) ? unary(R{}, x) : x;
}
}  // namespace
Tensor abs(Tensor const& x) {
  check_defined("abs", x);
  return is_floating(x.dtype()) ? unary(row::Abs{}, x) : where(x < 0, x * -1, x);
}
Tensor sign(Tensor const& x) {
  check_defined("sign", x);
  return is_floating(x.dtype()) ? unary(row::Sign{}, x) : ((x > 0).to(Dtype::i8) - (x < 0).to(Dtype::i8)).to(x.dtype());
}
Tensor square(Tensor const& x) {
  check_defined("square", x);
  return is_floating(x.dtype()) ? unary(row::Square{}, x) : x.dtype() == Dtype::boolean ? pow(x, 2) : x * x;
}
Tensor sqrt(Tensor const& x) { return unary(row::Sqrt{}, x); }
Tensor rsqrt(Tensor const& x) { return unary(row::Rsqrt{}, x); }
Tensor reciprocal(Tensor const& x) { return unary(row::Reciprocal{}, x); }
Tensor exp(Tensor const& x) { return unary(row::Exp{}, x); }
Tensor expm1(Tensor const& x) { return unary(row::Expm1{}, x); }
Tensor log(Tensor const& x) { return unary(row::Log{}, x); }
Tensor log1p(Tensor const& x) { return unary(row::Log1p{}, x); }
Tensor sin(Tensor const& x) { return unary(row::Sin{}, x); }
Tensor cos(Tensor const& x) { return unary(row::Cos{}, x); }
Tensor tanh(Tensor const& x) { return unary(row::Tanh{}, x); }
Tensor erf(Tensor const& x) { return unary(row::Erf{}, x); }
Tensor floor(Tensor const& x) { return rounded<row::Floor>(x); }
Tensor ceil(Tensor const& x) { return rounded<row::Ceil>(x); }
Tensor round(Tensor const& x) { return rounded<row::Round>(x); }
Tensor trunc(Tensor const& x) { return rounded<row::Trunc>(x); }
Tensor clamp(Tensor const& x, Number low, Number high) {
  check_defined("clamp", x);
  Dtype dtype = result_type(x, low.kind() > high.kind() ? low : high);
  if (is_floating(dtype)) return unary(row::Clamp{{}, low.real(), high.real()}, x.to(dtype));
  return minimum(maximum(x, scalar(low, dtype)), scalar(high, dtype));
}
Tensor clamp_min(Tensor const& x, Number low) {
  check_defined("clamp_min", x);
  Dtype const dtype = result_type(x, low);
  if (is_floating(dtype)) return unary(row::Clamp{{}, low.real(), infinity}, x.to(dtype));
  return maximum(x, scalar(low, dtype));
}
Tensor clamp_max(Tensor const& x, Number high) {
  check_defined("clamp_max", x);
  Dtype const dtype = result_type(x, high);
  if (is_floating(dtype)) return unary(row::Clamp{{}, -infinity, high.real()}, x.to(dtype));
  return minimum(x, scalar(high, dtype));
}
Tensor sigmoid(Tensor const& x) { return unary(row::Sigmoid{}, x); }
Tensor log_sigmoid(Tensor const& x) { return unary(row::LogSigmoid{}, x); }
Tensor softplus(Tensor const& x) { return unary(row::Softplus{}, x); }
Tensor relu(Tensor const& x) {
  check_defined("relu", x);
  return is_floating(x.dtype()) ? unary(row::Relu{}, x) : maximum(x, scalar(0, x.dtype()));
}
Tensor threshold(Tensor const& x, double threshold, double value) {
  check_defined("threshold", x);
  if (is_floating(x.dtype())) return unary(row::Threshold{{}, threshold, value}, x);
  return where(x > threshold, x, scalar(value, x.dtype()));
}
Tensor leaky_relu(Tensor const& x, double negative_slope) { return unary(row::LeakyRelu{{}, negative_slope}, x); }
Tensor elu(Tensor const& x, double alpha) { return unary(row::Elu{{}, alpha}, x); }
Tensor gelu(Tensor const& x) { return unary(row::Gelu{}, x); }
Tensor gelu_tanh(Tensor const& x) { return unary(row::GeluTanh{}, x); }
Tensor silu(Tensor const& x) { return unary(row::Silu{}, x); }
Tensor mish(Tensor const& x) { return unary(row::Mish{}, x); }

// ---- in place -------------------------------------------------------------------------------------------------------

namespace {

/// x = x ∘ other: straight into x's storage where nothing is recorded, else the recorded result becomes x's value.
Tensor& in_place(char const* op, BinaryRow const& row, Tensor& x, Tensor const& other) {
  check_defined(op, x);
  check_defined(op, other);
  check(broadcast(op, x.shape(), other.shape()) == x.shape(), op, [&] {
    return Complaint{fmt::format("an operand of shape {} does not fit in place of {}", to_string(other.shape()),
                                 to_string(x.shape())),
                     "use the out-of-place operation, whose result may be larger"};
  });
  Dtype const dtype = result_type(x, other);
  check(is_floating(x.dtype()) || !is_floating(dtype), op, [&] {
    return Complaint{fmt::format("a result of {} does not fit in place of {}", name(dtype), name(x.dtype())),
                     "use the out-of-place operation, or convert the operand with .to()"};
  });
  if (tracked(x, other) || !is_floating(x.dtype()) || !x.is_contiguous() ||
      x.body()->storage == other.body()->storage) {
    Tensor before = x;
    if (tracked(x, other)) {
      check_in_place(op, x);
      if (row.reads & reads_a) {  // backward wants the elements that are about to be overwritten
        before = x.detach().clone();
        before.body()->node = x.body()->node;
        before.body()->slot = x.body()->slot;
      }
    }
    assign_in_place(op, x, binary(row, before, other).to(x.dtype()));
    return x;
  }
  run_binary(row, x, other.to(x.dtype()).to(x.device()), x);
  x.storage().bump_version();
  return x;
}

}  // namespace

Tensor& Tensor::add_(Tensor const& other, Number alpha) {
  return in_place("add_", binary_row<row::Add>, *this, alpha.real() == 1 ? other : other * alpha);
}
Tensor& Tensor::sub_(Tensor const& other) { return in_place("sub_", binary_row<row::Sub>, *this, other); }
Tensor& Tensor::mul_(Tensor const& other) { return in_place("mul_", binary_row<row::Mul>, *this, other); }
Tensor& Tensor::mul_(Number factor) {
  check_defined("mul_", *this);
  return in_place("mul_", binary_row<row::Mul>, *this, scalar(factor, result_type(*this, factor)));
}
Tensor& Tensor::div_(Tensor const& other) {
  check_defined("div_", *this);
  if (!is_floating(dtype())) detail::unsupported_dtype("div_", dtype(), "a floating type");
  return in_place("div_", binary_row<row::Div>, *this, other);
}

}  // namespace heed
