// Every device wrapper three times: as the PTX that nvcc made of it, interpreted; as the emulator's reading of the same
// source; and as a plain reference here. Then the PTX with a mistake put in, which must be noticed.
//   ptx_test [wrappers.ptx]    without the file (no nvcc) the PTX parts are skipped
#include <heed/engine/cuda/rt.h>
#include <heed/engine/half.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <regex>
#include <sstream>
#include <vector>

#include "layouts.h"
#include "machine.h"
#include "wrappers.h"

namespace {

namespace rt = heed::rt;
using heed::bfloat16, heed::float16;

std::mt19937 generator(7);
float real() { return std::uniform_real_distribution<float>(-1, 1)(generator); }
float small_integer() { return float(std::uniform_int_distribution<int>(-8, 8)(generator)); }

// ---- where kernels run

template <class T>
T* on_device(std::vector<T>& host, std::vector<std::function<void()>>& after) {
  void* block = nullptr;
  size_t const bytes = host.size() * sizeof(T);
  if (!rt::allocate(block, bytes)) throw std::runtime_error("no memory on the emulator");
  rt::copy_to_device(block, host.data(), bytes, nullptr);
  after.push_back([&host, block, bytes] {
    rt::copy_to_host(host.data(), block, bytes, nullptr);
    rt::synchronize(nullptr);
    rt::release(block);
  });
  return static_cast<T*>(block);
}
template <class T>
T on_device(T value, std::vector<std::function<void()>>&) {
  return value;
}

template <class T>
T* mapped(ptx::Machine& machine, std::vector<T>& host) {
  machine.map(static_cast<void*>(host.data()), host.size() * sizeof(T));
  return host.data();
}
template <class T>
T mapped(ptx::Machine&, T value) {
  return value;
}

/// The PTX under test: the file's, or one with a mistake.
ptx::Module const* module = nullptr;
ptx::Counters counters;

template <class... P, class... A>
void emulate(char const* name, void (*kernel)(P...), ptx::Launch const& how, A&... arguments) {
  std::vector<std::function<void()>> after;
  rt::Launch const launch{
      name, {how.grid.x, how.grid.y, how.grid.z}, {how.block.x, how.block.y, how.block.z}, how.shared};
  rt::Status const status = rt::launch(kernel, launch, on_device(arguments, after)...);
  if (!status) throw std::runtime_error(status.text);
  if (rt::Status const end = rt::synchronize(nullptr); !end) throw std::runtime_error(end.text);
  for (auto const& f : after) f();
}

template <class... A>
void interpret(char const* name, ptx::Launch const& how, A&... arguments) {
  ptx::Machine machine(*module);
  machine.most_instructions = 200'000'000;
  machine.run(module->kernel(name), how, mapped(machine, arguments)...);
  counters = machine.counters;
}

template <class... P, class... A>
void launch(bool on_ptx, char const* name, void (*kernel)(P...), ptx::Launch const& how, A&... arguments) {
  if (on_ptx)
    interpret(name, how, arguments...);
  else
    emulate(name, kernel, how, arguments...);
}

// ---- what came of it

/// The largest difference, against the largest expected value; bits where the numbers are integers.
template <class T>
double error(std::vector<T> const& got, std::vector<T> const& expected) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(got[i]) && std::isnan(expected[i])) continue;
      if (got[i] == expected[i]) continue;
      double const difference = std::abs(double(got[i]) - double(expected[i]));
      worst = std::isnan(difference) ? HUGE_VAL : std::max(worst, difference);
      scale = std::max(scale, std::abs(double(expected[i])));
    } else {
      worst += got[i] != expected[i];
      scale = 1;
    }
  }
  return worst == 0 ? 0 : worst / std::max(scale, 1e-30);
}

int passed, failed, skipped;

#define HEED_KERNEL(name) #name, &heed::wrappers::name

/// A case runs on both tiers by the same call; `within` bounds the error of either.
struct Case {
  char const* name;
  double within;
  std::function<double(bool on_ptx)> error;
};

double run(Case const& one, bool on_ptx, std::string& why) {
  generator.seed(7);
  try {
    return one.error(on_ptx);
  } catch (std::exception const& e) {
    why = e.what();
    return HUGE_VAL;
  }
}

// ---- references

