// A formula as data: what map() records, and what the less common pointwise operations are instead of kernels of their
// own. A program is a list of primitive steps over whole blocks of elements.
#pragma once

#include <heed/engine/isa.h>
#include <heed/engine/map.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

// Every primitive once: its name, and its formula over the numbers it is read with (Lane in kernels, Dual<Symbol> in
// derivatives).
#define HEED_UNARY_PRIMITIVES(apply)                                                                                 \
  apply(neg, -a) apply(abs, abs(a)) apply(sqrt, sqrt(a)) apply(rsqrt, rsqrt(a)) apply(exp, exp(a))                   \
      apply(expm1, expm1(a)) apply(exp2, exp2(a)) apply(log, log(a)) apply(log1p, log1p(a)) apply(log2, log2(a))     \
          apply(log10, log10(a)) apply(sin, sin(a)) apply(cos, cos(a)) apply(tanh, tanh(a)) apply(atan, atan(a))     \
              apply(asin, asin(a)) apply(acos, acos(a)) apply(tan, tan(a)) apply(sinh, sinh(a)) apply(cosh, cosh(a)) \
                  apply(asinh, asinh(a)) apply(acosh, acosh(a)) apply(atanh, atanh(a)) apply(sigmoid, sigmoid(a))    \
                      apply(softplus, softplus(a)) apply(erf, erf(a)) apply(erfc, erfc(a)) apply(erfcx, erfcx(a))    \
                          apply(erfinv, erfinv(a)) apply(lgamma, lgamma(a)) apply(digamma, digamma(a))               \
                              apply(i0e, i0e(a)) apply(i1e, i1e(a)) apply(floor, floor(a)) apply(ceil, ceil(a))      \
                                  apply(round, round(a)) apply(trunc, trunc(a))
#define HEED_BINARY_PRIMITIVES(apply)                                                                                \
  apply(add, a + b) apply(sub, a - b) apply(mul, a* b) apply(div, a / b) apply(max, max(a, b)) apply(min, min(a, b)) \
      apply(pow, pow(a, b)) apply(copysign, copysign(a, b)) apply(atan2, atan2(a, b)) apply(hypot, hypot(a, b))      \
          apply(fmod, fmod(a, b)) apply(nextafter, nextafter(a, b)) apply(polygamma, polygamma(a, b))                \
              apply(zeta, zeta(a, b))
/// 1 or 0.
#define HEED_COMPARE_PRIMITIVES(apply) \
  apply(less, a < b) apply(less_equal, a <= b) apply(equal, a == b) apply(not_equal, a != b)

namespace heed {

enum class Primitive : uint8_t {
  constant,
  zero,  // of a derivative: absorbed by what it meets
  input,
#define HEED_PRIMITIVE(name, formula) name,
  HEED_UNARY_PRIMITIVES(HEED_PRIMITIVE) HEED_BINARY_PRIMITIVES(HEED_PRIMITIVE) HEED_COMPARE_PRIMITIVES(HEED_PRIMITIVE)
#undef HEED_PRIMITIVE
      select,  // a != 0 ? b : c
  count
};

/// One step of a recording: values are named by their index.
struct ProgramValue {
  Primitive op;
  int a = -1, b = -1, c = -1;
  double constant = 0;
};

/// A step as it runs: operands and result are slots. Slots 0 … inputs − 1 are the inputs, then come the constants, then
/// the registers.
struct ProgramStep {
  Primitive op;
  uint16_t to, a, b, c;
};

class Program {
 public:
  /// What `outputs` need of `values`, whose first `inputs` are the inputs.
  Program(std::vector<ProgramValue> values, int inputs, std::vector<int> outputs);

  int inputs() const { return inputs_; }
  int outputs() const { return int(outputs_.size()); }
  int slots() const { return slots_; }
  std::span<ProgramStep const> steps() const { return steps_; }
  std::span<double const> constants() const { return constants_; }
  /// The slot of each output.
  std::span<uint16_t const> output_slots() const { return output_slots_; }

  /// The program with inputs x_0 … x_(n−1), g_0 … g_(m−1) and outputs Σ_k g_k·∂y_k/∂x_i for the bits i of `wanted`;
  /// made once.
  std::shared_ptr<Program const> gradient(uint64_t wanted) const;

 private:
  std::vector<ProgramValue> values_;  // pruned
  int inputs_, slots_ = 0;
  std::vector<int> outputs_;
  std::vector<ProgramStep> steps_;
  std::vector<double> constants_;
  std::vector<uint16_t> output_slots_;
  mutable std::vector<std::pair<uint64_t, std::shared_ptr<Program const>>> gradients_;
};

/// The program that f(symbols…) records. For formulas without captured state: keep the result.
template <class F>
std::shared_ptr<Program const> record_program(int inputs, F const& f);

/// The program's outputs for broadcast operands, recorded on the tape as `op`; 16-bit types are computed in f32,
/// integers taken as f32.
std::vector<Tensor> run_program(char const* op, std::shared_ptr<Program const> program,
                                std::vector<Tensor> const& operands);

template <class T>
struct ProgramTable {
  /// The outputs, contiguous, from inputs of any stride.
  void (*run)(Program const& program, T const* const* inputs, int64_t const* strides, T* const* outputs, int64_t n);
};
struct ProgramKernels : PerType<ProgramTable> {};

/// Collects steps, each once; the Symbol functions of the thread go to the innermost one alive.
class Recorder {
 public:
  explicit Recorder(int inputs);
  ~Recorder();
  Recorder(Recorder const&) = delete;
  Recorder& operator=(Recorder const&) = delete;
  static Recorder& current();
  Symbol emit(Primitive op, Symbol a, Symbol b = 0., Symbol c = 0.);
  Symbol zero() { return Symbol(id_of({Primitive::zero}), nullptr); }
  Symbol named(int id) const { return Symbol(id, nullptr); }
  int id(Symbol x) { return x.id_ >= 0 ? x.id_ : id_of({.op = Primitive::constant, .constant = x.constant_}); }
  std::shared_ptr<Program const> program(std::vector<Symbol> const& outputs);

 private:
  int id_of(ProgramValue const& value);
  bool is(int id, Primitive op) const { return values_[size_t(id)].op == op; }
  bool is_constant(int id, double c) const { return is(id, Primitive::constant) && values_[size_t(id)].constant == c; }

  std::vector<ProgramValue> values_;
  std::vector<int> buckets_;  // open addressing
  int inputs_;
  Recorder* outer_;
};

template <class F>
std::shared_ptr<Program const> record_program(int inputs, F const& f) {
  Recorder recorder(inputs);
  std::vector<Symbol> operands;
  for (int i = 0; i < inputs; ++i) operands.push_back(recorder.named(i));
  return recorder.program({f(operands)});
}

}  // namespace heed

HEED_KERNELS(ProgramKernels, program_kernels)
