// The rules of matrices, which call operations on whole tensors.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/optim/rules/adafactor.h>
#include <heed/optim/rules/lbfgs.h>
#include <heed/optim/rules/muon.h>
#include <heed/optim/rules/novograd.h>
#include <heed/optim/rules/soap.h>

#include <limits>

namespace heed::optim {
namespace {

Dtype wide(Tensor const& p) { return is_half(p.dtype()) ? Dtype::f32 : p.dtype(); }
Tensor zeros_for(Tensor const& p, Shape const& shape) { return zeros(shape, wide(p), p.device()); }
Tensor like(Tensor const& p) { return zeros_for(p, p.shape()); }
/// [R, C], later axes joined.
Shape matrix_of(Tensor const& p) { return {p.size(0), p.numel() / std::max<int64_t>(p.size(0), 1)}; }

Tensor mean_into(Tensor& to, Tensor const& x, double share) { return to.copy_(heed::lerp(to, x, share)); }

/// AdamW of one tensor.
void adamw(Tensor const& p, Tensor const& g, Tensor const& m, Tensor const& v, double rate, double decay, double scale,
           int64_t t, double beta1, double beta2, double epsilon) {
  void* states[] = {m.address(), v.address()};
  Element const e{.p = 0., .g = 0., .state = {}, .norm = {}, .rate = rate, .decay = decay, .t = t};
  adamw_kernel({p.device(), p.dtype(), p.address(), g.address(), states, p.numel(), scale}, e, beta1, beta2, epsilon);
}

}  // namespace

Adafactor::Adafactor(std::vector<ParameterGroup>&& groups, AdafactorConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("adafactor", config_);
  add_slot("row_var", [](Tensor const& p) {
    Shape shape = p.shape();
    if (shape.rank() < 2) return Tensor();
    shape[shape.rank() - 1] = 1;
    return zeros_for(p, shape);
  });
  add_slot("col_var", [](Tensor const& p) {
    Shape shape = p.shape();
    if (shape.rank() < 2) return Tensor();
    shape[shape.rank() - 2] = 1;
    return zeros_for(p, shape);
  });
  add_slot("variance", [](Tensor const& p) { return p.rank() < 2 ? like(p) : Tensor(); });
}

void Adafactor::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  double const t = double(steps()), share = std::pow(t, -config_.decay);
  for (auto const& [parameter, gradient, index] : items) {
    if (parameter.numel() == 0) continue;
    Tensor p = parameter;
    Tensor const g = scale == 1 ? gradient : gradient * scale;
    double const size = std::sqrt(double(p.numel())), least = p.dtype() == Dtype::f64
                                                                  ? std::numeric_limits<double>::epsilon()
                                                                  : double(std::numeric_limits<float>::epsilon());
    Tensor const length = clamp_min(norm(p) * (1 / size), config_.eps) * std::min(rate, 1 / std::sqrt(t));
    if (group.weight_decay != 0) p.mul_(1 - rate * group.weight_decay);
    Tensor squares;
    if (p.rank() >= 2) {
      Tensor const g2 = heed::square(g);
      Tensor const rows = mean_into(moment(0, index), mean(g2, {-1}, true), share),
                   columns = mean_into(moment(1, index), mean(g2, {-2}, true), share);
      squares = rows * columns / clamp_min(mean(rows, {-2}, true), least);
    } else {
      squares = mean_into(moment(2, index), heed::square(g), share);
    }
    Tensor const u = rsqrt(clamp_min(squares, least * least)) * g;
    p.sub_(length / clamp_min(norm(u) * (1 / (size * config_.threshold)), 1.) * u);
  }
}

Tensor polar_factor(Tensor const& x, int64_t iterations) {
  if (iterations == 0) {
    Svd const parts = svd(x, false);
    return matmul(parts.u, parts.vh);
  }
  bool const tall = x.size(0) > x.size(1);
  Tensor y = tall ? x.t() : x;
  y = y / clamp_min(norm(y), 1e-7);
  for (int64_t i = 0; i < iterations; ++i) {
    Tensor const gram = matmul(y, y.t());
    y = y * 3.4445 + matmul(gram * -4.7750 + matmul(gram, gram) * 2.0315, y);
  }
  return tall ? y.t() : y;
}

Muon::Muon(std::vector<ParameterGroup>&& groups, MuonConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("muon", config_);
  check(config.scale == "rms" || config.scale == "original", "muon", [&] {
    return Complaint{fmt::format("expected rms or original for 'scale', got '{}'", config.scale), "leave it out"};
  });
  // Slots are made in the order of parameters: so are names.
  std::vector<bool> hidden;
  for (ParameterGroup const& group : this->groups())
    for (auto const& [name, p] : group.parameters)
      hidden.push_back(p.rank() >= 2 && p.numel() > 0 && name.find("embedding") == name.npos &&
                       name.find("head.") == name.npos);
  for (char const* kind : {"momentum_buffer", "exp_avg", "exp_avg_sq"}) {
    size_t next = 0;
    add_slot(kind, [&](Tensor const& p) { return hidden[next++] == (*kind == 'm') ? like(p) : Tensor(); });
  }
}

