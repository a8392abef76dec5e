// Fourier transforms. Complex tensors are pairs of reals on a last axis of two.
#include "replay.h"

namespace heed::replay {
namespace {

FftNorm norm_of(Case const& c) {
  std::string const norm = c.text("norm", "backward");
  if (norm == "backward") return FftNorm::backward;
  if (norm == "ortho") return FftNorm::ortho;
  if (norm == "forward") return FftNorm::forward;
  throw Malformed("no such norm: " + norm);
}

/// The operand as pairs: PyTorch takes real ones too, which the expected rank tells apart (`pairs_out`: the result is
/// complex, one axis more than PyTorch's).
Tensor pairs(Case const& c, bool pairs_out) {
  Tensor const x = c(0);
  int const logical = c.expected_rank(x.rank() - (pairs_out ? 0 : 1)) - (pairs_out ? 1 : 0);
  if (x.rank() > logical) return x;
  return complex(is_floating(x.dtype()) ? x : x.to(Dtype::f32));
}

FftOptions along_one(Case const& c) { return {.n = c.integer("n", -1), .axis = c.axis("dim", -1), .norm = norm_of(c)}; }
FftnOptions along_several(Case const& c) {
  return {.s = c.dims("s", {}), .axes = c.dims("dim", {}), .norm = norm_of(c)};
}

template <Tensor (*f)(Tensor const&, FftOptions), bool pairs_in, bool pairs_out>
Outputs transform(Case const& c) {
  return f(pairs_in ? pairs(c, pairs_out) : c(0), along_one(c));
}
template <Tensor (*f)(Tensor const&, FftnOptions), bool pairs_in, bool pairs_out>
Outputs transforms(Case const& c) {
  return f(pairs_in ? pairs(c, pairs_out) : c(0), along_several(c));
}

StftOptions frames(Case const& c, bool onesided) {
  return {.hop_length = c.integer("hop_length", -1),
          .win_length = c.integer("win_length", -1),
          .window = c.maybe("window"),
          .center = c.flag("center", true),
          .normalized = c.flag("normalized"),
          .onesided = c.flag("onesided", onesided)};
}

Outputs spectrogram(Case const& c) {
  if (c.text("pad_mode", "reflect") != "reflect") throw Lacking("op stft with another padding");
  return stft(c(0), c.integer("n_fft"), frames(c, true));
}

Outputs resynthesised(Case const& c) {
  return istft(c(0), c.integer("n_fft"), frames(c, c(0).size(-3) != c.integer("n_fft")), c.integer("length", -1));
}

// clang-format off
constexpr Row rows[] = {
    {"fft.fft", transform<fft, true, true>},
    {"fft.fft2", transforms<fft2, true, true>},
    {"fft.fftfreq", [](Case const& c) -> Outputs { return fftfreq(c.integer("n"), c.real("d", 1), c.dtype("dtype", Dtype::f32)); }},
    {"fft.fftn", transforms<fftn, true, true>},
    {"fft.fftshift", [](Case const& c) -> Outputs { return fftshift(c(0), c.dims("dim", {})); }},
    {"fft.hfft", transform<hfft, true, false>},
    {"fft.hfft2", transforms<hfft2, true, false>},
    {"fft.hfftn", transforms<hfftn, true, false>},
    {"fft.ifft", transform<ifft, true, true>},
    {"fft.ifft2", transforms<ifft2, true, true>},
    {"fft.ifftn", transforms<ifftn, true, true>},
    {"fft.ifftshift", [](Case const& c) -> Outputs { return ifftshift(c(0), c.dims("dim", {})); }},
    {"fft.ihfft", transform<ihfft, false, true>},
    {"fft.ihfft2", transforms<ihfft2, false, true>},
    {"fft.ihfftn", transforms<ihfftn, false, true>},
    {"fft.irfft", transform<irfft, true, false>},
    {"fft.irfft2", transforms<irfft2, true, false>},
    {"fft.irfftn", transforms<irfftn, true, false>},
    {"fft.rfft", transform<rfft, false, true>},
    {"fft.rfft2", transforms<rfft2, false, true>},
    {"fft.rfftfreq", [](Case const& c) -> Outputs { return rfftfreq(c.integer("n"), c.real("d", 1), c.dtype("dtype", Dtype::f32)); }},
    {"fft.rfftn", transforms<rfftn, false, true>},
    {"istft", resynthesised},
    {"stft", spectrogram},
};
// clang-format on

}  // namespace

std::span<Row const> fourier_rows() { return rows; }

}  // namespace heed::replay
