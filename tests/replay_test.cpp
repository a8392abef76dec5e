// The program heed-replay on its committed cases (all must agree) and on files that are no cases (each a failure with a
// reason, never a crash).
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/safetensors.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

using namespace heed;

namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "heed-replay-test-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(std::string const& name) const { return (path / name).string(); }
};

struct Outcome {
  int status;
  std::string out;
};

Outcome replay(std::string const& arguments) {
  Outcome outcome{-1, {}};
  FILE* const pipe = popen(("'" HEED_REPLAY "' " + arguments + " 2>&1").c_str(), "r");
  REQUIRE(pipe);
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.out.append(buffer, n);
  outcome.status = WEXITSTATUS(pclose(pipe));
  return outcome;
}

std::string last_line(std::string const& text) {
  size_t const end = text.find_last_not_of('\n'), start = text.rfind('\n', end);
  return text.substr(start + 1, end - start);
}

/// sum([1, 2, 3]) with its gradient, as a case.
Safetensors a_case() {
  return {{{"input.0", tensor({1, 2, 3})},
           {"output.0", scalar(6)},
           {"grad_output.0", scalar(2)},
           {"grad_input.0", tensor({2, 2, 2})}},
          {{"case", R"({"op": "sum", "args": {}, "rtol": 1e-6, "atol": 0})"}}};
}

void describe(Safetensors& file, std::string const& description) { file.metadata = {{"case", description}}; }

/// What heed-replay says of one file.
Outcome verdict(std::function<void(Safetensors&)> const& change) {
  Folder const folder;
  Safetensors file = a_case();
  change(file);
  save_safetensors(folder / "one.safetensors", file);
  return replay("'" + folder.path.string() + "'");
}

Outcome verdict_of_bytes(std::string const& bytes) {
  Folder const folder;
  write_file_atomically(folder / "one.safetensors", bytes);
  return replay("'" + folder.path.string() + "'");
}

void check_failure(Outcome const& outcome, std::string const& reason) {
  INFO(outcome.out);
  CHECK(outcome.status == 1);
  CHECK(outcome.out.starts_with("FAILED "));
  CHECK(outcome.out.find("one.safetensors: ") != std::string::npos);
  CHECK(outcome.out.find(reason) != std::string::npos);
  CHECK(outcome.out.find("crashed") == std::string::npos);
  CHECK(last_line(outcome.out) == "0 passed, 1 failed, 0 skipped");
}

/// A file whose header is `header` and whose data are `bytes` zeros.
std::string raw(std::string const& header, size_t bytes) {
  uint64_t const length = header.size();
  return std::string(reinterpret_cast<char const*>(&length), sizeof length) + header + std::string(bytes, '\0');
}

}  // namespace

TEST_CASE("the committed cases agree") {
  Outcome const outcome = replay("--by-op '" HEED_SOURCE_DIR "/tests/replay/cases'");
  INFO(outcome.out);
  CHECK(outcome.status == 0);
  CHECK(last_line(outcome.out).find(" passed, 0 failed, 0 skipped") != std::string::npos);
}

TEST_CASE("a case that agrees, and ones that do not") {
  CHECK(verdict([](Safetensors&) {}).out == "1 passed, 0 failed, 0 skipped\n");
  check_failure(verdict([](Safetensors& f) { f.tensors[1].second = scalar(7); }), "output.0: largest error 1 at []: ");
  check_failure(verdict([](Safetensors& f) { f.tensors[1].second = scalar(7, Dtype::f64); }),
                "output.0: expected type");
  check_failure(verdict([](Safetensors& f) { f.tensors[1].second = tensor({6}); }), "output.0: expected shape [1]");
  check_failure(verdict([](Safetensors& f) {
                  f.tensors[3].second = tensor({2, 2, 3});
                }),
                "grad_input.0: largest error 1");
  check_failure(verdict([](Safetensors& f) { f.tensors[1].second = scalar(std::nan("")); }), "expected nan");
  check_failure(verdict([](Safetensors& f) { f.tensors[1].first = "output.1"; }), "output.1: heed gives 1 results");
  check_failure(verdict([](Safetensors& f) { f.tensors[2].second = tensor({1, 2}); }), "");
  // The short name, an alias, a tensor that is not checked.
  Outcome const alias = verdict([](Safetensors& f) {
    f.tensors = {{"input.0", tensor({-1, 2})}, {"output.0", tensor({0, 2})}};
    describe(f, R"({"op": "nn.functional.relu", "args": {"inplace": false}, "rtol": 0, "atol": 0})");
  });
  CHECK(alias.out == "1 passed, 0 failed, 0 skipped\n");
}