void Muon::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  for (auto const& [parameter, gradient, index] : items) {
    Tensor p = parameter;
    Tensor& buffer = moment(0, index);
    if (!buffer.defined()) {
      adamw(p, gradient, moment(1, index), moment(2, index), rate, group.weight_decay, scale, steps(), config_.beta1,
            config_.beta2, config_.eps);
      continue;
    }
    Tensor const g = scale == 1 ? gradient : gradient * scale;
    mean_into(buffer, g, 1 - config_.momentum);
    Shape const shape = matrix_of(p);
    Tensor const step = config_.nesterov ? heed::lerp(g, buffer, config_.momentum) : buffer;
    double const rows = double(shape[0]), columns = double(shape[1]),
                 length = config_.scale == "rms" ? 0.2 * std::sqrt(std::max(rows, columns))
                                                 : std::sqrt(std::max(1., rows / columns));
    if (group.weight_decay != 0) p.mul_(1 - rate * group.weight_decay);
    p.sub_((polar_factor(step.reshape(shape), config_.iterations) * (rate * length)).reshape(p.shape()));
  }
}

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
      adamw(p, gradient, m, v, rate, group.weight_decay, scale, steps(), config_.beta1, config_.beta2, config_.eps);
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

Novograd::Novograd(std::vector<ParameterGroup>&& groups, NovogradConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("novograd", config_);
  add_slot("exp_avg");
  add_slot("norm_sq", [](Tensor const& p) { return zeros_for(p, {}); });
}

void Novograd::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  for (auto const& [parameter, gradient, index] : items) {
    Tensor p = parameter, &m = moment(0, index), &v = moment(1, index);
    mean_into(v, heed::square(norm(gradient)) * (scale * scale), steps() == 1 ? 1 : 1 - config_.beta2);
    auto const [next_p, next_m] = map(
        [&](auto x, auto g, auto mean, auto squares) {
          auto const m1 = config_.beta1 * mean + (scale * g / (sqrt(squares) + config_.eps) + group.weight_decay * x);
          return std::array<Symbol, 2>{x - rate * m1, m1};
        },
        p, gradient, m, v);
    p.copy_(next_p);
    m.copy_(next_m);
  }
}

AdamMini::AdamMini(std::vector<ParameterGroup>&& groups, AdamMiniConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("adam-mini", config_);
  add_slot("exp_avg");
  add_slot("row_sq", [](Tensor const& p) {
    Shape shape = p.shape();
    for (int axis = p.rank() < 2 ? 0 : 1; axis < shape.rank(); ++axis) shape[axis] = 1;
    return zeros_for(p, shape);
  });
}

void AdamMini::update(ParameterGroup const& group, std::vector<Item> const& items, double rate, double scale) {
  double const fix1 = correction(config_.beta1, steps()), fix2 = std::sqrt(correction(config_.beta2, steps()));
  for (auto const& [parameter, gradient, index] : items) {
    if (parameter.numel() == 0) continue;
    Tensor p = parameter, &m = moment(0, index), &v = moment(1, index);
    Dims axes;
    for (int axis = p.rank() < 2 ? 0 : 1; axis < p.rank(); ++axis) axes.push_back(axis);
    mean_into(v, mean(heed::square(gradient), axes, true) * (scale * scale), 1 - config_.beta2);
    auto const [next_p, next_m] = map(
        [&](auto x, auto g, auto mean, auto squares) {
          auto const m1 = lerp(mean, scale * g, 1 - config_.beta1);
          return std::array<Symbol, 2>{
              x * (1 - rate * group.weight_decay) - rate / fix1 * m1 / (sqrt(squares) / fix2 + config_.eps), m1};
        },
        p, gradient, m, v);
    p.copy_(next_p);
    m.copy_(next_m);
  }
}

LBFGS::LBFGS(std::vector<ParameterGroup>&& groups, LBFGSConfig const& config)
    : Optimizer(std::move(groups), config.learning_rate), config_(config) {
  check_settings("lbfgs", config_);
  check(config.iterations >= 1 && config.history >= 1, "lbfgs", [&] {
    return Complaint{
        fmt::format("expected iterations and history of 1 or more, got {} and {}", config.iterations, config.history),
        "use 20 and 10"};
  });
  int64_t n = 0;
  Tensor first;
  for (ParameterGroup const& group : this->groups())
    for (auto const& [name, p] : group.parameters) {
      if (!first.defined()) first = p;
      check(wide(p) == wide(first) && p.device() == first.device(), "lbfgs", [&] {
        return Complaint{fmt::format("'{}' is of another type or device than the first parameter", name),
                         "train parameters of one kind"};
      });
      n += p.numel();
    }
  s_ = add_tensor("history_s", zeros_for(first, {config.history, n}));
  y_ = add_tensor("history_y", zeros_for(first, {config.history, n}));
  previous_ = add_tensor("previous_gradient", zeros_for(first, {n}));
  direction_ = add_tensor("direction", zeros_for(first, {n}));
  numbers_ = add_tensor("progress", zeros({4}, Dtype::f64)).data<double>();
}

