#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/nn/norm/catalogue.h>
#include <heed/nn/norm/channels.h>
#include <heed/nn/norm/conditional.h>
#include <heed/nn/norm/features.h>
#include <heed/nn/norm/series.h>
#include <heed/nn/norm/weights.h>

namespace heed::nn {
namespace {

using Made = std::unique_ptr<Norm>;

void field_eps(ConfigVisitor& v, double& eps) { v.field("eps", eps, "keeps from dividing by 0"); }

// The settings of each row, and what they make of C and whether biases are wanted.
struct OfLayer {
  double eps = 1e-5;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  Made operator()(int64_t c, bool bias) const { return std::make_unique<LayerNorm>(c, bias, eps); }
};
struct OfRms {
  double eps = 1e-6;
  bool unit_offset = false;
  void visit(ConfigVisitor& v) {
    field_eps(v, eps);
    v.field("unit_offset", unit_offset, "the factor is 1 + weight, added in f32");
  }
  Made operator()(int64_t c, bool) const { return std::make_unique<RMSNorm>(c, eps, unit_offset); }
};
struct OfScale {
  double eps = 1e-5;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  Made operator()(int64_t c, bool) const { return std::make_unique<ScaleNorm>(c, eps); }
};
struct OfUnit {
  double eps = 1e-6;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  Made operator()(int64_t, bool) const { return std::make_unique<UnitNorm>(eps); }
};
struct OfTanh {
  double alpha = 0.5;
  void visit(ConfigVisitor& v) { v.field("alpha", alpha, "slope at the start"); }
  Made operator()(int64_t c, bool bias) const { return std::make_unique<DynamicTanh>(c, bias, alpha); }
};
struct OfNone {
  Made operator()(int64_t, bool) const { return std::make_unique<NoNorm>(); }
};
struct OfQK {
  std::string kind = "rms";
  double eps = 1e-6;
  void visit(ConfigVisitor& v) {
    v.field("kind", kind, "l2 or rms");
    field_eps(v, eps);
  }
  Made operator()(int64_t c, bool) const {
    check(kind == "l2" || kind == "rms", "qk-norm", [&] {
      return Complaint{fmt::format("expected l2 or rms, got '{}'", kind), "choose one of the two"};
    });
    return std::make_unique<QKNorm>(c, kind == "l2" ? QKNorm::Kind::l2 : QKNorm::Kind::rms, eps);
  }
};
struct OfBatch {
  double eps = 1e-5, momentum = 0.1;
  void visit(ConfigVisitor& v) {
    field_eps(v, eps);
    v.field("momentum", momentum, "share of the present batch in the running statistics");
  }
  ChannelNormConfig config(int64_t c) const { return {.channels = c, .eps = eps, .momentum = momentum}; }
  Made operator()(int64_t c, bool) const { return std::make_unique<BatchNorm>(config(c), 2, 5); }
};
struct OfRenorm : OfBatch {
  double r_max = 3, d_max = 5;
  void visit(ConfigVisitor& v) {
    OfBatch::visit(v);
    v.field("r_max", r_max, "largest correction of the scale");
    v.field("d_max", d_max, "largest correction of the mean, deviations");
  }
  Made operator()(int64_t c, bool) const { return std::make_unique<BatchRenorm>(config(c), r_max, d_max); }
};
struct OfInstance {
  double eps = 1e-5;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  // A group for each channel: one layer for any number of axes.
  Made operator()(int64_t c, bool bias) const { return std::make_unique<GroupNorm>(c, c, bias, eps); }
};
struct OfGroup {
  double eps = 1e-5;
  int64_t groups = 1;
  void visit(ConfigVisitor& v) {
    field_eps(v, eps);
    v.field("groups", groups, "of channels");
  }
  Made operator()(int64_t c, bool bias) const { return std::make_unique<GroupNorm>(groups, c, bias, eps); }
};
struct OfEvo : OfGroup {
  std::string kind = "s0";
  void visit(ConfigVisitor& v) {
    OfGroup::visit(v);
    v.field("kind", kind, "s0, of each sample, or b0, of the batch");
  }
  Made operator()(int64_t c, bool) const {
    check(kind == "s0" || kind == "b0", "evo-norm", [&] {
      return Complaint{fmt::format("expected s0 or b0, got '{}'", kind), "choose one of the two"};
    });
    if (kind == "b0") return std::make_unique<EvoNormB0>(ChannelNormConfig{.channels = c, .eps = eps});
    return std::make_unique<EvoNormS0>(c, groups, eps);
  }
};
struct OfFilterResponse {
  double eps = 1e-6;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  Made operator()(int64_t c, bool) const { return std::make_unique<FilterResponseNorm>(c, eps); }
};
struct OfGlobalResponse {
  double eps = 1e-6;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  Made operator()(int64_t c, bool) const { return std::make_unique<GlobalResponseNorm>(c, eps); }
};
struct OfLocalResponse {
  int64_t size = 5;
  double alpha = 1e-4, beta = 0.75, k = 1;
  void visit(ConfigVisitor& v) {
    v.field("size", size, "neighbouring channels");
    v.field("alpha", alpha, "weight of their mean square");
    v.field("beta", beta, "power of the divisor");
    v.field("k", k, "the divisor without neighbours");
  }
  Made operator()(int64_t, bool) const { return std::make_unique<LocalResponseNorm>(size, alpha, beta, k); }
};
struct OfRevIN {
  double eps = 1e-5;
  bool affine = true;
  void visit(ConfigVisitor& v) {
    field_eps(v, eps);
    v.field("affine", affine, "with weight and bias");
  }
  Made operator()(int64_t c, bool) const { return std::make_unique<RevIN>(c, affine, eps); }
};
struct OfAdaLNZero {
  double eps = 1e-6;
  int64_t condition = 0;
  void visit(ConfigVisitor& v) {
    field_eps(v, eps);
    v.field("condition", condition, "features of the condition; 0: as many as x has");
  }
  Made operator()(int64_t c, bool) const { return std::make_unique<AdaLNZero>(c, condition > 0 ? condition : c, eps); }
};
struct OfSpectral {
  int64_t steps = 1;
  double eps = 1e-12;
  void visit(ConfigVisitor& v) {
    v.field("steps", steps, "power iterations a training pass");
    field_eps(v, eps);
  }
  Made operator()(int64_t c, bool) const { return std::make_unique<SpectralNorm>(c, steps, eps); }
};
struct OfWeight {
  Made operator()(int64_t c, bool) const { return std::make_unique<WeightNorm>(c); }
};
struct OfStandardization {
  double eps = 1e-5;
  void visit(ConfigVisitor& v) { field_eps(v, eps); }
  Made operator()(int64_t, bool) const { return std::make_unique<WeightStandardization>(eps); }
};

template <class Of>
constexpr bool has_settings = requires(Of of, ConfigVisitor& visitor) {
  of.visit(visitor);
};

template <class Of>
Made make(int64_t c, bool bias, Spec const& spec) {
  if constexpr (has_settings<Of>) return configured<Of>(spec)(c, bias);
  expect_no_options(spec);
  return Of{}(c, bias);
}

template <class Of>
consteval NormRow row(std::string_view name, std::string_view family, std::string_view axes, Rank rank,
                      std::string_view source, std::string_view summary) {
  if constexpr (has_settings<Of>)
    return {{name, family, rank, source, summary, &options_of<Of>}, axes, &make<Of>};
  else
    return {{name, family, rank, source, summary}, axes, &make<Of>};
}

}  // namespace

std::vector<NormRow> const& norms() {
  using enum Rank;
  static constexpr std::string_view last = "[.., C]", axis_1 = "[N, C, ..]", rows = "[C, ..]";
  static std::vector<NormRow> const list{
      row<OfLayer>("layer-norm", "features", last, must, "Ba et al., 2016", "(x − mean)/√(var + ε)·w + b"),
      row<OfRms>("rms-norm", "features", last, must, "Zhang and Sennrich, 2019", "x/√(mean x² + ε)·w"),
      row<OfScale>("scale-norm", "features", last, must, "Nguyen and Salazar, 2019", "g·x/|x|, one g"),
      row<OfNone>("none", "features", last, must, "Bachlechner et al., 2021", "x: for branches that need no norm"),
      row<OfUnit>("unit-norm", "features", last, should, "Loshchilov et al., 2024", "x/|x|, no parameters"),
      row<OfTanh>("dynamic-tanh", "features", last, should, "Zhu et al., 2025", "tanh(α·x)·w + b, no statistics"),
      row<OfQK>("qk-norm", "heads", last, must, "Henry et al., 2020", "of queries and keys: bounded scores"),
      row<OfBatch>("batch-norm", "channels", axis_1, must, "Ioffe and Szegedy, 2015",
                   "statistics of each channel over batch and positions"),
      row<OfInstance>("instance-norm", "channels", axis_1, must, "Ulyanov et al., 2016",
                      "statistics of each sample's channels over positions"),
      row<OfGroup>("group-norm", "channels", axis_1, must, "Wu and He, 2018", "over groups of channels and positions"),
      row<OfFilterResponse>("filter-response-norm", "channels", axis_1, should, "Singh and Krishnan, 2020",
                            "max(x/√(mean x² + ε)·w + b, τ)"),
      row<OfEvo>("evo-norm", "channels", axis_1, should, "Liu et al., 2020",
                 "x·σ(v·x)/√(group var + ε)·w + b; or by the larger of two deviations"),
      row<OfGlobalResponse>("global-response-norm", "channels", axis_1, should, "Woo et al., 2023",
                            "w·x·(energy/mean energy) + b + x"),
      row<OfRenorm>("batch-renorm", "channels", axis_1, should, "Ioffe, 2017",
                    "batch norm corrected towards running statistics"),
      row<OfLocalResponse>("local-response-norm", "channels", axis_1, should, "Krizhevsky et al., 2012",
                           "x/(k + α·mean of neighbours' x²)^β"),
      row<OfRevIN>("rev-in", "series", "[B, T, C]", must, "Kim et al., 2022",
                   "each series' mean and deviation taken out, and put back"),
      row<OfAdaLNZero>("ada-ln-zero", "conditional", "[B, T, C]", must, "Peebles and Xie, 2023",
                       "x + gate(c)·f(LN(x)·(1 + scale(c)) + shift(c)), gate 0"),
      row<OfSpectral>("spectral-norm", "weights", rows, must, "Miyato et al., 2018", "W/σ_max by power iteration"),
      row<OfWeight>("weight-norm", "weights", rows, should, "Salimans and Kingma, 2016", "g·W/|W| by rows"),
      row<OfStandardization>("weight-standardization", "weights", rows, should, "Qiao et al., 2019",
                             "(W − mean)/√(var + ε) by rows"),
  };
  return list;
}

std::unique_ptr<Norm> make_norm(std::string_view text, int64_t c, bool bias) {
  Spec const spec = parse_spec(text);
  NormRow const& row = find_row("norm", norms(), spec.name);
  check(c >= 1, row.name, [&] {
    return Complaint{fmt::format("expected 1 or more features, got {}", c), "pass the size of the axis it acts on"};
  });
  return row.make(c, bias, spec);
}

}  // namespace heed::nn
