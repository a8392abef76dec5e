#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/diagnose/importance.h>
#include <heed/nn/diagnose/rank.h>

namespace heed::nn {
namespace {

/// Takes a hook away at the end of a scope.
struct Removed {
  HookHandle hook;
  ~Removed() { hook.remove(); }
};

}  // namespace

std::vector<HeadImportance> head_importance(std::function<Tensor()> const& loss) {
  std::vector<HeadImportance> result;
  std::vector<Tensor> gates;  // ones: the gradient of a gate is Σ o·∂loss/∂o
  EnableGrad const on;
  Removed const hook{on_attend({}, [&](AttentionCall& call) {
    check(!recomputing(), "head_importance", [] {
      return Complaint{"a layer is run again for its gradient, where gates are strangers", "switch checkpointing off"};
    });
    Tensor const gate = ones({call.q.size(0), call.q.size(1), 1, 1}, call.result.out.dtype(), call.result.out.device())
                            .requires_grad_();
    gates.push_back(gate);
    result.push_back({std::string(call.path), {}});
    call.result.out = call.result.out * gate;
  })};
  Tensor const value = loss();
  check(!gates.empty(), "head_importance", [] {
    return Complaint{"no layer attended", "let the loss run a model with attention"};
  });
  auto const gradients = grad({value}, gates, {}, {.allow_unused = true});
  NoGrad const off;
  for (size_t i = 0; i < gates.size(); ++i)
    result[i].heads = gradients[i].defined() ? mean(abs(gradients[i].to(Dtype::f64)), {0, 2, 3}).to_vector<double>()
                                             : std::vector<double>(size_t(gates[i].size(1)), 0.0);
  return result;
}

Tensor attention_rollout(std::function<void()> const& forward, int64_t query) {
  NoGrad const off;
  std::vector<AttentionCall> calls;
  {
    Removed const hook{on_attend({}, [&](AttentionCall& call) { calls.push_back(call); })};
    forward();
  }
  check(!calls.empty(), "attention_rollout", [] {
    return Complaint{"no layer attended", "let forward run a model with attention"};
  });
  Tensor row;
  for (size_t l = calls.size(); l-- > 0;) {
    AttentionCall const& call = calls[l];
    int64_t const b = call.q.size(0), h = call.q.size(1), t = call.q.size(2);
    check(t == call.k.size(2) && (!row.defined() || row.size(1) == t), "attention_rollout", [&] {
      return Complaint{"expected self-attention of one length, got q " + to_string(call.q.shape()) + " and k " +
                           to_string(call.k.shape()),
                       "run a whole sequence without a cache"};
    });
    if (!row.defined()) {
      check(query >= -t && query < t, "attention_rollout", [&] {
        return Complaint{"query " + std::to_string(query) + " is not among " + std::to_string(t),
                         "pass a position, or -1 for the last"};
      });
      row = (arange(t) == double(query < 0 ? query + t : query)).to(Dtype::f32).to(call.q.device()).expand({b, t});
    }
    Tensor const through = transposed_map_times(call, row.unsqueeze(1).expand({b, h, t}).contiguous());
    row = (row + mean(through.to(row.dtype()), {1})) * 0.5;
  }
  return row;
}

}  // namespace heed::nn
