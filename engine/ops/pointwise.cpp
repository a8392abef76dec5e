// Pointwise operations: one driver for each number of operands, which every row of pointwise.h passes through.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/pointwise.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <cmath>
#include <limits>

namespace heed {

// The Tensor reading of a formula: what rows and Dual find by argument-dependent lookup.
Tensor constant_like(Tensor const& x, double value) { return full({}, value, x.dtype()).expand(x.shape()); }
Tensor select(Tensor const& mask, Tensor const& a, Tensor const& b) { return where(mask, a, b); }
Tensor max(Tensor const& a, Tensor const& b) { return where(a > b, a, b); }
Tensor min(Tensor const& a, Tensor const& b) { return where(a < b, a, b); }
Tensor max(double a, Tensor const& b) { return where(b < a, a, b); }
Tensor min(double a, Tensor const& b) { return where(b > a, a, b); }

namespace {

constexpr int64_t grain = 32768;  // elements a chunk: about 10 µs of the cheapest formula

Tensor floating(Tensor const& x) { return is_floating(x.dtype()) ? x : x.to(Dtype::f32); }

// ---- one operand ----------------------------------------------------------------------------------------------------

template <class R>
Tensor unary_gradient(R const& row, Tensor const& g, Tensor const& x, Tensor const& y) {
  if (recording()) {
    Tensor const& stand_in = g;  // for what the slope does not read
    return g * slope(row, R::reads & reads_x ? x : stand_in, R::reads & reads_y ? y : stand_in);
  }
  Tensor const from = g.contiguous();
  Tensor dx(from.shape(), from.dtype());
  Observed const watch(R::name, {&from, &x, &y}, {&dx});
  dispatch_floating(R::name, from.dtype(), [&]<class T>(Type<T>) {
    auto const kernel = kernels<PointwiseKernels>().of<T>().unary[UnaryRows::index_of<R>].backward;
    T const* const xs = R::reads & reads_x ? x.data<T>() : nullptr;
    T const* const ys = R::reads & reads_y ? y.data<T>() : nullptr;
    parallel_for(from.numel(), grain, [&](int64_t begin, int64_t end) {
      kernel(&row, from.data<T>() + begin, xs ? xs + begin : xs, ys ? ys + begin : ys, dx.data<T>() + begin,
             end - begin);
    });
  });
  return dx;
}

template <class R>
Tensor unary(R const& row, Tensor const& operand) {
  check_defined(R::name, operand);
  Tensor const x = floating(operand).contiguous();
  Tensor y(x.shape(), x.dtype());
  Observed const watch(R::name, {&x}, {&y});
  dispatch_floating(R::name, x.dtype(), [&]<class T>(Type<T>) {
    auto const kernel = kernels<PointwiseKernels>().of<T>().unary[UnaryRows::index_of<R>].forward;
    T const* const from = x.data<T>();
    T* const to = y.data<T>();
    parallel_for(x.numel(), grain,
                 [&](int64_t begin, int64_t end) { kernel(&row, from + begin, 1, to + begin, end - begin); });
  });
  if (tracked(x))
    record(R::name, y, {&x},
           [row, x = R::reads & reads_x ? Saved(x) : Saved(), y = R::reads & reads_y ? SavedOutput(y) : SavedOutput()](
               Tensor const& g, Node const& node) {
             return std::array{unary_gradient(row, g, x.get(node), y.get(node))};
           });
  return y;
}

// ---- several operands -----------------------------------------------------------------------------------------------

/// An N-operand broadcast as rows: the kernel runs along the innermost axis with one stride an operand, the outer axes,
/// joined where every operand steps evenly, are walked.
template <int N>
struct Rows {
  Shape shape;
  Strides strides[N];

