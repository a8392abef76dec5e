// scan() on a device by chunks of steps, forward and backward: a block takes some columns of one head's state and
// carries it over the chunks. Names and formulas are those of scan_chunk.h, but that channels always have decays (1
// where there are none), and a reader's row t stands for step t itself.
#include <heed/engine/cuda/warp.h>
#include <heed/engine/ops/scan_device.h>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace scans {
namespace {

constexpr int size = 16;  // steps of a chunk; those there are not have x, y and values of 0 and decays of 1
constexpr int threads = 128;
constexpr int pair_pitch = size + 4;

__device__ inline int least(int64_t a, int64_t b) { return int(a < b ? a : b); }

/// to(m, n, Σ_k x(m, k)·y(k, n)), M, N and K multiples of 4: x(m, k) gives 4 neighbours along k, or along m where
/// `x_turned`; y(k, n) along n, or along k where `y_turned`. A thread has 4 × 4 sums; to() gets 4 along n at a time, or
/// one where y is turned: then they stand apart, so that neighbouring threads read neighbouring lines.
template <class T, bool x_turned, bool y_turned, class X, class Y, class To>
__device__ __forceinline__ void product(int M, int N, int K, X const& x, Y const& y, To const& to) {
  int const across = N / 4, tiles = M / 4 * across;
#pragma unroll 1
  for (int tile = int(threadIdx.x); tile < tiles; tile += threads) {
    int const m = tile / across * 4, n = y_turned ? tile % across : tile % across * 4, apart = y_turned ? across : 1;
    T sum[4][4] = {};
#pragma unroll 1
    for (int k = 0; k < K; k += 4) {
      Four<T> u[4], v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        u[i] = x_turned ? x(m, k + i) : x(m + i, k);
        v[i] = y_turned ? y(k, n + i * apart) : y(k + i, n);
      }
#pragma unroll
      for (int e = 0; e < 4; ++e)
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            sum[i][j] += (x_turned ? u[e].x[i] : u[i].x[e]) * (y_turned ? v[j].x[e] : v[e].x[j]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (y_turned) {
#pragma unroll
        for (int j = 0; j < 4; ++j) to(m + i, n + j * apart, sum[i][j]);
      } else {
        to(m + i, n, Four<T>{{sum[i][0], sum[i][1], sum[i][2], sum[i][3]}});
      }
    }
  }
}

template <class T>
__device__ inline Four<T> times(Four<T> a, Four<T> const& b) {
#pragma unroll
  for (int i = 0; i < 4; ++i) a.x[i] *= b.x[i];
  return a;
}
template <class T>
__device__ inline void add(Four<T>& to, T a, Four<T> const& b) {
#pragma unroll
  for (int i = 0; i < 4; ++i) to.x[i] += a * b.x[i];
}
template <class T>
__device__ inline T dot(T const* a, T const* b, int n) {
  T sum = 0;
#pragma unroll 1
  for (int i = 0; i < n; i += 4) {
    Four<T> const x = four(a + i), y = four(b + i);
#pragma unroll
    for (int e = 0; e < 4; ++e) sum += x.x[e] * y.x[e];
  }
  return sum;
}

/// What a block holds, in shared memory or its own part of a workspace. Readers of the state are q and b, writers k
/// with the values v and a with the values u; methods end with a barrier.
template <class T, bool delta>
struct Chunk {
  static constexpr int kinds = delta ? 2 : 1;
  ScanArgs<T> const& a;
  int dp, np, pitch;  // D and columns rounded up; of rows of values and of the state
  int64_t b, h, column;
  int columns;
  int64_t t = 0;  // the first step, and how many there are
  int n = 0;

  // Of each reader or writer after the other.
  T *x, *y;               // [kinds][size][dp]
  T *w, *before, *after;  // [size][dp]: decays; their product before step t (row size: of all) and after it
  T* pair;                // [readers][writers][size][pair_pitch]
  T* value;               // [kinds][size][pitch]
  T* state;               // [dp][pitch]
  // Of backward: what pairs get, what readers' results get (of q and b), what v and u get, what readers and writers get
  // through the states before and after the chunk, and the state after it.
  T *dpair, *dread, *dv, *through_read, *through_write, *dstate;

