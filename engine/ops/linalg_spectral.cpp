// Symmetric eigenvalues and singular values, computed in f64.
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

void check_spectra(char const* op, Tensor const& x, Tensor const& wrong) {
  check_matrices(op, wrong, [&](int64_t i, int64_t what) {
    return what == FactorKernels::not_finite
               ? Complaint{fmt::format("{} holds NaN or infinity", matrix_name(lead_of(x), i)),
                           "look for where they came from"}
               : Complaint{fmt::format("the iteration did not converge for {}", matrix_name(lead_of(x), i)),
                           "scale the matrix, or add a small multiple of the identity"};
  });
}

/// values, and vectors in columns if wanted
Eigh eigen(char const* op, Tensor const& x, bool upper, bool vectors) {
  int64_t const n = x.size(-1), count = numel(lead_of(x));
  Device const device = x.device();
  Tensor const whole = x.detach().to(Dtype::f64).contiguous();
  Shape rows = lead_of(x);
  rows.push_back(n);
  Tensor const values(rows, Dtype::f64, device), columns(vectors ? x.shape() : Shape{0}, Dtype::f64, device);
  Observed const watch(op, {&whole}, {&values, &columns});
  if (values.numel() > 0) {
    Tensor const wrong({count}, Dtype::i64, device);
    factor_kernels(device, op)
        .eigh(whole.address<double>(), upper, values.address<double>(), vectors ? columns.address<double>() : nullptr,
              wrong.address<int64_t>(), count, n);
    check_spectra(op, x, wrong);
  }
  return {values.to(x.dtype()), columns.to(x.dtype())};
}

/// [n, n]: x_j − x_i, and 1 on the diagonal.
Tensor gaps(Tensor const& x) {
  int64_t const n = x.size(-1);
  return where(arange(n, x.device()).unsqueeze(1) == arange(n, x.device()), 1.0, x.unsqueeze(-2) - x.unsqueeze(-1));
}

Tensor skew(Tensor const& x) { return x - x.t(); }

}  // namespace

/// v·(diag(g_w) + ½(vᵀ·g_v − g_vᵀ·v)/(wⱼ − wᵢ))·vᵀ, symmetric (Giles, 2008).
Eigh eigh(Tensor const& x, bool upper) {
  check_square("eigh", x);
  check_matrix("eigh", x);
  Eigh const found = eigen("eigh", x, upper, true);
  std::array<Tensor, 2> y{found.values, found.vectors};
  if (tracked(x))
    record_outputs("eigh", y, {&x},
                   [w = SavedOutput(y[0], 0), v = SavedOutput(y[1], 1)](Tensor const* g, Node const& node) {
                     Tensor const vectors = v.get(node);
                     if (!g[1].defined()) return std::array{matmul(vectors * g[0].unsqueeze(-2), vectors.t())};
                     Tensor inner = skew(matmul(vectors.t(), g[1])) * 0.5 / gaps(w.get(node));
                     if (g[0].defined()) inner = inner + diag_embed(g[0]);
                     return std::array{matmul(matmul(vectors, inner), vectors.t())};
                   });
  return {y[0], y[1]};
}

Tensor eigvalsh(Tensor const& x, bool upper) {
  check_square("eigvalsh", x);
  check_matrix("eigvalsh", x);
  return tracked(x) ? eigh(x, upper).values : eigen("eigvalsh", x, upper, false).values;
}

