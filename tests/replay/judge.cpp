// Which handler a case goes to, and whether what it gives agrees.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "replay.h"

namespace heed::replay {
namespace {

/// Other names of the same op.
constexpr std::pair<std::string_view, std::string_view> aliases[] = {
    {"absolute", "abs"},
    {"alias_copy", "clone"},
    {"arccos", "acos"},
    {"arccosh", "acosh"},
    {"arcsin", "asin"},
    {"arcsinh", "asinh"},
    {"arctan", "atan"},
    {"arctan2", "atan2"},
    {"arctanh", "atanh"},
    {"clip", "clamp"},
    {"concat", "cat"},
    {"concatenate", "cat"},
    {"conj", "positive"},
    {"conj_physical", "positive"},
    {"det", "linalg.det"},
    {"diagonal_copy", "diagonal"},
    {"divide", "div"},
    {"expand_copy", "expand"},
    {"fix", "trunc"},
    {"ger", "outer"},
    {"grid_sampler_2d", "grid_sample"},
    {"grid_sampler_3d", "grid_sample"},
    {"greater", "gt"},
    {"greater_equal", "ge"},
    {"inverse", "linalg.inv"},
    {"less", "lt"},
    {"less_equal", "le"},
    {"linalg.cholesky", "cholesky"},
    {"linalg.cross", "cross"},
    {"linalg.diagonal", "diagonal"},
    {"linalg.lu_factor_ex", "linalg.lu_factor"},
    {"linalg.matmul", "matmul"},
    {"linalg.matrix_exp", "matrix_exp"},
    {"log_sigmoid", "logsigmoid"},
    {"matrix_power", "linalg.matrix_power"},
    {"moveaxis", "movedim"},
    {"multiply", "mul"},
    {"narrow_copy", "narrow"},
    {"negative", "neg"},
    {"not_equal", "ne"},
    {"permute_copy", "permute"},
    {"real", "positive"},
    {"resolve_conj", "positive"},
    {"resolve_neg", "positive"},
    {"row_stack", "vstack"},
    {"sgn", "sign"},
    {"slogdet", "linalg.slogdet"},
    {"special.digamma", "digamma"},
    {"special.erf", "erf"},
    {"special.erfc", "erfc"},
    {"special.erfinv", "erfinv"},
    {"special.exp2", "exp2"},
    {"special.expit", "sigmoid"},
    {"special.expm1", "expm1"},
    {"special.gammainc", "igamma"},
    {"special.gammaincc", "igammac"},
    {"special.gammaln", "lgamma"},
    {"special.i0", "i0"},
    {"special.log1p", "log1p"},
    {"special.log_softmax", "log_softmax"},
    {"special.logit", "logit"},
    {"special.logsumexp", "logsumexp"},
    {"special.modified_bessel_i0", "i0"},
    {"special.modified_bessel_i1", "special.i1"},
    {"special.multigammaln", "mvlgamma"},
    {"special.polygamma", "polygamma"},
    {"special.psi", "digamma"},
    {"special.round", "round"},
    {"special.sinc", "sinc"},
    {"special.softmax", "softmax"},
    {"special.xlogy", "xlogy"},
    {"split_with_sizes", "split"},
    {"split_with_sizes_copy", "split"},
    {"squeeze_copy", "squeeze"},
    {"subtract", "sub"},
    {"swapaxes", "transpose"},
    {"swapdims", "transpose"},
    {"t_copy", "t"},
    {"transpose_copy", "transpose"},
    {"trapz", "trapezoid"},
    {"true_divide", "div"},
    {"unbind_copy", "unbind"},
    {"unfold_copy", "unfold"},
    {"unsafe_chunk", "chunk"},
    {"unsafe_split", "split"},
    {"unsqueeze_copy", "unsqueeze"},
    {"upsample", "interpolate"},
    {"upsample_bilinear", "interpolate"},
    {"upsample_nearest", "interpolate"},
    {"view", "reshape"},
    {"view_copy", "reshape"},
};

constexpr std::string_view neural_prefix = "nn.functional.";

std::map<std::string_view, Handler> const& handlers() {
  static auto const all = [] {
    std::map<std::string_view, Handler> found;
    for (auto const rows : {convolution_rows(), creation_rows(), fourier_rows(), indexing_rows(), linear_algebra_rows(),
                            neural_rows(), pointwise_rows(), recurrent_rows(), reduction_rows(), shape_rows()})
      for (Row const& row : rows) found[row.op] = row.call;
    for (auto const& [alias, op] : aliases)
      if (auto const row = found.find(op); row != found.end()) found.emplace(alias, row->second);
    return found;
  }();
  return all;
}

bool agrees(double got, double want, Case const& c) {
  if (std::isnan(want)) return std::isnan(got);
  if (std::isinf(want) || std::isinf(got)) return got == want;
  if (!c.special.empty() && got == 0 && want == 0) return std::signbit(got) == std::signbit(want);
  return std::abs(got - want) <= c.atol + c.rtol * std::abs(want);
}

/// The index of element `flat` of a row-major tensor.
std::string place(Shape const& shape, int64_t flat) {
  Dims index = shape;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return to_string(index);
}

/// What is wrong with `got`; empty where it agrees, but for the elements where `alone`, if given, does not agree
/// either.
std::string difference(std::string const& what, Tensor const& got, Tensor const& want, Case const& c,
                       Tensor const& alone = {}) {
  if (got.dtype() != want.dtype())
    return fmt::format("{}: expected type {}, got {}", what, name(want.dtype()), name(got.dtype()));
  if (got.shape() != want.shape())
    return fmt::format("{}: expected shape {}, got {}", what, to_string(want.shape()), to_string(got.shape()));
  if (!is_floating(want.dtype()) && got.to_vector<int64_t>() == want.to_vector<int64_t>()) return {};
  auto const a = got.to_vector<double>(), b = want.to_vector<double>();
  auto const other = alone.defined() ? alone.to_vector<double>() : b;
  size_t count = 0, worst = 0;
  double largest = -1;
  for (size_t i = 0; i < a.size(); ++i) {
    double const gap = std::abs(a[i] - b[i]);
    bool const good = agrees(a[i], b[i], c) && (is_floating(want.dtype()) || c.rtol + c.atol > 0 || a[i] == b[i]);
    if (good || !agrees(other[i], b[i], c)) continue;
    ++count;
    double const size = std::isnan(gap) ? std::numeric_limits<double>::infinity() : gap;
    if (size > largest) {
      largest = size;
      worst = i;
    }
  }
  if (count == 0) return {};
  return fmt::format("{}: largest error {:.3g} at {}: expected {:.9g}, got {:.9g} ({} of {} differ)", what, largest,
                     place(want.shape(), int64_t(worst)), b[worst], a[worst], count, a.size());
}

/// Whether `got` and `want` are indices of equal elements of input 0, each index once: any of equal elements will do.
bool name_equal_elements(Tensor got, Tensor want, Case const& c) {
  static std::set<std::string_view> const ops = {"argsort", "kthvalue", "mode", "sort", "topk"};
  if (!ops.contains(c.op) || c.flag("stable") || got.dtype() != Dtype::i64 || got.shape() != want.shape()) return false;
  Tensor const x = c(0);
  int const axis = c.axis("dim", -1);
  if (x.rank() == 0) return false;
  if (got.rank() < x.rank()) got = got.unsqueeze(axis), want = want.unsqueeze(axis);
  auto const all = [](Tensor const& b) { return sum(b).item<int64_t>() == b.numel(); };
  return all(got >= 0) && all(got < x.size(axis)) && all(diff(sort(got, axis).values, 1, axis) > 0) &&
         all(gather(x, axis, got) == gather(x, axis, want));
}

std::string check_outputs(Case const& c, std::vector<Tensor> const& got, bool pardon = false) {
  for (auto const& [k, want] : c.outputs) {
    if (size_t(k) >= got.size() || !got[size_t(k)].defined())
      return fmt::format("output.{}: heed gives {} results", k, got.size());
    auto const alone = c.alone.find(k);
    Tensor const pardoned = pardon && alone != c.alone.end() ? alone->second : Tensor();
    auto const text = difference(fmt::format("output.{}", k), got[size_t(k)], want, c, pardoned);
    if (!text.empty() && !name_equal_elements(got[size_t(k)], want, c)) return text;
  }
  return {};
}

std::string check_gradients(Case const& c, std::vector<Tensor> const& got) {
  std::vector<Tensor> outputs, cotangents, leaves;
  for (auto const& [k, cotangent] : c.grad_outputs) {
    if (size_t(k) >= got.size() || !got[size_t(k)].defined())
      return fmt::format("grad_output.{}: heed gives {} results", k, got.size());
    if (!got[size_t(k)].requires_grad()) continue;
    outputs.push_back(got[size_t(k)]);
    cotangents.push_back(cotangent);
  }
  for (auto const& [key, want] : c.grad_inputs) leaves.push_back(c.inputs.at(key));
  std::vector<Tensor> gradients(leaves.size());
  if (!outputs.empty()) gradients = grad(outputs, leaves, cotangents, {.allow_unused = true});
  size_t i = 0;
  for (auto const& [key, want] : c.grad_inputs) {
    Tensor gradient = gradients[i++];
    if (!gradient.defined()) gradient = zeros_like(want);  // what nothing depends on
    auto const text = difference("grad_input." + key, gradient, want, c);
    if (!text.empty()) return outputs.empty() ? text + "; no output has a gradient" : text;
  }
  return {};
}

/// What a call of special values gave: a pointwise op by its first element, any other by how many are no numbers.
std::string in_a_word(Case const& c, std::vector<Tensor> const& got) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (got.empty() || !got[0].defined()) return "nothing";
  Tensor const& first = got[0];
  if (c.special == "empty" || c.special == "rank 0") return to_string(first.shape());
  if (first.numel() == 0) return "empty";
  auto const values = first.to_vector<double>();
  if (c.pointwise) return std::isnan(values[0]) ? "nan" : fmt::format("{:.3g}", values[0]);
  auto const nans = std::ranges::count_if(values, [](double x) { return std::isnan(x); });
  auto const infinities = std::ranges::count(values, infinity), negative = std::ranges::count(values, -infinity);
  std::string text;
  for (auto const& [count, word] : {std::pair{nans, "nan"}, {infinities, "inf"}, {negative, "-inf"}})
    if (count == ssize_t(values.size()))
      text = word;
    else if (count > 0)
      text += fmt::format("{}{} {}/{}", text.empty() ? "" : ", ", word, count, values.size());
  return text.empty() ? "finite" : text;
}

}  // namespace

