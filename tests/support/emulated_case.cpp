// check_emulated(): a record's checks on an accelerator that is emulated.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/ops.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "emulated.h"
#include "op_case.h"

namespace heed::test {
namespace {

struct Emulated {
  std::vector<std::string> ran, missing;  // names of cases
  std::string table;
};
Emulated& emulated() {
  static Emulated all;
  return all;
}

/// Largest |got − want| / (1 + |want|) over finite elements.
double largest_error(Tensor const& got, Tensor const& want) {
  auto const a = got.to_vector<double>(), b = want.to_vector<double>();
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::isfinite(a[i]) && std::isfinite(b[i])) most = std::max(most, std::abs(a[i] - b[i]) / (1 + std::abs(b[i])));
  return most;
}

}  // namespace

void check_emulated(OpCase const& c) {
  Device const device = emulated_device();
  constexpr int64_t most_elements = 3000;  // emulated threads take tens of nanoseconds each
  double error = 0;
  bool ran = false;
  for (Shapes const& shapes : c.shapes) {
    int64_t elements = 0;
    for (Shape const& shape : shapes) elements += numel(shape);
    if (elements > most_elements) continue;
    CAPTURE(c.name);
    CAPTURE(shapes_text(shapes));
    auto const here = draw(c, shapes, Dtype::f32, c.differentiable);
    std::vector<Tensor> there;
    for (Tensor const& t : here) there.push_back(t.detach().to(device).requires_grad_(t.requires_grad()));
    std::vector<Tensor> got, slopes;
    std::string const problem = error_of([&] {
      got = c.op(there);
      if (c.differentiable) slopes = gradients_of(c, there);
      backend(device).synchronize(device.index);
    });
    CHECK(emulator_complaints() == "");
    if (problem.find("no kernel") != problem.npos || problem.find("operands on one device") != problem.npos) {
      emulated().missing.push_back(c.name);
      emulated().table += fmt::format("{:<48}{}\n", c.name, problem);
      return;
    }
    REQUIRE(problem == "");
    auto const want = c.op(here);
    REQUIRE(got.size() == want.size());
    for (size_t k = 0; k < got.size(); ++k) {
      CHECK(differs(got[k].to(cpu), want[k], c.f32) == "");
      error = std::max(error, largest_error(got[k], want[k]));
    }
    if (c.differentiable) {
      auto const expected = gradients_of(c, here);
      REQUIRE(slopes.size() == expected.size());
      for (size_t k = 0; k < slopes.size(); ++k) {
        REQUIRE(slopes[k].defined() == expected[k].defined());
        if (slopes[k].defined()) CHECK(differs(slopes[k].to(cpu), expected[k], c.gradient_f32) == "");
      }
    }
    ran = true;
  }
  if (!ran) return;
  emulated().ran.push_back(c.name);
  emulated().table += fmt::format("{:<48}{:.1e}\n", c.name, error);
}

std::string emulated_results() {
  Emulated const& all = emulated();
  std::string text = fmt::format("cases: {} on the emulated accelerator, {} without kernels there", all.ran.size(),
                                 all.missing.size());
  if (!all.missing.empty()) text += fmt::format(" ({})", fmt::join(all.missing, ", "));
  char const* const wanted = std::getenv("HEED_EMULATED_TABLE");
  return wanted && *wanted ? text + "\n" + all.table : text;
}

}  // namespace heed::test
