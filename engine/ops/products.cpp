// Products made of matmul: no kernel of their own but that of Euclidean distances.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/distance.h>
#include <heed/engine/ops/square.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <cmath>

namespace heed {
namespace {

void check_rank(char const* op, char const* what, Tensor const& x, int rank) {
  check_defined(op, x);
  check(x.rank() == rank, op, [&] {
    return Complaint{fmt::format("expected {} of rank {}, got shape {}", what, rank, to_string(x.shape())),
                     "reshape it, or use matmul, which takes any rank"};
  });
}

void check_sizes(char const* op, Tensor const& a, Tensor const& b, bool meet) {
  check(meet, op, [&] {
    return Complaint{fmt::format("shapes {} and {} do not multiply", to_string(a.shape()), to_string(b.shape())),
                     "make the summed and the batch axes equally long"};
  });
}

/// An Error naming `op` unless a and b have these ranks, and sizes to multiply.
void check_factors(char const* op, Tensor const& a, int a_rank, Tensor const& b, int b_rank) {
  constexpr char const* kinds[] = {"", "a vector", "a matrix", "a batch of matrices"};
  check_rank(op, kinds[a_rank], a, a_rank);
  check_rank(op, kinds[b_rank], b, b_rank);
  check_sizes(op, a, b, a.size(-1) == b.size(b_rank == 1 ? 0 : -2) && (a_rank < 3 || a.size(0) == b.size(0)));
}

/// Their product.
Tensor product(char const* op, Tensor const& a, int a_rank, Tensor const& b, int b_rank) {
  check_factors(op, a, a_rank, b, b_rank);
  return matmul(a, b);
}

/// factor·x in x's own type.
Tensor scaled(char const* op, Number factor, Tensor const& x) {
  if (factor.real() == 1) return x;
  check(is_floating(x.dtype()) || factor.kind() != Number::Kind::floating, op, [&] {
    return Complaint{fmt::format("the factor {} is no integer, but the tensors are {}", factor.real(), name(x.dtype())),
                     "convert the tensors to a floating type with .to()"};
  });
  return x * scalar(factor, x.dtype());
}

Tensor add_product(char const* op, Tensor const& input, Tensor const& product, AddProduct options) {
  check_defined(op, input);
  check(broadcast(op, input.shape(), product.shape()) == product.shape(), op, [&] {
    return Complaint{fmt::format("an input of shape {} does not broadcast to the product's {}",
                                 to_string(input.shape()), to_string(product.shape())),
                     "drop or shrink the input's axes"};
  });
  Tensor const y = scaled(op, options.alpha, product);
  return options.beta.real() == 0 ? y : scaled(op, options.beta, input) + y;
}

}  // namespace

Tensor mm(Tensor const& a, Tensor const& b) { return product("mm", a, 2, b, 2); }
Tensor mv(Tensor const& a, Tensor const& x) { return product("mv", a, 2, x, 1); }
Tensor bmm(Tensor const& a, Tensor const& b) { return product("bmm", a, 3, b, 3); }
Tensor dot(Tensor const& a, Tensor const& b) { return product("dot", a, 1, b, 1); }
Tensor vdot(Tensor const& a, Tensor const& b) { return product("vdot", a, 1, b, 1); }

Tensor vecdot(Tensor const& a, Tensor const& b, int axis) {
  check_defined("vecdot", a);
  check_defined("vecdot", b);
  if (a.rank() == 0 && b.rank() == 0) return a * b;
  check_sizes("vecdot", a, b, a.size(axis) == b.size(axis));
  return sum(a * b, {axis < 0 ? axis : axis - std::max(a.rank(), b.rank())});
}

Tensor inner(Tensor const& a, Tensor const& b) {
  check_defined("inner", a);
  check_defined("inner", b);
  if (a.rank() == 0 || b.rank() == 0) return a * b;
  check_sizes("inner", a, b, a.size(-1) == b.size(-1));
  return tensordot(a, b, {-1}, {-1});
}

Tensor outer(Tensor const& a, Tensor const& b) {
  check_rank("outer", "a vector", a, 1);
  check_rank("outer", "a vector", b, 1);
  return a.unsqueeze(1) * b;
}

Tensor addmm(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options) {
  return add_product("addmm", input, product("addmm", a, 2, b, 2), options);
}

Tensor addmv(Tensor const& input, Tensor const& a, Tensor const& x, AddProduct options) {
  return add_product("addmv", input, product("addmv", a, 2, x, 1), options);
}

Tensor addr(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options) {
  check_rank("addr", "a vector", a, 1);
  check_rank("addr", "a vector", b, 1);
  return add_product("addr", input, outer(a, b), options);
}

Tensor baddbmm(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options) {
  return add_product("baddbmm", input, product("baddbmm", a, 3, b, 3), options);
}

Tensor addbmm(Tensor const& input, Tensor const& a, Tensor const& b, AddProduct options) {
  check_factors("addbmm", a, 3, b, 3);
  int64_t const joined = a.size(0) * a.size(2);
  Tensor const wide = a.permute({1, 0, 2}).reshape({a.size(1), joined}), tall = b.reshape({joined, b.size(2)});
  return add_product("addbmm", input, matmul(wide, tall), options);
}

Tensor bilinear(Tensor const& x1, Tensor const& x2, Tensor const& weight, Tensor const& bias) {
  check_defined("bilinear", x1);
  check_defined("bilinear", x2);
  check_rank("bilinear", "a weight", weight, 3);
  int64_t const outputs = weight.size(0), n = weight.size(1), m = weight.size(2);
  Shape lead1 = x1.shape(), lead2 = x2.shape();
  bool const vectors = x1.rank() >= 1 && x1.rank() == x2.rank();
  if (vectors) lead1.erase(x1.rank() - 1), lead2.erase(x2.rank() - 1);
  check(vectors && lead1 == lead2 && x1.size(-1) == n && x2.size(-1) == m, "bilinear", [&] {
    return Complaint{fmt::format("expected x1 [.., {}] and x2 [.., {}] for a weight of shape {}, got {} and {}", n, m,
                                 to_string(weight.shape()), to_string(x1.shape()), to_string(x2.shape())),
                     "make the leading axes equal and the last ones as long as the weight's"};
  });
  check(!bias.defined() || bias.shape() == Shape{outputs}, "bilinear", [&] {
    return Complaint{fmt::format("expected a bias of shape [{}], got {}", outputs, to_string(bias.shape())),
                     "make it as long as the weight's first axis"};
  });
  int64_t const rows = numel(lead1);
  Tensor const half = matmul(x1.reshape({rows, n}), weight.permute({1, 0, 2}).reshape({n, outputs * m}));
  lead1.push_back(outputs);
  Tensor const y = matmul(half.reshape({rows, outputs, m}), x2.reshape({rows, m, 1})).reshape(lead1);
  return bias.defined() ? y + bias : y;
}

Tensor kron(Tensor const& a, Tensor const& b) {
  check_defined("kron", a);
  check_defined("kron", b);
  int const rank = std::max(a.rank(), b.rank());
  check(2 * rank <= Dims::max_rank, "kron", [&] {
    return Complaint{fmt::format("expected at most {} axes, got shapes {} and {}", Dims::max_rank / 2,
                                 to_string(a.shape()), to_string(b.shape())),
                     "join axes with reshape"};
  });
  Shape left = Dims::filled(2 * rank, 1), right = left, shape = Dims::filled(rank, 1);
  for (int i = 0; i < rank; ++i) {
    if (int const axis = i - rank + a.rank(); axis >= 0) left[2 * i] = a.shape()[axis];
    if (int const axis = i - rank + b.rank(); axis >= 0) right[2 * i + 1] = b.shape()[axis];
    shape[i] = left[2 * i] * right[2 * i + 1];
  }
  return (a.reshape(left) * b.reshape(right)).reshape(shape);
}

namespace {

/// The product of matrices i … j − 1, parted where `cut` says.
Tensor chain(std::vector<Tensor> const& matrices, std::vector<size_t> const& cut, size_t i, size_t j) {
  if (j - i == 1) return matrices[i];
  size_t const k = cut[i * (matrices.size() + 1) + j];
  return matmul(chain(matrices, cut, i, k), chain(matrices, cut, k, j));
}

}  // namespace

/// The cheapest bracketing by dynamic programming over ranges (Godbole, 1973).
Tensor multi_dot(std::vector<Tensor> const& tensors) {
  size_t const n = tensors.size();
  check(n >= 2, "multi_dot", [&] {
    return Complaint{fmt::format("expected two tensors or more, got {}", n), "pass the factors"};
  });
  for (size_t i = 0; i < n; ++i) {
    bool const end = i == 0 || i + 1 == n;
    check_defined("multi_dot", tensors[i]);
    check(tensors[i].rank() == 2 || (end && tensors[i].rank() == 1), "multi_dot", [&] {
      return Complaint{fmt::format("factor {} has shape {}, expected a matrix{}", i, to_string(tensors[i].shape()),
                                   end ? " or a vector" : ""),
                       "use matmul for batches"};
    });
  }
  std::vector<Tensor> matrices = tensors;
  bool const row = tensors[0].rank() == 1, column = tensors[n - 1].rank() == 1;
  if (row) matrices[0] = matrices[0].unsqueeze(0);
  if (column) matrices[n - 1] = matrices[n - 1].unsqueeze(1);
  std::vector<double> size{double(matrices[0].size(0))};
  for (size_t i = 0; i < n; ++i) {
    if (i + 1 < n) check_sizes("multi_dot", tensors[i], tensors[i + 1], matrices[i].size(1) == matrices[i + 1].size(0));
    size.push_back(double(matrices[i].size(1)));
  }
  std::vector<double> cost((n + 1) * (n + 1));
  std::vector<size_t> cut((n + 1) * (n + 1));
  for (size_t length = 2; length <= n; ++length)
    for (size_t i = 0; i + length <= n; ++i) {
      size_t const j = i + length, at = i * (n + 1) + j;
      cost[at] = std::numeric_limits<double>::infinity();
      for (size_t k = i + 1; k < j; ++k)
        if (double const c = cost[i * (n + 1) + k] + cost[k * (n + 1) + j] + size[i] * size[k] * size[j]; c < cost[at])
          cost[at] = c, cut[at] = k;
    }
  Tensor y = chain(matrices, cut, 0, n);
  if (row) y = y.squeeze(0);
  return column ? y.squeeze(-1) : y;
}

Tensor matrix_power(Tensor const& x, int64_t n) {
  check_square("matrix_power", x);
  if (n == 0) return where(zeros({}, Dtype::boolean), x, eye(x.size(-1), -1, x.dtype(), x.device()));
  Tensor base = n < 0 ? inv(x) : x, y;
  for (uint64_t rest = n < 0 ? -uint64_t(n) : uint64_t(n);;) {
    if (rest & 1) y = y.defined() ? matmul(y, base) : base;
    if (!(rest >>= 1)) return y;
    base = matmul(base, base);
  }
}

Tensor cross(Tensor const& a, Tensor const& b, int axis) {
  check_defined("cross", a);
  check_defined("cross", b);
  check(a.rank() == b.rank() && a.rank() >= 1 && a.size(axis) == 3 && b.size(axis) == 3, "cross", [&] {
    return Complaint{fmt::format("expected two tensors of equal rank with 3 elements along axis {}, got {} and {}",
                                 axis, to_string(a.shape()), to_string(b.shape())),
                     "name the axis that holds the three coordinates"};
  });
  auto const turned = [axis](Tensor const& x, int64_t by) {
    return cat({x.slice(axis, by, 3), x.slice(axis, 0, by)}, axis);
  };
  return turned(a, 1) * turned(b, 2) - turned(a, 2) * turned(b, 1);
}

Tensor trace(Tensor const& x) {
  check_rank("trace", "a matrix", x, 2);
  return sum(diagonal(x));
}

namespace {

/// Of no coordinates every distance is 0, the largest one too.
Tensor distance(Tensor const& difference, double p) {
  return vector_norm(difference, difference.size(-1) == 0 ? 1 : p, {-1});
}

void check_p(char const* op, double p) {
  check(p >= 0, op, [&] { return Complaint{fmt::format("expected p >= 0, got {}", p), "2 is the Euclidean norm"}; });
}

/// ‖a − bⱼ‖₂ for every j, from differences: exact where points nearly coincide, unlike |a|² − 2·a·b + |b|².
template <class T>
void euclidean_row(T const* a, T const* b, T* y, int64_t columns, int64_t n) {
  constexpr int lanes = 8;
  for (int64_t j = 0; j < columns; ++j, b += n) {
    T sums[lanes] = {};
    int64_t k = 0;
    for (; k + lanes <= n; k += lanes)
      for (int l = 0; l < lanes; ++l) sums[l] += (a[k + l] - b[k + l]) * (a[k + l] - b[k + l]);
    for (; k < n; ++k) sums[0] += (a[k] - b[k]) * (a[k] - b[k]);
    y[j] = std::sqrt(((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])));
  }
}

/// Of equal leading axes.
Tensor euclidean(Tensor const& a, Tensor const& b, Shape const& shape) {
  Tensor const left = a.contiguous(), right = b.contiguous();
  Tensor y(shape, a.dtype(), common_device("cdist", {&a, &b}));
  Observed const watch("cdist", {&left, &right}, {&y});
  int64_t const rows = a.size(-2), columns = b.size(-2), n = a.size(-1);
  if (y.numel() > 0)
    dispatch_floating("cdist", a.dtype(), [&]<class T>(Type<T>) {
      if (!y.device().is_cpu())
        return device_kernels<DistanceKernels>(y.device(), "cdist")
            .of<T>()
            .euclidean(left.address<T>(), right.address<T>(), y.address<T>(), y.numel() / (rows * columns), rows,
                       columns, n);
      parallel_for(y.numel() / columns, std::max<int64_t>(1, 16384 / (columns * (n + 1))),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row)
                       euclidean_row(left.data<T>() + row * n, right.data<T>() + row / rows * columns * n,
                                     y.data<T>() + row * columns, columns, n);
                   });
    });
  if (tracked(left, right))
    record("cdist", y, {&left, &right},
           [a = Saved(left), b = Saved(right), y = SavedOutput(y)](Tensor const& g, Node const& node) {
             // Σⱼ wᵢⱼ·(aᵢ − bⱼ) with w = g/distance
             Tensor const distance = y.get(node), zero = distance == 0.0;
             Tensor const w = where(zero, 0.0, g / where(zero, 1.0, distance));
             Tensor const &from = a.get(node), &to = b.get(node);
             return std::array{sum(w, {-1}, true) * from - matmul(w, to),
                               sum(w.t(), {-1}, true) * to - matmul(w.t(), from)};
           });
  return y;
}

}  // namespace

