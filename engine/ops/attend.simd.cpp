#include <heed/engine/isa.h>
#include <heed/engine/parallel.h>
#include <heed/engine/storage.h>
//
#include <heed/engine/lane.h>
//
#include <heed/engine/ops/attend.h>
#include <heed/engine/ops/attend_decode.h>
#include <heed/engine/ops/attend_dropout.h>
#include <heed/engine/ops/attend_problem.h>
#include <heed/engine/ops/attend_rows.h>

#include <cmath>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

template <class T>
struct ForwardSpace {
  T *qt, *s, *o, *drop, *seen, *vc, *m, *l, *alpha;
  static int64_t bytes(Problem<T> const& p) {
    auto const room = &Workspace::room<T>;
    int64_t const q = p.tiles.queries, k = p.tiles.keys;
    return room(p.a.d * q) + room(k * q) * (p.threshold ? 3 : 2) + room(q * p.dvp) + room(k * p.dvp) + 3 * room(q);
  }
  ForwardSpace(Problem<T> const& p, Workspace& w) {
    int64_t const q = p.tiles.queries, k = p.tiles.keys;
    qt = w.take<T>(p.a.d * q);
    s = w.take<T>(k * q);
    seen = w.take<T>(k * q);
    drop = p.threshold ? w.take<T>(k * q) : nullptr;
    o = w.take<T>(q * p.dvp);
    // V is read in place where its rows are whole registers and do not fall on the same sets of the first-level cache.
    bool const in_place = p.a.dv == p.dvp && (p.a.v_row == p.dvp || p.a.v_row * int64_t(sizeof(T)) % 1024 != 0);
    vc = in_place ? nullptr : w.take<T>(k * p.dvp);
    m = w.take<T>(q), l = w.take<T>(q), alpha = w.take<T>(q);
  }
};