  Rows(Shape const& full, Tensor const* const (&operands)[N]) {
    Strides all[N];
    for (int k = 0; k < N; ++k) all[k] = broadcast_strides(operands[k]->shape(), operands[k]->strides(), full);
    for (int axis = full.rank() - 1; axis >= 0; --axis) {
      if (full[axis] == 1) continue;
      bool joins = shape.rank() > 0;
      for (int k = 0; joins && k < N; ++k) joins = all[k][axis] == strides[k][0] * shape[0];
      if (joins) {
        shape[0] *= full[axis];
        continue;
      }
      shape.insert(0, full[axis]);
      for (int k = 0; k < N; ++k) strides[k].insert(0, all[k][axis]);
    }
    if (shape.rank() == 0) {
      shape.push_back(1);
      for (int k = 0; k < N; ++k) strides[k].push_back(0);
    }
  }

  /// run(offsets of the operands, offset of the contiguous output, elements) for pieces that make up the whole.
  template <class Run>
  void for_each(Run&& run) const {
    int const last = shape.rank() - 1;
    int64_t const inner = shape[last];
    int64_t outer = 1;
    for (int axis = 0; axis < last; ++axis) outer *= shape[axis];
    if (inner == 0 || outer == 0) return;
    if (outer == 1) {
      parallel_for(inner, grain, [&](int64_t begin, int64_t end) {
        int64_t offsets[N];
        for (int k = 0; k < N; ++k) offsets[k] = begin * strides[k][last];
        run(offsets, begin, end - begin);
      });
      return;
    }
    parallel_for(outer, std::max(grain / inner, int64_t{1}), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t offsets[N] = {};
        int64_t rest = row;
        for (int axis = last - 1; axis >= 0; --axis) {
          int64_t const index = rest % shape[axis];
          rest /= shape[axis];
          for (int k = 0; k < N; ++k) offsets[k] += index * strides[k][axis];
        }
        run(offsets, row * inner, inner);
      }
    });
  }
  int64_t stride(int operand) const { return strides[operand].back(); }
};

/// Formulas that integers have too; the others take integers as f32.
template <class R, class T>
T integer_value(T a, T b) {
  if constexpr (std::is_same_v<R, row::Add>)
    return T(a + b);
  else if constexpr (std::is_same_v<R, row::Sub>)
    return T(a - b);
  else if constexpr (std::is_same_v<R, row::Mul>)
    return T(a * b);
  else if constexpr (std::is_same_v<R, row::Maximum>)
    return std::max(a, b);
  else
    return std::min(a, b);
}
template <class R>
constexpr bool has_integers =
    std::is_same_v<R, row::Add> || std::is_same_v<R, row::Sub> || std::is_same_v<R, row::Mul> ||
    std::is_same_v<R, row::Maximum> || std::is_same_v<R, row::Minimum>;

/// y = value(a, b) of integers or bools, element by element.
template <class Y, class Value>
Tensor integers(char const* op, Tensor const& a, Tensor const& b, Shape const& shape, Dtype dtype, Value value) {
  Tensor y(shape, dtype);
  Observed const watch(op, {&a, &b}, {&y});
  dispatch(a.dtype(), [&]<class T>(Type<T>) {
    using Out = std::conditional_t<std::is_void_v<Y>, T, Y>;
    auto const *as = static_cast<T const*>(a.raw()), *bs = static_cast<T const*>(b.raw());
    auto* const to = static_cast<Out*>(y.raw());
    Rows<2> const rows(shape, {&a, &b});
    rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
      for (int64_t i = 0; i < n; ++i)
        to[out + i] = Out(value(as[offset[0] + i * rows.stride(0)], bs[offset[1] + i * rows.stride(1)]));
    });
  });
  return y;
}