  /// take(member, numbers) for all that a block needs.
  template <class Take>
  __host__ __device__ static void lay_out(int dp, int pitch, bool gradients, Take const& take) {
    constexpr int pairs = kinds * kinds * size * pair_pitch;
    take(&Chunk::x, kinds * size * dp), take(&Chunk::y, kinds * size * dp);
    take(&Chunk::w, size * dp), take(&Chunk::before, (size + 1) * dp), take(&Chunk::after, size * dp);
    take(&Chunk::pair, pairs), take(&Chunk::value, kinds * size * pitch), take(&Chunk::state, dp * pitch);
    if (!gradients) return;
    take(&Chunk::dpair, pairs), take(&Chunk::dread, kinds * size * pitch), take(&Chunk::dv, size * pitch);
    take(&Chunk::through_read, kinds * size * dp), take(&Chunk::through_write, kinds * size * dp);
    take(&Chunk::dstate, dp * pitch);
  }

  __device__ Chunk(ScanArgs<T> const& args, T* at, int wide, bool gradients)
      : a(args),
        dp(int(a.d + 3) / 4 * 4),
        np(wide),
        pitch(wide + 4),
        b(blockIdx.x / a.splits / a.heads),
        h(blockIdx.x / a.splits % a.heads),
        column(blockIdx.x % a.splits * wide),
        columns(column < a.e ? least(wide, a.e - column) : 0) {
    lay_out(dp, pitch, gradients, [&](T* Chunk::*member, int count) { this->*member = at, at += count; });
  }

  __device__ T* pairs_of(T* of, int reader, int writer) const {
    return of + (reader * kinds + writer) * size * pair_pitch;
  }
  __device__ T& at(T* rows, int kind, int s, int d) const { return rows[(kind * size + s) * dp + d]; }
  /// Of the readers: 1 for those that read the state before the step.
  __device__ int skip(int i) const { return i == 0 && a.inclusive ? 0 : 1; }
  __device__ int64_t head() const { return b * a.heads + h; }
  /// What stands before the state that reader i sees at step s.
  __device__ T const* decays_before(int i, int s) const { return before + (s + 1 - skip(i)) * dp; }

  /// to [dp][pitch] = from [D][E], or 0.
  __device__ void load_state(T* to, T const* from) const {
#pragma unroll 1
    for (int e = int(threadIdx.x); e < dp * np; e += threads) {
      int const d = e / np, c = e % np;
      to[d * pitch + c] = from && d < a.d && c < columns ? from[d * a.e + column + c] : T(0);
    }
    __syncthreads();
  }
  __device__ void store_state(T const* from, T* to) const {
#pragma unroll 1
    for (int e = int(threadIdx.x); e < int(a.d) * columns; e += threads)
      to[e / columns * a.e + column + e % columns] = from[e / columns * pitch + e % columns];
  }
  /// As it lies here.
  __device__ void keep_state(T* to) const {
#pragma unroll 1
    for (int e = int(threadIdx.x); e < dp * pitch; e += threads) to[e] = e % pitch < np ? state[e] : T(0);
  }
  __device__ void get_state(T const* from) {
#pragma unroll 1
    for (int e = int(threadIdx.x); e < dp * pitch; e += threads) state[e] = from[e];
    __syncthreads();
  }

