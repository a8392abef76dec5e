// scan() by chunks of steps, forward and backward. For scan.simd.cpp only.
#pragma once

#include <heed/engine/ops/attend_product.h>
#include <heed/engine/ops/attend_tile.h>
#include <heed/engine/ops/scan_steps.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace scans {

inline constexpr int64_t block = 16;  // steps of a triangle's blocks: whole registers on every level
inline constexpr int64_t small = 8;   // steps whose pairs are summed up one by one, where every channel has its decays

/// One chunk of one head, on some columns of its state. Two readers of the state, q and b, two writers to it, k with
/// the values v and a with the values u = Sᵀb. Of n steps, step t of a reader that reads S_{t−1} stands in row t − 1 of
/// what reads S_t: `skip` is 1 for it.
///   pair[r][w][t][s] = x_rt·(Π decays between)·y_ws, s <= t, with such rows
///   u = (1 − pair[b][a])⁻¹(xd_b·S + pair[b][k]·v),  o = xd_q·S + pair[q][k]·v + pair[q][a]·u
///   S' = decay∘S + yd_kᵀ·v + yd_aᵀ·u,  xd = x∘(decays since the start), yd = y∘(decays to the end)
template <class T>
struct Chunk {
  static constexpr int width = Vec<T>::width;
  ScanArgs<T> const& a;
  int64_t columns, ep, dp, ld;
  int kinds;                       // readers, and writers
  int64_t skip[2];                 // of the readers
  int64_t n = 0;                   // steps of this chunk
  T *x[2], *y[2], *xd[2], *yd[2];  // [C][dp]
  T *w, *before, *after;           // [C][dp]: decays, their products up to step t (row t + 1), and those after step t
  T* pair[2][2];                   // [C][ld]
  T* links;                        // [C][ld]: Π decays in (s, t], where channels share them
  T *value[2], *o;                 // [C][ep]: v, u, and what is read
  T* state;                        // [D][ep]
  T* turned;                       // something transposed
  T *ux[2], *uy[2], *fx, *fy, *z;  // [C][dp], of channels: pairs across a middle; [small][dp]
  // Of backward: gradients of pairs, readers, writers, logs of decays, values, state.
  T *dpair[2][2], *dx[2], *dy[2], *dg, *dvalue[2], *dstate;
  T *scratch, *flow;  // [C][dp]
  T* m;               // [C][ld]: Σ dpair∘pair

  bool decayed() const { return a.decay.data; }
  int64_t rows(int r) const { return n - skip[r]; }
  T* reads(int r) const { return x[r] + skip[r] * dp; }
  T* pairs_of(int r, int w) const { return pair[r][w] + skip[r] * ld; }

  Chunk(ScanArgs<T> const& args, int64_t column_count)
      : a(args),
        columns(column_count),
        ep(round_up(columns, width)),
        dp(round_up(args.d, width)),
        ld(round_up(args.chunk, block)),
        kinds(args.a.data ? 2 : 1),
        skip{args.inclusive ? 0 : 1, 1} {}

  template <class Take>
  void lay_out(bool gradients, Take take) {
    int64_t const c = a.chunk;
    for (int i = 0; i < kinds; ++i) {
      take(x[i], c * dp), take(y[i], c * dp);
      xd[i] = x[i], yd[i] = y[i];
      if (decayed()) take(xd[i], c * dp), take(yd[i], c * dp);
      for (int j = 0; j < kinds; ++j) take(pair[i][j], c * ld);
      take(value[i], c * ep);
      if (a.channels) take(ux[i], c * dp), take(uy[i], c * dp);
    }
    take(o, c * ep), take(state, a.d * ep);
    take(turned, most(most(a.d, gradients ? columns : 0) * ld, gradients ? columns * dp : 0));
    if (decayed()) take(w, c * dp), take(before, (c + 1) * dp), take(after, c * dp);
    if (decayed() && !a.channels) take(links, c * ld);
    if (a.channels) take(fx, c * dp), take(fy, c * dp), take(z, small * dp);
    if (!gradients) return;
    for (int i = 0; i < kinds; ++i) {
      take(dx[i], c * dp), take(dy[i], c * dp), take(dvalue[i], c * ep);
      for (int j = 0; j < kinds; ++j) take(dpair[i][j], c * ld);
    }
    take(dstate, a.d * ep);
    if (decayed()) take(dg, c * dp), take(scratch, c * dp), take(flow, most(c * dp, ld));
    if (decayed() && !a.channels) take(m, c * ld);
  }

