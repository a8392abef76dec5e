// Files are whole or absent, and no file, however broken, gives anything but tensors or heed::Error.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <heed/engine/error.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/safetensors.h>
#include <heed/engine/ops.h>
#include <heed/engine/random.h>
#include <heed/engine/storage.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

using namespace heed;
using namespace std::string_literals;
namespace fs = std::filesystem;

namespace {

/// A directory of its own for each test, gone afterwards.
struct Directory {
  fs::path path;
  Directory() {
    std::string name = (fs::temp_directory_path() / "heed-io-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()));
    path = name;
  }
  ~Directory() { fs::remove_all(path); }
  std::string operator/(std::string const& name) const { return (path / name).string(); }
  size_t entries() const { return size_t(std::distance(fs::directory_iterator(path), fs::directory_iterator())); }
};

std::span<std::byte const> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

void write(std::string const& path, std::string_view text) { write_file_atomically(path, bytes(text)); }

/// The message of the heed::Error that `action` throws; empty where it throws none.
std::string message_of(std::function<void()> const& action) {
  try {
    action();
  } catch (Error const& error) {
    CHECK_FALSE(error.problem().empty());
    CHECK_FALSE(error.remedy().empty());
    return error.what();
  }
  return "";
}

bool contains(std::string const& text, std::string const& part) { return text.find(part) != text.npos; }

void check_message(std::string const& message, std::vector<std::string> const& parts) {
  CAPTURE(message);
  for (std::string const& part : parts) {
    CAPTURE(part);
    CHECK(contains(message, part));
  }
}

std::string prefix_of(uint64_t length) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &length, 8);
  return out;
}
std::string packed(std::string const& header, std::string const& data = "") {
  return prefix_of(header.size()) + header + data;
}

/// Same name, type, shape and bytes.
void check_same(Tensor const& got, Tensor const& want) {
  CHECK(got.dtype() == want.dtype());
  CHECK(got.shape() == want.shape());
  CHECK(got.is_contiguous());
  CHECK_FALSE(got.requires_grad());
  Tensor const whole = want.detach().contiguous();
  size_t const size = size_t(got.numel()) * size_of(got.dtype());
  CHECK((size == 0 || std::memcmp(got.raw(), whole.raw(), size) == 0));
}

Tensor sample(Shape const& shape, Dtype dtype) {
  Tensor t(shape, dtype);
  dispatch(dtype, [&]<class T>(Type<T>) {
    for (int64_t i = 0; i < t.numel(); ++i) t.data<T>()[i] = T(dtype == Dtype::boolean ? i % 3 == 0 : i * 7 % 251);
  });
  return t;
}

constexpr Dtype all_types[] = {Dtype::f32, Dtype::f64, Dtype::i32, Dtype::i64, Dtype::u8, Dtype::boolean};

}  // namespace

TEST_CASE("a file is replaced as a whole") {
  Directory const dir;
  std::string const path = dir / "a";
  write(path, "first");
  CHECK(read_file(path) == "first");
  write(path, "");
  CHECK(read_file(path) == "");
  std::string big(300000, 'x');
  big[123456] = '\0';
  write(path, big);
  CHECK(read_file(path) == big);

  SUBCASE("appending in parts") {
    AtomicFile file(path);
    file.append("one ");
    file.append(std::string_view{});
    file.append(bytes("two"));
    CHECK(read_file(path) == big);
    file.commit();
    CHECK(read_file(path) == "one two");
    check_message(message_of([&] { file.append("three"); }), {path, "already committed"});
    check_message(message_of([&] { file.commit(); }), {path, "already committed"});
  }
  SUBCASE("nothing without commit") {
    {
      AtomicFile file(path);
      file.append("half");
      CHECK(dir.entries() == 2);
    }
    CHECK(read_file(path) == big);
    { AtomicFile const unborn(dir / "new"); }
    CHECK_FALSE(fs::exists(dir / "new"));
  }
  SUBCASE("two writers of one file do not mix") {
    std::vector<std::thread> threads;
    for (char c : {'a', 'b', 'c', 'd'})
      threads.emplace_back([&, c] {
        for (int i = 0; i < 20; ++i) write(path, std::string(5000, c));
      });
    for (auto& thread : threads) thread.join();
    std::string const got = read_file(path);
    CHECK(got == std::string(5000, got[0]));
  }
  CHECK(dir.entries() == 1);
}

