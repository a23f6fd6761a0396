// SPDX-License-Identifier: BSL-1.0
// What the head must make for an objective: its needs as sums over the vocabulary.
#pragma once

#include <optional>

#include <plumb/nn/head.hpp>
#include <plumb/objective/distill.hpp>
#include <plumb/objective/eaft.hpp>
#include <plumb/objective/record.hpp>
#include <plumb/rollout/scorer.hpp>

namespace plumb::inline v0 {

namespace detail {
struct no_function {};
template <class Objective>
struct row_function_of {
  using type = no_function;
};
template <class Objective>
  requires requires { typename Objective::row_statistic; }
struct row_function_of<Objective> {
  using type = typename Objective::row_statistic;
};
/// The needs that an objective can have at all; of one chosen at run time, any.
template <class Objective>
consteval need possible_needs() {
  if constexpr (requires { typename std::integral_constant<need, Objective::needs>; })
    return Objective::needs;
  else
    return need::mean_logp | need::sequential_kl | need::confidence | need::statistic;
}
}  // namespace detail

/// The sums that the head makes for an objective with these needs. It must outlive the steps that use them. Only what the
/// objective can need is compiled.
///
/// A token objective gets its own statistic by `using row_statistic = φ;`, made anew or by its `row_function() const`.
/// An objective chosen at run time can have those that plumb ships; another one throws errc::bad_argument.
template <class B, class T, class Objective>
class objective_sums {
  using function = typename detail::row_function_of<Objective>::type;
  static constexpr need possible = detail::possible_needs<Objective>();
  static constexpr bool chosen_later =
      Objective::level == level::token && requires(const Objective& o) { o.template find_row_function<distill>(); };
  template <class Phi>
  using sum_of = vocabulary_sum_of<B, T, Phi>;

 public:
  objective_sums(const Objective& method, need needs, index_t words) : needs_(needs) {
    if constexpr (has(possible, need::mean_logp))
      if (has(needs, need::mean_logp)) mean_.emplace(mean_log_probability{1 / static_cast<double>(words)});
    if constexpr (has(possible, need::sequential_kl))
      if (has(needs, need::sequential_kl)) kl_.emplace(forward_divergence{});
    if constexpr (has(possible, need::confidence))
      if (has(needs, need::confidence)) collision_.emplace(collision_probability{});
    if constexpr (!std::is_same_v<function, detail::no_function>) {
      if constexpr (requires { method.row_function(); })
        own_.emplace(method.row_function());
      else
        own_.emplace(function{});
    } else if (has(needs, need::statistic)) {
      if constexpr (chosen_later) {
        if (method.statistics() > 1)
          throw error(errc::bad_argument, method.name(), "two of its terms ask for a row statistic; leave one out");
        if (const auto* const found = method.template find_row_function<distill>()) teacher_.emplace(*found);
        if (const auto* const found = method.template find_row_function<top_entropy>()) entropy_.emplace(*found);
      }
      if (!statistic())
        throw error(errc::bad_argument, "statistic",
                    "an objective that asks for a row statistic says which: `using row_statistic = phi;`; one chosen "
                    "at run time can be distill or eaft");
    }
  }
  objective_sums(const objective_sums&) = delete;
  objective_sums& operator=(const objective_sums&) = delete;

  [[nodiscard]] head_sums<B, T> sums() const {
    head_sums<B, T> out;
    if constexpr (has(possible, need::mean_logp)) out.mean_logp = mean_ ? &*mean_ : nullptr;
    if constexpr (has(possible, need::sequential_kl)) out.sequential_kl = kl_ ? &*kl_ : nullptr;
    if constexpr (has(possible, need::confidence)) out.collision = collision_ ? &*collision_ : nullptr;
    out.statistic = statistic();
    return out;
  }
  /// The options of the head with what these needs add.
  [[nodiscard]] head_options options(head_options base) const {
    base.log_partition = base.log_partition || has(needs_, need::log_partition);
    base.entropy_gradient = base.entropy_gradient || has(needs_, need::entropy);
    return base;
  }

 private:
  [[nodiscard]] const vocabulary_sum<B, T>* statistic() const {
    if constexpr (!std::is_same_v<function, detail::no_function>) return own_ ? &*own_ : nullptr;
    if constexpr (chosen_later) {
      if (teacher_) return &*teacher_;
      if (entropy_) return &*entropy_;
    }
    return nullptr;
  }
  struct unused {};
  template <bool Used, class Phi>
  using slot = std::conditional_t<Used, std::optional<sum_of<Phi>>, unused>;
  need needs_;
  [[no_unique_address]] slot<has(possible, need::mean_logp), mean_log_probability> mean_;
  [[no_unique_address]] slot<has(possible, need::sequential_kl), forward_divergence> kl_;
  [[no_unique_address]] slot<has(possible, need::confidence), collision_probability> collision_;
  [[no_unique_address]] slot<!std::is_same_v<function, detail::no_function>, function> own_;
  [[no_unique_address]] slot<chosen_later, distill> teacher_;
  [[no_unique_address]] slot<chosen_later, top_entropy> entropy_;
};

/// What a score head provides. (A token that does not say which value it had when it was sampled was sampled just now.)
inline constexpr need scored_needs = need::reward | need::value | need::old_value;

/// Asks for what the score head and the language head must make for these needs. A reward model makes no
/// log-probabilities: nothing of the size of the vocabulary is computed.
template <class B, class T>
void ask_score_head(typename scorer<B, T>::request& asked, const policy<B, T>& p, need needs) {
  asked.score = p.score_head() ? &*p.score_head() : nullptr;
  asked.rewards = has(needs, need::reward);
  asked.values = has(needs, need::value);
  constexpr need of_words = need::logp | need::entropy | need::reference | need::old_logp | need::log_partition |
                            need::mean_logp | need::statistic | need::tail | need::sequential_kl | need::confidence;
  asked.words = (needs & of_words) != need::none || !(asked.rewards || asked.values);
}

}  // namespace plumb::inline v0
