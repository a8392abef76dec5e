// What explain(), the graphs and the profiler say, against what is known of small programs.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/json.h>
#include <heed/engine/observe.h>
#include <heed/nn/nn.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/op_case.h"

using namespace heed;
using namespace heed::test;

namespace {

bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

size_t count(std::string const& text, std::string const& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

/// A reader of JSON as small as a test needs: whether `text` is one valid value and nothing else.
class Json {
 public:
  explicit Json(std::string const& text) : text_(text) {}
  bool valid() {
    bool const good = value();
    space();
    return good && at_ == text_.size();
  }

 private:
  void space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool take(char c) {
    space();
    return at_ < text_.size() && text_[at_] == c && ++at_;
  }
  bool word(std::string const& w) { return text_.compare(at_, w.size(), w) == 0 && (at_ += w.size()); }
  bool string() {
    if (!take('"')) return false;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (text_[at_] != '\\') continue;
      if (++at_ == text_.size() || !std::strchr("\"\\/bfnrtu", text_[at_])) return false;
      if (text_[at_] == 'u')
        for (int i = 0; i < 4; ++i)
          if (!std::isxdigit(static_cast<unsigned char>(text_[++at_]))) return false;
    }
    return take('"');
  }
  bool number() {
    char* end = nullptr;
    std::strtod(text_.c_str() + at_, &end);
    size_t const length = size_t(end - text_.c_str()) - at_;
    bool const good = length > 0 && text_.find_first_not_of("0123456789+-.eE", at_) >= at_ + length;
    at_ += length;
    return good;
  }
  bool value() {
    space();
    if (at_ >= text_.size()) return false;
    char const c = text_[at_];
    if (c == '"') return string();
    if (c == 't') return word("true");
    if (c == 'f') return word("false");
    if (c != '{' && c != '[') return number();
    ++at_;
    char const closing = c == '{' ? '}' : ']';
    if (take(closing)) return true;
    do {
      if (c == '{' && !(string() && take(':'))) return false;
      if (!value()) return false;
    } while (take(','));
    return take(closing);
  }

  std::string const& text_;
  size_t at_ = 0;
};
bool valid(std::string const& text) { return Json(text).valid(); }

ProfileRow row(std::vector<ProfileRow> const& rows, std::string const& name) {
  for (ProfileRow const& r : rows)
    if (r.name == name) return r;
  FAIL("no row ", name);
  return {};
}

nn::GPT small_gpt(int64_t layers = 2) {
  return nn::GPT({.vocabulary = 11, .layers = layers, .heads = 2, .dim = 16, .block = 8});
}
Tensor loss_of(nn::GPT const& model) {
  Tensor const tokens = zeros({3, 8}, Dtype::i64);
  return cross_entropy(model(tokens), tokens);
}

}  // namespace

TEST_CASE("JSON: commas, escapes, what is no UTF-8, numbers that JSON lacks") {
  JsonWriter json;
  json.object().field("a", 1).field("b", true).key("c").array().value(-2).value("x").array().end().object().end().end();
  json.list("d", std::vector<int64_t>{3, 4}).field("e", 0.1).field("f", 1e300).field("g", uint64_t(1) << 63).end();
  CHECK(json.text() == R"({"a":1,"b":true,"c":[-2,"x",[],{}],"d":[3,4],"e":0.1,"f":1e+300,"g":9223372036854775808})");
  double const infinity = std::numeric_limits<double>::infinity();
  JsonWriter numbers;
  numbers.array().value(std::nan("")).value(infinity).value(-infinity).value(-0.0).value(5e-324).end();
  CHECK(numbers.text() == R"(["NaN","Infinity","-Infinity",-0,5e-324])");
  auto quoted = [](std::string_view text) {
    JsonWriter one;
    return one.value(text).text();
  };
  CHECK(quoted("a\"b\\c\n\t\x01") == R"("a\"b\\c\n\u0009\u0001")");
  CHECK(quoted(std::string_view("\0", 1)) == R"("\u0000")");
  CHECK(quoted("ü€😀") == "\"ü€😀\"");
  CHECK(quoted("</script>") == R"("\u003c/script>")");
  std::string const replaced = "\xEF\xBF\xBD";
  CHECK(quoted("\xFF!") == "\"" + replaced + "!\"");
  CHECK(quoted("\xC0\x80") == "\"" + replaced + replaced + "\"");                 // overlong
  CHECK(quoted("\xED\xA0\x80") == "\"" + replaced + replaced + replaced + "\"");  // a surrogate
  CHECK(quoted("\xE2\x82") == "\"" + replaced + replaced + "\"");                 // cut off
  CHECK(quoted("\xE2\x80\xA8") == R"("\u2028")");
  for (auto const* w : {&json, &numbers}) CHECK(valid(w->text()));
}

