// SPDX-License-Identifier: BSL-1.0
// adapter_config.json, as PEFT reads and writes it: LoRA's options, and a clear no to what plumb would compute wrongly.
// Bodies: adapter_config_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <plumb/models/adapter_options.hpp>

namespace plumb::inline v0 {

/// What an adapter's folder says about itself.
struct adapter_config {
  lora_options lora;
  std::string base_model;      ///< folder or name of the model that it was trained on; may be empty
  bool score_head = false;     ///< task_type SEQ_CLS: a head that says one number is saved beside the adapter
  bool classifier = false;     ///< that head is called "classifier" (encoders)
  index_t virtual_tokens = 0;  ///< prompt or prefix tuning: how many; then `lora` says nothing
  bool prefix = false;         ///< prefix tuning
  bool inputs_first =
      false;  ///< "fan_in_fan_out": files hold the adapted maps as [inputs, outputs] (GPT-2); A and B not
};

/// Reads `folder/adapter_config.json`, without `init` but for pissa and olora, which matter for what files hold. Unknown keys are ignored; keys that change what is computed are not.
/// Errors: errc::not_found, errc::bad_file, errc::unsupported naming the field.
adapter_config read_adapter_config(const std::filesystem::path& folder);

/// adapter_config.json as text: PEFT's fields in PEFT's order (sorted), those that every version of PEFT knows always,
/// newer ones only when used. `targets` are written in place of the options' own, which may say "all-linear" among names.
std::string adapter_config_text(const adapter_config& config, const std::vector<std::string>& targets);

/// The same for virtual tokens: PEFT's fields of PROMPT_TUNING or PREFIX_TUNING. `width` is that of an embedding, or of a
/// layer's keys; `heads` those of attention, or of keys.
std::string prompt_config_text(const adapter_config& config, index_t width, index_t heads, index_t layers);

}  // namespace plumb::inline v0
