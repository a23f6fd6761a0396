// SPDX-License-Identifier: BSL-1.0
// What an objective needs, for people: names, how to provide it, and whether a formula reads more than it declares.
#pragma once

#include <cmath>
#include <plumb/core/error.hpp>
#include <plumb/objective/concept.hpp>
#include <plumb/objective/evaluate_kernel.hpp>
#include <plumb/objective/evaluate_span.hpp>
#include <plumb/objective/paths.hpp>
#include <plumb/objective/record.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace plumb::inline v0 {

/// A need with its name and the way to satisfy it.
struct need_description {
  need what;
  std::string_view name;
  std::string_view remedy;
};

/// Every need, in the order of its bits.
inline constexpr need_description all_needs[] = {
    {need::logp, "logp", "run the policy on the completions, or give `logp` per record"},
    {need::reward, "reward", "attach a reward head to the model (attach_score_head), or give `reward` per record"},
    {need::value, "value",
     "attach a value head (attach_score_head) and compute returns, or give `value` and `return` per record"},
    {need::entropy, "entropy", "ask the head for entropies, or give `entropy` per record"},
    {need::reference, "reference",
     "attach an adapter, pass a reference model, or add reference log-probs (`ref`) to the data"},
    {need::old_logp, "old_logp",
     "sample with plumb, which keeps the sampler's log-probs, or add them (`old`) to the data"},
    {need::old_value, "old_value",
     "keep the value head's outputs at sampling time, or add them (`old_value`) to the data"},
    {need::advantage, "advantage", "estimate advantages from rewards, or add `advantage` to the data"},
    {need::tokens, "tokens", "give the number of tokens (`tokens`) per completion"},
    {need::desirable, "desirable", "use rows with a true or false label (`desirable`)"},
    {need::margin, "margin", "add `margin` to the rows; without it margins are 0"},
    {need::divergence, "divergence", "leave it to the batch, or give `kl` per record"},
    {need::log_partition, "log_partition", "ask the head for it, or give `log_partition` per record"},
    {need::mean_logp, "mean_logp", "ask the head for it, or give `mean_logp` per record"},
    {need::statistic, "statistic", "ask the head for it, or give `statistic` per record"},
    {need::tail, "tail", "score the replies token by token, or give `tail` and `ref_tail` per record"},
    {need::sequential_kl, "sequential_kl",
     "attach an adapter or pass a reference model, or give `sequential_kl` per record"},
    {need::confidence, "confidence", "ask the head for it, or give `confidence` per record"},
    {need::target, "target", "add the rating or label to hit (`target`) to the data"},
    {need::mean_ratio, "mean_ratio", "leave it to training, which keeps it, or give `mean_ratio` per record"},
};

/// "logp, reference".
inline std::string describe_needs(need needs) {
  std::string text;
  for (const auto& n : all_needs) {
    if (has(needs, n.what)) text += join(text.empty() ? "" : ", ", n.name);
  }
  return text.empty() ? "nothing" : text;
}

/// Needs that data may leave out: their fields have a sensible value of their own.
inline constexpr need optional_needs = need::margin | need::divergence | need::mean_ratio;

/// Throws errc::bad_argument for the first need that is not provided, saying how to provide it. Call before training.
inline void require_needs(std::string_view objective, need needs, need provided) {
  for (const auto& n : all_needs) {
    if (has(needs, n.what) && !has(provided | optional_needs, n.what))
      throw error(errc::bad_argument, std::string(objective),
                  join("needs ", n.name, ", which is not there: ", n.remedy));
  }
}

/// The first field that an objective with these needs reads and that nobody filled in; its path, or empty text.
template <level L>
std::string missing_field(need needs, const record<L>& r) {
  std::string found;
  visit_fields(r, [&](const field& f, const std::string& where, const auto& member) {
    if (found.empty() && f.role != role::optional && has(needs, f.asks) && std::isnan(static_cast<double>(member)))
      found = where;
  });
  return found;
}

/// The first field that the formula reads without declaring it in `needs` (its path), or empty text. Puts NaN into one
/// undeclared field at a time and looks for it in loss and slopes; a field that is read in rare cases only may escape.
/// Objectives with `prepare` are probed with a default constant. Declared are the needs of the objective as it is, with
/// its parameters.
template <class O>
std::string undeclared_field(const O& objective) {
  constexpr level L = unit_level<O::level>;
  record<L> ordinary;
  int count = 0;
  record<L>::fields(
      [&](const field&, auto& member) {
        member = static_cast<std::remove_cvref_t<decltype(member)>>(
            std::is_same_v<decltype(member), double&> ? 0.5 + count++ : 1);
      },
      "", ordinary);
  const auto poisoned = [&](const record<L>& r) {
    bool nan = false;
    if constexpr (O::level == level::group || batch_objective<O>) {
      detail::span_runner<L> runner;
      for (int k = 0; k < 3; ++k) runner.add(r);
      nan = std::isnan(runner.run(objective));
      for (std::size_t k = 0; k < runner.variables(); ++k) nan = nan || std::isnan(runner.slope(k));
    } else {
      const auto loss = apply(objective, seed<L>(r), prepared<O>{});
      nan = std::isnan(loss.value);
      for (const double slope : loss.slope) nan = nan || std::isnan(slope);
    }
    return nan;
  };
  if (poisoned(ordinary)) return {};  // NaN for reasons of its own: nothing can be told
  std::string found;
  int index = 0;
  for (int probe = 0; probe < count && found.empty(); ++probe) {
    record<L> r = ordinary;
    std::string candidate;
    index = 0;
    record<L>::fields(
        [&](const field& f, auto& member) {
          if constexpr (std::is_same_v<decltype(member), double&>) {
            if (index++ != probe || has(objective_needs(objective), f.asks)) return;
            member = missing;
            candidate = path(f);
          }
        },
        "", r);
    if (!candidate.empty() && poisoned(r)) found = candidate;
  }
  return found;
}

}  // namespace plumb::inline v0
