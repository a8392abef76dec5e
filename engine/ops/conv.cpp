// Convolutions of one to three axes as matrix products with gathered windows. Convolution, its adjoint in x (the
// transposed convolution) and its adjoint in the weight are the three partial derivatives of one trilinear form, so
// each has the other two as gradients.
#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/conv.h>
#include <heed/engine/ops/conv_3x3.h>
#include <heed/engine/ops/conv_shift.h>
#include <heed/engine/ops/matmul.h>
#include <heed/engine/ops/spatial.h>
#include <heed/engine/ops/widen.h>
#include <heed/engine/parallel.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <vector>

namespace heed {
namespace {

constexpr int64_t column_bytes = 256 << 10;  // gathered at a time: half a second-level cache
constexpr int64_t column_rows = 640;
constexpr double task_work = 1 << 20;  // multiply-adds worth a task of their own

/// ⌈a/b⌉ for b > 0
int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

/// Work is cut into pieces by sizes alone: `tile` output positions of `channels` input channels are gathered at once.
struct Tiling {
  int64_t channels, tile, tiles, columns;  // columns: elements of the buffer
  bool gathers;                            // false where the windows are single elements in their own order
};

template <class T>
Tiling tiling(ConvShape const& s) {
  Tiling t;
  t.gathers = s.taps() > 1;
  for (WindowAxis const& a : s.axis) t.gathers |= a.stride > 1 || a.pad != 0 || a.in != a.out;
  int64_t const pieces = std::max(int64_t{1}, ceil_div(s.rows(), column_rows));
  t.channels = std::max(int64_t{1}, ceil_div(s.in, pieces));
  int64_t const rows = std::max(int64_t{1}, t.channels * s.taps());
  t.tile = std::clamp(column_bytes / int64_t(sizeof(T)) / rows / 16 * 16, int64_t{64}, int64_t{4096});
  t.tile = std::min(t.tile, std::max(int64_t{1}, s.y_size()));
  t.tiles = ceil_div(s.y_size(), t.tile);
  t.columns = rows * t.tile;
  return t;
}

int64_t grain_of(double work) { return std::max(int64_t{1}, int64_t(task_work / (work + 1))); }

template <class T>
Tensor buffer(int64_t n) {
  return Tensor({n}, dtype_of<T>);
}

/// One plane of x with `spread[i]` − 1 zeros between its elements and its padding around it, columns sorted by their
/// remainder modulo the stride, so that what a tap reads for a row of outputs lies side by side.
template <class T>
class PaddedPlane {
 public:
  PaddedPlane(ConvShape const& s, Dims const& spread) : s_(s), spread_(spread) {
    for (int i = 0; i < 3; ++i) {
      WindowAxis const& a = s.axis[i];
      size_[i] = (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation + 1;
      // Elements of x that some window can reach.
      first_[i] = std::max(int64_t{0}, ceil_div(-a.pad, spread[i]));
      last_[i] = std::min(a.in, ceil_div(size_[i] - a.pad, spread[i]));
    }
    phase_ = ceil_div(size_[2], s.axis[2].stride);
    row_ = phase_ * s.axis[2].stride;
    memory_ = buffer<T>(size_[0] * size_[1] * row_);
    std::fill_n(data(), memory_.numel(), T(0));
    WindowAxis const &z = s.axis[0], &y = s.axis[1], &x = s.axis[2];
    for (int64_t tz = 0; tz < z.kernel; ++tz)
      for (int64_t ty = 0; ty < y.kernel; ++ty)
        for (int64_t tx = 0; tx < x.kernel; ++tx)
          offset_.push_back((tz * z.dilation * size_[1] + ty * y.dilation) * row_ + column(tx * x.dilation));
  }

  void fill(T const* plane) {
    WindowAxis const &z = s_.axis[0], &y = s_.axis[1], &x = s_.axis[2];
    auto const& kernels = heed::kernels<ConvKernels>().of<T>();
    for (int64_t iz = first_[0]; iz < last_[0]; ++iz)
      for (int64_t iy = first_[1]; iy < last_[1]; ++iy) {
        T const* const from = plane + (iz * y.in + iy) * x.in;
        T* const to = data() + ((iz * spread_[0] + z.pad) * size_[1] + iy * spread_[1] + y.pad) * row_;
        if (x.stride == 1 && spread_[2] == 1) {
          if (first_[2] < last_[2]) std::copy(from + first_[2], from + last_[2], to + first_[2] + x.pad);
          continue;
        }
        if (x.stride == 1) {
          for (int64_t ix = first_[2]; ix < last_[2]; ++ix) to[ix * spread_[2] + x.pad] = from[ix];
          continue;
        }
        // No spread here: column i goes to row i % stride, place i / stride.
        if (x.stride == 2 && first_[2] < last_[2]) {
          kernels.split(from + first_[2], x.in, last_[1] - first_[1], last_[2] - first_[2],
                        to + column(first_[2] + x.pad), to + column(first_[2] + 1 + x.pad), row_);
          break;
        }
        for (int64_t ix = first_[2]; ix < std::min(last_[2], first_[2] + x.stride); ++ix) {
          T* place = to + column(ix + x.pad);
          for (int64_t i = ix; i < last_[2]; i += x.stride) *place++ = from[i];
        }
      }
  }

  void correlate(T const* weight, T bias, T* to) {
    for (int64_t oz = 0; oz < s_.axis[0].out; ++oz)
      kernels<ConvKernels>().of<T>().correlate(arguments(oz, weight, bias, to));
  }
  /// weight += the adjoint of correlate with `g` for `to`
  void correlate_weight(T const* g, T* weight) {
    for (int64_t oz = 0; oz < s_.axis[0].out; ++oz)
      kernels<ConvKernels>().of<T>().correlate_weight(arguments(oz, nullptr, T(0), const_cast<T*>(g)), weight);
  }

 private:
  CorrelateArgs<T> arguments(int64_t oz, T const* weight, T bias, T* to) {
    WindowAxis const &z = s_.axis[0], &y = s_.axis[1], &x = s_.axis[2];
    return {.from = data() + oz * z.stride * size_[1] * row_,
            .from_row = y.stride * row_,
            .offset = offset_.data(),
            .weight = weight,
            .taps = s_.taps(),
            .bias = bias,
            .to = to + oz * y.out * x.out,
            .to_row = x.out,
            .rows = y.out,
            .n = x.out};
  }
  T* data() { return static_cast<T*>(memory_.raw()); }
  int64_t column(int64_t i) const { return i % s_.axis[2].stride * phase_ + i / s_.axis[2].stride; }

  ConvShape const& s_;
  Dims spread_;
  int64_t size_[3], first_[3], last_[3], phase_, row_;
  Tensor memory_;
  std::vector<int64_t> offset_;
};

/// One input channel a group.
template <class T>
void convolve_depthwise(ConvShape const& s, T const* x, T const* w, T const* bias, T* y,
                        Dims const& spread = {1, 1, 1}) {
  parallel_for(
      s.batch * s.groups, grain_of(double(s.out * s.taps() * s.y_size()) * 4), [&](int64_t begin, int64_t end) {
        PaddedPlane<T> plane(s, spread);
        for (int64_t i = begin; i < end; ++i) {
          plane.fill(x + i * s.x_size());
          for (int64_t o = 0; o < s.out; ++o) {
            int64_t const channel = i % s.groups * s.out + o;
            plane.correlate(w + channel * s.taps(), bias ? bias[channel] : T(0), y + (i * s.out + o) * s.y_size());
          }
        }
      });
}

template <class T>
void convolve(ConvShape const& s, T const* x, T const* w, T const* bias, T* y) {
  if (convolves_3x3<T>(s)) return convolve_3x3(s, x, w, bias, y);
  if (shifts(s)) return convolve_shifted(s, x, w, bias, y);
  Tiling const t = tiling<T>(s);
  if (s.in == 1 && s.out <= 4 && t.gathers) return convolve_depthwise(s, x, w, bias, y);
  int64_t const taps = s.taps(), rows = s.rows(), positions = s.y_size();
  auto const& gather = kernels<ConvKernels>().of<T>().gather;
  auto const& gemm = kernels<GemmKernels>().of<T>().gemm;
  parallel_for(s.batch * s.groups * t.tiles, grain_of(double(s.out * rows * t.tile)), [&](int64_t begin, int64_t end) {
    Tensor const memory = buffer<T>(t.gathers ? t.columns : 0);
    auto* const columns = static_cast<T*>(memory.raw());
    for (int64_t task = begin; task < end; ++task) {
      int64_t const image = task / t.tiles, group = image % s.groups, first = task % t.tiles * t.tile;
      int64_t const n = std::min(t.tile, positions - first);
      T* const to = y + image * s.out * positions + first;
      if (bias)
        for (int64_t o = 0; o < s.out; ++o) std::fill_n(to + o * positions, n, bias[group * s.out + o]);
      for (int64_t c = 0; c == 0 || c < s.in; c += t.channels) {
        int64_t const channels = std::min(t.channels, s.in - c);
        T const* const from = x + (image * s.in + c) * s.x_size();
        if (t.gathers) gather(s, channels, from, first, first + n, columns);
        gemm({.m = s.out,
              .n = n,
              .k = channels * taps,
              .a = w + group * s.out * rows + c * taps,
              .a_row = rows,
              .a_col = 1,
              .b = t.gathers ? columns : from + first,
              .b_row = t.gathers ? n : positions,
              .b_col = 1,
              .c = to,
              .c_row = positions,
              .accumulate = bias || c > 0});
      }
    }
  });
}

/// Input channels that a task of an adjoint owns: an eighth of them, but not so few that its products are thin, if
/// there are images enough for tasks of their own.
int64_t channels_of_task(ConvShape const& s, Tiling const& t) {
  int64_t const thick = s.batch * s.groups >= 8 ? ceil_div(64, s.taps()) : 1;
  return std::min(t.channels, std::max({int64_t{1}, ceil_div(s.in, 8), thick}));
}

/// x = bias + Σ over o, t of g[o]·w[o, c, t], scattered to where tap t read.
template <class T>
void convolve_input(ConvShape const& s, T const* g, T const* w, T const* bias, T* x) {
  if (convolves_3x3<T>(s) && !bias) return convolve_3x3_backward<T>(s, nullptr, w, g, x, nullptr, nullptr);
  if (shifts(s)) return convolve_shifted_input(s, g, w, bias, x);
  Tiling const t = tiling<T>(s);
  int64_t const taps = s.taps(), rows = s.rows(), positions = s.y_size();
  if (s.in == 1 && s.out == 1 && t.gathers) {
    std::vector<T> flipped(w, w + s.groups * taps);
    for (int64_t i = 0; i < s.groups; ++i) std::reverse(flipped.begin() + i * taps, flipped.begin() + (i + 1) * taps);
    return convolve_depthwise(s.reversed(), g, flipped.data(), bias, x,
                              {s.axis[0].stride, s.axis[1].stride, s.axis[2].stride});
  }
  auto const& scatter = kernels<ConvKernels>().of<T>().scatter;
  auto const& gemm = kernels<GemmKernels>().of<T>().gemm;
  // A task owns some channels of one image: windows overlap only within them.
  int64_t const piece = channels_of_task(s, t), pieces = ceil_div(s.in, piece);
  parallel_for(s.batch * s.groups * pieces, grain_of(double(piece * taps * s.out * positions)),
               [&](int64_t begin, int64_t end) {
                 Tensor const memory = buffer<T>(t.gathers ? piece * taps * t.tile : 0);
                 auto* const columns = static_cast<T*>(memory.raw());
                 for (int64_t task = begin; task < end; ++task) {
                   int64_t const image = task / pieces, group = image % s.groups, c = task % pieces * piece;
                   int64_t const channels = std::min(piece, s.in - c);
                   T* const to = x + (image * s.in + c) * s.x_size();
                   if (t.gathers || bias)
                     for (int64_t i = 0; i < channels; ++i)
                       std::fill_n(to + i * s.x_size(), s.x_size(), bias ? bias[group * s.in + c + i] : T(0));
                   for (int64_t first = 0; first < positions; first += t.tile) {
                     int64_t const n = std::min(t.tile, positions - first);
                     gemm({.m = channels * taps,
                           .n = n,
                           .k = s.out,
                           .a = w + group * s.out * rows + c * taps,
                           .a_row = 1,
                           .a_col = rows,
                           .b = g + image * s.out * positions + first,
                           .b_row = positions,
                           .b_col = 1,
                           .c = t.gathers ? columns : to + first,
                           .c_row = t.gathers ? n : positions,
                           .accumulate = bias && !t.gathers});
                     if (t.gathers) scatter(s, channels, columns, first, first + n, to);
                   }
                 }
               });
}

/// w[o, c, t] = Σ over images and positions of g[o]·(what tap t read of x[c]).
template <class T>
void convolve_weight(ConvShape const& s, T const* x, T const* g, T* w) {
  if (convolves_3x3<T>(s)) return convolve_3x3_backward<T>(s, x, nullptr, g, nullptr, w, nullptr);
  if (shifts(s)) return convolve_shifted_weight(s, x, g, w);
  Tiling const t = tiling<T>(s);
  int64_t const taps = s.taps(), rows = s.rows(), positions = s.y_size();
  auto const& gather = kernels<ConvKernels>().of<T>().gather;
  auto const& gemm = kernels<GemmKernels>().of<T>().gemm;
  // A task owns some channels of the weight, and where those are few, a part of the images with a sum of its own.
  int64_t const piece = channels_of_task(s, t), pieces = ceil_div(s.in, piece);
  int64_t const parts =
      std::clamp(8 / std::max(int64_t{1}, pieces * s.groups), int64_t{1}, std::max(int64_t{1}, s.batch));
  int64_t const images = ceil_div(s.batch, parts), size = s.groups * s.out * rows;
  Tensor const sums = buffer<T>(parts > 1 ? parts * size : 0);
  T* const base = parts > 1 ? static_cast<T*>(sums.raw()) : w;
  std::fill_n(base, parts * size, T(0));
  if (s.in == 1 && s.out <= 4 && t.gathers)
    parallel_for(parts * s.groups, grain_of(double(taps * s.out * positions * images) * 4),
                 [&](int64_t begin, int64_t end) {
                   PaddedPlane<T> plane(s, {1, 1, 1});
                   for (int64_t task = begin; task < end; ++task) {
                     int64_t const part = task / s.groups, group = task % s.groups;
                     for (int64_t b = part * images; b < std::min(s.batch, (part + 1) * images); ++b) {
                       int64_t const image = b * s.groups + group;
                       plane.fill(x + image * s.x_size());
                       for (int64_t o = 0; o < s.out; ++o)
                         plane.correlate_weight(g + (image * s.out + o) * positions,
                                                base + part * size + (group * s.out + o) * taps);
                     }
                   }
                 });
  else
    parallel_for(parts * s.groups * pieces, grain_of(double(piece * taps * s.out * positions * images)),
                 [&](int64_t begin, int64_t end) {
                   Tensor const memory = buffer<T>(t.gathers ? piece * taps * t.tile : 0);
                   auto* const columns = static_cast<T*>(memory.raw());
                   for (int64_t task = begin; task < end; ++task) {
                     int64_t const part = task / (pieces * s.groups), group = task / pieces % s.groups;
                     int64_t const c = task % pieces * piece, channels = std::min(piece, s.in - c);
                     for (int64_t b = part * images; b < std::min(s.batch, (part + 1) * images); ++b)
                       for (int64_t first = 0; first < positions; first += t.tile) {
                         int64_t const image = b * s.groups + group, n = std::min(t.tile, positions - first);
                         T const* const from = x + (image * s.in + c) * s.x_size();
                         if (t.gathers) gather(s, channels, from, first, first + n, columns);
                         gemm({.m = s.out,
                               .n = channels * taps,
                               .k = n,
                               .a = g + image * s.out * positions + first,
                               .a_row = positions,
                               .a_col = 1,
                               .b = t.gathers ? columns : from + first,
                               .b_row = 1,
                               .b_col = t.gathers ? n : positions,
                               .c = base + part * size + group * s.out * rows + c * taps,
                               .c_row = rows,
                               .accumulate = true});
                       }
                   }
                 });
  for (int64_t part = 0; parts > 1 && part < parts; ++part)
    for (int64_t i = 0; i < size; ++i) w[i] = (part ? w[i] : T(0)) + base[part * size + i];
}

template <class T>
void gather_columns(ConvShape const& s, T const* x, T* columns) {
  parallel_for(s.batch * s.in, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      kernels<ConvKernels>().of<T>().gather(s, 1, x + plane * s.x_size(), 0, s.y_size(),
                                            columns + plane * s.taps() * s.y_size());
  });
}
template <class T>
void scatter_columns(ConvShape const& s, T const* columns, T* x) {
  std::fill_n(x, s.batch * s.in * s.x_size(), T(0));
  parallel_for(s.batch * s.in, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane)
      kernels<ConvKernels>().of<T>().scatter(s, 1, columns + plane * s.taps() * s.y_size(), 0, s.y_size(),
                                             x + plane * s.x_size());
  });
}

