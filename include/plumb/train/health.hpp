// SPDX-License-Identifier: BSL-1.0
// Is a run well? Metrics have healthy ranges; a monitor reads the log as it grows and says each trouble once, with a cure.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <plumb/train/log_entry.hpp>

namespace plumb::inline v0 {

/// The last values of one metric and the mean of its first ones; values that are not finite are left out.
class metric_history {
 public:
  static constexpr std::size_t window = 10;

  void add(double x);
  /// Twice as many values as the window: the beginning and the end no longer overlap.
  [[nodiscard]] bool settled() const { return count_ >= 2 * window; }
  [[nodiscard]] bool full() const { return count_ >= window; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] double first() const { return first_ / static_cast<double>(std::min(count_, window)); }
  [[nodiscard]] double last() const;
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
  [[nodiscard]] std::vector<std::string> look(const log_entry& entry);

 private:
  metric_history& own(std::string_view name);
  /// An empty one for a metric that the run does not have.
  [[nodiscard]] const metric_history& history(std::string_view name) const;
  /// The history of a metric that is there and settled, or null.
  [[nodiscard]] const metric_history* settled(std::string_view name) const;
  template <class... Parts>
  void warn(bool wrong, std::string_view cause, const Parts&... text);

  void look_at_preferences();
  void look_at_policy(const log_entry& entry);
  void look_at_steps();
  void look_at_evaluation();

  std::vector<std::pair<std::string, metric_history>> histories_;
  metric_history none_;
  std::vector<std::string> given_, warnings_;
};

}  // namespace plumb::inline v0
