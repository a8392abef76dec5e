#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/io/file.h>
#include <heed/engine/io/json.h>
#include <heed/engine/observe.h>
#include <heed/engine/profile.h>
#include <heed/engine/scope.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>
#include <unordered_map>

namespace heed {
namespace {

constexpr size_t none = ~size_t{0};
constexpr size_t most_events = 2'000'000;  // some 400 MB; what comes later is counted, not kept

struct Form {
  Shape shape;
  Dtype dtype;
};

/// Bytes that a kernel touches: a broadcast element is one.
int64_t distinct_bytes(Tensor const& t) {
  int64_t count = 1;
  for (int axis = 0; axis < t.rank(); ++axis)
    if (t.strides()[axis] != 0 || t.shape()[axis] == 0) count *= t.shape()[axis];
  return count * int64_t(size_of(t.dtype()));
}

std::string megabytes(int64_t bytes) { return bytes == 0 ? "-" : fmt::format("{:.2f}", 1e-6 * double(bytes)); }
std::string rate(double amount, int64_t nanoseconds) {
  return amount == 0 || nanoseconds == 0 ? "-" : fmt::format("{:.1f}", amount / double(nanoseconds));
}

}  // namespace

class Profile::Recorder final : public Observer {
 public:
  Recorder() {
    start_ = now();
    set_observer(this);
    detail::take_peak_window();
  }
  void stop() {
    if (stopped_) return;
    stopped_ = true;
    duration_ = now() - start_;
    set_observer(nullptr);
    note_peak(none);
    // What is still running ends here.
    for (auto& [id, thread] : threads_)
      for (; thread.open != none; thread.open = events_[thread.open].parent) {
        Event& e = events_[thread.open];
        e.duration = duration_ - e.start;
        if (e.parent != none) events_[e.parent].nested += e.duration;
      }
  }

  size_t enter(Operation const& operation) override {
    if (events_.size() >= most_events) {
      ++dropped_;
      return none;
    }
    Thread& thread = this_thread();
    note_peak(thread.open);
    Event& e = events_.emplace_back();
    e.op = operation.op;
    e.path = kept_path();
    e.thread = thread.number;
    e.parent = thread.open;
    e.gradient = operation.gradient;
    if (e.parent != none) {
      Event const& parent = events_[e.parent];
      e.depth = parent.depth + 1;
      e.of = parent.gradient ? parent.op : parent.of;
    }
    if (e.gradient) e.of = e.op;
    e.flops = operation.flops;
    e.first_form = forms_.size();
    auto const there = [](Tensor const* t) { return t && t->defined(); };
    for (Tensor const* t : operation.inputs) {
      if (!there(t)) continue;
      e.read += distinct_bytes(*t);
      forms_.push_back({t->shape(), t->dtype()});
      ++e.inputs;
    }
    for (Tensor const* t : operation.outputs) {
      if (!there(t)) continue;
      e.written += distinct_bytes(*t);
      forms_.push_back({t->shape(), t->dtype()});
      ++e.outputs;
      bool const in_place = std::any_of(operation.inputs.begin(), operation.inputs.end(), [&](Tensor const* in) {
        return there(in) && in->body()->storage == t->body()->storage;
      });
      if (!in_place && !t->body()->is_view) e.allocated += int64_t(t->storage().bytes());
    }
    e.allocated_before = detail::allocated_by_thread();
    thread.open = events_.size() - 1;
    e.start = now() - start_;
    return thread.open;
  }

  void leave(size_t token) noexcept override {
    int64_t const end = now() - start_;
    if (token == none) return;
    Event& e = events_[token];
    e.duration = end - e.start;
    note_peak(token);
    auto const inside = int64_t(detail::allocated_by_thread() - e.allocated_before);
    e.allocated += inside - e.allocated_nested;
    e.in_use = int64_t(memory_statistics().in_use);
    if (e.parent != none) {
      events_[e.parent].nested += e.duration;
      events_[e.parent].allocated_nested += inside;
    }
    this_thread().open = e.parent;
  }

  int64_t duration() const { return duration_; }
  int64_t peak() const { return peak_; }
  size_t dropped() const { return dropped_; }

  std::vector<ProfileEvent> events() const {
    std::vector<ProfileEvent> list(events_.size());
    for (size_t i = 0; i < list.size(); ++i) {
      Event const& e = events_[i];
      ProfileEvent& p = list[i];
      p = {.op = name(e),
           .path = e.path,
           .backward = e.of != nullptr,
           .thread = e.thread,
           .depth = e.depth,
           .start = e.start,
           .duration = e.duration,
           .self = e.duration - e.nested,
           .flops = e.flops,
           .read = e.read,
           .written = e.written,
           .allocated = e.allocated,
           .peak = e.peak,
           .inputs = {},
           .outputs = {}};
      for (size_t k = 0; k < e.inputs + e.outputs; ++k) {
        std::string& text = k < e.inputs ? p.inputs : p.outputs;
        Form const& form = forms_[e.first_form + k];
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", heed::name(form.dtype), to_string(form.shape));
      }
    }
    return list;
  }

