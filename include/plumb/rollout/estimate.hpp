// SPDX-License-Identifier: BSL-1.0
// What ppo reads of sampled replies: log-probabilities, values, returns and advantages, from a policy with a critic.
#pragma once

#include <span>
#include <vector>

#include <plumb/models/policy.hpp>
#include <plumb/rollout/returns.hpp>
#include <plumb/rollout/score.hpp>
#include <plumb/rollout/token_rewards.hpp>
#include <plumb/rollout/whiten.hpp>

namespace plumb::inline v0 {

struct estimate_options {
  double kl_weight = 0.05;  ///< β of the KL to the reference inside the reward; 0: the reference is not run
  plumb::kl_estimator kl_estimator = plumb::kl_estimator::k1;
  double gamma = 1;
  double lambda = 0.95;
  bool whiten = true;           ///< advantages to mean 0 and deviation 1 over all tokens of the batch
  index_t batch_tokens = 2048;  ///< that go through the network at once
};

/// Fills in `old` (where it is empty), `old_values`, `returns` and `advantages` of one reply per example.
///
///   r_t = −β kl_t, plus the reply's score on its last token;   A, returns by gae from the critic's values
///
/// scores [examples]; the policy's score head is the critic, its adapter switched off the reference. One call per batch
/// of samples, before its first step: values and log-probabilities are those of the policy as it is. Returns the mean
/// log-ratio to the reference per reply, in nats (0 for kl_weight = 0): what adaptive_kl asks for.
/// Throws errc::bad_argument for a policy without a score head and for scores that do not fit the examples;
/// errc::bad_data for an example without a prompt or with another number of replies than one.
template <class B, class T>
double estimate_advantages(const policy<B, T>& p, std::span<example> data, std::span<const double> scores,
                           const estimate_options& options = {}) {
  if (!p.score_head())
    throw error(errc::bad_argument, "estimate_advantages",
                "the policy has no value head: call attach_score_head, or take group_advantages, which need none");
  detail::check_size("estimate_advantages", "scores, one per example", data.size(), scores.size());
  for (const example& e : data)
    if (e.prompt.empty() || e.replies.size() != 1)
      throw error(errc::bad_data, e.place,
                  join("expected a prompt and one sampled reply, found ", e.prompt.size(), " prompt tokens and ",
                       e.replies.size(), " replies"));
  scorer<B, T> engine(p.model());
  training_batch batch;
  std::vector<double> all;
  double ratios = 0;
  for_each_run(data, options.batch_tokens, [&](std::size_t begin, std::size_t count) {
    batch.assign(std::span<const example>(data.subspan(begin, count)));
    const batch_scores now =
        engine.run(batch, {.adapters = p.adapters_on(), .score = &*p.score_head(), .values = true});
    const std::vector<double> reference =
        options.kl_weight > 0 ? engine.run(batch, {.adapters = false}).logp : now.logp;
    for (std::size_t i = 0; i < count; ++i) {
      reply& r = data[begin + i].replies[0];
      const auto part = [&](const std::vector<double>& x) {
        return std::span(x).subspan(static_cast<std::size_t>(batch.replies[i].first),
                                    static_cast<std::size_t>(batch.replies[i].count));
      };
      const auto logp = part(now.logp), values = part(now.value);
      if (r.old.empty()) r.old.assign(logp.begin(), logp.end());
      r.old_values.assign(values.begin(), values.end());
      const auto rewards =
          token_rewards(scores[begin + i], r.old, part(reference), options.kl_weight, options.kl_estimator);
      auto estimate = gae(rewards, values, options.gamma, options.lambda);
      r.returns = std::move(estimate.returns);
      all.insert(all.end(), estimate.advantages.begin(), estimate.advantages.end());
      for (std::size_t t = 0; t < logp.size(); ++t) ratios += r.old[t] - part(reference)[t];
    }
  });
  if (options.whiten) all = whiten(all);
  auto next = all.begin();
  for (example& e : data) {
    const auto end = next + static_cast<std::ptrdiff_t>(e.replies[0].tokens.size());
    e.replies[0].advantages.assign(next, end);
    next = end;
  }
  return data.empty() ? 0 : ratios / static_cast<double>(data.size());
}

}  // namespace plumb::inline v0