// Integers: plain loops, exact, wrapping.

/// f(image and group, c, o, index into x, into w, into y) for every product of the convolution.
template <class F>
void each_product(ConvShape const& s, F f) {
  WindowAxis const &z = s.axis[0], &y = s.axis[1], &x = s.axis[2];
  for (int64_t image = 0; image < s.batch * s.groups; ++image)
    for (int64_t o = 0; o < s.out; ++o)
      for (int64_t c = 0; c < s.in; ++c)
        for (int64_t t = 0; t < s.taps(); ++t) {
          int64_t const tx = t % x.kernel, ty = t / x.kernel % y.kernel, tz = t / x.kernel / y.kernel;
          for (int64_t p = 0; p < s.y_size(); ++p) {
            int64_t const ix = p % x.out * x.stride + tx * x.dilation - x.pad;
            int64_t const iy = p / x.out % y.out * y.stride + ty * y.dilation - y.pad;
            int64_t const iz = p / x.out / y.out * z.stride + tz * z.dilation - z.pad;
            if (ix < 0 || ix >= x.in || iy < 0 || iy >= y.in || iz < 0 || iz >= z.in) continue;
            f((image * s.in + c) * s.x_size() + (iz * y.in + iy) * x.in + ix,
              (image % s.groups * s.out + o) * s.rows() + c * s.taps() + t, (image * s.out + o) * s.y_size() + p);
          }
        }
}

