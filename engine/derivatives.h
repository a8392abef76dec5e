// Derivatives of functions: products with Jacobians and Hessians, and the matrices themselves. The inputs need not
// require a gradient, and no leaf's grad() changes. While recording, a result is part of the tape as far as f's inputs
// or what f captures are, so that calls nest; under NoGrad it is plain.
#pragma once

#include <heed/engine/tensor.h>

#include <functional>
#include <type_traits>
#include <vector>

namespace heed {

/// A function of tensors: any callable from a list of tensors, or from one to three tensors, to a tensor or a list.
class TensorFunction {
 public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, TensorFunction>) TensorFunction(F f)
      : f_([f = std::move(f)](std::vector<Tensor> const& x) {
          using T = Tensor const&;
          if constexpr (std::is_invocable_v<F const&, T>)
            return call(1, x, [&] { return f(x[0]); });
          else if constexpr (std::is_invocable_v<F const&, T, T>)
            return call(2, x, [&] { return f(x[0], x[1]); });
          else if constexpr (std::is_invocable_v<F const&, T, T, T>)
            return call(3, x, [&] { return f(x[0], x[1], x[2]); });
          else
            return call(x.size(), x, [&] { return f(x); });
        }) {}
  std::vector<Tensor> operator()(std::vector<Tensor> const& inputs) const { return f_(inputs); }

 private:
  template <class Call>
  static std::vector<Tensor> call(size_t takes, std::vector<Tensor> const& inputs, Call f) {
    check_count(takes, inputs.size());
    if constexpr (std::is_same_v<decltype(f()), Tensor>)
      return {f()};
    else
      return f();
  }
  static void check_count(size_t takes, size_t given);
  std::function<std::vector<Tensor>(std::vector<Tensor> const&)> f_;
};

/// f(inputs), and a product with its Jacobian J [outputs × inputs].
struct JacobianProduct {
  std::vector<Tensor> outputs;
  std::vector<Tensor> product;
};
/// Jᵀ·cotangents, one tensor an input: zeros where nothing depends on it. Cotangents have the outputs' shapes; none are
/// needed for a single output of one element.
JacobianProduct vjp(TensorFunction const& f, std::vector<Tensor> const& inputs,
                    std::vector<Tensor> const& cotangents = {});
/// J·tangents, one tensor an output; tangents have the inputs' shapes. Two walks: J·t is the derivative with respect to
/// u of uᵀ·J·t (Townsend, "A new trick for calculating Jacobian vector products", 2017).
JacobianProduct jvp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& tangents);

/// ∂output/∂input of shape [output…, input…], one walk an element of the output. An Error where f has more than one.
Tensor jacobian(TensorFunction const& f, Tensor const& input);
/// [k][i]: ∂output k/∂input i
std::vector<std::vector<Tensor>> jacobian(TensorFunction const& f, std::vector<Tensor> const& inputs);
/// ∂²f/∂input² of shape [input…, input…] for an f with one output of one element
Tensor hessian(TensorFunction const& f, Tensor const& input);
/// [i][j]: ∂²f/∂(input i)∂(input j)
std::vector<std::vector<Tensor>> hessian(TensorFunction const& f, std::vector<Tensor> const& inputs);

/// f(inputs) and H·v, with the Hessian H of an f with one output of one element; v has the inputs' shapes.
JacobianProduct hvp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& v);
/// f(inputs) and vᵀ·H: the same numbers where second derivatives are continuous, with one walk less.
JacobianProduct vhp(TensorFunction const& f, std::vector<Tensor> const& inputs, std::vector<Tensor> const& v);

}  // namespace heed
