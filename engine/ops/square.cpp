#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops/square.h>

#include <algorithm>

namespace heed {

void check_matrix(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 2, op, [&] {
    return Complaint{fmt::format("expected a matrix [.., M, N], got shape {}", to_string(x.shape())),
                     "give it two axes with unsqueeze or reshape"};
  });
  if (!is_floating(x.dtype())) detail::unsupported_dtype(op, x.dtype(), "f32 or f64");
}

void check_square(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 2 && x.size(-1) == x.size(-2), op, [&] {
    return Complaint{fmt::format("expected square matrices [.., N, N], got shape {}", to_string(x.shape())),
                     "make the last two axes equally long"};
  });
}

Shape lead_of(Tensor const& x) {
  Shape lead = x.shape();
  lead.erase(lead.rank() - 1);
  lead.erase(lead.rank() - 1);
  return lead;
}

Shape broadcast_lead(char const* op, Tensor const& a, Tensor const& b) { return broadcast(op, lead_of(a), lead_of(b)); }

Shape with_matrix(Shape lead, int64_t rows, int64_t columns) {
  lead.push_back(rows);
  lead.push_back(columns);
  return lead;
}

Tensor corner(Tensor const& x, int64_t rows, int64_t columns) { return x.slice(-2, 0, rows).slice(-1, 0, columns); }

}  // namespace heed