void convolve_integers(ConvShape const& s, bool transposed, int64_t const* from, int64_t const* w, int64_t* to) {
  std::fill_n(to, s.batch * s.groups * (transposed ? s.in * s.x_size() : s.out * s.y_size()), int64_t{0});
  each_product(s, [=](int64_t ix, int64_t iw, int64_t iy) {
    int64_t& sum = to[transposed ? ix : iy];
    sum = int64_t(uint64_t(sum) + uint64_t(from[transposed ? iy : ix]) * uint64_t(w[iw]));
  });
}

template <class T>
constexpr ConvolutionsOf<T> here{convolve<T>, convolve_input<T>, convolve_weight<T>, gather_columns<T>,
                                 scatter_columns<T>};
constexpr Convolutions on_processor{{here<float>, here<double>}, convolve_integers};

/// Those that a convolution of T on `device` runs.
template <class T>
ConvolutionsOf<T> const& convolutions_of(Device device, std::string_view op) {
  Convolutions const& all = convolutions(device, op);
  if constexpr (std::is_same_v<T, float>)
    if (detail::tf32_allowed && !device.is_cpu()) return all.tf32;
  return all.of<T>();
}

Shape shape_of_x(ConvShape const& s) { return {s.batch, s.groups * s.in, s.axis[0].in, s.axis[1].in, s.axis[2].in}; }
Shape shape_of_w(ConvShape const& s) {
  return {s.groups * s.out, s.in, s.axis[0].kernel, s.axis[1].kernel, s.axis[2].kernel};
}
Shape shape_of_y(ConvShape const& s) {
  return {s.batch, s.groups * s.out, s.axis[0].out, s.axis[1].out, s.axis[2].out};
}

