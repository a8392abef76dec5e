// Hierarchical attention networks.
#pragma once

#include <heed/engine/ops.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/attention/pooling.h>

namespace heed::nn {

/// Words pool to sentences, sentences to the text, each by additive attention, softmax(w·tanh(W·h)): [B, T, dim] →
/// [B, 1, dim], sentences being runs of `sentence` words (Yang et al., "Hierarchical attention networks for document
/// classification", 2016, which has a recurrent encoder before each; put one before it). T·dim². Says which words of
/// which sentences decided; for long documents of few labels.
class HierarchicalPooling final : public Attention {
 public:
  struct Config {
    int64_t sentence = 16;
    void visit(ConfigVisitor& v) { v.field("sentence", sentence, "words of a sentence"); }
  };
  HierarchicalPooling(AttentionConfig const& given, Config const& own)
      : Attention(given), words(config, {.rows = 1}), sentences(config, {.rows = 1}), sentence_(own.sentence) {
    expect_at_least(1, "han", "sentence", sentence_);
  }
  Traits traits() const override {
    return {
        .causal = false, .cross = false, .steps = false, .equivariant = false, .pools = true, .time = Growth::linear};
  }
  void visit(Visitor& visitor) override {
    visitor.child("words", words);
    visitor.child("sentences", sentences);
  }

  StructuredPooling words, sentences;

 private:
  int64_t sentence_;
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const b = x.size(0), t = x.size(1), n = (t + sentence_ - 1) / sentence_;
    Tensor const all = context.lengths.defined() ? context.lengths : full({b}, t, Dtype::i64).to(x.device());
    Tensor const start = arange(n).to(x.device()).unsqueeze(0) * sentence_;
    // A sentence behind the end gives something, which the level above does not see.
    Tensor const of_each = clamp(all.unsqueeze(1) - start, int64_t{1}, sentence_).reshape({b * n});
    Tensor const runs = pad(x, {0, 0, 0, n * sentence_ - t}).view({b * n, sentence_, config.dim});
    Tensor const found = words(runs, {.lengths = of_each}).view({b, n, config.dim});
    return sentences(found, {.lengths = div(all + (sentence_ - 1), scalar(sentence_, Dtype::i64), Rounding::floor)});
  }
};

}  // namespace heed::nn
