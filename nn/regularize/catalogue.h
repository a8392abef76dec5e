// The regularisers by name.
#pragma once

#include <heed/nn/catalogue.h>
#include <heed/nn/regularize/regularizer.h>

#include <memory>

namespace heed::nn {

struct RegularizerRow : Entry {
  std::unique_ptr<Regularizer> (*make)(Spec const&);
  std::string_view takes = {};  // of those of data: what kinds
};

/// Families are where they act: weights, activations, attention maps, labels, data, gradients, optimisation.
std::vector<RegularizerRow> const& regularizers();
/// Those of "dropout:p=0.1+entropy:weight=0.01", in order; none for an empty text. An Error where a name is unknown.
std::vector<std::unique_ptr<Regularizer>> make_regularizers(std::string_view text);

}  // namespace heed::nn