Tensor integer_product(ConvShape const& s, Tensor const& from, Tensor const& w, bool transposed) {
  Tensor y(transposed ? shape_of_x(s) : shape_of_y(s), Dtype::i64, common_device("convolution", {&from, &w}));
  Tensor const a = from.to(Dtype::i64).contiguous(), b = w.to(Dtype::i64).contiguous();
  convolutions(y.device(), "convolution")
      .integers(s, transposed, a.address<int64_t>(), b.address<int64_t>(), y.address<int64_t>());
  return y.to(w.dtype());
}

Tensor convolution_input(Tensor const& g, Tensor const& w, Tensor const& bias, ConvShape const& s);
Tensor convolution_weight(Tensor const& x, Tensor const& g, ConvShape const& s);

double flops(ConvShape const& s) {
  return 2.0 * double(s.batch * s.groups * s.out) * double(s.rows()) * double(s.y_size());
}

Tensor optional_contiguous(Tensor const& x) { return x.defined() ? x.detach().contiguous() : x; }

template <class T>
T* optional_address(Tensor const& x) {
  return x.defined() ? x.address<T>() : nullptr;
}

/// Those of x, weight and bias that the node needs.
std::array<Tensor, 3> depthwise_3x3_gradients(Tensor const& g, Saved const& x, Saved const& w, ConvShape const& s,
                                              Node const& node) {
  Tensor const gradient = g.contiguous();
  Tensor const from = node.needs(1) ? x.get(node).detach().contiguous() : Tensor();
  Tensor const weight = node.needs(0) ? w.get(node).detach().contiguous() : Tensor();
  std::array<Tensor, 3> d;
  if (node.needs(0)) d[0] = Tensor(shape_of_x(s), g.dtype());
  if (node.needs(1)) d[1] = Tensor(shape_of_w(s), g.dtype());
  if (node.needs(2)) d[2] = Tensor({s.groups}, g.dtype());
  Observed const watch("depthwise convolution's gradients", {&gradient, &from, &weight}, {&d[0], &d[1], &d[2]},
                       [&] { return 2 * flops(s); });
  dispatch_floating("convolution", g.dtype(), [&]<class T>(Type<T>) {
    convolve_3x3_backward<T>(s, optional_address<T>(from), optional_address<T>(weight), gradient.data<T>(),
                             optional_address<T>(d[0]), optional_address<T>(d[1]), optional_address<T>(d[2]));
  });
  return d;
}

