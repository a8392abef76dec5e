// scan() of narrow states that only decay, D rows of E columns: neighbouring heads in the lanes of a register. For
// scan.simd.cpp only.
#pragma once

#include <heed/engine/ops/scan_steps.h>

#include <type_traits>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace scans {

/// Some steps of `count` neighbouring heads, at most a register's. A panel [rows][columns][width] holds an operand;
/// lanes beyond `count` hold 0 and stay 0, whatever the others hold.
template <class T>
struct Lanes {
  using V = Vec<T>;
  static constexpr int width = V::width;

  ScanArgs<T> const& a;
  int64_t d, e, size;     // of a state
  int64_t logs, factors;  // what decay gives a step, and the D_t that come of it: 0, 1 or D
  int64_t n = 0;
  int count = 0;
  T *q, *k, *v, *log, *w;                 // [n][D], [n][D], [n][E], [n][logs], [n][factors]
  T *out, *rates, *states;                // [n][E], [D]; [n + 1][D][E]: before and after each step
  T *dout, *dq, *dk, *dv, *dlog;          // as out, q, k, v, log; of what heads share, the sum over heads so far
  T *state = nullptr, *drates = nullptr;  // [D][E]: S, going back its gradient; [D]

  explicit Lanes(ScanArgs<T> const& args)
      : a(args),
        d(args.d),
        e(args.e),
        size(d * e),
        logs(!args.decay.data ? 0
             : args.channels  ? d
                              : 1),
        factors(args.rates ? d : logs) {}

  /// `registers` of heads are in work at a time.
  template <class Take>
  void lay_out(int64_t registers, bool gradients, Take const& take) {
    int64_t const steps = a.chunk * width;
    take(q, steps * d), take(k, steps * d), take(v, steps * e), take(log, steps * logs);
    take(w, most(steps * factors, width)), take(rates, d * width), take(state, registers * size * width);
    if (!gradients) return take(out, steps * e);
    take(states, (steps + width) * size), take(dout, steps * e), take(dq, steps * d), take(dk, steps * d);
    take(dv, steps * e), take(dlog, steps * logs), take(drates, registers * d * width);
  }

  static V at(T const* panel, int64_t i) { return V::load(panel + i * width); }
  static void set(T* panel, int64_t i, V x) { x.store(panel + i * width); }
  static bool shared(ScanRows<T const> const& rows) { return rows.group > 1; }

