#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/elementwise.h>
#include <heed/engine/ops/optimise.h>
#include <heed/engine/ops/program.h>
#include <heed/engine/ops/program_device.h>
#include <heed/engine/parallel.h>
#include <heed/optim/pointwise.h>

#include <cmath>

namespace heed::optim {

double correction(double beta, int64_t t) { return 1 - std::pow(beta, double(t)); }

Symbol adam_means(Element& e, double beta1, double beta2, double epsilon) {
  Symbol &m = e.state[0], &v = e.state[1];
  m = lerp(m, e.g, 1 - beta1);
  v = beta2 * v + (1 - beta2) * square(e.g);
  return sqrt(v) / std::sqrt(correction(beta2, e.t)) + epsilon;
}

namespace {

struct RangeCheck final : nn::ConfigVisitor {
  std::string_view rule;
  void field(std::string_view name, double& value, std::string_view) override {
    bool fraction = false;
    for (char const* start : {"beta", "momentum", "alpha", "rho", "decay"}) fraction |= name.starts_with(start);
    check(std::isfinite(value) && value >= 0 && (!fraction || value < 1), rule, [&] {
      return Complaint{
          fmt::format("expected {} {}, got {}", name, fraction ? "from 0 to below 1" : "of 0 or more", value),
          "leave it out for the usual value"};
    });
  }
  void field(std::string_view name, int64_t& value, std::string_view) override {
    check(value >= 0, rule, [&] {
      return Complaint{fmt::format("expected {} of 0 or more, got {}", name, value),
                       "leave it out for the usual value"};
    });
  }
  void field(std::string_view, bool&, std::string_view) override {}
  void field(std::string_view, std::string&, std::string_view) override {}
};

constexpr int64_t piece_elements = 16384;

/// Elements of one tensor that one thread takes at a time.
struct Piece {
  size_t tensor;
  int64_t from, count;
};

/// visit(tensor, from, count) for all elements of all tensors, in parallel. Where tensors are cut, and which small ones
/// are taken together, follows from their sizes alone.
template <class Visit>
void in_pieces(std::vector<std::vector<Tensor>> const& tensors, Visit const& visit) {
  std::vector<Piece> pieces;
  std::vector<size_t> tasks{0};
  int64_t in_task = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    int64_t const size = tensors[i][0].numel();
    for (int64_t from = 0; from < size; from += piece_elements) {
      int64_t const count = std::min(piece_elements, size - from);
      if (in_task > 0 && in_task + count > piece_elements) {
        tasks.push_back(pieces.size());
        in_task = 0;
      }
      pieces.push_back({i, from, count});
      in_task += count;
    }
  }
  tasks.push_back(pieces.size());
  parallel_for(int64_t(tasks.size()) - 1, 1, [&](int64_t begin, int64_t end) {
    for (size_t p = tasks[size_t(begin)]; p < tasks[size_t(end)]; ++p)
      visit(tensors[pieces[p].tensor], pieces[p].from, pieces[p].count);
  });
}

/// The formula of one group in a step: operands are θ, g, the states and the norms; outputs the states, then θ, so that
/// a state may become what θ was.
struct GroupStep {
  Program const& program;
  size_t states;

  size_t output(size_t k) const { return k == states ? 0 : 2 + k; }

  template <class T>
  void here(std::vector<Tensor> const& operands, int64_t from, int64_t count) const {
    T const* in[most_program_operands];
    T* out[most_program_operands];
    int64_t strides[most_program_operands];
    for (size_t k = 0; k < operands.size(); ++k) {
      strides[k] = k < 2 + states ? 1 : 0;
      in[k] = operands[k].address<T>() + from * strides[k];
    }
    for (size_t k = 0; k <= states; ++k) out[k] = operands[output(k)].address<T>() + from;
    kernels<ProgramKernels>().of<T>().run(program, in, strides, out, count);
  }

  template <class T>
  void there(std::vector<Tensor> const& operands) const {
    T const* in[most_program_operands];
    T* out[most_program_operands];
    std::vector<Tensor const*> all;
    for (size_t k = 0; k < operands.size(); ++k) {
      in[k] = operands[k].address<T>();
      all.push_back(&operands[k]);
    }
    for (size_t k = 0; k <= states; ++k) out[k] = operands[output(k)].address<T>();
    device_kernels<DeviceProgramKernels>(operands[0].device(), "optimizer")
        .template of<T>()
        .run(program, walk_of<most_program_operands>(operands[0].shape(), all), in, out);
  }
};

}  // namespace

void check_settings(std::string_view rule, void (*visit)(nn::ConfigVisitor&, void*), void* settings) {
  RangeCheck range;
  range.rule = rule;
  visit(range, settings);
}

void require_momentum(double momentum, double dampening, bool nesterov) {
  check(!nesterov || (momentum > 0 && dampening == 0), "sgd", [&] {
    return Complaint{
        fmt::format("momentum {} with dampening {} and nesterov {} is no rule", momentum, dampening, nesterov),
        "Nesterov's form needs momentum above 0 and no dampening"};
  });
}