Tensor convolution(Tensor const& x, Tensor const& w, Tensor const& bias, ConvShape const& s) {
  Tensor y(shape_of_y(s), x.dtype(), common_device("convolution", {&x, &w, &bias}));
  Observed const watch("convolution", {&x, &w, &bias}, {&y}, [&] { return flops(s); });
  Tensor const from = x.detach().contiguous(), weight = w.detach().contiguous(), start = optional_contiguous(bias);
  dispatch_floating("convolution", x.dtype(), [&]<class T>(Type<T>) {
    convolutions_of<T>(y.device(), "convolution")
        .forward(s, from.address<T>(), weight.address<T>(), optional_address<T>(start), y.address<T>());
  });
  if (tracked(x, w, bias))
    record("convolution", y, {&x, &w, &bias}, [x = Saved(x), w = Saved(w), s](Tensor const& g, Node const& node) {
      if (g.device().is_cpu() && convolves_3x3<float>(s) && !recording())
        return depthwise_3x3_gradients(g, x, w, s, node);
      std::array<Tensor, 3> d;
      if (node.needs(0)) d[0] = convolution_input(g, w.get(node), {}, s);
      if (node.needs(1)) d[1] = convolution_weight(x.get(node), g, s);
      if (node.needs(2)) d[2] = sum(g, {0, 2, 3, 4});
      return d;
    });
  return y;
}

