// The losses by name.
#pragma once

#include <heed/nn/catalogue.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn {

/// Families are what is learned: regression, classification, metric, segmentation, representation, preference,
/// sequence.
struct LossRow : Entry {
  std::string_view operands;  // operands.h says how they read
  Tensor (*compute)(std::vector<Tensor> const& operands, Spec const& spec);
};

/// Rows are structs of settings with a call operator, one header a family: regression.h, classification.h, metric.h,
/// segmentation.h, representation.h, preference.h, sequence.h. In C++ they are called without the catalogue:
/// loss::Focal{.gamma = 2}(logits, targets).
std::vector<LossRow> const& losses();
/// The loss "focal:gamma=2" of its operands, trailing optional ones left out. An Error where name, settings, number,
/// types or shapes are wrong.
Tensor compute_loss(std::string_view text, std::vector<Tensor> const& operands);

}  // namespace heed::nn