template <class Element>
uint32_t bits_of(float value) {
  if constexpr (std::is_same_v<Element, float>)
    return std::bit_cast<uint32_t>(value) & 0xffffe000u;  // tf32
  else
    return Element(value).bits;
}
template <class Element>
float as_element(float value) {
  if constexpr (std::is_same_v<Element, float>)
    return std::bit_cast<float>(bits_of<float>(value));
  else
    return float(Element(value));
}

/// C + A·B, laid out by the figures. Integers must come out exactly.
template <class Element, int depth>
double multiplied(char const* name, void (*kernel)(float*, uint32_t const*, uint32_t const*), bool on_ptx) {
  double worst = 0;
  for (bool integers : {true, false}) {
    auto const next = [&] { return as_element<Element>(integers ? small_integer() : real()); };
    float a[16][depth], b[depth][8], c[16][8];
    for (auto& row : a)
      for (float& x : row) x = next();
    for (auto& row : b)
      for (float& x : row) x = next();
    for (auto& row : c)
      for (float& x : row) x = integers ? small_integer() : real();
    std::vector<uint32_t> left(128), right(64);
    std::vector<float> sums(128), expected(128);
    for (size_t i = 0; i < 16; ++i)
      for (size_t j = 0; j < 8; ++j) {
        if constexpr (std::is_same_v<Element, float>) {
          auto const at = layouts::a_32[i][j];
          left[size_t(4 * at.lane + at.number)] = bits_of<float>(a[i][j]);
        } else {
          auto const at = layouts::a_16[i][j];
          left[size_t(4 * at.lane + at.number)] =
              bits_of<Element>(a[i][2 * j + 1]) << 16 | bits_of<Element>(a[i][2 * j]);
        }
        auto const at = layouts::c_32[i][j];
        size_t const place = size_t(4 * at.lane + at.number);
        sums[place] = c[i][j];
        double sum = c[i][j];
        for (size_t k = 0; k < depth; ++k) sum += double(a[i][k]) * double(b[k][j]);
        expected[place] = float(sum);
      }
    for (size_t i = 0; i < 8; ++i)
      for (size_t j = 0; j < 8; ++j) {
        if constexpr (std::is_same_v<Element, float>) {
          auto const at = layouts::b_32[i][j];
          right[size_t(2 * at.lane + at.number)] = bits_of<float>(b[i][j]);
        } else {
          auto const at = layouts::b_16[i][j];
          right[size_t(2 * at.lane + at.number)] =
              bits_of<Element>(b[2 * i + 1][j]) << 16 | bits_of<Element>(b[2 * i][j]);
        }
      }
    ptx::Launch const how{{1, 1, 1}, {32, 1, 1}, 0};
    launch(on_ptx, name, kernel, how, sums, left, right);
    double const off = error(sums, expected);
    worst = std::max(worst, integers && off != 0 ? HUGE_VAL : off);
  }
  return worst;
}

double loaded(char const* name, void (*kernel)(uint32_t*, uint16_t const*, int const*), size_t count, bool trans,
              bool on_ptx) {
  std::vector<uint16_t> rows(256);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = uint16_t(0x4000 + i);
  std::vector<int> at(32);
  for (int i = 0; i < 32; ++i) at[size_t(i)] = (5 * i + 3) % 32;
  std::vector<uint32_t> to(32 * count), expected(32 * count);
  for (size_t m = 0; m < count; ++m)
    for (size_t i = 0; i < 8; ++i)
      for (size_t j = 0; j < 4; ++j) {
        auto const element = [&](size_t row, size_t column) {
          return uint32_t(trans ? rows[8 * size_t(at[8 * m + column]) + row]
                                : rows[8 * size_t(at[8 * m + row]) + column]);
        };
        expected[size_t(layouts::loaded[i][j].lane) * count + m] = element(i, 2 * j + 1) << 16 | element(i, 2 * j);
      }
  ptx::Launch const how{{1, 1, 1}, {32, 1, 1}, 0};
  launch(on_ptx, name, kernel, how, to, rows, at);
  return error(to, expected);
}

/// Ordinary numbers and those where rounding is special.
std::vector<float> numbers() {
  std::vector<float> result = {0.0f,       -0.0f,      1.0f,       -1.0f,      65504.0f,    65519.99f,
                               65520.0f,   -70000.0f,  1e-8f,      6e-8f,      -3e-5f,      6.1e-5f,
                               1e-40f,     3.4e38f,    INFINITY,   -INFINITY,  1.00390625f, 1.01171875f,
                               1.0004883f, 1.0014648f, 3.1415927f, -2.7182817f};
  for (int i = 0; i < 150; ++i) result.push_back(std::ldexp(real(), int(generator() % 40) - 20));
  return result;
}

