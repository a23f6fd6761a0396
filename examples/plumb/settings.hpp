// SPDX-License-Identifier: BSL-1.0
// The settings of `train` and `grad`: the same keys on the command line (--set), in --config and in the config.json of a run.
#pragma once

#include "arguments.hpp"
#include "methods.hpp"

#include <plumb/data/mixture.hpp>
#include <plumb/data/read_labelled.hpp>
#include <plumb/io/json.hpp>
#include <plumb/models/adapter_options.hpp>
#include <plumb/models/prompt_options.hpp>
#include <plumb/train/options.hpp>

#include <set>
#include <string>
#include <vector>

namespace program {

/// What a run is made of: the objective with its parameters, the library's options, and where things come from.
struct run_settings {
  std::string objective;  ///< as given: "dpo"
  std::string model, adapter, teacher, eval_data;
  std::vector<std::string> data;  ///< files as written: "FILE", "FILE:SHARE", "FILE@STAGE"
  bool stream = false;            ///< rows are drawn from disk
  mixture_options mix;
  std::string stage_rows;  ///< "20000,5000"
  bool full = false;       ///< all weights are trained, without an adapter
  fit_options fit{.log_every = 1};
  lora_options lora;
  prompt_options prompt{.count = 0};  ///< instead of LoRA, where its count is not 0
  bool density_ratio = false;         ///< disliked replies weigh what their prompts are worth
  step_options steps;                 ///< how solutions with labelled steps are read
  std::string chat;  ///< template of rows with messages: a Jinja file or a format; empty: the model's own
  learnt_part learn = learnt_part::usual;
  method how = find_method("sft");
  std::string also;                           ///< further terms, "0.2*sft_chosen"
  std::set<std::string, std::less<>> chosen;  ///< keys that the user gave

  /// The resolved settings as config.json keeps them; reading it with --config gives the same run.
  [[nodiscard]] json::object describe(const common_options& common) const;
};

/// Reads defaults, then --config, then the options of the command line. Backend, dtype and compute of a
/// config count when the command line does not say otherwise. Errors name the key, or the nearest known one.
run_settings read_settings(const arguments& given, common_options& common);

}  // namespace program
