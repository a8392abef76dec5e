// What each file of tests/ops is: records for whole sections of the catalogue, and every check of op_case.h over them.
// The file defines `heed::test::OpSuite const& suite()` in its unnamed namespace, then includes this header's tests by
// HEED_OP_SUITE(suite).
#pragma once

#include <doctest/doctest.h>

#include <limits>
#include <set>
#include <string>
#include <vector>

#include "op_case.h"

namespace heed::test {

using Tensors = std::vector<Tensor>;
inline constexpr double inf = std::numeric_limits<double>::infinity();
inline constexpr double nan_ = std::numeric_limits<double>::quiet_NaN();

struct OpSuite {
  /// Headings of engine/ops.h ("reductions"), or "class Tensor" for the members of engine/tensor.h.
  std::vector<std::string> sections;
  std::vector<OpCase> cases;
  /// Declared there without a gradient: their own tests, or records with .differentiable = false.
  std::set<std::string> not_differentiable = {};
  /// Declared there and tested by another file.
  std::set<std::string> elsewhere = {};
  /// Declared in another file's sections and tested here.
  std::set<std::string> also = {};
};

/// Where a file's makers put their records. References to them stay valid.
inline std::vector<OpCase>& list() {
  static std::vector<OpCase> records = [] {
    std::vector<OpCase> empty;
    empty.reserve(400);
    return empty;
  }();
  return records;
}

/// f(record) for every record, unless timings were asked for.
template <class F>
void every_case(OpSuite const& suite, F f) {
  if (bench_filter()) return;
  for (OpCase const& c : suite.cases) f(c);
}

/// Every op of the suite's sections has a record, and every record an op.
void check_coverage(OpSuite const& suite);
/// The headings of engine/ops.h with an op below them.
std::vector<std::string> catalogue_sections();

}  // namespace heed::test

#define HEED_OP_SUITE(suite)                                                                                          \
  TEST_CASE("values: every op against its twin, on every level, in f32 and f64, for odd, empty, broadcast shapes") {  \
    heed::test::every_case(suite(), heed::test::check_values);                                                        \
  }                                                                                                                   \
  TEST_CASE("gradients: every differentiable op against central differences, and f32 against f64") {                  \
    heed::test::every_case(suite(), [](heed::test::OpCase const& c) {                                                 \
      if (c.differentiable) heed::test::check_gradients(c);                                                           \
    });                                                                                                               \
  }                                                                                                                   \
  TEST_CASE("second derivatives against central differences of the gradient") {                                       \
    heed::test::every_case(suite(), [](heed::test::OpCase const& c) {                                                 \
      if (c.differentiable && c.second_order) heed::test::check_second_order(c);                                      \
    });                                                                                                               \
  }                                                                                                                   \
  TEST_CASE("strides: transposed, stepped and expanded operands give what contiguous ones give") {                    \
    heed::test::every_case(suite(), heed::test::check_strides);                                                       \
  }                                                                                                                   \
  TEST_CASE("any subset of the operands may require gradients") {                                                     \
    heed::test::every_case(suite(), [](heed::test::OpCase const& c) {                                                 \
      if (c.differentiable) heed::test::check_subsets(c);                                                             \
    });                                                                                                               \
  }                                                                                                                   \
  TEST_CASE("threads: 1, 2 and 4 give the same bits") { heed::test::every_case(suite(), heed::test::check_threads); } \
  TEST_CASE("special values: NaN, infinities, signed zero, denormals") {                                              \
    heed::test::every_case(suite(), heed::test::check_special);                                                       \
  }                                                                                                                   \
  TEST_CASE("bad input names the op and what was wrong") { heed::test::every_case(suite(), heed::test::check_bad); }  \
  TEST_CASE("an emulated accelerator gives what the processor gives, or says that it has no kernel") {                \
    heed::test::every_case(suite(), heed::test::check_emulated);                                                      \
    MESSAGE(heed::test::emulated_results());                                                                          \
  }                                                                                                                   \
  TEST_CASE("timings: --bench[=filter] prints them in place of the other checks") {                                   \
    if (auto const filter = heed::test::bench_filter())                                                               \
      for (heed::test::OpCase const& c : suite().cases)                                                               \
        if (!c.large.empty() && c.name.find(*filter) != std::string::npos) heed::test::bench(c);                      \
    CHECK(!suite().cases.empty());                                                                                    \
  }                                                                                                                   \
  TEST_CASE("the catalogue's sections have no op without a case") { heed::test::check_coverage(suite()); }
