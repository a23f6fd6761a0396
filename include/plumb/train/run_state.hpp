// SPDX-License-Identifier: BSL-1.0
// What a checkpoint holds beside parameters and moments, and its files. Bodies: run_state_impl.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/io/safetensors_write.hpp>
#include <plumb/objective/metrics.hpp>
#include <plumb/train/running_mean.hpp>

namespace plumb::inline v0 {

/// What a checkpoint holds beside parameters and moments. The order of the data and all random numbers are functions of
/// (seed, step), so a position is a number; only a stream of examples has one of its own.
struct run_state {
  index_t step = 0;                      ///< optimiser steps done
  std::string objective;                 ///< name, to refuse another one's checkpoint
  std::uint64_t fingerprint = 0;         ///< of data and options that fix the course of the run
  double tokens = 0;                     ///< tokens seen
  metric_list pending;                   ///< metrics since the last log entry
  std::vector<double> references;        ///< reference log-probability of every reply, in the order of the data
  std::vector<double> token_references;  ///< the same of every token, for objectives that ask for it
  std::vector<std::uint64_t> position;   ///< in the data, where that is a stream; else empty: `step` says it
  running_mean ratios;                   ///< of the log-ratios that bco's running mean has seen
};

namespace detail {

inline constexpr std::string_view checkpoint_prefix = "checkpoint-";

/// Writes a checkpoint of these tensors and this state; it appears whole or not at all. Returns its path.
std::filesystem::path write_checkpoint(const std::filesystem::path& folder, std::vector<tensor_data> tensors,
                                       const run_state& state);

/// The state that a checkpoint holds.
run_state read_run_state(const std::filesystem::path& checkpoint);

}  // namespace detail

/// The newest checkpoint in `folder`; an empty path when there is none.
std::filesystem::path newest_checkpoint(const std::filesystem::path& folder);

}  // namespace plumb::inline v0
