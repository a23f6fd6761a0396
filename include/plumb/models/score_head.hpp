// SPDX-License-Identifier: BSL-1.0
// Giving a policy a head that says one number: reward models, process reward models, critics.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <plumb/core/philox.hpp>
#include <plumb/models/policy.hpp>

namespace plumb::inline v0 {

/// The name of the score head's weight among a policy's parameters and, with PEFT's prefix, in files.
inline constexpr const char* score_name = "score.weight";

/// The first values of a score head: normal numbers, each a function of the seed and its place alone.
struct score_options {
  bool critic = false;  ///< a critic of the policy: saved apart, so that the adapter stays one of a language model
  std::uint64_t seed = 0;
  double deviation = -1;  ///< of the numbers; below 0: 1/√(width + 1), so that first scores are a few units
};

namespace detail {

template <class B, class T>
void put_score_head(policy<B, T>& p, tensor<B, T> weight, bool critic = false) {
  score_head<B, T> head{std::make_shared<weight_tensor<B, T>>(), critic};
  head.weight->value = std::move(weight);
  head.weight->set_trainable(true);
  p.set_score_head(std::move(head));
}

}  // namespace detail

/// Puts a new score head [1, width] on the policy; it is trained fully, beside the adapter or all other weights.
///
///     auto judge = plumb::attach_lora(model, {.rank = 8});
///     plumb::attach_score_head(judge);
///     plumb::fit(judge, plumb::reward{}, plumb::read_pairs("pairs.jsonl", model));
///
/// Throws errc::bad_argument when the policy has one already, or for a deviation that is not finite.
template <class B, class T>
void attach_score_head(policy<B, T>& p, const score_options& options = {}) {
  if (p.score_head())
    throw error(errc::bad_argument, "score head", "the policy has one already; detach_score_head takes it off");
  if (p.prompt())
    throw error(errc::unsupported, "score head", "is not trained beside virtual tokens; attach LoRA instead");
  if (!std::isfinite(options.deviation))
    throw error(errc::bad_argument, "deviation", join("expected a finite number, found ", options.deviation));
  const index_t width = p.network().sizes().width;
  const double deviation = options.deviation < 0 ? 1 / std::sqrt(static_cast<double>(width + 1)) : options.deviation;
  const philox_stream numbers{options.seed, 0x73636f7265};  // "score" in letters: no other stream of the seed
  std::vector<T> host(static_cast<std::size_t>(width));
  for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<T>(deviation * numbers.normal_at(i));
  detail::put_score_head(p, tensor<B, T>(p.model().device(), {1, width}, std::span<const T>(host)), options.critic);
}

/// Takes the score head off: what is saved then is the language model's adapter alone. Does nothing without one.
template <class B, class T>
void detach_score_head(policy<B, T>& p) {
  p.set_score_head(std::nullopt);
}

}  // namespace plumb::inline v0
