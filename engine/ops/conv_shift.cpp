#include <heed/engine/ops/conv_shift.h>
#include <heed/engine/ops/copy.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tensor.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace heed {
namespace {

constexpr int64_t least_channels = 16;
constexpr int64_t block_positions = 512;  // of a product: its operands and its result stay in a second-level cache
constexpr int64_t tasks = 8;              // at least, where there is work for so many

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
/// At least n elements, an odd number of lines of the cache, so that rows apart by so much share few places in it.
int64_t apart(int64_t n) { return (ceil_div(n, 16) | 1) * 16; }
/// Tasks that one thread takes at once, to make its buffers once.
int64_t grain(int64_t n) { return std::max(int64_t{1}, n / (2 * tasks)); }

template <class T>
Tensor buffer(int64_t n) {
  return Tensor({n}, dtype_of<T>);
}

/// The images of a group with their padding, in one row after the other: place (z, y, x) of channel c is at
/// c·plane + (z·height + y)·row + x, and output (z, y, x) reads tap t there + offset[t].
template <class T>
class PaddedImage {
 public:
  explicit PaddedImage(ConvShape const& s) : s_(s) {
    int64_t size[3];
    for (int i = 0; i < 3; ++i) size[i] = s.axis[i].out + s.axis[i].dilation * (s.axis[i].kernel - 1);
    height = size[1], row = size[2];
    plane = apart(size[0] * height * row);
    memory_ = buffer<T>(s.in * plane);
    std::fill_n(data(), s.in * plane, T(0));
    WindowAxis const &z = s.axis[0], &y = s.axis[1], &x = s.axis[2];
    for (int64_t tz = 0; tz < z.kernel; ++tz)
      for (int64_t ty = 0; ty < y.kernel; ++ty)
        for (int64_t tx = 0; tx < x.kernel; ++tx)
          offset.push_back((tz * z.dilation * height + ty * y.dilation) * row + tx * x.dilation);
    for (int i = 0; i < 3; ++i) {  // what windows reach of x
      first_[i] = std::max(int64_t{0}, -s.axis[i].pad);
      last_[i] = std::min(s.axis[i].in, size[i] - s.axis[i].pad);
    }
  }
  void fill(T const* x) {
    WindowAxis const &az = s_.axis[0], &ay = s_.axis[1], &ax = s_.axis[2];
    if (last_[2] <= first_[2]) return;
    for (int64_t c = 0; c < s_.in; ++c)
      for (int64_t z = first_[0]; z < last_[0]; ++z)
        for (int64_t y = first_[1]; y < last_[1]; ++y)
          std::memcpy(data() + c * plane + ((z + az.pad) * height + y + ay.pad) * row + first_[2] + ax.pad,
                      x + ((c * az.in + z) * ay.in + y) * ax.in + first_[2], size_t(last_[2] - first_[2]) * sizeof(T));
  }
  T* data() const { return static_cast<T*>(memory_.raw()); }

  int64_t height, row, plane;
  std::vector<int64_t> offset;

 private:
  ConvShape const& s_;
  int64_t first_[3], last_[3];
  Tensor memory_;
};

/// Rows of outputs that a product takes at once.
int64_t block_rows(ConvShape const& s, int64_t row) {
  return std::clamp(block_positions / row, int64_t{1}, s.axis[1].out);
}

/// With the weight as [groups, taps, out, in].
template <class T>
void convolve_by_tap(ConvShape const& s, T const* x, T const* w, T const* bias, T* y) {
  WindowAxis const &az = s.axis[0], &ay = s.axis[1], &ax = s.axis[2];
  auto const& gemm = kernels<GemmKernels>().of<T>().gemm;
  int64_t const images = s.batch * s.groups, positions = s.y_size(), taps = s.taps();
  int64_t const row = ax.out + ax.dilation * (ax.kernel - 1), high = block_rows(s, row);
  int64_t const blocks = az.out * ceil_div(ay.out, high);
  // A task is a run of blocks of one image, whose padding it makes.
  int64_t const runs = std::clamp(tasks / std::max(int64_t{1}, images), int64_t{1}, blocks),
                run = ceil_div(blocks, runs);
  parallel_for(images * runs, grain(images * runs), [&](int64_t begin, int64_t end) {
    PaddedImage<T> image(s);
    int64_t const wide_row = apart(high * row);
    Tensor const memory = buffer<T>(s.out * wide_row);
    auto* const wide = static_cast<T*>(memory.raw());
    for (int64_t task = begin; task < end; ++task) {
      int64_t const i = task / runs, group = i % s.groups, from = task % runs * run;
      if (task == begin || task % runs == 0) image.fill(x + i * s.in * s.x_size());
      for (int64_t b = from; b < std::min(blocks, from + run); ++b) {
        int64_t const z = b / (blocks / az.out), top = b % (blocks / az.out) * high;
        int64_t const rows = std::min(high, ay.out - top), n = (rows - 1) * row + ax.out;
        for (int64_t t = 0; t < taps; ++t)
          gemm({.m = s.out,
                .n = n,
                .k = s.in,
                .a = w + (group * taps + t) * s.out * s.in,
                .a_row = s.in,
                .a_col = 1,
                .b = image.data() + (z * image.height + top) * row + image.offset[size_t(t)],
                .b_row = image.plane,
                .b_col = 1,
                .c = wide,
                .c_row = wide_row,
                .accumulate = t > 0});
        for (int64_t o = 0; o < s.out; ++o) {
          T const start = bias ? bias[group * s.out + o] : T(0);
          T* to = y + (i * s.out + o) * positions + (z * ay.out + top) * ax.out;
          for (int64_t r = 0; r < rows; ++r, to += ax.out) {
            T const* const sums = wide + o * wide_row + r * row;
            for (int64_t j = 0; j < ax.out; ++j) to[j] = sums[j] + start;
          }
        }
      }
    }
  });
}

}  // namespace

