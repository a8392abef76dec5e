// Between the files of the pointwise operations: forms for one kind of number that an operation chooses from.
#pragma once

#include <heed/engine/tensor.h>

namespace heed {

namespace formulas {  // of floats (formulas.cpp)
Tensor fmax(Tensor const& a, Tensor const& b);
Tensor fmin(Tensor const& a, Tensor const& b);
Tensor heaviside(Tensor const& a, Tensor const& b);
Tensor fmod(Tensor const& a, Tensor const& b);
Tensor remainder(Tensor const& a, Tensor const& b);
Tensor trunc_divide(Tensor const& a, Tensor const& b);
Tensor floor_divide(Tensor const& a, Tensor const& b);
}  // namespace formulas

/// a to the power b modulo the type's width; a negative exponent leaves 1/a, rounded to 0 (integer.cpp).
Tensor integer_power(Tensor const& a, Tensor const& b, Dtype dtype);

}  // namespace heed