  /// The chunk's `steps` steps from t on: its operands, factors and pairs.
  void load(int64_t b, int64_t h, int64_t column, int64_t t, int64_t steps) {
    n = steps;
    pack_rows(a.q.at(b, h) + t * a.q.row, a.q.row, n, a.d, a.scale, x[0], dp);
    pack_rows(a.k.at(b, h) + t * a.k.row, a.k.row, n, a.d, T(1), y[0], dp);
    pack_rows(a.v.at(b, h) + t * a.v.row + column, a.v.row, n, columns, T(1), value[0], ep);
    if (kinds == 2) {
      pack_rows(a.b.at(b, h) + t * a.b.row, a.b.row, n, a.d, T(1), x[1], dp);
      pack_rows(a.a.at(b, h) + t * a.a.row, a.a.row, n, a.d, T(1), y[1], dp);
    }
    if (decayed()) {
      T const* const logs = a.decay.at(b, h) + t * a.decay.row;
      if (a.channels)
        decays(a, logs, n, a.d, w, dp);
      else
        for (int64_t s = 0; s < n; ++s) {
          Vec<T> const decay = flushed<T>(exp(Vec<T>(logs[s * a.decay.row])));
          each<T>(dp, [&](int64_t j) { decay.store(w + s * dp + j); });
        }
      fill_row(before, dp, T(1));
      for (int64_t s = 0; s < n; ++s) multiply_row(before + s * dp, w + s * dp, before + (s + 1) * dp);
      products_after(after, 0, n);
      for (int i = 0; i < kinds; ++i)
        for (int64_t s = 0; s < n; ++s)
          each<T>(dp, [&](int64_t j) {
            (at(x[i], s, j) * at(before, s + 1 - skip[i], j)).store(xd[i] + s * dp + j);
            (at(y[i], s, j) * at(after, s, j)).store(yd[i] + s * dp + j);
          });
    }
    if (a.channels)
      halves(
          0, n, [&](int64_t lo, int64_t hi) { pairs_inside(lo, hi); },
          [&](int64_t lo, int64_t mid, int64_t hi) { pairs_across(lo, mid, hi); });
    else
      pairs_of_all();
  }

  Vec<T> at(T const* rows, int64_t t, int64_t j) const { return Vec<T>::load(rows + t * dp + j); }
  void add(T* rows, int64_t t, int64_t j, Vec<T> x) const { (at(rows, t, j) + x).store(rows + t * dp + j); }
  void multiply_row(T const* p, T const* q, T* to) const {
    each<T>(dp, [&](int64_t j) { flushed<T>(Vec<T>::load(p + j) * Vec<T>::load(q + j)).store(to + j); });
  }
  /// to[s] = Π decays in (s, hi), lo <= s < hi
  void products_after(T* to, int64_t lo, int64_t hi) const {
    fill_row(to + (hi - 1) * dp, dp, T(1));
    for (int64_t s = hi - 1; s-- > lo;) multiply_row(to + (s + 1) * dp, w + (s + 1) * dp, to + s * dp);
  }