Tensor cdist(Tensor const& a, Tensor const& b, double p) {
  check_defined("cdist", a);
  check_defined("cdist", b);
  check_p("cdist", p);
  check(a.rank() >= 2 && b.rank() >= 2 && a.size(-1) == b.size(-1), "cdist", [&] {
    return Complaint{
        fmt::format("expected [.., P, M] and [.., R, M], got {} and {}", to_string(a.shape()), to_string(b.shape())),
        "make the last axes, the coordinates, equally long"};
  });
  Dtype const dtype = promote(a.dtype(), b.dtype());
  if (!is_floating(dtype)) detail::unsupported_dtype("cdist", dtype, "a floating type");
  if (is_half(dtype)) return cdist(a.to(Dtype::f32), b.to(Dtype::f32), p).to(dtype);
  Tensor const left = a.to(dtype), right = b.to(dtype);
  if (p != 2) return distance(left.unsqueeze(-2) - right.unsqueeze(-3), p);
  Shape shape = broadcast_lead("cdist", left, right);
  Shape const from = with_matrix(shape, a.size(-2), a.size(-1)), to = with_matrix(shape, b.size(-2), b.size(-1));
  return euclidean(left.expand(from), right.expand(to), with_matrix(shape, a.size(-2), b.size(-2)));
}

Tensor pdist(Tensor const& x, double p) {
  check_rank("pdist", "a matrix", x, 2);
  check_p("pdist", p);
  if (!is_floating(x.dtype())) detail::unsupported_dtype("pdist", x.dtype(), "a floating type");
  Tensor const pairs = triu_indices(x.size(0), x.size(0), 1, x.device());
  return distance(embedding(pairs.select(0, 0), x) - embedding(pairs.select(0, 1), x), p);
}

}  // namespace heed