void LBFGS::apply(double) {
  fail("lbfgs", {"it evaluates the loss several times a step, but was given no closure",
                 "call step(closure), which evaluates the loss and its gradients"});
}

/// A group's rate scale s stands for parameters θ/√s, in which its gradient is √s·g and its step d is √s·d of θ.
LBFGS::Point LBFGS::evaluate(Closure const& closure, Evaluation* seen) {
  Evaluation const now = closure();
  if (seen) *seen = now;
  Point point{now.loss, {}};
  std::vector<Tensor> flat;
  for (ParameterGroup const& group : groups())
    for (auto const& parameter : group.parameters) {
      Tensor const p = parameter.tensor.detach().to(s_.dtype());
      Tensor g = parameter.tensor.grad();
      g = g.defined() ? g.detach().to(s_.dtype()) * now.gradient_scale : zeros_like(p);
      if (group.weight_decay != 0) {
        g = g + p * group.weight_decay;
        point.loss += 0.5 * group.weight_decay * sum(heed::square(p)).item();
      }
      flat.push_back(g.flatten() * std::sqrt(group.rate_scale));
    }
  point.gradient = cat(flat);
  return point;
}

void LBFGS::move(Tensor const& direction, double length) {
  int64_t at = 0;
  for (ParameterGroup const& group : groups())
    for (auto const& parameter : group.parameters) {
      Tensor p = parameter.tensor.detach();
      Tensor const step = direction.slice(0, at, at + p.numel()).reshape(p.shape());
      p.copy_(p.to(s_.dtype()) + step * (length * std::sqrt(group.rate_scale)));
      at += p.numel();
    }
}

/// −H·g
Tensor LBFGS::direction(Tensor const& gradient) {
  int64_t const kept = int64_t(numbers_[1]);
  std::vector<double> alpha(static_cast<size_t>(kept)), rho(alpha);
  Tensor q = -gradient;
  for (int64_t i = kept; i-- > 0;) {
    rho[size_t(i)] = 1 / dot(y_.at(i), s_.at(i)).item();
    alpha[size_t(i)] = dot(s_.at(i), q).item() * rho[size_t(i)];
    q = q - y_.at(i) * alpha[size_t(i)];
  }
  q = q * numbers_[3];
  for (int64_t i = 0; i < kept; ++i) q = q + s_.at(i) * (alpha[size_t(i)] - dot(y_.at(i), q).item() * rho[size_t(i)]);
  return q;
}

Evaluation LBFGS::search(Closure const& closure) {
  Evaluation first;
  Point now = evaluate(closure, &first);
  double &count = numbers_[0], &kept = numbers_[1], &length = numbers_[2], &scale = numbers_[3];
  auto const largest = [](Tensor const& x) { return max(abs(x)).item(); };
  int64_t evaluations = 1;
  int64_t const most = config_.iterations * 5 / 4;
  for (int64_t n = 1; n <= config_.iterations && largest(now.gradient) > config_.gradient_tolerance; ++n) {
    if (++count == 1) {
      scale = 1;
    } else {
      Tensor const y = now.gradient - previous_, s = direction_ * length;
      double const ys = dot(y, s).item();
      if (ys > 1e-10) {
        if (kept == double(config_.history)) {
          s_.copy_(cat({s_.slice(0, 1, config_.history), s_.slice(0, 0, 1)}));
          y_.copy_(cat({y_.slice(0, 1, config_.history), y_.slice(0, 0, 1)}));
          --kept;
        }
        s_.at(int64_t(kept)).copy_(s);
        y_.at(int64_t(kept)).copy_(y);
        ++kept;
        scale = ys / dot(y, y).item();
      }
    }
    direction_.copy_(direction(now.gradient));
    previous_.copy_(now.gradient);
    length = count == 1 ? std::min(1., 1 / sum(abs(now.gradient)).item()) * learning_rate() : learning_rate();
    double const slope = dot(now.gradient, direction_).item(), before = now.loss;
    if (slope > -config_.change_tolerance) break;
    move(direction_, length);
    if (n == config_.iterations && !config_.line_search) break;  // nothing is asked of the gradient there
    now = evaluate(closure, nullptr);
    ++evaluations;
    for (int halvings = 0; config_.line_search && halvings < 20 && !(now.loss <= before + 1e-4 * length * slope);
         ++halvings) {
      move(direction_, -0.5 * length);
      length *= 0.5;
      now = evaluate(closure, nullptr);
      ++evaluations;
    }
    if (evaluations >= most || largest(direction_) * length <= config_.change_tolerance ||
        std::abs(now.loss - before) < config_.change_tolerance)
      break;
  }
  return first;
}

}  // namespace heed::optim
