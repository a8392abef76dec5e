// Sums of functions of scores over keys or over queries, with their gradients, and thresholds of rows of scores: what
// probes and sparse normalisers are made of. Tiles as in attend.simd.cpp, whose object this is a part of; O(T) memory.
#pragma once

#include <heed/engine/ops/attend_problem.h>
#include <heed/engine/parallel.h>

#include <cmath>
#include <limits>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace rows {

/// The scores of queries [i, i + queries) and one key block, modified, `with` where nothing is seen.
template <class T>
struct ScoreTiles {
  Problem<T> const& p;
  TileMods<T>& mods;
  T *qt, *raw, *s, *seen;

  static int64_t bytes(Problem<T> const& p) {
    int64_t const q = p.tiles.queries, k = p.tiles.keys;
    return Workspace::room<T>(p.a.d * q) + 3 * Workspace::room<T>(k * q);
  }
  ScoreTiles(Problem<T> const& problem, TileMods<T>& m, Workspace& w) : p(problem), mods(m) {
    int64_t const q = p.tiles.queries, k = p.tiles.keys;
    qt = w.take<T>(p.a.d * q), raw = w.take<T>(k * q), s = w.take<T>(k * q), seen = w.take<T>(k * q);
  }

  /// f(j, keys, partial) for every tile, after its scores stand in raw and s.
  template <class F>
  void each(int64_t b, int64_t h, int64_t i, T with, F const& f) {
    auto const& a = p.a;
    int64_t const ld = p.tiles.queries, queries = attend_min(ld, a.tq - i), lanes = round_up(queries, Vec<T>::width);
    Visibility const see = p.visibility(b, h);
    pack_transposed(a.q + b * a.q_batch + h * a.q_head + i * a.q_row, a.q_row, queries, a.d, a.scale, qt, ld, lanes);
    mods.begin_head(b, h);
    mods.begin_queries(i, lanes);
    p.key_blocks(see, b, h, i, queries, [&](int64_t block, Cover cover) {
      int64_t const j = block * p.tiles.keys, keys = attend_min(p.tiles.keys, a.tk - j);
      bool const partial = cover == Cover::partial || queries < lanes;
      T const* const k = a.key(b, p.key_head(h), j);
      product<T, false>(k, a.k_row, qt, ld, raw, ld, keys, lanes, a.d, false);
      if (mods.scores())
        mods.score(raw, s, ld, lanes, j, keys);
      else
        for (int64_t c = 0; c < keys; ++c) __builtin_memcpy(s + c * ld, raw + c * ld, size_t(lanes) * sizeof(T));
      if (partial) {
        mark_seen(see, &mods, seen, ld, i, queries, j, keys);
        keep_seen(seen, s, ld, lanes, keys, with);
      }
      f(j, keys, partial);
    });
  }
};

template <class T>
void sum(AttendArgs<T> const& a, bool over_queries, T* sums) {
  constexpr int width = Vec<T>::width;
  Problem<T> const p(a);
  int64_t const blocks = over_queries ? 1 : p.query_blocks();
  parallel_for(a.batch * a.heads * blocks, 1, [&](int64_t begin, int64_t end) {
    Workspace workspace(ScoreTiles<T>::bytes(p) + Workspace::room<T>(p.tiles.queries));
    TileMods<T> mods(a);
    ScoreTiles<T> tiles(p, mods, workspace);
    T* const total = workspace.take<T>(p.tiles.queries);
    int64_t const ld = p.tiles.queries;
    for (int64_t task = begin; task < end; ++task) {
      int64_t const head = task / blocks, b = head / a.heads, h = head % a.heads;
      if (over_queries) {
        T* const to = sums + head * a.tk;
        fill(to, a.tk, T(0));
        for (int64_t i = 0; i < a.tq; i += ld) {
          int64_t const lanes = round_up(attend_min(ld, a.tq - i), width);
          tiles.each(b, h, i, T(0), [&](int64_t j, int64_t keys, bool) {
            for (int64_t c = 0; c < keys; ++c) {
              Vec<T> row = Batch<T>(T(0));
              for (int64_t r = 0; r < lanes; r += width) row += Vec<T>::load(tiles.s + c * ld + r);
              to[j + c] += reduce_add(row);
            }
          });
        }
        continue;
      }
      int64_t const i = task % blocks * ld, queries = attend_min(ld, a.tq - i), lanes = round_up(queries, width);
      fill(total, lanes, T(0));
      tiles.each(b, h, i, T(0), [&](int64_t, int64_t keys, bool) {
        for (int64_t r = 0; r < lanes; r += width) {
          Vec<T> column = Batch<T>(T(0));
          for (int64_t c = 0; c < keys; ++c) column += Vec<T>::load(tiles.s + c * ld + r);
          (Vec<T>::load(total + r) + column).store(total + r);
        }
      });
      __builtin_memcpy(sums + head * a.tq + i, total, size_t(queries) * sizeof(T));
    }
  });
}