TEST_CASE("the table of special values") {
  auto const table = [](std::string const& op, std::string const& more, Tensor const& output,
                        Tensor const& alone = {}) {
    Folder const folder;
    Safetensors file = {{{"input.0", tensor({-0.0F, 1})}}, {}};
    if (output.defined()) file.tensors.emplace_back("output.0", output);
    if (alone.defined()) file.tensors.emplace_back("alone.0", alone);
    describe(file, R"({"op": ")" + op + R"(", "rtol": 0, "atol": 0, "row": "row", "where": "0", )" + more + "}");
    save_safetensors(folder / "one.safetensors", file);
    return replay("--table --json '" + (folder / "table.json") + "' '" + folder.path.string() + "'");
  };
  auto const zero = R"("special": "-0", "pointwise": true)";
  Outcome const same = table("neg", zero, tensor({0, -1}));
  CHECK(same.status == 0);
  CHECK(last_line(same.out).starts_with("1 ops, 1 cells: 1 as in PyTorch, 0 differ for a known reason, 0 differ;"));
  Outcome const sign = table("neg", zero, tensor({-0.0F, -1}));
  CHECK(sign.status == 1);
  CHECK(sign.out.find("≠0") != std::string::npos);
  CHECK(sign.out.find("row, -0 in 0: output.0: largest error 0 at [0]: expected -0, got 0") != std::string::npos);
  Outcome const either = table("neg", zero, tensor({-0.0F, -1}), tensor({0, -1}));
  CHECK(either.status == 0);
  CHECK(either.out.find("single elements differ there") != std::string::npos);
  CHECK(table("neg", zero, tensor({-0.0F, 1}), tensor({0, 1})).status == 1);
  // What PyTorch refuses.
  CHECK(table("det", R"("special": "rank 0", "throws": "no matrix")", {}).status == 0);
  Outcome const taken = table("neg", R"("special": "rank 0", "throws": "no")", {});
  CHECK(taken.status == 1);
  CHECK(taken.out.find("PyTorch refuses (\"no\"), heed gives [2]") != std::string::npos);
  CHECK(table("neg", R"("special": 7)", tensor({0, 1})).status == 1);
}

TEST_CASE("any of equal elements, each once") {
  auto const sorted = [](std::vector<int64_t> const& places, bool stable) {
    return verdict([&](Safetensors& f) {
             f.tensors = {{"input.0", tensor({2, 2, 1})}, {"output.1", tensor(places, {3})}};
             describe(f, std::string(R"({"op": "sort", "rtol": 0, "atol": 0, "args": {"stable": )") +
                             (stable ? "true}}" : "false}}"));
           })
        .status;
  };
  CHECK(sorted({2, 0, 1}, true) == 0);
  CHECK(sorted({2, 1, 0}, false) == 0);
  CHECK(sorted({2, 1, 0}, true) == 1);
  CHECK(sorted({0, 1, 2}, false) == 1);
}

TEST_CASE("what heed lacks is skipped by name") {
  Outcome const op = verdict([](Safetensors& f) { describe(f, R"({"op": "no.such", "rtol": 0, "atol": 0})"); });
  CHECK(op.status == 0);
  CHECK(op.out == "skipped 1 cases: heed lacks op no.such\n0 passed, 0 failed, 1 skipped\n");
  Outcome const type = verdict_of_bytes(raw(R"({"input.0":{"dtype":"U16","shape":[2],"data_offsets":[0,4]}})", 4));
  CHECK(type.status == 0);
  CHECK(type.out == "skipped 1 cases: heed lacks type U16\n0 passed, 0 failed, 1 skipped\n");
}

