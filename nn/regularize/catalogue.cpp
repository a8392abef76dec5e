#include <heed/nn/regularize/activity.h>
#include <heed/nn/regularize/adversarial.h>
#include <heed/nn/regularize/attention_concentration.h>
#include <heed/nn/regularize/attention_coverage.h>
#include <heed/nn/regularize/attention_dropout.h>
#include <heed/nn/regularize/attention_gini.h>
#include <heed/nn/regularize/attention_locality.h>
#include <heed/nn/regularize/attention_orthogonality.h>
#include <heed/nn/regularize/attention_smoothing.h>
#include <heed/nn/regularize/attention_temperature.h>
#include <heed/nn/regularize/attention_variation.h>
#include <heed/nn/regularize/attention_z_loss.h>
#include <heed/nn/regularize/catalogue.h>
#include <heed/nn/regularize/concrete_dropout.h>
#include <heed/nn/regularize/data.h>
#include <heed/nn/regularize/disagreement_outputs.h>
#include <heed/nn/regularize/disagreement_positions.h>
#include <heed/nn/regularize/disagreement_subspaces.h>
#include <heed/nn/regularize/doubly_stochastic.h>
#include <heed/nn/regularize/drop_connect.h>
#include <heed/nn/regularize/drop_head.h>
#include <heed/nn/regularize/drop_key.h>
#include <heed/nn/regularize/dropouts.h>
#include <heed/nn/regularize/elastic_net.h>
#include <heed/nn/regularize/ema.h>
#include <heed/nn/regularize/entropy_bonus.h>
#include <heed/nn/regularize/entropy_floor.h>
#include <heed/nn/regularize/entropy_penalty.h>
#include <heed/nn/regularize/ewc.h>
#include <heed/nn/regularize/forgetful_mask.h>
#include <heed/nn/regularize/gradient_centralization.h>
#include <heed/nn/regularize/gradient_clipping.h>
#include <heed/nn/regularize/gradient_noise.h>
#include <heed/nn/regularize/group_lasso.h>
#include <heed/nn/regularize/guided_attention.h>
#include <heed/nn/regularize/l0.h>
#include <heed/nn/regularize/l1.h>
#include <heed/nn/regularize/l2.h>
#include <heed/nn/regularize/l2_sp.h>
#include <heed/nn/regularize/labels.h>
#include <heed/nn/regularize/logit_soft_cap.h>
#include <heed/nn/regularize/lookahead.h>
#include <heed/nn/regularize/magnitude_pruning.h>
#include <heed/nn/regularize/max_norm.h>
#include <heed/nn/regularize/max_weight.h>
#include <heed/nn/regularize/mixes.h>
#include <heed/nn/regularize/ortho_grad.h>
#include <heed/nn/regularize/orthogonality.h>
#include <heed/nn/regularize/qk_clip.h>
#include <heed/nn/regularize/sigma_reparam.h>
#include <heed/nn/regularize/sink_penalty.h>
#include <heed/nn/regularize/slopes.h>
#include <heed/nn/regularize/snapshots.h>
#include <heed/nn/regularize/span_l1.h>
#include <heed/nn/regularize/spectral_penalty.h>
#include <heed/nn/regularize/spectral_reparam.h>
#include <heed/nn/regularize/srip.h>
#include <heed/nn/regularize/standardized_weights.h>
#include <heed/nn/regularize/supervised_attention.h>
#include <heed/nn/regularize/swa.h>
#include <heed/nn/regularize/weight_noise.h>
#include <heed/nn/regularize/weight_norm_reparam.h>

