// map(): a user's formula as one fused, vectorised, differentiable operation. The formula is a generic lambda; it is
// read once over symbols, which records its steps, and the library runs the recorded program in cache-sized blocks on
// the best instruction set and differentiates it by dual numbers, to any order.
#pragma once

#include <heed/engine/tensor.h>

#include <array>
#include <type_traits>
#include <utility>
#include <vector>

namespace heed {

#define HEED_SYMBOL_FUNCTIONS(apply)                                                                                 \
  apply(abs) apply(sqrt) apply(rsqrt) apply(exp) apply(expm1) apply(exp2) apply(log) apply(log1p) apply(log2)        \
      apply(log10) apply(sin) apply(cos) apply(tanh) apply(tan) apply(sinh) apply(cosh) apply(asinh) apply(acosh)    \
          apply(atanh) apply(sigmoid) apply(softplus) apply(atan) apply(asin) apply(acos) apply(erf) apply(erfc)     \
              apply(erfcx) apply(erfinv) apply(lgamma) apply(digamma) apply(i0e) apply(i1e) apply(floor) apply(ceil) \
                  apply(round) apply(trunc)

/// A number of a formula that is being recorded. Literals convert; + − · / , comparisons with select, and the functions
/// below make new ones. It lives no longer than the call of map().
class Symbol {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> Symbol(T constant) : constant_(double(constant)) {}

  // Found by their argument alone, so that heed::exp as a value stays the one of tensors.
#define HEED_SYMBOL_FUNCTION(name) friend Symbol name(Symbol x);
  HEED_SYMBOL_FUNCTIONS(HEED_SYMBOL_FUNCTION)
#undef HEED_SYMBOL_FUNCTION
  /// a > b ? a : b, so that a NaN in b stays and one in a goes; min likewise.
  friend Symbol max(Symbol a, Symbol b);
  friend Symbol min(Symbol a, Symbol b);
  friend Symbol pow(Symbol a, Symbol b);
  friend Symbol copysign(Symbol x, Symbol sign);
  friend Symbol atan2(Symbol y, Symbol x);
  friend Symbol hypot(Symbol a, Symbol b);
  friend Symbol fmod(Symbol a, Symbol b);
  friend Symbol nextafter(Symbol a, Symbol b);
  /// The n-th derivative of digamma.
  friend Symbol polygamma(Symbol n, Symbol x);
  /// Hurwitz's ζ(s, x)
  friend Symbol zeta(Symbol s, Symbol x);
  friend struct SymbolMask isnan(Symbol x);

 private:
  friend class Recorder;
  friend class Recording;
  explicit Symbol(int id, std::nullptr_t) : id_(id) {}
  int id_ = -1;  // a step of the recording, or none for a constant
  double constant_ = 0;
};

/// The result of a comparison: for select, & | and !. It is no bool, so that a formula cannot branch on data.
struct SymbolMask {
  Symbol value;  // 1 or 0
};

Symbol operator+(Symbol a, Symbol b);
Symbol operator-(Symbol a, Symbol b);
Symbol operator*(Symbol a, Symbol b);
Symbol operator/(Symbol a, Symbol b);
Symbol operator-(Symbol x);
inline Symbol& operator+=(Symbol& a, Symbol b) { return a = a + b; }
inline Symbol& operator-=(Symbol& a, Symbol b) { return a = a - b; }
inline Symbol& operator*=(Symbol& a, Symbol b) { return a = a * b; }
inline Symbol& operator/=(Symbol& a, Symbol b) { return a = a / b; }
SymbolMask operator<(Symbol a, Symbol b);
SymbolMask operator<=(Symbol a, Symbol b);
SymbolMask operator>(Symbol a, Symbol b);
SymbolMask operator>=(Symbol a, Symbol b);
SymbolMask operator==(Symbol a, Symbol b);
SymbolMask operator!=(Symbol a, Symbol b);
SymbolMask operator&(SymbolMask a, SymbolMask b);
SymbolMask operator|(SymbolMask a, SymbolMask b);
SymbolMask operator!(SymbolMask a);
/// mask ? a : b; the branch not taken has derivative 0 wherever its value is finite or not.
Symbol select(SymbolMask mask, Symbol a, Symbol b);
/// x's kind of number with value c: a formula that is read over several kinds uses it for constants. The 0 of a Symbol
/// vanishes from the program, and so does what it is multiplied with.
Symbol constant_like(Symbol x, double c);

/// where(), by the name that formulas use: one that is written for symbols reads over tensors as well.
Tensor select(Tensor const& mask, Tensor const& a, Tensor const& b);
Tensor constant_like(Tensor const& x, double c);

/// Records one program while it lives; map() below is its user.
class Recording {
 public:
  explicit Recording(int inputs);
  ~Recording();
  Recording(Recording const&) = delete;
  Recording& operator=(Recording const&) = delete;

  static Symbol input(int index) { return Symbol(index, nullptr); }
  class Recorder* recorder() const {
    return recorder_;
  }
  /// Runs the steps that `outputs` need.
  std::vector<Tensor> run(std::vector<Symbol> const& outputs, std::vector<Tensor> const& inputs);

 private:
  class Recorder* recorder_;
};

/// f(a_i, b_i, …) for every i of the broadcast operands; integers are taken as f32, mixed types promote. `f` takes one
/// Symbol an operand and returns a Symbol, or a std::array of them for as many tensors. Recording costs microseconds
/// and happens at every call, so that captured numbers may change:
///
///   auto gate = [s](auto x, auto g) { return x / (1. + exp(-s * g)); };
///   Tensor y = map(gate, x, g);
///
/// At most 32 operands in a program, those of its derivatives included.
template <class F, class... T>
requires(std::is_same_v<T, Tensor>&&...) auto map(F const& f, T const&... operands) {
  Recording recording(sizeof...(operands));
  auto const result = [&]<size_t... i>(std::index_sequence<i...>) { return f(Recording::input(i)...); }
  (std::index_sequence_for<T...>{});
  if constexpr (std::is_convertible_v<decltype(result), Symbol>) {
    return recording.run({Symbol(result)}, {operands...})[0];
  } else {
    std::array<Tensor, std::tuple_size_v<std::remove_cvref_t<decltype(result)>>> outputs;
    auto all = recording.run({result.begin(), result.end()}, {operands...});
    for (size_t k = 0; k < outputs.size(); ++k) outputs[k] = std::move(all[k]);
    return outputs;
  }
}

}  // namespace heed
