// What the kernels of attention share: working memory, the tiles of a problem, who sees whom.
// For *.simd.cpp files only.
#pragma once

#include <heed/engine/lane.h>
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/attend_mods.h>
#include <heed/engine/ops/attend_product.h>
#include <heed/engine/ops/attend_tile.h>
#include <heed/engine/ops/workspace.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {

template <class T>
struct Problem {
  AttendArgs<T> const& a;
  Tiles tiles;
  int64_t dp, dvp;  // d and dv rounded up to whole registers
  int64_t shift_low, shift_high;
  uint32_t threshold;
  T kept;

  explicit Problem(AttendArgs<T> const& args)
      : a(args), tiles(args.tiles()), shift_low(args.shift_low()), shift_high(args.shift_high()) {
    dp = round_up(a.d, Vec<T>::width);
    dvp = round_up(a.dv, Vec<T>::width);
    threshold = a.dropout > 0 ? attend_threshold(a.dropout) : 0;
    kept = T(65536. / (65536. - double(threshold)));
  }

  Visibility visibility(int64_t b, int64_t h) const {
    return {a.tk,       shift_low, shift_high, a.mask ? a.mask + b * a.mask_batch + h * a.mask_head : nullptr,
            a.mask_row, a.mask_col};
  }
  /// f(block, cover) for the key blocks, in order, of which queries [i, i + queries) may see something.
  template <class F>
  void key_blocks(Visibility const& see, int64_t b, int64_t h, int64_t i, int64_t queries, F const& f) const {
    auto const visit = [&](int64_t block, bool full) {
      int64_t const j = block * tiles.keys;
      Cover const cover = see.cover(i, queries, j, attend_min(tiles.keys, a.tk - j));
      if (cover != Cover::empty) f(block, cover == Cover::full && !full ? Cover::partial : cover);
    };
    if (a.pattern) {
      for (TilePattern::Tile const& tile : a.pattern->row(b, h, i / tiles.queries)) visit(tile.key_block, tile.full);
      return;
    }
    int64_t const low = attend_max(i + shift_low, 0), high = attend_min(i + queries - 1 + shift_high, a.tk - 1);
    for (int64_t block = low / tiles.keys; block * tiles.keys <= high; ++block) visit(block, true);
  }
  int64_t query_blocks() const { return (a.tq + tiles.queries - 1) / tiles.queries; }
  int64_t key_head(int64_t h) const { return h * a.kv_heads / a.heads; }
};

/// to[i] += Σ_j w[j][i]·from[j] over pairs that are seen: the way of a partial tile with a NaN or Inf among its rows.
template <class T>
[[gnu::noinline]] void product_visible(T const* seen, T const* w, int64_t ld, int64_t queries, int64_t keys,
                                       T const* from, int64_t row, int64_t columns, T* to, int64_t to_row) {
  for (int64_t r = 0; r < queries; ++r)
    for (int64_t c = 0; c < keys; ++c)
      if (seen[c * ld + r] != 0)
        for (int64_t x = 0; x < columns; ++x) to[r * to_row + x] += w[c * ld + r] * from[c * row + x];
}

template <class T>
void fill(T* to, int64_t count, T value) {
  for (int64_t i = 0; i < count; ++i) to[i] = value;
}

/// seen[key][query] = 1 where a query of the tile sees a key, else 0, also for the lanes behind the queries.
template <class T>
[[gnu::noinline]] void mark_seen(Visibility const& see, TileMods<T>* mods, T* seen, int64_t ld, int64_t i,
                                 int64_t queries, int64_t j, int64_t keys) {
  int64_t const lanes = round_up(queries, Vec<T>::width);
  for (int64_t c = 0; c < keys; ++c)
    for (int64_t r = 0; r < lanes; ++r) seen[c * ld + r] = T(r < queries);
  hide(see, seen, ld, i, queries, j, keys, T(0));
  if (mods && mods->hides()) mods->hide(seen, ld, lanes, j, keys);
}

/// `with` where nothing is seen.
template <class T>
void keep_seen(T const* seen, T* s, int64_t ld, int64_t lanes, int64_t keys, T with) {
  Vec<T> const zero = Batch<T>(T(0)), other = Batch<T>(with);
  for (int64_t c = 0; c < keys; ++c)
    for (int64_t r = c * ld; r < c * ld + lanes; r += Vec<T>::width)
      select(Vec<T>::load(seen + r) == zero, other, Vec<T>::load(s + r)).store(s + r);
}

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
