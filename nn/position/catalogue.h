// Position encodings by name: parts of attention (nn/attention/part.h), at a model's input, on queries and keys, or on
// scores.
#pragma once

#include <heed/nn/attention/part.h>
#include <heed/nn/catalogue.h>

#include <memory>
#include <vector>

namespace heed::nn {

/// The family says where it acts: input (added to the embedded tokens), rotary (turns queries and keys), score.
struct PositionRow : Entry {
  std::unique_ptr<Part> (*make)(AttentionConfig const&, Spec const&);
};
std::vector<PositionRow> const& positions();
/// The encoding of this name; an Error that names the nearest where there is none.
std::unique_ptr<Part> make_position(Spec const& spec, AttentionConfig const& config);

}  // namespace heed::nn
