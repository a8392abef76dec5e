#include <heed/engine/isa.h>
#include <heed/engine/parallel.h>
#include <heed/engine/storage.h>
//
#include <heed/engine/lane.h>
//
#include <heed/engine/ops/scan_chunk.h>
#include <heed/engine/ops/scan_lanes.h>
#include <heed/engine/ops/scan_steps.h>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace scans {
namespace {

/// body(b, h, first column, end, split) for every task, in parallel.
template <class T, class Body>
void each_task(ScanArgs<T> const& a, Body const& body) {
  int64_t const wide = round_up((a.e + a.splits - 1) / a.splits, Vec<T>::width);
  int64_t const work = a.steps * a.d * wide * (a.a.data ? 6 : 3);
  parallel_for(a.batch * a.heads * a.splits, most(1, 100'000 / work), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      int64_t const split = i % a.splits, head = i / a.splits;
      body(head / a.heads, head % a.heads, least(split * wide, a.e), least((split + 1) * wide, a.e), split);
    }
  });
}

template <class T>
Workspace space_for(Chunk<T>& chunk, bool gradients) {
  int64_t bytes = 0;
  chunk.lay_out(gradients, [&](T*&, int64_t count) { bytes += Workspace::room<T>(count); });
  Workspace space(bytes);
  chunk.lay_out(gradients, [&](T*& to, int64_t count) { to = space.take<T>(count); });
  return space;
}

template <class T>
void forward(ScanArgs<T> const& a, ScanRows<T> out, T* final_states, T* states, ScanWay way) {
  if (way == ScanWay::lanes) return forward_in_lanes(a, out, final_states, states);
  int64_t const size = a.d * a.e, chunks = (a.steps + a.chunk - 1) / a.chunk;
  each_task(a, [&](int64_t b, int64_t h, int64_t column, int64_t end, int64_t) {
    int64_t const head = b * a.heads + h, columns = end - column;
    T* const final_state = final_states + head * size;
    T* const saved = states ? states + head * chunks * size : nullptr;
    if (way == ScanWay::steps) return forward_by_steps(a, b, h, column, end, out, final_state, saved);
    Chunk<T> chunk(a, columns);
    Workspace const space = space_for(chunk, false);
    if (a.initial)
      pack_rows(a.initial + head * size + column, a.e, a.d, columns, T(1), chunk.state, chunk.ep);
    else
      fill_row(chunk.state, a.d * chunk.ep, T(0));
    auto const store_state = [&](T* to) {
      for (int64_t d = 0; d < a.d; ++d) write_row(chunk.state + d * chunk.ep, T(1), to + d * a.e + column, columns);
    };
    for (int64_t i = 0; i < chunks; ++i) {
      int64_t const t = i * a.chunk;
      if (saved) store_state(saved + i * size);
      chunk.load(b, h, column, t, least(a.chunk, a.steps - t));
      chunk.solve();
      chunk.read();
      for (int64_t s = 0; s < chunk.n; ++s)
        write_row(chunk.o + s * chunk.ep, T(1), out.at(b, h) + (t + s) * out.row + column, columns);
      chunk.advance();
    }
    store_state(final_state);
  });
}

template <class T>
void backward(ScanArgs<T> const& a, ScanGradArgs<T> const& g, ScanWay way) {
  if (way == ScanWay::lanes) return backward_in_lanes(a, g);
  int64_t const size = a.d * a.e, chunks = (a.steps + a.chunk - 1) / a.chunk;
  each_task(a, [&](int64_t b, int64_t h, int64_t column, int64_t end, int64_t split) {
    int64_t const head = b * a.heads + h, columns = end - column;
    Chunk<T> chunk(a, columns);
    Workspace const space = space_for(chunk, true);
    int64_t const dp = chunk.dp, ep = chunk.ep;
    if (g.dstate)
      pack_rows(g.dstate + head * size + column, a.e, a.d, columns, T(1), chunk.dstate, ep);
    else
      fill_row(chunk.dstate, a.d * ep, T(0));
    for (int64_t i = chunks; i-- > 0;) {
      int64_t const t = i * a.chunk, n = least(a.chunk, a.steps - t);
      pack_rows(g.states + (head * chunks + i) * size + column, a.e, a.d, columns, T(1), chunk.state, ep);
      chunk.load(b, h, column, t, n);
      chunk.solve();
      if (g.dout.data)
        pack_rows(g.dout.at(b, h) + t * g.dout.row + column, g.dout.row, n, columns, T(1), chunk.o, ep);
      else
        fill_row(chunk.o, n * ep, T(0));
      chunk.values_backward();
      chunk.operands_backward();
      chunk.state_backward();
      auto const store = [&](T const* from, int64_t from_row, T scale, ScanRows<T> const& to, int64_t offset,
                             int64_t count) {
        for (int64_t s = 0; s < n; ++s)
          write_row(from + s * from_row, scale, to.at(b, h) + offset + (t + s) * to.row, count);
      };
      store(chunk.dx[0], dp, a.scale, g.dq, split * g.part, a.d);
      store(chunk.dy[0], dp, T(1), g.dk, split * g.part, a.d);
      store(chunk.dvalue[0], ep, T(1), g.dv, column, columns);
      if (a.a.data) {
        store(chunk.dx[1], dp, T(1), g.db, split * g.part, a.d);
        store(chunk.dy[1], dp, T(1), g.da, split * g.part, a.d);
      }
      if (a.channels)
        store(chunk.dg, dp, T(1), g.ddecay, split * g.decay_part, a.d);
      else if (a.decay.data)
        for (int64_t s = 0; s < n; ++s) {
          T sum = 0;
          for (int64_t d = 0; d < a.d; ++d) sum += chunk.dg[s * dp + d];
          g.ddecay.at(b, h)[split * g.decay_part + (t + s) * g.ddecay.row] = sum;
        }
    }
    for (int64_t d = 0; d < a.d; ++d)
      write_row(chunk.dstate + d * ep, T(1), g.dinitial + head * size + d * a.e + column, columns);
  });
}

}  // namespace
}  // namespace scans

constinit ScanKernels const scan_kernels{
    {{scans::forward<float>, scans::backward<float>}, {scans::forward<double>, scans::backward<double>}}};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
