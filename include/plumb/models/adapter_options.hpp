// SPDX-License-Identifier: BSL-1.0
// Where LoRA goes and how strong it is: the options, and PEFT's rules that turn them into a rank and a scale a module.
// Bodies: adapter_options_impl.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/pattern.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// What A and B hold before training; PEFT's "init_lora_weights". All but `random` start as no change of the model.
enum class lora_init {
  uniform,   ///< A uniform in ±1/√inputs, B zero: PEFT's true
  gaussian,  ///< A normal with deviation 1/rank, B zero
  random,    ///< A as before, B uniform in ±1/√rank: PEFT's false, for tests; the policy starts away from the model
  pissa,     ///< the weight's largest singular values (Meng et al. 2024), which the adapter then changes
  olora      ///< the first columns and rows of the weight's QR decomposition (Büyükakyüz 2024)
};

/// Which biases are trained beside the adapter.
enum class trained_biases {
  none,
  adapted,  ///< those of maps with an adapter; PEFT's "lora_only"
  all
};

/// PEFT's names: "true", "gaussian", "false", "pissa", "olora"; "none", "lora_only", "all".
std::string_view name(lora_init how);
std::string_view name(trained_biases which);
/// The other way; "pissa_niter_16" also sets `iterations`. Throw errc::bad_argument, naming `key` and the known names.
lora_init lora_init_from_name(std::string_view text, index_t& iterations, const std::string& key);
trained_biases trained_biases_from_name(std::string_view text, const std::string& key);

/// Where LoRA goes and how strong it is. The first six fields are what most adapters need; the others say what PEFT's
/// adapter_config.json can say beyond that, and survive reading and saving again.
struct lora_options {
  index_t rank = 16;   ///< inner width r
  double alpha = 0;    ///< s = alpha / rank; 0 takes alpha = 2 · rank
  double dropout = 0;  ///< share of the adapter's inputs dropped in training, [0, 1)
  /// Names of linear maps ("q_proj"; a module matches when its name ends so), or "all-linear": all but the head. The table
  /// of tokens ("embed_tokens") may be named, too.
  std::vector<std::string> targets = {"all-linear"};
  std::string pattern = {};  ///< instead of `targets`: a regular expression for the whole module name
  std::uint64_t seed = 0;    ///< of A's first values

  bool rank_stabilised =
      false;  ///< s = alpha / √rank (Kalajdzievski 2023), so that large ranks learn as fast as small ones
  std::vector<std::string> excludes = {};  ///< names that stay without an adapter although they match
  std::string exclude_pattern = {};        ///< instead of `excludes`: a regular expression for the whole module name
  std::vector<index_t> layers = {};        ///< only blocks with these numbers; empty: all
  std::vector<std::string> layer_lists =
      {};  ///< what the list of blocks is called ("layers"); empty: whatever comes first
  /// Ranks and alphas of single modules: a regular expression that ends the module's name, the first that matches wins.
  std::vector<std::pair<std::string, index_t>> rank_pattern = {};
  std::vector<std::pair<std::string, double>> alpha_pattern = {};

  bool dora = false;  ///< a learnt magnitude for each output of an adapted map (Liu et al. 2024)
  lora_init init = lora_init::uniform;
  index_t pissa_iterations = 0;  ///< of a randomised decomposition, fast for wide maps (16 is plenty); 0: the exact one
  trained_biases biases = trained_biases::none;
  /// Modules that are trained as copies of their own, saved whole ("lm_head", "embed_tokens", "norm"). As in PEFT, a module
  /// is meant when its name ends so, dot or not: "norm" is every norm.
  std::vector<std::string> modules_to_save = {};
  std::vector<token_id> trainable_tokens = {};  ///< tokens whose embedding is trained, the rest of the table frozen
};

namespace detail {

/// Does the weight of this name ("model.norm.weight") lie in a module whose name ends in `wanted`, dot or not?
bool is_in_module(std::string_view weight, std::string_view wanted);

/// Options made ready: the rules of PEFT for every module name. Copies what it needs.
class lora_plan {
 public:
  /// Throws errc::bad_argument for numbers out of range, and what `pattern` throws.
  explicit lora_plan(lora_options options);

  /// The options, alpha filled in.
  [[nodiscard]] const lora_options& options() const noexcept { return options_; }

  /// Does the linear map of this name get an adapter?
  [[nodiscard]] bool takes(std::string_view module) const;
  /// Does the table of tokens of this name? "all-linear" does not mean it.
  [[nodiscard]] bool takes_table(std::string_view module) const;
  [[nodiscard]] index_t rank(std::string_view module) const;
  [[nodiscard]] double alpha(std::string_view module) const;
  /// s: alpha / rank, or alpha / √rank when rank-stabilised, with the module's own alpha and rank.
  [[nodiscard]] double scale(std::string_view module) const;
  /// Is the weight of this name ("model.norm.weight") part of a module that is saved whole?
  [[nodiscard]] bool saves(std::string_view weight) const;

 private:
  [[nodiscard]] bool means(std::string_view module, bool linear) const;
  /// Is the number of the module's block among `layers`? The number is the first one that follows the name of a list
  /// ("model.layers.3.mlp.up_proj": 3), not that of an expert further in.
  [[nodiscard]] bool in_layers(std::string_view module) const;

  lora_options options_;
  std::optional<pattern> target_, exclude_;
  std::vector<pattern> ranks_, alphas_, lists_;
};

}  // namespace detail

}  // namespace plumb::inline v0