namespace heed::nn {
namespace {

template <class R>
std::unique_ptr<Regularizer> make(Spec const& spec) {
  return std::make_unique<R>(configured<typename R::Config>(spec));
}

template <class R>
consteval RegularizerRow row(std::string_view name, std::string_view family, Rank rank, std::string_view source,
                             std::string_view summary) {
  return {{name, family, rank, source, summary, options_of<typename R::Config>}, make<R>};
}

template <class R>
consteval RegularizerRow of_data(std::string_view name, Rank rank, std::string_view source, std::string_view summary,
                                 std::string_view takes) {
  return {{name, "data", rank, source, summary, options_of<typename R::Config>}, make<R>, takes};
}

constexpr std::string_view of_weights = "weights", of_activations = "activations", of_maps = "attention maps",
                           of_labels = "labels", worse_inputs = "any numbers, tokens by their embeddings",
                           of_gradients = "gradients", of_optimisation = "optimisation";

}  // namespace

std::vector<RegularizerRow> const& regularizers() {
  static std::vector<RegularizerRow> const rows{
      // weights
      row<L1>("l1", of_weights, Rank::must, "Tibshirani, 1996", "weight sum |w|"),
      row<L2>("l2", of_weights, Rank::must, "Hoerl and Kennard, 1970", "weight/2 sum w^2, in the loss: coupled"),
      row<ElasticNet>("elastic-net", of_weights, Rank::must, "Zou and Hastie, 2005",
                      "weight sum share |w| + (1 - share)/2 w^2"),
      row<MaxNorm>("max-norm", of_weights, Rank::must, "Srivastava et al., 2014",
                   "rows longer than a limit are shortened after each step"),
      row<SpectralReparam>("spectral-norm", of_weights, Rank::must, "Miyato et al., 2018",
                           "layers use W/(largest singular value)"),
      row<SigmaReparam>("sigma-reparam", of_weights, Rank::must, "Zhai et al., 2023",
                        "layers use gain W/(largest singular value), the gain learnt"),
      row<Orthogonality>("orthogonality", of_weights, Rank::must, "Bansal et al., 2018", "weight sum |W W^T - I|^2"),
      row<Srip>("srip", of_weights, Rank::must, "Bansal et al., 2018",
                "weight sum (largest singular value of W^T W - I)"),
      row<SpectralPenalty>("spectral-penalty", of_weights, Rank::must, "Yoshida and Miyato, 2017",
                           "weight/2 sum (largest singular value)^2"),
      row<DropConnect>("dropconnect", of_weights, Rank::must, "Wan et al., 2013",
                       "layers use weights of which a share is dropped"),
      row<WeightNoise>("weight-noise", of_weights, Rank::should, "Graves, 2011",
                       "layers use W + noise while they train"),
      row<WeightNormReparam>("weight-norm", of_weights, Rank::should, "Salimans and Kingma, 2016",
                             "layers use g w/|w| by rows, g learnt"),
      row<StandardizedWeights>("weight-standardization", of_weights, Rank::should, "Qiao et al., 2019",
                               "layers use rows of mean 0 and variance 1"),
      row<GroupLasso>("group-lasso", of_weights, Rank::should, "Yuan and Lin, 2006", "weight sum sqrt(I) |row|"),
      row<L2Sp>("l2-sp", of_weights, Rank::should, "Li et al., 2018", "weight/2 sum (w - w at the start)^2"),
      row<Ewc>("ewc", of_weights, Rank::should, "Kirkpatrick et al., 2017", "weight/2 sum F (w - w of an old task)^2"),
      row<L0>("l0", of_weights, Rank::should, "Louizos et al., 2018", "rows, or weights, behind gates that may close"),
      row<L0Heads>("l0-heads", of_weights, Rank::should, "Voita et al., 2019", "heads behind gates that may close"),
      row<MagnitudePruning>("magnitude-pruning", of_weights, Rank::should, "Zhu and Gupta, 2017",
                            "a growing share of each matrix, its smallest weights, is 0"),
      row<ConcreteDropout>("concrete-dropout", of_weights, Rank::should, "Gal et al., 2017",
                           "features that layers read dropped, the share of each layer learnt"),
      row<SpanL1>("span-l1", of_weights, Rank::should, "Sukhbaatar et al., 2019",
                  "weight mean |span| of adaptive-span heads"),
      // activations
      row<OutputDropout>("dropout", of_activations, Rank::must, "Srivastava et al., 2014",
                         "elements dropped, the others divided by 1 - p"),
      row<McDropout>("mc-dropout", of_activations, Rank::should, "Gal and Ghahramani, 2016",
                     "dropout in evaluation too: passes are samples"),
      row<SpatialDropout>("spatial-dropout", of_activations, Rank::must, "Tompson et al., 2015",
                          "whole features of a sequence, whole channels"),
      row<AlphaDropout>("alpha-dropout", of_activations, Rank::must, "Klambauer et al., 2017",
                        "keeps mean 0 and variance 1, for SELU"),
      row<GaussianDropout>("gaussian-dropout", of_activations, Rank::must, "Srivastava et al., 2014",
                           "x N(1, p/(1 - p))"),
      row<DropBlock>("drop-block", of_activations, Rank::must, "Ghiasi et al., 2018",
                     "neighbouring positions together"),
      row<DropPath>("drop-path", of_activations, Rank::must, "Huang et al., 2016",
                    "whole branches of single samples: stochastic depth"),
      row<LayerDrop>("layer-drop", of_activations, Rank::must, "Fan et al., 2020", "whole blocks passed by"),
      row<ActivityPenalty>("activity", of_activations, Rank::must, "Merity et al., 2017", "weight mean |x|^power"),
      row<GaussianNoise>("gaussian-noise", of_activations, Rank::must, "Bishop, 1995", "x + N(0, deviation^2)"),
      row<EmbeddingNoise>("embedding-noise", of_activations, Rank::should, "Jain et al., 2024",
                          "NEFTune: uniform noise on embeddings"),
      row<Zoneout>("zoneout", of_activations, Rank::should, "Krueger et al., 2017",
                   "elements keep what they were before a block"),
      row<TokenDrop>("token-drop", of_activations, Rank::should, "Gal and Ghahramani, 2016",
                     "embeddings of tokens to 0"),
      row<VariationalDropout>("variational-dropout", of_activations, Rank::should, "Gal and Ghahramani, 2016",
                              "one mask for all steps of a sequence"),
      row<ShakeShake>("shake-shake", of_activations, Rank::should, "Gastaldi, 2017",
                      "a block's branches in random shares, other ones for their gradients"),
      row<JacobianPenalty>("jacobian", of_activations, Rank::should, "Hoffman et al., 2019",
                           "weight/2 mean |d logits/d inputs|^2 by random projections"),
      // attention maps
      row<AttentionDropout>("attention-dropout", of_maps, Rank::must, "Vaswani et al., 2017",
                            "weights dropped after the softmax, the others divided by 1 - p"),
      row<DropKey>("dropkey", of_maps, Rank::must, "Li et al., 2023",
                   "keys dropped before the softmax, for each query; never a whole row"),
      row<DropHead>("drophead", of_maps, Rank::must, "Zhou et al., 2020", "whole heads dropped, the others scaled up"),
      row<EntropyBonus>("entropy-bonus", of_maps, Rank::must, "Pereyra et al., 2017",
                        "- weight mean H/log n: rewards attention that spreads"),
      row<EntropyPenalty>("entropy-penalty", of_maps, Rank::must, "Grandvalet and Bengio, 2004",
                          "weight mean H/log n: sharpens attention"),
      row<EntropyFloor>("entropy-floor", of_maps, Rank::must, "Zhai et al., 2023",
                        "weight mean max(0, floor log n - H)^2"),
      row<AttentionZLoss>("attention-z-loss", of_maps, Rank::must, "Chowdhery et al., 2022",
                          "weight mean lse^2: logits stay small"),
      row<DisagreementSubspaces>("disagreement-subspaces", of_maps, Rank::must, "Li et al., 2018",
                                 "cosine of the heads' values: D_sub"),
      row<DisagreementPositions>("disagreement-positions", of_maps, Rank::must, "Li et al., 2018",
                                 "overlap of the heads' weights: D_pos"),
      row<DisagreementOutputs>("disagreement-outputs", of_maps, Rank::must, "Li et al., 2018",
                               "cosine of the heads' outputs: D_out"),
      row<AttentionOrthogonality>("attention-orthogonality", of_maps, Rank::must, "Lin et al., 2017",
                                  "|A A^T - I|^2 over heads, or over queries"),
      row<AttentionCoverage>("attention-coverage", of_maps, Rank::must, "See et al., 2017",
                             "sum min(a, c), c what earlier queries gave the key"),
      row<DoublyStochastic>("doubly-stochastic", of_maps, Rank::must, "Xu et al., 2015",
                            "mean (1 - sum_i a_ij)^2: every key gets the same"),
      row<GuidedAttention>("guided-attention", of_maps, Rank::must, "Tachibana et al., 2017",
                           "sum a (1 - exp(-(i/T - j/S)^2/2 width^2)): the diagonal"),
      row<LogitSoftCap>("logit-soft-cap", of_maps, Rank::must, "Gemma 2, 2024", "cap tanh(s/cap) in place of scores"),
      row<QKClip>("qk-clip", of_maps, Rank::must, "Kimi K2, 2025",
                  "shrinks the query and key weights of a head whose logits exceed a threshold"),
      row<AttentionConcentration>("attention-concentration", of_maps, Rank::should, "Herfindahl, 1950",
                                  "weight mean sum a^2 = 1/(effective keys)"),
      row<MaxWeight>("max-weight", of_maps, Rank::should, "-", "weight mean max(0, max a - limit)^2"),
      row<SinkPenalty>("sink-penalty", of_maps, Rank::should, "Gu et al., 2024",
                       "weight sum over keys of max(0, mean weight got - limit)^2"),
      row<AttentionGini>("attention-gini", of_maps, Rank::should, "Hurley and Rickard, 2009", "Gini index of rows"),
      row<AttentionVariation>("attention-variation", of_maps, Rank::should, "Niculae and Blondel, 2017",
                              "sum |a_j+1 - a_j|: neighbouring keys alike"),
      row<AttentionSmoothing>("attention-smoothing", of_maps, Rank::should, "Szegedy et al., 2016",
                              "KL(uniform, a): no key is given up"),
      row<AttentionLocality>("attention-locality", of_maps, Rank::should, "Raghu et al., 2021",
                             "mean distance of attention; a negative weight looks far"),
      row<AttentionTemperature>("attention-temperature", of_maps, Rank::should, "Lin et al., 2018",
                                "scores / temperature, which changes with the steps"),
      row<ForgetfulMask>("forgetful-mask", of_maps, Rank::should, "Liu et al., 2022",
                         "past tokens hidden at random from all queries and layers"),
      row<SupervisedAttention>("supervised-attention", of_maps, Rank::should, "Mi et al., 2016",
                               "KL(target, a): a teacher's or people's alignments"),
      // labels
      row<LabelSmoothing>("label-smoothing", of_labels, Rank::must, "Szegedy et al., 2016",
                          "(1 - e) CE + e mean(-log p)"),
      row<ConfidencePenalty>("confidence-penalty", of_labels, Rank::must, "Pereyra et al., 2017",
                             "CE - weight mean H(p)"),
      row<Distillation>("distillation", of_labels, Rank::must, "Hinton et al., 2015",
                        "KL(teacher, student), both softened by a temperature"),
      row<RDrop>("r-drop", of_labels, Rank::must, "Wu et al., 2021", "each batch twice, KL between both"),
      row<MeanTeacher>("mean-teacher", of_labels, Rank::should, "Tarvainen and Valpola, 2017",
                       "distillation by the average of the own weights"),
      row<NoisyLabels>("gce", of_labels, Rank::should, "Zhang and Sabuncu, 2018", "(1 - p^q)/q in place of CE"),
      row<BiTemperedLabels>("bi-tempered", of_labels, Rank::should, "Amid et al., 2019",
                            "tempered logarithm and softmax in place of CE"),
      row<BootstrappedLabels>("bootstrapping", of_labels, Rank::should, "Reed et al., 2015",
                              "labels mixed with what the model believes"),
      // data
      of_data<Mixup>("mixup", Rank::must, "Zhang et al., 2018", "two samples and their losses in one share",
                     "any numbers, tokens by their embeddings"),
      of_data<CutMix>("cutmix", Rank::must, "Yun et al., 2019", "a box of each from another, losses by area",
                      "tokens, series, images"),
      of_data<Erasing>("erasing", Rank::must, "Zhong et al., 2020", "a box becomes noise", "tokens, series, images"),
      of_data<TokenMasking>("token-masking", Rank::must, "Devlin et al., 2019", "inputs corrupted, targets stay",
                            "tokens"),
      of_data<TokenEdits>("eda", Rank::should, "Wei and Zou, 2019", "tokens swapped, deleted, inserted", "tokens"),
      of_data<RandAugment>("rand-augment", Rank::must, "Cubuk et al., 2020", "n random changes of one strength",
                           "images in [0, 1]"),
      of_data<TrivialAugment>("trivial-augment", Rank::must, "Mueller and Hutter, 2021",
                              "one random change of random strength", "images in [0, 1]"),
      of_data<AugMix>("aug-mix", Rank::should, "Hendrycks et al., 2020",
                      "chains of changes mixed; three views that are to agree", "images in [0, 1]"),
      of_data<Fgsm>("fgsm", Rank::should, "Goodfellow et al., 2015", "CE at x + radius sign(gradient) as well",
                    worse_inputs),
      of_data<Pgd>("pgd", Rank::should, "Madry et al., 2018", "the same, found in several steps", worse_inputs),
      of_data<FreeLB>("freelb", Rank::should, "Zhu et al., 2020", "CE along several steps to a worse place",
                      worse_inputs),
      of_data<Vat>("vat", Rank::should, "Miyato et al., 2018", "KL to p at the place nearby that differs most",
                   worse_inputs),
      of_data<SpecAugment>("spec-augment", Rank::must, "Park et al., 2019", "bands and frames hidden, time warped",
                           "spectra [B, F, T]"),
      of_data<Jitter>("jitter", Rank::must, "Um et al., 2017", "x + N(0, deviation^2)", "any numbers"),
      of_data<WindowWarp>("window-warp", Rank::must, "Le Guennec et al., 2016", "a window slower or faster",
                          "series [B, T, C]"),
      // gradients
      row<ClipNorm>("clip-norm", of_gradients, Rank::must, "Pascanu et al., 2013",
                    "g min(1, c/|g|), over all together"),
      row<ClipValue>("clip-value", of_gradients, Rank::must, "Mikolov, 2012", "every element of g between -c and c"),
      row<AdaptiveClipping>("agc", of_gradients, Rank::must, "Brock et al., 2021",
                            "rows of g no longer than a share of the weights' rows"),
      row<GradientNoise>("gradient-noise", of_gradients, Rank::must, "Neelakantan et al., 2015",
                         "g + N(0, variance/(1 + t)^fade)"),
      row<GradientCentralization>("gradient-centralization", of_gradients, Rank::should, "Yong et al., 2020",
                                  "rows of g have mean 0"),
      row<OrthoGrad>("ortho-grad", of_gradients, Rank::should, "Prieto et al., 2025",
                     "g without what goes along the weights, as long as before"),
      row<GradientPenalty>("gradient-penalty", of_gradients, Rank::should, "Drucker and LeCun, 1992",
                           "weight mean (|d loss/d inputs| - norm)^2"),
      // optimisation
      row<WeightEma>("ema", of_optimisation, Rank::must, "Polyak and Juditsky, 1992",
                     "evaluations see a moving mean of the weights"),
      row<Swa>("swa", of_optimisation, Rank::must, "Izmailov et al., 2018",
               "evaluations see the plain mean of the weights since a step"),
      row<LookaheadWeights>("lookahead", of_optimisation, Rank::must, "Zhang et al., 2019",
                            "every k steps the weights go back a part of the way"),
      row<Snapshots>("snapshots", of_optimisation, Rank::should, "Huang et al., 2017",
                     "evaluations of the model see the mean of copies from the ends of cycles"),
  };
  return rows;
}

std::vector<std::unique_ptr<Regularizer>> make_regularizers(std::string_view text) {
  std::vector<std::unique_ptr<Regularizer>> made;
  if (text.empty()) return made;
  for (Spec const& spec : parse_specs(text))
    made.push_back(find_row("regularizer", regularizers(), spec.name).make(spec));
  return made;
}

}  // namespace heed::nn
