// SPDX-License-Identifier: BSL-1.0
// plumb merge: a model folder with the adapter in its weights.
#include "commands.hpp"
#include "engine.hpp"
#include "output.hpp"

namespace program {

namespace {

int run_merge(const arguments& given) {
  const common_options common = read_common(given);
  const std::string model = given.required("--model"), out = given.required("--out");
  const auto adapters = given.all("--adapter");
  if (adapters.empty()) (void)given.required("--adapter");
  if (adapters.size() > 1)
    throw error(errc::unsupported, "--adapter",
                "merging several adapters is not in this version; give one, then merge the next into the result");
  std::error_code failed;
  if (std::filesystem::exists(out, failed) &&
      (!std::filesystem::is_directory(out, failed) || !std::filesystem::is_empty(out, failed)))
    throw error(errc::bad_argument, "--out", join("\"", out, "\" is there already; name a new folder"));
  const auto merged = open_model(model, adapters.front(), common);
  const bool fresh = !std::filesystem::exists(out, failed);
  try {
    merged->save_merged(out);
  } catch (...) {  // nothing half-written stays behind
    for (const char* file : {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"})
      std::filesystem::remove(std::filesystem::path(out) / file, failed);
    if (fresh) std::filesystem::remove(out, failed);
    throw;
  }
  tell(common, join("merged into ", out));
  return 0;
}

}  // namespace

const command merge_command{
    "merge",
    "",
    "Writes a model folder with an adapter in its weights.",
    "The folder has model.safetensors, config.json and the tokenizer; it needs the adapter no more.",
    "  plumb merge --model stories260k/hf --adapter stories260k/lora_init --out merged",
    {{"--model", "MODEL", "a Hugging Face folder"},
     {"--adapter", "ADAPTER", "the PEFT folder to merge", option::many},
     {"--out", "DIR", "a new folder"}},
    run_merge};

}  // namespace program
