// Recorded modifications on tiles: scores changed, pairs hidden, slopes with respect to scores and to tables.
// For *.simd.cpp files only.
#pragma once

#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/attend_decode.h>
#include <heed/engine/ops/program_runner.h>

#include <optional>

namespace heed {
inline namespace HEED_ISA_LEVEL {

/// The programs of one task. Positions are absolute: query i of the call stands at i + shift.
template <class T>
class TileMods {
 public:
  TileMods(AttendArgs<T> const& a, AttendMod<T> const& slope = {})
      : shift_(a.tk - a.tq),
        length_(longest(a.tiles())),
        query_(length_),
        key_(length_),
        sums_(slope.program ? length_ * slope.program->outputs() / 4 : 0) {
    auto const make = [&](std::optional<TileRunner<T>>& runner, AttendMod<T> const& mod) {
      if (mod.program) runner.emplace(*mod.program, kernels<ProgramKernels>().of<T>().steps, mod.tables, length_);
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
    each([&](TileRunner<T>& runner) {
      runner.fill(mod_batch, T(b));
      runner.fill(mod_head, T(h));
      runner.begin();
    });
  }

  /// Queries [i, i + lanes) in lanes, keys one row after the other.
  void begin_queries(int64_t i, int64_t lanes) {
    for (int64_t r = 0; r < lanes; ++r) query_[r] = T(i + r + shift_);
    each([&](TileRunner<T>& runner) {
      runner.place(mod_query, query_.data());
      runner.begin_lanes(lanes);
    });
  }
  /// to[c][r] = score(from[c][r]); in place where they are the same.
  void score(T const* from, T* to, int64_t ld, int64_t lanes, int64_t j, int64_t keys) {
    begin_keys(*score_, j, keys);
    for (int64_t c = 0; c < keys; ++c) {
      score_->place(mod_score, from + c * ld);
      score_->row(c);
      __builtin_memmove(to + c * ld, score_->output(0), size_t(lanes) * sizeof(T));
    }
  }
  /// to[c][r] = 0 where the mask says so.
  void hide(T* to, int64_t ld, int64_t lanes, int64_t j, int64_t keys) {
    begin_keys(*sees_, j, keys);
    for (int64_t c = 0; c < keys; ++c) {
      sees_->row(c);
      T const* const seen = sees_->output(0);
      for (int64_t r = 0; r < lanes; ++r) to[c * ld + r] = seen[r] != 0 ? to[c * ld + r] : T(0);
    }
  }
  /// g becomes slope·g with respect to the scores s; slopes with respect to tables are added to the sinks. What seen
  /// (if not null) says is hidden has none. Slopes that a tile adds to the same elements row by row are summed over its
  /// rows first.
  void slope(T const* s, T* g, T const* seen, int64_t ld, int64_t queries, int64_t lanes, int64_t j, int64_t keys,
             AttendSink const* sinks, int sink_count, int64_t part) {
    begin_keys(*slope_, j, keys);
    auto const coordinates = [&](int k) {
      return std::array<T const*, 3>{slope_->output(2 + 4 * k), slope_->output(3 + 4 * k), slope_->output(4 + 4 * k)};
    };
    auto const varies = [&](int k) {
      int how = nowhere;
      for (int axis = 0; axis < 3; ++axis)
        if (sinks[k].stride[axis]) how |= slope_->varies(2 + 4 * k + axis);
      return how;
    };
    for (int k = 0; k < sink_count; ++k)
      if (!(varies(k) & along_rows))
        for (int64_t r = 0; r < lanes; ++r) sums_[k * length_ + r] = 0;
    T row[ProgramRunner<T>::longest];
    for (int64_t c = 0; c < keys; ++c) {
      T const* const there = seen ? seen + c * ld : nullptr;
      slope_->place(mod_score, s + c * ld);
      slope_->place(mod_inputs, g + c * ld);
      slope_->row(c);
      for (int k = 0; k < sink_count; ++k) {
        T const* const d = slope_->output(1 + 4 * k);
        int const how = varies(k);
        if (!(how & along_rows))
          visible(d, there, sums_.data() + k * length_, lanes, true);
        else if (how == along_rows)
          add_at(sinks[k], part, row_sum(d, there, queries), coordinates(k));
        else
          add(sinks[k], part, visible(d, there, row, lanes), coordinates(k), queries);
      }
      visible(slope_->output(0), there, g + c * ld, lanes);
    }
    for (int k = 0; k < sink_count; ++k)
      if (!(varies(k) & along_rows)) add(sinks[k], part, sums_.data() + k * length_, coordinates(k), queries);
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
  static int64_t longest(Tiles const& tiles) { return attend_max(attend_max(tiles.queries, tiles.keys), decode_keys); }
  template <class F>
  void each(F const& f) {
    for (auto* runner : {&score_, &sees_, &slope_})
      if (*runner) f(**runner);
  }
  void begin_keys(TileRunner<T>& runner, int64_t j, int64_t keys) {
    for (int64_t c = 0; c < keys; ++c) key_[c] = T(j + c);
    runner.place(mod_key, key_.data());
    runner.begin_rows(keys);
  }
  void begin_row(TileRunner<T>& runner, int64_t i, int64_t j, int64_t keys) {
    for (int64_t c = 0; c < keys; ++c) key_[c] = T(j + c);
    runner.place(mod_query, runner.own(mod_query));
    runner.fill(mod_query, T(i + shift_));
    runner.place(mod_key, key_.data());
  }
  /// to = d, or to += d, where it is seen; 0 elsewhere.
  static T const* visible(T const* d, T const* seen, T* to, int64_t lanes, bool plus = false) {
    Vec<T> const zero = Batch<T>(T(0));
    for (int64_t r = 0; r < lanes; r += Vec<T>::width) {
      Vec<T> x = Vec<T>::load(d + r);
      if (seen) x = select(Vec<T>::load(seen + r) == zero, zero, x);
      (plus ? Vec<T>::load(to + r) + x : x).store(to + r);
    }
    return to;
  }
  static T row_sum(T const* d, T const* seen, int64_t n) {
    Vec<T> const zero = Batch<T>(T(0));
    Vec<T> total = zero;
    for (int64_t r = 0; r < n; r += Vec<T>::width) {
      Vec<T> x = Vec<T>::load(d + r);
      if (seen) x = select(Vec<T>::load(seen + r) == zero, zero, x);
      total += n - r < Vec<T>::width ? first_lanes<T>(x, int(n - r), T(0)) : x;
    }
    return reduce_add(total);
  }
  static void add_at(AttendSink const& sink, int64_t part, T d, std::array<T const*, 3> const& coordinates) {
    int64_t place = part * sink.numel;
    for (int axis = 0; axis < 3; ++axis)
      if (sink.stride[axis]) place += table_place(coordinates[size_t(axis)][0], sink.size[axis]) * sink.stride[axis];
    sink.sum[place] += double(d);
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

  int64_t shift_, length_, batch_ = -1, head_ = -1;
  std::optional<TileRunner<T>> score_, sees_, slope_;
  Scratch<T> query_, key_, sums_;
};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
