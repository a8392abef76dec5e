#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/custom.h>
#include <heed/engine/error.h>
#include <heed/engine/ops/attention_rows.h>
#include <heed/engine/ops/score.h>
#include <heed/engine/recompute.h>
#include <heed/engine/tape.h>
#include <heed/nn/regularize/attention_regularizer.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace heed::nn {
namespace {

constexpr int64_t rows_of_block = 32;

}  // namespace

void AttentionRegularizer::begin(Module& model) {
  hook_.remove();
  hook_ = on_attend(
      [this, &model](AttentionCall& call) {
        if (always_ || model.training()) before(call);
      },
      [this, &model](AttentionCall& call) {
        if (always_ || model.training()) after(call);
      });
}

AttentionPenalty::AttentionPenalty(std::string_view name, double weight) : name_(name), weight_(weight) {
  check(std::isfinite(weight), std::string(name).c_str(), [&] {
    return Complaint{fmt::format("expected a finite weight, got {}", weight), "0 switches the penalty off"};
  });
}

void AttentionPenalty::after(AttentionCall& call) {
  if (weight_ == 0 || !recording()) return;
  terms_.add(measure(call));
}

Tensor AttentionPenalty::penalty(Module&) { return terms_.take(weight_); }

Tensor const& softmax_lse(std::string_view regularizer, AttentionCall const& call) {
  check(call.result.lse.defined(), std::string(regularizer).c_str(), [&] {
    return Complaint{
        fmt::format("the rows of {} are no softmax, of which this is a measure",
                    call.path.empty() ? "a layer" : call.path),
        "use a softmax, or a regulariser that reads rows: disagreement-positions, attention-orthogonality, "
        "attention-coverage, attention-variation or attention-gini"};
  });
  return call.result.lse;
}

namespace {

Tensor count_pairs(AttentionCall const& call, bool over_queries) {
  NoGrad const off;
  AttendOptions seen = call.options;
  seen.score = {};  // counting reads no scores
  return score_sum(
      call.q.detach(), call.k.detach(), [](auto s, auto) { return constant_like(s, 1); }, seen, over_queries);
}

}  // namespace

Tensor keys_seen(AttentionCall const& call) { return count_pairs(call, false); }
Tensor queries_seeing(AttentionCall const& call) { return count_pairs(call, true); }

Tensor mean_where(Tensor const& counts, Tensor const& x) {
  Tensor const count = sum(counts.to(Dtype::f32)).to(x.dtype());
  return sum(x) / maximum(count, ones({}, x.dtype(), x.device()));
}

Tensor mean_over_queries(AttentionCall const& call, Tensor const& x, double least) {
  Tensor const counts = keys_seen(call) >= least;
  return mean_where(counts, where(counts, x, 0.0));
}

namespace {

/// 16-bit operands in f32, as attend() takes them.
Tensor wide(Tensor const& x) { return x.dtype() == Dtype::bf16 || x.dtype() == Dtype::f16 ? x.to(Dtype::f32) : x; }

/// f(table) in the place of every tensor that wants a gradient and that the weights depend on beside q and k.
template <class F>
AttendOptions with_learned(AttendOptions options, F const& f) {
  for (ScoreMod* mod : {&options.score, &options.weight}) {
    if (!*mod) continue;
    std::vector<Tensor> tables = recorded(mod->get())->tables;
    for (Tensor& table : tables)
      if (table.requires_grad()) table = f(table);
    *mod = ScoreMod(with_tables(*recorded(mod->get()), std::move(tables)));
  }
  if (options.sink.defined() && options.sink.requires_grad()) options.sink = f(options.sink);
  return options;
}

/// Of one block: its coverage loss, and the sums [B, H, S] after it.
std::pair<Tensor, Tensor> cover(Tensor const& rows, Tensor const& before) {
  Tensor const after = cumsum(rows, 2) + before.unsqueeze(2), until = after - rows;
  return {sum(minimum(rows, until)), before + sum(rows, {2})};
}

}  // namespace

Tensor row_products(AttentionCall const& call) {
  int64_t const t = call.q.size(2);
  Tensor total;
  for (int64_t i = 0; i < t; i += rows_of_block)
    for (int64_t j = 0; j <= i; j += rows_of_block) {
      int64_t const i_end = std::min(i + rows_of_block, t), j_end = std::min(j + rows_of_block, t);
      Tensor const part = recompute(
          [=, options = call.options](std::vector<Tensor> const& in) {
            Tensor const a = attention_rows(in[0], in[1], i, i_end, options);
            if (i != j)
              return std::vector<Tensor>{
                  sum(square(matmul(a, attention_rows(in[0], in[1], j, j_end, options).transpose(2, 3)))) * 2.0};
            return std::vector<Tensor>{
                sum(square(matmul(a, a.transpose(2, 3)) - eye(i_end - i, -1, a.dtype(), a.device())))};
          },
          {wide(call.q), wide(call.k)})[0];
      total = total.defined() ? total + part : part;
    }
  return total.defined() ? total : zeros({}, call.q.dtype(), call.q.device());
}

