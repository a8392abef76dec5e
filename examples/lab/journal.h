// The journal of a comparison: one JSON line a finished run, so that it can stop anywhere and go on.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trial.h"

namespace lab {

/// Where a comparison's folder has it.
std::string journal_of(std::string const& directory);

class Journal {
 public:
  /// Opens or begins `path`. `head` is what all runs share; an Error that names the differences where the file began
  /// with another. A last line that was cut off is dropped.
  Journal(std::string path, nlohmann::json head);
  /// Reads one without changing it.
  static Journal read(std::string const& path);

  nlohmann::json const& head() const { return head_; }
  std::vector<Outcome> const& outcomes() const { return outcomes_; }
  Outcome const* find(Trial const& trial) const;
  /// One write of one line, on the disk when it returns.
  void append(Outcome outcome);
  /// Adds one that stands in another journal.
  void add(Outcome outcome) { outcomes_.push_back(std::move(outcome)); }

 private:
  Journal() = default;
  void load(std::string const& text);
  std::string path_;
  nlohmann::json head_;
  std::vector<Outcome> outcomes_;
  size_t whole_ = 0;  // bytes of whole lines
};

/// An Error that lists what differs, as "training.steps (100, the journal has 60)".
void check_same(nlohmann::json const& head, nlohmann::json const& journal, std::string const& path);

}  // namespace lab
