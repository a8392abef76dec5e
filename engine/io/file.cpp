#include <fcntl.h>
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

namespace heed {
namespace {

constexpr size_t piece = size_t{1} << 30;  // Linux moves less than 2 GiB a call
constexpr int max_links = 40;

std::string_view remedy(int code, bool writing) {
  switch (code) {
    case ENOSPC:
    case EDQUOT:
      return "free space or choose another directory";
    case EFBIG:
      return "raise the limit on file sizes (ulimit -f) or choose another file system";
    case EACCES:
    case EPERM:
      return writing ? "make the file and its directory writable or choose another path"
                     : "ask for permission to read it";
    case EROFS:
      return "choose a directory on a file system that can be written";
    case ENOENT:
      return writing ? "create the directory first or correct the path" : "correct the path";
    case ENOTDIR:
      return "correct the path: a name before the last is not a directory";
    case EISDIR:
      return "name a file inside the directory";
    case ELOOP:
      return "correct the symbolic links: they go in a circle";
    case ENAMETOOLONG:
      return "choose a shorter name";
    case EMFILE:
    case ENFILE:
      return "close files or raise the limit on open ones (ulimit -n)";
    default:
      return "check the disk and the path";
  }
}

[[noreturn]] void fail_writing(std::string const& path, int code) {
  fail("write_file", {fmt::format("cannot write {}: {}", path, std::generic_category().message(code)),
                      std::string(remedy(code, true))});
}

[[noreturn]] void fail_reading(std::string const& path, int code) {
  fail("read_file", {fmt::format("cannot read {}: {}", path, std::generic_category().message(code)),
                     std::string(remedy(code, false))});
}

void check_path(std::string_view op, std::string const& path) {
  check(!path.empty() && path.find('\0') == path.npos, op, [&] {
    return Complaint{path.empty() ? "expected a path, got an empty one" : "expected a path, got one with a zero byte",
                     "pass the name of a file"};
  });
}

/// Some devices and file systems have nothing to synchronise and say so.
int synchronise(int file) {
  if (fsync(file) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS) return 0;
  return errno;
}

/// `path` with the links at its end followed, also where the last target does not exist yet.
std::filesystem::path follow(std::filesystem::path path, int& code) {
  std::error_code none;
  for (int i = 0; i < max_links; ++i) {
    auto const link = std::filesystem::read_symlink(path, none);
    if (none) return path;
    path = path.parent_path() / link;
  }
  code = ELOOP;
  return path;
}

std::filesystem::path directory_of(std::filesystem::path const& target) {
  return target.has_parent_path() ? target.parent_path() : std::filesystem::path(".");
}

struct Descriptor {
  int file;
  ~Descriptor() {
    if (file >= 0) close(file);
  }
};

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  check_path("write_file", path_);
  struct stat existing = {};
  bool const exists = stat(path_.c_str(), &existing) == 0;
  if (!exists && errno != ENOENT) fail_writing(path_, errno);
  if (exists && S_ISDIR(existing.st_mode)) fail_writing(path_, EISDIR);
  if (exists && !S_ISREG(existing.st_mode)) {  // renaming a file over a device would destroy the device
    file_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (file_ < 0) fail_writing(path_, errno);
    return;
  }
  // rename() would replace a write-protected file.
  if (exists && faccessat(AT_FDCWD, path_.c_str(), W_OK, AT_EACCESS) != 0) fail_writing(path_, errno);