template <class Element>
double packed(char const* name, void (*kernel)(uint32_t*, float const*, int), bool on_ptx) {
  std::vector<float> from = numbers();
  int const pairs = int(from.size() / 2);
  std::vector<uint32_t> to(static_cast<size_t>(pairs)), expected = to;
  for (size_t i = 0; i < to.size(); ++i) {
    // The nearest of all 65536 elements, the even one of two; found by looking at each.
    auto const nearest = [](float x) {
      uint32_t best = 0;
      double least = HUGE_VAL;
      bool const narrow = std::is_same_v<Element, float16>;
      double const limit = narrow ? 65536.0 : std::ldexp(1.0, 128);  // what would follow the largest counts as infinite
      for (uint32_t magnitude = 0; magnitude < 0x8000; ++magnitude) {
        Element e;
        e.bits = uint16_t(magnitude);
        double const value = double(float(e));
        if (value != value) break;
        double const off = std::abs((std::isinf(value) ? limit : value) - std::min(std::abs(double(x)), limit));
        if (off < least || (off == least && magnitude % 2 == 0)) least = off, best = magnitude;
      }
      return best | (std::signbit(x) ? 0x8000u : 0u);
    };
    expected[i] = nearest(from[2 * i + 1]) << 16 | nearest(from[2 * i]);
  }
  ptx::Launch const how{{unsigned(pairs + 31) / 32, 1, 1}, {32, 1, 1}, 0};
  launch(on_ptx, name, kernel, how, to, from, pairs);
  return error(to, expected);
}

double to_tf32(bool on_ptx) {
  std::vector<float> from = numbers();
  int const count = int(from.size());
  std::vector<uint32_t> to(from.size()), expected(from.size());
  for (size_t i = 0; i < from.size(); ++i) {
    int exponent = 0;
    std::frexp(from[i], &exponent);
    double const unit = std::ldexp(1.0, std::max(exponent, -125) - 11);
    float const value = std::isinf(from[i]) ? from[i] : float(std::round(double(from[i]) / unit) * unit);
    expected[i] = std::bit_cast<uint32_t>(std::copysign(value, from[i]));
  }
  ptx::Launch const how{{unsigned(count + 31) / 32, 1, 1}, {32, 1, 1}, 0};
  launch(on_ptx, HEED_KERNEL(round_tf32), how, to, from, count);
  return error(to, expected);
}

template <class T, class Reference>
double in_warps(char const* name, void (*kernel)(T*, T const*), Reference const& reference, bool on_ptx) {
  std::vector<T> from(64), to(64), expected(64);
  for (T& x : from) x = T(100 * real());
  if (std::is_floating_point_v<T>) from[40] = T(NAN);
  for (size_t i = 0; i < 64; ++i) expected[i] = reference(from.data() + i / 32 * 32, i % 32);
  ptx::Launch const how{{1, 1, 1}, {64, 1, 1}, 0};
  launch(on_ptx, name, kernel, how, to, from);
  // NaN must be where it belongs; it is hidden from the comparison only where it is expected.
  return error(to, expected);
}

double pipelined(char const* name, void (*kernel)(float*, float const*, int, int), bool on_ptx) {
  double worst = 0;
  for (int tiles : {1, 2, 3, 7}) {
    for (int missing : {0, 4, 20, 700}) {
      int const bytes = tiles * 1024 - missing;
      std::vector<float> from(size_t(bytes / 4)), to(64), expected(64);
      for (float& x : from) x = small_integer();
      for (size_t i = 0; i < 64; ++i)
        for (size_t tile = 0; tile < size_t(tiles); ++tile)
          for (size_t j = 0; j < 4; ++j) {
            size_t const at = 256 * tile + 4 * ((i + 1) % 64) + j;
            expected[i] += at < from.size() ? float(j + 1) * from[at] : 0;
          }
      ptx::Launch const how{{1, 1, 1}, {64, 1, 1}, 0};
      launch(on_ptx, name, kernel, how, to, from, tiles, bytes);
      worst = std::max(worst, error(to, expected));
    }
  }
  return worst;
}