  /// Rows by `key(event)`, which is unique text.
  template <class Key>
  std::vector<ProfileRow> rows(Key key) const {
    std::vector<ProfileRow> list;
    std::unordered_map<std::string, size_t> index;
    std::vector<size_t> row_of(events_.size());
    for (size_t i = 0; i < events_.size(); ++i) {
      Event const& e = events_[i];
      auto const [entry, fresh] = index.try_emplace(key(e), list.size());
      if (fresh) list.push_back({.name = entry->first});
      row_of[i] = entry->second;
      ProfileRow& row = list[entry->second];
      bool inside = false;  // a call of the same name
      for (size_t up = e.parent; up != none && !inside; up = events_[up].parent) inside = row_of[up] == row_of[i];
      if (!inside) ++row.calls, row.total += e.duration;
      row.self += e.duration - e.nested;
      row.flops += e.flops;
      row.bytes += e.read + e.written;
      row.allocated += e.allocated;
      row.peak = std::max(row.peak, e.peak);
    }
    std::stable_sort(list.begin(), list.end(), [](auto const& a, auto const& b) { return a.self > b.self; });
    return list;
  }
  std::vector<ProfileRow> by_op() const {
    return rows([](Event const& e) { return name(e); });
  }
  std::vector<ProfileRow> by_module() const {
    auto list = rows([](Event const& e) { return e.path.empty() ? std::string("(no module)") : std::string(e.path); });
    for (ProfileRow& row : list) {
      row.total = 0;
      for (ProfileRow const& other : list)
        if (other.name.starts_with(row.name) &&
            (other.name.size() == row.name.size() || other.name[row.name.size()] == '.'))
          row.total += other.self;
    }
    return list;
  }

  std::string table(char const* what, std::vector<ProfileRow> const& list) const {
    int64_t sum = 0;
    size_t width = std::strlen(what);
    for (ProfileRow const& row : list) sum += row.self, width = std::max(width, row.name.size());
    std::string text =
        fmt::format("{:<{}} {:>8} {:>10} {:>10} {:>10} {:>7} {:>9} {:>8} {:>11} {:>9}\n", what, width, "calls",
                    "total ms", "self ms", "mean µs", "share", "GFLOP/s", "GB/s", "allocated MB", "peak MB");
    for (ProfileRow const& row : list)
      text += fmt::format("{:<{}} {:>8} {:>10.3f} {:>10.3f} {:>9.2f} {:>5.1f} % {:>9} {:>8} {:>12} {:>9}\n", row.name,
                          width, row.calls, 1e-6 * double(row.total), 1e-6 * double(row.self),
                          1e-3 * double(row.total) / double(std::max<int64_t>(row.calls, 1)),
                          sum ? 100.0 * double(row.self) / double(sum) : 0.0, rate(row.flops, row.self),
                          rate(double(row.bytes), row.self), megabytes(row.allocated), megabytes(row.peak));
    text += fmt::format("{:.3f} ms, of which {:.3f} ms in operations; memory peak {} MB\n", 1e-6 * double(duration_),
                        1e-6 * double(sum), megabytes(peak_));
    if (dropped_) text += fmt::format("{} later operations were not kept\n", dropped_);
    return text;
  }

  std::string trace() const {
    JsonWriter json;
    json.object().field("displayTimeUnit", "ms").key("traceEvents").array();
    auto begin = [&](char const* phase, std::string_view name, int thread) -> JsonWriter& {
      return json.object().field("ph", phase).field("name", name).field("pid", 1).field("tid", thread);
    };
    begin("M", "process_name", 0).key("args").object().field("name", "heed").end().end();
    for (auto const& [id, thread] : threads_) {
      begin("M", "thread_name", thread.number).key("args").object();
      json.field("name", fmt::format("thread {}", thread.number)).end().end();
    }
    auto micros = [](int64_t nanoseconds) { return double(nanoseconds) / 1000; };
    for (Span const& m : modules())
      begin("X", m.path, m.thread)
          .field("cat", m.backward ? "module backward" : "module")
          .field("ts", micros(m.start))
          .field("dur", micros(m.end - m.start))
          .end();
    auto const list = events();
    for (size_t i = 0; i < list.size(); ++i) {
      ProfileEvent const& e = list[i];
      begin("X", e.op, e.thread)
          .field("cat", e.backward ? "backward" : "forward")
          .field("ts", micros(e.start))
          .field("dur", micros(e.duration))
          .key("args")
          .object();
      if (!e.path.empty()) json.field("module", e.path);
      if (!e.inputs.empty()) json.field("inputs", e.inputs);
      if (!e.outputs.empty()) json.field("outputs", e.outputs);
      if (e.flops > 0) json.field("flops", e.flops).field("GFLOP/s", e.flops / double(std::max<int64_t>(e.self, 1)));
      json.field("bytes read", e.read)
          .field("bytes written", e.written)
          .field("bytes allocated", e.allocated)
          .field("bytes alive at most", e.peak)
          .end()
          .end();
      if (e.depth == 0)
        begin("C", "bytes alive", e.thread)
            .field("ts", micros(e.start + e.duration))
            .key("args")
            .object()
            .field("storages", events_[i].in_use)
            .end()
            .end();
    }
    return json.end().end().text() + "\n";
  }

