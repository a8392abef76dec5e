// What attention may do to a score before the softmax, and which pairs it may look at, in a user's own words: generic
// lambdas over positions. A lambda is read once over symbols, as for map(); attend() runs the recorded program tile by
// tile inside its core and differentiates it, the tables that it reads included. Nothing is materialised and nothing is
// compiled at run time.
#pragma once

#include <heed/engine/map.h>

#include <initializer_list>

namespace heed {

/// Where a score stands: batch element, query head, and the absolute positions of query and key: key j of this call,
/// and i counted so that the last query is level with the last key (a cache's new queries continue its keys). Integers
/// held as floating numbers: exact below 2²⁴ in f32.
struct Position {
  Symbol b, h, i, j;
};

/// The element of `table`, of any floating type, at these coordinates, one for each axis. A coordinate beyond an edge
/// reads the edge (clipped relative positions: Shaw et al., 2018). It may depend on positions and on other reads, not
/// on the score. A table that requires a gradient gets it. Reads of integers and booleans give numbers.
Symbol read(Tensor const& table, std::initializer_list<Symbol> coordinates);

/// A recorded modification, shared by its copies (ops/score.h).
struct Modification : Counted {
  virtual void dispose() noexcept = 0;

 protected:
  ~Modification() = default;
};

/// A change to scores: f(score, position) → score. The score it is given is scale·q·k.
///
///   Tensor slopes = …;                                                       // [H], learnable
///   ScoreMod alibi = [&](auto s, auto at) { return s - read(slopes, {at.h}) * (at.i - at.j); };
///   attend(q, k, v, {.causal = true, .score = alibi | soft_cap(30)});
class ScoreMod {
 public:
  ScoreMod() = default;  // none
  explicit ScoreMod(Ref<Modification> modification) : modification_(std::move(modification)) {}
  template <class F>
  requires requires(F const& f, Symbol s, Position at) { Symbol(f(s, at)); }
  ScoreMod(F const& f) {
    Recording recording(5);
    modification_ = keep(recording, f(Recording::input(0), position()));
  }
  explicit operator bool() const { return bool(modification_); }
  Modification const* get() const { return modification_.get(); }
  /// First one, then the other.
  friend ScoreMod operator|(ScoreMod const& first, ScoreMod const& then);

 private:
  friend class MaskMod;
  static Position position() {
    return {Recording::input(1), Recording::input(2), Recording::input(3), Recording::input(4)};
  }
  static Ref<Modification> keep(Recording const& recording, Symbol result);
  Ref<Modification> modification_;
};

/// Which pairs see each other: f(position) → comparison; true attends. A tile of pairs that cannot be true, judged by
/// evaluating the program on intervals, costs nothing.
///
///   MaskMod dilated = [](auto at) { return fmod(at.i - at.j, 4.) == 0.; };
///   attend(q, k, v, {.sees = dilated & window(128, 0)});
class MaskMod {
 public:
  MaskMod() = default;  // everything
  template <class F>
  requires requires(F const& f, Position at) { SymbolMask(f(at)); }
  MaskMod(F const& f) {
    Recording recording(5);
    modification_ = ScoreMod::keep(recording, SymbolMask(f(ScoreMod::position())).value);
  }
  explicit operator bool() const { return bool(modification_); }
  Modification const* get() const { return modification_.get(); }
  friend MaskMod operator&(MaskMod const& a, MaskMod const& b);
  friend MaskMod operator|(MaskMod const& a, MaskMod const& b);
  friend MaskMod operator~(MaskMod const& a);

 private:
  template <class F>
  static MaskMod joined(MaskMod const& a, MaskMod const& b, F const& f);
  Ref<Modification> modification_;
};

/// cap·tanh(s / cap) (Gemma 2, 2024)
ScoreMod soft_cap(double cap);
/// s − slopes[h]·|i − j| (Press et al., ALiBi, 2022); slopes [H], learnable where it requires a gradient.
ScoreMod alibi(Tensor const& slopes);
/// s + table[h, clip(i − j, −R, R) + R] (Shaw et al., 2018; Raffel et al., 2020); table [H, 2R + 1].
ScoreMod relative_bias(Tensor const& table);
/// s + bias[b, h, i, j]; bias [B, H, S, S], or sizes of 1 where it is shared.
ScoreMod score_bias(Tensor const& bias);

/// j <= i
MaskMod causal();
/// i − left <= j <= i + right: inclusive counts.
MaskMod window(int64_t left, int64_t right);
/// document[b, i] == document[b, j]; document [B, S] or [1, S] of any numbers.
MaskMod documents(Tensor const& document);
/// j < length[b]: what is padding behind a sequence is not seen; length [B].
MaskMod lengths(Tensor const& length);
/// j <= i or j < prefix[b] (Raffel et al., 2020); prefix [B].
MaskMod prefix(Tensor const& prefix);
/// visible[b, h, ⌊i / block⌋, ⌊j / block⌋]: bool, sizes of 1 where shared. For blocks chosen from data.
MaskMod blocks(Tensor const& visible, int64_t block);

}  // namespace heed
