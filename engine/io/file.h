// Files: whole or not at all when written, checked at every call when read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace heed {

/// Writes a file that appears under its name only when complete: bytes go to a temporary in the same directory, and
/// commit() renames it. Whatever fails, and whatever is not committed, leaves the file of that name as it was and no
/// temporary. A symbolic link keeps pointing where it does (its target is replaced), an existing file keeps its mode.
/// A device or pipe is written directly. Failures are Errors with the path, the system's reason and a remedy.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(AtomicFile const&) = delete;
  AtomicFile& operator=(AtomicFile const&) = delete;

  void append(std::span<std::byte const> bytes);
  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }
  /// Makes the bytes durable and gives them their name.
  void commit();

 private:
  [[noreturn]] void give_up(int code);
  void discard() noexcept;
  std::string path_, target_;  // as asked for, and with symbolic links followed
  std::string temporary_;      // empty for a device or pipe
  uint64_t written_ = 0;
  int file_ = -1;
};

void write_file_atomically(std::string const& path, std::span<std::byte const> bytes);
inline void write_file_atomically(std::string const& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

/// A regular file open for reading at any place.
class InputFile {
 public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(InputFile const&) = delete;
  InputFile& operator=(InputFile const&) = delete;

  std::string const& path() const noexcept { return path_; }
  /// Bytes when it was opened.
  uint64_t size() const noexcept { return size_; }
  /// Fills `to` from byte `offset` on; an Error where the file ends earlier.
  void read(uint64_t offset, std::span<std::byte> to) const;

 private:
  std::string path_;
  uint64_t size_ = 0;
  int file_ = -1;
};

/// The bytes of a file, pipe or device; an Error where there are more than `limit`.
std::string read_file(std::string const& path, size_t limit = size_t{1} << 32);

}  // namespace heed
