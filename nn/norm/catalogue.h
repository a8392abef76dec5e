// The norms by name.
#pragma once

#include <heed/nn/catalogue.h>
#include <heed/nn/norm.h>

#include <memory>

namespace heed::nn {

/// Families are what a norm acts on: features (each position by itself), heads, channels, series, weights, conditional.
struct NormRow : Entry {
  std::string_view axes;  // of what it takes: "[.., C]", "[N, C, ..]", "[B, T, C]", "[C, ..]"
  /// For C features or channels; `bias` where the norm may have one.
  std::unique_ptr<Norm> (*make)(int64_t c, bool bias, Spec const& spec);
};
std::vector<NormRow> const& norms();
/// "rms-norm:eps=1e-5" for C features.
std::unique_ptr<Norm> make_norm(std::string_view text, int64_t c, bool bias = true);

}  // namespace heed::nn