  __device__ void load_rows(ScanRows<T const> from, T scale, T* to) const {
    T const* const at = from.at(b, h) + t * from.row;
#pragma unroll 1
    for (int e = int(threadIdx.x); e < size * dp; e += threads) {
      int const s = e / dp, d = e % dp;
      to[e] = s < n && d < a.d ? scale * at[s * from.row + d] : T(0);
    }
  }
  __device__ void load_values(ScanRows<T const> from, T* to) const {
    T const* const at = from.data ? from.at(b, h) + t * from.row + column : nullptr;
#pragma unroll 1
    for (int e = int(threadIdx.x); e < size * np; e += threads) {
      int const s = e / np, c = e % np;
      to[s * pitch + c] = at && s < n && c < columns ? at[s * from.row + c] : T(0);
    }
  }
  /// The operands of `count` steps from `first` on, and products of decays.
  __device__ void load(int64_t first, int count) {
    t = first, n = count;
    load_rows(a.q, a.scale, x);
    load_rows(a.k, T(1), y);
    if constexpr (delta) {
      load_rows(a.b, T(1), x + size * dp);
      load_rows(a.a, T(1), y + size * dp);
    }
    load_values(a.v, value);
    T const* const logs = a.decay.data ? a.decay.at(b, h) + t * a.decay.row : nullptr;
    for (int d = int(threadIdx.x); d < dp; d += threads) {
      T all = 1;
#pragma unroll 1
      for (int s = 0; s < size; ++s) {
        T const decay = logs && s < n && d < a.d ? ::exp(logs[s * a.decay.row + (a.channels ? d : 0)]) : T(1);
        w[s * dp + d] = decay, before[s * dp + d] = all;
        all *= decay;
      }
      before[size * dp + d] = all;
      T rest = 1;
#pragma unroll 1
      for (int s = size; s-- > 0;) after[s * dp + d] = rest, rest *= w[s * dp + d];
    }
    __syncthreads();
  }

  /// pair[r][w][t][s] = x_rt·(Π decays between)·y_ws for the s that r sees at t: 8 threads to each s.
  __device__ void find_pairs() {
    static_assert(threads == 8 * size);
    int const s = int(threadIdx.x) / 8, part = int(threadIdx.x) % 8;
#pragma unroll
    for (int j = 0; j < kinds; ++j) {
      T sum[kinds][size] = {};
#pragma unroll 1
      for (int d = part; d < dp; d += 8) {
        T z = at(y, j, s, d);
#pragma unroll
        for (int m = 0; m < size; ++m) {
          if (m > s) z *= w[m * dp + d];
#pragma unroll
          for (int i = 0; i < kinds; ++i)
            if (m >= s && m + skip(i) < size) sum[i][m] += at(x, i, m + skip(i), d) * z;
        }
      }
#pragma unroll
      for (int i = 0; i < kinds; ++i)
#pragma unroll
        for (int m = 0; m < size; ++m) {
          T const all = warp::sum<8>(sum[i][m]);
          if (part == m % 8 && m >= s && m + skip(i) < size) pairs_of(pair, i, j)[(m + skip(i)) * pair_pitch + s] = all;
        }
    }
    __syncthreads();
  }

  /// u, given the state before the chunk: u_t = b_t·S + Σ_{s < t} (pair[b][k]·v + pair[b][a]·u), a thread a column.
  __device__ void solve() {
    if constexpr (delta) {
      product<T, false, false>(
          size, np, dp,
          [&](int s, int d) { return times(four(x + (size + s) * dp + d), four(decays_before(1, s) + d)); },
          [&](int d, int c) { return four(state + d * pitch + c); },
          [&](int s, int c, Four<T> const& sum) { *reinterpret_cast<Four<T>*>(value + (size + s) * pitch + c) = sum; });
      __syncthreads();
      for (int c = int(threadIdx.x); c < np; c += threads) {
        T* const u_rows = value + size * pitch + c;
        T const *const of_v = pairs_of(pair, 1, 0), *const of_u = pairs_of(pair, 1, 1);
        T v[size], u[size];
#pragma unroll
        for (int s = 0; s < size; ++s) {
          v[s] = value[s * pitch + c];
          T sum = u_rows[s * pitch];
#pragma unroll
          for (int r = 0; r < s; ++r) sum += of_v[s * pair_pitch + r] * v[r] + of_u[s * pair_pitch + r] * u[r];
          u_rows[s * pitch] = u[s] = sum;
        }
      }
      __syncthreads();
    }
  }

