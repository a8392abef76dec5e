// The kinds of attention by name.
#pragma once

#include <heed/nn/attention/part.h>
#include <heed/nn/catalogue.h>

#include <memory>
#include <string>
#include <vector>

namespace heed::nn {

/// What proves a row: with these settings and parameters it is another kind that is known.
struct Identity {
  std::string_view text;             // "sliding:window=1000"
  std::string_view parent;           // "multi-head"
  double bound = 0;                  // largest |difference| in f64, of values near 1; 0: the same bits
  std::string_view parameters = "";  // "gate.weight=0, gate.bias=100": tensors filled before, by the end of their names
};

/// A kind is a part around the core of multi-head attention, or a layer of its own.
struct AttentionRow : Entry {
  std::unique_ptr<Part> (*part)(AttentionConfig const&, Spec const&) = nullptr;
  std::unique_ptr<Attention> (*whole)(AttentionConfig const&, Spec const&) = nullptr;
  Identity identity = {};       // without a text: its own test proves it (tests/nn_attention_identities_*_test.cpp)
  std::string_view small = "";  // settings that show on a sequence of a dozen what the kind does; else the defaults
};
std::vector<AttentionRow> const& attentions();

/// A layer from "multi-head", "sliding:window=128+alibi", "mqa+gated+rope": a kind, and parts around its core (kinds
/// that are parts, and positions). heads and kv_heads may be set beside any kind's own settings.
std::unique_ptr<Attention> make_attention(std::string_view text, AttentionConfig const& config);
/// Multi-head attention with positions alone, from the same texts: for programs that want no other kind in them, and
/// none of what the others stand on.
std::unique_ptr<Attention> make_multi_head(std::string_view text, AttentionConfig const& config);
/// What makes a model's layers.
using AttentionMaker = std::unique_ptr<Attention> (*)(std::string_view text, AttentionConfig const& config);
/// The part of this name, among positions and kinds.
std::unique_ptr<Part> make_part(Spec const& spec, AttentionConfig const& config);
/// What the kind that `text` names can do; built small to be asked.
Traits traits_of(std::string_view text);
/// `text` in two: what a layer is made from, and positions that act at a model's input. `position` is taken where
/// `text` names none.
struct AttentionText {
  std::string layer;
  std::vector<Spec> input;
};
AttentionText with_position(std::string_view text, std::string_view position);

/// For rows: a part or layer P of a configuration P::Config beside the shared one.
template <class P>
std::unique_ptr<Part> part_of(AttentionConfig const& config, Spec const& spec) {
  return std::make_unique<P>(config, configured<typename P::Config>(spec));
}
/// For parts without settings.
template <class P>
std::unique_ptr<Part> plain_part_of(AttentionConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  return std::make_unique<P>(config);
}
template <class A>
std::unique_ptr<Attention> layer_of(AttentionConfig const& config, Spec const& spec) {
  return std::make_unique<A>(config, configured<typename A::Config>(spec));
}
template <class A>
std::unique_ptr<Attention> plain_layer_of(AttentionConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  return std::make_unique<A>(config);
}

}  // namespace heed::nn
