#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/optim/catalogue.h>
#include <heed/optim/rules/adabelief.h>
#include <heed/optim/rules/adadelta.h>
#include <heed/optim/rules/adafactor.h>
#include <heed/optim/rules/adagrad.h>
#include <heed/optim/rules/adam.h>
#include <heed/optim/rules/adamax.h>
#include <heed/optim/rules/adan.h>
#include <heed/optim/rules/ademamix.h>
#include <heed/optim/rules/adopt.h>
#include <heed/optim/rules/asgd.h>
#include <heed/optim/rules/cautious.h>
#include <heed/optim/rules/cautious_decay.h>
#include <heed/optim/rules/ftrl.h>
#include <heed/optim/rules/galore.h>
#include <heed/optim/rules/lamb.h>
#include <heed/optim/rules/laprop.h>
#include <heed/optim/rules/lars.h>
#include <heed/optim/rules/lbfgs.h>
#include <heed/optim/rules/lion.h>
#include <heed/optim/rules/lookahead.h>
#include <heed/optim/rules/madgrad.h>
#include <heed/optim/rules/mars.h>
#include <heed/optim/rules/muon.h>
#include <heed/optim/rules/nadam.h>
#include <heed/optim/rules/novograd.h>
#include <heed/optim/rules/prodigy.h>
#include <heed/optim/rules/psgd_kron.h>
#include <heed/optim/rules/radam.h>
#include <heed/optim/rules/rmsprop.h>
#include <heed/optim/rules/rprop.h>
#include <heed/optim/rules/sam.h>
#include <heed/optim/rules/schedule_free.h>
#include <heed/optim/rules/sgd.h>
#include <heed/optim/rules/shampoo.h>
#include <heed/optim/rules/soap.h>
#include <heed/optim/rules/sophia.h>
#include <heed/optim/rules/yogi.h>

namespace heed::optim {
namespace {

constexpr bool whole = true;

using nn::Rank;
using nn::Spec;

template <class Rule>
std::unique_ptr<Optimizer> make(std::vector<ParameterGroup>&& groups, Spec const& spec) {
  return std::make_unique<Pointwise<Rule>>(std::move(groups), nn::configured<Rule>(spec));
}

template <class Rule>
consteval OptimizerRow pointwise(std::string_view family, Rank rank, std::string_view source,
                                 std::string_view summary) {
  return {{Rule::name, family, rank, source, summary, nn::options_of<Rule>}, Rule{}.learning_rate, make<Rule>};
}

/// A rule with a class of its own.
template <class Rule, class Config>
consteval OptimizerRow own(std::string_view name, std::string_view family, Rank rank, std::string_view source,
                           std::string_view summary, bool is_whole = false) {
  return {{name, family, rank, source, summary, nn::options_of<Config>},
          Config{}.learning_rate,
          [](std::vector<ParameterGroup>&& groups, Spec const& spec) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Rule>(std::move(groups), nn::configured<Config>(spec));
          },
          nullptr,
          is_whole};
}

template <class Rule, class Config>
consteval OptimizerRow wrapper(std::string_view name, Rank rank, std::string_view source, std::string_view summary,
                               bool is_whole = false) {
  return {{name, "wrapper", rank, source, summary, nn::options_of<Config>},
          AdamWRule{}.learning_rate,
          nullptr,
          [](std::unique_ptr<Optimizer> inner, Spec const& spec) -> std::unique_ptr<Optimizer> {
            return std::make_unique<Rule>(std::move(inner), nn::configured<Config>(spec));
          },
          is_whole};
}

}  // namespace