  /// panel[t][j], lane by lane, from rows[t·row + j + lane·head], and back.
  [[gnu::noinline]] void pack(T const* from, int64_t head, int64_t row, int64_t rows, int64_t columns, T* panel) const {
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t j = 0; j < columns; ++j, panel += width) {
        T const* const x = from + t * row + j;
        if (head == 1) {
          (count == width ? V::load(x) : V::load_first(x, count)).store(panel);
        } else {
          for (int i = 0; i < count; ++i) panel[i] = x[i * head];
          for (int i = count; i < width; ++i) panel[i] = 0;
        }
      }
  }
  [[gnu::noinline]] void unpack(T const* panel, T* to, int64_t head, int64_t row, int64_t rows, int64_t columns) const {
    for (int64_t t = 0; t < rows; ++t)
      for (int64_t j = 0; j < columns; ++j, panel += width) {
        T* const x = to + t * row + j;
        if (head == 1)
          count == width ? V::load(panel).store(x) : V::load(panel).store_first(x, count);
        else
          for (int i = 0; i < count; ++i) x[i * head] = panel[i];
      }
  }
  void pack(ScanRows<T const> const& rows, int64_t b, int64_t h, int64_t t, int64_t columns, T* panel) const {
    pack(rows.at(b, h) + t * rows.row, shared(rows) ? 0 : rows.head, rows.row, n, columns, panel);
  }
  void unpack(T const* panel, ScanRows<T> const& rows, int64_t b, int64_t h, int64_t t, int64_t columns) const {
    unpack(panel, rows.at(b, h) + t * rows.row, rows.head, rows.row, n, columns);
  }
  /// A state of heads from h on, [.., H, D, E] or [D, E, H].
  void pack_state(T const* from, int64_t head, int64_t row, T* panel) const {
    if (from)
      pack(from, head, row, size, 1, panel);
    else
      fill_row(panel, size * width, T(0));
  }

  /// The operands of steps t … t + n − 1 of heads h … h + count − 1; what is shared only if `again`.
  [[gnu::noinline]] void load(int64_t b, int64_t h, int64_t t, bool again) {
    if (again || !shared(a.q)) pack(a.q, b, h, t, d, q);
    if (again || !shared(a.k)) pack(a.k, b, h, t, d, k);
    pack(a.v, b, h, t, e, v);
    if (a.rates) pack(a.rates + h * d, d, 0, 1, d, rates);
    if (logs == 0) return set(w, 0, V(1));
    if (again || !shared(a.decay)) pack(a.decay, b, h, t, logs, log);
    for (int64_t s = 0; s < n; ++s)
      for (int64_t j = 0; j < factors; ++j)
        set(w, s * factors + j, flushed<T>(exp(a.rates ? at(log, s) * at(rates, j) : at(log, s * logs + j))));
  }
  V factor(int64_t s, int64_t row) const { return at(w, s * factors + (factors > 1 ? row : 0)); }

  /// Steps from `state` on, which follows them; `columns` is E.
  template <class Columns>
  void forward(Columns columns) const {
    V read[most_columns];
    for (int64_t s = 0; s < n; ++s) {
      for (int64_t c = 0; c < most_columns; ++c) read[c] = V(0);
      for (int64_t j = 0; j < d; ++j) {
        V const keep = factor(s, j), key = at(k, s * d + j), query = at(q, s * d + j);
        for (int64_t c = 0; c < columns; ++c) {
          V const before = at(state, j * columns + c);
          V const now = fma(keep, before, key * at(v, s * columns + c));
          set(state, j * columns + c, now);
          read[c] = fma(query, a.inclusive ? now : before, read[c]);
        }
      }
      for (int64_t c = 0; c < columns; ++c) set(out, s * columns + c, read[c] * V(a.scale));
    }
  }
  /// All states, from the first.
  template <class Columns>
  void remember(Columns columns) const {
    for (int64_t s = 0; s < n; ++s)
      for (int64_t j = 0; j < d; ++j) {
        V const keep = factor(s, j), key = at(k, s * d + j);
        for (int64_t c = 0; c < columns; ++c) {
          int64_t const i = s * size + j * columns + c;
          set(states, i + size, fma(keep, at(states, i), key * at(v, s * columns + c)));
        }
      }
  }
  /// From the gradient of the state after the steps, in `state`, to that before them. Of what is shared, sums with what
  /// stands there unless `first`.
  template <class Columns>
  void backward(Columns columns, ScanGradArgs<T> const& g, bool first) const {
    auto const put = [&](T* panel, int64_t i, V x, bool sum) { set(panel, i, sum ? at(panel, i) + x : x); };
    bool const sum_q = shared(a.q) && !first, sum_k = shared(a.k) && !first, sum_log = shared(a.decay) && !first;
    bool const of_q = g.dq.data, of_k = g.dk.data, of_log = g.ddecay.data || a.rates;
    for (int64_t s = n; s-- > 0;) {
      V read[most_columns], dvalue[most_columns];
      for (int64_t c = 0; c < most_columns; ++c) read[c] = dvalue[c] = V(0);
      for (int64_t c = 0; c < columns; ++c) read[c] = at(dout, s * columns + c) * V(a.scale);
      V all(0);
      for (int64_t j = 0; j < d; ++j) {
        V const keep = factor(s, j), key = at(k, s * d + j), query = at(q, s * d + j);
        V dquery(0), dkey(0), dfactor(0);
        for (int64_t c = 0; c < columns; ++c) {
          int64_t const i = j * columns + c;
          V const before = at(states, s * size + i), now = at(states, (s + 1) * size + i);
          V const asked = query * read[c];
          V const here = a.inclusive ? at(state, i) + asked : at(state, i);
          V const passed = keep * here;
          dquery = fma(read[c], a.inclusive ? now : before, dquery);
          dkey = fma(here, at(v, s * columns + c), dkey);
          dvalue[c] = fma(here, key, dvalue[c]);
          dfactor = fma(passed, before, dfactor);
          set(state, i, a.inclusive ? passed : passed + asked);
        }
        if (of_q) put(dq, s * d + j, dquery, sum_q);
        if (of_k) put(dk, s * d + j, dkey, sum_k);
        if (!of_log) continue;
        if (a.rates) {
          put(drates, j, dfactor * at(log, s), true);
          all = fma(dfactor, at(rates, j), all);
        } else if (logs == 1) {
          all += dfactor;
        } else {
          put(dlog, s * d + j, dfactor, sum_log);
        }
      }
      if (of_log && logs == 1) put(dlog, s, all, sum_log);
      for (int64_t c = 0; c < columns; ++c) set(dv, s * columns + c, dvalue[c]);
    }
  }
  static constexpr int64_t most_columns = ScanArgs<T>::lane_columns;

  /// A gradient of heads h … to its place; of what heads share, with the last of them, to this part's.
  [[gnu::noinline]] void give(T const* panel, bool of_all, ScanRows<T> const& to, int64_t offset, int64_t b, int64_t h,
                              int64_t t, int64_t columns, bool last) const {
    if (!to.data) return;
    if (!of_all) return unpack(panel, to, b, h, t, columns);
    if (!last) return;
    for (int64_t s = 0; s < n; ++s)
      for (int64_t j = 0; j < columns; ++j)
        to.at(b, 0)[offset + (t + s) * to.row + j] = reduce_add(at(panel, s * columns + j));
  }
};

