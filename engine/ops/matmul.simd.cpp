// The matrix product: operands packed into panels for register tiles (Goto and van de Geijn, "Anatomy of
// High-Performance Matrix Multiplication", 2008), read in place when small, streamed or dotted when skinny.
#include <heed/engine/isa.h>
#include <heed/engine/lane.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/matmul_pack.h>
#include <heed/engine/ops/matmul_skinny.h>
#include <heed/engine/ops/matmul_tile.h>
#include <heed/engine/parallel.h>
#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

constexpr int64_t huge_page = 2 << 20;

/// A thread's scratch memory, kept from call to call.
class Workspace {
 public:
  ~Workspace() { std::free(data_); }
  template <class T>
  T* get(int64_t count) {
    int64_t const page = count * int64_t(sizeof(T)) < huge_page ? 4096 : huge_page;
    int64_t const bytes = round_up(count * int64_t(sizeof(T)), page);
    if (bytes > bytes_) {
      std::free(data_);
      bytes_ = 0;
      data_ = std::aligned_alloc(size_t(page), size_t(bytes));
      if (!data_) throw std::bad_alloc();
      if (page == huge_page) madvise(data_, size_t(bytes), MADV_HUGEPAGE);
      bytes_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};
// B is packed by the thread that calls gemm and read by all; A by each thread for its own tiles.
thread_local Workspace shared_panels, own_panels;

// Blocks, in elements. A block of A (rows × depth) stays in the second-level cache.
constexpr int64_t max_depth = 512;         // k is split evenly into pieces of at most this
constexpr int64_t block_rows = 144;        // about
constexpr int64_t max_packed_cols = 4096;  // of B at a time,
constexpr int64_t max_packed_depth = 8 * max_depth;
constexpr int64_t direct_bytes = 256 << 10;  // read in place up to this size: half a second-level cache or less
constexpr double task_work = 1 << 19;        // multiply-adds worth a task of their own: 5 µs at 100 per ns

/// C[m, n] (+)= A·B, all in the layout of tiles: panel i of A at a + i·a_panel, strip j of B at b + j·b_strip.
template <class T>
struct Block {
  int64_t m, n, k, height;
  T const* a;
  int64_t a_panel, a_row, a_col;
  T const* b;
  int64_t b_strip, b_row;
  T* c;
  int64_t c_row;
  T const* bias;
  bool accumulate;
};

template <class T>
void multiply_block(Block<T> const& x) {
  constexpr int64_t width = Vec<T>::width, strip = tile_cols<T>;
  T const* b = x.b;
  for (int64_t j = 0; j < x.n; j += strip, b += x.b_strip) {
    int64_t const cols = smaller(strip, x.n - j);
    auto const* table = tiles<T>.at[(cols - 1) / width][cols % width == 0];
    Tile<T> tile{x.k,
                 x.a,
                 x.a_row,
                 x.a_col,
                 b,
                 x.b_row,
                 x.c + j,
                 x.c_row,
                 x.bias ? x.bias + j : nullptr,
                 x.accumulate,
                 Part<T>(cols % width)};
    for (int64_t i = 0; i < x.m; i += x.height) {
      table[smaller(x.height, x.m - i) - 1](tile);
      tile.a += x.a_panel;
      tile.c += x.height * x.c_row;
    }
  }
}

/// The height that shares m rows evenly among as few panels as possible.
int64_t panel_height(int64_t m) { return ceil_div(m, ceil_div(m, tile_rows)); }

/// C = (C) + bias
template <class T>
void start(GemmArgs<T> const& g) {
  if (g.accumulate && !g.bias) return;
  for (int64_t i = 0; i < g.m; ++i) {
    T* c = g.c + i * g.c_row;
    for (int64_t j = 0; j < g.n; ++j) c[j] = (g.accumulate ? c[j] : T(0)) + (g.bias ? g.bias[j] : T(0));
  }
}

/// One row or two, rows of B contiguous: by columns, or where B is large by rows, so that whole pages are read in
/// order; the sums of the parts are added in order.
template <class T>
void gemm_stream(GemmArgs<T> const& g) {
  int64_t const parts = smaller(16, g.k * g.n * int64_t(sizeof(T)) / (1 << 20));
  if (parts > 1 && g.k >= g.n / 8) {
    int64_t const depth = round_up(ceil_div(g.k, parts), 8), size = g.m * g.n;
    T* const sums = shared_panels.get<T>(parts * size);
    parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        int64_t const p = smaller(part * depth, g.k), k = smaller(depth, g.k - p);
        for (int64_t e = 0; e < size; ++e) sums[part * size + e] = 0;
        for (int64_t i = 0; i < g.m; ++i)
          stream_rows(g.n, k, g.a + i * g.a_row + p * g.a_col, g.a_col, g.b + p * g.b_row, g.b_row,
                      sums + part * size + i * g.n);
      }
    });
    start(g);
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t i = 0; i < g.m; ++i)
        for (int64_t j = 0; j < g.n; ++j) g.c[i * g.c_row + j] += sums[part * size + i * g.n + j];
    return;
  }
  int64_t const cols = round_up(larger(128, int64_t(task_work / 4 / double(g.k))), 64);
  parallel_for(g.n, smaller(cols, 4096), [&](int64_t begin, int64_t end) {
    GemmArgs<T> part = g;
    part.n = end - begin, part.c += begin;
    if (g.bias) part.bias += begin;
    start(part);
    for (int64_t i = 0; i < g.m; ++i) {
      stream_rows(part.n, g.k, g.a + i * g.a_row, g.a_col, g.b + begin, g.b_row, part.c + i * g.c_row);
    }
  });
}