std::vector<OptimizerRow> const& optimizers() {
  static std::vector<OptimizerRow> const rows{
      pointwise<SGDRule>("descent", Rank::must, "Robbins and Monro, 1951; Sutskever et al., 2013",
                         "b ← μb + g; θ ← θ − ηb, or η(g + μb) in Nesterov's form"),
      pointwise<ASGDRule>("averaging", Rank::could, "Polyak and Juditsky, 1992", "SGD with a mean of the weights"),
      pointwise<RpropRule>("sign", Rank::should, "Riedmiller and Braun, 1993",
                           "a step length for every weight, longer while its gradient keeps its sign"),
      pointwise<AdagradRule>("adaptive", Rank::must, "Duchi et al., 2011", "θ ← θ − η·g/√Σg²"),
      pointwise<RMSpropRule>("adaptive", Rank::must, "Tieleman and Hinton, 2012", "θ ← θ − η·g/√v, v the mean of g²"),
      pointwise<AdadeltaRule>("adaptive", Rank::must, "Zeiler, 2012", "θ ← θ − η·√u/√v·g, u the mean of squared steps"),
      pointwise<AdamRule<false, false>>("adaptive", Rank::must, "Kingma and Ba, 2015",
                                        "θ ← θ − η·m̂/(√v̂ + ε), λθ within g"),
      pointwise<AdamRule<true, false>>("adaptive", Rank::must, "Reddi et al., 2018", "Adam with the largest v so far"),
      pointwise<AdamWRule>("adaptive", Rank::must, "Loshchilov and Hutter, 2019", "θ ← θ(1 − ηλ) − η·m̂/(√v̂ + ε)"),
      pointwise<NAdamRule>("adaptive", Rank::must, "Dozat, 2016", "Adam with Nesterov's look ahead"),
      pointwise<RAdamRule>("adaptive", Rank::must, "Liu et al., 2020", "Adam that rectifies the variance of its rate"),
      pointwise<AdamaxRule>("adaptive", Rank::must, "Kingma and Ba, 2015", "θ ← θ − η·m̂/u, u the largest recent |g|"),
      pointwise<AdanRule>("adaptive", Rank::must, "Xie et al., 2022", "Adam with means of g and of its differences"),
      pointwise<AdaBeliefRule>("adaptive", Rank::must, "Zhuang et al., 2020", "Adam with the mean of (g − m)²"),
      pointwise<LaPropRule>("adaptive", Rank::should, "Ziyin et al., 2020", "momentum of g/√v̂"),
      pointwise<YogiRule>("adaptive", Rank::should, "Zaheer et al., 2018", "v ← v − (1 − β₂)·sign(v − g²)·g²"),
      pointwise<AdoptRule>("adaptive", Rank::should, "Taniguchi et al., 2024", "Adam that divides by the √v before g"),
      pointwise<AdemamixRule>("adaptive", Rank::should, "Pagliardini et al., 2024",
                              "AdamW with a fast and a slow mean"),
      pointwise<MadgradRule>("averaging", Rank::should, "Defazio and Jelassi, 2021",
                             "θ ← μθ + (1 − μ)(θ₀ − s/∛ν), dual averages"),
      pointwise<LionRule>("sign", Rank::must, "Chen et al., 2023", "θ ← θ(1 − ηλ) − η·sign(β₁m + (1 − β₁)g)"),
      pointwise<LarsRule>("normalised", Rank::must, "You et al., 2017", "SGD with steps in proportion to ‖θ‖/‖g‖"),
      pointwise<LambRule>("normalised", Rank::must, "You et al., 2020", "AdamW with steps in proportion to ‖θ‖/‖r‖"),
      pointwise<MarsRule>("adaptive", Rank::should, "Yuan et al., 2024",
                          "AdamW of g + γ·β₁/(1 − β₁)·(g − g_prev), clipped"),
      own<Novograd, NovogradConfig>("novograd", "normalised", Rank::should, "Ginsburg et al., 2019",
                                    "momentum of g/‖g‖, the norm averaged by tensor"),
      own<AdamMini, AdamMiniConfig>("adam-mini", "adaptive", Rank::should, "Zhang et al., 2024",
                                    "AdamW with one v a row: half of its memory"),
      own<Adafactor, AdafactorConfig>("adafactor", "adaptive", Rank::must, "Shazeer and Stern, 2018",
                                      "θ ← θ − η·rms θ·g/√(r·cᵀ/mean r), r and c mean squares of rows and columns"),
      own<Muon, MuonConfig>("muon", "matrix", Rank::must, "Jordan et al., 2024",
                            "θ ← θ − η·polar(momentum) of hidden matrices, AdamW of the rest"),
      own<Soap, SoapConfig>("soap", "matrix", Rank::should, "Vyas et al., 2024",
                            "AdamW in the eigenbases of ggᵀ and gᵀg"),
      own<Shampoo, ShampooConfig>("shampoo", "matrix", Rank::should, "Gupta et al., 2018",
                                  "θ ← θ − η·L^(−¼)·m̂·R^(−¼), as long as Adam's step"),
      own<PsgdKron, PsgdKronConfig>("psgd-kron", "matrix", Rank::should, "Li, 2018",
                                    "θ ← θ − η·P·m̂, P = QᵀQ of two learnt triangles that whiten gradients"),
      own<Galore, GaloreConfig>("galore", "matrix", Rank::should, "Zhao et al., 2024",
                                "Adam of the gradient's leading directions: moments of rank·C numbers"),
      own<Sophia, SophiaConfig>("sophia", "curvature", Rank::should, "Liu et al., 2023",
                                "θ ← θ − η·clip(m/γh), h the Hessian's diagonal, looked at every k steps", whole),
      own<Prodigy, ProdigyConfig>("prodigy", "adaptive", Rank::should, "Mishchenko and Defazio, 2023",
                                  "Adam whose rate is the distance that it estimates: leave it at 1", whole),
      own<DAdaptation, ProdigyConfig>("d-adaptation", "adaptive", Rank::should, "Defazio and Mishchenko, 2023",
                                      "the same by another estimate, more careful", whole),
      pointwise<FtrlRule>("adaptive", Rank::should, "McMahan et al., 2013",
                          "Adagrad's solution of the sums so far, with L1: zeros stay zeros"),
      own<ScheduleFree, ScheduleFreeConfig>("schedule-free", "averaging", Rank::must, "Defazio et al., 2024",
                                            "AdamW at y = (1 − β)z + βx, judged at the mean x: no schedule"),
      own<LBFGS, LBFGSConfig>("lbfgs", "curvature", Rank::must, "Liu and Nocedal, 1989",
                              "θ ← θ − η·H·g, H from the last pairs (Δθ, Δg); several evaluations a step", whole),
      wrapper<Lookahead, LookaheadConfig>("lookahead", Rank::must, "Zhang et al., 2019",
                                          "every k steps φ ← φ + α(θ − φ), θ ← φ"),
      wrapper<SAM, SAMConfig>("sam", Rank::must, "Foret et al., 2021", "steps by the gradient at θ + ρ·g/‖g‖", whole),
      wrapper<Cautious, CautiousConfig>("cautious", Rank::should, "Liang et al., 2024",
                                        "keeps only changes that agree with the gradient"),
      wrapper<CautiousDecay, CautiousDecayConfig>("cautious-decay", Rank::should, "Chen et al., 2025",
                                                  "decays only where the change goes towards 0 as well"),
  };
  return rows;
}