Tensor attention_coverage(AttentionCall const& call) {
  std::vector<Tensor> inputs{wide(call.q), wide(call.k)};
  with_learned(call.options, [&](Tensor const& table) { return inputs.emplace_back(table); });
  Shape const carried{call.q.size(0), call.q.size(1), call.k.size(2)};
  int64_t const t = call.q.size(2);
  return custom(
      "attention_coverage", inputs,
      [&](std::vector<Tensor> const& in, CustomContext& context) {
        Tensor sums = zeros(carried, in[0].dtype(), in[0].device()), total = zeros({}, in[0].dtype(), in[0].device());
        for (int64_t from = 0; from < t; from += rows_of_block) {
          auto [part, after] =
              cover(attention_rows(in[0], in[1], from, std::min(from + rows_of_block, t), call.options), sums);
          total = total + part;
          sums = after;
        }
        std::vector<Tensor> kept = in;
        kept.push_back(sums);
        context.save(std::move(kept));
        return std::vector<Tensor>{total};
      },
      [t, options = call.options](std::vector<Tensor> const& g, CustomContext const& context) {
        check(!recording(), "attention_coverage", [] {
          return Complaint{"it has no second derivative", "leave create_graph off, or this penalty out"};
        });
        std::vector<Tensor> const& saved = context.saved();
        Tensor const q = saved[0].detach().requires_grad_(), k = saved[1].detach().requires_grad_();
        Tensor sums = saved.back(), carried_gradient = zeros_like(sums);
        std::vector<Tensor> inputs{q, k};
        AttendOptions const own = with_learned(
            options, [&](Tensor const& table) { return inputs.emplace_back(table.detach().requires_grad_()); });
        std::vector<Tensor> gradients;
        for (Tensor const& input : inputs) gradients.push_back(zeros_like(input));
        for (int64_t from = (t - 1) / rows_of_block * rows_of_block; t > 0 && from >= 0; from -= rows_of_block) {
          EnableGrad const on;
          Tensor const rows = attention_rows(q, k, from, std::min(from + rows_of_block, t), own);
          Tensor const before = (sums - sum(rows.detach(), {2})).requires_grad_();
          auto const [part, after] = cover(rows, before);
          std::vector<Tensor> wanted = inputs;
          wanted.push_back(before);
          std::vector<Tensor> const found =
              grad({part, after}, wanted, {g[0], carried_gradient}, {.allow_unused = true});
          NoGrad const off;
          for (size_t i = 0; i < inputs.size(); ++i)
            if (found[i].defined()) gradients[i] = gradients[i] + found[i];
          carried_gradient = found.back();
          sums = before.detach();
        }
        return gradients;
      })[0];
}

Tensor head_agreement(Tensor const& given) {
  Tensor const x = wide(given), length = vector_norm(x, 2, {3}, true);
  Tensor const some = length > 0.0;
  Tensor const unit = where(some, x / where(some, length, 1.0), 0.0);
  return sum(square(mean(unit, {1}))) / double(std::max(x.size(0) * x.size(2), int64_t{1}));
}

Tensor sum_over_rows(AttentionCall const& call, std::function<Tensor(Tensor const& rows)> const& f) {
  Tensor total;
  int64_t const t = call.q.size(2);
  for (int64_t from = 0; from < t; from += rows_of_block) {
    int64_t const to = std::min(from + rows_of_block, t);
    Tensor const part = recompute(
        [from, to, f, options = call.options](std::vector<Tensor> const& in) {
          return std::vector<Tensor>{f(attention_rows(in[0], in[1], from, to, options))};
        },
        {wide(call.q), wide(call.k)})[0];
    total = total.defined() ? total + part : part;
  }
  return total.defined() ? total : zeros({}, call.q.dtype(), call.q.device());
}

double checked_share(std::string_view regularizer, double p) {
  check(p >= 0 && p < 1, std::string(regularizer).c_str(), [&] {
    return Complaint{fmt::format("expected a share from 0 to below 1, got {}", p), "0 drops nothing"};
  });
  return p;
}

}  // namespace heed::nn
