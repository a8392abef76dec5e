// One record for each operation, from which its tests come: value against a twin in f64, gradients of both orders,
// strides, broadcasting, odd and empty sizes, every instruction set, threads, special values, bad input, and timings.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gradcheck.h"
#include "skip.h"

namespace heed::test {

/// How an operand is drawn. All numbers are exact in f32, so that both types see the same ones.
struct Input {
  enum class Kind { real, distinct, index, mask, bits };
  Kind kind = Kind::real;
  double low = -2, high = 2;
  std::vector<double> avoid = {};  // kinks, kept away from by `margin`
  bool differentiable = true;
  double margin = 0.05;
};
inline Input real(double low = -2, double high = 2, std::vector<double> avoid = {}) {
  return {Input::Kind::real, low, high, std::move(avoid)};
}
/// A shuffled arithmetic sequence: no two elements are closer than a step, for operations that choose.
inline Input distinct(double low = -2, double high = 2) { return {Input::Kind::distinct, low, high}; }
/// i64 in [0, n)
inline Input index(int64_t n) { return {Input::Kind::index, 0, double(n), {}, false}; }
/// bool
inline Input mask() { return {Input::Kind::mask, 0, 1, {}, false}; }
/// 0 or 1 in the case's floating type, unknown to the gradient check.
inline Input bits() { return {Input::Kind::bits, 0, 1, {}, false}; }

using Shapes = std::vector<Shape>;

/// One element of each operand, and what comes out.
struct Special {
  std::vector<double> in;
  double out;
};

/// A call that must throw heed::Error, and what its message must contain beside the operation's name.
struct BadCall {
  std::function<void()> call;
  std::vector<std::string> says;
};

struct OpCase {
  std::string name;    // unique
  std::string covers;  // what it is called in the catalogue
  std::vector<Input> inputs;
  std::vector<Shapes> shapes;  // shapes of the operands: the first is small, the rest odd, broadcast, empty
  Function op;
  Function twin = {};                                // the same in other operations or plain loops, given f64
  std::function<double(double const*)> scalar = {};  // or element by element
  bool differentiable = true;
  bool second_order = true;
  bool elementwise_bits = false;   // the result's bits do not depend on strides
  double f32 = 3e-6, f64 = 1e-13;  // error relative to 1 + |value|
  double gradient_f32 = 3e-5;      // of f32 gradients against f64 ones
  GradcheckOptions gradcheck = {};
  Shapes large = {};                  // enough for several chunks, and what --bench times
  std::vector<Special> special = {};  // NaN, ±Inf, −0, denormals
  std::vector<BadCall> bad = {};
};

/// The operands of `shapes` in `dtype`; `differentiable` ones require gradients if `tracked`.
std::vector<Tensor> draw(OpCase const& c, Shapes const& shapes, Dtype dtype, bool tracked = false);

// Each check is one doctest case over all records.
void check_values(OpCase const& c);
void check_gradients(OpCase const& c);
void check_second_order(OpCase const& c);
void check_strides(OpCase const& c);
void check_subsets(OpCase const& c);
void check_threads(OpCase const& c);
void check_special(OpCase const& c);
void check_bad(OpCase const& c);
/// Values and gradients on an accelerator that is emulated, against the processor's. An operation that has no kernel
/// there must say so; emulated_results() counts both.
void check_emulated(OpCase const& c);
/// Of all calls of check_emulated(): "cases: 12 on the emulated accelerator, 3 without kernels there (sort, …)", and
/// with HEED_EMULATED_TABLE=1 a line a case with its largest error, or why it has none.
std::string emulated_results();
/// Prints nanoseconds an element and GB/s, forward and backward, for every type.
void bench(OpCase const& c);
/// The filter of `--bench[=filter]` (or of HEED_BENCH), empty for all; none where timings were not asked for.
std::optional<std::string> bench_filter();

std::string shapes_text(Shapes const& shapes);
/// Gradients of Σ cotangent·output with respect to the operands that are marked; undefined for the others.
std::vector<Tensor> gradients_of(OpCase const& c, std::vector<Tensor> const& in);

/// Whether `got` is `want` within `tolerance`·(1 + |want|): shapes equal, NaN beside NaN, infinities equal; integers
/// exactly.
std::string differs(Tensor const& got, Tensor const& want, double tolerance);
/// Same shape, type and bits.
bool same_bits(Tensor const& a, Tensor const& b);

/// What `call` throws, or an empty string. Anything but heed::Error is a failure.
std::string error_of(std::function<void()> const& call);

}  // namespace heed::test
