// Reports of what is wrong with a kernel or with the use of the runtime.
#pragma once

#include <string>
#include <vector>

namespace heed::emulator {

std::vector<std::string>& mutable_reports();
/// Keeps it (and prints it, unless Settings::quiet).
void add_report(std::string text);
/// The text for ever, as rt::Status wants it.
char const* interned(std::string const& text);
/// "byte 12 of shared array tile (1024 bytes)".
std::string describe_shared(void const* at);
/// "file.cu:12 (function)" of an instruction, where addr2line is there; "" otherwise.
std::string place(void const* instruction);

}  // namespace heed::emulator
