// Writes JSON (RFC 8259) piece by piece.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace heed {

/// json.object().key("shape").array().value(2).value(3).end().end(): {"shape":[2,3]}. Commas come by themselves. Text
/// is UTF-8; bytes that are not become U+FFFD, and '<' is escaped, so that the result may stand inside an HTML script.
class JsonWriter {
 public:
  JsonWriter& object() { return open('{', '}'); }
  JsonWriter& array() { return open('[', ']'); }
  /// Closes the innermost object or array.
  JsonWriter& end();
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(char const* text) { return value(std::string_view(text)); }
  JsonWriter& value(bool truth);
  /// NaN and infinities, which JSON lacks, are the strings "NaN", "Infinity" and "-Infinity".
  JsonWriter& value(double number);
  template <std::integral T>
  requires(!std::same_as<T, bool>) JsonWriter& value(T number) {
    if constexpr (std::is_signed_v<T>)
      return integer(int64_t(number));
    else
      return natural(uint64_t(number));
  }
  template <class T>
  JsonWriter& field(std::string_view name, T const& content) {
    return key(name).value(content);
  }
  /// Every element of a range of values.
  template <class Range>
  JsonWriter& list(std::string_view name, Range const& range) {
    key(name).array();
    for (auto const& element : range) value(element);
    return end();
  }

  std::string const& text() const { return text_; }

 private:
  JsonWriter& open(char opening, char closing);
  JsonWriter& integer(int64_t number);
  JsonWriter& natural(uint64_t number);
  void separate();
  void quote(std::string_view text);
  std::string text_, closings_;
  bool first_ = true;  // nothing stands before in the innermost object or array, or a key does
};

}  // namespace heed
