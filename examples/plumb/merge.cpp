// SPDX-License-Identifier: BSL-1.0
// plumb merge: a model folder with one or several adapters in its weights, or one adapter out of several.
#include "commands.hpp"
#include "engine.hpp"
#include "output.hpp"

#include <plumb/core/nearest.hpp>

#include <algorithm>

namespace program {

namespace {

/// The folders of an option with the numbers of --weights, "0.7,0.3"; without it, 1 for each.
std::vector<weighted_adapter> read_weighted(const arguments& given, std::string_view option, std::string_view what) {
  std::vector<weighted_adapter> out;
  for (const std::string& folder : given.all(option)) out.push_back({folder, 1});
  if (!given.has("--weights")) return out;
  const std::string text = given.text("--weights");
  const auto weights = parts_between_commas(text);
  if (weights.size() != out.size())
    throw error(errc::bad_argument, "--weights",
                join("expected one for each of the ", out.size(), " ", what, ", found ", weights.size()));
  for (std::size_t i = 0; i < out.size(); ++i)
    if (!read_number(weights[i], out[i].weight))
      throw error(errc::bad_argument, "--weights", join("expected numbers with commas between, found \"", text, "\""));
  return out;
}

/// The arc between two models is no sum of changes, so it stands beside the library's methods.
constexpr std::string_view arc_method = "slerp";

merge_options read_method(const arguments& given, const common_options& common) {
  merge_options out{.density = given.number("--density", 0.5), .seed = common.seed};
  const std::string name = given.text("--method", "linear");
  if (name != arc_method) {
    const auto* const found = std::find(std::begin(merge_method_names), std::end(merge_method_names), name);
    if (found == std::end(merge_method_names)) {
      std::vector<std::string_view> known(std::begin(merge_method_names), std::end(merge_method_names));
      known.push_back(arc_method);
      throw error(errc::bad_argument, "--method", unknown_name("method", name, known));
    }
    out.method = static_cast<merge_method>(found - std::begin(merge_method_names));
  }
  if (out.method == merge_method::linear && given.has("--density"))
    throw error(errc::bad_argument, "--density",
                join(name, " keeps every number; it goes with ties, dare, dare_ties and prune"));
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

/// Models with models: --other in place of --adapter.
void merge_others(const arguments& given, const common_options& common, const merge_options& how,
                  const std::string& out) {
  for (const char* option : {"--adapter", "--as-adapter", "--rank"})
    if (given.has(option))
      throw error(errc::bad_argument, option, "goes with adapters, not with --other; merge the adapter first");
  const auto others = read_weighted(given, "--other", "models");
  const bool on_arc = given.text("--method") == arc_method;
  if (on_arc && (others.size() != 1 || !given.has("--weights")))
    throw error(errc::bad_argument, "--method",
                join("slerp goes from --model to one --other, as far as --weights says (0.5: half way); found ",
                     others.size(), " and ", given.has("--weights") ? "" : "no ", "--weights"));
  for (const auto& other : others) check_model(other.folder.string(), "--other");
  const auto opened = open_model(given.required("--model"), "", common);
  write_folder(out, [&] { opened->save_merged_models(others, how, on_arc, {.threads = common.threads}, out); });
}

void merge_adapters(const arguments& given, const common_options& common, const merge_options& how,
                    const std::string& out) {
  const std::string model = given.required("--model");
  (void)given.required("--adapter");
  const auto adapters = read_weighted(given, "--adapter", "adapters");
  const bool as_adapter = given.has("--as-adapter"), several = adapters.size() > 1 || adapters[0].weight != 1;
  const bool linear = how.method == merge_method::linear;
  const index_t rank = given.whole("--rank", 0, 1);
  if (given.text("--method") == arc_method)
    throw error(errc::bad_argument, "--method", "slerp is for two models (--other); adapters have no arc between them");
  if (rank > 0 && !as_adapter)
    throw error(errc::bad_argument, "--rank", "goes with --as-adapter; weights have no rank to choose");
  if (as_adapter && !linear && rank == 0)
    throw error(errc::unsupported, "--as-adapter",
                join("what ", merge_method_names[static_cast<int>(how.method)],
                     " makes has full rank; add --rank N for the closest adapter of that rank, leave --as-adapter out, "
                     "or take --method linear"));
  const auto opened = open_model(model, several || as_adapter ? "" : adapters[0].folder.string(), common);
  if (!as_adapter && opened->weight_bytes() < 4 * opened->parameter_count())
    tell(common,
         join("note: the model is kept in ", common.dtype(),
              "; merged numbers begin from its rounded weights. Where the adapter should meet the original ones, "
              "merge with --dtype f32 into the model as published"));
  write_folder(out, [&] {
    if (as_adapter)
      opened->save_joined_adapters(adapters, how, rank, out);
    else if (several || !linear)
      opened->save_merged_adapters(adapters, how, out);
    else
      opened->save_merged(out);
  });
}

int run_merge(const arguments& given) {
  const common_options common = read_common(given);
  const std::string out = given.required("--out");
  const merge_options how = read_method(given, common);
  if (given.has("--other"))
    merge_others(given, common, how, out);
  else
    merge_adapters(given, common, how, out);
  tell(common, join(given.has("--as-adapter") ? "joined into " : "merged into ", out));
  return 0;
}

}  // namespace

const command merge_command{
    "merge",
    "",
    "Writes a model folder with adapters in its weights, or one model out of several.",
    "The folder has model.safetensors, config.json and the tokenizer; it needs no adapter any more. Several adapters\n"
    "become one change of each weight: linear is their exact sum, the others thin them out first. With --other, what "
    "other\n"
    "models have beyond --model is added in the same ways; slerp goes along the arc from --model to one other.",
    "  plumb merge --model stories260k/hf --adapter stories260k/lora_init --out merged",
    {{"--model", "MODEL", "a Hugging Face folder"},
     {"--adapter", "ADAPTER", "a PEFT folder to merge; may be given several times", option::many},
     {"--other", "MODEL", "instead of adapters: a model to merge with; may be given several times", option::many},
     {"--weights", "X,..", "how much of each adapter or other model (default 1 each)"},
     {"--method", "NAME", "linear (default), ties, dare, dare_ties, prune; of two models also slerp"},
     {"--density", "X", "share of the numbers that ties, dare, dare_ties and prune keep (default 0.5)"},
     {"--as-adapter", "", "write one adapter that does what the weighted sum of all does, ranks added"},
     {"--rank", "N", "with --as-adapter: the closest adapter of this rank, by singular values; with any method"},
     {"--out", "DIR", "a new folder"}},
    run_merge};

}  // namespace program