template <class T>
void forward_block(Problem<T> const& p, ForwardSpace<T> const& space, TileMods<T>* mods, int64_t b, int64_t h,
                   int64_t block, T* out, AttendStrides os, T* lse) {
  auto const& a = p.a;
  constexpr int width = Vec<T>::width;
  auto const [qt, s, o, drop, seen, vc, m, l, alpha] = space;
  int64_t const ld = p.tiles.queries, i = block * ld, queries = attend_min(ld, a.tq - i);
  int64_t const lanes = round_up(queries, width), g = p.key_head(h);
  Visibility const see = p.visibility(b, h);
  auto const key = attend_key(a.seed, a.offset, b, h);
  pack_transposed(a.q + b * a.q_batch + h * a.q_head + i * a.q_row, a.q_row, queries, a.d, a.scale, qt, ld, lanes);
  fill(m, lanes, T(-__builtin_huge_valf()));
  fill(l, lanes, T(0));

  if (mods) mods->begin_queries(i, lanes);
  fill(o, queries * p.dvp, T(0));
  bool started = false;
  p.key_blocks(see, b, h, i, queries, [&](int64_t jb, Cover cover) {
    int64_t const j = jb * p.tiles.keys, keys = attend_min(p.tiles.keys, a.tk - j);
    T const* const k = a.key(b, g, j);
    T const* v = a.value(b, g, j);
    int64_t v_row = a.v_row;
    bool const finite = cover == Cover::full || all_finite(v, v_row, keys, a.dv);
    if (finite && vc) {
      pack_rows(v, v_row, keys, a.dv, T(1), vc, p.dvp);
      v = vc, v_row = p.dvp;
    }
    bool const cut = cover == Cover::partial && !mods && !see.mask && finite;
    pieces<T>(
        see, cut, i, queries, j, keys, [&](Piece const x) __attribute__((always_inline)) {
          int64_t const at = x.c * ld + x.r;
          product<T, false>(k + x.c * a.k_row, a.k_row, qt + x.r, ld, s + at, ld, x.keys, x.lanes, a.d, false);
          if (mods && mods->scores()) mods->score(s, s, ld, lanes, j, keys);
          if (cover == Cover::partial) {
            if (mods) {
              mark_seen(see, mods, seen, ld, i, queries, j, keys);
              keep_seen(seen, s, ld, lanes, keys, a.direct ? T(0) : T(-__builtin_huge_valf()));
            } else {
              hide(see, s + at, ld, i + x.r, x.queries, j + x.c, x.keys);
            }
          }
          bool const rose = !a.direct && softmax_tile(s + at, ld, x.lanes, x.keys, m + x.r, l + x.r, alpha + x.r);
          if (drop) {
            dropout_tile(drop + at, ld, i + x.r, x.queries, j + x.c, x.keys, key, p.threshold, p.kept);
            for (int64_t c = x.c; c < x.c + x.keys; ++c)
              for (int64_t r = c * ld + x.r; r < c * ld + x.r + x.lanes; ++r) s[r] *= drop[r];
          }
          if (rose && started)
            for (int64_t r = x.r; r < x.r + x.queries; ++r)
              if (alpha[r] != 1) write_row(o + r * p.dvp, alpha[r], o + r * p.dvp, p.dvp);
          if (finite) {
            product<T, true>(s + at, ld, v + x.c * v_row, v_row, o + x.r * p.dvp, p.dvp, x.queries, p.dvp, x.keys,
                             true);
          } else {
            if (!mods) mark_seen(see, mods, seen, ld, i, queries, j, keys);
            product_visible(seen, s, ld, queries, keys, v, v_row, a.dv, o, p.dvp);
          }
        });
    started = true;
  });

  if (a.direct) {
    for (int64_t r = 0; r < queries; ++r) {
      T* const row = out + b * os.batch + h * os.head + (i + r) * os.row;
      write_row(o + r * p.dvp, T(1), row, a.dv);
    }
    return;
  }
  T* const lse_row = lse + (b * a.heads + h) * a.tq + i;
  for (int64_t r = 0; r < lanes; r += width) {
    Vec<T> const sum = Vec<T>::load(l + r), zero = Batch<T>(T(0)), one = Batch<T>(T(1));
    Mask<Batch<T>> const none = sum == zero;
    Vec<T> const safe = select(none, one, sum);
    select(none, zero, one / safe).store(alpha + r);
    (Vec<T>::load(m + r) + Vec<T>(xsimd::log(safe.v))).store(l + r);  // m is −∞ where nothing was seen
  }
  for (int64_t r = 0; r < queries; ++r) {
    T* const row = out + b * os.batch + h * os.head + (i + r) * os.row;
    lse_row[r] = l[r];
    if (alpha[r] == 0)  // no visible key: what o holds may be 0·x, or nothing at all
      fill(row, a.dv, T(0));
    else
      write_row(o + r * p.dvp, alpha[r], row, a.dv);
  }
}

/// Sums of the queries that share one key head over a part of the keys, which weigh exp(s − m) and sum up to l.
template <class T>
struct DecodePart {
  T *o, *m, *l;  // [rows][dvp], [rows], [rows]; a row is a query of one of the heads
};

