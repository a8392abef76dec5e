#include <heed/nn/regularize/catalogue.h>

namespace heed::nn {
namespace {

template <class R>
std::unique_ptr<Regularizer> make(Spec const& spec) {
  return std::make_unique<R>(configured<typename R::Config>(spec));
}

}  // namespace

std::vector<RegularizerRow> const& regularizers() {
  static std::vector<RegularizerRow> const rows{
      // weights
      // activations
      // attention maps
      // labels
      // data
      // gradients
      // optimisation
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
