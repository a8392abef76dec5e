#include "module.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <utility>

namespace ptx {
namespace {

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%'; }

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}

[[noreturn]] void fail(int line, std::string const& what) {
  throw Error("PTX line " + std::to_string(line) + ": " + what);
}

/// Comments become spaces, lines stay.
std::string without_comments(std::string text) {
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    size_t end = i;
    if (text[i] == '/' && text[i + 1] == '/')
      end = std::min(text.find('\n', i), text.size());
    else if (text[i] == '/' && text[i + 1] == '*')
      end = std::min(text.find("*/", i) + 2, text.size());
    for (; i < end; ++i)
      if (text[i] != '\n') text[i] = ' ';
  }
  return text;
}

/// A statement up to its semicolon, or a lone brace; empty at the end of the text.
struct Statements {
  std::string_view rest;
  int line;
  int start = 0;  // line of the statement last given

  std::string_view next() {
    while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front())))
      line += rest.front() == '\n', rest.remove_prefix(1);
    start = line;
    if (rest.empty()) return {};
    bool const own_line = rest.starts_with(".loc ") || rest.starts_with(".loc\t") || rest.starts_with(".file");
    size_t end = 1;
    if (rest.front() != '{' && rest.front() != '}') {
      end = 0;
      bool label = true;
      for (; end < rest.size() && rest[end] != (own_line ? '\n' : ';'); ++end) {
        if (label && rest[end] == ':') break;
        label = label && is_name(rest[end]);
      }
      if (end < rest.size()) ++end;
    }
    std::string_view const statement = rest.substr(0, end);
    line += int(std::count(statement.begin(), statement.end(), '\n'));
    rest.remove_prefix(end);
    return own_line ? next() : statement;
  }
};

std::vector<std::string> words(std::string_view text, char const* between = " \t\n,") {
  std::vector<std::string> result;
  for (size_t i = 0; i < text.size();) {
    size_t const from = text.find_first_not_of(between, i);
    if (from == text.npos) break;
    size_t const to = std::min(text.find_first_of(between, from), text.size());
    result.emplace_back(text.substr(from, to - from));
    i = to;
  }
  return result;
}

size_t number(std::string_view text) { return size_t(std::strtoull(std::string(text).c_str(), nullptr, 0)); }

size_t bytes_of(std::string_view type) {
  size_t bits = 0;
  std::from_chars(type.data() + 2, type.data() + type.size(), bits);  // ".u64"
  if (type == ".pred") return 1;
  if (bits == 0) throw Error("PTX: the type " + std::string(type) + " is not known");
  return bits / 8;
}

/// ".shared .align 16 .b8 name[512]": also ".param .u64 name" and an initialiser after "=".
struct Declaration {
  std::string name;
  size_t align = 1, bytes = 0, element = 1;
  bool unsized = false;
  std::string values;
};

Declaration declaration(std::string_view text) {
  Declaration result;
  if (size_t const equals = text.find('='); equals != text.npos) {
    result.values = text.substr(equals + 1);
    text = text.substr(0, equals);
  }
  auto const all = words(text, " \t\n,;");
  bool pointer = false;
  for (size_t i = 0; i < all.size(); ++i) {
    std::string const& word = all[i];
    if (word == ".align") {
      size_t const align = number(all.at(++i));
      if (!pointer) result.align = std::max(result.align, align);
    } else if (word == ".ptr") {
      pointer = true;  // what follows tells of the memory pointed to
    } else if (word[0] == '.' && word.size() > 2 && std::isdigit(static_cast<unsigned char>(word[2]))) {
      result.element = bytes_of(word);
      result.align = std::max(result.align, result.element);
    } else if (word[0] != '.') {
      size_t const bracket = word.find('[');
      result.name = word.substr(0, bracket);
      result.bytes = result.element;
      if (bracket != word.npos) {
        result.unsized = word[bracket + 1] == ']';
        for (size_t b = bracket; b != word.npos; b = word.find('[', b + 1)) result.bytes *= number(word.substr(b + 1));
      }
    }
  }
  return result;
}

Variable place(size_t& end, Declaration const& what) {
  end = (end + what.align - 1) / what.align * what.align;
  Variable const result{end, what.bytes};
  end += what.bytes;
  return result;
}

/// Builds a kernel's instructions from its statements.
class Builder {
 public:
  Builder(Kernel& kernel, std::map<std::string, std::vector<uint8_t>> const& data,
          std::map<std::string, Function> const& functions)
      : kernel_(kernel), data_(data), functions_(functions) {}