Tensor convolution_input(Tensor const& g, Tensor const& w, Tensor const& bias, ConvShape const& s) {
  Tensor x(shape_of_x(s), g.dtype(), common_device("transposed convolution", {&g, &w, &bias}));
  Observed const watch("transposed convolution", {&g, &w, &bias}, {&x}, [&] { return flops(s); });
  Tensor const from = g.detach().contiguous(), weight = w.detach().contiguous(), start = optional_contiguous(bias);
  dispatch_floating("transposed convolution", g.dtype(), [&]<class T>(Type<T>) {
    convolutions_of<T>(x.device(), "transposed convolution")
        .input(s, from.address<T>(), weight.address<T>(), optional_address<T>(start), x.address<T>());
  });
  if (tracked(g, w, bias))
    record("transposed convolution", x, {&g, &w, &bias},
           [g = Saved(g), w = Saved(w), s](Tensor const& h, Node const& node) {
             std::array<Tensor, 3> d;
             if (node.needs(0)) d[0] = convolution(h, w.get(node), {}, s);
             if (node.needs(1)) d[1] = convolution_weight(h, g.get(node), s);
             if (node.needs(2)) d[2] = sum(h, {0, 2, 3, 4});
             return d;
           });
  return x;
}

Tensor convolution_weight(Tensor const& x, Tensor const& g, ConvShape const& s) {
  Tensor w(shape_of_w(s), g.dtype(), common_device("convolution's weight", {&x, &g}));
  Observed const watch("convolution's weight", {&x, &g}, {&w}, [&] { return flops(s); });
  Tensor const from = x.detach().contiguous(), out = g.detach().contiguous();
  dispatch_floating("convolution's weight", g.dtype(), [&]<class T>(Type<T>) {
    convolutions_of<T>(w.device(), "convolution's weight")
        .weight(s, from.address<T>(), out.address<T>(), w.address<T>());
  });
  if (tracked(x, g))
    record("convolution's weight", w, {&x, &g}, [x = Saved(x), g = Saved(g), s](Tensor const& h, Node const& node) {
      std::array<Tensor, 2> d;
      if (node.needs(0)) d[0] = convolution_input(g.get(node), h, {}, s);
      if (node.needs(1)) d[1] = convolution(x.get(node), h, {}, s);
      return d;
    });
  return w;
}

void check_operands(char const* op, Tensor const& x, Tensor const& weight, Tensor const& bias, int axes) {
  check_defined(op, x);
  check_defined(op, weight);
  check(weight.rank() == axes + 2 && (x.rank() == axes + 2 || x.rank() == axes + 1), op, [&] {
    return Complaint{fmt::format("expected x of rank {} (or {} without a batch) and a weight of rank {}, got {} and {}",
                                 axes + 2, axes + 1, axes + 2, to_string(x.shape()), to_string(weight.shape())),
                     "add or remove axes with unsqueeze and squeeze"};
  });
  check(x.dtype() == weight.dtype() && (!bias.defined() || bias.dtype() == x.dtype()), op, [&] {
    return Complaint{fmt::format("expected one type, got x {}, weight {} and bias {}", name(x.dtype()),
                                 name(weight.dtype()), bias.defined() ? name(bias.dtype()) : "none"),
                     "convert x or the module with .to()"};
  });
  if (x.dtype() == Dtype::boolean) detail::unsupported_dtype(op, x.dtype(), "a floating type or an integer");
  for (int a = 1; a < weight.rank() + 1; ++a) {
    int64_t const size = a < weight.rank() ? weight.shape()[a] : weight.shape()[0];
    check(size > 0 || a == 1, op, [&] {
      return Complaint{fmt::format("the weight of shape {} is empty", to_string(weight.shape())),
                       "use one output channel and one tap, or more"};
    });
  }
  for (int a = x.rank() - axes; a < x.rank(); ++a)
    check(x.shape()[a] > 0, op, [&] {
      return Complaint{fmt::format("spatial axis {} of x {} is empty", a, to_string(x.shape())),
                       "only the batch may be empty"};
    });
}

