// Recorded modifications of scores: how attend() runs them on tiles, judges tiles by intervals, and reads them over
// whole tensors.
#pragma once

#include <heed/engine/ops/program.h>
#include <heed/engine/score.h>

#include <vector>

namespace heed {

/// The inputs of a modification's program.
enum ModInput { mod_score, mod_batch, mod_head, mod_query, mod_key, mod_inputs };
constexpr uint64_t mod_uniform = 1 << mod_batch | 1 << mod_head;
/// In tiles with queries in lanes and a row for each key.
constexpr Alike mod_alike{.lanes = mod_uniform | 1 << mod_key, .rows = mod_uniform | 1 << mod_query};

struct RecordedMod final : Modification {
  std::shared_ptr<Program const> program;
  std::vector<Tensor> tables;
  void dispose() noexcept override { delete this; }
};

/// The same program over other tables.
Ref<Modification> with_tables(RecordedMod const& mod, std::vector<Tensor> tables);

inline RecordedMod const* recorded(Modification const* mod) { return static_cast<RecordedMod const*>(mod); }

/// The modification of whole tensors: inputs that broadcast with each other; differentiable to any order.
Tensor apply_mod(RecordedMod const& mod, std::vector<Tensor> const& inputs);

/// The tables in type T, each with the view that programs read.
template <class T>
struct ModTables {
  std::vector<Tensor> tensors;
  std::vector<ProgramTableView<T>> views;
  explicit ModTables(std::vector<Tensor> const& tables);
};

/// Which tiles of a [T, S] score matrix a mask leaves something of, for each query block in the order of its keys.
struct TilePattern {
  struct Tile {
    int32_t key_block;
    bool full;
  };
  int64_t batches = 1, heads = 1, query_blocks = 0;  // batches or heads of 1: all have the same
  std::vector<int64_t> begin;                        // of each (b, h, query block) among tiles, and the end
  std::vector<Tile> tiles;

  std::span<Tile const> row(int64_t b, int64_t h, int64_t block) const {
    size_t const at = size_t(((batches > 1 ? b : 0) * heads + (heads > 1 ? h : 0)) * query_blocks + block);
    return {tiles.data() + begin[at], tiles.data() + begin[at + 1]};
  }
};

struct PatternSizes {
  int64_t batch, heads, tq, tk;
  int64_t tile_queries, tile_keys;
  int64_t shift_low, shift_high;  // key j is in the window of query i iff i + shift_low <= j <= i + shift_high
};
TilePattern tile_pattern(RecordedMod const& mask, PatternSizes const& sizes);

}  // namespace heed