std::unique_ptr<Optimizer> make_optimizer(std::string_view text, std::vector<ParameterGroup>&& groups,
                                          double learning_rate, Around const& around) {
  std::vector<Spec> specs = nn::parse_specs(text);
  if (nn::find_row("optimizer", optimizers(), specs.back().name).wrap) specs.push_back({"adamw"});
  std::vector<OptimizerRow const*> rows;
  for (Spec const& spec : specs) rows.push_back(&nn::find_row("optimizer", optimizers(), spec.name));
  size_t const last = rows.size() - 1;
  for (size_t i = 0; i < last; ++i)
    check(rows[i]->wrap != nullptr, "optimizer", [&] {
      return Complaint{
          fmt::format("'{}' stands before '{}', but is no rule around another", rows[i]->name, rows[i + 1]->name),
          "write wrappers first and one rule last: sam+sgd"};
    });
  size_t inside = 0;  // the first that `around` is around
  for (size_t i = 0; around && i <= last; ++i)
    if (rows[i]->whole) inside = i + 1;
  check(inside <= last, "optimizer", [&] {
    return Complaint{fmt::format("'{}' looks at all parameters in every step: it cannot be spread", rows[last]->name),
                     "choose another rule, or leave its state whole"};
  });
  auto const wrapped = [&](std::unique_ptr<Optimizer> made, size_t from, size_t to) {
    for (size_t i = to; i-- > from;) made = rows[i]->wrap(std::move(made), specs[i]);
    return made;
  };
  MakeRule const rule = [&](std::vector<ParameterGroup>&& some) {
    auto made = rows[last]->make(std::move(some), specs[last]);
    if (learning_rate >= 0) made->set_learning_rate(learning_rate);
    return wrapped(std::move(made), inside, last);
  };
  return wrapped(around ? around(std::move(groups), rule) : rule(std::move(groups)), 0, inside);
}

}  // namespace heed::optim