bool shifts(ConvShape const& s) {
  bool unit = true;
  for (WindowAxis const& a : s.axis) unit &= a.stride == 1;
  int64_t const reach = s.axis[2].dilation * (s.axis[2].kernel - 1);
  return unit && s.taps() > 1 && std::min(s.in, s.out) >= least_channels &&
         (s.axis[1].out == 1 || reach * 4 <= s.axis[2].out);
}

template <class T>
void convolve_shifted(ConvShape const& s, T const* x, T const* w, T const* bias, T* y) {
  int64_t const taps = s.taps(), matrix = s.out * s.in;
  Tensor const memory = buffer<T>(s.groups * taps * matrix);
  auto* const by_tap = static_cast<T*>(memory.raw());
  for (int64_t group = 0; group < s.groups; ++group)
    for (int64_t e = 0; e < matrix; ++e)
      for (int64_t t = 0; t < taps; ++t) by_tap[(group * taps + t) * matrix + e] = w[(group * matrix + e) * taps + t];
  convolve_by_tap(s, x, by_tap, bias, y);
}

template <class T>
void convolve_shifted_input(ConvShape const& s, T const* g, T const* w, T const* bias, T* x) {
  ConvShape const back = s.reversed();
  int64_t const taps = s.taps(), matrix = s.out * s.in;
  Tensor const memory = buffer<T>(s.groups * taps * matrix);
  auto* const by_tap = static_cast<T*>(memory.raw());
  for (int64_t group = 0; group < s.groups; ++group)
    for (int64_t o = 0; o < s.out; ++o)
      for (int64_t c = 0; c < s.in; ++c)
        for (int64_t t = 0; t < taps; ++t)
          by_tap[(group * taps + taps - 1 - t) * matrix + c * s.out + o] =
              w[(group * matrix + o * s.in + c) * taps + t];
  convolve_by_tap(back, g, by_tap, bias, x);
}

template <class T>
void convolve_shifted_weight(ConvShape const& s, T const* x, T const* g, T* w) {
  WindowAxis const &az = s.axis[0], &ay = s.axis[1], &ax = s.axis[2];
  auto const& gemm = kernels<GemmKernels>().of<T>().gemm;
  auto const& transpose = kernels<CopyKernels>().gather;
  int64_t const positions = s.y_size(), taps = s.taps(), matrix = s.in * s.out;
  int64_t const row = ax.out + ax.dilation * (ax.kernel - 1), high = block_rows(s, row);
  // A task sums some images of one group, tap by tap into [taps, in, out]; the sums are added in order.
  int64_t const parts = std::clamp(tasks / s.groups, int64_t{1}, std::max(int64_t{1}, s.batch));
  int64_t const images = ceil_div(s.batch, parts);
  Tensor const memory = buffer<T>(parts * s.groups * taps * matrix);
  auto* const sums = static_cast<T*>(memory.raw());
  std::fill_n(sums, memory.numel(), T(0));
  parallel_for(parts * s.groups, 1, [&](int64_t begin, int64_t end) {
    PaddedImage<T> image(s);
    // g with channels last, zero where the padded rows are longer than g's.
    Tensor const turned = buffer<T>(high * row * s.out);
    auto* const last = static_cast<T*>(turned.raw());
    std::fill_n(last, turned.numel(), T(0));
    int64_t const strides[] = {1, positions}, shape[] = {ax.out, s.out};
    for (int64_t task = begin; task < end; ++task) {
      int64_t const part = task / s.groups, group = task % s.groups;
      for (int64_t b = part * images; b < std::min(s.batch, (part + 1) * images); ++b) {
        int64_t const i = b * s.groups + group;
        image.fill(x + i * s.in * s.x_size());
        for (int64_t z = 0; z < az.out; ++z)
          for (int64_t top = 0; top < ay.out; top += high) {
            int64_t const rows = std::min(high, ay.out - top);
            for (int64_t r = 0; r < rows; ++r)
              transpose(g + i * s.out * positions + (z * ay.out + top + r) * ax.out, strides, last + r * row * s.out,
                        shape, 2, int(sizeof(T)));
            for (int64_t t = 0; t < taps; ++t)
              gemm({.m = s.in,
                    .n = s.out,
                    .k = (rows - 1) * row + ax.out,
                    .a = image.data() + (z * image.height + top) * row + image.offset[size_t(t)],
                    .a_row = image.plane,
                    .a_col = 1,
                    .b = last,
                    .b_row = s.out,
                    .b_col = 1,
                    .c = sums + (task * taps + t) * matrix,
                    .c_row = s.out,
                    .accumulate = true});
          }
      }
    }
  });
  int64_t const size = s.groups * taps * matrix;
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t e = 0; e < size; ++e) sums[e] += sums[part * size + e];
  for (int64_t group = 0; group < s.groups; ++group)
    for (int64_t o = 0; o < s.out; ++o)
      for (int64_t c = 0; c < s.in; ++c)
        for (int64_t t = 0; t < taps; ++t)
          w[((group * s.out + o) * s.in + c) * taps + t] = sums[(group * taps + t) * matrix + c * s.out + o];
}

#define HEED_CONVOLVE_SHIFTED(T)                                                            \
  template void convolve_shifted(ConvShape const&, T const*, T const*, T const*, T*);       \
  template void convolve_shifted_input(ConvShape const&, T const*, T const*, T const*, T*); \
  template void convolve_shifted_weight(ConvShape const&, T const*, T const*, T*);
HEED_CONVOLVE_SHIFTED(float)
HEED_CONVOLVE_SHIFTED(double)
#undef HEED_CONVOLVE_SHIFTED

}  // namespace heed
