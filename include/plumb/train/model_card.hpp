// SPDX-License-Identifier: BSL-1.0
// README.md of a trained model: the card that model hubs read (YAML front matter) and people too (Markdown).
// Bodies: model_card_impl.hpp.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/types.hpp>
#include <plumb/train/report_text.hpp>

namespace plumb::inline v0 {

/// What the card of a model tells. Empty parts are left out.
///
///     model_card card{.name = "polite-llama", .base_model = "meta-llama/Llama-3.2-1B", .method = "dpo"};
///     write_model_card("adapter/README.md", card);
struct model_card {
  using pairs = std::vector<std::pair<std::string, std::string>>;

  std::string name{};
  std::string base_model{};  ///< a name on a hub ("owner/name") or a local folder
  std::string method{};      ///< "dpo", "sft", …
  bool low_rank = true;      ///< of an adapter: LoRA; false: virtual tokens
  bool adapter = true;       ///< a PEFT adapter; false: complete weights that transformers loads
  std::string summary{};     ///< a sentence or two of Markdown, written as it is
  std::string license{};     ///< identifier as hubs know it: "apache-2.0"
  std::string pipeline =
      "text-generation";  ///< "text-classification": a reward model, whose score head says one number
  std::vector<std::string> languages{};
  std::vector<std::string> datasets{};
  std::vector<std::string> tags{};  ///< besides plumb, the method and lora
  pairs hyper_parameters{};
  std::vector<std::pair<std::string, double>> metrics{};  ///< the final ones
  pairs environment{};                                    ///< for instance `describe_environment("cpu").rows()`
  std::string citation{};                                 ///< BibTeX of the method
};

namespace detail {

/// A YAML scalar: plain when that cannot be misread, in double quotes otherwise. "no", "1.0" and "2024-01-01" get quotes,
/// for YAML would make a boolean, a number and a date of them.
std::string yaml_scalar(std::string_view text);

}  // namespace detail

/// The card as Markdown with YAML front matter. A base model that is a local folder is called by its last name only:
/// hubs refuse a path there, and a card should not publish one.
std::string render_model_card(const model_card& card);

/// Writes the card atomically, as README.md by custom; the folder must exist.
void write_model_card(const std::filesystem::path& path, const model_card& card);

}  // namespace plumb::inline v0
