// Rules that look at a matrix along both of its sides.
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/rules/galore.h>
#include <heed/optim/rules/matrices.h>
#include <heed/optim/rules/psgd_kron.h>
#include <heed/optim/rules/shampoo.h>
#include <heed/optim/rules/soap.h>

#include <cmath>

namespace heed::optim {

Soap::Soap(std::vector<ParameterGroup>&& groups, SoapConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("soap", config_);
  add_slot("exp_avg");
  add_slot("exp_avg_sq");
  for (int const side : {0, 1}) {
    auto const square_of = [&, side](Tensor const& p) -> int64_t {
      int64_t const n = p.rank() < 2 ? 0 : matrix_of(p)[side];
      return config_.every > 0 && n <= config_.largest ? n : 0;
    };
    add_slot(side ? "columns" : "rows", [&](Tensor const& p) {
      int64_t const n = square_of(p);
      return n ? zeros_for(p, {n, n}) : Tensor();
    });
    add_slot(side ? "columns_basis" : "rows_basis", [&](Tensor const& p) {
      int64_t const n = square_of(p);
      return n ? eye(n, n, wide(p)).to(p.device()) : Tensor();
    });
  }
}

void Soap::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  for (auto const& [parameter, gradient, index] : items) {
    Tensor p = parameter, &m = moment(0, index), &v = moment(1, index);
    Tensor &rows = moment(2, index), &left = moment(3, index), &columns = moment(4, index), &right = moment(5, index);
    if (!rows.defined() && !columns.defined()) {
      adamw(p, gradient, m, v, {rate, group.weight_decay, scale, steps()}, {config_.beta1, config_.beta2, config_.eps});
      continue;
    }
    Shape const shape = matrix_of(p);
    Tensor const g = (scale == 1 ? gradient : gradient * scale).reshape(shape);
    auto const turn = [&](Tensor x, bool back) {
      if (rows.defined()) x = matmul(back ? left : left.t(), x);
      if (columns.defined()) x = matmul(x, back ? right.t() : right);
      return x;
    };
    mean_into(m, g.reshape(p.shape()), 1 - config_.beta1);
    v.copy_(v * config_.beta2 + heed::square(turn(g, false)).reshape(p.shape()) * (1 - config_.beta2));
    double const fix1 = correction(config_.beta1, steps()), fix2 = std::sqrt(correction(config_.beta2, steps()));
    Tensor const step = turn(m.reshape(shape), false) / (sqrt(v).reshape(shape) * (1 / fix2) + config_.eps);
    if (group.weight_decay != 0) p.mul_(1 - rate * group.weight_decay);
    p.sub_((turn(step, true) * (rate / fix1)).reshape(p.shape()));
    auto const follow = [&](Tensor& covariance, Tensor& basis, Tensor const& now) {
      if (!covariance.defined()) return;
      mean_into(covariance, now, 1 - config_.beta3);
      if (steps() == 1)
        basis.copy_(eigh(covariance).vectors);
      else if (steps() % config_.every == 0)
        basis.copy_(qr(matmul(covariance, basis)).q);
    };
    follow(rows, left, matmul(g, g.t()));
    follow(columns, right, matmul(g.t(), g));
  }
}

namespace {

/// x^(−power) of a symmetric x without negative eigenvalues, none taken for less than `least` times the largest.
Tensor inverse_power(Tensor const& x, double power, double least) {
  Eigh const parts = eigh(x);
  Tensor const floor = clamp_min(amax(parts.values, {-1}, true) * least, 1e-30);
  return matmul(parts.vectors * pow(maximum(parts.values, floor), -power), parts.vectors.t());
}

}  // namespace

Shampoo::Shampoo(std::vector<ParameterGroup>&& groups, ShampooConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("shampoo", config_);
  check(config.every >= 1, "shampoo", [] { return Complaint{"expected every of 1 or more", "10 is usual"}; });
  add_slot("exp_avg");
  add_slot("exp_avg_sq");
  for (int const side : {0, 1})
    for (char const* kind : {side ? "columns" : "rows", side ? "columns_root" : "rows_root"})
      add_slot(kind, [&](Tensor const& p) {
        int64_t const n = p.rank() < 2 ? 0 : matrix_of(p)[side];
        return n > 0 && n <= config_.largest ? zeros_for(p, {n, n}) : Tensor();
      });
}

