// Tensors from nothing.
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

using namespace heed;
using namespace heed::test;

namespace {

OpSuite const& suite() {
  static OpSuite const all{
      .sections = {"creation"},
      .cases = {},
      .elsewhere = {"empty", "full", "zeros", "ones", "zeros_like", "ones_like", "arange", "tensor", "scalar"}};
  return all;
}

}  // namespace

TEST_CASE("the catalogue's sections have no op without a case") { check_coverage(suite()); }
