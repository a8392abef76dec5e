#include "shared_journal.h"

#include <fmt/format.h>
#include <heed/optim/distributed/gathered.h>

#include <charconv>
#include <filesystem>
#include <sstream>
#include <utility>

namespace lab {

using namespace heed;

namespace {

std::string path_of(std::string const& directory, int rank) {
  return rank == 0 ? journal_of(directory) : fmt::format("{}/journal-{}.jsonl", directory, rank);
}

}  // namespace

SharedJournal::SharedJournal(distributed::Communicator& ranks, std::string const& directory, nlohmann::json const& head)
    : ranks_(ranks), directory_(directory), journal_(path_of(directory, ranks.rank()), head) {
  for (Outcome const& outcome : journal_.outcomes()) news_ += to_json(outcome).dump() + "\n";
  // What a run on more ranks left behind.
  if (ranks.rank() == 0)
    for (auto const& entry : std::filesystem::directory_iterator(directory)) {
      std::string const name = entry.path().filename().string();
      int rank = 0;
      if (!name.starts_with("journal-")) continue;
      auto const [end, error] = std::from_chars(name.data() + 8, name.data() + name.size(), rank);
      if (error == std::errc() && std::string_view(end) == ".jsonl" && rank >= ranks.size()) absorb(entry.path());
    }
  meet();
}

void SharedJournal::absorb(std::string const& path) {
  Journal const part = Journal::read(path);
  check_same(journal_.head(), part.head(), path);
  for (Outcome const& outcome : part.outcomes())
    if (!journal_.find(outcome.trial)) append(outcome);
  std::filesystem::remove(path);
}

void SharedJournal::append(Outcome const& outcome) {
  journal_.append(outcome);
  news_ += to_json(outcome).dump() + "\n";
}

void SharedJournal::meet() {
  if (ranks_.size() == 1) return;
  std::vector<std::string> const texts = distributed::gathered(ranks_, std::exchange(news_, {}));
  for (int r = 0; r < ranks_.size(); ++r) {
    if (r == ranks_.rank()) continue;
    std::istringstream lines(texts[size_t(r)]);
    for (std::string line; std::getline(lines, line);) {
      Outcome outcome = outcome_from_json(nlohmann::json::parse(line));
      if (journal_.find(outcome.trial)) continue;
      if (ranks_.rank() == 0)
        journal_.append(std::move(outcome));
      else
        journal_.add(std::move(outcome));
    }
  }
}

void SharedJournal::finish() {
  meet();
  ranks_.barrier();  // rank 0 has written
  if (ranks_.rank() > 0) std::filesystem::remove(path_of(directory_, ranks_.rank()));
}

}  // namespace lab
