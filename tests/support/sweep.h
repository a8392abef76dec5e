// How far a function of one f32 is from its value in f64: over all 2³² arguments, or every stride-th one.
#pragma once

#include <heed/engine/tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace heed::test {

struct Swept {
  std::string name;
  Tensor (*op)(Tensor const&);
  double (*exact)(double);
  double ulp;       // the bound: of |got − exact| in units of the last place of exact
  double absolute;  // where cancellation forbids that: an error within this is good enough
};
std::vector<Swept> const& swept_functions();

struct SweepResult {
  double ulp = 0, absolute = 0, relative = 0;  // largest errors; of finite values
  float at = 0;                                // the argument of the largest error in ulp
  double beyond = 0;                           // largest in ulp among those whose absolute error exceeds the bound
  uint64_t wrong = 0;                          // NaN or infinity where it should not be, or none where it should
};
SweepResult sweep(Swept const& f, uint64_t stride);

}  // namespace heed::test
