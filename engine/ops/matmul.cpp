// Matrix products with broadcast leading axes, and the linear layer's product.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

/// The same for integers, which wrap; `as` and `bs` are strides in y's leading axes and the operand's own two.
void multiply_integers(int64_t k, Tensor const& a, Strides const& as, Tensor const& b, Strides const& bs,
                       Tensor const& y) {
  int const lead = y.rank() - 2;
  Shape const& out = y.shape();
  int64_t const m = out[lead], n = out[lead + 1];
  if (y.numel() == 0) return;
  dispatch(y.dtype(), [&]<class T>(Type<T>) {
    parallel_for(y.numel() / n, std::max<int64_t>(1, 32768 / (n * k + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        auto const* left = static_cast<T const*>(a.raw()) + row % m * as[lead];
        auto const* right = static_cast<T const*>(b.raw());
        int64_t rest = row / m;
        for (int axis = lead - 1; axis >= 0; --axis) {
          left += rest % out[axis] * as[axis];
          right += rest % out[axis] * bs[axis];
          rest /= out[axis];
        }
        T* const to = static_cast<T*>(y.raw()) + row * n;
        std::fill_n(to, n, T(0));
        for (int64_t p = 0; p < k; ++p) {
          uint64_t const factor = uint64_t(left[p * as[lead + 1]]);
          for (int64_t j = 0; j < n; ++j)
            to[j] = T(uint64_t(to[j]) + factor * uint64_t(right[p * bs[lead] + j * bs[lead + 1]]));
        }
      }
    });
  });
}

/// The kernels of products of T on `device`.
template <class T>
GemmTable<T> const& products(Device device) {
  if constexpr (sizeof(T) == 2) {
    return device_kernels<MatrixUnitKernels>(device, "matmul").of<T>();
  } else {
    if constexpr (std::is_same_v<T, float>)
      if (detail::tf32_allowed && !device.is_cpu()) return device_kernels<MatrixUnitKernels>(device, "matmul").tf32;
    return kernels<GemmKernels>(device, "matmul").of<T>();
  }
}

/// Whether operands of 16 bits are multiplied as they are.
bool multiplies_halves(Tensor const& x) { return !x.device().is_cpu(); }

/// f(Type<T>) of a type that products() has kernels for.
template <class F>
void dispatch_product(Dtype dtype, F const& f) {
  if (dtype == Dtype::f16)
    f(Type<float16>{});
  else if (dtype == Dtype::bf16)
    f(Type<bfloat16>{});
  else
    dispatch_floating("matmul", dtype, f);
}

/// y[.., M, N] = a[.., M, K]·b[.., K, N] (+ bias[N]) for operands of equal rank ≥ 2 whose leading axes broadcast to
/// y's.
void multiply(Tensor const& a, Tensor const& b, Tensor const& bias, Tensor const& y) {
  int const lead = y.rank() - 2;
  Shape const& out = y.shape();
  Strides const as = broadcast_strides(a.shape(), a.strides(), [&] {
    Shape s = out;
    s[lead] = a.shape()[lead], s[lead + 1] = a.shape()[lead + 1];
    return s;
  }());
  Strides const bs = broadcast_strides(b.shape(), b.strides(), [&] {
    Shape s = out;
    s[lead] = b.shape()[lead], s[lead + 1] = b.shape()[lead + 1];
    return s;
  }());
  if (!is_floating(y.dtype())) return multiply_integers(a.shape()[lead + 1], a, as, b, bs, y);
  dispatch_product(y.dtype(), [&]<class T>(Type<T>) {
    GemmArgs<T> args{.m = out[lead],
                     .n = out[lead + 1],
                     .k = a.shape()[lead + 1],
                     .a = a.address<T>(),
                     .a_row = as[lead],
                     .a_col = as[lead + 1],
                     .b = b.address<T>(),
                     .b_row = bs[lead],
                     .b_col = bs[lead + 1],
                     .c = y.address<T>(),
                     .c_row = out[lead + 1],
                     .bias = bias.defined() ? bias.address<T>() : nullptr};
    // The innermost leading axes that step evenly in both operands form one batch; the outer ones are a loop.
    int64_t batch = 1;
    int axis = lead - 1;
    int64_t const a_step = lead ? as[lead - 1] : 0, b_step = lead ? bs[lead - 1] : 0;
    for (; axis >= 0; --axis) {
      bool const even = axis == lead - 1 || (as[axis] == a_step * batch && bs[axis] == b_step * batch);
      if (!even) break;
      batch *= out[axis];
    }
    int64_t outer = 1;
    for (int i = 0; i <= axis; ++i) outer *= out[i];
    int64_t const c_step = args.m * args.n;
    if (batch == 0 || outer == 0 || c_step == 0) return;
    auto one = [&](int64_t o) {
      GemmArgs<T> here = args;
      int64_t rest = o;
      for (int i = axis; i >= 0; --i) {
        int64_t const index = rest % out[i];
        rest /= out[i];
        here.a += index * as[i];
        here.b += index * bs[i];
      }
      here.c += o * batch * c_step;
      GemmTable<T> const& k = products<T>(y.device());
      if (batch == 1)
        k.gemm(here);
      else
        k.gemm_batched(here, batch, a_step, b_step, c_step);
    };
    if (outer == 1)
      one(0);
    else if (!y.device().is_cpu())
      for (int64_t o = 0; o < outer; ++o) one(o);
    else
      parallel_for(outer, 1, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) one(o);
      });
  });
}

