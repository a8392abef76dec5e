// Products, factorisations, Fourier transforms.
#include "replay.h"

namespace heed::replay {
namespace {

AddProduct factors(Case const& c) {
  auto const factor = [&](char const* name) { return c.has(name) ? c.number(name) : Number(1); };
  return {.beta = factor("beta"), .alpha = factor("alpha")};
}

template <Tensor (*f)(Tensor const&, Tensor const&, Tensor const&, AddProduct)>
Outputs added(Case const& c) {
  return f(c(0), c(1, "mat1|mat|batch1|vec1"), c(2, "mat2|vec|batch2|vec2"), factors(c));
}
template <Tensor (*f)(Tensor const&, Tensor const&)>
Outputs product(Case const& c) {
  return f(c(0), c(1, "other|mat2|vec|vec2|tensor"));
}

/// 0 for each matrix: LAPACK's word for success. heed throws where there is none.
Tensor success(Tensor const& x) {
  Shape batch = x.shape();
  batch.erase(batch.rank() - 1);
  batch.erase(batch.rank() - 1);
  return zeros(batch, Dtype::i32);
}

Outputs contracted(Case const& c) {
  if (!c.is_list("dims")) return tensordot(c(0), c(1, "other"), int(c.integer("dims", 2)));
  auto const lists = c.integer_lists("dims");
  if (lists.size() != 2) throw Malformed("argument \"dims\": expected two lists");
  return tensordot(c(0), c(1, "other"), lists[0], lists[1]);
}

Outputs crossed(Case const& c) {
  int axis = c.axis("dim", -1);
  if (!c.has("dim") && c.op == "cross")  // the first of size 3
    for (axis = 0; axis < c(0).rank() - 1 && c(0).size(axis) != 3;) ++axis;
  return cross(c(0), c(1, "other"), axis);
}

bool upper_triangle(Case const& c) { return c.text("UPLO", "L") == "U"; }

Rank rank_rule(Case const& c) {
  return {.atol = c.real_or_tensor("atol", -1),
          .rtol = c.real_or_tensor("rtol|rcond", -1),
          .hermitian = c.flag("hermitian")};
}

Outputs qr_of(Case const& c) {
  std::string const mode = c.text("mode", c.flag("some", true) ? "reduced" : "complete");
  Qr const found = qr(c(0, "A|input"), mode == "r"          ? QrMode::r
                                       : mode == "complete" ? QrMode::complete
                                                            : QrMode::reduced);
  return {found.q.defined() ? found.q : zeros({0}, c(0).dtype()), found.r};
}

Outputs svd_of(Case const& c) {
  bool const is_linalg = c.op.starts_with("linalg.");
  Svd const found = svd(c(0, "A|input"), is_linalg ? c.flag("full_matrices", true) : !c.flag("some", true));
  return {found.u, found.s, is_linalg ? found.vh : found.vh.t()};
}

/// LU without row exchanges is not heed's.
void needs_pivots(Case const& c) {
  if (!c.flag("pivot", true)) throw Lacking("op " + c.op + " without pivoting");
}

Outputs lu_factored(Case const& c) {
  needs_pivots(c);
  LuFactor const found = lu_factor(c(0, "A|input"));
  return {found.lu, found.pivots, success(c(0))};
}

Outputs lu_of(Case const& c) {
  needs_pivots(c);
  Lu const found = lu(c(0, "A|input"));
  return {found.p, found.l, found.u};
}

Outputs lu_solved(Case const& c) {
  if (c.op == "lu_solve") return lu_solve({c(1, "LU_data"), c(2, "LU_pivots")}, c(0, "b"));
  return lu_solve({c(0, "LU"), c(1, "pivots")}, c(2, "B"), c.flag("left", true), c.flag("adjoint"));
}

Outputs lu_unpacked(Case const& c) {
  Lu const found = lu_unpack(c(0, "LU_data"), c(1, "LU_pivots"));
  Tensor const nothing = zeros({0}, c(0).dtype());
  bool const data = c.flag("unpack_data", true), pivots = c.flag("unpack_pivots", true);
  return {pivots ? found.p : nothing, data ? found.l : nothing, data ? found.u : nothing};
}

Outputs triangle_solved(Case const& c) {
  if (c.op == "triangular_solve") {  // b, then A
    Tensor const a = c(1, "A");
    bool const turned = c.flag("transpose"), upper = c.flag("upper", true);
    return {solve_triangular(turned ? a.t() : a, c(0, "b"),
                             {.upper = upper != turned, .unitriangular = c.flag("unitriangular")}),
            a.clone()};
  }
  return solve_triangular(
      c(0, "A"), c(1, "B"),
      {.upper = c.flag("upper"), .left = c.flag("left", true), .unitriangular = c.flag("unitriangular")});
}

/// PyTorch gives what LAPACK's driver gives: residuals not from gelsy, ranks not from gels, singular values from two.
Outputs least_squares(Case const& c) {
  Lstsq const found = lstsq(c(0, "A"), c(1, "B"), c.real_or_tensor("rcond", -1));
  std::string const driver = c.text("driver", "gelsy");
  Tensor const nothing = zeros({0}, c(0).dtype());
  return {found.solution, driver == "gelsy" ? nothing : found.residuals,
          driver == "gels" ? nothing.to(Dtype::i64) : found.rank,
          driver == "gelsd" || driver == "gelss" ? found.singular_values : nothing};
}

Outputs condition(Case const& c) {
  if (!c.has("p")) return cond(c(0));
  return c.is_text("p") && c.text("p").find("inf") == std::string::npos ? cond(c(0), c.text("p"))
                                                                        : cond(c(0), c.real("p"));
}

// clang-format off
constexpr Row rows[] = {
    {"__rmatmul__", [](Case const& c) -> Outputs { return matmul(c(1, "other"), c(0)); }},
    {"addbmm", added<addbmm>},
    {"addmm", added<addmm>},
    {"addmv", added<addmv>},
    {"addr", added<addr>},
    {"baddbmm", added<baddbmm>},
    {"bmm", product<bmm>},
    {"cdist", [](Case const& c) -> Outputs { return cdist(c(0, "x1"), c(1, "x2"), c.real("p", 2)); }},
    {"chain_matmul", [](Case const& c) -> Outputs { return multi_dot(c.all()); }},
    {"cholesky", [](Case const& c) -> Outputs { return cholesky(c(0, "A|input"), c.flag("upper")); }},
    {"cholesky_inverse", [](Case const& c) -> Outputs { return cholesky_inverse(c(0), c.flag("upper")); }},
    {"cholesky_solve", [](Case const& c) -> Outputs { return cholesky_solve(c(0, "B"), c(1, "L|input2"), c.flag("upper")); }},
    {"cross", crossed},
    {"dot", product<dot>},
    {"einsum", [](Case const& c) -> Outputs { return einsum(c.text("equation"), c.all()); }},
    {"inner", product<inner>},
    {"kron", product<kron>},
    {"linalg.cholesky_ex", [](Case const& c) -> Outputs { return {cholesky(c(0), c.flag("upper")), success(c(0))}; }},
    {"linalg.cond", condition},
    {"linalg.det", unary<det>},
    {"linalg.eigh", [](Case const& c) -> Outputs {
       Eigh const found = eigh(c(0), upper_triangle(c));
       return {found.values, found.vectors};
     }},
    {"linalg.eigvalsh", [](Case const& c) -> Outputs { return eigvalsh(c(0), upper_triangle(c)); }},
    {"geqrf", [](Case const& c) -> Outputs { return geqrf(c(0)); }},
    {"linalg.householder_product", [](Case const& c) -> Outputs { return householder_product(c(0), c(1, "tau")); }},
    {"linalg.inv", unary<inv>},
    {"ormqr", [](Case const& c) -> Outputs { return ormqr(c(0), c(1, "tau"), c(2, "other"), c.flag("left", true), c.flag("transpose")); }},
    {"linalg.inv_ex", [](Case const& c) -> Outputs { return {inv(c(0)), success(c(0))}; }},
    {"linalg.lstsq", least_squares},
    {"linalg.lu", lu_of},
    {"linalg.lu_factor", lu_factored},
    {"linalg.lu_solve", lu_solved},
    {"linalg.matrix_power", [](Case const& c) -> Outputs { return matrix_power(c(0), c.integer("n")); }},
    {"linalg.matrix_rank", [](Case const& c) -> Outputs {
       Tensor const atol = c.maybe(1, "atol|tol"), rtol = c.maybe(2, "rtol");
       if (atol.defined() || rtol.defined()) return matrix_rank(c(0), atol, rtol, c.flag("hermitian"));
       return matrix_rank(c(0), rank_rule(c));
     }},
    {"linalg.multi_dot", [](Case const& c) -> Outputs { return multi_dot(c.all()); }},
    {"linalg.pinv", [](Case const& c) -> Outputs { return pinv(c(0), rank_rule(c)); }},
    {"linalg.qr", qr_of},
    {"linalg.slogdet", [](Case const& c) -> Outputs {
       Slogdet const found = slogdet(c(0));
       return {found.sign, found.logabsdet};
     }},
    {"linalg.solve", [](Case const& c) -> Outputs { return solve(c(0, "A"), c(1, "B"), c.flag("left", true)); }},
    {"linalg.solve_ex", [](Case const& c) -> Outputs { return {solve(c(0, "A"), c(1, "B"), c.flag("left", true)), success(c(0))}; }},
    {"linalg.solve_triangular", triangle_solved},
    {"linalg.svd", svd_of},
    {"linalg.svdvals", unary<svdvals>},
    {"linalg.tensorinv", [](Case const& c) -> Outputs { return tensorinv(c(0), int(c.integer("ind", 2))); }},
    {"linalg.tensorsolve", [](Case const& c) -> Outputs { return tensorsolve(c(0), c(1, "other"), c.dims("dims", {})); }},
    {"linalg.vecdot", [](Case const& c) -> Outputs { return vecdot(c(0, "x"), c(1, "y"), c.axis("dim", -1)); }},
    {"logdet", unary<logdet>},
    {"lu", lu_factored},
    {"lu_solve", lu_solved},
    {"lu_unpack", lu_unpacked},
    {"matmul", product<matmul>},
    {"matrix_exp", unary<matrix_exp>},
    {"mm", product<mm>},
    {"mv", product<mv>},
    {"outer", product<outer>},
    {"pdist", [](Case const& c) -> Outputs { return pdist(c(0), c.real("p", 2)); }},
    {"pinverse", [](Case const& c) -> Outputs { return pinv(c(0), {.rtol = c.real("rcond", 1e-15)}); }},
    {"qr", qr_of},
    {"svd", svd_of},
    {"tensordot", contracted},
    {"trace", unary<trace>},
    {"triangular_solve", triangle_solved},
    {"vdot", product<vdot>},
};
// clang-format on

}  // namespace

std::span<Row const> linear_algebra_rows() { return rows; }

}  // namespace heed::replay