TEST_CASE("explain: expression, layout, storage and what is kept") {
  Tensor x = randn({4, 3}).requires_grad_().set_label("x"), w = randn({5, 3}).requires_grad_();
  Tensor const y = exp(linear(x, w));
  std::string const text = explain(y);
  CHECK(contains(text, "expression  exp(linear(x, leaf f32 [5, 3], data))\n"));
  CHECK(contains(text, "tensor      f32 [4, 5], 20 elements\n"));
  CHECK(contains(text, "strides [5, 1], contiguous, from element 0"));
  CHECK(contains(text, "made by     exp\n"));
  CHECK(contains(text, "on the tape, 2 operations"));
  CHECK(contains(text, "80 bytes by exp: f32 [4, 5]"));
  // exp keeps its output, linear its two variables.
  CHECK(contains(text, "188 bytes by the whole graph, 108 of them variables"));
  CHECK(contains(text, "shared by 2 tensors\n            the same storage: saved by exp"));

  std::string const json = explain_json(y);
  CHECK(valid(json));
  CHECK(contains(json, R"("shape":[4,5],"strides":[5,1],"offset":0,"contiguous":true,"view":false)"));
  CHECK(contains(json, R"("kept":{"node_bytes":80,"graph_bytes":188,"variable_bytes":108,"released":false)"));

  Tensor const part = x.t().slice(0, 1, 3);
  std::string const view = explain(part);
  CHECK(contains(view, "slice(permute(x))"));
  CHECK(contains(view, "strides [1, 3], not contiguous, from element 1"));
  CHECK(contains(view, "a view, the same storage: variable x"));
  CHECK(contains(explain(x), "label       x\n"));
  CHECK(contains(explain(x), "a variable"));
  CHECK(contains(explain(x.detach() * 2.0), "none: nothing it came from requires one"));
  CHECK(explain(Tensor()) == "undefined\n");
  CHECK(explain_json(Tensor()) == R"({"defined":false})");

  sum(y).backward();
  CHECK(contains(explain(y), "nothing: an earlier backward freed it"));
  CHECK(contains(explain(y), "exp(freed)"));
  CHECK(contains(explain_json(y), R"("released":true)"));
}

TEST_CASE("explain: each storage counts once, several outputs, long lists, options") {
  Tensor const x = randn({10}).requires_grad_();
  Tensor const e = exp(x), y = e * e + e * e;  // e is kept by exp, and twice by each product
  CHECK(contains(explain(sum(y)), "40 bytes by the whole graph, 0 of them variables"));
  Tensor const q = randn({1, 1, 2, 2}).requires_grad_().set_label("q");
  CHECK(contains(explain(attend(q, q, q).lse), "attend(q, q, q)[1]\n"));
  CHECK(contains(explain(cat(std::vector<Tensor>(20, x))), "… 12 more)"));
  Tensor deep = x;
  for (int i = 0; i < 9; ++i) deep = exp(deep);
  CHECK(contains(explain(deep, {.depth = 2}), "expression  exp(exp(exp(…)))\n"));
  CHECK(contains(explain(deep, {.depth = 0}), "expression  exp(…)\n"));
  CHECK(contains(explain(deep, {.depth = 1000000000, .terms = 3}), "expression  exp(exp(exp(exp(…))))\n"));
  Tensor wide = x;
  for (int i = 0; i < 30; ++i) wide = wide + wide;
  CHECK(explain(wide, {.depth = 100}).size() < 2000);
}