template <class R>
std::array<Tensor, 2> binary_gradient(Tensor const& g, Tensor const& a, Tensor const& b, Tensor const& y,
                                      Node const& node) {
  R const row;
  std::array<Tensor, 2> d;
  if constexpr (std::is_same_v<R, row::Add> || std::is_same_v<R, row::Sub>) {
    d[0] = g;
    if (node.needs(1)) d[1] = std::is_same_v<R, row::Add> ? g : -g;
  } else if (recording()) {
    Tensor const& stand_in = g;
    auto const [da, db] =
        slopes(row, R::reads & reads_a ? a.expand(g.shape()) : stand_in,
               R::reads & reads_b ? b.expand(g.shape()) : stand_in, R::reads & reads_y ? y : stand_in);
    if (node.needs(0)) d[0] = g * da;
    if (node.needs(1)) d[1] = g * db;
  } else {
    Tensor const from = g.contiguous();
    for (int k : {0, 1})
      if (node.needs(k)) d[size_t(k)] = Tensor(from.shape(), from.dtype());
    // What the slope does not read stands in as the gradient itself.
    Tensor const &left = a.defined() ? a : from, &right = b.defined() ? b : from;
    Observed const watch(R::name, {&from, &a, &b, &y}, {&d[0], &d[1]});
    dispatch_floating(R::name, from.dtype(), [&]<class T>(Type<T>) {
      auto const kernel = kernels<PointwiseKernels>().of<T>().binary[BinaryRows::index_of<R>].backward;
      Rows<2> const rows(from.shape(), {&left, &right});
      rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
        kernel(&row, from.data<T>() + out, left.data<T>() + offset[0], rows.stride(0), right.data<T>() + offset[1],
               rows.stride(1), y.defined() ? y.data<T>() + out : nullptr,
               d[0].defined() ? d[0].data<T>() + out : nullptr, d[1].defined() ? d[1].data<T>() + out : nullptr, n);
      });
    });
  }
  return d;
}

template <class R>
void run_binary(Tensor const& a, Tensor const& b, Tensor const& y) {
  dispatch_floating(R::name, y.dtype(), [&]<class T>(Type<T>) {
    R const row;
    auto const kernel = kernels<PointwiseKernels>().of<T>().binary[BinaryRows::index_of<R>].forward;
    T const *const as = a.data<T>(), *const bs = b.data<T>();
    T* const to = y.data<T>();
    if (a.is_contiguous() && b.is_contiguous() && a.shape() == b.shape()) {
      parallel_for(a.numel(), grain, [&](int64_t begin, int64_t end) {
        kernel(&row, as + begin, 1, bs + begin, 1, to + begin, end - begin);
      });
      return;
    }
    Rows<2> const rows(y.shape(), {&a, &b});
    rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
      kernel(&row, as + offset[0], rows.stride(0), bs + offset[1], rows.stride(1), to + out, n);
    });
  });
}

template <class R>
Tensor binary(Tensor const& left, Tensor const& right) {
  check_defined(R::name, left);
  check_defined(R::name, right);
  Dtype dtype = promote(left.dtype(), right.dtype());
  // A scalar tensor does not widen: rank 0 is weak against a tensor of the same kind, as in PyTorch.
  if (is_floating(left.dtype()) && is_floating(right.dtype()) && (left.rank() == 0) != (right.rank() == 0))
    dtype = left.rank() == 0 ? right.dtype() : left.dtype();
  Shape const shape = broadcast(R::name, left.shape(), right.shape());
  if (!is_floating(dtype)) {
    if constexpr (has_integers<R>) {
      return integers<void>(R::name, left.to(dtype), right.to(dtype), shape, dtype,
                            [](auto a, auto b) { return integer_value<R>(a, b); });
    } else {
      dtype = Dtype::f32;
    }
  }
  Tensor const a = left.to(dtype), b = right.to(dtype);
  Tensor y(shape, dtype);
  Observed const watch(R::name, {&a, &b}, {&y});
  run_binary<R>(a, b, y);
  if (tracked(a, b))
    record(R::name, y, {&a, &b},
           [a = Saved(R::reads & reads_a ? a : Tensor()), b = Saved(R::reads & reads_b ? b : Tensor()),
            y = R::reads & reads_y ? SavedOutput(y) : SavedOutput()](Tensor const& g, Node const& node) {
             return binary_gradient<R>(g, a.get(node), b.get(node), y.get(node), node);
           });
  return y;
}