void Shampoo::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  double const fix1 = correction(config_.beta1, steps()), fix2 = std::sqrt(correction(config_.beta2, steps()));
  for (auto const& [parameter, gradient, index] : items) {
    Tensor p = parameter, &m = moment(0, index), &v = moment(1, index);
    Tensor &rows = moment(2, index), &left = moment(3, index), &columns = moment(4, index), &right = moment(5, index);
    if (!rows.defined() && !columns.defined()) {
      adamw(p, gradient, m, v, {rate, group.weight_decay, scale, steps()}, {config_.beta1, config_.beta2, config_.eps});
      continue;
    }
    Tensor const g = (scale == 1 ? gradient : gradient * scale).reshape(matrix_of(p));
    mean_into(m, g.reshape(p.shape()), 1 - config_.beta1);
    double const power = rows.defined() && columns.defined() ? 0.25 : 0.5;
    auto const follow = [&](Tensor& covariance, Tensor& root, Tensor const& x) {
      if (!covariance.defined()) return;
      mean_into(covariance, matmul(x, x.t()), 1 - config_.beta3);
      if (steps() == 1 || steps() % config_.every == 0)
        root.copy_(inverse_power(covariance * (1 / correction(config_.beta3, steps())), power, config_.root_eps));
    };
    follow(rows, left, g);
    follow(columns, right, g.t());
    Tensor step = m.reshape(g.shape()) * (1 / fix1);
    Tensor length;
    if (config_.graft) {
      mean_into(v, heed::square(g).reshape(p.shape()), 1 - config_.beta2);
      length = norm(step / (sqrt(v).reshape(g.shape()) * (1 / fix2) + config_.eps));
    }
    if (rows.defined()) step = matmul(left, step);
    if (columns.defined()) step = matmul(step, right);
    if (length.defined()) step = step * (length / clamp_min(norm(step), 1e-30));
    if (group.weight_decay != 0) p.mul_(1 - rate * group.weight_decay);
    p.sub_((step * rate).reshape(p.shape()));
  }
}

namespace {

/// One side of PSGD's preconditioner, seen from the left: Q is upper triangular [n, n], or the column [n, 1] of a
/// diagonal.
struct Side {
  Tensor& q;
  bool triangle() const { return q.size(1) == q.size(0); }
  Tensor times(Tensor const& x, bool transposed = false) const {
    return triangle() ? matmul(transposed ? q.t() : q, x) : q * x;
  }
  /// Q^(−1)
  Tensor inverse() const {
    return triangle() ? solve_triangular(q, eye(q.size(0), q.size(0), q.dtype()).to(q.device()), {.upper = true})
                      : 1. / q;
  }
  /// A step towards AAᵀ = rest·(QQᵀ)⁻¹, given Q^(−1).
  void follow(Tensor const& a, Tensor const& inverse, Tensor const& rest, double rate) {
    if (!triangle()) {
      Tensor const x = sum(heed::square(a), {1}, true), y = heed::square(inverse) * rest;
      q.sub_((x - y) * q * (rate / clamp_min(max(x + y), 1e-30)));
      return;
    }
    Tensor const x = matmul(a, a.t()), y = matmul(inverse.t(), inverse) * rest, both = x + y;
    // The largest eigenvalue from below, by the longest column.
    Tensor const column = index_select(both, 1, argmax(sum(heed::square(both), {0})).reshape({1}));
    Tensor const size = norm(matmul(both, column)) / clamp_min(norm(column), 1e-30);
    q.sub_(matmul(triu(x - y), q) * (rate / clamp_min(size, 1e-30)));
  }
};

}  // namespace

PsgdKron::PsgdKron(std::vector<ParameterGroup>&& groups, PsgdKronConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("psgd-kron", config_);
  check(config.every >= 1, "psgd-kron", [] { return Complaint{"expected every of 1 or more", "10 is usual"}; });
  add_slot("exp_avg");
  for (int const side : {0, 1})
    add_slot(side ? "columns" : "rows", [&](Tensor const& p) {
      int64_t const n = p.rank() < 2 ? (side ? 1 : p.numel()) : matrix_of(p)[side];
      return zeros_for(p, {n, p.rank() >= 2 && n <= config_.largest ? n : 1});
    });
}

