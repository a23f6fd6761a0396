// SPDX-License-Identifier: BSL-1.0
// Choosing the next token from its logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include <plumb/backend/cpu_kernels.hpp>
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

/// Do these settings change logits before a token is drawn?
inline bool penalises(const sampling& how) noexcept {
  return how.repetition_penalty != 1 || how.presence_penalty != 0 || how.frequency_penalty != 0;
}

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

/// Draws tokens; keeps its lists from one to the next.
class token_drawer {
 public:
  /// Draws with word `draw` of the stream `stream` of the seed; the result depends on nothing else.
  /// Ties go to the smaller token. Throws errc::not_finite when a logit is NaN.
  template <class T>
  token_id operator()(std::span<const T> logits, const sampling& how, std::uint64_t stream, std::uint64_t draw) {
    const bool greedy = how.temperature == 0;
    weights_.resize(greedy ? 0 : logits.size());
    const detail::token_weights found = detail::cpu_token_weights<T>(
        static_cast<index_t>(logits.size()), logits.data(), how.temperature, greedy ? nullptr : weights_.data());
    if (found.nan) throw error(errc::not_finite, "", "a logit is NaN; are the model's weights damaged?");
    if (greedy) return static_cast<token_id>(found.best);

    const std::uint64_t key = derive_key(how.seed, stream);
    const double share = uniform_double(philox_word(key, 2 * draw), philox_word(key, 2 * draw + 1));
    double mass = 0;
    if (how.top_k == 0 && how.top_p == 1 && how.min_p == 0) {
      for (std::size_t k = 0; k < weights_.size(); ++k)
        if ((mass += weights_[k]) > share * found.total) return static_cast<token_id>(k);
      return static_cast<token_id>(found.best);  // two sums of the same numbers may differ in their last bits
    }
    cut(how, found.total);
    const double total = sum_of_kept();
    for (const token_id t : kept_)
      if ((mass += weight(t)) > share * total) return t;
    return kept_.back();
  }

 private:
  [[nodiscard]] double weight(token_id t) const { return weights_[static_cast<std::size_t>(t)]; }
  [[nodiscard]] double sum_of_kept() const {
    double sum = 0;
    for (const token_id t : kept_) sum += weight(t);
    return sum;
  }
  /// Fills `kept_` with the tokens that may be drawn; `total` is the weight of all.
  void cut(const sampling& how, double total) {
    kept_.resize(weights_.size());
    for (std::size_t i = 0; i < kept_.size(); ++i) kept_[i] = static_cast<token_id>(i);
    std::size_t sorted = 0;  // so many lie in order at the front: no more are sorted than are looked at
    const auto sort_to = [&](std::size_t count) {
      const auto at = [&](std::size_t i) { return kept_.begin() + static_cast<std::ptrdiff_t>(i); };
      std::partial_sort(at(sorted), at(count), kept_.end(), [&](token_id a, token_id b) {
        return weight(a) > weight(b) || (weight(a) == weight(b) && a < b);
      });
      sorted = count;
    };
    if (const auto top = static_cast<std::size_t>(how.top_k); top > 0) {
      sort_to(std::min(top, kept_.size()));
      kept_.resize(sorted);
      total = sum_of_kept();
    }
    if (how.top_p < 1) {
      double mass = 0;
      std::size_t count = 0;
      while (count < kept_.size() && mass < how.top_p * total) {
        if (count == sorted) sort_to(std::min(kept_.size(), std::max<std::size_t>(64, 2 * sorted)));
        mass += weight(kept_[count++]);
      }
      kept_.resize(count);
    }
    if (how.min_p > 0) std::erase_if(kept_, [&](token_id t) { return weight(t) < how.min_p; });
  }

  std::vector<double> weights_;  ///< e^((z − largest z) / temperature), of all tokens
  std::vector<token_id> kept_;
};

}  // namespace plumb::inline v0
