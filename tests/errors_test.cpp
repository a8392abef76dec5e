// Bad input in the engine: what every message contains, and that nothing was written. Errors of single operations stand
// in ops_test.cpp beside them; those of graphs in tape_test.cpp.
#include <doctest/doctest.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/isa.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

/// The message that the first use of the library gives in a fresh process with `variable` set: a child of this program.
std::string first_use(char const* variable, char const* value, char const* what) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  pid_t const child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    setenv(variable, value, 1);
    setenv("HEED_ERRORS_TEST_CHILD", what, 1);
    dup2(ends[1], 1);
    char const* const filter = "--test-case=child*";
    execl("/proc/self/exe", "errors_test", filter, "--no-intro", static_cast<char*>(nullptr));
    _exit(127);
  }
  close(ends[1]);
  std::string text;
  char buffer[512];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, size_t(n));
  close(ends[0]);
  int status;
  waitpid(child, &status, 0);
  return text;
}

}  // namespace

TEST_CASE("an Error reads: op (module path): problem. Remedy: remedy.") {
  try {
    Scope const scope("blocks.3.attn.q_proj");
    linear(ones({2, 3}), ones({5, 4}));
    FAIL("no error");
  } catch (Error const& error) {
    CHECK(error.op() == "linear");
    CHECK(error.path() == "blocks.3.attn.q_proj");
    CHECK(contains(error.problem(), "[5, 4]"));
    CHECK(contains(error.problem(), "[2, 3]"));
    CHECK(std::string(error.what()) ==
          "linear (blocks.3.attn.q_proj): " + error.problem() + ". Remedy: " + error.remedy() + ".");
  }
  CHECK(std::string(Error("op", "", "problem", "").what()) == "op: problem.");
  CHECK(std::string(Error("op", "", "problem", "try").what()) == "op: problem. Remedy: try.");
}

TEST_CASE("mismatched shapes name both shapes and the axis") {
  auto const text = error_of([] { add(ones({2, 3, 4}), ones({2, 5, 4})); });
  for (char const* part : {"add: ", "[2, 3, 4]", "[2, 5, 4]", "axis -2", "sizes 3 and 5", "Remedy: "})
    CHECK_MESSAGE(contains(text, part), text);
  auto const product = error_of([] { matmul(ones({2, 3}), ones({2, 3})); });
  for (char const* part : {"matmul: ", "[2, 3] and [2, 3]", "axis -1", "axis -2", ".t()"})
    CHECK_MESSAGE(contains(product, part), product);
}

TEST_CASE("a wrong type is named") {
  CHECK(contains(error_of([] { layer_norm(arange(4)); }), "layer_norm: expected f32 or f64, got i64"));
  CHECK(contains(error_of([] { softmax(arange(4)); }), "got i64"));
  CHECK(contains(error_of([] { logsumexp(ones({3}) > 0.0, 5); }), "got 5"));
  CHECK(contains(error_of([] { mean(arange(4)); }), ".to(Dtype::f32)"));
}

TEST_CASE("heads that do not divide") {
  auto const text = error_of([] { attend(ones({1, 6, 2, 4}), ones({1, 4, 2, 4}), ones({1, 4, 2, 4})); });
  for (char const* part : {"attend: ", "not a multiple", "q [1, 6, 2, 4]", "k [1, 4, 2, 4]", "H a multiple of G"})
    CHECK_MESSAGE(contains(text, part), text);
}

TEST_CASE("an operation that fails writes nothing and leaves the tape as it was") {
  Tensor x = ones({3}), before = x.clone();
  uint32_t const version = x.storage().version();
  CHECK(error_of([&] { x.add_(ones({2})); }) != "");
  CHECK(error_of([&] { x.copy_(ones({4})); }) != "");
  CHECK(error_of([&] { x.mul_(ones({2, 3})); }) != "");
  CHECK(error_of([&] { x.div_(ones({2, 3})); }) != "");
  CHECK(same_bits(x, before));
  CHECK(x.storage().version() == version);
  Tensor const w = ones({3}).requires_grad_();
  Tensor y = w * 2.0;
  CHECK(error_of([&] { y.add_(ones({4})); }) != "");
  CHECK(error_of([&] { y.sub_(Tensor()); }) != "");
  sum(y).backward();
  CHECK(w.grad().to_vector() == std::vector<float>{2, 2, 2});
  CHECK(recording());
}

