// Short-time Fourier transforms: windowed frames of a signal, and back by overlapping sums.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/tape.h>

#include <algorithm>
#include <vector>

namespace heed {
namespace {

/// [B, F, size] → [B, (F − 1)·hop + size]: frames added where they overlap.
Tensor overlapped(Tensor const& frames, int64_t hop) {
  int64_t const batch = frames.size(0), size = frames.size(2), length = (frames.size(1) - 1) * hop + size;
  return fold(frames.transpose(1, 2), {1, length}, {.kernel = {1, size}, .stride = {1, hop}}).reshape({batch, length});
}

/// [B, T] → [B, F, size], frame f from f·hop on.
Tensor frames_of(Tensor const& x, int64_t size, int64_t hop) {
  Tensor y = unfold(x.detach(), 1, size, hop).clone();
  if (tracked(x))
    record("frames", y, {&x}, [length = x.size(1), hop](Tensor const& g, Node const&) {
      Tensor const sums = overlapped(g, hop);
      int64_t const rest = length - sums.size(1);
      return std::array{rest == 0 ? sums : cat({sums, zeros({g.size(0), rest}, g.dtype(), g.device())}, 1)};
    });
  return y;
}

/// [B, T] with `by` elements mirrored at both ends, the ends themselves not repeated.
Tensor reflected(Tensor const& x, int64_t by) {
  int64_t const n = x.size(1);
  check(by < n, "stft", [&] {
    return Complaint{fmt::format("a signal of {} samples cannot be reflected over {}", n, by),
                     "use center = false, or a shorter n_fft"};
  });
  std::vector<int64_t> index;
  for (int64_t i = -by; i < n + by; ++i) index.push_back(i < 0 ? -i : i < n ? i : 2 * (n - 1) - i);
  return embedding(tensor(index, {n + 2 * by}).to(x.device()), x.t()).t();
}

struct Frame {
  int64_t size, hop;
  Tensor window;  // [size]
};

Frame frame_of(char const* op, int64_t n_fft, StftOptions const& options, Tensor const& x) {
  int64_t const hop = options.hop_length == -1 ? n_fft / 4 : options.hop_length;
  int64_t const width = options.win_length == -1 ? n_fft : options.win_length;
  check(n_fft >= 1 && hop >= 1 && width >= 1 && width <= n_fft, op, [&] {
    return Complaint{
        fmt::format("expected n_fft, hop_length >= 1 and 1 <= win_length <= n_fft, got {}, {}, {}", n_fft, hop, width),
        "give lengths in samples"};
  });
  check(!options.window.defined() || options.window.shape() == Shape{width}, op, [&] {
    return Complaint{fmt::format("expected a window of shape [{}], got {}", width, to_string(options.window.shape())),
                     "make it win_length long"};
  });
  Tensor window = options.window.defined() ? options.window.to(x.dtype()) : ones({width}, x.dtype(), x.device());
  int64_t const left = (n_fft - width) / 2;
  if (width < n_fft)
    window = cat({zeros({left}, x.dtype(), x.device()), window, zeros({n_fft - width - left}, x.dtype(), x.device())});
  return {n_fft, hop, window};
}

FftNorm norm_of(StftOptions const& options) { return options.normalized ? FftNorm::ortho : FftNorm::backward; }

}  // namespace

Tensor stft(Tensor const& x, int64_t n_fft, StftOptions const& options) {
  check_defined("stft", x);
  check((x.rank() == 1 || x.rank() == 2) && is_floating(x.dtype()), "stft", [&] {
    return Complaint{fmt::format("expected a floating [T] or [B, T], got {} {}", name(x.dtype()), to_string(x.shape())),
                     "reshape the leading axes into one"};
  });
  Frame const frame = frame_of("stft", n_fft, options, x);
  Tensor signal = x.rank() == 1 ? x.unsqueeze(0) : x;
  if (options.center) signal = reflected(signal, n_fft / 2);
  check(signal.size(1) >= n_fft, "stft", [&] {
    return Complaint{fmt::format("a signal of {} samples holds no frame of {}", signal.size(1), n_fft),
                     "use a shorter n_fft"};
  });
  Tensor const windowed = frames_of(signal, n_fft, frame.hop) * frame.window;
  FftOptions const transform{.norm = norm_of(options)};
  Tensor const y = options.onesided ? rfft(windowed, transform) : fft(complex(windowed), transform);
  return x.rank() == 1 ? y.transpose(1, 2).squeeze(0) : y.transpose(1, 2);
}

Tensor istft(Tensor const& x, int64_t n_fft, StftOptions const& options, int64_t length) {
  check_defined("istft", x);
  int64_t const bins = options.onesided ? n_fft / 2 + 1 : n_fft;
  check((x.rank() == 3 || x.rank() == 4) && is_floating(x.dtype()) && x.size(-1) == 2 && x.size(-3) == bins &&
            x.size(-2) >= 1,
        "istft", [&] {
          return Complaint{fmt::format("expected [{}, frames, 2] or [B, {}, frames, 2] for n_fft = {}, got {}", bins,
                                       bins, n_fft, to_string(x.shape())),
                           "pass what stft gave, with the same options"};
        });
  Frame const frame = frame_of("istft", n_fft, options, x);
  Tensor const batch = (x.rank() == 3 ? x.unsqueeze(0) : x).transpose(1, 2);
  // The signal is real: the second half of a full spectrum says nothing new.
  Tensor const frames = irfft(batch.slice(-2, 0, n_fft / 2 + 1), {.n = n_fft, .norm = norm_of(options)});
  int64_t const count = batch.size(1), covered = (count - 1) * frame.hop + n_fft;
  Tensor sums = overlapped(frames * frame.window, frame.hop);
  Tensor weight = overlapped(square(frame.window).expand({1, count, n_fft}), frame.hop);
  int64_t const start = options.center ? n_fft / 2 : 0;
  int64_t const wanted = length >= 0 ? start + length : options.center ? covered - n_fft / 2 : covered;
  int64_t const stop = std::min(wanted, covered);
  sums = sums.slice(1, start, std::max(start, stop));
  weight = weight.slice(1, start, std::max(start, stop));
  for (double w : weight.to_vector<double>())
    check(w > 1e-11, "istft", [] {
      return Complaint{"the windows do not cover every sample", "use a shorter hop_length, or center = true"};
    });
  Tensor y = sums / weight;
  if (wanted > stop) y = cat({y, zeros({y.size(0), wanted - stop}, y.dtype(), y.device())}, 1);
  return x.rank() == 3 ? y.squeeze(0) : y;
}

}  // namespace heed