/// A and B contiguous along k.
template <class T>
void gemm_dots(GemmArgs<T> const& g) {
  auto run = [&g](int64_t i_begin, int64_t i_end, int64_t j_begin, int64_t j_end) {
    int64_t j = j_begin;
    for (constexpr int64_t width = Vec<T>::width; g.m == 1 && j + width <= j_end; j += width) {
      Vec<T> sum = multiply_row_dots(g.k, g.a, g.b + j * g.b_col, g.b_col);
      if (g.accumulate) sum = Vec<T>::load(g.c + j) + sum;
      if (g.bias) sum += Vec<T>::load(g.bias + j);
      sum.store(g.c + j);
    }
    for (; j < j_end; j += dot_cols) {
      int64_t const cols = smaller(dot_cols, j_end - j);
      for (int64_t i = i_begin; i < i_end; i += dot_rows) {
        int64_t const rows = smaller(dot_rows, i_end - i);
        T sums[dot_rows][dot_cols];
        dots<T>.at[rows - 1][cols - 1](g.k, g.a + i * g.a_row, g.a_row, g.b + j * g.b_col, g.b_col, sums);
        for (int64_t r = 0; r < rows; ++r) {
          T* c = g.c + (i + r) * g.c_row + j;
          for (int64_t s = 0; s < cols; ++s) {
            T sum = sums[r][s];
            if (g.accumulate) sum = c[s] + sum;
            if (g.bias) sum += g.bias[j + s];
            c[s] = sum;
          }
        }
      }
    }
  };
  bool const by_rows = g.m > g.n;
  int64_t const unit = by_rows ? dot_rows : g.m == 1 ? Vec<T>::width : dot_cols;
  double const work = double(unit) * double(by_rows ? g.n : g.m) * double(g.k);
  int64_t const grain = unit * larger(1, int64_t(task_work / 4 / work));
  if (by_rows)
    parallel_for(g.m, grain, [&](int64_t begin, int64_t end) { run(begin, end, 0, g.n); });
  else
    parallel_for(g.n, grain, [&](int64_t begin, int64_t end) { run(0, g.m, begin, end); });
}