Tensor with_leading_ones(Tensor const& x, int rank) {
  Tensor y = x;
  while (y.rank() < rank) y = y.unsqueeze(0);
  return y;
}

/// Operands of rank ≥ 2, equal types.
Tensor product(Tensor const& a, Tensor const& b) {
  check(a.size(-1) == b.size(-2), "matmul", [&] {
    return Complaint{
        fmt::format("shapes {} and {} do not multiply: axis -1 of the first has size {}, axis -2 of the second {}",
                    to_string(a.shape()), to_string(b.shape()), a.size(-1), b.size(-2)),
        "make them equal, or transpose one operand (.t())"};
  });
  Shape a_lead = a.shape(), b_lead = b.shape();
  a_lead.erase(a.rank() - 1), a_lead.erase(a.rank() - 2);
  b_lead.erase(b.rank() - 1), b_lead.erase(b.rank() - 2);
  Shape shape = broadcast("matmul", a_lead, b_lead);
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  Tensor y(shape, a.dtype(), common_device("matmul", {&a, &b}));
  Observed const watch("matmul", {&a, &b}, {&y}, [&] { return 2.0 * double(y.numel()) * double(a.size(-1)); });
  {
    NoGrad const off;
    multiply(with_leading_ones(a, y.rank()), with_leading_ones(b, y.rank()), {}, y);
  }
  if (tracked(a, b))
    record("matmul", y, {&a, &b}, [a = Saved(a), b = Saved(b)](Tensor const& g, Node const& node) {
      std::array<Tensor, 2> d;
      if (node.needs(0)) d[0] = product(g, b.get(node).t());
      if (node.needs(1)) d[1] = product(a.get(node).t(), g);
      return d;
    });
  return y;
}

void check_one_type(Tensor const& x, Tensor const& weight, Tensor const& bias) {
  check(x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()), "linear", [&] {
    return Complaint{fmt::format("expected one type, got x {} and weight {}", name(x.dtype()), name(weight.dtype())),
                     "convert x or the module with .to()"};
  });
}

}  // namespace

