#include <heed/nn/loss/catalogue.h>
#include <heed/nn/loss/classification.h>
#include <heed/nn/loss/metric.h>
#include <heed/nn/loss/preference.h>
#include <heed/nn/loss/regression.h>
#include <heed/nn/loss/representation.h>
#include <heed/nn/loss/segmentation.h>
#include <heed/nn/loss/sequence.h>

#include <utility>

namespace heed::nn {
namespace {

template <class Loss>
constexpr bool has_settings = requires(Loss loss, ConfigVisitor& visitor) {
  loss.visit(visitor);
};

/// How many tensors `loss` takes: operands in the signature.
constexpr size_t count_of(std::string_view signature) {
  size_t n = 1;
  for (char const c : signature) n += c == ';';
  return n;
}

template <class Loss>
Tensor compute(std::vector<Tensor> const& operands, Spec const& spec) {
  Loss loss;
  if constexpr (has_settings<Loss>)
    loss = configured<Loss>(spec);
  else
    expect_no_options(spec);
  return [&]<size_t... i>(std::index_sequence<i...>) { return loss(operands[i]...); }
  (std::make_index_sequence<count_of(Loss::operands)>{});
}

template <class Loss>
consteval LossRow row(std::string_view name, std::string_view family, Rank rank, std::string_view source,
                      std::string_view summary) {
  if constexpr (has_settings<Loss>)
    return {{name, family, rank, source, summary, &options_of<Loss>}, Loss::operands, &compute<Loss>};
  else
    return {{name, family, rank, source, summary}, Loss::operands, &compute<Loss>};
}

}  // namespace

std::vector<LossRow> const& losses() {
  using enum Rank;
  static std::vector<LossRow> const rows{
      row<loss::Mse>("mse", "regression", must, "Gauss, 1809", "(x − y)²"),
      row<loss::Mae>("mae", "regression", must, "Laplace, 1774", "|x − y|"),
      row<loss::Huber>("huber", "regression", must, "Huber, 1964", "a parabola within delta, lines beyond"),
      row<loss::SmoothL1>("smooth-l1", "regression", must, "Girshick, 2015", "Huber's divided by beta"),
      row<loss::LogCosh>("log-cosh", "regression", must, "Green, 1990", "log cosh(x − y)"),
      row<loss::Quantile>("quantile", "regression", must, "Koenker and Bassett, 1978",
                          "max(q·d, (q − 1)·d), d = y − x"),
      row<loss::PoissonNll>("poisson-nll", "regression", must, "Nelder and Wedderburn, 1972", "eˣ − y·x"),
      row<loss::GaussianNll>("gaussian-nll", "regression", must, "Nix and Weigend, 1994", "(log v + (x − y)²/v)/2"),
      row<loss::CrossEntropy>("cross-entropy", "classification", must, "Szegedy et al., 2016 (smoothing)",
                              "−log softmax(x)[y], smoothing and ignored rows"),
      row<loss::LinearCrossEntropy>("linear-cross-entropy", "classification", must, "Wijmans et al., 2024",
                                    "cross-entropy of x·Wᵀ whose logits are never held"),
      row<loss::Nll>("nll", "classification", must, "Fisher, 1922", "−log p[y]"),
      row<loss::Bce>("bce", "classification", must, "Cox, 1958", "−y·log p − (1 − y)·log(1 − p)"),
      row<loss::BceLogits>("bce-logits", "classification", must, "Cox, 1958", "the same of σ(x), without overflow"),
      row<loss::KlDiv>("kl-div", "classification", must, "Kullback and Leibler, 1951", "Σ q·(log q − log p)"),
      row<loss::Jsd>("jsd", "classification", must, "Lin, 1991", "(KL(p‖m) + KL(q‖m))/2, m = (p + q)/2"),
      row<loss::Focal>("focal", "classification", must, "Lin et al., 2017", "(1 − p)^γ·CE"),
      row<loss::Ldam>("ldam", "classification", must, "Cao et al., 2019", "CE with margins wider for rare classes"),
      row<loss::Asymmetric>("asymmetric", "classification", must, "Ridnik et al., 2021",
                            "BCE that discounts easy negatives more than positives"),
      row<loss::ZLoss>("z-loss", "classification", must, "Chowdhery et al., 2022", "λ·(log Σ eˣ)²"),
      row<loss::Hinge>("hinge", "classification", must, "Cortes and Vapnik, 1995", "max(0, 1 − y·x), or its square"),
      row<loss::SoftMargin>("soft-margin", "classification", must, "Cox, 1958", "log(1 + e^(−y·x))"),
      row<loss::MultiMargin>("multi-margin", "classification", must, "Crammer and Singer, 2001",
                             "Σ max(0, m − x_y + x_i)/C"),
      row<loss::MultilabelMargin>("multilabel-margin", "classification", must, "Crammer and Singer, 2003",
                                  "Σ max(0, 1 − x_j + x_i)/C, targets j, others i"),
      row<loss::MultilabelSoftMargin>("multilabel-soft-margin", "classification", must, "Cox, 1958",
                                      "BCE of logits, mean over classes"),
      row<loss::GeneralizedCrossEntropy>("gce", "classification", should, "Zhang and Sabuncu, 2018",
                                         "(1 − p^q)/q: noisy labels"),
      row<loss::BiTempered>("bi-tempered", "classification", should, "Amid et al., 2019",
                            "−log_t p of a softmax with thick tails: wrong labels, bounded"),
      row<loss::Bootstrapping>("bootstrapping", "classification", should, "Reed et al., 2015",
                               "β·CE + (1 − β)·H(p): noisy labels"),
      row<loss::Contrastive>("contrastive", "metric", must, "Hadsell et al., 2006",
                             "(y·d² + (1 − y)·max(0, m − d)²)/2"),
      row<loss::Triplet>("triplet", "metric", must, "Weinberger and Saul, 2009", "max(0, d(a, p) − d(a, n) + m)"),
      row<loss::CosineEmbedding>("cosine-embedding", "metric", must, "Bromley et al., 1993",
                                 "1 − cos for pairs, max(0, cos − m) for strangers"),
      row<loss::HingeEmbedding>("hinge-embedding", "metric", must, "Hadsell et al., 2006",
                                "d for pairs, max(0, m − d) for strangers"),
      row<loss::MarginRanking>("margin-ranking", "metric", must, "Herbrich et al., 1999", "max(0, m − y·(a − b))"),
      row<loss::Bpr>("bpr", "metric", must, "Rendle et al., 2009", "−log σ(p − n)"),
      row<loss::InfoNce>("info-nce", "metric", must, "van den Oord et al., 2018", "CE of cosines against the own key"),
      row<loss::NtXent>("nt-xent", "metric", must, "Chen et al., 2020", "InfoNCE among both views' 2N − 1 others"),
      row<loss::SupCon>("sup-con", "metric", must, "Khosla et al., 2020", "NT-Xent with all of one label as pairs"),
      row<loss::ArcFace>("arc-face", "metric", must, "Deng et al., 2019", "CE of s·cos θ, the target's s·cos(θ + m)"),
      row<loss::Tversky>("tversky", "segmentation", must, "Salehi et al., 2017", "1 − TP/(TP + α·FP + β·FN)"),
      row<loss::Dice>("dice", "segmentation", must, "Milletari et al., 2016", "1 − 2Σpt/(Σp + Σt)"),
      row<loss::Jaccard>("jaccard", "segmentation", must, "Rahman and Wang, 2016", "1 − Σpt/(Σp + Σt − Σpt)"),
      row<loss::LovaszSoftmax>("lovasz-softmax", "segmentation", must, "Berman et al., 2018",
                               "sorted errors times the steps of the Jaccard index"),
      row<loss::LovaszHinge>("lovasz-hinge", "segmentation", must, "Berman et al., 2018", "the same of hinge errors"),
      row<loss::Byol>("byol", "representation", must, "Grill et al., 2020", "2 − 2·cos, the target without gradient"),
      row<loss::VicReg>("vic-reg", "representation", must, "Bardes et al., 2022", "similarity, variance, covariance"),
      row<loss::BarlowTwins>("barlow-twins", "representation", must, "Zbontar et al., 2021",
                             "the views' correlation becomes the identity"),
      row<loss::Dpo>("dpo", "preference", must, "Rafailov et al., 2023", "−log σ(β·(margin − the reference's))"),
      row<loss::Ppo>("ppo", "preference", must, "Schulman et al., 2017", "−min(r·A, clamp(r)·A)"),
      row<loss::Grpo>("grpo", "preference", must, "Shao et al., 2024", "PPO with the group's advantage, plus KL"),
      row<loss::Ctc>("ctc", "sequence", must, "Graves et al., 2006", "−log Σ of the paths that spell the target"),
  };
  return rows;
}

Tensor compute_loss(std::string_view text, std::vector<Tensor> const& operands) {
  Spec const spec = parse_spec(text);
  LossRow const& row = find_row("loss", losses(), spec.name);
  std::vector<Tensor const*> pointers;
  for (Tensor const& t : operands) pointers.push_back(&t);
  check_operands(row.name, row.operands, pointers);
  std::vector<Tensor> all = operands;
  all.resize(count_of(row.operands));
  return row.compute(all, spec);
}

}  // namespace heed::nn
