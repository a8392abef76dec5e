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

Tensor identity(int64_t n, Dtype dtype) { return (arange(n).unsqueeze(1) == arange(n)).to(dtype); }

Tensor main_diagonal(Tensor const& x) {
  int64_t const m = x.size(-2), n = x.size(-1), k = std::min(m, n);
  Shape flat = lead_of(x);
  flat.push_back(m * n);
  return x.reshape(flat).slice(-1, 0, k == 0 ? 0 : (k - 1) * (n + 1) + 1, n + 1);
}

Tensor diagonal_matrix(Tensor const& x) {
  int64_t const n = x.size(-1);
  return where(arange(n).unsqueeze(1) == arange(n), x.unsqueeze(-1), 0.0);
}

Tensor corner(Tensor const& x, int64_t rows, int64_t columns) { return x.slice(-2, 0, rows).slice(-1, 0, columns); }

}  // namespace heed
