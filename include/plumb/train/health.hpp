// SPDX-License-Identifier: BSL-1.0
// Is a run well? Metrics have healthy ranges; a monitor reads the log as it grows and says each trouble once, with a cure.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/core/error.hpp>
#include <plumb/train/log_entry.hpp>

namespace plumb::inline v0 {

/// The last values of one metric and the mean of its first ones; values that are not finite are left out.
class metric_history {
 public:
  static constexpr std::size_t window = 10;

  void add(double x) {
    if (!std::isfinite(x)) return;
    if (count_ < window) first_ += x;
    if (full()) std::copy(last_.begin() + 1, last_.end(), last_.begin());
    last_[std::min(count_, window - 1)] = x;
    ++count_;
    lowest_ = count_ == 1 ? x : std::min(lowest_, x);
  }
  /// Twice as many values as the window: the beginning and the end no longer overlap.
  [[nodiscard]] bool settled() const { return count_ >= 2 * window; }
  [[nodiscard]] bool full() const { return count_ >= window; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] double first() const { return first_ / static_cast<double>(std::min(count_, window)); }
  [[nodiscard]] double last() const {
    const std::size_t kept = std::min(count_, window);
    double sum = 0;
    for (std::size_t i = 0; i < kept; ++i) sum += last_[i];
    return sum / static_cast<double>(kept);
  }
  [[nodiscard]] double latest() const { return last_[std::min(count_, window) - 1]; }
  [[nodiscard]] double lowest() const { return lowest_; }

 private:
  double first_ = 0, lowest_ = 0;
  std::size_t count_ = 0;
  std::array<double, window> last_{};
};

/// Reads log entries in their order and warns, once per cause. What it looks for (means over the last ten entries of a
/// metric, after at least twenty, where nothing else is said):
///
///   margins     rewards/margins below 0
///   accuracy    rewards/accuracies below 0.55 after fifty entries: chance
///   kl          above 1 nat per token, or above 50 per reply in objectives on replies
///   entropy     below 0.05 nats and a tenth of its beginning, while tokens are sampled or hard to predict
///   clipping    more than half of the tokens clipped
///   likelihood  logps/chosen below its beginning by half and by 50 nats
///   loss        above its beginning by half and by 0.1; NaN and infinity stop a run before they are logged
///   gradient    exactly 0
///   overfitting eval_loss above its lowest by a quarter, in the fourth evaluation or later
///
/// Tens of entries are needed, so short or rarely logged runs are left in peace.
class health_monitor {
 public:
  /// The warnings that this entry gives rise to; mostly none.
  [[nodiscard]] std::vector<std::string> look(const log_entry& entry) {
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

 private:
  metric_history& own(std::string_view name) {
    for (auto& [key, values] : histories_)
      if (key == name) return values;
    return histories_.emplace_back(std::string(name), metric_history()).second;
  }
  /// An empty one for a metric that the run does not have.
  [[nodiscard]] const metric_history& history(std::string_view name) const {
    for (const auto& [key, values] : histories_)
      if (key == name) return values;
    return none_;
  }
  /// The history of a metric that is there and settled, or null.
  [[nodiscard]] const metric_history* settled(std::string_view name) const {
    const metric_history& h = history(name);
    return h.settled() ? &h : nullptr;
  }
  template <class... Parts>
  void warn(bool wrong, std::string_view cause, const Parts&... text) {
    if (!wrong || std::find(given_.begin(), given_.end(), cause) != given_.end()) return;
    given_.emplace_back(cause);
    warnings_.push_back(join(text...));
  }

  void look_at_preferences() {
    if (const auto* margins = settled("rewards/margins"))
      warn(
          margins->last() < 0, "margins", "rewards/margins was ", margins->last(),
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
  void look_at_policy(const log_entry& entry) {
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
  void look_at_steps() {
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
  void look_at_evaluation() {
    const auto& loss = history("eval_loss");
    if (loss.count() >= 4)
      warn(loss.latest() > loss.lowest() + 0.25 * std::abs(loss.lowest()), "overfitting", "eval_loss is ",
           loss.latest(), ", up from ", loss.lowest(),
           ": the policy learns the rows by heart. Stop earlier, or take more rows, a lower "
           "rate or rank, or dropout");
  }

  std::vector<std::pair<std::string, metric_history>> histories_;
  metric_history none_;
  std::vector<std::string> given_, warnings_;
};

}  // namespace plumb::inline v0
