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
  load,        // an element of a table, at up to three coordinates
  count
};

/// One step of a recording: values are named by their index.
struct ProgramValue {
  Primitive op;
  int a = -1, b = -1, c = -1;
  double constant = 0;
  int table = -1;  // of a load
};

/// A step as it runs: operands and result are slots. Slots 0 … inputs − 1 are the inputs, then come the constants, then
/// the registers.
struct ProgramStep {
  Primitive op;
  uint16_t to, a, b, c;
  uint16_t table;
};

/// Inputs, by bits, that hold one number along the lanes of a tile, and one number in all its rows. What follows from
/// inputs that are alike in both is computed once for many tiles, in one of them once a row of lanes or a tile.
struct Alike {
  uint64_t lanes = 0, rows = 0;
};
/// How a value changes within a tile; bits that join.
enum Varies : uint8_t { nowhere = 0, along_lanes = 1, along_rows = 2, everywhere = 3 };

/// What a load reads: coordinates, rounded and taken to the nearest edge, address an element.
template <class T>
struct ProgramTableView {
  T const* data;
  int64_t size[3], stride[3];
};

class Program {
 public:
  /// What `outputs` need of `values`, whose first `inputs` are the inputs.
  Program(std::vector<ProgramValue> values, int inputs, std::vector<int> outputs, Alike alike = {});

  int inputs() const { return inputs_; }
  int outputs() const { return int(outputs_.size()); }
  int slots() const { return slots_; }
  /// Steps whose results vary so; those of `everywhere` read results of all others, which keep their slots.
  std::span<ProgramStep const> steps(Varies how) const {
    size_t const begin = how == nowhere ? 0 : ends_[how - 1];
    return std::span(steps_).subspan(begin, ends_[how] - begin);
  }
  /// All that are not of `nowhere`, in order.
  std::span<ProgramStep const> steps() const { return std::span(steps_).subspan(ends_[nowhere]); }
  Varies varies(int slot) const { return varies_[size_t(slot)]; }
  /// Slots of what varies along rows, and those among them that are read as numbers by steps of `everywhere` or are
  /// outputs.
  std::span<uint16_t const> row_slots() const { return row_slots_; }
  std::span<uint16_t const> row_operands() const { return row_operands_; }
  std::span<double const> constants() const { return constants_; }
  /// The slot of each output.
  std::span<uint16_t const> output_slots() const { return output_slots_; }
  /// The recording that is left, and which of its values are the outputs.
  std::span<ProgramValue const> values() const { return values_; }
  std::span<int const> output_values() const { return outputs_; }
  /// Whether the outputs depend on this input.
  bool uses(int input) const;

  /// The program with inputs x_0 … x_(n−1), g_0 … g_(m−1) and outputs Σ_k g_k·∂y_k/∂x_i for the bits i of `wanted`;
  /// made once.
  std::shared_ptr<Program const> gradient(uint64_t wanted) const;
  /// The same for a program that reads tables: the output's slope with respect to input 0, times input g_0, and for
  /// each load of a table t with `wanted[t]` four outputs: its slope times g_0, and its three coordinates.
  std::shared_ptr<Program const> read_gradient(std::vector<bool> const& wanted) const;
  /// The loads whose gradients read_gradient(wanted) gives, as the tables they read.
  std::vector<int> loads(std::vector<bool> const& wanted) const;

 private:
  std::vector<ProgramValue> values_;  // pruned
  int inputs_, slots_ = 0;
  Alike alike_;
  std::vector<int> outputs_;
  size_t ends_[4] = {};  // of steps, by how they vary
  std::vector<Varies> varies_;
  std::vector<uint16_t> row_slots_, row_operands_;
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

/// One step over n elements.
template <class T>
using ProgramKernel = void (*)(T* to, T const* a, T const* b, T const* c, int64_t n);

template <class T>
struct ProgramTable {
  /// The outputs, contiguous, from inputs of any stride; without loads.
  void (*run)(Program const& program, T const* const* inputs, int64_t const* strides, T* const* outputs, int64_t n);
  ProgramKernel<T> const* steps;  // by Primitive
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
  /// Of table number `table`; a coordinate of −1 is none.
  Symbol load(int table, int a, int b, int c) {
    return named(id_of({.op = Primitive::load, .a = a, .b = b, .c = c, .table = table}));
  }
  /// The number of `table` among the tables of this recording.
  int table(Tensor const& table);
  std::vector<Tensor> const& tables() const { return tables_; }
  /// Numbers behind those of the tables so far; the first of them.
  int append_tables(std::vector<Tensor> const& tables);
  /// What the values `wanted` of `program` are for these inputs. Its first loads are `loads`, the others read its
  /// tables, which are numbered from `first_table`.
  std::vector<Symbol> replay(Program const& program, std::span<int const> wanted, std::vector<Symbol> const& inputs,
                             int first_table = 0, std::vector<Symbol> const& loads = {});
  Symbol named(int id) const { return Symbol(id, nullptr); }
  int id(Symbol x) { return x.id_ >= 0 ? x.id_ : id_of({.op = Primitive::constant, .constant = x.constant_}); }
  std::shared_ptr<Program const> program(std::vector<Symbol> const& outputs, Alike alike = {});

 private:
  int id_of(ProgramValue const& value);
  bool is(int id, Primitive op) const { return values_[size_t(id)].op == op; }
  bool is_constant(int id, double c) const { return is(id, Primitive::constant) && values_[size_t(id)].constant == c; }

  std::vector<ProgramValue> values_;
  std::vector<int> buckets_;  // open addressing
  std::vector<Tensor> tables_;
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