TEST_CASE("a name of the longest length and a relative path can be written") {
  Directory const dir;
  write(dir / std::string(255, 'n'), "x");
  CHECK(read_file(dir / std::string(255, 'n')) == "x");
  auto const before = fs::current_path();
  fs::current_path(dir.path);
  write("relative", "y");
  std::string const got = read_file("relative");
  fs::current_path(before);
  CHECK(got == "y");
  CHECK(dir.entries() == 2);
}

TEST_CASE("replacing keeps the mode, and a new file obeys the umask") {
  Directory const dir;
  auto const mode = [](std::string const& path) {
    struct stat found = {};
    REQUIRE(stat(path.c_str(), &found) == 0);
    return found.st_mode & 07777;
  };
  mode_t const before = umask(027);
  write(dir / "new", "x");
  umask(before);
  CHECK(mode(dir / "new") == 0640);
  for (mode_t wanted : {0600, 0604, 0777}) {
    REQUIRE(chmod((dir / "new").c_str(), wanted) == 0);
    write(dir / "new", "y");
    CHECK(mode(dir / "new") == wanted);
  }
}

TEST_CASE("a symbolic link stays one and its target is replaced") {
  Directory const dir;
  fs::create_directory(dir / "sub");
  write(dir / "sub/target", "old");
  fs::create_symlink("sub/target", dir / "link");
  fs::create_symlink(dir / "link", dir / "link2");
  write(dir / "link2", "new");
  CHECK(fs::is_symlink(dir / "link2"));
  CHECK(fs::is_symlink(dir / "link"));
  CHECK(read_file(dir / "sub/target") == "new");

  fs::create_symlink("sub/unborn", dir / "dangling");
  write(dir / "dangling", "born");
  CHECK(fs::is_symlink(dir / "dangling"));
  CHECK(read_file(dir / "sub/unborn") == "born");

  fs::create_symlink("loop", dir / "loop");
  check_message(message_of([&] { write(dir / "loop", "x"); }), {dir / "loop", "circle"});
}

TEST_CASE("a device or pipe is written, never replaced") {
  Directory const dir;
  std::string const pipe = dir / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  int const end = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(end >= 0);
  write(pipe, "through");
  char some[16] = {};
  // Required before any device is touched: a rename over one would, for root, destroy it on this machine.
  REQUIRE(fs::is_fifo(pipe));
  REQUIRE(::read(end, some, sizeof some) == 7);
  CHECK(std::string_view(some) == "through");
  close(end);
  CHECK(dir.entries() == 1);
  check_message(message_of([&] { load_safetensors(pipe); }), {pipe, "device or pipe"});

  if (fs::is_character_file("/dev/full")) {
    check_message(message_of([] { write("/dev/full", "x"); }), {"/dev/full", "No space left on device", "free space"});
    Safetensors const content = {.tensors = {{"x", ones({3})}}, .metadata = {}};
    check_message(message_of([&] { save_safetensors("/dev/full", content); }),
                  {"/dev/full", "No space left on device", "free space"});
    CHECK(fs::is_character_file("/dev/full"));
  }
}

