#include <heed/engine/error.h>
#include <heed/nn/init/catalogue.h>
#include <heed/nn/init/models.h>
#include <heed/nn/init/tensors.h>

#include <string>

namespace heed::nn {
namespace {

template <class Init>
constexpr bool has_settings = requires(Init init, ConfigVisitor& visitor) {
  init.visit(visitor);
};

template <class Init>
Init read(Spec const& spec) {
  if constexpr (has_settings<Init>) return configured<Init>(spec);
  expect_no_options(spec);
  return Init{};
}
template <class Init>
void fill(Tensor& tensor, Spec const& spec) {
  read<Init>(spec)(tensor);
}
template <class Init>
void start(Module& model, Spec const& spec) {
  read<Init>(spec)(model);
}

template <class Init>
consteval Entry entry(std::string_view name, std::string_view family, Rank rank, std::string_view source,
                      std::string_view summary) {
  Entry entry{name, family, rank, source, summary};
  if constexpr (has_settings<Init>) entry.options = &options_of<Init>;
  return entry;
}
template <class Init>
consteval InitRow weights(std::string_view name, std::string_view shape, std::string_view source,
                          std::string_view summary) {
  return {entry<Init>(name, "weights", Rank::must, source, summary), shape, &fill<Init>, nullptr};
}
template <class Init>
consteval InitRow states(std::string_view name, std::string_view shape, std::string_view source,
                         std::string_view summary) {
  return {entry<Init>(name, "states", Rank::must, source, summary), shape, &fill<Init>, nullptr};
}
template <class Init>
consteval InitRow model(std::string_view name, Rank rank, std::string_view source, std::string_view summary) {
  return {entry<Init>(name, "models", rank, source, summary), "", nullptr, &start<Init>};
}

/// Variance scaling under the name that it is known by.
enum class Distribution { uniform, normal };
template <int scale, bool average, Distribution distribution>
void scaled(Tensor& weight, Spec const& spec) {
  expect_no_options(spec);
  init::VarianceScaling{double(scale), average ? "fan_avg" : "fan_in",
                        distribution == Distribution::uniform ? "uniform" : "normal"}(weight);
}
template <int scale, bool average, Distribution distribution>
consteval InitRow named(std::string_view name, std::string_view source, std::string_view summary) {
  return {{name, "weights", Rank::must, source, summary}, "[O, I, ..]", &scaled<scale, average, distribution>, nullptr};
}

}  // namespace

std::vector<InitRow> const& inits() {
  using enum Distribution;
  using enum Rank;
  static std::vector<InitRow> const rows{
      weights<init::Constant>("constant", "[..]", "–", "one value"),
      weights<init::Uniform>("uniform", "[..]", "–", "U(low, high)"),
      weights<init::Normal>("normal", "[..]", "–", "N(mean, deviation²)"),
      weights<init::TruncatedNormal>("truncated-normal", "[..]", "–", "N(mean, deviation²), cut"),
      weights<init::VarianceScaling>("variance-scaling", "[O, I, ..]", "He et al., 2015", "variance scale/fan"),
      named<1, true, uniform>("glorot-uniform", "Glorot and Bengio, 2010", "variance 2/(fan_in + fan_out)"),
      named<1, true, normal>("glorot-normal", "Glorot and Bengio, 2010", "variance 2/(fan_in + fan_out)"),
      named<2, false, uniform>("he-uniform", "He et al., 2015", "variance 2/fan_in, for ReLU"),
      named<2, false, normal>("he-normal", "He et al., 2015", "variance 2/fan_in, for ReLU"),
      named<1, false, uniform>("lecun-uniform", "LeCun et al., 1998", "variance 1/fan_in"),
      named<1, false, normal>("lecun-normal", "Klambauer et al., 2017", "variance 1/fan_in, what SELU needs"),
      weights<init::Orthogonal>("orthogonal", "[O, I, ..]", "Saxe et al., 2014", "gain·Q, QᵀQ = 1"),
      weights<init::Identity>("identity", "[N, M]", "Le et al., 2015", "gain·1, the recurrent weight of an IRNN"),
      weights<init::Dirac>("dirac", "[O, I, taps..]", "Zagoruyko and Komodakis, 2017", "a convolution that hands on"),
      states<init::ForgetBias>("forget-bias", "[4·H]", "Gers et al., 2000", "an LSTM's forget gate open"),
      states<init::Chrono>("chrono", "[4·H]", "Tallec and Ollivier, 2018", "an LSTM's memories of all lengths"),
      states<init::RetNetDecay>("retnet-decay", "[H]", "Sun et al., 2023", "γ_h = 1 − 2^(−5 − h)"),
      states<init::AlibiSlopes>("alibi-slopes", "[H]", "Press et al., 2022", "2^(−8(h + 1)/H)"),
      states<init::Hippo>("hippo", "[N, N]", "Gu et al., 2020", "HiPPO-LegS: Legendre coefficients of the past"),
      states<init::S4D>("s4d", "[.., N, 2]", "Gu et al., 2022", "the diagonal of a state matrix: −½ + πni"),
      model<init::GptResidual>("gpt-residual", must, "Radford et al., 2019", "N(0, 0.02²), ends of branches /√(2L)"),
      model<init::ZeroOutput>("zero-output", must, "Goyal et al., 2017", "ends of branches 0: blocks are the identity"),
      model<init::Fixup>("fixup", must, "Zhang et al., 2019",
                         "He's start/√(2L), ends of branches and head 0; norm none"),
      model<init::TFixup>("t-fixup", must, "Huang et al., 2020", "Glorot's start, 0.67·L^(−¼); norm none, no warm-up"),
      model<init::DeepNet>("deepnet", should, "Wang et al., 2022", "Glorot's start, (8L)^(−¼); residual deepnorm"),
      model<init::Admin>("admin", should, "Liu et al., 2020", "ω of each sum from the variance so far; residual admin"),
      model<init::Mup>("mup", should, "Yang et al., 2022", "variances by width, so that rates carry over; tied=false"),
      model<init::Lsuv>("lsuv", should, "Mishkin and Matas, 2016", "orthogonal, each layer's outputs of variance 1"),
      model<init::Mimetic>("mimetic", should, "Trockman and Kolter, 2023", "W_qᵀW_k ≈ αZ + β·1, W_oW_v ≈ αZ − β·1"),
  };
  return rows;
}

void initialize(Tensor& tensor, std::string_view text) {
  Spec const spec = parse_spec(text);
  InitRow const& row = find_row("init", inits(), spec.name);
  check(row.fill, row.name, [] {
    return Complaint{"it starts whole models, and was given a tensor", "pass the model, or choose another row"};
  });
  row.fill(tensor, spec);
}

void initialize(Module& model, std::string_view text) {
  Spec const spec = parse_spec(text);
  InitRow const& row = find_row("init", inits(), spec.name);
  if (row.start) return row.start(model, spec);
  check(row.family == "weights", row.name, [] {
    return Complaint{"it is for one tensor of a certain meaning, and was given a model", "pass that tensor"};
  });
  for (Tensor parameter : parameters(model))
    if (parameter.rank() >= 2) row.fill(parameter, spec);
}

}  // namespace heed::nn
