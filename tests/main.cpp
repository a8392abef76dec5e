// The main() of every test binary: doctest with poisoned buffers, and a last line that tests/run.sh adds up,
// "heed: N passed, N failed, N skipped" (also written to a file in the folder HEED_TEST_RESULTS).
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <heed/engine/storage.h>
#include <heed/tests/support/skip.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

namespace {

struct {
  int passed = 0, failed = 0, skipped = 0;
} counts;
std::string current_case;
std::set<std::string> current_skips;

struct Counter : doctest::IReporter {
  explicit Counter(doctest::ContextOptions const&) {}
  void test_case_start(doctest::TestCaseData const& data) override {
    current_case = data.m_name;
    current_skips.clear();
  }
  void test_case_end(doctest::CurrentTestCaseStats const& stats) override {
    if (!stats.testCaseSuccess)
      ++counts.failed;
    else if (current_skips.empty() || stats.numAssertsCurrentTest > 0)
      ++counts.passed;
    counts.skipped += int(current_skips.size());
  }
  // Cases that a filter left out were not asked for; cases marked doctest::skip() were.
  void test_case_skipped(doctest::TestCaseData const& data) override {
    if (!data.m_skip) return;
    current_case = data.m_name;
    current_skips.clear();
    heed::test::skip("marked so in the source");
    ++counts.skipped;
  }
  void report_query(doctest::QueryData const&) override {}
  void test_run_start() override {}
  void test_run_end(doctest::TestRunStats const&) override {}
  void test_case_reenter(doctest::TestCaseData const&) override {}
  void test_case_exception(doctest::TestCaseException const&) override {}
  void subcase_start(doctest::SubcaseSignature const&) override {}
  void subcase_end() override {}
  void log_assert(doctest::AssertData const&) override {}
  void log_message(doctest::MessageData const&) override {}
};
REGISTER_LISTENER("heed", 1, Counter);

}  // namespace

void heed::test::skip(std::string_view reason) {
  if (current_skips.emplace(reason).second)
    std::printf("[skipped] %s: %.*s\n", current_case.c_str(), int(reason.size()), reason.data());
}

int main(int argc, char** argv) {
  char const* const poison = std::getenv("HEED_POISON");
  heed::set_poison(!poison || std::string(poison) != "0");

  doctest::Context context(argc, argv);
#if defined(HEED_NO_EMULATED_DEVICE)
  context.addFilter("test-case-exclude", "*emulated accelerator*");
#endif
  int status = context.run();
  if (context.shouldExit()) return status;

  heed::release_cached_memory();
  if (size_t const violations = heed::guard_violations()) {
    std::printf("[failed] %zu writes outside a buffer\n", violations);
    ++counts.failed;
    status = 1;
  }
  std::string const line = "heed: " + std::to_string(counts.passed) + " passed, " + std::to_string(counts.failed) +
                           " failed, " + std::to_string(counts.skipped) + " skipped";
  std::puts(line.c_str());
  if (char const* const folder = std::getenv("HEED_TEST_RESULTS")) {
    std::string const program = argv[0];
    std::ofstream(std::string(folder) + "/" + program.substr(program.rfind('/') + 1)) << line << '\n';
  }
  return status;
}
