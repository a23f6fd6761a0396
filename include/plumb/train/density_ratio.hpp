// SPDX-License-Identifier: BSL-1.0
// Liked and disliked replies to different kinds of prompts: weights that make the disliked ones look like the liked ones.
#pragma once

#include <algorithm>
#include <map>
#include <span>
#include <vector>

#include <plumb/rollout/embed.hpp>
#include <plumb/rollout/logistic_regression.hpp>
#include <plumb/train/run.hpp>

namespace plumb::inline v0 {

struct density_options {
  double lowest = 0.5, highest = 10;  ///< the ratio is held between these
  index_t sample = 1024;              ///< prompts of each kind that the classifier is fitted to, at most
  std::uint64_t seed = 0;             ///< of their choice

  /// Throws errc::bad_argument for a value out of its range.
  void check() const {
    if (!(lowest > 0) || !(highest >= lowest) || !std::isfinite(highest))
      throw error(errc::bad_argument, "density_ratio",
                  join("expected 0 < lowest <= highest, found ", lowest, " and ", highest));
    if (sample < 1) throw error(errc::bad_argument, "density_ratio", join("sample: expected from 1, found ", sample));
  }
};

/// The density ratio of prompts, from a classifier that tells prompts of liked replies from those of disliked ones:
///
///   ρ(x) = p_liked(x) / p_disliked(x) ≈ P(liked | x) / (1 − P(liked | x) + 1e-8),   held in [lowest, highest]
///
/// Both kinds count alike in the classifier, however many there are, so that it is a ratio of densities. In expectation a
/// sum over disliked replies with weights ρ is one over the prompts of the liked ones. Jung et al. 2024,
/// arXiv:2404.04656, section 4.2.
class density_ratio {
 public:
  /// `vectors` [rows, width] embed the prompts; `liked` [rows]. Throws as fit_logistic does.
  density_ratio(std::span<const double> vectors, index_t width, const std::vector<bool>& liked,
                const density_options& options = {})
      : options_(options) {
    options.check();
    std::vector<double> chosen;
    std::vector<bool> kinds;
    index_t left[2] = {options.sample, options.sample};
    const auto numbers = static_cast<std::size_t>(std::max<index_t>(width, 0));
    if (vectors.size() != numbers * liked.size())
      throw error(
          errc::bad_argument, "density_ratio",
          join("expected ", liked.size(), " vectors of ", width, " numbers, found ", vectors.size(), " numbers"));
    for (const std::size_t i : shuffled(liked.size(), derive_key(options.seed, 0x55444d)))
      if (left[liked[i] ? 1 : 0]-- > 0) {
        const auto own = vectors.subspan(i * numbers, numbers);
        chosen.insert(chosen.end(), own.begin(), own.end());
        kinds.push_back(liked[i]);
      }
    classifier_ = fit_logistic(chosen, width, kinds);
  }
  /// ρ of the prompt with this vector, [width].
  [[nodiscard]] double operator()(std::span<const double> x) const {
    const double p = classifier_.probability(x);
    return std::clamp(p / (1 - p + 1e-8), options_.lowest, options_.highest);
  }

 private:
  density_options options_;
  logistic_classifier classifier_;
};

namespace detail {

/// The vectors of all prompts, [rows, width]; each prompt is read once.
template <class B, class T>
std::vector<double> embed_prompts(const language_model<B, T>& model, std::span<const example> data) {
  std::map<std::vector<token_id>, std::size_t> place;
  std::vector<std::vector<token_id>> prompts;
  for (const example& e : data) {
    if (e.prompt.empty())
      throw error(errc::bad_data, e.place, "density_ratio compares prompts, and this row has none; leave it off");
    if (place.emplace(e.prompt, prompts.size()).second) prompts.push_back(e.prompt);
  }
  const auto each = embed(model, std::span<const std::vector<token_id>>(prompts));
  const auto width = static_cast<std::ptrdiff_t>(model.network().sizes().width);
  std::vector<double> out;
  for (const example& e : data) {
    const auto own = each.begin() + static_cast<std::ptrdiff_t>(place.at(e.prompt)) * width;
    out.insert(out.end(), own, own + width);
  }
  return out;
}

}  // namespace detail

/// Multiplies the weights of disliked replies by ρ of their prompts, whose vectors are the mean states of the frozen
/// network (`embed`). Rows are single replies (`unpair`); the ratio is learnt from `data` and applied to `held_out`, too.
/// Throws errc::bad_data for a row without a prompt, errc::bad_argument where all replies of `data` are of one kind.
template <class B, class T>
void weigh_prompts(const language_model<B, T>& model, std::vector<example>& data, std::vector<example>& held_out,
                   const density_options& options = {}) {
  const index_t width = model.network().sizes().width;
  std::vector<bool> liked;
  for (const example& e : data) liked.push_back(e.desirable);
  const auto vectors = detail::embed_prompts(model, std::span<const example>(data));
  const density_ratio ratio(vectors, width, liked, options);
  const auto weigh = [&](std::vector<example>& rows, std::span<const double> states) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].desirable) continue;
      const double own = ratio(states.subspan(i * static_cast<std::size_t>(width), static_cast<std::size_t>(width)));
      for (reply& r : rows[i].replies) r.weight *= own;
    }
  };
  weigh(data, vectors);
  weigh(held_out, detail::embed_prompts(model, std::span<const example>(held_out)));
}

}  // namespace plumb::inline v0
