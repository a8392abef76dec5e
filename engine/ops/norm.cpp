// Layer norm and RMS norm over the last axis.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/norm.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

void check_scale(char const* op, char const* what, Tensor const& x, Tensor const& scale) {
  check(!scale.defined() || (scale.shape() == Shape{x.size(-1)} && scale.dtype() == x.dtype()), op, [&] {
    return Complaint{fmt::format("expected {} of shape [{}] {} for x of shape {}, got {} {}", what, x.size(-1),
                                 name(x.dtype()), to_string(x.shape()), to_string(scale.shape()), name(scale.dtype())),
                     "make it as long as the last axis of x, and of x's type"};
  });
}

/// The kernels want weight and bias contiguous.
Tensor whole(Tensor const& t) { return t.defined() ? t.contiguous() : t; }

void check_input(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 1, op, [] { return Complaint{"expected at least one axis, got a scalar", "pass [.., C]"}; });
}

template <class T>
T* data_or_null(Tensor const& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

Tensor like_if(bool wanted, Tensor const& t) { return wanted ? Tensor(t.shape(), t.dtype()) : Tensor(); }

}  // namespace

Tensor layer_norm(Tensor const& x, Tensor const& weight_in, Tensor const& bias_in, double eps) {
  check_input("layer_norm", x);
  check_scale("layer_norm", "weight", x, weight_in);
  check_scale("layer_norm", "bias", x, bias_in);
  Tensor const from = x.contiguous(), weight = whole(weight_in), bias = whole(bias_in);
  int64_t const n = x.size(-1), rows = n ? x.numel() / n : 0;
  Tensor y(x.shape(), x.dtype()), mean({rows}, x.dtype()), rstd({rows}, x.dtype());
  Observed const watch("layer_norm", {&from, &weight, &bias}, {&y, &mean, &rstd});
  dispatch_floating("layer_norm", x.dtype(), [&]<class T>(Type<T>) {
    kernels<NormKernels>().of<T>().layer_norm(from.data<T>(), data_or_null<T>(weight), data_or_null<T>(bias), eps,
                                              y.data<T>(), mean.data<T>(), rstd.data<T>(), rows, n);
  });
  if (tracked(x, weight, bias))
    record("layer_norm", y, {&from, &weight, &bias},
           [x = Saved(from), weight = Saved(weight), bias = Saved(bias), mean = Saved(mean), rstd = Saved(rstd), eps,
            rows, n](Tensor const& g, Node const& node) -> std::array<Tensor, 3> {
             Tensor const& from = x.get(node);
             Tensor const& scale = weight.get(node);
             if (recording()) {
               auto const in = twin_inputs({from, scale, bias.get(node)});
               auto const d = twin_gradients({naive::layer_norm(in[0], in[1], in[2], eps)}, in, {g});
               return {d[0], d[1], d[2]};
             }
             Tensor const gradient = g.contiguous();
             Tensor dx = like_if(node.needs(0), from), dweight = like_if(node.needs(1), scale),
                    dbias = like_if(node.needs(2), bias.get(node));
             Observed const watch("layer_norm", {&gradient, &from, &scale}, {&dx, &dweight, &dbias});
             dispatch_floating("layer_norm", from.dtype(), [&]<class T>(Type<T>) {
               kernels<NormKernels>().of<T>().layer_norm_backward(
                   gradient.data<T>(), from.data<T>(), data_or_null<T>(scale), mean.get(node).data<T>(),
                   rstd.get(node).data<T>(), data_or_null<T>(dx), data_or_null<T>(dweight), data_or_null<T>(dbias),
                   rows, n);
             });
             return {dx, dweight, dbias};
           });
  return y;
}

Tensor rms_norm(Tensor const& x, Tensor const& weight_in, double eps) {
  check_input("rms_norm", x);
  check_scale("rms_norm", "weight", x, weight_in);
  Tensor const from = x.contiguous(), weight = whole(weight_in);
  int64_t const n = x.size(-1), rows = n ? x.numel() / n : 0;
  Tensor y(x.shape(), x.dtype()), rstd({rows}, x.dtype());
  Observed const watch("rms_norm", {&from, &weight}, {&y, &rstd});
  dispatch_floating("rms_norm", x.dtype(), [&]<class T>(Type<T>) {
    kernels<NormKernels>().of<T>().rms_norm(from.data<T>(), data_or_null<T>(weight), eps, y.data<T>(), rstd.data<T>(),
                                            rows, n);
  });
  if (tracked(x, weight))
    record("rms_norm", y, {&from, &weight},
           [x = Saved(from), weight = Saved(weight), rstd = Saved(rstd), eps, rows, n](
               Tensor const& g, Node const& node) -> std::array<Tensor, 2> {
             Tensor const& from = x.get(node);
             Tensor const& scale = weight.get(node);
             if (recording()) {
               auto const in = twin_inputs({from, scale});
               auto const d = twin_gradients({naive::rms_norm(in[0], in[1], eps)}, in, {g});
               return {d[0], d[1]};
             }
             Tensor const gradient = g.contiguous();
             Tensor dx = like_if(node.needs(0), from), dweight = like_if(node.needs(1), scale);
             Observed const watch("rms_norm", {&gradient, &from, &scale}, {&dx, &dweight});
             dispatch_floating("rms_norm", from.dtype(), [&]<class T>(Type<T>) {
               kernels<NormKernels>().of<T>().rms_norm_backward(gradient.data<T>(), from.data<T>(),
                                                                data_or_null<T>(scale), rstd.get(node).data<T>(),
                                                                data_or_null<T>(dx), data_or_null<T>(dweight), rows, n);
             });
             return {dx, dweight};
           });
  return y;
}

}  // namespace heed