  /// c[t][s] = from[t]·turned[.][s] for s <= t, 0 above in blocks on the diagonal.
  void triangle(T const* from, int64_t row, int64_t depth, T* c, int64_t count) const {
    for (int64_t i = 0; i < count; i += block) {
      int64_t const some = least(block, count - i), wide = i + block;
      product<T, false>(from + i * row, row, turned, ld, c + i * ld, ld, some, wide, depth, false);
      for (int64_t t = i; t < i + some; ++t) fill_row(c + t * ld + t + 1, wide - t - 1, T(0));
    }
  }
  /// to[t] += Σ_{s <= t} c[t][s]·from[s]. Blocks hold zeros above the diagonal, which must not meet NaN or Inf.
  void lower(T const* c, T const* from, T* to, int64_t row, int64_t count) const {
    int64_t const step = all_finite(from, row, count, row) ? block : 1;
    for (int64_t i = 0; i < count; i += step) {
      int64_t const some = least(step, count - i);
      product<T, false>(c + i * ld, ld, from, row, to + i * row, row, some, row, i + some, true);
    }
  }
  /// to[s] += Σ_{t >= s} c[t][s]·from[t]
  void lower_transposed(T const* c, T const* from, T* to, int64_t row, int64_t count) const {
    int64_t const step = all_finite(from, row, count, row) ? block : 1;
    for (int64_t i = 0; i < count; i += step)
      product<T, true>(c + i * ld + i, ld, from + i * row, row, to + i * row, row, least(step, count - i), row,
                       count - i, true);
  }

  void pairs_of_all() {
    if (decayed())
      for (int64_t t = 0; t < n; ++t) {
        Vec<T> const decay(w[t * dp]);
        if (t > 0)
          each<T>(round_up(t, width), [&](int64_t s) {
            flushed<T>(Vec<T>::load(links + (t - 1) * ld + s) * decay).store(links + t * ld + s);
          });
        links[t * ld + t] = 1;
        fill_row(links + t * ld + t + 1, round_up(t + 1, block) - t - 1, T(0));
      }
    for (int j = 0; j < kinds; ++j) {
      pack_transposed(y[j], dp, n, a.d, T(1), turned, ld, ld);
      for (int i = 0; i < kinds; ++i) {
        triangle(reads(i), dp, a.d, pairs_of(i, j), rows(i));
        if (decayed()) times_links(pairs_of(i, j), rows(i));
      }
    }
  }
  void times_links(T* c, int64_t count) const {
    for (int64_t t = 0; t < count; ++t)
      each<T>(round_up(t + 1, width), [&](int64_t s) {
        T* const to = c + t * ld + s;
        (Vec<T>::load(to) * Vec<T>::load(links + t * ld + s)).store(to);
      });
  }

  /// inside(lo, hi) and across(lo, mid, hi) of the halves, quarters, … of steps [lo, hi), which together hold every
  /// s <= t once.
  template <class Inside, class Across>
  static void halves(int64_t lo, int64_t hi, Inside const& inside, Across const& across) {
    if (hi - lo <= small) return inside(lo, hi);
    int64_t half = small;
    while (2 * half < hi - lo) half *= 2;
    across(lo, lo + half, hi);
    halves(lo, lo + half, inside, across);
    halves(lo + half, hi, inside, across);
  }

  void pairs_inside(int64_t lo, int64_t hi) {
    for (int j = 0; j < kinds; ++j)
      for (int64_t s = lo; s < hi; ++s) {
        for (int64_t t = s; t < hi; ++t) {
          Vec<T> sum[2] = {T(0), T(0)};
          each<T>(dp, [&](int64_t c) {
            Vec<T> const term = t == s ? at(y[j], s, c) : at(z, 0, c) * at(w, t, c);
            term.store(z + c);
            for (int i = 0; i < kinds; ++i)
              if (t < rows(i)) sum[i] = fma(at(reads(i), t, c), term, sum[i]);
          });
          for (int i = 0; i < kinds; ++i)
            if (t < rows(i)) pairs_of(i, j)[t * ld + s] = reduce_add(sum[i]);
        }
        for (int i = 0; i < kinds; ++i)
          if (s < rows(i)) fill_row(pairs_of(i, j) + s * ld + s + 1, round_up(s + 1, block) - s - 1, T(0));
      }
  }

