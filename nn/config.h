// Configurations are aggregates with one visit(): text, JSON, --help and defaults all come from it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace heed::nn {

/// Reads or writes the fields of a configuration, one call a field: its name, the value, and a line of help with the
/// unit.
class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;
  virtual void field(std::string_view name, int64_t& value, std::string_view help) = 0;
  virtual void field(std::string_view name, double& value, std::string_view help) = 0;
  virtual void field(std::string_view name, bool& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::string& value, std::string_view help) = 0;
};

}  // namespace heed::nn