/// Keys [first, last) for all queries of the heads that share key head g, up to four rows at a time.
template <class T>
void decode(Problem<T> const& p, TileMods<T>* mods, int64_t b, int64_t g, int64_t first, int64_t last,
            DecodePart<T> const& to) {
  auto const& a = p.a;
  int64_t const group = a.heads / a.kv_heads, rows = group * a.tq;
  auto const room = &Workspace::room<T>;
  Workspace space(room(rows * p.dp) + room(4 * decode_keys));
  T* const q = space.take<T>(rows * p.dp);
  T* const s = space.take<T>(4 * decode_keys);
  auto const [o, m, l] = to;
  auto const head = [&](int64_t r) { return g * group + r / a.tq; };
  for (int64_t r = 0; r < rows; r += a.tq)
    pack_rows(a.q + b * a.q_batch + head(r) * a.q_head, a.q_row, a.tq, a.d, a.scale, q + r * p.dp, p.dp);
  fill(o, rows * p.dvp, T(0));
  fill(m, rows, T(-__builtin_huge_valf()));
  fill(l, rows, T(0));

  for (int64_t j = first, next; j < last; j = next) {
    next = attend_min(j + decode_keys, last);
    if (a.pages) next = attend_min(next, (j / a.page + 1) * a.page);
    int64_t const keys = next - j;
    T const* const k = a.key(b, g, j);
    T const* const v = a.value(b, g, j);
    auto const chunk = [&]<int R>(std::integral_constant<int, R>, int64_t r) {
      bool const hides = mods && mods->hides(), partial = a.mask || a.tq > 1 || hides;
      decode_scores<T, R>(q + r * p.dp, p.dp, k, a.k_row, a.d, keys, s);
      for (int x = 0; x < R; ++x) {
        Visibility const see = p.visibility(b, head(r + x));
        T* const row = s + x * decode_keys;
        int64_t const i = (r + x) % a.tq;
        T const nothing = -__builtin_huge_valf();
        if (mods) mods->begin_head(b, head(r + x));
        if (mods && mods->scores()) mods->score_row(row, i, j, keys);
        if (partial)
          for (int64_t c = 0; c < keys; ++c) row[c] = see.sees(i, j + c) ? row[c] : nothing;
        if (hides) mods->hide_row(row, i, j, keys, nothing);
        T const factor = decode_softmax(row, keys, m[r + x], l[r + x]);
        if (factor != 1) write_row(o + (r + x) * p.dvp, factor, o + (r + x) * p.dvp, p.dvp);
      }
      if (!partial || all_finite(v, a.v_row, keys, a.dv)) {
        decode_values<T, R>(s, v, a.v_row, a.dv, keys, o + r * p.dvp, p.dvp);
      } else {
        T seen[decode_keys];
        for (int x = 0; x < R; ++x) {
          Visibility const see = p.visibility(b, head(r + x));
          int64_t const i = (r + x) % a.tq;
          for (int64_t c = 0; c < keys; ++c) seen[c] = T(see.sees(i, j + c));
          if (hides) {
            mods->begin_head(b, head(r + x));
            mods->hide_row(seen, i, j, keys, T(0));
          }
          product_visible(seen, s + x * decode_keys, 1, 1, keys, v, a.v_row, a.dv, o + (r + x) * p.dvp, p.dvp);
        }
      }
    };
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) chunk(std::integral_constant<int, 4>{}, r);
    for (; r + 2 <= rows; r += 2) chunk(std::integral_constant<int, 2>{}, r);
    for (; r < rows; ++r) chunk(std::integral_constant<int, 1>{}, r);
  }
}

/// The parts of one key head, in order, as rows of out and lse.
template <class T>
void decode_finish(Problem<T> const& p, int64_t b, int64_t g, DecodePart<T> const* parts, int64_t count, T* out,
                   AttendStrides os, T* lse) {
  auto const& a = p.a;
  T const nothing = -__builtin_huge_valf();
  int64_t const group = a.heads / a.kv_heads, rows = group * a.tq;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t const h = g * group + r / a.tq, i = r % a.tq;
    T top = nothing, sum = 0;
    for (int64_t x = 0; x < count; ++x)  // a NaN stays
      top = parts[x].m[r] > top || parts[x].m[r] != parts[x].m[r] ? parts[x].m[r] : top;
    auto const weight = [&](int64_t x) { return parts[x].m[r] == nothing ? T(0) : T(std::exp(parts[x].m[r] - top)); };
    for (int64_t x = 0; x < count; ++x) sum += weight(x) * parts[x].l[r];
    T* const row = out + b * os.batch + h * os.head + i * os.row;
    lse[(b * a.heads + h) * a.tq + i] = sum == 0 ? nothing : top + T(std::log(double(sum)));
    if (sum == 0) {
      fill(row, a.dv, T(0));
      continue;
    }
    T* const total = parts[0].o + r * p.dvp;
    if (count > 1) write_row(total, weight(0), total, p.dvp);
    for (int64_t x = 1; x < count; ++x) {
      T const factor = weight(x);
      if (factor == 0) continue;
      for (int64_t c = 0; c < a.dv; ++c) total[c] += factor * parts[x].o[r * p.dvp + c];
    }
    write_row(total, T(1) / sum, row, a.dv);
  }
}