  void add_all(std::string_view body, int line) {
    Statements statements{body, line};
    for (auto s = statements.next(); !s.empty(); s = statements.next()) {
      if (s.front() == '{') blocks_.emplace_back();
      if (s.front() == '}') blocks_.pop_back();
      if (s.starts_with(".reg") && !blocks_.empty())  // hides a register of the same name outside
        for (auto const& name : words(s, " \t\n,;"))
          if (name[0] != '.') blocks_.back()[name] = name + "{" + std::to_string(++hidden_);
      if (s.starts_with(".param") || (s.starts_with(".local") && !scope_.empty())) {
        // What a call passes lies in the thread's own memory, as the called function's variables do.
        Declaration const what = declaration(s);
        kernel_.local[what.name] = place(kernel_.local_bytes, what);
      } else if (s.front() != '.' && s.front() != '{' && s.front() != '}') {
        add(s, statements.start);
      }
    }
  }

  void add(std::string_view statement, int line) {
    if (statement.back() == ':') {
      labels_[std::string(statement.substr(0, statement.size() - 1)) + scope_] = int(kernel_.code.size());
      return;
    }
    if (statement.starts_with("call")) return call(statement, line);
    Instruction in;
    in.line = line;
    in.text = trimmed(statement.substr(0, statement.size() - 1));
    std::string_view rest = in.text;
    if (rest.front() == '@') {
      size_t const end = rest.find_first_of(" \t");
      in.guard = operand(rest.substr(1, end - 1), line);
      rest = trimmed(rest.substr(end));
    }
    size_t const end = std::min(rest.find_first_of(" \t\n"), rest.size());
    in.part = words(rest.substr(0, end), ".");
    rest = trimmed(rest.substr(end));
    if (in.part[0] == "ret" && !scope_.empty()) {
      in.part = {"bra"};
      rest = "return";
    }
    if (in.part[0] == "bra") {
      jumps_.emplace_back(kernel_.code.size(), std::string(rest) + scope_);
    } else {
      for (auto const& written : split(rest)) {
        in.first.push_back(int(in.operand.size()));
        std::string_view inside = trimmed(written);
        if (inside.front() == '{') inside = inside.substr(1, inside.rfind('}') - 1);
        // The second result of "%r1|%p1" is an operand of its own.
        for (auto const& one : words(inside, ",|")) in.operand.push_back(operand(trimmed(one), line));
      }
    }
    understand(in);
    if (in.space == Space::param && passed_) in.space = Space::local;
    passed_ = false;
    kernel_.code.push_back(std::move(in));
  }

  void finish() {
    for (auto const& [from, label] : jumps_) {
      auto const found = labels_.find(label);
      if (found == labels_.end()) fail(kernel_.code[from].line, "no label " + label);
      kernel_.code[from].target = found->second;
    }
  }

 private:
  /// call (results), name, (arguments): the body, whose registers and labels get names of their own.
  void call(std::string_view statement, int line) {
    auto written = words(statement, " \t\n,();");  // "call.uni", results …, name, arguments …
    size_t at = 1;
    while (at < written.size() && !functions_.contains(written[at])) ++at;
    if (at == written.size()) fail(line, "a call of what is not known: " + std::string(statement));
    Function const& function = functions_.at(written[at]);
    if (at - 1 != function.results.size() || written.size() - at - 1 != function.parameters.size())
      fail(line, "a call with other arguments than the function takes");
    auto const names = kernel_.local;  // a call inside has parameters and results of the same names
    auto const alias = [&](std::string const& formal, std::string const& given) {
      kernel_.local[declaration(formal).name] = kernel_.local.at(given);
    };
    for (size_t i = 0; i < function.results.size(); ++i) alias(function.results[i], written[1 + i]);
    for (size_t i = 0; i < function.parameters.size(); ++i) alias(function.parameters[i], written[at + 1 + i]);
    auto const around = std::exchange(blocks_, {});
    std::string const outer = std::exchange(scope_, "@" + std::to_string(++calls_));
    add_all(function.body, function.line);
    labels_["return" + scope_] = int(kernel_.code.size());
    scope_ = outer;
    blocks_ = around;
    kernel_.local = names;
  }