TEST_CASE("a failed write leaves the old file and nothing else") {
  Directory const dir;
  std::string const path = dir / "a";
  write(path, "old");
  check_message(message_of([&] { write(dir.path.string(), "x"); }), {dir.path.string(), "Is a directory", "inside"});
  check_message(message_of([&] { write(path + "/x", "x"); }), {path + "/x", "Not a directory"});
  check_message(message_of([&] { write(dir / "none/x", "x"); }), {"none/x", "No such file", "create the directory"});
  check_message(message_of([&] { write(dir / std::string(256, 'n'), "x"); }), {"name too long", "shorter"});
  check_message(message_of([&] { write("", "x"); }), {"empty"});
  check_message(message_of([&] { write(path + "\0b"s, "x"); }), {"zero byte"});

  // A limit on the size of files stands in for a full disk: the write fails midway.
  rlimit before = {};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 10000;
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::string const message = message_of([&] { write(path, std::string(20000, 'x')); });
  std::string const checkpoint = message_of([&] {
    save_safetensors(path, {.tensors = {{"w", ones({100, 100})}}, .metadata = {}});
  });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  check_message(message, {path, "after 10000 bytes", "File too large", "ulimit"});
  check_message(checkpoint, {path, "File too large"});

  if (geteuid() != 0) {
    REQUIRE(chmod(path.c_str(), 0400) == 0);
    check_message(message_of([&] { write(path, "x"); }), {path, "Permission denied", "writable"});
    REQUIRE(chmod(dir.path.c_str(), 0500) == 0);
    check_message(message_of([&] { write(dir / "b", "x"); }), {"Permission denied", "writable"});
    REQUIRE(chmod(dir.path.c_str(), 0700) == 0);
  }
  CHECK(read_file(path) == "old");
  CHECK(dir.entries() == 1);
}

TEST_CASE("reading says what is wrong") {
  Directory const dir;
  write(dir / "a", "12345");
  CHECK(read_file(dir / "a", 5) == "12345");
  check_message(message_of([&] { read_file(dir / "a", 4); }), {dir / "a", "at most 4 bytes"});
  check_message(message_of([&] { read_file("/dev/zero", 100000); }), {"/dev/zero", "at most 100000 bytes"});
  check_message(message_of([&] { read_file(dir / "none"); }), {"none", "No such file", "correct the path"});
  check_message(message_of([&] { read_file(dir.path.string()); }), {dir.path.string(), "Is a directory"});
  check_message(message_of([&] { read_file(""); }), {"empty"});
  CHECK_FALSE(read_file("/proc/self/status").empty());

  InputFile const file(dir / "a");
  CHECK(file.size() == 5);
  char some[4] = {};
  file.read(1, std::as_writable_bytes(std::span(some)));
  CHECK(std::string_view(some, 4) == "2345");
  check_message(message_of([&] { file.read(2, std::as_writable_bytes(std::span(some))); }),
                {dir / "a", "1 more bytes"});
  check_message(message_of([&] { InputFile(dir / "none"); }), {"none", "No such file"});
  check_message(message_of([&] { InputFile(dir.path.string()); }), {"Is a directory"});
  check_message(message_of([&] { InputFile("/dev/zero"); }), {"/dev/zero", "device"});
}

TEST_CASE("safetensors keep types, shapes, bytes and metadata") {
  Directory const dir;
  std::string const path = dir / "x.safetensors";
  Safetensors out;
  Shape const shapes[] = {{}, {1}, {0}, {5}, {3, 0, 2}, {2, 3}, {1, 2, 3, 1}, {2, 1, 2, 1, 2, 1, 2, 3}};
  for (Dtype dtype : all_types)
    for (Shape const& shape : shapes)
      out.tensors.emplace_back(std::string(name(dtype)) + to_string(shape), sample(shape, dtype));
  out.metadata = {{"format", "heed"},
                  {"", ""},
                  {"quotes \"\\/", "line\nfeed\ttab\x01 zero\0."s},
                  {"Größe 中文 😀", "\x7f\u00a0\U0010FFFF"},
                  {"__metadata__", "{\"a\": [1]}"}};
  out.tensors.emplace_back("", sample({3}, Dtype::u8));
  out.tensors.emplace_back("weird \"\\\n\0 name ☃"s, sample({3}, Dtype::f32));
  save_safetensors(path, out);

  Safetensors const in = load_safetensors(path);
  CHECK(in.metadata == out.metadata);
  REQUIRE(in.tensors.size() == out.tensors.size());
  for (auto const& [name, want] : out.tensors) {
    CAPTURE(name);
    Tensor const* const got = in.find(name);
    REQUIRE(got);
    check_same(*got, want);
  }
  CHECK_FALSE(in.find("none"));
  CHECK(dir.entries() == 1);

  std::string const text = read_file(path);
  uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  CHECK(length % 8 == 0);
  for (size_t i = 1; i < in.tensors.size(); ++i)
    CHECK(size_of(in.tensors[i - 1].second.dtype()) >= size_of(in.tensors[i].second.dtype()));

  save_safetensors(path, in);  // a fixed point
  CHECK(read_file(path) == text);

  save_safetensors(path, {});
  CHECK(load_safetensors(path).tensors.empty());
  CHECK(load_safetensors(path).metadata.empty());
}

