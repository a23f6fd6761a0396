// SPDX-License-Identifier: BSL-1.0
// Training inside an application: a worker thread trains, the main thread shows progress and may cancel at any step.
// A cancelled run leaves a checkpoint from which it goes on, bit for bit.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include <unistd.h>

#include <plumb/plumb.hpp>

// ----- knobs -----------------------------------------------------------------------------------------------------------
constexpr plumb::index_t steps = 1500;    // of the whole run
constexpr plumb::index_t patience = 100;  // the user presses "cancel" when the bar has come so far

/// A training run on a thread of its own: `on_step` is called by `fit` over there, all else by the window over here.
class training_job {
 public:
  training_job(plumb::policy<plumb::cpu> policy, std::vector<plumb::example> data, plumb::fit_options options) {
    worker_ = std::thread([this, policy, data, options]() mutable {
      try {
        result_ = plumb::fit(policy, plumb::dpo{}, data, options, *this);
      } catch (const std::exception& problem) {  // an exception must not leave its thread: hand it over as text
        failure_ = problem.what();
      }
      finished_ = true;
    });
  }
  ~training_job() { cancel(), worker_.join(); }

  bool on_step(const plumb::step_info& s) {
    const std::lock_guard lock(guard_);
    latest_ = s;
    return !cancelled_;  // false: the run writes a checkpoint and ends
  }
  plumb::step_info look() {
    const std::lock_guard lock(guard_);
    return latest_;
  }
  void cancel() { cancelled_ = true; }
  [[nodiscard]] bool finished() const { return finished_; }
  [[nodiscard]] const plumb::fit_result& result() const { return result_; }  // once it has finished
  [[nodiscard]] const std::string& failure() const { return failure_; }      // likewise; empty: all went well

 private:
  std::mutex guard_;
  plumb::step_info latest_;
  std::atomic<bool> cancelled_{false}, finished_{false};
  plumb::fit_result result_;
  std::string failure_;
  std::thread worker_;
};

/// A little model and some pairs, made on the spot so that the example needs no files.
plumb::policy<plumb::cpu> small_policy() {
  plumb::model_config c;
  c.hidden_size = 32, c.intermediate_size = 64, c.layers = 2, c.heads = 4, c.kv_heads = 2, c.head_width = 8;
  c.vocabulary = 64, c.max_positions = 64, c.tied_head = true;
  return plumb::attach_lora(plumb::make_model<plumb::cpu>(c, std::nullopt, {.seed = 7}, {.threads = 1}), {.rank = 4});
}
std::vector<plumb::example> some_pairs() {
  std::vector<plumb::example> out;
  for (plumb::token_id i = 0; i < 12; ++i) out.push_back({{1, i + 2}, {{{20, i + 21}}, {{40, i + 41}}}, 0, true, ""});
  return out;
}

/// The window: redraws a few hundred times a second until the run is over; `stop_at` is when the user has had enough.
plumb::fit_result show(const plumb::fit_options& options, plumb::index_t stop_at) {
  training_job job(small_policy(), some_pairs(), options);
  while (!job.finished()) {
    const auto now = job.look();
    std::printf("\rstep %4d/%d  loss %.4f", static_cast<int>(now.step), static_cast<int>(now.steps), now.loss);
    if (now.step >= stop_at) job.cancel();
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  if (!job.failure().empty()) throw std::runtime_error(job.failure());
  std::printf("\r%s after step %d, loss %.4f\n", job.result().cancelled ? "cancelled" : "finished",
              static_cast<int>(job.result().steps), job.result().loss);
  return job.result();
}

int main() try {
  const auto folder = std::filesystem::temp_directory_path() / ("plumb-embed-" + std::to_string(::getpid()));
  plumb::fit_options options{.rate = 5e-4, .steps = steps, .batch = 4, .folder = folder, .resume = true};
  show(options, patience);
  const auto resumed = show(options, steps);  // the same call finds the checkpoint and goes on
  std::filesystem::remove_all(folder);
  options.folder.clear(), options.resume = false;
  const auto whole = show(options, steps);  // nobody interrupts this one
  return resumed.steps == steps && resumed.loss == whole.loss && whole.loss < 0.69 ? 0 : 1;
} catch (const std::exception& problem) {
  std::fprintf(stderr, "%s\n", problem.what());
  return 2;
}
