// PTX text as nvcc writes it, taken apart: kernels, their parameters, memory and
// instructions. Every operand becomes the number of a register slot; constants and special registers have slots as
// well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ptx {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// 32 lanes of one register, in 64 bits each: narrower values are kept with zeros or copies of the sign above.
struct alignas(64) Lanes {
  uint64_t of[32];
};

/// Address spaces. Shared and local memory lie in windows of the generic space; an address in one of them is an offset.
enum class Space : uint8_t { generic, global, shared, local, param };

struct Operand {
  int slot = -1;       // of the register; -1: none
  int64_t offset = 0;  // of an address: [register + offset]
  bool inverted = false;
};

class Machine;
struct Warp;
struct Instruction;
using Handler = void (*)(Machine&, Warp&, Instruction const&, uint32_t active);

/// What the scheduler has to know of an instruction.
enum class Control : uint8_t { plain, branch, exit, barrier, together };

struct Instruction {
  Handler run = nullptr;
  Control control = Control::plain;
  Operand guard;
  int target = -1;                // of a branch
  int members = -1;               // slot of the mask of a warp operation; -1: all 32 lanes
  std::vector<Operand> operand;   // flat: {%r1, %r2} are two
  std::vector<int> first;         // the place in `operand` of each written operand
  std::vector<std::string> part;  // of the opcode: "ld", "global", "f32"
  // What the handlers of memory operations and conversions read.
  Space space = Space::generic;
  int bytes = 0, count = 1, detail = 0;
  std::string text;
  int line = 0;

  bool has(std::string_view name) const;
  Operand const& at(int written, int within = 0) const { return operand[size_t(first[size_t(written)] + within)]; }
};

struct Variable {
  size_t offset = 0, bytes = 0;
};

struct Kernel {
  std::string name;  // as the linker sees it
  std::vector<Instruction> code;
  std::map<std::string, Variable> parameters, shared, local;
  std::vector<Variable> parameter;  // in order
  size_t parameter_bytes = 0, shared_bytes = 0, local_bytes = 0;
  unsigned most_threads = 0;  // by __launch_bounds__; 0: not given
  int slots = 0;
  std::vector<std::pair<int, uint64_t>> constants;
  std::vector<std::pair<int, std::string>> specials;  // "%tid.x"
};

/// A function of the module's: calls of it are replaced by its body.
struct Function {
  std::vector<std::string> results, parameters;  // declarations
  std::string body;
  int line = 0;
};

class Module {
 public:
  explicit Module(std::string text);
  /// The kernel whose mangled name holds `name`. Instructions are understood here: an unknown one throws.
  Kernel kernel(std::string_view name) const;
  std::vector<std::string> names() const;
  /// Variables of the module: its constants and tables.
  std::map<std::string, std::vector<uint8_t>> const& data() const { return data_; }

 private:
  struct Entry {
    std::string name, parameters, directives, body;
    int line;
  };
  std::vector<Entry> entries_;
  std::map<std::string, Function> functions_;
  std::map<std::string, std::vector<uint8_t>> data_;
  std::vector<std::string> shared_;   // declarations outside of kernels
  std::vector<std::string> dynamic_;  // names of the shared memory that the launch sizes
};

/// Sets run, control and what else follows from the opcode; throws on one that is not known. (instructions.cpp)
void understand(Instruction& instruction);

}  // namespace ptx
