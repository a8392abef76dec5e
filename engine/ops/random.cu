#include <heed/engine/cuda/rows.h>
#include <heed/engine/ops/device_tables.h>

#include <array>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {
namespace {

/// Words 4i … 4i+3.
__device__ inline std::array<uint32_t, 4> words_at(uint64_t i, Draw draw) {
  return philox4x32({uint32_t(i), uint32_t(i >> 32), uint32_t(draw.offset), uint32_t(draw.offset >> 32)},
                    {uint32_t(draw.seed), uint32_t(draw.seed >> 32)});
}

/// What one counter gives: 4 floats or 2 doubles; conversions are exact.
template <class T>
__device__ inline Pack<T> uniforms_at(int64_t k, Draw draw) {
  auto const w = words_at(uint64_t(k) / pack_size<T>, draw);
  if constexpr (sizeof(T) == 4)
    return {{float(w[0] >> 8) * 0x1p-24f, float(w[1] >> 8) * 0x1p-24f, float(w[2] >> 8) * 0x1p-24f,
             float(w[3] >> 8) * 0x1p-24f}};
  else
    return {{(double(w[0] >> 5) * 0x1p26 + double(w[1] >> 6)) * 0x1p-53,
             (double(w[2] >> 5) * 0x1p26 + double(w[3] >> 6)) * 0x1p-53}};
}

// Each writes 4 bytes an element (f32), with one Philox of about 60 operations a 16 bytes.

struct Words {
  uint32_t* y;
  Draw draw;
  __device__ void operator()(int64_t, int64_t k, int count) const {
    auto const w = words_at(uint64_t(k) / 4, draw);
    store(Pack<uint32_t>{{w[0], w[1], w[2], w[3]}}, y + k, count);
  }
};

struct Integers {
  int64_t* y;
  int64_t low;
  uint64_t span;
  Draw draw;
  __device__ void operator()(int64_t, int64_t k, int count) const {
    auto const w = words_at(uint64_t(k) / 2, draw);
    auto const at = [&](uint32_t first, uint32_t second) {
      auto const wide = static_cast<unsigned __int128>(uint64_t{second} << 32 | first) * span;
      return int64_t(uint64_t(low) + uint64_t(wide >> 64));
    };
    store(Pack<int64_t>{{at(w[0], w[1]), at(w[2], w[3])}}, y + k, count);
  }
};

template <class T>
struct Uniform {
  T* y;
  Draw draw;
  __device__ void operator()(int64_t, int64_t k, int count) const { store(uniforms_at<T>(k, draw), y + k, count); }
};

/// sin(2πu) and cos(2πu), 0 <= u < 1: u - quarter/4 is exact and within ±1/8, where short Taylor series serve.
template <class T>
__device__ inline void sine_cosine(T u, T& sine, T& cosine) {
  constexpr int terms = sizeof(T) == 4 ? 5 : 9;
  int const quarter = (u >= T(0.125)) + (u >= T(0.375)) + (u >= T(0.625)) + (u >= T(0.875));
  T const x = (u - T(quarter) * T(0.25)) * T(6.283185307179586476925), xx = x * x;
  T s = 0, c = 0;
#pragma unroll
  for (int k = terms - 1; k >= 0; --k) {  // Horner, from the last term inwards: 1 - xx/((2k+2)(2k+3))·(…)
    s = std::fma(s * xx, T(-1. / ((2 * k + 2) * (2 * k + 3))), T(1));
    c = std::fma(c * xx, T(-1. / ((2 * k + 1) * (2 * k + 2))), T(1));
  }
  s *= x;
  sine = quarter % 2 ? c : s;
  cosine = quarter % 2 ? s : c;
  if (quarter == 2 || quarter == 3) sine = -sine;
  if (quarter == 1 || quarter == 2) cosine = -cosine;
}

template <class T>
struct Normal {
  T* y;
  Draw draw;
  __device__ void operator()(int64_t, int64_t k, int count) const {
    Pack<T> p = uniforms_at<T>(k, draw);
#pragma unroll
    for (int i = 0; i < pack_size<T>; i += 2) {
      T const r = std::sqrt(T(-2) * std::log(1 - p.v[i]));
      T sine, cosine;
      sine_cosine(p.v[i + 1], sine, cosine);
      p.v[i] = r * cosine;
      p.v[i + 1] = r * sine;
    }
    store(p, y + k, count);
  }
};

/// Reads 4 and writes 4 bytes an element (f32).
template <class T>
struct Dropout {
  T const* x;
  T* y;
  uint32_t threshold;
  T scale;
  Draw draw;
  __device__ void operator()(int64_t, int64_t k, int count) const {
    Pack<T> p = load(x + k, 1, count, T(0));
    auto const w = words_at(uint64_t(k) / 4, draw);
    bool const upper = k % 4 != 0;  // two doubles take the first or the last two words
#pragma unroll
    for (int i = 0; i < pack_size<T>; ++i)
      p.v[i] = (upper ? w[size_t(i + 2) % 4] : w[size_t(i)]) >= threshold ? p.v[i] * scale : T(0);
    store(p, y + k, count);
  }
};

void words(uint32_t* y, int64_t n, Draw draw) { map_rows<uint32_t>("random words", Words{y, draw}, 1, n); }
void integers(int64_t* y, int64_t n, int64_t low, uint64_t span, Draw draw) {
  map_rows<int64_t>("random integers", Integers{y, low, span, draw}, 1, n);
}
template <class T>
void uniform(T* y, int64_t n, Draw draw) {
  map_rows<T>("uniform", Uniform<T>{y, draw}, 1, n);
}
template <class T>
void normal(T* y, int64_t n, Draw draw) {
  map_rows<T>("normal", Normal<T>{y, draw}, 1, n);
}
template <class T>
void dropout(T const* x, T* y, int64_t n, double p, Draw draw) {
  if (p >= 1) {
    if (n > 0) check_device(rt::fill_bytes(y, 0, size_t(n) * sizeof(T), current_stream()), "dropout");
    return;
  }
  auto const threshold = uint32_t(p * 0x1p32 < 0x1p32 - 1 ? p * 0x1p32 : 0x1p32 - 1);
  map_rows<T>("dropout", Dropout<T>{x, y, threshold, T(1 / (1 - p)), draw}, 1, n);
}

template <class T>
constexpr RandomKernelsOf<T> table{uniform<T>, normal<T>, dropout<T>};

}  // namespace

constinit RandomKernels const device_random_kernels{table<float>, table<double>, words, integers};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
