#include "instead.h"

#include <cxxabi.h>
#include <elf.h>
#include <heed/engine/cuda/rt.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>

#include "../memory.h"
#include "machine.h"

namespace ptx {
namespace {

/// Demangled, and without the inline namespace that tells nvcc's build of a kernel from g++'s.
std::string common_name(char const* mangled) {
  int status = 0;
  std::unique_ptr<char, decltype(&std::free)> const text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                         &std::free);
  std::string name = text ? text.get() : mangled;
  for (std::string const level : {"heed::emu::", "heed::emu_level::", "heed::cuda::", "heed::cuda_level::"})
    for (size_t at; (at = name.find(level)) != name.npos;) name.replace(at, level.size(), "heed::");
  return name;
}

struct Function {
  std::string name, file;  // "softmax", where it is local to that file
};

/// This program's functions by address, from its symbol table, where the local ones of a file follow its name.
std::unordered_map<uint64_t, Function> functions() {
  std::ifstream in("/proc/self/exe", std::ios::binary);
  std::vector<char> const file((std::istreambuf_iterator<char>(in)), {});
  uint64_t base = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* to) {
        *static_cast<uint64_t*>(to) = info->dlpi_addr;
        return 1;  // the first is the program
      },
      &base);
  std::unordered_map<uint64_t, Function> result;
  auto const* const header = reinterpret_cast<Elf64_Ehdr const*>(file.data());
  auto const* const sections = reinterpret_cast<Elf64_Shdr const*>(file.data() + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    char const* const names = file.data() + sections[sections[i].sh_link].sh_offset;
    auto const* const symbols = reinterpret_cast<Elf64_Sym const*>(file.data() + sections[i].sh_offset);
    std::string source;
    for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); ++s) {
      char const* const name = names + symbols[s].st_name;
      if (ELF64_ST_TYPE(symbols[s].st_info) == STT_FILE) source = std::filesystem::path(name).stem();
      bool const local = ELF64_ST_BIND(symbols[s].st_info) == STB_LOCAL;
      if (ELF64_ST_TYPE(symbols[s].st_info) == STT_FUNC && symbols[s].st_value)
        result.insert({base + symbols[s].st_value, {name, local ? source : ""}});
    }
  }
  return result;
}

struct Known {
  Module const* module;
  std::string name, file;  // the name mangled
  std::optional<Kernel> kernel;
};

struct State {
  std::vector<std::unique_ptr<Module>> modules;
  std::map<std::string, std::vector<Known>> kernels;
  std::unordered_map<uint64_t, Function> functions;
  std::set<std::string> ran, left;  // kernels
  uint64_t launches = 0, left_launches = 0, failures = 0, instructions = 0;
};
State* state = nullptr;

bool run(heed::Call const& call, heed::rt::Launch const& how, std::string& error) {
  auto const symbol = state->functions.find(reinterpret_cast<uint64_t>(call.kernel));
  std::string const name = symbol == state->functions.end() ? "?" : common_name(symbol->second.name.c_str());
  auto const found = state->kernels.find(name);
  auto const leave = [&](std::string const& why) {
    state->left.insert(name + why);
    ++state->left_launches;
    return false;
  };
  if (found == state->kernels.end()) return leave("");
  // Names local to a file may be there for each, and the folder may lack this one.
  Known* one = name.find("(anonymous namespace)") == name.npos ? &found->second.front() : nullptr;
  for (Known& other : found->second)
    if (other.file == symbol->second.file) one = &other;
  if (!one) return leave("");
  Known& known = *one;
  if (!known.kernel) try {
      known.kernel = known.module->kernel(known.name);
    } catch (Error const& e) {
      return leave(std::string(": ") + e.what());
    }
  ++state->launches;
  state->ran.insert(name);
  Machine machine(*known.module);
  machine.allowed = [](void const* at, size_t bytes) { return heed::emulator::in_live_block(at, bytes); };
  machine.describe = [](void const* at) { return heed::emulator::describe(at); };
  std::vector<std::vector<uint8_t>> arguments;
  for (auto const& argument : call.arguments) {
    auto const* const at = static_cast<uint8_t const*>(call.values.get()) + argument.offset;
    arguments.emplace_back(at, at + argument.bytes);
  }
  try {
    machine.start(*known.kernel,
                  {{how.grid.x, how.grid.y, how.grid.z}, {how.block.x, how.block.y, how.block.z}, how.shared},
                  arguments);
  } catch (Error const& e) {
    error = std::string("PTX: ") + e.what();
    ++state->failures;
    std::fprintf(stderr, "%s\n", error.c_str());
  }
  state->instructions += machine.counters.lane_instructions;
  return true;
}

void report() {
  std::fprintf(stderr,
               "PTX: %llu launches of %zu kernels, %llu failed, %llu instructions of threads; %llu launches of %zu "
               "kernels left to the emulator\n",
               static_cast<unsigned long long>(state->launches), state->ran.size(),
               static_cast<unsigned long long>(state->failures), static_cast<unsigned long long>(state->instructions),
               static_cast<unsigned long long>(state->left_launches), state->left.size());
  for (std::string const& name : state->left) std::fprintf(stderr, "    left: %s\n", name.c_str());
}

}  // namespace

void run_kernels_of(std::string const& folder) {
  state = new State;  // lives until the report
  state->functions = functions();
  for (auto const& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".ptx") continue;
    std::ifstream in(entry.path());
    auto& module =
        state->modules.emplace_back(std::make_unique<Module>(std::string(std::istreambuf_iterator<char>(in), {})));
    for (std::string const& name : module->names())
      state->kernels[common_name(name.c_str())].push_back({module.get(), name, entry.path().stem(), std::nullopt});
  }
  heed::instead = run;
  std::atexit(report);
}

}  // namespace ptx
