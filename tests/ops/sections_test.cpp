// The catalogue as a whole.
#include <heed/tests/support/op_suite.h>

#include <filesystem>
#include <fstream>
#include <sstream>

using namespace heed::test;

TEST_CASE("every section of the catalogue with an op in it is some file's") {
  std::string all;
  for (auto const& file : std::filesystem::directory_iterator(HEED_SOURCE_DIR "/tests/ops")) {
    std::stringstream text;
    text << std::ifstream(file.path()).rdbuf();
    all += text.str();
  }
  auto const sections = catalogue_sections();
  CHECK(sections.size() > 8);
  for (std::string const& section : sections)
    CHECK_MESSAGE(all.find('"' + section + '"') != std::string::npos, section);
}
