// Text inside a page.
#pragma once

#include <string>
#include <string_view>

namespace heed {

/// `text` as it stands in HTML, attributes in double quotes included.
inline std::string html_text(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

}  // namespace heed
