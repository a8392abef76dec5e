#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/scope.h>

namespace heed {
namespace {

std::string sentence(std::string const& op, std::string const& path, std::string const& problem,
                     std::string const& remedy) {
  auto const where = path.empty() ? op : fmt::format("{} ({})", op, path);
  return remedy.empty() ? fmt::format("{}: {}.", where, problem)
                        : fmt::format("{}: {}. Remedy: {}.", where, problem, remedy);
}

}  // namespace

Error::Error(std::string op, std::string path, std::string problem, std::string remedy)
    : std::runtime_error(sentence(op, path, problem, remedy)),
      op_(std::move(op)),
      path_(std::move(path)),
      problem_(std::move(problem)),
      remedy_(std::move(remedy)) {}

void fail(std::string_view op, Complaint complaint) {
  throw Error(std::string(op), std::string(scope_path()), std::move(complaint.problem), std::move(complaint.remedy));
}

}  // namespace heed