 private:
  struct Event {
    char const *op, *of = nullptr;  // of: the operation whose gradient function it is or runs in
    std::string_view path;
    int thread = 0, depth = 0;
    bool gradient = false;
    size_t parent = none, first_form = 0, inputs = 0, outputs = 0, allocated_before = 0;
    int64_t start = 0, duration = 0, nested = 0, read = 0, written = 0, allocated = 0, allocated_nested = 0, peak = 0,
            in_use = 0;
    double flops = 0;
  };
  struct Thread {
    int number;
    size_t open = none;
  };
  struct Span {
    std::string_view path;
    int thread;
    bool backward;
    int64_t start, end;
  };

  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  static std::string name(Event const& e) {
    bool const backward = e.gradient || (e.of && std::strcmp(e.of, e.op) == 0);
    return backward ? fmt::format("{} backward", e.op) : std::string(e.op);
  }

  Thread& this_thread() {
    return threads_.try_emplace(std::this_thread::get_id(), Thread{int(threads_.size())}).first->second;
  }

  /// The thread's path, which may end before the profile does, as one that stays.
  std::string_view kept_path() {
    std::string_view const path = scope_path();
    if (path != last_path_) last_path_ = intern(path);
    return last_path_;
  }

  /// The peak since the last call belongs to `open` and to what it is nested in.
  void note_peak(size_t open) {
    auto const bytes = int64_t(detail::take_peak_window());
    peak_ = std::max(peak_, bytes);
    for (; open != none; open = events_[open].parent) events_[open].peak = std::max(events_[open].peak, bytes);
  }

  /// The time of each module: neighbouring operations of one thread whose paths share it. A path "a.b" is inside "a".
  std::vector<Span> modules() const {
    std::vector<Span> done;
    std::map<int, std::vector<Span>> open;
    for (Event const& e : events_) {
      if (e.depth > 0) continue;
      bool const backward = e.gradient;
      std::vector<Span>& stack = open[e.thread];
      auto inside = [&](Span const& span) {
        return span.backward == backward && e.path.starts_with(span.path) &&
               (e.path.size() == span.path.size() || e.path[span.path.size()] == '.');
      };
      size_t keep = 0;
      while (keep < stack.size() && inside(stack[keep])) stack[keep++].end = e.start + e.duration;
      done.insert(done.end(), stack.begin() + long(keep), stack.end());
      stack.resize(keep);
      size_t from = stack.empty() ? 0 : stack.back().path.size() + 1;
      while (from < e.path.size()) {
        size_t const dot = std::min(e.path.find('.', from), e.path.size());
        stack.push_back({e.path.substr(0, dot), e.thread, backward, e.start, e.start + e.duration});
        from = dot + 1;
      }
    }
    for (auto& [thread, stack] : open) done.insert(done.end(), stack.begin(), stack.end());
    return done;
  }

  std::vector<Event> events_;
  std::vector<Form> forms_;
  std::unordered_map<std::thread::id, Thread> threads_;
  std::string_view last_path_;
  int64_t start_ = 0, duration_ = 0, peak_ = 0;
  size_t dropped_ = 0;
  bool stopped_ = false;
};

Profile::Profile() : recorder_(std::make_unique<Recorder>()) {}
Profile::~Profile() {
  if (recorder_) recorder_->stop();
}
Profile::Profile(Profile&&) noexcept = default;
Profile& Profile::operator=(Profile&& other) noexcept {
  if (recorder_ && recorder_ != other.recorder_) recorder_->stop();
  recorder_ = std::move(other.recorder_);
  return *this;
}

void Profile::stop() { stopped(); }
Profile::Recorder& Profile::stopped() {
  check(bool(recorder_), "Profile", [] {
    return Complaint{"its content was moved away", "ask the profile that it went to"};
  });
  recorder_->stop();
  return *recorder_;
}

int64_t Profile::duration() { return stopped().duration(); }
int64_t Profile::peak() { return stopped().peak(); }
std::vector<ProfileEvent> Profile::events() { return stopped().events(); }
std::vector<ProfileRow> Profile::by_op() { return stopped().by_op(); }
std::vector<ProfileRow> Profile::by_module() { return stopped().by_module(); }
std::string Profile::table() { return stopped().table("operation", by_op()); }
std::string Profile::module_table() { return stopped().table("module", by_module()); }
std::string Profile::trace() { return stopped().trace(); }
void Profile::write_trace(std::string const& path) { write_file_atomically(path, trace()); }

}  // namespace heed