void check_bias(char const* op, Tensor const& bias, int64_t channels) {
  check(!bias.defined() || bias.shape() == Shape{channels}, op, [&] {
    return Complaint{fmt::format("expected a bias of shape [{}], got {}", channels, to_string(bias.shape())),
                     "give one number for each output channel"};
  });
}

/// x as [batch, channels, z, y, x].
Tensor five_axes(Tensor const& x, int axes) {
  Shape shape{x.rank() == axes + 2 ? x.size(0) : 1, x.size(-axes - 1), 1, 1, 1};
  for (int i = 0; i < axes; ++i) shape[5 - axes + i] = x.size(i - axes);
  return x.reshape(shape);
}

/// And back, as many axes as `like` has.
Tensor fewer_axes(Tensor const& y, int axes, Tensor const& like) {
  Shape shape;
  if (like.rank() == axes + 2) shape.push_back(y.size(0));
  shape.push_back(y.size(1));
  for (int i = 0; i < axes; ++i) shape.push_back(y.size(i - axes));
  return y.reshape(shape);
}

Tensor conv(char const* op, int axes, Tensor const& x, Tensor const& weight, Tensor const& bias, ConvOptions const& o) {
  if (autocasts(x) || autocasts(weight) || autocasts(bias))
    return conv(op, axes, autocast(x), autocast(weight), autocast(bias), o);
  check_operands(op, x, weight, bias, axes);
  if (is_half(x.dtype()))
    return product_in_f32([&](auto const&... wide) { return conv(op, axes, wide..., o); }, x, weight, bias)
        .to(x.dtype());
  int64_t const channels = x.size(-axes - 1);
  check(o.groups >= 1 && weight.size(0) % o.groups == 0 && weight.size(1) * o.groups == channels, op, [&] {
    return Complaint{fmt::format("{} groups of {} channels do not fit x {} and weight {}", o.groups, weight.size(1),
                                 to_string(x.shape()), to_string(weight.shape())),
                     "make channels = weight.size(1)·groups, and weight.size(0) a multiple of groups"};
  });
  check_bias(op, bias, weight.size(0));
  Dims const stride = per_axis(op, "stride", o.stride, axes, 1),
             dilation = per_axis(op, "dilation", o.dilation, axes, 1);
  Dims const pad = per_axis(op, "padding", o.padding.rank() ? Spatial(o.padding) : Spatial(0), axes, 0);
  ConvShape s{.batch = x.rank() == axes + 2 ? x.size(0) : 1,
              .groups = o.groups,
              .in = weight.size(1),
              .out = weight.size(0) / o.groups};
  for (int i = 0; i < axes; ++i) {
    WindowAxis& a = s.axis[3 - axes + i];
    a = {.in = x.size(i - axes),
         .kernel = weight.size(i - axes),
         .stride = stride[i],
         .dilation = dilation[i],
         .pad = pad[i]};
    int64_t const reach = a.dilation * (a.kernel - 1);
    check(!o.padding.same || a.stride == 1, op, [&] {
      return Complaint{fmt::format("padding \"same\" keeps the size only with stride 1, got {}", a.stride),
                       "pass the padding in numbers"};
    });
    if (o.padding.same) {
      a.pad = reach / 2, a.out = a.in;
      continue;
    }
    check(a.in + 2 * a.pad > reach, op, [&] {
      return Complaint{fmt::format("a kernel that spans {} does not fit axis {} of x {} with padding {}", reach + 1,
                                   x.rank() - axes + i, to_string(x.shape()), a.pad),
                       "use a smaller kernel or dilation, or more padding"};
    });
    a.out = (a.in + 2 * a.pad - reach - 1) / a.stride + 1;
  }
  Tensor const from = five_axes(x, axes), w = five_axes(weight, axes);
  if (is_floating(x.dtype())) return fewer_axes(convolution(from, w, bias, s), axes, x);
  Tensor y = integer_product(s, from, w, false);
  if (bias.defined()) y = y + bias.reshape({bias.numel(), 1, 1, 1});
  return fewer_axes(y, axes, x);
}