bool adamw_kernel(StepArrays const& at, Element const& e, double beta1, double beta2, double epsilon, bool coupled,
                  bool amsgrad) {
  AdamwStep const step{.lr = e.rate,
                       .beta1 = beta1,
                       .beta2 = beta2,
                       .eps = epsilon,
                       .weight_decay = e.decay,
                       .correction1 = correction(beta1, e.t),
                       .correction2 = correction(beta2, e.t),
                       .grad_scale = at.gradient_scale,
                       .coupled = coupled};
  dispatch_floating("adamw", at.dtype, [&]<class T>(Type<T>) {
    kernels<OptimiseKernels>(at.device, "adamw")
        .of<T>()
        .adamw(static_cast<T*>(at.parameter), static_cast<T const*>(at.gradient), static_cast<T*>(at.state[0]),
               static_cast<T*>(at.state[1]), amsgrad ? static_cast<T*>(at.state[2]) : nullptr, at.n, step);
  });
  return true;
}

bool adagrad_kernel(StepArrays const& at, Element const& e, double rate, double initial, double epsilon) {
  AdagradStep const step{
      .lr = rate, .initial = initial, .eps = epsilon, .weight_decay = e.decay, .grad_scale = at.gradient_scale};
  dispatch_floating("adagrad", at.dtype, [&]<class T>(Type<T>) {
    kernels<OptimiseKernels>(at.device, "adagrad")
        .of<T>()
        .adagrad(static_cast<T*>(at.parameter), static_cast<T const*>(at.gradient), static_cast<T*>(at.state[0]), at.n,
                 step);
  });
  return true;
}

bool sgd_kernel(StepArrays const& at, Element const& e, double momentum, double dampening, bool nesterov) {
  SgdStep const step{.lr = e.rate,
                     .momentum = momentum,
                     .dampening = dampening,
                     .weight_decay = e.decay,
                     .nesterov = nesterov,
                     .first = e.first(),
                     .grad_scale = at.gradient_scale};
  dispatch_floating("sgd", at.dtype, [&]<class T>(Type<T>) {
    kernels<OptimiseKernels>(at.device, "sgd")
        .of<T>()
        .sgd(static_cast<T*>(at.parameter), static_cast<T const*>(at.gradient),
             momentum > 0 ? static_cast<T*>(at.state[0]) : nullptr, at.n, step);
  });
  return true;
}

PointwiseOptimizer::PointwiseOptimizer(std::vector<ParameterGroup>&& groups, double learning_rate,
                                       std::string_view slots)
    : Optimizer(std::move(groups), learning_rate) {
  for (; !slots.empty(); ++slot_count_) {
    std::string_view const slot = slots.substr(0, slots.find(' '));
    add_slot(slot);
    slots.remove_prefix(std::min(slots.size(), slot.size() + 1));
  }
}

void PointwiseOptimizer::update(ParameterGroup const& group, std::vector<Item> const& items, double rate,
                                double gradient_scale) {
  int const operands = int(2 + slot_count_);
  auto const begin = [&](Recorder& recorder) {
    Element e{.p = recorder.named(0),
              .g = recorder.named(1) * gradient_scale,
              .state = {},
              .norm = {},
              .rate = rate,
              .decay = group.weight_decay,
              .t = steps()};
    for (size_t k = 0; k < slot_count_; ++k) e.state.push_back(recorder.named(int(2 + k)));
    return e;
  };
  std::shared_ptr<Program const> measures;
  {
    Recorder recorder(operands);
    Element e = begin(recorder);
    if (auto const wanted = measured(e); !wanted.empty()) measures = recorder.program(wanted);
  }
  int const norms = measures ? measures->outputs() : 0;
  Recorder recorder(operands + norms);
  Element e = begin(recorder);
  for (int k = 0; k < norms; ++k) e.norm.push_back(recorder.named(operands + k));
  formula(e);
  std::vector<Symbol> results = e.state;
  results.push_back(e.p);
  auto const program = recorder.program(results);

  std::vector<std::vector<Tensor>> all;
  for (Item const& item : items) {
    std::vector<Tensor>& list = all.emplace_back(std::vector<Tensor>{item.parameter, item.gradient});
    for (size_t k = 0; k < slot_count_; ++k) list.push_back(moment(k, item.index));
    if (measures)
      for (Tensor const& y : run_program("optimizer norms", measures, list)) list.push_back(norm(y));
  }
  GroupStep const step{*program, slot_count_};
  auto const run = [&](std::vector<Tensor> const& list, int64_t from, int64_t count) {
    auto const address = [&](size_t k) {
      return static_cast<std::byte*>(list[k].address()) + size_t(from) * size_of(list[k].dtype());
    };
    void* states[most_program_operands];
    for (size_t k = 0; k < slot_count_; ++k) states[k] = address(2 + k);
    if (kernel({list[0].device(), list[0].dtype(), address(0), address(1), states, count, gradient_scale}, e)) return;
    dispatch_floating("optimizer", list[0].dtype(), [&]<class T>(Type<T>) {
      if (list[0].device().is_cpu())
        step.here<T>(list, from, count);
      else
        step.there<T>(list);
    });
  };
  if (std::all_of(all.begin(), all.end(), [](auto const& list) { return list[0].device().is_cpu(); }))
    in_pieces(all, run);
  else
    for (auto const& list : all) run(list, 0, list[0].numel());
}

}  // namespace heed::optim