template <class R, class Compare>
Tensor compare(Tensor const& left, Tensor const& right, Compare integer_compare) {
  check_defined(R::name, left);
  check_defined(R::name, right);
  Dtype const dtype = promote(left.dtype(), right.dtype());
  Shape const shape = broadcast(R::name, left.shape(), right.shape());
  NoGrad const off;
  Tensor const a = left.to(dtype), b = right.to(dtype);
  if (!is_floating(dtype)) return integers<bool>(R::name, a, b, shape, Dtype::boolean, integer_compare);
  Tensor y(shape, Dtype::boolean);
  Observed const watch(R::name, {&a, &b}, {&y});
  dispatch_floating(R::name, dtype, [&]<class T>(Type<T>) {
    R const row;
    auto const kernel = kernels<PointwiseKernels>().of<T>().compare[CompareRows::index_of<R>].forward;
    auto* const to = static_cast<uint8_t*>(y.raw());
    Rows<2> const rows(shape, {&a, &b});
    rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
      kernel(&row, a.data<T>() + offset[0], rows.stride(0), b.data<T>() + offset[1], rows.stride(1), to + out, n);
    });
  });
  return y;
}

/// A number beside `x`: of x's type, or f64 where x holds integers and the number is no integer.
Tensor number_beside(Tensor const& x, double value) {
  bool const exact = is_floating(x.dtype()) || (value == std::floor(value) && std::abs(value) < 0x1p62);
  return scalar(value, !exact ? Dtype::f64 : x.dtype() == Dtype::boolean ? Dtype::i64 : x.dtype());
}

/// A number to compare `x` with: of x's type where that holds it, else f64.
Tensor number_to_compare(Tensor const& x, double value) {
  bool const held = dispatch(x.dtype(), [&]<class T>(Type<T>) {
    if constexpr (std::is_floating_point_v<T>)
      return true;
    else
      return value >= double(std::numeric_limits<T>::min()) && value <= double(std::numeric_limits<T>::max());
  });
  return held ? number_beside(x, value) : scalar(value, Dtype::f64);
}

/// x ∘ number as a unary row; integers go through the binary one with a number of their own type.
template <class R, class B>
Tensor with_number(Tensor const& x, double value, bool number_first = false) {
  check_defined(R::name, x);
  if (is_floating(x.dtype())) return unary(R{{}, value}, x);
  Tensor number = number_beside(x, value);
  if (number.dtype() == Dtype::f64) number = number.to(Dtype::f32);
  return number_first ? binary<B>(number, x) : binary<B>(x, number);
}

}  // namespace

Tensor add(Tensor const& a, Tensor const& b) { return binary<row::Add>(a, b); }
Tensor sub(Tensor const& a, Tensor const& b) { return binary<row::Sub>(a, b); }
Tensor mul(Tensor const& a, Tensor const& b) { return binary<row::Mul>(a, b); }
Tensor div(Tensor const& a, Tensor const& b) { return binary<row::Div>(a, b); }
Tensor pow(Tensor const& a, Tensor const& b) { return binary<row::Pow>(a, b); }
Tensor pow(Tensor const& a, double exponent) { return unary(row::PowScalar{{}, exponent}, a); }
Tensor maximum(Tensor const& a, Tensor const& b) { return binary<row::Maximum>(a, b); }
Tensor minimum(Tensor const& a, Tensor const& b) { return binary<row::Minimum>(a, b); }

Tensor operator+(Tensor const& a, double b) { return with_number<row::AddScalar, row::Add>(a, b); }
Tensor operator+(double a, Tensor const& b) { return b + a; }
Tensor operator-(Tensor const& a, double b) { return a + (-b); }
Tensor operator-(double a, Tensor const& b) { return with_number<row::RsubScalar, row::Sub>(b, a, true); }
Tensor operator*(Tensor const& a, double b) { return with_number<row::MulScalar, row::Mul>(a, b); }
Tensor operator*(double a, Tensor const& b) { return b * a; }
Tensor operator/(Tensor const& a, double b) { return with_number<row::DivScalar, row::Div>(a, b); }
Tensor operator/(double a, Tensor const& b) { return with_number<row::RdivScalar, row::Div>(b, a, true); }
Tensor operator-(Tensor const& a) { return neg(a); }

