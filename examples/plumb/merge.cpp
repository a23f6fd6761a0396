// SPDX-License-Identifier: BSL-1.0
// plumb merge: a model folder with one or several adapters in its weights, or one adapter out of several.
#include "commands.hpp"
#include "engine.hpp"
#include "output.hpp"

#include <plumb/core/nearest.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace program {

namespace {

/// "0.7,0.3": a number for each adapter; without the option, 1 for each.
std::vector<weighted_adapter> read_adapters(const arguments& given) {
  const auto folders = given.all("--adapter");
  if (folders.empty()) (void)given.required("--adapter");
  std::vector<weighted_adapter> out;
  for (const std::string& folder : folders) out.push_back({folder, 1});
  if (!given.has("--weights")) return out;
  const std::string text = given.text("--weights");
  std::size_t count = 0;
  for (std::size_t at = 0; at <= text.size(); ++count) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    double weight = 0;
    const auto [stop, failed] = std::from_chars(text.data() + at, text.data() + end, weight);
    if (failed != std::errc() || stop != text.data() + end || !std::isfinite(weight))
      throw error(errc::bad_argument, "--weights", join("expected numbers with commas between, found \"", text, "\""));
    if (count < out.size()) out[count].weight = weight;
    at = end + 1;
  }
  if (count != out.size())
    throw error(errc::bad_argument, "--weights",
                join("expected one for each of the ", out.size(), " adapters, found ", count));
  return out;
}

merge_options read_method(const arguments& given, const common_options& common) {
  merge_options out{.density = given.number("--density", 0.5), .seed = common.seed};
  const std::string name = given.has("--method") ? given.text("--method") : "linear";
  const auto* const found = std::find(std::begin(merge_method_names), std::end(merge_method_names), name);
  if (found == std::end(merge_method_names))
    throw error(errc::bad_argument, "--method", unknown_name("method", name, merge_method_names));
  out.method = static_cast<merge_method>(found - std::begin(merge_method_names));
  if (out.method == merge_method::linear && given.has("--density"))
    throw error(errc::bad_argument, "--density", "linear keeps every number; it goes with ties, dare and dare_ties");
  out.check();
  return out;
}

/// Removes what a failed merge wrote; nothing half-written stays behind.
template <class Write>
void write_folder(const std::string& out, Write&& write) {
  std::error_code failed;
  if (std::filesystem::exists(out, failed) &&
      (!std::filesystem::is_directory(out, failed) || !std::filesystem::is_empty(out, failed)))
    throw error(errc::bad_argument, "--out", join("\"", out, "\" is there already; name a new folder"));
  const bool fresh = !std::filesystem::exists(out, failed);
  try {
    write();
  } catch (...) {
    for (const char* file : {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
                             "adapter_model.safetensors", "adapter_config.json"})
      std::filesystem::remove(std::filesystem::path(out) / file, failed);
    if (fresh) std::filesystem::remove(out, failed);
    throw;
  }
}

int run_merge(const arguments& given) {
  const common_options common = read_common(given);
  const std::string model = given.required("--model"), out = given.required("--out");
  const auto adapters = read_adapters(given);
  const merge_options how = read_method(given, common);
  const bool as_adapter = given.has("--as-adapter"), several = adapters.size() > 1 || adapters[0].weight != 1;
  if (as_adapter && how.method != merge_method::linear)
    throw error(errc::unsupported, "--as-adapter",
                join("what ", merge_method_names[static_cast<int>(how.method)],
                     " makes has full rank and fits no adapter; leave --as-adapter out, or take --method linear"));
  const auto opened = open_model(model, several || as_adapter ? "" : adapters[0].folder.string(), common);
  if (!as_adapter && opened->weight_bytes() < 4 * opened->parameter_count())
    tell(common,
         join("note: the model is kept in ", common.dtype(),
              "; merged numbers begin from its rounded weights. Where the adapter should meet the original ones, "
              "merge with --dtype f32 into the model as published"));
  write_folder(out, [&] {
    if (as_adapter)
      opened->save_joined_adapters(adapters, out);
    else if (several || how.method != merge_method::linear)
      opened->save_merged_adapters(adapters, how, out);
    else
      opened->save_merged(out);
  });
  tell(common, join(as_adapter ? "joined into " : "merged into ", out));
  return 0;
}

}  // namespace

const command merge_command{
    "merge",
    "",
    "Writes a model folder with adapters in its weights.",
    "The folder has model.safetensors, config.json and the tokenizer; it needs no adapter any more. Several adapters\n"
    "become one change of each weight: linear is their exact sum, ties and dare thin them out first.",
    "  plumb merge --model stories260k/hf --adapter stories260k/lora_init --out merged",
    {{"--model", "MODEL", "a Hugging Face folder"},
     {"--adapter", "ADAPTER", "a PEFT folder to merge; may be given several times", option::many},
     {"--weights", "X,..", "how much of each adapter (default 1 each)"},
     {"--method", "NAME", "linear (default), ties, dare or dare_ties"},
     {"--density", "X", "share of the numbers that ties and dare keep (default 0.5)"},
     {"--as-adapter", "", "write one adapter that does what the weighted sum of all does, ranks added"},
     {"--out", "DIR", "a new folder"}},
    run_merge};

}  // namespace program