  /// At the commas outside of braces and brackets.
  static std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> result;
    int depth = 0;
    size_t from = 0;
    for (size_t i = 0; i <= text.size(); ++i) {
      if (i == text.size() || (text[i] == ',' && depth == 0)) {
        if (!trimmed(text.substr(from, i - from)).empty()) result.emplace_back(trimmed(text.substr(from, i - from)));
        from = i + 1;
      } else {
        depth += text[i] == '{' || text[i] == '[';
        depth -= text[i] == '}' || text[i] == ']';
      }
    }
    return result;
  }

  int slot(std::string name) {
    for (size_t i = blocks_.size(); i-- > 0;)
      if (auto const found = blocks_[i].find(name); found != blocks_[i].end()) {
        name = found->second;
        break;
      }
    auto const [at, fresh] = slots_.try_emplace(name + scope_, kernel_.slots);
    if (fresh) ++kernel_.slots;
    return at->second;
  }

  int constant(uint64_t value) {
    auto const [at, fresh] = constants_.try_emplace(value, kernel_.slots);
    if (fresh) kernel_.constants.emplace_back(kernel_.slots++, value);
    return at->second;
  }

  Operand operand(std::string_view text, int line) {
    Operand result;
    if (text.front() == '[') {
      text = trimmed(text.substr(1, text.rfind(']') - 1));
      if (size_t const plus = text.find('+'); plus != text.npos) {
        result.offset = std::strtoll(std::string(text.substr(plus + 1)).c_str(), nullptr, 0);
        text = trimmed(text.substr(0, plus));
      }
    }
    if (text.front() == '!') result.inverted = true, text.remove_prefix(1);
    std::string const name(text);
    static std::vector<std::string> const special = {"%tid.",   "%ntid.",  "%ctaid.",    "%nctaid.",
                                                     "%laneid", "%warpid", "%lanemask_", "WARP_SZ"};
    if (std::any_of(special.begin(), special.end(), [&](auto const& s) { return name.starts_with(s); })) {
      auto const [at, fresh] = slots_.try_emplace(name, kernel_.slots);
      if (fresh) kernel_.specials.emplace_back(kernel_.slots++, name);
      result.slot = at->second;
    } else if (name[0] == '%' && name.find('.') == name.npos) {
      result.slot = slot(name);
    } else if (std::isdigit(static_cast<unsigned char>(name[0])) || name[0] == '-') {
      result.slot = constant(literal(name));
    } else if (name == "_") {
      result.slot = slot(name);
    } else {
      result.slot = constant(symbol(name, line));
    }
    return result;
  }

  static uint64_t literal(std::string const& text) {
    if (text.starts_with("0f") || text.starts_with("0F") || text.starts_with("0d") || text.starts_with("0D"))
      return std::strtoull(text.c_str() + 2, nullptr, 16);
    if (text[0] == '-') return uint64_t(std::strtoll(text.c_str(), nullptr, 0));
    return std::strtoull(text.c_str(), nullptr, 0);
  }

  uint64_t symbol(std::string const& name, int line) {
    passed_ = kernel_.local.contains(name);
    for (auto const* variables : {&kernel_.parameters, &kernel_.shared, &kernel_.local})
      if (auto const found = variables->find(name); found != variables->end()) return found->second.offset;
    if (auto const found = data_.find(name); found != data_.end())
      return reinterpret_cast<uint64_t>(found->second.data());
    fail(line, "'" + name + "' is not known here");
  }

  Kernel& kernel_;
  std::map<std::string, std::vector<uint8_t>> const& data_;
  std::map<std::string, Function> const& functions_;
  std::string scope_;  // of the call that is being replaced
  int calls_ = 0, hidden_ = 0;
  std::vector<std::map<std::string, std::string>> blocks_;  // open braces: names of the registers declared there
  bool passed_ = false;                                     // the instruction names local memory
  std::map<std::string, int> slots_, labels_;
  std::map<uint64_t, int> constants_;
  std::vector<std::pair<size_t, std::string>> jumps_;
};

}  // namespace

bool Instruction::has(std::string_view name) const { return std::find(part.begin(), part.end(), name) != part.end(); }