/// Few queries: tasks are key heads, and parts of the keys where heads are few and keys many (by shape, never by
/// threads).
template <class T, class WithMods>
void decode_all(Problem<T> const& p, T* out, AttendStrides os, T* lse, WithMods const& with_mods) {
  auto const& a = p.a;
  int64_t const heads = a.batch * a.kv_heads, rows = a.heads / a.kv_heads * a.tq;
  if (heads == 0) return;
  int64_t const low = attend_max(p.shift_low, 0), end = attend_min(a.tq + p.shift_high, a.tk);
  int64_t const parts = heads >= 8 ? 1 : attend_max(1, attend_min(8 / heads, (end - low) / 1024));
  auto const room = &Workspace::room<T>;
  int64_t const one = room(rows * p.dvp) + 2 * room(rows);
  Workspace space(heads * parts * one);
  Scratch<DecodePart<T>> all(heads * parts);
  for (int64_t x = 0; x < heads * parts; ++x) {
    all[x].o = space.template take<T>(rows * p.dvp);
    all[x].m = space.template take<T>(rows);
    all[x].l = space.template take<T>(rows);
  }
  int64_t const work = rows * attend_max(end - low, 0) / parts * (a.d + a.dv);
  parallel_for(heads * parts, attend_max(1, 50'000 / attend_max(work, 1)), [&](int64_t first, int64_t last) {
    with_mods([&](TileMods<T>* mods) {
      for (int64_t x = first; x < last; ++x) {
        int64_t const head = x / parts, part = x % parts, keys = attend_max(end - low, 0);
        auto const bound = [&](int64_t n) { return n == parts ? low + keys : low + keys * n / parts / 64 * 64; };
        decode(p, mods, head / a.kv_heads, head % a.kv_heads, bound(part), bound(part + 1), all[x]);
      }
    });
  });
  for (int64_t head = 0; head < heads; ++head)
    decode_finish(p, head / a.kv_heads, head % a.kv_heads, all.data() + head * parts, parts, out, os, lse);
}

template <class T>
void forward(AttendArgs<T> const& a, T* out, AttendStrides os, T* lse) {
  Problem<T> const p(a);
  bool const modified = a.score.program || a.sees.program;
  auto const with_mods = [&](auto const& body) {
    if (!modified) return body(static_cast<TileMods<T>*>(nullptr));
    TileMods<T> mods(a);
    body(&mods);
  };
  if (a.tq <= 4 && p.threshold == 0 && a.heads > 0 && !a.direct) {
    decode_all(p, out, os, lse, with_mods);
    return;
  }
  int64_t const blocks = p.query_blocks(), tasks = a.batch * a.heads * blocks;
  int64_t const work = p.tiles.queries * attend_min(a.tk, 4 * p.tiles.keys) * (a.d + a.dv);
  int64_t const grain = attend_max(1, 400'000 / attend_max(work, 1));
  parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
    Workspace workspace(ForwardSpace<T>::bytes(p));
    ForwardSpace<T> const space(p, workspace);
    with_mods([&](TileMods<T>* mods) {
      for (int64_t task = begin; task < end; ++task) {
        // The last block first: under a causal mask it is the longest.
        int64_t const head = task / blocks, block = blocks - 1 - task % blocks;
        if (mods) mods->begin_head(head / a.heads, head % a.heads);
        forward_block(p, space, mods, head / a.heads, head % a.heads, block, out, os, lse);
      }
    });
  });
}

/// Backward: one task owns the key blocks ≡ split (mod splits) of one key head, and runs over the queries of its heads.
template <class T>
struct Backward {
  Problem<T> const& p;
  AttendGradArgs<T> const& g;
  int64_t splits;
  T* dq_parts;  // [splits][B·H·Tq][dp], where splits > 1

  struct Space {
    T *k, *v, *dk, *dv, *qt, *dot, *q, *dout, *dq, *s, *raw, *seen, *dp, *drop, *norm, *delta;
    bool* fresh;  // nothing added to dk, dv yet
  };

  int64_t own_blocks(int64_t split) const {
    int64_t const blocks = (p.a.tk + p.tiles.keys - 1) / p.tiles.keys;
    return blocks > split ? (blocks - split - 1) / splits + 1 : 0;
  }

  template <class Take>
  static void lay_out(Problem<T> const& p, int64_t blocks, Space& x, Take take) {
    int64_t const q = p.tiles.queries, k = p.tiles.keys;
    take(x.k, blocks * k * p.dp), take(x.v, blocks * k * p.dvp);
    take(x.dk, blocks * k * p.dp), take(x.dv, blocks * k * p.dvp);
    take(x.qt, p.a.d * q), take(x.dot, p.a.dv * q);
    take(x.q, q * p.dp), take(x.dout, q * p.dvp), take(x.dq, q * p.dp);
    take(x.s, k * q), take(x.dp, k * q), take(x.seen, k * q);
    x.raw = x.s;
    if (p.a.score.program) take(x.raw, k * q);
    x.drop = nullptr;
    if (p.threshold) take(x.drop, k * q);
    take(x.norm, q), take(x.delta, q);
    take(x.fresh, blocks);
  }

