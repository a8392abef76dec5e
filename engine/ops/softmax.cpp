// Softmax and log-softmax along any axis.
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/softmax.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

Tensor last_axis_form(Tensor const& x, int axis) { return x.transpose(axis, -1).contiguous(); }

Tensor forward(Tensor const& x, bool log) {
  Tensor y(x.shape(), x.dtype(), x.device());
  Observed const watch(log ? "log_softmax" : "softmax", {&x}, {&y});
  int64_t const n = x.size(-1), rows = n ? x.numel() / n : 0;
  dispatch_floating(log ? "log_softmax" : "softmax", x.dtype(), [&]<class T>(Type<T>) {
    auto const& k = kernels<SoftmaxKernels>(x.device(), "softmax").of<T>();
    (log ? k.log_softmax : k.softmax)(x.address<T>(), n, y.address<T>(), rows, n);
  });
  return y;
}

/// softmax: y∘(g − Σ g·y); log-softmax: g − e^y·Σ g. Fused unless the gradient is itself being recorded.
Tensor gradient(Tensor const& g, Tensor const& y, bool log) {
  if (recording()) return log ? g - exp(y) * sum(g, {-1}, true) : y * (g - sum(g * y, {-1}, true));
  Tensor const from = g.contiguous();
  Tensor dx(y.shape(), y.dtype(), y.device());
  Observed const watch(log ? "log_softmax" : "softmax", {&from, &y}, {&dx});
  int64_t const n = y.size(-1), rows = n ? y.numel() / n : 0;
  dispatch_floating("softmax", y.dtype(), [&]<class T>(Type<T>) {
    auto const& k = kernels<SoftmaxKernels>(y.device(), "softmax").of<T>();
    (log ? k.log_softmax_backward : k.softmax_backward)(from.address<T>(), y.address<T>(), dx.address<T>(), rows, n);
  });
  return dx;
}

Tensor along_last(Tensor const& x, bool log) {
  Tensor const from = x.contiguous();
  Tensor y = forward(from, log);
  if (tracked(from))
    record(log ? "log_softmax" : "softmax", y, {&from}, [y = SavedOutput(y), log](Tensor const& g, Node const& node) {
      return std::array{gradient(g, y.get(node), log)};
    });
  return y;
}

Tensor along(char const* op, Tensor const& x, int axis, bool log) {
  check_defined(op, x);
  if (is_half(x.dtype())) return along(op, x.to(Dtype::f32), axis, log).to(autocast_wide(x.dtype()));
  if (x.rank() == 0) {
    normalize_axis(op, axis, 1);
    return along_last(x.unsqueeze(0), log).squeeze(0);
  }
  axis = normalize_axis(op, axis, x.rank());
  if (axis == x.rank() - 1) return along_last(x, log);
  return along_last(last_axis_form(x, axis), log).transpose(axis, -1);
}

}  // namespace

Tensor softmax(Tensor const& x, int axis) { return along("softmax", x, axis, false); }
Tensor log_softmax(Tensor const& x, int axis) { return along("log_softmax", x, axis, true); }
Tensor softmin(Tensor const& x, int axis) { return along("softmin", -x, axis, false); }

Tensor softmax(Tensor const& x, int axis, Dtype dtype) { return softmax(x.to(dtype), axis); }
Tensor log_softmax(Tensor const& x, int axis, Dtype dtype) { return log_softmax(x.to(dtype), axis); }
Tensor softmin(Tensor const& x, int axis, Dtype dtype) { return softmin(x.to(dtype), axis); }

}  // namespace heed
