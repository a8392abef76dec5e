// QR by Householder's reflections.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/batch.h>
#include <heed/engine/ops/factor.h>
#include <heed/engine/ops/square.h>
#include <heed/engine/tape.h>

#include <algorithm>

namespace heed {
namespace {

/// The gradient with respect to x = q·r of square r: (gq + q·s)·r⁻ᵀ, where s is the symmetric matrix with the upper
/// triangle of gr·rᵀ − qᵀ·gq (Walter and Lehmann, 2010).
Tensor tall_gradient(Tensor const& q, Tensor const& r, Tensor const& gq, Tensor const& gr) {
  Tensor m = gr.defined() ? matmul(gr, r.t()) : Tensor();
  if (gq.defined()) m = m.defined() ? m - matmul(q.t(), gq) : -matmul(q.t(), gq);
  Tensor const upper = triu(m), s = upper + triu(m, 1).t();
  Tensor const inner = gq.defined() ? gq + matmul(q, s) : matmul(q, s);
  return solve_triangular(r.t(), inner, {.left = false});
}

/// x = [x₁ x₂], r = [r₁ qᵀ·x₂]
Tensor wide_gradient(Tensor const& x, Tensor const& q, Tensor const& r, Tensor const& gq, Tensor const& gr) {
  int64_t const m = x.size(-2), n = x.size(-1);
  Tensor const r1 = r.slice(-1, 0, m);
  if (!gr.defined()) return cat({tall_gradient(q, r1, gq, {}), zeros_like(x.slice(-1, m, n))}, -1);
  Tensor const gr2 = gr.slice(-1, m, n), through = matmul(x.slice(-1, m, n), gr2.t());
  return cat({tall_gradient(q, r1, gq.defined() ? gq + through : through, gr.slice(-1, 0, m)), matmul(q, gr2)}, -1);
}

/// Hᵢ·y: the rows above i stay as they are.
Tensor reflect(Tensor const& x, Tensor const& tau, int64_t i, Tensor const& y) {
  int64_t const m = x.size(-2);
  Tensor const below = x.slice(-1, i, i + 1).slice(-2, i + 1, m), rows = y.slice(-2, i, m);
  Tensor const v = cat({ones(with_matrix(lead_of(x), 1, 1), x.dtype(), x.device()), below}, -2);
  Tensor const reflected = rows - tau.slice(-1, i, i + 1).unsqueeze(-1) * matmul(v, matmul(v.t(), rows));
  return i == 0 ? reflected : cat({y.slice(-2, 0, i), reflected}, -2);
}

/// x [.., M, N] becomes R and reflections; returns their tau.
Tensor packed_qr(char const* op, Tensor const& x) {
  int64_t const m = x.size(-2), n = x.size(-1);
  Shape shape = lead_of(x);
  int64_t const count = numel(shape);
  shape.push_back(std::min(m, n));
  Tensor const tau(shape, x.dtype(), x.device());
  Observed const watch(op, {}, {&x, &tau});
  if (tau.numel() > 0)
    dispatch_floating(op, x.dtype(), [&]<class T>(Type<T>) {
      factor_kernels(x.device(), op).of<T>().qr(x.address<T>(), tau.address<T>(), count, m, n);
    });
  return tau;
}

}  // namespace

Qr qr(Tensor const& x, QrMode mode) {
  check_matrix("qr", x);
  int64_t const m = x.size(-2), n = x.size(-1), k = std::min(m, n), columns = mode == QrMode::complete ? m : k;
  Shape const lead = lead_of(x);
  Tensor const packed = x.detach().clone(), tau = packed_qr("qr", packed);
  std::array<Tensor, 2> y{Tensor(), triu(corner(packed, columns, n))};
  if (mode == QrMode::r) {
    no_gradient("qr with QrMode::r", {x});
    return {{}, y[1]};
  }
  y[0] = eye(m, columns, x.dtype(), x.device()).expand(with_matrix(lead, m, columns)).clone();
  Observed const watch("qr", {&packed, &tau}, {&y[0]});
  if (y[0].numel() > 0)
    dispatch_floating("qr", x.dtype(), [&]<class T>(Type<T>) {
      factor_kernels(x.device(), "qr")
          .of<T>()
          .apply_reflections(packed.address<T>(), tau.address<T>(), y[0].address<T>(), numel(lead), m, n, columns);
    });
  if (tracked(x)) {
    check(mode == QrMode::reduced || m <= n, "qr", [&] {
      return Complaint{fmt::format("the complete factor of shape {} has no gradient", to_string(x.shape())),
                       "use QrMode::reduced, or NoGrad"};
    });
    record_outputs(
        "qr", y, {&x},
        [x = Saved(x), q = SavedOutput(y[0], 0), r = SavedOutput(y[1], 1), m, n](Tensor const* g, Node const& node) {
          return std::array{m >= n ? tall_gradient(q.get(node), r.get(node), g[0], g[1])
                                   : wide_gradient(x.get(node), q.get(node), r.get(node), g[0], g[1])};
        });
  }
  return {y[0], y[1]};
}

Tensor householder_product(Tensor const& x, Tensor const& tau) {
  check_matrix("householder_product", x);
  check_defined("householder_product", tau);
  int64_t const m = x.size(-2), n = x.size(-1);
  Shape expected = lead_of(x);
  expected.push_back(tau.rank() ? tau.size(-1) : 0);
  check(m >= n && tau.rank() >= 1 && tau.shape() == expected && tau.size(-1) <= n && tau.dtype() == x.dtype(),
        "householder_product", [&] {
          return Complaint{fmt::format("expected x [.., M, N] with M >= N and tau [.., K] with K <= N, got {} and {}",
                                       to_string(x.shape()), to_string(tau.shape())),
                           "pass what a QR factorisation gave"};
        });
  // Chosen against x, so that without reflections the result still depends on it, with gradient 0.
  Tensor y = where(zeros({}, Dtype::boolean, x.device()), x, corner(eye(m, -1, x.dtype(), x.device()), m, n));
  for (int64_t i = tau.size(-1); i-- > 0;) y = reflect(x, tau, i, y);
  return y;
}

std::pair<Tensor, Tensor> geqrf(Tensor const& x) {
  check_matrix("geqrf", x);
  no_gradient("geqrf", {x});
  Tensor const packed = x.detach().clone(), tau = packed_qr("geqrf", packed);
  return {packed, tau};
}

Tensor ormqr(Tensor const& x, Tensor const& tau, Tensor const& c, bool left, bool transpose) {
  check_matrix("ormqr", x);
  check_matrix("ormqr", c);
  check_defined("ormqr", tau);
  int64_t const m = x.size(-2), count = tau.rank() ? tau.size(-1) : 0;
  Shape expected = lead_of(x);
  expected.push_back(count);
  check(tau.shape() == expected && count <= std::min(m, x.size(-1)) && tau.dtype() == x.dtype(), "ormqr", [&] {
    return Complaint{fmt::format("expected x [.., M, N] and tau [.., K] with K <= min(M, N), got {} and {}",
                                 to_string(x.shape()), to_string(tau.shape())),
                     "pass what geqrf gave"};
  });
  check(c.size(left ? -2 : -1) == m && c.dtype() == x.dtype(), "ormqr", [&] {
    return Complaint{fmt::format("reflections of {} do not go with {} {} from the {}", to_string(x.shape()),
                                 name(c.dtype()), to_string(c.shape()), left ? "left" : "right"),
                     "pass a matrix with as many rows (columns, from the right) as the reflections have"};
  });
  // c·q = (qᵀ·cᵀ)ᵀ, and qᵀ has the reflections of q in reverse.
  Tensor y = left ? c : c.t();
  y = y.expand(with_matrix(broadcast_lead("ormqr", x, y), y.size(-2), y.size(-1)));
  if (count == 0) y = y.clone();  // a result of its own
  for (int64_t i = 0; i < count; ++i) y = reflect(x, tau, left == transpose ? i : count - 1 - i, y);
  return left ? y : y.t();
}

}  // namespace heed
