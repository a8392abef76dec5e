#include <heed/engine/special.h>
#include <heed/engine/special_formulas.h>

namespace heed::special {

double lgamma(double x) { return special_formulas::lgamma(x); }
double digamma(double x) { return special_formulas::digamma(x); }
double polygamma(double n, double x) { return special_formulas::polygamma(n, x); }
double zeta(double s, double x) { return special_formulas::zeta(s, x); }
double erfinv(double x) { return special_formulas::erfinv(x); }
double erfcx(double x) { return special_formulas::erfcx(x); }
double i0e(double x) { return special_formulas::i0e(x); }
double i1e(double x) { return special_formulas::i1e(x); }

}  // namespace heed::special
