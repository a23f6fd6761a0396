// SPDX-License-Identifier: BSL-1.0
// What a run tells its owner while it goes. A callback is any object with some of the functions below.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include <plumb/train/log_entry.hpp>

namespace plumb::inline v0 {

/// Where a run stands after an optimiser step.
struct step_info {
  index_t step = 0;    ///< optimiser steps done
  index_t steps = 0;   ///< of how many
  double epoch = 0;    ///< passes over the data done
  double loss = 0;     ///< of this step
  double rate = 0;     ///< learning rate of this step
  double seconds = 0;  ///< since the run began (or was resumed)
  double tokens = 0;   ///< tokens that went through the network since then
};

// A callback may have, each optional:
//   bool on_step(const step_info&)                      after every step; false stops the run after a checkpoint
//   void on_log(const log_entry&)                       training metrics, and evaluations (names begin with "eval_")
//   void on_warning(const std::string& text)            the run looks unwell (train/health.hpp): once per cause
//   void on_save(const std::filesystem::path& folder)   a checkpoint was written
//   void on_sample(index_t step)                        a good moment to sample from the policy: before the first step,
//                                                       at every evaluation, after the last step
// Exceptions pass through to the caller of `fit`.

namespace detail {

template <class C>
bool tell_step(C& c, const step_info& info) {
  if constexpr (requires {
                  { c.on_step(info) } -> std::same_as<bool>;
                })
    return c.on_step(info);
  else if constexpr (requires { c.on_step(info); })
    return c.on_step(info), true;
  else
    return true;
}
template <class C>
void tell_log(C& c, const log_entry& entry) {
  if constexpr (requires { c.on_log(entry); }) c.on_log(entry);
}
template <class C>
void tell_warning(C& c, const std::string& text) {
  if constexpr (requires { c.on_warning(text); }) c.on_warning(text);
}
template <class C>
void tell_save(C& c, const std::filesystem::path& folder) {
  if constexpr (requires { c.on_save(folder); }) c.on_save(folder);
}
template <class C>
void tell_sample(C& c, index_t step) {
  if constexpr (requires { c.on_sample(step); }) c.on_sample(step);
}

}  // namespace detail

}  // namespace plumb::inline v0
