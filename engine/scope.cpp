#include <heed/engine/scope.h>

namespace heed {
namespace {
thread_local Scope const* innermost = nullptr;
}

Scope::Scope(std::string_view path) noexcept : path_(path), outer_(innermost) { innermost = this; }
Scope::~Scope() { innermost = outer_; }

std::string_view scope_path() noexcept { return innermost ? innermost->path_ : std::string_view{}; }

}  // namespace heed
