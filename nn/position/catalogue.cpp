#include <heed/nn/attention/catalogue.h>
#include <heed/nn/position/alibi.h>
#include <heed/nn/position/axial_rope.h>
#include <heed/nn/position/catalogue.h>
#include <heed/nn/position/cope.h>
#include <heed/nn/position/deberta.h>
#include <heed/nn/position/fire.h>
#include <heed/nn/position/fourier.h>
#include <heed/nn/position/kerple.h>
#include <heed/nn/position/learned.h>
#include <heed/nn/position/log_cpb.h>
#include <heed/nn/position/rope.h>
#include <heed/nn/position/sandwich.h>
#include <heed/nn/position/shaw.h>
#include <heed/nn/position/sinusoidal.h>
#include <heed/nn/position/t5.h>
#include <heed/nn/position/time2vec.h>
#include <heed/nn/position/transformer_xl_position.h>
#include <heed/nn/position/xpos.h>

namespace heed::nn {
namespace {

/// No positions: a causal model can count what it sees (Haviv et al., 2022; Kazemnejad et al., "NoPE", 2023).
class NoPosition final : public Part {
 public:
  using Part::Part;
};

/// Shaw's vectors for every distance of a block, for each head (Huang et al., "Music transformer", 2018): a table
/// T × 2·block.
std::unique_ptr<Part> music(AttentionConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  return std::make_unique<ShawPosition>(config, config.block - 1, true);
}

}  // namespace

std::vector<PositionRow> const& positions() {
  using enum Rank;
  static std::vector<PositionRow> const rows{
      {{"none", "none", must, "Kazemnejad et al., 2023", "no positions: a causal model counts what it sees"},
       plain_part_of<NoPosition>},
      // input
      {{"learned", "input", must, "Gehring et al., 2017", "x_t + weight_t, one vector for each of `block` positions"},
       plain_part_of<LearnedPosition>},
      {{"sinusoidal", "input", must, "Vaswani et al., 2017", "x_t + sin and cos of t·10000^(−2i/dim)"},
       plain_part_of<SinusoidalPosition>},
      {{"sincos-2d", "input", must, "He et al., 2022", "x_t + sinusoids of row and column",
        options_of<GridSinusoids::Config>},
       part_of<GridSinusoids>},
      {{"time2vec", "input", should, "Kazemi et al., 2019", "x_t + a line and waves with learned frequencies"},
       plain_part_of<Time2Vec>},
      {{"fourier", "input", should, "Tancik et al., 2020", "x_t + W·[cos, sin] of random frequencies",
        options_of<FourierFeatures::Config>},
       part_of<FourierFeatures>},
      // rotary
      {{"rope", "rotary", must, "Su et al., 2021", "turns pairs of features by position·base^(−2i/D)",
        options_of<Rope::Config>},
       part_of<Rope>},
      {{"xpos", "rotary", should, "Sun et al., 2022", "rope whose products fade with distance",
        options_of<Xpos::Config>},
       part_of<Xpos>},
      {{"axial-rope", "rotary", should, "Wang et al., 2024", "rope of rows and columns, and frames",
        options_of<AxialRope::Config>},
       part_of<AxialRope>},
      // score
      {{"alibi", "score", must, "Press et al., 2022", "s − m_h·|i − j|, m_h = 2^(−8(h+1)/H)",
        options_of<AlibiPosition::Config>},
       part_of<AlibiPosition>},
      {{"t5", "score", must, "Raffel et al., 2020", "s + bias[h, bucket(i − j)]", options_of<T5Position::Config>},
       part_of<T5Position>},
      {{"shaw", "score", must, "Shaw et al., 2018", "s + q·a[clip(j − i)]/√D", options_of<ShawPosition::Config>},
       part_of<ShawPosition>},
      {{"music", "score", must, "Huang et al., 2018", "s + q·E_h[j − i]/√D for all distances of a block"}, music},
      {{"transformer-xl-relative", "score", must, "Dai et al., 2019", "((q + u)·k + (q + v)·W·r_{i−j})/√D"},
       plain_part_of<TransformerXlPosition>},
      {{"kerple", "score", should, "Chi et al., 2022", "s − r_h·log(1 + a_h·|i − j|)", options_of<Kerple::Config>},
       part_of<Kerple>},
      {{"sandwich", "score", should, "Chi et al., 2023", "s + products of sinusoids of i and j",
        options_of<Sandwich::Config>},
       part_of<Sandwich>},
      {{"fire", "score", should, "Li et al., 2023", "s + MLP of the distance as a share of the context",
        options_of<Fire::Config>},
       part_of<Fire>},
      {{"log-cpb", "score", should, "Liu et al., 2022", "s + 16σ(MLP(logarithmic coordinates))",
        options_of<LogCpb::Config>},
       part_of<LogCpb>},
      {{"deberta", "score", should, "He et al., 2020", "content to content, content to position, position to content",
        options_of<Disentangled::Config>},
       part_of<Disentangled>},
      {{"cope", "score", should, "Golovneva et al., 2024", "positions count what the query looks for",
        options_of<Cope::Config>},
       part_of<Cope>},
  };
  return rows;
}

std::unique_ptr<Part> make_position(Spec const& spec, AttentionConfig const& config) {
  return find_row("position", positions(), spec.name).make(config, spec);
}

}  // namespace heed::nn
