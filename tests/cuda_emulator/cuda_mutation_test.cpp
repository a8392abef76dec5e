// Plants each bug of samples.h and sees what this build notices: once in order, and with ten seeds. Each runs in a
// process of its own, for AddressSanitizer ends it. Prints "mutation|build|bug|in order|of ten seeds|report", from
// which run.sh makes a table. The race build must notice all.
#include <control.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "samples.h"

namespace samples = heed::samples;

namespace {

#if defined(HEED_EMU_RACE)
constexpr char const* build = "race";
#elif defined(__SANITIZE_ADDRESS__)
constexpr char const* build = "asan";
#else
constexpr char const* build = "plain";
#endif

/// What a child notices; "" for nothing.
std::string noticed(samples::Bug bug, uint64_t seed) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  std::fflush(nullptr);
  pid_t const child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    dup2(ends[1], 2);
    heed::emu::settings().quiet = true;
    heed::emu::settings().seed = seed;
    std::string text = samples::run(bug);
    if (text.empty() && !heed::emu::reports().empty()) text = heed::emu::reports().front();
    std::printf("%s\n", text.c_str());
    std::fflush(nullptr);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char part[1000];
  for (ssize_t count; (count = read(ends[0], part, sizeof part)) > 0;) text.append(part, size_t(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  // Of a sanitizer's report, the line that says what.
  for (char const* const mark : {"ERROR: AddressSanitizer: ", "runtime error: "})
    if (size_t const at = text.find(mark); at != std::string::npos) text = text.substr(at);
  text = text.substr(0, text.find('\n'));
  if (text.empty() && status != 0) text = "ended with status " + std::to_string(status);
  return text;
}

/// What the race build's report must begin with, behind the kernel and thread.
char const* expected(samples::Bug bug) {
  using enum samples::Bug;
  switch (bug) {
    case global_past_end:
    case shared_overflow:
    case shared_past_end:
    case use_after_release:
      return "out of bounds: ";
    case divergent_barrier:
    case divergent_shuffle:
      return "divergence: ";
    case missing_barrier:
    case wait_off_by_one:
    case uninitialised:
      return "uninitialised: ";
    case host_pointer:
      return "host pointer: ";
    case other_device:
      return "another device's memory: ";
    default:
      return "race: ";
  }
}

}  // namespace

TEST_CASE("planted bugs") {
  for (int i = 0; i < int(samples::Bug::count); ++i) {
    auto const bug = samples::Bug(i);
    std::string const name = samples::name_of(bug), text = noticed(bug, 0);
    CAPTURE(name);
    CAPTURE(text);
    int caught = 0;
    for (uint64_t seed = 1; seed <= 10; ++seed) caught += noticed(bug, seed) != "";
    std::printf("mutation|%s|%s|%d|%d|%s\n", build, name.c_str(), text != "", caught, text.c_str());
    if (bug == samples::Bug::none) {
      CHECK(text == "");
      CHECK(caught == 0);
    } else if (heed::emu::checks_accesses()) {
      CHECK(text.find(expected(bug)) != std::string::npos);
      CHECK(caught == 10);
    }
  }
}
