// Losses of sequences without alignment.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn::loss {

/// −log of the probability of all paths that spell the targets once repeats are merged and blanks dropped (Graves et
/// al., 2006). Each loss is divided by its target's length, then the mean is taken.
struct Ctc {
  static constexpr std::string_view operands =
      "log_p logp [T, N, C]; targets index C [N, S]; input_lengths index T [N]; target_lengths index S [N]";
  int64_t blank = 0;
  bool zero_infinity = false;
  void visit(ConfigVisitor& v) {
    v.field("blank", blank, "index of the blank");
    v.field("zero_infinity", zero_infinity, "targets too long for their input cost nothing");
  }
  Tensor operator()(Tensor const& log_p, Tensor const& targets, Tensor const& input_lengths,
                    Tensor const& target_lengths) const {
    check_operands("ctc", operands, log_p, targets, input_lengths, target_lengths);
    return ctc_loss(log_p, targets, input_lengths.to_vector<int64_t>(), target_lengths.to_vector<int64_t>(),
                    {.blank = blank, .zero_infinity = zero_infinity});
  }
};

}  // namespace heed::nn::loss