TEST_CASE("safetensors store the elements that a view shows") {
  Directory const dir;
  std::string const path = dir / "x";
  for (Dtype dtype : all_types) {
    Tensor const base = sample({4, 5, 6}, dtype);
    Safetensors const out = {.tensors = {{"transposed", base.transpose(0, 2)},
                                         {"stepped", base.slice(1, 0, 5, 2).slice(2, 1, 6, 3)},
                                         {"expanded", base.select(0, 1).unsqueeze(0).expand({3, 5, 6})},
                                         {"tail", base.select(0, 3)},
                                         {"none", base.slice(0, 2, 2).transpose(0, 1)}},
                             .metadata = {}};
    save_safetensors(path, out);
    Safetensors const in = load_safetensors(path);
    for (size_t i = 0; i < out.tensors.size(); ++i) {
      CHECK(in.tensors[i].first == out.tensors[i].first);
      check_same(in.tensors[i].second, out.tensors[i].second);
    }
  }
  Tensor leaf = sample({2, 3}, Dtype::f32);
  leaf.requires_grad_();
  save_safetensors(path, {.tensors = {{"leaf", leaf.t()}}, .metadata = {}});
  check_same(load_safetensors(path).tensors[0].second, leaf.t());
}

TEST_CASE("the layout of a written file") {
  Directory const dir;
  Tensor a({2}, Dtype::boolean), b({1, 2}, Dtype::i32);
  a.data<bool>()[0] = false;
  a.data<bool>()[1] = true;
  b.data<int32_t>()[0] = 1;
  b.data<int32_t>()[1] = -2;
  save_safetensors(dir / "x", {.tensors = {{"a", a}, {"b", b}}, .metadata = {{"k", "vv"}}});
  std::string header = R"({"__metadata__":{"k":"vv"},"b":{"dtype":"I32","shape":[1,2],"data_offsets":[0,8]},)"
                       R"("a":{"dtype":"BOOL","shape":[2],"data_offsets":[8,10]}})";
  REQUIRE(header.size() % 8 != 0);
  while (header.size() % 8) header += ' ';
  CHECK(read_file(dir / "x") == packed(header, "\1\0\0\0\xfe\xff\xff\xff\0\1"s));
}

TEST_CASE("a file of another writer: spaces, escapes, any order, no alignment") {
  Directory const dir;
  write(dir / "x",
        packed("{ \"n\\u0061\\u00E9\\u4e2d\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\" :\t{\"data_offsets\" : [ 1 "
               ",\n5],\"shape\":[ ],"
               "\"dtype\":\"F32\"},\r\n\"late\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
               "\"void\":{\"dtype\":\"F64\",\"shape\":[7,0],\"data_offsets\":[1,1]}, \"__metadata__\":{}}  \n ",
               "\x2a\0\0\x80\x3f"s));
  Safetensors const in = load_safetensors(dir / "x");
  REQUIRE(in.tensors.size() == 3);
  CHECK(in.tensors[0].first == "naé中😀\"\\/\b\f\n\r\t");
  CHECK(in.tensors[0].second.rank() == 0);
  CHECK(in.tensors[0].second.item<float>() == 1.0f);
  CHECK(in.tensors[1].first == "late");
  CHECK(int(in.tensors[1].second.item<uint8_t>()) == 42);
  CHECK(in.find("void")->shape() == Shape{7, 0});
}

