// The matrix LSTM.
#pragma once

#include <heed/nn/attention/scan_attention.h>

#include <cmath>

namespace heed::nn {

/// S_t = f_t·S_{t−1} + i_t·k_t·v_tᵀ, n_t likewise of k, o_t = S_tᵀq_t / max(|n_t·q_t|, 1), i = exp(x·W_i + b), f =
/// σ(x·W_f + b) for each head (Beck et al., "xLSTM", 2024). Sums are kept relative to a running maximum, so that the
/// exponential gate cannot overflow. Its gate can overwrite the past by one position.
class MatrixLstm final : public ScanAttention {
 public:
  struct Config {
    ScanSettings around = {.norm = true, .gate = true};
    void visit(ConfigVisitor& v) { around.visit(v); }
  };
  MatrixLstm(AttentionConfig const& given, Config const& own)
      : ScanAttention(given, own.around), input(config.dim, widths.key_heads), forget(config.dim, widths.key_heads) {
    // Long memory at the start.
    forget.bias = trainable(widths.key_heads > 1 ? linspace(3, 6, widths.key_heads) : full({1}, 4.5));
  }
  bool spreads() const override { return false; }
  void visit(Visitor& visitor) override {
    ScanAttention::visit(visitor);
    visitor.child("input", input);
    visitor.child("forget", forget);
  }

  Linear input, forget;

 private:
  void features(ScanOperands& o) const override {
    Tensor const gain = by_head(input(o.x)), keep = log_sigmoid(by_head(forget(o.x)));
    auto const m = running_max(o, keep, gain);
    o.scan.decay = keep + (m.before - m.now);
    o.k = o.k * (exp(gain - m.now) * (1 / std::sqrt(double(widths.key)))).unsqueeze(-1);
    o.extra = m.now;
    o.normalize = true;
  }
  Tensor divisor(Tensor const& ones, ScanOperands const& o) const override {
    int64_t const shared = config.heads / widths.key_heads;
    Tensor const least = exp(-(shared == 1 ? o.extra : repeat_interleave(o.extra, shared, 1)));
    return maximum(abs(ones), least.unsqueeze(-1));
  }
};

}  // namespace heed::nn
