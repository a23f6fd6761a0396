// SPDX-License-Identifier: BSL-1.0
// Training inside an application: a worker thread trains, the main thread shows progress and may cancel at any step.
// A cancelled run leaves a checkpoint from which it goes on, bit for bit.
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <thread>

#include <unistd.h>

#include <plumb/plumb.hpp>

// ----- knobs -----------------------------------------------------------------------------------------------------------
constexpr plumb::index_t steps = 40;     // of the whole run
constexpr plumb::index_t patience = 15;  // the user presses "cancel" after so many

/// What the two threads share. `fit` calls the callback on the worker; the window reads it whenever it redraws.
struct session {
  std::atomic<bool> cancel{false};
  std::mutex guard;
  plumb::step_info latest;

  bool on_step(const plumb::step_info& s) {
    const std::lock_guard lock(guard);
    latest = s;
    if (s.step == patience && s.steps == steps) cancel = true;  // stands for the user's click
    return !cancel;
  }
  plumb::step_info look() {
    const std::lock_guard lock(guard);
    return latest;
  }
};

/// A little model and some pairs, made on the spot so that the example needs no files.
plumb::language_model<plumb::cpu> small_model() {
  plumb::model_config c;
  c.hidden_size = 32, c.intermediate_size = 64, c.layers = 2, c.heads = 4, c.kv_heads = 2, c.head_width = 8;
  c.vocabulary = 64, c.max_positions = 64, c.tied_head = true;
  return plumb::make_model<plumb::cpu>(c, std::nullopt, {.seed = 7}, {.threads = 1});
}
std::vector<plumb::example> some_pairs() {
  std::vector<plumb::example> out;
  for (plumb::token_id i = 0; i < 12; ++i)
    out.push_back({{1, static_cast<plumb::token_id>(i + 2)},
                   {{{20, static_cast<plumb::token_id>(21 + i)}}, {{40, static_cast<plumb::token_id>(41 + i)}}},
                   0,
                   true,
                   ""});
  return out;
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() / ("plumb-embed-" + std::to_string(::getpid()));
  plumb::fit_options options{.rate = 2e-3, .steps = steps, .batch = 4, .folder = folder, .resume = true};
  const auto train = [&](session& s) {
    auto policy = plumb::attach_lora(small_model(), {.rank = 4});
    plumb::fit_result result;
    std::string failure;  // an exception must not leave its thread: hand it over as text
    std::thread worker([&] {
      try {
        result = plumb::fit(policy, plumb::dpo{}, some_pairs(), options, s);
      } catch (const plumb::error& problem) {
        failure = problem.what();
      }
    });
    worker.join();  // a real window would run its event loop here and call s.look() to redraw
    if (!failure.empty()) std::fprintf(stderr, "%s\n", failure.c_str());
    return result;
  };

  session first;
  const auto stopped = train(first);
  std::printf("cancelled after %d of %d steps, loss %.4f\n", static_cast<int>(stopped.steps), static_cast<int>(steps),
              first.look().loss);
  session second;
  second.latest = {};
  options.steps = steps;
  const auto finished = train(second);  // the same call finds the checkpoint and goes on
  std::printf("resumed and finished at step %d, loss %.4f\n", static_cast<int>(finished.steps), finished.loss);
  std::filesystem::remove_all(folder);
  return stopped.cancelled && stopped.steps == patience && !finished.cancelled && finished.steps == steps &&
                 finished.loss < 0.69
             ? 0
             : 1;
}
