// SPDX-License-Identifier: BSL-1.0
// The bodies of train/health.hpp: what is looked for, and how it is said. Collected by plumb/impl.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/train/health.hpp>

namespace plumb::inline v0 {

void metric_history::add(double x) {
  if (!std::isfinite(x)) return;
  if (count_ < window) first_ += x;
  if (full()) std::copy(last_.begin() + 1, last_.end(), last_.begin());
  last_[std::min(count_, window - 1)] = x;
  ++count_;
  lowest_ = count_ == 1 ? x : std::min(lowest_, x);
}

double metric_history::last() const {
  const std::size_t kept = std::min(count_, window);
  double sum = 0;
  for (std::size_t i = 0; i < kept; ++i) sum += last_[i];
  return sum / static_cast<double>(kept);
}

std::vector<std::string> health_monitor::look(const log_entry& entry) {
  warnings_.clear();
  for (const auto& [name, value] : entry.values) own(name).add(value);
  if (entry.find("eval_loss")) {
    look_at_evaluation();
  } else {
    look_at_preferences();
    look_at_policy(entry);
    look_at_steps();
  }
  return std::move(warnings_);
}

metric_history& health_monitor::own(std::string_view name) {
  for (auto& [key, values] : histories_)
    if (key == name) return values;
  return histories_.emplace_back(std::string(name), metric_history()).second;
}

const metric_history& health_monitor::history(std::string_view name) const {
  for (const auto& [key, values] : histories_)
    if (key == name) return values;
  return none_;
}

const metric_history* health_monitor::settled(std::string_view name) const {
  const metric_history& h = history(name);
  return h.settled() ? &h : nullptr;
}

template <class... Parts>
void health_monitor::warn(bool wrong, std::string_view cause, const Parts&... text) {
  if (!wrong || std::find(given_.begin(), given_.end(), cause) != given_.end()) return;
  given_.emplace_back(cause);
  warnings_.push_back(join(text...));
}

void health_monitor::look_at_preferences() {
  if (const auto* margins = settled("rewards/margins"))
    warn(margins->last() < 0, "margins", "rewards/margins was ", margins->last(),
         " on average of late: the policy prefers what it should not. Are chosen and rejected the right way round? If "
         "so, lower the rate");
  const auto& accuracy = history("rewards/accuracies");
  if (accuracy.count() >= 50)
    warn(accuracy.last() < 0.55, "accuracy", "rewards/accuracies is ", accuracy.last(),
         ", no better than chance, after ", accuracy.count(),
         " log entries. Raise the rate or the rank, or look whether the labels say anything");
  const auto* chosen = settled("logps/chosen");
  const bool other_falls_more = history("logps/rejected").count() > 0;
  if (chosen && other_falls_more)
    warn(chosen->last() < chosen->first() - std::max(50.0, 0.5 * std::abs(chosen->first())), "likelihood",
         "logps/chosen fell from ", chosen->first(), " to ", chosen->last(),
         " nats: the good replies become unlikely, too. Raise beta, lower the rate, or add a likelihood term "
         "(also=0.2*sft_chosen)");
}

void health_monitor::look_at_policy(const log_entry& entry) {
  const bool of_replies = entry.find("logps/chosen") || entry.find("logps/rejected");
  const double most = of_replies ? 50 : 1;
  if (const auto* kl = settled("kl"))
    warn(kl->last() > most, "kl", "kl is ", kl->last(), of_replies ? " nats per reply" : " nats per token",
         ": the policy has left the reference. Lower the rate, or raise beta or kl_weight");
  bool sampled = false;
  for (const char* name : {"clip_ratio/region_mean", "policy/clipfrac_avg"}) {
    sampled = sampled || entry.find(name);
    if (const auto* clipped = settled(name))
      warn(clipped->last() > 0.5, "clipping", name, " is ", clipped->last(),
           ": most tokens are clipped and teach nothing. Lower the rate, take fewer steps per batch of samples, or "
           "sample anew");
  }
  const auto* entropy = settled("entropy");
  const bool predictable =
      !sampled && history("mean_token_accuracy").full() && history("mean_token_accuracy").last() > 0.9;
  if (entropy && !predictable)
    warn(entropy->last() < 0.05 && entropy->last() < 0.1 * entropy->first(), "entropy", "entropy fell from ",
         entropy->first(), " to ", entropy->last(),
         " nats per token: the policy says one thing only. Lower the rate, or add an entropy bonus or a KL term");
}

void health_monitor::look_at_steps() {
  if (const auto* loss = settled("loss")) {
    const double before = std::abs(loss->first());
    warn(loss->last() > loss->first() + std::max(0.1, 0.5 * before), "loss", "the loss rose from ", loss->first(),
         " to ", loss->last(), ": the run diverges. Lower the rate or raise warmup");
  }
  const auto& gradient = history("grad_norm");
  warn(gradient.full() && gradient.last() == 0, "gradient",
       "the gradient has been 0 for ten log entries: nothing is learnt. Is the loss saturated, are all weights or "
       "advantages 0, or is nothing trainable in its path?");
}

void health_monitor::look_at_evaluation() {
  const auto& loss = history("eval_loss");
  if (loss.count() >= 4)
    warn(loss.latest() > loss.lowest() + 0.25 * std::abs(loss.lowest()), "overfitting", "eval_loss is ", loss.latest(),
         ", up from ", loss.lowest(),
         ": the policy learns the rows by heart. Stop earlier, or take more rows, a lower "
         "rate or rank, or dropout");
}

}  // namespace plumb::inline v0
