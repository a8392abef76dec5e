// The journals of ranks that do one comparison together: each writes its own, and all get to know what is in them.
#pragma once

#include <heed/optim/distributed.h>

#include <string>
#include <vector>

#include "journal.h"

namespace lab {

/// DIR/journal.jsonl is rank 0's, which gets what the others found at each meet(); until then that is in
/// DIR/journal-<rank>.jsonl, where a later run finds it, on as many ranks as it likes.
class SharedJournal {
 public:
  /// Opens or begins them, and meets. Every rank calls it.
  SharedJournal(heed::distributed::Communicator& ranks, std::string const& directory, nlohmann::json const& head);
  Journal const& journal() const { return journal_; }
  /// Of a run of this rank.
  void append(Outcome const& outcome);
  /// All ranks know what any has appended, and it is in rank 0's journal.
  void meet();
  /// meet(), after which only rank 0's journal is left.
  void finish();

 private:
  void absorb(std::string const& path);
  heed::distributed::Communicator& ranks_;
  std::string directory_;
  Journal journal_;
  std::string news_;  // lines that the others do not know
};

}  // namespace lab
