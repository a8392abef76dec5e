// check(): the one place that throws heed::Error.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace heed {

/// What went wrong and what to do about it. `what()` reads
/// "op (module path): problem. Remedy: remedy." The type is exported, so that it can cross shared-library borders.
class __attribute__((visibility("default"))) Error : public std::runtime_error {
 public:
  Error(std::string op, std::string path, std::string problem, std::string remedy);
  std::string const& op() const noexcept { return op_; }
  std::string const& path() const noexcept { return path_; }
  std::string const& problem() const noexcept { return problem_; }
  std::string const& remedy() const noexcept { return remedy_; }

 private:
  std::string op_, path_, problem_, remedy_;
};

/// What was expected, what came, and one remedy: sentences without a final stop.
struct Complaint {
  std::string problem, remedy;
};

/// Throws heed::Error for `op` with the current module path (scope.h).
[[noreturn]] void fail(std::string_view op, Complaint complaint);

/// Throws unless `ok`; `describe()` gives the Complaint and runs only on failure.
template <class Describe>
void check(bool ok, std::string_view op, Describe&& describe) {
  if (!ok) [[unlikely]]
    fail(op, describe());
}

}  // namespace heed