Tensor matmul(Tensor const& a, Tensor const& b) {
  check_defined("matmul", a);
  check_defined("matmul", b);
  check(a.rank() >= 1 && b.rank() >= 1, "matmul", [&] {
    return Complaint{fmt::format("expected at least one axis each, got shapes {} and {}", to_string(a.shape()),
                                 to_string(b.shape())),
                     "multiply by a scalar with *"};
  });
  if (autocasts(a) || autocasts(b)) return matmul(autocast(a), autocast(b));
  Dtype const dtype = promote(a.dtype(), b.dtype());
  if (dtype == Dtype::boolean) detail::unsupported_dtype("matmul", dtype, "numbers");
  if (is_half(dtype) && !multiplies_halves(a)) return product_in_f32(matmul, a, b).to(dtype);
  // [B, .., K]·[K, N]: one tall product instead of a batch of short ones.
  if (a.rank() > 2 && b.rank() == 2) {
    Shape shape = a.shape();
    shape[a.rank() - 1] = b.size(-1);
    check(a.size(-1) == b.size(0), "matmul", [&] {
      return Complaint{
          fmt::format("shapes {} and {} do not multiply: axis -1 of the first has size {}, axis -2 of the second {}",
                      to_string(a.shape()), to_string(b.shape()), a.size(-1), b.size(0)),
          "make them equal, or transpose one operand (.t())"};
    });
    return product(a.to(dtype).flatten(0, -2), b.to(dtype)).reshape(shape);
  }
  Tensor const left = a.rank() == 1 ? a.unsqueeze(0) : a, right = b.rank() == 1 ? b.unsqueeze(1) : b;
  Tensor y = product(left.to(dtype), right.to(dtype));
  if (a.rank() == 1) y = y.squeeze(-2);
  if (b.rank() == 1) y = y.squeeze(-1);
  return y;
}

Tensor linear(Tensor const& x, Tensor const& weight, Tensor const& bias) {
  check_defined("linear", x);
  check_defined("linear", weight);
  if (autocasts(x) || autocasts(weight) || autocasts(bias))
    return linear(autocast(x), autocast(weight), autocast(bias));
  bool const one = weight.rank() == 1;
  check(x.rank() >= 1 && (one || weight.rank() == 2) && x.size(-1) == weight.size(-1), "linear", [&] {
    return Complaint{
        fmt::format("expected x [.., {}] for a weight of shape {}, got {}", weight.rank() >= 1 ? weight.size(-1) : 0,
                    to_string(weight.shape()), to_string(x.shape())),
        "make the last axis of x as long as the weight's last axis"};
  });
  check_one_type(x, weight, bias);
  check(!bias.defined() || bias.shape() == (one ? Shape{} : Shape{weight.size(0)}), "linear", [&] {
    return Complaint{fmt::format("expected a bias of shape {}, got {}",
                                 to_string(one ? Shape{} : Shape{weight.size(0)}), to_string(bias.shape())),
                     "make it the weight's shape without the last axis"};
  });
  if (one || !is_floating(x.dtype())) {
    Tensor const y = matmul(x, one ? weight : weight.t());
    return bias.defined() ? y + bias : y;
  }
  if (is_half(x.dtype()) && !multiplies_halves(x)) return product_in_f32(linear, x, weight, bias).to(x.dtype());
  Shape shape = x.shape();
  shape[x.rank() - 1] = weight.size(0);
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < x.rank(); ++axis) rows *= x.shape()[axis];
  Tensor y(shape, x.dtype(), common_device("linear", {&x, &weight, &bias}));
  Observed const watch("linear", {&x, &weight, &bias}, {&y},
                       [&] { return 2.0 * double(y.numel()) * double(x.size(-1)); });
  {
    NoGrad const off;
    multiply(x.reshape({rows, x.size(-1)}), weight.t(), bias.defined() ? bias.contiguous() : bias,
             y.view({rows, weight.size(0)}));
  }
  if (tracked(x, weight, bias))
    record("linear", y, {&x, &weight, &bias},
           [x = Saved(x), weight = Saved(weight), rows](Tensor const& g, Node const& node) -> std::array<Tensor, 3> {
             std::array<Tensor, 3> d;
             Tensor const& from = x.get(node);
             Tensor const rows_of_g = g.reshape({rows, weight.get(node).size(0)});
             if (node.needs(0)) d[0] = product(rows_of_g, weight.get(node)).reshape(from.shape());
             if (node.needs(1)) d[1] = product(rows_of_g.t(), from.reshape({rows, from.size(-1)}));
             if (node.needs(2)) d[2] = sum(rows_of_g, {0});
             return d;
           });
  return y;
}

}  // namespace heed
