// What regularisers of activations share: they hook the outputs of modules by the pattern of their paths.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/hooks.h>
#include <heed/nn/regularize/regularizer.h>

#include <string>
#include <string_view>
#include <vector>

namespace heed::nn {

/// Sees the outputs at `at`, patterns of hooks.h joined by |, while the model trains. Hooks belong to the thread: train
/// one model at a time on a thread.
class OutputRegularizer : public Regularizer {
 public:
  ~OutputRegularizer() override { remove(); }
  void begin(Module& model) override;

 protected:
  /// An Error unless `at` names something. `always`: in evaluation too.
  explicit OutputRegularizer(std::string at, bool always = false);
  /// What takes the output's place; undefined: it stays.
  virtual Tensor changed(ModuleCall const& call) = 0;
  bool training() const { return model_ && model_->training(); }

 private:
  void remove();
  std::string at_;
  bool always_;
  Module* model_ = nullptr;
  std::vector<HookHandle> hooks_;
};

/// Branches of blocks; whole blocks; the token embedding.
inline constexpr std::string_view at_branches = "blocks.*.attn|blocks.*.mlp", at_blocks = "blocks.*",
                                  at_embedding = "token_embedding";

/// One probability, and where.
template <std::string_view const& where>
struct DropConfig {
  double p = 0.1;
  std::string at = std::string(where);
  void visit(ConfigVisitor& v) {
    v.field("p", p, "probability to be dropped, 0 to below 1");
    v.field("at", at, "modules, by the patterns of their paths");
  }
};

/// value; an Error unless low <= value < high.
double checked_range(std::string_view name, double value, double low, double high);
/// x; an Error unless it has between `least` and `most` axes.
Tensor const& checked_rank(std::string_view name, Tensor const& x, int least, int most, std::string_view shape);

}  // namespace heed::nn