namespace {

struct Triple {
  Tensor u, s, vh;
};

/// The reduced factors of m ≥ n matrices, or the values alone.
Triple tall_svd(char const* op, Tensor const& x, bool vectors) {
  int64_t const m = x.size(-2), n = x.size(-1), count = numel(lead_of(x));
  Device const device = x.device();
  Tensor const whole = x.to(Dtype::f64).contiguous();
  Shape const lead = lead_of(x);
  Shape rows = lead;
  rows.push_back(n);
  Tensor const none(Shape{0}, Dtype::f64, device);
  Triple const y{vectors ? Tensor(x.shape(), Dtype::f64, device) : none, Tensor(rows, Dtype::f64, device),
                 vectors ? Tensor(with_matrix(lead, n, n), Dtype::f64, device) : none};
  Observed const watch(op, {&whole}, {&y.u, &y.s, &y.vh});
  if (y.s.numel() > 0) {
    Tensor const wrong({count}, Dtype::i64, device);
    factor_kernels(device, op)
        .svd(whole.address<double>(), vectors ? y.u.address<double>() : nullptr, y.s.address<double>(),
             vectors ? y.vh.address<double>() : nullptr, wrong.address<int64_t>(), count, m, n);
    check_spectra(op, x, wrong);
  }
  return y;
}

/// Further orthonormal columns, so that u [.., M, K] becomes square.
Tensor completed(Tensor const& u) {
  int64_t const m = u.size(-2), k = u.size(-1);
  if (m == k) return u;
  return cat({u, qr(u, QrMode::complete).q.slice(-1, k, m)}, -1);
}

/// Townsend (2016): gradients with respect to u [M, K], s and vh [K, N], any of which may be missing.
Tensor svd_gradient(Tensor const& u, Tensor const& s, Tensor const& vh, Tensor const& gu, Tensor const& gs,
                    Tensor const& gvh) {
  if (!gu.defined() && !gvh.defined()) return matmul(u * gs.unsqueeze(-2), vh);
  int64_t const m = u.size(-2), n = vh.size(-1), k = s.size(-1);
  Tensor const gap = gaps(square(s));
  Tensor inner = gs.defined() ? diag_embed(gs) : zeros(with_matrix(lead_of(u), k, k), u.dtype(), u.device());
  if (gu.defined()) inner = inner + skew(matmul(u.t(), gu)) / gap * s.unsqueeze(-2);
  if (gvh.defined()) inner = inner + s.unsqueeze(-1) * (skew(matmul(vh, gvh.t())) / gap);
  if (gu.defined() && m > k) {
    Tensor const outside = (gu - matmul(u, matmul(u.t(), gu))) / s.unsqueeze(-2);
    return matmul(matmul(u, inner) + outside, vh);
  }
  if (gvh.defined() && n > k) {
    Tensor const outside = (gvh - matmul(matmul(gvh, vh.t()), vh)) / s.unsqueeze(-1);
    return matmul(u, matmul(inner, vh) + outside);
  }
  return matmul(matmul(u, inner), vh);
}

}  // namespace

Svd svd(Tensor const& x, bool full) {
  check_matrix("svd", x);
  int64_t const m = x.size(-2), n = x.size(-1), k = std::min(m, n);
  std::array<Tensor, 3> y;
  {
    NoGrad const off;
    bool const turn = m < n;
    Triple const f = tall_svd("svd", turn ? x.detach().t() : x.detach(), true);
    Tensor u = turn ? f.vh.t() : f.u, vh = turn ? f.u.t() : f.vh;
    if (full) u = completed(u), vh = completed(vh.t()).t();
    y = {u.contiguous().to(x.dtype()), f.s.to(x.dtype()), vh.contiguous().to(x.dtype())};
  }
  if (tracked(x))
    record_outputs(
        "svd", y, {&x},
        [u = SavedOutput(y[0], 0), s = SavedOutput(y[1], 1), vh = SavedOutput(y[2], 2), k](Tensor const* g,
                                                                                           Node const& node) {
          return std::array{svd_gradient(u.get(node).slice(-1, 0, k), s.get(node), vh.get(node).slice(-2, 0, k),
                                         g[0].defined() ? g[0].slice(-1, 0, k) : g[0], g[1],
                                         g[2].defined() ? g[2].slice(-2, 0, k) : g[2])};
        });
  return {y[0], y[1], y[2]};
}

Tensor svdvals(Tensor const& x) {
  check_matrix("svdvals", x);
  if (tracked(x)) return svd(x, false).s;
  return tall_svd("svdvals", x.size(-2) < x.size(-1) ? x.t() : x, false).s.to(x.dtype());
}