// A comparison with a number: of the tensor's type where that is exact.
#define HEED_COMPARISON(Row, op)                                           \
  Tensor operator op(Tensor const& a, Tensor const& b) {                   \
    return compare<row::Row>(a, b, [](auto x, auto y) { return x op y; }); \
  }                                                                        \
  Tensor operator op(Tensor const& a, double b) {                          \
    check_defined(row::Row::name, a);                                      \
    return a op number_to_compare(a, b);                                   \
  }
HEED_COMPARISON(Eq, ==)
HEED_COMPARISON(Ne, !=)
HEED_COMPARISON(Lt, <)
HEED_COMPARISON(Le, <=)
HEED_COMPARISON(Gt, >)
HEED_COMPARISON(Ge, >=)
#undef HEED_COMPARISON

namespace {

Tensor logical(char const* op, Tensor const& a, Tensor const& b, bool conjunction) {
  check_defined(op, a);
  check_defined(op, b);
  check(a.dtype() == Dtype::boolean && b.dtype() == Dtype::boolean, op, [&] {
    return Complaint{fmt::format("expected two bool tensors, got {} and {}", name(a.dtype()), name(b.dtype())),
                     "compare first, for example with != 0"};
  });
  Shape const shape = broadcast(op, a.shape(), b.shape());
  if (conjunction) return integers<bool>(op, a, b, shape, Dtype::boolean, [](bool x, bool y) { return x && y; });
  return integers<bool>(op, a, b, shape, Dtype::boolean, [](bool x, bool y) { return x || y; });
}

}  // namespace

Tensor operator&(Tensor const& a, Tensor const& b) { return logical("and", a, b, true); }
Tensor operator|(Tensor const& a, Tensor const& b) { return logical("or", a, b, false); }
Tensor operator!(Tensor const& a) { return a == 0.0; }

Tensor where(Tensor const& condition, Tensor const& left, Tensor const& right) {
  for (Tensor const* t : {&condition, &left, &right}) check_defined("where", *t);
  check(condition.dtype() == Dtype::boolean, "where", [&] {
    return Complaint{fmt::format("expected a bool condition, got {}", name(condition.dtype())), "compare first"};
  });
  Dtype dtype = promote(left.dtype(), right.dtype());
  if (is_floating(left.dtype()) && is_floating(right.dtype()) && (left.rank() == 0) != (right.rank() == 0))
    dtype = left.rank() == 0 ? right.dtype() : left.dtype();
  Shape const shape = broadcast("where", condition.shape(), broadcast("where", left.shape(), right.shape()));
  Tensor const a = left.to(dtype), b = right.to(dtype);
  Tensor y(shape, dtype);
  Observed const watch("where", {&condition, &a, &b}, {&y});
  Rows<3> const rows(shape, {&condition, &a, &b});
  auto const* const mask = static_cast<uint8_t const*>(condition.raw());
  dispatch(dtype, [&]<class T>(Type<T>) {
    auto const *as = static_cast<T const*>(a.raw()), *bs = static_cast<T const*>(b.raw());
    auto* const to = static_cast<T*>(y.raw());
    rows.for_each([&](int64_t const* offset, int64_t out, int64_t n) {
      if constexpr (std::is_floating_point_v<T>)
        kernels<PointwiseKernels>().of<T>().where(mask + offset[0], rows.stride(0), as + offset[1], rows.stride(1),
                                                  bs + offset[2], rows.stride(2), to + out, n);
      else
        for (int64_t i = 0; i < n; ++i)
          to[out + i] = mask[offset[0] + i * rows.stride(0)] ? as[offset[1] + i * rows.stride(1)]
                                                             : bs[offset[2] + i * rows.stride(2)];
    });
  });
  if (tracked(a, b))
    record("where", y, {&a, &b}, [condition = Saved(condition)](Tensor const& g, Node const& node) {
      std::array<Tensor, 2> d;
      if (node.needs(0)) d[0] = where(condition.get(node), g, 0.0);
      if (node.needs(1)) d[1] = where(condition.get(node), 0.0, g);
      return d;
    });
  return y;
}

