// Special functions in f64, for formulas that few programs call often: kernels call them element by element.
#pragma once

namespace heed::special {

/// log |Γ(x)|, without the C library's global sign.
double lgamma(double x);
/// Γ'(x)/Γ(x); ∓inf at ±0, NaN at negative integers.
double digamma(double x);
/// The n-th derivative of digamma, (−1)ⁿ⁺¹·n!·ζ(n + 1, x), for a whole n ≥ 0.
double polygamma(double n, double x);
/// Hurwitz's ζ(s, x) = Σ_k (x + k)⁻ˢ for s > 1.
double zeta(double s, double x);
/// erf(erfinv(x)) = x; ±inf at ±1, NaN beyond.
double erfinv(double x);
/// exp(x²)·erfc(x)
double erfcx(double x);
/// exp(−|x|)·I₀(x) and exp(−|x|)·I₁(x), with I the modified Bessel functions of the first kind.
double i0e(double x);
double i1e(double x);

}  // namespace heed::special
