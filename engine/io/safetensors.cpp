#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/safetensors.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <span>

namespace heed {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are stored little endian, and read as they are");

constexpr std::string_view metadata_key = "__metadata__";
constexpr uint64_t max_header = 100'000'000;  // the format's own limit
constexpr uint64_t prefix = 8;                // the header's length, u64

constexpr std::pair<std::string_view, Dtype> types[] = {
    {"F32", Dtype::f32},      {"F64", Dtype::f64}, {"I32", Dtype::i32},   {"I64", Dtype::i64}, {"U8", Dtype::u8},
    {"BOOL", Dtype::boolean}, {"F16", Dtype::f16}, {"BF16", Dtype::bf16}, {"I8", Dtype::i8},   {"I16", Dtype::i16}};

/// Bytes of the UTF-8 character that `text` starts with; 0 where it is not one (RFC 3629: neither overlong nor a
/// surrogate nor beyond U+10FFFF).
size_t utf8_length(std::string_view text) {
  auto const byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto const follows = [&](size_t i, unsigned from = 0x80, unsigned to = 0xBF) {
    return byte(i) >= from && byte(i) <= to;
  };
  unsigned const first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF)
    return follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  if (first >= 0xF0 && first <= 0xF4)
    return follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    size_t const length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void append_utf8(std::string& out, uint32_t code) {
  auto const put = [&](uint32_t byte) { out.push_back(char(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

void append_json(std::string& out, std::string_view text) {
  out.push_back('"');
  for (char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", int(c));
    else
      out.push_back(c);
  }
  out.push_back('"');
}

/// `text` for a message: short, one line, printable, whatever a file put there.
std::string quoted(std::string_view text) {
  constexpr size_t longest = 80;
  std::string out = "\"";
  for (size_t used = 0; used < text.size();) {
    if (used >= longest) {
      out += "…";
      break;
    }
    size_t const length = utf8_length(text.substr(used));
    auto const byte = static_cast<unsigned char>(text[used]);
    if (length == 0 || byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += text.substr(used, length);
    used += std::max(length, size_t{1});
  }
  return out + '"';
}

struct Entry {
  std::string name;
  Dtype dtype = Dtype::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes from the start of the data
};

struct Header {
  std::vector<Entry> entries;
  std::vector<std::pair<std::string, std::string>> metadata;
};

/// Complaints about one file.
struct Judge {
  std::string const& path;

  [[noreturn]] void reject(std::string const& problem, std::string_view remedy) const {
    fail("load_safetensors", {fmt::format("{}: {}", path, problem), std::string(remedy)});
  }
  [[noreturn]] void truncated(std::string const& problem) const {
    reject(problem, "copy or download the file again: it is cut short or no safetensors file");
  }
  [[noreturn]] void malformed(std::string const& problem) const {
    reject(problem, "write the file again with a program that follows the safetensors format");
  }
};

/// Reads the header as the format allows it, by descent over its fixed shape:
/// {"__metadata__": {key: text, …}, name: {"dtype": text, "shape": [n, …], "data_offsets": [begin, end]}, …}
class HeaderReader {
 public:
  HeaderReader(std::string_view text, Judge const& judge) : text_(text), judge_(judge) {}

  Header read() {
    Header header;
    bool metadata_seen = false;
    if (text_.empty() || text_[0] != '{') expected("\"{\" as the first character");
    members([&](std::string key) {
      if (key != metadata_key) {
        header.entries.push_back(entry(std::move(key)));
        return;
      }
      if (metadata_seen) duplicate(metadata_key);
      metadata_seen = true;
      members([&](std::string name) {
        if (peek() != '"') expected(fmt::format("a string for the key {} of __metadata__", quoted(name)));
        header.metadata.emplace_back(std::move(name), string());
      });
    });
    if (skip_space(); at_ != text_.size()) expected("the header's end");
    reject_duplicates(header.entries, [](Entry const& e) -> std::string_view { return e.name; });
    reject_duplicates(header.metadata, [](auto const& pair) -> std::string_view { return pair.first; });
    return header;
  }

 private:
  [[noreturn]] void expected(std::string_view what) const {
    auto const rest = text_.substr(std::min(at_, text_.size()));
    auto const got = rest.empty() ? "its end" : quoted(rest.substr(0, std::max(utf8_length(rest), size_t{1})));
    judge_.malformed(fmt::format("byte {} of the header: expected {}, got {}", at_, what, got));
  }
  [[noreturn]] void duplicate(std::string_view key) const {
    judge_.malformed(fmt::format("the header has the key {} twice, expected it once", quoted(key)));
  }

  template <class Items, class Name>
  void reject_duplicates(Items const& items, Name name) const {
    std::vector<std::string_view> names;
    names.reserve(items.size());
    for (auto const& item : items) names.push_back(name(item));
    std::ranges::sort(names);
    if (auto const twice = std::ranges::adjacent_find(names); twice != names.end()) duplicate(*twice);
  }

  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }
  /// The next character that is not space; 0 at the end.
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (skip_space(); at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) expected(quoted(std::string_view(&c, 1)));
  }

  /// {"key": …, …}: read_value(key) reads what follows the colon.
  template <class ReadValue>
  void members(ReadValue read_value) {
    expect('{');
    if (accept('}')) return;
    do {
      std::string key = string();
      expect(':');
      read_value(std::move(key));
    } while (accept(','));
    if (!accept('}')) expected("\",\" or \"}\"");
  }

  /// [n, …]: take(n) for each.
  template <class Take>
  void numbers(Take take) {
    expect('[');
    if (accept(']')) return;
    do take(number());
    while (accept(','));
    if (!accept(']')) expected("\",\" or \"]\"");
  }

  int64_t number() {
    skip_space();
    size_t const start = at_;
    int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      int const digit = text_[at_] - '0';
      if (value > (std::numeric_limits<int64_t>::max() - digit) / 10) expected("a number below 2^63");
      value = value * 10 + digit;
    }
    bool const leading_zero = at_ > start + 1 && text_[start] == '0';
    bool const fraction = at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E');
    if (at_ == start || leading_zero || fraction) expected("an integer of 0 or more, in plain digits");
    return value;
  }

  uint32_t hex4() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      char const c = at_ < text_.size() ? text_[at_] : '\0';
      constexpr std::string_view digits = "0123456789abcdefABCDEF";
      size_t const digit = digits.find(c);
      if (digit == digits.npos) expected("four hexadecimal digits after \\u");
      code = code * 16 + uint32_t(digit < 16 ? digit : digit - 6);
    }
    return code;
  }

  void escape(std::string& out) {
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    char const c = at_ < text_.size() ? text_[at_] : '\0';
    if (size_t const i = letters.find(c); i != letters.npos) {
      ++at_;
      out.push_back(meanings[i]);
      return;
    }
    if (c != 'u') expected("one of \"\\/bfnrtu after a backslash");
    ++at_;
    uint32_t code = hex4();
    if (code >= 0xD800 && code <= 0xDFFF) {
      uint32_t low = 0;
      if (code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
        at_ += 2;
        low = hex4();
      }
      if (low < 0xDC00 || low > 0xDFFF) expected("a pair of surrogates (\\ud800 to \\udbff, then \\udc00 to \\udfff)");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
  }

  std::string string() {
    if (!accept('"')) expected("a string");
    std::string out;
    while (true) {
      if (at_ == text_.size()) expected("the string's closing quote");
      char const c = text_[at_];
      if (c == '"') break;
      if (c == '\\') {
        ++at_;
        escape(out);
        continue;
      }
      size_t const length = static_cast<unsigned char>(c) < 0x20 ? 0 : utf8_length(text_.substr(at_));
      if (length == 0) expected("a character of UTF-8, control characters escaped");
      out.append(text_, at_, length);
      at_ += length;
    }
    ++at_;
    return out;
  }

  Entry entry(std::string name) {
    Entry e;
    e.name = std::move(name);
    bool dtype_seen = false, shape_seen = false, offsets_seen = false;
    auto const first = [&](bool& seen, std::string_view key) {
      if (seen)
        judge_.malformed(fmt::format("tensor {} has the key {} twice, expected it once", quoted(e.name), quoted(key)));
      seen = true;
    };
    members([&](std::string const& key) {
      if (key == "dtype") {
        first(dtype_seen, key);
        e.dtype = dtype(e.name);
      } else if (key == "shape") {
        first(shape_seen, key);
        numbers([&](int64_t size) {
          if (e.shape.rank() == Dims::max_rank)
            judge_.reject(fmt::format("tensor {} has more axes than heed's {}", quoted(e.name), Dims::max_rank),
                          "join axes before saving");
          e.shape.push_back(size);
        });
      } else if (key == "data_offsets") {
        first(offsets_seen, key);
        int64_t offsets[2] = {};
        int got = 0;
        numbers([&](int64_t offset) {
          if (got < 2) offsets[got] = offset;
          ++got;
        });
        if (got != 2)
          judge_.malformed(
              fmt::format("tensor {}: expected 2 data_offsets, begin and end, got {}", quoted(e.name), got));
        e.begin = uint64_t(offsets[0]);
        e.end = uint64_t(offsets[1]);
      } else {
        judge_.malformed(fmt::format("tensor {}: expected the keys dtype, shape and data_offsets, got {}",
                                     quoted(e.name), quoted(key)));
      }
    });
    if (!dtype_seen || !shape_seen || !offsets_seen)
      judge_.malformed(fmt::format("tensor {}: expected the keys dtype, shape and data_offsets, {} is missing",
                                   quoted(e.name),
                                   !dtype_seen   ? "dtype"
                                   : !shape_seen ? "shape"
                                                 : "data_offsets"));
    return e;
  }

  Dtype dtype(std::string const& tensor) {
    std::string const type = string();
    for (auto const& [name, dtype] : types)
      if (name == type) return dtype;
    judge_.reject(fmt::format("tensor {} has type {}, expected F32, F64, F16, BF16, I8, I16, I32, I64, U8 or BOOL",
                              quoted(tensor), quoted(type)),
                  "convert it to F32 or I64 before saving");
  }

  std::string_view text_;
  size_t at_ = 0;
  Judge const& judge_;
};

/// What a file that is no safetensors file starts with, where it is a known other kind.
void reject_foreign(std::string_view start, Judge const& judge) {
  using namespace std::string_view_literals;
  struct Kind {
    std::string_view magic, name;
  };
  constexpr Kind kinds[] = {{"PK\3\4"sv, "a zip archive (PyTorch's .pt or NumPy's .npz)"},
                            {"\x80\2"sv, "a Python pickle"},
                            {"\x80\3"sv, "a Python pickle"},
                            {"\x80\4"sv, "a Python pickle"},
                            {"\x80\5"sv, "a Python pickle"},
                            {"\x93NUMPY"sv, "a NumPy array"},
                            {"\x89HDF"sv, "an HDF5 file"},
                            {"GGUF"sv, "a GGUF file"},
                            {"\x1F\x8B"sv, "gzip data"},
                            {"{"sv, "a JSON text"},
                            {"<"sv, "an HTML or XML text"}};
  if (start.starts_with("version "))
    judge.reject("expected safetensors data, got text that looks like a Git LFS pointer",
                 "fetch the file itself with git lfs pull");
  for (Kind const& kind : kinds)
    if (start.starts_with(kind.magic))
      judge.reject(fmt::format("expected safetensors data, got what looks like {}", kind.name),
                   "name a safetensors file, or convert this one with the program it belongs to");
}

/// Bytes of the tensor as shape and type say. Sizes of 0 count as 1 in the check for overflow, since strides skip them.
std::optional<uint64_t> bytes_of(Entry const& e) {
  constexpr int64_t limit = std::numeric_limits<int64_t>::max() / 16;
  int64_t product = 1;
  bool empty = false;
  for (int64_t size : e.shape) {
    empty |= size == 0;
    int64_t const factor = std::max(size, int64_t{1});
    if (factor > limit / product) return std::nullopt;
    product *= factor;
  }
  return empty ? 0 : uint64_t(product) * size_of(e.dtype);
}

/// Every tensor has the bytes that it needs, and together they are the data: no hole, no overlap, no rest.
/// Returns the entries in the order of the data.
std::vector<size_t> check_layout(Header const& header, uint64_t data_size, Judge const& judge) {
  std::vector<size_t> order(header.entries.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    Entry const& e = header.entries[i];
    if (e.begin > e.end)
      judge.malformed(
          fmt::format("tensor {}: expected begin ≤ end, got data_offsets [{}, {}]", quoted(e.name), e.begin, e.end));
    auto const bytes = bytes_of(e);
    if (!bytes)
      judge.malformed(fmt::format("tensor {}: shape {} has more elements than memory has addresses", quoted(e.name),
                                  to_string(e.shape)));
    if (*bytes != e.end - e.begin)
      judge.malformed(fmt::format("tensor {}: shape {} of {} needs {} bytes, data_offsets [{}, {}] hold {}",
                                  quoted(e.name), to_string(e.shape), name(e.dtype), *bytes, e.begin, e.end,
                                  e.end - e.begin));
  }
  for (Entry const& e : header.entries)
    if (e.end > data_size)
      judge.truncated(fmt::format("tensor {} ends at byte {} of the data, the file holds {} of them", quoted(e.name),
                                  e.end, data_size));
  std::ranges::stable_sort(order, {},
                           [&](size_t i) { return std::pair(header.entries[i].begin, header.entries[i].end); });
  uint64_t at = 0;
  for (size_t i : order) {
    Entry const& e = header.entries[i];
    if (e.begin != at)
      judge.malformed(
          fmt::format("expected a tensor at byte {} of the data, where the one before ends; the next one, {}, "
                      "starts at {}, which leaves {}",
                      at, quoted(e.name), e.begin, e.begin < at ? "an overlap" : "a hole"));
    at = e.end;
  }
  if (at != data_size)
    judge.malformed(
        fmt::format("the tensors end at byte {} of the data, the file holds {} bytes of it", at, data_size));
  return order;
}

Tensor read_tensor(InputFile const& file, uint64_t offset, Entry const& e, Judge const& judge) {
  Tensor tensor(e.shape, e.dtype);
  std::span const bytes(static_cast<std::byte*>(tensor.raw()), size_t(e.end - e.begin));
  file.read(offset + e.begin, bytes);
  if (e.dtype == Dtype::boolean)  // a bool of any other byte is undefined behaviour
    for (std::byte b : bytes)
      if (b > std::byte{1})
        judge.malformed(fmt::format("tensor {}: expected booleans of 0 or 1, got the byte {}", quoted(e.name), int(b)));
  return tensor;
}

void check_names(std::string_view what, std::vector<std::string_view> names) {
  for (std::string_view name : names)
    check(is_utf8(name), "save_safetensors", [&] {
      return Complaint{fmt::format("expected a {} in UTF-8, got {}", what, quoted(name)), "convert it to UTF-8"};
    });
  std::ranges::sort(names);
  auto const twice = std::ranges::adjacent_find(names);
  check(twice == names.end(), "save_safetensors", [&] {
    return Complaint{fmt::format("expected every {} once, got {} twice", what, quoted(*twice)), "rename one of them"};
  });
}

}  // namespace

Tensor const* Safetensors::find(std::string_view name) const {
  for (auto const& [key, tensor] : tensors)
    if (key == name) return &tensor;
  return nullptr;
}

void save_safetensors(std::string const& path, Safetensors const& content) {
  std::vector<std::string_view> names, keys;
  std::vector<std::pair<std::string, Tensor> const*> order;
  for (auto const& item : content.tensors) {
    names.push_back(item.first);
    order.push_back(&item);
    check(item.second.defined(), "save_safetensors", [&] {
      return Complaint{fmt::format("expected tensors, {} is undefined", quoted(item.first)),
                       "assign it or leave it out"};
    });
    check(item.first != metadata_key, "save_safetensors", [&] {
      return Complaint{fmt::format("the name {} is the format's own", metadata_key), "rename the tensor"};
    });
  }
  for (auto const& [key, value] : content.metadata) {
    keys.push_back(key);
    check(is_utf8(value), "save_safetensors", [&] {
      return Complaint{fmt::format("expected metadata in UTF-8, got {} for {}", quoted(value), quoted(key)),
                       "convert it to UTF-8"};
    });
  }
  check_names("tensor name", std::move(names));
  check_names("metadata key", std::move(keys));
  std::ranges::stable_sort(order, std::greater{}, [](auto const* item) { return size_of(item->second.dtype()); });

  std::string header = "{";
  if (!content.metadata.empty()) {
    append_json(header, metadata_key);
    for (char separator = '{'; auto const& [key, value] : content.metadata) {
      header += separator == '{' ? ":{" : ",";
      separator = ',';
      append_json(header, key);
      header += ':';
      append_json(header, value);
    }
    header += '}';
  }
  uint64_t at = 0;
  for (auto const* item : order) {
    Tensor const& tensor = item->second;
    uint64_t const end = at + uint64_t(tensor.numel()) * size_of(tensor.dtype());
    auto const type = std::ranges::find(types, tensor.dtype(), &std::pair<std::string_view, Dtype>::second)->first;
    if (header.size() > 1) header += ',';
    append_json(header, item->first);
    header += fmt::format(R"(:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", type,
                          fmt::join(tensor.shape(), ","), at, end);
    at = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  check(header.size() <= max_header, "save_safetensors", [&] {
    return Complaint{
        fmt::format("{}: names and metadata take {} bytes, the format allows {}", path, header.size(), max_header),
        "shorten them, or split the tensors over several files"};
  });

  AtomicFile file(path);
  uint64_t const length = header.size();
  file.append(std::as_bytes(std::span(&length, 1)));
  file.append(header);
  for (auto const* item : order) {
    Tensor const whole = item->second.detach().contiguous().to(cpu);
    file.append({static_cast<std::byte const*>(whole.raw()), size_t(whole.numel()) * size_of(whole.dtype())});
  }
  file.commit();
}

Safetensors load_safetensors(std::string const& path) {
  InputFile const file(path);
  Judge const judge{path};
  char start[prefix] = {};
  size_t const readable = size_t(std::min(file.size(), prefix));
  file.read(0, std::as_writable_bytes(std::span(start, readable)));
  if (file.size() < prefix)
    judge.truncated(fmt::format("expected at least 8 bytes, the header's length, got {}", file.size()));
  uint64_t length;
  std::memcpy(&length, start, prefix);
  uint64_t const rest = file.size() - prefix;
  if (length > max_header || length > rest) {
    reject_foreign({start, prefix}, judge);
    if (length > rest)
      judge.truncated(fmt::format(
          "expected a header of {} bytes, as the first 8 bytes say, the file holds {} more bytes", length, rest));
    judge.malformed(fmt::format("expected a header of at most {} bytes, the first 8 bytes say {}", max_header, length));
  }
  Header header;
  {
    std::string text(size_t(length), '\0');
    file.read(prefix, std::as_writable_bytes(std::span(text)));
    header = HeaderReader(text, judge).read();
  }
  auto const order = check_layout(header, rest - length, judge);

  Safetensors content;
  content.metadata = std::move(header.metadata);
  content.tensors.resize(header.entries.size());
  for (size_t i : order) {
    Entry& e = header.entries[i];
    content.tensors[i] = {std::move(e.name), read_tensor(file, prefix + length, e, judge)};
  }
  return content;
}

}  // namespace heed
