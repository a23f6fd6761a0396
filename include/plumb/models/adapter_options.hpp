// SPDX-License-Identifier: BSL-1.0
// Where LoRA goes and how strong it is: the options, and PEFT's rules that turn them into a rank and a scale a module.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/pattern.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// Where LoRA goes and how strong it is. The first six fields are what most adapters need; the others say what PEFT's
/// adapter_config.json can say beyond that, and survive reading and saving again.
struct lora_options {
  index_t rank = 16;   ///< inner width r
  double alpha = 0;    ///< s = alpha / rank; 0 takes alpha = 2 · rank
  double dropout = 0;  ///< share of the adapter's inputs dropped in training, [0, 1)
  /// Names of linear maps ("q_proj"; a module matches when its name ends so), or "all-linear": all but the head.
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
};

namespace detail {

/// Options made ready: the rules of PEFT for every module name. Copies what it needs.
class lora_plan {
 public:
  /// Throws errc::bad_argument for numbers out of range, and what `pattern` throws.
  explicit lora_plan(lora_options options) : options_(std::move(options)) {
    if (options_.alpha == 0) options_.alpha = 2 * static_cast<double>(options_.rank);
    check_rank("rank", options_.rank);
    check_alpha("alpha", options_.alpha);
    if (!(options_.dropout >= 0 && options_.dropout < 1))
      throw error(errc::bad_argument, "dropout", join("expected 0 up to below 1, found ", options_.dropout));
    for (const auto& [key, rank] : options_.rank_pattern) {
      check_rank(join("rank_pattern \"", key, "\""), rank);
      ranks_.emplace_back(ending(key));
    }
    for (const auto& [key, alpha] : options_.alpha_pattern) {
      check_alpha(join("alpha_pattern \"", key, "\""), alpha);
      alphas_.emplace_back(ending(key));
    }
    if (!options_.pattern.empty()) target_.emplace(options_.pattern);
    if (!options_.exclude_pattern.empty()) exclude_.emplace(options_.exclude_pattern);
    for (const std::string& name : options_.layer_lists) lists_.emplace_back(ending(name));
  }

  /// The options, alpha filled in.
  [[nodiscard]] const lora_options& options() const noexcept { return options_; }

  /// Does the linear map of this name get an adapter?
  [[nodiscard]] bool takes(std::string_view module) const {
    if (exclude_ ? exclude_->matches(module) : names(options_.excludes, module)) return false;
    if (target_) return target_->matches(module);
    const auto& targets = options_.targets;
    if (std::find(targets.begin(), targets.end(), module) != targets.end()) return true;  // named in full: any layer
    const bool every = module != "lm_head" && std::find(targets.begin(), targets.end(), "all-linear") != targets.end();
    return (every || names(targets, module)) && in_layers(module);
  }
  [[nodiscard]] index_t rank(std::string_view module) const {
    for (std::size_t i = 0; i < ranks_.size(); ++i)
      if (ranks_[i].matches(module)) return options_.rank_pattern[i].second;
    return options_.rank;
  }
  [[nodiscard]] double alpha(std::string_view module) const {
    for (std::size_t i = 0; i < alphas_.size(); ++i)
      if (alphas_[i].matches(module)) return options_.alpha_pattern[i].second;
    return options_.alpha;
  }
  /// s: alpha / rank, or alpha / √rank when rank-stabilised, with the module's own alpha and rank.
  [[nodiscard]] double scale(std::string_view module) const {
    const auto r = static_cast<double>(rank(module));
    return alpha(module) / (options_.rank_stabilised ? std::sqrt(r) : r);
  }

 private:
  static void check_rank(const std::string& what, index_t rank) {
    if (rank < 1 || rank > 65536) throw error(errc::bad_argument, what, join("expected 1 to 65536, found ", rank));
  }
  static void check_alpha(const std::string& what, double alpha) {
    if (!(alpha > 0) || std::isinf(alpha))
      throw error(errc::bad_argument, what, join("expected a positive number, found ", alpha));
  }
  /// PEFT's expression for "the name, or an end of it after a dot, matches".
  static std::string ending(std::string_view key) { return join("(.*\\.)?(", key, ")"); }

  /// Is a name in the list the module's, or an end of it after a dot?
  static bool names(const std::vector<std::string>& list, std::string_view module) {
    return std::any_of(list.begin(), list.end(), [&](const std::string& name) {
      return module == name ||
             (module.size() > name.size() && module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
    });
  }

  /// Is the number of the module's block among `layers`? The number is the first one that follows the name of a list
  /// ("model.layers.3.mlp.up_proj": 3), not that of an expert further in.
  [[nodiscard]] bool in_layers(std::string_view module) const {
    if (options_.layers.empty()) return true;
    for (std::size_t start = module.find('.'); start != std::string_view::npos; start = module.find('.', start + 1)) {
      const std::size_t end = module.find('.', start + 1);
      if (end == std::string_view::npos) break;
      index_t number = 0;
      const auto [stop, failed] = std::from_chars(module.data() + start + 1, module.data() + end, number);
      if (failed != std::errc() || stop != module.data() + end || number < 0) continue;
      const std::string_view list = module.substr(0, start);
      const bool named =
          lists_.empty() ? list.find('.') != std::string_view::npos
                         : std::any_of(lists_.begin(), lists_.end(), [&](const pattern& p) { return p.matches(list); });
      if (named) return std::find(options_.layers.begin(), options_.layers.end(), number) != options_.layers.end();
    }
    return false;
  }

  lora_options options_;
  std::optional<pattern> target_, exclude_;
  std::vector<pattern> ranks_, alphas_, lists_;
};

}  // namespace detail

}  // namespace plumb::inline v0
