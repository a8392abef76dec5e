// The thread's stack of module paths: what errors, hooks and the profiler read.
#pragma once

#include <string>
#include <string_view>

namespace heed {

/// While it lives, operations of this thread belong to the module at `path` ("blocks.3.attn"). `path` must outlive what
/// is recorded under it: a literal, or the result of intern().
class Scope {
 public:
  explicit Scope(std::string_view path) noexcept;
  ~Scope();
  Scope(Scope const&) = delete;
  Scope& operator=(Scope const&) = delete;

 private:
  friend std::string_view scope_path() noexcept;
  std::string_view path_;
  Scope const* outer_;
};

/// A copy of `text` that lives as long as the program; equal texts share one.
std::string_view intern(std::string_view text);

/// The innermost module path of this thread; empty outside modules.
std::string_view scope_path() noexcept;

}  // namespace heed
