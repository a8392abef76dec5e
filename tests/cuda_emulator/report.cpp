#include "report.h"

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <set>

#include "checker.h"
#include "control.h"

namespace heed::emulator {

using emu::settings;

namespace {
std::vector<std::string>& all_reports = *new std::vector<std::string>;
}

void add_report(std::string text) {
  if (!settings().quiet) std::fprintf(stderr, "emulator: %s\n", text.c_str());
  all_reports.push_back(std::move(text));
}

std::vector<std::string>& mutable_reports() { return all_reports; }

char const* interned(std::string const& text) {
  static auto& texts = *new std::set<std::string>;
  return texts.insert(text).first->c_str();
}

std::string place(void const* instruction) {
  Dl_info info;
  if (!instruction || !dladdr(instruction, &info) || !info.dli_fname) return "";
  char command[1200];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' %#zx 2>/dev/null", info.dli_fname,
                size_t(static_cast<char const*>(instruction) - static_cast<char const*>(info.dli_fbase)) - 1);
  std::FILE* const pipe = popen(command, "r");
  if (!pipe) return "";
  // The innermost lines come first; those of the emulator's own headers are passed over.
  std::string text;
  char line[1000];
  while (std::fgets(line, sizeof line, pipe)) {
    std::string const full = line;
    if (full.find('?') != std::string::npos || full.find("cuda_emulator/emulator.h") != std::string::npos) continue;
    std::string const name = full.substr(full.rfind('/') + 1, full.find_first_of(" \n") - full.rfind('/') - 1);
    if (text.empty()) text = name;
  }
  pclose(pipe);
  return text;
}

}  // namespace heed::emulator

namespace heed {
inline namespace emu {
bool checks_accesses() { return emulator::checker::looks; }
std::vector<std::string> const& reports() { return emulator::mutable_reports(); }
}  // namespace emu
}  // namespace heed
