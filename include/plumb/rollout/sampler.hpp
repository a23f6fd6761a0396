// SPDX-License-Identifier: BSL-1.0
// Choosing the next token from its logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/core/random.hpp>
#include <plumb/core/types.hpp>

namespace plumb::inline v0 {

/// How tokens are drawn: p ∝ exp(z / temperature), cut to the top k, then to the smallest set with mass top_p, then to
/// those with at least min_p of the largest probability.
struct sampling {
  double temperature = 1;  ///< 0: always the most probable token
  index_t top_k = 0;       ///< 0: all
  double top_p = 1;        ///< (0, 1]
  double min_p = 0;        ///< [0, 1)
  std::uint64_t seed = 0;
  double repetition_penalty =
      1;                         ///< logits of tokens seen in prompt or reply: /p if above 0, ·p if below (Keskar 2019)
  double presence_penalty = 0;   ///< subtracted from the logit of every token of the reply
  double frequency_penalty = 0;  ///< subtracted once for each time that the reply holds the token

  void check() const {
    if (!(temperature >= 0) || std::isinf(temperature))
      throw error(errc::bad_argument, "temperature", join("expected a finite number from 0, found ", temperature));
    if (top_k < 0) throw error(errc::bad_argument, "top_k", join("expected a count from 0, found ", top_k));
    if (!(top_p > 0 && top_p <= 1))
      throw error(errc::bad_argument, "top_p", join("expected above 0 up to 1, found ", top_p));
    if (!(min_p >= 0 && min_p < 1))
      throw error(errc::bad_argument, "min_p", join("expected 0 up to below 1, found ", min_p));
    if (!(repetition_penalty > 0) || std::isinf(repetition_penalty))
      throw error(errc::bad_argument, "repetition_penalty",
                  join("expected a finite number above 0, found ", repetition_penalty));
    for (const auto& [key, value] :
         {std::pair{"presence_penalty", presence_penalty}, std::pair{"frequency_penalty", frequency_penalty}})
      if (!std::isfinite(value)) throw error(errc::bad_argument, key, join("expected a finite number, found ", value));
  }
};

/// Lowers the logits of tokens that were there before, as `how` asks.
template <class T>
void penalise(std::span<T> logits, const sampling& how, std::span<const token_id> prompt,
              std::span<const token_id> reply) {
  if (how.repetition_penalty != 1) {
    std::vector<char> seen(logits.size(), 0);
    const auto factor = static_cast<T>(how.repetition_penalty);
    for (const auto& part : {prompt, reply})
      for (const token_id t : part)
        if (T& z = logits[static_cast<std::size_t>(t)]; !std::exchange(seen[static_cast<std::size_t>(t)], 1))
          z = z > 0 ? z / factor : z * factor;
  }
  if (how.presence_penalty == 0 && how.frequency_penalty == 0) return;
  std::vector<char> present(logits.size(), 0);
  for (const token_id t : reply) {
    T& z = logits[static_cast<std::size_t>(t)];
    if (!std::exchange(present[static_cast<std::size_t>(t)], 1)) z -= static_cast<T>(how.presence_penalty);
    z -= static_cast<T>(how.frequency_penalty);
  }
}

/// Draws with word `draw` of the stream `stream` of the seed; the result depends on nothing else.
/// Ties go to the smaller token. Throws errc::not_finite when a logit is NaN.
template <class T>
token_id draw_token(std::span<const T> logits, const sampling& how, std::uint64_t stream, std::uint64_t draw) {
  token_id best = 0;
  for (std::size_t k = 0; k < logits.size(); ++k) {
    if (std::isnan(logits[k])) throw error(errc::not_finite, "", "a logit is NaN; are the model's weights damaged?");
    if (logits[k] > logits[static_cast<std::size_t>(best)]) best = static_cast<token_id>(k);
  }
  if (how.temperature == 0) return best;

  const double highest = static_cast<double>(logits[static_cast<std::size_t>(best)]);
  std::vector<double> p(logits.size());
  for (std::size_t k = 0; k < p.size(); ++k)
    p[k] = std::exp((static_cast<double>(logits[k]) - highest) / how.temperature);
  std::vector<token_id> kept(p.size());
  std::iota(kept.begin(), kept.end(), token_id{0});
  const auto weight = [&](token_id t) { return p[static_cast<std::size_t>(t)]; };
  if (how.top_k > 0 || how.top_p < 1) {
    std::stable_sort(kept.begin(), kept.end(), [&](token_id a, token_id b) { return weight(a) > weight(b); });
    if (how.top_k > 0 && how.top_k < static_cast<index_t>(kept.size()))
      kept.resize(static_cast<std::size_t>(how.top_k));
    if (how.top_p < 1) {
      double total = 0, mass = 0;
      for (const token_id t : kept) total += weight(t);
      std::size_t count = 0;
      while (count < kept.size() && mass < how.top_p * total) mass += weight(kept[count++]);
      kept.resize(count);
    }
  }
  if (how.min_p > 0) std::erase_if(kept, [&](token_id t) { return weight(t) < how.min_p; });
  double total = 0;
  for (const token_id t : kept) total += weight(t);
  const std::uint64_t key = derive_key(how.seed, stream);
  const double at = uniform_double(philox_word(key, 2 * draw), philox_word(key, 2 * draw + 1)) * total;
  double mass = 0;
  for (const token_id t : kept)
    if ((mass += weight(t)) > at) return t;
  return kept.back();
}

}  // namespace plumb::inline v0