double places(bool on_ptx) {
  std::vector<int> to(256), expected(256);
  for (size_t i = 0; i < 16; ++i)
    for (size_t j = 0; j < 8; ++j) {
      auto const at = layouts::c_32[i][j];
      expected[size_t(8 * at.lane + 2 * at.number)] = int(i);
      expected[size_t(8 * at.lane + 2 * at.number + 1)] = int(j);
    }
  ptx::Launch const how{{1, 1, 1}, {32, 1, 1}, 0};
  launch(on_ptx, HEED_KERNEL(mma_places), how, to);
  return error(to, expected);
}

double log_sums(bool on_ptx) {
  int const n = 301, rows = 3;
  std::vector<float> from(n * rows), to(rows), expected(rows);
  for (float& x : from) x = 20 * real();
  for (size_t r = 0; r < size_t(rows); ++r) {
    double sum = 0;
    for (size_t i = 0; i < size_t(n); ++i) sum += std::exp(double(from[r * size_t(n) + i]));
    expected[r] = float(std::log(sum));
  }
  ptx::Launch const how{{unsigned(rows), 1, 1}, {96, 1, 1}, 0};
  launch(on_ptx, HEED_KERNEL(log_sum_exp), how, to, from, n);
  return error(to, expected);
}

double product(bool on_ptx) {
  int const m = 37, n = 29, k = 45;
  std::vector<float> a(m * k), b(k * n), c(m * n), expected(c);
  for (float& x : a) x = real();
  for (float& x : b) x = real();
  for (size_t i = 0; i < size_t(m); ++i)
    for (size_t j = 0; j < size_t(n); ++j) {
      double sum = 0;
      for (size_t l = 0; l < size_t(k); ++l) sum += double(a[i * size_t(k) + l]) * double(b[l * size_t(n) + j]);
      expected[i * size_t(n) + j] = float(sum);
    }
  ptx::Launch const how{{2, 3, 1}, {256, 1, 1}, 0};
  launch(on_ptx, HEED_KERNEL(sgemm), how, c, a, b, m, n, k);
  return error(c, expected);
}

double half_product(bool on_ptx) {
  int const m = 64, n = 32, k = 112;  // seven steps through three stages
  std::vector<uint16_t> a(m * k), b(k * n);
  std::vector<float> c(m * n), expected(c);
  for (uint16_t& x : a) x = bfloat16(real()).bits;
  for (uint16_t& x : b) x = bfloat16(real()).bits;
  auto const value = [](uint16_t bits) { return double(std::bit_cast<float>(uint32_t(bits) << 16)); };
  for (size_t i = 0; i < size_t(m); ++i)
    for (size_t j = 0; j < size_t(n); ++j) {
      double sum = 0;
      for (size_t l = 0; l < size_t(k); ++l) sum += value(a[i * size_t(k) + l]) * value(b[l * size_t(n) + j]);
      expected[i * size_t(n) + j] = float(sum);
    }
  ptx::Launch const how{{2, 2, 1}, {64, 1, 1}, 3 * (32 + 16) * 24 * 2};
  launch(on_ptx, HEED_KERNEL(hgemm), how, c, a, b, n, k);
  return error(c, expected);
}

// ---- all of it