  int code = 0;
  auto const target = follow(path_, code);
  if (code) fail_writing(path_, code);
  target_ = target.string();
  // 180 bytes of the name leave room for the rest within the usual 255.
  static std::atomic<unsigned> serial{0};
  auto const stem = fmt::format(".{}.{}", target.filename().string().substr(0, 180), getpid());
  do {
    temporary_ = (directory_of(target) / fmt::format("{}-{}.tmp", stem, serial++)).string();
    file_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (file_ < 0 && errno == EEXIST);
  if (file_ < 0) {
    code = errno;
    temporary_.clear();
    fail_writing(path_, code);
  }
  if (exists && fchmod(file_, existing.st_mode & 0777) != 0) give_up(errno);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::append(std::span<std::byte const> bytes) {
  check(file_ >= 0, "write_file", [&] {
    return Complaint{fmt::format("{} is already committed or given up", path_), "append before commit()"};
  });
  while (!bytes.empty()) {
    ssize_t const done = write(file_, bytes.data(), std::min(bytes.size(), piece));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) give_up(done < 0 ? errno : ENOSPC);
    written_ += uint64_t(done);
    bytes = bytes.subspan(size_t(done));
  }
}

void AtomicFile::commit() {
  check(file_ >= 0, "write_file", [&] {
    return Complaint{fmt::format("{} is already committed or given up", path_), "commit once"};
  });
  if (int const code = synchronise(file_)) give_up(code);
  int const file = file_;
  file_ = -1;
  // Linux closes the descriptor even where it reports EINTR.
  if (close(file) != 0 && errno != EINTR) give_up(errno);
  if (temporary_.empty()) return;
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) give_up(errno);
  temporary_.clear();
  // The name is durable once its directory is. One that may be written but not read cannot be synchronised.
  Descriptor const directory{open(directory_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.file < 0) return;
  int const code = synchronise(directory.file);
  check(code == 0, "write_file", [&] {
    return Complaint{fmt::format("{} is written, but its directory cannot be synchronised: {}", path_,
                                 std::generic_category().message(code)),
                     "check the disk and write it again"};
  });
}

void AtomicFile::give_up(int code) {
  discard();
  fail("write_file",
       {fmt::format("cannot write {} after {} bytes: {}", path_, written_, std::generic_category().message(code)),
        std::string(remedy(code, true))});
}

void AtomicFile::discard() noexcept {
  if (file_ >= 0) close(file_);
  file_ = -1;
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

void write_file_atomically(std::string const& path, std::span<std::byte const> bytes) {
  AtomicFile file(path);
  file.append(bytes);
  file.commit();
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  check_path("read_file", path_);
  Descriptor opened{open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a pipe must not block here
  struct stat found = {};
  if (opened.file < 0 || fstat(opened.file, &found) != 0) fail_reading(path_, errno);
  if (S_ISDIR(found.st_mode)) fail_reading(path_, EISDIR);
  check(S_ISREG(found.st_mode), "read_file", [&] {
    return Complaint{fmt::format("expected a file, {} is a device or pipe", path_), "copy it to a file first"};
  });
  size_ = uint64_t(found.st_size);
  std::swap(file_, opened.file);
}

InputFile::~InputFile() { close(file_); }

void InputFile::read(uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    ssize_t const done = pread(file_, to.data(), std::min(to.size(), piece), off_t(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_reading(path_, errno);
    check(done > 0, "read_file", [&] {
      return Complaint{fmt::format("expected {} more bytes at byte {} of {}, got its end (it had {} bytes when opened)",
                                   to.size(), offset, path_, size_),
                       "read it when nobody writes it, or copy it again"};
    });
    offset += uint64_t(done);
    to = to.subspan(size_t(done));
  }
}

std::string read_file(std::string const& path, size_t limit) {
  check_path("read_file", path);
  auto const check_limit = [&](bool within) {
    check(within, "read_file", [&] {
      return Complaint{fmt::format("expected at most {} bytes, {} has more", limit, path), "name a smaller file"};
    });
  };
  Descriptor const file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat found = {};
  if (file.file < 0 || fstat(file.file, &found) != 0) fail_reading(path, errno);
  if (S_ISREG(found.st_mode)) check_limit(uint64_t(found.st_size) <= limit);

  // Files of /proc claim a size of 0, and any file may grow meanwhile: the end alone says how much there is.
  std::string text;
  size_t have = 0, step = (S_ISREG(found.st_mode) ? size_t(found.st_size) : 0) + 4096;
  while (true) {
    if (have == text.size()) text.resize(have + std::max(step, have / 2));
    ssize_t const done = ::read(file.file, text.data() + have, std::min(text.size() - have, piece));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_reading(path, errno);
    if (done == 0) break;
    have += size_t(done);
    check_limit(have <= limit);
    step = 65536;
  }
  text.resize(have);
  return text;
}

}  // namespace heed
