// Multi-head latent attention.
#pragma once

#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/nn/attention/core.h>
#include <heed/nn/attention/part.h>
#include <heed/nn/linear.h>
#include <heed/nn/norm.h>
#include <heed/nn/position/rope.h>

#include <cmath>
#include <tuple>

namespace heed::nn {

/// c = norm(x·W_c) [S, r], k_h = [c·W_k, rope(x·W_r)], v_h = c·W_v, q_h = [x·W_q, rope(x·W_qr)]: keys and values of all
/// heads come from one latent vector, beside a rotary key that heads share (DeepSeek-V2, 2024). A cache keeps r + d_r
/// numbers a position instead of 2·dim. Since q·(c·W_k) = (q·W_kᵀ)·c, decoding takes the heads' matrices to the queries
/// and to the results, and attends to the latents themselves, as one key head: `absorbed`, which a whole pass can be as
/// well, at r + d_r features a pair in place of D + d_r. Has its own positions; takes no parts.
class LatentAttention final : public Attention {
 public:
  struct Config {
    int64_t latent = 0, rotary = 0;
    bool absorbed = false;
    void visit(ConfigVisitor& v) {
      v.field("latent", latent, "r, numbers a position for keys and values; 0: twice the head width");
      v.field("rotary", rotary, "d_r, features of the rotary key; 0: half the head width, made even");
      v.field("absorbed", absorbed, "attend to latents in whole passes, too");
    }
  };
  LatentAttention(AttentionConfig const& given, Config const& own)
      : Attention(given),
        latent_(own.latent > 0 ? own.latent : 2 * config.head_dim()),
        rotary_(own.rotary > 0 ? own.rotary : (config.head_dim() / 2 + 1) / 2 * 2),
        absorbed_(own.absorbed),
        q_proj(config.dim, config.heads * (config.head_dim() + rotary_), config.bias),
        down_proj(config.dim, latent_ + rotary_, config.bias),
        norm(latent_),
        k_proj(latent_, config.dim, false),
        v_proj(latent_, config.dim, false),
        out_proj(config.dim, config.dim, config.bias) {
    check(own.latent >= 0 && own.rotary >= 0 && rotary_ % 2 == 0, "mla", [] {
      return Complaint{"expected a latent width of 0 or more and an even rotary one", "leave them at 0"};
    });
  }
  Traits traits() const override { return {.cross = false, .equivariant = false}; }
  std::unique_ptr<AttentionState> make_state(int64_t positions) const override {
    return config.causal ? std::make_unique<KeyValueCache>(positions) : Attention::make_state(positions);
  }
  void visit(Visitor& visitor) override {
    visitor.child("q_proj", q_proj);
    visitor.child("down_proj", down_proj);
    visitor.child("norm", norm);
    visitor.child("k_proj", k_proj);
    visitor.child("v_proj", v_proj);
    visitor.child("out_proj", out_proj);
  }

 private:
  int64_t latent_, rotary_;
  bool absorbed_;

 public:
  Linear q_proj, down_proj;
  RMSNorm norm;
  Linear k_proj, v_proj, out_proj;

 private:
  Tensor mix(Tensor const& x, AttentionContext const& context) const override {
    int64_t const d = config.head_dim(), past = context.state ? context.state->length : 0;
    Tensor const q = split_heads(q_proj(x), config.heads), down = down_proj(x).unsqueeze(1);  // [B, 1, T, r + d_r]
    Tensor const q_content = q.slice(3, 0, d), q_rotary = rope(q.slice(3, d, d + rotary_), past);
    Tensor c = norm(down.slice(3, 0, latent_));
    Tensor k_rotary = rope(down.slice(3, latent_, latent_ + rotary_), past);
    if (context.state) std::tie(c, k_rotary) = state_as<KeyValueCache>(*context.state).append(c, k_rotary);
    AttendOptions options{.scale = 1 / std::sqrt(double(d + rotary_)), .causal = config.causal};
    if (context.lengths.defined()) also_sees(options, lengths(context.lengths));
    if (context.sees) also_sees(options, context.sees);
    if (training() && config.dropout > 0) options.dropout = config.dropout, options.draw = default_generator().next();
    Tensor out;
    if (absorbed_ || context.state) {
      Shape const of_heads{config.heads, d, latent_};
      Tensor const seeking = matmul(q_content, k_proj.weight.reshape(of_heads));  // [B, H, T, r]
      Tensor const found = core(cat({seeking, q_rotary}, 3), cat({c, k_rotary}, 3), c, options).out;
      out = matmul(found, v_proj.weight.reshape(of_heads).transpose(1, 2));
    } else {
      Tensor const latents = c.squeeze(1), k = split_heads(k_proj(latents), config.heads);
      Shape shared = k.shape();
      shared[3] = rotary_;
      out = core(cat({q_content, q_rotary}, 3), cat({k, k_rotary.expand(shared)}, 3),
                 split_heads(v_proj(latents), config.heads), options)
                .out;
    }
    Tensor const y = out_proj(join_heads(out));
    return training() ? dropout(y, config.dropout) : y;
  }
};

}  // namespace heed::nn