namespace {

/// Which of the values [.., K] count: those above max(atol, rtol·the largest), bounds as matrix_rank() takes them.
Tensor counted(Tensor const& x, Tensor const& values, Tensor const& atol, Tensor const& rtol) {
  double const usual = (x.dtype() == Dtype::f32 ? 0x1p-23 : 0x1p-52) * double(std::max(x.size(-2), x.size(-1)));
  Tensor const absolute = atol.defined() ? atol.to(x.dtype()) : full({}, 0, x.dtype(), x.device());
  Tensor const relative =
      rtol.defined() ? rtol.to(x.dtype()) : where(absolute > 0, 0.0, full({}, usual, x.dtype(), x.device()));
  return values > maximum(absolute, relative * amax(values, {-1})).unsqueeze(-1);
}

/// A bound of Rank as a tensor; undefined where it is not given.
Tensor bound(double value, Tensor const& x) { return value >= 0 ? full({}, value, x.dtype(), x.device()) : Tensor(); }

Tensor counted(Tensor const& x, Tensor const& values, Rank const& options) {
  return counted(x, values, bound(options.atol, x), bound(options.rtol, x));
}

Tensor inverse_where(Tensor const& condition, Tensor const& x) {
  return where(condition, 1.0 / where(condition, x, 1.0), 0.0);
}

}  // namespace

Tensor pinv(Tensor const& x, Rank options) {
  if (options.hermitian) check_square("pinv", x);
  check_matrix("pinv", x);
  int64_t const m = x.size(-2), n = x.size(-1);
  if (x.numel() == 0) return x.t().contiguous();
  Tensor y;
  {
    NoGrad const off;
    if (options.hermitian) {
      Eigh const f = eigh(x);
      Tensor const kept = counted(x, abs(f.values), options);
      y = matmul(f.vectors * inverse_where(kept, f.values).unsqueeze(-2), f.vectors.t());
    } else {
      Svd const f = svd(x, false);
      y = matmul(f.vh.t() * inverse_where(counted(x, f.s, options), f.s).unsqueeze(-2), f.u.t());
    }
  }
  if (tracked(x))
    record("pinv", y, {&x}, [x = Saved(x), y = SavedOutput(y), m, n](Tensor const& g, Node const& node) {
      // Golub and Pereyra (1973), for constant rank; products of the shorter side first.
      Tensor const &a = x.get(node), p = y.get(node), pt = p.t(), gt = g.t();
      if (m <= n) {
        Tensor const k = matmul(gt, p), kp = matmul(k, pt);
        return std::array{kp - matmul(p, k).t() - matmul(matmul(a, p), kp) + matmul(matmul(pt, p), gt - matmul(k, a))};
      }
      Tensor const k = matmul(p, gt), pk = matmul(pt, k);
      return std::array{matmul(matmul(gt - matmul(a, k), p), pt) - matmul(k, p).t() + pk - matmul(matmul(pk, p), a)};
    });
  return y;
}

Tensor matrix_rank(Tensor const& x, Rank options) {
  check_defined("matrix_rank", x);
  return matrix_rank(x, bound(options.atol, x), bound(options.rtol, x), options.hermitian);
}

Tensor matrix_rank(Tensor const& x, Tensor const& atol, Tensor const& rtol, bool hermitian) {
  if (hermitian) check_square("matrix_rank", x);
  check_matrix("matrix_rank", x);
  NoGrad const off;
  Shape shape = lead_of(x);
  for (Tensor const* bound : {&atol, &rtol})
    if (bound->defined()) shape = broadcast("matrix_rank", shape, bound->shape());
  if (x.numel() == 0) return zeros(shape, Dtype::i64, x.device());
  return sum(counted(x, hermitian ? abs(eigvalsh(x)) : svdvals(x), atol, rtol), {-1});
}

Lstsq lstsq(Tensor const& a, Tensor const& b, double rcond) {
  check_matrix("lstsq", a);
  check_defined("lstsq", b);
  Shape rows = a.shape();
  rows.erase(rows.rank() - 1);
  bool const vector = b.rank() == 1 || b.shape() == rows;
  check(b.rank() >= 1 && b.dtype() == a.dtype() && b.size(vector ? -1 : -2) == a.size(-2), "lstsq", [&] {
    return Complaint{fmt::format("a right side {} {} does not fit a matrix {} {}", to_string(b.shape()),
                                 name(b.dtype()), to_string(a.shape()), name(a.dtype())),
                     "give it as many rows, of the same type"};
  });
  Tensor const right = vector ? b.unsqueeze(-1) : b;
  int64_t const m = a.size(-2), n = a.size(-1);
  Rank const options{.rtol = rcond};
  Tensor const values = svdvals(a.detach());
  Tensor const rank =
      a.numel() == 0 ? zeros(lead_of(a), Dtype::i64, a.device()) : sum(counted(a.detach(), values, options), {-1});
  Tensor const y = matmul(pinv(a, options), right);
  bool determined = m > n && a.numel() > 0;
  if (determined)
    for (int64_t r : rank.to_vector<int64_t>()) determined = determined && r == n;
  Tensor residuals = zeros({0}, a.dtype(), a.device());
  if (determined) residuals = sum(square(matmul(a, y) - right), {-2});
  if (determined && vector) residuals = residuals.squeeze(-1);
  return {vector ? y.squeeze(-1) : y, residuals, rank, values};
}

