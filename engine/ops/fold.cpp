// Windows as columns and back, and rearrangements between channels and space.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/conv.h>
#include <heed/engine/ops/spatial.h>
#include <heed/engine/tape.h>

namespace heed {
namespace {

/// One image [C, size…] and its windows.
ConvShape windows_of(char const* op, int64_t batch, int64_t channels, Dims const& size, FoldOptions const& o) {
  Dims const kernel = per_axis(op, "kernel", o.kernel, 2, 1), dilation = per_axis(op, "dilation", o.dilation, 2, 1);
  Dims const padding = per_axis(op, "padding", o.padding, 2, 0), stride = per_axis(op, "stride", o.stride, 2, 1);
  ConvShape s{.batch = batch, .in = channels};
  for (int a = 0; a < 2; ++a) {
    int64_t const reach = dilation[a] * (kernel[a] - 1) + 1, room = size[a] + 2 * padding[a] - reach;
    check(room >= 0, op, [&] {
      return Complaint{fmt::format("a window that spans {} does not fit {} of {} with padding {}", reach, size[a],
                                   to_string(size), padding[a]),
                       "use a smaller kernel or dilation, or more padding"};
    });
    s.axis[a + 1] = {size[a], room / stride[a] + 1, kernel[a], stride[a], dilation[a], padding[a]};
  }
  return s;
}

Tensor columns_to_images(Tensor const& columns, ConvShape const& s);

/// x [B, C, H, W] → [B, C·taps, windows]
Tensor images_to_columns(Tensor const& x, ConvShape const& s) {
  Tensor y({s.batch, s.rows(), s.y_size()}, x.dtype(), x.device());
  Observed const watch("im2col", {&x}, {&y});
  Tensor const from = x.detach().contiguous();
  dispatch_floating("im2col", x.dtype(), [&]<class T>(Type<T>) {
    convolutions(x.device(), "im2col").of<T>().gather(s, from.address<T>(), y.address<T>());
  });
  if (tracked(x))
    record("im2col", y, {&x}, [s](Tensor const& g, Node const&) { return std::array{columns_to_images(g, s)}; });
  return y;
}

Tensor columns_to_images(Tensor const& columns, ConvShape const& s) {
  Tensor x({s.batch, s.in, s.axis[1].in, s.axis[2].in}, columns.dtype(), columns.device());
  Observed const watch("fold", {&columns}, {&x});
  Tensor const from = columns.detach().contiguous();
  dispatch_floating("fold", columns.dtype(), [&]<class T>(Type<T>) {
    convolutions(x.device(), "fold").of<T>().scatter(s, from.address<T>(), x.address<T>());
  });
  if (tracked(columns))
    record("fold", x, {&columns}, [s](Tensor const& g, Node const&) { return std::array{images_to_columns(g, s)}; });
  return x;
}

/// x [.., C, H, W] with leading axes joined.
Tensor images(char const* op, Tensor const& x) {
  check_defined(op, x);
  check(x.rank() >= 3, op, [&] {
    return Complaint{fmt::format("expected x [.., C, H, W], got {}", to_string(x.shape())), "add axes with unsqueeze"};
  });
  int64_t lead = 1;
  for (int a = 0; a < x.rank() - 3; ++a) lead *= x.shape()[a];
  return x.reshape({lead, x.size(-3), x.size(-2), x.size(-1)});
}

Shape with_image(Shape shape, int64_t channels, int64_t height, int64_t width) {
  int const n = shape.rank();
  shape[n - 3] = channels, shape[n - 2] = height, shape[n - 1] = width;
  return shape;
}

void check_factor(char const* op, int64_t factor) {
  check(factor >= 1 && factor < int64_t{1} << 31, op, [&] {
    return Complaint{fmt::format("expected a factor of 1 or more, got {}", factor), "pass a positive factor"};
  });
}

}  // namespace

Tensor im2col(Tensor const& x, FoldOptions const& options) {
  check_spatial("im2col", x, 2, true, false);
  if (is_half(x.dtype())) return im2col(x.to(Dtype::f32), options).to(x.dtype());
  if (x.dtype() == Dtype::boolean) return im2col(x.to(Dtype::f32), options).to(Dtype::boolean);
  if (x.rank() == 3) return im2col(x.unsqueeze(0), options).squeeze(0);
  return images_to_columns(x, windows_of("im2col", x.size(0), x.size(1), {x.size(2), x.size(3)}, options));
}

Tensor fold(Tensor const& x, Spatial const& output_size, FoldOptions const& options) {
  check_defined("fold", x);
  if (is_half(x.dtype())) return fold(x.to(Dtype::f32), output_size, options).to(x.dtype());
  if (x.dtype() == Dtype::boolean) return fold(x.to(Dtype::f32), output_size, options).to(Dtype::boolean);
  if (x.rank() == 2) return fold(x.unsqueeze(0), output_size, options).squeeze(0);
  Dims const size = per_axis("fold", "output size", output_size, 2, 1);
  ConvShape s = windows_of("fold", 0, 1, size, options);
  check(x.rank() == 3 && x.size(1) > 0 && x.size(1) % s.taps() == 0 && x.size(2) == s.y_size(), "fold", [&] {
    return Complaint{fmt::format("expected x [B, C·{}, {}] for windows of size {} in {}, got {}", s.taps(), s.y_size(),
                                 to_string(options.kernel), to_string(size), to_string(x.shape())),
                     "pass what im2col gives for these options"};
  });
  s.batch = x.size(0);
  s.in = x.size(1) / s.taps();
  return columns_to_images(x, s);
}

Tensor pixel_shuffle(Tensor const& x, int64_t upscale_factor) {
  Tensor const from = images("pixel_shuffle", x);
  int64_t const r = upscale_factor, height = x.size(-2), width = x.size(-1);
  check_factor("pixel_shuffle", r);
  check(x.size(-3) % (r * r) == 0, "pixel_shuffle", [&] {
    return Complaint{fmt::format("{} channels of x {} are no multiple of {}²", x.size(-3), to_string(x.shape()), r),
                     "change the factor or the number of channels"};
  });
  int64_t const channels = x.size(-3) / (r * r);
  return from.reshape({from.size(0), channels, r, r, height, width})
      .permute({0, 1, 4, 2, 5, 3})
      .reshape(with_image(x.shape(), channels, height * r, width * r));
}

Tensor pixel_unshuffle(Tensor const& x, int64_t downscale_factor) {
  Tensor const from = images("pixel_unshuffle", x);
  int64_t const r = downscale_factor, channels = x.size(-3);
  check_factor("pixel_unshuffle", r);
  check(x.size(-2) % r == 0 && x.size(-1) % r == 0, "pixel_unshuffle", [&] {
    return Complaint{fmt::format("height and width of x {} are no multiples of {}", to_string(x.shape()), r),
                     "pad x, or change the factor"};
  });
  int64_t const height = x.size(-2) / r, width = x.size(-1) / r;
  return from.reshape({from.size(0), channels, height, r, width, r})
      .permute({0, 1, 3, 5, 2, 4})
      .reshape(with_image(x.shape(), channels * r * r, height, width));
}

Tensor channel_shuffle(Tensor const& x, int64_t groups) {
  check_defined("channel_shuffle", x);
  check(x.rank() >= 3, "channel_shuffle", [&] {
    return Complaint{fmt::format("expected x [B, C, ..] of rank 3 or more, got {}", to_string(x.shape())),
                     "add axes with unsqueeze"};
  });
  check(groups >= 1 && x.size(1) % groups == 0, "channel_shuffle", [&] {
    return Complaint{fmt::format("{} channels do not split into {} groups", x.size(1), groups),
                     "make the number of channels a multiple of groups"};
  });
  int64_t rest = 1;
  for (int a = 2; a < x.rank(); ++a) rest *= x.shape()[a];
  return x.reshape({x.size(0), groups, x.size(1) / groups, rest}).transpose(1, 2).reshape(x.shape());
}

}  // namespace heed