std::vector<Case> cases() {
  std::vector<Case> all;
#define HEED_CASE(name, within, call) all.push_back({#name, within, [=]([[maybe_unused]] bool on_ptx) { return call; }})
  HEED_CASE(mma_bf16, 1e-6, (multiplied<bfloat16, 16>(HEED_KERNEL(mma_bf16), on_ptx)));
  HEED_CASE(mma_f16, 1e-6, (multiplied<float16, 16>(HEED_KERNEL(mma_f16), on_ptx)));
  HEED_CASE(mma_tf32, 1e-6, (multiplied<float, 8>(HEED_KERNEL(mma_tf32), on_ptx)));
  HEED_CASE(mma_places, 0, places(on_ptx));
  HEED_CASE(ldmatrix_x1, 0, loaded(HEED_KERNEL(ldmatrix_x1), 1, false, on_ptx));
  HEED_CASE(ldmatrix_x2, 0, loaded(HEED_KERNEL(ldmatrix_x2), 2, false, on_ptx));
  HEED_CASE(ldmatrix_x4, 0, loaded(HEED_KERNEL(ldmatrix_x4), 4, false, on_ptx));
  HEED_CASE(ldmatrix_x1_trans, 0, loaded(HEED_KERNEL(ldmatrix_x1_trans), 1, true, on_ptx));
  HEED_CASE(ldmatrix_x2_trans, 0, loaded(HEED_KERNEL(ldmatrix_x2_trans), 2, true, on_ptx));
  HEED_CASE(ldmatrix_x4_trans, 0, loaded(HEED_KERNEL(ldmatrix_x4_trans), 4, true, on_ptx));
  HEED_CASE(pack_bf16, 0, packed<bfloat16>(HEED_KERNEL(pack_bf16), on_ptx));
  HEED_CASE(pack_f16, 0, packed<float16>(HEED_KERNEL(pack_f16), on_ptx));
  HEED_CASE(round_tf32, 0, to_tf32(on_ptx));
  auto const sum = [](size_t width) {
    return [width](float const* from, size_t i) {
      double total = 0;
      for (size_t j = i / width * width; j < i / width * width + width; ++j) total += double(from[j]);
      return float(total);
    };
  };
  auto const most = [](float const* from, size_t) {
    float result = from[0];
    for (int j = 0; j < 32; ++j) result = std::isnan(from[j]) || from[j] > result ? from[j] : result;
    return result;
  };
  auto const before = [](int const* from, size_t i) {
    int total = 0;
    for (size_t j = 0; j <= i; ++j) total += from[j];
    return total;
  };
  HEED_CASE(warp_sum, 1e-6, in_warps<float>(HEED_KERNEL(warp_sum), sum(32), on_ptx));
  HEED_CASE(warp_sum_of_4, 1e-6, in_warps<float>(HEED_KERNEL(warp_sum_of_4), sum(4), on_ptx));
  HEED_CASE(warp_max, 0, in_warps<float>(HEED_KERNEL(warp_max), most, on_ptx));
  HEED_CASE(warp_scan, 0, in_warps<int>(HEED_KERNEL(warp_scan), before, on_ptx));
  HEED_CASE(pipeline_2, 0, pipelined(HEED_KERNEL(pipeline_2), on_ptx));
  HEED_CASE(pipeline_3, 0, pipelined(HEED_KERNEL(pipeline_3), on_ptx));
  HEED_CASE(log_sum_exp, 1e-6, log_sums(on_ptx));
  HEED_CASE(sgemm, 1e-6, product(on_ptx));
  HEED_CASE(hgemm, 1e-6, half_product(on_ptx));
  return all;
}

/// A mistake in the assembly of one kernel's PTX: what `pattern` matches becomes `by`.
struct Mutant {
  char const *kernel, *what, *pattern, *by;
};
#define HEED_FOUR R"(\{(%\w+), (%\w+), (%\w+), (%\w+)\})"
#define HEED_TWO R"(\{(%\w+), (%\w+)\})"
Mutant const mutants[] = {
    {"mma_bf16", "B registers swapped", R"((mma\..*), )" HEED_TWO ",", "$1, {$3, $2},"},
    {"mma_f16", "B registers swapped", R"((mma\..*), )" HEED_TWO ",", "$1, {$3, $2},"},
    {"mma_tf32", "B registers swapped", R"((mma\..*), )" HEED_TWO ",", "$1, {$3, $2},"},
    {"hgemm", "B registers swapped", R"((mma\..*), )" HEED_TWO ",", "$1, {$3, $2},"},
    {"mma_bf16", "A registers 1 and 2 swapped", R"((mma\.[^{]*\{[^}]*\}), )" HEED_FOUR, "$1, {$2, $4, $3, $5}"},
    {"mma_f16", "A registers 1 and 2 swapped", R"((mma\.[^{]*\{[^}]*\}), )" HEED_FOUR, "$1, {$2, $4, $3, $5}"},
    {"mma_tf32", "A registers 1 and 2 swapped", R"((mma\.[^{]*\{[^}]*\}), )" HEED_FOUR, "$1, {$2, $4, $3, $5}"},
    {"hgemm", "A registers 1 and 2 swapped", R"((mma\.[^{]*\{[^}]*\}), )" HEED_FOUR, "$1, {$2, $4, $3, $5}"},
    {"mma_bf16", "results 1 and 2 swapped", R"((mma\.[^{]*)\{(%\w+), (%\w+), (%\w+), (%\w+)\})", "$1{$2, $4, $3, $5}"},
    {"mma_bf16", "bf16 read as f16", R"(bf16\.bf16)", "f16.f16"},
    {"ldmatrix_x1_trans", ".trans missing", R"(\.trans)", ""},
    {"ldmatrix_x2_trans", ".trans missing", R"(\.trans)", ""},
    {"ldmatrix_x4_trans", ".trans missing", R"(\.trans)", ""},
    {"ldmatrix_x4", ".trans too many", R"((\.x4)\.)", "$1.trans."},
    {"ldmatrix_x4", "registers 1 and 2 swapped", R"((ldmatrix[^{]*))" HEED_FOUR, "$1{$2, $4, $3, $5}"},
    {"hgemm", ".trans missing", R"(\.trans)", ""},
    {"pack_bf16", "halves swapped", R"((cvt\.rn\.bf16x2\.f32 %\w+), (%\w+), (%\w+))", "$1, $3, $2"},
    {"round_tf32", "not rounded", R"(cvt\.rna\.tf32\.f32)", "mov.b32"},
    {"pipeline_2", "wait_group off by one", R"(wait_group 0)", "wait_group 1"},
    {"pipeline_3", "wait_group off by one", R"(wait_group 1)", "wait_group 2"},
    {"hgemm", "wait_group off by one", R"(wait_group 1)", "wait_group 2"},
    {"pipeline_3", "the zero-filling size missing", R"((cp\.async.*\], 16), %\w+)", "$1"},
    {"pipeline_3", "commit missing", R"(cp\.async\.commit_group;)", ""},
    {"hgemm", "barriers missing", R"(bar\.sync\s+0;)", ""},
    {"log_sum_exp", "barriers missing", R"(bar\.sync\s+0;)", ""},
    {"warp_sum", "bfly read as down", R"(bfly)", "down"},
};

}  // namespace

