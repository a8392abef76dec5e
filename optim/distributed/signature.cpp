#include <fmt/format.h>
#include <heed/optim/distributed/signature.h>

#include <algorithm>

namespace heed::distributed {

char const* call_name(Call call) {
  constexpr char const* names[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast",
                                   "barrier",    "send",           "receive"};
  return names[size_t(call)];
}

Signature::Signature(Call call, Tensor const& x, Reduce reduction, int root, int tag)
    : root(root), tag(tag), call(call), reduction(reduction), dtype(x.dtype()), rank(uint8_t(x.rank())) {
  std::copy(x.shape().begin(), x.shape().end(), sizes);
}

std::string Signature::operand() const {
  std::string shape;
  for (int i = 0; i < std::min<int>(rank, Shape::max_rank); ++i) shape += fmt::format("{}{}", i ? ", " : "", sizes[i]);
  return fmt::format("{} [{}]", heed::name(dtype), shape);
}

std::string Signature::text() const {
  constexpr char const* reductions[] = {"", " (mean)", " (max)", " (min)"};
  switch (call) {
    case Call::barrier:
      return call_name(call);
    case Call::broadcast:
      return fmt::format("broadcast {} from rank {}", operand(), root);
    case Call::send:
    case Call::receive:
      return fmt::format("{} {} {} rank {}, tag {}", call_name(call), operand(), call == Call::send ? "to" : "from",
                         root, tag);
    default:
      return fmt::format("{}{} {}", call_name(call), reductions[size_t(reduction) % 4], operand());
  }
}

bool Signature::agrees(Signature const& other) const {
  return sequence == other.sequence && call == other.call && reduction == other.reduction && dtype == other.dtype &&
         root == other.root && rank == other.rank && std::equal(sizes, sizes + Shape::max_rank, other.sizes);
}

std::string list(std::vector<int> const& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == ranks.size() ? " and " : ", ", ranks[i]);
  return text;
}

std::optional<std::string> disagreement(std::vector<Signature> const& all) {
  bool const agree = std::all_of(all.begin(), all.end(), [&](Signature const& one) { return one.agrees(all[0]); });
  if (agree) return std::nullopt;
  std::string text;
  std::vector<bool> said(all.size());
  for (size_t r = 0; r < all.size(); ++r) {
    if (said[r]) continue;
    std::vector<int> alike;
    for (size_t k = r; k < all.size(); ++k)
      if (!said[k] && all[k].agrees(all[r])) {
        said[k] = true;
        alike.push_back(int(k));
      }
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", list(alike), all[r].text());
    if (all[r].sequence != all[0].sequence) text += fmt::format(" (#{})", all[r].sequence);
  }
  return text;
}

}  // namespace heed::distributed
