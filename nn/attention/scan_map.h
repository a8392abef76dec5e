// What layers make of recurrences, and the maps that those are of their values.
#pragma once

#include <heed/engine/hooks.h>
#include <heed/engine/ops.h>

#include <functional>
#include <string_view>

namespace heed::nn {

/// What a layer has made of one recurrence: o_t = gain_t·Σ_s A_ts·weight_s·v_s + own_t·v_t. A scan is linear in its
/// values, so it has a map as attention has, A_ts = ∂o_t/∂v_s (Ali, Zimerman and Wolf, "The hidden attention of Mamba
/// models", 2024); its numbers have any sign and its rows any sum.
struct ScanCall {
  std::string_view path = {};
  Tensor q = {}, k = {};       // [B, G, T·steps, D], as scan() takes them
  ScanOptions options = {};    // what an initial state adds is not in the map
  Tensor weight = {};          // [B, C, T·steps], C the heads of the scan; undefined: 1
  Tensor gain = {}, own = {};  // [B, C, T]; undefined: 1 and 0
  int64_t steps = 1;           // of the scan a position, which reads after the last of them
  bool everything = false;     // a sum over all positions, with nothing hidden, in place of the scan
  Tensor v = {};               // [B, G, T·steps, E]
  Tensor out = {};             // [B, H, T, E]; C/H channels of the scan are a head
  int64_t channels() const;    // C
};
/// Calls `seen` with every recurrence by a layer of this thread. It cannot change what it sees.
HookHandle on_scan(std::function<void(ScanCall const&)> seen);
/// Whether anybody looks; a layer then tells what it did.
bool scans_are_seen();
void tell_scan(ScanCall call);

/// Rows [from, to) of the map, [B, H, to − from, S]: one scan, backwards, of to − from columns a head. Of several
/// channels a head their mean, of several steps a position Σ|A| over them. `shares`: |A|/Σ_s|A| of each channel, which
/// can be measured as weights of a softmax can; a row of zeros stays one.
Tensor scan_map_rows(ScanCall const& call, int64_t from, int64_t to, bool shares);

}  // namespace heed::nn