void PsgdKron::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  bool const learns = steps() <= config_.first || steps() % config_.every == 0;
  for (auto const& [parameter, gradient, index] : items) {
    if (parameter.numel() == 0) continue;
    Tensor p = parameter, &mean = moment(0, index);
    Side left{moment(1, index)}, right{moment(2, index)};
    mean_into(mean, scale == 1 ? gradient : gradient * scale, 1 - config_.beta1);
    Tensor const m = mean.reshape({left.q.size(0), right.q.size(0)}) * (1 / correction(config_.beta1, steps()));
    if (steps() == 1)  // the fourth power of both together is the inverse of g²
      for (Side& side : {std::ref(left), std::ref(right)}) {
        Tensor const start = pow(clamp_min(heed::mean(heed::square(m)), 1e-30), -0.125);
        side.q.copy_(side.triangle() ? eye(side.q.size(0), side.q.size(0), m.dtype()).to(m.device()) * start
                                     : start.expand(side.q.shape()));
      }
    if (learns) {
      Tensor const a = right.times(left.times(m).t()).t(), l = left.inverse(), r = right.inverse();
      left.follow(a, l, sum(heed::square(r)), config_.step);
      right.follow(a.t(), r, sum(heed::square(l)), config_.step);
    }
    Tensor const half = left.times(left.times(m), true);
    Tensor const step = right.times(right.times(half.t()), true).t();
    Tensor const size = norm(step) * (1 / std::sqrt(double(p.numel())));
    if (group.weight_decay != 0) p.mul_(1 - rate * group.weight_decay);
    p.sub_((step * (rate / clamp_min(size * (1 / config_.limit), 1.))).reshape(p.shape()));
  }
}

Galore::Galore(std::vector<ParameterGroup>&& groups, GaloreConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("galore", config_);
  check(config.every >= 1 && config.rank >= 1, "galore", [] {
    return Complaint{"expected every and rank of 1 or more", "200 and 32 are usual"};
  });
  // The shorter side is projected.
  auto const low = [&](Tensor const& p, bool moments) {
    if (p.rank() < 2) return moments ? p.shape() : Shape{};
    Shape const whole = matrix_of(p);
    int64_t const shorter = std::min(whole[0], whole[1]), longer = std::max(whole[0], whole[1]);
    if (shorter <= config_.rank) return moments ? p.shape() : Shape{};
    return moments ? Shape{config_.rank, longer} : Shape{shorter, config_.rank};
  };
  for (char const* kind : {"exp_avg", "exp_avg_sq"})
    add_slot(kind, [&](Tensor const& p) { return zeros_for(p, low(p, true)); });
  add_slot("directions", [&](Tensor const& p) {
    Shape const shape = low(p, false);
    return shape.rank() == 0 ? Tensor() : zeros_for(p, shape);
  });
}

void Galore::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  double const fix1 = correction(config_.beta1, steps()), fix2 = std::sqrt(correction(config_.beta2, steps()));
  for (auto const& [parameter, gradient, index] : items) {
    Tensor p = parameter, &m = moment(0, index), &v = moment(1, index), &basis = moment(2, index);
    if (!basis.defined()) {
      adamw(p, gradient, m, v, {rate, group.weight_decay, scale, steps()}, {config_.beta1, config_.beta2, config_.eps});
      continue;
    }
    Shape const shape = matrix_of(p);
    bool const tall = shape[0] > shape[1];
    Tensor const g = (scale == 1 ? gradient : gradient * scale).reshape(shape), wide = tall ? g.t() : g;
    if ((steps() - 1) % config_.every == 0) {
      int64_t const n = wide.size(0);
      basis.copy_(eigh(matmul(wide, wide.t())).vectors.slice(1, n - config_.rank, n));
    }
    Tensor const low = matmul(basis.t(), wide);
    mean_into(m, low, 1 - config_.beta1);
    mean_into(v, heed::square(low), 1 - config_.beta2);
    Tensor const step = matmul(basis, m / (sqrt(v) * (1 / fix2) + config_.eps)) * (rate * config_.scale / fix1);
    if (group.weight_decay != 0) p.mul_(1 - rate * group.weight_decay);
    p.sub_((tall ? step.t() : step).reshape(p.shape()));
  }
}

}  // namespace heed::optim