Tensor where(Tensor const& condition, Tensor const& a, double b) {
  check_defined("where", a);
  return where(condition, a, scalar(b, a.dtype()));
}
Tensor where(Tensor const& condition, double a, Tensor const& b) {
  check_defined("where", b);
  return where(condition, scalar(a, b.dtype()), b);
}

Tensor neg(Tensor const& x) {
  check_defined("neg", x);
  return is_floating(x.dtype()) ? unary(row::Neg{}, x) : x * -1.0;
}
Tensor abs(Tensor const& x) { return unary(row::Abs{}, x); }
Tensor sign(Tensor const& x) { return unary(row::Sign{}, x); }
Tensor square(Tensor const& x) { return unary(row::Square{}, x); }
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
Tensor floor(Tensor const& x) { return unary(row::Floor{}, x); }
Tensor ceil(Tensor const& x) { return unary(row::Ceil{}, x); }
Tensor round(Tensor const& x) { return unary(row::Round{}, x); }
Tensor trunc(Tensor const& x) { return unary(row::Trunc{}, x); }
Tensor clamp(Tensor const& x, double low, double high) { return unary(row::Clamp{{}, low, high}, x); }
Tensor sigmoid(Tensor const& x) { return unary(row::Sigmoid{}, x); }
Tensor log_sigmoid(Tensor const& x) { return unary(row::LogSigmoid{}, x); }
Tensor softplus(Tensor const& x) { return unary(row::Softplus{}, x); }
Tensor relu(Tensor const& x) { return unary(row::Relu{}, x); }
Tensor leaky_relu(Tensor const& x, double negative_slope) { return unary(row::LeakyRelu{{}, negative_slope}, x); }
Tensor elu(Tensor const& x, double alpha) { return unary(row::Elu{{}, alpha}, x); }
Tensor gelu(Tensor const& x) { return unary(row::Gelu{}, x); }
Tensor gelu_tanh(Tensor const& x) { return unary(row::GeluTanh{}, x); }
Tensor silu(Tensor const& x) { return unary(row::Silu{}, x); }
Tensor mish(Tensor const& x) { return unary(row::Mish{}, x); }

// ---- in place -------------------------------------------------------------------------------------------------------

namespace {

/// x = x ∘ other: straight into x's storage where nothing is recorded, else the recorded result becomes x's value.
template <class R>
Tensor& in_place(char const* op, Tensor& x, Tensor const& other) {
  check_defined(op, x);
  check_defined(op, other);
  check(broadcast(op, x.shape(), other.shape()) == x.shape(), op, [&] {
    return Complaint{fmt::format("an operand of shape {} does not fit in place of {}", to_string(other.shape()),
                                 to_string(x.shape())),
                     "use the out-of-place operation, whose result may be larger"};
  });
  if (tracked(x, other) || !is_floating(x.dtype()) || !x.is_contiguous() ||
      x.body()->storage == other.body()->storage) {
    Tensor before = x;
    if (tracked(x, other)) {
      check_in_place(op, x);
      if (R::reads & reads_a) {  // backward wants the elements that are about to be overwritten
        before = x.detach().clone();
        before.body()->node = x.body()->node;
        before.body()->slot = x.body()->slot;
      }
    }
    assign_in_place(op, x, binary<R>(before, other).to(x.dtype()));
    return x;
  }
  Tensor const b = other.to(x.dtype());
  Observed const watch(op, {&x, &b}, {&x});
  run_binary<R>(x, b, x);
  x.storage().bump_version();
  return x;
}

}  // namespace

Tensor& Tensor::add_(Tensor const& other, double alpha) {
  return in_place<row::Add>("add_", *this, alpha == 1 ? other : other * alpha);
}
Tensor& Tensor::sub_(Tensor const& other) { return in_place<row::Sub>("sub_", *this, other); }
Tensor& Tensor::mul_(Tensor const& other) { return in_place<row::Mul>("mul_", *this, other); }
Tensor& Tensor::mul_(double factor) {
  check_defined("mul_", *this);
  return in_place<row::Mul>("mul_", *this, scalar(factor, dtype()));
}
Tensor& Tensor::div_(Tensor const& other) { return in_place<row::Div>("div_", *this, other); }

}  // namespace heed
