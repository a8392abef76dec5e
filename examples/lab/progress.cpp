#include "progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace lab {

using Clock = std::chrono::steady_clock;

std::string clock_text(double seconds) {
  auto const s = int64_t(seconds + 0.5);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60)
                  : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

Progress::Progress(int64_t tokens_per_step, int64_t first_step)
    : tokens_per_step_(tokens_per_step), first_step_(first_step), terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::show(heed::optim::StepReport const& r, std::string const& label, bool fresh) {
  int64_t const done = r.step - first_step_;
  loss_ = done == 1 || fresh ? r.loss : 0.95 * loss_ + 0.05 * r.loss;
  if (r.evaluated) validation_ = r.validation;
  rate_ = double(done * tokens_per_step_) / r.seconds;
  auto const now = Clock::now();
  bool const last = r.step == r.steps;
  double const pause = terminal_ ? 0.1 : 5;  // seconds between two lines
  if (!r.evaluated && !last && std::chrono::duration<double>(now - last_).count() < pause) return;
  last_ = now;

  double const eta = double(r.steps - r.step) * r.seconds / double(done);
  std::string const validation = validation_ > 0 ? fmt::format("  val {:.4f}", validation_) : "";
  std::string const numbers =
      fmt::format("{}{}step {}/{}  loss {:.4f}{}  {:.0f} tokens/s  ETA {}", label, label.empty() ? "" : "  ", r.step,
                  r.steps, loss_, validation, rate_, clock_text(eta));
  if (!terminal_) {
    fmt::print(stderr, "{}\n", numbers);
    return;
  }
  constexpr int width = 24;
  int const filled = int(width * r.step / r.steps);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
  fmt::print(stderr, "\r\033[K{} {}", bar, numbers);
  std::fflush(stderr);
  live_ = true;
}

void Progress::finish() {
  if (live_) fmt::print(stderr, "\n");
  live_ = false;
}

}  // namespace lab
