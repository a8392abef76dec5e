// Products, factorisations, Fourier transforms.
#include "replay.h"

namespace heed::replay {
namespace {

constexpr Row rows[] = {
    {"__rmatmul__", [](Case const& c) -> Outputs { return matmul(c(1, "other"), c(0)); }},
    {"bmm", [](Case const& c) -> Outputs { return matmul(c(0), c(1, "mat2")); }},
    {"dot", [](Case const& c) -> Outputs { return matmul(c(0), c(1, "tensor|other")); }},
    {"matmul", [](Case const& c) -> Outputs { return matmul(c(0), c(1, "other")); }},
    {"mm", [](Case const& c) -> Outputs { return matmul(c(0), c(1, "mat2")); }},
    {"mv", [](Case const& c) -> Outputs { return matmul(c(0), c(1, "vec")); }},
    {"vdot", [](Case const& c) -> Outputs { return matmul(c(0), c(1, "other")); }},
};

}  // namespace

std::span<Row const> linear_algebra_rows() { return rows; }

}  // namespace heed::replay
