// SPDX-License-Identifier: BSL-1.0
// Which programs take an adapter's files, and which would load them and compute something else. Bodies:
// adapter_readers_impl.hpp.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// What a program does with an adapter.
enum class adapter_reading {
  yes,      ///< computes what was trained
  refused,  ///< says no
  wrong     ///< loads the files and computes something else, without a word
};
std::string_view name(adapter_reading how);

struct adapter_reader {
  std::string program;  ///< "plumb", "peft", "vllm", "llama.cpp"
  adapter_reading how = adapter_reading::yes;
  std::vector<std::string> reasons;  ///< why not
  std::vector<std::string> notes;    ///< what to mind where it works
};

/// Looks at an adapter folder's configuration and the names in its file; no weight is read.
///
/// peft: 0.21. vllm: 0.11 and later (vllm/lora/peft_helper.py, lora_model.py): low-rank tensors alone, one rank and one
/// alpha. llama.cpp: through `plumb convert`, which knows every scale; its own convert_lora_to_gguf.py divides one alpha by
/// each rank. Errors: errc::not_found, errc::bad_file.
std::vector<adapter_reader> adapter_readers(const std::filesystem::path& folder);

}  // namespace plumb::inline v0