Tensor conv_transpose(char const* op, int axes, Tensor const& x, Tensor const& weight, Tensor const& bias,
                      ConvTransposeOptions const& o) {
  if (autocasts(x) || autocasts(weight) || autocasts(bias))
    return conv_transpose(op, axes, autocast(x), autocast(weight), autocast(bias), o);
  check_operands(op, x, weight, bias, axes);
  if (is_half(x.dtype()))
    return product_in_f32([&](auto const&... wide) { return conv_transpose(op, axes, wide..., o); }, x, weight, bias)
        .to(x.dtype());
  int64_t const channels = x.size(-axes - 1);
  check(o.groups >= 1 && weight.size(0) == channels && channels % o.groups == 0, op, [&] {
    return Complaint{fmt::format("{} groups do not fit x {} and weight {}", o.groups, to_string(x.shape()),
                                 to_string(weight.shape())),
                     "make weight.size(0) the number of channels, a multiple of groups"};
  });
  check_bias(op, bias, weight.size(1) * o.groups);
  Dims const stride = per_axis(op, "stride", o.stride, axes, 1),
             dilation = per_axis(op, "dilation", o.dilation, axes, 1);
  Dims const pad = per_axis(op, "padding", o.padding, axes, 0);
  Dims const extra = per_axis(op, "output_padding", o.output_padding, axes, 0);
  ConvShape s{.batch = x.rank() == axes + 2 ? x.size(0) : 1,
              .groups = o.groups,
              .in = weight.size(1),
              .out = channels / o.groups};
  for (int i = 0; i < axes; ++i) {
    WindowAxis& a = s.axis[3 - axes + i];
    a = {.out = x.size(i - axes),
         .kernel = weight.size(i - axes),
         .stride = stride[i],
         .dilation = dilation[i],
         .pad = pad[i]};
    check(extra[i] < std::max(a.stride, a.dilation), op, [&] {
      return Complaint{fmt::format("output_padding {} is not smaller than the stride {} or the dilation {}", extra[i],
                                   a.stride, a.dilation),
                       "use less output_padding"};
    });
    a.in = (a.out - 1) * a.stride - 2 * a.pad + a.dilation * (a.kernel - 1) + extra[i] + 1;
    check(a.in > 0, op, [&] {
      return Complaint{
          fmt::format("padding {} leaves nothing of axis {} of x {}", a.pad, x.rank() - axes + i, to_string(x.shape())),
          "use less padding"};
    });
  }
  Tensor const from = five_axes(x, axes), w = five_axes(weight, axes);
  if (is_floating(x.dtype())) return fewer_axes(convolution_input(from, w, bias, s), axes, x);
  Tensor y = integer_product(s, from, w, true);
  if (bias.defined()) y = y + bias.reshape({bias.numel(), 1, 1, 1});
  return fewer_axes(y, axes, x);
}

}  // namespace

Convolutions const& convolutions(Device device, std::string_view op) {
  return device.is_cpu() ? on_processor : device_kernels<Convolutions>(device, op);
}

Dims per_axis(char const* op, char const* what, Spatial const& values, int axes, int64_t least) {
  check(values.rank() == 1 || values.rank() == axes, op, [&] {
    return Complaint{fmt::format("expected one {} or {}, got {}", what, axes, to_string(values)),
                     "give a number for all spatial axes, or one for each"};
  });
  Dims all;
  for (int i = 0; i < axes; ++i) all.push_back(values[values.rank() == 1 ? 0 : i]);
  for (int64_t value : all)
    check(value >= least && value < int64_t{1} << 31, op, [&] {
      return Complaint{fmt::format("expected a {} of {} or more, got {}", what, least, to_string(values)),
                       fmt::format("pass {} to 2³¹ − 1", least)};
    });
  return all;
}

ConvPadding::ConvPadding(char const* mode) : Spatial(0), same(std::string_view(mode) == "same") {
  check(same || std::string_view(mode) == "valid", "conv", [&] {
    return Complaint{fmt::format("unknown padding \"{}\"", mode), "use \"same\", \"valid\" or numbers"};
  });
}

Tensor conv1d(Tensor const& x, Tensor const& weight, Tensor const& bias, ConvOptions const& options) {
  return conv("conv1d", 1, x, weight, bias, options);
}
Tensor conv2d(Tensor const& x, Tensor const& weight, Tensor const& bias, ConvOptions const& options) {
  return conv("conv2d", 2, x, weight, bias, options);
}
Tensor conv3d(Tensor const& x, Tensor const& weight, Tensor const& bias, ConvOptions const& options) {
  return conv("conv3d", 3, x, weight, bias, options);
}
Tensor conv_transpose1d(Tensor const& x, Tensor const& weight, Tensor const& bias,
                        ConvTransposeOptions const& options) {
  return conv_transpose("conv_transpose1d", 1, x, weight, bias, options);
}
Tensor conv_transpose2d(Tensor const& x, Tensor const& weight, Tensor const& bias,
                        ConvTransposeOptions const& options) {
  return conv_transpose("conv_transpose2d", 2, x, weight, bias, options);
}
Tensor conv_transpose3d(Tensor const& x, Tensor const& weight, Tensor const& bias,
                        ConvTransposeOptions const& options) {
  return conv_transpose("conv_transpose3d", 3, x, weight, bias, options);
}

}  // namespace heed
