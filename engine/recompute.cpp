#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/random.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

using Function = std::function<std::vector<Tensor>(std::vector<Tensor> const&)>;

thread_local bool second_run = false;

using Receive = std::function<void(Tensor const&)>;
thread_local std::vector<std::pair<Tensor, Receive>>* sides = nullptr;  // of the recompute() around

/// f(inputs), and behind it what f hands out; `receivers` gets who wants that.
std::vector<Tensor> run_with_sides(Function const& f, std::vector<Tensor> const& inputs,
                                   std::vector<Receive>* receivers) {
  struct Around {
    std::vector<std::pair<Tensor, Receive>>* before = sides;
    ~Around() { sides = before; }
  } const around;
  std::vector<std::pair<Tensor, Receive>> mine;
  sides = &mine;
  std::vector<Tensor> outputs = f(inputs);
  for (auto& [side, receive] : mine) {
    outputs.push_back(side);
    if (receivers) receivers->push_back(std::move(receive));
  }
  return outputs;
}

/// Recording, with the draws of the first run; the default generator stays as it is even where f seeds it.
class SecondRun {
 public:
  explicit SecondRun(std::vector<Draw>& draws)
      : log_(draws, true), generator_(default_generator()), before_(second_run) {
    second_run = true;
  }
  ~SecondRun() {
    default_generator() = generator_;
    second_run = before_;
  }
  SecondRun(SecondRun const&) = delete;
  SecondRun& operator=(SecondRun const&) = delete;

 private:
  EnableGrad on_;
  DrawLog log_;
  Generator generator_;
  bool before_;
};

/// The inputs as leaves of a graph of f's own.
std::vector<Tensor> leaves(std::vector<Tensor> const& inputs, std::vector<bool> const& wanted) {
  std::vector<Tensor> list;
  for (size_t i = 0; i < inputs.size(); ++i) {
    list.push_back(inputs[i]);
    if (wanted[i]) list.back() = inputs[i].detach().requires_grad_();
  }
  return list;
}

struct Recomputation {
  Function f;
  std::vector<Saved> inputs;
  std::vector<bool> wanted;  // the inputs that have edges
  mutable std::vector<Draw> draws;
  std::vector<Shape> shapes;

  std::vector<Tensor> operator()(Tensor const* g, Node const& node) const {
    bool const create = recording();
    std::vector<Tensor> given;
    for (Saved const& input : inputs) given.push_back(input.get(node));
    std::vector<Tensor> outputs;
    {
      SecondRun const run(draws);
      given = create ? twin_inputs(given) : leaves(given, wanted);
      outputs = run_with_sides(f, given, nullptr);
    }
    check_same(outputs);
    std::vector<Edge> edges;
    for (size_t i = 0; i < given.size(); ++i) edges.push_back(wanted[i] ? Edge(given[i]) : Edge());
    for (int i = int(given.size()); i < node.input_count(); ++i) edges.push_back(node.input(i));
    given.clear();
    return gradients_at(edges, std::exchange(outputs, {}), {g, g + shapes.size()},
                        {.retain = create, .create = create});
  }

  void check_same(std::vector<Tensor> const& outputs) const {
    bool same = outputs.size() == shapes.size();
    for (size_t i = 0; same && i < shapes.size(); ++i) same = outputs[i].defined() && outputs[i].shape() == shapes[i];
    check(same, "recompute", [] {
      return Complaint{"the second run gave other outputs than the first",
                       "let the function depend on its inputs and on constants alone, and leave the hooks inside it as "
                       "they are until backward() is over"};
    });
  }
};

}  // namespace

bool recomputing() noexcept { return second_run; }

void hand_out(Tensor const& side, std::function<void(Tensor const&)> receive) {
  check_defined("hand_out", side);
  if (sides)
    sides->emplace_back(side, std::move(receive));
  else
    receive(side);
}

std::vector<Tensor> recompute(std::function<std::vector<Tensor>(std::vector<Tensor> const&)> f,
                              std::vector<Tensor> const& inputs) {
  Observed const watch("recompute");
  if (!recording()) return f(inputs);
  Recomputation again{std::move(f), {}, {}, {}, {}};
  std::vector<Edge> edges;
  for (Tensor const& input : inputs) {
    check_defined("recompute", input);
    again.inputs.emplace_back(Saved(input));
    again.wanted.push_back(input.requires_grad());
    edges.emplace_back(input);
  }
  // The first run is recorded to see which tensors f captures, and its graph dropped at once: for this while it needs
  // the memory that backward needs for it later.
  uint32_t const epoch = next_epoch();
  std::vector<Tensor> const given = leaves(inputs, again.wanted);
  std::vector<Tensor> outputs, tracked_outputs;
  std::vector<Receive> receivers;
  {
    DrawLog const log(again.draws, false);
    outputs = run_with_sides(again.f, given, &receivers);
  }
  bool any = false;
  for (Edge& edge : captured(outputs, epoch, given)) edges.push_back(std::move(edge));
  for (Tensor& y : outputs) {
    check_defined("recompute", y);
    again.shapes.push_back(y.shape());
    tracked_outputs.emplace_back();
    if (!y.requires_grad()) continue;
    any = true;
    bool const is_view = y.body()->is_view;
    y = Tensor(y.body()->storage, y.body()->offset, y.shape(), y.strides(), y.dtype());
    y.body()->is_view = is_view;
    tracked_outputs.back() = y;
  }
  if (any) record_lists("recompute", tracked_outputs, std::move(edges), std::move(again));
  size_t const own = outputs.size() - receivers.size();
  for (size_t i = 0; i < receivers.size(); ++i) hand_out(outputs[own + i], std::move(receivers[i]));
  outputs.resize(own);
  return outputs;
}

Tensor recompute(std::function<Tensor(Tensor const&)> f, Tensor const& input) {
  return recompute([f = std::move(f)](std::vector<Tensor> const& x) { return std::vector<Tensor>{f(x[0])}; },
                   {input})[0];
}

}  // namespace heed
