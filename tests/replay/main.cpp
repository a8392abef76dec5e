// heed-replay: runs frozen calls of PyTorch (README.md) and says which ones heed does otherwise.
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

#include "replay.h"

namespace heed::replay {
namespace {

constexpr unsigned longest_case = 120;  // seconds
constexpr char usage[] =
    "heed-replay [--by-op] [--table] [--json FILE] [--verbose] [--jobs N] DIR…: runs every *.safetensors under DIR and "
    "compares with what "
    "PyTorch gave.\n"
    "  --by-op    a table by op: cases, passed, failed, skipped\n"
    "  --table    of special values: a row an op, a column a value, and what differs from PyTorch\n"
    "  --json F   the table as JSON into the file F too\n"
    "  --verbose  also a line for each case that passed or was skipped\n"
    "  --jobs N   processes (default: as many as processors)\n"
    "  --list     the ops it knows, and nothing else\n"
    "One line per failure, then \"N passed, N failed, N skipped\": skipped is what heed lacks, by op or type.\n"
    "The exit status is 1 if a case failed, 2 if there was none.\n";

struct Options {
  std::vector<std::string> folders;
  bool by_op = false, table = false, verbose = false, list = false;
  std::string json;
  unsigned jobs = std::max(1U, std::thread::hardware_concurrency());
};

[[noreturn]] void misused(std::string const& problem) {
  fmt::print(stderr, "heed-replay: {}. Remedy: see --help.\n", problem);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    std::string const word = argv[i];
    if (word == "--help" || word == "-h") {
      std::fputs(usage, stdout);
      std::exit(0);
    } else if (word == "--by-op") {
      options.by_op = true;
    } else if (word == "--table") {
      options.table = true;
    } else if (word == "--json") {
      if (i + 1 == argc) misused("--json: expected a file");
      options.json = argv[++i];
      options.table = true;
    } else if (word == "--verbose") {
      options.verbose = true;
    } else if (word == "--list") {
      options.list = true;
    } else if (word == "--jobs") {
      int const jobs = i + 1 < argc ? std::atoi(argv[++i]) : 0;
      if (jobs < 1 || jobs > 256) misused("--jobs: expected a number from 1 to 256");
      options.jobs = unsigned(jobs);
    } else if (word.starts_with("--")) {
      misused(fmt::format("unknown option {}", word));
    } else {
      options.folders.push_back(word);
    }
  }
  if (options.folders.empty() && !options.list) misused("expected a folder of cases");
  return options;
}

std::vector<std::string> case_files(std::vector<std::string> const& folders) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (auto const& folder : folders) {
    std::error_code error;
    if (fs::is_regular_file(folder, error)) {
      files.push_back(folder);
      continue;
    }
    fs::recursive_directory_iterator entries(folder, error);
    if (error) misused(fmt::format("{}: {}", folder, error.message()));
    for (auto const& entry : entries)
      if (entry.path().extension() == ".safetensors" && entry.is_regular_file(error))
        files.push_back(entry.path().string());
  }
  std::ranges::sort(files);
  return files;
}

/// What the processes share: where each of them is, and which case comes next.
struct Board {
  std::atomic<size_t> next;
  std::atomic<size_t> at[256];
};

constexpr std::string Verdict::*texts[] = {&Verdict::op,    &Verdict::reason, &Verdict::type, &Verdict::special,
                                           &Verdict::where, &Verdict::row,    &Verdict::gave};

/// The work of one process: cases until there are none, each result as "length index kind" and its texts.
void work(std::vector<std::string> const& files, Board& board, unsigned me, int out) {
  signal(SIGALRM, SIG_DFL);
  while (true) {
    size_t const i = board.next.fetch_add(1);
    board.at[me] = i;
    if (i >= files.size()) break;
    alarm(longest_case);
    Verdict const verdict = judge(files[i]);
    alarm(0);
    std::string body(sizeof i + 1, '\0');
    std::memcpy(body.data(), &i, sizeof i);
    body[sizeof i] = char(verdict.kind + (verdict.of_two_minds ? 4 : 0));
    for (auto const field : texts) body += verdict.*field + '\0';
    auto const length = uint32_t(body.size());
    body.insert(0, reinterpret_cast<char const*>(&length), sizeof length);
    for (size_t sent = 0; sent < body.size();) {
      ssize_t const n = write(out, body.data() + sent, body.size() - sent);
      if (n < 0) _exit(3);
      sent += size_t(n);
    }
  }
  _exit(0);
}

struct Worker {
  pid_t process = -1;
  int pipe = -1;
  std::string unread;
};

