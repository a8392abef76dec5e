// Convolution, pooling, resampling, and what rearranges images.
#include "replay.h"

namespace heed::replay {
namespace {

/// A number or a list by that name; empty, which is the default, where it is not given.
Spatial sizes(Case const& c, std::string_view name) { return c.dims(name, {}); }
Spatial sizes(Case const& c, std::string_view name, int64_t otherwise) { return c.dims(name, {otherwise}); }

template <Tensor (*f)(Tensor const&, Tensor const&, Tensor const&, ConvOptions const&)>
Outputs convolved(Case const& c) {
  ConvOptions options{
      .stride = sizes(c, "stride", 1), .dilation = sizes(c, "dilation", 1), .groups = c.integer("groups", 1)};
  if (c.is_text("padding")) {
    options.padding = c.text("padding").c_str();
  } else {
    options.padding = ConvPadding(c.dims("padding", {0}));
  }
  return f(c(0), c(1, "weight"), c.maybe(2, "bias"), options);
}

template <Tensor (*f)(Tensor const&, Tensor const&, Tensor const&, ConvTransposeOptions const&)>
Outputs transposed(Case const& c) {
  return f(c(0), c(1, "weight"), c.maybe(2, "bias"),
           {.stride = sizes(c, "stride", 1),
            .padding = sizes(c, "padding", 0),
            .output_padding = sizes(c, "output_padding", 0),
            .dilation = sizes(c, "dilation", 1),
            .groups = c.integer("groups", 1)});
}

/// The first of several results unless the indices are asked for.
Outputs asked(Case const& c, std::pair<Tensor, Tensor> const& found) {
  return c.flag("return_indices") ? Outputs(found) : Outputs(found.first);
}

template <std::pair<Tensor, Tensor> (*f)(Tensor const&, Spatial const&, MaxPoolOptions const&)>
Outputs max_pooled(Case const& c) {
  return asked(c, f(c(0), sizes(c, "kernel_size"),
                    {.stride = sizes(c, "stride"),
                     .padding = sizes(c, "padding", 0),
                     .dilation = sizes(c, "dilation", 1),
                     .ceil_mode = c.flag("ceil_mode")}));
}

template <Tensor (*f)(Tensor const&, Spatial const&, AvgPoolOptions const&)>
Outputs averaged(Case const& c) {
  return f(c(0), sizes(c, "kernel_size"),
           {.stride = sizes(c, "stride"),
            .padding = sizes(c, "padding", 0),
            .ceil_mode = c.flag("ceil_mode"),
            .count_include_pad = c.flag("count_include_pad", true),
            .divisor_override = c.integer("divisor_override", 0)});
}

/// output_size, where null keeps a size.
Spatial output_size(Case const& c) { return c.dims_or("output_size", -1); }

template <Tensor (*f)(Tensor const&, Spatial const&)>
Outputs adaptively_averaged(Case const& c) {
  return f(c(0), output_size(c));
}
template <std::pair<Tensor, Tensor> (*f)(Tensor const&, Spatial const&)>
Outputs adaptively_max_pooled(Case const& c) {
  return asked(c, f(c(0), output_size(c)));
}

template <Tensor (*f)(Tensor const&, double, Spatial const&, LpPoolOptions const&)>
Outputs lp_pooled(Case const& c) {
  return f(c(0), c.real("norm_type"), sizes(c, "kernel_size"),
           {.stride = sizes(c, "stride"), .ceil_mode = c.flag("ceil_mode")});
}

template <Tensor (*f)(Tensor const&, Tensor const&, Spatial const&, MaxUnpoolOptions const&)>
Outputs unpooled(Case const& c) {
  Dims const kernel = c.dims("kernel_size");
  Dims size = c.dims("output_size", {});  // PyTorch also takes that of batch and channels
  int const axes = c.op.back() == 'd' ? c.op[c.op.size() - 2] - '0' : 1;
  while (size.rank() > axes) size.erase(0);
  return f(c(0), c(1, "indices"), kernel,
           {.stride = sizes(c, "stride"), .padding = sizes(c, "padding", 0), .output_size = size});
}

using Resampling = decltype(InterpolateOptions::mode);

Resampling mode_of(std::string const& mode) {
  if (mode == "nearest") return Resampling::nearest;
  if (mode == "nearest-exact") return Resampling::nearest_exact;
  if (mode == "linear" || mode == "bilinear" || mode == "trilinear") return Resampling::linear;
  if (mode == "bicubic") return Resampling::bicubic;
  if (mode == "area") return Resampling::area;
  throw Malformed("no such interpolation: " + mode);
}

Outputs resampled(Case const& c) {
  std::string const plain = c.op.ends_with("bilinear") ? "bilinear" : "nearest";
  return interpolate(c(0), {.size = sizes(c, "size"),
                            .scale_factor = c.has("scale_factor") ? c.reals("scale_factor") : std::vector<double>(),
                            .mode = mode_of(c.text("mode", plain)),
                            .align_corners = c.flag("align_corners", c.op.ends_with("bilinear")),
                            .recompute_scale_factor = c.flag("recompute_scale_factor"),
                            .antialias = c.flag("antialias")});
}

/// Enumerations are numbers in grid_sampler_2d and words in grid_sample.
Outputs sampled(Case const& c) {
  constexpr auto mode_key = "mode|interpolation_mode", padding_key = "padding_mode";
  auto const choice = [&](std::string_view key, std::initializer_list<std::string_view> words) {
    if (!c.has(key)) return 0;
    if (!c.is_text(key)) return int(c.integer(key));
    int place = 0;
    for (auto const word : words) {
      if (c.text(key) == word) return place;
      ++place;
    }
    throw Malformed("no such mode: " + c.text(key));
  };
  constexpr Resampling modes[] = {Resampling::linear, Resampling::nearest, Resampling::bicubic};
  constexpr GridPadding paddings[] = {GridPadding::zeros, GridPadding::border, GridPadding::reflection};
  return grid_sample(c(0), c(1, "grid"),
                     {.mode = modes[size_t(choice(mode_key, {"bilinear", "nearest", "bicubic"})) % 3],
                      .padding = paddings[size_t(choice(padding_key, {"zeros", "border", "reflection"})) % 3],
                      .align_corners = c.flag("align_corners")});
}

FoldOptions windows(Case const& c) {
  return {.kernel = sizes(c, "kernel_size"),
          .dilation = sizes(c, "dilation", 1),
          .padding = sizes(c, "padding", 0),
          .stride = sizes(c, "stride", 1)};
}

// clang-format off
constexpr Row rows[] = {
    {"adaptive_avg_pool1d", adaptively_averaged<adaptive_avg_pool1d>},
    {"adaptive_avg_pool2d", adaptively_averaged<adaptive_avg_pool2d>},
    {"adaptive_avg_pool3d", adaptively_averaged<adaptive_avg_pool3d>},
    {"adaptive_max_pool1d", adaptively_max_pooled<adaptive_max_pool1d_with_indices>},
    {"adaptive_max_pool2d", adaptively_max_pooled<adaptive_max_pool2d_with_indices>},
    {"adaptive_max_pool3d", adaptively_max_pooled<adaptive_max_pool3d_with_indices>},
    {"avg_pool1d", averaged<avg_pool1d>},
    {"avg_pool2d", averaged<avg_pool2d>},
    {"avg_pool3d", averaged<avg_pool3d>},
    {"conv1d", convolved<conv1d>},
    {"conv2d", convolved<conv2d>},
    {"conv3d", convolved<conv3d>},
    {"conv_transpose1d", transposed<conv_transpose1d>},
    {"conv_transpose2d", transposed<conv_transpose2d>},
    {"conv_transpose3d", transposed<conv_transpose3d>},
    {"lp_pool1d", lp_pooled<lp_pool1d>},
    {"lp_pool2d", lp_pooled<lp_pool2d>},
    {"lp_pool3d", lp_pooled<lp_pool3d>},
    {"max_pool1d", max_pooled<max_pool1d_with_indices>},
    {"max_pool2d", max_pooled<max_pool2d_with_indices>},
    {"max_pool3d", max_pooled<max_pool3d_with_indices>},
    {"max_unpool1d", unpooled<max_unpool1d>},
    {"max_unpool2d", unpooled<max_unpool2d>},
    {"max_unpool3d", unpooled<max_unpool3d>},
    {"affine_grid", [](Case const& c) -> Outputs { return affine_grid(c(0, "theta"), c.dims("size"), c.flag("align_corners")); }},
    {"channel_shuffle", [](Case const& c) -> Outputs { return channel_shuffle(c(0), c.integer("groups")); }},
    {"fold", [](Case const& c) -> Outputs { return fold(c(0), sizes(c, "output_size"), windows(c)); }},
    {"grid_sample", sampled},
    {"im2col", [](Case const& c) -> Outputs { return im2col(c(0), windows(c)); }},
    {"interpolate", resampled},
    {"pixel_shuffle", [](Case const& c) -> Outputs { return pixel_shuffle(c(0), c.integer("upscale_factor")); }},
    {"pixel_unshuffle", [](Case const& c) -> Outputs { return pixel_unshuffle(c(0), c.integer("downscale_factor")); }},
};
// clang-format on

}  // namespace

std::span<Row const> convolution_rows() { return rows; }

}  // namespace heed::replay