  /// What q reads, to the result.
  __device__ void read(ScanRows<T> out) {
    T* const to = out.at(b, h) + t * out.row + column;
    product<T, false, false>(
        size, np, dp, [&](int s, int d) { return times(four(x + s * dp + d), four(decays_before(0, s) + d)); },
        [&](int d, int c) { return four(state + d * pitch + c); },
        [&](int s, int c, Four<T> sum) {
          if (s >= n) return;
#pragma unroll 1
          for (int j = 0; j < kinds; ++j)
#pragma unroll 1
            for (int r = 0; r <= s - skip(0); ++r)
              add(sum, pairs_of(pair, 0, j)[s * pair_pitch + r], four(value + (j * size + r) * pitch + c));
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (c + e < columns) to[s * out.row + c + e] = sum.x[e];
        });
    __syncthreads();
  }

  /// to = (all decays)∘to + Σ over lines of (from∘factors)ᵀ·values
  template <class Factors>
  __device__ __forceinline__ void carry(T* to, T const* from, Factors const& factors, T const* values) {
    product<T, true, false>(
        dp, np, kinds * size,
        [&](int d, int line) { return times(four(from + line * dp + d), four(factors(line) + d)); },
        [&](int line, int c) { return four(values + line * pitch + c); },
        [&](int d, int c, Four<T> sum) {
          Four<T>& here = *reinterpret_cast<Four<T>*>(to + d * pitch + c);
          add(sum, before[size * dp + d], here);
          here = sum;
        });
    __syncthreads();
  }
  __device__ void advance() {
    carry(
        state, y, [&](int line) { return after + line % size * dp; }, value);
  }

  // Backward. On entry dread of q is the gradient of the result, dstate that of the state after the chunk.

  /// du, which is dread of b, and dv. First what comes through the state after the chunk and what q reads, then what b
  /// reads.
  __device__ void values_backward() {
    product<T, false, false>(
        kinds * size, np, dp,
        [&](int line, int d) { return times(four(y + line * dp + d), four(after + line % size * dp + d)); },
        [&](int d, int c) { return four(dstate + d * pitch + c); },
        [&](int line, int c, Four<T> sum) {
          int const j = line / size, s = line % size;
#pragma unroll 1
          for (int r = s + skip(0); r < size; ++r)
            add(sum, pairs_of(pair, 0, j)[r * pair_pitch + s], four(dread + r * pitch + c));
          *reinterpret_cast<Four<T>*>((j == 0 ? dv : dread + size * pitch) + s * pitch + c) = sum;
        });
    __syncthreads();
    if constexpr (delta) {
      for (int c = int(threadIdx.x); c < np; c += threads) {
        T* const du_rows = dread + size * pitch + c;
        T const *const of_v = pairs_of(pair, 1, 0), *const of_u = pairs_of(pair, 1, 1);
        T du[size];
#pragma unroll
        for (int s = size; s-- > 0;) {
          T sum = du_rows[s * pitch], to_v = dv[s * pitch + c];
#pragma unroll
          for (int r = s + 1; r < size; ++r) {
            sum += of_u[r * pair_pitch + s] * du[r];
            to_v += of_v[r * pair_pitch + s] * du[r];
          }
          du_rows[s * pitch] = du[s] = sum;
          dv[s * pitch + c] = to_v;
        }
      }
      __syncthreads();
    }
  }

  __device__ void store_dv(ScanRows<T> to) const {
    T* const at = to.at(b, h) + t * to.row + column;
#pragma unroll 1
    for (int e = int(threadIdx.x); e < n * np; e += threads)
      if (e % np < columns) at[e / np * to.row + e % np] = dv[e / np * pitch + e % np];
  }

