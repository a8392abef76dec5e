#include "shared_journal.h"

#include <fmt/format.h>
#include <heed/engine/engine.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <sstream>

namespace lab {

using namespace heed;

std::vector<int> shares_of(std::vector<double> const& seconds, int ranks) {
  std::vector<size_t> order(seconds.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return seconds[a] > seconds[b]; });
  std::vector<double> load(size_t(ranks), 0);
  std::vector<int> share(seconds.size());
  for (size_t job : order) {
    auto const least = std::min_element(load.begin(), load.end());
    share[job] = int(least - load.begin());
    *least += seconds[job];
  }
  return share;
}

namespace {

std::string path_of(std::string const& directory, int rank) {
  return rank == 0 ? directory + "/journal.jsonl" : fmt::format("{}/journal-{}.jsonl", directory, rank);
}

/// The text of every rank.
std::vector<std::string> texts_of_all(distributed::Communicator& ranks, std::string const& mine) {
  Tensor const sizes = ranks.all_gather(tensor(std::vector<int64_t>{int64_t(mine.size())}, {1}));
  std::vector<int64_t> const size = sizes.to_vector<int64_t>();
  int64_t const most = *std::max_element(size.begin(), size.end());
  Tensor const padded = zeros({most}, Dtype::u8);
  std::memcpy(padded.data<uint8_t>(), mine.data(), mine.size());
  Tensor const all = ranks.all_gather(padded);
  std::vector<std::string> texts;
  for (size_t r = 0; r < size.size(); ++r)
    texts.emplace_back(reinterpret_cast<char const*>(all.data<uint8_t>()) + int64_t(r) * most, size_t(size[r]));
  return texts;
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
  std::vector<std::string> const texts = texts_of_all(ranks_, std::exchange(news_, {}));
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
