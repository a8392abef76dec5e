// attend() of queries and keys that are parts of longer sequences: modifications at the positions where they stand, and
// gradients from results over all keys.
#pragma once

#include <heed/engine/ops.h>

#include <vector>

namespace heed {

/// f(.., i, j) ↦ f(.., i + query, j + key), with the same tables.
ScoreMod moved(ScoreMod const& mod, double query, double key);
MaskMod moved(MaskMod const& mod, double query, double key);

/// An Error where `mod` reads a table by position, and the last of `length` positions is beyond its edge: it was made
/// for a part of the sequence.
void check_reads(Modification const* mod, int64_t length);

/// The tables that options.score reads and then those of options.weight: they get gradients.
std::vector<Tensor> score_tables(AttendOptions const& options);

struct AttendGradients {
  Tensor dq, dk, dv;
  std::vector<Tensor> tables;  // undefined where none is wanted
};
/// What attend() of q with a part k, v of the keys contributes to gradients: `all` are the results over all keys, g
/// their gradients (FlashAttention's backward: Dao et al., 2022). f32 or f64, contiguous last axes; options without
/// sink, entmax, top_k and pages.
AttendGradients attend_gradients(Tensor const& q, Tensor const& k, Tensor const& v, Attended const& all,
                                 Attended const& g, AttendOptions const& options, std::vector<bool> const& tables);

}  // namespace heed