  /// through_read, through_write and dpair.
  __device__ void products_backward() {
#pragma unroll 1
    for (int writes = 0; writes < 2; ++writes) {
      T const *const rows = writes ? value : dread, *const of = writes ? dstate : state;
      T* const to = writes ? through_write : through_read;
      product<T, false, true>(
          kinds * size, dp, np, [&](int line, int c) { return four(rows + line * pitch + c); },
          [&](int c, int d) { return four(of + d * pitch + c); },
          [&](int line, int d, T sum) { to[line * dp + d] = sum; });
    }
#pragma unroll 1
    for (int e = int(threadIdx.x); e < kinds * kinds * size * size; e += threads) {
      int const pairing = e / (size * size), i = pairing / kinds, j = pairing % kinds;
      int const r = e / size % size, s = e % size;
      dpair[(pairing * size + r) * pair_pitch + s] =
          s + skip(i) <= r ? dot(dread + (i * size + r) * pitch, value + (j * size + s) * pitch, np) : T(0);
    }
    __syncthreads();
  }

  /// Gradients of the operands, a thread a channel. Rows of readers are moved by `skip` here: m is the last step whose
  /// decay lies before what is read.
  __device__ void operands_backward(ScanGradArgs<T> const& g, int64_t split) {
    auto const row = [&](ScanRows<T> to, int64_t part) { return to.at(b, h) + split * part + t * to.row; };
#pragma unroll 1
    for (int d = int(threadIdx.x); d < int(a.d); d += threads) {
      T decay[size], read[kinds][size], dread_row[kinds][size], dg[size];
      // Decay r lies before what is read after it, before the state after the chunk, and after what was written before.
      T run = dot(state + d * pitch, dstate + d * pitch, np) * before[size * dp + d];
#pragma unroll
      for (int m = size; m-- > 0;) {
        decay[m] = w[m * dp + d];
#pragma unroll
        for (int i = 0; i < kinds; ++i) {
          int const s = m + skip(i);
          bool const is = s < size;
          read[i][m] = is ? at(x, i, s, d) : T(0);
          dread_row[i][m] = is ? at(through_read, i, s, d) * before[(m + 1) * dp + d] : T(0);
          run += read[i][m] * dread_row[i][m];
        }
        dg[m] = run;
      }
      run = 0;
#pragma unroll
      for (int s = 0; s < size; ++s) {
        dg[s] += run;
#pragma unroll
        for (int j = 0; j < kinds; ++j) {
          run += at(y, j, s, d) * at(through_write, j, s, d) * after[s * dp + d];
        }
      }
      // Through pairs: z = y_s·(decays in (s, m]), e = Σ_{m' >= m} x·dpair·(decays in (m, m']).
#pragma unroll 1
      for (int s = 0; s < n; ++s)
#pragma unroll
        for (int j = 0; j < kinds; ++j) {
          T z[size], run_z = at(y, j, s, d), e = 0;
#pragma unroll
          for (int m = 0; m < size; ++m) {
            if (m > s) run_z *= decay[m];
            z[m] = run_z;
          }
#pragma unroll
          for (int m = size; m-- > 0;) {
            if (m < s) continue;
            if (m + 1 < size) e *= decay[m + 1];
#pragma unroll
            for (int i = 0; i < kinds; ++i) {
              T const dp_here = m + skip(i) < size ? pairs_of(dpair, i, j)[(m + skip(i)) * pair_pitch + s] : T(0);
              e += dp_here * read[i][m];
              dread_row[i][m] += dp_here * z[m];
            }
            if (m > s) dg[m] += e * z[m];
          }
          e += at(through_write, j, s, d) * after[s * dp + d];
          if (j == 0)
            row(g.dk, g.part)[s * g.dk.row + d] = e;
          else
            row(g.da, g.part)[s * g.da.row + d] = e;
        }
#pragma unroll
      for (int m = 0; m < size; ++m) {
        if (m + skip(0) < n) row(g.dq, g.part)[(m + skip(0)) * g.dq.row + d] = a.scale * dread_row[0][m];
        if constexpr (delta)
          if (m + 1 < n) row(g.db, g.part)[(m + 1) * g.db.row + d] = dread_row[1][m];
        if (m < n && a.channels) row(g.ddecay, g.decay_part)[m * g.ddecay.row + d] = dg[m];
        at(through_write, 0, m, d) = dg[m];
      }
      // Step 0 of those that read the state before the chunk.
      if (skip(0)) row(g.dq, g.part)[d] = a.scale * at(through_read, 0, 0, d);
      if constexpr (delta) row(g.db, g.part)[d] = at(through_read, 1, 0, d);
    }
    __syncthreads();
    if (!a.decay.data || a.channels) return;
    for (int s = int(threadIdx.x) / 32; s < n; s += threads / 32) {
      T sum = 0;
      for (int d = warp::lane(); d < int(a.d); d += 32) sum += at(through_write, 0, s, d);
      sum = warp::sum(sum);
      if (warp::lane() == 0) row(g.ddecay, g.decay_part)[s * g.ddecay.row] = sum;
    }
  }
  __device__ void state_backward() {
    carry(
        dstate, x, [&](int line) { return decays_before(line / size, line % size); }, dread);
  }
};

/// Where this block's numbers lie: in shared memory, or where they are too many in a workspace. f32 that fits has
/// kernels that know so, whose accesses need no look at the address.
template <bool inside, class T>
__device__ inline T* place(T* shared, T* workspace, int64_t count) {
  if constexpr (inside)
    return shared;
  else
    return workspace ? workspace + blockIdx.x * count : shared;
}

template <class T, bool delta, bool inside>
__global__ void __launch_bounds__(threads, 1)
    forward_chunks(ScanArgs<T> a, ScanRows<T> out, T* final_states, T* states, int wide, T* workspace, int64_t count) {
  HEED_DYNAMIC_SHARED(T, shared);
  Chunk<T, delta> c(a, place<inside>(shared, workspace, count), wide, false);
  int64_t const numel = a.d * a.e, chunks = (a.steps + a.chunk - 1) / a.chunk;
  c.load_state(c.state, a.initial ? a.initial + c.head() * numel : nullptr);
#pragma unroll 1
  for (int64_t t = 0; t < a.steps; t += c.n) {
    int64_t const since_saved = t % a.chunk, left = a.chunk - since_saved;
    if (states && since_saved == 0) c.store_state(c.state, states + (c.head() * chunks + t / a.chunk) * numel);
    c.load(t, least(least(size, left), a.steps - t));
    c.find_pairs();
    c.solve();
    c.read(out);
    c.advance();
  }
  c.store_state(c.state, final_states + c.head() * numel);
}

/// Of a saved interval of a.chunk steps, chunks go forward once more to have the state before each (`kept`, of all but
/// the first and the last), then backward.
template <class T, bool delta, bool inside>
__global__ void __launch_bounds__(threads, 1)
    backward_chunks(ScanArgs<T> a, ScanGradArgs<T> g, int wide, T* workspace, int64_t count, T* kept, int slots) {
  HEED_DYNAMIC_SHARED(T, shared);
  Chunk<T, delta> c(a, place<inside>(shared, workspace, count), wide, true);
  int64_t const numel = a.d * a.e, saved = (a.steps + a.chunk - 1) / a.chunk, state_size = c.dp * c.pitch;
  T* const own = kept + blockIdx.x * (slots * state_size);
  c.load_state(c.dstate, g.dstate ? g.dstate + c.head() * numel : nullptr);
#pragma unroll 1
  for (int64_t i = saved; i-- > 0;) {
    int64_t const first = i * a.chunk, end = first + a.chunk < a.steps ? first + a.chunk : a.steps;
    T const* const state = g.states + (c.head() * saved + i) * numel;
    int const chunks = int((end - first + size - 1) / size);
    c.load_state(c.state, state);
#pragma unroll 1
    for (int step = 0; step < 2 * chunks - 1; ++step) {
      bool const back = step >= chunks - 1;
      int const k = back ? 2 * chunks - 2 - step : step;
      if (!back && k > 0) c.keep_state(own + (k - 1) * state_size);
      if (step >= chunks) {
        if (k == 0)
          c.load_state(c.state, state);
        else
          c.get_state(own + (k - 1) * state_size);
      }
      int64_t const t = first + k * size;
      c.load(t, least(size, end - t));
      if (delta || back) c.find_pairs();
      c.solve();
      if (!back) {
        c.advance();
        continue;
      }
      c.load_values(g.dout, c.dread);
      __syncthreads();
      c.values_backward();
      c.store_dv(g.dv);
      c.products_backward();
      c.operands_backward(g, blockIdx.x % a.splits);
      c.state_backward();
    }
  }
  c.store_state(c.dstate, g.dinitial + c.head() * numel);
}

/// The least that a block may ask for on any device.
size_t most_shared() {
  static size_t const most = [] {
    int count = 0;
    rt::DeviceFacts facts{};
    (void)rt::device_count(count);
    size_t least = size_t{1} << 30;
    for (int i = 0; i < count; ++i)
      if (rt::facts(i, facts) && facts.shared_per_block < least) least = facts.shared_per_block;
    return least;
  }();
  return most;
}

/// Memory of the blocks of a launch.
template <class T, bool delta>
struct Room {
  int wide;
  int64_t blocks, count = 0, state;
  DeviceScratch<T> workspace;
  Room(ScanArgs<T> const& a, bool gradients)
      : wide(int(((a.e + a.splits - 1) / a.splits + 3) / 4 * 4)),
        blocks(a.batch * a.heads * a.splits),
        count(numbers(a, wide, gradients)),
        state((a.d + 3) / 4 * 4 * (wide + 4)),
        workspace(size_t(count) * sizeof(T) > most_shared() ? blocks * count : 0) {}
  size_t shared() const { return workspace.data() ? 0 : size_t(count) * sizeof(T); }
  static int64_t numbers(ScanArgs<T> const& a, int wide, bool gradients) {
    int64_t sum = 0;
    Chunk<T, delta>::lay_out(int(a.d + 3) / 4 * 4, wide + 4, gradients,
                             [&](T* Chunk<T, delta>::*, int64_t n) { sum += n; });
    return sum;
  }
};

template <class T, bool delta>
void launch_forward(ScanArgs<T> const& a, ScanRows<T> out, T* state, T* states) {
  Room<T, delta> const room(a, false);
  launch(room.workspace.data() || sizeof(T) == 8 ? forward_chunks<T, delta, false>
                                                 : forward_chunks<T, delta, sizeof(T) == 4>,
         "scan (chunks)", in_a_row(room.blocks), {threads}, room.shared(), a, out, state, states, room.wide,
         room.workspace.data(), room.count);
}
template <class T, bool delta>
void launch_backward(ScanArgs<T> const& a, ScanGradArgs<T> const& g) {
  Room<T, delta> const room(a, true);
  int64_t const chunks = (a.chunk + size - 1) / size, slots = chunks > 2 ? chunks - 2 : 0;
  DeviceScratch<T> const kept(room.blocks * slots * room.state);
  launch(room.workspace.data() || sizeof(T) == 8 ? backward_chunks<T, delta, false>
                                                 : backward_chunks<T, delta, sizeof(T) == 4>,
         "scan (backward)", in_a_row(room.blocks), {threads}, room.shared(), a, g, room.wide, room.workspace.data(),
         room.count, kept.data(), int(slots));
}

}  // namespace

template <class T>
void forward_by_chunks(ScanArgs<T> const& a, ScanRows<T> out, T* state, T* states) {
  (a.a.data ? launch_forward<T, true> : launch_forward<T, false>)(a, out, state, states);
}
template <class T>
void backward_by_chunks(ScanArgs<T> const& a, ScanGradArgs<T> const& g) {
  (a.a.data ? launch_backward<T, true> : launch_backward<T, false>)(a, g);
}
template void forward_by_chunks(ScanArgs<float> const&, ScanRows<float>, float*, float*);
template void forward_by_chunks(ScanArgs<double> const&, ScanRows<double>, double*, double*);
template void backward_by_chunks(ScanArgs<float> const&, ScanGradArgs<float> const&);
template void backward_by_chunks(ScanArgs<double> const&, ScanGradArgs<double> const&);

}  // namespace scans
}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
