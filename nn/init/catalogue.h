// The initialisations by name.
#pragma once

#include <heed/nn/catalogue.h>
#include <heed/nn/init.h>
#include <heed/nn/module.h>

namespace heed::nn {

/// Families: weights (matrices and convolutions), states (gates, decays, slopes, state matrices: tensors of a meaning),
/// models. Rows of tensors fill in place, unknown to the tape; rows of models start all layers that they know.
struct InitRow : Entry {
  std::string_view shape;  // of the tensor: "[..]", "[O, I, ..]", "[4·H]"
  void (*fill)(Tensor& tensor, Spec const& spec) = nullptr;
  void (*start)(Module& model, Spec const& spec) = nullptr;
};
std::vector<InitRow> const& inits();
/// Fills by the row "variance-scaling:scale=2"; an Error where it is one of models.
void initialize(Tensor& tensor, std::string_view text);
/// Starts a model by a row of models; by one of weights: all its parameters of two axes or more.
void initialize(Module& model, std::string_view text);

}  // namespace heed::nn
