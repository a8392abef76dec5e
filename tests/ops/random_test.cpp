// Random tensors.
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/tests/support/op_suite.h>

using namespace heed;
using namespace heed::test;

namespace {

OpSuite const& suite() {
  static OpSuite const all{.sections = {"random"}, .cases = {}, .elsewhere = {"rand", "randn", "randint"}};
  return all;
}

}  // namespace

TEST_CASE("the catalogue's sections have no op without a case") { check_coverage(suite()); }
