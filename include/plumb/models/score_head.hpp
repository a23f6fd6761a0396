// SPDX-License-Identifier: BSL-1.0
// Giving a policy a head that says one number: reward models, process reward models, critics.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <plumb/core/philox.hpp>
#include <plumb/models/policy.hpp>

namespace plumb::inline v0 {

/// The first values of a score head: normal numbers, each a function of the seed and its place alone.
struct score_options {
  bool critic = false;  ///< a critic of the policy: saved apart, so that the adapter stays one of a language model
  std::uint64_t seed = 0;
  double deviation = -1;  ///< of the numbers; below 0: 1/√(width + 1), so that first scores are a few units
};

namespace detail {

/// `bias`: empty for a head without one.
template <class B, class T>
void put_score_head(policy<B, T>& p, tensor<B, T> weight, tensor<B, T> bias, bool critic = false) {
  const auto trained = [](tensor<B, T> numbers) {
    auto out = std::make_shared<weight_tensor<B, T>>();
    out->value = std::move(numbers);
    out->set_trainable(true);
    return out;
  };
  score_head<B, T> head;
  head.weight = trained(std::move(weight));
  if (bias.extent().size() > 0) head.bias = trained(std::move(bias));
  head.name = score_module(p.model().config()), head.critic = critic;
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
  const model_config& config = p.model().config();
  if (config.encodes() && options.critic) throw error(errc::unsupported, "score head", detail::no_next_token);
  if (config.encodes() && !config.pooled)
    throw error(errc::bad_model, p.model().source(),
                join("the folder lacks ", pooler_name(config),
                     ", which this family's score head reads; save it with "
                     "transformers' AutoModelForSequenceClassification first"));
  const index_t width = p.network().sizes().width;
  const double deviation = options.deviation < 0 ? 1 / std::sqrt(static_cast<double>(width + 1)) : options.deviation;
  const philox_stream numbers{options.seed, 0x73636f7265};  // "score" in letters: no other stream of the seed
  std::vector<T> host(static_cast<std::size_t>(width));
  for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<T>(deviation * numbers.normal_at(i));
  const auto& device = p.model().device();
  const std::vector<T> zero(1, T(0));
  detail::put_score_head(p, tensor<B, T>(device, {1, width}, std::span<const T>(host)),
                         config.encodes() ? tensor<B, T>(device, {1, 1}, std::span<const T>(zero)) : tensor<B, T>(),
                         options.critic);
}

/// Takes the score head off: what is saved then is the language model's adapter alone. Does nothing without one.
template <class B, class T>
void detach_score_head(policy<B, T>& p) {
  p.set_score_head(std::nullopt);
}

}  // namespace plumb::inline v0