Handler find(std::string_view op) {
  auto const& all = handlers();
  if (auto const row = all.find(op); row != all.end() && !op.starts_with(neural_prefix)) {
    return row->second;
  }
  if (!op.starts_with(neural_prefix)) return nullptr;
  op.remove_prefix(neural_prefix.size());
  if (op == "unfold") op = "im2col";  // `unfold` alone is the tensor's sliding window
  auto const row = all.find(op);
  return row == all.end() ? nullptr : row->second;
}

std::vector<std::string> all_ops() {
  std::vector<std::string> names;
  for (auto const& [name, call] : handlers()) names.emplace_back(name);
  return names;
}

Verdict judge(std::string const& path) {
  Verdict verdict;
  auto const end = [&](Verdict::Kind kind, std::string reason) {
    verdict.kind = kind;
    verdict.reason = std::move(reason);
    return verdict;
  };
  try {
    Case c(path);
    verdict.op = c.op;
    verdict.special = c.special;
    verdict.where = c.where;
    verdict.row = c.row;
    if (!c.inputs.empty()) verdict.type = name(c.inputs.begin()->second.dtype());
    Handler const call = find(c.op);
    if (!call) return end(Verdict::skipped, "op " + c.op);
    for (auto const& [key, gradient] : c.grad_inputs) c.inputs.at(key).requires_grad_();
    std::string text;
    bool of_two_minds = false;
    try {
      auto const got = call(c).tensors;
      verdict.gave = in_a_word(c, got);
      if (c.throws)
        return end(Verdict::failed, fmt::format("PyTorch refuses ({}), heed gives {}", *c.throws, verdict.gave));
      text = check_outputs(c, got);
      of_two_minds = !c.alone.empty() && check_outputs(c, got, true).empty();
      if (text.empty() && !c.grad_inputs.empty()) text = check_gradients(c, got);
    } catch (Error const& error) {
      verdict.gave = "error";
      if (!c.throws) text = error.what();
    }
    if (text.empty()) return end(Verdict::passed, {});
    verdict.of_two_minds = of_two_minds;
    if (auto const unread = c.unread(); !unread.empty())
      text += fmt::format(" (the argument {} was not looked at)", fmt::join(unread, ", "));
    return end(Verdict::failed, text);
  } catch (Lacking const& lacking) {
    return end(Verdict::skipped, lacking.what());
  } catch (std::exception const& error) {
    return end(Verdict::failed, error.what());
  }
}

}  // namespace heed::replay