int main(int count, char** arguments) {
  std::string text;
  if (count > 1) {
    std::ifstream in(arguments[1]);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  auto const all = cases();
  std::printf("%-18s %12s %12s %10s\n", "kernel", "PTX", "emulation", "within");
  ptx::Module const original(text);
  module = &original;
  uint64_t instructions = 0;
  for (Case const& one : all) {
    std::string why;
    double const on_emulator = run(one, false, why);
    double const on_ptx = text.empty() ? 0 : run(one, true, why);
    bool const good = on_emulator <= one.within && on_ptx <= one.within;
    (good ? passed : failed) += 1;
    skipped += text.empty();
    char shown[32] = "skipped";
    if (!text.empty()) std::snprintf(shown, sizeof shown, "%.1e", on_ptx);
    std::printf("%-18s %12s %12.1e %10.0e  %s\n", one.name, shown, on_emulator, one.within, good ? "ok" : "FAILED");
    if (!why.empty()) std::printf("    %s\n", why.c_str());
    instructions += counters.lane_instructions;
  }

  if (text.empty()) {
    std::printf("mutants: skipped, there is no PTX without nvcc\n");
    skipped += int(std::size(mutants));
  } else {
    std::printf("\n%-18s %-38s %s\n", "kernel", "mistake", "noticed");
    for (Mutant const& mutant : mutants) {
      // Only between the kernel's name and the end of its body.
      std::string const head = std::to_string(std::strlen(mutant.kernel)) + mutant.kernel;
      std::string changed = text;
      for (size_t at = 0; (at = changed.find(".entry", at)) != text.npos; at += 6)
        if (size_t const line = changed.find('\n', at); changed.substr(at, line - at).find(head) != text.npos) {
          size_t const end = changed.find("\n}", at);
          changed = changed.substr(0, at) +
                    std::regex_replace(changed.substr(at, end - at), std::regex(mutant.pattern), mutant.by) +
                    changed.substr(end);
          break;
        }
      bool noticed = false;
      std::string how = "the pattern matches nothing";
      if (changed != text) {
        try {
          ptx::Module const wrong(changed);
          module = &wrong;
          for (Case const& one : all)
            if (std::strcmp(one.name, mutant.kernel) == 0) {
              std::string why;
              double const off = run(one, true, why);
              noticed = !(off <= one.within);
              char shown[32];
              std::snprintf(shown, sizeof shown, "error %.1e", off);
              how = why.empty() ? shown : why.substr(why.find(": ") + 2, why.find('\n') - why.find(": ") - 2);
            }
        } catch (std::exception const& e) {
          how = e.what();
        }
        module = &original;
      }
      (noticed ? passed : failed) += 1;
      std::printf("%-18s %-38s %s  (%s)\n", mutant.kernel, mutant.what, noticed ? "yes" : "NO", how.c_str());
    }
  }
  std::printf("\n%d passed, %d failed, %d skipped\n", passed, failed, skipped);
  return failed ? 1 : 0;
}