TEST_CASE("a broken or foreign file is refused with the reason") {
  struct Case {
    std::string bytes;
    std::vector<std::string> parts;
  };
  auto const tensor = [](std::string const& fields, std::string const& data) {
    return packed("{\"t\":{" + fields + "}}", data);
  };
  auto const two = [](std::string const& a, std::string const& b, std::string const& data) {
    auto const entry = [](std::string const& offsets) {
      return R"({"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}";
    };
    return packed("{\"a\":" + entry(a) + ",\"b\":" + entry(b) + "}", data);
  };
  std::string const shape_and_offsets = R"("shape":[2],"data_offsets":[0,8])", type = R"("dtype":"F32")";
  std::string const eight(8, 'd');
  std::vector<Case> const cases = {
      // The length
      {"", {"at least 8 bytes", "got 0", "cut short"}},
      {"1234567", {"at least 8 bytes", "got 7"}},
      {prefix_of(0), {"byte 0 of the header", "\"{\"", "its end"}},
      {prefix_of(3) + "{}", {"header of 3 bytes", "holds 2 more", "cut short"}},
      {prefix_of(~uint64_t{0}) + "{}", {"18446744073709551615", "cut short"}},
      {prefix_of(uint64_t{1} << 63) + "{}", {"9223372036854775808"}},
      // Other formats
      {"PK\3\4 archive"s, {"zip", ".pt"}},
      {"\x80\2}q. pickle"s, {"pickle"}},
      {"\x93NUMPY\1\0v\0{'descr'"s, {"NumPy"}},
      {"\x89HDF\r\n\x1a\n"s, {"HDF5"}},
      {"GGUF\3\0\0\0\0\0\0\0"s, {"GGUF"}},
      {"version https://git-lfs.github.com/spec/v1\n", {"Git LFS", "git lfs pull"}},
      {"<!DOCTYPE html>", {"HTML"}},
      {"{\"weights\": [1, 2]}", {"JSON"}},
      // The header's grammar
      {packed(" {}"), {"byte 0", "first character"}},
      {packed("[]"), {"byte 0", "\"{\""}},
      {packed("{"), {"byte 1", "a string", "its end"}},
      {packed("{}x"), {"byte 2", "the header's end", "\"x\""}},
      {packed("{}\0"s), {"the header's end", "\\x00"}},
      {packed("{}{}"), {"the header's end"}},
      {packed("{a:1}"), {"byte 1", "a string", "\"a\""}},
      {packed("{'a':1}"), {"a string"}},
      {packed("{\"a\" 1}"), {"\":\"", "\"1\""}},
      {packed("{\"a\":1}"), {"\"{\"", "\"1\""}},
      {packed("{\"a\":null}"), {"\"{\"", "\"n\""}},
      {packed("{\"a"), {"closing quote"}},
      {packed("{\"a\\"), {"after a backslash", "its end"}},
      {packed("{\"\\x\":1}"), {"after a backslash", "\"x\""}},
      {packed("{\"\\u12g4\":1}"), {"hexadecimal"}},
      {packed("{\"\\ud83d\":1}"), {"surrogates"}},
      {packed("{\"\\ude00\\ud83d\":1}"), {"surrogates"}},
      {packed("{\"\\ude00\\ude00\":1}"), {"surrogates"}},
      {packed("{\"\\ud83d\\u0041\":1}"), {"surrogates"}},
      {packed("{\"\n\":1}"), {"control characters", "\\x0a"}},
      {packed("{\"\xff\":1}"), {"UTF-8", "\\xff"}},
      {packed("{\"\xc0\x80\":1}"), {"UTF-8", "\\xc0"}},
      {packed("{\"\xe0\x80\x80\":1}"), {"UTF-8", "\\xe0"}},
      {packed("{\"\xf0\x80\x80\x80\":1}"), {"UTF-8", "\\xf0"}},
      {packed("{\"\xed\xa0\x80\":1}"), {"UTF-8", "\\xed"}},
      {packed("{\"\xf4\x90\x80\x80\":1}"), {"UTF-8"}},
      {packed("{\"\xe4\xb8"), {"UTF-8"}},
      {packed("{\"__metadata__\":{},}"), {"a string", "\"}\""}},
      {packed("{\"__metadata__\":{} \"a\":{}}"), {"\",\" or \"}\""}},
      {packed(std::string(100000, '[')), {"\"{\""}},
      {packed("{\"a\":" + std::string(100000, '{')), {"a string"}},
      // __metadata__
      {packed("{\"__metadata__\":[]}"), {"\"{\""}},
      {packed("{\"__metadata__\":{\"k\":1}}"), {"a string for the key \"k\" of __metadata__"}},
      {packed("{\"__metadata__\":{\"k\":{}}}"), {"a string for the key \"k\""}},
      {packed("{\"__metadata__\":{\"k\":\"a\",\"k\":\"b\"}}"), {"\"k\" twice"}},
      {packed("{\"__metadata__\":{},\"__metadata__\":{}}"), {"\"__metadata__\" twice"}},
      // A tensor's fields
      {tensor("", ""), {"\"t\"", "dtype is missing"}},
      {tensor(type, ""), {"\"t\"", "shape is missing"}},
      {tensor(type + R"(,"shape":[0])", ""), {"\"t\"", "data_offsets is missing"}},
      {tensor(shape_and_offsets, eight), {"\"t\"", "dtype is missing"}},
      {tensor(type + "," + shape_and_offsets + R"(,"strides":[1])", eight), {"\"t\"", "got \"strides\""}},
      {tensor(type + "," + type + "," + shape_and_offsets, eight), {"\"t\"", "\"dtype\" twice"}},
      {tensor(R"("dtype":"F8_E4M3",)" + shape_and_offsets, eight), {"\"t\"", "\"F8_E4M3\"", "F32, F64", "convert"}},
      {tensor(R"("dtype":"f32",)" + shape_and_offsets, eight), {"\"f32\""}},
      {tensor(R"("dtype":1,)" + shape_and_offsets, eight), {"a string", "\"1\""}},
      {tensor(type + R"(,"shape":2,"data_offsets":[0,8])", eight), {"\"[\"", "\"2\""}},
      {tensor(type + R"(,"shape":[-2],"data_offsets":[0,8])", eight), {"integer of 0 or more", "\"-\""}},
      {tensor(type + R"(,"shape":[2.0],"data_offsets":[0,8])", eight), {"integer", "\".\""}},
      {tensor(type + R"(,"shape":[2e0],"data_offsets":[0,8])", eight), {"integer", "\"e\""}},
      {tensor(type + R"(,"shape":[02],"data_offsets":[0,8])", eight), {"plain digits"}},
      {tensor(type + R"(,"shape":["2"],"data_offsets":[0,8])", eight), {"integer"}},
      {tensor(type + R"(,"shape":[2,],"data_offsets":[0,8])", eight), {"integer", "\"]\""}},
      {tensor(type + R"(,"shape":[2 3],"data_offsets":[0,8])", eight), {"\",\" or \"]\""}},
      {tensor(type + R"(,"shape":[9223372036854775808],"data_offsets":[0,8])", eight), {"below 2^63"}},
      {tensor(type + R"(,"shape":[99999999999999999999999],"data_offsets":[0,8])", eight), {"below 2^63"}},
      {tensor(type + R"(,"shape":[9223372036854775807],"data_offsets":[0,8])", eight), {"more elements than memory"}},
      {tensor(type + R"(,"shape":[4294967296,4294967296],"data_offsets":[0,8])", eight), {"more elements than memory"}},
      {tensor(type + R"(,"shape":[0,4294967296,4294967296],"data_offsets":[0,0])", ""), {"more elements than memory"}},
      {tensor(type + R"(,"shape":[4294967296,4294967296,0],"data_offsets":[0,0])", ""), {"more elements than memory"}},
      {tensor(type + R"(,"shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])", eight),
       {"\"t\"", "more axes than heed's 8"}},
      {tensor(type + R"(,"shape":[3],"data_offsets":[0,8])", eight), {"\"t\"", "[3] of f32 needs 12 bytes", "hold 8"}},
      {tensor(type + R"(,"shape":[0],"data_offsets":[0,8])", eight), {"needs 0 bytes"}},
      {tensor(type + R"(,"shape":[],"data_offsets":[0,8])", eight), {"needs 4 bytes"}},
      {tensor(type + R"(,"shape":[2],"data_offsets":[0])", eight), {"\"t\"", "2 data_offsets", "got 1"}},
      {tensor(type + R"(,"shape":[2],"data_offsets":[0,8,8])", eight), {"2 data_offsets", "got 3"}},
      {tensor(type + R"(,"shape":[2],"data_offsets":[8,0])", eight), {"begin ≤ end", "[8, 0]"}},
      {tensor(R"("dtype":"BOOL","shape":[2],"data_offsets":[0,2])", "\1\2"), {"\"t\"", "0 or 1", "byte 2"}},
      // The layout
      {tensor(type + "," + shape_and_offsets, "1234567"), {"\"t\"", "ends at byte 8", "holds 7", "cut short"}},
      {tensor(type + "," + shape_and_offsets, eight + "9"), {"end at byte 8", "holds 9 bytes"}},
      {tensor(type + R"(,"shape":[2],"data_offsets":[1,9])", eight + "9"),
       {"\"t\"", "at byte 0", "starts at 1", "a hole"}},
      {tensor(type + R"(,"shape":[1000000000000],"data_offsets":[0,4000000000000])", eight),
       {"ends at byte 4000000000000"}},
      {two("[0,4]", "[3,7]", "1234567"), {"\"b\"", "starts at 3", "an overlap"}},
      {two("[0,4]", "[5,9]", "123456789"), {"\"b\"", "starts at 5", "a hole"}},
      {two("[4,8]", "[4,8]", eight), {"a hole"}},
      {two("[0,4]", "[0,4]", "1234"), {"an overlap"}},
      {packed("{}", "1"), {"end at byte 0", "holds 1 bytes"}},
      {packed(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
           "1234"),
       {"\"b\"", "an overlap"}},
      {packed(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "12"),
       {"\"a\" twice"}},
      {packed("{\"" + std::string(1000, 'n') + "\":{}}"), {"nnn…"}},
  };
  Directory const dir;
  std::string const path = dir / "broken";
  for (Case const& c : cases) {
    write(path, c.bytes);
    CAPTURE(c.bytes.substr(0, 200));
    reset_peak_memory();
    size_t const before = memory_statistics().peak;
    std::string const message = message_of([&] { load_safetensors(path); });
    CHECK(memory_statistics().peak <= before + c.bytes.size());
    check_message(message, c.parts);
    check_message(message, {"load_safetensors", path, "Remedy"});
    CHECK(message.size() < 1000);
  }
  check_message(message_of([&] { load_safetensors(dir / "none"); }), {"none", "No such file"});

  // A header beyond the format's limit, in a file that is long enough: it has holes, and nothing of it is read.
  write(path, prefix_of(100'000'001));
  fs::resize_file(path, 200'000'000);
  check_message(message_of([&] { load_safetensors(path); }), {"at most 100000000 bytes", "100000001"});
}