/// One task a key head: its dK stays in its memory, the queries of its heads come in turn.
template <class T>
void sum_backward(AttendArgs<T> const& a, bool over_queries, T const* g, AttendGradArgs<T> const& to) {
  constexpr int width = Vec<T>::width;
  Problem<T> const p(a);
  int64_t const tasks = a.batch * a.kv_heads, parts = attend_parts(tasks), ld = p.tiles.queries;
  auto const run = [&](int64_t begin, int64_t end, int64_t part) {
    auto const room = &Workspace::room<T>;
    Workspace workspace(ScoreTiles<T>::bytes(p) + room(p.tiles.keys * ld) + 2 * room(ld * p.dp) +
                        room(p.tiles.keys * p.dp) + room(a.tk * p.dp));
    TileMods<T> mods(a, to.slope);
    ScoreTiles<T> tiles(p, mods, workspace);
    T* const ds = workspace.take<T>(p.tiles.keys * ld);
    T* const q = workspace.take<T>(ld * p.dp);
    T* const dq = workspace.take<T>(ld * p.dp);
    T* const kc = workspace.take<T>(p.tiles.keys * p.dp);
    T* const dk = workspace.take<T>(a.tk * p.dp);
    for (int64_t task = begin; task < end; ++task) {
      int64_t const b = task / a.kv_heads, kv_head = task % a.kv_heads, group = a.heads / a.kv_heads;
      fill(dk, a.tk * p.dp, T(0));
      for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
        for (int64_t i = 0; i < a.tq; i += ld) {
          int64_t const queries = attend_min(ld, a.tq - i), lanes = round_up(queries, width);
          T const* const row_g = g + (b * a.heads + h) * (over_queries ? a.tk : a.tq);
          pack_rows(a.q + b * a.q_batch + h * a.q_head + i * a.q_row, a.q_row, queries, a.d, a.scale, q, p.dp);
          fill(dq, ld * p.dp, T(0));
          tiles.each(b, h, i, T(0), [&](int64_t j, int64_t keys, bool partial) {
            for (int64_t c = 0; c < keys; ++c)
              for (int64_t r = 0; r < lanes; ++r)
                ds[c * ld + r] = r >= queries ? T(0) : over_queries ? row_g[j + c] : row_g[i + r];
            mods.slope(tiles.raw, ds, partial ? tiles.seen : nullptr, ld, queries, lanes, j, keys, to.sinks,
                       to.sink_count, part);
            product<T, false>(ds, ld, q, p.dp, dk + j * p.dp, p.dp, keys, p.dp, queries, true);
            pack_rows(a.key(b, kv_head, j), a.k_row, keys, a.d, T(1), kc, p.dp);
            if (!partial || all_finite(kc, p.dp, keys, p.dp))
              product<T, true>(ds, ld, kc, p.dp, dq, p.dp, queries, p.dp, keys, true);
            else
              product_visible(tiles.seen, ds, ld, queries, keys, kc, p.dp, p.dp, dq, p.dp);
          });
          for (int64_t r = 0; r < queries; ++r)
            write_row(dq + r * p.dp, a.scale,
                      to.dq + b * to.dq_strides.batch + h * to.dq_strides.head + (i + r) * to.dq_strides.row, a.d);
        }
      for (int64_t j = 0; j < a.tk; ++j)
        write_row(dk + j * p.dp, T(1),
                  to.dk + b * to.dk_strides.batch + kv_head * to.dk_strides.head + j * to.dk_strides.row, a.d);
    }
  };
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) run(part * tasks / parts, (part + 1) * tasks / parts, part);
  });
}

