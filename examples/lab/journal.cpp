#include "journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace lab {

using namespace heed;

void check_same(nlohmann::json const& head, nlohmann::json const& journal, std::string const& path) {
  auto const ours = head.flatten(), theirs = journal.flatten();
  std::string list;
  auto const differs = [&](std::string const& key) {
    std::string name = key.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    auto const text = [&](nlohmann::json const& of) { return of.contains(key) ? of[key].dump() : "nothing"; };
    if (text(ours) != text(theirs))
      list += fmt::format("{}{} ({}, the journal has {})", list.empty() ? "" : ", ", name, text(ours), text(theirs));
  };
  for (auto const& item : ours.items()) differs(item.key());
  for (auto const& item : theirs.items())
    if (!ours.contains(item.key())) differs(item.key());
  check(list.empty(), "compare", [&] {
    return Complaint{fmt::format("'{}' is of another comparison: {}", path, list),
                     "give the options that it began with, or another --out"};
  });
}

void Journal::load(std::string const& text) {
  size_t from = 0;
  for (size_t end; (end = text.find('\n', from)) != text.npos; from = end + 1) {
    std::string_view const line(text.data() + from, end - from);
    try {
      auto json = nlohmann::json::parse(line);
      if (from == 0)
        head_ = std::move(json);
      else
        outcomes_.push_back(outcome_from_json(json));
    } catch (nlohmann::json::exception const& error) {
      fail("compare", {fmt::format("a line of '{}' cannot be read: {}", path_, error.what()),
                       "use a journal that heed-lab compare wrote, or another --out"});
    }
  }
  whole_ = from;
}

std::string journal_of(std::string const& directory) { return directory + "/journal.jsonl"; }

Journal::Journal(std::string path, nlohmann::json head) : path_(std::move(path)) {
  if (std::filesystem::exists(path_)) load(read_file(path_));
  if (whole_ == 0) {
    write_file_atomically(path_, head.dump() + "\n");
    head_ = std::move(head);
    return;
  }
  check_same(head, head_, path_);
  if (whole_ < std::filesystem::file_size(path_)) std::filesystem::resize_file(path_, whole_);
}

Journal Journal::read(std::string const& path) {
  Journal journal;
  journal.path_ = path;
  journal.load(read_file(path));
  check(journal.whole_ > 0, "compare", [&] {
    return Complaint{fmt::format("'{}' is no journal", path), "name an --out folder of heed-lab compare"};
  });
  return journal;
}

Outcome const* Journal::find(Trial const& trial) const {
  auto const found = std::find_if(outcomes_.begin(), outcomes_.end(),
                                  [&](Outcome const& o) { return !(o.trial < trial) && !(trial < o.trial); });
  return found == outcomes_.end() ? nullptr : &*found;
}

void Journal::append(Outcome outcome) {
  std::string const line = to_json(outcome).dump() + "\n";
  int const file = open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  bool const written = file >= 0 && ::write(file, line.data(), line.size()) == ssize_t(line.size()) && fsync(file) == 0;
  int const code = errno;
  if (file >= 0) close(file);
  check(written, "compare", [&] {
    return Complaint{fmt::format("'{}' cannot be written to: {}", path_, std::strerror(code)),
                     "free space on the disk, or choose another --out"};
  });
  outcomes_.push_back(std::move(outcome));
}

}  // namespace lab