Module::Module(std::string text) {
  text = without_comments(std::move(text));
  std::string_view rest = text;
  int line = 1;
  auto take = [&](size_t count) {
    std::string_view const taken = rest.substr(0, count);
    line += int(std::count(taken.begin(), taken.end(), '\n'));
    rest.remove_prefix(std::min(count, rest.size()));
    return taken;
  };
  auto body_end = [&] {  // of the braces that open at the front
    int depth = 0;
    for (size_t i = 0; i < rest.size(); ++i) {
      depth += rest[i] == '{';
      depth -= rest[i] == '}';
      if (depth == 0) return i + 1;
    }
    fail(line, "a body without an end");
  };
  while (true) {
    take(std::min(rest.find_first_not_of(" \t\r\n;"), rest.size()));
    if (rest.empty()) break;
    size_t const end_of_line = std::min(rest.find('\n'), rest.size());
    std::string_view const head = rest.substr(0, end_of_line);
    if (head.starts_with(".version") || head.starts_with(".target") || head.starts_with(".address_size") ||
        head.starts_with(".file") || head.starts_with(".loc ") || head.starts_with(".loc\t")) {
      take(end_of_line);
      continue;
    }
    auto const first = words(head, " \t(");
    auto const is = [&](char const* word) { return std::find(first.begin(), first.end(), word) != first.end(); };
    if (is(".section")) {
      take(rest.find('{'));
      take(body_end());
    } else if (is(".entry") || is(".func")) {
      size_t const brace = rest.find('{'), semicolon = rest.find(';');
      if (semicolon < brace) {  // announced only
        take(semicolon + 1);
        continue;
      }
      Entry entry;
      std::string_view const before = take(brace);
      entry.line = line;
      entry.body = take(body_end());
      if (!is(".entry")) {
        // .func (results) name (parameters), the results possibly missing.
        size_t const open = before.rfind('('), close = before.rfind(')');
        std::string_view head = trimmed(before.substr(before.find(".func") + 5, open - before.find(".func") - 5));
        Function function;
        if (head.front() == '(') {
          function.results = words(head.substr(1, head.find(')') - 1), ",");
          head = trimmed(head.substr(head.find(')') + 1));
        }
        function.parameters = words(before.substr(open + 1, close - open - 1), ",");
        function.body = entry.body.substr(1, entry.body.size() - 2);
        function.line = entry.line;
        functions_[std::string(head)] = std::move(function);
        continue;
      }
      size_t const at = before.find(".entry") + 6, open = before.find('(', at), close = before.find(')', at);
      size_t const name_end = std::min(open, before.find_first_of("\n.", at));
      entry.name = trimmed(before.substr(at, name_end - at));
      if (open != before.npos) {
        entry.parameters = before.substr(open + 1, close - open - 1);
        entry.directives = before.substr(close + 1);
      }
      entries_.push_back(std::move(entry));
    } else {
      std::string const statement(take(std::min(rest.find(';'), rest.size())));
      bool const shared = is(".shared");
      if (!shared && !is(".global") && !is(".const")) fail(line, "'" + std::string(head) + "' is not understood");
      Declaration const what = declaration(statement);
      if (shared && what.unsized) {
        dynamic_.push_back(what.name);
      } else if (shared) {
        shared_.push_back(statement);
      } else {
        auto& bytes = data_[what.name];
        bytes.assign(what.bytes, 0);
        auto const values = words(what.values, " \t\n,{}");
        for (size_t i = 0; i < values.size() && (i + 1) * what.element <= what.bytes; ++i) {
          bool const hex = values[i].starts_with("0f") || values[i].starts_with("0d");
          uint64_t const value = hex ? std::strtoull(values[i].c_str() + 2, nullptr, 16)
                                     : uint64_t(std::strtoll(values[i].c_str(), nullptr, 0));
          for (size_t b = 0; b < what.element; ++b) bytes[i * what.element + b] = uint8_t(value >> 8 * b);
        }
      }
    }
  }
}

std::vector<std::string> Module::names() const {
  std::vector<std::string> result;
  for (auto const& entry : entries_) result.push_back(entry.name);
  return result;
}

Kernel Module::kernel(std::string_view name) const {
  // A mangled name gives a name's length before it.
  std::string const mangled = std::to_string(name.size()) + std::string(name);
  auto const found = std::find_if(entries_.begin(), entries_.end(), [&](Entry const& entry) {
    return entry.name == name || entry.name.find(mangled) != entry.name.npos;
  });
  if (found == entries_.end()) throw Error("PTX: no kernel '" + std::string(name) + "'");

  Kernel result;
  result.name = found->name;
  for (auto const& text : words(found->parameters, ",")) {
    Declaration const what = declaration(text);
    result.parameter.push_back(result.parameters[what.name] = place(result.parameter_bytes, what));
  }
  auto const directives = words(found->directives);
  for (size_t i = 0; i + 3 < directives.size(); ++i)
    if (directives[i] == ".maxntid" || directives[i] == ".reqntid")
      result.most_threads = unsigned(number(directives[i + 1]) * number(directives[i + 2]) * number(directives[i + 3]));

  for (auto const& text : shared_) {
    Declaration const what = declaration(text);
    result.shared[what.name] = place(result.shared_bytes, what);
  }
  // Declarations first, so that dynamic shared memory is known to begin after the rest.
  std::string_view const inside = std::string_view(found->body).substr(1, found->body.size() - 2);
  Statements declared{inside, found->line};
  for (auto s = declared.next(); !s.empty(); s = declared.next()) {
    Declaration what;
    if (s.starts_with(".shared"))
      what = declaration(s), result.shared[what.name] = place(result.shared_bytes, what);
    else if (s.starts_with(".local"))
      what = declaration(s), result.local[what.name] = place(result.local_bytes, what);
  }
  result.shared_bytes = (result.shared_bytes + 127) / 128 * 128;
  for (auto const& dynamic : dynamic_) result.shared[dynamic] = {result.shared_bytes, 0};

  Builder builder(result, data_, functions_);
  builder.add_all(inside, found->line);
  builder.finish();
  return result;
}

}  // namespace ptx
