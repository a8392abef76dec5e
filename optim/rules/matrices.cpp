// The rules of matrices, which call operations on whole tensors.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/rules/adafactor.h>
#include <heed/optim/rules/matrices.h>
#include <heed/optim/rules/muon.h>
#include <heed/optim/rules/novograd.h>

#include <limits>

namespace heed::optim {

void adamw(Tensor const& p, Tensor const& g, Tensor const& m, Tensor const& v, TensorStep const& step,
           AdamSettings const& settings) {
  void* states[] = {m.address(), v.address()};
  Element const e{.p = 0., .g = 0., .state = {}, .norm = {}, .rate = step.rate, .decay = step.decay, .t = step.t};
  adamw_kernel({p.device(), p.dtype(), p.address(), g.address(), states, p.numel(), step.scale}, e, settings.beta1,
               settings.beta2, settings.epsilon);
}

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
      adamw(p, gradient, moment(1, index), moment(2, index), {rate, group.weight_decay, scale, steps()},
            {config_.beta1, config_.beta2, config_.eps});
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

}  // namespace heed::optim