  /// x of steps t in [mid, hi) with the decays in [mid, t], y of steps s in [lo, mid) with those in (s, mid).
  void meet(int64_t lo, int64_t mid, int64_t hi) {
    each<T>(dp, [&](int64_t c) { at(w, mid, c).store(fx + mid * dp + c); });
    for (int64_t t = mid + 1; t < hi; ++t) multiply_row(fx + (t - 1) * dp, w + t * dp, fx + t * dp);
    products_after(fy, lo, mid);
    for (int i = 0; i < kinds; ++i) {
      for (int64_t t = mid; t < least(hi, rows(i)); ++t)
        each<T>(dp, [&](int64_t c) { (at(reads(i), t, c) * at(fx, t, c)).store(ux[i] + t * dp + c); });
      for (int64_t s = lo; s < mid; ++s)
        each<T>(dp, [&](int64_t c) { (at(y[i], s, c) * at(fy, s, c)).store(uy[i] + s * dp + c); });
    }
  }
  /// It may spill zeros over columns [mid, round_up(mid, width)), which are written afterwards.
  void pairs_across(int64_t lo, int64_t mid, int64_t hi) {
    int64_t const lanes = round_up(mid - lo, width);
    meet(lo, mid, hi);
    for (int j = 0; j < kinds; ++j) {
      pack_transposed(uy[j] + lo * dp, dp, mid - lo, a.d, T(1), turned, ld, lanes);
      for (int i = 0; i < kinds; ++i)
        product<T, false>(ux[i] + mid * dp, dp, turned, ld, pairs_of(i, j) + mid * ld + lo, ld,
                          least(hi, rows(i)) - mid, lanes, a.d, false);
    }
  }

  /// u, given the state before the chunk.
  void solve() {
    if (kinds == 1) return;
    T* const u = value[1];
    T const* const c = pair[1][1];
    product<T, false>(xd[1], dp, state, ep, u, ep, n, ep, a.d, false);
    lower(pairs_of(1, 0), value[0], u + ep, ep, n - 1);
    for (int64_t i = 0; i < n; i += block) {
      int64_t const end = least(i + block, n);
      product<T, false>(c + i * ld, ld, u, ep, u + i * ep, ep, end - i, ep, i, true);
      for (int64_t t = i + 1; t < end; ++t)
        product<T, false>(c + t * ld + i, ld, u + i * ep, ep, u + t * ep, ep, 1, ep, t - i, true);
    }
  }
  /// z_s += Σ_{t > s} pair[b][a][t][s]·z_t
  void solve_transposed(T* to) {
    T const* const c = pair[1][1];
    for (int64_t i = (n - 1) / block * block; i >= 0; i -= block) {
      int64_t const end = least(i + block, n);
      product<T, true>(c + end * ld + i, ld, to + end * ep, ep, to + i * ep, ep, end - i, ep, n - end, true);
      for (int64_t s = end - 1; s-- > i;)
        product<T, true>(c + (s + 1) * ld + s, ld, to + (s + 1) * ep, ep, to + s * ep, ep, 1, ep, end - s - 1, true);
    }
  }

  void read() {
    product<T, false>(xd[0], dp, state, ep, o, ep, n, ep, a.d, false);
    for (int j = 0; j < kinds; ++j) lower(pairs_of(0, j), value[j], o + skip[0] * ep, ep, rows(0));
  }
  void decay_state(T* s) const {
    if (decayed())
      for (int64_t d = 0; d < a.d; ++d) {
        Vec<T> const decay(before[n * dp + d]);
        each<T>(ep, [&](int64_t c) { (Vec<T>::load(s + d * ep + c) * decay).store(s + d * ep + c); });
      }
  }
  void advance() {
    decay_state(state);
    for (int j = 0; j < kinds; ++j) product<T, true>(yd[j], dp, value[j], ep, state, ep, a.d, ep, n, true);
  }

  // Backward. On entry dvalue[0], the gradient of o, is in `o`, and dstate is that of the state after the chunk.

  /// Leaves in `o` and value-like dvalue[1] the gradients of what q and b read, and in dvalue[0] that of v.
  void values_backward() {
    T* const du = dvalue[1];
    if (kinds == 2) {
      product<T, false>(yd[1], dp, dstate, ep, du, ep, n, ep, a.d, false);
      lower_transposed(pairs_of(0, 1), o + skip[0] * ep, du, ep, rows(0));
      solve_transposed(du);
    }
    product<T, false>(yd[0], dp, dstate, ep, dvalue[0], ep, n, ep, a.d, false);
    lower_transposed(pairs_of(0, 0), o + skip[0] * ep, dvalue[0], ep, rows(0));
    if (kinds == 2) lower_transposed(pairs_of(1, 0), du + ep, dvalue[0], ep, n - 1);
  }
  /// The gradient of what reader r has read.
  T* dread(int r) const { return r == 0 ? o : dvalue[1]; }