  /// `part` names the copies of the tables' sums that are this task's.
  void run(int64_t b, int64_t kv_head, int64_t split, TileMods<T>* mods, int64_t part) const {
    auto const& a = p.a;
    int64_t const blocks = own_blocks(split), tile = p.tiles.keys;
    Space x{};
    int64_t bytes = 0;
    lay_out(p, blocks, x, [&]<class U>(U*&, int64_t n) { bytes += Workspace::room<U>(n); });
    Workspace workspace(bytes);
    lay_out(p, blocks, x, [&]<class U>(U*& to, int64_t n) { to = workspace.take<U>(n); });
    for (int64_t block = 0; block < blocks; ++block) {
      int64_t const j = (block * splits + split) * tile, keys = attend_min(tile, a.tk - j);
      pack_rows(a.key(b, kv_head, j), a.k_row, keys, a.d, T(1), x.k + block * tile * p.dp, p.dp);
      pack_rows(a.value(b, kv_head, j), a.v_row, keys, a.dv, T(1), x.v + block * tile * p.dvp, p.dvp);
      x.fresh[block] = true;
    }
    int64_t const group = a.heads / a.kv_heads;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      if (mods) mods->begin_head(b, h);
      for (int64_t i = 0; i < a.tq; i += p.tiles.queries) queries(x, b, h, split, i, mods, part);
    }
    for (int64_t block = 0; block < blocks; ++block) {
      int64_t const j = (block * splits + split) * tile, keys = attend_min(tile, a.tk - j);
      if (x.fresh[block]) {
        fill(x.dk + block * tile * p.dp, keys * p.dp, T(0));
        fill(x.dv + block * tile * p.dvp, keys * p.dvp, T(0));
      }
      for (int64_t c = 0; c < keys; ++c) {
        write_row(x.dk + (block * tile + c) * p.dp, T(1),
                  g.dk + b * g.dk_strides.batch + kv_head * g.dk_strides.head + (j + c) * g.dk_strides.row, a.d);
        write_row(x.dv + (block * tile + c) * p.dvp, T(1),
                  g.dv + b * g.dv_strides.batch + kv_head * g.dv_strides.head + (j + c) * g.dv_strides.row, a.dv);
      }
    }
  }

  /// Statistics of queries [i, i + queries): norm = lse (+∞ for a row that sees nothing, so that p = 0),
  /// delta = Σ out·dout − dlse. Rows that see nothing are cleared: their q and dout must not meet a 0.
  void prepare(Space const& x, int64_t b, int64_t h, int64_t i, int64_t queries, int64_t lanes) const {
    auto const& a = p.a;
    constexpr int width = Vec<T>::width;
    int64_t const ld = p.tiles.queries;
    T const* const q = a.q + b * a.q_batch + h * a.q_head + i * a.q_row;
    T const* const dout = g.dout + b * g.dout_strides.batch + h * g.dout_strides.head + i * g.dout_strides.row;
    T const* const out = g.out + b * g.out_strides.batch + h * g.out_strides.head + i * g.out_strides.row;
    pack_rows(q, a.q_row, queries, a.d, a.scale, x.q, p.dp);
    pack_rows(dout, g.dout_strides.row, queries, a.dv, T(1), x.dout, p.dvp);
    for (int64_t r = 0; r < lanes; ++r) {
      int64_t const at = (b * a.heads + h) * a.tq + i + r;
      x.delta[r] = 0;
      if (a.direct) continue;
      bool const none = r >= queries || g.lse[at] == T(-__builtin_huge_valf());
      x.norm[r] = none ? T(__builtin_huge_valf()) : g.lse[at];
      if (r >= queries) continue;
      if (none) {
        fill(x.q + r * p.dp, p.dp, T(0));
        fill(x.dout + r * p.dvp, p.dvp, T(0));
        continue;
      }
      T const* const o = out + r * g.out_strides.row;
      Vec<T> sum = Batch<T>(T(0));
      int64_t c = 0;
      for (; c + width <= a.dv; c += width) sum = fma(Vec<T>::load(o + c), Vec<T>::load(x.dout + r * p.dvp + c), sum);
      T total = reduce_add(sum);
      for (; c < a.dv; ++c) total += o[c] * x.dout[r * p.dvp + c];
      x.delta[r] = total - (g.dlse ? g.dlse[at] : T(0));
    }
    pack_transposed(x.q, p.dp, queries, a.d, T(1), x.qt, ld, lanes);
    pack_transposed(x.dout, p.dvp, queries, a.dv, T(1), x.dot, ld, lanes);
  }

  void queries(Space const& x, int64_t b, int64_t h, int64_t split, int64_t i, TileMods<T>* mods, int64_t part) const {
    auto const& a = p.a;
    int64_t const ld = p.tiles.queries, queries = attend_min(ld, a.tq - i), lanes = round_up(queries, Vec<T>::width);
    int64_t const tile = p.tiles.keys;
    Visibility const see = p.visibility(b, h);
    auto const key = attend_key(a.seed, a.offset, b, h);
    bool started = false;
    p.key_blocks(see, b, h, i, queries, [&](int64_t jb, Cover cover) {
      if (jb % splits != split) return;
      int64_t const j = jb * tile, keys = attend_min(tile, a.tk - j), own = jb / splits;
      bool const partial = cover == Cover::partial;
      if (!started) {
        prepare(x, b, h, i, queries, lanes);
        fill(x.dq, queries * p.dp, T(0));
        if (mods) mods->begin_queries(i, lanes);
      }
      T const* const k = x.k + own * tile * p.dp;
      T const* const v = x.v + own * tile * p.dvp;
      T* dk = x.dk + own * tile * p.dp;
      T* dv = x.dv + own * tile * p.dvp;
      bool const finite = !partial || all_finite(k, p.dp, keys, p.dp);
      bool const cut = partial && !mods && !see.mask && finite;
      if (x.fresh[own] && cut) {
        fill(dk, keys * p.dp, T(0));
        fill(dv, keys * p.dvp, T(0));
        x.fresh[own] = false;
      }
      pieces<T>(
          see, cut, i, queries, j, keys, [&](Piece const y) __attribute__((always_inline)) {
            int64_t const at = y.c * ld + y.r, k_at = y.c * p.dp, v_at = y.c * p.dvp;
            T* const drop = x.drop ? x.drop + at : nullptr;
            product<T, false>(k + k_at, p.dp, x.qt + y.r, ld, x.raw + at, ld, y.keys, y.lanes, a.d, false);
            if (mods && mods->scores()) mods->score(x.raw, x.s, ld, lanes, j, keys);
            if (partial) {
              if (mods) {
                mark_seen(see, mods, x.seen, ld, i, queries, j, keys);
                keep_seen(x.seen, x.s, ld, lanes, keys, a.direct ? T(0) : T(-__builtin_huge_valf()));
              } else {
                hide(see, x.s + at, ld, i + y.r, y.queries, j + y.c, y.keys);
              }
            }
            product<T, false>(v + v_at, p.dvp, x.dot + y.r, ld, x.dp + at, ld, y.keys, y.lanes, a.dv, false);
            if (drop) dropout_tile(drop, ld, i + y.r, y.queries, j + y.c, y.keys, key, p.threshold, p.kept);
            if (a.direct) {
              direct_gradient_tile(x.s + at, x.dp + at, drop, ld, y.lanes, y.keys);
              if (partial) keep_seen(x.seen, x.dp, ld, lanes, keys, T(0));
            } else {
              weights_tile(x.s + at, ld, y.lanes, y.keys, x.norm + y.r);
              if (partial)
                score_gradient_tile<T, true>(x.s + at, x.dp + at, drop, ld, y.lanes, y.keys, x.delta + y.r);
              else
                score_gradient_tile<T, false>(x.s + at, x.dp + at, drop, ld, y.lanes, y.keys, x.delta + y.r);
            }
            if (mods && mods->scores())
              mods->slope(x.raw, x.dp, partial ? x.seen : nullptr, ld, queries, lanes, j, keys, g.sinks, g.sink_count,
                          part);
            product<T, false>(drop ? drop : x.s + at, ld, x.dout + y.r * p.dvp, p.dvp, dv + v_at, p.dvp, y.keys, p.dvp,
                              y.queries, !x.fresh[own]);
            product<T, false>(x.dp + at, ld, x.q + y.r * p.dp, p.dp, dk + k_at, p.dp, y.keys, p.dp, y.queries,
                              !x.fresh[own]);
            if (finite) {
              product<T, true>(x.dp + at, ld, k + k_at, p.dp, x.dq + y.r * p.dp, p.dp, y.queries, p.dp, y.keys, true);
            } else {
              if (!mods) mark_seen(see, mods, x.seen, ld, i, queries, j, keys);
              product_visible(x.seen, x.dp, ld, queries, keys, k, p.dp, p.dp, x.dq, p.dp);
            }
          });
      x.fresh[own] = false;
      started = true;
    });
    int64_t const at = (b * a.heads + h) * a.tq + i;
    for (int64_t r = 0; r < queries; ++r) {
      T* const row = splits > 1 ? dq_parts + ((split * a.batch * a.heads * a.tq) + at + r) * p.dp
                                : g.dq + b * g.dq_strides.batch + h * g.dq_strides.head + (i + r) * g.dq_strides.row;
      if (started)
        write_row(x.dq + r * p.dp, a.scale, row, a.d);
      else
        fill(row, a.d, T(0));
    }
  }

  void add_parts() const {
    auto const& a = p.a;
    int64_t const rows = a.batch * a.heads * a.tq;
    parallel_for(rows, attend_max(1, 16384 / p.dp), [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) {
        int64_t const b = at / (a.heads * a.tq), h = at / a.tq % a.heads, i = at % a.tq;
        T* const row = g.dq + b * g.dq_strides.batch + h * g.dq_strides.head + i * g.dq_strides.row;
        for (int64_t c = 0; c < a.d; ++c) {
          T sum = dq_parts[at * p.dp + c];
          for (int64_t split = 1; split < splits; ++split) sum += dq_parts[(split * rows + at) * p.dp + c];
          row[c] = sum;
        }
      }
    });
  }
};

