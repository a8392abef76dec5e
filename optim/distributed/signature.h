// What a rank says before data moves: which call, of which shape and type. Ranks that disagree get an Error, not
// garbage.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/tensor.h>
#include <heed/optim/distributed/communicator.h>

#include <optional>
#include <string>
#include <vector>

namespace heed::distributed {

enum class Call : uint8_t { all_reduce, reduce_scatter, all_gather, broadcast, barrier, send, receive };
char const* call_name(Call call);

/// Sent as it is.
struct Signature {
  uint64_t sequence = 0;  // of collectives: the first is #1
  int64_t sizes[Shape::max_rank] = {};
  int32_t root = -1;  // of broadcast; the other rank of send and receive
  int32_t tag = 0;
  uint32_t inlined = 0;  // bytes of data that follow in the same message
  Call call = Call::barrier;
  Reduce reduction = Reduce::sum;
  Dtype dtype = Dtype::f32;
  uint8_t rank = 0;

  Signature() = default;
  Signature(Call call, Tensor const& x, Reduce reduction, int root, int tag);
  /// "all_reduce (mean) f32 [10]"
  std::string text() const;
  /// Its operand: "f32 [10]"
  std::string operand() const;
  /// Whether both may be one collective.
  bool agrees(Signature const& other) const;
};

/// "rank 1", "ranks 0, 2 and 3"
std::string list(std::vector<int> const& ranks);
/// Where the signatures (one a rank) differ, who called what: "rank 0: all_reduce f32 [10]; rank 1: barrier".
std::optional<std::string> disagreement(std::vector<Signature> const& all);

}  // namespace heed::distributed