/// f(x)^power for x > 0 with power 1, 2 or any, 0 elsewhere.
template <class T>
[[gnu::always_inline]] inline Vec<T> positive_power(Vec<T> x, double power) {
  Vec<T> const zero = Batch<T>(T(0));
  Vec<T> const y = power == 1 ? x : power == 2 ? x * x : exp(log(max(x, Vec<T>(T(1e-30)))) * Vec<T>(T(power)));
  return select(x > zero, y, zero);
}

/// τ with Σ_j max((α − 1)·s_j − τ, 0)^(1/(α−1)) = 1, for queries in lanes: Newton's steps within a bracket that halves.
template <class T>
void entmax_threshold(T const* strip, int64_t ld, int64_t lanes, int64_t keys, double alpha, T* threshold) {
  constexpr int width = Vec<T>::width;
  double const power = 1 / (alpha - 1);
  Vec<T> const scale = Batch<T>(T(alpha - 1)), one = Batch<T>(T(1)), zero = Batch<T>(T(0));
  Vec<T> const nothing = Batch<T>(T(-__builtin_huge_valf()));
  for (int64_t r = 0; r < lanes; r += width) {
    Vec<T> top = nothing;
    for (int64_t c = 0; c < keys; ++c) top = max(Vec<T>::load(strip + c * ld + r), top);
    Mask<Batch<T>> const none = top == nothing;
    top = select(none, zero, top * scale);
    // All of the weight on one key: τ = top − 1; spread over all keys: no less than top − keys^(1 − α).
    Vec<T> low = top - one, high = top;
    Vec<T> tau = low;
    for (int step = 0; step < (sizeof(T) == 4 ? 40 : 70); ++step) {
      Vec<T> total = zero, slope = zero;
      for (int64_t c = 0; c < keys; ++c) {
        Vec<T> const x = fma(Vec<T>::load(strip + c * ld + r), scale, zero - tau);
        Vec<T> const less = positive_power<T>(x, power - 1);
        total += less * max(x, zero);
        slope += less;
      }
      Vec<T> const excess = total - one;
      Mask<Batch<T>> const above = excess > zero;
      low = select(above, tau, low);
      high = select(above, high, tau);
      Vec<T> next = tau + excess / (slope * Vec<T>(T(power)));
      Vec<T> const middle = (low + high) * Vec<T>(T(0.5));
      next = select((next > low) & (next < high), next, middle);
      bool const done = !xsimd::any((next != tau).b);
      tau = next;
      if (done) break;
    }
    // What sees nothing has no weight whatever τ is.
    select(none, Vec<T>(Batch<T>(T(__builtin_huge_valf()))), tau).store(threshold + r);
  }
}

