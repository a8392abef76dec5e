#include <heed/engine/scope.h>

#include <mutex>
#include <set>

namespace heed {
namespace {
thread_local Scope const* innermost = nullptr;
}

Scope::Scope(std::string_view path) noexcept : path_(path), outer_(innermost) { innermost = this; }
Scope::~Scope() { innermost = outer_; }

std::string_view intern(std::string_view text) {
  static std::mutex lock;
  static auto& texts = *new std::set<std::string, std::less<>>;  // never destroyed: the tape may outlive static objects
  std::lock_guard const guard(lock);
  auto found = texts.find(text);
  if (found == texts.end()) found = texts.emplace(text).first;
  return *found;
}

std::string_view scope_path() noexcept { return innermost ? innermost->path_ : std::string_view{}; }

}  // namespace heed