TEST_CASE("a parameter is called by its path, and an operation knows its module") {
  nn::GPT const model = small_gpt();
  CHECK(dynamic_cast<nn::MultiHeadAttention&>(*model.blocks[1]->attn).q_proj.weight.label() ==
        "blocks.1.attn.q_proj.weight");
  CHECK(model.head.weight.label() == "token_embedding.weight");  // tied
  Tensor const logits = model(zeros({1, 4}, Dtype::i64));
  std::string const text = explain(logits);
  CHECK(contains(text, "made by     linear in head"));
  CHECK(contains(text, "norm.weight"));
  Tensor t = zeros({2});
  CHECK(t.label().empty());
  t.set_label("a").set_label("b");
  CHECK(t.label() == "b");
  CHECK(t.reshape({2, 1}).label().empty());
  CHECK_THROWS_AS(Tensor().label(), Error);
}

TEST_CASE("a node's kept tensors are those that its operation saved") {
  Tensor const x = randn({6, 8}).requires_grad_(), w = randn({8}).requires_grad_();
  auto bytes = [](Tensor const& y) {
    size_t sum = 0;
    for (Tensor const& t : y.body()->node->kept()) sum += t.storage().bytes();
    return sum;
  };
  CHECK(bytes(x + x) == 0);
  CHECK(bytes(exp(x)) == 6 * 8 * 4);
  CHECK(bytes(x * x) == 2 * 6 * 8 * 4);
  CHECK(bytes(layer_norm(x, w)) == 6 * 8 * 4 + 8 * 4 + 2 * 6 * 4);
  CHECK(bytes(rms_norm(x, w)) == 6 * 8 * 4 + 8 * 4 + 6 * 4);
  CHECK(bytes(x.t()) == 0);
  Tensor const y = exp(x);
  uint32_t const before = y.body()->storage->use_count();
  for (int i = 0; i < 3; ++i) y.body()->node->kept();
  CHECK(y.body()->storage->use_count() == before);  // looking keeps nothing
}