TEST_CASE("an undefined tensor is an error of the operation that got it") {
  Tensor const none;
  CHECK(contains(error_of([&] { none + none; }), "add: expected a tensor, got an undefined one"));
  CHECK(contains(error_of([&] { none.reshape({1}); }), "reshape"));
  CHECK(contains(error_of([&] { none.contiguous(); }), "contiguous"));
  CHECK(contains(error_of([&] { none.clone(); }), "clone"));
  CHECK(contains(error_of([&] { none.to(Dtype::f64); }), "to: "));
  CHECK(contains(error_of([&] { none.transpose(0, 1); }), "transpose"));
  CHECK(contains(error_of([&] { none.permute({}); }), "permute"));
  CHECK(contains(error_of([&] { none.slice(0, 0, 1); }), "slice"));
  CHECK(contains(error_of([&] { none.select(0, 0); }), "select"));
  CHECK(contains(error_of([&] { none.expand({1}); }), "expand"));
  CHECK(contains(error_of([&] { none.squeeze(0); }), "squeeze"));
  CHECK(contains(error_of([&] { none.unsqueeze(0); }), "unsqueeze"));
  CHECK(contains(error_of([&] { none.flatten(); }), "flatten"));
  CHECK(contains(error_of([&] { none == 1.0; }), "eq"));
  CHECK(contains(error_of([&] { -none; }), "neg"));
  CHECK(contains(error_of([&] { backward(none); }), "backward"));
  CHECK(contains(error_of([&] { grad({none}, {none}); }), "grad"));
  Tensor x = ones({1});
  CHECK(contains(error_of([&] { x.add_(none, 2); }), "expected a tensor"));
  Tensor target;
  CHECK(contains(error_of([&] { target.copy_(x); }), "copy_"));
  CHECK(contains(error_of([&] { target.zero_(); }), "fill_"));
  CHECK(contains(error_of([&] { target.mul_(2); }), "mul_"));
}

TEST_CASE("an instruction set that the processor lacks, or that is none") {
  Isa const before = isa();
  for (Isa level : all_isas()) {
    if (has_isa(level)) continue;
    auto const text = error_of([&] { set_isa(level); });
    CHECK(contains(text, "HEED_ISA: the processor lacks '" + std::string(name(level)) + "'"));
    CHECK(contains(text, "unset HEED_ISA"));
    CHECK(contains(first_use("HEED_ISA", std::string(name(level)).c_str(), "isa"), "the processor lacks"));
  }
  CHECK(isa() == before);
#if defined(__SANITIZE_THREAD__)
  skip("ThreadSanitizer does not follow fork with threads");
#else
  CHECK(contains(first_use("HEED_ISA", "mmx", "isa"), "HEED_ISA: expected one of " + std::string(name(all_isas()[0]))));
  CHECK(contains(first_use("HEED_ISA", "mmx", "isa"), "got 'mmx'"));
  CHECK(contains(first_use("HEED_ISA", std::string(name(all_isas()[0])).c_str(), "isa"), "message: none"));
  CHECK(contains(first_use("HEED_ISA", "", "isa"), "message: none"));
#endif
}

TEST_CASE("HEED_THREADS that is no number of threads") {
#if defined(__SANITIZE_THREAD__)
  skip("ThreadSanitizer does not follow fork with threads");
#else
  for (char const* bad : {"0", "-2", "two", "3x", "1000000"}) {
    auto const text = first_use("HEED_THREADS", bad, "threads");
    CHECK_MESSAGE(
        contains(text, "HEED_THREADS: expected a number of threads from 1 to 256, got '" + std::string(bad) + "'"),
        text);
  }
  CHECK(contains(first_use("HEED_THREADS", "3", "threads"), "message: none"));
#endif
}

// What first_use() runs; on its own it checks that the library is usable as it is.
TEST_CASE("child") {
  char const* const what = std::getenv("HEED_ERRORS_TEST_CHILD");
  std::string message = "none";
  try {
    if (what && std::string(what) == "threads") {
      CHECK(thread_count() > 0);
    }
    CHECK(sum(ones({10})).item() == 10);
  } catch (Error const& error) {
    message = error.what();
  }
  if (what) {
    std::printf("message: %s\n", message.c_str());
  } else {
    CHECK(message == "none");
  }
}