TEST_CASE("safetensors that cannot be read back are not written") {
  Directory const dir;
  std::string const path = dir / "x";
  Tensor const t = ones({1});
  auto const refused = [&](Safetensors const& content) { return message_of([&] { save_safetensors(path, content); }); };
  check_message(refused({.tensors = {{"a", t}, {"b", {}}}, .metadata = {}}), {"\"b\"", "undefined"});
  check_message(refused({.tensors = {{"a", t}, {"a", t}}, .metadata = {}}), {"tensor name", "\"a\" twice"});
  check_message(refused({.tensors = {{"__metadata__", t}}, .metadata = {}}), {"__metadata__", "rename"});
  check_message(refused({.tensors = {{"\xff", t}}, .metadata = {}}), {"UTF-8", "\\xff"});
  check_message(refused({.tensors = {}, .metadata = {{"k", "\xc3"}}}), {"UTF-8", "\\xc3"});
  check_message(refused({.tensors = {}, .metadata = {{"\xc3", ""}}}), {"UTF-8", "\\xc3"});
  check_message(refused({.tensors = {}, .metadata = {{"k", "1"}, {"k", "2"}}}), {"metadata key", "\"k\" twice"});
  CHECK(dir.entries() == 0);
}

TEST_CASE("every truncation and any damage to bytes loads or is refused") {
  Directory const dir;
  std::string const path = dir / "x";
  save_safetensors(path, {.tensors = {{"weight", sample({3, 4}, Dtype::f32)},
                                      {"né\n", sample({2}, Dtype::i64)},
                                      {"mask", sample({5}, Dtype::boolean)},
                                      {"none", sample({0, 3}, Dtype::u8)}},
                          .metadata = {{"key", "välue \"1\""}, {"case", "{}"}}});
  std::string const whole = read_file(path);
  // One descriptor for all: closing a file that was cut to nothing flushes it to the disk on some file systems.
  int const file = open(path.c_str(), O_WRONLY);
  REQUIRE(file >= 0);
  size_t loaded = 0, refused = 0;
  auto const attempt = [&](std::string const& bytes) {
    REQUIRE(pwrite(file, bytes.data(), bytes.size(), 0) == ssize_t(bytes.size()));
    REQUIRE(ftruncate(file, off_t(bytes.size())) == 0);
    try {
      Safetensors const in = load_safetensors(path);
      for (auto const& item : in.tensors) item.second.to_vector<double>();
      ++loaded;
    } catch (Error const&) {
      ++refused;
    }  // anything else fails the test
  };
  for (size_t length = 0; length < whole.size(); ++length) attempt(whole.substr(0, length));
  CHECK(refused == whole.size());
  CHECK(loaded == 0);

  auto const random = [](uint32_t i, uint32_t j) { return philox4x32({i, j, 0, 0}, {2718, 28}); };
  constexpr std::string_view likely = "{}[]\",:\\0129 u-.e";
  for (uint32_t i = 0; i < 6000; ++i) {
    std::string bytes = whole;
    for (uint32_t j = 0; j <= i % 4; ++j) {
      auto const r = random(i, j);
      size_t const at = r[0] % bytes.size();
      switch (r[1] % 5) {
        case 0:
          bytes[at] = char(bytes[at] ^ (1 << r[2] % 8));
          break;
        case 1:
          bytes[at] = char(r[2]);
          break;
        case 2:
          bytes[at] = likely[r[2] % likely.size()];
          break;
        case 3:
          bytes.erase(at, 1 + r[2] % 3);
          break;
        case 4:
          bytes.insert(at, 1, likely[r[2] % likely.size()]);
          break;
      }
      if (i % 2 && r[1] % 5 > 2) {  // keep the length honest, so that the damage reaches the parser
        uint64_t length = 0;
        std::memcpy(&length, whole.data(), 8);
        bytes.replace(0, 8, prefix_of(length + bytes.size() - whole.size()));
      }
    }
    attempt(bytes);
  }
  close(file);
  CAPTURE(loaded);
  CHECK(loaded > 100);  // damage to names and data alone goes unseen
  CHECK(refused > 3000);
}