/// One slab: at most max_packed_depth of k and, if B is packed, max_packed_cols columns.
template <class T>
void gemm_slab(GemmArgs<T> const& g, bool pack_a, bool pack_b) {
  constexpr int64_t strip = tile_cols<T>, margin = Vec<T>::width;
  int64_t const pieces = ceil_div(g.k, max_depth), depth = round_up(ceil_div(g.k, pieces), 4);
  double const work = double(g.m) * double(g.n) * double(g.k);

  T const* b = g.b;
  int64_t b_strip = strip, b_row = g.b_row;
  if (pack_b) {
    b_row = strip;
    b_strip = round_up(g.k * strip + margin, margin);
    int64_t const strips = ceil_div(g.n, strip);
    T* to = shared_panels.get<T>(strips * b_strip);
    parallel_for(strips, larger(1, (1 << 16) / (g.k * strip)), [&](int64_t begin, int64_t end) {
      int64_t const j = begin * strip, cols = smaller(end * strip, g.n) - j;
      pack_panels(g.b + j * g.b_col, g.b_row, g.b_col, cols, g.k, to + begin * b_strip, strip, b_strip);
    });
    b = to;
  }

  // Tasks are blocks of C: halved until there are enough of them to share, first by rows (for A is packed once for
  // every block of columns), as long as each is worth it.
  int64_t const height = panel_height(g.m), panels = ceil_div(g.m, height);
  int64_t down = ceil_div(panels, larger(1, block_rows / tile_rows)), across = 1;
  while (down * across < 8 && work / double(down * across) > 2 * task_work) {
    if (ceil_div(panels, down) > 2)
      down *= 2;
    else if (ceil_div(g.n, across) > 2 * strip)
      across *= 2;
    else
      break;
  }
  int64_t const block_panels = ceil_div(panels, down), rows = block_panels * height;
  int64_t const cols = round_up(ceil_div(g.n, across), strip);
  down = ceil_div(panels, block_panels), across = ceil_div(g.n, cols);

  parallel_for(across * down, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int64_t const i = t / across * rows, j = t % across * cols;
      Block<T> block;
      block.m = smaller(rows, g.m - i), block.n = smaller(cols, g.n - j), block.height = height;
      block.b_strip = b_strip, block.b_row = b_row;
      block.c = g.c + i * g.c_row + j, block.c_row = g.c_row;
      for (int64_t p = 0; p < g.k; p += depth) {
        block.k = smaller(depth, g.k - p);
        block.a = g.a + i * g.a_row + p * g.a_col;
        if (pack_a) {
          block.a_panel = round_up(block.k * height + margin, margin);
          T* to = own_panels.get<T>(block_panels * block.a_panel);
          pack_panels(block.a, g.a_col, g.a_row, block.m, block.k, to, height, block.a_panel);
          block.a = to, block.a_row = 1, block.a_col = height;
        } else {
          block.a_panel = height * g.a_row, block.a_row = g.a_row, block.a_col = g.a_col;
        }
        block.b = b + j / strip * b_strip + p * b_row;
        block.accumulate = g.accumulate || p > 0;
        block.bias = g.bias && p + depth >= g.k ? g.bias + j : nullptr;
        multiply_block(block);
      }
    }
  });
}

