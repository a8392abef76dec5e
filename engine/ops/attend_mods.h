// Recorded modifications on tiles: scores changed, pairs hidden, slopes with respect to scores and to tables.
// For *.simd.cpp files only.
#pragma once

#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/program_runner.h>

#include <optional>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// The programs of one task. Positions are absolute: query i of the call stands at i + shift.
template <class T>
class TileMods {
 public:
  TileMods(AttendArgs<T> const& a, AttendMod<T> const& slope = {})
      : shift_(a.tk - a.tq), query_(ProgramRunner<T>::longest), key_(ProgramRunner<T>::longest) {
    auto const make = [](std::optional<ProgramRunner<T>>& runner, AttendMod<T> const& mod) {
      if (mod.program)
        runner.emplace(*mod.program, kernels<ProgramKernels>().of<T>().steps, mod.tables, ProgramRunner<T>::longest);
    };
    make(score_, a.score);
    make(sees_, a.sees);
    make(slope_, slope);
  }

  bool scores() const { return score_.has_value(); }
  bool hides() const { return sees_.has_value(); }

  void begin_head(int64_t b, int64_t h) {
    if (b == batch_ && h == head_) return;
    batch_ = b, head_ = h;
    each([&](ProgramRunner<T>& runner) {
      runner.fill(mod_batch, T(b));
      runner.fill(mod_head, T(h));
      runner.begin();
    });
  }

  /// Queries [i, i + lanes) in lanes, keys one row after the other.
  void begin_queries(int64_t i, int64_t lanes) {
    for (int64_t r = 0; r < lanes; ++r) query_[r] = T(i + r + shift_);
    each([&](ProgramRunner<T>& runner) {
      runner.place(mod_query, query_.data());
      runner.place(mod_key, runner.own(mod_key));
    });
  }
  /// to[c][r] = score(from[c][r]); in place where they are the same.
  void score(T const* from, T* to, int64_t ld, int64_t lanes, int64_t j, int64_t keys) {
    for (int64_t c = 0; c < keys; ++c) {
      score_->place(mod_score, from + c * ld);
      score_->fill(mod_key, T(j + c));
      score_->run(lanes);
      __builtin_memmove(to + c * ld, score_->output(0), size_t(lanes) * sizeof(T));
    }
  }
  /// to[c][r] = 0 where the mask says so.
  void hide(T* to, int64_t ld, int64_t lanes, int64_t j, int64_t keys) {
    for (int64_t c = 0; c < keys; ++c) {
      sees_->fill(mod_key, T(j + c));
      sees_->run(lanes);
      T const* const seen = sees_->output(0);
      for (int64_t r = 0; r < lanes; ++r) to[c * ld + r] = seen[r] != 0 ? to[c * ld + r] : T(0);
    }
  }
  /// g becomes slope·g with respect to the scores s; slopes with respect to tables are added to the sinks. What seen
  /// (if not null) says is hidden has none.
  void slope(T const* s, T* g, T const* seen, int64_t ld, int64_t queries, int64_t lanes, int64_t j, int64_t keys,
             AttendSink const* sinks, int sink_count, int64_t part) {
    T row[ProgramRunner<T>::longest];
    for (int64_t c = 0; c < keys; ++c) {
      slope_->place(mod_score, s + c * ld);
      slope_->place(mod_inputs, g + c * ld);
      slope_->fill(mod_key, T(j + c));
      slope_->run(lanes);
      auto const visible = [&](T const* d) -> T const* {
        if (!seen) return d;
        for (int64_t r = 0; r < lanes; ++r) row[r] = seen[c * ld + r] != 0 ? d[r] : T(0);
        return row;
      };
      for (int k = 0; k < sink_count; ++k)
        add(sinks[k], part, visible(slope_->output(1 + 4 * k)),
            {slope_->output(2 + 4 * k), slope_->output(3 + 4 * k), slope_->output(4 + 4 * k)}, queries);
      __builtin_memcpy(g + c * ld, visible(slope_->output(0)), size_t(lanes) * sizeof(T));
    }
  }

  /// One query, keys [j, j + keys) in lanes.
  void score_row(T* s, int64_t i, int64_t j, int64_t keys) {
    begin_row(*score_, i, j, keys);
    score_->place(mod_score, s);
    score_->run(keys);
    __builtin_memmove(s, score_->output(0), size_t(keys) * sizeof(T));
  }
  void hide_row(T* s, int64_t i, int64_t j, int64_t keys, T with) {
    begin_row(*sees_, i, j, keys);
    sees_->run(keys);
    T const* const seen = sees_->output(0);
    for (int64_t c = 0; c < keys; ++c) s[c] = seen[c] != 0 ? s[c] : with;
  }

 private:
  template <class F>
  void each(F const& f) {
    for (auto* runner : {&score_, &sees_, &slope_})
      if (*runner) f(**runner);
  }
  void begin_row(ProgramRunner<T>& runner, int64_t i, int64_t j, int64_t keys) {
    for (int64_t c = 0; c < keys; ++c) key_[c] = T(j + c);
    runner.place(mod_query, runner.own(mod_query));
    runner.fill(mod_query, T(i + shift_));
    runner.place(mod_key, key_.data());
  }
  static void add(AttendSink const& sink, int64_t part, T const* d, std::array<T const*, 3> const& coordinates,
                  int64_t n) {
    ProgramTableView<T> table{nullptr, {}, {}};
    for (int axis = 0; axis < 3; ++axis) table.size[axis] = sink.size[axis], table.stride[axis] = sink.stride[axis];
    int64_t places[ProgramRunner<T>::longest];
    T const* const at[3] = {coordinates[0], coordinates[1], coordinates[2]};
    double* const sum = sink.sum + part * sink.numel;
    switch (table_places(table, at, n, places)) {
      case Places::alike: {
        double total[8] = {};  // sums that do not wait for each other
        for (int64_t i = 0; i < n; ++i) total[i % 8] += double(d[i]);
        if (n > 0)
          sum[places[0]] +=
              ((total[0] + total[1]) + (total[2] + total[3])) + ((total[4] + total[5]) + (total[6] + total[7]));
        break;
      }
      case Places::consecutive:
        for (int64_t i = 0; i < n; ++i) sum[places[0] + i] += double(d[i]);
        break;
      case Places::scattered:
        for (int64_t i = 0; i < n; ++i) sum[places[i]] += double(d[i]);
    }
  }

  int64_t shift_, batch_ = -1, head_ = -1;
  std::optional<ProgramRunner<T>> score_, sees_, slope_;
  Scratch<T> query_, key_;
};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