namespace {

/// √Σx² with gradient 0 at 0.
Tensor frobenius(Tensor const& x) {
  Tensor const total = sum(square(x), {-2, -1}), zero = total == 0.0;
  return where(zero, 0.0, sqrt(where(zero, 1.0, total)));
}

/// The two axes last.
Tensor matrices_last(char const* op, Tensor const& x, Dims const& axes) {
  check_matrix(op, x);
  check(axes.rank() == 2, op, [&] {
    return Complaint{fmt::format("expected two axes, got {}", to_string(axes)), "name rows, then columns"};
  });
  int const rows = normalize_axis(op, int(axes[0]), x.rank()), columns = normalize_axis(op, int(axes[1]), x.rank());
  check(rows != columns, op, [&] {
    return Complaint{fmt::format("the axes {} are the same", to_string(axes)), "name rows, then columns"};
  });
  Dims order;
  for (int i = 0; i < x.rank(); ++i)
    if (i != rows && i != columns) order.push_back(i);
  order.push_back(rows);
  order.push_back(columns);
  return x.permute(order);
}

Tensor with_kept(Tensor const& y, Tensor const& x, Dims const& axes, bool keep) {
  if (!keep) return y;
  Shape shape = x.shape();
  for (int64_t axis : axes) shape[normalize_axis("matrix_norm", int(axis), x.rank())] = 1;
  return y.reshape(shape);
}

/// Of nothing the largest size is 0, the smallest none.
Tensor extreme(Tensor const& x, bool largest) {
  if (largest && x.size(-1) == 0) return sum(x, {-1});
  return largest ? amax(x, {-1}) : amin(x, {-1});
}

}  // namespace

Tensor matrix_norm(Tensor const& x, std::string_view order, Dims const& axes, bool keep) {
  check(order == "fro" || order == "nuc", "matrix_norm", [&] {
    return Complaint{fmt::format("there is no norm \"{}\"", order), "use \"fro\", \"nuc\", or one of ±1, ±2, ±∞"};
  });
  Tensor const a = matrices_last("matrix_norm", x, axes);
  return with_kept(order == "fro" ? frobenius(a) : sum(svdvals(a), {-1}), x, axes, keep);
}

Tensor matrix_norm(Tensor const& x, double order, Dims const& axes, bool keep) {
  Tensor const a = matrices_last("matrix_norm", x, axes);
  double const size = std::abs(order);
  check(size == 1 || size == 2 || std::isinf(size), "matrix_norm", [&] {
    return Complaint{fmt::format("there is no norm of order {}", order), "use \"fro\", \"nuc\", or one of ±1, ±2, ±∞"};
  });
  Tensor const each = size == 2 ? svdvals(a) : sum(abs(a), {size == 1 ? -2 : -1});
  return with_kept(extreme(each, order > 0), x, axes, keep);
}

namespace {
template <class Order>
Tensor cond_by_inverse(Tensor const& x, Order order) {
  check_square("cond", x);
  check_matrix("cond", x);
  return matrix_norm(x, order) * matrix_norm(inverse_or_infinity(x), order);
}
}  // namespace

Tensor cond(Tensor const& x, double order) {
  if (std::abs(order) != 2) return cond_by_inverse(x, order);
  check_matrix("cond", x);
  Tensor const s = svdvals(x);
  if (s.size(-1) == 0) return zeros(lead_of(x), x.dtype(), x.device());
  return order > 0 ? amax(s, {-1}) / amin(s, {-1}) : amin(s, {-1}) / amax(s, {-1});
}

Tensor cond(Tensor const& x, std::string_view order) { return cond_by_inverse(x, order); }

}  // namespace heed