template <class T>
void gemm(GemmArgs<T> const& args) {
  GemmArgs<T> g = args;
  if (g.m <= 0 || g.n <= 0) return;
  if (g.k <= 0) return start(g);
  if (g.n == 1) {
    g.b_col = 1;
    if (g.a_row == 1 && g.a_col != 1 && g.c_row == 1 && !g.bias) {  // (A·b)ᵀ = bᵀ·Aᵀ has one row
      g = {1, g.m, g.k, g.b, 0, g.b_row, g.a, g.a_col, 1, g.c, g.m, nullptr, g.accumulate};
    }
  }
  if (g.k == 1) {
    g.a_col = 1;
    if (g.b_col != 1) g.b_row = 1;
  }
  constexpr int width = Vec<T>::width;

  if (g.a_col == 1 && g.b_row == 1 && (g.n == 1 || g.b_col != 1) && g.m <= 16 && g.k >= 2 * width) return gemm_dots(g);
  bool const large_b = g.k * g.n * int64_t(sizeof(T)) > direct_bytes;
  if (g.b_col == 1 && g.m <= (large_b ? 2 : 1)) return gemm_stream(g);
  if (g.n <= 8 && g.a_col == 1 && g.m > 16 && g.k >= 4 * width) {
    if (g.b_row != 1 || (g.b_col == 1 && g.n > 1)) {
      T* to = shared_panels.get<T>(g.n * g.k);
      for (int64_t j = 0; j < g.n; ++j) {
        for (int64_t p = 0; p < g.k; ++p) to[j * g.k + p] = g.b[p * g.b_row + j * g.b_col];
      }
      g.b = to, g.b_row = 1, g.b_col = g.k;
    }
    return gemm_dots(g);
  }

  // What is small enough for half a second-level cache is read in place; so are contiguous rows of A, if they are short
  // and do not all fall into the same sets of the first level.
  bool const short_rows = g.a_col == 1 && g.k <= max_depth && g.a_row * int64_t(sizeof(T)) % 4096 != 0;
  bool const pack_b = g.b_col != 1 || (large_b && g.m > tile_rows);
  bool const pack_a = g.n > 128 && g.m * g.k * int64_t(sizeof(T)) > direct_bytes && !short_rows;
  int64_t const slab_cols = pack_b ? smaller(g.n, max_packed_cols) : g.n;
  for (int64_t j = 0; j < g.n; j += slab_cols) {
    for (int64_t p = 0; p < g.k; p += max_packed_depth) {
      GemmArgs<T> slab = g;
      slab.n = smaller(slab_cols, g.n - j), slab.k = smaller(max_packed_depth, g.k - p);
      slab.a += p * g.a_col;
      slab.b += p * g.b_row + j * g.b_col;
      slab.c += j;
      slab.accumulate = g.accumulate || p > 0;
      slab.bias = g.bias && p + max_packed_depth >= g.k ? g.bias + j : nullptr;
      gemm_slab(slab, pack_a, pack_b);
    }
  }
}

template <class T>
void gemm_batched(GemmArgs<T> const& first, int64_t batch, int64_t a_step, int64_t b_step, int64_t c_step) {
  if (batch <= 0) return;
  GemmArgs<T> g = first;
  if (batch > 1 && b_step == 0 && a_step == g.m * g.a_row && c_step == g.m * g.c_row) {
    g.m *= batch, batch = 1;  // one B for all rows
  } else if (batch > 1 && c_step == 0 && a_step == g.k * g.a_col && b_step == g.k * g.b_row) {
    g.k *= batch, batch = 1;  // a sum over one longer k
  }
  if (batch == 1) return gemm(g);
  auto at = [&](int64_t i) {
    GemmArgs<T> product = g;
    product.a += i * a_step, product.b += i * b_step, product.c += i * c_step;
    return product;
  };
  double const work = double(g.m) * double(g.n) * double(g.k);
  if (c_step == 0) {
    for (int64_t i = 0; i < batch; ++i) {
      GemmArgs<T> product = at(i);
      product.accumulate = g.accumulate || i > 0;
      if (i + 1 < batch) product.bias = nullptr;
      gemm(product);
    }
  } else if (work > 64 * task_work) {
    for (int64_t i = 0; i < batch; ++i) gemm(at(i));
  } else {
    parallel_for(batch, larger(1, int64_t(task_work / (work + 1))), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) gemm(at(i));
    });
  }
}

}  // namespace

constinit GemmKernels const gemm_kernels{{{gemm<float>, gemm_batched<float>}, {gemm<double>, gemm_batched<double>}}};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
