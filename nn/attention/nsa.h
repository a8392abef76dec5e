// Native sparse attention.
#pragma once

#include <heed/nn/attention/chosen_blocks.h>
#include <heed/nn/linear.h>

namespace heed::nn {

/// g_c·(attention to mean keys and values of past blocks) + g_s·(to the `top` blocks chosen by them, and one's own) +
/// g_w·(to the last `window` keys), the gates σ of x (Yuan et al., "Native sparse attention", 2025; blocks are
/// compressed by their means, and every head chooses for itself). A coarse view of everything, detail where it matters,
/// and the neighbourhood. Time T·(T/block + top·block + window)·dim, memory of T²/block choices. For long causal
/// contexts, trained with it from the start.
class NativeSparse final : public Part {
 public:
  struct Config {
    int64_t block = 64, top = 4, window = 128;
    void visit(ConfigVisitor& v) {
      v.field("block", block, "keys of a block");
      v.field("top", top, "blocks chosen beside one's own");
      v.field("window", window, "keys seen before one's own");
    }
  };
  NativeSparse(AttentionConfig const& given, Config const& own)
      : Part(given),
        own_(own),
        compressed(given.dim, given.heads),
        selected(given.dim, given.heads),
        near(given.dim, given.heads) {
    expect_at_least(1, "nsa", "block", own_.block);
    expect_at_least(0, "nsa", "count of blocks", own_.top);
    expect_at_least(0, "nsa", "window", own_.window);
  }
  bool is_core() const override { return true; }
  bool heeds_options() const override { return false; }
  Attended weigh(HeadOperands const& o, CoreStep const&) const override {
    int64_t const s = o.k.size(2), size = own_.block;
    Tensor const k = run_means(o.k, size).means, v = run_means(o.v, size).means;
    AttendOptions coarse = o.elsewhere(), fine = o.elsewhere(), local = o.elsewhere();
    coarse.sees = [&](auto at) { return (at.j + 1.) * double(size) <= at.i + double(s - k.size(2) + 1); };
    fine.causal = local.causal = true;
    local.left = own_.window;
    fine.sees = chosen_blocks(o, size, own_.top, true);
    auto const gated = [&](Linear const& gate, Attended const& seen) {
      return sigmoid(gate(o.x)).transpose(1, 2).unsqueeze(3) * seen.out;
    };
    return {gated(compressed, core(o.q, k, v, coarse)) + gated(selected, core(o.q, o.k, o.v, fine)) +
                gated(near, core(o.q, o.k, o.v, local)),
            {}};
  }
  void visit(Visitor& visitor) override {
    visitor.child("compressed", compressed);
    visitor.child("selected", selected);
    visitor.child("near", near);
  }
  Traits traits() const override {
    return {.bidirectional = false, .cross = false, .equivariant = false, .memory = Growth::quadratic};
  }

 private:
  Config own_;

 public:
  Linear compressed, selected, near;
};

}  // namespace heed::nn