template <class T>
void backward(AttendArgs<T> const& a, AttendGradArgs<T> const& g) {
  Problem<T> const p(a);
  int64_t const heads = a.batch * a.kv_heads;
  // By shape, never by the number of threads: few heads, each with much to do, are cut.
  bool const much = a.tq * a.tk * (a.d + a.dv) >= (int64_t{1} << 25);
  int64_t const splits = heads >= 8 || !much ? 1 : heads >= 4 ? 2 : 4;
  Workspace parts(splits > 1 ? splits * a.batch * a.heads * a.tq * p.dp * int64_t(sizeof(T)) : 64);
  Backward<T> const task{p, g, splits, parts.take<T>(0)};
  int64_t const work = a.heads / attend_max(a.kv_heads, 1) * a.tq * attend_min(a.tk, 4 * p.tiles.keys) * (a.d + a.dv);
  int64_t const grain = attend_max(1, 200'000 / attend_max(work, 1));
  int64_t const tasks = heads * splits;
  auto const run = [&](int64_t begin, int64_t end, int64_t part) {
    std::optional<TileMods<T>> mods;
    if (a.score.program || a.sees.program) mods.emplace(a, g.slope);
    for (int64_t t = begin; t < end; ++t) {
      int64_t const head = t / splits;
      task.run(head / a.kv_heads, head % a.kv_heads, t % splits, mods ? &*mods : nullptr, part);
    }
  };
  if (g.sink_count) {
    int64_t const sums = attend_parts(tasks);
    parallel_for(sums, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) run(part * tasks / sums, (part + 1) * tasks / sums, part);
    });
  } else {
    parallel_for(tasks, grain, [&](int64_t begin, int64_t end) { run(begin, end, 0); });
  }
  if (splits > 1) task.add_parts();
}

}  // namespace

constinit AttendKernels const attend_kernels{{{forward<float>, backward<float>}, {forward<double>, backward<double>}}};

template <class T>
constexpr AttendRowsTable<T> rows_table{rows::sum<T>, rows::sum_backward<T>, rows::threshold<T>};
constinit AttendRowsKernels const attend_rows_kernels{{rows_table<float>, rows_table<double>}};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