  void operands_backward() {
    // Through the states before and after the chunk.
    if (decayed()) fill_row(flow, n * dp, T(0));
    pack_transposed(state, ep, a.d, columns, T(1), turned, dp, dp);
    for (int i = 0; i < kinds; ++i) {
      T* const to = decayed() ? scratch : dx[i];
      product<T, false>(dread(i), ep, turned, dp, to, dp, n, dp, columns, false);
      if (decayed())
        for (int64_t t = 0; t < n; ++t)
          each<T>(dp, [&](int64_t c) {
            (at(scratch, t, c) * at(before, t + 1 - skip[i], c)).store(dx[i] + t * dp + c);
            if (t >= skip[i]) add(flow, t - skip[i], c, at(scratch, t, c) * at(xd[i], t, c));
          });
    }
    if (decayed()) {
      for (int64_t d = 0; d < dp; ++d) {
        T sum = 0;
        if (d < a.d) {
          Vec<T> all(0);
          each<T>(ep, [&](int64_t c) {
            all = fma(Vec<T>::load(state + d * ep + c), Vec<T>::load(dstate + d * ep + c), all);
          });
          sum = reduce_add(all) * before[n * dp + d];
        }
        flow[(n - 1) * dp + d] += sum;
      }
      each<T>(dp, [&](int64_t c) {
        Vec<T> run(0);
        for (int64_t t = n; t-- > 0;) (run += at(flow, t, c)).store(dg + t * dp + c);
      });
      fill_row(flow, n * dp, T(0));
    }
    pack_transposed(dstate, ep, a.d, columns, T(1), turned, dp, dp);
    for (int j = 0; j < kinds; ++j) {
      T* const to = decayed() ? scratch : dy[j];
      product<T, false>(value[j], ep, turned, dp, to, dp, n, dp, columns, false);
      if (decayed())
        for (int64_t s = 0; s < n; ++s)
          each<T>(dp, [&](int64_t c) {
            (at(scratch, s, c) * at(after, s, c)).store(dy[j] + s * dp + c);
            add(flow, s, c, at(scratch, s, c) * at(yd[j], s, c));
          });
    }
    if (decayed()) add_passed(0, n);
    // Through the pairs.
    for (int j = 0; j < kinds; ++j) {
      pack_transposed(value[j], ep, n, columns, T(1), turned, ld, ld);
      for (int i = 0; i < kinds; ++i)
        triangle(dread(i) + skip[i] * ep, ep, columns, dpair[i][j] + skip[i] * ld, rows(i));
    }
    if (a.channels)
      halves(
          0, n, [&](int64_t lo, int64_t hi) { inside_backward(lo, hi); },
          [&](int64_t lo, int64_t mid, int64_t hi) { across_backward(lo, mid, hi); });
    else
      all_backward();
  }
  /// dg[r] += Σ_{lo <= s < r} flow[s], r < hi: what steps s sent through the decays after them.
  void add_passed(int64_t lo, int64_t hi) {
    each<T>(dp, [&](int64_t c) {
      Vec<T> run(0);
      for (int64_t r = lo + 1; r < hi; ++r) {
        run += at(flow, r - 1, c);
        add(dg, r, c, run);
      }
    });
  }

  void all_backward() {
    if (decayed()) fill_row(m, n * ld, T(0));
    for (int i = 0; i < kinds; ++i)
      for (int j = 0; j < kinds; ++j) {
        T* const d = dpair[i][j] + skip[i] * ld;
        if (decayed()) {
          for (int64_t t = 0; t < rows(i); ++t)
            each<T>(round_up(t + 1, width), [&](int64_t s) {
              T* const to = m + t * ld + s;
              fma(Vec<T>::load(d + t * ld + s), Vec<T>::load(pairs_of(i, j) + t * ld + s), Vec<T>::load(to)).store(to);
            });
          times_links(d, rows(i));
        }
        lower(d, y[j], dx[i] + skip[i] * dp, dp, rows(i));
        lower_transposed(d, reads(i), dy[j], dp, rows(i));
      }
    if (!decayed()) return;
    // Decay r lies between all s < r <= t.
    T* const sums = flow;  // of rows t >= r
    fill_row(sums, ld, T(0));
    for (int64_t r = n; r-- > 1;) {
      Vec<T> total(0);
      each<T>(round_up(r, width), [&](int64_t s) {
        (Vec<T>::load(sums + s) + Vec<T>::load(m + r * ld + s)).store(sums + s);
        total += Vec<T>::load_first(sums + s, int(least(r - s, width)));
      });
      dg[r * dp] += reduce_add(total);
    }
  }