/// Several processes, so that a crash in one case is that case's failure and no more.
class Pool {
 public:
  Pool(std::vector<std::string> const& files, unsigned jobs) : files_(files), verdicts_(files.size()) {
    void* const shared = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) throw std::runtime_error("no memory to share");
    board_ = new (shared) Board{};
    workers_.resize(std::clamp<size_t>(files.size(), 1, jobs));
    for (auto& verdict : verdicts_) {
      verdict.kind = Verdict::failed;
      verdict.reason = "the case did not run";
    }
  }

  std::vector<Verdict> run() {
    for (unsigned i = 0; i < workers_.size(); ++i) start(i);
    while (true) {
      std::vector<pollfd> waits;
      std::vector<unsigned> who;
      for (unsigned i = 0; i < workers_.size(); ++i)
        if (workers_[i].pipe >= 0) {
          waits.push_back({workers_[i].pipe, POLLIN, 0});
          who.push_back(i);
        }
      if (waits.empty()) return std::move(verdicts_);
      poll(waits.data(), waits.size(), -1);
      for (size_t k = 0; k < waits.size(); ++k)
        if (waits[k].revents != 0) listen(who[k]);
    }
  }

 private:
  void start(unsigned i) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("no pipe");
    pid_t const process = fork();
    if (process < 0) throw std::runtime_error("no process");
    if (process == 0) {
      close(ends[0]);
      work(files_, *board_, i, ends[1]);
    }
    close(ends[1]);
    workers_[i] = {process, ends[0], {}};
  }

  void listen(unsigned i) {
    Worker& worker = workers_[i];
    char buffer[1 << 16];
    ssize_t const n = ::read(worker.pipe, buffer, sizeof buffer);
    if (n > 0) {
      worker.unread.append(buffer, size_t(n));
      while (take(worker.unread)) {
      }
      return;
    }
    close(worker.pipe);
    worker.pipe = -1;
    int status = 0;
    waitpid(worker.process, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    size_t const at = board_->at[i];
    if (at < verdicts_.size())
      verdicts_[at].reason = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
                                 ? fmt::format("stopped after {} seconds", longest_case)
                             : WIFSIGNALED(status) ? fmt::format("crashed: {}", strsignal(WTERMSIG(status)))
                                                   : fmt::format("crashed: exit status {}", WEXITSTATUS(status));
    if (board_->next < files_.size()) start(i);
  }

  /// Moves one whole record to the verdicts.
  bool take(std::string& bytes) {
    uint32_t length = 0;
    if (bytes.size() < sizeof length) return false;
    std::memcpy(&length, bytes.data(), sizeof length);
    if (bytes.size() < sizeof length + length) return false;
    std::string const body = bytes.substr(sizeof length, length);
    bytes.erase(0, sizeof length + length);
    size_t index = 0;
    std::memcpy(&index, body.data(), sizeof index);
    Verdict& verdict = verdicts_[index];
    verdict.kind = Verdict::Kind(body[sizeof index] % 4);
    verdict.of_two_minds = body[sizeof index] >= 4;
    size_t from = sizeof index + 1;
    for (auto const field : texts) {
      size_t const end = body.find('\0', from);
      verdict.*field = body.substr(from, end - from);
      from = end + 1;
    }
    return true;
  }

  std::vector<std::string> const& files_;
  std::vector<Verdict> verdicts_;
  std::vector<Worker> workers_;
  Board* board_;
};

struct Count {
  size_t passed = 0, failed = 0, skipped = 0;
  void add(Verdict::Kind kind) { ++(kind == Verdict::passed ? passed : kind == Verdict::failed ? failed : skipped); }
};

/// One line, printable, whatever came from a file.
std::string line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

int report(std::vector<std::string> const& files, std::vector<Verdict> const& verdicts, Options const& options) {
  Count total;
  size_t explained = 0;
  std::map<std::string, Count> by_op;
  std::map<std::string, size_t> lacking;
  for (size_t i = 0; i < files.size(); ++i) {
    Verdict const& v = verdicts[i];
    total.add(v.kind);
    by_op[v.op].add(v.kind);
    if (v.kind == Verdict::skipped) ++lacking[v.reason];
    if (v.kind == Verdict::failed) {
      auto const why = known(v);
      if (!why.empty()) ++explained;
      fmt::print("FAILED {}: {}{}{}\n", files[i], line(v.op.empty() ? v.reason : v.op + ": " + v.reason),
                 why.empty() ? "" : "; known: ", why);
    } else if (options.verbose)
      fmt::print("{} {}: {}\n", v.kind == Verdict::passed ? "passed" : "skipped", files[i],
                 line(v.op + (v.reason.empty() ? "" : ": " + v.reason)));
  }
  if (options.by_op) {
    fmt::print("{:>7} {:>7} {:>7} {:>7}  op\n", "cases", "passed", "failed", "skipped");
    for (auto const& [op, c] : by_op)
      fmt::print("{:>7} {:>7} {:>7} {:>7}  {}\n", c.passed + c.failed + c.skipped, c.passed, c.failed, c.skipped,
                 op.empty() ? "(not a case)" : line(op));
  }
  for (auto const& [what, count] : lacking) fmt::print("skipped {} cases: heed lacks {}\n", count, line(what));
  if (explained > 0) fmt::print("{} of the failed have a known reason\n", explained);
  fmt::print("{} passed, {} failed, {} skipped\n", total.passed, total.failed, total.skipped);
  return total.failed == 0 ? 0 : 1;
}

int run(Options const& options) {
  if (options.list) {
    for (auto const& op : all_ops()) fmt::print("{}\n", op);
    return 0;
  }
  auto const files = case_files(options.folders);
  if (files.empty()) misused("no *.safetensors under " + options.folders[0]);
  setenv("HEED_THREADS", "1", 0);  // the processes are the parallelism
  auto const verdicts = Pool(files, options.jobs).run();
  if (options.table) return print_table(files, verdicts, options.json) == 0 ? 0 : 1;
  return report(files, verdicts, options);
}

}  // namespace
}  // namespace heed::replay

int main(int argc, char** argv) {
  try {
    return heed::replay::run(heed::replay::parse(argc, argv));
  } catch (std::exception const& error) {
    fmt::print(stderr, "heed-replay: {}\n", error.what());
    return 2;
  }
}