TEST_CASE("DOT: stable names, modules as clusters, shapes on edges") {
  Tensor const w = zeros({2, 3}).requires_grad_().set_label("the \"w\"\\"), x = zeros({4, 3}).requires_grad_();
  auto make = [&] { return sum(linear(x, w) * 2.0); };
  std::string const dot = graph_dot(make());
  CHECK(dot == graph_dot(make()));
  CHECK(contains(dot, R"(n1 [shape=ellipse, fillcolor="#dbe7f5", label="the \"w\"\\\nf32 [2, 3]"];)"));
  CHECK(contains(dot, "n0 -> n2 [label=\"[4, 3]\"];"));
  CHECK(contains(dot, "n2 -> n3 [label=\"[4, 2]\"];"));
  CHECK(contains(dot, "n4 [label=\"sum\\nf32 []\", penwidth=2];"));
  nn::GPT const model = small_gpt();
  std::string const modules = graph_dot(loss_of(model));
  CHECK(contains(modules, "label=\"blocks.1.attn.q_proj\";"));
  CHECK(count(modules, "{") == count(modules, "}"));
  CHECK(contains(graph_dot(w), "ellipse"));  // a leaf alone
  CHECK(graph_dot(Tensor()).starts_with("digraph"));
  if (std::system("command -v dot > /dev/null") == 0) {
    auto const file = std::filesystem::temp_directory_path() / "heed_seeing_test.dot";
    write_file_atomically(file.string(), modules + dot);
    CHECK(std::system(("dot -Tsvg '" + file.string() + "' > /dev/null").c_str()) == 0);
    std::filesystem::remove(file);
  }
}

TEST_CASE("the page: self-contained, valid data, nothing of a label becomes markup, large graphs cut with a note") {
  Tensor x = zeros({2}).requires_grad_().set_label("</script><b>&");
  std::string const page = graph_html(sum(exp(x)), {.title = "a < b & c"});
  CHECK(contains(page, "<title>a &lt; b &amp; c</title>"));
  CHECK(count(page, "</script>") == 1);
  CHECK(contains(page, R"("name":"\u003c/script>\u003cb>&")"));
  CHECK(count(page, "http") == count(page, "http://www.w3.org/2000/svg"));  // a name, not an address
  size_t const from = page.find("const graph=") + 12, to = page.find(";\n", from);
  CHECK(valid(page.substr(from, to - from)));
  CHECK(page == graph_html(sum(exp(x)), {.title = "a < b & c"}));

  Tensor y = x;
  for (int i = 0; i < 50; ++i) y = exp(y);
  std::string const cut = graph_html(y, {.most_operations = 20});
  CHECK(contains(cut, "30 operations further from the result are not shown"));
  CHECK(count(cut, "\"name\":\"exp\"") == 20);
  CHECK(contains(graph_dot(y, {.most_operations = 49}), "1 operation further from the result is not shown"));
  CHECK_FALSE(contains(graph_dot(y, {.most_operations = 50}), "not shown"));
}

TEST_CASE("a graph a million operations deep") {
  Tensor const x = ones({1}).requires_grad_();
  Tensor y = x;
  for (int i = 0; i < 1'000'000; ++i) y = y * x;
  CHECK(contains(explain(y), "on the tape, 1000000 operations"));
  y = x;
  for (int i = 0; i < 10'000; ++i) y = y * x;
  CHECK(operations_below(y).size() == 10'000);
  CHECK(contains(graph_dot(y), "9000 operations further"));
}

TEST_CASE("a profile counts calls, work and bytes of forward and backward") {
  Tensor const x = randn({8, 32}), w = randn({16, 32}).requires_grad_(), b = zeros({16}).requires_grad_();
  Profile p = profile([&] {
    for (int i = 0; i < 3; ++i) sum(gelu(linear(x, w, b))).backward();
  });
  auto const ops = p.by_op();
  ProfileRow const linear_row = row(ops, "linear");
  CHECK(linear_row.calls == 3);
  CHECK(linear_row.flops == 3 * 2.0 * 8 * 32 * 16);
  CHECK(linear_row.bytes == 3 * 4 * (8 * 32 + 16 * 32 + 16 + 8 * 16));
  CHECK(linear_row.allocated == 3 * 4 * 8 * 16);
  CHECK(row(ops, "gelu").calls == 3);
  CHECK(row(ops, "gelu backward").calls == 3);  // the function with its kernel
  CHECK(row(ops, "gelu backward").total >= row(ops, "gelu backward").self);
  CHECK(row(ops, "matmul").calls == 3);  // inside the gradient of linear, for the weight alone
  CHECK(row(ops, "linear backward").self <= row(ops, "linear backward").total - row(ops, "matmul").total);
  int64_t self = 0;
  for (ProfileRow const& r : ops) self += r.self;
  CHECK(self <= p.duration());
  CHECK(p.peak() >= 4 * 8 * 16);
  CHECK(std::is_sorted(ops.begin(), ops.end(), [](auto const& a, auto const& c) { return a.self > c.self; }));

  auto const events = p.events();
  for (ProfileEvent const& e : events) {
    CHECK(e.start >= 0);
    CHECK(e.self >= 0);
    CHECK(e.start + e.duration <= p.duration());
    CHECK(e.thread == 0);
  }
  CHECK(events[0].op == "linear");
  CHECK(events[0].inputs == "f32 [8, 32], f32 [16, 32], f32 [16]");
  CHECK(events[0].outputs == "f32 [8, 16]");
  CHECK_FALSE(events[0].backward);
  CHECK(std::any_of(events.begin(), events.end(),
                    [](auto const& e) { return e.op == "matmul" && e.backward && e.depth == 1; }));
  CHECK(contains(p.table(), "operation"));
  CHECK(contains(p.table(), "memory peak"));
}

TEST_CASE("profiles: one at a time, ended by stop(), destruction, moves and exceptions; nothing is watched outside") {
  Tensor const x = randn({4});
  {
    Profile first;
    exp(x);
    CHECK(contains(error_of([] { Profile second; }), "watched already"));
    first.stop();
    exp(x);
    CHECK(row(first.by_op(), "exp").calls == 1);
    Profile third;
    exp(x), exp(x);
    Profile moved = std::move(third);
    exp(x);
    CHECK(row(moved.by_op(), "exp").calls == 3);
    CHECK(contains(error_of([&] { third.stop(); }), "moved away"));
    moved = Profile(std::move(first));
    CHECK(row(moved.by_op(), "exp").calls == 1);
  }
  CHECK_THROWS(profile([&] { matmul(x, randn({5, 5})); }));
  Profile broken;
  CHECK_THROWS(cross_entropy(randn({2, 3}), zeros({3}, Dtype::i64)));
  exp(x);
  CHECK(row(broken.by_op(), "exp").calls == 1);
  Profile empty = profile([] {});
  CHECK(empty.events().empty());
  CHECK(valid(empty.trace()));
  CHECK(contains(empty.table(), "0.000 ms in operations"));
  // Ended inside an operation.
  auto inner = std::make_unique<Profile>();
  auto outer = std::make_unique<Observed>("outer");
  exp(x);
  inner->stop();
  outer.reset();
  CHECK(row(inner->by_op(), "outer").self >= 0);
  CHECK(row(inner->by_op(), "outer").total >= row(inner->by_op(), "exp").total);
}

TEST_CASE("every primitive shows, forward and backward") {
  Tensor const x = randn({2, 3, 4}).requires_grad_(), w = randn({4}).requires_grad_();
  Tensor const i = zeros({2, 3}, Dtype::i64), q = randn({1, 2, 3, 4}).requires_grad_();
  Tensor const table = randn({5, 4}).requires_grad_(), mask = x.detach() > 0.0;
  struct Case {
    char const *op, *backward;  // names of rows; null where it has none
    std::function<Tensor()> run;
  };
  for (Case const& c :
       std::vector<Case>{{"add", "add backward", [&] { return x + w; }},
                         {"mul", "mul backward", [&] { return x * w; }},
                         {"mul_scalar", "mul_scalar backward", [&] { return x * 2.0; }},
                         {"exp", "exp backward", [&] { return exp(x); }},
                         {"add", nullptr, [&] { return i + i; }},
                         {"gt", nullptr, [&] { return x.detach() > 0.0; }},
                         {"where", "where backward", [&] { return where(mask, x, 0.0); }},
                         {"sum", "sum backward", [&] { return sum(x, {1}); }},
                         {"sum", nullptr, [&] { return sum(i); }},
                         {"amax", "amax backward", [&] { return amax(x, {0}); }},
                         {"argmax", nullptr, [&] { return argmax(x, 0); }},
                         {"prod", "prod backward", [&] { return prod(x, 0); }},
                         {"logsumexp", "logsumexp backward", [&] { return logsumexp(x, 0); }},
                         {"cat", "cat backward",
                          [&] {
                            return cat({x, x});
                          }},
                         {"copy", "clone backward", [&] { return x.clone(); }},
                         {"to", "to backward", [&] { return x.to(Dtype::f64); }},
                         {"fill", nullptr, [&] { return zeros({3}); }},
                         {"arange", nullptr, [&] { return arange(3); }},
                         {"rand", nullptr, [&] { return rand({3}); }},
                         {"randn", nullptr, [&] { return randn({3}); }},
                         {"randint", nullptr, [&] { return randint(0, 3, {3}); }},
                         {"dropout", "dropout backward", [&] { return dropout(x, 0.5); }},
                         {"matmul", "matmul backward", [&] { return matmul(x, table.t()); }},
                         {"linear", "linear backward", [&] { return linear(x, table); }},
                         {"softmax", "softmax backward", [&] { return softmax(x); }},
                         {"log_softmax", "log_softmax backward", [&] { return log_softmax(x); }},
                         {"layer_norm", "layer_norm backward", [&] { return layer_norm(x, w); }},
                         {"rms_norm", "rms_norm backward", [&] { return rms_norm(x, w); }},
                         {"embedding", "embedding backward", [&] { return embedding(i, table); }},
                         {"cross_entropy", "cross_entropy backward", [&] { return cross_entropy(x, i); }},
                         {"attend", "attend backward", [&] { return attend(q, q, q).out; }}}) {
    std::string const op = c.op;
    CAPTURE(op);
    Profile p;
    Tensor const y = c.run();
    if (c.backward) backward(y, ones_like(y));
    ProfileRow const forward = row(p.by_op(), op);
    CHECK(forward.bytes + forward.allocated > 0);
    if (c.backward) CHECK(row(p.by_op(), c.backward).calls == 1);
  }
}

TEST_CASE("modules, threads and the trace") {
  nn::GPT const model = small_gpt();
  loss_of(model).backward();
  Profile p;
  loss_of(model).backward();
  std::thread([] { exp(zeros({3})); }).join();
  p.stop();
  auto const modules = p.by_module();
  CHECK(row(modules, "blocks.1.attn.q_proj").calls >= 2);  // forward and backward
  CHECK(row(modules, "(no module)").calls >= 1);
  int64_t inside = 0;
  for (ProfileRow const& r : modules)
    if (r.name.starts_with("blocks.1.attn")) inside += r.self;
  CHECK(row(modules, "blocks.1.attn").total == inside);
  auto const events = p.events();
  CHECK(events.back().thread == 1);

  auto const folder = std::filesystem::temp_directory_path();
  std::string const file = (folder / "heed_seeing_test.json").string();
  p.write_trace(file);
  std::string const trace = read_file(file);
  std::filesystem::remove(file);
  CHECK(valid(trace));
  CHECK(contains(trace, R"("ph":"X","name":"attend","pid":1,"tid":0,"cat":"forward")"));
  CHECK(contains(trace, R"("name":"attend backward")"));
  for (char const* cat : {"module", "module backward"})
    CHECK(count(trace, std::string(R"("name":"blocks.0.attn","pid":1,"tid":0,"cat":")") + cat + "\"") == 1);
  CHECK(contains(trace, R"("name":"thread 1")"));
  CHECK(contains(trace, R"("ph":"C","name":"bytes alive")"));
  CHECK(contains(error_of([&] { p.write_trace("/nonexistent/trace.json"); }), "/nonexistent/trace.json"));

  // Operations of two threads at once: every event ends, and each thread nests for itself.
  Profile both;
  auto work = [] {
    Tensor const x = randn({64}).requires_grad_();
    for (int i = 0; i < 200; ++i) sum(exp(x) * x).backward();
  };
  std::thread other(work);
  work();
  other.join();
  CHECK(row(both.by_op(), "exp").calls == 400);
  for (ProfileEvent const& e : both.events()) REQUIRE(e.self >= 0);
}

TEST_CASE("attention's work counts the pairs that see each other") {
  Tensor const q = randn({2, 3, 5, 4}), k = randn({2, 3, 7, 4}), v = randn({2, 3, 7, 6});
  auto pairs = [&](AttendOptions const& options) {
    Profile p = profile([&] { attend(q, k, v, options); });
    return row(p.by_op(), "attend").flops / (2 * (4 + 6)) / 6;
  };
  CHECK(pairs({}) == 35);
  CHECK(pairs({.causal = true}) == 3 + 4 + 5 + 6 + 7);
  CHECK(pairs({.causal = true, .left = 1}) == 10);
  CHECK(pairs({.left = 0, .right = 1}) == 2 * 4 + 1);
  CHECK(pairs({.left = 1000, .right = 1000}) == 35);
}

TEST_CASE("statistics of memory stay the user's while a profile runs") {
  Tensor const big = zeros({1000});
  reset_peak_memory();
  size_t const before = memory_statistics().peak;
  Profile p;
  { Tensor const temporary = exp(zeros({100'000})); }
  exp(big);
  p.stop();
  CHECK(memory_statistics().peak >= before + 800'000);
  CHECK(p.peak() == int64_t(memory_statistics().peak));
  auto const events = p.events();
  CHECK(events.back().op == "exp");
  CHECK(events.back().peak < int64_t(before + 100'000));
}