/// body(lanes, b, first head, end, part) for every part of the heads, in parallel.
template <class T, class Body>
void each_part(ScanArgs<T> const& a, bool gradients, Body const& body) {
  int64_t const span = round_up((a.heads + a.splits - 1) / a.splits, ScanArgs<T>::lanes), width = Vec<T>::width;
  int64_t const work = a.steps * a.d * a.e * span;
  parallel_for(a.batch * a.splits, most(1, 100'000 / work), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      int64_t const part = i % a.splits, from = part * span, to = least(from + span, a.heads);
      Lanes<T> lanes(a);
      int64_t const registers = (to - from + width - 1) / width;
      int64_t bytes = 0;
      lanes.lay_out(registers, gradients, [&](T*&, int64_t n) { bytes += Workspace::room<T>(n); });
      Workspace space(bytes);
      lanes.lay_out(registers, gradients, [&](T*& x, int64_t n) { x = space.take<T>(n); });
      body(lanes, i / a.splits, from, to, part);
    }
  });
}
/// f(E), in f32 a constant where it is 1.
template <class T, class F>
void with_columns(int64_t e, F const& f) {
  if constexpr (std::is_same_v<T, float>)
    if (e == 1) return f(std::integral_constant<int64_t, 1>());
  f(e);
}

/// `states` is [B, ⌈T/chunk⌉, D, E, H] here.
template <class T>
void forward_in_lanes(ScanArgs<T> const& a, ScanRows<T> out, T* final_states, T* states) {
  int64_t const chunks = (a.steps + a.chunk - 1) / a.chunk, width = Vec<T>::width;
  each_part(a, false, [&](Lanes<T>& x, int64_t b, int64_t from, int64_t to, int64_t) {
    T* const first = x.state;
    for (int64_t i = 0; i < chunks; ++i) {
      int64_t const t = i * a.chunk;
      x.n = least(a.chunk, a.steps - t);
      x.state = first;
      for (int64_t h = from; h < to; h += width, x.state += x.size * width) {
        int64_t const place = (b * a.heads + h) * x.size;
        x.count = int(least(width, to - h));
        if (i == 0) x.pack_state(a.initial ? a.initial + place : nullptr, x.size, 1, x.state);
        if (states) x.unpack(x.state, states + (b * chunks + i) * x.size * a.heads + h, 1, a.heads, x.size, 1);
        x.load(b, h, t, h == from || x.count < width);
        with_columns<T>(a.e, [&](auto columns) { x.forward(columns); });
        x.unpack(x.out, out, b, h, t, a.e);
        if (i + 1 == chunks) x.unpack(x.state, final_states + place, x.size, 1, x.size, 1);
      }
    }
  });
}

template <class T>
void backward_in_lanes(ScanArgs<T> const& a, ScanGradArgs<T> const& g) {
  int64_t const chunks = (a.steps + a.chunk - 1) / a.chunk, width = Vec<T>::width;
  each_part(a, true, [&](Lanes<T>& x, int64_t b, int64_t from, int64_t to, int64_t part) {
    T *const first = x.state, *const first_rates = x.drates;
    fill_row(x.drates, (to - from + width - 1) / width * x.d * width, T(0));
    for (int64_t i = chunks; i-- > 0;) {
      int64_t const t = i * a.chunk;
      x.n = least(a.chunk, a.steps - t);
      x.state = first, x.drates = first_rates;
      for (int64_t h = from; h < to; h += width, x.state += x.size * width, x.drates += x.d * width) {
        int64_t const place = (b * a.heads + h) * x.size;
        bool const last = h + width >= to;
        x.count = int(least(width, to - h));
        if (i + 1 == chunks) x.pack_state(g.dstate ? g.dstate + place : nullptr, x.size, 1, x.state);
        x.load(b, h, t, h == from || x.count < width);
        x.pack_state(g.states + (b * chunks + i) * x.size * a.heads + h, 1, a.heads, x.states);
        if (g.dout.data)
          x.pack(g.dout, b, h, t, a.e, x.dout);
        else
          fill_row(x.dout, x.n * a.e * width, T(0));
        with_columns<T>(a.e, [&](auto columns) {
          x.remember(columns);
          x.backward(columns, g, h == from);
        });
        x.give(x.dq, x.shared(a.q), g.dq, part * g.part, b, h, t, x.d, last);
        x.give(x.dk, x.shared(a.k), g.dk, part * g.part, b, h, t, x.d, last);
        x.give(x.dv, false, g.dv, 0, b, h, t, a.e, last);
        x.give(x.dlog, x.shared(a.decay), g.ddecay, part * g.decay_part, b, h, t, x.logs, last);
        if (i > 0) continue;
        x.unpack(x.state, g.dinitial + place, x.size, 1, x.size, 1);
        if (g.drates) x.unpack(x.drates, g.drates + (b * a.heads + h) * x.d, x.d, 0, 1, x.d);
      }
    }
  });
}

}  // namespace scans
}  // namespace HEED_ISA_LEVEL
}  // namespace heed