/// The count-th largest score of each query: a binary search over the floats in their order, which is that of integers.
template <class T>
void kth_threshold(T const* strip, int64_t ld, int64_t lanes, int64_t keys, int64_t count, T* threshold) {
  using I = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  constexpr int bits = sizeof(T) * 8;
  constexpr int64_t most = Tiles::most_queries;
  using U = std::make_unsigned_t<I>;
  // Floats and their order as integers: negative ones turned round. An involution.
  auto const turned = [](I x) { return I(x ^ ((x >> (bits - 1)) & std::numeric_limits<I>::max())); };
  auto const number = [&](I ordered) { return __builtin_bit_cast(T, turned(ordered)); };
  alignas(64) I best[most];
  alignas(64) T bound[most];
  alignas(64) int32_t reach[most];
  I const least = turned(__builtin_bit_cast(I, T(-__builtin_huge_valf())));
  I const greatest = turned(__builtin_bit_cast(I, T(__builtin_huge_valf())));
  for (int64_t r = 0; r < lanes; ++r) best[r] = least;
  // best is the largest number, in steps of falling powers of two above −∞, that `count` scores reach.
  for (int bit = bits - 1; bit >= 0; --bit) {
    auto const next = [&](int64_t r) { return I(U(best[r]) + (U(1) << bit)); };
    auto const exists = [&](int64_t r) { return next(r) > best[r] && next(r) <= greatest; };
    for (int64_t r = 0; r < lanes; ++r) bound[r] = exists(r) ? number(next(r)) : T(NAN), reach[r] = 0;
    for (int64_t c = 0; c < keys; ++c)
      for (int64_t r = 0; r < lanes; ++r) reach[r] += strip[c * ld + r] >= bound[r];
    for (int64_t r = 0; r < lanes; ++r)
      if (reach[r] >= count) best[r] = next(r);
  }
  for (int64_t r = 0; r < lanes; ++r) threshold[r] = number(best[r]);
}

/// Half way from each threshold down to the next lower score, so that scores computed in another order fall on the same
/// side; −∞ where there is none.
template <class T>
void below_threshold(T const* strip, int64_t ld, int64_t lanes, int64_t keys, T* threshold) {
  constexpr int width = Vec<T>::width;
  Vec<T> const nothing = Batch<T>(T(-__builtin_huge_valf())), half = Batch<T>(T(0.5));
  for (int64_t r = 0; r < lanes; r += width) {
    Vec<T> const level = Vec<T>::load(threshold + r);
    Vec<T> next = nothing;
    for (int64_t c = 0; c < keys; ++c) {
      Vec<T> const s = Vec<T>::load(strip + c * ld + r);
      next = max(next, select(s < level, s, nothing));
    }
    (level * half + next * half).store(threshold + r);
  }
}

template <class T>
void threshold(AttendArgs<T> const& a, RowThreshold kind, double parameter, T* to) {
  constexpr int width = Vec<T>::width;
  Problem<T> const p(a);
  int64_t const blocks = p.query_blocks(), ld = p.tiles.queries;
  parallel_for(a.batch * a.heads * blocks, 1, [&](int64_t begin, int64_t end) {
    Workspace workspace(ScoreTiles<T>::bytes(p) + Workspace::room<T>(a.tk * ld) + Workspace::room<T>(ld));
    TileMods<T> mods(a);
    ScoreTiles<T> tiles(p, mods, workspace);
    T* const strip = workspace.take<T>(a.tk * ld);
    T* const found = workspace.take<T>(ld);
    for (int64_t task = begin; task < end; ++task) {
      int64_t const head = task / blocks, i = task % blocks * ld, queries = attend_min(ld, a.tq - i);
      int64_t const lanes = round_up(queries, width);
      int64_t keys = 0;  // those of tiles in which something is seen
      tiles.each(head / a.heads, head % a.heads, i, T(-__builtin_huge_valf()), [&](int64_t, int64_t here, bool) {
        for (int64_t c = 0; c < here; ++c)
          __builtin_memcpy(strip + (keys + c) * ld, tiles.s + c * ld, size_t(lanes) * sizeof(T));
        keys += here;
      });
      if (kind == RowThreshold::entmax)
        entmax_threshold(strip, ld, lanes, keys, parameter, found);
      else
        kth_threshold(strip, ld, lanes, keys, int64_t(parameter), found);
      if (kind == RowThreshold::below_largest) below_threshold(strip, ld, lanes, keys, found);
      __builtin_memcpy(to + head * a.tq + i, found, size_t(queries) * sizeof(T));
    }
  });
}

}  // namespace rows
}  // namespace HEED_ISA_LEVEL
}  // namespace heed
