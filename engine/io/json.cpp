#include <fmt/format.h>
#include <heed/engine/io/json.h>

#include <cmath>

namespace heed {
namespace {

/// Bytes of the UTF-8 character at the front of `text`, 0 where they are none (RFC 3629: no surrogates, no overlong
/// forms).
size_t character_length(std::string_view text) {
  auto const byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  unsigned const first = byte(0);
  if (first < 0x80) return 1;
  size_t const length = first >= 0xC2 && first < 0xE0   ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3
                        : first >= 0xF0 && first < 0xF5 ? 4
                                                        : 0;
  for (size_t i = 1; i < length; ++i)
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  bool const wrong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) ||
                     (first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F);
  return wrong ? 0 : length;
}

}  // namespace

void JsonWriter::separate() {
  if (!first_) text_ += ',';
  first_ = false;
}

void JsonWriter::quote(std::string_view text) {
  text_ += '"';
  while (!text.empty()) {
    size_t const length = character_length(text);
    auto const c = static_cast<unsigned char>(text[0]);
    if (length == 0)
      text_ += "\xEF\xBF\xBD";
    else if (c == '"' || c == '\\')
      text_ += {'\\', char(c)};
    else if (c == '\n')
      text_ += "\\n";
    else if (c < 0x20 || c == 0x7F || c == '<')
      text_ += fmt::format("\\u{:04x}", c);
    else if (text.substr(0, length) == "\xE2\x80\xA8" || text.substr(0, length) == "\xE2\x80\xA9")
      text_ += text[2] == '\xA8' ? "\\u2028" : "\\u2029";  // line ends to older JavaScript
    else
      text_ += text.substr(0, length);
    text.remove_prefix(length ? length : 1);
  }
  text_ += '"';
}

JsonWriter& JsonWriter::open(char opening, char closing) {
  separate();
  text_ += opening;
  closings_ += closing;
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::end() {
  text_ += closings_.back();
  closings_.pop_back();
  first_ = false;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  quote(name);
  text_ += ':';
  first_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  quote(text);
  return *this;
}

JsonWriter& JsonWriter::value(bool truth) {
  separate();
  text_ += truth ? "true" : "false";
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  if (!std::isfinite(number))
    return value(std::string_view(std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity"));
  separate();
  text_ += fmt::format("{}", number);
  return *this;
}

JsonWriter& JsonWriter::integer(int64_t number) {
  separate();
  text_ += fmt::format("{}", number);
  return *this;
}

JsonWriter& JsonWriter::natural(uint64_t number) {
  separate();
  text_ += fmt::format("{}", number);
  return *this;
}

}  // namespace heed
