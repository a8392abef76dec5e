#include <heed/nn/attention/catalogue.h>
#include <heed/nn/position/alibi.h>
#include <heed/nn/position/catalogue.h>
#include <heed/nn/position/learned.h>
#include <heed/nn/position/rope.h>

namespace heed::nn {
namespace {

/// No positions: a causal model can count what it sees (Haviv et al., 2022; Kazemnejad et al., "NoPE", 2023).
class NoPosition final : public Part {
 public:
  using Part::Part;
};

}  // namespace

std::vector<PositionRow> const& positions() {
  using enum Rank;
  static std::vector<PositionRow> const rows{
      {{"none", "none", must, "Kazemnejad et al., 2023", "no positions: a causal model counts what it sees"},
       plain_part_of<NoPosition>},
      // input
      {{"learned", "input", must, "Gehring et al., 2017", "x_t + weight_t, one vector for each of `block` positions"},
       plain_part_of<LearnedPosition>},
      // rotary
      {{"rope", "rotary", must, "Su et al., 2021", "turns pairs of features by position·base^(−2i/D)",
        options_of<Rope::Config>},
       part_of<Rope>},
      // score
      {{"alibi", "score", must, "Press et al., 2022", "s − m_h·|i − j|, m_h = 2^(−8(h+1)/H)",
        options_of<AlibiPosition::Config>},
       part_of<AlibiPosition>},
  };
  return rows;
}

std::unique_ptr<Part> make_position(Spec const& spec, AttentionConfig const& config) {
  return find_row("position", positions(), spec.name).make(config, spec);
}

}  // namespace heed::nn