TEST_CASE("files that are no cases") {
  check_failure(verdict_of_bytes(""), "8 bytes");
  check_failure(verdict_of_bytes("{\"a\": 1}"), "safetensors");
  check_failure(verdict_of_bytes(std::string(100, '\xff')), "header");
  check_failure(verdict_of_bytes(raw(R"({"input.0":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4)), "");
  check_failure(verdict_of_bytes(raw(R"({"input.0":{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}})", 8)), "Q7");
  check_failure(verdict([](Safetensors& f) { f.metadata.clear(); }), "expected the key \"case\"");
  for (std::string const description :
       {"", "sum", "[1]", "{", "null", "{\"op\": \"sum\", \"rtol\": 1e999, \"atol\": 0}"})
    check_failure(verdict([&](Safetensors& f) { describe(f, description); }), "metadata \"case\"");
  for (std::string const description :
       {R"({"op": 7, "rtol": 0, "atol": 0})", R"({"rtol": 0, "atol": 0})", R"({"op": "sum", "atol": 0})",
        R"({"op": "sum", "rtol": "0", "atol": 0})", R"({"op": "sum", "rtol": -1, "atol": 0})",
        R"({"op": "sum", "args": [], "rtol": 0, "atol": 0})"})
    check_failure(verdict([&](Safetensors& f) { describe(f, description); }), "metadata \"case\"");
  check_failure(verdict([](Safetensors& f) {
                  describe(f, R"({"op": "sum", "args": )" + std::string(100000, '[') + R"(, "rtol": 0, "atol": 0})");
                }),
                "metadata \"case\"");
  for (std::string const args : {R"({"dim": "inf"})", R"({"dim": 1.5})", R"({"dim": [[0]]})", R"({"dim": {"a": 0}})",
                                 R"({"dim": 18446744073709551615})", R"({"dim": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]})",
                                 R"({"keepdim": "yes"})", R"({"dtype": 3})"})
    check_failure(verdict([&](Safetensors& f) {
                    describe(f, R"({"op": "sum", "args": )" + args + R"(, "rtol": 0, "atol": 0})");
                  }),
                  "argument \"");
  check_failure(verdict([](Safetensors& f) { describe(f, R"({"op": "add", "rtol": 0, "atol": 0})"); }), "\"other");
  check_failure(verdict([](Safetensors& f) { f.tensors[0].first = "input.x"; }), "there is no input.0");
  check_failure(verdict([](Safetensors& f) { f.tensors.erase(f.tensors.begin() + 2); }), "grad_output.K");
  check_failure(verdict([](Safetensors& f) { f.tensors.resize(1); }), "to compare with");
  check_failure(verdict([](Safetensors& f) { f.tensors[0].second = tensor(std::vector<int64_t>{1, 2, 3}, {3}); }), "");
  for (std::string const name : {"output.x", "output.-1", "output.99999999999999999999", "output.", "weights", "input"})
    check_failure(verdict([&](Safetensors& f) { f.tensors[1].first = name; }), "tensor \"");
  check_failure(verdict([](Safetensors& f) {
                  f.tensors = {{"output.0", tensor({1})}};
                  describe(f, R"({"op": "ones", "args": {"size": [4000000000, 4000000000]}, "rtol": 0, "atol": 0})");
                }),
                "ones");
}

TEST_CASE("the command line") {
  CHECK(replay("--help").status == 0);
  CHECK(replay("--list").out.find("\nsum\n") != std::string::npos);
  CHECK(replay("").status == 2);
  CHECK(replay("--no-such .").status == 2);
  CHECK(replay("/no/such/folder").status == 2);
  CHECK(replay("--jobs 0 .").status == 2);
  Folder const empty;
  CHECK(replay("'" + empty.path.string() + "'").status == 2);
}