  void inside_backward(int64_t lo, int64_t hi) {
    for (int j = 0; j < kinds; ++j)
      for (int64_t s = lo; s < hi; ++s) {
        for (int64_t t = s; t < hi; ++t) {  // z[t] = y_s·(decays in (s, t])
          each<T>(dp, [&](int64_t c) {
            Vec<T> const term = t == s ? at(y[j], s, c) : at(z, t - lo - 1, c) * at(w, t, c);
            term.store(z + (t - lo) * dp + c);
            for (int i = 0; i < kinds; ++i)
              if (t < rows(i)) add(dx[i] + skip[i] * dp, t, c, Vec<T>(dpair[i][j][(t + skip[i]) * ld + s]) * term);
          });
        }
        each<T>(dp, [&](int64_t c) {
          Vec<T> e(0);  // Σ_{t' >= t} x_t'·dpair[t'][s]·(decays in (t, t'])
          for (int64_t t = hi; t-- > s;) {
            if (t + 1 < hi) e *= at(w, t + 1, c);
            for (int i = 0; i < kinds; ++i)
              if (t < rows(i)) e = fma(Vec<T>(dpair[i][j][(t + skip[i]) * ld + s]), at(reads(i), t, c), e);
            if (t > s) add(dg, t, c, e * at(z, t - lo, c));
          }
          add(dy[j], s, c, e);
        });
      }
  }
  void across_backward(int64_t lo, int64_t mid, int64_t hi) {
    meet(lo, mid, hi);
    fill_row(flow + lo * dp, (hi - lo) * dp, T(0));
    auto const corner = [&](int i, int j) { return dpair[i][j] + (mid + skip[i]) * ld + lo; };
    for (int i = 0; i < kinds; ++i) {
      int64_t const count = least(hi, rows(i)) - mid;
      for (int j = 0; j < kinds; ++j)
        product<T, false>(corner(i, j), ld, uy[j] + lo * dp, dp, scratch, dp, count, dp, mid - lo, j > 0);
      for (int64_t t = mid; t < mid + count; ++t)
        each<T>(dp, [&](int64_t c) {
          Vec<T> const d = at(scratch, t - mid, c);
          add(dx[i] + skip[i] * dp, t, c, d * at(fx, t, c));
          add(flow, t, c, d * at(ux[i], t, c));
        });
    }
    for (int j = 0; j < kinds; ++j) {
      for (int i = 0; i < kinds; ++i)
        product<T, true>(corner(i, j), ld, ux[i] + mid * dp, dp, scratch, dp, mid - lo, dp,
                         most(least(hi, rows(i)) - mid, 0), i > 0);
      for (int64_t s = lo; s < mid; ++s)
        each<T>(dp, [&](int64_t c) {
          Vec<T> const d = at(scratch, s - lo, c);
          add(dy[j], s, c, d * at(fy, s, c));
          add(flow, s, c, d * at(uy[j], s, c));
        });
    }
    each<T>(dp, [&](int64_t c) {
      Vec<T> run(0);
      for (int64_t t = hi; t-- > mid;) add(dg, t, c, run += at(flow, t, c));
    });
    add_passed(lo, mid);
  }

  void state_backward() {
    decay_state(dstate);
    for (int i = 0; i < kinds; ++i) product<T, true>(xd[i], dp, dread(i), ep, dstate, ep, a.d, ep, n, true);
  }
};

}  // namespace scans
}  // namespace HEED_ISA_LEVEL
}  // namespace heed
