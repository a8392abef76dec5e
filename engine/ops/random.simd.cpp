#include <heed/engine/ops/random.h>
#include <heed/engine/ops/rows.h>

#include <utility>

namespace heed {
inline namespace HEED_ISA_LEVEL {
namespace {

constexpr int64_t batch_words = 256;  // generated at a time: 64 counters

/// A register of 64-bit lanes. Philox works in their low halves; what is left in the high halves is never read.
constexpr int lanes = int(sizeof(Batch<float>) / sizeof(uint64_t));
using Wide [[gnu::vector_size(sizeof(Batch<float>))]] = uint64_t;

/// The product of the low halves.
Wide multiply_low(Wide a, Wide b) {
#if defined(__AVX512F__)
  return Wide(_mm512_mul_epu32(__m512i(a), __m512i(b)));
#elif defined(__AVX2__)
  return Wide(_mm256_mul_epu32(__m256i(a), __m256i(b)));
#elif defined(__SSE2__)
  return Wide(_mm_mul_epu32(__m128i(a), __m128i(b)));
#else
  return (a & uint64_t{0xffffffff}) * (b & uint64_t{0xffffffff});
#endif
}

template <size_t... i>
Wide even_lanes(Wide a, Wide b, std::index_sequence<i...>) {  // a_0 b_0 a_2 b_2 …
  return __builtin_shufflevector(a, b, (i % 2 == 0 ? i : i - 1 + lanes)...);
}
template <size_t... i>
Wide odd_lanes(Wide a, Wide b, std::index_sequence<i...>) {  // a_1 b_1 a_3 b_3 …
  return __builtin_shufflevector(a, b, (i % 2 == 0 ? i + 1 : i + lanes)...);
}

/// to[4i…4i+3] = Philox4x32-10 of counter (first + i, offset) for i < 64; `first` is a multiple of 64.
void generate(uint64_t first, Draw draw, uint32_t* to) {
  constexpr int groups = lanes == 8 ? 4 : 2, step = groups * lanes;  // independent chains hide the latency of products
  constexpr auto all = std::make_index_sequence<lanes>{};
  Wide order;  // even lanes hold the first half of the counters, so that interleaving even and odd lanes sorts them
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) order[i] = uint64_t(i % 2 * (lanes / 2) + i / 2);
  Wide const m0 = Wide{} + 0xD2511F53u, m1 = Wide{} + 0xCD9E8D57u;
  for (int block = 0; block < int(batch_words) / 4; block += step) {
    Wide a[groups], b[groups], c[groups], d[groups];
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) {
      a[g] = order + (first + uint64_t(block + g * lanes));
      b[g] = Wide{} + (first >> 32);  // the 64 counters differ in their low word only
      c[g] = Wide{} + draw.offset;
      d[g] = Wide{} + (draw.offset >> 32);
    }
    Wide k0 = Wide{} + draw.seed, k1 = Wide{} + (draw.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) {
        Wide const low = multiply_low(a[g], m0), high = multiply_low(c[g], m1);
        a[g] = (high >> 32) ^ b[g] ^ k0;
        c[g] = (low >> 32) ^ d[g] ^ k1;
        b[g] = high;
        d[g] = low;
      }
      k0 += uint64_t{0x9E3779B9};
      k1 += uint64_t{0xBB67AE85};
    }
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) {
      Wide const ab = (a[g] & uint64_t{0xffffffff}) | (b[g] << 32), cd = (c[g] & uint64_t{0xffffffff}) | (d[g] << 32);
      Wide const head = even_lanes(ab, cd, all), tail = odd_lanes(ab, cd, all);
      __builtin_memcpy(to + 4 * (block + g * lanes), &head, sizeof head);
      __builtin_memcpy(to + 4 * (block + g * lanes) + 2 * lanes, &tail, sizeof tail);
    }
  }
}

/// f(at, count, words) for every batch: elements at … at+count-1 take `per` words each, and `words` holds the whole
/// batch.
template <int per, class F>
void each_batch(int64_t n, Draw draw, F const& f) {
  constexpr int64_t elements = batch_words / per;
  int64_t const batches = (n + elements - 1) / elements;
  parallel_for(batches, chunk_elements / 4 / elements, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[batch_words];
    for (int64_t b = begin; b < end; ++b) {
      generate(uint64_t(b) * uint64_t(batch_words / 4), draw, words);
      int64_t const left = n - b * elements;
      f(b * elements, int(left < elements ? left : elements), static_cast<uint32_t const*>(words));
    }
  });
}

void words(uint32_t* y, int64_t n, Draw draw) {
  each_batch<1>(n, draw, [=](int64_t at, int count, uint32_t const* w) {
    __builtin_memcpy(y + at, w, size_t(count) * sizeof *w);
  });
}

template <class T>
constexpr int words_per = sizeof(T) / 4;
template <class T>
constexpr int batch_elements = int(batch_words) / words_per<T>;

