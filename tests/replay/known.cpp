// Why heed gives something else than PyTorch, where it means to or where PyTorch is of two minds.
#include "replay.h"

namespace heed::replay {
namespace {

struct Reason {
  std::string_view ops;    // rows of the table or names of ops, between blanks; "*" is any
  std::string_view where;  // columns of the table or, in cases of ordinary values, types; between commas; "*" is any
  std::string_view reason;
};

constexpr Reason reasons[] = {
    {" - ", "-", "-"},
};

/// Whether `list`, divided by `mark`, holds `word`.
bool holds(std::string_view list, char mark, std::string_view word) {
  while (!list.empty()) {
    size_t const end = std::min(list.find(mark), list.size());
    if (list.substr(0, end) == word || list.substr(0, end) == "*") return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

}  // namespace

std::string_view known(Verdict const& verdict) {
  if (verdict.of_two_minds) return "PyTorch's vectors and its single elements differ there";
  for (auto const& [ops, where, reason] : reasons)
    if ((holds(ops, ' ', verdict.op) || holds(ops, ' ', verdict.row)) &&
        holds(where, ',', verdict.special.empty() ? verdict.type : verdict.special))
      return reason;
  return {};
}

}  // namespace heed::replay
