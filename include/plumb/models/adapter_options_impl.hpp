// SPDX-License-Identifier: BSL-1.0
// The bodies of models/adapter_options.hpp. Collected by plumb/impl.hpp, which one .cpp of a program includes.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/pattern.hpp>
#include <plumb/models/adapter_options.hpp>

namespace plumb::inline v0 {

namespace detail {

constexpr std::string_view init_names[] = {"true", "gaussian", "false", "pissa", "olora"};
constexpr std::string_view bias_names[] = {"none", "lora_only", "all"};

/// The place of a text among names. Throws errc::bad_argument.
template <std::size_t N>
std::size_t place_among(const std::string_view (&names)[N], std::string_view text, const std::string& key) {
  for (std::size_t i = 0; i < N; ++i)
    if (names[i] == text) return i;
  std::string known;
  for (const std::string_view each : names) known += join(known.empty() ? "" : ", ", each);
  throw error(errc::bad_argument, key, join("expected one of ", known, "; found \"", text, "\""));
}

}  // namespace detail

std::string_view name(lora_init how) { return detail::init_names[static_cast<std::size_t>(how)]; }
std::string_view name(trained_biases which) { return detail::bias_names[static_cast<std::size_t>(which)]; }

lora_init lora_init_from_name(std::string_view text, index_t& iterations, const std::string& key) {
  iterations = 0;
  if (constexpr std::string_view prefix = "pissa_niter_"; text.starts_with(prefix)) {
    const auto* const end = text.data() + text.size();
    const auto [stop, failed] = std::from_chars(text.data() + prefix.size(), end, iterations);
    if (failed != std::errc() || stop != end || iterations < 1 || iterations > 1000)
      throw error(errc::bad_argument, key, join("expected pissa_niter_N with N from 1 to 1000, found \"", text, "\""));
    return lora_init::pissa;
  }
  return static_cast<lora_init>(detail::place_among(detail::init_names, text, key));
}
trained_biases trained_biases_from_name(std::string_view text, const std::string& key) {
  return static_cast<trained_biases>(detail::place_among(detail::bias_names, text, key));
}

}  // namespace plumb::inline v0

namespace plumb::inline v0::detail {

void check_lora_rank(const std::string& what, index_t rank) {
  if (rank < 1 || rank > 65536) throw error(errc::bad_argument, what, join("expected 1 to 65536, found ", rank));
}

void check_lora_alpha(const std::string& what, double alpha) {
  if (!(alpha > 0) || std::isinf(alpha))
    throw error(errc::bad_argument, what, join("expected a positive number, found ", alpha));
}

/// PEFT's expression for "the name, or an end of it after a dot, matches".
std::string name_ending(std::string_view key) { return join("(.*\\.)?(", key, ")"); }

/// Is a name in the list the module's, or an end of it after a dot?
bool names_module(const std::vector<std::string>& list, std::string_view module) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& name) {
    return module == name ||
           (module.size() > name.size() && module.ends_with(name) && module[module.size() - name.size() - 1] == '.');
  });
}

lora_plan::lora_plan(lora_options options) : options_(std::move(options)) {
  if (options_.alpha == 0) options_.alpha = 2 * static_cast<double>(options_.rank);
  check_lora_rank("rank", options_.rank);
  check_lora_alpha("alpha", options_.alpha);
  if (!(options_.dropout >= 0 && options_.dropout < 1))
    throw error(errc::bad_argument, "dropout", join("expected 0 up to below 1, found ", options_.dropout));
  const bool from_weight = options_.init == lora_init::pissa || options_.init == lora_init::olora;
  if (options_.dora && from_weight)
    throw error(
        errc::bad_argument, "dora",
        join("cannot start from ", name(options_.init), ", whose adapter is saved as a difference; leave one out"));
  if (options_.pissa_iterations < 0 || (options_.pissa_iterations > 0 && options_.init != lora_init::pissa))
    throw error(errc::bad_argument, "pissa_iterations",
                join("expected 0, or a count with init = pissa, found ", options_.pissa_iterations));
  if (auto sorted = options_.trainable_tokens; !sorted.empty()) {
    std::sort(sorted.begin(), sorted.end());
    if (const auto twice = std::adjacent_find(sorted.begin(), sorted.end()); twice != sorted.end())
      throw error(errc::bad_argument, "trainable_tokens", join("token ", *twice, " stands there twice"));
  }
  for (const auto& [key, rank] : options_.rank_pattern) {
    check_lora_rank(join("rank_pattern \"", key, "\""), rank);
    ranks_.emplace_back(name_ending(key));
  }
  for (const auto& [key, alpha] : options_.alpha_pattern) {
    check_lora_alpha(join("alpha_pattern \"", key, "\""), alpha);
    alphas_.emplace_back(name_ending(key));
  }
  if (!options_.pattern.empty()) target_.emplace(options_.pattern);
  if (!options_.exclude_pattern.empty()) exclude_.emplace(options_.exclude_pattern);
  for (const std::string& name : options_.layer_lists) lists_.emplace_back(name_ending(name));
}

bool lora_plan::takes(std::string_view module) const { return means(module, true); }
bool lora_plan::takes_table(std::string_view module) const { return means(module, false); }

bool lora_plan::means(std::string_view module, bool linear) const {
  if (exclude_ ? exclude_->matches(module) : names_module(options_.excludes, module)) return false;
  if (target_) return target_->matches(module);
  const auto& targets = options_.targets;
  if (std::find(targets.begin(), targets.end(), module) != targets.end()) return true;  // named in full: any layer
  const bool every =
      linear && module != "lm_head" && std::find(targets.begin(), targets.end(), "all-linear") != targets.end();
  return (every || names_module(targets, module)) && in_layers(module);
}

index_t lora_plan::rank(std::string_view module) const {
  for (std::size_t i = 0; i < ranks_.size(); ++i)
    if (ranks_[i].matches(module)) return options_.rank_pattern[i].second;
  return options_.rank;
}

double lora_plan::alpha(std::string_view module) const {
  for (std::size_t i = 0; i < alphas_.size(); ++i)
    if (alphas_[i].matches(module)) return options_.alpha_pattern[i].second;
  return options_.alpha;
}

double lora_plan::scale(std::string_view module) const {
  const auto r = static_cast<double>(rank(module));
  return alpha(module) / (options_.rank_stabilised ? std::sqrt(r) : r);
}

bool is_in_module(std::string_view weight, std::string_view wanted) {
  for (std::size_t end = weight.rfind('.'); end != std::string_view::npos && end > 0; end = weight.rfind('.', end - 1))
    if (weight.substr(0, end).ends_with(wanted)) return true;
  return false;
}

bool lora_plan::saves(std::string_view weight) const {
  const auto& modules = options_.modules_to_save;
  return std::any_of(modules.begin(), modules.end(),
                     [&](const std::string& wanted) { return is_in_module(weight, wanted); });
}

bool lora_plan::in_layers(std::string_view module) const {
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

}  // namespace plumb::inline v0::detail
