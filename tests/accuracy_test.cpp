// The elementary functions within their bounds, on every level. All 2³² arguments: heed-sweep.
#include <doctest/doctest.h>

#include "support/skip.h"
#include "support/sweep.h"

using namespace heed::test;

TEST_CASE("errors of the elementary functions over a sample of all floats") {
  on_every_isa([](heed::Isa level) {
    for (Swept const& f : swept_functions()) {
      auto const r = sweep(f, 10007);
      INFO(f.name, " ", std::string(heed::name(level)), ": ", r.ulp, " ulp at ", r.at);
      CHECK(r.wrong == 0);
      CHECK(r.beyond <= f.ulp);
    }
  });
}
