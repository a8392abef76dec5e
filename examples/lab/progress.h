// Live progress of a training run: one line that renews itself in a terminal, plain lines elsewhere.
#pragma once

#include <heed/optim/trainer.h>

#include <chrono>

namespace lab {

class Progress {
 public:
  /// `tokens_per_step` for the rate; `first_step` where a resumed run starts.
  Progress(int64_t tokens_per_step, int64_t first_step);
  /// `label` stands before the numbers; `fresh`: the loss is not a continuation of the one before.
  void show(heed::optim::StepReport const& report, std::string const& label = "", bool fresh = false);
  /// Ends the live line.
  void finish();
  double tokens_per_second() const { return rate_; }

 private:
  int64_t tokens_per_step_, first_step_;
  bool terminal_, live_ = false;
  double loss_ = 0, validation_ = 0, rate_ = 0;
  std::chrono::steady_clock::time_point last_{};
};

/// "1:05" or "1:02:03"
std::string clock_text(double seconds);

}  // namespace lab
