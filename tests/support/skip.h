// What a machine lacks is reported as skipped and counted, never passed over in silence.
#pragma once

#include <doctest/doctest.h>
#include <heed/engine/isa.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace heed::test {

/// Counts one skip of the running test case (the same reason once a case) and prints "[skipped] case: reason". A case
/// that also checked something counts as passed beside it: `if (!has_isa(level)) { skip("avx512"); continue; }`.
void skip(std::string_view reason);

/// Runs body(level), or body(), on every level this processor has; the others are skipped. The level in use is put
/// back.
template <class Body>
void on_every_isa(Body body) {
  struct Restore {
    Isa before = isa();
    ~Restore() { set_isa(before); }
  } const restore;
  for (Isa level : all_isas()) {
    if (!has_isa(level)) {
      skip("the processor lacks " + std::string(name(level)));
      continue;
    }
    set_isa(level);
    INFO("level ", std::string(name(level)));
    if constexpr (std::is_invocable_v<Body, Isa>)
      body(level);
    else
      body();
  }
}

/// A file of the data set folder (HEED_TEST_DATA, else ../shared/data beside the source tree); skips where it is
/// missing.
inline std::optional<std::filesystem::path> shared_data(std::string_view file) {
  char const* const folder = std::getenv("HEED_TEST_DATA");
  std::filesystem::path const path =
      (folder ? std::filesystem::path(folder) : std::filesystem::path(HEED_SOURCE_DIR) / "../shared/data") / file;
  if (std::filesystem::exists(path)) return path;
  skip("no " + path.lexically_normal().string());
  return std::nullopt;
}

}  // namespace heed::test