/// One batch of uniforms; conversions are exact, so that every level agrees.
inline void uniforms(uint32_t const* words, float* u) {
  for (int i = 0; i < batch_elements<float>; ++i) u[i] = float(int32_t(words[i] >> 8)) * 0x1p-24f;
}
inline void uniforms(uint32_t const* words, double* u) {
  for (int i = 0; i < batch_elements<double>; ++i)
    u[i] = (double(int32_t(words[2 * i] >> 5)) * 0x1p26 + double(int32_t(words[2 * i + 1] >> 6))) * 0x1p-53;
}

template <class T>
void uniform(T* y, int64_t n, Draw draw) {
  each_batch<words_per<T>>(n, draw, [=](int64_t at, int count, uint32_t const* w) {
    if (count == batch_elements<T>) return uniforms(w, y + at);
    T u[batch_elements<T>];
    uniforms(w, u);
    __builtin_memcpy(y + at, u, size_t(count) * sizeof(T));
  });
}

/// sin(2πu) and cos(2πu), 0 <= u < 1: u - quarter/4 is exact and within ±1/8, where short Taylor series serve.
template <class T>
void sine_cosine(Vec<T> u, Vec<T>& sine, Vec<T>& cosine) {
  constexpr int terms = sizeof(T) == 4 ? 5 : 9;
  auto const at_least = [&](double bound) { return select(u >= Vec<T>(bound), Vec<T>(1), Vec<T>(0)); };
  Vec<T> const quarter = (at_least(0.125) + at_least(0.375)) + (at_least(0.625) + at_least(0.875));
  Vec<T> const x = (u - quarter * Vec<T>(0.25)) * Vec<T>(6.283185307179586476925), xx = x * x;
  Vec<T> s = 0, c = 0;
#pragma GCC unroll 9
  for (int k = terms - 1; k >= 0; --k) {  // Horner, from the last term inwards: 1 - xx/((2k+2)(2k+3))·(…)
    s = fma(s * xx, Vec<T>(-1. / ((2 * k + 2) * (2 * k + 3))), Vec<T>(1));
    c = fma(c * xx, Vec<T>(-1. / ((2 * k + 1) * (2 * k + 2))), Vec<T>(1));
  }
  s = s * x;
  auto const swapped = (quarter == Vec<T>(1)) | (quarter == Vec<T>(3));
  sine = select(swapped, c, s);
  cosine = select(swapped, s, c);
  sine = select((quarter == Vec<T>(2)) | (quarter == Vec<T>(3)), -sine, sine);
  cosine = select((quarter == Vec<T>(1)) | (quarter == Vec<T>(2)), -cosine, cosine);
}

template <class T>
void normal(T* y, int64_t n, Draw draw) {
  constexpr int pairs = batch_elements<T> / 2;
  each_batch<words_per<T>>(n, draw, [=](int64_t at, int count, uint32_t const* w) {
    alignas(64) T u[2 * pairs], first[pairs], second[pairs];
    uniforms(w, u);
    for (int i = 0; i < pairs; ++i) {
      first[i] = 1 - u[2 * i];
      second[i] = u[2 * i + 1];
    }
    for (int i = 0; i < pairs; i += Vec<T>::width) {
      Vec<T> const r = sqrt(Vec<T>(-2) * log(Vec<T>::load(first + i)));
      Vec<T> sine, cosine;
      sine_cosine<T>(Vec<T>::load(second + i), sine, cosine);
      (r * cosine).store(first + i);
      (r * sine).store(second + i);
    }
    for (int i = 0; i < pairs; ++i) {
      u[2 * i] = first[i];
      u[2 * i + 1] = second[i];
    }
    __builtin_memcpy(y + at, u, size_t(count) * sizeof(T));
  });
}

template <class T>
void dropout(T const* x, T* y, int64_t n, double p, Draw draw) {
  if (p >= 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = 0;
    return;
  }
  auto const threshold = uint32_t(p * 0x1p32 < 0x1p32 - 1 ? p * 0x1p32 : 0x1p32 - 1);
  T const scale = T(1 / (1 - p));
  each_batch<1>(n, draw, [=](int64_t at, int count, uint32_t const* w) {
    alignas(64) T factor[batch_words];
    T const kept = scale;  // a local: a member of the closure would be loaded under a mask, and the loop stay scalar
    uint32_t const bound = threshold;
    for (int i = 0; i < int(batch_words); ++i) factor[i] = w[i] >= bound ? kept : T(0);
    map_row<T>(
        count, y + at, [](auto v, auto k) { return select(k == Vec<T>(0), Vec<T>(0), v * k); }, x + at,
        static_cast<T const*>(factor));
  });
}

void integers(int64_t* y, int64_t n, int64_t low, uint64_t span, Draw draw) {
  each_batch<2>(n, draw, [=](int64_t at, int count, uint32_t const* w) {
    for (int i = 0; i < count; ++i) {
      uint64_t const bits = uint64_t{w[2 * i + 1]} << 32 | w[2 * i];
      y[at + i] = int64_t(uint64_t(low) + uint64_t(static_cast<unsigned __int128>(bits) * span >> 64));
    }
  });
}

template <class T>
constexpr RandomKernelsOf<T> table{uniform<T>, normal<T>, dropout<T>};

}  // namespace

constinit RandomKernels const random_kernels{table<float>, table<double>, words, integers};

}  // namespace HEED_ISA_LEVEL
}  // namespace heed
